"""The house style that no linter knows: a law at the top of each file, files and functions of a readable size."""

from __future__ import annotations

import ast
import re

from tests.house import tree

#: Every clustering code base that let one module or function grow without end is feared for it.
MAX_MODULE_LINES = 400
MAX_FUNCTION_LINES = 70


def test_every_module_opens_with_its_law() -> None:
    """House style: a module's docstring says what lives in it and what must not."""
    written = [path for path in tree.python_files() if path.name != "__init__.py" or path.stat().st_size > 0]
    silent = [tree.shown(path) for path in written if not (ast.get_docstring(tree.parsed(path)) or "").strip()]
    assert not silent, f"no docstring at the top of: {silent}"


def test_no_module_outgrows_a_reader() -> None:
    """House style: a module is split before it passes 400 lines."""
    lengths = {tree.shown(path): len(path.read_text(encoding="utf-8").splitlines()) for path in tree.product_files()}
    long = {name: lines for name, lines in lengths.items() if lines > MAX_MODULE_LINES}
    assert not long, f"more than {MAX_MODULE_LINES} lines: {long}"


def test_no_function_outgrows_a_reader() -> None:
    """House style: a function is split before it passes 70 lines; decorators and docstring are not counted."""
    long = {}
    for path in tree.product_files():
        for node in ast.walk(tree.parsed(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1 - _docstring_lines(node)
                if lines > MAX_FUNCTION_LINES:
                    long[f"{tree.shown(path)}:{node.lineno} {node.name}"] = lines
    assert not long, f"more than {MAX_FUNCTION_LINES} lines: {long}"


def test_every_test_is_a_sentence_with_its_reason() -> None:
    """House style: a test has a docstring that names the requirement it holds."""
    silent = [
        f"{tree.shown(path)}:{node.lineno} {node.name}"
        for path in tree.python_files()
        if path.name.startswith("test_")
        for node in ast.walk(tree.parsed(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
        and not ast.get_docstring(node)
    ]
    assert not silent, f"tests without a docstring: {silent}"


def test_nothing_is_left_for_later_in_the_code() -> None:
    """What is not done is an issue, not a remark in a file."""
    remark = re.compile(r"\b(" + "|".join(("TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK")) + r")\b")
    found = [
        f"{tree.shown(path)}:{number}"
        for path in tree.text_files()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if remark.search(line)
    ]
    assert not found, f"remarks left for later: {found}"


def test_the_namespace_package_has_no_init_of_its_own() -> None:
    """House style: one `__init__.py` in a `hvcluster/` folder itself would hide the six other import roots."""
    found = [root for root in tree.IMPORT_ROOTS if (tree.ROOT / root / "hvcluster" / "__init__.py").exists()]
    assert not found, f"remove hvcluster/__init__.py of: {found}"


def _docstring_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    if ast.get_docstring(node) is None:
        return 0
    return (node.body[0].end_lineno or node.body[0].lineno) - node.body[0].lineno + 1
