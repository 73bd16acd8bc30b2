"""Images over two spatial dims: leveling, restoring, measuring, Fourier filters, grains; further dims broadcast.

May import numpy, xarray, scipy and scikit-image (inside functions), engine and the base floor; not its siblings.
"""

from xpycro.processing.image.fourier import fft, fourier_filter, lattice_filter, lattice_spots
from xpycro.processing.image.leveling import destripe, level
from xpycro.processing.image.measures import gradient, profile, roughness
from xpycro.processing.image.restoring import inpaint, outliers, repair, richardson_lucy
from xpycro.processing.image.segmenting import grains

__all__ = [
    "destripe",
    "fft",
    "fourier_filter",
    "gradient",
    "grains",
    "inpaint",
    "lattice_filter",
    "lattice_spots",
    "level",
    "outliers",
    "profile",
    "repair",
    "richardson_lucy",
    "roughness",
]
