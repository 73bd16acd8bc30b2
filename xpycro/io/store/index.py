"""The index of a large file's sidecars: what opening each would tell, kept beside them so that a thousand open at once.

A convenience that nothing rests on: the folder says which results there are, an entry counts only while its sidecar has
the size and time it had, and a line that is torn, stale or missing means that the sidecar itself is opened. May import
io's encoding and its neighbours in this folder.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping

import xxhash

from xpycro.errors import XpycroError
from xpycro.io import encoding
from xpycro.io.store import disk, reader
from xpycro.io.store.reader import Facts

__all__ = ["Index", "index_path", "note"]

_ENTRY_BYTES = 1 << 18  # a sidecar with more to tell (long coordinates) is opened
_CATCH_UP = 64  # sidecars that one save looks into where the index does not know them


def index_path(folder: str) -> str:
    """Where the index of a folder of sidecars lies."""
    return os.path.join(folder, ".index")


def _state(path: str) -> str:
    """What an entry's sidecar must still have: its size and the time of its last change."""
    status = os.stat(path)
    return f"{status.st_size}-{status.st_mtime_ns}"


def _checksum(text: str) -> str:
    return xxhash.xxh3_64_hexdigest(text.encode("utf-8", "surrogatepass"))


class Index:
    """The entries of a folder that still count.

    Parameters
    ----------
    folder : str
    """

    def __init__(self, folder: str) -> None:
        self._lines: dict[str, tuple[str, str]] = {}
        self.n_lines = 0
        try:
            with open(index_path(folder), encoding="utf-8", errors="replace") as handle:
                for line in handle:
                    name, _, rest = line.rstrip("\n").partition("\t")
                    state, _, rest = rest.partition("\t")
                    checksum, _, facts = rest.partition("\t")
                    self.n_lines += bool(facts)
                    if facts and checksum == _checksum(facts):
                        self._lines[name] = (state, facts)
        except OSError:  # there is none, or it cannot be read
            pass

    def knows(self, name: str, path: str) -> bool:
        """Whether there is an entry for the sidecar as it is now."""
        return name in self._lines and self._lines[name][0] == _state(path)

    def facts(self, name: str, path: str) -> Facts | None:
        """What opening the sidecar would tell; None where it must be opened."""
        if not self.knows(name, path):
            return None
        return Facts.from_plain(encoding.from_json(self._lines[name][1]))


def note(folder: str, sidecars: Mapping[str, str]) -> None:
    """Add to the index what it does not know yet; called by whoever holds the store's lock.

    Failing is no failure: the results are published, and opening them does without.
    """
    with contextlib.suppress(OSError):
        known = Index(folder)
        if known.n_lines > 2 * len(sidecars) + _CATCH_UP:  # mostly of sidecars that are no more
            disk.remove(index_path(folder))
            known = Index(folder)
        missing = [name for name, path in sidecars.items() if not known.knows(name, path)][-_CATCH_UP:]
        lines = [line for name in missing if (line := _line(name, sidecars[name]))]
        if lines:  # the first newline ends a line that was torn
            disk.append(index_path(folder), "".join(f"\n{line}\n" for line in lines).encode())


def _line(name: str, path: str) -> str:
    try:
        state = _state(path)
        with reader.open_checked(path) as hdf5:
            text = encoding.to_json(reader.facts_of(hdf5, path).plain())
    except (XpycroError, OSError):  # told of by whoever opens it
        return ""
    return f"{name}\t{state}\t{_checksum(text)}\t{text}" if len(text) <= _ENTRY_BYTES else ""
