"""Any scikit-learn clusterer on spectra or maps.

May import engine, schema, provenance and processing/decompose; scikit-learn inside functions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from xpycro.processing.cluster.gathered import in_memory
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
    if isinstance(estimator, type):
        raise TypeError(f"cluster by {estimator.__name__}: pass an instance, such as {estimator.__name__}()")
    if not hasattr(estimator, "fit_predict") and not (hasattr(estimator, "fit") and hasattr(estimator, "predict")):
        raise TypeError(f"cluster by {name}: it has no fit_predict; pass a clusterer such as KMeans(4)")
    held = in_memory(
        obj, data, f"cluster by {name}", components=components, dim=dim, variable=variable, scale=scale, exclude=exclude
    )
    from sklearn.base import clone

    fresh = clone(estimator)
    rows = held.rows
    found = np.asarray(fresh.fit_predict(rows) if hasattr(fresh, "fit_predict") else fresh.fit(rows).predict(rows))
    return held.labelled(found, method=name)
