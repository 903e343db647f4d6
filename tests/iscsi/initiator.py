"""An initiator of a few lines, sans I/O, in front of a real array core: PDUs by hand, so that they can be wrong too."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from hvcluster.model.scsi import DeviceCommand, Nexus, Result
from hvcluster.model.vocabulary import LunId
from hvcluster.san.core.effects import EndSession, LoginAnswer, Respond
from hvcluster.san.core.events import CommandReceived, Login, ResetUnit
from hvcluster.san.iscsi import keys
from hvcluster.san.iscsi.chap import Secrets
from hvcluster.san.iscsi.connection import Connection
from hvcluster.san.iscsi.host import LoginStatus, Opened
from hvcluster.san.iscsi.pdu import Framer, Opcode, Pdu
from hvcluster.san.scsi.face import Face
from hvcluster.san.scsi.parameter_data import MAX_TRANSFER
from hvcluster.san.scsi.reserve_out import port_of
from tests.core.array_driver import LUN, Bench

TARGET = "iqn.2026-01.lab.hvcluster:array"
NAME = "iqn.2026-01.lab:initiator"
NO_TAG = 0xFFFF_FFFF


class Session:
    """A session of the bench's array."""

    def __init__(self, host: Host, number: int, nexus: Nexus, group: int) -> None:
        self._host = host
        self.number = number
        self.tsih = number
        self.face = Face(self.perform, TARGET, group, lambda _lun: True)
        self.nexus = nexus

    def perform(self, lun: LunId, command: DeviceCommand) -> Result:
        effects = self._host.bench.feed(CommandReceived(self.number, 0, lun, command))
        return next(effect.result for effect in effects if isinstance(effect, Respond))

    def reset(self, lun: LunId | None) -> None:
        self._host.bench.feed(ResetUnit(self.number, lun))


class Host:
    """An array of one LUN, as connections know it."""

    def __init__(self, secrets: Secrets | None = None) -> None:
        self.bench = Bench(("a", NAME), reported=False)
        self.sessions: dict[int, Session] = {}
        self._secrets = secrets
        self._random = 0

    def knows(self, target: str) -> bool:
        return target == TARGET

    def secrets(self, initiator: str) -> Secrets | None:
        return self._secrets

    def addresses(self) -> list[tuple[str, list[tuple[str, int]]]]:
        return [(TARGET, [("127.0.0.1:3260", 1), ("127.0.0.1:3261", 2)])]

    def open(self, initiator: str, isid: bytes, group: int, target: str) -> Opened | LoginStatus:
        number = 100 + len(self.sessions)
        nexus = Nexus(initiator, port_of(isid, group))
        answers = self.bench.feed(Login(nexus, number, MAX_TRANSFER))
        assert LoginAnswer(number) in answers
        for effect in answers:
            if isinstance(effect, EndSession):
                self.sessions.pop(effect.session, None)
        self.sessions[number] = Session(self, number, nexus, group)
        return self.sessions[number]

    def random(self, size: int) -> bytes:
        self._random += 1
        return bytes((self._random * 7 + at) & 0xFF for at in range(size))


@dataclass
class Wire:
    """One connection and what came back on it."""

    host: Host = field(default_factory=Host)
    group: int = 1
    header_digest: bool = False
    data_digest: bool = False

    def __post_init__(self) -> None:
        self.connection = Connection(self.host, self.group)
        self.framer = Framer(1 << 24)
        self.cmd_sn = 1
        self.tag = 0

    def send(self, raw: bytes) -> list[Pdu]:
        """Bytes to the target; the PDUs that come back."""
        self.connection.receive(raw)
        out, self.connection.out = b"".join(bytes(part) for part in self.connection.out), []
        return list(self.framer.feed(out))

    def login(self, *pairs: tuple[str, str], isid: bytes = b"\x80\0\0\0\0\1", name: str = NAME) -> Pdu:
        """Straight into the full feature phase."""
        known = {"InitiatorName": name, "TargetName": TARGET, "SessionType": "Normal", **dict(pairs)}
        answer = self.send(login_request(0x87, known, isid=isid, cmd_sn=self.cmd_sn))[0]
        if not self.connection.closing:
            agreed = self.connection.login.agreed
            self.framer.header_digest, self.framer.data_digest = agreed.header_digest, agreed.data_digest
        return answer

    def command(
        self,
        cdb: bytes,
        *,
        expected: int = 0,
        data: bytes = b"",
        flags: int | None = None,
        lun: int = LUN,
        sn: int | None = None,
    ) -> list[Pdu]:
        """A SCSI command with its immediate data; by default it reads what is expected, or writes `data`."""
        self.tag += 1
        if flags is None:
            flags = 0x80 | (0x20 if data else 0x40 if expected else 0)
        number = self.cmd_sn if sn is None else sn
        if sn is None:
            self.cmd_sn += 1
        header = struct.pack(
            ">BB2xI8sIIII16s", Opcode.SCSI_COMMAND, flags, len(data), bytes((0, lun)) + bytes(6), self.tag,
            expected or len(data), number, 0, cdb.ljust(16, b"\0"),
        )  # fmt: skip
        return self.send(header + padded(data))

    def data_out(self, data: bytes, offset: int, sequence: int, ttt: int = NO_TAG, *, final: bool = True) -> list[Pdu]:
        """Data of the newest command."""
        header = struct.pack(
            ">BB2xI8xII4x4x4xII4x", Opcode.DATA_OUT, 0x80 if final else 0, len(data), self.tag, ttt, sequence, offset
        )
        return self.send(header + padded(data))


def padded(data: bytes) -> bytes:
    """Data as they stand on the wire, without a digest."""
    return data + bytes(-len(data) & 3)


def login_request(
    flags: int,
    pairs: dict[str, str],
    *,
    isid: bytes = b"\x80\0\0\0\0\1",
    cmd_sn: int = 1,
    tsih: int = 0,
    version: int = 0,
) -> bytes:
    """A login request; flags 0x87: from the operational stage to the full feature phase."""
    data = keys.written(pairs.items())
    header = struct.pack(">BBBBI6sHIHxxII16x", 0x43, flags, version, version, len(data), isid, tsih, 1, 0, cmd_sn, 0)
    return header + padded(data)


def status_of(pdu: Pdu) -> int:
    """SCSI status of a response or of the last Data-In."""
    return pdu.header[3]


def sense_of(pdu: Pdu) -> tuple[int, int, int]:
    """Sense key, ASC and ASCQ of a response."""
    data = bytes(pdu.data)
    return data[4] & 0x0F, data[14], data[15]


def residual_of(pdu: Pdu) -> tuple[str, int]:
    """Overflow or underflow with its count."""
    kind = {0x04: "over", 0x02: "under", 0: ""}[pdu.header[1] & 0x06]
    return kind, struct.unpack_from(">I", pdu.header, 44)[0]


def read10(lba: int, blocks: int) -> bytes:
    """READ (10)."""
    return struct.pack(">BBIxHx", 0x28, 0, lba, blocks)


def write10(lba: int, blocks: int) -> bytes:
    """WRITE (10)."""
    return struct.pack(">BBIxHx", 0x2A, 0, lba, blocks)
