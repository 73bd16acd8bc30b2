"""The frame of the instrument, against what an instrument recorded for each pixel and against plain trigonometry."""

from __future__ import annotations

import numpy as np
import pytest

import xpycro as xp
from tests.io import samples
from xpycro import schema
from xpycro.io.frame import lab_frame, positions
from xpycro.io.many import open_many


def check_against_pixels(ds, shift=0.0):
    """`shift` is how far the header's centre lies from the middle of the positions that were recorded, along x."""
    lab = lab_frame(ds)
    step = float(ds.x[1] - ds.x[0])
    for axis in ("y", "x"):
        assert lab[f"lab_{axis}"].dims == ("y", "x") and lab[f"lab_{axis}"].attrs["units"] == "m"
        recorded = ds[f"pixel_{axis}"].values + (shift if axis == "x" else 0.0)
        np.testing.assert_allclose(lab[f"lab_{axis}"].values, recorded, rtol=0, atol=1e-3 * step)


def test_real_grid_at_45_degrees_agrees_with_its_own_positions(data_file):
    ds = xp.open(data_file("nanonis_3ds/NanonisReader_STS_grid_lockin.3ds"))
    assert np.degrees(ds.attrs["scan_angle"]) == pytest.approx(-45)
    shift = 0.11e-9  # in this file the header states a centre 0.11 nm from that of the recorded positions
    check_against_pixels(ds, shift)
    check_against_pixels(ds.isel(y=slice(3, 9), x=slice(20, None)), shift)  # what is cropped keeps its place
    flat = positions(ds)
    assert flat.current.dims == ("position", "bias") and flat.sizes["position"] == 900
    np.testing.assert_allclose(flat.y.values, flat.pixel_y.values, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(flat.current.isel(position=31).values, ds.current.isel(y=1, x=1).values)


def test_real_grid_that_was_stopped_agrees_with_its_own_positions(data_file):
    ds = xp.open(data_file("nanonis_3ds/Grid Spectroscopy006.3ds"))
    check_against_pixels(ds.isel(y=slice(0, 2)))


@pytest.mark.parametrize("angle", [0.0, 30.0, -120.0])
def test_grid_that_is_not_square(tmp_path, angle):
    path = tmp_path / "a.3ds"
    path.write_bytes(samples.nanonis_grid(6, 5, 7, angle=angle)[0])
    ds = xp.open(path)
    check_against_pixels(ds)
    check_against_pixels(ds.isel(x=slice(2, None)))
    assert schema.problems(positions(ds)) == [] and schema.problems(lab_frame(ds)) == []


def test_places_of_spectra_are_in_the_frame_already(tmp_path):
    path = tmp_path / "a.dat"
    path.write_bytes(samples.nanonis_spectrum()[0])
    ds = xp.open(path)
    lab = lab_frame(ds)
    assert lab.lab_x.item() == ds.x.item() and positions(ds).sizes["position"] == 1


def test_grids_and_spectra_are_laid_on_one_plane(tmp_path):
    for k, angle in enumerate((0.0, 90.0)):
        (tmp_path / f"{k}.3ds").write_bytes(samples.nanonis_grid(4, 3, 5, angle=angle)[0])
    ds = open_many(tmp_path, dim="position")
    assert ds.current.dims == ("position", "bias") and ds.sizes["position"] == 24
    np.testing.assert_allclose(ds.x.values, ds.pixel_x.values, rtol=1e-6)
    np.testing.assert_allclose(ds.y.values, ds.pixel_y.values, rtol=1e-6)
    assert ds.source.values.tolist() == ["0.3ds"] * 12 + ["1.3ds"] * 12
    assert "scan_angle" not in ds.attrs and "scan_angle" not in ds.coords


def test_what_does_not_say_where_it_is(tmp_path):
    path = tmp_path / "a.3ds"
    path.write_bytes(samples.nanonis_grid()[0])
    ds = xp.open(path)
    with pytest.raises(ValueError, match="scan_center_x"):
        lab_frame(ds.drop_attrs(deep=False))
    with pytest.raises(ValueError, match="not y and x"):
        lab_frame(ds.isel(x=0))
    with pytest.raises(ValueError, match="'pixel'"):
        lab_frame(ds.assign_coords(x=("x", ds.x.values, {"units": "pixel"})))
