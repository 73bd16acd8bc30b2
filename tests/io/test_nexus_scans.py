"""Scans in NeXus files: facilities' layouts, grids in any order, stopped scans, geometry; bytes read; damaged files."""

from __future__ import annotations

import time
from dataclasses import replace

import h5py
import numpy as np
import pytest

import xpycro as xp
from tests.io import fuzzing, nexus_samples
from tests.io.nexus_samples import COLUMNS, GEOMETRY, ROWS, STYLES, make
from xpycro import schema
from xpycro.errors import CorruptFile, DimensionError, SeveralGroups, TranslationError
from xpycro.io import formats, hdf5_array
from xpycro.io.translators import nexus


def only(sample):
    found = formats.identify(sample.path)
    assert found.name in ("nexus", "dectris")
    (ds,) = formats.read_groups(sample.path, found, {}).values()
    assert schema.problems(ds) == []
    return ds


def frames_of(ds):
    (name,) = [name for name, da in ds.data_vars.items() if {"ky", "kx"} <= set(da.dims) and da.ndim > 2]
    return ds[name]


def expected(sample, values):
    """Each record at the place where it was taken, by looking each place up."""
    ys, xs = np.unique(sample.y), np.unique(sample.x)
    out = np.full((ys.size, xs.size, *values.shape[1:]), np.nan)
    for y, x, value in zip(sample.y, sample.x, values, strict=True):
        out[np.searchsorted(ys, y), np.searchsorted(xs, x)] = value
    return out


ORDERS = ["lines", "snake", "columns", "down"]


# of the style "diamond" the file itself is the grid: there is no order of scanning in it
@pytest.mark.parametrize(("style", "order"), [(s, o) for s in STYLES for o in ORDERS if s != "diamond" or o == "lines"])
def test_each_facility_and_each_way_of_scanning(tmp_path, style, order):
    sample = make(tmp_path, style, order)
    ds = only(sample)
    if (style, order) == ("bliss", "columns"):  # names that say nothing: what goes to and fro is x
        sample = replace(sample, y=sample.x, x=sample.y)
    stack = frames_of(ds)
    assert stack.dims == ("y", "x", "ky", "kx") and stack.dtype == np.uint16 and stack.attrs["units"] == "counts"
    np.testing.assert_array_equal(stack, expected(sample, sample.frames[:, ::-1]))
    np.testing.assert_allclose(ds.y, np.unique(sample.y) * (1e-6 if ds.y.units == "m" else 1))
    np.testing.assert_allclose(ds.x, np.unique(sample.x) * (1e-6 if ds.x.units == "m" else 1))
    monitor = next(da for da in ds.data_vars.values() if da.dims == ("y", "x") and 900 < float(da[0, 0]) < 1100)
    np.testing.assert_array_equal(monitor, expected(sample, sample.monitor))
    np.testing.assert_array_equal(stack[1, ::-2, 1:, 2], expected(sample, sample.frames[:, ::-1])[1, ::-2, 1:, 2])


@pytest.mark.parametrize("style", STYLES)
def test_a_stopped_scan_is_nan_and_flagged(tmp_path, style):
    sample = make(tmp_path, style, "lines", points=12)
    ds = only(sample)
    stack = frames_of(ds)
    np.testing.assert_array_equal(stack, expected(sample, sample.frames[:, ::-1]))
    assert stack.dtype == np.float32 and ds.measured.dims == ("y", "x")
    np.testing.assert_array_equal(ds.measured, expected(sample, np.ones(12)) == 1)


@pytest.mark.parametrize("style", [s for s in STYLES if s != "diamond"])
def test_irregular_places_are_positions(tmp_path, style):
    sample = make(tmp_path, style, "random")
    ds = only(sample)
    stack = frames_of(ds)
    assert stack.dims == ("position", "ky", "kx")
    np.testing.assert_array_equal(stack, sample.frames[:, ::-1])
    factor = 1e-6 if ds.y.units == "m" else 1
    np.testing.assert_allclose([ds.y, ds.x], [sample.y * factor, sample.x * factor])


