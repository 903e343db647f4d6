"""SCSI commands and results on the wire: `hvcluster.v1.san_pb2` to and from `hvcluster.model.scsi`.

Law: translation only, the same for both ends. Nothing read here can raise: a command that makes no sense becomes
the CHECK CONDITION a real array would answer, a result that makes no sense becomes UNKNOWN.
"""

from typing import Final

from hvcluster.model.scsi import (
    MAX_INITIATOR_NAME,
    MAX_PORT_NAME,
    MAX_TRANSFER_BLOCKS,
    UNKNOWN,
    Capabilities,
    Capacity,
    Command,
    CompareAndWrite,
    FullStatus,
    Keys,
    Mapping,
    Nexus,
    Payload,
    PersistentReserveIn,
    PersistentReserveOut,
    Read,
    ReadCapacity,
    Registration,
    Reservation,
    ReservationType,
    ReserveIn,
    ReserveOut,
    Result,
    Sense,
    SenseKey,
    Status,
    SynchronizeCache,
    TestUnitReady,
    Unit,
    Write,
)
from hvcluster.model.vocabulary import BLOCK_BYTES, LunId, PathName
from hvcluster.v1 import san_pb2

PROTOCOL_VERSION: Final = 1
"""Rises when an old initiator could misunderstand a new array; new fields alone do not raise it."""
MAX_TRANSFER_BYTES: Final = MAX_TRANSFER_BLOCKS * BLOCK_BYTES
MAX_BATCH_BYTES: Final = 2 * 1024 * 1024  # of data in one message; with one more command it still fits 4 MiB
MAX_BATCH_COMMANDS: Final = 256  # one message must not keep the other side's loop from everything else

INVALID_OPCODE: Final = Result(Status.CHECK_CONDITION, Sense(SenseKey.ILLEGAL_REQUEST, 0x20, 0x00))
"""INVALID COMMAND OPERATION CODE: no command, or one this version does not know."""
INVALID_FIELD: Final = Result(Status.CHECK_CONDITION, Sense(SenseKey.ILLEGAL_REQUEST, 0x24, 0x00))
"""INVALID FIELD IN CDB: a service action, type or length that does not exist."""
INVALID_PARAMETER: Final = Result(Status.CHECK_CONDITION, Sense(SenseKey.ILLEGAL_REQUEST, 0x26, 0x00))
"""INVALID FIELD IN PARAMETER LIST: a nexus to move to that has no usable name."""

_STATUS_OUT: Final = {
    Status.GOOD: san_pb2.SCSI_STATUS_GOOD,
    Status.CHECK_CONDITION: san_pb2.SCSI_STATUS_CHECK_CONDITION,
    Status.RESERVATION_CONFLICT: san_pb2.SCSI_STATUS_RESERVATION_CONFLICT,
    Status.BUSY: san_pb2.SCSI_STATUS_BUSY,
    Status.UNKNOWN: san_pb2.SCSI_STATUS_UNSPECIFIED,
}
_STATUS_IN: Final[dict[int, Status]] = {number: status for status, number in _STATUS_OUT.items()}
_RESERVE_OUT: Final = {int(action): action for action in ReserveOut}
_RESERVE_IN: Final = {int(action): action for action in ReserveIn}
_TYPES: Final = {int(type): type for type in ReservationType}
_SENSE_KEYS: Final = {int(key): key for key in SenseKey}
_TEST_UNIT_READY: Final = TestUnitReady()
_READ_CAPACITY: Final = ReadCapacity()
_SYNCHRONIZE_CACHE: Final = SynchronizeCache()
_USES_TYPE: Final = frozenset(
    (ReserveOut.RESERVE, ReserveOut.RELEASE, ReserveOut.PREEMPT, ReserveOut.PREEMPT_AND_ABORT)
)
_GOOD: Final = Result(Status.GOOD)


def nexus_from_wire(initiator: str, port: str) -> Nexus | None:
    """A nexus with usable names (printable, no blanks at the ends, not too long), or None."""
    for name, limit in ((initiator, MAX_INITIATOR_NAME), (port, MAX_PORT_NAME)):
        if not 0 < len(name) <= limit or not name.isprintable() or name != name.strip():
            return None
    return Nexus(initiator, PathName(port))


def nexus_to_wire(nexus: Nexus) -> san_pb2.ScsiNexus:
    """A nexus for the wire."""
    return san_pb2.ScsiNexus(initiator=nexus.initiator, port=nexus.port)


