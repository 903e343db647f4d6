"""`python -m hvcluster.san`: one SAN array as a process.

Law: wiring only. Opens the directory, makes the LUNs it was asked for, serves until told to stop.

Exit status: 0 after a polite stop, 2 for bad arguments or a directory that cannot be used, 3 for a busy port,
4 when the medium failed while serving.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import grpc.aio

from hvcluster.model.vocabulary import LunId
from hvcluster.runtime import channels, logs, loop, parent, ports, ready, signals
from hvcluster.v1 import san_pb2_grpc

from .core.effects import AdminError
from .core.events import AdminEvent, CreateLun, ResizeLun, Unmask
from .iscsi.chap import Secrets
from .iscsi.portal import Portals
from .journal import Journal
from .media import Media, MediaError
from .services import CHAOS_SERVICES, SERVICES, Admin, Chaos, Paths
from .target import Target

TARGET_NAME: Final = "iqn.2026-01.lab.hvcluster:array"
EXIT_USAGE: Final = 2
EXIT_BUSY_PORT: Final = 3
EXIT_MEDIUM: Final = 4


class SetupError(Exception):
    """A LUN that was asked for cannot be made as asked."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m hvcluster.san",
        description="A SAN array: LUNs with durable blocks and SCSI-3 persistent reservations, over gRPC.",
    )
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="directory of blocks and state")
    parser.add_argument("--bind", default="127.0.0.1", metavar="ADDRESS", help="default: %(default)s")
    parser.add_argument(
        "--port", type=int, action="append", metavar="PORT", help="serve here; again for a further path; 0: any"
    )
    parser.add_argument("--name", default=TARGET_NAME, help="the target name initiators ask for (%(default)s)")
    parser.add_argument(
        "--lun",
        type=_lun,
        action="append",
        default=[],
        metavar="ID:BLOCKS",
        help="make this LUN if it does not exist, or let it grow; blocks of 512 bytes",
    )
    parser.add_argument(
        "--unmask",
        type=_unmask,
        action="append",
        default=[],
        metavar="ID:INITIATOR",
        help="let this initiator see this LUN",
    )
    parser.add_argument(
        "--iscsi-port", type=int, action="append", default=[], metavar="PORT",
        help="serve iSCSI here as well; again for a further portal; 0: any",
    )  # fmt: skip
    parser.add_argument(
        "--removable", type=int, action="append", default=[], metavar="ID", help="this LUN has a removable medium"
    )
    parser.add_argument(
        "--thick", type=int, action="append", default=[], metavar="ID", help="this LUN is fully provisioned"
    )
    parser.add_argument(
        "--chap", type=Path, metavar="FILE",
        help="initiators have to prove who they are: lines of NAME SECRET, and one `=NAME SECRET` for the array itself",
    )  # fmt: skip
    parser.add_argument("--allow-chaos", action="store_true", help="serve the calls that inject faults")
    parser.add_argument(
        "--power-loss-safe",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="flush to the device before answering; without it a killed array loses nothing, a killed machine may",
    )
    parser.add_argument(
        "--write-cache",
        choices=("on", "off"),
        default="off",
        help="on: writes without FUA stay in memory until flushed, and a killed array loses them",
    )
    parser.add_argument("--log", type=Path, metavar="FILE", help="default: standard error")
    parser.add_argument("--log-level", choices=logs.LEVELS, default="info")
    ready.add_arguments(parser)
    parent.add_arguments(parser)
    loop.add_argument(parser)
    return parser


def _lun(text: str) -> tuple[LunId, int]:
    number, _, blocks = text.partition(":")
    try:
        return LunId(int(number)), int(blocks)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not ID:BLOCKS, for example 2:2097152") from None


def _unmask(text: str) -> tuple[LunId, str]:
    number, _, initiator = text.partition(":")
    if not number.isdecimal() or not initiator:
        raise argparse.ArgumentTypeError(f"{text!r} is not ID:INITIATOR, for example 2:iqn.1991-05.com.microsoft:hv1")
    return LunId(int(number)), initiator


async def _make_luns(target: Target, media: Media, options: argparse.Namespace) -> None:
    """Bring LUNs and masks to what the arguments say; nothing is ever taken away. Raises SetupError."""

    def check(what: str, error: AdminError | None) -> None:
        if error is not None:
            raise SetupError(f"{what}: {error.value}")

    for lun, blocks in options.lun:
        make = ResizeLun if lun in media.images else CreateLun
        check(f"--lun {lun}:{blocks}", await target.administer(_sized(make, lun, blocks)))
    for lun, name in options.unmask:
        if lun not in media.images or name not in media.images[lun].initiators:
            check(f"--unmask {lun}:{name}", await target.administer(_unmasked(lun, name)))


