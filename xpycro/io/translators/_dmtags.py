"""The tag tree of Gatan DigitalMicrograph files, versions 3 and 4: groups, numbers, structs, strings, arrays.

Structure fields are big-endian, values in the order that the header names. Large arrays are described, not read.
May import numpy, the errors and the cursor.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from xpycro.errors import NotThisFormat, UnsupportedVariant
from xpycro.io.cursor import Cursor

__all__ = ["Block", "read_tags"]

_SIMPLE = {2: "i2", 3: "i4", 4: "u2", 5: "u4", 6: "f4", 7: "f8", 8: "u1", 9: "i1", 10: "i1", 11: "i8", 12: "u8"}
_STRUCT, _STRING, _ARRAY = 15, 18, 20
_GROUP, _DATA = 20, 21
_DEPTH = 64
_TAGS = 2_000_000
_INLINE = 8192  # bytes of an array that is read as metadata


@dataclass(frozen=True)
class Block:
    """An array that was left in the file.

    Attributes
    ----------
    offset : int
    dtype : numpy dtype
    count : int
    """

    offset: int
    dtype: np.dtype
    count: int

    @property
    def nbytes(self) -> int:
        """Bytes in the file."""
        return self.dtype.itemsize * self.count


class _Reader:
    def __init__(self, cursor: Cursor) -> None:
        self.cursor = cursor
        self.version = cursor.integer(">u4", "version")
        if self.version not in (3, 4):
            raise NotThisFormat(f"version {self.version}: expected 3 or 4", path=cursor.path, offset=0, field="version")
        self.word = ">u4" if self.version == 3 else ">u8"
        declared = cursor.integer(self.word, "size")
        order = cursor.integer(">u4", "byte order")
        if order not in (0, 1):
            raise cursor.corrupt(f"is {order}, neither 0 nor 1", "byte order")
        self.order = "<" if order else ">"
        # what the length leaves out differs between versions and between those who write such files
        if declared > cursor.size:
            raise cursor.corrupt(f"states {declared} bytes and the file has {cursor.size}: truncated", "size", 4)
        self.tags = 0

    def group(self, depth: int) -> dict[str, Any]:
        cursor = self.cursor
        if depth > _DEPTH:
            raise cursor.corrupt(f"tags nested deeper than {_DEPTH}", "tag group")
        flags = cursor.read(2, "tag group")
        if flags[0] > 1 or flags[1] > 1:
            raise cursor.corrupt(f"flags {flags.hex()} of a tag group", "tag group", cursor.position - 2)
        count = cursor.integer(self.word, "number of tags", low=0)
        if count > cursor.remaining:
            raise cursor.corrupt(f"{count} tags in {cursor.remaining} bytes", "number of tags")
        result: dict[str, Any] = {}
        for number in range(count):
            self.tags += 1
            if self.tags > _TAGS:
                raise UnsupportedVariant(f"more than {_TAGS} tags", path=cursor.path)
            kind = cursor.integer("u1", "tag")
            if kind not in (_GROUP, _DATA):
                raise cursor.corrupt(f"is of kind {kind}, neither group nor data", "tag", cursor.position - 1)
            name = cursor.read(cursor.integer(">u2", "tag name"), "tag name").decode("latin-1")
            end = None
            if self.version == 4:
                length = cursor.integer(">u8", "tag length")
                cursor.need(length, "tag length")
                end = cursor.position + length
            start = cursor.position
            value = self.group(depth + 1) if kind == _GROUP else self.data()
            if end is not None and cursor.position != end:
                raise cursor.corrupt(f"the tag {name!r} states another length than it has", "tag length", start)
            result[name if name and name not in result else f"{name}[{number}]"] = value
        return result

    def data(self) -> Any:
        cursor = self.cursor
        start = cursor.position
        if cursor.read(4, "tag data") != b"%%%%":
            raise cursor.corrupt("'%%%%' is missing before the data of a tag", "tag data", start)
        count = cursor.integer(self.word, "tag data", low=1, high=4096)
        info = cursor.numbers(self.word, count, "tag data").tolist()
        value, used = self.value(info, start)
        if used != len(info):
            raise cursor.corrupt(f"{len(info)} words of description and {used} are needed", "tag data", start)
        return value

    def struct(self, info: list[int], start: int) -> tuple[list[str], int]:
        """Types of the fields, and the words of description that they took."""
        if len(info) < 3 or info[2] > 1024 or len(info) < 3 + 2 * info[2]:
            raise self.cursor.corrupt("a struct is described by too few words", "tag data", start)
        types = []
        for field in range(info[2]):
            code = info[4 + 2 * field]
            if code not in _SIMPLE:
                raise self.cursor.corrupt(f"a struct with a field of type {code}", "tag data", start)
            types.append(_SIMPLE[code])
        return types, 3 + 2 * info[2]

    def value(self, info: list[int], start: int) -> tuple[Any, int]:
        cursor, code = self.cursor, info[0]
        if code in _SIMPLE:
            number = cursor.number(self.order + _SIMPLE[code], "tag data")
            return (bool(number) if code == 8 else number), 1
        if code == _STRING and len(info) > 1:
            raw = cursor.read(info[1], "tag data")  # characters of one byte
            return raw.decode("latin-1"), 2
        if code == _STRUCT:
            types, used = self.struct(info, start)
            return [cursor.number(self.order + kind, "tag data") for kind in types], used
        if code == _ARRAY and len(info) > 1:
            return self.array(info, start)
        raise cursor.corrupt(f"is of type {code}, which is not known", "tag data", start)

    def array(self, info: list[int], start: int) -> tuple[Any, int]:
        cursor = self.cursor
        if info[1] == _STRUCT:
            types, used = self.struct(info[1:], start)
            dtype = np.dtype([(f"f{n}", self.order + kind) for n, kind in enumerate(types)])
            used += 1
        elif info[1] in _SIMPLE:
            dtype, used = np.dtype(self.order + _SIMPLE[info[1]]), 2
        else:
            raise cursor.corrupt(f"an array of type {info[1]}", "tag data", start)
        if len(info) <= used:
            raise cursor.corrupt("an array without its length", "tag data", start)
        block = Block(cursor.position, dtype, info[used])
        cursor.skip(block.nbytes, "tag data")
        if dtype == np.dtype(self.order + "u2") and block.nbytes <= 1 << 20:  # text is stored as 16-bit characters
            cursor.seek(block.offset, "tag data")
            text = cursor.read(block.nbytes, "tag data").decode(
                "utf-16-le" if self.order == "<" else "utf-16-be", "replace"
            )
            return (_Text(text, block) if text.isprintable() or len(text) < 4096 else block), used + 1
        if block.nbytes <= _INLINE and dtype.names is None:
            cursor.seek(block.offset, "tag data")
            return _Values(cursor.numbers(dtype.str, block.count, "tag data").tolist(), block), used + 1
        return block, used + 1


class _Text(str):
    """Text that knows where it lies, because image data of unsigned 16-bit numbers look the same."""

    block: Block

    def __new__(cls, text: str, block: Block) -> _Text:
        self = super().__new__(cls, text)
        self.block = block
        return self


class _Values(list[Any]):
    """A short array that knows where it lies."""

    def __init__(self, values: list[Any], block: Block) -> None:
        super().__init__(values)
        self.block = block


def block_of(value: Any) -> Block | None:
    """Where an array lies, whether it was read or not."""
    return value if isinstance(value, Block) else getattr(value, "block", None)


def read_tags(cursor: Cursor) -> tuple[dict[str, Any], str]:
    """The tag tree, nested dicts, and the byte order; unnamed entries are called ``[0]``, ``[1]``...

    Raises
    ------
    NotThisFormat, CorruptFile, UnsupportedVariant
    """
    reader = _Reader(cursor)
    tags = reader.group(0)
    if cursor.remaining > 1 << 16 or cursor.read(cursor.remaining, "end").strip(b"\0"):
        raise cursor.corrupt("bytes after the last tag", "end")
    return tags, reader.order


def plain(value: Any) -> Any:
    """Tags as metadata: arrays that were left in the file become a note of their size."""
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, Block):
        return f"<array of {value.count} {value.dtype}>"
    if isinstance(value, _Text):
        return str(value)
    if isinstance(value, _Values):
        return list(value)
    return value