# --- commands


def command_to_wire(tag: int, lun: LunId, command: Command) -> san_pb2.ScsiCommand:
    """A command for the wire. `tag` is unique among the session's outstanding commands."""
    match command:
        case Write():
            write = san_pb2.ScsiWrite(lba=command.lba, data=command.data, fua=command.fua)
            return san_pb2.ScsiCommand(tag=tag, lun=lun, write=write)
        case Read():
            read = san_pb2.ScsiRead(lba=command.lba, blocks=command.blocks)
            return san_pb2.ScsiCommand(tag=tag, lun=lun, read=read)
        case TestUnitReady():
            return san_pb2.ScsiCommand(tag=tag, lun=lun, test_unit_ready=san_pb2.ScsiTestUnitReady())
        case ReadCapacity():
            return san_pb2.ScsiCommand(tag=tag, lun=lun, read_capacity=san_pb2.ScsiReadCapacity())
        case SynchronizeCache():
            return san_pb2.ScsiCommand(tag=tag, lun=lun, synchronize_cache=san_pb2.ScsiSynchronizeCache())
        case CompareAndWrite():
            swap = san_pb2.ScsiCompareAndWrite(lba=command.lba, expected=command.expected, data=command.data)
            return san_pb2.ScsiCommand(tag=tag, lun=lun, compare_and_write=swap)
        case PersistentReserveOut():
            return san_pb2.ScsiCommand(tag=tag, lun=lun, reserve_out=_reserve_out_to_wire(command))
        case PersistentReserveIn():
            ask = san_pb2.ScsiPersistentReserveIn(action=command.action)
            return san_pb2.ScsiCommand(tag=tag, lun=lun, reserve_in=ask)


def _reserve_out_to_wire(command: PersistentReserveOut) -> san_pb2.ScsiPersistentReserveOut:
    return san_pb2.ScsiPersistentReserveOut(
        action=command.action,
        key=command.key,
        service_key=command.service_key,
        type=command.type,
        move_to=None if command.move_to is None else nexus_to_wire(command.move_to),
        unregister=command.unregister,
    )


def command_from_wire(wire: san_pb2.ScsiCommand) -> Command | Result:
    """The command, or the CHECK CONDITION (ILLEGAL REQUEST) to answer for one that makes no sense.

    Lengths in whole blocks and addresses are the array's to judge: it knows the unit's size.
    """
    match wire.WhichOneof("command"):
        case "write":
            write = wire.write
            data = write.data
            return Write(write.lba, data, write.fua) if len(data) <= MAX_TRANSFER_BYTES else INVALID_FIELD
        case "read":
            return Read(wire.read.lba, wire.read.blocks)
        case "test_unit_ready":
            return _TEST_UNIT_READY
        case "read_capacity":
            return _READ_CAPACITY
        case "synchronize_cache":
            return _SYNCHRONIZE_CACHE
        case "compare_and_write":
            swap = wire.compare_and_write
            return CompareAndWrite(swap.lba, swap.expected, swap.data)
        case "reserve_out":
            return _reserve_out_from_wire(wire.reserve_out)
        case "reserve_in":
            action = _RESERVE_IN.get(wire.reserve_in.action)
            return INVALID_FIELD if action is None else PersistentReserveIn(action)
        case None:
            return INVALID_OPCODE


def _reserve_out_from_wire(wire: san_pb2.ScsiPersistentReserveOut) -> Command | Result:
    action = _RESERVE_OUT.get(wire.action)
    if action is None:
        return INVALID_FIELD
    type = _TYPES.get(wire.type)
    if type is None:
        if action in _USES_TYPE:
            return INVALID_FIELD
        type = ReservationType.WRITE_EXCLUSIVE_REGISTRANTS_ONLY  # ignored by this service action
    move_to = None
    if wire.HasField("move_to"):
        move_to = nexus_from_wire(wire.move_to.initiator, wire.move_to.port)
        if move_to is None:
            return INVALID_PARAMETER
    return PersistentReserveOut(action, wire.key, wire.service_key, type, move_to, wire.unregister)


# --- results


