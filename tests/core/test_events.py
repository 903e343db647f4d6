"""Event ids: each one that a fact carries is one of the product's, with a level, a channel and a gist."""

from __future__ import annotations

import pytest

from hvcluster.model.events import EVENTS, Channel, Level, event_of, level_of
from hvcluster.model.facts import FactKind


@pytest.mark.parametrize("kind", [kind for kind in FactKind if kind.event_id], ids=lambda kind: kind.name)
def test_an_id_that_a_fact_carries_is_in_the_table(kind: FactKind) -> None:
    """Ids are the product's: a fact may carry one only if the table knows what it says."""
    assert kind.event_id in EVENTS
    assert level_of(kind.name) is EVENTS[kind.event_id].level


def test_levels_are_those_of_the_product() -> None:
    """1135 and 1177 are critical, 1069 and 1254 errors, 1641 is information and for the operational channel."""
    assert {number: EVENTS[number].level for number in (1135, 1177, 1069, 1254, 1641)} == {
        1135: Level.CRITICAL,
        1177: Level.CRITICAL,
        1069: Level.ERROR,
        1254: Level.ERROR,
        1641: Level.INFORMATION,
    }
    assert EVENTS[1641].channel is Channel.OPERATIONAL
    assert EVENTS[1135].channel is Channel.SYSTEM
    assert sorted(EVENTS) == list(EVENTS), "one row for an id, in order"


def test_a_column_of_the_cluster_log_is_one_of_four() -> None:
    """The level column shows DBG, INFO, WARN or ERR; errors are written from log level 1 on, information from 3."""
    assert {level.column for level in Level} == {"DBG", "INFO", "WARN", "ERR"}
    assert [level.number for level in (Level.ERROR, Level.WARNING, Level.INFORMATION, Level.DEBUG)] == [1, 2, 3, 4]


def test_what_another_version_recorded_can_be_read() -> None:
    """A kind or an id that this version does not know has a level all the same."""
    assert level_of("A_KIND_OF_TOMORROW") is Level.INFORMATION
    assert level_of("A_KIND_OF_TOMORROW", 1135) is Level.CRITICAL
    assert event_of(9999).level is Level.WARNING
