"""Procedures as generators: questions and pauses out, answers in, and what happens when one is cancelled."""

from __future__ import annotations

import pytest

from hvcluster.model.scsi import GOOD, UNKNOWN, Read, Result, Sense, SenseKey, Status
from hvcluster.model.scsi import TestUnitReady as UnitReady
from hvcluster.model.vocabulary import Instant, LunId, NodeId, PathName
from hvcluster.node.core.effects import CancelTimer, Effect, SetTimer, SubmitScsi
from hvcluster.node.core.outbox import Outbox
from hvcluster.node.core.procedure import ATTEMPTS, BUSY_PAUSE_US, Answers, Procedures, Steps, Wait, ask, ask_any

A, B = PathName("A"), PathName("B")
LUN = LunId(2)
ATTENTION = Result(Status.CHECK_CONDITION, Sense(SenseKey.UNIT_ATTENTION, 0x29, 0))
BUSY = Result(Status.BUSY)


class Runner:
    """Procedures with their outbox, and what came of them."""

    def __init__(self) -> None:
        self.out = Outbox(NodeId(1))
        self.procedures = Procedures(self.out)
        self.now = Instant(1000)
        self.results: list[object] = []

    def start(self, steps: Steps[Answers], name: str = "one") -> list[SubmitScsi]:
        """Begin; the questions it asks."""
        self.procedures.start(self.now, name, steps, lambda _, result: self.results.append(result))
        return self.questions()

    def effects(self) -> list[Effect]:
        return self.out.take()

    def questions(self) -> list[SubmitScsi]:
        return [effect for effect in self.effects() if isinstance(effect, SubmitScsi)]

    def answer(self, question: SubmitScsi, result: Result) -> None:
        self.procedures.answered(self.now, question.token, result)


def test_answers_come_back_in_the_order_of_the_questions() -> None:
    """Commands of one step are answered together, whatever order the answers arrive in."""
    runner = Runner()
    first, second = runner.start(ask(A, LUN, UnitReady(), Read(0, 1)))
    runner.answer(second, Result(Status.GOOD, payload=b"x"))
    assert runner.results == []
    runner.answer(first, GOOD)
    assert runner.results == [(GOOD, Result(Status.GOOD, payload=b"x"))]
    assert not runner.procedures.active("one")


def test_an_answer_counts_once() -> None:
    """A doubled answer, or one to a question never asked, is ignored."""
    runner = Runner()
    first, second = runner.start(ask(A, LUN, UnitReady(), Read(0, 1)))
    runner.answer(first, GOOD)
    runner.answer(first, GOOD)
    runner.procedures.answered(runner.now, 4711, GOOD)
    assert runner.results == []
    runner.answer(second, UNKNOWN)
    assert runner.results == [(GOOD, UNKNOWN)]


def test_a_unit_attention_is_asked_past_at_once() -> None:
    """SAM: the command was not executed; it is simply sent again, but not for ever."""
    runner = Runner()
    (question,) = runner.start(ask(A, LUN, UnitReady()))
    for _ in range(ATTEMPTS - 1):
        runner.answer(question, ATTENTION)
        (question,) = runner.questions()
    runner.answer(question, ATTENTION)
    assert runner.results == [(ATTENTION,)]


def test_a_busy_array_is_given_a_pause() -> None:
    """BUSY: ask again, a little later."""
    runner = Runner()
    (question,) = runner.start(ask(A, LUN, UnitReady()))
    runner.answer(question, BUSY)
    assert runner.effects() == [SetTimer("step:one", Instant(runner.now + BUSY_PAUSE_US))]
    runner.procedures.timer(runner.now, "one")
    (question,) = runner.questions()
    runner.answer(question, GOOD)
    assert runner.results == [(GOOD,)]


@pytest.mark.parametrize("result", [UNKNOWN, Result(Status.RESERVATION_CONFLICT)], ids=lambda r: r.status.name)
def test_unknown_and_conflict_are_answers_not_reasons_to_repeat(result: Result) -> None:
    """UNKNOWN may have been executed: whoever asked must read again, not send again."""
    runner = Runner()
    (question,) = runner.start(ask(A, LUN, UnitReady()))
    runner.answer(question, result)
    assert runner.results == [(result,)]
    assert runner.questions() == []


def test_any_path_will_do_for_looking() -> None:
    """ask_any: on the first path that answers; all UNKNOWN when none does."""
    for answers, expected in (((UNKNOWN, GOOD), GOOD), ((UNKNOWN, UNKNOWN), UNKNOWN)):
        runner = Runner()
        (question,) = runner.start(ask_any(lambda: (A, B), LUN, UnitReady()))
        assert question.path == A
        runner.answer(question, answers[0])
        (question,) = runner.questions()
        assert question.path == B
        runner.answer(question, answers[1])
        assert runner.results == [(expected,)]
    nowhere = Runner()
    assert nowhere.start(ask_any(lambda: (), LUN, UnitReady())) == []
    assert nowhere.results == [(UNKNOWN,)]


def test_what_was_cancelled_never_goes_on() -> None:
    """Answers to a cancelled procedure are ignored, also when another of its name is under way."""
    runner = Runner()
    (old,) = runner.start(ask(A, LUN, UnitReady()))
    runner.procedures.cancel("one")
    assert runner.effects() == [CancelTimer("step:one")]
    (new,) = runner.start(ask(B, LUN, UnitReady()))
    runner.answer(old, GOOD)
    assert runner.results == []
    runner.answer(new, UNKNOWN)
    assert runner.results == [(UNKNOWN,)]


def test_a_timer_does_not_stand_in_for_an_answer() -> None:
    """A pause that is over says nothing while a question is open."""
    runner = Runner()
    runner.start(ask(A, LUN, UnitReady()))
    runner.procedures.timer(runner.now, "one")
    runner.procedures.timer(runner.now, "never started")
    assert runner.results == []
    assert runner.procedures.active("one")


def test_a_procedure_may_start_the_next_when_it_ends() -> None:
    """`done` runs after the procedure is over: one of its name may begin."""
    runner = Runner()

    def pauses(us: int) -> Steps[int]:
        yield Wait(us)
        return us

    def again(now: Instant, us: int) -> None:
        runner.results.append(us)
        if us < 3:
            runner.procedures.start(now, "one", pauses(us + 1), again)

    runner.procedures.start(runner.now, "one", pauses(1), again)
    for _ in range(3):
        runner.procedures.timer(runner.now, "one")
    assert runner.results == [1, 2, 3]
    assert not runner.procedures.active("one")


def test_one_of_a_name_at_a_time() -> None:
    """Two hands on one disk is our own bug."""
    runner = Runner()
    runner.start(ask(A, LUN, UnitReady()))
    with pytest.raises(AssertionError):
        runner.start(ask(A, LUN, UnitReady()))
