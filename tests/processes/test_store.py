"""A node's saved state on a real disk: kills lose nothing that was acknowledged, and half a file is never used."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hvcluster.model.definition import ClusterDefinition, NodeDefinition
from hvcluster.model.vocabulary import NOBODY, Incarnation, NodeId, StoreId
from hvcluster.model.votes import Configuration, Voter
from hvcluster.node.beginning import Origin, begin
from hvcluster.node.core.commands import NodeDown, Noop
from hvcluster.node.core.effects import Save
from hvcluster.node.core.messages import Entry
from hvcluster.node.core.saved import SavedState, Snapshot
from hvcluster.node.store import FILE_NAME, CorruptState, Store

DEADLINE_S = 30.0
DEFINITION = ClusterDefinition("lab", "lab-1", (NodeDefinition(NodeId(1), "HV1"), NodeDefinition(NodeId(2), "HV2")))
CONFIGURATION = Configuration((Voter(NodeId(1), StoreId(11)), Voter(NodeId(2), StoreId(12))), True)
WIPED = SavedState(StoreId(7), Incarnation(0), 0, NOBODY, None, ())

SAVES_FOR_EVER = """
import sys
from pathlib import Path
from hvcluster.node.core.commands import Noop
from hvcluster.node.core.effects import Save
from hvcluster.node.core.messages import Entry
from hvcluster.node.store import Store
store = Store.open(Path(sys.argv[1]))
index = store.load().entries[-1:]
index = index[0].index if index else 0
while True:
    index += 1
    store.save([Save(vote=(index, 2), append=(Entry(index, index, Noop()),))])
    print(index, flush=True)
