"""A lab file, read and judged: all its problems at once, each with file, line and remedy.

Law: nothing is started here and nothing is guessed: a file with one problem makes no lab.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Final, TypeVar, cast

from hvcluster.model import properties as cluster_properties
from hvcluster.model.complaints import WHOLE_LIMIT, NotToml, toml
from hvcluster.model.definition import NETWORK_NAME
from hvcluster.model.properties import DEFAULT_PROFILE, PROFILES, Properties
from hvcluster.model.toml_lines import Lines
from hvcluster.model.toml_lines import Path as TomlPath
from hvcluster.model.vocabulary import BLOCK_BYTES, MAX_LUNS, MAX_NODES, LunId, NodeId

from . import lab_groups, lab_policies, lab_volumes, lab_witness
from .lab import (
    BUS_KINDS,
    BUS_NAMES,
    LAB_TIME_SCALE,
    MAX_LUN_BYTES,
    MIN_LUN_BYTES,
    NAME,
    TIMINGS,
    VM_NAME,
    BusKind,
    Lab,
    LabLun,
    LabNode,
    LabVm,
    parse_size,
    size_text,
)
from .lab_reader import Problem, Report, Section, kind_name, near

DEFAULT_FILE: Final = "lab.toml"
MAX_FILE_BYTES: Final = 1 << 20
"""A lab of 64 nodes and 255 VMs takes some 40 KiB."""
MAX_PATHS: Final = 4
"""Ports of the array; two are usual, and each costs every node a stream."""

MAX_PROCESSORS: Final = 2048  # logical ones, as 2025 supports
MAX_MEMORY_MB: Final = 48 << 20  # 48 TB, more than any version of the product supports in a host

K = TypeVar("K")


class LabInvalid(Exception):
    """The lab file does not describe a lab. `problems` are sorted by line and never empty."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(problems))
        super().__init__("\n".join(str(problem) for problem in self.problems))


def load(path: Path) -> Lab:
    """Read a lab file. Raises LabInvalid with every problem, FileNotFoundError where there is none."""
    data = path.read_bytes()
    if len(data) > MAX_FILE_BYTES:
        raise LabInvalid([Problem(1, f"the file has {len(data)} bytes", "a lab fits into 1 MiB", str(path))])
    return parse(data, str(path))


def parse(data: str | bytes, file: str = DEFAULT_FILE) -> Lab:
    """Read the text of a lab file. Raises LabInvalid."""
    try:
        text, document = toml(data)
    except NotToml as error:
        raise LabInvalid([Problem(error.line, error.text, error.remedy, file)]) from None
    report = Report(file, Lines(text))
    lab = _lab(Section(report, (), document))
    if report.problems:
        raise LabInvalid(report.problems)
    return lab


def _lab(top: Section) -> Lab:
    cluster = top.section("cluster")
    name = cluster.text("name", "", required=True) or ""
    if name and not NAME.fullmatch(name):
        cluster.complain(
            "name", f"{name!r} is no cluster name", "use a letter, then up to 14 letters, digits or hyphens"
        )
    properties = _properties(cluster, top.section("properties"))
    preferred_site = cluster.text("preferred_site", "") or ""
    cluster.finish()
    nodes = _nodes(top)
    _check_sites(cluster, properties, nodes, preferred_site)
    luns = _luns(top)
    on_volumes: dict[str, tuple[str, int]] = {}
    vms = _vms(top, nodes, on_volumes)
    witness = lab_witness.witness(top, {lun.id for lun in luns}, vms, properties.profile)
    owners = partial(_owners, nodes=nodes), partial(_owner, nodes=nodes)
    volumes = lab_volumes.volumes(top, luns, witness.lun)
    vms = lab_volumes.placed(top, vms, on_volumes, volumes, luns)
    shared = {volume.lun: name for name, volume in volumes.items()}
    roles = lab_groups.groups(top, {lun.id for lun in luns}, shared, vms, witness.lun, *owners)
    rules, sets = lab_policies.rules_and_sets(top, [*(vm.name for vm in vms), *(role.name for role in roles)])
    lab_volumes.check_disks(top, {lun.id for lun in luns}, vms, shared)
    _check_tie_breaker(top, properties, nodes)
    bus_kind, bus_ports = _buses(top)
    san_ports = _san(top)
    network = top.section("network")
    bind = network.text("bind", "127.0.0.1") or "127.0.0.1"
    network.finish()
    _check_ports(top, bus_ports, san_ports, witness.port, vms)
    top.finish()
    return Lab(
        name=name,
        nodes=tuple(sorted(nodes, key=lambda node: node.id)),
        luns=tuple(sorted(luns, key=lambda lun: lun.id)),
        vms=tuple(vms),
        witness_lun=witness.lun,
        properties=properties,
        rules=rules,
        sets=sets,
        preferred_site=preferred_site,
        bus_kind=bus_kind,
        bus_ports=bus_ports,
        san_ports=san_ports,
        bind=bind,
        tag_witness=witness.kind,
        roles=roles,
        witness_port=witness.port,
        witness_account=witness.account,
        witness_directory=witness.directory,
        volumes=tuple(volumes.values()),
    )


