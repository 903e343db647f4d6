"""What a node and its resource monitor say to each other: one JSON value per line, over a pipe.

Law: shapes, their text, and their limits. Each call has one answer, in any order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from hvcluster.model import codec
from hvcluster.model.resources import Entry

MAX_LINE: Final = 256 * 1024
"""Of a call: names and properties, of which each may be some thousand characters long."""
MAX_REASON: Final = 500
"""Of a reason: a sentence, or the end of what a script raised."""


@dataclass(frozen=True, slots=True)
class Call:
    """Call an entry point of a resource."""

    token: int
    entry: Entry
    group: str
    name: str
    type: str
    properties: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a call: whether it succeeded, or the resource is alive."""

    token: int
    ok: bool
    reason: str


def line(value: Call | Answer) -> bytes:
    """One value with its end of line. JSON escapes line ends inside."""
    return codec.dump(value) + b"\n"


def call_in(data: bytes) -> Call:
    """Raises codec.Malformed."""
    return codec.load(Call, data)


def answer_in(data: bytes) -> Answer:
    """Raises codec.Malformed."""
    return codec.load(Answer, data)
