"""A campaign: many seeds, all cores, one report that is the same whoever did the work.

Law: hands out seeds and adds up verdicts. What is done is in a journal as soon as it is done, so that an interrupted
campaign goes on where it stopped. A worker that dies takes nothing with it but its seeds, which are run again.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, field, fields
from multiprocessing import get_context
from pathlib import Path
from typing import IO, Any, Final, Protocol

from .campaign import run_seed
from .coverage import Coverage, coverage_of
from .labs import Plan, random_plan
from .worker import tied

AHEAD: Final = 3
"""Seeds handed out for each worker, so that none waits."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What to explore: `plan`, or with `random_lab` a lab drawn for every seed (its minutes are those of `plan`)."""

    plan: Plan
    random_lab: bool
    first: int
    count: int

    def seeds(self) -> range:
        return range(self.first, self.first + self.count)

    def plan_of(self, seed: int) -> Plan:
        """The lab of one seed."""
        return random_plan(seed, self.plan) if self.random_lab else self.plan


@dataclass(frozen=True, slots=True)
class Done:
    """What came of one seed, in values that travel."""

    seed: int
    broken: str
    virtual_s: float
    cpu_s: float
    events: int
    healed_s: float
    coverage: dict[str, dict[str, int]]


@dataclass(slots=True)
class Report:
    """What came of a campaign."""

    done: dict[int, Done] = field(default_factory=dict)
    coverage: Coverage = field(default_factory=Coverage)
    deaths: list[str] = field(default_factory=list)
    """Workers that died, with the seeds they had."""

    def add(self, done: Done) -> None:
        """One seed more; a seed counts once."""
        if done.seed not in self.done:
            self.done[done.seed] = done
            self.coverage.add(Coverage.from_json(done.coverage))

    @property
    def broken(self) -> list[Done]:
        """The seeds that broke something, in order."""
        return [self.done[seed] for seed in sorted(self.done) if self.done[seed].broken]

    @property
    def virtual_s(self) -> float:
        return sum(done.virtual_s for done in self.done.values())

    @property
    def cpu_s(self) -> float:
        return sum(done.cpu_s for done in self.done.values())


def run_one(wish: Wish, seed: int) -> Done:
    """One seed, in whatever process this is."""
    began = time.process_time()
    verdict = run_seed(wish.plan_of(seed), seed, keep_facts=True)
    coverage = coverage_of(verdict.performed, verdict.facts)
    return Done(
        seed, verdict.broken, verdict.virtual_s, time.process_time() - began, verdict.events, verdict.healed_s,
        coverage.as_json(),
    )  # fmt: skip


class Workers(Protocol):
    """Somebody who runs seeds. Yields what is done, and sentences about workers that died."""

    def run(self, wish: Wish, seeds: Sequence[int]) -> Iterator[Done | str]: ...


class Pool:
    """Processes of this machine. `task`: what runs a seed (a test may give one that dies)."""

    def __init__(self, workers: int, task: Callable[[Wish, int], Done] = run_one) -> None:
        self._workers = workers
        self._task = task

    def run(self, wish: Wish, seeds: Sequence[int]) -> Iterator[Done | str]:
        """All seeds; those of a worker that died once more, each alone, so that the guilty one is found."""
        suspects: list[int] = []
        left = list(seeds)
        while left:
            left, lost = yield from self._together(wish, left)
            if lost:
                yield f"a worker died while seeds {', '.join(map(str, lost))} were being run; they are run again"
                suspects += lost
        for seed in suspects:
            _, lost = yield from self._together(wish, [seed])
            if lost:
                yield f"seed {seed} kills its worker"
                yield Done(seed, f"seed {seed}: its worker died, twice", 0.0, 0.0, 0, -1.0, {})

    def _together(self, wish: Wish, seeds: list[int]) -> Generator[Done | str, None, tuple[list[int], list[int]]]:
        """Run seeds until all are done or a worker dies; returns what was not begun, and what was lost."""
        waiting = list(reversed(seeds))
        running: dict[Future[Done], int] = {}
        context = get_context("spawn")
        count = min(self._workers, len(seeds))
        with ProcessPoolExecutor(count, mp_context=context, initializer=tied, initargs=(os.getpid(),)) as pool:
            try:
                while waiting or running:
                    while waiting and len(running) < self._workers * AHEAD:
                        seed = waiting[-1]
                        running[pool.submit(self._task, wish, seed)] = seed
                        waiting.pop()
                    ready, _ = wait(running, return_when=FIRST_COMPLETED)
                    for future in sorted(ready, key=running.__getitem__):  # what is ready is told in order of seeds
                        done = future.result()
                        del running[future]
                        yield done
            except BrokenProcessPool:
                return list(reversed(waiting)), sorted(running.values())
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        return [], []


