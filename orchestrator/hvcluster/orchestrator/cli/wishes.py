"""`hvc set group|node|cluster|quorum|affinityrule`, `hvc update`: what changes while the cluster runs.

Law: words into requests; what makes sense is for `model.policy_file` and the leader to say.
"""

from __future__ import annotations

import asyncio
import tomllib
from typing import TYPE_CHECKING, Any, Final

import click

from hvcluster.orchestrator.errors import Exit, Failure
from hvcluster.orchestrator.lab_reader import near

from .options import Choice, lab_options

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hvcluster.model.definition import ClusterDefinition
    from hvcluster.v1 import node_pb2

_KINDS: Final = ("same-node", "different-node", "same-fault-domain", "different-fault-domain")
_LEVELS: Final = ("site", "rack", "chassis")
_OWNERS: Final = ("preferred", "possible")


@click.group("set")
def set_() -> None:
    """Change a group, a node's vote or the quorum while the cluster runs."""


@set_.command("group")
@click.argument("vm")
@click.argument("wishes", nargs=-1, required=True, metavar="KEY=VALUE...")
@lab_options
def group(vm: str, wishes: tuple[str, ...], choice: Choice) -> None:
    """Change the policy of a VM, its preferred or its possible owners; what is not named stays.

    Keys and values are those of [[vm]] in a lab file; "default" is the value of a new VM.

    \b
    hvc set group D1 priority=high
    hvc set group D1 preferred=HyperV-1,HyperV-2 auto_failback=true failback_window=[22,4]
    hvc set group D1 anti_affinity_class_names=web restart_threshold=default
    hvc set group D1 monitored_services=journal,spooler
    """
    asked = dict(_split(wish) for wish in wishes)

    async def work() -> str:
        from hvcluster.orchestrator.observer import Observer
        from hvcluster.v1 import node_pb2

        driver = choice.driver()
        ids = {node.name.lower(): int(node.id) for node in driver.definition.nodes}
        async with Observer(driver) as observer:
            picture = await observer.look()
            rows = {row.name.lower(): row for row in picture.best.groups} if picture.best is not None else {}
            row = rows.get(vm.lower())
            if row is None:
                names = [each.name for each in rows.values()]
                raise Failure(Exit.NOT_FOUND, f"there is no VM {vm!r}", near(vm, names) or "see `hvc status`")
            request = _request(row, asked, ids)
            return (await observer.request(node_pb2.OperatorRequest(set_group=request))).text

    click.echo(asyncio.run(work()))


@set_.command("node")
@click.argument("name")
@click.option("--weight", type=click.IntRange(0, 1), required=True, help="NodeWeight: 1 to vote, 0 not to.")
@lab_options
def node(name: str, weight: int, choice: Choice) -> None:
    """Give a node a vote or take it away; it stays a member and keeps its VMs.

    \b
    hvc set node HyperV-3 --weight 0
    """
    from hvcluster.v1 import node_pb2

    ids = {each.name.lower(): int(each.id) for each in choice.driver().definition.nodes}
    vote = node_pb2.SetNodeWeightRequest(node=_node(name, ids), weight=weight)
    click.echo(asyncio.run(_asked(node_pb2.OperatorRequest(set_node_weight=vote), choice)))


@set_.command("cluster")
@click.argument("wishes", nargs=-1, required=True, metavar="PROPERTY=VALUE...")
@lab_options
def cluster(wishes: tuple[str, ...], choice: Choice) -> None:
    """Change properties of the cluster that may change while it runs; `hvc get cluster -o yaml` shows all.

    \b
    hvc set cluster lower_quorum_priority_node_id=2
    hvc set cluster AutoBalancerMode=0 QuarantineThreshold=5
    """
    from hvcluster.model.properties import CHANGEABLE
    from hvcluster.v1 import node_pb2

    known = {name.replace("_", ""): name for name in CHANGEABLE}
    asked: dict[str, int] = {}
    for wish in wishes:
        key, text = _split(wish)
        name = known.get(key.lower().replace("_", ""))
        if name is None:
            remedy = near(key, CHANGEABLE) or f"these change while it runs: {', '.join(CHANGEABLE)}"
            raise Failure(Exit.USAGE, f"{key!r} does not change while the cluster runs", remedy)
        words = {"true": 1, "false": 0}
        if text.lower() not in words and not text.lstrip("-").isdecimal():
            raise Failure(Exit.USAGE, f"{text!r} is no value of {name}", "write a whole number, true or false")
        asked[name] = words[text.lower()] if text.lower() in words else int(text[:18])
    for name, value in asked.items():
        wanted = node_pb2.SetClusterPropertyRequest(name=name, value=value)
        click.echo(asyncio.run(_asked(node_pb2.OperatorRequest(set_cluster_property=wanted), choice)))


