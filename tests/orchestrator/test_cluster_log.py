"""The cluster log and the event log: the product's form, from what nodes have recorded."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from hvcluster.model.definition import ClusterDefinition
from hvcluster.model.properties import PROFILES, defaults
from hvcluster.model.vocabulary import NodeId
from hvcluster.orchestrator import cluster_log, event_log, lab_file
from hvcluster.orchestrator.lab_template import render
from hvcluster.orchestrator.records import Recorded, from_folder, merged

BEGAN_US = 1_402_386_874_099_000
"""2014/06/10-07:54:34.099 GMT."""
LINE = re.compile(
    r"(?:\[Verbose\] )?[0-9a-f]{8}\.[0-9a-f]{8}::\d{4}/\d\d/\d\d-\d\d:\d\d:\d\d\.\d{3} "
    r"(DBG  |INFO |WARN |ERR  ) \[\w+\] .+"
)


def definition(profile: str = "ws2012r2") -> ClusterDefinition:
    """The cluster of the template, in a version."""
    return replace(lab_file.parse(render("HVCLUSTER", "x")).definition("c0ffee"), properties=defaults(profile))


def fact(kind: str, line: str, node: int = 1, event_id: int = 0, after_us: int = 0, **about: str) -> Recorded:
    """One recorded fact."""
    return Recorded(
        NodeId(node), after_us + 1, BEGAN_US + after_us, after_us, kind, "because", line, event_id, 0xAB34, about
    )


DOWN = fact("ROUTE_DOWN", "[IM] a route to a peer is down: because", peer="2", route="A")
GONE = fact("NODE_DOWN", "[CORE] a node was removed from membership: because", event_id=1135, after_us=7, peer="2")
TAKEN = fact("DISK_ONLINE", "[RES] the disk is reserved: because", after_us=8, group="D1", lun="2")
WITNESS = fact("WITNESS_HELD", "[RES] this node holds the witness: because", after_us=9, lun="1")
VERBOSE = fact("TERM_SEEN", "[CORE] a newer term was seen: because", after_us=10, term="4")
ALL = (DOWN, GONE, TAKEN, WITNESS, VERBOSE)


@pytest.mark.conforms("cluster-log")
def test_a_line_has_the_form_of_the_product() -> None:
    """Process and thread in hexadecimal, GMT to the millisecond, the level padded to five, the component."""
    assert cluster_log.line(DOWN, definition()) == (
        "0000ab34.0000ab34::2014/06/10-07:54:34.099 INFO  [IM] a route to a peer is down: because"
    )
    assert cluster_log.line(GONE, definition()).split()[1:3] == ["ERR", "[CORE]"]
    for each in ALL:
        for profile in PROFILES:
            assert LINE.fullmatch(cluster_log.line(each, definition(profile)))


@pytest.mark.conforms("cluster-log")
def test_disk_lines_name_their_resource() -> None:
    """`[RES] Physical Disk <name>:` before what happened, as the product writes it."""
    assert "[RES] Physical Disk <Cluster Disk 2>: the disk" in cluster_log.line(TAKEN, definition())
    assert "[RES] Physical Disk <Quorum Disk>: this node" in cluster_log.line(WITNESS, definition())


@pytest.mark.conforms("cluster-log")
def test_from_2016_on_the_log_has_sections_and_marks_verbose_lines() -> None:
    """Before 2016 a log is lines alone, and verbose ones come at log level 4 only."""
    old = list(cluster_log.of_node(ALL, definition("ws2012r2"), NodeId(1)))
    assert len(old) == 4
    assert len(list(cluster_log.of_node(ALL, definition("ws2012r2"), NodeId(1), log_level=4))) == 5
    new = list(cluster_log.of_node(ALL, definition("ws2016"), NodeId(1)))
    assert "[=== Cluster ===]" in new
    assert new[new.index("[=== Cluster Logs ===]") + 1 :][:4] == old
    assert new[-1].startswith("[Verbose] 0000ab34.")
    assert any("1135" in line for line in new[new.index("[=== System ===]") : new.index("[=== Cluster Logs ===]")])
    assert list(cluster_log.of_node(ALL, definition(), NodeId(2))) == [], "a node's log is its own"


@pytest.mark.conforms("event-log")
def test_an_event_is_a_fact_with_an_id() -> None:
    """One event per fact that carries an id, with the product's level and channel; other facts are none."""
    (entry,) = event_log.entries(ALL, definition())
    row = event_log.row(entry)
    assert (row["id"], row["level"], row["channel"], row["computer"]) == (1135, "Critical", "System", "HyperV-1")
    assert row["time"] == "2014-06-10T07:54:34.099Z"
    message = row["message"]
    assert isinstance(message, str)
    assert "'HyperV-2'" in message
    assert message.endswith(": because")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90", BEGAN_US - 5_400_000_000),
        ("30s", BEGAN_US - 30_000_000),
        ("2h", BEGAN_US - 7_200_000_000),
        ("2014/06/10-07:54:34.099", BEGAN_US - 99_000),
        ("2014-06-10T07:54:34Z", BEGAN_US - 99_000),
        ("2014-06-10", BEGAN_US - 28_474_099_000),
        ("yesterday", None),
        ("", None),
        ("-3", None),
    ],
)
def test_a_time_is_a_span_or_a_moment(text: str, expected: int | None) -> None:
    """`--since` takes what a person writes, and says so of what it cannot read."""
    assert event_log.since_us(text, BEGAN_US) == expected


def test_a_dead_nodes_file_is_read_to_its_last_whole_line(tmp_path: Path) -> None:
    """A kill tears the last line; an older file comes first; what a node also told is not told twice."""
    rows = [
        json.dumps(
            {
                "sequence": n,
                "wall_us": n,
                "monotonic_us": n,
                "kind": "ROUTE_UP",
                "reason": "r",
                "line": "[IM] l",
                "pid": 5,
            }
        )
        for n in (1, 2, 3)
    ]
    (tmp_path / "facts.jsonl.1").write_text(rows[0] + "\n")
    (tmp_path / "facts.jsonl").write_text(f"{rows[1]}\nnull\n[]\n{rows[2]}\n{rows[2][:20]}")
    kept = from_folder(NodeId(1), tmp_path)
    assert kept is not None
    assert [each.sequence for each in kept] == [1, 2, 3]
    asked = replace(kept[2], pid=0)
    newer = replace(kept[2], sequence=4, monotonic_us=4)
    assert merged([*kept, asked, newer]) == [*kept, newer]
    assert from_folder(NodeId(1), tmp_path / "nowhere") is None
    assert from_folder(NodeId(1), None) is None
