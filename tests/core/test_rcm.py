"""Resource control of one role, alone: whatever a monitor answers, order holds, and in the end all is as wished.

Law: the real `ResourceControl` and its host; the monitor is played here, with a list of calls that wait.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hvcluster.model.definition import GroupDefinition
from hvcluster.model.dependencies import holds
from hvcluster.model.facts import FactKind
from hvcluster.model.policy import RestartAction
from hvcluster.model.properties import Timing, defaults
from hvcluster.model.resources import Entry, ResourceDefinition, ResourcePolicy, disk_name
from hvcluster.model.vocabulary import (
    NOBODY,
    US_PER_S,
    Generation,
    GroupState,
    Instant,
    LunId,
    NodeId,
    ResourceState,
)
from hvcluster.node.core.commands import FailNow, ReportGroup, SetResource
from hvcluster.node.core.effects import CallResource, Record, RestartMonitor
from hvcluster.node.core.events import ResourceAnswered
from hvcluster.node.core.members import Group, fresh
from hvcluster.node.core.offline import Ending
from hvcluster.node.core.outbox import Outbox
from hvcluster.node.core.runs import Run
from hvcluster.node.core.workloads import Workloads

DISK = disk_name(LunId(2))


def role(*resources: ResourceDefinition) -> Group:
    """A group of these resources, assigned to node 1."""
    definition = GroupDefinition("Shop", LunId(2), resources=resources)
    return Group(
        definition, NodeId(1), Generation(1), GroupState.PENDING, True, NOBODY, False, False, "", "",
        resources=fresh(definition),
    )  # fmt: skip


class Bench:
    """A node that brings one role online, and the monitor it speaks with."""

    def __init__(self, group: Group) -> None:
        self.group = group
        self.now = Instant(0)
        self.out = Outbox(NodeId(1))
        self.work = Workloads(Timing.of(defaults("ws2012r2")), self.out)
        self.ended: list[tuple[str, str]] = []
        self.online_at: Instant | None = None
        self.work.stopped = lambda _now, _name, _generation, cause, reason: self.ended.append((cause, reason))
        self.work.started = lambda now, _name, _generation: setattr(self, "online_at", now)
        self.calls: list[CallResource] = []
        self.up: set[str] = set()
        self.terminated: dict[str, int] = {}
        self.facts: list[FactKind] = []
        self.restarts = 0
        self.run = Run(group, NodeId(1), 0)
        self.work.start(self.now, self.run, ())
        self.collect()

    def collect(self) -> None:
        """Take in what was asked for; each call is judged when it is made."""
        self.out.now = self.now
        for effect in self.out.take():
            match effect:
                case CallResource():
                    self.judge(effect)
                    self.calls.append(effect)
                    if effect.entry is Entry.TERMINATE:
                        self.terminated[effect.resource.name] = effect.token  # what came before takes no effect
                case RestartMonitor():
                    self.restarts += 1
                case Record(fact):
                    self.facts.append(fact.kind)
                case _:
                    pass

    def judge(self, call: CallResource) -> None:
        """Online only on what is online; offline only when nothing that stays would be left without."""
        online = {DISK, *self.up}
        if call.entry is Entry.ONLINE:
            assert holds(call.resource.needs(), online), call.resource.name
        if call.entry is Entry.OFFLINE:
            left = online - {call.resource.name}
            for other in self.group.definition.resources:
                if other.name in left and holds(other.needs(), online):
                    assert holds(other.needs(), left), f"{call.resource.name} before {other.name}"

    def answer(self, at: int, ok: bool) -> None:
        """The monitor answers one of the calls that wait."""
        call = self.calls.pop(at % len(self.calls))
        name = call.resource.name
        newest = call.token > self.terminated.get(name, 0)
        if call.entry is Entry.TERMINATE or (call.entry is Entry.OFFLINE and ok):
            self.up.discard(name)
        elif call.entry is Entry.ONLINE and ok and newest:
            self.up.add(name)
        elif call.entry is Entry.IS_ALIVE and not ok:
            self.up.discard(name)
        self.work.answered(self.now, ResourceAnswered(call.token, ok and newest, "as the test says"))
        self.collect()

    def pass_time(self, seconds: float) -> None:
        """Let time pass, and the timer fire."""
        self.now = Instant(self.now + int(seconds * US_PER_S))
        self.out.now = self.now
        self.work.timer(self.now)
        self.collect()

    def wish(self, command: SetResource | FailNow) -> None:
        """The database says what an administrator asked."""
        self.group = self.group.asked(command)
        self.work.follow(self.now, self.group)
        self.collect()

    def calm(self) -> None:
        """Everything is answered well until nothing waits any more but polls."""
        for _ in range(200):
            if not self.calls:
                self.pass_time(1.0)
                if not self.calls:
                    return
            self.answer(0, True)

    def states(self) -> dict[str, ResourceState]:
        """Of all resources."""
        return dict(self.work.told("Shop", Generation(1))[2])


def chain(*names: str, action: RestartAction = RestartAction.RESTART_NOTIFY) -> tuple[ResourceDefinition, ...]:
    """Each needs the one before it."""
    policy = ResourcePolicy(restart_action=action)
    before = (DISK, *names)
    return tuple(
        ResourceDefinition(name, "Generic Script", (), f"[{before[at]}]", policy) for at, name in enumerate(names)
    )


@st.composite
def roles(draw: st.DrawFn) -> tuple[ResourceDefinition, ...]:
    """Up to five resources, each needing some of those before it by AND or OR."""
    names = "ABCDE"[: draw(st.integers(1, 5))]
    made: list[ResourceDefinition] = []
    for at, name in enumerate(names):
        of = draw(st.lists(st.sampled_from((DISK, *names[:at])), max_size=3, unique=True))
        depends = draw(st.sampled_from((" AND ", " OR "))).join(f"[{other}]" for other in of)
        action = draw(st.sampled_from(RestartAction))
        made.append(ResourceDefinition(name, "Generic Script", (), depends, ResourcePolicy(restart_action=action)))
    return tuple(made)


steps = st.lists(
    st.one_of(
        st.tuples(st.just("answer"), st.integers(0, 9), st.booleans()),
        st.tuples(st.just("time"), st.sampled_from((0.5, 1.0, 5.0, 60.0, 181.0)), st.booleans()),
        st.tuples(st.just("wish"), st.sampled_from("ABCDE"), st.booleans()),
        st.tuples(st.just("fail"), st.sampled_from("ABCDE"), st.booleans()),
        st.tuples(st.just("died"), st.just(0), st.booleans()),
    ),
    max_size=40,
)


@pytest.mark.conforms("dependencies")
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(roles(), steps, st.booleans())
def test_order_holds_whatever_happens_and_a_stop_ends_everything(
    resources: tuple[ResourceDefinition, ...], happens: list[tuple[str, float | str, bool]], polite: bool
) -> None:
    """Failures, late answers, wishes, a monitor that dies: calls keep the order, and after a stop nothing is up."""
    bench = Bench(role(*resources))
    for what, which, well in happens:
        if bench.ended:
            break
        if what == "answer" and bench.calls:
            bench.answer(int(which), well)
        elif what == "time":
            bench.pass_time(float(which))
        elif what == "wish":
            bench.wish(SetResource("Shop", str(which), well))
        elif what == "fail":
            bench.wish(FailNow("Shop", str(which)))
        elif what == "died":
            bench.calls.clear()
            bench.up.clear()
            bench.work.monitor_died(bench.now, "a test")
            bench.collect()
    if not bench.ended:
        bench.work.stop(bench.now, bench.run, Ending(polite), "the test is over")
        bench.collect()
        bench.calm()
    assert len(bench.ended) == 1
    assert not bench.up
    late = [call for call in bench.calls if call.entry is Entry.ONLINE]  # that nobody waits for any more
    assert all(call.token < bench.terminated.get(call.resource.name, 0) for call in late)
    bench.pass_time(600)
    assert [call for call in bench.calls if call.entry is Entry.ONLINE] == late


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(roles())
def test_a_role_whose_resources_all_work_comes_online(resources: tuple[ResourceDefinition, ...]) -> None:
    """Every order of answers ends with everything online, reported once it is."""
    bench = Bench(role(*resources))
    while bench.calls:
        bench.answer(len(bench.calls) - 1, True)
    assert set(bench.states().values()) == {ResourceState.ONLINE}
    assert bench.online_at == 0


def test_looks_alive_is_followed_by_is_alive_before_a_resource_counts_as_failed() -> None:
    """LooksAlive false asks IsAlive at once; only that one's no is a failure, and TERMINATE comes first."""
    bench = Bench(role(*chain("Web")))
    bench.answer(0, True)
    bench.pass_time(5.0)
    assert [call.entry for call in bench.calls] == [Entry.LOOKS_ALIVE]
    bench.answer(0, False)
    assert [call.entry for call in bench.calls] == [Entry.IS_ALIVE]
    bench.answer(0, True)
    assert bench.states() == {"Web": ResourceState.ONLINE}
    bench.pass_time(5.0)
    bench.answer(0, False)
    bench.answer(0, False)
    assert bench.states() == {"Web": ResourceState.FAILED}
    assert [call.entry for call in bench.calls] == [Entry.TERMINATE]
    bench.answer(0, True)
    assert not bench.calls, "RestartDelay is 500 ms"
    bench.pass_time(0.5)
    assert [call.entry for call in bench.calls] == [Entry.ONLINE]


