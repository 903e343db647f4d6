"""The target's side of live migration: make room, keep the memory of a paused VM, and give it to the run that resumes.

Law: memory alone starts nothing. It is taken up once, by the assignment that names its move and this life of the
service, and thrown away as soon as the database shows that this will not come.
"""

from __future__ import annotations

from collections.abc import Callable

from hvcluster.model.vocabulary import Generation, Incarnation, NodeId

from .database import Database, Group
from .guest_state import GuestImage, is_sane
from .migration_messages import LastOfVm, OfferVm, VmServed, VmTaken, WhereIsVm
from .outbox import Outbox
from .procedure import Paths

MAX_INCOMING = 64
"""VMs whose memory is on its way here; more than any limit on migrations lets through."""


class Held:
    """A VM that is expected: its memory, once that is complete."""

    __slots__ = ("generation", "image", "move", "source")

    def __init__(self, generation: Generation, move: int, source: NodeId) -> None:
        self.generation = generation
        self.move = move
        self.source = source
        self.image: GuestImage | None = None


class Incoming:
    """All VMs that are on their way to this node."""

    __slots__ = ("_database", "_incarnation", "_me", "_out", "_paths", "_served", "held")

    def __init__(
        self, me: NodeId, incarnation: Incarnation, database: Callable[[], Database], paths: Paths, out: Outbox
    ) -> None:
        self._me = me
        self._incarnation = incarnation
        self._database = database
        self._paths = paths
        self._out = out
        self._served: dict[str, tuple[Generation, str]] = {}
        self.held: dict[str, Held] = {}

    def offered(self, sender: NodeId, message: OfferVm, *, busy: bool) -> None:
        """A source asks. `busy`: a run of the group has not ended here yet."""
        held = self.held.get(message.group)
        if held is None or (held.generation, held.move) < (message.generation, message.move):
            problem = self._problem(busy)
            if problem:
                self._answer(sender, message, False, False, problem)
                return
            self.held[message.group] = Held(message.generation, message.move, sender)
        elif (held.generation, held.move) > (message.generation, message.move):
            return  # of a move that is over
        self._answer(sender, message, True, False, "there is room for it")

    def _problem(self, busy: bool) -> str:
        if not self._paths():
            return "it does not see the array"
        if len(self.held) >= MAX_INCOMING:
            return f"{MAX_INCOMING} VMs are on their way here already"
        return "its last run of the VM has not ended" if busy else ""

    def last(self, sender: NodeId, message: LastOfVm) -> None:
        """The memory is complete."""
        held = self.held.get(message.group)
        asked = (message.generation, message.move, sender)
        if held is None or (held.generation, held.move, held.source) != asked or not is_sane(message.image):
            self._answer(sender, message, False, True, "it does not expect this VM (any more)")
            return
        held.image = message.image
        self._answer(sender, message, True, True, "")

    def _answer(self, to: NodeId, asked: OfferVm | LastOfVm, ok: bool, holds: bool, reason: str) -> None:
        self._out.send(to, VmTaken(asked.group, asked.generation, asked.move, ok, holds, reason))

    def take(self, group: Group) -> tuple[GuestImage, NodeId] | None:
        """The memory that an assignment to this node goes on with, and whose it was; None: the VM boots."""
        held = self.held.get(group.name)
        if held is None or not group.resumes or group.holder != self._incarnation:
            return None
        if held.image is None or (held.generation + 1, held.move) != (group.generation, group.resumes):
            return None
        del self.held[group.name]
        return held.image, held.source

    def look(self) -> None:
        """The database has changed: forget what will not be resumed here."""
        groups = self._database().groups
        for name, held in tuple(self.held.items()):
            group = groups.get(name)
            if group is None or self._is_over(group, held):
                del self.held[name]

    def _is_over(self, group: Group, held: Held) -> bool:
        if group.generation < held.generation or (group.generation == held.generation and group.moves < held.move):
            return False  # this node has not heard of the move yet
        if group.generation == held.generation:
            return not (group.migrates and group.moves == held.move and group.moving_to == self._me)
        return not (group.generation == held.generation + 1 and group.resumes == held.move and group.owner == self._me)

    def serves(self, source: NodeId, group: str, generation: Generation, address: str) -> None:
        """A VM that was handed over is served here: tell its old owner."""
        self._served[group] = generation, address
        self._out.send(source, VmServed(group, generation, address))

    def asked(self, sender: NodeId, message: WhereIsVm) -> None:
        """Its old owner asks again."""
        served = self._served.get(message.group)
        if served is not None and served[0] == message.generation:
            self._out.send(sender, VmServed(message.group, *served))
