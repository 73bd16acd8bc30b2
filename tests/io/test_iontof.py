"""ION-TOF: BIF6 written by its published layout, and the files of SurfaceLab that are refused with a reason."""

from __future__ import annotations

import struct

import numpy as np
import pytest

import xpycro as xp
from tests.io import fuzzing
from xpycro import schema
from xpycro.errors import CorruptFile, UnsupportedVariant
from xpycro.io import formats
from xpycro.io.translators.iontof import images


def build(nx=5, ny=3, masses=(1.0, 23.0, 40.0), total=True):
    """(bytes, images from the top): intervals of +- 0.5."""
    rng = np.random.default_rng(0)
    pictures = rng.poisson(9, (len(masses), ny, nx)).astype("<u4")
    blocks = [(n + 1, m - 0.5, m, m + 0.5, p) for n, (m, p) in enumerate(zip(masses, pictures, strict=True))]
    if total:
        blocks.insert(0, (0, 0.0, 0.0, 0.0, pictures.sum(axis=0).astype("<u4")))
    content = b"\0\0BIF6" + struct.pack("<3H", len(blocks), nx, ny)
    for number, low, mass, high, picture in blocks:
        content += struct.pack("<I3f", number, low, mass, high) + picture.tobytes()
    return content, pictures


@pytest.mark.parametrize("total", [True, False])
def test_images_of_intervals(tmp_path, total):
    content, pictures = build(total=total)
    path = tmp_path / "a.bif6"
    path.write_bytes(content)
    assert formats.identify(path).name == "bif6"
    ds = xp.open(path)
    assert ds.intensity.dims == ("y", "x", "ion") and schema.problems(ds) == []
    np.testing.assert_array_equal(ds.intensity.values, pictures.transpose(1, 2, 0)[::-1])
    np.testing.assert_array_equal(ds.mass_to_charge, [1, 23, 40])
    np.testing.assert_array_equal(ds.mass_low, [0.5, 22.5, 39.5])
    assert ("total_ions" in ds) == total
    if total:
        np.testing.assert_array_equal(ds.total_ions, pictures.sum(axis=0)[::-1])


def test_mutants(tmp_path):
    content, pictures = build()
    path, refused = tmp_path / "a.bif6", 0
    for mutant in fuzzing.mutants(content, (0, 0), 300, 0):
        path.write_bytes(mutant.content)
        try:
            ds = images(str(path))[""].compute()
        except xp.errors.TranslationError:
            refused += 1
            continue
        assert ds.intensity.size + ds.get("total_ions", ds.intensity[:0]).size in (pictures.size, pictures.size + 15)
    assert refused > 100


@pytest.mark.parametrize("name", ["a.ita", "a.itm", "a.its", "a.grd"])
def test_files_of_surfacelab_are_refused_with_what_to_do(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(bytes(64) if name == "a.grd" else b"ITStrF01" + bytes(64))
    (tmp_path / "a.properties.txt").write_text("settings")
    with pytest.raises(UnsupportedVariant, match=f"{name}.*BIF6.*imzML"):
        xp.open(path)


def test_a_wrong_size_is_named(tmp_path):
    content, _ = build()
    (tmp_path / "a.bif6").write_bytes(content[:-1])
    with pytest.raises(CorruptFile, match="4 images of 3 x 5 make"):
        images(str(tmp_path / "a.bif6"))
