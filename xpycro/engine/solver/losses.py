"""What is summed over the channels: plain squares, robust losses, the deviance of counts.

Compiled; may import numpy and this folder's compiled modules. For a complex residual a robust loss acts on the
magnitude.
"""

from __future__ import annotations

import numpy as np

from xpycro.engine.solver import memory as at
from xpycro.engine.solver.dense import dot
from xpycro.engine.solver.native import native, wide
from xpycro.engine.solver.problem import LEAST, Loss

__all__ = ["cost_of", "difference_noise", "is_white", "reweight", "robust_variance"]

# frozen when compiled
LINEAR, SOFT_L1, HUBER, CAUCHY, POISSON = map(int, (Loss.LINEAR, Loss.SOFT_L1, Loss.HUBER, Loss.CAUCHY, Loss.POISSON))


@native("float(floats, floats, int, int, int, float)")
def _bent_cost(residual, y, m, quadratures, loss, scale):  # type: ignore[no-untyped-def]
    """That of robust losses and of counts."""
    total = 0.0
    if loss == POISSON:
        floor = scale  # below it the deviance goes on as a parabola, so that a trial below zero has a cost
        for i in range(m):
            counts = y[i]
            model = counts - residual[i]
            if model >= floor:
                total += model - counts
                if counts > 0.0:
                    total += counts * np.log(counts / model)
            else:
                kept = max(counts, floor)
                step = model - floor
                total += floor - counts + (1.0 - kept / floor) * step + 0.5 * kept / (floor * floor) * step * step
                if counts > 0.0:
                    total += counts * np.log(counts / floor)
        return total
    n = m // quadratures
    for i in range(n):
        z = residual[i] * residual[i]
        if quadratures == 2:
            z += residual[n + i] * residual[n + i]
        z /= scale * scale
        if loss == SOFT_L1:
            total += 2.0 * (np.sqrt(1.0 + z) - 1.0)
        elif loss == HUBER:
            total += z if z <= 1.0 else 2.0 * np.sqrt(z) - 1.0
        else:
            total += np.log1p(z)
    return 0.5 * scale * scale * total


@native("float(int, int)")
def cost_of(table, piece):  # type: ignore[no-untyped-def]
    """Half the sum of the loss of a residual; infinite or NaN where the model is."""
    counts, residual = at.integers(table, at.COUNTS), at.numbers(table, piece)
    if counts[at.LOSS] == LINEAR:
        return 0.5 * dot(residual, residual, counts[at.M])
    return _bent_cost(
        residual, at.numbers(table, at.DATA), counts[at.M], counts[at.QUADRATURES], counts[at.LOSS],
        at.numbers(table, at.SCALARS)[at.ROBUST_SCALE],
    )  # fmt: skip


@native("float(float, int)")
def _slope(z, loss):  # type: ignore[no-untyped-def]
    """Derivative of a robust loss by the squared residual."""
    if loss == SOFT_L1:
        return 1.0 / np.sqrt(1.0 + z)
    if loss == HUBER:
        return 1.0 if z <= 1.0 else 1.0 / np.sqrt(z)
    return 1.0 / (1.0 + z)


@native("float(float, int)")
def _bend(z, loss):  # type: ignore[no-untyped-def]
    """Second derivative of a robust loss by the squared residual."""
    if loss == SOFT_L1:
        return -0.5 / (1.0 + z) ** 1.5
    if loss == HUBER:
        return 0.0 if z <= 1.0 else -0.5 / z**1.5
    return -1.0 / (1.0 + z) ** 2


