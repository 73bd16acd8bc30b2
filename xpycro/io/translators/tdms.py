"""LabVIEW ``.tdms`` by the package npTDMS (LGPL, extra ``formats``): channels of numbers in groups, with properties.

May import numpy, xarray, schema, units and io below; nptdms inside a function.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from xpycro.errors import CorruptFile, MissingExtra, NotThisFormat
from xpycro.io.translators._axes import Axis, data_units, layout
from xpycro.io.translators._signals import Signal, collect

__all__ = ["MAGIC", "channels"]

MAGIC = b"TDSm"
_LIMIT = 1 << 34


def channels(path: str) -> dict[str, xr.Dataset]:
    """Read a LabVIEW measurement file.

    Parameters
    ----------
    path : str

    Returns
    -------
    dict of str to Dataset
        Channels of one length and timing share a group: one variable each over ``time`` (s), where their properties
        say so, else ``point``; in base units of ``unit_string``.

    Raises
    ------
    NotThisFormat, CorruptFile
    MissingExtra
        Without npTDMS (``pip install "xpycro[formats]"``).

    Notes
    -----
    *Laziness*: read whole.
    """
    with open(path, "rb") as file:
        if file.read(4) != MAGIC:
            raise NotThisFormat("does not begin with 'TDSm'", path=path, offset=0)
    try:
        import nptdms
    except ImportError as error:
        raise MissingExtra("npTDMS", "formats", "reading LabVIEW files") from error
    try:
        with nptdms.TdmsFile.open(path) as file:
            said = _plain(file.properties)
            signals = [_signal(path, group, channel) for group in file.groups() for channel in group.channels()]
    except CorruptFile:
        raise
    except Exception as error:  # whatever a foreign parser raises on a damaged file
        raise CorruptFile(f"npTDMS cannot read it ({type(error).__name__}: {str(error)[:200]})", path=path) from error
    found = [signal for signal in signals if signal is not None]
    if not found:
        raise CorruptFile("it holds no channel of numbers", path=path)
    return collect(found, said, title=str(said["name"]) if said.get("name") else None)


def _signal(path: str, group: Any, channel: Any) -> Signal | None:
    """A channel of numbers; text and times of day are left out."""
    dtype = np.dtype(channel.dtype)
    if dtype.kind not in "fiubc" or not len(channel):
        return None
    if len(channel) * dtype.itemsize > _LIMIT:
        raise CorruptFile(f"channel {channel.name!r} declares {len(channel)} numbers", path=path)
    properties = _plain(channel.properties)
    step, start = (properties.get(f"wf_{name}") for name in ("increment", "start_offset"))
    timed = isinstance(step, int | float) and math.isfinite(step) and step > 0
    first = float(start) if timed and isinstance(start, int | float) else 0.0
    dim = "time" if timed else "point"
    axis = Axis(
        len(channel), dim, "s" if timed else "", float(step) if timed and step else 1.0, first, signal=True, dim=dim
    )
    laid = layout([axis], top_first=False)
    factor, units = data_units(str(properties.get("unit_string") or ""))
    values = np.asarray(channel[:])
    variable = xr.Variable(
        laid.dims, values * factor if factor != 1 else values, {"units": units, "long_name": channel.name}
    )
    return Signal(channel.name, variable, laid.coords, properties, group=group.name)


def _plain(properties: Mapping[str, Any]) -> dict[str, Any]:
    """Properties as JSON takes them; dates as ISO 8601."""
    plain: dict[str, Any] = {}
    for key, value in properties.items():
        if isinstance(value, np.generic):
            value = str(value) if value.dtype.kind in "mM" else value.item()
        plain[str(key)] = value if isinstance(value, str | int | float | bool) else str(value)
    return plain
