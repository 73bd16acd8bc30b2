"""The switching loop of band excitation: its shape with derivatives, and the descent of one pixel to its minimum.

With g the width on the point's own side of its branch's switching bias a, ``y = (g erf((V - a) / g) + b) / (b + b')``,
b below and b' above a: from 0 to 1, continuously differentiable at a; the loop is ``a0 + a1 y + a4 V``, of which the
three coefficients are eliminated. The descent moves not a but the bias at which y is one half, which the data fix far
better: moving a while the two widths make up for it hardly changes the loop, and would be a valley to creep along.

Compiled; may import numba, numpy, math, scipy.special and the solver's jit and problem. All functions work on the
points of one pixel in one piece of memory (`LONG` pieces as long as a row, then short ones), falling branch first, each
branch by rising bias: so a side of a branch is a range of points.

References: Golub and Pereyra, SIAM J. Numer. Anal. 10, 413 (1973); Kaufman, BIT 15, 49 (1975); Shepherd and
Laframboise, Math. Comp. 36, 249 (1981).
"""

from __future__ import annotations

import math

import numpy as np
from numba import carray

from xpycro.engine.solver.jit import apart, exp, helper
from xpycro.engine.solver.problem import Status

__all__ = ["descend", "factor", "half_way", "project", "shapes", "solve"]

# numba freezes these at compile time
MAX_ITERATIONS, CONVERGED, SMALL_STEP, NOT_FINITE, SINGULAR = map(
    int, (Status.MAX_ITERATIONS, Status.COST, Status.STEP, Status.NOT_FINITE, Status.SINGULAR)
)
_SLOPE = 2.0 / np.sqrt(np.pi)
_MIDDLE = 3.75
# what a nonlinear vector holds: half-way bias (or switching bias), width below, width above; falling, then rising
N_SHAPE, N_ALL = 6, 9
# long pieces: bias, loop without its line, the line's two directions, y(V), residual, derivatives (place, widths)
V, Y, LINE, PHI, RESIDUAL, ROWS, LONG = 0, 1, 2, 4, 5, 6, 9
# short ones, places behind the long ones
P, TRIAL, BEST, FOUND, NEAR, LOWER, UPPER = (6 * k for k in range(7))
GRADIENT, WHOLE, SCALE, STEP, SUMS, OUT, NORMAL, LOW, MATRIX, SHORT = 42, 48, 54, 63, 72, 96, 103, 139, 175, 256
DIRECT_FALLING, DIRECT_RISING = 1, 2  # places are switching biases, not half-way ones


def _coefficients() -> np.ndarray:
    """Of ``(1 + 2 u) exp(u^2) erfc(u)`` as a polynomial in (u - k) / (u + k), highest power first."""
    from scipy.special import erfcx

    count = 24
    t = np.cos(np.pi * (np.arange(count) + 0.5) / count)
    u = _MIDDLE * (1 + t) / (1 - t)
    chebyshev = np.polynomial.Chebyshev.fit(t, (1 + 2 * u) * erfcx(u), count - 1, domain=[-1, 1])
    return np.ascontiguousarray(chebyshev.convert(kind=np.polynomial.Polynomial).coef[::-1])


_A = _coefficients()


@helper
def half_way(below, above):  # type: ignore[no-untyped-def]
    """How far the switching bias lies below the half-way one, and its derivatives by the two widths."""
    width = max(below, above)
    share = 0.5 * (above - below) / width
    # erfinv: its series, good to 1e-5 within +-1/2, and one step of Halley's method give all digits
    z = share / _SLOPE
    z2 = z * z
    e = z * (1.0 + z2 * (1 / 3 + z2 * (7 / 30 + z2 * (127 / 630 + z2 * (4369 / 22680 + z2 * (34807 / 178200))))))
    step = (math.erf(e) - share) / (_SLOPE * exp(-e * e))
    e -= step / (1.0 + e * step)
    slope = 0.5 / (_SLOPE * exp(-e * e))
    if above >= below:
        return width * e, -slope, e + slope * below / above
    return width * e, e - slope * above / below, slope


