"""PERSISTENT RESERVE OUT and IN, service action by service action, as SPC-4 5.13 has them."""

from __future__ import annotations

import pytest

from hvcluster.model.scsi import (
    CONFLICT,
    GOOD,
    FullStatus,
    Keys,
    Nexus,
    Payload,
    PersistentReserveIn,
    PersistentReserveOut,
    Registration,
    Reservation,
    ReservationType,
    ReserveIn,
    ReserveOut,
    Result,
    Write,
)
from hvcluster.model.scsi import TestUnitReady as UnitReady
from hvcluster.model.vocabulary import BLOCK_BYTES
from hvcluster.san.core import sense
from hvcluster.san.core.effects import SaveImage
from hvcluster.san.core.reservations import MAX_REGISTRATIONS
from tests.core.array_driver import LUN, A, B, Bench, C, D, nexus

WE, EA, WE_RO, EA_RO, WE_AR, EA_AR = ReservationType
SHARED = [WE_RO, EA_RO, WE_AR, EA_AR]
R = ReserveOut


def read(bench: Bench, action: ReserveIn) -> Payload:
    return bench.ask(D, PersistentReserveIn(action)).payload


def holds(bench: Bench) -> tuple[int | None, ReservationType | None]:
    reservation = read(bench, ReserveIn.READ_RESERVATION)
    assert isinstance(reservation, Reservation)
    return reservation.key, reservation.type


def keys(bench: Bench) -> tuple[int, ...]:
    found = read(bench, ReserveIn.READ_KEYS)
    assert isinstance(found, Keys)
    return found.keys


def generation(bench: Bench) -> int:
    found = read(bench, ReserveIn.READ_KEYS)
    assert isinstance(found, Keys)
    return found.pr_generation


def told(bench: Bench, who: Nexus) -> list[Result]:
    """The unit attentions a nexus is owed, taken one after the other."""
    found = []
    while (result := bench.ask(who, UnitReady())) != GOOD:
        found.append(result)
    return found


def three(type: ReservationType | None = None) -> Bench:
    """A, B and C are registered with 0xA, 0xB and 0xC; A has reserved with `type`."""
    bench = Bench()
    for who, key in ((A, 0xA), (B, 0xB), (C, 0xC)):
        bench.register(who, key)
    if type is not None:
        assert bench.out(A, R.RESERVE, 0xA, type=type) == GOOD
    return bench


