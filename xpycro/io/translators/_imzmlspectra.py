"""The list of spectra of an imzML: where each lies and which bytes hold its numbers, read in one pass by the megabyte.

A program writes all spectra alike. The first is understood by the XML parser, with the places of its tags and values;
those that follow are compared with it, many at once, and only the digits are read. What differs anywhere but in the
values goes to the parser again and becomes one more pattern, so that speed rests on likeness and meaning never does.
May import numpy, the cursor and the safe XML.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from xml.etree.ElementTree import Element

import numpy as np

from xpycro.errors import UnsupportedVariant
from xpycro.io.cursor import Cursor
from xpycro.io.translators._xml import parse

__all__ = ["Kind", "Reading", "read"]

_BLOCK = 1 << 22
_LONGEST = 1 << 26  # bytes of one spectrum's description
_DIGITS = 18
_PATTERNS = 16  # that are kept; beyond, spectra are parsed one by one
_TYPES = {
    "MS:1000519": "<i4", "MS:1000520": "<f2", "MS:1000521": "<f4", "MS:1000522": "<i8", "MS:1000523": "<f8",
    "IMS:1100000": "i1", "IMS:1100001": "<i2", "IMS:1000141": "<i4", "IMS:1000142": "<i8",
}  # fmt: skip
_ZLIB, _PLAIN, _MZ, _INTENSITY, _COUNTS = "MS:1000574", "MS:1000576", "MS:1000514", "MS:1000515", "MS:1000131"
_PACKED = {
    "MS:1002312": "MS-Numpress", "MS:1002313": "MS-Numpress", "MS:1002314": "MS-Numpress", "MS:1002746": "MS-Numpress",
    "MS:1002747": "MS-Numpress", "MS:1002748": "MS-Numpress", "MS:1003088": "truncation and zlib",
    "MS:1003089": "delta prediction and zlib", "MS:1003090": "linear prediction and zlib",
}  # fmt: skip
_PLACES = ("IMS:1000050", "IMS:1000051", "IMS:1000052")
_EXTERNAL = ("IMS:1000102", "IMS:1000103", "IMS:1000104")
_COLUMNS = 3 + 2 * len(_EXTERNAL)  # x, y, z; offset, length, encoded length of the masses, of the intensities
_ATTRIBUTE = re.compile(rb"""\s([\w:.-]+)\s*=\s*(?:"([^"]*)"|'([^']*)')""")
_NAME = re.compile(rb"</?[^\s/>]+[\s/>]")


@dataclass(frozen=True)
class Kind:
    """What one array of each spectrum holds."""

    dtype: np.dtype
    compressed: bool
    units: str


@dataclass(frozen=True)
class Reading:
    """All spectra.

    Attributes
    ----------
    rows : ndarray of int
        (spectrum, column): x, y, z; offset, length and encoded length of the masses; the same of the intensities.
    mz, intensity : Kind
    others : bool
        Whether there are arrays that are neither, which are left alone.
    """

    rows: np.ndarray
    mz: Kind
    intensity: Kind
    others: bool


