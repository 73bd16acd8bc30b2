"""Endmembers: the purest spectra of a map, and how much of each there is in every observation.

May import engine, schema and provenance.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from xpycro.processing.decompose.constrained import abundances
from xpycro.processing.decompose.exact import solve
from xpycro.processing.decompose.general import describe
from xpycro.processing.decompose.prepare import component_count, prepare
from xpycro.processing.decompose.results import assemble, observation_maps
from xpycro.provenance import recorded

__all__ = ["nfindr"]


@recorded("decompose.nfindr")
def nfindr(
    data: xr.DataArray | xr.Dataset,
    n_components: int,
    *,
    dim: str | Sequence[str] | None = None,
    variable: str | None = None,
    exclude: xr.DataArray | None = None,
    seed: int = 0,
    n_starts: int = 5,
    averaged: int | None = None,
) -> xr.Dataset:
    """Endmembers by the simplex of largest volume (N-FINDR), with abundances that are positive and sum to one.

    Every observation is taken as a mixture of pure spectra that are all present somewhere. The search runs on the
    first ``n_components - 1`` principal components, where noise is small; the endmembers come back as full spectra.

    Parameters
    ----------
    data : DataArray or Dataset
        Real.
    n_components : int
        Endmembers, at least 2.
    dim, variable, exclude : optional
        As in `svd`.
    seed : int, optional
        Of the random first simplices.
    n_starts : int, optional
        First simplices tried.
    averaged : int, optional
        How many observations next to each vertex are averaged for its spectrum, against the noise of a single one
        and against the bias of taking the most extreme; None takes a thousandth of them, at least 1.

    Returns
    -------
    Dataset
        A ``decomposition`` with

        - ``components(component, <dim>)``: endmember spectra over the scale of the data, dimensionless;
        - ``maps(component, <rest>)``: abundances times that scale, in the units of the data, so that
          ``data = sum maps * components`` as for every method;
        - ``mean(<dim>)``: zero;
        - ``abundances(component, <rest>)``: nonnegative, summing to one, dimensionless;
        - ``endmembers(component, <dim>)``: in the units of the data.

        The scale is one number, the largest norm of an endmember: attribute ``pycro_endmember_scale``.

    Raises
    ------
    ValueError
        If `n_components` is out of range, the data is complex, or does not span enough dimensions.

    Notes
    -----
    *Laziness*: computed at the call; two passes over the data for the reduction; abundances are found from the
    reduced data in memory.

    References
    ----------
    M. E. Winter, N-FINDR, Proc. SPIE 3753, 266 (1999). D. C. Heinz, C.-I. Chang, Fully constrained least squares
    linear spectral mixture analysis, IEEE Trans. Geosci. Remote Sens. 39, 529 (2001).

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> share = np.array([[1.0, 0.0], [0.0, 1.0], [0.25, 0.75]])
    >>> spectra = xr.DataArray(share @ [[1.0, 0.0, 2.0], [0.0, 3.0, 0.0]], dims=("x", "bias"))
    >>> result = nfindr(spectra, 2)
    >>> sorted(result.abundances.values[:, 2].round(6).tolist())
    [0.25, 0.75]
    """
    problem = prepare(data, dim=dim, variable=variable, exclude=exclude, operation="nfindr")
    if problem.data.dtype.kind == "c":
        raise ValueError(
            f"nfindr works on real mixtures and {problem.original.name!r} is complex: decompose its magnitude or its "
            "real part"
        )
    k = component_count(n_components, min(problem.rank, problem.n_observations), "nfindr")
    if k < 2:
        raise ValueError(f"nfindr: n_components={n_components}; a simplex needs at least 2 endmembers")
    result = solve(problem, k - 1, method="nfindr", center=True)[["components", "maps", "mean"]].load()
    scores = result["maps"].transpose(*problem.observed, "component").values.reshape(-1, k - 1)
    used = np.isfinite(scores).all(axis=1)
    spectra, mean = result["components"].values.reshape(k - 1, -1), result["mean"].values.reshape(-1)
    if problem.columns is not None:
        spectra, mean = spectra[:, problem.columns], mean[problem.columns]
    points = scores[used]
    if points.shape[0] < k:
        raise ValueError(f"nfindr: n_components={k} needs as many observations, and {points.shape[0]} are left")
    vertices = _largest_simplex(points, k, seed=seed, n_starts=n_starts)
    near = max(1, points.shape[0] // 1000) if averaged is None else max(1, int(averaged))
    corners = np.stack([_averaged(points, points[v], near) for v in vertices])
    share = np.full((used.size, k), np.nan)
    share[used] = abundances(points, corners)
    pure = corners @ spectra + mean
    order = np.argsort(-np.nansum(share, axis=0), kind="stable")
    share, pure = share[:, order], pure[order]
    scale = float(np.linalg.norm(pure, axis=1).max()) or 1.0
    maps = observation_maps(problem, share * scale)
    variables = describe(problem, pure / scale, maps, None)
    units = variables["mean"].attrs["units"]
    variables["abundances"] = observation_maps(problem, share).assign_attrs(units="1", long_name="Abundance")
    variables["endmembers"] = (variables["components"] * scale).assign_attrs(units=units, long_name="Endmember")
    return assemble(
        problem,
        variables,
        method="nfindr",
        projection="fully constrained",
        pycro_seed=seed,
        pycro_endmember_scale=scale,
    )


def _averaged(points: np.ndarray, vertex: np.ndarray, number: int) -> np.ndarray:
    """Mean of the points nearest to a vertex."""
    if number == 1:
        return vertex
    squared = ((points - vertex) ** 2).sum(axis=1)
    return points[np.argpartition(squared, number - 1)[:number]].mean(axis=0)


def _largest_simplex(points: np.ndarray, k: int, *, seed: int, n_starts: int) -> np.ndarray:
    """Numbers of the points that span the largest simplex: vertices replaced one at a time while the volume grows.

    With the other vertices fixed, the volume is linear in the one replaced: one matrix-vector product ranks all points.
    """
    spread = points.std(axis=0)
    if not (spread > 1e-9 * spread.max(initial=0)).all():
        raise ValueError(f"nfindr: the data does not span the {k - 1} dimensions that {k} endmembers need")
    lifted = np.concatenate([np.ones((points.shape[0], 1)), points / spread], axis=1)
    rng = np.random.default_rng(seed)
    best, largest = np.empty(0, int), -1.0
    for _ in range(n_starts):
        chosen = rng.choice(points.shape[0], k, replace=False)
        volume = abs(float(np.linalg.det(lifted[chosen])))
        grown = True
        while grown:
            grown = False
            for j in range(k):
                others = np.delete(lifted[chosen], j, axis=0)
                # the normal of the plane through the others: its length times the distance is the volume
                cofactor = np.array([(-1) ** i * np.linalg.det(np.delete(others, i, axis=1)) for i in range(k)])
                sizes = np.abs(lifted @ cofactor)
                candidate = int(sizes.argmax())
                if sizes[candidate] > volume * (1 + 1e-9) and sizes[candidate] > 0:
                    chosen[j], volume, grown = candidate, float(sizes[candidate]), True
        if volume > largest:
            best, largest = chosen.copy(), volume
    return best
