"""`hvc test cluster`: what passes, what is a warning, what fails, and that nothing of the cluster is touched."""

from __future__ import annotations

import html.parser
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from signal import SIGKILL

import pytest

from hvcluster.model.definition import initiator_name
from hvcluster.model.properties import Properties
from hvcluster.model.scsi import GOOD, PersistentReserveOut, ReservationType, ReserveOut
from hvcluster.model.vocabulary import LunId, NodeId, PathName
from hvcluster.orchestrator import lab_file
from hvcluster.orchestrator.driver import Address
from hvcluster.orchestrator.errors import Failure
from hvcluster.orchestrator.initiator import Session
from hvcluster.orchestrator.lab_template import render
from hvcluster.orchestrator.picture import Picture
from hvcluster.orchestrator.validation import looks, page, run, storage
from hvcluster.orchestrator.validation.report import (
    Category,
    Finding,
    Line,
    Outcome,
    Report,
    as_json,
    failed,
    ok,
    skipped,
    warning,
)
from hvcluster.orchestrator.validation.scratch import PREFIX, Scratch, is_left_over, scratch
from hvcluster.v1 import san_pb2
from tests.orchestrator.test_inventory import HEALTHY, look
from tests.processes.san_process import SanProcess, array

DEFINITION = lab_file.parse(render("HVCLUSTER", "x")).definition("c0ffee")
ON_DISKS = [test for test in run.TESTS if test.disks is not None]


def outcome(lines: list[Line]) -> Outcome:
    """What a test with these lines comes to."""
    return Finding(Category.SYSTEM, "a test", tuple(lines)).outcome


@pytest.fixture
async def san(tmp_path: Path) -> AsyncIterator[SanProcess]:
    """An array of its own."""
    async with array(tmp_path) as made:
        yield made


def where(san: SanProcess) -> Address:
    """Where it listens."""
    return Address("127.0.0.1", san.port)


async def luns(san: SanProcess) -> list[int]:
    """The numbers of all LUNs."""
    return [row.lun for row in (await san.admin().ListLuns(san_pb2.LunListRequest(), timeout=20)).luns]


@pytest.mark.conforms("validation")
@pytest.mark.parametrize("paths", [(PathName("A"),), (PathName("A"), PathName("B"))])
async def test_an_array_that_keeps_the_standard_passes_every_storage_test(
    san: SanProcess, paths: tuple[PathName, ...]
) -> None:
    """Register, reserve, read, preempt, conflicting writes, arbitration of all at once, failovers: on scratch LUNs."""
    definition = replace(DEFINITION, paths=paths)
    before = await luns(san)
    async with scratch(san.admin(), where(san), definition) as disks:
        assert len(await luns(san)) == len(before) + len(disks.luns)
        for test in ON_DISKS:
            assert test.disks is not None
            lines = await test.disks(disks)
            assert outcome(lines) is not Outcome.FAILED, [line for line in lines if line.outcome is Outcome.FAILED]
            assert len(lines) >= len(disks.hosts)
    assert await luns(san) == before, "what was made for it is gone again"


@pytest.mark.conforms("validation")
async def test_a_stranger_on_the_disk_makes_storage_tests_fail(san: SanProcess) -> None:
    """A disk that somebody else holds: a write, a reserve, the keys are not what they must be, and that is told."""
    stranger = "iqn.2026-01.example:stranger"
    async with scratch(san.admin(), where(san), DEFINITION) as disks:
        lun = disks.luns[0]
        mask = san_pb2.LunMaskRequest(lun=lun, initiator=stranger)
        assert (await san.admin().UnmaskLun(mask, timeout=20)).ok
        async with Session(where(san), stranger, "A") as session:
            register = PersistentReserveOut(ReserveOut.REGISTER_AND_IGNORE_EXISTING_KEY, service_key=7)
            exclusive = ReservationType.EXCLUSIVE_ACCESS
            assert await session.do(lun, register) == GOOD
            assert await session.do(lun, PersistentReserveOut(ReserveOut.RESERVE, 7, type=exclusive)) == GOOD
            for test in (storage.reservation, storage.arbitration, storage.latency):
                assert await session.do(lun, register) == GOOD
                await session.do(lun, PersistentReserveOut(ReserveOut.RESERVE, 7, type=exclusive))
                lines = await test(disks)
                assert outcome(lines) is Outcome.FAILED
                assert any("RESERVATION CONFLICT" in line.text for line in lines if line.outcome is Outcome.FAILED)


