"""Operators' requests: taken by any node, decided by the leader, answered when they are carried out.

Law: each ticket gets exactly one Reply. The leader turns a request into commands and watches the database until it
shows the result; nobody waits longer than the deadline.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import get_args

from hvcluster.model.codec import Malformed, dump_tagged, load_tagged
from hvcluster.model.facts import FactKind
from hvcluster.model.properties import Properties
from hvcluster.model.values import value
from hvcluster.model.vocabulary import (
    NOBODY,
    GroupState,
    Instant,
    MigrationState,
    NodeId,
)

from . import resource_requests
from .commands import BeginMove, Command
from .database import Database, Group
from .decisions import Decision, Outcome, Watch, state_of
from .effects import Reply
from .events import (
    AddNode,
    CancelMigration,
    ClearQuarantine,
    EvictNode,
    FailResource,
    MoveGroup,
    MoveVolume,
    RemoveAffinityRule,
    Request,
    SetAffinityRule,
    SetClusterProperty,
    SetGroup,
    SetGroupOnline,
    SetNodePaused,
    SetNodeWeight,
    SetQuorum,
    SetResourceOnline,
    StopNode,
)
from .group_requests import set_group, set_online
from .handover import cancelled
from .membership_requests import add, evict
from .messages import Forward, Forwarded
from .outbox import Outbox
from .pause_requests import pause
from .placement import Candidates, Why, choose, conflict
from .property_requests import set_property
from .quarantine_request import clear_quarantine
from .quorum_requests import QuorumRequests
from .raft.state import RaftState
from .rule_requests import remove_rule, set_rule
from .volume_requests import move_volume

REQUESTS: tuple[type[Request], ...] = get_args(Request)
TIMER = "requests"
MAX_WATCHED = 1000  # more open requests than groups an operator can look at; the next is told to come back


@value
class _Watched:
    asker: NodeId
    ticket: int
    watch: Watch
    until: Instant


class Requests:
    """Requests of this node's operators, and as leader, those of all nodes."""

    __slots__ = (
        "_database",
        "_made",
        "_me",
        "_out",
        "_patience_us",
        "_quorum",
        "_state",
        "_waiting",
        "_watched",
        "candidates",
        "leave",
        "may_leave",
    )

    def __init__(
        self,
        me: NodeId,
        state: RaftState,
        database: Callable[[], Database],
        patience_us: int,
        out: Outbox,
        quorum: QuorumRequests,
        made: Properties,
    ) -> None:
        self._made = made
        self._me = me
        self._state = state
        self._database = database
        self._patience_us = patience_us
        self._out = out
        self._quorum = quorum
        self._waiting: dict[int, Instant] = {}  # forwarded tickets of ours and their deadline
        self._watched: list[_Watched] = []
        self.candidates: Callable[[], Candidates] = lambda: Candidates.plain({})
        self.may_leave: Callable[[NodeId], str | None] = lambda _: None
        self.leave: Callable[[Instant, int], None] = lambda _now, _ticket: None

    def requested(self, now: Instant, ticket: int, request: Request) -> Sequence[Command]:
        """An operator at this node asks. Returns commands to propose, when we lead."""
        if isinstance(request, StopNode) and request.node != self._me:
            self._out.add(Reply(ticket, False, "refused", f"ask node {request.node} itself to stop"))
            return ()
        if self._state.leads:
            return self._decide(now, self._me, ticket, request)
        if self._state.leader == NOBODY:
            text = "no node leads the cluster now; try again when `hvc status` shows a leader"
            self._out.add(Reply(ticket, False, "no-leader", text))
            return ()
        self._waiting[ticket] = Instant(now + self._patience_us)
        self._out.send(self._state.leader, Forward(ticket, dump_tagged(request)))
        self._out.timer(TIMER, now + self._patience_us)
        return ()

    def forward(self, now: Instant, sender: NodeId, message: Forward) -> Sequence[Command]:
        """Another node hands on what its operator asks."""
        try:
            request = load_tagged(REQUESTS, message.command)
        except Malformed as error:
            self._answer(sender, message.ticket, Outcome(False, "refused", f"not a request: {error}"))
            return ()
        if not self._state.leads:
            self._answer(
                sender, message.ticket, Outcome(False, "no-leader", "this node does not lead any more; ask again")
            )
            return ()
        return self._decide(now, sender, message.ticket, request)

    def forwarded(self, now: Instant, message: Forwarded) -> None:
        """The leader's answer to what we handed on."""
        if self._waiting.pop(message.ticket, None) is None:
            return
        if message.ok and message.code == "leave":
            self.leave(now, message.ticket)
        else:
            self._out.add(Reply(message.ticket, message.ok, message.code, message.text))

    def _answer(self, asker: NodeId, ticket: int, outcome: Outcome) -> None:
        if asker != self._me:
            self._out.send(asker, Forwarded(ticket, outcome.ok, outcome.code, outcome.text))
        elif outcome.ok and outcome.code == "leave":
            self.leave(self._out.now, ticket)
        else:
            self._out.add(Reply(ticket, outcome.ok, outcome.code, outcome.text))

    def _decide(self, now: Instant, asker: NodeId, ticket: int, request: Request) -> Sequence[Command]:
        if len(self._watched) >= MAX_WATCHED:
            self._answer(asker, ticket, Outcome(False, "busy", f"{MAX_WATCHED} requests are open; try again later"))
            return ()
        decision: Decision
        match request:
            case MoveGroup():
                decision = self._move(request)
            case MoveVolume():
                decision = move_volume(self._database(), request, self.candidates().groups)
            case SetGroup():
                decision = set_group(self._database(), request)
            case CancelMigration():
                decision = self._cancel(request)
            case SetGroupOnline():
                decision = set_online(self._database(), request)
            case SetResourceOnline() | FailResource():
                decision = resource_requests.decide(self._database(), request)
            case SetNodePaused():
                decision = pause(self._database(), self.candidates().groups, request)
            case ClearQuarantine():
                decision = clear_quarantine(self._database(), request)
            case SetNodeWeight():
                decision = self._quorum.weigh(now, request)
            case EvictNode():
                decision = evict(now, self._me, self._database(), request, self._quorum)
            case AddNode():
                decision = add(self._database(), request)
            case SetQuorum():
                decision = self._quorum.configure(now, request)
            case SetClusterProperty():
                decision = set_property(self._database(), self._made, request)
            case SetAffinityRule():
                decision = set_rule(self._database(), request)
            case RemoveAffinityRule():
                decision = remove_rule(self._database(), request)
            case StopNode():
                refusal = self.may_leave(request.node)
                decision = Decision(
                    Outcome(True, "leave", "") if refusal is None else Outcome(False, "quorum", refusal)
                )
        if decision.outcome is not None:
            self._answer(asker, ticket, decision.outcome)
        elif decision.watch is not None:
            already = decision.watch(self._database())
            if already is not None:  # it is as it should be: nothing will change, and so nobody would look again
                self._answer(asker, ticket, Outcome(already.ok, already.code, f"{already.text} already"))
                return ()
            self._watched.append(_Watched(asker, ticket, decision.watch, Instant(now + self._patience_us)))
            self._out.timer(TIMER, now + self._patience_us)
        return decision.commands

    def _move(self, request: MoveGroup) -> Decision:
        database = self._database()
        group = database.groups.get(request.group)
        if group is None:
            return Decision(Outcome(False, "unknown-group", f"there is no group {request.group!r}"))
        if group.state is not GroupState.ONLINE or group.moving_to != NOBODY:
            return Decision(Outcome(False, "refused", f"{group.name} is {state_of(group)}; move it when it is online"))
        if group.definition.policy.locked_from_moving:
            return Decision(Outcome(False, "locked", f"{group.name} is locked from moving; unlock it in its policy"))
        nodes = self.candidates()
        if request.target == NOBODY:
            choice = choose(group.definition, group.owner, Why.MOVE, nodes, leave=True)
            if choice is None:
                return Decision(Outcome(False, "no-candidate", f"no other node is able to take {group.name}"))
            target = choice.owner
        else:
            target = request.target
            refusal = self._target_refusal(database, group, target, nodes)
            if refusal is not None:
                return Decision(refusal)
        seen, moves = group.generation, group.moves

        def watch(database: Database) -> Outcome | None:
            now = database.groups.get(request.group)
            if now is None or now.state is GroupState.PENDING:
                return None
            if now.generation == seen:
                if now.moves == moves or now.moving_to != NOBODY or now.state is not GroupState.ONLINE:
                    return None
                how = "was cancelled" if now.migration is MigrationState.CANCELED else "failed"
                return Outcome(False, "stayed", f"its live migration {how}; {now.name} stays on node {now.owner}")
            if now.state is GroupState.ONLINE and now.owner == target:
                return Outcome(True, "ok", f"{now.name} is online on node {now.owner}, generation {now.generation}")
            return Outcome(False, "failed", f"{now.name} is {state_of(now)} on node {now.owner}: {now.reason}")

        begin = BeginMove(group.name, seen, target, "an operator asked for it", kind=request.kind)
        return Decision(None, (begin,), watch)

    def _cancel(self, request: CancelMigration) -> Decision:
        group = self._database().groups.get(request.group)
        if group is None:
            return Decision(Outcome(False, "unknown-group", f"there is no group {request.group!r}"))
        if not group.migrates:
            return Decision(Outcome(False, "refused", f"no live migration of {group.name} is under way"))
        seen = group.generation

        def watch(database: Database) -> Outcome | None:
            now = database.groups.get(request.group)
            if now is None or (now.generation == seen and now.moving_to != NOBODY):
                return None
            if now.generation != seen:
                return Outcome(False, "too-late", f"{now.name} has gone to node {now.owner} meanwhile")
            return Outcome(True, "ok", f"{now.name} stays on node {now.owner}")

        return Decision(None, (cancelled(group),), watch)

    def _target_refusal(self, database: Database, group: Group, target: NodeId, nodes: Candidates) -> Outcome | None:
        if target not in database.members:
            return Outcome(False, "unknown-node", f"there is no node {target}")
        if target == group.owner:
            return Outcome(False, "refused", f"{group.name} is already on node {target}")
        if not group.definition.may_run_on(target):
            return Outcome(False, "refused", f"node {target} is not among the possible owners of {group.name}")
        if target not in nodes.groups:
            text = f"node {target} is down, paused, leaving, or does not see the array"
            return Outcome(False, "no-candidate", text)
        rule = conflict(group.name, target, nodes)
        return Outcome(False, "refused", f"{rule} forbids {group.name} on node {target}") if rule else None

    def look(self) -> None:
        """The database changed: answer what it now shows."""
        if not self._watched:
            return
        database = self._database()
        still: list[_Watched] = []
        for watched in self._watched:
            outcome = watched.watch(database)
            if outcome is None:
                still.append(watched)
            else:
                self._out.fact(FactKind.REQUEST_DONE, outcome.text, asker=watched.asker)
                self._answer(watched.asker, watched.ticket, outcome)
        self._watched = still

    def resigned(self) -> None:
        """We no longer lead: what we watched may still happen, under another leader."""
        for watched in self._watched:
            text = "the leader changed before it was done; look at `hvc status` and ask again"
            self._answer(watched.asker, watched.ticket, Outcome(False, "no-leader", text))
        self._watched = []

    def timer(self, now: Instant) -> None:
        """Deadlines."""
        late = Outcome(False, "timeout", "it was not done in time; it may still be carried out")
        for ticket in [ticket for ticket, until in self._waiting.items() if until <= now]:
            del self._waiting[ticket]
            self._out.add(Reply(ticket, late.ok, late.code, late.text))
        for watched in [w for w in self._watched if w.until <= now]:
            self._watched.remove(watched)
            self._answer(watched.asker, watched.ticket, late)
        pending = [*self._waiting.values(), *(w.until for w in self._watched)]
        if pending:
            self._out.timer(TIMER, min(pending))
