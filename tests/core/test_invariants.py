"""The judge of real histories: it must see what must not happen, and nothing else."""

from __future__ import annotations

from hvcluster.model.invariants import Executed, Recorded, one_leader_a_term, one_owner_a_generation, one_writer
from hvcluster.model.vocabulary import Generation, LunId, NodeId, ReservationKey

D1 = {LunId(2): "D1"}


def command(name: str, generation: int, node: int) -> Executed:
    """A command executed on LUN 2 under a registered key."""
    key = ReservationKey(Generation(generation), NodeId(node)).encode()
    return Executed(LunId(2), name, f"node-{node}", key)


def test_writes_of_rising_generations_are_in_order() -> None:
    """One writer: a takeover and writes of the new generation are what should be."""
    history = [
        command("PERSISTENT RESERVE OUT RESERVE", 1, 1),
        command("WRITE", 1, 1),
        command("PERSISTENT RESERVE OUT PREEMPT", 2, 2),
        command("WRITE", 2, 2),
    ]
    assert one_writer(history, D1) == []


def test_a_late_write_of_an_older_generation_is_found() -> None:
    """One writer: nothing of an older generation is executed after a preempt."""
    history = [command("PERSISTENT RESERVE OUT PREEMPT", 2, 2), command("WRITE", 1, 1)]
    (found,) = one_writer(history, D1)
    assert "generation 1" in found
    assert "node-1" in found


def test_a_write_without_a_registration_is_found() -> None:
    """One writer: the array must not execute writes of strangers."""
    assert one_writer([Executed(LunId(2), "WRITE", "stranger", None)], D1)
    assert one_writer([Executed(LunId(1), "WRITE", "stranger", None)], D1) == [], "not a group's LUN"


def test_two_leaders_of_a_term_are_found() -> None:
    """Election safety."""
    facts = [Recorded("LEADER_ELECTED", NodeId(node), "votes", {"term": "4"}) for node in (1, 2)]
    assert one_leader_a_term(facts)
    assert one_leader_a_term(facts[:1] * 2) == []


def test_a_generation_with_two_owners_or_without_a_reason_is_found() -> None:
    """Every change of owner has one owner and a reason."""

    def assigned(owner: str, reason: str = "fewest groups", candidates: str = "1,2") -> Recorded:
        about = {"group": "D1", "generation": "3", "owner": owner, "candidates": candidates}
        return Recorded("GROUP_ASSIGNED", NodeId(1), reason, about)

    assert one_owner_a_generation([assigned("1"), assigned("1")]) == []
    assert one_owner_a_generation([assigned("1"), assigned("2")])
    assert one_owner_a_generation([assigned("1", reason="")])
    assert one_owner_a_generation([assigned("3")])
