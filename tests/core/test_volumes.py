"""Keys and claims on a Cluster Shared Volume, against the real array: who gets a key, who loses it, who may start."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hvcluster.model.definition import Extent
from hvcluster.model.scsi import Nexus, PersistentReserveOut, Read, ReserveOut, Status
from hvcluster.model.vocabulary import Generation, Incarnation, NodeId, PathName, StoreId
from hvcluster.node.core.claim import Claim, claim_for, stake
from hvcluster.node.core.commands import AssignGroup, AssignVolume, ForceQuorum, NodeUp
from hvcluster.node.core.coordinators import coordinators
from hvcluster.node.core.database import Database, Image, Member, Volume
from hvcluster.node.core.disk import DiskOutcome
from hvcluster.node.core.procedure import Steps
from hvcluster.node.core.volume_disk import GRACE_ROUNDS, Standing, Wanted, bring_extent_online
from hvcluster.node.core.volume_keys import Adopted, Known, Whose, adopt, whose
from hvcluster.sim.labs import Plan
from tests.core.array_driver import LUN, Bench, nexus
from tests.core.scsi_steps import Life, Wire, holder, initiator, key, may_write, once, outbox, registrations, these

EXTENT = Extent(8, 16)


def database(*admissions: int, down: tuple[int, ...] = ()) -> Database:
    """Nodes 1, 2, ... with these numbers."""
    members = tuple(
        Member(NodeId(n), f"N{n}", 1, StoreId(n), Incarnation(1), n not in down, False, admission=Generation(number))
        for n, number in enumerate(admissions, 1)
    )
    return Database(Image(members, (), False, False))


def join(
    bench: Bench, node: int, number: int, *paths: str, known: Known | None = None, idle: bool = True
) -> tuple[Adopted, Known]:
    """A node brings its key to the volume."""
    mine = key(number, node).encode()
    known = {} if known is None else known
    steps = adopt(known, these(*(paths or ("A",))), initiator(node), LUN, mine, lambda: idle)
    return Life(bench, node, steps).run()[0], known


def start(bench: Bench, node: int, generation: int, says: Database, *paths: str) -> Life[DiskOutcome]:
    """A node on its way to have D1's extent, as its database has it."""
    ports = tuple(PathName(path) for path in paths or ("A",))
    at = Standing(key(says.members[NodeId(node)].admission, node).encode(), ports)
    claim = claim_for("D1", Generation(generation), NodeId(node))
    wanted = Wanted("D1", key(generation, node), LUN, EXTENT, claim)

    def judge(one: int) -> Whose:
        return whose(says, NodeId(node), one)

    def outcome() -> Steps[DiskOutcome]:
        return (yield from bring_extent_online(outbox(node), wanted, initiator(node), lambda: at, judge))[0]

    return Life(bench, node, outcome())


def test_every_member_is_registered_and_one_holds_the_volume() -> None:
    """CSV: all nodes are registrants and write directly; type 5 lets them."""
    bench = Bench()
    assert join(bench, 1, 1, "A", "B")[0] is Adopted.DONE
    assert join(bench, 2, 1)[0] is Adopted.DONE
    one, two = key(1, 1).encode(), key(1, 2).encode()
    assert registrations(bench) == {("a", "A", one), ("a", "B", one), ("b", "A", two)}
    assert holder(bench) == {one}
    assert may_write(bench, 1, ("B",))
    assert may_write(bench, 2)


def test_a_vm_starts_beside_other_members_and_after_the_dead_are_removed() -> None:
    """Decision 0016: members stay registered; whoever is none is preempted, and a holder's reservation moves."""
    bench = Bench()
    for node in (1, 2, 3):
        join(bench, node, 1)
    assert holder(bench) == {key(1, 1).encode()}
    assert start(bench, 2, 2, database(1, 1, 1, down=(1,))).run() is DiskOutcome.ONLINE
    assert registrations(bench) == {("b", "A", key(1, 2).encode()), ("c", "A", key(1, 3).encode())}
    assert holder(bench) == {key(1, 2).encode()}
    assert not may_write(bench, 1)


def test_a_member_that_lost_a_vm_has_a_moment_to_change_its_key() -> None:
    """Its other VMs on the volume must not be fenced along, if it is there to change it."""
    bench = Bench()
    _, known = join(bench, 1, 1)
    join(bench, 2, 1)
    taking = start(bench, 2, 2, database(2, 1))
    while len(taking.waited) < 3:
        assert taking.step()
    assert registrations(bench) == {("a", "A", key(1, 1).encode()), ("b", "A", key(1, 2).encode())}
    assert join(bench, 1, 2, known=known, idle=False)[0] is Adopted.DONE
    assert taking.run() is DiskOutcome.ONLINE
    assert may_write(bench, 1)


