"""One pass over a block of diffraction patterns: what is wanted of them, and how blocks are taken together.

NumPy in, NumPy out. May import numpy and the kernels beside it (inside functions, since they compile).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["Moments", "Wanted", "merged", "stacked", "swept"]

_SHORT = 2**15 - 1  # rows, columns and patterns whose 16-bit counts add up within 31 bits
_NEAR = 16384  # detector pixels whose counts, sums and masks fit the nearest cache together


@dataclass(frozen=True)
class Wanted:
    """What is wanted of patterns of a shape.

    Attributes
    ----------
    shape : (ny, nx)
    masks : ndarray of bool, shape (m, ny, nx)
        Sums under each.
    moments : ndarray of bool, shape (m,)
        Whether the sums weighted by row and by column number are wanted, too.
    weights : ndarray, shape (w, ny * nx)
        Weighted sums.
    rings : ndarray of int32, shape (ny * nx,), and their number
        Sums over rings; -1 belongs to none.
    total, square, largest : bool
        Whether mean (with either of the others, too), spread and maximum over all patterns are wanted.
    """

    shape: tuple[int, int]
    masks: np.ndarray
    moments: np.ndarray
    weights: np.ndarray
    rings: np.ndarray
    n_rings: int
    total: bool
    square: bool
    largest: bool

    @property
    def n_rows(self) -> int:
        """Numbers for each pattern: of the masks, the weights, the rings, in this order."""
        return len(self.masks) + 2 * int(self.moments.sum()) + len(self.weights) + self.n_rings


@dataclass
class Moments:
    """Of a set of patterns: their number, mean, sum of squares about it, and maximum, pixel by pixel."""

    count: int
    mean: np.ndarray
    square: np.ndarray
    largest: np.ndarray


def swept(patterns: np.ndarray, *, wanted: Wanted) -> tuple[np.ndarray, Moments | None]:
    """Everything that is wanted of patterns (n, pixels): numbers for each (n, n_rows), and what they share."""
    patterns = np.ascontiguousarray(patterns.astype(patterns.dtype.newbyteorder("="), copy=False))
    if patterns.dtype.kind == "b":
        patterns = patterns.view(np.uint8)
    out = np.zeros((len(patterns), wanted.n_rows))
    counts = patterns.dtype.kind in "iu" and patterns.dtype.itemsize <= 2 and max(wanted.shape) <= _SHORT
    if not counts:
        _weighed(patterns, _as_weights(wanted), out)
    at = wanted.n_rows - wanted.n_rings - len(wanted.weights)
    _weighed(patterns, wanted.weights, out[:, at:])
    if wanted.n_rings:
        from xpycro.processing.diffraction.kernels import ringed

        ringed(patterns, wanted.rings, out[:, at + len(wanted.weights) :])
    shared = _counted(patterns, wanted, out) if counts else _spread(patterns, wanted)
    return out, shared if wanted.total else None


def _counted(patterns: np.ndarray, wanted: Wanted, out: np.ndarray) -> Moments:
    """Small integers: sums in integers, exact."""
    from xpycro.processing.diffraction.kernels import counted

    count, size = patterns.shape
    images = patterns.reshape(-1, *wanted.shape)
    masks = np.where(wanted.masks, ~np.zeros((), patterns.dtype), np.zeros((), patterns.dtype))
    rows = np.array([_rows(mask) for mask in wanted.masks], dtype=np.int64).reshape(-1, 3)
    mean, largest, shift = np.zeros(size), patterns[0].copy(), patterns[0].copy()
    squares = np.zeros(size if wanted.square else 0, np.int64)  # about the first pattern: about zero they would cancel
    wants, height = np.array([wanted.total, wanted.square]), max(1, _NEAR // wanted.shape[1])
    for begin in range(0, count, _SHORT):
        total = np.zeros(size, np.int32)
        part = slice(begin, begin + _SHORT)
        counted(images[part], masks, rows, wanted.moments, out[part], total, largest, squares, shift, wants, height)
        mean += total
    mean /= count
    square = squares - count * (mean - shift) ** 2 if wanted.square else np.zeros(size)
    return Moments(count, mean, square, largest)


def _rows(mask: np.ndarray) -> tuple[int, int, int]:
    """The first and last + 1 row that hold a mask, and whether it fills them."""
    rows = np.flatnonzero(mask.any(axis=1))
    return (int(rows[0]), int(rows[-1]) + 1, int(mask[rows[0] : rows[-1] + 1].all())) if rows.size else (0, 0, 0)


def _as_weights(wanted: Wanted) -> np.ndarray:
    """Masks and their moments as weights."""
    rows = []
    y, x = np.indices(wanted.shape)
    for mask, moments in zip(wanted.masks, wanted.moments, strict=True):
        rows += [mask, mask * y, mask * x] if moments else [mask]
    return np.array(rows, dtype=np.float32).reshape(-1, y.size)


def _weighed(patterns: np.ndarray, weights: np.ndarray, out: np.ndarray) -> None:
    if len(weights):
        from xpycro.processing.diffraction.kernels import weighted

        weighted(patterns, weights, out)


def _spread(patterns: np.ndarray, wanted: Wanted) -> Moments:
    from xpycro.processing.diffraction.kernels import spread

    count, size = patterns.shape
    total, squares, highest = np.zeros(size), np.zeros(size), np.full(size, -np.inf)
    # sums of squares about the first pattern: about zero they would cancel
    shift = patterns[0].astype(float) if wanted.square else np.zeros(size)
    spread(patterns, shift, total, squares, highest, wanted.square, wanted.largest)
    return Moments(count, shift + total / count, squares - total**2 / count, highest)


def merged(a: Moments, b: Moments) -> Moments:
    """Two sets of patterns taken together (Chan, Golub and LeVeque 1979)."""
    count = a.count + b.count
    delta = b.mean - a.mean
    return Moments(
        count,
        a.mean + delta * (b.count / count),
        a.square + b.square + delta**2 * (a.count * b.count / count),
        np.maximum(a.largest, b.largest),
    )


def stacked(found: Moments) -> np.ndarray:
    """Mean, maximum and standard deviation."""
    return np.stack([found.mean, found.largest, np.sqrt(np.maximum(found.square, 0) / found.count)])
