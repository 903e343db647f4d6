"""How to start a heartbeat network: Mosquitto where it is installed, the embedded broker otherwise.

Law: turns a wish into a command line and a configuration file, and starts nothing. Both kinds have the same
surface: one listener, MQTT 3.1.1, quality of service up to 1, anonymous, nothing kept on disk, packets up to
64 KiB.
"""

import os
import pwd
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hvcluster.runtime import ports
from hvcluster.runtime.broker.codec import MAX_PACKET_BYTES
from hvcluster.runtime.broker.core import MAX_UNACKNOWLEDGED

Kind = Literal["auto", "mosquitto", "embedded"]
KINDS: tuple[Kind, ...] = ("auto", "mosquitto", "embedded")
_ALSO_IN = ("/usr/sbin", "/usr/local/sbin", "/opt/homebrew/sbin")
"""Debian installs mosquitto in /usr/sbin, which is not on everybody's PATH."""


class NoMosquitto(Exception):
    """Mosquitto was demanded and is not installed."""


@dataclass(frozen=True, slots=True)
class Broker:
    """What to run. Where `config` is given, write it to `config_file` first (it is named in `argv`).

    `announces`: understands `--ready-fd`, `--die-with-parent` and so on (append them to `argv`); otherwise
    wait with `ready.wait_listening` and tie with `tied.argv`.
    """

    kind: Literal["mosquitto", "embedded"]
    argv: tuple[str, ...]
    announces: bool
    config_file: Path | None = None
    config: str | None = None


def find_mosquitto() -> str | None:
    """The path of the mosquitto program, or None."""
    return shutil.which("mosquitto") or shutil.which("mosquitto", path=os.pathsep.join(_ALSO_IN))


def command(kind: Kind, name: str, port: int, config_file: Path, bind: str = ports.LOOPBACK) -> Broker:
    """How to start the broker of heartbeat network `name` on `bind:port`. Raises `NoMosquitto`."""
    mosquitto = None if kind == "embedded" else find_mosquitto()
    if mosquitto is not None:
        argv = (mosquitto, "-c", str(config_file))
        return Broker("mosquitto", argv, False, config_file, mosquitto_config(port, bind))
    if kind == "mosquitto":
        raise NoMosquitto("mosquitto is not installed; install it, or ask for the broker kind 'embedded' or 'auto'")
    module = ("-m", "hvcluster.runtime.broker")
    return Broker("embedded", (sys.executable, *module, "--bind", bind, "--port", str(port), "--name", name), True)


def mosquitto_config(port: int, bind: str, user: str | None = None) -> str:
    """A configuration for Mosquitto 2.0. `user` (default: ours) keeps it from changing users when started by
    root, which would cut the tie to its parent (see `parent`) and its access to a private log file.
    """
    account = pwd.getpwuid(os.geteuid()).pw_name if user is None else user
    lines = (
        f"listener {port} {bind}",
        "allow_anonymous true",
        "persistence false",
        f"user {account}",
        "max_qos 1",
        f"max_packet_size {MAX_PACKET_BYTES}",
        f"max_queued_messages {MAX_UNACKNOWLEDGED}",
        "set_tcp_nodelay true",
        "sys_interval 0",
        "log_dest stderr",
        "log_type error",
        "log_type warning",
        "log_type notice",
        "connection_messages true",
        "log_timestamp_format %Y-%m-%dT%H:%M:%S",
    )
    return "\n".join(lines) + "\n"
