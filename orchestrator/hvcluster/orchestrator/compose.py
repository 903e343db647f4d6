"""A lab of containers: the same faults through `docker compose`, `docker kill`, `pause` and `network`.

Law: a driver. It asks the engine, remembers nothing, and reaches containers at their own addresses, so that a published
port that a cut network carried is never missed.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypedDict

from hvcluster.model.definition import ClusterDefinition
from hvcluster.model.vocabulary import NodeId

from . import chaos, compose_lab, lab_file
from .driver import Address, Addresses, Cut, How, Member, Quality, Way
from .errors import Exit, Failure
from .state import Life, Role

COMMAND_S: Final = 60.0
"""`docker compose start` waits for nothing; a busy engine may still take seconds."""
SERVES_S: Final = 30.0
_PREFERRED: Final = ("cluster", "storage", "heartbeat-a", "heartbeat-b")


class _State(TypedDict):
    Status: str
    Pid: int


class _Config(TypedDict):
    Labels: dict[str, str]


class _Endpoint(TypedDict):
    IPAddress: str


class _Settings(TypedDict):
    Networks: dict[str, _Endpoint]


class _Inspected(TypedDict):
    Id: str
    State: _State
    Config: _Config
    NetworkSettings: _Settings


@dataclass(frozen=True, slots=True)
class Container:
    """One container of the project. `networks`: short name -> address there."""

    id: str
    service: str
    life: Life
    pid: int
    networks: Mapping[str, str]
    folder: str

    def address(self) -> str | None:
        """An address of the container that this machine can reach."""
        return next((self.networks[name] for name in _PREFERRED if self.networks.get(name)), None)


class Compose:
    """Driver of one compose project. Raises Failure everywhere it cannot do what it was asked."""

    def __init__(self, project: str, definition: ClusterDefinition | None = None) -> None:
        """`definition`: of a project that has no lab file, for it was made for one scenario."""
        if shutil.which("docker") is None:
            raise Failure(Exit.REFUSED, "docker is not installed", "install it, or use a local lab: `hvc up`")
        self.project = project
        self._definition = definition
        self._wiring = asyncio.Lock()
        """One change of a network at a time: of several at once an engine may keep an endpoint for good, and with it
        the network."""

    @property
    def definition(self) -> ClusterDefinition:
        """The cluster of the project's lab file, found through the label compose writes on containers."""
        if self._definition is None:
            containers = _inspect_blocking(self.project)
            folder = next((c.folder for c in containers.values()), "")
            if not folder:
                raise Failure(
                    Exit.NOT_FOUND, f"compose project {self.project!r} has no container", "run `docker compose up -d`"
                )
            file = Path(folder) / compose_lab.LAB_FILE
            try:
                self._definition = compose_lab.definition_of(lab_file.load(file))
            except FileNotFoundError:
                raise Failure(
                    Exit.NOT_FOUND, f"there is no {file}", "the project must be that of compose.yaml"
                ) from None
            except lab_file.LabInvalid as error:
                raise Failure(Exit.LAB_INVALID, str(error)) from None
        return self._definition

    async def _containers(self) -> dict[str, Container]:
        listed = await docker("ps", "-aq", "--filter", f"label=com.docker.compose.project={self.project}")
        return _parse(await docker("inspect", *listed.split()), self.project) if listed.split() else {}

    async def _container(self, name: str) -> Container:
        role = next(
            (r for n, r, _ in compose_lab.processes_of(self.definition) if n.lower() == name.lower()), Role.NODE
        )
        service = compose_lab.service_of(name, role)
        found = (await self._containers()).get(service)
        if found is None:
            raise Failure(Exit.NOT_FOUND, f"service {service!r} has no container", "run `docker compose up -d`")
        return found

    async def members(self) -> tuple[Member, ...]:
        """Every process with its life now."""
        processes = compose_lab.processes_of(self.definition)
        containers = await self._containers()
        members = []
        for name, role, node in processes:
            found = containers.get(compose_lab.service_of(name, role))
            life, pid = (found.life, found.pid) if found is not None else (Life.DEAD, 0)
            members.append(Member(name, role, life, NodeId(node), pid))
        return tuple(members)

    async def addresses(self) -> Addresses:
        """The containers' own addresses, on any network they still have."""
        definition = self.definition
        containers = await self._containers()

        def of(service: str, port: int) -> Address | None:
            found = containers.get(service)
            host = found.address() if found is not None else None
            return None if host is None else Address(host, port)

        nodes = {node.id: of(node.name.lower(), compose_lab.NODE_PORT) for node in definition.nodes}
        vms = {
            group.name: of(compose_lab.SWITCH_SERVICE, compose_lab.FIRST_VM_PORT + at)
            for at, group in enumerate(definition.groups)
            if not group.resources
        }
        return Addresses(
            nodes={node: address for node, address in nodes.items() if address is not None},
            san=of(compose_lab.SAN_SERVICE, compose_lab.SAN_PORT),
            vms={vm: address for vm, address in vms.items() if address is not None},
        )

    def kept(self, name: str) -> Path | None:
        """Nothing: a container's volume is not read from here."""
        return None

    async def kill(self, name: str) -> None:
        """`docker kill`; a paused container is let go first, which the engine demands."""
        found = await self._container(name)
        if found.life is Life.FROZEN:
            await docker("unpause", found.id)
        await docker("kill", found.id)

    async def start(self, name: str, how: How = How.NORMAL) -> None:
        """`docker start`, then wait until it accepts connections."""
        if how is How.REJOIN_EMPTY:
            raise Failure(
                Exit.REFUSED, "a container's command line is in compose.yaml", "use `hvc wipe` before `hvc start`"
            )
        if how is not How.NORMAL:
            option = how.value[0]
            raise Failure(
                Exit.REFUSED, "a container's command line is in compose.yaml", f"add {option} there, and start it anew"
            )
        found = await self._container(name)
        await docker("start", found.id)
        ports = {compose_lab.SAN_SERVICE: compose_lab.SAN_PORT, compose_lab.SWITCH_SERVICE: compose_lab.FIRST_VM_PORT}
        port = 1883 if found.service.startswith("bus-") else ports.get(found.service, compose_lab.NODE_PORT)
        loop = asyncio.get_running_loop()
        end = loop.time() + SERVES_S
        while loop.time() < end:
            now = await self._container(name)
            host = now.address()
            if host is not None and await _accepts(host, port):
                return
            await asyncio.sleep(0.1)
        raise Failure(
            Exit.TIMEOUT, f"{name} does not serve {SERVES_S:g} s after its start", f"see `docker logs {found.id[:12]}`"
        )

    async def freeze(self, name: str) -> None:
        """`docker pause`."""
        await docker("pause", (await self._container(name)).id)

    async def thaw(self, name: str) -> None:
        """`docker unpause`."""
        await docker("unpause", (await self._container(name)).id)

    async def end(self, name: str) -> None:
        """`docker stop`."""
        await docker("stop", (await self._container(name)).id)

    async def wipe(self, name: str) -> None:
        """Empty the node's data volume; the volume of its genesis marker stays."""
        found = await self._container(name)
        if found.life is not Life.DEAD:
            raise Failure(Exit.REFUSED, f"{name} runs", f"kill it first: `hvc kill {name}`")
        image = (await docker("inspect", "--format", "{{.Config.Image}}", found.id)).strip()
        volume = f"{self.project}_{found.service}-data"
        clean = ("find", "/wipe", "-mindepth", "1", "-delete")
        await docker("run", "--rm", "--network", "none", "-v", f"{volume}:/wipe", image, *clean)

    async def cut(self, name: str, cut: Cut) -> None:
        """A whole wire both ways is a network disconnected; anything finer is asked of the node itself."""
        networks = compose_lab.networks_of(cut.wire, cut.name) if cut.way is Way.BOTH else ()
        found = await self._container(name)
        async with self._wiring:
            for network in networks:
                if network in found.networks:
                    await docker("network", "disconnect", f"{self.project}_{network}", found.id)
        if not networks:
            await chaos.cut(self._admin(found), name, cut)

    async def heal(self, name: str, cut: Cut | None) -> None:
        """Connect the networks again, with the names peers know, and heal what the node itself cut."""
        found = await self._container(name)
        networks = compose_lab.NETWORKS if cut is None else compose_lab.networks_of(cut.wire, cut.name)
        async with self._wiring:
            for network in networks:
                if network not in found.networks:
                    alias = f"{found.service}.{network}" if network == compose_lab.NODE_ALIAS else found.service
                    await docker("network", "connect", "--alias", alias, f"{self.project}_{network}", found.id)
        if found.life is Life.RUNNING:
            with contextlib.suppress(Failure):  # no cut of its own to heal, or no chaos service
                await chaos.heal(self._admin(await self._container(name)), name, cut)

    async def degrade(self, name: str, quality: Quality) -> None:
        """Through the node's own chaos service."""
        await chaos.degrade(self._admin(await self._container(name)), name, quality)

    def _admin(self, container: Container) -> Address:
        host = container.address()
        if host is None:
            raise Failure(Exit.UNREACHABLE, f"{container.service} is on no network", "heal it: `hvc heal NODE`")
        return Address(host, compose_lab.NODE_PORT)


