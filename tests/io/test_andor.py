"""Andor SIF: real files against the texts that the camera's software exported, damaged ones refused."""

from __future__ import annotations

import numpy as np
import pytest

from tests.io import fuzzing
from xpycro import schema
from xpycro.errors import CorruptFile, MissingExtra, NotThisFormat
from xpycro.io.translators.andor import frames

pytest.importorskip("sif_parser", reason="reading Andor files needs the extra formats")


def test_spectra_equal_the_exported_text(data_file):
    ds = frames(str(data_file("andor_sif/raman1.sif")))[""]
    text = np.loadtxt(data_file("andor_sif/raman1.asc"), usecols=(0, 1), max_rows=1024)
    np.testing.assert_allclose(ds.wavelength * 1e9, text[:, 0], atol=1e-4)
    np.testing.assert_allclose(ds.counts, text[:, 1], rtol=1e-5)  # the text has six digits
    assert schema.problems(ds) == [] and ds.attrs["instrument"] == "Andor DU888_BV"
    assert ds.attrs["acquired"] == "2017-09-08T13:03:52+00:00"  # 15:03:52 of the summer in the text
    ds = frames(str(data_file("andor_sif/cli-0.sif")))[""]
    text = np.loadtxt(data_file("andor_sif/cli-0.csv"), delimiter=",", skiprows=1)
    np.testing.assert_allclose(ds.wavelength * 1e9, text[:, 0], rtol=1e-5)
    np.testing.assert_allclose(ds.counts, text[:, 1], rtol=1e-5)
    assert ds.counts.attrs["units"] == "counts/s"  # its label says "per second"


def test_an_image_is_read_when_used(data_file, bytes_read):
    path = str(data_file("andor_sif/test.sif"))
    frames(path)
    counter = bytes_read()
    ds = frames(path)[""]
    assert counter.total < 100_000
    assert ds.counts.dims == ("y", "x") and ds.sizes == {"y": 256, "x": 256} and schema.problems(ds) == []
    stored = np.frombuffer(open(path, "rb").read()[2746 : 2746 + 4 * 256 * 256], "<f4").reshape(256, 256)
    np.testing.assert_array_equal(ds.counts, stored[::-1])


def test_what_cannot_be_read_is_named(data_file, tmp_path, monkeypatch):
    path = tmp_path / "a.sif"
    path.write_bytes(b"no camera")
    with pytest.raises(NotThisFormat):
        frames(str(path))
    content = data_file("andor_sif/test.sif").read_bytes()
    path.write_bytes(content[:100_000])
    with pytest.raises(CorruptFile):
        frames(str(path))
    monkeypatch.setitem(__import__("sys").modules, "sif_parser", None)
    with pytest.raises(MissingExtra, match=r"xpycro\[formats\]"):
        frames(str(data_file("andor_sif/test.sif")))


def test_mutants(data_file, tmp_path):
    content = data_file("andor_sif/raman1.sif").read_bytes()
    counts = fuzzing.run(frames, content, (2939, 2939 + 4096), tmp_path, "a.sif")
    assert counts["refused"] > 30
