"""Renishaw WDF: real files against an independent reader, synthetic ones against their truth, damaged ones refused."""

from __future__ import annotations

import json
import struct

import numpy as np
import pytest

from tests.io import fuzzing
from xpycro import schema
from xpycro.errors import CorruptFile, NotThisFormat, UnsupportedVariant
from xpycro.io.opening import open as open_file
from xpycro.io.opening import open_tree
from xpycro.io.translators.renishaw import spectra


def block(name, body, number=0):
    return name + struct.pack("<IQ", number, 16 + len(body)) + body


def item(kind, key, value):
    return kind.encode() + b"\0" + struct.pack("<H", key) + value


def text(value):
    return struct.pack("<I", len(value)) + value.encode()


def property_set(body):
    return b"PSET" + struct.pack("<I", len(body)) + body


def build(
    shape=(2, 3), points=5, *, order="lines", collected=None, unit=1, origins=(), flags=0, kind=3, y_list=1, seed=0,
):  # fmt: skip
    """A file of spectra whose numbers tell their record and channel; returns (bytes, data block, data)."""
    count = int(np.prod(shape))
    data = np.random.default_rng(seed).normal(100, 5, (count, points)).astype("<f4")
    axis = np.linspace(1800, 1200, points).astype("<f4")
    head = bytearray(512 - 16)

    def put(at, layout, *values):
        struct.pack_into(layout, head, at - 16, *values)

    put(0x3C, "<IQQIIII", points, count, count if collected is None else collected, 1, y_list, points, len(origins))
    head[0x60 - 16 : 0x64 - 16] = b"WiRE"
    put(0x78, "<4H", 5, 5, 0, 1)
    put(0x80, "<II", 1, kind)
    put(0x88, "<QQ", 133008257038481252, 133008257478799242)
    put(0x98, "<If", 6, 18796.99)
    head[0xF0 - 16 : 0xF4 - 16] = b"test"
    body = b""
    for code, units, label, values, primary in origins:
        stored = np.asarray(values, "<i8" if units == 24 else "<f8").tobytes()
        body += struct.pack("<II", code | (0x80000000 if primary else 0), units) + label.ljust(16, b"\0") + stored
    content = block(b"WDF1", bytes(head), 1)
    start = len(content) + 16
    content += block(b"DATA", data.tobytes())
    content += block(b"YLST", struct.pack("<IIf", 4, 16, 25.0))
    content += block(b"XLST", struct.pack("<II", 1, unit) + axis.tobytes())
    content += block(b"ORGN", struct.pack("<I", len(origins)) + body)
    inner = item("k", 0x8001, text("Laser")) + item("u", 0x8001, text("532 nm")) + item("q", 7, struct.pack("<d", 2.5))
    named = item("k", 0x8002, text("Set")) + item("p", 0x8002, struct.pack("<I", len(inner)) + inner)
    content += block(b"WXIS", property_set(named)) + block(b"TEXT", b"a comment\0")
    if flags is not None and len(shape) == 2:
        ny, nx = shape
        area = struct.pack("<II", flags, 0) + struct.pack("<3f", -2, 10, 0) + struct.pack("<3f", 1, 2, 1)
        content += block(b"WMAP", area + struct.pack("<4I", nx, ny, 1, 0))
    return content, (start, start + data.nbytes), data


def places(ny, nx, order):
    rows, columns = np.divmod(np.arange(ny * nx), nx)
    if order == "snake":
        columns = np.where(rows % 2 == 1, nx - 1 - columns, columns)
    if order == "columns":
        columns, rows = np.divmod(np.arange(ny * nx), ny)
    return 10.0 + 2.0 * rows, -2.0 + 1.0 * columns


def write(tmp_path, content):
    path = tmp_path / "a.wdf"
    path.write_bytes(content)
    return str(path)


