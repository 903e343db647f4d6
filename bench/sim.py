"""How much faster than real time the simulator is: the same seeds every time, on one core.

Law: measures, judges nothing but the invariants. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from typing import TYPE_CHECKING

from hvcluster.sim import overlay

if TYPE_CHECKING:
    from hvcluster.sim.campaign import Verdict


def main() -> int:
    """Run the seeds and print the rate; exit status 1 when an invariant broke."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20, help="how many seeds [20]")
    parser.add_argument("--first", type=int, default=0, help="the first seed [0]")
    parser.add_argument("--interpreted", action="store_true", help="run the sources even where they are compiled")
    asked = parser.parse_args()
    runs = "interpreted: as asked for" if asked.interpreted else overlay.use()

    from hvcluster.sim.campaign import Plan, run_seed  # only now: what is loaded first is what runs

    plan = Plan()
    print(f"simulator: {runs}")
    print(
        f"{asked.seeds} seeds of {plan.nodes} nodes and {plan.vms} VMs, {plan.minutes:g} virtual minutes of faults each"
    )
    began, cpu = time.perf_counter(), time.process_time()
    verdicts: list[Verdict] = []
    for seed in range(asked.first, asked.first + asked.seeds):
        verdicts.append(run_seed(plan, seed))
        if not verdicts[-1].ok:
            print(verdicts[-1].broken)
    wall, cpu = time.perf_counter() - began, time.process_time() - cpu
    virtual = sum(verdict.virtual_s for verdict in verdicts)
    rates = sorted(verdict.virtual_s / verdict.wall_s for verdict in verdicts)
    faults = sum(sum(verdict.faults.values()) for verdict in verdicts)
    events = sum(verdict.events for verdict in verdicts)
    print(f"{virtual:.0f} virtual seconds, {faults} faults, {events} events in {wall:.1f} s ({cpu:.1f} s of CPU)")
    median = statistics.median(rates)
    print(f"virtual seconds per second, by seed: least {rates[0]:.0f}, median {median:.0f}, most {rates[-1]:.0f}")
    broken = sum(not verdict.ok for verdict in verdicts)
    figures = {
        "seeds": len(verdicts),
        "compiled": runs == "compiled",
        "broken": broken,
        "virtual_s_per_s": round(virtual / wall),
        "virtual_s_per_cpu_s": round(virtual / cpu),
    }
    print(json.dumps(figures))
    return int(broken > 0)


if __name__ == "__main__":
    sys.exit(main())
