"""Spectra of lines, a few lines at a time, and the bins they have.

May import numpy, scipy (inside functions) and engine's axes; not the modules beside it.
"""

from __future__ import annotations

import numpy as np

from xpycro.engine.axes import Axis

__all__ = ["bins", "inverse", "line_slices", "transform"]

_SLICE_BYTES = 4 << 20  # lines are taken a few at a time: signal and spectrum stay in the cache


def transform(lines: np.ndarray, one_sided: bool) -> np.ndarray:
    from scipy import fft as scipy_fft

    return scipy_fft.rfft(lines, axis=-1) if one_sided else scipy_fft.fft(lines, axis=-1)


def inverse(spectrum: np.ndarray, size: int, one_sided: bool) -> np.ndarray:
    from scipy import fft as scipy_fft

    if one_sided:
        return scipy_fft.irfft(spectrum, size, axis=-1, overwrite_x=True)
    return scipy_fft.ifft(spectrum, axis=-1, overwrite_x=True)


def line_slices(shape: tuple[int, ...], itemsize: int) -> list[slice]:
    count = max(1, _SLICE_BYTES // max(1, shape[-1] * itemsize))
    return [slice(begin, begin + count) for begin in range(0, shape[0], count)]


def bins(axis: Axis, one_sided: bool) -> np.ndarray:
    """Frequencies in the order of a transform."""
    step = abs(axis.step)
    return np.fft.rfftfreq(axis.size, step) if one_sided else np.fft.fftfreq(axis.size, step)
