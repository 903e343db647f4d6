"""What virtual years come to: downtime and incidents, by cause and by duration.

Law: counts, and the words and bins they are counted under.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from .study_file import Component

YEAR_S: Final = 8766 * 3600.0
QUORUM: Final = "quorum"
CAUSES: Final = (
    Component.HOST.value, QUORUM, Component.ARRAY.value, Component.PATH.value, Component.GUEST_OS.value,
    Component.APPLICATION.value,
)  # fmt: skip
BINS_S: Final = (1.0, 10.0, 60.0, 300.0, 900.0, 3600.0, 4 * 3600.0, 24 * 3600.0)
"""Upper ends of the histogram's bins in seconds; a last bin takes what is longer."""


@dataclass(slots=True)
class Tally:
    """What one run of virtual years came to, summed over its VMs."""

    vm_s: float = 0.0
    down_s: dict[str, float] = field(default_factory=lambda: dict.fromkeys(CAUSES, 0.0))
    incidents: dict[str, list[int]] = field(
        default_factory=lambda: {cause: [0] * (len(BINS_S) + 1) for cause in CAUSES}
    )
    longest_s: float = 0.0
    substituted: int = 0
    """Waiting times drawn from a situation near the one that had come up, which had not been measured."""

    def incident(self, cause: str, seconds: float) -> None:
        """A VM was away."""
        self.down_s[cause] += seconds
        self.incidents[cause][sum(1 for end in BINS_S if seconds >= end)] += 1
        self.longest_s = max(self.longest_s, seconds)
