"""Small dense algebra for one pixel: scaled Cholesky, solves, inverse. Compiled; may import numba and jit only."""

from __future__ import annotations

import numpy as np

from xpycro.engine.solver.jit import channel_helper, helper

__all__ = ["dot", "factor", "invert", "solve"]


@channel_helper
def dot(a, b, m):  # type: ignore[no-untyped-def]
    total = 0.0
    for i in range(m):
        total += a[i] * b[i]
    return total


@helper
def factor(low, scale, n, damping):  # type: ignore[no-untyped-def]
    """Cholesky in place of the matrix scaled to unit diagonal, plus `damping` on it; the smallest pivot.

    A pivot lost in rounding is replaced by infinity: its unknown becomes zero instead of noise.
    """
    smallest = 1.0
    for a in range(n):
        scale[a] = 1.0 / np.sqrt(low[a, a]) if low[a, a] > 0.0 else 0.0
    for a in range(n):
        for b in range(a):
            value = low[a, b] * scale[a] * scale[b]
            for k in range(b):
                value -= low[a, k] * low[b, k]
            low[a, b] = value / low[b, b]
        value = 1.0 + damping if scale[a] > 0.0 else 0.0
        for k in range(a):
            value -= low[a, k] * low[a, k]
        smallest = min(smallest, value)
        low[a, a] = np.sqrt(value) if value > 1e-15 else np.inf
    return smallest


@helper
def solve(low, scale, n, b):  # type: ignore[no-untyped-def]
    """Solve with the factor, in place."""
    for a in range(n):
        value = b[a] * scale[a]
        for k in range(a):
            value -= low[a, k] * b[k]
        b[a] = value / low[a, a]
    for a in range(n - 1, -1, -1):
        value = b[a]
        for k in range(a + 1, n):
            value -= low[k, a] * b[k]
        b[a] = value / low[a, a]
    for a in range(n):
        b[a] *= scale[a]


@helper
def invert(low, scale, n, inverse):  # type: ignore[no-untyped-def]
    """The inverse of the factored matrix."""
    for c in range(n):
        for a in range(n):
            inverse[a, c] = 1.0 if a == c else 0.0
        for a in range(n):
            value = inverse[a, c] * scale[a]
            for k in range(a):
                value -= low[a, k] * inverse[k, c]
            inverse[a, c] = value / low[a, a]
        for a in range(n - 1, -1, -1):
            value = inverse[a, c]
            for k in range(a + 1, n):
                value -= low[k, a] * inverse[k, c]
            inverse[a, c] = value / low[a, a]
        for a in range(n):
            inverse[a, c] *= scale[a]