@apart("void(CPointer(float64), int64, int64, int64, int64, int64)", sums=True)
def shapes(memory, m, split, n, which, direct):  # type: ignore[no-untyped-def]
    """y and the three derivatives of its own branch at every point, for the vector at `which`."""
    w = carray(memory, LONG * m + SHORT)
    p = w[LONG * m + which :]
    v, phi, rows = w[V * m : V * m + n], w[PHI * m : PHI * m + n], w[ROWS * m :]
    place, distance, third = rows[:n], rows[m : m + n], rows[2 * m : 2 * m + n]
    ends, bends = np.empty(5, np.int64), np.empty(4)
    # indices are counted from zero, so that none can be negative: else loops do not vectorise
    for branch in range(2):
        at, b, c = p[3 * branch], p[3 * branch + 1], p[3 * branch + 2]
        bends[2 * branch] = bends[2 * branch + 1] = 0.0
        if direct & (1 + branch) == 0:
            gap, bends[2 * branch], bends[2 * branch + 1] = half_way(b, c)
            at -= gap
        first, last = (0, split) if branch == 0 else (split, n)
        turn = first
        while turn < last and v[turn] <= at:
            turn += 1
        ends[2 * branch], ends[2 * branch + 1] = first, turn
        for side in range(2):
            begin, end = (turn, last) if side == 1 else (first, turn)
            inverse = 1.0 / c if side == 1 else -1.0 / b
            bias, u = v[begin:end], distance[begin:end]
            for i in range(end - begin):
                u[i] = (bias[i] - at) * inverse
    ends[4] = n
    for i in range(n):
        u = distance[i]
        e = exp(-u * u)
        t = (u - _MIDDLE) / (u + _MIDDLE)
        q = 0.0
        for k in range(_A.size):
            q = q * t + _A[k]
        phi[i] = 1.0 - e * q / (1.0 + 2.0 * u)
        place[i] = _SLOPE * e
    for side in range(4):
        begin, end = ends[side], ends[side + 1]
        branch = side // 2
        b, c = p[3 * branch + 1], p[3 * branch + 2]
        above = 1.0 if side % 2 == 1 else 0.0
        sign, share, gap_b, gap_c = 2.0 * above - 1.0, 1.0 / (b + c), bends[2 * branch], bends[2 * branch + 1]
        g = sign * (c if side % 2 == 1 else b)
        y, slope, lower, upper = phi[begin:end], place[begin:end], distance[begin:end], third[begin:end]
        for i in range(end - begin):
            by_width = sign * (y[i] - lower[i] * slope[i])
            value = (g * y[i] + b) * share
            lower[i] = ((1.0 - above) * by_width + 1.0 - value + slope[i] * gap_b) * share
            upper[i] = (above * by_width - value + slope[i] * gap_c) * share
        for i in range(end - begin):
            y[i] = (g * y[i] + b) * share
            slope[i] *= -share


@apart("float64(CPointer(float64), int64, int64)", sums=True)
def project(memory, m, n):  # type: ignore[no-untyped-def]
    """The line taken off y(V), the best height, the residual; the cost. OUT: height, what is left of y(V), the line."""
    w = carray(memory, LONG * m + SHORT)
    out = w[LONG * m + OUT :]
    y, phi, residual = w[Y * m : (Y + 1) * m], w[PHI * m : (PHI + 1) * m], w[RESIDUAL * m : (RESIDUAL + 1) * m]
    first, second = w[LINE * m : (LINE + 1) * m], w[(LINE + 1) * m : (LINE + 2) * m]
    a = b = norm = along = cost = 0.0
    for i in range(n):
        a += phi[i] * first[i]
        b += phi[i] * second[i]
    for i in range(n):
        left = phi[i] - a * first[i] - b * second[i]
        phi[i] = left
        norm += left * left
        along += left * y[i]
    height = along / norm if norm > 0.0 else 0.0
    for i in range(n):
        left = y[i] - height * phi[i]
        residual[i] = left
        cost += left * left
    out[0], out[1], out[2], out[3] = height, norm, a, b
    return 0.5 * cost


