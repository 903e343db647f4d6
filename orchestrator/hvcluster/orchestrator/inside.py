"""The compose project seen from inside its own network, where no engine can be asked.

Law: a driver that looks and cannot break: names of the project's network are its addresses, an open port is its sign of
life. Faults are for commands outside, or for `docker` itself.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final, NoReturn

from hvcluster.model import codec
from hvcluster.model.definition import ClusterDefinition
from hvcluster.model.vocabulary import NodeId

from . import chaos, compose_lab
from .driver import Address, Addresses, Cut, How, Member, Quality
from .errors import Exit, Failure
from .state import Life, Role

LOOK_S: Final = 1.0


def node_address(name: str) -> Address:
    """Where a node is on the network `cluster`."""
    return Address(f"{name.lower()}.{compose_lab.NODE_ALIAS}", compose_lab.NODE_PORT)


class Inside:
    """Driver for the project's own orchestrator container."""

    def __init__(self, definition: Path) -> None:
        try:
            self._definition = codec.load(ClusterDefinition, definition.read_bytes())
        except (OSError, codec.Malformed) as error:
            raise Failure(Exit.NOT_FOUND, f"{definition}: {error}", "the service `definition` writes it") from None

    @property
    def definition(self) -> ClusterDefinition:
        """The cluster of the project."""
        return self._definition

    async def members(self) -> tuple[Member, ...]:
        """Processes that can be reached from here; the buses cannot."""
        addresses = await self.addresses()
        known = [(m.name, m.role, m.node, a) for m, a in self._known(addresses)]
        alive = await asyncio.gather(*(_accepts(address) for *_, address in known))
        return tuple(
            Member(name, role, Life.RUNNING if ok else Life.DEAD, node)
            for (name, role, node, _), ok in zip(known, alive, strict=True)
        )

    def _known(self, addresses: Addresses) -> list[tuple[Member, Address]]:
        found = []
        for name, role, node in compose_lab.processes_of(self._definition):
            address = addresses.nodes.get(NodeId(node)) if role is Role.NODE else None
            address = addresses.san if role is Role.SAN else address
            if address is not None:
                found.append((Member(name, role, Life.DEAD, NodeId(node)), address))
        return found

    async def addresses(self) -> Addresses:
        """Names of the project's networks."""
        return Addresses(
            nodes={node.id: node_address(node.name) for node in self._definition.nodes},
            san=Address("array.storage", compose_lab.SAN_PORT),
            vms={
                group.name: Address(compose_lab.SWITCH_SERVICE, compose_lab.FIRST_VM_PORT + at)
                for at, group in enumerate(self._definition.groups)
                if not group.resources
            },
        )

    def _refuse(self) -> NoReturn:
        raise Failure(Exit.REFUSED, "no engine can be asked from in here", "use `docker compose`, or hvc outside")

    def kept(self, name: str) -> Path | None:
        """Nothing: a container's volume is not read from here."""
        return None

    async def kill(self, name: str) -> None:
        """Refused."""
        self._refuse()

    async def start(self, name: str, how: How = How.NORMAL) -> None:
        """Refused."""
        self._refuse()

    async def freeze(self, name: str) -> None:
        """Refused."""
        self._refuse()

    async def thaw(self, name: str) -> None:
        """Refused."""
        self._refuse()

    async def end(self, name: str) -> None:
        """Refused."""
        self._refuse()

    async def wipe(self, name: str) -> None:
        """Refused."""
        self._refuse()

    async def cut(self, name: str, cut: Cut) -> None:
        """Through the node's own chaos service."""
        await chaos.cut(node_address(name), name, cut)

    async def heal(self, name: str, cut: Cut | None) -> None:
        """Through the node's own chaos service."""
        await chaos.heal(node_address(name), name, cut)

    async def degrade(self, name: str, quality: Quality) -> None:
        """Through the node's own chaos service."""
        await chaos.degrade(node_address(name), name, quality)


async def _accepts(address: Address) -> bool:
    try:
        async with asyncio.timeout(LOOK_S):
            _, writer = await asyncio.open_connection(address.host, address.port)
    except OSError:
        return False
    writer.close()
    return True
