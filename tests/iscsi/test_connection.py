"""Commands over iSCSI: their data, their order, what is wrong with them; one array behind all transports."""

from __future__ import annotations

import struct

import pytest

from hvcluster.model.scsi import PersistentReserveOut, ReservationType, ReserveOut, Status
from hvcluster.model.scsi import Write as WriteCommand
from hvcluster.san.iscsi.pdu import Opcode, crc
from hvcluster.san.scsi.operations import ALL
from tests.core.array_driver import LUN, A, nexus
from tests.iscsi.initiator import Host, Wire, padded, read10, residual_of, sense_of, status_of, write10

READY = bytes(6)
BLOCK = bytes(range(256)) * 2


def ready(*pairs: tuple[str, str], host: Host | None = None, isid: bytes = b"\x80\0\0\0\0\1") -> Wire:
    """Logged in, and POWER ON has been told."""
    wire = Wire(host or Host())
    wire.login(*pairs, isid=isid)
    wire.command(READY)
    return wire


def test_power_on_is_told_first_and_once() -> None:
    """SAM-4: a nexus hears of the array's start before anything else."""
    wire = Wire()
    wire.login()
    (first,) = wire.command(READY)
    assert (status_of(first), sense_of(first)) == (2, (6, 0x29, 0))
    (second,) = wire.command(READY)
    assert status_of(second) == 0


def test_what_is_written_is_read_back() -> None:
    """Immediate data out; data and status in one PDU in."""
    wire = ready()
    (written,) = wire.command(write10(3, 2), data=BLOCK * 2)
    assert (written.opcode, status_of(written)) == (Opcode.SCSI_RESPONSE, 0)
    (found,) = wire.command(read10(3, 2), expected=1024)
    assert (found.opcode, status_of(found), bytes(found.data)) == (Opcode.DATA_IN, 0, BLOCK * 2)
    assert found.header[1] == 0x81


def test_long_data_come_in_segments() -> None:
    """MaxRecvDataSegmentLength of the initiator: no segment is longer, offsets follow, the last one has the status."""
    wire = ready(("MaxRecvDataSegmentLength", "512"))
    parts = wire.command(read10(0, 3), expected=1536)
    assert [len(part.data) for part in parts] == [512, 512, 512]
    assert [struct.unpack_from(">II", part.header, 36) for part in parts] == [(0, 0), (1, 512), (2, 1024)]
    assert [part.header[1] & 1 for part in parts] == [0, 0, 1]


def test_data_are_asked_for() -> None:
    """R2T: as much as MaxBurstLength allows, again and again, until all is there."""
    wire = ready(("MaxBurstLength", "512"), ("ImmediateData", "No"))
    (asked,) = wire.command(write10(0, 2), expected=1024, flags=0xA0)
    assert asked.opcode == Opcode.R2T
    ttt, offset, size = (struct.unpack_from(">I", asked.header, at)[0] for at in (20, 40, 44))
    assert (offset, size) == (0, 512)
    (again,) = wire.data_out(BLOCK, 0, 0, ttt)
    assert struct.unpack_from(">II", again.header, 40) == (512, 512)
    (done,) = wire.data_out(BLOCK[::-1], 512, 0, struct.unpack_from(">I", again.header, 20)[0])
    assert (done.opcode, status_of(done)) == (Opcode.SCSI_RESPONSE, 0)
    (found,) = wire.command(read10(0, 2), expected=1024)
    assert bytes(found.data) == BLOCK + BLOCK[::-1]


def test_unsolicited_data_follow_a_command() -> None:
    """InitialR2T=No: the first burst comes by itself."""
    wire = ready(("InitialR2T", "No"))
    assert wire.command(write10(0, 2), expected=1024, flags=0x20, data=BLOCK) == []
    (done,) = wire.data_out(BLOCK, 512, 0)
    assert status_of(done) == 0


