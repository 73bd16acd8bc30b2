"""The layout of Igor Pro binary waves, versions 1, 2, 3 and 5: headers, labels, notes, text; no numbers are read.

May import numpy, the errors and the cursor; makes no Datasets.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from xpycro.errors import NotThisFormat, UnsupportedVariant
from xpycro.io.cursor import Cursor
from xpycro.io.translators import _common as common

__all__ = ["Wave", "is_asylum", "note_items", "parse", "parse_wave"]

_TYPES = {0x02: "f4", 0x04: "f8", 0x08: "i1", 0x10: "i2", 0x20: "i4", 0x80: "i8"}
_COMPLEX = {"f4": "c8", "f8": "c16"}
_LABEL = 32
_FOOTER = 64  # bytes of the smallest footer: fewer are a slip
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_EPOCH = datetime(1904, 1, 1)


@dataclass(frozen=True)
class Wave:
    """What a wave file says, before any of its numbers are read.

    Attributes
    ----------
    name : str
    dtype : str or None
        With byte order; None for text.
    shape : tuple of int
        Igor's own order: rows, columns, layers, chunks.
    offset : int
        First byte of the numbers.
    step, start : tuple of float
        Scaling of each axis.
    units : tuple of str
        Of the data, then of each axis.
    labels : tuple of tuple of str
        Dimension labels of each axis.
    note : str
    text : tuple of str
        The strings of a text wave.
    modified : str or None
        ISO 8601, local time of the instrument.
    version : int
    """

    name: str
    dtype: str | None
    shape: tuple[int, ...]
    offset: int
    step: tuple[float, ...]
    start: tuple[float, ...]
    units: tuple[str, ...]
    labels: tuple[tuple[str, ...], ...]
    note: str
    text: tuple[str, ...]
    modified: str | None
    version: int


# ---------------------------------------------------------------------------------------------------------- parse


def parse(path: str) -> Wave:
    """The header, labels and note of a wave file.

    Raises
    ------
    NotThisFormat
        If it does not begin as one.
    CorruptFile
        If the header's checksum fails, or sizes contradict each other or the file.
    """
    with Cursor(path) as cursor:
        return parse_wave(cursor)


def parse_wave(cursor: Cursor) -> Wave:
    """The wave that begins where the cursor does and ends with it."""
    head = cursor.peek(2)
    if len(head) < 2:
        raise cursor.corrupt("the file is empty", "version")
    order = "<" if head[1] == 0 else ">"
    version = cursor.integer(order + "i2", "version")
    if version not in (1, 2, 3, 5):
        raise NotThisFormat(f"version {version}: an Igor wave has 1, 2, 3 or 5", path=cursor.path, offset=cursor.base)
    _check_sum(cursor, order, version)
    return _version5(cursor, order) if version == 5 else _version2(cursor, order, version)


def _check_sum(cursor: Cursor, order: str, version: int) -> None:
    """The 16-bit words of the header add up to zero."""
    length = {1: 134, 2: 142, 3: 146, 5: 384}[version]
    cursor.seek(0, "header")
    words = cursor.numbers(order + "i2", length // 2, "header")
    if int(words.sum(dtype=np.int64)) % 65536:
        raise cursor.corrupt("the checksum of the header fails: the file is damaged", "checksum", 2)


def _number_type(code: int, order: str, cursor: Cursor) -> str | None:
    if code == 0:
        return None
    plain = _TYPES.get(code & ~0x41)
    if plain is None or (code & 0x40 and plain.startswith("f")) or (code & 0x01 and plain not in _COMPLEX):
        raise cursor.corrupt(f"number type {code:#x} is unknown", "type")
    if code & 0x01:
        return order + _COMPLEX[plain]
    return order + (plain.replace("i", "u") if code & 0x40 else plain)


def _time(seconds: int) -> str | None:
    return (_EPOCH + timedelta(seconds=seconds)).isoformat() if seconds else None


def _version2(cursor: Cursor, order: str, version: int) -> Wave:
    """Versions 1 to 3: one dimension."""
    cursor.seek(2, "header")
    size = cursor.integer(order + "i4", "wave size", low=0)
    note_size = cursor.integer(order + "i4", "note size", low=0) if version > 1 else 0
    formula_size = cursor.integer(order + "i4", "formula size", low=0) if version == 3 else 0
    base = {1: 8, 2: 16, 3: 20}[version]
    cursor.seek(base, "wave header")
    code = cursor.integer(order + "i2", "type")
    dtype = _number_type(code, order, cursor)
    if dtype is None:
        raise UnsupportedVariant("a text wave of an old version", path=cursor.path, offset=base, field="type")
    cursor.skip(4, "next")
    name = cursor.text(20, "name")
    cursor.seek(base + 34, "units")
    units = (cursor.text(4, "data units"), cursor.text(4, "x units"))
    count = cursor.integer(order + "i4", "points", low=0)
    cursor.skip(2, "modified")
    step, start = (float(cursor.number(order + "f8", "scaling")) for _ in range(2))
    cursor.seek(base + 102, "modification date")
    modified = cursor.integer(order + "u4", "modification date")
    offset = base + 110
    nbytes = cursor.block((count,), np.dtype(dtype).itemsize, "points", offset=offset)
    # the wave's size counts 16 bytes after the data that hold nothing
    if size not in (110 + nbytes, 110 + nbytes + 16):
        raise cursor.corrupt(f"is {size} and {count} points need {110 + nbytes + 16}", "wave size", 2)
    cursor.seek(min(base + size, cursor.size), "note")
    cursor.skip(min(formula_size, cursor.remaining), "formula")
    note = common.decoded(cursor.read(note_size, "note")).rstrip("\0")
    if version > 1:
        _check_end(cursor, note)
    return Wave(name, dtype, (count,), offset, (step,), (start,), units, ((),), note, (), _time(modified), version)


def _version5(cursor: Cursor, order: str) -> Wave:
    """Version 5: up to four dimensions, labels, text."""
    i4 = order + "i4"
    cursor.seek(4, "sizes")
    wave_size, formula_size, note_size, data_units_size = (cursor.integer(i4, "sizes", low=0) for _ in range(4))
    dim_units_sizes = [cursor.integer(i4, "unit sizes", low=0) for _ in range(4)]
    label_sizes = [cursor.integer(i4, "label sizes", low=0) for _ in range(4)]
    index_size = cursor.integer(i4, "text index size", low=0)
    options_size = sum(cursor.integer(i4, "options sizes", low=0) for _ in range(2))
    cursor.seek(64 + 8, "wave header")
    modified = cursor.integer(order + "u4", "modification date")
    count = cursor.integer(i4, "points", low=0)
    dtype = _number_type(cursor.integer(order + "i2", "type"), order, cursor)
    cursor.seek(64 + 28, "name")
    name = cursor.text(32, "name")
    cursor.seek(64 + 68, "dimensions")
    sizes = [cursor.integer(i4, "dimensions", low=0) for _ in range(4)]
    steps = [float(cursor.number(order + "f8", "scaling")) for _ in range(4)]
    starts = [float(cursor.number(order + "f8", "scaling")) for _ in range(4)]
    data_units = cursor.text(4, "data units")
    dim_units = [cursor.text(4, "dimension units") for _ in range(4)]
    ndim = next((k for k, n in enumerate(sizes) if n == 0), 4) or 1
    shape = tuple(sizes[:ndim])
    if any(sizes[ndim:]) or math.prod(shape) != count:
        raise cursor.corrupt(f"dimensions {sizes} and {count} points contradict each other", "dimensions", 132)
    nbytes = wave_size - 320
    if dtype is not None:
        nbytes = cursor.block(shape, np.dtype(dtype).itemsize, "points", offset=384)
        if wave_size != 320 + nbytes:
            raise cursor.corrupt(f"is {wave_size} and the points need {320 + nbytes}", "wave size", 4)
    cursor.seek(384, "data")
    content = cursor.read(nbytes, "text") if dtype is None else b""
    cursor.seek(384 + nbytes, "data")
    cursor.skip(formula_size, "formula")
    note = common.decoded(cursor.read(note_size, "note")).rstrip("\0")
    data_units = cursor.text(data_units_size, "data units") or data_units
    dim_units = [cursor.text(n, "dimension units") or u for n, u in zip(dim_units_sizes, dim_units, strict=True)]
    labels = tuple(_labels(cursor, n, size) for n, size in zip(sizes, label_sizes, strict=True))[:ndim]
    text = _strings(cursor, content, index_size, count, order) if dtype is None else ()
    cursor.skip(options_size, "options")
    _check_end(cursor, note)
    units = (data_units, *dim_units[:ndim])
    return Wave(
        name, dtype, shape, 384, tuple(steps[:ndim]), tuple(starts[:ndim]), units, labels, note, text,
        _time(modified), 5,
    )  # fmt: skip


def _check_end(cursor: Cursor, note: str) -> None:
    """What the header declares ends with the file, or where the previews begin that Asylum appends.

    Without this, bytes lost or added in the middle would shift the numbers unnoticed. The previews end with a text of
    a length that its last digits state, which says where each preview starts and how long they are; behind anything
    else the note must be text, which it is not where numbers have moved into it.
    """
    if not cursor.remaining:
        return
    declared, size = cursor.position, cursor.size
    cursor.seek(max(declared, size - 9999), "footer")
    tail = cursor.read(cursor.remaining, "footer")
    length = re.search(rb" (\d{4}) ?\w+$", tail)
    footer = tail[-int(length[1]) :] if length else b""
    starts = [int(n) for n in re.findall(rb"Start\d*:(\d{1,18});", footer)]
    lengths = [int(n) for n in re.findall(rb"Length:(\d{1,18});", footer)]
    if starts and lengths:
        whole = min(starts) == declared and size - len(footer) - max(starts) in lengths
    else:
        footer_like = length is not None or size - declared >= _FOOTER
        whole = footer_like and is_asylum(note_items(note)) and not _CONTROL.search(note)
    if not whole:
        raise cursor.corrupt(
            f"the header declares {declared} bytes and what follows up to {size} does not fit", "end", declared
        )


def is_asylum(note: dict[str, str]) -> bool:
    return "ImagingMode" in note or "ScanSize" in note or "ARDFForceMap" in note


def _labels(cursor: Cursor, n: int, size: int) -> tuple[str, ...]:
    """Labels of one axis: the first belongs to the axis as a whole; bytes after the NUL of a label are left over."""
    if size % _LABEL or size // _LABEL > n + 1:
        raise cursor.corrupt(f"{size} bytes of labels for {n} elements", "labels")
    labels = [cursor.read(_LABEL, "labels").split(b"\0", 1)[0] for _ in range(size // _LABEL)]
    return tuple(common.decoded(label).strip() for label in labels[1:])


def _strings(cursor: Cursor, content: bytes, index_size: int, count: int, order: str) -> tuple[str, ...]:
    """The strings of a text wave; the index holds the end of each."""
    if index_size != 4 * count:
        raise cursor.corrupt(f"a text index of {index_size} bytes for {count} strings", "text index")
    ends = cursor.numbers(order + "i4", count, "text index")
    edges = np.concatenate([[0], ends])
    if (np.diff(edges) < 0).any() or (count and edges[-1] != len(content)):
        raise cursor.corrupt("the ends of the strings do not ascend to the end of the text", "text index")
    return tuple(common.decoded(content[a:b]) for a, b in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True))


def note_items(note: str) -> dict[str, str]:
    """The ``key: value`` lines of a note; of a key that comes again the last value counts, as in Asylum's notes."""
    items = {}
    for line in re.split(r"[\r\n]+", note):
        key, colon, value = line.partition(":")
        if colon and key.strip():
            items[key.strip()] = value.strip()
    return items
