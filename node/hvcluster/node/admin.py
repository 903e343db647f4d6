"""The NodeAdmin service: what an operator, the virtual switch and an onlooker may ask of a node.

Law: translates between the wire and the driver, and decides nothing. Whatever does not make sense is refused with a
sentence; no call lasts longer than its deadline, and one without a deadline gets ours.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Final, Protocol, TypeVar

import grpc
import grpc.aio

from hvcluster.model import codec
from hvcluster.model.definition import ClusterDefinition, TagWitnessKind
from hvcluster.model.policy import AffinityRule, FaultDomain, Policy, RuleKind
from hvcluster.model.policy_file import policy_values, read_policy
from hvcluster.model.vocabulary import MAX_NODES, Failback, Generation, MoveKind, NodeId
from hvcluster.v1 import node_pb2, node_pb2_grpc

from .core import events as ev
from .core.effects import Reply
from .core.view import GroupView, View
from .factlog import FactLog, Numbered
from .service import monotonic_us

SERVICE: Final = node_pb2.DESCRIPTOR.services_by_name["NodeAdmin"].full_name
DEFAULT_DEADLINE_S: Final = 30.0
"""For a call without a deadline: a planned move takes seconds, and an operator who waits longer asks again."""
MAX_DEADLINE_S: Final = 600.0
MAX_NAME: Final = 256
MOVE_TYPES: Final = {"": MoveKind.LIVE, **{kind.name.lower(): kind for kind in MoveKind}}
DISK_MODE: Final = "NodeAndDiskMajority"
NODE_MODE: Final = "NodeMajority"
TAG_MODES: Final = {
    TagWitnessKind.FILE_SHARE: "NodeAndFileShareMajority",
    TagWitnessKind.CLOUD: "NodeAndCloudMajority",
}

RequestT = TypeVar("RequestT")
ReplyT = TypeVar("ReplyT")


class Driver(Protocol):
    """What is asked: `service.Service`."""

    def view(self) -> View: ...

    async def request(self, request: ev.Request, deadline_s: float) -> Reply: ...


class Vms(Protocol):
    """Where VMs are served: `guest.host.VmHost`."""

    def running(self) -> tuple[tuple[str, Generation], ...]: ...

    def address(self, group: str, generation: Generation) -> str | None: ...

    def resumed(self, group: str, generation: Generation) -> bool: ...


class Admin(node_pb2_grpc.NodeAdminServicer):
    """One node's administration. `ignored` gives the counted messages by (reason, sender)."""

    def __init__(
        self,
        definition: ClusterDefinition,
        node: NodeId,
        driver: Driver,
        vms: Vms,
        facts: FactLog,
        ignored: Callable[[], Mapping[tuple[str, str], int]],
    ) -> None:
        self._definition = definition
        self._node = node
        self._driver = driver
        self._vms = vms
        self._facts = facts
        self._ignored = ignored

    async def Status(
        self,
        request: node_pb2.StatusRequest,
        context: grpc.aio.ServicerContext[node_pb2.StatusRequest, node_pb2.StatusReply],
    ) -> node_pb2.StatusReply:
        """The node's own view."""
        view = self._driver.view()
        rejected: Counter[str] = Counter()
        for (reason, _), count in self._ignored().items():
            rejected[reason] += count
        return node_pb2.StatusReply(
            cluster=self._definition.name,
            cluster_id=self._definition.id,
            node=self._node,
            name=self._definition.node_name(self._node),
            incarnation=view.incarnation,
            service=view.service.name,
            term=view.term,
            leader=view.leader,
            quorum=view.quorum,
            commit=view.commit,
            last_index=view.last_index,
            nodes=_nodes(view),
            groups=[_group(group) for group in view.groups],
            quorum_row=_quorum(view),
            routes=[node_pb2.RouteRow(bus=row.bus, peer=row.peer, up=row.up) for row in view.routes],
            paths=[node_pb2.PathRow(name=name, up=up) for name, up in view.paths],
            vms=self._vm_rows(view),
            rejected_messages=rejected,
            monotonic_us=monotonic_us(),
            rules=[_rule_row(rule) for rule in view.rules],
            changes=dict(view.changes),
            volumes=[
                node_pb2.VolumeRow(
                    name=row.name, lun=row.lun, state=row.state.name, number=row.number, coordinator=row.coordinator
                )
                for row in view.volumes
            ],
        )

    async def Request(
        self,
        request: node_pb2.OperatorRequest,
        context: grpc.aio.ServicerContext[node_pb2.OperatorRequest, node_pb2.OperatorReply],
    ) -> node_pb2.OperatorReply:
        """Hand the request to the core and wait for its answer until the caller's deadline."""
        asked = _request(request)
        if isinstance(asked, str):
            return node_pb2.OperatorReply(ok=False, code="refused", text=asked)
        try:
            reply = await self._driver.request(asked, _deadline_s(context))
        except TimeoutError:
            text = "no answer within the deadline; it may still be carried out: look at the status before asking again"
            return node_pb2.OperatorReply(ok=False, code="timeout", text=text)
        return node_pb2.OperatorReply(ok=reply.ok, code=reply.code, text=reply.text)

    async def Facts(
        self,
        request: node_pb2.FactsRequest,
        context: grpc.aio.ServicerContext[node_pb2.FactsRequest, node_pb2.FactLine],
    ) -> AsyncIterator[node_pb2.FactLine]:
        """Facts from a sequence number on; with `follow` for as long as the caller listens."""
        if request.follow:
            async for item in self._facts.follow(request.from_sequence):
                yield _fact(item)
        else:
            for item in self._facts.since(request.from_sequence):
                yield _fact(item)

    async def Serving(
        self,
        request: node_pb2.ServingRequest,
        context: grpc.aio.ServicerContext[node_pb2.ServingRequest, node_pb2.ServingReply],
    ) -> node_pb2.ServingReply:
        """Where the VMs that run here are served."""
        return node_pb2.ServingReply(
            vms=[
                node_pb2.Serving(
                    vm=vm, generation=generation, address=address, resumed=self._vms.resumed(vm, generation)
                )
                for vm, generation in self._vms.running()
                if (address := self._vms.address(vm, generation)) is not None
            ]
        )

    def _vm_rows(self, view: View) -> list[node_pb2.VmRow]:
        return [
            node_pb2.VmRow(
                group=run.group,
                generation=run.generation,
                phase=run.phase,
                address=self._vms.address(run.group, run.generation) or "",
            )
            for run in view.runs
        ]


