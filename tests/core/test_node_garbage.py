"""Whatever peers, the array and operators say, in any order, a node's core never raises (contract
1).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hvcluster.model.definition import ClusterDefinition
from hvcluster.model.vocabulary import Incarnation, NodeId, PathName, StoreId
from hvcluster.node.core import events as ev
from hvcluster.node.core.commands import Noop
from hvcluster.node.core.effects import Reply, SubmitScsi
from hvcluster.node.core.messages import AppendEntries, Entry, Heartbeat, InstallSnapshot, Message
from hvcluster.node.core.raft.state import Role
from tests.core import strategies as some
from tests.core.desk import Desk, cluster

MANY = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def follower(definition: ClusterDefinition) -> Desk:
    """A node that just started."""
    return Desk(definition)


def member(definition: ClusterDefinition) -> Desk:
    """A node that follows a leader."""
    desk = Desk(definition)
    desk.awake()
    desk.hear(2, 3, leader=2)
    return desk


def candidate(definition: ClusterDefinition) -> Desk:
    """A node that stands."""
    desk = Desk(definition)
    desk.stand(2)
    return desk


def leader(definition: ClusterDefinition) -> Desk:
    """A node that leads, with its array in sight."""
    desk = Desk(definition)
    desk.feed(ev.PathChanged(PathName("A"), True))
    desk.lead(2)
    return desk


STARTS: dict[str, Callable[[ClusterDefinition], Desk]] = {
    "follower": follower,
    "member": member,
    "candidate": candidate,
    "leader": leader,
}
starts = pytest.mark.parametrize("start", STARTS.values(), ids=STARTS)

# A node that claims to lead the term another leads, or to rewrite what is committed, breaks Raft itself: the core may
# then end its process rather than go on (contract 1 calls that our bug). Honest peers, however late, never do it.


def honest(desk: Desk, message: Message) -> Message | None:
    """The message, unless only a node that breaks Raft could send it now."""
    state = desk.core.state
    if isinstance(message, AppendEntries | InstallSnapshot) and state.leads and message.term == state.term:
        return None
    if isinstance(message, Heartbeat) and state.leads and message.term == state.term and message.leader == message.node:
        return None
    if isinstance(message, AppendEntries):
        entries = tuple(replace(e, index=message.prev_index + n) for n, e in enumerate(message.entries, 1))
        for entry in entries:
            ours = state.log.term_at(entry.index)
            if entry.index <= state.commit and ours is not None and ours != entry.term:
                return None
        return replace(message, entries=entries)
    return message


times = st.integers(0, 3_000_000)
senders = st.integers(0, 6).map(NodeId)


@starts
@MANY
@given(st.lists(st.tuples(times, senders, some.stores, some.incarnations, some.messages), max_size=12))
def test_peers_may_say_anything_at_any_time(
    start: Callable[[ClusterDefinition], Desk],
    said: list[tuple[int, NodeId, StoreId, Incarnation, Message]],
) -> None:
    """Messages may be lost, doubled, late, out of order, from nodes that are not of this cluster, or nonsense."""
    desk = start(cluster(3, witness=True))
    for pause, sender, store, incarnation, message in said:
        desk.wait(pause)
        sent = honest(desk, message)
        if sent is not None:
            desk.feed(ev.MessageReceived(sender, store, incarnation, sent))
            if isinstance(sent, Heartbeat) and honest(desk, sent) is not None:
                desk.feed(ev.HeartbeatHeard("A", sent))


@starts
@MANY
@given(st.data(), st.lists(st.tuples(times, some.results), max_size=20))
def test_the_array_may_answer_anything(
    start: Callable[[ClusterDefinition], Desk], data: st.DataObject, answers: list[tuple[int, object]]
) -> None:
    """Any status with any payload, for questions that are open, were cancelled, or never were asked."""
    desk = start(cluster(3, witness=True, vms=2))
    open_tokens = [1]
    timers = ["tick", "witness", "election", "alive", "disk-retry", "step:witness-hold", "quorum"]
    for path in ("A", "B", "A"):
        open_tokens += [e.token for e in desk.feed(ev.PathChanged(PathName(path), True)) if isinstance(e, SubmitScsi)]
    for pause, result in answers:
        desk.wait(pause)
        token = data.draw(st.sampled_from(open_tokens) | st.integers(0, 99))
        effects = desk.feed(ev.ScsiAnswered(token, result))  # type: ignore[arg-type]
        effects += desk.feed(ev.TimerFired(data.draw(st.sampled_from(timers))))
        open_tokens += [effect.token for effect in effects if isinstance(effect, SubmitScsi)]


@starts
@MANY
@given(st.lists(some.requests, max_size=12))
def test_operators_may_ask_anything_and_nobody_is_answered_twice(
    start: Callable[[ClusterDefinition], Desk], asked: list[ev.Request]
) -> None:
    """Each ticket gets one Reply at most; unknown names and numbers are refused in words."""
    desk = start(cluster(3, witness=True))
    answered: list[int] = []
    for ticket, request in enumerate(asked):
        effects = desk.feed(ev.Requested(ticket, request))
        desk.wait(desk.timing.delay)
        effects += desk.feed(ev.TimerFired("requests"))
        replies = [effect for effect in effects if isinstance(effect, Reply)]
        assert all(reply.text and reply.code for reply in replies)
        answered += [reply.ticket for reply in replies]
    assert len(answered) == len(set(answered))


@starts
@MANY
@given(
    st.lists(
        st.one_of(
            st.builds(ev.WillHeard, st.just("A"), senders, some.incarnations),
            st.builds(ev.PeerProbed, senders, st.sampled_from(ev.ProbeOutcome)),
            st.builds(ev.VmStarted, some.texts, some.generations),
            st.builds(ev.VmFrozen, some.texts, some.generations, some.texts),
            st.builds(ev.VmThawed, some.texts, some.generations),
            st.builds(ev.VmStopped, some.texts, some.generations, some.texts, some.texts),
            st.builds(ev.ResourceAnswered, st.integers(0, 5), st.booleans(), some.texts),
            st.builds(ev.MonitorDied, some.texts),
            st.builds(ev.VmPaused, some.texts, some.generations, some.numbers, some.images),
            st.builds(ev.MemorySent, st.integers(0, 3), st.booleans()),
            st.builds(ev.LinkChanged, st.sampled_from(("Production", "nothing")), st.booleans()),
            st.builds(ev.PathChanged, st.sampled_from(("A", "B")).map(PathName), st.booleans()),
            st.builds(
                ev.TimerFired,
                st.sampled_from(("tick", "peer:2", "peer:9", "step:nothing", "nothing", "quorum", "resources")),
            ),
        ),
        max_size=20,
    )
)
def test_anything_else_may_happen_in_any_order(
    start: Callable[[ClusterDefinition], Desk], events: list[ev.Event]
) -> None:
    """Wills, probes, VMs, paths and timers, of things that exist and of things that do not."""
    desk = start(cluster(3, witness=True))
    for event in events:
        desk.wait(100_000)
        desk.feed(event)


@pytest.mark.parametrize("role", [Role.FOLLOWER, Role.LEADER], ids=lambda role: role.name)
def test_a_far_away_term_is_followed_and_no_more(role: Role) -> None:
    """A term is only a number: one that jumps ahead does not stop the node from voting in the next."""
    desk = leader(cluster(3)) if role is Role.LEADER else follower(cluster(3))
    desk.awake()
    desk.receive(2, AppendEntries(10**9, 99, 10**9, 0, (Entry(100, 10**9, Noop()),), 1))
    assert desk.core.state.term == 10**9
    assert desk.core.state.role is Role.FOLLOWER
    desk.awake()
    desk.awake()
    assert desk.vote(3, 10**9 + 1, (10**9, 100)).granted
