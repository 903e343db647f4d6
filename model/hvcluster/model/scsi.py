"""SCSI commands and their outcomes as typed values (SPC-4, SBC-3): the language between nodes and the array.

Law: shapes only. Who may do what is decided in the array's core; how it travels, in the adapters.
"""

from __future__ import annotations

from enum import Enum, IntEnum
from typing import ClassVar, Final, TypeAlias

from .values import value
from .vocabulary import PathName

MAX_TRANSFER_BLOCKS: Final = 2_048  # 1 MiB in one command: keeps a message well below gRPC's 4 MiB
MAX_COMPARE_BLOCKS: Final = 255  # COMPARE AND WRITE counts its blocks in one byte (SBC-3 5.3)
MAX_INITIATOR_NAME: Final = 223  # characters; the longest iSCSI name (RFC 7143 4.2.7.1)
MAX_PORT_NAME: Final = 32  # characters; a path name is shown in tables


class Status(Enum):
    """How a command ended, as its initiator knows it."""

    GOOD = "done"
    CHECK_CONDITION = "refused or interrupted; the sense data says why"
    RESERVATION_CONFLICT = "a persistent reservation forbids it"
    BUSY = "the array cannot take it now; ask again"
    UNKNOWN = "no answer came: it may or may not have been executed"


class SenseKey(IntEnum):
    """SPC-4 table 48."""

    NO_SENSE = 0x0
    NOT_READY = 0x2
    MEDIUM_ERROR = 0x3
    HARDWARE_ERROR = 0x4
    ILLEGAL_REQUEST = 0x5
    UNIT_ATTENTION = 0x6
    DATA_PROTECT = 0x7
    ABORTED_COMMAND = 0xB
    MISCOMPARE = 0xE


@value
class Sense:
    """Sense key with additional sense code and qualifier (SPC-4 annex F)."""

    key: SenseKey
    asc: int
    ascq: int

    def __str__(self) -> str:
        return f"{self.key.name} {self.asc:02X}h/{self.ascq:02X}h"


class ReservationType(IntEnum):
    """Persistent reservation types (SPC-4 table 62)."""

    WRITE_EXCLUSIVE = 1
    EXCLUSIVE_ACCESS = 3
    WRITE_EXCLUSIVE_REGISTRANTS_ONLY = 5
    EXCLUSIVE_ACCESS_REGISTRANTS_ONLY = 6
    WRITE_EXCLUSIVE_ALL_REGISTRANTS = 7
    EXCLUSIVE_ACCESS_ALL_REGISTRANTS = 8


class ReserveOut(IntEnum):
    """Service actions of PERSISTENT RESERVE OUT."""

    REGISTER = 0
    RESERVE = 1
    RELEASE = 2
    CLEAR = 3
    PREEMPT = 4
    PREEMPT_AND_ABORT = 5
    REGISTER_AND_IGNORE_EXISTING_KEY = 6
    REGISTER_AND_MOVE = 7


class ReserveIn(IntEnum):
    """Service actions of PERSISTENT RESERVE IN."""

    READ_KEYS = 0
    READ_RESERVATION = 1
    REPORT_CAPABILITIES = 2
    READ_FULL_STATUS = 3


@value
class Nexus:
    """One I_T nexus: an initiator's name and the port of it that this path uses."""

    initiator: str
    port: PathName

    def __lt__(self, other: Nexus) -> bool:
        return (self.initiator, self.port) < (other.initiator, other.port)


@value
class TestUnitReady:
    """TEST UNIT READY."""

    __test__: ClassVar[bool] = False  # a test runner must not take it for a test


@value
class ReadCapacity:
    """READ CAPACITY (16)."""


@value
class Read:
    """READ: `blocks` blocks of 512 bytes from `lba`."""

    lba: int
    blocks: int


@value
class Write:
    """WRITE: `data` is a whole number of blocks; with `fua` it is on the medium before GOOD."""

    lba: int
    data: bytes
    fua: bool = True


@value
class SynchronizeCache:
    """SYNCHRONIZE CACHE for the whole logical unit."""


@value
class CompareAndWrite:
    """COMPARE AND WRITE: `data` replaces `expected` in one step, or MISCOMPARE and nothing changes."""

    lba: int
    expected: bytes
    data: bytes


@value
class PersistentReserveOut:
    """PERSISTENT RESERVE OUT. `key` is the RESERVATION KEY, `service_key` the SERVICE ACTION RESERVATION KEY field.

    `type` is used by RESERVE, RELEASE, PREEMPT and PREEMPT AND ABORT; `move_to` and `unregister` by REGISTER AND MOVE.
    """

    action: ReserveOut
    key: int = 0
    service_key: int = 0
    type: ReservationType = ReservationType.WRITE_EXCLUSIVE_REGISTRANTS_ONLY
    move_to: Nexus | None = None
    unregister: bool = False


@value
class PersistentReserveIn:
    """PERSISTENT RESERVE IN."""

    action: ReserveIn


Command: TypeAlias = (
    TestUnitReady
    | ReadCapacity
    | Read
    | Write
    | SynchronizeCache
    | CompareAndWrite
    | PersistentReserveOut
    | PersistentReserveIn
)


@value
class Capacity:
    """Parameter data of READ CAPACITY: how many blocks of 512 bytes there are."""

    blocks: int


@value
class Keys:
    """READ KEYS: PRgeneration and one key for each registered I_T nexus, sorted by nexus (equal keys repeat)."""

    pr_generation: int
    keys: tuple[int, ...]


@value
class Reservation:
    """READ RESERVATION: the holder's key (0 for the all-registrants types) and type; both None when nobody holds it."""

    pr_generation: int
    key: int | None
    type: ReservationType | None


@value
class Registration:
    """One row of READ FULL STATUS."""

    nexus: Nexus
    key: int
    holder: bool
    type: ReservationType | None


@value
class FullStatus:
    """READ FULL STATUS: every registration, sorted by nexus."""

    pr_generation: int
    registrations: tuple[Registration, ...]


@value
class Capabilities:
    """REPORT CAPABILITIES: APTPL (persist through power loss) is always active here."""

    aptpl_capable: bool
    aptpl_active: bool
    types: tuple[ReservationType, ...]


Payload: TypeAlias = bytes | Capacity | Keys | Reservation | FullStatus | Capabilities | None


@value
class Result:
    """What an initiator gets back for one command.

    `payload` is None unless status is GOOD and the command returns data.
    """

    status: Status
    sense: Sense | None = None
    payload: Payload = None


GOOD = Result(Status.GOOD)
CONFLICT = Result(Status.RESERVATION_CONFLICT)
UNKNOWN = Result(Status.UNKNOWN)
