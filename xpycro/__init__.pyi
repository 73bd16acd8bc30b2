"""What type checkers see of the package: the public names, each from its room."""

from xpycro import accessor, errors, simulate
from xpycro.analysis import loops, models
from xpycro.analysis.fit import fit
from xpycro.analysis.fit_quality import derived, fit_compare
from xpycro.engine.results import evaluate, project, reconstruct, residual
from xpycro.io.export import from_hyperspy, from_sidpy, to_hyperspy, to_nexus
from xpycro.io.formats import Format, formats
from xpycro.io.formats import register as register_format
from xpycro.io.frame import lab_frame, positions
from xpycro.io.many import open_many
from xpycro.io.opening import open, open_tree
from xpycro.io.samples import sample, samples
from xpycro.io.store import layout_of as layout
from xpycro.io.store import open_result, pack, save, unpack, verify
from xpycro.io.translate import translate
from xpycro.processing import cluster, decompose, diffraction, image, lattice, mass, register, spectra, windows
from xpycro.processing import filters as filter
from xpycro.processing.decompose import stack_channels
from xpycro.processing.select import crop, to_units
from xpycro.provenance import history
from xpycro.replay import replay, script
from xpycro.viz import plot

__version__: str
__all__ = [
    "Format",
    "accessor",
    "cluster",
    "crop",
    "decompose",
    "derived",
    "diffraction",
    "errors",
    "evaluate",
    "filter",
    "fit",
    "fit_compare",
    "formats",
    "from_hyperspy",
    "from_sidpy",
    "history",
    "image",
    "lab_frame",
    "lattice",
    "layout",
    "loops",
    "mass",
    "models",
    "open",
    "open_many",
    "open_result",
    "open_tree",
    "pack",
    "plot",
    "positions",
    "project",
    "reconstruct",
    "register",
    "register_format",
    "replay",
    "residual",
    "sample",
    "samples",
    "save",
    "script",
    "simulate",
    "spectra",
    "stack_channels",
    "to_hyperspy",
    "to_nexus",
    "to_units",
    "translate",
    "unpack",
    "verify",
    "windows",
]
