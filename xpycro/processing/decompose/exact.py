"""Singular value decomposition and principal components: exact, lazy, in one pass for the spectra and one for the maps.

May import engine, schema, provenance and errors; the arithmetic is in engine/linalg.py.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from xpycro.engine import chunked, linalg
from xpycro.processing.decompose.prepare import PASS_BYTES, Problem, component_count, prepare
from xpycro.processing.decompose.results import assemble, score_maps, spread
from xpycro.provenance import recorded

__all__ = ["pca", "svd"]


@dataclass(frozen=True)
class _Solution:
    """What the first pass over the data gives; attributes are read one by one where it is delayed."""

    components: np.ndarray
    projector: np.ndarray
    mean: np.ndarray
    singular_values: np.ndarray
    explained: np.ndarray


@recorded("decompose.svd")
def svd(
    data: xr.DataArray | xr.Dataset,
    n_components: int | None = None,
    *,
    dim: str | Sequence[str] | None = None,
    variable: str | None = None,
    exclude: xr.DataArray | None = None,
    refine: bool = False,
) -> xr.Dataset:
    """Singular value decomposition of spectra on a map, without centring: ``data = sum maps * components``.

    The decomposition is exact and deterministic: the Gram matrix of the smaller side is accumulated in float64 (the
    true complex one for complex data) block by block, whatever the size of the data, and its eigenvectors are the
    components. Each component's largest entry is made real and positive.

    Parameters
    ----------
    data : DataArray or Dataset
        Real, integer or complex; in memory, dask, or lazily indexed. Observations that hold NaN are left out.
    n_components : int, optional
        Components and maps to keep; None keeps as many as there are singular values. The singular values are all kept.
    dim : str or sequence of str, optional
        What one observation spans; None means the signal dims.
    variable : str, optional
        Which variable of a Dataset; needed if several have `dim`.
    exclude : DataArray of bool, optional
        True where observations (over observation dims) or channels (over the signal dims) are left out.
    refine : bool, optional
        Take triangular factors of the blocks instead of their Gram matrices: singular values right to the rounding of
        the first one, as LAPACK's, for about four times the work. Without it a value s is right to about
        ``1e-16 s_1 / s`` of the first: 1e-8 for the leading ones, 1e-6 at ``1e-5 s_1``, nothing below ``1e-8 s_1``.

    Returns
    -------
    Dataset
        A ``decomposition`` with

        - ``components(component, <dim>)``: orthonormal spectra, dimensionless; NaN in channels left out;
        - ``maps(component, <rest>)``: their weights, in the units of the data; NaN where left out;
        - ``mean(<dim>)``: zero, in the units of the data;
        - ``singular_values(rank)``: all of them, in the units of the data;
        - ``explained_variance_ratio(rank)``: share of the sum of squares, dimensionless.

        Components are numbered from 0.

    Raises
    ------
    ValueError
        If `n_components` is out of range, the dtype holds no numbers, a dimension is empty, data is infinite, or
        nothing is left (the last two where the data is read).
    DimensionError
        If `dim` does not exist or cannot be decided.

    See Also
    --------
    pca : the same about the mean, with scaling.

    Notes
    -----
    *Laziness*: lazy. Computed together, everything takes two passes over the data; components and singular values
    alone take one. Memory: a few blocks and a few square matrices of the smaller side. ``result.load()`` computes all
    of it at once.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> spectra = xr.DataArray([[3.0, 0.0], [0.0, 4.0], [0.0, 0.0]], dims=("x", "bias"), attrs={"units": "A"})
    >>> result = svd(spectra)
    >>> result.singular_values.values
    array([4., 3.])
    >>> result.maps.dims, result.maps.units
    (('component', 'x'), 'A')
    """
    problem = prepare(data, dim=dim, variable=variable, exclude=exclude, operation="svd")
    return _exact(problem, n_components, method="svd", center=False, factor=refine)


@recorded("decompose.pca")
def pca(
    data: xr.DataArray | xr.Dataset,
    n_components: int | None = None,
    *,
    dim: str | Sequence[str] | None = None,
    variable: str | None = None,
    exclude: xr.DataArray | None = None,
    refine: bool = False,
) -> xr.Dataset:
    """Principal components: the singular value decomposition about the mean spectrum.

    Parameters
    ----------
    data, n_components, dim, variable, exclude, refine
        As in `svd`.

    Returns
    -------
    Dataset
        As of `svd`, with ``mean(<dim>)`` the mean spectrum in the units of the data, and
        ``explained_variance_ratio(rank)`` the share of the variance.

    Raises
    ------
    ValueError, DimensionError
        As `svd`.

    Notes
    -----
    *Laziness*: lazy. Two passes over the data for all of it, one without the maps. Blocks are centred on their own
    mean and merged exactly, so a large mean costs no digits.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> spectra = xr.DataArray([[1.0, 5.0], [3.0, 5.0], [2.0, 5.0]], dims=("x", "bias"))
    >>> result = pca(spectra, 1)
    >>> result["mean"].values, result.maps.values
    (array([2., 5.]), array([[-1.,  1.,  0.]]))
    """
    problem = prepare(data, dim=dim, variable=variable, exclude=exclude, operation="pca")
    return _exact(problem, n_components, method="pca", center=True, factor=refine)


def _exact(problem: Problem, n_components: int | None, *, method: str, center: bool, factor: bool) -> xr.Dataset:
    n_kept = component_count(n_components, problem.rank, method)
    if problem.n_used <= problem.n_observations:
        found = _by_channels(problem, n_kept, center, factor)
        solver = "triangular factor" if factor else "Gram matrix"
    else:
        found = _by_observations(problem, n_kept, center, factor)
        solver = "triangular factor of the observations" if factor else "Gram matrix of the observations"
    attrs: dict[str, Any] = {"pycro_solver": solver, "pycro_centered": int(center)}
    if problem.columns is not None:
        attrs["pycro_excluded_channels"] = json.dumps(np.flatnonzero(~problem.columns).tolist())
    return assemble(problem, found, method=method, **attrs)


# -------------------------------------------------------------------------------------------- no more channels than
# observations: the Gram matrix of the channels


def _by_channels(problem: Problem, n_kept: int, center: bool, factor: bool) -> dict[str, xr.DataArray]:
    limit = problem.several_blocks
    dtype = np.result_type(problem.data.dtype, np.float64)
    solution = chunked.reduce(
        problem.data,
        problem.signal,
        linalg.moments,
        linalg.merge,
        others=problem.others,
        finish=functools.partial(
            _solve_channels, n_kept=n_kept, n_all=problem.rank, columns=problem.columns, center=center
        ),
        kwargs={"columns": problem.columns, "center": center, "factor": factor, "limit_threads": limit},
    )
    shape = (n_kept, problem.n_features)
    projector = problem.signal_array(
        chunked.from_delayed(solution.projector, shape, dtype), "projector", ("component",)
    )
    mean = problem.signal_array(chunked.from_delayed(solution.mean, shape[1:], dtype), "mean")
    maps = score_maps(
        chunked.after(problem.data, solution),
        problem.signal,
        projector,
        mean.fillna(0) if problem.columns is not None else mean,
        problem.skip,
        columns=problem.columns,
        limit_threads=limit,
    )
    components = problem.signal_array(
        chunked.from_delayed(solution.components, shape, dtype), "components", ("component",)
    )
    values = chunked.from_delayed(solution.singular_values, (problem.rank,), np.float64)
    explained = chunked.from_delayed(solution.explained, (problem.rank,), np.float64)
    return _described(problem, components, maps, mean, values, explained, center)


def _solve_channels(
    total: linalg.Moments, *, n_kept: int, n_all: int, columns: np.ndarray | None, center: bool
) -> _Solution:
    """Components, mean and singular values from the moments of all observations."""
    _refuse_infinite(total.infinite)
    if total.count == 0:
        empty = np.flatnonzero(total.missing == total.missing.max(initial=0))
        raise ValueError(
            "no observation is left to decompose: every one is left out or holds NaN"
            + (f" (most often in channel {empty[0]}): leave bad channels out with exclude=" if empty.size else "")
        )
    found = linalg.basis(total.square, n_kept, factor=total.factor)
    vectors = found.vectors * linalg.fix_signs(found.vectors.conj())[None, :].conj()
    values = np.zeros(n_all)
    possible = min(n_all, total.count - center)
    values[:possible] = found.singular_values[:possible]
    projector = vectors.T
    components, mean = projector.conj(), total.mean if center else np.zeros_like(total.mean)
    if columns is not None:
        components, mean = spread(components, columns, np.nan), spread(mean, columns, np.nan)
        projector = spread(projector, columns, 0)
    return _Solution(components, projector, mean, values, _ratio(values))


def _ratio(values: np.ndarray) -> np.ndarray:
    """Share of the sum of squares; NaN where there is none to share."""
    scaled = values / (values[0] or 1.0)
    total = (scaled**2).sum()
    return scaled**2 / total if total > 0 else np.full(values.shape, np.nan)


def _refuse_infinite(number: int) -> None:
    if number:
        raise ValueError(
            f"the data holds {number} infinite values: set them to NaN (their observations are then left out), "
            "such as with .where(np.isfinite(data))"
        )


# -------------------------------------------------------------------------------------------- more channels than
# observations: the Gram matrix of the observations


@dataclass(frozen=True)
class _Left:
    """Left singular vectors (zero in the rows left out), the rows used, the singular values."""

    vectors: np.ndarray
    rows: np.ndarray
    singular_values: np.ndarray
    explained: np.ndarray


def _by_observations(problem: Problem, n_kept: int, center: bool, factor: bool) -> dict[str, xr.DataArray]:
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
        linalg.cross_moments,
        linalg.merge_cross,
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
    return _described(problem, labelled["components"], labelled["maps"], labelled["mean"], values, explained, center)


def _observation_array(values: Any, problem: Problem, trail: Sequence[str] = ()) -> xr.DataArray:
    shape = tuple(problem.data.sizes[d] for d in problem.observed)
    return xr.DataArray(values.reshape((*shape, *values.shape[1:])), dims=(*problem.observed, *trail))


def _solve_observations(total: linalg.CrossMoments, *, n_kept: int, n_all: int, center: bool) -> _Left:
    """Left singular vectors from the moments of all channels."""
    _refuse_infinite(total.infinite)
    used = (total.missing == 0) & total.rows
    count = int(used.sum())
    if count == 0:
        raise ValueError(
            "no observation is left to decompose: every one is left out or holds NaN; "
            "leave bad channels out with exclude="
        )
    square = total.square[:, used] if total.factor else total.square[np.ix_(used, used)]
    if center:
        square = linalg.center_cross(square, factor=total.factor)
    found = linalg.basis(square, min(n_kept, count), factor=total.factor)
    vectors = np.zeros((used.size, n_kept), found.vectors.dtype)
    vectors[used, : found.vectors.shape[1]] = found.vectors.conj()
    values = np.zeros(n_all)
    possible = min(n_all, count - center, found.singular_values.size)
    values[:possible] = found.singular_values[:possible]
    return _Left(vectors, used, values, _ratio(values))


def _vectors_block(
    block: np.ndarray, left: np.ndarray, rows: np.ndarray, *, n_observed: int, center: bool, limit_threads: bool
) -> tuple[np.ndarray, np.ndarray]:
    lead = block.shape[: block.ndim - n_observed]
    flat = block.reshape(int(np.prod(lead, dtype=np.int64)), -1)
    matrix = left.reshape(-1, left.shape[-1])
    vectors, mean = linalg.cross_vectors(flat, matrix, rows.reshape(-1), center=center, limit_threads=limit_threads)
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


# ------------------------------------------------------------------------------------------------------ description


def _described(
    problem: Problem,
    components: xr.DataArray,
    maps: xr.DataArray,
    mean: xr.DataArray,
    values: Any,
    explained: Any,
    center: bool,
) -> dict[str, xr.DataArray]:
    """The result's variables with the units and labels that the schema asks for."""
    units = str(problem.original.attrs.get("units", "1"))
    share = "variance" if center else "sum of squares"
    return {
        "components": components.assign_attrs(units="1", long_name="Component"),
        "maps": maps.assign_attrs(units=units, long_name="Score"),
        "mean": mean.assign_attrs(units=units, long_name="Mean spectrum"),
        "singular_values": xr.DataArray(values, dims="rank", attrs={"units": units, "long_name": "Singular value"}),
        "explained_variance_ratio": xr.DataArray(
            explained, dims="rank", attrs={"units": "1", "long_name": f"Share of the {share}"}
        ),
    }
