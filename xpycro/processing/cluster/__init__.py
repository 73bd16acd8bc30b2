"""Clustering of spectra and maps; the public namespace ``xp.cluster``.

May import engine, schema, provenance, errors and processing/decompose; scikit-learn and SciPy inside functions.
"""

from xpycro.processing.cluster.general import estimator
from xpycro.processing.cluster.kmeans import kmeans
from xpycro.processing.cluster.means import mean_by
from xpycro.processing.cluster.others import agglomerative, gaussian_mixture, hdbscan
from xpycro.processing.cluster.quality import dendrogram, metrics, scan

__all__ = [
    "agglomerative",
    "dendrogram",
    "estimator",
    "gaussian_mixture",
    "hdbscan",
    "kmeans",
    "mean_by",
    "metrics",
    "scan",
]
