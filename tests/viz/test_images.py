"""Photographs in their colours, and planes larger than the screen: what is seen is read anew, and only its chunks."""

from __future__ import annotations

import holoviews as hv
import numpy as np
import pytest
import xarray as xr

from tests.viz.test_explore import until
from xpycro.schema import coordinate
from xpycro.viz import packing, photographs, planes, plot, report, zooming


def photo(count: int = 3, dtype: str = "u1") -> xr.DataArray:
    values = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (4, 6, count)).astype(dtype)
    coords = {"y": coordinate("y", np.arange(4) * 1e-6), "x": coordinate("x", np.arange(6) * 1e-6)}
    names = np.array(["red", "green", "blue", "alpha"][:count])
    return xr.DataArray(values, {**coords, "channel": names}, ("y", "x", "channel"), "white_light")


@pytest.mark.parametrize(("count", "dtype"), [(3, "u1"), (4, "u1"), (3, "u2")])
def test_photographs_are_drawn_in_their_colours(count, dtype, tmp_path):
    da = photo(count, dtype)
    drawn = plot.auto(da.transpose("channel", "y", "x").chunk())
    assert type(drawn) is hv.RGB and "photograph" in plot.chosen(drawn)
    found = np.stack([drawn.dimension_values(d, flat=False) for d in drawn.vdims], axis=-1)
    np.testing.assert_allclose(found, da.values / np.iinfo(dtype).max)
    figure = hv.render(drawn, backend="bokeh")
    assert [ax.name for ax in figure.below if ax.name == "scale_bar"] and not figure.xaxis[0].visible
    upside = plot.image(da.isel(y=slice(None, None, -1)))
    np.testing.assert_array_equal(upside.dimension_values(2, flat=False), drawn.dimension_values(2, flat=False))
    for suffix in ("png", "html") if (count, dtype) == (4, "u1") else ():
        assert plot.save(drawn, tmp_path / f"photo.{suffix}").stat().st_size > 1000


def test_what_does_not_say_that_it_is_a_photograph_is_none():
    da = photo()
    others = [da.drop_vars("channel"), da.assign_coords(channel=["a", "b", "c"]), da.astype(float), da[..., :2], da[0]]
    assert not any(photographs.is_photograph(other) for other in others)
    assert plot.chosen(plot.auto(da.astype(float))).startswith("maps")


def large() -> xr.DataArray:
    """Every pixel different, in the units of a scan that is not at the origin."""
    coords = {d: coordinate(d, 5e-6 + np.arange(400) * 1e-9) for d in ("y", "x")}
    values = np.arange(160_000.0).reshape(400, 400)
    return xr.DataArray(values, coords, ("y", "x"), "current", {"units": "A"})


@pytest.fixture
def small_screen(monkeypatch):
    """A picture of 400 x 400 pixels is larger than it."""
    monkeypatch.setattr(planes, "MAX_PIXELS", 10_000)
    monkeypatch.setattr(zooming, "PREVIEW", 900)


def shown(drawn):
    return list(drawn[()])[-1]


def title(drawn):
    return hv.Store.lookup_options("bokeh", drawn[()], "plot").kwargs["title"]


def test_a_window_is_read_at_the_screens_resolution_and_only_its_chunks(
    small_screen, tmp_path, bytes_read, monkeypatch
):
    da = large()
    encoding = {"current": {"chunksizes": (100, 100)}}
    da.to_dataset().to_netcdf(tmp_path / "large.nc", engine="h5netcdf", encoding=encoding)
    lazy = xr.open_dataset(tmp_path / "large.nc", engine="h5netcdf", chunks={})["current"]
    drawn = plot.image(lazy)
    means = da.values.reshape(100, 4, 100, 4).mean(axis=(1, 3))
    np.testing.assert_allclose(shown(drawn).dimension_values(2, flat=False), means / 1e3)
    assert title(drawn) == "Current (kA) (means of 4 × 4 pixels)"
    counter = bytes_read()
    drawn._pycro_state.event(window=(5120, 5180, 5210, 5240))  # nm: pixels 120 to 180 and 210 to 240
    found = shown(drawn)
    np.testing.assert_allclose(found.dimension_values(2, flat=False), da.values[209:242, 119:182] / 1e3)
    assert found.bounds.lbrt() == pytest.approx((5118.5, 5208.5, 5181.5, 5241.5))
    assert title(drawn) == "Current (kA)"
    assert counter.total < 100 * 100 * 8 + 60_000  # one chunk, and what the library reads beside
    drawn._pycro_state.event(window=(5000, 5250, 5000, 5250))
    assert title(drawn) == "Current (kA) (means of 3 × 3 pixels)"
    drawn._pycro_state.event(window=(4900, 5500, 4900, 5500))
    assert shown(drawn).bounds.lbrt() == pytest.approx((4999.5, 4999.5, 5399.5, 5399.5))  # the whole again
    monkeypatch.setattr(planes, "COSTLY", 60_000)
    drawn._pycro_state.event(window=(5120, 5180, 5210, 5240))
    assert title(drawn).endswith("this part would read 0 MiB: zoom in further")
    assert shown(drawn).bounds.lbrt()[0] < 5000


def movie(count: int = 6) -> xr.DataArray:
    """Every pixel of every frame different."""
    frames = xr.DataArray(np.arange(count) * 1e6, dims="frame")
    return (frames + large()).rename("current").assign_attrs(units="A")


