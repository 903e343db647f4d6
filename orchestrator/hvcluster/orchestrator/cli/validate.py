"""`hvc test cluster`: validation of a running lab.

Law: arguments in, a report out; what is tested and what counts as good is decided in `validation`.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hvcluster.orchestrator.errors import Exit

from .names import find
from .options import Choice, lab_options

if TYPE_CHECKING:
    from hvcluster.orchestrator.validation.report import Finding, Report

_COLOURS = {"Success": "green", "Warning": "yellow", "Failed": "red", "Not applicable": "bright_black"}


@click.group()
def test() -> None:
    """Test a running lab."""


@test.command("cluster")
@click.option("--include", multiple=True, metavar="TEST", help="Only this category or test.")
@click.option("--ignore", multiple=True, metavar="TEST", help="All but this category or test.")
@click.option("--report", type=click.Path(path_type=Path), metavar="FILE", help="Where the page goes.")
@click.option("--list", "only_list", is_flag=True, help="List the tests and run none.")
@click.option("--json", "as_json", is_flag=True, help="For scripts; keys are added, never renamed.")
@lab_options
def cluster(
    include: tuple[str, ...],
    ignore: tuple[str, ...],
    report: Path | None,
    only_list: bool,
    as_json: bool,
    choice: Choice,
) -> int:
    """Validate a running lab: inventory, configuration, networks, storage, system.

    Storage is tested on LUNs that are made for it and removed again, with sessions of their own; disks in use are
    left alone. A page of HTML is written into the lab's folder unless --report says where. Exit status 1: a test
    failed; warnings do not count.

    \b
    hvc test cluster
    hvc test cluster --include Storage --json
    """
    from hvcluster.orchestrator.validation import run
    from hvcluster.orchestrator.validation.report import as_json as document

    known = run.names()
    chosen = run.wanted([find("test", name, known) for name in include], [find("test", name, known) for name in ignore])
    if only_list:
        for each in chosen:
            click.echo(f"{each.category.value:<22} {each.name}")
        return Exit.OK
    driver = choice.driver()
    found = asyncio.run(run.validate(driver, chosen, _quiet if as_json else _tell))
    path = report or _default(choice)
    if path is not None:
        _write(found, path)
    if as_json:
        click.echo(json.dumps(document(found), indent=2))
    else:
        _end(found)
    return Exit.OK if found.passed else Exit.FAILED


def _default(choice: Choice) -> Path | None:
    """In the folder of a lab of this machine, under a name like the product's."""
    if choice.compose or os.environ.get("HVC_INSIDE"):
        return None
    stamp = time.strftime("%Y.%m.%d At %H.%M.%S", time.gmtime())
    return choice.directory().path / "reports" / f"Validation Report {stamp}.html"


def _write(found: Report, path: Path) -> None:
    from hvcluster.orchestrator.validation.page import render

    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(render(found), encoding="utf-8")
    click.echo(f"report: {path}", err=True)


def _quiet(_: Finding) -> None:
    """Nobody looks on."""


def _tell(finding: Finding) -> None:
    from hvcluster.orchestrator.validation.report import problems

    outcome = finding.outcome.value
    click.echo(f"{click.style(f'{outcome:<14}', fg=_COLOURS[outcome])}  {finding.category.value:<22} {finding.name}")
    for _, line in problems([finding]):
        click.echo(f"{'':16}{line.outcome.value.lower()}: {line.text}")


def _end(found: Report) -> None:
    from hvcluster.orchestrator.validation.report import Outcome

    counts = ", ".join(f"{found.count(outcome)} {outcome.value.lower()}" for outcome in Outcome)
    words = click.style("passed", fg="green") if found.passed else click.style("failed", fg="red", bold=True)
    click.echo(f"The cluster has {words} validation: {counts}.")
