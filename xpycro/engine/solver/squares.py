"""Sums of squares of many rows in one pass, for models that need no iterations.

Compiled; may import numpy and this folder's jit.
"""

from __future__ import annotations

from xpycro.engine.solver.jit import channel_helper, kernel, wide

__all__ = ["row_squares"]


@channel_helper
def _mean(y, squared):  # type: ignore[no-untyped-def]
    """Weighted mean; NaN without weights."""
    wide()
    total = weights = 0.0
    for i in range(y.size):
        total += squared[i] * y[i]
        weights += squared[i]
    return total / weights


@channel_helper
def _of_row(y, target, fitted, squared, mean):  # type: ignore[no-untyped-def]
    """Of the residual with weights and without, where there is a weight; of the deviation from the mean."""
    wide()
    weighted = plain = variation = 0.0
    for i in range(y.size):
        w = squared[i]
        residual, deviation = target[i] - fitted[i], y[i] - mean
        size = residual * residual if w > 0.0 else 0.0
        plain += size
        weighted += w * size
        variation += w * deviation * deviation
    return weighted, plain, variation


@kernel
def row_squares(y, target, fitted, squared, quadratures, out):  # type: ignore[no-untyped-def]
    """Into the columns of `out`: weighted and plain squares of target - fitted, and the weighted variation of y.

    `squared` are the weights' squares, one row for all or one for each; each quadrature has its own mean. The variation
    of what is constant is zero exactly.
    """
    half = y.shape[1] // quadratures
    for row in range(y.shape[0]):
        own = squared[row if squared.shape[0] > 1 else 0]
        for k in range(3):
            out[row, k] = 0.0
        for q in range(quadratures):
            begin, end = q * half, (q + 1) * half
            values, w = y[row, begin:end], own[begin:end]
            mean = _mean(values, w)
            weighted, plain, variation = _of_row(values, target[row, begin:end], fitted[row, begin:end], w, mean)
            out[row, 0] += weighted
            out[row, 1] += plain
            # a mean is rounded: what is constant is told by comparing
            first = -1
            different = False
            for i in range(half):
                if w[i] > 0.0:
                    if first < 0:
                        first = i
                    elif values[i] != values[first]:
                        different = True
                        break
            if different:
                out[row, 2] += variation
