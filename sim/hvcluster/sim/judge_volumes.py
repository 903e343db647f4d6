"""Judges Cluster Shared Volumes: whose writes are accepted into the blocks of a VM, and which keys outlive their VMs.

Law: as `judge_disks`, which knows what is in the blocks: looks at what the array executed. What a node may register is
judged by the database that it has applied, which is the cluster's, and not by what the node makes of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hvcluster.model.definition import Extent
from hvcluster.model.scsi import Nexus, Status
from hvcluster.model.vocabulary import BLOCK_BYTES, Generation, LunId, NodeId, ReservationKey
from hvcluster.node.core.claim import Claim
from hvcluster.node.core.journal import Tail, genesis
from hvcluster.san.core.effects import JournalEntry

if TYPE_CHECKING:
    from collections.abc import Callable

    from .judge import Broken
    from .world import World

_REGISTERS = "PERSISTENT RESERVE OUT REGISTER"


class JudgedDisk:
    """What the judge knows of one group's LUN."""

    __slots__ = (
        "acknowledged",
        "claimed",
        "claimed_at",
        "claims",
        "extent",
        "fence",
        "generations",
        "group",
        "handed",
        "keys",
        "online",
        "payloads",
        "registered",
        "reserved",
        "tails",
        "taken",
        "writer",
        "wrote",
    )

    def __init__(self, group: str, extent: Extent | None) -> None:
        self.group = group
        self.extent = extent
        self.claimed = 0  # the newest generation that claimed its extent
        self.claims: set[int] = set()  # generations that ever did
        self.claimed_at = 0  # when, counted in commands of its volume
        self.keys: dict[int, int] = {}  # keys under which it was written, each with the newest generation that did
        self.fence = 0
        self.online: set[int] = set()  # generations that had it for themselves
        self.handed = 0  # the newest generation whose paused VM was handed over
        self.tails: list[Tail] = [genesis(group)]
        self.payloads: list[bytes] = [b""]
        self.acknowledged = 0
        self.generations: set[Generation] = set()  # that wrote
        self.wrote: Generation | None = None  # of the records that are being written
        self.writer: NodeId | None = None  # who wrote them, by what they say
        self.reserved = False
        self.registered: dict[Nexus, int] = {}  # when, counted in commands of all LUNs
        self.taken: dict[str, int] = {}  # when an initiator last reserved or preempted


class JudgedVolume:
    """One volume, with the disks of VMs on it."""

    __slots__ = ("_broken", "_commands", "_counts", "_held", "_lun", "_refused", "_registered", "_world", "extents")

    def __init__(
        self,
        world: World,
        broken: Callable[[str], Broken],
        counts: dict[str, int],
        refused: set[str],
        lun: LunId,
    ) -> None:
        self._world = world
        self._broken = broken
        self._counts = counts
        self._refused = refused
        self._lun = lun
        self.extents: list[JudgedDisk] = []
        self._held = False
        self._commands = 0
        self._registered: dict[Nexus, int] = {}

    def journal(self, entry: JournalEntry) -> None:
        """The array executed or refused a command."""
        self._commands += 1
        if entry.command in ("WRITE", "COMPARE AND WRITE"):
            self._wrote(entry)
            return
        held = self._world.array.images[self._lun].holder is not None
        if self._held and not held:
            raise self._broken(f"{entry.command} by {entry.nexus} left LUN {self._lun} without a holder")
        self._held = held
        if entry.status is Status.GOOD and entry.command.startswith(_REGISTERS) and entry.service_key:
            self._registered[entry.nexus] = self._commands
            self._registers(ReservationKey.decode(entry.service_key))

    def _wrote(self, entry: JournalEntry) -> None:
        if entry.status is Status.RESERVATION_CONFLICT:
            self._refused.add(entry.nexus.initiator)
            self._counts["refused writes"] = self._counts.get("refused writes", 0) + 1
        if entry.status is not Status.GOOD:
            return
        disk = self._at(entry.lba)
        if disk.extent is not None and entry.lba == disk.extent.first:
            disk.claimed_at = self._commands
        wrote, disk.wrote = disk.wrote, None
        key = ReservationKey.decode(entry.key) if entry.key is not None else None
        if key is None or entry.key is None or not self._held:
            raise self._broken(f"a write to {disk.group} was accepted from {entry.nexus} without a registration")
        if wrote is None:
            return
        if wrote < disk.fence:
            raise self._broken(
                f"a write of generation {wrote} to {disk.group} was accepted from node {key.node} "
                f"after generation {disk.fence} had its extent for itself"
            )
        if key.node != disk.writer:
            raise self._broken(f"node {key.node} wrote to {disk.group} what says that it is of node {disk.writer}")
        disk.keys[entry.key] = wrote

    def _registers(self, key: ReservationKey | None) -> None:
        """A node takes its newest number only once the VMs are off that the same database gives to somebody else."""
        machine = self._world.machines.get(key.node) if key is not None else None
        if machine is None or key is None or not machine.alive:
            return
        database = machine.core.replica.get()
        if database.members[key.node].admission != key.generation:
            return
        for disk in self.extents:
            sim, group = machine.guests.get(disk.group), database.groups.get(disk.group)
            if sim is not None and group is not None and sim.generation < group.generation:
                raise self._broken(
                    f"node {key.node} is registered anew, as number {key.generation}, while its VM of generation "
                    f"{sim.generation} of {disk.group} runs, which is now generation {group.generation}"
                )

    def online(self, disk: JudgedDisk, generation: int) -> None:
        """A generation has claimed its extent and has it for itself: no key is left under which an older one wrote."""
        if generation not in disk.claims:
            raise self._broken(
                f"generation {generation} of {disk.group} has not claimed the extent that it says it has"
            )
        for nexus, key in self._world.array.images[self._lun].registrations:
            wrote = disk.keys.get(key)
            if wrote is not None and wrote < disk.fence and self._registered.get(nexus, 0) < disk.claimed_at:
                raise self._broken(
                    f"{disk.group} is online under generation {disk.fence}, but {nexus} is still registered with "
                    f"key {key:016x}, under which generation {wrote} wrote"
                )

    def written(self, lba: int, data: bytes) -> JudgedDisk:
        """Blocks are about to be written: those of one VM, or its claim."""
        disk = self._at(lba)
        assert disk.extent is not None, "found by its extent"
        if lba + len(data) // BLOCK_BYTES > disk.extent.end:
            raise self._broken(f"a write to {disk.group} reaches into blocks that are not its own")
        if lba == disk.extent.first:
            claim = Claim.decode(data)
            if claim is None or claim.vm != disk.tails[0].vm or claim.generation <= disk.claimed:
                raise self._broken(f"{claim} was written over the claim of generation {disk.claimed} of {disk.group}")
            disk.claimed = claim.generation
            disk.claims.add(claim.generation)
        return disk

    def _at(self, lba: int) -> JudgedDisk:
        for disk in self.extents:
            if disk.extent is not None and disk.extent.first <= lba < disk.extent.end:
                return disk
        raise self._broken(f"block {lba} of LUN {self._lun}, which belongs to no VM, was written")
