"""Mutants of the file share and the cloud witness: its lock, its vote, its tag.

Law: each is one fault that a person could write by mistake; none knows how it will be found.
"""

from __future__ import annotations

from collections.abc import Callable

from hvcluster.model import share as model_share
from hvcluster.model.share import ReadFile, ShareAnswer, ShareOutcome, ShareRequest, StoredFile, WriteFile
from hvcluster.model.vocabulary import Instant
from hvcluster.node.core import tag_arbitration
from hvcluster.node.core.outbox import Outbox
from hvcluster.node.core.procedure import AskShare, ShareSteps
from hvcluster.node.core.tag_arbitration import Seen, look
from hvcluster.node.core.tag_record import Owner, Tag, TagRecord
from hvcluster.node.core.tag_witness import TagWitness
from hvcluster.node.core.witness import Held, Hold
from hvcluster.sim import share as sim_share
from tests.mutants.patching import Patch, breaks


@breaks("an entry counts as known to the witness once its tag says so (decision 0014)")
def committed_without_raising_the_tag(patch: Patch) -> None:
    """A leader that holds the file counts the witness for whatever is in its log."""
    real = TagWitness.replicate

    def replicate(self: TagWitness, now: Instant) -> None:
        real(self, now)
        if self._state.leads and self.hold is Hold.HELD and self._written_term == self._state.term:
            self._replication.witness_match = self._state.log.last_index

    patch.set(TagWitness, "replicate", replicate)


@breaks("a witness with a tag votes for nobody whose log is older")
def the_tag_is_not_looked_at(patch: Patch) -> None:
    """The vote of a file share goes to whoever holds the file, whatever its log says."""
    patch.set(TagWitness, "_may_form", lambda self, tag: True)


@breaks("an UNKNOWN is never taken for DONE")
def an_unknown_write_to_the_file_is_taken_for_done(patch: Patch) -> None:
    """A vote or a tag that had no answer counts as written."""
    real = tag_arbitration.change

    def change(out: Outbox, seen: Seen, to: Callable[[TagRecord], TagRecord | None]) -> ShareSteps[Seen | Held]:
        new = to(seen.record)
        if new is None or new == seen.record:
            return Held.NO if new is None else seen
        answer = yield AskShare(WriteFile(new.encode(), seen.version))
        if answer.outcome is not ShareOutcome.CHANGED:
            return Seen(new, answer.version)
        found = yield from look()
        return found if isinstance(found, Held) else (yield from real(out, found, to))

    patch.set(tag_arbitration, "change", change)


@breaks("a challenger gives the owner time to defend")
def a_challenger_of_the_file_does_not_wait(patch: Patch) -> None:
    """A challenger takes the file as soon as its name stands in it."""
    real = tag_arbitration.hold

    def hold(
        out: Outbox, me: Owner, _: int, may_form: Callable[[Tag], bool], needed: Callable[[], bool]
    ) -> ShareSteps[tuple[Held, Seen | None, Instant]]:
        return real(out, me, 1, may_form, needed)

    patch.set(tag_arbitration, "hold", hold)


@breaks("the file is written only over the version that was read")
def the_file_is_written_over_any_version(patch: Patch) -> None:
    """The share carries out every write."""
    real = model_share.carried_out

    def carried_out(file: StoredFile, request: ShareRequest) -> tuple[StoredFile, ShareAnswer]:
        match request:
            case ReadFile():
                return real(file, request)
            case WriteFile(data, _):
                return real(file, WriteFile(data, file.tag))

    patch.set(sim_share, "carried_out", carried_out)


@breaks("the witness gives one vote in a term, and its term never falls")
def the_file_votes_again(patch: Patch) -> None:
    """A node that takes the file over forgets which vote stands there."""
    real = TagRecord.decode

    def decode(data: bytes) -> TagRecord | None:
        record = real(data)
        return record and record.voted(min(record.term, record.tag_term), record.vote)

    patch.set(tag_arbitration, "TagRecord", type("Forgetful", (TagRecord,), {"decode": staticmethod(decode)}))


TAG_WITNESS = (
    committed_without_raising_the_tag,
    the_tag_is_not_looked_at,
    an_unknown_write_to_the_file_is_taken_for_done,
    a_challenger_of_the_file_does_not_wait,
    the_file_is_written_over_any_version,
    the_file_votes_again,
)
