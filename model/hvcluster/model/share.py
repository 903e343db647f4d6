"""One small file with a version: what a file share or a blob container gives to the witness of a cluster.

Law: shapes, and the one rule that makes a lock of a file: it is written only over the version that was read.
Source: conditional requests (RFC 9110, If-Match and If-None-Match), which is how blob services do it.
"""

from __future__ import annotations

from enum import Enum
from typing import Final, TypeAlias

from .values import value

MAX_FILE_BYTES: Final = 64 * 1024
"""Of one witness file; a record takes some 200."""
NO_FILE: Final = ""
"""The version of a file that is not there."""


@value
class ReadFile:
    """Read the file. Answered DONE; a file that is not there has no bytes and the version NO_FILE."""


@value
class WriteFile:
    """Replace the file if its version is `expected` (NO_FILE: if there is none). Answered DONE or CHANGED."""

    data: bytes
    expected: str


ShareRequest: TypeAlias = ReadFile | WriteFile


class ShareOutcome(Enum):
    """What became of a request."""

    DONE = "it was carried out; the version is the file's version now"
    CHANGED = "the file has another version; nothing was written"
    BARRED = "the account or its key was refused; nothing was carried out"
    UNKNOWN = "no answer: it may have been carried out, and may still be"


@value
class ShareAnswer:
    """`data`: what stands in the file (not told after a write that was DONE); `version`: of the file now."""

    outcome: ShareOutcome
    data: bytes = b""
    version: str = NO_FILE


UNANSWERED: Final = ShareAnswer(ShareOutcome.UNKNOWN)
TURNED_AWAY: Final = ShareAnswer(ShareOutcome.BARRED)


@value
class StoredFile:
    """A file as it is stored."""

    data: bytes = b""
    version: int = 0

    @property
    def tag(self) -> str:
        """Its version as it is told."""
        return str(self.version) if self.version else NO_FILE


def carried_out(file: StoredFile, request: ShareRequest) -> tuple[StoredFile, ShareAnswer]:
    """The file after a request, and the answer to it. A file that is too long is refused as CHANGED."""
    match request:
        case ReadFile():
            return file, ShareAnswer(ShareOutcome.DONE, file.data, file.tag)
        case WriteFile(data, expected):
            if expected != file.tag or len(data) > MAX_FILE_BYTES:
                return file, ShareAnswer(ShareOutcome.CHANGED, file.data, file.tag)
            written = StoredFile(data, file.version + 1)
            return written, ShareAnswer(ShareOutcome.DONE, b"", written.tag)
