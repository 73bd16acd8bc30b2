"""``xpycro info``: what is in a file, without reading its data."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from xpycro import provenance
from xpycro.cli.text import table
from xpycro.io import opening
from xpycro.schema import decode_metadata, dimension_type
from xpycro.units import display_unit, engineering

__all__ = ["describe", "run"]

_FACTS = ("title", "modality", "instrument", "data_type", "acquired", "phase_sign")


def _extent(coord: xr.DataArray) -> str:
    """First to last value in a readable unit, the range of one that turns back; labels where they are no numbers."""
    values = coord.values
    if values.size == 0:
        return "empty"
    if values.dtype.kind not in "fiu":
        return ", ".join(map(str, values.ravel()[:4])) + (", ..." if values.size > 4 else "")
    finite = values[np.isfinite(values)]
    largest = float(np.abs(finite).max()) if finite.size else 0.0
    factor, unit = engineering(largest, coord.attrs.get("units"))
    shown = display_unit(unit) or ""
    change = np.diff(values.ravel())
    if (change > 0).any() and (change < 0).any():
        return f"between {finite.min() * factor:.6g} and {finite.max() * factor:.6g} {shown}".rstrip()
    return f"{values.ravel()[0] * factor:.6g} to {values.ravel()[-1] * factor:.6g} {shown}".rstrip()


def describe(ds: xr.Dataset) -> list[str]:
    """The lines that describe one Dataset: facts, dims with extents, channels with dims and units.

    Parameters
    ----------
    ds : Dataset
        Its data are not read.

    Returns
    -------
    list of str
    """
    lines = [f"  {name}: {ds.attrs[name]}" for name in _FACTS if ds.attrs.get(name)]
    dims = [
        (str(dim), f"{size}", dimension_type(ds, dim), _extent(ds.coords[dim]) if dim in ds.coords else "no coordinate")
        for dim, size in ds.sizes.items()
    ]
    if dims:
        lines += ["  dimensions", *table(dims, "    ")]
    others = [
        (str(name), f"({', '.join(map(str, c.dims))})", "", _extent(c))
        for name, c in ds.coords.items()
        if name not in ds.dims
    ]
    if others:
        lines += ["  further coordinates", *table(others, "    ")]
    channels = [
        (
            str(name),
            f"({', '.join(map(str, da.dims))})",
            f"{da.dtype}",
            str(da.attrs.get("units", "")),
            str(da.attrs.get("long_name", "")),
        )
        for name, da in ds.data_vars.items()
    ]
    if channels:
        lines += ["  channels", *table(channels, "    ")]
    return lines


def run(
    file: str,
    *,
    header: bool = False,
    history: bool = False,
    format: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> None:
    """Print what is in `file`; nothing of its data is read."""
    groups = opening.load_tree(file, format=format, options=options)
    print(file)
    for name, ds in groups.items():
        if not ds.data_vars:
            continue
        print(f"\n{name or 'measurement'}")
        print("\n".join(describe(ds)))
        if history:
            print("  history")
            print("\n".join(f"    {line}" for line in repr(provenance.history(ds)).splitlines()))
    if header:
        for name, ds in groups.items():
            if ds.attrs.get("original_metadata"):
                print(f"\nheader{f' of {name}' if name else ''}")
                content = decode_metadata(ds.attrs["original_metadata"])
                print(json.dumps(content, indent=2, ensure_ascii=False, default=str))
