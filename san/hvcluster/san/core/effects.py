"""What the array's core asks of its driver, performed in the order given.

Law: plain values. `SaveImage` is a barrier: durable before any later effect is visible outside the process.
"""

from __future__ import annotations

from enum import Enum
from typing import TypeAlias

from hvcluster.model.scsi import Nexus, ReservationType, Result, Sense, Status
from hvcluster.model.values import value
from hvcluster.model.vocabulary import Instant, LunId


@value
class LunImage:
    """Everything about one LUN that survives power loss, but its blocks.

    `initiators` are the names it is there for, sorted. `registrations` are sorted by nexus. `type` is None
    without a reservation; `holder` is None then, and for the two all-registrants types.
    """

    lun: LunId
    blocks: int
    initiators: tuple[str, ...] = ()
    pr_generation: int = 0
    registrations: tuple[tuple[Nexus, int], ...] = ()
    holder: Nexus | None = None
    type: ReservationType | None = None


@value
class ArrayImage:
    """What an array is rebuilt from after a power loss: its LUNs, sorted by number."""

    luns: tuple[LunImage, ...] = ()


class LoginError(Enum):
    """Why a login was refused."""

    TOO_MANY_NEXUSES = "The array knows as many I_T nexuses as it can."


class AdminError(Enum):
    """Why an administrative request was refused."""

    LUN_EXISTS = "A LUN of this number exists."
    NO_SUCH_LUN = "There is no LUN of this number."
    BAD_LUN = "LUN numbers go from 0 to 255."
    BAD_SIZE = "A LUN has at least 1 block and at most 2^32 blocks of 512 bytes (2 TiB)."
    SHRINK = "A LUN can only grow."
    REGISTERED = "Initiators are registered with this LUN; delete with force if they are gone for good."
    BAD_INITIATOR = "An initiator name has 1 to 223 characters."
    TOO_MANY_INITIATORS = "A LUN is unmasked for as many initiators as it can be."


@value
class SaveImage:
    """Make the state of one LUN durable; `image` is None for a LUN that was deleted."""

    lun: LunId
    image: LunImage | None


@value
class AllocateBlocks:
    """Give a LUN a medium of `blocks` blocks. New ones read as zeros; with `fresh` all of them are new."""

    lun: LunId
    blocks: int
    fresh: bool


@value
class DiscardBlocks:
    """The LUN is gone; so is its medium."""

    lun: LunId


@value
class WriteBlocks:
    """Write whole blocks at `lba`; with `durable`, on the medium before the command is answered."""

    lun: LunId
    lba: int
    data: bytes
    durable: bool


@value
class ReadBlocks:
    """Read whole blocks now; feed `BlocksRead(token, data)` before any other event."""

    token: int
    lun: LunId
    lba: int
    blocks: int


@value
class FillBlocks:
    """Write one block of 512 bytes to all of `blocks`; None: they read as zeros and need no room."""

    lun: LunId
    lba: int
    blocks: int
    block: bytes | None


@value
class MapBlocks:
    """See now how many blocks from `lba` on are alike, mapped or not; feed `BlocksMapped` before any other event."""

    token: int
    lun: LunId
    lba: int


@value
class FlushBlocks:
    """Every write of this LUN so far is on the medium before the command is answered."""

    lun: LunId


@value
class Respond:
    """Answer a command. A session that is gone by the time the answer is ready gets none."""

    session: int
    tag: int
    result: Result


@value
class LoginAnswer:
    """A login is in force (error None) or refused.

    Once it is in force no command of an older session of the nexus will be executed.
    """

    session: int
    error: LoginError | None = None


@value
class EndSession:
    """A newer login of the nexus took this session's place: close its transport, answer nothing on it."""

    session: int


@value
class AdminAnswer:
    """The outcome of one administrative request."""

    request: int
    error: AdminError | None = None


@value
class JournalEntry:
    """One line of the array's command journal: a command that changed something, or that was refused.

    `key` is the key registered for the nexus when the command arrived (None: not registered). `claimed_key`,
    `service_key` and `type` are fields of a PERSISTENT RESERVE OUT; `lba` and `blocks` of a medium command.
    `at` is on the array's own clock.
    """

    at: Instant
    nexus: Nexus
    lun: LunId
    command: str
    status: Status
    sense: Sense | None
    key: int | None
    lba: int = 0
    blocks: int = 0
    claimed_key: int | None = None
    service_key: int | None = None
    type: ReservationType | None = None


Effect: TypeAlias = (
    SaveImage
    | AllocateBlocks
    | DiscardBlocks
    | WriteBlocks
    | ReadBlocks
    | FillBlocks
    | MapBlocks
    | FlushBlocks
    | Respond
    | LoginAnswer
    | EndSession
    | AdminAnswer
    | JournalEntry
)
