"""The lock: it answers pyproject.toml, says what and not where from, and its two files agree."""

from __future__ import annotations

import re
import tomllib
from typing import Final

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.house import tree

LOCKS: Final = ("requirements.lock", "requirements-dev.lock")
_PIN: Final = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^\s;]+)")


def _pins(lock: str) -> dict[str, str]:
    lines = (tree.ROOT / lock).read_text(encoding="utf-8").splitlines()
    return {canonicalize_name(found["name"]): found["version"] for line in lines if (found := _PIN.match(line))}


def _asked_for(lock: str) -> list[Requirement]:
    project = tomllib.loads((tree.ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    groups = project["dependency-groups"]
    tools = groups["dev"] if lock == "requirements-dev.lock" else []
    return [Requirement(line) for line in [*project["project"]["dependencies"], *groups["build"], *tools]]


@pytest.mark.parametrize("lock", LOCKS)
def test_the_lock_answers_pyproject(lock: str) -> None:
    """Repository: what pyproject.toml asks for is pinned within its bounds (remedy: make lock)."""
    pins = _pins(lock)
    unanswered = [
        f"{asked} (pinned: {pins.get(canonicalize_name(asked.name), 'not at all')})"
        for asked in _asked_for(lock)
        if not asked.specifier.contains(pins.get(canonicalize_name(asked.name), "0.dev0"))
    ]
    assert not unanswered, f"make lock; not answered: {unanswered}"


@pytest.mark.parametrize("lock", LOCKS)
def test_the_lock_names_no_place(lock: str) -> None:
    """docs/decisions/0001: the same lock installs from any index; it holds no address, option or path."""
    lines = (tree.ROOT / lock).read_text(encoding="utf-8").splitlines()
    places = [
        f"{lock}:{number}: {line}"
        for number, line in enumerate(lines, 1)
        if "://" in line or "file:" in line or " /" in line or (line.lstrip().startswith("-") and "--hash=" not in line)
    ]
    assert not places, places


@pytest.mark.parametrize("lock", LOCKS)
def test_every_pin_has_its_hashes(lock: str) -> None:
    """docs/decisions/0001: nothing is installed that is not the file that was locked."""
    text = (tree.ROOT / lock).read_text(encoding="utf-8").replace("\\\n", " ")
    bare = [line for line in text.splitlines() if _PIN.match(line) and "--hash=sha256:" not in line]
    assert not bare, f"pins without a hash: {bare}"


def test_the_two_locks_agree() -> None:
    """docs/decisions/0001: what the tests run with is what the product runs with."""
    run, dev = (_pins(lock) for lock in LOCKS)
    apart = {name: (version, dev.get(name)) for name, version in run.items() if dev.get(name) != version}
    assert not apart, f"make lock; run time and dev differ: {apart}"
