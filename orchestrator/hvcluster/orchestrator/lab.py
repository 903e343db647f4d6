"""A lab: the cluster a person described in a TOML file, checked and complete.

Law: values and their arithmetic. Reading and judging the file is `lab_file`; starting it is `launcher`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from hvcluster.model.definition import (
    ClusterDefinition,
    Extent,
    GroupDefinition,
    NodeDefinition,
    TagWitnessKind,
    VolumeDefinition,
    initiator_name,
)
from hvcluster.model.policy import AffinityRule, GroupSet, Policy
from hvcluster.model.properties import Properties
from hvcluster.model.vocabulary import BLOCK_BYTES, LunId, NodeId, PathName

BusKind = Literal["auto", "mosquitto", "embedded"]
BUS_KINDS: Final[tuple[BusKind, ...]] = ("auto", "mosquitto", "embedded")
BUS_NAMES: Final = ("A", "B")
TIMINGS: Final = ("windows", "lab")
LAB_TIME_SCALE: Final = 0.1

MIN_LUN_BYTES: Final = 1 << 20
"""The witness keeps a log and a snapshot, a VHD keeps a footer and a journal: less holds neither."""
MAX_LUN_BYTES: Final = 2040 << 30
"""The largest fixed VHD."""

NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,14}")
"""Clusters and nodes: NetBIOS names, 15 characters at most."""
VM_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""VMs: nothing that means something in an MQTT topic or on a command line."""

_UNITS: Final = {"b": 0, "kib": 10, "mib": 20, "gib": 30, "tib": 40}
_SIZE = re.compile(r"\s*(\d{1,15})\s*([A-Za-z]+)\s*")


@dataclass(frozen=True, slots=True)
class LabNode:
    """One Hyper-V host. `weight` is NodeWeight, 0 or 1; `outside`: it is to be added to the cluster later."""

    id: NodeId
    name: str
    weight: int = 1
    site: str = ""
    memory_mb: int = 0
    processors: int = 0
    rack: str = ""
    chassis: str = ""
    outside: bool = False


@dataclass(frozen=True, slots=True)
class LabLun:
    """One logical unit of the array."""

    id: LunId
    size_bytes: int

    @property
    def blocks(self) -> int:
        """Its size in blocks of 512 bytes."""
        return self.size_bytes // BLOCK_BYTES


@dataclass(frozen=True, slots=True)
class LabVm:
    """One VM role. `port` is the client port on the switch; 0 takes a free one. `extent`: its LUN is a volume."""

    name: str
    lun: LunId
    preferred: tuple[NodeId, ...] = ()
    possible: tuple[NodeId, ...] = ()
    owner: NodeId | None = None
    boot_delay_ms: int = 1000
    port: int = 0
    policy: Policy = field(default_factory=Policy)
    memory_mb: int = 1024
    resiliency_period_ms: int | None = None
    active_mb: int = 64
    dirty_mb_per_s: int = 8
    extent: Extent | None = None
    processor_load: int = 0
    network: str = ""


@dataclass(frozen=True, slots=True)
class Lab:
    """Everything `hvc up` needs to know. Ports of 0 are chosen at start."""

    name: str
    nodes: tuple[LabNode, ...]
    luns: tuple[LabLun, ...]
    vms: tuple[LabVm, ...]
    witness_lun: LunId | None
    properties: Properties = field(default_factory=Properties)
    rules: tuple[AffinityRule, ...] = ()
    sets: tuple[GroupSet, ...] = ()
    preferred_site: str = ""
    bus_kind: BusKind = "auto"
    bus_ports: tuple[int, ...] = (0, 0)
    san_ports: tuple[int, ...] = (0,)
    bind: str = "127.0.0.1"
    tag_witness: TagWitnessKind | None = None
    roles: tuple[GroupDefinition, ...] = ()
    """Groups of resources; a VM is a group of its own."""
    witness_port: int = 0
    """Of the file share or cloud witness; 0 takes a free one."""
    witness_account: Path | None = None
    """The file with the connection string of a cloud witness that is not the lab's own."""
    witness_directory: Path | None = None
    """The directory of a file share witness that is not the lab's own."""
    write_cache: bool = False
    """Whether the array has a volatile cache: a kill is then a loss of power. Only scenarios ask for it."""
    volumes: tuple[VolumeDefinition, ...] = ()

    @property
    def own_witness(self) -> TagWitnessKind | None:
        """The file share or cloud witness that runs as a process of the lab."""
        elsewhere = self.witness_account is not None or self.witness_directory is not None
        return None if elsewhere else self.tag_witness

    @property
    def paths(self) -> tuple[PathName, ...]:
        """One path per array port: A, B, ..."""
        return tuple(PathName(chr(ord("A") + at)) for at in range(len(self.san_ports)))

    def definition(self, cluster_id: str) -> ClusterDefinition:
        """The document every node and the judge get."""
        return ClusterDefinition(
            name=self.name,
            id=cluster_id,
            nodes=tuple(
                NodeDefinition(n.id, n.name, n.weight, n.site, n.memory_mb, n.processors, n.rack, n.chassis, n.outside)
                for n in self.nodes
            ),
            groups=tuple(
                GroupDefinition(
                    v.name,
                    v.lun,
                    v.preferred,
                    v.possible,
                    v.owner,
                    v.boot_delay_ms,
                    v.policy,
                    v.memory_mb,
                    v.resiliency_period_ms,
                    v.active_mb,
                    v.dirty_mb_per_s,
                    extent=v.extent,
                    processor_load=v.processor_load,
                    network=v.network,
                )
                for v in self.vms
            )
            + self.roles,
            witness_lun=self.witness_lun,
            paths=self.paths,
            properties=self.properties,
            rules=self.rules,
            sets=self.sets,
            preferred_site=self.preferred_site,
            tag_witness=self.tag_witness,
            volumes=self.volumes,
        )

    def initiators(self) -> tuple[str, ...]:
        """The initiator of every node: each LUN of a cluster is presented to all of them."""
        return tuple(initiator_name(n.name) for n in self.nodes)


def parse_size(text: str) -> int | None:
    """Bytes of "64 MiB" and the like (KiB, MiB, GiB, TiB, B), or None for what is not a size."""
    match = _SIZE.fullmatch(text)
    if match is None or match.group(2).lower() not in _UNITS:
        return None
    return int(match.group(1)) << _UNITS[match.group(2).lower()]


def size_text(size: int) -> str:
    """The shortest exact form of a size, as a lab file would say it."""
    for unit, shift in (("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if size >= 1 << shift and size % (1 << shift) == 0:
            return f"{size >> shift} {unit}"
    return f"{size} B"


def count(number: int, what: str, many: str = "") -> str:
    """ "1 VM", "2 VMs"."""
    return f"{number} {what if number == 1 else many or f'{what}s'}"


def votes_at_start(lab: Lab) -> tuple[int, int]:
    """All votes once every node is up, and how many of them are the witness's, as `hvc status` will show them.

    With a dynamic witness the votes are odd: the witness votes while those of the nodes are even; without one, a node
    goes without.
    """
    nodes = sum(node.weight for node in lab.nodes if not node.outside)
    odd = lab.properties.dynamic_quorum and lab.properties.dynamic_witness
    if lab.witness_lun is None and lab.tag_witness is None:
        return nodes - (odd and nodes % 2 == 0 and nodes > 0), 0
    witness = int(not odd or nodes % 2 == 0)
    return nodes + witness, witness
