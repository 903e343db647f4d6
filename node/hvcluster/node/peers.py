"""Direct wires between nodes: the Consensus service, the queue to each peer, and the probe of a peer's port.

Law: messages to one peer leave in order, one call in flight; what has waited longer than a call may take is dropped,
and a failed call drops what it carried: messages may be lost, their answers are messages of their own. Whatever waits
while a call is in flight travels together in the next one (measured: a call takes 0.4 ms and costs 0.35 ms of CPU on
both sides together; several in flight gained nothing, so a burst of 20 reports would have cost 20 times that).
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from typing import Final, Protocol

import grpc
import grpc.aio
from structlog.typing import FilteringBoundLogger

from hvcluster.model.vocabulary import US_PER_S, Incarnation, NodeId, StoreId
from hvcluster.runtime import channels
from hvcluster.runtime.channels import Outcome
from hvcluster.runtime.logs import OncePerSender
from hvcluster.v1 import consensus_pb2

from . import envelopes
from .core.events import ProbeOutcome
from .core.messages import Message
from .cuts import PERFECT, Cuts, Direction, Quality, Wire
from .envelopes import MAX_ENVELOPE_BYTES, Delivery
from .wire import Membership, Rejected

MIN_DEADLINE_S: Final = 0.1
"""A call that a busy machine delays by a scheduling quantum or two is not lost."""
MAX_WAITING: Final = 512
"""Messages waiting for one peer. A peer that answers never has more than a burst waiting (a report per group)."""
MAX_TOGETHER_BYTES: Final = MAX_ENVELOPE_BYTES - 1024
MAX_TOGETHER: Final = 256
"""Messages of one call: above, the receiver would be busy with one peer for too long."""
SERVICE: Final = consensus_pb2.DESCRIPTOR.services_by_name["Consensus"].full_name
METHOD: Final = "Deliver"
TAKEN: Final = consensus_pb2.Delivered().SerializeToString()


class Receiver(Protocol):
    """Who wants to know what peers say; called on the loop's thread, must not raise."""

    def message(self, delivery: Delivery) -> None: ...


class Peers:
    """All peers of one node. `run` sends; nothing leaves before `identify`."""

    def __init__(
        self,
        addresses: Mapping[NodeId, tuple[str, int]],
        membership: Membership,
        cuts: Cuts,
        ignored: OncePerSender,
        log: FilteringBoundLogger,
        deadline_s: float,
    ) -> None:
        self._membership = membership
        self._cuts = cuts
        self._ignored = ignored
        self._identity: tuple[StoreId, Incarnation] | None = None
        self._deadline_s = max(MIN_DEADLINE_S, deadline_s)
        self._addresses = dict(addresses)
        self._lines = {node: _Line(node, self._deadline_s, log) for node in addresses}
        self._tasks: asyncio.TaskGroup | None = None

    def identify(self, store: StoreId, incarnation: Incarnation) -> None:
        """Speak under this identity from now on."""
        self._identity = (store, incarnation)

    def send(self, to: NodeId, message: Message) -> None:
        """Queue a message to a peer; it may be lost."""
        line = self._lines.get(to)
        if line is None or self._identity is None:
            self._ignored.report("no-address", f"node {to}", "no --peer was given for it")
            return
        if self._cuts.loses(Wire.PEER, str(to), Direction.OUT):
            return
        try:
            envelope = envelopes.envelope_bytes(self._membership, *self._identity, to, message)
        except Rejected as error:
            self._ignored.report(f"unsendable-{error.reason.value}", error.sender, error.detail)
            return
        if self._cuts.quality is PERFECT:
            line.push(envelope)
        else:
            self._send_badly(line, envelope, self._cuts.quality)

    def _send_badly(self, line: _Line, envelope: bytes, quality: Quality) -> None:
        """On a wire that loses, doubles and delays; what is late may be overtaken."""
        if random.random() < quality.loss:
            return
        delay_s = random.uniform(0.0, 2.0 * quality.message_delay_us / US_PER_S)
        later = asyncio.get_running_loop().call_later
        later(delay_s, line.push, envelope)
        if random.random() < quality.doubling:
            later(delay_s + random.uniform(0.0, self._deadline_s / 2), line.push, envelope)

    def probe(self, node: NodeId, answer: Callable[[ProbeOutcome], None]) -> None:
        """Try to connect to a peer's port; `answer` is called exactly once, later."""
        assert self._tasks is not None, "probes need a running `run`"
        self._tasks.create_task(self._probe(node, answer), name=f"probe of node {node}")

    def lost(self) -> dict[str, int]:
        """How many messages were dropped, by peer and reason."""
        return {
            f"node {node}: {reason}": count
            for node, line in self._lines.items()
            for reason, count in sorted(line.dropped.items())
        }

    async def run(self) -> None:
        """Send to every peer until cancelled."""
        async with asyncio.TaskGroup() as self._tasks:
            for node, line in self._lines.items():
                self._tasks.create_task(line.run(*self._addresses[node]), name=f"messages to node {node}")

    async def _probe(self, node: NodeId, answer: Callable[[ProbeOutcome], None]) -> None:
        address = self._addresses.get(node)
        outcome = ProbeOutcome.UNKNOWN
        if address is not None and not self._cuts.loses(Wire.PEER, str(node), Direction.BOTH):
            outcome = await knock(*address, self._deadline_s)
        answer(outcome)


