"""What every decomposition does to its arguments first: the array, its signal, what is left out, how many components.

May import engine, schema and errors; checks labels and shapes only, never values.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from xpycro import schema
from xpycro.engine import chunked

__all__ = ["PASS_BYTES", "Problem", "component_count", "prepare", "split_exclude"]

PASS_BYTES = 16 << 20  # one block of a pass: two workers and the interpreter stay well below 400 MB


@dataclass(frozen=True)
class Problem:
    """A decomposition's input, checked.

    Attributes
    ----------
    data : DataArray
        Observation dims first, then the signal dims; chunked with the signal whole where it is lazy.
    signal, observed : tuple of str
    skip : DataArray or None
        True where an observation is left out.
    columns : ndarray of bool or None
        Which channels of the flattened signal are used; None for all.
    original : DataArray
        As it was given, for dims, name and attributes.
    """

    data: xr.DataArray
    signal: tuple[str, ...]
    observed: tuple[str, ...]
    skip: xr.DataArray | None
    columns: np.ndarray | None
    original: xr.DataArray

    @property
    def n_observations(self) -> int:
        return int(np.prod([self.data.sizes[d] for d in self.observed], dtype=np.int64))

    @property
    def n_features(self) -> int:
        return int(np.prod([self.data.sizes[d] for d in self.signal], dtype=np.int64))

    @property
    def n_used(self) -> int:
        return self.n_features if self.columns is None else int(self.columns.sum())

    @property
    def rank(self) -> int:
        return min(self.n_observations, self.n_used)

    @property
    def lazy(self) -> bool:
        return chunked.is_lazy(self.data) or (self.skip is not None and chunked.is_lazy(self.skip))

    @property
    def several_blocks(self) -> bool:
        """Whether blocks may be worked on side by side."""
        return self.data.chunks is not None and max(map(len, self.data.chunks)) > 1

    @property
    def others(self) -> list[xr.DataArray]:
        return [] if self.skip is None else [self.skip]

    def signal_array(self, values: Any, name: str, lead: Sequence[str] = (), **attrs: Any) -> xr.DataArray:
        """Flat values (..., n_features) unfolded over the signal dims with their coordinates."""
        da = chunked.from_matrix(values, self.data, self.signal, lead)
        return da.rename(name).assign_attrs(attrs)


def prepare(
    data: xr.DataArray | xr.Dataset,
    *,
    dim: str | Sequence[str] | None,
    variable: str | None,
    exclude: xr.DataArray | None,
    operation: str,
) -> Problem:
    """Pick the array, resolve its signal, check dtype and sizes, split `exclude`.

    Raises
    ------
    ValueError
        For a dtype that holds no numbers, a dimension of size zero, an `exclude` that does not fit.
    """
    original = schema.pick(data, variable, dim)
    signal = schema.resolve_dims(original, dim)
    observed = schema.observation_dims(original, signal)
    named = f"{operation} of {original.name!r}" if original.name is not None else operation
    if original.dtype.kind not in "fciub":
        raise ValueError(
            f"{named}: dtype {original.dtype} holds no numbers; convert it first, such as with .astype(float)"
        )
    empty = [str(d) for d, size in original.sizes.items() if size == 0]
    if empty:
        raise ValueError(f"{named}: dimension {empty} has size 0, so there is nothing to decompose")
    skip, columns = split_exclude(exclude, original, signal, observed)
    if columns is not None and not columns.any():
        raise ValueError(f"{named}: exclude= leaves out every channel of {list(signal)}")
    ready = chunked.whole(original, signal, target=PASS_BYTES).transpose(*observed, *signal)
    return Problem(ready, signal, observed, skip, columns, original)


def split_exclude(
    exclude: xr.DataArray | None, data: xr.DataArray, signal: Sequence[str], observed: Sequence[str]
) -> tuple[xr.DataArray | None, np.ndarray | None]:
    """Which observations to skip, and which channels to use, of one boolean array of what to leave out."""
    if exclude is None:
        return None, None
    if not isinstance(exclude, xr.DataArray) or exclude.dtype != bool:
        kind = f"DataArray of {exclude.dtype}" if isinstance(exclude, xr.DataArray) else type(exclude).__name__
        raise ValueError(f"exclude= must be a boolean DataArray, True where data is left out; got {kind}")
    dims = [str(d) for d in exclude.dims]
    unknown = [d for d in dims if d not in data.dims]
    if unknown or not dims:
        raise ValueError(f"exclude= has dims {dims}; the data has {list(data.dims)}: exclude over some of these")
    if set(dims) & set(signal) and set(dims) & set(observed):
        raise ValueError(
            f"exclude= spans {dims}: leave out whole observations (over {list(observed)}) or whole channels "
            f"(over {list(signal)}), not single values; set single bad values to NaN to leave out their observation"
        )
    check_aligned(exclude, data, "exclude=")
    if set(dims) <= set(observed):
        return exclude.reset_coords(drop=True).drop_attrs(), None
    full = exclude.broadcast_like(data.isel({d: 0 for d in observed}, drop=True)).transpose(*signal)
    return None, ~np.asarray(full.values).reshape(-1)


def check_aligned(other: xr.DataArray, data: xr.DataArray, named: str) -> None:
    """Refuse an array whose sizes or coordinates differ from the data's along a shared dim."""
    for dim in other.dims:
        if dim not in data.dims:
            continue
        if other.sizes[dim] != data.sizes[dim]:
            raise ValueError(f"{named} has {dim}={other.sizes[dim]}, the data {dim}={data.sizes[dim]}: select the same")
        if dim in other.indexes and dim in data.indexes and not other.indexes[dim].equals(data.indexes[dim]):
            raise ValueError(f"{named} and the data have different coordinates along {dim!r}: reindex one of them")


