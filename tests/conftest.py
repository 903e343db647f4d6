"""What every test run says first: the seed base of its random histories, so that a red run can be repeated.

Law: the environment of a run, nothing that a test could lean on.
"""

from __future__ import annotations

import os
import time

import pytest

SEED_BASE = "HVC_SEED_BASE"


def pytest_configure(config: pytest.Config) -> None:
    """Another base for every run; the processes that run tests side by side get the same one."""
    os.environ.setdefault(SEED_BASE, str(int(time.time())))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What starts real processes runs one test after the other, beside everything that only computes."""
    for item in items:
        if {"processes", "orchestrator", "docker"} & set(item.path.parts):
            item.add_marker(pytest.mark.xdist_group("real processes"), append=False)


def pytest_report_header(config: pytest.Config) -> str:
    """How to repeat this run."""
    return f"random histories: {SEED_BASE}={os.environ[SEED_BASE]} runs the same ones again"