def test_a_member_that_does_not_change_its_key_is_fenced() -> None:
    """It may have a write of the lost VM in hand."""
    bench = Bench()
    join(bench, 1, 1)
    join(bench, 2, 1)
    taking = start(bench, 2, 2, database(2, 1))
    assert taking.run() is DiskOutcome.ONLINE
    assert len(taking.waited) == GRACE_ROUNDS
    assert not may_write(bench, 1)


def test_a_key_that_was_preempted_does_not_come_back_while_vms_run() -> None:
    """A node that slept through its removal finds out, and registers anew only once its VMs are off."""
    bench = Bench()
    _, known = join(bench, 1, 1)
    join(bench, 2, 1)
    assert start(bench, 2, 2, database(1, 1, down=(1,))).run() is DiskOutcome.ONLINE
    assert join(bench, 1, 2, "A", "B", known=known, idle=False)[0] is Adopted.LOST
    assert not may_write(bench, 1, ("A", "B"))
    assert join(bench, 1, 2, "A", "B", known=known)[0] is Adopted.DONE
    assert may_write(bench, 1, ("A", "B"))


def test_a_path_is_added_only_beside_one_that_never_lost_the_key() -> None:
    """A registration on a new path alone would prove nothing."""
    bench = Bench()
    _, known = join(bench, 1, 1, "A")
    assert join(bench, 1, 1, "A", "B", known=known, idle=False)[0] is Adopted.DONE
    assert sorted(known) == ["A", "B"]
    bench.ask(
        nexus("a", "A"),
        PersistentReserveOut(ReserveOut.REGISTER_AND_IGNORE_EXISTING_KEY, service_key=key(9, 1).encode()),
    )
    bench.ask(
        nexus("a", "B"),
        PersistentReserveOut(ReserveOut.REGISTER_AND_IGNORE_EXISTING_KEY, service_key=key(9, 1).encode()),
    )
    assert join(bench, 1, 1, "C", known=known, idle=False)[0] is Adopted.LOST


def test_a_swap_without_an_answer_is_resolved_by_reading() -> None:
    """UNKNOWN is never assumed: the key is the old or the new one, and reading tells which."""
    for fate in (Wire.LOST, Wire.ANSWER_LOST):
        bench = Bench()
        _, known = join(bench, 1, 1)
        mine = key(2, 1).encode()
        steps = adopt(known, these("A"), initiator(1), LUN, mine, lambda: False)
        assert Life(bench, 1, steps, once(1, fate)).run()[0] is Adopted.PARTLY
        assert join(bench, 1, 2, known=known, idle=False)[0] is Adopted.DONE
        assert registrations(bench) == {("a", "A", mine)}


def test_an_older_assignment_starts_nothing() -> None:
    """Decision 0016: a claim only ever rises, so whoever wakes up with an old database is superseded."""
    bench = Bench()
    join(bench, 1, 1)
    join(bench, 2, 1)
    assert start(bench, 2, 2, database(1, 1)).run() is DiskOutcome.ONLINE
    assert start(bench, 1, 1, database(1, 1)).run() is DiskOutcome.SUPERSEDED


def test_a_claim_is_written_once_and_found_again() -> None:
    """COMPARE AND WRITE without an answer: what is there tells whether it was carried out."""
    bench = Bench()
    join(bench, 1, 1)
    claim = claim_for("D1", Generation(1), NodeId(1))
    unanswered = Life(bench, 1, stake(PathName("A"), LUN, EXTENT.first, claim), once(1, Wire.ANSWER_LOST))
    while unanswered.step():
        pass
    assert unanswered.result is None
    assert Life(bench, 1, stake(PathName("A"), LUN, EXTENT.first, claim)).run() == "ours"
    block = bench.ask(nexus("a"), Read(EXTENT.first, 1)).payload
    assert isinstance(block, bytes)
    assert Claim.decode(block) == claim
    assert Claim.decode(block[:-1] + b"!") is None


def test_blocks_of_another_vm_are_not_claimed() -> None:
    """An extent that holds something else is a mistake in the lab, not a disk to take."""
    bench = Bench()
    join(bench, 1, 1)
    assert start(bench, 1, 1, database(1)).run() is DiskOutcome.ONLINE
    other = stake(PathName("A"), LUN, EXTENT.first, claim_for("D2", Generation(7), NodeId(1)))
    assert Life(bench, 1, other).run() == "foreign"


def test_a_node_without_a_key_brings_nothing_online() -> None:
    """The write of its claim is refused already, and it has to register first."""
    bench = Bench()
    join(bench, 2, 1)
    assert start(bench, 1, 1, database(1, 1)).run() is DiskOutcome.CONTENDED
    assert registrations(bench) == {("b", "A", key(1, 2).encode())}


