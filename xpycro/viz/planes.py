"""What a picture is drawn of: which two dims, cut down to what a screen shows, and the words for it.

May import numpy, xarray, the floors below and viz.style. Draws nothing.
"""

from __future__ import annotations

import math
import warnings

import numpy as np
import xarray as xr

from xpycro import schema
from xpycro.engine import chunked
from xpycro.errors import DimensionError
from xpycro.viz import style

__all__ = [
    "COSTLY", "MAX_CELLS", "MAX_PIXELS", "amplitude_phase", "blocks", "is_plane", "not_complex", "not_empty",
    "plane_of", "sizes", "stacked_over", "thin", "titled", "where",
]  # fmt: skip


MAX_PIXELS = 1_500_000


MAX_CELLS = 60_000  # of planes of uneven axes, where each cell is a shape of its own


COSTLY = 256 * 2**20  # bytes; what reads more says so before it does


def not_empty(da: xr.DataArray) -> None:
    """Refuse arrays that hold nothing to draw."""
    if da.dtype.kind not in "biufc":
        raise TypeError(f"cannot draw values of type {da.dtype}; numbers are needed")
    if da.size == 0:
        raise DimensionError(f"nothing to draw: this array is empty ({sizes(da)})")
    if da.ndim == 0:
        raise DimensionError(f"nothing to draw: this is a single number, {da.name or 'value'} = {da.values}")


def not_complex(da: xr.DataArray) -> None:
    """Refuse complex arrays where one real quantity is drawn."""
    if da.dtype.kind == "c":
        raise TypeError(
            f"{da.name or 'this array'} is of type {da.dtype}, and real values are drawn here: pass np.abs(da), "
            "da.real or da.imag, or use complex()"
        )


def plane_of(da: xr.DataArray, x: str | None = None, y: str | None = None) -> tuple[str, str]:
    """The two dims (vertical, horizontal) that a picture of `da` is drawn over; all others must have one entry.

    Raises
    ------
    DimensionError
        If there are not two such dims; the message says how to cut the array down.
    """
    dims = [str(d) for d in da.dims]
    for name in (x, y):
        if name is not None and name not in dims:
            raise DimensionError(f"{name!r} is no dimension of this array, which has {dims}")
    if x is not None and y is not None:
        pair = (y, x)
    else:
        plane = schema.plane_dims(da)
        wide = [d for d in dims if da.sizes[d] > 1]
        if plane is None and len(wide) != 2 and len(dims) != 2:
            raise DimensionError(
                f"a picture needs two dimensions; this array has {sizes(da)}: pass x= and y=, or cut it with isel"
            )
        pair = plane or (wide[0], wide[1]) if len(wide) == 2 or plane else (dims[0], dims[1])
        # what an observation spans runs along the picture, observations stand above each other
        if plane is None and schema.dimension_type(da, pair[0]) in ("spectral", "temporal"):
            if schema.dimension_type(da, pair[1]) not in ("spectral", "temporal"):
                pair = (pair[1], pair[0])
        if x is not None or y is not None:
            given = x or y
            other = next((d for d in pair if d != given), None)
            assert other is not None
            pair = (other, given) if x is not None else (given, other)  # type: ignore[assignment]
    left = {d: da.sizes[d] for d in dims if d not in pair and da.sizes[d] != 1}
    if left:
        cut = ", ".join(f"{d}=0" for d in left)
        raise DimensionError(
            f"a picture has two dimensions, here {list(pair)}, and this array also has {left}: "
            f"choose one plane, as in isel({cut}), or use explore() or maps()"
        )
    if pair[0] == pair[1]:
        raise DimensionError(f"x and y are both {pair[0]!r}; a picture needs two different dimensions of {dims}")
    return pair


def is_plane(da: xr.DataArray) -> bool:
    """Whether an array is one picture of lengths or reciprocal lengths."""
    plane = schema.plane_dims(da)
    return plane is not None and all(n == 1 for d, n in da.sizes.items() if d not in plane) and da.dtype.kind in "biufc"


