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
def _moments(pattern, mask, top, bottom, full, columns):  # type: ignore[no-untyped-def]
    """The sum of some rows of a pattern under a mask, the sums weighted by row and by column number, exact."""
    total = by_row = by_column = np.int64(0)
    columns[:] = 0
    for row in range(top, bottom):
        values, used = (
            pattern[row],
            mask[top if full else row],
        )  # of a full mask one row will do, and stays in the cache
        here = np.uint32(0)
        for i in range(columns.size):
            value = values[i] & used[i]
            here = np.uint32(here + value)
            columns[i] = np.int32(columns[i] + np.int32(value))
        total += np.int64(np.int32(here))
        by_row += np.int64(np.int32(here)) * row
    for column in range(columns.size):
        by_column += np.int64(columns[column]) * column
    return total, by_row, by_column


@njit(cache=True, nogil=True)
def _add(values, total, largest):  # type: ignore[no-untyped-def]
    for i in range(values.size):
        value = values[i]
        total[i] = np.int32(total[i] + np.int32(value))
        largest[i] = value if value > largest[i] else largest[i]


@njit(cache=True, nogil=True)
def _add_four(a, b, c, d, total, largest):  # type: ignore[no-untyped-def]
    """As `_add`, of four patterns: what is added to is loaded and stored once."""
    for i in range(a.size):
        both, others = (a[i] if a[i] > b[i] else b[i]), (c[i] if c[i] > d[i] else d[i])
        high = both if both > others else others
        total[i] = np.int32(total[i] + np.int32(a[i]) + np.int32(b[i]) + np.int32(c[i]) + np.int32(d[i]))
        largest[i] = high if high > largest[i] else largest[i]


@njit(cache=True, nogil=True)
def _add_squares(values, shift, square):  # type: ignore[no-untyped-def]
    for i in range(values.size):
        d = np.int64(values[i]) - np.int64(shift[i])
        square[i] += d * d


@njit(cache=True, nogil=True)
def counted(patterns, masks, rows, moments, out, total, largest, square, shift, wants, height):  # type: ignore[no-untyped-def]
    """Integers of at most 16 bits: sums under masks (all bits set where they count), and what all patterns share.

    patterns (n, y, x); masks (m, y, x) of the same dtype; rows (m, 3): the first and last + 1 that hold a mask, and
    whether it fills them; out (n, columns), added to; over the detector, flat, and added to: total (int32), largest,
    square (int64) of the patterns less `shift`; wants: whether total and largest, whether square. `height` rows of all
    patterns are taken through every step before the next: what is added to stays in the nearest cache.
    """
    n, ny, nx = patterns.shape
    flat, flat_masks = patterns.reshape((n, ny * nx)), masks.reshape((masks.shape[0], ny * nx))
    columns = np.zeros(nx, np.int32)
    for top in range(0, ny, height):
        bottom = min(top + height, ny)
        part = slice(top * nx, bottom * nx)
        for p in range(n):
            at = 0
            for m in range(masks.shape[0]):
                first, last = max(rows[m, 0], top), min(rows[m, 1], bottom)
                if first < last and moments[m]:
                    sums = _moments(patterns[p], masks[m], first, last, rows[m, 2], columns)
                    for k in range(3):
                        out[p, at + k] += sums[k]
                elif first < last:
                    out[p, at] += _sum(flat[p, first * nx : last * nx], flat_masks[m, first * nx : last * nx])
                at += 3 if moments[m] else 1
            if wants[0] and p % 4 == 3:
                _add_four(
                    flat[p - 3, part], flat[p - 2, part], flat[p - 1, part], flat[p, part], total[part], largest[part]
                )
            elif wants[0] and p >= n - n % 4:
                _add(flat[p, part], total[part], largest[part])
            if wants[1]:
                _add_squares(flat[p, part], shift[part], square[part])


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
