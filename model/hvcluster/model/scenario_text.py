"""A scenario as the text of a file: what `scenario_file` reads back as the same scenario.

Law: text only; the order of keys is that of docs/scenarios.md, and what is a default is left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from typing import Any

from .definition import ClusterDefinition, GroupDefinition
from .faults import AMOUNTS, TARGETS, Direction, Fault
from .policy_file import policy_values, rule_values, set_values
from .properties import DEFAULT_PROFILE, Properties, defaults
from .scenario import Expectation, Scenario, Step
from .scenario_groups import group_values, resource_values
from .vocabulary import US_PER_S


def text_of(scenario: Scenario) -> str:
    """The file. Reading it under the same name gives an equal scenario, if its lab is one that files can say."""
    return "\n".join(_lines(scenario)) + "\n"


def _lines(scenario: Scenario) -> Iterator[str]:
    yield f"why = {_value(scenario.why)}"
    if scenario.seed is not None:
        yield f"seed = {scenario.seed}"
    if scenario.requests_every_s != 1.0:
        yield f"requests_every_s = {scenario.requests_every_s!r}"
    definition = scenario.definition
    yield ""
    yield "[lab]"
    yield f"nodes = {len(definition.nodes)}"
    yield f"vms = {sum(1 for group in definition.groups if not group.resources)}"
    if definition.volumes:
        yield f"volumes = {len(definition.volumes)}"
        shared = sum(group.extent is not None for group in definition.groups)
        if shared != len(definition.groups):
            yield f"on_volumes = {shared}"
    if len(definition.paths) != 1:
        yield f"paths = {len(definition.paths)}"
    if definition.tag_witness is not None:
        yield f"witness = {_value(definition.tag_witness.value)}"
    elif definition.witness_lun is None:
        yield "witness = false"
    owners = [g.owner for g in definition.groups if g.owner is not None and not g.resources]
    if owners:
        yield f"owners = {_value([int(owner) for owner in owners])}"
    if any(node.outside for node in definition.nodes):
        yield f"outside = {_value([int(node.id) for node in definition.nodes if node.outside])}"
    if any(node.site for node in definition.nodes):
        yield f"sites = {_value([node.site for node in definition.nodes])}"
    for key, names in (
        ("racks", [n.rack for n in definition.nodes]),
        ("chassis", [n.chassis for n in definition.nodes]),
    ):
        if any(names):
            yield f"{key} = {_value(names)}"
    if definition.nodes[0].memory_mb:
        yield f"node_memory_mb = {definition.nodes[0].memory_mb}"
    if definition.nodes[0].processors:
        yield f"node_processors = {definition.nodes[0].processors}"
    if definition.preferred_site:
        yield f"preferred_site = {_value(definition.preferred_site)}"
    if definition.properties.profile != DEFAULT_PROFILE:
        yield f"profile = {_value(definition.properties.profile)}"
    yield from _properties(definition.properties)
    yield from _wishes(definition)
    for step in scenario.steps:
        yield ""
        yield "[[step]]"
        yield from _step(step)


def _properties(properties: Properties) -> Iterator[str]:
    usual = defaults(properties.profile)
    changed = [f.name for f in fields(Properties) if getattr(properties, f.name) != getattr(usual, f.name)]
    if changed:
        yield ""
        yield "[lab.properties]"
    for name in changed:
        yield f"{name} = {_value(getattr(properties, name))}"


def _wishes(definition: ClusterDefinition) -> Iterator[str]:
    """What is asked for single VMs, rules and sets."""
    for group in definition.groups:
        if group.resources:
            continue
        usual = GroupDefinition(group.name, group.lun)
        lines = [
            f"{name} = {_value([int(n) for n in wanted] if isinstance(wanted, tuple) else wanted)}"
            for name in (
                "preferred",
                "possible",
                "boot_delay_ms",
                "memory_mb",
                "active_mb",
                "dirty_mb_per_s",
                "processor_load",
                "network",
            )
            if (wanted := getattr(group, name)) != getattr(usual, name)
        ]
        lines += [f"{key} = {_value(wanted)}" for key, wanted in policy_values(group.policy).items()]
        if lines:
            yield from ("", f"[lab.vm.{group.name}]", *lines)
    for group in definition.groups:
        if group.resources:
            yield from ("", "[[lab.group]]", *(f"{key} = {_value(each)}" for key, each in group_values(group).items()))
        for resource in group.resources:
            table = (f"{key} = {_value(each)}" for key, each in resource_values(resource))
            yield from ("", "[[lab.group.resource]]", *table)
    for rule in definition.rules:
        yield from ("", "[[lab.affinity]]", *(f"{key} = {_value(each)}" for key, each in rule_values(rule).items()))
    for each in definition.sets:
        yield from ("", "[[lab.set]]", *(f"{key} = {_value(item)}" for key, item in set_values(each).items()))


def _step(step: Step) -> Iterator[str]:
    if step.at_us is not None:
        yield f"at_s = {step.at_us / US_PER_S!r}"
    if step.remember:
        yield "remember = true"
    if step.fault is not None:
        yield from _fault(step.fault)
    if step.wait_s:
        yield f"wait_s = {step.wait_s!r}"
    if step.expect is not None:
        yield f"expect = {{ {', '.join(_expectation(step.expect))} }}"


def _fault(fault: Fault) -> Iterator[str]:
    yield f"do = {_value(fault.word.name.lower())}"
    if fault.word in TARGETS and fault.target:
        yield f"target = {_value(fault.target)}"
    if fault.direction is not Direction.BOTH:
        yield f"direction = {_value(fault.direction.name.lower())}"
    if fault.side:
        yield f"side = {_value(list(fault.side))}"
    amount = AMOUNTS.get(fault.word)
    if amount is not None and not (amount.optional and fault.amount == 0.0):
        yield f"amount = {_value(fault.amount)}"
    if fault.wire:
        yield f"wire = {_value(fault.wire)}"
    if fault.via:
        yield f"via = {_value(fault.via)}"
    if fault.type:
        yield f"type = {_value(fault.type)}"


def _expectation(expect: Expectation) -> Iterator[str]:
    yield f"within_s = {_value(expect.within_s)}"
    for name in ("hold", "healthy"):
        if getattr(expect, name):
            yield f"{name} = true"
    for name in ("online", "stayed", "moved", "restarted", "down", "not_on", "off", "refused"):
        names = getattr(expect, name)
        if names:
            yield f"{name} = {_value('all' if names == ('all',) else list(names))}"
    if expect.node:
        yield f"node = {_value(expect.node)}"
        yield f"state = {_value(expect.state)}"


def _value(value: Any) -> str:
    """A value as TOML writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        plain = value.replace("\\", "\\\\").replace('"', '\\"')
        return '"' + "".join(c if c >= " " and c != "\x7f" else f"\\u{ord(c):04x}" for c in plain) + '"'
    if isinstance(value, float):
        return f"{int(value)}" if value == int(value) and abs(value) < 1e15 else repr(value)
    if isinstance(value, list):
        return "[" + ", ".join(_value(item) for item in value) + "]"
    return repr(value)
