"""Bringing a disk online against the real array: holders, stale and foreign keys, lost answers, crashes, rivals."""

from __future__ import annotations

from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hvcluster.model.scsi import (
    PersistentReserveIn,
    PersistentReserveOut,
    Read,
    Reservation,
    ReserveIn,
    ReserveOut,
    Status,
)
from hvcluster.model.vocabulary import PathName
from hvcluster.node.core.disk import DiskOutcome, bring_online, join_path
from hvcluster.node.core.procedure import Steps
from hvcluster.node.core.reservation import READ_FULL_STATUS
from tests.core.array_driver import LUN, Bench, nexus
from tests.core.scsi_steps import Life, Wire, holder, initiator, key, may_write, once, outbox, registrations, these

ENOUGH = 40  # more questions than the longest way through the procedure has


def life(bench: Bench, node: int, generation: int, *paths: str) -> Life[DiskOutcome]:
    """A node on its way to have the LUN under a generation."""

    def outcome() -> Steps[DiskOutcome]:
        return (yield from bring_online(outbox(node), usable, initiator(node), "D1", LUN, mine))[0]

    usable, mine = these(*(paths or ("A",))), key(generation, node)
    return Life(bench, node, outcome())


def online(bench: Bench, node: int, generation: int, *paths: str) -> None:
    """The node gets the LUN."""
    assert life(bench, node, generation, *paths).run() is DiskOutcome.ONLINE


def test_a_free_lun_is_reserved_for_the_node_alone() -> None:
    """Owner of a VM, steps 2 to 5: afterwards only this node is registered, and it holds the reservation."""
    bench = Bench()
    online(bench, 1, 1)
    assert registrations(bench) == {("a", "A", key(1, 1).encode())}
    assert holder(bench) == {key(1, 1).encode()}
    assert may_write(bench, 1)
    assert not may_write(bench, 2)


@pytest.mark.conforms("disk-arbitration")
def test_the_array_knows_the_node_by_its_key_and_the_type_by_its_number() -> None:
    """Key: generation (32 bits), node id (16), 0x734D; type 5: one holder, all registrants write, everyone reads."""
    bench = Bench()
    online(bench, 2, 3)
    reserved = bench.ask(nexus("d"), PersistentReserveIn(ReserveIn.READ_RESERVATION)).payload
    assert isinstance(reserved, Reservation)
    assert (reserved.key, reserved.type) == (0x0000_0003_0002_734D, 5)
    assert bench.ask(nexus("d"), Read(0, 1)).status is Status.GOOD
    assert not may_write(bench, 4)


def test_every_path_is_registered() -> None:
    """Owner of a VM, step 2: REGISTER AND IGNORE EXISTING KEY on every path."""
    bench = Bench()
    online(bench, 1, 1, "A", "B")
    mine = key(1, 1).encode()
    assert registrations(bench) == {("a", "A", mine), ("a", "B", mine)}


@pytest.mark.conforms("disk-arbitration", "oracle-20")
def test_the_older_owner_is_shut_out_when_a_newer_one_is_online() -> None:
    """Owner of a VM: after step 5 any write from an older owner gets RESERVATION CONFLICT."""
    bench = Bench()
    online(bench, 1, 1, "A", "B")
    online(bench, 2, 2)
    assert not may_write(bench, 1, ("A", "B"))
    assert may_write(bench, 2)


def test_every_stale_key_is_removed_not_only_the_holders() -> None:
    """Owner of a VM, step 5: PREEMPT every other registered key of a lower generation."""
    bench = Bench()
    for node, generation in ((1, 1), (2, 2)):
        bench.register(nexus(initiator(node)), key(generation, node).encode())
    online(bench, 3, 3)
    assert registrations(bench) == {("c", "A", key(3, 3).encode())}


def test_the_holder_is_preempted_by_its_own_key() -> None:
    """Owner of a VM, step 4: PREEMPT names the holder's key, which makes it a compare-and-swap."""
    bench = Bench()
    online(bench, 1, 1)
    newer = life(bench, 2, 2)
    assert newer.run() is DiskOutcome.ONLINE
    preempted = [c for c in newer.commands if isinstance(c, PersistentReserveOut) and c.action is ReserveOut.PREEMPT]
    assert [(c.key, c.service_key) for c in preempted] == [(key(2, 2).encode(), key(1, 1).encode())]


@pytest.mark.parametrize("newer", [(2, 2), (1, 2)], ids=["newer generation", "same generation, other node"])
def test_a_superseded_node_takes_its_registration_back(newer: tuple[int, int]) -> None:
    """Owner of a VM, step 3: a key of a newer generation means superseded: unregister, stop, report."""
    bench = Bench()
    online(bench, newer[1], newer[0])
    assert life(bench, 1, 1).run() is DiskOutcome.SUPERSEDED
    assert registrations(bench) == {(initiator(newer[1]), "A", key(*newer).encode())}
    assert not may_write(bench, 1)
    assert may_write(bench, newer[1])


def test_software_that_is_not_this_cluster_is_left_alone() -> None:
    """A key without the cluster's mark is nobody's to preempt."""
    bench = Bench()
    bench.register(nexus("b"), 0xABCD)
    bench.out(nexus("b"), ReserveOut.RESERVE, 0xABCD)
    assert life(bench, 1, 9).run() is DiskOutcome.FOREIGN
    assert registrations(bench) == {("b", "A", 0xABCD)}
    assert holder(bench) == {0xABCD}


def test_without_an_answer_there_is_no_path() -> None:
    """UNKNOWN everywhere is not ownership."""
    bench = Bench()
    dead = life(bench, 1, 1, "A", "B")
    dead.wire = lambda _: Wire.LOST
    assert dead.run() is DiskOutcome.NO_PATH
    assert registrations(bench) == set()


