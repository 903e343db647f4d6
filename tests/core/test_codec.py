"""The JSON form of values: there and back for everything that is stored or sent, and Malformed for everything else."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hvcluster.model.codec import Malformed, dump, dump_tagged, load, load_tagged
from hvcluster.model.vocabulary import GroupState
from hvcluster.node.core.commands import COMMANDS, AssignGroup, Command, NodeUp, ReportGroup
from hvcluster.node.core.requests import REQUESTS
from hvcluster.node.core.saved import SavedState, Snapshot
from tests.core.strategies import commands, saved_states

junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@settings(deadline=None)
@given(commands)
def test_every_command_comes_back_as_it_went(command: Command) -> None:
    """Log, witness and wire carry commands in this form."""
    data = dump_tagged(command)
    assert load_tagged(COMMANDS, data) == command
    assert dump_tagged(load_tagged(COMMANDS, data)) == data


@settings(deadline=None, max_examples=50)
@given(saved_states)
def test_a_whole_saved_state_comes_back_as_it_went(saved: SavedState) -> None:
    """Snapshots hold bytes, options, tuples and enums."""
    assert saved.snapshot is None or load(Snapshot, dump(saved.snapshot)) == saved.snapshot


def test_equal_values_have_equal_bytes() -> None:
    """Canonical: the database's bytes are compared between nodes."""
    one, two = NodeUp(1, 2, 3), NodeUp(1, 2, 3)  # type: ignore[arg-type]
    assert dump(one) == dump(two) == b'{"incarnation":2,"node":1,"store":3}'


@settings(deadline=None)
@given(st.binary(max_size=60))
def test_garbage_is_malformed_and_nothing_else(data: bytes) -> None:
    """Input is never trusted; whatever does not fit exactly raises Malformed."""
    for kinds in (COMMANDS, REQUESTS):
        with pytest.raises(Malformed):
            load_tagged(kinds, data)
    with pytest.raises(Malformed):
        load(Snapshot, data)


@settings(deadline=None, max_examples=200)
@given(st.sampled_from(COMMANDS), junk)
def test_the_right_name_with_the_wrong_contents_is_malformed(kind: type[Command], contents: object) -> None:
    """The tag alone proves nothing."""
    data = json.dumps([kind.__name__, contents]).encode()
    try:
        value = load_tagged(COMMANDS, data)
    except Malformed:
        return
    assert load_tagged(COMMANDS, dump_tagged(value)) == value, "what is let in is a value like any other"


@settings(deadline=None, max_examples=100)
@given(commands, st.data())
def test_one_field_of_another_type_is_malformed(command: Command, data: st.DataObject) -> None:
    """Numbers are not texts, and booleans are not numbers."""
    name, fields = json.loads(dump_tagged(command))
    if not fields:
        return
    field = data.draw(st.sampled_from(sorted(fields)))
    fields[field] = data.draw(junk.filter(lambda value: type(value) is not type(fields[field])))
    with pytest.raises(Malformed):
        load_tagged(COMMANDS, json.dumps([name, fields]).encode())


@pytest.mark.parametrize(
    "data",
    [
        b"[" * 100_000,
        b'{"a":' * 50_000,
        b"9" * 10_000,
        b"\xff\xfe",
        b'["NodeUp",{"node":1,"incarnation":2,"store":3,"more":4}]',
        b'["NodeUp",{"node":1,"incarnation":2}]',
        b'["NodeUp",{"node":true,"incarnation":2,"store":3}]',
        b'["NodeUp",{"node":1.0,"incarnation":2,"store":3}]',
        b'["ReportGroup",{"group":"D1","seen":1,"state":"GONE","cause":"","reason":""}]',
        b'["ReportGroup",{"group":"D1","seen":1,"state":0,"cause":"","reason":""}]',
        b'["os.system",{}]',
        b'["Noop"]',
        b'"ab"',
        b"null",
        b"",
    ],
    ids=lambda data: data[:30].decode("latin-1"),
)
def test_known_tricks_are_malformed(data: bytes) -> None:
    """Depth, length, missing and unknown fields, booleans for numbers, names that are not ours."""
    with pytest.raises(Malformed):
        load_tagged(COMMANDS, data)


def test_the_message_says_where_and_what() -> None:
    """An operator with a damaged file needs the place."""
    with pytest.raises(Malformed, match=r"AssignGroup\.candidates\[1\]: int is expected"):
        load_tagged(
            (AssignGroup,),
            b'["AssignGroup",{"group":"D1","seen":1,"owner":1,"cause":"","candidates":[1,"2"],"rule":"","restarts":0,"failovers":0,"resumes":0,"holder":0}]',
        )


def test_enums_go_by_name() -> None:
    """Numbers of enums may be renumbered; names are the contract."""
    assert b'"ONLINE"' in dump(ReportGroup("D1", 1, GroupState.ONLINE, "", ""))  # type: ignore[arg-type]
