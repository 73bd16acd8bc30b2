"""The clustering result: labels in an order that means something, and mean responses in the data's units.

May import engine, schema, provenance and processing/decompose.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from xpycro import provenance, schema
from xpycro.processing.cluster.features import Features
from xpycro.processing.cluster.means import cluster_coord, cluster_statistics

__all__ = ["assemble", "leaf_order", "raw_data"]


def raw_data(given: Features, obj: xr.DataArray | xr.Dataset, data: xr.DataArray | xr.Dataset | None) -> xr.DataArray:
    """What mean responses are taken of: `data`, the measurement clustered, or a decomposition's source."""
    if data is None and given.decomposition is None:
        return given.data
    purpose = "the mean response of each cluster"
    found = provenance.source_data(obj, data, purpose=purpose)
    lacking = [d for d in given.observed if d not in found.dims]
    if lacking:
        raise ValueError(f"data= has dims {list(found.dims)} and lacks {lacking}, over which the clusters lie")
    return found


def leaf_order(centers: np.ndarray) -> np.ndarray:
    """Clusters in the order of a dendrogram's leaves, so that neighbouring numbers are alike; the smaller end first."""
    from scipy.cluster.hierarchy import leaves_list, linkage

    if centers.shape[0] > 2:
        order = leaves_list(linkage(centers, "average", optimal_ordering=True))
    else:
        order = np.arange(centers.shape[0])
    size = np.linalg.norm(centers[[order[0], order[-1]]], axis=1)
    return order if size[0] <= size[1] else order[::-1]


def responses_of(given: Features, centers: np.ndarray) -> np.ndarray:
    """Centers as mean responses, by whose similarity clusters are ordered.

    Orthonormal components keep distances, so the scores themselves do; others are multiplied out.
    """
    result = given.decomposition
    if given.factors is not None:
        centers = centers * given.factors
    if given.data.dtype.kind == "c" or result is None or result.attrs.get("pycro_projection") == "orthonormal":
        return centers
    components = result["components"].fillna(0).values.reshape(centers.shape[-1], -1)
    return centers @ components


def assemble(
    given: Features,
    data: xr.DataArray,
    labels: np.ndarray,
    centers: np.ndarray,
    *,
    method: str,
    memberships: np.ndarray | None = None,
    **attrs: Any,
) -> xr.Dataset:
    """The result Dataset of flat labels and of centers in the features' own scale (complex ones stacked).

    `memberships` are (n_observations, n_clusters) probabilities, NaN where left out.
    """
    n_clusters = centers.shape[0]
    if given.n_observations and not (labels >= 0).any():
        raise ValueError(f"{method}: no observation is left to cluster: every one is left out or holds NaN")
    order = leaf_order(responses_of(given, centers))
    new_number = np.empty(n_clusters, np.int32)
    new_number[order] = np.arange(n_clusters, dtype=np.int32)
    renamed = np.where(labels >= 0, new_number[labels], -1).astype(np.int32)
    meanings = " ".join(["left_out", *(f"cluster_{i}" for i in range(n_clusters))])
    label_map = given.on_map(renamed, "labels").assign_attrs(
        units="1", long_name="Cluster", flag_values=[-1, *range(n_clusters)], flag_meanings=meanings
    )
    counts = xr.DataArray(
        np.bincount(renamed[renamed >= 0], minlength=n_clusters),
        dims="cluster",
        attrs={"units": "1", "long_name": "Observations"},
    )
    feature_units = str(given.data.attrs.get("units", "1"))
    center_map = given.unstacked(centers[order], "cluster").assign_attrs(
        units=feature_units, long_name="Cluster center"
    )
    found = cluster_statistics(label_map, data, n_clusters)
    variables = {
        "labels": label_map,
        "counts": counts,
        "centers": center_map,
        "mean_response": found["mean"],
        "response_std": found["std"],
    }
    if memberships is not None:
        maps = [given.on_map(memberships[:, i], "probability") for i in order]
        variables["probability"] = xr.concat(maps, dim="cluster").assign_attrs(units="1", long_name="Probability")
    return schema.new_result(
        "clustering",
        variables,
        {"cluster": cluster_coord(n_clusters)},
        {"pycro_method": method, "pycro_feature_dims": " ".join(given.dims), **attrs},
    )


def check_clusters(n_clusters: Any, available: int, operation: str) -> int:
    """A number of clusters from 1 to the number of observations."""
    import operator

    try:
        count = operator.index(n_clusters)
    except TypeError:
        raise ValueError(f"{operation}: n_clusters={n_clusters!r} is not an integer") from None
    if isinstance(n_clusters, bool) or not 1 <= count <= available:
        raise ValueError(f"{operation}: n_clusters={n_clusters} is out of range: choose 1 to {available} observations")
    return count
