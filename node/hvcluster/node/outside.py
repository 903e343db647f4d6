"""What a node's effects become: heartbeats on all buses, messages, SCSI commands, VMs, announcements, facts.

Law: joins the adapters to the driver and decides nothing. What adapters hear goes into the inbox as events: what may be
lost is offered, what must not is posted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from structlog.typing import FilteringBoundLogger

from hvcluster.model.definition import ClusterDefinition, initiator_name
from hvcluster.model.facts import Fact, FactKind
from hvcluster.model.properties import Timing
from hvcluster.model.scsi import UNKNOWN, Command, Result
from hvcluster.model.share import ShareAnswer, ShareRequest
from hvcluster.model.vocabulary import US_PER_S, Generation, Incarnation, LunId, NodeId, PathName, StoreId
from hvcluster.runtime.logs import OncePerSender
from hvcluster.v1 import heartbeat_pb2

from . import initiator, wire
from .bus import HeartbeatBus, MqttBus
from .core import effects as fx
from .core import events as ev
from .core.guest_state import GuestImage
from .core.messages import Heartbeat, Message
from .cuts import Cuts, Direction, Wire
from .envelopes import Delivery
from .factlog import FactLog
from .guest.host import VmHost
from .guest.ports import Placement
from .initiator import Initiator
from .memory import MemoryStreams
from .monitor import WAYS_TO_BREAK, Monitor
from .peers import Peers
from .service import Service
from .share import NAME as WITNESS_NAME
from .share import ShareWire, WitnessAddress
from .wire import Membership

TARGET_NAME: Final = "iqn.2026-01.lab.hvcluster:array"
"""The array's name when none is given: the default of `python -m hvcluster.san`."""
ANNOUNCED_BY: Final = frozenset({
    FactKind.SERVICE_STARTED, FactKind.SERVICE_STOPPED, FactKind.QUORUM_LOST, FactKind.QUORUM_HELD, FactKind.NODE_UP,
    FactKind.NODE_DOWN, FactKind.NODE_LEAVING, FactKind.LEADER_ELECTED, FactKind.LEADER_RESIGNED,
})  # fmt: skip
"""Facts after which a node's announcement may read differently."""
MIN_KEEPALIVE_S: Final = 1
"""MQTT counts whole seconds. A bus that dies is found by its closed connection; this finds one that is silent."""

_ARRAY_CUTS: Final = {
    Direction.OUT: initiator.Direction.OUT,
    Direction.IN: initiator.Direction.IN,
    Direction.BOTH: initiator.Direction.BOTH,
}


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where everything is. `advertise` is the host that others reach this node's guests and gRPC server by."""

    peers: Mapping[NodeId, tuple[str, int]]
    buses: Mapping[str, tuple[str, int]]
    paths: Mapping[PathName, tuple[str, int]]
    guest_bind: str
    advertise: str
    target: str = TARGET_NAME
    witness: WitnessAddress | None = None
    """Of the file share or cloud witness, where the cluster has one."""


