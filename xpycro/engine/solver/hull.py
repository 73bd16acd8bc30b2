"""Where the start of a switching loop comes from: the convex hull of its measured points.

Compiled; may import numpy and jit.
"""

from __future__ import annotations

import numpy as np

from xpycro.engine.solver.jit import kernel

__all__ = ["hull_extents"]


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