class Journal:
    """The file of a campaign: a line about what was wished, then one for each seed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[str] | None = None

    def resume(self, wish: Wish) -> list[Done]:
        """What was done before. Raises ValueError when the file is of another campaign."""
        done: list[Done] = []
        wished = json.loads(json.dumps(_wished(wish)))
        if self._path.exists():
            lines = self._path.read_text().splitlines()
            with contextlib.suppress(json.JSONDecodeError):  # the last line may be half written
                for number, line in enumerate(lines):
                    values = json.loads(line)
                    if number == 0 and values != wished:
                        raise ValueError(f"{self._path} is of another campaign; name another file, or remove it")
                    if number:
                        done.append(Done(**values))
        beside = self._path.with_name(f"{self._path.name}.new")  # a kill in this moment loses nothing
        with beside.open("w") as file:
            file.write(json.dumps(wished) + "\n")
            file.writelines(json.dumps(asdict(one)) + "\n" for one in done)
        os.replace(beside, self._path)
        self._file = self._path.open("a")
        return done

    def add(self, done: Done) -> None:
        """One seed is done."""
        if self._file is not None:
            self._file.write(json.dumps(asdict(done)) + "\n")
            self._file.flush()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


def unusable(journal: Path) -> str:
    """Why no campaign can be written into this file, or go on from it; "" when one can. What is in it is left alone."""
    if journal.is_dir():
        return f"is a directory; name a file in it, such as {journal / 'campaign.jsonl'}"
    if not journal.parent.is_dir():
        return f"cannot be written: there is no directory {journal.parent}; make it, or name another file"
    lines = journal.read_bytes().splitlines() if journal.exists() else []
    wanted = {each.name for each in fields(Done)}
    for number, line in enumerate(lines, 1):
        try:
            values = json.loads(line)
        except ValueError:
            if number == len(lines) and (number > 1 or line.startswith(b'{"campaign":')):
                continue  # half written when the campaign was ended; its seed is run again
            values = None
        names = set(values) if isinstance(values, dict) else set()
        if number == 1 and "campaign" not in names:
            return "is no journal of a campaign; name another file"
        if number > 1 and names != wanted:
            return f"has no seed on line {number}; remove that line, and what is missing is run again"
    return ""


def _wished(wish: Wish) -> dict[str, Any]:
    """What must be the same for seeds of two runs to belong to one campaign; how many were asked for may grow."""
    return {"campaign": 1, "plan": asdict(wish.plan), "random_lab": wish.random_lab}


def explore(wish: Wish, workers: Workers, journal: Journal | None, told: Callable[[Report, str], None]) -> Report:
    """Run what the journal does not have yet. `told` hears after every seed, and of every worker that died.

    Raises ValueError when the journal is of another campaign.
    """
    report = Report()
    if journal is not None:
        for done in journal.resume(wish):
            if done.seed in wish.seeds():
                report.add(done)
    left = [seed for seed in wish.seeds() if seed not in report.done]
    try:
        for news in workers.run(wish, left):
            if isinstance(news, str):
                report.deaths.append(news)
                told(report, news)
                continue
            report.add(news)
            if journal is not None:
                journal.add(news)
            told(report, "")
    finally:
        if journal is not None:
            journal.close()
    return report
