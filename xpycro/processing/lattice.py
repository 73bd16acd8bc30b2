"""Atoms in images: found, refined, their neighbours, the lattice they form, and how far they are from it.

May import numpy, xarray, scipy (inside functions), engine and the base floor; not its siblings.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from xpycro.engine.axes import Axis, along, image_of, plane_of, real_numbers
from xpycro.provenance import recorded
from xpycro.schema import new_result

__all__ = ["find_atoms", "lattice_vectors", "neighbours", "refine_atoms", "strain"]


def _single(data: xr.DataArray | xr.Dataset, variable: str | None) -> tuple[xr.DataArray, list[Axis]]:
    da = real_numbers(image_of(data, variable))
    plane = plane_of(da)
    if da.ndim != 2:
        raise ValueError(f"atoms are found in one image; this array has {dict(da.sizes)}: select one with isel or sel")
    da = da.transpose(*plane)
    axes = [along(da, dim) for dim in plane]
    if axes[0].units != axes[1].units:
        raise ValueError(f"{plane[0]} is in {axes[0].units} and {plane[1]} in {axes[1].units}: atoms need one unit")
    return da, axes


def _table(values: Any, units: str, label: str) -> xr.Variable:
    return xr.Variable("atom", np.asarray(values, dtype=float), {"units": units, "long_name": label})


def _atom_coordinate(count: int) -> xr.Variable:
    return xr.Variable("atom", np.arange(count), {"units": "1", "long_name": "Atom", "dimension_type": "component"})


@recorded("lattice.find_atoms")
def find_atoms(
    data: xr.DataArray | xr.Dataset,
    width: float,
    *,
    variable: str | None = None,
    min_distance: float | None = None,
    threshold: float = 4.0,
    dark: bool = False,
    border: float | None = None,
) -> xr.Dataset:
    """Bright (or dark) spots of an image: maxima of its Laplacian of a Gaussian, to a fraction of a pixel.

    Parameters
    ----------
    data : DataArray or Dataset
        One real image over two evenly spaced spatial dims of one unit.
    width : float
        Full width at half maximum of an atom, in the axes' unit.
    variable : str, optional
        Which variable of a Dataset.
    min_distance : float, optional
        Least distance of two atoms; of two closer ones the stronger counts. None is `width`.
    threshold : float
        How many times the noise of the filtered image (1.4826 times its median absolute deviation) a maximum must
        exceed; also two per cent of the highest one.
    dark : bool
        Atoms are darker than what is around them.
    border : float, optional
        Maxima nearer to the edge are left out; None is half of `width`.

    Returns
    -------
    Dataset
        Over ``atom``, strongest first: ``y``, ``x`` (named as the dims, in the axes' unit), ``height`` (of the filtered
        maximum, that of a Gaussian of this width; units of the data).

    Raises
    ------
    ValueError
        If the width is not positive or the image is a stack.

    Notes
    -----
    *Laziness*: computes the image now, since the number of atoms is the length of the result. NaN count as the mean.

    Examples
    --------
    >>> y, x = np.indices((40, 40))
    >>> image = np.exp(-((y - 12.3) ** 2 + (x - 25.7) ** 2) / 18)
    >>> found = find_atoms(xr.DataArray(image, dims=("y", "x")), 7.0)
    >>> found.y.values.round(1), found.x.values.round(1)
    (array([12.3]), array([25.7]))
    """
    from scipy import ndimage

    da, axes = _single(data, variable)
    if not width > 0:
        raise ValueError(f"width={width}: must be positive, in {axes[0].units}")
    image = da.values.astype(float) * (-1.0 if dark else 1.0)
    good = np.isfinite(image)
    if not good.any():
        raise ValueError("the image has no finite value")
    mean = image[good].mean()
    image = np.where(good, image - mean, 0.0)
    steps = np.array([abs(a.step) for a in axes])
    sigma = width / 2.3548200450309493 / steps
    # of a Gaussian of the same width the filter's maximum is half its height: hence the two
    filtered = -2.0 * sum(
        s**2 * ndimage.gaussian_filter(image, sigma, order=[2 * (k == i) for k in range(2)], mode="reflect")
        for i, s in enumerate(sigma)
    )
    noise = 1.4826 * np.median(np.abs(filtered - np.median(filtered)))
    highest = ndimage.maximum_filter(filtered, 3, mode="reflect")
    edge = width / 2 if border is None else border
    inside = np.zeros(image.shape, bool)
    margin = [max(1, int(np.ceil(edge / s))) for s in steps]
    inside[margin[0] : image.shape[0] - margin[0], margin[1] : image.shape[1] - margin[1]] = True
    peak = (
        (filtered == highest)
        & inside
        & (filtered > max(threshold * noise, 0.02 * float(filtered.max()), 1e-9 * float(np.ptp(image))))
        & good
    )
    places = np.argwhere(peak)
    height = filtered[peak]
    order = np.argsort(-height, kind="stable")
    places, height = places[order], height[order]
    refined = places + _parabolas(filtered, places)
    keep = _apart(refined * steps, width if min_distance is None else min_distance)
    refined, height = refined[keep], height[keep]
    unit = str(da.attrs.get("units", "1"))
    variables = {
        axis.dim: _table(axis.values[0] + axis.step * refined[:, i], axis.units, f"{axis.dim} of the atom")
        for i, axis in enumerate(axes)
    }
    variables["height"] = _table(-height if dark else height, unit, "Height")
    return xr.Dataset(variables, coords={"atom": _atom_coordinate(len(refined))}, attrs={"width": float(width)})


def _parabolas(image: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Maximum of the quadric through the nine pixels around each place, within half a pixel."""
    if not len(places):
        return np.zeros((0, 2))
    y, x = places.T
    v = {(i, j): image[y + i, x + j] for i in (-1, 0, 1) for j in (-1, 0, 1)}
    gy, gx = (v[1, 0] - v[-1, 0]) / 2, (v[0, 1] - v[0, -1]) / 2
    yy, xx = v[1, 0] - 2 * v[0, 0] + v[-1, 0], v[0, 1] - 2 * v[0, 0] + v[0, -1]
    xy = (v[1, 1] - v[1, -1] - v[-1, 1] + v[-1, -1]) / 4
    determinant = yy * xx - xy**2
    safe = np.where(determinant > 0, determinant, 1.0)
    move = -np.stack([xx * gy - xy * gx, yy * gx - xy * gy], axis=-1) / safe[:, None]
    return np.clip(np.where((determinant > 0)[:, None], move, 0.0), -0.5, 0.5)


