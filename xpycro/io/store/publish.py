"""Publishing what was staged, by one rename: a new file, a small file replaced whole, or a sidecar beside a large one.

May import numpy, xarray, errors and its neighbours in this folder; h5py and h5netcdf inside functions.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

from xpycro.errors import StoreError
from xpycro.io.store import disk, index, journal, locks
from xpycro.io.store.part import STORE, Part

__all__ = [
    "IDENTITY",
    "PARENT",
    "RESULTS",
    "SMALL_BYTES",
    "add_at_once",
    "add_result",
    "copy_group",
    "copy_result",
    "copy_tree",
    "identity_of",
    "into_sidecar",
    "new_file",
    "result_names",
    "sidecar_folder",
    "sidecars",
    "staged",
]

RESULTS = "results"
IDENTITY = "xpycro_identity"  # root attribute: which measurement this is
PARENT = "xpycro_parent"  # root attribute of a sidecar: the identity it belongs to
SMALL_BYTES = 32_000_000  # up to here the whole file is replaced; beyond, results go into sidecars
_COPY_BYTES = 1 << 26


def sidecar_folder(path: str) -> str:
    """Where the results of a large file lie."""
    return f"{path}.results"


def identity_of(path: str) -> str:
    """Which measurement a store holds."""
    with disk.open_hdf5(path, "r") as hdf5:
        return str(hdf5.attrs.get(IDENTITY, ""))


def sidecars(path: str, only: str | None = None) -> dict[str, str]:
    """Committed sidecars of a store (or only that one): path by result name."""
    folder = sidecar_folder(path)
    if only is not None:
        one = os.path.join(folder, f"{only}.h5")
        return {only: one} if os.path.exists(one) else {}
    try:
        names = os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    return {n.removesuffix(".h5"): os.path.join(folder, n) for n in sorted(names) if n.endswith(".h5") and n[0] != "."}


@contextlib.contextmanager
def staged(path: str) -> Iterator[str]:
    """A part file's path; whatever is still there at the end, for any reason, is removed."""
    part = journal.temporary(path)
    try:
        with disk.explained(path):
            yield part
    finally:
        disk.remove(part)


def result_names(path: str) -> list[str]:
    """Names of all results of a store, in the file and beside it, finished or not."""
    with disk.open_hdf5(path, "r") as hdf5:
        inside = list(hdf5[RESULTS]) if RESULTS in hdf5 else []
    return [*inside, *(name for name in sidecars(path) if name not in inside)]


def free_name(taken: list[str], name: str) -> str:
    """`name`, or `name_001` and so on where it is taken."""
    if name not in taken:
        return name
    return next(c for c in (f"{name}_{n:03d}" for n in range(1, len(taken) + 2)) if c not in taken)


def check_name(name: str) -> str:
    """A result's name as a group and a file may be called.

    Raises
    ------
    ValueError
        If it holds anything but letters, digits, ``_ - .`` or begins with a dot.
    """
    if not re.fullmatch(r"[\w-][\w.-]{0,99}", name):
        raise ValueError(f"name={name!r}: a result's name is made of letters, digits, '_', '-' and '.', at most 100")
    return name


# ----------------------------------------------------------------------------------------------------------- copying


def copy_group(source: Any, target: Any) -> None:
    """Copy a Dataset from one h5netcdf group into another: structure anew, chunks as they are stored.

    HDF5's own copy does not carry the references that say which dims a variable has.
    """
    target.dimensions = {name: dim.size for name, dim in source.dimensions.items()}
    for name, value in source._h5group.attrs.items():
        if not name.startswith("_N"):
            target._h5group.attrs[name] = value
    for name, variable in source.variables.items():
        _copy_variable(name, variable, target)


def copy_result(old: Any, new: Any, name: str) -> None:
    """Copy a part file's or sidecar's Dataset into a store as a result."""
    group = new.create_group(f"{RESULTS}/{name}")
    copy_group(old, group)
    for mark in (STORE, PARENT):
        group._h5group.attrs.pop(mark, None)


def copy_tree(source: Any, target: Any, *, skip: str) -> None:
    """Copy a whole h5netcdf file but one group at its root."""
    copy_group(source, target)
    for name in source.groups:
        if name != skip:
            copy_tree(source[name], target.create_group(name), skip="")


_INTERNAL = frozenset(("CLASS", "NAME", "DIMENSION_LIST", "REFERENCE_LIST", "_Netcdf4Dimid", "_Netcdf4Coordinates"))