def stacked_over(da: xr.DataArray, over: str | None) -> tuple[str, tuple[str, str]]:
    """The dim that planes are stacked over, and the plane's dims.

    Raises
    ------
    DimensionError
        If that cannot be decided.
    """
    dims = [str(d) for d in da.dims]
    if over is not None and over not in dims:
        raise DimensionError(f"over={over!r}: no such dimension; this array has {sizes(da)}")
    plane = schema.plane_dims(da.isel({over: 0}) if over else da)
    rest = [d for d in dims if d not in (plane or ()) and d != over]
    if over is None and plane is not None and len(rest) == 1:
        return rest[0], plane
    if over is not None and plane is None and len(rest) == 2:
        return over, (rest[0], rest[1])
    if over is None or plane is None or rest:
        raise DimensionError(f"over={over!r}: a stack is a plane and one dimension more; this array has {sizes(da)}")
    return over, plane


def blocks(da: xr.DataArray, dims: tuple[str, str], most: int = MAX_PIXELS) -> tuple[int, int]:
    """How many pixels along each dim of a plane become one, for at most `most` of them."""
    if not all(style.axis(da, d).even for d in dims):
        most = min(most, MAX_CELLS)
    pixels = da.sizes[dims[0]] * da.sizes[dims[1]]
    along = [min(n, max(1, math.ceil(math.sqrt(pixels / most)))) for n in (da.sizes[d] for d in dims)]
    while math.prod(math.ceil(da.sizes[d] / n) for d, n in zip(dims, along, strict=True)) > most:
        along[int(da.sizes[dims[1]] / along[1] > da.sizes[dims[0]] / along[0])] += 1
    return along[0], along[1]


def thin(da: xr.DataArray, dims: tuple[str, str], most: int = MAX_PIXELS) -> tuple[xr.DataArray, str]:
    """A plane of at most `most` pixels, and the words that say what was done to it.

    Pixels are means of blocks, so that a lattice finer than the screen leaves no moiré; of labels, phases and complex
    numbers, whose mean says something else, every n-th. Planes of uneven axes are drawn cell by cell and get fewer.
    What reads more than 256 MB is said before.
    """
    if chunked.is_lazy(da) and da.nbytes > COSTLY:
        warnings.warn(f"drawing {da.name or 'this array'} reads {da.nbytes / 2**30:.1f} GiB or more", stacklevel=3)
    along = blocks(da, dims, most)
    if max(along) == 1:
        return da, ""
    counted = {d: style.axis(da, d) for d in dims if d not in da.coords}
    da = da.assign_coords({d: (d, a.values, {"units": a.unit or "1"}) for d, a in counted.items()})
    steps = dict(zip(dims, along, strict=True))
    words = " × ".join(str(n) for n in along)
    named = any(c.dtype.kind not in "fiu" for c in da.coords.values() if set(c.dims) & set(dims))
    if da.dtype.kind == "c" or style.is_labels(da) or named or da.attrs.get("units") in ("rad", "degree", "deg"):
        return da.isel({d: slice(None, None, n) for d, n in steps.items()}), f" (one of {words} pixels)"
    means = chunked.lazily(da).coarsen(steps, boundary="trim").mean(keep_attrs=True)  # type: ignore[attr-defined]
    return means, f" (means of {words} pixels)"


def amplitude_phase(da: xr.DataArray) -> list[xr.DataArray]:
    """Amplitude (units of the data) and phase (rad) of a complex array, named and labelled; lazy where it is."""
    label = str(da.attrs.get("long_name") or da.name or "Response").replace("_", " ")
    keep = {k: v for k, v in da.attrs.items() if k == "units"}
    name = str(da.name or "response")
    amplitude = xr.DataArray(np.abs(da)).rename(f"{name}_amplitude")
    phase = xr.DataArray(np.arctan2(da.imag, da.real)).rename(f"{name}_phase")
    amplitude.attrs = keep | {"long_name": f"{label} amplitude"}
    phase.attrs = {"units": "rad", "long_name": f"{label} phase"}
    return [amplitude, phase]


def where(da: xr.DataArray) -> str:
    """Where a cut lies, in words, from the scalar coordinates it kept."""
    words = []
    for name, coord in sorted(da.coords.items(), key=lambda item: str(item[0]) if item[0] in ("x", "y") else "~"):
        if coord.ndim == 0 and (name in schema.DIMENSIONS or "dimension_type" in coord.attrs):
            words.append(style.axis(coord.expand_dims(str(name)), str(name)).text(0))
    return ", ".join(words)


def titled(name: str, place: str) -> str:
    """A title: what, and where."""
    return (f"{name} at {place}" if "=" in place else f"{name}, {place}") if place else name


def sizes(da: xr.DataArray) -> str:
    return ", ".join(f"{d}={n}" for d, n in da.sizes.items()) or "none"
