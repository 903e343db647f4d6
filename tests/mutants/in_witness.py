"""Mutants of the disk witness: arbitration, its vote, its copy of the log.

Law: each is one fault that a person could write by mistake; none knows how it will be found.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from hvcluster.model.scsi import Status
from hvcluster.model.vocabulary import NOBODY, Instant, LunId, PathName, ReservationKey
from hvcluster.node.core import arbitration
from hvcluster.node.core.arbitration import Content
from hvcluster.node.core.disk_witness import DiskWitness
from hvcluster.node.core.outbox import Outbox
from hvcluster.node.core.procedure import Paths, Steps, Wait
from hvcluster.node.core.raft.election import Election
from hvcluster.node.core.raft.state import Role
from hvcluster.node.core.reservation import look
from hvcluster.node.core.witness import Held, Hold
from hvcluster.node.core.witness_image import blocks_of, new_image
from tests.mutants.patching import Patch, breaks


@breaks("one challenger on a side: who challenges has the pre-vote of every voter it can reach")
def two_challengers_on_one_side(patch: Patch) -> None:
    """A candidate challenges for the witness without waiting for the voters it can reach."""

    def count(self: Election, now: Instant) -> None:
        configuration = self.state.log.configuration
        if self.state.role is not Role.PRE_CANDIDATE:
            return
        if len(self._granted) >= configuration.quorum:
            self._stand(now, transfer=False)
            return
        wanted = configuration.witness and len(self._granted) + 1 >= configuration.quorum
        if wanted and self.witness is not None and not self.witness.arbitrating:
            self.witness.arbitrate(now)

    patch.set(Election, "_count_pre_votes", count)


@breaks("who wins the witness takes over its log where that is newer")
def the_witness_votes_without_the_log_check(patch: Patch) -> None:
    """The witness's vote goes to whoever holds it, whatever its log says."""

    def adopt(self: DiskWitness, content: Content) -> None:
        self._state.see_term(content.header.term, "the witness is in it")

    patch.set(DiskWitness, "_adopt", adopt)


@breaks("the witness gives one vote in a term, and its term never falls")
def the_witness_votes_without_its_header(patch: Patch) -> None:
    """The witness's vote is written without looking at the term and the vote that stand there."""
    adopt, cast = DiskWitness._adopt, DiskWitness.cast

    def blind(content: Content) -> Content:
        return replace(content, header=content.header.voted(0, NOBODY))

    def adopt_blindly(self: DiskWitness, content: Content) -> None:
        adopt(self, blind(content))

    def cast_blindly(self: DiskWitness, now: Instant, term: int) -> None:
        if self._content is not None:
            self._content = blind(self._content)
        cast(self, now, term)

    patch.set(DiskWitness, "_adopt", adopt_blindly)
    patch.set(DiskWitness, "cast", cast_blindly)


@breaks("the witness's vote counts once it is written")
def the_witness_vote_counts_before_it_is_written(patch: Patch) -> None:
    """A candidate that holds the witness counts its vote without writing it."""

    def nothing() -> Steps[None]:
        yield Wait(1)

    def cast(self: DiskWitness, now: Instant, term: int) -> None:
        if self.hold is Hold.HELD and not self._procedures.active("witness-write"):
            voted = partial(self._election.witness_voted, term=term)
            self._procedures.start(now, "witness-write", nothing(), lambda at, _: voted(at))

    patch.set(DiskWitness, "cast", cast)


@breaks("a challenger gives the owner time to defend")
def a_challenger_does_not_wait(patch: Patch) -> None:
    """A challenger preempts the owner of the witness at once."""
    real = arbitration.hold

    def hold(
        out: Outbox, paths: Paths, lun: LunId, key: ReservationKey, _: int, needed: Callable[[], bool]
    ) -> Steps[tuple[Held, tuple[PathName, ...]]]:
        return real(out, paths, lun, key, 1, needed)

    patch.set(arbitration, "hold", hold)


@breaks("the owner of the witness removes every challenger")
def the_owner_does_not_defend(patch: Patch) -> None:
    """The owner of the witness sees that it still holds it, and leaves challengers alone."""

    def defend(out: Outbox, paths: Paths, _: Paths, lun: LunId, key: ReservationKey) -> Steps[tuple[Held, Instant]]:
        asked = out.now
        what = yield from look(paths, lun)
        if what is None:
            return Held.NO_PATH, asked
        return (Held.YES if what.holder == key.encode() else Held.NO), asked

    patch.set(arbitration, "defend", defend)


