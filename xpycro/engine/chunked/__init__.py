"""The one room that knows dask: three array states, block-wise evaluation, passes and reductions.

An array is in *memory* (NumPy), a *dask* graph, or *indexed* (xarray's lazily indexed array of a plain
``open_dataset``). Memory gives memory, the other two give dask: nothing is ever loaded whole on the way.
May import numpy, xarray, dask (inside functions), errors and schema; knows nothing of files, models or pictures.
"""

from xpycro.engine.chunked.blockwise import Output, apply
from xpycro.engine.chunked.delayed import after, call, compute, from_delayed
from xpycro.engine.chunked.passes import blocks, from_matrix, map_and_reduce, map_observations, reduce
from xpycro.engine.chunked.states import (
    BLOCK_BYTES,
    auto_chunks,
    is_lazy,
    lazily,
    read_at_once,
    rechunked,
    state,
    stored,
    whole,
)

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
    "read_at_once",
    "rechunked",
    "reduce",
    "state",
    "stored",
    "whole",
]
