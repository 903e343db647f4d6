"""`hvc new`, `check`, `up`, `down`, `labs`, `version`.

Law: arguments in, words out; the work is done by `lab_file` and `launcher`.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hvcluster.orchestrator.errors import Exit, Failure

from .options import SECONDS, Choice, lab_options

if TYPE_CHECKING:
    from hvcluster.orchestrator.lab import Lab
    from hvcluster.orchestrator.launcher import Wish
    from hvcluster.orchestrator.local import Local
    from hvcluster.orchestrator.picture import Picture
    from hvcluster.orchestrator.state import LabDir

DEFAULT_LAB = "lab.toml"
HEALTHY_S = 60.0


@click.group()
def new() -> None:
    """Write a commented file to start from."""


@new.command("lab")
@click.argument("file", type=click.Path(path_type=Path), default=DEFAULT_LAB)
@click.option("--name", default="HVCLUSTER", show_default=True, help="The cluster's name.")
@click.option("--force", is_flag=True, help="Replace an existing file.")
def new_lab(file: Path, name: str, force: bool) -> None:
    """Write a lab file: three nodes, a witness on LUN 1, VM D1 on LUN 2.

    \b
    hvc new lab                   writes lab.toml
    hvc new lab big.toml --name BIG
    """
    from hvcluster.orchestrator.lab import NAME
    from hvcluster.orchestrator.lab_template import render

    if not NAME.fullmatch(name):
        raise Failure(
            Exit.USAGE, f"{name!r} is no cluster name", "use a letter, then up to 14 letters, digits or hyphens"
        )
    if file.exists() and not force:
        raise Failure(Exit.REFUSED, f"{file} exists", "choose another name, or replace it with --force")
    file.write_text(render(name, str(file)), encoding="utf-8")
    click.echo(f"{file} written; start it with: hvc up{'' if str(file) == DEFAULT_LAB else f' {file}'}")


@click.command()
@click.argument("file", type=click.Path(path_type=Path), default=DEFAULT_LAB)
def check(file: Path) -> None:
    """Check a lab file: every problem with its line and its remedy. Nothing is started."""
    from hvcluster.orchestrator.lab import count, votes_at_start

    lab = read_lab(file)
    votes, witness = votes_at_start(lab)
    tag = lab.tag_witness
    beside = "" if lab.witness_lun is None else "AndDisk"
    if tag is not None:
        beside = f"And{''.join(word.capitalize() for word in tag.value.split('-'))}"
    quorum = f"{votes // 2 + 1} of {votes} votes needed, Node{beside}Majority"
    if lab.witness_lun is not None:
        quorum += f", witness LUN {lab.witness_lun} (vote {witness})"
    elif tag is not None:
        quorum += f", {tag.value} witness (vote {witness})"
    click.echo(f"{file}: good; cluster {lab.name}, {count(len(lab.nodes), 'node')}, {_contents(lab)}")
    click.echo(f"  {quorum}")


def read_lab(file: Path) -> Lab:
    """A lab file, or the Failure that tells all its problems."""
    from hvcluster.orchestrator import lab_file
    from hvcluster.orchestrator.lab import count

    try:
        return lab_file.load(file)
    except FileNotFoundError:
        raise Failure(Exit.NOT_FOUND, f"there is no lab file {file}", f"write one with `hvc new lab {file}`") from None
    except IsADirectoryError:
        remedy = f"name a file in it, such as {file / DEFAULT_LAB}"
        raise Failure(Exit.NOT_FOUND, f"{file} is a directory and no lab file", remedy) from None
    except lab_file.LabInvalid as error:
        head = f"{file} has {count(len(error.problems), 'problem')}; nothing was started"
        raise Failure(Exit.LAB_INVALID, "\n".join([head, *map(str, error.problems)])) from None


@click.command()
@click.argument("file", type=click.Path(path_type=Path), default=DEFAULT_LAB)
@click.option("--foreground", is_flag=True, help="Stay; the lab ends with this command, however it ends.")
@click.option("--fresh", is_flag=True, help="Forget what an earlier run of this lab saved.")
@click.option("--no-chaos", is_flag=True, help="Processes take no faults (`hvc cut` is refused).")
@click.option("--timeout", type=SECONDS, default=HEALTHY_S, show_default=True, help="Seconds to become healthy.")
@click.option("--state", type=click.Path(path_type=Path), envvar="HVC_STATE", help="Where labs keep their state.")
def up(file: Path, foreground: bool, fresh: bool, no_chaos: bool, timeout: float, state: Path | None) -> int:
    """Start a lab and return when it is healthy: every node UP, every VM Online.

    The lab goes on after this command; end it with `hvc down`, from anywhere.

    \b
    hvc up                        starts lab.toml
    hvc up two.toml               a second lab beside it (give its cluster another name)
    hvc up --foreground           stays, and Ctrl-C ends the lab
    """
    from hvcluster.orchestrator.launcher import Wish
    from hvcluster.orchestrator.state import LabDir

    lab = read_lab(file)
    choice = Choice(lab.name, state, False, "")
    directory = LabDir(choice.home() / lab.name)
    wish = Wish(tied=foreground, chaos=not no_chaos, fresh=fresh, lab_file=str(file.absolute()))
    return asyncio.run(_up(lab, directory.path, wish, timeout))


async def _up(lab: Lab, path: Path, wish: Wish, timeout_s: float) -> int:
    from hvcluster.orchestrator import launcher
    from hvcluster.orchestrator.state import LabDir
    from hvcluster.runtime import signals

    stop = signals.install()
    directory = LabDir(path)

    async def work() -> bool:
        driver = await launcher.up(lab, directory, wish, _tell)
        try:
            picture = await _healthy(driver, timeout_s)
        except asyncio.CancelledError:
            await launcher.down(directory, progress=_tell)
            raise
        except Failure as error:
            if wish.tied:
                raise
            raise Failure(
                error.status, error.text, "the lab stays up: see `hvc status`, `hvc log`; end it: `hvc down`"
            ) from None
        _announce(lab, picture, driver)
        return True

    try:
        if await signals.until_stopped(stop, work(), "up") is None:
            click.echo("hvc: interrupted; nothing stays started", err=True)
            return 130
        if wish.tied:
            click.echo("The lab ends with this command (Ctrl-C).", err=True)
            await stop.event.wait()
    finally:
        if wish.tied:
            await launcher.down(directory, progress=_tell)
    return Exit.OK


async def _healthy(driver: Local, timeout_s: float) -> Picture:
    from hvcluster.orchestrator.observer import Observer

    said = ""

    def show(picture: Picture) -> None:
        nonlocal said
        missing = picture.unhealthy()
        text = "; ".join(missing[:4]) + (f"; and {len(missing) - 4} more" if len(missing) > 4 else "")
        if text and text != said:
            _tell(f"waiting: {text}")
        said = text

    async with Observer(driver) as observer:
        return await observer.until_healthy(timeout_s, show)


def _tell(text: str) -> None:
    click.echo(click.style(f"  {text}", dim=True), err=True)


def _contents(lab: Lab) -> str:
    from hvcluster.orchestrator.lab import count

    vms = count(len(lab.vms), "VM")
    return f"{vms}, {count(len(lab.roles), 'group')} of resources" if lab.roles else vms


def _announce(lab: Lab, picture: Picture, driver: Local) -> None:
    from hvcluster.orchestrator.lab import count

    click.echo(f"{lab.name} is up: {count(len(lab.nodes), 'node')}, {_contents(lab)} online.")
    addresses = {vm.vm: f"http://{vm.host}:{vm.port}/" for vm in driver.runtime.ports}
    for vm in lab.vms[:8]:
        group = picture.group(vm.name)
        owner = picture.node_name(group.owner) if group is not None else "-"
        click.echo(f"  {vm.name} on {owner}, for its clients at {addresses[vm.name]}")
    if len(lab.vms) > 8:
        click.echo(f"  ... and {len(lab.vms) - 8} more: hvc status")
    first = picture.group(lab.vms[0].name) if lab.vms else None
    target = picture.node_name(first.owner) if first is not None else lab.nodes[0].name
    click.echo(f"Try: hvc status; hvc kill {target}; hvc log; hvc down")


@click.command()
@click.option("--purge", is_flag=True, help="Remove its data and logs as well.")
@click.option("--keep-data", is_flag=True, help="Keep them (the default).")
@lab_options
def down(purge: bool, keep_data: bool, choice: Choice) -> None:
    """End every process of a lab, wherever it was started from.

    Its data stays, so that the next `hvc up` continues with it; --purge removes it, also that of a stopped lab.

    \b
    hvc down
    hvc down --purge --lab TWO
    """
    from hvcluster.orchestrator import launcher
    from hvcluster.orchestrator.lab import count
    from hvcluster.orchestrator.state import marked

    if purge and keep_data:
        raise Failure(Exit.USAGE, "--purge and --keep-data exclude each other", "choose one")
    if choice.compose:
        raise Failure(Exit.USAGE, "a compose project is not ended here", "run `docker compose down`")
    directory = choice.directory(stopped=purge)
    if not purge and not directory.runs and not marked(directory.path):
        remedy = "remove its data with `hvc down --purge`, or start it with `hvc up`"
        raise Failure(Exit.NOT_FOUND, f"lab {directory.name!r} is not running", remedy)
    ended = asyncio.run(launcher.down(directory, purge, _tell))
    data = "gone" if purge else f"in {directory.path}"
    click.echo(f"{directory.name} is down ({count(ended, 'process', 'processes')} ended); its data is {data}.")


@click.command()
@click.option("--state", type=click.Path(path_type=Path), envvar="HVC_STATE", help="Where labs keep their state.")
def labs(state: Path | None) -> None:
    """List the labs of this machine: name, state, processes and lab file.

    A stopped lab has data for its next `hvc up`; `hvc down --purge --lab NAME` removes it.
    """
    from hvcluster.orchestrator import state as states

    for directory in states.labs(state or states.state_home()):
        name, said = directory.name, _lab_line(directory)
        click.echo(f"{name:<16} {said}")


def _lab_line(directory: LabDir) -> str:
    from hvcluster.model.codec import Malformed
    from hvcluster.orchestrator.state import Life, life

    try:
        runtime = directory.load()
    except Malformed:
        return f"unknown  another version wrote its record; data in {directory.path}"
    if runtime is None:
        return f"stopped  data in {directory.path}"
    living = sum(life(p, runtime.boot) is not Life.DEAD for p in runtime.processes)
    tied = f"  tied to pid {runtime.tied_to}" if runtime.tied_to else ""
    state = "running" if living else "stopped"
    return f"{state}  {living} of {len(runtime.processes)} processes  {runtime.lab_file}{tied}"


@click.command()
def version() -> None:
    """Show the version."""
    from importlib import metadata

    click.echo(f"hvc {metadata.version('hvcluster')}")
