"""The bridge: nothing of it is imported unless used; what RosettaSciIO hands over is labelled rightly."""

from __future__ import annotations

import fractions
import importlib.util
import subprocess
import sys

import dask.array
import numpy as np
import pytest

from xpycro import schema
from xpycro.errors import CorruptFile, MissingExtra, UnsupportedVariant
from xpycro.io import formats, opening
from xpycro.io.translators import bridge
from xpycro.io.translators._signals import collect

needs_rosettasciio = pytest.mark.skipif(
    importlib.util.find_spec("rsciio") is None, reason="RosettaSciIO is not installed (extra em)"
)


def entry(data, *axes, **metadata):
    described = [
        {"name": n, "units": u, "size": s, "scale": c, "offset": o, "navigate": nav, "index_in_array": i}
        for i, (n, u, s, c, o, nav) in enumerate(axes)
    ]
    return {"data": data, "axes": described, "metadata": metadata, "original_metadata": {"a": {"b": 1}}}


def test_a_spectrum_image_and_its_survey():
    cube = np.arange(24).reshape(2, 3, 4).astype("u2")
    y, x = ("height", "µm", 2, 0.5, 0.0, True), ("width", "µm", 3, 0.5, 0.0, True)
    spectra = entry(dask.array.from_array(cube), y, x, ("Energy", "keV", 4, 0.01, -0.1, False),
                    General={"title": "EDX", "date": "2018-10-04", "time": "13:02:07"},
                    Signal={"signal_type": "EDS_SEM"}, Acquisition_instrument={"SEM": {"beam_energy": 20}})  # fmt: skip
    image = entry(cube[..., 0], y, x, General={"title": "BSE"})
    ds = collect([bridge.signal_of(image), bridge.signal_of(spectra, 1)], {})[""]
    assert schema.problems(ds) == []
    assert ds.edx.dims == ("y", "x", "energy") and ds.bse.dims == ("y", "x")
    assert ds.edx.chunks is not None and ds.edx.units == "counts"
    np.testing.assert_array_equal(ds.edx, cube[::-1])
    np.testing.assert_allclose(ds.energy, [-100, -90, -80, -70])
    np.testing.assert_allclose(ds.y, [0, 5e-7])


def test_axis_arrays_fractions_colours_and_unit_spellings():
    data = np.zeros((2, 3), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    data["G"] = 7
    picture = entry(data, ("y", "µm", 2, fractions.Fraction(1, 2), 0, False), ("x", "<undefined>", 3, 1, 0, False))
    (ds,) = collect([bridge.signal_of(picture)], {}).values()
    (da,) = ds.data_vars.values()
    assert da.dims == ("y", "x", "channel") and list(ds.channel.values) == ["red", "green", "blue"]
    assert (da.sel(channel="green") == 7).all() and ds.x.units == "pixel"
    raman = {
        "data": np.arange(3.0),
        "axes": [{"name": "Wavelength", "units": "nm", "axis": np.array([502.0, 501.0, 500.0]), "navigate": False}],
        "metadata": {"General": {"title": "Raman"}},
    }
    (ds,) = collect([bridge.signal_of(raman)], {}).values()
    np.testing.assert_allclose(ds.wavelength, [500e-9, 501e-9, 502e-9])
    np.testing.assert_array_equal(ds.raman, [2, 1, 0])
    pattern = entry(np.zeros((2, 2)), ("dy", "1 / nm", 2, 0.1, 0, False), ("dx", "1 / nm", 2, 0.1, 0, False))
    (ds,) = collect([bridge.signal_of(pattern)], {}).values()
    assert set(ds.dims) == {"ky", "kx"} and ds.kx.units == "1/m"


def test_the_reader_that_evaluates_text_is_never_reached(tmp_path):
    with pytest.raises(UnsupportedVariant):
        bridge.read(str(tmp_path / "a.nc"), "netcdf")
    assert "netcdf" not in bridge.PLUGINS.values()


def test_without_it_one_error_says_what_to_install(tmp_path, monkeypatch):
    path = tmp_path / "a.bcf"
    path.write_bytes(b"AAMVHFSS" + bytes(100))
    found = formats.identify(path)
    assert (found.name, found.verified, found.extra) == ("bruker_bcf", "bridge", "em")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"xpycro\[em\]"):
        formats.read_groups(str(path), found, {})


def test_nothing_of_it_is_imported_by_listing_or_opening_others(tmp_path):
    path = tmp_path / "a.gsf"
    path.write_bytes(b"Gwyddion Simple Field 1.0\nXRes = 1\nYRes = 1\n" + b"\0" * 4 + bytes(4))
    code = (
        "import sys\nfrom xpycro.io import formats, opening\nformats.formats()\n"
        f"opening.open({str(path)!r})\nprint([m for m in sys.modules if m.startswith('rsciio')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@needs_rosettasciio
def test_what_it_raises_becomes_ours(tmp_path):
    path = tmp_path / "a.bcf"
    path.write_bytes(b"AAMVHFSS" + bytes(1000))
    with pytest.raises(CorruptFile, match="RosettaSciIO"):
        bridge.bruker(str(path))


REAL = {
    "bruker_bcf/16x16_12bit_packed_8bit.bcf": (
        {"y": 16, "x": 16, "energy": 2048},
        {"energy": 9.997, "x": 0.96649757e-6},
    ),
    "jeol/met03.EDS": ({"energy": 2048}, {"energy": 10.0004}),
    "emd_velox/EMDReader_Image_FEI.emd": ({"y": 512, "x": 512}, {"x": 0.00530241e-6}),
    "emd_velox/fei_example_tem_stack.emd": ({"time": 2, "y": 3, "x": 3}, {"time": 0.8, "x": 8.17288319e-12}),
    "pantarhei/panta_rhei_sample.prz": ({"y": 16, "x": 16}, {}),
    "trivista/spec_1s_1acc_1frame_average.tvf": ({"wavelength": 1024}, {}),
    "dens/file1.dens": ({"time": 7}, {"time": 0.33}),
    "protochips/protochips_thermal.csv": ({"time": 2578}, {"time": 0.1}),
}


@needs_rosettasciio
@pytest.mark.parametrize("name", REAL)
def test_real_files(data_file, name):
    sizes, steps = REAL[name]
    groups = opening.load_tree(data_file(name))
    ds = next(ds for ds in groups.values() if dict(ds.sizes) == sizes)
    assert schema.problems(ds) == []
    for dim, size in steps.items():
        np.testing.assert_allclose(float(ds[dim][1] - ds[dim][0]), size, rtol=1e-4)


@needs_rosettasciio
def test_the_numbers_of_a_bruker_map(data_file):
    ds = opening.load(data_file("bruker_bcf/30x30_instructively_packed_16bit_compressed.bcf"))
    expected = np.load(data_file("bruker_bcf/30x30_16bit.npy"))
    np.testing.assert_array_equal(ds.edx[::-1, :, 222:224], expected)
    assert ds.asb.shape == (30, 30) and "66940.81" in ds.attrs["original_metadata"]


@needs_rosettasciio
def test_the_numbers_of_a_velox_image(data_file):
    ds = opening.load(data_file("emd_velox/EMDReader_Image_FEI.emd"))
    top_first = ds.haadf.values[::-1]
    # the published values are indexed [x, y]
    assert [int(top_first[n, n]) for n in (10, 100, 300)] == [9190, 9191, 9190]
