"""Every link of every live explorer carries the right numbers; and each check fails when its link is cut."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from unittest import mock

import holoviews as hv
import numpy as np
import pytest

from tests.viz import samples
from tests.viz.test_diffraction import summed
from tests.viz.test_switching import chain, expected
from xpycro.engine import results
from xpycro.viz import (
    clusters,
    diffraction,
    explore,
    fits,
    levels,
    lines,
    planes,
    plot,
    ranks,
    style,
    switching,
    zooming,
)
from xpycro.viz.linking import Later


def point(drawn: Any, panel: int, stream: str, *at: Any) -> None:
    """What the browser sends when the pointer acts on a panel; what takes long is done once that was said."""
    asked = list(drawn)[panel]._pycro_moves[stream](*at)
    if isinstance(asked, Later):
        asked.work()


def picture(drawn: Any, panel: int) -> np.ndarray:
    """The values of a map; of one that is read anew where one zooms in, what lies over the preview."""
    return [e for e in list(drawn)[panel][()] if isinstance(e, hv.Image)][-1].dimension_values(2, flat=False)


def curve(drawn: Any, panel: int, kind: str = "Curve", number: str = "I") -> np.ndarray:
    return getattr(getattr(list(drawn)[panel][()], kind), number).dimension_values("value")


def region(drawn: Any, number: int) -> np.ndarray:
    """The mean spectrum of a region."""
    return list(drawn)[1][()].Contours.I.split()[number].dimension_values("value")


def same(found: np.ndarray, truth: Any) -> None:
    np.testing.assert_allclose(found, np.asarray(truth), rtol=1e-6)


CURRENT = samples.current()


def tapped_map() -> None:
    drawn = plot.explore(CURRENT)
    point(drawn, 0, "Tap", 10, 2)
    same(curve(drawn, 1), CURRENT[1, 5] * 1e12)


def dragged_map() -> None:
    drawn = plot.explore(CURRENT)
    point(drawn, 0, "Drag", 14, 2, 8, 6, False)
    same(curve(drawn, 1), CURRENT[1, 7] * 1e12)


def hovered_map() -> None:
    drawn = plot.explore(CURRENT, event="hover")
    point(drawn, 0, "PointerXY", 10.4, 1.7)
    same(curve(drawn, 1), CURRENT[1, 5] * 1e12)


def boxed_map() -> None:
    drawn = plot.explore(CURRENT)
    point(drawn, 0, "BoundsXY", (3, 1, 9, 7))
    same(region(drawn, 0), CURRENT[1:4, 2:5].mean(("y", "x")) * 1e12)
    assert plot.selection(drawn).values.sum() == 9


def lassoed_map() -> None:
    drawn = plot.explore(CURRENT)
    point(drawn, 0, "Lasso", np.array([(3, 1), (9, 1), (3, 6.9)]))
    inside = np.argwhere(plot.selection(drawn).values)  # middles lie at even nanometres
    assert sorted(map(tuple, inside)) == [(1, 2), (1, 3), (2, 2)]
    same(region(drawn, 0), np.mean([CURRENT[tuple(i)] for i in inside], axis=0) * 1e12)


def tapped_spectrum() -> None:
    drawn = plot.explore(CURRENT)
    point(drawn, 1, "Tap", 0.5, 0)
    same(picture(drawn, 0), CURRENT.isel(bias=15) * 1e12)


def dragged_cursor() -> None:
    drawn = plot.explore(CURRENT)
    point(drawn, 1, "Drag", -0.3, 0, 0.5, 0, False)
    same(picture(drawn, 0), CURRENT.isel(bias=7) * 1e12)


def dragged_band() -> None:
    drawn = plot.explore(CURRENT)
    point(drawn, 1, "BoundsX", (-0.72, -0.38))
    same(picture(drawn, 0), CURRENT.isel(bias=slice(3, 7)).mean("bias") * 1e12)


def tapped_parameter() -> None:
    fit, data = samples.line_fit()
    drawn = plot.fit(fit, data)
    point(drawn, 1, "Tap", 10, 8)  # the map of the offset
    same(curve(drawn, 3, "Scatter", "Data"), data[4, 5] * 1e12)
    same(curve(drawn, 3, "Curve", "Fit"), samples.line_of(fit)[4, 5] * 1e12)


def tapped_scree() -> None:
    result, data = samples.decomposition()
    drawn = plot.decomposition(result, data)
    point(drawn, 0, "Tap", 2.2, 1)
    same(picture(drawn, 1), result.maps[1] * 1e12)
    same(curve(drawn, 2), result.components[1])


def tapped_score() -> None:
    result, data = samples.decomposition()
    drawn = plot.decomposition(result, data)
    point(drawn, 1, "Tap", 10, 2)
    same(curve(drawn, 3), data[1, 5] * 1e12)
    same(curve(drawn, 3, number="II"), result.maps[0, 1, 5] * result.components[0] * 1e12)


def tapped_component() -> None:
    """The map shows what the components up to the tapped one make of that bias, until the scree is tapped."""
    result, data = samples.decomposition()
    drawn = plot.decomposition(result, data)
    point(drawn, 0, "Tap", 2.2, 1)
    point(drawn, 2, "Tap", 0.5, 0)
    same(picture(drawn, 1), sum(result.maps[i] * result.components[i, 15] for i in (0, 1)) * 1e12)
    point(drawn, 0, "Tap", 2.2, 1)
    same(picture(drawn, 1), result.maps[1] * 1e12)


def dragged_reconstruction() -> None:
    result, data = samples.decomposition()
    drawn = plot.decomposition(result, data)
    point(drawn, 0, "Tap", 8, 1)
    point(drawn, 3, "Drag", -0.3, 0, 0.5, 0, False)
    same(picture(drawn, 1), sum(result.maps[i] * result.components[i, 7] for i in range(8)) * 1e12)


def tapped_profile() -> None:
    """Of a line of pixels: the curve of a parameter."""
    fit, data = samples.line_fit()
    drawn = plot.fit(fit.isel(y=4), data.isel(y=4))
    point(drawn, 1, "Tap", 10.3, 99)
    same(curve(drawn, 3, "Scatter", "Data"), data[4, 5] * 1e12)


def tapped_data() -> None:
    """The last map shows the data at the tapped bias, until a double tap."""
    fit, data = samples.line_fit()
    drawn = plot.fit(fit, data)
    point(drawn, 3, "Tap", 0.5, 0)
    same(picture(drawn, 2), data.isel(bias=15) * 1e12)


def dragged_data() -> None:
    fit, data = samples.line_fit()
    drawn = plot.fit(fit, data)
    point(drawn, 3, "Drag", -0.3, 0, 0.5, 0, False)
    same(picture(drawn, 2), data.isel(bias=7) * 1e12)


def twice_tapped_data() -> None:
    fit, data = samples.line_fit()
    drawn = plot.fit(fit, data)
    drawn._pycro_state.event(sample=7)
    point(drawn, 3, "DoubleTap", 0, 0)
    same(picture(drawn, 2), fit.r2)


def twice_tapped_spectrum() -> None:
    """A map or a region that is dear to read is a sample of the pixels until the user wants the whole."""
    da = CURRENT.fillna(0).chunk({"y": 2, "x": 3, "bias": 7})
    with mock.patch.object(planes, "COSTLY", 1500), pytest.warns(UserWarning, match="each plane reads"):
        drawn = plot.explore(da)
        drawn._pycro_state.event(low=15, high=15)
        point(drawn, 0, "BoundsXY", (-1, -1, 19, 15))
        same(picture(drawn, 0), da[::4, ::6, 15] * 1e12)
        assert not np.allclose(region(drawn, 0), da.mean(("y", "x")) * 1e12, rtol=1e-6)
        title = hv.Store.lookup_options("bokeh", list(drawn)[1][()], "plot").kwargs["title"]
        assert title.splitlines()[1] == "means of one of 6 × 9 pixels; double tap here to read all, 0 MiB"
        asked = list(drawn)[1]._pycro_moves["DoubleTap"](0, 0)
        assert isinstance(asked, Later) and asked.words == "Reading 0 MiB …"
        point(drawn, 1, "DoubleTap", 0, 0)
        same(picture(drawn, 0), da[:, :, 15] * 1e12)
        same(region(drawn, 0), da.mean(("y", "x")) * 1e12)


def tapped_position() -> None:
    da = samples.patterns()
    drawn = plot.diffraction(da, log=False)
    point(drawn, 0, "Tap", 10, 2)
    same(picture(drawn, 1), da[1, 5])


def dragged_detector() -> None:
    da = samples.patterns()
    drawn = plot.diffraction(da, log=False)
    point(drawn, 1, "Drag", 0.3, -0.2, 0.0, 0.0, True)
    same(picture(drawn, 0), summed(da, 0.3, -0.2, 0.0, 0.2 * (2 + 2 / 15)))


def tapped_line() -> None:
    drawn = plot.lines(CURRENT.isel(y=2))
    point(drawn, 0, "Tap", 0.3, 6)
    same(curve(drawn, 1), CURRENT[2, 3] * 1e12)


def zoomed_image() -> None:
    with mock.patch.object(planes, "MAX_PIXELS", 20):
        drawn = plot.image(CURRENT.isel(bias=20, drop=True))
        drawn._pycro_moves["Range"](9.5, 12.5, 3.5, 6.5)
        same(list(drawn[()])[-1].dimension_values(2, flat=False), CURRENT[1:5, 4:8, 20] * 1e12)


def zoomed_map() -> None:
    with mock.patch.object(planes, "MAX_PIXELS", 20):
        drawn = plot.explore(CURRENT)
        drawn._pycro_state.event(low=20, high=20)
        same(picture(drawn, 0), CURRENT[::2, ::2, 20] * 1e12)
        point(drawn, 0, "Range", 9.5, 12.5, 3.5, 6.5)
        same(picture(drawn, 0), CURRENT[1:5, 4:8, 20] * 1e12)


def dragged_levels() -> None:
    drawn = plot.hist(CURRENT.isel(bias=20, drop=True), levels=True)
    point(drawn, 1, "BoundsX", (-3.0, 12.0))
    assert next(iter(drawn))[()].opts.get("plot").kwargs["clim"] == (-3.0, 12.0)


def tapped_loops() -> None:
    ds, sho, loops, fit = chain()
    drawn = plot.switching(fit, loops, sho, ds.response)
    point(drawn, 0, "Tap", float(ds.x[1]) * 1e6, float(ds.y[2]) * 1e6)
    same(curve(drawn, 1, "Scatter"), expected(2, 1, 0)[0] * 1e6)


def tapped_step() -> None:
    ds, sho, loops, fit = chain()
    drawn = plot.switching(fit, loops, sho, ds.response)
    point(drawn, 0, "Tap", float(ds.x[1]) * 1e6, float(ds.y[2]) * 1e6)
    loop = expected(2, 1, 0)[0]
    point(drawn, 1, "Tap", float(ds.bias[5]), loop[5] * 1e6)
    same(curve(drawn, 2, "Scatter"), np.abs(expected(2, 1, 5)[1]) * 1e3)


def tapped_label() -> None:
    result, data = samples.clustering()
    drawn = plot.clusters(result, data)
    point(drawn, 0, "Tap", 10, 2)
    same(list(list(drawn)[1][()])[-1].dimension_values("value"), data[1, 5] * 1e12)


def tapped_mean() -> None:
    """The pixels of the tapped cluster stand out: the colours of the others are faded."""
    result, data = samples.clustering()
    drawn = plot.clusters(result, data)
    point(drawn, 1, "Tap", 1.0, float(result.mean_response[2, -1]) * 1e12)
    colours = next(iter(drawn))[()].Image.I.opts.get("style").kwargs["cmap"]
    assert [c in style.CATEGORIES for c in colours] == [False, False, True]


@dataclass(frozen=True)
class Link:
    """A check, and where what it checks is wired: module, which linked panel, which stream."""

    check: Callable[[], None]
    module: Any
    panel: int
    stream: str


LINKS = [
    Link(tapped_map, explore, 0, "Tap"),
    Link(dragged_map, explore, 0, "Drag"),
    Link(hovered_map, explore, 0, "PointerXY"),
    Link(boxed_map, explore, 0, "BoundsXY"),
    Link(lassoed_map, explore, 0, "Lasso"),
    Link(tapped_spectrum, explore, 1, "Tap"),
    Link(dragged_cursor, explore, 1, "Drag"),
    Link(dragged_band, explore, 1, "BoundsX"),
    Link(tapped_parameter, fits, 1, "Tap"),
    Link(tapped_profile, fits, 1, "Tap"),
    Link(tapped_scree, ranks, 0, "Tap"),
    Link(tapped_score, ranks, 1, "Tap"),
    Link(tapped_component, ranks, 2, "Tap"),
    Link(dragged_reconstruction, ranks, 3, "Drag"),
    Link(tapped_data, fits, 3, "Tap"),
    Link(dragged_data, fits, 3, "Drag"),
    Link(twice_tapped_data, fits, 3, "DoubleTap"),
    Link(twice_tapped_spectrum, explore, 1, "DoubleTap"),
    Link(tapped_position, diffraction, 0, "Tap"),
    Link(dragged_detector, diffraction, 1, "Drag"),
    Link(tapped_line, lines, 0, "Tap"),
    Link(tapped_label, clusters, 0, "Tap"),
    Link(tapped_mean, clusters, 1, "Tap"),
    Link(zoomed_image, zooming, 0, "Range"),
    Link(zoomed_map, explore, 0, "Range"),
    Link(dragged_levels, levels, 1, "BoundsX"),
    Link(tapped_loops, switching, 0, "Tap"),
    Link(tapped_step, switching, 1, "Tap"),
]


@pytest.mark.parametrize("link", LINKS, ids=lambda link: link.check.__name__)
def test_a_link_carries_its_numbers_and_its_check_fails_when_it_is_cut(link, monkeypatch):
    if link.module is fits:
        monkeypatch.setitem(results._registry, ("fit", "evaluate"), lambda result, x=None: samples.line_of(result))
    link.check()
    wired, count = link.module.linked, iter(range(99))

    def cut(draw: Any, kdims: Any, state: Any, moves: Any) -> Any:
        if next(count) == link.panel:
            moves = {**moves, link.stream: lambda *_: None}
        return wired(draw, kdims, state, moves)

    monkeypatch.setattr(link.module, "linked", cut)
    with pytest.raises(AssertionError):
        link.check()
