"""NT-MDT Nova force curves as text ``.txt``: height, deflection on the way in and on the way out; no header at all.

Numbers may have decimal commas. The file begins at contact, so the way in is turned to run in time. May import numpy,
xarray, schema and the io modules below it.
"""

from __future__ import annotations

import re

import numpy as np
import xarray as xr

from xpycro.io.cursor import Cursor, real
from xpycro.io.translators import _common as common
from xpycro.schema import coordinate

__all__ = ["curve", "is_curve"]

_NUMBER = rb"[-+]?\d+[.,]\d+(?:[eE][-+]?\d+)?"
_LINE = re.compile(rb"[ ]*" + _NUMBER + rb"\t[ ]*" + _NUMBER + rb"\t[ ]*" + _NUMBER + rb"[ \t]*\r?\n")
_LINES = 4  # lines of three numbers by which a file is recognised


def is_curve(head: bytes) -> bool:
    """Whether a text begins with lines of three decimal numbers, the first of them rising in equal steps."""
    at, heights = 0, []
    for _ in range(_LINES):
        found = _LINE.match(head, at)
        if not found:
            return False
        heights.append(float(found[0].split(b"\t")[0].replace(b",", b".")))
        at = found.end()
    steps = np.diff(heights)
    return bool((steps > 0).all() and np.ptp(steps) < 0.01 * steps.mean())


def curve(path: str) -> dict[str, xr.Dataset]:
    """Read a force curve that NT-MDT Nova exported as text.

    Parameters
    ----------
    path : str

    Returns
    -------
    dict of str to Dataset
        One group: ``deflection(segment, point)`` in A with ``z(segment, point)`` in m, the approach first, each in the
        order of time. The export fills the contact side of a shorter branch with one constant number: these are NaN,
        and ``length(segment)`` says how many points were measured.

    Raises
    ------
    NotThisFormat
        If it does not begin with lines of three numbers.
    CorruptFile
        If a line has other than three numbers, or the last one is cut.

    Notes
    -----
    The file states neither names nor units: height in nm and deflection (DFL) in nA are what the software exports.
    Neither a spring constant nor a sensitivity is in it. *Laziness*: text, read whole; a file that was cut between two
    lines cannot be told from a shorter curve.

    Examples
    --------
    >>> is_curve(b"-2,0\\t1,5\\t1,4\\n-1,0\\t1,2\\t1,1\\n0,0\\t0,1\\t0,2\\n1,0\\t0,1\\t0,1\\n")
    True
    """
    with Cursor(path) as cursor:
        if not is_curve(cursor.peek(1024)):
            cursor.expect(b"<three columns of numbers>", "first lines")
        table = _table(cursor)
    halves = [table[_padding(table[:, 1]) :, (0, 1)][::-1], table[_padding(table[:, 2]) :, (0, 2)]]
    points = max(map(len, halves))
    values = np.full((2, 2, points), np.nan)
    for k, half in enumerate(halves):
        values[:, k, : len(half)] = half.T * 1e-9
    coords = {
        "segment": coordinate("segment", np.array(["approach", "retract"])),
        "z": coordinate(
            ("segment", "point"), values[0], name="z", units="m", long_name="Height", dimension_type="spectral"
        ),
    }
    variables = {
        "deflection": xr.Variable(("segment", "point"), values[1], {"units": "A", "long_name": "DFL"}),
        "length": common.segment_lengths([len(half) for half in halves]),
    }
    return {
        "": common.dataset(
            variables, coords, {}, modality="atomic force microscopy", instrument="NT-MDT", data_type="force_curve"
        )
    }


def _table(cursor: Cursor) -> np.ndarray:
    rows: list[list[float]] = []
    while cursor.remaining:
        line = cursor.line("numbers", limit=1000)
        cells = line.split("\t")
        while cells and not cells[-1].strip():
            cells.pop()
        if not cells:
            continue
        if len(cells) != 3:
            raise cursor.corrupt(f"{len(cells)} numbers: expected three", f"line {len(rows) + 1}")
        rows.append([real(cell, f"line {len(rows) + 1}", cursor) for cell in cells])
    cursor.seek(cursor.size - 1, "end")
    if cursor.read(1, "end") not in (b"\n", b"\0"):
        raise cursor.corrupt("the last line is cut", "end")
    return np.array(rows)


def _padding(column: np.ndarray) -> int:
    """How many numbers at the beginning are repeated only."""
    other = np.flatnonzero(column != column[0])
    return int(other[0]) - 1 if other.size else 0
