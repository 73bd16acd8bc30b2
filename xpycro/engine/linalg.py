"""Spectral decomposition of matrices that do not fit in memory: moments of blocks, their merging, the basis they give.

NumPy kernels on (row, column) blocks, always accumulated in float64 or complex128; engine/chunked runs them over
blocks. May import numpy and, inside functions, scipy and threadpoolctl; knows no labels, no dask, no xarray.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from xpycro.engine.blas import single_threaded_blas

__all__ = [
    "LARGEST_SIDE",
    "Basis",
    "Moments",
    "basis",
    "clean_slices",
    "finite_rows",
    "fix_signs",
    "gram",
    "merge",
    "moments",
    "orthonormal",
    "project",
    "row_slices",
    "triangle",
    "wide",
]

LARGEST_SIDE = 8192  # of the smaller side: beyond it the Gram matrix and its eigenvectors cost more than the data
_SLICE_BYTES = 8 << 20  # float64 copy of a few rows: stays near the cache, bounds memory whatever the block
_SMALL_SIDE = 2048  # up to here one thread finds the eigenvectors as soon as several, which wait for each other busily


# ------------------------------------------------------------------------------------------------------- moments


@dataclass(frozen=True)
class Moments:
    """What one pass over the rows of a matrix leaves: enough for every singular value.

    Attributes
    ----------
    count : int
        Rows used.
    weight : float
        Sum of their weights (their number where there are none).
    mean : ndarray, shape (n_columns,)
        Weighted mean of the rows; also kept where `centered` is False.
    square : ndarray, shape (n_columns, n_columns)
        Gram matrix ``X^H X`` of the rows (about their mean where `centered`), or, where `factor`, an upper triangle
        ``R`` with ``R^H R`` equal to it.
    total : ndarray, shape (n_columns,)
        Plain sum of the rows used.
    missing : ndarray of int, shape (n_columns,)
        NaN seen in each column.
    infinite : int
        Infinite values seen.
    negative : int
        Rows of negative mean, where rows are scaled for Poisson noise.
    centered, factor : bool
    """

    count: int
    weight: float
    mean: np.ndarray
    square: np.ndarray
    total: np.ndarray
    missing: np.ndarray
    infinite: int
    negative: int
    centered: bool
    factor: bool


def wide(dtype: np.dtype) -> type:
    return np.complex128 if np.dtype(dtype).kind == "c" else np.float64


def gram(x: np.ndarray) -> np.ndarray:
    """``X^H X`` of a C-contiguous float64 or complex128 matrix, by real symmetric rank-k products.

    NumPy recognises ``A.T @ A`` and calls syrk with the interpreter lock released; SciPy's syrk and herk keep it. The
    complex product is put together from real ones, which costs what herk would.
    """
    if x.dtype.kind != "c":
        return x.T @ x
    real, imag = np.ascontiguousarray(x.real), np.ascontiguousarray(x.imag)
    cross = real.T @ imag
    result = np.empty((x.shape[1], x.shape[1]), np.complex128)
    result.real = real.T @ real
    result.real += imag.T @ imag
    result.imag = cross - cross.T
    return result


def triangle(x: np.ndarray) -> np.ndarray:
    """R of ``X = QR``, with as many rows as columns (zeros below what a short matrix gives)."""
    r: np.ndarray = np.asarray(np.linalg.qr(x, mode="r"))
    if r.shape[0] == r.shape[1]:
        return r
    full = np.zeros((r.shape[1], r.shape[1]), r.dtype)
    full[: r.shape[0]] = r
    return full


def row_slices(shape: tuple[int, ...], factor: bool) -> Iterator[slice]:
    rows, columns = shape
    room = _SLICE_BYTES // (8 * max(1, columns))
    # adding a slice's square to the sum costs columns^2: enough rows to pay for it, few enough to stay small
    step = max(room, 2 * columns if factor else min(2 * columns, 4 * room), 16)
    if not factor and rows:  # slices of equal size: a short one costs as much to add as a long one
        step = -(-rows // max(1, round(rows / step)))
    for start in range(0, rows, step):
        yield slice(start, min(rows, start + step))


def moments(
    block: np.ndarray,
    skip: np.ndarray | None = None,
    weights: np.ndarray | None = None,
    *,
    columns: np.ndarray | None = None,
    center: bool = False,
    factor: bool = False,
    row_scaling: str | None = None,
    limit_threads: bool = False,
) -> Moments:
    """The moments of one block of rows.

    Parameters
    ----------
    block : ndarray, shape (n_rows, n_columns)
        Any real, integer or complex dtype; it is cast to float64 a few rows at a time.
    skip : ndarray of bool, shape (n_rows,), optional
        Rows to leave out; rows that hold NaN are left out besides.
    weights : ndarray, shape (n_rows,), optional
        Weight of each row in mean and Gram matrix.
    columns : ndarray of bool, shape (n_columns,), optional
        Columns to use; the moments are of these only.
    center : bool
        Gram matrix about the mean. Each slice is centred on its own mean and slices are merged exactly, so that a
        large mean costs no digits.
    factor : bool
        Triangular factor in place of the Gram matrix: resolves singular values down to rounding of the first instead
        of its square root, for about four times the work.
    row_scaling : {"poisson"}, optional
        Weight every row by the reciprocal of its mean (Keenan and Kotula's row factor).
    limit_threads : bool
        One BLAS thread: several blocks run side by side.

    Returns
    -------
    Moments
    """
    width = int(block.shape[1] if columns is None else np.count_nonzero(columns))
    dtype = wide(block.dtype)
    total: Moments | None = None
    room: np.ndarray | None = None
    missing, infinite, negative = np.zeros(width, np.int64), 0, 0
    with single_threaded_blas(limit_threads):
        for part in row_slices(block.shape, factor):
            rows = block[part]
            kept = None if skip is None else ~np.asarray(skip[part], bool)
            if kept is not None and not kept.all():
                rows = rows[kept]
            if room is None or len(room) < len(rows):
                room = np.empty((len(rows), width), dtype)
            x = room[: len(rows)]  # cast into one piece of memory: a new one costs as much as the cast
            x[...] = rows if columns is None else rows[:, columns]
            w = None if weights is None else np.asarray(weights[part], float)
            if w is not None and kept is not None:
                w = w[kept]
            with np.errstate(over="ignore", invalid="ignore"):
                sums = x.sum(axis=0)
            finite = np.ones(len(x), bool) if np.isfinite(sums).all() else finite_rows(x)
            if not finite.all():
                missing += np.isnan(x).sum(axis=0)
                infinite += int(np.isinf(x).sum())
                x = np.ascontiguousarray(x[finite])
                sums = x.sum(axis=0)
                w = None if w is None else w[finite]
            if row_scaling == "poisson":
                row_mean = x.mean(axis=1).real
                w = np.divide(1.0, row_mean, out=np.zeros_like(row_mean), where=row_mean > 0)
                negative += int((row_mean < 0).sum())
            if x.shape[0] or total is None:
                part_moments = _slice_moments(x, sums, w, center, factor)
                total = part_moments if total is None else merge(total, part_moments, in_place=True)
    if total is None:
        total = _slice_moments(np.empty((0, width), dtype), np.zeros(width, dtype), None, center, factor)
    return replace(total, missing=missing, infinite=infinite, negative=negative)


def finite_rows(x: np.ndarray) -> np.ndarray:
    """Which rows hold no NaN or infinity; a row's sum tells unless it overflows, so the check costs one sweep."""
    if x.shape[1] == 0:
        return np.ones(x.shape[0], bool)
    with np.errstate(over="ignore", invalid="ignore"):
        suspect = ~np.isfinite(x.sum(axis=1))
    if suspect.any():
        suspect[suspect] = ~np.isfinite(x[suspect]).all(axis=1)
    return ~suspect


def clean_slices(
    block: np.ndarray, skip: np.ndarray | None = None, columns: np.ndarray | None = None
) -> Iterator[tuple[slice, np.ndarray, np.ndarray, int]]:
    """A few rows after another in float64 or complex128, without those that are skipped, hold NaN or infinity.

    Yields
    ------
    tuple
        Which rows they come from, the rows, the NaN in each column, the number of infinite values.
    """
    dtype = wide(block.dtype)
    for part in row_slices(block.shape, False):
        rows = block[part]
        if skip is not None:
            rows = rows[~np.asarray(skip[part], bool)]
        x: np.ndarray = np.array(rows if columns is None else rows[:, columns], dtype=dtype, order="C", ndmin=2)
        finite = finite_rows(x)
        missing, infinite = np.zeros(x.shape[1], np.int64), 0
        if not finite.all():
            missing, infinite = np.isnan(x).sum(axis=0), int(np.isinf(x).sum())
            x = x[finite]
        yield part, x, missing, infinite


def _slice_moments(x: np.ndarray, total: np.ndarray, w: np.ndarray | None, center: bool, factor: bool) -> Moments:
    """Moments of a few rows, which are overwritten, with their sum `total`."""
    weight = float(x.shape[0]) if w is None else float(w.sum())
    if w is None:
        mean = total / max(x.shape[0], 1)
    else:
        mean = (w @ x) / weight if weight > 0 else np.zeros(x.shape[1], x.dtype)
    if center:
        x -= mean
    if w is not None:
        x *= np.sqrt(w)[:, None]
    with np.errstate(over="ignore", invalid="ignore"):
        square = triangle(x) if factor else gram(x)
    none = np.zeros(x.shape[1], np.int64)
    return Moments(x.shape[0], weight, mean, square, total, none, 0, 0, center, factor)


def merge(a: Moments, b: Moments, *, in_place: bool = False) -> Moments:
    """Moments of two sets of rows together: exact, associative up to rounding.

    Parameters
    ----------
    a, b : Moments
    in_place : bool
        Whether ``a.square`` may be overwritten; only for one who owns it.

    References
    ----------
    T. F. Chan, G. H. Golub, R. J. LeVeque, Algorithms for computing the sample variance, Am. Stat. 37, 242 (1983).
    """
    weight = a.weight + b.weight
    shift = b.mean - a.mean
    mean = a.mean + shift * (b.weight / weight) if weight > 0 else a.mean
    coupling = a.weight * b.weight / weight if a.centered and weight > 0 else 0.0
    if a.factor:
        rows = [a.square, b.square]
        if coupling > 0:
            rows.append(np.sqrt(coupling) * shift[None, :])
        square = b.square if a.count == 0 else triangle(np.concatenate(rows))
    else:
        square = a.square if in_place else a.square.copy()
        with np.errstate(over="ignore", invalid="ignore"):  # `basis` says so, once
            square += b.square
        if coupling > 0:
            square += (coupling * shift.conj())[:, None] * shift[None, :]
    return Moments(
        a.count + b.count,
        weight,
        mean,
        square,
        a.total + b.total,
        a.missing + b.missing,
        a.infinite + b.infinite,
        a.negative + b.negative,
        a.centered,
        a.factor,
    )


def orthonormal(vectors: np.ndarray) -> np.ndarray:
    """The columns made orthonormal one after the other, their directions kept; a column of zeros gets any direction."""
    q, r = np.linalg.qr(vectors)
    diagonal = np.diagonal(r)
    size = np.abs(diagonal)
    return q * np.where(size > 0, diagonal / np.where(size > 0, size, 1.0), 1.0)


def project(
    block: np.ndarray,
    skip: np.ndarray | None = None,
    *,
    projector: np.ndarray,
    mean: np.ndarray,
    columns: np.ndarray | None = None,
    limit_threads: bool = False,
) -> np.ndarray:
    """Rows on vectors: ``(X - mean) P``, NaN for rows that are left out or hold NaN.

    Parameters
    ----------
    block : ndarray, shape (n_rows, n_columns)
    skip : ndarray of bool, shape (n_rows,), optional
    projector : ndarray, shape (n_columns, k)
    mean : ndarray, shape (n_columns,)
    columns : ndarray of bool, shape (n_columns,), optional
        Columns to use.

    Returns
    -------
    ndarray, shape (n_rows, k)
    """
    if columns is not None:
        projector, mean = projector[columns], mean[columns]
    dtype = np.result_type(wide(block.dtype), projector.dtype, mean.dtype)
    result = np.empty((block.shape[0], projector.shape[1]), dtype)
    shifted = bool(np.any(mean))
    with single_threaded_blas(limit_threads):
        for part in row_slices(block.shape, False):
            x = block[part] if columns is None else block[part][:, columns]
            x = x.astype(np.result_type(wide(block.dtype), mean.dtype) if shifted else wide(block.dtype))
            if shifted:
                x -= mean
            bad = ~finite_rows(x)
            if bad.any():
                x[bad] = 0
            np.matmul(x, projector, out=result[part])
            result[part][bad] = np.nan
    if skip is not None:
        result[np.asarray(skip, bool)] = np.nan
    return result


# --------------------------------------------------------------------------------------------------------- basis


@dataclass(frozen=True)
class Basis:
    """Right singular vectors and all singular values of a matrix.

    Attributes
    ----------
    vectors : ndarray, shape (n_columns, n_kept)
        Orthonormal columns ``V`` of ``X = U S V^H``, by falling singular value.
    singular_values : ndarray, shape (n_all,)
    """

    vectors: np.ndarray
    singular_values: np.ndarray


def basis(square: np.ndarray, n_kept: int, *, factor: bool = False) -> Basis:
    """Right singular vectors and singular values from a Gram matrix or a triangular factor.

    Parameters
    ----------
    square : ndarray, shape (n, n)
    n_kept : int
        Vectors to keep; the singular values are all n.
    factor : bool
        Whether `square` is a factor R with ``X^H X = R^H R``.

    Raises
    ------
    ValueError
        If a square of the data overflowed.

    Notes
    -----
    From a Gram matrix a singular value is known to about ``n eps s_1^2 / s``: 1e-6 relative at ``1e-5 s_1``, nothing
    below ``1e-8 s_1``. From a factor it is known to ``eps s_1``, as LAPACK's.
    """
    if not np.isfinite(square).all():
        raise ValueError("the squares of the data exceed the range of float64: bring the data to other units first")
    if factor:
        _, values, right = np.linalg.svd(square, full_matrices=False)
        return Basis(np.ascontiguousarray(right[:n_kept].conj().T), values)
    from scipy.linalg import eigh

    # scaled to about one, so that the eigensolver's own thresholds mean the same for picoamperes as for counts
    scale = float(np.abs(np.diagonal(square)).max(initial=0.0)) or 1.0
    with single_threaded_blas(square.shape[0] <= _SMALL_SIDE):
        squares, vectors = eigh(square / scale, driver="evd", overwrite_a=True, check_finite=False)
    values = np.sqrt(np.maximum(squares[::-1], 0.0) * scale)
    return Basis(np.ascontiguousarray(vectors[:, ::-1][:, :n_kept]), values)


def fix_signs(vectors: np.ndarray) -> np.ndarray:
    """The phase of each column: multiply by it and the column's largest entry is real and positive.

    Of entries that are equally large to rounding the first decides, so that the sign does not hang on the last bit.

    Parameters
    ----------
    vectors : ndarray, shape (n, k)

    Returns
    -------
    ndarray, shape (k,)
        Plus or minus one, or of unit modulus for complex vectors; 1 for a column of zeros.
    """
    if vectors.shape[0] == 0:
        return np.ones(vectors.shape[1], vectors.dtype)
    size = np.abs(vectors)
    first = np.argmax(size >= size.max(axis=0) * (1 - 1e-6), axis=0)
    pivot = vectors[first, np.arange(vectors.shape[1])]
    length = np.abs(pivot)
    safe = np.where(length > 0, length, 1.0)
    return np.where(length > 0, pivot.conj() / safe, 1.0).astype(vectors.dtype)
