"""What the array keeps: blocks in one sparse file per LUN, and reservations in a small database.

Law: performs what the core ordered, in that order, and decides nothing. `commit` makes everything so far durable;
the target lets no answer out before it. A data directory that is not exactly what this module wrote is refused.

    <directory>/array.sqlite    one row per LUN: its `LunImage` with a checksum (WAL, one connection)
    <directory>/lun-<n>.blocks  the blocks of LUN n, 512 bytes each; never shorter than the image says
    <directory>/lock            held while an array runs here
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import zlib
from pathlib import Path
from typing import Final

from hvcluster.model import codec
from hvcluster.model.vocabulary import BLOCK_BYTES, LunId
from hvcluster.runtime import durable

from .core.effects import ArrayImage, LunImage

FORMAT: Final = 1
MAX_CACHED_BLOCKS: Final = 65_536  # 32 MiB in the write cache, as small arrays have; then it is written out
_DATABASE: Final = "array.sqlite"


class MediaError(Exception):
    """The data directory cannot be used; the message names the file, what is wrong and what to do."""

    def __init__(self, path: Path, wrong: str, remedy: str) -> None:
        super().__init__(f"{path}: {wrong}. {remedy}")
        self.path = path


class Media:
    """The opened data directory of one array. Any `OSError` later means that the medium failed: stop the array.

    With `power_loss_safe` everything promised to be durable is flushed to the device; without it, it is handed to
    the kernel, which survives the death of this process but not of the machine. With `write_cache` blocks written
    without FUA stay in this process's memory until flushed, so that killing it loses them, as a power cut would.
    """

    def __init__(self, directory: Path, *, power_loss_safe: bool = True, write_cache: bool = False) -> None:
        """Open or create. Raises MediaError for a directory in use or not intact."""
        self._directory = directory
        self._safe = power_loss_safe
        self._caching = write_cache
        self._files: dict[LunId, int] = {}
        self._unsynced: set[LunId] = set()
        self._cache: dict[LunId, dict[int, bytes]] = {}
        self._cached_blocks = 0
        self._saving = False
        self.commits = 0
        self.syncs = 0
        durable.make_directory(directory)
        self._lock = self._take_lock()
        self._database = self._open_database()
        self.images: dict[LunId, LunImage] = self._load()
        self._open_files()

    def image(self) -> ArrayImage:
        """The saved state of every LUN, sorted by number."""
        return ArrayImage(tuple(self.images[lun] for lun in sorted(self.images)))

    def close(self) -> None:
        """Make everything durable and let go of the directory."""
        for lun in sorted(self._cache):
            self.flush(lun)
        self.commit()
        self._database.close()
        for file in self._files.values():
            os.close(file)
        os.close(self._lock)

    # -- opening ---------------------------------------------------------------------------------------------------

    def _take_lock(self) -> int:
        path = self._directory / "lock"
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            raise MediaError(path, "another array runs on this directory", "Stop it first.") from None
        return lock

    def _open_database(self) -> sqlite3.Connection:
        path = self._directory / _DATABASE
        database = None
        try:
            database = sqlite3.connect(path, isolation_level=None)
            database.execute("PRAGMA journal_mode=WAL")
            database.execute(f"PRAGMA synchronous={'FULL' if self._safe else 'NORMAL'}")
            (found,) = database.execute("PRAGMA quick_check(1)").fetchone()
            if found != "ok":
                raise sqlite3.DatabaseError(found)
            (version,) = database.execute("PRAGMA user_version").fetchone()
            if version == 0:
                database.execute(
                    "CREATE TABLE IF NOT EXISTS luns"
                    "(lun INTEGER PRIMARY KEY, image BLOB NOT NULL, checksum INTEGER NOT NULL)"
                )
                database.execute(f"PRAGMA user_version={FORMAT}")
            elif version != FORMAT:
                wrong = f"written by another version of the array (format {version}, this one knows {FORMAT})"
                raise MediaError(path, wrong, "Start the version that wrote it, or give the array a new directory.")
        except sqlite3.Error as error:
            if database is not None:
                database.close()
            raise _corrupt(path, str(error)) from None
        return database

    def _load(self) -> dict[LunId, LunImage]:
        path = self._directory / _DATABASE
        images = {}
        try:
            rows = self._database.execute("SELECT lun, image, checksum FROM luns ORDER BY lun").fetchall()
        except sqlite3.Error as error:
            raise _corrupt(path, str(error)) from None
        for lun, data, checksum in rows:
            if not isinstance(data, bytes) or zlib.crc32(data) != checksum:
                raise _corrupt(path, f"the state of LUN {lun} does not match its checksum")
            try:
                image = codec.load(LunImage, data)
            except codec.Malformed as error:
                raise _corrupt(path, f"the state of LUN {lun} cannot be read: {error}") from None
            if image.lun != lun:
                raise _corrupt(path, f"the row of LUN {lun} holds the state of LUN {image.lun}")
            images[image.lun] = image
        return images

    def _open_files(self) -> None:
        for image in self.images.values():
            path = self._path(image.lun)
            try:
                file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            except FileNotFoundError:
                raise _corrupt(path, f"LUN {image.lun} has no blocks: the file is missing") from None
            self._files[image.lun] = file
            size, wanted = os.fstat(file).st_size, image.blocks * BLOCK_BYTES
            if size < wanted:
                raise _corrupt(path, f"LUN {image.lun} is {wanted} bytes long, the file only {size}")
        for path in self._directory.glob("lun-*.blocks"):
            if path not in {self._path(lun) for lun in self.images}:
                path.unlink()  # left by a kill between making or discarding blocks and saving the LUN

    def _path(self, lun: LunId) -> Path:
        return self._directory / f"lun-{lun}.blocks"

    # -- what the core orders --------------------------------------------------------------------------------------

    def save(self, lun: LunId, image: LunImage | None) -> None:
        """Replace the saved state of one LUN; durable, with all that was ordered before, at the next `commit`."""
        if not self._saving:
            self._database.execute("BEGIN IMMEDIATE")
            self._saving = True
        if image is None:
            del self.images[lun]
            self._database.execute("DELETE FROM luns WHERE lun=?", (lun,))
            return
        self.images[lun] = image
        data = codec.dump(image)
        self._database.execute("INSERT OR REPLACE INTO luns VALUES(?,?,?)", (lun, data, zlib.crc32(data)))

    def allocate(self, lun: LunId, blocks: int, fresh: bool) -> None:
        """Give a LUN a file of that many blocks, or make its file longer."""
        if fresh:
            flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
            self._files[lun] = os.open(self._path(lun), flags, 0o600)
        os.ftruncate(self._files[lun], blocks * BLOCK_BYTES)
        if self._safe:
            os.fsync(self._files[lun])
            durable.sync_directory(self._directory)

    def discard(self, lun: LunId) -> None:
        """Remove the file of a LUN that has been deleted."""
        self._commit_saves()
        os.close(self._files.pop(lun))
        self._unsynced.discard(lun)
        self._cached_blocks -= len(self._cache.pop(lun, ()))
        self._path(lun).unlink(missing_ok=True)

    def write(self, lun: LunId, lba: int, data: bytes, fua: bool) -> None:
        """Write blocks; with `fua`, or without a write cache, durable at the next `commit`.

        Saved state that is still waiting goes first: blocks must never be older than the reservation under which
        they were accepted.
        """
        if self._saving:
            self._commit_saves()
        if self._caching:
            if not fua:
                self._keep(lun, lba, data)
                return
            self._forget(lun, lba, len(data) // BLOCK_BYTES)
        _write_all(self._files[lun], data, lba * BLOCK_BYTES)
        self._unsynced.add(lun)

    def fill(self, lun: LunId, lba: int, blocks: int, block: bytes | None) -> None:
        """Write one block to all of `blocks`; None: they read as zeros, and the file needs no room for them."""
        if self._saving:
            self._commit_saves()
        self._forget(lun, lba, blocks)
        file, at, size = self._files[lun], lba * BLOCK_BYTES, blocks * BLOCK_BYTES
        if block is not None or not durable.punch(file, at, size):
            piece = (block or bytes(BLOCK_BYTES)) * min(blocks, 2_048)
            for done in range(0, size, len(piece)):
                _write_all(file, piece[: size - done], at + done)
        self._unsynced.add(lun)

    def mapped(self, lun: LunId, lba: int) -> tuple[int, bool]:
        """How many blocks from one on are alike: all with room in the file, or all without. Whole pages of 4 KiB."""
        file, at = self._files[lun], lba * BLOCK_BYTES
        end = self.images[lun].blocks * BLOCK_BYTES
        try:
            data = os.lseek(file, at, os.SEEK_DATA)
        except OSError:  # nothing but a hole
            return (end - at) // BLOCK_BYTES, False
        if data > at:
            return max(1, (min(data, end) - at) // BLOCK_BYTES), False
        hole = os.lseek(file, at, os.SEEK_HOLE)
        return max(1, (min(hole, end) - at) // BLOCK_BYTES), True

    def read(self, lun: LunId, lba: int, blocks: int) -> bytes | None:
        """The blocks as last written; None if the device cannot read them."""
        try:
            data = os.pread(self._files[lun], blocks * BLOCK_BYTES, lba * BLOCK_BYTES)
        except OSError:
            return None
        if len(data) != blocks * BLOCK_BYTES:
            return None
        cached = self._cache.get(lun)
        if not cached:
            return data
        old = (data[at : at + BLOCK_BYTES] for at in range(0, len(data), BLOCK_BYTES))
        return b"".join(cached.get(lba + index, block) for index, block in enumerate(old))

    def flush(self, lun: LunId) -> None:
        """Every write of the LUN so far is durable at the next `commit`."""
        cached = self._cache.pop(lun, None)
        if cached is not None:
            self._cached_blocks -= len(cached)
            for lba in sorted(cached):
                _write_all(self._files[lun], cached[lba], lba * BLOCK_BYTES)
            self._unsynced.add(lun)

    def commit(self) -> None:
        """Everything ordered so far is durable when this returns, but what the write cache may keep."""
        self._commit_saves()
        if self._unsynced:
            if self._safe:
                for lun in self._unsynced:
                    os.fdatasync(self._files[lun])
                self.syncs += len(self._unsynced)
            self._unsynced.clear()

    def _commit_saves(self) -> None:
        if self._saving:
            self._database.execute("COMMIT")
            self._saving = False
            self.commits += 1

    # -- the write cache -------------------------------------------------------------------------------------------

    def _keep(self, lun: LunId, lba: int, data: bytes) -> None:
        cached = self._cache.setdefault(lun, {})
        before = len(cached)
        for index in range(len(data) // BLOCK_BYTES):
            cached[lba + index] = data[index * BLOCK_BYTES : (index + 1) * BLOCK_BYTES]
        self._cached_blocks += len(cached) - before
        if self._cached_blocks > MAX_CACHED_BLOCKS:
            for full in sorted(self._cache):
                self.flush(full)

    def _forget(self, lun: LunId, lba: int, blocks: int) -> None:
        cached = self._cache.get(lun)
        if cached:
            for index in range(blocks):
                if cached.pop(lba + index, None) is not None:
                    self._cached_blocks -= 1


def _write_all(file: int, data: bytes, offset: int) -> None:
    written = os.pwrite(file, data, offset)
    while written < len(data):
        written += os.pwrite(file, data[written:], offset + written)


def _corrupt(path: Path, wrong: str) -> MediaError:
    return MediaError(path, wrong, "Restore the directory from a copy, or remove it to begin with an empty array.")
