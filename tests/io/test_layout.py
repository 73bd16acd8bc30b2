"""Chunks: near half a megabyte, maps and spectra balanced, blocks of whole chunks."""

from __future__ import annotations

import math

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from xpycro.errors import MissingExtra
from xpycro.io import layout


def grid(*dims):
    return xr.DataArray(np.zeros((1,) * len(dims)), dims=dims)


@pytest.mark.parametrize(
    "dims, shape, itemsize",
    [
        (("y", "x", "energy"), (256, 256, 256), 4),
        (("y", "x", "frequency"), (100, 90, 700), 8),
        (("y", "x", "ky", "kx"), (64, 64, 128, 128), 2),
    ],
)
def test_balanced_chunks_cost_a_map_about_the_bytes_of_sixteen_spectra(dims, shape, itemsize):
    chunks = layout.chunk_shape(grid(*dims), dims, shape, itemsize)
    size = math.prod(chunks) * itemsize
    assert 256e3 <= size <= 1.05e6
    per_map = math.prod(math.ceil(n / c) for n, c in zip(shape[:2], chunks[:2], strict=True)) * size
    per_spectrum = math.prod(math.ceil(n / c) for n, c in zip(shape[2:], chunks[2:], strict=True)) * size
    assert 8 <= per_map / per_spectrum <= 32


def test_image_and_spectrum_chunking():
    dims, shape = ("y", "x", "energy"), (256, 256, 1024)
    image = layout.chunk_shape(grid(*dims), dims, shape, 4, "image")
    assert image[:2] == (256, 256) and image[2] <= 4
    spectrum = layout.chunk_shape(grid(*dims), dims, shape, 4, "spectrum")
    assert spectrum[2] == 1024 and math.prod(spectrum) * 4 <= 1.05e6


def test_frames_are_not_mixed_with_pixels():
    assert layout.chunk_shape(grid("frame", "y", "x"), ("frame", "y", "x"), (500, 512, 512), 2) == (1, 512, 512)
    stacked = layout.chunk_shape(grid("frame", "y", "x"), ("frame", "y", "x"), (5000, 16, 16), 2)
    assert stacked[1:] == (16, 16) and stacked[0] > 100


def test_a_dict_gives_lengths_by_dim():
    dims = ("y", "x", "energy")
    assert layout.chunk_shape(grid(*dims), dims, (50, 60, 70), 4, {"y": 10, "energy": -1}) == (10, 60, 70)
    with pytest.raises(ValueError, match="expected lengths"):
        layout.chunk_shape(grid(*dims), dims, (50, 60, 70), 4, {"bias": 1})
    with pytest.raises(ValueError, match="'spectrum'"):
        layout.chunk_shape(grid(*dims), dims, (50, 60, 70), 4, "best")


_shapes = st.lists(st.integers(1, 3000), min_size=1, max_size=4)


@given(_shapes, st.sampled_from(["balanced", "image", "spectrum"]), st.sampled_from([1, 2, 4, 8, 16]))
def test_chunks_fit_any_shape(shape, chunking, itemsize):
    dims = ("y", "x", "energy", "frame")[: len(shape)]
    chunks = layout.chunk_shape(grid(*dims), dims, shape, itemsize, chunking)
    assert all(1 <= c <= n for c, n in zip(chunks, shape, strict=True))
    assert math.prod(chunks) * itemsize <= 4 * layout.CHUNK_BYTES
    if math.prod(shape) * itemsize > 4 * layout.CHUNK_BYTES:
        assert math.prod(chunks) * itemsize >= layout.CHUNK_BYTES / 8
    lengths = layout.write_block(shape, chunks, itemsize)
    assert all(b == n or b % c == 0 for b, c, n in zip(lengths, chunks, shape, strict=True))


@given(st.lists(st.integers(1, 9), min_size=1, max_size=3), st.data())
def test_regions_cover_every_element_once(shape, data):
    lengths = [data.draw(st.integers(1, n + 2)) for n in shape]
    count = np.zeros(shape, int)
    for region in layout.regions(shape, lengths):
        count[region] += 1
    assert (count == 1).all()


def test_chunks_divide_the_blocks_that_arrive():
    shape, blocks = (1000, 512, 256), (48, 512, 256)
    chunks = layout.chunk_shape(grid("y", "x", "energy"), ("y", "x", "energy"), shape, 4, "balanced", blocks)
    assert 48 % chunks[0] == 0
    assert layout.write_block(shape, chunks, 4, blocks) == blocks


def test_compression_is_for_counts():
    assert layout.filters(np.dtype("f4"), 1 << 30) == {}
    assert layout.filters(np.dtype("u2"), 1 << 30)["compression"] == "gzip"
    assert layout.filters(np.dtype("u2"), 1 << 10) == {}
    assert layout.filters(np.dtype("u2"), 1 << 30, None) == {}
    with pytest.raises(ValueError, match="'zstd'"):
        layout.filters(np.dtype("u2"), 1 << 30, "best")


def test_a_missing_plugin_is_named():
    try:
        import hdf5plugin  # noqa: F401
    except ImportError:
        with pytest.raises(MissingExtra, match=r"xpycro\[formats\]"):
            layout.filters(np.dtype("u2"), 1 << 30, "zstd")
    else:
        assert "compression" in layout.filters(np.dtype("u2"), 1 << 30, "zstd")
