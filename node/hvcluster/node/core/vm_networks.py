"""VMs whose network has no link on their host: when they leave it, and where they may go (protected networks).

Law: the leader's view, volatile; reads who has which link, returns a planned move. Which node is best is for
`placement` to say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from hvcluster.model.facts import FactKind
from hvcluster.model.properties import Timing, protects_networks
from hvcluster.model.vocabulary import Generation, Instant, MoveKind, NodeId

from .commands import BeginMove
from .database import Group
from .outbox import Outbox
from .placement import Candidates, Why, choose
from .presence import Presence


class VmNetworks:
    """What this leader has seen of the links that VMs need. A link is given one LooksAlive interval to return."""

    __slots__ = ("_next", "_on", "_out", "_poll", "_presence", "_said")

    def __init__(self, profile: str, presence: Presence, timing: Timing, out: Outbox) -> None:
        self._on = protects_networks(profile)
        self._presence = presence
        self._poll = timing.looks_alive
        self._out = out
        self._said: dict[str, tuple[Generation, str]] = {}
        self._next: dict[str, tuple[Generation, Instant]] = {}  # a move was begun: when to try again if it fails

    def start(self) -> None:
        """We lead a new term."""
        self._said.clear()
        self._next.clear()

    def lacks(self, group: Group, node: NodeId) -> bool:
        """Whether a node has no link to the protected network of a VM."""
        definition = group.definition
        protected = self._on and bool(definition.network) and definition.policy.protected_network
        return protected and self._presence.unlinked_since(node, definition.network) is not None

    def away(self, now: Instant, group: Group, nodes: Candidates, wait: Callable[[Instant], None]) -> BeginMove | None:
        """The live migration of a VM that is online on a node without its link, to one that has it."""
        if not self.lacks(group, group.owner):
            self._said.pop(group.name, None)
            self._next.pop(group.name, None)
            return None
        network = group.definition.network
        since = self._presence.unlinked_since(group.owner, network)
        assert since is not None, "it lacks it"
        due = Instant(since + self._poll)
        tried = self._next.get(group.name)
        if tried is not None and tried[0] == group.generation:
            due = max(due, tried[1])
        if now < due:
            wait(due)
            return None
        cause = f"network {network!r} has no link on node {group.owner}"
        if group.definition.policy.locked_from_moving:
            self._say(group, f"{cause}; the VM is locked from moving, and stays")
            return None
        choice = choose(group.definition, group.owner, Why.MOVE, self._linked(group, nodes), leave=True)
        if choice is None:
            self._say(group, f"{cause}; no other node that may take the VM has that link, so it stays")
            return None
        self._say(group, f"{cause}; the VM is live-migrated to node {choice.owner}")
        self._next[group.name] = group.generation, Instant(now + self._poll)
        return BeginMove(group.name, group.generation, choice.owner, cause, kind=MoveKind.LIVE)

    def _linked(self, group: Group, nodes: Candidates) -> Candidates:
        able = {node: count for node, count in nodes.groups.items() if not self.lacks(group, node)}
        return Candidates(able, nodes.where, nodes.bonds, nodes.places, nodes.room)

    def keeps(self, moves: Iterable[tuple[Group, NodeId]]) -> list[tuple[Group, NodeId]]:
        """Moves that take no VM to a node without its link."""
        return [(group, node) for group, node in moves if not self.lacks(group, node)]

    def _say(self, group: Group, reason: str) -> None:
        if self._said.get(group.name) != (group.generation, reason):
            self._said[group.name] = group.generation, reason
            self._out.fact(FactKind.NETWORK_CRITICAL, reason, group=group.name, generation=group.generation)
