"""The one room that knows dask: three array states, block-wise evaluation, tree reductions, the feature matrix.

An array is in *memory* (NumPy), a *dask* graph, or *indexed* (xarray's lazily indexed array of a plain
``open_dataset``). Memory gives memory, the other two give dask: nothing is ever loaded whole on the way.
May import numpy, xarray, dask (inside functions), errors and schema; knows nothing of files, models or pictures.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import xarray as xr

__all__ = [
    "BLOCK_BYTES",
    "Output",
    "after",
    "apply",
    "auto_chunks",
    "blocks",
    "call",
    "compute",
    "from_delayed",
    "from_matrix",
    "is_lazy",
    "lazily",
    "map_and_reduce",
    "map_observations",
    "rechunked",
    "reduce",
    "state",
    "to_matrix",
    "whole",
]

BLOCK_BYTES = 96 * 1024 * 1024  # few large blocks: a tap through 32,768 small ones costs 0.6 s, through 128 ones 0.03 s

T = TypeVar("T", xr.DataArray, xr.Dataset)


# ---------------------------------------------------------------------------------------------------------- states


def state(da: xr.DataArray) -> str:
    """``"memory"``, ``"dask"`` or ``"indexed"`` (lazily indexed by xarray, nothing read yet)."""
    if da.chunks is not None:
        return "dask"
    return "memory" if da.variable._in_memory else "indexed"


def is_lazy(da: xr.DataArray) -> bool:
    """Whether using the values would read or compute something."""
    return state(da) != "memory"


def auto_chunks(
    sizes: Mapping[str, int],
    itemsize: int,
    file_chunks: Mapping[str, int] | None = None,
    *,
    target: int = BLOCK_BYTES,
) -> dict[str, int]:
    """Block sizes of about `target` bytes: few, whole multiples of the file's chunks, last dims whole first.

    Parameters
    ----------
    sizes : mapping of str to int
        The array's dims in order, slowest first.
    itemsize : int
    file_chunks : mapping, optional
        Chunks of the file; 1 along each dim where the file is one block.
    target : int, optional
        Bytes of one block; reached within a factor of two where the shape allows it.

    Examples
    --------
    >>> auto_chunks({"y": 1024, "x": 512, "energy": 4096}, 4)
    {'y': 12, 'x': 512, 'energy': 4096}
    """
    file_chunks = file_chunks or {}
    chunks = {dim: min(size, max(1, int(file_chunks.get(dim, 1)))) for dim, size in sizes.items()}
    room = max(1, target // max(1, itemsize))
    for dim in reversed(list(sizes)):
        others = int(np.prod([chunks[d] for d in sizes if d != dim], dtype=np.int64)) or 1
        step = max(1, chunks[dim])
        fitting = max(1, room // (others * step)) * step
        chunks[dim] = max(1, sizes[dim] if fitting >= sizes[dim] else fitting)
    return chunks


def _file_chunks(da: xr.DataArray) -> dict[str, int]:
    preferred = da.encoding.get("preferred_chunks")
    if isinstance(preferred, Mapping):
        return {str(d): int(max(c) if isinstance(c, tuple | list) else c) for d, c in preferred.items()}
    stored = da.encoding.get("chunksizes")
    return dict(zip(map(str, da.dims), map(int, stored), strict=True)) if stored and len(stored) == da.ndim else {}


def lazily(obj: T, chunks: Mapping[Any, int] | None = None, *, target: int = BLOCK_BYTES) -> T:
    """The same object with its lazily indexed arrays chunked; arrays in memory and dask arrays as they are.

    Parameters
    ----------
    obj : DataArray or Dataset
    chunks : mapping, optional
        Block lengths that are wanted along some dims (-1: whole); the others follow.
    target : int, optional
        Bytes of one block.

    Notes
    -----
    *Laziness*: nothing is read.
    """
    if isinstance(obj, xr.Dataset):
        indexed = {name: da for name, da in obj.data_vars.items() if state(da) == "indexed"}
        if not indexed:
            return obj
        data = {name: da.variable._data for name, da in obj.data_vars.items()}
        data |= {name: lazily(da, chunks, target=target).variable._data for name, da in indexed.items()}
        return obj.copy(data=data)
    if state(obj) != "indexed" or obj.ndim == 0:
        return obj
    asked = {
        dim: size if n == -1 else min(n, size) for dim, size in obj.sizes.items() if (n := (chunks or {}).get(dim))
    }
    sizes = {str(dim): size for dim, size in obj.sizes.items() if dim not in asked}
    nbytes = obj.dtype.itemsize * math.prod(asked.values())
    return obj.chunk({**auto_chunks(sizes, nbytes, _file_chunks(obj), target=target), **asked})


def rechunked(da: xr.DataArray, chunks: Mapping[Any, Any]) -> xr.DataArray:
    """`da.chunk(chunks)`, an array that dask holds by tasks of which each makes one block.

    Under a cluster dask would shuffle ("p2p"): all of the first pass is then held on the workers, none of it can be
    read a second time (`after`), and one worker's death begins it anew.
    """
    if da.chunks is None:
        return da.chunk(chunks)
    coords = {name: _in_blocks(c.variable, chunks) for name, c in da.coords.items() if c.chunks is not None}
    return da.copy(data=_in_blocks(da.variable, chunks).data).assign_coords(coords)


def _in_blocks(variable: xr.Variable, chunks: Mapping[Any, Any]) -> xr.Variable:
    axes = {axis: chunks[dim] for axis, dim in enumerate(variable.dims) if dim in chunks}
    return variable._replace(data=variable.data.rechunk(axes, method="tasks"))


def whole(da: xr.DataArray, dims: Sequence[str], *, target: int = BLOCK_BYTES) -> xr.DataArray:
    """`da` with each of `dims` in one block, the others split so that a block keeps about `target` bytes.

    Memory stays memory; indexed becomes dask. Blocks that already hold the dims whole are left alone.
    """
    if state(da) == "indexed":
        # cut from the file in the shape that is needed: rechunking afterwards would hold every block at once
        stored = _file_chunks(da)
        others = {str(d): s for d, s in da.sizes.items() if d not in dims}
        signal = int(np.prod([da.sizes[dim] for dim in dims], dtype=np.int64)) or 1
        chunks = auto_chunks(others, da.dtype.itemsize * signal, stored, target=target)
        return da.chunk({**chunks, **{dim: -1 for dim in dims}})
    if da.chunks is None:
        return da
    split = [dim for dim in dims if len(da.chunksizes[dim]) > 1]
    if not split:
        return da
    signal = int(np.prod([da.sizes[dim] for dim in dims], dtype=np.int64)) or 1
    others = {str(d): s for d, s in da.sizes.items() if d not in dims}
    current = {str(d): max(da.chunksizes[d]) for d in others}
    smallest = {d: 1 for d in others}
    chunks = auto_chunks(others, da.dtype.itemsize * signal, smallest, target=target)
    # never cut finer than needed: a block along an observation dim that fits stays one
    for dim, size in current.items():
        if size <= chunks[dim]:
            chunks[dim] = size
    return rechunked(da, {**chunks, **{dim: -1 for dim in dims}})


# ------------------------------------------------------------------------------------------------------ evaluation


@dataclass(frozen=True)
class Output:
    """One output of a block-wise function.

    Attributes
    ----------
    dtype : numpy dtype
    dims : tuple of str
        Its core dims, after the observation dims.
    sizes : mapping of str to int
        Sizes of those core dims that the inputs do not have.
    attrs : mapping
        Attributes (units, long_name) of the output.
    """

    dtype: Any
    dims: tuple[str, ...] = ()
    sizes: Mapping[str, int] = field(default_factory=dict)
    attrs: Mapping[str, Any] = field(default_factory=dict)


def apply(
    function: Callable[..., Any],
    *arrays: xr.DataArray,
    dims: Sequence[Sequence[str]],
    outputs: Mapping[str, Output],
    kwargs: Mapping[str, Any] | None = None,
) -> dict[str, xr.DataArray]:
    """Evaluate `function` on blocks that hold the core dims whole; every output comes from one evaluation.

    Parameters
    ----------
    function : callable
        ``function(block_0, block_1, ..., **kwargs)`` of NumPy arrays, core dims last, the observation dims before them
        broadcast against one another (as `xarray.apply_ufunc` does); returns one array, or a tuple in the order of
        `outputs`. A module-level function or `functools.partial` of one, since it must pickle.
    *arrays : DataArray
        In any of the three states; memory only gives memory, otherwise the outputs are lazy. Coordinates must agree
        exactly.
    dims : sequence of sequence of str
        The core dims of each array, in the order that the function expects.
    outputs : mapping of str to Output
    kwargs : mapping, optional

    Returns
    -------
    dict of str to DataArray
        Observation dims in the order of the first array, then the output's core dims.

    Notes
    -----
    *Laziness*: lazy; one pass over the blocks where the outputs are computed together.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> da = xr.DataArray(np.arange(6.0).reshape(2, 3), dims=("x", "bias"))
    >>> apply(np.mean, da, dims=[["bias"]], outputs={"mean": Output(float)}, kwargs={"axis": -1})["mean"].values
    array([1., 4.])
    """
    lazy = any(is_lazy(a) for a in arrays)
    ready = [whole(a, d) if lazy else a for a, d in zip(arrays, dims, strict=True)]
    sizes = {dim: size for output in outputs.values() for dim, size in output.sizes.items()}
    # told by examples, not by dtypes: dask would cast one from the input's, and warn where that is complex
    meta = tuple(np.empty((0,) * len(output.dims), output.dtype) for output in outputs.values())
    result = xr.apply_ufunc(
        function,
        *ready,
        input_core_dims=[list(d) for d in dims],
        output_core_dims=[list(output.dims) for output in outputs.values()],
        exclude_dims=set(),
        join="exact",
        keep_attrs=False,
        dask="parallelized",
        dask_gufunc_kwargs={"meta": meta if len(meta) > 1 else meta[0], **({"output_sizes": sizes} if sizes else {})},
        kwargs=dict(kwargs or {}),
    )
    single = result if isinstance(result, tuple) else (result,)
    # keep_attrs=False is for the values, whose units change; xarray would take those of the coordinates along
    labels = {name: coord.attrs for array in reversed(arrays) for name, coord in array.coords.items()}
    return {
        name: _labelled(da, labels).rename(name).assign_attrs(dict(output.attrs))
        for (name, output), da in zip(outputs.items(), single, strict=True)
    }


def _labelled(da: xr.DataArray, attrs: Mapping[Any, Mapping[str, Any]]) -> xr.DataArray:
    """`da` with its coordinates' attributes as in the inputs."""
    return da.assign_coords({n: c.variable._replace(attrs=dict(attrs.get(n, c.attrs))) for n, c in da.coords.items()})


