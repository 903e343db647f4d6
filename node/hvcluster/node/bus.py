"""A heartbeat network: the `HeartbeatBus` port and its MQTT 3.1.1 adapter.

Law: one client per bus, reconnecting for ever; nothing a broker does or omits blocks the loop or the other bus. What is
published while there is no connection is lost, except retained announcements, which go out again with the next one.

Deliveries take aiomqtt's public way for another queue (`queue_type`): one whose `put_nowait` hands the message on at
once. That costs half of iterating over `Client.messages`, which makes two tasks per message.
"""

from __future__ import annotations

import asyncio
import logging
import random
import socket
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

import aiomqtt
from structlog.typing import FilteringBoundLogger

from hvcluster.model.vocabulary import US_PER_S, Incarnation, NodeId
from hvcluster.runtime.logs import OncePerSender

from . import wire
from .core.messages import Heartbeat
from .cuts import PERFECT, Cuts, Direction, Wire
from .wire import Membership, Reason, Rejected

FIRST_BACKOFF_S: Final = 0.05
MAX_BACKOFF_S: Final = 1.0
"""A restarted broker is found again within a second (times time_scale); a dead one costs one attempt per second."""
MIN_BACKOFF_S: Final = 0.02
CONNECT_S: Final = 1.0
"""One TCP connect (it runs in a thread): a broker that drops packets must not hold the next attempt up for long."""
ANSWER_S: Final = 2.0
"""CONNACK, SUBACK and the last write at the end: local brokers need a millisecond, a busy machine some hundred."""
MAX_UNWRITTEN: Final = 128
"""Messages a socket has not taken yet: more than a turn ever makes, and few enough to be worthless when late."""
MAX_RETAINED: Final = 2_048
"""Announcements of one node: itself and its VMs; a lab has some hundred at most."""


_LIBRARY_LOG: Final = logging.getLogger("hvcluster.bus.library")
"""What the libraries would print of every broken connection; ours is told once, by `MqttBus`."""
_LIBRARY_LOG.addHandler(logging.NullHandler())
_LIBRARY_LOG.propagate = False
_LIBRARY_LOG.setLevel(logging.CRITICAL)


class Listener(Protocol):
    """Who wants to know what a bus delivered; called on the loop's thread, must not raise."""

    def heartbeat(self, bus: str, heartbeat: Heartbeat) -> None: ...

    def will(self, bus: str, node: NodeId, incarnation: Incarnation) -> None: ...


class HeartbeatBus(Protocol):
    """What a node needs of a heartbeat network."""

    @property
    def name(self) -> str: ...

    def identify(self, incarnation: Incarnation) -> None:
        """Speak under this incarnation from now on (its last will names it). Nothing is connected before."""

    def publish(self, heartbeat: bytes) -> None:
        """Publish a heartbeat, or lose it."""

    def announce(self, kind: str, name: str, payload: bytes) -> None:
        """Retain a fact for onlookers, now and after every reconnection."""

    async def run(self) -> None:
        """Keep connected until cancelled; then say goodbye (no last will)."""


