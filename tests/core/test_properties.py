"""Cluster properties: each profile's defaults, every broken rule at once, and timings scaled once."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hvcluster.model.properties import LIMITS, PROFILES, Properties, Timing, defaults, problems, with_values


@pytest.mark.parametrize("profile", PROFILES)
def test_every_profile_fits_together(profile: str) -> None:
    """Profiles and time: a cluster of any version starts with properties that pass their own checks."""
    assert problems(defaults(profile)) == []


@pytest.mark.conforms("dynamic-quorum", "dynamic-witness")
def test_the_versions_differ_where_windows_does() -> None:
    """wsfc.md 3.3 (6) and 13: no dynamic quorum before 2012, no dynamic witness before R2, threshold 5 until then."""
    table = {p: defaults(p) for p in PROFILES}
    assert [p for p in PROFILES if not table[p].dynamic_quorum] == ["ws2008r2"]
    assert [p for p in PROFILES if not table[p].dynamic_witness] == ["ws2008r2", "ws2012"]
    assert [p for p in PROFILES if table[p].same_subnet_threshold == 5] == ["ws2008r2", "ws2012"]
    with pytest.raises(KeyError):
        defaults("ws2003")


@pytest.mark.parametrize("name", sorted(LIMITS))
def test_each_limit_is_named_with_a_remedy(name: str) -> None:
    """Profiles and time: validation answers in an operator's words; the limits themselves are allowed."""
    low, high = LIMITS[name]
    kind = type(getattr(Properties(), name))
    for value in (low, high):
        found = dict(problems(replace(Properties(), **{name: kind(value)})))
        assert "choose a value from" not in found.get(name, "")
    for value in (low - 1, high + 1):
        told = [text for broken, text in problems(replace(Properties(), **{name: kind(value)})) if broken == name]
        assert "choose a value from" in told[0]


def test_all_problems_come_at_once() -> None:
    """Profiles and time: every broken relation at once, not one at a time."""
    wrong = replace(
        defaults("ws2008r2"), same_subnet_delay_ms=1, same_subnet_threshold=20, dynamic_quorum=True,
        guest_disk_timeout_ms=2_000, profile="ws2008r2",
    )  # fmt: skip
    assert {name for name, _ in problems(wrong)} >= {
        "same_subnet_delay_ms",
        "same_subnet_threshold",
        "dynamic_quorum",
        "guest_disk_timeout_ms",
    }
    assert ("profile", "profile 'vms' does not exist; one of " + ", ".join(PROFILES)) in problems(
        replace(wrong, profile="vms")
    )


def test_every_number_has_a_limit() -> None:
    """House style: limits on everything."""
    numbers = {f.name for f in fields(Properties) if type(getattr(Properties(), f.name)) in (int, float)}
    assert numbers == set(LIMITS)


def test_values_are_replaced_by_name() -> None:
    """An unknown name is told, not dropped."""
    assert with_values(Properties(), {"same_subnet_delay_ms": 500}).same_subnet_delay_ms == 500
    with pytest.raises(KeyError, match="no_such"):
        with_values(Properties(), {"no_such": 1})


@given(
    st.floats(*LIMITS["time_scale"]),
    st.integers(250, 2000),
    st.integers(3, 120),
    st.integers(1000, 60_000),
)
def test_a_lease_ends_before_another_leader_can_be_elected(
    scale: float, delay: int, threshold: int, arbitration: int
) -> None:
    """Dissertation 6.4.1: lease < sticky < detection, with room for two clocks' drift, at any scale."""
    timing = Timing.of(
        Properties(
            time_scale=scale, same_subnet_delay_ms=delay, same_subnet_threshold=threshold,
            disk_arb_interval_ms=arbitration,
        )
    )  # fmt: skip
    assert 0 < timing.lease < timing.sticky < timing.detection
    assert timing.sticky - timing.lease >= timing.sticky // 100
    assert timing.challenge > 2 * timing.arbitration - 2, "a holder gets two chances to defend"
    assert timing.detection == timing.delay * threshold
    assert all(value >= 0 for value in (getattr(timing, f.name) for f in fields(Timing)))
