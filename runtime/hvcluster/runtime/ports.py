"""Loopback ports: free ones, and who holds a taken one.

Law: reads the kernel's tables, never connects to anything. Holders are found by /proc, which shows the
processes of our own user only (all of them to root); elsewhere the answer is "unknown", never a guess.
"""

import contextlib
import errno
import ipaddress
import os
import random
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_LISTEN = "0A"
LOOPBACK = "127.0.0.1"
_FIRST_PORT = 10_000
"""Below live the well-known services people run on their machines (databases, web servers)."""
_EPHEMERAL_FROM = 32_768
"""Where ports of outgoing connections begin on Linux; elsewhere it is higher."""
_ENOUGH_PORTS = 1_000


class PortBusy(OSError):
    """Somebody listens on the wanted port already; `holder` says who, where it can be known."""

    def __init__(self, address: str, port: int, holder: "Holder | None") -> None:
        by = f"held by {holder}" if holder is not None else "held by a process that cannot be seen from here"
        super().__init__(f"{address}:{port} is busy: {by}")
        self.address = address
        self.port = port
        self.holder = holder


@dataclass(frozen=True, slots=True)
class Holder:
    """The process that listens on a port."""

    pid: int
    program: str

    def __str__(self) -> str:
        return f"pid {self.pid} ({self.program})"


@contextlib.contextmanager
def held(count: int, address: str = LOOPBACK) -> Iterator[list[int]]:
    """`count` different free TCP ports, bound (not listening) until the block ends.

    Taken from outside the range the kernel gives to outgoing connections: while a server that owned such a
    port is dead, a client of another server could be given it, and a client that dials it again and again
    would in the end be connected to itself. Raises `OSError` (EADDRINUSE) if there are not enough.
    """
    with contextlib.ExitStack() as stack:
        ports: list[int] = []
        candidates = _candidates()
        while len(ports) < count:
            port = next(candidates, None)
            if port is None:
                raise OSError(errno.EADDRINUSE, f"no {count} free ports on {address}")
            probe = stack.enter_context(socket.socket(_family(address), socket.SOCK_STREAM))
            try:
                probe.bind((address, port))
            except OSError as error:
                if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                    raise
                probe.close()
            else:
                ports.append(port)
        yield ports


def _candidates() -> Iterator[int]:
    """Ports below the ephemeral range from a random one on, so that labs started at once rarely meet."""
    first, end = _FIRST_PORT, _EPHEMERAL_FROM
    with contextlib.suppress(OSError, ValueError, IndexError):
        end = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="ascii").split()[0])
    if end - first < _ENOUGH_PORTS:  # a machine that gives nearly all ports to connections: nothing better is left
        end = 65536
    start = random.SystemRandom().randrange(end - first)
    for offset in range(end - first):
        yield first + (start + offset) % (end - first)


def free(count: int, address: str = LOOPBACK) -> list[int]:
    """`count` different TCP ports that are free now. Use them soon: nothing keeps them free."""
    with held(count, address) as ports:
        return ports


def is_free(port: int, address: str = LOOPBACK) -> bool:
    """Whether a server could bind `address:port` now (a port in TIME_WAIT is free to a server).

    Raises `OSError` where nobody could (not an address of this machine, a port for root only).
    """
    with socket.socket(_family(address), socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as error:
            if is_busy(error):
                return False
            raise
    return True


def is_busy(error: OSError) -> bool:
    """Whether binding failed because somebody else has the port."""
    return error.errno == errno.EADDRINUSE


def busy(address: str, port: int) -> PortBusy:
    """The error to raise when binding failed because somebody else listens."""
    return PortBusy(address, port, holder(port, address))


def holder(port: int, address: str | None = None) -> Holder | None:
    """Who listens on the TCP port, or None: nobody, or nobody we may see, or a system without /proc/net/tcp.

    With `address`, only listeners whom a bind to that address would meet (the same address or a wildcard).
    """
    if not sys.platform.startswith("linux"):
        return None
    inodes = set(_listening_inodes(port, address))
    if not inodes:
        return None
    wanted = {f"socket:[{inode}]" for inode in inodes}
    for pid in sorted(int(entry) for entry in os.listdir("/proc") if entry.isdigit()):
        if _has_socket(pid, wanted):
            return Holder(pid, _program(pid))
    return None


def _listening_inodes(port: int, address: str | None) -> Iterator[str]:
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            rows = Path(table).read_text(encoding="ascii").splitlines()[1:]
        except OSError:
            continue
        for row in rows:
            fields = row.split()
            host, _, hex_port = fields[1].partition(":")
            if fields[3] == _LISTEN and int(hex_port, 16) == port and _meets(_address(host), address):
                yield fields[9]


def _address(hexadecimal: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """/proc prints addresses as host-order words of 32 bits."""
    words = [bytes.fromhex(hexadecimal[at : at + 8]) for at in range(0, len(hexadecimal), 8)]
    raw = b"".join(word[::-1] if sys.byteorder == "little" else word for word in words)
    address = ipaddress.ip_address(raw)
    return address.ipv4_mapped or address if isinstance(address, ipaddress.IPv6Address) else address


def _meets(listening: ipaddress.IPv4Address | ipaddress.IPv6Address, address: str | None) -> bool:
    if address is None or listening.is_unspecified:
        return True
    try:
        wanted = ipaddress.ip_address(address)
    except ValueError:
        return True
    return wanted.is_unspecified or listening == wanted


def _has_socket(pid: int, wanted: set[str]) -> bool:
    try:
        for entry in os.scandir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                if os.readlink(entry.path) in wanted:
                    return True
    except OSError:
        pass
    return False


def _program(pid: int) -> str:
    """The command line, shortened: "python -m hvcluster.node" says more than "python"."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return "unknown"
    line = " ".join(word for word in [os.path.basename(words[0]), *words[1:]] if word)
    return line if len(line) <= 80 else line[:77] + "..."


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET
