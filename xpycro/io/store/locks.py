"""One writer at a time: a lock file of our own beside the store, which HDF5_USE_FILE_LOCKING does not switch off.

The system holds the lock for an open file, so a writer that dies lets go of it. May import errors and the standard
library only.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from collections.abc import Iterator
from datetime import UTC, datetime

from xpycro.errors import Locked

__all__ = ["LOCK_SECONDS", "holder", "lock_path", "locked", "same_file", "take"]

LOCK_SECONDS = 60.0  # publishing takes a second or two; who waits this long is told who holds the lock


def lock_path(path: str) -> str:
    """The lock file of a store."""
    folder, name = os.path.split(os.path.abspath(path))
    return os.path.join(folder, f".{name}.lock")


def take(descriptor: int) -> bool:
    """Try to get the system's lock on an open file."""
    if os.name == "nt":
        import msvcrt

        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        except OSError:
            return False
        return True
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def holder(path: str) -> str:
    """Who holds the lock of a store, in words."""
    try:
        with open(lock_path(path), encoding="utf-8") as handle:
            content = json.loads(handle.read() or "{}")
        return f"process {content['pid']} on {content['host']} since {content['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"


def same_file(descriptor: int, path: str) -> bool:
    """Whether an open file is still the one of that name."""
    try:
        there = os.stat(path)
    except FileNotFoundError:
        return False
    here = os.fstat(descriptor)
    return (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)


@contextlib.contextmanager
def locked(path: str, seconds: float | None = None) -> Iterator[None]:
    """Hold the writer's lock of the store at `path`.

    Parameters
    ----------
    path : str
    seconds : float, optional
        How long to wait for another writer; default `LOCK_SECONDS`.

    Raises
    ------
    Locked
        If another process still holds it; the message names it.
    """
    name = lock_path(path)
    deadline = time.monotonic() + (LOCK_SECONDS if seconds is None else seconds)
    while True:
        descriptor = os.open(name, os.O_RDWR | os.O_CREAT, 0o666)
        # a lock on a file that its last holder has removed is worth nothing: look again
        if take(descriptor) and same_file(descriptor, name):
            break
        os.close(descriptor)
        if time.monotonic() >= deadline:
            raise Locked(
                f"{os.path.basename(path)} is being written by {holder(path)}: wait until it is done and call again"
            )
        time.sleep(0.02)
    try:
        about = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "since": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(about).encode(), 0)
        yield
    finally:
        if os.name != "nt":
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name)
        os.close(descriptor)