class MqttBus:
    """One bus over aiomqtt. `scale` is time_scale; `keepalive_s` bounds how long a silent broker goes unnoticed."""

    def __init__(
        self,
        name: str,
        address: tuple[str, int],
        membership: Membership,
        listener: Listener,
        cuts: Cuts,
        ignored: OncePerSender,
        log: FilteringBoundLogger,
        *,
        scale: float = 1.0,
        keepalive_s: int = 1,
    ) -> None:
        assert not set("/+#") & set(membership.cluster_id), "a cluster id is one level of a topic"
        self._name = name
        self._address = address
        self._membership = membership
        self._listener = listener
        self._cuts = cuts
        self._ignored = ignored
        self._log = log
        self._max_backoff_s = max(FIRST_BACKOFF_S, MAX_BACKOFF_S * scale)
        self._keepalive_s = keepalive_s
        self._root = f"hvcluster/{membership.cluster_id}/"
        self._beats = self._root + "heartbeat/"
        self._wills = self._root + "will/"
        self._own_beat = f"{self._beats}{membership.node}"
        self._own_will = f"{self._wills}{membership.node}"
        self._incarnation: Incarnation | None = None
        self._identified = asyncio.Event()
        self._changed = asyncio.Event()
        self._retained: dict[str, bytes] = {}
        self._unsent: dict[str, bytes] = {}
        self._client: _Client | None = None
        self._told = ""
        self.delivered = 0
        self.connections = 0  # made so far
        cuts.observe(self._cut_changed)

    @property
    def name(self) -> str:
        """The bus's name in the definition of the lab, such as A."""
        return self._name

    @property
    def connected(self) -> bool:
        """Whether a broker has accepted us and our subscriptions."""
        return self._client is not None

    def identify(self, incarnation: Incarnation) -> None:
        """See HeartbeatBus."""
        if incarnation != self._incarnation:
            self._incarnation = incarnation
            self._identified.set()
            self._changed.set()

    def publish(self, heartbeat: bytes) -> None:
        """See HeartbeatBus. Lost as well while the socket takes no more bytes: late heartbeats are worthless."""
        client = self._client
        if client is None or self._cuts.loses(Wire.BUS, self._name, Direction.OUT):
            return
        if client.writable():
            client.put(self._own_beat, heartbeat)
        if self._unsent:
            self._flush()

    def announce(self, kind: str, name: str, payload: bytes) -> None:
        """See HeartbeatBus."""
        topic = f"{self._root}{kind}/{name}"
        if topic not in self._retained and len(self._retained) >= MAX_RETAINED:
            self._ignored.report("too-many-announcements", self._name, topic)
            return
        self._retained[topic] = self._unsent[topic] = payload
        self._flush()

    async def run(self) -> None:
        """See HeartbeatBus."""
        backoff_s = FIRST_BACKOFF_S
        while True:
            await self._identified.wait()
            self._changed.clear()
            try:
                await self._session()
                backoff_s = FIRST_BACKOFF_S
                continue  # a new incarnation: connect again at once
            except (aiomqtt.MqttError, OSError) as error:
                lost = self._client is not None
                if lost:
                    backoff_s = FIRST_BACKOFF_S
                self._tell("bus lost" if lost else "bus cannot be reached", str(error) or "no reason given")
            finally:
                self._client = None
            await _either(self._changed, max(MIN_BACKOFF_S, backoff_s))
            backoff_s = min(backoff_s * 2, self._max_backoff_s)

    async def _session(self) -> None:
        """Connected until a new incarnation is set. Raises MqttError when the connection is lost or cannot be made."""
        assert self._incarnation is not None
        will = wire.will_bytes(self._membership.cluster_id, self._membership.node, self._incarnation)
        client = _Client(
            *self._address,
            identifier=f"{self._membership.cluster_id}-node-{self._membership.node}",
            protocol=aiomqtt.ProtocolVersion.V311,
            will=aiomqtt.Will(self._own_will, will, qos=1),
            logger=_LIBRARY_LOG,
            timeout=ANSWER_S,
            keepalive=self._keepalive_s,
            queue_type=_handing_to(self._deliver),
            socket_options=((socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),),
        )
        try:
            await client.__aenter__()
        except BaseException:
            client.abandon()
            raise
        try:
            await client.subscribe([(self._beats + "+", 0), (self._wills + "+", 1)])
            self._client = client
            self.connections += 1
            self._tell("bus connected", "")
            self._unsent = dict(self._retained)
            self._flush()
            await self._until_changed(client)
        finally:
            await client.__aexit__(None, None, None)

    async def _until_changed(self, client: aiomqtt.Client) -> None:
        lost = asyncio.create_task(_next(client), name=f"bus {self._name} connection")
        changed = asyncio.create_task(self._changed.wait(), name=f"bus {self._name} incarnation")
        tasks = (lost, changed)
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _flush(self) -> None:
        """Send the announcements that wait, as long as the socket takes them; each heartbeat tries again."""
        client = self._client
        if client is None or self._cuts.loses(Wire.BUS, self._name, Direction.OUT):
            return
        while self._unsent and client.writable():
            topic = next(iter(self._unsent))
            client.put(topic, self._unsent.pop(topic), retain=True)

    def _deliver(self, message: aiomqtt.Message) -> None:
        topic = message.topic.value
        if topic in (self._own_beat, self._own_will) or self._cuts.loses(Wire.BUS, self._name, Direction.IN):
            return
        self.delivered += 1
        quality = self._cuts.quality
        if quality is PERFECT or not topic.startswith(self._beats):
            self._take(topic, message)
        elif random.random() >= quality.loss:
            delay_s = random.uniform(0.0, 2.0 * quality.message_delay_us / US_PER_S)
            asyncio.get_running_loop().call_later(delay_s, self._take, topic, message)

    def _take(self, topic: str, message: aiomqtt.Message) -> None:
        try:
            self._read(topic, message)
        except Rejected as error:
            self._ignored.report(error.reason.value, f"bus {self._name}: {error.sender}", error.detail)

    def _read(self, topic: str, message: aiomqtt.Message) -> None:
        payload = message.payload
        if not isinstance(payload, bytes):
            raise Rejected(Reason.MALFORMED, "no bytes", topic)
        if message.retain:
            raise Rejected(Reason.MALFORMED, "retained, hence of unknown age", topic)
        if topic.startswith(self._beats):
            beat = wire.read_heartbeat(payload, self._membership)
            if topic != f"{self._beats}{beat.node}":
                raise Rejected(Reason.WRONG_TOPIC, topic, f"node {beat.node}")
            self._listener.heartbeat(self._name, beat)
        elif topic.startswith(self._wills):
            node, incarnation = wire.read_will(payload, self._membership)
            if topic != f"{self._wills}{node}":
                raise Rejected(Reason.WRONG_TOPIC, topic, f"node {node}")
            self._listener.will(self._name, node, incarnation)
        else:
            raise Rejected(Reason.WRONG_TOPIC, topic, "the broker")

    def _cut_changed(self, kind: Wire, name: str, direction: Direction) -> None:
        if kind is Wire.BUS and name == self._name and not direction & Direction.OUT:
            self._unsent = dict(self._retained)
            self._flush()

    def _tell(self, what: str, why: str) -> None:
        """Log a change of the connection once, however often an attempt repeats it."""
        if what != self._told:
            self._told = what
            self._log.info(what, bus=self._name, address="{}:{}".format(*self._address), reason=why)


