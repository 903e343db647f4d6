"""Who may do what under which reservation: the whole table, written out a second time as the standards print it."""

from __future__ import annotations

import pytest

from hvcluster.model.scsi import (
    CONFLICT,
    Command,
    CompareAndWrite,
    Nexus,
    PersistentReserveIn,
    PersistentReserveOut,
    Read,
    ReadCapacity,
    ReservationType,
    ReserveIn,
    ReserveOut,
    SynchronizeCache,
    Write,
)
from hvcluster.model.scsi import TestUnitReady as UnitReady
from hvcluster.model.vocabulary import BLOCK_BYTES
from tests.core.array_driver import A, B, Bench, C

BLOCK = bytes(BLOCK_BYTES)
WE, EA, WE_RO, EA_RO, WE_AR, EA_AR = ReservationType
HOLDER, REGISTERED, STRANGER = A, B, C

#: SPC-4 table 65 and SBC-3 table 13, by column: a registered nexus that is not the holder under write exclusive,
#: under exclusive access, under any registrants or all-registrants type; then an unregistered nexus under the three
#: write exclusive types, and under the three exclusive access types. "." is allowed, "x" is a conflict.
MEDIUM: list[tuple[Command, str]] = [
    (UnitReady(), "....."),
    (ReadCapacity(), "....."),
    (PersistentReserveIn(ReserveIn.READ_KEYS), "....."),
    (PersistentReserveIn(ReserveIn.READ_FULL_STATUS), "....."),
    (Read(0, 1), ".x..x"),
    (Write(0, BLOCK), "xx.xx"),
    (CompareAndWrite(0, BLOCK, BLOCK), "xx.xx"),
    (SynchronizeCache(), "xx.xx"),
]


def _column(type: ReservationType, who: Nexus) -> int:
    if who is STRANGER:
        return 3 if type in (WE, WE_RO, WE_AR) else 4
    return {WE: 0, EA: 1}.get(type, 2)


def _reserved(type: ReservationType) -> Bench:
    bench = Bench()
    bench.register(HOLDER, 0xA)
    bench.register(REGISTERED, 0xB)
    assert bench.out(HOLDER, ReserveOut.RESERVE, 0xA, type=type).status.name == "GOOD"
    return bench


@pytest.mark.parametrize("type", ReservationType, ids=lambda type: type.name)
@pytest.mark.parametrize(("command", "row"), MEDIUM, ids=[type(command).__name__ for command, _ in MEDIUM])
def test_a_medium_command_conflicts_exactly_where_the_tables_say(
    type: ReservationType, command: Command, row: str
) -> None:
    """SPC-4 table 65, SBC-3 table 13: every command, type and kind of nexus."""
    bench = _reserved(type)
    for who in (REGISTERED, STRANGER):
        expected = row[_column(type, who)] == "x"
        assert (bench.ask(who, command) == CONFLICT) == expected, who
    assert bench.ask(HOLDER, command) != CONFLICT


#: SPC-4 table 66: PERSISTENT RESERVE OUT from a registered nexus that holds nothing, and from an unregistered one.
RESERVE_OUT = {
    ReserveOut.REGISTER: "..",
    ReserveOut.REGISTER_AND_IGNORE_EXISTING_KEY: "..",
    ReserveOut.RELEASE: ".x",
    ReserveOut.CLEAR: ".x",
    ReserveOut.PREEMPT: ".x",
    ReserveOut.PREEMPT_AND_ABORT: ".x",
    ReserveOut.RESERVE: "xx",
    ReserveOut.REGISTER_AND_MOVE: "xx",
}


@pytest.mark.parametrize("type", [WE, EA, WE_RO, EA_RO], ids=lambda type: type.name)
@pytest.mark.parametrize(("action", "row"), RESERVE_OUT.items(), ids=lambda value: getattr(value, "name", ""))
def test_reserve_out_conflicts_exactly_where_the_table_says(
    type: ReservationType, action: ReserveOut, row: str
) -> None:
    """SPC-4 table 66, for the types that one nexus holds (where all registrants do, none is "registered only")."""
    for who, key, mark in ((REGISTERED, 0xB, row[0]), (STRANGER, 0, row[1])):
        bench = _reserved(type)
        result = bench.ask(who, PersistentReserveOut(action, key, 0xA, type))
        assert (result == CONFLICT) == (mark == "x"), who


@pytest.mark.parametrize("action", ReserveOut, ids=lambda action: action.name)
def test_a_wrong_reservation_key_is_a_conflict_even_for_the_holder(action: ReserveOut) -> None:
    """SPC-4 6.16.3: the key is verified for every service action but the one that ignores it."""
    bench = _reserved(WE_RO)
    result = bench.ask(HOLDER, PersistentReserveOut(action, 0xBAD, 0xA, WE_RO))
    assert (result == CONFLICT) == (action is not ReserveOut.REGISTER_AND_IGNORE_EXISTING_KEY)


def test_nothing_conflicts_while_nothing_is_reserved() -> None:
    """SPC-4 5.13: registrations alone forbid nothing."""
    bench = Bench()
    bench.register(HOLDER, 0xA)
    for command, _ in MEDIUM:
        assert bench.ask(STRANGER, command) != CONFLICT
