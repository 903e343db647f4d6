"""Cutting a stream into PDUs: whatever the pieces it comes in, and whatever is wrong with it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hvcluster.san.iscsi.pdu import Framer, Pdu, ProtocolError, whole


def made(data: bytes, first: int = 0x01) -> bytes:
    """A header that announces `data`."""
    return bytes((first, 0x80, 0, 0, 0)) + len(data).to_bytes(3, "big") + bytes(range(40))


def stream(segments: list[bytes], header_digest: bool, data_digest: bool) -> bytes:
    pieces = (whole(made(data), data, header_digest=header_digest, data_digest=data_digest) for data in segments)
    return b"".join(bytes(part) for piece in pieces for part in piece)


@given(st.lists(st.binary(max_size=70), max_size=5), st.booleans(), st.booleans(), st.data())
def test_pieces_do_not_matter(segments: list[bytes], header: bool, digest: bool, data: st.DataObject) -> None:
    """TCP cuts where it likes: the same PDUs come out."""
    raw = stream(segments, header, digest)
    framer = Framer(100)
    framer.header_digest, framer.data_digest = header, digest
    found: list[Pdu] = []
    at = 0
    while at < len(raw):
        size = data.draw(st.integers(1, 120))
        found += framer.feed(raw[at : at + size])
        at += size
    assert [bytes(pdu.data) for pdu in found] == segments
    assert [pdu.header for pdu in found] == [made(segment) for segment in segments]
    assert not any(pdu.damaged for pdu in found)


@given(st.binary(min_size=1, max_size=40), st.integers(min_value=0))
def test_damage_is_seen(data: bytes, where: int) -> None:
    """CRC32C: a bit that fell over in the header ends the connection, one in the data marks the PDU."""
    raw = bytearray(stream([data], True, True))
    bit = where % (len(raw) * 8)
    if 4 * 8 <= bit < 8 * 8:  # lengths: the rest is missing, or too much
        return
    raw[bit // 8] ^= 1 << bit % 8
    framer = Framer(100)
    framer.header_digest = framer.data_digest = True
    if bit < (48 + 4) * 8:
        with pytest.raises(ProtocolError, match="digest"):
            list(framer.feed(bytes(raw)))
    else:
        assert [pdu.damaged for pdu in framer.feed(bytes(raw))] == [True]


def test_a_segment_longer_than_declared_is_refused_before_it_is_kept() -> None:
    """MaxRecvDataSegmentLength: what is announced counts, before a byte of it arrives."""
    with pytest.raises(ProtocolError, match="declared"):
        list(Framer(100).feed(made(bytes(101))))


@given(st.binary(max_size=400))
def test_garbage_is_cut_or_refused(raw: bytes) -> None:
    """Whatever a stranger sends: PDUs or ProtocolError, and never more kept than was sent."""
    framer = Framer(64)
    try:
        found = list(framer.feed(raw))
    except ProtocolError:
        return
    assert sum(48 + len(pdu.data) for pdu in found) <= len(raw)
