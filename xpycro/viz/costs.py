"""What it costs to read what is shown: how many bytes a map or a spectrum touches, and which sample costs less.

May import numpy, xarray and the floors below; reads and draws nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import xarray as xr

from xpycro.engine import chunked
from xpycro.viz import parts as _parts
from xpycro.viz import planes

__all__ = ["amount", "coarse", "cost", "state_cost", "touched"]


def touched(da: xr.DataArray, index: Mapping[str, int | slice]) -> int:
    """About how many bytes of its file reading ``da.isel(index)`` touches, from the chunks of the file or of dask."""
    total = da.dtype.itemsize
    for dim, block in chunked.read_at_once(da).items():
        size = da.sizes[dim]
        at = index.get(dim, slice(None))
        wanted = range(at, at + 1) if isinstance(at, int) else range(*at.indices(size))
        if len(wanted) == 0:
            return 0
        count = -(-(wanted[-1] + 1) // block) - wanted[0] // block
        total *= min(min(count, len(wanted)) * block, size)
    return total


def coarse(da: xr.DataArray, dims: Sequence[str], index: Mapping[str, int | slice]) -> tuple[int, ...]:
    """Of how many pixels along `dims` one is read, so that ``da.isel(index)`` touches at most 256 MB of a lazy array.

    A block of the file is read for a single pixel of it: what is left out are whole blocks.
    """
    ones = (1,) * len(dims)
    if not chunked.is_lazy(da) or touched(da, index) <= planes.COSTLY:
        return ones
    blocks, times = chunked.read_at_once(da), dict.fromkeys(dims, 1)
    while True:
        steps = {d: min(blocks[d] * n, da.sizes[d]) for d, n in times.items()}
        thinned = {d: slice(None, None, n) for d, n in steps.items()}
        longer = [d for d in dims if steps[d] < da.sizes[d]]
        if not longer or touched(da, {**index, **thinned}) <= planes.COSTLY:
            return tuple(steps.values())
        least = min(longer, key=lambda d: steps[d])  # pixels about as high as wide
        times[least] += 1 + times[least] // 16


def amount(size: int) -> str:
    """A number of bytes in words."""
    return f"{size / 2**30:.1f} GiB" if size >= 2**29 else f"{size / 2**20:.0f} MiB"


def cost(da: xr.DataArray, roles: _parts.Parts) -> dict[str, int]:
    """About how many bytes a tap (``spectrum``) and a map (``plane``) read."""
    return {
        "spectrum": touched(da, dict.fromkeys((*roles.nav, *roles.rest), 0)),
        "plane": touched(da, dict.fromkeys((roles.signal, *roles.rest), 0)),
    }


def state_cost(da: xr.DataArray, roles: _parts.Parts) -> str:
    """Words that say what one action reads, where it is more than 256 MB of lazy data; else nothing."""
    if not chunked.is_lazy(da):
        return ""
    dear = {name: size for name, size in cost(da, roles).items() if size > planes.COSTLY}
    return "; ".join(f"each {name} reads about {amount(size)}" for name, size in dear.items())
