"""Login: keys and what comes of them, who is let in, and how refusals are told."""

from __future__ import annotations

import hashlib
import struct
from typing import Any

import pytest

from hvcluster.san.iscsi import keys
from hvcluster.san.iscsi.chap import Secrets
from hvcluster.san.iscsi.host import LoginStatus
from hvcluster.san.iscsi.keys import Negotiated, answer
from hvcluster.san.iscsi.pdu import Pdu
from tests.iscsi.initiator import NAME, TARGET, Host, Wire, login_request

SECRETS = Secrets({"user": "a secret of 16 chars"}, "array", "another of 16 chars")


def status(pdu: Pdu) -> int:
    return int(struct.unpack_from(">H", pdu.header, 36)[0])


def text(pdu: Pdu) -> dict[str, str]:
    return dict(keys.read(bytes(pdu.data)))


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("HeaderDigest", "CRC32C,None", "CRC32C"),
        ("HeaderDigest", "None,CRC32C", "None"),
        ("DataDigest", "MD5", "Reject"),
        ("MaxConnections", "8", "1"),
        ("InitialR2T", "No", "No"),
        ("InitialR2T", "Yes", "Yes"),
        ("ImmediateData", "No", "No"),
        ("ImmediateData", "maybe", "Reject"),
        ("MaxBurstLength", "16776192", "1048576"),
        ("MaxBurstLength", "511", "Reject"),
        ("FirstBurstLength", "0x10000", "65536"),
        ("DefaultTime2Wait", "2", "2"),
        ("DefaultTime2Retain", "20", "0"),
        ("MaxOutstandingR2T", "4", "1"),
        ("ErrorRecoveryLevel", "2", "0"),
        ("DataPDUInOrder", "No", "Yes"),
        ("IFMarker", "Yes", "No"),
        ("MaxRecvDataSegmentLength", "65536", None),
        ("MaxRecvDataSegmentLength", "4", "Reject"),
        ("X-com.example", "1", "NotUnderstood"),
        ("HeaderDigest", "Reject", None),
    ],
)
def test_each_key_has_its_rule(key: str, value: str, expected: str | None) -> None:
    """RFC 7143 13: minimum, maximum, AND, OR, choice from a list, declaration."""
    assert answer(key, value, Negotiated()) == expected


def test_a_session_is_agreed_on() -> None:
    """The answers to what was offered, our own declarations, and a handle for the session."""
    wire = Wire()
    reply = wire.login(("HeaderDigest", "CRC32C"), ("MaxRecvDataSegmentLength", "4096"), ("InitialR2T", "No"))
    assert status(reply) == LoginStatus.SUCCESS
    assert text(reply) == {
        "TargetPortalGroupTag": "1",
        "HeaderDigest": "CRC32C",
        "InitialR2T": "No",
        "MaxRecvDataSegmentLength": str(keys.MAX_SEGMENT),
    }
    assert reply.header[1] == 0x87
    assert struct.unpack_from(">H", reply.header, 14)[0] != 0
    assert wire.connection.login.agreed.their_segment == 4096


@pytest.mark.parametrize(
    ("pairs", "flags", "more", "expected"),
    [
        ({"TargetName": TARGET}, 0x87, {}, LoginStatus.MISSING_PARAMETER),
        ({"InitiatorName": NAME}, 0x87, {}, LoginStatus.MISSING_PARAMETER),
        ({"InitiatorName": NAME, "TargetName": "iqn.x"}, 0x87, {}, LoginStatus.NOT_FOUND),
        ({"InitiatorName": NAME, "SessionType": "Odd"}, 0x87, {}, LoginStatus.SESSION_TYPE_NOT_SUPPORTED),
        ({"InitiatorName": NAME, "TargetName": TARGET}, 0x87, {"tsih": 3}, LoginStatus.CANNOT_INCLUDE_IN_SESSION),
        ({"InitiatorName": NAME, "TargetName": TARGET}, 0x87, {"version": 1}, LoginStatus.UNSUPPORTED_VERSION),
        ({"InitiatorName": NAME, "TargetName": TARGET}, 0x8C, {}, LoginStatus.INITIATOR_ERROR),
        ({"InitiatorName": NAME, "TargetName": TARGET}, 0x86, {}, LoginStatus.INITIATOR_ERROR),
    ],
)
def test_a_refusal_names_its_reason(
    pairs: dict[str, str], flags: int, more: dict[str, Any], expected: LoginStatus
) -> None:
    """Bad input: status class and detail of RFC 7143, and that connection ends."""
    wire = Wire()
    reply = wire.send(login_request(flags, pairs, **more))[0]
    assert status(reply) == expected
    assert wire.connection.closing
    assert not wire.host.sessions


