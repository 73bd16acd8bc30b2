"""Live explorers: what is read, and in a real browser that both links carry the right numbers."""

from __future__ import annotations

import time
from collections.abc import Callable

import holoviews as hv
import numpy as np
import pytest
import xarray as xr

from tests.conftest import as_indexed, raise_if_dask_computes
from tests.viz import samples
from tests.viz.conftest import NoFigure
from xpycro.errors import DimensionError
from xpycro.schema import coordinate
from xpycro.viz import explore, planes, plot, style


def until(read: Callable[[], np.ndarray], truth: np.ndarray, seconds: float = 15.0) -> None:
    """Wait until what is drawn equals the truth; the page being idle does not say that data have come."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            found = read()
        except NoFigure:  # whose title has not changed yet
            found = np.empty(0)
        if found.shape == truth.shape and np.allclose(found, truth, rtol=1e-6, equal_nan=True):
            return
        time.sleep(0.03)
    np.testing.assert_allclose(read(), truth, rtol=1e-6)


MAP = "Current (pA)"
SPECTRUM = "Current at "


@pytest.mark.browser
def test_served_map_and_spectrum_follow_each_other_and_the_zoom(served, monkeypatch):
    """Of a map larger than the screen, here of 40 pixels."""
    monkeypatch.setattr(planes, "MAX_PIXELS", 40)
    da = samples.current()
    page = served(lambda: plot.explore(da.chunk({"y": 3})))

    def whole(bias: int) -> np.ndarray:
        return da.isel(bias=bias).values[::2, ::2] * 1e12

    def ends(name: str) -> list[float]:
        return page.evaluate(
            "const {x_range: x, y_range: y} = find(argument).model; return [x.start, x.end, y.start, y.end]", name
        )

    page.tap(MAP, 10, 8)
    until(lambda: page.line(SPECTRUM), da.isel(y=4, x=5).values * 1e12)
    assert page.title(SPECTRUM).rstrip() == "Current at x = 10 nm, y = 8 nm"
    page.tap(SPECTRUM, 0.5, 0)
    until(lambda: page.image(MAP, 1), whole(15))
    page.drag(SPECTRUM, (0.5, 0), (-0.3, 2))  # the cursor on the axis
    until(lambda: page.image(MAP, 1), whole(7))
    page.drag(MAP, (10, 8), (14, 2))
    until(lambda: page.line(SPECTRUM), da.isel(y=1, x=7).values * 1e12)
    page.page.mouse.move(*page.place(MAP, 10, 8))
    values = page.page.locator(".bk-tooltip-row-value")
    values.first.wait_for()
    assert values.all_inner_texts()[-1] == f"{float(da[4, 4, 7]) * 1e12:.6g}".replace("-", "−")  # one of 2 × 2 pixels
    ticks = "return find(argument).model.left.find(a => a.formatter).formatter.doFormat([25e5, 3e6, 35e5], {})"
    assert page.evaluate(ticks, SPECTRUM) == ["2.5 × 10⁶", "3 × 10⁶", "3.5 × 10⁶"]
    page.tap(MAP, 0, 0)  # not measured
    until(lambda: page.line(SPECTRUM), da.isel(y=0, x=0).values)
    assert page.title(SPECTRUM).rstrip() == "Current at x = 0 nm, y = 0 nm: no data"
    along = ends(SPECTRUM)[:2]
    page.take(MAP, "BoxZoomTool")
    page.drag(MAP, (5.2, 3.2), (10.8, 8.8))
    window = ends(MAP)
    left, right, bottom, top = np.rint(np.array(window) / 2).astype(int)  # 2 nm a pixel
    part = da[bottom - 1 : top + 2, left - 1 : right + 2].values * 1e12
    until(lambda: page.image(MAP, 1), part[..., 7])
    page.tap(MAP, 6, 8)
    until(lambda: page.line(SPECTRUM), da.isel(y=4, x=3).values * 1e12)  # which the whole did not show
    page.tap(SPECTRUM, 0.5, 0)
    until(lambda: page.image(MAP, 1), part[..., 15])
    assert ends(MAP) == window and ends(SPECTRUM)[:2] == along


def test_nothing_is_read_before_it_is_drawn(tmp_path, bytes_read):
    da = samples.current()
    with raise_if_dask_computes():
        plot.explore(da.chunk({"y": 2}))
        plot.auto(da.rename(bias="frame").drop_vars("frame").chunk())
    lazy = as_indexed(da.to_dataset(), tmp_path / "grid.nc")["current"]
    plot.explore(lazy)
    assert not lazy.variable._in_memory


def test_a_move_reads_one_spectrum_or_one_plane():
    da = samples.current().chunk({"y": 2, "x": 3, "bias": 7})
    layout = plot.explore(da)
    chart, line = (panel for panel in layout)
    with raise_if_dask_computes(2) as counted:
        chart[()], line[()]
        assert counted.total == 2
        layout._pycro_state.event(pixel=5)
        chart[()]
        assert counted.total == 2  # the ring moves over the same plane
    np.testing.assert_allclose(line[()].Curve.I.dimension_values(1), da.isel(y=0, x=5).values * 1e12)


@pytest.mark.parametrize("kind", ["memory", "dask", "indexed"])
def test_frames_of_a_stack(kind, tmp_path):
    da = samples.current().rename(bias="frame").drop_vars("frame")
    given = {"memory": da, "dask": da.chunk({"frame": 5})}.get(kind)
    if given is None:
        given = as_indexed(da.to_dataset(), tmp_path / "stack.nc")["current"]
    drawn = plot.stack(given)
    frame = drawn[7.0]
    np.testing.assert_allclose(frame.dimension_values(2, flat=False), da.isel(frame=7).values * 1e12)
    assert drawn[3.0].opts.get("plot").kwargs["clim"] == frame.opts.get("plot").kwargs["clim"]


def test_further_dims_become_sliders():
    da = samples.current()
    factor = xr.DataArray([1.0, 2.0], {"direction": ["forward", "backward"]}, "direction")
    layout = plot.explore((factor * da).assign_attrs(da.attrs))
    (slider,) = next(iter(layout)).kdims
    assert (slider.name, slider.values) == ("direction", ["forward", "backward"])
    line = list(layout)[1]["backward"].Curve.I.dimension_values(1)
    np.testing.assert_allclose(line, 2 * da[3, 4] * 1e12)


def test_it_begins_where_something_was_measured():
    """An unfinished scan; and the clock of an X-ray detector, higher than any line."""
    energy = np.linspace(-100, 10_000, 102)
    counts = np.exp(-(((energy - 6400) / 100) ** 2)) + 9.0 * (energy == 0)
    rows = np.where(np.arange(5) < 2, 1.0, np.nan)[:, None, None]
    coords = {"energy": coordinate("energy", energy)}
    drawn = plot.explore(xr.DataArray(rows * counts * np.ones((5, 4, 1)), coords, ("y", "x", "energy"), "counts"))
    picture, line = (hv.Store.lookup_options("bokeh", panel[()], "plot").kwargs["title"] for panel in drawn)
    assert picture == "Counts at Energy = 6.4 keV" and line == "Counts at x = 2, y = 1"


def test_ambiguous_or_missing_signal_is_refused():
    with pytest.raises(DimensionError, match="which dimension is the signal"):
        plot.explore(samples.current().isel(bias=0))
    with pytest.raises(ValueError, match="event"):
        plot.explore(samples.current(), event="press")


def test_region_and_band_are_means():
    da = samples.current()
    layout = plot.explore(da.chunk({"y": 2}))
    chart, line = list(layout)
    layout._pycro_state.event(low=3, high=6, regions=(np.array([(3, 1), (9, 1), (9, 7), (3, 7)]),))
    np.testing.assert_allclose(
        chart[()].Image.I.dimension_values(2, flat=False), da.isel(bias=slice(3, 7)).mean("bias").values * 1e12
    )
    inside = da.isel(x=slice(2, 5), y=slice(1, 4))  # middles at 4, 6, 8 nm and 2, 4, 6 nm
    np.testing.assert_allclose(
        line[()].Contours.I.split()[0].dimension_values(1), inside.mean(("y", "x")).values * 1e12
    )
    mask = plot.selection(layout)
    np.testing.assert_array_equal(np.argwhere(mask.values), [(y, x) for y in (1, 2, 3) for x in (2, 3, 4)])
    np.testing.assert_allclose(da.where(mask).mean(("y", "x")), inside.mean(("y", "x")))
    with pytest.raises(ValueError, match="1 regions are drawn"):
        plot.selection(layout, 1)
    with pytest.raises(ValueError, match="explore"):
        plot.selection(plot.image(da.isel(bias=0)))


def test_a_notebook_is_given_bokehs_scripts(monkeypatch):
    """A microscope's computer has no network; tests/test_binder.py taps explorers in JupyterLab without one."""
    asked, loaded = [], []
    monkeypatch.setattr(hv, "extension", lambda *names, **options: asked.append((names, options)))
    monkeypatch.setattr(hv.Store, "loaded_backends", lambda: loaded)
    style.backend()
    monkeypatch.setenv("BOKEH_RESOURCES", "cdn")
    style.backend()
    loaded.append("bokeh")  # the user's own
    style.backend()
    assert asked == [(("bokeh",), {"inline": True}), (("bokeh",), {"inline": False})]


