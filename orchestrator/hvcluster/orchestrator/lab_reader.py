"""Typed reading of TOML tables that collects every problem instead of stopping at the first.

Law: shapes of values (types, ranges, unknown keys), each complaint with its line and its remedy. What values mean
together is judged in `lab_file`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar

from hvcluster.model.complaints import WHOLE_LIMIT
from hvcluster.model.complaints import near as near
from hvcluster.model.toml_lines import Lines, Path

T = TypeVar("T")

MAX_PROBLEMS: Final = 200
"""A file of noise must not fill a terminal; the first two hundred complaints say enough."""


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing wrong with a lab file, and what to do about it."""

    line: int
    text: str
    remedy: str
    file: str = ""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.text}; {self.remedy}"


@dataclass(slots=True)
class Report:
    """Where problems of one file are collected."""

    file: str
    lines: Lines
    problems: list[Problem] = field(default_factory=list)

    def add(self, path: Path, text: str, remedy: str) -> None:
        """Complain about what stands at `path`."""
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(Problem(self.lines.of(path), text, remedy, self.file))

    def line(self, path: Path) -> int:
        """The line of `path`, for messages that refer to another place."""
        return self.lines.of(path)


_KIND_NAMES: Final[dict[type, str]] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
    list: "a list",
    dict: "a table",
}


def kind_name(value: object) -> str:
    """A TOML type in words."""
    return _KIND_NAMES.get(type(value), "a date or time")


class Section:
    """One table. Every key that was asked for counts as known; `finish` complains about the others."""

    def __init__(self, report: Report, path: Path, values: dict[str, object]) -> None:
        self.report = report
        self.path = path
        self._values = values
        self._known: list[str] = []

    def has(self, key: str) -> bool:
        """Whether the key stands in the file."""
        return key in self._values

    def complain(self, key: str | None, text: str, remedy: str) -> None:
        """A problem with one key, or with the table itself."""
        self.report.add(self.path if key is None else (*self.path, key), text, remedy)

    def raw(self, key: str) -> object:
        """The value as it is, None when absent."""
        if key not in self._known:
            self._known.append(key)
        return self._values.get(key)

    def picked(self, keys: Sequence[str]) -> dict[str, object]:
        """Those of some keys that stand in the file, as they are; all of them count as known."""
        values = {key: self.raw(key) for key in keys}
        return {key: value for key, value in values.items() if key in self._values}

    def names(self) -> tuple[str, ...]:
        """The keys that stand in the file."""
        return tuple(self._values)

    def _wrong(self, key: str, value: object, wanted: str) -> None:
        self.complain(key, f"{key} must be {wanted}, not {kind_name(value)}", f"write {key} as {wanted}")

    def text(self, key: str, default: str | None = None, required: bool = False) -> str | None:
        """A string."""
        value = self.raw(key)
        if value is None:
            if required:
                self.complain(None, f"{key} is missing", f'add {key} = "..."')
            return default
        if not isinstance(value, str):
            self._wrong(key, value, "a text in quotes")
            return default
        return value

    def choice(self, key: str, choices: Sequence[str], default: str) -> str:
        """One of a few words."""
        value = self.text(key, default)
        if value is None or value in choices:
            return value or default
        hint = near(value, choices) or "choose one"
        self.complain(key, f"{key} = {value!r} does not exist", f"{hint} ({', '.join(choices)})")
        return default

    def integer(self, key: str, low: int, high: int, default: int | None = None, required: bool = False) -> int | None:
        """A whole number within bounds."""
        value = self.raw(key)
        if value is None:
            if required:
                self.complain(None, f"{key} is missing", f"add {key} = {low if default is None else default}")
            return default
        if isinstance(value, bool) or not isinstance(value, int):
            self._wrong(key, value, "a whole number")
            return default
        if not low <= value <= high:
            self.complain(key, f"{key} is {value}", f"choose a value from {low} to {high}")
            return default
        return value

    def flag(self, key: str) -> bool:
        """The truth there, or false."""
        value = self.raw(key)
        if value is not None and not isinstance(value, bool):
            self._wrong(key, value, "true or false")
        return value is True

    def number(self, key: str) -> float | None:
        """A number, whole or not."""
        value = self.raw(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            self._wrong(key, value, "a number")
            return None
        if isinstance(value, int) and abs(value) >= WHOLE_LIMIT:
            self.complain(key, f"{key} is {value}", "write a smaller number")
            return None
        return float(value)

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of strings; elements of another type are complained about and left out."""
        value = self.raw(key)
        if value is None:
            return ()
        if not isinstance(value, list):
            self._wrong(key, value, 'a list such as ["HyperV-1"]')
            return ()
        return tuple(self._elements(key, value, str, "a text in quotes"))

    def integers(self, key: str, low: int, high: int) -> tuple[int, ...] | None:
        """A list of whole numbers within bounds; None when absent or not a list."""
        value = self.raw(key)
        if value is None:
            return None
        if not isinstance(value, list):
            self._wrong(key, value, "a list of whole numbers")
            return None
        numbers = self._elements(key, value, int, "a whole number")
        for at, number in enumerate(numbers):
            if not low <= number <= high:
                self.report.add((*self.path, key, at), f"{key} has {number}", f"choose a value from {low} to {high}")
        return tuple(number for number in numbers if low <= number <= high)

    def _elements(self, key: str, values: list[object], kind: type[T], wanted: str) -> list[T]:
        found: list[T] = []
        for at, item in enumerate(values):
            if isinstance(item, kind) and not isinstance(item, bool):
                found.append(item)
            else:
                self.report.add(
                    (*self.path, key, at),
                    f"{key}[{at}] must be {wanted}, not {kind_name(item)}",
                    "correct or remove it",
                )
        return found

    def section(self, key: str) -> Section:
        """A table of this table; an empty one when absent."""
        value = self.raw(key)
        if value is None:
            return Section(self.report, (*self.path, key), {})
        if not isinstance(value, dict):
            self.complain(key, f"{key} must be a table, not {kind_name(value)}", f"write it as [{key}]")
            return Section(self.report, (*self.path, key), {})
        return Section(self.report, (*self.path, key), value)

    def sections(self, key: str) -> list[Section]:
        """An array of tables; empty when absent."""
        value = self.raw(key)
        if value is None:
            return []
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            self.complain(key, f"{key} must be a list of tables, not {kind_name(value)}", f"write each as [[{key}]]")
            return []
        return [Section(self.report, (*self.path, key, at), item) for at, item in enumerate(value)]

    def finish(self) -> None:
        """Complain about keys nobody asked for."""
        for key in self._values:
            if key not in self._known:
                table = ".".join(part for part in self.path if isinstance(part, str))
                where = f"in [{table}]" if table else "at the top"
                hint = near(key, self._known) or f"known here: {', '.join(self._known)}"
                self.complain(key, f"unknown key {key!r} {where}", hint)
