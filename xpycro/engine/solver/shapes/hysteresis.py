"""The switching loop of band excitation, and where its start comes from: the convex hull of the measured points.

May import numba, numpy, math and the solver's jit.
"""

from __future__ import annotations

import math

import numpy as np
from numba import carray

from xpycro.engine.solver.jit import exp, helper, kernel

__all__ = ["hull_extents", "switching_loop"]

_SLOPE = 2.0 / np.sqrt(np.pi)


@helper
def _half_way(below, above):  # type: ignore[no-untyped-def]
    """How far the switching bias lies below the half-way one, and its derivatives by the two widths."""
    width = max(below, above)
    share = 0.5 * (above - below) / width  # within +-1/2, where the series and three Newton steps give all digits
    e = share / _SLOPE * (1.0 + np.pi / 12.0 * share * share)
    for _ in range(3):
        e -= (math.erf(e) - share) / (_SLOPE * exp(-e * e))
    slope = 0.5 / (_SLOPE * exp(-e * e))
    if above >= below:
        return width * e, -slope, e + slope * below / above
    return width * e, e - slope * above / below, slope


def switching_loop(x_, n, p, rows_, stride):  # type: ignore[no-untyped-def]
    """y and its derivatives; height, half-way biases (falling, rising), widths 0 to 3.

    The axis has two rows: the bias, and 1 where it rises, 0 where it falls. With g the width on the point's own side of
    its branch's switching bias a, ``y = (g erf((V - a) / g) + b) / (b + b')``, b below and b' above a: from 0 to 1, and
    continuously differentiable at a. The parameter is not a but the bias at which y is one half, which the data fix far
    better: moving a while the two widths make up for it hardly changes the loop, and would be a valley to creep along.
    """
    x, rows = carray(x_, 2 * n), carray(rows_, (7, stride))
    falling_gap, falling_below, falling_above = _half_way(p[3], p[4])
    rising_gap, rising_below, rising_above = _half_way(p[5], p[6])
    for i in range(n):
        rising = x[n + i] > 0.5
        if rising:
            at, below, above = p[2] - rising_gap, p[5], p[6]
            gap_below, gap_above = rising_below, rising_above
        else:
            at, below, above = p[1] - falling_gap, p[3], p[4]
            gap_below, gap_above = falling_below, falling_above
        v = x[i] - at
        g = above if v > 0.0 else below
        u = v / g
        total = below + above
        step = math.erf(u)
        slope = _SLOPE * exp(-u * u)
        y = (g * step + below) / total
        by_width = step - u * slope  # of g erf(v / g)
        by_below = (1.0 - y) / total if v > 0.0 else (by_width + 1.0 - y) / total
        by_above = (by_width - y) / total if v > 0.0 else -y / total
        slope /= total
        for k in range(1, 7):
            rows[k, i] = 0.0
        rows[0, i] = y
        first = 5 if rising else 3
        rows[2 if rising else 1, i] = -slope
        rows[first, i] = by_below + slope * gap_below
        rows[first + 1, i] = by_above + slope * gap_above


@kernel
def hull_extents(x, y, out):  # type: ignore[no-untyped-def]
    """Of each row's polygon (x, y): the ends of the lines through its centroid inside its convex hull, and its area.

    `out` gets lowest and highest y above the centroid's x, lowest and highest x beside its y, and the signed area. The
    hull's boundary over a place is the extreme of all chords over it, so no hull is built. NaN points are left out.
    """
    n = x.size
    px, py = np.empty(n), np.empty(n)
    for row in range(y.shape[0]):
        m = 0
        cx = cy = 0.0
        for i in range(n):
            if np.isfinite(y[row, i]):
                px[m], py[m] = x[i], y[row, i]
                cx += px[m]
                cy += py[m]
                m += 1
        for k in range(5):
            out[row, k] = np.nan
        if m < 3:
            continue
        cx /= m
        cy /= m
        area = mx = my = extent = 0.0
        for i in range(m):  # about the mean, lest digits go
            j = i + 1 if i + 1 < m else 0
            ax, ay, bx, by = px[i] - cx, py[i] - cy, px[j] - cx, py[j] - cy
            cross = ax * by - bx * ay
            area += 0.5 * cross
            extent += 0.5 * abs(cross)
            mx += (ax + bx) * cross / 6.0
            my += (ay + by) * cross / 6.0
        out[row, 4] = area
        if abs(area) > 0.05 * extent:  # else the mean of the points serves: a loop that crosses itself has no middle
            cx += mx / area
            cy += my / area
        lowest_y, highest_y, lowest_x, highest_x = np.inf, -np.inf, np.inf, -np.inf
        for i in range(m):
            for j in range(m):
                if px[i] <= cx < px[j]:
                    at = py[i] + (py[j] - py[i]) * (cx - px[i]) / (px[j] - px[i])
                    lowest_y, highest_y = min(lowest_y, at), max(highest_y, at)
                if py[i] <= cy < py[j]:
                    at = px[i] + (px[j] - px[i]) * (cy - py[i]) / (py[j] - py[i])
                    lowest_x, highest_x = min(lowest_x, at), max(highest_x, at)
        out[row, 0], out[row, 1], out[row, 2], out[row, 3] = lowest_y, highest_y, lowest_x, highest_x