class TestRegistering:
    """SPC-4 5.13.7."""

    def test_registers_an_unregistered_nexus_only_with_reservation_key_zero(self) -> None:
        """REGISTER from an unregistered nexus must not claim a key."""
        bench = Bench()
        assert bench.out(A, R.REGISTER, 0x1, 0xA) == CONFLICT
        assert bench.out(A, R.REGISTER, 0, 0xA) == GOOD
        assert keys(bench) == (0xA,)

    def test_changes_the_key_only_for_who_knows_the_old_one(self) -> None:
        """REGISTER from a registered nexus is a compare-and-swap of its own key."""
        bench = three()
        assert bench.out(A, R.REGISTER, 0xF, 0x1A) == CONFLICT
        assert bench.out(A, R.REGISTER, 0xA, 0x1A) == GOOD
        assert keys(bench) == (0x1A, 0xB, 0xC)

    def test_ignoring_the_existing_key_registers_changes_and_unregisters(self) -> None:
        """REGISTER AND IGNORE EXISTING KEY never looks at the RESERVATION KEY field."""
        bench = Bench()
        for key, left in ((0xA, (0xA,)), (0x1A, (0x1A,)), (0, ())):
            ignore = PersistentReserveOut(R.REGISTER_AND_IGNORE_EXISTING_KEY, 0xDEAD, key)
            assert bench.ask(A, ignore) == GOOD
            assert keys(bench) == left

    def test_unregistering_what_is_not_registered_is_no_error(self) -> None:
        """Both keys zero from an unregistered nexus: nothing to do, GOOD."""
        bench = Bench()
        assert bench.out(A, R.REGISTER, 0, 0) == GOOD
        assert keys(bench) == ()

    def test_is_refused_when_the_unit_can_remember_no_more(self) -> None:
        """INSUFFICIENT REGISTRATION RESOURCES; a registered nexus can still change its key."""
        bench = Bench()
        for number in range(MAX_REGISTRATIONS):
            who = nexus("a", f"port{number}")
            bench.ask(who, UnitReady())
            assert bench.register(who, 1) == GOOD
        assert bench.register(B, 2) == sense.NO_REGISTRATION_RESOURCES
        assert bench.register(nexus("a", "port7"), 2) == GOOD

    @pytest.mark.parametrize("type", [WE, EA])
    def test_a_holder_that_unregisters_releases_silently(self, type: ReservationType) -> None:
        """SPC-4 5.13.11.3: no unit attention for a reservation that only the holder could use."""
        bench = three(type)
        bench.register(A, 0)
        assert holds(bench) == (None, None)
        assert told(bench, B) == []

    @pytest.mark.parametrize("type", [WE_RO, EA_RO])
    def test_a_registrants_only_holder_that_unregisters_releases_and_tells(self, type: ReservationType) -> None:
        """SPC-4 5.13.11.3: the other registrants relied on it."""
        bench = three(type)
        bench.register(A, 0)
        assert holds(bench) == (None, None)
        assert told(bench, B) == told(bench, C) == [sense.attention(sense.RESERVATIONS_RELEASED)]
        assert told(bench, A) == []

    @pytest.mark.parametrize("type", [WE_AR, EA_AR])
    def test_an_all_registrants_reservation_lives_as_long_as_one_registration(self, type: ReservationType) -> None:
        """SPC-4 5.13.11.3: every registrant holds it."""
        bench = three(type)
        for who in (A, B):
            bench.register(who, 0)
            assert holds(bench) == (0, type)
        bench.register(C, 0)
        assert holds(bench) == (None, None)


class TestReserving:
    """SPC-4 5.13.9."""

    def test_needs_a_registration(self) -> None:
        """An unregistered nexus cannot reserve."""
        assert Bench().out(A, R.RESERVE, 0xA) == CONFLICT

    @pytest.mark.parametrize("type", ReservationType)
    def test_again_with_the_same_type_changes_nothing_and_is_good(self, type: ReservationType) -> None:
        """A retry after a lost answer must not fail; nothing is saved either."""
        bench = three(type)
        before = len(bench.effects)
        assert bench.out(A, R.RESERVE, 0xA, type=type) == GOOD
        assert not [effect for effect in bench.effects[before:] if isinstance(effect, SaveImage)]

    def test_with_another_type_conflicts_even_for_the_holder(self) -> None:
        """A type is changed by PREEMPT only."""
        bench = three(WE_RO)
        assert bench.out(A, R.RESERVE, 0xA, type=EA_RO) == CONFLICT
        assert holds(bench) == (0xA, WE_RO)

    @pytest.mark.parametrize("type", [WE_AR, EA_AR])
    def test_every_registrant_holds_an_all_registrants_reservation(self, type: ReservationType) -> None:
        """SPC-4 5.13.10: so each may RESERVE again, and READ RESERVATION names key 0."""
        bench = three(type)
        assert bench.out(B, R.RESERVE, 0xB, type=type) == GOOD
        assert holds(bench) == (0, type)


