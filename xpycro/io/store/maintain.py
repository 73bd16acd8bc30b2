"""Looking after a store: checksums verified, sidecars folded in and out, what reading costs.

May import numpy, xarray, errors, engine and io; h5py and h5netcdf inside functions.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from xpycro.errors import Incomplete, StoreError
from xpycro.io import layout
from xpycro.io.store import disk, index, journal, locks, publish, reader
from xpycro.io.store.part import CHECKSUM, COMPLETE, LAYOUT_VERSION, STORE, combine, digest

__all__ = ["Verified", "pack", "unpack", "verify"]

_READ_BYTES = 1 << 26


@dataclass(frozen=True)
class Verified:
    """What `verify` found.

    Attributes
    ----------
    checked : dict of str to bool
        Whether the checksum of each variable holds, by group and name.
    bytes : int
        Read and checked.
    """

    checked: dict[str, bool]
    bytes: int

    def __repr__(self) -> str:
        return f"{len(self.checked)} variables, {self.bytes / 1e6:,.1f} MB: every checksum holds"


def _stored_checksum(dataset: Any) -> str:
    """The checksum of a dataset as it is on the disk now."""
    import h5py

    shape = dataset.shape
    text = h5py.check_string_dtype(dataset.dtype)
    is_text = text is not None and text.length is None
    if dataset.chunks is None or is_text or 0 in shape:
        return _whole_checksum(dataset, is_text)
    chunks = dataset.chunks
    counts = [math.ceil(n / c) for n, c in zip(shape, chunks, strict=True)]
    digests: dict[tuple[int, ...], bytes] = {}
    for region in layout.regions(shape, layout.write_block(shape, chunks, dataset.dtype.itemsize)):
        block = dataset[region]
        spans = [range(s.start // c, math.ceil(s.stop / c)) for s, c in zip(region, chunks, strict=True)]
        for offset in np.ndindex(*[len(s) for s in spans]):
            index = tuple(s[o] for s, o in zip(spans, offset, strict=True))
            where = tuple(
                slice(i * c - r.start, min((i + 1) * c, r.stop) - r.start)
                for i, c, r in zip(index, chunks, region, strict=True)
            )
            digests[index] = digest(np.ascontiguousarray(block[where]))
    return combine(dataset.dtype, shape, chunks, [digests[index] for index in np.ndindex(*counts)])


def _whole_checksum(dataset: Any, is_text: bool) -> str:
    values = np.asarray(dataset[()])
    dtype = np.dtype(object) if is_text else dataset.dtype
    if 0 in dataset.shape:
        return combine(dtype, dataset.shape, _declared_chunks(dataset), [])
    return combine(dtype, dataset.shape, dataset.shape, [digest(values)])


def _declared_chunks(dataset: Any) -> tuple[int, ...]:
    # an empty dataset was planned as one piece, whatever chunks HDF5 wants for a dim that may grow
    return tuple(dataset.shape)


def _datasets(group: Any) -> Iterator[tuple[str, Any]]:
    for name, variable in group.variables.items():
        yield name, variable._h5ds


def verify(path: str | os.PathLike[str]) -> Verified:
    """Read everything in a store and its sidecars and compare with the checksums made when it was written.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    Verified
        Which variables were checked and how many bytes were read.

    Raises
    ------
    Incomplete
        If a checksum does not hold or is missing, or a sidecar cannot be read; the message lists all such variables.

    Notes
    -----
    *Laziness*: reads every byte once, in bounded memory.

    Examples
    --------
    >>> import pathlib, tempfile, xarray as xr
    >>> from xpycro.io import store
    >>> path = pathlib.Path(tempfile.mkdtemp(), "sim.h5")
    >>> _ = store.save(xr.Dataset({"current": ("x", [1.0, 2.0])}), path)
    >>> verify(path)
    1 variables, 0.0 MB: every checksum holds
    """
    main = os.path.abspath(os.fspath(path))
    checked: dict[str, bool] = {}
    wrong: list[str] = []
    size = 0
    files = {"": main, **{f"{publish.RESULTS}/{n}": p for n, p in publish.sidecars(main).items()}}
    for prefix, file in files.items():
        try:
            with reader.open_store(file) as netcdf:
                for group in reader.group_names(netcdf):
                    for name, dataset in _datasets(netcdf[group] if group else netcdf):
                        label = "/".join(part for part in (prefix, group, name) if part)
                        checked[label] = _holds(dataset)
                        size += dataset.size * dataset.dtype.itemsize
        except OSError as error:
            if not prefix:
                raise
            wrong.append(f"{prefix}: {error}")
    wrong += [label for label, good in checked.items() if not good]
    if wrong:
        raise Incomplete(f"{main}: {len(wrong)} of {len(checked)} checksums do not hold: {', '.join(wrong)}")
    return Verified(checked, size)


def _holds(dataset: Any) -> bool:
    try:
        return bool(dataset.attrs.get(CHECKSUM) == _stored_checksum(dataset))
    except OSError:  # HDF5 cannot read a chunk
        return False


# ------------------------------------------------------------------------------------------------------------ pack


def pack(path: str | os.PathLike[str]) -> list[str]:
    """Fold the sidecars of a store into its file, so that there is one file to hand on.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    list of str
        Names of the results that lay beside the file and are now in it.

    Raises
    ------
    Locked, StoreError
        If another process writes to it, or the disk cannot hold a second copy meanwhile; nothing is lost.

    Notes
    -----
    *Laziness*: copies the file once; chunks are copied as they are stored.

    Examples
    --------
    >>> import tempfile, xarray as xr, xpycro as xp
    >>> path = tempfile.mkdtemp() + "/grid.h5"
    >>> ds = xp.save(xp.simulate.tunnelling_grid((3, 4), 21), path)
    >>> stored = xp.save(ds.didv.pycro.decompose.pca(2), path, "pca")
    >>> unpack(path)
    ['pca']
    >>> pack(path)
    ['pca']
    """
    import h5netcdf

    main = os.path.abspath(os.fspath(path))
    with locks.locked(main):
        journal.sweep(main)
        beside = _own_sidecars(main)
        if not beside:
            return []
        with publish.staged(main) as fresh:
            disk.copy(main, fresh)
            with disk.open_hdf5(fresh, "r+") as target, h5netcdf.File(target, "r+") as new:
                inside = set(target[publish.RESULTS]) if publish.RESULTS in target else set()
                for name in [n for n in beside if n not in inside]:
                    with disk.open_hdf5(beside[name], "r") as source, h5netcdf.File(source, "r") as old:
                        publish.copy_result(old, new, name)
            disk.flush(fresh)
            disk.rename(fresh, main)
        # only now that the file has them: killed in between, both hold the same
        for file in beside.values():
            disk.remove(file)
        folder = publish.sidecar_folder(main)
        disk.remove(index.index_path(folder))
        if not os.listdir(folder):
            os.rmdir(folder)
        return list(beside)


def _own_sidecars(main: str) -> dict[str, str]:
    with reader.open_store(main) as netcdf:
        mine = netcdf._h5group.attrs.get(publish.IDENTITY)
    found = {}
    for name, file in publish.sidecars(main).items():
        with reader.open_store(file) as netcdf:
            attrs = netcdf._h5group.attrs
            if attrs.get(publish.PARENT) != mine or COMPLETE not in attrs:
                raise StoreError(f"{file} belongs to another measurement or is incomplete: move it away first")
        found[name] = file
    return found


def unpack(path: str | os.PathLike[str]) -> list[str]:
    """Move the results out of a store's file into sidecars beside it, leaving the raw measurement.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    list of str
        Names of the results moved.

    Raises
    ------
    Locked, StoreError
        As `pack`.

    Notes
    -----
    *Laziness*: copies the file once.

    Examples
    --------
    >>> import tempfile, xarray as xr, xpycro as xp
    >>> path = tempfile.mkdtemp() + "/grid.h5"
    >>> ds = xp.save(xp.simulate.tunnelling_grid((3, 4), 21), path)
    >>> stored = xp.save(ds.didv.pycro.decompose.pca(2), path, "pca")
    >>> unpack(path), unpack(path)
    (['pca'], [])
    """
    import h5netcdf

    main = os.path.abspath(os.fspath(path))
    with locks.locked(main):
        journal.sweep(main)
        with reader.open_store(main) as netcdf:
            groups = reader.group_names(netcdf)
            mine = netcdf._h5group.attrs.get(publish.IDENTITY, "")
            prefix = f"{publish.RESULTS}/"
            names = [group.removeprefix(prefix) for group in groups if group.startswith(prefix)]
            if not names:
                return []
            taken = publish.sidecars(main)
            for name in [n for n in names if n not in taken]:
                with publish.staged(main) as part:
                    _extract(netcdf, name, part, mine)
                    publish.into_sidecar(part, main, name)
            index.note(publish.sidecar_folder(main), publish.sidecars(main))
            with publish.staged(main) as fresh:
                with disk.open_hdf5(fresh, "w") as target, h5netcdf.File(target, "a") as new:
                    publish.copy_tree(netcdf, new, skip=publish.RESULTS)
                disk.flush(fresh)
                disk.rename(fresh, main)
        return names


def _extract(netcdf: Any, name: str, part: str, mine: str) -> None:
    import h5netcdf

    with disk.open_hdf5(part, "w") as target, h5netcdf.File(target, "a") as new:
        publish.copy_group(netcdf[f"{publish.RESULTS}/{name}"], new)
        target.attrs[STORE] = np.int64(LAYOUT_VERSION)
        target.attrs[publish.PARENT] = mine
    disk.flush(part)
