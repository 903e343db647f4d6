"""`hvc sim explore`: random disasters by the thousand, a table of what they covered, and small stories of what broke.

Law: reads arguments, prints progress and verdicts; the work is done by `explore` and `shrink`.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from hvcluster.model.properties import DEFAULT_PROFILE, PROFILES
from hvcluster.model.scenario_text import text_of
from hvcluster.model.vocabulary import US_PER_S

from .campaign import Verdict, run_seed
from .coverage import table
from .explore import Done, Journal, Pool, Report, Wish, Workers, explore, unusable
from .labs import Plan
from .replay_cli import trace_of
from .scenarios import run
from .shrink import History, Shrinker, as_scenario
from .story import story
from .trace import trace

EPILOG = """\
examples:
  hvc sim explore --seeds 1000                       5 nodes, 20 VMs, ten virtual minutes of disasters each
  hvc sim explore --seeds 20000 --random-lab --journal big.jsonl
                                                     another lab for every seed; run it again to go on after Ctrl-C
  hvc sim explore --nodes 4 --no-witness --profile ws2008r2 --seeds 500
  hvc sim explore --first 7 --seeds 1 --facts        one history, with every decision and its reason
  hvc sim explore --seeds 5000 --dask tcp://10.0.0.1:8786

What breaks is shrunk to a scenario file with its trace (--findings DIR): `hvc sim replay FILE --story` tells it.
Exit status 0: every invariant held; 1: one was broken; 2: usage; 130: interrupted.
"""
MOST_SHRUNK = 3
"""Findings of one campaign are mostly the same one."""


def parser() -> argparse.ArgumentParser:
    """The arguments."""
    plan = Plan()
    made = argparse.ArgumentParser(
        prog="hvc sim explore",
        description="Run random disasters in the simulator; every invariant is judged after every event.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    seeds = made.add_argument_group("seeds")
    seeds.add_argument("--first", type=int, default=1, metavar="N", help="the first seed [1]")
    seeds.add_argument("--seeds", type=int, default=100, metavar="COUNT", help="how many from there on [100]")
    lab = made.add_argument_group("lab")
    lab.add_argument("--random-lab", action="store_true", help="a lab drawn from each seed instead of the one below")
    lab.add_argument("--nodes", type=int, default=plan.nodes, help=f"nodes, 1 to 64 [{plan.nodes}]")
    lab.add_argument("--vms", type=int, default=plan.vms, help=f"VMs, 0 to 200 [{plan.vms}]")
    lab.add_argument(
        "--volumes", type=int, default=0, metavar="N", help="Cluster Shared Volumes with all VMs on them, 0 to 16 [0]"
    )
    lab.add_argument("--no-witness", action="store_true", help="Node Majority instead of Node and Disk Majority")
    lab.add_argument("--paths", type=int, default=plan.paths, help=f"paths from each node, 0 to 4 [{plan.paths}]")
    lab.add_argument("--minutes", type=float, default=plan.minutes, help=f"virtual minutes [{plan.minutes:g}]")
    lab.add_argument(
        "--fault-every",
        type=float,
        default=plan.fault_every_s,
        metavar="S",
        help=f"mean pause [{plan.fault_every_s:g}]",
    )
    lab.add_argument("--profile", choices=PROFILES, default=DEFAULT_PROFILE, help=f"[{DEFAULT_PROFILE}]")
    lab.add_argument("--static-quorum", action="store_true", help="votes never change")
    lab.add_argument("--connection-loss-detection", action="store_true", help="a last will and a refused probe count")
    work = made.add_argument_group("work")
    work.add_argument("--workers", type=int, default=os.cpu_count() or 1, metavar="N", help="processes [all cores]")
    work.add_argument("--dask", metavar="ADDRESS", help="hand the seeds to this Dask cluster instead")
    work.add_argument("--journal", type=Path, metavar="FILE", help="go on where the campaign of this file stopped")
    work.add_argument("--findings", type=Path, metavar="DIR", help="where shrunk findings are written [.]")
    work.add_argument("--no-shrink", action="store_true", help="only say which seeds broke something")
    made.add_argument("--facts", action="store_true", help="with one seed: every recorded fact")
    made.add_argument("--json", action="store_true", help="one line of JSON for each seed, and one for the campaign")
    return made


def plan_of(asked: argparse.Namespace) -> Plan:
    """The lab that was asked for."""
    static = asked.static_quorum and asked.profile != "ws2008r2"
    return replace(
        Plan(),
        nodes=asked.nodes,
        vms=asked.vms,
        volumes=asked.volumes,
        on_volumes=asked.vms if asked.volumes else 0,
        witness=not asked.no_witness and asked.paths > 0,
        paths=asked.paths,
        minutes=asked.minutes,
        fault_every_s=asked.fault_every,
        profile=asked.profile,
        connection_loss_detection=asked.connection_loss_detection,
        properties=(("dynamic_quorum", False), ("dynamic_witness", False)) if static else (),
    )


def _check(made: argparse.ArgumentParser, asked: argparse.Namespace) -> None:
    wrong: list[str] = []
    for name, least, most in (
        ("nodes", 1, 64), ("vms", 0, 200), ("volumes", 0, 16), ("paths", 0, 4), ("seeds", 1, 10**9),
        ("first", 0, 2**62), ("minutes", 0.1, 1440), ("fault_every", 0.1, 86400), ("workers", 1, 256),
    ):  # fmt: skip
        if not least <= getattr(asked, name) <= most:
            wrong.append(f"--{name.replace('_', '-')} is {getattr(asked, name)}; from {least} to {most}")
    if asked.paths == 0 and asked.vms > 0 and not asked.random_lab:
        wrong.append("without a path no VM can run; add --vms 0")
    if asked.facts and asked.seeds != 1:
        wrong.append("--facts is for one seed; add --seeds 1")
    if asked.findings and asked.findings.exists() and not asked.findings.is_dir():
        wrong.append(f"--findings {asked.findings} is no directory; name another one, it is made where there is none")
    if asked.journal and (why := unusable(asked.journal)):
        wrong.append(f"--journal {asked.journal} {why}")
    if wrong:
        made.error("; ".join(wrong))


def main(arguments: list[str] | None = None) -> int:
    """Explore; returns the exit status."""
    made = parser()
    asked = made.parse_args(arguments)
    _check(made, asked)
    wish = Wish(plan_of(asked), asked.random_lab, asked.first, asked.seeds)
    if asked.facts:
        return _one(wish, asked.json)
    journal = Journal(asked.journal) if asked.journal else None
    screen = _Screen(wish, asked.json)
    try:
        report = explore(wish, _workers(made, asked), journal, screen.told)
    except ValueError as error:
        made.error(str(error))
    except KeyboardInterrupt:
        return _interrupted(f"after {screen.count} seeds", asked.journal)
    screen.finish(report)
    try:
        if report.broken and not asked.no_shrink:
            for done in [done for done in report.broken if done.events][:MOST_SHRUNK]:
                _shrink(wish, done, asked.findings or Path(), asked.json)
    except KeyboardInterrupt:
        return _interrupted("while a finding was made small", asked.journal)
    return int(bool(report.broken))


def _interrupted(when: str, journal: Path | None) -> int:
    again = f"the same command, with --journal {journal}, goes on"
    without = "nothing was kept; with --journal FILE the same command goes on where it stopped"
    print(f"\ninterrupted {when}; {again if journal else without}", file=sys.stderr)
    return 130


def _workers(made: argparse.ArgumentParser, asked: argparse.Namespace) -> Workers:
    if not asked.dask:
        return Pool(min(asked.workers, asked.seeds))
    try:
        from .explore_dask import DaskCluster
    except ImportError:
        made.error("--dask needs the package `distributed`; install it with: pip install 'hvcluster[dask]'")
    return DaskCluster(asked.dask)


class _Screen:
    """What a person sees while a campaign runs."""

    def __init__(self, wish: Wish, as_json: bool) -> None:
        self._wish = wish
        self._json = as_json
        self._began = time.monotonic()
        self._bar = sys.stderr.isatty() and not as_json
        self.count = 0

    def told(self, report: Report, sentence: str) -> None:
        """After every seed, and when a worker died."""
        self.count = len(report.done)
        if sentence:
            print(f"{self._clear()}{sentence}", file=sys.stderr)
            return
        done = report.done[next(reversed(report.done))]
        if self._json:
            print(json.dumps(_seed_json(done)), flush=True)
        elif done.broken:
            print(f"{self._clear()}{done.broken}", flush=True)
        if self._bar:
            rate = report.virtual_s / max(time.monotonic() - self._began, 1e-9)
            share = self.count / self._wish.count
            bar = "#" * int(share * 30)
            so_far = f"{self.count}/{self._wish.count} seeds, {len(report.broken)} broken, {rate:.0f} virtual s/s"
            print(f"\r[{bar:30}] {so_far}", end="", file=sys.stderr, flush=True)

    def _clear(self) -> str:
        return "\r\x1b[K" if self._bar else ""

    def finish(self, report: Report) -> None:
        """The verdict over all."""
        wall = time.monotonic() - self._began
        values: dict[str, Any] = {
            "seeds": len(report.done),
            "first": self._wish.first,
            "broken": [done.seed for done in report.broken],
            "virtual_s": round(report.virtual_s),
            "cpu_s": round(report.cpu_s, 1),
            "wall_s": round(wall, 1),
            "deaths": report.deaths,
            "coverage": report.coverage.as_json(),
        }
        if self._json:
            print(json.dumps(values))
            return
        print(self._clear(), end="")
        rate = report.virtual_s / report.cpu_s if report.cpu_s else 0.0
        print(f"{len(report.done)} seeds from {self._wish.first}: {len(report.broken)} broke an invariant")
        print(f"{report.virtual_s:.0f} virtual seconds, {rate:.0f} for each second of one core, {wall:.1f} s in all")
        for line in table(report.coverage):
            print(line)


def _seed_json(done: Done) -> dict[str, Any]:
    return {
        "seed": done.seed,
        "ok": not done.broken,
        "broken": done.broken,
        "virtual_s": done.virtual_s,
        "cpu_s": round(done.cpu_s, 3),
        "events": done.events,
        "healed_s": done.healed_s,
        "faults": done.coverage.get("faults", {}),
        "facts": done.coverage.get("facts", {}),
    }


def _one(wish: Wish, as_json: bool) -> int:
    """One seed with everything that was recorded."""
    plan = wish.plan_of(wish.first)
    verdict = run_seed(plan, wish.first, keep_facts=True)
    ending = verdict.broken or f"every invariant held; healthy {verdict.healed_s:g} s after everything was mended"
    if as_json:
        for fact in verdict.facts:
            about = {"node": fact.node, "kind": fact.kind.name, "reason": fact.reason, "about": dict(fact.about)}
            print(json.dumps({"at_s": fact.at / US_PER_S, **about}))
        print(json.dumps({"seed": verdict.seed, "ok": verdict.ok, "broken": verdict.broken, "counts": verdict.counts}))
    else:
        print(f"seed {wish.first}: {plan.sentence()}")
        for line in story(verdict.performed, verdict.facts, ending):
            print(line)
    return int(not verdict.ok)


def _shrink(wish: Wish, done: Done, directory: Path, as_json: bool) -> None:
    """Make a finding small, write it, and tell it."""
    plan = wish.plan_of(done.seed)
    verdict: Verdict = run_seed(plan, done.seed)
    say = (
        (lambda _: None) if as_json else (lambda text: print(f"  shrinking seed {done.seed}: {text}", file=sys.stderr))
    )
    shrinker = Shrinker(History(plan, done.seed, verdict.performed), progress=say)
    small = shrinker.shrink()
    name = f"finding-{done.seed}"
    why = f"Found by chance with seed {done.seed}, then made small: {shrinker.verdict.broken}"
    scenario = as_scenario(small, name, why)
    directory.mkdir(parents=True, exist_ok=True)
    file = directory / f"{name}.toml"
    file.write_text(text_of(scenario))
    outcome = run(scenario)
    trace_of(file).write_text("\n".join(trace(outcome.facts, outcome.problem)) + "\n")
    if as_json:
        print(json.dumps({"finding": str(file), "seed": done.seed, "size": small.size(), "problem": outcome.problem}))
        return
    print(f"\nseed {done.seed}, made small ({small.size()}, {shrinker.runs} runs), in {file}:")
    for line in story(outcome.performed, outcome.facts, outcome.problem):
        print(line)
