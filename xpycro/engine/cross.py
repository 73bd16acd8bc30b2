"""Moments and singular vectors of matrices with few rows and many columns, block of columns by block of columns.

NumPy kernels beside engine/linalg.py, which has those for many rows. May import numpy and engine/linalg, engine/blas.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from xpycro.engine.blas import single_threaded_blas
from xpycro.engine.linalg import finite_rows, gram, row_slices, triangle, wide

__all__ = ["CrossMoments", "center_cross", "cross_moments", "cross_vectors", "merge_cross"]


@dataclass(frozen=True)
class CrossMoments:
    """What one pass over the columns of a matrix with few rows leaves.

    Attributes
    ----------
    square : ndarray, shape (n_rows, n_rows)
        ``conj(X X^H)``, that is the Gram matrix of the transposed matrix, or its factor.
    missing : ndarray of int, shape (n_rows,)
        NaN seen in each row; their values entered as zeros.
    infinite : int
    rows : ndarray of bool, shape (n_rows,)
        Rows that were not left out from the start.
    factor : bool
    """

    square: np.ndarray
    missing: np.ndarray
    infinite: int
    rows: np.ndarray
    factor: bool


def cross_moments(
    block: np.ndarray,
    skip: np.ndarray | None = None,
    *,
    rows: np.ndarray | None = None,
    center: bool = False,
    factor: bool = False,
    limit_threads: bool = False,
) -> CrossMoments:
    """The moments of one block of columns, each lying along the last axis of `block`.

    Parameters
    ----------
    block : ndarray, shape (n_columns, n_rows)
    skip : ndarray of bool, shape (n_columns,), optional
        Columns to leave out.
    rows : ndarray of bool, shape (n_rows,), optional
        Rows to use; the others stay zero.
    center : bool
        Take off each column's mean over its finite rows. Which rows are finite in every column is known only after
        the pass: `center_cross` then finishes the centring exactly.
    factor, limit_threads : bool
        As in `moments`.
    """
    n_rows, dtype = block.shape[1], wide(block.dtype)
    rows = None if rows is None else np.asarray(rows, bool).reshape(-1)
    square: np.ndarray = np.zeros((n_rows, n_rows), dtype)
    missing, infinite = np.zeros(n_rows, np.int64), 0
    with single_threaded_blas(limit_threads):
        for part in row_slices(block.shape, factor):
            columns = block[part]
            if skip is not None and skip[part].any():
                columns = columns[~np.asarray(skip[part], bool)]
            x: np.ndarray = np.array(columns, dtype=dtype, order="C", ndmin=2)
            if rows is not None:
                x[:, ~rows] = 0
            used = np.ones(n_rows, bool) if rows is None else rows.copy()
            if not finite_rows(x).all():
                bad = ~np.isfinite(x)
                infinite += int(np.isinf(x).sum())
                missing += np.isnan(x).sum(axis=0)
                x[bad] = 0
                used &= ~bad.any(axis=0)
            if center and used.any():
                x -= x[:, used].mean(axis=1, keepdims=True)
                if rows is not None:
                    x[:, ~rows] = 0
            with np.errstate(over="ignore", invalid="ignore"):
                square = triangle(np.concatenate([square, x])) if factor else square + gram(x)
    return CrossMoments(square, missing, infinite, np.ones(n_rows, bool) if rows is None else rows, factor)


def merge_cross(a: CrossMoments, b: CrossMoments) -> CrossMoments:
    """Moments of two sets of columns together."""
    square = triangle(np.concatenate([a.square, b.square])) if a.factor else a.square + b.square
    return CrossMoments(square, a.missing + b.missing, a.infinite + b.infinite, a.rows, a.factor)


def center_cross(square: np.ndarray, *, factor: bool) -> np.ndarray:
    """The square of the matrix whose columns have mean zero over the rows that are left."""
    centered = square - square.mean(axis=1, keepdims=True)
    return centered if factor else centered - centered.mean(axis=0, keepdims=True)


def cross_vectors(
    block: np.ndarray, left: np.ndarray, rows: np.ndarray, *, center: bool, limit_threads: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """``X^H U`` of one block of columns, and the columns' means.

    Parameters
    ----------
    block : ndarray, shape (n_columns, n_rows)
    left : ndarray, shape (n_rows, k)
        Left singular vectors, zero in the rows left out.
    rows : ndarray of bool, shape (n_rows,)
    center : bool

    Returns
    -------
    vectors : ndarray, shape (n_columns, k)
    mean : ndarray, shape (n_columns,)
        Zero unless `center`.
    """
    dtype = np.result_type(wide(block.dtype), left.dtype)
    vectors = np.empty((block.shape[0], left.shape[1]), dtype)
    mean: np.ndarray = np.zeros(block.shape[0], wide(block.dtype))
    left = np.ascontiguousarray(left[rows])
    with single_threaded_blas(limit_threads):
        for part in row_slices(block.shape, False):
            x: np.ndarray = block[part][:, rows].astype(wide(block.dtype))
            if center:
                mean[part] = x.mean(axis=1)
                x -= mean[part][:, None]
            vectors[part] = x.conj() @ left
    return vectors, mean
