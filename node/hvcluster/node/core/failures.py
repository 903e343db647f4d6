"""What follows from a failure of a group: a restart on its node, a failover, or nothing for a long while.

Law: counts failures in their periods and says what comes next; where a group goes is for `placement` to say. The
counts stand in the database, the instants only here: a new leader takes those it finds as of the moment it is elected,
so that a period may last longer by the leaders before it and is never cut short.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum

from hvcluster.model.policy import Policy, RestartAction
from hvcluster.model.properties import Timing
from hvcluster.model.vocabulary import Generation, Instant

from .members import Group
from .settings import Settings

MOST_COUNTED = 1000  # the highest threshold there is; what a database says is not trusted further


class Next(Enum):
    """What comes after a failure."""

    WAIT = "not yet"
    RESTART = "it is restarted on the same node"
    FAILOVER = "it goes to another node"
    GIVE_UP = "it stays failed"


class _Track:
    """What the leader remembers of one group."""

    __slots__ = ("failed", "failovers", "restarts", "retry_at", "since")

    def __init__(self, group: Group, now: Instant) -> None:
        self.failed = Generation(-1)  # that was seen to fail last
        self.since = now  # when that was seen
        self.restarts = [now] * min(group.restarts, MOST_COUNTED)
        self.failovers = [now] * min(group.failovers, MOST_COUNTED)
        self.retry_at: Instant | None = None


class Failures:
    """The failures of all groups, as this leader has seen them."""

    __slots__ = ("_settings", "_timing", "_tracks")

    def __init__(self, settings: Settings, timing: Timing) -> None:
        self._settings = settings
        self._timing = timing
        self._tracks: dict[str, _Track] = {}

    def start(self, now: Instant, groups: Iterable[Group]) -> None:
        """We lead a new term."""
        self._tracks = {group.name: _Track(group, now) for group in groups if group.restarts or group.failovers}

    def next(self, now: Instant, group: Group, nodes: int, *, here: bool) -> tuple[Next, Instant, str]:
        """What to do about a group that has failed, until when to wait, and why. `here`: its node could restart it."""
        track = self._tracks.get(group.name)
        if track is None:
            track = self._tracks[group.name] = _Track(group, now)
        policy = group.definition.policy
        if not group.restarts and not group.failovers and track.failed != group.generation:
            track.restarts, track.failovers, track.retry_at = [], [], None  # an operator has forgiven them
        if track.failed != group.generation:
            track.failed, track.since = group.generation, now
        self._forget(track, now, policy)
        if track.retry_at is not None:
            if now < track.retry_at:
                return Next.WAIT, track.retry_at, ""
            return (Next.RESTART if here else Next.FAILOVER), now, "RetryPeriodOnFailure is over"
        if policy.restart_action is RestartAction.DONT_RESTART:
            return Next.GIVE_UP, now, "RestartAction forbids a restart"
        if here and len(track.restarts) < policy.restart_threshold:
            due = Instant(track.since + self._timing.of_ms(policy.restart_delay_ms))
            number = f"restart {len(track.restarts) + 1} of {policy.restart_threshold} within RestartPeriod"
            return (Next.RESTART if now >= due else Next.WAIT), due, number
        if policy.restart_action is RestartAction.RESTART_NO_NOTIFY:
            return Next.GIVE_UP, now, f"it was restarted {len(track.restarts)} times, and RestartAction lets it fail"
        threshold = self._settings.now.failover_threshold
        if threshold < 0:
            threshold = max(1, nodes - 1)
        if len(track.failovers) >= threshold:
            return Next.GIVE_UP, now, f"it failed over {len(track.failovers)} times within the failover period"
        return Next.FAILOVER, now, "it is not restarted once more where it is"

    def _forget(self, track: _Track, now: Instant, policy: Policy) -> None:
        period = self._timing.of_ms(policy.restart_period_ms)
        track.restarts = [at for at in track.restarts if now - at < period]
        track.failovers = [at for at in track.failovers if now - at < self._timing.failover_period]

    def gave_up(self, now: Instant, group: Group) -> bool:
        """It stays Failed until the retry is due; False when there is none."""
        if group.definition.policy.restart_action is RestartAction.DONT_RESTART:
            return False
        self._tracks[group.name].retry_at = Instant(now + self._timing.retry)
        return True

    def acted(self, now: Instant, group: Group, *, restart: bool) -> None:
        """It is about to be restarted, or to fail over."""
        track = self._tracks[group.name]
        track.retry_at = None
        (track.restarts if restart else track.failovers).append(now)

    def counts(self, group: Group) -> tuple[int, int]:
        """Restarts and failovers that count, for the database."""
        track = self._tracks.get(group.name)
        return (len(track.restarts), len(track.failovers)) if track else (group.restarts, group.failovers)
