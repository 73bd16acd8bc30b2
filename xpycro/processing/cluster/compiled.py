"""The inner loop of Lloyd's iteration, compiled: nearest center, distance and sums in one go over a few rows.

May import numba and numpy only; imported inside functions, never at ``import xpycro``.
"""

from __future__ import annotations

import numpy as np
from numba import njit

__all__ = ["pass_over"]


@njit(cache=True, nogil=True, fastmath={"contract", "reassoc", "nsz"})
def pass_over(
    rows: np.ndarray, centers: np.ndarray, labels: np.ndarray, squared: np.ndarray, sums: np.ndarray, counts: np.ndarray
) -> None:
    """Fill `labels` and `squared`; add each row, less its center, to its cluster's sum.

    Differences, not expanded squares: a large common offset then costs no digits, and neither do the sums.
    """
    n, d = rows.shape
    k = centers.shape[0]
    for i in range(n):
        best, nearest = np.inf, 0
        for j in range(k):
            total = 0.0
            for c in range(d):
                delta = rows[i, c] - centers[j, c]
                total += delta * delta
            if total < best:
                best, nearest = total, j
        labels[i] = nearest
        squared[i] = best
        counts[nearest] += 1
        for c in range(d):
            sums[nearest, c] += rows[i, c] - centers[nearest, c]
