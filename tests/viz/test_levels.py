"""Levels dragged on a histogram, spectra along a line: live and in a file, with the right numbers."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from tests.viz import samples
from tests.viz.test_explore import until
from xpycro.errors import DimensionError
from xpycro.viz import plot


def plane() -> xr.DataArray:
    return samples.current().isel(bias=20, drop=True)


@pytest.mark.browser
def test_levels_in_a_file(report_page):
    page = report_page(plot.hist(plane(), levels=True))
    ends = page.evaluate("const m = find('map 0').model.renderers[0].glyph.color_mapper; return [m.low, m.high]")
    page.drag("histogram", (ends[0], 1), (ends[0] + 5, 1))
    low, high = page.evaluate("const m = find('map 0').model.renderers[0].glyph.color_mapper; return [m.low, m.high]")
    assert low == pytest.approx(ends[0] + 5, abs=1) and high == ends[1]


@pytest.mark.browser
def test_served_levels(served):
    page = served(lambda: plot.hist(plane(), levels=True))
    ends = "const m = find('Current (pA)').model.renderers[0].glyph.color_mapper; return [m.low, m.high]"
    before = page.evaluate(ends)
    page.take("Current: histogram", "BoxSelectTool")
    page.drag("Current: histogram", (45.0, 1), (60.0, 1))
    until(lambda: np.round(page.evaluate(ends)), np.array([45.0, 60.0]))
    assert before != page.evaluate(ends)
    marks = (
        "const r = find('Current: h').model.renderers.filter(r => r.type == 'Span').map(r => Math.round(r.location))"
    )
    marks += "; return r"
    until(lambda: np.array(page.evaluate(marks)), np.array([45, 60]))


def test_levels_follow_the_state():
    layout = plot.hist(plane(), levels=True)
    picture, counts = list(layout)
    layout._pycro_state.event(low=20.0, high=60.0)
    assert picture[()].opts.get("plot", backend="bokeh").kwargs["clim"] == (20.0, 60.0)
    assert [mark.data for mark in counts[()].VLine] == [20.0, 60.0]
    with pytest.raises(DimensionError, match="dimensions"):
        plot.hist(samples.current(), levels=True)


@pytest.mark.browser
def test_lines_live_and_in_a_file(report_page, served):
    da = samples.current().isel(y=2)
    assert plot.chosen(plot.auto(da)).startswith("lines")
    page = served(lambda: plot.lines(da))
    page.tap("Current (pA)", 0.3, 6)
    until(lambda: page.line("Current, x"), da.isel(x=3).values * 1e12)
    page = report_page(plot.lines(da.isel(x=slice(None, None, -1))))
    page.tap("map 0", -0.5, 14)
    np.testing.assert_allclose(page.line("spectrum 0"), da.isel(x=7).values * 1e12, rtol=1e-6, atol=5e-6)
    assert page.title("spectrum 0") == "Current, x = 14 nm"