def _properties(cluster: Section, overrides: Section) -> Properties:
    profile = cluster.choice("profile", PROFILES, DEFAULT_PROFILE)
    timing = cluster.choice("timing", TIMINGS, "windows")
    scale = cluster.number("time_scale")
    values: dict[str, int | float | bool | str] = {}
    if timing == "lab":
        values["connection_loss_detection"] = True
        values["time_scale"] = LAB_TIME_SCALE
    if scale is not None:
        values["time_scale"] = scale
    known = {f.name: f.default for f in fields(Properties) if f.name not in ("profile", "time_scale")}
    for key in overrides.names():
        value = overrides.raw(key)
        if key not in known:
            hint = near(key, known) or f"known: {', '.join(known)}"
            overrides.complain(key, f"unknown property {key!r}", hint)
        elif type(value) is not type(known[key]):
            wanted = kind_name(known[key])
            overrides.complain(key, f"{key} must be {wanted}, not {kind_name(value)}", f"write {key} as {wanted}")
        elif isinstance(value, int) and abs(value) >= WHOLE_LIMIT:
            overrides.complain(key, f"{key} is {value}", "write a smaller number")
        else:
            values[key] = cast("int | bool", value)
    properties = cluster_properties.with_values(cluster_properties.defaults(profile), values)
    for key, sentence in cluster_properties.problems(properties):
        section = overrides if overrides.has(key) else cluster
        text, _, remedy = sentence.partition("; ")
        section.complain(key if section.has(key) else None, text, remedy or f"correct {key}")
    return properties


def _nodes(top: Section) -> list[LabNode]:
    sections = top.sections("node")
    if top.raw("node") in (None, []):
        top.complain("node", "the lab has no node", 'add [[node]] with name = "HyperV-1"')
    if len(sections) > MAX_NODES:
        sections[MAX_NODES].complain(
            None, f"{len(sections)} nodes, {MAX_NODES} is the most a cluster can have", "remove the nodes from here on"
        )
        sections = sections[:MAX_NODES]
    asked = [section.integer("id", 1, MAX_NODES) for section in sections]
    spare = (number for number in range(1, MAX_NODES + 1) if number not in set(asked))
    nodes: list[LabNode] = []
    by_name: dict[str, Section] = {}
    by_id: dict[int, Section] = {}
    for section, wanted in zip(sections, asked, strict=True):
        name = section.text("name", required=True) or ""
        if name and not NAME.fullmatch(name):
            section.complain(
                "name", f"{name!r} is no node name", "use a letter, then up to 14 letters, digits or hyphens"
            )
        if name:
            _once(by_name, name.lower(), section, "name", f"node {name!r}", "give every node a name of its own")
        number = wanted if wanted is not None else next(spare)
        if wanted is not None:
            _once(by_id, number, section, "id", f"node id {number}", "give every node an id of its own, or none")
        weight = section.integer("weight", 0, 1, 1)
        site = section.text("site", "") or ""
        rack, chassis = section.text("rack", "") or "", section.text("chassis", "") or ""
        memory_mb = section.integer("memory_mb", 0, MAX_MEMORY_MB, 0)
        processors = section.integer("processors", 0, MAX_PROCESSORS, 0)
        outside = section.flag("outside")
        section.finish()
        host = (site, memory_mb or 0, processors or 0, rack, chassis, outside)
        nodes.append(LabNode(NodeId(number), name, 1 if weight is None else weight, *host))
    if nodes and all(node.weight == 0 or node.outside for node in nodes):
        sections[0].complain("weight", "no node has a vote", "leave one node in the cluster, with a weight of 1")
    return nodes


