"""Scans of diffraction patterns (y, x, ky, kx): virtual detectors, centre of mass, phase contrast, one reading.

May import numpy, xarray, scipy and numba (inside functions), engine and the base floor; not its siblings.
"""

from xpycro.processing.diffraction.bragg import strain
from xpycro.processing.diffraction.kinds import (
    CenterOfMass,
    MaxPattern,
    MeanPattern,
    RadialProfile,
    Reduction,
    StdPattern,
    VirtualDetector,
)
from xpycro.processing.diffraction.phase import center, dpc, find_rotation, integrate
from xpycro.processing.diffraction.running import run
from xpycro.processing.diffraction.single import (
    center_of_mass,
    max_pattern,
    mean_pattern,
    radial_profile,
    std_pattern,
    virtual_detector,
)

__all__ = [
    "CenterOfMass",
    "MaxPattern",
    "MeanPattern",
    "RadialProfile",
    "Reduction",
    "StdPattern",
    "VirtualDetector",
    "center",
    "center_of_mass",
    "dpc",
    "find_rotation",
    "integrate",
    "max_pattern",
    "mean_pattern",
    "radial_profile",
    "run",
    "std_pattern",
    "strain",
    "virtual_detector",
]
