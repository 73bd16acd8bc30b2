"""The band-excitation folder: bytes laid down by hand, every mode of the simulator's writer, damaged files."""

import os

import numpy as np
import pytest
import xarray as xr
from scipy.io import loadmat, savemat

import xpycro as xp
from tests.io import fuzzing
from xpycro import schema
from xpycro.errors import CorruptFile, NotThisFormat, TranslationError, UnsupportedVariant
from xpycro.io import rawarray
from xpycro.io.translators import _mat5
from xpycro.io.translators._be_steps import bias_wave
from xpycro.io.translators._mat5 import read_arrays
from xpycro.io.translators.band_excitation import odf, parameters

PARMS = """<File parameters>
file name : SP128
<IO parameters>
rate : 4 MHz
<Multi frequency parameters>
ignored : 3
<grid parameters>
num rows : 2
num cols : 3
<BE parameters>
center frequency [Hz] : 325k
band width [Hz] : 60000
# of bins : 4
<VS parameters>
mode : DC modulation mode
amplitude [V] : 8
offset [V] : 1
steps per full cycle : 8
number of cycles : 2
cycle fraction : full
cycle phase shift : 0
measure in field loops : in and out-of-field
"""


@pytest.fixture
def by_hand(tmp_path):
    """A folder written number by number: 2 x 3 pixels, 2 cycles of 8 steps, 4 bins; each number says where it is."""
    folder = tmp_path / "scan_0001"
    folder.mkdir()
    (folder / "scan_parms.txt").write_text(PARMS)
    savemat(
        folder / "scan_more_parms.mat",
        {"BE_bin_ind": np.array([[3, 4, 5, 6]]), "BE_bin_w": np.array([300e3, 310e3, 320e3, 330e3]),
         "FFT_BE_wave": np.arange(10) + 1j, "other": "text"},
    )  # fmt: skip
    for field, tag in enumerate(("write", "read")):
        for part in ("real", "imag"):
            with open(folder / f"scan_{tag}_{part}.dat", "wb") as handle:
                for pixel in range(6):
                    for step in range(16):
                        for bin_ in range(4):
                            value = pixel * 1000 + step * 10 + bin_ + 0.5 * field
                            np.array([value if part == "real" else -value], "<f4").tofile(handle)
        np.arange(6 * 16, dtype="<f4").tofile(folder / f"scan_AI2_{tag}.dat")
    return folder


def test_every_number_is_where_it_was_written(by_hand):
    ds = xp.open(by_hand, phase_check=0)
    assert dict(ds.response.sizes) == {"y": 2, "x": 3, "cycle": 2, "field": 2, "step": 8, "frequency": 4}
    y, x, cycle, field, step, b = np.indices(ds.response.shape)
    expected = (y * 3 + x) * 1000 + (cycle * 8 + step) * 10 + b + 0.5 * field
    np.testing.assert_array_equal(ds.response, expected - 1j * expected)
    assert ds.response.dtype == np.complex64 and ds.response.units == "V"
    assert list(ds.field.values) == ["in", "out"]
    np.testing.assert_allclose(ds.bias, [1, 5, 9, 5, 1, -3, -7, -3])
    np.testing.assert_allclose(ds.frequency, [300e3, 310e3, 320e3, 330e3])
    np.testing.assert_allclose(ds.excitation, np.array([2, 3, 4, 5]) - 1j)
    y, x, cycle, field, step = np.indices(ds.current.shape)
    np.testing.assert_allclose(ds.current, 1e-9 * ((y * 3 + x) * 16 + cycle * 8 + step), rtol=1e-6)
    assert ds.current.units == "A"
    assert schema.problems(ds) == []
    header = schema.decode_metadata(ds.attrs["original_metadata"])
    assert header["BE_num_of_bins"] == "4" and "Multi_ignored" not in header
    assert ds.attrs["title"] == "SP128"


def test_the_parameter_file_stands_for_the_folder(by_hand):
    found = xp.open(by_hand / "scan_parms.txt")
    xr.testing.assert_identical(found.drop_attrs(), xp.open(by_hand).drop_attrs())
    (by_hand / "second_parms.txt").write_text(PARMS)
    with pytest.raises(NotThisFormat, match="several parameter files"):
        xp.open(by_hand)


