"""Pictures hold the numbers of the array, in display units, where they belong; what cannot be drawn is refused."""

from __future__ import annotations

import holoviews as hv
import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import as_indexed
from tests.viz import samples
from xpycro.errors import DimensionError
from xpycro.viz import plot, style


def options(element: hv.Element, group: str = "plot") -> dict:
    return hv.Store.lookup_options("bokeh", element, group).kwargs


def plane() -> xr.DataArray:
    return samples.current().isel(bias=20)


def test_image_in_display_units_with_true_aspect():
    drawn = plot.image(plane())
    assert isinstance(drawn, hv.Image)
    np.testing.assert_allclose(drawn.dimension_values(2, flat=False), plane().values * 1e12)
    assert [d.pprint_label for d in drawn.dimensions()] == ["x (nm)", "y (nm)", "Current (pA)"]
    assert drawn.bounds.lbrt() == pytest.approx((-1, -1, 17, 11))
    width, height = options(drawn)["frame_width"], options(drawn)["frame_height"]
    assert width / height == pytest.approx(18 / 12, rel=0.01)
    assert options(drawn)["title"] == "Current (pA) at Bias = 1 V"


def test_one_prefix_for_both_lengths():
    """2 µm by 200 nm must not be drawn as if 2 were shorter than 200."""
    da = xr.DataArray(
        np.zeros((5, 50)),
        dims=("y", "x"),
        coords={"y": ("y", np.arange(5) * 4e-8, {"units": "m"}), "x": ("x", np.arange(50) * 4e-8, {"units": "m"})},
    )
    drawn = plot.image(da)
    assert [d.unit for d in drawn.kdims] == ["µm", "µm"]
    assert options(drawn)["frame_width"] / options(drawn)["frame_height"] == pytest.approx(10, rel=0.05)


@pytest.mark.parametrize("state", ["dask", "indexed"])
def test_lazy_equals_eager(state, tmp_path):
    da = plane().drop_vars("bias")
    lazy = da.chunk({"y": 2}) if state == "dask" else as_indexed(da.to_dataset(), tmp_path / "p.nc")["current"]
    np.testing.assert_array_equal(plot.image(lazy).dimension_values(2), plot.image(da).dimension_values(2))


def test_descending_axis_keeps_places():
    drawn = plot.image(plane().isel(y=slice(None, None, -1)))
    assert isinstance(drawn, hv.Image)
    np.testing.assert_allclose(drawn.dimension_values(2, flat=False), plane().values * 1e12)


def test_uneven_axis_is_a_mesh_with_cells_about_the_samples():
    da = plane().isel(x=[0, 1, 4, 8])
    drawn = plot.image(da)
    assert isinstance(drawn, hv.QuadMesh)
    np.testing.assert_allclose(drawn.interface.coords(drawn, "x", edges=True), [-1, 1, 5, 12, 20])
    np.testing.assert_allclose(drawn.dimension_values(2, flat=False), da.values * 1e12)


