"""Compiled shapes: what each model looks like to the kernel. One row for each parameter, in the model's order.

A linear parameter's row is its basis function, a nonlinear one's the derivative of the basis function it shapes.
Compiled one by one when first used. May import numba, math and jit only.
"""

from __future__ import annotations

import math

from numba import carray

from xpycro.engine.solver.jit import exp

__all__ = ["constant", "gaussian", "linear", "lorentzian", "sho"]


def gaussian(x_, n, p, rows_, stride):  # type: ignore[no-untyped-def]
    """exp(-((x - center) / sigma)^2 / 2); amplitude, center, sigma."""
    x, rows = carray(x_, n), carray(rows_, (3, stride))
    center, inverse = p[1], 1.0 / p[2]
    for i in range(n):
        u = (x[i] - center) * inverse
        g = exp(-0.5 * u * u)
        rows[0, i] = g
        rows[1, i] = g * u * inverse
        rows[2, i] = g * u * u * inverse


def lorentzian(x_, n, p, rows_, stride):  # type: ignore[no-untyped-def]
    """1 / (1 + ((x - center) / gamma)^2); amplitude, center, gamma."""
    x, rows = carray(x_, n), carray(rows_, (3, stride))
    center, inverse = p[1], 1.0 / p[2]
    for i in range(n):
        u = (x[i] - center) * inverse
        g = 1.0 / (1.0 + u * u)
        d = 2.0 * g * g * u * inverse
        rows[0, i] = g
        rows[1, i] = d
        rows[2, i] = d * u


def constant(x_, n, p, rows_, stride):  # type: ignore[no-untyped-def]
    """1; offset."""
    rows = carray(rows_, n)
    for i in range(n):
        rows[i] = 1.0


def linear(x_, n, p, rows_, stride):  # type: ignore[no-untyped-def]
    """1 and x; intercept, slope."""
    x, rows = carray(x_, n), carray(rows_, (2, stride))
    for i in range(n):
        rows[0, i] = 1.0
        rows[1, i] = x[i]


def sho(x_, n, p, rows_, stride):  # type: ignore[no-untyped-def]
    """e^{i phase} w0^2 / (w^2 - i w w0 / Q - w0^2), real parts then imaginary; amplitude, w0, Q, phase."""
    x, rows = carray(x_, n), carray(rows_, (4, stride))
    w0, q = p[1], p[2]
    c, s = math.cos(p[3]), math.sin(p[3])
    for i in range(n):
        u = x[i] / w0
        dr, di = u * u - 1.0, -u / q
        norm = 1.0 / (dr * dr + di * di)
        fr, fi = dr * norm, -di * norm  # 1 / (u^2 - 1 - i u / Q)
        hr, hi = c * fr - s * fi, s * fr + c * fi
        rows[0, i], rows[0, n + i] = hr, hi
        # d(1/D)/dv = -(dD/dv) / D^2, with dD/dw0 = (-2 u^2 + i u / Q) / w0 and dD/dQ = i u / Q^2
        er, ei = 2.0 * u * u / w0, di / w0
        gr, gi = er * fr - ei * fi, er * fi + ei * fr
        rows[1, i], rows[1, n + i] = hr * gr - hi * gi, hr * gi + hi * gr
        ei = -u / (q * q)
        gr, gi = -ei * fi, ei * fr
        rows[2, i], rows[2, n + i] = hr * gr - hi * gi, hr * gi + hi * gr
        rows[3, i], rows[3, n + i] = -hi, hr
