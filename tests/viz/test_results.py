"""Pictures of results, and reports, hold the numbers of the result."""

from __future__ import annotations

import holoviews as hv
import numpy as np
import pytest
import xarray as xr
from bokeh.models import CustomJS

import xpycro as xp
from tests.viz import samples
from xpycro.engine import results
from xpycro.errors import DimensionError, MissingSource
from xpycro.viz import plot, report, static_fit, style


def elements(drawn, kind):
    return [e for e in drawn.traverse(lambda e: e, [kind]) if type(e) is kind]  # an Area is also a Curve


def test_scree_in_percent_on_a_logarithmic_axis():
    result, data = samples.decomposition()
    drawn = plot.scree(result)
    singular = np.linalg.svd(data.values.reshape(-1, samples.NB), compute_uv=False)
    found = drawn.Scatter.I.dimension_values(1)
    np.testing.assert_allclose(found, 100 * singular[: found.size] ** 2 / (singular**2).sum())
    assert "hold 99%" in hv.Store.lookup_options("bokeh", drawn, "plot").kwargs["title"]


def test_decomposition_shows_maps_and_components():
    result, _ = samples.decomposition()
    drawn = plot.auto(result)
    assert plot.chosen(drawn).startswith("decomposition")
    images, curves = elements(drawn, hv.Image), elements(drawn, hv.Curve)
    np.testing.assert_allclose(images[0].dimension_values(2, flat=False), result.maps[0].values * 1e12)
    np.testing.assert_allclose(curves[1].dimension_values(1), result.components[1].values)
    hv.render(drawn, backend="bokeh")


def test_clusters_in_the_same_colours():
    result, data = samples.clustering()
    drawn = hv.Layout([panel[()] for panel in plot.auto(result)])
    image = elements(drawn, hv.Image)[0]
    np.testing.assert_array_equal(image.dimension_values(2, flat=False), result.labels.values)
    cmap = hv.Store.lookup_options("bokeh", image, "style").kwargs["cmap"]
    for i, (curve, band) in enumerate(zip(elements(drawn, hv.Curve)[:3], elements(drawn, hv.Area), strict=True)):
        assert hv.Store.lookup_options("bokeh", curve, "style").kwargs["color"] == cmap[i] == style.CATEGORIES[i]
        np.testing.assert_allclose(curve.dimension_values(1), result.mean_response[i].values * 1e12)
        np.testing.assert_allclose(
            band.dimension_values(2), (result.mean_response + result.response_std)[i].values * 1e12
        )
    from_data = plot.clusters(result.drop_vars(["mean_response", "response_std"]), data)
    from_data = hv.Layout([panel[()] for panel in from_data])
    for found, truth in zip(elements(from_data, hv.Curve), elements(drawn, hv.Curve), strict=True):
        np.testing.assert_allclose(found.dimension_values(1), truth.dimension_values(1))


def test_fit_needs_its_data():
    fit, data = samples.line_fit()
    with pytest.raises(MissingSource, match="data="):
        plot.auto(fit)
    with pytest.raises(ValueError, match="one dim more"):
        plot.fit(fit, data.isel(bias=0))


@pytest.fixture(scope="module")
def windowed():
    """Peaks on an axis that reads in keV, fitted in a window that would read in eV; one spectrum is noise."""
    rng = np.random.default_rng(0)
    energy = np.linspace(300.0, 2300.0, 401)
    values = 50 * np.exp(-0.5 * ((energy - 500) / 20) ** 2) + rng.normal(size=(2, 3, 401))
    values[0, 1] = rng.normal(size=401)
    coords = {"energy": ("energy", energy, {"units": "eV"}), "y": [0.0, 1.0], "x": [0.0, 1.0, 2.0]}
    data = xr.DataArray(values, coords, ("y", "x", "energy"), "intensity", {"units": "counts"})
    return xp.fit(data, "gaussian + constant", window=(400, 600)), data


