"""Shapes of peaks. Arguments of all: axis, number of channels, parameters, rows, distance of rows.

May import numba, math and the solver's jit and special.
"""

from __future__ import annotations

import math

from numba import carray

from xpycro.engine.solver.jit import channel_helper, exp, wide
from xpycro.engine.solver.special import faddeeva

__all__ = [
    "doniach_sunjic",
    "doniach_sunjic_high",
    "fano",
    "gaussian",
    "gaussian_2d",
    "lorentzian",
    "pseudo_voigt",
    "skewed_gaussian",
    "split_gaussian",
    "split_lorentzian",
    "voigt",
]


def gaussian(x_, n, p, rows_, stride):  # type: ignore[no-untyped-def]
    """exp(-u^2 / 2), u = (x - center) / sigma; amplitude, center, sigma."""
    wide()
    x, rows = carray(x_, n), carray(rows_, (3, stride))
    center, inverse = p[1], 1.0 / p[2]
    for i in range(n):
        u = (x[i] - center) * inverse
        g = exp(-0.5 * u * u)
        rows[0, i] = g
        rows[1, i] = g * u * inverse
        rows[2, i] = g * u * u * inverse


def lorentzian(x_, n, p, rows_, stride):  # type: ignore[no-untyped-def]
    """1 / (1 + u^2), u = (x - center) / gamma; amplitude, center, gamma."""
    wide()
    x, rows = carray(x_, n), carray(rows_, (3, stride))
    center, inverse = p[1], 1.0 / p[2]
    for i in range(n):
        u = (x[i] - center) * inverse
        g = 1.0 / (1.0 + u * u)
        d = 2.0 * g * g * u * inverse
        rows[0, i] = g
        rows[1, i] = d
        rows[2, i] = d * u


@channel_helper
def _nearly_lorentzian(x_, n, p, rows_, stride):  # type: ignore[no-untyped-def]
    """Voigt of vanishing sigma, to the second order of sigma / gamma.

    The general formula's slope by sigma is a difference of equal numbers there.
    """
    wide()
    x, rows = carray(x_, n), carray(rows_, (4, stride))
    center, inverse, s = p[1], 1.0 / p[3], (p[2] / p[3]) ** 2
    top = 1.0 / (1.0 - s)
    for i in range(n):
        u = (x[i] - center) * inverse
        g = 1.0 / (1.0 + u * u)
        second = (6.0 * u * u - 2.0) * g * g * g
        value = (g + 0.5 * s * second) * top
        by_u = (-2.0 * u * g * g + 12.0 * s * u * (1.0 - u * u) * g * g * g * g) * top
        by_s = (0.5 * second + value) * top
        rows[0, i] = value
        rows[1, i] = -by_u * inverse
        rows[2, i] = 2.0 * p[2] * inverse * inverse * by_s
        rows[3, i] = -(u * by_u + 2.0 * s * by_s) * inverse


def voigt(x_, n, p, rows_, stride):  # type: ignore[no-untyped-def]
    """Re w(z) / Re w(z0), z = (x - center + i gamma) / (sigma sqrt 2); amplitude, center, sigma, gamma."""
    if p[2] < 1e-3 * p[3]:  # no gaussian part at all is a limit, not an error
        _nearly_lorentzian(x_, n, p, rows_, stride)
        return
    x, rows = carray(x_, n), carray(rows_, (4, stride))
    center, sigma = p[1], p[2]
    inverse = 1.0 / (sigma * math.sqrt(2.0))
    y = p[3] * inverse
    top, _ = faddeeva(0.0, y)
    slope = 2.0 * y * top - 2.0 / math.sqrt(math.pi)  # of the top with y
    for i in range(n):
        v = (x[i] - center) * inverse
        k, ell = faddeeva(v, y)
        by_v = -2.0 * (v * k - y * ell) / top
        by_y = (2.0 * (v * ell + y * k) - 2.0 / math.sqrt(math.pi)) / top - k * slope / (top * top)
        rows[0, i] = k / top
        rows[1, i] = -by_v * inverse
        rows[2, i] = -(by_v * v + by_y * y) / sigma
        rows[3, i] = by_y * inverse


def pseudo_voigt(x_, n, p, rows_, stride):  # type: ignore[no-untyped-def]
    """fraction / (1 + u^2) + (1 - fraction) 2^(-u^2), u = (x - center) / gamma; amplitude, center, gamma, fraction."""
    wide()
    x, rows = carray(x_, n), carray(rows_, (4, stride))
    center, inverse, fraction = p[1], 1.0 / p[2], p[3]
    log2 = math.log(2.0)
    for i in range(n):
        u = (x[i] - center) * inverse
        g = exp(-log2 * u * u)
        ell = 1.0 / (1.0 + u * u)
        d = 2.0 * u * inverse * (fraction * ell * ell + (1.0 - fraction) * log2 * g)
        rows[0, i] = fraction * ell + (1.0 - fraction) * g
        rows[1, i] = d
        rows[2, i] = d * u
        rows[3, i] = ell - g


