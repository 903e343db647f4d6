"""The witness: a voter without a CPU. Whoever holds it casts its vote; here is what holds for every kind of witness.

Law: the life of our hold: arbitrate, vote, write, defend, release, and when its vote counts. What stands on it, and how
it is won, is the business of each kind: a LUN in `disk_witness`, a file or a blob in `tag_witness`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from enum import Enum

from hvcluster.model.properties import MAX_CLOCK_DRIFT
from hvcluster.model.vocabulary import Instant

from .heartbeats import NEVER
from .outbox import Outbox
from .procedure import Procedures
from .raft.election import Election
from .raft.replication import Replication
from .raft.state import RaftState

TIMER = "witness"


class Hold(Enum):
    """How this node stands to the witness."""

    NONE = "not held"
    ARBITRATING = "trying to hold it"
    HELD = "held and read"
    RELEASING = "giving it back"


class Held(Enum):
    """How arbitration or a defence ended."""

    YES = "this node holds the witness"
    NO = "another node holds it (status 170)"
    NO_PATH = "it did not answer"
    BARRED = "its service refuses our account or key"
    UNREADABLE = "what is on it is not a witness, or not all of it"
    NEEDLESS = "a leader was heard meanwhile: its vote is needed no more"
    BEHIND = "it knows of a newer database"


class Witness(ABC):
    """One node's side of the witness. `challenge`: how long an owner has to defend it; `interval`: how often it looks.

    Both in microseconds.
    """

    __slots__ = (
        "_candidate",
        "_election",
        "_given_in",
        "_interval",
        "_on_progress",
        "_out",
        "_procedures",
        "_replication",
        "_state",
        "_then",
        "_written_term",
        "challenge",
        "defended_at",
        "hold",
    )

    def __init__(
        self,
        state: RaftState,
        replication: Replication,
        election: Election,
        procedures: Procedures,
        out: Outbox,
        on_progress: Callable[[Instant], None],
        challenge_us: int,
        interval_us: int,
    ) -> None:
        self._state = state
        self._replication = replication
        self._election = election
        self._procedures = procedures
        self._out = out
        self._on_progress = on_progress
        self.challenge = challenge_us
        self._interval = interval_us
        self.hold = Hold.NONE
        self.defended_at = NEVER
        self._then: Callable[[], None] | None = None  # what waits for the witness to be free
        self._given_in = 0  # the term in which we gave it to an heir
        self._candidate = False
        self._written_term = 0

    @property
    def arbitrating(self) -> bool:
        """A candidate of this node waits for the witness."""
        return self._candidate and self.hold is Hold.ARBITRATING

    def lease_until(self) -> Instant:
        """Until when nobody can have taken it from us: a challenger waits at least that long after our last proof."""
        return Instant(self.defended_at + int(self.challenge * (1 - 2 * MAX_CLOCK_DRIFT)))

    def _counts(self, now: Instant) -> bool:
        """As leader: held, written in our term and proven recently."""
        return self.hold is Hold.HELD and self._written_term == self._state.term and now < self.lease_until()

    @abstractmethod
    def usable(self, now: Instant) -> bool:
        """As leader: its vote counts, and it can follow what we commit."""

    @abstractmethod
    def ready(self, now: Instant) -> bool:
        """As leader: usable, and nothing that is committed is missing for its vote to be added."""

    def coming(self, now: Instant) -> bool:
        """As leader: about to be usable, unless arbitration or the first write fails."""
        if self.hold is Hold.HELD:
            return self._written_term != self._state.term and now < self.lease_until()
        return self.hold is Hold.ARBITRATING

    # arbitration

    def arbitrate(self, now: Instant) -> None:
        """A candidate needs the witness's vote."""
        if self.hold is Hold.HELD and not self._procedures.active("witness-defend"):
            self._candidate = True
            self.hold = Hold.ARBITRATING
            self._prove_again(now)
        elif self.hold is Hold.NONE:
            self._candidate = True
            self._begin(now)
        else:
            self._election.witness_answered(now, False)

    def lead(self, now: Instant) -> None:
        """We lead: the witness should be ours."""
        self._written_term = 0
        if self.hold is Hold.HELD:
            self.replicate(now)
        elif self.hold is Hold.NONE:
            self._begin(now)

    @abstractmethod
    def _begin(self, now: Instant) -> None:
        """Try to hold it."""

    @abstractmethod
    def _prove_again(self, now: Instant) -> None:
        """A candidate holds it already: see that this is still so."""

    def _needed(self, began: Instant) -> bool:
        """Whoever leads wants the witness; a candidate only until it hears a leader."""
        return self._state.leads or self._state.leader_heard <= began

    def _not_held(self, now: Instant, candidate: bool, again_us: int) -> None:
        """Arbitration failed."""
        self.hold = Hold.NONE
        self._out.timer(TIMER, now + again_us)
        if candidate:
            self._election.witness_answered(now, False)

    def _now_held(self, now: Instant, candidate: bool) -> None:
        """It is ours and has been read."""
        if candidate:
            self._election.witness_answered(now, True)
        elif self._state.leads:
            self.replicate(now)
        else:
            self.release(now)

    # voting and writing

    @abstractmethod
    def cast(self, now: Instant, term: int) -> None:
        """Write our vote of `term`; it counts once it stands there."""

    @abstractmethod
    def replicate(self, now: Instant) -> None:
        """As leader: bring the witness up to date with our log, one write at a time."""

    @abstractmethod
    def look(self, now: Instant) -> None:
        """As leader, after every event: whether the witness must be written, or tried again."""

    # keeping and giving back

    @abstractmethod
    def timer(self, now: Instant) -> None:
        """Time to defend what we hold, or to try again as leader."""

    def _forget(self) -> None:
        self.hold = Hold.NONE
        self._written_term = 0
        self._replication.witness_match = 0
        self.defended_at = NEVER

    @abstractmethod
    def release(self, now: Instant) -> None:
        """We neither lead nor stand: let the leader have it without a challenge."""

    @property
    def wanted(self) -> bool:
        """As leader: whether it is for us to hold it; not once it was given to an heir."""
        return self._state.leads and self._given_in != self._state.term

    def give_to_heir(self, now: Instant, then: Callable[[], None]) -> None:
        """As leader that hands over: give it up first; `then` is called once it is free, at once when it is."""
        if self.hold is Hold.HELD:
            self._then, self._given_in = then, self._state.term
            self.release(now)
        elif self.hold is Hold.NONE and not self.wanted:
            then()

    def _released(self, now: Instant, _: None) -> None:
        self.hold = Hold.NONE
        then, self._then = self._then, None
        if then is not None and self._state.leads:
            then()
        if self.wanted:
            self._begin(now)
