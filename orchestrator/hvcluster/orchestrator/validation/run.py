"""The list of tests, and running those that are wanted.

Law: the order of tests is that of the report; a test that cannot be run fails with the reason, and the others go on.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from hvcluster.orchestrator.driver import Driver
from hvcluster.orchestrator.errors import Failure
from hvcluster.orchestrator.observer import Observer
from hvcluster.orchestrator.picture import Picture
from hvcluster.orchestrator.scenario_hand import look

from . import looks, storage
from .report import Category, Finding, Line, Report, failed, skipped
from .scratch import Scratch, scratch

OnPicture = Callable[[Picture], list[Line]]
OnDisks = Callable[[Scratch], Awaitable[list[Line]]]


@dataclass(frozen=True, slots=True)
class Test:
    """One test: on a picture, on scratch disks, or not applicable with the reason."""

    __test__ = False  # a test runner must not take it for a test

    category: Category
    name: str
    picture: OnPicture | None = None
    disks: OnDisks | None = None
    reason: str = field(default="")


_S: Final = Category.STORAGE
TESTS: Final[tuple[Test, ...]] = (
    Test(Category.INVENTORY, "List Running Processes", looks.processes),
    Test(Category.INVENTORY, "List System Information", looks.system),
    Test(Category.INVENTORY, "List Host Bus Adapters", looks.paths),
    Test(Category.CONFIGURATION, "List Clustered Roles", looks.roles),
    Test(Category.CONFIGURATION, "Validate Resource Status", looks.resources),
    Test(Category.CONFIGURATION, "Validate Quorum Configuration", looks.quorum),
    Test(Category.NETWORK, "Validate Cluster Network Configuration", looks.networks),
    Test(Category.NETWORK, "Validate Network Communication", looks.communication),
    Test(_S, "List All Disks", looks.disks),
    Test(_S, "List Potential Cluster Disks", looks.potential_disks),
    Test(_S, "Validate CSV Network Bindings", reason="volumes have no network and no settings of their own"),
    Test(_S, "Validate CSV Settings", reason="volumes have no network and no settings of their own"),
    Test(_S, "Validate Disk Access Latency", disks=storage.latency),
    Test(_S, "Validate Disk Arbitration", disks=storage.arbitration),
    Test(_S, "Validate Disk Failover", disks=storage.failover),
    Test(_S, "Validate File System", reason="a LUN holds a VHD and no file system"),
    Test(_S, "Validate Microsoft MPIO-based disks", reason="a node's service uses its paths itself, without MPIO"),
    Test(_S, "Validate Multiple Arbitration", disks=storage.multiple),
    Test(_S, "Validate SCSI device Vital Product Data (VPD)", reason="the array answers no INQUIRY"),
    Test(_S, "Validate SCSI-3 Persistent Reservation", disks=storage.reservation),
    Test(_S, "Validate Simultaneous Failover", disks=storage.simultaneous),
    Test(_S, "Validate Storage Spaces Persistent Reservation", reason="there are no storage pools"),
    Test(Category.SYSTEM, "Validate Required Services", looks.services),
    Test(Category.SYSTEM, "Validate Cluster Database Agreement", looks.same_database),
    Test(Category.SYSTEM, "Validate Cluster Service and Driver Settings", looks.settings),
)


def wanted(include: Iterable[str], ignore: Iterable[str]) -> tuple[Test, ...]:
    """The tests of these categories or names, all for none, without those to be ignored; any case."""
    only, without = {name.lower() for name in include}, {name.lower() for name in ignore}
    return tuple(test for test in TESTS if (not only or _called(test) & only) and not _called(test) & without)


def _called(test: Test) -> set[str]:
    return {test.category.value.lower(), test.name.lower()}


def names() -> list[str]:
    """Every word that `wanted` understands."""
    return [*(category.value for category in Category), *(test.name for test in TESTS)]


async def validate(driver: Driver, tests: Iterable[Test], tell: Callable[[Finding], None]) -> Report:
    """Run tests on a lab; `tell` hears of each as it ends. Raises nothing that the lab could cause."""
    chosen = tuple(tests)
    findings: list[Finding] = []
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime())
    async with Observer(driver) as observer:
        picture = await look(observer)
        on_disks = await _on_disks(observer, [test for test in chosen if test.disks is not None])
        for test in chosen:
            if test.picture is not None:
                lines = test.picture(picture)
            elif test.disks is not None:
                lines = on_disks[test.name]
            else:
                lines = [skipped(test.reason)]
            findings.append(Finding(test.category, test.name, tuple(lines)))
            tell(findings[-1])
    definition = driver.definition
    return Report(definition.name, definition.properties.profile, when, tuple(findings))


async def _on_disks(observer: Observer, tests: list[Test]) -> dict[str, list[Line]]:
    """The lines of all tests that need disks, by their names; one set of disks serves all."""
    found: dict[str, list[Line]] = {}
    if not tests:
        return found
    try:
        address = (await observer.driver.addresses()).san
        if address is None:
            return {test.name: [failed("the array cannot be reached")] for test in tests}
        async with scratch(observer.san_stub(address), address, observer.driver.definition) as disks:
            for test in tests:
                assert test.disks is not None, "only such tests are asked for"
                found[test.name] = await test.disks(disks)
    except Failure as error:
        found |= {test.name: [failed(error.text)] for test in tests if test.name not in found}
    return found
