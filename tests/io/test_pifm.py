"""Anfatec / PiFM: written from a description, so proved on synthetic files against their truth."""

from __future__ import annotations

import numpy as np
import pytest

from tests.io import fuzzing
from xpycro import schema
from xpycro.errors import CorruptFile, NotThisFormat, TranslationError
from xpycro.io import formats
from xpycro.io.translators.pifm import scan


def build(folder, nx=5, ny=3, *, cube=True, name="a.txt", image="aTopoFwd.int", seed=0):
    rng = np.random.default_rng(seed)
    topo, spectra = rng.integers(-9000, 9000, (ny, nx)), rng.integers(-9000, 9000, (ny, nx, 4))
    topo.astype("<i4").tofile(folder / "aTopoFwd.int")
    spectra.astype("<i4").tofile(folder / "hyPIRFwd.int")
    (folder / "hyPIRFwdWavelengths.txt").write_text("1000.0\t0.5\n1002.0\t0.5\n1004.5\t0.5\n1006.0\t0.5\n")
    text = (
        f";ANFATEC Parameterfile\r\n; comment\r\nxPixel : {nx}\r\nyPixel : {ny}\r\n"
        "XScanRange : 10\r\nYScanRange : 6\r\n"
        "XPhysUnit : \xb5m\r\nYPhysUnit : \xb5m\r\nxCenter : 1.5\r\nyCenter : -2\r\nRotation : 30\r\n"
        f"Date : 26.10.2021\r\nTime : 10:48:37\r\n\r\nFileDescBegin\r\nFileName : {image}\r\nCaption : Topography\r\n"
        "Scale : 0.25\r\nPhysUnit : nm\r\nOffset : 0\r\nFileDescEnd\r\n"
    )
    if cube:
        text += (
            "FileDesc2Begin\r\nFileName : hyPIRFwd.int\r\nCaption : hyPIR\r\nBytesPerPixel : 16\r\nScale : 0.001\r\n"
            "PhysUnit : mV\r\nFileNameWavelengths : hyPIRFwdWavelengths.txt\r\nPhysUnitWavelengths : cm-1\r\n"
            "FileDesc2End\r\nAFMSpectrumDescBegin\r\nFileName : point1.txt\r\nAFMSpectrumDescEnd\r\n"
        )
    path = folder / name
    path.write_bytes(text.encode("latin-1"))
    return str(path), topo, spectra


def test_orientation_and_scale_of_a_non_square_scan(tmp_path):
    path, topo, spectra = build(tmp_path)
    assert formats.identify(path).name == "pifm"
    ds = scan(path)[""]
    assert ds.topography.dims == ("y", "x") and ds.hy_pir.dims == ("y", "x", "wavenumber")
    np.testing.assert_allclose(ds.topography.values, topo[::-1] * 0.25e-9, rtol=1e-12)  # the top row comes first
    np.testing.assert_allclose(ds.hy_pir.values, spectra[::-1] * 1e-6, rtol=1e-12)
    np.testing.assert_allclose(ds.x.values, np.arange(5) * 2e-6)
    np.testing.assert_allclose(ds.y.values, np.arange(3) * 2e-6)
    np.testing.assert_allclose(ds.wavenumber.values, [1000, 1002, 1004.5, 1006])
    assert ds.topography.attrs["units"] == "m" and ds.hy_pir.attrs["units"] == "V"
    assert ds.attrs["scan_angle"] == pytest.approx(np.pi / 6) and ds.attrs["scan_center_x"] == pytest.approx(1.5e-6)
    assert ds.attrs["files_not_read"] == "point1.txt" and ds.attrs["acquired"] == "2021-10-26T10:48:37"
    assert schema.problems(ds) == []


@pytest.mark.parametrize("name", ["../secret.int", "/etc/passwd", "..\\secret.int", "missing.int", ".."])
def test_only_files_beside_it_are_opened(tmp_path, name):
    path, *_ = build(tmp_path, image=name)
    with pytest.raises(CorruptFile, match="FileName"):
        scan(path)


def test_files_of_another_size_are_refused(tmp_path):
    path, *_ = build(tmp_path)
    (tmp_path / "hyPIRFwd.int").write_bytes(bytes(7))
    with pytest.raises(CorruptFile, match=r"hyPIRFwd.int.*has 7 bytes"):
        scan(path)
    (tmp_path / "b.txt").write_text("just a text: nothing more")
    with pytest.raises(NotThisFormat):
        scan(str(tmp_path / "b.txt"))


def test_mutants_are_refused_or_read_right(tmp_path):
    path, *_ = build(tmp_path, 7, 6, cube=False)
    content = (tmp_path / "a.txt").read_bytes()
    assert fuzzing.run(scan, content, (0, 0), tmp_path, "fuzz.txt", text=True)["refused"] > 30
    for length in range(len(content) - 2):
        (tmp_path / "a.txt").write_bytes(content[:length])
        with pytest.raises(TranslationError):
            scan(path)
