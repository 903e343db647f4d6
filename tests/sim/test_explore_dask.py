"""`hvc sim explore --dask`: a real Dask cluster of two workers gives the report that local processes give."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from hvcluster.sim.explore import Pool, Report, Wish, explore
from hvcluster.sim.explore_cli import main
from hvcluster.sim.labs import Plan

distributed = pytest.importorskip("distributed", reason="the extra `dask` is not installed")

WISH = Wish(Plan(nodes=2, vms=1, minutes=0.5, fault_every_s=8), random_lab=False, first=1, count=6)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A scheduler and two worker processes on free ports of this machine."""
    cluster = distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, host="127.0.0.1", dashboard_address=None, protocol="tcp"
    )
    with cluster:
        yield cluster.scheduler_address


def test_a_dask_cluster_gives_the_same_report(address: str) -> None:
    """Scale out: who does the work leaves no trace in the result."""
    from hvcluster.sim.explore_dask import DaskCluster

    def quietly(_: Report, __: str) -> None:
        """Nobody looks on."""

    far = explore(WISH, DaskCluster(address), None, quietly)
    near = explore(WISH, Pool(1), None, quietly)
    assert far.coverage.as_json() == near.coverage.as_json()
    for seed in WISH.seeds():
        assert replace(far.done[seed], cpu_s=0.0) == replace(near.done[seed], cpu_s=0.0)


def test_an_address_where_nobody_answers_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    """Bad input: a usage error with the address in it, and soon."""
    with pytest.raises(SystemExit) as ended:
        main(["--seeds", "1", "--dask", "tcp://127.0.0.1:9", "--nodes", "1", "--vms", "0"])
    assert ended.value.code == 2
    assert "no Dask scheduler answers at tcp://127.0.0.1:9" in capsys.readouterr().err
