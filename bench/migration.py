"""How long clients of a VM wait while it is live-migrated, and that none of them sees an error; real processes.

Law: measures, judges nothing. Clients write through the virtual switch all the time, one after the other. The blackout
of a migration is the longest time that a client waited for an acknowledgement around it; the pause is what the nodes'
facts say, from the paused VM to the VM online elsewhere. The last line is JSON.
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
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from hvcluster.model.properties import defaults, with_values
from hvcluster.model.vocabulary import LunId, NodeId
from hvcluster.orchestrator import launcher
from hvcluster.orchestrator.lab import Lab, LabLun, LabNode, LabVm
from hvcluster.orchestrator.launcher import Wish
from hvcluster.orchestrator.observer import Observer, Told
from hvcluster.orchestrator.state import LabDir
from hvcluster.v1 import node_pb2

DEADLINE_S = 60.0
SETTLE_S = 0.5
"""Between two migrations, and for the answers that still belong to the last one."""


def make_lab(nodes: int, time_scale: float) -> Lab:
    """One VM with the memory that is the default, on nodes with everything at its default."""
    return Lab(
        name="BENCH",
        nodes=tuple(LabNode(NodeId(n), f"HyperV-{n}") for n in range(1, nodes + 1)),
        luns=tuple(LabLun(LunId(n), 64 << 20) for n in (1, 2)),
        vms=(LabVm("D1", LunId(2), boot_delay_ms=0),),
        witness_lun=LunId(1),
        properties=with_values(defaults("ws2012r2"), {"time_scale": time_scale}),
    )


def first(told: Sequence[Told], since_us: int, kind: str) -> int | None:
    """When the first fact of a kind was recorded after an instant."""
    times = [t.line.monotonic_us for t in told if t.line.kind == kind and t.line.monotonic_us >= since_us]
    return min(times, default=None)


def quantile(values: Sequence[float], q: float) -> float:
    """The value below which a share `q` of the measurements lies (the nearest rank; the most, for few)."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))]


