"""A node's chaos service on a real server: what it accepts, what it refuses, and what it says is in force."""

from __future__ import annotations

import grpc.aio
import pytest

from hvcluster.node import chaos
from hvcluster.node.cuts import MAX_DELAY_US, PERFECT, Cuts, Quality, Wire
from hvcluster.runtime import channels, ports
from hvcluster.v1 import chaos_pb2, chaos_pb2_grpc

DEADLINE_S = 20.0


async def served(cuts: Cuts) -> channels.Served:
    """The service over these cuts."""

    def register(server: grpc.aio.Server) -> None:
        chaos_pb2_grpc.add_ChaosServicer_to_server(chaos.ChaosService(cuts, lambda vm, _: vm == "D1"), server)

    return await channels.serve(register, [chaos.SERVICE], ports.LOOPBACK, 0)


async def test_the_quality_of_wires_is_replaced_as_a_whole_and_told() -> None:
    """chaos.proto, Degrade: adapters are told; an empty quality is a perfect one; cuts are another matter."""
    cuts = Cuts({Wire.BUS: ("A",)})
    told: list[Quality] = []
    cuts.observe_quality(told.append)
    server = await served(cuts)
    try:
        async with channels.channel(ports.LOOPBACK, server.port) as channel:
            stub: chaos_pb2_grpc.ChaosAsyncStub = chaos_pb2_grpc.ChaosStub(channel)
            await stub.Cut(chaos_pb2.CutRequest(wire=chaos_pb2.WIRE_BUS), timeout=DEADLINE_S)
            bad = chaos_pb2.Quality(loss=0.25, doubling=0.5, message_delay_us=3, array_delay_us=4)
            answer = await stub.Degrade(chaos_pb2.DegradeRequest(quality=bad), timeout=DEADLINE_S)
            assert (answer.quality, len(answer.cuts)) == (bad, 1)
            assert cuts.quality == Quality(0.25, 0.5, 3, 4)
            assert (await stub.Heal(chaos_pb2.HealRequest(), timeout=DEADLINE_S)).quality == bad
            answer = await stub.Degrade(chaos_pb2.DegradeRequest(), timeout=DEADLINE_S)
            assert answer.quality == chaos_pb2.Quality()
    finally:
        await server.stop(0)
    assert cuts.quality is PERFECT, "the fast path asks for identity"
    assert told == [Quality(0.25, 0.5, 3, 4), PERFECT]


@pytest.mark.parametrize(
    "quality",
    [
        chaos_pb2.Quality(loss=0.95),
        chaos_pb2.Quality(doubling=-0.1),
        chaos_pb2.Quality(loss=float("nan")),
        chaos_pb2.Quality(message_delay_us=MAX_DELAY_US + 1),
        chaos_pb2.Quality(array_delay_us=MAX_DELAY_US + 1),
    ],
)
async def test_a_quality_out_of_range_is_refused_and_changes_nothing(quality: chaos_pb2.Quality) -> None:
    """Bad input: INVALID_ARGUMENT says which value and what it may be."""
    cuts = Cuts({})
    server = await served(cuts)
    try:
        async with channels.channel(ports.LOOPBACK, server.port) as channel:
            stub: chaos_pb2_grpc.ChaosAsyncStub = chaos_pb2_grpc.ChaosStub(channel)
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await stub.Degrade(chaos_pb2.DegradeRequest(quality=quality), timeout=DEADLINE_S)
            assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
            assert ", not 0 to " in str(refused.value.details())
    finally:
        await server.stop(0)
    assert cuts.quality is PERFECT
