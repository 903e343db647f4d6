"""The VMs of one node: runs guest cores on the event loop, with real timers, the node's paths and a socket for each.

Law: performs what guests ask for, in order, and decides nothing. Every `start` is answered by exactly one `on_stopped`,
and by one `on_started` before it if the VM came online. Both may be called from within any method here, so they must do
no more than put an event into the node's inbox. All methods belong to the thread of the event loop.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Final, assert_never

from hvcluster.model.definition import Extent
from hvcluster.model.scsi import Command, Result
from hvcluster.model.vocabulary import US_PER_S, Generation, LunId, PathName
from hvcluster.node.core.effects import CancelTimer, SetTimer, SubmitScsi
from hvcluster.node.core.events import PathChanged, ScsiAnswered, TimerFired
from hvcluster.node.core.guest import Guest
from hvcluster.node.core.guest_health import Ailment
from hvcluster.node.core.guest_io import (
    Acknowledge,
    Append,
    Boot,
    Continue,
    Fetch,
    Fetched,
    Frozen,
    GuestEffect,
    GuestEvent,
    Online,
    Pause,
    Paused,
    PowerOff,
    Refuse,
    Save,
    ShutDown,
    Stopped,
    Thawed,
)
from hvcluster.node.core.guest_state import GuestImage

from .http import Answer, GuestService
from .ports import OnFrozen, OnPaused, OnStarted, OnStopped, Placement, Submit, nobody, now_us

MAX_VMS: Final = 256
"""VMs of one node at a time: there are no more LUNs than that."""


class VmHost:
    """All VMs of one node, one life of a VM under each (group, generation)."""

    def __init__(
        self,
        placement: Placement,
        submit: Submit,
        on_started: OnStarted,
        on_stopped: OnStopped,
        disk_timeout_us: int,
        freeze_us: int = 0,
        on_frozen: OnFrozen = lambda _group, _generation, _reason: None,
        on_paused: OnPaused = nobody,
    ) -> None:
        """`disk_timeout_us`, `freeze_us`: as in Guest."""
        self._on_paused = on_paused
        self._placement = placement
        self._submit = submit
        self._on_started = on_started
        self._on_stopped = on_stopped
        self._disk_timeout_us = disk_timeout_us
        self._freeze_us = freeze_us
        self._on_frozen = on_frozen
        self._machines: dict[tuple[str, Generation], _Machine] = {}
        self._moved: dict[tuple[str, Generation], GuestService] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.unplugged: frozenset[str] = frozenset()
        """VMs that clients do not reach: the cable to their network is out."""

    def start(
        self,
        group: str,
        generation: Generation,
        lun: LunId,
        boot_delay_us: int,
        paths: tuple[PathName, ...],
        format_blank: bool | None = None,
        image: GuestImage | None = None,
        restore_us: int = 0,
        extent: Extent | None = None,
    ) -> None:
        """Power a VM on. `paths`, `format_blank`, `image`, `restore_us` and `extent` as in Guest.

        The same group and generation must not have run here before.
        """
        key = (group, generation)
        assert key not in self._machines, f"{group} of generation {generation} runs already"
        if len(self._machines) >= MAX_VMS:
            self._on_stopped(group, generation, "crashed", f"this node runs {MAX_VMS} VMs already")
            return
        guest = Guest(
            group,
            lun,
            generation,
            self._placement.node,
            boot_delay_us,
            self._disk_timeout_us,
            paths,
            format_blank,
            self._freeze_us,
            image,
            restore_us,
            extent,
        )
        machine = _Machine(self, group, guest, self._placement)
        self._machines[key] = machine
        machine.feed(Boot())

    def stop(
        self,
        group: str,
        generation: Generation,
        polite: bool,
        reason: str,
        moved: bool = False,
        forced: bool = False,
    ) -> None:
        """Turn a VM off; `polite` lets it finish its writes first. Nothing happens if it is off already.

        `moved`: what it holds waits for `redirect`. `forced`: what waits in it is refused.
        """
        off = PowerOff(reason, "moved" if moved else "terminated")
        self._feed(group, generation, ShutDown(reason, forced) if polite else off)

    def save(self, group: str, generation: Generation, reason: str, lasts_us: int) -> None:
        """Save the memory of a VM on its disk, then turn it off."""
        self._feed(group, generation, Save(reason, lasts_us))

    def pause(self, group: str, generation: Generation, move: int) -> None:
        """Hold a VM between two writes; `on_paused` follows, unless it stops or goes on before."""
        self._feed(group, generation, Pause(move))

    def go_on(self, group: str, generation: Generation) -> None:
        """Let a paused VM go on."""
        self._feed(group, generation, Continue())

    def redirect(self, group: str, generation: Generation, address: str) -> None:
        """A VM that has moved is served at `address` now: pass on what its clients still ask here."""
        service = self._moved.get((group, generation))
        if service is not None:
            service.redirect(address)

    def resumed(self, group: str, generation: Generation) -> bool:
        """Whether a VM that serves here goes on from its memory, and has not booted."""
        machine = self._machines.get((group, generation))
        return machine is not None and machine.resumed

    def restored(self, group: str, generation: Generation) -> bool:
        """Whether a VM that serves here goes on from a saved state."""
        machine = self._machines.get((group, generation))
        return machine is not None and machine.restored

    def _feed(self, group: str, generation: Generation, event: GuestEvent) -> None:
        machine = self._machines.get((group, generation))
        if machine is not None:
            machine.feed(event)

    def break_vm(self, group: str, how: str) -> bool:
        """Break the VM of a group: crash (its worker process dies), hang, application, or service:NAME; False when none
        runs here."""
        found = [machine for key, machine in sorted(self._machines.items()) if key[0] == group]
        for machine in found:
            if how == "crash":
                machine.feed(PowerOff("its worker process died", "crashed"))
            else:
                machine.ailment.fall_ill(how)
        return bool(found)

    def ailment(self, group: str, generation: Generation) -> Ailment | None:
        """What is wrong inside a VM, None when it is off."""
        machine = self._machines.get((group, generation))
        return machine.ailment if machine is not None else None

    def kill_all(self, reason: str) -> None:
        """Turn every VM off before returning; each calls on_stopped with cause terminated."""
        for key in sorted(self._machines):
            self.stop(*key, polite=False, reason=reason)
        for service in self._moved.values():
            service.abort()

    def use_path(self, group: str, generation: Generation, path: PathName) -> None:
        """A VM may use one more path."""
        machine = self._machines.get((group, generation))
        if machine is not None:
            machine.feed(PathChanged(path, True))

    def path_lost(self, path: PathName) -> None:
        """A path to the array was lost, for every VM."""
        for key in sorted(self._machines):
            machine = self._machines.get(key)
            if machine is not None:
                machine.feed(PathChanged(path, False))

    def address(self, group: str, generation: Generation) -> str | None:
        """Where a VM serves (host:port), or None while it does not."""
        machine = self._machines.get((group, generation))
        return machine.address if machine is not None else None

    def running(self) -> tuple[tuple[str, Generation], ...]:
        """The VMs that are not off, sorted."""
        return tuple(sorted(self._machines))

    async def close(self, reason: str = "the node's VM host ends") -> None:
        """Turn every VM off and wait until the last connection is gone."""
        self.kill_all(reason)
        while self._tasks:
            await asyncio.wait(tuple(self._tasks))

    # -- for machines --------------------------------------------------------------------------------------

    def submit(self, path: PathName, lun: LunId, command: Command, answer: Callable[[Result], None]) -> None:
        """Pass a guest's command on."""
        self._submit(path, lun, command, answer)

    def came_online(self, group: str, generation: Generation, address: str) -> None:
        """A machine serves."""
        self._on_started(group, generation, address)

    def frozen(self, group: str, generation: Generation, reason: str | None) -> None:
        """A machine is frozen, or goes on."""
        self._on_frozen(group, generation, reason)

    def paused(self, group: str, generation: Generation, move: int, image: GuestImage) -> None:
        """A machine is paused."""
        self._on_paused(group, generation, move, image)

    async def linger(self, group: str, generation: Generation, service: GuestService) -> None:
        """Keep the service of a VM that has moved, for those who still ask here."""
        self._moved[(group, generation)] = service
        try:
            await service.linger()
        finally:
            del self._moved[(group, generation)]

    def went_off(self, group: str, generation: Generation, cause: str, reason: str) -> None:
        """A machine is off for good."""
        del self._machines[(group, generation)]
        self._on_stopped(group, generation, cause, reason)

    def keep(self, work: Coroutine[None, None, None], name: str) -> None:
        """Run a task of a machine; `close` waits for it."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class _Machine:
    """One guest with its timers, its socket and those who wait for its answers."""

    def __init__(self, host: VmHost, group: str, guest: Guest, placement: Placement) -> None:
        self._host = host
        self._group = group
        self._guest = guest
        self.ailment = Ailment()
        self._placement = placement
        self._loop = asyncio.get_running_loop()
        self._inbox: deque[GuestEvent] = deque()
        self._draining = False
        self._off = False
        self._failure: str | None = None
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._asked: dict[int, asyncio.Future[Answer]] = {}
        self._next_ticket = 1
        self._service = GuestService(self._describe, self._append, self._fetch, lambda: group not in host.unplugged)
        self.address: str | None = None
        self.resumed = False
        self.restored = False

    def feed(self, event: GuestEvent) -> None:
        """Take in an event. One that arises while effects are performed waits for its turn."""
        self._inbox.append(event)
        if self._draining:
            return
        self._draining = True
        try:
            while self._inbox:
                taken, refusals = self.ailment.filtered(self._inbox.popleft())
                for refusal in refusals:
                    self._answer(refusal)
                for effect in self._guest.handle(now_us(), taken) if taken is not None else ():
                    self._perform(effect)
        finally:
            self._draining = False

    def _perform(self, effect: GuestEffect) -> None:
        match effect:
            case SubmitScsi(token, path, lun, command):
                self._host.submit(path, lun, command, lambda result: self._answered(token, result))
            case Acknowledge() | Fetched() | Refuse():
                self._answer(effect)
            case SetTimer(name, at):
                self._cancel(name)
                delay_s = max(0, at - now_us()) / US_PER_S
                self._timers[name] = self._loop.call_later(delay_s, self._fired, name)
            case CancelTimer(name):
                self._cancel(name)
            case Online(_, resumed, restored):
                self.resumed = resumed
                self.restored = restored
                self._online()
            case Frozen(reason):
                self._host.frozen(self._group, self._guest.generation, reason)
            case Thawed():
                self._host.frozen(self._group, self._guest.generation, None)
            case Paused(move, image):
                self._host.paused(self._group, self._guest.generation, move, image)
            case Stopped(cause, reason):
                self._stopped(cause, reason)
            case _:
                assert_never(effect)

    def _answered(self, token: int, result: Result) -> None:
        if not self._off:
            self.feed(ScsiAnswered(token, result))

    def _fired(self, name: str) -> None:
        del self._timers[name]
        self.feed(TimerFired(name))

    def _cancel(self, name: str) -> None:
        handle = self._timers.pop(name, None)
        if handle is not None:
            handle.cancel()

    def _online(self) -> None:
        try:
            port = self._service.bind(self._placement.bind_host)
        except OSError as error:
            self._failure = f"the guest's service cannot listen at {self._placement.bind_host}: {error.strerror}"
            self._inbox.append(PowerOff(self._failure))
            return
        host = self._placement.advertise_host or self._placement.bind_host
        self.address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._host.keep(self._service.serve(), f"{self._group}: guest service")
        self._host.came_online(self._group, self._guest.generation, self.address)

    def _stopped(self, cause: str, reason: str) -> None:
        self._off = True
        self.address = None
        for name in list(self._timers):
            self._cancel(name)
        if cause == "moved":
            self._service.moved()
            work = self._host.linger(self._group, self._guest.generation, self._service)
            self._host.keep(work, f"{self._group}: passes requests on")
            self._host.went_off(self._group, self._guest.generation, cause, reason)
            return
        self._service.close()
        if cause == "terminated":
            self._service.abort()
        else:
            self._host.keep(self._service.drain(), f"{self._group}: last answers")
        if self._failure is not None:
            cause = "crashed"
        self._host.went_off(self._group, self._guest.generation, cause, reason)

    # -- for the service -----------------------------------------------------------------------------------

    def _describe(self) -> dict[str, int | str]:
        return {
            "vm": self._group,
            "node": self._placement.node,
            "node_name": self._placement.node_name,
            "generation": self._guest.generation,
            "sequence": self._guest.sequence,
            "boots": self._guest.boots,
        }

    def _append(self, payload: bytes) -> asyncio.Future[Answer]:
        ticket, answer = self._ask()
        self.feed(Append(ticket, payload))
        return answer

    def _fetch(self, first: int, limit: int) -> asyncio.Future[Answer]:
        ticket, answer = self._ask()
        self.feed(Fetch(ticket, first, limit))
        return answer

    def _ask(self) -> tuple[int, asyncio.Future[Answer]]:
        ticket = self._next_ticket
        self._next_ticket += 1
        answer: asyncio.Future[Answer] = self._loop.create_future()
        self._asked[ticket] = answer
        return ticket, answer

    def _answer(self, answer: Answer) -> None:
        future = self._asked.pop(answer.ticket)
        if not future.done():
            future.set_result(answer)
