"""Shapes of backgrounds, steps, decays and oscillators.

Arguments of all: axis, number of channels, parameters, rows, distance of rows.

May import numba, math and the solver's jit.
"""

from __future__ import annotations

import math

from numba import carray

from xpycro.engine.solver.jit import channel_helper, exp

__all__ = [
    "arctan_step",
    "complex_constant",
    "constant",
    "double_exponential",
    "erf_step",
    "exponential",
    "fermi_edge",
    "linear",
    "logistic",
    "polynomial2",
    "polynomial3",
    "polynomial4",
    "polynomial5",
    "polynomial6",
    "polynomial7",
    "polynomial8",
    "polynomial9",
    "power_law",
    "sho",
    "sho_amplitude",
    "stretched_exponential",
]


def constant(x_, n, p, rows_, stride):  # type: ignore[no-untyped-def]
    """1; offset."""
    rows = carray(rows_, n)
    for i in range(n):
        rows[i] = 1.0


def complex_constant(x_, n, p, rows_, stride):  # type: ignore[no-untyped-def]
    """1 and i; offset_real, offset_imag."""
    rows = carray(rows_, (2, stride))
    for i in range(n):
        rows[0, i], rows[0, n + i] = 1.0, 0.0
        rows[1, i], rows[1, n + i] = 0.0, 1.0


def linear(x_, n, p, rows_, stride):  # type: ignore[no-untyped-def]
    """1 and x; intercept, slope."""
    x, rows = carray(x_, n), carray(rows_, (2, stride))
    for i in range(n):
        rows[0, i] = 1.0
        rows[1, i] = x[i]


@channel_helper
def _powers(x_, n, rows_, stride, degree):  # type: ignore[no-untyped-def]
    x, rows = carray(x_, n), carray(rows_, (degree + 1, stride))
    for i in range(n):
        rows[0, i] = 1.0
    for k in range(degree):
        for i in range(n):
            rows[k + 1, i] = rows[k, i] * x[i]


def polynomial2(x_, n, p, rows_, stride):  # type: ignore[no-untyped-def]
    """Powers to 2; c0, c1, c2."""
    _powers(x_, n, rows_, stride, 2)


def polynomial3(x_, n, p, rows_, stride):  # type: ignore[no-untyped-def]
    """Powers to 3."""
    _powers(x_, n, rows_, stride, 3)


def polynomial4(x_, n, p, rows_, stride):  # type: ignore[no-untyped-def]
    """Powers to 4."""
    _powers(x_, n, rows_, stride, 4)


def polynomial5(x_, n, p, rows_, stride):  # type: ignore[no-untyped-def]
    """Powers to 5."""
    _powers(x_, n, rows_, stride, 5)


def polynomial6(x_, n, p, rows_, stride):  # type: ignore[no-untyped-def]
    """Powers to 6."""
    _powers(x_, n, rows_, stride, 6)


def polynomial7(x_, n, p, rows_, stride):  # type: ignore[no-untyped-def]
    """Powers to 7."""
    _powers(x_, n, rows_, stride, 7)


def polynomial8(x_, n, p, rows_, stride):  # type: ignore[no-untyped-def]
    """Powers to 8."""
    _powers(x_, n, rows_, stride, 8)


def polynomial9(x_, n, p, rows_, stride):  # type: ignore[no-untyped-def]
    """Powers to 9."""
    _powers(x_, n, rows_, stride, 9)


def power_law(x_, n, p, rows_, stride):  # type: ignore[no-untyped-def]
    """x^-exponent; amplitude, exponent."""
    x, rows = carray(x_, n), carray(rows_, (2, stride))
    for i in range(n):
        log = math.log(x[i])
        f = exp(-p[1] * log)
        rows[0, i] = f
        rows[1, i] = -log * f


def exponential(x_, n, p, rows_, stride):  # type: ignore[no-untyped-def]
    """exp(-x / tau); amplitude, tau."""
    x, rows = carray(x_, n), carray(rows_, (2, stride))
    rate = 1.0 / p[1]
    for i in range(n):
        s = x[i] * rate
        f = exp(-s)
        rows[0, i] = f
        rows[1, i] = f * s * rate


