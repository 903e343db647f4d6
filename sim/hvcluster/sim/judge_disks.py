"""Judges the groups' LUNs: one writer, one chain, one life a generation, and reservations that are never let go.

Law: looks at what the array executed and at what guests were told; never asks a node what it believes.
"""

from __future__ import annotations

from mmap import mmap
from typing import TYPE_CHECKING

from hvcluster.model.definition import initiator_name
from hvcluster.model.facts import Fact
from hvcluster.model.scsi import Status
from hvcluster.model.vocabulary import BLOCK_BYTES, Generation, LunId, NodeId, ReservationKey
from hvcluster.node.core.effects import StartVm
from hvcluster.node.core.journal import JOURNAL_LBA, decode, follow_problem, tail_after
from hvcluster.san.core.effects import JournalEntry

from .judge_volumes import JudgedDisk, JudgedVolume

if TYPE_CHECKING:
    from collections.abc import Callable

    from .guests import SimGuest
    from .judge import Broken
    from .machines import Machine
    from .world import World

_OUT = "PERSISTENT RESERVE OUT "
_REGISTERS = frozenset((_OUT + "REGISTER", _OUT + "REGISTER AND IGNORE EXISTING KEY"))
_TAKES = frozenset((_OUT + "RESERVE", _OUT + "PREEMPT", _OUT + "PREEMPT AND ABORT"))


