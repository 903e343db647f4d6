"""What the VMs of a node are given: where they run, their clock, a way to the array, and whom they tell.

Law: shapes and a clock. Whoever calls a listener here gives no thread away: each must do no more than put an event
into the node's inbox.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from hvcluster.model.scsi import Command, Result
from hvcluster.model.vocabulary import Generation, Instant, LunId, NodeId, PathName
from hvcluster.node.core.guest_state import GuestImage


class Submit(Protocol):
    """Sends one SCSI command down a path and calls `answer` exactly once, with UNKNOWN when no answer came."""

    def __call__(self, path: PathName, lun: LunId, command: Command, answer: Callable[[Result], None], /) -> None: ...


class OnStarted(Protocol):
    """The VM is online and serves at `address` (host:port)."""

    def __call__(self, group: str, generation: Generation, address: str, /) -> None: ...


class OnFrozen(Protocol):
    """The VM is frozen, for `reason` (its disk does not answer), or goes on (None)."""

    def __call__(self, group: str, generation: Generation, reason: str | None, /) -> None: ...


class OnPaused(Protocol):
    """The VM is paused for that move, and this is its memory."""

    def __call__(self, group: str, generation: Generation, move: int, image: GuestImage, /) -> None: ...


def nobody(group: str, generation: Generation, move: int, image: GuestImage, /) -> None:
    """Nobody migrates VMs here."""


class OnStopped(Protocol):
    """The VM is off; `cause` as in VmStopped."""

    def __call__(self, group: str, generation: Generation, cause: str, reason: str, /) -> None: ...


@dataclass(frozen=True, slots=True)
class Placement:
    """Where VMs run: the node, the address their services listen at, and the host name told to clients."""

    node: NodeId
    node_name: str
    bind_host: str = "127.0.0.1"
    advertise_host: str = ""  # empty: bind_host


def now_us() -> Instant:
    """The monotonic clock in microseconds."""
    return Instant(time.monotonic_ns() // 1000)
