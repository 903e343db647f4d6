"""Finding the end of a journal with few reads, however long it is.

Law: pure; it says what to read next and judges what was read. One read shows the end of a short journal. For a longer
one, "block n holds record n" is true up to the end and false from MAX_GROUP blocks behind it (a torn write leaves
remains between), so doubling and halving find an edge, and the last chunk before that edge holds the end.
"""

from __future__ import annotations

from typing import Final

from hvcluster.model.values import value
from hvcluster.model.vocabulary import BLOCK_BYTES

from .journal import FIRST_SEQUENCE, MAX_GROUP, Tail, check, decode, lba_of, tail_after

CHUNK_BLOCKS: Final = 128
"""Blocks of one read: 64 KiB, as a Windows guest reads. Twice a group, so that the last chunk holds the end."""

assert CHUNK_BLOCKS >= 2 * MAX_GROUP


@value
class Found:
    """The end of the journal."""

    tail: Tail


@value
class Broken:
    """The journal cannot be continued; the sentence says why."""

    reason: str


class TailSearch:
    """Ask `next_read`, give what was read to `feed`, until it finds or refuses."""

    def __init__(self, empty: Tail, blocks: int) -> None:
        """`empty` is the genesis of the VM, `blocks` (1 or more) the journal's capacity in records."""
        self._empty = empty
        self._blocks = blocks
        self._low = 0  # records known to be there
        self._high = 0  # a record known to be missing; 0 while none is
        self._from = FIRST_SEQUENCE
        self._count = min(CHUNK_BLOCKS, blocks)

    def next_read(self) -> tuple[int, int]:
        """What to read next: (lba, blocks), never more than CHUNK_BLOCKS."""
        return lba_of(self._from), self._count

    def feed(self, data: bytes) -> Found | Broken | None:
        """Take in what was read; None means: ask for the next read."""
        if self._count == 1 and self._blocks > 1:
            self._probed(self._is_record(data))
            return None
        blocks = [data[at : at + BLOCK_BYTES] for at in range(0, len(data), BLOCK_BYTES)]
        if self._from > FIRST_SEQUENCE:
            return self._last_chunk(blocks)
        chain = check(self._empty, blocks)
        if chain.broken is not None:
            return Broken(f"the journal of the VM is broken: {chain.broken}")
        tail = tail_after(chain.records[-1]) if chain.records else self._empty
        if len(chain.records) < len(blocks) or len(blocks) == self._blocks:
            return Found(tail)
        self._low = len(blocks)
        self._probe(self._low * 2)
        return None

    def _probe(self, sequence: int) -> None:
        self._from, self._count = min(sequence, self._blocks), 1

    def _is_record(self, block: bytes) -> bool:
        record = decode(block)
        return record is not None and record.vm == self._empty.vm and record.sequence == self._from

    def _probed(self, there: bool) -> None:
        if there:
            self._low = self._from
        else:
            self._high = self._from
        if self._low == self._blocks or self._high == self._low + 1:
            # The record before the chunk is read along: it is certainly in the chain and what the chunk must follow.
            last = min(self._blocks, self._low + 1)
            self._from = max(FIRST_SEQUENCE, last - CHUNK_BLOCKS + 1)
            self._count = last - self._from + 1
        elif self._high:
            self._probe((self._low + self._high) // 2)
        else:
            self._probe(self._low * 2)

    def _last_chunk(self, blocks: list[bytes]) -> Found | Broken:
        first = decode(blocks[0])
        if first is None or first.vm != self._empty.vm or first.sequence != self._from:
            return Broken(f"the journal of the VM is broken: block {lba_of(self._from)} changed while it booted")
        start = tail_after(first)
        chain = check(start, blocks[1:])
        if chain.broken is not None:
            return Broken(f"the journal of the VM is broken: {chain.broken}")
        return Found(tail_after(chain.records[-1]) if chain.records else start)


def may_follow(tail: Tail, generation: int, node: int) -> str | None:
    """Why a VM of this generation on this node must not write behind `tail`: a newer life did. None when it may."""
    if tail.generation > generation:
        return f"generation {tail.generation} on node {tail.node} has already written to the disk"
    if tail.generation == generation and tail.node != node:
        return f"node {tail.node} has already written to the disk under the same generation {generation}"
    return None
