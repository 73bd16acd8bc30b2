"""`open_many`: several files as one lazy Dataset, along files, positions or scan directions.

May import xarray, provenance, schema and the opening module; knows no format itself.
"""

from __future__ import annotations

import glob
import os
import re
import warnings
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import numpy as np
import xarray as xr

from xpycro import provenance
from xpycro.errors import TranslationError
from xpycro.io import formats, frame, opening
from xpycro.schema import coordinate, decode_metadata, encode_metadata

__all__ = ["open_many"]

Paths = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]
Join = Literal["exact", "outer", "interp"]

_OWN = ("original_metadata", provenance.HISTORY)  # attributes of one file that are not compared
_DIRECTIONS = ("forward", "backward")


def open_many(
    paths: Paths,
    *,
    dim: str = "file",
    join: Join = "exact",
    on_error: Literal["raise", "skip"] = "raise",
    group: str | None = None,
    format: str | None = None,
    chunks: opening.Chunks = "auto",
    **reader_options: Any,
) -> xr.Dataset:
    """Open several files as one Dataset along a new dim.

    Parameters
    ----------
    paths : path-like, glob pattern, or iterable of paths
        Of a folder every file that a format recognises, in natural order (``a2`` before ``a10``), folders in it left
        out; so for a pattern such as ``"spectra/*.dat"``. An iterable is taken as it is.
    dim : str, optional
        ``"file"``: one after another. ``"position"``: each file at its place in the frame of the instrument,
        coordinates ``y(position)``, ``x(position)``; of images and grids every pixel is a position (`lab_frame`).
        ``"direction"``: files that hold one scan direction each are joined, forward first. Any other name of the
        schema works as ``"file"`` does.
    join : {"exact", "outer", "interp"}, optional
        What to do where axes differ: raise, fill with NaN, or interpolate linearly onto the axes of the first file.
        Points that are only counted (of force curves) are filled at the end.
    on_error : {"raise", "skip"}, optional
        ``"skip"`` leaves out files that cannot be read, warns, and names them in the attribute ``skipped_files``.
    group, format, chunks, **reader_options
        As for `open`, for every file.

    Returns
    -------
    Dataset
        Every variable of the files with `dim` first. ``source(<dim>)`` names each file; what differs between their
        attributes (bias, setpoint, time of acquisition, ...) is a coordinate along `dim`, what agrees an attribute.

    Raises
    ------
    FileNotFoundError
        If nothing matches.
    ValueError
        If variables, axes or units of the files differ in a way that `join` does not allow, or a file has no position
        or no direction; the message names the files.
    TranslationError
        If a file cannot be read and ``on_error="raise"``.

    Notes
    -----
    *Laziness*: lazy; of each file what opening it costs. ``join="interp"`` interpolates when computed.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> header = b"Gwyddion Simple Field 1.0\\nXRes = 3\\nYRes = 2\\n"
    >>> header += b"\\0" * (4 - len(header) % 4)
    >>> for name in ("scan_10.gsf", "scan_9.gsf"):
    ...     _ = (folder / name).write_bytes(header + bytes(24))
    >>> ds = open_many(folder)
    >>> ds.data.dims, ds.source.values.tolist()
    (('file', 'y', 'x'), ['scan_9.gsf', 'scan_10.gsf'])
    """
    if join not in ("exact", "outer", "interp"):
        raise ValueError(f"join={join!r}: expected 'exact', 'outer' or 'interp'")
    if on_error not in ("raise", "skip"):
        raise ValueError(f"on_error={on_error!r}: expected 'raise' or 'skip'")
    files = _files(paths)
    found: list[tuple[str, xr.Dataset]] = []
    skipped: dict[str, str] = {}
    for path in files:
        try:
            ds = opening.open(path, group=group, format=format, chunks=chunks, **reader_options)
        except (TranslationError, OSError) as error:
            if on_error == "raise":
                raise
            skipped[path] = str(error)
            continue
        found.append((path, ds))
    if skipped:
        warnings.warn(f"{len(skipped)} of {len(files)} files were left out: {skipped}", stacklevel=2)
    if not found:
        raise FileNotFoundError(f"none of {len(files)} files could be read: {skipped}")
    names = _short([path for path, _ in found])
    datasets = [ds for _, ds in found]
    result = _joined_directions(names, datasets, join) if dim == "direction" else _along(names, datasets, dim, join)
    if skipped:
        result.attrs["skipped_files"] = encode_metadata(skipped)
    return _with_history(result, found, {"dim": dim, "join": join, "group": group, "options": reader_options})


# ----------------------------------------------------------------------------------------------------------- files


