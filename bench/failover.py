"""The time from a node's death to its last VM online elsewhere, cut into its parts; real processes, SIGKILL.

Law: measures, judges nothing. Before each kill every VM is moved to the node that will die, so that each kill takes
all of them; every second victim leads the cluster. Instants are the machine's monotonic clock: the kill by this
process, the rest from the nodes' own facts and from clients on the virtual switch. The last line is JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from hvcluster.model.properties import Timing, defaults, with_values
from hvcluster.model.vocabulary import LunId, NodeId
from hvcluster.orchestrator import launcher, saboteur
from hvcluster.orchestrator.lab import Lab, LabLun, LabNode, LabVm
from hvcluster.orchestrator.launcher import Wish
from hvcluster.orchestrator.local import Local
from hvcluster.orchestrator.observer import Observer, Told
from hvcluster.orchestrator.picture import Picture
from hvcluster.orchestrator.probe import Probe
from hvcluster.orchestrator.state import LabDir
from hvcluster.v1 import node_pb2

PROBED = 4
"""VMs with a client of their own: more would measure the clients' share of the two cores."""
PROBE_S = 0.02
DEADLINE_S = 60.0
QUIET_S = 1.0  # for votes, witness and clients to settle before the next kill

Row: TypeAlias = "tuple[str, Sequence[float]]"


@dataclass(frozen=True, slots=True)
class Kill:
    """One kill: milliseconds after it, or between two of its moments. `client_ms`: the longest gap of a probed VM."""

    leader: bool
    detection_ms: float
    decision_ms: float
    reservation_ms: float
    start_ms: float
    client_ms: float

    @property
    def overhead_ms(self) -> float:
        """Last VM online minus the moment of detection."""
        return self.decision_ms + self.reservation_ms + self.start_ms


def make_lab(nodes: int, vms: int, connection_loss: bool, time_scale: float, boot_delay_ms: int) -> Lab:
    """The lab to measure: one LUN a VM, disk witness, everything at its default but what is asked for."""
    values = {"time_scale": time_scale, "connection_loss_detection": connection_loss}
    return Lab(
        name="BENCH",
        nodes=tuple(LabNode(NodeId(n), f"HyperV-{n}") for n in range(1, nodes + 1)),
        luns=tuple(LabLun(LunId(n), 16 << 20) for n in range(1, vms + 2)),
        vms=tuple(LabVm(f"D{n}", LunId(n + 1), boot_delay_ms=boot_delay_ms) for n in range(1, vms + 1)),
        witness_lun=LunId(1),
        properties=with_values(defaults("ws2012r2"), values),
    )


async def gather_on(observer: Observer, target: NodeId) -> Picture:
    """Move every VM to one node; returns the lab as it then is."""
    picture = await observer.until_healthy(DEADLINE_S)
    best = picture.best
    assert best is not None, "a healthy lab answers"
    wanted = [group.name for group in best.groups if group.owner != target]

    async def move(name: str) -> None:
        wish = node_pb2.MoveGroupRequest(group=name, target=target, type="shutdown")
        await observer.request(node_pb2.OperatorRequest(move_group=wish))

    await asyncio.gather(*(move(name) for name in wanted))
    return await observer.until_healthy(DEADLINE_S)


def first(told: Sequence[Told], since_us: int, kind: str, **about: str) -> int | None:
    """When the first such fact was recorded after an instant."""
    times = [
        t.line.monotonic_us
        for t in told
        if t.line.kind == kind
        and t.line.monotonic_us >= since_us
        and all(t.line.about.get(name) == value for name, value in about.items())
    ]
    return min(times, default=None)


def last(told: Sequence[Told], since_us: int, kind: str) -> int:
    """When the last fact of a kind was recorded after an instant."""
    return max(t.line.monotonic_us for t in told if t.line.kind == kind and t.line.monotonic_us >= since_us)


async def one_kill(driver: Local, observer: Observer, probe: Probe, victim: NodeId) -> Kill:
    """Kill a node that owns every VM, wait until all are online again, and cut the time into its parts."""
    picture = await gather_on(observer, victim)
    best = picture.best
    assert best is not None, "a healthy lab answers"
    generations = {group.name: group.generation for group in best.groups}
    await asyncio.sleep(QUIET_S)
    killed_us = time.monotonic_ns() // 1000
    await saboteur.kill(driver, picture.node_name(victim))

    def all_online(now: Picture) -> bool:
        answer = now.best
        return answer is not None and all(
            g.state == "ONLINE" and g.generation > generations[g.name] and g.owner != victim for g in answer.groups
        )

    await observer.until(all_online, "every VM online elsewhere", DEADLINE_S)
    await asyncio.sleep(0.3)  # the clients' answers that belong to this kill
    told = await observer.all_facts()
    detected = first(told, killed_us, "NODE_UNREACHABLE", peer=str(victim))
    assert detected is not None, "the VMs moved, so the node was found unreachable"
    decided = last(told, killed_us, "GROUP_ASSIGNED")
    reserved = last(told, killed_us, "DISK_ONLINE")
    online = last(told, killed_us, "VM_ONLINE")
    gaps = [
        gap.end_s - killed_us / 1e6
        for seen in probe.seen.values()
        for gap in seen.gaps
        if gap.end_s > killed_us / 1e6 and gap.begin_s < online / 1e6
    ]
    await saboteur.start(driver, picture.node_name(victim))
    return Kill(
        leader=best.leader == victim,
        detection_ms=(detected - killed_us) / 1000,
        decision_ms=(decided - detected) / 1000,
        reservation_ms=(reserved - decided) / 1000,
        start_ms=(online - reserved) / 1000,
        client_ms=max(gaps, default=0.0) * 1000,
    )