def result_to_wire(tag: int, result: Result) -> san_pb2.ScsiResult:
    """A result for the wire. Raises AssertionError for UNKNOWN, which is what not answering means."""
    assert result.status is not Status.UNKNOWN, "UNKNOWN is the initiator's own finding"
    wire = san_pb2.ScsiResult(tag=tag, status=_STATUS_OUT[result.status])
    if result.sense is not None:
        wire.sense.CopyFrom(sense_to_wire(result.sense))
    payload = result.payload
    match payload:
        case None:
            pass
        case bytes():
            wire.data = payload
        case Capacity():
            wire.capacity.blocks = payload.blocks
        case Keys():
            wire.keys.pr_generation = payload.pr_generation
            wire.keys.keys.extend(payload.keys)
        case Reservation():
            wire.reservation.pr_generation = payload.pr_generation
            if payload.key is not None:
                wire.reservation.key = payload.key
            wire.reservation.type = payload.type or 0
        case FullStatus():
            wire.full_status.pr_generation = payload.pr_generation
            wire.full_status.registrations.extend(registration_to_wire(row) for row in payload.registrations)
        case Capabilities():
            wire.capabilities.aptpl_capable = payload.aptpl_capable
            wire.capabilities.aptpl_active = payload.aptpl_active
            wire.capabilities.types.extend(payload.types)
        case Mapping() | Unit():  # nodes ask for neither
            pass
    return wire


def sense_to_wire(sense: Sense) -> san_pb2.ScsiSense:
    """Sense data for the wire."""
    return san_pb2.ScsiSense(key=sense.key, asc=sense.asc, ascq=sense.ascq)


def sense_from_wire(wire: san_pb2.ScsiSense) -> Sense | None:
    """Sense data, or None where the numbers are none."""
    key = _SENSE_KEYS.get(wire.key)
    return None if key is None or wire.asc > 0xFF or wire.ascq > 0xFF else Sense(key, wire.asc, wire.ascq)


def status_to_wire(status: Status) -> san_pb2.ScsiStatus.ValueType:
    """A status for the wire; UNKNOWN has no number of its own there."""
    return _STATUS_OUT[status]


def status_from_wire(number: int) -> Status:
    """A status; a number nobody knows is UNKNOWN."""
    return _STATUS_IN.get(number, Status.UNKNOWN)


def registration_to_wire(row: Registration) -> san_pb2.ScsiRegistration:
    """One row of READ FULL STATUS for the wire."""
    return san_pb2.ScsiRegistration(nexus=nexus_to_wire(row.nexus), key=row.key, holder=row.holder, type=row.type or 0)


def registration_from_wire(wire: san_pb2.ScsiRegistration) -> Registration | None:
    """One row of READ FULL STATUS, or None where it makes no sense."""
    nexus, type = nexus_from_wire(wire.nexus.initiator, wire.nexus.port), _TYPES.get(wire.type)
    if nexus is None or wire.holder != (type is not None):
        return None
    return Registration(nexus, wire.key, wire.holder, type)


def result_from_wire(wire: san_pb2.ScsiResult) -> Result:
    """The result. One that makes no sense is UNKNOWN: the command may well have been executed."""
    status = status_from_wire(wire.status)
    if status is Status.GOOD:
        kind = wire.WhichOneof("payload")
        if kind is None:
            return _GOOD
        payload = _payload_from_wire(kind, wire)
        return UNKNOWN if payload is None else Result(Status.GOOD, None, payload)
    if status is not Status.CHECK_CONDITION:
        return Result(status)
    sense = sense_from_wire(wire.sense)
    return UNKNOWN if sense is None else Result(status, sense)


def _payload_from_wire(kind: str, wire: san_pb2.ScsiResult) -> Payload:
    """The parameter data, or None where it makes no sense."""
    if kind == "data":
        return wire.data
    if kind == "capacity":
        return Capacity(wire.capacity.blocks)
    if kind == "keys":
        return Keys(wire.keys.pr_generation, tuple(wire.keys.keys))
    if kind == "reservation":
        held, type = wire.reservation, _TYPES.get(wire.reservation.type)
        if held.HasField("key") != (type is not None):
            return None
        return Reservation(held.pr_generation, held.key if type is not None else None, type)
    if kind == "full_status":
        rows = [registration_from_wire(row) for row in wire.full_status.registrations]
        known = tuple(row for row in rows if row is not None)
        return FullStatus(wire.full_status.pr_generation, known) if len(known) == len(rows) else None
    types = tuple(_TYPES[number] for number in wire.capabilities.types if number in _TYPES)
    return Capabilities(wire.capabilities.aptpl_capable, wire.capabilities.aptpl_active, types)