def _natural(path: str) -> list[Any]:
    """Sort key by which ``a2`` comes before ``a10``."""
    return [int(part) if part.isdigit() else part.lower() for part in re.split(r"(\d+)", path)]


def _files(paths: Paths) -> list[str]:
    """The files meant, in order."""
    if not isinstance(paths, str | os.PathLike):
        files = [os.fspath(path) for path in paths]
        if not files:
            raise FileNotFoundError("paths is empty: expected files, a folder or a pattern")
        return files
    text = os.path.expanduser(os.fspath(paths))
    if os.path.isdir(text):
        names = sorted((entry.path for entry in os.scandir(text) if entry.is_file()), key=_natural)
        table = formats.known().values()
        files = [name for name in names if formats.by_content(name, formats.head_of(name), table)]
        if not files:
            raise FileNotFoundError(f"no file of a known format among the {len(names)} of {text!r}")
        return files
    if os.path.exists(text):
        return [text]
    files = sorted((name for name in glob.glob(text, recursive=True) if os.path.isfile(name)), key=_natural)
    if not files:
        raise FileNotFoundError(
            f"nothing matches {text!r}: expected files, a folder or a pattern such as 'scans/*.dat'"
        )
    return files


def _short(paths: Sequence[str]) -> list[str]:
    """File names; with their folders where two are alike."""
    names = [os.path.basename(path) for path in paths]
    return names if len(set(names)) == len(names) else list(paths)


def _with_history(ds: xr.Dataset, found: Sequence[tuple[str, xr.Dataset]], parameters: dict[str, Any]) -> xr.Dataset:
    """The history: one step with all files, whose own sources it names."""
    sources = [provenance.History.of(one).source for _, one in found]
    kinds = sorted({str(source.get("format")) for source in sources})
    size = sum(int(source.get("size") or 0) for source in sources)
    recorded = provenance.record(ds, "open_many", {"paths": [os.path.abspath(p) for p, _ in found], **parameters})
    name = f"{len(found)} files"
    return provenance.sourced(recorded, {"name": name, "format": ", ".join(kinds), "size": size, "files": sources})


# ----------------------------------------------------------------------------------------------------------- along


def _along(names: list[str], datasets: list[xr.Dataset], dim: str, join: Join) -> xr.Dataset:
    """One after another along a dim."""
    _same_variables(names, datasets, join)
    if dim == "position":
        datasets = [_placed(name, ds) for name, ds in zip(names, datasets, strict=True)]
    taken = [name for name, ds in zip(names, datasets, strict=True) if dim in ds.dims and dim != "position"]
    if taken:
        raise ValueError(f"dim={dim!r}: {taken[0]} has this dim already; choose another")
    datasets = _on_one_grid(names, datasets, join, dim)
    lengths = [ds.sizes[dim] if dim in ds.dims else 1 for ds in datasets]
    attrs, varying = _conditions(names, datasets)
    bare = [
        ds.drop_attrs(deep=False) if dim in ds.dims else ds.drop_attrs(deep=False).expand_dims(dim) for ds in datasets
    ]
    bare = [_spread(ds, dim, bare) for ds in bare]
    result = xr.concat(
        bare, dim, data_vars="all", coords="minimal", compat="override", join="outer", combine_attrs="override"
    )
    if dim != "position":
        result = result.assign_coords({dim: coordinate(dim, np.arange(len(datasets)))})
    for name, values in {"source": names, **varying}.items():
        label = name if name not in result.variables else f"{name}_of_file"
        repeated = np.repeat(np.array(values), lengths)
        units = (
            {"units": str(attrs.get(f"{name}_units") or _UNITS.get(name, "1"))} if repeated.dtype.kind in "fiu" else {}
        )
        result = result.assign_coords({label: (dim, repeated, {"long_name": name.replace("_", " "), **units})})
    return result.assign_attrs(attrs)


_UNITS = {
    "bias": "V", "position_x": "m", "position_y": "m", "position_z": "m", "scan_angle": "rad", "scan_center_x": "m",
    "scan_center_y": "m", "scan_width": "m", "scan_height": "m", "spring_constant": "N/m",
    "deflection_sensitivity": "m/V",
}  # fmt: skip


