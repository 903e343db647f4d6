"""Virtual years against closed formulas: where the answer is known, a study must find it.

Each tolerance is some four standard errors of the number of incidents in the years that are run.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from hvcluster.sim.study import Interval, nines
from hvcluster.sim.study_file import Law, Rate, Spread
from hvcluster.sim.study_tally import QUORUM, YEAR_S
from tests.sim.study_bench import HOUR, rate, run, study, topology, unavailability

MTTF, MTTR = 200.0, 10.0
A = MTTF / (MTTF + MTTR)


def test_one_host_is_available_mttf_of_mttf_and_mttr() -> None:
    """Studies: a single host's availability is MTTF / (MTTF + MTTR); what forming costs adds to each repair."""
    for wait_s in (0.0, 2 * HOUR):
        tally = run(study(150, host=rate(MTTF, MTTR)), topology(1), wait_s)
        away = MTTR + wait_s / HOUR
        # While the VM boots the host already works towards its next failure: the cycle is MTTF + MTTR.
        assert unavailability(tally) == pytest.approx(away / (MTTF + MTTR), rel=0.08)
        assert tally.down_s["host"] == sum(tally.down_s.values())


def test_fixed_times_leave_nothing_to_chance() -> None:
    """Studies: with fixed times of failure and repair the count is exact."""
    hours = 8766.0
    tally = run(study(1, host=rate(99, 1, Law.FIXED)), topology(1), 0.0)
    assert sum(tally.down_s.values()) == pytest.approx(int(hours // 100) * HOUR)
    assert tally.longest_s == pytest.approx(HOUR)


def test_two_hosts_with_static_votes_and_no_witness_need_each_other() -> None:
    """Quorum: 2 votes, 2 needed; up is A squared, less than one host alone."""
    tally = run(study(150, host=rate(MTTF, MTTR)), topology(2, dynamic=False), 0.0)
    # A survivor's VMs run on until its evidence of quorum has run out: nothing of it here, for that wait is 0 too.
    assert unavailability(tally) == pytest.approx(1 - A * A, rel=0.08)


def test_two_hosts_with_static_votes_and_a_witness_stand_in_for_each_other() -> None:
    """Quorum: 3 votes, 2 needed; down while both are down, and for each takeover."""
    takeover_s = 360.0
    for wait_s in (0.0, takeover_s):
        tally = run(study(500, host=rate(MTTF, MTTR)), topology(2, witness=True, dynamic=False), wait_s)
        both = (1 - A) ** 2
        takeovers = A * A * 2 / MTTF / 2  # both up, either fails; half of the failures hit the VM's owner
        returns = 2 * (1 - A) * A / MTTF  # the second fails as well: it comes back to nothing and must form
        expected = both + (takeovers + returns) * wait_s / HOUR
        assert unavailability(tally) == pytest.approx(expected, rel=0.12)


def test_two_hosts_without_a_witness_are_as_good_as_one() -> None:
    """Dynamic quorum: the last vote is one host's; when that one fails the other may not go on."""
    years = study(250, host=rate(MTTF, MTTR))
    alone = unavailability(run(years, topology(1), 0.0))
    pair = run(years, topology(2, dynamic=True), 0.0)
    assert unavailability(pair) == pytest.approx(alone, rel=0.12)
    assert pair.down_s[QUORUM] > 0.8 * sum(pair.down_s.values()), "the other host was there, without a vote"


def test_one_repair_crew_lets_the_second_host_wait() -> None:
    """Repair crews: two machines and one repairman, Palm's formula."""
    rho = MTTR / MTTF
    both_down = 2 * rho**2 / (1 + 2 * rho + 2 * rho**2)
    pair = topology(2, witness=True, dynamic=False)
    tally = run(study(500, crews=1, host=rate(MTTF, MTTR)), pair, 0.0)
    assert unavailability(tally) == pytest.approx(both_down, rel=0.12)


def test_the_array_is_in_series_with_everything() -> None:
    """Studies: no number of hosts helps when the one array is away."""
    tally = run(study(150, array=rate(MTTF, MTTR)), topology(4, witness=True), 0.0)
    assert unavailability(tally) == pytest.approx(1 - A, rel=0.08)
    assert tally.down_s["array"] == sum(tally.down_s.values())


def test_what_fails_inside_a_vm_is_repaired_in_place() -> None:
    """Guest OS and application: two rates in series; nothing moves, whatever the cluster."""
    rates = {"guest_os": rate(MTTF, 2.0), "application": rate(MTTF / 2, 1.0)}
    tally = run(study(60, None, **rates), topology(3, witness=True), 12 * HOUR)
    work = 1 / (1 + 2.0 / MTTF + 1.0 / (MTTF / 2))
    assert unavailability(tally) == pytest.approx(1 - work, rel=0.08)


def test_a_dead_bus_costs_nothing_and_a_spare_path_neither() -> None:
    """Failure table: one bus dead, both buses dead: no VM moves. One of two paths lost: the other serves."""
    wide = replace(topology(3), paths=2)
    assert unavailability(run(study(60, bus=rate(MTTF, MTTR)), wide, HOUR)) == 0.0
    tally = run(study(60, path=rate(50 * MTTF, 1.0)), wide, 60.0)
    assert unavailability(tally) < 1e-5


def test_weibull_times_keep_their_mean() -> None:
    """Laws of failure: mttf_h is the mean, whatever the shape."""
    steep = Rate(Spread(MTTF * HOUR, Law.WEIBULL, 3.0), Spread(MTTR * HOUR, Law.WEIBULL, 0.7))
    tally = run(study(150, host=steep), topology(1), 0.0)
    assert unavailability(tally) == pytest.approx(1 - A, rel=0.08)


def test_the_interval_is_students() -> None:
    """Confidence: mean of 40 replications, 2.0227 standard errors to either side, never below zero."""
    interval = Interval.of([0.0, 2.0] * 20)
    half = 2.0227 * (40 / 39) ** 0.5 / 40**0.5
    assert (interval.mean, interval.low, interval.high) == pytest.approx((1.0, 1.0 - half, 1.0 + half))
    assert Interval.of([0.0] * 39 + [1.0]).low == 0.0


def test_the_interval_covers_what_is_true() -> None:
    """Confidence: of 40 studies of one host some 38 hold the true value; fewer than 33 would be a poor interval."""
    held = 0
    for number in range(40):
        shares = [
            unavailability(run(study(1, host=rate(MTTF, MTTR)), topology(1), 0.0, f"{number}/{replication}"))
            for replication in range(40)
        ]
        interval = Interval.of(shares)
        # All is up at the beginning, which a year of a cycle of 210 hours still show: the true value is less.
        begin = (1 - A) ** 2 * MTTF * HOUR / YEAR_S
        held += interval.low <= 1 - A - begin <= interval.high
    assert held >= 33


def test_nines() -> None:
    """Availability: 99.9 % is three nines; no downtime seen proves no number of them."""
    assert nines(0.001) == pytest.approx(3.0)
    assert nines(0.0) is None
