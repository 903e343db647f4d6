"""Which CDB conflicts with which reservation, for whom: every row of the operation table, as the standards print it.

Written out a second time, from SPC-4 tables 65 and 66 and SBC-3 table 13; no word of it comes from the product's own.
"""

from __future__ import annotations

from functools import partial

import pytest

from hvcluster.model.scsi import DeviceCommand, Nexus, ReservationType, ReserveOut, Result, Status
from hvcluster.model.vocabulary import LunId
from hvcluster.san.core.effects import Respond
from hvcluster.san.core.events import CommandReceived
from hvcluster.san.scsi.face import Face
from hvcluster.san.scsi.operations import ALL
from tests.core.array_driver import LUN, A, B, Bench, C

WE, EA, WE_RO, EA_RO, WE_AR, EA_AR = ReservationType
HOLDER, REGISTERED, STRANGER = A, B, C
KEYS = {HOLDER: 0xA, REGISTERED: 0xB, STRANGER: 0}
BLOCK = bytes(512)
GOOD, CHECK_CONDITION, CONFLICT = 0x00, 0x02, 0x18

FREE, READS, WRITES = ".....", ".x..x", "xx.xx"
"""Columns: a registered nexus that does not hold it, under write exclusive, exclusive access, and any other type; an
unregistered one under the three write exclusive types, and under the three exclusive access ones."""

TABLE: dict[str, str] = {
    "TEST UNIT READY": FREE,
    "REQUEST SENSE": FREE,
    "INQUIRY": FREE,
    "REPORT LUNS": FREE,
    "READ CAPACITY (10)": FREE,
    "READ CAPACITY (16)": FREE,
    "PERSISTENT RESERVE IN READ KEYS": FREE,
    "PERSISTENT RESERVE IN READ RESERVATION": FREE,
    "PERSISTENT RESERVE IN REPORT CAPABILITIES": FREE,
    "PERSISTENT RESERVE IN READ FULL STATUS": FREE,
    "MODE SENSE (6)": READS,
    "MODE SENSE (10)": READS,
    "REPORT SUPPORTED OPERATION CODES": READS,
    "READ DEFECT DATA (10)": READS,
    "READ DEFECT DATA (12)": READS,
    "READ (6)": READS,
    "READ (10)": READS,
    "READ (12)": READS,
    "READ (16)": READS,
    "VERIFY (10)": READS,
    "VERIFY (12)": READS,
    "VERIFY (16)": READS,
    "PRE-FETCH (10)": READS,
    "PRE-FETCH (16)": READS,
    "GET LBA STATUS": READS,
    "MODE SELECT (6)": WRITES,
    "MODE SELECT (10)": WRITES,
    "WRITE (6)": WRITES,
    "WRITE (10)": WRITES,
    "WRITE (12)": WRITES,
    "WRITE (16)": WRITES,
    "WRITE ATOMIC (16)": WRITES,
    "WRITE AND VERIFY (10)": WRITES,
    "WRITE AND VERIFY (12)": WRITES,
    "WRITE AND VERIFY (16)": WRITES,
    "WRITE SAME (10)": WRITES,
    "WRITE SAME (16)": WRITES,
    "UNMAP": WRITES,
    "ORWRITE": WRITES,
    "COMPARE AND WRITE": WRITES,
    "SYNCHRONIZE CACHE (10)": WRITES,
    "SYNCHRONIZE CACHE (16)": WRITES,
}
BY_A_FIELD: dict[str, dict[int, str]] = {
    "START STOP UNIT": {0x01: FREE, 0x00: WRITES},
    "PREVENT ALLOW MEDIUM REMOVAL": {0x00: FREE, 0x01: WRITES},
}
"""Byte 4 decides."""
RESERVE_OUT: dict[str, str] = {
    "REGISTER": "..",
    "REGISTER AND IGNORE EXISTING KEY": "..",
    "RELEASE": ".x",
    "CLEAR": ".x",
    "PREEMPT": ".x",
    "PREEMPT AND ABORT": ".x",
    "RESERVE": "xx",
    "REGISTER AND MOVE": "xx",
}
"""From a registered nexus that holds nothing, and from an unregistered one, under the types that one nexus holds."""
OF_SPC_2 = {"RESERVE (6)", "RELEASE (6)"}
"""Their rules are those of compatible reservation handling (SPC-4 5.13.3)."""

OPERATIONS = {each.name: each for each in ALL}


def _cdb(name: str) -> bytearray:
    """A CDB of that name that asks for one block, or for as little as it can."""
    operation = OPERATIONS[name]
    cdb = bytearray(len(operation.usage))
    cdb[0] = operation.opcode
    if operation.action is not None:
        cdb[1] = operation.action
    if name.startswith("MODE SENSE"):
        cdb[2] = 0x3F
    for at, size in _LENGTHS.get(name, ()):
        cdb[at : at + size] = (_AMOUNT.get(name, 1)).to_bytes(size, "big")
    return cdb


