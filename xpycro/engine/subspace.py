"""Randomized subspace iteration over blocks, for matrices too large on both sides for a Gram matrix.

NumPy kernels used by tree reductions; may import numpy and engine/linalg. Knows no labels, no dask, no xarray.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from xpycro.engine.blas import single_threaded_blas
from xpycro.engine.linalg import clean_slices

__all__ = ["Spread", "image", "merge_spread", "orthonormal_columns", "ritz", "spread", "start"]


@dataclass(frozen=True)
class Spread:
    """Number of rows used, their mean, the sum of squares about it (about zero where not centred)."""

    count: int
    mean: np.ndarray
    energy: float
    missing: np.ndarray
    infinite: int
    centered: bool


def spread(
    block: np.ndarray, skip: np.ndarray | None = None, *, columns: np.ndarray | None = None, center: bool = False
) -> Spread:
    """Mean and sum of squares of one block of rows."""
    width = block.shape[1] if columns is None else int(columns.sum())
    dtype = np.complex128 if block.dtype.kind == "c" else np.float64
    total = Spread(0, np.zeros(width, dtype), 0.0, np.zeros(width, np.int64), 0, center)
    for _, x, missing, infinite in clean_slices(block, skip, columns):
        mean = x.mean(axis=0) if x.shape[0] else np.zeros(width, dtype)
        about = x - mean if center else x
        energy = float((np.abs(about) ** 2).sum())
        total = merge_spread(total, Spread(x.shape[0], mean, energy, missing, infinite, center))
    return total


def merge_spread(a: Spread, b: Spread) -> Spread:
    """Mean and sum of squares of two sets of rows together."""
    count = a.count + b.count
    shift = b.mean - a.mean
    share = b.count / count if count else 0.0
    coupling = a.count * share * float((np.abs(shift) ** 2).sum()) if a.centered else 0.0
    return Spread(
        count,
        a.mean + shift * share,
        a.energy + b.energy + coupling,
        a.missing + b.missing,
        a.infinite + b.infinite,
        a.centered,
    )


def start(width: int, size: int, seed: int) -> np.ndarray:
    """Seeded Gaussian columns to begin with."""
    return np.random.default_rng(seed).normal(size=(width, size))


def orthonormal_columns(image_of: np.ndarray) -> np.ndarray:
    """The next subspace: without this between the iterations small components drown in the largest."""
    return np.linalg.qr(image_of)[0]


def image(
    block: np.ndarray,
    skip: np.ndarray | None = None,
    *,
    basis: np.ndarray,
    moments: Spread,
    columns: np.ndarray | None = None,
    limit_threads: bool = False,
) -> np.ndarray:
    """``X^H (X B)`` of one block of rows about the mean."""
    result = np.zeros(basis.shape, np.result_type(basis, moments.mean))
    with single_threaded_blas(limit_threads):
        for _, x, _, _ in clean_slices(block, skip, columns):
            x = x - moments.mean if moments.centered else x
            result += x.conj().T @ (x @ basis)
    return result


def ritz(
    block: np.ndarray,
    skip: np.ndarray | None = None,
    *,
    basis: np.ndarray,
    moments: Spread,
    columns: np.ndarray | None = None,
    limit_threads: bool = False,
) -> np.ndarray:
    """Gram matrix of ``X B`` of one block of rows about the mean."""
    result = np.zeros((basis.shape[1], basis.shape[1]), np.result_type(basis, moments.mean))
    with single_threaded_blas(limit_threads):
        for _, x, _, _ in clean_slices(block, skip, columns):
            small = (x - moments.mean if moments.centered else x) @ basis
            result += small.conj().T @ small
    return result