async def docker(*arguments: str, limit_s: float = COMMAND_S) -> str:
    """Run the docker client; its standard output. Raises Failure with what it said."""
    process = await asyncio.create_subprocess_exec(
        "docker",
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(limit_s):
            out, err = await process.communicate()
    except TimeoutError:
        raise Failure(Exit.TIMEOUT, f"docker {arguments[0]} did not end within {limit_s:g} s") from None
    finally:
        if process.returncode is None:  # what is given up must not go on beside what follows
            process.kill()
            await process.wait()
    if process.returncode:
        raise Failure(Exit.REFUSED, f"docker {arguments[0]}: {err.decode(errors='replace').strip()}")
    return out.decode(errors="replace")


def _inspect_blocking(project: str) -> dict[str, Container]:
    """The containers, for the one question that is asked outside of a loop as well."""
    import subprocess

    def run(*arguments: str) -> str:
        done = subprocess.run(["docker", *arguments], capture_output=True, text=True, timeout=COMMAND_S, check=False)
        if done.returncode:
            raise Failure(Exit.REFUSED, f"docker {arguments[0]}: {done.stderr.strip()}", "is the engine running?")
        return done.stdout

    listed = run("ps", "-aq", "--filter", f"label=com.docker.compose.project={project}").split()
    return _parse(run("inspect", *listed), project) if listed else {}


def _parse(text: str, project: str) -> dict[str, Container]:
    lives = {"running": Life.RUNNING, "paused": Life.FROZEN}
    found: dict[str, Container] = {}
    inspected: list[_Inspected] = json.loads(text)
    for item in inspected:
        labels = item["Config"]["Labels"]
        if labels.get("com.docker.compose.oneoff") == "True":
            continue
        service = labels.get("com.docker.compose.service", "")
        networks = {
            name.removeprefix(f"{project}_"): endpoint["IPAddress"]
            for name, endpoint in item["NetworkSettings"]["Networks"].items()
        }
        found[service] = Container(
            item["Id"],
            service,
            lives.get(item["State"]["Status"], Life.DEAD),
            item["State"]["Pid"],
            networks,
            labels.get("com.docker.compose.project.working_dir", ""),
        )
    return found


async def _accepts(host: str, port: int) -> bool:
    try:
        async with asyncio.timeout(1.0):
            _, writer = await asyncio.open_connection(host, port)
    except OSError:
        return False
    writer.close()
    return True
