"""What an idle lab costs: CPU and memory of each node's process, at 3 and at 16 nodes, with Windows timing.

Law: measures, judges nothing. CPU is user plus system time from /proc over the measured seconds, in percent of a core;
memory is the resident set at the end. The last line is JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from hvcluster.model.properties import defaults, with_values
from hvcluster.model.vocabulary import LunId, NodeId
from hvcluster.orchestrator import launcher
from hvcluster.orchestrator.lab import Lab, LabLun, LabNode, LabVm
from hvcluster.orchestrator.launcher import Wish
from hvcluster.orchestrator.observer import Observer
from hvcluster.orchestrator.state import LabDir

VMS = 3
HEALTHY_S = 120.0
SETTLE_S = 5.0

TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Cost:
    """One process over the measured time: percent of one core, and MiB resident."""

    name: str
    cpu_percent: float
    rss_mib: float


def make_lab(nodes: int, time_scale: float) -> Lab:
    """Nodes with a witness and a few VMs, nothing happening."""
    return Lab(
        name=f"IDLE{nodes}",
        nodes=tuple(LabNode(NodeId(n), f"HyperV-{n}") for n in range(1, nodes + 1)),
        luns=tuple(LabLun(LunId(n), 16 << 20) for n in range(1, VMS + 2)),
        vms=tuple(LabVm(f"D{n}", LunId(n + 1), boot_delay_ms=0) for n in range(1, VMS + 1)),
        witness_lun=LunId(1),
        properties=with_values(defaults("ws2012r2"), {"time_scale": time_scale}),
    )


def cpu_ticks(pid: int) -> int:
    """User and system time of a process, in clock ticks (proc(5): fields 14 and 15 of stat)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return int(fields[11]) + int(fields[12])


def rss_mib(pid: int) -> float:
    """Resident set of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE / 2**20


async def measure(nodes: int, seconds: float, time_scale: float) -> list[Cost]:
    """Start a lab, let it settle, watch it do nothing."""
    lab = make_lab(nodes, time_scale)
    with tempfile.TemporaryDirectory(prefix="hvcluster-bench-") as home:
        async with launcher.tied(lab, LabDir(Path(home) / lab.name), Wish(tied=True)) as driver:
            async with Observer(driver) as observer:
                await observer.until_healthy(HEALTHY_S)
            await asyncio.sleep(SETTLE_S)
            members = await driver.members()
            began = time.monotonic()
            before = {m.name: cpu_ticks(m.pid) for m in members}
            await asyncio.sleep(seconds)
            passed = time.monotonic() - began
            return [
                Cost(m.name, (cpu_ticks(m.pid) - before[m.name]) / TICKS / passed * 100, rss_mib(m.pid))
                for m in members
            ]


def show(nodes: int, costs: list[Cost], node_names: set[str]) -> dict[str, float]:
    """Print one lab; returns the figures of its node processes."""
    ours = [cost for cost in costs if cost.name in node_names]
    print(f"{nodes} nodes, {VMS} VMs, idle")
    print(f"  {'process':16}{'CPU % of a core':>18}{'resident MiB':>15}")
    for cost in (c for c in costs if c.name not in node_names):
        print(f"  {cost.name:16}{cost.cpu_percent:18.2f}{cost.rss_mib:15.1f}")
    cpu = statistics.mean(cost.cpu_percent for cost in ours)
    rss = statistics.mean(cost.rss_mib for cost in ours)
    print(f"  {'each node (mean)':16}{cpu:18.2f}{rss:15.1f}")
    print(f"  {'most of a node':16}{max(c.cpu_percent for c in ours):18.2f}{max(c.rss_mib for c in ours):15.1f}")
    return {"node_cpu_percent": round(cpu, 2), "node_rss_mib": round(rss, 1)}


def main() -> int:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=30.0, help="how long to watch each lab [30]")
    parser.add_argument("--nodes", type=int, nargs="+", default=[3, 16], help="sizes of the labs [3 16]")
    parser.add_argument("--time-scale", type=float, default=1.0, help="1.0: Windows timing [1.0]")
    asked = parser.parse_args()
    figures: dict[str, dict[str, float]] = {}
    for nodes in asked.nodes:
        costs = asyncio.run(measure(nodes, asked.seconds, asked.time_scale))
        names = {node.name for node in make_lab(nodes, asked.time_scale).nodes}
        figures[f"nodes_{nodes}"] = show(nodes, costs, names)
    print(json.dumps(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
