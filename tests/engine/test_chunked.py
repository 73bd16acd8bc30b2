"""engine/chunked: three array states, block-wise evaluation, passes and reductions, against plain NumPy."""

from __future__ import annotations

import operator
import pickle

import dask
import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

import xpycro as xp
from tests.conftest import as_indexed, raise_if_dask_computes
from xpycro.engine import chunked
from xpycro.io.rawarray import RawArray, lazy

SIZES = {"y": 4, "x": 6, "bias": 5}


def cube(dtype: str = "f8") -> xr.DataArray:
    values = np.random.default_rng(0).normal(size=tuple(SIZES.values())) * 10
    return xr.DataArray(
        values.astype(dtype),
        dims=tuple(SIZES),
        coords={"x": np.arange(6) * 2.0, "bias": np.linspace(-1, 1, 5), "when": ("y", np.arange(4))},
        attrs={"units": "A"},
        name="current",
    )


@pytest.fixture
def states(tmp_path):
    da = cube()
    indexed = as_indexed(da.to_dataset(), tmp_path / "cube.h5")["current"]
    return {"memory": da, "dask": da.chunk(y=2, x=3, bias=2), "indexed": indexed}


def test_states(states):
    assert {name: chunked.state(da) for name, da in states.items()} == {name: name for name in states}
    assert not chunked.is_lazy(states["memory"])
    assert chunked.is_lazy(states["dask"]) and chunked.is_lazy(states["indexed"])


def test_lazily_leaves_memory_and_dask_alone_and_chunks_what_is_indexed(states):
    assert chunked.lazily(states["memory"]) is states["memory"]
    assert chunked.lazily(states["dask"]) is states["dask"]
    assert chunked.state(chunked.lazily(states["indexed"])) == "dask"
    assert chunked.state(states["indexed"]) == "indexed"
    ds = xr.Dataset({"a": states["indexed"], "b": states["memory"]})
    assert [chunked.state(da) for da in chunked.lazily(ds).data_vars.values()] == ["dask", "memory"]


@given(
    sizes=st.tuples(st.integers(1, 300), st.integers(1, 300), st.integers(1, 3000)),
    stored=st.tuples(st.integers(1, 40), st.integers(1, 40), st.integers(1, 400)),
)
def test_auto_chunks_are_whole_multiples_of_the_files(sizes, stored):
    dims = ("y", "x", "energy")
    file_chunks = dict(zip(dims, stored, strict=True))
    chunks = chunked.auto_chunks(dict(zip(dims, sizes, strict=True)), 4, file_chunks, target=1 << 20)
    for dim, size in zip(dims, sizes, strict=True):
        assert 1 <= chunks[dim] <= size
        assert chunks[dim] == size or chunks[dim] % file_chunks[dim] == 0
    stored_bytes = 4 * np.prod([min(a, b) for a, b in zip(stored, sizes, strict=True)])
    assert 4 * np.prod(list(chunks.values())) <= max(1 << 20, stored_bytes)


@pytest.mark.parametrize("dims", [["bias"], ["y"], ["y", "bias"], ["y", "x", "bias"]])
def test_whole_gives_dims_in_one_block_in_every_state(states, dims):
    for name, da in states.items():
        with raise_if_dask_computes():
            found = chunked.whole(da, dims, target=200)
        assert (found.chunks is None) == (name == "memory")
        if found.chunks is not None:
            assert all(len(found.chunksizes[d]) == 1 for d in dims)
        xr.testing.assert_identical(found.compute(), states["memory"])


def test_whole_of_an_indexed_array_never_passes_through_blocks_of_another_shape(states):
    found = chunked.whole(states["indexed"], ["y"], target=64)
    assert len(found.chunksizes["bias"]) > 1
    assert not any("rechunk" in layer for layer in found.data.__dask_graph__().layers)


def _range(block):
    return block.min(axis=-1), block.max(axis=-1)


def test_apply_two_outputs_in_every_state_from_one_evaluation(states):
    outputs = {"low": chunked.Output(float, attrs={"units": "A"}), "high": chunked.Output(float)}
    for name, da in states.items():
        with raise_if_dask_computes():
            found = chunked.apply(_range, da, dims=[["bias"]], outputs=outputs)
        assert chunked.is_lazy(found["low"]) == (name != "memory")
        low, high = dask.compute(found["low"], found["high"])
        expected = states["memory"].values
        np.testing.assert_array_equal(low, expected.min(-1))
        np.testing.assert_array_equal(high, expected.max(-1))
        assert found["low"].attrs == {"units": "A"} and found["high"].attrs == {}
        assert "when" in found["low"].coords


def _outer(block, weights):
    return block[..., None, :] * weights[:, None]


def test_apply_new_core_dims_and_an_array_without_observation_dims(states):
    weights = xr.DataArray([1.0, 2.0], dims="component")
    outputs = {"out": chunked.Output(float, ("component", "bias"), {"component": 2})}
    for da in states.values():
        found = chunked.apply(_outer, da, weights, dims=[["bias"], ["component"]], outputs=outputs)["out"]
        assert found.dims == ("y", "x", "component", "bias")
        np.testing.assert_array_equal(found[:, :, 1], 2 * states["memory"])


