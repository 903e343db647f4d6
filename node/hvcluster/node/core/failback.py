"""When a group goes back to a node it prefers: after that node has returned, in the hours that its policy allows.

Law: decides where back and whether now; the move itself is planned like any other. Hours are those of the day at this
node, unscaled.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from hvcluster.model.policy import Policy
from hvcluster.model.vocabulary import NOBODY, Instant, NodeId

from .members import Group

US_PER_HOUR: Final = 3_600_000_000


class Failbacks:
    """The nodes that were able when the leader last looked, and the groups that wait for their window."""

    __slots__ = ("_able", "_pending", "_windows", "midnight")

    def __init__(self) -> None:
        self.midnight = Instant(0)  # some midnight of this node, on its own clock
        self._able: frozenset[NodeId] | None = None
        self._pending: set[str] = set()
        self._windows: dict[str, bool] = {}

    def start(self) -> None:
        """We lead a new term: who is there now has not returned, it was there."""
        self._able = None
        self._pending = set()
        self._windows = {}

    def look(self, now: Instant, able: Mapping[NodeId, int], groups: Iterable[Group]) -> None:
        """Notice who has returned, and which windows have opened."""
        there = frozenset(able)
        returned = there - self._able if self._able is not None else frozenset()
        self._able = there
        for group in groups:
            policy = group.definition.policy
            if not policy.auto_failback:
                continue
            is_open = self.is_open(now, policy)
            opened = is_open and not self._windows.get(group.name, is_open)
            self._windows[group.name] = is_open
            if opened or any(node in returned for node in self._better(group)):
                self._pending.add(group.name)

    def target(self, now: Instant, group: Group, able: Mapping[NodeId, int]) -> tuple[NodeId, str] | None:
        """The node a group is to go back to now, and why."""
        policy = group.definition.policy
        if not policy.auto_failback or not self.is_open(now, policy):
            return None
        if group.home != NOBODY and group.home != group.owner and group.home in able:
            return group.home, f"failback: node {group.home}, which was drained, is there again"
        if group.name not in self._pending:
            return None
        node = next((node for node in self._better(group) if node in able), None)
        if node is None:
            self._pending.discard(group.name)
            return None
        return node, f"failback: node {node} comes before node {group.owner} in the preferred owners list"

    def done(self, group: Group) -> None:
        """It is on its way."""
        self._pending.discard(group.name)

    def is_open(self, now: Instant, policy: Policy) -> bool:
        """Whether a policy lets its group fail back at this hour; a window may go round midnight."""
        start, end = policy.failback_window_start, policy.failback_window_end
        if start < 0:
            return True
        hour = (now - self.midnight) // US_PER_HOUR % 24
        return start <= hour < end if start < end else hour >= start or hour < end

    @staticmethod
    def _better(group: Group) -> tuple[NodeId, ...]:
        """The preferred owners that come before the owner."""
        preferred = group.definition.preferred
        return preferred[: preferred.index(group.owner)] if group.owner in preferred else preferred
