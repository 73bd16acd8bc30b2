"""How many components are signal: thresholds from random-matrix theory, permutations, and the scree's elbow.

May import engine, schema, provenance and errors.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import xarray as xr

from xpycro import schema
from xpycro.engine import chunked, linalg
from xpycro.processing.decompose.prepare import PASS_BYTES
from xpycro.processing.decompose.results import signal_dims
from xpycro.provenance import recorded

__all__ = ["rank"]


@recorded("decompose.rank")
def rank(
    result: xr.Dataset,
    *,
    data: xr.DataArray | None = None,
    noise: float | None = None,
    n_draws: int = 20,
    seed: int = 0,
) -> xr.Dataset:
    """How many components of a decomposition stand out of the noise, by four answers.

    All but the elbow presume noise that is alike in every channel and independent between them: for counts decompose
    by ``pca(scale="poisson")`` first, for unequal channels by ``pca(variance=)``. Where they agree, believe them.

    Parameters
    ----------
    result : Dataset
        Of ``svd`` or ``pca``, with all its singular values.
    data : DataArray, optional
        What it was made from: the parallel analysis then permutes each channel of it, one pass for all draws, which
        presumes nothing but lets strong components hide weak ones; without it the analysis draws Gaussian noise of the
        same size and level.
    noise : float, optional
        Standard deviation of the noise in the units of the singular values; None estimates it from their median.
    n_draws : int, optional
        Draws of the parallel analysis.
    seed : int, optional

    Returns
    -------
    Dataset
        - ``gavish_donoho``, ``marchenko_pastur``, ``parallel_analysis``, ``elbow``: the answers, dimensionless;
        - ``gavish_donoho_threshold``, ``marchenko_pastur_edge``: in the units of the data;
        - ``parallel_analysis_threshold(rank)``: the 95th percentile of each singular value without correlation;
        - ``elbow_distance(rank)``: of the logarithmic scree from the line through its ends, dimensionless;
        - ``noise``: in the units of the data;
        - ``singular_values(rank)``: for the plot.

    Raises
    ------
    ValueError
        If the result does not hold all its singular values.

    Notes
    -----
    *Laziness*: reads the singular values (one pass over the data where they are lazy), and `data` once where given.

    References
    ----------
    M. Gavish, D. L. Donoho, The optimal hard threshold for singular values is 4/sqrt(3), IEEE Trans. Inf. Theory 60,
    5040 (2014). V. A. Marchenko, L. A. Pastur, Math. USSR Sb. 1, 457 (1967). J. L. Horn, A rationale and test for the
    number of factors in factor analysis, Psychometrika 30, 179 (1965). I. Dumitriu, A. Edelman, Matrix models for beta
    ensembles, J. Math. Phys. 43, 5830 (2002).

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from xpycro.processing.decompose import svd
    >>> rng = np.random.default_rng(0)
    >>> clean = rng.normal(size=(400, 2)) @ rng.normal(size=(2, 30))
    >>> spectra = xr.DataArray(clean + 0.1 * rng.normal(size=clean.shape), dims=("x", "bias"))
    >>> int(rank(svd(spectra)).gavish_donoho)
    2
    """
    if schema.result_kind(result) != "decomposition" or "singular_values" not in result:
        raise ValueError("rank works on a decomposition with singular_values: of decompose.svd or decompose.pca")
    if "randomized" in str(result.attrs.get("pycro_solver", "")):
        raise ValueError(
            "rank needs all singular values, and the randomized solver found the leading ones only: bin the data, or "
            "decompose it with solver='exact'"
        )
    values = np.asarray(result["singular_values"].values, float)
    signal = signal_dims(result)
    n = int(np.prod([s for d, s in result["maps"].sizes.items() if d != "component"], dtype=np.int64))
    p = int(np.prod([result.sizes[d] for d in signal], dtype=np.int64))
    found = values[values > 0]
    if found.size < 2:
        raise ValueError(f"rank: {found.size} singular values are not zero, too few to tell signal from noise")
    larger, smaller = max(n, p), found.size
    beta = smaller / larger
    median = float(np.median(found))
    omega = 0.56 * beta**3 - 0.95 * beta**2 + 1.82 * beta + 1.43
    # the hard threshold is lambda * noise * sqrt(larger), known noise, and omega * median where the median stands in
    known = np.sqrt(2 * (beta + 1) + 8 * beta / (beta + 1 + np.sqrt(beta**2 + 14 * beta + 1)))
    level = median * omega / (known * np.sqrt(larger)) if noise is None else float(noise)
    threshold = omega * median if noise is None else known * level * np.sqrt(larger)
    edge = level * (np.sqrt(larger) + np.sqrt(smaller))
    upper, given = np.zeros(values.size), 0
    if data is None:
        # what is left once j components are taken off is noise of a matrix smaller by j: its first value counts
        off = np.arange(smaller)
        first = float(np.quantile(_gaussian_draws(larger, smaller, n_draws, seed)[:, 0], 0.95))
        shrink = (np.sqrt(larger - off) + np.sqrt(smaller - off)) / (np.sqrt(larger) + np.sqrt(smaller))
        upper[:smaller] = first * level * shrink
    else:
        draws = _permuted_draws(result, data, signal, n_draws, seed)[:, : values.size]
        upper[: draws.shape[1]] = np.quantile(draws, 0.95, axis=0)
        # shuffling keeps the mean spectrum: where it was not taken off it is a component in the shuffled data too
        uncentered = not int(result.attrs.get("pycro_centered", 0)) and upper.size > 1
        given = int(uncentered and upper[0] > 1.5 * upper[1])
    distance = _elbow_distance(values)
    units = str(result["singular_values"].attrs.get("units", "1"))
    label = {
        "gavish_donoho": "Components above the optimal hard threshold",
        "marchenko_pastur": "Components above the edge of noise",
        "parallel_analysis": "Components above permuted data" if data is not None else "Components above drawn noise",
        "elbow": "Components before the scree bends",
    }
    answers = {
        "gavish_donoho": int((values > threshold).sum()),
        "marchenko_pastur": int((values > edge).sum()),
        "parallel_analysis": _leading(values > upper, given=given),
        "elbow": int(distance.argmax()),
    }
    variables: dict[str, Any] = {
        name: ((), answer, {"units": "1", "long_name": label[name]}) for name, answer in answers.items()
    }
    variables |= {
        "gavish_donoho_threshold": ((), threshold, {"units": units, "long_name": "Optimal hard threshold"}),
        "marchenko_pastur_edge": ((), edge, {"units": units, "long_name": "Largest singular value of noise"}),
        "parallel_analysis_threshold": ("rank", upper, {"units": units, "long_name": "95 % of uncorrelated data"}),
        "elbow_distance": ("rank", distance, {"units": "1", "long_name": "Distance from the chord of the scree"}),
        "noise": ((), level, {"units": units, "long_name": "Noise of one value"}),
        "singular_values": ("rank", values, {"units": units, "long_name": "Singular value"}),
    }
    return xr.Dataset(variables, coords={"rank": result["rank"]})


def _leading(above: np.ndarray, *, given: int = 0) -> int:
    """How many of the first are true before one is not; the first `given` are not asked."""
    rest = above[given:]
    return given + int(rest.size if rest.all() else np.argmin(rest))


def _elbow_distance(values: np.ndarray) -> np.ndarray:
    """Distance of the logarithmic scree below the chord from its first point to its last, both axes from 0 to 1."""
    positive = values > max(float(values[0]) * 1e-12, 0.0)
    height = np.log10(np.where(positive, values, values[positive].min()))
    span = height.max() - height.min()
    if span == 0:
        return np.zeros(values.size)
    across = np.linspace(0, 1, values.size)
    distance = (1 - across) - (height - height.min()) / span
    return np.maximum(distance, 0) / np.sqrt(2)


def _gaussian_draws(larger: int, smaller: int, n_draws: int, seed: int) -> np.ndarray:
    """Singular values of Gaussian noise of unit variance, without making the matrices.

    Orthogonal reflections turn such a matrix into a bidiagonal one of independent chi variables, whose singular values
    have exactly the same distribution.
    """
    from scipy.linalg import eigh_tridiagonal

    rng = np.random.default_rng(seed)
    draws = np.empty((n_draws, smaller))
    for i in range(n_draws):
        diagonal = np.sqrt(rng.chisquare(larger - np.arange(smaller)))
        beside = np.sqrt(rng.chisquare(smaller - 1 - np.arange(smaller - 1))) if smaller > 1 else np.empty(0)
        squares = diagonal**2
        squares[1:] += beside**2
        eigenvalues = eigh_tridiagonal(squares, diagonal[:-1] * beside, eigvals_only=True)
        draws[i] = np.sqrt(np.maximum(eigenvalues[::-1], 0))
    return draws


def _permuted_draws(
    result: xr.Dataset, data: xr.DataArray, signal: tuple[str, ...], n_draws: int, seed: int
) -> np.ndarray:
    """Singular values of the data with each channel's values shuffled among the observations of a block."""
    lacking = [d for d in signal if d not in data.dims]
    if lacking:
        raise ValueError(f"rank: data= has dims {list(data.dims)} and lacks {lacking}, which a component spans")
    ready = chunked.whole(data, signal, target=PASS_BYTES)
    observed = [str(d) for d in ready.dims if d not in signal]
    numbers = xr.DataArray(
        np.arange(int(np.prod([ready.sizes[d] for d in observed], dtype=np.int64))).reshape(
            [ready.sizes[d] for d in observed]
        ),
        dims=observed,
    )
    scale = result["scale"].fillna(0).values.reshape(-1) if "scale" in result else None
    value = chunked.reduce(
        ready.reset_coords(drop=True).drop_vars(list(ready.dims), errors="ignore"),
        signal,
        _permuted_moments,
        _merge_all,
        others=[numbers],
        finish=functools.partial(_all_values, scale=scale, poisson=result.attrs.get("pycro_scale") == "poisson"),
        kwargs={
            "n_draws": n_draws,
            "seed": seed,
            "center": bool(result.attrs.get("pycro_centered", 0)),
            "poisson": result.attrs.get("pycro_scale") == "poisson",
            "limit_threads": ready.chunks is not None and max(map(len, ready.chunks)) > 1,
        },
    )
    return chunked.compute(value)[0]


