"""Frequency filters as values that compose, and what applies them: to signals, condensed to the bins that are kept.

``LowPass(50e3) & NoiseBand([60e3], [1e3])`` is a filter; cut-offs are in the reciprocal unit of the dim. May import
numpy, xarray, scipy (inside functions), engine and the base floor; not its siblings.
"""

from xpycro.processing.filters.applying import apply, preview
from xpycro.processing.filters.condensing import condense, rebuild
from xpycro.processing.filters.kinds import BandPass, Composite, Filter, HarmonicPass, HighPass, LowPass, NoiseBand
from xpycro.processing.filters.lines import lines_to_pixels
from xpycro.processing.filters.noise import noise_floor

__all__ = [
    "BandPass",
    "Composite",
    "Filter",
    "HarmonicPass",
    "HighPass",
    "LowPass",
    "NoiseBand",
    "apply",
    "condense",
    "lines_to_pixels",
    "noise_floor",
    "preview",
    "rebuild",
]