def _check_sites(cluster: Section, properties: Properties, nodes: list[LabNode], preferred: str) -> None:
    sites = {node.site for node in nodes if node.site}
    placed = any(node.site or node.rack or node.chassis for node in nodes)
    if placed and not cluster_properties.knows_sites(properties.profile):
        remedy = "take profile ws2016 or later, or leave `site`, `rack` and `chassis` out"
        cluster.complain("profile", f"{properties.profile} knows no sites and no other fault domains", remedy)
    if preferred and preferred not in sites:
        remedy = near(preferred, sites) or "name the site of a [[node]]"
        cluster.complain("preferred_site", f"no node is in site {preferred!r}", remedy)


def _once(seen: dict[K, Section], key: K, section: Section, field: str, what: str, remedy: str) -> None:
    """Complain if `key` was seen before, naming the other place."""
    other = seen.setdefault(key, section)
    if other is not section:
        line = section.report.line((*other.path, field))
        section.complain(field, f"{what} stands on line {line} already", remedy)


def _luns(top: Section) -> list[LabLun]:
    luns: list[LabLun] = []
    seen: dict[int, Section] = {}
    for section in top.sections("lun"):
        number = section.integer("id", 0, MAX_LUNS - 1, required=True)
        size = _size(section)
        section.finish()
        if number is None:
            continue
        _once(seen, number, section, "id", f"LUN {number}", "give every LUN a number of its own")
        luns.append(LabLun(LunId(number), size))
    return luns


def _size(section: Section) -> int:
    text = section.text("size", required=True)
    if text is None:
        return MIN_LUN_BYTES
    size = parse_size(text)
    if size is None:
        section.complain("size", f"{text!r} is no size", 'write a whole number and a unit, such as "64 MiB"')
        return MIN_LUN_BYTES
    if not MIN_LUN_BYTES <= size <= MAX_LUN_BYTES:
        limits = f"{size_text(MIN_LUN_BYTES)} to {size_text(MAX_LUN_BYTES)}"
        section.complain("size", f"a LUN of {text.strip()} is out of range", f"choose a size from {limits}")
    elif size % BLOCK_BYTES:
        section.complain("size", f"{text.strip()} is not whole blocks", f"choose a multiple of {BLOCK_BYTES} bytes")
    return size


def _vms(top: Section, nodes: list[LabNode], on_volumes: dict[str, tuple[str, int]]) -> list[LabVm]:
    vms: list[LabVm] = []
    seen: dict[str, Section] = {}
    for section in top.sections("vm"):
        name = section.text("name", required=True) or ""
        if name and not VM_NAME.fullmatch(name):
            section.complain("name", f"{name!r} is no VM name", "use letters, digits, '.', '_' and '-', 64 at most")
        if name:
            _once(seen, name.lower(), section, "name", f"VM {name!r}", "give every VM a name of its own")
        volume, blocks = lab_volumes.place_of(section)
        lun = section.integer("lun", 0, MAX_LUNS - 1, required=volume is None)
        if volume is not None:
            on_volumes[name] = volume, blocks
            if lun is not None:
                section.complain("lun", f"VM {name!r} is on a volume and on a LUN", "write either volume or lun")
        preferred = _owners(section, "preferred", nodes)
        possible = _owners(section, "possible", nodes)
        owner = _owner(section, nodes)
        for at, node in enumerate(preferred):
            if possible and node not in possible:
                section.report.add(
                    (*section.path, "preferred", at),
                    "a preferred owner is not a possible one",
                    "add it to possible as well",
                )
        if owner is not None and possible and owner not in possible:
            section.complain("owner", "the first owner is not a possible one", "add it to possible as well")
        boot = section.integer("boot_delay_ms", 0, 3_600_000, 1000)
        port = section.integer("port", 0, 65535, 0)
        policy, memory_mb = lab_policies.policy(section), section.integer("memory_mb", 1, MAX_MEMORY_MB, 1024)
        period_ms = section.integer("resiliency_period_ms", 0, 86_400_000)
        active = section.integer("active_mb", 1, MAX_MEMORY_MB, 64)
        dirty = section.integer("dirty_mb_per_s", 0, MAX_MEMORY_MB, 8)
        load = section.integer("processor_load", 0, 100 * MAX_PROCESSORS, 0)
        network = section.text("network", "") or ""
        if network and not NETWORK_NAME.fullmatch(network):
            text = f"{network!r} is no name of a network"
            section.complain("network", text, "use letters, digits, blanks, '.', '_' and '-', 32 at most")
        section.finish()
        disk, memory = LunId(-1 if lun is None else lun), (memory_mb or 1024, period_ms, active or 64, dirty or 0)
        vms.append(
            LabVm(
                name,
                disk,
                preferred,
                possible,
                owner,
                boot or 0,
                port or 0,
                policy,
                *memory,
                processor_load=load or 0,
                network=network,
            )
        )
    return vms


