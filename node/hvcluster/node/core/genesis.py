"""The first saved state of a node: as cluster creation writes it, or as a wiped disk comes back.

Law: pure construction. Whether a disk is new or wiped is for the shell to know.
"""

from __future__ import annotations

from hvcluster.model.definition import ClusterDefinition, first_store
from hvcluster.model.vocabulary import NOBODY, Incarnation, NodeId, StoreId

from .database import Database
from .saved import SavedState, Snapshot

FIRST_INDEX = 1
FIRST_TERM = 1


def founded(definition: ClusterDefinition, node: NodeId) -> SavedState:
    """What `New-Cluster` writes to the disk of `node`: the same database on every node, nobody a member yet."""
    database = Database.created(definition)
    snapshot = Snapshot(FIRST_INDEX, FIRST_TERM, database.first_configuration(), database.encode())
    return SavedState(first_store(definition.id, node), Incarnation(0), FIRST_TERM, NOBODY, snapshot, ())


def wiped(store: StoreId, incarnation: Incarnation) -> SavedState:
    """An empty disk under a new identity: it knows no cluster, votes for nobody that counts, and waits to be taken in.

    `incarnation`: higher than any the old disk can have reached (the shell takes the seconds since 1970), so that
    peers take the newcomer for the newer life of the node.
    """
    return SavedState(store, incarnation, 0, NOBODY, None, ())
