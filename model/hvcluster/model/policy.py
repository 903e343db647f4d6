"""What an administrator wishes for a group: how it is restarted, where it may go back to, with whom it shares a node.

Law: values and the checks that need nothing but them. Names and defaults are the common properties of groups and
resources in the product; durations are unscaled.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import Final

from .vocabulary import MoveKind, OfflineAction

JOURNAL_SERVICE: Final = "journal"
"""What a VM serves its clients with."""


class Priority(IntEnum):
    """Priority of a group; numbers as in clusapi.h."""

    NO_AUTO_START = 0
    LOW = 1000
    MEDIUM = 2000
    HIGH = 3000


class RestartAction(IntEnum):
    """What follows from the failure of a VM; numbers as in the product."""

    DONT_RESTART = 0
    RESTART_NO_NOTIFY = 1
    RESTART_NOTIFY = 2


class FaultDomain(Enum):
    """What fails together, the widest first: each lies within the one before."""

    SITE = "site"
    RACK = "rack"
    CHASSIS = "chassis"

    def of(self, place: tuple[str, ...]) -> tuple[str, ...]:
        """The domain of this level at a place (site, rack, chassis) with those around it; empty where none is."""
        depth = tuple(FaultDomain).index(self) + 1
        return place[:depth] if len(place) >= depth and place[depth - 1] else ()


class RuleKind(Enum):
    """What an affinity rule asks of its groups."""

    SAME_NODE = "same-node"
    DIFFERENT_NODE = "different-node"
    SAME_FAULT_DOMAIN = "same-fault-domain"
    DIFFERENT_FAULT_DOMAIN = "different-fault-domain"

    @property
    def together(self) -> bool:
        """Whether it keeps its groups together."""
        return self in (RuleKind.SAME_NODE, RuleKind.SAME_FAULT_DOMAIN)

    @property
    def by_domain(self) -> bool:
        """Whether it speaks of fault domains, and not of nodes."""
        return self in (RuleKind.SAME_FAULT_DOMAIN, RuleKind.DIFFERENT_FAULT_DOMAIN)


@dataclass(frozen=True, slots=True)
class Policy:
    """Common properties of a group and of its VM.

    Of `restart_threshold` failures within `restart_period_ms` each is followed by a restart on the same node, after
    `restart_delay_ms`; what comes after the next one, `restart_action` says. The window of failback is two hours of the
    day, 0 to 23, or -1 for any time. `check_heartbeat`: a guest that is silent has failed.

    `offline_action`: what becomes of the VM when it is taken offline, other than for a move. `default_move_type`: how
    it leaves a node that is drained; None: as MoveTypeThreshold says. `monitored_services`: the services in the VM that
    its host watches; what clients use is the journal. `protected_network`: it leaves a host whose cable to its
    network is out.
    """

    priority: Priority = Priority.MEDIUM
    restart_action: RestartAction = RestartAction.RESTART_NOTIFY
    restart_threshold: int = 1
    restart_period_ms: int = 900_000
    restart_delay_ms: int = 500
    auto_failback: bool = False
    failback_window_start: int = -1
    failback_window_end: int = -1
    anti_affinity_class_names: tuple[str, ...] = ()
    locked_from_moving: bool = False
    check_heartbeat: bool = True
    offline_action: OfflineAction = OfflineAction.SAVE
    default_move_type: MoveKind | None = None
    monitored_services: tuple[str, ...] = (JOURNAL_SERVICE,)
    protected_network: bool = True


@dataclass(frozen=True, slots=True)
class AffinityRule:
    """Groups that belong on one node or in one fault domain, or in different ones. `level`: of fault domains.

    A `soft` rule gives way where no node fits.
    """

    name: str
    kind: RuleKind
    groups: tuple[str, ...]
    soft: bool = False
    level: FaultDomain = FaultDomain.SITE


@dataclass(frozen=True, slots=True)
class GroupSet:
    """Groups that start only after those of other sets: once all of them are online, and `startup_delay_ms` later.

    `trigger_delay`: whether that delay counts; without it, Online is enough.
    """

    name: str
    groups: tuple[str, ...]
    after: tuple[str, ...] = ()
    startup_delay_ms: int = 20_000
    trigger_delay: bool = True


def complaints(rules: Collection[AffinityRule], sets: Collection[GroupSet]) -> list[tuple[str, str]]:
    """What does not fit together: ("affinity" or "set", a sentence with a remedy)."""
    found: list[tuple[str, str]] = []
    for key, names in (("affinity", [rule.name for rule in rules]), ("set", [each.name for each in sets])):
        twice = sorted({name for name in names if names.count(name) > 1})
        found += [(key, f"{name!r} stands here twice; give each a name of its own") for name in twice]
    together = [set(rule.groups) for rule in rules if rule.kind is RuleKind.SAME_NODE]
    for rule in rules:
        if rule.kind is RuleKind.DIFFERENT_NODE and any(len(set(rule.groups) & groups) > 1 for groups in together):
            text = f"rule {rule.name!r} keeps groups apart that another one keeps together; remove one of them"
            found.append(("affinity", text))
    known = {each.name: each for each in sets}
    for each in sets:
        for name in each.after:
            if name not in known:
                text = f"set {each.name!r} comes after {name!r}, which does not exist; name a set that does"
                found.append(("set", text))
        if _reaches(known, each.name, each.name):
            found.append(("set", f"set {each.name!r} waits for itself in the end; break the circle"))
    return found


def _reaches(sets: Mapping[str, GroupSet], start: str, end: str) -> bool:
    seen: set[str] = set()
    ahead = list(sets[start].after)
    while ahead:
        name = ahead.pop()
        if name == end:
            return True
        if name in sets and name not in seen:
            seen.add(name)
            ahead.extend(sets[name].after)
    return False
