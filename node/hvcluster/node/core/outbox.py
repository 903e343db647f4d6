"""Collects the effects of one event in order, and the facts that explain them.

Law: everything to be saved for one event becomes one Save, and it comes first: nothing said to anybody, and no command
to a disk, can leave before what it rests on is durable.
"""

from __future__ import annotations

from collections.abc import Sequence

from hvcluster.model.facts import Fact, FactKind, Value
from hvcluster.model.vocabulary import Incarnation, Instant, NodeId, StoreId

from .effects import CancelTimer, Effect, Record, Save, Send, SetTimer
from .messages import Entry, Message
from .saved import Snapshot


class Outbox:
    """One per core; emptied by `take` after each event."""

    __slots__ = (
        "_append",
        "_effects",
        "_identity",
        "_node",
        "_reset",
        "_snapshot",
        "_truncate",
        "_unsaved",
        "_vote",
        "now",
    )

    def __init__(self, node: NodeId) -> None:
        self._node = node
        self.now = Instant(0)
        self._effects: list[Effect] = []
        self._clear_save()

    def _clear_save(self) -> None:
        self._unsaved = False
        self._identity: tuple[StoreId, Incarnation] | None = None
        self._vote: tuple[int, NodeId] | None = None
        self._snapshot: Snapshot | None = None
        self._reset = False
        self._truncate: int | None = None
        self._append: list[Entry] = []

    def add(self, effect: Effect) -> None:
        """Any effect but Save."""
        self._effects.append(effect)

    def send(self, to: NodeId, message: Message) -> None:
        self._effects.append(Send(to, message))

    def timer(self, name: str, at: int) -> None:
        self._effects.append(SetTimer(name, Instant(at)))

    def cancel(self, name: str) -> None:
        self._effects.append(CancelTimer(name))

    def fact(self, kind: FactKind, reason: str, **about: Value) -> None:
        """Record a change with its reason; particulars keep the order they are written in."""
        self._effects.append(Record(Fact(kind, self.now, self._node, reason, tuple(about.items()))))

    def save_identity(self, store: StoreId, incarnation: Incarnation) -> None:
        self._identity = (store, incarnation)
        self._unsaved = True

    def save_vote(self, term: int, voted_for: NodeId) -> None:
        self._vote = (term, voted_for)
        self._unsaved = True

    def save_append(self, entries: Sequence[Entry]) -> None:
        if entries:
            self._append.extend(entries)
            self._unsaved = True

    def save_truncate(self, index: int) -> None:
        self._append = [entry for entry in self._append if entry.index < index]
        self._truncate = index if self._truncate is None else min(index, self._truncate)
        self._unsaved = True

    def save_snapshot(self, snapshot: Snapshot | None, *, reset_log: bool) -> None:
        if reset_log:
            self._append = []
            self._truncate = None
            self._reset = True
        elif snapshot is not None:
            self._append = [entry for entry in self._append if entry.index > snapshot.index]
        self._snapshot = snapshot
        self._unsaved = True

    def take(self) -> list[Effect]:
        """The effects of this event, the Save first; the outbox is empty afterwards."""
        effects = self._effects
        if not effects and not self._unsaved:
            return effects
        self._effects = []
        if self._unsaved:
            save = Save(self._identity, self._vote, self._snapshot, self._reset, self._truncate, tuple(self._append))
            effects.insert(0, save)
            self._clear_save()
        return effects
