"""The bytes of a disk witness: torn writes, rotten blocks, records of an older image, read through a real array."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from hvcluster.model.vocabulary import BLOCK_BYTES, NOBODY, LunId, NodeId, StoreId
from hvcluster.model.votes import Configuration, Voter
from hvcluster.node.core.arbitration import Content, read, write
from hvcluster.node.core.commands import Command, FormCluster, Noop
from hvcluster.node.core.messages import Entry
from hvcluster.node.core.saved import Snapshot
from hvcluster.node.core.witness_image import (
    MAX_RECORD_BYTES,
    Header,
    NewImage,
    blocks_of,
    decode_record,
    decode_snapshot,
    encode_record,
    new_image,
    record_bytes,
)
from hvcluster.san.core.effects import LunImage
from tests.core.array_driver import LUN, Bench
from tests.core.scsi_steps import Life, these

BLOCKS = 1024
FIRST = Snapshot(1, 1, Configuration((Voter(NodeId(1), StoreId(1)),), True), b"{}")


def entries(count: int, term: int = 1, first: int = 2, command: Command | None = None) -> tuple[Entry, ...]:
    """So many entries."""
    return tuple(Entry(first + n, term, command or Noop()) for n in range(count))


class Witness:
    """A witness LUN behind a real array, as node 1 writes and reads it."""

    def __init__(self) -> None:
        self.bench = Bench("a")
        self.bench.media[LUN] = bytearray(BLOCKS * BLOCK_BYTES)
        self.bench.images[LUN] = LunImage(LunId(LUN), BLOCKS, ("a",))
        self.bench.power_cycle()

    @property
    def medium(self) -> bytearray:
        return self.bench.media[LUN]

    def read(self) -> Content | None:
        """What a node that holds the witness finds."""
        reader = Life(self.bench, 1, read(these("A"), LUN))
        while reader.step():
            pass
        return reader.result

    def put(self, lba: int, data: bytes) -> None:
        """Write blocks as the cluster does."""
        writer = Life(self.bench, 1, write(these("A"), LUN, lba, data))
        while writer.step():
            pass

    def header(self) -> Header:
        content = self.read()
        assert content is not None
        return content.header

    def install(self, snapshot: Snapshot, log: tuple[Entry, ...]) -> NewImage:
        """Write a whole image and let the header point to it."""
        image = new_image(self.header(), snapshot, log)
        assert image is not None
        self.put(image.lba, image.data)
        self.put(0, image.header.encode())
        return image


def test_what_is_written_is_read() -> None:
    """Consensus: a disk witness stores term, vote, and the whole log and snapshot."""
    witness = Witness()
    witness.install(FIRST, entries(40))
    witness.put(0, witness.header().voted(7, NodeId(3)).encode())
    content = witness.read()
    assert content is not None
    assert (content.snapshot, content.entries) == (FIRST, entries(40))
    assert (content.header.term, content.header.vote) == (7, 3)


def test_records_are_appended_behind_the_image() -> None:
    """The log grows by whole blocks; what is read ends where the last whole record does."""
    witness = Witness()
    witness.install(FIRST, entries(3))
    content = witness.read()
    assert content is not None
    more = entries(2, 2, 5, FormCluster("x" * 1000))
    for entry in more:
        data = encode_record(content.header.epoch, entry)
        witness.put(content.next_lba, data)
        content = witness.read()
        assert content is not None
        assert content.entries[-1] == entry
    assert content.entries == (*entries(3), *more)


def test_a_torn_record_and_all_behind_it_do_not_count() -> None:
    """A write that ended in the middle leaves a record that is not one, whatever block it ended at."""
    witness = Witness()
    witness.install(FIRST, entries(2))
    before = witness.read()
    assert before is not None
    long = encode_record(before.header.epoch, Entry(4, 1, FormCluster("y" * 3000)))
    behind = encode_record(before.header.epoch, Entry(5, 1, Noop()))
    clean = bytes(witness.medium)
    for kept in range(blocks_of(len(long))):
        witness.medium[:] = clean
        witness.put(before.next_lba, bytes(len(long)) + behind)
        witness.put(before.next_lba, long[: kept * BLOCK_BYTES] or bytes(BLOCK_BYTES))
        content = witness.read()
        assert content is not None
        assert content.entries == entries(2), kept
        assert content.next_lba == before.next_lba


def test_an_image_counts_only_when_the_header_says_so() -> None:
    """The new image is written beside the old one; a crash before the header leaves the old one whole."""
    witness = Witness()
    witness.install(FIRST, entries(3))
    newer = Snapshot(9, 4, FIRST.configuration, b'{"newer":1}')
    image = new_image(witness.header(), newer, entries(2, 4, 10))
    assert image is not None
    for kept in range(blocks_of(len(image.data)) + 1):
        if kept:
            witness.put(image.lba, image.data[: kept * BLOCK_BYTES])
        content = witness.read()
        assert content is not None
        assert (content.snapshot, content.entries) == (FIRST, entries(3)), kept
    witness.put(0, image.header.encode())
    content = witness.read()
    assert content is not None
    assert (content.snapshot, content.entries) == (newer, entries(2, 4, 10))


def test_records_of_an_older_image_in_the_same_area_do_not_count() -> None:
    """Areas take turns: behind a short new image lie records of an old one, whose epoch is another."""
    witness = Witness()
    witness.install(FIRST, entries(30))
    witness.install(FIRST, entries(1))
    witness.install(FIRST, entries(2))
    content = witness.read()
    assert content is not None
    assert content.header.epoch == 3
    assert content.entries == entries(2)


def test_an_image_that_does_not_fit_is_not_written() -> None:
    """A witness that is too small is not half a witness."""
    header = Header.blank(65)
    assert header.area_blocks == 32
    assert new_image(header, FIRST, entries(20)) is not None
    assert new_image(header, FIRST, entries(32)) is None


def test_two_areas_never_touch_each_other_or_the_header() -> None:
    """Wherever an image lies, it leaves the other one and block 0 alone."""
    for blocks in (3, 64, 65, 1000):
        header = Header.blank(blocks)
        one = Header(1, 0, NOBODY, 0, 0, header.area_blocks, 0)
        assert 1 <= one.start < one.end <= header.start < header.end <= blocks


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 40 * BLOCK_BYTES - 1), st.integers(1, 255))
def test_one_rotten_byte_never_invents_anything(at: int, flip: int) -> None:
    """What is read is what was written, an earlier end of it, or nothing at all."""
    witness = Witness()
    image = witness.install(FIRST, entries(10, 1, 2, FormCluster("because")))
    place = at if at < BLOCK_BYTES else image.lba * BLOCK_BYTES + (at - BLOCK_BYTES) % len(image.data)
    witness.medium[place] ^= flip
    content = witness.read()
    if content is None:
        return
    assert content.snapshot == FIRST
    assert content.entries == entries(10, 1, 2, FormCluster("because"))[: len(content.entries)]
    assert content.header == image.header


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=700), st.integers(0, 600), st.integers(0, 9))
def test_garbage_is_no_header_no_snapshot_and_no_record(data: bytes, offset: int, index: int) -> None:
    """Bytes from a LUN are never trusted, and never raise."""
    header = Header(1, 1, NOBODY, 0, len(data), 16, 0)
    assert Header.decode(data.ljust(BLOCK_BYTES, b"\0")[:BLOCK_BYTES]) is None
    assert Header.decode(data[:100]) is None
    assert decode_record(header, data, offset, index) is None
    assert decode_snapshot(header, data) is None
    size = record_bytes(data, offset)
    assert size is None or size <= MAX_RECORD_BYTES + BLOCK_BYTES


def test_a_header_is_one_block() -> None:
    """It changes at once or not at all."""
    header = Header(2**63, 2**63, NodeId(64), 1, 2**30, 2**40, 2**32 - 1)
    assert len(header.encode()) == BLOCK_BYTES
    assert Header.decode(header.encode()) == header
