"""One simulated lab: an event heap, a clock, and everything that lives under it.

Law: time passes only between events; events of one instant run in the order they were scheduled. All randomness is one
seeded generator, drawn in the order of events.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any

from hvcluster.model.definition import ClusterDefinition
from hvcluster.model.facts import Fact, FactKind
from hvcluster.model.vocabulary import US_PER_S, Instant, NodeId
from hvcluster.node.core.genesis import founded

from .calm import Calm
from .clients import Clients
from .judge import Judge
from .machines import Machine
from .network import Network
from .share import SimShare
from .storage import SimArray

LUN_BLOCKS = 2048  # 1 MiB: room for some two thousand journal records, more than a run of ten minutes writes
WITNESS_BLOCKS = 32_768
STORM = 5_000  # events of one node within one second; the busiest labs have some hundred


class World:
    """The lab and its heap. `now` is in microseconds since the lab was switched on."""

    def __init__(
        self,
        definition: ClusterDefinition,
        seed: int,
        *,
        buses: tuple[str, ...] = ("A", "B"),
        append_every_us: int = 5 * US_PER_S,
    ) -> None:
        self.definition = definition
        self.lun_blocks = LUN_BLOCKS
        self.witness_blocks = WITNESS_BLOCKS
        self.seed = seed
        self.now = Instant(0)
        self.events = 0
        self.random = random.Random(seed)
        self._heap: list[tuple[int, int, Callable[..., None], tuple[Any, ...]]] = []
        self._order = 0
        self.facts: list[Fact] = []
        self.judge = Judge(self)
        self.calm = Calm(self)
        self.network = Network(self, buses)
        self.array = SimArray(self)
        self.share = SimShare(self)
        self.machines: dict[NodeId, Machine] = {}
        for node in definition.nodes:
            self.machines[node.id] = Machine(self, node.id, founded(definition, node.id))
        self.clients = Clients(self, append_every_us)

    def at(self, when: int, run: Callable[..., None], *arguments: Any) -> None:
        """Run something at an instant, not before now."""
        self._order += 1
        heappush(self._heap, (when, self._order, run, arguments))

    def after(self, delay: int, run: Callable[..., None], *arguments: Any) -> None:
        self._order += 1
        heappush(self._heap, (self.now + delay, self._order, run, arguments))

    def start(self) -> None:
        """Switch everything on: the array, then the nodes within a tenth of a second."""
        self.array.start()
        for machine in self.machines.values():
            self.after(self.random.randrange(100_000), machine.start)
        self.clients.start()

    def run_until(self, when: int) -> None:
        """Let time pass; raises `Broken` when it cannot, because the nodes answer each other without an end."""
        heap = self._heap
        second, limit = 0, 0
        while heap and heap[0][0] <= when:
            at, _, run, arguments = heappop(heap)
            self.now = Instant(at)
            self.events += 1
            if at >= second:
                second, limit = at + US_PER_S, self.events + STORM * len(self.definition.nodes)
            elif self.events > limit:
                raise self.judge.broken(f"a storm: more than {STORM} events a node within a second")
            run(*arguments)
        self.now = Instant(when)

    def run_for(self, us: int) -> None:
        self.run_until(self.now + us)

    def record(self, fact: Fact) -> None:
        """A core recorded a fact."""
        self.facts.append(fact)
        self.judge.fact(fact)
        if fact.kind is FactKind.QUORUM_LOST:
            needless = self.calm.quorum_lost(fact)
            if needless:
                raise self.judge.broken(needless)
