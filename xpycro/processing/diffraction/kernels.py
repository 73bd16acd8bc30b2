"""Compiled passes over diffraction patterns: weighted sums of each one, sum, spread and maximum over all.

Imported only inside functions, since it compiles. May import numpy and numba.
"""

from __future__ import annotations

import numpy as np
from numba import njit

__all__ = ["spread", "weighted"]


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract", "nsz"})
def weighted(patterns, weights, out):  # type: ignore[no-untyped-def]
    """out[p, m] = sum over pixels of patterns[p] * weights[m]; the order of summing is that of one pattern alone."""
    for p in range(patterns.shape[0]):
        for m in range(weights.shape[0]):
            total = 0.0
            for i in range(patterns.shape[1]):
                total += float(patterns[p, i]) * float(weights[m, i])
            out[p, m] = total


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
