"""EMSA/MAS spectral data ``.msa`` (ISO 22029): ``#KEY : value`` lines, then numbers as text.

May import numpy, xarray, schema, units and io below.
"""

from __future__ import annotations

import re
from datetime import datetime

import numpy as np
import xarray as xr

from xpycro.errors import NotThisFormat
from xpycro.io.cursor import Cursor, integer, real
from xpycro.io.translators import _common as common
from xpycro.io.translators._axes import Axis, axis_units, data_units, layout
from xpycro.io.translators.hyperspy import split_quantity
from xpycro.schema import identifier

__all__ = ["spectrum"]

_LIMIT = 1 << 28
_LOSS = ("ELS", "EELS")
_LINE = re.compile(r"#\s*([^:]{1,40}?)\s*:(.*)", re.S)


def spectrum(path: str) -> dict[str, xr.Dataset]:
    """Read an EMSA/MAS spectrum.

    Parameters
    ----------
    path : str

    Returns
    -------
    dict of str to Dataset
        One variable over ``energy_loss`` (signal type ELS) or ``energy``; what else the axis is, its units tell.

    Raises
    ------
    NotThisFormat, CorruptFile

    Notes
    -----
    *Laziness*: read whole; a text file.

    References
    ----------
    R. F. Egerton et al., "EMSA/MAS Standard File Format for Spectral Data Exchange", EMSA Bulletin 21, 35 (1991).
    """
    with Cursor(path) as cursor:
        if b"EMSA/MAS" not in cursor.peek(200).upper():
            raise NotThisFormat("the first line does not say EMSA/MAS", path=path, offset=0)
        if cursor.size > _LIMIT:
            raise cursor.corrupt(f"a text of more than {_LIMIT} bytes", "size")
        header: dict[str, str] = {}
        ended = False
        while cursor.remaining:
            line = cursor.line("header")
            if not line.strip():
                continue
            found = _LINE.match(line)
            if found is None:
                raise cursor.corrupt(f"a header line {line[:40]!r} without '#KEY :'", "header")
            key, value = found[1].strip(), found[2].strip()
            if key.upper() == "SPECTRUM":
                ended = True
                break
            header[key] = f"{header[key]}\n{value}" if key in header else value
        if not ended:
            raise cursor.corrupt("#SPECTRUM is missing", "SPECTRUM")
        start = cursor.position
        words = {re.split(r"\s+-|-(?=[a-zA-Z]+$)", key)[0].strip().upper(): value for key, value in header.items()}
        for needed in ("NPOINTS", "DATATYPE"):
            if needed not in words:
                raise cursor.corrupt(f"#{needed} is missing", needed)
        count = integer(words["NPOINTS"], "NPOINTS", cursor, low=1, high=1 << 28, offset=0)
        body, complete = _body(cursor.read(cursor.remaining, "spectrum").decode("latin-1"), cursor, start)
        values, axis_values = _points(cursor, body, words["DATATYPE"].upper(), count, complete, start)
        scale = real(words.get("XPERCHAN", "1"), "XPERCHAN", cursor, offset=0)
        offset = real(words.get("OFFSET", "0"), "OFFSET", cursor, offset=0)
    kind = words.get("SIGNALTYPE", "").upper()
    label = words.get("XLABEL", "").splitlines()[-1] if words.get("XLABEL") else ""
    said, units = split_quantity(words.get("XUNITS", ""))  # "eV", or "Energy Loss (eV)"
    label, units = (label or said, units) if units else (label, said)
    dim = "energy_loss" if kind in _LOSS and axis_units(units)[1] == "eV" else ""
    axis = Axis(values.size, label, units, scale, offset, axis_values, True, dim)
    laid = layout([axis], top_first=False)
    title = words.get("TITLE", "")
    y_label = words.get("YLABEL") or words.get("YUNITS") or "Intensity"
    factor, base = data_units(words.get("YUNITS"))
    variable = xr.Variable(laid.dims, laid.numpy(values) * factor, {"units": base, "long_name": y_label})
    date = _date(words.get("DATE", ""), words.get("TIME", ""))
    ds = common.dataset(
        {identifier(y_label): variable}, laid.coords, header, data_type="EELS" if kind in _LOSS else kind or None,
        title=title or None, acquired=date, modality="electron microscopy",
    )  # fmt: skip
    return {"": ds}


def _body(text: str, cursor: Cursor, start: int) -> tuple[np.ndarray, bool]:
    """The numbers, and whether ``#ENDOFDATA`` closed them."""
    text, mark, _ = text.partition("#")
    if not mark and not text.endswith(("\n", "\r", "\x1a")):
        raise cursor.corrupt("the last line has no end and #ENDOFDATA is missing: truncated", "spectrum")
    words = text.replace(",", " ").split()
    try:
        return np.array(words, dtype=np.float64), bool(mark)
    except ValueError:
        raise cursor.corrupt("what is not a number among the data", "spectrum", start) from None


def _points(
    cursor: Cursor, body: np.ndarray, kind: str, count: int, complete: bool, start: int
) -> tuple[np.ndarray, np.ndarray | None]:
    """Values and, of XY data, their places on the axis."""
    if kind.startswith("XY"):
        pairs, rest = divmod(body.size, 2)
        # the standard's own example says 20 points and holds 21 pairs
        if rest or not (pairs == count or (complete and pairs == count + 1)):
            raise cursor.corrupt(f"{body.size} numbers for {count} pairs", "spectrum", start)
        return body[1::2].copy(), body[0::2].copy()
    if body.size != count:
        raise cursor.corrupt(f"{body.size} numbers for {count} points", "spectrum", start)
    return body, None


_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")


def _date(date: str, clock: str) -> str | None:
    """``01-OCT-1991`` and ``12:00`` whatever the locale."""
    parts = date.strip().upper().split("-")
    if len(parts) != 3 or parts[1] not in _MONTHS:
        return None
    try:
        return datetime.strptime(
            f"{parts[0]}-{_MONTHS.index(parts[1]) + 1}-{parts[2]} {clock.strip()[:5] or '00:00'}", "%d-%m-%Y %H:%M"
        ).isoformat()
    except ValueError:
        return None
