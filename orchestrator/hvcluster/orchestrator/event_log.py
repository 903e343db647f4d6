"""The event log: what was recorded and has an event id in the product, as events.

Law: one event per fact that carries an id, of the node that recorded it; nothing is made up from several facts.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from hvcluster.model.definition import ClusterDefinition
from hvcluster.model.events import PROVIDER, Event, event_of
from hvcluster.model.vocabulary import NodeId

from .cluster_log import stamp
from .records import Recorded, named
from .views import Json

_SPAN: Final = re.compile(r"(\d+(?:\.\d+)?)([smhd]?)")
_UNITS: Final = {"s": 1.0, "m": 60.0, "": 60.0, "h": 3600.0, "d": 86400.0}
_FORMS: Final = ("%Y/%m/%d-%H:%M:%S", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M", "%Y-%m-%d")


@dataclass(frozen=True, slots=True)
class Entry:
    """One event of one node."""

    event: Event
    fact: Recorded
    computer: str
    message: str


def entries(facts: Iterable[Recorded], definition: ClusterDefinition) -> Iterator[Entry]:
    """The events among the facts, in their order."""
    for fact in facts:
        if fact.event_id:
            event = event_of(fact.event_id)
            yield Entry(event, fact, definition.node_name(fact.node), _message(event, fact, definition))


def _message(event: Event, fact: Recorded, definition: ClusterDefinition) -> str:
    """The gist, whom it is about, and the reason that was recorded."""
    about = []
    if fact.number("peer"):
        about.append(f"node {definition.node_name(NodeId(fact.number('peer')))!r}")
    if "group" in fact.about:
        about.append(f"role {fact.about['group']!r}")
    target = fact.number("owner") or fact.number("target")
    if target:
        about.append(f"to node {definition.node_name(NodeId(target))!r}")
    if "lun" in fact.about:
        about.append(f"disk 'Cluster Disk {fact.about['lun']}'")
    whom = f" ({', '.join(about)})" if about else ""
    return f"{event.gist}{whom}: {named(fact.reason, definition)}"


def row(entry: Entry) -> dict[str, Json]:
    """One event for scripts; keys are added, never renamed. `time` is GMT."""
    return {
        "time": stamp(entry.fact.wall_us, form="%Y-%m-%dT%H:%M:%S") + "Z",
        "id": entry.event.id,
        "level": entry.event.level.name.capitalize(),
        "provider": PROVIDER,
        "channel": entry.event.channel.value,
        "computer": entry.computer,
        "message": entry.message,
        "fact": entry.fact.kind,
        "sequence": entry.fact.sequence,
        "about": dict(entry.fact.about),
    }


def since_us(text: str, now_us: int) -> int | None:
    """The instant meant by `--since`, in microseconds since 1970; None for a text that means none.

    `90` and `90m` are minutes ago, `30s`, `2h` and `1d` likewise; a time of day is GMT, as the log shows it.
    """
    span = _SPAN.fullmatch(text.strip())
    if span is not None:
        return now_us - int(float(span[1]) * _UNITS[span[2]] * 1_000_000)
    plain = text.strip().rstrip("Z").partition(".")[0]
    for form in _FORMS:
        try:
            parsed = time.strptime(plain, form)
        except ValueError:
            continue
        return _gmt_us(parsed)
    return None


def _gmt_us(parsed: time.struct_time) -> int:
    import calendar

    return calendar.timegm(parsed) * 1_000_000
