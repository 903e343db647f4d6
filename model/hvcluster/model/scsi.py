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


@value
class OrWrite:
    """ORWRITE: what the medium holds or `data`, bit by bit, in one step."""

    lba: int
    data: bytes
    fua: bool = True


@value
class Verify:
    """VERIFY: the blocks can be read and, where `expected` is given, are equal to it, or MISCOMPARE."""

    lba: int
    blocks: int
    expected: bytes | None = None


@value
class WriteSame:
    """WRITE SAME: one `block` of 512 bytes, again and again; with `unmap` the blocks are unmapped, whatever it holds.

    Zero `blocks`: up to the end of the unit.
    """

    lba: int
    blocks: int
    block: bytes
    unmap: bool = False


@value
class Unmap:
    """UNMAP: these extents (first block, blocks) read as zeros and need no room."""

    extents: tuple[tuple[int, int], ...]


@value
class Prefetch:
    """PRE-FETCH: the blocks may be wanted soon."""

    lba: int
    blocks: int


@value
class GetLbaStatus:
    """GET LBA STATUS: whether the blocks from `lba` on are mapped."""

    lba: int


@value
class StartStop:
    """START STOP UNIT: make ready, or stop; with `load` the medium is loaded or ejected."""

    start: bool
    load: bool = False


@value
class PreventRemoval:
    """PREVENT ALLOW MEDIUM REMOVAL."""

    prevent: bool


@value
class ReserveUnit:
    """RESERVE (6) of SPC-2: the whole unit for one nexus until it releases it or is lost."""


@value
class ReleaseUnit:
    """RELEASE (6) of SPC-2."""


class Topic(Enum):
    """What an `Ask` asks for; the value is the command's name."""

    INQUIRY = "INQUIRY"
    REPORT_LUNS = "REPORT LUNS"
    REQUEST_SENSE = "REQUEST SENSE"
    MODE_SENSE = "MODE SENSE"
    MODE_SELECT = "MODE SELECT"
    OPERATION_CODES = "REPORT SUPPORTED OPERATION CODES"
    DEFECTS = "READ DEFECT DATA"


@value
class Ask:
    """A command whose data describes the unit: the array says how the unit is, and its face writes the data."""

    topic: Topic


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
"""What nodes ask of the array."""
DeviceCommand: TypeAlias = (
    Command
    | OrWrite
    | Verify
    | WriteSame
    | Unmap
    | Prefetch
    | GetLbaStatus
    | StartStop
    | PreventRemoval
    | ReserveUnit
    | ReleaseUnit
    | Ask
)
"""What initiators of any kind ask of a disk."""


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


@value
class Mapping:
    """GET LBA STATUS: the state of `blocks` blocks from the one that was asked for."""

    blocks: int
    mapped: bool


@value
class Unit:
    """How a unit is, for the face that describes it.

    `luns`: those that the initiator sees, sorted; `sense`: what it was not told yet.
    """

    blocks: int
    thin: bool
    removable: bool
    luns: tuple[int, ...] = ()
    sense: Sense | None = None


Payload: TypeAlias = bytes | Capacity | Keys | Reservation | FullStatus | Capabilities | Mapping | Unit | None


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
