"""A VM that has lost its disk is frozen (Paused-Critical) instead of turned off, and goes on when the disk answers.

Law: remembers which channels wait, and for how long at most. A frozen guest is one whose disk is asked on and on; its
clients wait as they do for any slow disk.
"""

from __future__ import annotations

from hvcluster.model.vocabulary import Instant

from .guest_disk import Channel
from .guest_io import Frozen, GuestEffect, Thawed


class Freeze:
    """Whether a guest is frozen. `allowed_us`: for how long it may be; 0: never."""

    __slots__ = ("_allowed_us", "_waiting")

    def __init__(self, allowed_us: int) -> None:
        self._allowed_us = allowed_us
        self._waiting: list[Channel] = []

    @property
    def frozen(self) -> bool:
        """Whether a channel waits beyond the disk timeout."""
        return bool(self._waiting)

    def holds(self, now: Instant, channel: Channel, out: list[GuestEffect]) -> bool:
        """The time of a channel is over. True: the guest is frozen, and the channel has more; False: that was it."""
        if not self._allowed_us or channel in self._waiting:
            return False
        if not self._waiting:
            out.append(Frozen(channel.why))
        self._waiting.append(channel)
        channel.extend(now, self._allowed_us, out)
        return True

    def answered(self, channel: Channel, out: list[GuestEffect]) -> None:
        """The disk has carried out a command of a channel."""
        if channel in self._waiting:
            self._waiting.remove(channel)
            if not self._waiting:
                out.append(Thawed())
