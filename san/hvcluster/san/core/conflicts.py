"""Who may do what while a persistent reservation is held: SPC-4 tables 65 and 66 and SBC-3 table 13, as data.

Law: tables only; nothing here knows a logical unit. A command has an access class, a nexus has a rank, and a
reservation type says which rank an access class needs.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from hvcluster.model.scsi import (
    Ask,
    CompareAndWrite,
    DeviceCommand,
    GetLbaStatus,
    OrWrite,
    PersistentReserveIn,
    PersistentReserveOut,
    Prefetch,
    PreventRemoval,
    Read,
    ReadCapacity,
    ReleaseUnit,
    ReservationType,
    ReserveOut,
    ReserveUnit,
    StartStop,
    SynchronizeCache,
    TestUnitReady,
    Topic,
    Unmap,
    Verify,
    Write,
    WriteSame,
)


class Rank(IntEnum):
    """What a nexus is to a persistent reservation; a higher rank may do all that a lower one may."""

    UNREGISTERED = 0
    REGISTERED = 1
    HOLDER = 2


class Access(IntEnum):
    """What a command wants from the logical unit, as far as reservations care. Values index `NEEDED` rows."""

    ALWAYS = 0
    """Allowed whatever is reserved: asks about the unit, not for its data."""
    READS = 1
    """Takes data from the medium: exclusive access forbids it to others, write exclusive does not."""
    WRITES = 2
    """Changes the medium, or orders its changes: every reservation forbids it to others."""
    REGISTRANTS = 3
    """Reservation management that takes a registration, whatever the type."""
    HOLDERS = 4
    """Reservation management that takes the reservation itself, whatever the type."""


COMMAND_ACCESS: Final[dict[type[DeviceCommand], Access]] = {
    TestUnitReady: Access.ALWAYS,
    ReadCapacity: Access.ALWAYS,
    PersistentReserveIn: Access.ALWAYS,
    Read: Access.READS,
    Write: Access.WRITES,
    CompareAndWrite: Access.WRITES,
    SynchronizeCache: Access.WRITES,
    OrWrite: Access.WRITES,
    WriteSame: Access.WRITES,
    Unmap: Access.WRITES,
    Verify: Access.READS,
    Prefetch: Access.READS,
    GetLbaStatus: Access.READS,
    ReserveUnit: Access.ALWAYS,
    ReleaseUnit: Access.ALWAYS,
}
"""Every command whose access class is in its name; the others go by a service action or a field."""

ASKING: Final[dict[Topic, Access]] = {
    Topic.INQUIRY: Access.ALWAYS,
    Topic.REPORT_LUNS: Access.ALWAYS,
    Topic.REQUEST_SENSE: Access.ALWAYS,
    Topic.MODE_SENSE: Access.READS,
    Topic.OPERATION_CODES: Access.READS,
    Topic.DEFECTS: Access.READS,
    Topic.MODE_SELECT: Access.WRITES,
}
"""Who may ask what of a unit."""

ACTION_ACCESS: Final[dict[ReserveOut, Access]] = {
    ReserveOut.REGISTER: Access.ALWAYS,
    ReserveOut.REGISTER_AND_IGNORE_EXISTING_KEY: Access.ALWAYS,
    ReserveOut.RELEASE: Access.REGISTRANTS,
    ReserveOut.CLEAR: Access.REGISTRANTS,
    ReserveOut.PREEMPT: Access.REGISTRANTS,
    ReserveOut.PREEMPT_AND_ABORT: Access.REGISTRANTS,
    ReserveOut.RESERVE: Access.HOLDERS,
    ReserveOut.REGISTER_AND_MOVE: Access.HOLDERS,
}

UNRESERVED: Final = (Rank.UNREGISTERED,) * len(Access)
"""The row for a logical unit without a persistent reservation: nothing conflicts."""

_ANY, _REG, _HOLD = Rank.UNREGISTERED, Rank.REGISTERED, Rank.HOLDER

NEEDED: Final[dict[ReservationType, tuple[Rank, ...]]] = {
    #                                                     ALWAYS READS WRITES REGISTRANTS HOLDERS
    ReservationType.WRITE_EXCLUSIVE: (_ANY, _ANY, _HOLD, _REG, _HOLD),
    ReservationType.EXCLUSIVE_ACCESS: (_ANY, _HOLD, _HOLD, _REG, _HOLD),
    ReservationType.WRITE_EXCLUSIVE_REGISTRANTS_ONLY: (_ANY, _ANY, _REG, _REG, _HOLD),
    ReservationType.EXCLUSIVE_ACCESS_REGISTRANTS_ONLY: (_ANY, _REG, _REG, _REG, _HOLD),
    ReservationType.WRITE_EXCLUSIVE_ALL_REGISTRANTS: (_ANY, _ANY, _REG, _REG, _HOLD),
    ReservationType.EXCLUSIVE_ACCESS_ALL_REGISTRANTS: (_ANY, _REG, _REG, _REG, _HOLD),
}
"""The lowest rank that gets no RESERVATION CONFLICT, by reservation type and access class."""

ALL_REGISTRANTS: Final = frozenset(
    (ReservationType.WRITE_EXCLUSIVE_ALL_REGISTRANTS, ReservationType.EXCLUSIVE_ACCESS_ALL_REGISTRANTS)
)
"""Types that every registered nexus holds (SPC-4 5.13.10)."""

REGISTRANTS_ONLY: Final = frozenset(
    (ReservationType.WRITE_EXCLUSIVE_REGISTRANTS_ONLY, ReservationType.EXCLUSIVE_ACCESS_REGISTRANTS_ONLY)
)
"""Types that one nexus holds and every registered nexus may use."""


def access_of(command: DeviceCommand) -> Access:
    """The access class of a command."""
    kind = type(command)
    access = COMMAND_ACCESS.get(kind)
    if access is not None:
        return access
    match command:
        case PersistentReserveOut():
            return ACTION_ACCESS[command.action]
        case Ask():
            return ASKING[command.topic]
        case StartStop():
            return Access.ALWAYS if command.start and not command.load else Access.WRITES
        case PreventRemoval():
            return Access.WRITES if command.prevent else Access.ALWAYS
        case _:
            pass
    raise AssertionError(f"no such command: {command}")
