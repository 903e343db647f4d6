"""Challenge and defence: the steps by which one node comes to hold the disk witness, and keeps it.

Law: the reservation decides, by PREEMPT as compare-and-swap. A challenger waits 2 x DiskArbInterval + 1 s, in which a
living owner defends by removing it; losing is status 170 (ERROR_BUSY). Source: the arbitration model in
docs/divergence.md.
"""

from __future__ import annotations

from collections.abc import Callable

from hvcluster.model.facts import FactKind
from hvcluster.model.scsi import Capacity, Read, ReadCapacity, Status, Write
from hvcluster.model.values import value
from hvcluster.model.vocabulary import BLOCK_BYTES, Generation, Instant, LunId, PathName, ReservationKey

from .messages import Entry
from .outbox import Outbox
from .procedure import Paths, Steps, Wait, ask, ask_any
from .reservation import Seen, look, preempt, register, reserve
from .saved import Snapshot
from .witness import Held
from .witness_image import Header, decode_record, decode_snapshot, record_bytes

GIVEN_UP = Generation(0)  # in the key of an owner that no longer leads: whoever needs the witness may preempt it
ROUNDS = 8
IO_BLOCKS = 128  # 64 KiB a command, as disk drivers do


@value
class Content:
    """What a witness holds: header, and the log it was written with. No snapshot: it was never written."""

    header: Header
    snapshot: Snapshot | None
    entries: tuple[Entry, ...]
    next_lba: int


def hold(
    out: Outbox, paths: Paths, lun: LunId, key: ReservationKey, challenge_us: int, needed: Callable[[], bool]
) -> Steps[tuple[Held, tuple[PathName, ...]]]:
    """Register; take the witness if nobody holds it; otherwise challenge its owner and preempt only if it did not
    defend. Also tells on which paths we are registered: no other can be written through.

    `needed`: asked before the witness is taken from anybody; once it is not, whoever holds it keeps it.
    """
    mine = key.encode()
    registered: tuple[PathName, ...] = ()
    challenged: int | None = None
    what: Seen | None = None
    registered, what = yield from register(paths, lun, mine)
    for _ in range(ROUNDS):
        if not registered:
            return Held.NO_PATH, registered
        if what is None:
            what = yield from look(lambda: registered, lun)
        if what is None:
            return Held.NO_PATH, registered
        if mine not in what.keys:
            return Held.NO, registered  # its owner defended: our registration is gone
        path = registered[0]
        if what.holder == mine:
            yield from _remove_others(path, lun, mine, what.keys)
            return Held.YES, registered
        if not needed():
            return Held.NEEDLESS, registered
        if what.holder is None:
            yield from reserve(path, lun, mine)
        elif _may_be_taken(what.holder, key):
            yield from preempt(path, lun, mine, what.holder)
        elif challenged is None:
            challenged = what.holder
            _note_challenge(out, what.holder, challenge_us)
            yield Wait(challenge_us)
            if not needed():
                return Held.NEEDLESS, registered
            yield from preempt(path, lun, mine, challenged)  # refused: it defended, or gave it back; look which
        elif challenged != what.holder:
            return Held.NO, registered  # another challenger was first; it removes our key
        else:
            yield from preempt(path, lun, mine, challenged)  # the first answer was UNKNOWN and the owner still stands
        what = None
    return Held.NO, registered


def _may_be_taken(holder: int, key: ReservationKey) -> bool:
    """No challenge is due: the owner gave the witness up, or it is our own older key on a path that does not answer."""
    parts = ReservationKey.decode(holder)
    return parts is not None and (parts.generation == GIVEN_UP or parts.node == key.node)


def _note_challenge(out: Outbox, holder: int, challenge_us: int) -> None:
    owner = ReservationKey.decode(holder)
    name = f"node {owner.node}" if owner is not None else f"key {holder:016x}"
    reason = f"{name} holds it; it has {challenge_us // 1000} ms to defend"
    out.fact(FactKind.WITNESS_CHALLENGED, reason, holder=f"{holder:016x}")


