"""The text of a scenario file, read and judged: everything wrong with it at once, each with its line and a remedy.

Law: shapes of values and names that must exist. Nothing is guessed: a file with one problem makes no scenario. Its
steps are read in `scenario_steps`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any, Final

from .complaints import WHOLE_LIMIT, Complaints, NotToml, listed, shown, toml
from .definition import (
    NETWORK_NAME,
    ClusterDefinition,
    GroupDefinition,
    NodeDefinition,
    TagWitnessKind,
    on_volume,
    volumes_of,
)
from .policy import AffinityRule, GroupSet, complaints
from .policy_file import POLICY_KEYS, RULE_KEYS, SET_KEYS, read_policy, read_rule, read_set
from .properties import DEFAULT_PROFILE, PROFILES, Properties, defaults, knows_sites, problems, with_values
from .scenario import Scenario, ScenarioError
from .scenario_groups import read_groups
from .scenario_steps import Cast, read_steps
from .toml_lines import Path
from .vocabulary import MAX_NODES, LunId, NodeId, PathName

MAX_VMS: Final = 64
MAX_PATHS: Final = 4
MAX_MEMORY_MB: Final = 48 << 20
MAX_PROCESSORS: Final = 2048
MAX_BOOT_MS: Final = 3_600_000
MAX_VOLUMES: Final = 16
MAX_SEED: Final = 2**63 - 1

_FILE_KEYS: Final = ("lab", "requests_every_s", "seed", "step", "why")
_LAB_KEYS: Final = (
    "affinity", "group", "node_memory_mb", "node_processors", "nodes", "on_volumes", "outside", "owners", "paths",
    "preferred_site", "profile", "properties", "set", "sites", "racks", "chassis", "vm", "vms", "volumes", "witness",
)  # fmt: skip
_VM_KEYS: Final = (
    *POLICY_KEYS, "active_mb", "boot_delay_ms", "dirty_mb_per_s", "memory_mb", "network", "possible",
    "preferred", "processor_load",
)  # fmt: skip
_LAB: Final = ("lab",)
_PROPERTIES: Final = ("lab", "properties")


def read(file: str, data: str | bytes) -> Scenario:
    """The scenario in the text of `file`, which names it as well. Raises ScenarioError."""
    try:
        text, document = toml(data)
    except NotToml as error:
        raise ScenarioError(file, [str(error)]) from None
    complaints = Complaints(text)
    reader = _Reader(file.replace("\\", "/").rpartition("/")[2].removesuffix(".toml"), complaints)
    scenario = reader.scenario(document)
    if complaints.found:
        raise ScenarioError(file, complaints.sentences())
    return scenario


class _Reader:
    """Collects everything that is wrong while it reads."""

    def __init__(self, name: str, wrong: Complaints) -> None:
        self._name = name
        self._wrong = wrong
        self._nodes: tuple[str, ...] = ()
        self._vms: tuple[str, ...] = ()

    def scenario(self, document: dict[str, Any]) -> Scenario:
        """The whole file; of no use when something is wrong with it."""
        wrong = self._wrong
        wrong.known((), document, _FILE_KEYS)
        why = document.get("why")
        if not isinstance(why, str) or not why.strip():
            wrong.add((), "`why` is missing; say in a sentence what the scenario is for", "why")
        seed = document.get("seed")
        if seed is not None and (type(seed) is not int or not 0 <= seed <= MAX_SEED):
            wrong.add((), f"`seed` is {shown(seed)}; write a whole number, or leave it out", "seed")
        every_s: float | None = 1.0
        if "requests_every_s" in document:
            remedy = "write how many seconds lie between two requests of a client, 0.01 to 3600"
            every_s = wrong.number((), document, "requests_every_s", 0.01, 3600, remedy)
        lab = document.get("lab", {})
        if not isinstance(lab, dict):
            wrong.add((), "`lab` is no table; write it as [lab]", "lab")
            lab = {}
        definition = self._definition(lab)
        roles = [group for group in definition.groups if group.resources]
        cast = Cast(
            self._nodes, (*self._vms, *(role.name for role in roles)), definition.has_witness,
            definition.tag_witness is not None, tuple(each.name for role in roles for each in role.resources),
            definition.networks,
        )  # fmt: skip
        steps = read_steps(document.get("step", []), cast, tuple(str(path) for path in definition.paths), wrong)
        return Scenario(self._name, str(why).strip(), definition, steps, seed, every_s or 1.0)

    # [lab]

    def _definition(self, lab: Mapping[str, Any]) -> ClusterDefinition:
        self._wrong.known(_LAB, lab, _LAB_KEYS)
        nodes = self._count(lab, "nodes", 3, 1, MAX_NODES)
        vms = self._count(lab, "vms", 2, 0, MAX_VMS)
        paths = self._count(lab, "paths", 1, 0, MAX_PATHS)
        self._nodes = tuple(f"HyperV-{number}" for number in range(1, nodes + 1))
        self._vms = tuple(f"D{number}" for number in range(1, vms + 1))
        disk, tag = self._witness(lab)
        owners = self._owners(lab)
        volumes = volumes_of(self._count(lab, "volumes", 0, 0, MAX_VOLUMES), LunId(vms + 2))
        roles = read_groups(lab.get("group", []), self._vms, self._nodes, vms + 2 + len(volumes), self._wrong)
        rules, sets = self._rules_and_sets(lab)
        properties = self._properties(lab)
        memory_mb = self._count(lab, "node_memory_mb", 0, 0, MAX_MEMORY_MB)
        processors = self._count(lab, "node_processors", 0, 0, MAX_PROCESSORS)
        sites, racks, chassis = (self._domains(lab, properties.profile, key) for key in ("sites", "racks", "chassis"))
        preferred_site = lab.get("preferred_site", "")
        if preferred_site and preferred_site not in sites:
            text = f"no node is in site {shown(preferred_site)}; write one of `sites`"
            self._wrong.add(_LAB, text, "preferred_site")
        outside = self._ids(_LAB, lab, "outside")
        if len(outside) == nodes:
            self._wrong.add(_LAB, "no node is in the cluster; leave one out of `outside`", "outside")
        shared = self._count(lab, "on_volumes", vms, 0, MAX_VMS)
        return ClusterDefinition(
            name=self._name[:15],
            id=self._name,
            nodes=tuple(
                NodeDefinition(
                    NodeId(number),
                    name,
                    1,
                    sites[number - 1],
                    memory_mb,
                    processors,
                    racks[number - 1],
                    chassis[number - 1],
                    number in outside,
                )
                for number, name in enumerate(self._nodes, 1)
            ),
            groups=tuple(
                on_volume(
                    replace(each, owner=owners[number]) if number < len(owners) else each,
                    number,
                    volumes if number < shared else (),
                )
                for number, each in enumerate(self._groups(lab))
            )
            + tuple(roles),
            witness_lun=LunId(1) if disk else None,
            paths=tuple(PathName(chr(ord("A") + number)) for number in range(paths)),
            properties=properties,
            rules=rules,
            sets=sets,
            preferred_site=str(preferred_site),
            tag_witness=tag,
            volumes=volumes,
        )

    def _witness(self, lab: Mapping[str, Any]) -> tuple[bool, TagWitnessKind | None]:
        """Whether there is a disk witness, and which other kind there is."""
        value = lab.get("witness", True)
        if isinstance(value, bool):
            return value, None
        for kind in TagWitnessKind:
            if value == kind.value:
                return False, kind
        words = listed([kind.value for kind in TagWitnessKind])
        self._wrong.add(_LAB, f"`witness` is {shown(value)}; write true (a disk), false, {words}", "witness")
        return True, None

    def _count(self, lab: Mapping[str, Any], key: str, default: int, least: int, most: int) -> int:
        value = lab.get(key, default)
        if type(value) is int and least <= value <= most:
            return value
        self._wrong.add(_LAB, f"`{key}` is {shown(value)}; write a whole number from {least} to {most}", key)
        return default

    def _owners(self, lab: Mapping[str, Any]) -> list[NodeId]:
        owners = lab.get("owners", [])
        if not isinstance(owners, list) or len(owners) > len(self._vms):
            self._wrong.add(
                _LAB, "`owners` is no list of at most one node id per VM; write one such as [1, 2]", "owners"
            )
            return []
        known = [type(owner) is int and 1 <= owner <= len(self._nodes) for owner in owners]
        for owner, good in zip(owners, known, strict=True):
            if not good:
                remedy = f"write ids from 1 to {len(self._nodes)}"
                self._wrong.add(_LAB, f"`owners` names no node: {shown(owner)}; {remedy}", "owners")
        return [NodeId(owner) for owner in owners] if all(known) else []

    def _groups(self, lab: Mapping[str, Any]) -> list[GroupDefinition]:
        tables = self._table(_LAB, lab, "vm")
        self._wrong.known((*_LAB, "vm"), tables, self._vms)
        groups: list[GroupDefinition] = []
        for number, name in enumerate(self._vms, 1):
            path = (*_LAB, "vm", name)
            values = self._table((*_LAB, "vm"), tables, name)
            self._wrong.known(path, values, _VM_KEYS)
            policy, wrong = read_policy(values)
            delay_ms = self._whole(path, values, "boot_delay_ms", 1000, MAX_BOOT_MS)
            memory_mb = self._whole(path, values, "memory_mb", 1024, MAX_MEMORY_MB)
            preferred, possible = self._ids(path, values, "preferred"), self._ids(path, values, "possible")
            if possible and not set(preferred) <= set(possible):
                wrong.append(("preferred", "a preferred owner is not a possible one; add it to possible as well"))
            for key, text in wrong:
                self._wrong.add(path, text, key)
            active_mb = self._whole(path, values, "active_mb", 64, MAX_MEMORY_MB)
            dirty = self._whole(path, values, "dirty_mb_per_s", 8, MAX_MEMORY_MB)
            lun, memory = LunId(number + 1), (memory_mb, None, active_mb, dirty)
            load = self._whole(path, values, "processor_load", 0, 100 * MAX_PROCESSORS)
            group = GroupDefinition(name, lun, preferred, possible, None, delay_ms, policy, *memory)
            network = values.get("network", "")
            if not isinstance(network, str) or (network and not NETWORK_NAME.fullmatch(network)):
                self._wrong.add(path, f'`network` is {shown(network)}; write a name such as "Production"', "network")
                network = ""
            groups.append(replace(group, processor_load=load, network=network))
        return groups

    def _domains(self, lab: Mapping[str, Any], profile: str, key: str) -> list[str]:
        """The site, rack or chassis of each node, "" for none."""
        names, none = lab.get(key, []), [""] * len(self._nodes)
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            names = ["?"]
        if names and len(names) != len(none):
            text = f'`{key}` is no list of one name per node; write one such as ["Paris", "Rome"]'
            self._wrong.add(_LAB, text, key)
            return none
        if names and not knows_sites(profile):
            self._wrong.add(_LAB, f"{profile} knows no sites; take profile ws2016 or later", key)
        return names or none

    def _table(self, path: Path, table: Mapping[str, Any], key: str) -> Mapping[str, Any]:
        value = table.get(key, {})
        if isinstance(value, dict):
            return value
        self._wrong.add(path, f"`{key}` is no table; write [{'.'.join(map(str, path))}.{key}]", key)
        return {}

    def _whole(self, path: Path, values: Mapping[str, Any], key: str, default: int, most: int) -> int:
        value = values.get(key, default)
        if type(value) is int and 0 <= value <= most:
            return value
        self._wrong.add(path, f"`{key}` is {shown(value)}; write a whole number from 0 to {most}", key)
        return default

    def _ids(self, path: Path, values: Mapping[str, Any], key: str) -> tuple[NodeId, ...]:
        ids = values.get(key, [])
        known = range(1, len(self._nodes) + 1)
        good = isinstance(ids, list) and all(type(each) is int and each in known for each in ids)
        if good and len(set(ids)) == len(ids):
            return tuple(NodeId(each) for each in ids)
        self._wrong.add(path, f"`{key}` is {shown(ids)}; write different ids from 1 to {len(self._nodes)}", key)
        return ()

    def _rules_and_sets(self, lab: Mapping[str, Any]) -> tuple[tuple[AffinityRule, ...], tuple[GroupSet, ...]]:
        rules: list[AffinityRule] = []
        sets: list[GroupSet] = []
        for key, keys in (("affinity", RULE_KEYS), ("set", SET_KEYS)):
            tables = lab.get(key, [])
            if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
                self._wrong.add(_LAB, f"`{key}` is no list of tables; write each as [[lab.{key}]]", key)
                continue
            for at, table in enumerate(tables):
                path: Path = (*_LAB, key, at)
                self._wrong.known(path, table, keys)
                if key == "affinity":
                    rule, wrong = read_rule(table, self._vms)
                    rules.append(rule)
                else:
                    each, wrong = read_set(table, self._vms)
                    sets.append(each)
                for name, text in wrong:
                    self._wrong.add(path, text, name)
        for key, text in complaints(rules, sets):
            self._wrong.add(_LAB, text, key)
        return tuple(rules), tuple(sets)

    def _properties(self, lab: Mapping[str, Any]) -> Properties:
        profile, values = lab.get("profile", DEFAULT_PROFILE), lab.get("properties", {})
        if profile not in PROFILES:
            self._wrong.add(_LAB, f"there is no profile {profile!r}; one of {', '.join(PROFILES)}", "profile")
            profile = DEFAULT_PROFILE
        if not isinstance(values, dict):
            self._wrong.add(_LAB, "`properties` is no table; write [lab.properties]", "properties")
            values = {}
        kinds = {field.name: type(field.default) for field in fields(Properties) if field.name != "profile"}
        self._wrong.known(_PROPERTIES, values, tuple(kinds))
        words = {bool: "true or false", int: "a whole number", float: "a number"}
        good: dict[str, Any] = {}
        for key, value in values.items():
            kind = kinds.get(key)
            if kind is None:
                continue
            fits = type(value) is kind or (kind is float and type(value) is int)
            if fits and (isinstance(value, float) or abs(value) < WHOLE_LIMIT):
                good[key] = value
            else:
                smaller = "a smaller number" if fits else words[kind]
                self._wrong.add(_PROPERTIES, f"`{key}` is {shown(value)}; write {smaller}", key)
        properties = with_values(defaults(profile), good)
        for key, text in problems(properties):
            self._wrong.add(_PROPERTIES, text, key)
        return properties