def test_opening_reads_no_data_and_the_check_reads_few(by_hand, monkeypatch):
    counted = []
    read = rawarray.read_block
    monkeypatch.setattr(rawarray, "read_block", lambda *a: counted.append(len(a[2])) or read(*a))
    ds = xp.open(by_hand, phase_check=0, chunks=None)
    assert not counted and not ds.response.variable._in_memory and "phase_sign" not in ds.attrs
    xp.open(by_hand, phase_check=5)
    assert sum(counted) == 5 * 2 * 4 * 4
    counted.clear()
    ds.response.isel(y=1, x=2, cycle=0, field=1, step=3).load()
    assert sum(counted) == 2 * 4 * 4


def test_translating_keeps_every_number(by_hand, tmp_path):
    ds = xp.translate(by_hand, tmp_path / "scan.h5")
    raw = xp.open(by_hand)
    np.testing.assert_array_equal(ds.response, raw.response)
    np.testing.assert_array_equal(ds.bias, raw.bias)
    assert xp.history(ds).source["format"] == "band_excitation"
    assert len(xp.history(ds).source["sha256"]) == 64


def test_the_last_pixel_may_be_missing(by_hand):
    whole = xp.open(by_hand).response.values
    for name in os.listdir(by_hand):
        if name.endswith(".dat"):
            path = by_hand / name
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 6 * 5])
    ds = xp.open(by_hand)
    assert not ds.measured[1, 2] and int(ds.measured.sum()) == 5
    assert np.isnan(ds.response[1, 2]).all() and np.isnan(ds.current[1, 2]).all()
    np.testing.assert_array_equal(ds.response[0], whole[0])
    np.testing.assert_array_equal(ds.response[1, :2], whole[1, :2])


def test_an_aborted_scan_is_read_on_demand(tmp_path):
    sim = xp.simulate.band_excitation((3, 4), 8, mode="dc", n_steps=8)
    folder = xp.simulate.write_band_excitation(sim, tmp_path / "be", pixels=5)
    with pytest.raises(CorruptFile, match="incomplete=True"):
        xp.open(folder)
    ds = xp.open(folder, incomplete=True)
    assert int(ds.measured.sum()) == 5
    np.testing.assert_array_equal(ds.response.values[0], sim.response.values[0])
    assert np.isnan(ds.response.values[2]).all()


@pytest.mark.parametrize("excitation_file", [True, False])
@pytest.mark.parametrize(
    "options",
    [{}, {"mode": "dc"}, {"mode": "dc", "field": "both", "n_cycles": 2}, {"mode": "current"}, {"mode": "ac"},
     {"mode": "dc", "n_forc": 5}, {"mode": "dc", "field": "in"}, {"mode": "dc", "n_forc": 3, "n_cycles": 2}],
    ids=str,
)  # fmt: skip
def test_every_mode_comes_back_from_the_folder(tmp_path, options, excitation_file):
    sim = xp.simulate.band_excitation((3, 4), 16, n_steps=8, **options)
    folder = xp.simulate.write_band_excitation(sim, tmp_path / "be", excitation_file=excitation_file)
    ds = xp.open(folder)
    assert ds.response.dims == sim.response.dims
    np.testing.assert_array_equal(ds.response, sim.response)
    np.testing.assert_allclose(ds.frequency, sim.frequency)
    for name in ("bias", "drive_amplitude", "field", "direction", "cycle", "forc"):
        assert (name in ds.coords) == (name in sim.coords)
        if name in sim.coords and sim[name].dtype.kind == "f":
            np.testing.assert_allclose(ds[name], sim[name], atol=1e-9)
        elif name in sim.coords:
            np.testing.assert_array_equal(ds[name], sim[name])
    if "current" in sim:
        np.testing.assert_allclose(ds.current, sim.current, rtol=1e-5)
    assert ("excitation" in ds) == excitation_file
    assert ds.attrs["phase_sign"].startswith("as the model")
    assert schema.problems(ds) == []


def test_without_the_excitation_file_bins_fill_the_trimmed_band(by_hand):
    (by_hand / "scan_more_parms.mat").unlink()
    half = 60e3 * (0.5 - 0.094742)
    np.testing.assert_allclose(xp.open(by_hand).frequency, np.linspace(325e3 - half, 325e3 + half, 4))


def test_conjugated_spectra_are_reported_and_left_alone(tmp_path):
    sim = xp.simulate.band_excitation((3, 4), 32, mode="dc", n_steps=8)
    turned = sim.assign(response=np.conj(sim.response))
    ds = xp.open(xp.simulate.write_band_excitation(turned, tmp_path / "be"))
    assert ds.attrs["phase_sign"].startswith("conjugated")
    np.testing.assert_array_equal(ds.response, np.conj(sim.response))


