"""What a disk answers with, as bytes: parameter data of every command that returns more than blocks, and sense data.

Law: pure translation of typed results; how a unit is, the core has said. Layouts are those of SPC-4 and SBC-3.
"""

from __future__ import annotations

import hashlib
import struct
from typing import Final

from hvcluster.model.scsi import (
    MAX_COMPARE_BLOCKS,
    Capabilities,
    Capacity,
    FullStatus,
    Keys,
    Mapping,
    Nexus,
    Reservation,
    Result,
    Sense,
    SenseKey,
    Status,
    Unit,
)
from hvcluster.model.vocabulary import BLOCK_BYTES
from hvcluster.san.core import sense
from hvcluster.san.core.commands import MAX_UNMAP_EXTENTS, MAX_WRITE_SAME_BLOCKS

from .operations import ALL, OPERATIONS, Operation
from .reserve_out import port_parts, transport_id

VENDOR: Final = b"HVCLUSTR"
PRODUCT: Final = b"VIRTUAL DISK    "
REVISION: Final = b"0001"
GRANULARITY: Final = 8  # blocks: what a file system frees is 4 KiB
_NOT_THERE: Final = 0x7F  # peripheral qualifier 3: no such unit
_VERSIONS: Final = (0x0080, 0x0960, 0x0460, 0x04C0)  # SAM-4, iSCSI, SPC-4, SBC-3


def fixed_sense(what: Sense) -> bytes:
    """Sense data in fixed format (SPC-4 4.5.3)."""
    return struct.pack(">BxB4xB4xBB4x", 0x70, what.key, 10, what.asc, what.ascq)


def descriptor_sense(what: Sense) -> bytes:
    """Sense data in descriptor format (SPC-4 4.5.2), without descriptors."""
    return struct.pack(">BBBB4x", 0x72, what.key, what.asc, what.ascq)


def request_sense(cdb: bytes, result: Result) -> bytes:
    """What was not told yet, or that there is nothing to tell."""
    unit = result.payload
    pending = unit.sense if isinstance(unit, Unit) else None
    if pending is None and result.sense is not None:
        pending = result.sense
    if pending is None:
        return descriptor_sense(_NOTHING) if cdb[1] & 1 else fixed_sense(_NOTHING)
    return descriptor_sense(pending) if cdb[1] & 1 else fixed_sense(pending)


_NOTHING: Final = Sense(SenseKey.NO_SENSE, 0, 0)


class Identity:
    """Names of one logical unit: a serial number, an NAA identifier, the port it is reached through."""

    __slots__ = ("group", "naa", "serial", "target")

    def __init__(self, target: str, lun: int, group: int) -> None:
        digest = hashlib.sha256(f"{target}/{lun}".encode()).hexdigest()
        self.target = target
        self.group = group
        self.serial = digest[:16].upper().encode()
        self.naa = bytes.fromhex("3" + digest[:15])  # locally assigned: unique by chance, not by a registry


def inquiry(cdb: bytes, unit: Unit, present: bool, who: Identity) -> bytes | None:
    """Standard data or a page of vital product data; None for a page that does not exist."""
    if not cdb[1] & 1:
        return None if cdb[2] else _standard(unit, present)
    page = _PAGES.get(cdb[2])
    if page is None or (cdb[2] == 0xB2 and not unit.thin):
        return None
    body = page(unit, who)
    return struct.pack(">BBH", 0 if present else _NOT_THERE, cdb[2], len(body)) + body


def _standard(unit: Unit, present: bool) -> bytes:
    data = bytearray(96)
    data[0] = 0 if present else _NOT_THERE
    data[1] = 0x80 if unit.removable else 0
    data[2:5] = bytes((0x06, 0x12, 91))
    data[6] = 0x10  # MULTIP
    data[7] = 0x02  # CMDQUE
    data[8:36] = VENDOR + PRODUCT + REVISION
    struct.pack_into(">4H", data, 58, *_VERSIONS)
    return bytes(data)


def _supported_pages(unit: Unit, _who: Identity) -> bytes:
    return bytes(page for page in sorted(_PAGES) if unit.thin or page != 0xB2)


def _serial(_unit: Unit, who: Identity) -> bytes:
    return who.serial


