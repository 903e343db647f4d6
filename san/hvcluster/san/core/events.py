"""What can happen to the array: its initiators, its medium and its administrator.

Law: plain values. A driver feeds them to `Array.handle` one at a time, in the order in which they happened.
"""

from __future__ import annotations

from typing import TypeAlias

from hvcluster.model.scsi import MAX_TRANSFER_BLOCKS, DeviceCommand, Nexus
from hvcluster.model.values import value
from hvcluster.model.vocabulary import LunId


@value
class Login:
    """A nexus logs in. `session` is the driver's number for it, never used twice while the array runs.

    Session reinstatement (as in RFC 7143 6.3.5): an older session of the same nexus is dead from here on;
    nothing that arrives on it later is executed or answered. `max_blocks`: the most that one command may transfer.
    """

    nexus: Nexus
    session: int
    max_blocks: int = MAX_TRANSFER_BLOCKS


@value
class Logout:
    """A session ended: logged out, or its transport was lost."""

    session: int


@value
class CommandReceived:
    """A command arrived. `tag` is the initiator's and comes back with the answer."""

    session: int
    tag: int
    lun: LunId
    command: DeviceCommand


@value
class BlocksRead:
    """The answer to `ReadBlocks`; `data` is None when the medium could not be read."""

    token: int
    data: bytes | None


@value
class BlocksMapped:
    """The answer to `MapBlocks`: `blocks` blocks from there are all mapped, or all unmapped."""

    token: int
    blocks: int
    mapped: bool


@value
class ResetUnit:
    """A task management function resets a unit: for `lun` None, all that the session sees. `but`: who is not told."""

    session: int
    lun: LunId | None


@value
class CreateLun:
    """Make a LUN of `blocks` zeroed blocks. It is masked from everyone until unmasked."""

    request: int
    lun: LunId
    blocks: int


@value
class ResizeLun:
    """Let a LUN grow to `blocks` blocks; initiators hear of it by unit attention."""

    request: int
    lun: LunId
    blocks: int


@value
class DeleteLun:
    """Remove a LUN and its blocks; refused while anyone is registered, unless `force`."""

    request: int
    lun: LunId
    force: bool = False


@value
class Mask:
    """Hide a LUN from an initiator. What the initiator has registered stays until cleared or preempted."""

    request: int
    lun: LunId
    initiator: str


@value
class Unmask:
    """Let an initiator see a LUN."""

    request: int
    lun: LunId
    initiator: str


AdminEvent: TypeAlias = CreateLun | ResizeLun | DeleteLun | Mask | Unmask
Event: TypeAlias = Login | Logout | CommandReceived | BlocksRead | BlocksMapped | ResetUnit | AdminEvent