"""


def entry(index: int, term: int = 1) -> Entry:
    return Entry(index, term, NodeDown(NodeId(2), Incarnation(index), "no heartbeat"))


def snapshot(index: int) -> Snapshot:
    return Snapshot(index, 1, CONFIGURATION, b"database at %d" % index)


def reopened(store: Store, folder: Path) -> SavedState:
    store.close()
    again = Store.open(folder)
    try:
        return again.load()
    finally:
        again.close()


def test_what_was_created_is_loaded(tmp_path: Path) -> None:
    """core/saved.py: all of it comes back, entries after the snapshot without a gap."""
    state = SavedState(StoreId(2**62), Incarnation(3), 9, NodeId(2), snapshot(4), (entry(5), entry(6, 2)))
    assert reopened(Store.create(tmp_path, state), tmp_path) == state


def test_saves_of_one_turn_are_applied_in_order(tmp_path: Path) -> None:
    """core/effects.py, Save: snapshot, then truncation, then appended entries; several saves one after the other."""
    store = Store.create(tmp_path, WIPED)
    store.save([
        Save(identity=(StoreId(7), Incarnation(1)), snapshot=snapshot(3), reset_log=True),
        Save(append=(entry(4), entry(5), entry(6))),
        Save(vote=(5, NodeId(1)), truncate_from=5, append=(entry(5, 2),)),
    ])  # fmt: skip
    expected = SavedState(StoreId(7), Incarnation(1), 5, NodeId(1), snapshot(3), (entry(4), entry(5, 2)))
    assert reopened(store, tmp_path) == expected


def test_a_snapshot_keeps_the_entries_after_it_unless_the_log_is_reset(tmp_path: Path) -> None:
    """core/effects.py, Save: a snapshot drops entries up to its index; with reset_log it drops all."""
    store = Store.create(tmp_path, WIPED)
    store.save([Save(append=(entry(1), entry(2), entry(3)))])
    store.save([Save(snapshot=snapshot(2))])
    assert store.load().entries == (entry(3),)
    store.save([Save(snapshot=snapshot(3), reset_log=True)])
    assert store.load().entries == ()
    store.save([Save(append=(entry(4),)), Save(snapshot=snapshot(9), reset_log=True), Save(append=(entry(10),))])
    assert reopened(store, tmp_path).entries == (entry(10),)


def test_a_save_that_breaks_the_log_changes_nothing(tmp_path: Path) -> None:
    """Cores and shells: a Save is durable as a whole or not at all; one that would leave a gap is a bug and stops the
    node.
    """
    store = Store.create(tmp_path, WIPED)
    with pytest.raises(AssertionError):
        store.save([Save(vote=(8, NodeId(1)), append=(entry(2),))])
    assert reopened(store, tmp_path) == WIPED


def test_a_kill_loses_no_acknowledged_save(tmp_path: Path) -> None:
    """Cores and shells: `Save` is a barrier; what was said to be durable is there after SIGKILL, whole and readable."""
    Store.create(tmp_path, WIPED).close()
    acknowledged = 0
    for round_ in range(5):
        child = subprocess.Popen(
            [sys.executable, "-c", SAVES_FOR_EVER, str(tmp_path)], stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        until = time.monotonic() + DEADLINE_S
        goal = acknowledged + 40 + 7 * round_
        while acknowledged < goal and time.monotonic() < until:
            acknowledged = int(child.stdout.readline())
        os.kill(child.pid, signal.SIGKILL)
        rest = [int(line) for line in child.stdout.read().split("\n")[:-1] if line]
        child.wait()
        acknowledged = max([acknowledged, *rest])
        store = Store.open(tmp_path)
        state = store.load()
        store.close()
        assert len(state.entries) >= acknowledged >= goal
        assert [e.index for e in state.entries] == list(range(1, len(state.entries) + 1))
        assert state.term == len(state.entries), "vote and entries of one save belong together"


def damaged(folder: Path, statement: str) -> None:
    with sqlite3.connect(folder / FILE_NAME) as db:
        db.execute(statement)
    db.close()


@pytest.mark.parametrize(
    ("statement", "what"),
    [
        ("UPDATE vote SET term = 3", "checksum"),
        ("UPDATE identity SET store = 12", "checksum"),
        ("UPDATE log SET command = x'00' WHERE position = 6", "checksum"),
        ("UPDATE snapshot SET database = x'00'", "checksum"),
        ("UPDATE vote SET term = 'five'", "wrong kind"),
        ("DELETE FROM log WHERE position = 6", "gap"),
        ("DELETE FROM log WHERE position = 7", "ends with entry 6; 7 was saved"),
        ("DELETE FROM snapshot", "does not follow"),
        ("DELETE FROM vote", "nothing in table"),
        ("DROP TABLE log", "damaged"),
        ("PRAGMA user_version = 99", "format"),
    ],
)
def test_a_state_that_is_not_whole_is_refused(tmp_path: Path, statement: str, what: str) -> None:
    """Bad input: a corrupt saved-state file is named, with the way back; never start from half a file."""
    state = SavedState(StoreId(1), Incarnation(1), 2, NOBODY, snapshot(4), (entry(5), entry(6), entry(7)))
    Store.create(tmp_path, state).close()
    damaged(tmp_path, statement)
    with pytest.raises(CorruptState, match=what) as caught:
        begin(tmp_path, tmp_path.parent / "marker", DEFINITION, NodeId(1))
    assert caught.value.path == tmp_path / FILE_NAME
    assert "--rejoin-empty" in str(caught.value)


@pytest.mark.parametrize("keep", [0, 50, 4096, 9000])
def test_a_truncated_file_is_refused(tmp_path: Path, keep: int) -> None:
    """Bad input: also when nothing is left of the file, or only its header."""
    Store.create(tmp_path, SavedState(StoreId(1), Incarnation(1), 2, NOBODY, snapshot(4), (entry(5),))).close()
    os.truncate(tmp_path / FILE_NAME, keep)
    with pytest.raises(CorruptState):
        begin(tmp_path, tmp_path.parent / "marker", DEFINITION, NodeId(1))


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    """Bad input: not a database at all."""
    (tmp_path / FILE_NAME).write_bytes(b"not a database " * 1000)
    with pytest.raises(CorruptState, match="not a database"):
        begin(tmp_path, tmp_path.parent / "marker", DEFINITION, NodeId(1))


def test_a_new_disk_is_founded_once_and_a_wiped_one_joins_empty(tmp_path: Path) -> None:
    """Failure table, last row but one: a wiped voter comes back under another identity and never as a founder."""
    marker = tmp_path / "genesis" / "hv1"
    first = begin(tmp_path / "hv1", marker, DEFINITION, NodeId(1))
    first.store.close()
    assert first.origin is Origin.FOUNDED
    assert first.state.snapshot is not None
    again = begin(tmp_path / "hv1", marker, DEFINITION, NodeId(1))
    again.store.close()
    assert (again.origin, again.state) == (Origin.KEPT, first.state)
    for path in (tmp_path / "hv1").iterdir():
        path.unlink()
    wiped = begin(tmp_path / "hv1", marker, DEFINITION, NodeId(1))
    wiped.store.close()
    assert wiped.origin is Origin.WIPED
    assert wiped.state.snapshot is None
    assert wiped.state.store != first.state.store


def test_a_marker_without_a_state_is_a_wiped_disk(tmp_path: Path) -> None:
    """The marker is durable before the first state: a kill between the two costs a rejoin, never a second founding."""
    marker = tmp_path / "marker"
    marker.write_text("node 1")
    beginning = begin(tmp_path / "hv1", marker, DEFINITION, NodeId(1))
    beginning.store.close()
    assert beginning.origin is Origin.WIPED


def test_rejoin_empty_sets_a_corrupt_state_aside(tmp_path: Path) -> None:
    """Bad input: the way back keeps the old file for whoever wants to look at it."""
    folder = tmp_path / "hv1"
    folder.mkdir()
    (folder / FILE_NAME).write_bytes(b"garbage")
    beginning = begin(folder, tmp_path / "marker", DEFINITION, NodeId(1), rejoin_empty=True)
    beginning.store.close()
    assert beginning.origin is Origin.REJOINED
    assert beginning.state.snapshot is None
    assert [path.read_bytes() for path in beginning.set_aside] == [b"garbage"]


def test_an_unfinished_creation_is_begun_again(tmp_path: Path) -> None:
    """A kill while the first state is written leaves a temporary file, which is not a saved state."""
    (tmp_path / (FILE_NAME + ".new")).write_bytes(b"half a file")
    store = Store.create(tmp_path, WIPED)
    store.save([Save(append=(Entry(1, 1, Noop()),))])
    assert len(reopened(store, tmp_path).entries) == 1
