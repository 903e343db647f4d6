"""What all nodes of a lab have recorded, those included that can no longer be asked.

Law: reads only. A node's own file is read where it lies on this machine, because it outlives the node; a node that
answers is asked as well, and what both say is told once. Whose record cannot be had is named, never passed over.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from hvcluster.model.definition import ClusterDefinition
from hvcluster.model.vocabulary import NodeId

from .driver import Address, Driver, Member
from .observer import MAX_FACTS, Observer, Told
from .state import Life, Role

if TYPE_CHECKING:
    from hvcluster.v1 import node_pb2

_NUMBERED: Final = re.compile(r"\bnode (\d+)\b")
FILES: Final = ("facts.jsonl.1", "facts.jsonl")
"""The older file first; a node begins a new one when the first is large."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """One fact as a node recorded it; `wall_us` is microseconds since 1970, `pid` 0 where it is not known."""

    node: NodeId
    sequence: int
    wall_us: int
    monotonic_us: int
    kind: str
    reason: str
    line: str
    event_id: int = 0
    pid: int = 0
    about: Mapping[str, str] = field(default_factory=dict)

    def number(self, name: str) -> int:
        """A particular that is a number; 0 where it is missing or none."""
        text = self.about.get(name, "")
        return int(text) if text.isdigit() else 0


@dataclass(frozen=True, slots=True)
class Records:
    """What could be read, in order of time, and the nodes whose record could not."""

    facts: tuple[Recorded, ...]
    unread: tuple[NodeId, ...] = ()


def named(text: str, definition: ClusterDefinition) -> str:
    """A sentence with the names of nodes in place of their numbers, as people read it."""
    return _NUMBERED.sub(lambda match: definition.node_name(NodeId(int(match[1]))), text)


async def read(observer: Observer) -> Records:
    """The record of every node of the lab."""
    driver = observer.driver
    addresses = await driver.addresses()
    members = {m.node: m for m in await driver.members() if m.role is Role.NODE}

    async def of(node: NodeId) -> list[Recorded] | None:
        member, address = members.get(node), addresses.nodes.get(node)
        asked = await _ask(observer, member, address)
        kept = await asyncio.to_thread(from_folder, node, _folder(driver, member))
        return None if asked is None and kept is None else merged([*(kept or ()), *(asked or ())])

    numbers = [node.id for node in driver.definition.nodes]
    lists = await asyncio.gather(*(of(node) for node in numbers))
    facts = [fact for told in lists for fact in told or ()]
    unread = tuple(node for node, told in zip(numbers, lists, strict=True) if told is None)
    return Records(tuple(sorted(facts, key=_order)), unread)


def as_told(fact: Recorded) -> Told:
    """The same fact as a node tells it."""
    from hvcluster.v1 import node_pb2

    return Told(
        fact.node,
        node_pb2.FactLine(
            sequence=fact.sequence,
            wall_us=fact.wall_us,
            monotonic_us=fact.monotonic_us,
            kind=fact.kind,
            node=fact.node,
            event_id=fact.event_id,
            reason=fact.reason,
            line=fact.line,
            about=fact.about,
        ),
    )


def _order(fact: Recorded) -> tuple[int, int, int]:
    return fact.wall_us, fact.node, fact.sequence


def merged(facts: Iterable[Recorded]) -> list[Recorded]:
    """The facts of one node, each once, in the order it recorded them."""
    once = {(fact.sequence, fact.monotonic_us): fact for fact in reversed(list(facts))}
    return sorted(once.values(), key=lambda fact: (fact.sequence, fact.monotonic_us))


def _folder(driver: Driver, member: Member | None) -> Path | None:
    return None if member is None else driver.kept(member.name)


async def _ask(observer: Observer, member: Member | None, address: Address | None) -> list[Recorded] | None:
    if member is None or address is None or member.life is not Life.RUNNING:
        return None
    told: list[Recorded] = []
    async for fact in observer.facts(member.node, address):
        told.append(_from_wire(fact.node, member.pid, fact.line))
        if len(told) >= MAX_FACTS:
            break
    return told or None


def _from_wire(node: NodeId, pid: int, line: node_pb2.FactLine) -> Recorded:
    return Recorded(
        node=node,
        sequence=line.sequence,
        wall_us=line.wall_us,
        monotonic_us=line.monotonic_us,
        kind=line.kind,
        reason=line.reason,
        line=line.line,
        event_id=line.event_id,
        pid=pid,
        about=dict(line.about),
    )


def from_folder(node: NodeId, folder: Path | None) -> list[Recorded] | None:
    """What a node's own files say, or None where there are none to be read."""
    if folder is None:
        return None
    found = False
    facts: list[Recorded] = []
    for name in FILES:
        try:
            text = (folder / name).read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        found = True
        facts.extend(from_lines(node, text.splitlines()))
    return facts if found else None


def from_lines(node: NodeId, lines: Iterable[str]) -> Iterator[Recorded]:
    """Facts of a file. A line that a kill tore is none, and neither is one that makes no sense."""
    for line in lines:
        try:
            row = json.loads(line)
            yield Recorded(
                node=node,
                sequence=int(row["sequence"]),
                wall_us=int(row["wall_us"]),
                monotonic_us=int(row["monotonic_us"]),
                kind=str(row["kind"]),
                reason=str(row["reason"]),
                line=str(row["line"]),
                event_id=int(row.get("event_id", 0)),
                pid=int(row.get("pid", 0)),
                about={str(key): str(value) for key, value in dict(row.get("about", {})).items()},
            )
        except (ValueError, KeyError, TypeError):
            continue
