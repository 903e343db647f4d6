"""A study's file: which components fail how often, and which topologies are compared.

Law: shapes and their checks; everything wrong with a file is said at once, with its line. Nothing is simulated here.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from random import Random
from typing import Any, Final

from hvcluster.model.complaints import Complaints
from hvcluster.model.definition import ClusterDefinition, GroupDefinition, NodeDefinition
from hvcluster.model.properties import DEFAULT_PROFILE, PROFILES, Properties, defaults, problems, with_values
from hvcluster.model.vocabulary import LunId, NodeId, PathName

SECONDS: Final = {"mttr_h": 3600.0, "mttr_min": 60.0, "mttr_s": 1.0}
BUS_NAMES: Final = "ABCD"
MAX_HOSTS: Final = 16  # each situation is played out with the real cores; beyond this a study would take hours
MAX_VMS: Final = 64
MAX_YEARS: Final = 10_000_000.0
MAX_BOOT_S: Final = 150.0  # a bring-online step may take 180 s (pending_timeout_ms), the disk included
MAX_HOURS: Final = 1e9

_FILE_KEYS: Final = ("boot_s", "rates", "repair_crews", "seed", "topology", "vms", "why", "years")
_RATE_KEYS: Final = ("failure", "failure_shape", "mttf_h", *SECONDS, "repair", "repair_shape")
_TOPOLOGY_KEYS: Final = (
    "arrays", "buses", "dynamic_quorum", "hosts", "name", "paths", "profile", "vms", "witness",
)  # fmt: skip


class Component(Enum):
    """What fails and is repaired. The value is its key in [rates]."""

    HOST = "host"
    ARRAY = "array"
    PATH = "path"
    BUS = "bus"
    GUEST_OS = "guest_os"
    APPLICATION = "application"


class Law(Enum):
    """How times spread around their mean."""

    EXPONENTIAL = "exponential"
    WEIBULL = "weibull"
    FIXED = "fixed"


@dataclass(frozen=True, slots=True)
class Spread:
    """A mean in seconds, infinite for never, and how the times spread around it."""

    mean_s: float
    law: Law = Law.EXPONENTIAL
    shape: float = 1.0

    def draw(self, random: Random) -> float:
        """One time in seconds."""
        if self.law is Law.FIXED or math.isinf(self.mean_s):
            return self.mean_s
        if self.law is Law.WEIBULL:
            return random.weibullvariate(self.mean_s / math.gamma(1 + 1 / self.shape), self.shape)
        return random.expovariate(1 / self.mean_s)


@dataclass(frozen=True, slots=True)
class Rate:
    """How long one component works, and how long its repair takes."""

    failure: Spread
    repair: Spread


@dataclass(frozen=True, slots=True)
class Topology:
    """One cluster that a planner thinks of."""

    name: str
    hosts: int
    witness: bool
    properties: Properties
    paths: int = 1
    buses: int = 2
    vms: int = 2
    boot_s: float = 30.0

    @property
    def bus_names(self) -> tuple[str, ...]:
        """The names of its heartbeat networks."""
        return tuple(BUS_NAMES[: self.buses])

    def definition(self, vms: int) -> ClusterDefinition:
        """The cluster as its nodes are given it, with so many VMs."""
        nodes = tuple(NodeDefinition(NodeId(n), f"HyperV-{n}") for n in range(1, self.hosts + 1))
        boot_ms = round(self.boot_s * 1000)
        groups = tuple(GroupDefinition(f"D{n}", LunId(n + 1), boot_delay_ms=boot_ms) for n in range(1, vms + 1))
        paths = tuple(PathName(chr(ord("A") + n)) for n in range(self.paths))
        witness = LunId(1) if self.witness else None
        return ClusterDefinition("study", "study", nodes, groups, witness, paths, self.properties)


@dataclass(frozen=True, slots=True)
class Study:
    """The whole question."""

    name: str
    why: str
    years: float
    seed: int
    rates: Mapping[Component, Rate]
    topologies: tuple[Topology, ...]
    repair_crews: int | None = None


class StudyError(Exception):
    """A study's file cannot be used; `problems` holds a sentence for each thing wrong with it, its line first."""

    def __init__(self, file: str, found: list[str]) -> None:
        self.file = file
        self.problems = found
        super().__init__(f"{file}: {'; '.join(found)}")


