"""What `hvc status` and `hvc journal` show: nothing cut off, and the routes that should be there."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from hvcluster.model.definition import initiator_name
from hvcluster.model.vocabulary import Generation, NodeId, ReservationKey
from hvcluster.orchestrator import array_journal, lab_file, views
from hvcluster.orchestrator.cli import tables
from hvcluster.orchestrator.driver import Address, Addresses, Member
from hvcluster.orchestrator.lab_template import render
from hvcluster.orchestrator.picture import Picture
from hvcluster.orchestrator.state import Life, Role
from hvcluster.v1 import node_pb2, san_pb2

REASON = "all routes to node 1 are down; fewest groups (0), lowest id among HyperV-2 and HyperV-3"
LONG = "HYPERV-HOST-001"


def answer(node: int, routes: list[tuple[str, int, bool]], down: tuple[int, ...] = ()) -> node_pb2.StatusReply:
    """What one node of three says."""
    rows = [
        node_pb2.NodeRow(id=n, name=f"HyperV-{n}", state="DOWN" if n in down else "UP", dynamic_weight=1)
        for n in (1, 2, 3)
    ]
    group = node_pb2.GroupRow(name="D1", state="ONLINE", owner=2, generation=2, lun=2, reason=REASON)
    return node_pb2.StatusReply(
        node=node,
        leader=2,
        term=3,
        quorum=True,
        service="UP",
        nodes=rows,
        groups=[group],
        routes=[node_pb2.RouteRow(bus=bus, peer=peer, up=up) for bus, peer, up in routes],
        quorum_row=node_pb2.QuorumRow(votes=3, needed=2, mode="NodeAndDiskMajority", witness_lun=1),
    )


def picture(*answers: node_pb2.StatusReply, name: str = "HyperV-1") -> Picture:
    """A look at the lab of the template."""
    definition = lab_file.parse(render("HVCLUSTER", "x").replace("HyperV-1", name)).definition("c0ffee")
    members = tuple(Member(node.name, Role.NODE, Life.RUNNING, node.id) for node in definition.nodes)
    key = ReservationKey(Generation(2), NodeId(2)).encode()
    holder = san_pb2.ScsiRegistration(
        nexus=san_pb2.ScsiNexus(initiator=initiator_name("HyperV-2"), port="A"), key=key, holder=True
    )
    lun = san_pb2.LunRow(lun=2, blocks=131072, type=5, registrations=[holder])
    return Picture(definition, members, {NodeId(reply.node): reply for reply in answers}, (lun,))


def shown(look: Picture, width: int) -> str:
    """The tables as a terminal of that width shows them."""
    console = Console(file=io.StringIO(), width=width, highlight=False)
    addresses = Addresses(vms={"D1": Address("127.0.0.1", 32243)})
    console.print(tables.status(look, addresses, console.width))
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()


ALL = [(bus, peer, True) for bus in ("A", "B") for peer in (1, 3)]


def test_routes_are_counted_against_those_that_should_be_there() -> None:
    """A route that fell silent is no row any more, and a direct call that stands in for it is no route."""
    half = [("B", 1, True), ("B", 3, True), ("direct", 1, True), ("direct", 3, True)]
    assert "2 of 4 up" in shown(picture(answer(2, half)), 80)
    assert "4 of 4 up" in shown(picture(answer(2, ALL)), 80)
    assert "0 of 4 up" in shown(picture(answer(2, [])), 80)
    node = picture(answer(2, half)).routes(NodeId(2))
    assert [route for route in node if not route[2]] == [("A", 1, False), ("A", 3, False)]


@pytest.mark.parametrize(
    ("drain", "words"),
    [("NOT_INITIATED", "PAUSED  "), ("IN_PROGRESS", "PAUSED (draining)"), ("COMPLETED", "PAUSED (drained)"),
     ("FAILED", "PAUSED (drain failed)")],
)  # fmt: skip
def test_a_paused_node_says_how_far_its_drain_is(drain: str, words: str) -> None:
    """Planned work: whoever waits for an empty node reads it beside its state."""
    reply = answer(2, ALL)
    reply.nodes[0].state, reply.nodes[0].drain = "PAUSED", drain
    assert words in shown(picture(reply), 110)


def test_a_node_that_is_down_is_no_reason_for_a_route() -> None:
    """Only peers that are up are expected to be heard."""
    assert "2 of 2 up" in shown(picture(answer(2, [("A", 3, True), ("B", 3, True)], down=(1,))), 80)


def test_scripts_see_the_routes_that_are_missing() -> None:
    """`routes_down` names bus and peer of each route that should be up and is not."""
    document = views.as_json(picture(answer(2, [("B", 1, True), ("B", 3, True)])), Addresses())
    nodes = document["nodes"]
    assert isinstance(nodes, list)
    row = nodes[1]
    assert isinstance(row, dict)
    assert row["routes_down"] == ["A:HyperV-1", "A:HyperV-3"]


@pytest.mark.parametrize("width", [60, 80, 100, 110, 160])
def test_nothing_is_cut_off(width: int) -> None:
    """What does not fit goes on below: no cell ends in an ellipsis, whatever the terminal's width."""
    text = shown(picture(answer(2, ALL), name=LONG), width)
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= width
    squeezed = "".join(text.split())
    for word in ("000000020002734d", "127.0.0.1:32243", "Registrants") if width >= 80 else ("Registrants",):
        assert word in squeezed
    if width < tables.WIDE:
        assert f"D1: {REASON}".replace(" ", "") in squeezed, "the reason has lines of its own"
    if width >= 80:
        for word in (LONG, "HyperV-3", "Generation", "ONLINE"):
            assert word in text, f"{word} is folded although it need not be"


def test_conflicts_are_some_of_what_was_refused() -> None:
    """`--conflicts` shows what a reservation kept out; `--refused` all that was not GOOD."""
    rows = [san_pb2.SanJournalRow(sequence=status, status=status) for status in (1, 2, 3, 4)]  # type: ignore[arg-type]
    assert [row.status for row in array_journal.refused(rows)] == [2, 3, 4]
    assert [row.status for row in array_journal.conflicts(rows)] == [san_pb2.SCSI_STATUS_RESERVATION_CONFLICT]