def test_apply_refuses_coordinates_that_differ():
    a = cube()
    with pytest.raises(ValueError, match="x"):
        chunked.apply(
            np.add,
            a,
            a.assign_coords(x=a.x + 1).isel(bias=0),
            dims=[[], []],
            outputs={"s": chunked.Output(float)},
        )


@given(
    chunks=st.fixed_dictionaries({d: st.integers(1, s) for d, s in SIZES.items()}),
    dims=st.sampled_from([["bias"], ["y"], ["x", "bias"], ["y", "x", "bias"]]),
)
def test_reduce_over_any_chunks(chunks, dims):
    da = cube("i4")
    observed = tuple(d for d in da.dims if d not in dims)
    expected = da.sum(observed).values.reshape(-1)
    for data in (da, da.chunk(chunks)):
        with raise_if_dask_computes():
            value = chunked.reduce(data, dims, _column_sums, operator.add)
        (value,) = chunked.compute(value)
        np.testing.assert_array_equal(value, expected)


def _column_sums(block, *others, factor=1):
    for other in others:
        block = block * other[:, None]
    return block.sum(axis=0) * factor


@given(chunks=st.fixed_dictionaries({d: st.integers(1, s) for d, s in SIZES.items()}), lazy_mask=st.booleans())
def test_reduce_with_a_mask_over_some_observation_dims(chunks, lazy_mask):
    da = cube("i4")
    mask = xr.DataArray([True, False, True, True], dims="y")
    expected = (da * mask).sum(("y", "x")).values
    assert (chunked.reduce(da, ["bias"], _column_sums, operator.add, others=[mask]) == expected).all()
    value = chunked.reduce(
        da.chunk(chunks), ["bias"], _column_sums, operator.add, others=[mask.chunk(y=1) if lazy_mask else mask]
    )
    np.testing.assert_array_equal(chunked.compute(value)[0], expected)


def test_reduce_finish_and_delayed_arguments(states):
    factor = dask.delayed(3)
    for da in states.values():
        value = chunked.reduce(da, ["bias"], _column_sums, operator.add, finish=np.sum, kwargs={"factor": factor})
        assert chunked.compute(value)[0] == pytest.approx(3 * float(states["memory"].sum()))


def test_reduce_is_bit_identical_for_equal_chunks():
    da = cube()
    values = [
        chunked.compute(chunked.reduce(da.chunk(y=1, x=2), ["bias"], _column_sums, operator.add))[0] for _ in range(3)
    ]
    assert all((v == values[0]).all() for v in values)


def test_reduce_reads_the_file_once(states, bytes_read, tmp_path):
    da = xr.DataArray(np.random.default_rng(0).normal(size=(64, 64, 256)), dims=("y", "x", "bias"), name="v")
    indexed = as_indexed(da.to_dataset(), tmp_path / "one.h5")["v"]
    value = chunked.reduce(chunked.whole(indexed, ["bias"], target=1 << 20), ["bias"], _column_sums, operator.add)
    counter = bytes_read()
    np.testing.assert_allclose(chunked.compute(value)[0], da.sum(("y", "x")))
    assert 1.0 <= counter.total / da.nbytes < 1.1


def test_after_makes_a_second_pass_read_again(bytes_read, tmp_path):
    da = xr.DataArray(np.random.default_rng(0).normal(size=(64, 64, 256)), dims=("y", "x", "bias"), name="v")
    indexed = as_indexed(da.to_dataset(), tmp_path / "two.h5")["v"]
    data = chunked.whole(indexed, ["bias"], target=1 << 20)
    first = chunked.reduce(data, ["bias"], _column_sums, operator.add)
    with raise_if_dask_computes():
        again = chunked.after(data, first)
    second = chunked.reduce(again, ["bias"], _column_sums, operator.add)
    counter = bytes_read()
    a, b = chunked.compute(first, second)
    np.testing.assert_array_equal(a, b)
    assert 2.0 <= counter.total / da.nbytes < 2.2
    assert chunked.after(da, first) is da
    assert chunked.after(data, 3.0) is data


@pytest.mark.parametrize("dims", [["bias"], ["y"], ["x", "bias"], ["y", "bias"]])
def test_rows_unfold_to_the_dims_they_were_folded_from(dims):
    da = cube()
    rows = da.transpose(..., *dims).values.reshape(-1, int(np.prod([SIZES[d] for d in dims])))
    back = chunked.from_matrix(rows, da, dims, ("row",))
    assert back.dims == ("row", *dims)
    assert set(back.coords) == {
        name for name, coord in da.coords.items() if coord.dims and set(coord.dims) <= set(dims)
    }
    np.testing.assert_array_equal(back.values.reshape(rows.shape), rows)


