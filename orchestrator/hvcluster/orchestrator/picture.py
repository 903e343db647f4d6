"""What a cluster looks like right now: the answers of its nodes and of the array, and the one to believe.

Law: merges answers, asks nothing. The node to believe knows of a leader with quorum; then the leader itself before
the others, then the newest database.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from hvcluster.model.definition import ClusterDefinition
from hvcluster.model.vocabulary import NodeId, ReservationKey
from hvcluster.v1 import node_pb2, san_pb2

from .driver import Member
from .lab import BUS_NAMES
from .state import Life, Role


@dataclass(frozen=True, slots=True)
class Picture:
    """One look at a lab. `luns` is None when the array did not answer."""

    definition: ClusterDefinition
    members: tuple[Member, ...]
    answers: Mapping[NodeId, node_pb2.StatusReply] = field(default_factory=dict)
    luns: tuple[san_pb2.LunRow, ...] | None = None

    @property
    def best(self) -> node_pb2.StatusReply | None:
        """The answer to believe, None when no node answered."""
        return max(self.answers.values(), key=_weight, default=None)

    @property
    def quorum(self) -> bool:
        """Whether some node knows of a leader that holds quorum."""
        return any(answer.quorum for answer in self.answers.values())

    def group(self, name: str) -> node_pb2.GroupRow | None:
        """A group as the node to believe has it."""
        best = self.best
        return None if best is None else next((g for g in best.groups if g.name == name), None)

    def migration(self, name: str) -> str:
        """How far the migration of a VM is, or how its last one ended (MigrationState); "" when nobody answers.

        How far one under way is, its source alone knows.
        """
        row = self.group(name)
        if row is None:
            return ""
        source = self.answers.get(NodeId(row.owner))
        rows = source.groups if source is not None and row.moving_to else ()
        return next((g.migration for g in rows if g.name == name and g.moving_to), row.migration)

    def node_name(self, node: int) -> str:
        """The name of a node, "-" for nobody."""
        return self.definition.node_name(NodeId(node)) if node else "-"

    def lun(self, number: int) -> san_pb2.LunRow | None:
        """A LUN as the array has it."""
        return next((row for row in self.luns or () if row.lun == number), None)

    def routes(self, node: NodeId) -> list[tuple[str, int, bool]]:
        """The bus routes a node should have, as (bus, peer, whether it is up): every bus to every peer that is up.

        Direct calls stand in for a bus that fails; they are no route of their own here.
        """
        best, answer = self.best, self.answers.get(node)
        if best is None or answer is None:
            return []
        up = {(route.bus, route.peer) for route in answer.routes if route.up}
        peers = [row.id for row in best.nodes if row.id != node and row.state in ("UP", "PAUSED")]
        return [(bus, peer, (bus, peer) in up) for bus in BUS_NAMES for peer in peers]

    def outside(self) -> set[int]:
        """Nodes that do not belong to the cluster, by their ids."""
        return {row.id for row in self.best.nodes if row.outside} if self.best is not None else set()

    def unhealthy(self) -> list[str]:
        """What is missing before every node is UP and every VM that should run is Online; empty: healthy."""
        missing = [f"{m.name} is {m.life.value}" for m in self.members if m.life is not Life.RUNNING]
        best = self.best
        if best is None:
            return [*missing, "no node answers"]
        if not best.quorum:
            missing.append("no quorum")
        silent = [m.name for m in self.members if m.role is Role.NODE and m.node not in self.answers]
        missing += [f"{name} does not answer" for name in silent]
        outside = self.outside()
        missing += [f"{r.name} is {r.state.lower()}" for r in best.nodes if r.state != "UP" and r.id not in outside]
        missing += [
            f"{self.definition.node_name(number)} is {answer.service.lower()}"
            for number, answer in sorted(self.answers.items())
            if answer.service != "UP" and number not in outside
        ]
        known = {row.name for row in best.groups}
        roles = {group.name for group in self.definition.groups if group.resources}
        missing += [
            f"{_kind(group.name, roles)} {group.name} is not known yet"
            for group in self.definition.groups
            if group.name not in known
        ]
        missing += [
            f"{_kind(row.name, roles)} {row.name} is {row.state.lower()}"
            for row in best.groups
            if row.desired_online and row.state != "ONLINE"
        ]
        if self.luns is None:
            missing.append("the array does not answer")
        return missing


def _weight(answer: node_pb2.StatusReply) -> tuple[bool, int, bool, int]:
    return answer.quorum, answer.term, answer.leader == answer.node, answer.commit


def key_text(key: int, shared: bool = False) -> str:
    """A reservation key as people read it: hexadecimal, and what it says if it is one of ours."""
    parts = ReservationKey.decode(key)
    if parts is None:
        return f"{key:016x}"
    if shared:  # nobody owns the witness or a volume by generation
        return f"{key:016x} (node {parts.node})"
    return f"{key:016x} (generation {parts.generation}, node {parts.node})"


def _kind(name: str, roles: set[str]) -> str:
    return "group" if name in roles else "VM"
