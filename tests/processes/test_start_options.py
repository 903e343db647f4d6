"""How a node process may be started: forced and prevented quorum, and what is refused with a reason and a way out."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from hvcluster.model import codec
from hvcluster.sim.campaign import Plan


def node(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """The only node of a cluster, started with options that it refuses."""
    definition = folder / "cluster.json"
    definition.write_bytes(codec.dump(Plan(nodes=1, vms=0, witness=False, paths=0).definition()))
    where = ["--definition", str(definition), "--node", "1", "--data", str(folder / "hv1")]
    where += ["--genesis-marker", str(folder / "marker"), "--log", str(folder / "log")]
    command = [sys.executable, "-m", "hvcluster.node", *where, *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("-fq", "-pq"), "forms the cluster or joins it; leave one of them out"),
        (("--force-quorum", "--rejoin-empty"), "there is no database to force; leave one of them out"),
    ],
)
def test_options_that_contradict_each_other_are_refused(tmp_path: Path, options: tuple[str, ...], words: str) -> None:
    """Bad input: exit status 2, and nothing is written."""
    done = node(tmp_path, *options)
    assert done.returncode == 2
    assert words in done.stderr
    assert not (tmp_path / "hv1").exists()


def test_a_node_with_an_empty_disk_cannot_be_forced(tmp_path: Path) -> None:
    """Bad input: a wiped disk has no database that the others could take over; the message says what to do instead."""
    (tmp_path / "marker").write_text("it was part of the cluster before its disk was lost")
    done = node(tmp_path, "--force-quorum")
    assert done.returncode == 2
    assert "HyperV-1 cannot be forced: its disk is empty" in done.stderr
    assert "start this one without --force-quorum to let it join" in done.stderr