class _Written(Protocol):
    """paho's handle of a message that was queued."""

    def is_published(self) -> bool: ...


class _Client(aiomqtt.Client):
    """Things of paho that aiomqtt keeps to itself; only here are they touched."""

    def __init__(self, hostname: str, port: int, **options: object) -> None:
        super().__init__(hostname, port, **options)  # type: ignore[arg-type]  # passed through as they are
        self._client.connect_timeout = CONNECT_S
        self._unwritten: deque[_Written] = deque()

    def writable(self) -> bool:
        """Whether the socket keeps up with what was put."""
        while self._unwritten and self._unwritten[0].is_published():
            self._unwritten.popleft()
        return len(self._unwritten) < MAX_UNWRITTEN

    def put(self, topic: str, payload: bytes, retain: bool = False) -> None:
        """Publish with quality of service 0, without waiting; it is written in the loop's next turn.

        Nothing is raised when the connection is lost: its reader tells.
        """
        info = self._client.publish(topic, payload, 0, retain)
        if info.rc == 0:
            self._unwritten.append(info)

    def abandon(self) -> None:
        """Close the socket of a connection that was never acknowledged; aiomqtt would leave it open."""
        self._client.disconnect()


def _handing_to(deliver: Callable[[aiomqtt.Message], None]) -> type[asyncio.Queue[aiomqtt.Message]]:
    class Handing(asyncio.Queue[aiomqtt.Message]):
        """Never holds a message."""

        def put_nowait(self, item: aiomqtt.Message) -> None:
            deliver(item)

    return Handing


async def _next(client: aiomqtt.Client) -> None:
    """Ends only by raising MqttError: the queue behind `messages` never holds one."""
    await anext(client.messages)


async def _either(event: asyncio.Event, timeout_s: float) -> None:
    try:
        async with asyncio.timeout(timeout_s):
            await event.wait()
    except TimeoutError:
        pass
