"""The log of one node, beside a plain list that does the same, and its disk beside both."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hvcluster.model.vocabulary import NOBODY, Incarnation, NodeId, StoreId
from hvcluster.model.votes import Configuration, Voter
from hvcluster.node.core.commands import Command, Configure, Noop
from hvcluster.node.core.effects import Save
from hvcluster.node.core.messages import Entry
from hvcluster.node.core.outbox import Outbox
from hvcluster.node.core.raft.log import Log
from hvcluster.node.core.saved import SavedState, Snapshot
from hvcluster.sim.disks import saved_after


def voters(*nodes: int) -> Configuration:
    """A configuration of these nodes."""
    return Configuration(tuple(Voter(NodeId(n), StoreId(n)) for n in nodes), False)


FIRST = Snapshot(1, 1, voters(1, 2, 3), b"{}")
START = SavedState(StoreId(1), Incarnation(1), 1, NOBODY, FIRST, ())

commands: st.SearchStrategy[Command] = st.one_of(
    st.just(Noop()),
    st.sets(st.integers(1, 5), min_size=1).map(lambda nodes: Configure(voters(*sorted(nodes)), "drawn")),
)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.lists(commands, min_size=1, max_size=4)),
        st.tuples(st.just("truncate"), st.integers(0, 30)),
        st.tuples(st.just("compact"), st.integers(0, 30)),
        st.tuples(st.just("save"), st.none()),
    ),
    max_size=30,
)


@settings(max_examples=200, deadline=None)
@given(steps)
def test_log_list_and_disk_tell_the_same_story(script: list[tuple[str, object]]) -> None:
    """Memory and disk change together (figure 2), and the newest configuration is in force (6)."""
    out = Outbox(NodeId(1))
    log = Log(START, out)
    disk = START
    plain: list[Entry] = []  # everything after index 1, compacted or not
    base, term = 1, 1
    for what, argument in script:
        last = 1 + len(plain)
        if what == "append":
            assert isinstance(argument, list)
            term += 1
            entries = tuple(Entry(last + n, term, command) for n, command in enumerate(argument, 1))
            log.append(entries)
            plain += entries
        elif what == "truncate":
            assert isinstance(argument, int)
            at = base + 1 + argument
            if at <= last:
                log.truncate_from(at)
                del plain[at - 2 :]
        elif what == "compact":
            assert isinstance(argument, int)
            at = base + argument
            if base < at <= last:
                log.compact(Snapshot(at, plain[at - 2].term, log.configuration_at(at), b"{}"))
                base = at
        for effect in out.take() if what == "save" else ():
            assert isinstance(effect, Save)
            disk = saved_after(disk, effect)
    for effect in out.take():
        assert isinstance(effect, Save)
        disk = saved_after(disk, effect)
    again = Log(disk, Outbox(NodeId(1)))
    last = 1 + len(plain)
    for one in (log, again):
        assert (one.snapshot_index, one.last_index) == (base, last)
        assert one.last_term == (plain[-1].term if plain else 1)
        assert one.entries_from(base + 1, 1000) == tuple(plain[base - 1 :])
        for index in range(-1, last + 3):
            known = base <= index <= last
            expected = (plain[index - 2].term if index > 1 else 1) if known else None
            assert one.term_at(index) == expected
        for index in range(base, last + 1):
            changes = [e.command.configuration for e in plain[: index - 1] if isinstance(e.command, Configure)]
            assert one.configuration_at(index) == (changes[-1] if changes else FIRST.configuration)
        assert one.configuration == one.configuration_at(last)


def test_an_empty_disk_has_an_empty_log_that_nobody_votes_by() -> None:
    """A wiped node starts at index 0, term 0, with a configuration of nobody."""
    log = Log(replace(START, snapshot=None), Outbox(NodeId(1)))
    assert (log.last_index, log.last_term, log.snapshot_index) == (0, 0, 0)
    assert log.configuration.votes == 0


def test_taking_over_a_log_forgets_ours_whole() -> None:
    """A snapshot from a leader, or the witness's database, replaces what was there, on the disk too."""
    out = Outbox(NodeId(1))
    log = Log(START, out)
    log.append((Entry(2, 1, Noop()), Entry(3, 1, Configure(voters(1), "ours"))))
    newer = Snapshot(7, 4, voters(2, 3), b"{}")
    log.replace(newer, (Entry(8, 5, Noop()),))
    (save,) = out.take()
    assert isinstance(save, Save)
    disk = saved_after(START, save)
    assert (disk.snapshot, disk.entries) == (newer, (Entry(8, 5, Noop()),))
    assert log.configuration == voters(2, 3)


@given(st.tuples(st.integers(0, 5), st.integers(0, 5)), st.lists(st.integers(1, 3), max_size=5))
@pytest.mark.conforms("database")
def test_up_to_date_means_last_term_first_then_length(other: tuple[int, int], terms: list[int]) -> None:
    """Raft 5.4.1: the log with the later last term is newer; with equal terms, the longer one."""
    log = Log(START, Outbox(NodeId(1)))
    log.append(tuple(Entry(2 + n, term, Noop()) for n, term in enumerate(sorted(terms))))
    term, index = other
    newer = term > log.last_term or (term == log.last_term and index >= log.last_index)
    assert log.is_behind(term, index) == newer