class Disks:
    """All groups' LUNs of one world."""

    def __init__(
        self, world: World, broken: Callable[[str], Broken], counts: dict[str, int], refused: set[str]
    ) -> None:
        self._world = world
        self._broken = broken
        self._counts = counts
        self._refused = refused
        groups = world.definition.groups
        self._by_group = {group.name: JudgedDisk(group.name, group.extent) for group in groups}
        self._disks = {group.lun: self._by_group[group.name] for group in groups if group.extent is None}
        self._volumes = {
            volume.lun: JudgedVolume(world, broken, counts, refused, volume.lun) for volume in world.definition.volumes
        }
        for group in groups:
            if group.extent is not None:
                self._volumes[group.lun].extents.append(self._by_group[group.name])
        self._lives: dict[tuple[str, int], NodeId] = {}
        self._ended: set[tuple[str, int]] = set()
        self._commands = 0

    # one writer

    def journal(self, entry: JournalEntry) -> None:
        """The array executed or refused a command."""
        if entry.lun in self._volumes:
            self._volumes[entry.lun].journal(entry)
            return
        disk = self._disks.get(entry.lun)
        if disk is None:
            return
        if entry.command in ("WRITE", "COMPARE AND WRITE"):
            self._written(disk, entry)
        elif entry.status is Status.GOOD:
            self._reserved(disk, entry)

    def _written(self, disk: JudgedDisk, entry: JournalEntry) -> None:
        wrote, disk.wrote = disk.wrote, None
        if entry.status is Status.RESERVATION_CONFLICT:
            self._refused.add(entry.nexus.initiator)
            self._counts["refused writes"] = self._counts.get("refused writes", 0) + 1
        if entry.status is not Status.GOOD:
            return
        key = ReservationKey.decode(entry.key) if entry.key is not None else None
        if key is None:
            raise self._broken(f"a write to {disk.group} was accepted from {entry.nexus}, which is not registered")
        if key.generation < disk.fence:
            raise self._broken(
                f"a write to {disk.group} was accepted from generation {key.generation} (node {key.node}) "
                f"after generation {disk.fence} had completed step 5"
            )
        if wrote is not None and wrote != key.generation:
            raise self._broken(
                f"a record of generation {wrote} of {disk.group} was written under the registration of generation "
                f"{key.generation} (node {key.node})"
            )

    # reservations

    def _reserved(self, disk: JudgedDisk, entry: JournalEntry) -> None:
        """A PERSISTENT RESERVE OUT was carried out."""
        self._commands += 1
        nexus = entry.nexus
        if entry.command in _REGISTERS and entry.service_key:
            disk.registered[nexus] = self._commands
            self._registers(disk, ReservationKey.decode(entry.service_key))
        elif entry.command in _TAKES:
            disk.taken[nexus.initiator] = self._commands
            self._takes(disk, entry)
        held = self._world.array.images[entry.lun].holder is not None
        if disk.reserved and not held:
            raise self._broken(f"{entry.command} by {nexus} left {disk.group} without a holder: anybody may write")
        disk.reserved = held

    def _registers(self, disk: JudgedDisk, key: ReservationKey | None) -> None:
        """Step 1 before step 2: whoever registers runs no older VM of the group."""
        machine = self._world.machines.get(key.node) if key is not None else None
        sim = machine.guests.get(disk.group) if machine is not None else None
        if key is not None and sim is not None and sim.generation < key.generation:
            raise self._broken(
                f"node {key.node} registered generation {key.generation} of {disk.group} "
                f"while its VM of generation {sim.generation} runs"
            )

    def _takes(self, disk: JudgedDisk, entry: JournalEntry) -> None:
        """Step 3 before steps 4 and 5: nobody takes a disk that a newer generation has, or is taking."""
        key = ReservationKey.decode(entry.key) if entry.key is not None else None
        victim = ReservationKey.decode(entry.service_key) if entry.service_key else None
        if key is None:
            return
        if key.generation < disk.fence:
            raise self._broken(
                f"generation {key.generation} (node {key.node}) took {disk.group} "
                f"after generation {disk.fence} had completed step 5"
            )
        if victim is not None and victim.generation > key.generation:
            raise self._broken(
                f"generation {key.generation} (node {key.node}) of {disk.group} preempted generation "
                f"{victim.generation} (node {victim.node})"
            )

    def online(self, fact: Fact) -> None:
        """A node says that a disk is reserved for it alone: whoever was registered before its last step is gone."""
        disk = self._by_group[str(fact.get("group"))]
        generation = int(fact.get("generation") or 0)
        disk.fence = max(disk.fence, generation)
        disk.online.add(generation)
        if disk.extent is not None:
            self._volumes[LunId(int(fact.get("lun") or 0))].online(disk, generation)
            return
        mine = ReservationKey(Generation(generation), fact.node).encode()
        initiator = initiator_name(self._world.definition.node_name(fact.node))
        taken = disk.taken.get(initiator, 0)
        for nexus, key in self._world.array.images[LunId(int(fact.get("lun") or 0))].registrations:
            ours = nexus.initiator == initiator and key == mine
            if not ours and disk.registered.get(nexus, 0) < taken:
                raise self._broken(
                    f"{disk.group} is online on node {fact.node} under generation {generation}, "
                    f"but {nexus} is still registered with key {key:016x}"
                )

    # one chain

    def written(self, lun: LunId, lba: int, data: bytes, medium: mmap) -> None:
        """Blocks are about to be written."""
        blocks = len(medium) // BLOCK_BYTES
        if lun in self._volumes:
            disk = self._volumes[lun].written(lba, data)
            disk.wrote = None
            assert disk.extent is not None, "found by its extent"
            if lba == disk.extent.first:
                return
            lba, blocks = lba - disk.extent.disk_first, disk.extent.disk_blocks
        elif lun in self._disks:
            disk = self._disks[lun]
        else:
            return
        disk.wrote = None
        for at in range(0, len(data), BLOCK_BYTES):
            block = lba + at // BLOCK_BYTES
            if block < JOURNAL_LBA or block + 1 >= blocks:
                continue
            self._record(disk, block - JOURNAL_LBA + 1, data[at : at + BLOCK_BYTES])

    def _record(self, disk: JudgedDisk, sequence: int, block: bytes) -> None:
        record = decode(block)
        if record is None:
            raise self._broken(f"what was written to {disk.group} as record {sequence} is not a record")
        disk.wrote, disk.writer = record.generation, record.node
        disk.generations.add(record.generation)
        if sequence < len(disk.tails):
            if disk.tails[sequence] == tail_after(record):
                return
            if sequence <= disk.acknowledged:
                raise self._broken(f"acknowledged record {sequence} of {disk.group} was overwritten by another")
            del disk.tails[sequence:]
            del disk.payloads[sequence:]
        if record.generation <= disk.handed:
            raise self._broken(
                f"generation {record.generation} of {disk.group} wrote record {sequence} "
                f"after it was handed over to generation {disk.handed + 1}"
            )
        if sequence > len(disk.tails):
            raise self._broken(f"record {sequence} of {disk.group} follows a gap after {len(disk.tails) - 1}")
        problem = follow_problem(disk.tails[-1], record)
        if problem is not None:
            raise self._broken(f"record {sequence} of {disk.group} breaks the chain: {problem}")
        disk.tails.append(tail_after(record))
        disk.payloads.append(record.payload)

    def acknowledged(self, group: str, sequence: int, payload: bytes) -> None:
        """A client was told that its record is on the LUN."""
        disk = self._by_group[group]
        if sequence >= len(disk.tails) or disk.payloads[sequence] != payload:
            raise self._broken(f"record {sequence} of {group} was acknowledged but is not on the LUN")
        disk.acknowledged = max(disk.acknowledged, sequence)

    # one life

    def vm_started(self, machine: Machine, start: StartVm) -> None:
        """A VM boots: a generation has one life, on one node, after its disk was reserved for it.

        A newer generation may have its disk by then: a node that was frozen between the two goes on where it was, and
        the array refuses what its VM writes.
        """
        life = (start.group, start.generation)
        if life in self._lives:
            raise self._broken(f"generation {start.generation} of {start.group} boots on node {machine.node} again")
        self._lives[life] = machine.node
        if start.generation not in self._by_group[start.group].online:
            raise self._broken(
                f"generation {start.generation} of {start.group} starts on node {machine.node} "
                "before its disk is reserved for it"
            )

    def handed_over(self, fact: Fact) -> None:
        """The database gives a paused VM to a new owner: its old one has written its last record."""
        if not fact.get("resumes"):
            return
        disk = self._by_group[str(fact.get("group"))]
        disk.handed = max(disk.handed, int(fact.get("generation") or 0) - 1)
        for machine in self._world.machines.values():
            sim = machine.guests.get(disk.group)
            if sim is not None and sim.generation == disk.handed and sim.guest.serves and not sim.guest.paused:
                raise self._broken(f"{disk.group} is handed over, and its VM still runs on node {machine.node}")

    def paused(self, sim: SimGuest) -> None:
        """A VM says that it is paused."""
        if not sim.guest.paused:
            raise self._broken(f"{sim.group} says that it is paused, with a write under way")

    def continued(self, group: str, generation: Generation) -> None:
        """A paused VM goes on where it was."""
        if generation <= self._by_group[group].handed:
            raise self._broken(f"generation {generation} of {group} goes on after it was handed over")

    def ended(self, group: str, generation: Generation) -> None:
        """An owner reports that a generation is over."""
        self._ended.add((group, generation))

    def begun(self, fact: Fact) -> None:
        """A node begins to bring a disk online: not for a generation that it has reported as over."""
        life = (str(fact.get("group")), int(fact.get("generation") or 0))
        if life in self._ended:
            raise self._broken(f"node {fact.node} begins generation {life[1]} of {life[0]} again, which is over")

    def has_booted(self, group: str, generation: Generation) -> bool:
        """Whether a generation has left a record on its disk: the first one is that of its boot."""
        if self._world.judge.roles.has_disk(group, generation):
            return True
        return generation in self._by_group[group].generations
