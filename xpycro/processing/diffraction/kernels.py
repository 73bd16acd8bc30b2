"""Compiled passes over diffraction patterns: sums under masks, weighted sums and ring sums of each one, and what all
of them share. A pattern is taken through every step while it is in the cache.

Imported only inside functions, since it compiles. May import numpy and numba.
"""

from __future__ import annotations

import numpy as np
from numba import njit

__all__ = ["counted", "ringed", "spread", "weighted"]


@njit(cache=True, nogil=True)
def _sum(values, mask):  # type: ignore[no-untyped-def]
    # 32 bits: twice the lanes of 64, and 2^15 counts of 16 bits stay below 2^31
    total = np.uint32(0)
    for i in range(values.size):
        total = np.uint32(total + (values[i] & mask[i]))
    return np.int64(np.int32(total))


@njit(cache=True, nogil=True)
def _sum_and_add(values, mask, columns):  # type: ignore[no-untyped-def]
    total = np.uint32(0)
    for i in range(values.size):
        value = values[i] & mask[i]
        total = np.uint32(total + value)
        columns[i] = np.int32(columns[i] + np.int32(value))
    return np.int64(np.int32(total))


@njit(cache=True, nogil=True)
def _under_mask(pattern, mask, first, last):  # type: ignore[no-untyped-def]
    """The sum of one pattern (flat, as its mask) under a mask, exact."""
    total = np.int64(0)
    for begin in range(first, last, 32767):
        end = min(begin + 32767, last)
        total += _sum(pattern[begin:end], mask[begin:end])
    return total


@njit(cache=True, nogil=True)
def _moments(pattern, mask, top, bottom, full, columns):  # type: ignore[no-untyped-def]
    """The sum of one pattern under a mask, the sums weighted by row and by column number, exact."""
    total = by_row = by_column = np.int64(0)
    columns[:] = 0
    for row in range(top, bottom):
        # of a mask that is full one row will do, and stays in the cache
        here = _sum_and_add(pattern[row], mask[top if full else row], columns)
        total += here
        by_row += here * row
    for column in range(columns.size):
        by_column += np.int64(columns[column]) * column
    return total, by_row, by_column


@njit(cache=True, nogil=True)
def _add_pattern(values, total, largest):  # type: ignore[no-untyped-def]
    for i in range(values.size):
        value = values[i]
        total[i] = np.int32(total[i] + np.int32(value))
        largest[i] = value if value > largest[i] else largest[i]


@njit(cache=True, nogil=True)
def counted(patterns, masks, rows, moments, out, total, largest, wants_patterns):  # type: ignore[no-untyped-def]
    """Integers of at most 16 bits: sums under masks (all bits set where they count), and the sum and maximum of all.

    patterns (n, y, x); masks (m, y, x) of the same dtype; rows (m, 3): the first and last + 1 that hold a mask, and
    whether it fills them; out (n, columns); total (int32) and largest over the detector, added to.
    """
    n, ny, nx = patterns.shape
    flat, flat_masks = patterns.reshape((n, ny * nx)), masks.reshape((masks.shape[0], ny * nx))
    columns = np.zeros(nx, np.int32)
    for p in range(n):
        at = 0
        for m in range(masks.shape[0]):
            top, bottom, full = rows[m]
            if moments[m]:
                out[p, at], out[p, at + 1], out[p, at + 2] = _moments(patterns[p], masks[m], top, bottom, full, columns)
                at += 3
            else:
                out[p, at] = _under_mask(flat[p], flat_masks[m], top * nx, bottom * nx)
                at += 1
        if wants_patterns:
            _add_pattern(flat[p], total, largest)


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract", "nsz"})
def weighted(patterns, weights, out):  # type: ignore[no-untyped-def]
    """out[p, m] = sum over pixels of patterns[p] * weights[m], those without weight left out, NaN or not; the order of
    summing is that of one pattern alone."""
    for p in range(patterns.shape[0]):
        for m in range(weights.shape[0]):
            total = 0.0
            for i in range(patterns.shape[1]):
                weight = float(weights[m, i])
                total += float(patterns[p, i]) * weight if weight != 0 else 0.0
            out[p, m] = total


@njit(cache=True, nogil=True)
def ringed(patterns, rings, out):  # type: ignore[no-untyped-def]
    """Sums over the rings: out[p, rings[i]] += patterns[p, i] where the ring's number is not negative."""
    for p in range(patterns.shape[0]):
        for i in range(patterns.shape[1]):
            if rings[i] >= 0:
                out[p, rings[i]] += float(patterns[p, i])


@njit(cache=True, nogil=True)
def spread(patterns, shift, total, square, largest, wants_square, wants_largest):  # type: ignore[no-untyped-def]
    """Sum and sum of squares of patterns less `shift`, and their maximum, over all patterns, pixel by pixel."""
    for p in range(patterns.shape[0]):
        for i in range(patterns.shape[1]):
            total[i] += float(patterns[p, i]) - shift[i]
        if wants_square:
            for i in range(patterns.shape[1]):
                d = float(patterns[p, i]) - shift[i]
                square[i] += d * d
        if wants_largest:
            for i in range(patterns.shape[1]):
                v = float(patterns[p, i])
                if v > largest[i] or np.isnan(v):
                    largest[i] = v
