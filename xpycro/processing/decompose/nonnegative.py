"""Nonnegative matrix factorisation over blocks: Frobenius and Kullback-Leibler.

May import engine, schema and provenance. Only the weights (observations x components) are held in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import xarray as xr

from xpycro.processing.decompose.constrained import nonnegative_weights
from xpycro.processing.decompose.exact import solve
from xpycro.processing.decompose.general import describe
from xpycro.processing.decompose.prepare import Problem, component_count, prepare, rows
from xpycro.processing.decompose.results import assemble, observation_maps
from xpycro.provenance import recorded

__all__ = ["nmf"]

_KEPT_BYTES = 256 << 20
_TINY = 1e-300

Passes = Callable[[], Iterable[tuple[np.ndarray, np.ndarray]]]


@recorded("decompose.nmf")
def nmf(
    data: xr.DataArray | xr.Dataset,
    n_components: int,
    *,
    dim: str | Sequence[str] | None = None,
    variable: str | None = None,
    loss: str = "frobenius",
    exclude: xr.DataArray | None = None,
    max_iterations: int = 300,
    tolerance: float = 1e-5,
) -> xr.Dataset:
    """Nonnegative spectra and nonnegative maps whose products add up to the data.

    Starts from the singular value decomposition (nndsvd, zeros filled with the mean), so nothing is random.

    Parameters
    ----------
    data : DataArray or Dataset
        Nonnegative and real.
    n_components : int
    dim, variable, exclude : optional
        As in `svd`.
    loss : {"frobenius", "kullback-leibler"}, optional
        Squared differences, or the divergence that counts (Poisson noise) ask for.
    max_iterations : int, optional
        Passes over the data at most.
    tolerance : float, optional
        Stop where the loss falls by less than this, relative to the first loss, in a pass.

    Returns
    -------
    Dataset
        A ``decomposition`` with

        - ``components(component, <dim>)``: nonnegative, of unit Euclidean norm, dimensionless;
        - ``maps(component, <rest>)``: nonnegative weights in the units of the data, in memory;
        - ``mean(<dim>)``: zero.

        Ordered by what each adds to the data. Attributes ``pycro_loss``, ``pycro_iterations``, ``pycro_converged``.

    Raises
    ------
    ValueError
        If the data is complex or holds negative values, or `n_components` is out of range.

    Notes
    -----
    *Laziness*: iterative, so computed at the call: data of less than 256 MB (as float64) is read once more after the
    start, larger data once an iteration, in bounded memory (the weights, observations x components, are held).

    References
    ----------
    A. Cichocki, A.-H. Phan, Fast local algorithms for large scale nonnegative matrix and tensor factorizations, IEICE
    Trans. Fundamentals E92-A, 708 (2009). D. D. Lee, H. S. Seung, Nature 401, 788 (1999). C. Boutsidis,
    E. Gallopoulos, Pattern Recognition 41, 1350 (2008).

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> spectra = xr.DataArray(np.outer([1.0, 2.0, 3.0], [0.6, 0.8]), dims=("x", "bias"))
    >>> result = nmf(spectra, 1)
    >>> result.maps.values.round(6), result.components.values.round(6)
    (array([[1., 2., 3.]]), array([[0.6, 0.8]]))
    """
    problem = prepare(data, dim=dim, variable=variable, exclude=exclude, operation="nmf")
    if problem.data.dtype.kind == "c":
        raise ValueError(
            f"nmf works on nonnegative numbers and {problem.original.name!r} is complex: decompose its magnitude, "
            "or use decompose.svd"
        )
    if loss not in ("frobenius", "kullback-leibler"):
        raise ValueError(f"nmf: loss={loss!r}; choose 'frobenius' or 'kullback-leibler'")
    if max_iterations < 1:
        raise ValueError(f"nmf: max_iterations={max_iterations} must be at least 1")
    k = component_count(n_components, problem.rank, "nmf")
    passes = _passes(problem)
    weights, spectra = _start(problem, k, passes)
    step = _frobenius_pass if loss == "frobenius" else _divergence_pass
    first, last, iteration, converged = None, np.inf, 0, False
    while iteration < max_iterations and not converged:
        iteration += 1
        spectra, value = step(passes, weights, spectra)
        first = value if first is None else first
        converged = iteration > 1 and last - value <= tolerance * first
        last = value
    # the weights that belong to the final spectra
    value = step(passes, weights, spectra)[1]
    norm = np.linalg.norm(spectra, axis=1)
    spectra = spectra / np.where(norm > 0, norm, 1)[:, None]
    weights *= norm
    order = np.argsort(-np.nansum(weights**2, axis=0), kind="stable")
    maps = observation_maps(problem, weights[:, order])
    return assemble(
        problem,
        describe(problem, spectra[order], maps, None),
        method="nmf",
        projection="nonnegative",
        pycro_loss=float(value),
        pycro_iterations=iteration,
        pycro_converged=int(converged),
    )


def _passes(problem: Problem) -> Passes:
    """How to go over the checked rows again and again; small data is kept."""
    if problem.n_observations * problem.n_used * 8 <= _KEPT_BYTES:
        kept = list(rows(problem))
        return lambda: kept
    return lambda: rows(problem)


def _start(problem: Problem, k: int, passes: Passes) -> tuple[np.ndarray, np.ndarray]:
    """Weights (n_observations, k) and spectra (k, n_used) from the positive parts of singular vectors."""
    result = solve(problem, k, method="nmf", center=False)
    found = result[["components", "maps"]].load()
    right = found["components"].values.reshape(k, -1)
    right = right if problem.columns is None else right[:, problem.columns]
    left = found["maps"].transpose(*problem.observed, "component").values.reshape(-1, k)
    used = np.isfinite(left).all(axis=1)
    total, number, smallest = 0.0, 0, np.inf
    for x, _ in passes():
        smallest = min(smallest, float(x.min(initial=np.inf)))
        total, number = total + float(x.sum()), number + x.size
    if smallest < 0:
        raise ValueError(
            f"nmf needs nonnegative data and {problem.original.name!r} goes down to {smallest:g}: subtract an offset, "
            "clip it, or use decompose.pca"
        )
    mean = total / max(number, 1)
    weights, spectra = np.zeros_like(left), np.zeros((k, right.shape[1]))
    u = np.where(used[:, None], left, 0.0)
    size = np.linalg.norm(u, axis=0)
    u = u / np.where(size > 0, size, 1)
    for j in range(k):
        parts = [(np.maximum(s * u[:, j], 0), np.maximum(s * right[j], 0)) for s in (1, -1)]
        strengths = [np.linalg.norm(a) * np.linalg.norm(b) for a, b in parts]
        a, b = parts[int(strengths[1] > strengths[0])]
        strength = max(strengths)
        if strength > 0:
            root = np.sqrt(size[j] * strength)
            weights[:, j], spectra[j] = root * a / np.linalg.norm(a), root * b / np.linalg.norm(b)
    # zeros never grow under multiplication: fill them with a little of the mean
    fill = np.sqrt(mean / k) * 0.1 if mean > 0 else 1e-12
    weights = np.where(weights <= 0, fill, weights)
    spectra = np.where(spectra <= 0, fill, spectra)
    weights[~used] = np.nan
    return weights, spectra


def _frobenius_pass(passes: Passes, weights: np.ndarray, spectra: np.ndarray) -> tuple[np.ndarray, float]:
    """One pass: the best weights for the spectra, then better spectra for the weights; the loss before the latter."""
    k = spectra.shape[0]
    square, cross = np.zeros((k, k)), np.zeros_like(spectra)
    loss = 0.0
    for x, numbers in passes():
        w = nonnegative_weights(x, spectra, weights[numbers], 8)
        weights[numbers] = w
        square += w.T @ w
        cross += w.T @ x
        loss += 0.5 * float(((x - w @ spectra) ** 2).sum())
    spectra = spectra.copy()
    for _ in range(8):
        for j in range(k):
            if square[j, j] > _TINY:
                spectra[j] = np.maximum(spectra[j] + (cross[j] - square[j] @ spectra) / square[j, j], 0)
    return spectra, loss


def _divergence_pass(passes: Passes, weights: np.ndarray, spectra: np.ndarray) -> tuple[np.ndarray, float]:
    """One pass of multiplicative updates; the loss before the spectra change."""
    numerator, denominator = np.zeros_like(spectra), np.zeros(spectra.shape[0])
    total = np.maximum(spectra.sum(axis=1), _TINY)
    loss = 0.0
    for x, numbers in passes():
        w = weights[numbers]
        for _ in range(4):
            w = w * ((x / np.maximum(w @ spectra, _TINY)) @ spectra.T) / total
        weights[numbers] = w
        model = np.maximum(w @ spectra, _TINY)
        ratio = x / model
        numerator += w.T @ ratio
        denominator += w.sum(axis=0)
        logs = np.log(ratio, out=np.zeros_like(ratio), where=x > 0)
        loss += float((x * logs - x + model).sum())
    return spectra * numerator / np.maximum(denominator, _TINY)[:, None], loss
