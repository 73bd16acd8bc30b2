"""Point spectroscopy of older NT-MDT software: frames of 16-bit numbers, one curve, or two at each of several points.

May import numpy, xarray, schema, units, its sibling _mdtspectra and io below.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from xpycro.io.cursor import Cursor
from xpycro.io.rawarray import PaddedArray, RawArray, StackedArray
from xpycro.io.translators import _common as common
from xpycro.io.translators._mdtspectra import SWEPT
from xpycro.schema import coordinate, identifiers
from xpycro.units import to_base

__all__ = ["curves"]


def curves(
    path: str, cursor: Cursor, start: int, end: int, variables: int, when: str | None, units: Mapping[int, str]
) -> xr.Dataset:
    """One frame: ``(<swept>,)`` or ``(sweep, <swept>)`` without points, ``(position, direction, <swept>)`` with them.

    The numbers are scaled as those of an image; forward and backward curves run along the same axis, and shorter ones
    end in NaN.
    """
    scales: list[tuple[Any, ...]] = [cursor.unpack("<ffh", "axis scale") for _ in range(3)]
    for scale, step, unit in scales:
        if not (math.isfinite(scale) and math.isfinite(step)) or unit not in units:
            raise cursor.corrupt(f"a scale of {step} + {scale} in unit {unit}", "axis scale", start)
    cursor.seek(start + 22 + variables, "frame mode")
    _, width, height, dots = (cursor.integer("<u2", "frame mode") for _ in range(4))
    places, sizes, length = _places(cursor, dots, units)
    numbers = int(sizes.sum()) if dots else width * height
    offset = cursor.position
    cursor.block((numbers,), 2, "frame mode")
    cursor.skip(2 * numbers, "numbers")
    if not numbers or cursor.position > end:
        raise cursor.corrupt(f"{numbers} numbers in a frame that ends at {end}", "frame mode", start)
    title = ""
    if end - cursor.position >= 4:
        size = cursor.integer("<u4", "title")
        if size > end - cursor.position:
            raise cursor.corrupt(f"a title of {size} bytes", "title")
        title = cursor.read(size, "title").decode("cp1251", "replace").strip("\0 ")
    (origin, step, unit), (constant, factor, value_unit) = scales[0], scales[2]
    x_factor, x_base = to_base(units[unit])
    z_factor, z_base = to_base(units[value_unit])
    factor = (factor or 1.0) * z_factor
    if not 1e-40 < abs(factor) < 1e40:
        raise cursor.corrupt(f"a scale of {factor}", "axis scale", start)

    def piece(first: int, shape: tuple[int, ...]) -> RawArray:
        return RawArray.contiguous(
            path, offset + 2 * first, "<i2", shape, factor=factor, constant=constant * z_factor, target=np.float64
        )

    raw: RawArray | StackedArray | PaddedArray
    dim = SWEPT.get(x_base, "step")
    points = int(sizes.max()) if dots else width
    values = (origin + np.arange(points) * (abs(step) or 1.0)) * x_factor
    kind = "temporal" if dim == "time" else "spectral"
    coords: dict[str, Any] = {dim: coordinate(dim, values, units=x_base, dimension_type=kind)}
    dims: tuple[str, ...] = (dim,)
    if dots:
        firsts = np.concatenate([[0], np.cumsum(sizes.ravel())[:-1]]).reshape(sizes.shape)
        rows = [
            tuple(PaddedArray(piece(int(first), (int(size),)), points) for first, size in zip(*row, strict=True))
            for row in zip(firsts, sizes, strict=True)
        ]
        raw = StackedArray(tuple(StackedArray(row) for row in rows))
        dims = ("position", "direction", dim)
        coords["direction"] = common.direction_coordinate()
        coords |= {k: coordinate("position", places[:, n] * length, name=k) for n, k in enumerate(("x", "y"))}
    elif height > 1:
        raw, dims = piece(0, (height, width)), ("sweep", dim)
    else:
        raw = piece(0, (width,))
    name = identifiers([title or "Curve"], [*coords, *dims])[0]
    return common.dataset(
        {name: common.lazy_variable(dims, raw, title or "Curve", z_base)},
        coords,
        {"scales": [list(scale) for scale in scales], "title": title, "points": dots},
        modality="scanning probe microscopy",
        instrument="NT-MDT",
        data_type="spectrum",
        acquired=when,
    )


def _places(cursor: Cursor, dots: int, units: Mapping[int, str]) -> tuple[np.ndarray, np.ndarray, float]:
    """Where each point lies, the lengths of its curves forth and back, and the metres of a unit of place."""
    if not dots:
        return np.empty((0, 2)), np.zeros((0, 2), dtype=np.int64), 1.0
    cursor.skip(4, "points")
    size, _ = cursor.integer("<i4", "points"), cursor.integer("<i4", "points")
    unit = cursor.integer("<i2", "points")
    if size != 16 or unit not in units:
        raise cursor.corrupt(f"points of {size} bytes in unit {unit}: expected 16", "points")
    cursor.need(16 * dots, "points")
    table = np.frombuffer(cursor.read(16 * dots, "points"), np.dtype([("place", "<f4", 2), ("size", "<i4", 2)]))
    sizes = table["size"].astype(np.int64)
    if sizes.min() < 0 or not np.isfinite(table["place"]).all():
        raise cursor.corrupt("a curve of a negative length, or a place that is none", "points")
    factor, base = to_base(units[unit])
    return table["place"].astype(np.float64), sizes, factor if base == "m" else 1.0