def test_curve_of_a_window_lies_on_the_axis_of_the_data(windowed):
    fit, data = windowed
    curve = static_fit.fit_curve(fit, static_fit.around(fit, data))
    assert float(curve.energy.min()) == 300 and float(curve.energy.max()) == 700  # half a window to either side
    inside = (curve.energy >= 400) & (curve.energy <= 600)
    np.testing.assert_allclose(curve[1, 1, inside], results.evaluate(fit)[1, 1])
    assert bool(curve[1, 1, ~inside].isnull().all())
    page = static_fit.fit_explorer(fit, data)
    (figure,) = page.select({"name": "spectrum 0"})
    scatter, line = (r.data_source.data["energy"] for r in figure.renderers)
    np.testing.assert_array_equal(scatter, line)
    assert np.ptp(scatter) == pytest.approx(400 if figure.xaxis[0].axis_label.endswith("(eV)") else 0.4)
    hv.render(plot.fit(fit, data), backend="bokeh")


def test_why_a_pixel_has_no_values_is_said(windowed):
    fit, data = windowed
    page = static_fit.fit_explorer(fit, data)
    said = next(a.args for a in page.select({"type": CustomJS}) if "verdicts" in a.args)
    assert said["verdicts"][:2] == ["", "not converged: indistinguishable from background"]
    assert not any("nan" in column[1] for column in said["table"])
    held = xp.fit(data, "gaussian + constant", window=(400, 600), bounds={"gaussian_center": (510, 600)})
    one = plot.fit(held.isel(y=1, x=1), data.isel(y=1, x=1))
    title = hv.Store.lookup_options("bokeh", one, "plot").kwargs["title"]
    assert "gaussian center 510 eV (at its bound)" in title and "±" in title


def test_comparison_shows_the_likeliest_and_the_weights(windowed):
    _, data = windowed
    models = {"flat": "constant", "peak": "gaussian + constant"}
    compared = xp.fit_compare({k: xp.fit(data, v, window=(400, 600)) for k, v in models.items()})
    drawn = plot.auto(compared)
    assert plot.chosen(drawn).startswith("comparison")
    best, _, peak = elements(drawn, hv.Image)
    np.testing.assert_array_equal(best.dimension_values(2, flat=False), [[1, 0, 1], [1, 1, 1]])
    np.testing.assert_allclose(peak.dimension_values(2, flat=False), compared.weight.sel(model="peak"))
    hv.render(drawn, backend="bokeh")
    bars = plot.auto(compared.isel(y=1, x=1))  # of one spectrum
    np.testing.assert_allclose(bars.dimension_values(1), compared.weight[:, 1, 1])
    assert hv.render(bars, backend="bokeh").title.text.startswith("Likeliest: peak, ")


def test_fit_of_images_has_maps_or_curves_of_its_parameters():
    y, x = np.linspace(0, 4, 15), np.linspace(0, 5, 17)
    axes = np.stack(np.meshgrid(x, y))
    images = xp.models.Gaussian2D()(axes, 5.0, 2.2, 1.7, 0.9, 0.6, 0.5) + 0.1 * np.sin(40 * axes[0] * axes[1])
    stack = np.broadcast_to(images, (2, 3, 15, 17)) * np.arange(1, 7).reshape(2, 3, 1, 1)
    da = xr.DataArray(stack, {"y": y, "x": x}, ("ky", "kx", "y", "x"))
    fit = xp.fit(da, "gaussian_2d", dim=("y", "x"))
    first = elements(plot.auto(fit, da), hv.Image)[0]
    np.testing.assert_allclose(first.dimension_values(2, flat=False), fit.amplitude.values)
    curve = elements(plot.auto(fit.isel(ky=1), da), hv.Curve)[0]
    np.testing.assert_allclose(curve.dimension_values(1), fit.amplitude[1].values)
    with pytest.raises(ValueError, match="no map"):
        plot.auto(fit.isel(ky=0, kx=0), da)


