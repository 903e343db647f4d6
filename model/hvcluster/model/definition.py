"""What a cluster is made of when it is created: the one document that a lab hands to every node and to the judge.

Law: shapes, and their JSON form. Where processes listen is not part of a cluster's definition.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Final

from .policy import AffinityRule, GroupSet, Policy
from .properties import Properties
from .resources import ResourceDefinition
from .vocabulary import LunId, NodeId, PathName, StoreId

EXTENT_BLOCKS: Final = 2_049
"""Of a VM on a volume that nobody gave a size: a claim, and 1 MiB for the VHD."""

NETWORK_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._ -]{0,31}")
"""Of a network of VMs."""


@dataclass(frozen=True, slots=True)
class NodeDefinition:
    """One node of the cluster. `weight` is NodeWeight: 0 takes its vote away for good. `site`, `rack`, `chassis`: its
    fault domains, "" for none.

    `memory_mb`: what its VMs may use together; 0: nobody counts. `processors`: how many logical processors it has; 0:
    nobody counts, and they are counted for balancing alone. `outside`: its machine is there, and it does not belong to
    the cluster until it is added.
    """

    id: NodeId
    name: str
    weight: int = 1
    site: str = ""
    memory_mb: int = 0
    processors: int = 0
    rack: str = ""
    chassis: str = ""
    outside: bool = False

    @property
    def place(self) -> tuple[str, str, str]:
        """Where it stands: what else fails with it."""
        return self.site, self.rack, self.chassis


@dataclass(frozen=True, slots=True)
class Extent:
    """Which blocks of a volume belong to one VM: from `first` on, `blocks` of 512 bytes.

    The first of them says which generation may use the others; the VHD begins behind it.
    """

    first: int
    blocks: int

    @property
    def disk_first(self) -> int:
        """The first block of the VHD."""
        return self.first + 1

    @property
    def disk_blocks(self) -> int:
        """How many blocks the VHD has."""
        return self.blocks - 1

    @property
    def end(self) -> int:
        """The first block behind it."""
        return self.first + self.blocks

    def meets(self, other: Extent) -> bool:
        """Whether two extents of one volume have a block in common."""
        return self.first < other.end and other.first < self.end


@dataclass(frozen=True, slots=True)
class VolumeDefinition:
    """A Cluster Shared Volume: a LUN that every node writes to, with the VHDs of several VMs."""

    name: str
    lun: LunId


@dataclass(frozen=True, slots=True)
class GroupDefinition:
    """One role: its Physical Disk is the LUN. A VM, whose VHD lies on it, or `resources`. Empty `possible` means every
    node.

    `extent`: the LUN is a Cluster Shared Volume, and the VHD lies in these blocks of it; None: it has the LUN alone.

    `resiliency_period_ms`: ResiliencyPeriod, None for what the cluster says.
    `active_mb`: how much of its memory it uses, for pages that are empty are not migrated. `dirty_mb_per_s`: how much
    of that it changes in a second, which a live migration has to send again. `processor_load`: what it keeps busy, in
    percent of one logical processor. `network`: what its virtual network card is on, "" where nobody asks.
    """

    name: str
    lun: LunId
    preferred: tuple[NodeId, ...] = ()
    possible: tuple[NodeId, ...] = ()
    owner: NodeId | None = None
    boot_delay_ms: int = 1000
    policy: Policy = field(default_factory=Policy)
    memory_mb: int = 1024
    resiliency_period_ms: int | None = None
    active_mb: int = 64
    dirty_mb_per_s: int = 8
    resources: tuple[ResourceDefinition, ...] = ()
    extent: Extent | None = None
    processor_load: int = 0
    network: str = ""

    def may_run_on(self, node: NodeId) -> bool:
        """Whether a node is among the possible owners."""
        return not self.possible or node in self.possible

    def meets(self, other: GroupDefinition) -> bool:
        """Whether two VMs would share a block."""
        if self.lun != other.lun:
            return False
        return self.extent is None or other.extent is None or self.extent.meets(other.extent)


class TagWitnessKind(Enum):
    """A witness that keeps a tag instead of a database."""

    FILE_SHARE = "file-share"
    CLOUD = "cloud"


@dataclass(frozen=True, slots=True)
class ClusterDefinition:
    """The cluster as `New-Cluster` makes it. `id` tells two clusters of one name apart on shared wires.

    `preferred_site`: whose nodes keep their votes where votes are even, "" for none.
    It has a disk witness (`witness_lun`), a file share or cloud witness (`tag_witness`), or none.
    """

    name: str
    id: str
    nodes: tuple[NodeDefinition, ...]
    groups: tuple[GroupDefinition, ...] = ()
    witness_lun: LunId | None = None
    paths: tuple[PathName, ...] = (PathName("A"),)
    properties: Properties = field(default_factory=Properties)
    rules: tuple[AffinityRule, ...] = ()
    sets: tuple[GroupSet, ...] = ()
    preferred_site: str = ""
    tag_witness: TagWitnessKind | None = None
    volumes: tuple[VolumeDefinition, ...] = ()

    @property
    def networks(self) -> tuple[str, ...]:
        """The networks of its VMs; each node has a cable to every one of them."""
        return tuple(sorted({group.network for group in self.groups if group.network}))

    @property
    def has_witness(self) -> bool:
        """Whether there is a witness of any kind."""
        return self.witness_lun is not None or self.tag_witness is not None

    def node_name(self, node: NodeId) -> str:
        """The display name of a node, or its number when it is not of this cluster."""
        return next((n.name for n in self.nodes if n.id == node), f"node {node}")


def volumes_of(count: int, first: LunId) -> tuple[VolumeDefinition, ...]:
    """So many volumes, on LUNs from `first` on."""
    return tuple(VolumeDefinition(f"Volume{n}", LunId(first + n - 1)) for n in range(1, count + 1))


def on_volume(group: GroupDefinition, at: int, volumes: tuple[VolumeDefinition, ...]) -> GroupDefinition:
    """The `at`-th VM of a lab (from 0) on the volume whose turn it is, with 1 MiB; where there is none, as it was."""
    if not volumes:
        return group
    turn, volume = divmod(at, len(volumes))
    return replace(group, lun=volumes[volume].lun, extent=Extent(1 + turn * EXTENT_BLOCKS, EXTENT_BLOCKS))


def first_store(cluster_id: str, node: NodeId) -> StoreId:
    """The identity of the saved state that cluster creation writes for a node: known to all without asking."""
    digest = hashlib.sha256(f"{cluster_id}/{node}".encode()).digest()
    return StoreId(int.from_bytes(digest[:8], "big") >> 1)


def initiator_name(node_name: str) -> str:
    """The name a node logs in to the array with, in the form Microsoft's initiator uses (RFC 3721 iqn.)."""
    return f"iqn.1991-05.com.microsoft:{node_name.lower()}"
