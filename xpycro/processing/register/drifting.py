"""Drift: how far frames lie from one another, to a fraction of a pixel.

May import numpy, xarray, engine and the base floor.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from xpycro.engine import chunked
from xpycro.engine.axes import Axis, along, image_of, plane_of, real_numbers
from xpycro.engine.correlation import frame_shifts, pair_shifts
from xpycro.errors import DimensionError
from xpycro.provenance import recorded
from xpycro.schema import new_result

__all__ = ["drift"]

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
