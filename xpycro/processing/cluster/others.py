"""Gaussian mixtures, density-based and hierarchical clustering of spectra or maps.

May import engine, schema, provenance and processing/decompose; scikit-learn inside functions.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from xpycro.processing.cluster.gathered import in_memory
from xpycro.processing.cluster.results import assemble
from xpycro.provenance import recorded

__all__ = ["agglomerative", "gaussian_mixture", "hdbscan"]

_PAIRS = 20_000  # observations whose pairwise distances still fit: 3.2 GB


@recorded("cluster.gaussian_mixture")
def gaussian_mixture(
    obj: xr.DataArray | xr.Dataset,
    n_clusters: int,
    *,
    covariance: str = "full",
    data: xr.DataArray | xr.Dataset | None = None,
    components: int | slice | Sequence[int] | None = None,
    dim: str | Sequence[str] | None = None,
    variable: str | None = None,
    scale: str | None = None,
    exclude: xr.DataArray | None = None,
    seed: int = 0,
    n_starts: int = 3,
) -> xr.Dataset:
    """Group observations by a mixture of Gaussians, and say how surely each belongs.

    Parameters
    ----------
    obj : DataArray or Dataset
        A decomposition result (its maps are the features; best few of them) or a measurement.
    n_clusters : int
    covariance : {"full", "tied", "diag", "spherical"}, optional
        Shape of each Gaussian.
    data, components, dim, variable, scale, exclude, seed : optional
        As in `kmeans`.
    n_starts : int, optional

    Returns
    -------
    Dataset
        A ``clustering`` as of `kmeans`, and ``probability(cluster, <observation dims>)``, dimensionless. ``pycro_bic``
        and ``pycro_aic`` compare numbers of clusters (the smaller, the better).

    Raises
    ------
    ValueError, MissingSource
        As `kmeans`.

    Notes
    -----
    *Laziness*: labels and probabilities are computed at the call with all features in memory; mean responses are lazy
    where the data is.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> rng = np.random.default_rng(0)
    >>> values = np.repeat([0.0, 9.0], 50)[:, None] + rng.normal(size=(100, 2))
    >>> gaussian_mixture(xr.DataArray(values, dims=("x", "bias")), 2).counts.values
    array([50, 50])
    """
    if covariance not in ("full", "tied", "diag", "spherical"):
        raise ValueError(f"gaussian_mixture: covariance={covariance!r}; choose 'full', 'tied', 'diag' or 'spherical'")
    held = in_memory(
        obj, data, "gaussian_mixture", n_clusters=n_clusters, components=components, dim=dim, variable=variable,
        scale=scale, exclude=exclude,
    )  # fmt: skip
    from sklearn.mixture import GaussianMixture

    x, count = held.rows, int(n_clusters)
    # brought to about one, so that the small amount added to each variance means the same in every unit
    shift, spread = x.mean(axis=0), float(x.std()) or 1.0
    z = (x - shift) / spread
    model = GaussianMixture(count, covariance_type=covariance, random_state=seed, n_init=n_starts).fit(z)
    chances = model.predict_proba(z)
    return assemble(
        held.given,
        held.measured,
        held.spread(chances.argmax(axis=1).astype(np.int32), -1),
        model.means_ * spread + shift,
        method="gaussian_mixture",
        memberships=held.spread(chances, np.nan),
        pycro_bic=float(model.bic(z)),
        pycro_aic=float(model.aic(z)),
        pycro_converged=int(model.converged_),
        pycro_seed=seed,
    )


@recorded("cluster.hdbscan")
def hdbscan(
    obj: xr.DataArray | xr.Dataset,
    *,
    min_cluster_size: int = 20,
    min_samples: int | None = None,
    data: xr.DataArray | xr.Dataset | None = None,
    components: int | slice | Sequence[int] | None = None,
    dim: str | Sequence[str] | None = None,
    variable: str | None = None,
    scale: str | None = None,
    exclude: xr.DataArray | None = None,
) -> xr.Dataset:
    """Group observations by density: as many clusters as there are, and outliers left as noise (label -1).

    Parameters
    ----------
    obj : DataArray or Dataset
        A decomposition result (its maps are the features; best few of them) or a measurement.
    min_cluster_size : int, optional
        Fewer observations than this are no cluster.
    min_samples : int, optional
        Neighbours that make a dense place; None means `min_cluster_size`.
    data, components, dim, variable, scale, exclude : optional
        As in `kmeans`.

    Returns
    -------
    Dataset
        A ``clustering`` as of `kmeans`.

    Raises
    ------
    ValueError, MissingSource
        As `kmeans`; and if everything is noise.

    Notes
    -----
    *Laziness*: labels are computed at the call with all features in memory; mean responses are lazy where the data is.

    References
    ----------
    R. J. G. B. Campello, D. Moulavi, J. Sander, Density-based clustering based on hierarchical density estimates,
    PAKDD 2013, 160.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> rng = np.random.default_rng(0)
    >>> values = np.repeat([0.0, 9.0], 50)[:, None] + rng.normal(size=(100, 2))
    >>> hdbscan(xr.DataArray(values, dims=("x", "bias"))).sizes["cluster"]
    2
    """
    if min_cluster_size < 2:
        raise ValueError(f"hdbscan: min_cluster_size={min_cluster_size} must be at least 2")
    held = in_memory(
        obj, data, "hdbscan", components=components, dim=dim, variable=variable, scale=scale, exclude=exclude
    )
    from sklearn.cluster import HDBSCAN

    count = held.rows.shape[0]
    if count < min_cluster_size:
        raise ValueError(f"hdbscan: min_cluster_size={min_cluster_size}, and only {count} observations are left")
    model = HDBSCAN(min_cluster_size=min_cluster_size, min_samples=min_samples, copy=True)
    return held.labelled(model.fit_predict(held.rows), method="hdbscan")


@recorded("cluster.agglomerative")
def agglomerative(
    obj: xr.DataArray | xr.Dataset,
    n_clusters: int,
    *,
    linkage: str = "ward",
    data: xr.DataArray | xr.Dataset | None = None,
    components: int | slice | Sequence[int] | None = None,
    dim: str | Sequence[str] | None = None,
    variable: str | None = None,
    scale: str | None = None,
    exclude: xr.DataArray | None = None,
) -> xr.Dataset:
    """Group observations by merging the nearest groups until `n_clusters` are left.

    Parameters
    ----------
    obj : DataArray or Dataset
        A decomposition result (its maps are the features) or a measurement; at most 20,000 observations.
    n_clusters : int
    linkage : {"ward", "average", "complete", "single"}, optional
        What "nearest" means.
    data, components, dim, variable, scale, exclude : optional
        As in `kmeans`.

    Returns
    -------
    Dataset
        A ``clustering`` as of `kmeans`.

    Raises
    ------
    ValueError, MissingSource
        As `kmeans`; and for more observations than whose pairs fit in memory.

    Notes
    -----
    *Laziness*: labels are computed at the call with all features in memory; mean responses are lazy where the data is.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> spectra = xr.DataArray([[0.0, 0.1], [0.1, 0.0], [5.0, 5.0]], dims=("x", "bias"))
    >>> agglomerative(spectra, 2).labels.values
    array([0, 0, 1], dtype=int32)
    """
    if linkage not in ("ward", "average", "complete", "single"):
        raise ValueError(f"agglomerative: linkage={linkage!r}; choose 'ward', 'average', 'complete' or 'single'")
    held = in_memory(
        obj, data, "agglomerative", n_clusters=n_clusters, most=_PAIRS, components=components, dim=dim,
        variable=variable, scale=scale, exclude=exclude,
    )  # fmt: skip
    from sklearn.cluster import AgglomerativeClustering

    if held.rows.shape[0] == 1:
        found = np.zeros(1, int)
    else:
        found = AgglomerativeClustering(int(n_clusters), linkage=linkage).fit_predict(held.rows)
    return held.labelled(found, method="agglomerative", pycro_linkage=linkage)
