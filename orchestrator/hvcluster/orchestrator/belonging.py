"""Which nodes belong to the cluster: adding one, evicting one, clearing one that was evicted.

Law: a name in, what to tell people out. The cluster decides; here is only what has to be done to a machine as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .driver import Driver, How, member
from .errors import Exit, Failure
from .state import Life, Role

if TYPE_CHECKING:
    from hvcluster.v1 import node_pb2


async def add(driver: Driver, name: str) -> str:
    """Let a node into the cluster, and start its process if it is dead."""
    from hvcluster.v1 import node_pb2

    found = await member(driver, name, Role.NODE)
    text = await _asked(driver, node_pb2.OperatorRequest(add_node=node_pb2.AddNodeRequest(node=found.node)))
    if found.life is Life.DEAD:
        await driver.start(found.name, How.NORMAL)
        text += f"; {found.name} started"
    return text


async def evict(driver: Driver, name: str, *, force: bool) -> str:
    """Take a node out of the cluster."""
    from hvcluster.v1 import node_pb2

    found = await member(driver, name, Role.NODE)
    request = node_pb2.EvictNodeRequest(node=found.node, force=force)
    text = await _asked(driver, node_pb2.OperatorRequest(evict_node=request))
    return f"{text}; `hvc add node {found.name}` lets it in again"


async def clear(driver: Driver, name: str, *, force: bool) -> str:
    """Empty the disk of a node that was evicted, and start it again to wait for being added. Raises Failure."""
    from .observer import Observer

    found = await member(driver, name, Role.NODE)
    async with Observer(driver) as observer:
        picture = await observer.look()
    best = picture.best
    knows = best is not None and best.quorum
    if knows and found.node not in picture.outside():
        raise Failure(Exit.REFUSED, f"{found.name} belongs to the cluster", f"evict it: `hvc remove node {found.name}`")
    if not knows and not force:
        text = f"nobody with quorum can say whether {found.name} was evicted"
        raise Failure(Exit.REFUSED, text, "ask again when the cluster has quorum, or use --force")
    if found.life is not Life.DEAD:
        await driver.kill(found.name)
    await driver.wipe(found.name)
    await driver.start(found.name, How.REJOIN_EMPTY)
    return f"{found.name} has no cluster configuration any more; `hvc add node {found.name}` lets it in again"


async def _asked(driver: Driver, request: node_pb2.OperatorRequest) -> str:
    from .observer import Observer

    async with Observer(driver) as observer:
        return (await observer.request(request)).text
