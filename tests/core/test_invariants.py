"""The judge of real histories: it must see what must not happen, and nothing else."""

from __future__ import annotations

from hvcluster.model.definition import Extent
from hvcluster.model.invariants import (
    Executed,
    Recorded,
    one_leader_a_term,
    one_owner_a_generation,
    one_writer,
    one_writer_an_extent,
)
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


def test_a_write_into_blocks_that_another_node_has_claimed_is_found() -> None:
    """One writer on a volume: from the first write of the node that claimed an extent on, nobody else writes there."""
    extents, volumes = {"D1": (LunId(2), Extent(1, 9)), "D2": (LunId(2), Extent(10, 9))}, {LunId(2): "Volume1"}

    def write(node: int, lba: int) -> Executed:
        key = ReservationKey(Generation(5), NodeId(node)).encode()
        return Executed(LunId(2), "WRITE", f"node-{node}", key, lba)

    def judged(*rows: Executed) -> list[str]:
        return one_writer_an_extent(rows, extents, volumes)

    good = [write(1, 1), write(1, 2), write(2, 10), write(2, 11), write(1, 3), write(2, 1)]
    assert judged(*good, write(1, 4), write(2, 4)) == [], "until the new owner writes, the last one may"
    (found,) = judged(*good, write(2, 4), write(1, 5))
    assert "node 1 wrote to D1, which node 2 has" in found
    assert judged(write(1, 2)), "nobody has claimed it"
    assert judged(write(1, 0)), "block 0 is nobody's"
    assert judged(Executed(LunId(2), "WRITE", "stranger", None, 2))
    assert judged(Executed(LunId(3), "WRITE", "stranger", None, 2)) == [], "not a volume"
