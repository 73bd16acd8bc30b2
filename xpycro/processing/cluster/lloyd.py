"""K-means on rows that need not fit in memory: seeded starts on a sample, then Lloyd passes over blocks.

NumPy and compiled kernels; may import engine/linalg, and scikit-learn inside functions. Knows no labels, no dask.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from xpycro.engine.blas import single_threaded_blas

__all__ = ["Partition", "assign", "one_pass", "partition", "starts", "sums_of"]

_ROWS = 8192
_COMPILED = 16384  # columns times clusters up to which loops beat matrix products

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
    """Nearest center of each row, and the squared distance to it."""
    labels, squared, _, _ = one_pass(rows, centers)
    return labels, squared


def one_pass(rows: np.ndarray, centers: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Nearest center of each row, squared distance to it, and each cluster's sum of (row - center) and number.

    Few numbers a row go through compiled loops, many through matrix products. Rows are cut at fixed places and the
    pieces' sums added in order, so that the number of threads changes no bit.
    """
    labels = np.empty(rows.shape[0], np.int32)
    squared = np.empty(rows.shape[0])
    step = _ROWS if rows.shape[1] * centers.shape[0] <= _COMPILED else max(256, _ROWS * 32 // rows.shape[1])
    parts = [slice(start, start + step) for start in range(0, rows.shape[0], step)]
    if rows.shape[1] * centers.shape[0] <= _COMPILED:
        pieces = _in_threads(_compiled_piece, parts, rows, centers, labels, squared)
    else:
        with single_threaded_blas(len(parts) > 1):
            pieces = _in_threads(_product_piece, parts, rows, centers, labels, squared)
    sums, counts = np.zeros(centers.shape), np.zeros(centers.shape[0], np.int64)
    for piece_sums, piece_counts in pieces:
        sums += piece_sums
        counts += piece_counts
    return labels, squared, sums, counts


def _in_threads(function: Callable[..., Any], parts: list[slice], *arrays: np.ndarray) -> Iterable[Any]:
    if len(parts) < 2:
        return [function(part, *arrays) for part in parts]
    with ThreadPoolExecutor(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None) as pool:
        return list(pool.map(lambda part: function(part, *arrays), parts))


def _compiled_piece(
    part: slice, rows: np.ndarray, centers: np.ndarray, labels: np.ndarray, squared: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    from xpycro.processing.cluster.compiled import pass_over

    sums, counts = np.zeros(centers.shape), np.zeros(centers.shape[0], np.int64)
    pass_over(np.ascontiguousarray(rows[part]), centers, labels[part], squared[part], sums, counts)
    return sums, counts


def _product_piece(
    part: slice, rows: np.ndarray, centers: np.ndarray, labels: np.ndarray, squared: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """By ``|x|^2 - 2 x c + |c|^2`` from an origin among the centers, so that a common offset costs no digits."""
    origin = centers.mean(axis=0)
    moved = centers - origin
    x = rows[part] - origin
    score = x @ moved.T
    score -= 0.5 * np.einsum("ij,ij->i", moved, moved)
    nearest = score.argmax(axis=1)
    labels[part] = nearest
    best = score[np.arange(len(x)), nearest]
    squared[part] = np.maximum(np.einsum("ij,ij->i", x, x) - 2 * best, 0)
    member = np.zeros((len(moved), len(x)))
    member[nearest, np.arange(len(x))] = 1
    counts = np.bincount(nearest, minlength=len(moved))
    return member @ x - counts[:, None] * moved, counts


def sums_of(rows: np.ndarray, labels: np.ndarray, n_clusters: int, origin: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sum of the rows of each cluster about `origin`, and their number, as one matrix product a slice."""
    sums = np.zeros((n_clusters, rows.shape[1]))
    for start in range(0, rows.shape[0], _ROWS):
        part = slice(start, start + _ROWS)
        member = np.zeros((n_clusters, labels[part].size))
        member[labels[part], np.arange(labels[part].size)] = 1
        sums += member @ (rows[part] - origin)
    return sums, np.bincount(labels, minlength=n_clusters)


def _run(numbers: np.ndarray) -> np.ndarray | slice:
    """The slice that numbers without gaps are: gathering and scattering a million labels costs as much as a pass."""
    if numbers.size and numbers[-1] - numbers[0] + 1 == numbers.size and (np.diff(numbers) == 1).all():
        return slice(int(numbers[0]), int(numbers[-1]) + 1)
    return numbers


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
        sums, counts = np.zeros_like(centers), np.zeros(n_clusters, np.int64)
        inertia, changed = 0.0, False
        for rows, numbers in passes():
            nearest, squared, part, number = one_pass(rows, centers)
            where = _run(numbers)
            changed = changed or not np.array_equal(labels[where], nearest)
            labels[where] = nearest
            sums += part
            counts += number
            inertia += float(squared.sum())
        if not changed:
            break  # the centers are those that these labels were found with
        # an emptied cluster keeps its center
        centers = centers + sums / np.maximum(counts, 1)[:, None]
    return Partition(labels, centers, counts, inertia, iteration, not changed)