@breaks("the witness counts only as long as the array has answered that it is ours")
def asking_for_the_witness_is_proof(patch: Patch) -> None:
    """A leader counts on the witness from when it asked whether it holds it, and does not wait for the answer."""
    real = DiskWitness.timer

    def timer(self: DiskWitness, now: Instant) -> None:
        if self.hold is Hold.HELD:
            self.defended_at = now
        real(self, now)

    patch.set(DiskWitness, "timer", timer)


@breaks("after an UNKNOWN the witness is held anew, under a new key (decision 0006)")
def a_failed_write_to_the_witness_is_repeated(patch: Patch) -> None:
    """A write to the witness that had no answer is sent again under the same key."""
    real = DiskWitness._write_failed

    def write_failed(self: DiskWitness, now: Instant, status: Status) -> None:
        if status is Status.RESERVATION_CONFLICT or not self._paths():
            real(self, now, status)
        else:
            self.replicate(now)

    patch.set(DiskWitness, "_write_failed", write_failed)


@breaks("each hold of the witness has a key of its own")
def one_key_for_every_hold(patch: Patch) -> None:
    """A node holds the witness under the same key as before."""
    real = DiskWitness._begin

    def begin(self: DiskWitness, now: Instant) -> None:
        self._holds = 1
        real(self, now)

    patch.set(DiskWitness, "_begin", begin)


@breaks("the witness's copy counts once the array has it")
def the_witness_copy_counts_before_it_is_written(patch: Patch) -> None:
    """A leader counts the witness's copy while it is being written."""
    real = DiskWitness.replicate

    def replicate(self: DiskWitness, now: Instant) -> None:
        real(self, now)
        if self._state.leads and self.hold is Hold.HELD and self._written_term == self._state.term:
            self._replication.witness_match = self._state.log.last_index

    patch.set(DiskWitness, "replicate", replicate)


@breaks("an UNKNOWN is never taken for GOOD")
def an_unknown_write_to_the_witness_is_taken_for_good(patch: Patch) -> None:
    """A write to the witness that had no answer counts as written."""
    real = arbitration.write

    def write(paths: Paths, lun: LunId, lba: int, data: bytes) -> Steps[Status]:
        status = yield from real(paths, lun, lba, data)
        return Status.GOOD if status is Status.UNKNOWN else status

    patch.set(arbitration, "write", write)


@breaks("the header of the witness points to a whole image")
def the_header_is_written_before_the_image(patch: Patch) -> None:
    """A new image counts before all of it is there."""

    def write_image(self: DiskWitness, now: Instant, content: Content) -> None:
        state = self._state
        snapshot = state.log.snapshot
        assert snapshot is not None
        entries = state.log.entries_from(state.log.snapshot_index + 1, state.log.length)
        image = new_image(content.header, snapshot, entries)
        if image is None:
            return
        header = image.header.voted(state.term, state.me) if image.header.term < state.term else image.header
        term, last = state.term, state.log.last_index

        def steps() -> Steps[Status]:
            status = yield from arbitration.write(self._paths, self._lun, 0, header.encode())
            if status is Status.GOOD:
                status = yield from arbitration.write(self._paths, self._lun, image.lba, image.data)
            return status

        def done(at: Instant, status: Status) -> None:
            if status is Status.GOOD:
                self._content = Content(header, None, (), 0)
                self._written_term = term
            self._written(at, status, term, last, image.lba + blocks_of(len(image.data)))

        self._procedures.start(now, "witness-write", steps(), done)

    patch.set(DiskWitness, "_write_image", write_image)


WITNESS = (
    two_challengers_on_one_side,
    the_witness_votes_without_the_log_check,
    the_witness_votes_without_its_header,
    the_witness_vote_counts_before_it_is_written,
    a_challenger_does_not_wait,
    the_owner_does_not_defend,
    asking_for_the_witness_is_proof,
    a_failed_write_to_the_witness_is_repeated,
    one_key_for_every_hold,
    the_witness_copy_counts_before_it_is_written,
    an_unknown_write_to_the_witness_is_taken_for_good,
    the_header_is_written_before_the_image,
)