@pytest.mark.browser
def test_served_box_and_band(served):
    da = samples.current()
    made = []

    def make():
        made.append(plot.explore(da))
        return made[-1]

    page = served(make)
    page.take(MAP, "BoxSelectTool")
    page.drag(MAP, (3, 1), (9, 7))
    mean = da.isel(x=slice(2, 5), y=slice(1, 4)).mean(("y", "x")).values * 1e12
    until(lambda: page.lines(SPECTRUM)[1], mean)
    assert int(plot.selection(made[-1]).sum()) == 9
    assert made[-1]._pycro_state.pixel == explore.PEAK  # what a tool takes does not move the cursor
    page.take(MAP, "LassoSelectTool")
    page.trace(MAP, [(11, 1), (17, 1), (11, 6.9)])
    until(lambda: page.lines(SPECTRUM)[2], np.mean([da[1, 6], da[1, 7], da[2, 6]], axis=0) * 1e12)
    page.take(SPECTRUM, "BoxSelectTool")
    page.drag(SPECTRUM, (-0.72, 0), (-0.38, 0))
    until(lambda: page.image(MAP), da.isel(bias=slice(3, 7)).mean("bias").values * 1e12)


@pytest.mark.browser
def test_served_errors_are_said_in_the_page_and_gone_with_their_cause(served, tmp_path):
    """A damaged chunk and a file that was moved away, in a store that translate wrote."""
    import xpycro as xp

    np.random.default_rng(0).normal(size=(6, 9, 21)).astype("<f4").tofile(tmp_path / "cube.raw")
    keys = {"width": 9, "height": 6, "depth": 21, "offset": 0, "data-length": 4, "data-type": "float"}
    keys |= {"byte-order": "little-endian", "record-by": "vector", "depth-name": "energy", "depth-units": "eV"}
    (tmp_path / "cube.rpl").write_text("key\tvalue\n" + "".join(f"{k}\t{v}\n" for k, v in keys.items()))
    path = tmp_path / "cube.h5"
    ds = xp.translate(tmp_path / "cube.rpl", path, compression="gzip")
    name = next(iter(ds.data_vars))
    values = ds[name].values
    page = served(lambda: plot.explore(ds[name]))
    title = next(t for t in page.titles() if " at Energy" in t)
    chart, line = title.partition(" = ")[0], f"{title.partition(' at Energy')[0].partition(' (')[0]} at x"
    page.tap(chart, 5, 4)
    until(lambda: page.line(line), values[4, 5].astype(float))
    whole = path.read_bytes()
    at = whole.index(b"\x78")  # where the compressed numbers begin
    damaged = whole[: at + 20] + bytes(400) + whole[at + 420 :]
    for problem in (lambda: path.write_bytes(damaged), lambda: path.unlink()):
        problem()
        with pytest.warns(UserWarning, match="could not be read"):
            page.tap(chart, 2, 3)
            until(
                lambda: np.array([t.startswith("Could not be read: ") for t in page.titles()]), np.array([False, True])
            )
        path.write_bytes(whole)
        page.tap(chart, 7, 1)
        until(lambda: page.line(line), values[1, 7].astype(float))


