"""What nodes say to each other: heartbeats on the buses, consensus and group messages between peers.

Law: shapes only. Messages go one way; a reply is a message too. All may be lost, doubled, late or out of order.
Names follow the Raft paper (Ongaro and Ousterhout, 2014) and, for pre-vote, Ongaro's dissertation section 9.6.
"""

from __future__ import annotations

from typing import TypeAlias

from hvcluster.model.values import value
from hvcluster.model.vocabulary import Generation, Incarnation, NodeId, ResourceState, StoreId

from .commands import Command, Configuration
from .migration_messages import LastOfVm as LastOfVm
from .migration_messages import MigrationMessage as MigrationMessage
from .migration_messages import MoveReport as MoveReport
from .migration_messages import OfferVm as OfferVm
from .migration_messages import VmServed as VmServed
from .migration_messages import VmTaken as VmTaken
from .migration_messages import WhereIsVm as WhereIsVm


@value
class Heard:
    """What a heartbeat says of one peer: the newest sequence heard from it, per incarnation, on any bus or directly."""

    node: NodeId
    incarnation: Incarnation
    sequence: int
    on_bus: bool


@value
class Heartbeat:
    """One beat of a node, the same on every bus."""

    node: NodeId
    store: StoreId
    incarnation: Incarnation
    sequence: int
    member: bool  # in the cluster under this incarnation, as far as the sender knows
    term: int
    leader: NodeId  # whom the sender follows in `term`, NOBODY when unknown
    quorum: bool  # from a leader: enough voters answered it recently
    last_index: int
    commit: int
    storage: bool  # at least one path to the array is up
    leaving: bool  # the sender was asked to stop
    hears: tuple[Heard, ...]
    unlinked: tuple[str, ...] = ()  # networks of VMs to which its cable is out, sorted
    ignores: bool = False  # it was started to ignore persistent state, and has not joined yet


@value
class Entry:
    """One log entry."""

    index: int
    term: int
    command: Command


@value
class PreVote:
    """Could I win an election in `term`? Changes nothing at the receiver."""

    term: int
    last_index: int
    last_term: int
    transfer: bool = False


@value
class PreVoteReply:
    """Answer to PreVote of `term`; `own_term` lets a stale asker catch up."""

    term: int
    granted: bool
    own_term: int
    reason: str


@value
class RequestVote:
    """Vote for me in `term`. `transfer`: the leader itself asked for this election (TimeoutNow)."""

    term: int
    last_index: int
    last_term: int
    transfer: bool = False


@value
class VoteReply:
    """Answer to RequestVote; `own_term` is the voter's term after it answered."""

    term: int
    granted: bool
    own_term: int
    reason: str


@value
class AppendEntries:
    """Entries after (prev_index, prev_term), and how far the leader has committed. `probe` numbers the exchange."""

    term: int
    prev_index: int
    prev_term: int
    commit: int
    entries: tuple[Entry, ...]
    probe: int


@value
class AppendReply:
    """Success: the logs match up to `match`. Failure: they differ at or before `match` + 1, try from there."""

    term: int
    success: bool
    match: int
    probe: int


@value
class InstallSnapshot:
    """The database as of `last_index`, for a follower whose next entry is no longer in the leader's log."""

    term: int
    last_index: int
    last_term: int
    configuration: Configuration
    database: bytes
    probe: int


@value
class TimeoutNow:
    """Leadership transfer: the receiver starts an election at once."""

    term: int


@value
class GroupReport:
    """An owner tells the leader how a group stands; repeated until the database says so.

    `outcome` is one of ONLINE, OFFLINE, FAILED, and PENDING of a role of resources that changes; `cause` says why it
    failed: path, superseded, reservation, vm, resource. `revision` rises with every change of a resource's state.
    """

    group: str
    generation: Generation
    outcome: str
    cause: str
    reason: str
    revision: int = 0
    resources: tuple[tuple[str, ResourceState], ...] = ()


@value
class Forward:
    """An operator's request handed on to the leader; `ticket` comes back with the answer."""

    ticket: int
    command: bytes


@value
class Forwarded:
    """The leader's answer to Forward."""

    ticket: int
    ok: bool
    code: str
    text: str


Message: TypeAlias = (
    Heartbeat
    | PreVote
    | PreVoteReply
    | RequestVote
    | VoteReply
    | AppendEntries
    | AppendReply
    | InstallSnapshot
    | TimeoutNow
    | GroupReport
    | Forward
    | Forwarded
    | MigrationMessage
)


def term_in(message: Message) -> int:
    """The term that the sender is in, as far as a message tells; 0 where it tells nothing."""
    match message:
        case PreVote():
            return message.term - 1
        case PreVoteReply() | VoteReply():
            return message.own_term
        case Heartbeat() | RequestVote() | AppendEntries() | AppendReply() | InstallSnapshot() | TimeoutNow():
            return message.term
        case GroupReport() | Forward() | Forwarded():
            return 0
        case OfferVm() | VmTaken() | LastOfVm() | WhereIsVm() | VmServed() | MoveReport():
            return 0
