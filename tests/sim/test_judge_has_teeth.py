"""Deliberate faults in the protocol, one at a time: the judge must see each of them within a few seeds.

Without this, a campaign in which nothing breaks would prove nothing.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from hvcluster.model.scsi import Status
from hvcluster.model.vocabulary import NOBODY, NodeId
from hvcluster.node.core import disk
from hvcluster.node.core.outbox import Outbox
from hvcluster.node.core.procedure import Steps
from hvcluster.node.core.raft.log import Log
from hvcluster.node.core.raft.replication import Replication
from hvcluster.node.core.raft.state import RaftState
from hvcluster.sim.campaign import Plan, run_seed

PLAN = Plan(nodes=5, vms=4, minutes=5, fault_every_s=8)
SEEDS = 40


def nobody_is_preempted(patch: pytest.MonkeyPatch) -> None:
    """A takeover starts its VM beside the old owner's registration."""

    def take(*_: object) -> Steps[bool]:
        yield from ()
        return True

    patch.setattr(disk, "_take", take)
    patch.setattr(disk, "_alone", lambda *_: True)


def votes_are_not_saved(patch: pytest.MonkeyPatch) -> None:
    """A vote leaves before it is on the disk."""
    real = Outbox.save_vote

    def save_vote(self: Outbox, term: int, voted_for: NodeId) -> None:
        real(self, term, NOBODY)

    patch.setattr(Outbox, "save_vote", save_vote)


def any_log_may_lead(patch: pytest.MonkeyPatch) -> None:
    """Votes are given without looking at the candidate's log."""
    patch.setattr(Log, "is_behind", lambda *_: True)


def one_copy_is_enough(patch: pytest.MonkeyPatch) -> None:
    """A leader commits what it alone has."""

    def advance(self: Replication) -> bool:
        self.state.commit = self.state.log.last_index
        return True

    patch.setattr(Replication, "advance", advance)


def a_vote_can_be_given_twice(patch: pytest.MonkeyPatch) -> None:
    """A voter forgets in the middle of a term whom it voted for."""
    real = RaftState.vote_for

    def vote_for(self: RaftState, node: NodeId) -> None:
        self.voted_for = NOBODY
        real(self, node)
        self.voted_for = NOBODY

    patch.setattr(RaftState, "vote_for", vote_for)


def unknown_is_taken_for_good(patch: pytest.MonkeyPatch) -> None:
    """A guest acknowledges a write that had no answer."""
    from hvcluster.node.core import guest_disk

    real = guest_disk.Channel.answered

    def answered(self, now, result, paths, out):  # type: ignore[no-untyped-def]
        if result.status is Status.UNKNOWN and type(self._command).__name__ == "Write":
            result = type(result)(Status.GOOD)
        return real(self, now, result, paths, out)

    patch.setattr(guest_disk.Channel, "answered", answered)


MUTANTS: tuple[Callable[[pytest.MonkeyPatch], None], ...] = (
    nobody_is_preempted,
    votes_are_not_saved,
    any_log_may_lead,
    one_copy_is_enough,
    a_vote_can_be_given_twice,
    unknown_is_taken_for_good,
)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_the_judge_sees_a_deliberate_fault(
    mutant: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Invariants: an implementation that breaks one is found out."""
    mutant(monkeypatch)
    for seed in range(SEEDS):
        try:
            verdict = run_seed(PLAN, seed)
        except AssertionError:
            return  # the mutant ran into an assertion of the core itself
        if not verdict.ok:
            return
    pytest.fail(f"{SEEDS} seeds, and nobody noticed")
