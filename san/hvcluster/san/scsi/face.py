"""A LUN as SCSI sees it: a CDB and its data go in, status, sense and data come out.

Law: decodes by the one table, lets the core decide and do, and writes down what it said. It holds no state.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple, TypeAlias

from hvcluster.model.scsi import (
    Ask,
    Capabilities,
    Capacity,
    DeviceCommand,
    FullStatus,
    Keys,
    Mapping,
    Read,
    Reservation,
    Result,
    Status,
    Topic,
    Unit,
    Write,
)
from hvcluster.model.vocabulary import LunId
from hvcluster.san.core import sense

from . import parameter_data as data_of
from .data_out import SENDS
from .operations import Operation, find

Perform: TypeAlias = Callable[[LunId, DeviceCommand], Result]
"""Has the core execute a command of this nexus at once."""

_STATUS: Final = {
    Status.GOOD: 0x00,
    Status.CHECK_CONDITION: 0x02,
    Status.BUSY: 0x08,
    Status.RESERVATION_CONFLICT: 0x18,
    Status.UNKNOWN: 0x02,
}
_THERE: Final = Ask(Topic.REQUEST_SENSE)


class Answer(NamedTuple):
    """What goes back for one CDB. `sense` is empty unless the status is CHECK CONDITION."""

    status: int
    sense: bytes
    data: bytes


_GOOD: Final = Answer(0, b"", b"")


def lun_of(field: bytes) -> LunId | None:
    """The LUN of an 8-byte LUN field; None for an address that no unit has (SAM-4 4.6)."""
    if field[2:] != b"\0\0\0\0\0\0":
        return None
    method, high = field[0] >> 6, field[0] & 0x3F
    if method == 0 and high == 0:
        return LunId(field[1])
    if method == 1:
        return LunId(high << 8 | field[1])
    return None


class Face:
    """The device server for one I_T nexus."""

    def __init__(self, perform: Perform, target: str, group: int, thin: Callable[[LunId], bool]) -> None:
        self._perform = perform
        self._target = target
        self._group = group
        self._thin = thin

    @staticmethod
    def wants(cdb: bytes) -> int | None:
        """How many bytes of data the CDB says that come with it; None for one that takes none."""
        sends = SENDS.get(cdb[0])
        return None if sends is None else sends(cdb)

    def run(self, lun: LunId | None, cdb: bytes, data: bytes | memoryview = b"") -> Answer:
        """Execute one CDB of 16 bytes with the data that came with it."""
        found = find(cdb)
        if type(found) is Result:
            return self._without_operation(lun, found)
        assert isinstance(found, Operation), "the other of two"
        command = found.decode(cdb, data)
        if type(command) is Result:
            return self._refused(lun, command)
        result = self._perform(_NOWHERE if lun is None else lun, command)  # type: ignore[arg-type]
        kind = type(command)
        if result.status is Status.GOOD:
            if kind is Read:
                return Answer(0, b"", result.payload)  # type: ignore[arg-type]
            if kind is Write:
                return _GOOD
        elif kind is not Ask:
            return _failed(result)
        return self._described(found, cdb, bytes(data), lun, command, result)  # type: ignore[arg-type]

    def _without_operation(self, lun: LunId | None, why: Result) -> Answer:
        """A missing unit outranks a command that it would not know."""
        return self._refused(lun, why)

    def _refused(self, lun: LunId | None, why: Result) -> Answer:
        unit = self._perform(_NOWHERE if lun is None else lun, Ask(Topic.REPORT_LUNS))
        return _failed(why if unit.status is Status.GOOD else sense.NOT_SUPPORTED)

    def _described(
        self, operation: Operation, cdb: bytes, data: bytes, lun: LunId | None, command: DeviceCommand, result: Result
    ) -> Answer:
        """GOOD, or a question that is answered also where there is no unit."""
        wrote = self._parameter_data(cdb, data, lun, command, result)
        if isinstance(wrote, Result):
            return _failed(wrote)
        if operation.allocation is not None:
            at, size = operation.allocation
            wrote = wrote[: int.from_bytes(cdb[at : at + size], "big")]
        return Answer(0, b"", wrote)

    def _parameter_data(
        self, cdb: bytes, data: bytes, lun: LunId | None, command: DeviceCommand, result: Result
    ) -> bytes | Result:
        payload = result.payload
        match payload:
            case Unit():
                return self._asked(cdb, data, lun, command, result, payload)
            case Capacity():
                if cdb[0] == 0x25:
                    return data_of.capacity10(payload)
                return data_of.capacity16(payload, lun is not None and self._thin(lun))
            case Mapping():
                return data_of.lba_status(cdb, payload)
            case Keys() | Reservation() | Capabilities() | FullStatus():
                return data_of.reserve_in(payload)
            case _:
                pass
        return b"" if result.status is Status.GOOD else result

    def _asked(
        self, cdb: bytes, data: bytes, lun: LunId | None, command: DeviceCommand, result: Result, unit: Unit
    ) -> bytes | Result:
        assert isinstance(command, Ask), "only a question is answered with a unit"
        present = result.status is Status.GOOD
        match command.topic:
            case Topic.INQUIRY:
                who = data_of.Identity(self._target, -1 if lun is None else lun, self._group)
                page = data_of.inquiry(cdb, unit, present, who)
                return sense.INVALID_FIELD if page is None else page
            case Topic.REPORT_LUNS:
                if cdb[2] > 2:
                    return sense.INVALID_FIELD
                return data_of.report_luns(unit if cdb[2] != 1 else Unit(0, False, False))
            case Topic.REQUEST_SENSE:
                return data_of.request_sense(cdb, result)
            case Topic.MODE_SENSE:
                return data_of.mode_sense(cdb, unit)
            case Topic.MODE_SELECT:
                return data_of.mode_select(cdb, data) or b""
            case Topic.OPERATION_CODES:
                return data_of.operation_codes(cdb)
            case Topic.DEFECTS:
                return data_of.defects(cdb)


_NOWHERE: Final = LunId(1 << 16)
"""A number that no LUN has."""


def _failed(result: Result) -> Answer:
    what = result.sense
    return Answer(_STATUS[result.status], data_of.fixed_sense(what) if what is not None else b"", b"")
