"""What translators share: lazily read variables, image coordinates, dates, the finished Dataset.

May import numpy, xarray, schema, units and the io modules below it; knows no format.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np
import xarray as xr

from xpycro.io.rawarray import ComplexArray, PaddedArray, RawArray, StackedArray, lazy
from xpycro.schema import coordinate, encode_metadata

__all__ = ["DIRECTIONS", "dataset", "decoded", "image_coordinates", "iso_time", "lazy_variable",
           "segment_lengths", "segments", "stack"]  # fmt: skip

DIRECTIONS = ("forward", "backward")


def lazy_variable(
    dims: Sequence[str],
    raw: RawArray | StackedArray | PaddedArray | ComplexArray,
    long_name: str,
    units: str,
    **attrs: Any,
) -> xr.Variable:
    """A variable that reads its numbers from the file when they are used."""
    variable = xr.Variable(tuple(dims), lazy(raw), {"units": units, "long_name": long_name, **attrs})
    first: Any = raw
    while isinstance(first, StackedArray | PaddedArray | ComplexArray):
        inner = "real" if isinstance(first, ComplexArray) else "part"
        first = first.parts[0] if isinstance(first, StackedArray) else getattr(first, inner)
    variable.encoding["source"] = first.path
    return variable


def stack(
    parts: Sequence[RawArray | StackedArray | PaddedArray], axis: int = 0
) -> RawArray | StackedArray | PaddedArray:
    """Several arrays along a new axis; one alone as it is."""
    return StackedArray(tuple(parts), axis) if len(parts) > 1 else parts[0]


def segments(parts: Sequence[RawArray], axis: int) -> RawArray | StackedArray | PaddedArray:
    """The segments of curves along a new axis before the points; short ones end in NaN."""
    points = max(part.shape[-1] for part in parts)
    return StackedArray(tuple(p if p.shape[-1] == points else PaddedArray(p, points) for p in parts), axis)


def segment_lengths(lengths: Any, dims: Sequence[str] = ("segment",)) -> xr.Variable:
    """``length``: how many points each segment of a curve has."""
    return xr.Variable(tuple(dims), np.asarray(lengths), {"units": "1", "long_name": "Points recorded"})


def image_coordinates(
    nx: int, ny: int, width: float | None, height: float | None, units: str = "m"
) -> dict[str, xr.Variable]:
    """Coordinates ``y, x`` of an image: the centre of the lower left pixel is (0, 0), the step is size / n.

    Where a size is not positive or unknown the axis counts pixels.
    """
    coords = {}
    for name, n, size in (("y", ny, height), ("x", nx, width)):
        if size is None or not 0 < size < np.inf:
            coords[name] = coordinate(name, np.arange(n, dtype=np.float64), units="pixel")
        else:
            coords[name] = coordinate(name, np.arange(n) * (size / max(n, 1)), units=units)
    return coords


def direction_coordinate() -> xr.Variable:
    """The coordinate of ``direction``: forward, backward."""
    return coordinate("direction", np.array(DIRECTIONS))


def measured_variable(n: int, ny: int, nx: int) -> xr.Variable:
    """``measured(y, x)``: which pixels of an unfinished scan exist, where the first `n` in scan order do."""
    return xr.Variable(
        ("y", "x"), (np.arange(ny * nx) < n).reshape(ny, nx), {"units": "1", "long_name": "Measured pixels"}
    )


_DATES = (
    "%d.%m.%Y %H:%M:%S", "%Y-%m-%d %H:%M:%S", "%Y-%m-%d %I:%M:%S %p", "%d/%m/%Y %H:%M:%S", "%m/%d/%Y %I:%M:%S %p",
    "%I:%M:%S %p %a %b %d %Y", "%d-%m-%Y %H:%M:%S", "%d.%m.%Y", "%Y-%m-%d", "%d-%m-%Y", "%Y%m%d %H%M%S",
    "%m/%d/%y %H:%M:%S", "%Y-%m-%dT%H:%M:%S", "%Y.%m.%d %H:%M:%S",
)  # fmt: skip


def decoded(raw: bytes) -> str:
    """The text of a header: newer software writes UTF-8, older latin-1.

    Examples
    --------
    >>> decoded("Ω".encode()), decoded("µ".encode("latin-1"))
    ('Ω', 'µ')
    """
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def iso_time(text: str | None) -> str | None:
    """A date as instruments write it as ISO 8601; what cannot be understood as None (the header keeps it).

    Examples
    --------
    >>> iso_time("26.10.2021 10:48:37")
    '2021-10-26T10:48:37'
    """
    plain = re.sub(r"\s+", " ", (text or "").strip().strip('"'))
    for layout in _DATES:
        try:
            return datetime.strptime(plain, layout).isoformat()
        except ValueError:
            continue
    try:
        return datetime.fromisoformat(plain).isoformat()
    except ValueError:
        return None


def dataset(
    variables: Mapping[str, Any],
    coords: Mapping[str, Any],
    metadata: Mapping[str, Any],
    **attrs: Any,
) -> xr.Dataset:
    """The finished Dataset: attributes that are None are left out, the header is kept whole."""
    said = {name: value for name, value in attrs.items() if value is not None}
    return xr.Dataset(dict(variables), dict(coords), {**said, "original_metadata": encode_metadata(metadata)})
