"""A compose project made for one lab: the services of compose.yaml, as many as it has, for as long as a story lasts.

Law: a project file and its life; which service is which process stands in `compose_lab`, and a test compares what is
written here with compose.yaml. Containers, volumes and networks are gone when the block is left.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

from hvcluster.model import codec
from hvcluster.model.definition import ClusterDefinition, TagWitnessKind
from hvcluster.model.vocabulary import NodeId

from . import compose_lab
from .compose import Compose, docker
from .driver import Driver
from .errors import Exit, Failure
from .lab import BUS_NAMES, Lab, LabNode
from .launcher import Progress, silent
from .state import Life

IMAGE: Final = "hvcluster:latest"
"""What `docker compose build` makes."""
BROKER_IMAGE: Final = "eclipse-mosquitto:2"
ORCHESTRATOR: Final = "orchestrator"
UP_S: Final = 300.0
"""The broker's image may have to be fetched."""
STARTED_S: Final = 60.0
LOOK_S: Final = 0.2
PREFIX: Final = "hvc-"
"""Projects of ours, should one ever be left: docker compose ls -a."""
DEFINITION: Final = "/definition/cluster.json"
BROKER_CONFIG: Final = """\
listener 1883
allow_anonymous true
persistence false
max_qos 1
max_packet_size 65536
set_tcp_nodelay true
sys_interval 0
log_dest stderr
log_type error
log_type warning
log_type notice
connection_messages true
"""

Service = dict[str, Any]
"""One service as compose.yaml has it; written as JSON, which every reader of YAML takes."""


