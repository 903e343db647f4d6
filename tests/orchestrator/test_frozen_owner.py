"""A stopped owner that wakes up late, on real processes: the array's own journal says what became of its writes."""

from __future__ import annotations

from pathlib import Path

import pytest

from hvcluster.model.definition import initiator_name
from hvcluster.model.invariants import one_writer
from hvcluster.orchestrator import demo, launcher, saboteur
from hvcluster.orchestrator.array_journal import accepted, conflicts, executed, writes
from hvcluster.orchestrator.demo_writer import LateWriter
from hvcluster.orchestrator.launcher import Wish
from hvcluster.orchestrator.observer import Observer
from hvcluster.orchestrator.probe import Probe
from hvcluster.orchestrator.state import LabDir

FREEZES = 3
WAIT_S = 30.0
LUN = 2


@pytest.mark.timeout(180)
@pytest.mark.conforms("oracle-20")
async def test_a_resumed_owner_never_gets_a_write_accepted(tmp_path: Path) -> None:
    """A SIGSTOPped owner resumed after the takeover writes nothing more, however many requests wait in its sockets."""
    refused = 0
    async with (
        launcher.tied(demo.lab(connection_loss=False), LabDir(tmp_path / "FROZEN"), Wish(tied=True)) as driver,
        Observer(driver) as observer,
    ):
        picture = await observer.until_healthy(WAIT_S)
        async with Probe((await driver.addresses()).vms) as probe:
            for _ in range(FREEZES):
                group = picture.group("D1")
                assert group is not None
                name = picture.node_name(group.owner)
                served = {vm.group: vm.address for answer in picture.answers.values() for vm in answer.vms}
                async with LateWriter(served["D1"]) as late:
                    await late.warm()
                    await saboteur.freeze(driver, name)
                    await observer.until_online_after("D1", group.generation, WAIT_S)
                    mark = max(row.sequence for row in await observer.journal())
                    await late.press()
                    await saboteur.thaw(driver, name)
                    picture = await observer.until_healthy(WAIT_S)
                    assert await late.acknowledged() == 0, "its old client was told nothing that is not true"
                wanted = writes(await observer.journal(mark + 1), LUN, initiator_name(name))
                assert accepted(wanted) == [], "no write of the resumed owner was executed"
                refused += len(conflicts(wanted))
            await probe.pause()
            verdict = await probe.verify("D1")
        assert verdict.problems == ()
        assert verdict.acknowledged > 0
        assert one_writer(executed(await observer.journal()), {driver.definition.groups[0].lun: "D1"}) == []
    assert refused > 0, "at least one late write reached the array, and met RESERVATION CONFLICT"
