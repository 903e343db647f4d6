"""Which groups wait for others before they start: sets, each after the sets it names.

Law: reads the database, remembers since when a set is online and since when a group waits; starts nothing.
"""

from __future__ import annotations

from collections.abc import Iterable

from hvcluster.model.policy import GroupSet
from hvcluster.model.properties import Timing
from hvcluster.model.vocabulary import GroupState, Instant

from .database import Database
from .members import Group


class StartOrder:
    """The sets of a cluster, as this leader sees them."""

    __slots__ = ("_after", "_online_since", "_sets", "_timing", "_waiting_since")

    def __init__(self, sets: Iterable[GroupSet], timing: Timing) -> None:
        self._sets = {each.name: each for each in sets}
        self._timing = timing
        self._after: dict[str, tuple[str, ...]] = {}
        for each in self._sets.values():
            for group in each.groups:
                known = self._after.get(group, ())
                self._after[group] = (*known, *(name for name in each.after if name not in known))
        self._online_since: dict[str, Instant] = {}
        self._waiting_since: dict[str, Instant] = {}

    def start(self) -> None:
        """We lead a new term."""
        self._online_since = {}
        self._waiting_since = {}

    def look(self, now: Instant, database: Database) -> None:
        """Notice which sets have come online, and which no longer are."""
        for each in self._sets.values():
            groups = [database.groups.get(name) for name in each.groups]
            if all(group is None or group.state is GroupState.ONLINE for group in groups):
                self._online_since.setdefault(each.name, now)
            else:
                self._online_since.pop(each.name, None)
        for name in [name for name in self._waiting_since if database.groups[name].runs]:
            del self._waiting_since[name]

    def wait(self, now: Instant, group: Group) -> tuple[str, Instant] | None:
        """What a group still waits for, and until when at most; None when it may start."""
        after = self._after.get(group.name)
        if not after:
            return None
        ends = Instant(self._waiting_since.setdefault(group.name, now) + self._timing.group_dependency)
        if now >= ends:
            return None
        for name in after:
            since = self._online_since.get(name)
            if since is None:
                return f"set {name!r} is not online", ends
            due = Instant(since + self._timing.of_ms(self._sets[name].startup_delay_ms))
            if self._sets[name].trigger_delay and now < due:
                return f"set {name!r} has only just come online", min(due, ends)
        return None
