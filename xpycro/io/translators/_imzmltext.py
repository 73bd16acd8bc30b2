"""The XML part of an imzML pair: what the measurement is, and a table of where each spectrum's numbers lie.

The text may have a million spectra: its head is parsed as XML, the spectra are read by `_imzmlspectra`.
May import numpy, the cursor and the safe XML.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from xml.etree.ElementTree import Element

import numpy as np

from xpycro.io.cursor import HEADER_LIMIT, Cursor
from xpycro.io.translators._imzmlspectra import Kind, read
from xpycro.io.translators._xml import parse_opening, tree

__all__ = ["Array", "Description", "describe"]

_LIMIT = 1 << 35
_PIECE = 1 << 16
_LIST = re.compile(rb"<([\w.-]+:)?spectrumList(?=[\s/>])(?:[^<>\"']|\"[^<\"]*\"|'[^<']*')*>")
_COUNT = re.compile(rb"""\scount\s*=\s*["'](\d{1,9})["']""")


@dataclass(frozen=True)
class Array:
    """One of the two numbers of every point: what it is, and where each spectrum has it.

    Attributes
    ----------
    kind : Kind
    offsets, lengths, encoded : ndarray of int
        By spectrum: the first byte, how many numbers, how many bytes.
    """

    kind: Kind
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
    others : bool
        Whether spectra have arrays of other kinds too.
    started : str
    """

    header: dict[str, Any]
    terms: Mapping[str, str]
    x: np.ndarray
    y: np.ndarray
    z: np.ndarray
    mz: Array
    intensity: Array
    others: bool
    started: str


def describe(path: str) -> Description:
    """Read the XML part, in memory for a few megabytes of it and the table.

    Raises
    ------
    CorruptFile, UnsupportedVariant
        If it is damaged, or its spectra do not all hold the same kinds of numbers.
    """
    with Cursor(path) as cursor:
        if cursor.size > _LIMIT:
            raise cursor.corrupt(f"an xml document of more than {_LIMIT} bytes", "size")
        head, opening, prefix = _head(cursor)
        _ends(cursor)
        root = parse_opening(head, path)
        groups = {e.get("id", ""): e for e in root.iter() if e.tag.rpartition("}")[2] == "referenceableParamGroup"}
        reading = read(cursor, head, groups, prefix)
        declared = _COUNT.search(opening)
        count = len(reading.rows)
        if declared is None or int(declared[1]) != count:
            raise cursor.corrupt(f"{count} spectra and the list says {opening[:80]!r}", "spectrumList", len(head))
    terms = {key: value for element in root.iter() for key, value in _term(element)}
    x, y, z, *columns = np.ascontiguousarray(reading.rows.T)
    run = next((e for e in root.iter() if e.tag.rpartition("}")[2] == "run"), None)
    started = run.get("startTimeStamp", "") if run is not None else ""
    mz, intensity = Array(reading.mz, *columns[:3]), Array(reading.intensity, *columns[3:])
    return Description(tree(root), terms, x, y, z, mz, intensity, reading.others, started)


def _head(cursor: Cursor) -> tuple[bytes, bytes, bytes]:
    """What stands before the list of spectra, its opening tag, the prefix of tags; the cursor moves behind them."""
    head = bytearray()
    while True:
        piece = cursor.read(min(_PIECE, cursor.remaining), "head")
        searched = max(0, len(head) - 4096)
        head += piece
        found = _LIST.search(head, searched)
        if found is not None:
            cursor.seek(found.end(), "spectrumList")
            return bytes(head[: found.start()]), found[0], found[1] or b""
        if not piece or len(head) > HEADER_LIMIT:
            raise cursor.corrupt("no list of spectra: truncated", "spectrumList")


def _ends(cursor: Cursor) -> None:
    """Raise unless the document has its end; the cursor stays."""
    here = cursor.position
    cursor.seek(max(here, cursor.size - 4096), "end")
    tail = cursor.read(cursor.remaining, "end").rstrip()
    if not re.search(rb"</(?:[\w.-]+:)?(?:indexedmzML|mzML)\s*>(?:\s*<!--[^<>]*-->)*$", tail):
        raise cursor.corrupt("no end of the document: truncated", "mzML")
    cursor.seek(here, "spectrumList")


def _term(element: Element) -> Iterator[tuple[str, str]]:
    name = element.get("accession")
    if name:
        yield name, element.get("value", "")
        if element.get("unitName"):
            yield f"{name}_unit", element.get("unitName", "")