@apart("void(CPointer(float64), int64, int64, int64)", sums=True)
def _normal_equations(memory, m, split, n):  # type: ignore[no-untyped-def]
    """Of the six nonlinear parameters, what line and height can explain taken off (Schur complement)."""
    w = carray(memory, LONG * m + SHORT)
    s = w[LONG * m :]
    sums = s[SUMS : SUMS + 24].reshape((6, 4))
    normal, out = s[NORMAL : NORMAL + 36].reshape((6, 6)), s[OUT:]
    first, second = w[LINE * m : (LINE + 1) * m], w[(LINE + 1) * m : (LINE + 2) * m]
    phi, residual = w[PHI * m : (PHI + 1) * m], w[RESIDUAL * m : (RESIDUAL + 1) * m]
    height, norm = out[0], out[1]
    square = height * height
    for j in range(N_SHAPE):
        begin, end = (0, split) if j < 3 else (split, n)
        own = w[(ROWS + j % 3) * m + begin : (ROWS + j % 3) * m + end]
        r, f, g, h = residual[begin:end], first[begin:end], second[begin:end], phi[begin:end]
        a = b = c = d = 0.0
        for i in range(end - begin):
            a += own[i] * r[i]
            b += own[i] * f[i]
            c += own[i] * g[i]
            d += own[i] * h[i]
        sums[j, 0], sums[j, 1], sums[j, 2], sums[j, 3] = height * a, b, c, d
        s[GRADIENT + j] = height * a
        for k in range(j + 1):
            value = 0.0
            if (j < 3) == (k < 3):
                other = w[(ROWS + k % 3) * m + begin : (ROWS + k % 3) * m + end]
                for i in range(end - begin):
                    value += own[i] * other[i]
            if j == k:
                s[WHOLE + j] = square * value
            value -= sums[j, 1] * sums[k, 1] + sums[j, 2] * sums[k, 2]
            if norm > 0.0:
                value -= sums[j, 3] * sums[k, 3] / norm
            normal[j, k] = normal[k, j] = square * value


@helper
def factor(low, scale, n, damping, least):  # type: ignore[no-untyped-def]
    """Cholesky in place, scaled to unit diagonal, `damping` on it; pivots below `least` count as that; the smallest."""
    smallest = 1.0
    for a in range(n):
        scale[a] = 1.0 / np.sqrt(low[a, a]) if low[a, a] > 0.0 else 0.0
    for a in range(n):
        for b in range(a):
            value = low[a, b] * scale[a] * scale[b]
            for k in range(b):
                value -= low[a, k] * low[b, k]
            low[a, b] = value / low[b, b]
        value = 1.0 + damping
        for k in range(a):
            value -= low[a, k] * low[a, k]
        smallest = min(smallest, value)
        low[a, a] = np.sqrt(max(value, least))
    return smallest


@helper
def solve(low, scale, n, b):  # type: ignore[no-untyped-def]
    """With the factor, in place of the right side."""
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


@apart("float64(CPointer(float64), CPointer(int64), int64, float64)")
def _step(short, subset_, count, damping):  # type: ignore[no-untyped-def]
    """The damped step (in STEP) of the `count` parameters that may move; the smallest pivot."""
    s, subset = carray(short, SHORT), carray(subset_, N_SHAPE)
    normal, low = s[NORMAL : NORMAL + 36].reshape((6, 6)), s[LOW : LOW + 36].reshape((6, 6))
    step = s[STEP:]
    for a in range(count):
        step[a] = s[GRADIENT + subset[a]]
        for b in range(a + 1):
            low[a, b] = normal[subset[a], subset[b]]
    pivot = factor(low, s[SCALE:], count, damping, 1e-15)
    solve(low, s[SCALE:], count, step)
    return pivot


