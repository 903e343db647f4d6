"""The resources of one monitor: a worker each, so that one that hangs holds up no other.

Law: calls of one resource are carried out one after the other; TERMINATE overtakes them, and what it overtook takes no
effect. Every call is answered once, unless its entry point never returns: for that the node has DeadlockTimeout.
"""

from __future__ import annotations

import queue
import sys
import threading
import traceback
from collections.abc import Callable

from hvcluster.model.resources import Entry

from .calls import MAX_REASON, Answer, Call
from .types import TYPES, CannotRun, Resource

Say = Callable[[Answer], None]


class Hosted:
    """One resource and its worker."""

    def __init__(self, call: Call, say: Say) -> None:
        self._name = call.name
        self._say = say
        self._calls: queue.SimpleQueue[tuple[int, Call]] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._life = 0
        """How often it was terminated."""
        self._resource: Resource | None = None
        threading.Thread(target=self._work, name=call.name, daemon=True).start()

    def take(self, call: Call) -> None:
        """Carry out a call, later."""
        if call.entry is Entry.TERMINATE:
            with self._lock:
                self._life += 1
            threading.Thread(target=self._terminate, args=(call,), name=f"end {self._name}", daemon=True).start()
        else:
            self._calls.put((self._life, call))

    def _terminate(self, call: Call) -> None:
        self._answer(call, self.end())

    def end(self) -> str:
        """End it at once; what went wrong, if anything did."""
        resource = self._resource
        return "" if resource is None else _tried(resource.terminate)

    def _work(self) -> None:
        while True:
            life, call = self._calls.get()
            if life != self._life:
                self._answer(call, "it was overtaken by its termination")
                continue
            wrong = self._carry_out(call)
            if life != self._life and call.entry is Entry.ONLINE:
                self.end()  # it came online after it had been terminated
                wrong = "it was terminated meanwhile"
            self._answer(call, wrong)

    def _carry_out(self, call: Call) -> str:
        """Call the entry point; what went wrong, "" for nothing."""
        if call.entry is Entry.ONLINE:
            made = TYPES.get(call.type)
            if made is None:
                return f"there is no resource type {call.type!r}"
            try:
                self._resource = made(dict(call.properties))
            except (KeyError, ValueError) as error:
                return f"its properties do not fit: {error}"
            return _tried(self._resource.online)
        resource = self._resource
        if resource is None:
            return "" if call.entry is Entry.OFFLINE else "it was never brought online"
        match call.entry:
            case Entry.OFFLINE:
                return _tried(resource.offline)
            case Entry.LOOKS_ALIVE:
                return _alive(resource.looks_alive, "it does not look alive")
            case Entry.IS_ALIVE | Entry.TERMINATE:
                return _alive(resource.is_alive, "it is not alive")

    def _answer(self, call: Call, wrong: str) -> None:
        self._say(Answer(call.token, not wrong, wrong[:MAX_REASON]))


def _tried(entry: Callable[[], None]) -> str:
    try:
        entry()
    except Exception as error:  # noqa: BLE001  whatever a script raises is its resource's failure
        return _why(error)
    return ""


def _alive(entry: Callable[[], bool], no: str) -> str:
    try:
        return "" if entry() else no
    except Exception as error:  # noqa: BLE001  whatever a script raises is its resource's failure
        return _why(error)


def _why(error: Exception) -> str:
    """What an administrator reads; a script's own mistake goes to the log with its lines."""
    if isinstance(error, CannotRun):
        return str(error)
    traceback.print_exception(error, file=sys.stderr)
    return f"{type(error).__name__}: {error}"


class Host:
    """All resources of one monitor."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self._hosted: dict[tuple[str, str], Hosted] = {}

    def take(self, call: Call) -> None:
        """Carry out a call, later."""
        key = (call.group, call.name)
        hosted = self._hosted.get(key)
        if hosted is None:
            hosted = self._hosted[key] = Hosted(call, self._say)
        hosted.take(call)