@pytest.mark.parametrize("style", ["new", "old", "diamond", "master"])
def test_geometry_and_mask(tmp_path, style):
    ds = only(make(tmp_path, style))
    wave = 12.398419843320026 / (GEOMETRY["energy"] / 1e3) * 1e-10
    (row, column), pixel, far = GEOMETRY["beam"], GEOMETRY["pixel"][0], GEOMETRY["distance"]
    np.testing.assert_allclose(ds.kx, (np.arange(COLUMNS) - column) * pixel / (wave * far), rtol=1e-9)
    np.testing.assert_allclose(ds.ky, (row - np.arange(ROWS)[::-1]) * pixel / (wave * far), rtol=1e-9, atol=1e-3)
    for i in range(ROWS):
        for j in range(COLUMNS):
            radius = pixel * np.hypot(i - row, j - column)
            angle = np.arctan(radius / far)
            at = {"ky": ROWS - 1 - i, "kx": j}
            np.testing.assert_allclose(ds.two_theta[at], np.degrees(angle), rtol=1e-9)
            np.testing.assert_allclose(ds.q[at], 4 * np.pi / wave * np.sin(angle / 2), rtol=1e-9)
    assert ds.attrs["count_time"] == 0.25 and ds.attrs["wavelength"] == pytest.approx(wave)
    assert ds.pixel_mask.dtype == bool and ds.pixel_mask.dims == ("ky", "kx")
    assert np.argwhere(ds.pixel_mask.values).tolist() == [[ROWS - 1, 1]]  # the top row is the last
    kept = xp.diffraction.virtual_detector(frames_of(ds), exclude=ds.pixel_mask)
    whole = frames_of(ds).sum(("ky", "kx")) - frames_of(ds)[:, :, -1, 1]
    np.testing.assert_array_equal(kept, whole)


def test_a_detector_on_an_arm_by_its_chain_of_transformations(tmp_path):
    """Turned by 30 degrees about the vertical axis: the middle of the detector lies at two theta of 30 degrees."""
    sample = make(tmp_path, "new")
    with h5py.File(sample.path, "r+") as file:
        detector = file["entry/instrument/eiger"]
        module = nexus_samples._group(detector, "module", "NXdetector_module")
        moves = nexus_samples._group(detector, "transformations", "NXtransformations")
        turn = nexus_samples._set(moves, "arm", 30.0, "degree", vector=[0, 1, 0], transformation_type="rotation")
        turn.attrs["depends_on"] = "."
        away = nexus_samples._set(moves, "away", 500.0, "mm", vector=[0, 0, 1], transformation_type="translation")
        away.attrs["depends_on"] = "arm"
        for name, size, vector in (("fast", 75.0, [-1, 0, 0]), ("slow", 75.0, [0, -1, 0])):
            step = nexus_samples._set(module, f"{name}_pixel_direction", size, "um", vector=vector)
            step.attrs.update(
                depends_on="/entry/instrument/eiger/transformations/away", transformation_type="translation"
            )
        offset = nexus_samples._set(module, "module_offset", 0.0, "m", vector=[1, 0, 0], offset=[1.5 * 75e-6, 75e-6, 0])
        offset.attrs.update(
            depends_on="/entry/instrument/eiger/transformations/away", transformation_type="translation"
        )
    ds = only(sample)
    assert ds.kx.units == "pixel"  # no small angle
    middle = (float(ds.two_theta[1, 1]) + float(ds.two_theta[1, 2])) / 2
    np.testing.assert_allclose(middle, 30.0, rtol=1e-6)
    step = np.degrees(np.arctan(75e-6 / 0.5))
    np.testing.assert_allclose(abs(float(ds.two_theta[1, 2] - ds.two_theta[1, 1])), step, rtol=1e-4)


def test_only_the_frames_asked_for_are_read(tmp_path, monkeypatch):
    sample = make(tmp_path, "maxiv", "snake", shape=(4, 6))
    ds = only(sample)
    read = []
    original = hdf5_array.H5Array._stored
    monkeypatch.setattr(hdf5_array.H5Array, "_stored", lambda self, key: read.append(v := original(self, key)) or v)
    column = frames_of(ds)[:, 2].values
    assert sum(v.size for v in read) == column.size == 4 * ROWS * COLUMNS
    read.clear()
    frames_of(ds).load()
    assert len(read) == 1 and read[0].size == sample.frames.size  # a snake is read in one go


