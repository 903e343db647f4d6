"""What is wrong inside a VM: who still gets an answer, and what the host hears."""

from __future__ import annotations

from hvcluster.model.policy import JOURNAL_SERVICE
from hvcluster.model.vocabulary import VmHealth
from hvcluster.node.core.guest_health import MAX_FAILED, MAX_UNHEARD, Ailment
from hvcluster.node.core.guest_io import Append, PowerOff, Refuse


def test_only_the_journal_is_missed_by_its_clients() -> None:
    """Another service that fails is heard of, and requests go on to the guest."""
    ailment, request = Ailment(), Append(1, b"x")
    assert (ailment.health, ailment.filtered(request)) == (VmHealth.WELL, (request, ()))
    ailment.fail("spooler")
    assert (ailment.health, ailment.failed, ailment.filtered(request)) == (
        VmHealth.CRITICAL,
        ("spooler",),
        (request, ()),
    )
    ailment.fail()
    assert ailment.failed == (JOURNAL_SERVICE, "spooler")
    assert ailment.filtered(request) == (
        None,
        (Refuse(1, "application", "the application in the VM has crashed"),),
    )


def test_a_guest_that_hangs_says_nothing_of_its_services() -> None:
    """Its clients wait until it is turned off, as many as may."""
    ailment = Ailment()
    ailment.fail("spooler")
    ailment.hang()
    assert ailment.health is VmHealth.SILENT
    assert [ailment.filtered(Append(n, b"x")) for n in range(MAX_UNHEARD)] == [(None, ())] * MAX_UNHEARD
    taken, refused = ailment.filtered(Append(MAX_UNHEARD, b"x"))
    assert (taken, [each.code for each in refused]) == (None, ["busy"])
    off = PowerOff("it is ill", "terminated")
    taken, refused = ailment.filtered(off)
    assert (taken, len(refused)) == (off, MAX_UNHEARD)


def test_names_of_services_do_not_fill_the_memory() -> None:
    """Whoever breaks a VM over and over is heard of some of it."""
    ailment = Ailment()
    for number in range(2 * MAX_FAILED):
        ailment.fail(f"service {number}")
    assert len(ailment.failed) == MAX_FAILED
