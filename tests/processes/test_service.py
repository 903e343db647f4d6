"""The driver of a node's core, with a core that does what the test tells it: order, barriers, timers, lives."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence

import pytest

from hvcluster.model.facts import Fact
from hvcluster.model.scsi import GOOD, Command, Result, TestUnitReady
from hvcluster.model.share import UNANSWERED, ShareAnswer, ShareRequest
from hvcluster.model.vocabulary import NOBODY, Generation, Incarnation, Instant, LunId, NodeId, PathName, StoreId
from hvcluster.node.core import effects as fx
from hvcluster.node.core import events as ev
from hvcluster.node.core.effects import Effect
from hvcluster.node.core.events import Event
from hvcluster.node.core.messages import Heartbeat, Message, TimeoutNow
from hvcluster.node.core.saved import SavedState
from hvcluster.node.core.view import View
from hvcluster.node.service import EVENTS_PER_TURN, CoreFailed, Service, monotonic_us
from hvcluster.runtime import logs

DEADLINE_S = 10.0
STATE = SavedState(StoreId(1), Incarnation(1), 0, NOBODY, None, ())
A = PathName("A")
PEER = NodeId(2)


class Script:
    """A core that answers each event with what `on` returns for it, and remembers all."""

    def __init__(self, on: Callable[[Event], Sequence[Effect]]) -> None:
        self.on = on
        self.seen: list[Event] = []

    def handle(self, now: Instant, event: Event) -> Sequence[Effect]:
        self.seen.append(event)
        return self.on(event)

    def view(self, now: Instant) -> View:
        raise AssertionError("nobody looks here")


class World:
    """Store and outside in one, so that the order of what reaches either is seen; questions wait to be answered."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.answers: list[Callable[[Result], None]] = []
        self.service: Service | None = None

    def save(self, saves: Sequence[fx.Save]) -> None:
        self.log.append("save " + "+".join(str(save.vote[0]) for save in saves if save.vote))

    def load(self) -> SavedState:
        self.log.append("load")
        return STATE

    def identify(self, store: StoreId, incarnation: Incarnation) -> None:
        self.log.append(f"identify {incarnation}")

    def publish(self, heartbeat: Heartbeat) -> None:
        self.log.append("publish")

    def send(self, to: NodeId, message: Message) -> None:
        assert isinstance(message, TimeoutNow)
        self.log.append(f"send {message.term}")

    def probe(self, node: NodeId, answer: Callable[[ev.ProbeOutcome], None]) -> None:
        asyncio.get_running_loop().call_soon(answer, ev.ProbeOutcome.REFUSED)

    def submit(self, path: PathName, lun: LunId, command: Command, answer: Callable[[Result], None]) -> None:
        self.answers.append(answer)

    def start_vm(self, effect: fx.StartVm) -> None:
        self.log.append(f"start {effect.group}")

    def stop_vm(self, effect: fx.StopVm) -> None:
        self.log.append(f"stop {effect.group}")

    def check_vm(self, effect: fx.CheckVm) -> None:
        self.log.append(f"check {effect.group}")

    def call_resource(self, effect: fx.CallResource) -> None:
        self.log.append(f"call {effect.resource.name}")

    def restart_monitor(self, reason: str) -> None:
        self.log.append("restart the monitor")

    def migrate_vm(self, effect: fx.PauseVm | fx.ContinueVm | fx.RedirectVm) -> None:
        self.log.append(f"{type(effect).__name__} {effect.group}")

    def send_memory(self, effect: fx.SendMemory, answer: Callable[[bool, str], None]) -> None:
        asyncio.get_running_loop().call_soon(answer, True, "")

    def cancel_memory(self, token: int) -> None:
        self.log.append(f"cancel {token}")

    def end_vms(self, reason: str) -> None:
        self.log.append("end vms")
        assert self.service is not None
        self.service.post(ev.VmStopped("D1", Generation(1), "terminated", reason))

    def announce(self, group: str, generation: Generation) -> None:
        self.log.append(f"announce {group}")

    def ask_witness(self, request: ShareRequest, answer: Callable[[ShareAnswer], None]) -> None:
        asyncio.get_running_loop().call_soon(answer, UNANSWERED)

    def use_path(self, effect: fx.UsePath) -> None:
        self.log.append(f"use {effect.path}")

    def unplugged(self) -> tuple[str, ...]:
        return ()

    def paths(self) -> Mapping[PathName, int]:
        return {A: 7, PathName("B"): 0}

    def record(self, fact: Fact) -> None:
        self.log.append("record")