@set_.command("quorum")
@click.option("--node-majority", is_flag=True, help="The nodes' votes alone count.")
@click.option("--disk-witness", metavar="LUN", help="The disk witness of the lab is used, such as LUN1.")
@click.option("--file-share-witness", is_flag=True, help="The file share witness of the lab is used.")
@click.option("--cloud-witness", is_flag=True, help="The cloud witness of the lab is used.")
@lab_options
def quorum(
    node_majority: bool, disk_witness: str | None, file_share_witness: bool, cloud_witness: bool, choice: Choice
) -> None:
    """Give up the witness that the lab file names, or use it again; votes follow one at a time.

    \b
    hvc set quorum --node-majority
    hvc set quorum --disk-witness LUN1
    """
    from hvcluster.v1 import node_pb2

    if sum((node_majority, disk_witness is not None, file_share_witness, cloud_witness)) != 1:
        raise Failure(Exit.USAGE, "it is not clear which quorum is meant", "give one option of `hvc set quorum`")
    if not node_majority:
        _has_witness(choice.driver().definition, disk_witness, "cloud" if cloud_witness else "file-share")
    wish = node_pb2.SetQuorumRequest(witness=not node_majority)
    click.echo(asyncio.run(_asked(node_pb2.OperatorRequest(set_quorum=wish), choice)))


@set_.command("affinityrule")
@click.argument("name")
@click.option("--kind", type=click.Choice(_KINDS, case_sensitive=False), help="What it asks for; a new one needs it.")
@click.option("--level", type=click.Choice(_LEVELS), help="Of fault domains; a site where nothing is said.")
@click.option("--add", "added", multiple=True, metavar="VM", help="This VM as well; may be given several times.")
@click.option("--drop", "dropped", multiple=True, metavar="VM", help="This VM no more.")
@click.option("--soft/--hard", default=None, help="Whether it gives way where no node fits.")
@lab_options
def affinityrule(
    name: str,
    kind: str | None,
    level: str | None,
    added: tuple[str, ...],
    dropped: tuple[str, ...],
    soft: bool | None,
    choice: Choice,
) -> None:
    """Make an affinity rule or change one. It binds placements to come, and moves nothing by itself.

    \b
    hvc set affinityrule apart --kind different-node --add D1 --add D2
    """

    async def work() -> str:
        from hvcluster.orchestrator.observer import Observer
        from hvcluster.v1 import node_pb2

        async with Observer(choice.driver()) as observer:
            best = (await observer.look()).best
            found = [each for each in best.rules if each.name == name] if best is not None else []
            row = found[0] if found else node_pb2.AffinityRuleRow(name=name, kind=kind or "")
            if not row.kind:
                raise Failure(Exit.NOT_FOUND, f"there is no affinity rule {name!r}", "make it with --kind")
            groups = sorted(({*row.groups} | {*added}) - {*dropped})
            gives = row.soft if soft is None else soft
            rule = node_pb2.AffinityRuleRow(
                name=name, kind=kind or row.kind, groups=groups, soft=gives, level=level or row.level
            )
            request = node_pb2.SetAffinityRuleRequest(rule=rule)
            return (await observer.request(node_pb2.OperatorRequest(set_affinity_rule=request))).text

    click.echo(asyncio.run(work()))


