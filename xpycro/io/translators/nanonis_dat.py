"""Nanonis (SPECS) point spectra ``.dat``: tab-separated header lines, ``[DATA]``, one line of names, lines of numbers.

Backward columns are stored along the same axis as the forward ones (the recorded z in real files agrees), so nothing is
mirrored. May import numpy, xarray, schema, units, its sibling nanonis, and io below.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import xarray as xr

from xpycro.io.cursor import Cursor
from xpycro.io.translators import _common as common
from xpycro.io.translators.nanonis import Column, column, group_coordinates, grouped, sweep_axis
from xpycro.schema import coordinate, identifiers
from xpycro.units import to_base

__all__ = ["spectrum"]


def spectrum(path: str) -> dict[str, xr.Dataset]:
    """Read a Nanonis spectrum or sweep (``.dat``).

    Parameters
    ----------
    path : str

    Returns
    -------
    dict of str to Dataset
        One group. Each channel over the swept signal (the first column); with ``direction`` where a backward sweep was
        recorded; single sweeps as ``<channel>_sweeps(direction, sweep, ...)`` beside their average; filtered copies as
        ``<channel>_filtered``. Scalar coordinates ``x, y`` are the position of the tip in the frame of the instrument,
        in m.

    Raises
    ------
    CorruptFile
        If a line has other than one number for each name, or the last line is cut.

    Notes
    -----
    *Laziness*: text, read whole. The format does not say how many lines there are: a file that was cut between two
    lines cannot be told from a shorter sweep.
    """
    with Cursor(path) as cursor:
        header = _header(cursor)
        columns, values = _table(cursor)
    name, unit, axis, first = columns[0].name, columns[0].unit, values[:, 0], 1
    period = _number(header.get("Sample Period (ms)"))
    if period is not None and columns[0].name.lower() not in ("time", "time rel"):
        # a history of signals: the lines are equally spaced in time, no column says when
        name, unit, axis, first = "Time", "s", np.arange(len(values)) * period * 1e-3, 0
    dim, coords, reverse = sweep_axis(name, unit, axis)
    groups, sweeps = grouped(columns[first:])
    coords |= group_coordinates(groups, sweeps)
    for label, key in (("x", "X (m)"), ("y", "Y (m)")):
        position = _number(header.get(key))
        if position is not None and label not in coords:
            coords[label] = coordinate((), position, name=label)
    variables = {}
    for label, group in zip(identifiers([g.label for g in groups], coords), groups, strict=True):
        factor, base = to_base(group.unit)
        block = values[:, first + np.array(group.positions)]  # (point, direction, sweep)
        block = np.moveaxis(block, 0, -1)[..., :: -1 if reverse else 1] * factor
        shape = tuple(n for n, d in zip(block.shape, ("direction", "sweep"), strict=False) if d in group.dims)
        variables[label] = xr.Variable(
            (*group.dims, dim), block.reshape(*shape, -1), {"units": base, "long_name": group.name}
        )
    return {
        "": common.dataset(
            variables,
            coords,
            header,
            modality="scanning probe microscopy",
            instrument=" ".join(filter(None, ("Nanonis", header.get("NanonisMain>SW Version")))),
            data_type="spectrum",
            title=header.get("Experiment"),
            acquired=common.iso_time(header.get("Start time") or header.get("Date") or header.get("Saved Date")),
            position_z=_number(header.get("Z (m)")),
            bias=_number(header.get("Bias>Bias (V)") or header.get("Bias (V)")),
            **_setpoint(header),
        )
    }


def _number(text: str | None) -> float | None:
    """A number of the header, None where there is none (``N/A``)."""
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _setpoint(header: dict[str, str]) -> dict[str, Any]:
    value = _number(header.get("Z-Controller>Setpoint"))
    if value is None:
        return {}
    factor, base = to_base(header.get("Z-Controller>Setpoint unit"))
    return {"setpoint": value * factor, "setpoint_units": base}


def _header(cursor: Cursor) -> dict[str, str]:
    header: dict[str, str] = {}
    while cursor.remaining:
        start = cursor.position
        line = common.decoded(cursor.line("header").encode("latin-1"))
        if line.strip() == "[DATA]":
            return header
        key, tab, value = line.rstrip("\t").partition("\t")
        if "\0" in line:
            raise cursor.corrupt("a NUL in the text", "header", start)
        if key.strip():
            name, number = key.strip(), 2
            while name in header:
                name, number = f"{key.strip()} ({number})", number + 1
            header[name] = value.strip() if tab else ""
    raise cursor.corrupt("the line [DATA] does not come", "header")


def _table(cursor: Cursor) -> tuple[list[Column], np.ndarray]:
    """The names and the numbers below ``[DATA]``."""
    start = cursor.position
    names = common.decoded(cursor.line("column names").encode("latin-1")).split("\t")
    while names and not names[-1].strip():
        names.pop()
    columns = [column(name) for name in names]
    if not columns or not all(c.name for c in columns):
        raise cursor.corrupt("the line of column names is empty or damaged", "column names", start)
    offset = cursor.position
    text = cursor.read(cursor.remaining, "data")
    if not text.endswith(b"\n"):
        raise cursor.corrupt("the last line is cut", "data", cursor.size)
    rows: list[list[float]] = []
    for line in text.split(b"\n"):
        cells = line.rstrip(b"\r\t").split(b"\t") if line.strip() else []
        if cells:
            if len(cells) != len(columns):
                raise cursor.corrupt(
                    f"{len(cells)} numbers for {len(columns)} columns", f"line {len(rows) + 1}", offset
                )
            rows.append([_cell(cell, cursor, len(rows) + 1, offset) for cell in cells])
        offset += len(line) + 1
    if not rows:
        raise cursor.corrupt("no line of numbers", "data")
    return columns, np.array(rows)


def _cell(text: bytes, cursor: Cursor, line: int, offset: int) -> float:
    if not text.strip():
        return math.nan  # a signal that was not recorded
    try:
        if b"_" not in text:  # Python reads 1_0 as a number, no instrument writes it
            return float(text if b"." in text else text.replace(b",", b"."))  # exports may have decimal commas
    except ValueError:
        pass
    raise cursor.corrupt(f"{text[:40]!r} is not a number", f"line {line}", offset)
