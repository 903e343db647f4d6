"""What iSCSI connections need from the array around them.

Law: shapes only.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Protocol

from hvcluster.model.vocabulary import LunId
from hvcluster.san.scsi.face import Face

from .chap import Secrets


class LoginStatus(IntEnum):
    """Status class and detail of a login response (RFC 7143 11.13.5)."""

    SUCCESS = 0x0000
    INITIATOR_ERROR = 0x0200
    AUTHENTICATION_FAILURE = 0x0201
    AUTHORIZATION_FAILURE = 0x0202
    NOT_FOUND = 0x0203
    UNSUPPORTED_VERSION = 0x0205
    TOO_MANY_CONNECTIONS = 0x0206
    MISSING_PARAMETER = 0x0207
    CANNOT_INCLUDE_IN_SESSION = 0x0208
    SESSION_TYPE_NOT_SUPPORTED = 0x0209
    SESSION_DOES_NOT_EXIST = 0x020A
    INVALID_DURING_LOGIN = 0x020B
    TARGET_ERROR = 0x0300
    SERVICE_UNAVAILABLE = 0x0301
    OUT_OF_RESOURCES = 0x0302


class Opened(Protocol):
    """A normal session of the array, under one I_T nexus."""

    @property
    def tsih(self) -> int:
        """Target session identifying handle, 1 to 65535."""

    @property
    def face(self) -> Face:
        """Executes CDBs as this nexus."""

    def reset(self, lun: LunId | None) -> None:
        """LOGICAL UNIT RESET, or with None TARGET RESET; tasks of other sessions on it are dropped."""


class Host(Protocol):
    """The array as a connection knows it."""

    def knows(self, target: str) -> bool:
        """Whether a target of this name is here."""

    def secrets(self, initiator: str) -> Secrets | None:
        """With which CHAP secrets an initiator has to prove itself; None: it need not."""

    def addresses(self) -> list[tuple[str, list[tuple[str, int]]]]:
        """Every target with the portals (host:port, group) where it is reached."""

    def open(self, initiator: str, isid: bytes, group: int, target: str) -> Opened | LoginStatus:
        """A session begins; an older one of the same nexus is dead from here on."""

    def random(self, size: int) -> bytes:
        """Bytes nobody can guess."""
