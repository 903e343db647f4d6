"""One witness file in a directory: its form on the disk, and its use by several machines at once.

Law: what is answered is on the disk. Whoever changes a file in a directory that others have too holds the lock beside
it from the read to the write; a file carries its version, so that a version never comes back.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from hvcluster.model.share import MAX_FILE_BYTES, ShareAnswer, ShareRequest, StoredFile, carried_out

from . import durable

FILE: Final = "witness.log"
LOCK: Final = "lock"
_LOOK_S: Final = 0.005
_DIGITS: Final = 20


class NotAWitness(Exception):
    """What lies there is not a witness file, or not all of it."""


class Busy(Exception):
    """Somebody else held the lock all the time."""


def load(path: Path) -> StoredFile:
    """Read a file; one that is not there is blank. Raises NotAWitness, OSError."""
    try:
        with path.open("rb") as file:
            text = file.read(MAX_FILE_BYTES + _DIGITS + 1)
    except FileNotFoundError:
        return StoredFile()
    version, newline, data = text.partition(b"\n")
    if not newline or not version.isdigit() or int(version) < 1:
        raise NotAWitness(f"{path} is not a witness file")
    return StoredFile(data, int(version))


def store(path: Path, file: StoredFile) -> None:
    """Replace a file, durably. Raises OSError."""
    durable.make_directory(path.parent)
    durable.write(path, b"%d\n" % file.version + file.data)


def ask(directory: Path, cluster_id: str, request: ShareRequest, deadline_s: float) -> ShareAnswer:
    """Carry out one request in a directory that other machines use too: a share that is mounted on each of them.

    Blocks for `deadline_s` at most while others hold the lock. The folder of the cluster must be there (`prepare`): in
    the empty directory where a share should be mounted, each machine would find a witness of its own. Raises Busy,
    NotAWitness, OSError; with OSError the write may have been carried out.
    """
    folder = directory / cluster_id
    with _locked(folder / LOCK, deadline_s):
        before = load(folder / FILE)
        after, answer = carried_out(before, request)
        if after is not before:
            store(folder / FILE, after)
        return answer


def prepare(directory: Path, cluster_id: str) -> None:
    """Make the folder of a cluster in a directory that is there. Raises OSError."""
    (directory / cluster_id).mkdir(exist_ok=True)
    durable.sync_directory(directory)


@contextmanager
def _locked(path: Path, deadline_s: float) -> Iterator[None]:
    """An exclusive lock of the file system, which ends with its holder: flock, that network file systems pass on."""
    end = time.monotonic() + deadline_s
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= end:
                    raise Busy(f"{path} is locked") from None
                time.sleep(_LOOK_S)
        yield
    finally:
        os.close(lock)
