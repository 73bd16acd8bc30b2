"""Principal components turned: independent components and varimax.

May import engine, schema and provenance; scikit-learn inside functions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from xpycro.engine import linalg
from xpycro.processing.decompose.exact import solve
from xpycro.processing.decompose.general import describe
from xpycro.processing.decompose.prepare import Problem, check_complex, component_count, prepare, stack_problem
from xpycro.processing.decompose.results import assemble, observation_maps
from xpycro.provenance import recorded

__all__ = ["ica", "rotation", "varimax"]


def _reduced(problem: Problem, k: int, center: bool, method: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, Any]:
    """Scores of the usable rows, which rows those are, components over the channels used, and the mean."""
    result = solve(problem, k, method=method, center=center)[["components", "maps", "mean"]].load()
    scores = result["maps"].transpose(*problem.observed, "component").values.reshape(-1, k)
    spectra = result["components"].values.reshape(k, -1)
    mean = result["mean"].values.reshape(-1)
    if problem.columns is not None:
        spectra, mean = spectra[:, problem.columns], mean[problem.columns]
    used = np.isfinite(scores).all(axis=1)
    return scores[used], used, spectra, mean


def _assembled(
    problem: Problem,
    scores: np.ndarray,
    used: np.ndarray,
    spectra: np.ndarray,
    mean: np.ndarray,
    *,
    method: str,
    projection: str,
    **attrs: Any,
) -> xr.Dataset:
    """Components of unit norm, largest entry positive, ordered by what they add; maps in the data's units."""
    norm = np.linalg.norm(spectra, axis=1)
    spectra = spectra / np.where(norm > 0, norm, 1)[:, None]
    sign = linalg.fix_signs(spectra.T)
    scores, spectra = scores * (norm * sign), spectra * sign[:, None]
    order = np.argsort(-(scores**2).sum(axis=0), kind="stable")
    maps = np.full((used.size, spectra.shape[0]), np.nan)
    maps[used] = scores[:, order]
    variables = describe(problem, spectra[order], observation_maps(problem, maps), mean)
    return assemble(problem, variables, method=method, projection=projection, **attrs)


@recorded("decompose.ica")
def ica(
    data: xr.DataArray | xr.Dataset,
    n_components: int,
    *,
    dim: str | Sequence[str] | None = None,
    variable: str | None = None,
    exclude: xr.DataArray | None = None,
    complex: str = "refuse",
    seed: int = 0,
    max_iterations: int = 500,
    tolerance: float = 1e-6,
) -> xr.Dataset:
    """Independent components: the turn of the first principal components whose maps are least Gaussian (FastICA).

    Parameters
    ----------
    data : DataArray or Dataset
    n_components : int
        Principal components kept, and independent components found.
    dim, variable, exclude : optional
        As in `svd`.
    complex : {"refuse", "stack"}, optional
        As in `estimator`.
    seed : int, optional
        Of FastICA's start.
    max_iterations, tolerance : optional
        Of FastICA.

    Returns
    -------
    Dataset
        A ``decomposition`` with

        - ``components(component, <dim>)``: of unit norm, not orthogonal, dimensionless;
        - ``maps(component, <rest>)``: in the units of the data, in memory;
        - ``mean(<dim>)``: in the units of the data.

        Ordered by what each adds; signs fixed by the components' largest entries. ``pycro_iterations`` says how
        many iterations were taken.

    Raises
    ------
    ValueError
        As `svd`; and for complex data unless stacked.

    Notes
    -----
    *Laziness*: computed at the call; two passes over the data, then on the scores in memory.

    References
    ----------
    A. Hyvarinen, E. Oja, Independent component analysis: algorithms and applications, Neural Networks 13, 411 (2000).

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> rng = np.random.default_rng(0)
    >>> spectra = xr.DataArray(rng.uniform(size=(500, 2)) @ [[1.0, 0.0, 0.0], [0.6, 0.8, 0.0]], dims=("x", "bias"))
    >>> abs(ica(spectra, 2).components.values[1].round(1))
    array([0.6, 0.8, 0. ])
    """
    problem = prepare(data, dim=dim, variable=variable, exclude=exclude, operation="ica")
    check_complex(problem.data, complex, "ica")
    real = stack_problem(problem)
    k = component_count(n_components, real.rank, "ica")
    scores, used, spectra, mean = _reduced(real, k, True, "ica")
    from sklearn.decomposition import FastICA

    spread = scores.std(axis=0)
    if not (spread > 1e-9 * spread.max(initial=0)).all():
        raise ValueError(
            f"ica: n_components={k} exceeds the rank of the data, {int((spread > 1e-9 * spread.max()).sum())}"
        )
    model = FastICA(whiten="unit-variance", random_state=seed, max_iter=max_iterations, tol=tolerance)
    sources = model.fit_transform(scores)
    turned = model.mixing_.T @ spectra
    mean = mean + model.mean_ @ spectra
    return _assembled(
        problem,
        sources,
        used,
        turned,
        mean,
        method="ica",
        projection="least squares",
        pycro_iterations=int(model.n_iter_),
        pycro_seed=seed,
    )


