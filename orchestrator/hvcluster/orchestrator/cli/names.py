"""Names on a command line, whatever their case.

Law: looks up; a name that is not there is answered with near ones.
"""

from __future__ import annotations

from collections.abc import Iterable

from hvcluster.orchestrator.errors import Exit, Failure
from hvcluster.orchestrator.lab_reader import near


def find(what: str, name: str, known: Iterable[str]) -> str:
    """The known name that is meant. Raises Failure NOT_FOUND."""
    names = list(known)
    for candidate in names:
        if candidate.lower() == name.lower():
            return candidate
    remedy = near(name, names) or (f"there are {', '.join(names[:10])}" if names else "")
    raise Failure(Exit.NOT_FOUND, f"there is no {what} {name!r}", remedy)
