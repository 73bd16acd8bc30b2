"""Values that are not computed yet: called upon, made arrays of, waited for, computed together."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import xarray as xr

__all__ = ["after", "call", "compute", "from_delayed", "is_delayed"]


def is_delayed(value: Any) -> bool:
    return hasattr(value, "__dask_graph__")


def from_delayed(value: Any, shape: Sequence[int], dtype: Any) -> Any:
    """An array of a delayed value as a dask array of known shape and dtype; a value in memory as NumPy."""
    if not is_delayed(value):
        return np.asarray(value, dtype=dtype)
    import dask.array

    return dask.array.from_delayed(value, shape=tuple(shape), dtype=dtype)


def call(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """``function(*args, **kwargs)`` now, or delayed where an argument is."""
    if not any(map(is_delayed, (*args, *kwargs.values()))):
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
    waited = [value for value in values if is_delayed(value)]
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

    if "distributed" in sys.modules or dask.config.get("scheduler", None):
        return dask.compute(*values)
    import dask.threaded

    # nobody has a cluster without that module, which dask would import to ask: 0.3 s
    return dask.compute(*values, scheduler=dask.threaded.get)
