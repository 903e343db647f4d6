"""Roles of resources for a drawn lab: their dependencies, policies and intervals.

Law: values only; the same number draws the same roles on any machine. Durations are short enough for a run of minutes
to see what comes after them.
"""

from __future__ import annotations

import random
from typing import Final

from hvcluster.model.definition import GroupDefinition
from hvcluster.model.policy import RestartAction
from hvcluster.model.resources import ResourceDefinition, ResourcePolicy, disk_name
from hvcluster.model.scenario_groups import role as role_of
from hvcluster.model.vocabulary import LunId

TYPE: Final = "Network Name"
MOST: Final = 5
_ACTIONS: Final = (*(RestartAction.RESTART_NOTIFY,) * 4, RestartAction.RESTART_NO_NOTIFY, RestartAction.DONT_RESTART)


def resource_names(role: int, number: int) -> tuple[str, ...]:
    """The resources of one role; how many there are hangs on what is drawn for the lab."""
    draw = random.Random(f"{number}/role {role}")
    return tuple(f"R{role} {'abcde'[at]}" for at in range(1 + draw.randrange(MOST)))


def roles(count: int, number: int, first_lun: int) -> tuple[GroupDefinition, ...]:
    """So many roles R1, R2, ... on LUNs of their own."""
    return tuple(_role(role, number, LunId(first_lun + role - 1)) for role in range(1, count + 1))


def _role(role: int, number: int, lun: LunId) -> GroupDefinition:
    names = resource_names(role, number)
    draw = random.Random(f"{number}/role {role}/what")
    resources = tuple(
        ResourceDefinition(name, TYPE, depends=_depends(draw, (disk_name(lun), *names[:at])), policy=_policy(draw))
        for at, name in enumerate(names)
    )
    return role_of(f"R{role}", lun, resources)


def _depends(draw: random.Random, known: tuple[str, ...]) -> str:
    """What one resource needs of those before it."""
    chosen = [f"[{name}]" for name in known if draw.random() < 0.6]
    if len(chosen) > 2 and draw.random() < 0.5:
        return f"{chosen[0]} AND ({' OR '.join(chosen[1:])})"
    return (" AND " if draw.random() < 0.6 else " OR ").join(chosen)


def _policy(draw: random.Random) -> ResourcePolicy:
    return ResourcePolicy(
        restart_action=_ACTIONS[draw.randrange(len(_ACTIONS))],
        restart_threshold=draw.randrange(3),
        restart_period_ms=(30_000, 60_000)[draw.randrange(2)],
        restart_delay_ms=(0, 500, 3_000)[draw.randrange(3)],
        retry_period_on_failure_ms=(60_000, 0)[draw.randrange(2)],
        pending_timeout_ms=20_000,
        deadlock_timeout_ms=30_000,
        looks_alive_poll_interval_ms=5_000,
        is_alive_poll_interval_ms=(5_000, 30_000)[draw.randrange(2)],
    )