def test_keys_of_other_software_are_left_alone() -> None:
    """Whatever registered them, this cluster does not know what it does."""
    bench = Bench()
    join(bench, 1, 1)
    bench.ask(nexus("c"), PersistentReserveOut(ReserveOut.REGISTER_AND_IGNORE_EXISTING_KEY, service_key=0xABCD))
    assert start(bench, 1, 1, database(1)).run() is DiskOutcome.FOREIGN


@pytest.mark.parametrize(
    ("number", "down", "verdict"),
    [
        (4, False, Whose.LATE),
        (5, False, Whose.MEMBER),
        (6, False, Whose.MEMBER),
        (5, True, Whose.STALE),
        (6, True, Whose.MEMBER),
    ],
)
def test_a_key_is_judged_by_the_number_that_the_database_has(number: int, down: bool, verdict: Whose) -> None:
    """A higher number is that of a newer database; a node that is down has none that counts."""
    says = database(1, 5, down=(2,) if down else ())
    assert whose(says, NodeId(1), key(number, 2).encode()) is verdict
    assert whose(says, NodeId(1), key(1, 1).encode()) is Whose.MINE
    assert whose(says, NodeId(1), key(0, 1).encode()) is Whose.STALE
    assert whose(says, NodeId(1), key(1, 9).encode()) is Whose.STALE


def test_an_assignment_and_a_new_life_give_a_node_another_number() -> None:
    """Decision 0016: a key never outlives a VM that wrote under it, nor a life of its node."""
    plan = replace(Plan(nodes=2, vms=2, volumes=1), on_volumes=1)
    world = Database.created(plan.definition())
    world.apply(NodeUp(NodeId(1), Incarnation(1), StoreId(1)))
    assert world.members[NodeId(1)].admission == 1

    def assign(group: str, seen: int) -> bool:
        return world.apply(AssignGroup(group, Generation(seen), NodeId(1), "", (), "", 0, 0))

    assert assign("D1", 0)
    assert world.members[NodeId(1)].admission == 1, "nobody ran it before"
    assert assign("D1", 1)
    assert assign("D2", 0)
    assert world.members[NodeId(1)].admission == 2, "D2 has a LUN of its own"
    world.apply(NodeUp(NodeId(1), Incarnation(2), StoreId(1)))
    assert world.members[NodeId(1)].admission == 3
    world.apply(ForceQuorum(64, "forced"))
    assert world.members[NodeId(1)].admission > 1 << 18


def test_extents_meet_where_they_share_a_block() -> None:
    """The lab file lays them one behind the other."""
    assert not Extent(1, 4).meets(Extent(5, 4))
    assert Extent(1, 5).meets(Extent(5, 4))
    assert (Extent(1, 4).disk_first, Extent(1, 4).disk_blocks, Extent(1, 4).end) == (2, 3, 5)


def test_the_bench_knows_what_a_refusal_is() -> None:
    """A node without a key is refused where somebody holds the volume."""
    bench = Bench()
    join(bench, 1, 1)
    assert not may_write(bench, 2)
    assert bench.ask(Nexus("b", PathName("A")), Read(0, 1)).status is Status.GOOD


def planned(made: Database, *able: int, balances: bool = True) -> list[tuple[str, int]]:
    """What is proposed, carried out."""
    commands = coordinators(made, [NodeId(n) for n in able], balances)
    assert all(made.apply(command) for command in commands)
    return [(command.volume, int(command.owner)) for command in commands]


@pytest.mark.conforms("csv-distribution")
def test_coordinators_are_dealt_out_evenly_and_fail_over() -> None:
    """5.4: one coordinator per volume; spread evenly, and rebalanced when a node joins (2012 R2 and later)."""
    volumes = tuple(Volume(f"Volume{n}") for n in range(1, 5))
    made = database(1, 1, 1)
    made.volumes.update({volume.name: volume for volume in volumes})
    assert planned(made) == [], "nobody is able"
    assert planned(made, 1, 2) == [("Volume1", 1), ("Volume2", 2), ("Volume3", 1), ("Volume4", 2)]
    assert planned(made, 1, 2) == []
    assert planned(made, 1, 3) == [("Volume2", 3), ("Volume4", 3)]
    assert planned(made, 3) == [("Volume1", 3), ("Volume3", 3)]
    assert planned(made, 1, 3, balances=False) == [], "2012 and older leave them where they are"
    assert planned(made, 1, 3) == [("Volume1", 1)]
    assert planned(made, 1, 3) == [("Volume2", 1)]
    assert planned(made, 1, 3) == [], "even"
    assert not made.apply(AssignVolume("Volume1", 0, NodeId(1), "late"))
    assert Database.decode(made.encode()).volumes == made.volumes
