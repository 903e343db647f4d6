"""What a heartbeat network's broker costs: CPU per delivered message, latency, memory, time to listen.

Law: measures real processes through the clients the nodes use (aiomqtt); prints a table and, last, one line of JSON.
Each client publishes a 200-byte heartbeat ten times a second on its own topic and subscribes to all of them. Latency
runs from before `publish` to after the client's iterator yields, so it contains the clients' own work, the same for
every broker. `python bench/broker.py [--clients 3,16] [--seconds 8] [--brokers embedded,mosquitto,amqtt,mqtt5]`.
"""

import argparse
import asyncio
import contextlib
import importlib.util
import json
import os
import statistics
import struct
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from pathlib import Path

import aiomqtt

from hvcluster.runtime import brokers, loop, parent, ports, ready, tied

PAYLOAD_BYTES = 200
BEATS_PER_S = 10
SETTLE_S = 1.0
"""Beats before counting starts: connections, caches and buffers are warm then."""
DEADLINE_S = 20.0
CANDIDATES = Path(__file__).with_name("broker_candidates.py")


@dataclass(frozen=True, slots=True)
class Figures:
    """One run. Latencies are of single deliveries; CPU is user and system time of the broker process alone."""

    broker: str
    clients: int
    deliveries_per_s: float
    lost: int
    cpu_us_per_delivery: float
    cpu_percent: float
    latency_p50_ms: float
    latency_p99_ms: float
    resident_mib: float
    start_ms: float


def argv(broker: str, port: int, folder: Path, announcement: ready.Announcement) -> tuple[list[str], bool]:
    """The command line, and whether the program announces that it is ready."""
    if broker in ("amqtt", "mqtt5"):
        program = [sys.executable, str(CANDIDATES), broker, "--port", str(port)]
        return tied.argv(program), False
    kind: brokers.Kind = "mosquitto" if broker == "mosquitto" else "embedded"
    command = brokers.command(kind, "A", port, folder / f"{broker}.conf")
    if command.config_file is not None and command.config is not None:
        command.config_file.write_text(command.config)
    if command.announces:
        return [*command.argv, *announcement.arguments(), *parent.arguments()], True
    return tied.argv(command.argv), False


@contextlib.asynccontextmanager
async def running(broker: str, folder: Path) -> AsyncIterator[tuple[int, int, float]]:
    """(pid, port, milliseconds from start to listening) of a broker that ends with the block."""
    port = ports.free(1)[0]
    log = folder / f"{broker}.log"
    with log.open("wb") as output, ready.Announcement() as announcement:
        words, announces = argv(broker, port, folder, announcement)
        began = time.monotonic()
        process = await asyncio.create_subprocess_exec(
            *words, stdout=output, stderr=output, pass_fds=(announcement.fd,)
        )
        try:
            if announces:
                await announcement.wait(process, broker, DEADLINE_S, log)
            else:
                await ready.wait_listening(process, broker, ports.LOOPBACK, port, DEADLINE_S, log)
            yield process.pid, port, (time.monotonic() - began) * 1000
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


class Load:
    """The clients of one run, all in this process, and what they have seen since counting started."""

    def __init__(self, broker: str, port: int, clients: int) -> None:
        self._port = port
        self._clients = clients
        self._protocol = aiomqtt.ProtocolVersion.V5 if broker == "mqtt5" else aiomqtt.ProtocolVersion.V311
        self._connected = asyncio.Barrier(clients)
        self.counting = False
        self.sent = 0
        self.latencies_s: list[float] = []

    async def client(self, number: int) -> None:
        """One node: connect, subscribe, wait for all others, then beat until cancelled."""
        async with aiomqtt.Client(
            ports.LOOPBACK, self._port, identifier=f"node-{number}", protocol=self._protocol, timeout=DEADLINE_S
        ) as client:
            await client.subscribe("bench/+/beat", qos=0)
            await self._connected.wait()
            async with asyncio.TaskGroup() as group:
                group.create_task(self._beat(client, number), name=f"beat {number}")
                group.create_task(self._listen(client), name=f"listen {number}")

    async def _beat(self, client: aiomqtt.Client, number: int) -> None:
        # aiomqtt waits with `asyncio.wait_for`, which before Python 3.12 swallows a cancellation that meets its result
        # (cpython issue 86296): a loop around `publish` has to look for itself.
        task = asyncio.current_task()
        assert task is not None
        clock = asyncio.get_running_loop()
        due = clock.time() + number / self._clients / BEATS_PER_S
        while not task.cancelling():
            await asyncio.sleep(max(0.0, due - clock.time()))
            due += 1 / BEATS_PER_S
            beat = struct.pack("!d?", time.monotonic(), self.counting).ljust(PAYLOAD_BYTES, b"\0")
            self.sent += self.counting
            await client.publish(f"bench/{number}/beat", beat, qos=0)

    async def _listen(self, client: aiomqtt.Client) -> None:
        async for message in client.messages:
            assert isinstance(message.payload, bytes)
            sent_at, counted = struct.unpack_from("!d?", message.payload)
            if counted:
                self.latencies_s.append(time.monotonic() - sent_at)


