"""Rows as a table in the product's layout, as JSON, as YAML, or as names alone.

Law: layout only; the same rows whatever the form.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from hvcluster.orchestrator.inventory import Row
    from hvcluster.orchestrator.views import Json

FORMS: Final = ("table", "wide", "json", "yaml", "name")
_PLAIN: Final = re.compile(r"[A-Za-z][\w ./()-]*[\w)]|[A-Za-z]")
_RESERVED: Final = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n"})


def render(rows: Sequence[Row], columns: Sequence[str], wide: Sequence[str], form: str) -> str:
    """The rows in a form of FORMS, without a newline at the end. The first column is the name."""
    match form:
        case "json":
            return json.dumps([*rows], indent=2)
        case "yaml":
            return "\n".join(_yaml([*rows], 0)) if rows else "[]"
        case "name":
            return "\n".join(_cell(row[columns[0]]) for row in rows)
        case _:
            return table(rows, [*columns, *wide] if form == "wide" else columns)


def table(rows: Sequence[Row], columns: Sequence[str]) -> str:
    """Columns as wide as they need to be, under a line of dashes, as PowerShell lays them out."""
    cells = [
        [*columns],
        ["-" * len(name) for name in columns],
        *([_cell(row[name]) for name in columns] for row in rows),
    ]
    widths = [max(len(line[at]) for line in cells) for at in range(len(columns))]
    return "\n".join(
        " ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip() for line in cells
    )


def _cell(value: Json) -> str:
    match value:
        case None:
            return ""
        case list():
            return f"{{{', '.join(_cell(item) for item in value)}}}"
        case _:
            return str(value)


def _yaml(value: Json, depth: int) -> Iterator[str]:
    """YAML 1.2 of plain values: block style, every text quoted that could be read as something else."""
    indent = "  " * depth
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _entry(f"{indent}{key}:", item, depth)
    elif isinstance(value, list):
        for item in value:
            if isinstance(item, dict) and item:
                lines = list(_yaml(item, depth + 1))
                yield f"{indent}- {lines[0].lstrip()}"
                yield from lines[1:]
            else:
                yield from _entry(f"{indent}-", item, depth)


def _entry(head: str, item: Json, depth: int) -> Iterator[str]:
    if isinstance(item, dict | list):
        if not item:
            yield f"{head} {'{}' if isinstance(item, dict) else '[]'}"
            return
        yield head
        yield from _yaml(item, depth + 1)
    else:
        yield f"{head} {_scalar(item)}"


def _scalar(value: str | float | bool | None) -> str:
    if isinstance(value, str) and _PLAIN.fullmatch(value) and value.lower() not in _RESERVED:
        return value
    return json.dumps(value)
