"""The wishes for groups in a lab file: policies of VMs, affinity rules, sets.

Law: hands tables to `model.policy_file` and puts what is wrong with them on its line.
"""

from __future__ import annotations

from hvcluster.model import policy_file
from hvcluster.model.policy import AffinityRule, GroupSet, Policy, complaints

from .lab_reader import Section


def policy(section: Section) -> Policy:
    """The policy in the table of a VM."""
    found, wrong = policy_file.read_policy(section.picked(policy_file.POLICY_KEYS))
    _complain(section, wrong)
    return found


def rules_and_sets(top: Section, vms: list[str]) -> tuple[tuple[AffinityRule, ...], tuple[GroupSet, ...]]:
    """The tables [[affinity]] and [[set]], and whether they fit together."""
    rules: list[AffinityRule] = []
    sets: list[GroupSet] = []
    for section in top.sections("affinity"):
        rule, wrong = policy_file.read_rule(section.picked(policy_file.RULE_KEYS), vms)
        _complain(section, wrong)
        section.finish()
        rules.append(rule)
    for section in top.sections("set"):
        each, wrong = policy_file.read_set(section.picked(policy_file.SET_KEYS), vms)
        _complain(section, wrong)
        section.finish()
        sets.append(each)
    for key, sentence in complaints(rules, sets):
        text, _, remedy = sentence.partition("; ")
        top.complain(key, text, remedy)
    return tuple(rules), tuple(sets)


def _complain(section: Section, wrong: list[tuple[str, str]]) -> None:
    for key, sentence in wrong:
        text, _, remedy = sentence.partition("; ")
        section.complain(key if section.has(key) else None, text, remedy)
