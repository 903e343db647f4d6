"""Live migration, step by step: what the database lets through, what a paused guest does, whose turn it is."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hvcluster.model.definition import ClusterDefinition, GroupDefinition, NodeDefinition
from hvcluster.model.properties import Properties, defaults
from hvcluster.model.vocabulary import (
    Generation,
    GroupState,
    Incarnation,
    LunId,
    MigrationState,
    MoveKind,
    NodeId,
    StoreId,
)
from hvcluster.node.core.commands import AssignGroup, BeginMove, CancelMove, NodeUp, ReportGroup, SetDesired
from hvcluster.node.core.database import Database
from hvcluster.node.core.guest_io import Continue, Fetch, Online, Pause, Paused, PowerOff, Refuse
from hvcluster.node.core.guest_state import GuestImage
from hvcluster.node.core.journal import Kind
from hvcluster.node.core.move_queue import admitted
from tests.core.guest_bench import Bench, Lun

ONE, TWO, THREE = NodeId(1), NodeId(2), NodeId(3)
LIFE = Incarnation(1)


def database(groups: int = 1) -> Database:
    """Three nodes that are up; every group is online on node 1, under generation 1."""
    names = [f"D{n}" for n in range(1, groups + 1)]
    definition = ClusterDefinition(
        "LAB", "lab", tuple(NodeDefinition(node, f"HyperV-{node}") for node in (ONE, TWO, THREE)),
        tuple(GroupDefinition(name, LunId(n + 1), owner=ONE) for n, name in enumerate(names, 1)),
    )  # fmt: skip
    made = Database.created(definition)
    for node in (ONE, TWO, THREE):
        made.apply(NodeUp(node, LIFE, StoreId(node)))
    for name in names:
        made.apply(AssignGroup(name, Generation(0), ONE, "start", (ONE,), "only one", 0, 0))
        made.apply(ReportGroup(name, Generation(1), GroupState.ONLINE, "", ""))
    return made


def live(name: str = "D1", target: NodeId = TWO) -> BeginMove:
    return BeginMove(name, Generation(1), target, "asked for", kind=MoveKind.LIVE)


def handed(move: int, holder: Incarnation = LIFE) -> AssignGroup:
    return AssignGroup("D1", Generation(1), TWO, "asked for", (TWO,), "it has the memory", 0, 0, move, holder)


def test_a_hand_over_gives_the_next_generation_to_the_target() -> None:
    """The database is the only arbiter of ownership: the assignment names the move whose memory it goes on with."""
    made = database()
    assert made.apply(live())
    group = made.groups["D1"]
    assert (group.migrates, group.migration) == (True, MigrationState.SETUP)
    assert made.apply(handed(group.moves))
    after = made.groups["D1"]
    assert (after.owner, after.generation, after.resumes, after.holder) == (TWO, 2, group.moves, LIFE)
    assert (after.migrates, after.migration) == (False, MigrationState.NO_MIGRATION)


def test_a_cancelled_move_is_not_handed_over_any_more() -> None:
    """The source may go on once the database says that the move is over; nothing may hand its VM over afterwards."""
    made = database()
    made.apply(live())
    move = made.groups["D1"].moves
    assert made.apply(CancelMove("D1", Generation(1), move, MigrationState.CANCELED, "an operator"))
    assert made.groups["D1"].migration is MigrationState.CANCELED
    assert not made.apply(handed(move))
    made.apply(live())
    assert not made.apply(handed(move)), "the hand-over of an older move is none of this one"
    assert made.apply(handed(made.groups["D1"].moves))


def test_a_handed_over_vm_cannot_be_cancelled_any_more() -> None:
    """Whichever is committed first counts, the hand-over or the end of the move."""
    made = database()
    made.apply(live())
    move = made.groups["D1"].moves
    made.apply(handed(move))
    assert not made.apply(CancelMove("D1", Generation(1), move, MigrationState.CANCELED, "too late"))
    assert not made.apply(CancelMove("D1", Generation(2), move, MigrationState.CANCELED, "too late"))


@pytest.mark.parametrize("holder", [Incarnation(0), Incarnation(2)])
def test_memory_of_another_life_of_the_target_is_no_hand_over(holder: Incarnation) -> None:
    """A target that has restarted since has lost the memory."""
    made = database()
    made.apply(live())
    assert not made.apply(handed(made.groups["D1"].moves, holder))


def test_a_vm_that_is_to_be_offline_is_not_handed_over() -> None:
    """What an operator wants offline is shut down by its owner; it does not run elsewhere first."""
    made = database()
    made.apply(live())
    made.apply(SetDesired("D1", False))
    assert not made.groups["D1"].migrates
    assert not made.apply(handed(made.groups["D1"].moves))


def names(made: Database, properties: Properties) -> set[str]:
    return set(admitted(made.groups, properties))


def test_migrations_take_their_turn_by_age() -> None:
    """Excess live migrations are queued: two per host by default, one in the whole cluster from 2022 on."""
    made = database(4)
    for name in ("D3", "D1", "D2", "D4"):
        made.apply(live(name, TWO if name != "D4" else THREE))
    assert names(made, defaults("ws2012r2")) == {"D1", "D3"}
    assert names(made, defaults("ws2022")) == {"D3"}
    assert names(made, replace(defaults("ws2012r2"), maximum_virtual_machine_migrations=3)) == {"D1", "D2", "D3"}
    made.apply(CancelMove("D3", Generation(1), made.groups["D3"].moves, MigrationState.CANCELED, "an operator"))
    assert names(made, defaults("ws2022")) == {"D1"}


def test_2008_r2_migrates_one_vm_between_two_hosts() -> None:
    """That version: one between a pair of nodes, in either direction; another pair has a turn of its own."""
    made = database(3)
    made.apply(live("D1", TWO))
    made.apply(live("D2", TWO))
    made.apply(live("D3", THREE))
    assert names(made, defaults("ws2008r2")) == {"D1", "D3"}


def image_of(bench: Bench) -> GuestImage:
    (paused,) = (effect for effect in bench.seen if isinstance(effect, Paused))
    return paused.image


def test_a_paused_guest_has_nothing_under_way() -> None:
    """The pause waits for the write in flight, and holds what comes later."""
    bench = Bench().power_on()
    bench.answer = lambda asked: None
    bench.append("in flight")
    bench.feed(Pause(7))
    bench.append("held", first=2)
    assert not [effect for effect in bench.seen if isinstance(effect, Paused)]
    bench.reply()
    assert image_of(bench).tail.sequence == 2
    assert bench.acknowledged == {1: 2}
    assert bench.open == []


def test_a_guest_that_goes_on_writes_what_it_held() -> None:
    """A migration that came to nothing costs its clients a wait, not an error."""
    bench = Bench().power_on()
    bench.feed(Pause(7))
    bench.append("held")
    bench.feed(Fetch(2, 1, 1))
    assert bench.acknowledged == {}
    bench.feed(Continue())
    assert bench.acknowledged == {1: 2}


def test_a_guest_that_has_moved_gives_back_what_it_held() -> None:
    """What was never begun here can be passed on; nobody is told that it failed."""
    bench = Bench().power_on()
    bench.feed(Pause(7))
    bench.append("held")
    bench.feed(Fetch(2, 1, 1))
    bench.feed(PowerOff("its owner is node 2", "moved"))
    assert {(e.ticket, e.code) for e in bench.seen if isinstance(e, Refuse)} == {(1, "moved"), (2, "moved")}


def moved(lun: Lun, image: GuestImage) -> Bench:
    return Bench(lun=lun, generation=2, node=2, image=image).power_on()


def test_a_guest_goes_on_from_its_memory_without_a_boot() -> None:
    """The first record of the new generation follows the last one of the old, and counts no boot."""
    source = Bench().power_on()
    source.append("before")
    source.feed(Pause(1))
    target = moved(source.lun, image_of(source))
    target.append("after")
    records = source.lun.journal().records
    assert [record.kind for record in records] == [Kind.BOOT, Kind.DATA, Kind.RESUME, Kind.DATA]
    assert {record.boots for record in records} == {1}
    assert [e.resumed for e in target.seen if isinstance(e, Online)] == [True]


def test_memory_of_an_older_disk_is_thrown_away() -> None:
    """Whoever wrote behind the end that the memory knows has made it worthless: the VM boots."""
    source = Bench().power_on()
    source.feed(Pause(1))
    image = image_of(source)
    source.feed(Continue())
    source.append("newer")
    target = moved(source.lun, image)
    assert [e.resumed for e in target.seen if isinstance(e, Online)] == [False]
    records = source.lun.journal().records
    assert [record.kind for record in records] == [Kind.BOOT, Kind.DATA, Kind.BOOT]
    assert source.lun.journal().broken is None