class Adapters:
    """The outside of one node, made before its driver; `attach` joins the two, `run` keeps the wires going."""

    def __init__(
        self,
        definition: ClusterDefinition,
        node: NodeId,
        addresses: Addresses,
        facts: FactLog,
        log: FilteringBoundLogger,
    ) -> None:
        timing = Timing.of(definition.properties)
        self._definition, self._node = definition, node
        self._advertise = addresses.advertise
        self._facts = facts
        self.admin_address = ""
        self.membership = Membership(definition.id, node, frozenset(n.id for n in definition.nodes))
        self.ignored = OncePerSender(log)
        self.cuts = Cuts({
            Wire.BUS: tuple(sorted(addresses.buses)),
            Wire.PEER: tuple(str(peer) for peer in sorted(addresses.peers)),
            Wire.ARRAY: tuple(sorted(addresses.paths)),
            Wire.NETWORK: definition.networks,
            Wire.WITNESS: () if addresses.witness is None else (WITNESS_NAME,),
        })  # fmt: skip
        self.cuts.observe(self._cut_array)
        self.cuts.observe(self._cut_network)
        self.cuts.observe_quality(lambda quality: self.initiator.slow(quality.array_delay_us / US_PER_S))
        self.buses: tuple[HeartbeatBus, ...] = tuple(
            MqttBus(
                name,
                address,
                self.membership,
                self,
                self.cuts,
                self.ignored,
                log,
                scale=definition.properties.time_scale,
                keepalive_s=max(MIN_KEEPALIVE_S, timing.detection // (2 * US_PER_S)),
            )
            for name, address in sorted(addresses.buses.items())
        )
        self.peers = Peers(addresses.peers, self.membership, self.cuts, self.ignored, log, timing.delay / US_PER_S)
        self.memory = MemoryStreams(addresses.peers, self.membership, self.cuts)
        self.initiator = Initiator(
            initiator_name(definition.node_name(node)),
            addresses.paths,
            addresses.target,
            self._path_changed,
            command_timeout_s=timing.scsi / US_PER_S,
        )
        self._share = ShareWire(
            definition.tag_witness, addresses.witness, definition.id, self.cuts, timing.witness_call / US_PER_S
        )
        self._logins: dict[PathName, int] = dict.fromkeys(addresses.paths, 0)
        self._paths: dict[PathName, int] = dict.fromkeys(addresses.paths, 0)  # the login that is up, or 0
        placement = Placement(node, definition.node_name(node), addresses.guest_bind, addresses.advertise)
        self.vms = VmHost(
            placement, self._submit, self._vm_started, self._vm_stopped, timing.guest_disk, timing.storage_resiliency,
            self._vm_frozen, self._vm_paused,
        )  # fmt: skip
        self.monitor = Monitor(self._resource_answered, self._monitor_died, log)
        self._service: Service | None = None
        self._announced: tuple[str, Incarnation] | None = None

    def attach(self, service: Service) -> None:
        """Give what is heard to this driver."""
        self._service = service

    @property
    def service(self) -> Service:
        """The driver that was attached."""
        assert self._service is not None, "attach comes first"
        return self._service

    async def run(self) -> None:
        """Keep all wires going until cancelled; then say goodbye to the buses."""
        try:
            await self._run()
        finally:
            await self._share.close()

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.peers.run(), name="peers")
            tasks.create_task(self.initiator.run(), name="initiator")
            for bus in self.buses:
                tasks.create_task(bus.run(), name=f"bus {bus.name}")
            try:
                await asyncio.get_running_loop().create_future()  # until cancelled
            finally:
                await self.memory.close()

    # --- effects (service.Outside)

    def identify(self, store: StoreId, incarnation: Incarnation) -> None:
        """Speak under this identity from now on."""
        self.peers.identify(store, incarnation)
        for bus in self.buses:
            bus.identify(incarnation)

    def publish(self, heartbeat: Heartbeat) -> None:
        """On every bus, encoded once."""
        payload = wire.heartbeat_bytes(self._definition.id, heartbeat)
        for bus in self.buses:
            bus.publish(payload)

    def send(self, to: NodeId, message: Message) -> None:
        """To one peer, directly."""
        self.peers.send(to, message)

    def probe(self, node: NodeId, answer: Callable[[ev.ProbeOutcome], None]) -> None:
        """Knock at a peer's port."""
        self.peers.probe(node, answer)

    def submit(self, path: PathName, lun: LunId, command: Command, answer: Callable[[Result], None]) -> None:
        """Down one path; a path this process was given no address for is one that is down."""
        if path in self._paths:
            self.initiator.submit(path, lun, command, answer)
        else:
            asyncio.get_running_loop().call_soon(answer, UNKNOWN)

    _submit = submit

    def ask_witness(self, request: ShareRequest, answer: Callable[[ShareAnswer], None]) -> None:
        """Read or write the witness's file."""
        self._share.ask(request, answer)

    def start_vm(self, effect: fx.StartVm) -> None:
        """Power on."""
        paths = tuple(path for path, login in effect.paths if self._paths.get(path) == login)
        self.vms.start(
            effect.group, effect.generation, effect.lun, effect.boot_delay_us, paths, effect.format_blank,
            effect.image, effect.restore_us, effect.extent,
        )  # fmt: skip

    def use_path(self, effect: fx.UsePath) -> None:
        """A VM may use one more path, if that has not logged in anew since."""
        if self._paths.get(effect.path) == effect.login:
            self.vms.use_path(effect.group, effect.generation, effect.path)

    def stop_vm(self, effect: fx.StopVm) -> None:
        """Save, shut down or power off."""
        if effect.saving_us:
            self.vms.save(effect.group, effect.generation, effect.reason, effect.saving_us)
        else:
            how = (effect.polite, effect.reason, effect.moved, effect.forced)
            self.vms.stop(effect.group, effect.generation, *how)

    def call_resource(self, effect: fx.CallResource) -> None:
        """By way of the resource monitor."""
        self.monitor.call(effect)

    def restart_monitor(self, reason: str) -> None:
        """End the resource monitor; the next call starts another."""
        self.monitor.restart(reason)

    def migrate_vm(self, effect: fx.PauseVm | fx.ContinueVm | fx.RedirectVm) -> None:
        """Pause a VM, let it go on, or send on what it held."""
        match effect:
            case fx.PauseVm(group, generation, move):
                self.vms.pause(group, generation, move)
            case fx.ContinueVm(group, generation):
                self.vms.go_on(group, generation)
            case fx.RedirectVm(group, generation, address):
                self.vms.redirect(group, generation, address)

    def send_memory(self, effect: fx.SendMemory, answer: Callable[[bool, str], None]) -> None:
        """Over the migration network."""
        self.memory.send(effect, answer)

    def cancel_memory(self, token: int) -> None:
        """Send no more of it."""
        self.memory.cancel(token)

    def check_vm(self, effect: fx.CheckVm) -> None:
        """Ask a VM how it is, if it runs."""
        ailment = self.vms.ailment(effect.group, effect.generation)
        if ailment is not None:
            self.service.post(ev.VmChecked(effect.group, effect.generation, ailment.health, ailment.failed))

    def break_vm(self, group: str, how: str) -> bool:
        """Break a VM, or the resource monitor; False where there is none."""
        return self.monitor.break_(how) if how in WAYS_TO_BREAK else self.vms.break_vm(group, how)

    def end_vms(self, reason: str) -> None:
        """Power all off, and end the monitor; their last words go to a life that is over."""
        self.vms.kill_all(reason)
        self.monitor.end()

    def announce(self, group: str, generation: Generation) -> None:
        """Where a VM is served, retained on every bus. A VM that has gone off meanwhile is not announced."""
        address = self.vms.address(group, generation)
        if address is None:
            return
        payload = heartbeat_pb2.VmAnnouncement(
            cluster_id=self._definition.id,
            vm=group,
            node=self._node,
            generation=generation,
            address=address,
            resumed=self.vms.resumed(group, generation),
        ).SerializeToString()
        for bus in self.buses:
            bus.announce("vm", group, payload)

    def paths(self) -> Mapping[PathName, int]:
        """The login of every path that is up, 0 for one that is down."""
        return self._paths

    def record(self, fact: Fact) -> None:
        """Keep a fact, and tell onlookers if the node's own state reads differently now."""
        self._facts.record(fact)
        if fact.kind in ANNOUNCED_BY:
            self.announce_node()

    def announce_node(self) -> None:
        """The node's own retained announcement, if it says something new."""
        view = self.service.view()
        if (view.service.name, view.incarnation) == self._announced:
            return
        self._announced = (view.service.name, view.incarnation)
        payload = heartbeat_pb2.NodeAnnouncement(
            cluster_id=self._definition.id,
            node=self._node,
            name=self._definition.node_name(self._node),
            state=view.service.name,
            incarnation=view.incarnation,
            admin_address=self.admin_address,
        ).SerializeToString()
        for bus in self.buses:
            bus.announce("node", str(self._node), payload)

    # --- what adapters hear

    def heartbeat(self, bus: str, heartbeat: Heartbeat) -> None:
        """bus.Listener."""
        self.service.offer(ev.HeartbeatHeard(bus, heartbeat))

    def will(self, bus: str, node: NodeId, incarnation: Incarnation) -> None:
        """bus.Listener."""
        self.service.offer(ev.WillHeard(bus, node, incarnation))

    def message(self, delivery: Delivery) -> None:
        """peers.Receiver."""
        self.service.offer(ev.MessageReceived(delivery.sender, delivery.store, delivery.incarnation, delivery.message))

    def _path_changed(self, path: PathName, up: bool) -> None:
        self._logins[path] += up
        self._paths[path] = self._logins[path] if up else 0
        self.service.post(ev.PathChanged(path, up, self._paths[path]))
        if not up:
            self.vms.path_lost(path)

    def _vm_started(self, group: str, generation: Generation, address: str) -> None:
        resumed, restored = self.vms.resumed(group, generation), self.vms.restored(group, generation)
        self.service.post(ev.VmStarted(group, generation, resumed, address, restored))

    def _vm_paused(self, group: str, generation: Generation, move: int, image: GuestImage) -> None:
        self.service.post(ev.VmPaused(group, generation, move, image))

    def _vm_frozen(self, group: str, generation: Generation, reason: str | None) -> None:
        thawed = ev.VmThawed(group, generation)
        self.service.post(thawed if reason is None else ev.VmFrozen(group, generation, reason))

    def _vm_stopped(self, group: str, generation: Generation, cause: str, reason: str) -> None:
        self.service.post(ev.VmStopped(group, generation, cause, reason))

    def _resource_answered(self, token: int, ok: bool, reason: str) -> None:
        self.service.post(ev.ResourceAnswered(token, ok, reason))

    def _monitor_died(self, reason: str) -> None:
        self.service.post(ev.MonitorDied(reason))

    def _cut_array(self, kind: Wire, name: str, direction: Direction) -> None:
        if kind is Wire.ARRAY:
            if direction:
                self.initiator.cut(PathName(name), _ARRAY_CUTS[direction])
            else:
                self.initiator.heal(PathName(name))

    def unplugged(self) -> tuple[str, ...]:
        """Networks of VMs to which this node's cable is out."""
        return tuple(name for wire, name, _ in self.cuts.now() if wire is Wire.NETWORK)

    def _cut_network(self, kind: Wire, name: str, direction: Direction) -> None:
        """A cable that loses one direction has no link."""
        if kind is Wire.NETWORK:
            out = self.unplugged()
            self.vms.unplugged = frozenset(g.name for g in self._definition.groups if g.network in out)
            self.service.post(ev.LinkChanged(name, not direction))
