"""The few file operations that safety rests on, in one place: flush to disk, rename, copy, write at an offset.

May import the standard library only (h5py inside functions). Tests replace these functions to record or fail them.
"""

from __future__ import annotations

import os
import shutil
from typing import Any

__all__ = ["append", "copy", "flush", "flush_folder", "open_hdf5", "read_at", "remove", "rename", "write_at"]


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
