"""One iSCSI connection in its full feature phase (RFC 7143 4.2 to 11): commands, their data, their order.

Law: sans I/O. Bytes go in by `receive`, pieces for the wire gather in `out`, and `closing` says that nothing follows.
A session has one connection, and error recovery is of level 0: what cannot be right ends it. What is kept for an
initiator is bounded by the command window and `MAX_BUFFERED`.
"""

from __future__ import annotations

import struct
from typing import Final

from hvcluster.model.scsi import Sense, SenseKey
from hvcluster.model.vocabulary import LunId
from hvcluster.san.scsi.data_out import PLAIN_WRITES, SENDS
from hvcluster.san.scsi.face import Answer, lun_of
from hvcluster.san.scsi.parameter_data import MAX_TRANSFER, fixed_sense

from . import keys
from .host import Host, Opened
from .login import Login
from .pdu import FINAL, NO_TAG, Framer, Opcode, Pdu, ProtocolError, whole

WINDOW: Final = 128
"""Commands that an initiator may send before it has an answer."""
MAX_BYTES: Final = MAX_TRANSFER * 512
MAX_BUFFERED: Final = 64 * 1024 * 1024
"""Bytes of data of a session that waits for more."""
_MASK: Final = 0xFFFF_FFFF
_COMMAND: Final = struct.Struct(">8x8sIII4x16s")
_DATA_OUT: Final = struct.Struct(">16xII4x4x4xII")
_DATA_IN: Final = struct.Struct(">BBxBI8xIIIIIIII")
_RESPONSE: Final = struct.Struct(">BBBBI8xI4xIII4x4xI")
_R2T: Final = struct.Struct(">BB2xI8sIIIIIIII")
_SHORT: Final = struct.Struct(">BBBxI8xI4xIII12x")
_CRC_ERROR: Final = Answer(0x02, fixed_sense(Sense(SenseKey.ABORTED_COMMAND, 0x47, 0x05)), b"")
_OUT_OF_ORDER: Final = Answer(0x02, fixed_sense(Sense(SenseKey.ABORTED_COMMAND, 0x4B, 0x00)), b"")  # DATA PHASE ERROR
_TOO_LONG: Final = Answer(0x02, fixed_sense(Sense(SenseKey.ILLEGAL_REQUEST, 0x24, 0x00)), b"")
_FULL: Final = Answer(0x28, b"", b"")  # TASK SET FULL


class Task:
    """A write whose data are still arriving."""

    __slots__ = ("buffer", "burst_end", "cdb", "data_sn", "expected", "field", "got", "lun", "r2t_sn", "tag", "ttt")

    def __init__(self, tag: int, field: bytes, cdb: bytes, expected: int) -> None:
        self.tag = tag
        self.field = field
        self.lun = lun_of(field)
        self.cdb = cdb
        self.expected = expected
        self.buffer = bytearray(expected)
        self.got = 0
        self.data_sn = 0
        self.r2t_sn = 0
        self.ttt = NO_TAG
        self.burst_end = 0


