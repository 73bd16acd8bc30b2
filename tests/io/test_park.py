"""Park Systems TIFF: the real file against INDEX.tsv and its preview, synthetic ones against their truth."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from tests.io import fuzzing
from xpycro import schema
from xpycro.errors import CorruptFile, NotThisFormat, TranslationError, UnsupportedVariant
from xpycro.io.translators.park import image


def tiff(tags, order="<"):
    """A TIFF file of one directory of (code, type, count, bytes)."""
    body, where, at = b"", {}, 8 + 2 + 12 * len(tags) + 4
    for code, _, _, value in sorted(tags, key=lambda tag: len(tag[3]) * (tag[0] == 50434)):  # the numbers come last
        where[code] = struct.pack(order + "I", at + len(body)) if len(value) > 4 else value.ljust(4, b"\0")
        body += value if len(value) > 4 else b""
    entries = b"".join(struct.pack(order + "HHI", *tag[:3]) + where[tag[0]] for tag in tags)
    magic = b"II*\0" if order == "<" else b"MM\0*"
    return magic + struct.pack(order + "IH", 8, len(tags)) + entries + struct.pack(order + "I", 0) + body


def wide(text, n):
    return text.encode("utf-16-le").ljust(2 * n, b"\0")


def build(nx=5, ny=3, *, kind=0, forward=1, compression=0, image_type=0, gain=-4.5, version=0x01000002, seed=0):
    stored = np.random.default_rng(seed).integers(-3000, 3000, (ny, nx)).astype({0: "<i2", 1: "<i4", 2: "<f4"}[kind])
    header = struct.pack("<i", image_type) + wide("Topography", 32) + wide("NCM", 8)
    header += struct.pack("<diiiididiii", 0.0, 0, 1, nx, ny, 30.0, 0, 0.1, forward, 1, 0)
    header += struct.pack("<dddddd", 2.5, 1.5, 3.75, -1.75, 1.25, 9.5) + wide("um", 8)
    header += (
        struct.pack("<ddddd", 0.1, 0.5, gain, 2.0, 7.0) + wide("um", 8) + struct.pack("<iiii", 0, 0, 0, compression)
    )
    header += struct.pack("<iidd", 0, 0, 1.0, 1.0) + wide("High", 8) + wide("High", 8) + wide("on", 8)
    header += struct.pack("<i", kind)
    tags = [
        (305, 2, 23, b"Park Systems SmartScan\0"),
        (306, 2, 20, b"2021:09:16 13:17:54\0"),
        (50432, 4, 1, struct.pack("<I", 0x0E031301)),
        (50433, 4, 1, struct.pack("<I", version)),
        (50434, 1, stored.nbytes, stored.tobytes()),
        (50435, 7, len(header), header),
    ]
    content = tiff(tags)
    return content, len(content) - stored.nbytes, stored, gain * 1e-6 * (stored.astype(float) * 2 + 7)


def write(tmp_path, content):
    path = tmp_path / "test.tiff"
    path.write_bytes(content)
    return str(path)


def test_real_image_agrees_with_its_index_row_and_bytes(data_file):
    path = data_file("park_tiff/Park_20210916_034.tiff")
    ds = image(str(path))[""]
    z = ds.topography
    assert z.dims == ("y", "x") and z.shape == (256, 256) and z.attrs["units"] == "m"
    assert z.min().item() == pytest.approx(-2.71e-9, abs=0.005e-9)
    assert z.max().item() == pytest.approx(9.24e-9, abs=0.005e-9)
    assert ds.x[1].item() == pytest.approx(2500e-9 / 256) and ds.attrs["scan_rate"] == pytest.approx(1.25, abs=0.005)
    content = path.read_bytes()
    stored = np.frombuffer(content, "<f4", 256 * 256, offset=2041).reshape(256, 256)
    np.testing.assert_allclose(z.values, stored * -4.509369689218176e-6, rtol=1e-6)
    assert schema.problems(ds) == []


def test_the_preview_of_the_real_file_shows_the_top_row_first(data_file):
    path = data_file("park_tiff/Park_20210916_034.tiff")
    preview = np.frombuffer(path.read_bytes(), "u1", 256 * 256, offset=264971).reshape(256, 256).astype(float)
    z = image(str(path))[""].topography.values
    assert np.corrcoef(preview.ravel(), z[::-1].ravel())[0, 1] > 0.9
    assert abs(np.corrcoef(preview.ravel(), z.ravel())[0, 1]) < 0.2


@pytest.mark.parametrize("kind", [0, 1, 2])
def test_orientation_and_scale_of_a_non_square_image(tmp_path, kind):
    content, _, _, truth = build(5, 3, kind=kind)
    ds = image(write(tmp_path, content))[""]
    np.testing.assert_allclose(ds.topography.values, truth, rtol=1e-6)
    np.testing.assert_allclose(ds.x.values, np.arange(5) * 0.5e-6)
    np.testing.assert_allclose(ds.y.values, np.arange(3) * 0.5e-6)
    assert ds.attrs["bias"] == 0.5 and ds.attrs["scan_angle"] == pytest.approx(np.pi / 6)
    assert ds.attrs["setpoint"] == pytest.approx(9.5e-6) and ds.attrs["scan_center_y"] == pytest.approx(-1.75e-6)


def test_backward_scans_say_so(tmp_path):
    assert image(write(tmp_path, build(forward=0)[0]))[""].topography.attrs["direction"] == "backward"


def test_opening_reads_the_header_only(data_file, bytes_read):
    path = str(data_file("park_tiff/Park_20210916_034.tiff"))
    image(path)
    counter = bytes_read()
    image(path)
    assert counter.total < 60_000  # of 330,507


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (build(compression=1)[0], UnsupportedVariant),
        (build(image_type=2)[0], UnsupportedVariant),
        (build(version=0x02000000)[0], UnsupportedVariant),
        (build(gain=0.0)[0], CorruptFile),
        (tiff([(305, 2, 4, b"abc\0")]), NotThisFormat),
        (tiff([(305, 2, 1 << 30, b"abcdef\0")]), CorruptFile),
        (b"not a TIFF file", NotThisFormat),
    ],
)
def test_others_are_refused(tmp_path, content, error):
    with pytest.raises(error):
        image(write(tmp_path, content))


def test_mutants_are_refused_or_read_right(tmp_path):
    content, header, *_ = build(7, 6)
    assert fuzzing.run(image, content, header, tmp_path, "fuzz.tiff")["refused"] > 30


def test_truncation_at_every_length(tmp_path):
    content = build()[0]
    for length in range(0, len(content), 3):
        with pytest.raises(TranslationError):
            image(write(tmp_path, content[:length]))
