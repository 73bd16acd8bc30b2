"""K-means on rows that need not fit in memory: seeded starts on a sample, then Lloyd passes over blocks.

NumPy kernels; may import scikit-learn inside functions. Knows no labels, no dask.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

__all__ = ["Partition", "assign", "partition", "starts", "sums_of"]

_ROWS = 8192

Rows = Iterable[tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Partition:
    """Which center each row is nearest to.

    Attributes
    ----------
    labels : ndarray of int32, shape (n_rows,)
        -1 for rows left out.
    centers : ndarray, shape (n_clusters, n_columns)
    counts : ndarray of int, shape (n_clusters,)
    inertia : float
        Sum of squared distances to the nearest center.
    n_iterations : int
        Passes over the data.
    converged : bool
    """

    labels: np.ndarray
    centers: np.ndarray
    counts: np.ndarray
    inertia: float
    n_iterations: int
    converged: bool


def starts(sample: np.ndarray, n_clusters: int, *, seed: int, n_starts: int) -> np.ndarray:
    """The best centers of several seeded k-means++ starts on a sample of rows."""
    from sklearn.cluster import KMeans

    shift = sample.mean(axis=0)
    direction = np.random.default_rng(seed).normal(size=sample.shape[1])
    distinct = np.unique((sample - shift) @ direction).size
    if distinct < n_clusters:
        raise ValueError(f"n_clusters={n_clusters}, and only {distinct} of the observations are distinct")
    fitted = KMeans(n_clusters, n_init=n_starts, random_state=seed, algorithm="lloyd").fit(sample - shift)
    return fitted.cluster_centers_ + shift


def assign(rows: np.ndarray, centers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Nearest center of each row, and the squared distance to it.

    Distances are taken from a common origin among the centers, so that a large offset costs no digits.
    """
    origin = centers.mean(axis=0)
    moved = centers - origin
    half = 0.5 * np.einsum("ij,ij->i", moved, moved)
    labels = np.empty(rows.shape[0], np.int32)
    squared = np.empty(rows.shape[0])
    for start in range(0, rows.shape[0], _ROWS):
        part = slice(start, start + _ROWS)
        x = rows[part] - origin
        score = x @ moved.T
        score -= half
        labels[part] = nearest = score.argmax(axis=1)
        best = np.take_along_axis(score, nearest[:, None], axis=1)[:, 0]
        squared[part] = np.einsum("ij,ij->i", x, x) - 2 * best
    return labels, np.maximum(squared, 0, out=squared)


def sums_of(rows: np.ndarray, labels: np.ndarray, n_clusters: int, origin: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sum of the rows of each cluster about `origin`, and their number, as one matrix product a slice."""
    sums = np.zeros((n_clusters, rows.shape[1]))
    for start in range(0, rows.shape[0], _ROWS):
        part = slice(start, start + _ROWS)
        member = np.zeros((n_clusters, labels[part].size))
        member[labels[part], np.arange(labels[part].size)] = 1
        sums += member @ (rows[part] - origin)
    return sums, np.bincount(labels, minlength=n_clusters)


def partition(
    passes: Callable[[], Rows],
    n_rows: int,
    centers: np.ndarray,
    *,
    max_iterations: int,
) -> Partition:
    """Lloyd's iteration until no row changes its center.

    Parameters
    ----------
    passes : callable
        Each call gives the blocks of (rows, their numbers) once more.
    n_rows : int
        Rows in all, those left out included.
    centers : ndarray, shape (n_clusters, n_columns)
        Where to start.
    max_iterations : int
        Passes over the data at most.
    """
    n_clusters = centers.shape[0]
    labels = np.full(n_rows, -1, np.int32)
    inertia, counts = 0.0, np.zeros(n_clusters, np.int64)
    changed, iteration = True, 0
    while changed and iteration < max_iterations:
        iteration += 1
        origin = centers.mean(axis=0)
        sums, counts = np.zeros_like(centers), np.zeros(n_clusters, np.int64)
        inertia, changed = 0.0, False
        for rows, numbers in passes():
            nearest, squared = assign(rows, centers)
            changed = changed or bool((labels[numbers] != nearest).any())
            labels[numbers] = nearest
            part, number = sums_of(rows, nearest, n_clusters, origin)
            sums += part
            counts += number
            inertia += float(squared.sum())
        if not changed:
            break  # the centers are those that these labels were found with
        filled = counts > 0  # an emptied cluster keeps its center
        centers = centers.copy()
        centers[filled] = sums[filled] / counts[filled, None] + origin
    return Partition(labels, centers, counts, inertia, iteration, not changed)
