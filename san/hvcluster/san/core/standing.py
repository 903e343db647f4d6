"""Commands about a unit as a whole: how it is, and how it stands for those who share it.

Law: changes no block and no persistent reservation.
"""

from __future__ import annotations

from collections.abc import Iterable

from hvcluster.model.scsi import (
    CONFLICT,
    GOOD,
    Ask,
    DeviceCommand,
    Nexus,
    PreventRemoval,
    ReleaseUnit,
    ReserveUnit,
    Result,
    StartStop,
    Status,
    Topic,
    Unit,
)

from . import sense
from .answers import Session
from .attentions import take
from .unit import LogicalUnit


def describe(session: Session, units: Iterable[LogicalUnit], lun: LogicalUnit | None, command: Ask) -> Result:
    """How a unit is. To be asked for its sense clears what is told by it (SPC-4 6.39)."""
    initiator = session.nexus.initiator
    visible = lun if lun is not None and lun.shows(initiator) else None
    luns = tuple(sorted(each.id for each in units if each.shows(initiator)))
    pending = None
    if visible is not None and command.topic is Topic.REQUEST_SENSE and session.attentions.get(visible.id):
        pending = take(session.attentions, visible.id)
    unit = (
        Unit(0, False, False, luns)
        if visible is None
        else Unit(visible.blocks, visible.thin, visible.removable, luns, pending)
    )
    status = Status.CHECK_CONDITION if visible is None else Status.GOOD
    what = sense.NOT_SUPPORTED.sense if visible is None else None
    return Result(status, what, unit)


def operate(
    session: Session, lun: LogicalUnit, command: StartStop | PreventRemoval | ReserveUnit | ReleaseUnit
) -> Result:
    """Commands that change how the unit stands, and no block."""
    match command:
        case StartStop():
            return _start_stop(lun, command)
        case PreventRemoval():
            (lun.prevented_by.add if command.prevent else lun.prevented_by.discard)(session.nexus)
        case ReserveUnit():
            if lun.reservations.parts()[1]:
                return CONFLICT
            lun.reserved_by = session.nexus
        case ReleaseUnit():
            if lun.reservations.parts()[1]:
                return CONFLICT
            if lun.reserved_by == session.nexus:
                lun.reserved_by = None
    return GOOD


def _start_stop(lun: LogicalUnit, command: StartStop) -> Result:
    if command.load and not lun.removable:
        return sense.INVALID_FIELD
    if not command.load:  # there is nothing to spin up or down
        return sense.NO_MEDIUM if command.start and lun.ejected else GOOD
    lun.ejected = not command.start
    return GOOD


def reserved_for_another(lun: LogicalUnit, nexus: Nexus, command: DeviceCommand) -> bool:
    """Whether a RESERVE (6) of another nexus forbids a command (SPC-2 5.5.1)."""
    return lun.reserved_by is not None and lun.reserved_by != nexus and type(command) is not ReleaseUnit
