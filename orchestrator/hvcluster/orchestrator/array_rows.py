"""What the array says of itself, as rows: LUNs, sessions, reservations, counters.

Law: reads and shapes; keys are told as what they mean to this cluster.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from hvcluster.model.scsi import ReservationType
from hvcluster.model.vocabulary import BLOCK_BYTES
from hvcluster.runtime import channels
from hvcluster.v1 import san_pb2

from .errors import Exit, Failure
from .inventory import Row
from .observer import Observer
from .picture import Picture, key_text
from .views import is_shared, lun_use

ASK_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Answers:
    """One look at the array."""

    picture: Picture
    luns: tuple[san_pb2.LunRow, ...]
    sessions: tuple[san_pb2.SanSessionRow, ...]
    counters: dict[str, int] = field(default_factory=dict)


async def ask(observer: Observer) -> Answers:
    """Ask the array. Raises Failure when it does not answer."""
    address = (await observer.driver.addresses()).san
    if address is None:
        raise Failure(Exit.UNREACHABLE, "the array cannot be reached", "start it with `hvc san start`")
    admin = observer.san_stub(address)
    picture = await observer.look()
    sessions = (await channels.unary(admin.ListSessions, san_pb2.SanSessionsRequest(), ASK_S)).reply
    counters = (await channels.unary(admin.Counters, san_pb2.SanCountersRequest(), ASK_S)).reply
    if picture.luns is None or sessions is None or counters is None:
        raise Failure(Exit.UNREACHABLE, "the array does not answer", "start it with `hvc san start`")
    return Answers(picture, picture.luns, tuple(sessions.sessions), dict(counters.counters))


def luns(said: Answers) -> list[Row]:
    """Each LUN: its size, what it is for, who sees it, how it is reserved."""
    return [
        {
            "LUN": row.lun,
            "Size": f"{row.blocks * BLOCK_BYTES // (1 << 20)} MiB",
            "Use": lun_use(said.picture, row.lun),
            "Reservation": _type(row.type),
            "Registrations": len(row.registrations),
            "Initiators": ", ".join(row.initiators),
        }
        for row in said.luns
    ]


def sessions(said: Answers) -> list[Row]:
    """Each I_T nexus that is logged in."""
    return [
        {
            "Session": row.session,
            "Initiator": row.nexus.initiator,
            "Port": row.nexus.port,
            "Commands": row.commands,
            "Peer": row.peer,
        }
        for row in said.sessions
    ]


def reservations(said: Answers) -> list[Row]:
    """Each registration of each LUN; the holder's has a type."""
    return [
        {
            "LUN": row.lun,
            "Initiator": each.nexus.initiator,
            "Port": each.nexus.port,
            "Key": f"{each.key:016x}",
            "Meaning": key_text(each.key, is_shared(said.picture, row.lun)),
            "Holds": _type(each.type) if each.holder else "",
        }
        for row in said.luns
        for each in row.registrations
    ]


def counters(said: Answers) -> list[Row]:
    """Each counter since the array was started."""
    return [{"Counter": name, "Value": number} for name, number in sorted(said.counters.items())]


def _type(number: int) -> str:
    if not number:
        return ""
    words = ReservationType(number).name.replace("_", " ").title() if number in set(ReservationType) else "unknown"
    return f"{number} ({words})"


@dataclass(frozen=True, slots=True)
class Kind:
    """How one kind of rows is made and shown."""

    rows: Callable[[Answers], list[Row]]
    columns: tuple[str, ...]
    wide: tuple[str, ...] = ()


KINDS: Final = {
    "luns": Kind(luns, ("LUN", "Size", "Use", "Reservation", "Registrations"), ("Initiators",)),
    "sessions": Kind(sessions, ("Session", "Initiator", "Port", "Commands"), ("Peer",)),
    "reservations": Kind(reservations, ("LUN", "Initiator", "Port", "Key", "Meaning", "Holds")),
    "counters": Kind(counters, ("Counter", "Value")),
}
