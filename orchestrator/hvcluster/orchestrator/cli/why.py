"""`hvc why`: the account of where a group is, for people and for scripts.

Law: lays out what `causes` found; decides nothing about causes.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import click

from hvcluster.orchestrator.errors import Exit, Failure

from .names import find
from .options import Choice, lab_options

if TYPE_CHECKING:
    from hvcluster.model.definition import ClusterDefinition
    from hvcluster.orchestrator.causes import Account, Step
    from hvcluster.orchestrator.driver import Driver
    from hvcluster.orchestrator.views import Json


@click.command()
@click.argument("group")
@click.option("--generation", type=click.IntRange(min=1), help="An earlier assignment instead of the newest.")
@click.option("--json", "as_json", is_flag=True, help="For scripts; keys are added, never renamed.")
@lab_options
def why(group: str, generation: int | None, as_json: bool, choice: Choice) -> int:
    """Why a group is where it is: from its newest assignment back to the first cause, and on to its VM.

    Reads what all nodes recorded, dead ones included; times count from the first recorded cause. Exit status 1
    when no record says who gave the group to its owner.

    \b
    hvc why D1
    hvc why D1 --generation 2
    """

    async def work(driver: Driver) -> int:
        from hvcluster.orchestrator import causes
        from hvcluster.orchestrator.observer import Observer

        from .logs import recorded

        name = find("group", group, (each.name for each in driver.definition.groups))
        found = await recorded(driver)
        async with Observer(driver) as observer:
            picture = await observer.look()
        row = picture.group(name) if picture.quorum else None
        account = causes.explain(found.facts, driver.definition, name, generation or 0, found.unread)
        if account is None:
            what = f"generation {generation} of {name}" if generation else name
            raise Failure(Exit.FAILED, f"not known: no log that can be read says who got {what}", "see `hvc status`")
        unknown = list(account.unknown)
        if row is not None and generation is None and row.generation > account.generation:
            unknown.append(f"the newest: the database has generation {row.generation}, whose assignment is in no log")
        if as_json:
            click.echo(json.dumps(as_document(account, driver.definition, unknown), indent=2))
            return Exit.OK
        if row is None:
            click.echo(f"No node with quorum answers; this is what was recorded about {name}.")
        else:
            state = f"{name} is {row.state.lower()}"
            where = f" on {picture.node_name(row.owner)}" if row.owner else ""
            click.echo(f"{state}{where}, generation {row.generation}.")
        for line in told(account, driver.definition, unknown):
            click.echo(line)
        return Exit.OK

    return asyncio.run(work(choice.driver()))


def sentence(account: Account, definition: ClusterDefinition) -> str:
    """The account in one sentence."""
    from hvcluster.orchestrator.causes import Trigger

    owner = definition.node_name(account.owner)
    name = f"{account.group} (generation {account.generation})"
    before = f" from {definition.node_name(account.previous)}" if account.previous else ""
    reason = account.reason
    match account.trigger:
        case Trigger.MOVE:
            return f"{name} was moved{before} to {owner} as planned: {reason}."
        case Trigger.NODE:
            lost = definition.node_name(account.previous)
            return f"{name} went{before} to {owner} because {lost} was removed from membership: {reason}."
        case Trigger.FAILURE if account.previous == account.owner:
            return f"{name} was started again on {owner} because it failed there: {reason}."
        case Trigger.FAILURE:
            return f"{name} went{before} to {owner} because it failed where it was: {reason}."
        case Trigger.PREEMPTED:
            return f"{name} gave up its place{before} to a group of higher priority and got {owner}: {reason}."
        case Trigger.ONLINE:
            return f"{name} was brought online again on {owner}; it had been taken offline on purpose: {reason}."
        case Trigger.FORMED:
            return f"{name} was given to {owner} when the cluster formed: {reason}."
        case Trigger.UNKNOWN:
            return f"{name} was given to {owner}; the leader recorded: {reason}."


def told(account: Account, definition: ClusterDefinition, unknown: list[str]) -> list[str]:
    """The account as lines for people."""
    from hvcluster.orchestrator.cluster_log import stamp
    from hvcluster.orchestrator.records import named

    able = ", ".join(definition.node_name(node) for node in account.candidates) or "nobody else"
    lines = [
        sentence(account, definition),
        f"Chosen among {able} by {definition.node_name(account.leader)}; the rule: {named(account.rule, definition)}.",
        f"Times from the first recorded cause, {stamp(account.zero_us)} GMT:",
    ]
    width = max(len(definition.node_name(step.fact.node)) for step in account.steps)
    for step in account.steps:
        seconds = (step.fact.wall_us - account.zero_us) / 1e6
        name = definition.node_name(step.fact.node)
        lines.append(f"  {seconds:+9.3f} s  {name:<{width}}  {step.phase.value:<9}  {_text(step, definition)}")
    if account.online_us is not None:
        lines.append(f"Online {(account.online_us - account.zero_us) / 1e6:.3f} s after the first recorded cause.")
    else:
        lines.append("Nobody recorded that this generation came online.")
    return lines + [f"Not known: {text}." for text in unknown]


def _text(step: Step, definition: ClusterDefinition) -> str:
    from hvcluster.model.facts import FactKind
    from hvcluster.orchestrator.records import named

    kind = FactKind.__members__.get(step.fact.kind)
    meaning = kind.meaning if kind is not None else step.fact.kind.lower().replace("_", " ")
    event = f" [event {step.fact.event_id}]" if step.fact.event_id else ""
    return f"{named(f'{meaning}: {step.fact.reason}', definition)}{event}"


def as_document(account: Account, definition: ClusterDefinition, unknown: list[str]) -> dict[str, Json]:
    """The account as plain values. `seconds` count from the first recorded cause; `null` means nobody."""
    return {
        "group": account.group,
        "generation": account.generation,
        "owner": definition.node_name(account.owner),
        "previous_owner": definition.node_name(account.previous) if account.previous else None,
        "trigger": account.trigger.name.lower(),
        "summary": sentence(account, definition),
        "reason": account.reason,
        "rule": account.rule,
        "candidates": [definition.node_name(node) for node in account.candidates],
        "decided_by": definition.node_name(account.leader),
        "first_cause_wall_us": account.zero_us,
        "online_after_us": None if account.online_us is None else account.online_us - account.zero_us,
        "steps": [
            {
                "after_us": step.fact.wall_us - account.zero_us,
                "node": definition.node_name(step.fact.node),
                "phase": step.phase.value,
                "fact": step.fact.kind,
                "event_id": step.fact.event_id or None,
                "reason": step.fact.reason,
                "about": dict(step.fact.about),
            }
            for step in account.steps
        ],
        "unknown": [*unknown],
    }
