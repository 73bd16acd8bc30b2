"""WITec text exports: the real file, synthetic maps, damaged ones refused."""

from __future__ import annotations

import numpy as np
import pytest

from tests.io import fuzzing
from xpycro import schema
from xpycro.errors import CorruptFile, NotThisFormat
from xpycro.io.translators.witec import spectra


def build(ny=2, nx=3, points=4, unit="rel. 1/cm", more=""):
    axis = 100.0 + 5 * np.arange(points)
    data = np.arange(ny * nx * points, dtype=float).reshape(points, ny * nx)
    columns = [f"Spec {n}" for n in range(ny * nx)]
    lines = ["//Exported ASCII-File", "[Header]", f"SizeX = {nx}", f"SizeY = {ny}", f"SizeGraph = {points}",
             "PositionUnit = µm", more, "", "[Data]", "X-Axis," + ",".join(columns),
             unit + "," + ",".join(["CCD cts"] * (ny * nx))]  # fmt: skip
    lines += [",".join(f" {v:.9E}" for v in [x, *row]) for x, row in zip(axis, data, strict=True)]
    content = ("\r\n".join(lines) + "\r\n").encode()
    return content, content.index(b"\r\nrel") + 2 if unit.startswith("rel") else 0, axis, data


def write(tmp_path, content):
    path = tmp_path / "a.txt"
    path.write_bytes(content)
    return str(path)


def test_a_map_has_its_first_line_at_the_top(tmp_path):
    content, _, axis, data = build(more="ScanWidth = 6\r\nScanHeight = 2")
    ds = spectra(write(tmp_path, content))[""]
    assert ds.counts.dims == ("y", "x", "wavenumber") and schema.problems(ds) == []
    np.testing.assert_allclose(ds.wavenumber, axis)
    np.testing.assert_allclose(ds.x, [0, 2e-6, 4e-6])
    np.testing.assert_allclose(ds.counts.isel(y=1, x=2), data[:, 2])
    np.testing.assert_allclose(ds.counts.isel(y=0, x=0), data[:, 3])


def test_single_spectra_and_lines(tmp_path):
    single = spectra(write(tmp_path, build(1, 1)[0]))[""]
    assert single.counts.dims == ("wavenumber",)
    line = spectra(write(tmp_path, build(1, 3)[0]))[""]
    assert line.counts.dims == ("x", "wavenumber") and line.x.attrs["units"] == "pixel"


def test_the_real_file(data_file):
    path = data_file("witec_txt/Si-wafer-Raman-Spectrum-1.txt")
    ds = spectra(str(path))[""]
    lines = path.read_text(encoding="utf-8").splitlines()
    text = np.array([[float(w) for w in line.split(",")] for line in lines[lines.index("[Data]") + 3 :] if line])
    np.testing.assert_allclose(ds.wavelength, text[:, 0] * 1e-9)
    np.testing.assert_array_equal(ds.counts, text[:, 1])
    assert ds.sizes == {"wavelength": 1600} and schema.problems(ds) == []


def test_what_cannot_be_read_is_named(tmp_path):
    content = build()[0]
    with pytest.raises(NotThisFormat):
        spectra(write(tmp_path, b"some text\n"))
    with pytest.raises(CorruptFile, match="truncated"):
        spectra(write(tmp_path, content[:-2]))
    with pytest.raises(CorruptFile, match="SizeGraph"):
        spectra(write(tmp_path, content.replace(b"SizeGraph = 4", b"SizeGraph = 5")))


def test_mutants(tmp_path):
    content, begin, _, _ = build(points=9)
    counts = fuzzing.run(spectra, content, (begin, len(content)), tmp_path, "a.txt", text=True)
    assert counts["refused"] > 30
