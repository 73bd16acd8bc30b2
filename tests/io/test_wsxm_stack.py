"""WSxM spectroscopy images and movies, built after the order in which their maker writes them."""

from __future__ import annotations

import numpy as np
import pytest

from tests.io import fuzzing
from xpycro import schema
from xpycro.errors import CorruptFile
from xpycro.io.opening import open as open_file
from xpycro.io.translators.wsxm_stack import movie, volume

DTYPES = {"short": "<i2", "double": "<f8"}


def _header(kind, dtype, nx, ny, general, rest=()):
    lines = ["WSxM file copyright UAM", kind, "Image header size: 0", "", "[Control]", "", "    Set Point: 1 nA",
             "    X Amplitude: 500 nm", "    Y Amplitude: 0.6 µm", "", "[General Info]", "",
             "    Acquisition channel: Current", f"    Image Data Type: {dtype}", f"    Number of columns: {nx}",
             f"    Number of rows: {ny}", *general, "    Z Amplitude: 20 nm", "", *rest, "",
             "[Header end]", ""]  # fmt: skip
    return "\r\n".join(lines).encode("latin-1")


def build_volume(nx=5, ny=3, ramp=(1.0, 0.0, -1.0, -2.0), dtype="double", unit="V"):
    rng = np.random.default_rng(0)
    numbers = rng.integers(-999, 999, (1 + len(ramp), ny, nx)).astype(DTYPES[dtype])
    general = [f"    Number of points per ramp: {len(ramp)}", "    Spectroscopy Amplitude: 1 nA",
               "    Spectroscopy direction: Backward"]  # fmt: skip
    if dtype == "short":
        general += ["    ADC to V conversion factor: 0.0003 V", "    Channel is inverted: Yes",
                    "    Conversion factor 0 for input channel: 2 nA/V",
                    "    Conversion offset 0 for input channel: 5 nA"]  # fmt: skip
    rest = ["[Spectroscopy images ramp value list]", ""]
    rest += [f"    Image {k:03}: {value:.4f} {unit}" for k, value in enumerate(ramp)]
    header = _header("Spectroscopy Imaging Image file", dtype, nx, ny, general, rest)
    return header + numbers.tobytes(), len(header), numbers[..., ::-1].astype(float)


def build_movie(nx=5, ny=3, frames=4):
    numbers = np.random.default_rng(0).integers(-999, 999, (frames, ny, nx)).astype("<i2")
    rest = ["[Miscellaneous]", "", f"    Maximum: {numbers.max()}", f"    Minimum: {numbers.min()}"]
    header = _header("SxM Image file", "short", nx, ny, [f"    Number of Frames: {frames}"], rest)
    return header + numbers.tobytes(), len(header), numbers[..., ::-1] * 20e-9 / np.ptp(numbers)


def write(tmp_path, content, name="test.gsi"):
    path = tmp_path / name
    path.write_bytes(content)
    return str(path)


def test_a_volume_of_floats(tmp_path):
    content, _, truth = build_volume()
    ds = open_file(write(tmp_path, content))
    assert ds.current.dims == ("y", "x", "bias") and ds.bias.values.tolist() == [-2, -1, 0, 1]
    np.testing.assert_allclose(ds.current.values, np.moveaxis(truth[:0:-1], 0, -1) * 1e-9)
    np.testing.assert_allclose(ds.topography.values, truth[0] * 1e-9)
    np.testing.assert_allclose(ds.y.values, np.arange(3) * 200e-9)
    assert (ds.current.attrs["units"], ds.attrs["spectroscopy_direction"]) == ("A", "backward")
    assert schema.problems(ds) == []


def test_a_volume_of_integers_over_a_length(tmp_path):
    content, _, truth = build_volume(ramp=(0.0, 10.0, 20.0), dtype="short", unit="nm")
    ds = volume(write(tmp_path, content))[""]
    np.testing.assert_allclose(ds.current.values, np.moveaxis(5e-9 - truth[1:] * 0.0003 * 2e-9, 0, -1))
    np.testing.assert_allclose(ds.z.values, [0, 1e-8, 2e-8])
    np.testing.assert_allclose(ds.topography.values, truth[0] * 20e-9 / np.ptp(truth[0]))


def test_a_ramp_that_turns_back_keeps_its_order(tmp_path):
    content, _, truth = build_volume(ramp=(0.0, 1.0, 0.0))
    ds = volume(write(tmp_path, content))[""]
    assert ds.current.dims == ("y", "x", "step") and ds.bias.values.tolist() == [0, 1, 0]
    np.testing.assert_allclose(ds.current.values, np.moveaxis(truth[1:], 0, -1) * 1e-9)


def test_a_movie(tmp_path):
    content, _, truth = build_movie()
    ds = open_file(write(tmp_path, content, "test.mpp"))
    assert ds.current.dims == ("frame", "y", "x")
    np.testing.assert_allclose(ds.current.values, truth)
    assert schema.problems(ds) == []


def test_lists_of_another_length_are_refused(tmp_path):
    content, _, _ = build_volume()
    with pytest.raises(CorruptFile, match="ramp"):
        volume(write(tmp_path, content.replace(b"Image 002", b"Image 007")))


@pytest.mark.parametrize(("read", "build"), [(volume, build_volume), (movie, build_movie)])
def test_mutants_are_refused_or_read_right(tmp_path, read, build):
    content, header, _ = build(7, 6)
    assert fuzzing.run(read, content, header, tmp_path, "fuzz.gsi")["refused"] > 30