@pytest.mark.parametrize(("sequence", "offset"), [(1, 0), (0, 512), (27, 0)])
def test_data_out_of_order_fail_their_command_alone(sequence: int, offset: int) -> None:
    """Error recovery level 0: nothing of it is written, and the session goes on."""
    wire = ready(("ImmediateData", "No"))
    (asked,) = wire.command(write10(0, 1), expected=512, flags=0xA0)
    (failed,) = wire.data_out(BLOCK, offset, sequence, struct.unpack_from(">I", asked.header, 20)[0])
    assert (status_of(failed), sense_of(failed)[0]) == (2, 0xB)
    (found,) = wire.command(read10(0, 1), expected=512)
    assert bytes(found.data) == bytes(512)


def test_data_that_do_not_match_their_digest_are_not_written() -> None:
    """CRC32C: Reject, then CHECK CONDITION; nothing of it reaches the medium."""
    wire = ready(("DataDigest", "CRC32C"))
    wire.tag += 1
    header = struct.pack(
        ">BB2xI8sIIII16s", 0x01, 0xA0, 512, bytes((0, LUN)) + bytes(6), wire.tag, 512, wire.cmd_sn, 0,
        write10(0, 1).ljust(16, b"\0"),
    )  # fmt: skip
    wire.cmd_sn += 1
    reject, failed = wire.send(header + BLOCK + bytes(value ^ 1 for value in crc(BLOCK)))
    assert (reject.opcode, reject.header[2]) == (Opcode.REJECT, 0x02)
    assert sense_of(failed) == (0xB, 0x47, 0x05)
    (found,) = wire.command(read10(0, 1), expected=512)
    assert bytes(found.data) == bytes(512)


@pytest.mark.parametrize("ahead", [-1, 1, 500])
def test_a_command_out_of_its_order_is_ignored(ahead: int) -> None:
    """CmdSN: what is not due is not executed and not answered; what is due goes on."""
    wire = ready()
    assert wire.command(write10(0, 1), data=BLOCK, sn=wire.cmd_sn + ahead) == []
    (found,) = wire.command(read10(0, 1), expected=512)
    assert bytes(found.data) == bytes(512)


@pytest.mark.parametrize(
    ("cdb", "expected", "data", "residual"),
    [
        (read10(0, 1), 1000, b"", ("under", 488)),
        (read10(0, 1), 100, b"", ("over", 412)),
        (read10(0, 1), 512, b"", ("", 0)),
        (write10(0, 1), 1024, BLOCK * 2, ("under", 512)),
        (write10(0, 2), 512, BLOCK, ("over", 512)),
    ],
)
def test_lengths_that_differ_are_told(cdb: bytes, expected: int, data: bytes, residual: tuple[str, int]) -> None:
    """Residual counts: more was expected than there is, or less."""
    wire = ready()
    *_, last = wire.command(cdb, expected=expected, data=data)
    assert status_of(last) == 0
    assert residual_of(last) == residual


def test_a_logout_in_the_middle_of_a_write_leaves_nothing_of_it() -> None:
    """Bad input: the write never happened, the logout is answered, the connection ends."""
    wire = ready(("ImmediateData", "No"))
    wire.command(write10(0, 1), expected=512, flags=0xA0)
    (bye,) = wire.send(struct.pack(">BB14xIIII16x", 0x06, 0x80, 77, 0, wire.cmd_sn, 0))
    assert (bye.opcode, bye.header[2]) == (Opcode.LOGOUT_RESPONSE, 0)
    assert wire.connection.closing == "logged out"
    assert bytes(wire.host.bench.media[LUN][:512]) == bytes(512)