def _apart(places: np.ndarray, distance: float) -> np.ndarray:
    """Which places stay where, in the order given, none may lie closer than `distance` to one before."""
    from scipy.spatial import cKDTree

    keep = np.ones(len(places), bool)
    if len(places) < 2:
        return keep
    tree = cKDTree(places)
    for index in range(len(places)):
        if keep[index]:
            near = [k for k in tree.query_ball_point(places[index], distance * (1 - 1e-9)) if k > index]
            keep[near] = False
    return keep


# --------------------------------------------------------------------------------------------------------- refining


# The solver's numeric derivatives step by a part of each parameter's value: none may come to lie near zero.
_AWAY = 4.0


def _elliptic(
    grid: np.ndarray,
    amplitude: np.ndarray,
    y: np.ndarray,
    x: np.ndarray,
    xx: np.ndarray,
    xy: np.ndarray,
    yy: np.ndarray,
    background: np.ndarray,
) -> np.ndarray:
    """By the quadratic form, which is determined where the ellipse is a circle and its angle is not."""
    v, u, xy = grid[0] - y, grid[1] - x, xy - _AWAY
    return background + amplitude * np.exp(-0.5 * (xx * u**2 + 2 * xy * u * v + yy * v**2))


def _shape_of(form: np.ndarray) -> np.ndarray:
    """Long and short width and angle of the long axis (..., 3) of a quadratic form (..., [xx, xy, yy])."""
    xx, xy, yy = np.moveaxis(form, -1, 0)
    middle, radius = (xx + yy) / 2, np.hypot((xx - yy) / 2, xy)
    with np.errstate(invalid="ignore", divide="ignore"):
        long, short = 1 / np.sqrt(middle - radius), 1 / np.sqrt(middle + radius)
    angle = 0.5 * np.arctan2(2 * xy, xx - yy) + np.pi / 2
    return np.stack([long, short, (angle + np.pi / 2) % np.pi - np.pi / 2], axis=-1)


