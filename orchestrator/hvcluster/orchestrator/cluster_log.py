"""The cluster log in the form of the product's: one file per node, one line per recorded fact.

Law: layout of what was recorded; no clock but the records' own, and nothing asked. A line is
`PPPPPPPP.TTTTTTTT::YYYY/MM/DD-HH:MM:SS.mmm LVL   [COMP] text`, process and thread in hexadecimal.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Final

from hvcluster.model.definition import ClusterDefinition
from hvcluster.model.events import LOG_LEVEL, Level, event_of, level_of
from hvcluster.model.properties import PROFILES
from hvcluster.model.resources import disk_name
from hvcluster.model.vocabulary import NodeId

from .lab import BUS_NAMES
from .records import Recorded

WITH_SECTIONS: Final = frozenset(PROFILES[PROFILES.index("ws2016") :])
"""Versions whose log opens with what the cluster is, and shows verbose lines under a mark of their own."""
VERBOSE: Final = "[Verbose] "


def stamp(wall_us: int, local: bool = False, form: str = "%Y/%m/%d-%H:%M:%S") -> str:
    """A time as the cluster log has it: to the millisecond, GMT unless it is to be the machine's own zone."""
    seconds, micros = divmod(wall_us, 1_000_000)
    return f"{time.strftime(form, time.localtime(seconds) if local else time.gmtime(seconds))}.{micros // 1000:03d}"


def text(fact: Recorded, definition: ClusterDefinition) -> str:
    """The line's text. What is about a disk names its resource, as the product's disk lines do."""
    if not fact.line.startswith("[RES] ") or "lun" not in fact.about:
        return fact.line
    quorum = definition.witness_lun == fact.number("lun") and "group" not in fact.about
    name = "Quorum Disk" if quorum else f"Cluster Disk {fact.about['lun']}"
    return f"[RES] Physical Disk <{name}>: {fact.line.removeprefix('[RES] ')}"


def line(fact: Recorded, definition: ClusterDefinition, local: bool = False) -> str:
    """One line of the log."""
    level = level_of(fact.kind, fact.event_id)
    verbose = VERBOSE if level is Level.DEBUG and definition.properties.profile in WITH_SECTIONS else ""
    process = f"{fact.pid:08x}.{fact.pid:08x}"
    return f"{verbose}{process}::{stamp(fact.wall_us, local)} {level.column:<5} {text(fact, definition)}"


def written(fact: Recorded, definition: ClusterDefinition, log_level: int = LOG_LEVEL) -> bool:
    """Whether a line is in the log: from 2016 on verbose lines always are, before that at ClusterLogLevel 4."""
    level = level_of(fact.kind, fact.event_id)
    verbose = level is Level.DEBUG and definition.properties.profile in WITH_SECTIONS and log_level > 0
    return verbose or level.number <= log_level


def of_node(
    facts: Iterable[Recorded],
    definition: ClusterDefinition,
    node: NodeId,
    local: bool = False,
    log_level: int = LOG_LEVEL,
) -> Iterator[str]:
    """The whole log of one node, oldest first."""
    mine = [fact for fact in facts if fact.node == node]
    if definition.properties.profile in WITH_SECTIONS:
        yield from _sections(mine, definition, local)
    for fact in mine:
        if written(fact, definition, log_level):
            yield line(fact, definition, local)


def _sections(facts: Iterable[Recorded], definition: ClusterDefinition, local: bool) -> Iterator[str]:
    yield from ("[=== Get-ClusterLog Parameters ===]", f"UseLocalTime : {str(local).lower()}", "")
    properties = definition.properties
    yield from ("[=== Cluster ===]", "name,id,profile,sameSubnetDelay,sameSubnetThreshold")
    delay, threshold = properties.same_subnet_delay_ms, properties.same_subnet_threshold
    yield f"{definition.name},{definition.id},{properties.profile},{delay},{threshold}"
    yield from ("", "[=== Nodes ===]", "name,id,nodeWeight")
    yield from (f"{node.name},{node.id},{node.weight}" for node in definition.nodes)
    yield from ("", "[=== Groups ===]", "name,resources")
    for group in definition.groups:
        others = [each.name for each in group.resources] or [f"Virtual Machine Configuration {group.name}"]
        disk = (disk_name(group.lun),) if group.extent is None else ()
        yield f"{group.name},{';'.join((*disk, *others))}"
    yield from ("", "[=== Networks ===]", "name")
    yield from (f"Cluster Network {name}" for name in BUS_NAMES)
    yield from ("", "[=== System ===]")
    for fact in facts:
        if fact.event_id:
            event = event_of(fact.event_id)
            yield f"{stamp(fact.wall_us, local)} {event.level.column:<5} {event.id} {event.gist}: {fact.reason}"
    yield from ("", "[=== Cluster Logs ===]")