class Connection:
    """From the first byte to the last."""

    def __init__(self, host: Host, group: int) -> None:
        self._host = host
        self.login = Login(host, group)
        self.out: list[bytes | memoryview] = []
        self.closing = ""
        self.session: Opened | None = None
        self.answers = 0
        self._framer = Framer(keys.MAX_SEGMENT)
        self._full = False
        self._tasks: dict[int, Task] = {}
        self._buffered = 0
        self._stat_sn = 0
        self._exp_cmd_sn = 0
        self._next_ttt = 1
        self._digests = (False, False)
        self._segment = 8_192
        self._burst = 262_144
        self._first_burst = 65_536
        self._text: bytes | None = None
        self._takes = {
            Opcode.SCSI_COMMAND: self._command,
            Opcode.DATA_OUT: self._data_out,
            Opcode.NOP_OUT: self._nop_out,
            Opcode.TASK_MANAGEMENT: self._task_management,
            Opcode.TEXT: self._text_request,
            Opcode.LOGOUT: self._logout,
        }

    def receive(self, chunk: bytes) -> None:
        """Bytes arrived."""
        if self.closing:
            return
        try:
            for pdu in self._framer.feed(chunk):
                if self._full:
                    self._take(pdu)
                else:
                    self._log_in(pdu)
                if self.closing:
                    return
        except ProtocolError as error:
            self.closing = str(error)

    def drop(self, lun: LunId | None) -> None:
        """Forget the tasks on a unit, or all: a reset aborted them."""
        for task in [task for task in self._tasks.values() if lun is None or task.lun == lun]:
            self._forget(task)

    # login

    def _log_in(self, pdu: Pdu) -> None:
        self.out.append(self.login.take(pdu))
        if self.login.failed:
            self.closing = f"login refused: {self.login.failed}"
        elif self.login.done:
            agreed = self.login.agreed
            self._full = True
            self.session = self.login.session
            self._stat_sn = self.login.stat_sn
            self._exp_cmd_sn = self.login.cmd_sn
            self._digests = (agreed.header_digest, agreed.data_digest)
            self._framer.header_digest, self._framer.data_digest = self._digests
            self._segment = agreed.their_segment
            self._burst, self._first_burst = agreed.max_burst, agreed.first_burst

    # order

    def _take(self, pdu: Pdu) -> None:
        opcode = pdu.header[0] & 0x3F
        take = self._takes.get(opcode)  # type: ignore[call-overload]
        if take is None:
            self._reject(pdu, 0x05)
            return
        if opcode != Opcode.DATA_OUT and not pdu.header[0] & 0x40:
            cmd_sn = int.from_bytes(pdu.header[24:28], "big")
            if cmd_sn != self._exp_cmd_sn:
                return  # outside the window, or a gap that one connection cannot have: ignored (RFC 7143 4.2.2.1)
            self._exp_cmd_sn = (cmd_sn + 1) & _MASK
        take(pdu)

    def _numbers(self, *, advance: bool = True) -> tuple[int, int, int]:
        """StatSN, ExpCmdSN and MaxCmdSN of what is sent now."""
        stat_sn = self._stat_sn
        if advance:
            self._stat_sn = (stat_sn + 1) & _MASK
        return stat_sn, self._exp_cmd_sn, (self._exp_cmd_sn + WINDOW - 1 - len(self._tasks)) & _MASK

    def _send(self, header: bytes, data: bytes | memoryview = b"") -> None:
        if self._digests[0] or self._digests[1] or data:
            self.out += whole(header, data, header_digest=self._digests[0], data_digest=self._digests[1])
        else:
            self.out.append(header)

    def _reject(self, pdu: Pdu, reason: int) -> None:
        self._send(_SHORT.pack(Opcode.REJECT, FINAL, reason, 48, NO_TAG, *self._numbers()), pdu.header)

    # commands

    def _command(self, pdu: Pdu) -> None:
        header = pdu.header
        field, tag, expected, _, cdb = _COMMAND.unpack_from(header)
        if self.session is None or tag in self._tasks:
            self._reject(pdu, 0x04)
            return
        writes = header[1] & 0x20
        if pdu.damaged:
            self._reject(pdu, 0x02)
            self._answer(tag, _CRC_ERROR, expected, 0)
        elif not writes and cdb[0] in SENDS:
            self._run(tag, lun_of(field), cdb, b"", expected)
        elif not writes:
            self._answer(tag, self.session.face.run(lun_of(field), cdb), expected, None)
        elif len(pdu.data) >= expected:
            self._run(tag, lun_of(field), cdb, pdu.data[:expected], expected)
        else:
            self._begin(Task(tag, field, cdb, expected) if expected <= MAX_BYTES else None, pdu, tag, expected)

    def _begin(self, task: Task | None, pdu: Pdu, tag: int, expected: int) -> None:
        """More data will come: unsolicited, or as we ask for it."""
        if task is None:
            self._answer(tag, _TOO_LONG, expected, 0)
            return
        if self._buffered + expected > MAX_BUFFERED or len(self._tasks) >= WINDOW:
            self._answer(tag, _FULL, expected, 0)
            return
        self._tasks[tag] = task
        self._buffered += expected
        task.buffer[: len(pdu.data)] = pdu.data
        task.got = len(pdu.data)
        if pdu.header[1] & FINAL:
            self._ask(task)
        else:
            task.burst_end = min(expected, self._first_burst)

    def _ask(self, task: Task) -> None:
        """Ready to transfer: the next burst."""
        task.ttt = self._next_ttt
        self._next_ttt = self._next_ttt % (NO_TAG - 1) + 1
        size = min(self._burst, task.expected - task.got)
        task.burst_end = task.got + size
        task.data_sn = 0
        numbers = self._numbers(advance=False)
        self._send(
            _R2T.pack(Opcode.R2T, FINAL, 0, task.field, task.tag, task.ttt, *numbers, task.r2t_sn, task.got, size)
        )
        task.r2t_sn += 1

    def _data_out(self, pdu: Pdu) -> None:
        tag, ttt, data_sn, offset = _DATA_OUT.unpack_from(pdu.header)
        task = self._tasks.get(tag)
        if task is None:
            return  # of a task that was aborted or refused
        size = len(pdu.data)
        if pdu.damaged:
            self._forget(task)
            self._reject(pdu, 0x02)
            self._answer(tag, _CRC_ERROR, task.expected, 0)
            return
        if ttt != task.ttt or data_sn != task.data_sn or offset != task.got or offset + size > task.burst_end:
            self._forget(task)
            self._answer(tag, _OUT_OF_ORDER, task.expected, 0)
            return
        task.buffer[offset : offset + size] = pdu.data
        task.got += size
        task.data_sn += 1
        if task.got == task.expected:
            self._forget(task)
            self._run(tag, task.lun, task.cdb, memoryview(task.buffer), task.expected)
        elif pdu.header[1] & FINAL:
            self._ask(task)

    def _forget(self, task: Task) -> None:
        del self._tasks[task.tag]
        self._buffered -= task.expected

    def _run(self, tag: int, lun: LunId | None, cdb: bytes, data: bytes | memoryview, expected: int) -> None:
        """Execute a command with its data. What the CDB wants beyond the data is the residual."""
        assert self.session is not None, "checked when the command came"
        wanted = self.session.face.wants(cdb)
        usable = data[:wanted] if cdb[0] in PLAIN_WRITES else data
        self._answer(tag, self.session.face.run(lun, cdb, usable), expected, expected if wanted is None else wanted)

    def _answer(self, tag: int, answer: Answer, expected: int, wanted: int | None) -> None:
        """Data and status; `wanted`: how many bytes the command moved or would have, None: what it returns."""
        self.answers += 1
        status, sense, data = answer
        there = len(data) if wanted is None else wanted
        residual, flag = (expected - there, 0x02) if there < expected else (there - expected, 0x04)
        if there == expected:
            flag = 0
        if wanted is not None or not data or not expected:
            size = len(sense)
            segment = size.to_bytes(2, "big") + sense if size else b""
            header = _RESPONSE.pack(
                Opcode.SCSI_RESPONSE, FINAL | flag, 0, status, len(segment), tag, *self._numbers(), residual
            )
            self._send(header, segment)
            return
        if len(data) > expected:
            data = data[:expected]
        size, most = len(data), self._segment
        if size <= most:
            head = _DATA_IN.pack(
                Opcode.DATA_IN, 0x81 | flag, status, size, tag, NO_TAG, *self._numbers(), 0, 0, residual
            )
            self._send(head, data)
            return
        self._data_in(tag, status, memoryview(data), flag, residual)

    def _data_in(self, tag: int, status: int, data: memoryview, flag: int, residual: int) -> None:
        """Data longer than one PDU; the last one carries the status."""
        sequence, at, size = 0, 0, len(data)
        burst = 0
        while at < size:
            part = min(self._segment, size - at, self._burst - burst)
            burst += part
            last = at + part == size
            end = last or burst == self._burst
            flags = (FINAL if end else 0) | ((0x01 | flag) if last else 0)
            numbers = self._numbers() if last else (0, self._exp_cmd_sn, (self._exp_cmd_sn + WINDOW - 1) & _MASK)
            head = _DATA_IN.pack(
                Opcode.DATA_IN, flags, status if last else 0, part, tag, NO_TAG, *numbers, sequence, at,
                residual if last else 0,
            )  # fmt: skip
            self._send(head, data[at : at + part])
            sequence, at, burst = sequence + 1, at + part, 0 if end else burst

    # the rest

    def _nop_out(self, pdu: Pdu) -> None:
        (tag,) = struct.unpack_from(">I", pdu.header, 16)
        if tag == NO_TAG:
            return
        data = bytes(pdu.data[: self._segment])
        header = struct.pack(
            ">BB2xI8sIIIII12x", Opcode.NOP_IN, FINAL, len(data), pdu.header[8:16], tag, NO_TAG, *self._numbers()
        )
        self._send(header, data)

    def _task_management(self, pdu: Pdu) -> None:
        function = pdu.header[1] & 0x7F
        tag, referenced = struct.unpack_from(">II", pdu.header, 16)
        lun = lun_of(pdu.header[8:16])
        response = 0
        if function == 1:
            task = self._tasks.get(referenced)
            if task is None:
                response = 1
            else:
                self._forget(task)
        elif function in (2, 4):
            self.drop(lun)
        elif function == 5 and self.session is not None:
            self.drop(lun)
            self.session.reset(lun)
        elif function in (6, 7) and self.session is not None:
            self.drop(None)
            self.session.reset(None)
        else:
            response = 4 if function == 8 else 5
        self._send(_SHORT.pack(Opcode.TASK_MANAGEMENT_RESPONSE, FINAL, response, 0, tag, *self._numbers()))

    def _text_request(self, pdu: Pdu) -> None:
        (tag,) = struct.unpack_from(">I", pdu.header, 16)
        if self._text is None:
            try:
                asked = dict(keys.read(bytes(pdu.data)))
            except keys.BadText:
                self._reject(pdu, 0x04)
                return
            self._text = keys.written(self._told(asked))
        part, self._text = self._text[: self._segment], self._text[self._segment :]
        more = bool(self._text)
        flags, ttt = (0x40, 1) if more else (FINAL, NO_TAG)
        if not more:
            self._text = None
        header = struct.pack(
            ">BB2xI8sIIIII12x", Opcode.TEXT_RESPONSE, flags, len(part), pdu.header[8:16], tag, ttt, *self._numbers()
        )
        self._send(header, part)

    def _told(self, asked: dict[str, str]) -> list[tuple[str, str]]:
        """SendTargets; any other key is not understood here."""
        answers: list[tuple[str, str]] = []
        for key, value in asked.items():
            if key != "SendTargets":
                answers.append((key, "NotUnderstood"))
                continue
            for target, portals in self._host.addresses():
                mine = target == self.login.target
                if (value == "All" and self.login.discovery) or value == target or (value == "" and mine):
                    answers.append(("TargetName", target))
                    answers += [("TargetAddress", f"{address},{group}") for address, group in portals]
        return answers

    def _logout(self, pdu: Pdu) -> None:
        (tag,) = struct.unpack_from(">I", pdu.header, 16)
        reason = pdu.header[1] & 0x7F
        response = 2 if reason == 2 else 0
        self._send(_SHORT.pack(Opcode.LOGOUT_RESPONSE, FINAL, response, 0, tag, *self._numbers()))
        if reason < 2:
            self.closing = "logged out"
