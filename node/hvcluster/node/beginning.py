"""Which saved state a node starts from: its own, a founded one on a new disk, or an empty one on a wiped disk.

Law: a disk is new only once. A marker that outlives the disk (kept elsewhere) is written durably before the first
state, so that a node whose disk was wiped never takes itself for new and votes again with forgotten promises.
"""

from __future__ import annotations

import enum
import secrets
import time
from dataclasses import dataclass
from pathlib import Path

from hvcluster.model.definition import ClusterDefinition
from hvcluster.model.vocabulary import Incarnation, NodeId, StoreId
from hvcluster.runtime import durable

from .core import genesis
from .core.saved import SavedState
from .store import Store, set_aside

STORE_BITS = 63
"""Store ids stay below 2^63: SQLite's integers are signed."""


class Origin(enum.Enum):
    """Where the state at hand comes from."""

    KEPT = "the saved state of an earlier run"
    FOUNDED = "the first state of a new cluster"
    WIPED = "an empty state: the disk was wiped"
    REJOINED = "an empty state: the old one was set aside as asked"


@dataclass(frozen=True, slots=True)
class Beginning:
    """An open store, what it holds, where that came from, and files that were set aside for it."""

    store: Store
    state: SavedState
    origin: Origin
    set_aside: tuple[Path, ...] = ()


def begin(
    folder: Path, marker: Path, definition: ClusterDefinition, node: NodeId, rejoin_empty: bool = False
) -> Beginning:
    """Find or make the saved state in `folder`.

    Raises CorruptState for a state that is there but not whole, CannotSave or OSError when the disk refuses.
    """
    durable.make_directory(folder)
    aside: list[Path] = []
    if rejoin_empty and Store.exists(folder):
        aside = set_aside(folder, time.strftime("aside-%Y%m%dT%H%M%S", time.gmtime()))
    if Store.exists(folder):
        store = Store.open(folder)
        try:
            return Beginning(store, store.load(), Origin.KEPT)
        except BaseException:
            store.close()
            raise
    if rejoin_empty or marker.exists():
        # Seconds since 1970: above any count of starts that the lost disk can have reached.
        state = genesis.wiped(StoreId(secrets.randbits(STORE_BITS)), Incarnation(int(time.time())))
        origin = Origin.REJOINED if rejoin_empty else Origin.WIPED
    else:
        state, origin = genesis.founded(definition, node), Origin.FOUNDED
    if not marker.exists():
        durable.make_directory(marker.parent)
        durable.write_text(marker, f"node {node} of cluster {definition.id} was given its first saved state\n")
    store = Store.create(folder, state)
    return Beginning(store, store.load(), origin, tuple(aside))
