"""gRPC between the processes of a lab: channels, calls with deadlines, servers with health and reflection.

Law: the one place that knows grpc options and status codes. A call always has a deadline and always ends in
one `Outcome`; callers never see `AioRpcError`. What an outcome means for a cluster is decided elsewhere.
"""

import enum
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

import grpc
import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection  # type: ignore[import-untyped]

from hvcluster.runtime import ports

MAX_MESSAGE_BYTES = 4 * 1024 * 1024
"""One message, both ways: a SCSI transfer is at most 1 MiB and a snapshot travels in chunks of 1 MiB; four
times that leaves room for envelopes and stops a runaway peer early. (Also gRPC's own default for receiving.)
"""
BACKOFF_INITIAL_MS = 50
BACKOFF_MIN_MS = 50
BACKOFF_MAX_MS = 500
"""A restarted neighbour on a local wire is tried again within half a second; gRPC's default is up to two
minutes.
"""
CONNECT_MS = 1_000
"""One attempt to connect: a peer that drops packets must not hold up the next attempt for long."""
KEEPALIVE_MS = 10_000
KEEPALIVE_TIMEOUT_MS = 5_000
"""Finds dead connections that carry nothing. Liveness itself is judged by heartbeats, much sooner."""
SERVER_GRACE_S = 0.5
"""What running calls get when a server stops politely."""
MAX_CONCURRENT_STREAMS = 1_024
"""Per connection: 64 nodes with a stream per path and some calls each stay far below."""

