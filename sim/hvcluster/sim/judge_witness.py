"""Judges the witness's LUN: one vote in a term, a term that never falls, an image that is whole and never goes back.

Law: reads what is written there, as a node that wins it would; it never asks a node.
"""

from __future__ import annotations

import struct
import zlib
from mmap import mmap
from typing import TYPE_CHECKING

from hvcluster.model.epochs import epoch_of
from hvcluster.model.scsi import Nexus
from hvcluster.model.vocabulary import BLOCK_BYTES, NOBODY, NodeId
from hvcluster.node.core.witness_image import RECORD_MAGIC, Header, decode_snapshot, record_bytes

if TYPE_CHECKING:
    from collections.abc import Callable

    from .judge import Broken

_HEAD = struct.Struct(">IQQQ")  # of a record: magic, epoch, index, term


class WitnessMedium:
    """What stands on the witness, block by block as it is written."""

    def __init__(self, broken: Callable[[str], Broken]) -> None:
        self._broken = broken
        self._header: Header | None = None
        self._last = (0, 0)  # term and index of its newest entry
        self._stood: dict[int, dict[int, int]] = {}  # force epoch -> index -> term, of everything that ever stood there
        self._snapshot_index: dict[int, int] = {}  # by force epoch
        self._given_up: dict[Nexus, int] = {}  # paths that are down, and since when
        self._newest: tuple[int, Nexus | None] = (0, None)  # when the last write was carried out, and from where
        self.votes: dict[int, NodeId] = {}
        """By term: whom it voted for."""

    def held(self, index: int, term: int) -> bool:
        """Whether an entry is or was on it, or a snapshot that covers it, while it was of the force epoch of `term`."""
        epoch = epoch_of(term)
        return index <= self._snapshot_index.get(epoch, 0) or self._entries(epoch).get(index) == term

    def _entries(self, epoch: int) -> dict[int, int]:
        return self._stood.setdefault(epoch, {})

    def written(self, lba: int, data: bytes, medium: mmap) -> None:
        """Blocks are about to be written."""
        if lba == 0:
            header = Header.decode(data[:BLOCK_BYTES])
            if header is None:
                raise self._broken("the witness's header was overwritten by something else")
            self._new_header(header, medium)
        elif self._header is not None and self._header.start <= lba < self._header.log_start:
            at = lba * BLOCK_BYTES
            if medium[at : at + len(data)] != data:
                raise self._broken(f"image {self._header.epoch} of the witness, which is in use, was overwritten")
        elif self._header is not None and self._header.log_start <= lba < self._header.end:
            self._appended(self._header, data)

    def executed(self, now: int, nexus: Nexus) -> None:
        """A write was carried out: none that its node had given up comes after a newer one (decision 0006)."""
        given_up = self._given_up.get(nexus)
        if given_up is not None and self._newest[0] > given_up and self._newest[1] != nexus:
            raise self._broken(f"a write to the witness that was given up on {nexus} was carried out after a newer one")
        self._newest = (now, nexus)

    def path(self, now: int, nexus: Nexus, up: bool) -> None:
        """A node gave a path up, and everything that is under way on it; or it logged in again."""
        if up:
            self._given_up.pop(nexus, None)
        else:
            self._given_up[nexus] = now

    def _new_header(self, new: Header, medium: mmap) -> None:
        old = self._header
        if old is not None and (new.term, new.epoch) < (old.term, old.epoch):
            raise self._broken(f"the witness goes back from term {old.term} to {new.term} (image {new.epoch})")
        if new.vote and self.votes.setdefault(new.term, new.vote) != new.vote:
            raise self._broken(f"the witness voted for {self.votes[new.term]} and for {new.vote} in term {new.term}")
        self._header = new
        if new.snapshot_bytes and (old is None or new.voted(0, NOBODY) != old.voted(0, NOBODY)):
            self._new_image(new, memoryview(medium)[new.start * BLOCK_BYTES : new.end * BLOCK_BYTES])

    def _new_image(self, header: Header, area: memoryview) -> None:
        snapshot = decode_snapshot(header, bytes(area[: header.snapshot_bytes]))
        if snapshot is None:
            raise self._broken(f"the witness's header points to image {header.epoch}, which is not there")
        last = (snapshot.term, snapshot.index)
        force_epoch = epoch_of(header.term)
        entries = self._entries(force_epoch)
        offset = (header.log_start - header.start) * BLOCK_BYTES
        while (found := _record(area, offset)) is not None and found[0] == header.epoch and found[1] == last[1] + 1:
            last = (found[2], found[1])
            entries[found[1]] = found[2]
            offset += found[3]
        if last < self._last:
            raise self._broken(
                f"image {header.epoch} of the witness ends at {last[0]}:{last[1]}, "
                f"the one before it at {self._last[0]}:{self._last[1]}"
            )
        self._last = last
        self._snapshot_index[force_epoch] = max(self._snapshot_index.get(force_epoch, 0), snapshot.index)

    def _appended(self, header: Header, data: bytes) -> None:
        """Records behind the image in use. A write that begins within a record is not looked at."""
        offset = 0
        entries = self._entries(epoch_of(header.term))
        while (found := _record(data, offset)) is not None:
            epoch, index, term, size = found
            if epoch != header.epoch:
                raise self._broken(f"a record of image {epoch} was written into image {header.epoch} of the witness")
            if index > self._last[1] + 1:
                raise self._broken(f"entry {index} on the witness follows a gap after {self._last[1]}")
            if index == self._last[1] + 1:
                self._last = (term, index)
            elif entries.get(index, term) != term:
                raise self._broken(f"entry {index} on the witness was overwritten by another")
            entries[index] = term
            offset += size


def _record(data: bytes | memoryview, offset: int) -> tuple[int, int, int, int] | None:
    """Epoch, index, term and bytes of the record whose head stands at an offset; None when there is none."""
    size = record_bytes(data, offset)
    if size is None:
        return None
    head = data[offset : offset + _HEAD.size + 8]
    if zlib.crc32(head) != struct.unpack_from(">I", data, offset + len(head))[0]:
        return None
    magic, epoch, index, term = _HEAD.unpack_from(data, offset)
    assert magic == RECORD_MAGIC
    return epoch, index, term, size
