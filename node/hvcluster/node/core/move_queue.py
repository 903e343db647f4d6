"""Which live moves may go on now, and which wait for their turn.

Law: a pure function of the database, so that every node answers alike without asking. The order is that in which the
moves were begun: an older one is never held up by a newer one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from hvcluster.model.properties import Properties
from hvcluster.model.vocabulary import NodeId

from .members import Group


def admitted(groups: Mapping[str, Group], properties: Properties) -> frozenset[str]:
    """Names of the groups whose live move may go on. `groups`: all of the database."""
    at_host: Counter[NodeId] = Counter()
    pairs: Counter[frozenset[NodeId]] = Counter()
    chosen: list[str] = []
    for group in _by_age(groups.values()):
        pair = frozenset((group.owner, group.moving_to))
        if properties.maximum_parallel_migrations and len(chosen) >= properties.maximum_parallel_migrations:
            break
        if properties.profile == "ws2008r2":
            allowed = pairs[pair] < 1  # that version: one between two nodes, in either direction
        else:
            allowed = all(at_host[node] < properties.maximum_virtual_machine_migrations for node in pair)
        if allowed:
            chosen.append(group.name)
            pairs[pair] += 1
            at_host.update(pair)
    return frozenset(chosen)


def _by_age(groups: Iterable[Group]) -> list[Group]:
    return sorted((group for group in groups if group.migrates), key=lambda group: (group.moves, group.name))
