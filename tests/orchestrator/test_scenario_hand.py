"""The hand that strikes on real labs: which word of a scenario becomes which deed, and what each process is told."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from hvcluster.model.definition import ClusterDefinition
from hvcluster.model.faults import Direction, Fault, FaultWord
from hvcluster.model.scenario import parse
from hvcluster.model.vocabulary import NodeId
from hvcluster.orchestrator.driver import Cut, Driver, How, Member, Quality, Way, Wire
from hvcluster.orchestrator.errors import Exit, Failure
from hvcluster.orchestrator.observer import Observer
from hvcluster.orchestrator.picture import Picture
from hvcluster.orchestrator.scenario_hand import MESSAGE_US, Hand
from hvcluster.orchestrator.scenario_lab import lab_of, require_real
from hvcluster.orchestrator.state import Life, Role
from hvcluster.v1 import node_pb2

LAB = 'why = "a test"\n[lab]\nnodes = 4\npaths = 2\n'
ONE, TWO, THREE, FOUR = (f"HyperV-{number}" for number in (1, 2, 3, 4))


class Still:
    """A lab of four nodes that node 1 leads and where node 2 holds the witness. It notes what it is told, and a process
    that is started has forgotten its cuts."""

    def __init__(self) -> None:
        self.definition: ClusterDefinition = lab_of(parse("x", LAB + "[[step]]\nwait_s = 1\n").definition).definition(
            "x"
        )
        self.lives = {node.name: Life.RUNNING for node in self.definition.nodes}
        self.lives |= {"san": Life.RUNNING, "bus-A": Life.RUNNING}
        self.cuts: dict[str, set[Cut]] = {name: set() for name in self.lives}
        self.quality: dict[str, Quality] = {}
        self.requests: list[tuple[node_pb2.OperatorRequest, NodeId | None]] = []

    async def members(self) -> tuple[Member, ...]:
        ids = {node.name: node.id for node in self.definition.nodes}
        return tuple(
            Member(name, Role.NODE if name in ids else Role.SAN, life, ids.get(name, NodeId(0)))
            for name, life in self.lives.items()
        )

    async def kill(self, name: str) -> None:
        assert self.lives[name] is not Life.DEAD
        self.lives[name] = Life.DEAD

    async def start(self, name: str, how: How = How.NORMAL) -> None:
        assert self.lives[name] is Life.DEAD
        self.lives[name] = Life.RUNNING
        self.cuts[name].clear()
        self.quality.pop(name, None)

    async def freeze(self, name: str) -> None:
        self.lives[name] = Life.FROZEN

    async def thaw(self, name: str) -> None:
        self.lives[name] = Life.RUNNING

    async def cut(self, name: str, cut: Cut) -> None:
        assert self.lives[name] is Life.RUNNING, "nobody else can be told"
        self.cuts[name].add(cut)

    async def heal(self, name: str, cut: Cut | None) -> None:
        assert self.lives[name] is Life.RUNNING, "nobody else can be told"
        assert cut is None
        self.cuts[name].clear()

    async def degrade(self, name: str, quality: Quality) -> None:
        self.quality[name] = quality

    async def look(self) -> Picture:
        answers = {
            node.id: node_pb2.StatusReply(
                node=node.id, leader=1, quorum=True, quorum_row=node_pb2.QuorumRow(witness_held_here=node.id == 2)
            )
            for node in self.definition.nodes
            if self.lives[node.name] is Life.RUNNING
        }
        return Picture(self.definition, await self.members(), answers, None)

    async def request(self, request: node_pb2.OperatorRequest, at: NodeId | None = None) -> node_pb2.OperatorReply:
        self.requests.append((request, at))
        raise Failure(Exit.REFUSED, "not now")


@pytest.fixture
def lab() -> Still:
    """A lab that does what it is told."""
    return Still()


def hand(lab: Still, said: list[str] | None = None) -> Hand:
    """A hand in that lab."""
    return Hand(cast("Driver", lab), cast("Observer", lab), (said if said is not None else []).append)


@pytest.mark.parametrize(
    ("side", "nodes"),
    [
        (["holder of the witness", "a follower"], {ONE, TWO}),
        (["a follower", "a follower"], {ONE, TWO}),
        (["HyperV-3", "a follower"], {TWO, THREE}),
        (["leader", "a follower", "a follower"], {ONE, TWO, THREE}),
        (["a follower"], {TWO}),
    ],
)
async def test_a_side_has_as_many_nodes_as_it_names(lab: Still, side: list[str], nodes: set[str]) -> None:
    """A node that is on a side already is not taken twice: another one that runs takes its place."""
    await hand(lab).strike(Fault(FaultWord.PARTITION, side=tuple(side)))
    assert {name for name, cuts in lab.cuts.items() if any(cut.wire is Wire.PEERS for cut in cuts)} == nodes


async def test_a_target_that_nobody_is_now_is_told(lab: Still) -> None:
    """A story that names whom nobody is at that moment ends with that, not with a name that does not exist."""
    with pytest.raises(Failure, match="there is no 'owner of D1' now"):
        await hand(lab).strike(Fault(FaultWord.KILL, "owner of D1"))


@pytest.mark.parametrize("word", [FaultWord.CRASH, FaultWord.SAN_CRASH, FaultWord.SAN_POWER_LOSS])
async def test_a_crash_of_a_real_process_is_a_kill_wherever_it_is(lab: Still, word: FaultWord) -> None:
    """CRASH, SAN_CRASH, SAN_POWER_LOSS: SIGKILL at once; the second time there is nobody to kill."""
    striking = hand(lab)
    for _ in range(2):
        await striking.strike(Fault(word, "leader" if word is FaultWord.CRASH else "", amount=7))
    assert lab.lives[ONE if word is FaultWord.CRASH else "san"] is Life.DEAD


async def test_a_cut_names_its_wire_its_way_and_its_side(lab: Still) -> None:
    """CUT_BUSES and CUT_ARRAY of one wire, CUT_PEERS of one side, each in one direction."""
    striking = hand(lab)
    await striking.strike(Fault(FaultWord.CUT_BUSES, ONE, Direction.OUT, wire="A"))
    await striking.strike(Fault(FaultWord.CUT_ARRAY, ONE, Direction.IN, wire="B"))
    await striking.strike(Fault(FaultWord.CUT_PEERS, ONE, side=(ONE, FOUR)))
    assert lab.cuts[ONE] == {
        Cut(Wire.BUS, "A", Way.OUT),
        Cut(Wire.ARRAY, "B", Way.IN),
        Cut(Wire.PEERS, "4", Way.BOTH),
    }


async def test_healing_one_node_heals_what_others_were_cut_from_it(lab: Still) -> None:
    """HEAL with a target: a direct wire between two nodes has two ends, and either may have been cut."""
    striking = hand(lab)
    await striking.strike(Fault(FaultWord.CUT_PEERS, ONE, Direction.OUT))
    await striking.strike(Fault(FaultWord.CUT_BUSES, ONE))
    await striking.strike(Fault(FaultWord.CUT_PEERS, TWO, side=(THREE,)))
    await striking.strike(Fault(FaultWord.HEAL, THREE))
    assert lab.cuts[ONE] == {Cut(Wire.PEERS, "2", Way.OUT), Cut(Wire.PEERS, "4", Way.OUT), Cut(Wire.BUS)}
    assert lab.cuts[TWO] == set()
    await striking.strike(Fault(FaultWord.HEAL))
    assert not any(lab.cuts.values())


async def test_who_could_not_be_told_is_told_when_it_runs(lab: Still) -> None:
    """A cut and a bad network are the lab's, not the process's: they stay when it dies and reach it when it wakes."""
    striking = hand(lab)
    await striking.strike(Fault(FaultWord.CUT_BUSES, ONE))
    await striking.strike(Fault(FaultWord.LOSS, amount=0.25))
    await striking.strike(Fault(FaultWord.KILL, ONE))
    await striking.strike(Fault(FaultWord.FREEZE, TWO))
    await striking.strike(Fault(FaultWord.CUT_ARRAY, TWO))
    assert lab.cuts[TWO] == set()
    await striking.strike(Fault(FaultWord.START, ONE))
    await striking.strike(Fault(FaultWord.THAW, TWO))
    assert lab.cuts[ONE] == {Cut(Wire.BUS)}
    assert lab.quality[ONE] == Quality(loss=0.25)
    assert lab.cuts[TWO] == {Cut(Wire.ARRAY)}
    await striking.strike(Fault(FaultWord.FREEZE, TWO))
    await striking.strike(Fault(FaultWord.HEAL))
    await striking.strike(Fault(FaultWord.THAW, TWO))
    assert lab.cuts[TWO] == set()


async def test_amounts_become_times_of_the_lab(lab: Still) -> None:
    """LOSS, DOUBLING, SLOWNESS, SAN_SLOW: one after the other, each keeps the others, in the lab's own time."""
    striking = hand(lab)
    for word, amount in (
        (FaultWord.LOSS, 0.3),
        (FaultWord.DOUBLING, 0.2),
        (FaultWord.SLOWNESS, 101.0),
        (FaultWord.SAN_SLOW, 500.0),
    ):
        await striking.strike(Fault(word, amount=amount))
    scale = lab.definition.properties.time_scale
    assert set(lab.quality) == {ONE, TWO, THREE, FOUR}
    assert lab.quality[FOUR] == Quality(0.3, 0.2, int(100 * MESSAGE_US * scale), int(500_000 * scale))
    await striking.strike(Fault(FaultWord.SLOWNESS, amount=1.0))
    assert lab.quality[FOUR].message_delay_us == 0


