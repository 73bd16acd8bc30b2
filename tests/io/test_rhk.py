"""RHK .sm4: the real file against INDEX.tsv and its bytes, synthetic images against their truth."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from tests.io import fuzzing
from xpycro import schema
from xpycro.errors import CorruptFile, NotThisFormat, TranslationError
from xpycro.io import rawarray
from xpycro.io.translators.rhk import pages


def build(nx=5, ny=3, *, x_scale=-1e-9, y_scale=-2e-9, scans=(0, 1), seed=0):
    """Image pages of one channel; the stored numbers of each."""
    stored = np.random.default_rng(seed).integers(-30000, 30000, (len(scans), ny, nx)).astype("<i4")
    texts = ["Topography", "", "", "", "C:\\data\\a.SM4", "06/17/23", "11:12:42", "m", "m", "m"]
    strings = b"".join(struct.pack("<H", len(t)) + t.encode("utf-16-le") for t in texts)
    index = 58 + 12 + 16 + 12
    head = 4 + 27 * 4 + 4
    body = index + len(scans) * (32 + 24)
    entries, blocks = b"", b""
    for scan, image in zip(scans, stored, strict=True):
        at = body + len(blocks)
        text_at = at + head + 12
        entries += bytes(16) + struct.pack("<IIII", 0, 0, 2, 0)
        entries += struct.pack("<III", 3, at, head) + struct.pack("<III", 4, text_at + len(strings), image.nbytes)
        blocks += struct.pack("<HH", head, len(texts))
        blocks += struct.pack("<IIIiiiiIIIIII", 1, 0, 0, 0, 0, nx, ny, 0, scan, 7, image.nbytes, 0, 0)
        blocks += struct.pack("<11f", x_scale, y_scale, 1e-12, 0, 1e-7, 2e-7, 3e-10, 0.1, 0.5, 1e-10, 30)
        blocks += struct.pack("<iiii", 0, 0, 0, 1) + struct.pack("<III", 10, text_at, len(strings))
        blocks += strings + image.tobytes()
    magic = "STiMage 005.004 1".encode("utf-16-le").ljust(36, b"\0")
    content = struct.pack("<H", 56) + magic + struct.pack("<IIIII", len(scans), 1, 12, 0, 0)
    content += struct.pack("<III", 1, 70, 16)
    content += struct.pack("<IIII", len(scans), 1, 0, 0) + struct.pack("<III", 2, index, 32)
    return content + entries + blocks, stored


def write(tmp_path, content):
    path = tmp_path / "test.sm4"
    path.write_bytes(content)
    return str(path)


def test_real_spectra_agree_with_their_index_row_and_bytes(data_file):
    path = data_file("rhk_sm4/test_iv.SM4")
    ds = pages(str(path))[""]
    names = ["dc_current", "conductance_2", "thz_current", "pump_induced", "current"]
    assert list(ds.data_vars) == names and ds.current.dims == ("position", "bias") and ds.current.shape == (5, 299)
    assert ds.attrs["bias"] == pytest.approx(0.99411, abs=1e-5)
    assert ds.attrs["setpoint"] == pytest.approx(4.31244e-11, rel=1e-5)
    assert ds.attrs["acquired"] == "2023-06-17T11:12:42" and ds.attrs["scan_angle"] == 0
    content = path.read_bytes()
    for name, offset, scale in (
        ("dc_current", 6262, 3.1738283876037165e-14),
        ("current", 34980, 3.1738281165531734e-13),
    ):
        stored = np.frombuffer(content, "<i4", 5 * 299, offset=offset).reshape(5, 299)
        np.testing.assert_allclose(ds[name].values, stored * scale, rtol=1e-7)
    np.testing.assert_allclose(ds.bias.values, -1.50054931640625 + 0.01007080078125 * np.arange(299), rtol=1e-6)
    assert ds.x.dims == ("position",) and ds.x.attrs["units"] == "m"
    assert ds.x.values[0] == np.frombuffer(content, "<f4", 1, offset=12284)[0]
    assert schema.problems(ds) == []


@pytest.mark.parametrize("x_scale", [-1e-9, 1e-9])
@pytest.mark.parametrize("y_scale", [-2e-9, 2e-9])
def test_orientation_of_a_non_square_image_follows_the_signs(tmp_path, x_scale, y_scale):
    content, stored = build(5, 3, x_scale=x_scale, y_scale=y_scale)
    ds = pages(write(tmp_path, content))[""]
    assert ds.topography.dims == ("direction", "y", "x")
    truth = stored[:, :: -1 if y_scale < 0 else 1, :: -1 if x_scale < 0 else 1] * 1e-12 + 3e-10
    np.testing.assert_allclose(ds.topography.values, truth, rtol=1e-6)
    np.testing.assert_allclose(ds.x.values, np.arange(5) * 1e-9)
    np.testing.assert_allclose(ds.y.values, np.arange(3) * 2e-9, rtol=1e-6)
    assert ds.attrs["scan_angle"] == pytest.approx(np.pi / 6) and ds.attrs["title"] == "a.SM4"


def test_zeros_at_the_end_are_room(tmp_path):
    content, stored = build(5, 3)
    ds = pages(write(tmp_path, content + bytes(512)))[""]
    np.testing.assert_allclose(ds.topography.values, stored[:, ::-1, ::-1] * 1e-12 + 3e-10, rtol=1e-6)


def test_one_direction_stands_alone(tmp_path):
    ds = pages(write(tmp_path, build(scans=(1,))[0]))[""]
    assert ds.topography.dims == ("y", "x") and ds.topography.attrs["direction"] == "backward"


def test_others_and_damaged_ones_are_refused(tmp_path):
    with pytest.raises(NotThisFormat):
        pages(write(tmp_path, b"\x38\0" + b"nothing" * 20))
    content = build()[0]
    with pytest.raises(CorruptFile):
        pages(write(tmp_path, content.replace(struct.pack("<ii", 5, 3), struct.pack("<ii", 1 << 30, 1 << 30))))
    for length in range(0, len(content), 3):
        with pytest.raises(TranslationError):
            pages(write(tmp_path, content[:length]))


def test_opening_reads_no_numbers(data_file, monkeypatch):
    read = []
    original = rawarray.read_block
    monkeypatch.setattr(rawarray, "read_block", lambda handle, offset, buffer: (
        read.append(len(buffer)) or original(handle, offset, buffer)))  # fmt: skip
    ds = pages(str(data_file("rhk_sm4/test_iv.SM4")))[""]
    assert read == []
    ds.current.isel(position=2).load()
    assert sum(read) == 299 * 4


def test_mutants_are_refused_or_read_right(tmp_path):
    content, stored = build(7, 6, scans=(0,))
    assert fuzzing.run(pages, content, len(content) - stored.nbytes, tmp_path, "fuzz.sm4")["refused"] > 30
