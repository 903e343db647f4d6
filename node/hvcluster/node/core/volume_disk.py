"""Bring a VM's extent on a Cluster Shared Volume online: claim it, remove whoever may still write as its older owner.

Law: the counterpart of `disk` for a LUN that many nodes write to. In this order: this node's key is on the volume
(`volumes`), the extent is claimed for the generation, and then every key is removed that the database up to the
assignment does not know as current. READ FULL STATUS proves it. After that no write of an older generation is accepted.
"""

from __future__ import annotations

from collections.abc import Callable

from hvcluster.model.definition import Extent
from hvcluster.model.facts import FactKind
from hvcluster.model.scsi import FullStatus, Nexus, Status
from hvcluster.model.values import value
from hvcluster.model.vocabulary import LunId, PathName, ReservationKey

from .claim import Claim, stake
from .disk import PAUSE_US, ROUNDS, DiskOutcome
from .outbox import Outbox
from .procedure import Steps, Wait
from .reservation import Seen, full_status, look, preempt, reserve
from .volume_keys import Whose

GRACE_ROUNDS = 40
GRACE_PAUSE_US = 25_000
"""How long a member that has lost a VM may take to change its key: a second. Its other VMs would be fenced with it."""

_LATE = "it has lost a VM on the volume, and did not take its new key in time"


@value
class Standing:
    """This node's key on a volume, and the paths that are up and have it."""

    key: int
    paths: tuple[PathName, ...]


@value
class Wanted:
    """What is to be brought online: one generation of a group in its extent."""

    group: str
    key: ReservationKey
    lun: LunId
    extent: Extent
    claim: Claim


def bring_extent_online(
    out: Outbox,
    wanted: Wanted,
    initiator: str,
    standing: Callable[[], Standing | None],
    judge: Callable[[int], Whose],
) -> Steps[tuple[DiskOutcome, tuple[PathName, ...]]]:
    """ONLINE only if the array said so, with the paths on which that was verified. NO_PATH: this node's key is gone."""
    ours = claimed = False
    patience = GRACE_ROUNDS
    rounds = ROUNDS
    while rounds:
        rounds -= 1
        at = standing()
        if at is None:
            return DiskOutcome.NO_PATH, ()
        path = at.paths[0]
        if not claimed:
            verdict = yield from stake(path, wanted.lun, wanted.extent.first, wanted.claim)
            if verdict == "newer":
                return DiskOutcome.SUPERSEDED, ()
            if verdict == "foreign":
                return DiskOutcome.FOREIGN, ()
            claimed = verdict == "ours"
        what = (yield from look(_alone(path), wanted.lun)) if claimed else None
        if what is None:
            yield Wait(PAUSE_US)
            continue
        ours = at.key in what.keys
        if not ours:
            return DiskOutcome.NO_PATH, ()
        kinds = {key: judge(key) for key in sorted(set(what.keys))}
        if Whose.FOREIGN in kinds.values():
            return DiskOutcome.FOREIGN, ()
        if Whose.LATE in kinds.values() and patience:
            patience -= 1
            rounds += 1
            yield Wait(GRACE_PAUSE_US)
            continue
        if (yield from _clear(out, wanted, path, at.key, what, kinds)):
            verified = _verified((yield from full_status(path, wanted.lun)), initiator, standing(), judge)
            if verified:
                reason = "its extent is claimed, and only members are registered on the volume"
                generation = wanted.key.generation
                out.fact(FactKind.DISK_ONLINE, reason, group=wanted.group, lun=wanted.lun, generation=generation)
                return DiskOutcome.ONLINE, verified
    return DiskOutcome.CONTENDED, ()


def _clear(out: Outbox, wanted: Wanted, path: PathName, mine: int, what: Seen, kinds: dict[int, Whose]) -> Steps[bool]:
    """Remove every key that is nobody's any more. The holder's goes to us with its reservation: never is there none."""
    if what.holder is None and (yield from reserve(path, wanted.lun, mine)) is not Status.GOOD:
        return False
    for key, kind in kinds.items():
        if kind in (Whose.STALE, Whose.LATE):
            if (yield from preempt(path, wanted.lun, mine, key)) is not Status.GOOD:
                return False
            parts = ReservationKey.decode(key)
            assert parts is not None, "foreign keys were refused before"
            why = _LATE if kind is Whose.LATE else "that life of it is over"
            reason = f"node {parts.node} may no longer write under this key: {why}"
            out.fact(
                FactKind.DISK_PREEMPTED, reason,
                group=wanted.group, lun=wanted.lun, victim=parts.node, generation=parts.generation,
            )  # fmt: skip
    return True


def _alone(path: PathName) -> Callable[[], tuple[PathName, ...]]:
    """This path, whatever others there are."""
    return lambda: (path,)


def _verified(
    status: FullStatus | None, initiator: str, at: Standing | None, judge: Callable[[int], Whose]
) -> tuple[PathName, ...]:
    """The paths that the VM may use; none while anybody is registered who should not be, or nobody holds the volume."""
    if status is None or at is None or not any(row.holder for row in status.registrations):
        return ()
    if any(judge(row.key) not in (Whose.MINE, Whose.MEMBER) for row in status.registrations):
        return ()
    rows = {row.nexus: row.key for row in status.registrations}
    return tuple(path for path in at.paths if rows.get(Nexus(initiator, path)) == at.key)