@pytest.mark.parametrize("order", ["lines", "snake", "columns"])
def test_a_map_in_any_order(tmp_path, order):
    down, x = places(2, 3, order)
    content, _, data = build((2, 3), origins=[(3, 5, b"X", x, True), (4, 5, b"Y", down, True)])
    ds = open_file(write(tmp_path, content))
    assert ds.counts.dims == ("y", "x", "wavenumber") and ds.counts.chunks is not None
    assert ds.counts.attrs["units"] == "counts" and ds.wavenumber.attrs["long_name"] == "Raman shift"
    assert schema.problems(ds) == []
    np.testing.assert_allclose(ds.x, [-2e-6, -1e-6, 0], atol=1e-18)
    np.testing.assert_allclose(ds.y, [-12e-6, -10e-6])  # WiRE counts Y downwards
    np.testing.assert_allclose(ds.wavenumber, [1200, 1350, 1500, 1650, 1800])
    for record in range(6):
        spectrum = ds.counts.sel(y=-down[record] * 1e-6, x=x[record] * 1e-6, method="nearest")
        np.testing.assert_array_equal(spectrum, data[record, ::-1])
    assert ds.attrs["acquired"] == "2022-06-27T17:48:23" and ds.attrs["laser_wavelength"] == pytest.approx(
        532e-9, rel=1e-4
    )
    header = json.loads(ds.attrs["original_metadata"])
    assert header["WXIS"]["Set"] == {"Laser": "532 nm", "7": 2.5} and header["comment"] == "a comment"


@pytest.mark.parametrize("flags", [0, 2, 4])
def test_an_interrupted_map_is_flagged(tmp_path, flags):
    order = {0: "lines", 2: "columns", 4: "snake"}[flags]
    down, x = places(2, 3, order)
    content, _, data = build(
        (2, 3), collected=4, flags=flags, origins=[(3, 5, b"X", 0 * x, True), (4, 5, b"Y", 0 * x, True)]
    )
    ds = spectra(write(tmp_path, content))[""]
    for record in range(6):
        there = ds.sel(y=-down[record] * 1e-6, x=x[record] * 1e-6, method="nearest")
        assert bool(there.measured) == (record < 4)
        expected = data[record, ::-1] if record < 4 else np.full(5, np.nan)
        np.testing.assert_array_equal(there.counts, expected)


def test_lines_series_and_single_spectra(tmp_path):
    x = np.array([0.0, 3.0, 6.0])
    content, _, data = build((3,), kind=3, origins=[(3, 5, b"X", x, True), (4, 5, b"Y", x * 4 / 3, True)])
    line = spectra(write(tmp_path, content))[""]
    assert line.counts.dims == ("distance", "wavenumber")
    np.testing.assert_allclose(line.distance, [0, 5e-6, 10e-6])
    np.testing.assert_allclose(line.y, [0, -4e-6, -8e-6])

    content, _, data = build(
        (3,), kind=2, origins=[(5, 5, b"Z", [2.0, 1.0, 0.0], True), (11, 24, b"Time", [50, 60, 90], False)]
    )
    depth = spectra(write(tmp_path, content))[""]
    np.testing.assert_allclose(depth.z, [0, 1e-6, 2e-6])
    np.testing.assert_array_equal(depth.counts.isel(z=0), data[2, ::-1])
    np.testing.assert_allclose(depth.time, [4e-6, 1e-6, 0])

    content, _, data = build((3,), kind=2, origins=[(9, 10, b"Temperature", [80.0, 90.0, 70.0], True)])
    heated = spectra(write(tmp_path, content))[""]
    assert heated.counts.dims == ("frame", "wavenumber") and heated.temperature.attrs["units"] == "K"
    np.testing.assert_array_equal(heated.temperature, [80, 90, 70])

    content, _, data = build((1,), kind=1, unit=3)
    single = spectra(write(tmp_path, content))[""]
    assert single.counts.dims == ("wavelength",)
    np.testing.assert_allclose(single.wavelength[[0, -1]], [1200e-9, 1800e-9])

    scattered = [(3, 5, b"X", [0.0, 5.0, 1.0], True), (4, 5, b"Y", [0.0, 1.0, 7.0], True)]
    content, _, data = build((3,), origins=scattered)
    spread = spectra(write(tmp_path, content))[""]
    assert spread.counts.dims == ("position", "wavenumber") and spread.x.dims == ("position",)


def test_nothing_but_the_header_is_read(tmp_path, bytes_read):
    count = 400
    down, x = places(20, 20, "lines")
    content, _, _ = build((20, 20), points=5000, origins=[(3, 5, b"X", x, True), (4, 5, b"Y", down, True)])
    path = write(tmp_path, content)
    assert len(content) > 4 * 5000 * count
    spectra(path)
    counter = bytes_read()
    ds = spectra(path)[""]
    assert counter.total < 200_000
    counter = bytes_read()
    ds.counts.isel(y=3, x=4).load()
    assert counter.total < 60_000


