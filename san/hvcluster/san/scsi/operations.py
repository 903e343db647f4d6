"""Every CDB that a disk here understands (SPC-4, SBC-3): its name, its fields, and the typed command it becomes.

Law: one table. Dispatch, REPORT SUPPORTED OPERATION CODES and the checks of reserved bits all read it; what a command
does is the core's affair. Nothing here raises for anything an initiator can send: what makes no sense is a `Result`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

from hvcluster.model.scsi import (
    Ask,
    CompareAndWrite,
    DeviceCommand,
    GetLbaStatus,
    OrWrite,
    PersistentReserveIn,
    Prefetch,
    PreventRemoval,
    Read,
    ReadCapacity,
    ReleaseUnit,
    ReserveIn,
    ReserveUnit,
    Result,
    StartStop,
    SynchronizeCache,
    TestUnitReady,
    Topic,
    Unmap,
    Verify,
    Write,
    WriteSame,
)
from hvcluster.model.vocabulary import BLOCK_BYTES
from hvcluster.san.core import sense

from .reserve_out import reserve_out

Data: TypeAlias = bytes | memoryview
Decoded: TypeAlias = DeviceCommand | Result
Decode: TypeAlias = Callable[[bytes, Data], Decoded]

_FUA: Final = 0x08
_U32: Final = struct.Struct(">I")
_U64: Final = struct.Struct(">Q")
_LBA32: Final = struct.Struct(">2xI")
_LBA32_16: Final = struct.Struct(">2xIxH")
_LBA32_32: Final = struct.Struct(">2xII")
_LBA64_32: Final = struct.Struct(">2xQI")


@dataclass(frozen=True, slots=True)
class Operation:
    """One row: `usage` has a one for every bit an initiator may set, as REPORT SUPPORTED OPERATION CODES tells it.

    `allocation`: where the CDB says how much data may come back (offset, bytes); None where it does not.
    """

    opcode: int
    action: int | None
    name: str
    usage: bytes
    decode: Decode
    allocation: tuple[int, int] | None = None

    @property
    def forbidden(self) -> int:
        """The bits that must be zero."""
        size = len(self.usage)
        return int.from_bytes(self.usage, "big") ^ ((1 << 8 * size) - 1)


def _blocks(data: Data, blocks: int) -> bool:
    return len(data) == blocks * BLOCK_BYTES


# the medium


def _lba21(cdb: bytes) -> tuple[int, int]:
    return (cdb[1] & 0x1F) << 16 | cdb[2] << 8 | cdb[3], cdb[4] or 256


def _read6(cdb: bytes, _data: Data) -> Decoded:
    return Read(*_lba21(cdb))


def _read10(cdb: bytes, _data: Data) -> Decoded:
    lba, blocks = _LBA32_16.unpack_from(cdb)
    return Read(lba, blocks)


def _read12(cdb: bytes, _data: Data) -> Decoded:
    lba, blocks = _LBA32_32.unpack_from(cdb)
    return Read(lba, blocks)


def _read16(cdb: bytes, _data: Data) -> Decoded:
    lba, blocks = _LBA64_32.unpack_from(cdb)
    return Read(lba, blocks)


def _write(lba: int, blocks: int, data: Data, fua: bool) -> Decoded:
    """An initiator that sends less than it names has the whole blocks of it written; the transport tells the rest."""
    sent = len(data) // BLOCK_BYTES
    return Write(lba, bytes(data[: min(sent, blocks) * BLOCK_BYTES]), fua)


def _extent(unpack: struct.Struct, cdb: bytes) -> tuple[int, int]:
    lba, blocks = unpack.unpack_from(cdb)
    return lba, blocks


def _write6(cdb: bytes, data: Data) -> Decoded:
    lba, blocks = _lba21(cdb)
    return _write(lba, blocks, data, False)


def _write10(cdb: bytes, data: Data) -> Decoded:
    lba, blocks = _extent(_LBA32_16, cdb)
    return _write(lba, blocks, data, bool(cdb[1] & _FUA))


def _write12(cdb: bytes, data: Data) -> Decoded:
    lba, blocks = _extent(_LBA32_32, cdb)
    return _write(lba, blocks, data, bool(cdb[1] & _FUA))


def _write16(cdb: bytes, data: Data) -> Decoded:
    lba, blocks = _extent(_LBA64_32, cdb)
    return _write(lba, blocks, data, bool(cdb[1] & _FUA))


def _write_atomic(cdb: bytes, data: Data) -> Decoded:
    (lba,) = _U64.unpack_from(cdb, 2)
    boundary, blocks = struct.unpack_from(">HH", cdb, 10)
    return sense.INVALID_FIELD if boundary else _write(lba, blocks, data, bool(cdb[1] & _FUA))


def _write_verify(unpack: struct.Struct) -> Decode:
    """What was written is what is compared, whatever BYTCHK says: on the medium before GOOD."""

    def decode(cdb: bytes, data: Data) -> Decoded:
        lba, blocks = _extent(unpack, cdb)
        return sense.INVALID_FIELD if cdb[1] & 0x06 == 0x04 else _write(lba, blocks, data, True)

    return decode


def _verify(unpack: struct.Struct) -> Decode:
    def decode(cdb: bytes, data: Data) -> Decoded:
        lba, blocks = unpack.unpack_from(cdb)
        match cdb[1] >> 1 & 3:
            case 0:
                return Verify(lba, blocks)
            case 1 if _blocks(data, blocks):
                return Verify(lba, blocks, bytes(data))
            case 3 if _blocks(data, 1):
                return Verify(lba, blocks, bytes(data) * blocks)
        return sense.INVALID_FIELD

    return decode


def _compare_and_write(cdb: bytes, data: Data) -> Decoded:
    (lba,) = _U64.unpack_from(cdb, 2)
    half = cdb[13] * BLOCK_BYTES
    if len(data) != 2 * half:
        return sense.INVALID_FIELD
    return CompareAndWrite(lba, bytes(data[:half]), bytes(data[half:]))


def _or_write(cdb: bytes, data: Data) -> Decoded:
    lba, blocks = _LBA64_32.unpack_from(cdb)
    return OrWrite(lba, bytes(data), bool(cdb[1] & _FUA)) if _blocks(data, blocks) else sense.INVALID_FIELD


def _write_same(lba: int, blocks: int, data: Data, flags: int) -> Decoded:
    unmap, nothing_sent = bool(flags & 0x08), bool(flags & 0x01)
    if flags & 0x10:  # ANCHOR: nothing can be anchored here
        return sense.INVALID_FIELD
    if nothing_sent:
        return WriteSame(lba, blocks, bytes(BLOCK_BYTES), unmap)
    return WriteSame(lba, blocks, bytes(data), unmap) if _blocks(data, 1) else sense.INVALID_FIELD


def _write_same10(cdb: bytes, data: Data) -> Decoded:
    lba, blocks = _extent(_LBA32_16, cdb)
    return _write_same(lba, blocks, data, cdb[1] & ~1)


def _write_same16(cdb: bytes, data: Data) -> Decoded:
    lba, blocks = _extent(_LBA64_32, cdb)
    return _write_same(lba, blocks, data, cdb[1])


def _unmap(cdb: bytes, data: Data) -> Decoded:
    """The parameter list of SBC-3 5.28: an empty one is no error, one that is cut short is."""
    length = struct.unpack_from(">H", cdb, 7)[0]
    if length == 0:
        return Unmap(())
    if length < 8 or len(data) < 8:
        return sense.PARAMETER_LIST_LENGTH
    size = struct.unpack_from(">2xH", data)[0]
    descriptors = data[8 : 8 + size - size % 16]
    if len(descriptors) < size - size % 16:
        return sense.PARAMETER_LIST_LENGTH
    return Unmap(tuple(struct.iter_unpack(">QI4x", descriptors)))


# the unit


def _fixed(command: Decoded) -> Decode:
    return lambda _cdb, _data: command


def _start_stop(cdb: bytes, _data: Data) -> Decoded:
    if cdb[4] >> 4:  # POWER CONDITION: there is nothing to save
        return TestUnitReady()
    return StartStop(bool(cdb[4] & 1), bool(cdb[4] & 2))


def _prevent(cdb: bytes, _data: Data) -> Decoded:
    return PreventRemoval(bool(cdb[4] & 1)) if cdb[4] <= 1 else sense.INVALID_FIELD


def _lba_status(cdb: bytes, _data: Data) -> Decoded:
    return GetLbaStatus(_U64.unpack_from(cdb, 2)[0])


def _prefetch(unpack: struct.Struct) -> Decode:
    return lambda cdb, _data: Prefetch(*unpack.unpack_from(cdb))


def _capacity10(cdb: bytes, _data: Data) -> Decoded:
    return sense.INVALID_FIELD if not cdb[8] & 1 and _U32.unpack_from(cdb, 2)[0] else ReadCapacity()


def _bits(text: str) -> bytes:
    return bytes.fromhex(text)


_TABLE: Final = (
    Operation(0x00, None, "TEST UNIT READY", _bits("00 00 00 00 00 00"), _fixed(TestUnitReady())),
    Operation(0x03, None, "REQUEST SENSE", _bits("03 01 00 00 ff 00"), _fixed(Ask(Topic.REQUEST_SENSE)), (4, 1)),
    Operation(0x08, None, "READ (6)", _bits("08 1f ff ff ff 00"), _read6),
    Operation(0x0A, None, "WRITE (6)", _bits("0a 1f ff ff ff 00"), _write6),
    Operation(0x12, None, "INQUIRY", _bits("12 01 ff ff ff 00"), _fixed(Ask(Topic.INQUIRY)), (3, 2)),
    Operation(0x15, None, "MODE SELECT (6)", _bits("15 11 00 00 ff 00"), _fixed(Ask(Topic.MODE_SELECT))),
    Operation(0x16, None, "RESERVE (6)", _bits("16 00 00 00 00 00"), _fixed(ReserveUnit())),
    Operation(0x17, None, "RELEASE (6)", _bits("17 00 00 00 00 00"), _fixed(ReleaseUnit())),
    Operation(0x1A, None, "MODE SENSE (6)", _bits("1a 08 ff ff ff 00"), _fixed(Ask(Topic.MODE_SENSE)), (4, 1)),
    Operation(0x1B, None, "START STOP UNIT", _bits("1b 01 00 0f f7 00"), _start_stop),
    Operation(0x1E, None, "PREVENT ALLOW MEDIUM REMOVAL", _bits("1e 00 00 00 03 00"), _prevent),
    Operation(0x25, None, "READ CAPACITY (10)", _bits("25 00 ff ff ff ff 00 00 01 00"), _capacity10),
    Operation(0x28, None, "READ (10)", _bits("28 18 ff ff ff ff 1f ff ff 00"), _read10),
    Operation(0x2A, None, "WRITE (10)", _bits("2a 18 ff ff ff ff 1f ff ff 00"), _write10),
    Operation(0x2E, None, "WRITE AND VERIFY (10)", _bits("2e 16 ff ff ff ff 1f ff ff 00"), _write_verify(_LBA32_16)),
    Operation(0x2F, None, "VERIFY (10)", _bits("2f 16 ff ff ff ff 1f ff ff 00"), _verify(_LBA32_16)),
    Operation(0x34, None, "PRE-FETCH (10)", _bits("34 02 ff ff ff ff 1f ff ff 00"), _prefetch(_LBA32_16)),
    Operation(0x35, None, "SYNCHRONIZE CACHE (10)", _bits("35 06 ff ff ff ff 1f ff ff 00"), _fixed(SynchronizeCache())),
    Operation(
        0x37, None, "READ DEFECT DATA (10)", _bits("37 00 1f 00 00 00 00 ff ff 00"), _fixed(Ask(Topic.DEFECTS)), (7, 2)
    ),
    Operation(0x41, None, "WRITE SAME (10)", _bits("41 18 ff ff ff ff 1f ff ff 00"), _write_same10),
    Operation(0x42, None, "UNMAP", _bits("42 00 00 00 00 00 1f ff ff 00"), _unmap),
    Operation(0x55, None, "MODE SELECT (10)", _bits("55 11 00 00 00 00 00 ff ff 00"), _fixed(Ask(Topic.MODE_SELECT))),
    Operation(
        0x5A, None, "MODE SENSE (10)", _bits("5a 18 ff ff 00 00 00 ff ff 00"), _fixed(Ask(Topic.MODE_SENSE)), (7, 2)
    ),
    *(
        Operation(
            0x5E,
            action,
            f"PERSISTENT RESERVE IN {action.name.replace('_', ' ')}",
            _bits(f"5e {action:02x} 00 00 00 00 00 ff ff 00"),
            _fixed(PersistentReserveIn(action)),
            (7, 2),
        )
        for action in ReserveIn
    ),
    *(
        Operation(
            0x5F,
            action,
            f"PERSISTENT RESERVE OUT {name}",
            _bits(f"5f {action:02x} ff 00 00 ff ff ff ff 00"),
            reserve_out,
        )
        for action, name in enumerate(
            (
                "REGISTER",
                "RESERVE",
                "RELEASE",
                "CLEAR",
                "PREEMPT",
                "PREEMPT AND ABORT",
                "REGISTER AND IGNORE EXISTING KEY",
                "REGISTER AND MOVE",
            )
        )
    ),
    Operation(0x88, None, "READ (16)", _bits("88 18" + " ff" * 12 + " 1f 00"), _read16),
    Operation(0x89, None, "COMPARE AND WRITE", _bits("89 18" + " ff" * 8 + " 00 00 00 ff 1f 00"), _compare_and_write),
    Operation(0x8A, None, "WRITE (16)", _bits("8a 18" + " ff" * 12 + " 1f 00"), _write16),
    Operation(0x8B, None, "ORWRITE", _bits("8b 18" + " ff" * 12 + " 1f 00"), _or_write),
    Operation(0x8E, None, "WRITE AND VERIFY (16)", _bits("8e 16" + " ff" * 12 + " 1f 00"), _write_verify(_LBA64_32)),
    Operation(0x8F, None, "VERIFY (16)", _bits("8f 16" + " ff" * 12 + " 1f 00"), _verify(_LBA64_32)),
    Operation(0x90, None, "PRE-FETCH (16)", _bits("90 02" + " ff" * 12 + " 1f 00"), _prefetch(_LBA64_32)),
    Operation(0x91, None, "SYNCHRONIZE CACHE (16)", _bits("91 06" + " ff" * 12 + " 1f 00"), _fixed(SynchronizeCache())),
    Operation(0x93, None, "WRITE SAME (16)", _bits("93 19" + " ff" * 12 + " 1f 00"), _write_same16),
    Operation(0x9C, None, "WRITE ATOMIC (16)", _bits("9c 18" + " ff" * 12 + " 1f 00"), _write_atomic),
    Operation(
        0x9E,
        0x10,
        "READ CAPACITY (16)",
        _bits("9e 10" + " 00" * 8 + " ff ff ff ff 00 00"),
        _fixed(ReadCapacity()),
        (10, 4),
    ),
    Operation(0x9E, 0x12, "GET LBA STATUS", _bits("9e 12" + " ff" * 12 + " 00 00"), _lba_status, (10, 4)),
    Operation(
        0xA0, None, "REPORT LUNS", _bits("a0 00 ff 00 00 00 ff ff ff ff 00 00"), _fixed(Ask(Topic.REPORT_LUNS)), (6, 4)
    ),
    Operation(
        0xA3,
        0x0C,
        "REPORT SUPPORTED OPERATION CODES",
        _bits("a3 0c 87 ff ff ff ff ff ff ff 00 00"),
        _fixed(Ask(Topic.OPERATION_CODES)),
        (6, 4),
    ),
    Operation(0xA8, None, "READ (12)", _bits("a8 18 ff ff ff ff ff ff ff ff 1f 00"), _read12),
    Operation(0xAA, None, "WRITE (12)", _bits("aa 18 ff ff ff ff ff ff ff ff 1f 00"), _write12),
    Operation(
        0xAE, None, "WRITE AND VERIFY (12)", _bits("ae 16 ff ff ff ff ff ff ff ff 1f 00"), _write_verify(_LBA32_32)
    ),
    Operation(0xAF, None, "VERIFY (12)", _bits("af 16 ff ff ff ff ff ff ff ff 1f 00"), _verify(_LBA32_32)),
    Operation(
        0xB7,
        None,
        "READ DEFECT DATA (12)",
        _bits("b7 1f 00 00 00 00 ff ff ff ff 00 00"),
        _fixed(Ask(Topic.DEFECTS)),
        (6, 4),
    ),
)

OPERATIONS: Final[dict[int, Operation | dict[int, Operation]]] = {}
"""Every operation by its code, and where it has service actions by those."""
for _each in _TABLE:
    if _each.action is None:
        OPERATIONS[_each.opcode] = _each
    else:
        _family = OPERATIONS.setdefault(_each.opcode, {})
        assert isinstance(_family, dict), "an operation has service actions or none"
        _family[_each.action] = _each

ALL: Final = _TABLE


def find(cdb: bytes) -> Operation | Result:
    """The operation of a CDB of 16 bytes, or why there is none. Bits that must be zero and are not are refused."""
    found = OPERATIONS.get(cdb[0])
    if found is None:
        return sense.INVALID_OPCODE
    if isinstance(found, dict):
        found = found.get(cdb[1] & 0x1F)
        if found is None:
            return sense.INVALID_FIELD
    size = len(found.usage)
    if int.from_bytes(cdb[1:size], "big") & _FORBIDDEN[found]:
        return sense.INVALID_FIELD
    return found


_FORBIDDEN: Final = {each: each.forbidden & ((1 << 8 * (len(each.usage) - 1)) - 1) for each in _TABLE}
