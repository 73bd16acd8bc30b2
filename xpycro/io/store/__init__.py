"""The HDF5 store: raw measurements and results, staged beside the file and published by one rename.

Reading: `read`, `composed`, `open_result`; writing: `save` (and `xpycro.io.translate.translate`). May import the
engine, provenance, schema, errors and io; what it writes is plain netCDF-style HDF5.
"""

from __future__ import annotations

import os
import re
import uuid
import warnings
from collections.abc import Mapping
from typing import Any

import xarray as xr

from xpycro import provenance
from xpycro.engine import chunked
from xpycro.errors import StoreError, XpycroError
from xpycro.io import encoding
from xpycro.io.store import fill, journal, publish, reader
from xpycro.io.store.costs import LayoutTable, layout_of
from xpycro.io.store.identity import REUSE, identity
from xpycro.io.store.index import Index
from xpycro.io.store.maintain import Verified, pack, unpack, verify
from xpycro.io.store.part import LAYOUT_VERSION, STORE, Part, plan
from xpycro.schema import result_kind

__all__ = [
    "LayoutTable",
    "Verified",
    "composed",
    "default_name",
    "has_measurement",
    "is_measurement",
    "layout_of",
    "open_group",
    "open_result",
    "pack",
    "place_of",
    "read",
    "read_one",
    "result_groups",
    "results",
    "save",
    "unpack",
    "verify",
    "without_copies",
]


# ----------------------------------------------------------------------------------------------------------- reading


def read(path: str) -> dict[str, xr.Dataset]:
    """The translator of the store: its raw measurement(s) and finished results, lazily indexed.

    Parameters
    ----------
    path : str

    Returns
    -------
    dict of str to Dataset
        The raw measurement under ``""`` (several grids under their names), results under ``results/<name>``, whether
        they lie in the file or in sidecars beside it.

    Raises
    ------
    NotThisFormat
        If the file is not an xpycro store.

    Notes
    -----
    *Laziness*: lazy; the coordinates that label dims are read.
    """
    return composed(path)


def composed(path: str | os.PathLike[str]) -> dict[str, xr.Dataset]:
    """Main file and committed sidecars as one tree of Datasets, by group path; unfinished ones are left out.

    A sidecar that is broken, or belongs to another measurement, is a warning and does not keep the rest from opening.
    """
    main = os.path.abspath(os.fspath(path))
    with reader.open_checked(main) as hdf5:
        groups = {name: reader.read_group(hdf5, main, name) for name in reader.group_names(hdf5)}
        mine = hdf5.attrs.get(publish.IDENTITY)
    known = Index(publish.sidecar_folder(main))
    for name, sidecar in publish.sidecars(main).items():
        try:
            facts = known.facts(name, sidecar)
            if facts is None:
                with reader.open_checked(sidecar) as hdf5:
                    facts = reader.facts_of(hdf5, sidecar)
            if facts.attrs.get(publish.PARENT) != mine:
                raise StoreError("it belongs to another measurement of that name")
            groups.setdefault(f"{publish.RESULTS}/{name}", reader.dataset_of(facts, sidecar))
        except (XpycroError, OSError) as error:
            warnings.warn(f"result {name!r} of {os.path.basename(main)} is left out: {error}", stacklevel=3)
    return groups


def has_measurement(path: str | os.PathLike[str]) -> bool:
    """Whether a store holds a raw measurement at its root."""
    if not os.path.exists(path):
        return False
    with reader.open_checked(os.path.abspath(os.fspath(path))) as hdf5:
        return reader.COMPLETE in hdf5.attrs and bool(reader.read_group(hdf5, str(path)).variables)


def results(path: str | os.PathLike[str]) -> list[str]:
    """Names of the finished results of a store."""
    return list(_places(os.path.abspath(os.fspath(path))))


def result_groups(path: str | os.PathLike[str]) -> list[str]:
    """Groups of the finished results of a store."""
    return [f"{publish.RESULTS}/{name}" for name in results(path)]


def open_group(path: str | os.PathLike[str], group: str = "") -> xr.Dataset:
    """One Dataset of a store as `open` gives it: chunked lazily, with its source and location."""
    ds = provenance.opened(read_one(path, group), path=path, format="xpycro", group=group or None)
    return provenance.stamp(chunked.lazily(ds))


def read_one(path: str | os.PathLike[str], group: str = "") -> xr.Dataset:
    """One Dataset of a store, lazily indexed, without a look at the others."""
    where = place_of(path, group)
    with reader.open_checked(where[0]) as hdf5:
        return reader.read_group(hdf5, *where)


def place_of(path: str | os.PathLike[str], group: str) -> tuple[str, str]:
    """The file, main or sidecar, and the group in it where a Dataset of a store lies."""
    main = os.path.abspath(os.fspath(path))
    if not group.startswith(f"{publish.RESULTS}/"):
        return main, group
    name = group.removeprefix(f"{publish.RESULTS}/")
    places = _places(main, name)
    if name not in places:
        raise StoreError(f"{os.fspath(path)} has no finished result {name!r}; it has {list(_places(main))}")
    return places[name][:2]


