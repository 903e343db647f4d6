"""Small files that survive a kill and a power cut.

Law: after `write` returns, the new content is what any later reader finds; before, the old one; never a
mixture and never half of either. Temporary file in the same directory, fsync, rename, fsync of the directory.
"""

import contextlib
import ctypes
import os
from pathlib import Path

_TEMPORARY = ".new"


def write(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Replace `path` by `content`, durably. Raises `OSError`; the old content is intact then.

    One writer per path at a time: two writers would share the temporary file.
    """
    temporary = path.with_name(path.name + _TEMPORARY)
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    sync_directory(path.parent)


def write_text(path: Path, text: str, mode: int = 0o600) -> None:
    """`write`, for text (UTF-8)."""
    write(path, text.encode(), mode)


def remove(path: Path) -> None:
    """Remove `path`, durably; nothing happens if it does not exist."""
    try:
        path.unlink()
    except FileNotFoundError:
        return
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Make creations, renames and removals in a directory durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def make_directory(path: Path) -> None:
    """Create `path` and its missing parents, durably."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    for folder in reversed(missing):
        folder.mkdir(exist_ok=True)
        sync_directory(folder.parent)


_KEEP_SIZE_AND_PUNCH = 0x01 | 0x02  # FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE


def punch(file: int, offset: int, size: int) -> bool:
    """Let a range of an open file read as zeros without taking room; False where the file system cannot."""
    if size == 0:
        return True
    try:
        call = ctypes.CDLL(None, use_errno=True).fallocate
    except (OSError, AttributeError):  # not Linux
        return False
    call.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
    return bool(call(file, _KEEP_SIZE_AND_PUNCH, offset, size) == 0)
