"""The journal shows every loss, change and mix-up of its records."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from hvcluster.model.vocabulary import BLOCK_BYTES, Generation, NodeId
from hvcluster.node.core.journal import (
    MAX_GROUP,
    MAX_PAYLOAD_BYTES,
    Kind,
    Tail,
    check,
    decode,
    encode,
    genesis,
    tail_after,
)

BLANK = bytes(BLOCK_BYTES)
PAYLOADS = st.binary(min_size=1, max_size=MAX_PAYLOAD_BYTES)


def chain(*lives: tuple[int, int, int], vm: str = "D1") -> list[bytes]:
    """Blocks of a journal: for each (generation, node, records) a boot record and that many data records."""
    tail = genesis(vm)
    blocks = []
    for generation, node, records in lives:
        block, tail = encode(tail, Kind.BOOT, Generation(generation), NodeId(node))
        blocks.append(block)
        for number in range(records):
            block, tail = encode(tail, Kind.DATA, Generation(generation), NodeId(node), f"r{number}".encode())
            blocks.append(block)
    return blocks


@given(
    sequence=st.integers(0, 1 << 40),
    generation=st.integers(1, (1 << 32) - 1),
    node=st.integers(1, 64),
    boots=st.integers(0, 1 << 20),
    kind=st.sampled_from(Kind),
    payload=PAYLOADS,
)
def test_a_record_comes_back_as_it_was_written(
    sequence: int, generation: int, node: int, boots: int, kind: Kind, payload: bytes
) -> None:
    """Owner of a VM: a record holds VM, generation, sequence, node and the checksum of the previous record."""
    before = Tail(genesis("D1").vm, sequence, Generation(generation), NodeId(node), boots, 77)
    block, tail = encode(before, kind, Generation(generation), NodeId(node), payload)
    record = decode(block)
    assert len(block) == BLOCK_BYTES
    assert record is not None
    assert (record.sequence, record.previous, record.payload, record.kind) == (sequence + 1, 77, payload, kind)
    assert tail_after(record) == tail


@given(payload=PAYLOADS, at=st.integers(0, BLOCK_BYTES - 1), change=st.integers(1, 255))
def test_any_changed_byte_is_noticed(payload: bytes, at: int, change: int) -> None:
    """Invariants, one chain: a damaged record must never pass for a record."""
    block, _ = encode(genesis("D1"), Kind.DATA, Generation(1), NodeId(1), payload)
    damaged = bytearray(block)
    damaged[at] ^= change
    assert decode(bytes(damaged)) is None


@given(payload=PAYLOADS, kept=st.integers(0, BLOCK_BYTES - 1), padded=st.booleans())
def test_any_truncation_is_noticed(payload: bytes, kept: int, padded: bool) -> None:
    """Invariants, one chain: half a record is no record, whether it ends early or in zeros."""
    block, _ = encode(genesis("D1"), Kind.DATA, Generation(1), NodeId(1), payload)
    short = block[:kept].ljust(BLOCK_BYTES if padded else 0, b"\0")
    assert decode(short) is None


@given(junk=st.binary(max_size=2 * BLOCK_BYTES))
def test_no_junk_passes_for_a_record_and_none_raises(junk: bytes) -> None:
    """Cores and shells, contract 1: nothing that can lie on a disk makes a core raise."""
    assert decode(junk) is None


def test_a_whole_journal_is_one_chain() -> None:
    """Invariants, one chain: generations rise, each begins with a boot record, boots are counted."""
    found = check(genesis("D1"), [*chain((1, 1, 3), (4, 2, 2)), BLANK])
    assert found.broken is None
    assert [record.generation for record in found.records] == [1, 1, 1, 1, 4, 4, 4]
    assert [record.boots for record in found.records] == [1, 1, 1, 1, 2, 2, 2]


@settings(max_examples=60)
@given(data=st.data())
def test_no_record_can_be_lost_doubled_swapped_or_damaged_unnoticed(data: st.DataObject) -> None:
    """Invariants, one chain: whatever happens to a journal in its middle, the check says so or the chain is shorter.

    At the end the last MAX_GROUP records may be torn off; that an acknowledged one is among them is seen by
    whoever knows the last acknowledged number, so here everything is followed by more than that.
    """
    blocks = chain((1, 1, 5), (2, 2, 5), (3, 1, MAX_GROUP + 5))
    at = data.draw(st.integers(0, 10))
    match data.draw(st.sampled_from(["lose", "blank", "double", "swap", "damage"])):
        case "lose":
            del blocks[at]
        case "blank":
            blocks[at] = BLANK
        case "double":
            blocks.insert(at, blocks[at])
        case "swap":
            blocks[at], blocks[at + 1] = blocks[at + 1], blocks[at]
        case _:
            damaged = bytearray(blocks[at])
            damaged[data.draw(st.integers(0, BLOCK_BYTES - 1))] ^= 0xFF
            blocks[at] = bytes(damaged)
    found = check(genesis("D1"), blocks)
    assert found.broken is not None
    assert len(found.records) in (at, at + 1)


def test_what_is_left_of_a_torn_write_is_no_break() -> None:
    """A WRITE of several records that was cut short was never acknowledged; later records replace its remains."""
    blocks = chain((1, 1, 9))
    blocks[7] = BLANK
    found = check(genesis("D1"), [*blocks, BLANK])
    assert (found.broken, len(found.records), found.remains) == (None, 7, 2)
    follower, _ = encode(tail_after(found.records[-1]), Kind.BOOT, Generation(2), NodeId(2))
    blocks[7] = follower
    found = check(genesis("D1"), [*blocks, BLANK])
    assert (found.broken, len(found.records), found.remains) == (None, 8, 2)


def test_a_record_of_another_vm_is_a_break() -> None:
    """Owner of a VM: a record names its VM, so that a mix-up of LUNs is seen."""
    found = check(genesis("D1"), chain((1, 1, 2), vm="D2"))
    assert found.broken is not None
    assert "another VM" in found.broken


def test_a_generation_never_falls() -> None:
    """Invariants, one chain: generations never fall."""
    first, tail = encode(genesis("D1"), Kind.BOOT, Generation(5), NodeId(1))
    second, _ = encode(tail, Kind.BOOT, Generation(4), NodeId(2))
    third = chain((5, 1, MAX_GROUP + 3))[2:]
    found = check(genesis("D1"), [first, second, *third])
    assert found.broken is not None
    assert "falls back from generation 5 to 4" in found.broken


def test_two_nodes_never_share_a_generation() -> None:
    """Owner of a VM: a generation is one life of the VM on one node; two nodes in it would be a split brain."""
    blocks = chain((1, 1, 0), (1, 2, MAX_GROUP + 3))
    found = check(genesis("D1"), blocks)
    assert found.broken is not None
    assert "belongs to node 1" in found.broken


def test_two_histories_cannot_be_spliced_into_one() -> None:
    """VM: a record holds the checksum of the previous one, so a record that was replaced by another shows."""
    one = chain((1, 1, MAX_GROUP + 5))
    before = check(genesis("D1"), one[:3]).records[-1]
    other, _ = encode(tail_after(before), Kind.DATA, Generation(1), NodeId(1), b"another history")
    found = check(genesis("D1"), [*one[:3], other, *one[4:]])
    assert len(found.records) == 4
    assert found.broken is not None
    assert "names another predecessor" in found.broken