class TestReleasing:
    """SPC-4 5.13.11.2."""

    @pytest.mark.parametrize("type", SHARED)
    def test_tells_the_other_registrants_of_a_shared_type(self, type: ReservationType) -> None:
        """RESERVATIONS RELEASED, and registrations stay."""
        bench = three(type)
        assert bench.out(A, R.RELEASE, 0xA, type=type) == GOOD
        assert holds(bench) == (None, None)
        assert keys(bench) == (0xA, 0xB, 0xC)
        assert told(bench, B) == told(bench, C) == [sense.attention(sense.RESERVATIONS_RELEASED)]
        assert told(bench, A) == []

    @pytest.mark.parametrize("type", [WE, EA])
    def test_tells_nobody_of_an_exclusive_type(self, type: ReservationType) -> None:
        """Nobody else could use it."""
        bench = three(type)
        assert bench.out(A, R.RELEASE, 0xA, type=type) == GOOD
        assert told(bench, B) == []

    def test_by_a_registrant_that_holds_nothing_is_good_and_does_nothing(self) -> None:
        """Not an error: so a release can be repeated."""
        bench = three(WE_RO)
        assert bench.out(B, R.RELEASE, 0xB, type=WE_RO) == GOOD
        assert holds(bench) == (0xA, WE_RO)

    def test_with_the_wrong_type_is_an_invalid_release(self) -> None:
        """INVALID RELEASE OF PERSISTENT RESERVATION."""
        bench = three(WE_RO)
        assert bench.out(A, R.RELEASE, 0xA, type=EA_RO) == sense.INVALID_RELEASE
        assert holds(bench) == (0xA, WE_RO)


def test_clearing_removes_everything_and_tells_every_other_registrant() -> None:
    """SPC-4 5.13.11.6: by any registrant; RESERVATIONS PREEMPTED."""
    bench = three(WE_RO)
    assert bench.out(B, R.CLEAR, 0xB) == GOOD
    assert (holds(bench), keys(bench)) == ((None, None), ())
    assert told(bench, A) == told(bench, C) == [sense.attention(sense.RESERVATIONS_PREEMPTED)]
    assert told(bench, B) == []


