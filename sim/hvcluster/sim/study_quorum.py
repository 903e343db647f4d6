"""Whether a cluster keeps quorum while hosts come and go: the arithmetic of `model/votes.py`, without any time.

Law: every change of votes is one that `next_step` names, every count is held against `Configuration.quorum`. Nothing
is drawn here, and nothing waits: when a failure is noticed is for the caller to say. Nodes are cut off from each other
by the death of a host only; partitions are not part of a study.
"""

from __future__ import annotations

from hvcluster.model.properties import Properties
from hvcluster.model.vocabulary import NOBODY, NodeId, StoreId
from hvcluster.model.votes import Configuration, Electorate, Voter, next_step

MAX_STEPS = 200  # every node and the witness may change a few times; more would be a circle


def _voter(node: int) -> Voter:
    return Voter(NodeId(node), StoreId(node))


class Membership:
    """Hosts, votes and leader of one cluster. `leader` is NOBODY while there is no quorum."""

    __slots__ = ("_all", "_behind", "_noticed", "_properties", "_reaching", "_witness", "configuration", "leader", "up")

    def __init__(self, hosts: int, witness: bool, properties: Properties, leader: int = 1) -> None:
        nodes = [NodeId(node) for node in range(1, hosts + 1)]
        self._witness = witness
        self._properties = properties
        self._all = frozenset(nodes)
        self.up = set(nodes)
        self._reaching = set(nodes)
        self._noticed = set(nodes)
        """Whom the leader takes for up."""
        self._behind: set[NodeId] = set()
        """Whose log lacks something that is committed."""
        self.leader = NodeId(leader)
        first = witness and (hosts % 2 == 0 or not properties.dynamic_witness)
        self.configuration = Configuration(tuple(_voter(node) for node in nodes), first)
        self._settle()

    # counting

    def _votes(self, configuration: Configuration) -> int:
        nodes = sum(1 for voter in configuration.voters if voter.node in self.up)
        return nodes + (configuration.witness and bool(self.up & self._reaching))

    @property
    def enough(self) -> bool:
        """Whether the votes that can be cast are a quorum of those that count."""
        return self._votes(self.configuration) >= self.configuration.quorum

    def _candidate(self, waiting: set[NodeId]) -> NodeId:
        """Who would lead, NOBODY if nobody can.

        A log that is behind gets no vote, unless the witness is won and read first. Who was waiting already stands
        before who has just started; among equals the lowest id is first.
        """
        configuration = self.configuration
        if not self.enough:
            return NOBODY
        nodes = sum(1 for voter in configuration.voters if voter.node in self.up)
        able = self.up - self._behind
        if nodes < configuration.quorum or not able:
            able = self.up & self._reaching if configuration.witness else set()
        return min(able, key=lambda node: (node not in waiting, node), default=NOBODY)

    # what happens

    def fail(self, node: NodeId) -> None:
        """A host is gone, and nobody has noticed yet."""
        self.up.discard(node)
        self._check(node)

    def reach(self, nodes: set[NodeId]) -> None:
        """Which hosts can use the array, and so the witness on it, from now on."""
        self._reaching = set(nodes)
        self._check(NOBODY)

    def _check(self, gone: NodeId) -> None:
        if self.leader == NOBODY:
            return
        if not self.enough:
            self.leader = NOBODY
        elif self.leader == gone:
            self.leader = self._candidate(set())

    def notice(self, node: NodeId) -> None:
        """The leader has found out about one host, gone or back; votes follow."""
        if self.leader == NOBODY:
            return
        if node in self.up:
            self._noticed.add(node)
            self._behind.discard(node)
        else:
            self._noticed.discard(node)
            self._behind.add(node)
        self._settle()

    def restore(self, node: NodeId) -> None:
        """A host is back. With quorum it must still be noticed; without, see whether the cluster `forms`."""
        self.up.add(node)

    def forms(self, waiting: set[NodeId]) -> bool:
        """Form again, if the hosts that are up can; `waiting`: those that were up before the last change."""
        if self.leader != NOBODY:
            return False
        self.leader = self._candidate(waiting)
        if self.leader == NOBODY:
            return False
        self._noticed = set(self.up)
        self._behind = set(self._all - self.up)
        self._settle()
        return True

    def settle(self) -> None:
        """Bring the votes to where they belong, as far as that can be committed."""
        if self.leader != NOBODY:
            self._settle()

    def _settle(self) -> None:
        for _ in range(MAX_STEPS):
            step = next_step(self.configuration, self._electorate())
            # A quorum of the new votes must have answered before a leader commits to them (decision 0009).
            if step is None or self._votes(step.configuration) < step.configuration.quorum:
                return
            self.configuration = step.configuration
        raise AssertionError(f"votes do not settle: {self.configuration}")

    def _electorate(self) -> Electorate:
        entitled = tuple(_voter(node) for node in sorted(self._noticed))
        usable = self._witness and self.leader in self._reaching
        return Electorate(
            leader=self.leader,
            entitled=entitled,
            ready=tuple(voter for voter in entitled if voter.node in self.up),
            leader_leaves=False,
            witness_configured=self._witness,
            witness_usable=usable,
            witness_ready=usable,
            witness_coming=False,
            dynamic_quorum=self._properties.dynamic_quorum,
            dynamic_witness=self._properties.dynamic_witness,
            lower_priority=NodeId(self._properties.lower_quorum_priority_node_id),
        )
