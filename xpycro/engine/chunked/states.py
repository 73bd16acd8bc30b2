"""Three array states, memory, dask and indexed, and how an array is cut into blocks.

May import numpy and xarray; knows nothing of what is done with the blocks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import xarray as xr

__all__ = ["BLOCK_BYTES", "auto_chunks", "is_lazy", "lazily", "read_at_once", "rechunked", "state", "stored", "whole"]

BLOCK_BYTES = 96 * 1024 * 1024  # few large blocks: a tap through 32,768 small ones costs 0.6 s, through 128 ones 0.03 s
PAGE_BYTES = 16 * 1024  # nearer values are read with each other by files without chunks, and by disks

T = TypeVar("T", xr.DataArray, xr.Dataset)


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
    if isinstance(preferred, Mapping) and set(map(str, da.dims)) <= set(preferred):  # not where dims were renamed
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


def stored(da: xr.DataArray) -> xr.DataArray:
    """The same array lazily indexed, where dask holds just the blocks of an array in a file; else as it is.

    A plane of a cube lies in every block of two dims: read through dask it costs a task and an opening of the file for
    each of them, read in one call a third of that. Only of arrays that say, by ``part_by_part``, that such a call holds
    little more than what it gives.
    """
    lazy, array = _source(da)
    return da.copy(data=lazy) if da.chunks is not None and getattr(array, "part_by_part", False) else da


def read_at_once(da: xr.DataArray) -> dict[str, int]:
    """How long a piece of a lazy array is read at once along each dim, however little of it is wanted.

    That is a chunk of the file; of a file without chunks that says by its ``strides`` how the values lie, what lies
    within 16 kB; else a block of dask.
    """
    blocks = _file_chunks(da)
    if not blocks:
        lazy, array = _source(da)
        strides, keys = getattr(array, "strides", None), lazy.key.tuple if hasattr(lazy, "key") else ()
        pairs = zip(strides or (), keys, strict=False)
        steps = [abs(stride * (key.step or 1)) for stride, key in pairs if isinstance(key, slice)]
        if len(steps) == da.ndim:
            blocks = {str(d): PAGE_BYTES // max(1, step) for d, step in zip(da.dims, steps, strict=True)}
    if not blocks:
        blocks = {str(d): max(c) for d, c in lazily(da).chunksizes.items()}
    return {str(d): max(1, min(blocks.get(str(d), size), size)) for d, size in da.sizes.items()}


def _source(da: xr.DataArray) -> tuple[Any, Any]:
    """The lazily indexed array that `da` is, or that dask holds the blocks of, and the array of a file inside it."""
    lazy: Any = da.variable._data
    if da.chunks is not None:  # what `DataArray.chunk` cuts, under the name it gives it
        for adapter in da.data.dask.layers.get(f"original-{da.data.name}", {}).values():
            lazy = getattr(adapter, "array", None)
    array = lazy
    while hasattr(array, "array"):  # xarray's wrappers: indexing, caching
        lazy, array = (array if hasattr(array, "key") else lazy), array.array
    return lazy, array


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
