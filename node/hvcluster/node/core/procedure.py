"""Multi-step procedures as generators: they yield questions and pauses, and are resumed with the answers.

Law: the runner knows tokens and timers, neither SCSI nor files; a procedure knows its steps, not who performs them. Any
step may be the last one before a crash, so what a procedure did must be found again by reading, never by remembering.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, TypeAlias, TypeVar

from hvcluster.model.scsi import Command, Result, SenseKey, Status
from hvcluster.model.share import ShareAnswer, ShareRequest
from hvcluster.model.values import value
from hvcluster.model.vocabulary import US_PER_MS, Instant, LunId, PathName

from .effects import AskWitness, SubmitScsi
from .outbox import Outbox

PREFIX = "step:"
ATTEMPTS = 6  # unit attentions are reported once each; more in a row than kinds exist means something is wrong
BUSY_PAUSE_US = 20 * US_PER_MS

T = TypeVar("T")


@value
class Ask:
    """Commands down one path, in order; answered together, in the same order."""

    path: PathName
    lun: LunId
    commands: tuple[Command, ...]


@value
class AskShare:
    """One question to the share or the container where a witness's file lies."""

    request: ShareRequest


@value
class Wait:
    """Let so much time pass."""

    us: int


Answers: TypeAlias = tuple[Result, ...]
Steps: TypeAlias = Generator[Ask | Wait, Answers, T]
ShareSteps: TypeAlias = Generator[AskShare | Wait, ShareAnswer, T]
Paths: TypeAlias = Callable[[], tuple[PathName, ...]]


def again(result: Result) -> bool:
    """Whether a command was not executed and should simply be sent again (unit attention, busy, aborted)."""
    if result.status is Status.BUSY:
        return True
    return (
        result.status is Status.CHECK_CONDITION
        and result.sense is not None
        and result.sense.key in (SenseKey.UNIT_ATTENTION, SenseKey.ABORTED_COMMAND)
    )


def ask(path: PathName, lun: LunId, *commands: Command) -> Steps[Answers]:
    """Send commands that may be repeated as a whole; repeats them past unit attentions."""
    answers: Answers = ()
    for _ in range(ATTEMPTS):
        answers = yield Ask(path, lun, commands)
        if not any(again(result) for result in answers):
            break
        if any(result.status is Status.BUSY for result in answers):
            yield Wait(BUSY_PAUSE_US)
    return answers


def ask_any(paths: Paths, lun: LunId, *commands: Command) -> Steps[Answers]:
    """Like ask, on the first path that answers; all UNKNOWN when none does."""
    answers: Answers = tuple(Result(Status.UNKNOWN) for _ in commands)
    for path in paths():
        answers = yield from ask(path, lun, *commands)
        if all(result.status is not Status.UNKNOWN for result in answers):
            break
    return answers


class _Running:
    __slots__ = ("answers", "begun", "done", "missing", "name", "steps")

    def __init__(self, name: str, steps: Steps[Any] | ShareSteps[Any], done: Callable[[Instant, Any], None]) -> None:
        self.name = name
        self.steps: Generator[Ask | AskShare | Wait, Any, Any] = steps
        self.done = done
        self.begun = False
        self.answers: list[Result | None] = []
        self.missing = 0


class Procedures:
    """All procedures under way in one core, by name."""

    __slots__ = ("_asked", "_next_token", "_out", "_running", "_tokens")

    def __init__(self, out: Outbox) -> None:
        self._out = out
        self._running: dict[str, _Running] = {}
        self._tokens: dict[int, tuple[_Running, int]] = {}
        self._asked: dict[int, _Running] = {}
        self._next_token = 0

    def active(self, name: str) -> bool:
        return name in self._running

    def start(
        self, now: Instant, name: str, steps: Steps[T] | ShareSteps[T], done: Callable[[Instant, T], None]
    ) -> None:
        """Begin a procedure; `done` gets what it returns. One of a name at a time."""
        assert name not in self._running, f"{name} is under way"
        running = _Running(name, steps, done)
        self._running[name] = running
        self._resume(now, running, ())

    def cancel(self, name: str) -> None:
        """Forget a procedure where it stands; answers still to come are ignored."""
        running = self._running.pop(name, None)
        if running is not None:
            running.steps.close()
            self._out.cancel(PREFIX + name)

    def answered(self, now: Instant, token: int, result: Result) -> None:
        """An answer came; unknown tokens belong to procedures that were cancelled."""
        found = self._tokens.pop(token, None)
        if found is None:
            return
        running, position = found
        if self._running.get(running.name) is not running:
            return
        running.answers[position] = result
        running.missing -= 1
        if running.missing == 0:
            self._resume(now, running, tuple(answer for answer in running.answers if answer is not None))

    def share_answered(self, now: Instant, token: int, answer: ShareAnswer) -> None:
        """The share answered; unknown tokens belong to procedures that were cancelled."""
        running = self._asked.pop(token, None)
        if running is not None and self._running.get(running.name) is running:
            running.missing = 0
            self._resume(now, running, answer)

    def timer(self, now: Instant, name: str) -> None:
        """A pause is over."""
        running = self._running.get(name)
        if running is not None and running.missing == 0:
            self._resume(now, running, ())

    def submit(self, path: PathName, lun: LunId, command: Command) -> None:
        """Send a command whose answer nobody waits for."""
        self._next_token += 1
        self._out.add(SubmitScsi(self._next_token, path, lun, command))

    def _resume(self, now: Instant, running: _Running, answers: Answers | ShareAnswer) -> None:
        try:
            step = running.steps.send(answers) if running.begun else next(running.steps)
        except StopIteration as stop:
            del self._running[running.name]
            running.done(now, stop.value)
            return
        running.begun = True
        match step:
            case Wait(us):
                self._out.timer(PREFIX + running.name, now + us)
            case AskShare(request):
                running.missing = 1
                self._next_token += 1
                self._asked[self._next_token] = running
                self._out.add(AskWitness(self._next_token, request))
            case Ask(path, lun, commands):
                running.answers = [None] * len(commands)
                running.missing = len(commands)
                for position, command in enumerate(commands):
                    self._next_token += 1
                    self._tokens[self._next_token] = (running, position)
                    self._out.add(SubmitScsi(self._next_token, path, lun, command))
