"""What nodes say to each other about a live migration: to the target, back, and to the leader.

Law: shapes only. All may be lost, doubled, late or out of order; each names the group, its generation on the source
and the number of the move, so that nothing of an older move is taken for this one.
"""

from __future__ import annotations

from typing import TypeAlias

from hvcluster.model.values import value
from hvcluster.model.vocabulary import Generation, Incarnation, NodeId

from .guest_state import GuestImage


@value
class OfferVm:
    """Setup: can you take this VM? Asked again until it is answered."""

    group: str
    generation: Generation
    move: int
    memory_mb: int


@value
class VmTaken:
    """The target's answer, to an offer or (`holds`) to the last of the memory: it has it and keeps it."""

    group: str
    generation: Generation
    move: int
    ok: bool
    holds: bool
    reason: str


@value
class LastOfVm:
    """The VM is paused; with this its memory is complete. Said again until the target holds it."""

    group: str
    generation: Generation
    move: int
    image: GuestImage


@value
class WhereIsVm:
    """The source holds requests for the VM of this generation, and asks where they are to go."""

    group: str
    generation: Generation


@value
class VmServed:
    """The VM that was handed over under that generation is served at `address` now."""

    group: str
    generation: Generation
    address: str


@value
class MoveReport:
    """The source tells the leader how a live move stands; repeated until the database says so.

    `handed`: the VM is paused and `holder`, a life of the target, has all its memory. From then on the source does not
    go on with it until the database says that this move is over. Otherwise the VM has gone on where it was.
    """

    group: str
    generation: Generation
    move: int
    handed: bool
    target: NodeId
    holder: Incarnation
    reason: str


MigrationMessage: TypeAlias = OfferVm | VmTaken | LastOfVm | WhereIsVm | VmServed | MoveReport

MIGRATION_MESSAGES: tuple[type[MigrationMessage], ...] = (
    OfferVm,
    VmTaken,
    LastOfVm,
    WhereIsVm,
    VmServed,
    MoveReport,
)
