"""The guest's journal: one record is one 512-byte block, and each record holds the checksum of the one before it.

Law: pure bytes. Record number `sequence` (from 1) always lies at block JOURNAL_LBA + sequence - 1, and an acknowledged
record is never overwritten, so a late duplicate of a write changes nothing. Where a write of several blocks was torn,
the blocks after its first missing one were never acknowledged: they are remains, and later records replace them.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from enum import IntEnum
from typing import Final

from hvcluster.model.values import value
from hvcluster.model.vocabulary import BLOCK_BYTES, Generation, NodeId

from .vhd import MAX_VHD_BYTES

JOURNAL_LBA: Final = 64
"""First block of the journal; the blocks before it stay free for a boot sector and a partition table."""

MAX_PAYLOAD_BYTES: Final = 400
"""Largest payload of a record: with header and checksum it must fit into one block."""

MAX_GROUP: Final = 64
"""Most records of one WRITE (32 KiB). It also bounds the remains of a torn write, which boot relies on."""

FIRST_SEQUENCE: Final = 1

MAGIC: Final = b"HVCJRNL1"

_HEADER: Final = struct.Struct(">8s8sBxHHIQIQ")  # magic, vm, kind, node, length, generation, sequence, boots, previous
_BODY: Final = struct.Struct(">8s8sBxHHIQIQ458s")
_CHECKSUM: Final = struct.Struct(">Q")
_CHECKED: Final = _BODY.size
_ZERO: Final = bytes(BLOCK_BYTES)

assert _CHECKED + _CHECKSUM.size == BLOCK_BYTES
assert _HEADER.size + MAX_PAYLOAD_BYTES <= _CHECKED


class Kind(IntEnum):
    """What a record says."""

    BOOT = 1  # a VM booted; first record of its generation
    DATA = 2  # a client's payload
    RESUME = 3  # a VM goes on from its memory under a new owner; first record of its generation
    SAVED = 4  # a VM's memory is saved on this disk; last record of its life
    RESTORED = 5  # a VM goes on from its saved state, which is used up by this; first record of its generation


_KINDS: Final = {kind.value: kind for kind in Kind}


@value
class Record:
    """One record as it lies on the disk. `vm` is digest(name), `previous` the checksum of the record before."""

    vm: bytes
    kind: Kind
    generation: Generation
    sequence: int
    node: NodeId
    boots: int
    previous: int
    payload: bytes
    checksum: int


@value
class Tail:
    """The end of a chain: all that the next record depends on. `sequence` 0 is the chain before its first record.

    `saved`: it ends with a saved state, which stands as long as nothing is written behind it.
    """

    vm: bytes
    sequence: int
    generation: Generation
    node: NodeId
    boots: int
    checksum: int
    saved: bool = False


@value
class Chain:
    """A checked journal: its records, how many remains of a torn write lie behind them, and the first break if any."""

    records: tuple[Record, ...]
    remains: int
    broken: str | None


def digest(vm: str) -> bytes:
    """The 8 bytes that name a VM in its records."""
    return hashlib.blake2b(vm.encode(), digest_size=8, person=b"hvcluster-vm").digest()


def genesis(vm: str) -> Tail:
    """The empty journal of a VM. Its checksum is the VM's own, so that no record of another VM can follow."""
    name = digest(vm)
    return Tail(name, FIRST_SEQUENCE - 1, Generation(0), NodeId(0), 0, _CHECKSUM.unpack(name)[0])


def tail_after(record: Record) -> Tail:
    """The chain that ends with a record."""
    saved = record.kind is Kind.SAVED
    return Tail(record.vm, record.sequence, record.generation, record.node, record.boots, record.checksum, saved)


def lba_of(sequence: int) -> int:
    """Where a record lies."""
    return JOURNAL_LBA + sequence - FIRST_SEQUENCE


def capacity(lun_blocks: int) -> int:
    """How many records a LUN can hold: all blocks from JOURNAL_LBA to the one before the VHD footer. May be 0."""
    return max(0, lun_blocks - 1 - JOURNAL_LBA)


def size_problem(lun_blocks: int) -> str | None:
    """Why a LUN cannot be the disk of a VM by its size alone; None when it can."""
    if capacity(lun_blocks) == 0:
        return f"a LUN of {lun_blocks} blocks is too small for a VHD with a journal; {JOURNAL_LBA + 2} are the least"
    if (lun_blocks - 1) * BLOCK_BYTES > MAX_VHD_BYTES:
        return f"a LUN of {lun_blocks} blocks is too large: a VHD has at most {MAX_VHD_BYTES >> 30} GiB"
    return None


