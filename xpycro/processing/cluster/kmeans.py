"""K-means clustering of spectra or of decomposition maps.

May import engine, schema and processing/decompose; scikit-learn inside functions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import xarray as xr

from xpycro.processing.cluster import lloyd
from xpycro.processing.cluster.features import Features, features
from xpycro.processing.cluster.results import assemble, check_clusters, raw_data
from xpycro.provenance import recorded

__all__ = ["kmeans"]

_SAMPLE = 20_000
_KEPT_BYTES = 256 << 20  # features up to here are read once and kept over the passes


@recorded("cluster.kmeans")
def kmeans(
    obj: xr.DataArray | xr.Dataset,
    n_clusters: int,
    *,
    data: xr.DataArray | xr.Dataset | None = None,
    components: int | slice | Sequence[int] | None = None,
    dim: str | Sequence[str] | None = None,
    variable: str | None = None,
    scale: str | None = None,
    exclude: xr.DataArray | None = None,
    seed: int = 0,
    n_starts: int = 10,
    max_iterations: int = 300,
) -> xr.Dataset:
    """Group observations by k-means, and give each group's mean response in the units of the data.

    Seeded k-means++ starts compete on a sample of 20,000 observations; Lloyd's passes over all of them follow until
    no label changes. Complex features count as their real and imaginary parts, which keeps distances.

    Parameters
    ----------
    obj : DataArray or Dataset
        A decomposition result (its maps are the features) or a measurement (its signal is).
    n_clusters : int
    data : DataArray or Dataset, optional
        What mean responses are taken of. Of a decomposition it is found through the history where the data were
        opened from a file; of a measurement it is the measurement.
    components : int, slice or list of int, optional
        Which maps of a decomposition; an int means the first n, None all.
    dim, variable : optional
        Signal of a measurement, and which variable of a Dataset.
    scale : {"std", None}, optional
        Divide each feature by its standard deviation; centers come back in the features' units.
    exclude : DataArray of bool, optional
        True where an observation is left out (label -1).
    seed : int, optional
    n_starts : int, optional
        Starts on the sample, of which the best goes on.
    max_iterations : int, optional
        Passes over the features at most.

    Returns
    -------
    Dataset
        A ``clustering`` with

        - ``labels(<observation dims>)``: 0, 1, ...; -1 for observations that hold NaN or are left out. Neighbouring
          numbers have similar mean responses (optimal order of a dendrogram's leaves);
        - ``counts(cluster)``: observations, dimensionless;
        - ``centers(cluster, component or <dim>)``: means of the features, in their units;
        - ``mean_response(cluster, <dim>)``, ``response_std(cluster, <dim>)``: of the data, in its units.

        Attributes ``pycro_inertia``, ``pycro_iterations`` and ``pycro_converged`` say how it ended.

    Raises
    ------
    ValueError
        If `n_clusters` is out of range or exceeds the number of distinct observations, or the input holds no numbers.
    MissingSource
        If `obj` is a decomposition, `data` is not given and the source cannot be found.

    Notes
    -----
    *Laziness*: k-means is iterative, so labels, counts and centers are computed at the call: one pass over lazy
    features that take less than 256 MB, else one for each iteration in bounded memory. ``mean_response`` and
    ``response_std`` are lazy where the data is: one pass.

    References
    ----------
    D. Arthur, S. Vassilvitskii, k-means++: the advantages of careful seeding, SODA 2007, 1027.
    Z. Bar-Joseph, D. K. Gifford, T. S. Jaakkola, Fast optimal leaf ordering, Bioinformatics 17, S22 (2001).

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> spectra = xr.DataArray([[0.0, 0.1], [0.1, 0.0], [5.0, 5.0]], dims=("x", "bias"), attrs={"units": "A"})
    >>> result = kmeans(spectra, 2)
    >>> result.labels.values, result.mean_response.values[1]
    (array([0, 0, 1], dtype=int32), array([5., 5.]))
    """
    given = features(
        obj, dim=dim, variable=variable, components=components, exclude=exclude, operation="kmeans", scale=scale
    )
    count = check_clusters(n_clusters, given.n_observations, "kmeans")
    measured = raw_data(given, obj, data)
    passes, sample = _passes_and_sample(given, seed)
    if sample.shape[0] < count:
        raise ValueError(
            f"kmeans: n_clusters={count}, and only {sample.shape[0]} observations are left: the others are excluded "
            "or hold NaN"
        )
    begin = lloyd.starts(sample, count, seed=seed, n_starts=n_starts)
    found = lloyd.partition(passes, given.n_observations, begin, max_iterations=max_iterations)
    filled = int((found.counts > 0).sum())
    if filled < count:
        raise ValueError(f"kmeans: n_clusters={count}, and only {filled} groups of distinct observations were found")
    return assemble(
        given,
        measured,
        found.labels,
        found.centers,
        method="kmeans",
        pycro_inertia=found.inertia,
        pycro_iterations=found.n_iterations,
        pycro_converged=int(found.converged),
        pycro_seed=seed,
    )


def _passes_and_sample(given: Features, seed: int) -> tuple[Callable[[], lloyd.Rows], np.ndarray]:
    """How to go over the rows again and again, and a sample of them that does not depend on the chunks."""
    n = given.n_observations
    chosen = np.ones(n, bool)
    if n > _SAMPLE:
        chosen[:] = False
        chosen[np.random.default_rng(seed).choice(n, _SAMPLE, replace=False)] = True
    keep = n * given.n_columns * 8 <= _KEPT_BYTES
    kept, picked, numbers_picked = [], [], []
    for rows, numbers in given.rows():
        if keep:
            kept.append((rows, numbers))
        here = chosen[numbers]
        picked.append(rows[here])
        numbers_picked.append(numbers[here])
    order = np.argsort(np.concatenate(numbers_picked), kind="stable")
    return (lambda: kept) if keep else given.rows, np.concatenate(picked)[order]
