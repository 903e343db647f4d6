"""`hvc sim`: seeds, single histories and scenario files, from the command line.

Law: reads arguments, prints verdicts. Exit status 0: every invariant held; 1: one was broken; 2: usage. A scenario file
that cannot be read raises what `open` and `model.scenario.parse` raise.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

from hvcluster.model.facts import Fact
from hvcluster.model.properties import DEFAULT_PROFILE, PROFILES
from hvcluster.model.scenario import Scenario, parse
from hvcluster.model.vocabulary import US_PER_S

from .campaign import Plan, Verdict, run_seed
from .scenarios import run

EPILOG = """\
examples:
  hvc sim --seed 7                      one lab, ten virtual minutes of disasters, its verdict
  hvc sim --seed 7 --facts              the same, with every decision and its reason
  hvc sim --seeds 100 --nodes 4 --no-witness
  hvc sim scenarios/node-killed.toml    a scenario file, in virtual time

The same seed and the same options give the same history on any machine.
"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="hvc sim",
        description="Run the cluster's own decision code under a simulated network, array and clock; judge every step.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    plan = Plan()
    parser.add_argument("scenario", nargs="*", type=Path, help="scenario files; without any: random disasters")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="the (first) seed [1]")
    parser.add_argument("--seeds", type=int, default=1, metavar="COUNT", help="how many seeds from there on [1]")
    parser.add_argument("--nodes", type=int, default=plan.nodes, help=f"nodes, 1 to 64 [{plan.nodes}]")
    parser.add_argument("--vms", type=int, default=plan.vms, help=f"VMs, one LUN each, 0 to 200 [{plan.vms}]")
    parser.add_argument("--no-witness", action="store_true", help="Node Majority instead of Node and Disk Majority")
    parser.add_argument(
        "--paths", type=int, default=plan.paths, help=f"paths from each node to the array [{plan.paths}]"
    )
    parser.add_argument("--minutes", type=float, default=plan.minutes, help=f"virtual minutes [{plan.minutes:g}]")
    parser.add_argument("--profile", choices=PROFILES, default=DEFAULT_PROFILE, help=f"[{DEFAULT_PROFILE}]")
    parser.add_argument(
        "--connection-loss-detection", action="store_true", help="a last will and a refused probe count"
    )
    parser.add_argument("--facts", action="store_true", help="print every recorded fact with its virtual time")
    parser.add_argument("--json", action="store_true", help="one line of JSON for each seed")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run what was asked for; returns the exit status."""
    parser = _parser()
    asked = parser.parse_args(arguments)
    if not (1 <= asked.nodes <= 64 and 0 <= asked.vms <= 200 and 1 <= asked.paths <= 4 and asked.seeds >= 1):
        parser.error("nodes are 1 to 64, vms 0 to 200, paths 1 to 4, seeds at least 1")
    if asked.scenario:
        scenarios = [parse(str(path), path.read_bytes()) for path in asked.scenario]
        return max(_scenario(scenario, asked.seed, asked.facts) for scenario in scenarios)
    plan = replace(
        Plan(),
        nodes=asked.nodes,
        vms=asked.vms,
        witness=not asked.no_witness,
        paths=asked.paths,
        minutes=asked.minutes,
        profile=asked.profile,
        connection_loss_detection=asked.connection_loss_detection,
    )
    return _seeds(plan, asked.seed, asked.seeds, asked.facts, asked.json)


def _seeds(plan: Plan, first: int, count: int, facts: bool, as_json: bool) -> int:
    broken = 0
    for seed in range(first, first + count):
        verdict = run_seed(plan, seed, keep_facts=facts)
        broken += not verdict.ok
        _print_facts(verdict.facts)
        if as_json:
            print(json.dumps(_as_json(verdict)), flush=True)
        elif count == 1 or not verdict.ok:
            _print(verdict)
        elif sys.stderr.isatty():
            print(f"\rseed {seed}: {seed - first + 1} of {count}, {broken} broken", end="", file=sys.stderr, flush=True)
    if not as_json and count > 1:
        print(f"\r{count} seeds, {broken} with a broken invariant")
    return int(broken > 0)


def _as_json(verdict: Verdict) -> dict[str, object]:
    return {
        "seed": verdict.seed,
        "ok": verdict.ok,
        "broken": verdict.broken,
        "virtual_s": verdict.virtual_s,
        "wall_s": round(verdict.wall_s, 3),
        "events": verdict.events,
        "healed_s": verdict.healed_s,
        "faults": verdict.faults,
        "counts": verdict.counts,
    }


def _print(verdict: Verdict) -> None:
    rate = verdict.virtual_s / verdict.wall_s if verdict.wall_s else 0.0
    faults = ", ".join(f"{word} {count}" for word, count in sorted(verdict.faults.items()))
    print(f"seed {verdict.seed}: {'every invariant held' if verdict.ok else 'BROKEN'}")
    if not verdict.ok:
        print(f"  {verdict.broken}")
    print(f"  faults: {faults or 'none'}")
    counts = verdict.counts
    print(
        f"  {counts.get('assignments', 0)} changes of owner, {counts.get('LEADER_ELECTED', 0)} elections, "
        f"{counts.get('acknowledged', 0)} writes acknowledged, {counts.get('refused writes', 0)} late writes refused"
    )
    print(f"  healthy again {verdict.healed_s:g} virtual seconds after the last fault was mended")
    print(f"  {verdict.virtual_s:g} virtual seconds in {verdict.wall_s:.2f} s ({rate:.0f} per second)")


def _print_facts(facts: list[Fact] | tuple[Fact, ...]) -> None:
    for fact in facts:
        print(f"{fact.at / US_PER_S:10.3f}  node {fact.node}  {fact.line()}")


def _scenario(scenario: Scenario, seed: int, facts: bool) -> int:
    outcome = run(scenario, seed)
    if facts:
        _print_facts(outcome.facts)
    verdict = f"FAILED: {outcome.problem}" if outcome.problem else "as expected"
    print(f"{scenario.name}: {verdict} ({outcome.virtual_s:.1f} virtual seconds)")
    print(f"  {scenario.why}")
    return int(bool(outcome.problem))