def _nodes(view: View) -> list[node_pb2.NodeRow]:
    return [
        node_pb2.NodeRow(
            id=row.id,
            name=row.name,
            state=row.state.name,
            incarnation=row.incarnation,
            weight=row.weight,
            dynamic_weight=row.dynamic_weight,
            drain=row.drain.name,
            status=row.status.name,
            needs_prevent_quorum=row.needs_prevent_quorum,
            outside=row.outside,
        )
        for row in view.nodes
    ]


def _group(row: GroupView) -> node_pb2.GroupRow:
    return node_pb2.GroupRow(
        name=row.name,
        state=row.state.name,
        owner=row.owner,
        generation=row.generation,
        lun=row.lun,
        preferred=row.preferred,
        possible=row.possible,
        desired_online=row.desired_online,
        moving_to=row.moving_to,
        reason=row.reason,
        policy=codec.dump(row.policy).decode(),
        migration=row.migration.name,
        move_type=row.move_kind.name.lower() if row.moving_to else "",
        queued=row.queued,
        resources=[
            node_pb2.ResourceRow(name=r.name, type=r.type, state=r.state.name, depends=r.depends) for r in row.resources
        ],
        unmonitored=row.unmonitored,
    )


def _quorum(view: View) -> node_pb2.QuorumRow:
    kind = view.tag_witness
    mode = NODE_MODE if view.witness_lun is None else DISK_MODE
    disk = "" if view.witness_lun is None else "disk"
    return node_pb2.QuorumRow(
        mode=mode if kind is None else TAG_MODES[kind],
        witness=disk if kind is None else kind.value,
        votes=view.votes,
        needed=view.needed,
        witness_lun=-1 if view.witness_lun is None else view.witness_lun,
        witness_dynamic_weight=view.witness_dynamic_weight,
        witness_held_here=view.witness_held_here,
        forced=view.forced,
    )


def _fact(item: Numbered) -> node_pb2.FactLine:
    fact = item.fact
    return node_pb2.FactLine(
        sequence=item.sequence,
        wall_us=item.wall_us,
        monotonic_us=item.monotonic_us,
        kind=fact.kind.name,
        node=fact.node,
        event_id=fact.kind.event_id,
        reason=fact.reason,
        line=fact.line(),
        about={key: str(value) for key, value in fact.about},
    )