def _owners(section: Section, key: str, nodes: list[LabNode]) -> tuple[NodeId, ...]:
    found: list[NodeId] = []
    for at, name in enumerate(section.texts(key)):
        node = _node_id(name, nodes)
        path = (*section.path, key, at)
        if node is None:
            section.report.add(path, f"{key} names no node: {name!r}", _node_remedy(name, nodes))
        elif node in found:
            section.report.add(path, f"{key} names {name!r} twice", "name it once")
        else:
            found.append(node)
    return tuple(found)


def _owner(section: Section, nodes: list[LabNode]) -> NodeId | None:
    name = section.text("owner")
    node = None if name is None else _node_id(name, nodes)
    if name is not None and node is None:
        section.complain("owner", f"owner names no node: {name!r}", _node_remedy(name, nodes))
    return node


def _node_id(name: str, nodes: list[LabNode]) -> NodeId | None:
    return next((node.id for node in nodes if node.name.lower() == name.lower()), None)


def _node_remedy(name: str, nodes: list[LabNode]) -> str:
    return near(name, [node.name for node in nodes]) or "name a [[node]] of this lab"


def _check_tie_breaker(top: Section, properties: Properties, nodes: list[LabNode]) -> None:
    chosen = properties.lower_quorum_priority_node_id
    if chosen and chosen not in {node.id for node in nodes}:
        top.report.add(
            ("properties", "lower_quorum_priority_node_id"),
            f"there is no node {chosen}",
            "name the id of a node, or 0 for none",
        )


def _buses(top: Section) -> tuple[BusKind, tuple[int, ...]]:
    section = top.section("buses")
    kind = section.choice("kind", BUS_KINDS, "auto")
    ports = section.integers("ports", 0, 65535)
    section.finish()
    if ports is not None and len(ports) != len(BUS_NAMES):
        section.complain("ports", f"{len(ports)} ports for {len(BUS_NAMES)} buses", "write two, 0 for a free one")
        ports = None
    return cast("BusKind", kind), ports or (0,) * len(BUS_NAMES)


def _san(top: Section) -> tuple[int, ...]:
    section = top.section("san")
    paths = section.integer("paths", 1, MAX_PATHS)
    ports = section.integers("ports", 0, 65535)
    section.finish()
    if ports is not None and not 1 <= len(ports) <= MAX_PATHS:
        section.complain("ports", f"the array has {len(ports)} ports", f"give it 1 to {MAX_PATHS}")
        return (0,)
    if ports is not None and paths is not None and paths != len(ports):
        section.complain("ports", f"{len(ports)} ports for {paths} paths", "write one port per path, 0 for a free one")
    return ports or (0,) * (paths or 1)


def _check_ports(top: Section, buses: tuple[int, ...], san: tuple[int, ...], witness: int, vms: list[LabVm]) -> None:
    taken: dict[int, str] = {}
    wanted: list[tuple[TomlPath, int, str]] = [
        *((("buses", "ports", at), port, f"bus {BUS_NAMES[at]}") for at, port in enumerate(buses)),
        *((("san", "ports", at), port, "the array") for at, port in enumerate(san)),
        (("witness", "port"), witness, "the witness"),
        *((("vm", at, "port"), vm.port, f"VM {vm.name!r}") for at, vm in enumerate(vms)),
    ]
    for path, port, what in wanted:
        if port and port in taken:
            top.report.add(
                path, f"port {port} of {what} is taken by {taken[port]}", "choose another, or 0 for a free one"
            )
        taken.setdefault(port, what)
