"""The driver of a node's core: one inbox, one loop, effects in order.

Law: decides nothing. Events are handled in order of arrival; effects are performed in their order, and what a Save
holds is durable before any later effect leaves. A question of an earlier life of the core is answered to nobody. `now`
is CLOCK_MONOTONIC in microseconds.

A turn handles all events that wait (bounded) and commits all their saves at once, where the first of them stands: being
durable too early is harmless, for a crash just after is a crash that lost what was to leave in between.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Final, Protocol, TypeAlias

from structlog.typing import FilteringBoundLogger

from hvcluster.model.facts import Fact
from hvcluster.model.scsi import Command, Result
from hvcluster.model.share import ShareAnswer, ShareRequest
from hvcluster.model.vocabulary import Generation, Incarnation, Instant, LunId, NodeId, PathName, StoreId

from .core import effects as fx
from .core import events as ev
from .core.effects import Effect, Reply
from .core.events import Event, ProbeOutcome
from .core.messages import Heartbeat, Message
from .core.saved import SavedState
from .core.view import View
from .timers import Due, Timers

MAX_INBOX: Final = 20_000
"""Beyond it heartbeats and messages are dropped (they may be lost anyway): about a minute of a cluster of 16."""
EVENTS_PER_TURN: Final = 64
"""So that sockets are served, and saves committed, at least that often."""
HELD_UP_US: Final = 200_000
"""A timer this late means that the whole process stood still (SIGSTOP, a suspended machine), not a busy loop."""
WAKE_S: Final = 0.02
"""After that the VMs run first: a real VM is a process of its own and does not wait for the cluster service to look at
its lease. What keeps its late writes off the disk is the array's reservation, and nothing here."""
MAX_TICKETS: Final = 1_024
"""Operators' requests under way; there are few operators."""


class Core(Protocol):
    """What is driven: `core.node.NodeCore`."""

    def handle(self, now: Instant, event: Event) -> Sequence[Effect]: ...

    def view(self, now: Instant) -> View: ...


class Keeper(Protocol):
    """Where the saved state is kept: `store.Store`."""

    def save(self, saves: Sequence[fx.Save]) -> None: ...

    def load(self) -> SavedState: ...


class Outside(Protocol):
    """What effects become. Each `answer` is called exactly once, later; nothing here blocks or raises."""

    def identify(self, store: StoreId, incarnation: Incarnation) -> None: ...

    def publish(self, heartbeat: Heartbeat) -> None: ...

    def send(self, to: NodeId, message: Message) -> None: ...

    def probe(self, node: NodeId, answer: Callable[[ProbeOutcome], None]) -> None: ...

    def submit(self, path: PathName, lun: LunId, command: Command, answer: Callable[[Result], None]) -> None: ...

    def ask_witness(self, request: ShareRequest, answer: Callable[[ShareAnswer], None]) -> None: ...

    def start_vm(self, effect: fx.StartVm) -> None: ...

    def stop_vm(self, effect: fx.StopVm) -> None: ...

    def check_vm(self, effect: fx.CheckVm) -> None: ...

    def call_resource(self, effect: fx.CallResource) -> None: ...

    def restart_monitor(self, reason: str) -> None: ...

    def migrate_vm(self, effect: fx.PauseVm | fx.ContinueVm | fx.RedirectVm) -> None: ...

    def send_memory(self, effect: fx.SendMemory, answer: Callable[[bool, str], None]) -> None: ...

    def cancel_memory(self, token: int) -> None: ...

    def end_vms(self, reason: str) -> None:
        """Turn all VMs off and end the resource monitor; when it returns, nothing of them runs any more."""

    def announce(self, group: str, generation: Generation) -> None: ...

    def use_path(self, effect: fx.UsePath) -> None: ...

    def paths(self) -> Mapping[PathName, int]: ...

    def unplugged(self) -> tuple[str, ...]: ...

    def record(self, fact: Fact) -> None: ...


class CoreFailed(Exception):
    """The core raised: our bug. The process must end, for its state can no longer be trusted."""


Waiting: TypeAlias = "Event | Due"
MakeCore: TypeAlias = Callable[[SavedState], Core]