def _observation_first(da: xr.DataArray, dims: Sequence[str]) -> xr.DataArray:
    return da.transpose(..., *dims)


def _flat(block: np.ndarray, n_signal: int) -> np.ndarray:
    """A block as (observation, feature); a block of no observation dims is one observation."""
    lead = block.shape[: block.ndim - n_signal]
    features = int(np.prod(block.shape[block.ndim - n_signal :], dtype=np.int64))
    return np.ascontiguousarray(block).reshape(int(np.prod(lead, dtype=np.int64)), features)


def _evaluate(function: Callable[..., Any], n_signal: int, kwargs: Mapping[str, Any], *pieces: Any) -> Any:
    data, *others = pieces
    return function(_flat(data, n_signal), *[np.asarray(o).reshape(-1) for o in others], **kwargs)


def reduce(
    data: xr.DataArray,
    dims: Sequence[str],
    function: Callable[..., Any],
    combine: Callable[[Any, Any], Any],
    *,
    others: Sequence[xr.DataArray] = (),
    finish: Callable[..., Any] | None = None,
    kwargs: Mapping[str, Any] | None = None,
) -> Any:
    """Tree reduction over observations: one value of any kind from all blocks, in one pass and bounded memory.

    Parameters
    ----------
    data : DataArray
        In any state.
    dims : sequence of str
        The signal dims; the others are flattened to observations.
    function : callable
        ``function(block, *others, **kwargs)`` of the (observation, feature) block and of each of `others` as 1-D.
    combine : callable
        Associative, ``combine(a, b)``; pairs are combined in a fixed order, so equal chunks give equal bits.
    others : sequence of DataArray, optional
        Per-observation values (a mask, labels) over the observation dims of `data`; broadcast to them.
    finish : callable, optional
        Applied to the combined value.
    kwargs : mapping, optional
        Module-level objects and plain values, or dask delayed ones.

    Returns
    -------
    object
        The value where everything is in memory, else a `dask.delayed.Delayed` of it.

    Examples
    --------
    >>> import numpy as np, operator, xarray as xr
    >>> da = xr.DataArray(np.ones((4, 3)), dims=("x", "bias"))
    >>> float(reduce(da, ["bias"], np.sum, operator.add))
    12.0
    """
    n_signal, kwargs = len(dims), dict(kwargs or {})
    observed = [str(d) for d in data.dims if d not in dims]
    aligned = [o.broadcast_like(data.isel({d: 0 for d in dims}, drop=True)).transpose(*observed) for o in others]
    if not any(map(is_lazy, (data, *aligned))) and not any(map(_is_delayed, kwargs.values())):
        ordered = _observation_first(data, dims)
        value = _evaluate(function, n_signal, kwargs, ordered.values, *[o.values for o in aligned])
        return finish(value) if finish else value

    from dask import delayed

    ordered = _observation_first(whole(data, dims), dims)
    if ordered.chunks is None:
        ordered = ordered.chunk({d: -1 for d in ordered.dims})
    layout = {d: ordered.chunksizes[d] for d in observed}
    pieces = [ordered.data.to_delayed().ravel()]
    pieces += [rechunked(lazily(o), layout).data.to_delayed().ravel() for o in aligned]
    evaluate = delayed(_evaluate, pure=True)
    return _tree([evaluate(function, n_signal, kwargs, *piece) for piece in zip(*pieces, strict=True)], combine, finish)