def test_opening_a_large_scan_reads_its_motors_only(tmp_path, monkeypatch):
    """A million frames of which none is stored; both lists of places are read, and nothing of the detector."""
    path, n = tmp_path / "large.h5", 1_000_000
    with h5py.File(path, "w") as file:
        entry = nexus_samples._group(file, "entry", "NXentry")
        detector = nexus_samples._group(entry, "instrument/eiger", "NXdetector")
        detector.create_dataset("data", (n, 514, 1030), "u4", chunks=(1, 514, 1030))
        y, x = np.divmod(np.arange(n), 1000)
        for name, values in (("sy", y), ("sx", x)):
            group = nexus_samples._group(entry, f"instrument/{name}", "NXpositioner")
            nexus_samples._set(group, "value", values.astype(float), "um")
    nexus.read(str(path), trust=True)
    started = time.process_time()
    ds = nexus.read(str(path), trust=True)[""]
    assert time.process_time() - started < 3.0  # 0.4 s where it was written
    assert ds.eiger.shape == (1000, 1000, 514, 1030)
    assert not ds.eiger[5, 6].values.any()


def test_scan_shape_where_no_motor_is_recorded(tmp_path):
    sample = make(tmp_path, "area_detector")
    with h5py.File(sample.path, "r+") as file:
        del file["entry/instrument/NDAttributes/SampleX"], file["entry/instrument/NDAttributes/SampleY"]
    ds = only(sample)
    assert ds.counts.dims == ("frame", "ky", "kx") and ds.i0.dims == ("frame",)
    scan = xp.open(sample.path, scan_shape=(3, 5))
    np.testing.assert_array_equal(scan.counts, sample.frames[:, ::-1].reshape(3, 5, ROWS, COLUMNS)[::-1])
    short = xp.open(sample.path, scan_shape=(4, 4))
    assert int(short.measured.sum()) == 15 and not bool(short.measured[0, 3]) and np.isnan(short.counts[0, 3]).all()
    with pytest.raises(DimensionError, match="scan_shape"):
        xp.open(sample.path, scan_shape=(7, 7))


def test_motors_that_are_no_stages_are_coordinates_of_frames(tmp_path):
    sample = make(tmp_path, "new")
    with h5py.File(sample.path, "r+") as file:
        del file["entry/instrument/sy"], file["entry/plot"]
        file["entry/instrument/sx/value"].attrs["units"] = "deg"
    ds = only(sample)
    assert ds.eiger.dims == ("frame", "ky", "kx") and ds.sx.dims == ("frame",) and ds.sx.units == "degree"
    np.testing.assert_allclose(ds.sx, sample.x)