def test_fit_of_one_spectrum(monkeypatch):
    monkeypatch.setitem(results._registry, ("fit", "evaluate"), lambda result, x=None: samples.line_of(result))
    fit, data = samples.line_fit()
    drawn = plot.fit(fit.isel(y=1, x=1), data.isel(y=1, x=1))
    np.testing.assert_allclose(drawn.Curve.Fit.dimension_values(1), samples.line_of(fit)[1, 1].values * 1e12)


def test_fit_of_a_line_has_curves_with_errors(monkeypatch, tmp_path):
    monkeypatch.setitem(results._registry, ("fit", "evaluate"), lambda result, x=None: samples.line_of(result))
    fit, data = (part.isel(y=2) for part in samples.line_fit())
    drawn = plot.fit(fit, data)
    assert "curves of" in plot.chosen(drawn)
    slope = next(iter(drawn))[()]
    good = np.isfinite(fit.slope.values)  # one pixel failed
    np.testing.assert_allclose(slope.Scatter.I.dimension_values(1), fit.slope.values * 1e12)
    found = [slope.ErrorBars.I.dimension_values(i) for i in range(3)]
    np.testing.assert_allclose(found[0], fit.x.values[good] * 1e9)
    np.testing.assert_allclose(found[2], fit.slope_stderr.values[good] * 1e12)
    page = static_fit.fit_explorer(fit, data)
    (figure,) = page.select({"name": "map 1"})
    points = next(r for r in figure.renderers if type(r.glyph).__name__ == "Scatter").data_source
    np.testing.assert_allclose(points.data["value"], fit.offset.values * 1e12)
    assert plot.save(drawn, tmp_path / "line.png").stat().st_size > 1000


def test_report_escapes_what_files_say(tmp_path):
    evil = "<script>alert(1)</script>"
    da = samples.current().assign_attrs(long_name=evil)
    path = report.write(
        tmp_path / "r.html", title=evil, lead=evil, summary=[(evil, evil)],
        sections=[report.Section(evil, evil, report.Table([evil], [[evil]], evil), report.explorer(da))],
    )  # fmt: skip
    text = path.read_text()
    assert evil not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "http://" not in text.split("<main>")[1].split("<script")[0]


def test_report_replaces_whole_or_not_at_all(tmp_path, monkeypatch):
    path = report.write(tmp_path / "r.html", title="first")
    monkeypatch.setattr("os.replace", lambda *a: (_ for _ in ()).throw(OSError("disk")))
    with pytest.raises(OSError, match="disk"):
        report.write(path, title="second")
    assert "first" in path.read_text() and [p.name for p in tmp_path.iterdir()] == ["r.html"]
    with pytest.raises(FileNotFoundError, match="does not exist"):
        report.write(tmp_path / "none" / "r.html", title="x")


def test_save_every_kind(tmp_path):  # figures for print: tests/viz/test_gallery.py
    da = samples.current()
    result, _ = samples.decomposition()
    clusters, _ = samples.clustering()
    for number, drawn in enumerate(
        [plot.image(da.isel(bias=3)), plot.explore(da), plot.auto(result), plot.auto(clusters)]
    ):
        path = plot.save(drawn, tmp_path / f"{number}.html")
        assert path.stat().st_size > 1000
    with pytest.raises(ValueError, match=r"\.png"):
        plot.save(plot.image(da.isel(bias=3)), tmp_path / "a.tiff")


def test_printed_figure_has_the_width_asked_for(tmp_path):
    from PIL import Image

    path = plot.save(plot.image(samples.current().isel(bias=3)), tmp_path / "a.png", width_mm=85, dpi=300)
    assert Image.open(path).size[0] == pytest.approx(85 / 25.4 * 300, abs=1)


def test_dendrogram_joins_what_is_alike():
    result, _ = samples.clustering()
    mean = result.mean_response.copy()
    mean[1] = mean[0] * 1.01
    drawn = plot.dendrogram(result.assign(mean_response=mean))
    heights = sorted(part.dimension_values(1).max() for part in drawn.split())
    pair = float(np.linalg.norm((mean[1] - mean[0]).values)) * 1e12
    assert len(heights) == 2 and heights[0] == pytest.approx(pair)
    with pytest.raises(ValueError, match="at least two"):
        plot.dendrogram(result.isel(cluster=[0]))