def test_an_own_key_on_a_dead_path_does_not_stand_in_the_way() -> None:
    """A path that no longer answers keeps an older key of ours; a new generation drops it."""
    bench = Bench()
    online(bench, 1, 1, "A", "B")
    online(bench, 1, 2, "A")
    assert registrations(bench) == {("a", "A", key(2, 1).encode())}


@pytest.mark.parametrize("before", ["free", "held", "held on two paths"])
@pytest.mark.parametrize("fate", [Wire.LOST, Wire.ANSWER_LOST])
@pytest.mark.parametrize("width", [1, 2, 3])
def test_answers_lost_at_any_step_never_make_a_false_owner(before: str, fate: Wire, width: int) -> None:
    """Owner of a VM: an UNKNOWN answer is resolved by reading again, never by assuming."""
    for lost in range(ENOUGH):
        bench = Bench()
        if before != "free":
            online(bench, 1, 1, *(("A", "B") if before == "held on two paths" else ("A",)))
        taker = life(bench, 2, 2)
        taker.wire = once(lost, fate, width)
        outcome = taker.run()
        if outcome is DiskOutcome.ONLINE:
            assert registrations(bench) == {("b", "A", key(2, 2).encode())}, lost
            assert holder(bench) == {key(2, 2).encode()}, lost
            assert not may_write(bench, 1, ("A", "B")), lost
        else:
            assert outcome is DiskOutcome.NO_PATH, lost
            assert lost <= 1 or width > 1, f"question {lost} was lost once, and the procedure gave up"
        if taker.asked <= lost:
            return
    pytest.fail("the procedure asks more questions than this test looks at")


@pytest.mark.parametrize("steps", range(1, 4))
def test_who_registers_meanwhile_is_seen_before_the_vm_starts(steps: int) -> None:
    """Owner of a VM, step 5: READ FULL STATUS; only X may remain, whenever the other came."""
    bench = Bench()
    online(bench, 1, 1)
    taker = life(bench, 2, 2)
    status_read = False
    for _ in range(steps):
        taker.step()
        status_read = READ_FULL_STATUS in taker.commands
    bench.register(nexus("c"), key(1, 3).encode())
    assert taker.run() is DiskOutcome.ONLINE
    assert status_read or registrations(bench) == {("b", "A", key(2, 2).encode())}


def test_a_crash_at_any_step_leaves_the_lun_to_the_next_generation() -> None:
    """Cores and shells: any step may be the last before a crash; what was done is found again by reading."""
    for crash in range(ENOUGH):
        bench = Bench()
        online(bench, 1, 1)
        crashed = life(bench, 2, 2)
        steps = 0
        while steps < crash and crashed.step():
            steps += 1
        online(bench, 3, 3)
        assert registrations(bench) == {("c", "A", key(3, 3).encode())}
        assert not may_write(bench, 1)
        assert not may_write(bench, 2)
        if crashed.ended:
            return
    pytest.fail("the procedure has more steps than this test looks at")


def test_a_node_that_restarts_at_any_step_gets_the_lun_under_its_next_generation() -> None:
    """A key of its own earlier life is a stale key like any other."""
    for crash in range(ENOUGH):
        bench = Bench()
        crashed = life(bench, 1, 1)
        steps = 0
        while steps < crash and crashed.step():
            steps += 1
        online(bench, 1, 2)
        assert registrations(bench) == {("a", "A", key(2, 1).encode())}
        if crashed.ended:
            return
    pytest.fail("the procedure has more steps than this test looks at")


@settings(max_examples=150, deadline=None)
@given(
    order=st.lists(st.integers(0, 2), max_size=60),
    lost=st.sets(st.tuples(st.integers(0, 2), st.integers(0, 12)), max_size=4),
    executed=st.booleans(),
)
def test_of_rivals_under_way_at_once_no_older_one_can_write_once_a_newer_is_online(
    order: list[int], lost: set[tuple[int, int]], executed: bool
) -> None:
    """Invariants, one writer: once a generation completed step 5, no VM of an older one can write."""
    bench = Bench()
    fate = Wire.ANSWER_LOST if executed else Wire.LOST
    lives = [life(bench, n + 1, n + 1) for n in range(3)]

    def rotten(n: int, at: int) -> Wire:
        return fate if (n, at) in lost else Wire.WORKS

    for n, one in enumerate(lives):
        one.wire = partial(rotten, n)
    newest = 0
    for turn in [*order, *[n for _ in range(300) for n in range(3)]]:
        one = lives[turn]
        if one.ended or one.step():
            continue
        if one.result is DiskOutcome.ONLINE:
            newest = max(newest, turn + 1)  # an older one may learn late that it was alone for a moment
        # Only who came online has a VM that could write; others may be registered for a moment.
        owners = [n + 1 for n, other in enumerate(lives) if other.result is DiskOutcome.ONLINE]
        older = [node for node in owners if node < newest]
        assert not any(may_write(bench, node) for node in older), "an older owner can still write"
    assert all(one.ended for one in lives)
    assert lives[2].result in (DiskOutcome.ONLINE, DiskOutcome.NO_PATH)


def test_a_path_that_returns_is_used_once_the_key_is_found_there() -> None:
    """Owner of a VM: one more path is registered while the disk is ours, and never when a newer owner has it."""
    bench = Bench()
    online(bench, 1, 1, "A")
    assert not may_write(bench, 1, ("B",))
    assert Life(bench, 1, join_path(PathName("B"), LUN, key(1, 1))).run() is True
    assert may_write(bench, 1, ("A", "B"))
    online(bench, 2, 2, "A")
    assert Life(bench, 1, join_path(PathName("B"), LUN, key(1, 1))).run() is False
    assert registrations(bench) == {("b", "A", key(2, 2).encode())}