def _request(request: node_pb2.OperatorRequest) -> ev.Request | str:
    """What is asked for, or a sentence that says why it cannot be."""
    match request.WhichOneof("request"):
        case None:
            return "the request is empty, or from a newer version than this node's"
        case "move_group":
            move = request.move_group
            kind = MOVE_TYPES.get(move.type)
            if kind is None:
                known = ", ".join(filter(None, MOVE_TYPES))
                return f"there is no move of the type {move.type[:40]!r}; it is one of {known}"
            return _problem(move.group, move.target, 0) or ev.MoveGroup(move.group, NodeId(move.target), kind)
        case "move_volume":
            csv = request.move_volume
            return _problem(csv.volume, csv.target, 0, "volume") or ev.MoveVolume(csv.volume, NodeId(csv.target))
        case "set_group":
            return _problem(request.set_group.group, 0, 0) or _set_group(request.set_group)
        case "cancel_move":
            group = request.cancel_move.group
            return _problem(group, 0, 0) or ev.CancelMigration(group)
        case "set_group_online":
            wish = request.set_group_online
            return _problem(wish.group, 0, 0) or ev.SetGroupOnline(wish.group, wish.online)
        case "set_resource_online":
            asked = request.set_resource_online
            return _problem(asked.resource, 0, 0) or ev.SetResourceOnline(asked.resource, asked.online)
        case "fail_resource":
            name = request.fail_resource.resource
            return _problem(name, 0, 0) or ev.FailResource(name)
        case "stop_node":
            stop = request.stop_node
            return _problem("-", stop.node, 1) or ev.StopNode(NodeId(stop.node), stop.shutdown)
        case "set_node_paused":
            pause = request.set_node_paused
            return _problem("-", pause.node, 1) or _pause(pause)
        case "clear_quarantine":
            node = request.clear_quarantine.node
            return _problem("-", node, 1) or ev.ClearQuarantine(NodeId(node))
        case "set_node_weight":
            vote = request.set_node_weight
            return _problem("-", vote.node, 1) or ev.SetNodeWeight(NodeId(vote.node), vote.weight)
        case "evict_node":
            gone = request.evict_node
            return _problem("-", gone.node, 1) or ev.EvictNode(NodeId(gone.node), gone.force)
        case "add_node":
            return _problem("-", request.add_node.node, 1) or ev.AddNode(NodeId(request.add_node.node))
        case "set_cluster_property":
            wanted = request.set_cluster_property
            return _problem(wanted.name, 0, 0, "property") or ev.SetClusterProperty(wanted.name, wanted.value)
        case "set_quorum":
            return ev.SetQuorum(request.set_quorum.witness)
        case "set_affinity_rule":
            return _problem(request.set_affinity_rule.rule.name, 0, 0, "rule") or _rule(request.set_affinity_rule.rule)
        case "remove_affinity_rule":
            name = request.remove_affinity_rule.name
            return _problem(name, 0, 0, "rule") or ev.RemoveAffinityRule(name)


def _set_group(asked: node_pb2.SetGroupRequest) -> ev.SetGroup | str:
    for name, owners in (("preferred", asked.preferred), ("possible", asked.possible)):
        if len(set(owners)) != len(owners) or not all(1 <= node <= MAX_NODES for node in owners):
            return f"{name} owners are different node ids from 1 to {MAX_NODES}"
    try:
        policy = codec.load(Policy, asked.policy.encode())
    except codec.Malformed as error:
        return f"the policy cannot be read: {error}"
    if wrong := read_policy(policy_values(policy))[1]:
        return wrong[0][1]
    preferred = tuple(NodeId(node) for node in asked.preferred)
    return ev.SetGroup(asked.group, policy, preferred, tuple(sorted(NodeId(node) for node in asked.possible)))


def _pause(asked: node_pb2.SetNodePausedRequest) -> ev.SetNodePaused | str:
    failback = asked.failback or Failback.NO_FAILBACK.name
    if failback not in Failback.__members__:
        return f"{failback[:MAX_NAME]!r} is no failback; one of {', '.join(Failback.__members__)}"
    if (asked.drain and not asked.paused) or (asked.force and not asked.drain):
        return "only a node that is paused is drained, and only a drain can be forced"
    return ev.SetNodePaused(NodeId(asked.node), asked.paused, asked.drain, asked.force, Failback[failback])


def _rule_row(rule: AffinityRule) -> node_pb2.AffinityRuleRow:
    return node_pb2.AffinityRuleRow(
        name=rule.name, kind=rule.kind.value, groups=rule.groups, soft=rule.soft, level=rule.level.value
    )


def _rule(asked: node_pb2.AffinityRuleRow) -> ev.SetAffinityRule | str:
    kinds = {kind.value: kind for kind in RuleKind}
    if asked.kind not in kinds:
        return f"{asked.kind[:MAX_NAME]!r} is no kind of rule; one of {', '.join(kinds)}"
    levels = {"": FaultDomain.SITE, **{level.value: level for level in FaultDomain}}
    if asked.level not in levels:
        return f"{asked.level[:MAX_NAME]!r} is no level of fault domains; one of {', '.join(filter(None, levels))}"
    rule = AffinityRule(asked.name, kinds[asked.kind], tuple(sorted(asked.groups)), asked.soft, levels[asked.level])
    return ev.SetAffinityRule(rule)


def _problem(group: str, node: int, least: int, what: str = "group") -> str | None:
    if not group or len(group) > MAX_NAME:
        return f"name a {what}, with 1 to {MAX_NAME} characters"
    if not least <= node <= MAX_NODES:
        return f"{node} is not a node id; they go from {least} to {MAX_NODES}"
    return None


def _deadline_s(context: grpc.aio.ServicerContext[RequestT, ReplyT]) -> float:
    left_s = context.time_remaining()
    if left_s is None:
        return DEFAULT_DEADLINE_S
    return min(max(left_s - 0.05, 0.01), MAX_DEADLINE_S)  # answer just before the caller gives up
