"""Drives reservation procedures step by step against the array's own core, with answers that get lost and crashes.

Law: for tests of `disk` and `arbitration`. The array is the real one; what is simulated is the wire between.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Generic, TypeVar

from hvcluster.model.scsi import UNKNOWN, Command, FullStatus, PersistentReserveIn, ReserveIn, Result, Status, Write
from hvcluster.model.vocabulary import BLOCK_BYTES, Generation, LunId, NodeId, PathName, ReservationKey
from hvcluster.node.core.outbox import Outbox
from hvcluster.node.core.procedure import Ask, Paths, Steps, Wait
from tests.core.array_driver import LUN, Bench, nexus

T = TypeVar("T")
PATH_A, PATH_B = PathName("A"), PathName("B")


class Wire(Enum):
    """What becomes of one question."""

    WORKS = "asked and answered"
    LOST = "never arrives at the array"
    ANSWER_LOST = "executed, but nobody hears of it"


class Unfinished(Exception):
    """The machine crashed before the procedure ended."""


def initiator(node: int) -> str:
    """The bench's initiators are called a, b, c, d; node 1 is a."""
    return "abcd"[node - 1]


def key(generation: int, node: int) -> ReservationKey:
    """A registration key of this cluster."""
    return ReservationKey(Generation(generation), NodeId(node))


@dataclass
class Life(Generic[T]):
    """One procedure under way on one node. `step` performs one question or pause."""

    bench: Bench
    node: int
    steps: Steps[T]
    wire: Callable[[int], Wire] = lambda _: Wire.WORKS
    asked: int = 0
    waited: list[int] = field(default_factory=list)
    commands: list[Command] = field(default_factory=list)
    result: T | None = None
    ended: bool = False
    _answers: tuple[Result, ...] | None = None

    def step(self) -> bool:
        """Go on to the next question; False when the procedure has returned."""
        assert not self.ended
        steps: Generator[Ask | Wait, tuple[Result, ...], T] = self.steps
        try:
            what = next(steps) if self._answers is None else steps.send(self._answers)
        except StopIteration as stop:
            self.result = stop.value
            self.ended = True
            return False
        if isinstance(what, Wait):
            self.waited.append(what.us)
            self._answers = ()
        else:
            self._answers = self._perform(what)
        return True

    def _perform(self, ask: Ask) -> tuple[Result, ...]:
        fate = self.wire(self.asked)
        self.asked += 1
        self.commands += ask.commands
        if fate is Wire.LOST:
            return tuple(UNKNOWN for _ in ask.commands)
        who = nexus(initiator(self.node), ask.path)
        answers = tuple(self.bench.ask(who, command, ask.lun) for command in ask.commands)
        return answers if fate is Wire.WORKS else tuple(UNKNOWN for _ in ask.commands)

    def run(self, limit: int = 500) -> T:
        """To the end. Raises Unfinished after `limit` steps."""
        for _ in range(limit):
            if not self.step():
                assert self.result is not None
                return self.result
        raise Unfinished(f"no end after {limit} steps")


def once(lost: int, fate: Wire, width: int = 1) -> Callable[[int], Wire]:
    """A wire that fails at one question, or so many in a row, and works at all others."""
    return lambda at: fate if lost <= at < lost + width else Wire.WORKS


def outbox(node: int) -> Outbox:
    """An outbox for a procedure's facts."""
    return Outbox(NodeId(node))


def these(*paths: str) -> Paths:
    """Paths that are up."""
    return lambda: tuple(PathName(path) for path in paths)


def registrations(bench: Bench, lun: LunId = LUN) -> set[tuple[str, str, int]]:
    """Who is registered: (initiator, port, key), as the array says to a bystander."""
    payload = bench.ask(nexus("d"), PersistentReserveIn(ReserveIn.READ_FULL_STATUS), lun).payload
    assert isinstance(payload, FullStatus)
    return {(row.nexus.initiator, row.nexus.port, row.key) for row in payload.registrations}


def holder(bench: Bench, lun: LunId = LUN) -> set[int]:
    """The keys that hold the reservation."""
    payload = bench.ask(nexus("d"), PersistentReserveIn(ReserveIn.READ_FULL_STATUS), lun).payload
    assert isinstance(payload, FullStatus)
    return {row.key for row in payload.registrations if row.holder}


def may_write(bench: Bench, node: int, ports: Sequence[str] = ("A",)) -> bool:
    """Whether a write of the node would be accepted on any of these ports."""
    data = bytes(BLOCK_BYTES)
    answers = [bench.ask(nexus(initiator(node), port), Write(0, data)) for port in ports]
    return any(answer.status is Status.GOOD for answer in answers)
