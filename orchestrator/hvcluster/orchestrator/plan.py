"""From a lab to command lines: which processes, which ports, which directories.

Law: chooses ports and writes command lines; starts nothing. Ports a lab file names are checked here, all at once.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hvcluster.model import codec
from hvcluster.model.definition import ClusterDefinition
from hvcluster.runtime import brokers, ports

from . import kept
from .lab import BUS_NAMES, Lab
from .processes import python
from .state import LabDir, ProcessRecord, ProcessSpec, Role, Runtime, VmPort, boot_id, labs

CLUSTER_ID_BYTES: Final = 6
"""Tells clusters on shared wires apart; shown in topics, so it is short."""


@dataclass(frozen=True, slots=True)
class Where:
    """The addresses of a lab's processes."""

    host: str
    buses: tuple[int, ...]
    san: tuple[int, ...]
    nodes: tuple[int, ...]
    switch: tuple[int, ...]
    witness: tuple[int, ...] = ()


class PortsBusy(Exception):
    """Ports the lab file names are taken; `busy` says by whom where it can be known."""

    def __init__(self, busy: list[tuple[str, ports.PortBusy]]) -> None:
        self.busy = tuple(busy)
        super().__init__("\n".join(f"{what}: {error}" for what, error in busy))


def runtime_of(lab: Lab, directory: LabDir, chaos: bool, tied_to: int, tied_started: int, file: str) -> Runtime:
    """The record of a lab about to start, nothing started yet. Writes the definition and the broker files.

    A lab that ran before keeps its cluster id: its nodes' saved state and its LUNs belong to that cluster. Raises
    PortsBusy, brokers.NoMosquitto.
    """
    where = _choose_ports(lab, ports_of_other_labs(directory))
    definition = lab.definition(_cluster_id(directory, lab.name))
    directory.definition.write_bytes(codec.dump(definition))
    specs = [
        *_buses(lab, directory, where, definition),
        _san(lab, directory, where, chaos),
        *_witness(lab, directory, where),
        *_nodes(lab, directory, where, chaos),
        _switch(lab, directory, where, definition),
    ]
    return Runtime(
        definition=definition,
        boot=boot_id(),
        processes=tuple(ProcessRecord(spec) for spec in specs),
        ports=tuple(VmPort(vm.name, lab.bind, port) for vm, port in zip(lab.vms, where.switch, strict=True)),
        tied_to=tied_to,
        tied_started=tied_started,
        lab_file=file,
    )


def _cluster_id(directory: LabDir, name: str) -> str:
    known = kept.cluster(directory)
    return known.id if known is not None and known.name == name else secrets.token_hex(CLUSTER_ID_BYTES)


def ports_of_other_labs(directory: LabDir) -> set[int]:
    """Ports of the labs beside this one: one whose process is dead is free, and its process will want it again."""
    taken: set[int] = set()
    for other in labs(directory.path.parent):
        with contextlib.suppress(codec.Malformed):  # another version wrote it
            runtime = other.load() if other.path != directory.path else None
            if runtime is not None:
                taken |= {record.spec.port for record in runtime.processes} | {vm.port for vm in runtime.ports}
    return taken


def _choose_ports(lab: Lab, avoid: set[int]) -> Where:
    wanted = [
        *((f"bus {BUS_NAMES[at]}", port) for at, port in enumerate(lab.bus_ports)),
        *((f"array port {at}", port) for at, port in enumerate(lab.san_ports)),
        *((f"node {node.name}", 0) for node in lab.nodes),
        *((f"VM {vm.name}", vm.port) for vm in lab.vms),
        *([("witness", lab.witness_port)] if lab.own_witness is not None else []),
    ]
    busy = [(what, ports.busy(lab.bind, port)) for what, port in wanted if port and not ports.is_free(port, lab.bind)]
    if busy:
        raise PortsBusy(busy)
    fixed = {port for _, port in wanted if port}
    avoid = avoid | fixed
    spare = [p for p in ports.free(len(wanted) + len(avoid), lab.bind) if p not in avoid]
    free = iter(spare)
    real = [port or next(free) for _, port in wanted]
    at = iter(real)

    def take(count: int) -> tuple[int, ...]:
        return tuple(next(at) for _ in range(count))

    return Where(
        lab.bind,
        take(len(lab.bus_ports)),
        take(len(lab.san_ports)),
        take(len(lab.nodes)),
        take(len(lab.vms)),
        take(int(lab.own_witness is not None)),
    )


def _pairs(flag: str, values: list[str]) -> Iterator[str]:
    for value in values:
        yield flag
        yield value


