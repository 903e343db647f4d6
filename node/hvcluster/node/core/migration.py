"""The source's side of live migration: copy the memory while the VM runs, pause it, hand it over, and let go.

Law: the committed database alone says who owns a VM. Up to its first report that the VM may be handed over, the source
goes on with the paused VM whenever it likes; from then on only when the database says that this very move is over, for
anything else (a timer, a lost peer, a new leader) may be wrong: the new owner's assignment may be committed already.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

from hvcluster.model.facts import FactKind
from hvcluster.model.properties import Timing
from hvcluster.model.vocabulary import US_PER_S, Generation, Incarnation, Instant, NodeId

from .database import Database, Group
from .effects import CancelMemory, ContinueVm, PauseVm, RedirectVm, SendMemory
from .events import MemorySent, VmPaused
from .guest_state import GuestImage
from .messages import GroupReport
from .migration_messages import LastOfVm, MoveReport, OfferVm, VmServed, VmTaken, WhereIsVm
from .move_queue import admitted
from .outbox import Outbox
from .settings import Settings

TIMER = "migration"
MIB = 1 << 20
SMALL = MIB
"""So little memory is left for the pause: some milliseconds on any network."""
COMPRESSED = 2
"""So many bytes of memory become one, where it is compressed; what that costs in processors is not counted."""
MAX_ROUNDS = 10
"""A VM that changes its memory faster than the network copies it is paused all the same, as in the product."""
PATIENCE_DELAYS = 10  # for an answer of the target, and for the write under way; in units of SameSubnetDelay
REDIRECT_DELAYS = 30  # how long requests are held for the new owner


class Step(Enum):
    """Where a live migration is. The value is the sentence shown to people."""

    OFFERING = "the target is asked whether it can take the VM"
    COPYING = "memory is copied while the VM runs"
    PAUSING = "the VM finishes the write under way"
    FINISHING = "the rest of the memory is copied while the VM is paused"
    GIVING = "the target is told that the memory is complete"
    HANDED = "the leader is told that the VM may be handed over"


class Outgoing:
    """One VM on its way to another node."""

    __slots__ = (
        "dirty_per_s", "generation", "group", "holder", "image", "memory_mb", "move", "rounds", "since", "size", "step",
        "target", "token",
    )  # fmt: skip

    def __init__(self, now: Instant, group: Group) -> None:
        self.group = group.name
        self.generation = group.generation
        self.move = group.moves
        self.target = group.moving_to
        self.memory_mb = min(group.definition.active_mb, group.definition.memory_mb)
        self.dirty_per_s = group.definition.dirty_mb_per_s * MIB
        self.step = Step.OFFERING
        self.since = now
        self.size = self.memory_mb * MIB  # bytes of the round under way
        self.rounds = 0
        self.token = 0
        self.image: GuestImage | None = None
        self.holder = Incarnation(0)

    def paused(self) -> bool:
        """Whether the VM was asked to pause."""
        return self.step not in (Step.OFFERING, Step.COPYING)

    def handed(self) -> bool:
        """Whether the leader was told that the VM may be handed over."""
        return self.step is Step.HANDED


class Migrations:
    """All live migrations away from this node, and the requests of VMs that have left it."""

    __slots__ = ("_database", "_left", "_out", "_settings", "_timing", "_tokens", "fresh", "moves", "reports")

    def __init__(
        self,
        database: Callable[[], Database],
        settings: Settings,
        timing: Timing,
        out: Outbox,
    ) -> None:
        self._database = database
        self._settings = settings
        self._timing = timing
        self._out = out
        self._tokens = 0
        self._left: dict[str, tuple[Generation, NodeId, Instant]] = {}  # VMs whose new owner is asked for
        self.moves: dict[str, Outgoing] = {}
        self.fresh: list[GroupReport | MoveReport] = []
        """Reports of this node made since they were last sent."""
        self.reports: dict[str, MoveReport] = {}
        """What the leader has not taken in yet."""

    # what the database says

    def leave(self, now: Instant, group: Group) -> None:
        """The database wants this running VM elsewhere."""
        move = self.moves.get(group.name)
        if move is not None and (move.generation, move.move) != (group.generation, group.moves):
            self._stay(move, "another move was begun")
            move = None
        report = self.reports.get(group.name)
        if move is not None or (report is not None and report.move == group.moves):
            return
        if group.name not in admitted(self._database().groups, self._settings.now):
            return
        move = self.moves[group.name] = Outgoing(now, group)
        reason = f"to node {move.target}, with {move.memory_mb} MiB of memory in use"
        self._fact(FactKind.MIGRATION_STARTED, reason, move, target=move.target)
        self._offer(move)
        self._arm(now)

    def stay(self, name: str) -> None:
        """The database wants this VM here: no live move of it is under way any more."""
        self.reports.pop(name, None)
        move = self.moves.pop(name, None)
        if move is not None:
            self._stay(move, "the move was given up")

    def gone(self, name: str) -> Outgoing | None:
        """The run has ended, or is about to end; what was its migration, if any."""
        self.reports.pop(name, None)
        move = self.moves.pop(name, None)
        if move is not None and move.token:
            self._out.add(CancelMemory(move.token))
        return move

    def handed_over(self, now: Instant, move: Outgoing) -> None:
        """The VM is the target's: whoever still waits for it here is sent there once it is served."""
        until = Instant(now + REDIRECT_DELAYS * self._timing.delay)
        self._left[move.group] = (Generation(move.generation + 1), move.target, until)
        self._arm(now)

    # step by step

    def taken(self, now: Instant, sender: NodeId, incarnation: Incarnation, message: VmTaken) -> None:
        """The target has answered."""
        move = self.moves.get(message.group)
        if move is None or sender != move.target or (message.generation, message.move) != (move.generation, move.move):
            return
        if not message.ok:
            if move.step is not Step.HANDED:
                self._fail(move, f"node {sender} does not take it: {message.reason}")
        elif move.step is Step.OFFERING and not message.holds:
            self._go(now, move, Step.COPYING)
            self._copy(move, move.size)
        elif move.step is Step.GIVING and message.holds:
            self._go(now, move, Step.HANDED)
            move.holder = incarnation
            self._fact(FactKind.MIGRATION_HANDED, f"node {sender} has all its memory", move, target=sender)
            self._report(move, True, f"node {sender} has all its memory")

    def memory_sent(self, now: Instant, event: MemorySent) -> None:
        """A round is over."""
        move = next((move for move in self.moves.values() if move.token == event.token), None)
        if move is None or move.step not in (Step.COPYING, Step.FINISHING):
            return
        move.token = 0
        if not event.ok:
            self._fail(move, f"its memory did not reach node {move.target}: {event.reason}")
        elif move.step is Step.FINISHING:
            self._go(now, move, Step.GIVING)
            self._give(move)
        else:
            move.rounds += 1
            memory = move.memory_mb * MIB
            move.size = min(memory, move.dirty_per_s * (now - move.since) // US_PER_S)
            if move.size > SMALL and move.rounds < MAX_ROUNDS:
                move.since = now
                self._copy(move, move.size)
            else:
                self._go(now, move, Step.PAUSING)
                self._out.add(PauseVm(move.group, move.generation, move.move))

    def vm_paused(self, now: Instant, event: VmPaused) -> None:
        """The VM writes nothing more."""
        move = self.moves.get(event.group)
        if (
            move is None
            or move.step is not Step.PAUSING
            or (event.generation, event.move) != (move.generation, move.move)
        ):
            return
        move.image = event.image
        self._go(now, move, Step.FINISHING)
        reason = f"after {move.rounds} rounds, {move.size // 1024} KiB are left to copy"
        self._fact(FactKind.MIGRATION_PAUSED, reason, move)
        self._copy(move, max(1, move.size))

    def served(self, sender: NodeId, message: VmServed) -> None:
        """The new owner says where the VM is served."""
        left = self._left.get(message.group)
        if left is not None and left[:2] == (message.generation, sender):
            del self._left[message.group]
            self._out.add(RedirectVm(message.group, Generation(message.generation - 1), message.address))

    def timer(self, now: Instant) -> None:
        """Ask again what had no answer; give up what lasts too long, unless it is no longer ours to give up."""
        for move in tuple(self.moves.values()):
            late = now - move.since >= PATIENCE_DELAYS * self._timing.delay
            match move.step:
                case Step.OFFERING | Step.GIVING if late:
                    self._fail(move, f"node {move.target} does not answer")
                case Step.PAUSING if late:
                    self._fail(move, "the write under way does not end")
                case Step.OFFERING:
                    self._offer(move)
                case Step.GIVING:
                    self._give(move)
                case _:
                    pass
        for name, (generation, target, until) in tuple(self._left.items()):
            if now >= until:
                del self._left[name]
            else:
                self._out.send(target, WhereIsVm(name, generation))
        self._arm(now)

    def _arm(self, now: Instant) -> None:
        if self.moves or self._left:
            self._out.timer(TIMER, now + self._timing.delay)

    def _go(self, now: Instant, move: Outgoing, step: Step) -> None:
        move.step = step
        move.since = now

    def _offer(self, move: Outgoing) -> None:
        self._out.send(move.target, OfferVm(move.group, move.generation, move.move, move.memory_mb))

    def _give(self, move: Outgoing) -> None:
        assert move.image is not None, "it was paused"
        self._out.send(move.target, LastOfVm(move.group, move.generation, move.move, move.image))

    def _copy(self, move: Outgoing, size: int) -> None:
        self._tokens += 1
        move.token = self._tokens
        if self._settings.now.virtual_machine_migration_performance_option:
            size = max(1, size // COMPRESSED)
        self._out.add(SendMemory(move.token, move.target, move.group, size))

    def _fail(self, move: Outgoing, reason: str) -> None:
        """Nothing was handed over: the VM goes on here, and the leader is told."""
        assert move.step is not Step.HANDED, "that is for the database to decide"
        del self.moves[move.group]
        self._stay(move, reason)
        self._report(move, False, reason)

    def _stay(self, move: Outgoing, reason: str) -> None:
        if move.token:
            self._out.add(CancelMemory(move.token))
        if move.paused():
            self._fact(FactKind.MIGRATION_RESUMED, reason, move)
            self._out.add(ContinueVm(move.group, move.generation))

    def _report(self, move: Outgoing, handed: bool, reason: str) -> None:
        report = MoveReport(move.group, move.generation, move.move, handed, move.target, move.holder, reason)
        self.reports[move.group] = report
        self.fresh.append(report)

    def _fact(self, kind: FactKind, reason: str, move: Outgoing, **about: int) -> None:
        self._out.fact(kind, reason, group=move.group, generation=move.generation, **about)