class _Line:
    """The way to one peer: a bounded queue, and the task that empties it."""

    def __init__(self, node: NodeId, deadline_s: float, log: FilteringBoundLogger) -> None:
        self._node = node
        self._deadline_s = deadline_s
        self._log = log
        self._waiting: deque[tuple[float, bytes]] = deque()
        self._wake = asyncio.Event()
        self._last = Outcome.OK
        self.dropped: Counter[str] = Counter()

    def push(self, envelope: bytes) -> None:
        if len(self._waiting) >= MAX_WAITING:
            self._waiting.popleft()
            self.dropped["queue-full"] += 1
        self._waiting.append((time.monotonic() + self._deadline_s, envelope))
        self._wake.set()

    async def run(self, host: str, port: int) -> None:
        channel = channels.channel(host, port)
        method: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(f"/{SERVICE}/{METHOD}")
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                while batch := self._take():
                    answer = await channels.unary(method, envelopes.join(batch), self._deadline_s)
                    if answer.outcome is not Outcome.OK:
                        self.dropped[answer.outcome.value] += len(batch)
                    self._note(answer.outcome, answer.detail)
        finally:
            await channel.close()

    def _take(self) -> list[bytes]:
        """What travels in the next call: in order, without what is too old."""
        batch: list[bytes] = []
        size, now = 0, time.monotonic()
        while self._waiting and len(batch) < MAX_TOGETHER:
            expires, envelope = self._waiting[0]
            if now > expires:
                self.dropped["too-late"] += 1
            elif batch and size + len(envelope) > MAX_TOGETHER_BYTES:
                break
            else:
                batch.append(envelope)
                size += len(envelope) + 8
            self._waiting.popleft()
        return batch

    def _note(self, outcome: Outcome, detail: str) -> None:
        """Log changes only: a dead peer fails every call."""
        if outcome is not self._last:
            self._last = outcome
            self._log.debug("messages to peer", peer=self._node, outcome=outcome.value, detail=detail[:200])


async def knock(host: str, port: int, deadline_s: float) -> ProbeOutcome:
    """Connect to a port and hang up."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(deadline_s):
            transport, _ = await loop.create_connection(asyncio.Protocol, host, port)
    except ConnectionRefusedError:
        return ProbeOutcome.REFUSED
    except OSError:  # TimeoutError is one
        return ProbeOutcome.UNKNOWN
    transport.abort()
    return ProbeOutcome.ANSWERED


def add_to_server(
    server: grpc.aio.Server, membership: Membership, receiver: Receiver, cuts: Cuts, ignored: OncePerSender
) -> None:
    """Serve Consensus. Payloads are taken as bytes, so that unreadable ones are counted like all others."""

    async def deliver(payload: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        for item in envelopes.read(payload, membership):
            if isinstance(item, Rejected):
                ignored.report(item.reason.value, f"{_origin(context.peer())}: {item.sender}", item.detail)
            elif not cuts.loses(Wire.PEER, str(item.sender), Direction.IN):
                receiver.message(item)
        return TAKEN

    handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(deliver)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {METHOD: handler}),))


def _origin(peer: str) -> str:
    """`ipv4:10.0.0.1:4711` without the port, which changes with every connection."""
    return peer.rpartition(":")[0] or peer