def _permuted_moments(
    block: np.ndarray,
    numbers: np.ndarray,
    *,
    n_draws: int,
    seed: int,
    center: bool,
    poisson: bool,
    limit_threads: bool,
) -> list[linalg.Moments]:
    good = np.isfinite(block).all(axis=1)
    rows = block[good]
    first = int(numbers.min())
    found = []
    for draw in range(n_draws):
        rng = np.random.default_rng([seed, draw, first])
        # one shuffle of all observations, then each channel turned round by its own amount: as good as a shuffle of
        # each channel, at the cost of a copy
        shuffled = np.ascontiguousarray(rows[rng.permutation(len(rows))].T)
        for channel in shuffled:
            channel[:] = np.roll(channel, int(rng.integers(max(len(rows), 1))))
        found.append(
            linalg.moments(
                shuffled.T, center=center, row_scaling="poisson" if poisson else None, limit_threads=limit_threads
            )
        )
    return found


def _merge_all(a: list[linalg.Moments], b: list[linalg.Moments]) -> list[linalg.Moments]:
    return [linalg.merge(x, y) for x, y in zip(a, b, strict=True)]


def _all_values(draws: list[linalg.Moments], *, scale: np.ndarray | None, poisson: bool) -> np.ndarray:
    values = []
    for total in draws:
        square = total.square
        if scale is not None:
            inverse = np.divide(1.0, scale, out=np.zeros_like(scale), where=scale > 0)
            square = square * inverse * inverse[:, None]
        found = linalg.basis(square, 1).singular_values
        if poisson:
            found = found * np.sqrt(max(float(total.total.real.mean()) / max(total.count, 1), 0.0))
        values.append(found)
    return np.stack(values)
