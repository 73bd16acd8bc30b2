"""Nanoscope files: real ones against INDEX.tsv, a reference table and their bytes; synthetic ones."""

from __future__ import annotations

import numpy as np
import pytest

from tests.io import samples
from xpycro import schema
from xpycro.errors import CorruptFile, NotThisFormat, UnsupportedVariant
from xpycro.io.translators.nanoscope import read


def _write(tmp_path, content):
    path = tmp_path / "a.spm"
    path.write_bytes(content)
    return str(path)


def test_real_images(data_file):
    path = data_file("bruker_nanoscope/full_multiple_images.txt")
    ds = read(str(path))[""]
    assert list(ds) == ["height", "amplitude"] and ds.height.shape == (512, 512)
    # another project's table of the raw heights, whose first row is the first stored line
    raw = np.loadtxt(data_file("bruker_nanoscope/reference_raw.csv"), delimiter=",")
    # 438.6572 V is the full scale of 16 bits, 12.95302 nm/V the sensitivity of the scanner
    np.testing.assert_allclose(ds.height.values, raw * 438.6572 / 65536 * 12.95302e-9, rtol=1e-9)
    second = np.frombuffer(path.read_bytes()[565248:], "<i2").reshape(512, 512)
    np.testing.assert_allclose(ds.amplitude.values, second * 0.2166748 / 65536, rtol=1e-9)
    assert (ds.height.attrs["units"], ds.amplitude.attrs["units"]) == ("m", "V")
    assert ds.x[1].item() == pytest.approx(2e-6 / 512) and ds.attrs["acquired"] == "2014-10-17T10:27:26"
    assert schema.problems(ds) == []


def test_real_force_curve_of_four_byte_numbers(data_file):
    path = data_file("bruker_nanoscope/20200904_Egel4-Z1.0_00025.spm")
    ds = read(str(path))[""]
    assert dict(ds.sizes) == {"segment": 2, "point": 1024}
    raw = np.frombuffer(path.read_bytes()[80960 : 80960 + 8192], "<i4").reshape(2, 1024)
    volts = raw * 0.000375
    np.testing.assert_allclose(ds.deflection_error[0].values, volts[0, ::-1] * 27.39e-9, rtol=1e-9)
    np.testing.assert_allclose(ds.deflection_error[1].values, volts[1] * 27.39e-9, rtol=1e-9)
    assert ds.attrs["spring_constant"] == 0.1332 and ds.attrs["deflection_sensitivity"] == 27.39e-9
    np.testing.assert_allclose(float(ds.z.max()), 227.2211 * 13.203e-9)
    # in time: towards the sample, contact where the halves meet, and away
    assert ds.deflection_error[0, -1] > 4 * ds.deflection_error[0, 0]
    assert ds.deflection_error[1, 0] > 4 * ds.deflection_error[1, -1]
    assert schema.problems(ds) == []


def test_real_force_curve_of_two_byte_numbers(data_file):
    path = data_file("bruker_nanoscope/BrukerReader_ForceCurve_Sapphire_TAP525.001")
    ds = read(str(path))[""]
    assert list(ds) == ["deflection_error", "height_sensor"] and dict(ds.sizes) == {"segment": 2, "point": 512}
    content = path.read_bytes()
    height = np.frombuffer(content[43008:], "<i2").reshape(2, 512) * 0.000375 * 960.1708e-9
    np.testing.assert_allclose(ds.height_sensor.values, [height[0, ::-1], height[1]], rtol=1e-9)
    np.testing.assert_allclose(float(ds.z.max()), 16.72241 * 35.88e-9)
    # the sensor of the height confirms the order of both halves and the length of the ramp
    moved = ds.height_sensor - ds.height_sensor[0, 0]
    np.testing.assert_allclose(moved.values, ds.z.values, atol=0.06 * float(ds.z.max()))


@pytest.mark.parametrize("itemsize", [2, 4])
def test_trace_and_retrace(tmp_path, itemsize):
    content, _, truth = samples.nanoscope_image(itemsize=itemsize)
    ds = read(_write(tmp_path, content))[""]
    assert ds.height.dims == ("direction", "y", "x")
    np.testing.assert_allclose(ds.height.values, truth * (65.536 / 2 ** (8 * itemsize) * 20e-9), rtol=1e-12)
    np.testing.assert_allclose(ds.x.values, np.arange(6) * 1e-7)
    np.testing.assert_allclose(ds.y.values, np.arange(4) * 2e-7)
    assert ds.attrs["scan_center_x"] == pytest.approx(-1e-7) and ds.attrs["scan_angle"] == pytest.approx(np.pi / 2)


def test_force_volume(tmp_path):
    content, _, truth = samples.nanoscope_force(curves=(3, 2))
    ds = read(_write(tmp_path, content))[""]
    assert ds.deflection_error.dims == ("y", "x", "segment", "point")
    expected = np.stack([truth[:, :, 0, ::-1], truth[:, :, 1]], axis=2) * 0.0005 * 50e-9
    np.testing.assert_allclose(ds.deflection_error.values, expected)
    np.testing.assert_allclose(ds.deflection_error[1, 0, 0, 2:4].values, expected[1, 0, 0, 2:4])
    np.testing.assert_allclose(ds.z.values[0], np.arange(8) * 1e-8)
    assert schema.problems(ds) == []


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        (b"Data offset: 2048", b"Data offset: 2049", "data offset"),
        (b"Data offset: 2048", b"Data offset: 9048", "data offset"),
        (b"Data length: 48", b"Data length: 96", "data offset"),
        (b"Samps/line: 6", b"Samps/line: x", "samps/line"),
        (b"Z scale: V [Sens. Zsens]", b"Z scale: W [Sens. Zsens]", "z scale"),
        (b"File list end", b"File list and", "header"),
    ],
)
def test_contradictions_are_named(tmp_path, old, new, field):
    content, _, _ = samples.nanoscope_image()
    assert old in content
    with pytest.raises(CorruptFile, match=field):
        read(_write(tmp_path, content.replace(old, new)))


def test_other_files(tmp_path):
    content, _, _ = samples.nanoscope_image()
    with pytest.raises(UnsupportedVariant, match="2 or 4 bytes"):
        read(_write(tmp_path, content.replace(b"Samps/line: 6", b"Samps/line: 2")))
    with pytest.raises(NotThisFormat):
        read(_write(tmp_path, b"whatever"))
