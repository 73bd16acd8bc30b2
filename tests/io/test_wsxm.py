"""WSxM images and curves: the real file against INDEX.tsv and its bytes, synthetic ones against their truth."""

from __future__ import annotations

import numpy as np
import pytest

from tests.io import fuzzing
from xpycro import schema
from xpycro.errors import CorruptFile, NotThisFormat, TranslationError, UnsupportedVariant
from xpycro.io.translators.wsxm import curve, image

DTYPES = {"short": "<i2", "float": "<f4", "double": "<f8"}


def build(nx=5, ny=3, *, kind="short", limits=True, change=(), seed=0):
    """An image; the truth is what the maker's matrix order means: y ascending, x descending in the file."""
    rng = np.random.default_rng(seed)
    stored = rng.integers(-3000, 3000, (ny, nx)) if kind == "short" else rng.normal(size=(ny, nx))
    stored = stored.astype(DTYPES[kind])
    lines = ["WSxM file copyright UAM", "SxM Image file", "Image header size: 0", "", "[Control]", "",
             "    Angle: 30", "    Set Point: -2.44 V", "    Topography Bias: 500 mV", "    X Amplitude: 500 nm",
             "    X Offset: 10 Å", "    Y Amplitude: 0.6 µm", "    Y Offset: 0 nm", "", "[General Info]", "",
             "    Acquisition channel: Topography", "    Acquisition time: 18/06/2021, 14:12:26.398",
             f"    Image Data Type: {kind}", f"    Number of columns: {nx}", f"    Number of rows: {ny}",
             "    X scanning direction: Forward", "    Y scanning direction: Up",
             "    Z Amplitude: 59.7449 nm", "", "[Miscellaneous]", ""]  # fmt: skip
    if limits:
        lines += [f"    Maximum: {stored.max()}", f"    Minimum: {stored.min()}"]
    header = ("\r\n".join([*lines, "", "[Header end]"]) + "\r\n").encode("latin-1")
    for old, new in change:
        header = header.replace(old, new, 1)
    return header + stored.tobytes(), len(header), stored[:, ::-1].astype(float)


def write(tmp_path, content, name="test.top"):
    path = tmp_path / name
    path.write_bytes(content)
    return str(path)


def test_real_image_agrees_with_its_index_row_and_bytes(data_file):
    path = data_file("wsxm/sample_0.top")
    ds = image(str(path))[""]
    assert ds.topography.dims == ("y", "x") and ds.topography.shape == (512, 512)
    assert ds.x[1].item() == pytest.approx(0.9765625e-9)
    # the index's reader counts from the minimum and truncates the amplitude of 59.7449 nm to 59
    levelled = ds.topography - ds.topography.min()
    assert levelled.sum().item() * 59 / 59.7449 == pytest.approx(6034386.429246264e-9, rel=1e-9)
    stored = np.frombuffer(path.read_bytes(), "<i2", offset=2996).reshape(512, 512)
    # 16 bits over the 20 V of the DSP, 13.6 nm/V: what the header says elsewhere of the same scale
    np.testing.assert_allclose(ds.topography.values, stored[:, ::-1] * (13.6e-9 * 20 / 65536), rtol=1e-6)
    assert ds.attrs["setpoint"] == -2.44 and ds.attrs["acquired"] == "2021-06-18T14:12:26"
    assert schema.problems(ds) == []


@pytest.mark.parametrize("limits", [True, False])
def test_orientation_and_scale_of_a_non_square_image(tmp_path, limits):
    content, _, truth = build(5, 3, limits=limits)
    ds = image(write(tmp_path, content))[""]
    np.testing.assert_allclose(ds.topography.values, truth * 59.7449e-9 / np.ptp(truth), rtol=1e-12)
    np.testing.assert_allclose(ds.x.values, np.arange(5) * 100e-9)
    np.testing.assert_allclose(ds.y.values, np.arange(3) * 200e-9)
    assert ds.topography.attrs == {"units": "m", "long_name": "Topography", "direction": "forward"}
    assert ds.attrs["bias"] == 0.5 and ds.attrs["scan_angle"] == pytest.approx(np.pi / 6)
    assert ds.attrs["scan_center_x"] == pytest.approx(1e-9)