def _copy_variable(name: str, variable: Any, target: Any) -> None:
    import h5py

    old = variable._h5ds
    text = h5py.check_string_dtype(old.dtype)
    kind = h5py.string_dtype() if text is not None and text.length is None else old.dtype
    how: dict[str, Any] = {}
    if old.chunks and 0 not in old.shape:
        how = {"chunks": old.chunks, "dcpl": old.id.get_create_plist()}
    if not old.shape and name in target._all_dimensions:
        # a label such as direction="forward" below a root that has this dim: h5netcdf would take it to lie along it
        fresh = target._h5group.create_dataset(f"_nc4_non_coord_{name}", old.shape, kind)
    else:
        fresh = target.create_variable(name, variable.dimensions, dtype=kind, **how)._h5ds
    for key, value in old.attrs.items():
        if key not in _INTERNAL:
            fresh.attrs[key] = value
    if 0 in old.shape:
        return
    if old.chunks:
        starts: list[Any] = []
        old.id.chunk_iter(lambda chunk: starts.append(chunk.chunk_offset))
        for start in starts:
            mask, raw = old.id.read_direct_chunk(start)
            fresh.id.write_direct_chunk(start, raw, mask)
    elif old.size * old.dtype.itemsize <= _COPY_BYTES or not old.shape:
        fresh[...] = old[...]
    else:
        step = max(1, _COPY_BYTES // max(1, old[:1].nbytes))
        for first in range(0, old.shape[0], step):
            fresh[first : first + step] = old[first : first + step]


# -------------------------------------------------------------------------------------------------------- publishing


def new_file(part: str, path: str, *, overwrite: bool) -> None:
    """Let a finished part file become the store at `path`.

    Raises
    ------
    StoreError
        If the file exists (also if it appeared meanwhile) and `overwrite` is False.
    """
    with locks.locked(path):
        journal.sweep(path)
        refuse_existing(path, overwrite)
        disk.rename(part, path)


class AlreadyThere(StoreError, FileExistsError):
    """The target of a new store exists."""


def refuse_existing(path: str, overwrite: bool) -> None:
    """Raise where `path` exists and must not be replaced."""
    if os.path.exists(path) and not overwrite:
        raise AlreadyThere(f"{path} exists: pass overwrite=True to replace it, or another name")
    if os.path.isdir(path):
        raise AlreadyThere(f"{path} is a folder: pass the name of a file")


def add_result(part: str, path: str, name: str) -> str:
    """Let a finished part file (its Dataset at the root) become a result of the store at `path`.

    Returns
    -------
    str
        The name it got: `name`, numbered where it was taken.
    """
    with locks.locked(path):
        journal.sweep(path)
        final = free_name(result_names(path), name)
        if os.path.getsize(path) + os.path.getsize(part) <= SMALL_BYTES and _replaceable(path):
            _fold_in(part, path, final)
        else:
            _beside(part, path, final)
    return final


def add_at_once(part: Part, path: str, name: str, attrs: Mapping[str, Any]) -> str | None:
    """Add a small result that is in memory to a small store without a part file of its own.

    Returns
    -------
    str or None
        The name it got; None where it goes the long way (a large file, or one that cannot be replaced).
    """
    import h5netcdf

    with locks.locked(path):
        if os.path.getsize(path) + part.groups[""][0].nbytes > SMALL_BYTES or not _replaceable(path):
            return None
        journal.sweep(path)
        final = free_name(result_names(path), name)
        with staged(path) as fresh:
            disk.copy(path, fresh)
            with disk.open_hdf5(fresh, "r+") as target, h5netcdf.File(target, "r+") as netcdf:
                part.write_into(netcdf, f"{RESULTS}/{final}", attrs)
            disk.flush(fresh)
            disk.rename(fresh, path)
    return final


def _replaceable(path: str) -> bool:
    """Whether the file may be replaced: it and its folder are writable, and the system renames over open files."""
    return os.name != "nt" and os.access(path, os.W_OK) and os.access(os.path.dirname(os.path.abspath(path)), os.W_OK)


def _fold_in(part: str, path: str, name: str) -> None:
    import h5netcdf

    with staged(path) as fresh:
        disk.copy(path, fresh)
        with (
            disk.open_hdf5(part, "r") as source,
            disk.open_hdf5(fresh, "r+") as target,
            h5netcdf.File(source, "r") as old,
            h5netcdf.File(target, "r+") as new,
        ):
            copy_result(old, new, name)
        disk.flush(fresh)
        disk.rename(fresh, path)


def _beside(part: str, path: str, name: str) -> None:
    with disk.open_hdf5(path, "r") as main, disk.open_hdf5(part, "r") as sidecar:
        mine = main.attrs.get(IDENTITY, "")
        marked = sidecar.attrs.get(PARENT) == mine
    if not marked:  # the measurement was made, or replaced, while the result was being computed
        with disk.open_hdf5(part, "r+") as sidecar:
            sidecar.attrs[PARENT] = mine
        disk.flush(part)
    into_sidecar(part, path, name)
    index.note(sidecar_folder(path), sidecars(path))


def into_sidecar(part: str, path: str, name: str) -> None:
    """Let a finished file become the sidecar of that name."""
    folder = sidecar_folder(path)
    if not os.path.isdir(folder):
        os.makedirs(folder, exist_ok=True)
        disk.flush_folder(os.path.dirname(folder))
    disk.rename(part, os.path.join(folder, f"{name}.h5"))
