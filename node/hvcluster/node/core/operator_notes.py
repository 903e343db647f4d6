"""What is recorded when the cluster has taken in what an operator wants.

Law: facts of committed commands, each once, and nothing else.
"""

from __future__ import annotations

from hvcluster.model.facts import FactKind

from .commands import (
    AddMember,
    ChangeGroup,
    Command,
    DropRule,
    EvictMember,
    FailNow,
    PauseNode,
    PutRule,
    SetProperty,
    SetResource,
    SetWeight,
    UseWitness,
)
from .outbox import Outbox


def note_wish(out: Outbox, command: Command) -> None:
    """Record what an operator wants, in the operator's name."""
    fact = out.fact
    match command:
        case SetResource(group, resource, online):
            why = "an administrator wants it online" if online else "an administrator wants it offline"
            fact(FactKind.RESOURCE_ASKED, why, group=group, resource=resource)
        case FailNow(group, resource):
            fact(FactKind.RESOURCE_ASKED, "an administrator has it fail", group=group, resource=resource)
        case ChangeGroup(group):
            fact(FactKind.GROUP_CHANGED, "an operator changed its policy or its owners", group=group)
        case PauseNode(node, paused, drain):
            how = "an operator drains it" if drain else "an operator paused it"
            fact(FactKind.NODE_PAUSED, how if paused else "an operator resumed it", peer=node, paused=int(paused))
        case PutRule(rule):
            groups = ",".join(rule.groups)
            how = f"an operator set {rule.name}: {rule.kind.value}"
            fact(FactKind.RULE_CHANGED, how, rule=rule.name, groups=groups, soft=int(rule.soft))
        case DropRule(name):
            fact(FactKind.RULE_CHANGED, f"an operator removed {name}", rule=name)
        case SetWeight(node, weight):
            fact(FactKind.QUORUM_CHANGED, f"an operator set NodeWeight of node {node}", peer=node, weight=weight)
        case EvictMember(node):
            fact(FactKind.NODE_EVICTED, "an operator evicted it", peer=node)
        case AddMember(node):
            fact(FactKind.NODE_ADDED, "an operator added it; it is taken in when it is heard", peer=node)
        case SetProperty(name, value):
            fact(FactKind.PROPERTY_CHANGED, f"an operator set {name}", property=name, value=value)
        case UseWitness(used):
            how = "has the witness used" if used else "has votes of nodes alone"
            fact(FactKind.QUORUM_CHANGED, f"an operator {how}", witness=int(used))
        case _:
            pass