def double_exponential(x_, n, p, rows_, stride):  # type: ignore[no-untyped-def]
    """exp(-x / tau) twice; amplitude_fast, tau_fast, amplitude_slow, tau_slow."""
    x, rows = carray(x_, n), carray(rows_, (4, stride))
    for k in range(2):
        rate = 1.0 / p[2 * k + 1]
        for i in range(n):
            s = x[i] * rate
            f = exp(-s)
            rows[2 * k, i] = f
            rows[2 * k + 1, i] = f * s * rate


def stretched_exponential(x_, n, p, rows_, stride):  # type: ignore[no-untyped-def]
    """exp(-(x / tau)^beta); amplitude, tau, beta."""
    x, rows = carray(x_, n), carray(rows_, (3, stride))
    tau, beta = p[1], p[2]
    for i in range(n):
        s = x[i] / tau
        if s > 0.0:
            log = math.log(s)
            power = exp(beta * log)
            f = exp(-power)
            rows[0, i] = f
            rows[1, i] = f * power * beta / tau
            rows[2, i] = -f * power * log
        else:
            rows[0, i] = 1.0 if s == 0.0 else math.nan
            rows[1, i] = 0.0
            rows[2, i] = 0.0


@channel_helper
def _logistic(x_, n, p, rows_, stride, sign):  # type: ignore[no-untyped-def]
    x, rows = carray(x_, n), carray(rows_, (3, stride))
    center, inverse = p[1], 1.0 / p[2]
    for i in range(n):
        u = (x[i] - center) * inverse
        f = 1.0 / (1.0 + exp(-sign * u))
        d = -sign * f * (1.0 - f) * inverse
        rows[0, i] = f
        rows[1, i] = d
        rows[2, i] = d * u


def logistic(x_, n, p, rows_, stride):  # type: ignore[no-untyped-def]
    """1 / (1 + exp(-u)), u = (x - center) / width; amplitude, center, width."""
    _logistic(x_, n, p, rows_, stride, 1.0)


def fermi_edge(x_, n, p, rows_, stride):  # type: ignore[no-untyped-def]
    """1 / (1 + exp(u)), u = (x - center) / width; amplitude, center, width."""
    _logistic(x_, n, p, rows_, stride, -1.0)


def arctan_step(x_, n, p, rows_, stride):  # type: ignore[no-untyped-def]
    """1/2 + atan(u) / pi, u = (x - center) / gamma; amplitude, center, gamma."""
    x, rows = carray(x_, n), carray(rows_, (3, stride))
    center, inverse = p[1], 1.0 / p[2]
    for i in range(n):
        u = (x[i] - center) * inverse
        d = -inverse / (math.pi * (1.0 + u * u))
        rows[0, i] = 0.5 + math.atan(u) / math.pi
        rows[1, i] = d
        rows[2, i] = d * u


def erf_step(x_, n, p, rows_, stride):  # type: ignore[no-untyped-def]
    """(1 + erf(u / sqrt 2)) / 2, u = (x - center) / sigma; amplitude, center, sigma."""
    x, rows = carray(x_, n), carray(rows_, (3, stride))
    center, inverse = p[1], 1.0 / p[2]
    for i in range(n):
        u = (x[i] - center) * inverse
        d = -inverse * exp(-0.5 * u * u) / math.sqrt(2.0 * math.pi)
        rows[0, i] = 0.5 * (1.0 + math.erf(u / math.sqrt(2.0)))
        rows[1, i] = d
        rows[2, i] = d * u


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


def sho_amplitude(x_, n, p, rows_, stride):  # type: ignore[no-untyped-def]
    """1 / sqrt((1 - u^2)^2 + u^2 / Q^2), u = x / w0; amplitude, w0, Q."""
    x, rows = carray(x_, n), carray(rows_, (3, stride))
    w0, inverse = p[1], 1.0 / p[2]
    for i in range(n):
        u = x[i] / w0
        v = u * u
        size = 1.0 / ((1.0 - v) * (1.0 - v) + v * inverse * inverse)
        f = math.sqrt(size)
        rows[0, i] = f
        rows[1, i] = f * size * (v * inverse * inverse - 2.0 * v * (1.0 - v)) / w0
        rows[2, i] = f * size * v * inverse * inverse * inverse