def _tree(level: list[Any], combine: Callable[[Any, Any], Any], finish: Callable[..., Any] | None) -> Any:
    """Delayed values combined in pairs, in a fixed order."""
    from dask import delayed

    join = delayed(combine, pure=True)
    while len(level) > 1:
        pairs = [join(a, b) for a, b in zip(level[::2], level[1::2], strict=False)]
        level = pairs + ([level[-1]] if len(level) % 2 else [])
    return delayed(finish, pure=True)(level[0]) if finish else level[0]


def _is_delayed(value: Any) -> bool:
    return hasattr(value, "__dask_graph__")


def map_observations(
    function: Callable[..., np.ndarray],
    data: xr.DataArray,
    dims: Sequence[str],
    new: str,
    size: int,
    dtype: Any,
    *,
    others: Sequence[xr.DataArray] = (),
    kwargs: Mapping[str, Any] | None = None,
) -> xr.DataArray:
    """Rows of numbers from blocks of observations: ``function((n, features), *others, **kwargs)`` gives (n, size).

    What `apply` does for one array and one output, without the copy of every block that dask makes there.

    Parameters
    ----------
    function : callable
        Module level, or a `functools.partial` of such a one.
    data : DataArray
        In any state.
    dims : sequence of str
        The signal dims.
    new : str
        Name of the dim that the rows have.
    size : int
    dtype : numpy dtype
    others : sequence of DataArray, optional
        Per-observation values, as in `reduce`.
    kwargs : mapping, optional
        Plain values, arrays in memory, or delayed ones.

    Returns
    -------
    DataArray
        Dims `new` and the observation dims in the order of `data`, with their coordinates.

    Notes
    -----
    *Laziness*: lazy, one pass.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> da = xr.DataArray(np.arange(6.0).reshape(3, 2), dims=("x", "bias"))
    >>> map_observations(np.cumsum, da, ["bias"], "sum", 2, float, kwargs={"axis": 1}).values
    array([[0., 2., 4.],
           [1., 5., 9.]])
    """
    n_signal, kwargs = len(dims), dict(kwargs or {})
    observed = [str(d) for d in data.dims if d not in dims]
    coords = {n: c for n, c in data.coords.items() if not set(c.dims) & set(dims)}
    pattern = data.isel({d: 0 for d in dims}, drop=True)
    aligned = [o.broadcast_like(pattern).transpose(*observed) for o in others]
    if not any(map(is_lazy, (data, *aligned))) and not any(map(_is_delayed, kwargs.values())):
        values = [o.values for o in aligned]
        rows = _rows_first(function, n_signal, kwargs, _observation_first(data, dims).values, *values)
        return xr.DataArray(rows, dims=(new, *observed), coords=coords)

    from dask import delayed

    layout, grid, pieces = _pieces(data, dims, observed, aligned)
    evaluate = delayed(_rows_first, pure=True)
    shared = {name: _one_block(value) for name, value in kwargs.items()}
    blocks_of = np.empty(grid, object)
    for place in np.ndindex(*grid):
        blocks_of[place] = evaluate(function, n_signal, shared, *[piece[place] for piece in pieces])
    return xr.DataArray(_assembled(blocks_of, layout, size, dtype), dims=(new, *observed), coords=coords)


