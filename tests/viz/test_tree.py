"""What a file holds, served: a tab for each node with the right view of it, results with their data."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import xpycro as xp
from tests.viz import samples
from tests.viz.test_explore import until
from xpycro.cli.view import serve
from xpycro.schema import coordinate
from xpycro.viz import plot
from xpycro.viz import tree as viz


@pytest.fixture
def viewed(page):
    """``viewed(file)``: what ``xpycro view`` serves of it, opened."""
    import socket

    servers = []

    def show(path, **options):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        servers.append(serve(str(path), port=port, **options))
        page.page.wait_for_timeout(300)
        page.open(f"http://127.0.0.1:{port}")
        return page

    yield show
    for server in servers:
        server.stop()


def shown(page, name):
    """Whether a figure is on the page."""
    page.page.wait_for_function(
        "(name) => [...Bokeh.documents[0]._all_models.values()].some(m => m.title?.text?.startsWith(name))", arg=name
    )
    page.page.wait_for_function("() => Bokeh.documents.every(d => d.is_idle)")
    page.page.wait_for_timeout(300)


SAID = """
() => { const texts = () => [...Bokeh.documents[0]._all_models.values()].map(m => m.text ?? '').join();
  const watch = () => { window.said ||= texts().includes('Drawing'); if (!window.said) requestAnimationFrame(watch) };
  window.said = false; watch() }"""


@pytest.mark.browser
def test_a_file_with_results(viewed, tmp_path):
    path = tmp_path / "grid.h5"
    data = samples.current().fillna(0.0)
    stored = xp.save(data.to_dataset(), path)
    fit = xp.save(xp.fit(stored.current, "linear", dim="bias"), path)
    svd = xp.save(xp.decompose.svd(stored.current, dim="bias", n_components=4), path)
    page = viewed(path)
    page.tap("Current (pA)", 10, 8)
    until(lambda: page.line("Current at "), data[4, 5].values * 1e12)
    page.page.evaluate(SAID)
    page.page.get_by_text("fit_linear", exact=True).click()
    shown(page, "slope (")
    assert page.page.evaluate("window.said"), "a tab that was being drawn was white"
    page.tap("slope (", 14, 2)
    line = fit.slope[1, 7] * data.bias + fit.intercept[1, 7]
    until(lambda: page.line("Current at "), line.values * 1e12)
    slope, error = (float(fit[name][1, 7]) * 1e12 for name in ("slope", "slope_stderr"))
    assert f"slope {slope:.1f} ± {error:.1f} pA/V" in page.title("Current at ")  # to the error's second digit
    until(lambda: page.line("Current at ", "Scatter"), data[1, 7].values * 1e12)
    page.tap("Current at ", 0.5, 10)  # from the data back to a map
    until(lambda: page.image("Current (pA) at Bias = 0.5 V"), data[:, :, 15].values * 1e12)
    page.page.get_by_text("svd", exact=True).click()
    shown(page, "Scree")
    page.tap("Scree", 2, 1)
    until(lambda: page.image("Map "), svd.maps[1].values * 1e12)


def test_results_find_their_data_where_the_file_was_moved(tmp_path):
    path, moved = tmp_path / "grid.h5", tmp_path / "elsewhere.h5"
    stored = xp.save(samples.current().fillna(0.0).to_dataset(), path)
    xp.save(xp.fit(stored.current, "linear", dim="bias"), path)
    stored.close()
    path.rename(moved)
    nodes = viz._nodes(xp.open_tree(moved))
    drawn = viz._draw(nodes, plot.auto, nodes["/results/fit_linear"])
    assert plot.chosen(drawn).startswith("fit:")


def test_point_spectra_lie_over_the_smallest_image_that_covers_them():
    bias = np.linspace(-1, 1, 5)
    # 90 degrees counter-clockwise: what lies above the middle in the lab lies to the right of it in the frame
    places = {
        "x": coordinate("position", np.array([1e-6]), name="x"),
        "y": coordinate("position", np.array([3e-6]), name="y"),
    }
    spectra = xr.DataArray(np.ones((1, 5)), {**places, "bias": bias}, ("position", "bias"), "current")
    frame = {"scan_center_x": 1e-6, "scan_center_y": 2e-6, "scan_angle": np.pi / 2}

    def image(size, **attrs):
        at = np.linspace(0, size, 9)
        coords = {"y": coordinate("y", at), "x": coordinate("x", at)}
        return xr.Dataset({"height": (("y", "x"), np.ones((9, 9)), {"units": "m"})}, coords, attrs)

    nodes = {"/a": image(40e-6), "/b": image(4e-6, **frame), "/c": image(1e-6, **frame), "/s": spectra.to_dataset()}
    first, holder = viz._ground(nodes, spectra)
    assert first.x.max() == 4e-6
    points = viz._in_frame(spectra, holder)
    assert float(points.x[0]) == pytest.approx(3e-6) and float(points.y[0]) == pytest.approx(2e-6)
    assert plot.chosen(viz._draw(nodes, plot.auto, nodes["/s"])) == "positions: 1 spectra to compare, a colour each"
    # the same quantity of another node, with an axis of its own; what lies outside the image is left out
    beside = xr.concat([spectra, spectra.assign_coords(x=spectra.x + 20e-6)], "position").isel(bias=slice(0, 3))
    nodes |= {"/r": (2 * beside).assign_attrs(spectra.attrs).to_dataset()}
    nodes = {name: nodes[name] for name in ("/a", "/b", "/r", "/s")}
    together, start = viz._together(nodes, spectra, holder)
    assert [one.shape for one in together] == [(1, 3), (1, 5)] and start == 1


def test_what_cannot_be_drawn_is_said_in_its_tab():
    names = xr.Dataset({"name": ("x", ["a", "b"])})
    with pytest.warns(UserWarning, match="cannot be drawn"):
        pane = viz._shown(names, plot.auto, "")
    assert "DimensionError" in pane.object


def test_tabs_are_named_by_what_tells_them_apart():
    long = ["/scan_1_ebsd_crystal_map_header_lattice_abc", "/scan_1_ebsd_data_patterns", "/scan_1_ebsd_point_of_view"]
    assert viz._named(long) == ["crystal…header_lattice_abc", "data_patterns", "point_of_view"]
    assert viz._named(["/", "/results/svd"]) == ["measurement", "svd"]
    assert viz._named(["/svd", "/results/svd"]) == ["svd", "results/svd"]
    small, large = (xr.Dataset({"a": ("x", np.zeros(n))}) for n in (2, 9))
    assert viz._first({"/a": small, "/b": large}) == 1 and viz._first({"/": small, "/b": large}) == 0


def test_a_result_of_a_window_of_the_axis(tmp_path):
    """The fit has an axis of its own, of the name that the whole one has; the node inherits that."""
    data = samples.current().fillna(0.0)
    stored = xp.save(data.to_dataset(), tmp_path / "grid.h5")
    part = stored.current.isel(bias=slice(2, 9))
    xp.save(xp.decompose.svd(part, dim="bias", n_components=2), tmp_path / "grid.h5", "part")
    tree = xp.open_tree(tmp_path / "grid.h5")
    xr.testing.assert_equal(viz._nodes(tree)["/results/part"].bias, part.bias)
    assert xp.plot.chosen(tree.pycro.plot()).startswith("tree: 2 nodes")


def test_a_tab_has_the_sliders_of_its_view():
    """A stack was served without any way to another plane."""
    import panel

    stack = samples.current().rename(bias="frame").drop_vars("frame").to_dataset()
    drawn = viz._shown(stack, lambda ds, data: plot.auto(ds), "")
    (slider,) = drawn.select(panel.widgets.DiscreteSlider)
    assert slider.name == "Frame" and len(slider.options) == samples.NB
