"""The explorer of ranks: component, map and running reconstruction equal NumPy's, live and in a file."""

from __future__ import annotations

import numpy as np
import pytest

import xpycro as xp
from tests.viz import samples
from tests.viz.test_explore import until
from xpycro.errors import DimensionError
from xpycro.viz import plot


def made(rank: int, y: int, x: int) -> np.ndarray:
    """The pixel from the first components of NumPy's own SVD, in pA."""
    _, data = samples.decomposition()
    u, s, v = np.linalg.svd(data.values.reshape(-1, samples.NB), full_matrices=False)
    return ((u[:, :rank] * s[:rank]) @ v[:rank]).reshape(data.shape)[y, x] * 1e12


@pytest.mark.browser
def test_live_and_in_a_file(served, report_page):
    result, data = samples.decomposition()
    page = served(lambda: plot.auto(result, data))
    page.tap("Scree", 3, 1)
    until(lambda: page.image("Map"), result.maps[2].values * 1e12)
    page.tap("Map", 10, 4)
    until(lambda: page.lines("Data (grey)")[1], made(3, 2, 5))
    page.tap("Component 3", 0.5, 0)  # from the signal back to the map
    until(lambda: page.image("First 3 at"), np.vectorize(lambda y, x: made(3, y, x)[15])(*np.indices((6, 9))))
    page.tap("Scree", 2, 1)
    until(lambda: page.image("Map 2"), result.maps[1].values * 1e12)
    page = report_page(plot.decomposition(result, data))
    page.tap("map 0", 10, 4)
    np.testing.assert_allclose(page.lines("spectrum 0")[0], data[2, 5].values * 1e12, rtol=1e-5)
    page.tap("scree", 2, 1)
    np.testing.assert_allclose(page.lines("spectrum 0")[1], made(2, 2, 5), rtol=1e-4)
    np.testing.assert_allclose(page.image("map 0"), result.maps[1].values * 1e12, rtol=1e-5)
    np.testing.assert_allclose(page.line("component"), result.components[1].values, rtol=1e-5)
    assert page.title("component") == "Component 2"


def test_other_data_are_refused():
    result, data = samples.decomposition()
    with pytest.raises(DimensionError, match="lacks the dims"):
        plot.decomposition(result, data.isel(x=0))


def test_factors_without_an_order_are_drawn_side_by_side(tmp_path):
    """Non-negative factors have no scree to tap: the explorer of ranks was drawn for them and failed when looked at."""
    data = xp.simulate.raman_map((5, 6), 40).counts
    factors = data.pycro.decompose.nmf(2, max_iterations=20)
    drawn = factors.pycro.plot(data=data)
    assert len(drawn) == 4  # two maps, two spectra
    assert xp.plot.save(drawn, tmp_path / "factors.html").stat().st_size > 0
    with pytest.raises(ValueError, match="no order"):
        factors.pycro.plot.decomposition(data, explore=True)