def test_colours_suit_the_quantity():
    da = plane()
    signed = da - da.mean()
    height = xr.DataArray(signed.values, dims=da.dims, name="z", attrs={"units": "m"})
    phase = xr.DataArray(np.linspace(-3, 3, 54).reshape(6, 9), dims=da.dims, name="phase", attrs={"units": "rad"})
    narrow = phase * 0.01
    narrow.attrs = phase.attrs
    labels = xr.DataArray(np.arange(54).reshape(6, 9) // 18, dims=da.dims, name="labels")
    kinds = [style.colours(d, style.read(d)).kind for d in (da, signed, height, phase, narrow, labels, da > 0)]
    assert kinds == ["sequential", "signed", "height", "phase", "signed", "labels", "labels"]
    low, high = style.colours(signed, signed.values).clim
    assert low == -high
    assert style.colours(phase, phase.values).clim == (-np.pi, np.pi)
    found = style.colours(labels, style.read(labels))
    assert found.clim == (-0.5, 2.5) and len(found.cmap) == 3 and found.ticks == {0: "0", 1: "1", 2: "2"}


def test_contrast_is_robust_and_never_empty():
    values = np.concatenate([np.linspace(0, 1, 1000), [1e9, np.nan, np.inf]])
    low, high = style.limits(values)
    assert 0 <= low < 0.02 and 0.98 < high <= 1.0
    assert style.limits(np.full(5, 3.0)) == (1.5, 4.5)
    assert style.limits(np.full(5, np.nan)) == (0.0, 1.0)
    assert style.limits(np.array([0.0, 0.0])) == (-0.5, 0.5)
    spike = np.zeros(1000)
    spike[0] = 1.0
    assert style.limits(spike) == (0.0, 1.0)


@pytest.mark.parametrize(
    "da",
    [
        xr.DataArray(np.full((3, 4), np.nan), dims=("y", "x")),
        xr.DataArray([[2.0]], dims=("y", "x")),
        xr.DataArray(np.zeros((1, 5)), dims=("y", "x")),
        xr.DataArray(np.arange(6, dtype=np.uint8).reshape(2, 3), dims=("y", "x")),
        xr.DataArray(np.array([[True, False]]), dims=("y", "x")),
        xr.DataArray([[np.inf, 1.0], [0.0, -np.inf]], dims=("y", "x")),
        xr.DataArray(np.ones((2, 2), complex), dims=("y", "x")),
    ],
    ids=["nan", "one", "row", "uint8", "bool", "inf", "complex"],
)
def test_awkward_images_are_drawn(da):
    hv.render(plot.auto(da), backend="bokeh")


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: plot.auto(xr.DataArray(1.0)), DimensionError, "single number"),
        (lambda: plot.auto(xr.DataArray(np.zeros((0, 3)), dims=("y", "x"))), DimensionError, "empty"),
        (lambda: plot.auto(xr.DataArray(["a"], dims="x")), TypeError, "numbers are needed"),
        (lambda: plot.image(samples.current()), DimensionError, r"isel\(bias=0\)"),
        (lambda: plot.image(samples.current().isel(y=0, x=0)), DimensionError, "two dimensions"),
        (lambda: plot.image(plane(), x="z"), DimensionError, "'z' is no dimension"),
        (lambda: plot.image(plane(), clim="auto"), ValueError, "robust"),
        (lambda: plot.image(plane(), cmap="nonsense"), ValueError, "no such colour map"),
        (lambda: plot.image(-abs(plane()), log=True), ValueError, "no value of current is positive"),
        (lambda: plot.spectrum(-abs(samples.current().isel(y=1, x=1)) - 1, log=True), ValueError, "positive"),
        (lambda: plot.spectrum(samples.current(), at={"x": 0}), DimensionError, "not said"),
        (lambda: plot.maps(samples.current().isel(y=0)), DimensionError, "which dimension to lay out"),
        (lambda: plot.complex(plane()), TypeError, "not complex"),
        (lambda: plot.hist(plane() * np.nan), ValueError, "nothing to count"),
        (lambda: plot.scree(samples.clustering()[0]), ValueError, "decomposition result"),
        (lambda: plot.auto("text"), TypeError, "DataArray or Dataset"),
    ],
)
def test_what_cannot_be_drawn_is_refused(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_spectra_one_some_many():
    da = samples.current()
    one = plot.spectrum(da, at={"y": 4e-9, "x": 6.4e-9})
    assert isinstance(one, hv.Curve)
    np.testing.assert_allclose(one.dimension_values(1), da.isel(y=2, x=3).values * 1e12)
    assert options(one)["title"] == "Current at x = 6 nm, y = 4 nm"
    two = plot.spectrum(da, at=[{"y": 4e-9, "x": 6e-9}, {"y": 0, "x": 1e-8}])
    assert [e.label for e in two] == ["x = 6 nm, y = 4 nm", "x = 10 nm, y = 0 nm"]
    many = plot.spectrum(da)
    np.testing.assert_allclose(many.Curve.I.dimension_values(1), np.nanmean(da.values, axis=(0, 1)) * 1e12)
    upper = many.Area.I.dimension_values(2)
    np.testing.assert_allclose(upper, (np.nanmean(da.values, (0, 1)) + np.nanstd(da.values, (0, 1))) * 1e12)


def test_loops_keep_their_order():
    bias = np.array([0.0, 1.0, 0.0, -1.0, 0.0])
    da = xr.DataArray(
        np.arange(10.0).reshape(2, 5), dims=("cycle", "step"), coords={"bias": ("step", bias, {"units": "V"})}, name="r"
    )
    da.bias.attrs["dimension_type"] = "spectral"
    drawn = plot.auto(da)
    assert plot.chosen(drawn).startswith("loops")
    for row, curve in zip(da.values, drawn, strict=True):
        np.testing.assert_array_equal(curve.dimension_values(0), bias)
        np.testing.assert_array_equal(curve.dimension_values(1), row)


def test_maps_show_each_plane():
    result, _ = samples.decomposition()
    drawn = plot.maps(result["maps"], count=5)
    assert len(drawn) == 5
    np.testing.assert_allclose(
        drawn.traverse(lambda e: e, [hv.Image])[3].dimension_values(2, flat=False), result.maps[3].values * 1e12
    )


@given(
    sizes=st.lists(st.integers(1, 4), min_size=1, max_size=4),
    names=st.permutations(["y", "x", "energy", "frame"]),
    lazy=st.booleans(),
    kind=st.sampled_from(["float64", "int16", "complex64", "bool"]),
)
def test_auto_draws_or_refuses_every_shape(sizes, names, lazy, kind):
    rng = np.random.default_rng(0)
    values = (rng.normal(size=sizes) * 9).astype(kind)
    da = xr.DataArray(values, dims=names[: len(sizes)], name="v")
    try:
        drawn = plot.auto(da.chunk() if lazy else da)
    except DimensionError as error:
        assert "pass" in str(error) or "choose" in str(error) or "dimension" in str(error)
        return
    assert plot.chosen(drawn)
    assert isinstance(drawn, hv.core.Dimensioned)


def test_a_filter_is_drawn_with_spectrum_floor_and_both_signals():
    import xpycro as xp

    time = xr.Variable("time", np.arange(256) * 1e-3, {"units": "s"})
    line = xr.DataArray(np.sin(2 * np.pi * 50 * time), {"time": time}, name="deflection", attrs={"units": "V"})
    preview = line.pycro.filter.preview(xp.filter.LowPass(100), tolerance=1e-3)
    spectrum, signal = preview.pycro.plot()
    assert [curve.label for curve in spectrum] == ["before", "after", "filter", "noise floor"]
    assert [curve.label for curve in signal] == ["before", "after"]
    np.testing.assert_allclose(signal.get(0).dimension_values(1), line)
    # what the filter takes away lies on the bottom of the picture
    after = spectrum.get(1).dimension_values(1)
    assert (after[preview.frequency.values > 100] == after.min()).all()
    with pytest.raises(ValueError, match=r"filter\.preview"):
        xp.plot.filtered(line.to_dataset())


def test_curves_are_told_apart_by_their_own_dim_in_one_unit():
    """Of a line scan with the places and times of its points the legend filled the figure."""
    coords = {"distance": ("distance", [0.0, 3e-5], {"units": "m", "long_name": "Distance"}), "energy": [1.0, 2.0, 3.0]}
    coords |= {d: ("distance", [1e-6, 2e-6], {"units": "m"}) for d in ("x", "y")}
    da = xr.DataArray(np.ones((2, 3)), coords, ("distance", "energy"), "counts")
    assert [curve.label for curve in plot.spectrum(da, "energy")] == ["Distance = 0 µm", "Distance = 30 µm"]
