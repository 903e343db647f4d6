"""Who serves each VM, as far as the switch has heard.

Law: plain decisions, no I/O. Generations only rise: what an older owner says is never believed again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum


@dataclass(frozen=True, slots=True)
class Owner:
    """Where one generation of a VM is served."""

    generation: int
    node: int
    host: str
    port: int


class Heard(Enum):
    """What an announcement changed."""

    NEW = "a newer generation: connections to the older one are dropped"
    SAME = "known already"
    OLD = "from an older owner: ignored"
    UNKNOWN_VM = "not a VM of this switch: ignored"
    BAD_ADDRESS = "no host:port: ignored"


class Routes:
    """The newest announced owner of each VM."""

    def __init__(self, vms: Iterable[str]) -> None:
        self._owners: dict[str, Owner | None] = dict.fromkeys(sorted(vms))

    @property
    def vms(self) -> tuple[str, ...]:
        """The VMs this switch has a port for."""
        return tuple(self._owners)

    def owner(self, vm: str) -> Owner | None:
        """Where to forward now, None while nobody was announced."""
        return self._owners[vm]

    def hear(self, vm: str, generation: int, node: int, address: str) -> Heard:
        """One announcement, from a bus or from a node that was asked."""
        if vm not in self._owners:
            return Heard.UNKNOWN_VM
        place = split_address(address)
        if place is None:
            return Heard.BAD_ADDRESS
        known = self._owners[vm]
        owner = Owner(generation, node, *place)
        if known is not None and generation < known.generation:
            return Heard.OLD
        if owner == known:
            return Heard.SAME
        self._owners[vm] = owner
        return Heard.NEW


def split_address(address: str) -> tuple[str, int] | None:
    """`host:port` or `[v6]:port` taken apart; None for anything else."""
    host, colon, port = address.rpartition(":")
    if not colon or not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        return None
    return host.removeprefix("[").removesuffix("]"), int(port)
