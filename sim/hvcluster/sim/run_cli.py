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

EPILOG = """\
examples:
  hvc sim run scenarios/node-killed.toml              a story, in virtual time
  hvc sim run --facts scenarios/node-killed.toml      with every decision and its reason
  hvc sim run --seeds 20 scenarios/*.toml             all of them, under 20 seeds each

A file with a `seed` of its own is played with that one, once. docs/scenarios.md says how to write a file.
Exit status 0: all is as the stories say; 1: it is not; 2: usage; 3: no such file; 6: mistakes in a file.
"""
MAX_SEED = 2**63 - 1


def parser() -> argparse.ArgumentParser:
    """The arguments."""
    made = argparse.ArgumentParser(
        prog="hvc sim run",
        description="Play scenario files in the simulator. `hvc run` plays the same files on real processes.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("files", nargs="+", type=Path, metavar="FILE", help="scenario files")
    made.add_argument("--seed", type=int, default=1, metavar="N", help="the chance in wires and clocks [1]")
    made.add_argument("--seeds", type=int, default=1, metavar="COUNT", help="play each that often, seed by seed [1]")
    made.add_argument("--facts", action="store_true", help="print every recorded fact with its virtual time")
    made.add_argument("--json", action="store_true", help="one line of JSON for each file and seed")
    return made


def main(arguments: list[str] | None = None) -> int:
    """Play what was asked for; returns the exit status."""
    made = parser()
    asked = made.parse_args(arguments)
    wrong = [] if 0 <= asked.seed <= MAX_SEED else [f"--seed is {asked.seed}; from 0 to {MAX_SEED}"]
    if not 1 <= asked.seeds <= 10**9:
        wrong.append(f"--seeds is {asked.seeds}; from 1 to {10**9}")
    if wrong:
        made.error("; ".join(wrong))
    scenarios = [parse(str(path), path.read_bytes()) for path in asked.files]
    failed = False
    for scenario in scenarios:
        seeds = (scenario.seed,) if scenario.seed is not None else range(asked.seed, asked.seed + asked.seeds)
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
