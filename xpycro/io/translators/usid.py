"""USID, the HDF5 of pyUSID and of pycroscopy before 2019: flat tables (positions by spectroscopic) with index tables.

The shape, the order of the dims and what is missing are derived from the index tables. May import numpy, xarray,
schema, units and io below, h5py inside functions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from xpycro.errors import CorruptFile, NotThisFormat
from xpycro.io import hdf5_array
from xpycro.io.hdf5_guard import Contents, opened
from xpycro.io.translators import _h5tools as h5
from xpycro.io.translators._axes import data_units
from xpycro.io.translators._signals import Signal, collect
from xpycro.schema import DIMENSIONS, coordinate, identifier
from xpycro.units import to_base

__all__ = ["read"]

_LINKS = ("Position_Indices", "Position_Values", "Spectroscopic_Indices", "Spectroscopic_Values")
# root attributes that every old translator wrote and nobody filled in
_PLACEHOLDERS = {
    "instrument": "cypher_west", "sample_name": "PZT", "experiment_date": "2015-10-05 14:55:05", "xcams_id": "abc",
    "project_id": "CNMS_2015B_X0000", "user_name": "John Doe", "sample_description": "Thin Film",
    "data_tool": "be_analyzer", "comments": "Band Excitation data", "project_name": "Band Excitation",
}  # fmt: skip
_DIMS = {
    "x": "x", "y": "y", "z": "z", "frequency": "frequency", "freq": "frequency", "dc_offset": "bias", "bias": "bias",
    "dc_bias": "bias", "voltage": "bias", "v": "bias", "direction": "direction", "cycle": "cycle", "cycles": "cycle",
    "forc": "forc", "field": "field", "time": "time", "energy": "energy", "wavelength": "wavelength", "u": "kx",
    "step": "step", "frame": "frame", "component": "component", "rows": "y", "cols": "x", "row": "y", "col": "x",
}  # fmt: skip
_BY_UNITS = {"Hz": "frequency", "V": "bias", "s": "time", "eV": "energy", "1/cm": "wavenumber"}
_MANY = 1 << 27  # bytes of one index table


def read(path: str, *, trust: bool = False, isolate: bool = False) -> dict[str, xr.Dataset]:
    """Read a USID file.

    Parameters
    ----------
    path : str
    trust : bool, optional
        Follow links and external storage outside the folder too.
    isolate : bool, optional
        Walk the file in a child process with limits first.

    Returns
    -------
    dict of str to Dataset
        Main datasets that share their positions and spectra are variables of one Dataset, the fields of a compound one
        too. Dims are named after the labels (``y, x, frequency, bias, cycle``...), slow before fast; a sparse set of
        points has the dim ``position``; an unfinished raster is filled with NaN. What analyses left in the file
        (groups ``<dataset>-<tool>_000``) keeps its path in its group name. Band-excitation data get the names that
        their raw folder has: ``response``, ``field`` "in" (0) and "out" (1), ``direction``; of earlier oscillator
        fits ``resonance_frequency``.

    Raises
    ------
    NotThisFormat, CorruptFile, UnsupportedVariant

    Notes
    -----
    *Laziness*: index and value tables are read, data only when used.

    References
    ----------
    S. Somnath et al., "USID and pyUSID", arXiv:1903.09515.
    """
    with opened(path, trust=trust, isolate=isolate) as (file, contents):
        mains = [name for name in contents.datasets if all(link in file[name].attrs for link in (_LINKS[0], _LINKS[2]))]
        if not mains:
            raise NotThisFormat("no dataset refers to Position_Indices and Spectroscopic_Indices", path=path)
        signals, tables = [], _tables(file, mains)
        for name in mains:
            signals += _main(path, file, contents, name)
        root = {k: v for k, v in h5.attributes(file).items() if _PLACEHOLDERS.get(k) != v}
        header = h5.metadata(file, skip=frozenset(tables))
        header = {k: v for k, v in header.items() if k in root or isinstance(v, dict)}
        kind = str(root.get("data_type", "")) or None
        acquired = root.get("experiment_date")
        groups = collect(
            signals, header, modality="scanning probe microscopy", data_type=kind, instrument=root.get("instrument"),
            acquired=None if acquired is None else str(acquired), title=root.get("sample_name"),
        )  # fmt: skip
    return {name: _band_excitation(ds) for name, ds in groups.items()} if (kind or "").startswith("BE") else groups


def _band_excitation(ds: xr.Dataset) -> xr.Dataset:
    """Band-excitation data under the names that its raw folder gets: response, field in and out, direction."""
    names = [str(n) for n, v in ds.data_vars.items() if v.dtype.kind == "c" and "frequency" in v.dims]
    renamed = {names[0]: "response"} if len(names) == 1 and "response" not in ds.variables else {}
    if {"amplitude", "frequency", "quality_factor", "phase"} <= set(map(str, ds.data_vars)):
        renamed["frequency"] = "resonance_frequency"  # the oscillator fits of earlier software
    for dim, labels in (("field", ("in", "out")), ("direction", ("forward", "backward"))):
        if (
            dim in ds.coords
            and dim in ds.dims
            and ds[dim].dtype.kind in "iuf"
            and np.isin(ds[dim].values, (0, 1)).all()
        ):
            ds = ds.assign_coords({dim: coordinate(dim, np.array(labels)[ds[dim].values.astype(int)])})
    return ds.rename(renamed)


def _tables(file: Any, mains: Sequence[str]) -> set[str]:
    """Last names of main datasets and of what they refer to."""
    names = set()
    for name in mains:
        names.add(name.rsplit("/", 1)[-1])
        for link in _LINKS:
            if link in file[name].attrs:
                names.add(_referred(file, file[name], link).name.rsplit("/", 1)[-1])
    return names


def _referred(file: Any, dataset: Any, link: str) -> Any:
    import h5py

    reference = dataset.attrs.get(link)
    if not isinstance(reference, h5py.Reference) or not reference:
        raise CorruptFile(f"{link} is not an object reference", path=file.filename, field=dataset.name)
    found = file[reference]
    if not isinstance(found, h5py.Dataset) or found.ndim != 2:
        raise CorruptFile(f"{link} does not refer to a table", path=file.filename, field=dataset.name)
    return found


# ----------------------------------------------------------------------------------------------------------- dims


@dataclass(frozen=True)
class Grid:
    """The dims of one side of a table, slow before fast, and which row each grid point is."""

    dims: tuple[str, ...]
    shape: tuple[int, ...]
    coords: dict[str, xr.Variable]
    rows: np.ndarray | None


def _side(file: Any, main: Any, kind: str, length: int, taken: Sequence[str]) -> Grid:
    """The dims of the positions or of the spectroscopic side."""
    path = file.filename
    indices = _referred(file, main, f"{kind}_Indices")
    values = _referred(file, main, f"{kind}_Values") if f"{kind}_Values" in main.attrs else indices
    for one in (indices, values):
        if one.size * one.dtype.itemsize > _MANY:
            raise CorruptFile(f"{one.size} index values", path=path, field=one.name)
    table, numbers = np.asarray(indices[()]), np.asarray(values[()])
    if kind == "Position":
        table, numbers = table.T, numbers.T
    if table.shape != numbers.shape or table.shape[-1] != length or not 1 <= table.shape[0] <= 16:
        raise CorruptFile(
            f"indices {table.shape} and values {numbers.shape} do not describe {length} {kind.lower()} points",
            path=path, field=main.name,
        )  # fmt: skip
    if table.dtype.kind not in "iuf" or numbers.dtype.kind not in "iuf":
        raise CorruptFile("indices that are not numbers", path=path, field=indices.name)
    labels = _words(indices, values, "labels", table.shape[0])
    units = _words(values, indices, "units", table.shape[0])
    names = _dim_names(labels, units, kind, taken)
    # the dim whose index changes most often is the fastest
    changes = [int(np.count_nonzero(np.diff(row))) for row in table]
    order = sorted(range(len(table)), key=lambda n: (changes[n], -n))
    order = [n for n in order if len(np.unique(table[n])) > 1]  # "arb" dims of one point say nothing
    if not order:
        return Grid((), (), {}, None) if length == 1 else _points(names, units, labels, numbers, kind, length)
    unique = {n: np.unique(table[n], return_inverse=True) for n in order}
    shape = tuple(len(unique[n][0]) for n in order)
    if math.prod(shape) < length or math.prod(shape) > 4 * length + 1024:
        return _points(names, units, labels, numbers, kind, length)
    place = np.ravel_multi_index([unique[n][1].ravel() for n in order], shape)
    if len(np.unique(place)) != length:  # a point measured twice
        return _points(names, units, labels, numbers, kind, length)
    whole = math.prod(shape) == length
    raster = np.array_equal(place, np.arange(length))
    if not whole and not (raster or _mostly_raster(place, length, shape)):
        return _points(names, units, labels, numbers, kind, length)
    rows = None
    if not (whole and raster):
        rows = np.full(math.prod(shape), -1, np.int64)
        rows[place] = np.arange(length)
    return _with_coords(order, shape, names, units, labels, numbers, place, rows, kind)


def _mostly_raster(place: np.ndarray, length: int, shape: Sequence[int]) -> bool:
    """Whether an incomplete set of points is an unfinished raster: a run of grid points with no hole inside."""
    return len(shape) > 1 and int(place.max()) - int(place.min()) + 1 == length


def _with_coords(
    order: Sequence[int],
    shape: tuple[int, ...],
    names: Sequence[str],
    units: Sequence[str],
    labels: Sequence[str],
    numbers: np.ndarray,
    place: np.ndarray,
    rows: np.ndarray | None,
    kind: str,
) -> Grid:
    """Coordinates: 1-D where a value depends on its own index alone, else over the dims it depends on."""
    grids = {}
    for n in order:
        full = np.full(math.prod(shape), np.nan)
        full[place] = numbers[n]
        grids[n] = full.reshape(shape)
    dims = [names[n] for n in order]
    flips = []
    coords: dict[str, tuple[tuple[int, ...], np.ndarray, str, str]] = {}
    for axis, n in enumerate(order):
        grid, factor, base = grids[n], *_units(units[n], names[n])
        depends = [axis]
        for other in range(len(shape)):
            first = np.take(grid, [0], other)
            if other != axis and not np.allclose(grid, first, rtol=1e-6, equal_nan=True) and not np.isnan(grid).any():
                depends.append(other)
        depends.sort()
        around = tuple(slice(None) if a in depends else 0 for a in range(len(shape)))
        values = grid[around] if len(depends) > 1 else _along(grid, axis)
        steps = np.diff(values, axis=depends.index(axis))
        rising, falling = bool((steps > 0).all()), bool((steps < 0).all())
        if len(depends) > 1 or not (rising or falling):  # a bias that turns back, or one that another dim shifts
            if kind == "Spectroscopic" and (dims[axis] not in DIMENSIONS or DIMENSIONS[dims[axis]].type != "frame"):
                step = "step" if "step" not in dims else f"step_{axis}"
                coords[dims[axis]] = (tuple(depends), values * factor, base, labels[n])
                dims[axis] = step
            else:
                coords[dims[axis]] = ((axis,), _along(grid, axis) * factor, base, labels[n])
            flips.append(False)
            continue
        flips.append(falling)
        values = values[::-1] if falling else values
        coords[dims[axis]] = ((axis,), values * factor, base, labels[n])
    if any(flips):
        lookup = (np.arange(math.prod(shape)) if rows is None else rows).reshape(shape)
        rows = lookup[tuple(slice(None, None, -1 if f else 1) for f in flips)].ravel()
    made = {}
    for name, (axes, values, base, label) in coords.items():
        turned = values if len(axes) == 1 else values[tuple(slice(None, None, -1 if flips[a] else 1) for a in axes)]
        made[name] = coordinate(
            [dims[a] for a in axes], turned, name=name, units=base, long_name=label or None
        )  # fmt: skip
    for axis, dim in enumerate(dims):
        if dim.startswith("step") and dim not in made:
            made[dim] = coordinate(dim, np.arange(shape[axis]), name="step")
    return Grid(tuple(dims), shape, made, rows)


def _along(grid: np.ndarray, axis: int) -> np.ndarray:
    """Values along one axis where all other indices are at their first value, or at the first that is there."""
    lines = np.moveaxis(grid, axis, -1).reshape(-1, grid.shape[axis])
    values = lines[0].copy()
    for line in lines[1:1024]:
        if not np.isnan(values).any():
            break
        values = np.where(np.isnan(values), line, values)
    return np.where(np.isnan(values), np.arange(values.size), values)


def _points(
    names: Sequence[str], units: Sequence[str], labels: Sequence[str], numbers: np.ndarray, kind: str, length: int
) -> Grid:
    """Points that form no grid: one dim with a coordinate for each label."""
    dim = "position" if kind == "Position" else "point"
    coords = {dim: coordinate(dim, np.arange(length))}
    for name, unit, label, row in zip(names, units, labels, numbers, strict=True):
        factor, base = _units(unit, name)
        coords[name if name != dim else f"{name}_value"] = coordinate(
            dim, row * factor, name=name, units=base, long_name=label or None
        )
    return Grid((dim,), (length,), coords, None)


def _units(text: str, name: str) -> tuple[float, str]:
    factor, base = data_units(text)
    if base == "1" and name in ("y", "x", "z"):
        return 1.0, "pixel"
    return factor, base


def _words(first: Any, second: Any, name: str, count: int) -> list[str]:
    for table in (first, second):
        words = h5.tidy(table.attrs[name]) if name in table.attrs else None
        words = [words] if isinstance(words, str) else words
        if isinstance(words, list) and len(words) == count:
            return [str(word) for word in words]
    return [""] * count


def _dim_names(labels: Sequence[str], units: Sequence[str], kind: str, taken: Sequence[str]) -> list[str]:
    names: list[str] = []
    for number, (label, unit) in enumerate(zip(labels, units, strict=True)):
        plain = identifier(label) if label else ""
        found = _DIMS.get(plain) or _BY_UNITS.get(to_base(unit)[1]) or plain
        base = found or ("xyz"[number] if kind == "Position" and number < 3 else "point")
        name, copy = base, 2
        while name in names or name in taken:
            name, copy = f"{base}_{copy}", copy + 1
        names.append(name)
    return names


# ----------------------------------------------------------------------------------------------------------- main


def _main(path: str, file: Any, contents: Contents, name: str) -> list[Signal]:
    main = file[name]
    if main.ndim != 2:
        raise CorruptFile(f"a main dataset of {main.ndim} dimensions", path=path, field=name)
    if name in contents.missing:
        raise CorruptFile(f"its data lie in {contents.missing[name]!r}, which is not there", path=path, field=name)
    positions = _side(file, main, "Position", main.shape[0], ())
    spectra = _side(file, main, "Spectroscopic", main.shape[1], positions.dims)
    dims = (*positions.dims, *spectra.dims)
    shapes = (positions.shape or (), spectra.shape or ())
    coords = {**positions.coords, **spectra.coords}
    quantity = h5.text(main.attrs.get("quantity"))
    factor, base = data_units(h5.text(main.attrs.get("units")))
    last = name.rsplit("/", 1)[-1]
    parts = [p for p in name.split("/") if p]
    group = "_".join(p for p in parts if p not in ("Raw_Data",))
    fields = main.dtype.names or ("",)
    signals = []
    for field in fields:
        dtype = main.dtype[field] if field else main.dtype
        if dtype.kind not in "fciub" or dtype.shape:
            continue
        scale = 1.0 if field else factor
        raw = hdf5_array.table(
            main, shapes[0], shapes[1], rows=positions.rows, columns=spectra.rows, field=field, factor=scale
        )
        label = (
            field.partition("[")[0].strip()
            or quantity
            or (last if last != "Raw_Data" else parts[-2] if len(parts) > 1 else last)
        )
        units = _field_units(field) if field else base
        made = hdf5_array.variable(dims, raw, field or quantity or label, units)
        signals.append(Signal(label, made, coords, h5.attributes(main), group=group))
    return signals


def _field_units(field: str) -> str:
    """Units that the name of a compound field ends with, as in ``Frequency [Hz]``."""
    inside = field.rpartition("[")[2].partition("]")[0] if "[" in field else ""
    return to_base(inside)[1] if inside else "1"
