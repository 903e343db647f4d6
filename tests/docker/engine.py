"""The Docker engine, for tests that need one: whether it is there, and compose.yaml of this tree."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
IMAGE = os.environ.get("HVC_IMAGE", "hvcluster:latest")


def missing() -> str:
    """Why tests cannot run here; empty if they can."""
    if shutil.which("docker") is None:
        return "docker is not installed"
    for command in (["docker", "info"], ["docker", "compose", "version"]):
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        if done.returncode:
            return f"`{' '.join(command)}` fails: {done.stderr.strip()[:200]}"
    return ""


def compose(project: str, *arguments: str) -> str:
    """Run a command of this tree's compose project; what it printed."""
    # The published port is the one thing two projects cannot share.
    environment = {**os.environ, "HVC_VM_PORT": "18081"}
    command = ["docker", "compose", "-p", project, *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=540, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout
