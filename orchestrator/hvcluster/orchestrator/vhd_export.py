"""The virtual disk of a VM as a file that other tools open: a fixed VHD, read from its LUN.

Law: reads, over a session of its own that sees the LUN only for as long as that takes. A VM that may still write is
refused: its file would be of no moment.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from hvcluster.model.definition import GroupDefinition
from hvcluster.model.scsi import Read, Status
from hvcluster.model.vocabulary import BLOCK_BYTES, LunId
from hvcluster.runtime import channels
from hvcluster.v1 import san_pb2

from .driver import Address
from .errors import Exit, Failure
from .initiator import Session
from .observer import Observer

if TYPE_CHECKING:
    from hvcluster.v1 import san_pb2_grpc

PREFIX: Final = "iqn.2026-01.lab.hvcluster:export-"
CHUNK_BLOCKS: Final = 1_024
"""512 KiB a command, half of the most that the array takes at once."""
ASK_S: Final = 5.0
COOKIE: Final = b"conectix"
"""A VHD ends with a block that begins so."""


async def export(observer: Observer, vm: str, file: Path, tell: Callable[[int], None]) -> int:
    """Write the VHD of a VM that is offline to a new file; returns its bytes. `tell` hears the percents done.

    Raises Failure: no such VM, one that is not offline, an array that does not answer, a file that is there already.
    """
    group = await _offline(observer, vm)
    address = (await observer.driver.addresses()).san
    if address is None:
        raise Failure(Exit.UNREACHABLE, "the array cannot be reached", "start it with `hvc san start`")
    lun = (await observer.look()).lun(group.lun)
    if lun is None:
        raise Failure(Exit.UNREACHABLE, "the array does not say how large its LUNs are", "see `hvc status`")
    first, blocks = (0, lun.blocks) if group.extent is None else (group.extent.disk_first, group.extent.disk_blocks)
    with _new(file) as descriptor:
        path = str(observer.driver.definition.paths[0])
        async with _session(observer.san_stub(address), address, group.lun, path) as session:
            last = await _copy(session, group.lun, first, blocks, descriptor, tell)
        if not last.startswith(COOKIE):
            raise Failure(Exit.REFUSED, f"{group.name} has no VHD yet", "let it run once: `hvc online`")
        os.ftruncate(descriptor, blocks * BLOCK_BYTES)
        os.fsync(descriptor)
    return blocks * BLOCK_BYTES


async def _offline(observer: Observer, vm: str) -> GroupDefinition:
    definitions = {group.name.lower(): group for group in observer.driver.definition.groups if not group.resources}
    group = definitions.get(vm.lower())
    if group is None:
        raise Failure(Exit.NOT_FOUND, f"there is no VM {vm!r}", f"there are {', '.join(sorted(definitions))}")
    row = (await observer.look()).group(group.name)
    if row is None:
        raise Failure(Exit.UNREACHABLE, "no node answers", "see `hvc status`")
    if row.state != "OFFLINE" or row.desired_online:
        text = f"{group.name} is {row.state.lower()}: it may write while its disk is read"
        raise Failure(Exit.REFUSED, text, f"take it offline first: `hvc offline {group.name}`")
    return group


@contextlib.contextmanager
def _new(file: Path) -> Iterator[int]:
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise Failure(Exit.REFUSED, f"{file} is there already", "name another file") from None
    except OSError as error:
        raise Failure(Exit.REFUSED, f"{file} cannot be written: {error.strerror}") from None
    try:
        yield descriptor
    except BaseException:
        file.unlink()
        raise
    finally:
        os.close(descriptor)


@contextlib.asynccontextmanager
async def _session(
    admin: san_pb2_grpc.SanAdminAsyncStub, address: Address, lun: LunId, path: str
) -> AsyncIterator[Session]:
    """A session of a name that nobody else has, which sees this LUN alone."""
    name = f"{PREFIX}{secrets.token_hex(4)}"
    mask = san_pb2.LunMaskRequest(lun=lun, initiator=name)
    shown = await channels.unary(admin.UnmaskLun, mask, ASK_S)
    if shown.reply is None or not shown.reply.ok:
        said = shown.detail if shown.reply is None else shown.reply.text
        raise Failure(Exit.REFUSED, f"the array does not show LUN {lun}: {said}", "see `hvc status`")
    try:
        async with Session(address, name, path) as session:
            yield session
    finally:
        await channels.unary(admin.MaskLun, mask, ASK_S)


async def _copy(
    session: Session, lun: LunId, first: int, blocks: int, descriptor: int, tell: Callable[[int], None]
) -> bytes:
    """Copy blocks; what is zero becomes a hole. Returns the last block. Raises Failure."""
    last, told = b"", -1
    for at in range(0, blocks, CHUNK_BLOCKS):
        count = min(CHUNK_BLOCKS, blocks - at)
        result = await session.do(lun, Read(first + at, count))
        data = result.payload
        if result.status is not Status.GOOD or not isinstance(data, bytes) or len(data) != count * BLOCK_BYTES:
            raise Failure(Exit.REFUSED, f"LUN {lun} cannot be read at block {first + at}: {result.status.value}")
        if data.strip(b"\0"):
            os.pwrite(descriptor, data, at * BLOCK_BYTES)
        last = data[-BLOCK_BYTES:]
        done = 100 * (at + count) // blocks
        if done != told:
            told = done
            tell(done)
    return last
