"""The explorer of clusters: labels, means and the tapped pixel's spectrum equal NumPy's, live and in a file."""

from __future__ import annotations

import holoviews as hv
import numpy as np
import pytest
import xarray as xr
from bokeh.models import ColorBar

from tests.viz import samples
from tests.viz.test_explore import until
from xpycro.errors import DimensionError
from xpycro.viz import plot, scripts, static_clusters, style

LIT = """const m = find(argument).model.renderers[0].glyph.color_mapper;
return m.palette.map((c, i) => [i, c]).filter(([i, c]) => %s.includes(c)).map(([i, c]) => i)"""
WIDE = """const lines = find(argument).model.renderers.filter(r => r.glyph?.type === 'Line');
return lines.map(r => (r.glyph.line_width.value ?? r.glyph.line_width) >= 3 ? 1 : 0)"""


def lit(page, name: str) -> np.ndarray:
    """Which clusters of a map are drawn in full colour."""
    return np.array(page.evaluate(LIT % str(list(style.CATEGORIES)), name), dtype=float)


def wide(page, name: str) -> np.ndarray:
    """Which curves stand in front."""
    return np.array(page.evaluate(WIDE, name), dtype=float)


@pytest.mark.browser
def test_live_and_in_a_file(served, report_page):
    result, data = samples.clustering()
    means = result.mean_response.values * 1e12
    page = served(lambda: plot.auto(result, data))
    page.tap("Clusters", 10, 8)  # the sixth column: in cluster 1
    until(lambda: page.lines("Current at x = 10 nm, y = 8 nm")[3], data[4, 5].values * 1e12)
    until(lambda: lit(page, "Cluster 1\n18 of 54 pixels"), np.array([1.0]))
    np.testing.assert_allclose(page.lines("Current at")[:3], means, rtol=1e-6)
    until(lambda: wide(page, "Current at"), np.array([0.0, 1, 0, 0]))
    page.tap("Current at", 1, means[2, -1])
    until(lambda: lit(page, "Cluster 2\n18 of 54 pixels"), np.array([2.0]))
    until(lambda: wide(page, "Current\nmean of cluster 2"), np.array([0.0, 0, 1, 0]))

    page = report_page(plot.clusters(result, data))
    page.tap("map 0", 10, 8)
    np.testing.assert_allclose(page.lines("spectrum 0")[3], data[4, 5].values * 1e12, atol=5e-6)
    assert page.title("spectrum 0").startswith("Current at x = 10 nm, y = 8 nm (black)\nover cluster 1 ±")
    assert lit(page, "map 0").tolist() == [1] and wide(page, "spectrum 0").tolist() == [0, 1, 0, 0]
    page.tap("spectrum 0", 1, means[2, -1])
    assert lit(page, "map 0").tolist() == [2] and wide(page, "spectrum 0").tolist() == [0, 0, 1, 0]
    assert np.isnan(page.lines("spectrum 0")[3]).all() and page.title("map 0") == "Cluster 2\n18 of 54 pixels"


@pytest.mark.browser
def test_cut_links_of_the_file_would_be_seen(report_page, monkeypatch):
    cut = "else if (cb_obj.origin === map) { i = chosen(cb_obj.x, cb_obj.y); c = labels[i] }"
    assert cut in scripts.CLUSTERS
    monkeypatch.setattr(
        static_clusters.scripts, "CLUSTERS", scripts.CLUSTERS.replace(cut, "else if (cb_obj.origin === map) ;")
    )
    page = report_page(plot.clusters(*samples.clustering()))
    page.tap("map 0", 10, 8)
    assert lit(page, "map 0").tolist() == [0, 1, 2] and np.isnan(page.lines("spectrum 0")[3]).all()


def test_without_data_clusters_are_linked_and_other_data_refused():
    result, data = samples.clustering()
    drawn = plot.clusters(result)
    drawn._pycro_state.event(pixel=14, cluster=1)
    chart, line = (panel[()] for panel in drawn)
    assert chart.Image.I.opts.get("style").kwargs["cmap"][1] == style.CATEGORIES[1]
    assert np.isnan(list(line)[-1].dimension_values(1)).all()
    with pytest.raises(DimensionError, match=r"differ in \['bias'\]"):
        plot.clusters(result, data.isel(bias=slice(3)))


def test_another_channel_gets_means_of_its_own():
    result, data = samples.clustering()
    other = (2 * data).rename("other").assign_attrs(units="V", long_name="Voltage")
    line = list(plot.clusters(result, other))[1][()]
    first = next(e for e in line if type(e).__name__ == "Curve")
    truth = np.nanmean(other.values[:, :3].reshape(-1, other.sizes["bias"]), axis=0)
    np.testing.assert_allclose(first.dimension_values(1), truth * 1e12, rtol=1e-9)
    assert str(first.vdims[0]) == "value" and first.vdims[0].unit == "pV"


def test_colours_are_named_by_their_values():
    """Of labels that say what -1 is, cluster 0 was called left out."""
    flags = {"flag_values": [-1, 0, 1], "flag_meanings": "left_out cluster_0 cluster_1"}
    labels = samples.clustering()[0].labels.assign_attrs(flags)
    assert style.colours(labels, labels.values).ticks == {0: "cluster 0", 1: "cluster 1", 2: "2"}


def test_a_line_has_no_second_axis_and_scattered_labels_whole_ticks():
    result, _ = samples.clustering()
    line = result.isel(y=2, drop=True)
    drawn = [hv.render(next(iter(plot.clusters(one)))[()]) for one in (line, scattered(line))]
    assert [axis.visible for figure in drawn for axis in figure.yaxis] == [False, True]
    (bar,) = drawn[1].select({"type": ColorBar})
    assert bar.ticker.ticks == [0, 1, 2]


def scattered(line: xr.Dataset) -> xr.Dataset:
    """Pixels of a line, at places of a plane."""
    places = {name: ("position", line.x.values * factor, {"units": "m"}) for name, factor in (("x", 1), ("y", -2))}
    return line.rename(x="position").drop_vars("position").assign_coords(places)
