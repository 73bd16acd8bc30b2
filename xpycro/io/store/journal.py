"""The status map of a long job: which chunks of a part file are written, so that the same call can go on from there.

One line of JSON a block, appended after the block; the file's lock says whether the job is still running. May import
the standard library and its neighbours in this folder.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
import uuid
from collections.abc import Iterator
from typing import Any

from xpycro.io.store import disk, locks

__all__ = ["KEEP_SECONDS", "Journal", "job", "job_paths", "sweep", "temporary"]

KEEP_SECONDS = 10.0  # a job that fails sooner leaves nothing
_KEEP_DAYS = 7  # an interrupted job that nobody resumed is removed by the next save after this


def _prefix(path: str) -> tuple[str, str]:
    folder, name = os.path.split(os.path.abspath(path))
    return folder, f".{name}."


def temporary(path: str) -> str:
    """A new hidden sibling of `path`, which says whose it is so that it can be cleared away if that process dies."""
    folder, prefix = _prefix(path)
    return os.path.join(folder, f"{prefix}tmp-{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}.part")


def job_paths(path: str, key: str) -> tuple[str, str]:
    """Part file and journal of a job on `path`."""
    folder, prefix = _prefix(path)
    return os.path.join(folder, f"{prefix}job-{key}.part"), os.path.join(folder, f"{prefix}job-{key}.journal")


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def sweep(path: str) -> None:
    """Remove what dead processes left beside `path`: temporary files at once, unresumed jobs after a week."""
    folder, prefix = _prefix(path)
    host = socket.gethostname()
    for name in os.listdir(folder):
        rest = name.removeprefix(prefix)
        if rest == name:
            continue
        full = os.path.join(folder, name)
        if rest.startswith(f"tmp-{host}-") and rest.endswith(".part") and os.name != "nt":
            owner = rest.removeprefix(f"tmp-{host}-").split("-")[0]
            if owner.isdigit() and not _alive(int(owner)):
                disk.remove(full)
        elif rest.startswith("job-") and rest.endswith(".journal"):
            with contextlib.suppress(FileNotFoundError):
                if time.time() - os.path.getmtime(full) > _KEEP_DAYS * 86_400:
                    journal = Journal.take(full)
                    if journal is not None:
                        disk.remove(full.removesuffix(".journal") + ".part")
                        journal.close(remove=True)


@contextlib.contextmanager
def job(path: str, key: str) -> Iterator[tuple[str, Journal | None]]:
    """Part file and journal of a job on `path`, which the same call takes up again if this one is interrupted.

    Both are removed at the end, or if the job fails within its first `KEEP_SECONDS`. Where another process is at the
    very same job, a temporary file without a journal.
    """
    part, name = job_paths(path, key)
    journal = Journal.take(name)
    if journal is None:
        part = temporary(path)
    start, keep = time.monotonic(), False
    try:
        with disk.explained(path):
            yield part, journal
    except BaseException as error:
        keep = journal is not None and time.monotonic() - start > KEEP_SECONDS
        if keep:
            error.add_note(f"what is done is kept in {part}: the same call goes on from there")
        raise
    finally:
        if not keep:
            disk.remove(part)
        if journal is not None:
            journal.close(remove=not keep)


class Journal:
    """The journal of one running job; `take` opens it.

    Attributes
    ----------
    path : str
    entries : list of (str, list)
        What earlier runs wrote: dataset and its chunks with their checksums.
    """

    def __init__(self, path: str, descriptor: int, lines: list[Any]) -> None:
        self.path, self._descriptor = path, descriptor
        self.header = lines[0] if lines else None
        self.entries = lines[1:]

    @classmethod
    def take(cls, path: str) -> Journal | None:
        """Open or start a journal and hold it; None where another process holds it."""
        while True:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
            if not locks.take(descriptor):
                os.close(descriptor)
                return None
            if locks.same_file(descriptor, path):
                break
            os.close(descriptor)
        lines: list[Any] = []
        with open(path, encoding="utf-8", errors="replace") as handle:
            for line in handle:
                try:
                    lines.append(json.loads(line))
                except ValueError:  # the line that was being written when the process died, and what follows it
                    break
        return cls(path, descriptor, lines)

    def restart(self, header: str) -> None:
        """Begin anew for a part file of this structure."""
        os.ftruncate(self._descriptor, 0)
        self.header, self.entries = header, []
        os.write(self._descriptor, (json.dumps(header) + "\n").encode())

    def note(self, key: str, written: dict[tuple[int, ...], bytes]) -> None:
        """Add one block: chunks and their checksums. One write, so that lines of several threads do not mix."""
        line = json.dumps([key, [[list(index), digest.hex()] for index, digest in written.items()]])
        os.write(self._descriptor, (line + "\n").encode())

    def close(self, *, remove: bool) -> None:
        """Let go of it; `remove` where the job is done or nothing is worth keeping."""
        if remove:
            disk.remove(self.path)
        os.close(self._descriptor)