@pytest.mark.parametrize("action", [R.PREEMPT, R.PREEMPT_AND_ABORT], ids=lambda action: action.name)
class TestPreempting:
    """SPC-4 5.13.11.4."""

    def test_the_holders_key_takes_the_reservation_and_removes_its_registration(self, action: ReserveOut) -> None:
        """The act by which a failover fences the old owner."""
        bench = three(WE_RO)
        assert bench.out(B, action, 0xB, 0xA, WE_RO) == GOOD
        assert (holds(bench), keys(bench)) == ((0xB, WE_RO), (0xB, 0xC))
        assert bench.ask(A, Write(0, bytes(BLOCK_BYTES))) == CONFLICT
        assert told(bench, A) == [sense.attention(sense.REGISTRATIONS_PREEMPTED)]
        assert told(bench, C) == []

    def test_the_holders_key_with_another_type_tells_who_stays(self, action: ReserveOut) -> None:
        """RESERVATIONS RELEASED to registrants whose reservation changed its type."""
        bench = three(WE_RO)
        assert bench.out(B, action, 0xB, 0xA, EA_RO) == GOOD
        assert told(bench, C) == [sense.attention(sense.RESERVATIONS_RELEASED)]

    def test_a_key_that_is_gone_conflicts_so_that_preempt_is_a_compare_and_swap(self, action: ReserveOut) -> None:
        """Two challengers that name the same holder: exactly one wins."""
        bench = three(WE_RO)
        assert bench.out(B, action, 0xB, 0xA, WE_RO) == GOOD
        assert bench.out(C, action, 0xC, 0xA, WE_RO) == CONFLICT
        assert holds(bench) == (0xB, WE_RO)

    def test_another_registrants_key_removes_only_its_registration(self, action: ReserveOut) -> None:
        """SPC-4 5.13.11.4.4: the reservation and its type stay."""
        bench = three(WE_RO)
        assert bench.out(B, action, 0xB, 0xC, EA) == GOOD
        assert (holds(bench), keys(bench)) == ((0xA, WE_RO), (0xA, 0xB))
        assert told(bench, C) == [sense.attention(sense.REGISTRATIONS_PREEMPTED)]
        assert told(bench, A) == []

    def test_without_a_reservation_removes_registrations(self, action: ReserveOut) -> None:
        """And makes none."""
        bench = three()
        assert bench.out(B, action, 0xB, 0xC) == GOOD
        assert (holds(bench), keys(bench)) == ((None, None), (0xA, 0xB))

    def test_every_path_that_shares_the_victims_key_loses_its_registration(self, action: ReserveOut) -> None:
        """All paths of a node register one key."""
        bench = three(WE_RO)
        other = nexus("a", "B")
        told(bench, other)
        bench.register(other, 0xA)
        assert bench.out(B, action, 0xB, 0xA) == GOOD
        assert keys(bench) == (0xB, 0xC)
        assert told(bench, other) == [sense.attention(sense.REGISTRATIONS_PREEMPTED)]

    def test_the_holder_may_preempt_itself_to_change_the_type(self, action: ReserveOut) -> None:
        """SPC-4 5.13.11.4.3: it keeps its registration, and other paths with its key lose theirs."""
        bench = three(WE_RO)
        other = nexus("a", "B")
        told(bench, other)
        bench.register(other, 0xA)
        assert bench.out(A, action, 0xA, 0xA, EA) == GOOD
        assert (holds(bench), keys(bench)) == ((0xA, EA), (0xA, 0xB, 0xC))
        assert told(bench, other) == [sense.attention(sense.REGISTRATIONS_PREEMPTED)]
        assert told(bench, B) == [sense.attention(sense.RESERVATIONS_RELEASED)]

    def test_ones_own_key_that_holds_nothing_unregisters_oneself(self, action: ReserveOut) -> None:
        """SPC-4 5.13.11.4.4 makes no exception for the sender; nobody is told."""
        bench = three(WE_RO)
        assert bench.out(B, action, 0xB, 0xB) == GOOD
        assert keys(bench) == (0xA, 0xC)
        assert told(bench, B) == []

    @pytest.mark.parametrize("type", [WE_AR, EA_AR])
    def test_key_zero_takes_an_all_registrants_reservation_from_everyone(
        self, action: ReserveOut, type: ReservationType
    ) -> None:
        """SPC-4 5.13.11.4.3: all other registrations go."""
        bench = three(type)
        assert bench.out(B, action, 0xB, 0, WE_RO) == GOOD
        assert (holds(bench), keys(bench)) == ((0xB, WE_RO), (0xB,))
        assert told(bench, A) == told(bench, C) == [sense.attention(sense.REGISTRATIONS_PREEMPTED)]

    @pytest.mark.parametrize("type", [WE_AR, EA_AR])
    def test_a_key_removes_registrations_from_under_an_all_registrants_reservation(
        self, action: ReserveOut, type: ReservationType
    ) -> None:
        """The reservation goes with its last registration."""
        bench = three(type)
        bench.register(B, 0xC)
        assert bench.out(A, action, 0xA, 0xC) == GOOD
        assert (holds(bench), keys(bench)) == ((0, type), (0xA,))
        assert bench.out(A, action, 0xA, 0xA) == GOOD
        assert (holds(bench), keys(bench)) == ((None, None), ())

    @pytest.mark.parametrize("type", [None, WE, EA, WE_RO, EA_RO])
    def test_key_zero_is_an_invalid_parameter_for_every_other_type(
        self, action: ReserveOut, type: ReservationType | None
    ) -> None:
        """INVALID FIELD IN PARAMETER LIST."""
        assert three(type).out(A, action, 0xA, 0) == sense.INVALID_PARAMETER


class TestMoving:
    """REGISTER AND MOVE, SPC-4 5.13.8."""

    def move(self, bench: Bench, to: Nexus | None, key: int = 0xA, new: int = 0xD, unregister: bool = False) -> Result:
        return bench.ask(A, PersistentReserveOut(R.REGISTER_AND_MOVE, key, new, EA, to, unregister))

    def test_hands_the_reservation_to_an_unregistered_nexus_with_its_type(self) -> None:
        """The destination is registered with the service key and becomes the holder."""
        bench = three(WE_RO)
        assert self.move(bench, D) == GOOD
        assert (holds(bench), keys(bench)) == ((0xD, WE_RO), (0xA, 0xB, 0xC, 0xD))

    def test_may_unregister_the_mover_and_change_the_key_of_a_registered_destination(self) -> None:
        """UNREG bit; registering a registered nexus is no error."""
        bench = three(WE_RO)
        assert self.move(bench, B, unregister=True) == GOOD
        assert (holds(bench), keys(bench)) == ((0xD, WE_RO), (0xD, 0xC))
        assert told(bench, B) == told(bench, C) == []

    def test_needs_a_reservation_of_a_type_that_one_nexus_holds(self) -> None:
        """None at all: INVALID FIELD IN CDB; all registrants: RESERVATION CONFLICT."""
        assert self.move(three(), D) == sense.INVALID_FIELD
        assert self.move(three(WE_AR), D) == CONFLICT

    def test_needs_a_destination_that_is_another_nexus_and_sees_the_unit(self) -> None:
        """INVALID FIELD IN PARAMETER LIST."""
        for to, new in ((None, 0xD), (A, 0xD), (nexus("masked"), 0xD), (D, 0)):
            assert self.move(three(WE_RO), to, new=new) == sense.INVALID_PARAMETER


