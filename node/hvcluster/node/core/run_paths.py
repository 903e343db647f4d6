"""Which paths to the array the VMs of this node may use: those on which its key was found since they came up.

Law: a path that goes down is taken from every run, and what was found on it says nothing of its next login. How a path
is brought to a disk is for `disk`, and for `volumes` where the disk lies on a Cluster Shared Volume.
"""

from __future__ import annotations

from functools import partial

from hvcluster.model.vocabulary import Instant, PathName

from .disk import join_path
from .procedure import Paths, Procedures
from .runs import Phase, Run, joining
from .volumes import Volumes
from .workloads import Workloads

_USE = (Phase.BOOTING, Phase.RUNNING)


class RunPaths:
    """The logins of all paths, and what follows from them for runs."""

    __slots__ = ("_logins", "_paths", "_procedures", "_runs", "_volumes", "_work")

    def __init__(
        self, runs: dict[str, Run], procedures: Procedures, paths: Paths, volumes: Volumes, work: Workloads
    ) -> None:
        self._runs = runs
        self._procedures = procedures
        self._paths = paths
        self._volumes = volumes
        self._work = work
        self._logins: dict[PathName, int] = {}

    def logged_in(self, path: PathName, login: int) -> None:
        """A path is up, under a new login."""
        self._logins[path] = login

    def down(self, path: PathName) -> None:
        """A path is lost."""
        self._volumes.path_down(path)
        for run in self._runs.values():
            run.paths.discard(path)
            self._procedures.cancel(joining(run, path))

    def offer(self, now: Instant) -> None:
        """Let the VMs that run here have every path that is up."""
        for run in tuple(self._runs.values()):
            if run.phase in _USE:
                self.join(now, run)

    def join(self, now: Instant, run: Run) -> None:
        """Bring a run's disk to the paths that its VM does not use yet."""
        for path in self._paths():
            name = joining(run, path)
            if path in run.paths or self._procedures.active(name):
                continue
            if run.extent is None:
                steps = join_path(path, run.lun, run.key)
                self._procedures.start(now, name, steps, partial(self._joined, run, path))
            elif path in self._volumes.usable(run.lun):
                self._joined(run, path, now, True)

    def _joined(self, run: Run, path: PathName, _: Instant, usable: bool) -> None:
        if usable and self._runs.get(run.group) is run and run.phase in _USE:
            run.paths.add(path)
            self._work.use_path(run, path, self._logins.get(path, 0))

    def verified(self, run: Run, paths: tuple[PathName, ...]) -> tuple[tuple[PathName, int], ...]:
        """The paths on which a disk was just verified, as far as they are still up, each with its login."""
        run.paths = set(paths) & set(self._paths())
        return tuple((path, self._logins.get(path, 0)) for path in sorted(run.paths))

    def leave(self, run: Run) -> None:
        """A VM stops: it gets no more paths."""
        for path in self._logins:
            self._procedures.cancel(joining(run, path))
