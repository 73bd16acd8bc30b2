"""The Faddeeva function, compiled: what a Voigt profile is made of.

May import numba and numpy only.

References: Weideman, SIAM J. Numer. Anal. 31, 1497 (1994); the continued fraction far out: Gautschi, SIAM J. Numer.
Anal. 7, 187 (1970).
"""

from __future__ import annotations

import numpy as np

from xpycro.engine.solver.jit import channel_helper

__all__ = ["faddeeva"]

_TERMS = 40
_SCALE = np.sqrt(_TERMS / np.sqrt(2.0))


def _coefficients() -> np.ndarray:
    """Fourier coefficients of the rational expansion, highest power first."""
    size = 4 * _TERMS
    angle = np.arange(-size + 1, size) * np.pi / size
    t = _SCALE * np.tan(angle / 2)
    values = np.concatenate([[0.0], np.exp(-(t**2)) * (_SCALE**2 + t**2)])
    return np.ascontiguousarray(np.real(np.fft.fft(np.fft.fftshift(values)))[1 : _TERMS + 1][::-1] / (2 * size))


_A = _coefficients()
_ROOT_PI = np.sqrt(np.pi)


@channel_helper
def faddeeva(x, y):  # type: ignore[no-untyped-def]
    """Real and imaginary part of w(x + i y) = exp(-z^2) erfc(-i z) for y >= 0, to about 1e-13."""
    if x * x + y * y > 144.0:  # w = i/sqrt(pi) / (z - 1/2 / (z - 1 / (z - 3/2 / ...)))
        re, im = x, y
        for k in range(9, 0, -1):
            size = 0.5 * k / (re * re + im * im)
            re, im = x - size * re, y + size * im
        size = 1.0 / (_ROOT_PI * (re * re + im * im))
        return im * size, re * size
    # Z = (L + i z) / (L - i z)
    a, b = _SCALE - y, x
    c, d = _SCALE + y, -x
    size = 1.0 / (c * c + d * d)
    zr, zi = (a * c + b * d) * size, (b * c - a * d) * size
    pr = pi = 0.0
    for k in range(_A.size):
        pr, pi = pr * zr - pi * zi + _A[k], pr * zi + pi * zr
    # w = 2 p / (L - i z)^2 + 1/sqrt(pi) / (L - i z)
    ir, ii = c * size, -d * size
    qr, qi = ir * ir - ii * ii, 2.0 * ir * ii
    return 2.0 * (pr * qr - pi * qi) + ir / _ROOT_PI, 2.0 * (pr * qi + pi * qr) + ii / _ROOT_PI
