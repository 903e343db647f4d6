"""Cluster properties: Windows names in snake case with a unit, the defaults of each profile, and what must fit
together.

Law: pure values and checks. Durations are unscaled here; `Timing` holds the scaled ones in microseconds.
Source of the figures: the product's documented defaults (docs/divergence.md names every value chosen otherwise).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Final, TypeAlias

from .vocabulary import US_PER_MS

PROFILES: Final = ("ws2008r2", "ws2012", "ws2012r2", "ws2016", "ws2019", "ws2022", "ws2025")
DEFAULT_PROFILE: Final = "ws2012r2"

RELOGIN_US: Final = 1_200_000
"""After an array's restart all nodes log in again within this time, whatever the time scale: their retries are real."""

MAX_CLOCK_DRIFT: Final = 0.01
"""Two clocks of one lab may run apart by one part in a hundred; leases are shortened by it."""


@dataclass(frozen=True, slots=True)
class Properties:
    """Common properties of one cluster, before `time_scale` is applied."""

    profile: str = DEFAULT_PROFILE
    time_scale: float = 1.0
    same_subnet_delay_ms: int = 1000
    same_subnet_threshold: int = 10
    regroup_delay_ms: int = 0
    connection_loss_detection: bool = False
    dynamic_quorum: bool = True
    dynamic_witness: bool = True
    lower_quorum_priority_node_id: int = 0
    last_node_keeps_disk_witness: bool = False  # a dead node's vote stays if one node and a disk witness would be left
    disk_arb_interval_ms: int = 3000
    arbitration_delay_ms: int = 6000
    witness_restart_interval_ms: int = 900_000
    looks_alive_poll_interval_ms: int = 5000
    cluster_group_wait_delay_ms: int = 120_000
    failover_threshold: int = -1
    failover_period_ms: int = 6 * 3_600_000
    retry_period_on_failure_ms: int = 3_600_000
    pending_timeout_ms: int = 180_000
    path_loss_grace_ms: int = 5_000
    scsi_timeout_ms: int = 10_000
    guest_disk_timeout_ms: int = 60_000
    concurrent_starts: int = 32
    cluster_enforced_anti_affinity: bool = False
    group_dependency_timeout_ms: int = 600_000
    auto_balancer_mode: int = 0
    auto_balancer_level: int = 1
    auto_balancer_interval_ms: int = 1_800_000
    snapshot_entries: int = 2_000
    resiliency_level: int = 0
    resiliency_default_period_ms: int = 0
    quarantine_threshold: int = 0
    quarantine_duration_ms: int = 7_200_000
    quarantine_window_ms: int = 3_600_000
    storage_resiliency_period_ms: int = 0
    maximum_virtual_machine_migrations: int = 2
    maximum_parallel_migrations: int = 0  # 0: no limit for the whole cluster
    virtual_machine_migration_performance_option: int = 1  # 0: as it is, 1: compressed
    drain_on_shutdown: bool = True
    workgroup: bool = False  # its nodes are in no domain
    shutdown_timeout_ms: int = 1_200_000
    move_type_threshold: int = 1000  # a drain live-migrates VMs of this priority or above, and saves those below

    @property
    def migrates_live(self) -> bool:
        """Whether VMs may be live-migrated: hosts in no domain trust each other by certificates, from ws2025 on."""
        return not self.workgroup or self.profile == "ws2025"

    @property
    def force_quorum_resiliency(self) -> bool:
        """Whether a side with quorum yields to a side that was forced (Windows Server 2012 R2 and later)."""
        return self.profile not in ("ws2008r2", "ws2012")


LIMITS: Final[dict[str, tuple[float, float]]] = {
    "time_scale": (0.01, 10.0),  # below 0.01 a heartbeat would be due every 10 ms, less than a scheduling delay
    "same_subnet_delay_ms": (250, 2000),
    "same_subnet_threshold": (3, 120),
    "regroup_delay_ms": (0, 60_000),
    "lower_quorum_priority_node_id": (0, 64),
    "disk_arb_interval_ms": (1000, 60_000),
    "arbitration_delay_ms": (2000, 60_000),  # the owner looks three times within it
    "witness_restart_interval_ms": (300_000, 86_400_000),
    "looks_alive_poll_interval_ms": (1000, 600_000),
    "cluster_group_wait_delay_ms": (0, 3_600_000),
    "failover_threshold": (-1, 1000),
    "failover_period_ms": (1, 1193 * 3_600_000),
    "retry_period_on_failure_ms": (1_000, 86_400_000),
    "pending_timeout_ms": (1_000, 3_600_000),
    "path_loss_grace_ms": (500, 600_000),
    "scsi_timeout_ms": (500, 600_000),
    "guest_disk_timeout_ms": (1_000, 3_600_000),
    "concurrent_starts": (1, 1024),
    "group_dependency_timeout_ms": (0, 86_400_000),
    "auto_balancer_mode": (0, 2),
    "auto_balancer_level": (1, 3),
    "auto_balancer_interval_ms": (1_000, 86_400_000),
    "snapshot_entries": (10, 1_000_000),
    "resiliency_level": (0, 2),
    "resiliency_default_period_ms": (0, 86_400_000),
    "quarantine_threshold": (0, 1000),
    "quarantine_duration_ms": (1_000, 86_400_000),
    "quarantine_window_ms": (1_000, 86_400_000),
    "storage_resiliency_period_ms": (0, 86_400_000),
    "maximum_virtual_machine_migrations": (1, 1024),
    "maximum_parallel_migrations": (0, 1024),
    "virtual_machine_migration_performance_option": (0, 1),
    "shutdown_timeout_ms": (1_000, 86_400_000),
    "move_type_threshold": (0, 3001),
}