@pytest.mark.parametrize(
    ("lun", "cdb", "sense"),
    [
        (9, read10(0, 1), (5, 0x25, 0)),
        (LUN, read10(64, 1), (5, 0x21, 0)),
        (LUN, bytes((0xC0,)), (5, 0x20, 0)),
        (LUN, bytes((0x28, 0x20, 0, 0, 0, 0, 0, 0, 1, 0)), (5, 0x24, 0)),
        (LUN, struct.pack(">BBIIxx", 0xA8, 0, 0, 1 << 20), (5, 0x24, 0)),
    ],
)
def test_a_command_that_makes_no_sense_has_the_sense_of_the_standard(
    lun: int, cdb: bytes, sense: tuple[int, int, int]
) -> None:
    """Bad input: no such LUN, beyond the end, no such command, reserved bits, too long; and the session goes on."""
    wire = ready()
    *_, last = wire.command(cdb, expected=512, lun=lun)
    assert (status_of(last), sense_of(last)) == (2, sense)
    assert status_of(wire.command(READY)[0]) == 0


def test_a_ping_comes_back() -> None:
    """NOP-Out with a tag is answered with its data; one without is an answer itself."""
    wire = ready()
    header = struct.pack(">BB2xI8xIIII16x", 0x40, 0x80, 4, 9, 0xFFFF_FFFF, wire.cmd_sn, 0)
    (pong,) = wire.send(header + b"ping")
    assert (pong.opcode, bytes(pong.data)) == (Opcode.NOP_IN, b"ping")
    silent = struct.pack(">BB2xI8xIIII16x", 0x40, 0x80, 0, 0xFFFF_FFFF, 1, wire.cmd_sn, 0)
    assert wire.send(silent) == []


def test_an_unknown_opcode_is_rejected() -> None:
    """Bad input: the PDU comes back, and the session goes on."""
    wire = ready()
    raw = bytes((0x50,)) + bytes(23) + wire.cmd_sn.to_bytes(4, "big") + bytes(20)
    (reject,) = wire.send(raw)
    assert (reject.opcode, bytes(reject.data)) == (Opcode.REJECT, raw)
    assert status_of(wire.command(READY)[0]) == 0


def task_management(wire: Wire, function: int, referenced: int = 0xFFFF_FFFF) -> int:
    header = struct.pack(
        ">BB6x8sIIII16x", 0x42, 0x80 | function, bytes((0, LUN)) + bytes(6), 99, referenced, wire.cmd_sn, 0
    )
    (answer,) = wire.send(header)
    assert answer.opcode == Opcode.TASK_MANAGEMENT_RESPONSE
    return answer.header[2]


def test_a_task_is_aborted() -> None:
    """ABORT TASK: a write whose data are missing is forgotten; one that is done does not exist."""
    wire = ready(("ImmediateData", "No"))
    (asked,) = wire.command(write10(0, 1), expected=512, flags=0xA0)
    assert task_management(wire, 1, wire.tag) == 0
    assert task_management(wire, 1, wire.tag) == 1
    assert wire.data_out(BLOCK, 0, 0, struct.unpack_from(">I", asked.header, 20)[0]) == []
    assert bytes(wire.host.bench.media[LUN][:512]) == bytes(512)


def test_a_reset_is_told_to_everybody() -> None:
    """LOGICAL UNIT RESET: a unit attention for each nexus; persistent reservations stay."""
    host = Host()
    one, two = ready(host=host), ready(host=host, isid=b"\x80\0\0\0\0\2")
    assert task_management(one, 5) == 0
    assert [sense_of(wire.command(READY)[0]) for wire in (one, two)] == [(6, 0x29, 3)] * 2


def test_a_newer_login_takes_the_place_of_an_older_one() -> None:
    """Session reinstatement: the same initiator and ISID; another ISID is another session."""
    host = Host()
    old = ready(host=host)
    other = ready(host=host, isid=b"\x80\0\0\0\0\2")
    new = Wire(host)
    new.login()
    assert sense_of(new.command(READY)[0]) == (6, 0x29, 7)
    assert old.connection.session is not None
    assert old.connection.session not in host.sessions.values()
    assert status_of(other.command(READY)[0]) == 0


