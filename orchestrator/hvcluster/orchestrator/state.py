"""What is known of labs that run on this machine: one directory per lab, one record in it.

Law: files and their truth. A process is the one of the record only if its pid, its start time and the boot it was
started in all agree, so that a reused pid is never signalled. Nothing is started or signalled here.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Final

from hvcluster.model import codec
from hvcluster.model.definition import ClusterDefinition

RECORD: Final = "runtime.json"
MARK: Final = "HVCLUSTER_STATE"
"""Environment variable of every process of a lab: lets `hvc down` find even those a crash kept out of the record."""


class Role(Enum):
    """What a process of a lab is."""

    BUS = "one heartbeat network"
    SAN = "the array"
    WITNESS = "the place of a file share or cloud witness"
    NODE = "the cluster service of one Hyper-V host"
    SWITCH = "the clients' network"


class Life(Enum):
    """What the kernel says about a process of the record."""

    RUNNING = "running"
    FROZEN = "frozen"
    DEAD = "dead"


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """How to start one process. `announces`: it understands --ready-fd and the ties; otherwise its port is tried."""

    name: str
    role: Role
    argv: tuple[str, ...]
    host: str
    port: int
    log: str
    announces: bool = True
    node: int = 0
    data: str = ""


@dataclass(frozen=True, slots=True)
class ProcessRecord:
    """A process that was started. `pid` 0: not started yet, or stopped on purpose."""

    spec: ProcessSpec
    pid: int = 0
    started: int = 0


@dataclass(frozen=True, slots=True)
class VmPort:
    """Where the clients of one VM connect."""

    vm: str
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Runtime:
    """One lab that was started. `tied_to`: the pid all its processes end with, 0 for a lab that stands alone."""

    definition: ClusterDefinition
    boot: str
    processes: tuple[ProcessRecord, ...]
    ports: tuple[VmPort, ...]
    tied_to: int = 0
    tied_started: int = 0
    lab_file: str = ""
    version: int = 1

    def process(self, name: str) -> ProcessRecord | None:
        """A process by its name, whatever the case."""
        return next((p for p in self.processes if p.spec.name.lower() == name.lower()), None)

    def with_process(self, record: ProcessRecord) -> Runtime:
        """A copy in which one process is replaced."""
        return replace(self, processes=tuple(record if p.spec.name == record.spec.name else p for p in self.processes))

    def of_role(self, role: Role) -> tuple[ProcessRecord, ...]:
        """All processes of a kind, in the order they are started."""
        return tuple(p for p in self.processes if p.spec.role is role)


def state_home() -> Path:
    """Where labs keep their state: $XDG_STATE_HOME/hvcluster, by default ~/.local/state/hvcluster."""
    base = os.environ.get("XDG_STATE_HOME", "")
    return (Path(base) if os.path.isabs(base) else Path.home() / ".local" / "state") / "hvcluster"


class LabDir:
    """The directory of one lab."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()

    @property
    def name(self) -> str:
        """The lab's name, as its directory has it."""
        return self.path.name

    @property
    def definition(self) -> Path:
        """The cluster definition that every node reads."""
        return self.path / "cluster.json"

    @property
    def lun_sizes(self) -> Path:
        """How large the LUNs are whose blocks the lab keeps."""
        return self.path / "luns.json"

    @property
    def runs(self) -> bool:
        """Whether the lab was started and not ended; its processes may be dead all the same."""
        return (self.path / RECORD).is_file()

    @property
    def tie(self) -> Path:
        """A named pipe whose writing end the owner of a tied lab keeps open."""
        return self.path / "tie"

    def data(self, name: str) -> Path:
        """The data directory of one process."""
        return self.path / "data" / name

    def marker(self, name: str) -> Path:
        """The file that says a node was part of the cluster's creation; not on the disk that `hvc wipe` empties."""
        return self.path / "genesis" / name

    def log(self, name: str) -> Path:
        """The log file of one process."""
        return self.path / "logs" / f"{name}.log"

    def make(self) -> None:
        """Create the directory and its parts, for this user alone."""
        for part in ("", "data", "genesis", "logs"):
            (self.path / part).mkdir(parents=True, exist_ok=True, mode=0o700)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Only one command changes a lab's record at a time; another waits."""
        self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        fd = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)

    def load(self) -> Runtime | None:
        """The record, or None where there is none. Raises codec.Malformed for a damaged one."""
        try:
            data = (self.path / RECORD).read_bytes()
        except FileNotFoundError:
            return None
        return codec.load(Runtime, data)

    def save(self, runtime: Runtime) -> None:
        """Replace the record in one step."""
        temporary = self.path / (RECORD + ".new")
        temporary.write_bytes(codec.dump(runtime))
        os.replace(temporary, self.path / RECORD)

    def update(self, record: ProcessRecord) -> Runtime:
        """Replace one process in the record; returns the new record."""
        with self.locked():
            runtime = self.load()
            assert runtime is not None, "a process is recorded only in a lab that has a record"
            runtime = runtime.with_process(record)
            self.save(runtime)
        return runtime

    def forget(self) -> None:
        """Remove the record: the lab no longer runs. Data and logs stay."""
        (self.path / RECORD).unlink(missing_ok=True)
        self.tie.unlink(missing_ok=True)

    def purge(self) -> None:
        """Remove everything the lab ever wrote."""
        shutil.rmtree(self.path, ignore_errors=True)


def labs(home: Path) -> list[LabDir]:
    """Every lab there is, by name, stopped ones that keep their data included."""
    if not home.is_dir():
        return []
    found = [LabDir(entry) for entry in sorted(home.iterdir())]
    return [directory for directory in found if directory.runs or directory.definition.is_file()]


def boot_id() -> str:
    """Which boot of the machine this is; empty where the system does not say."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def start_time(pid: int) -> int:
    """When a process started, in clock ticks since boot; 0 if there is none (or only its corpse)."""
    fields = _stat(pid)
    return 0 if fields is None or _over(fields) else int(fields[19])


def _over(fields: list[str]) -> bool:
    """Whether a process has ended with all its threads: the last of them gives the sockets back, not the first."""
    return fields[0] == "X" or (fields[0] == "Z" and int(fields[17]) <= 1)


def life(record: ProcessRecord, boot: str) -> Life:
    """Whether the process of a record lives, judged by pid, start time and boot together."""
    if record.pid <= 0 or boot != boot_id():
        return Life.DEAD
    fields = _stat(record.pid)
    if fields is None or _over(fields) or int(fields[19]) != record.started:
        return Life.DEAD
    return Life.FROZEN if fields[0] in "Tt" else Life.RUNNING


def _stat(pid: int) -> list[str] | None:
    """/proc/PID/stat from the state on: the name before it may hold spaces and parentheses."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return text[text.rindex(")") + 2 :].split()


def marked(path: Path) -> list[int]:
    """Every process of ours whose environment carries the mark of the lab in `path`."""
    wanted = f"{MARK}={path.absolute()}".encode()
    found = []
    for entry in os.listdir("/proc") if os.path.isdir("/proc") else ():
        if entry.isdigit() and int(entry) != os.getpid():
            with contextlib.suppress(OSError):
                if wanted in Path(f"/proc/{entry}/environ").read_bytes().split(b"\0") and start_time(int(entry)):
                    found.append(int(entry))
    return sorted(found)
