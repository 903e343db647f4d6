"""What the memory of a paused VM says of its disk, and whether a disk is still as it says.

Law: pure values. Memory is worth something only with the very disk it was written for: whoever resumes a VM reads the
end of its journal first, and where that has another one, the memory is thrown away and the VM boots.
"""

from __future__ import annotations

from hvcluster.model.values import value
from hvcluster.model.vocabulary import BLOCK_BYTES

from .journal import Tail, capacity, decode, follow_problem, lba_of, size_problem, tail_after

LOOK_BLOCKS = 2
"""The last record, and the block behind it: what a guest that went on would have written next."""


@value
class GuestImage:
    """A paused VM: the end of its journal, all of which is on the LUN, and how large that LUN is."""

    tail: Tail
    lun_blocks: int


def is_sane(image: GuestImage) -> bool:
    """Whether it can be a VM's memory at all: it came over a wire."""
    if image.tail.saved:
        return False  # it does not run
    return size_problem(image.lun_blocks) is None and 0 < image.tail.sequence <= capacity(image.lun_blocks)


def look_at(image: GuestImage) -> tuple[int, int]:
    """What to read before a VM goes on: (lba, blocks). A journal ends before the VHD footer, so both blocks exist."""
    return lba_of(image.tail.sequence), LOOK_BLOCKS


def stands(image: GuestImage, data: bytes) -> bool:
    """Whether the journal still ends where the memory says, by what `look_at` has read."""
    last, behind = decode(data[:BLOCK_BYTES]), decode(data[BLOCK_BYTES:])
    if last is None or tail_after(last) != image.tail:
        return False
    return behind is None or follow_problem(image.tail, behind) is not None
