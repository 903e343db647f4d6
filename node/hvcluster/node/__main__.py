"""`python -m hvcluster.node`: one Hyper-V node as a process.

Law: wiring only. Finds the saved state, joins driver and adapters, serves until the node has left or must not go on.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from typing import Final

import grpc.aio
from structlog.typing import FilteringBoundLogger

from hvcluster.runtime import channels, logs, loop, parent, ready, signals
from hvcluster.v1 import chaos_pb2_grpc, node_pb2_grpc

from . import admin, chaos, memory, options, peers
from .beginning import Beginning, Origin, begin
from .core.events import StopNode
from .core.forcing import Start, refusal
from .core.node import NodeCore
from .core.saved import SavedState
from .factlog import FactLog
from .options import BadOptions, Options
from .outside import Adapters
from .service import Service
from .store import CannotSave, CorruptState

EXIT_USAGE: Final = 2
EXIT_BUSY_PORT: Final = 3
EXIT_CORRUPT: Final = 65  # EX_DATAERR
EXIT_BUG: Final = 70  # EX_SOFTWARE
EXIT_DISK: Final = 74  # EX_IOERR
SERVER_GRACE_S: Final = 0.1
"""At the end: enough for an answer under way, not noticed by whoever waits for the process."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the node; returns the exit status (see --help)."""
    made = options.parser()
    try:
        chosen = options.checked(made.parse_args(arguments))
    except BadOptions as error:
        print(f"{made.prog}: {error}".replace("\n", f"\n{made.prog}: "), file=sys.stderr)
        return EXIT_USAGE
    parent.tie(chosen.die_with_parent, chosen.parent_fd)
    name = chosen.definition.node_name(chosen.node)
    log = logs.configure("node", cluster=chosen.definition.name, node=name, file=chosen.log, level=chosen.log_level)
    try:
        beginning = begin(chosen.data, chosen.marker, chosen.definition, chosen.node, chosen.rejoin_empty)
    except CorruptState as error:
        log.error("the saved state is corrupt", file=str(error.path), what=error.what, remedy=error.remedy)
        if chosen.log is not None:
            print(f"{made.prog}: {error}", file=sys.stderr)
        return EXIT_CORRUPT
    except (CannotSave, OSError) as error:
        log.error("the saved state cannot be made", error=str(error))
        return EXIT_DISK
    refused = refusal(chosen.node, beginning.state) if chosen.start is Start.FORCED else None
    if refused is not None:
        beginning.store.close()
        print(f"{made.prog}: --force-quorum: {name} cannot be forced: {refused}", file=sys.stderr)
        return EXIT_USAGE
    tell = log.info if beginning.origin in (Origin.KEPT, Origin.FOUNDED) else log.warning
    tell(beginning.origin.value, set_aside=[str(path) for path in beginning.set_aside])
    try:
        return loop.run(_run(chosen, beginning, log), chosen.loop)
    finally:
        beginning.store.close()


async def _run(chosen: Options, beginning: Beginning, log: FilteringBoundLogger) -> int:
    stop = signals.install()
    facts = FactLog(chosen.data, log)
    adapters = Adapters(chosen.definition, chosen.node, chosen.addresses, facts, log)

    lives: list[NodeCore] = []  # the present one

    def make(state: SavedState) -> NodeCore:
        start = lives.pop().next_start if lives else chosen.start
        lives.append(NodeCore(chosen.definition, chosen.node, state, start))
        return lives[0]

    service = Service(make, beginning.store, beginning.state, adapters, log)
    adapters.attach(service)
    try:
        served = await _serve(chosen, service, adapters, facts)
    except OSError as error:
        log.error("cannot listen", error=str(error))
        return EXIT_BUSY_PORT
    adapters.admin_address = f"{chosen.addresses.advertise}:{served.port}"
    ready.announce(chosen.ready_fd, chosen.ready_file, {"grpc": served.port})
    log.info("listening", address=f"{chosen.bind[0]}:{served.port}")
    try:
        status = await _drive(service, adapters, stop, chosen, log)
    finally:
        adapters.monitor.end()
        await adapters.vms.close()
        await served.stop(SERVER_GRACE_S)
        facts.close()
    log.info("stopped", reason=stop.reason or "the node has left the cluster", status=status)
    return status


async def _serve(chosen: Options, service: Service, adapters: Adapters, facts: FactLog) -> channels.Served:
    def register(server: grpc.aio.Server) -> None:
        peers.add_to_server(server, adapters.membership, adapters, adapters.cuts, adapters.ignored)
        memory.add_to_server(server, adapters.membership, adapters.cuts)
        servicer = admin.Admin(chosen.definition, chosen.node, service, adapters.vms, facts, adapters.ignored.counts)
        node_pb2_grpc.add_NodeAdminServicer_to_server(servicer, server)
        if chosen.allow_chaos:
            chaos_pb2_grpc.add_ChaosServicer_to_server(chaos.ChaosService(adapters.cuts, adapters.break_vm), server)

    names = [peers.SERVICE, memory.SERVICE, admin.SERVICE, *([chaos.SERVICE] if chosen.allow_chaos else [])]
    return await channels.serve(register, names, *chosen.bind)


async def _drive(
    service: Service, adapters: Adapters, stop: signals.Stop, chosen: Options, log: FilteringBoundLogger
) -> int:
    """Until the core ends the process, or a stop that was asked for is over. Returns the exit status."""
    try:
        async with asyncio.TaskGroup() as tasks:
            wires = tasks.create_task(adapters.run(), name="wires")
            driver = tasks.create_task(service.run(), name="driver")
            leaving = tasks.create_task(_leave(stop, service, driver, chosen, log), name="polite stop")
            await asyncio.wait((driver,))
            adapters.end_vms("the node's process ends")
            leaving.cancel()
            wires.cancel()
    except ExceptionGroup as failures:
        return _explained(failures.exceptions[0], log)
    return stop.exit_status


def _explained(error: Exception, log: FilteringBoundLogger) -> int:
    """Log why the node cannot go on; returns the exit status."""
    match error:
        case CorruptState():
            log.error("the saved state is corrupt", error=str(error))
            return EXIT_CORRUPT
        case CannotSave():
            log.error("the disk refused a save", error=str(error))
            return EXIT_DISK
        case _:
            log.error("the node failed; this is a bug", exc_info=error)
            return EXIT_BUG


async def _leave(
    stop: signals.Stop,
    service: Service,
    driver: asyncio.Task[None],
    chosen: Options,
    log: FilteringBoundLogger,
) -> None:
    """When asked to stop: let the core leave the cluster, within the time given; then end anyway."""
    await stop.event.wait()
    log.info("leaving the cluster", reason=stop.reason, timeout_s=chosen.stop_timeout_s)
    try:
        async with asyncio.timeout(chosen.stop_timeout_s):
            reply = await service.request(StopNode(chosen.node, shutdown=True), chosen.stop_timeout_s)
            if reply.ok:
                await asyncio.wait((driver,))
                return
        log.warning("the node ends without leaving politely", code=reply.code, reason=reply.text)
    except TimeoutError:
        log.warning("the node ends without leaving politely", reason=f"not done in {chosen.stop_timeout_s:g} s")
    driver.cancel()


if __name__ == "__main__":
    sys.exit(main())
