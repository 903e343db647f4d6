"""Other ways to say a command: with its noun (`hvc move group D1 --node HyperV-2`), or as the product's cmdlet.

Law: words in, words of the plain command out; nothing is done here. What the product has and we have not is answered
with the reason.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

import click

from hvcluster.orchestrator.errors import Exit, Failure

from .cmdlets import ARGUMENT, CMDLETS, IGNORED, NOT_EMULATED, Cmdlet, reason

_CMDLET: Final = re.compile(r"[A-Za-z]+-[A-Za-z]*Cluster[A-Za-z]*", re.IGNORECASE)
_WITH_NOUN: Final[dict[tuple[str, str], str]] = {
    ("move", "group"): "move",
    ("move", "csv"): "move-csv",
    ("start", "node"): "start",
    ("stop", "node"): "stop",
    ("shutdown", "node"): "shutdown",
    ("start", "group"): "online",
    ("stop", "group"): "offline",
    ("suspend", "node"): "pause",
    ("pause", "node"): "pause",
    ("resume", "node"): "resume",
}
_COMMON: Final = {"Cluster": "--lab", "Verbose": IGNORED, "Confirm": IGNORED, "Force": IGNORED}
"""Parameters of every cmdlet. Nothing here asks before it acts."""

Options = Callable[[Sequence[str]], Mapping[str, bool]]
"""The options that the command of these words has, and whether each takes a value."""


def plain(arguments: Sequence[str], options: Options) -> list[str]:
    """The command line in our plain words. Raises Failure and click.UsageError for what cannot be said."""
    if not arguments:
        return []
    first = arguments[0]
    if len(arguments) > 2 and not arguments[2].startswith("-"):
        word = _WITH_NOUN.get((first.lower(), arguments[1].lower()))
        if word is not None:
            return [word, *arguments[2:]]
    known = {name.lower(): name for name in (*CMDLETS, *NOT_EMULATED)}
    if first.lower() not in known and not _CMDLET.fullmatch(first):
        return ["pause" if first == "suspend" else first, *arguments[1:]]
    name = known.get(first.lower())
    if name is None:
        from hvcluster.orchestrator.lab_reader import near

        remedy = near(first, known.values()) or "see `hvc --help`"
        raise Failure(Exit.NOT_FOUND, f"the product has no cmdlet {first!r} that is known here", remedy)
    if name in NOT_EMULATED:
        raise Failure(Exit.REFUSED, f"{name} is not emulated: {reason(name)}", "docs/conformance.md lists what is")
    cmdlet = CMDLETS[name]
    line = _Line(name, cmdlet, options(cmdlet.words))
    rest = list(line.words(arguments[1:]))
    return [*cmdlet.words, *line.named, *rest]


class _Line:
    """One line of PowerShell: parameters with their values, and values without a name."""

    def __init__(self, name: str, cmdlet: Cmdlet, options: Mapping[str, bool]) -> None:
        self._name = name
        self._cmdlet = cmdlet
        self._options = options
        self._parameters = {**_COMMON, **cmdlet.parameters}
        self._switches = cmdlet.switches | {name for name, to in _COMMON.items() if to == IGNORED}
        self._free = list(cmdlet.positional)
        self.named: list[str] = []
        """What the command is about; it comes before everything else."""

    def words(self, arguments: Sequence[str]) -> Iterator[str]:
        rest = iter(arguments)
        for word in rest:
            if word.startswith("--") or word in ("-h", "-o", "-L"):
                yield word  # an option of ours
                if self._options.get(word, False):
                    yield next(rest, "")
                continue
            if word.startswith("-"):
                yield from self._parameter(word, rest)
            elif self._free:
                yield from self._value(self._free.pop(0), word)
            else:
                raise click.UsageError(f"{self._name} takes no further value: {word!r}")

    def _parameter(self, word: str, rest: Iterator[str]) -> Iterator[str]:
        given, colon, value = word[1:].partition(":")
        name = self._meant(given)
        if name in self._free:
            self._free.remove(name)
        if name in self._switches:
            if value.lower() not in ("$false", "false"):
                yield from self._value(name, "")
            return
        if not colon:
            value = next(rest, "")
        if not value:
            raise click.UsageError(f"-{name} of {self._name} needs a value")
        yield from self._value(name, value)

    def _meant(self, given: str) -> str:
        """The parameter: its name in any case, or as much of it as no other one begins with."""
        names = {name.lower(): name for name in self._parameters}
        if given.lower() in names:
            return names[given.lower()]
        found = [name for name in self._parameters if name.lower().startswith(given.lower())]
        if len(found) == 1:
            return found[0]
        known = ", ".join(f"-{name}" for name in self._cmdlet.parameters) or "none but -Cluster"
        what = "could be several" if found else "is none that is emulated"
        raise click.UsageError(f"-{given} {what} of {self._name}; known are {known}")

    def _value(self, name: str, text: str) -> Iterator[str]:
        to = self._parameters[name]
        called = self._cmdlet.values.get(name, {})
        values = [called.get(part.lower(), part) for part in text.split(",") if part]
        if to == IGNORED:
            return
        if to == ARGUMENT:
            self.named += values
            return
        if "{}" in to:
            yield to.format(text)
            return
        if to not in self._options:
            raise Failure(Exit.REFUSED, f"-{name} of {self._name} is not emulated", "leave it out")
        if name in self._switches:
            yield to
            return
        for value in values:
            yield from (to, value)
