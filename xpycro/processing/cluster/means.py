"""Mean, spread and count of any channel within each cluster, in that channel's units, in one pass.

May import engine, schema and processing/decompose.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from xpycro import schema
from xpycro.engine import chunked
from xpycro.processing.decompose.prepare import PASS_BYTES, check_aligned
from xpycro.provenance import recorded

__all__ = ["cluster_statistics", "mean_by"]

_SLICE_BYTES = 8 << 20


@dataclass(frozen=True)
class _Spread:
    """Number, mean and sum of squared deviations, each (n_clusters, n_columns)."""

    count: np.ndarray
    mean: np.ndarray
    squares: np.ndarray

    @property
    def std(self) -> np.ndarray:
        return np.sqrt(
            np.divide(self.squares, self.count, out=np.full(self.squares.shape, np.nan), where=self.count > 0)
        )


def _block_spread(block: np.ndarray, labels: np.ndarray, *, n_clusters: int) -> _Spread:
    dtype = np.complex128 if block.dtype.kind == "c" else np.float64
    shape = (n_clusters, block.shape[1])
    total = _Spread(np.zeros(shape), np.zeros(shape, dtype), np.zeros(shape))
    step = max(1, _SLICE_BYTES // (8 * max(1, block.shape[1])))
    for start in range(0, block.shape[0], step):
        rows, here = block[start : start + step], labels[start : start + step]
        part = _Spread(np.zeros(shape), np.zeros(shape, dtype), np.zeros(shape))
        for label in np.unique(here[here >= 0]).astype(int):
            x = rows[here == label].astype(dtype)
            good = ~np.isnan(x)
            number = good.sum(axis=0)
            x[~good] = 0
            mean = x.sum(axis=0) / np.maximum(number, 1)
            x -= mean
            x[~good] = 0
            part.count[label], part.mean[label] = number, mean
            part.squares[label] = (np.abs(x) ** 2).sum(axis=0)
        total = _merge(total, part)
    return total


def _merge(a: _Spread, b: _Spread) -> _Spread:
    count = a.count + b.count
    share = np.divide(b.count, count, out=np.zeros_like(count), where=count > 0)
    shift = b.mean - a.mean
    return _Spread(count, a.mean + shift * share, a.squares + b.squares + np.abs(shift) ** 2 * a.count * share)


def _finish(total: _Spread) -> _Spread:
    return _Spread(total.count, np.where(total.count > 0, total.mean, np.nan), total.squares)


def cluster_statistics(labels: xr.DataArray, data: xr.DataArray, n_clusters: int) -> dict[str, xr.DataArray]:
    """``mean``, ``std`` and ``counts`` of `data` within each label, over (cluster, the dims that `labels` lacks)."""
    lacking = [str(d) for d in labels.dims if d not in data.dims]
    if lacking:
        raise ValueError(f"the data has dims {list(data.dims)} and lacks {lacking}, which the labels span")
    check_aligned(labels, data, "labels")
    if data.dtype.kind not in "fciub":
        raise ValueError(f"{data.name!r}: dtype {data.dtype} holds no numbers; convert it first")
    dims = [str(d) for d in data.dims if d not in labels.dims]
    ready = chunked.whole(data, dims, target=PASS_BYTES)
    bare = labels.reset_coords(drop=True).drop_vars(list(labels.dims), errors="ignore")
    total = chunked.reduce(
        ready.reset_coords(drop=True).drop_vars(list(data.dims), errors="ignore"),
        dims,
        functools.partial(_block_spread, n_clusters=n_clusters),
        _merge,
        others=[bare],
        finish=_finish,
    )
    width = int(np.prod([data.sizes[d] for d in dims], dtype=np.int64))
    dtype = np.result_type(data.dtype, np.float64)
    units = str(data.attrs.get("units", "1"))
    named = str(data.attrs.get("long_name") or data.name or "data")

    def unfold(values: Any, kind: Any, attrs: dict[str, str]) -> xr.DataArray:
        array = chunked.from_delayed(values, (n_clusters, width), kind)
        return chunked.from_matrix(array, data, dims, ("cluster",)).assign_attrs(attrs)

    return {
        "mean": unfold(total.mean, dtype, {"units": units, "long_name": f"{named}, mean of the cluster"}),
        "std": unfold(total.std, np.float64, {"units": units, "long_name": f"{named}, standard deviation"}),
        "counts": unfold(total.count, np.float64, {"units": "1", "long_name": "Values averaged"}),
    }


def cluster_coord(n_clusters: int) -> xr.Variable:
    """Clusters are numbered from 0, as their labels are."""
    return schema.coordinate("cluster", np.arange(n_clusters))


@recorded("cluster.mean_by")
def mean_by(labels: xr.DataArray | xr.Dataset, other: xr.DataArray, *, n_clusters: int | None = None) -> xr.Dataset:
    """Mean, standard deviation and number of the values of any channel within each cluster.

    Parameters
    ----------
    labels : DataArray or Dataset
        Labels from 0, -1 where left out; or a clustering result.
    other : DataArray
        Any channel over the dims of `labels` and perhaps more; NaN are left out one by one.
    n_clusters : int, optional
        Needed for lazy labels that do not say (those of ``cluster`` do).

    Returns
    -------
    Dataset
        - ``mean(cluster, ...)``, ``std(cluster, ...)``: in the units of `other`, over the dims that `labels` lacks;
          the standard deviation is of the population (``ddof=0``);
        - ``counts(cluster, ...)``: values averaged, dimensionless.

        NaN, NaN and 0 for a cluster without values.

    Raises
    ------
    ValueError
        If the grids differ, or the number of clusters is not known.

    Notes
    -----
    *Laziness*: lazy, one pass over `other`.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> labels = xr.DataArray([0, 0, 1, -1], dims="x")
    >>> current = xr.DataArray([1.0, 3.0, 5.0, 100.0], dims="x", attrs={"units": "A"})
    >>> mean_by(labels, current)["mean"].values
    array([2., 5.])
    """
    if isinstance(labels, xr.Dataset):
        if "labels" not in labels:
            raise ValueError(f"labels= is a Dataset of {list(labels.data_vars)} without labels: pass a clustering")
        labels = labels["labels"]
    if labels.dtype.kind not in "iu":
        raise ValueError(f"labels= must be integers (-1 where left out); got dtype {labels.dtype}")
    if not isinstance(other, xr.DataArray):
        raise TypeError(f"other= must be a DataArray, one channel; got {type(other).__name__}")
    if n_clusters is None:
        known = labels.attrs.get("flag_values")
        if known is not None:
            n_clusters = int(np.max(known)) + 1
        elif not chunked.is_lazy(labels):
            n_clusters = int(labels.max()) + 1
        else:
            raise ValueError("the labels are lazy and do not say how many clusters there are: pass n_clusters=")
    if n_clusters < 1:
        raise ValueError("there is no cluster: every label is -1")
    found = cluster_statistics(labels, other, n_clusters)
    return xr.Dataset(found, coords={"cluster": cluster_coord(n_clusters)})
