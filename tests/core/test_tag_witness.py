"""The file share and the cloud witness, step by step: a lock that is a file, a vote, and a tag that only rises."""

from __future__ import annotations

from typing import Generic, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hvcluster.model.facts import FactKind
from hvcluster.model.share import (
    MAX_FILE_BYTES,
    UNANSWERED,
    ReadFile,
    ShareAnswer,
    ShareOutcome,
    StoredFile,
    WriteFile,
    carried_out,
)
from hvcluster.model.vocabulary import NOBODY, Incarnation, NodeId
from hvcluster.node.core.effects import Record
from hvcluster.node.core.outbox import Outbox
from hvcluster.node.core.procedure import AskShare, ShareSteps
from hvcluster.node.core.tag_arbitration import Seen, change, defend, give_up, hold
from hvcluster.node.core.tag_record import FREE, Owner, Tag, TagRecord
from hvcluster.node.core.witness import Held

DELAY_US = 6_000_000
ONE, TWO, THREE = (Owner(NodeId(n), Incarnation(1)) for n in (1, 2, 3))
OWNED = TagRecord(ONE, FREE, 3, NodeId(1), 3, 20)
T = TypeVar("T")


class Share:
    """A file, and what becomes of the next questions: "lost" (never carried out), "silent" (carried out, no answer)."""

    def __init__(self, record: TagRecord | None = None) -> None:
        self.file = StoredFile(record.encode(), 1) if record is not None else StoredFile()
        self.troubles: list[str] = []

    def ask(self, step: AskShare) -> ShareAnswer:
        """One question, answered or not."""
        trouble = self.troubles.pop(0) if self.troubles else ""
        if trouble == "lost":
            return UNANSWERED
        self.file, answer = carried_out(self.file, step.request)
        return UNANSWERED if trouble == "silent" else answer

    @property
    def record(self) -> TagRecord:
        """What stands in it."""
        record = TagRecord.decode(self.file.data)
        assert record is not None
        return record


class Life(Generic[T]):
    """One procedure: it runs until it waits or ends, and `goes_on` when its pause is over."""

    def __init__(self, share: Share, steps: ShareSteps[T]) -> None:
        self._share = share
        self._steps = steps
        self.waited: list[int] = []
        self.ended: list[T] = []
        self.goes_on()

    def goes_on(self) -> None:
        """Up to the next pause."""
        try:
            step = next(self._steps)
            while isinstance(step, AskShare):
                step = self._steps.send(self._share.ask(step))
            self.waited.append(step.us)
        except StopIteration as stop:
            self.ended.append(stop.value)

    @property
    def result(self) -> T:
        """What it returned."""
        (result,) = self.ended
        return result


class Taker(Life[tuple[Held, Seen | None, int]]):
    """A node that wants to hold the file, with a log up to `log`."""

    def __init__(self, share: Share, me: Owner, log: Tag = (9, 9), *, needed: bool = True) -> None:
        self.out = Outbox(me.node)
        super().__init__(share, hold(self.out, me, DELAY_US, lambda tag: tag <= log, lambda: needed))

    @property
    def held(self) -> Held:
        """How it ended."""
        return self.result[0]


def test_a_file_nobody_holds_is_taken_at_once() -> None:
    """The first node to come makes the file; the next one after a polite change of leader waits for nobody."""
    share = Share()
    assert Taker(share, ONE).held is Held.YES
    assert share.record.owner == ONE
    seen = Seen(share.record, share.file.tag)
    Life(share, give_up(Outbox(NodeId(1)), seen, ONE))
    assert share.record.owner == FREE
    taker = Taker(share, TWO)
    assert (taker.held, taker.waited, share.record.owner) == (Held.YES, [], TWO)


def test_whoever_does_not_hold_it_waits_for_the_arbitration_delay() -> None:
    """wsfc.md 3.4: any node but the owner waits 6 s; an owner that has not answered by then loses the lock."""
    share = Share(OWNED)
    taker = Taker(share, TWO)
    assert (taker.waited, share.record.owner, share.record.challenger) == ([DELAY_US], ONE, TWO)
    taker.goes_on()
    assert (taker.held, share.record.owner, share.record.challenger) == (Held.YES, TWO, FREE)


def test_a_living_owner_answers_and_the_challenger_is_refused() -> None:
    """wsfc.md 3.4: the owner keeps the lock."""
    share = Share(OWNED)
    taker = Taker(share, TWO)
    out = Outbox(NodeId(1))
    assert Life(share, defend(out, ONE)).result[0] is Held.YES
    facts = [effect.fact.kind for effect in out.take() if isinstance(effect, Record)]
    assert facts == [FactKind.WITNESS_DEFENDED]
    taker.goes_on()
    assert (taker.held, share.record) == (Held.NO, OWNED)


