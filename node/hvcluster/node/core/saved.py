"""What a node must remember through a crash: its identity, its term and vote, its log and the newest snapshot.

Law: shapes only. The shell writes `Save` effects so that all of one effect is durable, or none of it is.
"""

from __future__ import annotations

from dataclasses import dataclass

from hvcluster.model.vocabulary import Incarnation, NodeId, StoreId

from .commands import Configuration
from .messages import Entry


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The database as of log index `index`, with the configuration that was in force there."""

    index: int
    term: int
    configuration: Configuration
    database: bytes


@dataclass(frozen=True, slots=True)
class SavedState:
    """All of it. `entries` follow `snapshot.index` without a gap. No snapshot: the disk is new (wiped), and may only
    join.
    """

    store: StoreId
    incarnation: Incarnation
    term: int
    voted_for: NodeId
    snapshot: Snapshot | None
    entries: tuple[Entry, ...]
