"""What goes back and what is written down: sessions as the core knows them, answers, lines of the journal.

Law: shapes and their making; nothing is decided here.
"""

from __future__ import annotations

from hvcluster.model.scsi import DeviceCommand, Nexus, PersistentReserveOut, Result, Status
from hvcluster.model.vocabulary import Instant

from .attentions import Queues
from .commands import extent_of, name_of
from .effects import Effect, JournalEntry, Respond
from .events import CommandReceived

Effects = tuple[Effect, ...]


class Session:
    """One login that is in force."""

    __slots__ = ("attentions", "max_blocks", "nexus", "number")

    def __init__(self, nexus: Nexus, number: int, attentions: Queues, max_blocks: int) -> None:
        self.nexus = nexus
        self.number = number
        self.attentions = attentions
        self.max_blocks = max_blocks


def good(event: CommandReceived, result: Result) -> Effects:
    """The answer alone: nothing changed."""
    return (Respond(event.session, event.tag, result),)


def refuse(now: Instant, session: Session, event: CommandReceived, key: int | None, result: Result) -> Effects:
    """An answer that the journal keeps."""
    return journal(now, session, event, key, result), Respond(event.session, event.tag, result)


def extent(
    now: Instant, session: Session, event: CommandReceived, key: int | None, lba: int, blocks: int
) -> JournalEntry:
    """One extent of a command that changed several."""
    return JournalEntry(now, session.nexus, event.lun, name_of(event.command), Status.GOOD, None, key, lba, blocks)


def journal(now: Instant, session: Session, event: CommandReceived, key: int | None, result: Result) -> JournalEntry:
    command: DeviceCommand = event.command
    lba, blocks = extent_of(command)
    name, status, why = name_of(command), result.status, result.sense
    if isinstance(command, PersistentReserveOut):
        claimed, service, type = command.key, command.service_key, command.type
        return JournalEntry(now, session.nexus, event.lun, name, status, why, key, 0, 0, claimed, service, type)
    return JournalEntry(now, session.nexus, event.lun, name, status, why, key, lba, blocks)
