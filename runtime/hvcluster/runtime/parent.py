"""A child that does not outlive its parent, however the parent ends.

Law: called once, first thing, by every process of a lab that was asked to be tied; decides nothing else. Two
ties: `--die-with-parent PID` asks the Linux kernel for SIGKILL when the parent dies (PR_SET_PDEATHSIG), also
when the parent is SIGKILLed; `--parent-fd FD` works everywhere: the parent keeps the writing end of a pipe,
and its end of file ends the process. A lab started to outlive its orchestrator uses neither.

The kernel counts the *thread* that started the child as its parent: a launcher starts children from a thread
that lives as long as they should, in practice its main thread. A change of user clears the tie (prctl(2)),
which is why the Mosquitto configuration of `brokers` keeps the user it was started as.
"""

import argparse
import contextlib
import ctypes
import os
import signal
import sys
import threading

_PR_SET_PDEATHSIG = 1
ORPHAN_EXIT_STATUS = 113
"""Exit status of a process that found its parent gone (only the parent could have read it: this is for
tests).
"""


class Orphaned(Exception):
    """The parent had died before the tie was made."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add `--die-with-parent PID` and `--parent-fd FD`; hand their values to `tie`."""
    parser.add_argument(
        "--die-with-parent",
        type=int,
        metavar="PID",
        help="end as soon as this process, our parent, ends (Linux)",
    )
    parser.add_argument(
        "--parent-fd",
        type=int,
        metavar="FD",
        help="end as soon as this inherited pipe reaches its end of file",
    )


def arguments() -> list[str]:
    """The arguments with which the calling process ties a child it starts itself."""
    return ["--die-with-parent", str(os.getpid())]


def tie(die_with_parent: int | None, parent_fd: int | None = None) -> None:
    """Tie this process to its parent; with neither argument nothing happens. Exits at once if the parent is
    gone.

    Raises `OSError` where the kernel cannot do what `die_with_parent` asks (not Linux): use `parent_fd`
    there.
    """
    if parent_fd is not None:
        os.set_inheritable(parent_fd, False)
        threading.Thread(target=_die_at_end_of, args=(parent_fd,), name="parent watch", daemon=True).start()
    if die_with_parent is not None:
        try:
            set_death_signal(die_with_parent)
        except Orphaned:
            os._exit(ORPHAN_EXIT_STATUS)


def set_death_signal(parent_pid: int) -> None:
    """Ask for SIGKILL when `parent_pid` dies; survives exec, not a change of user.

    Raises `Orphaned` when it has died already: the order (ask first, then look) closes the race. Raises
    `OSError` outside Linux.
    """
    if sys.platform != "linux":
        raise OSError("--die-with-parent needs Linux; use --parent-fd")
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0) != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"prctl(PR_SET_PDEATHSIG): {os.strerror(error)}")
    if os.getppid() != parent_pid:
        raise Orphaned(f"parent {parent_pid} is gone; the parent is {os.getppid()} now")


def _die_at_end_of(fd: int) -> None:
    """Runs in a thread of its own, so that a stuck event loop does not keep an orphan alive."""
    with contextlib.suppress(OSError):
        while os.read(fd, 64):
            pass
    os._exit(ORPHAN_EXIT_STATUS)
