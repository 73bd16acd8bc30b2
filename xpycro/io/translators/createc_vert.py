"""Createc point spectra ``.VERT``: the header of the images, a line of counts, then lines of numbers.

May import numpy, xarray, schema, its siblings createc and nanonis, and io below.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import xarray as xr

from xpycro.errors import UnsupportedVariant
from xpycro.io.cursor import Cursor, integer, real
from xpycro.io.translators import _common as common
from xpycro.io.translators import createc
from xpycro.io.translators.nanonis import sweep_axis
from xpycro.schema import coordinate, identifiers

__all__ = ["spectrum"]

_HEADER = 1 << 16
_CHANNELS = (
    "Current", "dI/dV", "d2I/dV2", "ADC0", "ADC1", "ADC2", "ADC3", "NA01", "NA02", "NA03", "di_q", "di2_q", "DAC0",
)  # fmt: skip
_ALIEN = re.compile(rb"[^0-9+\-.,eE\s]")


def spectrum(path: str) -> dict[str, xr.Dataset]:
    """Read a Createc spectrum (``.VERT``).

    Parameters
    ----------
    path : str

    Returns
    -------
    dict of str to Dataset
        One group: ``current`` in A over ``bias``, or over ``step`` with ``bias(step)`` where the sweep turns back;
        ``z`` and every other channel in converter units (``units`` "1"). Scalar coordinates ``x, y`` in m where the
        file prints the place, or its header states the steps of the converter.

    Raises
    ------
    UnsupportedVariant
        If the columns are not those that the channel code names.
    CorruptFile
        If a line has other than one number a column, or the lines are not counted through.

    Notes
    -----
    Written from published facts and the text of one real file. Readers by others disagree on the scale of the height
    column, so it is handed out as stored. *Laziness*: text, read whole.
    """
    with Cursor(path) as cursor:
        magic = cursor.peek(11)
        if magic not in (b"[ParVERT30]", b"[ParVERT32]"):
            cursor.expect(b"[ParVERT32]", "magic")
        head = cursor.peek(_HEADER)
        marker = re.search(rb"DATA[ \t]*\r?\n", head)
        if not marker:
            raise cursor.corrupt("the marker DATA does not come", "DATA")
        header = createc.header_of(head[: marker.start()])
        cursor.seek(marker.end(), "DATA")
        counts = cursor.line("counts", limit=1000).split()
        if len(counts) < 4:
            raise cursor.corrupt(f"{len(counts)} counts: expected points, x, y and the channels", "counts")
        points, x, y, code = (integer(text, "counts", cursor) for text in counts[:4])
        lateral = magic == b"[ParVERT32]" and len(counts) > 6 and counts[6] == "3"
        if code < 1 or code >> 31:
            raise UnsupportedVariant(f"a channel code {code}", path=path, field="counts")
        names = ["Z", *(["X"] if lateral else []), *(_channel(k) for k in range(31) if code >> k & 1)]
        printed = [real(text, "counts", cursor) * 1e-9 for text in counts[7:9]] if len(counts) > 8 else []
        values = _table(cursor, points, 2 + len(names))
    dim, coords, reverse = sweep_axis("Bias", "mV", values[:, 1])
    coords = {**coords, **_position(header, cursor, (x, y), printed)}
    variables: dict[str, Any] = {}
    labels = identifiers(names, [*coords, "x", "y"])
    for label, name, column in zip(labels, names, values.T[2:], strict=True):
        factor = createc.converter(header, cursor) / createc.gain(header, cursor) if name == "Current" else 1.0
        numbers = column[::-1] if reverse else column
        units = "A" if name == "Current" else "1"
        variables[label] = xr.Variable(dim, numbers * factor, {"units": units, "long_name": name})
    return {
        "": common.dataset(
            variables,
            coords,
            header,
            modality="scanning tunnelling microscopy",
            instrument="Createc",
            data_type="spectrum",
            title=header.get("Titel") or None,
            acquired=createc.file_time(path),
            setpoint=createc.number_of(header, "SetPoint", cursor) if "SetPoint" in header else None,
            setpoint_units="A" if "SetPoint" in header else None,
        )
    }


def _table(cursor: Cursor, points: int, columns: int) -> np.ndarray:
    """The lines of numbers, the first of which counts them."""
    if not 0 < points <= cursor.remaining // columns:
        raise cursor.corrupt(f"{points} lines of {columns} numbers are not in {cursor.remaining} bytes", "counts")
    start = cursor.position
    content = cursor.read(cursor.remaining, "data")
    alien = _ALIEN.search(content)
    if alien:
        raise cursor.corrupt(f"{alien[0]!r} among the numbers", "data", start + alien.start())
    if not content.endswith(b"\n"):
        raise cursor.corrupt("the last line is cut", "data")
    # the decimal comma of some locales
    rows = [line.split() for line in content.replace(b",", b".").splitlines() if line.strip()]
    if len(rows) != points:
        raise cursor.corrupt(f"{len(rows)} lines and the file says {points}", "data", start)
    width = len(rows[0])
    if any(len(row) != width for row in rows):
        raise cursor.corrupt("the lines have different numbers of columns", "data", start)
    if width != columns:
        raise UnsupportedVariant(
            f"{width} columns, and the channel code names {columns}", path=cursor.path, field="counts"
        )
    try:
        values = np.array(rows, dtype=np.bytes_).astype(np.float64)
    except ValueError as error:
        raise cursor.corrupt(f"not a number ({error})", "data", start) from None
    if not np.array_equal(values[:, 0], np.arange(points)) or not np.isfinite(values).all():
        raise cursor.corrupt("the lines are not counted from 0, or hold what is no number", "data", start)
    return values


def _channel(bit: int) -> str:
    """The name of a bit of the channel code; those of later software are numbered."""
    return _CHANNELS[bit] if bit < len(_CHANNELS) else f"Channel {bit}"


def _position(
    header: dict[str, str], cursor: Cursor, steps: tuple[int, int], printed: list[float]
) -> dict[str, xr.Variable]:
    """Where the tip stood in the frame of the scanner, in m: as newer software prints it, or from steps of the DAC.

    The offset of the scan counts the other way than the place in it, as the header and the printed place of a real
    file confirm: place = (step - offset) x gain x Angstrom a step.
    """
    if not printed:
        if not {"Dacto[A]xy", "GainX", "GainY"} <= header.keys():
            return {}
        step = createc.number_of(header, "Dacto[A]xy", cursor) * 1e-10
        offsets = [createc.number_of(header, f"Offset{a}", cursor) if f"Offset{a}" in header else 0.0 for a in "XY"]
        gains = [createc.number_of(header, f"Gain{a}", cursor) for a in "XY"]
        printed = [(n - offset) * gain * step for n, offset, gain in zip(steps, offsets, gains, strict=True)]
    return {name: coordinate((), value, name=name) for name, value in zip("xy", printed, strict=True)}
