"""The outbox: everything to be saved for one event becomes one Save, and it comes first."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hvcluster.model.facts import FactKind
from hvcluster.model.vocabulary import NOBODY, Incarnation, Instant, NodeId, StoreId
from hvcluster.model.votes import Configuration
from hvcluster.node.core.commands import Noop
from hvcluster.node.core.effects import CancelTimer, Record, Save, Send, SetTimer
from hvcluster.node.core.messages import Entry, TimeoutNow
from hvcluster.node.core.outbox import Outbox
from hvcluster.node.core.saved import SavedState, Snapshot
from hvcluster.sim.disks import saved_after


def test_the_save_comes_first_whenever_it_was_asked_for() -> None:
    """Cores and shells: Save is a barrier, durable before the next effect leaves the process."""
    out = Outbox(NodeId(1))
    out.send(NodeId(2), TimeoutNow(1))
    out.save_vote(2, NodeId(1))
    out.timer("tick", 5)
    out.save_append((Entry(2, 2, Noop()),))
    effects = out.take()
    assert [type(effect) for effect in effects] == [Save, Send, SetTimer]
    assert effects[0] == Save(vote=(2, NodeId(1)), append=(Entry(2, 2, Noop()),))


def test_nothing_to_save_is_no_save() -> None:
    """An event that changes nothing durable waits for no disk."""
    out = Outbox(NodeId(1))
    out.save_append(())
    out.cancel("tick")
    assert out.take() == [CancelTimer("tick")]


def test_an_event_starts_with_an_empty_outbox() -> None:
    """What one event saved is not saved again for the next."""
    out = Outbox(NodeId(1))
    out.save_identity(StoreId(7), Incarnation(2))
    assert out.take() == [Save(identity=(StoreId(7), Incarnation(2)))]
    assert out.take() == []


@pytest.mark.conforms("event-log")
def test_a_fact_carries_node_instant_and_reason() -> None:
    """Cores and shells: every state change is recorded once, with a reason an administrator understands."""
    out = Outbox(NodeId(3))
    out.now = Instant(42)
    out.fact(FactKind.LEADER_ELECTED, "two of three votes", term=9)
    (record,) = out.take()
    assert isinstance(record, Record)
    assert (record.fact.node, record.fact.at, record.fact.reason, record.fact.get("term")) == (
        3,
        42,
        "two of three votes",
        9,
    )


steps = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(1, 3)),
        st.tuples(st.just("truncate"), st.integers(2, 12)),
        st.tuples(st.just("compact"), st.integers(2, 12)),
        st.tuples(st.just("replace"), st.integers(2, 12)),
        st.tuples(st.just("vote"), st.integers(1, 9)),
    ),
    max_size=10,
)


@settings(max_examples=300, deadline=None)
@given(steps)
def test_one_merged_save_says_what_many_small_ones_would(script: list[tuple[str, int]]) -> None:
    """Merging changes of one event into one Save loses none of them and keeps their order."""
    first = Snapshot(1, 1, Configuration((), False), b"{}")
    start = SavedState(StoreId(1), Incarnation(1), 1, NOBODY, first, (Entry(2, 1, Noop()), Entry(3, 1, Noop())))
    merged, single = Outbox(NodeId(1)), Outbox(NodeId(1))
    step_by_step, term = start, 1
    for what, number in script:
        base = step_by_step.snapshot.index if step_by_step.snapshot else 0
        last = step_by_step.entries[-1].index if step_by_step.entries else base
        term += 1
        for out in (merged, single):
            if what == "append":
                out.save_append([Entry(last + n, term, Noop()) for n in range(1, number + 1)])
            elif what == "truncate" and number > base:
                out.save_truncate(number)
            elif what == "compact" and base < number <= last:
                out.save_snapshot(Snapshot(number, 1, Configuration((), False), b"{}"), reset_log=False)
            elif what == "replace":
                out.save_snapshot(Snapshot(number, term, Configuration((), False), b"{}"), reset_log=True)
            elif what == "vote":
                out.save_vote(number, NodeId(number))
        for effect in single.take():
            assert isinstance(effect, Save)
            step_by_step = saved_after(step_by_step, effect)
    effects = merged.take()
    assert len(effects) <= 1
    at_once = start
    for effect in effects:
        assert isinstance(effect, Save)
        at_once = saved_after(start, effect)
    assert at_once == step_by_step
