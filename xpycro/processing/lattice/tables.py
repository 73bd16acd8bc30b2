"""One image and its plane, and tables of atoms: made, and read back as places.

May import numpy, xarray, engine and the base floor; not the modules beside it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from xpycro.engine.axes import Axis, along, image_of, plane_of, real_numbers

__all__ = ["atom_coordinate", "atom_places", "single", "table"]


def single(data: xr.DataArray | xr.Dataset, variable: str | None) -> tuple[xr.DataArray, list[Axis]]:
    da = real_numbers(image_of(data, variable))
    plane = plane_of(da)
    if da.ndim != 2:
        raise ValueError(f"atoms are found in one image; this array has {dict(da.sizes)}: select one with isel or sel")
    da = da.transpose(*plane)
    axes = [along(da, dim) for dim in plane]
    if axes[0].units != axes[1].units:
        raise ValueError(f"{plane[0]} is in {axes[0].units} and {plane[1]} in {axes[1].units}: atoms need one unit")
    return da, axes


def table(values: Any, units: str, label: str) -> xr.Variable:
    return xr.Variable("atom", np.asarray(values, dtype=float), {"units": units, "long_name": label})


def atom_coordinate(count: int) -> xr.Variable:
    return xr.Variable("atom", np.arange(count), {"units": "1", "long_name": "Atom", "dimension_type": "component"})


def atom_places(atoms: xr.Dataset) -> tuple[np.ndarray, str]:
    """Places (atom, [y, x]) of a table of atoms, and their unit."""
    missing = [name for name in ("y", "x") if name not in atoms]
    if missing or "atom" not in atoms.dims:
        raise ValueError(f"atoms= lacks {missing or ['atom']}: pass what find_atoms or refine_atoms returned")
    places = np.stack([np.asarray(atoms[name].values, dtype=float) for name in ("y", "x")], axis=-1)
    return places, str(atoms["y"].attrs.get("units", "1"))