@pytest.mark.parametrize("kind", ["float", "double"])
def test_floating_point_numbers_are_in_the_unit_of_the_amplitude(tmp_path, kind):
    content, _, truth = build(kind=kind)
    ds = image(write(tmp_path, content))[""]
    assert ds.topography.dtype == np.dtype(DTYPES[kind])
    np.testing.assert_allclose(ds.topography.values, truth * 1e-9, rtol=1e-6)


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [
        (b"columns: 5", b"columns: 6", CorruptFile),
        (b"columns: 5", b"columns: 99999999999", CorruptFile),
        (b"columns: 5", b"columns: x", CorruptFile),
        (b"Type: short", b"Type: bool", UnsupportedVariant),
        (b"Z Amplitude", b"Z Amplitudd", CorruptFile),
        (b"SxM Image file", b"SxM Movie file", NotThisFormat),
    ],
)
def test_a_header_that_contradicts_itself_is_refused(tmp_path, old, new, error):
    with pytest.raises(error):
        image(write(tmp_path, build(change=[(old, new)])[0]))


def test_opening_reads_the_header_only(data_file, bytes_read):
    path = str(data_file("wsxm/sample_0.top"))
    image(path)
    counter = bytes_read()
    image(path)
    assert counter.total < 150_000  # of 527,284


@pytest.mark.parametrize("kind", DTYPES)
def test_mutants_are_refused_or_read_right(tmp_path, kind):
    content, header, _ = build(7, 6, kind=kind)
    assert fuzzing.run(image, content, header, tmp_path, "fuzz.top")["refused"] > 30


def build_curve(*, unit="nm", points=6, lines=2, first="Yes"):
    header = (
        "WSxM file copyright UAM\r\nFZ file\r\nImage header size: 0\r\n\r\n[General Info]\r\n\r\n"
        f"    Number of lines: {lines}\r\n    Number of points: {points}\r\n    X axis text: Z[#x]\r\n"
        f"    X axis unit: {unit}\r\n    Y axis text: Normal force[#y]\r\n    Y axis unit: nN\r\n\r\n"
        f"[Miscellaneous]\r\n\r\n    First Forward: {first}\r\n\r\n[Header end]\r\n"
    ).encode("latin-1")
    table = np.random.default_rng(1).normal(size=(points, 2 * lines)).round(4)
    body = "\r\n".join(" ".join(f"{v:.4f}" for v in row) for row in table) + "\r\n"
    return header + body.encode(), len(header), table


def test_force_curves_are_segments(tmp_path):
    content, _, table = build_curve()
    ds = curve(write(tmp_path, content, "test.cur"))[""]
    assert ds.normal_force.dims == ("segment", "point") and ds.segment.values.tolist() == ["approach", "retract"]
    np.testing.assert_allclose(ds.normal_force.values, table[:, 1::2].T * 1e-9)
    np.testing.assert_allclose(ds.z.values, table[:, 0::2].T * 1e-9)
    assert ds.z.attrs["units"] == "m" and ds.normal_force.attrs["units"] == "N"
    ds = curve(write(tmp_path, build_curve(first="No")[0], "test.cur"))[""]
    assert ds.segment.values.tolist() == ["retract", "approach"]


def test_other_curves_are_sweeps(tmp_path):
    content, _, table = build_curve(unit="V", lines=3)
    ds = curve(write(tmp_path, content, "test.cur"))[""]
    assert ds.normal_force.dims == ("sweep", "point")
    np.testing.assert_allclose(ds.bias.values, table[:, 0::2].T)


def test_curves_of_another_length_are_refused(tmp_path):
    content, header, _ = build_curve()
    for wrong in (content[:-20], content + b"1 2 3 4\r\n", content.replace(b"points: 6", b"points: 7")):
        with pytest.raises(CorruptFile):
            curve(write(tmp_path, wrong, "test.cur"))
    for length in range(0, header, 7):
        with pytest.raises(TranslationError):
            curve(write(tmp_path, content[:length], "test.cur"))


def test_mutants_of_curves_are_refused_or_read_right(tmp_path):
    content, header, _ = build_curve()
    assert fuzzing.run(curve, content, header, tmp_path, "fuzz.cur")["refused"] > 30
