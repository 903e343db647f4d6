"""Where exhaustive searches start: a healthy lab whose owner has just died or frozen, a moment before it is missed.

Law: ordinary simulation up to the start, of a fixed seed; what is searched from there is data (`BOUNDS`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from heapq import heappop
from typing import Any

from hvcluster.model.definition import ClusterDefinition, GroupDefinition, NodeDefinition
from hvcluster.model.facts import FactKind
from hvcluster.model.properties import defaults, with_values
from hvcluster.model.vocabulary import US_PER_S, Instant, LunId, NodeId, PathName

from .exhaustive_steps import Faults
from .world import World

HEALTHY_S = 40
SEEDS = 50
LUN_BLOCKS = 80  # a VHD with a few records; the less there is to copy and to compare, the better
WITNESS_BLOCKS = 96


@dataclass(frozen=True, slots=True)
class Bound:
    """One search: a lab, what happens to the owner of its VM, what else may, and for how long after it is missed.

    `frozen`: the owner is frozen with a write in hand instead of killed; `cut`: the others cannot hear it either.
    """

    name: str
    why: str
    nodes: int
    witness: bool
    seconds: float
    faults: Faults
    frozen: bool = False
    cut: bool = False


BOUNDS = (
    Bound("witness-restart", "2 nodes, disk witness, 1 VM; its owner, which leads, is dead and may come back",
          2, True, 3.2, Faults(starts=1)),
    Bound("witness-crash", "2 nodes, disk witness, 1 VM; its owner is dead, the other may crash between two effects",
          2, True, 3.2, Faults(crashes=1)),
    Bound("witness-frozen", "2 nodes, disk witness, 1 VM; its owner is frozen with a write in hand, and wakes cut off",
          2, True, 3.2, Faults(thaws=1), True, True),
    Bound("nodes-loss", "3 nodes, 1 VM; its owner, which leads, is dead; one message may be lost",
          3, False, 0.3, Faults(losses=1)),
    Bound("nodes-crash", "3 nodes, 1 VM; its owner is dead, another may crash between any two effects",
          3, False, 0.3, Faults(crashes=1)),
    Bound("nodes-frozen", "3 nodes, 1 VM; its owner is frozen with a write in hand, and wakes cut off",
          3, False, 0.3, Faults(thaws=1), True, True),
    Bound("nodes-woken", "3 nodes, 1 VM; its owner is frozen with a write in hand, and wakes among the others",
          3, False, 0.3, Faults(thaws=1), True),
)  # fmt: skip


def _definition(bound: Bound) -> ClusterDefinition:
    nodes = tuple(NodeDefinition(NodeId(n), f"HyperV-{n}") for n in range(1, bound.nodes + 1))
    groups = (GroupDefinition("D1", LunId(2), boot_delay_ms=0),)
    witness = LunId(1) if bound.witness else None
    properties = with_values(defaults("ws2012r2"), {"snapshot_entries": 4, "disk_arb_interval_ms": 1000})
    return ClusterDefinition("sim", "sim", nodes, groups, witness, (PathName("A"),), properties)


def start(bound: Bound) -> tuple[World, int]:
    """The world just before the first survivor asks for pre-votes, and when the search ends. The same every time."""
    seed = next(seed for seed in range(SEEDS) if _led_by_owner(_healthy(bound, seed)))
    world = _broken(bound, seed)
    quiet = events = world.events
    while not any(fact.kind is FactKind.PRE_VOTE_STARTED for fact in world.facts):
        if _no_procedure(world):
            quiet = events
        _step(world)
        events = world.events
    until = world.now + int(bound.seconds * US_PER_S)
    world = _broken(bound, seed)
    _steps(world, lambda: world.events >= quiet)
    media: dict[LunId, Any] = {lun: bytearray(medium) for lun, medium in world.array.media.items()}
    world.array.media = media  # mapped memory cannot be copied
    return world, until


def _healthy(bound: Bound, seed: int) -> World:
    world = World(_definition(bound), seed, buses=("A",), append_every_us=4 * US_PER_S)
    world.lun_blocks, world.witness_blocks = LUN_BLOCKS, WITNESS_BLOCKS
    world.start()
    world.run_until(HEALTHY_S * US_PER_S)
    return world


def _led_by_owner(world: World) -> bool:
    owner = world.clients.serving["D1"][1]
    return world.machines[owner].core.state.leads and not world.judge.problems()


def _broken(bound: Bound, seed: int) -> World:
    """The lab just after its owner died, or froze as a client's record reached it."""
    world = _healthy(bound, seed)
    owner = world.machines[world.clients.serving["D1"][1]]
    if bound.frozen:
        owner.freeze()
        asked = world.clients.asked
        _steps(world, lambda: world.clients.asked > asked)
        if bound.cut:
            others = tuple(node for node in world.machines if node != owner.node)
            world.network.partition((owner.node,), others)
    else:
        owner.kill()
    world.facts.clear()
    return world


def _no_procedure(world: World) -> bool:
    return not any(machine.alive and machine.core.procedures._running for machine in world.machines.values())


def _steps(world: World, enough: Callable[[], bool]) -> None:
    while not enough():
        _step(world)


def _step(world: World) -> None:
    """One event, as `World.run_until` does it."""
    when, _, run, arguments = heappop(world._heap)
    world.now = Instant(when)
    world.events += 1
    run(*arguments)