REAL = {
    "renishaw_test_map.wdf": ("y", "x", "wavelength"),
    "renishaw_test_linescan.wdf": ("distance", "wavelength"),
    "renishaw_test_zscan.wdf": ("z", "wavenumber"),
    "renishaw_test_spectrum.wdf": ("wavelength",),
}


@pytest.mark.parametrize("name", REAL)
def test_real_files_agree_with_another_reader(data_file, name):
    renishaw = pytest.importorskip("rsciio.renishaw")
    path = data_file(f"renishaw_wdf/{name}")
    entry = renishaw.file_reader(str(path))[0]
    ds = spectra(str(path))[""]
    assert ds.counts.dims == REAL[name] and schema.problems(ds) == []
    theirs = np.asarray(entry["data"])
    theirs = theirs[::-1] if "y" in ds.dims else theirs  # they leave Y running downwards
    axis = next(a for a in entry["axes"] if a["name"] in ("Wavelength", "Raman Shift"))
    if axis["axis"][0] > axis["axis"][-1]:
        theirs = theirs[..., ::-1]
    np.testing.assert_array_equal(ds.counts, theirs)
    np.testing.assert_allclose(
        ds[ds.counts.dims[-1]][[0, -1]] * (1e9 if "wavelength" in ds.dims else 1),
        np.sort(axis["axis"])[[0, -1]],
        rtol=1e-6,
    )


def test_the_values_of_the_index(data_file):
    single = spectra(str(data_file("renishaw_wdf/renishaw_test_spectrum.wdf")))[""]
    assert single.sizes == {"wavelength": 36} and single.wavelength[0].item() == pytest.approx(326.01e-9, abs=1e-11)
    steps = np.diff(single.wavelength) * 1e9
    assert steps.mean() == pytest.approx(0.0847, abs=1e-4)
    grid = spectra(str(data_file("renishaw_wdf/renishaw_test_map.wdf")))[""]
    np.testing.assert_allclose(np.diff(grid.x), 100e-6)
    deep = spectra(str(data_file("renishaw_wdf/renishaw_test_zscan.wdf")))[""]
    np.testing.assert_allclose(np.diff(deep.z), 0.5e-6)
    assert deep.wavenumber[0].item() == pytest.approx(1226.61, abs=0.01)


def test_the_picture_is_in_the_tree(data_file):
    tree = open_tree(data_file("renishaw_wdf/renishaw_test_map.wdf"))
    picture = tree["white_light_image"].to_dataset()
    assert sorted(picture.intensity.sizes.values()) == [3, 480, 752]
    y, x = (next(c for c in picture.coords.values() if c.size == size) for size in (480, 752))
    # 649.714 x 411.5 um of which the stage's origin is a part
    assert float(x[-1] - x[0]) == pytest.approx(649.714e-6 * 751 / 752, rel=1e-6)
    assert float(y[-1] - y[0]) == pytest.approx(411.5e-6 * 479 / 480, rel=1e-4)
    assert y[0] < -100e-6 and y[-1] > 100e-6 and x[0] < -100e-6 and x[-1] > 100e-6


def test_what_cannot_be_read_is_named(tmp_path):
    with pytest.raises(NotThisFormat, match="WDF1"):
        spectra(write(tmp_path, b"RIFF" + bytes(600)))
    with pytest.raises(UnsupportedVariant, match="image"):
        spectra(write(tmp_path, build(y_list=7)[0]))
    with pytest.raises(CorruptFile, match="DATA"):
        spectra(write(tmp_path, build()[0].replace(b"DATA", b"DATE", 1)))


@pytest.mark.parametrize("order", ["lines", "snake"])
def test_mutants(tmp_path, order):
    down, x = places(3, 4, order)
    content, data, _ = build((3, 4), points=9, origins=[(3, 5, b"X", x, True), (4, 5, b"Y", down, True)])
    counts = fuzzing.run(spectra, content, data, tmp_path, "a.wdf")
    assert counts["refused"] > 30
