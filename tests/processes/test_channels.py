"""Calls over gRPC: every one ends, in time, in one of five outcomes."""

import asyncio
import os
from collections.abc import AsyncIterator

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from hvcluster.runtime import channels, ports
from hvcluster.runtime.channels import Outcome

DEADLINE_S = 20.0
HEALTH = "grpc.health.v1.Health"


class Moody(health_pb2_grpc.HealthServicer):  # type: ignore[misc]  # the library ships no types
    """A service with a will of its own: answers with the status code asked for, or not at all."""

    async def Check(
        self, request: health_pb2.HealthCheckRequest, context: grpc.aio.ServicerContext[object, object]
    ) -> health_pb2.HealthCheckResponse:
        if request.service == "hang":
            await asyncio.Event().wait()
        if request.service == "raise":
            raise ValueError("our bug")
        if request.service == "big":
            return health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVING)
        await context.abort(grpc.StatusCode[request.service], "as you wish")
        raise AssertionError


@pytest.fixture
async def moody() -> AsyncIterator[int]:
    server = grpc.aio.server()
    health_pb2_grpc.add_HealthServicer_to_server(Moody(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield port
    await server.stop(None)


async def check(
    port: int, service: str, deadline_s: float = DEADLINE_S
) -> channels.Answer[health_pb2.HealthCheckResponse]:
    async with channels.channel(ports.LOOPBACK, port) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        return await channels.unary(stub.Check, health_pb2.HealthCheckRequest(service=service), deadline_s)


@pytest.mark.parametrize(
    ("code", "outcome"),
    [
        ("FAILED_PRECONDITION", Outcome.REFUSED),
        ("NOT_FOUND", Outcome.REFUSED),
        ("RESOURCE_EXHAUSTED", Outcome.REFUSED),
        ("INVALID_ARGUMENT", Outcome.INVALID),
        ("UNIMPLEMENTED", Outcome.INVALID),
        ("INTERNAL", Outcome.INVALID),
        ("raise", Outcome.INVALID),
        ("UNAVAILABLE", Outcome.UNAVAILABLE),
    ],
)
async def test_a_status_code_becomes_what_the_caller_may_conclude(moody: int, code: str, outcome: Outcome) -> None:
    """Callers decide by outcome, never by gRPC's code."""
    answer = await check(moody, code)
    assert (answer.outcome, answer.reply) == (outcome, None)
    assert answer.detail


def test_every_status_code_has_an_outcome() -> None:
    """A code that gRPC adds one day must not become a KeyError on a bad day."""
    assert set(channels._OUTCOMES) == set(grpc.StatusCode)


async def test_a_silent_peer_ends_in_deadline_and_may_have_applied(moody: int) -> None:
    """UNKNOWN is an answer."""
    answer = await check(moody, "hang", 0.1)
    assert answer.outcome is Outcome.DEADLINE
    assert answer.may_have_been_applied


async def test_nobody_there_is_unavailable_at_once() -> None:
    """A refused connection needs no deadline."""
    answer = await check(ports.free(1)[0], "x")
    assert answer.outcome is Outcome.UNAVAILABLE


async def test_a_request_above_the_limit_is_refused(moody: int) -> None:
    """The named limit counts on the way out already."""
    assert (await check(moody, "x" * (channels.MAX_MESSAGE_BYTES + 1))).outcome is Outcome.REFUSED


async def test_a_server_tells_its_health_and_services() -> None:
    """Health for compose and people, reflection for grpcurl; both on every server."""
    served = await channels.serve(lambda server: None, ["hvcluster.v1.Node"], ports.LOOPBACK, 0)
    try:
        for service in ("", "hvcluster.v1.Node"):
            answer = await check(served.port, service)
            assert answer.reply is not None
            assert answer.reply.status == health_pb2.HealthCheckResponse.SERVING
        await served.serving("hvcluster.v1.Node", False)
        answer = await check(served.port, "hvcluster.v1.Node")
        assert answer.reply is not None
        assert answer.reply.status == health_pb2.HealthCheckResponse.NOT_SERVING
        assert (await check(served.port, "hvcluster.v1.Nobody")).outcome is Outcome.REFUSED
    finally:
        await served.stop()


async def test_a_second_server_on_a_port_is_told_who_holds_it() -> None:
    """Without the option, gRPC would let both serve and share the calls."""
    served = await channels.serve(lambda server: None, [], ports.LOOPBACK, 0)
    try:
        with pytest.raises(ports.PortBusy, match=f"{served.port} is busy: held by pid {os.getpid()} "):
            await channels.serve(lambda server: None, [], ports.LOOPBACK, served.port)
    finally:
        await served.stop()


async def test_an_address_that_is_not_ours_is_an_os_error() -> None:
    """192.0.2.0/24 belongs to documentation (RFC 5737)."""
    with pytest.raises(OSError, match=r"cannot listen on 192.*Cannot assign"):
        await channels.serve(lambda server: None, [], "192.0.2.1", ports.free(1)[0])


async def test_a_channel_tries_a_broken_peer_again_within_half_a_second() -> None:
    """A node back from the dead must be reachable soon, however long it was gone. With gRPC's own backoff, which
    grows to two minutes, eight attempts take more than the deadline.
    """
    attempts = asyncio.Semaphore(0)

    def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        attempts.release()
        writer.close()

    listener = await asyncio.start_server(refuse, ports.LOOPBACK, 0)
    try:
        async with channels.channel(ports.LOOPBACK, listener.sockets[0].getsockname()[1]) as channel:
            channel.get_state(try_to_connect=True)
            async with asyncio.timeout(DEADLINE_S):
                for _ in range(8):
                    await attempts.acquire()
    finally:
        listener.close()
        await listener.wait_closed()


async def test_a_channel_made_before_its_server_finds_it() -> None:
    """Nodes start in any order, and come back on the same port."""
    port = ports.free(1)[0]
    async with channels.channel(ports.LOOPBACK, port) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        request = health_pb2.HealthCheckRequest()
        assert (await channels.unary(stub.Check, request, DEADLINE_S)).outcome is Outcome.UNAVAILABLE
        served = await channels.serve(lambda server: None, [], ports.LOOPBACK, port)
        try:
            async with asyncio.timeout(DEADLINE_S):
                reply = await stub.Check(request, wait_for_ready=True, timeout=DEADLINE_S)
            assert reply.status == health_pb2.HealthCheckResponse.SERVING
        finally:
            await served.stop()
