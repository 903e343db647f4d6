"""The login phase of one connection (RFC 7143 6.3): stages, keys, CHAP, and what came of it.

Law: sans I/O. Requests go in, responses come out; after `session` or `failed` is set nothing more may go in.
"""

from __future__ import annotations

import struct
from typing import Final

from . import keys
from .chap import Chap, Refused, Secrets
from .host import Host, LoginStatus, Opened
from .keys import BadText, Negotiated
from .pdu import Opcode, Pdu

_SECURITY, _OPERATIONAL, _FULL = 0, 1, 3
_TRANSIT, _CONTINUE = 0x80, 0x40
MAX_TEXT: Final = 65_536
"""Bytes of keys in one login, over all its PDUs."""
_RESPONSE: Final = struct.Struct(">BBBBI6sHI4xIII H10x")


class Login:
    """One connection's way to the full feature phase."""

    def __init__(self, host: Host, group: int) -> None:
        self._host = host
        self._group = group
        self._stage = -1
        self._text = b""
        self._size = 0
        self._pending = b""
        self._chap: Chap | None = None
        self._secure = False
        self._declared = False
        self.agreed = Negotiated()
        self.initiator = ""
        self.target = ""
        self.discovery = False
        self.session: Opened | None = None
        self.done = False
        self.failed = ""
        self.stat_sn = 0
        self.cmd_sn = 0
        self.isid = b""
        self._itt = 0
        self._tsih = 0

    def take(self, pdu: Pdu) -> bytes:
        """The response to one request; `done` or `failed` may be set with it."""
        header = pdu.header
        flags, version_min = header[1], header[3]
        isid, tsih, itt = struct.unpack_from(">6sHI", header, 8)
        self._itt = itt
        (self.cmd_sn,) = struct.unpack_from(">I", header, 24)
        if pdu.opcode != Opcode.LOGIN:
            return self._refuse(LoginStatus.INVALID_DURING_LOGIN, f"opcode 0x{pdu.opcode:02x} before login")
        if version_min > 0:
            return self._refuse(LoginStatus.UNSUPPORTED_VERSION, f"version {version_min} at least")
        stage = flags >> 2 & 3
        if self._stage < 0:
            self.isid, self._tsih, self._stage = isid, tsih, stage
            self._secure = stage == _OPERATIONAL
            if stage not in (_SECURITY, _OPERATIONAL):
                return self._refuse(LoginStatus.INITIATOR_ERROR, "no such stage")
        elif stage != self._stage or isid != self.isid:
            return self._refuse(LoginStatus.INVALID_DURING_LOGIN, "another stage or ISID in the middle of a login")
        self._text += bytes(pdu.data)
        self._size += len(pdu.data)
        if self._size > MAX_TEXT:
            return self._refuse(LoginStatus.OUT_OF_RESOURCES, "too much text")
        if flags & _CONTINUE:
            return self._answer(b"", 0)
        try:
            pairs = keys.read(self._text)
        except BadText as error:
            return self._refuse(LoginStatus.INITIATOR_ERROR, str(error))
        self._text = b""
        return self._step(pairs, transit=bool(flags & _TRANSIT), following=flags & 3)

    def _step(self, pairs: list[tuple[str, str]], *, transit: bool, following: int) -> bytes:
        first = not self.initiator
        if first:
            refused = self._introduce(dict(pairs))
            if refused:
                return refused
        answers: list[tuple[str, str]] = []
        if first and not self.discovery:
            answers.append(("TargetPortalGroupTag", str(self._group)))
        try:
            answers += self._security(pairs) if self._stage == _SECURITY else self._operational(pairs)
        except Refused as error:
            return self._refuse(LoginStatus.AUTHENTICATION_FAILURE, str(error))
        if transit and self._stage == _SECURITY and not self._secure:
            transit = False
        if not transit:
            return self._answer(keys.written(answers), 0)
        if following <= self._stage or following == 2:
            return self._refuse(LoginStatus.INITIATOR_ERROR, "no such next stage")
        flags = _TRANSIT | following
        if following != _FULL:
            response = self._answer(keys.written(answers), flags)
            self._stage = following
            return response
        opened = self._open()
        if isinstance(opened, LoginStatus):
            return self._refuse(opened, "the array refuses the session")
        self.done = True
        return self._answer(keys.written(answers), flags)

    def _introduce(self, known: dict[str, str]) -> bytes:
        """Who logs in, to what. Empty: nothing is wrong with it."""
        self.initiator, self.target = known.get("InitiatorName", ""), known.get("TargetName", "")
        kind = known.get("SessionType", "Normal")
        if not 0 < len(self.initiator) <= 223:
            self.initiator = self.initiator[:223] or "?"
            return self._refuse(LoginStatus.MISSING_PARAMETER, "no InitiatorName of 1 to 223 characters")
        if kind not in ("Normal", "Discovery"):
            return self._refuse(LoginStatus.SESSION_TYPE_NOT_SUPPORTED, f"session type {kind[:40]!r}")
        self.discovery = kind == "Discovery"
        if not self.discovery and not self.target:
            return self._refuse(LoginStatus.MISSING_PARAMETER, "no TargetName")
        if not self.discovery and not self._host.knows(self.target):
            return self._refuse(LoginStatus.NOT_FOUND, f"no target {self.target[:223]!r}")
        if self._tsih:
            return self._refuse(LoginStatus.CANNOT_INCLUDE_IN_SESSION, "a session has one connection here")
        if self._secure and self._demanded() is not None:
            return self._refuse(LoginStatus.AUTHENTICATION_FAILURE, "authentication was left out")
        return b""

    def _demanded(self) -> Secrets | None:
        return None if self.discovery else self._host.secrets(self.initiator)

    def _security(self, pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
        known = dict(pairs)
        answers: list[tuple[str, str]] = []
        secrets = self._demanded()
        if "AuthMethod" in known:
            offered = known["AuthMethod"].split(",")
            wanted = "None" if secrets is None else "CHAP"
            if wanted not in offered:
                raise Refused(f"{wanted} is not among the methods offered")
            answers.append(("AuthMethod", wanted))
            if secrets is None:
                self._secure = True
            else:
                self._chap = Chap(secrets, self._host.random)
        elif secrets is None:
            self._secure = True
        chap = {key: value for key, value in known.items() if key.startswith("CHAP_")}
        if chap:
            if self._chap is None:
                raise Refused("CHAP without a choice of method")
            answers += self._chap.step(chap)
            self._secure = self._chap.done
        rest = [(key, value) for key, value in pairs if key not in _NAMES and key not in chap and key != "AuthMethod"]
        return answers + self._keys(rest)

    def _operational(self, pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
        answers = self._keys([pair for pair in pairs if pair[0] not in _NAMES])
        if not self._declared:
            self._declared = True
            answers.append(("MaxRecvDataSegmentLength", str(keys.MAX_SEGMENT)))
        return answers

    def _keys(self, pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
        answers = []
        for key, value in pairs:
            answer = keys.answer(key, value, self.agreed)
            if answer is not None:
                answers.append((key, answer))
        return answers

    def _open(self) -> Opened | LoginStatus | None:
        if self.discovery:
            return None
        opened = self._host.open(self.initiator, self.isid, self._group, self.target)
        if not isinstance(opened, LoginStatus):
            self.session = opened
        return opened

    def _answer(self, data: bytes, flags: int, status: LoginStatus = LoginStatus.SUCCESS) -> bytes:
        tsih = 0
        if self.done:
            tsih = 0xFFFF if self.session is None else self.session.tsih
        stage = max(self._stage, 0) << 2
        header = _RESPONSE.pack(
            Opcode.LOGIN_RESPONSE, flags | stage, 0, 0, len(data), self.isid.ljust(6, b"\0"), tsih, self._itt,
            self.stat_sn, self.cmd_sn, (self.cmd_sn + 1) & 0xFFFF_FFFF, status,
        )  # fmt: skip
        self.stat_sn = (self.stat_sn + 1) & 0xFFFF_FFFF
        return header + data + bytes(-len(data) & 3)

    def _refuse(self, status: LoginStatus, why: str) -> bytes:
        self.failed = why
        return self._answer(b"", 0, status)


_NAMES: Final = frozenset({"InitiatorName", "TargetName", "SessionType", "InitiatorAlias"})
"""Declarations that say who talks to whom; nothing is answered to them."""
