"""A simulated node's own disk: what is on it after a Save.

Law: a value before, a value after; nothing else survives a crash.
"""

from __future__ import annotations

from hvcluster.node.core import effects as ef
from hvcluster.node.core.saved import SavedState


def saved_after(saved: SavedState, save: ef.Save) -> SavedState:
    """What is on the disk once a Save has been performed."""
    store, incarnation = save.identity or (saved.store, saved.incarnation)
    term, voted_for = save.vote or (saved.term, saved.voted_for)
    snapshot, entries = saved.snapshot, saved.entries
    if save.snapshot is not None:
        snapshot = save.snapshot
        entries = tuple(entry for entry in entries if entry.index > snapshot.index)
    if save.reset_log:
        entries = ()
    if save.truncate_from is not None:
        entries = tuple(entry for entry in entries if entry.index < save.truncate_from)
    return SavedState(store, incarnation, term, voted_for, snapshot, entries + save.append)