def _remove_others(path: PathName, lun: LunId, mine: int, keys: tuple[int, ...]) -> Steps[None]:
    for other in sorted(set(keys)):
        if other != mine:
            yield from preempt(path, lun, mine, other)


def defend(
    out: Outbox, paths: Paths, registered: Paths, lun: LunId, key: ReservationKey
) -> Steps[tuple[Held, Instant]]:
    """See, on any path, that we still hold it, and remove every challenger, on one that we are registered on.

    The instant is when the proof was asked for.
    """
    mine = key.encode()
    asked = out.now
    what = yield from look(paths, lun)
    if what is None:
        return Held.NO_PATH, asked
    if what.holder != mine:
        return Held.NO, asked
    others = [other for other in sorted(set(what.keys)) if other != mine]
    for other in others:
        path = registered()[0] if registered() else None
        if path is None or (yield from preempt(path, lun, mine, other)) is not Status.GOOD:
            return Held.NO_PATH, asked
        challenger = ReservationKey.decode(other)
        who = f"node {challenger.node}" if challenger is not None else f"key {other:016x}"
        out.fact(FactKind.WITNESS_DEFENDED, f"{who} had registered to challenge", challenger=f"{other:016x}")
    return Held.YES, asked


def write(paths: Paths, lun: LunId, lba: int, data: bytes) -> Steps[Status]:
    """Write whole blocks to the medium, down one path.

    A write without an answer is not repeated: it may still be stuck on its path and arrive after a newer one. The
    caller has to hold the witness anew, under a new key, which makes the array refuse whatever is stuck.
    """
    step = IO_BLOCKS * BLOCK_BYTES
    up = paths()
    for at in range(0, len(data), step):
        if not up:
            return Status.UNKNOWN
        command = Write(lba + at // BLOCK_BYTES, data[at : at + step], True)
        status = (yield from ask(up[0], lun, command))[0].status
        if status is not Status.GOOD:
            return status
    return Status.GOOD


def read(paths: Paths, lun: LunId) -> Steps[Content | None]:
    """Read the whole witness. None when it cannot be read, or is not a witness (and not blank either)."""
    answers = yield from ask_any(paths, lun, ReadCapacity(), Read(0, 1))
    capacity, block = answers[0].payload, answers[1].payload
    if not isinstance(capacity, Capacity) or not isinstance(block, bytes):
        return None
    if not any(block):
        return Content(Header.blank(capacity.blocks), None, (), 0)
    header = Header.decode(block)
    if header is None or header.end > capacity.blocks or header.area not in (0, 1):
        return None
    if header.snapshot_bytes == 0:
        return Content(header, None, (), 0)
    if header.log_start > header.end:
        return None
    data = yield from _read_blocks(paths, lun, header.start, header.log_start)
    snapshot = decode_snapshot(header, data) if data is not None else None
    if snapshot is None:
        return None
    return (yield from _read_log(paths, lun, header, snapshot))


def _read_blocks(paths: Paths, lun: LunId, start: int, end: int) -> Steps[bytes | None]:
    parts: list[bytes] = []
    for lba in range(start, end, IO_BLOCKS):
        payload = (yield from ask_any(paths, lun, Read(lba, min(IO_BLOCKS, end - lba))))[0].payload
        if not isinstance(payload, bytes):
            return None
        parts.append(payload)
    return b"".join(parts)


def _read_log(paths: Paths, lun: LunId, header: Header, snapshot: Snapshot) -> Steps[Content | None]:
    entries: list[Entry] = []
    lba, offset, data = header.log_start, 0, b""
    while True:
        index = snapshot.index + len(entries) + 1
        found = decode_record(header, data, offset, index)
        if found is not None:
            entries.append(found[0])
            offset += found[1]
            continue
        missing = (record_bytes(data, offset) or BLOCK_BYTES) - (len(data) - offset)
        if missing <= 0 or lba >= header.end:
            return Content(header, snapshot, tuple(entries), header.log_start + offset // BLOCK_BYTES)
        end = min(lba + max(IO_BLOCKS, -(-missing // BLOCK_BYTES)), header.end)
        more = yield from _read_blocks(paths, lun, lba, end)
        if more is None:
            return None
        data += more
        lba = end