class TestReading:
    """PERSISTENT RESERVE IN, SPC-4 6.15."""

    def test_full_status_shows_every_registration_and_who_holds(self) -> None:
        """Sorted by nexus; the type stands with the holders."""
        bench = three(WE_RO)
        assert read(bench, ReserveIn.READ_FULL_STATUS) == FullStatus(
            3,
            (
                Registration(A, 0xA, True, WE_RO),
                Registration(B, 0xB, False, None),
                Registration(C, 0xC, False, None),
            ),
        )

    def test_capabilities_name_persistence_and_all_six_types(self) -> None:
        """APTPL is always active."""
        found = read(Bench(), ReserveIn.REPORT_CAPABILITIES)
        assert (found.aptpl_capable, found.aptpl_active) == (True, True)  # type: ignore[union-attr]
        assert found.types == tuple(ReservationType)  # type: ignore[union-attr]

    def test_the_generation_counts_registrations_and_preemptions_but_no_reservations(self) -> None:
        """SPC-4 6.15.2: not RESERVE, RELEASE, anything refused, or PERSISTENT RESERVE IN."""
        bench = three(WE_RO)
        assert generation(bench) == 3
        steps = [
            (PersistentReserveOut(R.RELEASE, 0xA), 3),
            (PersistentReserveOut(R.RESERVE, 0xA), 3),
            (PersistentReserveOut(R.REGISTER, 0xF, 0x1), 3),
            (PersistentReserveOut(R.PREEMPT, 0xA, 0xFF), 3),
            (PersistentReserveOut(R.PREEMPT, 0xA, 0xC), 4),
            (PersistentReserveOut(R.REGISTER_AND_MOVE, 0xA, 0x2, move_to=B), 5),
            (PersistentReserveOut(R.CLEAR, 0xA), 6),
        ]
        for command, count in steps:
            bench.ask(A, command)
            assert generation(bench) == count, command


@pytest.mark.parametrize("type", [None, *ReservationType])
def test_reservations_survive_a_power_loss_whole(type: ReservationType | None) -> None:
    """APTPL: registrations, reservation, type and PRgeneration are as before, and still enforced."""
    bench = three(type)
    before = (read(bench, ReserveIn.READ_FULL_STATUS), holds(bench))
    bench.power_cycle()
    assert bench.ask(D, UnitReady()) == sense.attention(sense.POWER_ON_OCCURRED)
    assert (read(bench, ReserveIn.READ_FULL_STATUS), holds(bench)) == before
    if type is not None:
        assert bench.ask(D, Write(0, bytes(BLOCK_BYTES))) == CONFLICT


def test_a_changed_reservation_is_saved_before_anyone_hears_of_it() -> None:
    """Cores and shells: Save is a barrier, so it stands first among the effects."""
    bench = Bench()
    session = bench.login(A)
    bench.ask(A, UnitReady())
    effects = bench.send(session, PersistentReserveOut(R.REGISTER, 0, 0xA))
    assert [type(effect).__name__ for effect in effects] == ["SaveImage", "JournalEntry", "Respond"]
    assert effects[0].image.registrations == ((A, 0xA),)  # type: ignore[union-attr]
    assert effects[0].lun == LUN  # type: ignore[union-attr]
