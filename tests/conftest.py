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


def pytest_report_header(config: pytest.Config) -> str:
    """How to repeat this run."""
    return f"random histories: {SEED_BASE}={os.environ[SEED_BASE]} runs the same ones again"
