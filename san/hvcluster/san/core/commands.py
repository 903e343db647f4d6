"""What a medium command may ask for: limits, the checks of its fields, and the name it has in the journal.

Law: pure functions of a command and a size.
"""

from __future__ import annotations

from typing import Final

from hvcluster.model.scsi import (
    MAX_TRANSFER_BLOCKS,
    Command,
    CompareAndWrite,
    PersistentReserveIn,
    PersistentReserveOut,
    Read,
    ReadCapacity,
    ReserveOut,
    Result,
    SynchronizeCache,
    TestUnitReady,
    Write,
)
from hvcluster.model.vocabulary import BLOCK_BYTES

from .sense import INVALID_FIELD, OUT_OF_RANGE

MAX_LUN_BLOCKS: Final = 1 << 32  # 2 TiB: where READ CAPACITY (10) ends
MAX_OUTSTANDING_COMMANDS: Final = 1_024  # of one session: deep enough for 20 VMs a node; beyond it, BUSY
MAX_NEXUSES: Final = 1_024  # 64 nodes with 16 ports each; strangers can make us remember no more
MAX_INITIATORS: Final = 256  # names one LUN is unmasked for: 64 nodes, renamed a few times

_NAMES: Final[dict[type[Command], str]] = {
    TestUnitReady: "TEST UNIT READY",
    ReadCapacity: "READ CAPACITY",
    Read: "READ",
    Write: "WRITE",
    SynchronizeCache: "SYNCHRONIZE CACHE",
    CompareAndWrite: "COMPARE AND WRITE",
    PersistentReserveIn: "PERSISTENT RESERVE IN",
}
_ACTION_NAMES: Final[dict[ReserveOut, str]] = {
    action: f"PERSISTENT RESERVE OUT {action.name.replace('_', ' ')}" for action in ReserveOut
}


def name_of(command: Command) -> str:
    """The command's name in capitals; PERSISTENT RESERVE OUT with its service action."""
    if type(command) is PersistentReserveOut:
        return _ACTION_NAMES[command.action]
    return _NAMES[type(command)]


def extent_of(command: Command) -> tuple[int, int]:
    """First block and number of whole blocks that a command names; (0, 0) for one that names none."""
    if isinstance(command, Read):
        return command.lba, command.blocks
    if isinstance(command, Write | CompareAndWrite):
        return command.lba, len(command.data) // BLOCK_BYTES
    return 0, 0


def refusal(lba: int, blocks: int, size: int, limit: int = MAX_TRANSFER_BLOCKS) -> Result | None:
    """Why an extent of a unit of `size` blocks cannot be transferred, or None. Zero blocks are no error."""
    if blocks < 0 or blocks > limit or lba < 0:
        return INVALID_FIELD
    if lba + blocks > size:
        return OUT_OF_RANGE
    return None
