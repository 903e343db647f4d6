"""Asking a node to cut or degrade its own wires, or to break a VM of its own.

Law: one translation, from a Cut, a Quality or a VM to the chaos service and from its answers to failures.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .driver import Address, Cut, Quality, Way, Wire
from .errors import Exit, Failure

if TYPE_CHECKING:
    from hvcluster.runtime.channels import Answer
    from hvcluster.v1 import chaos_pb2

DEADLINE_S: Final = 3.0


async def cut(address: Address, node: str, what: Cut) -> None:
    """Cut one wire of the node at `address`. Raises Failure."""
    from hvcluster.runtime import channels
    from hvcluster.v1 import chaos_pb2, chaos_pb2_grpc

    way = {
        Way.BOTH: chaos_pb2.DIRECTION_BOTH,
        Way.OUT: chaos_pb2.DIRECTION_OUT,
        Way.IN: chaos_pb2.DIRECTION_IN,
    }[what.way]
    request = chaos_pb2.CutRequest(wire=_wire(what.wire), name=what.name, direction=way)
    async with channels.channel(address.host, address.port) as channel:
        stub: chaos_pb2_grpc.ChaosAsyncStub = chaos_pb2_grpc.ChaosStub(channel)
        _judge(node, await channels.unary(stub.Cut, request, DEADLINE_S))


async def heal(address: Address, node: str, what: Cut | None) -> None:
    """Heal one wire of the node at `address`, or all of them. Raises Failure."""
    from hvcluster.runtime import channels
    from hvcluster.v1 import chaos_pb2, chaos_pb2_grpc

    request = chaos_pb2.HealRequest()
    if what is not None:
        request = chaos_pb2.HealRequest(wire=_wire(what.wire), name=what.name)
    async with channels.channel(address.host, address.port) as channel:
        stub: chaos_pb2_grpc.ChaosAsyncStub = chaos_pb2_grpc.ChaosStub(channel)
        _judge(node, await channels.unary(stub.Heal, request, DEADLINE_S))


async def degrade(address: Address, node: str, quality: Quality) -> None:
    """Let the wires of the node at `address` work that well. Raises Failure."""
    from hvcluster.runtime import channels
    from hvcluster.v1 import chaos_pb2, chaos_pb2_grpc

    wanted = chaos_pb2.Quality(
        loss=quality.loss,
        doubling=quality.doubling,
        message_delay_us=quality.message_delay_us,
        array_delay_us=quality.array_delay_us,
        witness_delay_us=quality.witness_delay_us,
    )
    async with channels.channel(address.host, address.port) as channel:
        stub: chaos_pb2_grpc.ChaosAsyncStub = chaos_pb2_grpc.ChaosStub(channel)
        _judge(node, await channels.unary(stub.Degrade, chaos_pb2.DegradeRequest(quality=wanted), DEADLINE_S))


async def break_vm(address: Address, node: str, vm: str, how: str) -> None:
    """Break a VM on the node at `address`: crash, hang or application. Raises Failure."""
    from hvcluster.runtime import channels
    from hvcluster.v1 import chaos_pb2, chaos_pb2_grpc

    async with channels.channel(address.host, address.port) as channel:
        stub: chaos_pb2_grpc.ChaosAsyncStub = chaos_pb2_grpc.ChaosStub(channel)
        _judge(node, await channels.unary(stub.BreakVm, chaos_pb2.BreakVmRequest(group=vm, how=how), DEADLINE_S))


def _wire(wire: Wire) -> chaos_pb2.Wire.ValueType:
    from hvcluster.v1 import chaos_pb2

    return {
        Wire.BUS: chaos_pb2.WIRE_BUS,
        Wire.PEERS: chaos_pb2.WIRE_PEER,
        Wire.ARRAY: chaos_pb2.WIRE_ARRAY,
        Wire.WITNESS: chaos_pb2.WIRE_WITNESS,
        Wire.NETWORK: chaos_pb2.WIRE_NETWORK,
    }[wire]


def _judge(node: str, answer: Answer[chaos_pb2.ChaosReply]) -> None:
    from hvcluster.runtime.channels import Outcome

    if answer.outcome is Outcome.OK:
        return
    if answer.outcome is Outcome.INVALID:
        raise Failure(Exit.REFUSED, f"{node} takes no faults: {answer.detail}", "start the lab without --no-chaos")
    if answer.outcome is Outcome.REFUSED:
        raise Failure(Exit.REFUSED, f"{node} refuses: {answer.detail}")
    raise Failure(Exit.UNREACHABLE, f"{node} does not answer: {answer.detail}", f"is it up? `hvc start {node}`")