@dataclass(slots=True)
class Load:
    """Clients that append all the time. Instants are the machine's monotonic clock, in microseconds."""

    base: str
    name: str
    served: list[tuple[int, int]] = field(default_factory=list)  # asked, answered
    failed: list[str] = field(default_factory=list)
    acknowledged: dict[int, str] = field(default_factory=dict)  # record -> payload

    async def run(self) -> None:
        """One client: the next request follows the answer to the last."""
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=DEADLINE_S)) as session:
            number = 0
            while True:
                number += 1
                payload = f"{self.name}-{number}"
                asked = time.monotonic_ns() // 1000
                try:
                    async with session.post(f"{self.base}/append", data=payload) as answer:
                        body = await answer.read()
                        if answer.status == 200:
                            self.acknowledged[json.loads(body)["sequence"]] = payload
                        else:
                            self.failed.append(f"{answer.status} {body[:200]!r}")
                except (aiohttp.ClientError, TimeoutError) as error:
                    self.failed.append(repr(error))
                self.served.append((asked, time.monotonic_ns() // 1000))
                await asyncio.sleep(0.002)

    def longest_ms(self, since_us: int) -> float:
        """The longest wait of requests that were answered after an instant."""
        waits = [(end - begin) / 1000 for begin, end in self.served if end >= since_us]
        return max(waits, default=0.0)


@dataclass(frozen=True, slots=True)
class Migration:
    """One migration, in milliseconds. `booted`: the VM did not go on from its memory."""

    total_ms: float
    pause_ms: float
    blackout_ms: float
    booted: bool


async def migrate(observer: Observer, load: Load, vm: str) -> Migration:
    """Move the VM to another node, live."""
    await asyncio.sleep(SETTLE_S)
    began = time.monotonic_ns() // 1000
    request = node_pb2.MoveGroupRequest(group=vm, type="live")
    reply = await observer.request(node_pb2.OperatorRequest(move_group=request))
    ended = time.monotonic_ns() // 1000
    assert reply.ok, reply.text
    await asyncio.sleep(SETTLE_S)
    told = await observer.all_facts()
    paused = first(told, began, "MIGRATION_PAUSED")
    online = first(told, began, "VM_ONLINE")
    pause_ms = 0.0 if paused is None or online is None else (online - paused) / 1000
    starts = [t.line.reason for t in told if t.line.kind == "VM_ONLINE" and t.line.monotonic_us >= began]
    booted = not any("memory" in reason for reason in starts)
    return Migration((ended - began) / 1000, pause_ms, load.longest_ms(began), booted)


async def measure(asked: argparse.Namespace, home: Path) -> tuple[list[Migration], list[Load], list[int]]:
    """A fresh lab, one VM, so many migrations to and fro."""
    lab = make_lab(asked.nodes, asked.time_scale)
    done: list[Migration] = []
    async with launcher.tied(lab, LabDir(home / lab.name), Wish(tied=True)) as driver, Observer(driver) as observer:
        await observer.until_healthy(DEADLINE_S)
        addresses = await driver.addresses()
        loads = [Load(f"http://{addresses.vms['D1']}", f"client {n}") for n in range(asked.clients)]
        tasks = [asyncio.create_task(load.run(), name="client") for load in loads]
        try:
            for number in range(asked.migrations):
                begun = [len(load.served) for load in loads]
                done.append(await _one(observer, loads, begun))
                last = done[-1]
                print(
                    f"  migration {number + 1:3}  {last.total_ms:7.1f} ms in all  paused {last.pause_ms:6.1f}"
                    f"  longest wait of a client {last.blackout_ms:6.1f}{'  BOOTED' if last.booted else ''}",
                    flush=True,
                )
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        lost = await missing(loads[0].base, loads)
    return done, loads, lost


async def missing(base: str, loads: Sequence[Load]) -> list[int]:
    """Acknowledged records that the VM's journal does not hold."""
    found: dict[int, str] = {}
    async with aiohttp.ClientSession() as session:
        while True:
            async with session.get(f"{base}/records?from={len(found) + 1}") as answer:
                records = await answer.json()
            if not records:
                break
            found.update({record["sequence"]: record["payload"] for record in records})
    told = {sequence: payload for load in loads for sequence, payload in load.acknowledged.items()}
    return sorted(sequence for sequence, payload in told.items() if found.get(sequence) != payload)


async def _one(observer: Observer, loads: Sequence[Load], begun: Sequence[int]) -> Migration:
    """One migration, seen by all clients."""
    seen = Load("", "")
    migration = await migrate(observer, seen, "D1")
    for load, start in zip(loads, begun, strict=True):
        seen.served.extend(load.served[start:])
    return Migration(migration.total_ms, migration.pause_ms, seen.longest_ms(0), migration.booted)


def main() -> int:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--migrations", type=int, default=30)
    parser.add_argument("--time-scale", type=float, default=0.1)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hvcluster-bench-") as home:
        done, loads, lost = asyncio.run(measure(asked, Path(home)))
    waits, pauses = [m.blackout_ms for m in done], [m.pause_ms for m in done]
    failed = [reason for load in loads for reason in load.failed]
    for reason in failed[:10]:
        print(f"  failed: {reason}")
    print(
        json.dumps(
            {
                "migrations": len(done),
                "booted": sum(m.booted for m in done),
                "requests": sum(len(load.served) for load in loads),
                "failed_requests": len(failed),
                "lost_acknowledged_writes": len(lost),
                "pause_p50_ms": round(statistics.median(pauses), 1),
                "pause_p99_ms": round(quantile(pauses, 0.99), 1),
                "blackout_p50_ms": round(statistics.median(waits), 1),
                "blackout_p99_ms": round(quantile(waits, 0.99), 1),
            }
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