def _buses(lab: Lab, directory: LabDir, where: Where, definition: ClusterDefinition) -> list[ProcessSpec]:
    specs = []
    for name, port in zip(BUS_NAMES, where.buses, strict=True):
        process = f"bus-{name}"
        config = directory.path / f"{process}.conf"
        broker = brokers.command(lab.bus_kind, name, port, config, lab.bind)
        if broker.config is not None:
            config.write_text(broker.config, encoding="utf-8")
        argv = broker.argv
        if broker.kind == "embedded":
            argv = (*argv, "--cluster", definition.name)
        specs.append(
            ProcessSpec(process, Role.BUS, argv, lab.bind, port, str(directory.log(process)), broker.announces)
        )
    return specs


def _san(lab: Lab, directory: LabDir, where: Where, chaos: bool) -> ProcessSpec:
    data = directory.data("array")
    argv = python(
        "hvcluster.san",
        *("--data", str(data), "--bind", lab.bind),
        *_pairs("--port", [str(port) for port in where.san]),
        *_pairs("--lun", [f"{lun.id}:{lun.blocks}" for lun in lab.luns]),
        *_pairs("--unmask", [f"{lun.id}:{initiator}" for lun in lab.luns for initiator in lab.initiators()]),
        *(("--write-cache", "on") if lab.write_cache else ()),
        *(("--allow-chaos",) if chaos else ()),
    )
    return ProcessSpec("san", Role.SAN, argv, lab.bind, where.san[0], str(directory.log("san")), data=str(data))


def _witness(lab: Lab, directory: LabDir, where: Where) -> list[ProcessSpec]:
    if lab.own_witness is None:
        return []
    data, port = directory.data("witness"), where.witness[0]
    argv = python(
        "hvcluster.san.witness",
        *("--kind", lab.own_witness.value, "--data", str(data), "--bind", lab.bind, "--port", str(port)),
    )
    return [ProcessSpec("witness", Role.WITNESS, argv, lab.bind, port, str(directory.log("witness")), data=str(data))]


def _nodes(lab: Lab, directory: LabDir, where: Where, chaos: bool) -> list[ProcessSpec]:
    specs = []
    for node, port in zip(lab.nodes, where.nodes, strict=True):
        data = directory.data(node.name)
        peers = [
            f"{other.id}={lab.bind}:{there}"
            for other, there in zip(lab.nodes, where.nodes, strict=True)
            if other.id != node.id
        ]
        argv = python(
            "hvcluster.node",
            *("--definition", str(directory.definition), "--node", str(node.id), "--data", str(data)),
            *("--genesis-marker", str(directory.marker(node.name)), "--bind", f"{lab.bind}:{port}"),
            *_pairs("--peer", peers),
            *_pairs("--bus", _named(BUS_NAMES, lab.bind, where.buses)),
            *_pairs("--path", _named(lab.paths, lab.bind, where.san)),
            *_pairs("--witness", [f"{lab.bind}:{there}" for there in where.witness]),
            *_pairs("--witness-account", [str(lab.witness_account)] if lab.witness_account is not None else []),
            *_pairs("--witness-directory", [str(lab.witness_directory)] if lab.witness_directory is not None else []),
            *("--guest-bind", lab.bind, "--advertise", lab.bind),
            *(("--allow-chaos",) if chaos else ()),
        )
        specs.append(
            ProcessSpec(
                node.name, Role.NODE, argv, lab.bind, port, str(directory.log(node.name)), node=node.id, data=str(data)
            )
        )
    return specs


def _switch(lab: Lab, directory: LabDir, where: Where, definition: ClusterDefinition) -> ProcessSpec:
    nodes = [f"{node.id}={lab.bind}:{port}" for node, port in zip(lab.nodes, where.nodes, strict=True)]
    argv = python(
        "hvcluster.orchestrator.switch",
        *("--cluster-id", definition.id),
        *_pairs("--bus", _named(BUS_NAMES, lab.bind, where.buses)),
        *_pairs("--node", nodes),
        *_pairs("--port", _named([vm.name for vm in lab.vms], lab.bind, where.switch)),
    )
    port = where.switch[0] if where.switch else 0
    return ProcessSpec("switch", Role.SWITCH, argv, lab.bind, port, str(directory.log("switch")))


def _named(names: list[str] | tuple[str, ...], host: str, numbers: tuple[int, ...]) -> list[str]:
    return [f"{name}={host}:{port}" for name, port in zip(names, numbers, strict=True)]


def make_directories(directory: LabDir, runtime: Runtime) -> None:
    """Create the data directories that processes expect to find."""
    for record in runtime.processes:
        if record.spec.data:
            Path(record.spec.data).mkdir(parents=True, exist_ok=True, mode=0o700)
    (directory.path / "genesis").mkdir(exist_ok=True, mode=0o700)
