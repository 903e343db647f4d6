"""Which lab a seed runs in: the one that was asked for, or one drawn from the seed.

Law: values only. The same seed draws the same lab on any machine.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

from hvcluster.model.definition import (
    ClusterDefinition,
    GroupDefinition,
    NodeDefinition,
    TagWitnessKind,
    on_volume,
    volumes_of,
)
from hvcluster.model.policy import AffinityRule, FaultDomain, GroupSet, Policy, Priority, RestartAction, RuleKind
from hvcluster.model.properties import DEFAULT_PROFILE, PROFILES, defaults, knows_sites, with_values
from hvcluster.model.vocabulary import LunId, MoveKind, NodeId, OfflineAction, PathName

from .role_labs import roles

Setting: TypeAlias = int | float | bool | str

MOST_NODES: Final = 9
MOST_PATHS: Final = 3
MOST_VMS: Final = 40
MOST_ROLES: Final = 3
ROLES: Final = 0.3
"""How many labs have roles of resources."""
MOST_VOLUMES: Final = 3
RESILIENCY_MS: Final = (0, 5_000, 20_000, 60_000, 240_000)
STORAGE_MS: Final = (0, 30_000, 600_000)
FAULT_EVERY_S: Final = (5.0, 10.0, 20.0, 40.0, 90.0)


@dataclass(frozen=True, slots=True)
class Plan:
    """What to simulate. `properties`: cluster properties that differ from the profile's.

    `wishes`: from which number policies, affinity rules and sets are drawn; 0: every VM has the defaults.
    `tag_witness`: the witness is of this kind instead of a disk. `roles`: so many groups of resources, drawn from
    `role_draw`.
    `volumes`: so many Cluster Shared Volumes there are, with the first `on_volumes` VMs on them, dealt out in turn.
    """

    nodes: int = 5
    vms: int = 20
    witness: bool = True
    paths: int = 1
    minutes: float = 10.0
    fault_every_s: float = 20.0
    profile: str = DEFAULT_PROFILE
    connection_loss_detection: bool = False
    requests_every_s: float = 5.0
    properties: tuple[tuple[str, Setting], ...] = ()
    wishes: int = 0
    tag_witness: TagWitnessKind | None = None
    roles: int = 0
    role_draw: int = 0
    volumes: int = 0
    on_volumes: int = 0

    def definition(self) -> ClusterDefinition:
        """The lab as nodes are given it."""
        split = self.nodes > 1 and self.wishes % 3 == 1 and knows_sites(self.profile)
        memory_mb = 1024 * (2 + 2 * self.vms // self.nodes) if self.wishes % 5 == 1 else 0
        processors = 4 if self.wishes % 7 == 1 else 0
        sites = ("Paris", "Rome") if split else ("",)
        nodes = tuple(
            NodeDefinition(
                NodeId(n), f"HyperV-{n}", 1, sites[n % len(sites)], memory_mb, processors, *self._shelf(n, split=split)
            )
            for n in range(1, self.nodes + 1)
        )
        groups = tuple(GroupDefinition(f"D{n}", LunId(n + 1)) for n in range(1, self.vms + 1))
        volumes = volumes_of(self.volumes, LunId(self.vms + 2))
        groups = tuple(on_volume(g, at, volumes) if at < self.on_volumes else g for at, g in enumerate(groups))
        rules: tuple[AffinityRule, ...] = ()
        sets: tuple[GroupSet, ...] = ()
        if self.wishes:
            draw = random.Random(f"{self.wishes}/wishes")
            groups = tuple(_wished(draw, group, self.nodes) for group in groups)
            how = random.Random(f"{self.wishes}/moves")
            groups = tuple(_moving(how, group) for group in groups)
            cards = random.Random(f"{self.wishes}/networks")
            groups = tuple(_connected(cards, group) for group in groups)
            rules = tuple(_levelled(how, rule) for rule in _rules(draw, groups))
            sets = _sets(draw, groups)
        groups += roles(self.roles, self.role_draw, self.vms + 2 + self.volumes)
        values: dict[str, Setting] = {
            "connection_loss_detection": self.connection_loss_detection,
            "retry_period_on_failure_ms": 120_000,  # an hour would outlast the run
            "snapshot_entries": 200,
            "shutdown_timeout_ms": 60_000,  # 20 minutes would, too
            **dict(self.properties),
        }
        paths = tuple(PathName(chr(ord("A") + n)) for n in range(self.paths))
        return ClusterDefinition(
            "sim", "sim", nodes, groups, LunId(1) if self.witness and self.tag_witness is None else None, paths,
            with_values(defaults(self.profile), values), rules, sets, sites[0] if split and self.wishes % 2 else "",
            self.tag_witness if self.witness else None, volumes,
        )  # fmt: skip

    def _shelf(self, node: int, *, split: bool) -> tuple[str, str]:
        """The rack and the chassis of a node, in some of the labs that have sites."""
        if not split or self.wishes % 2:
            return "", ""
        return f"Rack {node // 2 % 2}", f"Chassis {node // 4}" if self.wishes % 4 else ""

    def sentence(self) -> str:
        """The lab in a line."""
        extra = [f"{key} = {value}" for key, value in self.properties]
        kind = "disk" if self.tag_witness is None else self.tag_witness.value.replace("-", " ")
        witness = f"a {kind} witness" if self.witness else "no witness"
        words = [f"{self.nodes} nodes", f"{self.vms} VMs", witness, f"{self.paths} paths", self.profile, *extra]
        if self.roles:
            words.append(f"{self.roles} roles of resources ({self.role_draw})")
        if self.wishes:
            words.append(f"wishes {self.wishes}")
        if self.volumes:
            words.append(f"{self.volumes} volumes with {self.on_volumes} VMs")
        if self.connection_loss_detection:
            words.append("connection-loss detection")
        return ", ".join(words)


def random_plan(seed: int, wanted: Plan) -> Plan:
    """A lab drawn from the seed: 1 to 9 nodes, 0 to 40 VMs, 0 to 3 paths, every witness, quorum and profile."""
    draw = random.Random(f"{seed}/lab")
    nodes = 1 + min(draw.randrange(MOST_NODES), draw.randrange(MOST_NODES))
    plan = replace(
        wanted,
        nodes=nodes,
        vms=min(draw.randrange(MOST_VMS + 1), draw.randrange(MOST_VMS + 1)),
        witness=draw.random() < 0.6,
        paths=1 + min(draw.randrange(MOST_PATHS), draw.randrange(MOST_PATHS)),
        profile=PROFILES[draw.randrange(len(PROFILES))],
        connection_loss_detection=draw.random() < 0.3,
        fault_every_s=FAULT_EVERY_S[draw.randrange(len(FAULT_EVERY_S))],
    )
    if draw.random() < 0.03:
        plan = replace(plan, paths=0, vms=0, witness=False)  # nodes without an array: quorum alone
    properties: list[tuple[str, Setting]] = []
    if plan.profile != "ws2008r2" and draw.random() < 0.2:
        properties += [("dynamic_quorum", False), ("dynamic_witness", False)]
    if draw.random() < 0.2:
        properties.append(("regroup_delay_ms", 4_300))
    if draw.random() < 0.2:
        properties.append(("snapshot_entries", 20))
    if draw.random() < 0.2:
        properties.append(("lower_quorum_priority_node_id", 1 + draw.randrange(nodes)))
    if draw.random() < 0.3:
        properties.append(("cluster_enforced_anti_affinity", True))
    wishes = 1 + draw.randrange(2**31) if draw.random() < 0.5 else 0
    if wishes:
        properties.append(("group_dependency_timeout_ms", 60_000))
    properties += _resiliency(seed, plan.profile)
    moves = random.Random(f"{seed}/moves")
    threshold = moves.randrange(6)
    if threshold < 3:
        properties.append(("move_type_threshold", (2000, 3000, 3001)[threshold]))
    if moves.random() < 0.3:
        properties.append(("drain_on_shutdown", False))
    if knows_sites(plan.profile) and random.Random(f"{seed}/workgroup").random() < 0.1:
        properties.append(("workgroup", True))
    if random.Random(f"{seed}/last").random() < 0.25:
        properties.append(("last_node_keeps_disk_witness", True))
    if plan.witness or not plan.paths:
        kinds = (None, TagWitnessKind.FILE_SHARE, TagWitnessKind.CLOUD, None)
        kind = kinds[draw.randrange(4)]
        plan = replace(plan, witness=plan.witness or kind is not None, tag_witness=kind)
    plan = replace(plan, properties=tuple(properties), wishes=wishes)
    return _with_volumes(seed, _with_roles(seed, plan))


def _with_roles(seed: int, plan: Plan) -> Plan:
    """Some labs have roles of resources as well; drawn apart, so that all else stays the same."""
    draw = random.Random(f"{seed}/roles")
    if draw.random() >= ROLES or not plan.paths:
        return plan
    return replace(plan, roles=1 + draw.randrange(MOST_ROLES), role_draw=draw.randrange(2**31))


def _with_volumes(seed: int, plan: Plan) -> Plan:
    """In a third of the labs some VMs, or all, lie on volumes; drawn apart, so that all else stays the same."""
    draw = random.Random(f"{seed}/volumes")
    if not plan.paths or not plan.vms or draw.random() >= 0.35:
        return plan
    shared = plan.vms if draw.random() < 0.6 else 1 + draw.randrange(plan.vms)
    return replace(plan, volumes=1 + min(draw.randrange(MOST_VOLUMES), draw.randrange(MOST_VOLUMES)), on_volumes=shared)


def _wished(draw: random.Random, group: GroupDefinition, nodes: int) -> GroupDefinition:
    """A VM with wishes of its own."""
    owners = [NodeId(n) for n in range(1, nodes + 1)]
    draw.shuffle(owners)
    windows = ((-1, -1), (-1, -1), (0, 1), (22, 4))
    start, end = windows[draw.randrange(len(windows))]
    auto = draw.random() < 0.3
    policy = Policy(
        priority=(Priority.MEDIUM, Priority.MEDIUM, Priority.LOW, Priority.HIGH)[draw.randrange(4)],
        restart_action=RestartAction.RESTART_NOTIFY if draw.random() < 0.9 else RestartAction.RESTART_NO_NOTIFY,
        restart_threshold=draw.randrange(4),
        restart_delay_ms=(0, 500, 3_000)[draw.randrange(3)],
        auto_failback=auto,
        failback_window_start=start if auto else -1,
        failback_window_end=end if auto else -1,
        anti_affinity_class_names=("web",) if draw.random() < 0.15 else (),
        locked_from_moving=draw.random() < 0.05,
    )
    preferred = tuple(owners[: draw.randrange(1, nodes + 1)]) if draw.random() < 0.5 else ()
    return replace(group, preferred=preferred, policy=policy, memory_mb=1024 * (1 + draw.randrange(2)))


def _moving(draw: random.Random, group: GroupDefinition) -> GroupDefinition:
    """How it is taken offline, and how it leaves a node that is drained; drawn apart, so that all else stays."""
    action = tuple(OfflineAction)[draw.randrange(4)] if draw.random() < 0.5 else OfflineAction.SAVE
    kind = tuple(MoveKind)[draw.randrange(3)] if draw.random() < 0.2 else None
    policy = replace(group.policy, offline_action=action, default_move_type=kind)
    return replace(
        group,
        policy=policy,
        active_mb=(64, 128, 256)[draw.randrange(3)],
        processor_load=(0, 50, 150)[draw.randrange(3)],
    )


def _connected(draw: random.Random, group: GroupDefinition) -> GroupDefinition:
    """Its virtual network card; drawn apart, so that all else stays."""
    network = ("", "Production", "Production", "Backup")[draw.randrange(4)]
    policy = replace(group.policy, protected_network=draw.random() < 0.8)
    return replace(group, network=network, policy=policy)


def _rules(draw: random.Random, groups: tuple[GroupDefinition, ...]) -> tuple[AffinityRule, ...]:
    names = [group.name for group in groups]
    if len(names) < 4 or draw.random() < 0.5:
        return ()
    draw.shuffle(names)
    together, apart = [k for k in RuleKind if k.together], [k for k in RuleKind if not k.together]
    return (
        AffinityRule("together", together[draw.randrange(2)], tuple(sorted(names[:2])), soft=draw.random() < 0.5),
        AffinityRule("apart", apart[draw.randrange(2)], tuple(sorted(names[2:4])), soft=draw.random() < 0.5),
    )


def _levelled(draw: random.Random, rule: AffinityRule) -> AffinityRule:
    """One about fault domains speaks of sites, racks or chassis."""
    return replace(rule, level=tuple(FaultDomain)[draw.randrange(3)]) if rule.kind.by_domain else rule


def _sets(draw: random.Random, groups: tuple[GroupDefinition, ...]) -> tuple[GroupSet, ...]:
    names = [group.name for group in groups]
    if len(names) < 2 or draw.random() < 0.5:
        return ()
    half = len(names) // 2
    first = GroupSet("first", tuple(sorted(names[:half])), startup_delay_ms=(0, 5_000)[draw.randrange(2)])
    return first, GroupSet("second", tuple(sorted(names[half:])), ("first",), trigger_delay=draw.random() < 0.5)


def _resiliency(seed: int, profile: str) -> list[tuple[str, Setting]]:
    """Periods short enough for a run of minutes to see their ends; drawn apart, so that all else stays the same."""
    if not defaults(profile).resiliency_level:
        return []
    draw = random.Random(f"{seed}/resiliency")
    properties: list[tuple[str, Setting]] = [
        ("resiliency_default_period_ms", RESILIENCY_MS[draw.randrange(len(RESILIENCY_MS))]),
        ("quarantine_duration_ms", 60_000 + draw.randrange(120_000)),
        ("storage_resiliency_period_ms", STORAGE_MS[draw.randrange(len(STORAGE_MS))]),
    ]
    if draw.random() < 0.3:
        properties.append(("resiliency_level", draw.randrange(2)))
    if draw.random() < 0.3:
        properties.append(("quarantine_window_ms", 120_000))
    if draw.random() < 0.3:
        properties.append(("quarantine_threshold", draw.randrange(3)))
    return properties
