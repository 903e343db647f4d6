"""`hvc sim run`: scenario files in virtual time.

Law: reads arguments, prints verdicts.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from hvcluster.model.scenario import parse
from hvcluster.model.vocabulary import US_PER_S

from .scenarios import run
from .trace import digest, trace


def parser() -> argparse.ArgumentParser:
    """The arguments."""
    made = argparse.ArgumentParser(
        prog="hvc sim run",
        description="Play scenario files in the simulator. `hvc run` plays the same files on real processes.",
        epilog="A file with a `seed` of its own is played with that one.",
    )
    made.add_argument("files", nargs="+", type=Path, metavar="FILE", help="scenario files")
    made.add_argument("--seed", type=int, default=1, metavar="N", help="the chance in wires and clocks [1]")
    made.add_argument("--seeds", type=int, default=1, metavar="COUNT", help="play each that often, seed by seed [1]")
    made.add_argument("--facts", action="store_true", help="print every recorded fact with its virtual time")
    made.add_argument("--json", action="store_true", help="one line of JSON for each file and seed")
    return made


def main(arguments: list[str] | None = None) -> int:
    """Play what was asked for; returns the exit status."""
    asked = parser().parse_args(arguments)
    scenarios = [parse(str(path), path.read_bytes()) for path in asked.files]
    failed = False
    for scenario in scenarios:
        seeds = (scenario.seed,) if scenario.seed is not None else range(asked.seed, asked.seed + max(asked.seeds, 1))
        for seed in seeds:
            outcome = run(scenario, seed)
            failed = failed or bool(outcome.problem)
            if asked.facts:
                for fact in outcome.facts:
                    print(f"{fact.at / US_PER_S:10.3f}  node {fact.node}  {fact.line()}")
            if asked.json:
                values = {
                    "scenario": scenario.name,
                    "seed": seed,
                    "ok": not outcome.problem,
                    "problem": outcome.problem,
                    "virtual_s": outcome.virtual_s,
                    "trace": digest(trace(outcome.facts, outcome.problem)),
                }
                print(json.dumps(values), flush=True)
                continue
            verdict = f"FAILED: {outcome.problem}" if outcome.problem else "as expected"
            print(f"{scenario.name}: {verdict} ({outcome.virtual_s:.1f} virtual seconds, seed {seed})")
        if not asked.json:
            print(f"  {scenario.why}")
    return int(failed)