def test_what_cannot_be_read_is_said_in_the_page_and_tried_again():
    da = samples.current()
    broken = [True]

    def block(values):
        if broken[0]:
            raise FileNotFoundError("[Errno 2] No such file: 'grid.h5'")
        return values

    layout = plot.explore(da.copy(data=da.chunk({"y": 2}).data.map_blocks(block, dtype=float, meta=np.array(()))))
    chart, line = list(layout)
    with pytest.warns(UserWarning, match="could not be read"):
        drawn = line[()], chart[()]
    for panel in drawn:
        title = hv.Store.lookup_options("bokeh", panel, "plot").kwargs["title"]
        assert title == "Could not be read: FileNotFoundError: [Errno 2] No such file: 'grid.h5'"
    assert np.isnan(drawn[0].Curve.I.dimension_values(1)).all()
    broken[0] = False
    layout._pycro_state.event(pixel=14)
    np.testing.assert_allclose(line[()].Curve.I.dimension_values(1), da.isel(y=1, x=5).values * 1e12)


def test_a_costly_action_is_stated():
    """Contiguous storage: one map of it means reading all of it."""
    import dask.array

    values = dask.array.zeros((512, 512, 4096), chunks=(64, 64, 4096), dtype="f4")
    da = xr.DataArray(values, dims=("y", "x", "energy"), name="counts")
    with pytest.warns(UserWarning, match=r"each plane reads about 4\.0 GiB"):
        drawn = plot.explore(da)
    assert "4.0 GiB" in plot.chosen(drawn)
    titles = [hv.Store.lookup_options("bokeh", panel[()], "plot").kwargs["title"] for panel in drawn]
    assert titles[0].endswith("\ndouble tap the spectrum to read all, 4.0 GiB a map")
    assert titles[0].count("\n") == titles[1].count("\n")  # else Bokeh cuts the label below the shorter one


