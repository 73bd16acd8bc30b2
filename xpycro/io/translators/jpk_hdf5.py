"""JPK images and movies in plain HDF5 (``.h5-jpk``): one table a channel, pixels by frames, scaled by its attributes.

May import numpy, xarray, schema, units and the io modules below it, h5py inside functions.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import xarray as xr

from xpycro.errors import CorruptFile, NotThisFormat, UnsupportedVariant
from xpycro.io import hdf5_array
from xpycro.io.hdf5_guard import opened
from xpycro.io.translators import _common as common
from xpycro.io.translators import _h5tools as h5
from xpycro.schema import coordinate, identifier, identifiers
from xpycro.units import to_base

__all__ = ["images"]

_GRID = "position-pattern.grid."
_SCALING = "net-encoder.scaling."
_SIDE = 1 << 20  # pixels


def images(path: str) -> dict[str, xr.Dataset]:
    """Read the images of a JPK HDF5 file (``.h5-jpk``).

    Parameters
    ----------
    path : str

    Returns
    -------
    dict of str to Dataset
        A group a measurement. Each channel over ``(y, x)``, with ``direction`` where trace and retrace were kept and
        ``frame`` where there are several images; ``time(frame)`` in s where the line rate is stated.

    Raises
    ------
    NotThisFormat, CorruptFile, UnsupportedVariant

    Notes
    -----
    Written from published facts, not from a real file: the pixels run from the lower left along the fast axis, and the
    retrace lies in place. Lengths are m, numbers are stored x multiplier + offset in the unit that the file states.
    *Laziness*: no numbers are read.
    """
    with opened(path, whole=True) as (file, contents):
        names = sorted({name.strip("/").split("/")[0] for name in contents.datasets})
        found = [n for n in names if n.startswith("Measurement_") and f"{_GRID}ilength" in file[n].attrs]
        if not found:
            raise NotThisFormat("no group 'Measurement_*' with the grid of a JPK instrument", path=path)
        read = {name: _measurement(path, file[name]) for name in found}
    return {"": read[found[0]]} if len(found) == 1 else {identifier(name): ds for name, ds in read.items()}


def _measurement(path: str, group: Any) -> xr.Dataset:
    import h5py

    attrs = h5.attributes(group)
    nx, ny = (_size(path, attrs, f"{_GRID}{key}") for key in ("ilength", "jlength"))
    tables = [
        (channel, table)
        for channel in (group[name] for name in sorted(group) if name.startswith("Channel_"))
        if isinstance(channel, h5py.Group)
        for table in (channel[name] for name in sorted(channel))
        # lists such as the time of each frame are no images
        if isinstance(table, h5py.Dataset) and table.dtype.kind in "fiu" and table.size and table.ndim == 2
    ]
    if not tables:
        raise UnsupportedVariant("a measurement without images", path=path, field=group.name)
    shapes = {table.shape for _, table in tables}
    if len(shapes) > 1 or any(shape[0] != nx * ny for shape in shapes):
        raise CorruptFile(
            f"images of {nx} x {ny} pixels need tables of {nx * ny} rows and one number of columns, and they have the "
            f"shapes {sorted(shapes)}",
            path=path,
            field=group.name,
        )
    count = int(shapes.pop()[1])
    coords = common.image_coordinates(
        nx, ny, _number(path, attrs, f"{_GRID}ulength"), _number(path, attrs, f"{_GRID}vlength")
    )
    if count > 1:
        coords["frame"] = coordinate("frame", np.arange(count))
        rate = _number(path, attrs, "timing-settings.scanRate")
        if rate is not None and rate > 0:
            coords["time"] = coordinate("frame", np.arange(count) * (ny / rate), name="time", units="s")
    variables = _variables(path, tables, (ny, nx), count, _said(attrs, f"{_GRID}reflect"))
    if any("direction" in variable.dims for variable in variables.values()):
        coords["direction"] = common.direction_coordinate()
    angle = _number(path, attrs, f"{_GRID}theta")
    return common.dataset(
        variables,
        coords,
        {**attrs, "channels": {channel.name.split("/")[-1]: h5.attributes(channel) for channel, _ in tables}},
        modality="atomic force microscopy",
        instrument="JPK",
        data_type="image_stack" if count > 1 else "image",
        scan_angle=angle,
        scan_width=_number(path, attrs, f"{_GRID}ulength"),
        scan_height=_number(path, attrs, f"{_GRID}vlength"),
        scan_center_x=_number(path, attrs, f"{_GRID}xcenter"),
        scan_center_y=_number(path, attrs, f"{_GRID}ycenter"),
    )


def _variables(
    path: str, tables: list[tuple[Any, Any]], shape: tuple[int, int], count: int, reflected: bool
) -> dict[str, xr.Variable]:
    """Each channel; trace and retrace along ``direction``."""
    rows = np.arange(math.prod(shape)).reshape(shape)[::-1] if reflected else None
    by_name: dict[tuple[str, str], dict[str, Any]] = {}
    for channel, table in tables:
        attrs = h5.attributes(channel)
        title = h5.text(attrs.get("channel.fancy-name") or attrs.get("channel.name")) or table.name.split("/")[-1]
        scale, units = to_base(h5.text(attrs.get(f"{_SCALING}unit.unit"), "1") or "1")
        multiplier = _number(path, attrs, f"{_SCALING}multiplier")
        factor = 1.0 if multiplier is None else multiplier
        constant = _number(path, attrs, f"{_SCALING}offset") or 0.0
        if factor == 0:
            raise CorruptFile("is 0", path=path, field=f"{channel.name}: {_SCALING}multiplier")
        raw = hdf5_array.table(
            table, shape, (count,) if count > 1 else (), rows=rows, factor=factor * scale, constant=constant * scale,
            columns_first=True,
        )  # fmt: skip
        said = common.DIRECTIONS[_said(attrs, "retrace")]
        parts = by_name.setdefault((title, units), {})
        if said in parts:
            raise CorruptFile(f"{title!r} comes twice as {said}", path=path, field=channel.name)
        parts[said] = raw
    variables = {}
    dims = (*(["frame"] if count > 1 else []), "y", "x")
    names = identifiers([title for title, _ in by_name], ["y", "x", "frame", "direction", "time"])
    for label, ((title, units), parts) in zip(names, by_name.items(), strict=True):
        if len(parts) == 1:
            ((said, raw),) = parts.items()
            variables[label] = hdf5_array.variable(dims, raw, title, units, direction=said)
        else:
            both = common.stack([parts[said] for said in common.DIRECTIONS])
            variables[label] = common.lazy_variable(("direction", *dims), both, title, units)
    return variables


def _size(path: str, attrs: dict[str, Any], key: str) -> int:
    value = _number(path, attrs, key)
    if value is None or value != int(value) or not 0 < value <= _SIDE:
        raise CorruptFile(f"is {attrs.get(key)!r}: expected a number of pixels", path=path, field=key)
    return int(value)


def _number(path: str, attrs: dict[str, Any], key: str) -> float | None:
    """A number among the attributes, which may be text; None where it is missing."""
    if key not in attrs:
        return None
    try:
        value = float(h5.text(attrs[key]))
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise CorruptFile(f"is {str(attrs[key])[:40]!r}: expected a number", path=path, field=key)
    return value


def _said(attrs: dict[str, Any], key: str) -> bool:
    return h5.text(attrs.get(key)).lower() in ("true", "1")
