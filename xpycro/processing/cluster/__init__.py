"""Clustering of spectra and maps; the public namespace ``xp.cluster``.

May import engine, schema, provenance, errors and processing/decompose; scikit-learn and SciPy inside functions.
"""

from xpycro.processing.cluster.general import estimator
from xpycro.processing.cluster.kmeans import kmeans
from xpycro.processing.cluster.means import mean_by

__all__ = ["estimator", "kmeans", "mean_by"]
