"""A cluster's settings as a file, and the way back to them: policies, owners, rules, votes, and what is to be online.

Law: reads and asks, like an administrator would; each step is a request of its own that the cluster may refuse. Where
groups run now, and their generations, are no settings: nothing of them is ever put back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hvcluster.model import codec
from hvcluster.model.policy import AffinityRule, FaultDomain, Policy, RuleKind
from hvcluster.model.properties import CHANGEABLE, Changes, Properties
from hvcluster.model.vocabulary import NodeId
from hvcluster.v1 import node_pb2

from .errors import Exit, Failure
from .inventory import properties_of
from .observer import Observer

FORM: Final = 1
MAX_BYTES: Final = 16 << 20


@dataclass(frozen=True, slots=True)
class GroupSettings:
    """What somebody has wished for a group."""

    name: str
    policy: Policy
    preferred: tuple[NodeId, ...]
    possible: tuple[NodeId, ...]
    online: bool


@dataclass(frozen=True, slots=True)
class Backup:
    """The settings of a cluster at one moment."""

    cluster: str
    cluster_id: str
    groups: tuple[GroupSettings, ...]
    rules: tuple[AffinityRule, ...]
    voters: tuple[NodeId, ...]
    witness: bool
    form: int = FORM
    changes: Changes = ()


@dataclass(frozen=True, slots=True)
class Step:
    """One difference, in words, and the request that ends it."""

    text: str
    request: node_pb2.OperatorRequest


def backup_of(status: node_pb2.StatusReply, properties: Properties) -> Backup:
    """The settings that a node tells of. Raises codec.Malformed where a newer node says what nobody here knows."""
    groups = tuple(
        GroupSettings(
            row.name,
            codec.load(Policy, row.policy.encode()),
            tuple(NodeId(node) for node in row.preferred),
            tuple(NodeId(node) for node in row.possible),
            row.desired_online,
        )
        for row in status.groups
    )
    rules = tuple(
        AffinityRule(row.name, RuleKind(row.kind), tuple(sorted(row.groups)), row.soft, _level(row.level))
        for row in status.rules
    )
    changes = tuple((name, int(getattr(properties, name))) for name in CHANGEABLE)
    voters = tuple(NodeId(row.id) for row in status.nodes if row.weight and not row.outside)
    return Backup(
        status.cluster,
        status.cluster_id,
        groups,
        rules,
        voters,
        status.quorum_row.mode != "NodeMajority",
        FORM,
        changes,
    )


def save(path: Path, backup: Backup) -> None:
    """Write the file; one that is there already is kept. Raises Failure."""
    try:
        with path.open("xb") as file:
            file.write(codec.dump(backup) + b"\n")
    except FileExistsError:
        raise Failure(Exit.REFUSED, f"{path} is there already", "name another file") from None
    except OSError as error:
        raise Failure(Exit.REFUSED, f"{path} cannot be written: {error.strerror}") from None


def load(path: Path) -> Backup:
    """Read the file. Raises Failure."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise Failure(Exit.NOT_FOUND, f"{path} cannot be read: {error.strerror}") from None
    try:
        backup = codec.load(Backup, data)
    except codec.Malformed as error:
        raise Failure(Exit.USAGE, f"{path} is no backup of a cluster: {error}", "make one with `hvc backup`") from None
    if backup.form != FORM:
        raise Failure(Exit.USAGE, f"{path} is a backup of form {backup.form}, and not {FORM}")
    return backup


def differences(backup: Backup, now: Backup) -> list[Step]:
    """What has to be asked for so that `now` is as it was; in an order in which nothing stands in the way of the next.

    Raises Failure for a backup of another cluster, or of groups that are not there any more.
    """
    if backup.cluster_id != now.cluster_id:
        text = f"the backup is of cluster {backup.cluster} ({backup.cluster_id}), and this is {now.cluster}"
        raise Failure(Exit.REFUSED, f"{text} ({now.cluster_id})", "settings of one cluster are not those of another")
    missing = {each.name for each in backup.groups} - {each.name for each in now.groups}
    if missing:
        raise Failure(Exit.REFUSED, f"{min(missing)} is not a group of this cluster any more", "see `hvc status`")
    return [
        *_properties(backup, now), *_rules(backup, now), *_groups(backup, now), *_votes(backup, now),
        *_states(backup, now),
    ]  # fmt: skip


