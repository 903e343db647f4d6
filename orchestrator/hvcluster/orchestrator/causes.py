"""Why a group is where it is: from its newest assignment back to the first recorded cause, and on to its VM.

Law: pure; reads facts and orders them, and adds nothing to what nodes recorded. What no fact says is listed as not
known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from hvcluster.model.definition import ClusterDefinition
from hvcluster.model.properties import Timing
from hvcluster.model.vocabulary import NOBODY, NodeId

from .records import Recorded, named


class Trigger(Enum):
    """What made a group look for an owner."""

    MOVE = "somebody wanted it elsewhere"
    NODE = "the node that had it was removed from membership"
    FAILURE = "it failed where it was"
    PREEMPTED = "it gave up its place to a group of higher priority"
    ONLINE = "it had been taken offline on purpose, and was wanted online again"
    FORMED = "the cluster formed"
    UNKNOWN = "no fact that can be read says so"


class Phase(Enum):
    """What a step of an account belongs to."""

    CAUSE = "cause"
    DETECTION = "detection"
    ELECTION = "election"
    WITNESS = "witness"
    VOTES = "votes"
    DECISION = "decision"
    DISK = "disk"
    VM = "VM"
    OLD_OWNER = "old owner"


_PHASES: Final[dict[str, Phase]] = {
    "NODE_UNREACHABLE": Phase.DETECTION,
    "CONNECTION_LOST": Phase.DETECTION,
    "ELECTION_STARTED": Phase.ELECTION,
    "LEADER_ELECTED": Phase.ELECTION,
    "WITNESS_CHALLENGED": Phase.WITNESS,
    "WITNESS_HELD": Phase.WITNESS,
    "WITNESS_LOST": Phase.WITNESS,
    "WITNESS_REFUSED": Phase.WITNESS,
    "WITNESS_DEFENDED": Phase.WITNESS,
    "VOTES_CHANGED": Phase.VOTES,
    "NODE_DOWN": Phase.DECISION,
    "GROUP_ASSIGNED": Phase.DECISION,
    "GROUP_MOVING": Phase.CAUSE,
    "GROUP_WAITING": Phase.CAUSE,
    "GROUP_FAILED": Phase.CAUSE,
    "GROUP_CONFLICT": Phase.CAUSE,
    "GROUP_PREEMPTED": Phase.CAUSE,
    "NODE_PAUSED": Phase.CAUSE,
    "CLUSTER_FORMED": Phase.CAUSE,
    "NODE_LEAVING": Phase.CAUSE,
    "DISK_ARBITRATING": Phase.DISK,
    "DISK_PREEMPTED": Phase.DISK,
    "DISK_ONLINE": Phase.DISK,
    "DISK_LOST": Phase.DISK,
    "DISK_SUPERSEDED": Phase.DISK,
    "DISK_OFFLINE": Phase.DISK,
}
_SHARED: Final = frozenset(
    name for name, phase in _PHASES.items() if phase in (Phase.ELECTION, Phase.WITNESS, Phase.VOTES)
)
"""Facts of the whole cluster that belong to the account while it lasts."""
_LOSSES: Final = frozenset({"QUORUM_LOST", "NODE_REMOVED", "SERVICE_STOPPED", "SERVICE_STARTED", "PATH_DOWN"})
"""What a node that was lost may have recorded itself."""
_HELD_UP: Final = frozenset({"GROUP_WAITING", "GROUP_FAILED", "GROUP_CONFLICT", "GROUP_PREEMPTED"})
"""Why a group that should have run did not yet."""
_FAILURES: Final = frozenset({"RESOURCE_FAILED", "DISK_LOST", "DISK_SUPERSEDED", "VM_STOPPED", "PATH_DOWN"})


@dataclass(frozen=True, slots=True)
class Step:
    """One fact and what it is to the account."""

    phase: Phase
    fact: Recorded


@dataclass(frozen=True, slots=True)
class Account:
    """Why one generation of a group is where it is. `zero_us` is the wall time of the first step."""

    group: str
    generation: int
    owner: NodeId
    previous: NodeId
    trigger: Trigger
    reason: str
    rule: str
    candidates: tuple[NodeId, ...]
    leader: NodeId
    steps: tuple[Step, ...]
    zero_us: int
    online_us: int | None
    unknown: tuple[str, ...]


def explain(
    facts: Sequence[Recorded],
    definition: ClusterDefinition,
    group: str,
    generation: int = 0,
    unread: Sequence[NodeId] = (),
) -> Account | None:
    """The account of a generation, the newest that is recorded for 0; None when its assignment is in no record.

    `facts` are those of all nodes, in order of time; `unread` the nodes whose record could not be had.
    """
    return _Inquiry(facts, definition, group, unread).account(generation)


class _Inquiry:
    """One question about one group. Everything is looked up in the facts; nothing is kept between questions."""

    def __init__(
        self, facts: Sequence[Recorded], definition: ClusterDefinition, group: str, unread: Sequence[NodeId]
    ) -> None:
        self._facts = facts
        self._definition = definition
        self._group = group
        self._unread = frozenset(unread)
        self._assigned = {
            fact.number("generation"): fact
            for fact in facts
            if fact.kind == "GROUP_ASSIGNED" and fact.about.get("group") == group
        }
        self._unknown: list[str] = [
            f"what {definition.node_name(node)} recorded: its log cannot be read" for node in sorted(self._unread)
        ]

    def account(self, generation: int) -> Account | None:
        generation = generation or max(self._assigned, default=0)
        chosen = self._assigned.get(generation)
        if chosen is None:
            return None
        owner = NodeId(chosen.number("owner"))
        before = self._assigned.get(generation - 1)
        previous = NodeId(before.number("owner")) if before is not None else NOBODY
        if before is None and generation > 1:
            self._unknown.append(f"who had it before: the assignment of generation {generation - 1} is in no log")
        since = before.wall_us if before is not None else 0
        trigger, cause = self._trigger(chosen, previous, since)
        roots = self._roots(trigger, cause, previous, since, chosen)
        zero_us = min(fact.wall_us for fact in (*roots, chosen))
        end_us = self._end(chosen, generation)
        steps = self._steps(roots, chosen, previous, zero_us, end_us)
        online = next((s.fact for s in steps if s.fact.kind == "VM_ONLINE" and self._is(s.fact, generation)), None)
        if trigger is Trigger.UNKNOWN:
            self._unknown.append("what led to it: no fact before the decision is about this group or its node")
        said, _, rule = chosen.reason.rpartition("; ")
        able = tuple(NodeId(int(part)) for part in chosen.about.get("candidates", "").split(",") if part.isdigit())
        return Account(
            group=self._group,
            generation=generation,
            owner=owner,
            previous=previous,
            trigger=trigger,
            reason=self._reason(trigger, cause, said),
            rule=rule,
            candidates=able,
            leader=chosen.node,
            steps=steps,
            zero_us=zero_us,
            online_us=None if online is None else online.wall_us,
            unknown=tuple(self._unknown),
        )

    def _is(self, fact: Recorded, generation: int) -> bool:
        return fact.about.get("group") == self._group and fact.number("generation") == generation

    def _reason(self, trigger: Trigger, cause: Recorded | None, said: str) -> str:
        """The leader's own words, or those of the fact where a failed resource said more."""
        more = trigger in (Trigger.FAILURE, Trigger.PREEMPTED)
        words = cause.reason if more and cause is not None and cause.reason not in said else ""
        return named("; ".join(text for text in (said, words) if text), self._definition)

    def _trigger(self, chosen: Recorded, previous: NodeId, since: int) -> tuple[Trigger, Recorded | None]:
        """The newest fact of its time that made the leader look for an owner."""
        seen = chosen.number("generation") - 1
        window = [f for f in self._facts if since <= f.wall_us <= chosen.wall_us]
        for fact in reversed(window):
            if fact.kind == "GROUP_MOVING" and self._is(fact, seen):
                return Trigger.MOVE, fact
            if fact.kind == "GROUP_PREEMPTED" and self._is(fact, seen):
                return Trigger.PREEMPTED, fact
            if fact.kind == "CLUSTER_FORMED":
                return Trigger.FORMED, fact
            if fact.kind == "NODE_DOWN" and previous and fact.number("peer") == previous:
                return Trigger.NODE, fact
            if fact.kind in _FAILURES and previous and fact.node == previous and self._failure(fact, seen, chosen):
                return Trigger.FAILURE, fact
        stopped = [f for f in window if f.kind == "VM_STOPPED" and self._is(f, seen)]
        return (Trigger.ONLINE, stopped[-1]) if stopped else (Trigger.UNKNOWN, None)

    def _failure(self, fact: Recorded, seen: int, chosen: Recorded) -> bool:
        if fact.kind == "PATH_DOWN":
            return "path to the array" in chosen.reason
        return self._is(fact, seen) and fact.about.get("cause") not in ("shutdown", "saved")

    def _roots(
        self, trigger: Trigger, cause: Recorded | None, previous: NodeId, since: int, chosen: Recorded
    ) -> list[Recorded]:
        """The facts that come before all others of the account."""
        window = [f for f in self._facts if since <= f.wall_us <= chosen.wall_us]
        roots = [] if cause is None else [cause]
        if trigger is Trigger.NODE and cause is not None:
            roots += self._detection(window, previous, cause)
        if trigger is Trigger.MOVE and cause is not None:
            roots += [f for f in window if self._leaves(f, previous)][-1:]
        roots += [f for f in window if f.kind in _HELD_UP and self._about(f)]
        roots += [f for f in window if f.kind in _FAILURES and f.node == previous and self._failed_here(f, chosen)]
        return roots

    def _leaves(self, fact: Recorded, node: NodeId) -> bool:
        """Whether an operator wanted a node empty: it was asked to stop, or paused."""
        paused = fact.kind == "NODE_PAUSED" and fact.number("peer") == node and fact.number("paused") == 1
        return paused or (fact.kind == "NODE_LEAVING" and fact.node == node)

    def _about(self, fact: Recorded) -> bool:
        return fact.about.get("group") == self._group

    def _failed_here(self, fact: Recorded, chosen: Recorded) -> bool:
        return self._failure(fact, chosen.number("generation") - 1, chosen)

    def _detection(self, window: list[Recorded], lost: NodeId, down: Recorded) -> list[Recorded]:
        """Who noticed that a node was gone, each observer's newest word; and what the node itself said about it."""
        noticed: dict[tuple[NodeId, str], Recorded] = {}
        for fact in window:
            if _PHASES.get(fact.kind) is Phase.DETECTION and fact.number("peer") == lost:
                noticed[fact.node, fact.kind] = fact
        found = list(noticed.values())
        if lost in self._unread:
            return found
        timing = Timing.of(self._definition.properties)
        first = min((fact.wall_us for fact in found), default=down.wall_us)
        at_once = any(fact.kind == "CONNECTION_LOST" for fact in found)
        quiet = first - (0 if at_once else timing.detection - 2 * timing.delay)
        later = [f for f in self._facts if f.node == lost and f.wall_us >= quiet]
        name = self._definition.node_name(lost)
        if not later:
            self._unknown.append(f"what became of {name}: it recorded nothing since; it is dead, frozen or wiped")
        elif later[0].kind == "SERVICE_STARTED":
            self._unknown.append(f"how {name} died: it recorded nothing until its service was started again")
        started = next((at for at, f in enumerate(later) if f.kind == "SERVICE_STARTED"), len(later))
        return found + [f for f in later[: started + 1] if f.kind in _LOSSES]

    def _end(self, chosen: Recorded, generation: int) -> int:
        """Until when facts belong to this generation's account: its VM is online, or another generation came."""
        later = self._assigned.get(generation + 1)
        limit = later.wall_us if later is not None else max(fact.wall_us for fact in self._facts)
        online = [f.wall_us for f in self._facts if f.kind == "VM_ONLINE" and self._is(f, generation)]
        return min([limit, *online]) if online else limit

    def _steps(
        self, roots: list[Recorded], chosen: Recorded, previous: NodeId, zero_us: int, end_us: int
    ) -> tuple[Step, ...]:
        generation = chosen.number("generation")
        newest = generation + 1 not in self._assigned
        picked = {id(fact): fact for fact in (*roots, chosen)}
        for fact in self._facts:
            if fact.wall_us < zero_us:
                continue
            group = self._about(fact) and fact.kind != "GROUP_REPORTED"
            taking = group and fact.kind == "DISK_PREEMPTED" and fact.node == chosen.number("owner")
            mine = group and fact.kind != "DISK_PREEMPTED" and self._is(fact, generation)
            own = mine and (newest or fact.wall_us <= end_us)
            old = group and self._is(fact, generation - 1) and fact.node == previous
            shared = fact.kind in _SHARED and fact.wall_us <= end_us
            if own or old or shared or (taking and fact.wall_us <= end_us):
                picked[id(fact)] = fact
        ordered = sorted(picked.values(), key=lambda f: (f.wall_us, f.node, f.sequence))
        return tuple(Step(self._phase(fact, chosen, previous), fact) for fact in ordered)

    def _phase(self, fact: Recorded, chosen: Recorded, previous: NodeId) -> Phase:
        generation = chosen.number("generation")
        known = _PHASES.get(fact.kind)
        if known in (Phase.CAUSE, Phase.DETECTION, Phase.DECISION) or fact.kind in _SHARED:
            assert known is not None, "these kinds are of the table"
            return known
        if fact.node == previous and not self._is(fact, generation) and fact.kind != "DISK_PREEMPTED":
            return Phase.OLD_OWNER if fact.wall_us > chosen.wall_us else Phase.CAUSE
        return known or Phase.VM
