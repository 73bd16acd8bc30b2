"""Atoms refined: a two-dimensional Gaussian fitted to each, with errors.

May import numpy, xarray, scipy (inside functions), engine, the base floor and the tables beside it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from xpycro.engine.axes import Axis
from xpycro.processing.lattice.tables import atom_coordinate, single, table
from xpycro.provenance import recorded

__all__ = ["refine_atoms"]

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
    >>> from xpycro.processing.lattice import find_atoms
    >>> y, x = np.indices((40, 40))
    >>> image = xr.DataArray(1 + np.exp(-((y - 12.3) ** 2 + (x - 25.7) ** 2) / 18), dims=("y", "x"))
    >>> found = refine_atoms(image, find_atoms(image, 7.0))
    >>> found.y.values.round(6), found.sigma.values.round(6)
    (array([12.3]), array([3.]))
    """
    from scipy.spatial import cKDTree

    from xpycro.engine.solver import solve_python
    from xpycro.engine.solver.problem import Component, Problem, Recipe, Status

    da, axes = single(data, variable)
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
        variables[known] = table(fitted[:, k], units.get(name, length), text)
        variables[f"{known}_stderr"] = table(errors[:, k], units.get(name, length), f"Standard error of {text}")
    variables["r2"] = table(r2, "1", "Coefficient of determination")
    variables["converged"] = xr.Variable("atom", done, {"units": "1", "long_name": "Converged"})
    return xr.Dataset(variables, coords={"atom": atoms.coords.get("atom", atom_coordinate(len(start)))})


def _places(atoms: xr.Dataset, axes: list[Axis]) -> np.ndarray:
    missing = [a.dim for a in axes if a.dim not in atoms]
    if missing or "atom" not in atoms.dims:
        raise ValueError(f"atoms= lacks {missing or ['atom']}: pass what find_atoms returned")
    return np.stack([np.asarray(atoms[a.dim].values, dtype=float) for a in axes], axis=-1)