async def test_an_array_that_dies_fails_the_tests_and_ends_nothing_else(san: SanProcess) -> None:
    """UNKNOWN is an answer: every later command of the session has it as well, and nobody waits for ever."""
    async with scratch(san.admin(), where(san), DEFINITION) as disks:
        await san.end(SIGKILL)
        lines = await storage.failover(disks)
    assert outcome(lines) is Outcome.FAILED
    assert all("no answer" in line.text for line in lines if line.outcome is Outcome.FAILED)


async def test_what_an_interrupted_validation_left_is_removed_by_the_next(san: SanProcess) -> None:
    """Only LUNs that nobody but a validation sees are taken for left over; a cluster's LUN is never one."""
    admin = san.admin()
    assert (await admin.CreateLun(san_pb2.LunSizeRequest(lun=200, blocks=8), timeout=20)).ok
    assert (await admin.UnmaskLun(san_pb2.LunMaskRequest(lun=200, initiator=f"{PREFIX}x"), timeout=20)).ok
    assert (await admin.CreateLun(san_pb2.LunSizeRequest(lun=201, blocks=8), timeout=20)).ok
    async with scratch(admin, where(san), DEFINITION):
        assert 200 not in await luns(san)
    assert await luns(san) == [2, 201], "a LUN that nobody sees may be anybody's"
    assert not is_left_over(san_pb2.LunRow(lun=1, initiators=[initiator_name("HyperV-1"), f"{PREFIX}x"]))
    assert not is_left_over(san_pb2.LunRow(lun=1))


async def test_one_node_gets_a_second_host_to_contend_with(san: SanProcess) -> None:
    """A conflict needs two: a cluster of one node is tested with a host that is nobody's."""
    alone = replace(DEFINITION, nodes=DEFINITION.nodes[:1])
    async with scratch(san.admin(), where(san), alone) as disks:
        assert isinstance(disks, Scratch)
        assert [host.name for host in disks.hosts] == ["HyperV-1", "a-second-host"]
        assert outcome(await storage.multiple(disks)) is Outcome.SUCCESS


async def test_a_login_that_is_refused_says_why(san: SanProcess) -> None:
    """Bad input: the array's own words, and nobody waits for ever."""
    with pytest.raises(Failure, match="takes no login"):
        await Session(where(san), " no good name ", "A").__aenter__()


def test_a_healthy_lab_passes_what_a_look_can_tell() -> None:
    """Two networks, all pairs, quorum: nothing to complain of."""
    for test in (looks.networks, looks.communication, looks.system, looks.settings, looks.same_database):
        assert outcome(test(HEALTHY)) is Outcome.SUCCESS, test
    assert outcome(looks.quorum(HEALTHY)) is Outcome.WARNING, "nobody holds the witness"


@pytest.mark.conforms("validation")
def test_pairs_that_do_not_hear_each_other_are_named() -> None:
    """One network missing for a pair is a warning, all of them are a failure, and so is a node that does not answer."""
    half = looks.communication(look(("B",), ("A", "B"), ("A", "B")))
    assert outcome(half) is Outcome.WARNING
    assert "HyperV-1 does not hear HyperV-2 on Cluster Network A" in [line.text for line in half]
    deaf = look((), ("A", "B"), ("A", "B"))
    assert outcome(looks.communication(deaf)) is Outcome.WARNING, "it is still heard"
    silent = replace(HEALTHY, answers={n: a for n, a in HEALTHY.answers.items() if n != 3})
    assert outcome(looks.communication(silent)) is Outcome.FAILED
    assert any("HyperV-3 does not answer" in line.text for line in looks.services(silent))
    none = look((), (), ())
    assert "HyperV-1 and HyperV-2 reach each other on no network" in [line.text for line in looks.communication(none)]
    assert outcome(looks.networks(none)) is Outcome.FAILED
    alone = replace(HEALTHY, answers={NodeId(1): HEALTHY.answers[NodeId(1)]})
    assert looks.communication(alone)[0].outcome is Outcome.NOT_APPLICABLE


