"""Challenge and defence of the disk witness against the real array: holders, challengers, lost answers, crashes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from hvcluster.model.scsi import Status
from hvcluster.model.vocabulary import BLOCK_BYTES, Incarnation, Instant, NodeId
from hvcluster.node.core.arbitration import Content, defend, hold, read, write
from hvcluster.node.core.disk_witness import DiskWitness
from hvcluster.node.core.genesis import founded
from hvcluster.node.core.node import NodeCore
from hvcluster.node.core.procedure import Steps
from hvcluster.node.core.witness import Held
from hvcluster.sim.labs import Plan
from tests.core.array_driver import LUN, Bench
from tests.core.scsi_steps import Life, Wire, holder, key, may_write, once, outbox, registrations, these

CHALLENGE_US = 7_000_000
ENOUGH = 40


def taker(bench: Bench, node: int, generation: int, *paths: str, needed: Sequence[bool] = (True,)) -> Life[Held]:
    """A node that wants to hold the witness. `needed`: what it answers when asked so, in turn; the last one stays."""
    up = these(*(paths or ("A",)))
    answers = list(needed)

    def still() -> bool:
        return answers.pop(0) if len(answers) > 1 else answers[0]

    def outcome() -> Steps[Held]:
        held, registered = yield from hold(outbox(node), up, LUN, key(generation, node), CHALLENGE_US, still)
        assert held is not Held.YES or registered
        return held

    return Life(bench, node, outcome())


def defender(bench: Bench, node: int, generation: int) -> Life[tuple[Held, Instant]]:
    """A holder that looks after its reservation."""
    return Life(bench, node, defend(outbox(node), these("A"), these("A"), LUN, key(generation, node)))


def held(bench: Bench, node: int, generation: int) -> None:
    """The node holds the witness."""
    assert taker(bench, node, generation).run() is Held.YES


def until_challenge(challenger: Life[Held]) -> None:
    """Go on until the challenger has to wait for the owner's defence."""
    while not challenger.waited:
        assert challenger.step()


@pytest.mark.conforms("disk-arbitration")
def test_a_witness_nobody_holds_is_taken_at_once() -> None:
    """Arbitration without a rival needs no wait."""
    bench = Bench()
    first = taker(bench, 1, 1)
    assert first.run() is Held.YES
    assert first.waited == []
    assert holder(bench) == {key(1, 1).encode()}


@pytest.mark.conforms("disk-arbitration")
def test_a_living_owner_defends_and_the_challenger_is_refused() -> None:
    """Consensus: the owner renews; losing is status 170."""
    bench = Bench()
    held(bench, 1, 1)
    challenger = taker(bench, 2, 2)
    until_challenge(challenger)
    assert challenger.waited == [CHALLENGE_US]
    assert defender(bench, 1, 1).run()[0] is Held.YES
    assert challenger.run() is Held.NO
    assert holder(bench) == {key(1, 1).encode()}
    assert not may_write(bench, 2)


@pytest.mark.conforms("disk-arbitration")
def test_an_owner_that_does_not_defend_is_preempted_after_the_wait() -> None:
    """Consensus: a challenger preempts only if the owner did not renew meanwhile."""
    bench = Bench()
    held(bench, 1, 1)
    challenger = taker(bench, 2, 2)
    assert challenger.run() is Held.YES
    assert challenger.waited == [CHALLENGE_US]
    assert registrations(bench) == {("b", "A", key(2, 2).encode())}
    assert not may_write(bench, 1)
    assert defender(bench, 1, 1).run()[0] is Held.NO


@pytest.mark.parametrize("needed", [[False], [True, False]], ids=["before the challenge", "in its wait"])
def test_a_candidate_that_hears_a_leader_challenges_nobody(needed: list[bool]) -> None:
    """Consensus: the vote of the witness is for candidates; its owner keeps it although it did not defend."""
    bench = Bench()
    held(bench, 1, 1)
    challenger = taker(bench, 2, 2, needed=needed)
    assert challenger.run() is Held.NEEDLESS
    assert len(challenger.waited) == len(needed) - 1
    assert holder(bench) == {key(1, 1).encode()}
    assert defender(bench, 1, 1).run()[0] is Held.YES
    assert registrations(bench) == {("a", "A", key(1, 1).encode())}


@pytest.mark.conforms("disk-arbitration")
def test_of_two_challengers_one_wins() -> None:
    """PREEMPT names the key it was challenging: for the second challenger that key is gone."""
    bench = Bench()
    held(bench, 1, 1)
    first, second = taker(bench, 2, 2), taker(bench, 3, 2)
    until_challenge(first)
    until_challenge(second)
    assert first.run() is Held.YES
    assert second.run() is Held.NO
    assert registrations(bench) == {("b", "A", key(2, 2).encode())}


def test_an_own_older_key_is_replaced_without_a_challenge() -> None:
    """A node need not wait for itself: its older hold was on a path that no longer answers."""
    bench = Bench()
    assert taker(bench, 1, 1, "A").run() is Held.YES
    again = taker(bench, 1, 2, "B")
    assert again.run() is Held.YES
    assert again.waited == []
    assert registrations(bench) == {("a", "B", key(2, 1).encode())}


