"""NeXus: scans by the motors that moved, and NXdata groups with ``signal``, ``axes`` and ``<axis>_indices``.

May import numpy, xarray, schema and io below, h5py inside functions.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr

from xpycro.errors import CorruptFile, NotThisFormat, SeveralGroups
from xpycro.io import hdf5_array
from xpycro.io.hdf5_guard import Contents, opened
from xpycro.io.translators import _h5tools as h5
from xpycro.io.translators import hdf5_generic
from xpycro.io.translators._axes import Axis, axis_units, data_units, layout
from xpycro.io.translators._common import iso_time
from xpycro.io.translators._nexrows import Entry, address, entries
from xpycro.io.translators._nexscan import find
from xpycro.io.translators._signals import Signal, collect
from xpycro.schema import coordinate, identifier, identifiers

__all__ = ["read"]


def read(
    path: str,
    *,
    scan_shape: tuple[int, int] | None = None,
    entry: str | None = None,
    trust: bool = False,
    isolate: bool = False,
) -> dict[str, xr.Dataset]:
    """Read the scans and the plottable data of a NeXus file.

    Parameters
    ----------
    path : str
    scan_shape : (int, int), optional
        Lines and points of a scan, instead of what its motors say; the first line lies at the top, the last may be
        incomplete.
    entry : str, optional
        Read one entry only, such as ``"7.1"`` of a file of many scans.
    trust : bool, optional
        Follow links and external storage outside the folder too.
    isolate : bool, optional
        Walk the file in a child process with limits first.

    Returns
    -------
    dict of str to Dataset
        One group for each grid. Of an entry with a scan: the frames of its detector ``(y, x, ky, kx)`` where two stages
        moved over a grid (to and fro as well; what is missing is NaN and flagged in ``measured``), over ``position``
        where they went elsewhere, over ``frame`` else; spectra ``(..., channel)``, monitors and counters over the scan
        as variables, further motors as coordinates; ``pixel_mask`` is true where a pixel is to be left out.
        ``ky, kx`` in 1/m with ``two_theta`` and ``q`` where the file has the geometry. Of any other NXdata: its signal
        and auxiliary signals, their errors as ``<signal>_errors``; an axis given by its bin edges becomes bin centres.

    Raises
    ------
    NotThisFormat, CorruptFile, UnsupportedVariant
    DimensionError
        If `scan_shape` does not fit the number of frames.
    SeveralGroups
        If there is no such `entry`; the message lists them.

    Notes
    -----
    *Laziness*: axes, motors and metadata are read, data only when used.

    References
    ----------
    NeXus manual, "NXdata", https://manual.nexusformat.org/classes/base_classes/NXdata.html
    """
    with opened(path, trust=trust, isolate=isolate) as (file, contents):
        found = entries(path, file, contents)
        places = list(contents.groups)
        if entry is not None:
            wanted = f"/{entry.strip('/')}"
            if wanted not in [one.where for one in found]:
                there = [one.where.strip("/") for one in found]
                raise SeveralGroups(f"entry={entry!r}: {os.path.basename(path)} has {there}")
            found = [one for one in found if one.where == wanted]
            places = [where for where in places if f"{where}/".startswith(f"{wanted}/")]
        scans, used = _scans(found, scan_shape)
        signals: list[Signal] = []
        for where in places:
            group = file[where]
            if h5.text(group.attrs.get("NX_class")) in ("NXdata", "NXmonitor", "NXdetector", "NXlog"):
                signals += _data(path, group, where, contents, used)
        if scans and not signals:
            return {"": next(iter(scans.values()))} if len(scans) == 1 else scans
        if not signals and any(h5.text(file[where].attrs.get("NX_class")) for where in contents.groups):
            return hdf5_generic.read(path, trust=trust)  # arrays that the file itself does not say how to plot
        if not signals:
            raise NotThisFormat("no group has an NX_class", path=path)
        names = h5.group_names([signal.group for signal in signals])
        said = _entry(file)
        header = h5.metadata(file)
        signals = [replace(signal, group=name) for signal, name in zip(signals, names, strict=True)]
        groups = collect(signals, header, apart=False, **said)
        if scans and "" in groups:
            groups = {names[0]: groups[""]}
        return {**scans, **{name if name not in scans else f"{name}_data": ds for name, ds in groups.items()}}


def _scans(parts: Sequence[Entry], scan_shape: tuple[int, int] | None) -> tuple[dict[str, xr.Dataset], set[Any]]:
    """The scans by entry, and the addresses of what is in them."""
    found: dict[tuple[str, str], xr.Dataset] = {}
    used: set[Any] = set()
    for entry in parts:
        scan = find(entry, scan_shape, _said(entry.group))
        if scan is not None:
            found.update({(entry.where, name): ds for name, ds in scan.groups.items()})
            used |= scan.used
    paths = list(dict.fromkeys(where for where, _ in found))
    short = dict(zip(paths, h5.group_names(paths), strict=True))
    labels = [f"{short[where].replace('channel_', 'scan_')} {name}".strip() for where, name in found]
    return dict(zip(identifiers(labels), found.values(), strict=True)), used


def _entry(file: Any) -> dict[str, str | None]:
    """Title and time of the first NXentry."""
    import h5py

    for name in file:
        if not isinstance(file.get(name, getlink=True), h5py.HardLink):
            continue
        group = file[name]
        if isinstance(group, h5py.Group) and h5.text(group.attrs.get("NX_class")) == "NXentry":
            return {**_said(group), "data_type": _word(group, "definition")}
    return {}


def _said(entry: Any) -> dict[str, str | None]:
    return {"title": _word(entry, "title"), "acquired": iso_time(_word(entry, "start_time"))}


def _word(group: Any, name: str) -> str | None:
    import h5py

    found = group.get(name) if name in group else None
    if not isinstance(found, h5py.Dataset) or found.dtype.kind not in "OS" or found.size != 1:
        return None
    return h5.text(np.asarray(found[()])) or None


def _number(group: Any, name: str, default: float) -> float:
    """A number that stands alone in a dataset."""
    found = _dataset(group, name)
    if found is None or found.dtype.kind not in "fiu" or found.size != 1:
        return default
    value = float(np.asarray(found[()]).ravel()[0])
    return value if math.isfinite(value) and (value or not default) else default


def _list(value: Any) -> list[str]:
    plain = h5.tidy(value)
    if isinstance(plain, str):
        return [word for word in plain.strip("[]").replace(",", ":").split(":") if word]
    return [str(word) for word in plain] if isinstance(plain, list) else []


def _dataset(group: Any, name: str) -> Any:
    import h5py

    found = group.get(name) if name and name in group else None
    return found if isinstance(found, h5py.Dataset) else None


def _data(path: str, group: Any, where: str, contents: Contents, used: set[Any]) -> list[Signal]:
    names = [h5.text(group.attrs["signal"])] if "signal" in group.attrs else []
    if not names or _dataset(group, names[0]) is None:  # before 2014 the dataset itself was marked
        names = [n for n in group if (d := _dataset(group, n)) is not None and h5.text(d.attrs.get("signal")) == "1"]
    names += [n for n in _list(group.attrs.get("auxiliary_signals")) if n not in names]
    signals = []
    for name in names:
        data = _dataset(group, name)
        inner = f"{where.rstrip('/')}/{name}"
        if inner in contents.missing:
            raise CorruptFile(
                f"its data lie in {contents.missing[inner]!r}, which is not there", path=path, field=inner
            )
        if data is None or data.dtype.kind not in "fciub" or data.shape is None or data.ndim == 0:
            continue
        if address(data) in used:
            continue
        signals += _signal(path, group, where, name, data)
    return signals


def _axes_of(group: Any, data: Any) -> tuple[list[str], list[list[str]]]:
    """For each dim the name of its axis (``""`` where it has none), and further coordinates by the dims they span."""
    words = _list(group.attrs.get("axes")) or _list(data.attrs.get("axes"))
    names = [""] * data.ndim
    for number, word in enumerate(words):
        found = _dataset(group, word)
        given = h5.tidy(group.attrs.get(f"{word}_indices")) if f"{word}_indices" in group.attrs else None
        spans = [given] if isinstance(given, int) else given if isinstance(given, list) else [number]
        if found is not None and found.ndim <= 1 and len(spans) == 1 and 0 <= int(spans[0]) < data.ndim:
            if not names[int(spans[0])]:
                names[int(spans[0])] = word
    if not words:  # the oldest way: axis=1 on the dataset of the axis
        for name in group:
            found = _dataset(group, name)
            place = h5.tidy(found.attrs["axis"]) if found is not None and "axis" in found.attrs else None
            if isinstance(place, int | str) and str(place).isdigit() and 1 <= int(place) <= data.ndim:
                names[int(place) - 1] = names[int(place) - 1] or name
    extra = []
    for name in group.attrs:
        if name.endswith("_indices") and name[:-8] not in names and _dataset(group, name[:-8]) is not None:
            spans = h5.tidy(group.attrs[name])
            spans = [spans] if isinstance(spans, int) else spans
            if isinstance(spans, list) and all(isinstance(s, int) and 0 <= s < data.ndim for s in spans):
                extra.append([name[:-8], *map(str, spans)])
    return names, extra


def _centres(values: np.ndarray, size: int) -> np.ndarray | None:
    if values.size == size + 1:
        return (values[1:] + values[:-1]) / 2
    return values if values.size == size else None


def _signal(path: str, group: Any, where: str, name: str, data: Any) -> list[Signal]:
    names, extra = _axes_of(group, data)
    axes = []
    shown = h5.text(data.attrs.get("interpretation")) or h5.text(group.attrs.get("interpretation"))
    inside = {"spectrum": 1, "image": 2}.get(shown, 0)
    for number, (word, size) in enumerate(zip(names, data.shape, strict=True)):
        found = _dataset(group, word)
        signal = number >= data.ndim - inside if inside and data.ndim > inside else None
        if found is None or found.dtype.kind not in "fiu":
            axes.append(Axis(size, "" if word == "." else word, None, signal=signal))
            continue
        values = _centres(np.asarray(found[()], float).ravel(), size)
        if values is None:
            raise CorruptFile(f"the axis {word} has {found.size} values for {size} points", path=path, field=where)
        axes.append(Axis(size, word, h5.text(found.attrs.get("units")), values=values, signal=signal))
    laid = layout(axes, top_first=False)
    coords = dict(laid.coords)
    dim_of = {stored: (dim, flip) for dim, stored, flip in zip(laid.dims, laid.order, laid.flip, strict=True)}
    for word, *spans in extra:
        _extra(group, word, [int(s) for s in spans], data.shape, dim_of, coords)
    factor, base = data_units(h5.text(data.attrs.get("units")))
    title = h5.text(data.attrs.get("long_name")) or name
    parts = [part for part in where.split("/") if part]
    label = title if title != "data" else parts[-1] if parts else name
    result = []
    errors = _dataset(group, f"{name}_errors") or (_dataset(group, "errors") if name == "data" else None)
    for source, said in ((data, label), (errors, f"{label} errors")):
        if source is None or source.shape != data.shape or source.dtype.kind not in "fiu" + "c" * (source is data):
            continue
        gain, start = (
            _number(group, f"{name}_{word}", default) for word, default in (("scaling_factor", 1.0), ("offset", 0.0))
        )
        start = start if source is data else 0.0  # the physical number is stored * gain + start
        raw = hdf5_array.array(source, order=laid.order, flip=laid.flip, factor=factor * gain, constant=factor * start)
        made = hdf5_array.variable(laid.dims, raw, said, base, source.chunks)
        result.append(Signal(said, made, coords, h5.attributes(source), group=where))
    return result


def _extra(
    group: Any,
    word: str,
    spans: list[int],
    shape: tuple[int, ...],
    dim_of: Mapping[int, tuple[str, bool]],
    coords: dict[str, xr.Variable],
) -> None:
    """A further coordinate, over one dim or several."""
    found = _dataset(group, word)
    name = identifier(word)
    if name in coords or found is None or found.dtype.kind not in "fiu" or found.size > 1 << 24:
        return
    if found.shape != tuple(shape[s] for s in spans):
        return
    values = np.asarray(found[()], float)
    values = values[tuple(slice(None, None, -1 if dim_of[s][1] else 1) for s in spans)]
    factor, base = axis_units(h5.text(found.attrs.get("units")))
    coords[name] = coordinate(
        [dim_of[s][0] for s in spans], values * factor, name=name, units=base or "1", long_name=word
    )
