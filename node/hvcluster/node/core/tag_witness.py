"""The file share and the cloud witness: a voter that has no copy of the log, but knows how new the newest one was.

Law: when its vote and its tag are written (decision 0014). It votes for nobody whose log is older than its tag, and an
entry counts as known to it once its tag says so. How it is won is in `tag_arbitration`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from hvcluster.model.definition import TagWitnessKind
from hvcluster.model.facts import FactKind
from hvcluster.model.properties import Timing
from hvcluster.model.vocabulary import Incarnation, Instant, NodeId
from hvcluster.model.votes import Configuration

from . import tag_arbitration
from .heartbeats import NEVER
from .outbox import Outbox
from .procedure import Procedures
from .raft.election import Election
from .raft.replication import Replication
from .raft.state import RaftState
from .tag_arbitration import Seen
from .tag_record import Owner, Tag, TagRecord
from .witness import TIMER, Held, Hold, Witness

PATIENCE_DELAYS = 3  # entries wait that long for a node that is heard before the witness stands in for it
RETRIES_A_LOOK = 4  # a check that failed is repeated that soon: one lost message is no failed witness


def _silence(held: Held) -> FactKind:
    """Why a cloud witness gives no answer that can be used."""
    return FactKind.CLOUD_WITNESS_BARRED if held is Held.BARRED else FactKind.CLOUD_WITNESS_UNREACHABLE


class TagWitness(Witness):
    """One node's side of a witness that is a file."""

    __slots__ = (
        "_failing", "_kind", "_me", "_pause_until", "_reachable", "_refused_tag", "_restart", "_seen", "_timing",
        "_told", "_tried",
    )  # fmt: skip

    def __init__(
        self,
        kind: TagWitnessKind,
        incarnation: Incarnation,
        state: RaftState,
        replication: Replication,
        election: Election,
        procedures: Procedures,
        reachable: Callable[[NodeId], bool],
        timing: Timing,
        out: Outbox,
        on_progress: Callable[[Instant], None],
    ) -> None:
        super().__init__(
            state, replication, election, procedures, out, on_progress, timing.arbitration_delay, timing.witness_call
        )
        self._kind = kind
        self._me = Owner(state.me, incarnation)
        self._reachable = reachable
        self._timing = timing
        self._restart = timing.witness_restart
        self._seen: Seen | None = None
        self._told: Configuration | None = None  # the votes in force when the tag was last raised
        self._refused_tag: Tag = (0, 0)
        self._tried = NEVER
        self._failing = False
        self._pause_until = NEVER  # a write had no answer: not again with every event

    def usable(self, now: Instant) -> bool:
        """As leader: held, written in our term and proven recently; it has no log that could be behind."""
        return self._counts(now)

    def ready(self, now: Instant) -> bool:
        """As leader: the same, for what is committed needs no copy there before its vote is added."""
        return self._counts(now)

    # arbitration

    def _begin(self, now: Instant) -> None:
        self.hold = Hold.ARBITRATING
        self._tried = now
        needed = partial(self._needed, now)
        steps = tag_arbitration.hold(self._out, self._me, self.challenge, self._may_form, needed)
        self._procedures.start(now, "witness-hold", steps, self._held)

    def _prove_again(self, now: Instant) -> None:
        self._procedures.start(now, "witness-hold", tag_arbitration.defend(self._out, self._me), self._held)

    def _may_form(self, tag: Tag) -> bool:
        log = self._state.log
        return self._state.leads or tag <= (log.last_term, log.last_index)

    def _held(self, now: Instant, outcome: tuple[Held, Seen | None, Instant]) -> None:
        held, seen, asked = outcome
        candidate, self._candidate = self._candidate, False
        if held is not Held.YES or seen is None:
            self._forget()
            self._tell(held, seen, candidate)
            self._not_held(now, candidate, self.challenge if held is Held.NO else self._restart)
            return
        fresh = self._seen is None
        self._seen = seen
        self.hold = Hold.HELD
        self.defended_at = asked
        self._failing = False
        self._out.timer(TIMER, now + self._interval)
        record = seen.record
        if fresh:
            self._written_term = 0
            reason = f"its lock is ours; its tag is {record.tag_term}:{record.tag_index}"
            self._out.fact(FactKind.WITNESS_HELD, reason, term=record.term)
        self._state.see_term(record.term, "the witness is in it")
        self._now_held(now, candidate)

    def _tell(self, held: Held, seen: Seen | None, candidate: bool) -> None:
        """Say once why the witness is not ours, under the id of the product."""
        cloud = self._kind is TagWitnessKind.CLOUD
        fact = self._out.fact
        if held is Held.BEHIND and seen is not None:
            if seen.record.tag != self._refused_tag:
                self._refused_tag = seen.record.tag
                log, (term, index) = self._state.log, seen.record.tag
                ours = f"{log.last_term}:{log.last_index}"
                reason = f"it knows of a database up to {term}:{index}, ours ends at {ours}; start a node that has it"
                fact(FactKind.WITNESS_NEWER, reason, term=term, index=index)
        elif held is Held.NO:
            reason = "another node holds it and defended it"
            fact(FactKind.WITNESS_REFUSED if cloud else FactKind.WITNESS_NOT_WON, reason)
        elif held is Held.NEEDLESS:
            fact(FactKind.WITNESS_REFUSED, held.value)
        elif candidate:
            fact(FactKind.WITNESS_MISSING, f"{held.value}, and no quorum without its vote")
        elif not self._failing:
            self._failing = True
            fact(_silence(held) if cloud else FactKind.WITNESS_NOT_ONLINE, held.value)

    # voting and writing

    def cast(self, now: Instant, term: int) -> None:
        """Write our vote of `term`; it counts when it stands there, and only for a log as new as the tag."""
        if self.hold is not Hold.HELD or self._seen is None or self._procedures.active("witness-write"):
            return

        def voted(record: TagRecord) -> TagRecord | None:
            free = record.term < term or (record.term == term and record.vote == self._state.me)
            if record.owner != self._me or not free or not self._may_form(record.tag):
                return None
            return record.voted(term, self._state.me).defended()

        def done(at: Instant, result: Seen | Held) -> None:
            if isinstance(result, Seen):
                self._seen = result
                self._election.witness_voted(at, term)
            else:
                self._write_failed(at, result)

        self._procedures.start(now, "witness-write", tag_arbitration.change(self._out, self._seen, voted), done)

    def replicate(self, now: Instant) -> None:
        """As leader: raise the tag when an entry needs it, when votes have changed, and at the beginning of a term."""
        state, seen = self._state, self._seen
        if not state.leads or self.hold is not Hold.HELD or seen is None or self._procedures.active("witness-write"):
            return
        if now < self._pause_until:
            return
        tag, votes = self._due(now), state.log.configuration_at(state.commit)
        if self._written_term == state.term and tag <= seen.record.tag:
            return
        term = state.term

        def raised(record: TagRecord) -> TagRecord | None:
            if record.owner != self._me or record.term > term:
                return None
            new = record if record.term == term else record.voted(term, state.me)
            return new.raised(tag).defended()

        def done(at: Instant, result: Seen | Held) -> None:
            if isinstance(result, Seen):
                self._told = votes
                self._raised(at, result, term)
            else:
                self._write_failed(at, result)

        self._procedures.start(now, "witness-write", tag_arbitration.change(self._out, seen, raised), done)

    def _due(self, now: Instant) -> Tag:
        """What the tag should say: what is committed, when votes have changed; more only if that alone commits it."""
        state, configuration = self._state, self._state.log.configuration
        index = 0
        if self._written_term != state.term or state.log.configuration_at(state.commit) != self._told:
            index = state.commit
        if self._short(now):
            held = self._replication.held_by_nodes(configuration.quorum - 1)
            if state.log.term_at(held) == state.term:
                index = max(index, held)
        return state.log.term_at(index) or 0, index

    def _short(self, now: Instant) -> bool:
        """Whether the nodes alone cannot commit: too few are heard, or entries wait although they are."""
        configuration = self._state.log.configuration
        if not configuration.witness:
            return False
        near = sum(1 for v in configuration.voters if v.node == self._state.me or self._reachable(v.node))
        patience = PATIENCE_DELAYS * self._timing.delay
        return near < configuration.quorum or self._replication.stalled(now, patience)

    def _raised(self, now: Instant, seen: Seen, term: int) -> None:
        self._seen = seen
        if not self._state.leads or self._state.term != term:
            return
        self._written_term = term
        record = seen.record
        self._replication.witness_match = record.tag_index if record.tag_term == term else 0
        self._on_progress(now)
        self.replicate(now)

    def look(self, now: Instant) -> None:
        """As leader, after every event: raise the tag if an entry needs it; try again if the vote is needed."""
        if self.hold is Hold.HELD:
            self.replicate(now)
        elif self.hold is Hold.NONE and self.wanted and now - self._tried >= self.challenge and self._short(now):
            self._begin(now)

    def _write_failed(self, now: Instant, why: Held) -> None:
        """NO: not ours any more. No answer: the next look tells, and whoever waits for the write tries again."""
        self._pause_until = Instant(now + self._timing.delay)
        if why is Held.NO:
            self._procedures.cancel("witness-defend")
            if self.hold is Hold.HELD:
                self._procedures.start(
                    now, "witness-defend", tag_arbitration.defend(self._out, self._me), self._defended
                )
        elif why is Held.UNREADABLE:
            self._offline(now, why)

    # keeping and giving back

    def timer(self, now: Instant) -> None:
        """Time to look whether somebody challenges, or to try again as leader."""
        if self.hold is Hold.HELD:
            if not self._procedures.active("witness-defend"):
                steps = tag_arbitration.defend(self._out, self._me)
                self._procedures.start(now, "witness-defend", steps, self._defended)
            self._out.timer(TIMER, now + self._interval)
        elif self.hold is Hold.NONE and self.wanted:
            self._begin(now)

    def _defended(self, now: Instant, outcome: tuple[Held, Seen | None, Instant]) -> None:
        held, seen, asked = outcome
        if self.hold is not Hold.HELD:
            return
        if held is Held.YES and seen is not None:
            self.defended_at = asked
            self._failing = False
            if not self._procedures.active("witness-write"):
                self._seen = seen
            self.replicate(now)
        elif held is Held.NO:
            self._end_hold()
            self._out.fact(FactKind.WITNESS_LOST, "another node holds its lock")
            self._out.timer(TIMER, now + self.challenge)
        else:
            self._check_failed(now, held)

    def _check_failed(self, now: Instant, why: Held) -> None:
        """It did not answer: once nothing proves any more that it is ours, it is offline."""
        if not self._failing:
            self._failing = True
            cloud = self._kind is TagWitnessKind.CLOUD
            kind = _silence(why) if cloud else FactKind.WITNESS_CHECK_FAILED
            self._out.fact(kind, why.value)
        if now >= self.lease_until() or why is Held.UNREADABLE:
            self._offline(now, why)
        else:
            self._out.timer(TIMER, now + self._interval // RETRIES_A_LOOK)

    def _offline(self, now: Instant, why: Held) -> None:
        """The witness has failed: it is tried again after WitnessRestartInterval, or when its vote is needed."""
        self._end_hold()
        self._out.fact(FactKind.WITNESS_OFFLINE, f"{why.value}; it is tried again in {self._restart // 1_000_000} s")
        self._tried = now
        self._out.timer(TIMER, now + self._restart)
        self._on_progress(now)

    def _end_hold(self) -> None:
        self._procedures.cancel("witness-write")
        self._procedures.cancel("witness-defend")
        self._forget()

    def _forget(self) -> None:
        super()._forget()
        self._seen = None
        self._told = None

    def release(self, now: Instant) -> None:
        """We neither lead nor stand: let the leader have it without a challenge."""
        seen = self._seen
        if self.hold is not Hold.HELD or seen is None:
            return
        self._end_hold()
        self.hold = Hold.RELEASING
        steps = tag_arbitration.give_up(self._out, seen, self._me)
        self._procedures.start(now, "witness-release", steps, self._released)
