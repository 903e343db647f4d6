"""What is wrong with a file that a person wrote: everything at once, each with its line, its place and a remedy.

Law: collects and names places; what is wrong is for whoever reads the file to say.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

from .toml_lines import Lines, Path

WHOLE_LIMIT: Final = 2**63
"""TOML has whole numbers of 64 bits."""
_SYNTAX: Final = re.compile(r"^(.*?) \(at line (\d+), column (\d+)\)$")
_LONG_NUMBER: Final = re.compile(r"[0-9_]{4000,}")


class NotToml(Exception):
    """A file that cannot be read as TOML at all: where, why, and what to do."""

    def __init__(self, line: int, text: str, remedy: str) -> None:
        self.line = line
        self.text = text
        self.remedy = remedy
        super().__init__(f"{line}: {text}; {remedy}")


def toml(data: str | bytes) -> tuple[str, dict[str, Any]]:
    """The text of a file, without the mark that editors of Windows put first, and what it says. Raises NotToml."""
    try:
        text = (data if isinstance(data, str) else data.decode()).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise NotToml(line, "the file is not UTF-8", "save it as UTF-8") from None
    try:
        return text, tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        match = _SYNTAX.match(str(error))
        if match is None:
            raise NotToml(text.count("\n") + 1, f"not TOML: {error}", "complete the last statement") from None
        raise NotToml(int(match[2]), f"not TOML: {match[1]}", f"see column {match[3]}") from None
    except RecursionError:
        raise NotToml(1, "lists or tables are nested too deeply", "two levels are enough") from None
    except ValueError:  # Python reads no number of so many digits
        found = _LONG_NUMBER.search(text)
        line = text.count("\n", 0, found.start()) + 1 if found else 1
        raise NotToml(line, "a number has thousands of digits", "write a smaller one") from None


def near(name: str, known: Iterable[str]) -> str:
    """ "did you mean 'x'?" or an empty string: for unknown names everywhere in the product."""
    names = list(known)
    lowered = {candidate.lower(): candidate for candidate in reversed(names)}
    found = difflib.get_close_matches(name.lower(), lowered, n=2, cutoff=0.6)
    return f"did you mean {' or '.join(repr(lowered[match]) for match in found)}?" if found else ""


def shown(value: object) -> str:
    """A value as it stands in a TOML file, and not as Python writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    moment = getattr(value, "isoformat", None)  # dates and times
    return str(value) if moment is not None else repr(value)


def place(path: Path) -> str:
    """A path of keys in a person's words: "[lab.properties]", "step 3, expect", or nothing for the whole file."""
    tables: list[str] = []
    words: list[str] = []
    for at, key in enumerate(path):
        if isinstance(key, int):
            continue
        number = path[at + 1] if at + 1 < len(path) and isinstance(path[at + 1], int) else None
        if number is not None:
            words.append(f"{key} {int(number) + 1}")
        elif words:
            words.append(key)
        else:
            tables.append(key)
    if words:
        return ", ".join([*tables, *words])
    return f"[{'.'.join(tables)}]" if tables else ""


class Complaints:
    """Collects what is wrong. `path`: the table that is spoken of; `key`: the key in it, for the line."""

    def __init__(self, text: str) -> None:
        self._lines = Lines(text)
        self.found: list[tuple[int, str]] = []

    def add(self, path: Path, text: str, key: str = "") -> None:
        """One thing is wrong."""
        where = place(path)
        line = self._lines.of((*path, key) if key else path)
        self.found.append((line, f"{where}: {text}" if where else text))

    def sentences(self) -> list[str]:
        """Everything found, in the order of the file: the line first."""
        return [f"{line}: {text}" for line, text in sorted(self.found, key=lambda found: found[0])]

    def known(self, path: Path, table: Mapping[str, Any], keys: Collection[str]) -> None:
        """Complain about every key that is not one of `keys`."""
        for key in sorted(set(table) - set(keys)):
            self.add(path, f"`{key}` is unknown; one of {', '.join(sorted(keys))}", key)

    def truth(self, path: Path, table: Mapping[str, Any], key: str, default: bool) -> bool:
        """A true or a false."""
        value = table.get(key, default)
        if not isinstance(value, bool):
            self.add(path, f"`{key}` is {shown(value)}; write true or false", key)
            return default
        return value

    def number(
        self, path: Path, table: Mapping[str, Any], key: str, least: float, most: float, remedy: str
    ) -> float | None:
        """A finite number from `least` to `most`; None when it is missing or wrong, which `remedy` then says."""
        value = table.get(key)
        good = isinstance(value, int | float) and not isinstance(value, bool) and least <= value <= most
        if good and value != float("inf"):
            return float(value)  # type: ignore[arg-type]
        said = f"is {shown(value)}" if key in table else "is missing"
        self.add(path, f"`{key}` {said}; {remedy}", key)
        return None


def listed(names: Collection[str]) -> str:
    """Names for people: all of a few, the first and the last of many."""
    several = tuple(names)
    return ", ".join(several) if len(several) <= 6 else f"{several[0]} to {several[-1]}"
