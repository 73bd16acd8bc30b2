"""SPECS / Aarhus .mul: the real file against INDEX.tsv and its bytes, synthetic ones against their truth."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from tests.io import fuzzing
from xpycro import schema
from xpycro.errors import NotThisFormat, TranslationError
from xpycro.io.translators.specs import images


def record(nx, ny, seed=0):
    stored = np.random.default_rng(seed).integers(-30000, 30000, (ny, nx)).astype("<i2")
    body = stored.tobytes() + b"\0" * (-stored.nbytes % 128)
    header = struct.pack("<20h", 1, 1 + len(body) // 128, nx, ny, 0, 2020, 12, 7, 19, 16, 23, 300, 600, 859, 755, 10,
                         30, 240, -4096, 100)  # fmt: skip
    header += b"\x05Pt111".ljust(21, b"\0") + b"\0" * 21
    header += struct.pack("<23h", 0, 0, 0, 1, 0, 1, 27, *[0] * 12, 10000, 5, 100, 0)
    return header + body, stored


def build(*sizes, index=True):
    records = [record(nx, ny, seed) for seed, (nx, ny) in enumerate(sizes)]
    start = struct.pack("<hi", 1, 3).ljust(384, b"\0") if index else b""
    return start + b"".join(content for content, _ in records), [stored for _, stored in records]


def write(tmp_path, content):
    path = tmp_path / "test.mul"
    path.write_bytes(content)
    return str(path)


def test_real_image_agrees_with_its_index_row_and_bytes(data_file):
    path = data_file("specs_mul/test_single_image.mul")
    ds = images(str(path))[""]
    assert ds.z.shape == (512, 512) and ds.z.attrs["units"] == "m"
    assert ds.z.min().item() == pytest.approx(-4.3882352941e-9, rel=1e-9)
    assert ds.z.max().item() == pytest.approx(8.7702205883e-9, rel=1e-9)
    assert ds.attrs["bias"] == pytest.approx(1.25) and ds.attrs["gain"] == 10000
    assert ds.attrs["scan_angle"] == pytest.approx(np.radians(349)) and ds.attrs["sample"] == "Pt111"
    assert ds.x[1].item() == pytest.approx(30e-9 / 512) and ds.attrs["acquired"] == "2020-12-07T19:16:23"
    stored = np.frombuffer(path.read_bytes(), "<i2", 512 * 512, offset=512).reshape(512, 512)
    np.testing.assert_allclose(ds.z.values, stored * (-1e-9 / 1.36 / 2000), rtol=1e-12)
    assert schema.problems(ds) == []


def test_orientation_and_scale_of_a_non_square_image(tmp_path):
    content, (stored,) = build((5, 3))
    ds = images(write(tmp_path, content))[""]
    np.testing.assert_allclose(ds.z.values, stored * (-1e-9 / 1.36 / 2000), rtol=1e-12)
    np.testing.assert_allclose(ds.x.values, np.arange(5) * 6e-9)
    np.testing.assert_allclose(ds.y.values, np.arange(3) * 20e-9)
    assert ds.attrs["setpoint"] == pytest.approx(1e-9)


def test_several_images_are_groups(tmp_path):
    content, stored = build((5, 3), (40, 50), index=False)
    groups = images(write(tmp_path, content))
    assert list(groups) == ["image_1", "image_2"] and groups["image_2"].z.shape == (50, 40)
    np.testing.assert_allclose(groups["image_2"].z.values, stored[1] * (-1e-9 / 1.36 / 2000), rtol=1e-12)


def test_opening_reads_the_headers_only(data_file, bytes_read):
    path = str(data_file("specs_mul/test_single_image.mul"))
    images(path)
    counter = bytes_read()
    images(path)
    assert counter.total < 20_000  # of 524,800


def test_damaged_ones_are_refused(tmp_path):
    with pytest.raises(NotThisFormat):
        images(write(tmp_path, bytes(1024)))
    content, _ = build((40, 50))
    for length in range(0, len(content), 7):
        with pytest.raises(TranslationError):
            images(write(tmp_path, content[:length]))


def test_mutants_are_refused_or_read_right(tmp_path):
    content, _ = build((8, 16))
    assert fuzzing.run(images, content, 512, tmp_path, "fuzz.mul")["refused"] > 30
