"""`hvc kill`, `break`, `start`, `freeze`, `thaw`, `stop`, `wipe`, `cut`, `heal`, `bus`, `san`.

Law: names from the command line to the saboteur, and one line back that says what was done.
"""

from __future__ import annotations

import asyncio

import click

from hvcluster.orchestrator import saboteur
from hvcluster.orchestrator.driver import Driver, How, Way
from hvcluster.orchestrator.errors import Exit, Failure
from hvcluster.orchestrator.lab_reader import near

from .options import Choice, lab_options

_HOW = {
    How.FORCE_QUORUM: " with forced quorum: its database is the cluster's from now on",
    How.IGNORE_PERSISTENT_STATE: ": if the cluster forms with it, groups stay offline until `hvc online` wants them",
    How.PREVENT_QUORUM: " with prevented quorum: it joins the cluster that it finds",
}
_NAMES = "NAME is a node (HyperV-1, or its number), san, witness, bus-A, bus-B or switch; any case."


@click.command(epilog=_NAMES)
@click.argument("name")
@lab_options
def kill(name: str, choice: Choice) -> None:
    """Kill a process at once, as a power cut would (SIGKILL).

    \b
    hvc kill HyperV-1
    hvc kill bus-A
    """
    found = asyncio.run(saboteur.kill(choice.driver(), name))
    pid = f" (pid {found.pid})" if found.pid else ""
    click.echo(f"{found.name} killed{pid}; start it again: hvc start {found.name}{choice.options()}")


@click.command(epilog=_NAMES)
@click.argument("name")
@click.option("--rejoin-empty", is_flag=True, help="A node whose saved state is damaged joins without it.")
@click.option("--force-quorum", "-fq", is_flag=True, help="A node forms the cluster by itself, whatever the votes say.")
@click.option("--prevent-quorum", "-pq", is_flag=True, help="A node only joins a cluster, and never forms one.")
@click.option("--ignore-persistent-state", "-ips", is_flag=True, help="If it forms the cluster, groups stay offline.")
@click.option("--clear-quarantine", "-cq", is_flag=True, help="Let a quarantined node join, running already or not.")
@lab_options
def start(
    name: str,
    rejoin_empty: bool,
    force_quorum: bool,
    prevent_quorum: bool,
    ignore_persistent_state: bool,
    clear_quarantine: bool,
    choice: Choice,
) -> None:
    """Start a dead process again, and return when it serves.

    With --force-quorum the node's database becomes the cluster's: what other nodes agreed on without it is lost, and
    whoever is on another side yields to it. Start them with --prevent-quorum where they do not by themselves.

    \b
    hvc start HyperV-1
    hvc start HyperV-1 --force-quorum     the others are gone, and their votes with them
    """
    chosen = {
        How.REJOIN_EMPTY: rejoin_empty,
        How.FORCE_QUORUM: force_quorum,
        How.PREVENT_QUORUM: prevent_quorum,
        How.IGNORE_PERSISTENT_STATE: ignore_persistent_state,
    }
    wanted = [how for how, given in chosen.items() if given]
    if len(wanted) > 1:
        words = " and ".join(how.value[0] for how in wanted)
        raise Failure(Exit.USAGE, f"{words} contradict each other", "give one of them")
    how = wanted[0] if wanted else How.NORMAL
    if clear_quarantine:
        click.echo(asyncio.run(saboteur.clear_quarantine(choice.driver(), name, how)))
        return
    found = asyncio.run(saboteur.start(choice.driver(), name, how))
    click.echo(f"{found.name} started{_HOW.get(how, '')}")


@click.command(epilog=_NAMES)
@click.argument("name")
@lab_options
def freeze(name: str, choice: Choice) -> None:
    """Freeze a process in its tracks, as a stalled machine would be (SIGSTOP)."""
    found = asyncio.run(saboteur.freeze(choice.driver(), name))
    click.echo(f"{found.name} frozen; let it go on: hvc thaw {found.name}{choice.options()}")


@click.command(epilog=_NAMES)
@click.argument("name")
@lab_options
def thaw(name: str, choice: Choice) -> None:
    """Let a frozen process go on (SIGCONT)."""
    found = asyncio.run(saboteur.thaw(choice.driver(), name))
    click.echo(f"{found.name} thawed")


@click.group("break")
def break_() -> None:
    """Break what is inside a node: a VM."""


