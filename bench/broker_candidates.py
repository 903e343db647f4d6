"""Brokers that were judged and not taken, startable for `bench/broker.py` and for the conformance tests.

Law: as small as a fair comparison allows; nothing here is part of the product, and neither `amqtt` nor `mqtt5` is a
dependency of it (install them to repeat the comparison). `python bench/broker_candidates.py amqtt --bind A --port P`.
"""

import argparse
import asyncio
import importlib
import logging
from collections import defaultdict
from typing import Any

import uvloop

from hvcluster.runtime.broker.codec import matches


async def amqtt(bind: str, port: int) -> None:
    """amqtt as it comes, with anonymous access and without its $SYS topics."""
    logging.basicConfig(level=logging.ERROR)
    module = importlib.import_module("amqtt.broker")
    plugins = {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}}
    listeners = {"default": {"type": "tcp", "bind": f"{bind}:{port}"}}
    await module.Broker({"listeners": listeners, "plugins": plugins}).start()
    await asyncio.Event().wait()


class Mqtt5Connection(asyncio.Protocol):
    """The least that forwards quality of service 0 on the `mqtt5` codec: enough to measure what the codec costs."""

    mqtt5: Any = None
    subscribers: dict[str, set["Mqtt5Connection"]] = defaultdict(set)  # noqa: RUF012
    routes: dict[str, list["Mqtt5Connection"]] = {}  # noqa: RUF012

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.rest = b""

    def connection_lost(self, exc: Exception | None) -> None:
        for subscribers in self.subscribers.values():
            subscribers.discard(self)
        self.routes.clear()

    def data_received(self, data: bytes) -> None:
        view = memoryview(self.rest + data)
        while view:
            try:
                packet, used = self.mqtt5.read(view)
            except IndexError:
                break
            view = view[used:]
            self.handle(packet)
        self.rest = bytes(view)

    def handle(self, packet: Any) -> None:
        match type(packet).__name__:
            case "PublishPacket":
                data = self.mqtt5.PublishPacket(packet.topic, packet.payload).write()
                for receiver in self.route(packet.topic):
                    receiver.transport.write(data)
            case "ConnectPacket":
                self.transport.write(self.mqtt5.ConnAckPacket().write())
            case "SubscribePacket":
                for wanted in packet.topic_filters:
                    self.subscribers[wanted.pattern].add(self)
                self.routes.clear()
                granted = [self.mqtt5.SubAckReasonCode.GRANTED_QOS_AT_MOST_ONCE] * len(packet.topic_filters)
                self.transport.write(self.mqtt5.SubAckPacket(packet.packet_id, granted).write())
            case "PingReqPacket":
                self.transport.write(self.mqtt5.PingRespPacket().write())
            case _:
                pass

    def route(self, topic: str) -> list["Mqtt5Connection"]:
        if topic not in self.routes:
            found = [receivers for pattern, receivers in self.subscribers.items() if matches(pattern, topic)]
            self.routes[topic] = sorted(set().union(*found), key=id)
        return self.routes[topic]


async def mqtt5(bind: str, port: int) -> None:
    """A prototype on the `mqtt5` codec, which speaks MQTT 5 only."""
    Mqtt5Connection.mqtt5 = importlib.import_module("mqtt5")
    await asyncio.get_running_loop().create_server(Mqtt5Connection, bind, port)
    await asyncio.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("candidate", choices=("amqtt", "mqtt5"))
    parser.add_argument("--bind", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args()
    candidate = amqtt if options.candidate == "amqtt" else mqtt5
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(candidate(options.bind, options.port))


if __name__ == "__main__":
    main()
