"""The frame of the instrument: where the pixels of an image and the places of spectra lie in the laboratory.

May import numpy, xarray, schema and units; knows no format.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from xpycro.schema import coordinate
from xpycro.units import to_base

__all__ = ["lab_frame", "positions"]

_SCAN = ("scan_angle", "scan_center_x", "scan_center_y", "scan_width", "scan_height")


def lab_frame(ds: xr.Dataset) -> xr.Dataset:
    """Say where every pixel lies in the frame of the instrument.

    Parameters
    ----------
    ds : Dataset
        Over ``y, x`` in lengths, with the attributes ``scan_center_x``, ``scan_center_y`` in m and ``scan_angle`` in
        rad, counter-clockwise (0 where it is missing); or with places of its own (``position``, or one point), which
        are in this frame already.

    Returns
    -------
    Dataset
        The same with the coordinates ``lab_y`` and ``lab_x`` in m: over ``(y, x)``, over ``position``, or scalar.
        Lab = centre + R(scan_angle) (xy - middle of the scan). What was cropped keeps its place where ``scan_width``
        and ``scan_height`` are stated.

    Raises
    ------
    ValueError
        If the Dataset does not say where it was measured.

    Notes
    -----
    *Laziness*: only coordinates are computed.

    Examples
    --------
    >>> axis = {"units": "m"}
    >>> ds = xr.Dataset(coords={"y": ("y", [0.0, 1e-9], axis), "x": ("x", [0.0, 2e-9], axis)})
    >>> lab = lab_frame(ds.assign_attrs(scan_center_x=1e-6, scan_center_y=0.0, scan_angle=np.pi / 2))
    >>> [round(1e9 * lab.lab_x.sel(y=y, x=0.0).item(), 3) for y in (0.0, 1e-9)]
    [1000.5, 999.5]
    """
    if "x" in ds.coords and "y" in ds.coords and ds.x.dims == ds.y.dims and ds.x.ndim < 2 and "x" not in ds.dims:
        # places of spectra are stated in this frame
        return ds.assign_coords({f"lab_{axis}": _named(_metres(ds, axis), axis) for axis in ("y", "x")})
    lacking = [name for name in ("scan_center_x", "scan_center_y") if name not in ds.attrs]
    if lacking or not {"y", "x"} <= set(ds.dims):
        said = f"lacks the attributes {lacking}" if lacking else f"has the dims {tuple(ds.dims)}, not y and x"
        raise ValueError(f"where it was measured is not known: the Dataset {said}; pass one as its translator gives it")
    up, right = (
        _from_middle(_metres(ds, axis), ds.attrs.get(size))
        for axis, size in (("y", "scan_height"), ("x", "scan_width"))
    )
    angle = float(ds.attrs.get("scan_angle", 0.0))
    y = float(ds.attrs["scan_center_y"]) + np.sin(angle) * right + np.cos(angle) * up
    x = float(ds.attrs["scan_center_x"]) + np.cos(angle) * right - np.sin(angle) * up
    return ds.assign_coords(
        {f"lab_{axis}": _named(values.transpose("y", "x"), axis) for axis, values in (("y", y), ("x", x))}
    )


def positions(ds: xr.Dataset) -> xr.Dataset:
    """A Dataset over ``y, x``, or at one place, along ``position`` with ``y(position)``, ``x(position)`` in m.

    Parameters
    ----------
    ds : Dataset
        As for `lab_frame`.

    Returns
    -------
    Dataset
        ``position`` first, row after row of an image; the attributes of the scan frame, which no longer apply, are
        left out.

    Raises
    ------
    ValueError
        As `lab_frame`.

    Notes
    -----
    *Laziness*: lazy.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> place = {"y": ("y", [0.0, 1e-9], {"units": "m"}), "x": ("x", [0.0, 2e-9, 4e-9], {"units": "m"})}
    >>> frame = {"scan_center_x": 0.0, "scan_center_y": 0.0, "scan_angle": 90.0}
    >>> along = positions(xr.Dataset({"height": (("y", "x"), np.zeros((2, 3)))}, place, frame))
    >>> along.height.dims, along.sizes["position"]
    (('position',), 6)
    """
    ds = lab_frame(ds)
    if "x" in ds.dims:
        flat = ds.stack(position=("y", "x"), create_index=False).drop_vars(["y", "x"])
        flat.attrs = {key: value for key, value in ds.attrs.items() if key not in _SCAN}
    else:
        flat = ds.drop_vars(["y", "x"])
        flat = flat if "position" in flat.dims else flat.expand_dims("position")
    places = {}
    for axis in ("y", "x"):
        values = np.atleast_1d(flat[f"lab_{axis}"].values)
        places[axis] = coordinate("position", values, name=axis)
    flat = flat.drop_vars(["lab_y", "lab_x"]).assign_coords(places)
    return flat.transpose("position", ...)


def _metres(ds: xr.Dataset, axis: str) -> xr.Variable:
    """A coordinate in m."""
    units = str(ds[axis].attrs.get("units", "1"))
    factor, base = to_base(units)
    if base != "m":
        raise ValueError(f"{axis} is in {units!r}: expected a length, since the frame of the instrument is in m")
    return xr.Variable(ds[axis].dims, np.asarray(ds[axis].values, float) * factor)


def _from_middle(values: xr.Variable, size: object) -> xr.Variable:
    """Distance from the middle of the scan, which is that of the axis unless it was cropped."""
    middle = float(values.mean())
    if isinstance(size, int | float | np.number) and values.size > 1:
        step = float(values[1] - values[0])
        if values.size * step < float(size) * (1 - 1e-6) - 0.5 * abs(step):
            middle = (float(size) - step) / 2
    return values - middle


def _named(values: xr.Variable, axis: str) -> xr.Variable:
    return xr.Variable(
        values.dims, values.values, {"units": "m", "long_name": f"{axis} in the frame of the instrument",
                                     "dimension_type": "spatial"},
    )  # fmt: skip
