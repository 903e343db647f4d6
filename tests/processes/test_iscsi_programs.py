"""The array's iSCSI portals under programs that nobody here wrote."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from pathlib import Path

import pytest
from tools.iscsi_conformance import TARGET, UNITS, array, judged, suite

pytestmark = pytest.mark.timeout(300)


def needs(program: str, package: str) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed (package {package})")


async def run(*command: str) -> str:
    """A program that must succeed; what it printed."""

    def go() -> str:
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, f"{command[0]}: {done.stderr}"
        return done.stdout

    return await asyncio.to_thread(go)


async def test_no_test_of_libiscsis_suite_fails(tmp_path: Path) -> None:
    """Conformance: every family, on a thin unit with a removable medium, over two portals."""
    needs("iscsi-test-cu", "libiscsi-bin")
    async with array(tmp_path) as (one, two):
        found = await asyncio.to_thread(suite, one, 1, two, "ALL")
    assert found.failed == {}
    assert len(found.passed) >= 204
    assert len(found.passed) + len(found.skipped) == 230


def test_what_the_suite_says_is_read_test_by_test() -> None:
    """The tool counts what it skips as passed; we do not."""
    text = """
Suite: Read10
  Test: Simple ...passed
  Test: Protect ...    [SKIPPED] No protection.
passed
  Test: Ends ...    [FAILED] READ10 failed.
FAILED
    1. test.c:1  - CU_ASSERT_EQUAL(ret,0)
  Test: Loud ...    [FAILED] a word on the way
passed
Run Summary:    Type  Total
"""
    found = judged(text)
    assert found.passed == ["Read10.Simple", "Read10.Loud"]
    assert found.skipped == {"Read10.Protect": "No protection."}
    assert list(found.failed) == ["Read10.Ends"]


async def test_discovery_and_inquiry(tmp_path: Path) -> None:
    """iscsi-ls and iscsi-inq: the target, its portals, its units."""
    needs("iscsi-ls", "libiscsi-bin")
    async with array(tmp_path) as (one, two):
        listed = await run("iscsi-ls", "-s", f"iscsi://127.0.0.1:{one}")
        assert {f"Target:{TARGET} Portal:127.0.0.1:{one},1", f"Target:{TARGET} Portal:127.0.0.1:{two},2"} <= set(
            listed.splitlines()
        )
        assert listed.count("Type:DIRECT_ACCESS") == 2 * len(UNITS)
        pages = await run("iscsi-inq", "-e", "1", "-c", "0", f"iscsi://127.0.0.1:{one}/{TARGET}/1")
        assert "Page:0xb2 LOGICAL_BLOCK_PROVISIONING" in pages


async def test_qemu_reads_what_it_wrote(tmp_path: Path) -> None:
    """qemu-img: convert, compare, check; an image goes onto a unit and comes back the same."""
    needs("qemu-img", "qemu-utils, qemu-block-extra")
    image, back = tmp_path / "image.raw", tmp_path / "back.raw"
    image.write_bytes(b"".join(bytes((at % 251,)) * 4096 for at in range(512)) + bytes(102_760_448))
    async with array(tmp_path) as (one, _):
        unit = f"iscsi://127.0.0.1:{one}/{TARGET}/2"
        assert "104857600" in await run("qemu-img", "info", "-f", "raw", unit)
        await run("qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", str(image), unit)
        assert "identical" in await run("qemu-img", "compare", "-f", "raw", "-F", "raw", str(image), unit)
        await run("qemu-img", "convert", "-f", "raw", "-O", "raw", unit, str(back))
    assert back.read_bytes() == image.read_bytes()
