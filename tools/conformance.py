"""`make conformance`: docs/conformance.md, what of the product is here and which test or scenario shows it.

Law: reads and writes text, runs nothing. The rows are in tests/house/conformance.toml; which tests show a row is said
at the tests, by the marker `conforms`, and read from their sources. A row is shown by something or says why it is not.

    python tools/conformance.py            write docs/conformance.md again
    python tools/conformance.py --check    exit status 1, and what is wrong, when it is not current
"""

from __future__ import annotations

import argparse
import ast
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from hvcluster.model.properties import PROFILES

ROOT: Final = Path(__file__).resolve().parents[1]
ROWS: Final = Path("tests/house/conformance.toml")
DOCUMENT: Final = Path("docs/conformance.md")
MARKER: Final = "conforms"

#: What a row may say when nothing, or not all of it, is shown; and the word the document uses for it.
REASONS: Final = {"missing": "partly", "not_yet": "not emulated yet", "never": "not emulated"}
WORDS: Final = ("shown", *REASONS.values())
_KEYS: Final = {
    "feature": {"id": str, "name": str, "profile": str, "means": str, "note": str},
    "oracle": {"id": str, "name": str, "profile": str, "old": str, "new": str},
}
_OPTIONAL: Final = {"note", "scenarios", *REASONS}


class Wrong(Exception):
    """The rows, the markers and the scenarios do not fit together. Every problem, a line each."""


@dataclass(frozen=True, slots=True)
class Row:
    """One feature, or one scenario with a published outcome. `tests`: (file, function), both as in the tree."""

    kind: str
    id: str
    texts: dict[str, str]
    reasons: dict[str, str]
    scenarios: tuple[str, ...]
    tests: tuple[tuple[str, str], ...] = field(default=())

    @property
    def word(self) -> str:
        """How far it is here."""
        return next((REASONS[key] for key in self.reasons), "shown")

    def problems(self, root: Path) -> Iterator[str]:
        """Everything that is wrong with it."""
        evidence = bool(self.tests or self.scenarios)
        for name in self.scenarios:
            if not (root / "scenarios" / f"{name}.toml").is_file():
                yield f"{self.id}: there is no scenarios/{name}.toml"
        if len(self.reasons) > 1:
            yield f"{self.id}: give one of {', '.join(self.reasons)}"
        elif not evidence and not self.reasons:
            yield f"{self.id}: no test and no scenario shows it; mark one, or give `not_yet` or `never` with the reason"
        elif not evidence and "missing" in self.reasons:
            yield f"{self.id}: nothing shows even a part of it; write `not_yet` or `never` instead of `missing`"
        elif evidence and not self.reasons.keys() <= {"missing"}:
            yield f"{self.id}: something shows it; write `missing`, or nothing when all of it is shown"
        if self.texts["profile"] not in PROFILES:
            yield f"{self.id}: profile is {self.texts['profile']!r}; one of {', '.join(PROFILES)}"


def read(root: Path = ROOT) -> list[Row]:
    """All rows with what shows them, in the order of the file. Raises Wrong with all problems at once."""
    tables = tomllib.loads((root / ROWS).read_text(encoding="utf-8"))
    problems = [f"unknown table {name}; one of {', '.join(_KEYS)}" for name in tables.keys() - _KEYS.keys()]
    marks: dict[str, list[tuple[str, str]]] = {}
    for path in sorted((root / "tests").rglob("test_*.py")):
        for name, test in _marks(path, problems):
            marks.setdefault(name, []).append((path.relative_to(root).as_posix(), test))
    rows: list[Row] = []
    for kind in _KEYS:
        for table in tables.get(kind, []):
            found = _row(kind, table, marks, problems)
            if found is not None:
                rows.append(found)
    known = [row.id for row in rows]
    problems += [f"{name} is there twice" for name in sorted({name for name in known if known.count(name) > 1})]
    for stray in sorted(marks.keys() - set(known)):
        file, test = marks[stray][0]
        problems.append(f"{file}: {test} is marked {MARKER}({stray!r}); no row of {ROWS} has this id")
    for row in rows:
        problems += row.problems(root)
    if problems:
        raise Wrong("\n".join(problems))
    return rows


def _row(kind: str, table: dict[str, Any], marks: dict[str, list[tuple[str, str]]], problems: list[str]) -> Row | None:
    who = str(table.get("id", f"a {kind} without an id"))
    wanted: dict[str, type] = {**_KEYS[kind], **dict.fromkeys(REASONS, str), "scenarios": list}
    before = len(problems)
    problems += [f"{who}: unknown key {key}; one of {', '.join(wanted)}" for key in table.keys() - wanted.keys()]
    problems += [f"{who}: {key} is missing" for key in wanted if key not in _OPTIONAL and not table.get(key)]
    problems += [
        f"{who}: {key} is no {type_.__name__}, or empty"
        for key, type_ in wanted.items()
        if key in table and not (isinstance(table[key], type_) and table[key])
    ]
    if len(problems) > before:
        return None
    texts = {key: table.get(key, "") for key in _KEYS[kind]}
    reasons = {key: table[key] for key in REASONS if key in table}
    return Row(kind, who, texts, reasons, tuple(table.get("scenarios", ())), tuple(marks.get(who, ())))