def _shape_errors(form: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """Standard errors of the shape by linear propagation."""
    jacobian = np.empty((len(form), 3, 3))
    step = 1e-5 * np.abs(form).max(axis=1)
    for k in range(3):
        high, low = form.copy(), form.copy()
        high[:, k] += step
        low[:, k] -= step
        difference = _shape_of(high) - _shape_of(low)
        difference[:, 2] = (difference[:, 2] + np.pi / 2) % np.pi - np.pi / 2
        jacobian[:, :, k] = difference / (2 * step[:, None])
    with np.errstate(invalid="ignore"):
        return np.sqrt(np.einsum("aij,ajk,aik->ai", jacobian, covariance, jacobian))


def _round(
    grid: np.ndarray, amplitude: np.ndarray, y: np.ndarray, x: np.ndarray, width: np.ndarray, background: np.ndarray
) -> np.ndarray:
    return background + amplitude * np.exp(-0.5 * ((grid[0] - y) ** 2 + (grid[1] - x) ** 2) / width**2)


_NAMES = {
    False: ("amplitude", "y", "x", "sigma", "background"),
    True: ("amplitude", "y", "x", "sigma_long", "sigma_short", "angle", "background"),
}


@recorded("lattice.refine_atoms")
def refine_atoms(
    data: xr.DataArray | xr.Dataset,
    atoms: xr.Dataset,
    *,
    variable: str | None = None,
    radius: float | None = None,
    elliptic: bool = False,
    max_move: float | None = None,
) -> xr.Dataset:
    """Fit a two-dimensional Gaussian on a constant background to each atom, with errors.

    Parameters
    ----------
    data : DataArray or Dataset
        The image.
    atoms : Dataset
        As of `find_atoms`.
    variable : str, optional
        Which variable of a Dataset.
    radius : float, optional
        Of the disk that is fitted, in the axes' unit: what lies nearer to another atom does not count. None is
        `find_atoms`' width.
    elliptic : bool
        Two widths and an angle instead of one width.
    max_move : float, optional
        How far an atom may move from its start; None is half the radius.

    Returns
    -------
    Dataset
        Over ``atom``: ``y``, ``x`` (named as the dims), ``sigma`` or ``sigma_long``, ``sigma_short`` in the axes' unit,
        ``angle`` (rad, of the long axis from x towards y), ``amplitude``, ``background`` in the units of the data; the
        standard error of each as ``<name>_stderr``; ``r2``, ``converged``. An atom whose fit fails or leaves is NaN and
        not converged.

    Raises
    ------
    ValueError
        If atoms lack their places or the radius is too small for the parameters.

    Notes
    -----
    *Laziness*: computes the image now. All atoms are solved at once (Levenberg and Marquardt).

    Examples
    --------
    >>> y, x = np.indices((40, 40))
    >>> image = xr.DataArray(1 + np.exp(-((y - 12.3) ** 2 + (x - 25.7) ** 2) / 18), dims=("y", "x"))
    >>> found = refine_atoms(image, find_atoms(image, 7.0))
    >>> found.y.values.round(6), found.sigma.values.round(6)
    (array([12.3]), array([3.]))
    """
    from scipy.spatial import cKDTree

    from xpycro.engine.solver import solve_python
    from xpycro.engine.solver.problem import Component, Problem, Recipe, Status

    da, axes = _single(data, variable)
    start = _places(atoms, axes)
    steps = np.array([a.step for a in axes])
    reach = float(radius if radius is not None else atoms.attrs.get("width", 0.0))
    if not reach > 0:
        raise ValueError(f"radius={radius}: pass a positive radius in {axes[0].units}; these atoms hold no width")
    names = _NAMES[elliptic]
    half = np.maximum(1, np.ceil(reach / np.abs(steps)).astype(int))
    offset = np.stack(np.meshgrid(*(np.arange(-h, h + 1) for h in half), indexing="ij")).reshape(2, -1)
    if (np.hypot(*(offset * np.abs(steps)[:, None])) <= reach).sum() <= len(names):
        raise ValueError(f"radius={reach:g} {axes[0].units} holds too few pixels for {len(names)} parameters")
    image = da.values.astype(float)
    pixel = (start - [a.values[0] for a in axes]) / steps
    middle = np.rint(pixel).astype(int)
    y, x = (middle[:, i, None] + offset[i] for i in range(2))
    inside = (y >= 0) & (y < image.shape[0]) & (x >= 0) & (x < image.shape[1])
    patch = np.where(inside, image[np.clip(y, 0, image.shape[0] - 1), np.clip(x, 0, image.shape[1] - 1)], np.nan)
    scale = np.abs(steps)
    place = np.stack([y, x], axis=-1) * scale
    distance = np.linalg.norm(place - (pixel * scale)[:, None], axis=-1)
    patch[distance > reach] = np.nan
    if len(start) > 1:
        # a pixel belongs to the atom that is nearest
        tree = cKDTree(pixel * scale)
        nearest = tree.query(place.reshape(-1, 2))[1].reshape(patch.shape)
        patch[nearest != np.arange(len(start))[:, None]] = np.nan
    fitted = np.full((len(start), len(names)), np.nan)
    errors, r2, done = fitted.copy(), np.full(len(start), np.nan), np.zeros(len(start), bool)
    (usable,) = np.nonzero(np.isfinite(patch).sum(axis=1) > len(names))
    if usable.size:
        rows = patch[usable]
        low, high = np.nanmin(rows, axis=1), np.nanmax(rows, axis=1)
        centre = np.take_along_axis(rows, np.nanargmin(distance[usable] + 1e9 * np.isnan(rows), axis=1)[:, None], 1)[
            :, 0
        ]
        dark = np.abs(centre - low) < np.abs(high - centre)
        base, size = np.where(dark, high, low), np.where(high > low, high - low, 1.0)
        local = (pixel - middle)[usable] * np.abs(steps) / reach  # of the order of one, like all parameters here
        width = np.full(len(usable), float(atoms.attrs.get("width", reach)) / 2.3548200450309493 / reach)
        columns = [np.where(dark, -1.0, 1.0), local[:, 0] + _AWAY, local[:, 1] + _AWAY]
        columns += [width**-2, np.full(len(usable), _AWAY), width**-2] if elliptic else [width]
        begin = np.column_stack([*columns, (base - low) / size + _AWAY])
        grid = offset * np.abs(steps)[:, None] / reach + _AWAY
        n = len(names)
        function: Any = _elliptic if elliptic else _round
        component = Component(function, (False,) * n, (-1,) * n, ((Recipe.VALUE, 1.0),) * n)
        free = (-np.inf,) * n, (np.inf,) * n
        problem = Problem((component,), *free, (False,) * n, (-1,) * n, ndim=2, covariance=elliptic)
        solution = solve_python(function, problem, grid, (rows - low[:, None]) / size[:, None] + _AWAY, start=begin)
        found, error = solution.parameters.copy(), solution.errors.copy()
        found[:, [1, 2, -1]] -= _AWAY
        if elliptic:
            found[:, 4] -= _AWAY
        move = np.hypot(*(found[:, 1:3] - local).T) * reach
        limit = reach / 2 if max_move is None else max_move
        with np.errstate(invalid="ignore"):
            ok = np.isin(solution.status, [Status.COST, Status.STEP]) & (move <= limit)
        found[:, 0] *= size
        error[:, 0] *= size
        found[:, -1] = found[:, -1] * size + low
        error[:, -1] *= size
        if elliptic:
            error[:, 3:6] = _shape_errors(found[:, 3:6], solution.covariance[:, 3:6, 3:6])
            found[:, 3:6] = _shape_of(found[:, 3:6])
            found[:, 5] *= np.sign(steps[0] * steps[1])  # in the sense of the coordinates
            ok &= np.isfinite(found[:, 3:6]).all(axis=1)
        lengths = slice(3, 5) if elliptic else slice(3, 4)
        found[:, lengths] = np.abs(found[:, lengths]) * reach
        error[:, lengths] *= reach
        for i, axis in enumerate(axes):
            at = middle[usable, i] + found[:, 1 + i] * reach / abs(axis.step)
            found[:, 1 + i] = axis.values[0] + axis.step * at
            error[:, 1 + i] *= reach
        found[~ok], error[~ok] = np.nan, np.nan
        fitted[usable], errors[usable] = found, error
        r2[usable], done[usable] = np.where(ok, solution.r2, np.nan), ok
    length, unit = axes[0].units, str(da.attrs.get("units", "1"))
    units = {"amplitude": unit, "background": unit, "angle": "rad"}
    variables: dict[str, xr.Variable] = {}
    for k, name in enumerate(names):
        known = {"y": axes[0].dim, "x": axes[1].dim}.get(name, name)
        text = known.replace("_", " ").capitalize()
        variables[known] = _table(fitted[:, k], units.get(name, length), text)
        variables[f"{known}_stderr"] = _table(errors[:, k], units.get(name, length), f"Standard error of {text}")
    variables["r2"] = _table(r2, "1", "Coefficient of determination")
    variables["converged"] = xr.Variable("atom", done, {"units": "1", "long_name": "Converged"})
    return xr.Dataset(variables, coords={"atom": atoms.coords.get("atom", _atom_coordinate(len(start)))})


def _places(atoms: xr.Dataset, axes: list[Axis]) -> np.ndarray:
    missing = [a.dim for a in axes if a.dim not in atoms]
    if missing or "atom" not in atoms.dims:
        raise ValueError(f"atoms= lacks {missing or ['atom']}: pass what find_atoms returned")
    return np.stack([np.asarray(atoms[a.dim].values, dtype=float) for a in axes], axis=-1)


def _atom_places(atoms: xr.Dataset) -> tuple[np.ndarray, str]:
    """Places (atom, [y, x]) of a table of atoms, and their unit."""
    missing = [name for name in ("y", "x") if name not in atoms]
    if missing or "atom" not in atoms.dims:
        raise ValueError(f"atoms= lacks {missing or ['atom']}: pass what find_atoms or refine_atoms returned")
    places = np.stack([np.asarray(atoms[name].values, dtype=float) for name in ("y", "x")], axis=-1)
    return places, str(atoms["y"].attrs.get("units", "1"))


# ---------------------------------------------------------------------------------------------------------- lattice


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
    places, unit = _atom_places(atoms)
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
    return xr.Dataset(variables, coords={"atom": atoms.coords.get("atom", _atom_coordinate(len(places)))})


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
    places, unit = _atom_places(atoms)
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
        "atom": atoms.coords.get("atom", _atom_coordinate(len(places))),
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
    places, _ = _atom_places(lattice)
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
        return _table(values, units, label)

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
