"""A NumPy function on every block, labels and units kept: what xpycro has in place of a bare ``apply_ufunc``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr

from xpycro.engine.chunked.states import is_lazy, whole

__all__ = ["Output", "apply"]


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
    made = {}
    for (name, output), da in zip(outputs.items(), single, strict=True):
        made[name] = _labelled(da, labels).rename(name)
        made[name].attrs.update(output.attrs)  # of an array that nobody else has: a fit has sixteen
    return made


def _labelled(da: xr.DataArray, attrs: Mapping[Any, Mapping[str, Any]]) -> xr.DataArray:
    """`da` with its coordinates' attributes as in the inputs."""
    if not da.coords:
        return da
    return da.assign_coords({n: c.variable._replace(attrs=dict(attrs.get(n, c.attrs))) for n, c in da.coords.items()})
