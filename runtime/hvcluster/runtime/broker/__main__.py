"""`python -m hvcluster.runtime.broker --port P --name A`: one heartbeat network in a process of its own.

Law: wiring only.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from hvcluster.runtime import logs, loop, parent, ports, ready, signals
from hvcluster.runtime.broker.server import Server

BUSY_EXIT_STATUS = 3


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m hvcluster.runtime.broker",
        description="MQTT 3.1.1 broker: one heartbeat network of a lab",
    )
    parser.add_argument("--bind", default=ports.LOOPBACK, metavar="ADDRESS", help="default: %(default)s")
    parser.add_argument("--port", type=int, required=True, help="0: any free port (the ready line tells which)")
    parser.add_argument("--name", required=True, help="of the heartbeat network, such as A")
    parser.add_argument("--cluster", help="named in log lines")
    parser.add_argument("--log-file", type=Path, help="default: standard error")
    parser.add_argument("--log-level", choices=logs.LEVELS, default="info")
    ready.add_arguments(parser)
    parent.add_arguments(parser)
    loop.add_argument(parser)
    return parser.parse_args(arguments)


async def _serve(options: argparse.Namespace) -> int:
    log = logs.configure(f"bus-{options.name}", cluster=options.cluster, file=options.log_file, level=options.log_level)
    stop = signals.install()
    try:
        server = await Server.listen(options.bind, options.port, lambda text, subject: log.info(text, client=subject))
    except OSError as error:
        told = ports.busy(options.bind, options.port) if ports.is_busy(error) else error
        log.error("cannot listen", address=options.bind, port=options.port, error=str(told))
        return BUSY_EXIT_STATUS
    log.info("listening", address=options.bind, port=server.port)
    ready.announce(options.ready_fd, options.ready_file, {"mqtt": server.port})
    await stop.event.wait()
    counters = server.broker.counters
    await server.close()
    log.info(
        "stopped",
        reason=stop.reason,
        received=counters.received,
        delivered=counters.delivered,
        dropped=counters.dropped,
    )
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT. Exit status 0, or 3 where the address cannot be had."""
    options = _arguments(arguments)
    parent.tie(options.die_with_parent, options.parent_fd)
    return loop.run(_serve(options), options.loop)


if __name__ == "__main__":
    sys.exit(main())
