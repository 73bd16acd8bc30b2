"""Scans in NeXus files: what was recorded at each point of a scan, as Datasets.

May import numpy, xarray, schema and io below, h5py inside functions.
"""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from xpycro.errors import CorruptFile
from xpycro.io import hdf5_array
from xpycro.io.translators import _common as common
from xpycro.io.translators import _h5tools as h5
from xpycro.io.translators import _nxdetector as nx
from xpycro.io.translators import _records as records
from xpycro.io.translators._axes import axis_units, data_units
from xpycro.io.translators._nexplan import Plan, plan
from xpycro.io.translators._nexrows import Entry, Row, Table, address, device
from xpycro.io.translators._records import Records
from xpycro.schema import coordinate, identifiers

__all__ = ["Scan", "find"]


@dataclass(frozen=True)
class Scan:
    """A scan that was found.

    Attributes
    ----------
    groups : dict of str to Dataset
        By the shape of what was recorded; the first has the frames (or the counters).
    used : frozenset
        Addresses of the datasets in it.
    """

    groups: dict[str, xr.Dataset]
    used: frozenset[Any]


def find(entry: Entry, scan_shape: Sequence[int] | None, attrs: Mapping[str, Any]) -> Scan | None:
    """The scan of an NXentry, or None where it holds none.

    Parameters
    ----------
    entry : Entry
    scan_shape : (lines, points), optional
        Instead of the motors.
    attrs : mapping
        Title and time of the entry.

    Raises
    ------
    CorruptFile
        If the data of the detector lie in a file that is not there, and there is nothing else.
    """
    table = Table(entry)
    frames = [row for row in table.rows if len(row.inner) == 2]
    moved = [row for row in table.rows if row.motor and not row.inner]
    counted = [row for row in table.rows if not row.motor]
    if not counted or not (moved or frames or table.said):
        if entry.missing and not table.plots:
            name, file = next(iter(entry.missing.items()))
            raise CorruptFile(f"its data lie in {file!r}, which is not there", path=entry.path, field=name)
        return None
    laid = plan(entry.path, table, moved, scan_shape)
    return _built(entry, table, laid, attrs)


def _built(entry: Entry, table: Table, laid: Plan, attrs: Mapping[str, Any]) -> Scan:
    rows = [row for row in table.rows if row.where not in laid.axes]
    rows = [row for row in rows if math.prod(row.lead) >= 2 and len(row.lead) in (1, len(table.shape))]
    rows = [row for row in rows if math.prod(row.lead) > math.prod(table.shape) / 2]
    shapes = list(dict.fromkeys(row.inner for row in sorted(rows, key=lambda r: -math.prod(r.inner)) if row.inner))
    bundles: list[list[tuple[int, ...]]] = []
    for shape in shapes:  # frames and spectra share a grid, two cameras do not
        home = next((b for b in bundles if all(len(s) != len(shape) for s in b)), None)
        if home is None:
            bundles.append([shape])
        else:
            home.append(shape)
    header = {"entry": h5.metadata(entry.group)}
    groups, used = {}, {address(part) for row in table.rows for part in row.parts}
    for number, bundle in enumerate(bundles or [[]]):
        chosen = [row for row in rows if not row.inner or row.inner in bundle]
        ds = _dataset(entry, table, laid, chosen, header, attrs)
        label = next((row.name for row in chosen if row.inner), "") if number else ""
        groups[label] = ds
    for lost, file in itertools.islice(entry.missing.items(), 1):
        warnings.warn(f"{lost} is left out: its data lie in {file!r}, which is not there", stacklevel=2)
    return Scan(groups, frozenset(used))


def _dataset(
    entry: Entry, table: Table, laid: Plan, rows: Sequence[Row], header: Mapping[str, Any], attrs: Mapping[str, Any]
) -> xr.Dataset:
    coords = dict(laid.coords)
    frames = max((r for r in rows if len(r.inner) == 2), key=lambda r: math.prod(r.inner) * r.lead[0], default=None)
    detector = _detector(entry, frames) if frames is not None else None
    variables: dict[str, xr.Variable] = {}
    taken = [*laid.dims, "ky", "kx", "two_theta", "q", "channel", "measured", "pixel_mask"]
    for row, name in zip(rows, identifiers([row.name for row in rows], taken), strict=True):
        inner = {0: (), 1: ("channel",), 2: ("ky", "kx")}[len(row.inner)]
        if len(row.inner) == 2:
            _same_dtype(row, entry.path)
        made = _column(row, laid, inner)
        if row.motor or (not row.inner and row.name in table.hints):
            coords[name] = made
        else:
            variables[name] = made
        if inner == ("channel",):
            coords["channel"] = coordinate("channel", np.arange(row.inner[0]), dimension_type="spectral")
    order = sorted(variables, key=lambda name: -variables[name].ndim)
    variables = {name: variables[name] for name in order}
    if frames is not None:
        shape = (frames.inner[0], frames.inner[1])
        coords.update(nx.coordinates(detector, shape, nx.wavelength(entry.kinds, detector)))
        mask = nx.mask(detector, shape)
        if mask is not None:
            variables["pixel_mask"] = mask
    if (laid.place < 0).any():
        variables["measured"] = xr.Variable(laid.dims, laid.place >= 0, {"units": "1", "long_name": "Measured pixels"})
    kind = "diffraction patterns" if frames is not None else "scan"
    said = {
        **nx.attributes(entry.kinds, detector),
        "data_type": kind,
        **{k: v for k, v in attrs.items() if v is not None},
    }
    return common.dataset(variables, coords, header, **said)


def _same_dtype(row: Row, path: str) -> None:
    if len({part.dtype for part in row.parts}) > 1:
        raise CorruptFile("frames of different types", path=path, field=row.where)


def _column(row: Row, laid: Plan, inner: tuple[str, ...]) -> xr.Variable:
    motor = row.motor
    factor, base = axis_units(row.units) if motor else data_units(row.units)
    if len(inner) == 2 and not row.units:
        base = "counts"
    parts = tuple(
        hdf5_array.array(
            part,
            flip=[False] * (part.ndim - len(inner)) + ([True, False] if len(inner) == 2 else [False] * len(inner)),
            factor=factor,
        )
        for part in row.parts
    )
    lead = len(row.lead)
    raw = Records(parts, lead, laid.place, records.chunk_length(row.parts, lead))
    return records.variable((*laid.dims, *inner), raw, row.name, base or "1")


def _detector(entry: Entry, frames: Row) -> Any:
    """The NXdetector whose frames these are: the group they lie in, one that links to them, or the only one."""
    parent = entry.group.file[device(frames.where) or "/"]
    if nx.class_of(parent) == "nxdetector":
        return parent
    found = entry.kinds.get("nxdetector", ())
    for group in found:
        data = nx.dataset(group, "data")
        if data is not None and address(data) == address(frames.parts[0]):
            return group
    return found[0] if len(found) == 1 else None
