"""SPIP ASCII: written from a description, so proved on synthetic files against their truth."""

from __future__ import annotations

import numpy as np
import pytest

from tests.io import fuzzing
from xpycro import schema
from xpycro.errors import CorruptFile, NotThisFormat, TranslationError
from xpycro.io import formats
from xpycro.io.translators.spip import ascii_export


def build(nx=5, ny=3, points=1, *, axis=True, nested=False, seed=0):
    stored = np.random.default_rng(seed).normal(size=(ny * nx, points)).round(4)
    lines = ["# File Format = ASCII", "# Created by SPIP 4.2", "#", f"# x-pixels = {nx}", f"# y-pixels = {ny}",
             "# x-length = 100", "# y-length = 60", "# Bias = -0.5 V"]  # fmt: skip
    lines += ["# value-unit = nA"] if points > 1 else ["# z-unit = nm"]
    if points > 1:
        lines += [f"# z-points = {points}"]
        lines += ["# z-offset = 1.0", "# z-length = -2.0"] if axis else []
    if nested:
        lines += ["# .  Section:", "# .  .  inner = 3"]
    text = "\r\n".join([*lines, "# Start of Data:"]) + "\r\n"
    body = "\r\n".join("\t".join(f"{v:.4f}" for v in row) for row in stored.reshape(ny * nx if points > 1 else ny, -1))
    return (text + body + "\r\n").encode(), len(text), stored.reshape(ny, nx, points)[::-1]


def write(tmp_path, content):
    path = tmp_path / "test.asc"
    path.write_bytes(content)
    return str(path)


def test_orientation_and_scale_of_a_non_square_image(tmp_path):
    content, _, truth = build(nested=True)
    path = write(tmp_path, content)
    assert formats.identify(path).name == "spip_asc"
    ds = ascii_export(path)[""]
    np.testing.assert_allclose(ds.data.values, truth[..., 0] * 1e-9)
    np.testing.assert_allclose(ds.x.values, np.arange(5) * 20e-9)
    np.testing.assert_allclose(ds.y.values, np.arange(3) * 20e-9)
    assert ds.attrs["bias"] == -0.5 and ds.data.attrs["units"] == "m"
    assert schema.decode_metadata(ds.attrs["original_metadata"])["Section/inner"] == "3"
    assert schema.problems(ds) == []


def test_spectra_over_a_grid(tmp_path):
    content, _, truth = build(points=4)
    ds = ascii_export(write(tmp_path, content))[""]
    assert ds.data.dims == ("y", "x", "bias") and ds.data.attrs["units"] == "A"
    np.testing.assert_allclose(ds.data.values, truth[..., ::-1] * 1e-9)  # the sweep ran down
    np.testing.assert_allclose(ds.bias.values, np.linspace(-1, 1, 4))
    ds = ascii_export(write(tmp_path, build(points=4, axis=False)[0]))[""]
    assert ds.data.dims == ("y", "x", "point")


def test_decimal_commas(tmp_path):
    content, header, truth = build()
    ds = ascii_export(write(tmp_path, content[:header] + content[header:].replace(b".", b",")))[""]
    np.testing.assert_allclose(ds.data.values, truth[..., 0] * 1e-9)


def test_damaged_ones_are_refused(tmp_path):
    content, header, _ = build()
    with pytest.raises(NotThisFormat):
        ascii_export(write(tmp_path, b"1 2 3"))
    for wrong in (content + b"1.0", content.replace(b"x-pixels = 5", b"x-pixels = 500000000"), content[:-9]):
        with pytest.raises(CorruptFile):
            ascii_export(write(tmp_path, wrong))
    for length in range(header):
        with pytest.raises(TranslationError):
            ascii_export(write(tmp_path, content[:length]))


def test_mutants_are_refused_or_read_right(tmp_path):
    content, header, _ = build(7, 6)
    block = (header, len(content))
    assert fuzzing.run(ascii_export, content, block, tmp_path, "fuzz.asc", text=True)["refused"] > 30
