"""`hvc why`: the chain behind where a group is, on facts of the simulator and on some that are made by hand."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from hvcluster.model.definition import ClusterDefinition
from hvcluster.model.facts import Fact, FactKind
from hvcluster.model.vocabulary import NodeId
from hvcluster.orchestrator import lab_file
from hvcluster.orchestrator.causes import Account, Phase, Trigger, explain
from hvcluster.orchestrator.cli.why import sentence, told
from hvcluster.orchestrator.lab_template import render
from hvcluster.orchestrator.records import Recorded, named
from hvcluster.sim.scenarios import run
from tests.scenarios.test_in_simulator import SCENARIOS, read

DEFINITION = lab_file.parse(render("HVCLUSTER", "x")).definition("c0ffee")
S = 1_000_000
FILES = {path.stem: path for path in SCENARIOS}


def recorded(facts: Iterable[Fact]) -> list[Recorded]:
    """Facts of a simulated history as nodes would have kept them; the order of the history is that of time."""
    found: list[Recorded] = []
    wall_us = 0
    for number, fact in enumerate(facts, 1):
        wall_us = max(wall_us, int(fact.at))
        about = {key: str(value) for key, value in fact.about}
        found.append(
            Recorded(
                fact.node,
                number,
                wall_us,
                wall_us,
                fact.kind.name,
                fact.reason,
                fact.line(),
                fact.kind.event_id,
                7,
                about,
            )
        )
    return found


def fact(at_s: float, node: int, kind: FactKind, reason: str = "because", **about: int | str) -> Recorded:
    """One fact made by hand."""
    at = int(at_s * S)
    particulars = {key: str(value) for key, value in about.items()}
    return Recorded(NodeId(node), at, at, at, kind.name, reason, reason, kind.event_id, 7, particulars)


def assigned(at_s: float, owner: int, generation: int, reason: str = "because; the rule") -> Recorded:
    """An assignment of D1, decided by node 3."""
    about: dict[str, int | str] = {"group": "D1", "owner": owner, "generation": generation, "candidates": "2,3"}
    return fact(at_s, 3, FactKind.GROUP_ASSIGNED, reason, **about)


def account(*facts: Recorded, generation: int = 0, unread: tuple[NodeId, ...] = ()) -> Account:
    """The account of D1."""
    found = explain(facts, DEFINITION, "D1", generation, unread)
    assert found is not None
    return found


def kinds(found: Account) -> list[tuple[str, Phase]]:
    """What the steps are, in their order."""
    return [(step.fact.kind, step.phase) for step in found.steps]


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_every_change_of_owner_of_every_story_is_explained(path: Path) -> None:
    """Reasons: whatever moved a group in a story, the facts say what it was, and nobody has to guess."""
    scenario = read(path)
    facts = recorded(run(scenario).facts)
    accounts = [
        explain(facts, scenario.definition, str(fact.about["group"]), fact.number("generation"))
        for fact in facts
        if fact.kind == "GROUP_ASSIGNED"
    ]
    assert accounts
    for each in accounts:
        assert each is not None
        assert each.trigger is not Trigger.UNKNOWN
        assert each.rule
        assert each.steps[0].fact.wall_us == each.zero_us
        assert each.owner in each.candidates


@pytest.mark.parametrize(
    ("story", "trigger", "wanted"),
    [
        ("node-killed", Trigger.NODE, {"NODE_UNREACHABLE", "NODE_DOWN", "DISK_PREEMPTED", "DISK_ONLINE", "VM_ONLINE"}),
        ("node-stopped-politely", Trigger.MOVE, {"GROUP_MOVING", "NODE_LEAVING", "DISK_ONLINE", "VM_ONLINE"}),
    ],
)
def test_the_chain_of_a_story_is_complete(story: str, trigger: Trigger, wanted: set[str]) -> None:
    """From the first cause over decision and disk to the VM: each link that the story has is told."""
    scenario = read(FILES[story])
    facts = recorded(run(scenario).facts)
    moved = next(f for f in facts if f.kind == "GROUP_ASSIGNED" and f.number("generation") == 2)
    found = explain(facts, scenario.definition, str(moved.about["group"]), 2)
    assert found is not None
    assert found.trigger is trigger
    assert wanted <= {step.fact.kind for step in found.steps}
    assert found.online_us is not None
    assert found.online_us >= found.zero_us
    order = [step.fact.wall_us for step in found.steps]
    assert order == sorted(order)


def lost(*more: Recorded) -> list[Recorded]:
    """Node 1 had D1 and is removed; node 2 gets it."""
    facts = [
        assigned(10, 1, 1),
        fact(11, 1, FactKind.VM_ONLINE, group="D1", generation=1),
        fact(60, 2, FactKind.NODE_UNREACHABLE, "nothing heard", peer=1),
        fact(60.1, 3, FactKind.NODE_DOWN, "all routes to node 1 are down", peer=1),
        assigned(60.2, 2, 2, "all routes to node 1 are down; fewest groups (0), lowest id among equals"),
        fact(60.3, 2, FactKind.DISK_PREEMPTED, group="D1", victim=1, generation=1),
        fact(61, 2, FactKind.VM_ONLINE, group="D1", generation=2),
        *more,
    ]
    return sorted(facts, key=lambda each: each.wall_us)


def test_a_node_that_died_says_nothing_and_that_is_said() -> None:
    """A kill is in nobody's log: the account begins with who noticed, and says what is not known."""
    found = account(*lost())
    assert (found.trigger, found.previous, found.owner, found.zero_us) == (Trigger.NODE, 1, 2, 60 * S)
    assert kinds(found) == [
        ("NODE_UNREACHABLE", Phase.DETECTION),
        ("NODE_DOWN", Phase.DECISION),
        ("GROUP_ASSIGNED", Phase.DECISION),
        ("DISK_PREEMPTED", Phase.DISK),
        ("VM_ONLINE", Phase.VM),
    ]
    (unknown,) = found.unknown
    assert "HyperV-1: it recorded nothing since" in unknown
    restarted = account(*lost(fact(90, 1, FactKind.SERVICE_STARTED)))
    assert "how HyperV-1 died" in restarted.unknown[0]
    assert kinds(restarted)[-1] == ("SERVICE_STARTED", Phase.OLD_OWNER)


