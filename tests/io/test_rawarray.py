"""rawarray: against NumPy on bytes written here; bytes read are counted, a shrunk file is noticed."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from xpycro.errors import CorruptFile
from xpycro.io import rawarray
from xpycro.io.rawarray import RawArray, StackedArray, lazy


@pytest.fixture
def counted(monkeypatch):
    """Bytes that went through `read_block` since the list was last cleared."""
    sizes: list[int] = []
    original = rawarray.read_block

    def counting(handle, offset, buffer):
        got = original(handle, offset, buffer)
        sizes.append(got)
        return got

    monkeypatch.setattr(rawarray, "read_block", counting)
    return sizes


def _write(path, array, head=b"", tail=b""):
    path.write_bytes(head + array.tobytes() + tail)
    return str(path)


@settings(derandomize=True, deadline=None, max_examples=60)
@given(data=st.data())
def test_any_index_equals_numpy(tmp_path_factory, data):
    shape = tuple(data.draw(st.lists(st.integers(1, 6), min_size=1, max_size=4)))
    dtype = data.draw(st.sampled_from([">f4", "<f8", ">i2", "<u4", "<i4"]))
    array = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    order = data.draw(st.permutations(range(len(shape))))
    flips = data.draw(st.sets(st.integers(0, len(shape) - 1)))
    path = tmp_path_factory.mktemp("raw") / "a.bin"
    stored = np.ascontiguousarray(array.transpose(order))
    path.write_bytes(b"head" + stored.tobytes())
    strides = [0] * len(shape)
    for axis, stride in zip(order, stored.strides, strict=True):
        strides[axis] = stride
    raw = RawArray.strided(str(path), 4, dtype, shape, strides)
    expected = array
    for axis in flips:
        raw, expected = raw.flip(axis), np.flip(expected, axis)
    key = tuple(
        data.draw(
            st.one_of(
                st.integers(-n, n - 1),
                st.builds(
                    slice,
                    st.one_of(st.none(), st.integers(-n, n)),
                    st.one_of(st.none(), st.integers(-n, n)),
                    st.sampled_from([None, 1, 2, -1, -3]),
                ),
            )
        )
        for n in shape
    )
    np.testing.assert_array_equal(raw.read(key), expected[key])
    assert raw.read(key).shape == expected[key].shape
    variable = xr.Variable([f"d{i}" for i in range(len(shape))], lazy(raw))
    if expected[key].size:  # xarray itself fails on an empty slice with a negative step
        np.testing.assert_array_equal(variable[key].values, expected[key])


def test_gaps_larger_than_a_piece_are_not_read(tmp_path, counted, monkeypatch):
    monkeypatch.setattr(rawarray, "_GAP", 8)
    array = np.arange(100 * 64, dtype=">f4").reshape(100, 64)
    raw = RawArray.contiguous(_write(tmp_path / "a", array), 0, ">f4", array.shape)
    np.testing.assert_array_equal(raw.read((slice(None), 3)), array[:, 3])
    assert sum(counted) == 100 * 4
    counted.clear()
    np.testing.assert_array_equal(raw.read((slice(10, 13),)), array[10:13])
    assert counted == [3 * 64 * 4]


def test_small_pieces_make_up_a_large_block(tmp_path, monkeypatch):
    monkeypatch.setattr(rawarray, "_SPAN", 64)
    monkeypatch.setattr(rawarray, "_GAP", 8)
    array = np.arange(7 * 5 * 9, dtype="<f8").reshape(7, 5, 9)
    raw = RawArray.contiguous(_write(tmp_path / "a", array), 0, "<f8", array.shape, flip=(0, 2))
    np.testing.assert_array_equal(raw.read((slice(None), slice(None, None, 2), slice(1, 8, 3))),
                                  array[::-1, ::2, ::-1][:, :, 1:8:3])  # fmt: skip


def test_scaled_integers_become_floats(tmp_path):
    array = np.array([[-32768, 0], [1, 32767]], dtype="<i2")
    raw = RawArray.contiguous(_write(tmp_path / "a", array), 0, "<i2", (2, 2), factor=0.5, constant=3)
    assert raw.result_dtype == np.float64
    np.testing.assert_array_equal(raw.read(), array * 0.5 + 3)


@pytest.mark.parametrize("dtype", [">f4", "<i2"])
def test_what_was_never_written_is_nan(tmp_path, dtype):
    array = np.arange(12).reshape(4, 3).astype(dtype)
    path = tmp_path / "a"
    path.write_bytes(array.tobytes()[: 7 * array.itemsize])
    raw = RawArray.contiguous(str(path), 0, dtype, (4, 3), end=7 * array.itemsize)
    expected = np.where(np.arange(12).reshape(4, 3) < 7, np.arange(12.0).reshape(4, 3), np.nan)
    np.testing.assert_array_equal(raw.read(), expected)
    np.testing.assert_array_equal(raw.flip(0).read((slice(1, 3),)), expected[::-1][1:3])
    np.testing.assert_array_equal(raw.read((slice(None), 2)), expected[:, 2])


def test_a_file_that_shrinks_is_noticed(tmp_path):
    array = np.arange(100, dtype="<f4")
    path = _write(tmp_path / "a", array)
    raw = RawArray.contiguous(path, 0, "<f4", (100,))
    with open(path, "r+b") as handle:
        handle.truncate(200)
    np.testing.assert_array_equal(raw.read((slice(0, 50),)), array[:50])
    with pytest.raises(CorruptFile, match="200 bytes and had 400"):
        raw.read()


def test_pickles_and_is_tokenized_by_content(tmp_path):
    from dask.base import tokenize

    path = _write(tmp_path / "a", np.arange(6, dtype="<f4"))
    raw = RawArray.contiguous(path, 0, "<f4", (2, 3))
    again = pickle.loads(pickle.dumps(raw))
    np.testing.assert_array_equal(again.read(), raw.read())
    assert tokenize(again) == tokenize(raw) == tokenize(RawArray.contiguous(path, 0, "<f4", (2, 3)))
    assert tokenize(raw.flip(0)) != tokenize(raw)
    variable = xr.Variable(("y", "x"), lazy(raw))
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(variable)).values, raw.read())


def test_stacked_reads_only_the_part_asked_for(tmp_path, counted):
    array = np.arange(12, dtype="<f4").reshape(2, 2, 3)
    path = _write(tmp_path / "a", array)
    forward = RawArray.contiguous(path, 0, "<f4", (2, 3))
    backward = RawArray.contiguous(path, 24, "<f4", (2, 3), flip=(1,))
    stack = StackedArray((forward, backward))
    expected = np.stack([array[0], array[1][:, ::-1]])
    np.testing.assert_array_equal(stack.read(), expected)
    counted.clear()
    np.testing.assert_array_equal(stack.read((1, slice(None), 0)), expected[1, :, 0])
    assert sum(counted) <= 24
    np.testing.assert_array_equal(stack.read((slice(None, None, -1), 1)), expected[::-1, 1])
    assert stack.read((slice(0, 0),)).shape == (0, 2, 3)


def test_dask_threads_read_without_a_lock(tmp_path):
    array = np.arange(64 * 64, dtype=">f4").reshape(64, 64)
    raw = RawArray.contiguous(_write(tmp_path / "a", array), 0, ">f4", array.shape)
    chunked = xr.DataArray(xr.Variable(("y", "x"), lazy(raw))).chunk({"y": 5, "x": 7})
    np.testing.assert_array_equal(chunked.compute(scheduler="threads").values, array)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_stacked_along_any_axis(tmp_path, axis):
    array = np.arange(12, dtype="<f4").reshape(2, 2, 3)
    path = _write(tmp_path / "a", array)
    stack = StackedArray(tuple(RawArray.contiguous(path, 24 * k, "<f4", (2, 3)) for k in range(2)), axis)
    expected = np.stack(list(array), axis)
    assert stack.shape == expected.shape
    for key in [(), (1,), (slice(None), 1), (1, slice(None), slice(None, None, -1)), (0, 1, 1), (slice(1, 1),)]:
        np.testing.assert_array_equal(stack.read(key), expected[key])
        assert stack.read(key).shape == expected[key].shape