def map_and_reduce(
    function: Callable[..., tuple[np.ndarray, Any]],
    data: xr.DataArray,
    dims: Sequence[str],
    new: str,
    size: int,
    dtype: Any,
    combine: Callable[[Any, Any], Any],
    *,
    finish: Callable[..., Any] | None = None,
    kwargs: Mapping[str, Any] | None = None,
) -> tuple[xr.DataArray, Any]:
    """What `map_observations` and what `reduce` give, from one evaluation of each block.

    Parameters
    ----------
    function : callable
        ``function((n, features), **kwargs)`` gives the rows (n, size) and a value for `combine`.
    data, dims, new, size, dtype, kwargs
        As in `map_observations`.
    combine, finish
        As in `reduce`.

    Returns
    -------
    DataArray
        As of `map_observations`.
    object
        As of `reduce`.

    Examples
    --------
    >>> import numpy as np, operator, xarray as xr
    >>> da = xr.DataArray(np.arange(6.0).reshape(3, 2), dims=("x", "bias"))
    >>> both = lambda block: (2 * block, block.sum())
    >>> rows, total = map_and_reduce(both, da, ["bias"], "twice", 2, float, operator.add)
    >>> rows.isel(x=2).values, float(total)
    (array([ 8., 10.]), 15.0)

    Notes
    -----
    *Laziness*: lazy, one pass; whoever asks for one of the two has the block evaluated for both.
    """
    n_signal, kwargs = len(dims), dict(kwargs or {})
    observed = [str(d) for d in data.dims if d not in dims]
    coords = {n: c for n, c in data.coords.items() if not set(c.dims) & set(dims)}
    if not is_lazy(data):
        rows, value = _rows_and_value(function, n_signal, kwargs, _observation_first(data, dims).values)
        return xr.DataArray(rows, dims=(new, *observed), coords=coords), finish(value) if finish else value

    from dask import delayed

    layout, grid, (pieces,) = _pieces(data, dims, observed, [])
    evaluate = delayed(_rows_and_value, pure=True, nout=2)
    rows_of = np.empty(grid, object)
    values: list[Any] = []
    for place in np.ndindex(*grid):
        rows_of[place], value = evaluate(function, n_signal, kwargs, pieces[place])
        values.append(value)
    rows = xr.DataArray(_assembled(rows_of, layout, size, dtype), dims=(new, *observed), coords=coords)
    return rows, _tree(values, combine, finish)


