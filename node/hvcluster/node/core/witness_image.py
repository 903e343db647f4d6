"""How a disk witness is laid out: one header block, and two areas that take turns holding a snapshot and a log.

Law: bytes only, checked on the way in. The header is one block, so it changes at once or not at all; a new image is
written beside the old one and counts when the header points to it. A log record counts only when its epoch is the
header's.
"""

from __future__ import annotations

import struct
import zlib

from hvcluster.model.codec import Malformed, dump, dump_tagged, load, load_tagged
from hvcluster.model.values import value
from hvcluster.model.vocabulary import BLOCK_BYTES, NOBODY, NodeId

from .commands import COMMANDS
from .messages import Entry
from .saved import Snapshot

MAGIC = b"HVWITN01"
RECORD_MAGIC = 0x4856_5245
_HEADER = struct.Struct(">8sQQIIQQI")  # magic, epoch, term, vote, area, snapshot bytes, area blocks, snapshot checksum
_RECORD = struct.Struct(">IQQQII")  # magic, epoch, index, term, payload bytes, payload checksum
MAX_RECORD_BYTES = 1 << 20


@value
class Header:
    """What the witness knows besides its log: its term, whom it voted for, and where the image is."""

    epoch: int
    term: int
    vote: NodeId
    area: int
    snapshot_bytes: int
    area_blocks: int
    snapshot_crc: int

    @staticmethod
    def blank(lun_blocks: int) -> Header:
        """A witness that nobody has used: no term, no vote, no image."""
        return Header(0, 0, NOBODY, 1, 0, (lun_blocks - 1) // 2, 0)

    def encode(self) -> bytes:
        body = _HEADER.pack(
            MAGIC, self.epoch, self.term, self.vote, self.area, self.snapshot_bytes, self.area_blocks, self.snapshot_crc
        )
        return (body + struct.pack(">I", zlib.crc32(body))).ljust(BLOCK_BYTES, b"\0")

    @staticmethod
    def decode(block: bytes) -> Header | None:
        """The header in a block, or None when it is not one."""
        body = block[: _HEADER.size]
        if len(block) != BLOCK_BYTES or struct.unpack_from(">I", block, _HEADER.size)[0] != zlib.crc32(body):
            return None
        magic, *rest = _HEADER.unpack(body)
        if magic != MAGIC:
            return None
        epoch, term, vote, area, size, blocks, crc = rest
        return Header(epoch, term, NodeId(vote), area, size, blocks, crc)

    @property
    def start(self) -> int:
        """The first block of the area in use."""
        return 1 + self.area * self.area_blocks

    @property
    def end(self) -> int:
        """One past its last block."""
        return self.start + self.area_blocks

    @property
    def log_start(self) -> int:
        """Where log records begin."""
        return self.start + blocks_of(self.snapshot_bytes)

    def voted(self, term: int, vote: NodeId) -> Header:
        """The same image with a vote in a term."""
        return Header(self.epoch, term, vote, self.area, self.snapshot_bytes, self.area_blocks, self.snapshot_crc)


def blocks_of(size: int) -> int:
    """Whole blocks that `size` bytes fill."""
    return -(-size // BLOCK_BYTES)


def pad(data: bytes) -> bytes:
    """Filled up to whole blocks."""
    return data.ljust(blocks_of(len(data)) * BLOCK_BYTES, b"\0")


def encode_record(epoch: int, entry: Entry) -> bytes:
    """One log entry as whole blocks."""
    payload = dump_tagged(entry.command)
    head = _RECORD.pack(RECORD_MAGIC, epoch, entry.index, entry.term, len(payload), zlib.crc32(payload))
    return pad(head + struct.pack(">I", zlib.crc32(head)) + payload)


@value
class NewImage:
    """A fresh image for the other area: its bytes, and the header that makes it count."""

    lba: int
    data: bytes
    header: Header


def new_image(old: Header, snapshot: Snapshot, entries: tuple[Entry, ...]) -> NewImage | None:
    """A whole image of a log, next to the one in use; None when it does not fit."""
    body = dump(snapshot)
    header = Header(old.epoch + 1, old.term, old.vote, 1 - old.area, len(body), old.area_blocks, zlib.crc32(body))
    data = pad(body) + b"".join(encode_record(header.epoch, entry) for entry in entries)
    if blocks_of(len(data)) > header.area_blocks:
        return None
    return NewImage(header.start, data, header)


def decode_snapshot(header: Header, data: bytes) -> Snapshot | None:
    """The snapshot in the area, or None when the bytes are not the ones the header speaks of."""
    body = data[: header.snapshot_bytes]
    if zlib.crc32(body) != header.snapshot_crc:
        return None
    try:
        return load(Snapshot, body)
    except Malformed:
        return None


def decode_record(header: Header, data: bytes, offset: int, index: int) -> tuple[Entry, int] | None:
    """The record of log index `index` at a byte offset, and its size in bytes; None when it is not (all) there."""
    if len(data) < offset + _RECORD.size + 4:
        return None
    head = data[offset : offset + _RECORD.size]
    magic, epoch, found, term, size, crc = _RECORD.unpack(head)
    if magic != RECORD_MAGIC or epoch != header.epoch or found != index or size > MAX_RECORD_BYTES:
        return None
    if struct.unpack_from(">I", data, offset + _RECORD.size)[0] != zlib.crc32(head):
        return None
    start = offset + _RECORD.size + 4
    payload = data[start : start + size]
    if len(payload) < size or zlib.crc32(payload) != crc:
        return None
    try:
        command = load_tagged(COMMANDS, payload)
    except Malformed:
        return None
    return Entry(index, term, command), blocks_of(_RECORD.size + 4 + size) * BLOCK_BYTES


def record_bytes(data: bytes | memoryview, offset: int) -> int | None:
    """How many bytes the record at `offset` says it takes; None when there is no record head."""
    if len(data) < offset + _RECORD.size or struct.unpack_from(">I", data, offset)[0] != RECORD_MAGIC:
        return None
    size = int(_RECORD.unpack_from(data, offset)[4])
    return blocks_of(_RECORD.size + 4 + size) * BLOCK_BYTES if size <= MAX_RECORD_BYTES else None