class Driven:
    """A running service."""

    def __init__(self, world: World, script: Script) -> None:
        self.world, self.script = world, script
        self.service = Service(lambda _: script, world, STATE, world, logs.get())
        world.service = self.service

    async def until(self, true: Callable[[], bool]) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while not true():  # noqa: ASYNC110  (what is awaited happens in turns of the driver)
                await asyncio.sleep(0.001)


def vote(term: int) -> fx.Save:
    return fx.Save(vote=(term, PEER))


def say(term: int) -> fx.Send:
    return fx.Send(PEER, TimeoutNow(term))


@pytest.fixture
async def drive() -> AsyncIterator[Callable[[Callable[[Event], Sequence[Effect]]], Driven]]:
    tasks: list[asyncio.Task[None]] = []

    def start(on: Callable[[Event], Sequence[Effect]]) -> Driven:
        driven = Driven(World(), Script(on))
        tasks.append(asyncio.create_task(driven.service.run(), name="driver"))
        return driven

    yield start
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


Drive = Callable[[Callable[[Event], Sequence[Effect]]], Driven]


async def test_started_comes_first_and_effects_are_performed_in_order(drive: Drive) -> None:
    """Cores and shells: performs effects in order; core/events.py: Started is always the first event."""
    driven = drive(
        lambda event: [
            say(1),
            vote(1),
            say(2),
            fx.StartVm("D1", Generation(1), LunId(2), 0, False),
            fx.Announce("D1", Generation(1)),
        ]
    )
    await driven.until(lambda: len(driven.world.log) == 5)
    assert [type(event) for event in driven.script.seen] == [ev.Started]
    assert driven.world.log == ["send 1", "save 1", "send 2", "start D1", "announce D1"]


async def test_saves_of_one_turn_are_durable_before_anything_after_the_first_of_them(drive: Drive) -> None:
    """Shells: Save is a barrier; events that wait together share one commit, at the place of the first save."""
    driven = drive(lambda event: [say(event.term), vote(event.term)] if isinstance(event, _Term) else [])
    for term in (1, 2, 3):
        driven.service.post(_term(term))
    await driven.until(lambda: len(driven.world.log) == 4)
    assert driven.world.log == ["send 1", "save 1+2+3", "send 2", "send 3"]


class _Term(ev.PathChanged):
    """Any event will do; this one carries a number."""

    @property
    def term(self) -> int:
        return int(self.path)


def _term(number: int) -> Event:
    return _Term(PathName(str(number)), True)


async def test_an_identity_is_used_once_it_is_durable(drive: Drive) -> None:
    """Consensus: an incarnation is never seen twice, so it is saved before anybody hears of it."""
    driven = drive(lambda _: [fx.Save(vote=(1, PEER), identity=(StoreId(1), Incarnation(2)))])
    await driven.until(lambda: len(driven.world.log) == 2)
    assert driven.world.log == ["save 1", "identify 2"]


async def test_a_timer_fires_once_not_early_and_where_it_was_moved_to(drive: Drive) -> None:
    """Cores and shells, contract 3: timers are named; setting one moves it."""
    begun = monotonic_us()
    at: list[Instant] = []

    def on(event: Event) -> list[Effect]:
        if isinstance(event, ev.TimerFired):
            at.append(monotonic_us())
        if not isinstance(event, ev.Started):
            return []
        far, near = Instant(begun + 60_000_000), Instant(begun + 20_000)
        return [
            fx.SetTimer("sooner", far),
            fx.SetTimer("sooner", near),
            fx.SetTimer("later", near),
            fx.SetTimer("later", Instant(begun + 60_500)),
            fx.SetTimer("never", near),
            fx.CancelTimer("never"),
        ]

    driven = drive(on)
    await driven.until(lambda: len(at) == 2)
    assert driven.script.seen[1:] == [ev.TimerFired("sooner"), ev.TimerFired("later")]
    assert at[0] >= begun + 20_000
    assert at[1] >= begun + 60_500