def _sized(make: type[CreateLun] | type[ResizeLun], lun: LunId, blocks: int) -> Callable[[int], AdminEvent]:
    return lambda request: make(request, lun, blocks)


def _unmasked(lun: LunId, name: str) -> Callable[[int], AdminEvent]:
    return lambda request: Unmask(request, lun, name)


def _secrets(file: Path | None) -> Secrets | None:
    """CHAP secrets of a file. Raises SetupError."""
    if file is None:
        return None
    users: dict[str, str] = {}
    own = ("", "")
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise SetupError(f"--chap {file}: {error.strerror}") from None
    for number, line in enumerate(lines, 1):
        name, _, secret = line.strip().partition(" ")
        if not name or name.startswith("#"):
            continue
        if not secret:
            raise SetupError(f"--chap {file}, line {number}: write a name and a secret")
        if name.startswith("="):
            own = (name[1:], secret)
        else:
            users[name] = secret
    return Secrets(users, *own)


async def _serve(options: argparse.Namespace, media: Media, journal: Journal) -> None:
    log = logs.get()
    stop = signals.install()
    thick = frozenset(LunId(lun) for lun in options.thick)
    target = Target(media, journal, thick=thick, removable=frozenset(LunId(lun) for lun in options.removable))
    await _make_luns(target, media, options)

    def register(server: grpc.aio.Server) -> None:
        paths = Paths(target, options.name, logs.OncePerSender(log))
        san_pb2_grpc.add_SanServicer_to_server(paths, server)
        san_pb2_grpc.add_SanAdminServicer_to_server(Admin(target, media, journal), server)
        if options.allow_chaos:
            san_pb2_grpc.add_SanChaosServicer_to_server(Chaos(target), server)

    services = (*SERVICES, *CHAOS_SERVICES) if options.allow_chaos else SERVICES
    async with contextlib.AsyncExitStack() as stack:
        bound: dict[str, int] = {}
        for index, port in enumerate(options.port or [0]):
            served = await channels.serve(register, services, options.bind, port)
            stack.push_async_callback(served.stop)
            bound["grpc" if index == 0 else f"grpc{index + 1}"] = served.port
        if options.iscsi_port:
            portals = Portals(
                target, options.name, _secrets(options.chap), lambda lun: lun not in thick, logs.OncePerSender(log)
            )
            stack.push_async_callback(portals.close, "the array stops")
            for index, port in enumerate(options.iscsi_port):
                bound["iscsi" if index == 0 else f"iscsi{index + 1}"] = await portals.serve(options.bind, port)
        log.info("array serves", name=options.name, ports=bound, luns=sorted(media.images))
        ready.announce(options.ready_fd, options.ready_file, bound)
        asked = asyncio.create_task(stop.event.wait(), name="stop signal")
        await asyncio.wait((asked, target.failed), return_when=asyncio.FIRST_COMPLETED)
        if target.failed.done():
            asked.cancel()
            target.failed.result()
        log.info("array stops", reason=stop.reason)
        target.end_sessions("the array stops")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one array; returns the exit status."""
    options = _parser().parse_args(arguments)
    parent.tie(options.die_with_parent, options.parent_fd)
    log = logs.configure("san", file=options.log, level=options.log_level)
    try:
        media = Media(options.data, power_loss_safe=options.power_loss_safe, write_cache=options.write_cache == "on")
        journal = Journal(options.data)
    except (MediaError, OSError) as error:
        return _give_up(EXIT_USAGE, f"cannot start: {error}")
    try:
        loop.run(_serve(options, media, journal), options.loop)
    except SetupError as error:
        return _give_up(EXIT_USAGE, str(error))
    except ports.PortBusy as error:
        return _give_up(EXIT_BUSY_PORT, str(error))
    except Exception as error:
        log.error("the array cannot go on", error=str(error), exc_info=True)
        return _give_up(EXIT_MEDIUM, f"cannot go on: {error}")
    journal.close()
    media.close()
    return 0


def _give_up(status: int, why: str) -> int:
    print(f"hvcluster.san: {why}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
