"""TopoStats and FAST movements: real files against INDEX.tsv and h5py, synthetic ones against their truth."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from tests.io import fuzzing
from xpycro import schema
from xpycro.errors import CorruptFile, NotThisFormat, TranslationError
from xpycro.io import formats
from xpycro.io.translators.afm_hdf5 import fast_movement, topostats


def build(path, nx=5, ny=3, step=2.0, seed=0, libver=None):
    image = np.random.default_rng(seed).normal(size=(ny, nx))
    with h5py.File(path, "w", libver=libver) as file:
        file["image"], file["image_original"] = image, 2 * image
        file["pixel_to_nm_scaling"], file["topostats_file_version"] = step, 0.2
        file["filename"] = "minicircle"
    return image


def test_real_image_agrees_with_its_index_row(data_file):
    path = data_file("topostats/sample_0_1.topostats")
    assert formats.identify(path).name == "topostats"
    ds = topostats(str(path))[""]
    assert ds.image.dims == ("y", "x") and ds.image.shape == (64, 64) and ds.image.attrs["units"] == "m"
    assert ds.image.sum().item() == pytest.approx(112069.51332503435e-9, rel=1e-12)
    assert ds.x[1].item() == pytest.approx(1.97601171875e-9)
    with h5py.File(path) as file:
        np.testing.assert_allclose(ds.image.values[::-1], file["image"][()] * 1e-9, rtol=1e-12)
    assert schema.decode_metadata(ds.attrs["original_metadata"])["topostats_file_version"] == 0.1
    assert schema.problems(ds) == []


def test_orientation_and_scale_of_a_non_square_image(tmp_path):
    path = str(tmp_path / "a.topostats")
    image = build(path)
    ds = topostats(path)[""]
    np.testing.assert_allclose(ds.image.values, image[::-1] * 1e-9, rtol=1e-12)  # the top row comes first
    np.testing.assert_allclose(ds.image_original.values, 2e-9 * image[::-1], rtol=1e-12)
    np.testing.assert_allclose(ds.x.values, np.arange(5) * 2e-9)
    np.testing.assert_allclose(ds.y.values, np.arange(3) * 2e-9)
    assert ds.attrs["title"] == "minicircle"


def test_real_movement_agrees_with_h5py(data_file):
    path = data_file("proespm_h5/AT_250526_002.h5")
    assert formats.identify(path).name == "fast_movement"
    ds = fast_movement(str(path))[""]
    assert ds.data.dims == ("point", "channel") and ds.data.shape == (449, 4)
    with h5py.File(path) as file:
        np.testing.assert_array_equal(ds.data.values, file["data"][()])
    assert ds.attrs["acquired"] == "2025-05-26T10:08:30" and ds.attrs["operating_mode"] == "ATOM"
    assert schema.decode_metadata(ds.attrs["original_metadata"])["Scanner.X_Calibration"] == 20.0
    assert schema.problems(ds) == []


def test_others_are_refused(tmp_path):
    path = str(tmp_path / "a.h5")
    with h5py.File(path, "w") as file:
        file["other"] = np.zeros((2, 2))
    for read in (topostats, fast_movement):
        with pytest.raises(NotThisFormat):
            read(path)
    build(path, step=-1.0)
    with pytest.raises(CorruptFile):
        topostats(path)
    (tmp_path / "b.h5").write_bytes(b"not HDF5")
    with pytest.raises(TranslationError):
        topostats(str(tmp_path / "b.h5"))


def movement(path, libver=None):
    """A table of four channels with a few settings."""
    with h5py.File(path, "w", libver=libver) as file:
        file["data"] = np.random.default_rng(0).normal(size=(30, 4))
        file["data"].attrs["ExperimentInfo.FileFormatVersion"] = "1.0"
        file["data"].attrs["ExperimentInfo.Mode"] = "ATOM"


@pytest.mark.parametrize(("read", "write", "name"), [(topostats, build, "image"), (fast_movement, movement, "data")])
def test_mutants_are_refused_or_read_right(tmp_path, read, write, name):
    files = []
    for libver in ("latest", None):
        source = tmp_path / f"{libver}.h5"
        write(source, libver=libver)
        files.append(source)
    with h5py.File(files[0]) as file:
        stored = [file[n].id for n in ("image", "image_original", "data") if n in file]
        block = (
            min(s.get_offset() for s in stored),
            max(s.get_offset() + s.get_storage_size() for s in stored),
        )
    contents = [file.read_bytes() for file in files]
    assert fuzzing.run_hdf5(read, contents[0], block, contents[1], tmp_path, "fuzz.h5")["refused"] > 30
