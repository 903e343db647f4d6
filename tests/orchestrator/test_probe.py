"""The judge of a VM's journal believes nothing: each broken promise is found and named."""

from __future__ import annotations

import pytest

from hvcluster.orchestrator.downtime import cut
from hvcluster.orchestrator.probe import RecordJson, Seen, judge
from hvcluster.v1 import node_pb2


def chain(*generations: int) -> list[RecordJson]:
    """A good journal with one record per generation given."""
    return [
        RecordJson(
            sequence=at,
            generation=generation,
            node=1,
            kind="client",
            payload=f"p{at}",
            previous=f"c{at - 1}",
            checksum=f"c{at}",
        )
        for at, generation in enumerate(generations, start=1)
    ]


def test_a_good_journal_has_no_problem() -> None:
    """One chain, generations never fall, every acknowledged write is in it."""
    verdict = judge("D1", chain(1, 1, 2, 3), {"p2": 2, "p4": 4})
    assert verdict.problems == ()
    assert verdict.generations == (1, 2, 3)


@pytest.mark.parametrize(
    ("records", "acknowledged", "words"),
    [
        (chain(1, 2, 1), {}, "generation falls from 2 to 1"),
        (chain(1, 1, 1), {"p9": 3}, "lost"),
        (chain(1, 1), {"p3": 3}, "lost"),
        ([chain(1, 1, 1)[0], chain(1, 1, 1)[2]], {}, "record 3 follows record 1"),
        ([*chain(1), RecordJson({**chain(1, 1)[1], "previous": "x"})], {}, "does not continue the chain"),
    ],
)
def test_a_broken_promise_is_named(records: list[RecordJson], acknowledged: dict[str, int], words: str) -> None:
    """A gap, a fork, a fallen generation and a lost write are all found."""
    assert any(words in problem for problem in judge("D1", records, acknowledged).problems)


def test_a_gap_is_the_time_between_two_answers() -> None:
    """Downtime is what a client saw: from the last answer before it to the first after."""
    seen = Seen("D1")
    for instant in (1.0, 1.1):
        seen.answer(instant)
    seen.failure()
    seen.failure()
    seen.answer(3.0)
    seen.answer(9.0)
    assert [round(gap.seconds, 3) for gap in seen.gaps] == [1.9]


def test_downtime_is_cut_by_recorded_facts() -> None:
    """The parts add up to what the client waited for; a missing fact is None and never guessed."""

    def fact(kind: str, at_ms: int, **about: str) -> node_pb2.FactLine:
        return node_pb2.FactLine(kind=kind, monotonic_us=1_000_000 + at_ms * 1000, about=about)

    facts = [
        fact("VM_ONLINE", 1300, group="D1", generation="2"),
        fact("NODE_UNREACHABLE", 1000, peer="1"),
        fact("NODE_UNREACHABLE", 10, peer="3"),
        fact("GROUP_ASSIGNED", 1050, group="D1", generation="2"),
        fact("DISK_ONLINE", 1100, group="D1", generation="2"),
        fact("VM_ONLINE", -5, group="D1", generation="2"),
    ]
    parts = cut(facts, "D1", 2, 1, 1_000_000, 2.35)
    assert [(name, round(value or -1, 3)) for name, value in parts.steps()] == [
        ("detection", 1.0), ("decision", 0.05), ("reservation", 0.05), ("VM start", 0.2), ("client", 0.05),
    ]  # fmt: skip
    assert cut([], "D1", 2, 1, 1_000_000, None).steps()[0] == ("detection", None)
