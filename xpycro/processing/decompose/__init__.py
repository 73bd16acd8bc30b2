"""Decomposition of spectra on maps into components; the public namespace ``xp.decompose``.

May import engine, schema, provenance and errors; scikit-learn and SciPy inside functions.
"""

from xpycro.processing.decompose.exact import pca, svd

__all__ = ["pca", "svd"]
