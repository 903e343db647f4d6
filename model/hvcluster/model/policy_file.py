"""The wishes for groups as a person writes them into a lab or a scenario: read, and judged.

Law: takes tables of TOML apart; every complaint has its key and a remedy. What files these tables stand in, and on
which line, is for their readers to say.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

from .policy import AffinityRule, FaultDomain, GroupSet, Policy, Priority, RestartAction, RuleKind
from .vocabulary import MoveKind, OfflineAction

LIMITS: Final[dict[str, tuple[int, int]]] = {
    "restart_threshold": (0, 1000),
    "restart_period_ms": (1_000, 86_400_000),
    "restart_delay_ms": (0, 3_600_000),
}
HOURS: Final = 23
MAX_CLASSES: Final = 16  # one group needs no more names than there are tiers of an application
MAX_SERVICES: Final = 16
PRIORITIES: Final = {priority.name.lower().replace("_", "-"): priority for priority in Priority}
ACTIONS: Final = {action.name.lower().replace("_", "-"): action for action in RestartAction}
OFFLINE_ACTIONS: Final = {action.name.lower().replace("_", "-"): action for action in OfflineAction}
MOVE_KINDS: Final = {kind.name.lower(): kind for kind in MoveKind}
LEVELS: Final = {level.value: level for level in FaultDomain}
KINDS: Final = {kind.value: kind for kind in RuleKind}
POLICY_KEYS: Final = (
    "priority", "restart_action", *LIMITS, "auto_failback", "failback_window", "anti_affinity_class_names",
    "locked_from_moving", "check_heartbeat", "offline_action", "default_move_type", "monitored_services",
    "protected_network",
)  # fmt: skip
RULE_KEYS: Final = ("name", "kind", "groups", "soft", "level")
SET_KEYS: Final = ("name", "groups", "after", "startup_delay_ms", "trigger")
TRIGGERS: Final = {"delay": True, "online": False}


class Wrong:
    """What is wrong with values that a person wrote: (key, sentence with a remedy)."""

    def __init__(self) -> None:
        self.found: list[tuple[str, str]] = []

    def add(self, key: str, text: str) -> None:
        """One thing is wrong."""
        self.found.append((key, text))

    def word(self, values: Mapping[str, Any], key: str, words: Mapping[str, Any], default: Any) -> Any:
        """One of a few words."""
        value = values.get(key)
        if value is None:
            return default
        if not isinstance(value, str) or value not in words:
            self.add(key, f"{key} = {value!r} does not exist; choose one of {', '.join(words)}")
            return default
        return words[value]

    def whole(self, values: Mapping[str, Any], key: str, low: int, high: int, default: int) -> int:
        """A whole number within bounds."""
        value = values.get(key, default)
        if type(value) is not int or not low <= value <= high:
            self.add(key, f"{key} is {value!r}; write a whole number from {low} to {high}")
            return default
        return value

    def truth(self, values: Mapping[str, Any], key: str, default: bool) -> bool:
        """A true or a false."""
        value = values.get(key, default)
        if not isinstance(value, bool):
            self.add(key, f"{key} is {value!r}; write true or false")
            return default
        return value

    def names(self, values: Mapping[str, Any], key: str, known: Collection[str] | None = None) -> tuple[str, ...]:
        """A list of texts, of which each must be known."""
        value = values.get(key, [])
        if not isinstance(value, list) or not all(isinstance(item, str) and item for item in value):
            self.add(key, f'{key} is no list of names; write one such as ["D1", "D2"]')
            return ()
        if len(set(value)) != len(value):
            self.add(key, f"{key} names something twice; name it once")
        for item in value:
            if known is not None and item not in known:
                self.add(key, f"{key} names {item!r}, which does not exist; known: {', '.join(known) or 'none'}")
        return tuple(item for item in value if known is None or item in known)


def read_policy(values: Mapping[str, Any]) -> tuple[Policy, list[tuple[str, str]]]:
    """The wishes in a table of a file, and what is wrong with them. Keys that are none of POLICY_KEYS are not looked
    at.
    """
    wrong, usual = Wrong(), Policy()
    numbers = {key: wrong.whole(values, key, low, high, getattr(usual, key)) for key, (low, high) in LIMITS.items()}
    window = values.get("failback_window", [-1, -1])
    if "failback_window" in values and not _is_window(window):
        wrong.add("failback_window", f"failback_window is {window!r}; write two hours of the day, such as [22, 4]")
        window = [-1, -1]
    if "failback_window" in values and values.get("auto_failback") is not True:
        wrong.add("failback_window", "a window alone lets nothing fail back; add auto_failback = true")
    classes = wrong.names(values, "anti_affinity_class_names")
    if len(classes) > MAX_CLASSES:
        wrong.add("anti_affinity_class_names", f"{len(classes)} names; a group has {MAX_CLASSES} at most")
    services = wrong.names(values, "monitored_services")
    if len(services) > MAX_SERVICES:
        wrong.add("monitored_services", f"{len(services)} names; {MAX_SERVICES} services of a VM are watched at most")
    policy = Policy(
        priority=wrong.word(values, "priority", PRIORITIES, usual.priority),
        restart_action=wrong.word(values, "restart_action", ACTIONS, usual.restart_action),
        **numbers,
        auto_failback=wrong.truth(values, "auto_failback", usual.auto_failback),
        failback_window_start=window[0],
        failback_window_end=window[1],
        anti_affinity_class_names=tuple(sorted(classes)),
        locked_from_moving=wrong.truth(values, "locked_from_moving", usual.locked_from_moving),
        check_heartbeat=wrong.truth(values, "check_heartbeat", usual.check_heartbeat),
        offline_action=wrong.word(values, "offline_action", OFFLINE_ACTIONS, usual.offline_action),
        default_move_type=wrong.word(values, "default_move_type", MOVE_KINDS, usual.default_move_type),
        monitored_services=tuple(sorted(services)) if "monitored_services" in values else usual.monitored_services,
        protected_network=wrong.truth(values, "protected_network", usual.protected_network),
    )
    return policy, wrong.found


def _is_window(window: object) -> bool:
    return (
        isinstance(window, list)
        and len(window) == 2
        and all(type(hour) is int and 0 <= hour <= HOURS for hour in window)
        and window[0] != window[1]
    )


def read_rule(values: Mapping[str, Any], groups: Collection[str]) -> tuple[AffinityRule, list[tuple[str, str]]]:
    """An affinity rule in a table of a file, and what is wrong with it."""
    wrong = Wrong()
    name = _name(values, wrong)
    members = wrong.names(values, "groups", groups)
    if len(members) < 2 and not wrong.found:
        wrong.add("groups", "a rule is about two groups or more; name them all")
    if "kind" not in values:
        wrong.add("kind", f"kind is missing; choose one of {', '.join(KINDS)}")
    kind = wrong.word(values, "kind", KINDS, RuleKind.DIFFERENT_NODE)
    level = wrong.word(values, "level", LEVELS, FaultDomain.SITE)
    if "level" in values and not kind.by_domain:
        wrong.add("level", f"level is for fault domains, and the rule is {kind.value}; leave it out")
    return AffinityRule(name, kind, tuple(sorted(members)), wrong.truth(values, "soft", False), level), wrong.found


def read_set(values: Mapping[str, Any], groups: Collection[str]) -> tuple[GroupSet, list[tuple[str, str]]]:
    """A set in a table of a file, and what is wrong with it. Whether other sets exist, `circle` says."""
    wrong = Wrong()
    name = _name(values, wrong)
    members = wrong.names(values, "groups", groups)
    if not members and not wrong.found:
        wrong.add("groups", "a set without groups starts nothing; name at least one")
    delay_ms = wrong.whole(values, "startup_delay_ms", 0, 3_600_000, 20_000)
    trigger = wrong.word(values, "trigger", TRIGGERS, True)
    return GroupSet(name, tuple(sorted(members)), wrong.names(values, "after"), delay_ms, trigger), wrong.found


def policy_values(policy: Policy) -> dict[str, Any]:
    """What `read_policy` reads back as this policy; defaults are left out."""
    usual = Policy()
    values: dict[str, Any] = {}
    for key in POLICY_KEYS:
        if key == "failback_window":
            window = [policy.failback_window_start, policy.failback_window_end]
            if window[0] >= 0:
                values[key] = window
        elif getattr(policy, key) != getattr(usual, key):
            values[key] = _written(getattr(policy, key))
    return values


def _written(value: object) -> object:
    if isinstance(value, Priority | RestartAction | OfflineAction | MoveKind):
        return value.name.lower().replace("_", "-")
    return list(value) if isinstance(value, tuple) else value


def rule_values(rule: AffinityRule) -> dict[str, Any]:
    """What `read_rule` reads back as this rule."""
    values: dict[str, Any] = {"name": rule.name, "kind": rule.kind.value, "groups": list(rule.groups)}
    if rule.level is not FaultDomain.SITE:
        values["level"] = rule.level.value
    return {**values, "soft": True} if rule.soft else values


def set_values(each: GroupSet) -> dict[str, Any]:
    """What `read_set` reads back as this set."""
    values: dict[str, Any] = {"name": each.name, "groups": list(each.groups)}
    if each.after:
        values["after"] = list(each.after)
    values["startup_delay_ms"] = each.startup_delay_ms
    return values if each.trigger_delay else {**values, "trigger": "online"}


def _name(values: Mapping[str, Any], wrong: Wrong) -> str:
    name = values.get("name")
    if not isinstance(name, str) or not name.strip():
        wrong.add("name", 'name is missing; add name = "..."')
        return ""
    return name