def _identification(_unit: Unit, who: Identity) -> bytes:
    vendor = VENDOR + who.serial
    name = f"{who.target},t,0x{who.group:04x}".encode() + b"\0"
    name = name.ljust(-(-len(name) // 4) * 4, b"\0")
    group = struct.pack(">2xH", who.group)
    return b"".join(
        (
            struct.pack(">BBxB", 0x02, 0x01, len(vendor)) + vendor,
            struct.pack(">BBxB", 0x01, 0x03, len(who.naa)) + who.naa,
            struct.pack(">BBxB", 0x51, 0x94, 4) + group,  # relative target port identifier
            struct.pack(">BBxB", 0x51, 0x95, 4) + group,  # target port group
            struct.pack(">BBxB", 0x53, 0x98, len(name)) + name,
        )
    )


def _extended(_unit: Unit, _who: Identity) -> bytes:
    data = bytearray(60)
    data[2] = 0x07  # SIMPSUP, ORDSUP, HEADSUP
    return bytes(data)


def _limits(unit: Unit, _who: Identity) -> bytes:
    return struct.pack(
        ">BBHIIIIIIIQIIIII",
        0,
        MAX_COMPARE_BLOCKS,
        GRANULARITY,
        MAX_TRANSFER,
        MAX_TRANSFER,
        0,
        0xFFFF_FFFF if unit.thin else 0,
        MAX_UNMAP_EXTENTS if unit.thin else 0,
        GRANULARITY if unit.thin else 0,
        0x8000_0000 if unit.thin else 0,
        MAX_WRITE_SAME_BLOCKS,
        MAX_TRANSFER,
        0,
        0,
        0,
        0,
    )


MAX_TRANSFER: Final = 32_768
"""Blocks that one command may transfer here: 16 MiB."""


def _characteristics(_unit: Unit, _who: Identity) -> bytes:
    return struct.pack(">H58x", 1)  # no rotation


def _provisioning(_unit: Unit, _who: Identity) -> bytes:
    return struct.pack(">BBBB", 0, 0xE4, 0x02, 0)  # UNMAP and both WRITE SAME unmap, what was unmapped reads as zeros


_PAGES: Final = {
    0x00: _supported_pages,
    0x80: _serial,
    0x83: _identification,
    0x86: _extended,
    0xB0: _limits,
    0xB1: _characteristics,
    0xB2: _provisioning,
}


def report_luns(unit: Unit) -> bytes:
    """The units an initiator sees, in peripheral device addressing."""
    return struct.pack(">I4x", 8 * len(unit.luns)) + b"".join(struct.pack(">BB6x", 0, lun) for lun in unit.luns)


def capacity10(payload: Capacity) -> bytes:
    return struct.pack(">II", min(payload.blocks - 1, 0xFFFF_FFFF), BLOCK_BYTES)


def capacity16(payload: Capacity, thin: bool) -> bytes:
    """One logical block in a physical one; thin: LBPME and LBPRZ."""
    return struct.pack(">QIBBH16x", payload.blocks - 1, BLOCK_BYTES, 0, 0, 0xC000 if thin else 0)


def lba_status(cdb: bytes, payload: Mapping) -> bytes:
    """One descriptor, from the block on that was asked for."""
    (lba,) = struct.unpack_from(">Q", cdb, 2)
    return struct.pack(">I4xQIB3x", 20, lba, min(payload.blocks, 0xFFFF_FFFF), 0 if payload.mapped else 1)


def reserve_in(payload: Keys | Reservation | Capabilities | FullStatus) -> bytes:
    """Parameter data of PERSISTENT RESERVE IN (SPC-4 6.15)."""
    match payload:
        case Keys():
            return struct.pack(f">II{len(payload.keys)}Q", payload.pr_generation, 8 * len(payload.keys), *payload.keys)
        case Reservation():
            if payload.type is None:
                return struct.pack(">II", payload.pr_generation, 0)
            return struct.pack(">IIQ4xxB2x", payload.pr_generation, 16, payload.key or 0, payload.type)
        case Capabilities():
            flags = 0x01 if payload.aptpl_capable else 0
            mask = sum(_TYPE_BITS[each] for each in payload.types)
            return struct.pack(">HBBH2x", 8, flags, 0x80 | (1 if payload.aptpl_active else 0), mask)
        case FullStatus():
            rows = b"".join(_registration(row.nexus, row.key, row.type, row.holder) for row in payload.registrations)
            return struct.pack(">II", payload.pr_generation, len(rows)) + rows


_TYPE_BITS: Final = {1: 0x0200, 3: 0x0800, 5: 0x2000, 6: 0x4000, 7: 0x8000, 8: 0x0001}


def _registration(nexus: Nexus, key: int, type: int | None, holder: bool) -> bytes:
    parts = port_parts(nexus.port)
    name = transport_id(nexus)
    group = 0 if parts is None else parts[1]
    return struct.pack(">Q4xBB4xHI", key, 1 if holder else 0, type or 0, group, len(name)) + name


_CACHING: Final = bytes((0x08, 0x12, 0x00)) + bytes(17)
_CONTROL: Final = bytes((0x0A, 0x0A, 0x00)) + bytes(9)
_EXCEPTIONS: Final = bytes((0x1C, 0x0A)) + bytes(10)
_MODE_PAGES: Final = {0x08: _CACHING, 0x0A: _CONTROL, 0x1C: _EXCEPTIONS}


def mode_sense(cdb: bytes, unit: Unit) -> bytes | Result:
    """Mode pages: caching, control and informational exceptions. None of them can be changed."""
    page, subpage, control = cdb[2] & 0x3F, cdb[3], cdb[2] >> 6
    if control == 3:
        return SAVING_NOT_SUPPORTED
    if subpage not in (0, 0xFF) or (page != 0x3F and page not in _MODE_PAGES):
        return sense.INVALID_FIELD
    chosen = [_MODE_PAGES[each] for each in (sorted(_MODE_PAGES) if page == 0x3F else [page])]
    if control == 1:  # changeable values: none
        chosen = [each[:2] + bytes(len(each) - 2) for each in chosen]
    pages = b"".join(chosen)
    long = cdb[0] == 0x5A
    blocks = b"" if cdb[1] & 0x08 else struct.pack(">II", min(unit.blocks, 0xFFFF_FFFF), BLOCK_BYTES)
    specific = 0x10  # DPOFUA
    if long:
        return struct.pack(">HBBBxH", 6 + len(blocks) + len(pages), 0, specific, 0, len(blocks)) + blocks + pages
    return struct.pack(">BBBB", 3 + len(blocks) + len(pages), 0, specific, len(blocks)) + blocks + pages


SAVING_NOT_SUPPORTED: Final = Result(Status.CHECK_CONDITION, Sense(SenseKey.ILLEGAL_REQUEST, 0x39, 0x00))


def mode_select(cdb: bytes, data: bytes) -> Result | None:
    """Values that are as they are may be set again; any other is refused."""
    header = 8 if cdb[0] == 0x55 else 4
    length = struct.unpack_from(">H", cdb, 7)[0] if cdb[0] == 0x55 else cdb[4]
    if length == 0:
        return None
    if len(data) < header or len(data) < length:
        return sense.PARAMETER_LIST_LENGTH
    skip = struct.unpack_from(">H", data, 6)[0] if header == 8 else data[3]
    pages = data[header + skip : length]
    while pages:
        known = _MODE_PAGES.get(pages[0] & 0x3F)
        if known is None or pages[: len(known)] != bytes((pages[0] & 0x3F,)) + known[1:]:
            return sense.INVALID_PARAMETER
        pages = pages[len(known) :]
    return None


def operation_codes(cdb: bytes) -> bytes | Result:
    """REPORT SUPPORTED OPERATION CODES (SPC-4 6.37), from the one table."""
    timeouts, options = bool(cdb[2] & 0x80), cdb[2] & 7
    opcode, (action,) = cdb[3], struct.unpack_from(">H", cdb, 4)
    if options == 0:
        rows = b"".join(_row(each, timeouts) for each in ALL)
        return struct.pack(">I", len(rows)) + rows
    found = OPERATIONS.get(opcode)
    if options == 1:
        if isinstance(found, dict):
            return sense.INVALID_FIELD
    elif options == 2:
        if found is not None and not isinstance(found, dict):
            return sense.INVALID_FIELD
        found = None if found is None else found.get(action)
    elif options == 3:
        found = found.get(action) if isinstance(found, dict) else found if action == 0 else None
    else:
        return sense.INVALID_FIELD
    if found is None:
        return struct.pack(">BBH", 0, 1, 0)
    assert isinstance(found, Operation), "actions were looked up"
    tail = _NO_TIMEOUTS if timeouts else b""
    return struct.pack(">BBH", 0, (0x80 if timeouts else 0) | 3, len(found.usage)) + found.usage + tail


_NO_TIMEOUTS: Final = struct.pack(">H10x", 10)


def _row(each: Operation, timeouts: bool) -> bytes:
    flags = (1 if each.action is not None else 0) | (2 if timeouts else 0)
    row = struct.pack(">BxHxBH", each.opcode, each.action or 0, flags, len(each.usage))
    return row + _NO_TIMEOUTS if timeouts else row


def defects(cdb: bytes) -> bytes:
    """READ DEFECT DATA: there are none, in the format that was asked for."""
    if cdb[0] == 0x37:
        return struct.pack(">BBH", 0, cdb[2] & 0x1F, 0)
    return struct.pack(">BB2xI", 0, cdb[1] & 0x1F, 0)