def test_bias_waves_are_the_published_ones():
    up = np.arange(5) / 4
    whole = np.concatenate([up, up[-2::-1], -up[1:], up[1:-1] - 1])
    np.testing.assert_allclose(bias_wave(16), whole)
    np.testing.assert_allclose(bias_wave(16, shift=0.25), np.roll(whole, 4))
    np.testing.assert_allclose(bias_wave(16, fraction=0.75), whole[:12])


# ------------------------------------------------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [("mode : DC modulation mode", "mode : load user defined VS Wave from file", UnsupportedVariant),
     ("num rows : 2", "num rows : 4", CorruptFile), ("num rows : 2", "num rows : 1", CorruptFile),
     ("num rows : 2", "num rows : two", CorruptFile), ("num rows : 2", "num rows : 1e300", CorruptFile),
     ("steps per full cycle : 8", "steps per full cycle : 16777216", CorruptFile),
     ("cycle fraction : full", "cycle fraction : 2/3", CorruptFile), ("num cols : 3\n", "", CorruptFile)],
)  # fmt: skip
def test_contradictions_are_refused(by_hand, old, new, error):
    path = by_hand / "scan_parms.txt"
    path.write_text(PARMS.replace(old, new))
    with pytest.raises(error):
        odf(str(by_hand))


def test_folders_that_are_none_are_refused(tmp_path, by_hand):
    with pytest.raises(IsADirectoryError, match="open_many"):
        xp.open(tmp_path)
    with pytest.raises(NotThisFormat, match="folder"):
        xp.translate(tmp_path, tmp_path / "a.h5")
    (by_hand / "scan_read_imag.dat").unlink()
    with pytest.raises(CorruptFile, match="only the real part"):
        xp.open(by_hand)
    (tmp_path / "notes_parms.txt").write_text("temperature : 300\n")
    with pytest.raises(NotThisFormat, match="no group"):
        parameters(str(tmp_path / "notes_parms.txt"))


# -------------------------------------------------------------------------------------------------------- MATLAB files


@pytest.mark.parametrize("compressed", [True, False])
def test_arrays_are_those_of_scipy(tmp_path, compressed):
    rng = np.random.default_rng(0)
    variables = {
        "real": rng.normal(size=(3, 5)), "z": rng.normal(size=(4, 2)) + 1j * rng.normal(size=(4, 2)),
        "single": rng.normal(size=7).astype("f4"), "small": np.array([3]), "bytes": np.arange(5, dtype="u1"),
        "cube": rng.integers(-9, 9, (2, 3, 4)), "words": "text", "cell": np.array([1, "a"], dtype=object),
        "structure": {"a": 1.0}, "empty": np.zeros((0, 3)),
    }  # fmt: skip
    savemat(tmp_path / "a.mat", variables, do_compression=compressed)
    found, expected = read_arrays(str(tmp_path / "a.mat")), loadmat(tmp_path / "a.mat")
    assert set(found) == {"real", "z", "single", "small", "bytes", "cube", "empty"}
    for name, values in found.items():
        np.testing.assert_array_equal(values, expected[name])


def test_a_compressed_bomb_is_refused(by_hand, monkeypatch):
    import zlib

    monkeypatch.setattr(_mat5, "_LIMIT", 1 << 20)
    body = zlib.compress(bytes(1 << 22))
    head = b"MATLAB 5.0".ljust(124) + b"\x00\x01IM"
    (by_hand / "scan_more_parms.mat").write_bytes(head + np.array([15, len(body)], "<u4").tobytes() + body)
    with pytest.raises(CorruptFile, match="inflates to more"):
        odf(str(by_hand))


# -------------------------------------------------------------------------------------------------------------- fuzzing


@pytest.mark.parametrize("name", ["scan_parms.txt", "scan_more_parms.mat", "scan_read_real.dat", "scan_AI2_read.dat"])
def test_mutants_are_refused_or_read_right(by_hand, name):
    content = (by_hand / name).read_bytes()

    def translate(path):
        return odf(os.path.dirname(path), phase_check=4)

    block = (0, len(content)) if name.endswith(".dat") else (len(content), len(content))
    counts = fuzzing.run(translate, content, block, by_hand, name, text=name.endswith(".txt"))
    assert counts["refused"] > 20


def test_truncated_parameters_are_refused_or_lack_their_end(by_hand):
    content = (by_hand / "scan_parms.txt").read_bytes()
    for length in range(0, len(content) - 120, 11):
        (by_hand / "scan_parms.txt").write_bytes(content[:length])
        with pytest.raises(TranslationError):
            odf(str(by_hand))
