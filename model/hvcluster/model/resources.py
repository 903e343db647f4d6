"""What the resources of a group are, besides its Physical Disk: type, properties, dependencies, policies.

Law: values, and what is wrong with them as a whole. Names and defaults are the common properties of the product;
durations are unscaled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from .dependencies import NOTHING, BadExpression, Expression, circle, names, parse
from .policy import RestartAction
from .vocabulary import LunId

PHYSICAL_DISK: Final = "Physical Disk"


class Entry(Enum):
    """The entry points of a resource type. The value is the sentence shown to people."""

    ONLINE = "bring it online"
    OFFLINE = "take it offline"
    TERMINATE = "end it at once"
    LOOKS_ALIVE = "see whether it looks alive"
    IS_ALIVE = "make sure that it is alive"


@dataclass(frozen=True, slots=True)
class ResourcePolicy:
    """Common properties of a resource. 0xFFFFFFFF of the product's RetryPeriodOnFailure (never) is written as 0."""

    restart_action: RestartAction = RestartAction.RESTART_NOTIFY
    restart_threshold: int = 1
    restart_period_ms: int = 900_000
    restart_delay_ms: int = 500
    retry_period_on_failure_ms: int = 3_600_000
    pending_timeout_ms: int = 180_000
    deadlock_timeout_ms: int = 300_000
    looks_alive_poll_interval_ms: int = 5_000
    is_alive_poll_interval_ms: int = 60_000


@dataclass(frozen=True, slots=True)
class ResourceDefinition:
    """One resource. `depends`: a dependency expression over names of its group, "" for none."""

    name: str
    type: str
    properties: tuple[tuple[str, str], ...] = ()
    depends: str = ""
    policy: ResourcePolicy = field(default_factory=ResourcePolicy)

    def needs(self) -> Expression:
        """Its dependencies; one that cannot be read needs nothing, for a core never raises for what it was sent."""
        try:
            return parse(self.depends)
        except BadExpression:
            return NOTHING


def disk_name(lun: LunId) -> str:
    """How the Physical Disk of a group is called."""
    return f"Cluster Disk {lun}"


def complaints(lun: LunId, resources: Sequence[ResourceDefinition]) -> list[tuple[int, str, str]]:
    """What is wrong with the resources of one group: (which one, the key, a sentence with a remedy)."""
    found: list[tuple[int, str, str]] = []
    disk = disk_name(lun)
    known = [disk, *(each.name for each in resources)]
    needs: dict[str, tuple[str, ...]] = {}
    for at, each in enumerate(resources):
        try:
            expression = parse(each.depends)
        except BadExpression as error:
            found.append(
                (at, "depends", f'no dependency expression: {error}; write one such as "[A] AND ([B] OR [C])"')
            )
            continue
        needs[each.name] = names(expression)
        for name in needs[each.name]:
            if name not in known:
                text = (
                    f"{each.name!r} depends on {name!r}, which is not in its group; a dependency stays inside a group"
                )
                found.append((at, "depends", f"{text} ({', '.join(known)})"))
    around = circle({name: [other for other in wanted if other in needs] for name, wanted in needs.items()})
    if around:
        at = next(n for n, each in enumerate(resources) if each.name == around[0])
        found.append((at, "depends", f"{' needs '.join(around)}: a circle never comes online; break it"))
    return found