@dataclass(frozen=True, eq=False)
class _Pattern:
    """A spectrum as bytes: how each tag begins, and where the numbers stand."""

    begins: tuple[bytes, ...]
    slots: Mapping[int, int]  # tag after whose beginning a number stands, and its column
    row: np.ndarray

    def match(self, text: np.ndarray, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Which spectra are like it, and the rows of all; `at` is where the tags of each begin, (spectrum, tag)."""
        like = np.ones(len(at), dtype=bool)
        rows = np.repeat(self.row[None], len(at), axis=0)
        for tag, start in enumerate(np.ascontiguousarray(at.T)):
            begin = self.begins[tag]
            like &= _pieces(text, start, len(begin)) == begin
            if tag in self.slots:
                start = start + len(begin)
                digits = _pieces(text, start, _DIGITS + 1).view(np.uint8).reshape(len(at), -1) - np.uint8(48)
                length = np.argmax(digits > 9, axis=1)  # what is below the digit 0 wraps round to more than 9
                like &= (length > 0) & (text[start + length] == begin[-1])  # the quote that opened it
                value = np.zeros(len(at), dtype=np.int64)
                for n in range(int(length.max(initial=0))):
                    value = np.where(n < length, value * 10 + digits[:, n], value)
                rows[:, self.slots[tag]] = value
        return like, rows


def _pieces(text: np.ndarray, start: np.ndarray, size: int) -> np.ndarray:
    """`size` bytes at each start, as one element each."""
    return np.ndarray((text.size - size + 1,), f"S{size}", text, 0, (1,))[start]


class _Reader:
    """Understands spectra one by one, and keeps the patterns of those that it has seen."""

    def __init__(self, cursor: Cursor, head: bytes, groups: Mapping[str, Element], prefix: bytes) -> None:
        self.cursor, self.groups = cursor, groups
        self.opening, self.closing = b"<" + prefix + b"spectrum", b"</" + prefix + b"spectrum>"
        self.ending = b"</" + prefix + b"spectrumList"
        declared = re.match(rb"\s*<\?xml[^>]*\?>", head)
        names = b"".join(b' xmlns:%s="x"' % name for name in set(re.findall(rb"\sxmlns:([\w.-]+)\s*=", head)))
        self.before = (declared[0] if declared else b"") + b"<list" + names + b">"
        self.patterns: list[_Pattern] = []
        self.kinds: tuple[Kind, Kind] | None = None
        self.others = False

    # ------------------------------------------------------------------------------------------------------ pieces

    def blocks(self) -> Iterator[tuple[int, bytes]]:
        """Whole spectra by the megabyte, with their offset, to the end of the list."""
        rest = b""
        while True:
            offset = self.cursor.position - len(rest)
            piece = self.cursor.read(min(_BLOCK, self.cursor.remaining), "spectrumList")
            rest += piece
            cut = rest.rfind(self.closing)
            if cut >= 0:
                cut += len(self.closing)
                yield offset, rest[:cut]
                rest = rest[cut:]
            if rest.lstrip().startswith(self.ending):
                return
            if not piece or len(rest) > _LONGEST:
                raise self.cursor.corrupt("the list of spectra does not end: truncated", "spectrumList")

    def rows(self, offset: int, block: bytes) -> np.ndarray:
        """The numbers of the spectra of a block."""
        text = np.frombuffer(block + bytes(1024), np.uint8)
        tags = np.flatnonzero(text == ord("<"))
        first = np.flatnonzero(_pieces(text, tags, len(self.opening)) == self.opening)
        first = first[np.isin(text[tags[first] + len(self.opening)], [9, 10, 13, 32])]
        self._nothing_between(offset, block[: tags[first[0]] if first.size else len(block)])
        counts = np.diff(np.append(first, tags.size))
        rows = np.empty((first.size, _COLUMNS), dtype=np.int64)
        todo = np.ones(first.size, dtype=bool)

        def compare(pattern: _Pattern) -> None:
            chosen = np.flatnonzero(todo & (counts == len(pattern.begins)))
            if chosen.size:
                like, found = pattern.match(text, tags[first[chosen][:, None] + np.arange(len(pattern.begins))])
                rows[chosen[like]] = found[like]
                todo[chosen[like]] = False

        for pattern in self.patterns:
            compare(pattern)
        while todo.any():
            one = int(np.argmax(todo))
            stop = tags[first[one + 1]] if one + 1 < first.size else len(block)
            start = int(tags[first[one]])
            rows[one], seen = self.understand(offset + start, block[start:stop])
            todo[one] = False
            if seen is not None and len(self.patterns) < _PATTERNS:
                self.patterns.append(seen)
                compare(seen)
        return rows

    def _nothing_between(self, offset: int, text: bytes) -> None:
        if text.strip() and len(parse(self.before + text + b"</list>", self.cursor.path, offset=offset)):
            raise self.cursor.corrupt("an element that is no spectrum", "spectrumList", offset)

    # --------------------------------------------------------------------------------------------------- one spectrum

    def understand(self, offset: int, text: bytes) -> tuple[np.ndarray, _Pattern | None]:
        """The numbers of one spectrum through the XML parser, and what those like it look like."""
        found = parse(self.before + text + b"</list>", self.cursor.path, offset=offset)
        elements = list(found.iter())[1:]
        if len(found) != 1:
            raise self.cursor.corrupt("an element that is no spectrum", "spectrumList", offset)
        row = np.zeros(_COLUMNS, dtype=np.int64)
        row[2] = 1
        columns: dict[int, int] = {}  # of the elements that hold a number
        arrays: dict[str, Kind] = {}
        inside: set[int] = set()
        for array in (e for e in elements if _local(e) == "binaryDataArray"):
            inside |= {id(e) for e in array.iter()}
            name, kind = self._kind(array, offset)
            if name not in (_MZ, _INTENSITY):
                self.others = True
                continue
            if name in arrays:
                raise self.cursor.corrupt("two arrays of one kind", "binaryDataArray", offset)
            arrays[name] = kind
            columns |= {id(e): 3 + 3 * (name == _INTENSITY) + n for e, n in _terms(array, _EXTERNAL)}
        columns |= {id(e): n for e, n in _terms(found, _PLACES) if id(e) not in inside}
        if set(columns.values()) | {2} != set(range(_COLUMNS)) or len(set(columns.values())) != len(columns):
            lacking = sorted(set(range(_COLUMNS)) - {2} - set(columns.values()))
            raise self.cursor.corrupt(
                f"needs one place and one m/z and one intensity array: {lacking}", "spectrum", offset
            )
        for element in elements:
            if id(element) in columns:
                value = (element.get("value") or "").strip()
                if not re.fullmatch(rf"[0-9]{{1,{_DIGITS}}}", value):
                    raise self.cursor.corrupt(f"{value[:40]!r} is not a whole number", str(element.get("name")), offset)
                row[columns[id(element)]] = int(value)
        self._agree((arrays[_MZ], arrays[_INTENSITY]), offset)
        return row, _pattern(text, elements, columns, row)

    def _agree(self, kinds: tuple[Kind, Kind], offset: int) -> None:
        self.kinds = self.kinds or kinds
        if kinds != self.kinds:
            raise UnsupportedVariant(
                f"spectra of several kinds of numbers: {kinds} and {self.kinds}; write them anew with one",
                path=self.cursor.path, offset=offset, field="binaryDataArray",
            )  # fmt: skip

    def _kind(self, array: Element, offset: int) -> tuple[str, Kind]:
        """What an array is: m/z, intensity or neither; groups of terms resolved."""
        terms: dict[str, str] = {}
        for element in array.iter():
            source = self.groups.get(element.get("ref", "")) if _local(element).endswith("GroupRef") else element
            for one in source.iter() if source is not None else ():
                if one.get("accession"):
                    terms[str(one.get("accession"))] = str(one.get("unitAccession"))
        name = next((name for name in (_MZ, _INTENSITY) if name in terms), "")
        letters = {_TYPES[term] for term in terms if term in _TYPES}
        packed = [_PACKED[term] for term in terms if term in _PACKED]
        if packed and name:
            raise UnsupportedVariant(
                f"numbers compressed by {packed[0]}: convert with zlib or no compression", path=self.cursor.path,
                offset=offset, field="binaryDataArray",
            )  # fmt: skip
        if name and (len(letters) != 1 or {_ZLIB, _PLAIN} <= set(terms)):
            raise self.cursor.corrupt(f"an array of {sorted(terms)}", "binaryDataArray", offset)
        dtype = np.dtype(letters.pop() if letters else "<f4")
        return name, Kind(dtype, _ZLIB in terms, "counts" if terms.get(name) == _COUNTS else "1")


def read(cursor: Cursor, head: bytes, groups: Mapping[str, Element], prefix: bytes = b"") -> Reading:
    """Read the spectra from the cursor, which stands after the opening tag of their list.

    Parameters
    ----------
    cursor : Cursor
    head : bytes
        The document before the list: its encoding and the namespaces.
    groups : mapping of str to Element
        Groups of terms that arrays refer to.
    prefix : bytes, optional
        Of the tags, with the colon.

    Raises
    ------
    CorruptFile
        If a spectrum is damaged, lacks a number, or the list does not end.
    UnsupportedVariant
        If spectra differ in their kind of numbers, or are compressed by what is not read.
    """
    reader = _Reader(cursor, head, groups, prefix)
    start = cursor.position
    rows = [reader.rows(offset, block) for offset, block in reader.blocks()]
    if reader.kinds is None:
        raise cursor.corrupt("no spectra", "spectrumList", start)
    return Reading(np.concatenate(rows), *reader.kinds, reader.others)


def _local(element: Element) -> str:
    return str(element.tag).rpartition("}")[2]


def _terms(element: Element, names: tuple[str, ...]) -> list[tuple[Element, int]]:
    return [(e, names.index(e.get("accession", ""))) for e in element.iter() if e.get("accession") in names]


def _pattern(text: bytes, elements: list[Element], columns: Mapping[int, int], row: np.ndarray) -> _Pattern | None:
    """The pattern of a spectrum, or None where its tags cannot be told from the text (comments, values first)."""
    places = [found.start() for found in re.finditer(rb"<", text)]
    ends = [*places[1:], len(text)]
    remaining = iter(elements)
    begins: list[bytes] = []
    slots: dict[int, int] = {}
    for tag, (start, stop) in enumerate(zip(places, ends, strict=True)):
        piece = text[start:stop]
        attributes = {m[1]: m for m in _ATTRIBUTE.finditer(piece)}
        named = _NAME.match(piece)
        if named is None or piece[1:2] in b"!?":
            return None
        keep = piece[: named.end()]
        if piece[1:2] != b"/":
            element = next(remaining, None)
            if element is None or not named[0][1:-1].endswith(_local(element).encode()):
                return None
            value = attributes.get(b"value")
            if _local(element) == "cvParam" and value is not None and (value[2] or value[3]):
                keep = piece[: value.end() - 1 - len(value[2] or value[3])]
                if b"accession" in attributes and attributes[b"accession"].start() > value.start():
                    return None
            elif _local(element) in ("cvParam", "referenceableParamGroupRef"):
                keep = piece.rstrip()
            if id(element) in columns:
                if value is None or not (value[2] or value[3] or b"").isdigit():
                    return None
                slots[tag] = columns[id(element)]
        begins.append(keep)
    if next(remaining, None) is not None or max(map(len, begins)) > 512:
        return None
    return _Pattern(tuple(begins), slots, row)
