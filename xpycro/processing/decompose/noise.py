"""Singular values of noise alone: the law they follow, the thresholds it gives, and whether a scree's bulk obeys it.

NumPy kernels on singular values; may import numpy and, inside functions, scipy. Knows no labels, no dask.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["Thresholds", "bulk_misfit", "drawn_values", "misfit_limit", "thresholds"]

_SLACK = 0.02  # of the misfit: counts, scaled for Poisson noise, are a little off the law and still rank as it says


@dataclass(frozen=True)
class Thresholds:
    """What random-matrix theory says of a matrix of independent noise, in the units of the singular values.

    Attributes
    ----------
    noise : float
        Standard deviation of one value.
    hard : float
        Gavish and Donoho's: below it a component does more harm than good.
    edge : float
        Largest singular value of the noise alone, by Marchenko and Pastur.
    """

    noise: float
    hard: float
    edge: float


def thresholds(values: np.ndarray, larger: int, noise: float | None = None) -> Thresholds:
    """Both thresholds, of all nonzero singular values and the larger side of the matrix; the noise from their median.

    Parameters
    ----------
    values : ndarray
        All singular values that are not zero; their number is the smaller side.
    larger : int
    noise : float, optional
        Known standard deviation of the noise.
    """
    smaller = values.size
    beta = smaller / larger
    # the hard threshold is known * noise * sqrt(larger), and omega * median where the median stands in for the noise
    known = np.sqrt(2 * (beta + 1) + 8 * beta / (beta + 1 + np.sqrt(beta**2 + 14 * beta + 1)))
    omega = 0.56 * beta**3 - 0.95 * beta**2 + 1.82 * beta + 1.43
    level = float(np.median(values)) * omega / (known * np.sqrt(larger)) if noise is None else float(noise)
    return Thresholds(level, float(known * level * np.sqrt(larger)), level * (np.sqrt(larger) + np.sqrt(smaller)))


def _law(beta: float) -> tuple[np.ndarray, np.ndarray]:
    """Squares of singular values of unit noise over the larger side, and the share that lies below each."""
    half, middle = 2 * np.sqrt(beta), 1 + beta
    edges = np.linspace(0, np.pi, 2001)
    angle = (edges[1:] + edges[:-1]) / 2  # midpoints: at the ends the density of a square matrix is 0/0
    density = np.sin(angle) ** 2 / (middle - half * np.cos(angle))
    below = np.concatenate([[0.0], np.cumsum(density)])
    return middle - half * np.cos(edges), below / below[-1]


def bulk_misfit(values: np.ndarray, larger: int) -> float:
    """How far the values below the edge are from the Marchenko-Pastur law whose median they share.

    Parameters
    ----------
    values : ndarray
        All nonzero singular values, falling.
    larger : int
        Larger side of the matrix.

    Returns
    -------
    float
        Largest difference of the two cumulative distributions of the squares (Kolmogorov's distance), 0 to 1.
    """
    bulk, size = values, larger
    found = 1.0
    for _ in range(4):  # taking the components above the edge off lowers the edge a little
        squares, below = _law(bulk.size / size)
        scaled = bulk**2 * (np.interp(0.5, below, squares) / np.median(bulk) ** 2)
        rank = (np.arange(bulk.size)[::-1] + 0.5) / bulk.size
        found = float(np.abs(np.interp(scaled, squares, below) - rank).max())
        inside = scaled <= 1.04 * squares[-1]
        if inside.all() or inside.sum() < 2:
            break
        size -= int((~inside).sum())
        bulk = bulk[inside]
    return found


def misfit_limit(draws: np.ndarray, larger: int) -> float:
    """The misfit that independent noise of this size stays below.

    Parameters
    ----------
    draws : ndarray, shape (n_draws, smaller)
        Of `drawn_values`.
    larger : int
    """
    return float(np.quantile([bulk_misfit(draw, larger) for draw in draws], 0.95)) + _SLACK


def drawn_values(larger: int, smaller: int, n_draws: int, seed: int) -> np.ndarray:
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
