"""Registration: drift between frames to a fraction of a pixel, frames moved back, affine distortion.

May import numpy, xarray, scipy (inside functions), engine and the base floor; not its siblings.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from xpycro.engine import chunked
from xpycro.engine.axes import Axis, along, floating, image_of, plane_of, real_numbers
from xpycro.engine.correlation import frame_shifts, pair_shifts
from xpycro.errors import DimensionError
from xpycro.provenance import recorded
from xpycro.schema import new_result

__all__ = ["affine", "drift", "rigid", "shift"]

_WEIGHTING = ("noise", "phase", "none")


def _frame_dim(da: xr.DataArray, plane: tuple[str, str], dim: str | None) -> str:
    others = [str(d) for d in da.dims if d not in plane]
    if dim is None:
        if len(others) == 1:
            return others[0]
        if "frame" in others:
            return "frame"
        raise DimensionError(f"which dimension counts the frames? pass dim=, one of {others}")
    if dim not in others:
        raise DimensionError(f"dim={dim!r}: no dimension beside the image's {list(plane)}; there are {others}")
    return dim


def _to_reference(values: np.ndarray, reference: np.ndarray, **options: Any) -> np.ndarray:
    frames = values.reshape(-1, *values.shape[-2:])
    wanted = np.broadcast_to(reference, values.shape).reshape(frames.shape)
    one = reference.size == values.shape[-2] * values.shape[-1]
    found = frame_shifts(frames, wanted[:1] if one else wanted, consecutive=False, **options)
    return found.reshape(*values.shape[:-2], 2)


def _to_previous(values: np.ndarray, before: np.ndarray, *, lone: bool, **options: Any) -> np.ndarray:
    frames, wanted = (a.reshape(-1, *values.shape[-2:]) for a in np.broadcast_arrays(values, before))
    found = frame_shifts(frames, wanted, consecutive=lone, **options)
    return found.reshape(*values.shape[:-2], 2)


def _all_pairs(values: np.ndarray, *, gap: int, **options: Any) -> np.ndarray:
    stacks = values.reshape(-1, *values.shape[-3:])
    return np.array([pair_shifts(stack, gap, **options) for stack in stacks]).reshape(*values.shape[:-2], 2)


@recorded("register.drift")
def drift(
    data: xr.DataArray | xr.Dataset,
    dim: str | None = None,
    *,
    variable: str | None = None,
    reference: str | int | xr.DataArray = "previous",
    weighting: str = "noise",
    max_shift: float | None = None,
    max_gap: int | None = None,
    window: str | None = "hann",
) -> xr.Dataset:
    """How far each frame lies from the first, to a fraction of a pixel, by upsampled correlation in Fourier space.

    Parameters
    ----------
    data : DataArray or Dataset
        Real frames over two evenly spaced spatial dims.
    dim : str, optional
        The dim that counts the frames; None is the only other one, or ``frame``.
    variable : str, optional
        Which variable of a Dataset.
    reference : {"previous", "first", "all"}, int or DataArray
        Each frame against the one before, summed up; against the first, another, or a given image; or every pair of
        frames, brought into agreement by robust least squares.
    weighting : {"noise", "phase", "none"}
        How Fourier components count: by their strength, as far as it exceeds the noise (the best for two noisy images:
        strengths of rings of equal k, the noise from the highest k); all equally (phase correlation); or by their
        strength, noise and all (plain correlation).
    max_shift : float, optional
        Largest shift between two frames that are compared, in the axes' units; None is half the image.
    max_gap : int, optional
        For ``"all"``: only pairs at most so many frames apart.
    window : str or None
        Against the edges: any window of `scipy.signal.get_window`; None for images that are periodic.

    Returns
    -------
    Dataset
        A ``registration``: ``shift(<dim>, axis)``, ``axis`` naming the two dims, in the axes' units: where a feature of
        the reference is found in the frame, less where it was. `shift` moves frames back by it.

    Raises
    ------
    DimensionError
        If the frames' dim is not decidable.
    ValueError
        If an axis is uneven, their units differ, or an option is unknown.

    Notes
    -----
    *Laziness*: lazy. One pass, with ``"previous"`` the border frames of blocks are used twice; ``"all"`` keeps the
    transforms of all frames in memory. NaN pixels are filled with the frame's mean; a frame without contrast is NaN.

    References
    ----------
    M. Guizar-Sicairos, S. T. Thurman and J. R. Fienup, Opt. Lett. 33, 156 (2008); C. H. Knapp and G. C. Carter, IEEE
    Trans. Acoust. Speech Signal Process. 24, 320 (1976) (weighting).

    Examples
    --------
    >>> from scipy.ndimage import gaussian_filter
    >>> first = gaussian_filter(np.random.default_rng(0).normal(size=(64, 64)), 2, mode="wrap")
    >>> frames = xr.DataArray([first, np.roll(first, (3, -5), (0, 1))], dims=("frame", "y", "x"))
    >>> drift(frames)["shift"].values.round(2)
    array([[ 0.,  0.],
           [ 3., -5.]])
    """
    da = real_numbers(image_of(data, variable))
    plane = plane_of(da)
    axes = [along(da, d) for d in plane]
    frame = _frame_dim(da, plane, dim)
    if weighting not in _WEIGHTING:
        raise ValueError(f"weighting={weighting!r}: choose one of {list(_WEIGHTING)}")
    if axes[0].units != axes[1].units:
        raise ValueError(f"{plane[0]} is in {axes[0].units} and {plane[1]} in {axes[1].units}: shifts need one unit")
    if da.sizes[frame] == 0:
        raise ValueError(f"{frame} is empty")
    options: dict[str, Any] = {"weighting": weighting, "window": window, "most": _largest(axes, max_shift)}
    moved = _index_shifts(da, frame, plane, reference, max_gap, options)
    steps = xr.DataArray([a.step for a in axes], dims="axis")
    found = (moved * steps).transpose(..., frame, "axis")
    found = found.assign_coords(axis=("axis", list(plane), {"long_name": "Axis", "dimension_type": "component"}))
    return new_result("registration", {"shift": found.assign_attrs(units=axes[0].units, long_name="Shift")})


def _largest(axes: list[Axis], max_shift: float | None) -> tuple[int, int]:
    if max_shift is None:
        return axes[0].size // 2, axes[1].size // 2
    if not max_shift > 0:
        raise ValueError(f"max_shift={max_shift}: must be positive, in {axes[0].units}")
    most = [min(a.size // 2, max(1, int(np.ceil(max_shift / abs(a.step))))) for a in axes]
    return most[0], most[1]


def _index_shifts(
    da: xr.DataArray,
    frame: str,
    plane: tuple[str, str],
    reference: str | int | xr.DataArray,
    max_gap: int | None,
    options: dict[str, Any],
) -> xr.DataArray:
    """Shifts against the first frame (or the given one) in pixels."""
    output = {"shift": chunked.Output(float, ("axis",), {"axis": 2})}
    count = da.sizes[frame]
    if isinstance(reference, str) and reference == "all":
        gap = count - 1 if max_gap is None else int(max_gap)
        if count > 1 and not 1 <= gap:
            raise ValueError(f"max_gap={max_gap}: at least 1")
        whole = {"shift": chunked.Output(float, (frame, "axis"), {"axis": 2})}
        return chunked.apply(_all_pairs, da, dims=[[frame, *plane]], outputs=whole, kwargs={"gap": gap, **options})[
            "shift"
        ]
    if isinstance(reference, str) and reference == "previous":
        ready = chunked.whole(da, plane)
        later = ready.isel({frame: slice(1, None)})
        before = ready.isel({frame: slice(None, -1)}).drop_vars(frame, errors="ignore")
        labels = {c: v for c, v in later.coords.items() if frame in v.dims}
        later = later.drop_vars(list(labels))
        before = before.drop_vars([c for c in labels if c in before.coords])
        if later.chunks is not None:
            before = before.chunk({frame: later.chunksizes[frame]})
        first = da.isel({frame: slice(0, 1)})
        lone = da.ndim == 3
        options = {**options, "lone": lone}
        if count > 1:
            steps = chunked.apply(_to_previous, later, before, dims=[plane, plane], outputs=output, kwargs=options)
            steps_ = steps["shift"].pad({frame: (1, 0)}, constant_values=0.0)
        else:
            steps_ = xr.zeros_like(first.isel(dict.fromkeys(plane, 0), drop=True), dtype=float)
            steps_ = steps_.expand_dims({"axis": 2}, axis=-1)
        result = steps_.cumsum(frame)
        return result.assign_coords({c: v for c, v in da.coords.items() if set(v.dims) <= {frame}})
    if isinstance(reference, xr.DataArray):
        image = real_numbers(reference)
        if any(image.sizes.get(d) != da.sizes[d] for d in plane):
            raise ValueError(f"reference= is {dict(image.sizes)}; the frames are { ({d: da.sizes[d] for d in plane}) }")
        image = image.drop_vars([c for c in image.coords if set(image.coords[c].dims) & set(plane)])
        da = da.drop_vars([c for c in da.coords if set(da.coords[c].dims) & set(plane)])
        if not image.drop_vars(list(image.coords)).dims[:-2]:
            image = image.drop_vars(list(image.coords))
    else:
        if isinstance(reference, str) and reference != "first":
            raise ValueError(f"reference={reference!r}: 'previous', 'first', 'all', a frame's number or an image")
        number = 0 if reference == "first" else int(reference)  # type: ignore[arg-type]
        if not -count <= number < count:
            raise ValueError(f"reference={number}: there are {count} frames along {frame}")
        image = da.isel({frame: number}, drop=True)
    return chunked.apply(_to_reference, da, image, dims=[plane, plane], outputs=output, kwargs=options)["shift"]


# ---------------------------------------------------------------------------------------------------------- moving


def _moved(values: np.ndarray, moves: np.ndarray, *, method: str) -> np.ndarray:
    """Each image moved back by its shift in pixels, NaN where nothing was measured."""
    from scipy import fft as scipy_fft
    from scipy.ndimage import shift as spline_shift

    kind, (ny, nx) = floating(values.dtype), values.shape[-2:]
    shape = (*np.broadcast_shapes(values.shape[:-2], moves.shape[:-1]), ny, nx)
    images = np.broadcast_to(values, shape).reshape(-1, ny, nx)
    steps = np.broadcast_to(moves, (*shape[:-2], 2)).reshape(-1, 2)
    out = np.full((len(images), ny, nx), np.nan, kind)
    ky, kx = np.fft.fftfreq(ny)[:, None], np.fft.rfftfreq(nx)[None, :]
    y, x = np.arange(ny)[:, None], np.arange(nx)[None, :]
    for index, (image, (dy, dx)) in enumerate(zip(images, steps, strict=True)):
        good = np.isfinite(image)
        if not (good.any() and np.isfinite(dy) and np.isfinite(dx)):
            continue
        filled = image.astype(kind) if good.all() else np.where(good, image, image[good].mean()).astype(kind)
        if dy == np.rint(dy) and dx == np.rint(dx) and good.all():
            moved = np.roll(filled, (-int(dy), -int(dx)), (0, 1))
        elif method == "fourier":
            ramp = np.exp(2j * np.pi * (ky * dy + kx * dx)).astype(np.complex64 if kind.itemsize == 4 else complex)
            moved = scipy_fft.irfft2(scipy_fft.rfft2(filled) * ramp, (ny, nx))
        else:
            moved = spline_shift(filled, (-dy, -dx), order=3, mode="mirror")
        slack = 1e-6
        inside = (y + dy >= -slack) & (y + dy <= ny - 1 + slack) & (x + dx >= -slack) & (x + dx <= nx - 1 + slack)
        if not good.all():  # what touches a gap is a gap
            inside &= spline_shift((~good).astype(float), (-dy, -dx), order=1, mode="nearest") < 1e-6
        out[index] = np.where(inside, moved, np.nan)
    return out.reshape(shape)


@recorded("register.shift")
def shift(
    data: xr.DataArray | xr.Dataset,
    by: xr.DataArray | xr.Dataset,
    *,
    variable: str | None = None,
    method: str = "spline",
    crop: bool = False,
) -> xr.DataArray:
    """Move frames back by their drift.

    Parameters
    ----------
    data : DataArray or Dataset
        Real, over two evenly spaced spatial dims and those of the drift; further dims (channels) move along.
    by : DataArray or Dataset
        ``shift(<frame>, axis)`` as of `drift`, in the units of the axes; also of another channel of the same scan.
    variable : str, optional
        Which variable of a Dataset.
    method : {"spline", "fourier"}
        Cubic splines; or a phase ramp, exact for band-limited periodic images. Whole pixels are moved as they are.
    crop : bool
        Keep only what every frame has; computes the drift.

    Returns
    -------
    DataArray
        Dims, coordinates and units of the data, NaN where nothing was measured, and ``drift_<dim>`` along the frames
        as coordinates.

    Raises
    ------
    ValueError
        For an unknown method, a drift of other axes, or one larger than the image where cropping.

    Notes
    -----
    *Laziness*: lazy (the drift too, unless cropped); each image is held whole.

    Examples
    --------
    >>> first = np.random.default_rng(0).normal(size=(8, 8))
    >>> frames = xr.DataArray([first, np.roll(first, 2, 1)], dims=("frame", "y", "x"))
    >>> by = xr.DataArray([[0, 0], [0, 2]], dims=("frame", "axis"), coords={"axis": ["y", "x"]})
    >>> back = shift(frames, by, crop=True)
    >>> bool((back[0] == back[1]).all()), back.sizes["x"]
    (True, 6)
    """
    if method not in ("spline", "fourier"):
        raise ValueError(f"method={method!r}: choose 'spline' or 'fourier'")
    da = real_numbers(image_of(data, variable))
    plane = plane_of(da)
    axes = [along(da, d) for d in plane]
    amount = by["shift"] if isinstance(by, xr.Dataset) else by
    if "axis" not in amount.dims or list(amount.coords.get("axis", xr.DataArray(list(plane))).values) != list(plane):
        raise ValueError(f"by= must be a shift over 'axis' with {list(plane)}; it has {dict(amount.sizes)}")
    pixels = amount.drop_vars("axis", errors="ignore") / xr.DataArray([a.step for a in axes], dims="axis")
    output = chunked.Output(floating(da.dtype), plane, attrs=da.attrs)
    core = [list(plane), ["axis"]]
    found = chunked.apply(_moved, da, pixels, dims=core, outputs={"m": output}, kwargs={"method": method})["m"]
    units = axes[0].units
    extra = {
        f"drift_{d}": amount.isel(axis=i, drop=True).assign_attrs(units=units, long_name=f"Drift along {d}")
        for i, d in enumerate(plane)
    }
    extra = {name: value for name, value in extra.items() if set(value.dims) <= set(found.dims)}
    found = found.transpose(*[d for d in da.dims if d in found.dims], ...).assign_coords(extra).rename(da.name)
    return _cropped(found, pixels, axes) if crop else found


def _cropped(found: xr.DataArray, pixels: xr.DataArray, axes: list[Axis]) -> xr.DataArray:
    """The part that every frame covers."""
    values = pixels.transpose(..., "axis").values.reshape(-1, 2)
    values = values[np.isfinite(values).all(axis=1)]
    if not len(values):
        raise ValueError("crop=True: no frame has a finite drift")
    region = {}
    for i, axis in enumerate(axes):
        low = int(np.ceil(max(0.0, -values[:, i].min()) - 1e-6))
        high = axis.size - int(np.ceil(max(0.0, values[:, i].max()) - 1e-6))
        if low >= high:
            raise ValueError(
                f"crop=True: the frames share nothing along {axis.dim}; the drift is larger than the image"
            )
        region[axis.dim] = slice(low, high)
    return found.isel(region)


@recorded("register.rigid")
def rigid(
    data: xr.DataArray | xr.Dataset,
    dim: str | None = None,
    *,
    variable: str | None = None,
    reference: str | int | xr.DataArray = "previous",
    weighting: str = "noise",
    max_shift: float | None = None,
    max_gap: int | None = None,
    window: str | None = "hann",
    method: str = "spline",
    crop: bool = False,
) -> xr.Dataset:
    """Find the drift of frames and move them back: `drift`, then `shift`.

    Parameters
    ----------
    data, dim, variable, reference, weighting, max_shift, max_gap, window
        As in `drift`.
    method, crop
        As in `shift`.

    Returns
    -------
    Dataset
        A ``registration``: ``image``, the frames in register (dims and units of the data, NaN where nothing was
        measured), with ``drift_<dim>`` as coordinates; ``shift(<dim>, axis)`` in the axes' units.

    Notes
    -----
    *Laziness*: lazy; the frames are read twice (drift, then moving). With `crop` the drift is computed now.

    Examples
    --------
    >>> from scipy.ndimage import gaussian_filter
    >>> first = gaussian_filter(np.random.default_rng(0).normal(size=(64, 64)), 2, mode="wrap")
    >>> frames = xr.DataArray([first, np.roll(first, (3, -5), (0, 1))], dims=("frame", "y", "x"))
    >>> found = rigid(frames, crop=True)
    >>> bool(abs(found.image[1] - found.image[0]).max() < 0.01)
    True
    """
    da = real_numbers(image_of(data, variable))
    found = drift(
        da,
        dim,
        reference=reference,
        weighting=weighting,
        max_shift=max_shift,
        max_gap=max_gap,
        window=window,
    )["shift"]
    if crop and chunked.is_lazy(found):
        found = found.compute()
    source = da if not chunked.is_lazy(found) else chunked.after(chunked.lazily(da), found.variable._data)
    image = shift(source, found, method=method, crop=crop)
    return new_result("registration", {"image": image.rename("image"), "shift": found})


# ---------------------------------------------------------------------------------------------------------- affine


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
