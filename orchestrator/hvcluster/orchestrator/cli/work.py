"""`hvc move`, `online`, `offline`, `pause`, `resume`, `probe`, `demo`.

Law: arguments in, words out.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

if TYPE_CHECKING:
    from hvcluster.orchestrator.observer import Observer

from hvcluster.orchestrator.errors import Exit, Failure
from hvcluster.orchestrator.lab_reader import near

from .options import SECONDS, Choice, lab_options
from .resources import resource_names

PROGRESS_S: Final = 0.1
"""Between two looks at a migration that somebody waits for."""


@click.command()
@click.argument("vm")
@click.option("--to", "--node", "target", metavar="NODE", help="Where to; the best node if left out.")
@click.option(
    "--type",
    "how",
    type=click.Choice(["live", "quick", "shutdown"]),
    default="live",
    show_default=True,
    help="live: its memory travels while it runs; quick: it is saved and goes on there; shutdown: it boots there.",
)
@click.option("--cancel", is_flag=True, help="End its live migration instead; the same as `hvc cancel-move`.")
@lab_options
def move(vm: str, target: str | None, how: str, cancel: bool, choice: Choice) -> None:
    """Move a VM to another node, planned. Live: its clients wait for some hundredths of a second, and see no error.

    \b
    hvc move D1 --to HyperV-2
    hvc move D1 --type quick        it is saved on its disk, and goes on from that on the best of the other nodes
    hvc move D1 --type shutdown     it boots again there
    """
    if cancel:
        click.echo(asyncio.run(_cancel_move(vm, choice)))
        return

    async def work() -> str:
        from hvcluster.orchestrator.driver import member
        from hvcluster.orchestrator.observer import Observer
        from hvcluster.orchestrator.state import Role
        from hvcluster.v1 import node_pb2

        driver = choice.driver()
        name = _vm_name(vm, [group.name for group in driver.definition.groups])
        node = 0 if target is None else (await member(driver, target, Role.NODE)).node
        async with Observer(driver) as observer:
            request = node_pb2.MoveGroupRequest(group=name, target=node, type=how)
            showing = asyncio.create_task(_show_migration(observer, name), name="progress")
            try:
                reply = await observer.request(node_pb2.OperatorRequest(move_group=request))
            finally:
                showing.cancel()
                await asyncio.wait((showing,))
            picture = await observer.look()
        group = picture.group(name)
        if group is None:
            return reply.text or "done"
        return f"{name} is {group.state.lower()} on {picture.node_name(group.owner)}, generation {group.generation}"

    click.echo(asyncio.run(work()))


async def _show_migration(observer: Observer, vm: str) -> None:
    """Say on standard error how far the migration of a VM is, as often as that changes."""
    said = ""
    while True:
        with contextlib.suppress(Failure):
            picture = await observer.look()
            group = picture.group(vm)
            now = _migration_words(picture.migration(vm), group is not None and group.queued)
            if now and now != said:
                click.echo(f"{vm}: {now}", err=True)
            said = now or said
        await asyncio.sleep(PROGRESS_S)


def _migration_words(state: str, queued: bool) -> str:
    if queued:
        return "queued for move"
    words = {"SETUP": "setting up", "DATA_TRANSFER": "copying memory", "MOVE": "paused for the last of it"}
    return words.get(state, "")


@click.command("move-csv")
@click.argument("volume")
@click.option("--to", "--node", "target", metavar="NODE", help="Which node is to coordinate it; the best if left out.")
@lab_options
def move_csv(volume: str, target: str | None, choice: Choice) -> None:
    """Let another node coordinate a shared volume; its VMs notice nothing.

    \b
    hvc move csv Volume1 --to HyperV-2
    """

    async def work() -> str:
        from hvcluster.orchestrator.driver import member
        from hvcluster.orchestrator.observer import Observer
        from hvcluster.orchestrator.state import Role
        from hvcluster.v1 import node_pb2

        driver = choice.driver()
        names = [each.name for each in driver.definition.volumes]
        name = next((each for each in names if each.lower() == volume.lower()), volume)
        if name not in names:
            remedy = near(volume, names) or "see `hvc get csv`"
            raise Failure(Exit.NOT_FOUND, f"there is no shared volume {volume!r}", remedy)
        node = 0 if target is None else (await member(driver, target, Role.NODE)).node
        request = node_pb2.OperatorRequest(move_volume=node_pb2.MoveVolumeRequest(volume=name, target=node))
        async with Observer(driver) as observer:
            await observer.request(request)
            best = (await observer.look()).best
        rows = {row.name: row for row in best.volumes} if best is not None else {}
        row = rows.get(name)
        owner = next((n.name for n in driver.definition.nodes if row is not None and n.id == row.coordinator), "-")
        return f"{name} is coordinated by {owner}"

    click.echo(asyncio.run(work()))


@click.command("cancel-move")
@click.argument("vm")
@lab_options
def cancel_move(vm: str, choice: Choice) -> None:
    """End a live migration that is under way or queued; the VM stays where it is."""
    click.echo(asyncio.run(_cancel_move(vm, choice)))


async def _cancel_move(vm: str, choice: Choice) -> str:
    from hvcluster.orchestrator.observer import Observer
    from hvcluster.v1 import node_pb2

    driver = choice.driver()
    name = _vm_name(vm, [group.name for group in driver.definition.groups])
    async with Observer(driver) as observer:
        request = node_pb2.CancelMoveRequest(group=name)
        return (await observer.request(node_pb2.OperatorRequest(cancel_move=request))).text


@click.command()
@click.argument("vm")
@lab_options
def online(vm: str, choice: Choice) -> None:
    """Bring a VM, a group or a resource online again that an operator took offline.

    A resource brings along what it depends on.
    """
    click.echo(asyncio.run(_set_online(vm, True, choice)))


@click.command()
@click.argument("vm")
@lab_options
def offline(vm: str, choice: Choice) -> None:
    """Take a VM offline as its offline_action says (saved, usually), or a group or a resource.

    Only `hvc online` brings it back. A resource takes along what depends on it.
    """
    click.echo(asyncio.run(_set_online(vm, False, choice)))


async def _set_online(vm: str, wanted: bool, choice: Choice) -> str:
    from hvcluster.orchestrator.observer import Observer
    from hvcluster.v1 import node_pb2

    driver = choice.driver()
    resource = next((each for each in resource_names(driver.definition) if each.lower() == vm.lower()), None)
    if resource is not None:
        wish = node_pb2.SetResourceOnlineRequest(resource=resource, online=wanted)
        async with Observer(driver) as observer:
            return (await observer.request(node_pb2.OperatorRequest(set_resource_online=wish))).text
    name = _vm_name(vm, [group.name for group in driver.definition.groups])
    request = node_pb2.SetGroupOnlineRequest(group=name, online=wanted)
    async with Observer(driver) as observer:
        return (await observer.request(node_pb2.OperatorRequest(set_group_online=request))).text


@click.command()
@click.argument("node")
@click.option("--drain", is_flag=True, help="Move away the VMs it has, and return when it has none.")
@click.option("--force", is_flag=True, help="With --drain: turn off what no other node can take.")
@lab_options
def pause(node: str, drain: bool, force: bool, choice: Choice) -> None:
    """Let a node take no VM until it is resumed. It keeps its vote, and the VMs it has unless it is drained.

    \b
    hvc pause HyperV-2 --drain
    """
    if force and not drain:
        raise Failure(Exit.USAGE, "--force is for a drain", "add --drain")
    click.echo(asyncio.run(_set_paused(node, choice, paused=True, drain=drain, force=force)))


@click.command()
@click.argument("node")
@click.option(
    "--failback",
    type=click.Choice(["none", "immediate", "policy"]),
    default="none",
    show_default=True,
    help="What a drain moved away: stays, returns at once, or as its policy says.",
)
@lab_options
def resume(node: str, failback: str, choice: Choice) -> None:
    """Let a paused node take VMs again."""
    word = {"none": "NO_FAILBACK"}.get(failback, failback.upper())
    click.echo(asyncio.run(_set_paused(node, choice, paused=False, failback=word)))


async def _set_paused(
    node: str, choice: Choice, *, paused: bool, drain: bool = False, force: bool = False, failback: str = ""
) -> str:
    from hvcluster.orchestrator.driver import member
    from hvcluster.orchestrator.observer import Observer
    from hvcluster.orchestrator.state import Role
    from hvcluster.v1 import node_pb2

    driver = choice.driver()
    found = await member(driver, node, Role.NODE)
    request = node_pb2.SetNodePausedRequest(node=found.node, paused=paused, drain=drain, force=force, failback=failback)
    async with Observer(driver) as observer:
        await observer.request(node_pb2.OperatorRequest(set_node_paused=request))
    return f"{found.name} is {'drained and paused' if drain else 'paused' if paused else 'resumed'}"


def _vm_name(name: str, known: list[str]) -> str:
    for candidate in known:
        if candidate.lower() == name.lower():
            return candidate
    remedy = near(name, known) or f"there are {', '.join(known[:10])}"
    raise Failure(Exit.NOT_FOUND, f"there is no VM {name!r}", remedy)


@click.command()
@click.argument("vms", nargs=-1)
@click.option("--seconds", type=SECONDS, default=10.0, show_default=True, help="How long to ask.")
@click.option("--interval-ms", type=SECONDS, default=20.0, show_default=True, help="Between two requests per VM.")
@click.option("--read-only", is_flag=True, help="Only GET /; verify nothing.")
@click.option("--json", "as_json", is_flag=True, help="For scripts.")
@lab_options
def probe(
    vms: tuple[str, ...], seconds: float, interval_ms: float, read_only: bool, as_json: bool, choice: Choice
) -> int:
    """Be a client of VMs (all if none is named): measure downtime, then verify every acknowledged write.

    Exit status 1 if an acknowledged write is lost, the chain is broken or a generation falls.

    \b
    hvc probe D1 --seconds 30        and in another terminal: hvc kill HyperV-1
    """

    async def work() -> int:
        from hvcluster.orchestrator.probe import Probe

        driver = choice.driver()
        addresses = (await driver.addresses()).vms
        names = [_vm_name(vm, list(addresses)) for vm in vms] or list(addresses)
        async with Probe({name: addresses[name] for name in names}, interval_ms / 1000, not read_only) as client:
            await asyncio.sleep(seconds)
            await client.pause()
            broken = False
            for name in names:
                seen = client.seen[name]
                verdict = None if read_only else await client.verify(name)
                problems = () if verdict is None else verdict.problems
                broken = broken or bool(problems) or not seen.answers
                longest = seen.longest
                row = {
                    "vm": name,
                    "answers": seen.answers,
                    "failures": seen.failures,
                    "acknowledged": len(seen.acknowledged),
                    "gaps_ms": [round(gap.seconds * 1000, 1) for gap in seen.gaps],
                    "longest_gap_ms": None if longest is None else round(longest.seconds * 1000, 1),
                    "records": None if verdict is None else verdict.records,
                    "generations": None if verdict is None else list(verdict.generations),
                    "problems": list(problems),
                }
                click.echo(json.dumps(row) if as_json else _probe_line(row))
        return Exit.FAILED if broken else Exit.OK

    return asyncio.run(work())


def _probe_line(row: dict[str, object]) -> str:
    gap = "no gap" if row["longest_gap_ms"] is None else f"longest gap {row['longest_gap_ms']} ms"
    chain = "" if row["records"] is None else f", {row['records']} records in generations {row['generations']}"
    problems = row["problems"]
    verdict = f" BROKEN: {problems}" if problems else ""
    counts = f"{row['answers']} answers, {row['failures']} failures, {row['acknowledged']} acknowledged"
    return f"{row['vm']}: {counts}, {gap}{chain}{verdict}"


@click.command()
@click.option("--connection-loss", is_flag=True, help="Detect a dead process by its last will and a refused probe.")
@click.option("--state", type=click.Path(path_type=Path), envvar="HVC_STATE", help="Where the lab keeps its state.")
def demo(connection_loss: bool, state: Path | None) -> int:
    """A failover of real processes, told as it happens; under a minute.

    A VM's host is killed, then another one is frozen and wakes up late. Exit status 1 if a promise did not hold.
    """

    async def work() -> int:
        from hvcluster.orchestrator import demo as story
        from hvcluster.orchestrator.state import state_home
        from hvcluster.runtime import signals

        stop = signals.install()
        held = await signals.until_stopped(stop, story.run(state or state_home(), connection_loss), "demo")
        if held is None:
            raise KeyboardInterrupt
        return Exit.OK if held else Exit.FAILED

    return asyncio.run(work())
