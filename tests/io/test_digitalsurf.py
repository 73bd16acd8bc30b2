"""Digital Surf: real files against an independent reader, synthetic ones against their truth, damaged ones refused."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest

from tests.io import fuzzing
from xpycro import schema
from xpycro.errors import CorruptFile, NotThisFormat, UnsupportedVariant
from xpycro.io.translators.digitalsurf import objects


def build(
    data, *, kind=2, compressed=False, special=0, z_min=None, comment=b"", spectral=0, unit=b"um", z=(0.5, 3.0),
    code=None,
):  # fmt: skip
    """One object; returns (bytes, data block)."""
    data = np.asarray(data)
    ny, nx = data.shape[:2] if data.ndim > 1 else (1, data.size)
    head = bytearray(512)

    def put(at, layout, *values):
        struct.pack_into(layout, head, at, *values)

    head[:12] = code or (b"DSCOMPRESSED" if compressed else b"DIGITAL SURF")
    put(12, "<4h", 0, 1, 1, kind)
    head[20:26] = b"sample"
    put(86, "<hh", special, 1)
    put(94, "<ih", spectral, data.dtype.itemsize * 8)
    put(100, "<5i", int(data.min()) if z_min is None else z_min, int(data.max()), nx, ny, nx * ny)
    put(120, "<3f", 2.0, 4.0, z[0])
    for at, word in ((132, b"X"), (148, b"Y"), (164, b"Height"), (180, unit), (196, unit), (212, b"nm")):
        head[at : at + 16] = word.ljust(16)
    put(306, "<6h", 30, 15, 9, 24, 12, 2023)
    put(334, "<2h", len(comment), 0)
    put(466, "<5f", 10.0, 20.0, z[1], 1e-6, 4e-4)
    head[486:499], head[499:512] = b"Wavelength".ljust(13), b"mm".ljust(13)
    start = 512 + len(comment)
    body = data.astype(data.dtype.newbyteorder("<")).tobytes()
    if compressed:
        packed = zlib.compress(body)
        body = struct.pack("<III", 1, len(body), len(packed)) + packed
        return bytes(head) + comment + body, (start, start)
    return bytes(head) + comment + body, (start, start + len(body))


def write(tmp_path, content, name="a.sur"):
    path = tmp_path / name
    path.write_bytes(content)
    return str(path)


STORED = np.random.default_rng(0).integers(-3000, 3000, (3, 5)).astype("<i4")


@pytest.mark.parametrize("compressed", [False, True])
def test_a_surface(tmp_path, compressed):
    content, _ = build(STORED, compressed=compressed, comment=b"hello")
    ds = objects(write(tmp_path, content))[""]
    assert schema.problems(ds) == [] and ds.height.dims == ("y", "x") and ds.height.attrs["units"] == "m"
    np.testing.assert_allclose(ds.height, (STORED[::-1] * 0.5 + 3.0) * 1e-9, rtol=1e-12)  # the top row comes first
    np.testing.assert_allclose(ds.x, (10 + 2.0 * np.arange(5)) * 1e-6)
    np.testing.assert_allclose(ds.y, (20 + 4.0 * np.arange(3)) * 1e-6)
    assert ds.attrs["acquired"] == "2023-12-24T09:15:30" and ds.attrs["title"] == "sample"
    assert "hello" in ds.attrs["original_metadata"]


def test_points_that_were_not_measured_are_nan(tmp_path):
    stored = STORED.copy()
    stored[1, 2] = -5002
    content, _ = build(stored, special=1, z_min=-5000)
    ds = objects(write(tmp_path, content))[""]
    assert np.isnan(ds.height.values[1, 2]) and int(np.isnan(ds.height).sum()) == 1


def test_profiles_series_maps_and_several_objects(tmp_path):
    profile = objects(write(tmp_path, build(STORED[0], kind=1)[0]))[""]
    assert profile.height.dims == ("x",)
    series = objects(write(tmp_path, build(STORED, kind=4)[0]))[""]
    assert series.height.dims == ("frame", "x")
    np.testing.assert_allclose(series.height, (STORED * 0.5 + 3.0) * 1e-9)
    cube = np.random.default_rng(1).integers(0, 900, (3, 5, 4)).astype("<i2")
    content, _ = build(cube, kind=21, spectral=4)
    spectra = objects(write(tmp_path, content))[""]
    assert spectra.height.dims == ("y", "x", "wavelength")
    np.testing.assert_allclose(spectra.height, (cube[::-1] * 0.5 + 3.0) * 1e-9, rtol=1e-12)
    np.testing.assert_allclose(spectra.wavelength, 4e-7 + 1e-9 * np.arange(4), rtol=1e-5)
    both = objects(write(tmp_path, build(STORED)[0] + build(STORED + 1)[0]))
    assert list(both) == [""] and len(both[""].data_vars) == 2


def test_a_surface_is_read_when_used(tmp_path, bytes_read):
    path = write(tmp_path, build(np.zeros((1000, 1000), "<i4"))[0])
    objects(path)
    counter = bytes_read()
    ds = objects(path)[""]
    assert counter.total < 100_000
    ds.height.isel(y=0).load()


REAL = {
    "test_surface.sur": {"y": 128, "x": 128},
    "test_profile.pro": {"x": 128},
    "test_spectral_map.sur": {"y": 12, "x": 10, "wavelength": 310},
}


@pytest.mark.parametrize("name", REAL)
def test_real_files(data_file, name):
    digitalsurf = pytest.importorskip("rsciio.digitalsurf")
    path = data_file(f"digitalsurf/{name}")
    ds = objects(str(path))[""]
    assert dict(ds.sizes) == REAL[name] and schema.problems(ds) == []
    assert ds.cl_intensity.attrs["long_name"] == "CL Intensity"
    np.testing.assert_allclose(np.diff(ds.x), 8.252197e-08, rtol=1e-6)
    theirs = np.asarray(digitalsurf.file_reader(str(path))[0]["data"])
    ours = ds.cl_intensity.values[::-1] if "y" in ds.dims else ds.cl_intensity.values
    # they count from the least number, the format from zero: the same up to one constant
    np.testing.assert_allclose(np.ptp(ours - theirs), 0, atol=1e-6)
    if name == "test_spectral_map.sur":
        assert (ours.min(), ours.max()) == (13, 5717)  # as its header says


def test_what_cannot_be_read_is_named(tmp_path):
    with pytest.raises(NotThisFormat):
        objects(write(tmp_path, build(STORED, code=b"ANALOGUESURF")[0]))
    with pytest.raises(UnsupportedVariant, match="type 6"):
        objects(write(tmp_path, build(STORED, kind=6)[0]))
    with pytest.raises(CorruptFile, match="truncated"):
        objects(write(tmp_path, build(STORED)[0][:-4]))
    bomb = bytearray(build(STORED, compressed=True)[0])
    bomb[108:120] = struct.pack("<3i", 1 << 15, 1 << 15, 1 << 30)
    with pytest.raises(CorruptFile, match="streams of 60 bytes"):
        objects(write(tmp_path, bytes(bomb)))


@pytest.mark.parametrize("compressed", [False, True])
def test_mutants(tmp_path, compressed):
    content, data = build(STORED, compressed=compressed, comment=b"a comment of some length")
    counts = fuzzing.run(objects, content, data, tmp_path, "a.sur")
    assert counts["refused"] > 30
