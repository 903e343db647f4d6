"""One failover's downtime cut into its parts: detection, decision, reservation, VM start, client.

Law: arithmetic on recorded facts and on what a client saw, all on the machine's monotonic clock. A part whose fact is
missing is None, never a guess.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from hvcluster.model.facts import FactKind
from hvcluster.v1 import node_pb2

_DETECTED = (FactKind.NODE_UNREACHABLE.name, FactKind.CONNECTION_LOST.name)


@dataclass(frozen=True, slots=True)
class Parts:
    """Instants in seconds after the fault; None: no such fact."""

    detected_s: float | None
    decided_s: float | None
    reserved_s: float | None
    online_s: float | None
    client_s: float | None

    def steps(self) -> tuple[tuple[str, float | None], ...]:
        """The parts as durations in the order they happen."""
        return (
            ("detection", self.detected_s),
            ("decision", _minus(self.decided_s, self.detected_s)),
            ("reservation", _minus(self.reserved_s, self.decided_s)),
            ("VM start", _minus(self.online_s, self.reserved_s)),
            ("client", _minus(self.client_s, self.online_s)),
        )


def _minus(later: float | None, earlier: float | None) -> float | None:
    return None if later is None or earlier is None else later - earlier


def cut(
    facts: Iterable[node_pb2.FactLine], vm: str, generation: int, lost: int, fault_us: int, client_s: float | None
) -> Parts:
    """Cut the takeover of `vm` that made `generation`, after node `lost` met a fault at `fault_us`.

    `client_s`: the monotonic second at which a client was answered again.
    """
    after = sorted((line for line in facts if line.monotonic_us >= fault_us), key=lambda line: line.monotonic_us)

    def first(kinds: tuple[str, ...], **about: str) -> float | None:
        for line in after:
            if line.kind in kinds and all(line.about.get(name) == value for name, value in about.items()):
                return (line.monotonic_us - fault_us) / 1_000_000
        return None

    ours = {"group": vm, "generation": str(generation)}
    return Parts(
        detected_s=first(_DETECTED, peer=str(lost)),
        decided_s=first((FactKind.GROUP_ASSIGNED.name,), **ours),
        reserved_s=first((FactKind.DISK_ONLINE.name,), **ours),
        online_s=first((FactKind.VM_ONLINE.name,), **ours),
        client_s=None if client_s is None else client_s - fault_us / 1_000_000,
    )
