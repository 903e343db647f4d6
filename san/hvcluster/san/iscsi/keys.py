"""Text keys of login (RFC 7143 13): reading them, and the answer to each.

Law: pure. What is offered is data (`_RULES`); a key nobody knows is NotUnderstood, a value that makes no sense Reject.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

MAX_SEGMENT: Final = 262_144
"""Bytes of the data segments that we take (MaxRecvDataSegmentLength)."""
MAX_KEYS: Final = 128
_LEAST, _MOST = 512, 2**24 - 1


@dataclass(slots=True)
class Negotiated:
    """What holds on a connection once it is logged in; until then the defaults of RFC 7143."""

    header_digest: bool = False
    data_digest: bool = False
    initial_r2t: bool = True
    immediate_data: bool = True
    max_burst: int = 262_144
    first_burst: int = 65_536
    their_segment: int = 8_192
    """Bytes of the data segments that the initiator takes."""
    answered: set[str] = field(default_factory=set)


class BadText(Exception):
    """A data segment that is not key=value pairs."""


def read(data: bytes) -> list[tuple[str, str]]:
    """Keys and values in their order. Raises BadText."""
    pairs = []
    for part in data.split(b"\0"):
        if not part:
            continue
        try:
            key, equals, value = part.decode("utf-8").partition("=")
        except UnicodeDecodeError:
            raise BadText("text that is not UTF-8") from None
        if not equals or not 0 < len(key) <= 63:
            raise BadText(f"no key=value: {key[:40]!r}")
        pairs.append((key, value))
        if len(pairs) > MAX_KEYS:
            raise BadText("too many keys")
    return pairs


def written(pairs: Iterable[tuple[str, str]]) -> bytes:
    """Pairs as a data segment."""
    return b"".join(f"{key}={value}\0".encode() for key, value in pairs)


def _number(value: str) -> int | None:
    try:
        return int(value, 16) if value[:2].lower() == "0x" else int(value)
    except ValueError:
        return None


def _least(ours: int, low: int, high: int, keep: Callable[[Negotiated, int], None]) -> _Rule:
    def rule(value: str, agreed: Negotiated) -> str:
        asked = _number(value)
        if asked is None or not low <= asked <= high:
            return "Reject"
        result = min(ours, asked)
        keep(agreed, result)
        return str(result)

    return rule


def _most(ours: int, low: int, high: int) -> _Rule:
    def rule(value: str, _agreed: Negotiated) -> str:
        asked = _number(value)
        return "Reject" if asked is None or not low <= asked <= high else str(max(ours, asked))

    return rule


def _either(ours: bool, keep: Callable[[Negotiated, bool], None]) -> _Rule:
    """The result is Yes where either says so."""

    def rule(value: str, agreed: Negotiated) -> str:
        if value not in ("Yes", "No"):
            return "Reject"
        result = ours or value == "Yes"
        keep(agreed, result)
        return "Yes" if result else "No"

    return rule


def _both(ours: bool, keep: Callable[[Negotiated, bool], None]) -> _Rule:
    def rule(value: str, agreed: Negotiated) -> str:
        if value not in ("Yes", "No"):
            return "Reject"
        result = ours and value == "Yes"
        keep(agreed, result)
        return "Yes" if result else "No"

    return rule


def _digest(keep: Callable[[Negotiated, bool], None]) -> _Rule:
    def rule(value: str, agreed: Negotiated) -> str:
        for each in value.split(","):
            if each in ("CRC32C", "None"):
                keep(agreed, each == "CRC32C")
                return each
        return "Reject"

    return rule


def _always(answer: str) -> _Rule:
    return lambda _value, _agreed: answer


def _their_segment(value: str, agreed: Negotiated) -> str | None:
    """A declaration: it is not answered, but ours is told once."""
    asked = _number(value)
    if asked is None or not _LEAST <= asked <= _MOST:
        return "Reject"
    agreed.their_segment = asked
    return None


_Rule = Callable[[str, Negotiated], str | None]


def _keep(name: str) -> Callable[[Negotiated, int], None]:
    return lambda agreed, value: setattr(agreed, name, value)


def _nothing(_agreed: Negotiated, _value: int) -> None:
    return None


_RULES: Final[dict[str, _Rule]] = {
    "HeaderDigest": _digest(_keep("header_digest")),
    "DataDigest": _digest(_keep("data_digest")),
    "MaxConnections": _least(1, 1, 65_535, _nothing),
    "InitialR2T": _either(False, _keep("initial_r2t")),
    "ImmediateData": _both(True, _keep("immediate_data")),
    "MaxRecvDataSegmentLength": _their_segment,
    "MaxBurstLength": _least(1_048_576, _LEAST, _MOST, _keep("max_burst")),
    "FirstBurstLength": _least(262_144, _LEAST, _MOST, _keep("first_burst")),
    "DefaultTime2Wait": _most(0, 0, 3_600),
    "DefaultTime2Retain": _least(0, 0, 3_600, _nothing),
    "MaxOutstandingR2T": _least(1, 1, 65_535, _nothing),
    "DataPDUInOrder": _either(True, _nothing),
    "DataSequenceInOrder": _either(True, _nothing),
    "ErrorRecoveryLevel": _least(0, 0, 2, _nothing),
    "iSCSIProtocolLevel": _least(1, 0, 31, _nothing),
    "TaskReporting": _always("RFC3720"),
    "IFMarker": _always("No"),
    "OFMarker": _always("No"),
    "IFMarkInt": _always("Irrelevant"),
    "OFMarkInt": _always("Irrelevant"),
}


def answer(key: str, value: str, agreed: Negotiated) -> str | None:
    """The answer to one operational key; None where a declaration needs none."""
    if value in ("NotUnderstood", "Irrelevant", "Reject"):  # an answer to ours, or nonsense: neither is answered
        return None
    rule = _RULES.get(key)
    return "NotUnderstood" if rule is None else rule(value, agreed)