def large() -> xr.DataArray:
    """A spectrum image of which every fourth pixel fits on a screen of 10,000; every number different."""
    coords = {d: coordinate(d, np.arange(n) * 1e-9) for d, n in (("y", 400), ("x", 300))}
    values = np.arange(400 * 300 * 8.0).reshape(400, 300, 8)
    return xr.DataArray(values, coords, ("y", "x", "energy"), "counts")


def over(drawn) -> tuple[np.ndarray, np.ndarray, str]:
    """The picture of a map and what lies below it, and its title."""
    below, picture = [e for e in drawn[()] if isinstance(e, hv.Image)]
    title = hv.Store.lookup_options("bokeh", drawn[()], "plot").kwargs["title"]
    return picture.dimension_values(2, flat=False), below.dimension_values(2), title


def test_a_window_of_a_map_is_read_whole_and_only_its_chunks(tmp_path, bytes_read, monkeypatch):
    monkeypatch.setattr(planes, "MAX_PIXELS", 10_000)
    da = large()
    encoding = {"counts": {"chunksizes": (50, 50, 8)}}
    da.to_dataset().to_netcdf(tmp_path / "cube.nc", engine="h5netcdf", encoding=encoding)
    layout = plot.explore(xr.open_dataset(tmp_path / "cube.nc", engine="h5netcdf")["counts"])
    chart, line = list(layout)
    state = layout._pycro_state
    state.event(low=3, high=3)
    picture, _, title = over(chart)
    np.testing.assert_array_equal(picture, da[::4, ::4, 3])
    assert title == "Counts at Energy = 3\none of 4 × 4 pixels"
    window = {"y": slice(209, 242), "x": slice(119, 182)}
    counter = bytes_read()
    chart._pycro_moves["Range"](120, 180, 210, 240)  # nm
    picture, below, title = over(chart)
    np.testing.assert_array_equal(picture, da.isel(window).isel(energy=3))
    assert title == "Counts at Energy = 3\nall pixels of this part" and np.isfinite(below).all()
    state.event(low=5, high=5)
    picture, below, _ = over(chart)
    np.testing.assert_array_equal(picture, da.isel(window).isel(energy=5))
    assert np.isnan(below).all()  # the rest has not been read at this energy
    state.event(low=2, high=6)
    np.testing.assert_allclose(over(chart)[0], da.isel(window).isel(energy=slice(2, 7)).mean("energy"))
    assert counter.total < 3 * (2 * 50 * 50 * 8 * 8 + 60_000) < 0.5 * da.nbytes  # two chunks, three times
    with raise_if_dask_computes():  # a tap moves the ring over what has been read
        chart._pycro_moves["Tap"](151, 222)
        over(chart)
    assert next(iter(line[()])).dimension_values(1).tolist() == da[222, 151].values.tolist()  # that very pixel
    chart._pycro_moves["Range"](-10, 310, -10, 410)
    assert over(chart)[0].shape == (100, 75)
    monkeypatch.setattr(planes, "COSTLY", 10_000)
    chart._pycro_moves["Range"](120, 180, 210, 240)
    assert over(chart)[2].endswith("this part would read 0 MiB: zoom in further")


