"""How much data a CDB says that come with it.

Law: arithmetic on CDBs; the commands themselves are in `operations`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final

from hvcluster.model.vocabulary import BLOCK_BYTES

_BLOCKS16: Final = struct.Struct(">7xH")
_BLOCKS32_12: Final = struct.Struct(">6xI")
_BLOCKS32_16: Final = struct.Struct(">10xI")


def _of_blocks(unpack: struct.Struct) -> Callable[[bytes], int]:
    def sends(cdb: bytes) -> int:
        (blocks,) = unpack.unpack_from(cdb)
        return int(blocks) * BLOCK_BYTES

    return sends


def _of_verify(unpack: struct.Struct) -> Callable[[bytes], int]:
    """BYTCHK: nothing, all blocks, or one."""
    all_blocks = _of_blocks(unpack)

    def sends(cdb: bytes) -> int:
        how = cdb[1] >> 1 & 3
        return 0 if how == 0 else BLOCK_BYTES if how == 3 else all_blocks(cdb)

    return sends


SENDS: Final[dict[int, Callable[[bytes], int]]] = {
    0x0A: lambda cdb: (cdb[4] or 256) * BLOCK_BYTES,
    0x15: lambda cdb: cdb[4],
    0x2A: _of_blocks(_BLOCKS16),
    0x2E: _of_blocks(_BLOCKS16),
    0x2F: _of_verify(_BLOCKS16),
    0x41: lambda _cdb: BLOCK_BYTES,
    0x42: lambda cdb: int.from_bytes(cdb[7:9], "big"),
    0x55: lambda cdb: int.from_bytes(cdb[7:9], "big"),
    0x5F: lambda cdb: int.from_bytes(cdb[5:9], "big"),
    0x89: lambda cdb: 2 * cdb[13] * BLOCK_BYTES,
    0x8A: _of_blocks(_BLOCKS32_16),
    0x8B: _of_blocks(_BLOCKS32_16),
    0x8E: _of_blocks(_BLOCKS32_16),
    0x8F: _of_verify(_BLOCKS32_16),
    0x93: lambda cdb: 0 if cdb[1] & 1 else BLOCK_BYTES,
    0x9C: lambda cdb: int.from_bytes(cdb[12:14], "big") * BLOCK_BYTES,
    0xAA: _of_blocks(_BLOCKS32_12),
    0xAE: _of_blocks(_BLOCKS32_12),
    0xAF: _of_verify(_BLOCKS32_12),
}
"""Bytes, for the operations that take any data."""

PLAIN_WRITES: Final = frozenset({0x0A, 0x2A, 0x2E, 0x8A, 0x8E, 0x9C, 0xAA, 0xAE})
"""Operations that take the data they name and leave the rest, where an initiator has sent more."""