def test_an_old_owner_that_lived_on_tells_its_end() -> None:
    """A node that was cut off or frozen records how it lost quorum and its VM: nothing is unknown."""
    fenced = fact(75, 1, FactKind.VM_STOPPED, "RESERVATION CONFLICT", group="D1", generation=1, cause="fenced")
    found = account(*lost(fact(62, 1, FactKind.QUORUM_LOST), fenced))
    assert found.unknown == ()
    assert kinds(found)[-2:] == [("QUORUM_LOST", Phase.OLD_OWNER), ("VM_STOPPED", Phase.OLD_OWNER)]


def test_what_cannot_be_read_is_named() -> None:
    """A log that cannot be had, and an assignment that is in none, are told, not passed over."""
    found = account(*lost(), unread=(NodeId(1),))
    assert [text for text in found.unknown if "HyperV-1" in text] == ["what HyperV-1 recorded: its log cannot be read"]
    alone = account(assigned(60, 2, 2))
    assert alone.trigger is Trigger.UNKNOWN
    assert alone.previous == 0
    assert len(alone.unknown) == 2
    assert any("generation 1" in text for text in alone.unknown)
    assert any("Not known" in line for line in told(alone, DEFINITION, list(alone.unknown)))
    assert explain(lost(), DEFINITION, "D1", 9) is None
    assert explain([], DEFINITION, "D1") is None


def test_an_earlier_account_ends_where_the_next_begins() -> None:
    """What a later generation did is told in its own account."""
    later = [
        fact(70, 3, FactKind.GROUP_MOVING, "an operator asked for it", group="D1", generation=2),
        assigned(71, 3, 3),
    ]
    assert account(*lost(*later), generation=2).steps == account(*lost()).steps
    moved = account(*lost(*later))
    assert (moved.generation, moved.trigger, moved.zero_us) == (3, Trigger.MOVE, 70 * S)


def test_sentences_name_nodes_and_reasons() -> None:
    """People read names, not numbers."""
    assert named("all routes to node 1 are down", DEFINITION) == "all routes to HyperV-1 are down"
    text = sentence(account(*lost()), DEFINITION)
    assert text.startswith("D1 (generation 2) went from HyperV-1 to HyperV-2 because HyperV-1 was removed")
    lines = told(account(*lost()), DEFINITION, [])
    assert "HyperV-2, HyperV-3" in lines[1]
    assert "fewest groups (0)" in lines[1]
    assert any("+0.200 s" in line for line in lines)
    assert lines[-1] == "Online 1.000 s after the first recorded cause."


def test_a_disk_that_was_lost_is_a_failure() -> None:
    """A group that failed where it was: the fact of its owner is the cause, with the owner's words."""
    facts = [
        assigned(10, 1, 1),
        fact(20, 1, FactKind.DISK_LOST, "another key holds it", group="D1", lun=2, generation=1),
        assigned(21, 2, 2, "terminated: the reservation is gone; next node by id after node 1"),
    ]
    found = account(*facts)
    assert found.trigger is Trigger.FAILURE
    assert "another key holds it" in sentence(found, DEFINITION)
    assert kinds(found)[0] == ("DISK_LOST", Phase.CAUSE)
    assert found.online_us is None


def test_a_group_that_was_taken_offline_and_wanted_again_says_so() -> None:
    """An operator's offline and online: the shutdown is the cause; it is no failure."""
    shut_down = fact(20, 1, FactKind.VM_STOPPED, "it is to be offline", group="D1", generation=1, cause="shutdown")
    found = account(assigned(10, 1, 1), shut_down, assigned(30, 2, 2, "taken offline as planned; its last owner is up"))
    assert (found.trigger, found.zero_us) == (Trigger.ONLINE, 20 * S)
    assert "brought online again on HyperV-2" in sentence(found, DEFINITION)
    assert kinds(found)[0] == ("VM_STOPPED", Phase.CAUSE)


def test_a_group_that_gave_way_to_a_more_important_one_says_so() -> None:
    """Preemption: the fact that names the other group is the cause."""
    gave_way = fact(20, 3, FactKind.GROUP_PREEMPTED, "D9 needs its room", group="D1", generation=1)
    found = account(assigned(10, 1, 1), gave_way, assigned(30, 2, 2))
    assert found.trigger is Trigger.PREEMPTED
    assert "D9 needs its room" in sentence(found, DEFINITION)


def test_a_definition_is_needed_for_names_alone() -> None:
    """Nodes that a definition does not know have numbers."""
    empty = ClusterDefinition("X", "x", ())
    assert named("node 9 leads", empty) == "node 9 leads"
