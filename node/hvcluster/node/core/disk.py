"""Bring a group's disk online: the reservation procedure that lets one generation write, and nobody older.

Law: steps 2 to 5 of the procedure in ARCHITECTURE.md. Step 1 (older VMs of this node are off) is the caller's duty;
step 6 (start the VM) follows only `DiskOutcome.ONLINE`. After step 5 every write of an older owner meets RESERVATION
CONFLICT.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

from hvcluster.model.facts import FactKind
from hvcluster.model.scsi import FullStatus, Nexus, Status
from hvcluster.model.vocabulary import Generation, LunId, PathName, ReservationKey

from .outbox import Outbox
from .procedure import Paths, Steps, Wait
from .reservation import Seen, full_status, is_absent, look, preempt, register, reserve, unregister

ROUNDS = 12  # each lost race means somebody else made progress; more than this many in a row is a fault worth reporting
PAUSE_US = 50_000


class DiskOutcome(Enum):
    """How bringing a disk online ended."""

    ONLINE = "reserved for this node alone"
    SUPERSEDED = "a newer generation has it"
    NO_PATH = "the array did not answer on any path"
    MISSING = "the array answers, but does not present this LUN to the node"
    FOREIGN = "software that is not this cluster has registered a key"
    CONTENDED = "others kept changing the reservation"


def bring_online(
    out: Outbox, paths: Paths, initiator: str, group: str, lun: LunId, key: ReservationKey
) -> Steps[tuple[DiskOutcome, tuple[PathName, ...]]]:
    """Register, look, take the reservation, remove older keys, verify. ONLINE only if the array said so.

    Returns with it the paths on which that was verified.
    """
    mine = key.encode()
    registered: tuple[PathName, ...] = ()
    what: Seen | None = None
    for _ in range(ROUNDS):
        if not registered:
            registered, what = yield from register(paths, lun, mine)
            if not registered:
                absent = yield from is_absent(paths, lun)
                return (DiskOutcome.MISSING if absent else DiskOutcome.NO_PATH), ()
        if what is None:
            what = yield from look(_these(registered), lun)
        if what is None or mine not in what.keys:
            registered, what = (), None  # a path broke, or a newer owner removed us: begin again and look
            yield Wait(PAUSE_US)
            continue
        refusal = _refusal(what, key)
        if refusal is not None:
            if what.holder != mine:  # a holder that unregisters releases the LUN, and anybody may write
                yield from unregister(_these(registered), lun)
            return refusal, ()
        if (yield from _take(out, registered[0], group, lun, mine, what)):
            status = yield from full_status(registered[0], lun)
            if status is not None and _alone(status, initiator, registered, mine):
                reason = "only this node is registered, and it holds the reservation"
                out.fact(FactKind.DISK_ONLINE, reason, group=group, lun=lun, generation=key.generation)
                return DiskOutcome.ONLINE, registered
            if status is not None and _stray_path(status, initiator, registered, mine):
                yield from preempt(registered[0], lun, mine, mine)  # drops our key from paths that no longer answer
                registered = ()
        what = None
    return DiskOutcome.CONTENDED, ()


def join_path(path: PathName, lun: LunId, key: ReservationKey) -> Steps[bool]:
    """Register on one more path while the disk is ours; True when the VM may use it.

    A command that was stuck on a path may register us there long after a newer owner has looked. So a VM never uses a
    path on which nobody has looked after the registration.
    """
    mine = key.encode()
    for _ in range(ROUNDS):
        what = yield from look(_these((path,)), lun)
        if what is not None and (what.holder != mine or _refusal(what, key) is not None):
            return False
        if what is not None:
            registered, after = yield from register(_these((path,)), lun, mine)
            if registered and after is not None and after.holder == mine and mine in after.keys:
                return _refusal(after, key) is None
        yield Wait(PAUSE_US)
    return False


def _these(paths: tuple[PathName, ...]) -> Paths:
    return lambda: paths


def _refusal(what: Seen, key: ReservationKey) -> DiskOutcome | None:
    for other in what.keys:
        parts = ReservationKey.decode(other)
        if parts is None:
            return DiskOutcome.FOREIGN
        if parts.generation > key.generation or (parts.generation == key.generation and parts.node != key.node):
            return DiskOutcome.SUPERSEDED
    return None


def _take(out: Outbox, path: PathName, group: str, lun: LunId, mine: int, what: Seen) -> Steps[bool]:
    """Steps 4 and 5: become the holder, then remove every other key. False: something changed, look again."""
    if what.holder is None:
        if (yield from reserve(path, lun, mine)) is not Status.GOOD:
            return False
    elif what.holder != mine:
        if (yield from preempt(path, lun, mine, what.holder)) is not Status.GOOD:
            return False
        _preempted(out, group, lun, what.holder)
    for other in sorted(set(what.keys)):
        if other not in (mine, what.holder):
            status = yield from preempt(path, lun, mine, other)
            if status is not Status.GOOD:
                return False
            _preempted(out, group, lun, other)
    return True


def _preempted(out: Outbox, group: str, lun: LunId, victim: int) -> None:
    parts = ReservationKey.decode(victim)
    assert parts is not None, "foreign keys were refused before"
    reason = f"node {parts.node} no longer owns generation {parts.generation}; its writes are refused from now on"
    out.fact(FactKind.DISK_PREEMPTED, reason, group=group, lun=lun, victim=parts.node, generation=parts.generation)


def _alone(status: FullStatus, initiator: str, registered: tuple[PathName, ...], mine: int) -> bool:
    ours = {Nexus(initiator, path) for path in registered}
    rows = status.registrations
    return (
        {row.nexus for row in rows} == ours and all(row.key == mine for row in rows) and any(row.holder for row in rows)
    )


def _stray_path(status: FullStatus, initiator: str, registered: tuple[PathName, ...], mine: int) -> bool:
    return any(
        row.key == mine and row.nexus.initiator == initiator and row.nexus.port not in registered
        for row in status.registrations
    )


DiskDone = Callable[[str, Generation, DiskOutcome], None]
