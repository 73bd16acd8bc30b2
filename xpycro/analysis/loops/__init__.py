"""``xp.loops``: from oscillator fits to switching loops, their nine parameters, and what follows from these."""

from xpycro.analysis.loops.derived import derived
from xpycro.analysis.loops.fitting import fit
from xpycro.analysis.loops.forc import forc_density
from xpycro.analysis.loops.projection import project

__all__ = ["derived", "fit", "forc_density", "project"]