def _same_variables(names: Sequence[str], datasets: Sequence[xr.Dataset], join: Join) -> None:
    """Raise where the files do not hold the same things: other variables (unless joined outer), dims or units."""
    first = datasets[0]
    problems = []
    for name, ds in zip(names[1:], datasets[1:], strict=True):
        if set(ds.data_vars) != set(first.data_vars) and join == "exact":
            only = sorted(map(str, set(ds.data_vars) ^ set(first.data_vars)))
            problems.append(f"{name}: the variables {only} are not in both; pass join='outer' to fill them with NaN")
            continue
        for variable in set(ds.data_vars) & set(first.data_vars):
            a, b = first[variable], ds[variable]
            if a.dims != b.dims:
                problems.append(f"{name}: {variable} has the dims {b.dims}")
            elif a.attrs.get("units") != b.attrs.get("units"):
                problems.append(f"{name}: {variable} is in {b.attrs.get('units')!r}, not {a.attrs.get('units')!r}")
    if problems:
        more = f" and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise ValueError(
            f"the files do not fit {names[0]}: " + "; ".join(problems[:5]) + more + ". Open each kind of measurement "
            "by itself: pass a pattern such as 'spectra/Bias*.dat', or a list of paths"
        )


def _placed(name: str, ds: xr.Dataset) -> xr.Dataset:
    """A Dataset with the dim ``position``: its own, one place, or the pixels of an image or grid."""
    if "position" in ds.dims:
        return ds
    for axis in ("y", "x"):
        value = ds.attrs.get(f"position_{axis}")
        if axis not in ds.coords and axis not in ds.dims and value is not None:
            ds = ds.assign_coords({axis: coordinate((), float(value), name=axis)})
    try:
        placed = frame.positions(ds)
    except ValueError as error:
        raise ValueError(
            f"dim='position': {name} does not say where it was measured ({error}); use dim='file'"
        ) from error
    placed.attrs = {k: v for k, v in placed.attrs.items() if k not in ("position_x", "position_y")}
    return placed


def _on_one_grid(names: Sequence[str], datasets: list[xr.Dataset], join: Join, new: str) -> list[xr.Dataset]:
    """Axes made equal as `join` says."""
    first = datasets[0]
    differing: dict[str, list[str]] = {}
    for name, ds in zip(names[1:], datasets[1:], strict=True):
        for dim in map(str, set(ds.dims) & set(first.dims)):
            if dim != new and not _same_axis(first, ds, dim):
                differing.setdefault(dim, []).append(name)
    if not differing:
        return datasets
    if join == "exact":
        said = "; ".join(f"{dim} of {', '.join(some[:3])}{' ...' * (len(some) > 3)}" for dim, some in differing.items())
        raise ValueError(
            f"the axes differ from those of {names[0]}: {said}. Pass join='outer' (fill with NaN) or join='interp' "
            "(interpolate onto the first file's axes), or open fewer files"
        )
    bare = [dim for dim in differing if any(dim not in ds.indexes for ds in datasets if dim in ds.dims)]
    text = [dim for dim in differing if dim not in bare and not _numeric(first, dim)]
    if join == "outer" and bare:  # points that are only counted: shorter curves end in NaN
        datasets = _padded(datasets, bare)
        differing = {dim: some for dim, some in differing.items() if dim not in bare}
        bare = []
    if bare or (join == "interp" and text):
        raise ValueError(f"join={join!r}: {bare or text} differ in length and have no numbers as coordinate to join by")
    if join == "interp":
        target = {dim: first[dim] for dim in differing}
        return [first, *(ds.interp({d: v for d, v in target.items() if d in ds.dims}) for ds in datasets[1:])]
    return list(
        xr.align(*datasets, join="outer", exclude=[d for ds in datasets for d in ds.dims if d not in differing])
    )


def _padded(datasets: list[xr.Dataset], dims: Sequence[str]) -> list[xr.Dataset]:
    """Every Dataset as long as the longest along dims without coordinate; what was added is NaN."""
    longest = {dim: max(ds.sizes.get(dim, 0) for ds in datasets) for dim in dims}
    padded = []
    for ds in datasets:
        width = {dim: (0, n - ds.sizes[dim]) for dim, n in longest.items() if dim in ds.dims and ds.sizes[dim] < n}
        padded.append(ds.pad(width, keep_attrs=True) if width else ds)
    return padded


def _numeric(ds: xr.Dataset, dim: str) -> bool:
    return ds[dim].dtype.kind in "fiu"


def _same_axis(a: xr.Dataset, b: xr.Dataset, dim: str) -> bool:
    """Whether an axis is the same: equal, or equal up to rounding."""
    if a.sizes[dim] != b.sizes[dim] or (dim in a.indexes) != (dim in b.indexes):
        return False
    if dim not in a.indexes:
        return True
    left, right = a[dim].values, b[dim].values
    if left.dtype.kind not in "fiu":
        return bool(np.array_equal(left, right))
    return bool(np.allclose(left, right, rtol=1e-9, atol=1e-9 * float(np.ptp(left)) if left.size else 0.0))


