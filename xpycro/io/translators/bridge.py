"""The bridge to RosettaSciIO (GPL, extra ``em``): one adapter for the formats that only it reads.

Imported when such a file is opened and never before; its netCDF reader, which evaluates text of the file, is not routed
to. May import numpy, xarray, schema and io below; rsciio inside functions.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from xpycro.errors import CorruptFile, MissingExtra, UnsupportedVariant, XpycroError
from xpycro.io.hdf5_guard import opened
from xpycro.io.translators._axes import Axis, data_units, layout
from xpycro.io.translators._h5tools import MAGIC
from xpycro.io.translators._signals import Signal, collect
from xpycro.io.translators.hyperspy import said_of, split_quantity
from xpycro.schema import coordinate

__all__ = ["PLUGINS", "read", "signal_of"]

# the module of rsciio, by the name of the format here
PLUGINS: Mapping[str, str] = {
    "bruker": "bruker", "dens": "dens", "edax": "edax", "hamamatsu": "hamamatsu", "impulse": "impulse",
    "jeol": "jeol", "mrcz": "mrcz", "pantarhei": "pantarhei", "phenom": "phenom", "protochips": "protochips",
    "quadstar": "quadstar", "semper": "semper", "topspin": "topspin", "trivista": "trivista", "tvips": "tvips",
    "velox": "emd", "zspy": "zspy",
}  # fmt: skip
_FORBIDDEN = frozenset({"netcdf"})


def read(path: str, plugin: str) -> dict[str, xr.Dataset]:
    """Read a file through RosettaSciIO.

    Parameters
    ----------
    path : str
    plugin : str
        Its module there, such as ``"bruker"``.

    Returns
    -------
    dict of str to Dataset
        Signals on one grid (or on some of its dims) share a Dataset; the others have groups of their own.

    Raises
    ------
    MissingExtra
        If RosettaSciIO is not installed.
    CorruptFile
        If it cannot read the file, whatever it raises.

    Notes
    -----
    *Laziness*: asked for lazy data first; a format that cannot is read whole.
    """
    if plugin in _FORBIDDEN or plugin not in PLUGINS.values():
        raise UnsupportedVariant(f"the plug-in {plugin!r} is not bridged", path=path)
    if importlib.util.find_spec("rsciio") is None:
        raise MissingExtra("rosettasciio", "em", f"reading {os.path.basename(path)}")
    with open(path, "rb") as handle:
        hdf5 = handle.read(8) == MAGIC
    if hdf5:  # links and external storage are followed by whoever opens it: look first
        with opened(path):
            pass
    try:
        module = importlib.import_module(f"rsciio.{plugin}")
        entries = _entries(module.file_reader, path)
        signals = [signal_of(entry, number) for number, entry in enumerate(entries)]
    except (XpycroError, PermissionError):
        raise
    except ImportError as error:
        raise MissingExtra(error.name or str(error), "em", f"reading {os.path.basename(path)}") from error
    except FileNotFoundError as error:
        raise CorruptFile(f"a file that it refers to is missing: {error.filename}", path=path) from error
    except Exception as error:  # whatever a foreign parser raises on a damaged file
        raise CorruptFile(
            f"RosettaSciIO cannot read it ({type(error).__name__}: {str(error)[:200]})", path=path
        ) from error
    if not signals:
        raise CorruptFile("RosettaSciIO finds no data in it", path=path)
    return collect(signals, {})


def _entries(reader: Callable[..., Any], path: str) -> list[Mapping[str, Any]]:
    try:
        return list(reader(path, lazy=True))
    except (NotImplementedError, TypeError):  # TypeError: some lazy paths fail with recent NumPy
        return list(reader(path))


def signal_of(entry: Mapping[str, Any], number: int = 0) -> Signal:
    """One signal of the dictionaries that RosettaSciIO and HyperSpy exchange: data, axes, metadata.

    Parameters
    ----------
    entry : mapping
        With ``data``, ``axes`` (dicts of name, units, size, scale, offset or axis, navigate), ``metadata`` and
        ``original_metadata``.
    number : int, optional
        Names it where it has no title.
    """
    data = entry["data"]
    metadata = _plain(entry.get("metadata") or {})
    general = metadata.get("General", {}) if isinstance(metadata, dict) else {}
    signal = metadata.get("Signal", {}) if isinstance(metadata, dict) else {}
    title = str(general.get("title") or "") or f"signal_{number}"
    loss = str(signal.get("signal_type", "")) == "EELS"
    listed = list(entry["axes"])
    if [_length(axis) for axis in listed] != list(data.shape):  # the list is not in the order of the array
        listed.sort(key=lambda axis: axis.get("index_in_array") or 0)
    axes = [_axis(axis, size, loss) for axis, size in zip(listed, data.shape, strict=True)]
    kept = [n for n, size in enumerate(data.shape) if size > 1] or list(range(min(1, data.ndim)))
    data = data[tuple(slice(None) if n in kept else 0 for n in range(data.ndim))]
    laid = layout([axes[n] for n in kept], top_first=True)
    data = data.transpose(laid.order) if laid.order else data
    data = data[tuple(slice(None, None, -1 if flip else 1) for flip in laid.flip)]
    dims, coords = list(laid.dims), dict(laid.coords)
    if data.dtype.names:
        data = _channels(data)
        dims.append("channel")
        coords["channel"] = coordinate("channel", np.array(["red", "green", "blue", "alpha"][: data.shape[-1]]))
    quantity = str(signal.get("quantity") or "")
    label, unit = split_quantity(quantity)
    factor, base = data_units(unit)
    if factor != 1.0:
        data = data * factor
    if base == "1" and str(signal.get("signal_type", "")).startswith("EDS"):
        base = "counts"
    variable = xr.Variable(dims, data, {"units": base, "long_name": label or title})
    header = {"metadata": metadata, "original_metadata": _plain(entry.get("original_metadata") or {})}
    return Signal(title, variable, coords, header, said_of(metadata), group=title)


def _channels(data: Any) -> Any:
    """A record of red, green, blue as a last axis."""
    names = data.dtype.names
    if isinstance(data, np.ndarray):
        return np.stack([data[name] for name in names], axis=-1)
    import dask.array

    return dask.array.stack([data[name] for name in names], axis=-1)


def _axis(axis: Mapping[str, Any], size: int, loss: bool) -> Axis:
    """An axis dict, which holds either scale and offset or the values themselves."""
    values = axis.get("axis")
    name, units = _word(axis.get("name")), _word(axis.get("units"))
    if loss and name.lower().startswith("energy"):
        name = "Energy loss"
    navigate = axis.get("navigate")
    return Axis(
        size,
        name,
        units,
        _number(axis.get("scale"), 1.0),
        _number(axis.get("offset"), 0.0),
        None if values is None else np.asarray(values, dtype=float),
        None if navigate is None else not navigate,
    )


def _length(axis: Mapping[str, Any]) -> int:
    return int(axis["size"]) if axis.get("size") is not None else np.size(axis.get("axis", ()))


def _word(value: Any) -> str:
    text = "" if value is None else str(value)
    return "" if text in ("<undefined>", "None", "t.Undefined") else text


def _number(value: Any, default: float) -> float:
    """A number, also one given as a fraction; a scale of zero says nothing."""
    number = default if value is None else float(value)
    return number if np.isfinite(number) and (number or not default) else default


def _plain(value: Any) -> Any:
    """Boxes and DictionaryTreeBrowsers as plain dicts."""
    if hasattr(value, "as_dictionary"):
        value = value.as_dictionary()
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return value.tolist() if value.size <= 4096 else f"<array of {value.size} {value.dtype}>"
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [_plain(item) for item in list(value)[:65536]]
    if isinstance(value, np.generic):
        return value.item()
    return value


bruker = functools.partial(read, plugin="bruker")
dens = functools.partial(read, plugin="dens")
edax = functools.partial(read, plugin="edax")
hamamatsu = functools.partial(read, plugin="hamamatsu")
impulse = functools.partial(read, plugin="impulse")
jeol = functools.partial(read, plugin="jeol")
mrcz = functools.partial(read, plugin="mrcz")
pantarhei = functools.partial(read, plugin="pantarhei")
phenom = functools.partial(read, plugin="phenom")
protochips = functools.partial(read, plugin="protochips")
quadstar = functools.partial(read, plugin="quadstar")
semper = functools.partial(read, plugin="semper")
topspin = functools.partial(read, plugin="topspin")
trivista = functools.partial(read, plugin="trivista")
tvips = functools.partial(read, plugin="tvips")
velox = functools.partial(read, plugin="emd")
zspy = functools.partial(read, plugin="zspy")
