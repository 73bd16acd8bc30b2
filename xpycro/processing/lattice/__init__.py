"""Atoms in images: found, refined, their neighbours, the lattice they form, and how far they are from it.

May import numpy, xarray, scipy (inside functions), engine and the base floor; not its siblings.
"""

from xpycro.processing.lattice.deformation import strain
from xpycro.processing.lattice.finding import find_atoms
from xpycro.processing.lattice.refining import refine_atoms
from xpycro.processing.lattice.vectors import lattice_vectors, neighbours

__all__ = ["find_atoms", "lattice_vectors", "neighbours", "refine_atoms", "strain"]
