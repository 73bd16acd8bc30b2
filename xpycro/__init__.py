"""xpycro: every microscope's file as a labelled xarray Dataset, and one accessor, ``.pycro``, from counts to results.

The public names; importing it registers the accessors and loads nothing heavier than xarray.
"""

from importlib.metadata import PackageNotFoundError, version

from xpycro import accessor, errors, simulate
from xpycro.analysis import models
from xpycro.analysis.fit import fit
from xpycro.engine.results import evaluate, project, reconstruct, residual
from xpycro.io.formats import formats, register
from xpycro.io.opening import open, open_tree
from xpycro.io.store import open_result, save
from xpycro.io.translate import translate
from xpycro.processing import cluster, decompose, image
from xpycro.processing.select import crop, to_units
from xpycro.provenance import history
from xpycro.viz import plot

try:
    __version__ = version("xpycro")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0+unknown"

__all__ = [
    "accessor",
    "cluster",
    "crop",
    "decompose",
    "errors",
    "evaluate",
    "fit",
    "formats",
    "history",
    "image",
    "models",
    "open",
    "open_result",
    "open_tree",
    "plot",
    "project",
    "reconstruct",
    "register",
    "residual",
    "save",
    "simulate",
    "to_units",
    "translate",
]
