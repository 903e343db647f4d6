"""The array around its reservations: sessions, unit attentions, media commands, masking, administration, journal."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hvcluster.model.scsi import (
    CONFLICT,
    GOOD,
    MAX_TRANSFER_BLOCKS,
    Capacity,
    Command,
    CompareAndWrite,
    PersistentReserveOut,
    Read,
    ReadCapacity,
    ReserveOut,
    Result,
    Status,
    SynchronizeCache,
    Write,
)
from hvcluster.model.scsi import TestUnitReady as UnitReady
from hvcluster.model.vocabulary import BLOCK_BYTES, LunId
from hvcluster.san.core import sense
from hvcluster.san.core.commands import MAX_LUN_BLOCKS, MAX_NEXUSES
from hvcluster.san.core.effects import (
    AdminError,
    AllocateBlocks,
    DiscardBlocks,
    Effect,
    EndSession,
    FlushBlocks,
    JournalEntry,
    LoginAnswer,
    LoginError,
    Respond,
    SaveImage,
    WriteBlocks,
)
from hvcluster.san.core.events import CreateLun, DeleteLun, Login, Logout, Mask, ResizeLun, Unmask
from tests.core.array_driver import BLOCKS, LUN, A, B, Bench, nexus

ONE = b"1" * BLOCK_BYTES
TWO = b"2" * BLOCK_BYTES
POWER_ON = sense.attention(sense.POWER_ON_OCCURRED)
NEXUS_LOSS = sense.attention(sense.NEXUS_LOSS_OCCURRED)


def entries(effects: list[Effect]) -> list[JournalEntry]:
    return [effect for effect in effects if isinstance(effect, JournalEntry)]


class TestSessions:
    """Session reinstatement: what makes UNKNOWN safe to resolve by asking again."""

    def test_a_newer_login_of_the_same_nexus_kills_the_older_session(self) -> None:
        """A write that was stuck on the old session is neither executed nor answered."""
        bench = Bench()
        old = bench.login(A)
        new = bench.login(A)
        assert EndSession(old) in bench.effects
        assert bench.send(old, Write(0, ONE)) == []
        assert bench.media[LUN] == bytes(BLOCKS * BLOCK_BYTES)
        assert bench.send(new, UnitReady()) != []

    def test_the_old_session_ends_before_the_new_login_is_answered(self) -> None:
        """Once a login is accepted, nothing of the past can happen any more."""
        bench = Bench()
        old = bench.login(A)
        assert bench.feed(Login(A, 1000)) == [EndSession(old), LoginAnswer(1000)]

    def test_another_port_of_the_same_initiator_is_another_nexus(self) -> None:
        """Two paths live side by side."""
        bench = Bench()
        first = bench.login(A)
        bench.login(nexus("a", "B"))
        assert bench.send(first, UnitReady()) != []

    def test_the_end_of_a_dead_session_does_not_touch_its_successor(self) -> None:
        """Its transport may take long to notice."""
        bench = Bench()
        old, new = bench.login(A), bench.login(A)
        bench.feed(Logout(old))
        assert bench.send(new, UnitReady()) != []

    def test_commands_after_a_logout_are_ignored(self) -> None:
        """Nobody is there to be answered."""
        bench = Bench()
        session = bench.login(A)
        bench.logout(A)
        assert bench.send(session, Write(0, ONE)) == []

    def test_a_login_beyond_the_nexuses_an_array_can_know_is_refused(self) -> None:
        """Security and limits: every queue has a limit; the known ones still get in."""
        bench = Bench(initiators="")
        for number in range(MAX_NEXUSES):
            bench.login(nexus(f"i{number}"))
        assert bench.feed(Login(nexus("late"), 9999)) == [LoginAnswer(9999, LoginError.TOO_MANY_NEXUSES)]
        bench.login(nexus("i5"))


class TestUnitAttentions:
    """SAM-4 5.14."""

    def test_the_first_login_reports_power_on_once(self) -> None:
        """To any command, PERSISTENT RESERVE OUT included, which is then not carried out."""
        bench = Bench(reported=False)
        assert bench.register(A, 5) == POWER_ON
        assert bench.register(A, 5) == GOOD
        assert bench.images[LUN].registrations == ((A, 5),)

    def test_a_later_login_reports_nexus_loss_once(self) -> None:
        """The reservation outlives the session."""
        bench = Bench()
        bench.register(A, 5)
        bench.login(A)
        assert [bench.ask(A, UnitReady()) for _ in range(2)] == [NEXUS_LOSS, GOOD]
        assert bench.images[LUN].registrations == ((A, 5),)

    def test_a_power_on_nobody_heard_of_stays_a_power_on(self) -> None:
        """SAM-4: it outranks the nexus loss."""
        bench = Bench(reported=False)
        bench.login(A)
        bench.login(A)
        assert [bench.ask(A, UnitReady()) for _ in range(2)] == [POWER_ON, GOOD]

    def test_a_reservation_conflict_outranks_a_preemption_but_not_a_nexus_loss(self) -> None:
        """SAM-4 5.3.3: so the first write of a preempted owner gets RESERVATION CONFLICT."""
        bench = Bench()
        for who, key in ((A, 0xA), (B, 0xB)):
            bench.register(who, key)
        bench.out(A, ReserveOut.RESERVE, 0xA)
        bench.out(B, ReserveOut.PREEMPT, 0xB, 0xA)
        assert bench.ask(A, Write(0, ONE)) == CONFLICT
        bench.login(A)
        assert bench.ask(A, Write(0, ONE)) == NEXUS_LOSS
        assert bench.ask(A, Write(0, ONE)) == CONFLICT
        assert bench.ask(A, UnitReady()) == sense.attention(sense.REGISTRATIONS_PREEMPTED)
        assert bench.ask(A, UnitReady()) == GOOD


class TestMedium:
    """SBC-3."""

    def test_what_was_written_is_read_back(self) -> None:
        """READ after WRITE, and READ CAPACITY."""
        bench = Bench()
        assert bench.ask(A, Write(3, ONE + TWO)) == GOOD
        assert bench.ask(A, Read(2, 4)) == Result(
            Status.GOOD, None, bytes(BLOCK_BYTES) + ONE + TWO + bytes(BLOCK_BYTES)
        )
        assert bench.ask(A, ReadCapacity()) == Result(Status.GOOD, None, Capacity(BLOCKS))

    def test_fua_and_synchronize_cache_order_the_medium(self) -> None:
        """What must be durable before GOOD is ordered before the answer."""
        bench = Bench()
        session = bench.login(A)
        bench.ask(A, UnitReady())
        assert bench.send(session, Write(0, ONE, fua=True))[0] == WriteBlocks(LUN, 0, ONE, True)
        assert bench.send(session, Write(0, ONE, fua=False))[0] == WriteBlocks(LUN, 0, ONE, False)
        assert bench.send(session, SynchronizeCache()) == [FlushBlocks(LUN), Respond(session, 7, GOOD)]

    @pytest.mark.parametrize(
        ("command", "refusal"),
        [
            (Read(BLOCKS, 1), sense.OUT_OF_RANGE),
            (Read(0, BLOCKS + 1), sense.OUT_OF_RANGE),
            (Read(0, MAX_TRANSFER_BLOCKS + 1), sense.INVALID_FIELD),
            (Write(BLOCKS - 1, ONE + TWO), sense.OUT_OF_RANGE),
            (Write(0, b"short"), sense.INVALID_FIELD),
            (CompareAndWrite(0, ONE, ONE + TWO), sense.INVALID_FIELD),
            (CompareAndWrite(0, b"x", b"y"), sense.INVALID_FIELD),
            (CompareAndWrite(0, ONE * 256, TWO * 256), sense.INVALID_FIELD),
        ],
        ids=lambda value: type(value).__name__,
    )
    def test_what_does_not_fit_is_refused_and_changes_nothing(self, command: Command, refusal: Result) -> None:
        """ILLEGAL REQUEST with the right sense; nothing raises."""
        bench = Bench()
        assert bench.ask(A, command) == refusal
        assert bench.media[LUN] == bytes(BLOCKS * BLOCK_BYTES)

    def test_zero_blocks_are_no_error(self) -> None:
        """SBC-3 5.8: a transfer length of zero transfers nothing."""
        bench = Bench()
        assert bench.ask(A, Read(BLOCKS, 0)) == Result(Status.GOOD, None, b"")
        assert bench.ask(A, Write(0, b"")) == GOOD

    def test_compare_and_write_changes_what_matches_and_nothing_else(self) -> None:
        """MISCOMPARE leaves the medium as it was."""
        bench = Bench()
        bench.ask(A, Write(0, ONE))
        assert bench.ask(A, CompareAndWrite(0, TWO, ONE)) == sense.MISCOMPARE
        assert bench.ask(A, CompareAndWrite(0, ONE, TWO)) == GOOD
        assert bench.ask(A, Read(0, 1)).payload == TWO

    def test_an_unreadable_medium_is_a_medium_error(self) -> None:
        """Neither READ nor COMPARE AND WRITE pretends."""
        bench = Bench()
        bench.readable = False
        assert bench.ask(A, Read(0, 1)) == sense.UNREADABLE
        assert bench.ask(A, CompareAndWrite(0, ONE, TWO)) == sense.UNREADABLE

    @given(st.integers(-(2**70), 2**70), st.integers(-(2**40), 2**40))
    def test_no_address_makes_the_core_raise(self, lba: int, blocks: int) -> None:
        """Cores and shells: whatever an initiator sends is answered."""
        bench = Bench()
        fits = 0 <= lba <= lba + blocks <= BLOCKS and blocks >= 0
        assert (bench.ask(A, Read(lba, blocks)).status is Status.GOOD) == fits


class TestMasking:
    """Security and limits: masking by initiator is always on."""

    def test_a_masked_unit_is_not_there(self) -> None:
        """LOGICAL UNIT NOT SUPPORTED, as for a number nobody has."""
        bench = Bench(initiators="a")
        bench.login(B)
        assert bench.ask(B, UnitReady()) == sense.NOT_SUPPORTED
        assert bench.ask(A, UnitReady(), LunId(99)) == sense.NOT_SUPPORTED

    def test_mask_and_unmask_take_effect_at_once_and_are_saved(self) -> None:
        """For sessions that are logged in."""
        bench = Bench(initiators="a")
        assert bench.administer(Unmask(1, LUN, "b")) is None
        assert bench.images[LUN].initiators == ("a", "b")
        assert bench.ask(B, UnitReady()) == POWER_ON
        assert bench.administer(Mask(2, LUN, "b")) is None
        assert bench.ask(B, UnitReady()) == sense.NOT_SUPPORTED

    def test_a_masked_initiators_registration_stays_until_preempted(self) -> None:
        """Hiding a unit must not quietly release what protects it."""
        bench = Bench()
        bench.register(A, 0xA)
        bench.out(A, ReserveOut.RESERVE, 0xA)
        bench.administer(Mask(1, LUN, "a"))
        assert bench.ask(B, Write(0, ONE)) == CONFLICT


class TestAdministration:
    """Create, resize up, delete."""

    def test_a_new_unit_has_its_blocks_before_it_is_saved(self) -> None:
        """A kill in between leaves blocks without a unit, never a unit without blocks."""
        bench = Bench()
        effects = bench.feed(CreateLun(1, LunId(3), 10))
        assert [type(effect) for effect in effects[:2]] == [AllocateBlocks, SaveImage]
        bench.administer(Unmask(2, LunId(3), "a"))
        assert bench.ask(A, ReadCapacity(), LunId(3)).payload == Capacity(10)

    def test_a_unit_grows_and_its_initiators_hear_of_it(self) -> None:
        """CAPACITY DATA HAS CHANGED, once; old blocks stay, new ones are zero."""
        bench = Bench()
        bench.ask(A, Write(0, ONE))
        assert bench.administer(ResizeLun(1, LUN, BLOCKS + 1)) is None
        assert bench.ask(A, UnitReady()) == sense.attention(sense.CAPACITY_CHANGED)
        assert bench.ask(A, Read(0, 1)).payload == ONE
        assert bench.ask(A, Read(BLOCKS, 1)).payload == bytes(BLOCK_BYTES)

    def test_a_unit_with_registrations_is_deleted_only_with_force(self) -> None:
        """Someone may still rely on it."""
        bench = Bench()
        bench.register(A, 0xA)
        assert bench.administer(DeleteLun(1, LUN)) is AdminError.REGISTERED
        assert bench.feed(DeleteLun(2, LUN, force=True))[:2] == [SaveImage(LUN, None), DiscardBlocks(LUN)]
        assert bench.ask(A, UnitReady()) == sense.NOT_SUPPORTED

    def test_a_unit_made_again_knows_nothing_of_the_old_one(self) -> None:
        """No blocks, no registrations, no masks, no unit attentions."""
        bench = Bench()
        bench.ask(A, Write(0, ONE))
        bench.register(A, 0xA)
        bench.administer(DeleteLun(1, LUN, force=True))
        bench.administer(CreateLun(2, LUN, BLOCKS))
        assert bench.ask(A, UnitReady()) == sense.NOT_SUPPORTED
        bench.administer(Unmask(3, LUN, "a"))
        assert bench.ask(A, Read(0, 1)).payload == bytes(BLOCK_BYTES)
        assert bench.images[LUN].registrations == ()

    def test_bad_requests_are_refused_with_their_reason(self) -> None:
        """And change nothing."""
        bench = Bench()
        for event, error in (
            (CreateLun(1, LUN, 5), AdminError.LUN_EXISTS),
            (CreateLun(2, LunId(256), 5), AdminError.BAD_LUN),
            (CreateLun(3, LunId(3), 0), AdminError.BAD_SIZE),
            (CreateLun(4, LunId(3), MAX_LUN_BLOCKS + 1), AdminError.BAD_SIZE),
            (ResizeLun(5, LUN, BLOCKS - 1), AdminError.SHRINK),
            (ResizeLun(6, LunId(3), 5), AdminError.NO_SUCH_LUN),
            (DeleteLun(7, LunId(3)), AdminError.NO_SUCH_LUN),
            (Unmask(8, LUN, ""), AdminError.BAD_INITIATOR),
        ):
            assert bench.administer(event) is error
        assert sorted(bench.images) == [LUN]


class TestJournal:
    """Issue, must hold 6: the array's own journal proves that a fenced owner never got a write accepted."""

    def test_every_write_stands_in_it_with_the_key_registered_then(self) -> None:
        """Accepted or refused."""
        bench = Bench()
        bench.register(A, 0xA)
        bench.out(A, ReserveOut.RESERVE, 0xA)
        before = len(bench.effects)
        bench.ask(A, Write(5, ONE + TWO))
        bench.ask(B, Write(5, ONE))
        found = [
            (entry.nexus, entry.command, entry.status, entry.key, entry.lba, entry.blocks)
            for entry in entries(bench.effects[before:])
        ]
        assert found == [
            (A, "WRITE", Status.GOOD, 0xA, 5, 2),
            (B, "WRITE", Status.RESERVATION_CONFLICT, None, 5, 1),
        ]

    def test_a_reservation_change_stands_in_it_with_the_key_before(self) -> None:
        """Together with the fields of the command."""
        bench = Bench()
        bench.register(A, 0xA)
        before = len(bench.effects)
        bench.ask(A, PersistentReserveOut(ReserveOut.REGISTER, 0xA, 0x1A))
        (entry,) = entries(bench.effects[before:])
        assert (entry.command, entry.key, entry.claimed_key, entry.service_key) == (
            "PERSISTENT RESERVE OUT REGISTER",
            0xA,
            0xA,
            0x1A,
        )

    def test_asking_leaves_no_trace_unless_it_is_refused(self) -> None:
        """READ, TEST UNIT READY and their kind change nothing."""
        bench = Bench()
        before = len(bench.effects)
        bench.ask(A, Read(0, 1))
        bench.ask(A, UnitReady())
        bench.ask(A, CompareAndWrite(0, TWO, ONE))
        bench.ask(A, Read(0, BLOCKS + 1))
        assert [(entry.command, entry.status, entry.sense) for entry in entries(bench.effects[before:])] == [
            ("COMPARE AND WRITE", Status.CHECK_CONDITION, sense.MISCOMPARE.sense),
            ("READ", Status.CHECK_CONDITION, sense.OUT_OF_RANGE.sense),
        ]
