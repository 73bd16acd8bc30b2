"""Explorers in a file, in a real browser: what is drawn equals the array at the tapped place."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from tests.viz import samples
from xpycro.engine import results
from xpycro.viz import report, scripts, static

pytestmark = pytest.mark.browser

STEP = 5e-6  # pA: three bytes for the range of a spectrum, 80 pA


def test_tap_and_drag_move_spectrum_and_map(report_page):
    da = samples.current()
    page = report_page(report.explorer(da))
    page.tap("map 0", 8, 6)  # nm
    np.testing.assert_allclose(page.line("spectrum 0"), da.isel(y=3, x=4).values * 1e12, rtol=1e-6, atol=STEP)
    assert page.title("spectrum 0") == "Current at x = 8 nm, y = 6 nm"
    page.tap("spectrum 0", 0.5, 0)
    np.testing.assert_allclose(page.image("map 0"), da.isel(bias=15).values * 1e12, rtol=1e-6, atol=STEP)
    assert page.title("map 0") == "Current (pA) at Bias = 0.5 V"
    page.tap("map 0", 2, 0)  # not measured
    assert np.isnan(page.line("spectrum 0")).all()
    page.drag("map 0", (2, 2), (14, 10))
    np.testing.assert_allclose(page.line("spectrum 0"), da.isel(y=5, x=7).values * 1e12, rtol=1e-6, atol=STEP)
    page.drag("spectrum 0", (0.5, 0), (-0.9, 0))
    np.testing.assert_allclose(page.image("map 0"), da.isel(bias=1).values * 1e12, rtol=1e-6, atol=STEP)


def test_cut_link_would_be_seen(report_page, monkeypatch):
    """The same actions with the line of the callback that moves the pixel taken out leave the spectrum alone."""
    cut = "if (maps.includes(cb_obj.origin)) i = chosen(cb_obj.x, cb_obj.y);"
    assert cut in scripts.EXPLORE
    monkeypatch.setattr(static.scripts, "EXPLORE", scripts.EXPLORE.replace(cut, "if (maps.includes(cb_obj.origin)) ;"))
    da = samples.current()
    page = report_page(report.explorer(da))
    before = page.line("spectrum 0")
    page.tap("map 0", 4, 4)
    np.testing.assert_array_equal(page.line("spectrum 0"), before)
    assert not np.allclose(before, da.isel(y=2, x=2).values * 1e12, rtol=1e-6, atol=STEP)


def test_complex_uneven_and_scattered(report_page):
    """Amplitude and phase; cells of different width, y falling; positions without a grid."""
    da = samples.response()
    uneven = samples.current().isel(x=[0, 1, 3, 4, 8], y=slice(None, None, -1))
    stacked = samples.current().isel(x=slice(2, None)).stack(position=("y", "x")).reset_index("position")
    scattered = stacked.transpose("position", "bias")
    figures = [report.explorer(da), report.explorer(uneven), report.explorer(scattered)]
    for number, figure in enumerate(figures):
        for model in figure.select({}):
            if model.name:
                model.name = f"{number} {model.name}"
    page = report_page(*figures)
    page.tap("0 map 1", 4, 8)
    page.tap("0 spectrum 0", 340, 1)
    chosen = da.isel(y=4, x=2)
    np.testing.assert_allclose(page.line("0 spectrum 0"), np.abs(chosen) * 1e12, rtol=1e-5)
    np.testing.assert_allclose(page.line("0 spectrum 1"), np.angle(chosen), rtol=1e-4, atol=1e-6)
    k = int(np.argmin(np.abs(da.frequency.values - 340e3)))
    np.testing.assert_allclose(page.image("0 map 1"), np.angle(da.isel(frequency=k)), rtol=1e-4, atol=1e-6)
    page.tap("1 map 0", 7.5, 0)
    np.testing.assert_allclose(
        page.line("1 spectrum 0"), uneven.sel(x=8e-9, y=0, method="nearest").values * 1e12, rtol=1e-6, atol=STEP
    )
    page.tap("1 spectrum 0", -1, 0)
    found, truth = page.image("1 map 0"), uneven.isel(bias=0).values * 1e12
    np.testing.assert_allclose(
        np.sort(found[np.isfinite(found)]), np.sort(truth[np.isfinite(truth)]), rtol=1e-6, atol=STEP
    )
    page.tap("2 map 0", 12, 4)
    np.testing.assert_allclose(
        page.line("2 spectrum 0"),
        samples.current().sel(x=12e-9, y=4e-9, method="nearest").values * 1e12,
        rtol=1e-6,
        atol=STEP,
    )
    page.tap("2 spectrum 0", 1, 0)
    np.testing.assert_allclose(page.image("2 map 0"), scattered.isel(bias=-1).values * 1e12, rtol=1e-6, atol=STEP)


def test_cells_of_an_uneven_map_keep_their_place(report_page):
    uneven = samples.current().isel(x=[0, 1, 3, 4, 8])
    page = report_page(report.explorer(uneven))
    page.tap("spectrum 0", -0.4, 0)
    cells = page.evaluate(
        """const r = find('map 0').model.renderers[0], d = r.data_source.data, g = r.glyph;
        const f = (p) => Array.from(d[p.field]);
        const values = f(g.fill_color).map(v => Number.isFinite(v) ? v : null);
        return [f(g.left), f(g.right), f(g.bottom), f(g.top), values]"""
    )
    left, right, bottom, top, values = (np.array(c, dtype=float) for c in cells)
    for j in range(values.size):
        x = int(np.flatnonzero((uneven.x.values * 1e9 > left[j]) & (uneven.x.values * 1e9 < right[j]))[0])
        y = int(np.flatnonzero((uneven.y.values * 1e9 > bottom[j]) & (uneven.y.values * 1e9 < top[j]))[0])
        np.testing.assert_allclose(values[j], uneven.isel(x=x, y=y, bias=6).values * 1e12, rtol=1e-6, atol=STEP)


def test_fit_explorer_shows_the_tapped_pixel(report_page, monkeypatch):
    fit, data = samples.line_fit()
    monkeypatch.setitem(results._registry, ("fit", "evaluate"), lambda result, x=None: samples.line_of(result))
    page = report_page(report.fit_explorer(fit, data))
    page.tap("map 1", 10, 8)
    np.testing.assert_allclose(page.line("spectrum 0", "Scatter"), data.isel(y=4, x=5) * 1e12, rtol=1e-5)
    np.testing.assert_allclose(page.line("spectrum 0"), samples.line_of(fit).isel(y=4, x=5) * 1e12, rtol=1e-5)
    words = page.evaluate("return find('readout').model.text")
    assert f"{float(fit.slope[4, 5]) * 1e12:.4g} ±" in words and "pA/V" in words and "not converged" not in words
    page.tap("map 0", 6, 4)  # the pixel that failed
    assert "not converged" in page.evaluate("return find('readout').model.text")
    assert np.isnan(page.line("spectrum 0")).all()


def test_slider_shows_the_plane(report_page):
    da = samples.current().rename(bias="frame").drop_vars("frame")
    page = report_page(static.slider(da, "frame"))
    page.evaluate("find('slider').model.value = 4")
    page.page.wait_for_timeout(100)
    np.testing.assert_allclose(page.image("map 0"), da.isel(frame=4).values * 1e12, rtol=1e-6, atol=STEP)
    assert page.title("map 0") == "Current (pA) at Frame = 4"
    page.page.get_by_text("Play").click()
    page.page.wait_for_function("() => Bokeh.documents[0].get_model_by_name('slider').value >= 6")
    page.page.get_by_text("Stop").click()
    shown = page.evaluate("return find('slider').model.value")
    page.page.wait_for_timeout(500)
    assert page.evaluate("return find('slider').model.value") == shown
    np.testing.assert_allclose(page.image("map 0"), da.isel(frame=shown).values * 1e12, rtol=1e-6, atol=STEP)


def test_large_cube_is_averaged_and_says_so():
    da = xr.DataArray(np.ones((40, 50, 600), np.float32), dims=("y", "x", "energy"), name="counts")
    figure = static.explorer(da, budget=100_000)
    (cube,) = next(iter(figure.select({"type": _callback()}))).args["cubes"]
    assert cube[0].size <= 3 * 100_000
    assert any("averaged" in d.text for d in figure.select({"type": _div()}))


def _callback():
    from bokeh.models import CustomJS

    return CustomJS


def _div():
    from bokeh.models.widgets import Div

    return Div
