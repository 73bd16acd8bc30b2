"""Point spectra over a topography: live and in a file, few in colours to compare, many one a tap."""

from __future__ import annotations

import holoviews as hv
import numpy as np
import pytest
import xarray as xr

from tests.viz import samples
from tests.viz.test_explore import until
from xpycro.errors import DimensionError
from xpycro.schema import coordinate
from xpycro.viz import plot


def scattered() -> tuple[xr.DataArray, xr.DataArray]:
    """Nine point spectra and the picture they were taken on."""
    rng = np.random.default_rng(5)
    picture = samples.current().isel(bias=0, drop=True).rename("z").assign_attrs(units="m", long_name="Topography")
    x, y = rng.uniform(0, 16e-9, 9), rng.uniform(0, 10e-9, 9)
    bias = np.linspace(-1, 1, 12)
    spectra = xr.DataArray(
        1e-9 * rng.normal(size=(9, 12)),
        dims=("position", "bias"),
        coords={
            "x": coordinate("position", x, name="x"),
            "y": coordinate("position", y, name="y"),
            "bias": coordinate("bias", bias),
        },
        name="current",
        attrs={"units": "A", "long_name": "Current"},
    )
    return spectra, picture


@pytest.mark.browser
def test_many_positions_over_a_topography(report_page, served):
    spectra, picture = scattered()
    page = served(lambda: plot.positions(spectra, picture))
    page.tap("Current (nA)", float(spectra.x[4]) * 1e9, float(spectra.y[4]) * 1e9)
    until(lambda: page.line("Current at"), spectra.isel(position=4).values * 1e9)
    page = report_page(plot.positions(spectra, picture))
    page.tap("map 0", float(spectra.x[7]) * 1e9, float(spectra.y[7]) * 1e9)
    np.testing.assert_allclose(page.line("spectrum 0"), spectra.isel(position=7).values * 1e9, rtol=1e-6, atol=3e-7)


def test_positions_are_needed():
    with pytest.raises(DimensionError, match="position"):
        plot.positions(samples.current())


def few() -> tuple[list[xr.DataArray], xr.DataArray]:
    """Two spectra at one place, and one elsewhere with an axis of its own; the picture is some micrometres wide."""
    spectra, picture = scattered()
    at = {d: coordinate(d, np.linspace(0, 4e-6, picture.sizes[d])) for d in ("y", "x")}
    same = spectra.isel(position=[0, 0, 1]).assign_coords(
        x=("position", [4e-7, 4e-7, 3e-6], {"units": "m"}),
        y=("position", [1e-6, 1e-6, 2e-6], {"units": "m"}),
        label=("position", ["first", "again", "elsewhere"]),
    )
    same[1] += 5e-9
    return [same.isel(position=[0, 1]), same.isel(position=[2], bias=slice(0, 6))], picture.assign_coords(at)


def test_a_few_are_drawn_together_in_the_units_of_the_picture():
    spectra, picture = few()
    layout = plot.positions(spectra, picture, start=1)
    chart, lines = (item[()] for item in layout)
    assert chart.Points.I.kdims[0].pprint_label == "x (µm)"  # not 400 nm on an axis of micrometres
    np.testing.assert_allclose(chart.Points.I.array(), [[0.4, 1.0]], rtol=1e-12)
    assert list(chart.Labels.I.dimension_values(2)) == ["1,2", "3"]
    curves = list(lines)
    assert [c.label for c in curves] == ["1: first", "2: again", "3: elsewhere"]
    for curve, truth in zip(curves, [spectra[0][0], spectra[0][1], spectra[1][0]], strict=True):
        np.testing.assert_allclose(curve.dimension_values(1), truth * 1e9, rtol=1e-12)
        np.testing.assert_allclose(curve.dimension_values(0), truth.bias, rtol=1e-12)
    colours = {c.opts.get("style", backend="bokeh").kwargs["color"] for c in curves}
    assert len(colours) == 3
    wide = [c.opts.get("style", backend="bokeh").kwargs["line_width"] for c in curves]
    assert int(np.argmax(wide)) == 1
    assert "again at x = 0.4 µm, y = 1 µm" in hv.Store.lookup_options("bokeh", lines, "plot").kwargs["title"]
    with pytest.raises(DimensionError, match="at most 8"):
        plot.positions([*spectra, scattered()[0]])


@pytest.mark.browser
def test_a_tap_brings_a_spectrum_to_the_front_and_those_at_one_place_take_turns(report_page, served):
    spectra, picture = few()

    def front(page):
        wide = page.evaluate(
            """return find(argument).model.renderers.filter(r => r.glyph.type === 'Line')
              .map(r => r.glyph.line_width.value ?? r.glyph.line_width)""",
            "Current:" if page.page.url.startswith("http") else "spectrum 0",
        )
        return np.argmax(wide)

    page = report_page(plot.positions(spectra, picture))
    assert front(page) == 0
    for x, y, first in ((3.0, 2.0, 2), (0.4, 1.0, 0), (0.4, 1.0, 1), (0.4, 1.0, 0)):
        page.tap("map 0", x, y)
        assert front(page) == first
    assert page.title("spectrum 0") == "Current: first at x = 0.4 µm, y = 1 µm"
    page = served(lambda: plot.positions(spectra, picture))
    page.tap("Topography", 3.0, 2.0)
    until(lambda: front(page), np.array(2))
    page.tap("Topography", 0.4, 1.0)
    until(lambda: front(page), np.array(0))
