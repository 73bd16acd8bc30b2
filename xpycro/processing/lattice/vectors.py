"""The neighbours of atoms and the lattice that fits them best.

May import numpy, xarray, scipy (inside functions), the base floor and the tables beside it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from xpycro.processing.lattice.tables import atom_coordinate, atom_places
from xpycro.provenance import recorded
from xpycro.schema import new_result

__all__ = ["lattice_vectors", "neighbours"]


@recorded("lattice.neighbours")
def neighbours(atoms: xr.Dataset, count: int = 6) -> xr.Dataset:
    """The nearest neighbours of each atom.

    Parameters
    ----------
    atoms : Dataset
        ``y, x`` over ``atom``, as of `find_atoms` or `refine_atoms`.
    count : int
        How many.

    Returns
    -------
    Dataset
        Over ``atom, neighbour``, nearest first: ``index`` of the neighbour (-1 where there are fewer), ``distance`` in
        the unit of the places, ``angle`` (rad, from x towards y).

    Notes
    -----
    *Laziness*: computes the places now. Atoms whose place is NaN have no neighbours and are none.

    Examples
    --------
    >>> atoms = xr.Dataset({"y": ("atom", [0.0, 0.0, 3.0]), "x": ("atom", [0.0, 1.0, 0.0])})
    >>> neighbours(atoms, 1).distance.values.ravel()
    array([1., 1., 3.])
    """
    from scipy.spatial import cKDTree

    if count < 1:
        raise ValueError(f"count={count}: at least 1")
    places, unit = atom_places(atoms)
    (known,) = np.nonzero(np.isfinite(places).all(axis=1))
    index = np.full((len(places), count), -1)
    distance, angle = np.full(index.shape, np.nan), np.full(index.shape, np.nan)
    if known.size > 1:
        tree = cKDTree(places[known])
        found, which = tree.query(places[known], k=count + 1)
        # two atoms on one place: the first column may be the other one
        for row, (d, w) in enumerate(zip(found, which, strict=True)):
            others = [(a, b) for a, b in zip(d, w, strict=True) if b != row and b < known.size][:count]
            for slot, (length, other) in enumerate(others):
                step = places[known[other]] - places[known[row]]
                index[known[row], slot] = known[other]
                distance[known[row], slot], angle[known[row], slot] = length, np.arctan2(*step)
    dims = ("atom", "neighbour")
    variables = {
        "index": (dims, index, {"units": "1", "long_name": "Index of the neighbour"}),
        "distance": (dims, distance, {"units": unit, "long_name": "Distance"}),
        "angle": (dims, angle, {"units": "rad", "long_name": "Angle"}),
    }
    return xr.Dataset(variables, coords={"atom": atoms.coords.get("atom", atom_coordinate(len(places)))})


def _spread_vectors(places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two short vectors that most neighbours are connected by: medians of the clusters of differences."""
    from scipy.spatial import cKDTree

    tree = cKDTree(places)
    near = tree.query(places, k=min(9, len(places)))[1][:, 1:]
    steps = (places[near] - places[:, None]).reshape(-1, 2)
    steps = np.where((steps[:, 1] < 0)[:, None] | ((steps[:, 1] == 0) & (steps[:, 0] < 0))[:, None], -steps, steps)
    size = np.hypot(*steps.T)
    shortest = float(np.median(np.sort(np.hypot(*(places[near[:, 0]] - places).T))))
    tolerance = 0.2 * shortest
    vectors: list[np.ndarray] = []
    for candidate in steps[np.argsort(size)]:
        if any(
            np.hypot(*(candidate - v)) < 2 * tolerance or np.hypot(*(candidate + v)) < 2 * tolerance for v in vectors
        ):
            continue
        # a vector at the border of the half plane appears with both signs
        signed = np.where((steps @ candidate < 0)[:, None], -steps, steps)
        group = signed[np.hypot(*(signed - candidate).T) < tolerance]
        if len(group) < 0.15 * len(places):
            continue
        vector = np.median(group, axis=0)
        if not vectors:
            vectors.append(vector)
        elif abs(vectors[0][0] * vector[1] - vectors[0][1] * vector[0]) > 0.3 * np.hypot(*vectors[0]) * np.hypot(
            *vector
        ):
            return vectors[0], vector
    raise ValueError("no two independent lattice vectors: too few atoms, or they form no lattice; pass start=")


