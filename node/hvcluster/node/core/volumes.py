"""The Cluster Shared Volumes as this node uses them: its key on each, for as long as it is a member.

Law: a node's key on a volume carries the number that the database gave it, and a node takes a new number only once
every VM is off there that the database has given to somebody else. How a key gets there is for `volume_keys` to say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

from hvcluster.model.definition import VolumeDefinition
from hvcluster.model.facts import FactKind
from hvcluster.model.vocabulary import (
    NOBODY,
    Generation,
    Incarnation,
    Instant,
    LunId,
    NodeId,
    PathName,
    ReservationKey,
    VolumeState,
)

from .claim import claim_for
from .database import Database
from .disk import DiskOutcome
from .effects import StopVm
from .members import NEVER_ADMITTED
from .outbox import Outbox
from .procedure import Paths, Procedures, Steps
from .runs import Phase, Run
from .view import VolumeView
from .volume_disk import Standing, Wanted, bring_extent_online
from .volume_keys import Adopted, Known, Whose, adopt, whose

_USES = (Phase.BOOTING, Phase.RUNNING, Phase.STOPPING)


class _Volume:
    __slots__ = ("fresh", "known", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self.known: Known = {}
        self.fresh: dict[PathName, int] = {}  # paths whose key was looked at since they came up, and the key


class Volumes:
    """All volumes, by LUN."""

    __slots__ = (
        "_database",
        "_incarnation",
        "_initiator",
        "_me",
        "_out",
        "_paths",
        "_procedures",
        "_volumes",
        "changed",
        "ending",
        "runs",
    )

    def __init__(
        self,
        volumes: tuple[VolumeDefinition, ...],
        me: NodeId,
        incarnation: Incarnation,
        initiator: str,
        database: Callable[[], Database],
        procedures: Procedures,
        paths: Paths,
        out: Outbox,
    ) -> None:
        self._me = me
        self._incarnation = incarnation
        self._initiator = initiator
        self._database = database
        self._procedures = procedures
        self._paths = paths
        self._out = out
        self._volumes = {volume.lun: _Volume(volume.name) for volume in volumes}
        self.runs: dict[str, Run] = {}
        """All runs of this node."""
        self.ending: set[tuple[str, int, LunId]] = set()
        """VMs that were told to stop and whose run is forgotten: group, generation, LUN."""
        self.changed: Callable[[Instant], None] = lambda _: None
        """More paths have our key."""

    def _mine(self) -> int | None:
        """Our key on every volume, None while we are no member."""
        database = self._database()
        if not database.is_member(self._me, self._incarnation):
            return None
        return ReservationKey(database.members[self._me].admission, self._me).encode()

    def _users(self, lun: LunId) -> list[Run]:
        return [run for run in self.runs.values() if run.lun == lun and run.phase in _USES]

    def _idle(self, lun: LunId) -> bool:
        return not self._users(lun) and not any(lun == other for _, _, other in self.ending)

    def _outlived(self, lun: LunId) -> bool:
        """Whether a VM is not yet off there that is no longer ours."""
        groups = self._database().groups
        for run in self._users(lun):
            group = groups.get(run.group)
            if group is None or group.owner != self._me or group.generation != run.generation:
                return True
        return any(lun == other for _, _, other in self.ending)

    def standing(self, lun: LunId) -> Standing | None:
        """Our key on a volume and the paths that have it; None when it has to be brought there first."""
        volume, mine = self._volumes[lun], self._mine()
        if mine is None or self._procedures.active(_name(lun)):
            return None
        paths = tuple(path for path in self._paths() if volume.fresh.get(path) == mine)
        return Standing(mine, paths) if paths else None

    def usable(self, lun: LunId) -> tuple[PathName, ...]:
        """The paths that VMs on a volume may use."""
        volume = self._volumes[lun]
        return tuple(path for path in self._paths() if path in volume.fresh)

    def online(self, run: Run) -> Steps[tuple[DiskOutcome, tuple[PathName, ...]]]:
        """The steps that bring a run's extent online."""
        assert run.extent is not None
        claim = claim_for(run.group, run.generation, self._me)
        wanted = Wanted(run.group, run.key, run.lun, run.extent, claim)
        judge = self._judge
        return bring_extent_online(self._out, wanted, self._initiator, partial(self.standing, run.lun), judge)

    def _judge(self, key: int) -> Whose:
        return whose(self._database(), self._me, key)

    def views(self) -> Iterable[VolumeView]:
        """How this node reaches each volume."""
        database = self._database()
        member = database.is_member(self._me, self._incarnation)
        number = database.members[self._me].admission if member else NEVER_ADMITTED
        for lun, volume in self._volumes.items():
            state = VolumeState.DIRECT if member and self.usable(lun) else VolumeState.UNAVAILABLE
            known = database.volumes.get(volume.name)
            yield VolumeView(volume.name, lun, state, number, NOBODY if known is None else known.coordinator)

    def look(self, now: Instant) -> None:
        """Bring our key to where it is missing or has an older number."""
        mine = self._mine()
        if mine is None:
            return
        for lun, volume in self._volumes.items():
            name = _name(lun)
            missing = [path for path in self._paths() if volume.fresh.get(path) != mine]
            if missing and not self._procedures.active(name) and not self._outlived(lun):
                steps = adopt(volume.known, self._paths, self._initiator, lun, mine, partial(self._idle, lun))
                self._procedures.start(now, name, steps, partial(self._adopted, lun, mine))

    def _adopted(self, lun: LunId, mine: int, now: Instant, ended: tuple[Adopted, tuple[PathName, ...]]) -> None:
        how, paths = ended
        volume = self._volumes[lun]
        if how is Adopted.LOST:
            volume.fresh.clear()
            for run in self._users(lun):
                self._lost(run)
            return
        up = self._paths()
        new = tuple(path for path in paths if path in up and volume.fresh.get(path) != mine)
        volume.fresh.update(dict.fromkeys(new, mine))
        if new:
            reason = f"this node may write to volume {volume.name}"
            generation = ReservationKey.decode(mine)
            assert generation is not None
            self._out.fact(
                FactKind.VOLUME_JOINED, reason,
                volume=volume.name, lun=lun, generation=generation.generation, paths=",".join(sorted(new)),
            )  # fmt: skip
        self.changed(now)

    def stops(self, run: Run) -> None:
        """The VM of a run was told to stop, and the run is forgotten."""
        if run.extent is not None:
            self.ending.add((run.group, run.generation, run.lun))

    def stopped(self, group: str, generation: Generation) -> None:
        """A VM is off."""
        self.ending = {one for one in self.ending if one[:2] != (group, generation)}

    def doubt(self, lun: LunId) -> None:
        """Our key was not found where it should be: look again before anything else."""
        self._volumes[lun].fresh.clear()

    def path_down(self, path: PathName) -> None:
        """What was looked at on a path says nothing of its next login."""
        for volume in self._volumes.values():
            volume.fresh.pop(path, None)

    def alive(self, run: Run, keys: Iterable[int]) -> None:
        """The keys on a volume, as just read: one of them must be ours, or its VMs cannot write."""
        ours = {key for known in self._volumes[run.lun].known.values() for key in known}
        if ours.isdisjoint(keys):
            self._lost(run)

    def _lost(self, run: Run) -> None:
        """A VM must go off: its node is not registered any more."""
        if run.phase in (Phase.BOOTING, Phase.RUNNING):
            reason = f"this node is no longer registered on volume {self._volumes[run.lun].name}"
            self._out.fact(FactKind.DISK_LOST, reason, group=run.group, lun=run.lun, generation=run.generation)
            self._out.add(StopVm(run.group, run.generation, False, reason))


def _name(lun: LunId) -> str:
    return f"volume:{lun}"
