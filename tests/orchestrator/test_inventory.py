"""`hvc get`: columns and states as the product prints them, in every form."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from hvcluster.model.policy import AffinityRule, GroupSet, RuleKind
from hvcluster.model.properties import PROFILES, defaults
from hvcluster.model.vocabulary import NodeId
from hvcluster.orchestrator.cli.output import FORMS, render
from hvcluster.orchestrator.driver import Address, Addresses, Member
from hvcluster.orchestrator.inventory import NOUNS, Row, network_state, word
from hvcluster.orchestrator.picture import Picture
from hvcluster.orchestrator.state import Life, Role
from tests.orchestrator.test_tables import answer, picture

WHERE = Addresses(vms={"D1": Address("127.0.0.1", 32243)})


def routes(peers: tuple[int, ...], *buses: str) -> list[tuple[str, int, bool]]:
    """Routes that are up."""
    return [(bus, peer, True) for bus in buses for peer in peers]


def look(one: tuple[str, ...], two: tuple[str, ...], three: tuple[str, ...]) -> Picture:
    """Three nodes that hear each other on these buses."""
    return picture(answer(1, routes((2, 3), *one)), answer(2, routes((1, 3), *two)), answer(3, routes((1, 2), *three)))


HEALTHY = look(("A", "B"), ("A", "B"), ("A", "B"))


def rows(noun: str, seen: Picture = HEALTHY) -> list[Row]:
    """What is listed."""
    return NOUNS[noun].rows(seen, WHERE)


@pytest.mark.parametrize(
    ("noun", "columns"),
    [
        ("node", ("Name", "ID", "State")),
        ("group", ("Name", "OwnerNode", "State")),
        ("resource", ("Name", "State", "OwnerGroup", "ResourceType")),
        ("network", ("Name", "State")),
        ("networkinterface", ("Name", "Node", "Network", "State")),
        ("quorum", ("Cluster", "QuorumResource", "QuorumType")),
        ("faultdomain", ("Name", "Type", "ParentName", "ChildrenNames")),
        ("cluster", ("Name",)),
    ],
)
def test_columns_are_those_of_the_product(noun: str, columns: tuple[str, ...]) -> None:
    """Default columns of the cmdlets, in their order; a wide table adds ours behind them."""
    kind = NOUNS[noun]
    assert kind.columns == columns
    found = rows(noun)
    assert found
    for row in found:
        assert set(kind.columns) | set(kind.wide) <= set(row)
    for form in FORMS:
        assert "…" not in render(found, kind.columns, kind.wide, form)
    assert render(found, kind.columns, kind.wide, "table").splitlines()[0].split() == list(columns)


def test_states_are_spelled_as_the_product_does() -> None:
    """`ONLINE_PENDING` is OnlinePending; a node nobody knows is Unknown."""
    assert [word(state) for state in ("UP", "ONLINE_PENDING", "PARTIAL_ONLINE")] == [
        "Up",
        "OnlinePending",
        "PartialOnline",
    ]
    assert [row["State"] for row in rows("node")] == ["Up", "Up", "Up"]
    assert [row["State"] for row in rows("node", picture())] == ["Unknown"] * 3
    assert rows("group")[0]["OwnerNode"] == "HyperV-2"


@pytest.mark.parametrize(
    ("seen", "state"),
    [
        (HEALTHY, "Up"),
        (look(("B",), ("A", "B"), ("A", "B")), "Partitioned"),
        (look(("B",), ("B",), ("B",)), "Down"),
        (picture(), "Unavailable"),
    ],
)
def test_a_network_is_as_its_routes_are(seen: Picture, state: str) -> None:
    """Up, Partitioned, Down, Unavailable: from what the nodes hear of each other on it."""
    assert network_state(seen, "A") == state


def test_an_interface_that_hears_nobody_is_unreachable() -> None:
    """Of a node that is cut from one bus, that interface alone is not Up; of a silent node both are Unavailable."""
    cut = look(("B",), ("A", "B"), ("A", "B"))
    states = {str(row["Name"]): row["State"] for row in rows("networkinterface", cut)}
    assert states["HyperV-1 - Cluster Network A"] == "Unreachable"
    assert states["HyperV-1 - Cluster Network B"] == "Up"
    silent = rows("networkinterface", picture(answer(2, [])))
    assert [row["State"] for row in silent if row["Node"] == "HyperV-1"] == ["Unavailable", "Unavailable"]


def test_a_network_of_a_single_node_is_as_its_broker_lives() -> None:
    """Where no route should be, the broker alone tells."""
    alone = replace(picture(answer(2, [], down=(1, 3))), members=(Member("bus-A", Role.BUS, Life.DEAD, NodeId(0)),))
    assert network_state(alone, "A") == "Down"
    assert network_state(alone, "B") == "Up"


@pytest.mark.parametrize("profile", PROFILES)
def test_the_quorum_type_is_named_as_the_version_names_it(profile: str) -> None:
    """From 2016 on every majority is `Majority`."""
    modern = profile in PROFILES[PROFILES.index("ws2016") :]
    seen = replace(HEALTHY, definition=replace(HEALTHY.definition, properties=defaults(profile)))
    (row,) = rows("quorum", seen)
    assert row["QuorumType"] == ("Majority" if modern else "NodeAndDiskMajority")
    assert row["QuorumResource"] == "Cluster Disk 1"


def test_rules_are_those_of_the_running_cluster() -> None:
    """Get-ClusterAffinityRule: what operators have made of them, and not what the lab file wished for."""
    said = answer(1, routes((2, 3), "A", "B"))
    said.rules.add(name="apart", kind="different-node", groups=["D1", "D2"], soft=True)
    wished = (AffinityRule("of the file", RuleKind.SAME_NODE, ("D1", "D2")),)
    (rule,) = rows("affinityrule", replace(picture(said), definition=replace(HEALTHY.definition, rules=wished)))
    assert (rule["Name"], rule["RuleType"], rule["SoftAntiAffinity"]) == ("apart", "DifferentNode", True)
    assert rule["Groups"] == ["D1", "D2"]
    assert rows("affinityrule") == []


def test_sets_and_sites_are_those_of_the_definition() -> None:
    """Get-ClusterGroupSet, Get-ClusterFaultDomain: what the lab file wished for."""
    known = HEALTHY.definition
    wished = replace(
        known,
        nodes=(*(replace(node, site="North") for node in known.nodes[:2]), known.nodes[2]),
        sets=(GroupSet("first", ("D1",)), GroupSet("second", ("D2",), after=("first",), trigger_delay=False)),
    )
    seen = replace(HEALTHY, definition=wished)
    assert [row["ProviderNames"] for row in rows("groupset", seen)] == [[], ["first"]]
    assert [row["StartupDelayTrigger"] for row in rows("groupset", seen)] == ["Delay", "Online"]
    site, *nodes = rows("faultdomain", seen)
    assert (site["Name"], site["ChildrenNames"]) == ("North", ["HyperV-1", "HyperV-2"])
    assert [row["ParentName"] for row in nodes] == ["North", "North", None]


@pytest.mark.conforms("fault-domains")
def test_racks_and_chassis_lie_within_sites() -> None:
    """Get-ClusterFaultDomain: each level names the one around it and what is in it; names may repeat elsewhere."""
    known = HEALTHY.definition
    places = (("North", "R1", "C1"), ("North", "R1", ""), ("South", "R1", ""))
    nodes = tuple(
        replace(node, site=site, rack=rack, chassis=chassis)
        for node, (site, rack, chassis) in zip(known.nodes, places, strict=True)
    )
    seen = replace(HEALTHY, definition=replace(known, nodes=nodes))
    keys = ("Type", "Name", "ParentName", "ChildrenNames")
    assert [tuple(row[key] for key in keys) for row in rows("faultdomain", seen)] == [
        ("Site", "North", None, ["R1"]),
        ("Site", "South", None, ["R1"]),
        ("Rack", "R1", "North", ["C1", "HyperV-2"]),
        ("Rack", "R1", "South", ["HyperV-3"]),
        ("Chassis", "C1", "R1", ["HyperV-1"]),
        ("Node", "HyperV-1", "C1", []),
        ("Node", "HyperV-2", "R1", []),
        ("Node", "HyperV-3", "R1", []),
    ]  # fmt: skip


def test_forms() -> None:
    """The same rows as a table with dashes, as JSON, as YAML whose texts cannot be misread, as names."""
    some: list[Row] = [
        {
            "Name": "D1",
            "State": "yes",
            "Key": "0001",
            "Empty": None,
            "List": ["a: b"],
            "None": [],
            "Map": {"x": 1.5, "y": True},
        }
    ]
    assert render(some, ("Name", "State"), (), "table") == "Name State\n---- -----\nD1   yes"
    assert render(some, ("Name",), ("List", "Empty"), "wide").splitlines()[2] == "D1   {a: b}"
    assert json.loads(render(some, ("Name",), (), "json")) == some
    assert render(some, ("Name",), (), "name") == "D1"
    assert render([], ("Name",), (), "yaml") == "[]"
    assert render(some, ("Name",), (), "yaml").splitlines() == [
        "- Name: D1",
        '  State: "yes"',
        '  Key: "0001"',
        "  Empty: null",
        "  List:",
        '    - "a: b"',
        "  None: []",
        "  Map:",
        "    x: 1.5",
        "    y: true",
    ]