def _pieces(
    data: xr.DataArray, dims: Sequence[str], observed: Sequence[str], others: Sequence[xr.DataArray]
) -> tuple[dict[str, tuple[int, ...]], tuple[int, ...], list[np.ndarray]]:
    """Lazy data and values per observation as grids of delayed blocks: sizes along dims, shape of the grid, grids."""
    ordered = _observation_first(whole(data, dims), dims)
    if ordered.chunks is None:
        ordered = ordered.chunk({d: -1 for d in ordered.dims})
    layout = {d: ordered.chunksizes[d] for d in observed}
    grid = tuple(len(layout[d]) for d in observed)
    # optimized one by one, blocks that wait for a first pass (`after`) would each bring a renamed copy of that pass
    pieces = [ordered.data.to_delayed(optimize_graph=False).reshape(grid)]
    pieces += [rechunked(lazily(o), layout).data.to_delayed(optimize_graph=False).reshape(grid) for o in others]
    return layout, grid, pieces


def _assembled(blocks_of: np.ndarray, layout: Mapping[str, tuple[int, ...]], size: int, dtype: Any) -> Any:
    """A grid of delayed blocks (size, ...) as one dask array."""
    import dask.array

    arrays = np.empty(blocks_of.shape, object)
    for place in np.ndindex(*blocks_of.shape):
        shape = (size, *(sizes[i] for sizes, i in zip(layout.values(), place, strict=True)))
        arrays[place] = dask.array.from_delayed(blocks_of[place], shape=shape, dtype=dtype)
    return dask.array.block(arrays.tolist()) if arrays.shape else arrays[()]


