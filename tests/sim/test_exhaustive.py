"""Exhaustive searches of tiny labs: complete within their bounds, and a deliberate fault in the cores is found."""

from __future__ import annotations

import json
import pickle
import random
from collections.abc import Callable

import pytest

from hvcluster.model.vocabulary import NOBODY, Incarnation, NodeId, StoreId
from hvcluster.node.core import disk
from hvcluster.node.core.messages import PreVote
from hvcluster.node.core.outbox import Outbox
from hvcluster.node.core.procedure import Steps
from hvcluster.node.core.raft.replication import Replication
from hvcluster.sim import exhaustive_cli
from hvcluster.sim import exhaustive_steps as steps
from hvcluster.sim.exhaustive import Limits, Report, Search
from hvcluster.sim.exhaustive_starts import BOUNDS, Bound, start
from hvcluster.sim.exhaustive_state import digests, fingerprint

BY_NAME = {bound.name: bound for bound in BOUNDS}


def _search(bound: Bound, *, states: int = 0, depth: int = 0) -> Report:
    world, until = start(bound)
    return Search(bound.name, world, bound.faults, Limits(until, states, depth)).run()


@pytest.mark.parametrize("name", ["witness-crash", "nodes-loss", "nodes-crash", "nodes-frozen"])
def test_every_order_of_events_within_the_bound_keeps_the_invariants(name: str) -> None:
    """Issue 3, a model: exhaustive breadth-first exploration of the real cores: 2 nodes and a witness, 3 nodes."""
    report = _search(BY_NAME[name])
    assert report.broken == "", "\n".join([report.broken, *report.story])
    assert report.cut_off == ""
    assert report.transitions >= report.states > 500
    assert report.served > 0, "in no end a new owner served the VM: the search did not get to where it matters"
    if BY_NAME[name].frozen:
        assert 0 < report.refused < report.ends, "the late write comes too late in some histories, in time in others"


def test_the_larger_bound_with_a_witness_holds_as_far_as_it_is_searched() -> None:
    """Issue 3, a model: 2 nodes, disk witness, 1 VM; the frozen owner wakes anywhere in the takeover."""
    report = _search(BY_NAME["witness-frozen"], states=1000)
    assert report.broken == "", "\n".join([report.broken, *report.story])
    assert report.states >= 1000


def nobody_is_preempted(patch: pytest.MonkeyPatch) -> None:
    """A takeover starts its VM beside the old owner's registration."""

    def take(*_: object) -> Steps[bool]:
        yield from ()
        return True

    patch.setattr(disk, "_take", take)
    patch.setattr(disk, "_alone", lambda *_: True)


def votes_are_not_saved(patch: pytest.MonkeyPatch) -> None:
    """A vote leaves before it is on the disk."""
    real = Outbox.save_vote

    def save_vote(self: Outbox, term: int, voted_for: NodeId) -> None:
        real(self, term, NOBODY)

    patch.setattr(Outbox, "save_vote", save_vote)


def one_copy_is_enough(patch: pytest.MonkeyPatch) -> None:
    """A leader commits what it alone has."""

    def advance(self: Replication) -> bool:
        self.state.commit = self.state.log.last_index
        return True

    patch.setattr(Replication, "advance", advance)


@pytest.mark.parametrize(
    ("mutant", "name", "words"),
    [
        (nobody_is_preempted, "nodes-frozen", "after generation 2 had completed step 5"),
        (votes_are_not_saved, "nodes-crash", "but its disk says"),
        (votes_are_not_saved, "witness-crash", "leads term 3 with 1 votes on disk"),
        (one_copy_is_enough, "witness-crash", "which no quorum of"),
        (one_copy_is_enough, "nodes-loss", "which no quorum of"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_a_deliberate_fault_is_found_and_told(
    mutant: Callable[[pytest.MonkeyPatch], None], name: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Invariants: a search that cannot fail proves nothing. What it finds, it tells as the choices that lead there."""
    bound = BY_NAME[name]
    world, until = start(bound)  # of the cores as they are: only what follows is faulty
    mutant(monkeypatch)
    report = Search(name, world, bound.faults, Limits(until)).run()
    assert words in report.broken
    assert report.story[-1].strip() == f"BROKEN: {report.broken}"
    assert sum("node" in line for line in report.story) >= 2


@pytest.mark.parametrize("bound", BOUNDS, ids=lambda bound: bound.name)
def test_a_state_is_the_same_however_it_is_reached_again(bound: Bound) -> None:
    """A search that looks at states again must know them: kept, made again, and written down in parts or as a whole."""
    world, until = start(bound)
    world.random = steps.Fixed()
    origin = pickle.dumps(world)
    kept = pickle.loads(origin)
    chance = random.Random(1)
    faults, parts = bound.faults, digests(kept, {}, ())
    path: list[steps.Choice] = []
    for _ in range(60):
        possible = list(steps.options(kept, faults, until))
        if not possible:
            break
        choice = chance.choice(possible)
        path.append(choice)
        faults = steps.left(faults, choice)
        changed = steps.changes(kept, choice)
        steps.apply(kept, choice)
        parts = digests(kept, parts, changed)
        again = pickle.loads(origin)
        for earlier in path:
            steps.perform(again, earlier)
        whole = digests(again, {}, ())
        assert parts == whole, f"{choice} changed more than it says"
        assert fingerprint(kept, parts) == fingerprint(again, whole)


def test_deliveries_on_one_wire_are_not_confused_with_each_other() -> None:
    """Two worlds in which the same two messages come in another order are two states; on two wires they are one."""

    def after(*sent: tuple[int, int, int]) -> bytes:
        world, _ = start(BY_NAME["nodes-loss"])
        for sender, to, term in sent:
            message = PreVote(term, 1, 1)
            world.network.send(NodeId(sender), StoreId(sender), Incarnation(1), NodeId(to), message)
        return fingerprint(world, digests(world, {}, ()))

    assert after((2, 3, 8), (2, 3, 9)) != after((2, 3, 9), (2, 3, 8))
    assert after((2, 3, 8), (3, 2, 9)) == after((3, 2, 9), (2, 3, 8))


def test_a_search_says_where_it_was_cut_off(capsys: pytest.CaptureFixture[str]) -> None:
    """Honest results: a search that did not see everything does not claim to have."""
    assert exhaustive_cli.main(["nodes-woken", "--states", "50", "--json"]) == 0
    line, total = (json.loads(text) for text in capsys.readouterr().out.splitlines())
    assert line["complete"] is False
    assert "states" in line["cut_off"]
    assert total == {"bounds": 1, "complete": 0, "broken": [], "states": line["states"]}
    assert exhaustive_cli.main(["nodes-woken", "--depth", "3"]) == 0
    assert "holds so far, cut off at depth 3" in capsys.readouterr().out


def test_bad_arguments_are_refused_all_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    """Commands: bad input reports all problems at once, with exit status 2."""
    with pytest.raises(SystemExit) as status:
        exhaustive_cli.main(["no-such-bound", "--losses", "11", "--seconds", "0", "--states", "-1"])
    assert status.value.code == 2
    said = capsys.readouterr().err
    for word in ("no-such-bound", "--losses is 11", "--seconds is 0", "--states is -1"):
        assert word in said
