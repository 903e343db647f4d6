"""Challenge and defence on a file that is written only over the version that was read.

Law: the version decides, by compare-and-write. A challenger writes its name, waits ArbitrationDelay, and takes the file
only if nothing was written meanwhile; a living owner has removed the name by then. A write without an answer is looked
up, never assumed, and may safely be written again: of two writes over one version only one is carried out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from hvcluster.model.facts import FactKind
from hvcluster.model.share import NO_FILE, ReadFile, ShareAnswer, ShareOutcome, WriteFile
from hvcluster.model.values import value
from hvcluster.model.vocabulary import NOBODY, Instant

from .outbox import Outbox
from .procedure import AskShare, ShareSteps, Wait
from .tag_record import FREE, Owner, Tag, TagRecord
from .witness import Held

ROUNDS = 8


@value
class Seen:
    """A record and the version it stands under."""

    record: TagRecord
    version: str


def look() -> ShareSteps[Seen | Held]:
    """Read the file; why not, when it cannot be read."""
    return _seen((yield AskShare(ReadFile())))


def _seen(answer: ShareAnswer) -> Seen | Held:
    if answer.outcome is ShareOutcome.UNKNOWN:
        return Held.NO_PATH
    if answer.outcome is ShareOutcome.BARRED:
        return Held.BARRED
    if answer.version == NO_FILE:
        return Seen(TagRecord.blank(), NO_FILE)
    record = TagRecord.decode(answer.data)
    return Seen(record, answer.version) if record is not None else Held.UNREADABLE


def change(out: Outbox, seen: Seen, to: Callable[[TagRecord], TagRecord | None]) -> ShareSteps[Seen | Held]:
    """Write what `to` makes of the record that stands there, looking again when it has changed.

    Whatever an owner writes removes a challenger. NO when `to` gives None: what stands there is not ours to change (any
    more).
    """
    for _ in range(ROUNDS):
        new = to(seen.record)
        if new is None:
            return Held.NO
        if new == seen.record:
            return seen
        answer = yield AskShare(WriteFile(new.encode(), seen.version))
        if answer.outcome is ShareOutcome.DONE:
            _note_defence(out, seen.record, new)
            return Seen(new, answer.version)
        found = (yield from look()) if answer.outcome is ShareOutcome.UNKNOWN else _seen(answer)
        if isinstance(found, Held):
            return found
        seen = found
    return Held.NO_PATH


def _note_defence(out: Outbox, before: TagRecord, after: TagRecord) -> None:
    challenger = before.challenger
    if challenger != FREE and after.challenger == FREE and after.owner == before.owner:
        out.fact(FactKind.WITNESS_DEFENDED, f"node {challenger.node} challenged for it", challenger=challenger.node)


def hold(
    out: Outbox, me: Owner, delay_us: int, may_form: Callable[[Tag], bool], needed: Callable[[], bool]
) -> ShareSteps[tuple[Held, Seen | None, Instant]]:
    """Take the file if nobody holds it; otherwise challenge its owner, and take it only if it did not defend.

    It is written even if it is ours already: whatever an older hold still has under way (it may give the witness up)
    is over a version that is no more. `may_form`: whether our log is as new as the tag. The instant is when the proof
    that it is ours was asked for.
    """
    challenged, told = NO_FILE, False
    for _ in range(ROUNDS):
        found = yield from look()
        if isinstance(found, Held):
            return found, None, out.now
        record, asked = found.record, out.now
        if not needed():
            return Held.NEEDLESS, found, asked
        if record.owner.node in (NOBODY, me.node) or found.version == challenged:
            if not may_form(record.tag):
                return Held.BEHIND, found, asked
            answer = yield AskShare(WriteFile(replace(record, owner=me, challenger=FREE).encode(), found.version))
            if answer.outcome is ShareOutcome.DONE:
                return Held.YES, Seen(replace(record, owner=me, challenger=FREE), answer.version), asked
            continue  # changed: somebody was first, or lives; unknown: look what became of it
        if challenged != NO_FILE:
            return Held.NO, found, asked  # its owner defended, or another challenger was first
        if not told:
            told = True
            reason = f"node {record.owner.node} holds it; it has {delay_us // 1000} ms to defend"
            out.fact(FactKind.WITNESS_CHALLENGED, reason, holder=record.owner.node)
        if record.challenger == FREE:
            answer = yield AskShare(WriteFile(replace(record, challenger=me).encode(), found.version))
            if answer.outcome is not ShareOutcome.DONE:
                continue
            challenged = answer.version
        else:
            challenged = found.version  # somebody waits already; whoever has waited long enough takes it
        yield Wait(delay_us)
    return Held.NO_PATH, None, out.now


def defend(out: Outbox, me: Owner) -> ShareSteps[tuple[Held, Seen | None, Instant]]:
    """See that we still hold it, and remove a challenger. The instant is when the proof was asked for."""
    asked = out.now
    found = yield from look()
    if isinstance(found, Held):
        return found, None, asked
    if found.record.owner != me:
        return Held.NO, found, asked
    done = yield from change(out, found, lambda record: record.defended() if record.owner == me else None)
    return (done, None, asked) if isinstance(done, Held) else (Held.YES, done, asked)


def give_up(out: Outbox, seen: Seen, me: Owner) -> ShareSteps[None]:
    """Let whoever needs the witness have it at once."""

    def free(record: TagRecord) -> TagRecord | None:
        return replace(record, owner=FREE, challenger=FREE) if record.owner == me else None

    yield from change(out, seen, free)
