"""A VM that is saved on its disk, step by step: what counts as a saved state, and that it is used once or never."""

from __future__ import annotations

import pytest

from hvcluster.model.definition import GroupDefinition
from hvcluster.model.policy import Policy, Priority
from hvcluster.model.properties import Properties, defaults
from hvcluster.model.vocabulary import (
    Generation,
    GroupState,
    LunId,
    MoveKind,
    NodeId,
    OfflineAction,
)
from hvcluster.node.core.guest_io import Fetch, Online, Pause, PowerOff, Save, ShutDown
from hvcluster.node.core.guest_state import GuestImage, is_sane
from hvcluster.node.core.journal import Kind, decode, encode, follow_problem, genesis
from hvcluster.node.core.members import Group
from hvcluster.node.core.offline import POWER_OFF, Ending, ending_of, leaving_by, saving_us
from tests.core.guest_bench import Bench, Lun

LASTS_US = 5_000_000
SAVE = Save("it moves", LASTS_US)


def kinds(lun: Lun) -> list[Kind]:
    journal = lun.journal()
    assert journal.broken is None
    return [record.kind for record in journal.records]


def saved() -> Lun:
    """The disk of a VM that was saved with one record of a client on it."""
    bench = Bench().power_on()
    bench.append("before")
    bench.feed(SAVE)
    bench.next_timer()
    assert bench.stopped is not None
    assert bench.stopped.cause == "saved"
    return bench.lun


def again(lun: Lun, generation: int, restore_us: int = 0, boot_delay_us: int = 0) -> Bench:
    return Bench(
        lun=lun, generation=generation, node=generation, restore_us=restore_us, boot_delay_us=boot_delay_us
    ).power_on()


def how(bench: Bench) -> list[tuple[bool, bool]]:
    return [(effect.resumed, effect.restored) for effect in bench.seen if isinstance(effect, Online)]


@pytest.mark.conforms("quick-migration")
def test_a_saved_vm_goes_on_without_a_boot() -> None:
    """8 Quick migration: save to shared disk, move ownership, restore."""
    target = again(saved(), 2)
    while target.next_timer():
        pass
    target.append("after")
    assert how(target) == [(False, True)]
    assert kinds(target.lun) == [Kind.BOOT, Kind.DATA, Kind.SAVED, Kind.RESTORED, Kind.DATA]
    assert {record.boots for record in target.lun.journal().records} == {1}


def test_a_saved_state_is_used_up_by_the_vm_that_goes_on_from_it() -> None:
    """One that crashes right after it went on has no memory any more: it boots."""
    lun = saved()
    first = again(lun, 2)
    while first.next_timer():
        pass
    first.feed(PowerOff("its worker process died", "crashed"))
    second = again(lun, 3)
    assert how(second) == [(False, False)]
    assert kinds(lun) == [Kind.BOOT, Kind.DATA, Kind.SAVED, Kind.RESTORED, Kind.BOOT]


def test_a_host_that_dies_before_the_vm_goes_on_costs_no_saved_state() -> None:
    """Reading a saved state changes nothing: the next owner finds it as it was."""
    lun = saved()
    first = again(lun, 2, restore_us=LASTS_US)
    assert not first.online
    assert kinds(lun)[-1] is Kind.SAVED
    second = again(lun, 3)
    while second.next_timer():
        pass
    assert how(second) == [(False, True)]


def test_a_host_that_dies_while_it_saves_leaves_no_saved_state() -> None:
    """What is there by halves does not count: the VM boots from its disk, on which everything acknowledged is."""
    bench = Bench().power_on()
    bench.append("before")
    bench.feed(SAVE)
    assert bench.stopped is None
    assert how(again(bench.lun, 2)) == [(False, False)]


def test_saving_waits_for_the_write_under_way_and_takes_nothing_more() -> None:
    """Nothing acknowledged may be missing in the saved state, and nothing may come behind it."""
    bench = Bench().power_on()
    bench.answer = lambda asked: None
    bench.append("in flight", "waits")
    bench.feed(SAVE)
    bench.append("late", first=3)
    assert SAVE.lasts_us not in bench.timers.values()
    bench.reply()
    assert bench.acknowledged == {1: 2}
    bench.answer = None
    while bench.next_timer():
        pass
    assert bench.refused == {2: "stopped", 3: "stopping"}
    assert kinds(bench.lun) == [Kind.BOOT, Kind.DATA, Kind.SAVED]


def test_reading_a_saved_state_takes_its_time_and_no_boot_delay() -> None:
    """Downtime is proportional to memory: as long as reading lasts, and not as long as a boot."""
    target = again(saved(), 2, restore_us=7_000_000, boot_delay_us=60_000_000)
    begun = target.now
    while not target.online:
        target.next_timer()
    assert target.now - begun == 7_000_000


def test_a_vm_that_is_paused_for_a_migration_can_be_saved() -> None:
    """An operator takes it offline while it migrates: what it held is refused, not lost and not written twice."""
    bench = Bench().power_on()
    bench.feed(Pause(7))
    bench.append("held")
    bench.feed(Fetch(2, 1, 1))
    bench.feed(SAVE)
    bench.next_timer()
    assert bench.refused == {1: "stopped", 2: "stopped"}
    assert kinds(bench.lun) == [Kind.BOOT, Kind.SAVED]


