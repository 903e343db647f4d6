"""One node's core on a desk: events in, effects out, a disk that keeps what was saved, and a clock turned by hand.

Law: for tests. The core is the real one; its disk is the simulator's.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

from hvcluster.model.definition import ClusterDefinition, first_store
from hvcluster.model.facts import FactKind
from hvcluster.model.properties import Timing
from hvcluster.model.vocabulary import NOBODY, Incarnation, Instant, NodeId, StoreId
from hvcluster.node.core.effects import Effect, Record, Save, Send, SetTimer
from hvcluster.node.core.events import Event, HeartbeatHeard, MessageReceived, Started, TimerFired
from hvcluster.node.core.forcing import Start
from hvcluster.node.core.genesis import founded
from hvcluster.node.core.messages import Heard, Heartbeat, Message, PreVote, PreVoteReply, RequestVote, VoteReply
from hvcluster.node.core.node import NodeCore
from hvcluster.node.core.saved import SavedState
from hvcluster.sim.campaign import Plan
from hvcluster.sim.disks import saved_after

M = TypeVar("M", bound=Message)


def cluster(nodes: int = 3, *, witness: bool = False, vms: int = 1) -> ClusterDefinition:
    """The simulator's lab of so many nodes, as a definition."""
    return Plan(nodes=nodes, vms=vms, witness=witness).definition()


class Desk:
    """Node `node` of a cluster. `saved` is its disk; `effects` are those of the newest event."""

    def __init__(
        self,
        definition: ClusterDefinition,
        node: int = 1,
        saved: SavedState | None = None,
        start: Start = Start.NORMAL,
    ) -> None:
        self.definition = definition
        self.node = NodeId(node)
        self.saved = saved or founded(definition, self.node)
        self.now = Instant(0)
        self.timing = Timing.of(definition.properties)
        self.timers: dict[str, Instant] = {}
        self.effects: list[Effect] = []
        self._beats: dict[int, int] = {}
        self.core = NodeCore(definition, self.node, self.saved, start)
        self.feed(Started())

    def restart(self) -> None:
        """The process dies and starts again from its disk."""
        self.timers = {}
        self.core = NodeCore(self.definition, self.node, self.saved)
        self.feed(Started())

    def feed(self, event: Event) -> list[Effect]:
        """One event; what was to be saved is on the disk afterwards."""
        self.effects = list(self.core.handle(self.now, event))
        for effect in self.effects:
            if isinstance(effect, Save):
                self.saved = saved_after(self.saved, effect)
            elif isinstance(effect, SetTimer):
                self.timers[effect.name] = effect.at
        return self.effects

    def wait(self, us: int) -> None:
        """Let time pass without any event."""
        self.now = Instant(self.now + us)

    def fire(self, name: str) -> list[Effect]:
        """Let time pass until a timer is due, and fire it."""
        self.now = max(self.now, self.timers.pop(name))
        return self.feed(TimerFired(name))

    def store(self, node: int) -> StoreId:
        """The saved state that cluster creation wrote for a node."""
        return first_store(self.definition.id, NodeId(node))

    def beat(self, node: int, *, leader: int = NOBODY, term: int = 1, **more: object) -> Heartbeat:
        """The next heartbeat of a peer."""
        self._beats[node] = self._beats.get(node, 0) + 1
        plain = Heartbeat(
            NodeId(node), self.store(node), Incarnation(1), self._beats[node], True, term, NodeId(leader),
            leader == node, 1, 1, True, False, (),
        )  # fmt: skip
        return replace(plain, **more)  # type: ignore[arg-type]

    def hear(self, *nodes: int, leader: int = NOBODY, term: int = 1, bus: str = "A", **more: object) -> None:
        """A heartbeat of each of these peers arrives."""
        for node in nodes:
            self.feed(HeartbeatHeard(bus, self.beat(node, leader=leader, term=term, **more)))

    def echo(self, node: int, *, term: int, leader: int) -> None:
        """A peer's heartbeat that says it heard our newest one."""
        heard = Heard(self.node, self.core.incarnation, self.core.beats.sequence, True)
        self.hear(node, leader=leader, term=term, hears=(heard,))

    def receive(self, sender: int, message: Message, store: StoreId | None = None) -> list[Effect]:
        """A peer says something directly."""
        return self.feed(MessageReceived(NodeId(sender), store or self.store(sender), Incarnation(1), message))

    def sent(self, kind: type[M], to: int | None = None) -> list[M]:
        """Messages of a kind among the newest effects."""
        sends = [effect for effect in self.effects if isinstance(effect, Send)]
        return [s.message for s in sends if isinstance(s.message, kind) and to in (None, s.to)]

    def facts(self, kind: FactKind) -> list[str]:
        """Reasons of the facts of a kind among the newest effects."""
        return [e.fact.reason for e in self.effects if isinstance(e, Record) and e.fact.kind is kind]

    # elections

    def awake(self) -> None:
        """Started long enough ago to vote for anybody."""
        self.wait(self.timing.detection + self.timing.delay)

    def vote(self, sender: int, term: int, last: tuple[int, int] = (1, 1), *, transfer: bool = False) -> VoteReply:
        """The answer to a RequestVote; `last` is the sender's last (term, index)."""
        self.receive(sender, RequestVote(term, last[1], last[0], transfer))
        (reply,) = self.sent(VoteReply, sender)
        return reply

    def pre_vote(self, sender: int, term: int, last: tuple[int, int] = (1, 1)) -> PreVoteReply:
        """The answer to a PreVote."""
        self.receive(sender, PreVote(term, last[1], last[0]))
        (reply,) = self.sent(PreVoteReply, sender)
        return reply

    def stand(self, *supporters: int) -> int:
        """Become a candidate, with the pre-votes of these peers; returns the term."""
        self.awake()
        peers = [node.id for node in self.definition.nodes if node.id != self.node]
        self.hear(*peers)
        self.fire("election")
        term = self.core.state.term
        for node in supporters:
            self.receive(node, PreVoteReply(term + 1, True, term, ""))
            if self.core.state.term > term:
                break
        assert self.core.state.term == term + 1, "the pre-vote was not won"
        return self.core.state.term

    def lead(self, *supporters: int) -> int:
        """Be elected by these peers; returns the term."""
        term = self.stand(*supporters)
        for node in supporters:
            if not self.core.state.leads:
                self.receive(node, VoteReply(term, True, term, ""))
        assert self.core.state.leads, "the election was not won"
        return term
