"""JPK images in HDF5: no real file is at hand, so files are written by their published structure, with known truth."""

from __future__ import annotations

import pickle

import h5py
import numpy as np
import pytest

import xpycro as xp
from tests.io import fuzzing
from xpycro import schema
from xpycro.errors import CorruptFile, NotThisFormat, TranslationError
from xpycro.io import formats
from xpycro.io.translators.jpk_hdf5 import images

CHANNELS = (("height", False), ("height", True), ("error", False))


def build(path, nx=5, ny=3, frames=4, *, channels=CHANNELS, libver=None, **grid):
    """A file as the instrument writes it; the truth by channel and direction, (frame, y, x) from the lower left."""
    rng = np.random.default_rng(0)
    truth = {}
    with h5py.File(path, "w", libver=libver) as file:
        group = file.create_group("Measurement_000")
        said = {"ilength": nx, "jlength": ny, "ulength": nx * 2e-9, "vlength": ny * 3e-9, "theta": 0.5} | grid
        group.attrs.update({f"position-pattern.grid.{key}": value for key, value in said.items()})
        group.attrs["timing-settings.scanRate"] = 10.0
        for number, (name, retrace) in enumerate(channels):
            channel = group.create_group(f"Channel_{number:03}")
            raw = rng.integers(-30000, 30000, size=(ny * nx, frames)).astype("<i4")
            channel[name.capitalize()] = raw
            channel.attrs["channel.name"] = np.bytes_(name)
            channel.attrs["retrace"] = np.bytes_("true" if retrace else "false")
            channel.attrs["net-encoder.scaling.multiplier"] = 1e-3
            channel.attrs["net-encoder.scaling.offset"] = 7.5
            channel.attrs["net-encoder.scaling.unit.unit"] = "nm" if name == "height" else "V"
            truth[name, retrace] = raw.T.reshape(frames, ny, nx) * 1e-3 + 7.5
    return truth


def test_movie_of_images_that_are_not_square(tmp_path):
    path = str(tmp_path / "a.h5-jpk")
    truth = build(path)
    assert formats.identify(path).name == "jpk_hdf5" and formats.known()["jpk_hdf5"].verified == "facts only"
    ds = images(path)[""]
    assert ds.height.dims == ("direction", "frame", "y", "x") and ds.error.dims == ("frame", "y", "x")
    np.testing.assert_allclose(ds.height.sel(direction="backward").values, truth["height", True] * 1e-9, rtol=1e-12)
    np.testing.assert_allclose(ds.height[0, 2, 1, 3].item(), truth["height", False][2, 1, 3] * 1e-9, rtol=1e-12)
    np.testing.assert_allclose(ds.error[1:3, :, ::2].values, truth["error", False][1:3, :, ::2], rtol=1e-12)
    np.testing.assert_allclose(ds.x.values, np.arange(5) * 2e-9)
    np.testing.assert_allclose(ds.y.values, np.arange(3) * 3e-9)
    np.testing.assert_allclose(ds.time.values, np.arange(4) * 0.3)  # three lines at ten a second
    assert (ds.height.attrs["units"], ds.error.attrs["units"], ds.attrs["scan_angle"]) == ("m", "V", 0.5)
    assert schema.problems(ds) == []
    opened = pickle.loads(pickle.dumps(xp.open(path)))
    np.testing.assert_array_equal(opened.height.values, ds.height.values)


def test_one_image_and_a_grid_that_is_reflected(tmp_path):
    path = str(tmp_path / "a.h5-jpk")
    truth = build(path, frames=1, channels=(("height", True),), reflect="true")
    ds = images(path)[""]
    assert ds.height.dims == ("y", "x") and ds.height.attrs["direction"] == "backward"
    np.testing.assert_allclose(ds.height.values, truth["height", True][0, ::-1] * 1e-9, rtol=1e-12)


def test_what_contradicts_itself_is_named(tmp_path):
    path = str(tmp_path / "a.h5-jpk")
    for grid, said in (
        ({"ilength": 6}, "6 x 3"), ({"ilength": -1}, "ilength"), ({"jlength": "many"}, "jlength"),
        ({"ulength": "wide"}, "ulength"),
    ):  # fmt: skip
        build(path, channels=(("height", False),))
        with h5py.File(path, "a") as file:
            for key, value in grid.items():
                file["Measurement_000"].attrs[f"position-pattern.grid.{key}"] = value
        with pytest.raises(CorruptFile, match=said):
            images(path)
    build(path, channels=(("height", False), ("height", False)))
    with pytest.raises(CorruptFile, match="twice"):
        images(path)
    with h5py.File(path, "w") as file:
        file["Measurement_000/Channel_000/Raw_Data"] = np.zeros((4, 3))
    with pytest.raises(NotThisFormat):
        images(path)
    assert formats.identify(path).name != "jpk_hdf5"


def test_mutants_are_refused_or_read_right(tmp_path):
    source, files = tmp_path / "a.h5-jpk", []
    for libver in ("latest", None):
        build(source, channels=(("height", False),), frames=2, libver=libver)
        files.append(source.read_bytes())
        with h5py.File(source) as file:
            table = file["Measurement_000/Channel_000/Height"]
            block = (table.id.get_offset(), table.id.get_offset() + table.id.get_storage_size())
        if libver:
            checked = block
    counts = fuzzing.run_hdf5(images, files[0], checked, files[1], tmp_path, "fuzz.h5-jpk")
    assert counts["refused"] > 30


def test_truncated_files_are_refused(tmp_path):
    source, path = tmp_path / "a.h5-jpk", tmp_path / "b.h5-jpk"
    build(source)
    content = source.read_bytes()
    for length in np.unique(np.geomspace(1, len(content) - 1, 40).astype(int)):
        path.write_bytes(content[:length])
        with pytest.raises(TranslationError):
            images(str(path))[""].load()
