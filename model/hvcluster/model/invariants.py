"""Judges a history of real processes: the array's own journal, and the facts that nodes recorded.

Law: pure functions of what was collected; each returns sentences, empty when the invariant held. The simulator's
judge sees more, because it sees everything; here only what was written down counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from .definition import Extent
from .facts import FactKind
from .vocabulary import Generation, LunId, NodeId, ReservationKey

WRITES = ("WRITE", "COMPARE AND WRITE")
TAKES = ("PERSISTENT RESERVE OUT RESERVE", "PERSISTENT RESERVE OUT PREEMPT", "PERSISTENT RESERVE OUT PREEMPT AND ABORT")


@dataclass(frozen=True, slots=True)
class Executed:
    """One command that the array executed, in the array's order. `key` was registered for the nexus (None: no key)."""

    lun: LunId
    command: str
    initiator: str
    key: int | None
    lba: int = 0


@dataclass(frozen=True, slots=True)
class Recorded:
    """One fact that a node recorded, its particulars as text."""

    kind: str
    node: NodeId
    reason: str
    about: Mapping[str, str]


def one_writer(executed: Iterable[Executed], luns: Mapping[LunId, str]) -> list[str]:
    """No write is accepted from an older generation once a newer one has taken the LUN, none without a registration.

    `luns`: the LUNs of groups, by name. Only the order in which the array executed commands counts, no clock.
    """
    found: list[str] = []
    newest: dict[LunId, Generation] = {}
    for row in executed:
        group = luns.get(row.lun)
        if group is None or row.command not in (*WRITES, *TAKES):
            continue
        key = ReservationKey.decode(row.key) if row.key is not None else None
        if key is None:
            found.append(f"{group}: {row.command} of {row.initiator} was executed without a registered key of ours")
            continue
        before = newest.get(row.lun, Generation(0))
        if key.generation < before:
            found.append(
                f"{group}: {row.command} of {row.initiator} was executed under generation {key.generation}, "
                f"after generation {before} had taken the LUN"
            )
        newest[row.lun] = max(before, key.generation)
    return found


def one_writer_an_extent(
    executed: Iterable[Executed], extents: Mapping[str, tuple[LunId, Extent]], volumes: Mapping[LunId, str]
) -> list[str]:
    """On a volume only the node writes into a VM's blocks that has claimed them, from its first write there on.

    `extents`: where each group's blocks are; `volumes`: names. A claim is the one write to an extent's first block.
    """
    found: list[str] = []
    claimed: dict[str, NodeId] = {}
    began: set[str] = set()
    for row in executed:
        if row.lun not in volumes or row.command not in WRITES:
            continue
        key = ReservationKey.decode(row.key) if row.key is not None else None
        owners = [n for n, (lun, e) in sorted(extents.items()) if lun == row.lun and e.first <= row.lba < e.end]
        where = f"{volumes[row.lun]}, block {row.lba}"
        if key is None:
            found.append(f"{where}: {row.command} of {row.initiator} was executed without a registered key of ours")
        elif not owners:
            found.append(f"{where}: {row.command} of node {key.node} is in no VM's extent")
        elif row.lba == extents[owners[0]][1].first:
            claimed[owners[0]] = key.node
            began.discard(owners[0])
        elif claimed.get(owners[0]) == key.node:
            began.add(owners[0])
        elif owners[0] in began or owners[0] not in claimed:
            found.append(f"{where}: node {key.node} wrote to {owners[0]}, which node {claimed.get(owners[0])} has")
    return found


def one_leader_a_term(facts: Iterable[Recorded]) -> list[str]:
    """Election safety (Raft 5.2): at most one leader is elected in a term."""
    leaders: dict[str, NodeId] = {}
    found: list[str] = []
    for fact in facts:
        if fact.kind == FactKind.LEADER_ELECTED.name:
            term = fact.about.get("term", "")
            if leaders.setdefault(term, fact.node) != fact.node:
                found.append(f"nodes {leaders[term]} and {fact.node} both lead term {term}")
    return found


def one_owner_a_generation(facts: Iterable[Recorded]) -> list[str]:
    """State machine safety, as far as facts show it: a generation of a group has one owner, and a reason."""
    owners: dict[tuple[str, str], str] = {}
    found: list[str] = []
    for fact in facts:
        if fact.kind == FactKind.GROUP_ASSIGNED.name:
            key = (fact.about.get("group", ""), fact.about.get("generation", ""))
            owner = fact.about.get("owner", "")
            if owners.setdefault(key, owner) != owner:
                found.append(f"generation {key[1]} of {key[0]} was given to nodes {owners[key]} and {owner}")
            if not fact.reason or owner not in fact.about.get("candidates", "").split(","):
                found.append(
                    f"generation {key[1]} of {key[0]} was given to node {owner} without a reason or a candidacy"
                )
    return found