@given(chunks=st.fixed_dictionaries({d: st.integers(1, s) for d, s in SIZES.items()}))
def test_blocks_give_every_observation_once_with_its_companions(chunks):
    da = cube()
    number = xr.DataArray(np.arange(24).reshape(4, 6), dims=("y", "x"))
    flat = da.values.reshape(24, 5)
    for data in (da, da.chunk(chunks)):
        seen = []
        for block, numbers in chunked.blocks(data, ["bias"], number):
            np.testing.assert_array_equal(block, flat[numbers])
            seen += numbers.tolist()
        assert sorted(seen) == list(range(24))


def test_blocks_of_an_indexed_array_stay_small(states):
    sizes = [block.shape for block, *_ in chunked.blocks(states["indexed"], ["bias"])]
    assert sum(n for n, _ in sizes) == 24
    assert chunked.state(states["indexed"]) == "indexed"


def test_from_delayed():
    assert chunked.from_delayed([1, 2], (2,), float).dtype == float
    lazy = chunked.from_delayed(dask.delayed(np.array([1.0, 2.0])), (2,), float)
    assert lazy.shape == (2,)
    assert lazy.sum().compute() == 3


def test_what_is_sent_to_workers_pickles(states):
    value = chunked.reduce(states["dask"], ["bias"], _column_sums, operator.add)
    again = pickle.loads(pickle.dumps(value))
    np.testing.assert_array_equal(again.compute(), value.compute())


def test_nothing_is_modified(states):
    before = {name: da.copy(deep=True) for name, da in states.items()}
    for name, da in states.items():
        chunked.compute(chunked.reduce(da, ["bias"], _column_sums, operator.add))
        list(chunked.blocks(da, ["bias"]))
        xr.testing.assert_identical(da, before[name])


def _shifted(rows, skip=None, *, by):
    out = np.stack([rows.sum(axis=1), rows[:, 0] + np.asarray(by).ravel()[0]], axis=1)
    if skip is not None:
        out[skip] = np.nan
    return out


@given(
    chunks=st.fixed_dictionaries({d: st.integers(1, s) for d, s in SIZES.items()}),
    dims=st.sampled_from([["bias"], ["y"], ["x", "bias"], ["y", "x", "bias"]]),
    lazy_argument=st.booleans(),
)
def test_map_observations_over_any_chunks(chunks, dims, lazy_argument):
    import dask.array

    da = cube()
    by = dask.array.from_array(np.array([2.0, 3.0]), chunks=1) if lazy_argument else np.array([2.0, 3.0])
    observed = [d for d in da.dims if d not in dims]
    mask = [xr.DataArray(np.arange(SIZES[observed[0]]) == 1, dims=observed[0])] if observed else []
    rows = da.transpose(..., *dims).values.reshape(-1, int(np.prod([SIZES[d] for d in dims])))
    expected = np.stack([rows.sum(axis=1), rows[:, 0] + 2]).reshape(2, *[SIZES[d] for d in observed])
    if observed:
        expected[:, 1] = np.nan
    for data in (da, da.chunk(chunks)):
        with raise_if_dask_computes():
            found = chunked.map_observations(_shifted, data, dims, "out", 2, float, others=mask, kwargs={"by": by})
        assert found.dims == ("out", *observed)
        np.testing.assert_allclose(found, expected)


def test_call_is_delayed_where_an_argument_is():
    assert chunked.call(operator.add, 1, 2) == 3
    assert chunked.call(operator.add, dask.delayed(1), 2).compute() == 3


def test_stored_is_what_dask_holds_the_blocks_of_and_nothing_else(states, tmp_path):
    """Only of files of which a part is read without the rest; what dask is to compute stays dask's."""
    kept = xp.save(cube(), tmp_path / "kept.h5")["current"]
    found = chunked.stored(kept)
    assert chunked.state(kept) == "dask" and chunked.state(found) == "indexed"
    xr.testing.assert_identical(found.compute(), kept.compute())
    for other in (kept * 2, kept[1:], *states.values(), states["indexed"].chunk()):
        assert chunked.stored(other) is other


def test_read_at_once_is_a_chunk_or_what_lies_near_or_a_block_of_dask(states, tmp_path):
    cut = states["indexed"]
    cut.encoding["preferred_chunks"] = {"y": 3, "x": 8, "bias": 5}
    assert chunked.read_at_once(cut[:2]) == {"y": 2, "x": 6, "bias": 5}
    assert chunked.read_at_once(states["dask"] * 2) == {"y": 2, "x": 3, "bias": 2}
    (tmp_path / "a.raw").touch()
    raw = RawArray.contiguous(str(tmp_path / "a.raw"), 0, "<f4", (100, 50, 300))
    da = xr.DataArray(xr.Variable(("y", "x", "bias"), lazy(raw)))
    for one in (da, da.chunk()):  # 1200 bytes a spectrum, 13 of them within 16 kB
        assert chunked.read_at_once(one) == {"y": 1, "x": 13, "bias": 300}
    assert chunked.read_at_once(da[::2, 4, ::-10]) == {"y": 1, "bias": 30}
