"""Affine distortion: images stretched, sheared, turned and moved, by a given map or the one found from them.

May import numpy, xarray, scipy (inside functions), engine and the base floor.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from xpycro.engine import chunked
from xpycro.engine.axes import along, floating, image_of, plane_of, real_numbers
from xpycro.engine.correlation import frame_shifts
from xpycro.provenance import recorded

__all__ = ["affine", "find_affine"]


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


def _resampled(
    values: np.ndarray, forward: np.ndarray, *, steps: tuple[float, float], origin: tuple[float, float], order: int
) -> np.ndarray:
    """Each image moved by its map, which is in coordinates."""
    from scipy.ndimage import affine_transform

    kind, plane = floating(values.dtype), values.shape[-2:]
    lead = np.broadcast_shapes(values.shape[:-2], forward.shape[:-2])
    images = np.broadcast_to(values, (*lead, *plane)).reshape(-1, *plane).astype(kind)
    maps = np.broadcast_to(forward, (*lead, 2, 3)).reshape(-1, 2, 3)
    pixels, limits = np.moveaxis(np.indices(plane), 0, -1), np.array(plane) - 1
    scale, start = np.diag(steps), np.array(origin)
    out = np.full(images.shape, np.nan, kind)
    for moved, image, map_ in zip(out, images, maps, strict=True):
        if not np.isfinite(map_).all():
            continue
        # from pixels of the result back to pixels of the image: through coordinates and the inverse map
        inverse = np.linalg.inv(map_[:, :2])
        index = np.linalg.inv(scale) @ inverse @ scale
        offset = np.linalg.inv(scale) @ (inverse @ (start - map_[:, 2]) - start)
        # splines of the border reach beyond it: what lies outside is decided by position, not by the filter
        grid = pixels @ index.T + offset
        inside = ((grid >= -1e-6) & (grid <= limits + 1e-6)).all(axis=-1)
        moved[...] = np.where(inside, affine_transform(image, index, offset, order=order, mode="mirror"), np.nan)
    return out.reshape(*lead, *plane)


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
    matrix : array_like, shape (2, 3), or DataArray, optional
        ``[[a, b, ty], [c, d, tx]]`` in coordinate units and the order of the dims: a feature at (y, x) goes to
        ``(a y + b x + ty, c y + d x + tx)``. As of `find_affine` it may be one for each frame.
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
        six numbers where one map is given as such.

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
    attrs = dict(da.attrs)
    if isinstance(matrix, xr.DataArray):
        if matrix.sizes.get("axis") != 2 or matrix.sizes.get("term") != 3:
            raise ValueError(f"matrix= has {dict(matrix.sizes)}, not 'axis' of 2 and 'term' of 3, as of find_affine")
        forward = matrix.drop_vars(["axis", "term"], errors="ignore")
    else:
        numbers = _given(matrix, source, target)
        forward = xr.DataArray(numbers, dims=("axis", "term"))
        attrs["affine"] = numbers.ravel().tolist()
    output = chunked.Output(floating(da.dtype), plane, attrs=attrs)
    kwargs = {
        "steps": (axes[0].step, axes[1].step),
        "origin": (float(axes[0].values[0]), float(axes[1].values[0])),
        "order": int(order),
    }
    core = [list(plane), ["axis", "term"]]
    found = chunked.apply(_resampled, da, forward, dims=core, outputs={"a": output}, kwargs=kwargs)["a"]
    return found.transpose(..., *da.dims).rename(da.name)


def _given(matrix: Any, source: Any, target: Any) -> np.ndarray:
    """The map of two lists of points, or the one that was given, checked."""
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
    return forward


# ------------------------------------------------------------------------------------------------------ finding it


def _warp(image: np.ndarray, other: np.ndarray, start: np.ndarray) -> np.ndarray:
    """The (2, 3) map of pixels of `other` to pixels of `image` at which the images differ least up to gain and offset.

    Gauss and Newton on six numbers of the map, gain and offset, from blurred images to sharp ones.
    """
    from scipy import ndimage

    shape = np.array(other.shape)
    good = [np.isfinite(a) for a in (image, other)]
    if not all(g.any() and np.ptp(a[g]) > 0 for a, g in zip((image, other), good, strict=True)):
        return np.full((2, 3), np.nan)
    filled = [np.where(g, a, a[g].mean()) for a, g in zip((image, other), good, strict=True)]
    grid = np.indices(other.shape).reshape(2, -1).astype(float)
    middle, size = (shape - 1)[:, None] / 2, shape.max() / 2
    basis = np.vstack([np.ones(grid.shape[1]), (grid - middle) / size])  # of one size: corners move alike by each
    move = np.zeros((2, 3))
    move[:, 0] = start
    coarsest = max(1.0, shape.min() / 24)
    for blur in coarsest / 2.0 ** np.arange(int(np.log2(coarsest)) + 1):
        moving, still = (ndimage.gaussian_filter(a, blur, mode="nearest") for a in filled)
        slopes, target, gain = np.gradient(moving), still.ravel(), 1.0
        spline = ndimage.spline_filter(moving, mode="mirror")
        edge, last = (
            3 * blur,
            (shape - 1)[:, None] - 3 * blur,
        )  # nearer to the border a blurred image lacks what is beyond
        clear = ((grid >= edge) & (grid <= last)).all(axis=0) & good[1].ravel()
        for _ in range(40):
            place = grid + move @ basis
            inside = clear & ((place >= edge) & (place <= last)).all(axis=0)
            if not good[0].all():
                inside &= ndimage.map_coordinates(good[0].astype(float), place, order=1) > 0.999
            if inside.sum() < 0.2 * target.size:
                return np.full((2, 3), np.nan)
            at = place[:, inside]
            seen = ndimage.map_coordinates(spline, at, order=3, mode="mirror", prefilter=False)
            dy, dx = (gain * ndimage.map_coordinates(s, at, order=1) for s in slopes)
            design = np.vstack([dy * basis[:, inside], dx * basis[:, inside], seen, np.ones(seen.size)])
            step = np.linalg.lstsq(design @ design.T, design @ target[inside], rcond=1e-12)[0]
            gain = step[6]
            move += step[:6].reshape(2, 3)
            if not np.isfinite(move).all() or np.abs(move[:, 1:]).max() > size:
                return np.full((2, 3), np.nan)
            if np.abs(step[:6]).max() < 1e-4:
                break
    linear = move[:, 1:] / size
    return np.column_stack([np.eye(2) + linear, move[:, 0] - (linear @ middle)[:, 0]])


def _found_maps(
    values: np.ndarray, reference: np.ndarray, *, steps: tuple[float, float], origin: tuple[float, float]
) -> np.ndarray:
    """For each image the map in coordinates that brings it onto its reference."""
    lead = np.broadcast_shapes(values.shape[:-2], reference.shape[:-2])
    images, others = (
        np.broadcast_to(a, (*lead, *a.shape[-2:])).reshape(-1, *a.shape[-2:]).astype(float) for a in (values, reference)
    )
    scale, zero = np.diag(steps), np.array(origin)
    out = np.full((len(images), 2, 3), np.nan)
    most = (values.shape[-2] // 2, values.shape[-1] // 2)
    for place, (image, other) in enumerate(zip(images, others, strict=True)):
        options = {"consecutive": False, "weighting": "noise", "window": "hann"}
        start = frame_shifts(image[None], other[None], most=most, **options)[0]  # type: ignore[arg-type]
        if not np.isfinite(start).all():
            continue
        warp = _warp(image, other, start)
        if np.isfinite(warp).all() and np.linalg.det(warp[:, :2]) > 0.1:
            back = np.linalg.inv(scale @ warp[:, :2] @ np.linalg.inv(scale))
            offset = zero + scale @ warp[:, 2] - np.linalg.inv(back) @ zero
            out[place] = np.column_stack([back, -back @ offset])
    return out.reshape(*lead, 2, 3)


@recorded("register.find_affine")
def find_affine(
    data: xr.DataArray | xr.Dataset, reference: xr.DataArray, *, variable: str | None = None
) -> xr.DataArray:
    """The affine map that brings images onto a reference: shift, rotation, stretch and shear, found from the pixels.

    Parameters
    ----------
    data : DataArray or Dataset
        Real, over two evenly spaced spatial dims of one unit; further dims (frames) are registered one by one.
    reference : DataArray
        An image on the same grid; brightness and contrast may differ.
    variable : str, optional
        Which variable of a Dataset.

    Returns
    -------
    DataArray
        Over ``axis`` (the two dims) and ``term`` (the two dims and ``offset``): ``[[a, b, ty], [c, d, tx]]``, offsets
        in the axes' unit, for `affine`. NaN where the images have nothing in common.

    Raises
    ------
    ValueError
        If the grids differ or an axis is uneven.

    Notes
    -----
    *Laziness*: lazy; each image is held whole. It starts from the shift that `drift` would find, so rotation must be
    small enough (some degrees) for that. NaN do not count. Noise moves corners more than the middle: 128 x 128 pixels
    with features of five times the noise leave them uncertain by 0.06 to 0.2 of a pixel, where the Cramér-Rao bound is
    about 0.1.

    References
    ----------
    B. D. Lucas and T. Kanade, Proc. IJCAI, 674 (1981).

    Examples
    --------
    >>> from scipy.ndimage import gaussian_filter
    >>> image = xr.DataArray(gaussian_filter(np.random.default_rng(0).normal(size=(64, 64)), 3), dims=("y", "x"))
    >>> turned = affine(image, [[1.0, 0.02, 1.0], [-0.02, 1.0, 0.5]])
    >>> find_affine(image, turned).values.round(2)
    array([[ 1.  ,  0.02,  1.  ],
           [-0.02,  1.  ,  0.5 ]])
    """
    da = real_numbers(image_of(data, variable))
    plane = plane_of(da)
    axes = [along(da, d) for d in plane]
    image = real_numbers(reference)
    if any(image.sizes.get(d) != da.sizes[d] for d in plane):
        raise ValueError(f"reference= is {dict(image.sizes)}; the images are { ({d: da.sizes[d] for d in plane}) }")
    if axes[0].units != axes[1].units:
        raise ValueError(f"{plane[0]} is in {axes[0].units} and {plane[1]} in {axes[1].units}: a map needs one unit")
    image = image.drop_vars(list(image.coords))
    attrs = {"units": "1", "offset_units": axes[0].units, "long_name": "Affine map onto the reference"}
    output = chunked.Output(float, ("axis", "term"), {"axis": 2, "term": 3}, attrs)
    kwargs = {
        "steps": (axes[0].step, axes[1].step),
        "origin": (float(axes[0].values[0]), float(axes[1].values[0])),
    }
    core = [list(plane), list(plane)]
    bare = da.drop_vars([c for c in da.coords if set(da.coords[c].dims) & set(plane)])
    found = chunked.apply(_found_maps, bare, image, dims=core, outputs={"m": output}, kwargs=kwargs)["m"]
    return found.assign_coords(axis=list(plane), term=[*plane, "offset"]).rename("affine")
