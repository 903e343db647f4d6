"""Draws what goes wrong in one seed: a list of faults with their moments, before anything runs.

Law: chance and values only; a schedule knows nothing of what will become of it. Who "leader" or "owner of D1" is, is
found when the fault strikes.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from hvcluster.model.faults import HOLDER, LEADER, OWNER_OF, Direction, Fault, FaultWord
from hvcluster.model.properties import MAX_CLOCK_DRIFT
from hvcluster.model.vocabulary import US_PER_S

from .busy_hands import meddling
from .labs import Plan
from .role_labs import resource_names

MEND_LOW_S, MEND_HIGH_S = 2, 60
FOLLOWED: Final = 0.3
"""How many faults are followed by another one before the first is dealt with, or even noticed."""
FOLLOW_LOW_US, FOLLOW_DECADES = 1_000, 4.0  # 1 ms to 10 s, every decade alike: a takeover lasts some 10 ms
BY_DEED: Final = 0.25
"""How many faults strike whoever leads, owns or holds something then, and not just anybody."""
NEVER_MENDED: Final = 0.03
FORCING: Final = 0.2
"""In how many histories an administrator forces quorum. Drawn apart, so that all others are what they would be."""
ADAPTERS: Final = 0.15
"""In how many histories one adapter of a host carries everything, and fails. Drawn apart as well."""
CANCELLED: Final = 0.2
CANCEL_WITHIN_US: Final = US_PER_S  # a live migration of the usual VM takes somewhat less
LIVE: Final = 0.6
"""How many moves are live migrations."""
QUICK: Final = 0.25
"""How many are quick ones."""
BUSES: Final = ("A", "B")

_MENDING: Final = {
    FaultWord.KILL: FaultWord.START,
    FaultWord.CRASH: FaultWord.START,
    FaultWord.WIPE: FaultWord.START,
    FaultWord.STOP: FaultWord.START,
    FaultWord.SHUTDOWN: FaultWord.START,
    FaultWord.FREEZE: FaultWord.THAW,
    FaultWord.CUT_BUSES: FaultWord.HEAL,
    FaultWord.CUT_PEERS: FaultWord.HEAL,
    FaultWord.CUT_ARRAY: FaultWord.HEAL,
    FaultWord.CUT_WITNESS: FaultWord.HEAL,
    FaultWord.CUT_NETWORK: FaultWord.HEAL,
    FaultWord.WITNESS_KILL: FaultWord.WITNESS_START,
    FaultWord.PAUSE: FaultWord.RESUME,
    FaultWord.DRAIN: FaultWord.RESUME,
    FaultWord.OFFLINE: FaultWord.ONLINE,
    FaultWord.OFFLINE_RESOURCE: FaultWord.ONLINE_RESOURCE,
    FaultWord.PARTITION: FaultWord.HEAL,
    FaultWord.BUS_KILL: FaultWord.BUS_START,
    FaultWord.SAN_KILL: FaultWord.SAN_START,
    FaultWord.SAN_CRASH: FaultWord.SAN_START,
    FaultWord.SAN_POWER_LOSS: FaultWord.SAN_START,
    FaultWord.KILL_ALL: FaultWord.START_ALL,
}
_CALM: Final = {
    FaultWord.LOSS: 0.0,
    FaultWord.DOUBLING: 0.0,
    FaultWord.SLOWNESS: 1.0,
    FaultWord.SAN_SLOW: 0.0,
    FaultWord.WITNESS_SLOW: 0.0,
    FaultWord.SLOW_OFF: 0.0,
}


@dataclass(frozen=True, slots=True)
class Strike:
    """One fault at an instant (microseconds after the lab was switched on), and how long until it is mended."""

    at_us: int
    fault: Fault
    mend_after_us: int | None = None


def mending(fault: Fault) -> Fault | None:
    """The fault that undoes one that has struck (its target is a name by then); None for what is never undone."""
    if fault.word in _CALM:
        return Fault(fault.word, fault.target, amount=_CALM[fault.word])
    word = _MENDING.get(fault.word)
    return Fault(word, fault.target) if word is not None else None


def draw(plan: Plan, seed: int) -> tuple[Strike, ...]:
    """Every fault of one seed, in the order of time."""
    return _Draw(plan, seed).all()


class _Draw:
    """One schedule while it is being drawn."""

    def __init__(self, plan: Plan, seed: int) -> None:
        self._plan = plan
        self._seed = seed
        self._random = random.Random(f"{seed}/faults")
        self._nodes = tuple(f"HyperV-{n}" for n in range(1, plan.nodes + 1))
        self._vms = tuple(f"D{n}" for n in range(1, plan.vms + 1))
        self._paths = tuple(chr(ord("A") + n) for n in range(plan.paths))
        self._strikes: list[Strike] = []
        self._words: tuple[tuple[int, Callable[[int], None]], ...] = (
            (20, lambda at: self._on_node(at, FaultWord.KILL)),
            (10, lambda at: self._on_node(at, FaultWord.CRASH, float(self._random.randrange(1, 12)))),
            (8, lambda at: self._on_node(at, FaultWord.FREEZE)),
            (5, lambda at: self._on_node(at, FaultWord.FREEZE, float(self._random.randrange(1, 12)))),
            (10, lambda at: self._cut(at, FaultWord.CUT_BUSES, BUSES)),
            (6, self._cut_peers),
            (10, lambda at: self._cut(at, FaultWord.CUT_ARRAY, self._paths)),
            (4, self._hold_path),
            (3, lambda at: self._on_node(at, FaultWord.SLOW_OFF, float(self._random.randrange(1, 6)))),
            (12, self._partition),
            (5, self._bus),
            (5, lambda at: self._add(at, Fault(FaultWord.SAN_KILL))),
            (4, lambda at: self._add(at, Fault(FaultWord.SAN_CRASH, amount=float(self._random.randrange(1, 30))))),
            (2, lambda at: self._add(at, Fault(FaultWord.SAN_POWER_LOSS))),
            (4, lambda at: self._add(at, Fault(FaultWord.SAN_SLOW, amount=float(self._random.randrange(10, 4000))))),
            (6, self._bad_network),
            (2, self._kill_all),
            (4, lambda at: self._add(at, Fault(FaultWord.WIPE, self._name()))),
            (16, lambda at: self._on_vm(at, FaultWord.MOVE)),
            (5, self._stop),
            (2, lambda at: self._add(at, Fault(FaultWord.PAUSE, self._name(), via=self._name()))),
            (3, lambda at: self._add(at, Fault(FaultWord.DRAIN, self._name(), via=self._name()))),
            (5, lambda at: self._on_vm(at, FaultWord.CRASH_VM)),
            (2, lambda at: self._on_vm(at, FaultWord.HANG_VM)),
            (2, lambda at: self._on_vm(at, FaultWord.CRASH_APP)),
            (3, lambda at: self._on_vm(at, FaultWord.OFFLINE)),
        )
        if plan.tag_witness is not None:
            self._words += (
                (6, lambda at: self._add(at, Fault(FaultWord.WITNESS_KILL))),
                (4, self._slow_witness),
                (6, lambda at: self._cut(at, FaultWord.CUT_WITNESS, ())),
            )
        self._resources = tuple(
            name for role in range(1, plan.roles + 1) for name in resource_names(role, plan.role_draw)
        )
        if self._resources:
            self._words += (
                (10, lambda at: self._on_resource(at, FaultWord.FAIL_RESOURCE)),
                (10, lambda at: self._on_resource(at, FaultWord.CRASH_RESOURCE)),
                (6, lambda at: self._on_role(at, FaultWord.MOVE)),
                (6, lambda at: self._on_role(at, FaultWord.OFFLINE)),
                (6, lambda at: self._strikes.append(Strike(at, Fault(FaultWord.CRASH_MONITOR, self._role_owner())))),
                (4, lambda at: self._strikes.append(Strike(at, Fault(FaultWord.HANG_MONITOR, self._role_owner())))),
                (4, lambda at: self._add(at, Fault(FaultWord.OFFLINE_RESOURCE, self._resource(), via=self._name()))),
            )
        self._total = sum(weight for weight, _ in self._words)

    def all(self) -> tuple[Strike, ...]:
        """Draw until the time is over."""
        if self._random.random() < 0.5:
            for name in self._nodes:
                share = (self._random.random() - 0.5) * MAX_CLOCK_DRIFT
                self._strikes.append(Strike(0, Fault(FaultWord.DRIFT, name, amount=round(share, 6))))
        end = int(self._plan.minutes * 60 * US_PER_S)
        at = 0
        while True:
            at += self._wait()
            if at >= end:
                break
            self._one(at)
            if self._random.random() < FOLLOWED:
                gap = int(FOLLOW_LOW_US * 10.0 ** (FOLLOW_DECADES * self._random.random()))
                self._one(min(at + gap, end - 1))
        self._cables(end)
        self._administrator(end)
        for at, fault in meddling(self._seed, self._plan.witness, self._nodes, self._moments(end), end):
            self._strikes.append(Strike(at, fault))
        self._adapters(end)
        return tuple(sorted(self._strikes, key=lambda strike: strike.at_us))

    def _administrator(self, end: int) -> None:
        """Now and then somebody believes that quorum must be forced: on one node that is dead by then, or on two.

        Where the others live on, both sides may: mostly they are cut off from each other. Some nodes are started
        with prevented quorum.
        """
        chance = random.Random(f"{self._seed}/forced")
        if chance.random() >= FORCING:
            return
        for _ in range(1 + chance.randrange(3)):
            at = chance.randrange(end)
            forced = chance.sample(self._nodes, min(len(self._nodes), 1 + (chance.random() < 0.2)))
            cut_for = chance.randrange(5, 90) * US_PER_S
            if chance.random() < 0.6 and len(self._nodes) > 1:
                more = chance.sample(self._nodes, chance.randrange(1, len(self._nodes)))
                side = tuple(sorted({forced[0], *more}))[: len(self._nodes) - 1]
                self._strikes.append(Strike(at, Fault(FaultWord.PARTITION, side=side), cut_for))
            elif chance.random() < 0.5:
                for name in self._nodes:
                    self._strikes.append(Strike(at, Fault(FaultWord.KILL, name), cut_for))
            for name in forced:
                dead_for = chance.randrange(1, 40 * US_PER_S)
                self._strikes.append(Strike(at, Fault(FaultWord.KILL, name)))
                self._strikes.append(Strike(at + dead_for, Fault(FaultWord.START_FORCED, name)))
                if chance.random() < 0.3:
                    word = FaultWord.CRASH if chance.random() < 0.5 else FaultWord.KILL
                    amount = float(chance.randrange(1, 12)) if word is FaultWord.CRASH else 0.0
                    again = at + dead_for + chance.randrange(1, 5 * US_PER_S)
                    self._strikes.append(Strike(again, Fault(word, name, amount=amount), US_PER_S))
            if chance.random() < 0.3:
                name = self._nodes[chance.randrange(len(self._nodes))]
                self._strikes.append(Strike(at, Fault(FaultWord.KILL, name)))
                later = at + chance.randrange(1, 60 * US_PER_S)
                how = FaultWord.START_PREVENTED if chance.random() < 0.7 else FaultWord.START_IGNORING
                self._strikes.append(Strike(later, Fault(how, name)))

    def _cables(self, end: int) -> None:
        """Where VMs are on a network, cables to it are pulled now and then; drawn apart."""
        networks = self._plan.definition().networks
        chance = random.Random(f"{self._seed}/cables")
        for _ in range(chance.randrange(4) if networks else 0):
            network = networks[chance.randrange(len(networks))]
            whom = self._nodes[chance.randrange(len(self._nodes))]
            if chance.random() < BY_DEED:
                whom = OWNER_OF + self._vms[chance.randrange(len(self._vms))]
            cut = Fault(FaultWord.CUT_NETWORK, whom, wire=network)
            mended = None if chance.random() < NEVER_MENDED else chance.randrange(2, 60) * US_PER_S
            self._strikes.append(Strike(chance.randrange(end), cut, mended))

    def _moments(self, end: int) -> list[int]:
        """When something breaks: an operator is busy right before and after."""
        return [strike.at_us for strike in self._strikes if strike.at_us] or [end // 2]

    def _adapters(self, end: int) -> None:
        """The one adapter of a host that carries its storage and its networks stops for a while, and nothing is said.

        What it had sent to the array arrives late; the others hear nothing of it.
        """
        chance = random.Random(f"{self._seed}/adapters")
        if chance.random() >= ADAPTERS or len(self._nodes) < 2 or not self._paths:
            return
        for _ in range(1 + chance.randrange(3)):
            at, held = chance.randrange(1, end), chance.randrange(5, 40)
            self._strikes.append(Strike(at, Fault(FaultWord.HOLD_PATH, LEADER, Direction.BOTH, amount=float(held))))
            side = Fault(FaultWord.PARTITION, side=(LEADER,))
            self._strikes.append(Strike(at + chance.randrange(1, US_PER_S), side, held * US_PER_S))

    def _wait(self) -> int:
        return int(self._random.expovariate(1.0) * self._plan.fault_every_s * US_PER_S) + 1

    def _one(self, at: int) -> None:
        drawn = self._random.randrange(self._total)
        for weight, add in self._words:
            if drawn < weight:
                add(at)
                return
            drawn -= weight

    def _add(self, at: int, fault: Fault) -> None:
        seconds = self._random.randrange(MEND_LOW_S, MEND_HIGH_S)
        mend = None if self._random.random() < NEVER_MENDED else seconds * US_PER_S
        self._strikes.append(Strike(at, fault, mend))

    def _name(self) -> str:
        return self._nodes[self._random.randrange(len(self._nodes))]

    def _somebody(self) -> str:
        """A node by name, or now and then by what it does at that moment."""
        if self._random.random() >= BY_DEED:
            return self._name()
        deeds = [LEADER]
        if self._plan.witness:
            deeds.append(HOLDER)
        if self._vms:
            deeds.append(OWNER_OF + self._vms[self._random.randrange(len(self._vms))])
        return deeds[self._random.randrange(len(deeds))]

    def _stop(self, at: int) -> None:
        """A service is stopped or, drawn apart, its whole host is shut down."""
        shuts = random.Random(f"{self._seed}/{at}/shutdown").random() < 0.5
        self._add(at, Fault(FaultWord.SHUTDOWN if shuts else FaultWord.STOP, self._name()))

    def _on_node(self, at: int, word: FaultWord, amount: float = 0.0) -> None:
        self._add(at, Fault(word, self._somebody(), amount=amount))

    def _cut(self, at: int, word: FaultWord, wires: tuple[str, ...]) -> None:
        direction = tuple(Direction)[self._random.randrange(len(Direction))]
        wire = wires[self._random.randrange(len(wires))] if wires and self._random.random() < 0.4 else ""
        self._add(at, Fault(word, self._somebody(), direction, wire=wire))

    def _cut_peers(self, at: int) -> None:
        direction = tuple(Direction)[self._random.randrange(len(Direction))]
        side = (self._name(),) if self._random.random() < 0.5 else ()
        self._add(at, Fault(FaultWord.CUT_PEERS, self._somebody(), direction, side))

    def _hold_path(self, at: int) -> None:
        """Longer than a command may take, or not; the new login gets through, or waits as well."""
        direction = Direction.BOTH if self._random.random() < 0.5 else Direction.OUT
        wire = self._paths[self._random.randrange(len(self._paths))] if self._paths else ""
        amount = float(self._random.randrange(1, 40))
        strike = Strike(at, Fault(FaultWord.HOLD_PATH, self._somebody(), direction, amount=amount, wire=wire))
        self._strikes.append(strike)

    def _partition(self, at: int) -> None:
        if len(self._nodes) < 2:
            return
        names = list(self._nodes)
        self._random.shuffle(names)
        self._add(at, Fault(FaultWord.PARTITION, side=tuple(sorted(names[: self._random.randrange(1, len(names))]))))

    def _bus(self, at: int) -> None:
        for bus in BUSES if self._random.random() < 0.4 else BUSES[:1]:
            self._add(at, Fault(FaultWord.BUS_KILL, bus))

    def _bad_network(self, at: int) -> None:
        draw = self._random.random
        self._add(at, Fault(FaultWord.LOSS, amount=round(draw() * 0.3, 3)))
        self._add(at, Fault(FaultWord.DOUBLING, amount=round(draw() * 0.3, 3)))
        self._add(at, Fault(FaultWord.SLOWNESS, amount=round(1 + draw() * 100, 1)))

    def _slow_witness(self, at: int) -> None:
        self._add(at, Fault(FaultWord.WITNESS_SLOW, amount=float(self._random.randrange(10, 9000))))

    def _kill_all(self, at: int) -> None:
        """Everybody dies at once, and returns one by one."""
        for name in self._nodes:
            self._add(at, Fault(FaultWord.KILL, name))

    def _resource(self) -> str:
        return self._resources[self._random.randrange(len(self._resources))]

    def _role(self) -> str:
        return f"R{1 + self._random.randrange(self._plan.roles)}"

    def _role_owner(self) -> str:
        return OWNER_OF + self._role() if self._random.random() < 0.7 else self._name()

    def _on_resource(self, at: int, word: FaultWord) -> None:
        self._strikes.append(Strike(at, Fault(word, self._resource())))

    def _on_role(self, at: int, word: FaultWord) -> None:
        how = "" if word is FaultWord.OFFLINE else "shutdown"
        fault = Fault(word, self._role(), via=self._name(), type=how)
        if word is FaultWord.OFFLINE:
            self._add(at, fault)
        else:
            self._strikes.append(Strike(at, fault))

    def _on_vm(self, at: int, word: FaultWord) -> None:
        if not self._vms:
            return
        vm = self._vms[self._random.randrange(len(self._vms))]
        if word in (FaultWord.CRASH_VM, FaultWord.HANG_VM, FaultWord.CRASH_APP):
            self._strikes.append(Strike(at, Fault(word, vm)))
        elif word is FaultWord.MOVE:
            kind = self._random.random()
            how = "" if kind < LIVE else "quick" if kind < LIVE + QUICK else "shutdown"
            self._strikes.append(Strike(at, Fault(word, vm, via=self._name(), type=how)))
            if self._random.random() < CANCELLED:
                later = at + int(self._random.random() * CANCEL_WITHIN_US)
                self._strikes.append(Strike(later, Fault(FaultWord.CANCEL_MOVE, vm, via=self._name())))
        else:
            self._add(at, Fault(word, vm, via=self._name()))
