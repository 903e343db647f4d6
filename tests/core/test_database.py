"""The cluster database: guards, canonical bytes, and equal logs giving equal databases."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hvcluster.model.codec import Malformed
from hvcluster.model.definition import GroupDefinition, volumes_of
from hvcluster.model.policy import Policy, Priority
from hvcluster.model.resources import ResourceDefinition
from hvcluster.model.vocabulary import (
    DrainStatus,
    Failback,
    Generation,
    GroupState,
    Incarnation,
    LunId,
    NodeId,
    ResourceState,
    StoreId,
)
from hvcluster.model.votes import Configuration
from hvcluster.node.core.commands import (
    AssignGroup,
    AssignVolume,
    BeginMove,
    ChangeGroup,
    Command,
    Configure,
    DefineGroup,
    EndDrain,
    FailNow,
    FormCluster,
    NodeDown,
    NodeUp,
    Noop,
    PauseNode,
    Preempt,
    RemoveGroup,
    ReportGroup,
    SetDesired,
    SetResource,
)
from hvcluster.node.core.database import Database
from tests.core.desk import cluster

ONE, TWO = NodeId(1), NodeId(2)


def up(node: int, incarnation: int = 1) -> NodeUp:
    """A node is taken in."""
    return NodeUp(NodeId(node), Incarnation(incarnation), StoreId(node))


def assign(seen: int, owner: int = 1, group: str = "D1") -> AssignGroup:
    """A group gets an owner."""
    return AssignGroup(group, Generation(seen), NodeId(owner), "a test", (NodeId(owner),), "told so", 0, 0)


def report(seen: int, state: GroupState) -> ReportGroup:
    """The owner reports."""
    return ReportGroup("D1", Generation(seen), state, "", "seen in a test")


def database(*commands: Command) -> Database:
    """A new cluster of three nodes and two groups, after these commands; each must change something."""
    made = Database.created(cluster(3, vms=2))
    for command in commands:
        assert made.apply(command), command
    return made


def unchanged(made: Database, command: Command) -> bool:
    """Whether a command changes nothing."""
    before, version = made.encode(), made.version
    return not made.apply(command) and made.encode() == before and made.version == version


def test_a_new_cluster_has_nobody_up_and_nothing_online() -> None:
    """Cluster creation names owners; who runs is decided when the cluster forms."""
    made = database()
    assert not any(member.up for member in made.members.values())
    assert {group.state for group in made.groups.values()} == {GroupState.OFFLINE}
    assert {group.generation for group in made.groups.values()} == {0}


def test_an_assignment_raises_the_generation_by_one() -> None:
    """Owner of a VM: the generation rises by one at each change of owner."""
    made = database(up(1), assign(0))
    assert (made.groups["D1"].owner, made.groups["D1"].generation) == (ONE, 1)
    assert made.groups["D1"].state is GroupState.PENDING


def test_an_assignment_by_one_who_saw_an_older_generation_is_void() -> None:
    """Two leaders' plans, or one doubled, cannot both count."""
    made = database(up(1), up(2), assign(0, 1))
    assert unchanged(made, assign(0, 2))
    assert unchanged(made, assign(2, 2))


@pytest.mark.parametrize("owner", [2, 9], ids=["down", "unknown"])
def test_only_a_member_gets_a_group(owner: int) -> None:
    """A group is not given to a node that is not up."""
    assert unchanged(database(up(1)), assign(0, owner))


def test_a_report_about_another_generation_is_void() -> None:
    """A late report of an older life says nothing of this one."""
    made = database(up(1), assign(0), assign(1))
    assert unchanged(made, report(1, GroupState.ONLINE))
    assert made.apply(report(2, GroupState.ONLINE))


def test_a_generation_ends_once() -> None:
    """A failed or offline generation does not come back by a late report of its owner."""
    made = database(up(1), assign(0), report(1, GroupState.ONLINE), report(1, GroupState.FAILED))
    assert unchanged(made, report(1, GroupState.ONLINE))
    assert unchanged(made, report(1, GroupState.OFFLINE))


def test_a_member_is_up_under_one_incarnation() -> None:
    """NodeUp of the life that is up already, or of an older one, changes nothing."""
    made = database(up(1, 5))
    assert unchanged(made, up(1, 5))
    assert unchanged(made, up(1, 4))
    assert made.is_member(ONE, Incarnation(5))
    assert not made.is_member(ONE, Incarnation(4))
    assert unchanged(made, NodeUp(NodeId(9), Incarnation(1), StoreId(1)))


def test_a_node_goes_down_only_under_the_incarnation_that_was_meant() -> None:
    """A NodeDown decided about an older life does not end the newer one."""
    made = database(up(1, 5))
    assert unchanged(made, NodeDown(ONE, Incarnation(4), "late"))
    assert made.apply(NodeDown(ONE, Incarnation(5), "lost"))
    assert unchanged(made, NodeDown(ONE, Incarnation(5), "again"))


def test_what_a_lost_node_ran_is_offline_and_keeps_its_generation() -> None:
    """The next owner's generation is one higher than any that was given out."""
    made = database(up(1), assign(0), report(1, GroupState.ONLINE), NodeDown(ONE, Incarnation(1), "lost"))
    assert (made.groups["D1"].state, made.groups["D1"].generation) == (GroupState.OFFLINE, 1)


