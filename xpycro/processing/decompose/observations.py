"""The decomposition of few observations of many channels: through the Gram matrix of the observations.

May import engine and the other modules of this folder.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from xpycro.engine import chunked, cross, linalg
from xpycro.processing.decompose.prepare import PASS_BYTES, Problem
from xpycro.processing.decompose.results import described, refuse_infinite, share_of_squares, spread

__all__ = ["by_observations"]


@dataclass(frozen=True)
class _Left:
    """Left singular vectors (zero in the rows left out), the rows used, the singular values."""

    vectors: np.ndarray
    rows: np.ndarray
    singular_values: np.ndarray
    explained: np.ndarray


def by_observations(problem: Problem, n_kept: int, center: bool, factor: bool) -> dict[str, xr.DataArray]:
    # channels take the place of observations: blocks hold all observations of a few channels
    data = chunked.whole(problem.original, problem.observed, target=PASS_BYTES).transpose(
        *problem.signal, *problem.observed
    )
    limit = data.chunks is not None and max(map(len, data.chunks)) > 1
    n, dtype = problem.n_observations, np.result_type(data.dtype, np.float64)
    rows = None
    if problem.skip is not None:
        shaped = problem.skip.broadcast_like(data.isel({d: 0 for d in problem.signal}, drop=True))
        rows = ~shaped.transpose(*problem.observed).data
    others = []
    if problem.columns is not None:
        others.append(problem.signal_array(~problem.columns, "skip").reset_coords(drop=True))
    left = chunked.reduce(
        data,
        problem.observed,
        cross.cross_moments,
        cross.merge_cross,
        others=others,
        finish=functools.partial(_solve_observations, n_kept=n_kept, n_all=problem.rank, center=center),
        kwargs={"rows": rows, "center": center, "factor": factor, "limit_threads": limit},
    )
    folded = {"left": ((n, n_kept), dtype), "rows": ((n,), bool)}
    vectors = _observation_array(chunked.from_delayed(left.vectors, *folded["left"]), problem, ("component",))
    used = _observation_array(chunked.from_delayed(left.rows, *folded["rows"]), problem)
    bare = data.reset_coords(drop=True).drop_vars(list(data.dims), errors="ignore")
    second = chunked.apply(
        functools.partial(_vectors_block, n_observed=len(problem.observed), center=center, limit_threads=limit),
        chunked.after(bare, left),
        vectors,
        used,
        dims=[list(problem.observed), [*problem.observed, "component"], list(problem.observed)],
        outputs={"unscaled": chunked.Output(dtype, ("component",)), "mean": chunked.Output(dtype)},
    )
    values = chunked.from_delayed(left.singular_values, (problem.rank,), np.float64)
    explained = chunked.from_delayed(left.explained, (problem.rank,), np.float64)
    signal, observed = list(problem.signal), list(problem.observed)
    final = chunked.apply(
        functools.partial(_finish_observations, n_signal=len(signal), columns=problem.columns),
        second["unscaled"],
        vectors,
        used,
        xr.DataArray(values, dims="rank"),
        second["mean"],
        dims=[[*signal, "component"], [*observed, "component"], observed, ["rank"], signal],
        outputs={
            "components": chunked.Output(dtype, ("component", *signal)),
            "maps": chunked.Output(dtype, ("component", *observed)),
            "mean": chunked.Output(dtype, tuple(signal)),
        },
    )
    along = {c: v for c, v in problem.data.coords.items()}
    labelled = {
        name: da.assign_coords({c: v for c, v in along.items() if set(v.dims) <= set(da.dims) and v.ndim})
        for name, da in final.items()
    }
    labelled["maps"] = labelled["maps"].assign_coords({c: v for c, v in along.items() if v.ndim == 0})
    return described(problem, labelled["components"], labelled["maps"], labelled["mean"], values, explained, center)


def _observation_array(values: Any, problem: Problem, trail: Sequence[str] = ()) -> xr.DataArray:
    shape = tuple(problem.data.sizes[d] for d in problem.observed)
    return xr.DataArray(values.reshape((*shape, *values.shape[1:])), dims=(*problem.observed, *trail))


def _solve_observations(total: cross.CrossMoments, *, n_kept: int, n_all: int, center: bool) -> _Left:
    """Left singular vectors from the moments of all channels."""
    refuse_infinite(total.infinite)
    used = (total.missing == 0) & total.rows
    count = int(used.sum())
    if count == 0:
        raise ValueError(
            "no observation is left to decompose: every one is left out or holds NaN; "
            "leave bad channels out with exclude="
        )
    square = total.square[:, used] if total.factor else total.square[np.ix_(used, used)]
    if center:
        square = cross.center_cross(square, factor=total.factor)
    found = linalg.basis(square, min(n_kept, count), factor=total.factor)
    vectors = np.zeros((used.size, n_kept), found.vectors.dtype)
    vectors[used, : found.vectors.shape[1]] = found.vectors.conj()
    values = np.zeros(n_all)
    possible = min(n_all, count - center, found.singular_values.size)
    values[:possible] = found.singular_values[:possible]
    return _Left(vectors, used, values, share_of_squares(values))


def _vectors_block(
    block: np.ndarray, left: np.ndarray, rows: np.ndarray, *, n_observed: int, center: bool, limit_threads: bool
) -> tuple[np.ndarray, np.ndarray]:
    lead = block.shape[: block.ndim - n_observed]
    flat = block.reshape(int(np.prod(lead, dtype=np.int64)), -1)
    matrix = left.reshape(-1, left.shape[-1])
    vectors, mean = cross.cross_vectors(flat, matrix, rows.reshape(-1), center=center, limit_threads=limit_threads)
    return vectors.reshape(*lead, -1), mean.reshape(lead)


def _finish_observations(
    unscaled: np.ndarray,
    left: np.ndarray,
    rows: np.ndarray,
    values: np.ndarray,
    mean: np.ndarray,
    *,
    n_signal: int,
    columns: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Orthonormal components with their signs, the maps that go with them, and the mean."""
    shape, k = unscaled.shape[:n_signal], unscaled.shape[-1]
    flat = unscaled.reshape(-1, k)
    if columns is not None:
        flat = flat[columns]
    vectors = linalg.orthonormal(flat)
    components = vectors.conj().T
    phase = linalg.fix_signs(components.T)
    components = components * phase[:, None]
    maps = left * (values[:k] * phase.conj())
    maps[~rows] = np.nan
    mean = mean.astype(unscaled.dtype)
    if columns is not None:
        components = spread(components, columns, np.nan)
        mean = np.where(columns.reshape(shape), mean, np.nan)
    return components.reshape(k, *shape), np.moveaxis(maps, -1, 0), mean
