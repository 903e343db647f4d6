"""The Chaos service: faults an operator injects into this node's own wires and VMs. Registered only with --allow-chaos.

Law: translates between the wire, `cuts` and the VM host; what a cut does is the adapters' affair.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

import grpc
import grpc.aio

from hvcluster.v1 import chaos_pb2, chaos_pb2_grpc

from .core.guest_health import SERVICE_PREFIX
from .cuts import Cuts, Direction, Quality, UnknownWire, Wire

SERVICE: Final = chaos_pb2.DESCRIPTOR.services_by_name["Chaos"].full_name

SERVICE_WAY: Final = re.compile(SERVICE_PREFIX + r"[A-Za-z0-9][A-Za-z0-9._ -]{0,63}")
WAYS_TO_BREAK: Final = ("crash", "hang", "application", "crash-monitor", "hang-monitor")

_WIRES: Final = {
    chaos_pb2.WIRE_BUS: Wire.BUS,
    chaos_pb2.WIRE_PEER: Wire.PEER,
    chaos_pb2.WIRE_ARRAY: Wire.ARRAY,
    chaos_pb2.WIRE_WITNESS: Wire.WITNESS,
    chaos_pb2.WIRE_NETWORK: Wire.NETWORK,
}
_DIRECTIONS: Final = {
    chaos_pb2.DIRECTION_BOTH: Direction.BOTH,
    chaos_pb2.DIRECTION_OUT: Direction.OUT,
    chaos_pb2.DIRECTION_IN: Direction.IN,
}
_WIRES_BACK: Final = {wire: number for number, wire in _WIRES.items()}
_DIRECTIONS_BACK: Final = {direction: number for number, direction in _DIRECTIONS.items()}


class ChaosService(chaos_pb2_grpc.ChaosServicer):
    """Every call answers with how the wires are afterwards; a wire that does not exist is INVALID_ARGUMENT."""

    def __init__(self, cuts: Cuts, break_vm: Callable[[str, str], bool]) -> None:
        """`break_vm`: breaks the VM of a group in one of WAYS_TO_BREAK, or a service in it; False where none runs."""
        self._cuts = cuts
        self._break_vm = break_vm

    async def Cut(
        self,
        request: chaos_pb2.CutRequest,
        context: grpc.aio.ServicerContext[chaos_pb2.CutRequest, chaos_pb2.ChaosReply],
    ) -> chaos_pb2.ChaosReply:
        """Cut a wire; an unspecified direction means both."""
        wire = _WIRES.get(request.wire)
        if wire is None:
            await context.abort(
                grpc.StatusCode.INVALID_ARGUMENT, "say which wire: bus, peer, array, network or witness"
            )
        direction = _DIRECTIONS.get(request.direction, Direction.BOTH)
        try:
            self._cuts.cut(wire, request.name, direction)
        except UnknownWire as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        return self._reply()

    async def Heal(
        self,
        request: chaos_pb2.HealRequest,
        context: grpc.aio.ServicerContext[chaos_pb2.HealRequest, chaos_pb2.ChaosReply],
    ) -> chaos_pb2.ChaosReply:
        """Heal a wire, or all."""
        try:
            self._cuts.heal(_WIRES.get(request.wire), request.name)
        except UnknownWire as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        return self._reply()

    async def Degrade(
        self,
        request: chaos_pb2.DegradeRequest,
        context: grpc.aio.ServicerContext[chaos_pb2.DegradeRequest, chaos_pb2.ChaosReply],
    ) -> chaos_pb2.ChaosReply:
        """Let wires lose, double and delay; without a quality they are perfect again."""
        asked = request.quality
        quality = Quality(
            asked.loss, asked.doubling, asked.message_delay_us, asked.array_delay_us, asked.witness_delay_us
        )
        if problem := quality.problem():
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, problem)
        self._cuts.degrade(quality)
        return self._reply()

    async def List(
        self,
        request: chaos_pb2.ListRequest,
        context: grpc.aio.ServicerContext[chaos_pb2.ListRequest, chaos_pb2.ChaosReply],
    ) -> chaos_pb2.ChaosReply:
        """What is cut now, and how well the rest works."""
        return self._reply()

    async def BreakVm(
        self,
        request: chaos_pb2.BreakVmRequest,
        context: grpc.aio.ServicerContext[chaos_pb2.BreakVmRequest, chaos_pb2.ChaosReply],
    ) -> chaos_pb2.ChaosReply:
        """Break a VM of this node."""
        if request.how not in WAYS_TO_BREAK and not SERVICE_WAY.fullmatch(request.how):
            text = f"{request.how[:80]!r} is no way to break a VM; one of {', '.join(WAYS_TO_BREAK)}, service:NAME"
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, text)
        if not self._break_vm(request.group, request.how):
            await context.abort(
                grpc.StatusCode.INVALID_ARGUMENT, f"no VM {request.group!r}, or no resource monitor, runs on this node"
            )
        return self._reply()

    def _reply(self) -> chaos_pb2.ChaosReply:
        now = self._cuts.quality
        return chaos_pb2.ChaosReply(
            quality=chaos_pb2.Quality(
                loss=now.loss,
                doubling=now.doubling,
                message_delay_us=now.message_delay_us,
                array_delay_us=now.array_delay_us,
                witness_delay_us=now.witness_delay_us,
            ),
            cuts=[
                chaos_pb2.CutRequest(wire=_WIRES_BACK[wire], name=name, direction=_DIRECTIONS_BACK[direction])
                for wire, name, direction in self._cuts.now()
            ],
        )
