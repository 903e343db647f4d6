"""What holds for every test run: the seed base of its random histories, and what runs beside what.

Law: the environment of a run, nothing that a test could lean on.
"""

from __future__ import annotations

import os
import time
from pathlib import PurePosixPath

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

SEED_BASE = "HVC_SEED_BASE"
STARTS_PROCESSES = frozenset({"processes", "orchestrator", "docker"})
"""Folders of tests that start real processes or containers."""


class OneAtATime(LoadScopeScheduling):
    """Tests that start processes run one after the other on one worker, beside files of those that only compute."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.split("::", 1)[0]
        return "real processes" if STARTS_PROCESSES & set(PurePosixPath(file).parts) else file


@pytest.hookimpl
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> OneAtATime:
    """Who runs what. (The mark xdist_group does nothing: xdist 3.8 writes it where pytest 9.2 does not look.)"""
    return OneAtATime(config, log)


def pytest_configure(config: pytest.Config) -> None:
    """Another base for every run; the processes that run tests side by side get the same one."""
    os.environ.setdefault(SEED_BASE, str(int(time.time())))


def pytest_report_header(config: pytest.Config) -> str:
    """How to repeat this run."""
    return f"random histories: {SEED_BASE}={os.environ[SEED_BASE]} runs the same ones again"
