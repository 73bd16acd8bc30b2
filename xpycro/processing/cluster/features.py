"""What a clustering works on: one row of real numbers an observation, from a decomposition's maps or from raw data.

May import engine, schema, errors and processing/decompose; reads blocks one at a time, never the whole of lazy data.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import xarray as xr

from xpycro import schema
from xpycro.engine import chunked, subspace
from xpycro.processing.decompose.prepare import PASS_BYTES, split_exclude
from xpycro.processing.decompose.results import select_components

__all__ = ["Features", "features", "real_rows"]


@dataclass(frozen=True)
class Features:
    """Observations as rows of numbers.

    Attributes
    ----------
    data : DataArray
        Observation dims first, then the feature dims.
    dims, observed : tuple of str
    skip : DataArray or None
        True where an observation is left out.
    decomposition : Dataset or None
        The result whose maps these are.
    factors : ndarray or None
        What each column is divided by.
    """

    data: xr.DataArray
    dims: tuple[str, ...]
    observed: tuple[str, ...]
    skip: xr.DataArray | None
    decomposition: xr.Dataset | None
    factors: np.ndarray | None = None

    @property
    def n_observations(self) -> int:
        return int(np.prod([self.data.sizes[d] for d in self.observed], dtype=np.int64))

    @property
    def n_columns(self) -> int:
        """Columns of a row: complex features count twice."""
        size = int(np.prod([self.data.sizes[d] for d in self.dims], dtype=np.int64))
        return size * (2 if self.data.dtype.kind == "c" else 1)

    def rows(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Blocks of (rows, their numbers in the flattened observations), incomplete and excluded rows left out."""
        number = xr.DataArray(
            np.arange(self.n_observations).reshape([self.data.sizes[d] for d in self.observed]), dims=self.observed
        )
        others = [number] if self.skip is None else [number, self.skip]
        for block, numbers, *skip in chunked.blocks(self.data.reset_coords(drop=True), self.dims, *others):
            rows = real_rows(block)
            if self.factors is not None:
                rows /= self.factors
            finite = np.isfinite(rows).all(axis=1)
            if not finite.all() and np.isinf(rows).any():
                raise ValueError("the features hold infinite values: set them to NaN (label -1) first")
            if skip:
                finite &= ~skip[0].astype(bool)
            yield (rows, numbers) if finite.all() else (rows[finite], numbers[finite])

    def gathered(self) -> tuple[np.ndarray, np.ndarray]:
        """All rows in memory, in the order of the observations, and their numbers."""
        blocks, numbers = zip(*self.rows(), strict=True)
        order = np.argsort(np.concatenate(numbers), kind="stable")
        x = np.concatenate(blocks)[order]
        if x.shape[0] == 0:
            raise ValueError("no observation is left to cluster: every one is left out or holds NaN")
        return x, np.concatenate(numbers)[order]

    def unstacked(self, rows: np.ndarray, lead: str) -> xr.DataArray:
        """Rows of columns as (lead, feature dims) in the features' own units, complex again where they are."""
        if self.factors is not None:
            rows = rows * self.factors
        if self.data.dtype.kind == "c":
            half = rows.shape[-1] // 2
            rows = rows[..., :half] + 1j * rows[..., half:]
        return chunked.from_matrix(rows, self.data, self.dims, (lead,))

    def on_map(self, values: np.ndarray, name: str) -> xr.DataArray:
        """Flat values, one an observation, as a map with the observations' coordinates."""
        shape = [self.data.sizes[d] for d in self.observed]
        coords = {k: v for k, v in self.data.coords.items() if set(v.dims) <= set(self.observed)}
        return xr.DataArray(values.reshape(shape), dims=self.observed, coords=coords, name=name)


def real_rows(block: np.ndarray) -> np.ndarray:
    """Float64 rows; of complex ones the real parts, then the imaginary parts."""
    if block.dtype.kind == "c":
        return np.concatenate([block.real, block.imag], axis=1).astype(np.float64, copy=False)
    return block.astype(np.float64)


def features(
    obj: xr.DataArray | xr.Dataset,
    *,
    dim: str | Sequence[str] | None,
    variable: str | None,
    components: int | slice | Sequence[int] | None,
    exclude: xr.DataArray | None,
    operation: str,
    scale: str | None = None,
) -> Features:
    """The features of a decomposition result (its maps) or of a measurement (its signal).

    Raises
    ------
    ValueError
        For a dtype that holds no numbers, an empty dimension, `components` of a measurement, an `exclude` over the
        signal, or a result of another kind.
    """
    kind = schema.result_kind(obj)
    decomposition: xr.Dataset | None = None
    dims: tuple[str, ...] = ("component",)
    if kind == "decomposition" and isinstance(obj, xr.Dataset):
        if dim is not None or variable is not None:
            raise ValueError(f"{operation} of a decomposition works on its maps: dim= and variable= do not apply")
        decomposition = select_components(obj, components)
        da = decomposition["maps"]
    elif kind is not None and isinstance(obj, xr.Dataset):
        raise ValueError(f"{operation} works on a measurement or a decomposition, not on a {kind} result")
    else:
        if components is not None:
            raise ValueError(f"{operation}: components= applies to a decomposition; this is a measurement")
        da = schema.pick(obj, variable, dim)
        dims = schema.resolve_dims(da, dim)
    if da.dtype.kind not in "fciub":
        raise ValueError(f"{operation} of {da.name!r}: dtype {da.dtype} holds no numbers; convert it first")
    empty = [str(d) for d, size in da.sizes.items() if size == 0]
    if empty:
        raise ValueError(f"{operation} of {da.name!r}: dimension {empty} has size 0, so there is nothing to cluster")
    observed = schema.observation_dims(da, dims)
    skip, columns = split_exclude(exclude, da, dims, observed)
    if columns is not None:
        raise ValueError(f"{operation}: exclude= over {list(dims)}; select channels before clustering instead")
    ready = chunked.whole(da, dims, target=PASS_BYTES).transpose(*observed, *dims)
    given = Features(ready, dims, observed, skip, decomposition)
    if scale is None:
        return given
    if scale != "std":
        raise ValueError(f"{operation}: scale={scale!r}; choose 'std' or None")
    return replace(given, factors=_spread_of(given))


def _spread_of(given: Features) -> np.ndarray:
    """Standard deviation of each column; 1 where it does not vary. One pass."""
    total = subspace.Spread(0, np.zeros(given.n_columns), 0.0, np.zeros(given.n_columns, np.int64), 0, True)
    squares = np.zeros(given.n_columns)
    for rows, _ in given.rows():
        if not rows.shape[0]:
            continue
        mean = rows.mean(axis=0)
        shift, count = mean - total.mean, total.count + rows.shape[0]
        squares += ((rows - mean) ** 2).sum(axis=0) + shift**2 * total.count * rows.shape[0] / count
        total = replace(total, count=count, mean=total.mean + shift * rows.shape[0] / count)
    spread = np.sqrt(squares / max(total.count, 1))
    return np.where(spread > 1e-12 * np.abs(total.mean), spread, 1.0)
