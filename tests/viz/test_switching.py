"""The switching explorer, live and in a file: what is drawn at each level equals the arrays at the tapped place."""

from __future__ import annotations

import functools

import numpy as np
import pytest

import xpycro as xp
from tests.viz.test_explore import until
from xpycro.errors import DimensionError
from xpycro.viz import plot, scripts


@functools.cache
def chain():
    ds = xp.simulate.band_excitation((5, 6), 24, mode="dc", n_steps=16, field="both", quality_factor=60, seed=2)
    sho = xp.fit(ds.response, "sho", dim="frequency")
    loops = xp.loops.project(sho, field="out")
    return ds, sho, loops, xp.loops.fit(loops)


def expected(y, x, step):
    """Loop in microvolt, amplitude in millivolt and phase with their fits, written out from the formula."""
    ds, sho, loops, _ = chain()
    at = {"y": y, "x": x, "step": step, "field": 1}
    f = ds.frequency.values
    a, w0, q, phase = (float(sho[n].isel(at)) for n in ("amplitude", "resonance_frequency", "quality_factor", "phase"))
    model = a * np.exp(1j * phase) * w0**2 / (f**2 - 1j * f * w0 / q - w0**2)
    return loops.response.isel(y=y, x=x).values, ds.response.isel(at).values, model


def dots(page, name):
    return page.line(name, glyph="Scatter")


@pytest.mark.browser
def test_three_levels_in_a_file(report_page):
    ds, sho, loops, fit = chain()
    page = report_page(plot.switching(fit, loops, sho, ds.response))
    page.tap("map 0", float(ds.x[4]) * 1e6, float(ds.y[3]) * 1e6)
    loop, _, _ = expected(3, 4, 0)
    np.testing.assert_allclose(dots(page, "loop"), loop * 1e6, rtol=1e-5)
    curve = xp.evaluate(fit).isel(y=3, x=4).values * 1e6
    np.testing.assert_allclose(page.line("loop"), [*curve, curve[0]], rtol=1e-5)
    page.tap("loop", float(ds.bias[6]), loop[6] * 1e6)
    _, raw, model = expected(3, 4, 6)
    np.testing.assert_allclose(dots(page, "spectrum 0"), np.abs(raw) * 1e3, rtol=1e-5)
    np.testing.assert_allclose(page.line("spectrum 0"), np.abs(model) * 1e3, rtol=1e-6)
    np.testing.assert_allclose(dots(page, "spectrum 1"), np.angle(raw), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(page.line("spectrum 1"), np.angle(model), rtol=1e-6, atol=1e-9)
    assert "Bias = 5 V" in page.title("spectrum 0")
    page.page.select_option("select", label="Height (µV)")
    page.page.wait_for_timeout(200)
    np.testing.assert_allclose(page.image("map 0"), fit.height.values * 1e6, rtol=1e-5)
    assert "height" in page.title("map 0").lower()


@pytest.mark.browser
def test_a_cut_link_would_be_seen(report_page, monkeypatch):
    cut = "if (cb_obj.origin === loop) {"
    assert cut in scripts.SWITCH
    monkeypatch.setattr(scripts, "SWITCH", scripts.SWITCH.replace(cut, "if (false) {"))
    ds, sho, loops, fit = chain()
    page = report_page(plot.switching(fit, loops, sho, ds.response))
    before = dots(page, "spectrum 0")
    page.tap("loop", float(ds.bias[6]), float(dots(page, "loop")[6]))
    np.testing.assert_allclose(dots(page, "spectrum 0"), before, rtol=1e-6)  # the page draws in single precision


@pytest.mark.browser
def test_three_levels_live(served):
    ds, sho, loops, fit = chain()
    page = served(lambda: plot.switching(fit, loops, sho, ds.response))
    page.tap("Switching bias positive", float(ds.x[1]) * 1e6, float(ds.y[2]) * 1e6)
    loop, _, _ = expected(2, 1, 0)
    until(lambda: dots(page, "Projected response at"), loop * 1e6)
    page.tap("Projected response at", float(ds.bias[5]), loop[5] * 1e6)
    _, raw, model = expected(2, 1, 5)
    until(lambda: dots(page, "Piezoresponse amplitude"), np.abs(raw) * 1e3)
    until(lambda: page.line("Piezoresponse phase"), np.angle(model))


def test_levels_follow_the_state():
    ds, sho, loops, fit = chain()
    lazy = plot.switching(fit.chunk(), loops.chunk(), sho.chunk(), ds.response.chunk(y=1))
    lazy._pycro_state.event(pixel=8, step=3)
    picture, loop, amplitude, _ = list(lazy)
    measured, raw, model = expected(1, 2, 3)
    drawn = loop[()]
    np.testing.assert_allclose(drawn.Scatter.I.dimension_values("value"), measured * 1e6, rtol=1e-6)
    np.testing.assert_allclose(amplitude[()].Scatter.I.dimension_values("value"), np.abs(raw) * 1e3, rtol=1e-6)
    np.testing.assert_allclose(amplitude[()].Curve.I.dimension_values("value"), np.abs(model) * 1e3, rtol=1e-9)
    values = picture[("height",)].Image.I.dimension_values(2, flat=False)
    np.testing.assert_allclose(values, fit.height.values * 1e6, rtol=1e-6)


def test_what_does_not_belong_together_is_named():
    ds, sho, loops, fit = chain()
    with pytest.raises(ValueError, match="loop_fit"):
        plot.switching(loops, loops, sho, ds.response)
    with pytest.raises(ValueError, match="phase"):
        plot.switching(fit, loops, sho.drop_vars("phase"), ds.response)
    with pytest.raises(DimensionError, match="frequency"):
        plot.switching(fit, loops, sho, ds.response.isel(frequency=0))
    assert plot.chosen(plot.auto(fit)).startswith("maps")
    assert plot.chosen(plot.auto(xp.loops.derived(fit))).startswith("maps")