_SIX, _TEN, _TWELVE, _SIXTEEN = ((4, 1),), ((7, 2),), ((6, 4),), ((10, 4),)
_LENGTHS: dict[str, tuple[tuple[int, int], ...]] = {
    **dict.fromkeys(("READ (6)", "WRITE (6)", "MODE SENSE (6)", "MODE SELECT (6)"), _SIX),
    **{name: _TEN for name in OPERATIONS if name.endswith("(10)") and "CAPACITY" not in name},
    **{name: _TWELVE for name in OPERATIONS if name.endswith("(12)")},
    **{name: _SIXTEEN for name in OPERATIONS if name.endswith("(16)") and "CAPACITY" not in name},
    "WRITE ATOMIC (16)": ((12, 2),),
    "ORWRITE": _SIXTEEN,
    "COMPARE AND WRITE": ((13, 1),),
    "UNMAP": _TEN,
    "GET LBA STATUS": _SIXTEEN,
    "INQUIRY": ((3, 2),),
    "REPORT LUNS": _TWELVE,
    "REPORT SUPPORTED OPERATION CODES": _TWELVE,
    "REQUEST SENSE": _SIX,
    "READ CAPACITY (16)": _SIXTEEN,
    **{name: _TEN for name in OPERATIONS if name.startswith("PERSISTENT RESERVE IN")},
}
_AMOUNT = {
    **dict.fromkeys(("MODE SELECT (6)", "MODE SELECT (10)", "UNMAP"), 0),
    **{name: 64 for name in OPERATIONS if name.startswith(("PERSISTENT RESERVE IN", "READ CAPACITY", "REPORT", "INQ"))},
    **dict.fromkeys(("MODE SENSE (6)", "MODE SENSE (10)", "GET LBA STATUS", "REQUEST SENSE"), 64),
}


def _data(name: str) -> bytes:
    if name == "COMPARE AND WRITE":
        return BLOCK * 2
    return BLOCK if name.startswith(("WRITE", "ORWRITE")) else b""


def _ask(bench: Bench, who: Nexus, cdb: bytes, data: bytes = b"") -> int:
    """The status of a CDB, on its way through the face of the array."""
    session = bench.login(who)

    def perform(lun: LunId, command: DeviceCommand) -> Result:
        effects = bench.feed(CommandReceived(session, 0, lun, command))
        return next(effect.result for effect in effects if isinstance(effect, Respond))

    face = Face(perform, "iqn.2026-01.lab.hvcluster:array", 1, lambda _lun: True)
    while True:
        answer = face.run(LUN, cdb, data)
        if answer.status != CHECK_CONDITION or not _attention(answer.sense):
            return answer.status


def _attention(sense: bytes) -> bool:
    return bool(sense) and sense[1 if sense[0] & 0x7F >= 0x72 else 2] & 0x0F == 0x06


def _reserved(type: ReservationType) -> Bench:
    bench = Bench()
    bench.register(HOLDER, KEYS[HOLDER])
    bench.register(REGISTERED, KEYS[REGISTERED])
    assert bench.out(HOLDER, ReserveOut.RESERVE, KEYS[HOLDER], type=type).status is Status.GOOD
    return bench


def _column(type: ReservationType, who: Nexus) -> int:
    if who is STRANGER:
        return 3 if type in (WE, WE_RO, WE_AR) else 4
    return {WE: 0, EA: 1}.get(type, 2)


def test_every_operation_has_a_row_here() -> None:
    """A command that is added has to be looked up in the standard, and not in the product."""
    out = {f"PERSISTENT RESERVE OUT {action}" for action in RESERVE_OUT}
    assert set(OPERATIONS) == {*TABLE, *BY_A_FIELD, *out, *OF_SPC_2}


CASES = [(name, -1, row) for name, row in TABLE.items()]
CASES += [(name, field, row) for name, rows in BY_A_FIELD.items() for field, row in rows.items()]


@pytest.mark.parametrize("type", ReservationType, ids=lambda type: type.name)
@pytest.mark.parametrize(("name", "field", "row"), CASES, ids=[f"{name} {field}" for name, field, _ in CASES])
def test_a_cdb_conflicts_exactly_where_the_standards_say(
    name: str, field: int, row: str, type: ReservationType
) -> None:
    """Every operation, every type of reservation, and every kind of nexus; what is allowed is carried out."""
    cdb = _cdb(name)
    if field >= 0:
        cdb[4] = field
    for who in (HOLDER, REGISTERED, STRANGER):
        status = _ask(_reserved(type), who, bytes(cdb), _data(name))
        conflicts = who is not HOLDER and row[_column(type, who)] == "x"
        assert status == (CONFLICT if conflicts else GOOD), who


@pytest.mark.parametrize("type", [WE, EA, WE_RO, EA_RO], ids=lambda type: type.name)
@pytest.mark.parametrize(("action", "row"), RESERVE_OUT.items())
def test_reserve_out_conflicts_exactly_where_the_standard_says(action: str, row: str, type: ReservationType) -> None:
    """SPC-4 table 66; the key is the nexus's own."""
    operation = OPERATIONS[f"PERSISTENT RESERVE OUT {action}"]
    ask = partial(_out, operation.opcode, operation.action or 0, type)
    for who, mark in ((REGISTERED, row[0]), (STRANGER, row[1])):
        cdb, data = ask(KEYS[who], moves=action == "REGISTER AND MOVE")
        status = _ask(_reserved(type), who, cdb, data)
        assert (status == CONFLICT) == (mark == "x"), who


def _out(opcode: int, action: int, type: ReservationType, key: int, *, moves: bool) -> tuple[bytes, bytes]:
    name = b"iqn.2026-01.lab:c,i,0x000000000001\0\0"
    transport = b"\x45\0" + len(name).to_bytes(2, "big") + name
    data = key.to_bytes(8, "big") + KEYS[HOLDER].to_bytes(8, "big")
    data += (b"\0\0\0\x01" + len(transport).to_bytes(4, "big") + transport) if moves else bytes(8)
    cdb = bytearray(10)
    cdb[0], cdb[1], cdb[2] = opcode, action, type.value
    cdb[5:9] = len(data).to_bytes(4, "big")
    return bytes(cdb), data
