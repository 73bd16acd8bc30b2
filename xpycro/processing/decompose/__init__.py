"""Decomposition of spectra on maps into components; the public namespace ``xp.decompose``.

May import engine, schema, provenance and errors; scikit-learn and SciPy inside functions.
"""

from xpycro.processing.decompose.endmembers import nfindr
from xpycro.processing.decompose.exact import pca, svd
from xpycro.processing.decompose.general import estimator
from xpycro.processing.decompose.nonnegative import nmf
from xpycro.processing.decompose.ranking import rank
from xpycro.processing.decompose.rotated import ica, varimax
from xpycro.processing.decompose.stable import stability
from xpycro.processing.decompose.stacking import stack_channels

__all__ = ["estimator", "ica", "nfindr", "nmf", "pca", "rank", "stability", "stack_channels", "svd", "varimax"]
