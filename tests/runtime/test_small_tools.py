"""Ports, durable files, logs: the small tools every shell leans on."""

import json
import os
import socket
from pathlib import Path

import pytest

from hvcluster.runtime import durable, logs, ports

# --- ports


def test_free_ports_are_different_and_can_be_bound() -> None:
    """A lab takes a dozen at once."""
    found = ports.free(20)
    assert len(set(found)) == 20
    assert all(ports.is_free(port) for port in found)


def test_free_ports_lie_outside_the_range_of_outgoing_connections() -> None:
    """The port of a dead node must not be given to somebody's connection before the node is back."""
    low, high = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    if low < 12_000:
        pytest.skip(f"this machine gives ports from {low} on to outgoing connections: nothing is left outside")
    assert all(not low <= port <= high for port in ports.free(20))


def test_ports_are_held_while_the_block_runs_and_free_after() -> None:
    """Two labs started at once do not get the same ports."""
    with ports.held(3) as found:
        assert not any(ports.is_free(port) for port in found)
    assert all(ports.is_free(port) for port in found)


def test_the_holder_of_a_listening_port_is_named() -> None:
    """Bad input of an operator: a busy port, and by whom."""
    with socket.create_server((ports.LOOPBACK, 0)) as server:
        port = server.getsockname()[1]
        holder = ports.holder(port, ports.LOOPBACK)
        assert holder is not None
        assert holder.pid == os.getpid()
        assert f"127.0.0.1:{port} is busy: held by pid {os.getpid()} (" in str(ports.busy(ports.LOOPBACK, port))
    assert ports.holder(port, ports.LOOPBACK) is None


def test_a_listener_on_another_address_does_not_hold_the_port() -> None:
    """All of 127/8 is loopback: two addresses may use the same port."""
    with socket.create_server(("127.0.0.2", 0)) as server:
        port = server.getsockname()[1]
        assert ports.holder(port, "127.0.0.1") is None
        assert ports.holder(port, "127.0.0.2") is not None
        assert ports.holder(port, "0.0.0.0") is not None


def test_a_holder_of_ipv6_is_found() -> None:
    """The kernel keeps a table of its own for them."""
    if not socket.has_ipv6:
        pytest.skip("this Python has no IPv6")
    try:
        server = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError as error:
        pytest.skip(f"this machine has no IPv6 loopback: {error}")
    with server:
        holder = ports.holder(server.getsockname()[1], "::1")
        assert holder is not None
        assert holder.pid == os.getpid()


# --- durable files


def test_a_written_file_is_replaced_whole_and_leaves_no_temporary(tmp_path: Path) -> None:
    """A reader finds the old or the new content, and nothing beside it."""
    path = tmp_path / "lab.json"
    durable.write(path, b"old")
    durable.write_text(path, "new")
    assert path.read_bytes() == b"new"
    assert [entry.name for entry in tmp_path.iterdir()] == ["lab.json"]
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_failed_write_leaves_the_old_content(tmp_path: Path) -> None:
    """Replacing a directory fails at the last step; the temporary file goes too."""
    path = tmp_path / "taken"
    path.mkdir()
    with pytest.raises(OSError, match="taken"):
        durable.write(path, b"new")
    assert [entry.name for entry in tmp_path.iterdir()] == ["taken"]


def test_directories_are_made_with_their_parents_and_files_removed_twice(tmp_path: Path) -> None:
    """Both are idempotent."""
    folder = tmp_path / "a" / "b"
    durable.make_directory(folder)
    durable.make_directory(folder)
    durable.write(folder / "file", b"")
    durable.remove(folder / "file")
    durable.remove(folder / "file")
    assert list(folder.iterdir()) == []


# --- logs


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_log_line_says_who_and_when(tmp_path: Path) -> None:
    """JSON with both clocks, the process and its node; lines below the level are not written."""
    path = tmp_path / "node.log"
    log = logs.configure("node", cluster="lab", node="HyperV-1", file=path, level="info")
    log.debug("hidden")
    log.info("joined", term=3)
    (line,) = lines(path)
    assert {key: line[key] for key in ("process", "cluster", "node", "event", "level", "term")} == {
        "process": "node",
        "cluster": "lab",
        "node": "HyperV-1",
        "event": "joined",
        "level": "info",
        "term": 3,
    }
    assert list(line)[:2] == ["time", "mono_s"]


def test_a_flood_of_bad_messages_is_logged_once_per_sender_and_counted(tmp_path: Path) -> None:
    """Then at every power of ten; senders beyond the limit share one count."""
    path = tmp_path / "node.log"
    once = logs.OncePerSender(logs.configure("node", file=path), max_senders=2)
    for _ in range(100):
        once.report("malformed", "node-2", "detail " * 100)
    once.report("foreign cluster", "node-3")
    once.report("malformed", "node-4")
    once.report("malformed", "node-5")
    assert [(line["kind"], line["sender"], line["count"]) for line in lines(path)] == [
        ("malformed", "node-2", 1),
        ("malformed", "node-2", 10),
        ("malformed", "node-2", 100),
        ("foreign cluster", "node-3", 1),
        ("malformed", once.OTHERS, 1),
    ]
    assert once.counts() == {
        ("malformed", "node-2"): 100,
        ("foreign cluster", "node-3"): 1,
        ("malformed", once.OTHERS): 2,
    }
