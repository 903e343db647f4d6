"""What follows from a failure: restarts on the node, failovers, and the long wait (reference/wsfc.md 6.2 to 6.4)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hvcluster.model.definition import GroupDefinition
from hvcluster.model.policy import Policy, RestartAction
from hvcluster.model.properties import Properties, Timing
from hvcluster.model.vocabulary import NOBODY, US_PER_MS, US_PER_S, Generation, GroupState, Instant, LunId, NodeId
from hvcluster.node.core.failures import Failures, Next
from hvcluster.node.core.members import Group
from hvcluster.node.core.settings import Settings

MINUTE = 60 * US_PER_S
HOUR = 60 * MINUTE


class Story:
    """One group that fails again and again, and the leader that counts."""

    def __init__(self, *, nodes: int = 3, **policy: object) -> None:
        properties = Properties()
        self.failures = Failures(Settings(properties), Timing.of(properties))
        self.nodes = nodes
        definition = GroupDefinition("D1", LunId(2), policy=replace(Policy(), **policy))  # type: ignore[arg-type]
        self.group = Group(
            definition, NodeId(1), Generation(0), GroupState.FAILED, True, NOBODY, False, True, "vm", "it died"
        )

    def fails(self, at: int, *, here: bool = True, patience: int = US_PER_S) -> Next:
        """The group fails at an instant; what the leader does within a while, done as well."""
        self.group = replace(self.group, generation=Generation(self.group.generation + 1))
        what, due, _ = self.failures.next(Instant(at), self.group, self.nodes, here=here)
        if what is Next.WAIT and due - at <= patience:
            what, due, _ = self.failures.next(due, self.group, self.nodes, here=here)
        if what is Next.GIVE_UP:
            self.failures.gave_up(Instant(at), self.group)
        elif what is not Next.WAIT:
            self.failures.acted(Instant(at), self.group, restart=what is Next.RESTART)
            restarts, failovers = self.failures.counts(self.group)
            self.group = replace(self.group, restarts=restarts, failovers=failovers)
        return what


def test_the_first_failure_is_a_restart_after_half_a_second() -> None:
    """6.2 RestartThreshold 1, RestartDelay 500 ms."""
    story = Story()
    what, due, _ = story.failures.next(Instant(0), story.group, 3, here=True)
    assert (what, due) == (Next.WAIT, 500 * US_PER_MS)
    assert story.fails(0) is Next.RESTART


def test_failures_beyond_the_threshold_within_the_period_fail_over() -> None:
    """6.3: N restarts in the period; the next failure is the group's failover. Failures of long ago do not count."""
    story = Story(restart_threshold=2)
    assert [story.fails(at * MINUTE) for at in (0, 5, 10)] == [Next.RESTART, Next.RESTART, Next.FAILOVER]
    assert story.fails(16 * MINUTE) is Next.RESTART, "the failure at minute 0 is older than 15 minutes"


def test_a_node_that_cannot_restart_it_counts_no_restart() -> None:
    """A node without a path to the array, or paused, restarts nothing: the group fails over at its first failure."""
    assert Story().fails(0, here=False) is Next.FAILOVER


def test_after_nodes_minus_one_failovers_it_stays_failed_for_an_hour() -> None:
    """6.4 FailoverThreshold; 6.3 step 5: then RetryPeriodOnFailure, and one more attempt."""
    story = Story(restart_threshold=0)
    assert [story.fails(at * MINUTE) for at in range(3)] == [Next.FAILOVER, Next.FAILOVER, Next.GIVE_UP]
    assert story.failures.next(Instant(HOUR), story.group, 3, here=True)[0] is Next.WAIT
    assert story.failures.next(Instant(HOUR + 2 * MINUTE), story.group, 3, here=True)[0] is Next.RESTART


@pytest.mark.parametrize(
    ("action", "seen"),
    [
        (RestartAction.DONT_RESTART, [Next.GIVE_UP]),
        (RestartAction.RESTART_NO_NOTIFY, [Next.RESTART, Next.GIVE_UP]),
        (RestartAction.RESTART_NOTIFY, [Next.RESTART, Next.FAILOVER]),
    ],
)
def test_restart_action_says_what_comes_after_the_restarts(action: RestartAction, seen: list[Next]) -> None:
    """Section 2, RestartAction 0 to 2."""
    story = Story(restart_action=action)
    assert [story.fails(at * MINUTE) for at in range(len(seen))] == seen


def test_what_must_not_be_restarted_has_no_retry() -> None:
    """RestartAction 0: only a person brings it online."""
    story = Story(restart_action=RestartAction.DONT_RESTART)
    story.fails(0)
    assert not story.failures.gave_up(Instant(0), story.group)


def test_a_new_leader_forgets_no_failure() -> None:
    """The counts are in the database; their period begins anew with the leader, and is never cut short."""
    story = Story()
    assert story.fails(0) is Next.RESTART
    story.failures.start(Instant(14 * MINUTE), (story.group,))
    assert story.fails(20 * MINUTE) is Next.FAILOVER
    story.failures.start(Instant(21 * MINUTE), (replace(story.group, restarts=2**62),))
    assert story.fails(22 * MINUTE) is Next.FAILOVER, "a number from elsewhere takes no memory"


def test_an_operator_who_brings_it_online_forgives() -> None:
    """A failed group that a person brings online begins anew."""
    story = Story(restart_threshold=0, nodes=2)
    assert [story.fails(0), story.fails(MINUTE)] == [Next.FAILOVER, Next.GIVE_UP]
    story.group = replace(story.group, restarts=0, failovers=0)
    assert story.fails(2 * MINUTE) is Next.FAILOVER
