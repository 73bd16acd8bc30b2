"""Spectra and other signals along one dimension: transforms, smoothing, baselines, resampling, calibration.

Every function broadcasts over the other dims and works in the units of the axis. May import numpy, xarray, scipy
(inside functions), engine and the base floor; not its siblings.
"""

from xpycro.processing.spectra.backgrounds import background
from xpycro.processing.spectra.baselines import baseline, detrend
from xpycro.processing.spectra.resampling import align, rebin
from xpycro.processing.spectra.scaling import calibrate, normalise
from xpycro.processing.spectra.smoothing import derivative, smooth
from xpycro.processing.spectra.spikes import despike
from xpycro.processing.spectra.transforms import fft, ifft, power_spectrum

__all__ = [
    "align",
    "background",
    "baseline",
    "calibrate",
    "derivative",
    "despike",
    "detrend",
    "fft",
    "ifft",
    "normalise",
    "power_spectrum",
    "rebin",
    "smooth",
]