@apart("int64(CPointer(float64), int64, int64, int64, int64, int64, int64, float64, float64, float64, int64)")
def descend(memory, m, split, n, which, direct, fixed, damping, relative, absolute, limit):  # type: ignore[no-untyped-def]
    """Levenberg-Marquardt in place of the vector at `which`; the status. OUT 4 and 5: cost, number of steps.

    Until no more is promised than `relative` of the cost, or `absolute`. The parameter `fixed` (-1: none) stays.
    """
    w = carray(memory, LONG * m + SHORT)
    s = w[LONG * m :]
    short = s.ctypes
    p, trial, lower, upper, step, gradient, whole, out = (
        s[which:], s[TRIAL:], s[LOWER:], s[UPPER:], s[STEP:], s[GRADIENT:], s[WHOLE:], s[OUT:],
    )  # fmt: skip
    normal = s[NORMAL : NORMAL + 36].reshape((6, 6))
    subset_memory = np.empty(N_SHAPE, np.int64)
    subset = subset_memory
    power = out[6]
    shapes(memory, m, split, n, which, direct)
    cost = project(memory, m, n)
    out[4], out[5] = cost, 0.0
    if not np.isfinite(cost):
        return NOT_FINITE
    growth, exact, steps = 2.0, 1e-30 * power + 1e-300, 0
    while True:
        _normal_equations(memory, m, split, n)
        count, lost = 0, False
        for j in range(N_SHAPE):
            if j == fixed or (p[j] <= lower[j] and gradient[j] <= 0.0) or (p[j] >= upper[j] and gradient[j] >= 0.0):
                continue
            if whole[j] == 0.0 or normal[j, j] <= 1e-13 * whole[j]:
                lost = True
                continue
            subset[count] = j
            count += 1
        # how much the undamped step still promises: the test that damping cannot fool
        pivot = _step(short, subset.ctypes, count, 0.0)
        promise = 0.0
        for a in range(count):
            promise += 0.5 * step[a] * gradient[subset[a]]
        out[4], out[5] = cost, steps
        if promise <= max(relative * cost, absolute) or cost <= exact:
            return SINGULAR if lost or pivot < 1e-14 else CONVERGED
        if steps == limit:
            return MAX_ITERATIONS
        steps += 1
        accepted = False
        while damping < 1e14:
            _step(short, subset.ctypes, count, damping)
            predicted = 0.0
            for j in range(N_SHAPE):
                trial[j] = p[j]
            for a in range(count):
                j = subset[a]
                trial[j] = min(max(p[j] + step[a], lower[j]), upper[j])
                step[a] = trial[j] - p[j]
                predicted += step[a] * gradient[j]
                for b in range(a + 1):
                    value = step[a] * normal[j, subset[b]] * step[b]
                    predicted -= value if b < a else 0.5 * value
            shapes(memory, m, split, n, TRIAL, direct)
            reached = project(memory, m, n)
            ratio = (cost - reached) / predicted if predicted > 0.0 else 0.0
            if reached < cost and ratio > 1e-4:
                accepted = True
                cost = reached
                for j in range(N_SHAPE):
                    p[j] = trial[j]
                damping = max(damping * max(0.05, 1.0 - (2.0 * ratio - 1.0) ** 3), 1e-12)
                growth = 2.0
                break
            # below what the cost can show; not before the steps are short, for bounds may have cut the long ones
            if predicted <= 1e-14 * cost and damping > 1e3:
                break
            damping *= growth
            growth *= 2.0
        if not accepted:
            # nothing better within rounding: as good as converged where little was promised
            return SMALL_STEP if promise <= 1e-6 * cost else NOT_FINITE
