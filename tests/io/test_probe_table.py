"""Every scanning-probe file beside the checkout: read or refused, its grids, and what INDEX.tsv states of its header.

``python -m tests.io.test_probe_table`` prints the table, reading and translating every file through the shell.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
from pathlib import Path

import numpy as np
import pytest

import xpycro as xp
from tests.conftest import DATA
from xpycro import cli, schema
from xpycro.errors import TranslationError

FOLDERS = (
    "anasys_axz", "bruker_nanoscope", "createc_dat", "gwyddion", "gxsm_nc", "igor_ibw", "jpk", "nanonis_3ds",
    "nanonis_dat", "nanonis_sxm", "nanosurf_nid", "ntmdt_mdt", "ntmdt_txt", "omicron_mtrx", "park_tiff", "proespm_h5",
    "rhk_sm4", "specs_mul", "topostats", "wsxm",
)  # fmt: skip
# refused, and the words that say why
REFUSED = {
    "bruker_nanoscope/reference_raw.csv": "known formats begins with",
    "omicron_mtrx/20201111_0001.mtrx": "parameter file",
}
# sizes of the first grid that INDEX.tsv states, or that follow from the bytes it states
SIZES = {
    "anasys_axz/PEA_BDA_film.axz": {"y": 128, "x": 128},
    "bruker_nanoscope/20200904_Egel4-Z1.0_00025.spm": {"segment": 2, "point": 1024},
    "bruker_nanoscope/BrukerReader_ForceCurve_Sapphire_TAP525.001": {"segment": 2, "point": 512},
    "bruker_nanoscope/full_multiple_images.txt": {"y": 512, "x": 512},
    "createc_dat/A250320.191933.dat": {"y": 512, "x": 512},
    "gwyddion/GwiddionReader_chip.gsf": {"y": 300, "x": 300},
    "gwyddion/GwiddionReader_chip.gwy": {"y": 300, "x": 300},
    "gwyddion/test.gwy": {"y": 128, "x": 128},
    "gxsm_nc/chigwell009-M-Xp-Topo.nc": {"y": 64, "x": 64},
    "igor_ibw/AR_20211011.ibw": {"y": 128, "x": 128},
    "igor_ibw/IgorIBWReader_ImageStack_BTFO_DSO.ibw": {"y": 256, "x": 256},
    "jpk/sample_0.jpk-qi-image": {"y": 100, "x": 100},
    "nanonis_3ds/Grid Spectroscopy006.3ds": {"direction": 2, "y": 32, "x": 32, "z": 256},
    "nanonis_3ds/NanonisReader_STS_grid_lockin.3ds": {"y": 30, "x": 30, "bias": 200},
    "nanonis_dat/Bias-Spectroscopy003.dat": {"bias": 128},
    "nanonis_dat/NanonisReader_BiasSpectroscopy.dat": {"direction": 2, "bias": 256},
    "nanonis_dat/Z-Spectroscopy__012.dat": {"direction": 2, "z": 128},
    "nanonis_dat/z.dat": {"direction": 2, "z": 200, "sweep": 3},
    # 16 planes of 48 x 48: 8 channels both ways; the index's reader adds header values as planes of their own
    "nanonis_sxm/A170315.172707-00393.sxm": {"direction": 2, "y": 48, "x": 48},
    "nanonis_sxm/A170315.172917-00394.sxm": {"direction": 2, "y": 48, "x": 48},
    "nanonis_sxm/A170315.173119-00395.sxm": {"direction": 2, "y": 48, "x": 48},
    "nanonis_sxm/Image_445.sxm": {"direction": 2, "y": 192, "x": 96},
    "nanosurf_nid/NanoSurf_20160301.nid": {"direction": 2, "y": 128, "x": 128},
    "omicron_mtrx/20201111--4_1.Z_mtrx": {"direction": 2, "y": 400, "x": 400},
    "park_tiff/Park_20210916_034.tiff": {"y": 256, "x": 256},
    "rhk_sm4/test_iv.SM4": {"position": 5, "bias": 299},
    "specs_mul/test_single_image.mul": {"y": 512, "x": 512},
    "topostats/sample_0_1.topostats": {"y": 64, "x": 64},
    "wsxm/sample_0.top": {"y": 512, "x": 512},
}
# header values that INDEX.tsv states: attributes, or places in the whole header
ATTRIBUTES = {
    "nanonis_sxm/Image_445.sxm": {"bias": 0.05, "setpoint": 1e-11, "scan_direction": "up"},
    "nanonis_sxm/A170315.172917-00394.sxm": {"bias": -0.00115, "feedback": "off"},
    "nanonis_sxm/A170315.173119-00395.sxm": {"bias": -0.00115, "feedback": "off"},
    "nanonis_dat/Bias-Spectroscopy003.dat": {"position_z": -9.98825e-9},
    "nanonis_dat/Z-Spectroscopy__012.dat": {"position_z": -1.88797e-8},
    "omicron_mtrx/20201111--4_1.Z_mtrx": {"bias": 0.6, "setpoint": 3e-10, "scan_angle": 0.0},
    "rhk_sm4/test_iv.SM4": {"bias": 0.99411, "setpoint": 4.31244e-11, "acquired": "2023-06-17T11:12:42"},
    "specs_mul/test_single_image.mul": {"bias": 1.25, "gain": 10000, "scan_angle": np.deg2rad(349)},
    "bruker_nanoscope/20200904_Egel4-Z1.0_00025.spm": {"spring_constant": 0.1332, "deflection_sensitivity": 27.39e-9},
    "park_tiff/Park_20210916_034.tiff": {"scan_rate": 1.248},
}
HEADERS = {
    "nanonis_sxm/Image_445.sxm": {("ACQ_TIME",): "4877.1", ("Z-Controller>Z (m)",): "-14.3049E-9",
                                  ("Oscillation Control>Reference Phase (deg)",): "65.16E+0"},
    "nanonis_dat/Bias-Spectroscopy003.dat": {("Oscillation Control>Cut off frq (Hz)",): "389"},
    "igor_ibw/AR_20211011.ibw": {("note", "ResFreq1"): "257190.3393405252", ("note", "ScanRate"): "2.0032@Line: 124"},
    "bruker_nanoscope/20200904_Egel4-Z1.0_00025.spm": {
        ("force file list", "version"): "0x0920B046", ("ciao force list", "scan rate"): "1.01725",
        ("ciao force list", "trigger mode"): "Relative", ("scanner list", "sens. zsens"): "V 13.20300 nm/V"},
    "gxsm_nc/chigwell009-M-Xp-Topo.nc": {("InstrumentName",): "LT-AFM"},
    "nanosurf_nid/NanoSurf_20160301.nid": {("DataSet-Info", "Time/Line"): "1 s"},
}  # fmt: skip


def files() -> list[str]:
    """The files of the folders, by the name that INDEX.tsv gives them."""
    return sorted(f"{f}/{path.name}" for f in FOLDERS for path in (DATA / f).glob("*") if path.is_file())


def grids(name: str) -> dict[str, object]:
    """The Datasets of a file by group, nothing read."""
    tree = xp.open_tree(DATA / name)
    return {node.path: node.to_dataset() for node in tree.subtree if node.data_vars}


@pytest.fixture(autouse=True)
def _present(data_file):
    data_file(SOME)


SOME = "nanonis_sxm/Image_445.sxm"


@pytest.mark.parametrize("name", REFUSED)
def test_refused_by_name(name):
    with pytest.raises(TranslationError, match=REFUSED[name]):
        xp.open_tree(DATA / name)


def test_every_other_file_is_read_whole_and_labelled():
    wrong = {}
    for name in files():
        if name in REFUSED:
            continue
        for group, ds in grids(name).items():
            problems = schema.problems(ds)
            lacking = [key for key in ("instrument", "original_metadata") if not ds.attrs.get(key)]
            if problems or lacking:
                wrong[name + group] = [*problems, *lacking]
    assert wrong == {} and len(files()) >= 50


@pytest.mark.parametrize("name", SIZES)
def test_sizes(name):
    assert dict(next(iter(grids(name).values())).sizes) == SIZES[name]


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_attributes(name):
    attrs = next(iter(grids(name).values())).attrs
    for key, value in ATTRIBUTES[name].items():
        # the setpoint and bias were rounded to the digits that the index prints
        assert attrs[key] == (pytest.approx(value, rel=2e-3) if isinstance(value, float) else value), key


@pytest.mark.parametrize("name", HEADERS)
def test_headers_are_whole(name):
    header = schema.decode_metadata(next(iter(grids(name).values())).attrs["original_metadata"])
    for keys, value in HEADERS[name].items():
        found = header
        for key in keys:
            found = found[key]
        assert found.strip() == value


# ------------------------------------------------------------------------------------------------------- the table


def shell(*arguments: str) -> tuple[int, str]:
    """Exit status and output of one command of the shell."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        status = cli.main(list(arguments))
    return status, said.getvalue()


def row(name: str, folder: Path) -> str:
    """One line: the file, read or refused, whether translate gives the same numbers, dims and units of each grid."""
    path, target = str(DATA / name), str(folder / "out.h5")
    status, said = shell("info", path)
    if status:
        return f"{name} | refused | {said.strip().splitlines()[-1][:110]}"
    written, _ = shell("translate", path, "-o", target, "--overwrite")
    equal = not written
    described = []
    for group, ds in grids(name).items():
        stored = xp.open(target, group=group.strip("/") or None) if not written else ds
        equal &= all(np.array_equal(ds[v].values, stored[v].values, equal_nan=ds[v].dtype.kind in "fc") for v in ds)
        units = ", ".join(dict.fromkeys(str(v.attrs.get("units", "-")) for v in ds.data_vars.values()))
        described.append(f"({', '.join(f'{d} {n}' for d, n in ds.sizes.items())}) {len(ds.data_vars)} var {units}")
    more = f" + {len(described) - 2} grids" if len(described) > 3 else ""
    described = described[:2] if more else described
    return f"{name} | read | translate {'equal' if equal else 'DIFFERS'} | {'; '.join(described)}{more}"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as out:
        for one in files():
            print(row(one, Path(out)), flush=True)