@pytest.mark.conforms("form-and-join")
def test_a_cluster_that_forms_has_nobody_up_and_waits_for_last_owners() -> None:
    """FormCluster: no node carries on from before; what ran waits for its last owner."""
    made = database(up(1), up(2), assign(0), report(1, GroupState.ONLINE), FormCluster("all were down"))
    assert not any(member.up for member in made.members.values())
    assert made.groups["D1"].waiting
    assert (made.groups["D1"].owner, made.groups["D1"].state) == (ONE, GroupState.OFFLINE)


def test_a_move_begins_only_where_it_makes_sense() -> None:
    """BeginMove: of the generation that was seen, while it runs, to another node."""
    made = database(up(1), up(2), assign(0))
    assert unchanged(made, BeginMove("D1", Generation(0), TWO, "late"))
    assert unchanged(made, BeginMove("D1", Generation(1), ONE, "to itself"))
    assert made.apply(BeginMove("D1", Generation(1), TWO, "an operator"))
    assert unchanged(database(), BeginMove("D1", Generation(0), TWO, "not online"))


def test_names_and_luns_are_used_once() -> None:
    """Two groups never share a LUN: their reservations would fight."""
    made = database()
    assert unchanged(made, DefineGroup(GroupDefinition("D1", LunId(77))))
    assert unchanged(made, DefineGroup(GroupDefinition("D9", LunId(2))))
    assert made.apply(DefineGroup(GroupDefinition("D9", LunId(77))))
    assert list(made.groups) == sorted(made.groups)


def test_a_group_that_runs_is_not_removed() -> None:
    """RemoveGroup takes only what is offline."""
    made = database(up(1), assign(0))
    assert unchanged(made, RemoveGroup("D1"))
    assert made.apply(RemoveGroup("D2"))
    assert unchanged(made, RemoveGroup("D2"))


def test_votes_are_not_the_databases_business() -> None:
    """Noop and Configure concern the log alone."""
    for command in (Noop(), Configure(Configuration((), False), "a test")):
        assert unchanged(database(), command)


nodes = st.integers(0, 4).map(NodeId)
generations = st.integers(0, 4).map(Generation)
ROLE = (ResourceDefinition("name", "Network Name"), ResourceDefinition("web", "Generic Script", depends="[name]"))
groups = st.sampled_from(("D1", "D2", "D3", "nothing"))
lives = st.integers(0, 3).map(Incarnation)
commands: st.SearchStrategy[Command] = st.one_of(
    st.just(Noop()),
    st.builds(FormCluster, st.just("a test")),
    st.builds(NodeUp, nodes, lives, st.integers(1, 3).map(StoreId)),
    st.builds(NodeDown, nodes, lives, st.just("a test")),
    st.builds(
        AssignGroup,
        groups,
        generations,
        nodes,
        st.just("why"),
        st.just((ONE,)),
        st.just("rule"),
        st.integers(0, 3),
        st.integers(0, 3),
    ),
    st.builds(BeginMove, groups, generations, nodes, st.just("why")),
    st.builds(Preempt, groups, generations, st.just("room")),
    st.builds(ReportGroup, groups, generations, st.sampled_from(GroupState), st.just(""), st.just("")),
    st.builds(
        ReportGroup,
        groups,
        generations,
        st.sampled_from(GroupState),
        st.just(""),
        st.just(""),
        st.integers(0, 3),
        st.just((("web", ResourceState.FAILED),)),
    ),
    st.builds(SetResource, groups, st.sampled_from(("web", "name", "nothing")), st.booleans()),
    st.builds(FailNow, groups, st.sampled_from(("web", "nothing"))),
    st.builds(SetDesired, groups, st.booleans()),
    st.builds(PauseNode, nodes, st.booleans(), st.booleans(), st.booleans(), st.sampled_from(Failback)),
    st.builds(ChangeGroup, groups, st.builds(Policy, st.sampled_from(Priority)), st.just((ONE,)), st.just(())),
    st.builds(EndDrain, nodes, st.sampled_from(DrainStatus), st.just("over")),
    st.builds(
        DefineGroup,
        st.builds(GroupDefinition, groups, st.integers(2, 6).map(LunId), resources=st.sampled_from(((), ROLE))),
    ),
    st.builds(RemoveGroup, groups),
    st.builds(AssignVolume, st.sampled_from(("Volume1", "nothing")), st.integers(0, 3), nodes, st.just("why")),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(commands, max_size=40), st.integers(0, 40))
@pytest.mark.conforms("database")
def test_equal_logs_give_equal_databases_with_or_without_a_snapshot(log: list[Command], cut: int) -> None:
    """Raft's state machine safety rests on it: a snapshot in the middle makes no difference, to a byte."""
    definition = replace(cluster(3, vms=2), volumes=volumes_of(1, LunId(9)))
    straight = Database.created(definition)
    resumed = Database.created(definition)
    for at, command in enumerate(log):
        if at == cut:
            resumed = Database.decode(resumed.encode())
        before = {name: group.generation for name, group in straight.groups.items()}
        assert straight.apply(command) == resumed.apply(command)
        for name, group in straight.groups.items():
            step = group.generation - before.get(name, group.generation)
            assert step == (isinstance(command, AssignGroup) and command.group == name and step)
            assert step in (0, 1), "a generation rises by one at a time and never falls"
            assert not group.runs or straight.members[group.owner].up, "what runs, runs on a member"
    assert straight.encode() == resumed.encode()
    assert Database.decode(straight.encode()).encode() == straight.encode()


@given(st.binary(max_size=40))
def test_bytes_that_are_no_database_are_refused(data: bytes) -> None:
    """Input is never trusted: Malformed, and nothing else."""
    with pytest.raises(Malformed):
        Database.decode(data)
