"""`hvc sim exhaust`: every order of events of a tiny lab, from the moment its owner is missed.

Law: reads arguments, prints progress, a table, and the story of what broke; the search is `exhaustive`'s.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import fields, replace
from typing import Any

from hvcluster.model.complaints import near

from .exhaustive import Limits, Report, Search
from .exhaustive_starts import BOUNDS, Bound, start
from .exhaustive_steps import Faults

EPILOG = """\
examples:
  hvc sim exhaust                              every bound, each to its end or to 20000 states
  hvc sim exhaust nodes-crash witness-frozen   only these
  hvc sim exhaust nodes-loss --losses 2 --states 0
                                               more faults, and no limit: it may take hours
  hvc sim exhaust --list                       what the bounds are

A state is everything that may still matter: memory and disks of all nodes, what is on its way, the array, the time.
Every message, command and answer that is on its way may be the next to arrive; time passes when nothing is.
Exit status 0: every invariant held in every state; 1: one was broken; 2: usage; 130: interrupted.
"""


def parser() -> argparse.ArgumentParser:
    """The arguments."""
    made = argparse.ArgumentParser(
        prog="hvc sim exhaust",
        description="Try every order of events in tiny labs, breadth first; every invariant is judged after every one.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("bounds", nargs="*", metavar="BOUND", help="which searches; without any: all")
    made.add_argument("--list", action="store_true", help="list the bounds")
    made.add_argument("--states", type=int, default=20_000, metavar="N", help="stop after so many, 0: never [20000]")
    made.add_argument("--depth", type=int, default=0, metavar="N", help="stop after so many events in a row [no limit]")
    made.add_argument("--seconds", type=float, metavar="S", help="virtual seconds after the owner is missed [by bound]")
    for fault in fields(Faults):
        made.add_argument(f"--{fault.name}", type=int, metavar="N", help=f"how many {fault.name} at most [by bound]")
    made.add_argument("--json", action="store_true", help="one line of JSON for each bound, and one for all")
    return made


def _chosen(made: argparse.ArgumentParser, asked: argparse.Namespace) -> list[Bound]:
    """The bounds that were asked for, with what was asked to be different; all that is wrong is said at once."""
    known = {bound.name: bound for bound in BOUNDS}
    wrong = [
        f"no bound is called {name}; {near(name, known) or '--list shows them all'}"
        for name in asked.bounds
        if name not in known
    ]
    budgets = {fault.name: getattr(asked, fault.name) for fault in fields(Faults)}
    budgets = {name: count for name, count in budgets.items() if count is not None}
    wrong += [f"--{name} is {count}; from 0 to 9" for name, count in budgets.items() if not 0 <= count <= 9]
    for name, value in (("states", asked.states), ("depth", asked.depth)):
        if value < 0:
            wrong.append(f"--{name} is {value}; 0 for no limit, or more")
    if asked.seconds is not None and not 0 < asked.seconds <= 60:
        wrong.append(f"--seconds is {asked.seconds:g}; more than 0, at most 60")
    if wrong:
        made.error("; ".join(wrong))
    chosen = [known[name] for name in asked.bounds] or list(BOUNDS)
    return [
        replace(bound, faults=replace(bound.faults, **budgets), seconds=asked.seconds or bound.seconds)
        for bound in chosen
    ]


def main(arguments: list[str] | None = None) -> int:
    """Run what was asked for; returns the exit status."""
    made = parser()
    asked = made.parse_args(arguments)
    chosen = _chosen(made, asked)
    if asked.list:
        for bound in chosen:
            print(f"{bound.name:17} {bound.why}; {bound.seconds:g} virtual seconds")
        return 0
    if not asked.json:
        print(f"{'bound':17}{'states':>9}{'transitions':>13}{'depth':>7}{'ends':>7}{'s':>8}  result")
    reports = [_search(bound, asked) for bound in chosen]
    broken = [report.name for report in reports if not report.ok]
    complete = sum(not report.cut_off and report.ok for report in reports)
    total = {"bounds": len(reports), "complete": complete, "broken": broken, "states": sum(r.states for r in reports)}
    print(json.dumps(total))
    return int(bool(broken))


def _search(bound: Bound, asked: argparse.Namespace) -> Report:
    began = time.perf_counter()
    world, until = start(bound)
    search = Search(bound.name, world, bound.faults, Limits(until, asked.states, asked.depth))
    report = search.run(_progress if sys.stderr.isatty() else lambda _: None)
    took = time.perf_counter() - began
    if asked.json:
        print(json.dumps(as_json(report, took)), flush=True)
        return report
    r = report
    print(f"{r.name:17}{r.states:9}{r.transitions:13}{r.depth:7}{r.ends:7}{took:8.1f}  {result_of(r)}", flush=True)
    for line in r.story:
        print(f"  {line}")
    return report


def _progress(report: Report) -> None:
    words = f"{report.name}: depth {report.depth}, {report.states} states, {report.transitions} transitions"
    print(f"\r{words}\033[K", end="\r", file=sys.stderr, flush=True)


def result_of(report: Report) -> str:
    """The verdict in words."""
    if report.broken:
        return f"BROKEN: {report.broken}"
    holds = f"holds so far, cut off at {report.cut_off}" if report.cut_off else "holds, complete"
    return f"{holds}; ends with a new owner {report.served}, with a late write refused {report.refused}"


def as_json(report: Report, took_s: float) -> dict[str, Any]:
    """A report as a line of JSON."""
    return {
        "bound": report.name,
        "states": report.states,
        "transitions": report.transitions,
        "depth": report.depth,
        "ends": report.ends,
        "served": report.served,
        "refused": report.refused,
        "complete": not report.cut_off and report.ok,
        "cut_off": report.cut_off,
        "broken": report.broken,
        "story": report.story,
        "wall_s": round(took_s, 2),
    }


if __name__ == "__main__":
    sys.exit(main())
