"""`python -m hvcluster.orchestrator.switch`: the clients' network, one port per VM.

Law: wiring of a process that forwards every VM's port to its newest owner and decides nothing: it believes the highest
announced generation (heard on the buses, asked of the nodes where a bus is missing) and outlives the orchestrator.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aiomqtt
from google.protobuf.message import DecodeError
from structlog.typing import FilteringBoundLogger

from hvcluster.runtime import channels, logs, loop, parent, ports, ready, signals
from hvcluster.v1 import heartbeat_pb2, node_pb2, node_pb2_grpc

from .switch_relay import Port
from .switch_routes import Heard, Routes, split_address

BUSY_EXIT_STATUS: Final = 3
RECONNECT_S: Final = 0.25
"""Between two attempts to reach a bus: a restarted broker is heard again within a heartbeat or so."""
ASK_S: Final = 2.0
"""Nodes are asked this often even when both buses are up: a node cut from the buses still serves its VMs."""
ASK_SILENT_S: Final = 0.2
"""Nodes are asked this often while a bus is missing."""
ASK_GAP_S: Final = 0.05
"""Least time between two rounds: a storm of refused clients must not become a storm of questions."""
ASK_DEADLINE_S: Final = 0.5
MAX_PAYLOAD_BYTES: Final = 4096
"""An announcement has a few names and numbers."""


@dataclass(frozen=True, slots=True)
class Place:
    """NAME=HOST:PORT of the command line."""

    name: str
    host: str
    port: int


def place(text: str) -> Place:
    """Parse NAME=HOST:PORT (for argparse)."""
    name, _, address = text.partition("=")
    host, colon, port = address.rpartition(":")
    if not name or not colon or not port.isdigit() or int(port) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=HOST:PORT")
    return Place(name, host.removeprefix("[").removesuffix("]"), int(port))


class Switch:
    """Ports, routes and the tasks that keep the routes current."""

    def __init__(self, cluster_id: str, vms: Sequence[Place], log: FilteringBoundLogger) -> None:
        self._cluster_id = cluster_id
        self._places = vms
        self._log = log
        self._bad = logs.OncePerSender(log)
        self.routes = Routes(vm.name for vm in vms)
        self._ports = {vm.name: Port(lambda name=vm.name: self.routes.owner(name), self._ask_soon) for vm in vms}  # type: ignore[misc]
        self._silent: set[str] = set()
        self._ask = asyncio.Event()

    async def listen(self) -> dict[str, int]:
        """Open every port; returns the real ones by VM. Raises ports.PortBusy or OSError."""
        found: dict[str, int] = {}
        for vm in self._places:
            try:
                found[vm.name] = await self._ports[vm.name].listen(vm.host, vm.port)
            except OSError as error:
                raise (ports.busy(vm.host, vm.port) if ports.is_busy(error) else error) from None
        return found

    async def run(self, buses: Sequence[Place], nodes: Sequence[Place]) -> None:
        """Listen to the buses and ask the nodes, until cancelled."""
        self._silent = {bus.name for bus in buses}
        try:
            async with asyncio.TaskGroup() as group:
                for bus in buses:
                    group.create_task(self._hear(bus), name=f"bus {bus.name}")
                group.create_task(self._ask_nodes(nodes), name="ask the nodes")
        finally:
            for port in self._ports.values():
                await port.close()

    def _ask_soon(self) -> None:
        self._ask.set()

    async def _hear(self, bus: Place) -> None:
        """One bus: connect, subscribe, listen; again and again."""
        topic = f"hvcluster/{self._cluster_id}/vm/"
        while True:
            try:
                async with aiomqtt.Client(
                    bus.host,
                    bus.port,
                    identifier=f"switch-{self._cluster_id}-{bus.name}",
                    protocol=aiomqtt.ProtocolVersion.V311,
                    timeout=2.0,
                    keepalive=5,
                ) as client:
                    await client.subscribe(topic + "+", qos=1)
                    self._silent.discard(bus.name)
                    self._log.info("bus is heard", bus=bus.name)
                    async for message in client.messages:
                        if message.topic.value.startswith(topic):
                            self._message(bus.name, message.topic.value[len(topic) :], message.payload)
            except (aiomqtt.MqttError, OSError) as error:
                if bus.name not in self._silent:
                    self._log.warning("bus is silent", bus=bus.name, error=str(error))
                self._silent.add(bus.name)
                self._ask_soon()
            await asyncio.sleep(RECONNECT_S)

    def _message(self, bus: str, vm: str, payload: object) -> None:
        if not isinstance(payload, bytes | bytearray) or len(payload) > MAX_PAYLOAD_BYTES:
            self._bad.report("announcement too large", bus)
            return
        if not payload:
            return  # a cleared retained message: nobody is announced, which changes no route
        try:
            said = heartbeat_pb2.VmAnnouncement.FromString(bytes(payload))
        except DecodeError:
            self._bad.report("malformed announcement", bus)
            return
        if said.cluster_id != self._cluster_id or said.vm != vm:
            self._bad.report("announcement of another cluster or VM", f"{bus} {said.cluster_id[:40]}")
            return
        self._heard(said.vm, said.generation, said.node, said.address, f"bus {bus}", resumed=said.resumed)

    def _heard(self, vm: str, generation: int, node: int, address: str, source: str, *, resumed: bool) -> None:
        heard = self.routes.hear(vm, generation, node, address)
        if heard is Heard.NEW:
            # After a live migration the old host passes on what it still holds, and closes each connection itself.
            dropped = 0 if resumed else self._ports[vm].drop_older(generation)
            self._log.info(
                "new owner",
                vm=vm,
                generation=generation,
                node=node,
                address=address,
                heard_from=source,
                dropped=dropped,
            )
        elif heard in (Heard.UNKNOWN_VM, Heard.BAD_ADDRESS):
            self._bad.report(heard.value, source, vm[:64])

    async def _ask_nodes(self, nodes: Sequence[Place]) -> None:
        """Rounds of NodeAdmin.Serving: rarely while the buses are up, often while one is missing."""
        wires = {node: channels.channel(node.host, node.port) for node in nodes}
        stubs = {node: node_pb2_grpc.NodeAdminStub(wire) for node, wire in wires.items()}
        try:
            while True:
                began = time.monotonic()
                await asyncio.gather(*(self._ask_node(node, stub) for node, stub in stubs.items()))
                await asyncio.sleep(max(0.0, ASK_GAP_S - (time.monotonic() - began)))
                try:
                    async with asyncio.timeout(ASK_SILENT_S if self._silent else ASK_S):
                        await self._ask.wait()
                except TimeoutError:
                    pass
                self._ask.clear()
        finally:
            for wire in wires.values():
                await wire.close()

    async def _ask_node(self, node: Place, stub: node_pb2_grpc.NodeAdminAsyncStub) -> None:
        answer = await channels.unary(stub.Serving, node_pb2.ServingRequest(), ASK_DEADLINE_S)
        if answer.reply is None:
            return
        number = int(node.name) if node.name.isdigit() else 0
        for vm in answer.reply.vms:
            if split_address(vm.address) is not None:
                self._heard(vm.vm, vm.generation, number, vm.address, f"node {node.name}", resumed=vm.resumed)


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m hvcluster.orchestrator.switch",
        description="The virtual switch of a lab: one port per VM, forwarded to the newest announced owner",
    )
    parser.add_argument("--cluster-id", required=True, help="announcements of other clusters are ignored")
    parser.add_argument("--bus", action="append", type=place, default=[], metavar="NAME=HOST:PORT")
    parser.add_argument("--node", action="append", type=place, default=[], metavar="ID=HOST:PORT")
    parser.add_argument(
        "--port", action="append", type=place, default=[], metavar="VM=HOST:PORT", help="port 0: a free one"
    )
    parser.add_argument("--log", type=Path, help="default: standard error")
    ready.add_arguments(parser)
    parent.add_arguments(parser)
    loop.add_argument(parser)
    return parser.parse_args(arguments)


async def _serve(options: argparse.Namespace) -> int:
    log = logs.configure("switch", cluster=options.cluster_id, file=options.log)
    stop = signals.install()
    switch = Switch(options.cluster_id, options.port, log)
    try:
        found = await switch.listen()
    except OSError as error:
        log.error("cannot listen", error=str(error))
        print(f"switch: {error}", file=sys.stderr)
        return BUSY_EXIT_STATUS
    log.info("listening", ports=found)
    ready.announce(options.ready_fd, options.ready_file, found)
    await signals.until_stopped(stop, switch.run(options.bus, options.node), "switch")
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT. Exit status 0, or 3 where a port cannot be had."""
    options = _arguments(arguments)
    parent.tie(options.die_with_parent, options.parent_fd)
    return loop.run(_serve(options), options.loop)


if __name__ == "__main__":
    sys.exit(main())
