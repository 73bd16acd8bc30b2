"""Where the fit of an oscillator starts: a linear fit, or the maximum of the magnitude. Lanes as in `sho`."""

from __future__ import annotations

import numpy as np

from xpycro.engine.solver.jit import channel_helper
from xpycro.engine.solver.lanes import load, number, spread, where_less

__all__ = ["linear_start", "linear_sums", "second_start"]


@channel_helper
def linear_sums(n_channels, u, u2, re, im, w2, a, b, reweighted):  # type: ignore[no-untyped-def]
    """What the linear fit of Z (u^2 - i a u - b) = C needs, weighted by 1/|D|^2 at (a, b) if asked.

    Sums of w Z, w u Z, w u^2 Z, w |Z|^2, w u^2 |Z|^2 and w.
    """
    zr = zi = vr = vi = tr = ti = zz = vv = sw = spread(0.0)
    for i in range(n_channels):
        w, x, y = load(w2, i), load(re, i), load(im, i)
        if reweighted:
            d, e = number(u2, i) - b, number(u, i) * a
            w /= d * d + e * e
        wx, wy = w * x, w * y
        size = wx * x + wy * y
        zr += wx
        zi += wy
        vr += number(u, i) * wx
        vi += number(u, i) * wy
        tr += number(u2, i) * wx
        ti += number(u2, i) * wy
        zz += size
        vv += number(u2, i) * size
        sw += w
    return zr, zi, vr, vi, tr, ti, zz, vv, sw


@channel_helper
def _solved(sums):  # type: ignore[no-untyped-def]
    """(a, b) of the linear fit; b < 0 where there is none."""
    zr, zi, vr, vi, tr, ti, zz, vv, sw = sums
    # columns: i u Z and Z; target: u^2 Z; the mean taken off each, which takes C out
    inverse = 1.0 / sw
    maa = vv - (vr * vr + vi * vi) * inverse
    mbb = zz - (zr * zr + zi * zi) * inverse
    mab = (vi * zr - vr * zi) * inverse
    ta = (vi * tr - vr * ti) * inverse
    tb = vv - (zr * tr + zi * ti) * inverse
    det = maa * mbb - mab * mab
    a, b = (ta * mbb - tb * mab) / det, (tb * maa - ta * mab) / det
    least = 1e-14 * maa * mbb
    return where_less(least, det, a, spread(0.0)), where_less(least, det, b, spread(-1.0))


@channel_helper
def linear_start(n_channels, u, u2, re, im, w2, sums):  # type: ignore[no-untyped-def]
    """A linear fit, of which the sums are known, and another one with the weights that it tells."""
    a, b = _solved(sums)
    again_a, again_b = _solved(linear_sums(n_channels, u, u2, re, im, w2, a, b, True))
    zero = spread(0.0)
    return where_less(zero, b, again_a, a), where_less(zero, b, again_b, b)


@channel_helper
def _projected_cost(n_channels, u, u2, re, im, w2, a, b, power):  # type: ignore[no-untyped-def]
    """What the best coefficient leaves."""
    norm = pr = pi = spread(0.0)
    for i in range(n_channels):
        d, e, x, y = number(u2, i) - b, number(u, i) * a, load(re, i), load(im, i)
        w = load(w2, i) / (d * d + e * e)
        norm += w
        pr += w * (d * x + e * y)
        pi += w * (d * y - e * x)
    return 0.5 * (power - (pr * pr + pi * pi) / norm)


@channel_helper
def second_start(n_channels, u, u2, re, im, w2, n, a, b, power):  # type: ignore[no-untyped-def]
    """(a, b, conjugated): the better of the linear fit's (a, b) and the maximum of the magnitude.

    `conjugated` is what the opposite sign of the damping would cost.
    """
    zero, one, infinity = spread(0.0), spread(1.0), spread(np.inf)
    low, high, top, place, peak = infinity, zero - infinity, zero, spread(number(u, 0)), zero
    for i in range(n_channels):
        x, y, w, v = load(re, i), load(im, i), load(w2, i), spread(number(u, i))
        size = x * x + y * y
        low = where_less(zero, w, where_less(v, low, v, low), low)
        high = where_less(zero, w, where_less(high, v, v, high), high)
        more = w * size
        place, peak = where_less(top, more, v, place), where_less(top, more, size, peak)
        top = where_less(top, more, more, top)
    # second start: the largest magnitude, its width from where half the power is
    above = zero
    for i in range(n_channels):
        x, y = load(re, i), load(im, i)
        above += where_less(0.5 * peak, x * x + y * y, where_less(zero, load(w2, i), one, zero), zero)
    width = (high - low) / n * where_less(above, one, one, above)
    best_a, best_b, best, conjugated = spread(0.05), one, infinity, infinity
    # the linear fit counts where it lies among the channels
    own_a = where_less(b, low * low, zero, where_less(high * high, b, zero, a))
    own_b = b
    for attempt in range(5):
        cost = _projected_cost(n_channels, u, u2, re, im, w2, own_a, own_b, power)
        conjugated = where_less(own_a, zero, where_less(cost, conjugated, cost, conjugated), conjugated)
        wins = where_less(zero, own_a, where_less(cost, best, one, zero), zero)
        best_a, best_b = where_less(zero, wins, own_a, best_a), where_less(zero, wins, own_b, best_b)
        best = where_less(zero, wins, cost, best)
        own_a = (0.5 if attempt < 2 else 1.5) * width
        own_b = place * place
        if attempt % 2 == 1:
            own_a = zero - own_a
    return best_a, best_b, conjugated
