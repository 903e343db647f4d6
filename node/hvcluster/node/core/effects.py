"""Everything a node's cluster service can ask its driver to do, in order.

Law: shapes only. `Save` is a barrier: it is durable before any later effect leaves the process.
"""

from __future__ import annotations

from typing import TypeAlias

from hvcluster.model.definition import Extent
from hvcluster.model.facts import Fact
from hvcluster.model.resources import Entry as EntryPoint
from hvcluster.model.resources import ResourceDefinition
from hvcluster.model.scsi import Command as ScsiCommand
from hvcluster.model.share import ShareRequest
from hvcluster.model.values import value
from hvcluster.model.vocabulary import Generation, Incarnation, Instant, LunId, NodeId, PathName, StoreId

from .guest_state import GuestImage
from .messages import Entry, Heartbeat, Message
from .saved import Snapshot


@value
class Save:
    """Make durable, all or nothing: None and () mean unchanged.

    Order within one Save: `snapshot` replaces the old one and drops entries up to its index; with `reset_log` it drops
    all entries; then entries from `truncate_from` on are dropped; then `append` is added.
    """

    identity: tuple[StoreId, Incarnation] | None = None
    vote: tuple[int, NodeId] | None = None  # term, voted for
    snapshot: Snapshot | None = None
    reset_log: bool = False
    truncate_from: int | None = None
    append: tuple[Entry, ...] = ()


@value
class Publish:
    """Publish one heartbeat on every bus."""

    heartbeat: Heartbeat


@value
class Send:
    """Say something to a peer directly; it may be lost."""

    to: NodeId
    message: Message


@value
class SetTimer:
    """Fire TimerFired(name) at `at`; moves a timer of that name."""

    name: str
    at: Instant


@value
class CancelTimer:
    """Forget the timer."""

    name: str


@value
class SubmitScsi:
    """Send a command down one path; commands of one path stay in order. Answered by ScsiAnswered(token)."""

    token: int
    path: PathName
    lun: LunId
    command: ScsiCommand


@value
class AskWitness:
    """Read or write the file of a file share or cloud witness. Answered by WitnessAnswered(token)."""

    token: int
    request: ShareRequest


@value
class ProbePeer:
    """Try to connect to a peer's port. Answered by PeerProbed."""

    node: NodeId


@value
class StartVm:
    """Boot the VM of a group from the VHD on its LUN. Answered by VmStarted or VmStopped.

    `format_blank`: the group has never been online, so a blank LUN is a new one and gets its VHD now. `paths`: those it
    may use, each with the login under which its key was found there; one that has logged in since is not to be used.
    `image`: it goes on from this memory instead, if the disk is as that says. `restore_us`: how long it takes to read a
    saved state, if it finds one on its disk.
    `extent`: its blocks, where the LUN is a Cluster Shared Volume.
    """

    group: str
    generation: Generation
    lun: LunId
    boot_delay_us: int
    format_blank: bool
    paths: tuple[tuple[PathName, int], ...] = ()
    image: GuestImage | None = None
    restore_us: int = 0
    extent: Extent | None = None


@value
class UsePath:
    """Let a VM use a path that came up after its disk: its key is there and nobody newer, as of that login."""

    group: str
    generation: Generation
    path: PathName
    login: int


@value
class StopVm:
    """Turn the VM off (`polite`: let the guest finish its writes and shut down). Answered by VmStopped.

    `moved`: its paused VM goes on elsewhere; requests that it holds are to be kept for a RedirectVm. `saving_us`: its
    memory is saved on its disk, which takes that long. `forced`: what waits in it is refused.
    """

    group: str
    generation: Generation
    polite: bool
    reason: str
    moved: bool = False
    saving_us: int = 0
    forced: bool = False


@value
class PauseVm:
    """Hold the VM between two writes. Answered by VmPaused or VmStopped, or not at all if ContinueVm comes first."""

    group: str
    generation: Generation
    move: int


@value
class ContinueVm:
    """Let a VM go on that is, or is being, paused."""

    group: str
    generation: Generation


@value
class RedirectVm:
    """The requests that the moved VM of this generation held are answered by the VM that is served at `address` now."""

    group: str
    generation: Generation
    address: str


@value
class SendMemory:
    """Copy so many bytes of a VM's memory to a peer, while it runs. Answered by MemorySent(token)."""

    token: int
    to: NodeId
    group: str
    size: int  # bytes


@value
class CancelMemory:
    """Send no more of it. Answered, as the question was, by the one MemorySent."""

    token: int


@value
class CheckVm:
    """Ask how a running VM is. Answered by VmChecked, unless it is off by then."""

    group: str
    generation: Generation


@value
class CallResource:
    """Have the resource monitor call an entry point of a resource. Answered by ResourceAnswered(token), unless the
    monitor ends before. TERMINATE overtakes whatever is under way, and nothing of it takes effect afterwards.
    """

    token: int
    entry: EntryPoint
    group: str
    generation: Generation
    resource: ResourceDefinition


@value
class RestartMonitor:
    """End the resource monitor with all it hosts, and start another. Answered by MonitorDied."""

    reason: str


@value
class Announce:
    """Tell onlookers where the VM of a group is served from now on: this node, under this generation."""

    group: str
    generation: Generation


@value
class Record:
    """Keep a fact."""

    fact: Fact


@value
class Reply:
    """Answer an operator's request. `code` is ok or a short word a script can test; `text` a sentence with a remedy."""

    ticket: int
    ok: bool
    code: str
    text: str


@value
class RestartService:
    """End all VMs at once, forget all that is not saved, and start again with a new core. Last effect."""

    reason: str


@value
class EndProcess:
    """The node has left the cluster politely; the process may end with exit code 0. Last effect."""


Effect: TypeAlias = (
    Save
    | Publish
    | Send
    | SetTimer
    | CancelTimer
    | SubmitScsi
    | AskWitness
    | ProbePeer
    | StartVm
    | StopVm
    | PauseVm
    | ContinueVm
    | RedirectVm
    | SendMemory
    | CancelMemory
    | UsePath
    | CheckVm
    | CallResource
    | RestartMonitor
    | Announce
    | Record
    | Reply
    | RestartService
    | EndProcess
)
