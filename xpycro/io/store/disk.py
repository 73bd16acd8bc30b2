"""The few file operations that safety rests on, in one place: flush to disk, rename, copy, write at an offset.

May import the standard library and the errors (h5py inside functions). Tests replace these functions to record or fail
them.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from typing import Any

from xpycro.errors import StoreError

__all__ = [
    "append",
    "check_room",
    "copy",
    "explained",
    "flush",
    "flush_folder",
    "open_hdf5",
    "read_at",
    "remove",
    "rename",
    "write_at",
]


def write_at(descriptor: int, data: Any, offset: int) -> None:
    """Write all of `data` at a byte offset of an open file."""
    view = memoryview(data).cast("B")
    while view:
        done = os.pwrite(descriptor, view, offset)
        view, offset = view[done:], offset + done


def append(path: str, data: bytes) -> None:
    """Add to the end of a file by one write, making it where it is not there."""
    with open(path, "ab", buffering=0) as handle:
        handle.write(data)


# What says that a file cannot be written for want of room, and never that another cannot be read.
_FULL = frozenset(getattr(errno, name) for name in ("ENOSPC", "EDQUOT", "EFBIG", "EROFS") if hasattr(errno, name))


@contextlib.contextmanager
def explained(path: str) -> Iterator[None]:
    """Name the file whose writing fails for want of room, and what to do, where the system says neither."""
    try:
        yield
    except OSError as error:
        if error.errno is None or error.errno not in _FULL:
            raise
        text = error.strerror if isinstance(error, _NoRoom) else os.strerror(error.errno)
        raise StoreError(
            f"{path} cannot be written: {text}; make room or choose another place. What was there before is untouched"
        ) from error


class _NoRoom(OSError):
    """Found before anything was written; its text has the numbers."""


def check_room(path: str, count: int) -> None:
    """Make the file and raise where `count` bytes cannot be in it: before hours of work, and before HDF5 meets it.

    Some filesystems take no files beyond a size (4 GB on many memory sticks), some accounts have a quota.
    """
    with open(path, "wb") as handle:
        os.ftruncate(handle.fileno(), count)
        os.ftruncate(handle.fileno(), 0)
    free = shutil.disk_usage(os.path.dirname(path) or ".").free
    if count > free > 0:  # some network filesystems say 0 of everything
        said = f"{os.strerror(errno.ENOSPC)}, {count / 1e6:,.1f} MB are needed and {free / 1e6:,.1f} MB are free"
        raise _NoRoom(errno.ENOSPC, said)


def read_at(descriptor: int, count: int, offset: int) -> bytes:
    """Bytes at an offset of an open file; fewer where it ends."""
    pieces = []
    while count > 0:
        piece = os.pread(descriptor, count, offset)
        if not piece:
            break
        pieces.append(piece)
        count, offset = count - len(piece), offset + len(piece)
    return b"".join(pieces)


def flush(path: str) -> None:
    """Bring a file's content to the disk itself."""
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def flush_folder(path: str) -> None:
    """Bring a folder's entries (a rename) to the disk itself, where the system allows it."""
    if os.name == "nt":
        return
    descriptor = os.open(path or ".", os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError:  # some network filesystems cannot, and need not
        pass
    finally:
        os.close(descriptor)


def rename(part: str, target: str) -> None:
    """Let `part` take the name `target`, at once and lastingly; whoever has the old file open keeps reading it."""
    os.replace(part, target)
    flush_folder(os.path.dirname(target))


def copy(source: str, target: str) -> None:
    """Copy a file's bytes; shares them where the filesystem can."""
    shutil.copyfile(source, target)


def remove(path: str) -> None:
    """Remove a file that may already be gone."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


def open_hdf5(path: str, mode: str) -> Any:
    """An h5py file."""
    import h5py

    return h5py.File(path, mode)