def _spread(ds: xr.Dataset, dim: str, datasets: Sequence[xr.Dataset]) -> xr.Dataset:
    """Coordinates that differ between the files get the new dim (a bias that drifts along ``step``)."""
    first = datasets[0]
    fresh: dict[str, Any] = {}
    for name, coord in ds.coords.items():
        if dim in coord.dims or name in ds.dims:
            if name in ds.dims and name in first.coords and first[name].shape == coord.shape and name != dim:
                fresh[str(name)] = first[name]  # equal up to rounding: the first's numbers, so that labels agree
            continue
        others = [one.coords[name] for one in datasets if name in one.coords]
        if len(others) < len(datasets) or any(not coord.variable.equals(other.variable) for other in others):
            fresh[str(name)] = coord.expand_dims(dim)
    return ds.assign_coords(fresh)


def _conditions(names: Sequence[str], datasets: Sequence[xr.Dataset]) -> tuple[dict[str, Any], dict[str, list[Any]]]:
    """Attributes on which all agree, and those that vary, a value a file."""
    agreed: dict[str, Any] = {}
    varying: dict[str, list[Any]] = {}
    keys = [key for key in dict.fromkeys(k for ds in datasets for k in ds.attrs) if key not in _OWN]
    for key in keys:
        values: list[Any] = [ds.attrs.get(key) for ds in datasets]
        if all(value is not None and np.array_equal(value, values[0]) for value in values):
            agreed[key] = values[0]
        elif all(value is None or isinstance(value, bool | int | float | np.number) for value in values):
            varying[key] = [np.nan if value is None else float(value) for value in values]
        else:
            varying[key] = ["" if value is None else str(value) for value in values]
    metadata = {
        name: decode_metadata(ds.attrs.get("original_metadata")) for name, ds in zip(names, datasets, strict=True)
    }
    return {**agreed, "original_metadata": encode_metadata(metadata)}, varying


# ------------------------------------------------------------------------------------------------------- direction


def _joined_directions(names: list[str], datasets: list[xr.Dataset], join: Join) -> xr.Dataset:
    """Files of one direction each: variables of one name along ``direction``, others as they are."""
    datasets = _on_one_grid(names, datasets, join, "direction")
    parts: dict[str, dict[str, tuple[str, xr.DataArray]]] = {}
    for name, ds in zip(names, datasets, strict=True):
        for variable, da in ds.data_vars.items():
            said = str(da.attrs.get("direction", ""))
            if "direction" in da.dims or said not in _DIRECTIONS:
                raise ValueError(
                    f"dim='direction': {variable} of {name} does not say which of {_DIRECTIONS} it is: use dim='file'"
                )
            before = parts.setdefault(str(variable), {})
            if said in before:
                raise ValueError(f"dim='direction': {variable} is {said} in {before[said][0]} and in {name}")
            before[said] = (name, da)
    first = datasets[0]
    variables: dict[str, xr.DataArray] = {}
    for variable, by in parts.items():
        aligned = [_spread_to(first, by[said][1]) for said in _DIRECTIONS if said in by]
        if len(aligned) == 1:
            variables[variable] = aligned[0]
            continue
        if aligned[0].attrs.get("units") != aligned[1].attrs.get("units"):
            raise ValueError(f"{variable} has other units in {by['backward'][0]} than in {by['forward'][0]}")
        joined = xr.concat(
            aligned, "direction", coords="minimal", compat="override", join="outer", combine_attrs="override"
        )
        variables[variable] = joined.assign_attrs({k: v for k, v in joined.attrs.items() if k != "direction"})
        variables[variable].attrs.pop("direction", None)
    attrs, varying = _conditions(names, datasets)
    result = xr.Dataset(variables, attrs=attrs)
    if "direction" in result.dims:
        result = result.assign_coords(direction=coordinate("direction", np.array(_DIRECTIONS)))
    where = {variable: {said: name for said, (name, _) in by.items()} for variable, by in parts.items()}
    return result.assign_attrs(source_files=encode_metadata(where), **_text_of(varying))


def _spread_to(first: xr.Dataset, da: xr.DataArray) -> xr.DataArray:
    """The axes of the first file where they are equal up to rounding."""
    same = {d: first[d] for d in da.dims if d in first.indexes and first.sizes[d] == da.sizes[d]}
    return da.assign_coords(same)


def _text_of(varying: dict[str, list[Any]]) -> dict[str, str]:
    """What varies between the files, as text."""
    return {"conditions_that_vary": encode_metadata(varying)} if varying else {}
