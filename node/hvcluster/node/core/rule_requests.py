"""Operators' requests about affinity rules.

Law: decides as leader whether rules fit together. A rule binds placements to come; it moves nothing by itself.
"""

from __future__ import annotations

from hvcluster.model.policy import complaints

from .commands import DropRule, PutRule
from .database import Database
from .decisions import Decision, Outcome, refused
from .operator_requests import RemoveAffinityRule, SetAffinityRule

MAX_RULES = 1000  # more than groups that an operator can look at


def set_rule(database: Database, request: SetAffinityRule) -> Decision:
    """A rule is to be made or replaced."""
    rule = request.rule
    unknown = sorted(set(rule.groups) - set(database.groups))
    if unknown:
        return refused("unknown-group", f"there is no group {unknown[0]!r}")
    if not rule.name.strip():
        return refused("refused", "a rule has a name")
    if len(set(rule.groups)) != len(rule.groups):
        return refused("refused", "a rule names each group once")
    others = tuple(each for each in database.rules if each.name != rule.name)
    if len(others) >= MAX_RULES:
        return refused("busy", f"there are {MAX_RULES} rules; remove one first")
    wrong = complaints((*others, rule), ())
    if wrong:
        return refused("refused", wrong[0][1])

    def watch(database: Database) -> Outcome | None:
        if rule not in database.rules:
            return None
        whom = ", ".join(rule.groups) or "no group yet"
        return Outcome(True, "ok", f"rule {rule.name} is set: {rule.kind.value} for {whom}")

    return Decision(None, (PutRule(rule),), watch)


def remove_rule(database: Database, request: RemoveAffinityRule) -> Decision:
    """A rule is to go."""
    name = request.name
    if not any(rule.name == name for rule in database.rules):
        return refused("unknown-rule", f"there is no affinity rule {name!r}")

    def watch(database: Database) -> Outcome | None:
        if any(rule.name == name for rule in database.rules):
            return None
        return Outcome(True, "ok", f"rule {name} is removed")

    return Decision(None, (DropRule(name),), watch)
