"""Why the array refuses: sense data under the names the standards give it, and the results that carry it.

Law: constants only. Codes are from SPC-4 annex F (ASC and ASCQ assignments).
"""

from __future__ import annotations

from typing import Final

from hvcluster.model.scsi import Result, Sense, SenseKey, Status

POWER_ON_OCCURRED: Final = Sense(SenseKey.UNIT_ATTENTION, 0x29, 0x00)
"""POWER ON, RESET, OR BUS DEVICE RESET OCCURRED: first login of a nexus since the array started."""
NEXUS_LOSS_OCCURRED: Final = Sense(SenseKey.UNIT_ATTENTION, 0x29, 0x07)
"""I_T NEXUS LOSS OCCURRED: the nexus logged in again."""
RESERVATIONS_PREEMPTED: Final = Sense(SenseKey.UNIT_ATTENTION, 0x2A, 0x03)
"""Another initiator's CLEAR removed this nexus's registration."""
RESERVATIONS_RELEASED: Final = Sense(SenseKey.UNIT_ATTENTION, 0x2A, 0x04)
"""The reservation this registrant relied on has been released or has changed its type."""
REGISTRATIONS_PREEMPTED: Final = Sense(SenseKey.UNIT_ATTENTION, 0x2A, 0x05)
"""Another initiator's PREEMPT removed this nexus's registration."""
CAPACITY_CHANGED: Final = Sense(SenseKey.UNIT_ATTENTION, 0x2A, 0x09)
"""CAPACITY DATA HAS CHANGED: the logical unit was resized."""

UNIT_RESET: Final = Sense(SenseKey.UNIT_ATTENTION, 0x29, 0x03)
"""BUS DEVICE RESET FUNCTION OCCURRED: a task management function reset the unit."""
COMMANDS_CLEARED: Final = Sense(SenseKey.UNIT_ATTENTION, 0x2F, 0x00)
"""COMMANDS CLEARED BY ANOTHER INITIATOR."""
RESET_FAMILY: Final = 0x29
"""ASC of the unit attentions that outrank a reservation conflict (SAM-4 5.3.3)."""


def _check(key: SenseKey, asc: int, ascq: int) -> Result:
    return Result(Status.CHECK_CONDITION, Sense(key, asc, ascq))


NOT_SUPPORTED: Final = _check(SenseKey.ILLEGAL_REQUEST, 0x25, 0x00)
"""LOGICAL UNIT NOT SUPPORTED: no such LUN, or it is masked from this initiator."""
OUT_OF_RANGE: Final = _check(SenseKey.ILLEGAL_REQUEST, 0x21, 0x00)
"""LOGICAL BLOCK ADDRESS OUT OF RANGE."""
INVALID_FIELD: Final = _check(SenseKey.ILLEGAL_REQUEST, 0x24, 0x00)
"""INVALID FIELD IN CDB."""
INVALID_PARAMETER: Final = _check(SenseKey.ILLEGAL_REQUEST, 0x26, 0x00)
"""INVALID FIELD IN PARAMETER LIST."""
INVALID_RELEASE: Final = _check(SenseKey.ILLEGAL_REQUEST, 0x26, 0x04)
"""INVALID RELEASE OF PERSISTENT RESERVATION."""
NO_REGISTRATION_RESOURCES: Final = _check(SenseKey.ILLEGAL_REQUEST, 0x55, 0x04)
"""INSUFFICIENT REGISTRATION RESOURCES."""
INVALID_OPCODE: Final = _check(SenseKey.ILLEGAL_REQUEST, 0x20, 0x00)
"""INVALID COMMAND OPERATION CODE."""
PARAMETER_LIST_LENGTH: Final = _check(SenseKey.ILLEGAL_REQUEST, 0x1A, 0x00)
"""PARAMETER LIST LENGTH ERROR."""
REMOVAL_PREVENTED: Final = _check(SenseKey.ILLEGAL_REQUEST, 0x53, 0x02)
"""MEDIUM REMOVAL PREVENTED."""
NO_MEDIUM: Final = _check(SenseKey.NOT_READY, 0x3A, 0x00)
"""MEDIUM NOT PRESENT: it was ejected."""
UNREADABLE: Final = _check(SenseKey.MEDIUM_ERROR, 0x11, 0x00)
"""UNRECOVERED READ ERROR."""
MISCOMPARE: Final = _check(SenseKey.MISCOMPARE, 0x1D, 0x00)
"""MISCOMPARE DURING VERIFY OPERATION: the compare step of COMPARE AND WRITE found other data."""


def attention(sense: Sense) -> Result:
    """The CHECK CONDITION that reports a unit attention."""
    return Result(Status.CHECK_CONDITION, sense)
