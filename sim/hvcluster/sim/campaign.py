"""Runs one seed: a lab, ten minutes of disasters, mending, and the question whether everything is well again.

Law: a verdict is data; printing is the command line's business. A history is its lab, its seed and its faults: the same
three give the same verdict, whether the faults were drawn or written down.
"""

from __future__ import annotations

import gc
import time
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from heapq import heapify, heappop, heappush

from hvcluster.model.facts import Fact
from hvcluster.model.faults import TARGETS, Fault, FaultWord, Target
from hvcluster.model.vocabulary import US_PER_MS, US_PER_S

from .judge import Broken
from .labs import Plan
from .schedule import Strike, draw, mending
from .sides import Sides
from .strikes import Nobody, Strikes
from .world import World

HEAL_LIMIT_S = (
    900  # every wait of the protocol that can follow the last fault (arbitration, group wait, restarts), added up
)

COLLECT_EVERY = (50_000, 20, 100)  # Python's own thresholds look for cyclic garbage 70 times as often


@dataclass(slots=True)
class Verdict:
    """What came of one seed. `performed`: what really struck, with names, so that it can be done again."""

    seed: int
    ok: bool
    broken: str
    virtual_s: float
    wall_s: float
    events: int
    healed_s: float
    counts: dict[str, int] = field(default_factory=dict)
    faults: dict[str, int] = field(default_factory=dict)
    facts: list[Fact] = field(default_factory=list)
    performed: tuple[Strike, ...] = ()


class Play:
    """One history while it happens."""

    def __init__(self, world: World, strikes: Iterable[Strike]) -> None:
        self.world = world
        self._hand = Strikes(world)
        self._due = [(strike.at_us, order, strike) for order, strike in enumerate(strikes)]
        self._order = len(self._due)
        heapify(self._due)
        self.performed: list[Strike] = []

    def until(self, end_us: int) -> None:
        """Let everything happen that is due before `end_us`."""
        while self._due and self._due[0][0] < end_us:
            at, _, strike = heappop(self._due)
            self.world.run_until(at)
            self._strike(at, strike)
        self.world.run_until(end_us)

    def mend(self) -> None:
        """The disasters are over."""
        self._due = []
        self._hand.strike(Fault(FaultWord.MEND))

    def _strike(self, at: int, strike: Strike) -> None:
        try:
            fault = self._named(strike.fault)
            if fault.word is FaultWord.WIPE and not self._wiped(at, fault):
                return
            self._hand.strike(fault)
        except Nobody:
            return
        self.performed.append(Strike(at, fault))
        undone = mending(fault)
        if strike.mend_after_us is not None and undone is not None:
            self._order += 1
            heappush(self._due, (at + strike.mend_after_us, self._order, Strike(at + strike.mend_after_us, undone)))

    def _named(self, fault: Fault) -> Fault:
        """The same fault with the name of whoever it strikes now."""
        if not fault.target or TARGETS.get(fault.word) in (Target.VM, Target.BUS, Target.RESOURCE, Target.PROPERTY):
            return fault
        return replace(fault, target=self._hand.machine(fault.target).name)

    def _wiped(self, at: int, fault: Fault) -> bool:
        """A disk is lost only where what is left can go on; its machine dies with it."""
        machine = self._hand.machine(fault.target)
        if not self._hand.wipe_is_survivable(machine.node):
            return False
        if machine.alive:
            kill = Fault(FaultWord.KILL, fault.target)
            self._hand.strike(kill)
            self.performed.append(Strike(at, kill))
        return True


def heal_limit_us(plan: Plan) -> int:
    """How long a lab may take until it is well again; an isolated node is waited for, and a quarantined one waits."""
    properties = plan.definition().properties
    waits_ms = properties.resiliency_default_period_ms * bool(properties.resiliency_level)
    waits_ms += properties.quarantine_duration_ms * bool(properties.quarantine_threshold)
    return HEAL_LIMIT_S * US_PER_S + int(waits_ms * properties.time_scale * US_PER_MS)


def run_seed(plan: Plan, seed: int, *, keep_facts: bool = False) -> Verdict:
    """Simulate one seed to its verdict. Deterministic but for `wall_s`."""
    return run_history(plan, seed, draw(plan, seed), keep_facts=keep_facts)


@contextmanager
def _collecting_rarely() -> Iterator[None]:
    """Nearly everything that a history makes goes when its last user does; looking for the rest all the time costs."""
    before = gc.get_threshold()
    gc.set_threshold(*COLLECT_EVERY)
    try:
        yield
    finally:
        gc.set_threshold(*before)


@_collecting_rarely()
def run_history(plan: Plan, seed: int, strikes: Iterable[Strike], *, keep_facts: bool = False) -> Verdict:
    """Simulate a lab under given faults. Deterministic but for `wall_s`."""
    began = time.perf_counter()
    world = World(plan.definition(), seed, append_every_us=int(plan.requests_every_s * US_PER_S))
    play = Play(world, strikes)
    broken, healed = "", -1.0
    try:
        world.start()
        sides = Sides(world)
        play.until(int(plan.minutes * 60 * US_PER_S))
        play.mend()
        sides.rest()
        mended = world.now
        patience_us = heal_limit_us(plan)
        limit = mended + patience_us
        while (problems := world.judge.problems()) and world.now < limit:
            world.run_for(US_PER_S)
        healed = (world.now - mended) / US_PER_S
        if problems:
            broken = f"seed {seed}: not healthy {patience_us // US_PER_S} s after the last fault: {'; '.join(problems)}"
    except Broken as error:
        broken = str(error)
    except Exception as error:  # noqa: BLE001  a core that fails is a finding like any other
        broken = f"seed {seed}, {world.now / US_PER_S:.3f} s: a core failed: {_where(error)}"
    counts = dict(world.judge.counts)
    counts["acknowledged"] = world.clients.acknowledged_count
    faults: dict[str, int] = {}
    for strike in play.performed:
        word = strike.fault.word.name
        faults[word] = faults.get(word, 0) + 1
    return Verdict(
        seed,
        not broken,
        broken,
        world.now / US_PER_S,
        time.perf_counter() - began,
        world.events,
        healed,
        counts,
        faults,
        world.facts if keep_facts else [],
        tuple(play.performed),
    )


def _where(error: Exception) -> str:
    """An error with the innermost place that it comes from."""
    frames = traceback.extract_tb(error.__traceback__)
    at = f"{frames[-1].name}, line {frames[-1].lineno}" if frames else "nowhere"
    return f"{type(error).__name__}: {error} ({at})"


__all__ = ["HEAL_LIMIT_S", "Plan", "Play", "Verdict", "run_history", "run_seed"]
