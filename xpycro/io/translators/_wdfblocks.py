"""The blocks of a Renishaw WDF file and the property sets in them.

A file is a chain of blocks: four letters, a number, a size, a body. A property set is a list of typed values by number,
names of numbers among them. May import numpy and the cursor.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from xpycro.io.cursor import Cursor

__all__ = ["Block", "blocks", "filetime", "properties"]

_HEAD = 16
_BLOCKS = 100_000
_DEPTH = 32
_SIZES = {"?": 1, "c": 1, "s": 2, "i": 4, "w": 8, "r": 4, "q": 8, "t": 8}
_LAYOUTS = {"?": "?", "c": "b", "s": "h", "i": "i", "w": "q", "r": "f", "q": "d", "t": "Q"}
_LONG = 256  # an array in a property set beyond this is told by its length


@dataclass(frozen=True)
class Block:
    """One block: its four letters, number, and where its body lies."""

    name: str
    number: int
    offset: int
    size: int


def blocks(cursor: Cursor) -> list[Block]:
    """Every block of the file; together they must fill it.

    Raises
    ------
    CorruptFile
        If a block ends outside of the file.
    """
    cursor.seek(0, "block")
    found: list[Block] = []
    while cursor.remaining:
        start = cursor.position
        if len(found) >= _BLOCKS:
            raise cursor.corrupt(f"more than {_BLOCKS} blocks", "block")
        name = cursor.read(4, "block name").decode("latin-1")
        number = cursor.integer("<u4", f"number of block {name!r}")
        size = cursor.integer("<u8", f"size of block {name!r}")
        if size < _HEAD or size > cursor.size - start:
            raise cursor.corrupt(
                f"says {size} bytes and the file has {cursor.size - start} from there: truncated, or damaged",
                f"size of block {name!r}",
                start,
            )
        found.append(Block(name, number, start + _HEAD, size - _HEAD))
        cursor.seek(start + size, f"block {name!r}")
    return found


def filetime(ticks: int) -> str | None:
    """A Windows file time (100 ns since 1601) as ISO 8601; None for what is no date of an instrument."""
    if not 0x0180_0000_0000_0000 < ticks < 0x0300_0000_0000_0000:  # 1947 to 2284
        return None
    return (datetime(1601, 1, 1) + timedelta(microseconds=ticks // 10)).isoformat(timespec="seconds")


def properties(body: bytes) -> dict[str, Any] | None:
    """A property set as nested dicts; None where the bytes are none, or are damaged."""
    if body[:4] != b"PSET" or len(body) < 8:
        return None
    (size,) = struct.unpack_from("<I", body, 4)
    try:
        return _set(body[8 : 8 + size], 0) if size <= len(body) - 8 else None
    except (struct.error, IndexError, KeyError):
        return None


def _set(body: bytes, depth: int) -> dict[str, Any]:
    names: dict[int, str] = {}
    items: list[tuple[int, Any]] = []
    at = 0
    while at < len(body):
        kind, flag = chr(body[at]), body[at + 1]
        (key,) = struct.unpack_from("<H", body, at + 2)
        at, count = at + 4, 1
        if flag & 0x80:
            (count,) = struct.unpack_from("<I", body, at)
            at += 4
        if kind in _SIZES:
            size = _SIZES[kind] * count
            if size > len(body) - at:
                raise IndexError
            value: Any = list(struct.unpack_from(f"<{count}{_LAYOUTS[kind]}", body, at)) if count <= _LONG else None
            if kind == "t" and value is not None:
                value = [filetime(int(ticks)) for ticks in value]
            value = f"<{count} values>" if value is None else value if flag & 0x80 else value[0]
            at += size
            items.append((key, value))
            continue
        if kind not in "ubkp" or flag & 0x80:
            raise KeyError(kind)
        (size,) = struct.unpack_from("<I", body, at)
        piece = body[at + 4 : at + 4 + size]
        if len(piece) < size:
            raise IndexError
        at += 4 + size
        if kind == "k":
            names[key] = piece.split(b"\0", 1)[0].decode("utf-8", "replace")
        elif kind == "p":
            items.append((key, _set(piece, depth + 1) if depth < _DEPTH else "<too deep>"))
        elif kind == "u":
            items.append((key, piece.split(b"\0", 1)[0].decode("utf-8", "replace")))
        else:
            items.append((key, f"<{size} bytes>"))
    return {names.get(key, str(key)): value for key, value in items}
