"""Singular value decomposition and principal components: exact, lazy, in one pass for the spectra and one for the maps.

May import engine, schema, provenance and errors; the arithmetic is in engine/linalg.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from xpycro.engine import linalg
from xpycro.processing.decompose.channels import Scaling, by_channels
from xpycro.processing.decompose.observations import by_observations
from xpycro.processing.decompose.prepare import Problem, check_aligned, component_count, prepare
from xpycro.processing.decompose.randomized import ITERATIONS, by_subspace
from xpycro.processing.decompose.results import assemble
from xpycro.provenance import recorded

__all__ = ["pca", "svd"]


@recorded("decompose.svd")
def svd(
    data: xr.DataArray | xr.Dataset,
    n_components: int | None = None,
    *,
    dim: str | Sequence[str] | None = None,
    variable: str | None = None,
    exclude: xr.DataArray | None = None,
    refine: bool = False,
    solver: str = "auto",
    seed: int = 0,
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
    solver : {"auto", "exact", "randomized"}, optional
        ``"auto"`` is exact up to 8192 on the smaller side; beyond it randomized subspace iteration finds the leading
        components (32 unless `n_components` says otherwise) and as many singular values. The attribute
        ``pycro_solver`` says what was done.
    seed : int, optional
        Of the randomized solver.

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
    alone take one (the randomized solver: six and five). Memory: a few blocks and a few square matrices of the smaller
    side. ``result.load()`` computes all of it at once.

    References
    ----------
    N. Halko, P. G. Martinsson, J. A. Tropp, Finding structure with randomness, SIAM Rev. 53, 217 (2011).

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
    return solve(problem, n_components, method="svd", center=False, factor=refine, solver=solver, seed=seed)


@recorded("decompose.pca")
def pca(
    data: xr.DataArray | xr.Dataset,
    n_components: int | None = None,
    *,
    dim: str | Sequence[str] | None = None,
    variable: str | None = None,
    center: bool = True,
    scale: str | None = None,
    variance: xr.DataArray | None = None,
    exclude: xr.DataArray | None = None,
    refine: bool = False,
    solver: str = "auto",
    seed: int = 0,
) -> xr.Dataset:
    """Principal components: the singular value decomposition about the mean spectrum.

    Parameters
    ----------
    data, n_components, dim, variable, exclude, refine, solver, seed
        As in `svd`.
    center : bool, optional
        Whether the mean spectrum is taken off.
    scale : {"std", "poisson"}, optional
        Weigh channels before the decomposition: ``"std"`` divides each by its standard deviation; ``"poisson"``
        divides by the square roots of the mean spectrum and of each observation's mean, which makes the noise of
        counts alike everywhere (Keenan and Kotula). With it the mean is weighted likewise.
    variance : DataArray, optional
        Over the signal dims: known noise variance of each channel, to divide by its square root.

    Returns
    -------
    Dataset
        As of `svd`, with ``mean(<dim>)`` the mean spectrum in the units of the data, and
        ``explained_variance_ratio(rank)`` the share of the variance. Scaling is undone in components, maps and
        mean, so that ``data = mean + sum maps * components`` holds in the units of the data; components are then
        orthonormal only once divided by ``scale(<dim>)``, dimensionless with root mean square 1, which the result
        holds besides. Singular values are those of the scaled data.

    Raises
    ------
    ValueError, DimensionError
        As `svd`; and where `scale` meets complex data, negative counts or too many channels.

    Notes
    -----
    *Laziness*: lazy. Two passes over the data for all of it, one without the maps. Blocks are centred on their own
    mean and merged exactly, so a large mean costs no digits.

    References
    ----------
    M. R. Keenan, P. G. Kotula, Accounting for Poisson noise in the multivariate analysis of ToF-SIMS spectrum images,
    Surf. Interface Anal. 36, 203 (2004).

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> spectra = xr.DataArray([[1.0, 5.0], [3.0, 5.0], [2.0, 5.0]], dims=("x", "bias"))
    >>> result = pca(spectra, 1)
    >>> result["mean"].values, result.maps.values
    (array([2., 5.]), array([[-1.,  1.,  0.]]))
    """
    problem = prepare(data, dim=dim, variable=variable, exclude=exclude, operation="pca")
    scaling = _scaling(problem, scale, variance, center)
    return solve(
        problem,
        n_components,
        method="pca",
        center=center,
        factor=refine,
        solver=solver,
        seed=seed,
        scaling=scaling,
    )


def solve(
    problem: Problem,
    n_components: int | None,
    *,
    method: str,
    center: bool,
    factor: bool = False,
    solver: str = "auto",
    seed: int = 0,
    scaling: Scaling | None = None,
) -> xr.Dataset:
    """Choose the way by shape, go it, and put the result together."""
    if solver not in ("auto", "exact", "randomized"):
        raise ValueError(f"{method}: solver={solver!r}; choose 'auto', 'exact' or 'randomized'")
    wide = problem.n_used > problem.n_observations
    randomized = solver == "randomized" or (solver == "auto" and problem.rank > linalg.LARGEST_SIDE)
    if scaling is not None and (randomized or (wide and problem.n_used > linalg.LARGEST_SIDE)):
        raise ValueError(
            f"{method}: scale= and variance= need the Gram matrix of the channels, at most {linalg.LARGEST_SIDE} of "
            f"them; the data has {problem.n_used}: bin the signal first, or divide the data yourself"
        )
    if randomized and factor:
        raise ValueError(f"{method}: refine=True is for the exact solver; pass solver='exact'")
    default = min(problem.rank, 32) if randomized else None
    n_kept = component_count(n_components, problem.rank, method, default=default)
    attrs: dict[str, Any] = {"pycro_centered": int(center)}
    kind = "triangular factor" if factor else "Gram matrix"
    if randomized:
        found = by_subspace(problem, n_kept, center, seed)
        attrs |= {"pycro_solver": f"randomized, {ITERATIONS} power iterations", "pycro_seed": seed}
    elif wide and scaling is None:
        found = by_observations(problem, n_kept, center, factor)
        attrs["pycro_solver"] = f"{kind} of the observations"
    else:
        found = by_channels(problem, n_kept, center, factor, scaling)
        attrs["pycro_solver"] = f"{kind} of the channels"
    projection = "orthonormal" if scaling is None else "scaled"
    if scaling is not None:
        attrs["pycro_scale"] = scaling.kind
    return assemble(problem, found, method=method, projection=projection, **attrs)


def _scaling(problem: Problem, scale: str | None, variance: xr.DataArray | None, center: bool) -> Scaling | None:
    if scale not in (None, "std", "poisson"):
        raise ValueError(f"pca: scale={scale!r}; choose None, 'std' or 'poisson'")
    if scale is not None and variance is not None:
        raise ValueError("pca: pass scale= or variance=, not both")
    if scale == "std" and not center:
        raise ValueError("pca: scale='std' is the spread about the mean and needs center=True")
    if scale == "poisson" and problem.data.dtype.kind == "c":
        raise ValueError("pca: scale='poisson' is for counts; this data is complex")
    if variance is None:
        return None if scale is None else Scaling(scale)
    if not isinstance(variance, xr.DataArray) or set(variance.dims) != set(problem.signal):
        raise ValueError(f"pca: variance= must be a DataArray over {list(problem.signal)}, one number a channel")
    check_aligned(variance, problem.data, "variance=")
    values = np.asarray(variance.transpose(*problem.signal).values, float).reshape(-1)
    used = values if problem.columns is None else values[problem.columns]
    if not (np.isfinite(used) & (used > 0)).all():
        raise ValueError("pca: variance= must be positive and finite in every channel used; exclude= the others")
    return Scaling("variance", values)
