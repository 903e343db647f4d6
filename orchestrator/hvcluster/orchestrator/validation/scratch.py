"""Disks for a validation alone: LUNs that are made for it, and one session per node and path that sees them.

Law: makes and removes what is its own. The initiators' names are of the validation, so that no session of a node and no
disk of the cluster is touched; what an interrupted validation left behind is removed by the next one.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

from hvcluster.model.definition import ClusterDefinition
from hvcluster.model.scsi import Command, PersistentReserveOut, ReserveOut, Result
from hvcluster.model.vocabulary import KEY_MARK, MAX_LUNS, LunId, NodeId
from hvcluster.orchestrator.driver import Address
from hvcluster.orchestrator.errors import Exit, Failure
from hvcluster.orchestrator.initiator import Session
from hvcluster.runtime import channels
from hvcluster.v1 import san_pb2

if TYPE_CHECKING:
    import grpc.aio

    from hvcluster.v1 import san_pb2_grpc

PREFIX: Final = "iqn.2026-01.lab.hvcluster:validation-"
"""How the initiators of a validation are called, before the node's name."""
DISKS: Final = 2
"""One for most tests, two for a failover of several at once."""
BLOCKS: Final = 2_048
"""1 MiB: a validation writes single blocks."""
ASK_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Host:
    """One node as the validation plays it: its sessions, one per path, and its key for this validation."""

    name: str
    key: int
    sessions: tuple[Session, ...]

    async def do(self, lun: LunId, command: Command) -> Result:
        """One command on the first path."""
        return await self.sessions[0].do(lun, command)

    async def register(self, lun: LunId, key: int | None = None) -> list[Result]:
        """REGISTER AND IGNORE EXISTING KEY on every path; the host's own key, or 0 to take the registration back."""
        wanted = self.key if key is None else key
        action = PersistentReserveOut(ReserveOut.REGISTER_AND_IGNORE_EXISTING_KEY, service_key=wanted)
        return [await session.do(lun, action) for session in self.sessions]


@dataclass(frozen=True, slots=True)
class Scratch:
    """Disks of the validation's own, and the hosts that see them; at least two hosts."""

    luns: tuple[LunId, ...]
    hosts: tuple[Host, ...]


def key_of(node: NodeId) -> int:
    """A random key in the form of a cluster's: 32 random bits, the node's number, the mark."""
    return secrets.randbits(32) << 32 | node << 16 | KEY_MARK


@contextlib.asynccontextmanager
async def scratch(
    admin: san_pb2_grpc.SanAdminAsyncStub, address: Address, definition: ClusterDefinition
) -> AsyncIterator[Scratch]:
    """Scratch disks for as long as the block lasts. Raises Failure where the array does not let itself be asked."""
    players = [(node.id, node.name) for node in definition.nodes]
    if len(players) == 1:
        players.append((NodeId(players[0][0] + 1), "a-second-host"))
    names = {node: f"{PREFIX}{name.lower()}" for node, name in players}
    made: list[LunId] = []
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(_remove, admin, made)
        rows = await _rows(admin)
        await _remove(admin, [LunId(row.lun) for row in rows if is_left_over(row)])
        taken = {row.lun for row in rows if not is_left_over(row)}
        for lun in [LunId(number) for number in range(MAX_LUNS - 1, -1, -1) if number not in taken][:DISKS]:
            await _asked(admin.CreateLun, san_pb2.LunSizeRequest(lun=lun, blocks=BLOCKS), f"make LUN {lun}")
            made.append(lun)
            for initiator in names.values():
                mask = san_pb2.LunMaskRequest(lun=lun, initiator=initiator)
                await _asked(admin.UnmaskLun, mask, f"show LUN {lun} to {initiator}")
        if len(made) < DISKS:
            raise Failure(Exit.REFUSED, "the array has no numbers left for scratch LUNs", "delete a LUN")
        hosts = []
        for node, name in players:
            sessions = [
                await stack.enter_async_context(Session(address, names[node], str(path))) for path in definition.paths
            ]
            hosts.append(Host(name, key_of(node), tuple(sessions)))
        yield Scratch(tuple(made), tuple(hosts))


def is_left_over(row: san_pb2.LunRow) -> bool:
    """Whether a LUN was made by a validation that did not end: nobody but its initiators sees it."""
    return bool(row.initiators) and all(name.startswith(PREFIX) for name in row.initiators)


async def _rows(admin: san_pb2_grpc.SanAdminAsyncStub) -> list[san_pb2.LunRow]:
    answer = await channels.unary(admin.ListLuns, san_pb2.LunListRequest(), ASK_S)
    if answer.reply is None:
        raise Failure(Exit.UNREACHABLE, "the array does not answer", "start it with `hvc san start`")
    return list(answer.reply.luns)


RequestT = TypeVar("RequestT")


async def _asked(
    method: grpc.aio.UnaryUnaryMultiCallable[RequestT, san_pb2.LunReply], request: RequestT, what: str
) -> None:
    answer = await channels.unary(method, request, ASK_S)
    if answer.reply is None or not answer.reply.ok:
        said = answer.detail if answer.reply is None else answer.reply.text
        raise Failure(Exit.REFUSED, f"the array does not {what}: {said}", "see `hvc status`")


async def _remove(admin: san_pb2_grpc.SanAdminAsyncStub, luns: Iterable[LunId]) -> None:
    for lun in luns:
        await channels.unary(admin.DeleteLun, san_pb2.LunDeleteRequest(lun=lun, force=True), ASK_S)
