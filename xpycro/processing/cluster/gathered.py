"""Clustering with all features in memory: what scikit-learn's methods work on, and the result of their labels.

May import the other modules of this folder.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from xpycro.processing.cluster.features import Features, features
from xpycro.processing.cluster.results import assemble, check_clusters, raw_data

__all__ = ["Gathered", "in_memory"]


@dataclass(frozen=True)
class Gathered:
    """Features in memory, and what mean responses are taken of.

    Attributes
    ----------
    given : Features
    measured : DataArray
    rows : ndarray, shape (n_used, n_columns)
        Without observations that are left out or hold NaN.
    numbers : ndarray of int, shape (n_used,)
        Where the rows stand among all observations.
    """

    given: Features
    measured: xr.DataArray
    rows: np.ndarray
    numbers: np.ndarray

    def spread(self, values: np.ndarray, fill: float) -> np.ndarray:
        """Values of the rows among all observations."""
        full = np.full((self.given.n_observations, *values.shape[1:]), fill, values.dtype)
        full[self.numbers] = values
        return full

    def labelled(self, found: np.ndarray, *, method: str, **attrs: Any) -> xr.Dataset:
        """The result of the rows' labels; negative ones are noise and left out, the others renumbered from 0."""
        kept = found >= 0
        if not kept.any():
            raise ValueError(f"{method} found no cluster: every observation is noise")
        _, compact = np.unique(found[kept], return_inverse=True)
        labels = np.full(found.size, -1, np.int32)
        labels[kept] = compact
        centers = np.stack([self.rows[labels == i].mean(axis=0) for i in range(int(compact.max()) + 1)])
        return assemble(self.given, self.measured, self.spread(labels, -1), centers, method=method, **attrs)


def in_memory(
    obj: xr.DataArray | xr.Dataset,
    data: xr.DataArray | xr.Dataset | None,
    operation: str,
    *,
    n_clusters: int | None = None,
    most: int | None = None,
    components: int | slice | Sequence[int] | None,
    dim: str | Sequence[str] | None,
    variable: str | None,
    scale: str | None,
    exclude: xr.DataArray | None,
) -> Gathered:
    """Check the arguments that all methods share, then read the features.

    Parameters
    ----------
    obj, data, components, dim, variable, scale, exclude
        As in `kmeans`.
    operation : str
        For messages.
    n_clusters : int, optional
        How many groups are asked for; checked against the observations that are distinct.
    most : int, optional
        Observations at most.

    Raises
    ------
    ValueError, MissingSource
        As `kmeans`.
    """
    given = features(
        obj, dim=dim, variable=variable, components=components, exclude=exclude, operation=operation, scale=scale
    )
    if n_clusters is not None:
        check_clusters(n_clusters, given.n_observations, operation)
    if most is not None and given.n_observations > most:
        raise ValueError(
            f"{operation} compares all pairs, of at most {most} observations; there are {given.n_observations}: "
            "crop or coarsen the map, or use kmeans (its dendrogram shows how clusters merge)"
        )
    measured = raw_data(given, obj, data)
    rows, numbers = given.gathered()
    if n_clusters is not None:
        check_clusters(n_clusters, rows.shape[0], operation)
        distinct = np.unique(rows, axis=0).shape[0] if n_clusters > 1 else 1
        if distinct < n_clusters:
            raise ValueError(f"{operation}: n_clusters={n_clusters}, and only {distinct} observations are distinct")
    return Gathered(given, measured, rows, numbers)