def _marks(path: Path, problems: list[str]) -> Iterator[tuple[str, str]]:
    """(row, test) for every `pytest.mark.conforms("row", ...)` among the decorators of a test, parameters included."""
    tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    seen = 0
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef) or not function.name.startswith("test_"):
            continue
        named: dict[str, None] = {}
        for decorator in function.decorator_list:
            for call in filter(_is_mark, ast.walk(decorator)):
                assert isinstance(call, ast.Call)
                seen += 1
                rows = [a.value for a in call.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
                if not rows or len(rows) < len(call.args) or call.keywords:
                    problems.append(f"{path.name}:{call.lineno}: {MARKER} takes ids of rows, written out")
                named |= dict.fromkeys(rows)
        yield from ((row, function.name) for row in named)
    if seen < sum(isinstance(node, ast.Attribute) and node.attr == MARKER for node in ast.walk(tree)):
        problems.append(f"{path.name}: {MARKER} is read at tests alone, as a decorator or a mark of a parameter")


def _is_mark(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and ast.unparse(node.func) == f"pytest.mark.{MARKER}"


# the document

_HEAD: Final = """\
# What of the product is here, and what shows it

The measure is what public documentation says of Windows Server failover clusters. Each row names the first
[profile](divergence.md#not-there-yet) that has the behaviour in the product, and what shows it here.

- **shown**: a test or a scenario fails when the behaviour is gone.
- **partly**: some of it is shown; the row says what is missing.
- **not emulated yet**: nothing pretends to be it.
- **not emulated**: what it needs is not part of an emulator of hosts, networks and one array.

Profiles differ here only in the defaults that [divergence](divergence.md#not-there-yet) names, so most of what is
shown is there in every profile. What of a cluster changes at run time is said in [divergence](divergence.md) for every
row. How the behaviour differs in detail, and why, is in [divergence](divergence.md) too.

A scenario is a file in `scenarios/`, run in the simulator (`tests/scenarios/test_in_simulator.py`) and on real
processes (`make stories`; `make test` tells some).
"""
_FOOT: Final = """\
`make conformance` writes this file from `tests/house/conformance.toml` and the marker `conforms` of the tests.
"""


def document(rows: list[Row]) -> str:
    """The whole of docs/conformance.md."""
    features, oracles = ([row for row in rows if row.kind == kind] for kind in _KEYS)
    count = [
        "| | " + " | ".join(WORDS) + " | all |",
        "|---" * (len(WORDS) + 2) + "|",
        _counted("features", features),
        _counted("scenarios with a published outcome", oracles),
    ]
    first = ["| feature | first profile | what it is | here |", "|---|---|---|---|"]
    first += [_line(row.texts["name"], _profile(row), row.texts["means"], _here(row)) for row in features]
    second = ["| | what is done | first profile | in `ws2008r2` | in `ws2016` and later | here |", "|---" * 6 + "|"]
    second += [
        _line(
            row.id.removeprefix("oracle-"), row.texts["name"], _profile(row), row.texts["old"], row.texts["new"],
            _here(row),
        )
        for row in oracles
    ]  # fmt: skip
    parts = [
        _HEAD, "\n".join(count) + "\n", "## Features\n", "\n".join(first) + "\n",
        "## Scenarios with a published outcome\n", "\n".join(second) + "\n", _FOOT,
    ]  # fmt: skip
    return "\n".join(parts)


def _counted(name: str, rows: list[Row]) -> str:
    numbers = [sum(row.word == word for row in rows) for word in WORDS]
    return _line(name, *map(str, numbers), str(len(rows)))


def _line(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("\n", " ").strip().replace("|", "\\|") for cell in cells) + " |"


def _profile(row: Row) -> str:
    note = row.texts.get("note", "")
    return f"`{row.texts['profile']}`" + (f" ({note})" if note else "")


def _here(row: Row) -> str:
    said = f"**{row.word}**"
    for key, reason in row.reasons.items():
        said += f"; missing: {reason}" if key == "missing" else f": {reason}"
    evidence: list[str] = []
    if row.scenarios:
        plural = "s" if len(row.scenarios) > 1 else ""
        links = ", ".join(f"[{name}](../scenarios/{name}.toml)" for name in row.scenarios)
        evidence.append(f"scenario{plural} {links}")
    for file in dict.fromkeys(file for file, _ in row.tests):
        tests = ", ".join(f"`{test}`" for of, test in row.tests if of == file)
        evidence.append(f"[{Path(file).name}](../{file}): {tests}")
    return said + "".join(f"<br>{line}" for line in evidence)


def main(arguments: list[str]) -> int:
    """Write the document, or say whether it is current."""
    parser = argparse.ArgumentParser(description="docs/conformance.md from the rows and the markers of the tests")
    parser.add_argument("--check", action="store_true", help="write nothing; exit status 1 when it is not current")
    check = parser.parse_args(arguments).check
    try:
        text = document(read())
    except Wrong as problems:
        print(problems, file=sys.stderr)
        return 1
    path = ROOT / DOCUMENT
    if check:
        current = path.is_file() and path.read_text(encoding="utf-8") == text
        if not current:
            print(f"{DOCUMENT} is not what the rows and the tests say; make conformance", file=sys.stderr)
        return 0 if current else 1
    path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
