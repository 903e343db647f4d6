"""A VM's life: it boots from its disk alone, acknowledges what is written, and stops when the disk is not its own."""

from __future__ import annotations

import pytest

from hvcluster.model.scsi import CONFLICT, GOOD, UNKNOWN, Capacity, Read, Result, Sense, SenseKey, Status, Write
from hvcluster.model.vocabulary import BLOCK_BYTES
from hvcluster.node.core import guest as limits
from hvcluster.node.core.effects import SubmitScsi
from hvcluster.node.core.events import PathChanged, ScsiAnswered
from hvcluster.node.core.guest_io import Append, Fetch, Fetched, PowerOff, ShutDown, Stopped
from hvcluster.node.core.journal import JOURNAL_LBA, MAX_GROUP, Kind
from tests.core.guest_bench import DISK_TIMEOUT_US, A, B, Bench, Lun

PREEMPTED = Result(Status.CHECK_CONDITION, Sense(SenseKey.UNIT_ATTENTION, 0x2A, 0x05))
BUSY = Result(Status.BUSY)


def held(bench: Bench) -> Bench:
    """From now on the array answers only when told to."""
    bench.answer = lambda _: None
    return bench


# -- boot --------------------------------------------------------------------------------------------------


def test_the_first_generation_formats_a_blank_disk_and_leaves_a_boot_record() -> None:
    """Owner of a VM: a VM's disk is a fixed VHD on its LUN; each generation is visible in its journal."""
    bench = Bench().power_on()
    assert bench.online
    ((kind, generation, payload),) = [(r.kind, r.generation, r.payload) for r in bench.lun.journal().records]
    assert (kind, generation, payload) == (Kind.BOOT, 1, b"")
    again = Bench(bench.lun, generation=2, node=2).power_on()
    assert again.online
    assert again.guest.boots == 2
    assert bench.lun.journal().broken is None


def test_a_later_generation_never_formats() -> None:
    """A blank disk under a later generation may be a disk with data that was replaced: people must see that."""
    bench = Bench(generation=2).power_on()
    assert bench.stopped is not None
    assert bench.stopped.cause == "boot"
    assert bench.lun.writes == []


def test_who_knows_better_may_let_a_later_generation_format() -> None:
    """When the first generation died before it could format, the cluster database may know that and say so."""
    assert Bench(generation=3, format_blank=True).power_on().online
    assert Bench(generation=1, format_blank=False).power_on().stopped is not None


@pytest.mark.parametrize("blocks", [0, 1, JOURNAL_LBA + 1, 1 << 32])
def test_a_lun_of_an_impossible_size_ends_the_boot(blocks: int) -> None:
    """Cores and shells, contract 1: a core never raises for anything the array can send; a VHD ends at 2040 GiB."""
    bench = Bench(answer=lambda _: Result(Status.GOOD, payload=Capacity(blocks))).power_on()
    assert bench.stopped is not None
    assert bench.stopped.cause == "boot"
    assert f"{blocks} blocks" in bench.stopped.reason


def test_a_disk_that_lost_only_its_footer_is_not_formatted() -> None:
    """Formatting is for blank disks: a journal without a footer is data."""
    lun = Bench().power_on().lun
    lun.data[-BLOCK_BYTES:] = bytes(BLOCK_BYTES)
    bench = Bench(lun, generation=1).power_on()
    assert bench.stopped is not None
    assert bench.stopped.cause == "boot"


def test_a_damaged_journal_is_never_built_upon() -> None:
    """Invariants, one chain: a VM must not continue behind a damaged record as if nothing had happened."""
    bench = Bench().power_on()
    bench.append("a", "b")
    bench.lun.data[(JOURNAL_LBA + 1) * BLOCK_BYTES + 99] ^= 1
    again = Bench(bench.lun, generation=2).power_on()
    assert again.stopped is not None
    assert again.stopped.cause == "boot"
    assert f"block {JOURNAL_LBA + 1} is damaged" in again.stopped.reason


