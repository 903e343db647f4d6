"""How a VM is taken offline: what its owner makes of a planned move, or of its OfflineAction.

Law: pure; a run ends in the way that the database and the policy of its group say, and how long saving takes follows
from its memory alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from hvcluster.model.definition import GroupDefinition
from hvcluster.model.policy import Policy
from hvcluster.model.properties import Properties
from hvcluster.model.values import value
from hvcluster.model.vocabulary import NOBODY, US_PER_S, MoveKind, OfflineAction

from .commands import BeginMove, Command
from .members import Group

SAVED_MB_PER_S: Final = 100
"""How fast memory is written to a LUN and read from it: a disk array on a network of 1 Gbit/s."""


@value
class Ending:
    """How to end a VM. `polite`: not turned off. `forced`: what waits in it is not done. `saving_us`: 0: not saved."""

    polite: bool
    forced: bool = False
    saving_us: int = 0


POWER_OFF: Final = Ending(False)


def saving_us(definition: GroupDefinition, time_scale: float) -> int:
    """How long its memory takes to be saved, or to be read again, scaled; never 0."""
    return max(1, int(definition.memory_mb * time_scale * US_PER_S / SAVED_MB_PER_S))


def leaving_by(policy: Policy, properties: Properties, *, drained: bool = True) -> MoveKind:
    """How a VM leaves a node that is drained or stopped: as it says itself, or by MoveTypeThreshold.

    Without DrainOnShutdown it is saved where its node is stopped, and not `drained` by an operator.
    """
    if not drained and not properties.drain_on_shutdown:
        return MoveKind.QUICK
    if policy.default_move_type is not None:
        return policy.default_move_type
    return MoveKind.LIVE if policy.priority >= properties.move_type_threshold else MoveKind.QUICK


def within_means(commands: Sequence[Command], properties: Properties) -> tuple[Command, ...]:
    """What to propose, with quick migrations in the place of live ones where this cluster has none, and why."""
    if properties.migrates_live:
        return tuple(commands)
    why = f"quick, for {properties.profile} migrates nobody live in a workgroup"
    return tuple(
        replace(command, kind=MoveKind.QUICK, cause=f"{command.cause}; {why}")
        if isinstance(command, BeginMove) and command.kind is MoveKind.LIVE
        else command
        for command in commands
    )


def ending_of(group: Group | None, time_scale: float, *, moves: bool = True) -> Ending:
    """How the VM of a group ends that its owner is to take offline. `moves`: for the move that the database says."""
    if group is None:
        return Ending(True)
    action = group.definition.policy.offline_action
    if moves and group.moving_to != NOBODY and group.desired:
        action = OfflineAction.SAVE if group.move_kind is MoveKind.QUICK else OfflineAction.SHUTDOWN
    match action:
        case OfflineAction.TURN_OFF:
            return POWER_OFF
        case OfflineAction.SAVE:
            return Ending(True, saving_us=saving_us(group.definition, time_scale))
        case OfflineAction.SHUTDOWN:
            return Ending(True)
        case OfflineAction.SHUTDOWN_FORCE:
            return Ending(True, forced=True)