def open_result(path: str | os.PathLike[str], name: str) -> xr.Dataset:
    """A saved result.

    Parameters
    ----------
    path : path-like
        The store.
    name : str
        Such as ``"fit_sho"``.

    Returns
    -------
    Dataset
        As it was saved, with its history.

    Raises
    ------
    StoreError
        If there is no finished result of that name; the message lists those there are.

    Notes
    -----
    *Laziness*: lazy.

    Examples
    --------
    >>> import tempfile, numpy as np, xarray as xr
    >>> path = tempfile.mkdtemp() + "/grid.h5"
    >>> ds = save(xr.Dataset({"didv": (("y", "x", "bias"), np.ones((2, 3, 4)))}), path)
    >>> mean = save(ds.mean("bias").assign_attrs(pycro_result="mean"), path, "mean_didv")
    >>> open_result(path, "mean_didv").didv.dims
    ('y', 'x')
    """
    return open_group(path, f"{publish.RESULTS}/{name}")


# ------------------------------------------------------------------------------------------------------------ saving


def is_measurement(ds: xr.Dataset) -> bool:
    """Whether a Dataset is raw: no result, and made by no recorded operation on other data."""
    steps = provenance.history(ds).steps
    return result_kind(ds) is None and not any(s.get("inputs") for s in steps if s.get("operation") != "translate")


def default_name(ds: xr.Dataset) -> str:
    """Operation and model: ``fit_sho``, ``svd``, ``kmeans``; else the kind of result."""
    steps = provenance.history(ds).steps
    if not steps:
        return str(result_kind(ds) or next(iter(ds.data_vars), "result"))
    operation = str(steps[-1].get("operation", "result")).rpartition(".")[2]
    model = steps[-1].get("parameters", {}).get("model")
    if isinstance(model, Mapping):
        model = next(
            (model[k] for k in ("name", "$model", "$function", "model") if isinstance(model.get(k), str)), None
        )
    text = f"{operation}_{model}" if isinstance(model, str) else operation
    return re.sub(r"[^\w-]+", "_", text)[:80].strip("_").lower() or "result"


def _as_dataset(obj: xr.Dataset | xr.DataArray) -> xr.Dataset:
    if isinstance(obj, xr.Dataset):
        ds = obj
    elif isinstance(obj, xr.DataArray):
        kept = {k: v for k, v in obj.attrs.items() if k in (provenance.HISTORY, "pycro_result", "original_metadata")}
        # an array may be called as one of its coords: as a variable it needs a name of its own
        name = obj.name if obj.name is not None and obj.name not in obj.coords else "data"
        ds = obj.to_dataset(name=name).assign_attrs(kept)
    else:
        raise TypeError(f"save takes a Dataset or DataArray, got {type(obj).__name__}; of a DataTree save each node")
    return without_copies(ds)


def without_copies(ds: xr.Dataset) -> xr.Dataset:
    """A Dataset with its history once, on itself; opening hands it to the variables again."""
    history = ds.attrs.get(provenance.HISTORY)
    if history is None:
        history = next(
            (da.attrs[provenance.HISTORY] for da in ds.data_vars.values() if provenance.HISTORY in da.attrs), None
        )
    copy = ds.copy(deep=False)
    for variable in copy.variables.values():
        variable.attrs = {k: v for k, v in variable.attrs.items() if k != provenance.HISTORY}
    return copy.assign_attrs({provenance.HISTORY: history}) if history else copy