def component_count(n_components: int | None, largest: int, operation: str, *, default: int | None = None) -> int:
    """Check a number of components; None means `default`, else all."""
    if n_components is None:
        return largest if default is None else min(default, largest)
    try:
        count = operator.index(n_components)
    except TypeError:
        raise ValueError(f"{operation}: n_components={n_components!r} is not an integer") from None
    if isinstance(n_components, bool) or not 1 <= count <= largest:
        raise ValueError(
            f"{operation}: n_components={n_components} is out of range: choose 1 to {largest}, "
            "the smaller of the numbers of observations and channels"
        )
    return count


def check_complex(da: xr.DataArray, treatment: str, operation: str) -> None:
    """Refuse complex data for a real method unless it is to be stacked."""
    if treatment not in ("refuse", "stack"):
        raise ValueError(f"{operation}: complex={treatment!r}; choose 'refuse' or 'stack'")
    if da.dtype.kind == "c" and treatment == "refuse":
        raise ValueError(
            f"{operation} works on real numbers and {da.name!r} is complex: pass complex='stack' to take real and "
            "imaginary parts as so many more channels, or decompose its magnitude, or use decompose.svd"
        )


def stack_problem(problem: Problem) -> Problem:
    """The same with real channels: of complex data the real parts, then the imaginary parts, along one dim."""
    if problem.data.dtype.kind != "c":
        return problem
    flat = problem.data.reset_coords(drop=True).drop_vars(list(problem.signal), errors="ignore")
    flat = flat.stack(stacked_channel=list(problem.signal), create_index=False)
    real = xr.concat([flat.real, flat.imag], dim="stacked_channel")
    real = chunked.whole(real, ["stacked_channel"], target=PASS_BYTES).transpose(*problem.observed, "stacked_channel")
    columns = None if problem.columns is None else np.concatenate([problem.columns, problem.columns])
    return Problem(real, ("stacked_channel",), problem.observed, problem.skip, columns, real)


def stacked(block: np.ndarray, columns: np.ndarray | None = None) -> np.ndarray:
    """Float64 rows of the channels used; of complex ones the real parts, then the imaginary parts."""
    block = block if columns is None else block[:, columns]
    if block.dtype.kind == "c":
        return np.concatenate([block.real, block.imag], axis=1).astype(np.float64, copy=False)
    return block.astype(np.float64)


def rows(problem: Problem) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Blocks of (stacked rows, their numbers among all observations); what is left out or holds NaN is not there."""
    shape = [problem.data.sizes[d] for d in problem.observed]
    numbers = xr.DataArray(np.arange(problem.n_observations).reshape(shape), dims=problem.observed)
    bare = problem.data.reset_coords(drop=True).drop_vars(list(problem.data.dims), errors="ignore")
    for block, number, *skip in chunked.blocks(bare, problem.signal, numbers, *problem.others):
        x = stacked(block, problem.columns)
        finite = np.isfinite(x).all(axis=1)
        if not finite.all() and np.isinf(x).any():
            raise ValueError("the data holds infinite values: set them to NaN (their observations are then left out)")
        if skip:
            finite &= ~skip[0].astype(bool)
        yield (x, number) if finite.all() else (x[finite], number[finite])


def gathered(problem: Problem) -> tuple[np.ndarray, np.ndarray]:
    """All rows in memory, in the order of the observations, and their numbers."""
    blocks, numbers = zip(*rows(problem), strict=True)
    order = np.argsort(np.concatenate(numbers), kind="stable")
    x = np.concatenate(blocks)
    if x.shape[0] == 0:
        raise ValueError("no observation is left to decompose: every one is left out or holds NaN")
    return x[order], np.concatenate(numbers)[order]
