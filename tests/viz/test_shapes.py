"""Every kind accepts every shape it claims, in every state, and refuses the rest with one clear error."""

from __future__ import annotations

import warnings

import dask.array
import holoviews as hv
import numpy as np
import pytest
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.viz import samples
from xpycro.errors import DimensionError
from xpycro.schema import coordinate
from xpycro.viz import planes, plot

KINDS = {
    "image": ("y", "x"),
    "spectrum": ("energy",),
    "maps": ("component", "y", "x"),
    "loops": ("cycle", "step"),
    "complex": ("y", "x"),
    "stack": ("frame", "y", "x"),
    "hist": ("y", "x"),
    "force": ("direction", "point"),
    "positions": ("position", "energy"),
    "diffraction": ("y", "x", "ky", "kx"),
    "explore": ("y", "x", "energy"),
    "lines": ("x", "energy"),
}


@st.composite
def arrays(draw: st.DrawFn, dims: tuple[str, ...], dtype: str) -> xr.DataArray:
    """An array of these dims: small, one sample long, rising, falling or uneven axes, NaN, constant, lazy."""
    shape = tuple(draw(st.integers(1, 5)) for _ in dims)
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    values = np.zeros(shape) if draw(st.booleans()) else rng.normal(size=shape) * 10.0 ** draw(st.integers(-12, 9))
    values = values.astype(dtype)
    if values.dtype.kind in "fc" and draw(st.booleans()):
        values[rng.random(shape) < draw(st.sampled_from([0.3, 1.0]))] = np.nan
    coords = {}
    for dim, n in zip(dims, shape, strict=True):
        if dim in ("component", "cycle", "direction", "position", "step", "point") or not draw(st.booleans()):
            continue
        steps = rng.uniform(0.1, 2, n) if draw(st.booleans()) else np.ones(n)
        places = np.cumsum(steps) * (1e-9 if dim in ("x", "y") else 1e9 if dim in ("kx", "ky") else 1.0)
        coords[dim] = coordinate(dim, places[::-1] if draw(st.booleans()) else places)
    if "position" in dims:
        coords |= {d: ("position", rng.uniform(0, 1e-6, shape[0]), {"units": "m"}) for d in ("x", "y")}
    if "step" in dims:
        swept = {"units": "V", "dimension_type": "spectral"}
        coords["bias"] = ("step", np.sin(np.linspace(0, 6, shape[dims.index("step")])), swept)
    da = xr.DataArray(values, coords, dims, "signal", {"units": "V"})
    return da.chunk(dict.fromkeys(dims, draw(st.integers(1, 5)))) if draw(st.booleans()) else da


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
@settings(max_examples=6, suppress_health_check=[HealthCheck.too_slow])
def test_every_kind_draws_what_it_claims(kind, data):
    dtypes = ["complex64"] if kind == "complex" else ["float64", "float32", "int16", "uint8"]
    if kind in ("image", "spectrum", "maps", "stack", "explore", "lines", "hist", "positions"):
        dtypes.append("complex64")
    da = data.draw(arrays(KINDS[kind], data.draw(st.sampled_from(dtypes))))
    empty = kind == "hist" and not np.isfinite(da.values).any()
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)  # all-NaN slices, division by a range of zero
        if empty:
            with pytest.raises(ValueError, match="nothing to count"):
                plot.hist(da)
            return
        hv.render(getattr(plot, kind)(da), backend="bokeh")


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_refuses_what_it_cannot_draw_with_one_clear_error(kind):
    """A number, nothing, words, and two dims too many; the message names the array's dims or what it is."""
    call = getattr(plot, kind)
    dims = KINDS[kind]
    wrong = [
        xr.DataArray(1.0 + 0j),
        xr.DataArray(np.zeros((0,) * len(dims), complex), dims=dims),
        xr.DataArray(np.full((2,) * len(dims), "a"), dims=dims),
    ]
    if kind not in ("spectrum", "hist", "explore"):  # mean and counts of anything; a slider for each further dim
        wrong.append(xr.DataArray(np.zeros((2,) * (len(dims) + 2), complex), dims=(*dims, "apple", "pear")))
    for da in wrong:
        with pytest.raises((DimensionError, TypeError, ValueError)) as caught:
            call(da)
        said = str(caught.value)
        assert len(said) > 25 and "\n" not in said
        assert any(str(d) in said for d in da.dims) or any(w in said for w in ("number", "empty", "type", kind)), said


@pytest.mark.parametrize("kind", ["loops", "force", "diffraction"])
def test_what_has_one_real_curve_or_pattern_refuses_complex_values(kind):
    dims = KINDS[kind]
    with pytest.raises(TypeError, match=r"signal is of type complex64, .*np\.abs\(da\)"):
        getattr(plot, kind)(xr.DataArray(np.ones((3,) * len(dims), "complex64"), dims=dims, name="signal"))


def test_results_of_one_pixel_and_one_cluster_are_drawn():
    result, _ = samples.decomposition()
    one = result.isel(y=[0], x=[0])
    for drawn in (plot.components(one), plot.decomposition(one), plot.scree(one)):
        hv.render(drawn, backend="bokeh")
    clusters, _ = samples.clustering()
    hv.render(plot.clusters(clusters.isel(y=[0], x=[0])), backend="bokeh")
    hv.render(plot.clusters(clusters.isel(cluster=[0]).assign(labels=clusters.labels * 0)), backend="bokeh")


def test_a_thousand_million_pixels_are_drawn_from_means_and_the_cost_is_said_before():
    side = 31_700
    values = dask.array.ones((side, side), dtype=np.uint8, chunks=4000)
    da = xr.DataArray(values, dims=("y", "x"), name="current")
    with pytest.warns(UserWarning, match=r"drawing current reads 0\.9 GiB"):
        drawn = list(plot.image(da)[()])[-1]
    shape = drawn.dimension_values(2, flat=False).shape
    assert np.prod(shape) <= planes.MAX_PIXELS
    assert "means of 26 × 26 pixels" in hv.Store.lookup_options("bokeh", drawn, "plot").kwargs["title"]
    with pytest.warns(UserWarning, match="GiB"):
        plot.explore(xr.DataArray(dask.array.ones((1000, 1000, 1000), chunks=500), dims=("y", "x", "energy")))


def test_large_planes_are_means_of_blocks_labels_and_phases_are_picked():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(2000, 1500))
    drawn = list(plot.image(xr.DataArray(values, dims=("y", "x"), name="current"))[()])[-1]
    means = values.reshape(1000, 2, 750, 2).mean(axis=(1, 3))
    np.testing.assert_allclose(drawn.dimension_values(2, flat=False), means, rtol=1e-12)
    assert drawn.bounds.lbrt() == pytest.approx((-0.5, -0.5, 1499.5, 1999.5))
    labels = xr.DataArray((values > 0).astype(int), dims=("y", "x"), name="labels")
    drawn = list(plot.image(labels)[()])[-1]
    np.testing.assert_array_equal(drawn.dimension_values(2, flat=False), labels.values[::2, ::2])


def test_planes_of_uneven_axes_are_drawn_of_few_cells():
    x = np.cumsum(np.random.default_rng(1).uniform(0.5, 1.5, 900)) * 1e-9
    da = xr.DataArray(np.ones((500, 900)), {"x": coordinate("x", x)}, ("y", "x"), "current")
    drawn = plot.image(da)
    assert isinstance(drawn, hv.QuadMesh) and drawn.dimension_values(2).size <= planes.MAX_CELLS
