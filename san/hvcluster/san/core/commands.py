"""What a medium command may ask for: limits, the checks of its fields, and the name it has in the journal.

Law: pure functions of a command and a size.
"""

from __future__ import annotations

from typing import Final

from hvcluster.model.scsi import (
    MAX_TRANSFER_BLOCKS,
    Ask,
    CompareAndWrite,
    DeviceCommand,
    GetLbaStatus,
    OrWrite,
    PersistentReserveIn,
    PersistentReserveOut,
    Prefetch,
    PreventRemoval,
    Read,
    ReadCapacity,
    ReleaseUnit,
    ReserveOut,
    ReserveUnit,
    Result,
    StartStop,
    SynchronizeCache,
    TestUnitReady,
    Unmap,
    Verify,
    Write,
    WriteSame,
)
from hvcluster.model.vocabulary import BLOCK_BYTES

from .sense import INVALID_FIELD, OUT_OF_RANGE

MAX_LUN_BLOCKS: Final = 1 << 32  # 2 TiB: where READ CAPACITY (10) ends
MAX_WRITE_SAME_BLOCKS: Final = 32_768  # 16 MiB in one command
MAX_UNMAP_EXTENTS: Final = 256  # in one UNMAP
MAX_OUTSTANDING_COMMANDS: Final = 1_024  # of one session: deep enough for 20 VMs a node; beyond it, BUSY
MAX_NEXUSES: Final = 1_024  # 64 nodes with 16 ports each; strangers can make us remember no more
MAX_INITIATORS: Final = 256  # names one LUN is unmasked for: 64 nodes, renamed a few times

_NAMES: Final[dict[type[DeviceCommand], str]] = {
    TestUnitReady: "TEST UNIT READY",
    ReadCapacity: "READ CAPACITY",
    Read: "READ",
    Write: "WRITE",
    SynchronizeCache: "SYNCHRONIZE CACHE",
    CompareAndWrite: "COMPARE AND WRITE",
    PersistentReserveIn: "PERSISTENT RESERVE IN",
    OrWrite: "ORWRITE",
    Verify: "VERIFY",
    WriteSame: "WRITE SAME",
    Unmap: "UNMAP",
    Prefetch: "PRE-FETCH",
    GetLbaStatus: "GET LBA STATUS",
    StartStop: "START STOP UNIT",
    PreventRemoval: "PREVENT ALLOW MEDIUM REMOVAL",
    ReserveUnit: "RESERVE (6)",
    ReleaseUnit: "RELEASE (6)",
}
NEEDS_MEDIUM: Final = frozenset(
    {
        TestUnitReady,
        ReadCapacity,
        Read,
        Write,
        SynchronizeCache,
        CompareAndWrite,
        OrWrite,
        Verify,
        WriteSame,
        Unmap,
        Prefetch,
        GetLbaStatus,
    }
)
"""Commands that a unit without a medium, or one that was stopped, answers with NOT READY."""
_ACTION_NAMES: Final[dict[ReserveOut, str]] = {
    action: f"PERSISTENT RESERVE OUT {action.name.replace('_', ' ')}" for action in ReserveOut
}


def name_of(command: DeviceCommand) -> str:
    """The command's name in capitals; PERSISTENT RESERVE OUT with its service action."""
    if type(command) is PersistentReserveOut:
        return _ACTION_NAMES[command.action]
    if type(command) is Ask:
        return command.topic.value
    return _NAMES[type(command)]


def extent_of(command: DeviceCommand) -> tuple[int, int]:
    """First block and number of whole blocks that a command names; (0, 0) for one that names none."""
    if isinstance(command, Read | Verify | WriteSame | Prefetch):
        return command.lba, command.blocks
    if isinstance(command, Write | CompareAndWrite | OrWrite):
        return command.lba, len(command.data) // BLOCK_BYTES
    if isinstance(command, Unmap) and len(command.extents) == 1:
        return command.extents[0]
    return 0, 0


def refusal(lba: int, blocks: int, size: int, limit: int = MAX_TRANSFER_BLOCKS) -> Result | None:
    """Why an extent of a unit of `size` blocks cannot be transferred, or None. Zero blocks are no error."""
    if blocks < 0 or blocks > limit or lba < 0:
        return INVALID_FIELD
    if lba + blocks > size:
        return OUT_OF_RANGE
    return None
