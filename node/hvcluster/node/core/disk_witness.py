"""The disk witness: whoever holds its reservation casts its vote and keeps its copy of the log.

Law: what stands on the LUN and when it is written: snapshot, log, term and vote. What a vote is worth is decided in
`raft`, how the LUN is won in `arbitration`, how its bytes lie in `witness_image`.
"""

from __future__ import annotations

from collections.abc import Callable

from hvcluster.model.facts import FactKind
from hvcluster.model.properties import Timing
from hvcluster.model.scsi import Status
from hvcluster.model.vocabulary import Generation, Incarnation, Instant, LunId, PathName, ReservationKey

from . import arbitration
from .arbitration import Content
from .heartbeats import NEVER
from .outbox import Outbox
from .procedure import Paths, Procedures, Steps
from .raft.election import Election
from .raft.replication import MAX_ENTRIES, Replication
from .raft.state import RaftState
from .reservation import give_up
from .witness import TIMER, Held, Hold, Witness
from .witness_image import blocks_of, encode_record, new_image

LAG_DELAYS = 3  # the nodes may commit while a write to the witness is under way; its vote must not flap for that
HOLDS_A_LIFE = 4096  # each hold of each life has a key of its own: what an older one left stuck on a path is refused


class DiskWitness(Witness):
    """One node's side of the disk witness on one LUN."""

    __slots__ = ("_behind_since", "_content", "_cursor", "_holds", "_key", "_lun", "_paths", "_registered", "_timing")

    def __init__(
        self,
        lun: LunId,
        incarnation: Incarnation,
        state: RaftState,
        replication: Replication,
        election: Election,
        procedures: Procedures,
        paths: Paths,
        timing: Timing,
        out: Outbox,
        on_progress: Callable[[Instant], None],
    ) -> None:
        super().__init__(
            state, replication, election, procedures, out, on_progress, timing.challenge, timing.arbitration
        )
        self._lun = lun
        self._paths = paths
        self._timing = timing
        self._behind_since: Instant | None = None
        self._key: ReservationKey | None = None
        self._registered: tuple[PathName, ...] = ()
        self._content: Content | None = None
        self._cursor = 0
        self._holds = incarnation * HOLDS_A_LIFE

    def usable(self, now: Instant) -> bool:
        """As leader: held, proven recently, and not behind our log for longer than a few writes take."""
        if not self._counts(now):
            return False
        if self._replication.witness_match >= self._state.commit:
            self._behind_since = None
            return True
        if self._behind_since is None:
            self._behind_since = now
        return now - self._behind_since < LAG_DELAYS * self._timing.delay

    def ready(self, now: Instant) -> bool:
        """As leader: usable, and it holds everything that is committed."""
        return self.usable(now) and self._behind_since is None

    def _ours(self) -> tuple[PathName, ...]:
        """The paths that are up and that we are registered on: on one that came later every write is refused."""
        return tuple(path for path in self._paths() if path in self._registered)

    # arbitration

    def _begin(self, now: Instant) -> None:
        self.hold = Hold.ARBITRATING
        self._holds += 1
        self._key = ReservationKey(Generation(self._holds % 2**32), self._state.me)
        self._procedures.start(now, "witness-hold", self._hold_and_read(now, self._key), self._held)

    def _prove_again(self, now: Instant) -> None:
        assert self._key is not None
        self._procedures.start(now, "witness-hold", self._prove(self._key), self._held)

    def _hold_and_read(self, began: Instant, key: ReservationKey) -> Steps[tuple[Held, Instant, Content | None]]:
        def needed() -> bool:
            return self._needed(began)

        result, registered = yield from arbitration.hold(self._out, self._paths, self._lun, key, self.challenge, needed)
        self._registered = registered
        if result is not Held.YES:
            return result, NEVER, None
        asked = self._out.now
        content = yield from arbitration.read(self._paths, self._lun)
        return (Held.YES if content is not None else Held.UNREADABLE), asked, content

    def _prove(self, key: ReservationKey) -> Steps[tuple[Held, Instant, Content | None]]:
        result, asked = yield from arbitration.defend(self._out, self._paths, self._ours, self._lun, key)
        return result, asked, self._content

    def _held(self, now: Instant, outcome: tuple[Held, Instant, Content | None]) -> None:
        held, asked, content = outcome
        candidate, self._candidate = self._candidate, False
        if held is not Held.YES or content is None:
            self._content = None
            reason = "another node holds it and defended it" if held is Held.NO else held.value
            self._out.fact(FactKind.WITNESS_REFUSED, reason, lun=self._lun)
            self._not_held(now, candidate, self.challenge)
            return
        fresh = self._content is not content
        self._content = content
        self.hold = Hold.HELD
        self.defended_at = asked
        self._out.timer(TIMER, now + self._interval)
        if fresh:
            self._written_term = 0
            reason = "the reservation is ours; its database has been read"
            self._out.fact(FactKind.WITNESS_HELD, reason, lun=self._lun, term=content.header.term)
        self._adopt(content)
        self._now_held(now, candidate)

    def _adopt(self, content: Content) -> None:
        """Take over the witness's term, and its log where that is newer than ours (it then holds all that was
        committed).
        """
        state = self._state
        state.see_term(content.header.term, "the witness is in it")
        if state.leads or state.outranked or content.snapshot is None:
            return
        last = content.entries[-1] if content.entries else content.snapshot
        if (last.term, last.index) <= (state.log.last_term, state.log.last_index):
            return
        if content.snapshot.index > state.commit and not self._replication.install_database(content.snapshot.database):
            return
        ours = f"{state.log.last_term}:{state.log.last_index}"
        reason = f"the witness has entries up to {last.term}:{last.index}, ours end at {ours}"
        self._out.fact(FactKind.SNAPSHOT_INSTALLED, reason, index=last.index, term=last.term)
        if content.snapshot.index > state.commit:
            state.log.replace(content.snapshot, content.entries)
            state.commit = content.snapshot.index
        else:
            self._append_newer(content)

    def _append_newer(self, content: Content) -> None:
        log = self._state.log
        for at, entry in enumerate(content.entries):
            if entry.index <= self._state.commit or log.term_at(entry.index) == entry.term:
                continue
            if entry.index <= log.last_index:
                log.truncate_from(entry.index)
            log.append(content.entries[at:])
            return

    # voting and writing

    def cast(self, now: Instant, term: int) -> None:
        """Write our vote of `term`; it counts when the array has it."""
        content = self._content
        if self.hold is not Hold.HELD or content is None or self._procedures.active("witness-write"):
            return
        header = content.header
        if header.term > term or (header.term == term and header.vote != self._state.me):
            return
        voted = header.voted(term, self._state.me)
        steps = arbitration.write(self._ours, self._lun, 0, voted.encode())

        def done(at: Instant, status: Status) -> None:
            if status is Status.GOOD:
                self._content = Content(voted, content.snapshot, content.entries, content.next_lba)
                self._election.witness_voted(at, term)
            else:
                self._write_failed(at, status)

        self._procedures.start(now, "witness-write", steps, done)

    def replicate(self, now: Instant) -> None:
        """As leader: bring the witness up to date with our log, one write at a time."""
        state, content = self._state, self._content
        if not state.leads or self.hold is not Hold.HELD or content is None or self._procedures.active("witness-write"):
            return
        if content.header.term > state.term:
            return
        if self._written_term != state.term:
            self._write_image(now, content)
            return
        first = self._replication.witness_match + 1
        if first > state.log.last_index:
            return
        if first <= state.log.snapshot_index:
            self._write_image(now, content)
            return
        entries = state.log.entries_from(first, MAX_ENTRIES)
        data = b"".join(encode_record(content.header.epoch, entry) for entry in entries)
        if self._cursor + blocks_of(len(data)) > content.header.end:
            self._write_image(now, content)
            return
        lba, term, last = self._cursor, state.term, entries[-1].index
        steps = arbitration.write(self._ours, self._lun, lba, data)

        def done(at: Instant, status: Status) -> None:
            self._written(at, status, term, last, lba + blocks_of(len(data)))

        self._procedures.start(now, "witness-write", steps, done)

    def _write_image(self, now: Instant, content: Content) -> None:
        """Write our whole log beside the old image, then let the header point to it."""
        state = self._state
        snapshot = state.log.snapshot
        assert snapshot is not None, "a leader has a snapshot: its cluster was created with one"
        entries = state.log.entries_from(state.log.snapshot_index + 1, state.log.length)
        image = new_image(content.header, snapshot, entries)
        if image is None:
            return
        header = image.header
        if header.term < state.term:
            header = header.voted(state.term, state.me)
        term, last = state.term, state.log.last_index

        def steps() -> Steps[Status]:
            status = yield from arbitration.write(self._ours, self._lun, image.lba, image.data)
            if status is Status.GOOD:
                status = yield from arbitration.write(self._ours, self._lun, 0, header.encode())
            return status

        def done(at: Instant, status: Status) -> None:
            if status is Status.GOOD:
                self._content = Content(header, None, (), 0)
                self._written_term = term
            self._written(at, status, term, last, image.lba + blocks_of(len(image.data)))

        self._procedures.start(now, "witness-write", steps(), done)

    def _written(self, now: Instant, status: Status, term: int, last: int, cursor: int) -> None:
        if status is not Status.GOOD:
            self._write_failed(now, status)
            return
        self._cursor = cursor
        if self._state.leads and self._state.term == term:
            self._replication.witness_match = last
            self._on_progress(now)
        self.replicate(now)

    def _write_failed(self, now: Instant, status: Status) -> None:
        if status is Status.RESERVATION_CONFLICT:
            self._lost(now, "a write to the witness met RESERVATION CONFLICT")
        else:
            self._anew(now)

    def _anew(self, now: Instant) -> None:
        """What arrived is not known, or no path is left that we are registered on: register again, and read."""
        self._procedures.cancel("witness-write")
        self._procedures.cancel("witness-defend")
        self._forget()
        if self.wanted:
            self._begin(now)

    # keeping and giving back

    def timer(self, now: Instant) -> None:
        """Time to defend what we hold, or to try again as leader."""
        if self.hold is Hold.HELD and self._paths() and not self._ours():
            self._anew(now)  # only paths are left that came later
        elif self.hold is Hold.HELD and self._key is not None:
            if not self._procedures.active("witness-defend"):
                steps = arbitration.defend(self._out, self._paths, self._ours, self._lun, self._key)
                self._procedures.start(now, "witness-defend", steps, self._defended)
            self._out.timer(TIMER, now + self._interval)
        elif self.hold is Hold.NONE and self.wanted:
            self._begin(now)

    def _defended(self, now: Instant, outcome: tuple[Held, Instant]) -> None:
        held, asked = outcome
        if held is Held.NO:
            self._lost(now, "another node holds the reservation")
        elif held is Held.YES and self.hold is Hold.HELD:
            self.defended_at = asked
            self.replicate(now)

    def _lost(self, now: Instant, reason: str) -> None:
        if self.hold is not Hold.HELD:
            return
        self._procedures.cancel("witness-write")
        self._procedures.cancel("witness-defend")
        self._out.fact(FactKind.WITNESS_LOST, reason, lun=self._lun)
        self._forget()
        self._out.timer(TIMER, now + self.challenge)

    def _forget(self) -> None:
        super()._forget()
        self._content = None

    def look(self, now: Instant) -> None:
        """Nothing: what is new in the log is written when it is sent to the nodes."""

    def release(self, now: Instant) -> None:
        """We neither lead nor stand: let the leader have it without a challenge."""
        if self.hold is not Hold.HELD or self._key is None:
            return
        for name in ("witness-write", "witness-defend"):
            self._procedures.cancel(name)
        self._forget()
        self.hold = Hold.RELEASING
        steps = give_up(self._ours, self._lun, ReservationKey(arbitration.GIVEN_UP, self._state.me).encode())
        self._procedures.start(now, "witness-release", steps, self._released)
