"""Instruments with known truth: each simulator gives a measurement Dataset that holds its truth as ``true_<name>``.

On the top floor: may use everything, is used by the command line, docs and tests only.
"""

from xpycro.simulate.band_excitation import band_excitation
from xpycro.simulate.mass_image import mass_image, write_imzml
from xpycro.simulate.odf import write_band_excitation
from xpycro.simulate.raman import raman_map
from xpycro.simulate.tunnelling import tunnelling_grid
from xpycro.simulate.xray import write_nexus_scan, xray_map

__all__ = [
    "band_excitation",
    "mass_image",
    "raman_map",
    "tunnelling_grid",
    "write_band_excitation",
    "write_imzml",
    "write_nexus_scan",
    "xray_map",
]