def test_a_late_start_of_an_older_generation_ends_itself() -> None:
    """Owner of a VM: a newer owner's record on the disk means that this VM is superseded."""
    lun = Bench().power_on().lun
    assert Bench(lun, generation=7, node=3).power_on().online
    late = Bench(lun, generation=5, node=2).power_on()
    assert late.stopped is not None
    assert late.stopped.cause == "fenced"
    assert "generation 7 on node 3" in late.stopped.reason


def test_online_waits_for_both_disk_and_boot_delay() -> None:
    """The boot delay is how long the operating system takes; the disk is read meanwhile."""
    bench = Bench(boot_delay_us=1_000_000).power_on()
    assert not bench.online
    assert bench.next_timer() == "boot"
    assert (bench.online, bench.now) == (True, 1_000_000)


@pytest.mark.parametrize("records", [0, 1, 126, 127, 128, 129, 255, 256, 257, 1000, 5001])
def test_a_journal_of_any_length_boots_with_few_reads(records: int) -> None:
    """A long journal boots fast: doubling and halving, no read above 64 KiB. The dumb twin reads all of it."""
    lun = Lun(8192)
    first = Bench(lun).power_on()
    for number in range(records):
        first.feed(Append(number, b"x"))
    lun.reads.clear()
    second = Bench(lun, generation=2).power_on()
    assert second.online
    assert len(lun.reads) <= 28
    assert max(read.blocks for read in lun.reads) <= 128
    found = lun.journal()
    assert found.broken is None
    assert second.guest.sequence == len(found.records) == records + 2


@pytest.mark.parametrize("before", [0, 60, 100, 126, 127, 128, 129, 190, 400])
@pytest.mark.parametrize("missing", [0, 1, MAX_GROUP - 1])
def test_remains_of_a_torn_write_do_not_hide_the_end(before: int, missing: int) -> None:
    """A group write cut short by a power failure leaves records behind a hole; the next boot record fills the hole."""
    lun = Lun()
    bench = Bench(lun).power_on()
    for number in range(before):
        bench.feed(Append(number, b"x"))
    held(bench)
    bench.append(*(["first"] + ["torn"] * MAX_GROUP))
    bench.reply()
    group = bench.open[0].command
    assert isinstance(group, Write)
    lun.execute(group)
    hole = group.lba + missing
    lun.data[hole * BLOCK_BYTES : (hole + 1) * BLOCK_BYTES] = bytes(BLOCK_BYTES)
    again = Bench(lun, generation=2, node=2).power_on()
    assert again.online
    assert again.guest.sequence == hole - JOURNAL_LBA + 1
    again.append("on")
    found = lun.journal()
    assert found.broken is None
    assert found.records[-1].payload == b"on"


# -- appends -----------------------------------------------------------------------------------------------


def test_a_client_is_acknowledged_only_after_the_array_said_good() -> None:
    """Owner of a VM: acknowledges a client's write only after the LUN has it."""
    bench = held(Bench().power_on())
    bench.append("a")
    assert bench.acknowledged == {}
    bench.reply()
    assert bench.acknowledged == {1: 2}
    assert bench.lun.journal().records[-1].payload == b"a"


