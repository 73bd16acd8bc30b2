"""Affine distortion: images stretched, sheared, turned and moved.

May import numpy, xarray, scipy (inside functions), engine and the base floor.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from xpycro.engine import chunked
from xpycro.engine.axes import along, floating, image_of, plane_of, real_numbers
from xpycro.provenance import recorded

__all__ = ["affine"]


def _fitted_affine(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The (2, 3) matrix that brings source points to target points, in the least squares."""
    middle, size = source.mean(axis=0), float(np.ptp(source, axis=0).max()) or 1.0
    # metres beside ones would leave the fit few digits
    design = np.column_stack([(source - middle) / size, np.ones(len(source))])
    if len(source) < 3 or np.linalg.svd(design, compute_uv=False)[-1] < 1e-6:
        raise ValueError(f"{len(source)} pairs of points: an affine map needs three that are not on one line")
    found = np.linalg.lstsq(design, target, rcond=None)[0].T
    linear = found[:, :2] / size
    return np.column_stack([linear, found[:, 2] - linear @ middle])


def _resampled(values: np.ndarray, *, matrix: np.ndarray, offset: np.ndarray, order: int) -> np.ndarray:
    from scipy.ndimage import affine_transform

    kind = floating(values.dtype)
    images = values.reshape(-1, *values.shape[-2:]).astype(kind)
    # splines of the border reach beyond it: what lies outside is decided by position, not by the filter
    grid = np.moveaxis(np.indices(values.shape[-2:]), 0, -1) @ matrix.T + offset
    limits = np.array(values.shape[-2:]) - 1
    inside = ((grid >= -1e-6) & (grid <= limits + 1e-6)).all(axis=-1)
    moved = [affine_transform(image, matrix, offset, order=order, mode="mirror") for image in images]
    out = np.where(inside, moved, np.nan)
    return out.astype(kind).reshape(values.shape)


@recorded("register.affine")
def affine(
    data: xr.DataArray | xr.Dataset,
    matrix: Any = None,
    *,
    variable: str | None = None,
    source: Any = None,
    target: Any = None,
    order: int = 3,
) -> xr.DataArray:
    """Stretch, shear, turn and move images, such as to take out a scanner's or a drift's distortion.

    Parameters
    ----------
    data : DataArray or Dataset
        Real, without NaN, over two evenly spaced spatial dims; further dims broadcast.
    matrix : array_like, shape (2, 3), optional
        ``[[a, b, ty], [c, d, tx]]`` in coordinate units and the order of the dims: a feature at (y, x) goes to
        ``(a y + b x + ty, c y + d x + tx)``.
    variable : str, optional
        Which variable of a Dataset.
    source, target : array_like, shape (n, 2), optional
        Instead of `matrix`: where n >= 3 features are and where they belong, (y, x) in coordinate units; the map is
        the least-squares one.
    order : int
        Of the splines, 0 to 5.

    Returns
    -------
    DataArray
        Dims, coordinates and units of the data; NaN where nothing was measured. The attribute ``affine`` holds the
        six numbers.

    Raises
    ------
    ValueError
        If neither or both are given, points lie on one line, or the map cannot be inverted.

    Notes
    -----
    *Laziness*: lazy; each image is held whole.

    Examples
    --------
    >>> ramp = xr.DataArray(np.add.outer(np.zeros(5), np.arange(5.0)), dims=("y", "x"))
    >>> affine(ramp, [[1, 0, 0], [0, 1, 1]], order=1).values[0]
    array([nan,  0.,  1.,  2.,  3.])
    """
    da = real_numbers(image_of(data, variable))
    plane = plane_of(da)
    axes = [along(da, d) for d in plane]
    if (matrix is None) == (source is None or target is None):
        raise ValueError("pass either matrix=, or source= and target=")
    if matrix is None:
        places = [np.asarray(p, dtype=float) for p in (source, target)]
        if places[0].shape != places[1].shape or places[0].ndim != 2 or places[0].shape[1] != 2:
            raise ValueError(f"source= and target= have shapes {places[0].shape}, {places[1].shape}, not (n, 2) twice")
        forward = _fitted_affine(*places)
    else:
        forward = np.asarray(matrix, dtype=float)
        if forward.shape != (2, 3):
            raise ValueError(f"matrix= has shape {forward.shape}, not (2, 3)")
    if abs(np.linalg.det(forward[:, :2])) < 1e-12:
        raise ValueError("the affine map cannot be inverted")
    # from pixels of the result back to pixels of the image: through coordinates and the inverse map
    steps = np.diag([a.step for a in axes])
    origin = np.array([a.values[0] for a in axes])
    inverse = np.linalg.inv(forward[:, :2])
    index = np.linalg.inv(steps) @ inverse @ steps
    offset = np.linalg.inv(steps) @ (inverse @ (origin - forward[:, 2]) - origin)
    output = chunked.Output(floating(da.dtype), plane, attrs={**da.attrs, "affine": forward.ravel().tolist()})
    kwargs = {"matrix": index, "offset": offset, "order": int(order)}
    found = chunked.apply(_resampled, da, dims=[plane], outputs={"a": output}, kwargs=kwargs)["a"]
    return found.transpose(*da.dims).rename(da.name)
