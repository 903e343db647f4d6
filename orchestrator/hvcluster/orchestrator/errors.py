"""What can go wrong for a person or a script, with the exit status each one gets.

Law: every failure says what happened and what to do next; a status never changes its meaning.
"""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """Exit statuses of `hvc`. Documented in `hvc --help`; scripts may rely on them."""

    OK = 0
    """Done, and what was promised held."""
    FAILED = 1
    """Something promised did not hold, or failed without a status of its own."""
    USAGE = 2
    """The command line does not fit the command."""
    NOT_FOUND = 3
    """No such lab, node, VM, bus, ... (near names are suggested)."""
    REFUSED = 4
    """The cluster, or a process, said no."""
    TIMEOUT = 5
    """It was not done in time; it may still be going on."""
    LAB_INVALID = 6
    """The lab file, or the scenario file, has problems; nothing was started."""
    PORT_BUSY = 7
    """A port the lab needs is held by another process; nothing stays started."""
    UNREACHABLE = 8
    """No process that could answer was reached."""


class Failure(Exception):
    """A failure with its status and its remedy."""

    def __init__(self, status: Exit, text: str, remedy: str = "") -> None:
        self.status = status
        self.text = text
        self.remedy = remedy
        super().__init__(f"{text}; {remedy}" if remedy else text)