@pytest.mark.parametrize("owned", [False, True])
@pytest.mark.parametrize("fate", [Wire.LOST, Wire.ANSWER_LOST])
def test_one_answer_lost_at_any_step_never_makes_a_false_holder(owned: bool, fate: Wire) -> None:
    """UNKNOWN is resolved by reading again: YES is said only by the one whom the array calls the holder."""
    for lost in range(ENOUGH):
        bench = Bench()
        if owned:
            held(bench, 1, 1)
        challenger = taker(bench, 2, 2)
        challenger.wire = once(lost, fate)
        outcome = challenger.run()
        if outcome is Held.YES:
            assert holder(bench) == {key(2, 2).encode()}, lost
        if owned:
            assert CHALLENGE_US in challenger.waited or holder(bench) == {key(1, 1).encode()}, lost
        if challenger.asked <= lost:
            assert outcome is Held.YES
            return
    pytest.fail("arbitration asks more questions than this test looks at")


def test_a_challenger_that_crashes_at_any_step_takes_nothing_from_a_living_owner() -> None:
    """What a crashed challenger left registered is removed by the next defence."""
    for crash in range(ENOUGH):
        bench = Bench()
        held(bench, 1, 1)
        crashed = taker(bench, 2, 2)
        steps = 0
        while steps < crash and not crashed.waited and crashed.step():
            steps += 1
        assert defender(bench, 1, 1).run()[0] is Held.YES
        assert registrations(bench) == {("a", "A", key(1, 1).encode())}
        if crashed.waited:
            return
    pytest.fail("arbitration has more steps than this test looks at")


def test_a_defence_without_an_answer_proves_nothing() -> None:
    """UNKNOWN is neither a lost witness nor a renewed lease."""
    bench = Bench()
    held(bench, 1, 1)
    deaf = defender(bench, 1, 1)
    deaf.wire = lambda _: Wire.LOST
    assert deaf.run()[0] is Held.NO_PATH


def test_a_defence_that_could_not_remove_a_challenger_proves_nothing() -> None:
    """A challenger that stays registered may preempt at the end of its wait: the lease must not be renewed."""
    bench = Bench()
    held(bench, 1, 1)
    until_challenge(taker(bench, 2, 2))
    weak = defender(bench, 1, 1)
    weak.wire = lambda at: Wire.WORKS if at == 0 else Wire.LOST
    assert weak.run()[0] is Held.NO_PATH


def test_a_blank_witness_reads_as_one_that_was_never_used() -> None:
    """A new witness LUN is all zeroes: no term, no vote, no image."""
    bench = Bench()
    held(bench, 1, 1)
    reader: Life[Content | None] = Life(bench, 1, read(these("A"), LUN))
    content = reader.run()
    assert content is not None
    assert content.snapshot is None
    assert (content.header.epoch, content.header.term) == (0, 0)


def test_what_is_not_a_witness_is_not_read_as_one() -> None:
    """A header that does not carry its checksum is nobody's vote."""
    bench = Bench()
    held(bench, 1, 1)
    bench.media[LUN][0:4] = b"junk"
    reader: Life[Content | None] = Life(bench, 1, read(these("A"), LUN))
    while reader.step():
        pass
    assert reader.result is None


def test_a_write_without_an_answer_is_not_repeated() -> None:
    """It may be stuck on its path and arrive later: the caller holds the witness anew, under another key."""
    bench = Bench()
    held(bench, 1, 1)
    writer: Life[Status] = Life(bench, 1, write(these("A", "B"), LUN, 0, bytes(BLOCK_BYTES)))
    writer.wire = lambda _: Wire.LOST
    assert writer.run() is Status.UNKNOWN
    assert len(writer.commands) == 1


def test_a_former_holder_cannot_write_the_witness() -> None:
    """The vote of a frozen holder, written late, meets RESERVATION CONFLICT."""
    bench = Bench()
    held(bench, 1, 1)
    assert taker(bench, 2, 2).run() is Held.YES
    writer: Life[Status] = Life(bench, 1, write(these("A"), LUN, 0, bytes(BLOCK_BYTES)))
    assert writer.run() is Status.RESERVATION_CONFLICT


def test_no_two_holds_have_the_same_key_whatever_life_and_term_they_are_of() -> None:
    """Decision 0006: a write that an older hold left stuck on a path meets a registration that is gone."""
    definition = Plan(nodes=2, vms=1).definition()
    saved = founded(definition, NodeId(1))
    keys = []
    for incarnation in (1, 2, 3):
        witness = NodeCore(definition, NodeId(1), replace(saved, incarnation=Incarnation(incarnation))).witness
        assert isinstance(witness, DiskWitness)
        for _ in range(3):
            witness._begin(Instant(0))
            witness._procedures.cancel("witness-hold")
            keys.append(witness._key)
    assert len(set(keys)) == 9
