"""What reading an image, a spectrum or everything costs, from how each variable lies in its file.

May import numpy, xarray, provenance, schema, errors and io; h5py inside functions. Reads no values.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from typing import Any

import xarray as xr

from xpycro import provenance
from xpycro.errors import StoreError
from xpycro.io.layout import roles
from xpycro.io.store import reader

__all__ = ["LayoutTable", "VariableLayout", "layout_of"]


@dataclass(frozen=True)
class VariableLayout:
    """How one variable lies in the file.

    Attributes
    ----------
    name, dtype : str
    sizes, chunks : dict of str to int
    compression : str
        ``none`` or the filter's name.
    stored : int
        Bytes in the file.
    image, spectrum, whole : tuple of int
        Chunks and bytes of the file that must be read: for one map (all observations, one point of the signal), for one
        spectrum (all of the signal, one observation), for everything.
    """

    name: str
    dtype: str
    sizes: dict[str, int]
    chunks: dict[str, int]
    compression: str
    stored: int
    image: tuple[int, int]
    spectrum: tuple[int, int]
    whole: tuple[int, int]


class LayoutTable(tuple[VariableLayout, ...]):
    """What `layout_of` returns: a tuple of `VariableLayout` that prints as a table."""

    __slots__ = ()

    def __repr__(self) -> str:
        head = ("variable", "dtype", "sizes", "chunks", "compression", "stored", "an image", "a spectrum", "the whole")
        rows = [head, *(_cells(one) for one in self)]
        widths = [max(len(row[n]) for row in rows) for n in range(len(head))]
        return "\n".join("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows)


def _cells(one: VariableLayout) -> tuple[str, ...]:
    def lengths(values: dict[str, int]) -> str:
        return ", ".join(f"{dim}: {n}" for dim, n in values.items()) or "-"

    def cost(value: tuple[int, int]) -> str:
        return f"{value[0]} chunk{'s' if value[0] != 1 else ''}, {value[1] / 1e6:,.1f} MB"

    return (
        one.name,
        one.dtype,
        lengths(one.sizes),
        lengths(one.chunks),
        one.compression,
        f"{one.stored / 1e6:,.1f} MB",
        cost(one.image),
        cost(one.spectrum),
        cost(one.whole),
    )


def layout_of(ds: xr.Dataset | xr.DataArray) -> LayoutTable:
    """How the variables of an opened store lie in the file and what reading them costs.

    Parameters
    ----------
    ds : Dataset or DataArray
        As opened from an xpycro store.

    Returns
    -------
    LayoutTable
        One row a variable: chunks, compression, bytes stored, and chunks and bytes read for an image, a spectrum and
        the whole. Prints as a table.

    Raises
    ------
    StoreError
        If it does not come from a store; the message says how to make one.

    Notes
    -----
    *Laziness*: reads the file's structure only.

    Examples
    --------
    >>> import pathlib, tempfile, numpy as np, xarray as xr
    >>> from xpycro.io import store
    >>> path = pathlib.Path(tempfile.mkdtemp(), "sim.h5")
    >>> cube = xr.Dataset({"current": (("y", "x", "bias"), np.zeros((64, 64, 256), "f4"))})
    >>> layout_of(store.save(cube, path))[0].spectrum
    (1, 495616)
    """
    location = provenance.history(ds).location or {}
    path = location.get("path")
    if location.get("format") != "xpycro" or not path or not os.path.exists(str(path)):
        raise StoreError("this does not come from an xpycro store: xp.translate or save makes one, with a layout")
    from xpycro.io.store import place_of

    file, group = place_of(str(path), str(location.get("group") or ""))
    names = [ds.name] if isinstance(ds, xr.DataArray) else list(ds.data_vars)
    with reader.open_store(file) as netcdf:
        node = netcdf[group] if group else netcdf
        found = [_layout(node.variables[str(n)], str(n), ds) for n in names if str(n) in node.variables]
    return LayoutTable(found)


def _layout(variable: Any, name: str, ds: xr.Dataset | xr.DataArray) -> VariableLayout:
    h5, dims = variable._h5ds, tuple(variable.dimensions)
    shape = tuple(h5.shape)
    chunks = tuple(h5.chunks or (max(1, n) for n in shape))
    observed, signal, stacked = roles(ds, dims)
    counts = [math.ceil(n / c) for n, c in zip(shape, chunks, strict=True)]
    stored = int(h5.id.get_storage_size())
    each = stored / max(1, math.prod(counts))
    touched = {
        "image": math.prod(counts[a] for a in observed),
        "spectrum": math.prod(counts[a] for a in (signal or stacked)),
        "whole": math.prod(counts),
    }
    costs = {key: (number, round(number * each)) for key, number in touched.items()}
    made = h5.id.get_create_plist()
    used = [made.get_filter(n)[3].decode() or str(made.get_filter(n)[0]) for n in range(made.get_nfilters())]
    return VariableLayout(
        name,
        str(h5.dtype),
        dict(zip(dims, shape, strict=True)),
        dict(zip(dims, chunks, strict=True)),
        " + ".join(used) or "none",
        stored,
        **costs,
    )
