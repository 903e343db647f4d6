"""The generated protobuf code: what is committed is what the locked compiler writes."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import tomllib

import pytest
from packaging.requirements import Requirement

from tests.house import tree

GENERATOR = tree.ROOT / "protos" / "generate.py"
FOLDER = tree.ROOT / "protos" / "hvcluster" / "v1"


def test_generated_code_is_current() -> None:
    """House style: generated code is committed, and a test proves it current (remedy: make proto)."""
    done = subprocess.run(
        [sys.executable, str(GENERATOR), "--check"], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("proto", sorted(path.stem for path in FOLDER.glob("*.proto")))
def test_generated_code_is_imported_by_the_name_of_its_package(proto: str) -> None:
    """House style: `from hvcluster.v1 import node_pb2` works with no import rewritten."""
    for suffix in ("_pb2", "_pb2_grpc"):
        assert importlib.util.find_spec(f"hvcluster.v1.{proto}{suffix}") is not None


def test_the_lower_bounds_are_those_of_the_compiler() -> None:
    """Generated code refuses a grpcio or protobuf older than its compiler: pyproject.toml must not promise less."""
    project = tomllib.loads((tree.ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    asked = {found.name: found for found in map(Requirement, project["project"]["dependencies"])}
    compiled_with: dict[str, set[str]] = {"protobuf": set(), "grpcio": set()}
    for path in FOLDER.glob("*_pb2*.py"):
        text = path.read_text(encoding="utf-8")
        compiled_with["protobuf"] |= set(re.findall(r"^# Protobuf Python Version: (\S+)", text, re.MULTILINE))
        compiled_with["grpcio"] |= set(re.findall(r"^GRPC_GENERATED_VERSION = '(\S+)'", text, re.MULTILINE))
    for name, versions in compiled_with.items():
        assert len(versions) <= 1, f"make proto: compiled with several versions of {name}: {versions}"
        bounds = {bound.version for bound in asked[name].specifier if bound.operator == ">="}
        assert versions <= bounds, f"pyproject.toml: {name}>={versions.pop()} is what the generated code needs"