def test_is_alive_is_asked_at_its_own_interval() -> None:
    """LooksAlive every 5 s, IsAlive every 60 s, as the product's resource types have it."""
    bench = Bench(role(*chain("Web")))
    bench.answer(0, True)
    asked: list[Entry] = []
    for _ in range(12):
        bench.pass_time(5.0)
        asked += [call.entry for call in bench.calls]
        bench.answer(0, True)
    assert asked == [*[Entry.LOOKS_ALIVE] * 11, Entry.IS_ALIVE]


def test_a_role_that_fails_ends_in_order_and_says_which_resource_it_was() -> None:
    """Restarts spent: dependents first, then what they need; the group then fails for the leader to place it."""
    bench = Bench(role(*chain("Address", "Name", "Web")))
    bench.calm()
    for _ in range(2):
        bench.wish(FailNow("Shop", "Name"))
        bench.calm()
    assert [cause for cause, _ in bench.ended] == ["resource"]
    assert "'Name'" in bench.ended[0][1]
    assert FactKind.RESTARTS_SPENT in bench.facts


def test_nothing_begins_on_what_is_about_to_leave() -> None:
    """Two lean on one that is taken offline: who has left first does not come back while the other is leaving."""
    address, web = chain("Address", "Web")
    bench = Bench(role(address, web, replace(web, name="Shop")))
    bench.calm()
    bench.wish(SetResource("Shop", "Address", False))
    assert [call.entry for call in bench.calls] == [Entry.OFFLINE] * 2
    bench.answer(0, True)
    assert [call.entry for call in bench.calls] == [Entry.OFFLINE]
    bench.calm()
    assert set(bench.states().values()) == {ResourceState.OFFLINE}


def test_a_call_that_never_returns_ends_the_monitor_once() -> None:
    """DeadlockTimeout 300 s after the call, and not again before the monitor is gone."""
    bench = Bench(role(*chain("Web")))
    bench.answer(0, True)
    bench.pass_time(5.0)
    bench.pass_time(299.0)
    assert bench.restarts == 0
    bench.pass_time(1.0)
    assert bench.restarts == 1
    bench.pass_time(1.0)
    assert bench.restarts == 1


def test_a_late_answer_to_a_call_that_was_given_up_changes_nothing() -> None:
    """PendingTimeout: what comes online after it has been terminated is not taken for online."""
    bench = Bench(role(*chain("Web")))
    late = bench.calls.pop()
    bench.pass_time(180.0)
    assert bench.states() == {"Web": ResourceState.FAILED}
    bench.work.answered(bench.now, ResourceAnswered(late.token, True))
    assert bench.states() == {"Web": ResourceState.FAILED}


def test_a_report_that_is_older_than_what_is_known_changes_nothing() -> None:
    """Reports may be doubled and late: `revision` says which is the newest; PENDING never follows ONLINE."""
    group = replace(role(*chain("Web")), state=GroupState.ONLINE, revision=5)
    old = ReportGroup("Shop", Generation(1), GroupState.ONLINE, "", "", 4, (("Web", ResourceState.FAILED),))
    assert not group.news(old)
    assert not group.news(replace(old, state=GroupState.PENDING, revision=9))
    newer = replace(old, revision=6)
    assert group.news(newer)
    assert group.reported(newer).resources[0].state is ResourceState.FAILED
    assert group.reported(newer).revision == 6
