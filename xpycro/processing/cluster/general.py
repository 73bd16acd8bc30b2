"""Any scikit-learn clusterer on spectra or maps.

May import engine, schema, provenance and processing/decompose; scikit-learn inside functions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from xpycro.processing.cluster.features import features
from xpycro.processing.cluster.results import assemble, raw_data
from xpycro.provenance import recorded

__all__ = ["estimator"]


@recorded("cluster.estimator")
def estimator(
    obj: xr.DataArray | xr.Dataset,
    estimator: Any,
    *,
    data: xr.DataArray | xr.Dataset | None = None,
    components: int | slice | Sequence[int] | None = None,
    dim: str | Sequence[str] | None = None,
    variable: str | None = None,
    scale: str | None = None,
    exclude: xr.DataArray | None = None,
) -> xr.Dataset:
    """Group observations by any scikit-learn clusterer.

    Parameters
    ----------
    obj : DataArray or Dataset
        A decomposition result (its maps are the features) or a measurement (its signal is).
    estimator : scikit-learn estimator
        With ``fit_predict``, or ``fit`` and ``predict``; not modified, a clone of it is fitted.
    data, components, dim, variable, scale, exclude : optional
        As in `kmeans`.

    Returns
    -------
    Dataset
        A ``clustering`` as of `kmeans`; labels that the estimator calls noise (negative) are -1, ``centers`` are the
        means of the features.

    Raises
    ------
    TypeError
        If the estimator cannot cluster.
    ValueError, MissingSource
        As `kmeans`.

    Notes
    -----
    *Laziness*: labels, counts and centers are computed at the call, with all features in memory. Mean responses are
    lazy where the data is: one pass.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from sklearn.cluster import AgglomerativeClustering
    >>> spectra = xr.DataArray([[0.0, 0.1], [0.1, 0.0], [5.0, 5.0]], dims=("x", "bias"))
    >>> estimator(spectra, AgglomerativeClustering(2)).labels.values
    array([0, 0, 1], dtype=int32)
    """
    name = type(estimator).__name__
    if not hasattr(estimator, "fit_predict") and not (hasattr(estimator, "fit") and hasattr(estimator, "predict")):
        raise TypeError(f"cluster by {name}: it has no fit_predict; pass a clusterer such as KMeans(4)")
    given = features(
        obj,
        dim=dim,
        variable=variable,
        components=components,
        exclude=exclude,
        operation=f"cluster by {name}",
        scale=scale,
    )
    measured = raw_data(given, obj, data)
    from sklearn.base import clone

    x, numbers = given.gathered()
    fresh = clone(estimator)
    found = np.asarray(fresh.fit_predict(x) if hasattr(fresh, "fit_predict") else fresh.fit(x).predict(x))
    return from_labels(given, measured, x, numbers, found, method=name)


def from_labels(
    given: Any,
    measured: xr.DataArray,
    x: np.ndarray,
    numbers: np.ndarray,
    found: np.ndarray,
    *,
    method: str,
    **attrs: Any,
) -> xr.Dataset:
    """The result of labels found on gathered rows; negative ones are left out, the others renumbered from 0."""
    if not (found >= 0).any():
        raise ValueError(f"{method} found no cluster: every observation is noise")
    kept = found >= 0
    _, compact = np.unique(found[kept], return_inverse=True)
    labels = np.full(given.n_observations, -1, np.int32)
    labels[numbers[kept]] = compact
    centers = np.stack([x[kept][compact == i].mean(axis=0) for i in range(int(compact.max()) + 1)])
    return assemble(given, measured, labels, centers, method=method, **attrs)
