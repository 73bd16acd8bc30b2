"""The way out and in: NeXus files that others read, HyperSpy signals, sidpy datasets.

May import numpy, xarray, the engine's chunking, schema, errors and io; h5py and hyperspy inside functions. Neither
HyperSpy nor sidpy is needed to convert what they made: objects are taken by what they look like.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from xpycro import schema
from xpycro.engine import chunked
from xpycro.errors import MissingExtra
from xpycro.io.translators._axes import Axis, data_units, layout
from xpycro.io.translators._signals import Signal, collect
from xpycro.io.translators.bridge import signal_of
from xpycro.io.translators.hyperspy import split_quantity

__all__ = ["from_hyperspy", "from_sidpy", "signal_dictionary", "to_hyperspy", "to_nexus"]


# ----------------------------------------------------------------------------------------------------------- NeXus


def to_nexus(obj: xr.Dataset | xr.DataArray, path: str | os.PathLike[str], *, overwrite: bool = False) -> str:
    """Write a NeXus file: one NXdata for each set of dims, the largest being the default plot.

    Parameters
    ----------
    obj : Dataset or DataArray
    path : path-like
    overwrite : bool, optional
        Replace an existing file, which is only touched once the new one is complete.

    Returns
    -------
    str
        The path. Signals carry ``units`` and ``long_name``; axes are coordinates with ``<axis>_indices``; a variable
        ``NAME_stderr`` or ``NAME_errors`` becomes the errors of ``NAME``; the attributes, history included, lie as JSON
        in ``entry/xpycro_metadata``.

    Raises
    ------
    FileExistsError
        Unless `overwrite`.
    ValueError
        If something cannot be stored; the message lists all of it.

    Notes
    -----
    *Laziness*: streams block by block; one pass over the data.

    References
    ----------
    NeXus manual, "NXdata", https://manual.nexusformat.org/classes/base_classes/NXdata.html

    Examples
    --------
    >>> import pathlib, tempfile, xarray as xr
    >>> da = xr.DataArray([1.0, 2.0], dims="bias", coords={"bias": [-1.0, 1.0]}, name="current", attrs={"units": "A"})
    >>> path = to_nexus(da, pathlib.Path(tempfile.mkdtemp(), "iv.nxs"))
    >>> import h5py
    >>> with h5py.File(path) as file:
    ...     file["entry/data"].attrs["signal"]
    'current'
    """
    import h5py

    ds = obj.to_dataset(name=str(obj.name or "data")) if isinstance(obj, xr.DataArray) else obj
    _storable(ds)
    target = os.fspath(path)
    if os.path.exists(target) and not overwrite:
        raise FileExistsError(f"{target!r} exists: pass overwrite=True to replace it")
    part = os.path.join(os.path.dirname(os.path.abspath(target)), f".{os.path.basename(target)}.{uuid.uuid4().hex[:8]}")
    try:
        with h5py.File(part, "w") as file:
            _write_nexus(file, chunked.lazily(ds))
        with open(part, "rb+") as handle:
            os.fsync(handle.fileno())
        os.replace(part, target)
    finally:
        if os.path.exists(part):
            os.remove(part)
    return target


def _storable(ds: xr.Dataset) -> None:
    problems = [f"{name}: dtype {v.dtype}" for name, v in ds.variables.items() if v.dtype.kind not in "fciubUSOM"]
    problems += [f"{name!r}: '/' in the name" for name in map(str, ds.variables) if "/" in name or not name]
    problems += [
        f"{name}: an object that is no text"
        for name, v in ds.variables.items()
        if v.dtype.kind == "O" and not all(isinstance(item, str) for item in np.ravel(v.values))
    ]
    if not ds.data_vars:
        problems.append("there is no variable")
    if problems:
        raise ValueError("cannot be written as NeXus: " + "; ".join(problems))


def _errors_of(name: str, names: Sequence[str]) -> str | None:
    """Whose errors a variable holds."""
    for ending in ("_stderr", "_errors"):
        if name.endswith(ending) and name.removesuffix(ending) in names:
            return name.removesuffix(ending)
    return None


def _write_nexus(file: Any, ds: xr.Dataset) -> None:
    names = [str(name) for name in ds.data_vars]
    bundles: dict[tuple[str, ...], list[str]] = {}
    for name in names:
        owner = _errors_of(name, names)
        dims = tuple(map(str, ds[name].dims))
        if owner is None or tuple(map(str, ds[owner].dims)) != dims:
            bundles.setdefault(dims, []).append(name)
    ordered = sorted(bundles.items(), key=lambda item: -ds[item[1][0]].size)
    file.attrs["default"] = "entry"
    file.attrs["NX_class"] = "NXroot"
    entry = file.create_group("entry")
    entry.attrs["NX_class"], entry.attrs["default"] = "NXentry", "data"
    entry["title"] = str(ds.attrs.get("title", ""))
    if "acquired" in ds.attrs:
        entry["start_time"] = str(ds.attrs["acquired"])
    kept = entry.create_group("xpycro_metadata")
    kept.attrs["NX_class"] = "NXcollection"
    kept["attributes"] = schema.encode_metadata(ds.attrs)
    for number, (dims, members) in enumerate(ordered):
        group = entry.create_group("data" if number == 0 else f"data_{number + 1}")
        group.attrs["NX_class"] = "NXdata"
        group.attrs["signal"] = members[0]
        if len(members) > 1:
            group.attrs["auxiliary_signals"] = members[1:]
        group.attrs["axes"] = [dim if dim in ds.coords else "." for dim in dims]
        for name in members:
            _write(group, name, ds[name])
            for ending in ("_stderr", "_errors"):
                if _errors_of(name + ending, names) == name and name + ending in names:
                    _write(group, f"{name}_errors", ds[name + ending])
        for key, coord in ds.coords.items():
            name = str(key)
            if coord.ndim and set(map(str, coord.dims)) <= set(dims) and name not in group:
                _write(group, name, coord)
                group.attrs[f"{name}_indices"] = np.array([dims.index(str(dim)) for dim in coord.dims], dtype="i4")


def _write(group: Any, name: str, da: xr.DataArray) -> None:
    """One array, block by block."""
    import h5py

    if da.dtype.kind in "UO":
        data = group.create_dataset(name, data=np.asarray(da.values, dtype=object), dtype=h5py.string_dtype())
    elif da.dtype.kind == "M":
        stamps = np.datetime_as_string(da.values)
        data = group.create_dataset(name, data=stamps.astype(object), dtype=h5py.string_dtype())
    elif da.chunks is None:
        data = group.create_dataset(name, data=np.ascontiguousarray(da.values))
    else:
        data = group.create_dataset(name, shape=da.shape, dtype=da.dtype)
        starts = [np.concatenate([[0], np.cumsum(sizes)]) for sizes in da.chunks]
        for place in np.ndindex(*[len(sizes) for sizes in da.chunks]):
            key = tuple(slice(int(s[n]), int(s[n + 1])) for s, n in zip(starts, place, strict=True))
            data[key] = da[key].values
    for attr in ("units", "long_name"):
        if attr in da.attrs:
            data.attrs[attr] = str(da.attrs[attr])


# -------------------------------------------------------------------------------------------------------- HyperSpy


def signal_dictionary(da: xr.DataArray) -> dict[str, Any]:
    """The dictionary that HyperSpy and RosettaSciIO exchange: data, axes, metadata, original_metadata.

    Parameters
    ----------
    da : DataArray

    Returns
    -------
    dict
        Navigation axes first, images with their top row first (``y`` counts downwards from the top, ``ky`` keeps its
        zero), lazy data as a dask array.

    Notes
    -----
    *Laziness*: lazy.
    """
    try:
        signal = schema.resolve_dims(da)
    except schema.DimensionError:
        signal = tuple(str(dim) for dim in da.dims[-2:])
    navigation = schema.observation_dims(da, signal)
    ordered = chunked.lazily(da).transpose(*navigation, *signal)
    flips = [dim in ("y", "ky") for dim in ordered.dims]
    data = ordered.data[tuple(slice(None, None, -1 if flip else 1) for flip in flips)]
    axes = [_axis_dictionary(ordered, str(dim), number, dim in navigation) for number, dim in enumerate(ordered.dims)]
    kind = "EELS" if "energy_loss" in da.dims else ""
    label, _ = split_quantity(str(da.attrs.get("long_name") or da.name or "data"))
    quantity = f"{label} ({da.attrs.get('units', '1')})"
    metadata = {
        "General": {"title": str(da.attrs.get("title") or da.name or "")},
        "Signal": {"signal_type": kind, "quantity": quantity},
    }
    original = schema.decode_metadata(da.attrs.get("original_metadata"))
    return {
        "data": data,
        "axes": axes,
        "metadata": metadata,
        "original_metadata": original,
        "tmp_parameters": {},
        "learning_results": {},
        "attributes": {"_lazy": not isinstance(data, np.ndarray)},
        "package_info": {"package": "xpycro"},
        "models": {},
    }


def _axis_dictionary(da: xr.DataArray, dim: str, number: int, navigate: bool) -> dict[str, Any]:
    size = da.sizes[dim]
    coord = da.coords.get(dim)
    if coord is None or coord.dtype.kind not in "fiu":
        values, units = np.arange(size, dtype=float), ""
    else:
        values, units = coord.values.astype(float), str(coord.attrs.get("units", ""))
    if dim == "ky":
        values = 0.0 - values[::-1]
    step = float(values[1] - values[0]) if size > 1 else 1.0
    name = {"energy_loss": "Energy loss", "energy": "Energy"}.get(dim, dim)
    base = {"name": name, "units": "" if units in ("1", "pixel") else units, "navigate": navigate,
            "size": size, "index_in_array": number, "is_binned": False}  # fmt: skip
    if size > 2 and not np.allclose(np.diff(values), step, rtol=1e-4, atol=0):
        return {**base, "_type": "DataAxis", "axis": values}
    return {**base, "_type": "UniformDataAxis", "scale": step, "offset": float(values[0]) if size else 0.0}


def to_hyperspy(da: xr.DataArray) -> Any:
    """A HyperSpy signal of a DataArray.

    Parameters
    ----------
    da : DataArray

    Returns
    -------
    hyperspy.api.signals.BaseSignal
        Signal1D or Signal2D by the number of signal dims; lazy where the data are.

    Raises
    ------
    MissingExtra
        If HyperSpy is not installed.

    Notes
    -----
    *Laziness*: lazy.

    Examples
    --------
    >>> import numpy as np
    >>> signal = to_hyperspy(xr.DataArray(np.zeros((3, 4)), dims=("x", "energy")))  # doctest: +SKIP
    """
    import importlib.util

    if importlib.util.find_spec("hyperspy") is None:
        raise MissingExtra("hyperspy", "bench", "to_hyperspy")
    import hyperspy.api as hs

    parts = signal_dictionary(da)
    lazy = not isinstance(parts["data"], np.ndarray)
    dims = sum(not axis["navigate"] for axis in parts["axes"])
    kind = {1: hs.signals.Signal1D, 2: hs.signals.Signal2D}.get(dims, hs.signals.BaseSignal)
    axes = [{k: v for k, v in axis.items() if k not in ("index_in_array", "_type")} for axis in parts["axes"]]
    signal = kind(parts["data"], axes=axes, metadata=parts["metadata"], original_metadata=parts["original_metadata"])
    return signal.as_lazy() if lazy else signal


def from_hyperspy(signal: Any) -> xr.Dataset:
    """A Dataset of a HyperSpy signal, by what it looks like.

    Parameters
    ----------
    signal : hyperspy.api.signals.BaseSignal
        Anything with ``data``, ``axes_manager`` and ``metadata``.

    Returns
    -------
    Dataset
        One variable; images are turned so that ``y`` and ``ky`` run upwards.

    Raises
    ------
    TypeError
        If it does not look like a signal.

    Notes
    -----
    *Laziness*: a lazy signal stays lazy.

    Examples
    --------
    >>> import numpy as np
    >>> from types import SimpleNamespace as Looks  # here in place of hyperspy's own classes
    >>> axis = Looks(name="Energy", units="eV", scale=0.5, offset=100.0, size=4, navigate=False)
    >>> signal = Looks(data=np.ones(4), axes_manager=Looks(_axes=[axis]), metadata=None, original_metadata=None)
    >>> ds = from_hyperspy(signal)
    >>> ds.energy.values
    array([100. , 100.5, 101. , 101.5])
    """
    manager = getattr(signal, "axes_manager", None)
    if manager is None or not hasattr(signal, "data"):
        raise TypeError(f"expected a HyperSpy signal (data, axes_manager, metadata), got {type(signal).__name__}")
    axes = []
    for number, axis in enumerate(manager._axes):
        entry = {name: getattr(axis, name, None) for name in ("name", "units", "scale", "offset", "size", "navigate")}
        entry = {key: None if "Undefined" in str(value) else value for key, value in entry.items()}
        if entry["scale"] is None:
            entry["axis"] = np.asarray(axis.axis, dtype=float)
        axes.append({**entry, "index_in_array": number})
    entry = {
        "data": signal.data,
        "axes": axes,
        "metadata": getattr(signal, "metadata", None),
        "original_metadata": getattr(signal, "original_metadata", None),
    }
    return collect([signal_of(entry)], {})[""]


# ----------------------------------------------------------------------------------------------------------- sidpy


def from_sidpy(dataset: Any) -> xr.Dataset:
    """A Dataset of a sidpy dataset, by what it looks like.

    Parameters
    ----------
    dataset : sidpy.Dataset
        A dask array with ``_axes`` (dimensions with ``values``, ``name``, ``units``, ``dimension_type``), ``quantity``,
        ``units``, ``title``, ``metadata`` and ``original_metadata``.

    Returns
    -------
    Dataset
        One variable; dims in the order y, x, signal, ascending.

    Raises
    ------
    TypeError
        If it does not look like one.

    Notes
    -----
    *Laziness*: lazy, as sidpy's datasets are.

    Examples
    --------
    >>> import dask.array, numpy as np
    >>> from types import SimpleNamespace as Looks  # here in place of sidpy's own classes
    >>> array = dask.array.ones(4)
    >>> array._axes = {0: Looks(values=np.arange(4.0), name="bias", units="V", dimension_type="SPECTRAL")}
    >>> array.quantity, array.units = "current", "A"
    >>> from_sidpy(array).bias.units
    'V'
    """
    described = getattr(dataset, "_axes", None)
    if not isinstance(described, Mapping) or not hasattr(dataset, "quantity"):
        raise TypeError(f"expected a sidpy.Dataset (_axes, quantity, units), got {type(dataset).__name__}")
    axes = []
    for number, size in enumerate(dataset.shape):
        one = described.get(number)
        kind = str(getattr(getattr(one, "dimension_type", ""), "name", getattr(one, "dimension_type", ""))).upper()
        values = getattr(one, "values", None)
        axes.append(
            Axis(
                size,
                str(getattr(one, "name", "") or ""),
                str(getattr(one, "units", "") or ""),
                values=None if values is None else np.asarray(values, dtype=float),
                signal=kind in ("SPECTRAL", "RECIPROCAL", "TEMPORAL") if kind and kind != "UNKNOWN" else None,
            )
        )
    laid = layout(axes, top_first=False)
    import dask.array

    data = dataset if isinstance(dataset, np.ndarray) else dask.array.Array(
        dataset.dask, dataset.name, dataset.chunks, dataset.dtype
    )  # fmt: skip
    data = data.transpose(laid.order)[tuple(slice(None, None, -1 if flip else 1) for flip in laid.flip)]
    factor, base = data_units(str(getattr(dataset, "units", "") or ""))
    quantity, title = str(getattr(dataset, "quantity", "") or ""), str(getattr(dataset, "title", "") or "")
    name = quantity if quantity and quantity != "generic" else title or "data"
    variable = xr.Variable(laid.dims, data * factor if factor != 1.0 else data, {"units": base, "long_name": name})
    header = {key: dict(getattr(dataset, key, None) or {}) for key in ("metadata", "original_metadata")}
    kind = getattr(dataset, "data_type", "")
    said = {"title": title, "data_type": str(getattr(kind, "name", kind))}
    said = {key: value for key, value in said.items() if value.lower() not in ("generic", "unknown")}
    for key, attr in (("modality", "modality"), ("instrument", "source")):
        value = str(getattr(dataset, attr, "") or "")
        if value and value != "generic":
            said[key] = value
    return collect([Signal(name, variable, laid.coords, header, {k: v for k, v in said.items() if v})], {})[""]