async def test_mend_mends_everything(lab: Still) -> None:
    """MEND: wires, array and buses, and every node started, thawed and resumed."""
    striking = hand(lab)
    for fault in (
        Fault(FaultWord.CUT_PEERS, FOUR),
        Fault(FaultWord.DOUBLING, amount=0.5),
        Fault(FaultWord.KILL, ONE),
        Fault(FaultWord.FREEZE, THREE),
        Fault(FaultWord.SAN_KILL),
        Fault(FaultWord.BUS_KILL, "A"),
    ):
        await striking.strike(fault)
    await striking.strike(Fault(FaultWord.MEND))
    assert set(lab.lives.values()) == {Life.RUNNING}
    assert not any(lab.cuts.values())
    assert lab.quality[FOUR] == Quality()
    await striking.end()


async def test_an_operator_asks_through_the_node_that_is_named_and_a_refusal_is_told(lab: Still) -> None:
    """MOVE, PAUSE, RESUME with `via`: that node is asked; the story goes on, whatever the answer."""
    said: list[str] = []
    striking = hand(lab, said)
    await striking.strike(Fault(FaultWord.MOVE, "D1", via="holder of the witness"))
    await striking.strike(Fault(FaultWord.PAUSE, "leader"))
    await striking.strike(Fault(FaultWord.RESUME, THREE, via=FOUR))
    for _ in range(3):
        await asyncio.sleep(0)  # a turn for the requests, which nobody waits for
    asked = [(r.WhichOneof("request"), r.set_node_paused.node, r.set_node_paused.paused, at) for r, at in lab.requests]
    assert asked == [
        ("move_group", 0, False, 2),
        ("set_node_paused", 1, True, None),
        ("set_node_paused", 3, False, 4),
    ]
    assert said.count("the operator is refused: not now") == 3
    await striking.end()


def test_what_only_the_simulator_can_do_is_refused_before_anything_starts() -> None:
    """SIMULATED_ONLY: real processes share one clock; all of it is said at once, with the exit status of usage."""
    step = '[[step]]\ndo = "drift"\ntarget = "HyperV-1"\namount = 0.001\n'
    slow = '[[step]]\ndo = "slow_off"\ntarget = "HyperV-1"\namount = 1\n'
    with pytest.raises(Failure) as raised:
        require_real(parse("a.toml", LAB + step + slow), parse("b.toml", LAB.replace("2", "0") + step))
    assert raised.value.status is Exit.USAGE
    for words in (
        "a: step 1: `drift`: all processes",
        "a: step 2: `slow_off`",
        "b: [lab]: `paths` is 0",
        "hvc sim run",
    ):
        assert words in str(raised.value)
