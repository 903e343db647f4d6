"""The compose project as a lab: which service is which process, and which network is which wire.

Law: names and numbers that compose.yaml and the commands must agree on; a test compares them.
"""

from __future__ import annotations

import hashlib
from typing import Final

from hvcluster.model.definition import ClusterDefinition

from .driver import Wire
from .lab import BUS_NAMES, Lab
from .state import Role

NODE_PORT: Final = 7100
SAN_PORT: Final = 7200
FIRST_VM_PORT: Final = 8081
"""The first VM of the lab file; the next ones follow. Ports of the switch inside and outside of its container."""

SAN_SERVICE: Final = "array"
SWITCH_SERVICE: Final = "switch"
WITNESS_SERVICE: Final = "witness"
WITNESS_PORT: Final = 7300
LAB_FILE: Final = "compose/lab.toml"

NETWORKS: Final = ("heartbeat-a", "heartbeat-b", "storage", "cluster")
NODE_ALIAS: Final = "cluster"
"""Peers and the switch reach node hyperv-1 at hyperv-1.cluster, a name that exists on the network `cluster` alone."""


def definition_of(lab: Lab) -> ClusterDefinition:
    """The project's cluster. Its id follows from its name, so that every command finds the same one."""
    return lab.definition(hashlib.sha256(f"compose/{lab.name}".encode()).hexdigest()[:12])


def service_of(name: str, role: Role) -> str:
    """The compose service of a process of the lab."""
    if role is Role.SAN:
        return SAN_SERVICE
    return SWITCH_SERVICE if role is Role.SWITCH else name.lower()


def processes_of(definition: ClusterDefinition) -> tuple[tuple[str, Role, int], ...]:
    """Every process as (name, role, node id)."""
    buses = tuple((f"bus-{name}", Role.BUS, 0) for name in BUS_NAMES)
    witness = () if definition.tag_witness is None else ((WITNESS_SERVICE, Role.WITNESS, 0),)
    nodes = tuple((node.name, Role.NODE, int(node.id)) for node in definition.nodes)
    return (*buses, ("san", Role.SAN, 0), *witness, *nodes, ("switch", Role.SWITCH, 0))


def networks_of(wire: Wire, name: str) -> tuple[str, ...]:
    """The networks that carry a wire; empty where no network carries it alone (one peer, one path)."""
    if wire is Wire.BUS:
        return (f"heartbeat-{name.lower()}",) if name else ("heartbeat-a", "heartbeat-b")
    if name or wire in (Wire.WITNESS, Wire.NETWORK):
        return ()  # the array and the witness share a network
    return ("cluster",) if wire is Wire.PEERS else ("storage",)
