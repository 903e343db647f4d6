"""Style and types, as `make lint` checks them: one command, `make test`, says everything there is to say."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.house import tree


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [("ruff", ["check", "."]), ("ruff", ["format", "--check", "--quiet", "."]), ("mypy", [])],
    ids=["style", "format", "types"],
)
def test_the_tree_is_clean(tool: str, arguments: list[str]) -> None:
    """Repository: ruff and mypy strict over all import roots and the tests."""
    command = [sys.executable, "-m", tool, *arguments]
    done = subprocess.run(command, cwd=tree.ROOT, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, f"{' '.join(command[2:])}\n{done.stdout}{done.stderr}"
