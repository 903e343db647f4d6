"""Evidence of quorum at one node: the leader's lease, what followers rest on, and when VMs must stop."""

from __future__ import annotations

from hvcluster.model.facts import FactKind
from hvcluster.model.vocabulary import Incarnation, ServiceState, StoreId
from hvcluster.node.core.effects import Publish, RestartService
from hvcluster.node.core.events import Started
from hvcluster.node.core.messages import Heard
from hvcluster.node.core.quorum import GRACE_DELAYS
from tests.core.desk import Desk, cluster


def leader(nodes: int = 3) -> tuple[Desk, int]:
    """Node 1 leads, elected by just enough others."""
    desk = Desk(cluster(nodes))
    return desk, desk.lead(*range(2, nodes // 2 + 2))


def restarted(desk: Desk) -> bool:
    """Whether the newest event ended this life of the service."""
    return any(isinstance(effect, RestartService) for effect in desk.effects)


def test_a_lease_rests_on_echoes_of_a_majority() -> None:
    """Dissertation 6.4.1: a leader may count on a voter only from the moment it sent what the voter answered."""
    desk, term = leader(5)
    desk.fire("tick")
    desk.echo(2, term=term, leader=1)
    assert not desk.core.quorum.lease_stands(desk.now)
    desk.echo(3, term=term, leader=1)
    assert desk.core.quorum.lease_stands(desk.now)


def test_a_lease_ends_by_the_clock_alone() -> None:
    """Counted from when the heartbeat was sent, not from when its echo came."""
    desk, term = leader()
    desk.fire("tick")
    sent = desk.now
    desk.wait(desk.timing.delay)
    desk.echo(2, term=term, leader=1)
    desk.wait(sent + desk.timing.lease - 1 - desk.now)
    assert desk.core.quorum.lease_stands(desk.now)
    desk.wait(1)
    assert not desk.core.quorum.lease_stands(desk.now)


def test_who_follows_another_or_is_in_another_term_is_no_evidence() -> None:
    """An echo counts when its heartbeat names our term and us as leader."""
    desk, term = leader()
    desk.fire("tick")
    desk.echo(2, term=term - 1, leader=1)
    desk.echo(2, term=term, leader=0)
    assert not desk.core.quorum.lease_stands(desk.now)


def test_the_echo_of_another_disk_is_no_evidence() -> None:
    """A wiped voter has no vote: it promises nothing (Failure table)."""
    desk, term = leader()
    desk.fire("tick")
    heard = Heard(desk.node, desk.core.incarnation, desk.core.beats.sequence, True)
    desk.hear(2, leader=1, term=term, hears=(heard,), store=StoreId(4711), incarnation=Incarnation(9))
    assert not desk.core.quorum.lease_stands(desk.now)


def test_a_leader_that_hands_over_has_no_lease_any_more() -> None:
    """Whom it asked to stand overrides the promises its lease rests on."""
    desk, term = leader()
    desk.fire("tick")
    desk.echo(2, term=term, leader=1)
    desk.core.quorum.hand_over()
    assert not desk.core.quorum.lease_stands(desk.now)


def test_a_leader_without_echoes_stops_saying_that_it_has_quorum() -> None:
    """Consensus: leader heartbeats renew followers only while the leader's own evidence stands."""
    desk, _ = leader()
    said: list[bool] = []
    for _ in range(desk.timing.threshold + 2):
        effects = desk.fire("tick")
        if desk.core.leaving.ended:
            break
        said += [effect.heartbeat.quorum for effect in effects if isinstance(effect, Publish)]
    assert said[0]
    assert not said[-1]
    assert said == sorted(said, reverse=True)


def test_a_leader_alone_ends_its_service_in_time() -> None:
    """Consensus, losing quorum: event 1177, all VMs are turned off, the service restarts."""
    desk, _ = leader()
    elected = desk.now
    while not restarted(desk):
        desk.fire("tick")
        assert desk.now - elected <= desk.timing.detection + (GRACE_DELAYS + 1) * desk.timing.delay
    assert desk.core.view(desk.now).service is ServiceState.STOPPED
    assert desk.effects[-1] == next(effect for effect in desk.effects if isinstance(effect, RestartService))
    assert desk.core.handle(desk.now, Started()) == (), "what has ended handles nothing more"


def test_a_follower_rests_on_a_leader_that_says_so() -> None:
    """A heartbeat of a leader without evidence of its own renews nothing."""
    desk = Desk(cluster())
    desk.awake()
    desk.hear(2, leader=2)
    heard = desk.now
    assert desk.core.quorum.held
    while not restarted(desk):
        desk.wait(desk.timing.delay)
        desk.hear(2, leader=2, quorum=False)
        assert desk.now - heard <= desk.timing.detection + (GRACE_DELAYS + 1) * desk.timing.delay
        if not desk.core.leaving.ended:
            desk.fire("quorum" if desk.timers.get("quorum", desk.now + 1) <= desk.now else "tick")
    assert desk.facts(FactKind.QUORUM_LOST)


def test_a_follower_that_hears_its_leader_stays() -> None:
    """No quorum is lost while the leader speaks, however long."""
    desk = Desk(cluster())
    desk.awake()
    for _ in range(60):
        desk.hear(2, leader=2)
        desk.fire("tick")
        assert not restarted(desk)


def test_a_joining_node_has_no_quorum_to_lose() -> None:
    """A node that never heard a leader waits; it does not restart again and again."""
    desk = Desk(cluster())
    for _ in range(60):
        desk.fire("tick")
        assert not restarted(desk)
    assert desk.core.view(desk.now).service is ServiceState.JOINING