async def measure(lab: Lab, kills: int, home: Path) -> list[Kill]:
    """A fresh lab, so many kills."""
    done: list[Kill] = []
    directory = LabDir(home / lab.name)
    async with launcher.tied(lab, directory, Wish(tied=True)) as driver, Observer(driver) as observer:
        await observer.until_healthy(DEADLINE_S)
        addresses = await driver.addresses()
        names = [vm.name for vm in lab.vms][:: max(1, len(lab.vms) // PROBED)][:PROBED]
        async with Probe({name: addresses.vms[name] for name in names}, PROBE_S, write=False) as probe:
            for number in range(kills):
                picture = await observer.until_healthy(DEADLINE_S)
                best = picture.best
                assert best is not None, "a healthy lab answers"
                others = [n.id for n in best.nodes if n.id != best.leader]
                victim = NodeId(best.leader if number % 2 == 0 else others[number // 2 % len(others)])
                kill = await one_kill(driver, observer, probe, victim)
                done.append(kill)
                what = "leader" if kill.leader else "follower"
                print(
                    f"  kill {number + 1:3} ({what:8}) detection {kill.detection_ms:7.1f}"
                    f"  decision {kill.decision_ms:6.1f}  reservation {kill.reservation_ms:6.1f}"
                    f"  VM start {kill.start_ms:6.1f} = detection + {kill.overhead_ms:6.1f} ms"
                    f"  client {kill.client_ms:7.1f}",
                    flush=True,
                )
    return done


def quantile(values: Sequence[float], q: float) -> float:
    """The value below which a share `q` of the measurements lies (the nearest rank; the most, for few)."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))]


def table(kills: Sequence[Kill]) -> None:
    """Least, median and p99 of every part."""
    rows: list[Row] = [
        ("detection", [k.detection_ms for k in kills]),
        ("decision", [k.decision_ms for k in kills]),
        ("reservation", [k.reservation_ms for k in kills]),
        ("VM start", [k.start_ms for k in kills]),
        ("overhead", [k.overhead_ms for k in kills]),
        ("overhead, leader killed", [k.overhead_ms for k in kills if k.leader]),
        ("overhead, follower killed", [k.overhead_ms for k in kills if not k.leader]),
        ("client gap", [k.client_ms for k in kills]),
    ]
    print(f"  {'ms':26}{'min':>9}{'median':>9}{'p99':>9}")
    for name, values in rows:
        if values:
            print(f"  {name:26}{min(values):9.1f}{statistics.median(values):9.1f}{quantile(values, 0.99):9.1f}")


def figures(kills: Sequence[Kill]) -> dict[str, float]:
    """What the JSON line says of one series."""
    return {
        "detection_ms": round(statistics.median(k.detection_ms for k in kills), 1),
        "overhead_p50_ms": round(statistics.median(k.overhead_ms for k in kills), 1),
        "overhead_p99_ms": round(quantile([k.overhead_ms for k in kills], 0.99), 1),
        "client_gap_p99_ms": round(quantile([k.client_ms for k in kills], 0.99), 1),
    }


async def run(asked: argparse.Namespace) -> dict[str, object]:
    """Both series."""
    result: dict[str, object] = {"nodes": asked.nodes, "vms": asked.vms, "kills": asked.kills}
    with tempfile.TemporaryDirectory(prefix="hvcluster-bench-") as home:
        for loss in (False, True):
            lab = make_lab(asked.nodes, asked.vms, loss, asked.time_scale, asked.boot_delay_ms)
            nominal = Timing.of(lab.properties).detection // 1000
            mode = "connection-loss detection" if loss else f"heartbeats only (delay x threshold = {nominal} ms)"
            print(f"{asked.nodes} nodes, {asked.vms} VMs on the node that dies, {mode}")
            kills = await measure(lab, asked.kills, Path(home))
            table(kills)
            if loss:
                result["connection_loss"] = figures(kills)
            else:
                result |= figures(kills)
    return result


def main() -> int:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--vms", type=int, default=20)
    parser.add_argument("--kills", type=int, default=20, help="kills in each of the two series [20]")
    parser.add_argument("--time-scale", type=float, default=0.1)
    parser.add_argument("--boot-delay-ms", type=int, default=0, help="the guest's own boot time, not ours [0]")
    print(json.dumps(asyncio.run(run(parser.parse_args()))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
