"""What the registrations on a Cluster Shared Volume mean, and the steps by which a node gets its own there.

Law: a node that has VMs on a volume never registers there again under a key that may have been preempted. It changes
its key by REGISTER naming the old one, a compare-and-swap; and it adds a path only where one and the same READ FULL
STATUS shows its key on that path and on one that has had it without a break. Only a node without VMs on it begins anew.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

from hvcluster.model.scsi import FullStatus, PersistentReserveOut, ReserveOut, Status
from hvcluster.model.vocabulary import LunId, NodeId, PathName, ReservationKey

from .database import Database
from .procedure import Paths, Steps, ask
from .reservation import full_status, look, reserve, unregister

Known = dict[PathName, tuple[int, ...]]
"""Paths whose registration has stood without a break since it was made, and the keys that it may have."""


class Whose(Enum):
    """What a key on a volume is to the node that looks."""

    MINE = "of this node, and current"
    MEMBER = "of another member"
    LATE = "of another member, which is about to take a newer one"
    STALE = "of a life that is over"
    FOREIGN = "of software that is not this cluster"


class Adopted(Enum):
    """How bringing a node's key to a volume ended."""

    DONE = "its key is on every path that answers"
    PARTLY = "a path did not answer"
    LOST = "its key was removed while it has VMs there"


def whose(database: Database, me: NodeId, key: int) -> Whose:
    """Judge one key by the database. A number above the one known here is that of a member of a newer database."""
    parts = ReservationKey.decode(key)
    if parts is None:
        return Whose.FOREIGN
    member = database.members.get(parts.node)
    if member is None:
        return Whose.STALE
    if parts.node == me:
        return Whose.MINE if member.up and parts.generation == member.admission else Whose.STALE
    if parts.generation > member.admission:
        return Whose.MEMBER
    if not member.up:
        return Whose.STALE
    return Whose.MEMBER if parts.generation == member.admission else Whose.LATE


def adopt(
    known: Known, paths: Paths, initiator: str, lun: LunId, mine: int, idle: Callable[[], bool]
) -> Steps[tuple[Adopted, tuple[PathName, ...]]]:
    """Bring the node's key to every path that is up. Changes `known` as it goes; returns the paths that have it."""
    done: list[PathName] = []
    up = paths()
    for path in sorted(up, key=lambda path: path not in known):
        rows = _rows((yield from full_status(path, lun)), initiator)
        if rows is None:
            continue
        if not _stands(known, rows):
            if not idle():
                return Adopted.LOST, ()
            known.clear()
        if rows.get(path) not in known.get(path, ()):
            known.pop(path, None)
        if (yield from _key_on(path, known, rows, initiator, lun, mine)):
            done.append(path)
    if done:
        what = yield from look(lambda: tuple(done), lun)
        if what is not None and what.holder is None:
            yield from reserve(done[0], lun, mine)
    return (Adopted.DONE if len(done) == len(up) else Adopted.PARTLY), tuple(done)


def _key_on(
    path: PathName, known: Known, rows: dict[PathName, int], initiator: str, lun: LunId, mine: int
) -> Steps[bool]:
    if path in known:
        if rows[path] == mine:
            known[path] = (mine,)
            return True
        known[path] = (rows[path], mine)  # which of them is found by reading, should no answer come
        swap = PersistentReserveOut(ReserveOut.REGISTER, key=rows[path], service_key=mine)
        answers = yield from ask(path, lun, swap)
        if answers[0].status is not Status.GOOD:
            return False
        known[path] = (mine,)
        return True
    first = not known
    command = PersistentReserveOut(ReserveOut.REGISTER_AND_IGNORE_EXISTING_KEY, service_key=mine)
    answers = yield from ask(path, lun, command)
    if answers[0].status is not Status.GOOD:
        return False
    if not first:
        after = _rows((yield from full_status(path, lun)), initiator)
        if after is None:
            return False
        if after.get(path) != mine or not _stands(known, after):
            yield from unregister(lambda: (path,), lun)
            return False
    known[path] = (mine,)
    return True


def _rows(status: FullStatus | None, initiator: str) -> dict[PathName, int] | None:
    if status is None:
        return None
    return {row.nexus.port: row.key for row in status.registrations if row.nexus.initiator == initiator}


def _stands(known: Known, rows: dict[PathName, int]) -> bool:
    """Whether a registration of ours has stood without a break up to the moment the rows were read."""
    return any(rows.get(path) in keys for path, keys in known.items())
