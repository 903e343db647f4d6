"""The resource types that a monitor hosts, behind one small interface.

Law: each type does what its five entry points say, blocking as long as it must; when they are called, and what follows
from an answer, others decide. A failure is an exception whose text an administrator understands.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shlex
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Final, Protocol

STOP_S: Final = 20.0
"""An application that does not end within this after SIGTERM is killed: well below PendingTimeout."""
CONNECT_S: Final = 2.0
"""To a listening address of this machine."""
BACKLOG: Final = 16


class CannotRun(Exception):
    """An entry point failed; the text says why."""


class Resource(Protocol):
    """One resource while a monitor hosts it."""

    def online(self) -> None:
        """Bring it online; return when it serves. Raises CannotRun, or anything else, when it cannot."""

    def offline(self) -> None:
        """Take it offline; return when nothing of it runs any more."""

    def terminate(self) -> None:
        """End it at once, whatever else is under way."""

    def looks_alive(self) -> bool:
        """A quick look."""

    def is_alive(self) -> bool:
        """A thorough look."""


class IpAddress:
    """A listening address on this machine: `address` and `port`. Alive while it takes connections."""

    def __init__(self, properties: Mapping[str, str]) -> None:
        self._at = (properties["address"], int(properties["port"]))
        self._listener: socket.socket | None = None

    def online(self) -> None:
        """Listen. An address that is not this machine's, or a port in use, is a failure."""
        try:
            self._listener = listener = socket.create_server(self._at, backlog=BACKLOG)
        except OSError as error:
            raise CannotRun(f"{self._at[0]}:{self._at[1]}: {os.strerror(error.errno or 0)}") from None
        threading.Thread(target=self._take, args=(listener,), name="connections", daemon=True).start()

    def offline(self) -> None:
        """Listen no more."""
        listener, self._listener = self._listener, None
        if listener is not None:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)  # closing alone would not wake who waits for a connection
            listener.close()

    terminate = offline

    def looks_alive(self) -> bool:
        """Whether the socket is there."""
        return self._listener is not None and self._listener.fileno() >= 0

    def is_alive(self) -> bool:
        """Whether a connection is taken; it is ended at once."""
        if self._listener is None:
            return False
        try:
            with socket.create_connection(self._at, CONNECT_S):
                return True
        except OSError:
            return False

    @staticmethod
    def _take(listener: socket.socket) -> None:
        """Take connections and end them: nothing serves here, and a queue that is full would take none."""
        with contextlib.suppress(OSError):  # it was closed
            while True:
                listener.accept()[0].close()


class NetworkName:
    """A name for addresses that it depends on. Nothing resolves it: it is online while its provider is."""

    def __init__(self, _: Mapping[str, str]) -> None:
        self._online = False

    def online(self) -> None:
        """Nothing to do."""
        self._online = True

    def offline(self) -> None:
        """Nothing to undo."""
        self._online = False

    terminate = offline

    def looks_alive(self) -> bool:
        """Whether it was brought online."""
        return self._online

    is_alive = looks_alive


class Application:
    """A command that runs as long as the resource is online: `command_line`, and `current_directory` if need be."""

    def __init__(self, properties: Mapping[str, str]) -> None:
        self._command = shlex.split(properties["command_line"])
        self._directory = properties.get("current_directory", "/")
        self._process: subprocess.Popen[bytes] | None = None

    def online(self) -> None:
        """Start it. That it runs is all that can be known; what it prints goes to the log of the monitor."""
        try:
            self._process = subprocess.Popen(self._command, cwd=self._directory, stdin=subprocess.DEVNULL)
        except (OSError, ValueError) as error:
            raise CannotRun(f"{self._command[0]}: {error}") from None

    def offline(self) -> None:
        """SIGTERM, and SIGKILL for one that does not listen."""
        process = self._process
        if process is None or process.poll() is not None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.terminate()

    def terminate(self) -> None:
        """SIGKILL."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def looks_alive(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.poll() is None

    is_alive = looks_alive


class Script:
    """A Python file with functions online, offline, looks_alive, is_alive and terminate, each given the properties.

    Only `online` must be there; without looks_alive and is_alive it is taken for alive. Private properties reach the
    script as a dict of texts, the path of its own file as `script_file`.
    """

    def __init__(self, properties: Mapping[str, str]) -> None:
        self._properties = dict(properties)
        self._file = Path(properties["script_file"])
        self._module: ModuleType | None = None

    def _load(self) -> ModuleType:
        if self._module is None:
            spec = importlib.util.spec_from_file_location(f"resource_{self._file.stem}", self._file)
            if spec is None or spec.loader is None or not self._file.is_file():
                raise CannotRun(f"there is no Python file {self._file}")
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            self._module = module
        return self._module

    def _call(self, name: str, *, required: bool = False) -> object:
        function = getattr(self._load(), name, None)
        if function is None and required:
            raise CannotRun(f"{self._file} has no function {name}(properties)")
        return True if function is None else function(self._properties)

    def online(self) -> None:
        """Load the file anew, and call its `online`."""
        self._module = None
        if self._call("online", required=True) is False:
            raise CannotRun(f"online of {self._file.name} returned False")

    def offline(self) -> None:
        """Its `offline`, or what it has instead: its `terminate`."""
        name = "offline" if hasattr(self._load(), "offline") else "terminate"
        if self._call(name) is False:
            raise CannotRun(f"{name} of {self._file.name} returned False")

    def terminate(self) -> None:
        """Its `terminate`."""
        self._call("terminate")

    def looks_alive(self) -> bool:
        """False only when the script says so."""
        return self._call("looks_alive") is not False

    def is_alive(self) -> bool:
        """False only when the script says so."""
        return self._call("is_alive") is not False


TYPES: Final[dict[str, Callable[[Mapping[str, str]], Resource]]] = {
    "IP Address": IpAddress,
    "Network Name": NetworkName,
    "Generic Application": Application,
    "Generic Service": Application,
    "Generic Script": Script,
}
"""By the name that the product shows."""