@recorded("decompose.varimax")
def varimax(
    data: xr.DataArray | xr.Dataset,
    n_components: int,
    *,
    dim: str | Sequence[str] | None = None,
    variable: str | None = None,
    simplify: str = "components",
    center: bool = True,
    exclude: xr.DataArray | None = None,
    complex: str = "refuse",
) -> xr.Dataset:
    """Principal components turned so that each spectrum, or each map, is large in few places.

    Parameters
    ----------
    data : DataArray or Dataset
    n_components : int
        Principal components kept and turned.
    dim, variable, exclude : optional
        As in `svd`.
    simplify : {"components", "maps"}, optional
        What is to be simple. Simple maps suit samples of few pure phases (Keenan).
    center : bool, optional
        Whether the mean spectrum is taken off first.
    complex : {"refuse", "stack"}, optional
        As in `estimator`.

    Returns
    -------
    Dataset
        A ``decomposition`` as of `ica`; components are orthonormal with ``simplify="components"``.

    Raises
    ------
    ValueError
        As `svd`; and for complex data unless stacked.

    Notes
    -----
    *Laziness*: computed at the call; two passes over the data.

    References
    ----------
    H. F. Kaiser, The varimax criterion for analytic rotation in factor analysis, Psychometrika 23, 187 (1958).
    M. R. Keenan, Exploiting spatial-domain simplicity in spectral image analysis, Surf. Interface Anal. 41, 79 (2009).

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> spectra = xr.DataArray(np.random.default_rng(0).normal(size=(200, 2)) @ np.eye(2, 3), dims=("x", "bias"))
    >>> abs(varimax(spectra, 2, center=False).components.values.sum(axis=0).round(3))
    array([1., 1., 0.])
    """
    if simplify not in ("components", "maps"):
        raise ValueError(f"varimax: simplify={simplify!r}; choose 'components' or 'maps'")
    problem = prepare(data, dim=dim, variable=variable, exclude=exclude, operation="varimax")
    check_complex(problem.data, complex, "varimax")
    real = stack_problem(problem)
    k = component_count(n_components, real.rank, "varimax")
    scores, used, spectra, mean = _reduced(real, k, center, "varimax")
    if simplify == "components":
        turn = rotation(spectra.T)
        scores, spectra, projection = scores @ turn, turn.T @ spectra, "orthonormal"
    else:
        size = np.linalg.norm(scores, axis=0)
        unit = scores / np.where(size > 0, size, 1)
        turn = rotation(unit)
        scores, spectra, projection = unit @ turn, turn.T @ (spectra * size[:, None]), "least squares"
    if problem.data.dtype.kind == "c":
        projection = "least squares"  # real scores of stacked parts are no projection of complex ones
    return _assembled(
        problem, scores, used, spectra, mean, method="varimax", projection=projection, pycro_centered=int(center)
    )


def rotation(loadings: np.ndarray, *, max_iterations: int = 500, tolerance: float = 1e-10) -> np.ndarray:
    """The orthogonal matrix that makes the columns of ``loadings @ rotation`` simple (Kaiser's raw varimax).

    Parameters
    ----------
    loadings : ndarray, shape (n, k)

    Returns
    -------
    ndarray, shape (k, k)
    """
    n, k = loadings.shape
    turn, last = np.eye(k), 0.0
    for _ in range(max_iterations):
        turned = loadings @ turn
        gradient = loadings.T @ (turned**3 - turned * ((turned**2).sum(axis=0) / n))
        u, s, vh = np.linalg.svd(gradient)
        turn = u @ vh
        if s.sum() - last <= tolerance * s.sum():
            break
        last = float(s.sum())
    return turn
