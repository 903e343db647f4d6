"""What is wrong with a file that a person wrote: everything at once, each with its line, its place and a remedy.

Law: collects and names places; what is wrong is for whoever reads the file to say.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from .toml_lines import Lines, Path


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
            self.add(path, f"`{key}` is {value!r}; write true or false", key)
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
        said = f"is {value!r}" if key in table else "is missing"
        self.add(path, f"`{key}` {said}; {remedy}", key)
        return None


def listed(names: Collection[str]) -> str:
    """Names for people: all of a few, the first and the last of many."""
    several = tuple(names)
    return ", ".join(several) if len(several) <= 6 else f"{several[0]} to {several[-1]}"
