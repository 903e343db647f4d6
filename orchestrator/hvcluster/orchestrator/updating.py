"""Cluster-aware updating: one node after the other is drained, restarted as if it had been patched, and resumed.

Law: asks the cluster and the lab for each step and goes on only when it is done; decides nothing of a failover. At the
first step that fails it stops and leaves the cluster as it is, with what is left to do in the error.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from hvcluster.model.definition import NodeDefinition
from hvcluster.model.vocabulary import Failback, NodeId
from hvcluster.v1 import node_pb2

from . import saboteur
from .driver import Driver
from .errors import Exit, Failure
from .observer import Observer
from .picture import Picture

REJOIN_S: Final = 120.0
"""A node joins within seconds; a slow laptop with many VMs may take longer."""


def order(picture: Picture) -> list[NodeDefinition]:
    """The nodes in the order in which they are updated: those with the fewest VMs first, the leader last.

    A leader that is drained hands leadership over, so the last one does that once for all.
    """
    best = picture.best
    vms = {node.id: 0 for node in picture.definition.nodes}
    for group in best.groups if best is not None else ():
        if group.state == "ONLINE":
            vms[NodeId(group.owner)] = vms.get(NodeId(group.owner), 0) + 1
    leader = 0 if best is None else best.leader
    return sorted(picture.definition.nodes, key=lambda node: (node.id == leader, vms[node.id], node.id))


async def update(
    driver: Driver, observer: Observer, nodes: Sequence[NodeDefinition], tell: Callable[[str], None]
) -> None:
    """Update nodes in that order. Raises Failure at the first step that is refused or not done in time."""
    for at, node in enumerate(nodes):
        left = ", ".join(each.name for each in nodes[at:])
        try:
            await _one(driver, observer, node, tell)
        except Failure as error:
            text = f"{error.text}; not updated: {left}"
            raise Failure(error.status, text, f"see `hvc status`; then `hvc resume {node.name}`") from None


async def _one(driver: Driver, observer: Observer, node: NodeDefinition, tell: Callable[[str], None]) -> None:
    picture = await observer.look()
    missing = picture.unhealthy()
    if missing:
        raise Failure(Exit.REFUSED, f"the cluster is not healthy: {'; '.join(missing[:3])}")
    before = picture.answers[node.id].incarnation
    tell(f"{node.name}: drained")
    await _ask(observer, node_pb2.SetNodePausedRequest(node=node.id, paused=True, drain=True))
    tell(f"{node.name}: restarted")
    await saboteur.stop(driver, observer, node.name)
    await saboteur.start(driver, node.name)

    def back(picture: Picture) -> bool:
        answer, best = picture.answers.get(node.id), picture.best
        row = next((row for row in best.nodes if row.id == node.id), None) if best is not None else None
        newer = answer is not None and answer.incarnation > before and answer.service == "UP"
        return newer and row is not None and row.state == "PAUSED"

    await observer.until(back, f"{node.name} back in the cluster", REJOIN_S)
    tell(f"{node.name}: resumed")
    failback = Failback.IMMEDIATE.name
    await _ask(observer, node_pb2.SetNodePausedRequest(node=node.id, paused=False, failback=failback))
    await observer.until_healthy(REJOIN_S)


async def _ask(observer: Observer, wish: node_pb2.SetNodePausedRequest) -> None:
    await observer.insist(node_pb2.OperatorRequest(set_node_paused=wish))
