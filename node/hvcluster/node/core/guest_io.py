"""What can happen to a guest, and what it asks of the machine it runs on.

Law: shapes only. SubmitScsi, SetTimer and CancelTimer are those of the node's effects; ScsiAnswered, TimerFired and
PathChanged those of its events. Timer names and tokens are a guest's own: its host keeps guests apart.
"""

from __future__ import annotations

from typing import TypeAlias

from hvcluster.model.values import value
from hvcluster.model.vocabulary import Generation

from .effects import CancelTimer, SetTimer, SubmitScsi
from .events import PathChanged, ScsiAnswered, TimerFired
from .guest_state import GuestImage
from .journal import Record


@value
class Boot:
    """Power on. Always the first event, and only once in a guest's life."""


@value
class Append:
    """A client wants a record. Answered by exactly one Acknowledge or Refuse with the same ticket."""

    ticket: int
    payload: bytes


@value
class Fetch:
    """A client wants records from `first` on, `limit` at most (capped at MAX_FETCH). Answered by Fetched or Refuse."""

    ticket: int
    first: int
    limit: int


@value
class ShutDown:
    """Finish the appends already taken, take no more, then stop (cause shutdown).

    `forced`: only the write under way is finished; what waits for the disk is refused.
    """

    reason: str
    forced: bool = False


@value
class Save:
    """Finish the write under way, save the memory on the disk, which takes `lasts_us`, then stop (cause saved)."""

    reason: str
    lasts_us: int


@value
class PowerOff:
    """Stop at once. `cause`: terminated, crashed where nobody wanted it, or moved: it goes on elsewhere."""

    reason: str
    cause: str = "terminated"


@value
class Pause:
    """Hold every new request, and tell once the write under way is done. `move` comes back with Paused."""

    move: int


@value
class Continue:
    """Go on with what was held."""


GuestEvent: TypeAlias = (
    Boot | Append | Fetch | ShutDown | Save | PowerOff | Pause | Continue | ScsiAnswered | TimerFired | PathChanged
)


@value
class Online:
    """The guest serves: the first record of its generation is on the LUN. At most once. `resumed`: it did not boot.

    `restored`: nor did it then; it goes on from its saved state.
    """

    generation: Generation
    resumed: bool = False
    restored: bool = False


@value
class Paused:
    """Nothing of the guest is under way, and nothing will be until Continue. Not said where Continue came first."""

    move: int
    image: GuestImage


@value
class Stopped:
    """The guest is off and sends nothing more. Exactly once; only refusals may follow. `cause` as in VmStopped."""

    cause: str
    reason: str


@value
class Acknowledge:
    """The record of an Append is on the LUN under this number."""

    ticket: int
    sequence: int


@value
class Fetched:
    """The records that a Fetch asked for, as read from the LUN just now; empty behind the end."""

    ticket: int
    records: tuple[Record, ...]


@value
class Refuse:
    """An Append or Fetch was not carried out; after `unknown` alone the record may be on the LUN all the same.

    `code`: size (empty or too large a payload, or a sequence below 1) | busy (too many wait) | full | booting |
    stopping | stopped | unknown (stopped while it was being written) | damaged (what was read is not the record) |
    moved (never begun here; the VM goes on elsewhere).
    """

    ticket: int
    code: str
    reason: str


@value
class Frozen:
    """The guest has lost its disk and stands still (Paused-Critical) until Thawed or Stopped."""

    reason: str


@value
class Thawed:
    """The disk answers again: the guest goes on."""


GuestEffect: TypeAlias = (
    SubmitScsi | SetTimer | CancelTimer | Online | Paused | Stopped | Acknowledge | Fetched | Refuse | Frozen | Thawed
)
