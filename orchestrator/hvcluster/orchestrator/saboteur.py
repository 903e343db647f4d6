"""Breaking a lab on purpose, and mending it.

Law: names in, driver calls out; every name is looked up first, and every refusal says how to go on. What becomes
of a fault is the observer's to see.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from . import chaos
from .driver import Cut, Driver, How, Member, Way, Wire, member
from .errors import Exit, Failure
from .lab import BUS_NAMES
from .lab_reader import near
from .state import Life, Role

if TYPE_CHECKING:
    from hvcluster.model.vocabulary import NodeId

    from .observer import Observer

STOP_S: Final = 60.0
"""A drain moves every VM of the node, each with its boot."""


async def kill(driver: Driver, name: str) -> Member:
    """SIGKILL any process of the lab."""
    found = await member(driver, name)
    if found.life is Life.DEAD:
        raise Failure(Exit.REFUSED, f"{found.name} is dead already", f"start it with `hvc start {found.name}`")
    await driver.kill(found.name)
    return found


async def start(driver: Driver, name: str, how: How = How.NORMAL) -> Member:
    """Start any dead process of the lab again."""
    found = await member(driver, name)
    if how is not How.NORMAL and found.role is not Role.NODE:
        raise Failure(Exit.USAGE, f"{found.name} is no node", f"start it without {how.value[0]}")
    if found.life is not Life.DEAD:
        remedy = f"let it go on with `hvc thaw {found.name}`" if found.life is Life.FROZEN else "see `hvc status`"
        raise Failure(Exit.REFUSED, f"{found.name} is {found.life.value} already", remedy)
    await driver.start(found.name, how)
    return found


async def clear_quarantine(driver: Driver, name: str, how: How = How.NORMAL) -> str:
    """Start a node if it is dead, and ask the cluster to let it join; returns what to tell people."""
    from hvcluster.orchestrator.observer import Observer
    from hvcluster.v1 import node_pb2

    found = await member(driver, name, Role.NODE)
    if found.life is Life.DEAD:
        await driver.start(found.name, how)
    async with Observer(driver) as observer:
        request = node_pb2.ClearQuarantineRequest(node=found.node)
        text = (await observer.request(node_pb2.OperatorRequest(clear_quarantine=request))).text
    return f"{found.name} started; {text}" if found.life is Life.DEAD else text


async def freeze(driver: Driver, name: str) -> Member:
    """SIGSTOP a running process."""
    found = await member(driver, name)
    if found.life is not Life.RUNNING:
        raise Failure(Exit.REFUSED, f"{found.name} is {found.life.value}", "only a running process can be frozen")
    await driver.freeze(found.name)
    return found


async def thaw(driver: Driver, name: str) -> Member:
    """SIGCONT a frozen process."""
    found = await member(driver, name)
    if found.life is not Life.FROZEN:
        raise Failure(Exit.REFUSED, f"{found.name} is {found.life.value}", "only a frozen process can be thawed")
    await driver.thaw(found.name)
    return found


async def wipe(driver: Driver, name: str) -> Member:
    """Empty a dead node's disk."""
    found = await member(driver, name, Role.NODE)
    await driver.wipe(found.name)
    return found


async def stop(
    driver: Driver, observer: Observer, name: str, via: NodeId | None = None, *, shutdown: bool = False
) -> Member:
    """Stop a node politely: its VMs move first, then its cluster service leaves and its process ends.

    `via`: the node that is asked instead of itself. `shutdown`: its host shuts down.
    """
    from hvcluster.v1 import node_pb2

    found = await member(driver, name, Role.NODE)
    if found.life is not Life.RUNNING:
        raise Failure(Exit.REFUSED, f"{found.name} is {found.life.value}", f"see `hvc start {found.name}`")
    request = node_pb2.OperatorRequest(stop_node=node_pb2.StopNodeRequest(node=found.node, shutdown=shutdown))
    await observer.insist(request, via or found.node)
    loop = asyncio.get_running_loop()
    end = loop.time() + STOP_S
    while loop.time() < end:
        now = await member(driver, found.name)
        answer = (await observer.look()).answers.get(found.node)
        if now.life is Life.DEAD:
            return found
        if answer is not None and answer.service == "STOPPED":
            await driver.end(found.name)
            return found
        await asyncio.sleep(0.05)
    raise Failure(Exit.TIMEOUT, f"{found.name} did not stop within {STOP_S:g} s", f"force it: `hvc kill {found.name}`")


async def cut(driver: Driver, name: str, wires: tuple[Cut, ...]) -> Member:
    """Cut wires of a node."""
    found = await member(driver, name, Role.NODE)
    for wire in wires:
        await driver.cut(found.name, wire)
    return found


async def break_vm(driver: Driver, name: str, vm: str, how: str) -> Member:
    """Break a VM on the node that runs it. `how`: crash (its worker process dies), hang, or application."""
    found = await member(driver, name, Role.NODE)
    address = (await driver.addresses()).nodes.get(found.node)
    if address is None:
        raise Failure(Exit.UNREACHABLE, f"{found.name} cannot be asked now", f"is it up? `hvc start {found.name}`")
    await chaos.break_vm(address, found.name, vm, how)
    return found


async def heal(driver: Driver, name: str, wires: tuple[Cut, ...]) -> Member:
    """Heal wires of a node; all of them if none is named."""
    found = await member(driver, name, Role.NODE)
    for wire in wires or (None,):
        await driver.heal(found.name, wire)
    return found


async def wire_of(driver: Driver, text: str, way: Way = Way.BOTH) -> Cut:
    """`bus`, `bus:A`, `peers`, `peers:HyperV-2`, `array`, `array:A` as a Cut. Raises Failure USAGE or NOT_FOUND."""
    word, _, name = text.partition(":")
    words = {
        "bus": Wire.BUS,
        "buses": Wire.BUS,
        "peer": Wire.PEERS,
        "peers": Wire.PEERS,
        "array": Wire.ARRAY,
        "san": Wire.ARRAY,
        "witness": Wire.WITNESS,
        "network": Wire.NETWORK,
    }
    wire = words.get(word.lower())
    if wire is None:
        remedy = (
            near(word, words) or "bus, bus:A, peers, peers:NODE, array, array:PATH, network, network:NAME or witness"
        )
        raise Failure(Exit.USAGE, f"{text!r} is no wire", remedy)
    if wire is Wire.BUS and name:
        name = _one_of("bus", name, BUS_NAMES)
    if wire is Wire.ARRAY and name:
        name = _one_of("path", name, tuple(driver.definition.paths))
    if wire is Wire.NETWORK and name:
        name = _one_of("network", name, driver.definition.networks)
    if wire is Wire.PEERS and name:
        name = str((await member(driver, name, Role.NODE)).node)
    return Cut(wire, name, way)


def _one_of(what: str, name: str, known: tuple[str, ...]) -> str:
    for candidate in known:
        if candidate.lower() == name.lower():
            return candidate
    raise Failure(Exit.NOT_FOUND, f"there is no {what} {name!r}", near(name, known) or f"there are {', '.join(known)}")