CHANGEABLE: Final = (
    "auto_balancer_level",
    "auto_balancer_mode",
    "cluster_enforced_anti_affinity",
    "drain_on_shutdown",
    "failover_threshold",
    "lower_quorum_priority_node_id",
    "maximum_parallel_migrations",
    "maximum_virtual_machine_migrations",
    "move_type_threshold",
    "quarantine_threshold",
    "virtual_machine_migration_performance_option",
)
"""Properties that an operator may change while the cluster runs; nothing that any proof or timer rests on."""

Changes: TypeAlias = tuple[tuple[str, int], ...]
"""What operators have changed, by name, in order of names; truths are 0 and 1, as in the product."""


def changed(made: Properties, changes: Changes) -> Properties:
    """The properties with some changed. Raises KeyError with the first unknown name."""
    values = {name: bool(value) if isinstance(getattr(made, name), bool) else value for name, value in changes}
    return with_values(made, values) if values else made


def knows_sites(profile: str) -> bool:
    """Whether nodes of this version have a place (ws2016 and later)."""
    return PROFILES.index(profile) >= PROFILES.index("ws2016")


def watches_applications(profile: str) -> bool:
    """Whether the cluster acts on a critical application inside a VM (ws2012 and later)."""
    return profile != "ws2008r2"


def protects_networks(profile: str) -> bool:
    """Whether a VM leaves a host whose cable to its network is out (ws2012r2 and later)."""
    return PROFILES.index(profile) >= PROFILES.index("ws2012r2")


def knows_priorities(profile: str) -> bool:
    """Whether a group of high priority takes the place of a lesser one (ws2012 and later)."""
    return profile != "ws2008r2"


def spreads_coordinators(profile: str) -> bool:
    """Whether coordinators of shared volumes are spread over the nodes whenever that is better (ws2012r2 and later)."""
    return profile not in ("ws2008r2", "ws2012")


def defaults(profile: str) -> Properties:
    """The properties a new cluster of this version starts with. Raises KeyError for a profile that does not exist."""
    if profile not in PROFILES:
        raise KeyError(profile)
    old = profile in ("ws2008r2", "ws2012")
    resilient = profile not in ("ws2008r2", "ws2012", "ws2012r2")
    return Properties(
        profile=profile,
        same_subnet_threshold=5 if old else 10,
        dynamic_quorum=profile != "ws2008r2",
        dynamic_witness=not old,
        auto_balancer_mode=2 if knows_sites(profile) else 0,
        resiliency_level=2 if resilient else 0,
        resiliency_default_period_ms=240_000 if resilient else 0,
        quarantine_threshold=3 if resilient else 0,
        storage_resiliency_period_ms=1_800_000 if resilient else 0,
        maximum_parallel_migrations=1 if profile in ("ws2022", "ws2025") else 0,
        virtual_machine_migration_performance_option=0 if old else 1,
        drain_on_shutdown=not old,
        move_type_threshold=2000 if profile == "ws2012" else 1000,
    )


def problems(properties: Properties) -> list[tuple[str, str]]:
    """Every broken rule as (property, sentence with a remedy); an empty list means the properties fit together."""
    found: list[tuple[str, str]] = []
    for name, (low, high) in LIMITS.items():
        value = getattr(properties, name)
        if not low <= value <= high:
            found.append((name, f"{name} is {value:g}; choose a value from {low:g} to {high:g}"))
    if properties.profile not in PROFILES:
        found.append(("profile", f"profile {properties.profile!r} does not exist; one of {', '.join(PROFILES)}"))
    p = properties
    if p.profile == "ws2008r2" and p.same_subnet_threshold > 10:
        found.append(("same_subnet_threshold", "ws2008r2 allows a same_subnet_threshold of 10 at most"))
    if p.profile == "ws2008r2" and p.dynamic_quorum:
        found.append(("dynamic_quorum", "ws2008r2 has no dynamic quorum; set it to false or take a later profile"))
    if p.profile in ("ws2008r2", "ws2012") and p.virtual_machine_migration_performance_option:
        text = f"{p.profile} compresses no memory; set it to 0 or take ws2012r2"
        found.append(("virtual_machine_migration_performance_option", text))
    if p.profile in ("ws2008r2", "ws2012") and p.drain_on_shutdown:
        found.append(("drain_on_shutdown", f"{p.profile} has no drain on shutdown; set it to false or take ws2012r2"))
    if p.workgroup and not knows_sites(p.profile):
        found.append(("workgroup", f"{p.profile} needs a domain; set workgroup to false or take ws2016"))
    if p.dynamic_witness and not p.dynamic_quorum:
        found.append(("dynamic_witness", "a dynamic witness needs dynamic_quorum = true"))
    if p.guest_disk_timeout_ms < p.scsi_timeout_ms:
        found.append(
            (
                "guest_disk_timeout_ms",
                "a guest would give up before one SCSI command does; raise it to scsi_timeout_ms or more",
            )
        )
    if p.retry_period_on_failure_ms < 900_000 and p.time_scale >= 1.0 and p.failover_threshold == 0:
        found.append(("failover_threshold", "0 forbids every failover; leave it at -1 (nodes - 1) or set 1 or more"))
    return found


