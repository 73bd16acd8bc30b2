"""Hostile HDF5 is refused before it is touched; lazy arrays over HDF5 read what NumPy would."""

from __future__ import annotations

import pickle
import sys
import time

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xpycro.errors import CorruptFile, TranslationError, UnsupportedVariant
from xpycro.io import formats, hdf5_array, hdf5_guard
from xpycro.io.translators import hdf5_generic


def _hostile(folder, kind):
    path = folder / f"{kind}.h5"
    with h5py.File(path, "w") as file:
        file["fine"] = np.arange(4.0)
        if kind == "external storage":
            file.create_dataset("data", (100,), "u1", external=[("/etc/passwd", 0, 100)])
        elif kind == "external link":
            file["data"] = h5py.ExternalLink("/etc/passwd", "/")
        elif kind == "link upwards":
            file["data"] = h5py.ExternalLink("../other.h5", "/data")
        elif kind == "virtual dataset":
            layout = h5py.VirtualLayout((4,), "f8")
            layout[:] = h5py.VirtualSource("/tmp/elsewhere/source.h5", "data", (4,))
            file.create_virtual_dataset("data", layout)
        elif kind == "cycle":
            file.create_group("a/b")
            file["a/b/c"] = file["a"]
        elif kind == "depth":
            group = file
            for _ in range(80):
                group = group.create_group("g")
        elif kind == "shape bomb":
            file.create_dataset("data", (1 << 40,), "f8", chunks=(1 << 16,), compression="gzip")
        elif kind == "chunk bomb":
            file.create_dataset("data", (1 << 29,), "u1", chunks=(1 << 29,), compression="gzip")
    return path


KINDS = (
    "external storage",
    "external link",
    "link upwards",
    "virtual dataset",
    "cycle",
    "depth",
    "shape bomb",
    "chunk bomb",
)


@pytest.mark.parametrize("kind", KINDS)
def test_hostile_files_are_refused_at_once(tmp_path, kind):
    path = _hostile(tmp_path, kind)
    started = time.perf_counter()
    with pytest.raises(UnsupportedVariant, match="trust=True"):
        hdf5_generic.read(str(path))
    assert time.perf_counter() - started < 1
    assert formats.identify(path).name == "hdf5"


def test_trust_opts_out(tmp_path):
    path = _hostile(tmp_path, "shape bomb")
    ds = hdf5_generic.read(str(path), trust=True)
    assert any(v.size == 1 << 40 for group in ds.values() for v in group.variables.values() if v.ndim)


def test_a_link_within_the_folder_is_followed(tmp_path):
    with h5py.File(tmp_path / "part.h5", "w") as file:
        file["values"] = np.arange(6.0).reshape(2, 3)
    with h5py.File(tmp_path / "main.h5", "w") as file:
        file["data"] = h5py.ExternalLink("part.h5", "/values")
    ds = hdf5_generic.read(str(tmp_path / "main.h5"))[""]
    np.testing.assert_array_equal(ds.data, np.arange(6.0).reshape(2, 3))


def test_a_virtual_dataset_whose_source_is_missing_is_not_zeros(tmp_path):
    layout = h5py.VirtualLayout((4,), "f8")
    layout[:] = h5py.VirtualSource("gone.h5", "data", (4,))
    with h5py.File(tmp_path / "main.h5", "w") as file:
        file.create_virtual_dataset("data", layout)
    with pytest.raises(CorruptFile, match=r"gone\.h5"):
        hdf5_generic.read(str(tmp_path / "main.h5"))


