"""The steps both procedures share that make a LUN belong to one node: register, look, preempt, give up.

Law: SPC-4 commands and what their answers mean; UNKNOWN is resolved by reading again, never by assuming. Who deserves
the LUN is decided by the callers (`disk`, `arbitration`).
"""

from __future__ import annotations

from hvcluster.model.scsi import (
    FullStatus,
    Keys,
    PersistentReserveIn,
    PersistentReserveOut,
    Reservation,
    ReserveIn,
    ReserveOut,
    Status,
    TestUnitReady,
)
from hvcluster.model.values import value
from hvcluster.model.vocabulary import LunId, PathName

from .procedure import Answers, Paths, Steps, ask, ask_any

LOGICAL_UNIT_NOT_SUPPORTED = (0x25, 0x00)  # SPC-4 annex D
READ_KEYS = PersistentReserveIn(ReserveIn.READ_KEYS)
READ_RESERVATION = PersistentReserveIn(ReserveIn.READ_RESERVATION)
READ_FULL_STATUS = PersistentReserveIn(ReserveIn.READ_FULL_STATUS)


@value
class Seen:
    """What the LUN said: the registered keys, and the holder's key or None."""

    keys: tuple[int, ...]
    holder: int | None


def seen(keys: Answers) -> Seen | None:
    """Read the answers to READ KEYS and READ RESERVATION; None unless both were GOOD."""
    first, second = (answer.payload for answer in keys)
    if isinstance(first, Keys) and isinstance(second, Reservation):
        return Seen(first.keys, second.key)
    return None


def look(paths: Paths, lun: LunId) -> Steps[Seen | None]:
    """READ KEYS and READ RESERVATION on whatever path answers."""
    answers = yield from ask_any(paths, lun, READ_KEYS, READ_RESERVATION)
    return seen(answers)


def register(paths: Paths, lun: LunId, key: int) -> Steps[tuple[tuple[PathName, ...], Seen | None]]:
    """REGISTER AND IGNORE EXISTING KEY on every path; returns the paths it is registered on, and what the last one
    sees.
    """
    command = PersistentReserveOut(ReserveOut.REGISTER_AND_IGNORE_EXISTING_KEY, service_key=key)
    done: list[PathName] = []
    last: Seen | None = None
    for path in paths():
        answers = yield from ask(path, lun, command, READ_KEYS, READ_RESERVATION)
        if answers[0].status is Status.GOOD:
            done.append(path)
            last = seen(answers[1:])
    return tuple(done), last


def is_absent(paths: Paths, lun: LunId) -> Steps[bool]:
    """Whether the array answers that it has no such unit for this node: masked, or deleted."""
    (answer,) = yield from ask_any(paths, lun, TestUnitReady())
    return answer.sense is not None and (answer.sense.asc, answer.sense.ascq) == LOGICAL_UNIT_NOT_SUPPORTED


def reserve(path: PathName, lun: LunId, key: int) -> Steps[Status]:
    """RESERVE type 5."""
    answers = yield from ask(path, lun, PersistentReserveOut(ReserveOut.RESERVE, key=key))
    return answers[0].status


def preempt(path: PathName, lun: LunId, key: int, victim: int) -> Steps[Status]:
    """PREEMPT naming the victim's key: a compare-and-swap, for a key that is gone answers RESERVATION CONFLICT."""
    answers = yield from ask(path, lun, PersistentReserveOut(ReserveOut.PREEMPT, key=key, service_key=victim))
    return answers[0].status


def full_status(path: PathName, lun: LunId) -> Steps[FullStatus | None]:
    """READ FULL STATUS; None unless GOOD."""
    answers = yield from ask(path, lun, READ_FULL_STATUS)
    payload = answers[0].payload
    return payload if isinstance(payload, FullStatus) else None


def give_up(paths: Paths, lun: LunId, key: int) -> Steps[None]:
    """Hold the LUN under another key from now on, which says that it may be preempted at once.

    A reservation is never released: while nobody holds one, the array accepts writes from anybody, and an older owner
    that was frozen may still have one in hand.
    """
    for path in paths():
        yield from ask(path, lun, PersistentReserveOut(ReserveOut.REGISTER_AND_IGNORE_EXISTING_KEY, service_key=key))


def unregister(paths: Paths, lun: LunId) -> Steps[None]:
    """Take our registration back on every path. Never the holder's: that would release the reservation."""
    for path in paths():
        yield from ask(path, lun, PersistentReserveOut(ReserveOut.REGISTER_AND_IGNORE_EXISTING_KEY, service_key=0))
