"""The process that keeps a file share or cloud witness, and the wires to it: it dies, is slow, or is out of reach.

Law: the file changes by the one rule of `model.share` and survives a crash. A question has one answer: UNKNOWN when
none came in time, and then what was asked may have been done, or may be later.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hvcluster.model.share import TURNED_AWAY, UNANSWERED, ShareAnswer, ShareRequest, StoredFile, carried_out
from hvcluster.model.vocabulary import NodeId
from hvcluster.node.core import events as ev

if TYPE_CHECKING:
    from .machines import Machine
    from .world import World

WIRE_LOW_US, WIRE_HIGH_US = 200, 3_000


class SimShare:
    """One file, and who can reach it."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.alive = True
        self.life = 0
        self.file = StoredFile()
        self.slow_us = 0
        self.barred = False
        """Whether the key of the cluster's account is no more: everybody is turned away."""
        self.cut_out: set[NodeId] = set()
        """Nodes whose questions are lost."""
        self.cut_in: set[NodeId] = set()
        """Nodes to which no answer gets."""

    def kill(self) -> None:
        """SIGKILL: answers that have not left are lost, the file is not."""
        if self.alive:
            self.alive = False
            self.life += 1

    def start(self) -> None:
        """Start it again."""
        self.alive = True

    def heal(self, node: NodeId) -> None:
        """Mend the wire to a node."""
        self.cut_out.discard(node)
        self.cut_in.discard(node)

    @property
    def well(self) -> bool:
        """Whether nothing is wrong with it."""
        return self.alive and not self.slow_us and not self.barred and not self.cut_out and not self.cut_in

    def ask(self, machine: Machine, token: int, request: ShareRequest) -> None:
        """A node asks for something."""
        question = _Question(self._world, machine, token)
        self._world.after(machine.timing.witness_call, question.answer, UNANSWERED)
        self._world.after(self._wire() + self.slow_us, self._arrives, machine, question, request)

    def _wire(self) -> int:
        return WIRE_LOW_US + int(self._world.random.random() * (WIRE_HIGH_US - WIRE_LOW_US))

    def _arrives(self, machine: Machine, question: _Question, request: ShareRequest) -> None:
        if machine.node in self.cut_out:
            return
        if not self.alive:
            self._world.after(self._wire(), question.answer, UNANSWERED)  # nobody listens there
            return
        if self.barred:
            self._world.after(self._wire(), self._returns, machine.node, self.life, question, TURNED_AWAY)
            return
        before = self.file
        self.file, answer = carried_out(before, request)
        if self.file is not before:
            self._world.judge.tag_written(self.file.data)
        self._world.after(self._wire(), self._returns, machine.node, self.life, question, answer)

    def _returns(self, node: NodeId, life: int, question: _Question, answer: ShareAnswer) -> None:
        if life == self.life and node not in self.cut_in:
            question.answer(answer)


class _Question:
    """What one life of a node asked once; the first answer is the only one."""

    def __init__(self, world: World, machine: Machine, token: int) -> None:
        self._world = world
        self._machine = machine
        self._life = machine.life
        self._token = token
        self._open = True

    def answer(self, answer: ShareAnswer) -> None:
        """The answer, or the end of the time for it."""
        if self._open and self._machine.life == self._life:
            self._open = False
            self._machine.deliver(ev.WitnessAnswered(self._token, answer))
