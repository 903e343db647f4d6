"""Quorum arithmetic: who votes, how many votes are enough, and which single change of votes comes next.

Law: pure functions on small values. Invariant: `next_step` changes one voter at a time, so any majority before the
change and any majority after it share a voter (Raft section 6; Ongaro's dissertation, 4.1).
"""

from __future__ import annotations

from .configuration import Configuration, Voter
from .values import value
from .vocabulary import NodeId

__all__ = ["Configuration", "Electorate", "Step", "Voter", "next_step", "tie_breaker"]


@value
class Electorate:
    """What the leader knows when it looks at the votes.

    `leader_leaves`: it waits for another voter to hand over to. `entitled`: members that are Up with NodeWeight 1
    under their present saved state. `ready`: those of them whose log has caught up, so that their vote may be added.
    `witness_usable`: held by the leader and written not long ago;
    `witness_ready`: it has caught up as well, so that its vote may be added. `witness_coming`: the leader arbitrates
    for it or writes its first image, so that nothing is decided for the lack of it yet. `configured`: after a forced
    quorum, every node with NodeWeight 1; static votes are given back to those that are away as well. `weightless`:
    nodes whose NodeWeight is 0. `outside`: nodes that do not belong to the cluster. `silent`: voters that
    are not heard; of several votes that are to end theirs end first, for the others are needed to end them.
    `witness_configured`: the witness belongs to the quorum.
    """

    leader: NodeId
    entitled: tuple[Voter, ...]
    ready: tuple[Voter, ...]
    leader_leaves: bool
    witness_configured: bool
    witness_usable: bool
    witness_ready: bool
    witness_coming: bool
    dynamic_quorum: bool
    dynamic_witness: bool
    lower_priority: NodeId
    configured: tuple[Voter, ...] = ()
    weightless: tuple[NodeId, ...] = ()
    outside: tuple[NodeId, ...] = ()
    silent: tuple[NodeId, ...] = ()

    def barred(self, node: NodeId) -> str | None:
        """Why a node may not vote, whether it is there or not; None if nothing bars it."""
        if node in self.outside:
            return f"node {node} does not belong to the cluster"
        return f"NodeWeight of node {node} is 0" if node in self.weightless else None

    def silent_first(self, voters: tuple[Voter, ...]) -> list[Voter]:
        """Voters in the order in which their votes end."""
        return sorted(voters, key=lambda voter: voter.node not in self.silent)


@value
class Step:
    """One change of votes and why."""

    configuration: Configuration
    reason: str


def tie_breaker(configuration: Configuration, electorate: Electorate) -> Voter | None:
    """The node that goes without a vote while votes would be even and no witness can help; never the leader.

    LowerQuorumPriorityNodeID first; then a node that has no vote now, so that votes do not wander; then the highest id.
    """
    others = [v for v in electorate.entitled if v.node != electorate.leader]
    if not others:
        return None
    for voter in others:
        if voter.node == electorate.lower_priority:
            return voter
    without = [v for v in others if v not in configuration.voters]
    return (without or others)[-1]


def next_step(configuration: Configuration, electorate: Electorate) -> Step | None:
    """The next single change that brings the votes to where they belong, or None when they are there.

    Order: drop what is lost, drop a witness that cannot vote, add nodes, adjust the witness, break the tie.
    """
    if electorate.dynamic_quorum:
        return _dynamic_step(configuration, electorate)
    for voter in electorate.silent_first(configuration.voters):
        replaced = any(e.node == voter.node and e.store != voter.store for e in electorate.entitled)
        if replaced and voter.node != electorate.leader and len(configuration.voters) > 1:
            return Step(
                configuration.without(voter), f"node {voter.node} came back with an empty disk; its old vote ends"
            )
        why = electorate.barred(voter.node)
        if why is not None and voter.node != electorate.leader and len(configuration.voters) > 1:
            return Step(configuration.without(voter), why)
    if configuration.witness and not electorate.witness_configured:
        return Step(configuration.with_witness(False), "the witness does not belong to the quorum any more")
    voting = {v.node for v in configuration.voters}
    for voter in electorate.ready:
        if voter.node not in voting:
            return Step(configuration.with_voter(voter), f"node {voter.node} votes")
    if electorate.witness_ready and not configuration.witness:
        return Step(configuration.with_witness(True), "the witness votes")
    here = {v.node for v in electorate.entitled}
    for voter in electorate.configured:
        if voter.node not in voting and voter.node not in here:
            return Step(configuration.with_voter(voter), f"node {voter.node} has a vote, wherever it is")
    return None


def _dynamic_step(configuration: Configuration, electorate: Electorate) -> Step | None:
    entitled = set(electorate.entitled)
    for voter in electorate.silent_first(configuration.voters):
        if voter not in entitled and voter.node != electorate.leader and len(configuration.voters) > 1:
            why = electorate.barred(voter.node) or f"node {voter.node} left"
            return Step(configuration.without(voter), f"{why}; its vote no longer counts")
    if configuration.witness and not electorate.witness_configured:
        return Step(configuration.with_witness(False), "the witness does not belong to the quorum any more")
    if configuration.witness and not (electorate.witness_usable or electorate.witness_coming):
        return Step(configuration.with_witness(False), "the witness cannot vote")
    spare: Voter | None = None
    helped = electorate.witness_usable or electorate.witness_coming
    if electorate.dynamic_witness and not helped and not electorate.leader_leaves and len(entitled) % 2 == 0:
        spare = tie_breaker(configuration, electorate)
    for voter in electorate.ready:
        if voter not in configuration.voters and voter != spare:
            return Step(configuration.with_voter(voter), f"node {voter.node} is up; its vote counts")
    even = len(configuration.voters) % 2 == 0
    witness = electorate.witness_usable and (even or not electorate.dynamic_witness)
    settled = electorate.witness_ready if witness else not electorate.witness_coming or not even
    if witness != configuration.witness and settled:
        number = "even" if even else "odd"
        return Step(configuration.with_witness(witness), f"the number of voting nodes is {number}")
    if spare is not None and spare in configuration.voters and even:
        return Step(configuration.without(spare), f"votes are even without a witness; node {spare.node} breaks the tie")
    return None