def _one_block(value: Any) -> Any:
    """A dask array as one delayed block, anything else as it is."""
    if not hasattr(value, "to_delayed"):
        return value
    return value.rechunk(-1, method="tasks").to_delayed(optimize_graph=False).reshape(-1)[0]


def _rows_first(function: Callable[..., Any], n_signal: int, kwargs: Mapping[str, Any], *pieces: Any) -> np.ndarray:
    data, *others = pieces
    rows = function(_flat(data, n_signal), *[np.asarray(o).reshape(-1) for o in others], **kwargs)
    return np.ascontiguousarray(rows.T).reshape(rows.shape[1], *data.shape[: data.ndim - n_signal])


def _rows_and_value(function: Callable[..., Any], n_signal: int, kwargs: Mapping[str, Any], data: Any) -> Any:
    rows, value = function(_flat(data, n_signal), **kwargs)
    return np.ascontiguousarray(rows.T).reshape(rows.shape[1], *data.shape[: data.ndim - n_signal]), value


def from_delayed(value: Any, shape: Sequence[int], dtype: Any) -> Any:
    """An array of a delayed value as a dask array of known shape and dtype; a value in memory as NumPy."""
    if not _is_delayed(value):
        return np.asarray(value, dtype=dtype)
    import dask.array

    return dask.array.from_delayed(value, shape=tuple(shape), dtype=dtype)


