"""The settings of a cluster in a file, and the way back to them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hvcluster.model.policy import AffinityRule, Policy, Priority, RuleKind
from hvcluster.model.vocabulary import NodeId
from hvcluster.orchestrator import backup as backups
from hvcluster.orchestrator.backup import Backup, GroupSettings
from hvcluster.orchestrator.errors import Failure

ONE, TWO, THREE = NodeId(1), NodeId(2), NodeId(3)
APART = AffinityRule("apart", RuleKind.DIFFERENT_NODE, ("D1", "D2"))
GROUPS = (
    GroupSettings("D1", Policy(), (ONE,), (), True),
    GroupSettings("D2", Policy(priority=Priority.LOW), (), (ONE, TWO), False),
)
KEPT = Backup("C", "c1", GROUPS, (APART,), (ONE, TWO, THREE), True, changes=(("auto_balancer_mode", 0),))


def test_a_file_brings_back_what_was_saved_and_is_never_overwritten(tmp_path: Path) -> None:
    """Byte for byte the same settings; an older file is kept."""
    backups.save(tmp_path / "kept.json", KEPT)
    assert backups.load(tmp_path / "kept.json") == KEPT
    with pytest.raises(Failure, match="is there already"):
        backups.save(tmp_path / "kept.json", KEPT)


@pytest.mark.parametrize("text", ["", "{}", "[1]", "\0\0", '{"form": 1}'])
def test_what_is_no_backup_is_named(text: str, tmp_path: Path) -> None:
    """Somebody else's file, or half of one."""
    (tmp_path / "other").write_text(text)
    with pytest.raises(Failure, match="is no backup of a cluster"):
        backups.load(tmp_path / "other")
    with pytest.raises(Failure, match="cannot be read"):
        backups.load(tmp_path / "nowhere")


def test_settings_of_another_cluster_or_of_groups_that_are_gone_are_refused() -> None:
    """Nothing is asked for then."""
    with pytest.raises(Failure, match="the backup is of cluster C"):
        backups.differences(KEPT, replace(KEPT, cluster_id="c2"))
    with pytest.raises(Failure, match="D2 is not a group"):
        backups.differences(KEPT, replace(KEPT, groups=GROUPS[:1]))


def test_each_difference_is_one_request_and_votes_are_given_before_they_are_taken() -> None:
    """Properties, rules, policies, votes, and last what is to be online."""
    now = Backup(
        "C",
        "c1",
        (replace(GROUPS[0], policy=Policy(auto_failback=True)), replace(GROUPS[1], online=True)),
        (AffinityRule("other", RuleKind.SAME_NODE, ("D1", "D2")),),
        (ONE,),
        False,
    )
    kept = replace(KEPT, voters=(TWO, THREE))
    assert [step.text for step in backups.differences(kept, now)] == [
        "auto_balancer_mode is 0",
        "rule other is removed",
        "rule apart is as it was",
        "the policy of D1 is as it was",
        "the witness is used",
        "NodeWeight of node 2 is 1",
        "NodeWeight of node 3 is 1",
        "NodeWeight of node 1 is 0",
        "D2 is offline",
    ]
    assert backups.differences(kept, kept) == []


groups = st.tuples(
    *(
        st.builds(
            GroupSettings,
            st.just(name),
            st.builds(Policy, priority=st.sampled_from(Priority), auto_failback=st.booleans()),
            st.lists(st.sampled_from((ONE, TWO)), unique=True).map(tuple),
            st.just(()),
            st.booleans(),
        )
        for name in ("D1", "D2")
    )
)
settings = st.builds(
    Backup,
    st.just("C"),
    st.just("c1"),
    groups,
    st.sampled_from(((), (APART,), (replace(APART, soft=True),))),
    st.sets(st.sampled_from((ONE, TWO, THREE)), min_size=1).map(lambda nodes: tuple(sorted(nodes))),
    st.booleans(),
    st.just(backups.FORM),
    st.sampled_from((0, 1, 2)).map(lambda mode: (("auto_balancer_mode", mode),)),
)


@given(settings, settings)
def test_there_is_a_request_exactly_where_something_differs(kept: Backup, now: Backup) -> None:
    """None is missing and none is for nothing."""
    differs = {each.name for was, each in zip(kept.groups, now.groups, strict=True) if was != each}
    differs |= {f"node {node}" for node in set(kept.voters) ^ set(now.voters)}
    differs |= {"rule apart"} if kept.rules != now.rules else set()
    differs |= {"witness"} if kept.witness != now.witness else set()
    differs |= {"auto_balancer_mode"} if kept.changes != now.changes else set()
    told = " ".join(step.text for step in backups.differences(kept, now))
    for name in ("D1", "D2", "node 1", "node 2", "node 3", "rule apart", "witness", "auto_balancer_mode"):
        assert (name in told) == (name in differs), name
