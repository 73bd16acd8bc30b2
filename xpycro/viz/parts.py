"""What an explorer is made of: which dims are the map, which is the signal, which are left over; and small cubes.

May import numpy, xarray, the floors below and viz.style; draws nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import xarray as xr

from xpycro import schema
from xpycro.engine import chunked
from xpycro.errors import DimensionError
from xpycro.viz import style

T = TypeVar("T", xr.DataArray, xr.Dataset)

__all__ = ["Cube", "Parts", "cube", "resolve"]


@dataclass(frozen=True)
class Parts:
    """The roles of an array's dims in an explorer.

    Attributes
    ----------
    nav : tuple of str
        What the map is drawn over: two dims, or one (scattered positions, a line).
    signal : str
        What the spectrum runs along.
    rest : tuple of str
        Chosen by sliders where they move, else at their first entry.
    """

    nav: tuple[str, ...]
    signal: str
    rest: tuple[str, ...]


def resolve(da: xr.DataArray, nav: Sequence[str] | None = None, sig: str | None = None) -> Parts:
    """Which dims are map, signal and rest.

    Raises
    ------
    DimensionError
        If that cannot be decided; the message names the candidates and the arguments.
    """
    dims = [str(d) for d in da.dims]
    if sig is not None:
        signal = schema.resolve_dims(da, sig, ndim=1)[0]
    else:
        found = style.signal_dims(da)
        if len(found) > 1 and any(schema.dimension_type(da, d) == "reciprocal" for d in found):
            raise DimensionError(f"the signal has the dims {list(found)}: use diffraction(), or pass sig= one of them")
        signal = found[-1]
    others = [d for d in dims if d != signal]
    if nav is not None:
        wrong = [d for d in nav if d not in others]
        if wrong or not 1 <= len(nav) <= 2:
            raise DimensionError(f"nav={list(nav)!r}: pass one or two of {others}")
        chosen = tuple(d for d in others if d in nav)
    else:
        plane = schema.plane_dims(da.isel({signal: 0}))
        wide = [d for d in others if da.sizes[d] > 1]
        if plane is not None:
            chosen = plane
        elif "position" in others:
            chosen = ("position",)
        elif 1 <= len(wide) <= 2:
            chosen = tuple(wide)
        elif len(others) == 1:
            chosen = (others[0],)
        else:
            raise DimensionError(f"which dims make the map? {others} all could: pass nav=(slow, fast)")
    return Parts(chosen, signal, tuple(d for d in others if d not in chosen))


@dataclass(frozen=True)
class Cube:
    """Spectra in memory, small enough to travel in a page.

    Attributes
    ----------
    data : DataArray
        Dims (*nav, signal), ascending along the map's dims.
    note : str
        What was left out or averaged to make it small; empty where nothing was.
    """

    data: xr.DataArray
    note: str


def ascending(da: T, dims: Sequence[str]) -> T:
    """`da` with the coordinates of `dims` rising, where they have any that only fall."""
    turned = [
        d
        for d in dims
        if d in da.coords and da.sizes[d] > 1 and da[d].dtype.kind in "fiu" and bool((np.diff(da[d].values) < 0).all())
    ]
    return da.isel({d: slice(None, None, -1) for d in turned}) if turned else da


def first(da: T, rest: Sequence[str]) -> tuple[T, str]:
    """The first entry of each dim of `rest`, and the words that say so where there are more."""
    wide = [d for d in rest if da.sizes[d] > 1]
    note = ", ".join(f"{style.axis(da, d).text(0)} (first of {da.sizes[d]})" for d in wide)
    return da.isel(dict.fromkeys(rest, 0)), note


def cube(da: xr.DataArray, parts: Parts, *, budget: int = 600_000, average: bool = True) -> Cube:
    """A small copy of `da`: averaged over pixels and channels until it has at most `budget` values.

    Parameters
    ----------
    da : DataArray
    parts : Parts
    budget : int
        Number of real values; a complex one counts twice.
    average : bool
        Mean of neighbours; otherwise every n-th, so that each spectrum is a measured one.

    Notes
    -----
    *Laziness*: computes; one pass, in blocks.
    """
    da, note = first(da, parts.rest)
    da = ascending(da.transpose(*parts.nav, parts.signal), parts.nav)
    cells = 2 if da.dtype.kind == "c" else 1
    steps = dict.fromkeys(da.dims, 1)

    def values() -> int:
        return cells * math.prod(math.ceil(da.sizes[d] / n) for d, n in steps.items())

    while values() > budget:
        channels = da.sizes[parts.signal] // steps[parts.signal]
        narrow = all(da.sizes[d] / steps[d] <= 48 for d in parts.nav) or parts.nav == ("position",)
        if channels > 256 or (narrow and channels > 64):
            steps[parts.signal] *= 2
        elif max(da.sizes[d] / steps[d] for d in parts.nav) > 2:
            for d in parts.nav:
                steps[d] += int(da.sizes[d] > steps[d])
        else:
            steps[parts.signal] *= 2
    said = [f"{d} by {n}" for d, n in steps.items() if n > 1]
    if said:
        note = ", ".join(filter(None, [note, ("averaged: " if average else "thinned: ") + ", ".join(map(str, said))]))
        da = chunked.lazily(da)
        if average:
            numbers = [c for c in da.coords if da[c].dtype.kind not in "fiu" and c not in da.dims]
            names = [d for d in steps if d in da.coords and da[d].dtype.kind not in "fiu"]
            da = da.drop_vars([*numbers, *names]).coarsen(steps, boundary="trim").mean(keep_attrs=True)  # type: ignore[attr-defined]
        else:
            da = da.isel({d: slice(None, None, n) for d, n in steps.items()})
    return Cube(da.copy(data=style.read(da)), note)
