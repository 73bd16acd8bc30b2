"""Strain and rotation: how far atoms are from a reference lattice.

May import numpy, xarray, scipy (inside functions), the base floor and the tables beside it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from xpycro.processing.lattice.tables import atom_places, table
from xpycro.provenance import recorded

__all__ = ["strain"]


@recorded("lattice.strain")
def strain(lattice: xr.Dataset, count: int = 8, reference: Any = None) -> xr.Dataset:
    """Strain and rotation at each atom, from how its neighbours lie compared with a reference lattice.

    Parameters
    ----------
    lattice : Dataset
        As of `lattice_vectors`.
    count : int
        How many neighbours the local deformation is fitted to (least squares), at least three.
    reference : array_like, shape (2, 2), optional
        Vectors ``[[a_y, a_x], [b_y, b_x]]`` of the unstrained lattice; None is the fitted lattice, so that strain is
        relative to the mean.

    Returns
    -------
    Dataset
        Over ``atom``: ``strain_yy``, ``strain_xx``, ``strain_xy`` (dimensionless; of the symmetric part of the
        displacement gradient), ``rotation`` (rad, from x towards y), and ``y``, ``x``. NaN where neighbours do not fix
        it.

    Raises
    ------
    ValueError
        If the lattice or the reference is not usable.

    Notes
    -----
    *Laziness*: computes now. Small-strain definitions.

    References
    ----------
    M. J. Hytch, E. Snoeck and R. Kilaas, Ultramicroscopy 74, 131 (1998).

    Examples
    --------
    >>> from xpycro.processing.lattice import lattice_vectors
    >>> j, i = (v.ravel() for v in np.meshgrid(np.arange(5.0), np.arange(6.0), indexing="ij"))
    >>> atoms = xr.Dataset({"y": ("atom", j), "x": ("atom", 1.02 * i)})
    >>> found = strain(lattice_vectors(atoms), reference=[[0, 1], [1, 0]])
    >>> float(found.strain_xx.mean().round(6)), float(abs(found.strain_yy).max().round(6))
    (0.02, 0.0)
    """
    from scipy.spatial import cKDTree

    if count < 3:
        raise ValueError(f"count={count}: at least three neighbours fix a deformation")
    if "index" not in lattice or "vectors" not in lattice:
        raise ValueError("strain needs what lattice_vectors returned")
    places, _ = atom_places(lattice)
    vectors = lattice["vectors"].values
    if reference is not None:
        given = np.asarray(reference, dtype=float)
        if given.shape != (2, 2) or abs(np.linalg.det(given / np.abs(given).max())) < 1e-3:
            raise ValueError(f"reference={reference!r}: two vectors [[a_y, a_x], [b_y, b_x]] that are not parallel")
        vectors = _matched(given, vectors)
    ideal = lattice["index"].values @ vectors
    gradient = np.full((len(places), 2, 2), np.nan)
    (known,) = np.nonzero(np.isfinite(places).all(axis=1))
    size = float(np.hypot(*vectors[0]))
    if known.size > count:
        near = cKDTree(places[known]).query(places[known], k=count + 1)[1]
        for row, group in zip(known, known[near], strict=True):
            design, seen = (ideal[group] - ideal[row]) / size, (places[group] - places[row]) / size
            centred = design - design.mean(axis=0)
            if np.linalg.svd(centred, compute_uv=False)[-1] > 1e-3:
                # seen = design (1 + gradient), rows being (y, x)
                gradient[row] = np.linalg.lstsq(centred, seen - seen.mean(axis=0), rcond=None)[0] - np.eye(2)

    def of(values: np.ndarray, label: str, units: str = "1") -> xr.Variable:
        return table(values, units, label)

    # gradient[i, j] is the derivative of displacement j along axis i, axes being (y, x)
    variables = {
        "strain_yy": of(gradient[:, 0, 0], "Strain yy"),
        "strain_xx": of(gradient[:, 1, 1], "Strain xx"),
        "strain_xy": of((gradient[:, 0, 1] + gradient[:, 1, 0]) / 2, "Strain xy"),
        "rotation": of((gradient[:, 1, 0] - gradient[:, 0, 1]) / 2, "Rotation", "rad"),
        "y": lattice["y"].variable,
        "x": lattice["x"].variable,
    }
    return xr.Dataset(variables, coords={"atom": lattice.coords["atom"]})


def _matched(given: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """The reference in the basis of the indices: small integer combinations of its vectors, nearest to the fitted."""
    combination = np.rint(vectors @ np.linalg.inv(given))
    if abs(np.linalg.det(combination)) < 0.5:
        raise ValueError(f"reference= {given.tolist()} does not resemble the fitted vectors {vectors.tolist()}")
    return combination @ given