@break_.command("vm")
@click.argument("vm")
@click.option("--crash", "how", flag_value="crash", default="crash", help="Its worker process dies (the default).")
@click.option("--hang", "how", flag_value="hang", help="Its guest hangs and gives no heartbeat.")
@click.option("--application", "how", flag_value="application", help="What it serves its clients with crashes.")
@click.option("--service", metavar="NAME", help="A service in it fails; that counts if it is monitored.")
@lab_options
def break_vm(vm: str, how: str, service: str | None, choice: Choice) -> None:
    """Break a VM; its policy says what the cluster makes of it. A restart of the VM mends it.

    \b
    hvc break vm D1
    hvc break vm D1 --hang
    hvc break vm D1 --service spooler
    """
    how = how if service is None else f"service:{service}"

    async def work() -> str:
        from hvcluster.orchestrator.observer import Observer

        driver = choice.driver()
        async with Observer(driver) as observer:
            picture = await observer.look()
        group = next((g for g in picture.best.groups if g.name.lower() == vm.lower()), None) if picture.best else None
        if group is None:
            names = [row.name for row in picture.best.groups] if picture.best else []
            raise Failure(Exit.NOT_FOUND, f"there is no VM {vm!r}", near(vm, names) or "see `hvc status`")
        found = await saboteur.break_vm(driver, picture.node_name(group.owner), group.name, how)
        return f"{group.name} on {found.name}: {how}"

    click.echo(asyncio.run(work()))


@click.command()
@click.argument("node")
@lab_options
def stop(node: str, choice: Choice) -> None:
    """Stop a node politely: its VMs move to other nodes first."""

    async def work() -> str:
        from hvcluster.orchestrator.observer import Observer

        driver = choice.driver()
        async with Observer(driver) as observer:
            return (await saboteur.stop(driver, observer, node)).name

    click.echo(f"{asyncio.run(work())} stopped; its VMs have moved")


@click.command()
@click.argument("node")
@lab_options
def shutdown(node: str, choice: Choice) -> None:
    """Shut a host down: its VMs are migrated first or, without drain_on_shutdown, saved; then its process ends.

    Nothing refuses that. What nobody can take over gets its offline_action.
    """

    async def work() -> str:
        from hvcluster.orchestrator.observer import Observer

        driver = choice.driver()
        async with Observer(driver) as observer:
            return (await saboteur.stop(driver, observer, node, shutdown=True)).name

    click.echo(f"{asyncio.run(work())} is shut down")


@click.command()
@click.argument("node")
@lab_options
def wipe(node: str, choice: Choice) -> None:
    """Empty the disk of a dead node: its saved state is gone, it will join as a new one."""
    found = asyncio.run(saboteur.wipe(choice.driver(), node))
    click.echo(f"{found.name} has an empty disk; start it: hvc start {found.name}{choice.options()}")


_WIRES = "WIRE is bus, bus:A, peers, peers:NODE, array, array:PATH, network, network:NAME or witness."


@click.command(epilog=_WIRES)
@click.argument("node")
@click.argument("wires", nargs=-1, required=True, metavar="WIRE...")
@click.option("--way", type=click.Choice([way.value for way in Way]), default="both", show_default=True)
@lab_options
def cut(node: str, wires: tuple[str, ...], way: str, choice: Choice) -> None:
    """Cut a node from wires. `--way out` loses what it sends, `--way in` what is sent to it.

    \b
    hvc cut HyperV-1 bus:A                one heartbeat network: nothing moves
    hvc cut HyperV-1 bus peers            a minority of one: its VMs stop and move
    hvc cut HyperV-1 array                no path to the LUNs: its VMs move
    hvc cut HyperV-1 network:Production   VMs with a card on it are live-migrated away
    """

    async def work(driver: Driver) -> str:
        cuts = [await saboteur.wire_of(driver, wire, Way(way)) for wire in wires]
        return (await saboteur.cut(driver, node, tuple(cuts))).name

    name = asyncio.run(work(choice.driver()))
    direction = "" if way == "both" else f" ({way})"
    click.echo(f"{name} cut from {', '.join(wires)}{direction}; mend it: hvc heal {name}{choice.options()}")


@click.command(epilog=_WIRES)
@click.argument("node")
@click.argument("wires", nargs=-1, metavar="[WIRE...]")
@lab_options
def heal(node: str, wires: tuple[str, ...], choice: Choice) -> None:
    """Heal wires of a node; all of them when none is named."""

    async def work(driver: Driver) -> str:
        cuts = [await saboteur.wire_of(driver, wire) for wire in wires]
        return (await saboteur.heal(driver, node, tuple(cuts))).name

    click.echo(f"{asyncio.run(work(choice.driver()))} healed: {', '.join(wires) or 'every wire'}")


@click.group()
def bus() -> None:
    """Kill or start a heartbeat network (A or B)."""


def _process(name: str) -> str:
    return name if name.lower().startswith("bus-") else f"bus-{name}"


@bus.command("kill")
@click.argument("name")
@lab_options
def bus_kill(name: str, choice: Choice) -> None:
    """Kill the broker of a heartbeat network."""
    found = asyncio.run(saboteur.kill(choice.driver(), _process(name)))
    letter = found.name.removeprefix("bus-")
    click.echo(f"{found.name} killed; start it again: hvc bus start {letter}{choice.options()}")


@bus.command("start")
@click.argument("name")
@lab_options
def bus_start(name: str, choice: Choice) -> None:
    """Start the broker of a heartbeat network again."""
    click.echo(f"{asyncio.run(saboteur.start(choice.driver(), _process(name))).name} started")
