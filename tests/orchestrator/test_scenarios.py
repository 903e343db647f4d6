"""Every row of the failure table on real processes: the scenario files that the simulator runs in virtual time."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest

from hvcluster.model.faults import Fault, FaultWord
from hvcluster.model.scenario import Scenario, parse
from hvcluster.orchestrator.driver import Cut, Driver, Member, Wire
from hvcluster.orchestrator.errors import Failure
from hvcluster.orchestrator.observer import Observer
from hvcluster.orchestrator.picture import Picture
from hvcluster.orchestrator.scenario_run import Runner, run
from hvcluster.orchestrator.state import Life, Role, marked
from hvcluster.v1 import node_pb2

FILES = sorted((Path(__file__).parents[2] / "scenarios").glob("*.toml"))


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.stem)
async def test_scenario_on_real_processes(file: Path, tmp_path: Path) -> None:
    """Failure table: each row is a scenario file that runs in the simulator and on real processes."""
    outcome = await run(parse(str(file), file.read_bytes()), tmp_path)
    assert outcome.broken == "", outcome.broken
    assert not any(tmp_path.iterdir())
    assert marked(tmp_path) == []


class Still:
    """A lab of four nodes that node 1 leads and where node 2 holds the witness; it notes who is cut from what."""

    def __init__(self, scenario: Scenario) -> None:
        self.definition = scenario.definition
        self.cuts: list[tuple[str, Cut]] = []

    async def members(self) -> tuple[Member, ...]:
        return tuple(Member(node.name, Role.NODE, Life.RUNNING, node.id) for node in self.definition.nodes)

    async def cut(self, name: str, cut: Cut) -> None:
        self.cuts.append((name, cut))

    async def look(self) -> Picture:
        answers = {
            node.id: node_pb2.StatusReply(
                node=node.id, leader=1, quorum=True, quorum_row=node_pb2.QuorumRow(witness_held_here=node.id == 2)
            )
            for node in self.definition.nodes
        }
        return Picture(self.definition, await self.members(), answers, None)


@pytest.mark.parametrize(
    ("side", "nodes"),
    [
        (["holder of the witness", "a follower"], {"HyperV-1", "HyperV-2"}),
        (["a follower", "a follower"], {"HyperV-1", "HyperV-2"}),
        (["HyperV-3", "a follower"], {"HyperV-2", "HyperV-3"}),
        (["leader", "a follower", "a follower"], {"HyperV-1", "HyperV-2", "HyperV-3"}),
        (["a follower"], {"HyperV-2"}),
    ],
)
async def test_a_side_has_as_many_nodes_as_it_names(side: list[str], nodes: set[str]) -> None:
    """A node that is on a side already is not taken twice: another one that runs takes its place."""
    step = f'[[step]]\ndo = "partition"\nside = {side}\n'
    scenario = parse("x", f'why = "a test"\n[lab]\nnodes = 4\n{step}')
    lab = Still(scenario)
    runner = Runner(cast("Driver", lab), cast("Observer", lab))
    await runner.fault(cast("Fault", scenario.steps[0].fault))
    assert {name for name, cut in lab.cuts if cut.wire is Wire.PEERS} == nodes


async def test_a_target_that_nobody_is_now_is_told() -> None:
    """A story that names whom nobody is at that moment ends with that, not with a name that does not exist."""
    scenario = parse("x", 'why = "a test"\n[[step]]\nwait_s = 1\n')
    lab = Still(scenario)
    runner = Runner(cast("Driver", lab), cast("Observer", lab))
    with pytest.raises(Failure, match="there is no 'owner of D1' now"):
        await runner.fault(Fault(FaultWord.KILL, "owner of D1"))
