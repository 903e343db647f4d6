"""What a leader does about an operator's request, and what the operator is told.

Law: shapes only. Who decides what is for `requests` and `quorum_requests` to say.
"""

from __future__ import annotations

from collections.abc import Callable

from hvcluster.model.values import value

from .commands import Command
from .database import Database, Group


@value
class Outcome:
    """The answer to a request."""

    ok: bool
    code: str
    text: str


Watch = Callable[[Database], "Outcome | None"]


@value
class Decision:
    """What the leader does about a request: answer at once, or propose and watch."""

    outcome: Outcome | None
    commands: tuple[Command, ...] = ()
    watch: Watch | None = None


def state_of(group: Group) -> str:
    """The state of a group in lower case."""
    return group.state.name.lower().replace("_", " ")


def refused(code: str, text: str) -> Decision:
    """Nothing changes, for this reason."""
    return Decision(Outcome(False, code, text))
