"""Log replication: a leader sends entries and counts copies; a follower checks and appends.

Law: Raft section 5.3 and 7. The commit index moves only here. A copy counts when its store is a voter of the newest
configuration, and an entry commits only if it is of the leader's own term (5.4.2).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from hvcluster.model.epochs import epoch_of
from hvcluster.model.facts import FactKind
from hvcluster.model.properties import Timing
from hvcluster.model.vocabulary import Instant, NodeId, StoreId
from hvcluster.node.core.commands import Command
from hvcluster.node.core.messages import AppendEntries, AppendReply, Entry, InstallSnapshot
from hvcluster.node.core.outbox import Outbox
from hvcluster.node.core.saved import Snapshot

from .state import RaftState, Role

MAX_ENTRIES = 512  # one message stays well under the wire's 4 MiB even with long reasons in every entry


class Progress:
    """What a leader knows of one follower's log."""

    __slots__ = ("answered_at", "commit_sent", "in_flight_since", "match", "next", "probe", "store")

    def __init__(self, store: StoreId, next_index: int) -> None:
        self.store = store
        self.next = next_index
        self.match = 0
        self.probe = 0
        self.commit_sent = 0
        self.answered_at = Instant(0)  # when the exchange that was answered last began
        self.in_flight_since: Instant | None = None


