"""Virtual years of one cluster: components fail and are repaired, and VMs are away for as long as was measured.

Law: a discrete-event Monte Carlo over components. Votes are those of `study_quorum`, owners those of
`node/core/placement.py`, waiting times drawn from the samples of `study_measure`; nothing is assumed beyond that and
what docs/studies.md says. Every component has a seeded generator of its own, so that two topologies under one seed
meet the same failures of the hosts, paths and the array that both have: what differs is what the topology makes of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from heapq import heappop, heappush
from random import Random
from typing import Any

from hvcluster.model.definition import GroupDefinition
from hvcluster.model.properties import Timing
from hvcluster.model.vocabulary import NOBODY, US_PER_S, NodeId
from hvcluster.node.core.placement import Candidates, Why, choose

from .study_file import Component, Rate, Study, Topology
from .study_measure import Kind, Samples, Situation
from .study_quorum import Membership
from .study_tally import QUORUM, YEAR_S, Tally


class Phase(Enum):
    """Where a VM stands with the cluster. The guest inside may be out of order as well."""

    RUNNING = "its owner runs it"
    STARTING = "a host is bringing it online"
    WAITING = "no host may run it now"


@dataclass(frozen=True, slots=True)
class Part:
    """One component of the cluster, with its own luck. `node`: whose it is, NOBODY if it is shared."""

    component: Component
    node: NodeId
    rate: Rate
    random: Random


class Vm:
    """One VM. `run` rises with each change of phase, `life` with each boot: what belongs to an older one is void."""

    __slots__ = (
        "application", "cause", "definition", "down_since", "guest_os", "life", "owner", "phase", "run",
        "stalled_since",
    )  # fmt: skip

    def __init__(self, definition: GroupDefinition, owner: NodeId, guest_os: Part, application: Part) -> None:
        self.definition = definition
        self.guest_os = guest_os
        self.application = application
        self.owner = owner
        self.phase = Phase.RUNNING
        self.run = 0
        self.life = 0
        self.cause = ""
        self.down_since: float | None = None
        self.stalled_since: float | None = None
        """When its owner lost the array, while the guest still waits for its disk."""


class Years:
    """One cluster, from all well on to the horizon. Times are seconds."""

    def __init__(self, study: Study, topology: Topology, samples: Samples, seed: str, years: float) -> None:
        self._seed = seed
        self._rates = study.rates
        self._topology = topology
        self._samples = samples
        self._random = Random(f"{seed}/waits")
        self._horizon = years * YEAR_S
        self._heap: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._order = 0
        self._now = 0.0
        timing = Timing.of(topology.properties)
        self._guest_timeout = timing.guest_disk / US_PER_S
        self._detection = timing.detection / US_PER_S
        self._group_wait = timing.group_wait / US_PER_S
        self._idle_crews = study.repair_crews if study.repair_crews is not None else 1 << 30
        self._broken: list[Part] = []
        """What waits for a repair crew, first come first served."""
        self._members = Membership(topology.hosts, topology.witness, topology.properties)
        self._nodes = sorted(self._members.up)
        self._paths = dict.fromkeys(self._nodes, topology.paths)
        self._buses = topology.buses
        self._array = True
        self._reaching = set(self._nodes)
        groups = topology.definition(topology.vms).groups
        self._vms = [
            Vm(
                group,
                self._nodes[at % len(self._nodes)],
                self._part(Component.GUEST_OS, NOBODY, at),
                self._part(Component.APPLICATION, NOBODY, at),
            )
            for at, group in enumerate(groups)
        ]
        self.tally = Tally()

    def run(self) -> Tally:
        """Let the years pass."""
        for node in self._nodes:
            self._work(self._part(Component.HOST, node))
            for number in range(self._topology.paths):
                self._work(self._part(Component.PATH, node, number))
        self._work(self._part(Component.ARRAY))
        for number in range(self._topology.buses):
            self._work(self._part(Component.BUS, NOBODY, number))
        for vm in self._vms:
            self._booted(vm)
        heap = self._heap
        while heap and heap[0][0] < self._horizon:
            self._now, _, act, arguments = heappop(heap)
            act(*arguments)
        self._now = self._horizon
        for vm in self._vms:
            self._serves(vm)
        self.tally.vm_s = self._horizon * len(self._vms)
        return self.tally

    def _after(self, seconds: float, act: Callable[..., None], *arguments: Any) -> None:
        self._order += 1
        heappush(self._heap, (self._now + seconds, self._order, act, arguments))

    # components

    def _part(self, component: Component, node: NodeId = NOBODY, number: int = 0) -> Part:
        return Part(component, node, self._rates[component], Random(f"{self._seed}/{component.value}/{node}/{number}"))

    def _work(self, part: Part) -> None:
        self._after(part.rate.failure.draw(part.random), self._fails, part)

    def _fails(self, part: Part) -> None:
        if self._idle_crews:
            self._idle_crews -= 1
            self._repair(part)
        else:
            self._broken.append(part)
        match part.component:
            case Component.HOST:
                self._host_fails(part.node)
            case Component.BUS:
                self._buses -= 1  # routes over the other bus or direct calls remain: no VM moves
            case Component.ARRAY:
                self._array = False
                self._access_changed()
            case _:
                self._paths[part.node] -= 1
                self._access_changed()

    def _repair(self, part: Part) -> None:
        self._after(part.rate.repair.draw(part.random), self._repaired, part)

    def _repaired(self, part: Part) -> None:
        if self._broken:
            self._repair(self._broken.pop(0))
        else:
            self._idle_crews += 1
        self._work(part)
        match part.component:
            case Component.HOST:
                self._host_returns(part.node)
            case Component.BUS:
                self._buses += 1
            case Component.ARRAY:
                self._array = True
                self._access_changed()
            case _:
                self._paths[part.node] += 1
                self._access_changed()

    # hosts and quorum

    def _draw(self, kind: Kind, up: int = 0, leader: bool = False) -> float:
        """A waiting time of this kind; where the very situation was not measured, of the nearest that was."""
        wanted = Situation(kind, up, leader, buses=kind is not Kind.FAILOVER or self._buses > 0)
        times = self._samples.get(wanted)
        if times is None:
            self.tally.substituted += 1
            near = [situation for situation in self._samples if situation.kind is kind]
            if not near:
                return self._unmeasured(kind)
            times = self._samples[
                min(near, key=lambda s: (s.leader != leader, abs(s.up - up), s.buses != wanted.buses))
            ]
        return times[int(self._random.random() * len(times))]

    def _unmeasured(self, kind: Kind) -> float:
        """What the votes of a healthy cluster never let happen has no samples; it is put together from what has."""
        if kind is Kind.AWAY:
            return self._draw(Kind.BACK) + self._group_wait
        if kind in (Kind.FAILOVER, Kind.PATH):
            return self._draw(Kind.BACK)
        return 0.0 if kind is Kind.RETURN else self._detection

    def _host_fails(self, node: NodeId) -> None:
        members = self._members
        up, led, had = len(members.up), members.leader == node, members.leader != NOBODY
        members.fail(node)
        if had and members.leader == NOBODY:
            self._quorum_lost()
        elif had:
            self._after(self._draw(Kind.VOTES), self._notice, node)
        # For want of votes only where another host is there that could run it.
        votes = members.leader == NOBODY and any(self._able(other) for other in self._nodes)
        for vm in self._vms:
            if vm.owner == node:
                vm.stalled_since = None
                if vm.phase is not Phase.WAITING:
                    self._stops(vm, QUORUM if votes else Component.HOST.value)
                    self._place(vm, Why.NODE_FAILURE, Kind.FAILOVER, up, led)

    def _notice(self, node: NodeId) -> None:
        self._members.notice(node)

    def _quorum_lost(self) -> None:
        """Survivors keep their VMs until their own evidence of quorum has run out."""
        for vm in self._vms:
            if vm.phase is Phase.STARTING:
                self._stops(vm, QUORUM)
            elif vm.phase is Phase.RUNNING and self._able(vm.owner):
                self._after(self._draw(Kind.STOP), self._runs_out, vm, vm.run)

    def _runs_out(self, vm: Vm, run: int) -> None:
        if vm.run == run and self._members.leader == NOBODY:
            self._stops(vm, QUORUM)

    def _host_returns(self, node: NodeId) -> None:
        members, waiting = self._members, set(self._members.up)
        members.restore(node)
        if members.leader != NOBODY:
            self._after(self._draw(Kind.VOTES), self._notice, node)
            disturbed_s = self._draw(Kind.RETURN, len(waiting))
            for vm in self._vms:
                if vm.phase is Phase.RUNNING and disturbed_s:
                    self._stops(vm, QUORUM)
                    self._starts(vm, vm.owner, disturbed_s)
                self._place(vm, Why.NODE_FAILURE, Kind.BACK)
        else:
            self._form(waiting)

    def _form(self, waiting: set[NodeId]) -> None:
        if self._members.forms(waiting):
            for vm in self._vms:
                back = self._able(vm.owner)
                self._place(vm, Why.START, Kind.BACK if back else Kind.AWAY)

    # the array and its paths

    def _access_changed(self) -> None:
        """The array, or a path to it, has failed or is back."""
        members = self._members
        reaching = {node for node in self._nodes if self._array and self._paths[node]}
        if reaching == self._reaching:
            return
        self._reaching = reaching
        had = members.leader != NOBODY
        members.reach(reaching)
        cause = Component.PATH.value if self._array else Component.ARRAY.value
        if had and members.leader == NOBODY:
            self._quorum_lost()
        elif had:
            self._after(self._detection, members.settle)
        for vm in self._vms:
            if vm.phase is not Phase.WAITING and not self._able(vm.owner):
                since = self._now if vm.phase is Phase.RUNNING else None
                self._stops(vm, cause)
                vm.stalled_since = since
                self._place(vm, Why.RESOURCE_FAILURE, Kind.PATH)
        if not had:
            self._form(set(members.up))
        for vm in self._vms:
            self._regain(vm)

    def _regain(self, vm: Vm) -> None:
        """A VM without a host sees whether there is one now; its guest may only have waited for the disk."""
        if vm.phase is not Phase.WAITING or self._members.leader == NOBODY:
            return
        since = vm.stalled_since
        if since is not None and self._able(vm.owner) and self._now - since < self._guest_timeout:
            self._starts(vm, vm.owner, self._draw(Kind.STALL))
        else:
            self._place(vm, Why.NODE_FAILURE, Kind.ACCESS)

    # VMs

    def _able(self, node: NodeId) -> bool:
        return node in self._members.up and self._array and self._paths[node] > 0

    def _place(self, vm: Vm, why: Why, kind: Kind, up: int = 0, leader: bool = False) -> None:
        """Give a waiting VM to a host, by the rules of the cluster, if any host can run it."""
        if vm.phase is not Phase.WAITING or self._members.leader == NOBODY:
            return
        counts = {node: 0 for node in self._nodes if self._able(node)}
        for other in self._vms:
            if other.phase is not Phase.WAITING and other.owner in counts:
                counts[other.owner] += 1
        choice = choose(vm.definition, vm.owner, why, Candidates.plain(counts), leave=False)
        if choice is not None:
            self._starts(vm, choice.owner, self._draw(kind, up, leader))

    def _starts(self, vm: Vm, owner: NodeId, wait_s: float) -> None:
        vm.owner = owner
        vm.phase = Phase.STARTING
        vm.stalled_since = None
        vm.run += 1
        self._after(wait_s, self._online, vm, vm.run)

    def _online(self, vm: Vm, run: int) -> None:
        if vm.run == run:
            vm.phase = Phase.RUNNING
            vm.run += 1
            self._booted(vm)

    def _stops(self, vm: Vm, cause: str) -> None:
        """A VM that ran, or was to run, does not any more."""
        vm.phase = Phase.WAITING
        vm.run += 1
        vm.life += 1
        self._away(vm, cause)

    def _away(self, vm: Vm, cause: str) -> None:
        if vm.down_since is None:
            vm.down_since = self._now
            vm.cause = cause

    def _serves(self, vm: Vm) -> None:
        if vm.down_since is not None:
            self.tally.incident(vm.cause, self._now - vm.down_since)
            vm.down_since = None

    # inside a VM

    def _booted(self, vm: Vm) -> None:
        vm.life += 1
        self._serves(vm)
        self._after(vm.guest_os.rate.failure.draw(vm.guest_os.random), self._guest_fails, vm, vm.life)
        self._application_works(vm)

    def _guest_fails(self, vm: Vm, life: int) -> None:
        if vm.life == life:
            vm.life += 1
            self._away(vm, Component.GUEST_OS.value)
            self._after(vm.guest_os.rate.repair.draw(vm.guest_os.random), self._rebooted, vm, vm.life)

    def _rebooted(self, vm: Vm, life: int) -> None:
        if vm.life == life:
            self._booted(vm)

    def _application_works(self, vm: Vm) -> None:
        self._after(vm.application.rate.failure.draw(vm.application.random), self._application_fails, vm, vm.life)

    def _application_fails(self, vm: Vm, life: int) -> None:
        if vm.life == life:
            self._away(vm, Component.APPLICATION.value)
            self._after(vm.application.rate.repair.draw(vm.application.random), self._restarted, vm, life)

    def _restarted(self, vm: Vm, life: int) -> None:
        if vm.life == life:
            self._serves(vm)
            self._application_works(vm)
