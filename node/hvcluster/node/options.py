"""The command line of a node process, and the checks that need more than one of its arguments.

Law: turns words into values, and tells all that is wrong at once. Nothing is started here.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from hvcluster.model import codec
from hvcluster.model.definition import ClusterDefinition, TagWitnessKind
from hvcluster.model.vocabulary import MAX_NODES, NodeId, PathName
from hvcluster.runtime import blob_account, logs, loop, parent, ports, ready

from .core.forcing import Start
from .outside import TARGET_NAME, Addresses
from .share import WitnessAddress

STOP_TIMEOUT_S = 30.0

DESCRIPTION = """\
The cluster service of one Hyper-V node, and the VMs that run on it.

A node knows the cluster from its definition, its peers and the buses from the command line, and everything else from
its saved state and from the other nodes. It is ready as soon as its gRPC server listens; it joins or forms the cluster
afterwards (see the service state in its status)."""

EPILOG = """\
example:
  python -m hvcluster.node --definition lab/cluster.json --node 1 --data lab/hv1 --genesis-marker lab/genesis/hv1 \\
      --bind 127.0.0.1:7001 --peer 2=127.0.0.1:7002 --peer 3=127.0.0.1:7003 \\
      --bus A=127.0.0.1:1883 --bus B=127.0.0.1:1884 --path A=127.0.0.1:7100

signals: the first SIGTERM or SIGINT asks the node to leave politely (its VMs move first, as far as that is possible
within --stop-timeout); the second ends the process at once.