def test_of_two_challengers_one_wins() -> None:
    """Two sides without the owner must not both have the witness's vote."""
    share = Share(OWNED)
    takers = [Taker(share, TWO), Taker(share, THREE)]
    for taker in takers:
        taker.goes_on()
    assert [taker.held for taker in takers] == [Held.YES, Held.NO]
    assert share.record.owner == TWO


def test_a_new_life_of_the_owner_takes_its_own_lock_at_once() -> None:
    """A node that starts again is challenged by nobody, and challenges nobody."""
    again = Owner(NodeId(1), Incarnation(2))
    taker = Taker(Share(OWNED), again)
    assert (taker.held, taker.waited) == (Held.YES, [])


def test_taking_ones_own_file_makes_late_writes_of_an_older_hold_void() -> None:
    """A hold that gave the witness up without an answer, and holds it again: the giving up must not arrive then."""
    share = Share(OWNED)
    late = WriteFile(TagRecord.blank().encode(), share.file.tag)
    assert Taker(share, ONE).held is Held.YES
    share.file, answer = carried_out(share.file, late)
    assert (answer.outcome, share.record.owner) == (ShareOutcome.CHANGED, ONE)


@pytest.mark.conforms("oracle-9")
def test_who_has_an_older_log_than_the_tag_does_not_take_it() -> None:
    """wsfc.md 3.6: the witness knows only a newer tag, so a stale node must not form."""
    for log, outcome in (((3, 19), Held.BEHIND), ((2, 99), Held.BEHIND), ((3, 20), Held.YES), ((4, 1), Held.YES)):
        share = Share(OWNED)
        taker = Taker(share, TWO, log)
        taker.goes_on()
        assert taker.held is outcome
        assert (share.record.owner == TWO) is (outcome is Held.YES)


def test_a_lock_that_is_not_needed_any_more_stays_where_it_is() -> None:
    """A leader was heard meanwhile: it is the one that wants the witness."""
    share = Share(OWNED)
    assert Taker(share, TWO, needed=False).held is Held.NEEDLESS
    assert share.record == OWNED


def test_a_file_that_is_something_else_is_left_alone() -> None:
    """Whoever named a wrong share does not lose what lies there."""
    share = Share()
    share.file = StoredFile(b"holiday photographs", 4)
    assert Taker(share, ONE).held is Held.UNREADABLE
    assert share.file.data == b"holiday photographs"


@given(
    st.lists(st.sampled_from(["", "lost", "silent"]), max_size=6),
    st.integers(0, 3),
    st.integers(0, 30),
)
def test_a_change_is_reported_exactly_when_it_stands_there(troubles: list[str], term: int, index: int) -> None:
    """Every question has one answer, and UNKNOWN is looked up: no vote and no tag counts that is not written."""
    share = Share(OWNED)
    share.troubles = list(troubles)
    before = Seen(share.record, share.file.tag)
    result = Life(share, change(Outbox(NodeId(1)), before, lambda record: record.raised((term, index)))).result
    if isinstance(result, Seen):
        assert result == Seen(share.record, share.file.tag)
        assert share.record.tag == max((3, 20), (term, index))
    else:
        assert result is Held.NO_PATH
        assert "lost" in troubles or "silent" in troubles


@pytest.mark.conforms("usb-witness")
def test_the_file_is_small_and_only_replaced_over_the_version_that_was_read() -> None:
    """A file that can be locked and replaced is all the witness asks of a share."""
    file, answer = carried_out(StoredFile(), ReadFile())
    assert answer == ShareAnswer(ShareOutcome.DONE, b"", "")
    file, first = carried_out(file, WriteFile(OWNED.encode(), ""))
    same, refused = carried_out(file, WriteFile(b"over nothing", ""))
    assert (refused.outcome, refused.data, same) == (ShareOutcome.CHANGED, OWNED.encode(), file)
    file, second = carried_out(file, WriteFile(b"newer", first.version))
    assert file.data == b"newer"
    assert second.version not in ("", first.version)
    assert carried_out(file, WriteFile(bytes(MAX_FILE_BYTES + 1), second.version))[0] == file
    assert len(OWNED.encode()) < 512


@given(st.binary(max_size=300))
def test_no_bytes_make_a_record_fail(data: bytes) -> None:
    """A core never raises for anything the wire brings."""
    record = TagRecord.decode(data)
    assert record is None or record.tag_term <= record.term


def test_a_record_that_breaks_its_own_law_is_none() -> None:
    """The tag is of a term that the witness knows; nothing is negative."""
    assert TagRecord.decode(OWNED.encode()) == OWNED
    for wrong in (TagRecord(ONE, FREE, 2, NOBODY, 3, 1), TagRecord(ONE, FREE, -1, NOBODY, -1, 0)):
        assert TagRecord.decode(wrong.encode()) is None