async def measure(broker: str, clients: int, seconds: float, folder: Path) -> Figures:
    """One run of one broker."""
    async with running(broker, folder) as (pid, port, start_ms):
        load = Load(broker, port, clients)
        tasks = [asyncio.create_task(load.client(number), name=f"node {number}") for number in range(clients)]
        try:
            await asyncio.sleep(SETTLE_S)
            cpu_s, began, load.counting = cpu_seconds(pid), time.monotonic(), True
            await asyncio.sleep(seconds)
            load.counting = False
            cpu_s, took_s = cpu_seconds(pid) - cpu_s, time.monotonic() - began
            await asyncio.sleep(SETTLE_S)  # what is still under way arrives
            resident = resident_mib(pid)
            for task in tasks:
                if task.done():
                    task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
    latencies = load.latencies_s
    percentiles = statistics.quantiles(latencies, n=100)
    return Figures(
        broker=broker,
        clients=clients,
        deliveries_per_s=round(len(latencies) / took_s, 1),
        lost=load.sent * clients - len(latencies),
        cpu_us_per_delivery=round(cpu_s / len(latencies) * 1e6, 1),
        cpu_percent=round(cpu_s / took_s * 100, 1),
        latency_p50_ms=round(percentiles[49] * 1000, 2),
        latency_p99_ms=round(percentiles[98] * 1000, 2),
        resident_mib=round(resident, 1),
        start_ms=round(start_ms),
    )


def cpu_seconds(pid: int) -> float:
    """Time the threads of a process have run so far, in the scheduler's nanoseconds (Linux).

    Not /proc/PID/stat: where the kernel charges whole ticks, a process that runs for microseconds at a time is
    charged by luck.
    """
    threads = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(thread.read_text().split()[0]) for thread in threads) / 1e9


def resident_mib(pid: int) -> float:
    """Resident memory of a process (Linux)."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def available() -> list[str]:
    """The brokers this machine can start; the embedded one always."""
    found = ["embedded"]
    if brokers.find_mosquitto() is not None:
        found.append("mosquitto")
    return found + [name for name in ("amqtt", "mqtt5") if importlib.util.find_spec(name) is not None]


async def run(names: list[str], sizes: list[int], seconds: float) -> list[Figures]:
    """All runs, one after the other, printed as they end."""
    results = []
    print("broker      clients  deliveries/s  lost  CPU us/delivery  CPU %  p50 ms  p99 ms   MiB  start ms")
    with tempfile.TemporaryDirectory() as folder:
        for clients in sizes:
            for name in names:
                row = await measure(name, clients, seconds, Path(folder))
                results.append(row)
                print(
                    f"{row.broker:<10} {row.clients:>8} {row.deliveries_per_s:>13} {row.lost:>5} "
                    f"{row.cpu_us_per_delivery:>16} {row.cpu_percent:>6} {row.latency_p50_ms:>7} "
                    f"{row.latency_p99_ms:>7} {row.resident_mib:>5} {row.start_ms:>9}",
                    flush=True,
                )
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", default="3,16", help="comma-separated; default: %(default)s")
    parser.add_argument("--seconds", type=float, default=8.0, help="counted time of a run; default: %(default)s")
    parser.add_argument("--brokers", default=",".join(available()), help="default here: %(default)s")
    options = parser.parse_args()
    sizes = [int(size) for size in options.clients.split(",")]
    results = loop.run(run(options.brokers.split(","), sizes, options.seconds))
    print(json.dumps({"benchmark": "broker", "runs": [asdict(row) for row in results]}))


if __name__ == "__main__":
    main()