async def restore(observer: Observer, backup: Backup, tell: Callable[[str], None]) -> int:
    """Put the settings back; how many steps that took. Raises Failure at the first that is refused, and names what is
    left.
    """
    steps = differences(backup, await current(observer))
    for at, step in enumerate(steps):
        try:
            await observer.insist(step.request)
        except Failure as error:
            left = "; ".join(each.text for each in steps[at:][:3])
            text = f"{error.text}; not restored ({len(steps) - at} of {len(steps)}): {left}"
            raise Failure(error.status, text, error.remedy or "mend that, and restore again") from None
        tell(step.text)
    return len(steps)


async def current(observer: Observer) -> Backup:
    """The settings now, as the node to believe has them. Raises Failure."""
    picture = await observer.look()
    best = picture.best
    if best is None or not best.quorum:
        raise Failure(Exit.UNREACHABLE, "no node with quorum answers", "see `hvc status`")
    return backup_of(best, properties_of(picture))


def _properties(backup: Backup, now: Backup) -> Iterator[Step]:
    """Those that change while the cluster runs."""
    for name, value in backup.changes:
        if dict(now.changes).get(name) != value:
            wanted = node_pb2.SetClusterPropertyRequest(name=name, value=value)
            yield Step(f"{name} is {value}", node_pb2.OperatorRequest(set_cluster_property=wanted))


def _level(said: str) -> FaultDomain:
    return FaultDomain(said) if said else FaultDomain.SITE


def _rules(backup: Backup, now: Backup) -> Iterator[Step]:
    wanted = {rule.name: rule for rule in backup.rules}
    for rule in now.rules:
        if rule.name not in wanted:
            request = node_pb2.RemoveAffinityRuleRequest(name=rule.name)
            yield Step(f"rule {rule.name} is removed", node_pb2.OperatorRequest(remove_affinity_rule=request))
    for rule in backup.rules:
        if rule not in now.rules:
            row = node_pb2.AffinityRuleRow(
                name=rule.name, kind=rule.kind.value, groups=rule.groups, soft=rule.soft, level=rule.level.value
            )
            request_ = node_pb2.SetAffinityRuleRequest(rule=row)
            yield Step(f"rule {rule.name} is as it was", node_pb2.OperatorRequest(set_affinity_rule=request_))


def _groups(backup: Backup, now: Backup) -> Iterator[Step]:
    there = {each.name: each for each in now.groups}
    for was in backup.groups:
        each = there[was.name]
        if (was.policy, was.preferred, was.possible) != (each.policy, each.preferred, each.possible):
            request = node_pb2.SetGroupRequest(
                group=was.name,
                policy=codec.dump(was.policy).decode(),
                preferred=was.preferred,
                possible=was.possible,
            )
            yield Step(f"the policy of {was.name} is as it was", node_pb2.OperatorRequest(set_group=request))


def _votes(backup: Backup, now: Backup) -> Iterator[Step]:
    """Votes are given before they are taken away."""
    given, taken = set(backup.voters) - set(now.voters), set(now.voters) - set(backup.voters)
    if backup.witness and not now.witness:
        yield Step("the witness is used", _quorum(True))
    for node, weight in (*((node, 1) for node in sorted(given)), *((node, 0) for node in sorted(taken))):
        request = node_pb2.SetNodeWeightRequest(node=node, weight=weight)
        yield Step(f"NodeWeight of node {node} is {weight}", node_pb2.OperatorRequest(set_node_weight=request))
    if now.witness and not backup.witness:
        yield Step("the witness is given up", _quorum(False))


def _quorum(used: bool) -> node_pb2.OperatorRequest:
    return node_pb2.OperatorRequest(set_quorum=node_pb2.SetQuorumRequest(witness=used))


def _states(backup: Backup, now: Backup) -> Iterator[Step]:
    online = {each.name: each.online for each in now.groups}
    for was in backup.groups:
        if was.online != online[was.name]:
            request = node_pb2.SetGroupOnlineRequest(group=was.name, online=was.online)
            state = "online" if was.online else "offline"
            yield Step(f"{was.name} is {state}", node_pb2.OperatorRequest(set_group_online=request))
