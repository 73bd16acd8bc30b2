"""Passes over the observations: rows from blocks, one value from all blocks, both at once, or block after block.

A block is (observation, feature) here, whatever the dims were; pairs are combined in a fixed order, so that equal
chunks give equal bits.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from xpycro.engine.chunked.delayed import compute, is_delayed
from xpycro.engine.chunked.states import is_lazy, lazily, rechunked, whole

__all__ = ["blocks", "from_matrix", "map_and_reduce", "map_observations", "reduce"]


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
    if not any(map(is_lazy, (data, *aligned))) and not any(map(is_delayed, kwargs.values())):
        ordered = data.transpose(..., *dims)
        value = _evaluate(function, n_signal, kwargs, ordered.values, *[o.values for o in aligned])
        return finish(value) if finish else value

    from dask import delayed

    ordered = whole(data, dims).transpose(..., *dims)
    if ordered.chunks is None:
        ordered = ordered.chunk({d: -1 for d in ordered.dims})
    layout = {d: ordered.chunksizes[d] for d in observed}
    pieces = [ordered.data.to_delayed().ravel()]
    pieces += [rechunked(lazily(o), layout).data.to_delayed().ravel() for o in aligned]
    evaluate = delayed(_evaluate, pure=True)
    return _tree([evaluate(function, n_signal, kwargs, *piece) for piece in zip(*pieces, strict=True)], combine, finish)


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
    if not any(map(is_lazy, (data, *aligned))) and not any(map(is_delayed, kwargs.values())):
        values = [o.values for o in aligned]
        rows = _rows_first(function, n_signal, kwargs, data.transpose(..., *dims).values, *values)
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
        rows, value = _rows_and_value(function, n_signal, kwargs, data.transpose(..., *dims).values)
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
    ordered = whole(da, dims).transpose(..., *dims)
    observed = list(ordered.dims[: ordered.ndim - len(dims)])
    spread = [o.broadcast_like(ordered.isel({d: 0 for d in dims}, drop=True)).transpose(*observed) for o in others]
    if ordered.chunks is None:
        regions: Iterator[dict[Any, slice]] = iter([{}])
    else:
        regions = _regions({d: ordered.chunksizes[d] for d in observed})
    for region in regions:
        pieces = compute(ordered.isel(region).data, *[o.isel(region).data for o in spread])
        yield (_flat(np.asarray(pieces[0]), len(dims)), *[np.asarray(p).reshape(-1) for p in pieces[1:]])


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


def _regions(chunks: Mapping[Any, tuple[int, ...]]) -> Iterator[dict[Any, slice]]:
    edges = {dim: np.concatenate([[0], np.cumsum(sizes)]) for dim, sizes in chunks.items()}
    spans = [[slice(int(a), int(b)) for a, b in itertools.pairwise(e)] for e in edges.values()]
    for combination in itertools.product(*spans):
        yield dict(zip(edges, combination, strict=True))


def _flat(block: np.ndarray, n_signal: int) -> np.ndarray:
    """A block as (observation, feature); a block of no observation dims is one observation."""
    lead = block.shape[: block.ndim - n_signal]
    features = int(np.prod(block.shape[block.ndim - n_signal :], dtype=np.int64))
    return np.ascontiguousarray(block).reshape(int(np.prod(lead, dtype=np.int64)), features)


def _evaluate(function: Callable[..., Any], n_signal: int, kwargs: Mapping[str, Any], *pieces: Any) -> Any:
    data, *others = pieces
    return function(_flat(data, n_signal), *[np.asarray(o).reshape(-1) for o in others], **kwargs)


def _rows_first(function: Callable[..., Any], n_signal: int, kwargs: Mapping[str, Any], *pieces: Any) -> np.ndarray:
    data, *others = pieces
    rows = function(_flat(data, n_signal), *[np.asarray(o).reshape(-1) for o in others], **kwargs)
    return np.ascontiguousarray(rows.T).reshape(rows.shape[1], *data.shape[: data.ndim - n_signal])


def _rows_and_value(function: Callable[..., Any], n_signal: int, kwargs: Mapping[str, Any], data: Any) -> Any:
    rows, value = function(_flat(data, n_signal), **kwargs)
    return np.ascontiguousarray(rows.T).reshape(rows.shape[1], *data.shape[: data.ndim - n_signal]), value


def _tree(level: list[Any], combine: Callable[[Any, Any], Any], finish: Callable[..., Any] | None) -> Any:
    """Delayed values combined in pairs, in a fixed order."""
    from dask import delayed

    join = delayed(combine, pure=True)
    while len(level) > 1:
        pairs = [join(a, b) for a, b in zip(level[::2], level[1::2], strict=False)]
        level = pairs + ([level[-1]] if len(level) % 2 else [])
    return delayed(finish, pure=True)(level[0]) if finish else level[0]


def _pieces(
    data: xr.DataArray, dims: Sequence[str], observed: Sequence[str], others: Sequence[xr.DataArray]
) -> tuple[dict[str, tuple[int, ...]], tuple[int, ...], list[np.ndarray]]:
    """Lazy data and values per observation as grids of delayed blocks: sizes along dims, shape of the grid, grids."""
    ordered = whole(data, dims).transpose(..., *dims)
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
