"""Who may import whom, exactly; and what a core may not touch, wherever it comes from."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Final

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.house import tree

#: The longest prefix of the importing module decides. `hvcluster.node` does not include `hvcluster.node.core`'s row.
MAY_IMPORT: Final[dict[str, tuple[str, ...]]] = {
    "hvcluster.model": ("hvcluster.model",),
    "hvcluster.v1": ("hvcluster.v1",),
    "hvcluster.runtime": ("hvcluster.model", "hvcluster.v1", "hvcluster.runtime"),
    "hvcluster.node.core": ("hvcluster.model", "hvcluster.node.core"),
    "hvcluster.node": ("hvcluster.model", "hvcluster.v1", "hvcluster.runtime", "hvcluster.node"),
    "hvcluster.san.core": ("hvcluster.model", "hvcluster.san.core"),
    "hvcluster.san": ("hvcluster.model", "hvcluster.v1", "hvcluster.runtime", "hvcluster.san"),
    "hvcluster.sim": ("hvcluster.model", "hvcluster.node.core", "hvcluster.san.core", "hvcluster.sim"),
    "hvcluster.orchestrator": (
        "hvcluster.model",
        "hvcluster.v1",
        "hvcluster.runtime",
        "hvcluster.orchestrator",
    ),
    # The one exception, kept by name in pyproject.toml as well: the command that runs the simulator.
    "hvcluster.orchestrator.cli.sim": (
        "hvcluster.model",
        "hvcluster.v1",
        "hvcluster.runtime",
        "hvcluster.orchestrator",
        "hvcluster.sim",
    ),
}

#: Top names that this tree itself gives.
OURS: Final = frozenset({"hvcluster", "tests", "tools", "generate"})

#: Roots that decide and never do: standard library only, and of it nothing that reaches the world or a clock.
PURE: Final = ("hvcluster.model", "hvcluster.node.core", "hvcluster.san.core")
CORES: Final = PURE[1:]
# fmt: off
WORLD: Final = frozenset({
    "asyncio", "atexit", "concurrent", "contextvars", "ctypes", "datetime", "fcntl", "glob", "http", "importlib",
    "logging", "mmap", "multiprocessing", "os", "pathlib", "platform", "queue", "random", "resource", "sched",
    "secrets", "select", "selectors", "shutil", "signal", "socket", "socketserver", "sqlite3", "ssl", "subprocess",
    "sys", "tempfile", "threading", "time", "urllib", "uuid", "warnings",
})
# fmt: on
#: Built-ins that reach the world, or differ from one process to the next (hash of text, id).
WORLD_CALLS: Final = frozenset({"breakpoint", "eval", "exec", "hash", "id", "input", "open", "print"})


def test_the_import_contracts_hold() -> None:
    """Cores and shells: an import contract, run by the tests, keeps cores apart from shells and processes from each
    other.
    """
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-logo", "--no-cache"]
    done = subprocess.run(command, cwd=tree.ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_import_root_has_a_row() -> None:
    """A new import root is given its place in the table before it is used."""
    roots = {name for path in tree.product_files() if (name := tree.module_name(path))}
    without = sorted(name for name in roots if _row(name) is None)
    assert not without, f"no row in MAY_IMPORT for: {without}"


def test_nobody_imports_more_than_the_table_allows() -> None:
    """Arrows: sim to the cores, cores to the model; shells to their own core, runtime, protos and model."""
    broken = []
    for path, module in _modules():
        row = _row(module)
        for line, imported in _imports(path, module):
            if imported.startswith("hvcluster.") and row is not None and not _within(imported, MAY_IMPORT[row]):
                broken.append(f"{tree.shown(path)}:{line} imports {imported}")
    assert not broken, "\n".join(broken)


def test_nobody_imports_what_is_not_asked_for() -> None:
    """A package that is there only because another one needs it is gone when that one is: pyproject.toml names all."""
    project = tomllib.loads((tree.ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    extras = project["project"]["optional-dependencies"]
    run = project["project"]["dependencies"] + [line for extra in extras.values() for line in extra]
    dev = project["dependency-groups"]["dev"]
    provided_by = metadata.packages_distributions()
    broken = []
    for path in tree.python_files():
        tool = tree.module_name(path) is None
        asked = {canonicalize_name(Requirement(line).name) for line in (run + dev if tool else run)}
        for line, imported in _imports(path, tree.module_name(path) or ""):
            top = imported.partition(".")[0]
            givers = {canonicalize_name(name) for name in provided_by.get(top, [])}
            if top not in OURS and top not in sys.stdlib_module_names and not givers & asked:
                broken.append(f"{tree.shown(path)}:{line} imports {imported}")
    assert not broken, "\n".join(broken)


def test_what_decides_needs_nothing_but_the_standard_library_and_no_part_that_reaches_the_world() -> None:
    """Cores and shells: cores and the nouns they share have no I/O, no clock, no randomness of their own."""
    broken = []
    for path, module in _modules():
        if not _within(module, PURE):
            continue
        for line, imported in _imports(path, module):
            top = imported.partition(".")[0]
            if top in WORLD or (top != "hvcluster" and top not in sys.stdlib_module_names):
                broken.append(f"{tree.shown(path)}:{line} imports {imported}")
    assert not broken, "\n".join(broken)


def test_cores_call_nothing_that_reaches_the_world_and_wait_for_nothing() -> None:
    """Cores and shells: cores are synchronous; a result may not depend on the process that computes it."""
    broken = []
    for path, module in _modules():
        if not _within(module, CORES):
            continue
        for node in ast.walk(tree.parsed(path)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in WORLD_CALLS:
                broken.append(f"{tree.shown(path)}:{node.lineno} calls {node.func.id}()")
            if isinstance(node, ast.AsyncFunctionDef | ast.Await | ast.AsyncFor | ast.AsyncWith):
                broken.append(f"{tree.shown(path)}:{node.lineno} is asynchronous")
    assert not broken, "\n".join(broken)


def test_cores_never_iterate_over_a_set() -> None:
    """Cores and shells, contract 4: sorted tuples, never sets (seen where the set is written in the loop itself)."""
    broken = [
        f"{tree.shown(path)}:{loop.lineno if isinstance(loop, ast.For) else loop.iter.lineno}"
        for path, module in _modules()
        if _within(module, CORES)
        for loop in ast.walk(tree.parsed(path))
        if isinstance(loop, ast.For | ast.comprehension) and _is_set(loop.iter)
    ]
    assert not broken, f"iterates over a set; sort it: {broken}"


@pytest.mark.parametrize("package", [row for row in MAY_IMPORT if row in {"hvcluster.node", "hvcluster.san"}])
def test_the_package_around_a_core_loads_nothing(package: str) -> None:
    """Importing `hvcluster.node.core` runs `hvcluster/node/__init__.py` first: that file must stay without imports."""
    root = package.partition(".")[2]
    init = tree.ROOT / root / "hvcluster" / root / "__init__.py"
    assert not list(_imports(init, package)), f"{tree.shown(init)} imports something"


def _modules() -> Iterator[tuple[Path, str]]:
    for path in tree.product_files():
        module = tree.module_name(path)
        if module is not None:
            yield path, module


def _imports(path: Path, module: str) -> Iterator[tuple[int, str]]:
    """Line and full name of everything the file imports, at its top or inside a function, for types alone or not."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(tree.parsed(path)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, base] if base else above)
            for alias in node.names:
                # `from hvcluster.node import service` imports a module, `from time import monotonic` a name of one.
                yield node.lineno, f"{base}.{alias.name}"


def _row(module: str) -> str | None:
    rows = [row for row in MAY_IMPORT if _within(module, (row,))]
    return max(rows, key=len) if rows else None


def _within(name: str, prefixes: tuple[str, ...]) -> bool:
    return any(name == prefix or name.startswith(prefix + ".") for prefix in prefixes)


def _is_set(node: ast.expr) -> bool:
    return isinstance(node, ast.Set | ast.SetComp) or (
        isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in {"set", "frozenset"}
    )