def split_gaussian(x_, n, p, rows_, stride):  # type: ignore[no-untyped-def]
    """Gaussian of another sigma on either side; amplitude, center, sigma_left, sigma_right."""
    wide()
    x, rows = carray(x_, n), carray(rows_, (4, stride))
    center, left, right = p[1], 1.0 / p[2], 1.0 / p[3]
    for i in range(n):
        below = x[i] < center
        inverse = left if below else right
        u = (x[i] - center) * inverse
        g = exp(-0.5 * u * u)
        d = g * u * inverse
        rows[0, i] = g
        rows[1, i] = d
        rows[2, i] = d * u if below else 0.0
        rows[3, i] = 0.0 if below else d * u


def split_lorentzian(x_, n, p, rows_, stride):  # type: ignore[no-untyped-def]
    """Lorentzian of another gamma on either side; amplitude, center, gamma_left, gamma_right."""
    wide()
    x, rows = carray(x_, n), carray(rows_, (4, stride))
    center, left, right = p[1], 1.0 / p[2], 1.0 / p[3]
    for i in range(n):
        below = x[i] < center
        inverse = left if below else right
        u = (x[i] - center) * inverse
        g = 1.0 / (1.0 + u * u)
        d = 2.0 * g * g * u * inverse
        rows[0, i] = g
        rows[1, i] = d
        rows[2, i] = d * u if below else 0.0
        rows[3, i] = 0.0 if below else d * u


def skewed_gaussian(x_, n, p, rows_, stride):  # type: ignore[no-untyped-def]
    """exp(-u^2 / 2) (1 + erf(skew u / sqrt 2)), u = (x - center) / sigma; amplitude, center, sigma, skew."""
    x, rows = carray(x_, n), carray(rows_, (4, stride))
    center, inverse, skew = p[1], 1.0 / p[2], p[3]
    for i in range(n):
        u = (x[i] - center) * inverse
        g = exp(-0.5 * u * u)
        s = 1.0 + math.erf(skew * u / math.sqrt(2.0))
        e = math.sqrt(2.0 / math.pi) * exp(-0.5 * skew * skew * u * u) * g
        d = (g * u * s - e * skew) * inverse
        rows[0, i] = g * s
        rows[1, i] = d
        rows[2, i] = d * u
        rows[3, i] = e * u


@channel_helper
def _doniach_sunjic(x_, n, p, rows_, stride, sign):  # type: ignore[no-untyped-def]
    x, rows = carray(x_, n), carray(rows_, (4, stride))
    center, inverse, alpha = p[1], 1.0 / p[2], p[3]
    half = 0.5 * math.pi
    top = 1.0 / math.cos(half * alpha)
    for i in range(n):
        u = sign * (x[i] - center) * inverse
        size = 1.0 + u * u
        angle = math.atan(u)
        beta = half * alpha + (1.0 - alpha) * angle
        log = math.log(size)
        envelope = exp(-0.5 * (1.0 - alpha) * log) * top
        f = math.cos(beta) * envelope
        by_u = -(1.0 - alpha) / size * (f * u + math.sin(beta) * envelope)
        rows[0, i] = f
        rows[1, i] = -sign * by_u * inverse
        rows[2, i] = -u * by_u * inverse
        rows[3, i] = -math.sin(beta) * (half - angle) * envelope + f * (0.5 * log + half * math.tan(half * alpha))


def doniach_sunjic(x_, n, p, rows_, stride):  # type: ignore[no-untyped-def]
    """cos(pi a/2 + (1 - a) atan u) / (1 + u^2)^((1 - a)/2), 1 at the centre; amplitude, center, gamma, asymmetry."""
    _doniach_sunjic(x_, n, p, rows_, stride, 1.0)


def doniach_sunjic_high(x_, n, p, rows_, stride):  # type: ignore[no-untyped-def]
    """The same with its tail towards higher x."""
    _doniach_sunjic(x_, n, p, rows_, stride, -1.0)


def fano(x_, n, p, rows_, stride):  # type: ignore[no-untyped-def]
    """(q + u)^2 / (1 + u^2), u = (x - center) / gamma; amplitude, center, gamma, q."""
    wide()
    x, rows = carray(x_, n), carray(rows_, (4, stride))
    center, inverse, q = p[1], 1.0 / p[2], p[3]
    for i in range(n):
        u = (x[i] - center) * inverse
        size = 1.0 / (1.0 + u * u)
        top = q + u
        d = -2.0 * top * size * (1.0 - top * u * size) * inverse
        rows[0, i] = top * top * size
        rows[1, i] = d
        rows[2, i] = d * u
        rows[3, i] = 2.0 * top * size


def gaussian_2d(x_, n, p, rows_, stride):  # type: ignore[no-untyped-def]
    """exp(-(u^2 + v^2) / 2), u and v along axes turned by angle; amplitude, center_x, center_y, sigmas, angle."""
    wide()
    x, rows = carray(x_, 2 * n), carray(rows_, (6, stride))
    cx, cy, iu, iv = p[1], p[2], 1.0 / p[3], 1.0 / p[4]
    c, s = math.cos(p[5]), math.sin(p[5])
    for i in range(n):
        dx, dy = x[i] - cx, x[n + i] - cy
        along, across = c * dx + s * dy, c * dy - s * dx
        u, v = along * iu, across * iv
        g = exp(-0.5 * (u * u + v * v))
        rows[0, i] = g
        rows[1, i] = g * (u * iu * c - v * iv * s)
        rows[2, i] = g * (u * iu * s + v * iv * c)
        rows[3, i] = g * u * u * iu
        rows[4, i] = g * v * v * iv
        rows[5, i] = g * (v * iv * along - u * iu * across)