def read(file: str, data: bytes) -> Study:
    """The study in the text of `file`. Raises StudyError."""
    try:
        text = data.decode()
        document = tomllib.loads(text)
    except UnicodeDecodeError:
        raise StudyError(file, ["1: the file is not UTF-8; save it as UTF-8"]) from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise StudyError(file, [f"1: not TOML: {error}; correct that first"]) from None
    wrong = Complaints(text)
    name = file.replace("\\", "/").rpartition("/")[2].removesuffix(".toml")
    study = _Reader(wrong, document).study(name)
    if wrong.found:
        raise StudyError(file, wrong.sentences())
    return study


class _Reader:
    """Collects everything that is wrong while it reads; what it returns then is of no use."""

    def __init__(self, wrong: Complaints, document: dict[str, Any]) -> None:
        self._wrong = wrong
        self._document = document

    def study(self, name: str) -> Study:
        """The whole file."""
        wrong, document = self._wrong, self._document
        wrong.known((), document, _FILE_KEYS)
        why = document.get("why")
        if not isinstance(why, str) or not why.strip():
            wrong.add((), "`why` is missing; say in a sentence what the study is to answer", "why")
        years = wrong.number((), document, "years", 1, MAX_YEARS, "write how many virtual years to run, such as 20000")
        boot_s = self._number((), document, "boot_s", 30.0, 0.1, MAX_BOOT_S)
        crews = self._whole((), document, "repair_crews", 1, 1, 1000) if "repair_crews" in document else None
        seed = self._whole((), document, "seed", 1, 0, 2**63 - 1)
        vms = self._whole((), document, "vms", 2, 1, MAX_VMS)
        rates = self._rates()
        topologies = self._topologies(vms, boot_s)
        return Study(name, str(why).strip(), years or 1.0, seed, rates, topologies, crews)

    def _whole(
        self, path: tuple[str | int, ...], table: Mapping[str, Any], key: str, default: int, least: int, most: int
    ) -> int:
        value = table.get(key, default)
        if type(value) is int and least <= value <= most:
            return value
        self._wrong.add(path, f"`{key}` is {value!r}; write a whole number from {least} to {most}", key)
        return default

    def _number(
        self, path: tuple[str | int, ...], table: Mapping[str, Any], key: str, default: float, least: float, most: float
    ) -> float:
        if key not in table:
            return default
        value = self._wrong.number(path, table, key, least, most, f"write a number from {least:g} to {most:g}")
        return default if value is None else value

    # [rates]

    def _rates(self) -> dict[Component, Rate]:
        wrong = self._wrong
        tables = self._document.get("rates", {})
        if not isinstance(tables, dict):
            wrong.add((), "`rates` is no table; write [rates.host] and so on", "rates")
            return {}
        wrong.known(("rates",), tables, [component.value for component in Component])
        found: dict[Component, Rate] = {}
        for component in Component:
            table = tables.get(component.value)
            if isinstance(table, dict):
                found[component] = self._rate(component, table)
            else:
                remedy = f"write [rates.{component.value}] with mttf_h and one of {', '.join(SECONDS)}"
                wrong.add(("rates",), f"the rates of `{component.value}` are missing; {remedy}", component.value)
        return found

    def _rate(self, component: Component, table: Mapping[str, Any]) -> Rate:
        wrong, path = self._wrong, ("rates", component.value)
        wrong.known(path, table, _RATE_KEYS)
        if table.get("mttf_h") == math.inf:
            mttf_h: float | None = math.inf
        else:
            remedy = "write the mean hours of work until it fails; inf if it never does"
            mttf_h = wrong.number(path, table, "mttf_h", 1e-3, MAX_HOURS, remedy)
        given = [key for key in SECONDS if key in table]
        mttr_s: float | None = None
        if len(given) == 1:
            least = 1e-3 / SECONDS[given[0]]
            mttr = wrong.number(path, table, given[0], least, MAX_HOURS, "write the mean time of a repair, above 0")
            mttr_s = None if mttr is None else mttr * SECONDS[given[0]]
        elif given:
            wrong.add(path, f"{' and '.join(given)} say the same twice; keep one of them", given[1])
        else:
            names = ", ".join(f"`{key}`" for key in SECONDS)
            wrong.add(path, f"the mean time of a repair is missing; write one of {names}", "mttr_h")
        return Rate(
            self._spread(path, table, "failure", (mttf_h or 1.0) * 3600),
            self._spread(path, table, "repair", mttr_s or 1.0),
        )

    def _spread(self, path: tuple[str | int, ...], table: Mapping[str, Any], key: str, mean_s: float) -> Spread:
        wrong, shape_key = self._wrong, f"{key}_shape"
        word = table.get(key, Law.EXPONENTIAL.value)
        law = next((law for law in Law if law.value == word), None)
        if law is None:
            wrong.add(path, f"`{key}` is {word!r}; one of {', '.join(law.value for law in Law)}", key)
            law = Law.EXPONENTIAL
        elif law is Law.WEIBULL and shape_key not in table:
            wrong.add(path, f"`{shape_key}` is missing; a weibull law needs one (1 is exponential)", key)
        elif law is not Law.WEIBULL and shape_key in table:
            wrong.add(path, f'`{shape_key}` belongs to {key} = "weibull"; take it away, or say so', shape_key)
        return Spread(mean_s, law, self._number(path, table, shape_key, 1.0, 0.2, 20.0))

    # [[topology]]

    def _topologies(self, vms: int, boot_s: float) -> tuple[Topology, ...]:
        wrong = self._wrong
        tables = self._document.get("topology", [])
        if not isinstance(tables, list) or not tables or not all(isinstance(table, dict) for table in tables):
            wrong.add((), "there is nothing to compare; write at least one [[topology]] table", "topology")
            return ()
        found = tuple(self._topology(at, table, vms, boot_s) for at, table in enumerate(tables))
        for at, topology in enumerate(found):
            if topology.name and topology.name in [other.name for other in found[:at]]:
                wrong.add(("topology", at), f"a second topology is called {topology.name!r}; rename one", "name")
        return found

    def _topology(self, at: int, table: Mapping[str, Any], vms: int, boot_s: float) -> Topology:
        wrong, path = self._wrong, ("topology", at)
        wrong.known(path, table, _TOPOLOGY_KEYS)
        name = table.get("name")
        if not isinstance(name, str) or not name.strip() or len(name) > 60 or "\n" in name or "|" in name:
            wrong.add(path, "`name` is missing or no short text; it heads a row of the table", "name")
            name = ""
        for key in ("hosts", "witness"):
            if key not in table:
                wrong.add(path, f"`{key}` is missing; it is what is compared", key)
        if table.get("arrays", 1) != 1:
            wrong.add(path, "`arrays` can only be 1: the emulator has one shared array and no replication", "arrays")
        return Topology(
            name.strip(),
            self._whole(path, table, "hosts", 1, 1, MAX_HOSTS),
            wrong.truth(path, table, "witness", False),
            self._properties(path, table),
            self._whole(path, table, "paths", 1, 1, 4),
            self._whole(path, table, "buses", 2, 1, len(BUS_NAMES)),
            self._whole(path, table, "vms", vms, 1, MAX_VMS),
            boot_s,
        )

    def _properties(self, path: tuple[str | int, ...], table: Mapping[str, Any]) -> Properties:
        wrong = self._wrong
        profile = table.get("profile", DEFAULT_PROFILE)
        if profile not in PROFILES:
            wrong.add(path, f"`profile` is {profile!r}; one of {', '.join(PROFILES)}", "profile")
            profile = DEFAULT_PROFILE
        properties = defaults(profile)
        dynamic = wrong.truth(path, table, "dynamic_quorum", properties.dynamic_quorum)
        witness = properties.dynamic_witness and dynamic
        properties = with_values(properties, {"dynamic_quorum": dynamic, "dynamic_witness": witness})
        for _, sentence in problems(properties):
            wrong.add(path, sentence, "dynamic_quorum")
        return properties
