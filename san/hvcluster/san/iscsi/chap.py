"""CHAP as iSCSI uses it (RFC 7143 12.1.3): the target asks who an initiator is, and may be asked in turn.

Law: pure but for the challenge, which is handed in. Secrets are compared in constant time and never shown.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

_ALGORITHMS: Final[dict[str, Callable[[bytes], bytes]]] = {
    "7": lambda data: hashlib.sha256(data).digest(),
    "5": lambda data: hashlib.md5(data, usedforsecurity=False).digest(),
}
_ORDER: Final = ("7", "5")
MAX_BYTES: Final = 1_024


@dataclass(frozen=True, slots=True)
class Secrets:
    """Who may log in: user names with their secrets; and the name and secret of the target, empty: it has none."""

    users: Mapping[str, str]
    own_name: str = ""
    own_secret: str = ""


class Refused(Exception):
    """Authentication failed; the message says why, for the log alone."""


class Chap:
    """One exchange. `challenge` makes that many random bytes."""

    def __init__(self, secrets: Secrets, challenge: Callable[[int], bytes]) -> None:
        self._secrets = secrets
        self._random = challenge
        self._algorithm = ""
        self._id = 0
        self._challenge = b""
        self.done = False

    def step(self, keys: Mapping[str, str]) -> list[tuple[str, str]]:
        """The answer to one set of keys. Raises Refused."""
        if not self._algorithm:
            return self._ask(keys)
        return self._check(keys)

    def _ask(self, keys: Mapping[str, str]) -> list[tuple[str, str]]:
        offered = keys.get("CHAP_A", "").split(",")
        self._algorithm = next((each for each in _ORDER if each in offered), "")
        if not self._algorithm:
            raise Refused("no CHAP algorithm in common")
        self._id = self._random(1)[0]
        self._challenge = self._random(16)
        return [("CHAP_A", self._algorithm), ("CHAP_I", str(self._id)), ("CHAP_C", "0x" + self._challenge.hex())]

    def _check(self, keys: Mapping[str, str]) -> list[tuple[str, str]]:
        name, response = keys.get("CHAP_N", ""), _binary(keys.get("CHAP_R", ""))
        secret = self._secrets.users.get(name)
        expected = self._response(self._id, secret or "", self._challenge)
        if response is None or secret is None or not hmac.compare_digest(expected, response):
            raise Refused(f"wrong name or secret for {name[:60]!r}")
        self.done = True
        if "CHAP_I" not in keys and "CHAP_C" not in keys:
            return []
        theirs = _binary(keys.get("CHAP_C", ""))
        if theirs is None or theirs == self._challenge or not keys.get("CHAP_I", "").isdecimal():
            raise Refused("a challenge that makes no sense, or our own")
        if not self._secrets.own_secret:
            raise Refused("the initiator wants to know who we are, and nobody gave us a secret")
        mine = self._response(int(keys["CHAP_I"]) & 0xFF, self._secrets.own_secret, theirs)
        return [("CHAP_N", self._secrets.own_name), ("CHAP_R", "0x" + mine.hex())]

    def _response(self, number: int, secret: str, challenge: bytes) -> bytes:
        return _ALGORITHMS[self._algorithm](bytes((number,)) + secret.encode() + challenge)


def _binary(text: str) -> bytes | None:
    """A large binary value: hexadecimal or base64 (RFC 7143 6.1)."""
    try:
        if text[:2].lower() == "0x":
            data = bytes.fromhex(text[2:].rjust(len(text[2:]) + len(text) % 2, "0"))
        elif text[:2].lower() == "0b":
            data = base64.b64decode(text[2:], validate=True)
        else:
            return None
    except (ValueError, binascii.Error):
        return None
    return data if 0 < len(data) <= MAX_BYTES else None
