"""The virtual disk's footer is one that other software reads, and one that is wrong is told apart."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hvcluster.model.vocabulary import BLOCK_BYTES
from hvcluster.node.core import vhd


def _footer(lun_blocks: int = 20_481) -> bytes:
    return vhd.make_footer(lun_blocks - 1, vhd.disk_id("D1"))


def test_the_footer_lies_where_the_specification_says() -> None:
    """Owner of a VM: a VM's virtual disk is a fixed VHD; offsets from the specification's table of the hard disk
    footer.
    """
    footer = _footer()
    assert len(footer) == 512
    assert footer[0:8] == b"conectix"
    assert footer[8:12] == bytes([0, 0, 0, 2])
    assert footer[12:16] == bytes([0, 1, 0, 0])
    assert footer[16:24] == b"\xff" * 8
    assert footer[28:32] == b"win "
    assert footer[36:40] == b"Wi2k"
    assert footer[40:48] == footer[48:56] == (20_480 * 512).to_bytes(8, "big")
    assert footer[60:64] == bytes([0, 0, 0, 2])
    assert footer[68:84] == vhd.disk_id("D1")
    assert footer[84:] == bytes(428)


@pytest.mark.parametrize(
    ("mebibytes", "expected"),
    [
        (10, (301, 4, 17)),
        (127, (1019, 15, 17)),
        (1024, (2080, 16, 63)),
        (64 * 1024, (32_896, 16, 255)),
        (2040 * 1024, (65_535, 16, 255)),
    ],
)
def test_the_geometry_is_the_one_the_specification_computes(mebibytes: int, expected: tuple[int, int, int]) -> None:
    """Specification, appendix: CHS calculation; the figures were worked out by hand."""
    assert vhd.geometry(mebibytes * 2048) == expected


@given(at=st.integers(0, 511), bit=st.integers(0, 7))
def test_any_single_flipped_bit_is_noticed(at: int, bit: int) -> None:
    """Owner of a VM: a VM runs only from a valid VHD."""
    footer = bytearray(_footer())
    footer[at] ^= 1 << bit
    assert vhd.footer_problem(bytes(footer), 20_481) is not None


@given(blocks=st.integers(2, 1 << 24), vm=st.text(max_size=40))
def test_what_is_formatted_is_accepted_for_a_lun_of_that_size_alone(blocks: int, vm: str) -> None:
    """The virtual disk fills its LUN: data blocks, then the footer in the last block."""
    ((lba, footer),) = vhd.format_disk(blocks, vm)
    assert lba == blocks - 1
    assert vhd.footer_problem(footer, blocks) is None
    problem = vhd.footer_problem(footer, blocks + 1)
    assert problem is not None
    assert "bytes" in problem


def test_the_reason_of_a_blank_last_block_names_both_causes() -> None:
    """An administrator who grew a LUN, or attached an empty one, is told which it may be."""
    problem = vhd.footer_problem(bytes(BLOCK_BYTES), 100)
    assert problem is not None
    assert "no VHD" in problem
    assert "grown" in problem


def test_qemu_reads_the_disk_with_its_exact_size(tmp_path: Path) -> None:
    """The creator application is one whose size field QEMU trusts: the image is not rounded to its geometry."""
    tool = shutil.which("qemu-img")
    if tool is None:
        pytest.skip("qemu-img is not installed (package qemu-utils)")
    image = tmp_path / "D1.vhd"
    with image.open("wb") as file:
        file.truncate(20_480 * 512)
        file.seek(20_480 * 512)
        file.write(_footer())
    done = subprocess.run([tool, "info", "-f", "vpc", image], capture_output=True, text=True, check=True, timeout=30)
    assert f"({20_480 * 512} bytes)" in done.stdout
