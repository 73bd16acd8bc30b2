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
    np.testing.assert_allclose(ds.deflection[0].values, volts[0, ::-1] * 27.39e-9, rtol=1e-9)
    np.testing.assert_allclose(ds.deflection[1].values, volts[1] * 27.39e-9, rtol=1e-9)
    assert ds.attrs["spring_constant"] == 0.1332 and ds.attrs["deflection_sensitivity"] == 27.39e-9
    np.testing.assert_allclose(float(ds.z.max()), 227.2211 * 13.203e-9)
    # in time: towards the sample, contact where the halves meet, and away
    assert ds.deflection[0, -1] > 4 * ds.deflection[0, 0]
    assert ds.deflection[1, 0] > 4 * ds.deflection[1, -1]
    assert schema.problems(ds) == []


def test_real_force_curve_of_two_byte_numbers(data_file):
    path = data_file("bruker_nanoscope/BrukerReader_ForceCurve_Sapphire_TAP525.001")
    ds = read(str(path))[""]
    assert list(ds) == ["deflection", "force", "height_sensor"] and dict(ds.sizes) == {"segment": 2, "point": 512}
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


def test_force_is_deflection_times_spring_constant(tmp_path):
    content, _, truth = samples.nanoscope_force()
    ds = read(_write(tmp_path, content))[""]
    expected = np.stack([truth[0, ::-1], truth[1]]) * 0.0005 * 50e-9 * 0.5
    np.testing.assert_allclose(ds.force.values, expected, rtol=1e-12)
    assert ds.force.attrs["units"] == "N" and ds.attrs["spring_constant"] == 0.5


def test_halves_of_unequal_length(tmp_path):
    """Samps/line 5 3: the approach has five points, the retract three and NaN behind."""
    content, start, _ = samples.nanoscope_force(4)
    ds = read(_write(tmp_path, content.replace(b"Samps/line: 4 4", b"Samps/line: 5 3")))[""]
    raw = np.frombuffer(content[start:], "<i2") * 0.0005 * 50e-9
    np.testing.assert_allclose(ds.deflection.values[0], raw[4::-1], rtol=1e-12)
    np.testing.assert_allclose(ds.deflection.values[1], [*raw[5:8], np.nan, np.nan], rtol=1e-12)
    np.testing.assert_allclose(ds.deflection[1, 1:4].values, [raw[6], raw[7], np.nan], rtol=1e-12)
    assert ds.length.values.tolist() == [5, 3]
    np.testing.assert_allclose(ds.z.values[1], [7e-8, 3.5e-8, 0, np.nan, np.nan], atol=1e-20)
    assert schema.problems(ds) == []


def test_images_of_two_sizes_are_two_groups(tmp_path):
    content, start, raw = samples.nanoscope_image()
    head = content[:start].replace(b"Samps/line: 6", b"Samps/line: 3", 1).replace(b"lines: 4", b"lines: 8", 1)
    groups = read(_write(tmp_path, head + content[start:]))
    assert [ds.height.shape for ds in groups.values()] == [(8, 3), (4, 6)]
    np.testing.assert_array_equal(groups["image_2"].height.values, raw[1] * (65.536 / 65536 * 20e-9))


@pytest.mark.parametrize(
    ("scale", "factor", "units"),
    [
        (r"V [Sens. Log] (0.0003 log(Pa)/LSB) 6.5536 log(Pa)", 1e-4, "log(Pa)"),
        (rb"V [Sens. Phase] (0.0055 \xba/LSB) 360 \xba".decode("unicode_escape"), np.pi / 32768, "rad"),
        (r"V (0.0003 nA/LSB) 65.536 nA", 1e-12, "A"),
        (r"V [Sens. Gone] (0.0003 V/LSB) 65.536 V", 1e-3, "V"),
        (r"C [2:Z scale] 0.5", 1.0, "1"),
    ],
)
def test_scales_of_other_channels(tmp_path, scale, factor, units):
    """A logarithmic one, degrees, one without and one of an unknown sensitivity; none at all leaves the counts."""
    content, start, raw = samples.nanoscope_image()
    old = rb"V [Sens. Zsens] (0.01 V/LSB) 65.536 V"
    head = content[:start].rstrip(b"\0").replace(old, scale.encode("latin-1"))
    ds = read(_write(tmp_path, head.ljust(start, b"\0") + content[start:]))[""]
    np.testing.assert_allclose(ds.height.values, raw * factor, rtol=1e-12)
    assert ds.height.attrs["units"] == units


def test_images_of_software_before_ciao_are_in_counts(tmp_path):
    """Their sections have other names and their scales no unit of one count."""
    content, start, raw = samples.nanoscope_image()
    head = content[:start].replace(b"*Ciao image list", b"*AFM image list")
    head = head.replace(rb"\@2:Z scale: V [Sens. Zsens] (0.01 V/LSB) 65.536 V", rb"\Z scale: 20 nm (8.9 V)")
    head = head.replace(rb'\@2:Image Data: S [Height] "Height"', rb"\Image data: Height").ljust(start, b"\0")
    ds = read(_write(tmp_path, head + content[start:]))[""]
    (name,) = ds.data_vars
    np.testing.assert_array_equal(ds[name].values, raw)
    assert ds[name].attrs["units"] == "1" and ds[name].attrs["long_name"] == "Height"


def test_zeros_between_blocks_are_room(tmp_path):
    content, _, raw = samples.nanoscope_image()
    padded = content.replace(b"Data offset: 2096", b"Data offset: 2106")
    padded = padded[:2096] + bytes(10) + padded[2096:] + bytes(512)
    ds = read(_write(tmp_path, padded))[""]
    np.testing.assert_allclose(ds.height.values, raw * (65.536 / 65536 * 20e-9), rtol=1e-12)


def test_force_volume(tmp_path):
    content, _, truth = samples.nanoscope_force(curves=(3, 2))
    ds = read(_write(tmp_path, content))[""]
    assert ds.deflection.dims == ("y", "x", "segment", "point")
    expected = np.stack([truth[:, :, 0, ::-1], truth[:, :, 1]], axis=2) * 0.0005 * 50e-9
    np.testing.assert_allclose(ds.deflection.values, expected)
    np.testing.assert_allclose(ds.deflection[1, 0, 0, 2:4].values, expected[1, 0, 0, 2:4])
    np.testing.assert_allclose(ds.z.values[0], np.arange(8) * 1e-8)
    assert schema.problems(ds) == []


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        (b"Data offset: 2048", b"Data offset: 2049", "data offset"),
        (b"Data offset: 2048", b"Data offset: 9048", "data offset"),
        (b"Data length: 48", b"Data length: 96", "data offset"),
        (b"Samps/line: 6", b"Samps/line: x", "samps/line"),
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