def test_a_disk_without_room_for_a_saved_state_is_shut_down() -> None:
    """The record that a VM goes on with needs a block as well."""
    bench = Bench(lun=Lun(64 + 3)).power_on()
    bench.feed(SAVE)
    assert bench.stopped is not None
    assert bench.stopped.cause == "shutdown"
    assert kinds(bench.lun) == [Kind.BOOT]


def test_a_forced_shutdown_does_not_do_what_waits() -> None:
    """Shut Down (Forced): the write under way is finished, and nothing else."""
    bench = Bench().power_on()
    bench.answer = lambda asked: None
    bench.append("in flight", "waits")
    bench.feed(ShutDown("offline", forced=True))
    bench.reply()
    assert bench.acknowledged == {1: 2}
    assert bench.refused == {2: "stopped"}
    assert bench.stopped is not None


def test_a_chain_tells_who_may_follow_a_saved_state() -> None:
    """One chain: behind a saved state comes the VM that goes on from it, or one that boots, and nobody else."""
    _, booted = encode(genesis("D1"), Kind.BOOT, Generation(1), NodeId(1))
    _, end = encode(booted, Kind.SAVED, Generation(1), NodeId(1))

    def fits(kind: Kind, generation: int, behind: bool) -> bool:
        tail = end if behind else booted
        block, _ = encode(tail, kind, Generation(generation), NodeId(generation))
        found = decode(block)
        assert found is not None
        return follow_problem(tail, found) is None

    assert fits(Kind.RESTORED, 2, behind=True)
    assert fits(Kind.BOOT, 2, behind=True)
    assert not fits(Kind.RESTORED, 1, behind=True)
    assert not fits(Kind.DATA, 1, behind=True)
    assert not fits(Kind.SAVED, 1, behind=True)
    assert not fits(Kind.RESUME, 2, behind=True)
    assert not fits(Kind.RESTORED, 2, behind=False)
    assert not is_sane(GuestImage(end, 4096)), "a saved VM does not run, so nobody has its memory"


def group(action: OfflineAction = OfflineAction.SAVE, target: int = 0, kind: MoveKind = MoveKind.LIVE) -> Group:
    definition = GroupDefinition("D1", LunId(2), memory_mb=1000, policy=Policy(offline_action=action))
    return Group(
        definition, NodeId(1), Generation(1), GroupState.ONLINE, True, NodeId(target), False, True, "", "",
        move_kind=kind,
    )  # fmt: skip


@pytest.mark.conforms("offline-action")
@pytest.mark.parametrize(
    ("action", "ending"),
    [
        (OfflineAction.TURN_OFF, POWER_OFF),
        (OfflineAction.SAVE, Ending(True, saving_us=10_000_000)),
        (OfflineAction.SHUTDOWN, Ending(True)),
        (OfflineAction.SHUTDOWN_FORCE, Ending(True, forced=True)),
    ],
)
def test_a_vm_is_taken_offline_as_its_offline_action_says(action: OfflineAction, ending: Ending) -> None:
    """8 Terminate vs Offline: TurnOff 0, Save 1 (default), Shutdown 2, ForcedShutdown 3; not used by moves."""
    assert Policy().offline_action is OfflineAction.SAVE
    assert ending_of(group(action), 1.0) == ending
    assert ending_of(group(action, 2, MoveKind.SHUTDOWN), 1.0) == Ending(True)
    assert ending_of(group(action, 2, MoveKind.QUICK), 1.0).saving_us == saving_us(group().definition, 1.0)
    assert ending_of(group(action, 2, MoveKind.QUICK), 1.0, moves=False) == ending


@pytest.mark.conforms("oracle-17")
@pytest.mark.parametrize(
    ("properties", "kinds"),
    [
        (defaults("ws2012"), (MoveKind.LIVE, MoveKind.LIVE, MoveKind.QUICK)),
        (defaults("ws2012r2"), (MoveKind.LIVE, MoveKind.LIVE, MoveKind.LIVE)),
        (Properties(move_type_threshold=3001), (MoveKind.QUICK, MoveKind.QUICK, MoveKind.QUICK)),
    ],
)
def test_who_is_saved_for_a_drain_depends_on_its_priority(properties: Properties, kinds: tuple[MoveKind, ...]) -> None:
    """7.1 MoveTypeThreshold: 2000 in 2012, 1000 later; 3001 is quick for all."""
    priorities = (Priority.HIGH, Priority.MEDIUM, Priority.LOW)
    assert tuple(leaving_by(Policy(priority=priority), properties) for priority in priorities) == kinds


def test_a_default_move_type_outranks_the_threshold() -> None:
    """7.1 DefaultMoveType of one VM."""
    policy = Policy(priority=Priority.LOW, default_move_type=MoveKind.SHUTDOWN)
    assert leaving_by(policy, defaults("ws2012")) is MoveKind.SHUTDOWN
