"""`python -m hvcluster.san.witness`: the place of a file share witness, or of a cloud witness, as a process.

Law: wiring only. Opens the directory, serves until told to stop or until its disk refuses.

Exit status: 0 after a polite stop, 2 for bad arguments or a directory that cannot be used, 3 for a busy port,
4 when the disk refused.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final

import grpc.aio
from aiohttp import web

from hvcluster.model.definition import TagWitnessKind
from hvcluster.runtime import blob_account, channels, logs, loop, parent, ports, ready, signals
from hvcluster.v1 import share_pb2_grpc

from .share import Share, ShareError
from .share_faces import SERVICE, Failed, FileShare, blobs

EXIT_USAGE: Final = 2
EXIT_BUSY_PORT: Final = 3
EXIT_DISK: Final = 4

End = Callable[[], Awaitable[None]]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m hvcluster.san.witness",
        description="A file share (gRPC) or a blob container (HTTP) that keeps one small file for each cluster.",
    )
    kinds = [kind.value for kind in TagWitnessKind]
    parser.add_argument("--kind", choices=kinds, default=kinds[0], help="what it is (%(default)s)")
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="where the files lie")
    text = "serve only who signs with this account; FILE holds its connection string (cloud only)"
    parser.add_argument("--account", type=Path, metavar="FILE", help=text)
    parser.add_argument("--bind", default=ports.LOOPBACK, metavar="ADDRESS", help="default: %(default)s")
    parser.add_argument("--port", type=int, default=0, help="0: any")
    parser.add_argument("--log", type=Path, metavar="FILE", help="default: standard error")
    parser.add_argument("--log-level", choices=logs.LEVELS, default="info")
    ready.add_arguments(parser)
    parent.add_arguments(parser)
    loop.add_argument(parser)
    return parser


async def _serve(options: argparse.Namespace, share: Share) -> int:
    log = logs.get()
    stop = signals.install()
    failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def fail(error: OSError) -> None:
        log.error("the disk refused", error=str(error))
        if not failed.done():
            failed.set_result(None)

    serve = _serve_blobs if options.kind == TagWitnessKind.CLOUD.value else _serve_share
    end = await serve(options, share, fail)
    try:
        asked = asyncio.create_task(stop.event.wait(), name="stop signal")
        await asyncio.wait((asked, failed), return_when=asyncio.FIRST_COMPLETED)
        asked.cancel()
    finally:
        await end()
    return EXIT_DISK if failed.done() else 0


async def _serve_share(options: argparse.Namespace, share: Share, fail: Failed) -> End:
    def register(server: grpc.aio.Server) -> None:
        share_pb2_grpc.add_FileShareServicer_to_server(FileShare(share, fail), server)

    served = await channels.serve(register, [SERVICE], options.bind, options.port)
    ready.announce(options.ready_fd, options.ready_file, {"grpc": served.port})
    logs.get().info("file share serves", port=served.port)
    return served.stop


async def _serve_blobs(options: argparse.Namespace, share: Share, fail: Failed) -> End:
    account = None if options.account is None else blob_account.load(options.account)
    runner = web.AppRunner(blobs(share, fail, account), access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, options.bind, options.port).start()
    except OSError as error:
        await runner.cleanup()
        raise (ports.busy(options.bind, options.port) if ports.is_busy(error) else error) from None
    port = int(runner.addresses[0][1])
    ready.announce(options.ready_fd, options.ready_file, {"http": port})
    logs.get().info("blob container serves", port=port)
    return runner.cleanup


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; returns the exit status."""
    options = _parser().parse_args(arguments)
    parent.tie(options.die_with_parent, options.parent_fd)
    logs.configure("witness", file=options.log, level=options.log_level)
    try:
        share = Share(options.data)
    except (ShareError, OSError) as error:
        return _give_up(EXIT_USAGE, f"cannot start: {error}")
    try:
        return loop.run(_serve(options, share), options.loop)
    except ports.PortBusy as error:
        return _give_up(EXIT_BUSY_PORT, str(error))
    except blob_account.BadAccount as error:
        return _give_up(EXIT_USAGE, f"--account: {error}")
    finally:
        share.close()


def _give_up(status: int, why: str) -> int:
    print(f"hvcluster.san.witness: {why}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
