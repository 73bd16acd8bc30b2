"""First-order reversal curves: the density of switching events over reversal bias and bias.

May import numpy, xarray, the floors below and analysis.loops; scipy.sparse inside functions.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from xpycro import provenance, schema
from xpycro.analysis.loops._axis import bias_of, is_rising, loop_dim
from xpycro.engine import chunked
from xpycro.errors import DimensionError
from xpycro.schema import coordinate
from xpycro.units import combine_units

__all__ = ["forc_density"]


@provenance.recorded("loops.forc_density")
def forc_density(projected: xr.Dataset | xr.DataArray, *, dim: str = "step", smoothing: int = 2) -> xr.Dataset:
    """The FORC distribution ``-1/2 d2R / dVr dV`` of every pixel.

    Each curve is the branch that follows the reversal bias Vr: the rising ones where the lowest bias changes from curve
    to curve, else the falling ones. They are interpolated on one bias axis, and a polynomial of second degree in Vr and
    V is fitted about each point.

    Parameters
    ----------
    projected : Dataset or DataArray
        ``response`` of `project`, or any real curves, with the dim ``forc`` and the coordinate ``bias(forc, step)``.
    dim : str, default "step"
    smoothing : int, default 2
        Curves, and points of the bias axis, on each side of a point that its polynomial is fitted to.

    Returns
    -------
    Dataset
        ``pycro_result`` "forc_density": ``density(..., forc, bias)``, in response per bias squared, with the coordinate
        ``reversal_bias(forc)``. NaN before the reversal and where fewer than six independent points are near.

    Raises
    ------
    DimensionError
        If there is no dim ``forc``, or fewer than three reversal biases.
    ValueError
        If `smoothing` is less than 1.

    Notes
    -----
    *Laziness*: lazy for lazy curves, one pass.

    References
    ----------
    C. R. Pike, A. P. Roberts, K. L. Verosub, J. Appl. Phys. 85, 6660 (1999).

    Examples
    --------
    >>> step, low = np.arange(16), -np.array([1.0, 2.0, 3.0, 4.0])
    >>> shape = np.concatenate([np.linspace(4, 0, 8), np.linspace(0, 4, 8)]) / 4
    >>> bias = low[:, None] + (4 - low[:, None]) * shape
    >>> curves = xr.DataArray(0.5 * low[:, None] * bias, {"bias": (("forc", "step"), bias)}, ("forc", "step"))
    >>> round(float(forc_density(curves).density.mean()), 9)
    -0.25
    """
    da = projected["response"] if isinstance(projected, xr.Dataset) and "response" in projected else projected
    da = schema.pick(da, None, dim)
    dim = loop_dim(da, dim)
    bias = bias_of(da, dim)
    if "forc" not in da.dims or bias.dims != ("forc", dim):
        raise DimensionError(f"forc_density needs the dim 'forc' and bias('forc', {dim!r}); this has {dict(da.sizes)}")
    if smoothing < 1:
        raise ValueError(f"smoothing={smoothing} must be at least 1")
    operator, known, reversal, grid = _operator(bias.values, smoothing)
    unit, volts = str(da.attrs.get("units", "1")), str(bias.attrs.get("units", "V"))
    attrs = {"units": combine_units((unit, 1), (volts, -2)), "long_name": "FORC density"}
    output = chunked.Output(np.float64, ("forc", "bias"), {"bias": grid.size}, attrs)
    bare = da.drop_vars([c for c in da.coords if dim in da[c].dims])
    made = chunked.apply(
        _density,
        bare,
        dims=[["forc", dim]],
        outputs={"density": output},
        kwargs={"operator": operator, "known": known},
    )
    coords = {
        "bias": coordinate("bias", grid, units=volts),
        "reversal_bias": coordinate("forc", reversal, name="bias", units=volts, long_name="Reversal bias"),
    }
    return schema.new_result("forc_density", made, coords, {"smoothing": smoothing})


def _branches(bias: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
    """The steps of each curve from its reversal on, and the reversal biases."""
    low, high = bias.min(axis=1), bias.max(axis=1)
    rising = np.ptp(low) >= 0.5 * np.ptp(high)
    reversal = low if rising else high
    if len(np.unique(reversal)) < 3:
        raise DimensionError(f"a FORC density needs three reversal biases or more; here they are {np.unique(reversal)}")
    parts = []
    for row, at in zip(bias, reversal, strict=True):
        first = int(np.flatnonzero(row == at)[-1])
        turned = np.roll(np.arange(row.size), -first)
        onward = is_rising(row)[turned] == rising
        end = int(np.argmin(onward)) if not onward.all() else row.size - 1  # the first step of the way back ends it
        parts.append(turned[: end + 1])
    return parts, reversal


def _operator(bias: np.ndarray, smoothing: int) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray]:
    """The sparse map from all curves of a pixel to its density, where that is known, the reversal biases, the axis."""
    from scipy import sparse

    parts, reversal = _branches(bias)
    n_forc, n_step = bias.shape
    longest = max(parts, key=len)
    grid = np.linspace(bias.min(), bias.max(), len(longest))
    # onto one bias axis: each grid point from the two steps beside it
    rows, columns, weights = [], [], []
    there = np.zeros((n_forc, grid.size), dtype=bool)
    slack = 1e-9 * np.ptp(grid)
    for k, steps in enumerate(parts):
        order = steps[np.argsort(bias[k, steps], kind="stable")]
        sweep = bias[k, order]
        inside = (grid >= sweep[0] - slack) & (grid <= sweep[-1] + slack)
        there[k] = inside
        right = np.clip(np.searchsorted(sweep, grid[inside]), 1, sweep.size - 1)
        gap = sweep[right] - sweep[right - 1]
        share = np.where(gap > 0, (grid[inside] - sweep[right - 1]) / np.where(gap > 0, gap, 1), 0.0)
        places = k * grid.size + np.flatnonzero(inside)
        for index, weight in ((right - 1, 1 - share), (right, share)):
            rows.append(places)
            columns.append(k * n_step + order[index])
            weights.append(weight)
    regrid = sparse.csr_matrix(
        (np.concatenate(weights), (np.concatenate(rows), np.concatenate(columns))),
        shape=(n_forc * grid.size, n_forc * n_step),
    )
    curvature, known = _curvature(reversal, grid, there, smoothing)
    return curvature @ regrid, known, reversal, grid


def _curvature(reversal: np.ndarray, grid: np.ndarray, there: np.ndarray, smoothing: int) -> tuple[Any, np.ndarray]:
    """-1/2 of the mixed derivative at each point, by a polynomial through those near it; where there is one."""
    from scipy import sparse

    scale_r, scale_v = np.ptp(reversal), np.ptp(grid)
    order = np.argsort(reversal, kind="stable")
    rank = np.argsort(order)
    rows, columns, weights = [], [], []
    known = np.ones(there.shape, dtype=bool)
    for k, j in np.ndindex(there.shape):
        place = k * grid.size + j
        near_k = order[max(0, rank[k] - smoothing) : rank[k] + smoothing + 1]
        near_j = np.arange(max(0, j - smoothing), min(grid.size, j + smoothing + 1))
        kk, jj = (m.ravel() for m in np.meshgrid(near_k, near_j, indexing="ij"))
        used = there[kk, jj]
        kk, jj = kk[used], jj[used]
        u, v = (reversal[kk] - reversal[k]) / scale_r, (grid[jj] - grid[j]) / scale_v
        terms = np.stack([np.ones_like(u), u, v, u * u, v * v, u * v], axis=-1)
        if not there[k, j] or np.linalg.matrix_rank(terms) < 6:
            known[k, j] = False
            continue
        rows.append(np.full(kk.size, place))
        columns.append(kk * grid.size + jj)
        weights.append(-0.5 * np.linalg.pinv(terms)[5] / (scale_r * scale_v))
    if not known.any():
        raise DimensionError(
            "no point has six independent neighbours: pass a larger smoothing=, or measure more curves"
        )
    size = there.size
    places = np.concatenate(rows), np.concatenate(columns)
    return sparse.csr_matrix((np.concatenate(weights), places), shape=(size, size)), known


def _density(curves: np.ndarray, *, operator: Any, known: np.ndarray) -> np.ndarray:
    lead, (n_forc, n_step) = curves.shape[:-2], curves.shape[-2:]
    flat = np.asarray(curves, dtype=np.float64).reshape(-1, n_forc * n_step)
    return np.where(known, np.asarray(operator @ flat.T).T.reshape(*lead, *known.shape), np.nan)