exit status: 0 the node has left or was stopped; 2 bad arguments or definition, or quorum cannot be forced here (the
message says why); 3 the port is busy; 65 the saved state is corrupt (the message names the file and the way back);
70 a bug; 74 the disk refused a save."""


class BadOptions(Exception):
    """What is wrong with the arguments, all of it, a line each."""


@dataclass(frozen=True, slots=True)
class Options:
    """A checked command line."""

    definition: ClusterDefinition
    node: NodeId
    data: Path
    marker: Path
    rejoin_empty: bool
    start: Start
    bind: tuple[str, int]
    addresses: Addresses
    allow_chaos: bool
    stop_timeout_s: float
    log: Path | None
    log_level: logs.Level
    loop: loop.Loop
    ready_fd: int | None
    ready_file: Path | None
    die_with_parent: int | None
    parent_fd: int | None


def parser() -> argparse.ArgumentParser:
    """The arguments, with the help that explains them."""
    made = argparse.ArgumentParser(
        prog="python -m hvcluster.node",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = made.add_argument
    add("--definition", type=Path, required=True, metavar="FILE", help="the cluster's definition, as JSON")
    add("--node", type=int, required=True, metavar="ID", help="which of its nodes this one is")
    add("--data", type=Path, required=True, metavar="DIR", help="the node's disk: saved state and facts")
    add(
        "--genesis-marker",
        type=Path,
        required=True,
        metavar="FILE",
        help="kept outside DIR; tells a wiped disk (the node joins empty) from a new one (it is founded)",
    )
    add("--rejoin-empty", action="store_true", help="set the saved state aside and join as after a wiped disk")
    add(
        "--force-quorum",
        "-fq",
        action="store_true",
        help="form the cluster by itself, whatever the votes say; its database replaces that of all others",
    )
    add("--prevent-quorum", "-pq", action="store_true", help="only join a cluster, never help to form one")
    add(
        "--ignore-persistent-state",
        "-ips",
        action="store_true",
        help="if it helps to form the cluster, all groups stay offline until somebody wants them online",
    )
    add("--bind", type=address, default=(ports.LOOPBACK, 0), metavar="HOST:PORT", help="gRPC server; port 0: any")
    add("--peer", type=named, action="append", default=[], metavar="ID=HOST:PORT", help="another node; repeat")
    add("--bus", type=named, action="append", default=[], metavar="NAME=HOST:PORT", help="an MQTT broker; repeat")
    add("--path", type=named, action="append", default=[], metavar="NAME=HOST:PORT", help="to the array; repeat")
    add("--witness", type=address, metavar="HOST:PORT", help="of the file share or cloud witness, if there is one")
    text = "the same for a cloud witness of a blob service: FILE holds the connection string of its account"
    add("--witness-account", type=Path, metavar="FILE", help=text)
    text = "the same for a file share witness in a directory that every node has mounted"
    add("--witness-directory", type=Path, metavar="DIR", help=text)
    add("--target", default=TARGET_NAME, metavar="NAME", help="the array's name (%(default)s)")
    add("--guest-bind", default=ports.LOOPBACK, metavar="HOST", help="where VMs listen (%(default)s)")
    add("--advertise", metavar="HOST", help="the host others reach this node and its VMs by (default: --guest-bind)")
    add("--allow-chaos", action="store_true", help="serve the calls that cut this node's own wires")
    add("--stop-timeout", type=float, default=STOP_TIMEOUT_S, metavar="S", help="for a polite stop (%(default)g)")
    add("--log", type=Path, metavar="FILE", help="default: standard error")
    add("--log-level", choices=logs.LEVELS, default="info")
    ready.add_arguments(made)
    parent.add_arguments(made)
    loop.add_argument(made)
    return made


def address(text: str) -> tuple[str, int]:
    """HOST:PORT; an IPv6 host may stand in brackets."""
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT, for example 127.0.0.1:7001")
    return host, int(port)


def named(text: str) -> tuple[str, tuple[str, int]]:
    """NAME=HOST:PORT."""
    name, equals, rest = text.partition("=")
    if not name or not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=HOST:PORT, for example A=127.0.0.1:1883")
    return name, address(rest)


def checked(arguments: argparse.Namespace) -> Options:
    """The arguments, if they fit together and to the definition. Raises BadOptions."""
    problems: list[str] = []
    try:
        definition = codec.load(ClusterDefinition, arguments.definition.read_bytes())
    except OSError as error:
        raise BadOptions(f"--definition: {arguments.definition} cannot be read: {error.strerror}") from None
    except codec.Malformed as error:
        raise BadOptions(f"--definition: {arguments.definition} is not a cluster definition: {error}") from None
    node = NodeId(arguments.node)
    known = {n.id for n in definition.nodes}
    if node not in known:
        problems.append(f"--node: {node} is not a node of {definition.name}; there are {_list(known)}")
    if not definition.id or set("/+#") & set(definition.id):
        problems.append("--definition: the cluster id must be a word without / + #, for it is part of bus topics")
    buses = _unique("--bus", arguments.bus, problems)
    paths = _unique("--path", arguments.path, problems)
    peers = _peers(_unique("--peer", arguments.peer, problems), node, known, problems)
    problems.extend(f"--bus: {name!r} must not contain / + #" for name in buses if set("/+#") & set(name))
    problems.extend(
        f"--path: {path} is a path of the cluster and has no address" for path in definition.paths if path not in paths
    )
    witness = _witness(arguments, definition.tag_witness, problems)
    if arguments.genesis_marker.resolve().is_relative_to(arguments.data.resolve()):
        problems.append("--genesis-marker: must lie outside --data, or it would be wiped with it")
    if arguments.force_quorum and arguments.prevent_quorum:
        problems.append("--force-quorum, --prevent-quorum: a node forms the cluster or joins it; leave one of them out")
    if arguments.force_quorum and arguments.rejoin_empty:
        problems.append("--force-quorum: with --rejoin-empty there is no database to force; leave one of them out")
    if arguments.ignore_persistent_state and (arguments.force_quorum or arguments.prevent_quorum):
        problems.append("--ignore-persistent-state: neither with --force-quorum nor with --prevent-quorum")
    if problems:
        raise BadOptions("\n".join(problems))
    start = Start.FORCED if arguments.force_quorum else Start.NORMAL
    if arguments.prevent_quorum:
        start = Start.PREVENTED
    if arguments.ignore_persistent_state:
        start = Start.IGNORING
    advertise = arguments.advertise or arguments.guest_bind
    hosts = (arguments.guest_bind, advertise)
    by_path = {PathName(name): where for name, where in paths.items()}
    return Options(
        definition=definition,
        node=node,
        data=arguments.data,
        marker=arguments.genesis_marker,
        rejoin_empty=arguments.rejoin_empty,
        start=start,
        bind=arguments.bind,
        addresses=Addresses(peers, buses, by_path, *hosts, arguments.target, witness),
        allow_chaos=arguments.allow_chaos,
        stop_timeout_s=arguments.stop_timeout,
        log=arguments.log,
        log_level=arguments.log_level,
        loop=arguments.loop,
        ready_fd=arguments.ready_fd,
        ready_file=arguments.ready_file,
        die_with_parent=arguments.die_with_parent,
        parent_fd=arguments.parent_fd,
    )


def _witness(arguments: argparse.Namespace, kind: TagWitnessKind | None, problems: list[str]) -> WitnessAddress | None:
    """Where the file share or cloud witness is: at one place, of its kind."""
    account: Path | None = arguments.witness_account
    directory: Path | None = arguments.witness_directory
    given = [where for where in (arguments.witness, account, directory) if where is not None]
    if account is not None and kind is not TagWitnessKind.CLOUD:
        problems.append("--witness-account: the cluster has no cloud witness")
    elif directory is not None and kind is not TagWitnessKind.FILE_SHARE:
        problems.append("--witness-directory: the cluster has no file share witness")
    elif len(given) > 1:
        problems.append("--witness, --witness-account, --witness-directory: a witness is at one place: give one")
    elif account is not None:
        try:
            return blob_account.load(account)
        except blob_account.BadAccount as error:
            problems.append(f"--witness-account: {error}")
    elif (kind is None) == bool(given):
        there = "no file share or cloud" if kind is None else f"a {kind.value}"
        problems.append(f"--witness: the cluster has {there} witness")
    return directory or arguments.witness


def _unique(option: str, pairs: list[tuple[str, tuple[str, int]]], problems: list[str]) -> dict[str, tuple[str, int]]:
    found: dict[str, tuple[str, int]] = {}
    for name, where in pairs:
        if name in found:
            problems.append(f"{option}: {name} is given twice")
        found[name] = where
    return found


def _peers(
    given: dict[str, tuple[str, int]], node: NodeId, known: set[NodeId], problems: list[str]
) -> dict[NodeId, tuple[str, int]]:
    peers: dict[NodeId, tuple[str, int]] = {}
    for name, where in given.items():
        if name.isdecimal() and int(name) <= MAX_NODES and int(name) in known - {node}:
            peers[NodeId(int(name))] = where
        else:
            problems.append(f"--peer: {name!r} is not another node; there are {_list(known - {node})}")
    missing = known - peers.keys() - {node}
    if missing:
        problems.append(f"--peer: no address for {_list(missing)}")
    return peers


def _list(ids: set[NodeId]) -> str:
    return ", ".join(map(str, sorted(ids))) or "none"
