"""TIFF directories as instruments use them: tags, their values, and where uncompressed pixels lie.

A small bounded reader: every range that a directory names must lie in the file and none may overlap another, so that a
damaged offset is noticed. May import numpy, the errors and the cursor; knows no vendor.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from xpycro.errors import CorruptFile, NotThisFormat, UnsupportedVariant
from xpycro.io.cursor import Cursor

__all__ = ["Directory", "Tag", "directories", "first_codes"]

_TYPES = {1: "u1", 2: "S1", 3: "u2", 4: "u4", 5: "u8", 6: "i1", 7: "V1", 8: "i2", 9: "i4", 10: "i8", 11: "f4", 12: "f8"}
_PAGES = 4096
_VALUES = 1 << 24  # longest value that is read as text or numbers


@dataclass(frozen=True)
class Tag:
    """One entry of a directory: where its values lie.

    Attributes
    ----------
    code, count, offset : int
    dtype : numpy dtype
    """

    code: int
    dtype: np.dtype
    count: int
    offset: int

    @property
    def nbytes(self) -> int:
        """Bytes of all its values."""
        return self.count * self.dtype.itemsize


@dataclass(frozen=True)
class Directory:
    """The tags of one page.

    Attributes
    ----------
    tags : mapping of int to Tag
    order : str
        ``"<"`` or ``">"``.
    """

    tags: Mapping[int, Tag]
    order: str

    def __contains__(self, code: int) -> bool:
        return code in self.tags

    def raw(self, code: int, cursor: Cursor) -> bytes:
        """The bytes of a tag."""
        if code not in self.tags:
            raise cursor.corrupt(f"the directory lacks tag {code}", f"tag {code}", 0)
        tag = self.tags[code]
        if tag.nbytes > _VALUES:
            raise cursor.corrupt(f"{tag.nbytes} bytes, more than a header holds", f"tag {code}", tag.offset)
        cursor.seek(tag.offset, f"tag {code}")
        return cursor.read(tag.nbytes, f"tag {code}")

    def text(self, code: int, cursor: Cursor, default: str | None = None) -> str:
        """A string, up to its NUL."""
        if code not in self.tags and default is not None:
            return default
        return self.raw(code, cursor).split(b"\0", 1)[0].decode("latin-1")

    def numbers(self, code: int, cursor: Cursor) -> np.ndarray:
        """All values of a numeric tag."""
        raw = self.raw(code, cursor)
        if self.tags[code].dtype.kind not in "uif":
            raise cursor.corrupt("is not a number", f"tag {code}", self.tags[code].offset)
        return np.frombuffer(raw, self.tags[code].dtype).astype(self.tags[code].dtype.newbyteorder("="))

    def number(self, code: int, cursor: Cursor, default: float | None = None) -> float:
        """The single value of a numeric tag, which must be finite."""
        if code not in self.tags and default is not None:
            return default
        values = self.numbers(code, cursor)
        if values.size != 1 or not np.isfinite(values[0]):
            raise cursor.corrupt(f"{values.size} values, or not a finite one", f"tag {code}", self.tags[code].offset)
        return values[0].item()

    def pixels(self, cursor: Cursor) -> tuple[int, np.dtype, tuple[int, int]]:
        """Offset, dtype and shape (rows, columns) of an uncompressed single-channel page in one contiguous block.

        Raises
        ------
        CorruptFile
            If the strips are not those of the image.
        UnsupportedVariant
            If it is compressed, of several samples, or scattered.
        """
        width, height, bits = (int(self.number(code, cursor)) for code in (256, 257, 258))
        compression, samples = (int(self.number(code, cursor, 1)) for code in (259, 277))
        kind = {1: "u", 2: "i", 3: "f"}.get(int(self.number(339, cursor, 1)))
        if compression != 1 or samples != 1 or kind is None or bits not in (8, 16, 32, 64) or (kind, bits) == ("f", 8):
            raise UnsupportedVariant(
                f"compression {compression}, {samples} samples of {bits} bits: expected one uncompressed",
                path=cursor.path,
            )
        strips = self.strips(cursor)
        dtype = np.dtype(f"{self.order}{kind}{bits // 8}")
        nbytes = cursor.block((height, width), dtype.itemsize, "ImageWidth, ImageLength", offset=strips[0][0])
        if sum(size for _, size in strips) != nbytes:
            raise cursor.corrupt(f"strips of {strips} bytes and {width} x {height} pixels", "StripByteCounts", 0)
        if any(a + n != b for (a, n), (b, _) in itertools.pairwise(strips)):
            raise UnsupportedVariant("the strips do not follow one another", path=cursor.path, field="StripOffsets")
        return strips[0][0], dtype, (height, width)

    def strips(self, cursor: Cursor) -> list[tuple[int, int]]:
        """Offset and size of each strip of pixels."""
        if 273 not in self.tags:
            return []
        offsets, sizes = self.numbers(273, cursor), self.numbers(279, cursor)
        if len(offsets) != len(sizes):
            raise cursor.corrupt(f"{len(offsets)} strips and {len(sizes)} sizes", "StripOffsets", 0)
        return [(int(offset), int(size)) for offset, size in zip(offsets, sizes, strict=True)]


def directories(cursor: Cursor) -> list[Directory]:
    """Every directory of a TIFF file, checked.

    Raises
    ------
    NotThisFormat
        If it is no (classic) TIFF file.
    CorruptFile
        If a directory is damaged, or names a range that is not in the file or is named twice.
    """
    magic = cursor.peek(4)
    orders = {b"II*\0": "<", b"MM\0*": ">"}
    if magic not in orders:
        raise NotThisFormat(f"begins with {magic!r} and no TIFF file does", path=cursor.path, offset=0)
    order = orders[magic]
    cursor.skip(4, "magic")
    found: list[Directory] = []
    ranges = [(0, 8, "header")]
    offset = cursor.integer(order + "u4", "first directory", low=8)
    while offset:
        if len(found) >= _PAGES:
            raise cursor.corrupt(f"more than {_PAGES} directories", "directory", offset)
        cursor.seek(offset, "directory")
        tags = {tag.code: tag for tag in _entries(cursor, order)}
        following = cursor.integer(order + "u4", "next directory")
        ranges.append((offset, cursor.position, f"directory {len(found)}"))
        found.append(Directory(tags, order))
        offset = following
        if len(ranges) > len(set(ranges)):
            raise cursor.corrupt("the directories run in a circle", "next directory", offset)
    for page, directory in enumerate(found):
        far = [tag for tag in directory.tags.values() if tag.nbytes > 4]
        ranges += [(tag.offset, tag.offset + tag.nbytes, f"tag {tag.code} of page {page}") for tag in far]
        ranges += [(start, start + size, f"strips of page {page}") for start, size in directory.strips(cursor)]
    _disjoint(ranges, cursor)
    return found


def first_codes(path: str) -> set[int]:
    """The tag codes of the first directory, by which vendors are told apart; empty where there is none to read."""
    try:
        with Cursor(path) as cursor:
            order = {b"II*\0": "<", b"MM\0*": ">"}[cursor.read(4, "magic")]
            cursor.seek(cursor.integer(order + "u4", "first directory"), "directory")
            piece = cursor.peek(2 + 12 * 1000)
            entries = np.frombuffer(piece, order + "u2", len(piece) // 2)  # a file may end on an odd byte
            return {int(code) for code in entries[1 : 1 + 6 * int(entries[0]) : 6]} if entries.size else set()
    except (CorruptFile, KeyError):
        return set()


def _entries(cursor: Cursor, order: str) -> Iterator[Tag]:
    last = -1
    for _ in range(cursor.integer(order + "u2", "number of tags", low=1)):
        start = cursor.position
        code = cursor.integer(order + "u2", "tag")
        kind = cursor.integer(order + "u2", "tag type")
        count = cursor.integer(order + "u4", f"count of tag {code}")
        if kind not in _TYPES or code <= last:
            raise cursor.corrupt(f"tag {code} of type {kind} after tag {last}", "directory", start)
        last = code
        dtype = np.dtype(order + _TYPES[kind])
        if count * dtype.itemsize > 4:
            yield Tag(code, dtype, count, cursor.integer(order + "u4", f"offset of tag {code}"))
        else:
            yield Tag(code, dtype, count, cursor.position)
            cursor.skip(4, f"value of tag {code}")


def _disjoint(ranges: list[tuple[int, int, str]], cursor: Cursor) -> None:
    """Raise where a range leaves the file or overlaps another: two blocks cannot share bytes."""
    end, name = 0, "the start"
    for start, stop, what in sorted(ranges):
        if start < end or stop > cursor.size:
            raise CorruptFile(
                f"bytes {start} to {stop} lie outside the file of {cursor.size} bytes or overlap {name}",
                path=cursor.path,
                offset=start,
                field=what,
            )
        end, name = stop, what
    if end != cursor.size:  # bytes that were slipped in moved the blocks away from where they are said to lie
        raise cursor.corrupt(f"{cursor.size - end} bytes after the last block that the directories name", "end", end)