class Onlooker:
    """The orchestrator of a project: it shows the log, and may be killed."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    async def kill(self) -> None:
        """SIGKILL of its container."""
        await self._driver.kill(ORCHESTRATOR)


def project(lab: Lab, image: str, folder: Path) -> dict[str, Any]:
    """The project file of a lab whose definition and broker configuration lie in `folder`."""
    ours: Service = {"image": image, "restart": "no", "stop_grace_period": "2s", "pull_policy": "never"}
    shared = [f"{folder}/cluster.json:{DEFINITION}:ro"]
    services: dict[str, Service] = {f"bus-{name.lower()}": _bus(name, folder) for name in BUS_NAMES}
    services[compose_lab.SAN_SERVICE] = {
        **ours,
        "user": "0",
        "command": _array(lab),
        "networks": {"storage": {"aliases": ["array.storage"]}},
        "volumes": ["array-data:/data"],
    }
    volumes = ["array-data"]
    if lab.tag_witness is not None:
        services[compose_lab.WITNESS_SERVICE] = {
            **ours,
            "user": "0",
            "command": _witness(lab.tag_witness),
            "networks": {"storage": {"aliases": ["witness.storage"]}},
            "volumes": ["witness-data:/data"],
        }
        volumes.append("witness-data")
    for node in lab.nodes:
        service = node.name.lower()
        services[service] = {
            **ours,
            "user": "0",
            "command": _node(lab, node),
            "networks": {
                **{network: {} for network in compose_lab.NETWORKS if network != compose_lab.NODE_ALIAS},
                compose_lab.NODE_ALIAS: {"aliases": [f"{service}.{compose_lab.NODE_ALIAS}"]},
            },
            "volumes": [*shared, f"{service}-data:/data", f"{service}-genesis:/genesis"],
        }
        volumes += [f"{service}-data", f"{service}-genesis"]
    services[compose_lab.SWITCH_SERVICE] = {
        **ours,
        "command": ["hvc", "compose", "switch", DEFINITION],
        "networks": ["heartbeat-a", "heartbeat-b", compose_lab.NODE_ALIAS],
        "volumes": shared,
    }
    services[ORCHESTRATOR] = {
        **ours,
        "environment": {"HVC_INSIDE": DEFINITION},
        "command": ["hvc", "log", "--follow"],
        "networks": ["storage", compose_lab.NODE_ALIAS],
        "volumes": shared,
    }
    return {
        "services": services,
        "networks": {network: {} for network in compose_lab.NETWORKS},
        "volumes": {volume: {} for volume in volumes},
    }


def _bus(name: str, folder: Path) -> Service:
    return {
        "image": BROKER_IMAGE,
        "restart": "no",
        "stop_grace_period": "2s",
        "volumes": [f"{folder}/mosquitto.conf:/mosquitto/config/mosquitto.conf:ro"],
        "networks": [f"heartbeat-{name.lower()}"],
    }


def _array(lab: Lab) -> list[str]:
    return [
        *("python", "-m", "hvcluster.san", "--data=/data", "--bind=0.0.0.0"),
        *(f"--port={compose_lab.SAN_PORT + at}" for at in range(len(lab.san_ports))),
        *(f"--lun={lun.id}:{lun.blocks}" for lun in lab.luns),
        *(f"--unmask={lun.id}:{initiator}" for lun in lab.luns for initiator in lab.initiators()),
        *(("--write-cache=on",) if lab.write_cache else ()),
        "--allow-chaos",
    ]


def _witness(kind: TagWitnessKind) -> list[str]:
    return [
        *("python", "-m", "hvcluster.san.witness", f"--kind={kind.value}"),
        *("--data=/data", "--bind=0.0.0.0", f"--port={compose_lab.WITNESS_PORT}"),
    ]


def _node(lab: Lab, node: LabNode) -> list[str]:
    def address(name: str) -> str:
        return f"{name.lower()}.{compose_lab.NODE_ALIAS}"

    return [
        *("python", "-m", "hvcluster.node"),
        f"--definition={DEFINITION}",
        *("--data=/data", "--genesis-marker=/genesis/marker", f"--bind=0.0.0.0:{compose_lab.NODE_PORT}"),
        *(f"--bus={name}=bus-{name.lower()}:1883" for name in BUS_NAMES),
        *(f"--path={path}=array.storage:{compose_lab.SAN_PORT + at}" for at, path in enumerate(lab.paths)),
        *([f"--witness=witness.storage:{compose_lab.WITNESS_PORT}"] if lab.tag_witness is not None else []),
        *("--guest-bind=0.0.0.0", "--allow-chaos", f"--node={node.id}", f"--advertise={address(node.name)}"),
        *(
            f"--peer={other.id}={address(other.name)}:{compose_lab.NODE_PORT}"
            for other in lab.nodes
            if other.id != node.id
        ),
    ]


@contextlib.asynccontextmanager
async def up(lab: Lab, name: str, image: str, progress: Progress = silent) -> AsyncIterator[Compose]:
    """The lab as a project of its own, every node's admin service reachable. Raises Failure."""
    called = PREFIX + re.sub(r"[^a-z0-9_-]", "-", name.lower())
    driver = Compose(called, compose_lab.definition_of(lab))
    await _require(image)
    with tempfile.TemporaryDirectory(prefix=PREFIX) as kept:
        folder = Path(kept)
        _write(folder, lab, driver.definition, image)
        # One thing at a time: an engine that takes several endpoints from a network at once may never let go of it.
        compose = ("compose", "--parallel", "1", "-p", called, "-f", str(folder / "compose.yaml"))
        try:
            progress(f"starting project {called}")
            await docker(*compose, "up", "-d", "--quiet-pull", limit_s=UP_S)
            await _reachable(driver, {node.id for node in lab.nodes})
            yield driver
        finally:
            await asyncio.shield(docker(*compose, "down", "-v", "--timeout", "0"))


def _write(folder: Path, lab: Lab, definition: ClusterDefinition, image: str) -> None:
    files = {
        "cluster.json": codec.dump(definition),
        "mosquitto.conf": BROKER_CONFIG.encode(),
        "compose.yaml": json.dumps(project(lab, image, folder), indent=1).encode(),
    }
    for name, content in files.items():
        (folder / name).write_bytes(content)
        (folder / name).chmod(0o644)  # containers read them as users of their own


async def _require(image: str) -> None:
    try:
        await docker("image", "inspect", "--format", "{{.Id}}", image)
    except Failure as error:
        text = f"image {image!r} cannot be used: {error.text}"
        raise Failure(
            Exit.REFUSED, text, "build it with `docker compose build`, or name another with --image"
        ) from None


async def _reachable(driver: Compose, nodes: set[NodeId]) -> None:
    """Every container runs and every node and the array have an address. Raises Failure."""
    loop = asyncio.get_running_loop()
    end = loop.time() + STARTED_S
    while True:
        addresses = await driver.addresses()
        dead = [member.name for member in await driver.members() if member.life is not Life.RUNNING]
        if nodes == set(addresses.nodes) and addresses.san is not None and not dead:
            return
        if loop.time() >= end:
            what = ", ".join(dead) or "some address"
            raise Failure(Exit.TIMEOUT, f"{what} is missing {STARTED_S:g} s after the start", "see `docker ps -a`")
        await asyncio.sleep(LOOK_S)