class Replication:
    """One node's side of replication, leading or following."""

    __slots__ = ("_delay", "_out", "_probe", "_stuck", "install_database", "progress", "state", "witness_match")

    def __init__(self, state: RaftState, timing: Timing, out: Outbox, install: Callable[[bytes], bool]) -> None:
        self.state = state
        self._out = out
        self._delay = timing.delay
        self.install_database = install  # take over a database; False when the bytes are not one
        self.progress: dict[NodeId, Progress] = {}
        self.witness_match = 0  # how much of our log the witness holds, while we hold the witness
        self._probe = 0
        self._stuck = (-1, Instant(0))  # the commit index, and since when it stands there with entries after it

    # leading

    def start(self) -> None:
        """We lead a new term: know nothing of the followers' logs."""
        self.progress = {}
        self.witness_match = 0
        self._stuck = (-1, Instant(0))

    def propose(self, commands: Sequence[Command]) -> int:
        """Append commands in our term; returns the index of the last. Only a leader may."""
        assert self.state.leads, "only a leader proposes"
        index = self.state.log.last_index
        term = self.state.term
        self.state.log.append(tuple(Entry(index + n, term, command) for n, command in enumerate(commands, 1)))
        return self.state.log.last_index

    def follower(self, node: NodeId, store: StoreId) -> Progress:
        """The progress of a follower; starts anew when its saved state is another one."""
        progress = self.progress.get(node)
        if progress is None or progress.store != store:
            progress = self.progress[node] = Progress(store, self.state.log.last_index + 1)
        return progress

    def answers_since(self, node: NodeId, store: StoreId, since: Instant) -> bool:
        """Whether this saved state of a node answered something that was sent at `since` or later."""
        if node == self.state.me:
            return True
        progress = self.progress.get(node)
        return progress is not None and progress.store == store and progress.answered_at >= since

    def match(self, node: NodeId, store: StoreId) -> int:
        """Up to where this saved state of a node is known to hold our log."""
        if node == self.state.me:
            return self.state.log.last_index
        progress = self.progress.get(node)
        return progress.match if progress is not None and progress.store == store else 0

    def send(self, now: Instant, node: NodeId, store: StoreId) -> None:
        """Send what the follower lacks (or only the commit index), unless an exchange is under way."""
        progress = self.follower(node, store)
        if progress.in_flight_since is not None and now - progress.in_flight_since < 2 * self._delay:
            return
        state = self.state
        self._probe += 1
        progress.probe = self._probe
        progress.in_flight_since = now
        progress.commit_sent = state.commit
        previous = progress.next - 1
        previous_term = state.log.term_at(previous) if previous >= state.log.snapshot_index else None
        if previous_term is None:
            snapshot = state.log.snapshot
            assert snapshot is not None, "what is not in the log is in the snapshot"
            self._out.send(
                node,
                InstallSnapshot(
                    state.term, snapshot.index, snapshot.term, snapshot.configuration, snapshot.database, self._probe
                ),
            )
            return
        entries = state.log.entries_from(progress.next, MAX_ENTRIES)
        self._out.send(node, AppendEntries(state.term, previous, previous_term, state.commit, entries, self._probe))

    def send_all(self, now: Instant, followers: Iterable[tuple[NodeId, StoreId]]) -> None:
        for node, store in followers:
            self.send(now, node, store)

    def replied(self, now: Instant, sender: NodeId, store: StoreId, reply: AppendReply) -> bool:
        """Take in a follower's answer. True when there may be something to commit or to send."""
        progress = self.progress.get(sender)
        if not self.state.leads or reply.term != self.state.term or progress is None or progress.store != store:
            return False
        if reply.probe == progress.probe and progress.in_flight_since is not None:
            progress.answered_at = progress.in_flight_since
            progress.in_flight_since = None
        if reply.success:
            progress.match = max(progress.match, min(reply.match, self.state.log.last_index))
            progress.next = max(progress.next, progress.match + 1)
        elif reply.probe == progress.probe:
            progress.next = max(progress.match, min(reply.match, progress.next - 2)) + 1
            progress.next = max(progress.next, 1)
        return reply.success

    def follow_up(self, now: Instant, node: NodeId, store: StoreId) -> None:
        """After an answer was taken in and committed what it allowed: send what the follower still lacks.

        An answer from a disk that the node no longer has is followed by nothing: two disks taking turns in one
        `Progress` would each begin an exchange of its own, and each answer two more.
        """
        progress = self.progress.get(node)
        if progress is None or progress.store != store:
            return
        if progress.next <= self.state.log.last_index or progress.commit_sent < self.state.commit:
            self.send(now, node, store)

    def stalled(self, now: Instant, limit_us: int) -> bool:
        """Whether entries wait for their commit for so long that somebody whose calls get through should lead."""
        state = self.state
        if state.commit == state.log.last_index or state.commit != self._stuck[0]:
            self._stuck = (state.commit, now)
        return now - self._stuck[1] >= limit_us

    def held_by_nodes(self, count: int) -> int:
        """The index up to which so many voters, the witness not among them, are known to hold our log."""
        copies = sorted((self.match(v.node, v.store) for v in self.state.log.configuration.voters), reverse=True)
        return copies[count - 1] if 0 < count <= len(copies) else 0

    def advance(self) -> bool:
        """Commit what a quorum of the newest configuration holds. True when the commit index moved."""
        state = self.state
        configuration = state.log.configuration
        copies = [self.match(voter.node, voter.store) for voter in configuration.voters]
        if configuration.witness:
            copies.append(self.witness_match)
        copies.sort(reverse=True)
        index = copies[configuration.quorum - 1] if len(copies) >= configuration.quorum else 0
        if index <= state.commit or state.log.term_at(index) != state.term:
            return False
        state.commit = index
        return True

    # following

    def append(self, now: Instant, sender: NodeId, message: AppendEntries) -> None:
        """AppendEntries from a leader."""
        state, log = self.state, self.state.log
        if message.term < state.term:
            self._out.send(sender, AppendReply(state.term, False, log.last_index, message.probe))
            return
        if not self._rooted(message):
            state.see_term(message.term, f"entries of node {sender}")
            state.follow(sender, now)
            self._out.send(sender, AppendReply(state.term, False, 0, message.probe))
            return
        if not self._plausible(message):
            return
        state.see_term(message.term, f"entries of node {sender}")
        state.follow(sender, now)
        entries = message.entries
        previous = message.prev_index
        if previous < log.snapshot_index:
            entries = tuple(entry for entry in entries if entry.index > log.snapshot_index)
            previous = max(previous, min(log.snapshot_index, message.prev_index + len(message.entries)))
            if previous < log.snapshot_index:
                self._out.send(sender, AppendReply(state.term, True, log.snapshot_index, message.probe))
                return
        elif log.term_at(previous) != message.prev_term:
            self._out.send(sender, AppendReply(state.term, False, self._conflict_hint(previous), message.probe))
            return
        for at, entry in enumerate(entries):
            term = log.term_at(entry.index)
            if term == entry.term:
                continue
            if term is not None:
                assert entry.index > state.commit, "a committed entry never changes"
                log.truncate_from(entry.index)
            log.append(entries[at:])
            break
        match = previous + len(entries)
        state.verified = max(state.verified, match)
        self.commit_to(message.commit)
        self._out.send(sender, AppendReply(state.term, True, match, message.probe))

    def _rooted(self, message: AppendEntries) -> bool:
        """Whether our snapshot is known to be part of the leader's log.

        A log that has entries of a force epoch is: what is committed is never undone within one. A log of an older
        epoch may hold what the forced side never had, and then nothing of it counts; an entry that both logs have
        proves the opposite.
        """
        log, root = self.state.log, self.state.log.snapshot_index
        if self._of_its_epoch(message.term):
            return True
        at = root - message.prev_index
        if at > len(message.entries):
            return False
        if at > 0:
            return message.entries[at - 1].term == log.snapshot_term
        return at < 0 or message.prev_term == log.snapshot_term  # behind our snapshot, entries are compared anyway

    def _plausible(self, message: AppendEntries) -> bool:
        """Whether a peer that keeps to the rules can have said that; what breaks them is ignored."""
        state = self.state
        if state.leads and message.term == state.term:
            return False  # there is one leader in a term, and we won it
        for at, entry in enumerate(message.entries, message.prev_index + 1):
            if entry.index != at or entry.term > message.term:
                return False
            known = state.log.term_at(at) if at <= state.commit else None
            if known is not None and known != entry.term:
                return False  # a committed entry never changes
        return True

    def _conflict_hint(self, previous: int) -> int:
        log = self.state.log
        if previous > log.last_index:
            return log.last_index
        term = log.term_at(previous)
        while previous > log.snapshot_index and log.term_at(previous) == term:
            previous -= 1
        return max(previous, log.snapshot_index)

    def commit_to(self, leader_commit: int) -> bool:
        """A leader of our term has committed so far; we follow as far as our log is known to match its own."""
        index = min(leader_commit, self.state.verified, self.state.log.last_index)
        if index <= self.state.commit:
            return False
        self.state.commit = index
        return True

    def install(self, now: Instant, sender: NodeId, message: InstallSnapshot) -> None:
        """InstallSnapshot from a leader."""
        state, log = self.state, self.state.log
        if message.term < state.term:
            self._out.send(sender, AppendReply(state.term, False, log.last_index, message.probe))
            return
        if state.leads and message.term == state.term:
            return
        state.see_term(message.term, f"snapshot of node {sender}")
        state.follow(sender, now)
        index = message.last_index
        if index > state.commit or not self._extends_ours(message):
            if not self.install_database(message.database):
                return
            snapshot = Snapshot(index, message.last_term, message.configuration, message.database)
            keep: tuple[Entry, ...] = ()
            if log.term_at(index) == message.last_term:
                keep = log.entries_from(index + 1, log.length)
            log.replace(snapshot, keep)
            state.commit = index
            reason = f"node {sender} leads and no longer has the entries we lack"
            self._out.fact(FactKind.SNAPSHOT_INSTALLED, reason, index=index, term=message.last_term)
        state.verified = max(state.verified, index)
        self._out.send(sender, AppendReply(state.term, True, max(index, 0), message.probe))

    def _extends_ours(self, message: InstallSnapshot) -> bool:
        """Whether what we know to be committed is in a snapshot that is no longer than that; see `_rooted`."""
        return self._of_its_epoch(message.term) or self.state.log.term_at(message.last_index) == message.last_term

    def _of_its_epoch(self, term: int) -> bool:
        log = self.state.log
        known = epoch_of(log.last_term) == epoch_of(term) or self.state.verified >= log.snapshot_index
        return log.snapshot is None or known

    def compact(self, database: Callable[[], bytes], limit: int) -> None:
        """Write a snapshot of what is applied (the commit index) once the log is longer than `limit`."""
        log = self.state.log
        if log.length <= limit or self.state.commit <= log.snapshot_index:
            return
        index = self.state.commit
        term = log.term_at(index)
        assert term is not None, "what is committed is in the log"
        log.compact(Snapshot(index, term, log.configuration_at(index), database()))
        self._out.fact(FactKind.SNAPSHOT_TAKEN, f"the log had more than {limit} entries", index=index)


__all__ = ["MAX_ENTRIES", "Progress", "Replication", "Role"]
