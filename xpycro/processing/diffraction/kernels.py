"""Compiled passes over diffraction patterns: sums under masks, weighted sums and ring sums of each one, and what all
of them share. A pattern is taken through every step while it is in the cache.

Imported only inside functions, since it compiles. May import numpy and numba.
"""

from __future__ import annotations

import numpy as np
from numba import njit

__all__ = ["counted", "ringed", "spread", "weighted"]


@njit(cache=True, nogil=True)
def _row_sum(values, mask):  # type: ignore[no-untyped-def]
    # 32 bits: twice the lanes of 64, and a row of 16-bit counts is at most 2^15 long (see `passes`)
    total = np.uint32(0)
    for i in range(values.size):
        total = np.uint32(total + (values[i] & mask[i]))
    return np.int64(np.int32(total))


@njit(cache=True, nogil=True)
def _add_row(values, mask, columns):  # type: ignore[no-untyped-def]
    for i in range(values.size):
        columns[i] = np.int32(columns[i] + np.int32(values[i] & mask[i]))


@njit(cache=True, nogil=True)
def _under_mask(pattern, mask, box, moments, columns, out):  # type: ignore[no-untyped-def]
    """The sum of one pattern under a mask, exact; with `moments` also the sums weighted by row and by column."""
    top, bottom, left, right = box
    total = by_row = by_column = np.int64(0)
    if moments:
        columns[left:right] = 0
    for row in range(top, bottom):
        values, kept = pattern[row, left:right], mask[row, left:right]
        here = _row_sum(values, kept)
        total += here
        if moments:
            by_row += here * row
            _add_row(values, kept, columns[left:right])
    out[0] = total
    if moments:
        for column in range(left, right):
            by_column += np.int64(columns[column]) * column
        out[1], out[2] = by_row, by_column


@njit(cache=True, nogil=True)
def _add_pattern(values, total, largest):  # type: ignore[no-untyped-def]
    for i in range(values.size):
        value = values[i]
        total[i] = np.int32(total[i] + np.int32(value))
        largest[i] = value if value > largest[i] else largest[i]


@njit(cache=True, nogil=True)
def counted(patterns, masks, boxes, moments, out, total, largest, wants_patterns):  # type: ignore[no-untyped-def]
    """Integers of at most 16 bits: sums under masks (all bits set where they count), and the sum and maximum of all.

    patterns (n, y, x); masks (m, y, x) of the same dtype; boxes (m, 4) that hold them; out (n, columns); total (int32)
    and largest over the detector, added to.
    """
    columns = np.zeros(patterns.shape[2], np.int32)
    for p in range(patterns.shape[0]):
        at = 0
        for m in range(masks.shape[0]):
            _under_mask(patterns[p], masks[m], boxes[m], moments[m], columns, out[p, at:])
            at += 3 if moments[m] else 1
        if wants_patterns:
            for row in range(patterns.shape[1]):
                _add_pattern(patterns[p, row], total[row], largest[row])


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