def test_a_scan_of_time_has_its_columns_along_frame(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        scan = nexus_samples._group(file, "2.1", "NXentry")
        scan["title"] = "loopscan 5 0.1"
        measurement = nexus_samples._group(scan, "measurement", "NXcollection")
        for name in ("ion1", "elapsed_time"):
            nexus_samples._group(scan, f"instrument/{name}", "NXdetector")["data"] = np.arange(5.0)
            measurement[name] = h5py.SoftLink(f"/2.1/instrument/{name}/data")
    ds = nexus.read(str(tmp_path / "a.h5"))[""]
    assert ds.ion1.dims == ("frame",) and schema.problems(ds) == []
    np.testing.assert_array_equal(ds.ion1, np.arange(5))


@pytest.mark.parametrize("lost", ["frames", "places"])
def test_lists_of_unlike_length_are_a_scan_as_far_as_all_go(tmp_path, lost):
    """An aborted scan: the detector saved fewer frames than stages were read, or more."""
    sample = make(tmp_path, "new", "snake")
    with h5py.File(sample.path, "r+") as file:
        del file["entry/plot"]
        for name in ("eiger/data",) if lost == "frames" else ("sx/value", "sy/value"):
            data = file[f"entry/instrument/{name}"]
            values, attrs = data[:13], dict(data.attrs)
            del file[f"entry/instrument/{name}"]
            file[f"entry/instrument/{name}"] = values
            file[f"entry/instrument/{name}"].attrs.update(attrs)
    ds = only(sample)
    want = expected(sample, sample.frames[:, ::-1])
    want[2, [3, 4]] = np.nan  # the third line of a snake runs forward
    np.testing.assert_array_equal(frames_of(ds), want)


def test_readings_that_a_beam_line_calls_counters(tmp_path):
    """A continuous scan of ESRF: the command names the stages, the detector group their readings."""
    sample = make(tmp_path, "bliss", "snake")
    with h5py.File(sample.path, "r+") as file:
        scan = file["7.1"]
        for name in ("nnp2", "nnp3"):
            del scan[f"instrument/{name}"], scan[f"measurement/{name}"], scan[f"instrument/positioners/{name}"]
            scan[f"instrument/positioners/{name}"] = 0.0
        _set = nexus_samples._set
        _set(nexus_samples._group(scan, "instrument/nnp3_position", "NXdetector"), "data", sample.y, "um")
        scan["measurement/nnp3_position"] = h5py.SoftLink("/7.1/instrument/nnp3_position/data")
        scan["instrument/nnp2_position/data"].attrs["units"] = "um"
    ds = only(sample)
    np.testing.assert_array_equal(ds.mpx, expected(sample, sample.frames[:, ::-1]))
    np.testing.assert_allclose(ds.y, np.unique(sample.y) * 1e-6)
    assert ds.x.long_name == "nnp2_position" and "nnp2_position" not in ds


def test_angles_of_a_large_detector_are_computed_where_they_are_looked_at():
    from xpycro.io.translators._detector import detector_coordinates

    coords = detector_coordinates((1100, 1000), (10.0, -20.0), (75e-6, 75e-6), 0.5, 1e-10)
    assert not coords["two_theta"]._in_memory and not coords["q"]._in_memory
    radius = 75e-6 * np.hypot(1099 - 3 - 10.0, 7 + 20.0)  # the fourth row from below
    np.testing.assert_allclose(coords["two_theta"][3, 7], np.degrees(np.arctan(radius / 0.5)))
    np.testing.assert_allclose(coords["q"][3, 5:9][2], 4e10 * np.pi * np.sin(np.arctan(radius / 0.5) / 2))


@pytest.mark.parametrize("points", [15, 12])
def test_a_grid_of_which_only_readings_are_recorded(tmp_path, points):
    """The axes are where the stages stood on each line; the readings jitter, and stay NaN where a scan stopped."""
    sample = make(tmp_path, "diamond", points=points)
    rng = np.random.default_rng(0)
    with h5py.File(sample.path, "r+") as file:
        del file["entry1/pilatus"]
        for name in ("stage_y", "stage_x"):
            group = file[f"entry1/instrument/{name}"]
            del group["value_set"], group.attrs["gda_scan_role"]
            group["value"][...] += rng.uniform(-0.01, 0.01, (3, 5))
    ds = only(sample)
    np.testing.assert_array_equal(ds.pilatus, expected(sample, sample.frames[:, ::-1]))
    np.testing.assert_allclose(ds.y, np.unique(sample.y) * 1e-6, atol=2e-8)
    np.testing.assert_allclose(ds.x, np.unique(sample.x) * 1e-6, atol=2e-8)


def test_one_scan_of_a_file_of_many(tmp_path):
    sample = make(tmp_path, "bliss")
    with h5py.File(sample.path, "r+") as file:
        for n in (8, 9):
            file.copy("7.1", f"{n}.1")
            file[f"{n}.1/instrument/ion1/data"][...] = n
    assert set(nexus.read(sample.path)) == {"scan_7_1", "scan_8_1", "scan_9_1"}
    ds = xp.open(sample.path, entry="8.1")
    assert (ds.ion1 == 8).all() and ds.mpx.dims == ("y", "x", "ky", "kx")
    with pytest.raises(SeveralGroups, match=r"7\.1"):
        xp.open(sample.path, entry="10.1")


def test_two_cameras_and_spectra(tmp_path):
    sample = make(tmp_path, "bliss", "snake")
    camera = np.arange(15 * 2 * 2, dtype="u1").reshape(15, 2, 2)
    with h5py.File(sample.path, "r+") as file:
        group = nexus_samples._group(file, "7.1/instrument/microscope", "NXdetector")
        group["data"] = camera
        file["7.1/measurement/microscope"] = h5py.SoftLink("/7.1/instrument/microscope/data")
    groups = nexus.read(sample.path)
    assert set(groups) == {"scan_7_1", "scan_7_1_microscope"}
    main, side = groups["scan_7_1"], groups["scan_7_1_microscope"]
    assert main.xmap_det0.dims == ("y", "x", "channel")
    np.testing.assert_array_equal(main.xmap_det0[:, :, 0], expected(sample, np.arange(15)))
    np.testing.assert_array_equal(side.microscope, expected(sample, camera[:, ::-1]))
    assert main.attrs["acquired"].startswith("2023-02-01T10:11:12") and main.attrs["title"].startswith("amesh")
    assert main.y.long_name == "nnp3" and main.x.long_name == "nnp2"  # what goes to and fro is x


def test_frames_that_are_not_there(tmp_path):
    sample = make(tmp_path, "bliss")
    next((tmp_path / "scan0007").glob("*.h5")).unlink()
    with pytest.warns(UserWarning, match="mpx"):
        ds = nexus.read(sample.path)[""]
    assert "mpx" not in ds and "ion1" in ds
    sample = make(tmp_path, "master")
    (tmp_path / "master_data_000002.h5").unlink()
    with pytest.warns(UserWarning, match="master_data_000002"):
        only(sample)
    with h5py.File(tmp_path / "none.h5", "w") as file:
        entry = nexus_samples._group(file, "entry", "NXentry")
        nexus_samples._group(entry, "detector", "NXdetector")["data"] = h5py.ExternalLink("gone.h5", "/data")
    with pytest.raises(CorruptFile, match=r"gone\.h5"):
        nexus.read(str(tmp_path / "none.h5"))


@pytest.mark.parametrize("how", ["link", "virtual", "nested"])
def test_frames_outside_the_folder_are_not_touched(tmp_path, how):
    inside = tmp_path / "inside"
    inside.mkdir()
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["data"] = np.zeros((15, 3, 4), "u2")
    sample = make(inside, "new")
    with h5py.File(sample.path, "r+") as file:
        detector = file["entry/instrument/eiger"]
        del detector["data"]
        if how == "link":
            detector["data"] = h5py.ExternalLink("../secret.h5", "/data")
        elif how == "virtual":
            layout = h5py.VirtualLayout((15, 3, 4), "u2")
            layout[:] = h5py.VirtualSource("../secret.h5", "/data", shape=(15, 3, 4))
            detector.create_virtual_dataset("data", layout)
        else:
            with h5py.File(inside / "between.h5", "w") as between:
                between["data"] = h5py.ExternalLink("../secret.h5", "/data")
            detector["data"] = h5py.ExternalLink("between.h5", "/data")
    with pytest.raises(TranslationError, match=r"outside its folder"):
        nexus.read(sample.path)


def test_a_link_within_a_linked_file_leads_from_where_that_file_lies(tmp_path):
    (tmp_path / "raw").mkdir()
    with h5py.File(tmp_path / "raw" / "frames.h5", "w") as file:
        file["data"] = np.ones((15, 3, 4), "u2")
    with h5py.File(tmp_path / "raw" / "master.h5", "w") as file:
        layout = h5py.VirtualLayout((15, 3, 4), "u2")
        layout[:] = h5py.VirtualSource("frames.h5", "/data", shape=(15, 3, 4))
        file.create_virtual_dataset("data", layout)
    sample = make(tmp_path, "new")
    with h5py.File(sample.path, "r+") as file:
        del file["entry/instrument/eiger/data"]
        file["entry/instrument/eiger/data"] = h5py.ExternalLink("raw/master.h5", "/data")
    assert int(only(sample).eiger.sum()) == 15 * 12


def _content(folder, style, **settings):
    """A file, and where the numbers of its frames lie: a changed place of a stage is another layout, as of a header."""
    folder.mkdir()
    sample = make(folder, style, **settings)
    with h5py.File(sample.path) as file:
        frames = file["entry/data/data" if style == "area_detector" else "entry/instrument/eiger/data"]
        block = (frames.id.get_offset(), frames.id.get_offset() + frames.id.get_storage_size())
    return (folder / f"{style}.h5").read_bytes(), block


def _frames_only(path):
    """Everything is read; the frames are judged: what was changed in a monitor is no damage that a file could know."""
    groups = {name: ds.compute() for name, ds in nexus.read(path).items()}
    return {name: ds[[v for v in ds if ds[v].ndim > 2 or v == "measured"]] for name, ds in groups.items()}


@pytest.mark.parametrize("style", ["new", "area_detector"])
def test_mutants(tmp_path, style):
    plain, _ = _content(tmp_path / "plain", style)
    safe, block = _content(tmp_path / "safe", style, libver="latest")
    counts = fuzzing.run_hdf5(_frames_only, safe, block, plain, tmp_path, "a.nxs", count=100)
    assert counts["refused"] > 60
