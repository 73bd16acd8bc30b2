"""The XML part of an imzML pair: what the measurement is, and a table of where each spectrum's numbers lie.

The text may have a million spectra: its head is parsed as XML, the spectra are found by their accession numbers
without a tree of elements. May import numpy, the cursor and the safe XML.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from xml.etree.ElementTree import Element

import numpy as np

from xpycro.io.cursor import Cursor
from xpycro.io.translators._xml import parse, tree

__all__ = ["Array", "Description", "describe"]

_LIMIT = 1 << 33
_LIST = b"<spectrumList"
_TYPES = {
    "MS:1000519": "<i4", "MS:1000521": "<f4", "MS:1000522": "<i8", "MS:1000523": "<f8", "IMS:1100000": "i1",
    "IMS:1100001": "<i2", "IMS:1000141": "<i4", "IMS:1000142": "<i8",
}  # fmt: skip
_ZLIB, _MZ, _INTENSITY, _COUNTS = "MS:1000574", "MS:1000514", "MS:1000515", "MS:1000131"
_X, _Y, _Z = "IMS:1000050", "IMS:1000051", "IMS:1000052"
_OFFSET, _LENGTH, _ENCODED = "IMS:1000102", "IMS:1000103", "IMS:1000104"
# accession and value of a term, which every program writes in this order
_TERM = re.compile(rb"""IMS:100(005[012]|010[234])["'][^<>]*?\bvalue\s*=\s*["'](\d{1,18})["']""")


@dataclass(frozen=True)
class Array:
    """One of the two numbers of every point: dtype, whether it is compressed, and where each spectrum has it."""

    dtype: np.dtype
    compressed: bool
    units: str
    offsets: np.ndarray
    lengths: np.ndarray
    encoded: np.ndarray


@dataclass(frozen=True)
class Description:
    """What the XML says.

    Attributes
    ----------
    header : dict
        Everything before the spectra.
    terms : dict of str to str
        Accession number to value, of everything before the spectra; units as ``<number>_unit``.
    x, y, z : ndarray of int
        Places, counted from 1.
    mz, intensity : Array
    started : str
    """

    header: dict[str, Any]
    terms: Mapping[str, str]
    x: np.ndarray
    y: np.ndarray
    z: np.ndarray
    mz: Array
    intensity: Array
    started: str


def describe(path: str) -> Description:
    """Read the XML part.

    Raises
    ------
    CorruptFile
        If it is damaged, or its spectra do not all say the same things.
    """
    with Cursor(path) as cursor:
        if cursor.size > _LIMIT:
            raise cursor.corrupt(f"an xml document of more than {_LIMIT} bytes", "size")
        content = cursor.read(cursor.size, "document")
        start = content.find(_LIST)
        if start < 0 or not content.rstrip().endswith((b"</mzML>", b"</indexedmzML>")):
            raise cursor.corrupt(
                "no list of spectra, or no end of the document: truncated", "spectrumList", len(content)
            )
        head = parse(content[:start] + b"</run></mzML>", path, offset=0)
        terms = {key: value for element in head.iter() for key, value in _term(element)}
        opening = content[start : content.find(b">", start) + 1]
        declared = re.search(rb"""\bcount\s*=\s*["'](\d{1,9})["']""", opening)
        count = content.count(b"<spectrum ", start)
        if declared is None or int(declared[1]) != count or content.count(b"</spectrum>", start) != count or not count:
            raise cursor.corrupt(f"{count} spectra and the list says {opening[:80]!r}", "spectrumList", start)
        first = content.find(b"<spectrum ", start)
        stop = content.find(b"</spectrum>", first) + len(b"</spectrum>")
        kinds = _kinds(head, parse(content[first:stop], path, offset=first), cursor)
        columns = _columns(content, start)
        x, y = (_counted(columns, name, cursor, (count,)) for name in (_X, _Y))
        z = _counted(columns, _Z, cursor, (count, 0))
        offset, length, encoded = (_counted(columns, n, cursor, (2 * count,)) for n in (_OFFSET, _LENGTH, _ENCODED))
    arrays = {}
    for place, (kind, dtype, compressed, units) in enumerate(kinds):
        arrays[kind] = Array(dtype, compressed, units, offset[place::2], length[place::2], encoded[place::2])
    run = next((e for e in head.iter() if e.tag.rpartition("}")[2] == "run"), None)
    started = run.get("startTimeStamp", "") if run is not None else ""
    z = z if z.size else np.ones_like(x)
    return Description(tree(head), terms, x, y, z, arrays[_MZ], arrays[_INTENSITY], started)


def _term(element: Element) -> Iterator[tuple[str, str]]:
    name = element.get("accession")
    if name:
        yield name, element.get("value", "")
        if element.get("unitName"):
            yield f"{name}_unit", element.get("unitName", "")


def _kinds(head: Element, spectrum: Element, cursor: Cursor) -> list[tuple[str, np.dtype, bool, str]]:
    """What the two arrays of a spectrum are: m/z or intensity, dtype, compression, unit; groups of terms resolved."""
    groups = {e.get("id"): e for e in head.iter() if e.tag.rpartition("}")[2] == "referenceableParamGroup"}
    found = []
    for array in (e for e in spectrum.iter() if e.tag.rpartition("}")[2] == "binaryDataArray"):
        terms: dict[str, str] = {}
        for element in array.iter():
            source = groups.get(element.get("ref")) if element.tag.endswith("referenceableParamGroupRef") else element
            for one in source.iter() if source is not None else ():
                terms |= {str(one.get("accession")): str(one.get("unitAccession"))} if one.get("accession") else {}
        kind = next((name for name in (_MZ, _INTENSITY) if name in terms), None)
        letters = [_TYPES[name] for name in terms if name in _TYPES]
        if kind is None or len(letters) != 1:
            raise cursor.corrupt(f"an array of {sorted(terms)}", "binaryDataArray", 0)
        found.append((kind, np.dtype(letters[0]), _ZLIB in terms, "counts" if terms[kind] == _COUNTS else "1"))
    if sorted(kind for kind, *_ in found) != [_MZ, _INTENSITY]:
        raise cursor.corrupt(f"{len(found)} arrays in a spectrum, not one of m/z and one of intensity", "spectrum", 0)
    return found


def _columns(content: bytes, start: int) -> dict[str, np.ndarray]:
    """The values of the terms of all spectra, in order, in one pass over the text."""
    found = _TERM.findall(content, start) or [(b"", b"0")]
    codes, values = (np.array(column) for column in zip(*found, strict=True))
    numbers = values.astype(np.int64)
    return {name: numbers[codes == name[-4:].encode()] for name in (_X, _Y, _Z, _OFFSET, _LENGTH, _ENCODED)}


def _counted(columns: Mapping[str, np.ndarray], name: str, cursor: Cursor, counts: tuple[int, ...]) -> np.ndarray:
    if columns[name].size not in counts:
        raise cursor.corrupt(f"{columns[name].size} whole numbers for {counts[0]} of them", name)
    return columns[name]