@native("void(int, int, int)")
def reweight(table, rows, piece):  # type: ignore[no-untyped-def]
    """Residual (in SCALED) and derivative rows whose plain step is the step of the loss (Triggs; Fisher scoring)."""
    counts, slopes = at.integers(table, at.COUNTS), at.integers(table, at.SLOPE_ROW)
    residual, scaled = at.numbers(table, piece), at.numbers(table, at.SCALED)
    y, filled = at.numbers(table, at.DATA), at.matrix(table, rows)
    quadratures, loss, count = counts[at.QUADRATURES], counts[at.LOSS], counts[at.N_SLOPES]
    m, scale = counts[at.M], at.numbers(table, at.SCALARS)[at.ROBUST_SCALE]
    if loss == POISSON:
        for i in range(m):
            model = y[i] - residual[i]
            if model >= scale:
                w = 1.0 / np.sqrt(model)
                scaled[i] = residual[i] * w
            else:
                kept = max(y[i], scale)
                w = np.sqrt(kept) / scale
                scaled[i] = -((1.0 - kept / scale) + kept / (scale * scale) * (model - scale)) / w
            for k in range(count):
                filled[slopes[k], i] *= w
        return
    n = m // quadratures
    for i in range(n):
        z = residual[i] * residual[i]
        if quadratures == 2:
            z += residual[n + i] * residual[n + i]
        magnitude = np.sqrt(z)
        z /= scale * scale
        first, second = _slope(z, loss), _bend(z, loss)
        along = np.sqrt(max(first + 2.0 * second * z, LEAST * first))
        across = np.sqrt(first)
        if quadratures == 1:
            scaled[i] = residual[i] * first / along
            for k in range(count):
                filled[slopes[k], i] *= along
            continue
        # the loss bends along the residual only: turn the two quadratures into along and across
        c = residual[i] / magnitude if magnitude > 0.0 else 1.0
        s = residual[n + i] / magnitude if magnitude > 0.0 else 0.0
        scaled[i], scaled[n + i] = magnitude * first / along, 0.0
        for k in range(count):
            re, im = filled[slopes[k], i], filled[slopes[k], n + i]
            filled[slopes[k], i] = (c * re + s * im) * along
            filled[slopes[k], n + i] = (c * im - s * re) * across


@native("float(int)")
def robust_variance(table):  # type: ignore[no-untyped-def]
    """What turns the inverse normal matrix of a robust fit into a covariance (Huber, Robust Statistics, 1981, 7.6).

    With psi the derivative of the loss by the residual: sum(psi^2) / (m - n) over the squared mean of psi', times the
    mean curvature that is in the normal matrix.
    """
    counts, residual = at.integers(table, at.COUNTS), at.numbers(table, at.RESIDUAL)
    m, quadratures, loss = counts[at.M], counts[at.QUADRATURES], counts[at.LOSS]
    scale = at.numbers(table, at.SCALARS)[at.ROBUST_SCALE]
    n = m // quadratures
    squares = curvature = kept = 0.0
    for i in range(n):
        z = residual[i] * residual[i]
        if quadratures == 2:
            z += residual[n + i] * residual[n + i]
        first, second = _slope(z / (scale * scale), loss), _bend(z / (scale * scale), loss)
        squares += first * first * z
        bent = first + 2.0 * second * z / (scale * scale)
        curvature += bent
        kept += max(bent, LEAST * first)
        if quadratures == 2:  # across the residual
            curvature += first
            kept += first
    if m <= counts[at.N_FITTED] or curvature <= 0.0:
        return np.nan
    return squares / (m - counts[at.N_FITTED]) * kept * m / (curvature * curvature)


@native("float(floats, int, floats)")
def difference_noise(y, n, spare):  # type: ignore[no-untyped-def]
    """Standard deviation of white noise from second differences, which a smooth signal hardly touches."""
    if n < 3:
        return 0.0
    for i in range(1, n - 1):
        spare[i - 1] = abs(y[i - 1] - 2.0 * y[i] + y[i + 1])
    # the median by halving an interval: sorting would take longer to compile than all the rest
    low, high = 0.0, 0.0
    for i in range(n - 2):
        high = max(high, spare[i])
    for _ in range(40):
        middle = 0.5 * (low + high)
        below = 0
        for i in range(n - 2):
            below += spare[i] <= middle
        if 2 * below >= n - 2:
            high = middle
        else:
            low = middle
    return 1.4826 * high / np.sqrt(6.0)


@native("int(floats, int, int, float)", sums=True)
def is_white(residual, m, quadratures, power):  # type: ignore[no-untyped-def]
    """Whether a residual looks like noise: its second differences are as large as independent numbers' would be."""
    wide()
    n = m // quadratures
    rough = total = 0.0
    for i in range(m):
        total += residual[i] * residual[i]
    for q in range(quadratures):
        for i in range(q * n + 1, (q + 1) * n - 1):
            rough += (residual[i - 1] - 2.0 * residual[i] + residual[i + 1]) ** 2
    white = n < 8 or total <= 1e-12 * power or rough > 0.85 * 6.0 * total
    return 1 if white else 0
