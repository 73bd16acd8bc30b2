"""A second pass over a graph reads anew, after what it waits for, whatever operations lie in between."""

import dask
import dask.array
import numpy as np
import pytest
import xarray as xr

from xpycro.engine.chunked import after

LOG: list[str] = []


def load(block_info=None):
    LOG.append("load")
    return np.ones((1, 3, 4)) * (1 + block_info[None]["chunk-location"][0])


def total(values):
    LOG.append("total")
    return values.sum()


def source():
    return dask.array.map_blocks(load, dtype=float, chunks=((1, 1), (3,), (4,)))


# indexing and rechunking are what dask.graph_manipulation.bind breaks in dask 2026.8
STEPS = {
    "nothing": lambda x: x,
    "integer": lambda x: x[0],
    "slice": lambda x: x[:, :, 1:3],
    "arithmetic": lambda x: x[0] + 1,
    "rechunk": lambda x: x.rechunk((2, 3, 2)),
    "transpose": lambda x: x.T,
    "fancy": lambda x: x[:, np.array([0, 2])],
    "reduction": lambda x: x.mean(0),
}


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("scheduler", ["sync", "threads"])
def test_the_second_pass_loads_again_and_later(step, scheduler):
    first = source()
    changed = STEPS[step](first)
    again = after(xr.DataArray(changed), dask.delayed(total)(first))
    np.testing.assert_array_equal(again.data.compute(scheduler=scheduler), changed.compute(scheduler=scheduler))
    LOG.clear()
    again.data.compute(scheduler=scheduler)
    assert LOG[: LOG.index("total")] == ["load", "load"]
    assert LOG[LOG.index("total") + 1 :] == ["load"] * (1 if step in ("integer", "arithmetic") else 2)


def test_numbers_in_the_graph_are_not_copied_and_memory_is_left_alone():
    in_memory = xr.DataArray(np.arange(6.0).reshape(2, 3), dims=("y", "x"))
    assert after(in_memory, dask.delayed(total)(1)) is in_memory
    chunked = in_memory.chunk({"y": 1})
    assert after(chunked) is chunked
    np.testing.assert_array_equal(after(chunked[1], dask.delayed(sum)([1])), [3, 4, 5])
