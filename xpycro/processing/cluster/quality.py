"""How good a clustering is, how many clusters there are, and how they would merge.

May import engine, schema, provenance and processing/decompose; SciPy and scikit-learn inside functions.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import xarray as xr

from xpycro.processing.cluster import lloyd
from xpycro.processing.cluster.features import Features, features
from xpycro.processing.cluster.means import cluster_coord
from xpycro.processing.cluster.results import check_clusters
from xpycro.processing.decompose.prepare import check_aligned
from xpycro.provenance import recorded

__all__ = ["dendrogram", "metrics", "scan"]

_LABELS = {
    "silhouette": "Silhouette",
    "davies_bouldin": "Davies-Bouldin index",
    "calinski_harabasz": "Calinski-Harabasz index",
    "inertia": "Sum of squared distances",
    "gap": "Gap statistic",
    "gap_stderr": "Standard error of the gap",
}


@recorded("cluster.metrics")
def metrics(
    clustering: xr.Dataset | xr.DataArray,
    obj: xr.DataArray | xr.Dataset,
    *,
    components: int | slice | Sequence[int] | None = None,
    dim: str | Sequence[str] | None = None,
    variable: str | None = None,
    scale: str | None = None,
    sample: int = 5000,
    seed: int = 0,
) -> xr.Dataset:
    """How well clusters are separated in the features they were made from.

    Parameters
    ----------
    clustering : Dataset or DataArray
        A clustering result, or labels; -1 are left out.
    obj : DataArray or Dataset
        The features: the decomposition or measurement that was clustered.
    components, dim, variable, scale : optional
        As in `kmeans`.
    sample : int, optional
        Observations that the silhouette compares pair by pair.
    seed : int, optional

    Returns
    -------
    Dataset
        ``silhouette`` (-1 to 1, large is good; of a sample), ``davies_bouldin`` (small is good),
        ``calinski_harabasz`` (large is good): dimensionless.

    Raises
    ------
    ValueError
        If fewer than two clusters have members, or the grids differ.

    Notes
    -----
    *Laziness*: computed at the call; two passes over the features.

    References
    ----------
    P. J. Rousseeuw, J. Comput. Appl. Math. 20, 53 (1987). D. L. Davies, D. W. Bouldin, IEEE Trans. Pattern Anal. 1,
    224 (1979). T. Calinski, J. Harabasz, Commun. Stat. 3, 1 (1974).

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> spectra = xr.DataArray([[0.0], [0.1], [5.0], [5.1]], dims=("x", "bias"))
    >>> labels = xr.DataArray([0, 0, 1, 1], dims="x")
    >>> round(float(metrics(labels, spectra).silhouette), 2)
    0.98
    """
    labels = clustering["labels"] if isinstance(clustering, xr.Dataset) else clustering
    given = features(
        obj, dim=dim, variable=variable, components=components, exclude=None, operation="metrics", scale=scale
    )
    check_aligned(labels, given.data, "the labels")
    if set(labels.dims) != set(given.observed):
        raise ValueError(f"metrics: the labels lie over {list(labels.dims)}, the features over {list(given.observed)}")
    flat = labels.transpose(*given.observed).values.reshape(-1)
    found = _metrics(given, flat, sample, seed)
    return xr.Dataset({name: ((), value, {"units": "1", "long_name": _LABELS[name]}) for name, value in found.items()})


def _metrics(given: Features, labels: np.ndarray, sample: int, seed: int) -> dict[str, float]:
    k = int(labels.max(initial=-1)) + 1
    sums, counts = np.zeros((max(k, 1), given.n_columns)), np.zeros(max(k, 1), np.int64)
    chosen = np.zeros(labels.size, bool)
    members = np.flatnonzero(labels >= 0)
    picks = np.random.default_rng(seed).permutation(members)[:sample]
    chosen[picks] = True
    origin: np.ndarray | None = None
    picked, picked_labels = [], []
    for rows, numbers in given.rows():
        here = labels[numbers]
        rows, numbers, here = rows[here >= 0], numbers[here >= 0], here[here >= 0]
        if not rows.size:
            continue
        origin = rows.mean(axis=0) if origin is None else origin
        part, number = lloyd.sums_of(rows, here, counts.size, origin)
        sums += part
        counts += number
        picked.append(rows[chosen[numbers]])
        picked_labels.append(here[chosen[numbers]])
    filled = counts > 0
    if filled.sum() < 2 or origin is None:
        raise ValueError(f"metrics: {int(filled.sum())} cluster has members; at least two are compared")
    centers = np.zeros_like(sums)
    centers[filled] = sums[filled] / counts[filled, None] + origin
    middle = (counts[filled, None] * centers[filled]).sum(axis=0) / counts.sum()
    within, distances = 0.0, np.zeros(counts.size)
    for rows, numbers in given.rows():
        here = labels[numbers]
        rows, here = rows[here >= 0], here[here >= 0]
        squared = ((rows - centers[here]) ** 2).sum(axis=1)
        within += float(squared.sum())
        distances += np.bincount(here, weights=np.sqrt(squared), minlength=counts.size)
    between = float((counts[filled] * ((centers[filled] - middle) ** 2).sum(axis=1)).sum())
    groups, n = int(filled.sum()), int(counts.sum())
    from scipy.spatial.distance import pdist, squareform

    spread = distances[filled] / counts[filled]
    apart = squareform(pdist(centers[filled]))
    with np.errstate(divide="ignore", invalid="ignore"):
        likeness = (spread[:, None] + spread[None, :]) / apart
    np.fill_diagonal(likeness, -np.inf)
    x, of = np.concatenate(picked), np.concatenate(picked_labels)
    return {
        "silhouette": _silhouette(x, of),
        "davies_bouldin": float(likeness.max(axis=1).mean()),
        "calinski_harabasz": between / within * (n - groups) / (groups - 1) if within > 0 else np.inf,
    }


def _silhouette(x: np.ndarray, labels: np.ndarray) -> float:
    from sklearn.metrics import silhouette_score

    number = np.unique(labels).size
    if not 2 <= number < x.shape[0]:
        return float("nan")
    return float(silhouette_score(x - x.mean(axis=0), labels))


@recorded("cluster.scan")
def scan(
    obj: xr.DataArray | xr.Dataset,
    n_clusters: Iterable[int] = range(1, 11),
    *,
    components: int | slice | Sequence[int] | None = None,
    dim: str | Sequence[str] | None = None,
    variable: str | None = None,
    scale: str | None = None,
    exclude: xr.DataArray | None = None,
    sample: int = 5000,
    n_references: int = 10,
    seed: int = 0,
) -> xr.Dataset:
    """K-means for several numbers of clusters on a sample of the observations, and what speaks for each.

    Parameters
    ----------
    obj : DataArray or Dataset
        A decomposition result (its maps are the features) or a measurement (its signal is).
    n_clusters : iterable of int, optional
    components, dim, variable, scale, exclude : optional
        As in `kmeans`.
    sample : int, optional
        Observations drawn at random; all where there are fewer.
    n_references : int, optional
        Uniform samples that the gap statistic compares with, in the box of the features' principal axes.
    seed : int, optional

    Returns
    -------
    Dataset
        Over dim ``n_clusters``: ``inertia`` (squared units of the features; its bend is the elbow), ``silhouette``,
        ``davies_bouldin``, ``calinski_harabasz`` (NaN for one cluster), ``gap``, ``gap_stderr``, dimensionless.
        Scalars ``best_silhouette``, ``best_gap`` (the smallest number whose gap is within a standard error of the
        next), ``best_elbow``: the numbers these advise.

    Raises
    ------
    ValueError
        If a number is out of range.

    Notes
    -----
    *Laziness*: computed at the call; one pass over the features.

    References
    ----------
    R. Tibshirani, G. Walther, T. Hastie, Estimating the number of clusters in a data set via the gap statistic,
    J. R. Stat. Soc. B 63, 411 (2001).

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> rng = np.random.default_rng(0)
    >>> values = np.repeat([[0.0, 0.0], [9.0, 0.0], [0.0, 9.0]], 50, axis=0) + rng.normal(size=(150, 2))
    >>> found = scan(xr.DataArray(values, dims=("x", "bias")), range(1, 6))
    >>> int(found.best_silhouette), int(found.best_gap)
    (3, 3)
    """
    given = features(
        obj, dim=dim, variable=variable, components=components, exclude=exclude, operation="scan", scale=scale
    )
    x = _sampled(given, sample, seed)
    numbers = [check_clusters(k, x.shape[0], "scan") for k in n_clusters]
    if not numbers:
        raise ValueError("scan: n_clusters= names no number; pass such as range(1, 11)")
    x = x - x.mean(axis=0)
    references = _references(x, n_references, seed)
    rows: dict[str, list[float]] = {name: [] for name in _LABELS}
    for k in numbers:
        labels, inertia = _grouped(x, k, seed)
        found = _quality(x, labels, k, inertia)
        logs = np.log([max(_grouped(r, k, seed, n_starts=1)[1], 1e-300) for r in references])
        found |= {
            "inertia": inertia,
            "gap": float(logs.mean() - np.log(max(inertia, 1e-300))),
            "gap_stderr": float(logs.std() * np.sqrt(1 + 1 / n_references)),
        }
        for name, value in found.items():
            rows[name].append(value)
    units = str(given.data.attrs.get("units", "1"))
    variables: dict[str, Any] = {
        name: (
            "n_clusters",
            values,
            {
                "units": f"({units})^2" if name == "inertia" and units != "1" and scale is None else "1",
                "long_name": _LABELS[name],
            },
        )
        for name, values in rows.items()
    }
    best = {
        "best_silhouette": _best_silhouette(numbers, rows["silhouette"]),
        "best_gap": _best_gap(numbers, rows["gap"], rows["gap_stderr"]),
        "best_elbow": _best_elbow(numbers, rows["inertia"]),
    }
    variables |= {
        name: ((), value, {"units": "1", "long_name": f"Clusters that the {name.removeprefix('best_')} advises"})
        for name, value in best.items()
    }
    coord = ("n_clusters", numbers, {"units": "1", "long_name": "Number of clusters"})
    return xr.Dataset(variables, coords={"n_clusters": coord})


def _sampled(given: Features, sample: int, seed: int) -> np.ndarray:
    n = given.n_observations
    chosen = np.zeros(n, bool)
    chosen[np.random.default_rng(seed).permutation(n)[:sample]] = True
    parts = [(rows[chosen[numbers]], numbers[chosen[numbers]]) for rows, numbers in given.rows()]
    order = np.argsort(np.concatenate([numbers for _, numbers in parts]), kind="stable")
    x = np.concatenate([rows for rows, _ in parts])[order]
    if not x.shape[0]:
        raise ValueError("scan: no observation is left to cluster: every one is left out or holds NaN")
    return x


def _grouped(x: np.ndarray, k: int, seed: int, n_starts: int = 5) -> tuple[np.ndarray, float]:
    if k == 1:
        return np.zeros(x.shape[0], int), float(((x - x.mean(axis=0)) ** 2).sum())
    centers = lloyd.starts(x, k, seed=seed, n_starts=n_starts)
    labels, squared = lloyd.assign(x, centers)
    return labels, float(squared.sum())


def _quality(x: np.ndarray, labels: np.ndarray, k: int, inertia: float) -> dict[str, float]:
    if not 1 < np.unique(labels).size < x.shape[0]:
        return dict.fromkeys(("silhouette", "davies_bouldin", "calinski_harabasz"), float("nan"))
    from sklearn.metrics import calinski_harabasz_score, davies_bouldin_score

    return {
        "silhouette": _silhouette(x, labels),
        "davies_bouldin": float(davies_bouldin_score(x, labels)),
        "calinski_harabasz": float(calinski_harabasz_score(x, labels)),
    }


def _references(x: np.ndarray, number: int, seed: int) -> list[np.ndarray]:
    """Uniform samples in the box of the principal axes."""
    _, _, axes = np.linalg.svd(x, full_matrices=False)
    turned = x @ axes.T
    low, high = turned.min(axis=0), turned.max(axis=0)
    rng = np.random.default_rng([seed, 2])
    return [rng.uniform(low, high, size=turned.shape) for _ in range(number)]


def _best_silhouette(numbers: list[int], values: list[float]) -> int:
    return numbers[int(np.nanargmax(values))] if np.isfinite(values).any() else numbers[0]


def _best_gap(numbers: list[int], gap: list[float], stderr: list[float]) -> int:
    for i in range(len(numbers) - 1):
        if gap[i] >= gap[i + 1] - stderr[i + 1]:
            return numbers[i]
    return numbers[-1]


def _best_elbow(numbers: list[int], inertia: list[float]) -> int:
    """Where the curve of inertia lies farthest below the chord through its ends."""
    if len(numbers) < 3 or inertia[0] <= inertia[-1]:
        return numbers[0]
    across = (np.array(numbers) - numbers[0]) / (numbers[-1] - numbers[0])
    height = (np.array(inertia) - inertia[-1]) / (inertia[0] - inertia[-1])
    return numbers[int(((1 - across) - height).argmax())]


@recorded("cluster.dendrogram")
def dendrogram(clustering: xr.Dataset, *, linkage: str = "average") -> xr.Dataset:
    """How clusters would merge, by the distances of their mean responses.

    Parameters
    ----------
    clustering : Dataset
        A clustering result of at least two clusters.
    linkage : {"average", "ward", "complete", "single", "weighted"}, optional

    Returns
    -------
    Dataset
        Of ``n - 1`` merges, lowest first: ``height(merge)``, the distance, in the units of the mean response;
        ``members(merge, side)``, the two groups that join (a cluster's number, or ``n`` plus the number of an earlier
        merge); ``size(merge)``, clusters in the new group; ``across(merge, corner)``, ``level(merge, corner)``, the
        four corners of its bracket, with leaves at 0, 1, ... in the order ``leaf(cluster)``.

    Raises
    ------
    ValueError
        If there are fewer than two clusters.

    Notes
    -----
    *Laziness*: computes the mean responses where they are lazy: one pass over the data.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from xpycro.processing.cluster import kmeans
    >>> found = kmeans(xr.DataArray([[0.0], [1.0], [5.0]], dims=("x", "bias")), 3)
    >>> dendrogram(found).height.values
    array([1. , 4.5])
    """
    if not isinstance(clustering, xr.Dataset) or "mean_response" not in clustering:
        raise ValueError("dendrogram works on a clustering with mean_response: of cluster.kmeans and its like")
    if linkage not in ("average", "ward", "complete", "single", "weighted"):
        raise ValueError(
            f"dendrogram: linkage={linkage!r}; choose 'average', 'ward', 'complete', 'single' or 'weighted'"
        )
    means = clustering["mean_response"].transpose("cluster", ...)
    n = means.sizes["cluster"]
    if n < 2:
        raise ValueError("dendrogram: there is one cluster, and nothing to merge")
    from scipy.cluster.hierarchy import dendrogram as drawn
    from scipy.cluster.hierarchy import linkage as linked

    values = means.values.reshape(n, -1)
    values = np.concatenate([values.real, values.imag], axis=1) if values.dtype.kind == "c" else values
    tree = linked(np.nan_to_num(values), linkage, optimal_ordering=True)
    drawing = drawn(tree, no_plot=True)
    leaves = np.argsort(drawing["leaves"])
    units = str(means.attrs.get("units", "1"))
    across, level = (np.asarray(drawing[name], float) for name in ("icoord", "dcoord"))
    order = np.argsort(level.max(axis=1), kind="stable")
    plain = {"units": "1"}
    return xr.Dataset(
        {
            "height": ("merge", tree[:, 2], {"units": units, "long_name": "Distance"}),
            "members": (("merge", "side"), tree[:, :2].astype(int), {**plain, "long_name": "Merged groups"}),
            "size": ("merge", tree[:, 3].astype(int), {**plain, "long_name": "Clusters in the group"}),
            "across": (("merge", "corner"), (across[order] - 5) / 10, {**plain, "long_name": "Leaf"}),
            "level": (("merge", "corner"), level[order], {"units": units, "long_name": "Distance"}),
            "leaf": ("cluster", leaves, {**plain, "long_name": "Leaf"}),
        },
        coords={"cluster": cluster_coord(n)},
        attrs={"pycro_linkage": linkage},
    )
