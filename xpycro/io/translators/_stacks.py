"""What stacks of detector frames share: the scan they form, uncalibrated coordinates, the short last line.

May import numpy, xarray, schema and io below; knows no format.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from xpycro.errors import DimensionError
from xpycro.io.rawarray import RawArray
from xpycro.io.translators import _common as common
from xpycro.schema import coordinate

__all__ = ["frames_dataset", "pixels", "scan_grid"]


def scan_grid(
    frames: int, scan_shape: Sequence[int] | None, path: str, *, square: bool = False, short: bool = False
) -> tuple[int, ...]:
    """(lines, points) of a scan of so many frames, or (frames,) where nothing is known of a scan.

    Parameters
    ----------
    frames : int
    scan_shape : sequence of int or None
        What the user asks for.
    path : str
    square : bool, optional
        Take a square number of frames for a square scan where nothing is asked.
    short : bool, optional
        Allow the last line to be incomplete.

    Raises
    ------
    DimensionError
        If `scan_shape` does not fit.
    """
    if scan_shape is None:
        side = math.isqrt(frames)
        return (side, side) if square and side > 1 and side * side == frames else (frames,)
    try:
        lines, points = (int(n) for n in scan_shape)
    except (TypeError, ValueError):
        raise DimensionError(f"scan_shape={scan_shape!r}: expected two numbers, (lines, points)") from None
    missing = lines * points - frames
    if lines < 1 or points < 1 or missing < 0 or (missing and not (short and missing < points)):
        raise DimensionError(
            f"scan_shape={(lines, points)} asks for {lines * points} frames and {os.path.basename(path)} has {frames}: "
            f"pass (lines, points) whose product is {frames}, or leave it out to get a stack of frames"
        )
    return lines, points


def pixels(dim: str, size: int) -> xr.Variable:
    """An uncalibrated coordinate."""
    return coordinate(dim, np.arange(size, dtype=np.float64), units="pixel")


def frames_dataset(
    path: str,
    *,
    offset: int,
    stride: int,
    dtype: Any,
    frames: int,
    frame_shape: tuple[int, int],
    grid: tuple[int, ...],
    top_first: bool,
    metadata: Mapping[str, Any],
    coords: Mapping[str, xr.Variable] | None = None,
    name: str = "counts",
    dims: tuple[str, str] = ("ky", "kx"),
    decoded: Callable[[RawArray], Any] | None = None,
    **attrs: Any,
) -> xr.Dataset:
    """One variable over the scan (or ``frame``) and the detector; the first line of a scan lies at the top.

    Parameters
    ----------
    offset, stride : int
        Byte of the first pixel, and from one frame to the next.
    frames : int
        Frames in the file; a scan that needs more is padded with NaN and flagged in ``measured``.
    top_first : bool
        Whether the first row of a frame lies at the top.
    coords : mapping, optional
        Calibrated coordinates; what is missing counts pixels.
    decoded : callable, optional
        What makes images of the stored numbers, where these are packed.
    """
    kind = np.dtype(dtype)
    ny, nx = frame_shape
    missing = math.prod(grid) > frames
    strides = [stride * grid[1], stride] if len(grid) == 2 else [stride]
    target = np.result_type(kind.newbyteorder("="), np.float32) if missing else None
    raw: Any = RawArray.strided(
        path, offset, kind, (*grid, ny, nx), (*strides, kind.itemsize * nx, kind.itemsize),
        target=target, end=offset + (frames - 1) * stride + ny * nx * kind.itemsize if missing else None,
    )  # fmt: skip
    raw = decoded(raw) if decoded else raw
    if len(grid) == 2:
        raw = raw.flip(0)
    if top_first:
        raw = raw.flip(raw.ndim - 2)
    all_dims = (*(("y", "x") if len(grid) == 2 else ("frame",)), *dims)
    given = dict(coords or {})
    for dim, size in zip(all_dims, raw.shape, strict=True):
        if dim not in given and dim == "frame":
            given[dim] = coordinate("frame", np.arange(size))
        elif dim not in given:
            given[dim] = pixels(dim, size)
    given = {dim: given[dim] for dim in given if dim in all_dims or given[dim].dims[0] in all_dims}
    variables: dict[str, Any] = {name: common.lazy_variable(all_dims, raw, name.capitalize(), "counts")}
    if missing:
        lines = common.measured_variable(frames, *grid)
        variables["measured"] = lines[::-1]
    return common.dataset(variables, given, metadata, **attrs)
