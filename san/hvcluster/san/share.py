"""The files of witnesses on disk: one for each cluster, in a folder of its own.

Law: what is answered is on the disk. One process has the directory, by a lock on it; a file carries its version, so
that a version never comes back.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
from pathlib import Path
from typing import Final

from hvcluster.model.share import ShareAnswer, ShareRequest, StoredFile, carried_out
from hvcluster.runtime import witness_file
from hvcluster.runtime.witness_file import FILE, LOCK

MAX_CLUSTERS: Final = 1_000
"""A share serves the labs of one machine; more folders than that are somebody's mistake."""
CLUSTER_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""What may be the name of a folder: it comes from the wire."""


class ShareError(Exception):
    """The directory cannot be used, or what lies in it is not ours."""


class Share:
    """All witness files in one directory. Raises OSError when the disk refuses: nothing may be answered then."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self._lock = os.open(directory / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            raise ShareError(f"{directory} is in use by another process") from None
        self._files: dict[str, StoredFile] = {}

    def close(self) -> None:
        """Let another process have the directory."""
        with contextlib.suppress(OSError):
            os.close(self._lock)

    def ask(self, cluster_id: str, request: ShareRequest) -> ShareAnswer:
        """Carry out one request, durably. Raises ShareError, OSError."""
        before = self._read(cluster_id)
        after, answer = carried_out(before, request)
        if after is not before:
            witness_file.store(self._path(cluster_id), after)
            self._files[cluster_id] = after
        return answer

    def _path(self, cluster_id: str) -> Path:
        return self._directory / cluster_id / FILE

    def _read(self, cluster_id: str) -> StoredFile:
        if not CLUSTER_ID.fullmatch(cluster_id):
            raise ShareError(f"{cluster_id[:64]!r} is no cluster id")
        known = self._files.get(cluster_id)
        if known is None:
            if len(self._files) >= MAX_CLUSTERS:
                raise ShareError(f"more than {MAX_CLUSTERS} clusters")
            known = self._files[cluster_id] = self._load(cluster_id)
        return known

    def _load(self, cluster_id: str) -> StoredFile:
        try:
            return witness_file.load(self._path(cluster_id))
        except witness_file.NotAWitness as error:
            raise ShareError(str(error)) from None
