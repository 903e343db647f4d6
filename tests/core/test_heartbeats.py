"""Liveness: routes, silence, last wills, incarnations and echoes, as one node's ear takes them in."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hvcluster.model.facts import FactKind
from hvcluster.model.properties import Timing, defaults
from hvcluster.model.vocabulary import NOBODY, Incarnation, Instant, NodeId, StoreId
from hvcluster.node.core.effects import ProbePeer, Record, SetTimer
from hvcluster.node.core.heartbeats import DIRECT, Heartbeats, Peer
from hvcluster.node.core.messages import Heard, Heartbeat
from hvcluster.node.core.outbox import Outbox

ME, PEER, OTHER = NodeId(1), NodeId(2), NodeId(3)
TIMING = Timing.of(defaults("ws2012r2"))
PLAIN = Heartbeat(PEER, StoreId(2), Incarnation(5), 1, True, 1, NOBODY, False, 1, 1, True, False, ())


class Ear:
    """Heartbeats of node 1 in a cluster of three."""

    def __init__(self, *, connection_loss: bool = False) -> None:
        self.out = Outbox(ME)
        self.now = Instant(10**9)
        self.beats = Heartbeats(ME, Incarnation(7), (ME, PEER, OTHER), TIMING, connection_loss, self.out)
        self._sequence = 0

    def hear(self, route: str = "A", **more: object) -> Peer | None:
        """The next heartbeat of node 2."""
        self._sequence += 1
        beat = replace(PLAIN, **{"sequence": self._sequence, **more})  # type: ignore[arg-type]
        return self.beats.heard(self.now, route, beat)

    def wait(self, us: int) -> None:
        self.now = Instant(self.now + us)

    def facts(self) -> list[FactKind]:
        return [effect.fact.kind for effect in self.out.take() if isinstance(effect, Record)]

    def due(self) -> None:
        """The detection timer of node 2 fires."""
        self.beats.detection_due(self.now, PEER)


def test_a_peer_is_unreachable_only_when_every_route_is_silent() -> None:
    """Consensus: a node is unreachable only when all its routes are down."""
    ear = Ear()
    ear.hear("A")
    ear.hear("B")
    ear.wait(TIMING.detection - 1)
    ear.hear("B")
    ear.wait(1)
    ear.due()
    assert ear.beats.reachable(PEER)
    ear.beats.check_routes(ear.now)
    assert FactKind.ROUTE_DOWN in ear.facts()
    ear.wait(TIMING.detection)
    ear.due()
    assert not ear.beats.reachable(PEER)
    assert ear.beats.take_lost() == [PEER]
    assert FactKind.NODE_UNREACHABLE in ear.facts()


def test_direct_heartbeats_alone_keep_a_peer_reachable() -> None:
    """Consensus: killing one broker or both moves no VM."""
    ear = Ear()
    ear.hear("A")
    for _ in range(30):
        ear.wait(TIMING.delay)
        ear.hear(DIRECT)
        ear.due()
    assert ear.beats.reachable(PEER)
    assert ear.beats.take_lost() == []


def test_silence_is_counted_from_the_last_heartbeat() -> None:
    """The detection timer moves on with every heartbeat, and is never forgotten."""
    ear = Ear()
    ear.hear()
    assert SetTimer(f"peer:{PEER}", Instant(ear.now + TIMING.detection)) in ear.out.take()
    ear.wait(TIMING.detection - 10)
    ear.hear()
    ear.wait(10)
    ear.due()
    assert ear.beats.reachable(PEER)
    assert SetTimer(f"peer:{PEER}", Instant(ear.now + TIMING.detection - 10)) in ear.out.take()


def test_a_quiet_bus_makes_both_sides_speak_directly() -> None:
    """Consensus: when every bus is silent, nodes fall back to direct heartbeats."""
    ear = Ear()
    echo = (Heard(ME, Incarnation(7), 1, True),)
    ear.hear(hears=echo)
    assert ear.beats.wants_direct(ear.now) == [OTHER]
    ear.wait(3 * TIMING.delay)
    assert ear.beats.wants_direct(ear.now) == [PEER, OTHER]
    ear.hear(hears=echo)
    assert ear.beats.wants_direct(ear.now) == [OTHER]
    ear.hear(hears=(Heard(ME, Incarnation(7), 1, False),))
    assert ear.beats.wants_direct(ear.now) == [PEER, OTHER], "it does not hear us on a bus"


def test_two_nodes_that_hear_each_other_on_a_bus_again_stop_speaking_directly() -> None:
    """A direct heartbeat alone asks for none in return: two nodes would never stop answering each other."""
    ear = Ear()
    ear.hear("A")
    ear.wait(TIMING.detection - 1)
    ear.hear(DIRECT)
    assert PEER in ear.beats.wants_direct(ear.now)
    echo = (Heard(ME, Incarnation(7), 1, True),)
    for _ in range(5):
        ear.wait(TIMING.delay)
        ear.hear(DIRECT, hears=echo)
        ear.hear("A", hears=echo)
    assert PEER not in ear.beats.wants_direct(ear.now)


def test_an_older_life_is_not_listened_to() -> None:
    """A late heartbeat of a killed process says nothing of the one that runs."""
    ear = Ear()
    ear.hear(incarnation=Incarnation(5))
    assert ear.hear(incarnation=Incarnation(4)) is None
    assert ear.beats.peers[PEER].incarnation == 5


def test_a_new_life_is_a_loss_of_the_old_one() -> None:
    """A node that restarted within the detection time has lost its VMs all the same."""
    ear = Ear()
    ear.hear(incarnation=Incarnation(5))
    peer = ear.hear(incarnation=Incarnation(6), sequence=1)
    assert peer is not None
    assert ear.beats.take_lost() == [PEER]
    assert ear.beats.reachable(PEER)


def test_late_and_doubled_heartbeats_say_nothing_new() -> None:
    """The newest sequence counts; an older one only shows that the route works."""
    ear = Ear()
    ear.hear(sequence=10, term=4)
    assert ear.hear(sequence=10, term=9) is None
    assert ear.hear("B", sequence=9, term=9) is None
    peer = ear.beats.peers[PEER]
    assert peer.beat is not None
    assert peer.beat.term == 4
    assert set(peer.routes) == {"A", "B"}


def test_strangers_are_not_peers() -> None:
    """A heartbeat of a node that is not of this cluster, or of ourselves, changes nothing."""
    ear = Ear()
    for node in (ME, NodeId(9)):
        assert ear.hear(node=node) is None
    assert ear.out.take() == []


def test_a_will_and_a_refused_probe_together_are_a_loss_at_once() -> None:
    """Consensus: optional connection-loss detection; either alone means nothing."""
    ear = Ear(connection_loss=True)
    ear.hear()
    ear.out.take()
    ear.beats.will_heard(PEER, Incarnation(5))
    assert ear.out.take() == [ProbePeer(PEER)]
    assert ear.beats.reachable(PEER)
    ear.beats.probe_refused(PEER, Incarnation(5))
    assert not ear.beats.reachable(PEER)
    assert ear.beats.take_lost() == [PEER]


def test_the_will_of_an_older_life_is_not_acted_on() -> None:
    """A broker may publish a will late; the new process must not suffer for it."""
    ear = Ear(connection_loss=True)
    ear.hear()
    ear.out.take()
    ear.beats.will_heard(PEER, Incarnation(4))
    assert ear.out.take() == []
    ear.beats.probe_refused(PEER, Incarnation(4))
    assert ear.beats.reachable(PEER)


def test_without_connection_loss_detection_a_will_means_nothing() -> None:
    """Off in the Windows profiles."""
    ear = Ear()
    ear.hear()
    ear.out.take()
    ear.beats.will_heard(PEER, Incarnation(5))
    assert ear.out.take() == []


def test_only_an_echo_of_this_very_life_counts() -> None:
    """What a peer heard of our process before the restart is no evidence for the leases of this one."""
    ear = Ear()
    sequence = ear.beats.next_sequence(ear.now)
    ear.hear(hears=(Heard(ME, Incarnation(6), 99, True),))
    assert ear.beats.peers[PEER].echo == 0
    ear.hear(hears=(Heard(ME, Incarnation(7), sequence, True),))
    assert ear.beats.peers[PEER].echo == sequence
    assert ear.beats.sent_at(sequence) == ear.now


@pytest.mark.parametrize("count", [1, 100, 5000])
def test_what_is_remembered_of_our_own_heartbeats_is_bounded(count: int) -> None:
    """House style: limits on everything; older ones than any lease are forgotten."""
    ear = Ear()
    first = ear.beats.next_sequence(ear.now)
    for _ in range(count):
        ear.beats.next_sequence(ear.now)
    assert (ear.beats.sent_at(first) is None) == (count > TIMING.threshold + 4)
    assert ear.beats.sent_at(ear.beats.sequence) == ear.now


def test_a_peer_that_left_politely_is_not_waited_for() -> None:
    """Failure table: cluster service stopped politely, no detection delay."""
    ear = Ear()
    ear.hear()
    ear.beats.left(PEER)
    assert not ear.beats.reachable(PEER)
    ear.hear()
    assert ear.beats.reachable(PEER), "when it speaks again it is there again"