def test_a_reservation_of_one_transport_holds_on_the_other() -> None:
    """One core: a nexus of the array's own protocol reserves, and a write over iSCSI meets RESERVATION CONFLICT."""
    host = Host()
    wire = ready(host=host)
    host.bench.ask(A, WriteCommand(0, BLOCK))  # hears of POWER ON
    host.bench.ask(A, PersistentReserveOut(ReserveOut.REGISTER, 0, 7))
    taken = PersistentReserveOut(ReserveOut.RESERVE, 7, 0, ReservationType.WRITE_EXCLUSIVE)
    assert host.bench.ask(A, taken).status is Status.GOOD
    assert status_of(wire.command(write10(0, 1), data=BLOCK)[0]) == 0x18
    assert status_of(wire.command(read10(0, 1), expected=512)[-1]) == 0


def test_a_reservation_over_iscsi_holds_for_all() -> None:
    """The parameter lists of PERSISTENT RESERVE OUT; READ FULL STATUS names the initiator port with its ISID."""
    host = Host()
    wire = ready(host=host)

    def out(action: int, kind: int, key: int, new: int) -> int:
        cdb = struct.pack(">BBB2xIx", 0x5F, action, kind, 24)
        return status_of(wire.command(cdb, data=struct.pack(">QQ8x", key, new))[0])

    assert out(0, 0, 0, 0xABC) == 0
    assert out(1, 5, 0xABC, 0) == 0
    assert out(1, 0x15, 0xABC, 0) == 2  # a scope that does not exist
    host.bench.ask(nexus("a"), WriteCommand(0, BLOCK))
    assert host.bench.ask(nexus("a"), WriteCommand(0, BLOCK)).status is Status.RESERVATION_CONFLICT
    (full,) = wire.command(bytes((0x5E, 3)) + bytes(5) + b"\1\0\0", expected=256)
    data = bytes(full.data)
    assert struct.unpack_from(">II", data) == (1, len(data) - 8)
    assert data[8:16] == (0xABC).to_bytes(8, "big")
    assert data[20:22] == b"\1\5"
    assert b"iqn.2026-01.lab:initiator,i,0x800000000001\0" in data


def test_the_table_describes_itself() -> None:
    """REPORT SUPPORTED OPERATION CODES lists every operation; each can be asked for, with the bits it allows."""
    wire = ready()
    (reply,) = wire.command(bytes((0xA3, 0x0C)) + bytes(4) + b"\0\0\xff\xff\0\0", expected=65535)
    data = bytes(reply.data)
    assert struct.unpack_from(">I", data)[0] == 8 * len(ALL) == len(data) - 4
    for each in ALL:
        options = 1 if each.action is None else 2
        cdb = struct.pack(">BBBBHIxx", 0xA3, 0x0C, options, each.opcode, each.action or 0, 64)
        one = bytes(wire.command(cdb, expected=64)[0].data)
        assert one[4 : 4 + len(each.usage)] == each.usage, each.name


@pytest.mark.parametrize("each", ALL, ids=lambda each: each.name)
def test_reserved_bits_are_refused(each: object) -> None:
    """Every operation: a bit that must be zero is INVALID FIELD IN CDB."""
    wire = ready()
    usage, action = each.usage, each.action  # type: ignore[attr-defined]
    cdb = bytearray(len(usage))
    cdb[0] = usage[0]
    if action is not None:
        cdb[1] = action
    at = next(index for index in range(len(usage) - 1, 0, -1) if usage[index] != 0xFF)
    cdb[at] |= ~usage[at] & 0xFF & -(~usage[at] & 0xFF)
    (failed,) = wire.command(bytes(cdb))
    assert sense_of(failed) == (5, 0x24, 0)


def test_padded_is_what_the_wire_has() -> None:
    """The helper of these tests: data segments end at a multiple of four."""
    assert [len(padded(bytes(size))) for size in range(6)] == [0, 4, 4, 4, 4, 8]