def test_disks_in_use_are_skipped_and_masked_ones_fail() -> None:
    """As the product: a disk of an online role is left alone, with the reason; one that an owner cannot see fails."""
    group, everyone = HEALTHY.answers[NodeId(2)].groups[0], [initiator_name(f"HyperV-{n}") for n in (1, 2, 3)]
    assert group.state == "ONLINE"
    rows = (
        san_pb2.LunRow(lun=1, initiators=everyone),
        san_pb2.LunRow(lun=2, initiators=everyone),
        san_pb2.LunRow(lun=9),
    )
    lines = looks.potential_disks(replace(HEALTHY, luns=rows))
    assert outcome(lines) is Outcome.SUCCESS
    left_alone = [line.text for line in lines if line.outcome is Outcome.NOT_APPLICABLE]
    assert left_alone == [
        "LUN 1 is the witness of this cluster: it is not tested",
        "LUN 2 is in use by the online role D1: it is not tested",
    ]
    masked = (rows[0], san_pb2.LunRow(lun=2, initiators=everyone[:2]))
    lines = looks.potential_disks(replace(HEALTHY, luns=masked))
    assert [line.text for line in lines if line.outcome is Outcome.FAILED] == ["LUN 2 (D1) is masked from HyperV-3"]
    assert outcome(looks.disks(replace(HEALTHY, luns=None))) is Outcome.FAILED


def test_settings_that_do_not_fit_together_fail() -> None:
    """The cross checks of the properties, one line for each broken rule."""
    broken = replace(DEFINITION, properties=Properties(dynamic_quorum=False, guest_disk_timeout_ms=1000))
    lines = looks.settings(replace(HEALTHY, definition=broken))
    assert len([line for line in lines if line.outcome is Outcome.FAILED]) == 2


def test_a_lab_that_answers_nothing_fails_without_an_error() -> None:
    """Nobody answers: every test that needs an answer says so."""
    empty = Picture(DEFINITION, ())
    for test in run.TESTS:
        if test.picture is not None and test.picture not in (looks.system, looks.processes, looks.settings):
            worst = outcome(test.picture(empty))
            assert worst in (Outcome.FAILED, Outcome.WARNING, Outcome.NOT_APPLICABLE), test.name


def test_tests_are_chosen_by_category_or_name() -> None:
    """-Include and -Ignore of the product; what is not applicable has its reason."""
    assert run.wanted((), ()) == run.TESTS
    assert {test.category for test in run.wanted(("storage",), ())} == {Category.STORAGE}
    only = run.wanted(("Storage",), ("validate disk failover",))
    assert "Validate Disk Failover" not in [test.name for test in only]
    assert len({test.name for test in run.TESTS}) == len(run.TESTS)
    for test in run.TESTS:
        assert (test.picture is None) + (test.disks is None) + (not test.reason) == 2, test.name


class _Page(html.parser.HTMLParser):
    """The tags and the text of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.conforms("validation")
def test_the_page_needs_nothing_else_and_says_all() -> None:
    """One self-contained file: no script, nothing loaded, every text escaped, links only into itself."""
    lines = (ok("fine"), warning("<b>odd</b>"), failed("bad & worse"), skipped("not here"))
    found = Report("HV<1>", "ws2012r2", "2026-05-31 14:00:00", (Finding(Category.STORAGE, "Validate X", lines),))
    text = page.render(found)
    read = _Page()
    read.feed(text)
    assert not {"script", "link", "img", "b"} & set(read.tags)
    assert all(link.startswith("#") for link in read.links)
    for word in ("HV<1>", "<b>odd</b>", "bad & worse", "The cluster has failed validation."):
        assert word in read.text
    assert not found.passed
    assert as_json(found)["counts"] == {"Success": 0, "Warning": 0, "Failed": 1, "Not applicable": 0}


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ((), Outcome.SUCCESS),
        ((skipped("x"),), Outcome.NOT_APPLICABLE),
        ((skipped("x"), ok("y")), Outcome.SUCCESS),
        ((ok("y"), warning("z")), Outcome.WARNING),
        ((failed("w"), warning("z")), Outcome.FAILED),
    ],
)
def test_a_test_is_as_its_worst_line(lines: tuple[Line, ...], expected: Outcome) -> None:
    """A test that did anything is not `not applicable`; warnings do not fail it."""
    finding = Finding(Category.STORAGE, "x", lines)
    assert finding.outcome is expected
    assert Report("C", "p", "t", (finding,)).passed == (expected is not Outcome.FAILED)


def test_a_lun_number_is_what_a_scratch_disk_has() -> None:
    """Scratch disks take the highest free numbers, so that those of a lab file are not in their way."""
    assert LunId(255) > max(group.lun for group in DEFINITION.groups)
