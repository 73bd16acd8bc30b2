"""Places of records and the grid they form, in any order of acquisition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xpycro.io.rawarray import RawArray
from xpycro.io.translators._raster import gather, raster


def scan(ny, nx, order):
    """Row and column of each record."""
    rows, columns = np.divmod(np.arange(ny * nx), nx)
    if order == "snake":
        columns = np.where(rows % 2 == 1, nx - 1 - columns, columns)
    elif order == "columns":
        columns, rows = np.divmod(np.arange(ny * nx), ny)
    elif order == "down":
        rows = ny - 1 - rows
    elif order == "column snake":
        columns, rows = np.divmod(np.arange(ny * nx), ny)
        rows = np.where(columns % 2 == 1, ny - 1 - rows, rows)
    return rows, columns


@given(
    st.integers(1, 6), st.integers(1, 6), st.sampled_from(["lines", "snake", "columns", "down", "column snake"]),
    st.floats(0, 0.2), st.integers(0, 5),
)  # fmt: skip
def test_any_order_of_a_grid_is_found(tmp_path_factory, ny, nx, order, jitter, seed):
    rows, columns = scan(ny, nx, order)
    rng = np.random.default_rng(seed)
    noise = rng.uniform(-jitter, jitter, (2, ny * nx)) if min(ny, nx) > 1 else np.zeros((2, ny * nx))
    found = raster(3.0 + 0.5 * (rows + noise[0]), 7.0 + 0.7 * (columns + noise[1]))
    assert found is not None and found.place.shape == (ny, nx)
    np.testing.assert_array_equal(found.place[rows, columns], np.arange(ny * nx))
    np.testing.assert_allclose(found.y, 3.0 + 0.5 * np.arange(ny), atol=0.2)
    path = str(tmp_path_factory.mktemp("raster") / "a.bin")
    data = rng.normal(size=(ny * nx, 3))
    data.tofile(path)
    laid = gather(RawArray.contiguous(path, 0, "<f8", data.shape), found.place)
    assert laid is not None
    np.testing.assert_array_equal(laid.read(), data[found.place])
    np.testing.assert_array_equal(laid.read((slice(None), 0, slice(1, 3))), data[found.place][:, 0, 1:3])


def test_what_is_no_grid_is_none(tmp_path):
    assert raster(np.array([0.0, 0.0, 1.0]), np.array([0.0, 1.0, 0.0])) is None  # one is missing
    assert raster(np.array([0.0, 0.0]), np.array([1.0, 1.0])) is None  # one place twice
    assert raster(np.array([0.0, np.nan]), np.array([0.0, 1.0])) is None
    assert raster(np.arange(5.0), np.arange(5.0)) is None  # a line across
    rng = np.random.default_rng(0)
    assert raster(rng.uniform(size=12), rng.uniform(size=12)) is None


def test_a_random_order_of_places_is_a_grid_that_cannot_be_laid_without_reading(tmp_path):
    rows, columns = np.divmod(np.random.default_rng(0).permutation(12), 4)
    found = raster(rows.astype(float), columns.astype(float))
    assert found is not None
    np.zeros(12).tofile(tmp_path / "a.bin")
    assert gather(RawArray.contiguous(str(tmp_path / "a.bin"), 0, "<f8", (12,)), found.place) is None


@pytest.mark.parametrize(("ny", "nx"), [(1, 4), (4, 1), (1, 1)])
def test_single_lines(ny, nx):
    rows, columns = scan(ny, nx, "lines")
    found = raster(rows.astype(float), columns.astype(float))
    assert found is not None and found.place.shape == (ny, nx)
