"""Memory of nodes: who finds room, who gives up his place, who leaves a node that is too full (wsfc.md 6.7, 8)."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hvcluster.model.definition import GroupDefinition, NodeDefinition
from hvcluster.model.policy import Policy, Priority
from hvcluster.model.properties import Properties, Timing
from hvcluster.model.vocabulary import NOBODY, Generation, GroupState, Instant, LunId, NodeId
from hvcluster.node.core.balancer import Balancer
from hvcluster.node.core.members import Group
from hvcluster.node.core.placement import Candidates, Why, choose
from hvcluster.node.core.preemption import Room, make_room
from hvcluster.node.core.settings import Settings

A, B, C = NodeId(1), NodeId(2), NodeId(3)


def group(name: str, owner: NodeId, memory_mb: int, priority: Priority = Priority.MEDIUM) -> Group:
    """A group that is online."""
    definition = GroupDefinition(name, LunId(2), policy=Policy(priority), memory_mb=memory_mb)
    return Group(definition, owner, Generation(1), GroupState.ONLINE, True, NOBODY, False, True, "", "")


groups_of_nodes = st.lists(
    st.tuples(st.sampled_from((A, B)), st.integers(1, 4), st.sampled_from(Priority)), max_size=6
).map(lambda rows: [group(f"D{at}", *row) for at, row in enumerate(rows)])


def candidates(groups: list[Group], memory: dict[NodeId, int]) -> Candidates:
    """Nodes with what is left of their memory."""
    room = {n: mb - sum(g.definition.memory_mb for g in groups if g.owner == n) for n, mb in memory.items()}
    return Candidates(dict.fromkeys(memory, 0), {}, {}, {}, room)


def test_a_node_without_room_is_passed_over() -> None:
    """6.5 F: memory is considered; a node of which nobody counts it has always room."""
    wanted = group("D1", C, 3).definition
    for room, chosen in (({A: 2, B: 3}, B), ({A: 2}, B), ({A: 2, B: 2}, None)):
        choice = choose(wanted, C, Why.NODE_FAILURE, Candidates({A: 0, B: 9}, {}, {}, {}, room), leave=True)
        assert (choice and choice.owner) == chosen


def test_a_group_that_needs_no_memory_waits_for_none() -> None:
    """Nor where more has been promised to others than there is."""
    wanted = group("R1", C, 0).definition
    choice = choose(wanted, C, Why.NODE_FAILURE, Candidates({A: 0}, {}, {}, {}, {A: -2}), leave=True)
    assert choice is not None
    assert choice.owner == A


@given(groups_of_nodes, st.integers(1, 5), st.sampled_from(Priority))
def test_as_few_groups_as_will_do_give_up_their_places(running: list[Group], need: int, mine: Priority) -> None:
    """6.7 preemption, against every choice of victims: lower priority only, never High, room enough."""
    memory = {A: 6, B: 6}
    nodes = candidates(running, memory)
    full = [node for node in (A, B) if nodes.room[node] < need]
    wanted = replace(group("wanted", C, need, mine), state=GroupState.OFFLINE)
    made = make_room(wanted, full, running, nodes, set())
    asked = {each.group for each in made.preempted} if made is not None else set()
    chosen = [g for g in running if g.name in asked]
    may_go = [g for g in running if g.definition.policy.priority < min(mine, Priority.HIGH)]
    assert all(g in may_go for g in chosen)
    enough = [
        len(some)
        for node in full
        for size in range(1, len(may_go) + 1)
        for some in combinations([g for g in may_go if g.owner == node], size)
        if nodes.room[node] + sum(g.definition.memory_mb for g in some) >= need
    ]
    assert bool(chosen) == bool(enough)
    if chosen:
        assert made is not None
        (node,) = {made.node, *(g.owner for g in chosen)}
        assert nodes.room[node] + sum(g.definition.memory_mb for g in chosen) >= need


def test_who_is_leaving_already_is_not_asked_twice_and_makes_room() -> None:
    """Two groups of high priority in one plan: the second one does not count on the first one's room for nothing."""
    running = [group("D1", A, 2, Priority.LOW), group("D2", A, 2, Priority.LOW)]
    nodes = candidates(running, {A: 4})
    wanted = group("D3", C, 2, Priority.HIGH)
    made = make_room(wanted, [A], running, nodes, set())
    assert made is not None
    (first,) = made.preempted
    assert make_room(wanted, [A], running, nodes, {first.group}) == Room(A, ())


