"""What the house tests look at: the files of this tree that people write. No checks live here."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]

#: The folders that are import roots of the one namespace package, in the order of the design.
IMPORT_ROOTS: Final = ("protos", "model", "node", "san", "orchestrator", "sim", "runtime")

_WRITTEN: Final = (*IMPORT_ROOTS, "bench", "tests", "tools", "docs", ".ci")
_SKIPPED: Final = frozenset({"__pycache__", "node_modules"})
_TEXT: Final = frozenset(
    {".py", ".pyi", ".proto", ".sh", ".md", ".toml", ".yaml", ".yml", ".conf", ".html", ".js", ".css"}
)


def is_generated(path: Path) -> bool:
    """Whether a compiler wrote the file."""
    return "_pb2" in path.name


@cache
def text_files() -> tuple[Path, ...]:
    """Every hand-written text file, tests and documents included."""
    top = [path for path in ROOT.iterdir() if path.is_file()]
    below = [path for folder in _WRITTEN for path in (ROOT / folder).rglob("*") if path.is_file()]
    return tuple(
        sorted(
            path
            for path in top + below
            if (path.suffix in _TEXT or path.name in {"Makefile", "Dockerfile", "run"})
            and not is_generated(path)
            and not _SKIPPED.intersection(path.parts)
        )
    )


@cache
def python_files() -> tuple[Path, ...]:
    """Every hand-written Python file, tests included."""
    return tuple(path for path in text_files() if path.suffix == ".py")


@cache
def product_files() -> tuple[Path, ...]:
    """Every hand-written Python file that is not a test."""
    return tuple(path for path in python_files() if not path.is_relative_to(ROOT / "tests"))


@cache
def parsed(path: Path) -> ast.Module:
    """The syntax tree of one file."""
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def module_name(path: Path) -> str | None:
    """`hvcluster.node.core.routes` for a file of ours; None for a file outside the namespace package."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    if parts[0] not in IMPORT_ROOTS or parts[1:2] != ("hvcluster",):
        return None
    return ".".join(part for part in parts[1:] if part != "__init__")


def shown(path: Path) -> str:
    """The path as a person of this tree writes it."""
    return path.relative_to(ROOT).as_posix()
