"""Reading the array's own command journal: who was refused, and whether anyone wrote who must not.

Law: judges rows that the array recorded; it never asks a node what it thinks it did.
"""

from __future__ import annotations

from collections.abc import Iterable

from hvcluster.model.invariants import Executed
from hvcluster.model.vocabulary import LunId
from hvcluster.v1 import san_pb2

from .picture import key_text

_NAMES = {
    san_pb2.SCSI_STATUS_GOOD: "GOOD",
    san_pb2.SCSI_STATUS_CHECK_CONDITION: "CHECK CONDITION",
    san_pb2.SCSI_STATUS_RESERVATION_CONFLICT: "RESERVATION CONFLICT",
    san_pb2.SCSI_STATUS_BUSY: "BUSY",
}
WRITING = ("WRITE", "COMPARE AND WRITE")


def journal_line(row: san_pb2.SanJournalRow) -> str:
    """One row for people."""
    status = _NAMES.get(row.status, str(row.status))
    key = f" under {key_text(row.key)}" if row.HasField("key") else " unregistered"
    blocks = f" lba {row.lba} +{row.blocks}" if row.blocks else ""
    names = f" naming {key_text(row.service_key)}" if row.service_key else ""
    nexus = f"{row.nexus.initiator}/{row.nexus.port}"
    return f"#{row.sequence} LUN {row.lun} {nexus} {row.command}{blocks}{names}{key}: {status}"


def is_write(row: san_pb2.SanJournalRow) -> bool:
    """Whether the command writes blocks."""
    return row.command.startswith(WRITING)


def writes(rows: Iterable[san_pb2.SanJournalRow], lun: int, initiator: str) -> list[san_pb2.SanJournalRow]:
    """The writes one initiator asked for on one LUN, refused ones included."""
    return [row for row in rows if row.lun == lun and row.nexus.initiator == initiator and is_write(row)]


def accepted(rows: Iterable[san_pb2.SanJournalRow]) -> list[san_pb2.SanJournalRow]:
    """Those that were executed."""
    return [row for row in rows if row.status == san_pb2.SCSI_STATUS_GOOD]


def refused(rows: Iterable[san_pb2.SanJournalRow]) -> list[san_pb2.SanJournalRow]:
    """Those that were not, for whatever reason."""
    return [row for row in rows if row.status != san_pb2.SCSI_STATUS_GOOD]


def executed(rows: Iterable[san_pb2.SanJournalRow]) -> list[Executed]:
    """What was executed, as the judge of histories reads it."""
    return [
        Executed(LunId(row.lun), row.command, row.nexus.initiator, row.key if row.HasField("key") else None, row.lba)
        for row in accepted(rows)
    ]


def conflicts(rows: Iterable[san_pb2.SanJournalRow]) -> list[san_pb2.SanJournalRow]:
    """Those that a reservation refused."""
    return [row for row in rows if row.status == san_pb2.SCSI_STATUS_RESERVATION_CONFLICT]
