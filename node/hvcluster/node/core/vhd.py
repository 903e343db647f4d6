"""The fixed VHD a VM lives in: the virtual disk fills its LUN, data blocks first, the footer in the last block.

Law: pure bytes. Source: Microsoft, Virtual Hard Disk Image Format Specification 1.0 (hard disk footer, CHS).
A LUN without a valid footer in its last block holds no virtual disk; growing a LUN moves its last block, so the disk
must be grown with it.
"""

from __future__ import annotations

import hashlib
import struct
from typing import Final

from hvcluster.model.vocabulary import BLOCK_BYTES

COOKIE: Final = b"conectix"
FEATURES: Final = 0x0000_0002  # the reserved bit that is always set
VERSION: Final = 0x0001_0000
NO_HEADER: Final = 0xFFFF_FFFF_FFFF_FFFF  # data offset of a fixed disk
CREATOR: Final = b"win "  # Hyper-V; QEMU believes the size field (not the geometry) of images made by it
CREATOR_VERSION: Final = 0x0006_0003  # Windows Server 2012 R2
CREATOR_HOST: Final = b"Wi2k"
FIXED: Final = 2

MAX_VHD_BYTES: Final = 2040 << 30  # a VHD ends at 2040 GiB; larger disks need VHDX
MAX_CHS_SECTORS: Final = 65535 * 16 * 255

_FOOTER: Final = struct.Struct(">8sIIQI4sI4sQQHBBII16sB427x")
_CHECKSUM_AT: Final = slice(64, 68)


def geometry(sectors: int) -> tuple[int, int, int]:
    """Cylinders, heads and sectors per track for a number of 512-byte sectors (specification, appendix)."""
    sectors = min(sectors, MAX_CHS_SECTORS)
    if sectors >= 65535 * 16 * 63:
        per_track, heads = 255, 16
        tracks = sectors // per_track
    else:
        per_track = 17
        tracks = sectors // per_track
        heads = max(4, (tracks + 1023) // 1024)
        if tracks >= heads * 1024 or heads > 16:
            per_track, heads = 31, 16
            tracks = sectors // per_track
        if tracks >= heads * 1024:
            per_track, heads = 63, 16
            tracks = sectors // per_track
    return tracks // heads, heads, per_track


def checksum(footer: bytes) -> int:
    """Ones' complement of the sum of all bytes except the checksum field itself (32 bits)."""
    return ~(sum(footer) - sum(footer[_CHECKSUM_AT])) & 0xFFFF_FFFF


def make_footer(data_blocks: int, unique_id: bytes, created_s: int = 0) -> bytes:
    """The 512-byte footer of a fixed disk.

    `data_blocks` counts the blocks before the footer; `unique_id` is 16 bytes; `created_s` counts seconds since
    2000-01-01 00:00 UTC.
    """
    size = data_blocks * BLOCK_BYTES
    assert len(unique_id) == 16
    assert 0 < size <= MAX_VHD_BYTES
    footer = _FOOTER.pack(
        COOKIE, FEATURES, VERSION, NO_HEADER, created_s, CREATOR, CREATOR_VERSION, CREATOR_HOST,
        size, size, *geometry(data_blocks), FIXED, 0, unique_id, 0,
    )  # fmt: skip
    return footer[:64] + struct.pack(">I", checksum(footer)) + footer[68:]


def footer_problem(footer: bytes, lun_blocks: int) -> str | None:
    """Why the last block of a LUN of `lun_blocks` blocks is not the footer of its virtual disk; None when it is."""
    if len(footer) != BLOCK_BYTES:
        return f"a VHD footer has {BLOCK_BYTES} bytes, this has {len(footer)}"
    if not any(footer):
        return "the last block of the LUN is blank: there is no VHD on it, or the LUN was grown without its VHD"
    cookie, _, version, offset, *_, size, _, _, _, kind, stated, _, _ = _FOOTER.unpack(footer)
    if cookie != COOKIE:
        return "the last block of the LUN is no VHD footer: the cookie 'conectix' is missing"
    if stated != checksum(footer):
        return f"the VHD footer is damaged: its checksum says {stated:08x}, its bytes {checksum(footer):08x}"
    if version >> 16 != VERSION >> 16:
        return f"the VHD has format version {version >> 16}; only version 1 is known"
    if kind != FIXED or offset != NO_HEADER:
        return f"the VHD is not a fixed disk (type {kind}); only fixed disks are run from a LUN"
    expected = (lun_blocks - 1) * BLOCK_BYTES
    if size != expected:
        return f"the VHD says it has {size} bytes, but there are {expected} before its footer"
    return None


def disk_id(vm: str) -> bytes:
    """The 16-byte unique id of the virtual disk of a VM: the same wherever it is computed."""
    return hashlib.blake2b(vm.encode(), digest_size=16, person=b"hvcluster-vhd").digest()


def format_disk(lun_blocks: int, vm: str) -> tuple[tuple[int, bytes], ...]:
    """What to write, as (lba, bytes), to make a zero-filled LUN the virtual disk of a VM."""
    return ((lun_blocks - 1, make_footer(lun_blocks - 1, disk_id(vm))),)
