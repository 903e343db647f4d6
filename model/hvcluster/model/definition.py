"""What a cluster is made of when it is created: the one document that a lab hands to every node and to the judge.

Law: shapes, and their JSON form. Where processes listen is not part of a cluster's definition.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from enum import Enum

from .policy import AffinityRule, GroupSet, Policy
from .properties import Properties
from .resources import ResourceDefinition
from .vocabulary import LunId, NodeId, PathName, StoreId


@dataclass(frozen=True, slots=True)
class NodeDefinition:
    """One node of the cluster. `weight` is NodeWeight: 0 takes its vote away for good. `site`: its fault domain.

    `memory_mb`: what its VMs may use together; 0: nobody counts.
    """

    id: NodeId
    name: str
    weight: int = 1
    site: str = ""
    memory_mb: int = 0


@dataclass(frozen=True, slots=True)
class GroupDefinition:
    """One role: its Physical Disk is the LUN. A VM, whose VHD lies on it, or `resources`. Empty `possible` means every
    node.

    `resiliency_period_ms`: ResiliencyPeriod, None for what the cluster says.
    `active_mb`: how much of its memory it uses, for pages that are empty are not migrated. `dirty_mb_per_s`: how much
    of that it changes in a second, which a live migration has to send again.
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

    def may_run_on(self, node: NodeId) -> bool:
        """Whether a node is among the possible owners."""
        return not self.possible or node in self.possible


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

    @property
    def has_witness(self) -> bool:
        """Whether there is a witness of any kind."""
        return self.witness_lun is not None or self.tag_witness is not None

    def node_name(self, node: NodeId) -> str:
        """The display name of a node, or its number when it is not of this cluster."""
        return next((n.name for n in self.nodes if n.id == node), f"node {node}")


def first_store(cluster_id: str, node: NodeId) -> StoreId:
    """The identity of the saved state that cluster creation writes for a node: known to all without asking."""
    digest = hashlib.sha256(f"{cluster_id}/{node}".encode()).digest()
    return StoreId(int.from_bytes(digest[:8], "big") >> 1)


def initiator_name(node_name: str) -> str:
    """The name a node logs in to the array with, in the form Microsoft's initiator uses (RFC 3721 iqn.)."""
    return f"iqn.1991-05.com.microsoft:{node_name.lower()}"
