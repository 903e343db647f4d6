"""What operators do who meddle while things break: votes, properties and nodes of the cluster, drawn from a seed.

Law: pure; each kind is drawn apart, so that a history with one more of them is otherwise what it would be.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Final

from hvcluster.model.faults import LEADER, Fault, FaultWord
from hvcluster.model.vocabulary import US_PER_S

VOTING: Final = 0.25
"""In how many histories an operator changes who votes, some times in a row."""
EVICTING: Final = 0.2
"""In how many histories an operator evicts nodes."""
CHANGES: Final = (
    ("lower_quorum_priority_node_id", 0.0), ("lower_quorum_priority_node_id", 1.0),
    ("lower_quorum_priority_node_id", 2.0), ("cluster_enforced_anti_affinity", 0.0),
    ("cluster_enforced_anti_affinity", 1.0), ("maximum_parallel_migrations", 1.0), ("auto_balancer_mode", 2.0),
    ("quarantine_threshold", 2.0), ("quarantine_threshold", 0.0),
    ("failover_threshold", 1.0), ("move_type_threshold", 3001.0),
)  # fmt: skip
"""What an operator makes of the properties of the cluster."""


def meddling(
    seed: int, witness: bool, nodes: Sequence[str], moments: Sequence[int], end: int
) -> Iterator[tuple[int, Fault]]:
    """Wishes and their instants, in microseconds, mostly right before or after one of `moments`; before `end`."""
    return chain(_votes(seed, witness, nodes, moments, end), _belonging(seed, nodes, moments, end))


def _near(chance: random.Random, moments: Sequence[int], end: int) -> int:
    near = moments[chance.randrange(len(moments))] + chance.randrange(-2 * US_PER_S, 2 * US_PER_S)
    return max(1, min(near, end - 1))


def _votes(
    seed: int, witness: bool, nodes: Sequence[str], moments: Sequence[int], end: int
) -> Iterator[tuple[int, Fault]]:
    """NodeWeight, the use of the witness, and properties."""
    chance = random.Random(f"{seed}/votes")
    if chance.random() >= VOTING:
        return
    for _ in range(1 + chance.randrange(6)):
        at, asked = _near(chance, moments, end), nodes[chance.randrange(len(nodes))]
        used = float(chance.random() < 0.4)
        if chance.random() < 0.2:
            name, value = chance.choice(CHANGES)
            yield at, Fault(FaultWord.SET_PROPERTY, name, amount=value, via=asked)
        elif witness and chance.random() < 0.4:
            yield at, Fault(FaultWord.USE_WITNESS, amount=used, via=asked)
        else:
            whom = LEADER if chance.random() < 0.3 else nodes[chance.randrange(len(nodes))]
            yield at, Fault(FaultWord.WEIGH, whom, amount=used, via=asked)


def _belonging(seed: int, nodes: Sequence[str], moments: Sequence[int], end: int) -> Iterator[tuple[int, Fault]]:
    """Nodes are evicted, and most of them added again."""
    chance = random.Random(f"{seed}/belonging")
    if chance.random() >= EVICTING or len(nodes) < 2:
        return
    for _ in range(1 + chance.randrange(4)):
        at, asked = _near(chance, moments, end), nodes[chance.randrange(len(nodes))]
        name = nodes[chance.randrange(len(nodes))]
        yield at, Fault(FaultWord.EVICT, name if chance.random() < 0.7 else LEADER, via=asked)
        if chance.random() < 0.7:
            yield at + chance.randrange(1, 60 * US_PER_S), Fault(FaultWord.ADD_NODE, name, via=asked)