def save(
    obj: xr.Dataset | xr.DataArray,
    path: str | os.PathLike[str],
    name: str | None = None,
    *,
    reuse: bool = False,
    overwrite: bool = False,
    chunking: str | Mapping[str, int] = "balanced",
    compression: str | None = "auto",
    progress: bool | None = None,
) -> xr.Dataset:
    """Compute once, block by block, store crash-safe, and give back the stored object, lazily opened.

    Parameters
    ----------
    obj : Dataset or DataArray
        A result is added to the store at `path`; a measurement (simulated, say) makes a new store there.
    path : path-like
        May be the file that `obj` is being computed from.
    name : str, optional
        Of the result; default is operation and model (``fit_sho``, ``svd``), a number added where taken. Nothing is
        ever overwritten.
    reuse : bool, optional
        If the file holds a result of the same operations, parameters, versions and input, give that one and compute
        nothing.
    overwrite : bool, optional
        Let a measurement replace the file at `path`.
    chunking : {"balanced", "image", "spectrum"} or mapping of str to int, optional
        What the file should be quick at; see `xpycro.io.layout.chunk_shape`.
    compression : {"auto", "none", "gzip", "zstd", "blosc"}, optional
        ``auto`` compresses counts and labels, not floats.
    progress : bool, optional
        Show a bar on stderr; None does so where stderr is a terminal.

    Returns
    -------
    Dataset
        The stored object, with its history and location. A long job that is interrupted, even killed, goes on where it
        stopped when the same call is made again (unless it compresses).

    Raises
    ------
    StoreError
        If something in it cannot be stored unchanged (all such things in one message, nothing written), the target
        exists, or writing failed; what was there before is untouched.
    Locked
        If another process keeps writing to the same store.

    Notes
    -----
    *Laziness*: computes `obj`, each block once, in bounded memory; the returned Dataset is lazy.

    Examples
    --------
    >>> import pathlib, tempfile, xarray as xr
    >>> path = pathlib.Path(tempfile.mkdtemp(), "sim.h5")
    >>> raw = save(xr.Dataset({"current": ("x", [1.0, 2.0], {"units": "A"})}), path)
    >>> save(raw.mean("x"), path, name="average").current.item()
    1.5
    """
    target = os.path.abspath(os.fspath(path))
    ds = _as_dataset(obj)
    exists = os.path.exists(target)
    root = name is None and is_measurement(ds)
    if name is not None:
        publish.check_name(name)
    if root:
        if exists and not overwrite:
            raise publish.AlreadyThere(
                f"{target} exists and this is a measurement: pass overwrite=True to replace it, another path, or name= "
                "to keep it there as a result"
            )
    elif exists and not reader.is_store(target):
        raise StoreError(
            f'{target} is not an xpycro store: make one with xp.translate("{os.path.basename(target)}", ...)'
        )
    if not os.path.isdir(os.path.dirname(target)):
        raise StoreError(f"the folder of {target} does not exist: make it first")
    same = identity(ds)
    if reuse and exists and not root:
        found = _find_identical(target, same, name)
        if found is not None:
            return open_result(target, found)
    encoded = encoding.encode(ds)
    slots = plan("", encoded, ds, chunking=chunking, compression=compression)
    attrs: dict[str, Any] = {STORE: LAYOUT_VERSION, REUSE: same}
    if root:
        attrs[publish.IDENTITY] = uuid.uuid4().hex
    elif exists:
        attrs[publish.PARENT] = publish.identity_of(target)
    if exists and not root:
        at_once = Part("", {"": (encoded, slots)})
        if at_once.immediate:
            done = publish.add_at_once(at_once, target, name or default_name(ds), {REUSE: same})
            if done is not None:
                return open_result(target, done)
    with journal.job(target, same) as (part_file, notes):
        part = Part(part_file, {"": (encoded, slots)})
        part.journal = notes if part.resumable else None
        fill.write_all(part, attrs, progress=progress, label=f"saving {os.path.basename(target)}")
        part.finish()
        if root:
            publish.new_file(part_file, target, overwrite=overwrite)
            return open_group(target)
        if not exists:
            _empty_store(target)
        final = publish.add_result(part_file, target, name or default_name(ds))
    return open_result(target, final)


def _find_identical(path: str, same: str, name: str | None) -> str | None:
    """The first finished result of that identity (and, where one is asked for, of that name)."""
    places = _places(path)
    found = [one for one, (_, _, reuse) in places.items() if reuse == same]
    wanted = [one for one in found if name is None or one == name or one.startswith(f"{name}_")]
    return wanted[0] if wanted else None


def _places(path: str, only: str | None = None) -> dict[str, tuple[str, str, str]]:
    """Where each finished result (or only that one) lies: (file, group, identity) by name. Reads a few attributes."""
    found = {}
    with reader.open_hdf5(path) as hdf5:
        mine = hdf5.attrs.get(publish.IDENTITY)
        inside = hdf5.get(publish.RESULTS, {})
        for name in inside if only is None else [one for one in (only,) if one in inside]:
            attrs = inside[name].attrs
            if reader.COMPLETE in attrs:
                found[name] = (path, f"{publish.RESULTS}/{name}", str(attrs.get(REUSE, "")))
    beside = publish.sidecars(path, only)
    known = Index(publish.sidecar_folder(path)) if len(beside) > 1 else None
    for name, sidecar in beside.items():
        try:
            facts = known.facts(name, sidecar) if known else None
            if facts is None:
                with reader.open_hdf5(sidecar) as hdf5:
                    attrs = {key: hdf5.attrs.get(key) for key in (publish.PARENT, reader.COMPLETE, REUSE)}
            else:
                attrs = facts.attrs
            if attrs.get(publish.PARENT) == mine and attrs.get(reader.COMPLETE) is not None:
                found.setdefault(name, (sidecar, "", str(attrs.get(REUSE) or "")))
        except (XpycroError, OSError):  # told of, as a warning, by whoever opens the tree
            continue
    return found


def _empty_store(path: str) -> None:
    """A store without a measurement, for a result whose data were never stored."""
    with publish.staged(path) as part_file:
        part = Part(part_file, {})
        part.create({STORE: LAYOUT_VERSION, publish.IDENTITY: uuid.uuid4().hex})
        part.finish()
        publish.new_file(part_file, path, overwrite=False)
