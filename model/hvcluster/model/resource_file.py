"""Resources of a group as a person writes them into a lab file: read, and judged.

Law: takes tables of TOML apart; every complaint has its key and a remedy. Which file, and which line, is for its
readers to say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from .policy import RestartAction
from .policy_file import ACTIONS, Wrong
from .resources import ResourceDefinition, ResourcePolicy, complaints, disk_name
from .vocabulary import LunId

TYPES: Final[dict[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    "IP Address": (("address", "port"), ()),
    "Network Name": ((), ("name",)),
    "Generic Application": (("command_line",), ("current_directory",)),
    "Generic Service": (("command_line",), ("current_directory",)),
    "Generic Script": (("script_file",), ()),
}
"""Resource types: the properties that must be there, and those that may. A script is given whatever else is written."""
OPEN: Final = ("Generic Script",)
LIMITS: Final[dict[str, tuple[int, int]]] = {
    "restart_threshold": (0, 1000),
    "restart_period_ms": (1_000, 86_400_000),
    "restart_delay_ms": (0, 3_600_000),
    "retry_period_on_failure_ms": (0, 86_400_000),
    "pending_timeout_ms": (1_000, 86_400_000),
    "deadlock_timeout_ms": (1_000, 86_400_000),
    "looks_alive_poll_interval_ms": (100, 86_400_000),
    "is_alive_poll_interval_ms": (100, 86_400_000),
}
KEYS: Final = ("name", "type", "depends", "properties", "restart_action", *LIMITS)
MAX_RESOURCES: Final = 100
"""Of one group. Reports and the database carry the state of each."""
MAX_NAME: Final = 64
MAX_VALUE: Final = 4096


def read_resource(values: Mapping[str, Any]) -> tuple[ResourceDefinition, list[tuple[str, str]]]:
    """One resource in a table of a file, and what is wrong with it. Keys that are none of KEYS are not looked at."""
    wrong, usual = Wrong(), ResourcePolicy()
    name = _text(wrong, values, "name")
    if not name or len(name) > MAX_NAME or any(letter in "[]()" or not letter.isprintable() for letter in name):
        wrong.add("name", f"{name!r} is no name of a resource; write 1 to {MAX_NAME} characters without brackets")
    kind = _text(wrong, values, "type")
    if kind not in TYPES:
        wrong.add("type", f"there is no resource type {kind!r}; choose one of {', '.join(TYPES)}")
    numbers = {key: wrong.whole(values, key, low, high, getattr(usual, key)) for key, (low, high) in LIMITS.items()}
    action: RestartAction = wrong.word(values, "restart_action", ACTIONS, usual.restart_action)
    policy = ResourcePolicy(restart_action=action, **numbers)
    if 0 < policy.retry_period_on_failure_ms < policy.restart_period_ms:
        text = "retry_period_on_failure_ms is shorter than restart_period_ms; make it as long at least, or 0 for never"
        wrong.add("retry_period_on_failure_ms", text)
    depends = _text(wrong, values, "depends")
    return ResourceDefinition(name, kind, _properties(wrong, values, kind), depends, policy), wrong.found


def _text(wrong: Wrong, values: Mapping[str, Any], key: str) -> str:
    value = values.get(key, "")
    if not isinstance(value, str):
        wrong.add(key, f"{key} is {value!r}; write a text in quotes")
        return ""
    return value


def _properties(wrong: Wrong, values: Mapping[str, Any], kind: str) -> tuple[tuple[str, str], ...]:
    table = values.get("properties", {})
    if not isinstance(table, dict) or not all(isinstance(value, str | int) for value in table.values()):
        text = 'properties is no table of texts and numbers; write one such as { script_file = "/srv/shop.py" }'
        wrong.add("properties", text)
        return ()
    must, may = TYPES.get(kind, ((), ()))
    missing = [key for key in must if key not in table]
    if missing:
        wrong.add("properties", f"a {kind} needs {', '.join(missing)}; add it to properties")
    unknown = [key for key in table if key not in (*must, *may)] if kind in TYPES and kind not in OPEN else []
    if unknown:
        known = ", ".join((*must, *may)) or "none"
        wrong.add("properties", f"a {kind} has no property {unknown[0]!r}; known: {known}")
    if kind == "IP Address" and not str(table.get("port", 1)).isdigit():
        wrong.add("properties", f"port is {table['port']!r}; write a number from 1 to 65535")
    if any(len(str(value)) > MAX_VALUE for value in table.values()):
        wrong.add("properties", f"a value has more than {MAX_VALUE} characters; write it into a file")
    return tuple((key, str(value)) for key, value in sorted(table.items()))


def together(lun: LunId, resources: Sequence[ResourceDefinition]) -> list[tuple[int, str, str]]:
    """What is wrong with the resources of one group as a whole: (which one, the key, a sentence with a remedy)."""
    found: list[tuple[int, str, str]] = []
    seen = {disk_name(lun): -1}
    for at, each in enumerate(resources):
        if each.name in seen:
            found.append((at, "name", f"there is a resource {each.name!r} already; give each a name of its own"))
        seen.setdefault(each.name, at)
    if len(resources) > MAX_RESOURCES:
        found.append((MAX_RESOURCES, "name", f"{len(resources)} resources; {MAX_RESOURCES} are the most"))
    return found + complaints(lun, resources)