def _fitted_lattice(places: np.ndarray, first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(origin, a, b) by least squares and the integer indices, grown outward from the middle."""
    origin = places[np.argmin(np.hypot(*(places - np.median(places, axis=0)).T))]
    basis = np.stack([first, second])
    distance = np.hypot(*(places - origin).T)
    reach = 2.5 * max(np.hypot(*first), np.hypot(*second))
    solution = np.vstack([origin, basis])
    while True:
        used = distance <= reach
        index = np.rint((places - solution[0]) @ np.linalg.inv(solution[1:]))
        design = np.column_stack([np.ones(used.sum()), index[used]])
        if np.linalg.matrix_rank(design) == 3:
            solution = np.linalg.lstsq(design, places[used], rcond=None)[0]
        if used.all():
            index = np.rint((places - solution[0]) @ np.linalg.inv(solution[1:]))
            return solution, index.astype(int)
        reach *= 1.5


@recorded("lattice.lattice_vectors")
def lattice_vectors(atoms: xr.Dataset, start: Any = None) -> xr.Dataset:
    """The lattice that fits the atoms best: two vectors, the origin, the indices of each atom, and its displacement.

    Parameters
    ----------
    atoms : Dataset
        ``y, x`` over ``atom``; one atom a cell (of several sublattices select one).
    start : array_like, shape (2, 2), optional
        The vectors roughly, ``[[a_y, a_x], [b_y, b_x]]`` in the unit of the places; None finds them from neighbours.

    Returns
    -------
    Dataset
        A ``lattice``: ``vectors(vector, axis)`` and ``origin(axis)`` in the unit of the places, ``length(vector)``,
        ``angle`` between the vectors (rad); over ``atom``: ``index(atom, vector)``, ``displacement(atom, axis)`` from
        its site, ``residual(atom)``, its length.

    Raises
    ------
    ValueError
        If there are fewer than four atoms, or no lattice is seen.

    Notes
    -----
    *Laziness*: computes the places now. Indices grow outward from the middle, so that small strain does not miscount.
    Atoms whose place is NaN have index 0 and displacement NaN.

    Examples
    --------
    >>> j, i = np.meshgrid(np.arange(5.0), np.arange(6.0), indexing="ij")
    >>> atoms = xr.Dataset({"y": ("atom", (3 * j).ravel()), "x": ("atom", (2 * i + j).ravel())})
    >>> lattice_vectors(atoms).length.values.round(6)
    array([2.      , 3.162278])
    """
    places, unit = atom_places(atoms)
    good = np.isfinite(places).all(axis=1)
    if good.sum() < 4:
        raise ValueError(f"{good.sum()} atoms with a place: a lattice needs at least four")
    if start is None:
        first, second = _spread_vectors(places[good])
    else:
        given = np.asarray(start, dtype=float)
        if given.shape != (2, 2) or abs(np.linalg.det(given / np.abs(given).max())) < 1e-3:
            raise ValueError(f"start={start!r}: two vectors [[a_y, a_x], [b_y, b_x]] that are not parallel")
        first, second = given
    solution, known_index = _fitted_lattice(places[good], first, second)
    index = np.zeros((len(places), 2), int)
    index[good] = known_index
    displacement = np.where(good[:, None], places - (solution[0] + index @ solution[1:]), np.nan)
    a, b = solution[1:]
    angle = np.arccos(np.clip(a @ b / np.hypot(*a) / np.hypot(*b), -1, 1))

    def of(dims: tuple[str, ...], values: Any, label: str, units: str = unit) -> xr.Variable:
        return xr.Variable(dims, values, {"units": units, "long_name": label})

    coords = {
        "axis": ("axis", ["y", "x"]),
        "vector": ("vector", ["a", "b"]),
        "atom": atoms.coords.get("atom", atom_coordinate(len(places))),
    }
    variables = {
        "vectors": of(("vector", "axis"), solution[1:], "Lattice vectors"),
        "origin": of(("axis",), solution[0], "Origin"),
        "length": of(("vector",), np.hypot(*solution[1:].T), "Length"),
        "angle": of((), angle, "Angle between the vectors", "rad"),
        "index": of(("atom", "vector"), index, "Lattice index", "1"),
        "displacement": of(("atom", "axis"), displacement, "Displacement"),
        "residual": of(("atom",), np.hypot(*displacement.T), "Distance from the site"),
        "y": atoms["y"].variable,
        "x": atoms["x"].variable,
    }
    return new_result("lattice", variables, coords)