async def test_a_timer_moved_while_it_waits_in_the_inbox_does_not_fire_twice(drive: Drive) -> None:
    """After a freeze many events wait; a timer that an earlier one moves is not handled at its old place."""
    begun = monotonic_us()
    slow, move = ev.PathChanged(A, False), ev.PathChanged(A, True)

    def on(event: Event) -> list[Effect]:
        if isinstance(event, ev.Started):
            return [fx.SetTimer("x", Instant(begun + 1_000))]
        if event == slow:
            while monotonic_us() < begun + 5_000:  # the timer becomes due, and is queued behind what waits
                pass
        return [fx.SetTimer("x", Instant(begun + 40_000))] if event == move else []

    driven = drive(on)
    driven.service.post(slow)
    for _ in range(EVENTS_PER_TURN):
        driven.service.post(ev.PeerProbed(PEER, ev.ProbeOutcome.UNKNOWN))
    driven.service.post(move)
    await driven.until(lambda: ev.TimerFired("x") in driven.script.seen)
    assert monotonic_us() >= begun + 40_000
    assert driven.script.seen.index(move) < driven.script.seen.index(ev.TimerFired("x"))


async def test_every_question_gets_its_answer(drive: Drive) -> None:
    """Cores and shells, contract 2: every question gets exactly one answer event."""
    driven = drive(
        lambda event: (
            [fx.SubmitScsi(7, A, LunId(2), TestUnitReady()), fx.ProbePeer(PEER)]
            if isinstance(event, ev.Started)
            else []
        )
    )
    await driven.until(lambda: len(driven.script.seen) == 2)
    driven.world.answers[0](GOOD)
    await driven.until(lambda: len(driven.script.seen) == 3)
    assert driven.script.seen[1:] == [ev.PeerProbed(PEER, ev.ProbeOutcome.REFUSED), ev.ScsiAnswered(7, GOOD)]


async def test_a_restarted_service_forgets_everything_but_what_was_saved(drive: Drive) -> None:
    """RestartService: VMs end at once; no timer, answer or event of the old life reaches the new core."""
    restarts = 0

    def on(event: Event) -> list[Effect]:
        nonlocal restarts
        if isinstance(event, ev.Started) and restarts == 0:
            soon = Instant(monotonic_us() + 30_000)
            return [fx.SetTimer("old", soon), fx.SubmitScsi(7, A, LunId(2), TestUnitReady())]
        if isinstance(event, ev.Requested):
            restarts += 1
            return [fx.RestartService("quorum was lost")]
        return []

    driven = drive(on)
    await driven.until(lambda: len(driven.world.answers) == 1)
    reply = await driven.service.request(ev.StopNode(NodeId(1)), DEADLINE_S)
    driven.world.answers[0](GOOD)
    await asyncio.sleep(0.06)
    assert (reply.ok, reply.code) == (False, "restarted")
    assert driven.world.log == ["end vms", "load"]
    assert isinstance(driven.script.seen[2], ev.Started)
    assert driven.script.seen[3:] == [ev.PathChanged(A, True, 7)]


async def test_a_request_is_answered_by_its_reply_or_by_the_deadline(drive: Drive) -> None:
    """core/events.py, Requested: answered by exactly one Reply with the same ticket; every call has a deadline."""

    def on(event: Event) -> list[Effect]:
        if isinstance(event, ev.Requested) and isinstance(event.request, ev.StopNode):
            return [fx.Reply(event.ticket, True, "ok", "done")]
        return []

    driven = drive(on)
    assert (await driven.service.request(ev.StopNode(NodeId(1)), DEADLINE_S)).ok
    with pytest.raises(TimeoutError):
        await driven.service.request(ev.SetNodePaused(NodeId(1), True), 0.02)


async def test_the_end_of_the_process_ends_the_driver() -> None:
    """EndProcess is the last effect: nothing after it is handled."""
    driven = Driven(World(), Script(lambda _: [say(1), fx.EndProcess()]))
    async with asyncio.timeout(DEADLINE_S):
        await driven.service.run()
    assert driven.world.log == ["send 1"]


async def test_a_core_that_raises_ends_the_driver() -> None:
    """Cores and shells, contract 1: an AssertionError is our bug and the process dies; nothing half done leaves."""

    def on(event: Event) -> list[Effect]:
        raise AssertionError("a bug")

    driven = Driven(World(), Script(on))
    with pytest.raises(CoreFailed):
        await driven.service.run()
    assert driven.world.log == []
