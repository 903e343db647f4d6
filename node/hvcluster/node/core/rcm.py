"""Resource control of one role on its owner: online in the order of dependencies, offline in reverse, restarts.

Law: one generation of one group, after its disk is reserved and before it is given up. Which calls reach the resource
monitor is decided here; how they are carried out is the monitor's business, and what becomes of the group the leader's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from hvcluster.model.dependencies import holds, names
from hvcluster.model.facts import FactKind, Value
from hvcluster.model.policy import RestartAction
from hvcluster.model.properties import Timing
from hvcluster.model.resources import Entry, ResourceDefinition, disk_name
from hvcluster.model.vocabulary import Instant, ResourceState

from .database import Group
from .members import ResourceStatus
from .outbox import Outbox

_UP = (ResourceState.ONLINE, ResourceState.ONLINE_PENDING, ResourceState.OFFLINE_PENDING)
_WORK = (Entry.ONLINE, Entry.OFFLINE, Entry.TERMINATE)


class Held:
    """One resource of a role."""

    __slots__ = (
        "call", "definition", "failures", "is_at", "looks_at", "mentions", "name", "needs", "restart_at", "retries",
        "since", "state", "tests", "token", "tries", "wanted",
    )  # fmt: skip

    def __init__(self, definition: ResourceDefinition, status: ResourceStatus) -> None:
        self.definition = definition
        self.name = definition.name
        self.needs = definition.needs()
        self.mentions = frozenset(names(self.needs))
        self.state = ResourceState.OFFLINE
        self.wanted = status.wanted
        self.tries, self.tests = status.tries, status.tests
        self.call: Entry | None = None  # that has no answer yet
        self.token = 0
        self.since = Instant(0)  # when it was made
        self.looks_at = self.is_at = Instant(0)
        self.failures: list[Instant] = []  # those that were answered by a restart
        self.restart_at: Instant | None = None
        self.retries = False  # what it waits for is RetryPeriodOnFailure

    @property
    def working(self) -> bool:
        """Whether it is on its way to another state."""
        return self.call in _WORK

    @property
    def up(self) -> bool:
        """Whether anything of it may still run."""
        return self.state in _UP or self.call is Entry.TERMINATE


class ResourceControl:
    """The resources of one generation of a group on this node."""

    __slots__ = ("_disk", "_held", "_me", "_out", "_timing", "ask", "going", "group", "online", "reason", "revision")

    def __init__(self, group: Group, timing: Timing, out: Outbox, ask: Callable[[ResourceControl, Held], int]) -> None:
        self.group = group.name
        self._me: dict[str, Value] = {"group": group.name, "generation": int(group.generation)}
        self._disk = disk_name(group.definition.lun)
        self._timing = timing
        self._out = out
        self.ask = ask
        status = {each.name: each for each in group.resources}
        self._held = {
            each.name: Held(each, status.get(each.name, ResourceStatus(each.name)))
            for each in group.definition.resources
        }
        self.going = True
        """It is to be online; False from the moment that it is taken offline, or fails."""
        self.online = False
        """It was settled once: everything that can be online is."""
        self.reason = ""
        """Why the group is to fail over, once a resource's restarts are spent."""
        self.revision = 1
        """Rises with every change of a state."""

    # what others see

    def states(self) -> tuple[tuple[str, ResourceState], ...]:
        """Every resource with its state."""
        return tuple((held.name, held.state) for held in self._held.values())

    @property
    def over(self) -> bool:
        """Whether nothing of it runs, or is on its way, any more."""
        return not self.going and not any(held.up for held in self._held.values())

    @property
    def settled(self) -> bool:
        """Whether nothing changes by itself before something fails or somebody asks."""
        return not any(h.working or (h.restart_at is not None and not h.retries) for h in self._held.values())

    def due(self, now: Instant) -> Instant | None:
        """When to look at it again; a restart that waits for others to leave is looked at when they have left."""
        moments = [
            self._due(held)
            for held in self._held.values()
            if held.call or held.restart_at is None or held.restart_at > now
        ]
        return min((at for at in moments if at is not None), default=None)

    def _due(self, held: Held) -> Instant | None:
        if held.call is not None:
            return Instant(held.since + self._patience(held))
        if held.state is ResourceState.ONLINE:
            return min(held.looks_at, held.is_at)
        return held.restart_at

    def _patience(self, held: Held) -> int:
        policy = held.definition.policy
        pends = held.call in (Entry.ONLINE, Entry.OFFLINE)
        return self._timing.of_ms(policy.pending_timeout_ms if pends else policy.deadlock_timeout_ms)

    # what happens

    def follow(self, now: Instant, wanted: Iterable[ResourceStatus]) -> None:
        """What the database says an operator wishes of single resources."""
        for status in wanted:
            held = self._held.get(status.name)
            if held is None:
                continue
            held.wanted = status.wanted
            if status.tries > held.tries:
                held.failures.clear()
                if held.state is ResourceState.FAILED and self.going:
                    held.restart_at, held.retries = now, False
            if status.tests > held.tests and held.state is ResourceState.ONLINE:
                self._fail(now, held, "an administrator had it fail")
            held.tries, held.tests = status.tries, status.tests
        self.advance(now)

    def answered(self, now: Instant, name: str, token: int, ok: bool, reason: str) -> None:
        """The monitor has carried out a call, or could not."""
        held = self._held[name]
        if held.token != token or held.call is None:
            return
        call, held.call = held.call, None
        match call:
            case Entry.ONLINE if ok:
                self._poll_from(now, held)
                self._move(held, ResourceState.ONLINE, reason or "it has come online")
            case Entry.ONLINE:
                self._fail(now, held, f"it did not come online: {reason}")
            case Entry.OFFLINE if ok:
                self._move(held, ResourceState.OFFLINE, reason or "it was taken offline")
            case Entry.OFFLINE:
                self._ask(now, held, Entry.TERMINATE)
            case Entry.TERMINATE if held.state is not ResourceState.FAILED:
                self._move(held, ResourceState.OFFLINE, "it was ended")
            case Entry.LOOKS_ALIVE if not ok:
                self._ask(now, held, Entry.IS_ALIVE)
            case Entry.IS_ALIVE if not ok:
                self._fail(now, held, f"IsAlive failed: {reason}")
            case _:
                pass
        self.advance(now)

    def died(self, now: Instant, reason: str) -> None:
        """The monitor is gone, and with it all it hosted."""
        for held in self._held.values():
            call, held.call = held.call, None
            if held.state in (ResourceState.ONLINE, ResourceState.ONLINE_PENDING):
                self._fail(now, held, reason, gone=True)
            elif call is not None and held.state is ResourceState.OFFLINE_PENDING:
                self._move(held, ResourceState.OFFLINE, reason)
        self.advance(now)

    def stop(self, now: Instant, *, polite: bool) -> None:
        """Take everything offline in order, or end it all at once."""
        self.going = False
        for held in self._held.values() if not polite else ():
            if held.up and held.call is not Entry.TERMINATE:
                self._end(now, held, "it is ended with its group")
        self.advance(now)

    def look(self, now: Instant) -> bool:
        """Polls that are due, calls that take too long, restarts whose delay is over. True: the monitor is stuck."""
        stuck = False
        for held in self._held.values():
            at = self._due(held)
            if at is None or at > now:
                continue
            match held.call:
                case Entry.ONLINE:
                    self._fail(now, held, "it was coming online without news (PendingTimeout)")
                case Entry.OFFLINE:
                    self._end(now, held, "it did not go offline in time (PendingTimeout)")
                case None if held.state is ResourceState.ONLINE:
                    self._poll(now, held)
                case None:
                    pass
                case Entry.TERMINATE | Entry.LOOKS_ALIVE | Entry.IS_ALIVE:
                    reason = f"{held.call.name} has not returned within DeadlockTimeout; the monitor is ended"
                    self._out.fact(FactKind.RESOURCE_DEADLOCK, reason, **self._me, resource=held.name)
                    held.since = now
                    stuck = True
        self.advance(now)
        return stuck

    # the engine

    def advance(self, now: Instant) -> None:
        """Do what can be done now, until nothing follows any more."""
        changed = True
        while changed:
            changed = False
            for held in self._held.values():
                changed = self._one(now, held) or changed

    def _wanted(self, held: Held) -> bool:
        return self.going and held.wanted

    def _kept(self) -> set[str]:
        """What may stay as it is: wanted, and with providers that may stay."""
        states = (ResourceState.ONLINE, ResourceState.ONLINE_PENDING)
        kept = {held.name: held for held in self._held.values() if held.state in states and self._wanted(held)}
        while True:
            online = {self._disk, *(name for name, held in kept.items() if held.state is ResourceState.ONLINE)}
            lost = [name for name, held in kept.items() if not holds(held.needs, online)]
            if not lost:
                return set(kept)
            for name in lost:
                del kept[name]

    def _lasting(self) -> set[str]:
        """What is online and may stay so: nothing begins on what is about to leave."""
        kept = self._kept()
        return {self._disk, *(name for name in kept if self._held[name].state is ResourceState.ONLINE)}

    def _leaned_on(self, held: Held, kept: set[str]) -> bool:
        """Whether something that depends on it has to go first."""
        return any(h.up and held.name in h.mentions and h.name not in kept for h in self._held.values())

    def _one(self, now: Instant, held: Held) -> bool:
        match held.state:
            case ResourceState.OFFLINE if held.call is None:
                if self._wanted(held) and holds(held.needs, self._lasting()):
                    self._move(held, ResourceState.ONLINE_PENDING, "what it depends on is online")
                    self._ask(now, held, Entry.ONLINE)
                    return True
            case ResourceState.ONLINE | ResourceState.ONLINE_PENDING:
                kept = self._kept()
                if held.name not in kept and not self._leaned_on(held, kept):
                    self._leave(now, held)
                    return True
            case ResourceState.FAILED if held.call is None:
                return self._failed(now, held)
            case _:
                pass
        return False

    def _leave(self, now: Instant, held: Held) -> None:
        wanted = self._wanted(held)
        why = "what it depends on is not online" if wanted else "it is to be offline"
        if held.state is ResourceState.ONLINE:
            self._move(held, ResourceState.OFFLINE_PENDING, why)
            self._ask(now, held, Entry.OFFLINE)
        else:
            self._end(now, held, why)

    def _failed(self, now: Instant, held: Held) -> bool:
        if self.going and not held.wanted:
            held.restart_at = None
            self._move(held, ResourceState.OFFLINE, "an administrator wants it offline")
            return True
        ready = self.going and held.restart_at is not None and held.restart_at <= now
        if not ready or self._leaned_on(held, self._kept()):
            return False
        held.restart_at = None
        if held.retries:
            held.retries = False
            held.failures.clear()
        self._move(held, ResourceState.OFFLINE, "it is restarted")
        return True

    # deeds

    def _move(self, held: Held, state: ResourceState, reason: str) -> None:
        before, held.state = held.state, state
        self.revision += 1
        self._out.fact(
            FactKind.RESOURCE_CHANGED, f"{before.name} to {state.name}: {reason}", **self._me, resource=held.name
        )

    def _ask(self, now: Instant, held: Held, entry: Entry) -> None:
        held.call, held.since = entry, now
        held.token = self.ask(self, held)

    def _end(self, now: Instant, held: Held, reason: str) -> None:
        if held.state not in (ResourceState.OFFLINE_PENDING, ResourceState.FAILED):
            self._move(held, ResourceState.OFFLINE_PENDING, reason)
        self._ask(now, held, Entry.TERMINATE)

    def _poll_from(self, now: Instant, held: Held) -> None:
        policy = held.definition.policy
        held.looks_at = Instant(now + self._timing.of_ms(policy.looks_alive_poll_interval_ms))
        held.is_at = Instant(now + self._timing.of_ms(policy.is_alive_poll_interval_ms))

    def _poll(self, now: Instant, held: Held) -> None:
        thorough, policy = held.is_at <= now, held.definition.policy
        held.looks_at = Instant(now + self._timing.of_ms(policy.looks_alive_poll_interval_ms))
        if thorough:
            held.is_at = Instant(now + self._timing.of_ms(policy.is_alive_poll_interval_ms))
        self._ask(now, held, Entry.IS_ALIVE if thorough else Entry.LOOKS_ALIVE)

    def _fail(self, now: Instant, held: Held, reason: str, *, gone: bool = False) -> None:
        """A resource has failed; what comes next is for its policy to say. `gone`: nothing of it is left to end."""
        self._move(held, ResourceState.FAILED, reason)
        about: dict[str, Value] = {"resource": held.name, "type": held.definition.type}
        self._out.fact(FactKind.RESOURCE_FAILED, reason, **self._me, **about)
        if not gone:
            self._ask(now, held, Entry.TERMINATE)
        policy = held.definition.policy
        held.restart_at, held.retries = None, False
        if not self.going or policy.restart_action is RestartAction.DONT_RESTART:
            return
        period = self._timing.of_ms(policy.restart_period_ms)
        held.failures = [at for at in held.failures if now - at < period]
        if len(held.failures) < policy.restart_threshold:
            held.failures.append(now)
            held.restart_at = Instant(now + self._timing.of_ms(policy.restart_delay_ms))
            return
        spent = f"it was restarted {len(held.failures)} times within RestartPeriod"
        self._out.fact(FactKind.RESTARTS_SPENT, spent, **self._me, resource=held.name)
        if policy.restart_action is RestartAction.RESTART_NOTIFY:
            self.going = False
            self.reason = f"resource {held.name!r} failed: {reason}"
        elif policy.retry_period_on_failure_ms:
            held.restart_at = Instant(now + self._timing.of_ms(policy.retry_period_on_failure_ms))
            held.retries = True