def test_force_curves_both_ways():
    z = np.linspace(0, 1e-7, 20)
    da = xr.DataArray(
        np.stack([np.exp(-z * 1e8), 2 * np.exp(-z * 1e8)]) * 1e-9,
        dims=("direction", "point"),
        coords={"direction": ["approach", "retract"], "z": ("point", z, {"units": "m", "long_name": "Height"})},
        name="force",
        attrs={"units": "N"},
    )
    drawn = plot.force(da)
    assert [c.label for c in drawn] == ["approach", "retract"]
    assert [d.pprint_label for d in next(iter(drawn)).dimensions()] == ["Height (nm)", "Force (nN)"]
    np.testing.assert_allclose(list(drawn)[1].dimension_values(1), da[1].values * 1e9)
    # the file has z beside it, in whose parts the tip went by 90 nm and by 1.1 µm
    z = ("direction", "point"), np.stack([z * 0.9, z * 11]), {"units": "m"}
    ds = da.drop_vars("z").rename("vDeflection").to_dataset().assign(force=2 * da.drop_vars("z"), z=z)
    drawn = plot.auto(ds)
    assert plot.chosen(drawn).startswith("force: 'force' against 'z'")
    np.testing.assert_allclose([c.dimension_values(0)[-1] for c in drawn], [0.09, 1.1])


@pytest.mark.browser
def test_tree_has_a_tab_for_each_node(report_page):
    clusters, _ = samples.clustering()
    result, _ = samples.decomposition()
    empty = xr.Dataset({"name": ((), "text")})
    held = xr.DataTree.from_dict(
        {"/": samples.current().to_dataset(), "/results/svd": result, "/results/kmeans": clusters, "/other": empty}
    )
    drawn = plot.auto(held)
    assert plot.chosen(drawn) == "tree: 4 nodes, a tab each"
    page = report_page(drawn)
    page.tap("map 0", 8, 6)
    np.testing.assert_allclose(page.line("spectrum 0"), samples.current().isel(y=3, x=4).values * 1e12, atol=5e-6)
    with pytest.raises(DimensionError, match="nothing to draw"):
        plot.tree(xr.DataTree())
    with pytest.raises(TypeError, match="DataTree"):
        plot.tree(result)


def test_compared_models_are_named_and_their_weights_on_one_scale():
    best = xr.DataArray(np.zeros((2, 2)), dims=("y", "x"), attrs={"flag_values": [0, 1], "flag_meanings": "step none"})
    assert style.colours(best, best.values).ticks == {0: "step"}
    weight = xr.DataArray(np.full((2, 2), 0.9999), dims=("y", "x"), attrs={"units": "1", "valid_range": (0.0, 1.0)})
    assert style.colours(weight, weight.values).clim == (0.0, 1.0)
    counts = weight.assign_attrs(units="counts")  # a detector's range says nothing of what was counted
    assert style.colours(counts, counts.values).clim != (0.0, 1.0)


def test_data_and_curve_are_of_one_pixel_where_a_coordinate_falls():
    energy = np.linspace(-1, 1, 12)
    slopes = np.arange(6.0).reshape(3, 2) + 1
    coords = {"y": [3.0, 2.0, 1.0], "x": [0.0, 1.0], "energy": energy}
    da = xr.DataArray(slopes[..., None] * energy, coords=coords, dims=("y", "x", "energy"))
    drawn = plot.fit(xp.fit(da, "linear", dim="energy"), da)
    drawn._pycro_state.event(pixel=0)
    layers = list(drawn)[-1][()]
    data, curve = (elements(layers, kind)[0].dimension_values(1) for kind in (hv.Scatter, hv.Curve))
    np.testing.assert_allclose(data, slopes[2, 0] * energy)  # the lowest row
    np.testing.assert_allclose(curve, data, atol=1e-9)