class Service:
    """Drives cores of one node, one life after the other, until EndProcess."""

    def __init__(
        self,
        make: MakeCore,
        keeper: Keeper,
        state: SavedState,
        outside: Outside,
        log: FilteringBoundLogger,
    ) -> None:
        self._make = make
        self._keeper = keeper
        self._outside = outside
        self._log = log
        self._core = make(state)
        self._life = 1
        self._inbox: deque[Waiting] = deque([ev.Started(_day_us())])
        self._wake = asyncio.Event()
        self._wake.set()
        self._timers = Timers(self._put)
        self._tickets: dict[int, asyncio.Future[Reply]] = {}
        self._next_ticket = 1
        self._held_up = False
        self.dropped = 0
        self.turns = 0
        self.events = 0

    # --- for adapters

    def post(self, event: Event) -> None:
        """Hand in an event that must not be lost."""
        self._put(event)

    def offer(self, event: Event) -> None:
        """Hand in an event that may be lost: dropped when far too many wait."""
        if len(self._inbox) >= MAX_INBOX:
            self.dropped += 1
        else:
            self._put(event)

    def view(self) -> View:
        """The core's view of things, now."""
        return self._core.view(monotonic_us())

    async def request(self, request: ev.Request, deadline_s: float) -> Reply:
        """Ask the core for something. Raises TimeoutError: it may still be carried out."""
        if len(self._tickets) >= MAX_TICKETS:
            return Reply(0, False, "busy", "this node is busy with many requests; ask again")
        ticket, self._next_ticket = self._next_ticket, self._next_ticket + 1
        answer: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._tickets[ticket] = answer
        try:
            self._put(ev.Requested(ticket, request))
            async with asyncio.timeout(deadline_s):
                return await answer
        finally:
            self._tickets.pop(ticket, None)

    async def run(self) -> None:
        """Drive until the core ends the process. Raises CoreFailed, CannotSave, CorruptState."""
        try:
            while True:
                await self._wake.wait()
                if self._held_up:
                    self._held_up = False
                    await asyncio.sleep(WAKE_S)
                if self._turn():
                    return
                await asyncio.sleep(0)  # sockets and timers get their turn
        finally:
            self._timers.clear()

    # --- one turn

    def _put(self, event: Waiting) -> None:
        if isinstance(event, Due) and time.monotonic_ns() // 1000 - event.at > HELD_UP_US:
            self._held_up = True
        self._inbox.append(event)
        self._wake.set()

    def _turn(self) -> bool:
        """Handle what waits; True when the process is to end."""
        effects: list[Effect] = []
        saves: list[fx.Save] = []
        inbox = self._inbox
        self.turns += 1
        for _ in range(min(len(inbox), EVENTS_PER_TURN)):
            event = inbox.popleft()
            if isinstance(event, Due):
                if not self._timers.take(event):
                    continue
                event = ev.TimerFired(event.name)
            if self._collect(event, effects, saves):
                break
        if not inbox:
            self._wake.clear()
        return self._perform(effects, saves)

    def _collect(self, event: Event, effects: list[Effect], saves: list[fx.Save]) -> bool:
        """Let the core handle one event; True when its last effect ends this life."""
        self.events += 1
        try:
            answer = self._core.handle(monotonic_us(), event)
        except Exception as error:
            raise CoreFailed(f"the core failed on {type(event).__name__}") from error
        for effect in answer:
            # Timers stay inside the process, so no Save has to come first; and a later event of this turn must
            # not meet a timer that an earlier one has moved.
            if isinstance(effect, fx.SetTimer):
                self._timers.set(effect.name, effect.at)
            elif isinstance(effect, fx.CancelTimer):
                self._timers.cancel(effect.name)
            else:
                effects.append(effect)
                if isinstance(effect, fx.Save):
                    saves.append(effect)
        return bool(effects) and isinstance(effects[-1], fx.RestartService | fx.EndProcess)

    def _perform(self, effects: list[Effect], saves: list[fx.Save]) -> bool:
        outside, life = self._outside, self._life
        for effect in effects:
            match effect:
                case fx.Save():
                    self._save(saves)
                case fx.Publish(heartbeat):
                    outside.publish(heartbeat)
                case fx.Send(to, message):
                    outside.send(to, message)
                case fx.Record(fact):
                    outside.record(fact)
                case fx.SubmitScsi(token, path, lun, command):
                    outside.submit(path, lun, command, self._scsi_answer(life, token))
                case fx.AskWitness(token, request):
                    outside.ask_witness(request, self._witness_answer(life, token))
                case fx.ProbePeer(node):
                    outside.probe(node, self._probe_answer(life, node))
                case fx.StartVm():
                    outside.start_vm(effect)
                case fx.UsePath():
                    outside.use_path(effect)
                case fx.StopVm():
                    outside.stop_vm(effect)
                case fx.CheckVm():
                    outside.check_vm(effect)
                case fx.CallResource():
                    outside.call_resource(effect)
                case fx.RestartMonitor(reason):
                    outside.restart_monitor(reason)
                case fx.PauseVm() | fx.ContinueVm() | fx.RedirectVm():
                    outside.migrate_vm(effect)
                case fx.SendMemory():
                    outside.send_memory(effect, self._memory_answer(life, effect.token))
                case fx.CancelMemory(token):
                    outside.cancel_memory(token)
                case fx.Announce(group, generation):
                    outside.announce(group, generation)
                case fx.Reply():
                    self._reply(effect)
                case fx.RestartService(reason):
                    self._restart(reason)
                case fx.EndProcess():
                    return True
                case fx.SetTimer() | fx.CancelTimer():
                    raise AssertionError("timers are set when they are collected")
        return False

    def _save(self, saves: list[fx.Save]) -> None:
        """At the first Save of a turn: all of them; at the others: nothing is left to do."""
        if not saves:
            return
        self._keeper.save(saves)
        identities = [save.identity for save in saves if save.identity is not None]
        saves.clear()
        if identities:
            self._outside.identify(*identities[-1])

    def _scsi_answer(self, life: int, token: int) -> Callable[[Result], None]:
        def answer(result: Result) -> None:
            if life == self._life:
                self._put(ev.ScsiAnswered(token, result))

        return answer

    def _witness_answer(self, life: int, token: int) -> Callable[[ShareAnswer], None]:
        def answer(said: ShareAnswer) -> None:
            if life == self._life:
                self._put(ev.WitnessAnswered(token, said))

        return answer

    def _probe_answer(self, life: int, node: NodeId) -> Callable[[ProbeOutcome], None]:
        def answer(outcome: ProbeOutcome) -> None:
            if life == self._life:
                self._put(ev.PeerProbed(node, outcome))

        return answer

    def _memory_answer(self, life: int, token: int) -> Callable[[bool, str], None]:
        def answer(ok: bool, reason: str) -> None:
            if life == self._life:
                self._put(ev.MemorySent(token, ok, reason))

        return answer

    def _reply(self, reply: Reply) -> None:
        future = self._tickets.pop(reply.ticket, None)
        if future is not None and not future.done():
            future.set_result(reply)

    def _restart(self, reason: str) -> None:
        """A new life from saved state. Nothing of the old one reaches the new core: no VM, timer, question or event."""
        self._log.warning("the cluster service starts again", reason=reason)
        self._life += 1
        self._timers.clear()
        self._outside.end_vms(reason)
        self._inbox.clear()
        for ticket in tuple(self._tickets):
            text = f"the cluster service of this node started again ({reason}); it may have been carried out"
            self._reply(Reply(ticket, False, "restarted", text))
        self._core = self._make(self._keeper.load())
        self._put(ev.Started(_day_us()))
        for path, login in sorted(self._outside.paths().items()):
            if login:
                self._put(ev.PathChanged(path, True, login))
        for network in self._outside.unplugged():
            self._put(ev.LinkChanged(network, False))


def _day_us() -> int:
    """Microseconds since midnight, by this machine's own time of day."""
    now = datetime.now().astimezone()
    return int((now - now.replace(hour=0, minute=0, second=0, microsecond=0)).total_seconds() * 1_000_000)


def monotonic_us() -> Instant:
    """CLOCK_MONOTONIC in microseconds."""
    return Instant(time.monotonic_ns() // 1000)