def _has_witness(definition: ClusterDefinition, disk: str | None, tag: str) -> None:
    """Raises Failure when the lab has another witness than the one that is meant."""
    there = "no witness"
    if definition.tag_witness is not None:
        there = f"a {definition.tag_witness.value} witness"
        if disk is None and tag == definition.tag_witness.value:
            return
    elif definition.witness_lun is not None:
        there = f"LUN{definition.witness_lun} as its disk witness"
        if disk is not None and disk.upper() in (f"LUN{definition.witness_lun}", str(definition.witness_lun)):
            return
    used = [g.name for g in definition.groups if disk is not None and disk.upper() in (f"LUN{g.lun}", str(g.lun))]
    text = f"{disk} is the disk of {used[0]}, which no witness can have" if used else f"this lab has {there}"
    raise Failure(Exit.REFUSED, text, "use what its lab file names, or --node-majority")


async def _asked(request: node_pb2.OperatorRequest, choice: Choice) -> str:
    from hvcluster.orchestrator.observer import Observer

    async with Observer(choice.driver()) as observer:
        return (await observer.request(request)).text


@click.command()
@click.argument("nodes", nargs=-1, metavar="[NODE...]")
@click.option("--dry-run", is_flag=True, help="Show the order and do nothing.")
@lab_options
def update(nodes: tuple[str, ...], dry_run: bool, choice: Choice) -> None:
    """Go round the nodes: drain one, restart it as a patch would, resume it and give it its VMs back; then the next.

    Those with the fewest VMs are first and the leader is last, unless nodes are named. Stops at the first step that
    fails.

    \b
    hvc update --dry-run
    hvc update
    """

    async def work() -> None:
        from hvcluster.orchestrator import updating
        from hvcluster.orchestrator.driver import member
        from hvcluster.orchestrator.observer import Observer
        from hvcluster.orchestrator.state import Role

        driver = choice.driver()
        async with Observer(driver) as observer:
            wanted = updating.order(await observer.look())
            if nodes:
                ids = [(await member(driver, name, Role.NODE)).node for name in nodes]
                wanted = [next(node for node in wanted if node.id == each) for each in ids]
            if dry_run:
                click.echo("\n".join(node.name for node in wanted))
                return
            await updating.update(driver, observer, wanted, click.echo)
        click.echo(f"{len(wanted)} nodes updated")

    asyncio.run(work())


def _split(wish: str) -> tuple[str, str]:
    key, equals, value = wish.partition("=")
    if not equals or not key or not value:
        raise Failure(Exit.USAGE, f"{wish!r} is no wish", "write KEY=VALUE, such as priority=high")
    return key.strip().replace("-", "_"), value.strip()


def _request(row: node_pb2.GroupRow, asked: Mapping[str, str], ids: Mapping[str, int]) -> node_pb2.SetGroupRequest:
    from hvcluster.model import codec
    from hvcluster.model.policy import Policy
    from hvcluster.model.policy_file import POLICY_KEYS, policy_values, read_policy
    from hvcluster.v1 import node_pb2

    values = policy_values(codec.load(Policy, row.policy.encode()))
    owners = {"preferred": list(row.preferred), "possible": list(row.possible)}
    for key, text in asked.items():
        if key in _OWNERS:
            owners[key] = [] if text == "default" else [_node(name.strip(), ids) for name in text.split(",")]
        elif key not in POLICY_KEYS:
            known = (*POLICY_KEYS, *_OWNERS)
            raise Failure(Exit.USAGE, f"{key!r} is no wish", near(key, known) or f"one of {', '.join(known)}")
        elif text == "default":
            values.pop(key, None)
        else:
            values[key] = _value(key, text)
    policy, wrong = read_policy(values)
    if wrong:
        text, _, remedy = wrong[0][1].partition("; ")
        raise Failure(Exit.USAGE, text, remedy)
    return node_pb2.SetGroupRequest(group=row.name, policy=codec.dump(policy).decode(), **owners)


def _node(name: str, ids: Mapping[str, int]) -> int:
    if name.lower() not in ids:
        raise Failure(Exit.NOT_FOUND, f"there is no node {name!r}", near(name, ids) or f"there are {', '.join(ids)}")
    return ids[name.lower()]


def _value(key: str, text: str) -> Any:
    """A value as a lab file would have it; a bare word is a text, and words with commas are a list of them."""
    try:
        return tomllib.loads(f"{key} = {text}")[key]
    except tomllib.TOMLDecodeError:
        words = [word.strip() for word in text.split(",")]
        return words if key in ("anti_affinity_class_names", "monitored_services") else text
