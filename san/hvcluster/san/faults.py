"""Faults put into the array's answers on purpose: slow, lost, refused.

Law: remembers which fault is in force for which nexus; the target asks and obeys. Empty unless chaos is allowed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from hvcluster.model.scsi import Nexus

MAX_DELAY_MS: Final = 60_000  # a slower answer is better told as one that never comes
MAX_FAULTS: Final = 1_024  # one for each nexus the array may know


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong on the paths it is put on."""

    delay_ms: int = 0
    drop_requests: bool = False
    drop_answers: bool = False
    refuse: bool = False


class Faults:
    """The faults in force, by initiator and port; an empty name stands for every one."""

    def __init__(self) -> None:
        self._faults: dict[tuple[str, str], Fault] = {}

    def __bool__(self) -> bool:
        return bool(self._faults)

    def put(self, initiator: str, port: str, fault: Fault) -> bool:
        """Put a fault in force, in place of the one for the same names; False where there are too many."""
        if (initiator, port) not in self._faults and len(self._faults) >= MAX_FAULTS:
            return False
        self._faults[initiator, port] = fault
        return True

    def clear(self, initiator: str, port: str) -> None:
        """Heal what was put on exactly these names; both empty: everything."""
        if not initiator and not port:
            self._faults.clear()
        self._faults.pop((initiator, port), None)

    def on(self, nexus: Nexus) -> Fault | None:
        """The most particular fault that covers a nexus: its path, its initiator, its port name, everyone."""
        if not self._faults:
            return None
        names = nexus.initiator, str(nexus.port)
        for key in (names, (names[0], ""), ("", names[1]), ("", "")):
            if key in self._faults:
                return self._faults[key]
        return None

    def listed(self) -> list[tuple[str, str, Fault]]:
        """Every fault in force, sorted by names."""
        return [(*names, fault) for names, fault in sorted(self._faults.items(), key=lambda item: item[0])]
