"""A VM that has lost its disk is frozen, and goes on or ends: Paused-Critical.

Law: the guest core alone, against a disk that a test switches off and on.
"""

from __future__ import annotations

import pytest

from hvcluster.model.scsi import Result, Status
from hvcluster.node.core.effects import SubmitScsi
from hvcluster.node.core.guest_io import Append, Fetch, Frozen, PowerOff, ShutDown, Thawed
from tests.core.guest_bench import DISK_TIMEOUT_US, Bench

HALF_HOUR_US = 1_800_000_000


def lost(bench: Bench) -> None:
    """From now on the disk does not answer."""

    def silent(_: SubmitScsi) -> Result:
        return Result(Status.UNKNOWN)

    bench.answer = silent


def changes(bench: Bench) -> list[type]:
    """The guest's freezes and thaws, in order."""
    return [type(effect) for effect in bench.seen if isinstance(effect, Frozen | Thawed)]


def until_frozen(freeze_us: int = HALF_HOUR_US) -> Bench:
    """A guest that has an append on its way when it loses its disk for longer than the disk timeout."""
    bench = Bench(freeze_us=freeze_us).power_on()
    lost(bench)
    bench.append("kept")
    while bench.now < DISK_TIMEOUT_US + 1_000_000 and bench.stopped is None:
        bench.next_timer()
    return bench


@pytest.mark.conforms("storage-resiliency")
def test_a_frozen_guest_goes_on_when_its_disk_is_back_and_has_lost_nothing() -> None:
    """The append that was on its way is acknowledged after all, and the next one is too."""
    bench = until_frozen()
    assert changes(bench) == [Frozen]
    bench.feed(Append(2, b"meanwhile"))
    assert (bench.stopped, bench.acknowledged, bench.refused) == (None, {}, {})
    bench.answer = None
    bench.next_timer()
    assert changes(bench) == [Frozen, Thawed]
    assert bench.acknowledged == {1: 2, 2: 3}


@pytest.mark.conforms("storage-resiliency")
def test_a_guest_whose_disk_stays_away_is_turned_off_after_half_an_hour() -> None:
    """Once, with the time it has waited in the reason."""
    bench = until_frozen()
    while bench.stopped is None:
        assert bench.next_timer() is not None
    assert bench.stopped.cause == "disk"
    assert DISK_TIMEOUT_US + HALF_HOUR_US <= bench.now < DISK_TIMEOUT_US + HALF_HOUR_US + 1_000_000
    assert f"{(DISK_TIMEOUT_US + HALF_HOUR_US) // 1000} ms" in bench.stopped.reason


@pytest.mark.conforms("storage-resiliency")
def test_without_storage_resiliency_the_disk_timeout_turns_a_guest_off() -> None:
    """As before 2016: nothing is frozen."""
    bench = until_frozen(freeze_us=0)
    assert changes(bench) == []
    assert bench.stopped is not None
    assert bench.stopped.cause == "disk"


def test_a_frozen_guest_thaws_when_all_its_commands_are_done_and_can_freeze_again() -> None:
    """A client's read waits as well as the write; the second loss has the whole time again."""
    bench = Bench(freeze_us=HALF_HOUR_US).power_on()
    bench.append("kept")
    lost(bench)
    bench.feed(Fetch(7, 1, 10))
    bench.append("late", first=2)
    while changes(bench) == []:
        bench.next_timer()
    bench.answer = None
    while changes(bench) == [Frozen]:
        bench.next_timer()
    assert changes(bench) == [Frozen, Thawed]
    assert 2 in bench.acknowledged
    began = bench.now
    lost(bench)
    bench.append("again", first=3)
    while bench.stopped is None:
        assert bench.next_timer() is not None
    assert changes(bench) == [Frozen, Thawed, Frozen]
    assert bench.now - began >= DISK_TIMEOUT_US + HALF_HOUR_US


@pytest.mark.parametrize(("event", "cause"), [(ShutDown("moved"), "shutdown"), (PowerOff("moved"), "terminated")])
def test_a_frozen_guest_can_be_turned_off(event: ShutDown | PowerOff, cause: str) -> None:
    """It cannot finish its writes: whoever waits hears that the record may or may not be on the disk."""
    bench = until_frozen()
    bench.feed(event)
    assert bench.stopped is not None
    assert bench.stopped.cause == cause
    assert bench.refused == {1: "unknown"}