def test_a_window_of_a_stack_stays_and_only_its_chunks_of_each_frame_are_read(small_screen, tmp_path, bytes_read):
    da = movie()
    encoding = {"current": {"chunksizes": (1, 100, 100)}}
    da.to_dataset().to_netcdf(tmp_path / "movie.nc", engine="h5netcdf", encoding=encoding)
    lazy = xr.open_dataset(tmp_path / "movie.nc", engine="h5netcdf", chunks={})["current"]
    drawn = plot.stack(lazy)
    means = da.values.reshape(6, 100, 4, 100, 4).mean(axis=(2, 4)) / 1e6
    below, whole = drawn[2.0]
    np.testing.assert_allclose(whole.dimension_values(2, flat=False), means[2])
    assert below.bounds.lbrt() == pytest.approx(whole.bounds.lbrt())
    counter = bytes_read()
    np.testing.assert_allclose(list(drawn[3.0])[-1].dimension_values(2, flat=False), means[3])
    frame = counter.total
    assert frame < 1.5 * 400 * 400 * 8
    drawn._pycro_state.event(window=(5120, 5180, 5210, 5240))  # nm: pixels 120 to 180 and 210 to 240
    for number in (4, 3):  # one that has not been seen whole, and one that has
        counter = bytes_read()
        below, part = drawn[float(number)]
        assert counter.total < 100 * 100 * 8 + 60_000 < frame / 5
        np.testing.assert_allclose(part.dimension_values(2, flat=False), da.values[number, 209:242, 119:182] / 1e6)
        assert part.bounds.lbrt() == pytest.approx((5118.5, 5208.5, 5181.5, 5241.5))
        assert below.bounds.lbrt() == pytest.approx(whole.bounds.lbrt())  # so that HoloViews keeps the axes
        assert np.isfinite(below.dimension_values(2)).any() == (number == 3)


def test_a_window_of_a_photograph_is_read(small_screen, tmp_path):
    values = np.arange(400 * 400 * 3, dtype="u4").reshape(400, 400, 3).astype("u2")
    coords = {d: coordinate(d, 5e-6 + np.arange(400)[::-1] * 1e-9) for d in ("y", "x")}
    da = xr.DataArray(values, {**coords, "channel": ["red", "green", "blue"]}, ("y", "x", "channel"), "white_light")
    drawn = plot.image(da.chunk({"y": 50}))
    means = values.reshape(100, 4, 100, 4, 3).mean(axis=(1, 3)) / 65535

    def colours():
        element = shown(drawn)
        return np.stack([element.dimension_values(d, flat=False) for d in element.vdims], axis=-1)

    np.testing.assert_allclose(colours(), means[::-1, ::-1])
    assert title(drawn) == "White light (means of 4 × 4 pixels)"
    figure = hv.renderer("bokeh").get_plot(drawn)
    drawn._pycro_state.event(window=(5120, 5180, 5210, 5240))
    np.testing.assert_allclose(colours(), values[::-1, ::-1][209:242, 119:182] / 65535)
    assert title(drawn) == "White light"
    packed = figure.subplots[next(reversed(figure.subplots))].handles["source"].data["image"][0]
    sent = packed.view("u1").reshape(33, 63, 4)[..., :3]  # what is on the page
    np.testing.assert_allclose(sent, colours() * 255, atol=1)
    assert plot.save(drawn, tmp_path / "photo.html").stat().st_size > 1000


@pytest.mark.browser
def test_served_zoom_shows_the_pixels_of_the_window_and_stays_from_frame_to_frame(small_screen, served):
    da = movie().isel(y=slice(None, None, -1))
    page = served(lambda: plot.stack(da.chunk({"frame": 1, "y": 50, "x": 50})))

    def on(frame: float) -> str:
        return f"Current (MA) at Frame = {frame:g}"

    def ends(frame: int):
        return page.evaluate(
            "const {x_range: x, y_range: y} = find(argument).model; return [x.start, x.end, y.start, y.end]", on(frame)
        )

    means = movie().values.reshape(6, 100, 4, 100, 4).mean(axis=(2, 4)) / 1e6
    page.take(on(0), "BoxZoomTool")
    whole = ends(0)
    page.drag(on(0), (5120, 5210), (5180, 5240))
    window = ends(0)
    left, right, bottom, top = np.rint(np.array(window) - 5e3).astype(int)
    truth = movie().values[:, bottom - 1 : top + 2, left - 1 : right + 2] / 1e6
    until(lambda: page.image(on(0), 1), truth[0])
    page.page.keyboard.press("Tab")
    page.page.locator(".noUi-handle").first.focus()
    for frame in (1, 2, 3):
        page.page.keyboard.press("ArrowRight")
        until(lambda frame=frame: page.image(on(frame), 1), truth[frame])
        assert ends(frame) == window
    page.evaluate("find(argument).reset()", on(3))
    until(lambda: page.image(on(3), 1), means[3])
    assert ends(3) == pytest.approx(whole)


def test_pages_say_that_pixels_are_means_or_left_out(monkeypatch):
    rng = np.random.default_rng(0)
    da = xr.DataArray(rng.normal(size=(900, 900)), dims=("y", "x"), name="current")
    page = report.model_of(plot.image(da))
    assert page.title.text == "Current (means of 2 × 2 pixels)"
    values = page.renderers[0].data_source.data["image"][0]
    np.testing.assert_allclose(values, da.values.reshape(450, 2, 450, 2).mean(axis=(1, 3)), atol=1e-6)
    packing.slim([page], pixels=60_000)
    assert page.title.text == "Current (means of 2 × 2 pixels) (one of 2 × 2 shown)"
    assert page.renderers[0].data_source.data["image"][0].shape == (225, 225)
