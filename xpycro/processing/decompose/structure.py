"""Which maps of a decomposition are alike in neighbouring observations: a test of signal that asks nothing of channels.

May import engine; one pass over the maps.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from xpycro.engine import chunked

__all__ = ["Structure", "map_structure"]

_CHANCE = 0.05  # of one map of noise passing among all of them
_FEWEST = 8  # pairs of neighbours: with fewer, no correlation is out of the common


@dataclass(frozen=True)
class Structure:
    """The test's outcome, one entry a component.

    Attributes
    ----------
    n_observations : int
        Observations that are not NaN.
    correlation : ndarray
        Of a map's values in neighbouring observations, along the dim where it stands out least; NaN without neighbours.
    limit : ndarray
        What noise stays below, along that dim.
    floor : float
        Correlation of the noise itself, as the last half of the maps shows it; NaN where those are not kept.
    structured : ndarray of bool
        Above the limit, or of a mean that is not zero where the data were not centred.
    """

    n_observations: int
    correlation: np.ndarray
    limit: np.ndarray
    floor: float
    structured: np.ndarray


@dataclass(frozen=True)
class _Sums:
    """Of each component: number, sum and sum of squares of the maps, then the same of pairs along each dim."""

    count: int
    total: np.ndarray
    squares: np.ndarray
    pairs: np.ndarray
    pair_total: np.ndarray
    pair_product: np.ndarray


def map_structure(maps: xr.DataArray, *, centered: bool, complete: bool) -> Any:
    """Test every map for likeness of neighbours, along each observation dim.

    Parameters
    ----------
    maps : DataArray
        Dims component and the observation dims, in any state; NaN where left out.
    centered : bool
        Whether the decomposition took the mean off: else a map that is even is a signal too.
    complete : bool
        Whether all components are there: the last half of them then tells how alike neighbours are in the noise.

    Returns
    -------
    Structure
        Delayed where the maps are lazy.

    Notes
    -----
    Reordering the observations changes neither the components nor the values of the maps. Where observations are
    independent, the map of a component of noise is therefore a random order of its values, whatever the noise's
    correlation between channels: neighbours correlate by chance alone, by ``1 / sqrt(pairs)`` (Moran's statistic).
    The least correlation over the dims counts, so that drift along one scan line is not taken for structure.

    References
    ----------
    P. A. P. Moran, Notes on continuous stochastic phenomena, Biometrika 37, 17 (1950). P. Switzer, A. A. Green,
    Min/max autocorrelation factors for multivariate spatial imagery, Stanford University (1984).
    """
    observed = [str(d) for d in maps.dims if d != "component"]
    shape = [maps.sizes[d] for d in observed]
    number = xr.DataArray(np.arange(int(np.prod(shape, dtype=np.int64))).reshape(shape), dims=observed)
    bare = maps.reset_coords(drop=True).drop_vars(list(maps.dims), errors="ignore")
    return chunked.reduce(
        bare,
        ["component"],
        functools.partial(_block_sums, shape=tuple(shape)),
        _merge,
        others=[number],
        finish=functools.partial(_tested, centered=centered, complete=complete),
    )


def _block_sums(block: np.ndarray, number: np.ndarray, *, shape: tuple[int, ...]) -> _Sums:
    places = np.unravel_index(number, shape) if shape else ()
    lead = tuple(np.unique(place).size for place in places)
    rows = block.reshape(*lead, block.shape[-1])
    good = np.isfinite(rows).all(axis=-1)
    clean = np.where(good[..., None], rows, 0)
    k = block.shape[-1]
    pairs = np.zeros(len(lead), np.int64)
    pair_total, pair_product = np.zeros((len(lead), k), rows.dtype), np.zeros((len(lead), k))
    for axis in range(len(lead)):
        first = np.moveaxis(clean, axis, 0)[:-1].reshape(-1, k)
        second = np.moveaxis(clean, axis, 0)[1:].reshape(-1, k)
        here = np.moveaxis(good, axis, 0)
        both = (here[:-1] & here[1:]).reshape(-1)
        pairs[axis] = int(both.sum())
        pair_total[axis] = both.astype(float) @ first + both.astype(float) @ second
        pair_product[axis] = np.einsum("ij,ij->j", first.conj(), second).real
    flat = clean.reshape(-1, k)
    return _Sums(int(good.sum()), flat.sum(axis=0), (np.abs(flat) ** 2).sum(axis=0), pairs, pair_total, pair_product)


def _merge(a: _Sums, b: _Sums) -> _Sums:
    return _Sums(
        a.count + b.count,
        a.total + b.total,
        a.squares + b.squares,
        a.pairs + b.pairs,
        a.pair_total + b.pair_total,
        a.pair_product + b.pair_product,
    )


def _tested(sums: _Sums, *, centered: bool, complete: bool) -> Structure:
    from scipy.special import ndtri

    k = sums.squares.size
    count = max(sums.count, 1)
    mean = sums.total / count
    variance = np.maximum(sums.squares / count - np.abs(mean) ** 2, 0.0)
    varies = variance > 1e-20 * sums.squares / count
    z = -float(ndtri(_CHANCE / max(k, 1)))
    # a map's mean is zero up to chance too, where nothing but noise was decomposed as it is
    even = (np.abs(mean) * np.sqrt(count) > z * np.sqrt(variance)) & (sums.squares > 0) & (not centered)
    used = sums.pairs >= _FEWEST
    if not used.any():
        nothing = np.full(k, np.nan)
        return Structure(sums.count, nothing, nothing, np.nan, even)
    pairs = sums.pairs[used][:, None]
    product = sums.pair_product[used] - (sums.pair_total[used] * np.conj(mean)).real + pairs * np.abs(mean) ** 2
    each = np.divide(product, pairs * variance, out=np.zeros_like(product), where=varies)
    drift = np.clip(np.minimum(each, np.median(each, axis=1, keepdims=True)), 0, 0.99) ** 2
    fewer = (1 + drift) / (1 - drift)
    limits = z * np.sqrt(np.prod(fewer, axis=0) / fewer / pairs)
    weakest = np.expand_dims((each - limits).argmin(axis=0), 0)
    correlation = np.take_along_axis(each, weakest, 0)[0]
    limit = np.take_along_axis(limits, weakest, 0)[0]
    floor = float(np.median(correlation[k // 2 :])) if complete and k >= 16 else np.nan
    return Structure(sums.count, correlation, limit, floor, (correlation > limit) | even)
