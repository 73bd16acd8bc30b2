"""What a moved cursor puts on the page is what HoloViews draws from scratch of the same cursors."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import holoviews as hv
import numpy as np
import pytest
import xarray as xr
from bokeh.events import RangesUpdate
from bokeh.plotting import figure

from tests.viz import gallery, samples
from xpycro.engine import results
from xpycro.viz import linking, plot


def models(drawn: Any) -> list[Any]:
    """The figures of a layout."""
    found = hv.renderer("bokeh").get_plot(drawn).state.select({"type": figure})
    return sorted({f.id: f for f in found}.values(), key=lambda f: int(f.id[1:]))


def shown(page: Any) -> dict[str, Any]:
    """Title, ranges, and of every layer the columns, places and colours."""
    found: dict[str, Any] = {"title": page.title.text}
    for name in ("x_range", "y_range"):
        found[name] = [getattr(page, name).start, getattr(page, name).end]
    for number, layer in enumerate(page.renderers):
        for name in ("location", "left", "right"):
            if isinstance(getattr(layer, name, None), int | float):
                found[f"{number} {name}"] = getattr(layer, name)
        if not hasattr(layer, "glyph"):
            continue
        found |= {f"{number} {key}": value for key, value in layer.data_source.data.items()}
        colour = getattr(layer.glyph, "fill_color", None)
        mapper = getattr(layer.glyph, "color_mapper", None) or getattr(colour, "transform", None)
        if mapper is not None:
            found |= {f"{number} limits": [mapper.low, mapper.high], f"{number} palette": "".join(mapper.palette)}
    return found


def same(found: Any, truth: Any, where: str) -> None:
    if isinstance(truth, str):
        assert found == truth, where
        return
    flat = [
        np.concatenate([np.ravel(v) for v in x]) if isinstance(x, list | tuple) and x and np.ndim(x[0]) else np.ravel(x)
        for x in (found, truth)
    ]
    if flat[1].dtype.kind not in "fiu":
        assert list(flat[0]) == list(flat[1]), where
        return
    np.testing.assert_allclose(*flat, rtol=1e-6, atol=1e-12, err_msg=where)


SCATTERED = gallery.point_spectra()
BOX, TRIANGLE = np.array([(3, 1), (9, 1), (9, 7), (3, 7)]), np.array([(11, 1), (17, 1), (11, 6.9)])


def uneven() -> xr.DataArray:
    return samples.current().isel(x=[0, 1, 3, 4, 8])


def whole(da: xr.DataArray) -> xr.DataArray:
    """Without the pixels that were not measured: where no number is finite HoloViews leaves the range as it is."""
    return da.fillna(1e-12)


MOVES: dict[str, tuple[Callable[[], Any], list[dict[str, Any]]]] = {
    "explore": (
        lambda: plot.explore(whole(samples.current())),
        [{"pixel": 14}, {"low": 3, "high": 3}, {"low": 2, "high": 6}],
    ),
    "regions": (lambda: plot.explore(whole(samples.current())), [{"regions": (BOX,)}, {"regions": (BOX, TRIANGLE)}]),
    "uneven": (lambda: plot.explore(whole(uneven())), [{"pixel": 9}, {"low": 15, "high": 15}]),
    "complex": (lambda: plot.explore(samples.response()), [{"pixel": 14}, {"low": 30, "high": 30}]),
    "positions": (lambda: plot.positions(SCATTERED, gallery.topography()), [{"pixel": 3}, {"low": 90, "high": 90}]),
    "fit": (lambda: plot.fit(*samples.line_fit()), [{"pixel": 14}, {"sample": 7}]),
    "profiles": (
        lambda: plot.fit(*(part.isel(y=4) for part in samples.line_fit())),
        [{"pixel": 6}, {"sample": 7}],
    ),
    "ranks": (lambda: plot.decomposition(*samples.decomposition()), [{"number": 1}, {"pixel": 14}, {"sample": 7}]),
    "clusters": (
        lambda: plot.clusters(*samples.clustering()),
        [{"pixel": 14, "cluster": 1}, {"pixel": -1, "cluster": 2}],
    ),
    "diffraction": (
        lambda: plot.diffraction(samples.patterns(), log=False),
        [{"pixel": 3}, {"x": 0.3, "y": -0.2}, {"outer": 0.5}],
    ),
    "lines": (lambda: plot.lines(whole(samples.current().isel(y=2))), [{"row": 2, "sample": 3}]),
    "levels": (lambda: plot.hist(gallery.topography(), levels=True), [{"low": -1.0, "high": 2.0}]),
}  # fmt: skip


@pytest.mark.parametrize("name", MOVES)
def test_moves_show_what_holoviews_draws(name, monkeypatch):
    monkeypatch.setitem(results._registry, ("fit", "evaluate"), lambda result, x=None: samples.line_of(result))
    make, moves = MOVES[name]
    moved, fresh = make(), make()
    pages = models(moved)
    before = [shown(page) for page in pages]
    for move in moves:
        moved._pycro_state.event(**move)
        fresh._pycro_state.event(**move)
    truths = [shown(page) for page in models(fresh)]
    assert any(str(a) != str(b) for a, b in zip(before, truths, strict=True))
    for page, truth in zip(pages, truths, strict=True):
        found = shown(page)
        assert found.keys() == truth.keys()
        for key in truth:
            same(found[key], truth[key], f"{truth['title']}: {key}")


def test_what_a_user_makes_of_a_panel_follows_too():
    """HoloViews redraws what we did not draw."""
    da = whole(samples.current())
    layout = plot.explore(da)
    doubled = next(iter(layout)).apply(lambda overlay: hv.Image(2 * overlay.Image.I.dimension_values(2, flat=False)))
    page = hv.renderer("bokeh").get_plot(doubled)
    layout._pycro_state.event(low=3, high=3)
    np.testing.assert_allclose(page.handles["source"].data["image"][0][::-1], 2e12 * da.isel(bias=3).values)


def test_a_drawing_that_fails_says_so_on_its_page():
    da = samples.current()
    layout = plot.explore(da)
    pages = models(layout)
    with pytest.warns(UserWarning, match="could not be drawn"):
        layout._pycro_state.event(pixel=10**6)
    assert any(page.title.text.startswith("Could not be drawn: ") for page in pages)


def test_what_takes_long_is_said_before_it_is_begun():
    later: list[Any] = []
    page = SimpleNamespace(session_context=True, add_timeout_callback=lambda work, after: later.append(work))
    done: list[bool] = []
    asked = linking.Later("Reading 2.0 GiB …", lambda: done.append(True))
    pointer = linking._Pointer(figure(title="Current"), {"DoubleTap": lambda x, y: asked})
    for document, begun in ((page, []), (None, [True])):  # of a server, of a notebook
        pointer.figure = SimpleNamespace(document=document, title=pointer.figure.title)
        pointer._double_tap(SimpleNamespace(x=0, y=0))
        assert done == begun
    assert pointer.figure.title.text == asked.words
    later[0]()
    assert done == [True, True]


def test_a_wheel_is_waited_for_where_something_can_be_called_later(monkeypatch):
    """In a notebook the kernel's loop, which ends with it; where no loop runs every step is read."""
    monkeypatch.setattr(linking, "REST", 0.02)
    page, seen = figure(), []
    linking._Pointer(page, {"Range": lambda *window: seen.append(window)})

    def turn(*steps: float) -> None:
        for step in steps:
            page._trigger_event(RangesUpdate(page, x0=0, x1=step, y0=0, y1=step))

    async def cell() -> None:
        turn(5, 4, 3)
        assert seen == []
        await asyncio.sleep(0.2)
        assert seen == [(0, 3, 0, 3)]
        turn(2)
        await asyncio.sleep(0.2)

    def check() -> None:
        asyncio.run(cell())
        assert seen == [(0, 3, 0, 3), (0, 2, 0, 2)]
        turn(7, 8)
        assert seen[2:] == [(0, 7, 0, 7), (0, 8, 0, 8)]

    with ThreadPoolExecutor(1) as thread:  # where no loop of the browser's runs
        thread.submit(check).result()


def test_the_range_of_a_chart_holds_its_error_bars():
    bars = hv.ErrorBars([(0.0, 1.0, 0.5), (1.0, 2.0, 0.25), (2.0, np.nan, np.nan)])
    assert linking._extent([hv.Curve([(0.0, 1.0), (3.0, 2.0)]), bars], 1) == (0.5, 2.25)
    assert linking._extent([hv.Curve([(0.0, 1.0), (3.0, 2.0)]), bars], 0) == (0.0, 3.0)
