"""Decomposition of spectra on maps into components; the public namespace ``xp.decompose``.

May import engine, schema, provenance and errors; scikit-learn and SciPy inside functions.
"""

from xpycro.processing.decompose.exact import pca, svd
from xpycro.processing.decompose.general import estimator

__all__ = ["estimator", "pca", "svd"]