def test_anything_else_before_login_closes_the_connection() -> None:
    """Bad input: a command, or noise, from somebody who never said who it is."""
    wire = Wire()
    assert status(wire.send(bytes(48))[0]) == LoginStatus.INVALID_DURING_LOGIN
    assert wire.connection.closing
    noise = Wire()
    assert noise.send(b"GET / HTTP/1.1\r\n" * 8) == []
    assert noise.connection.closing


def test_endless_keys_are_refused() -> None:
    """Bad input: a login is bounded, over all its PDUs."""
    wire = Wire()
    request = login_request(0x44, {f"X-{at}": "y" * 200 for at in range(100)})
    for _ in range(10):
        if wire.connection.closing:
            break
        wire.send(request)
    assert "too much text" in wire.connection.closing


def chap(wire: Wire, secret: str, *, name: str = "user", mutual: bool = False) -> Pdu:
    """The steps of CHAP with MD5; the last answer."""
    wire.send(login_request(0x81, {"InitiatorName": NAME, "TargetName": TARGET, "AuthMethod": "CHAP,None"}))
    asked = text(wire.send(login_request(0x81, {"CHAP_A": "5"}))[0])
    response = hashlib.md5(bytes((int(asked["CHAP_I"]),)) + secret.encode() + bytes.fromhex(asked["CHAP_C"][2:]))
    mine = {"CHAP_N": name, "CHAP_R": "0x" + response.hexdigest()}
    if mutual:
        mine |= {"CHAP_I": "9", "CHAP_C": "0x0102030405060708"}
    return wire.send(login_request(0x81, mine))[0]


def test_chap_lets_in_who_knows_the_secret() -> None:
    """CHAP one way, and the array's own proof where it is asked for."""
    wire = Wire(Host(SECRETS))
    reply = chap(wire, "a secret of 16 chars", mutual=True)
    assert status(reply) == LoginStatus.SUCCESS
    expected = hashlib.md5(b"\x09another of 16 chars\1\2\3\4\5\6\7\x08").hexdigest()
    assert text(reply) == {"CHAP_N": "array", "CHAP_R": "0x" + expected}
    done = wire.send(login_request(0x87, {"InitialR2T": "No"}))[0]
    assert status(done) == LoginStatus.SUCCESS
    assert wire.host.sessions


@pytest.mark.parametrize(("name", "secret"), [("user", "wrong"), ("nobody", "a secret of 16 chars"), ("user", "")])
def test_chap_keeps_out_who_does_not(name: str, secret: str) -> None:
    """Bad input: a wrong name or secret is an authentication failure, and nothing more is said."""
    wire = Wire(Host(SECRETS))
    reply = chap(wire, secret, name=name)
    assert status(reply) == LoginStatus.AUTHENTICATION_FAILURE
    assert bytes(reply.data) == b""
    assert not wire.host.sessions


def test_chap_cannot_be_left_out() -> None:
    """Bad input: neither by beginning in the operational stage, nor by offering none, nor by going on."""
    both = {"InitiatorName": NAME, "TargetName": TARGET}
    for flags, pairs in ((0x87, both), (0x81, both | {"AuthMethod": "None"})):
        wire = Wire(Host(SECRETS))
        assert status(wire.send(login_request(flags, pairs))[0]) == LoginStatus.AUTHENTICATION_FAILURE
    wire = Wire(Host(SECRETS))
    wire.send(login_request(0x81, both | {"AuthMethod": "CHAP"}))
    reply = wire.send(login_request(0x83, {}))[0]
    assert not reply.header[1] & 0x80
    assert not wire.host.sessions


def test_discovery_lists_targets_and_portals() -> None:
    """SendTargets: every portal with its group; a discovery session takes no commands."""
    wire = Wire()
    wire.login(("SessionType", "Discovery"))
    asked = keys.written([("SendTargets", "All")])
    header = struct.pack(">BB2xI8xIIII16x", 0x04, 0x80, len(asked), 5, 0xFFFF_FFFF, wire.cmd_sn, 0)
    reply = wire.send(header + asked + bytes(-len(asked) & 3))[0]
    assert keys.read(bytes(reply.data)) == [
        ("TargetName", TARGET),
        ("TargetAddress", "127.0.0.1:3260,1"),
        ("TargetAddress", "127.0.0.1:3261,2"),
    ]
    wire.cmd_sn += 1
    assert wire.command(bytes(6))[0].header[0] == 0x3F