def test_waiting_appends_share_one_write_in_their_order() -> None:
    """One WRITE in flight at a time, several records in it when several wait, never more than its limit."""
    bench = held(Bench().power_on())
    bench.append(*(f"r{n}" for n in range(MAX_GROUP + 10)))
    sizes = []
    while bench.open:
        assert len(bench.open) == 1
        asked = bench.reply()
        assert isinstance(asked.command, Write)
        sizes.append(len(asked.command.data) // BLOCK_BYTES)
    assert sizes == [1, MAX_GROUP, 9]
    assert [bench.acknowledged[n + 1] for n in range(MAX_GROUP + 10)] == list(range(2, MAX_GROUP + 12))
    payloads = [record.payload.decode() for record in bench.lun.journal().records[1:]]
    assert payloads == [f"r{n}" for n in range(MAX_GROUP + 10)]


def test_a_full_journal_refuses_but_still_boots() -> None:
    """Every queue has a limit; a full disk must not keep a VM from failing over."""
    lun = Lun(JOURNAL_LBA + 81)
    bench = Bench(lun).power_on()
    bench.append(*["x"] * 100)
    assert len(bench.acknowledged) == 69
    assert set(bench.refused.values()) == {"full"}
    for generation in range(2, 12):
        assert Bench(lun, generation=generation).power_on().online
    last = Bench(lun, generation=12).power_on()
    assert last.stopped is not None
    assert last.stopped.cause == "boot"
    assert lun.journal().broken is None


@pytest.mark.parametrize(("payload", "code"), [(b"", "size"), (b"x" * 401, "size")])
def test_a_record_has_one_to_400_bytes(payload: bytes, code: str) -> None:
    """Message sizes are limited: a record is one block."""
    bench = Bench().power_on()
    bench.feed(Append(1, payload))
    assert bench.refused == {1: code}


def test_more_waiting_appends_than_the_limit_are_refused() -> None:
    """Every queue has a named limit."""
    bench = held(Bench(Lun(20_000)).power_on())
    bench.append(*["x"] * (limits.MAX_WAITING + 2))
    assert bench.refused == {limits.MAX_WAITING + 2: "busy"}


# -- what can go wrong -------------------------------------------------------------------------------------


@pytest.mark.parametrize("applied", [False, True])
def test_unknown_is_retried_with_the_same_blocks_and_never_taken_for_good(applied: bool) -> None:
    """Owner of a VM: an UNKNOWN answer is resolved, never assumed; a late duplicate of a write is harmless."""
    bench = held(Bench(paths=(A, B)).power_on())
    bench.append("a", "b")
    first = bench.open[0]
    if applied:
        bench.lun.execute(first.command)
    bench.reply(UNKNOWN)
    assert bench.acknowledged == {}
    second = bench.open[0]
    assert second.command == first.command
    assert second.path != first.path
    bench.reply()
    bench.reply()
    bench.lun.execute(first.command)  # the late duplicate
    assert bench.acknowledged == {1: 2, 2: 3}
    assert bench.lun.journal().broken is None
    assert bench.timers == {}


def test_a_late_answer_to_a_forgotten_command_changes_nothing() -> None:
    """Every question has one answer; a second one for an old token is ignored."""
    bench = held(Bench().power_on())
    bench.append("a")
    old = bench.open[0]
    bench.reply(UNKNOWN)
    bench.feed(ScsiAnswered(old.token, GOOD))
    bench.feed(ScsiAnswered(999, GOOD))
    assert bench.acknowledged == {}


def test_a_conflict_ends_the_vm_at_once_and_nothing_is_sent_after_it() -> None:
    """Owner of a VM: a VM that gets RESERVATION CONFLICT turns itself off."""
    bench = held(Bench().power_on())
    bench.append("a", "b")
    bench.feed(Fetch(9, 1, 1))
    sent = len(bench.sent)
    bench.reply(CONFLICT)
    assert bench.stopped is not None
    assert bench.stopped.cause == "fenced"
    assert bench.refused == {1: "unknown", 2: "stopped", 9: "stopped"}
    bench.feed(PathChanged(B, True))
    bench.append("c", first=3)
    while bench.next_timer():
        pass
    assert len(bench.sent) == sent
    assert bench.refused[3] == "stopped"


def test_a_unit_attention_after_a_preempt_leads_to_the_conflict() -> None:
    """SPC-4: whoever was preempted hears REGISTRATIONS PREEMPTED first; the retry then meets the conflict."""
    bench = held(Bench().power_on())
    bench.append("a")
    bench.reply(PREEMPTED)
    assert bench.stopped is None
    bench.reply(CONFLICT)
    assert bench.stopped is not None
    assert bench.stopped.cause == "fenced"


@pytest.mark.parametrize("failure", [UNKNOWN, BUSY, PREEMPTED])
def test_a_disk_that_stays_away_ends_the_vm_after_its_timeout_and_not_before(failure: Result) -> None:
    """Failure table: when the array is away VMs stall and retry within the guest timeout, with pauses between."""
    bench = Bench().power_on()
    bench.answer = lambda _: failure
    bench.append("a")
    while bench.stopped is None:
        assert bench.next_timer() is not None
        assert bench.now <= DISK_TIMEOUT_US
    assert bench.stopped.cause == "disk"
    assert bench.now == DISK_TIMEOUT_US
    assert 100 < len(bench.sent) < 400
    assert bench.refused == {1: "unknown"}


def test_an_array_that_comes_back_in_time_is_used_again() -> None:
    """Failure table, SAN killed and restarted: writes are retried within the guest timeout."""
    bench = Bench().power_on()
    bench.answer = lambda asked: UNKNOWN if bench.now < 30_000_000 else bench.lun.execute(asked.command)
    bench.append("a")
    while not bench.acknowledged:
        assert bench.next_timer() is not None
    assert bench.now < 31_000_000
    assert bench.timers == {}


def test_without_a_path_the_vm_waits_for_one_without_asking() -> None:
    """No busy loop: while no path is up nothing is sent, and a path that comes back goes on at once."""
    bench = Bench().power_on()
    sent = len(bench.sent)
    bench.feed(PathChanged(A, False))
    bench.append("a")
    assert len(bench.sent) == sent
    assert list(bench.timers) == ["disk.main"]
    bench.feed(PathChanged(B, True))
    assert bench.sent[-1].path == B
    assert bench.acknowledged == {1: 2}
    assert bench.timers == {}


def test_a_vm_that_never_sees_a_path_gives_up() -> None:
    """Every wait has an end: the guest's disk timeout."""
    bench = Bench(paths=()).power_on()
    assert bench.next_timer() == "disk.main"
    assert bench.stopped is not None
    assert bench.stopped.cause == "disk"


def test_a_lun_that_is_gone_is_not_waited_for() -> None:
    """ILLEGAL REQUEST (LOGICAL UNIT NOT SUPPORTED) does not change by asking again."""
    bench = Bench(answer=lambda _: Result(Status.CHECK_CONDITION, Sense(SenseKey.ILLEGAL_REQUEST, 0x25, 0)))
    bench.power_on()
    assert bench.stopped is not None
    assert bench.stopped.cause == "disk"
    assert "25h/00h" in bench.stopped.reason


def test_data_of_another_form_than_asked_for_never_raises() -> None:
    """Cores and shells, contract 1: a core never raises for anything the array can send."""
    bench = Bench(answer=lambda _: GOOD).power_on()
    while bench.stopped is None:
        bench.next_timer()
    assert bench.stopped.cause == "disk"


# -- the end -----------------------------------------------------------------------------------------------


def test_a_polite_shutdown_finishes_what_was_taken_and_takes_no_more() -> None:
    """Owner of a VM: planned offline; the guest may finish its writes."""
    bench = held(Bench().power_on())
    bench.append("a", "b", "c")
    bench.feed(ShutDown("moved"))
    bench.append("d", first=4)
    assert bench.stopped is None
    while bench.open:
        bench.reply()
    assert bench.stopped == Stopped("shutdown", "moved")
    assert sorted(bench.acknowledged) == [1, 2, 3]
    assert bench.refused == {4: "stopping"}


def test_an_idle_vm_shuts_down_at_once() -> None:
    """Nothing in flight, nothing to wait for."""
    bench = Bench().power_on()
    bench.feed(ShutDown("moved"))
    assert bench.stopped == Stopped("shutdown", "moved")


def test_power_off_is_immediate_and_final() -> None:
    """Terminate: the VM is off when the command returns, whatever is in flight."""
    bench = held(Bench().power_on())
    bench.append("a", "b")
    bench.feed(PowerOff("killed"))
    assert bench.stopped == Stopped("terminated", "killed")
    assert bench.refused == {1: "unknown", 2: "stopped"}
    bench.feed(PowerOff("again"))
    bench.reply(UNKNOWN)
    assert bench.open == []


# -- reading back ------------------------------------------------------------------------------------------


def test_records_are_read_from_the_disk_and_only_those_that_are_surely_there() -> None:
    """`GET /records` shows the LUN, not memory."""
    bench = Bench().power_on()
    bench.append("a", "b", "c")
    held(bench)
    bench.append("d", first=4)
    bench.feed(Fetch(50, 2, 100))
    assert bench.open[1].command == Read(JOURNAL_LBA + 1, 3)
    bench.open.reverse()
    bench.reply()
    (fetched,) = [effect for effect in bench.seen if isinstance(effect, Fetched)]
    assert [record.payload for record in fetched.records] == [b"a", b"b", b"c"]


def test_a_record_that_was_damaged_on_the_disk_is_reported() -> None:
    """A block that is not the record asked for is never left out silently."""
    bench = Bench().power_on()
    bench.append("a", "b")
    bench.lun.data[(JOURNAL_LBA + 1) * BLOCK_BYTES + 50] ^= 1
    bench.feed(Fetch(50, 1, 10))
    bench.feed(Fetch(51, 9, 10))
    bench.feed(Fetch(52, 0, 10))
    assert bench.refused == {50: "damaged", 52: "size"}
    assert Fetched(51, ()) in bench.seen


# -- a crash at every step ---------------------------------------------------------------------------------


def run_until_crash(lun: Lun, generation: int, crash_at: int, kept: int | None) -> Bench:
    """A life with ten appends in bursts; at command number `crash_at` the machine dies, `kept` blocks being written."""
    steps = 0

    def answer(asked: SubmitScsi) -> Result | None:
        nonlocal steps
        steps += 1
        if steps - 1 < crash_at:
            return None
        if steps - 1 == crash_at and isinstance(asked.command, Write):
            lun.execute(asked.command, kept)
        return None

    bench = Bench(lun, generation=generation, node=1 + generation % 3, answer=answer, format_blank=True)
    bench.power_on()
    sent = 0
    while bench.open and steps <= crash_at:
        if bench.guest.state is limits.GuestState.ONLINE and sent < 10:
            bench.append(*(f"g{generation}-{n}" for n in range(sent, sent + 5)), first=sent + 1)
            sent += 5
        bench.reply()
        if bench.online and not bench.open and sent < 10:
            bench.append(f"g{generation}-{sent}", first=sent + 1)
            sent += 1
    return bench


@pytest.mark.parametrize("kept", [0, 1, 3, None], ids=["nothing", "one block", "some blocks", "everything"])
def test_every_acknowledged_record_survives_a_crash_at_every_step(kept: int | None) -> None:
    """Invariants, one chain: each journal is one unbroken chain, and every acknowledged write is in it."""
    for crash_at in range(16):
        lun = Lun(600)
        promised: dict[int, bytes] = {}
        for generation in range(1, 6):
            bench = run_until_crash(lun, generation, crash_at, kept)
            for ticket, sequence in bench.acknowledged.items():
                assert sequence not in promised
                promised[sequence] = f"g{generation}-{ticket - 1}".encode()
        final = Bench(lun, generation=9, node=2, format_blank=True).power_on()
        assert final.online
        found = lun.journal()
        assert found.broken is None
        by_number = {record.sequence: record.payload for record in found.records}
        assert {number: by_number.get(number) for number in promised} == promised