def balancer(memory: dict[NodeId, int], mode: int = 2, processors: int = 0) -> Balancer:
    """At the first level: 80 %."""
    properties = Properties(auto_balancer_mode=mode)
    nodes = [NodeDefinition(node, f"HyperV-{node}", memory_mb=mb, processors=processors) for node, mb in memory.items()]
    made = Balancer(nodes, Settings(properties), Timing.of(properties))
    made.start(Instant(0))
    return made


@given(groups_of_nodes)
def test_balancing_fills_no_node_beyond_the_level_and_helps(running: list[Group]) -> None:
    """8, load balancing: targets stay at or below 80 %, and only nodes above it are relieved."""
    memory = {A: 10, B: 10, C: 10}
    nodes = candidates(running, memory)
    after = dict(nodes.room)
    for moved, target in balancer(memory).moves(running, nodes, running):
        assert 10 - after[moved.owner] > 8, "it was too full"
        after[moved.owner] += moved.definition.memory_mb
        after[target] -= moved.definition.memory_mb
        assert 10 - after[target] <= 8
    assert max(10 - after[node] for node in memory) <= max(10 - nodes.room[node] for node in memory)


@pytest.mark.conforms("load-balancing")
@given(st.lists(st.tuples(st.sampled_from((A, B, C)), st.integers(0, 3), st.integers(0, 400)), max_size=12))
def test_a_node_is_too_full_when_its_memory_or_its_processors_are(drawn: list[tuple[NodeId, int, int]]) -> None:
    """The fuller of the two counts, on the node that is relieved and on the one that takes a VM; each move helps."""
    memory, processors = {A: 10, B: 10, C: 10}, 4
    running = [
        replace(each, definition=replace(each.definition, processor_load=load))
        for each, load in ((group(f"D{n}", node, mb), load) for n, (node, mb, load) in enumerate(drawn))
    ]
    nodes = candidates(running, memory)
    busy = {node: sum(g.definition.processor_load for g in running if g.owner == node) for node in memory}
    room = dict(nodes.room)

    def full(node: NodeId) -> float:
        return max(1 - room[node] / 10, busy[node] / (100 * processors))

    before = max(full(node) for node in memory)
    for moved, target in balancer(memory, processors=processors).moves(running, nodes, running):
        source = full(moved.owner)
        assert source > 0.8
        for node, sign in ((moved.owner, -1), (target, 1)):
            room[node] -= sign * moved.definition.memory_mb
            busy[node] += sign * moved.definition.processor_load
        assert full(moved.owner) < source
        assert full(target) <= 0.8 + 1e-9
    assert max(full(node) for node in memory) <= before


@pytest.mark.conforms("load-balancing")
def test_a_node_whose_processors_are_busy_gives_away_what_keeps_them_busy() -> None:
    """Memory has room everywhere; a VM that computes nothing would not help and stays."""
    loads = {"D1": 0, "D2": 200, "D3": 180}
    running = [
        replace(each, definition=replace(each.definition, processor_load=loads[each.name]))
        for each in (group(name, A, 1) for name in loads)
    ]
    moves = balancer({A: 10, B: 10}, processors=4).moves(running, candidates(running, {A: 10, B: 10}), running)
    assert [(moved.name, target) for moved, target in moves] == [("D3", B)]


NO, YES = False, True


@pytest.mark.parametrize(("mode", "turns"), [(0, [NO, NO, NO]), (1, [NO, NO, YES]), (2, [NO, YES, YES])])
def test_it_is_time_every_half_hour_and_when_a_node_joins(mode: int, turns: list[bool]) -> None:
    """8, AutoBalancerMode 0 off, 1 on join, 2 both."""
    made = balancer({A: 10, B: 10}, mode)
    one, both = Candidates.plain({A: 0}), Candidates.plain({A: 0, B: 0})
    minute = 60_000_000
    asked = [made.due(Instant(at * minute), nodes) for at, nodes in ((0, one), (31, one), (32, both))]
    assert asked == turns
