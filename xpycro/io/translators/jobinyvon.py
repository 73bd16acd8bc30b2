"""Horiba Jobin-Yvon LabSpec ``.xml``: spectra, lines, series and maps as text in nested elements.

Every element is an ``LSX`` with a format and a number for a name; axes say ``type`` and ``unit``, the numbers stand in
rows at the end. May import numpy, xarray, schema, units and io below.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any
from xml.etree.ElementTree import Element

import numpy as np
import xarray as xr

from xpycro.errors import NotThisFormat
from xpycro.io.cursor import Cursor, real
from xpycro.io.translators import _common as common
from xpycro.io.translators._axes import Axis, data_units, layout
from xpycro.io.translators._xml import parse
from xpycro.schema import identifier

__all__ = ["spectra"]

_LIMIT = 1 << 30
_TYPE, _UNIT, _VALUES = "0x6D707974", "0x7C696E75", "0x7D6CD4DB"  # the words "type", "unit", "values" in numbers
_NAME, _VALUE = "0x6D6D616E", "0x7D6C61DB"
_DIMS = {"X": "x", "Y": "y", "Z": "z", "Time": "time"}


def spectra(path: str) -> dict[str, xr.Dataset]:
    """Read a LabSpec file.

    Parameters
    ----------
    path : str

    Returns
    -------
    dict of str to Dataset
        ``intensity`` over ``wavelength``, ``wavenumber`` or ``energy``, ascending; before it ``y, x`` of a map, ``x``,
        ``z`` or ``time`` of a line or series. LabSpec counts Y upwards.

    Raises
    ------
    NotThisFormat, CorruptFile

    Notes
    -----
    *Laziness*: read whole; a text file.
    """
    with Cursor(path) as cursor:
        if b"<LSX" not in cursor.peek(4096):
            raise NotThisFormat("there is no element LSX in its beginning", path=path, offset=0)
        if cursor.size > _LIMIT:
            raise cursor.corrupt(f"an xml document of more than {_LIMIT} bytes", "size")
        root = parse(cursor.read(cursor.size, "document"), path, offset=0)
        axes, label, units = _axes(root, cursor)
        values = _numbers(root, axes, cursor)
    laid = layout(axes, top_first=False)
    header = _header(root)
    factor, base = data_units(units.replace("Cnt", "counts"))
    variable = xr.Variable(laid.dims, laid.numpy(values) * factor, {"units": base, "long_name": label})
    laser = header.get("Laser (nm)")
    ds = common.dataset(
        {identifier(label): variable}, laid.coords, header,
        modality="Raman spectroscopy" if "wavenumber" in laid.dims else "optical spectroscopy",
        instrument=f"Horiba {header.get('Instrument', '')}".strip(), title=header.get("Title") or None,
        acquired=common.iso_time(header.get("Acquired")),
        laser_wavelength=laser * 1e-9 if isinstance(laser, float) and laser > 0 else None,
    )  # fmt: skip
    return {"": ds}


def _child(element: Element, number: str) -> Element | None:
    return next((child for child in element if child.get("ID") == number), None)


def _text(element: Element, number: str) -> str:
    found = _child(element, number)
    return (found.text or "").strip() if found is not None else ""


def _floats(element: Element, cursor: Cursor, field: str) -> np.ndarray:
    try:
        values = np.array((element.text or "").split(), dtype=np.float64)
    except ValueError:
        raise cursor.corrupt("what is not a number among the numbers", field, 0) from None
    declared = element.get("Size")
    if declared is None or not declared.isdecimal() or int(declared) != values.size:
        raise cursor.corrupt(f"{values.size} numbers and the element says {declared}", field, 0)
    if not np.isfinite(values).all():
        raise cursor.corrupt("a number that is not finite", field, 0)
    return values


def _axes(root: Element, cursor: Cursor) -> tuple[list[Axis], str, str]:
    """The axes in stored order, slowest first, and label and unit of the numbers."""
    tree = root.find("LSX_Tree")
    described = [e for e in (tree.iter("LSX") if tree is not None else ()) if _child(e, _TYPE) is not None]
    label, units, found = "Intensity", "", []
    for element in described:
        kind, unit = _text(element, _TYPE), _text(element, _UNIT)
        numbers = _child(element, _VALUES)
        if kind == "Intens":
            label, units = "Intensity", unit
        elif numbers is not None and numbers.get("Format") == "6":
            values = _floats(numbers, cursor, f"axis {kind}")
            spectral = kind.startswith("Spectr")
            found.append(Axis(values.size, kind if not spectral else _spectral(unit), unit, values=values,
                              signal=spectral, dim="" if spectral else _DIMS.get(kind, "")))  # fmt: skip
    if not found:
        raise cursor.corrupt("no axis is described", "LSX_Tree", 0)
    return found[::-1], label, units


def _spectral(unit: str) -> str:
    return {"nm": "wavelength", "eV": "energy"}.get(unit, "Raman shift")


def _numbers(root: Element, axes: list[Axis], cursor: Cursor) -> np.ndarray:
    matrix = root.find("LSX_Matrix")
    if matrix is None:
        raise cursor.corrupt("the element is missing", "LSX_Matrix", 0)
    rows = matrix.findall("LSX_Row")
    if [row.get("Index") for row in rows] != [str(n) for n in range(len(rows))]:
        raise cursor.corrupt("the rows are not numbered one after the other", "LSX_Row", 0)
    values = [_floats(row, cursor, "LSX_Row") for row in rows] or [_floats(matrix, cursor, "LSX_Matrix")]
    shape = tuple(axis.size for axis in axes)
    flat = np.concatenate(values)
    if flat.size != math.prod(shape) or any(row.size != shape[-1] for row in values if len(values) > 1):
        raise cursor.corrupt(f"{flat.size} numbers for axes of {' x '.join(map(str, shape))}", "LSX_Matrix", 0)
    return flat.reshape(shape)


def _header(root: Element) -> dict[str, Any]:
    """Everything that has a name, with the number that stands behind its text where there is one."""
    header: dict[str, Any] = {}
    for element in root.iter("LSX"):
        name = _text(element, _NAME)
        if name and _child(element, _VALUE) is not None:
            header[name] = _best(element)
    return header


def _best(element: Element) -> str | float:
    for text in _candidates(element):
        try:
            return real(text, "", Cursor(b""))
        except OSError:
            continue
    return _text(element, _VALUE)


def _candidates(element: Element) -> Iterator[str]:
    """Numbers behind the text: of a laser line ``633`` the calibrated one."""
    exact = _child(element, "0x8736F70")
    value = _child(element, _VALUE)
    if value is not None and value.get("Format") in ("4", "5"):
        yield value.text or ""
    elif exact is not None and (_text(element, _NAME).endswith(")") or _text(element, _VALUE)[:1].isdigit()):
        yield exact.text or ""