@dataclass(frozen=True, slots=True)
class Timing:
    """The scaled durations that cores use, in microseconds."""

    delay: int
    threshold: int
    detection: int  # silence after which a route, and a peer, counts as lost
    sticky: int  # a voter that heard the leader this recently refuses other candidates
    lease: int  # a leader may count on a voter this long after sending what the voter echoed
    stagger: int  # gap between the candidacies of voters by rank
    regroup: int
    arbitration: int  # DiskArbInterval
    challenge: int  # 2 x DiskArbInterval + 1 s
    arbitration_delay: int  # the same for a witness that is a file
    witness_call: int  # a question to it has its answer, or none, within this; its owner looks that often
    witness_restart: int
    looks_alive: int
    group_wait: int
    failover_period: int
    retry: int
    pending: int
    path_grace: int
    scsi: int
    guest_disk: int
    group_dependency: int
    balance: int
    scale: float
    quarantine: int
    quarantine_window: int
    shutdown: int  # a host that shuts down has ended its VMs by then
    storage_resiliency: int  # 0: a VM whose disk does not answer is turned off

    def of_ms(self, ms: int) -> int:
        """A duration that is no property, scaled."""
        return int(ms * self.scale * US_PER_MS)

    @property
    def longest_arbitration(self) -> int:
        """Whatever the witness is, a challenge for it does not last longer."""
        return max(self.challenge, self.arbitration_delay)

    @staticmethod
    def of(p: Properties) -> Timing:
        """Scale once, here, so that no core multiplies twice."""

        def us(ms: float) -> int:
            return max(1, int(ms * p.time_scale * US_PER_MS))

        delay = us(p.same_subnet_delay_ms)
        sticky = delay * (p.same_subnet_threshold - 1)
        return Timing(
            delay=delay,
            threshold=p.same_subnet_threshold,
            detection=delay * p.same_subnet_threshold,
            sticky=sticky,
            lease=int(sticky * (1 - 2 * MAX_CLOCK_DRIFT)),
            stagger=max(delay // 4, 10 * US_PER_MS),
            regroup=us(p.regroup_delay_ms) if p.regroup_delay_ms else 0,
            arbitration=us(p.disk_arb_interval_ms),
            challenge=us(2 * p.disk_arb_interval_ms + 1000),
            arbitration_delay=us(p.arbitration_delay_ms),
            witness_call=us(p.arbitration_delay_ms / 3),
            witness_restart=us(p.witness_restart_interval_ms),
            looks_alive=us(p.looks_alive_poll_interval_ms),
            group_wait=us(p.cluster_group_wait_delay_ms) if p.cluster_group_wait_delay_ms else 0,
            failover_period=us(p.failover_period_ms),
            retry=us(p.retry_period_on_failure_ms),
            pending=us(p.pending_timeout_ms),
            path_grace=max(us(p.path_loss_grace_ms), RELOGIN_US),
            scsi=us(p.scsi_timeout_ms),
            guest_disk=us(p.guest_disk_timeout_ms),
            balance=us(p.auto_balancer_interval_ms),
            group_dependency=us(p.group_dependency_timeout_ms),
            scale=p.time_scale,
            quarantine=us(p.quarantine_duration_ms),
            quarantine_window=us(p.quarantine_window_ms),
            shutdown=us(p.shutdown_timeout_ms),
            storage_resiliency=us(p.storage_resiliency_period_ms) if p.storage_resiliency_period_ms else 0,
        )


def resiliency_us(p: Properties, own_ms: int | None) -> int:
    """How long a VM goes on unmonitored on a node that is isolated, scaled; `own_ms`: its own period, None for the
    cluster's. 0: it fails over at once.
    """
    if p.resiliency_level == 0:
        return 0
    return int((p.resiliency_default_period_ms if own_ms is None else own_ms) * p.time_scale * US_PER_MS)


def with_values(properties: Properties, values: Mapping[str, int | float | bool | str]) -> Properties:
    """A copy with some values replaced. Raises KeyError with the first unknown name."""
    known = {field.name for field in fields(properties)}
    for name in values:
        if name not in known:
            raise KeyError(name)
    return replace(properties, **values)  # type: ignore[arg-type]