_LIMITS: list[tuple[str, int]] = [
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.keepalive_time_ms", KEEPALIVE_MS),
    ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT_MS),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
]
_CHANNEL_OPTIONS: list[tuple[str, int]] = [
    *_LIMITS,
    ("grpc.initial_reconnect_backoff_ms", BACKOFF_INITIAL_MS),
    ("grpc.min_reconnect_backoff_ms", BACKOFF_MIN_MS),
    ("grpc.max_reconnect_backoff_ms", BACKOFF_MAX_MS),
    ("grpc.enable_retries", 0),  # a retry unknown to the caller would make two of one command
    ("grpc.use_local_subchannel_pool", 1),  # a second channel must not inherit the backoff of the first
    ("grpc.enable_http_proxy", 0),  # a proxy from the environment has no business on a cluster's wires
]
_SERVER_OPTIONS: list[tuple[str, int]] = [
    *_LIMITS,
    (
        "grpc.so_reuseport",
        0,
    ),  # two servers on one port would share its calls instead of one being told it is busy
    ("grpc.http2.min_ping_interval_without_data_ms", KEEPALIVE_MS // 2),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", KEEPALIVE_MS // 2),
    ("grpc.max_concurrent_streams", MAX_CONCURRENT_STREAMS),
]

RequestT = TypeVar("RequestT")
ReplyT = TypeVar("ReplyT")


class Outcome(enum.Enum):
    """How a call ended, by what the caller may conclude from it."""

    OK = "ok"
    """Answered."""
    REFUSED = "refused"
    """The peer received it and said no (its state, its permissions, its load): it was not applied."""
    INVALID = "invalid"
    """The peer does not understand it, or one side failed inside: repeating it will not help."""
    UNAVAILABLE = "unavailable"
    """No connection, or it broke: if the call had left, it may have been applied."""
    DEADLINE = "deadline"
    """No answer in time: it may have been applied."""


_OUTCOMES: dict[grpc.StatusCode, Outcome] = {
    grpc.StatusCode.OK: Outcome.OK,
    grpc.StatusCode.DEADLINE_EXCEEDED: Outcome.DEADLINE,
    grpc.StatusCode.CANCELLED: Outcome.UNAVAILABLE,
    grpc.StatusCode.UNAVAILABLE: Outcome.UNAVAILABLE,
    grpc.StatusCode.UNKNOWN: Outcome.INVALID,
    grpc.StatusCode.INTERNAL: Outcome.INVALID,
    grpc.StatusCode.DATA_LOSS: Outcome.INVALID,
    grpc.StatusCode.INVALID_ARGUMENT: Outcome.INVALID,
    grpc.StatusCode.OUT_OF_RANGE: Outcome.INVALID,
    grpc.StatusCode.UNIMPLEMENTED: Outcome.INVALID,
    grpc.StatusCode.NOT_FOUND: Outcome.REFUSED,
    grpc.StatusCode.ALREADY_EXISTS: Outcome.REFUSED,
    grpc.StatusCode.PERMISSION_DENIED: Outcome.REFUSED,
    grpc.StatusCode.UNAUTHENTICATED: Outcome.REFUSED,
    grpc.StatusCode.RESOURCE_EXHAUSTED: Outcome.REFUSED,
    grpc.StatusCode.FAILED_PRECONDITION: Outcome.REFUSED,
    grpc.StatusCode.ABORTED: Outcome.REFUSED,
}


@dataclass(frozen=True, slots=True)
class Answer(Generic[ReplyT]):
    """The end of one call: `reply` is there exactly when `outcome` is OK; `detail` is the peer's or grpc's
    text.
    """

    outcome: Outcome
    reply: ReplyT | None
    detail: str = ""

    @property
    def may_have_been_applied(self) -> bool:
        """Whether the caller cannot know: ask again or read before assuming."""
        return self.outcome in (Outcome.DEADLINE, Outcome.UNAVAILABLE)


def channel(address: str, port: int) -> grpc.aio.Channel:
    """An unencrypted channel. Connecting starts with the first call; close it with `await channel.close()`."""
    return grpc.aio.insecure_channel(_target(address, port), options=_CHANNEL_OPTIONS)


async def unary(
    method: "grpc.aio.UnaryUnaryMultiCallable[RequestT, ReplyT]", request: RequestT, deadline_s: float
) -> Answer[ReplyT]:
    """Call a unary method of a generated stub. Raises nothing but `asyncio.CancelledError` of the calling
    task.
    """
    try:
        return Answer(Outcome.OK, await method(request, timeout=deadline_s))
    except grpc.aio.AioRpcError as error:
        return Answer(outcome_of(error), None, error.details() or error.code().name)


def outcome_of(error: grpc.aio.AioRpcError) -> Outcome:
    """What a status code lets a caller conclude; for streams, which `unary` does not cover."""
    return _OUTCOMES[error.code()]


class Served:
    """A running server. `port` is the one really listened on; stop it with `await stop()`."""

    def __init__(self, server: grpc.aio.Server, port: int, health_service: health.aio.HealthServicer) -> None:
        self.server = server
        self.port = port
        self._health = health_service

    async def serving(self, service: str, ready: bool) -> None:
        """Change what the health service says about one service ("" is the whole process)."""
        await self._health.set(service, _health(ready))

    async def stop(self, grace_s: float = SERVER_GRACE_S) -> None:
        """Say "not serving", take no new calls, let running ones end within `grace_s`, cancel the rest."""
        await self._health.enter_graceful_shutdown()
        await self.server.stop(grace_s)


async def serve(
    register: Callable[[grpc.aio.Server], None],
    services: Iterable[str],
    address: str,
    port: int,
) -> Served:
    """Start a server on `address:port` (0: any free port), with health and reflection for the full names
    `services`.

    `register` adds the servicers. Raises `ports.PortBusy` where somebody else listens there, `OSError` where
    the address cannot be bound otherwise.
    """
    names = sorted(services)
    health_service = health.aio.HealthServicer()
    server = grpc.aio.server(options=_SERVER_OPTIONS)
    register(server)
    health_pb2_grpc.add_HealthServicer_to_server(health_service, server)
    reflection.enable_server_reflection(
        [*names, health_pb2.DESCRIPTOR.services_by_name["Health"].full_name, reflection.SERVICE_NAME], server
    )
    try:
        bound = server.add_insecure_port(_target(address, port))
    except RuntimeError as error:
        await server.stop(None)
        raise _bind_error(address, port, str(error)) from None
    await server.start()
    for name in ("", *names):
        await health_service.set(name, _health(True))
    return Served(server, bound, health_service)


def _bind_error(address: str, port: int, said: str) -> OSError:
    """What grpc does not tell: why an address could not be bound. Found out by trying it once more."""
    try:
        if not ports.is_free(port, address):
            return ports.busy(address, port)
    except OSError as error:
        return OSError(error.errno, f"cannot listen on {address}:{port}: {error.strerror}")
    return OSError(f"cannot listen on {address}:{port}: {said}")


def _health(ready: bool) -> health_pb2.HealthCheckResponse.ServingStatus.ValueType:
    status = health_pb2.HealthCheckResponse
    return status.SERVING if ready else status.NOT_SERVING


def _target(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
