"""Numbers on their way into a page: what arrives is what was measured, and a page of anything stays below 10 MB."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from tests.viz import samples
from xpycro.viz import packing, plot, report, static

PAGE = 10_000_000


def unpacked(numbers, low, step, n):
    """What `value_of` in the page makes of packed rows, written out again."""
    level = numbers.reshape(-1, n, 3).astype(np.uint32) @ np.array([1, 256, 65536], np.uint32)
    values = low[:, None].astype(float) + step[:, None].astype(float) * level
    return np.where(level == 0xFFFFFF, np.nan, values)


@given(
    rows=st.lists(
        st.lists(st.floats(-1e12, 1e12) | st.sampled_from([np.nan, np.inf, -np.inf, 0.0]), min_size=4, max_size=4),
        min_size=1, max_size=5,
    )
)  # fmt: skip
def test_what_arrives_is_as_exact_as_32_bit_floats(rows):
    rows = np.array(rows)
    found = unpacked(*packing.packed(rows), 4)
    valid = np.isfinite(rows)
    np.testing.assert_array_equal(np.isfinite(found), valid)
    largest = np.abs(np.where(valid, rows, 0)).max(axis=1, keepdims=True)
    assert (np.abs(np.where(valid, found - rows, 0)) <= 2e-7 * largest + 1e-30).all()


def test_counts_arrive_exactly():
    counts = np.array([[0, 3, 65535, 1_000_000], [7, 7, 7, 7]])
    np.testing.assert_array_equal(unpacked(*packing.packed(counts), 4), counts)


def large(*sizes: int) -> xr.DataArray:
    names = ("y", "x", "energy")[: len(sizes)]
    return xr.DataArray(np.random.default_rng(0).normal(size=sizes).astype(np.float32), dims=names, name="current")


@pytest.mark.parametrize(
    "make",
    [
        lambda: [plot.image(large(1200, 1200)), plot.image(large(900, 1600))],
        lambda: [plot.maps(xr.concat([large(500, 500)] * 12, "component"))],
        lambda: [plot.explore(large(96, 96, 256))] * 3,
        lambda: [plot.hist(large(1200, 1200), levels=True)],
        lambda: [plot.lines(large(1000, 1500).rename(x="energy", y="x"))],
        lambda: [plot.stack(large(40, 300, 300).rename(y="frame", x="y", energy="x"))],
        lambda: [plot.tree(xr.DataTree.from_dict({f"/{i}": large(64, 64, 300).to_dataset() for i in range(4)}))],
    ],
    ids=["images", "maps", "explorers", "levels", "lines", "stack", "tree"],
)
def test_pages_stay_below_10_mb(make):
    """Noise, which nothing could compress."""
    text = report.page(title="Large", sections=[report.Section("One", "", *make())])
    assert len(text.encode()) <= PAGE


def test_pictures_that_callbacks_redraw_are_not_thinned():
    chart = static.explorer(samples.current())
    free = static.figure_of(plot.image(large(60, 60)))
    packing.slim([chart, free], pixels=900)
    shapes = [image.shape for model in (chart, free) for _, _, image in packing._images(model)]
    assert shapes == [(samples.NY, samples.NX), (30, 30)]
