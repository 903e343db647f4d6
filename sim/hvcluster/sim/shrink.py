"""Makes a failing history small: fewer faults, VMs and nodes, less time, until nothing can be left out.

Law: tries and keeps what still fails in the same way (delta debugging, Zeller and Hildebrandt 2002); it never
invents a fault. The result is written as a scenario file that fails like the history it came from.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from math import ceil

from hvcluster.model.faults import OF_RESOURCES, OWNER_OF, Fault, FaultWord
from hvcluster.model.scenario import Expectation, Scenario, Step
from hvcluster.model.vocabulary import US_PER_S

from .campaign import HEAL_LIMIT_S, Verdict, run_history
from .labs import Plan
from .schedule import Strike

SEEDS_TRIED = 3
"""A smaller lab draws other delays: its history may need another chance to fail."""
SETTLE_US = 2 * US_PER_S

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class History:
    """What makes a history: its lab, its chance, and its faults in the order of time."""

    plan: Plan
    seed: int
    strikes: tuple[Strike, ...]

    def run(self, *, keep_facts: bool = False) -> Verdict:
        """Let it happen."""
        return run_history(self.plan, self.seed, self.strikes, keep_facts=keep_facts)

    def size(self) -> str:
        """How big it is, in words."""
        plan = self.plan
        return f"{len(self.strikes)} faults, {plan.nodes} nodes, {plan.vms} VMs, {plan.minutes * 60:.1f} s"


def kind_of(broken: str) -> str:
    """What kind of failure a verdict tells of: its words without times, names and numbers."""
    said = re.sub(r"^seed \d+(, [\d.]+ s)?: ", "", broken)
    return " ".join(re.sub(r"[\d.:]+", "#", said).split()[:6])


class Shrinker:
    """Shrinks one failing history."""

    def __init__(self, history: History, limit: int = 1500, progress: Progress = lambda _: None) -> None:
        verdict = history.run()
        if verdict.ok:
            raise ValueError("this history does not fail; there is nothing to shrink")
        self.best = history
        self.verdict = verdict
        self.kind = kind_of(verdict.broken)
        self.runs = 0
        self._limit = limit
        self._progress = progress

    def shrink(self) -> History:
        """Until nothing more can be left out, or the limit of runs is reached."""
        self._shorten()
        while self.runs < self._limit:
            before = self.best
            self._fewer_faults()
            for candidate in self._smaller_labs():
                self._try(candidate)
            self._closer()
            if self.best == before:
                break
        return self.best

    def _try(self, candidate: History) -> bool:
        """Keep a candidate that fails in the same way."""
        if candidate == self.best or self.runs >= self._limit:
            return False
        same_lab = replace(candidate.plan, minutes=0) == replace(self.best.plan, minutes=0)
        for seed in range(candidate.seed, candidate.seed + (1 if same_lab else SEEDS_TRIED)):
            self.runs += 1
            attempt = replace(candidate, seed=seed)
            verdict = attempt.run()
            if not verdict.ok and kind_of(verdict.broken) == self.kind:
                self.best, self.verdict = attempt, verdict
                self._shorten()
                self._progress(f"{self.runs} runs: {self.best.size()}")
                return True
        return False

    def _shorten(self) -> None:
        """What comes after the failure cannot have caused it."""
        end = int(self.verdict.virtual_s * US_PER_S)
        history = self.best
        if self.verdict.healed_s >= 0:  # it failed to become healthy: all of the faults may be needed
            last = max((strike.at_us for strike in history.strikes), default=0)
            end = last + SETTLE_US
        minutes = min(history.plan.minutes, (end + 1) / US_PER_S / 60)
        strikes = tuple(strike for strike in history.strikes if strike.at_us <= end)
        shorter = History(replace(history.plan, minutes=minutes), history.seed, strikes)
        verdict = shorter.run()
        self.runs += 1
        if not verdict.ok and kind_of(verdict.broken) == self.kind:
            self.best, self.verdict = shorter, verdict

    def _fewer_faults(self) -> None:
        """Delta debugging: leave out halves, quarters, single faults."""
        parts = 2
        while len(self.best.strikes) >= 1 and self.runs < self._limit:
            strikes = self.best.strikes
            size = ceil(len(strikes) / parts)
            for at in range(0, len(strikes), size):
                if self._try(replace(self.best, strikes=strikes[:at] + strikes[at + size :])):
                    parts = max(parts - 1, 2)
                    break
            else:
                if size == 1:
                    return
                parts = min(parts * 2, len(strikes))

    def _smaller_labs(self) -> Iterator[History]:
        """Fewer VMs, nodes and paths, and nothing special."""
        plan = self.best.plan
        for vms in sorted({0, 1, plan.vms // 2, max(plan.vms - 1, 0)}):
            if vms < self.best.plan.vms:
                yield self._within(replace(self.best.plan, vms=vms))
        for nodes in sorted({1, 2, 3, max(plan.nodes // 2, 1), max(plan.nodes - 1, 1)}):
            if nodes < self.best.plan.nodes:
                yield self._within(replace(self.best.plan, nodes=nodes))
        yield self._within(replace(self.best.plan, paths=min(1, plan.paths)))
        yield self._within(replace(self.best.plan, connection_loss_detection=False))
        yield self._within(replace(self.best.plan, wishes=0))
        for count in range(plan.roles):
            yield self._within(replace(self.best.plan, roles=count))
        for property_ in plan.properties:
            rest = tuple(other for other in self.best.plan.properties if other != property_)
            yield self._within(replace(self.best.plan, properties=rest))

    def _within(self, plan: Plan) -> History:
        """The same faults, without those that speak of what the smaller lab does not have."""
        nodes = {f"HyperV-{n}" for n in range(1, plan.nodes + 1)}
        vms = {f"D{n}" for n in range(1, plan.vms + 1)} | {f"R{n}" for n in range(1, plan.roles + 1)}
        paths = {chr(ord("A") + n) for n in range(plan.paths)}
        networks = plan.definition().networks
        kept: list[Strike] = []
        for strike in self.best.strikes:
            fault = _within(strike.fault, nodes, vms, paths, networks)
            if fault is not None and fault.word in OF_RESOURCES and int(fault.target[1:].split()[0]) > plan.roles:
                continue
            if fault is not None:
                kept.append(replace(strike, fault=fault))
        return History(plan, self.best.seed, tuple(kept))

    def _closer(self) -> None:
        """Shorter pauses between the faults."""
        for at in range(len(self.best.strikes)):
            strikes = self.best.strikes
            if at >= len(strikes):
                return
            gap = strikes[at].at_us - (strikes[at - 1].at_us if at else 0)
            for shorter in (gap // 4, gap // 2):
                if gap > 2 * US_PER_S:
                    moved = tuple(replace(s, at_us=s.at_us - (gap - shorter)) for s in strikes[at:])
                    plan = self.best.plan
                    minutes = max(plan.minutes - (gap - shorter) / US_PER_S / 60, 0.01)
                    if self._try(History(replace(plan, minutes=minutes), self.best.seed, strikes[:at] + moved)):
                        break


def _within(fault: Fault, nodes: set[str], vms: set[str], paths: set[str], networks: Collection[str]) -> Fault | None:
    target = fault.target
    if target.startswith(OWNER_OF) and target.removeprefix(OWNER_OF) not in vms:
        return None
    if (target.startswith("HyperV-") and target not in nodes) or (
        target.startswith(("D", "R")) and " " not in target and target not in vms
    ):
        return None
    if fault.word is FaultWord.CUT_ARRAY and fault.wire and fault.wire not in paths:
        return None
    if fault.word is FaultWord.CUT_NETWORK and fault.wire not in networks:
        return None
    side = tuple(name for name in fault.side if name in nodes)
    if fault.side and (not side or len(side) == len(nodes)):
        return None
    via = fault.via if fault.via in nodes else ""
    return replace(fault, side=side, via=via)


def as_scenario(history: History, name: str, why: str) -> Scenario:
    """The history as a scenario: every fault at its moment, then everything mended and the lab healthy again."""
    steps = [Step(strike.fault, strike.at_us) for strike in history.strikes]
    end = int(history.plan.minutes * 60 * US_PER_S)
    steps.append(Step(Fault(FaultWord.MEND), end))
    steps.append(Step(at_us=end, expect=Expectation(float(HEAL_LIMIT_S), healthy=True)))
    definition = replace(history.plan.definition(), name=name[:15], id=name)
    return Scenario(name, why, definition, tuple(steps), history.seed, history.plan.requests_every_s)


__all__ = ["History", "Shrinker", "as_scenario", "kind_of"]
