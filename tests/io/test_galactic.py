"""GRAMS SPC: the real file against its text export, synthetic ones of both generations, damaged ones refused."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from tests.io import fuzzing
from xpycro import schema
from xpycro.errors import CorruptFile, NotThisFormat
from xpycro.io.opening import open as open_file
from xpycro.io.translators.galactic import spectra

DATA = np.random.default_rng(0).normal(10, 3, (3, 6)).astype("f4").astype(float)


def build(
    data=DATA, *, order="<", floats=True, x=13, y=4, z=4, axis=None, own=False, short=False, exponent=8, first=2000.0,
    last=1000.0, log=b"", places=None, planes=0, w=0,
):  # fmt: skip
    """A file of the second generation; returns (bytes, data block)."""
    data = np.atleast_2d(data)
    flags = (4 if len(data) > 1 else 0) | (0x80 if axis is not None else 0) | (0x40 if own else 0) | (1 if short else 0)
    head = bytearray(512)
    version, exponent = 0x4B if order == "<" else 0x4C, -128 if floats else exponent
    struct.pack_into(order + "BBBbiddi", head, 0, flags, version, 0, exponent, data.shape[1], first, last, len(data))
    struct.pack_into("BBBB", head, 28, x, y, z, 0)
    struct.pack_into(order + "I", head, 32, (1994 << 20) | (8 << 16) | (26 << 11) | (16 << 6) | 45)
    head[45:51] = b"Bruker"
    head[88:97] = b"a comment"
    struct.pack_into(order + "I", head, 316, planes)
    head[324] = w
    body = b"" if axis is None or own else np.asarray(axis, order + "f4").tobytes()
    start = len(head) + len(body) + 32
    for number, row in enumerate(data):
        place = (number * 2.0, 0.0) if places is None else places[number]
        body += struct.pack(
            order + "BbHfffIIf4x",
            0,
            -128 if floats else exponent,
            number,
            place[0],
            0,
            0,
            len(row) if own else 0,
            1,
            place[1],
        )
        if own:
            body += np.asarray(axis[number], order + "f4").tobytes()
        if floats:
            body += row.astype(order + "f4").tobytes()
        else:
            size = 2 if short else 4
            body += np.round(row * 2.0 ** (8 * size - exponent)).astype(f"{order}i{size}").tobytes()
    if log:
        struct.pack_into(order + "I", head, 248, 512 + len(body))
        body += struct.pack(order + "III", 64 + len(log), 0, 64) + bytes(52) + log
    end = 512 + len(body) - (64 + len(log) if log else 0)
    if own:
        start += 4 * len(data[0])
    return bytes(head) + body, (start, end)


def old(row=DATA[0], exponent=8):
    """A file of the first generation, whose integers have their halves swapped."""
    head = bytearray(224)
    struct.pack_into("<BBhfff", head, 0, 0, 0x4D, exponent, len(row), 4000.0, 400.0)
    struct.pack_into("<BBHBBBB", head, 16, 1, 2, 1987, 5, 4, 3, 2)
    whole = np.round(row * 2.0 ** (32 - exponent)).astype("<i4")
    swapped = whole.view("<u2").reshape(-1, 2)[:, ::-1].tobytes()
    return bytes(head) + bytes(32) + swapped


def write(tmp_path, content):
    path = tmp_path / "a.spc"
    path.write_bytes(content)
    return str(path)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("floats", [True, False])
def test_spectra_on_one_axis(tmp_path, order, floats):
    content, _ = build(order=order, floats=floats, log=b"LASER = 532\r\nSCANS=4\r\n\0")
    ds = open_file(write(tmp_path, content))
    assert ds.counts.dims == ("time", "wavenumber") and schema.problems(ds) == []
    np.testing.assert_allclose(ds.time, [0, 2, 4])
    np.testing.assert_allclose(ds.wavenumber, np.linspace(1000, 2000, 6))
    np.testing.assert_allclose(ds.counts, DATA[:, ::-1], rtol=1e-6)
    assert ds.attrs["acquired"] == "1994-08-26T16:45:00" and ds.attrs["title"] == "a comment"
    assert '"LASER": "532"' in ds.attrs["original_metadata"]


def test_sixteen_bits_one_spectrum_and_units(tmp_path):
    content, _ = build(DATA[:1], floats=False, short=True, x=3, y=2, first=400.0, last=900.0)
    ds = spectra(write(tmp_path, content))[""]
    assert ds.absorbance.dims == ("wavelength",) and ds.absorbance.attrs["units"] == "1"
    np.testing.assert_allclose(ds.wavelength, np.linspace(400e-9, 900e-9, 6))
    np.testing.assert_allclose(ds.absorbance, DATA[0], atol=2.0**-8)


def test_uneven_axes(tmp_path):
    axis = np.array([1.0, 2.0, 4.0, 8.0, 16.0, 32.0])
    ds = spectra(write(tmp_path, build(axis=axis)[0]))[""]
    np.testing.assert_array_equal(ds.wavenumber, axis)
    parts = spectra(write(tmp_path, build(axis=[axis, axis + 1, axis[::-1]], own=True)[0]))
    assert list(parts) == ["spectrum_1", "spectrum_2", "spectrum_3"]
    np.testing.assert_array_equal(parts["spectrum_2"].wavenumber, axis + 1)
    np.testing.assert_allclose(parts["spectrum_3"].counts, DATA[2, ::-1])


def test_a_map(tmp_path):
    data = np.arange(24.0).reshape(6, 4)
    places = [(10.0 * (n % 3), 5.0 * (n // 3)) for n in range(6)]
    ds = spectra(write(tmp_path, build(data, z=2, w=2, planes=2, places=places)[0]))[""]
    assert ds.counts.dims == ("y", "x", "wavenumber")
    np.testing.assert_allclose(ds.x, [0, 1e-5, 2e-5])
    np.testing.assert_allclose(ds.y, [0, 5e-6])
    np.testing.assert_array_equal(ds.counts.sel(y=5e-6, x=1e-5, method="nearest"), data[4, ::-1])


def test_the_first_generation(tmp_path):
    ds = spectra(write(tmp_path, old()))[""]
    np.testing.assert_allclose(ds.absorbance, DATA[0, ::-1], atol=2.0**-23)
    assert ds.attrs["acquired"] == "1987-05-04T03:02:00" and ds.wavenumber[0] == 400


def test_floats_are_read_when_used(tmp_path, bytes_read):
    path = write(tmp_path, build(np.zeros((400, 2000)))[0])
    spectra(path)
    counter = bytes_read()
    ds = spectra(path)[""]
    assert counter.total < 400 * 300 + 100_000  # a header each
    counter = bytes_read()
    ds.counts.isel(time=7).load()
    assert counter.total < 60_000


def test_the_real_file_equals_its_text(data_file):
    ds = spectra(str(data_file("galactic_spc/RAMAN.SPC")))[""]
    x, y = np.loadtxt(data_file("galactic_spc/RAMAN.SPC.txt")).T
    np.testing.assert_allclose(ds.wavenumber, x[::-1], atol=1e-7)
    np.testing.assert_allclose(ds.intensity, y[::-1], atol=1e-8)
    assert schema.problems(ds) == [] and '"MODEL": "Nicolet"' in ds.attrs["original_metadata"]


def test_what_cannot_be_read_is_named(tmp_path):
    with pytest.raises(NotThisFormat, match="version"):
        spectra(write(tmp_path, bytes(600)))
    with pytest.raises(CorruptFile, match="truncated"):
        spectra(write(tmp_path, build()[0][:-4]))
    with pytest.raises(CorruptFile, match="bytes after"):
        spectra(write(tmp_path, build()[0] + b"more"))


@pytest.mark.parametrize("kind", ["one", "several", "integers", "own"])
def test_mutants(tmp_path, kind):
    axis = np.arange(1.0, 7.0)
    content, data = {
        "one": lambda: build(DATA[:1]),
        "several": build,
        "integers": lambda: build(DATA[:1], floats=False, log=b"A = 1\r\n\0"),
        "own": lambda: build(DATA[:1], axis=[axis], own=True),
    }[kind]()
    counts = fuzzing.run(spectra, content, data, tmp_path, "a.spc")
    assert counts["refused"] > 30