def test_amplitude_and_phase_are_zoomed_each_by_itself(monkeypatch):
    monkeypatch.setattr(planes, "MAX_PIXELS", 10_000)
    values = large() * np.exp(1j * large().energy)
    layout = plot.explore(values.chunk({"y": 100}))
    amplitude, phase, *_ = list(layout)
    layout._pycro_state.event(low=3, high=3)
    amplitude._pycro_moves["Range"](120, 180, 210, 240)
    np.testing.assert_allclose(over(amplitude)[0], large()[209:242, 119:182, 3])
    np.testing.assert_allclose(over(phase)[0], np.angle(values[::4, ::4, 3]))


@pytest.mark.parametrize("chunks", [(32, 32, 64), (16, 16, 256)])
def test_bytes_of_a_tap_and_of_a_map(tmp_path, bytes_read, chunks):
    """From a chunked HDF5 file a tap reads one column of chunks, a map one plane of them, and 1 MB more at most."""
    import h5py

    shape = (64, 64, 1024)
    path = tmp_path / "cube.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("counts", shape=shape, dtype="f4", chunks=chunks, fillvalue=0)
        for k in range(0, shape[2], chunks[2]):  # written, so that there is something to read
            file["counts"][..., k : k + chunks[2]] = 1.0
    ds = xr.open_dataset(path, engine="h5netcdf", phony_dims="sort")
    lazy = ds["counts"].rename(dict(zip(ds["counts"].dims, ("y", "x", "energy"), strict=False)))
    lazy = lazy if lazy.ndim == 3 else ds["counts"].isel()
    column = chunks[0] * chunks[1] * shape[2] * 4
    plane = shape[0] * shape[1] * chunks[2] * 4
    counter = bytes_read()
    layout = plot.explore(lazy, nav=lazy.dims[:2], sig=lazy.dims[2])
    chart, line = list(layout)
    assert counter.total < 1e6
    line[()]
    assert counter.total < column + 1e6
    counter = bytes_read()
    chart[()]
    assert counter.total < plane + 1e6