def call(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """``function(*args, **kwargs)`` now, or delayed where an argument is."""
    if not any(map(_is_delayed, (*args, *kwargs.values()))):
        return function(*args, **kwargs)
    import dask

    return dask.delayed(function, pure=True)(*args, **kwargs)


def after(da: xr.DataArray, *values: Any) -> xr.DataArray:
    """`da` reading its source anew once `values` are computed, so that a second pass does not keep the first's blocks.

    Without it dask shares the loaded blocks of two passes in one graph and holds the whole file in memory in between.
    (`dask.graph_manipulation.bind` means to do this; of dask 2026.8 it breaks graphs that index or rechunk.) An array
    that somebody rechunked under a cluster by a shuffle is given back as it is: the cluster keeps its blocks, and knows
    the shuffle's tasks by their names, so that they cannot be run again under others.
    """
    waited = [value for value in values if _is_delayed(value)]
    if da.chunks is None or not waited:
        return da
    import dask
    from dask._task_spec import convert_legacy_graph
    from dask.array import Array
    from dask.base import tokenize
    from dask.highlevelgraph import HighLevelGraph
    from dask.task_spec import Alias, DataNode, Task, TaskRef

    blocker = dask.delayed(_nothing, pure=True)(*waited)
    (data,) = dask.optimize(da.data)
    graph = convert_legacy_graph(dict(data.__dask_graph__()))
    if any(type(node).__module__.startswith("distributed.") for node in graph.values()):
        return da
    token = tokenize(data.name, blocker.key)
    # values that lie in the graph itself are shared: there is nothing to read again
    fresh = {key: _renamed(key, token) for key, node in graph.items() if not isinstance(node, DataNode)}
    # (save the array's own blocks, which must bear its new name even where they are plain values)
    fresh |= {key: _renamed(key, token) for key in graph if isinstance(key, tuple) and key[0] == data.name}
    again: dict[Any, Any] = {key: node for key, node in graph.items() if key not in fresh}
    for key, name in fresh.items():
        node = graph[key].substitute(fresh, key=name)
        if isinstance(node, Task) and not isinstance(node, Alias) and not (graph[key].dependencies & fresh.keys()):
            node = Task(name, _then, TaskRef(blocker.key), node.func, *node.args, **node.kwargs)
        again[name] = node
    layers = HighLevelGraph.from_collections(_renamed(data.name, token), again, dependencies=[blocker])
    return da.copy(data=Array(layers, _renamed(data.name, token), data.chunks, dtype=data.dtype, meta=data._meta))


def _renamed(key: Any, token: str) -> Any:
    return (f"{key[0]}-after-{token}", *key[1:]) if isinstance(key, tuple) else f"{key}-after-{token}"


def _nothing(*_: Any) -> None:
    return None


def _then(_: None, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    return function(*args, **kwargs)


def compute(*values: Any) -> tuple[Any, ...]:
    """Compute everything delayed among `values` in one call: what is shared is read once."""
    import dask

    return dask.compute(*values)


# -------------------------------------------------------------------------------------------------- feature matrix


def to_matrix(da: xr.DataArray, dims: Sequence[str]) -> xr.DataArray:
    """The (observation, feature) matrix, observation dims and signal dims each flattened in their own order.

    Parameters
    ----------
    da : DataArray
        In any state.
    dims : sequence of str
        The signal dims.

    Returns
    -------
    DataArray
        Dims ``observation, feature``; `from_matrix` unfolds with the original array as pattern.

    Notes
    -----
    *Laziness*: lazy. Observation blocks are runs along the slowest dim, so that no block is torn.
    """
    data = _observation_first(whole(da, dims), dims).data
    n_signal = len(dims)
    lead, core = data.shape[: data.ndim - n_signal], data.shape[data.ndim - n_signal :]
    if hasattr(data, "rechunk") and len(lead) > 1:
        data = data.rechunk({axis: -1 for axis in range(1, data.ndim)}, method="tasks")
    shape = (int(np.prod(lead, dtype=np.int64)), int(np.prod(core, dtype=np.int64)))
    return xr.DataArray(data.reshape(shape), dims=("observation", "feature"), name=da.name)


def from_matrix(matrix: Any, like: xr.DataArray, dims: Sequence[str], lead: Sequence[str] = ()) -> xr.DataArray:
    """Unfold the last axis of an array to dims of `like`, with its coordinates.

    Parameters
    ----------
    matrix : array, shape (..., n)
        NumPy or dask; n the product of the sizes of `dims`.
    like : DataArray
        The array that was folded.
    dims : sequence of str
        The dims that the last axis stands for, in the order of `like`.
    lead : sequence of str, optional
        Names of the axes before it.
    """
    shape = (*matrix.shape[:-1], *(like.sizes[d] for d in dims))
    coords = {k: v for k, v in like.coords.items() if set(v.dims) <= set(dims) and v.ndim}
    return xr.DataArray(matrix.reshape(shape), dims=(*lead, *dims), coords=coords)


def blocks(da: xr.DataArray, dims: Sequence[str], *others: xr.DataArray) -> Iterator[tuple[np.ndarray, ...]]:
    """The (observation, feature) blocks one after the other, each computed when asked for and then let go.

    For algorithms that go over the data several times (k-means passes, ``partial_fit``).

    Parameters
    ----------
    da : DataArray
        In any state.
    dims : sequence of str
        The signal dims.
    *others : DataArray
        Per-observation values over the same observation dims; their pieces follow the block.

    Yields
    ------
    tuple of ndarray
        ``(block, *others)``; the block is (observation, feature), the others 1-D.
    """
    ordered = _observation_first(whole(da, dims), dims)
    observed = list(ordered.dims[: ordered.ndim - len(dims)])
    spread = [o.broadcast_like(ordered.isel({d: 0 for d in dims}, drop=True)).transpose(*observed) for o in others]
    if ordered.chunks is None:
        regions: Iterator[dict[Any, slice]] = iter([{}])
    else:
        regions = _regions({d: ordered.chunksizes[d] for d in observed})
    for region in regions:
        pieces = compute(ordered.isel(region).data, *[o.isel(region).data for o in spread])
        yield (_flat(np.asarray(pieces[0]), len(dims)), *[np.asarray(p).reshape(-1) for p in pieces[1:]])


def _regions(chunks: Mapping[Any, tuple[int, ...]]) -> Iterator[dict[Any, slice]]:
    import itertools

    edges = {dim: np.concatenate([[0], np.cumsum(sizes)]) for dim, sizes in chunks.items()}
    spans = [[slice(int(a), int(b)) for a, b in itertools.pairwise(e)] for e in edges.values()]
    for combination in itertools.product(*spans):
        yield dict(zip(edges, combination, strict=True))
