"""The 4D explorer: patterns and virtual images equal the array's, live and in a file."""

from __future__ import annotations

import holoviews as hv
import numpy as np
import pytest

from tests.conftest import raise_if_dask_computes
from tests.viz import samples
from tests.viz.test_explore import until
from xpycro.errors import DimensionError
from xpycro.viz import diffraction as viz
from xpycro.viz import plot
from xpycro.viz.diffraction import diffraction_explorer


def summed(da, x: float, y: float, inner: float, outer: float) -> np.ndarray:
    """Counts between two radii about a place in 1/nm."""
    k = da.kx.values * 1e-9
    radius = np.hypot(k[None, :] - x, k[:, None] - y)
    return np.where((radius >= inner) & (radius <= outer), da.values.astype(float), 0).sum(axis=(2, 3))


@pytest.mark.browser
def test_in_a_file(report_page):
    da = samples.patterns()
    page = report_page(diffraction_explorer(da, log=False))
    page.tap("map 0", 10, 2)
    np.testing.assert_allclose(page.image("pattern"), da.isel(y=1, x=5).values)
    page.tap("pattern", 0.31, -0.2)
    at = page.evaluate("const v = find('map 0'); return 0") or page.evaluate(
        "const d = Bokeh.documents[0]._all_models; for (const m of d.values()) "
        "if (m.data && m.data.outer) return [m.data.x[0], m.data.y[0], m.data.inner[0], m.data.outer[0]]"
    )
    assert at[:2] == pytest.approx([0.31, -0.2], abs=0.01)
    np.testing.assert_allclose(page.image("map 0"), summed(da, *at))
    page.evaluate("find('radii').model.value = [0.3, 0.7]")
    page.page.wait_for_timeout(200)
    np.testing.assert_allclose(page.image("map 0"), summed(da, at[0], at[1], 0.3, 0.7))


@pytest.mark.browser
def test_served(served):
    da = samples.patterns()
    page = served(lambda: plot.diffraction(da.chunk({"y": 2}), log=False, inner=0.1))
    page.tap("Virtual image", 10, 2)
    until(lambda: page.image("Pattern at"), da.isel(y=1, x=5).values.astype(float))
    page.drag("Virtual image", (10, 2), (2, 6))
    until(lambda: page.image("Pattern at"), da.isel(y=3, x=1).values.astype(float))
    page.drag("Pattern at", (0.0, 0.0), (0.3, -0.2))
    outer = 0.2 * (2 + 2 / 15)
    until(lambda: page.image("Virtual image"), summed(da, 0.3, -0.2, 0.1, outer))
    page.drag("Pattern at", (0.3, -0.2 + outer), (0.3, 0.47))  # by its ring
    until(lambda: page.image("Virtual image"), summed(da, 0.3, -0.2, 0.1, 0.67))


def test_while_it_is_dragged_a_small_cube_answers_and_the_rest_is_read_on_release(monkeypatch):
    da = samples.patterns()
    monkeypatch.setattr(viz, "SMALL", 5 * 7 * 8 * 8)
    drawn = plot.diffraction(da.chunk({"y": 2}), log=False)
    image, _ = list(drawn)
    state = drawn._pycro_state

    def shown():
        return image[()].Image.I.dimension_values(2, flat=False)

    detector = (0.2, 0.1, 0.0, 0.5)
    state.event(x=0.2, y=0.1, outer=0.5, exact="moving")
    with raise_if_dask_computes(1) as counted:
        binned = da.values.astype(float).reshape(5, 7, 8, 2, 8, 2).sum(axis=(3, 5))
        k = da.kx.values.reshape(8, 2).mean(axis=1) * 1e-9
        inside = np.hypot(k[None, :] - 0.2, k[:, None] - 0.1) <= 0.5
        np.testing.assert_allclose(shown(), (binned * inside).sum(axis=(2, 3)))
        state.event(x=0.0)
        shown()
        assert counted.total == 1  # read once
    state.event(x=0.2, exact="yes")
    np.testing.assert_allclose(shown(), summed(da, *detector))


def test_a_costly_image_is_announced_before_it_is_read(monkeypatch):
    da = samples.patterns().chunk({"y": 2})
    monkeypatch.setattr(viz, "COSTLY", 10_000)  # bytes
    drawn = plot.diffraction(da, log=False)
    image, _ = list(drawn)
    title = hv.Store.lookup_options("bokeh", image[()], "plot").kwargs["title"]
    assert title == "Preview: 1 of 4 positions; double tap the pattern to read 0 MiB"


def test_building_reads_nothing_and_a_position_one_pattern():
    da = samples.patterns()
    with raise_if_dask_computes(2) as counted:
        drawn = plot.auto(da.chunk({"y": 2, "kx": 4}))
        assert counted.total == 0
        image, pattern = list(drawn)
        image[()], pattern[()]
        drawn._pycro_state.event(pixel=3)
        image[()]
        assert counted.total == 2
    assert plot.chosen(drawn).startswith("diffraction")


def test_annulus_equals_the_sum():
    da = samples.patterns()
    image = plot.diffraction(da, center=(0.1, 0.0), radius=0.8, inner=0.4)
    found = next(iter(image))[()].Image.I.dimension_values(2, flat=False)
    np.testing.assert_allclose(found, summed(da, 0.1, 0.0, 0.4, 0.8))


def test_other_dims_are_refused():
    with pytest.raises(DimensionError, match="two reciprocal dims"):
        plot.diffraction(samples.current())