def test_a_truncated_file_is_refused(tmp_path):
    path = tmp_path / "cut.h5"
    with h5py.File(path, "w") as file:
        file["data"] = np.arange(5000.0)
    content = path.read_bytes()
    for length in (9, 100, 600, len(content) // 2):
        path.write_bytes(content[:length])
        with pytest.raises(TranslationError):
            hdf5_generic.read(str(path))


def test_isolation_reports_a_good_file_as_good(tmp_path):
    path = tmp_path / "good.h5"
    with h5py.File(path, "w") as file:
        file["data"] = np.arange(5.0)
    assert hdf5_generic.read(str(path), isolate=True)[""].sizes == {"point": 5}


def test_isolation_survives_a_crash(tmp_path, monkeypatch):
    import subprocess

    monkeypatch.setattr(subprocess, "run", lambda *a, **k: subprocess.CompletedProcess(a, -11))
    with pytest.raises(CorruptFile, match="crashed"):
        hdf5_guard.probe(str(tmp_path / "any.h5"))
    assert sys.executable


# ----------------------------------------------------------------------------------------------------- lazy arrays


def _index(draw, shape):
    key = []
    for size in shape:
        if draw(st.booleans()):
            key.append(draw(st.integers(-size, size - 1)))
        else:
            ends = st.none() | st.integers(-size - 1, size + 1)
            key.append(slice(draw(ends), draw(ends), draw(st.sampled_from([None, 1, 2, -1, -3]))))
    return tuple(key)


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    path = tmp_path_factory.mktemp("stored") / "stored.h5"
    rng = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        file.create_dataset("cube", data=rng.integers(0, 1000, (3, 4, 5, 2)).astype("<i2"), chunks=(2, 2, 2, 2))
        file.create_dataset("table", data=rng.normal(size=(12, 10)).astype(">f4"), chunks=(5, 3))
        record = np.zeros((4, 3), [("a", "f4"), ("b", "f8")])
        record["b"] = rng.normal(size=(4, 3))
        file["record"] = record
    return path


@given(st.data())
def test_axes_in_any_order_are_read_as_numpy_would(stored, data):
    order = data.draw(st.permutations(range(3)))
    flip = data.draw(st.tuples(st.booleans(), st.booleans(), st.booleans()))
    with h5py.File(stored) as file:
        raw = hdf5_array.array(file["cube"], order=order, flip=flip, fixed=[(3, 1)])
        expected = file["cube"][..., 1].transpose(order)
    expected = expected[tuple(slice(None, None, -1 if f else 1) for f in flip)]
    key = _index(data.draw, raw.shape)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(raw)).read(key), expected[key])


@given(st.data())
def test_tables_are_read_as_grids(stored, data):
    rows = data.draw(st.permutations(range(12))) if data.draw(st.booleans()) else None
    missing = rows is not None and data.draw(st.booleans())
    with h5py.File(stored) as file:
        lookup = None if rows is None else np.array(rows)
        if missing:
            lookup[3] = -1
        raw = hdf5_array.table(file["table"], (3, 4), (2, 5), rows=lookup)
        values = file["table"][()].astype("f4")
    expected = values if rows is None else values[np.array(rows)]
    if missing:
        expected[3] = np.nan
    expected = expected.reshape(3, 4, 2, 5)
    key = _index(data.draw, raw.shape)
    np.testing.assert_array_equal(raw.read(key), expected[key])


def test_a_field_and_a_factor(stored):
    with h5py.File(stored) as file:
        raw = hdf5_array.array(file["record"], field="b", factor=1e-9)
        expected = file["record"]["b"] * 1e-9
    np.testing.assert_array_equal(raw.read(), expected)


def test_a_file_that_changed_shape_is_noticed(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["data"] = np.zeros((3, 4))
        raw = hdf5_array.array(file["data"])
    with h5py.File(path, "w") as file:
        file["data"] = np.zeros((4, 3))
    with pytest.raises(CorruptFile, match="another shape"):
        raw.read()


def test_files_that_are_longer_than_they_say(tmp_path):
    for libver in (None, "latest"):
        path = tmp_path / "a.h5"
        with h5py.File(path, "w", libver=libver) as file:
            file["data"] = np.arange(40.0)
        with hdf5_guard.opened(str(path), whole=True) as (_, contents):
            assert contents.datasets == ("/data",)
        with path.open("ab") as stream:
            stream.write(b"more")
        with pytest.raises(CorruptFile, match="bytes and has"), hdf5_guard.opened(str(path), whole=True):
            pass
        with hdf5_guard.opened(str(path)) as (_, contents):  # others may have their reasons
            assert contents.datasets == ("/data",)


def test_an_address_that_leads_into_another_object(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["a"], file["b"] = np.arange(40.0), np.arange(40.0)
        first, second = (file[name].id.get_offset() for name in "ab")
    content = path.read_bytes()
    there = content.index(second.to_bytes(8, "little"))
    for address in (first + 8, second - 8):
        path.write_bytes(content[:there] + address.to_bytes(8, "little") + content[there + 8 :])
        with pytest.raises(CorruptFile, match="lies within"), hdf5_guard.opened(str(path), whole=True):
            pass