def encode(tail: Tail, kind: Kind, generation: Generation, node: NodeId, payload: bytes = b"") -> tuple[bytes, Tail]:
    """The block of the next record after `tail`, and the tail after it. `payload` has at most MAX_PAYLOAD_BYTES."""
    length = len(payload)
    assert length <= MAX_PAYLOAD_BYTES
    sequence = tail.sequence + 1
    boots = tail.boots + 1 if kind is Kind.BOOT else tail.boots
    vm = tail.vm
    body = _BODY.pack(MAGIC, vm, kind, node, length, generation, sequence, boots, tail.checksum, payload)
    mark = hashlib.blake2b(body, digest_size=8).digest()
    return body + mark, Tail(vm, sequence, generation, node, boots, int.from_bytes(mark, "big"), kind is Kind.SAVED)


def decode(block: bytes) -> Record | None:
    """The record in a block, or None for anything that `encode` does not write."""
    if len(block) != BLOCK_BYTES or not block.startswith(MAGIC):
        return None
    checked = block[:_CHECKED]
    if hashlib.blake2b(checked, digest_size=8).digest() != block[_CHECKED:]:
        return None
    _, vm, kind, node, length, generation, sequence, boots, previous = _HEADER.unpack_from(block)
    end = _HEADER.size + length
    known = _KINDS.get(kind)
    if known is None or length > MAX_PAYLOAD_BYTES or block[17] != 0 or block[end:_CHECKED] != _ZERO[end:_CHECKED]:
        return None
    return Record(
        vm, known, generation, sequence, node, boots, previous,
        block[_HEADER.size : end], int.from_bytes(block[_CHECKED:], "big"),
    )  # fmt: skip


def is_blank(blocks: bytes) -> bool:
    """Whether nothing was ever written there."""
    return blocks.count(0) == len(blocks)


def follow_problem(tail: Tail, record: Record) -> str | None:
    """Why a record cannot be the next one after `tail`; None when it is."""
    where = f"record {tail.sequence + 1}"
    if record.vm != tail.vm:
        return f"{where} belongs to another VM"
    if record.sequence != tail.sequence + 1:
        return f"{where} says it is record {record.sequence}"
    if record.previous != tail.checksum:
        return f"{where} does not follow record {tail.sequence}: it names another predecessor"
    if record.generation < tail.generation:
        return f"{where} falls back from generation {tail.generation} to {record.generation}"
    same_life = (record.generation, record.node, record.boots) == (tail.generation, tail.node, tail.boots)
    if record.kind in (Kind.DATA, Kind.SAVED) and not same_life:
        return f"{where} was written by a life of the VM (generation {record.generation}) that has no boot record"
    if record.kind in (Kind.DATA, Kind.SAVED, Kind.RESUME) and tail.saved:
        return f"{where} was written by a VM whose memory was saved before it"
    if record.kind is Kind.BOOT and record.boots != tail.boots + 1:
        return f"{where} counts boot {record.boots} after boot {tail.boots}"
    if record.kind is Kind.RESTORED and not tail.saved:
        return f"{where} goes on from a saved state, and record {tail.sequence} is none"
    goes_on = record.kind in (Kind.RESUME, Kind.RESTORED)
    if goes_on and (record.boots != tail.boots or record.generation == tail.generation):
        return f"{where} goes on with boot {record.boots} under generation {record.generation} after boot {tail.boots}"
    if record.generation == tail.generation and record.node != tail.node:
        return f"{where} is of node {record.node}, but generation {tail.generation} belongs to node {tail.node}"
    return None


def check(tail: Tail, blocks: Sequence[bytes]) -> Chain:
    """Follow the chain from `tail` through consecutive journal blocks up to its end.

    After the end only blank blocks may come, and whole records of this VM within MAX_GROUP blocks of it (the remains
    of a torn write). `broken` is a sentence that names the first thing which fits neither.
    """
    records: list[Record] = []
    why = ""
    for block in blocks:
        if block == _ZERO:
            break
        record = decode(block)
        if record is None:
            sentence = f"block {lba_of(tail.sequence + 1)} is damaged: it holds no whole record"
            return Chain(tuple(records), 0, sentence)
        problem = follow_problem(tail, record)
        if problem is not None:
            why = problem
            break
        records.append(record)
        tail = tail_after(record)
    remains = 0
    for at, block in enumerate(blocks[len(records) :]):
        if block == _ZERO:
            continue
        sequence = tail.sequence + 1 + at
        rest = decode(block)
        if rest is None:
            return Chain(tuple(records), remains, f"block {lba_of(sequence)} is damaged: it holds no whole record")
        if rest.vm != tail.vm or rest.sequence != sequence or at >= MAX_GROUP:
            gap = why or f"record {tail.sequence + 1} is missing"
            return Chain(tuple(records), remains, f"{gap}, yet block {lba_of(sequence)} holds record {rest.sequence}")
        remains += 1
    return Chain(tuple(records), remains, None)
