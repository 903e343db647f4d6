"""iSCSI PDUs as bytes (RFC 7143 11): cutting a stream of them apart, and writing ours.

Law: sans I/O. Lengths are checked before anything is kept; digests are checked here and nowhere else.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from enum import IntEnum
from typing import Final, NamedTuple

import google_crc32c

BHS: Final = 48
NO_TAG: Final = 0xFFFF_FFFF
FINAL: Final = 0x80


class Opcode(IntEnum):
    """RFC 7143 11.2.1.2."""

    NOP_OUT = 0x00
    SCSI_COMMAND = 0x01
    TASK_MANAGEMENT = 0x02
    LOGIN = 0x03
    TEXT = 0x04
    DATA_OUT = 0x05
    LOGOUT = 0x06
    SNACK = 0x10
    NOP_IN = 0x20
    SCSI_RESPONSE = 0x21
    TASK_MANAGEMENT_RESPONSE = 0x22
    LOGIN_RESPONSE = 0x23
    TEXT_RESPONSE = 0x24
    DATA_IN = 0x25
    LOGOUT_RESPONSE = 0x26
    R2T = 0x31
    ASYNC_MESSAGE = 0x32
    REJECT = 0x3F


class Pdu(NamedTuple):
    """One PDU as it came: its basic header segment and its data, without padding and digests.

    `damaged`: its data did not match their digest.
    """

    header: bytes
    data: bytes | memoryview
    damaged: bool = False

    @property
    def opcode(self) -> int:
        return self.header[0] & 0x3F

    @property
    def immediate(self) -> bool:
        return bool(self.header[0] & 0x40)


class ProtocolError(Exception):
    """The stream cannot be cut any more; the connection ends. The message is for the log."""


def crc(data: bytes | memoryview) -> bytes:
    """A CRC32C digest as it stands on the wire."""
    return struct.pack("<I", google_crc32c.value(bytes(data)))


class Framer:
    """Cuts one connection's bytes into PDUs.

    `most`: the longest data segment that is taken. Digests are checked once they have been negotiated.
    """

    __slots__ = ("_parts", "_waiting", "_wanted", "data_digest", "header_digest", "most")

    def __init__(self, most: int) -> None:
        self.most = most
        self.header_digest = False
        self.data_digest = False
        self._parts: list[bytes] = []
        self._waiting = 0
        self._wanted = BHS

    def feed(self, chunk: bytes) -> Iterator[Pdu]:
        """All PDUs that are whole now. Raises ProtocolError."""
        if self._parts:
            self._parts.append(chunk)
            self._waiting += len(chunk)
            if self._waiting < self._wanted:
                return
            chunk = b"".join(self._parts)
            self._parts.clear()
        at, size = 0, len(chunk)
        while size - at >= BHS:
            ahs, length = chunk[at + 4] * 4, int.from_bytes(chunk[at + 5 : at + 8], "big")
            if length > self.most:
                raise ProtocolError(f"a data segment of {length} bytes; {self.most} were declared")
            start = at + BHS + ahs + (4 if self.header_digest else 0)
            end = start + length
            whole = end + (-length & 3) + (4 if self.data_digest and length else 0)
            if whole > size:
                self._wanted = whole - at
                break
            if self.header_digest and crc(chunk[at : at + BHS + ahs]) != chunk[start - 4 : start]:
                raise ProtocolError("a header does not match its digest")
            data: bytes | memoryview = memoryview(chunk)[start:end] if length else b""
            damaged = bool(self.data_digest and length) and crc(chunk[start : whole - 4]) != chunk[whole - 4 : whole]
            yield Pdu(chunk[at : at + BHS], data, damaged)
            at = whole
        else:
            self._wanted = BHS
        if at < size:
            self._parts.append(chunk[at:])
        self._waiting = size - at


_PAD: Final = (b"", b"\0\0\0", b"\0\0", b"\0")


def whole(
    header: bytes, data: bytes | memoryview, *, header_digest: bool, data_digest: bool
) -> list[bytes | memoryview]:
    """A PDU of ours in the pieces that go onto the wire. `header` tells the length of `data` already."""
    parts: list[bytes | memoryview] = [header]
    if header_digest:
        parts.append(crc(header))
    if data:
        pad = _PAD[len(data) & 3]
        parts.append(data)
        if pad:
            parts.append(pad)
        if data_digest:
            parts.append(crc(bytes(data) + pad))
    return parts
