"""TIFF: windows of pages, of which only the strips or tiles they touch are read."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
import xarray as xr

import xpycro as xp
from xpycro.errors import CorruptFile

GREY = (3, 240, 320)  # pages, rows, columns: a page is 150 KB
KINDS = {
    "strips": {"rowsperstrip": 16, "compression": "zlib"},
    "strips, differences": {"rowsperstrip": 16, "compression": "zlib", "predictor": True},
    "plain strips of large": {"rowsperstrip": 240},
    "plain strips, the other order": {"rowsperstrip": 240, "byteorder": ">"},
    "tiles": {"tile": (32, 48), "compression": "zlib"},
    "tiles, differences, the other order": {
        "tile": (32, 48),
        "compression": "zlib",
        "predictor": True,
        "byteorder": ">",
    },
    "plain tiles": {"tile": (32, 48)},
    "lzw": {"tile": (32, 48), "compression": "lzw", "predictor": True},
    "floats": {"tile": (64, 64), "compression": "zlib", "predictor": True},
    "colours": {"tile": (32, 48), "compression": "zlib", "photometric": "rgb"},
    "planes of colours": {"rowsperstrip": 16, "compression": "zlib", "photometric": "rgb", "planarconfig": "separate"},
}


def written(path, kind: str) -> np.ndarray:
    """A file of that kind; what cannot be packed, so that bytes count."""
    settings = dict(KINDS[kind])
    shape = {"colours": (*GREY, 3), "planes of colours": (3, 3, *GREY[1:])}.get(kind, GREY)
    data = np.random.default_rng(0).integers(0, 60_000, shape).astype("f4" if kind == "floats" else "u2")
    with tifffile.TiffWriter(path, byteorder=settings.pop("byteorder", "<")) as file:
        for page in data:
            file.write(page, contiguous=False, metadata=None, **{"photometric": "minisblack", **settings})
    return data


@pytest.mark.parametrize("kind", KINDS)
def test_a_window_reads_only_the_strips_or_tiles_it_touches(kind, tmp_path, bytes_read):
    data = written(tmp_path / "a.tif", kind)
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "a.tif"), data)  # what it is to be held against
    image = xp.open(tmp_path / "a.tif", chunks=None).intensity
    if kind == "planes of colours":
        image, data = image.transpose("frame", "y", "x", "channel"), np.moveaxis(data, 1, -1)
    truth = xr.DataArray(data[:, ::-1], dims=image.dims)  # the first row lies at the top
    counter = bytes_read()
    found = image.isel(frame=1, y=slice(100, 130), x=slice(50, 90)).values
    used = counter.total
    np.testing.assert_array_equal(found, truth.isel(frame=1, y=slice(100, 130), x=slice(50, 90)))
    rows = 30 if kind.startswith("plain strips") else 48 if "tile" not in KINDS[kind] else 96
    columns = 320 if "tile" not in KINDS[kind] else 128 if kind == "floats" else 96
    rows = 128 if kind == "floats" else rows
    assert used < 1.1 * rows * columns * data[0, 0, 0].nbytes + 20_000 < 0.75 * data[0].nbytes
    block = image.encoding.get("preferred_chunks", {})
    assert (block.get("y"), block.get("x")) == (KINDS[kind].get("tile") or ((16, 320) if rows == 48 else (None, None)))
    for key in (
        {"y": slice(None, None, -7), "x": slice(5, None, 9)}, {"y": 239, "x": 319}, {"y": slice(4, 4)}, {"frame": -1},
        {"y": slice(230, 10, -3), "x": -1, "frame": slice(None, None, -2)},
    ):  # fmt: skip
        np.testing.assert_array_equal(image.isel(key).values, truth.isel(key))


def test_a_page_is_found_without_those_before_it(tmp_path, bytes_read):
    data = np.random.default_rng(0).integers(0, 255, (200, 32, 32)).astype("u1")
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for page in data:
            file.write(page, contiguous=False, metadata=None, compression="zlib")
    image = xp.open(tmp_path / "a.tif", chunks=None).intensity
    counter = bytes_read()
    np.testing.assert_array_equal(image[150].values, data[150, ::-1])
    assert counter.total < 30_000  # the directories of all lie 8 KB apart


def test_a_damaged_tile_is_an_error_and_others_are_read(tmp_path):
    data = written(tmp_path / "a.tif", "tiles")
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        offset = file.pages[0].dataoffsets[0]
    with open(tmp_path / "a.tif", "r+b") as raw:
        raw.seek(offset)
        raw.write(b"\xff" * 40)
    image = xp.open(tmp_path / "a.tif", chunks=None).intensity
    np.testing.assert_array_equal(image[0, :100].values, data[0, ::-1][:100])
    with pytest.raises(CorruptFile, match="tifffile cannot read it"):
        image[0, -1, 0].load()
