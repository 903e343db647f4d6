"""Copies of whole worlds: to go back to, any number of times.

Law: what never changes (definition, timing, log entries, snapshots) is shared by all copies of one search; everything
else is its own in each. A world with a procedure under way cannot be copied: generators cannot.
"""

from __future__ import annotations

import io
import pickle
from typing import Any, Final

from hvcluster.model.definition import ClusterDefinition
from hvcluster.model.properties import Properties, Timing
from hvcluster.node.core.messages import Entry
from hvcluster.node.core.saved import Snapshot

from .world import World

_SHARED: Final = frozenset({ClusterDefinition, Properties, Timing, Entry, Snapshot})


class Copies:
    """The copies of one search."""

    def __init__(self) -> None:
        self._kept: dict[int, object] = {}

    def of(self, world: World) -> bytes:
        """A copy, as bytes."""
        buffer = io.BytesIO()
        _Writer(buffer, self._kept).dump(world)
        return buffer.getvalue()

    def made(self, copy: bytes) -> World:
        """A world again."""
        world: World = _Reader(io.BytesIO(copy), self._kept).load()
        return world


class _Writer(pickle.Pickler):
    def __init__(self, buffer: io.BytesIO, kept: dict[int, object]) -> None:
        super().__init__(buffer, pickle.HIGHEST_PROTOCOL)
        self._kept = kept

    def persistent_id(self, thing: Any) -> int | None:
        if type(thing) not in _SHARED:
            return None
        self._kept[id(thing)] = thing  # kept alive, so that no other thing gets its id
        return id(thing)


class _Reader(pickle.Unpickler):
    def __init__(self, buffer: io.BytesIO, kept: dict[int, object]) -> None:
        super().__init__(buffer)
        self._kept = kept

    def persistent_load(self, pid: int) -> object:
        return self._kept[pid]
