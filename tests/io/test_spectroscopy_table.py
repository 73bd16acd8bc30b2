"""Every file of the optical, electron and mass spectroscopies beside the checkout: read or refused, sizes and steps.

``python -m tests.io.test_spectroscopy_table`` prints the table, reading and translating every file through the shell.
The sizes and steps are those that INDEX.tsv states; the numbers are compared in the tests of each format.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest

import xpycro as xp
from tests.conftest import DATA
from tests.io.test_probe_table import grids, row
from xpycro import schema
from xpycro.errors import TranslationError

FOLDERS = (
    "andor_sif", "digitalsurf", "galactic_spc", "imzml", "jobinyvon", "msa", "phi_xps", "princeton_spe", "renishaw_wdf",
    "tdms", "vamas", "witec_txt",
)  # fmt: skip
# refused: what others made of a file, and the half of a pair that is opened by the other one
REFUSED = {
    "andor_sif/cli-0.csv": "no(ne| known) .*format", "andor_sif/raman1.asc": "not what SPIP exports",
    "galactic_spc/RAMAN.SPC.txt": "none of the .* known formats",
    "imzml/Example_Continuous.ibd": "Example_Continuous.imzML",
}  # fmt: skip
# of the first grid: size, and of an even axis its step in base units
AXES = {
    "andor_sif/cli-0.sif": {"wavelength": (1024, None)},
    "andor_sif/raman1.sif": {"wavelength": (1024, None)},
    "andor_sif/test.sif": {"y": (256, 1), "x": (256, 1)},
    "digitalsurf/test_profile.pro": {"x": (128, 8.252197e-8)},
    "digitalsurf/test_spectral_map.sur": {"y": (12, 8.252e-8), "x": (10, 8.252e-8), "wavelength": (310, 1.08e-9)},
    "digitalsurf/test_surface.sur": {"y": (128, 8.252e-8), "x": (128, 8.252e-8)},
    "galactic_spc/RAMAN.SPC": {"wavenumber": (3632, None)},
    "imzml/Example_Continuous.imzML": {"y": (3, 1e-4), "x": (3, 1e-4), "mass_to_charge": (8399, None)},
    "jobinyvon/jobinyvon_test_map_x3-y2.xml": {"y": (2, 2e-6), "x": (3, 2e-6), "wavelength": (34, None)},
    "jobinyvon/jobinyvon_test_spec.xml": {"wavelength": (34, None)},
    "msa/coreloss_spectrum.msa": {"energy_loss": (2048, 0.2)},
    "msa/example1.msa": {"energy_loss": (21, None)},
    "phi_xps/SnO2_10nm.spe": {"energy": (1751, 0.8)},
    "princeton_spe/spestack_test.spe": {"frame": (5, 1), "y": (128, 1), "x": (128, 1)},
    "renishaw_wdf/renishaw_test_linescan.wdf": {"distance": (5, 30e-6), "wavelength": (40, None)},
    "renishaw_wdf/renishaw_test_map.wdf": {"y": (3, 1e-4), "x": (3, 1e-4), "wavelength": (47, None)},
    "renishaw_wdf/renishaw_test_spectrum.wdf": {"wavelength": (36, 0.0847e-9)},
    "renishaw_wdf/renishaw_test_zscan.wdf": {"z": (40, 0.5e-6), "wavenumber": (1015, None)},
    "tdms/raw1.tdms": {"time": (2000, None)},
    "vamas/aes_staib.vms": {"energy": (1100, None)},
    "witec_txt/Si-wafer-Raman-Spectrum-1.txt": {"wavelength": (1600, None)},
}


def files() -> list[str]:
    """The files of the folders, by the name that INDEX.tsv gives them."""
    return sorted(f"{f}/{path.name}" for f in FOLDERS for path in (DATA / f).glob("*") if path.is_file())


@pytest.fixture(autouse=True)
def _present(data_file):
    data_file("imzml/Example_Continuous.imzML")


def test_every_file_is_in_one_of_the_lists():
    assert sorted([*AXES, *REFUSED]) == files()


@pytest.mark.parametrize("name", REFUSED)
def test_refused_by_name(name):
    with pytest.raises(TranslationError, match=REFUSED[name]):
        xp.open_tree(DATA / name)


@pytest.mark.parametrize("name", AXES)
def test_sizes_and_steps(name):
    first = next(iter(grids(name).values()))
    assert schema.problems(first) == []
    assert dict(first.sizes) == {dim: size for dim, (size, _) in AXES[name].items()}
    for dim, (_, step) in AXES[name].items():
        if step is not None:
            steps = np.diff(first[dim].values)
            # a spectrometer's axis bends: its step is the mean; the index rounds to three digits
            np.testing.assert_allclose(steps.mean(), step, rtol=5e-3)
            assert dim in ("wavelength", "energy_loss") or np.allclose(steps, step, rtol=5e-3)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as out:
        for one in files():
            print(row(one, Path(out)), flush=True)
