"""Reading the store: Datasets whose arrays open the file for each read, so that no handle is held and none goes stale.

May import numpy, xarray, errors and io's encoding; h5py and h5netcdf inside functions.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr
from xarray.backends import BackendArray
from xarray.core import indexing

from xpycro.errors import CorruptFile, Incomplete, NotThisFormat, StoreError
from xpycro.io import encoding
from xpycro.io.encoding.attributes import INTERPRETED
from xpycro.io.encoding.decoding import decode_kind, finish
from xpycro.io.encoding.values import plain_dtype, unpack
from xpycro.io.store.part import CHECKSUM, COMPLETE, LAYOUT_VERSION, STORE

__all__ = [
    "Described",
    "Facts",
    "StoredArray",
    "check_safe",
    "dataset_of",
    "facts_of",
    "group_names",
    "is_store",
    "open_checked",
    "open_hdf5",
    "open_store",
    "read_group",
]

_MAX_DEPTH = 64
_RATIO = 1000  # declared over stored bytes, beyond which a file larger than _HUGE is no honest file
_HUGE = 4 << 30
_HARD_LINK = 0  # h5py.h5l.TYPE_HARD
_SMALL_COORD = 1 << 16  # coords up to here are read while the file is open


@dataclass(frozen=True)
class StoredField:
    """One dataset in a file and how its values are decoded.

    Attributes
    ----------
    path, key : str
    kind : str
        For `encoding.decode_block`.
    shape : tuple of int
    dtype : numpy dtype
        Decoded.
    checksum : str
        As it was when the file was opened: what tells whether the file still holds the same values.
    """

    path: str
    key: str
    kind: str
    shape: tuple[int, ...]
    dtype: np.dtype
    checksum: str

    def read(self, key: Any = ()) -> np.ndarray:
        """The values that an index names."""
        import h5py

        with h5py.File(self.path, "r") as hdf5:
            dataset = hdf5.get(self.key)
            if not isinstance(dataset, h5py.Dataset) or dataset.attrs.get(CHECKSUM, "") != self.checksum:
                raise StoreError(
                    f"{self.path} was replaced since it was opened and {self.key} is another: open it again"
                )
            if dataset.file.filename != hdf5.filename or dataset.external or dataset.is_virtual:
                raise CorruptFile("the values lie in another file", path=self.path, field=self.key)
            return encoding.decode_block(self.kind, np.asarray(dataset[key]))


class StoredArray(BackendArray):
    """A stored variable as xarray indexes it lazily; several fields make a record.

    Its dask token is the checksum of its content: it stays the same when the file is moved or appended to.
    """

    part_by_part = True  # HDF5 takes a plane out of one chunk after the other

    def __init__(self, fields: Mapping[str, StoredField], dtype: np.dtype) -> None:
        self.fields = dict(fields)
        self.shape = next(iter(self.fields.values())).shape
        self.dtype = dtype

    def _read(self, key: Any) -> np.ndarray:
        if "" in self.fields:
            return self.fields[""].read(key)
        parts = {name: one.read(key) for name, one in self.fields.items()}
        result = np.empty(next(iter(parts.values())).shape, self.dtype)
        for name, values in parts.items():
            result[name] = values
        return result

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        support = indexing.IndexingSupport.OUTER_1VECTOR
        return indexing.explicit_indexing_adapter(key, self.shape, support, self._read)

    def __dask_tokenize__(self) -> tuple[Any, ...]:
        facts = [(name, f.checksum or f.path, f.key, f.kind) for name, f in self.fields.items()]
        return ("xpycro.StoredArray", tuple(facts), self.shape, str(self.dtype))


class Lazily(indexing.LazilyIndexedArray):
    """A lazily indexed stored array that dask knows by its content and index, not by where the file lies."""

    __slots__ = ()

    def __dask_tokenize__(self) -> tuple[Any, ...]:
        return ("xpycro.Lazily", self.array.__dask_tokenize__(), repr(self.key))


# ---------------------------------------------------------------------------------------------------------- safety


def check_safe(hdf5: Any, path: str) -> None:
    """Refuse an HDF5 file that reaches outside itself, never ends, or declares far more than it holds.

    Parameters
    ----------
    hdf5 : h5py.File
    path : str

    Raises
    ------
    CorruptFile
        For external links and storage, virtual datasets, link cycles, groups nested deeper than 64, and arrays that
        declare more than 4 GiB and 1000 times what is stored.
    """
    import os

    from h5py import h5g

    seen: set[Any] = set()
    pending: list[tuple[Any, int, str]] = [(hdf5["/"].id, 0, "/")]
    declared = 0
    while pending:  # h5py's lower floor: this is paid on every opening
        group, depth, where = pending.pop()
        if depth > _MAX_DEPTH:
            raise CorruptFile(f"groups are nested deeper than {_MAX_DEPTH}", path=path, field=where)
        identity = h5g.get_objinfo(group).objno
        if identity in seen:
            raise CorruptFile("a group is linked twice, perhaps to itself", path=path, field=where)
        seen.add(identity)
        for number in range(group.get_num_objs()):
            name = group.get_objname_by_idx(number)
            field = f"{where}{name.decode('utf-8', 'replace')}"
            if group.links.get_info(name).type != _HARD_LINK:
                raise CorruptFile("a link leads elsewhere", path=path, field=field)
            kind = group.get_objtype_by_idx(number)
            if kind == h5g.GROUP:
                pending.append((h5g.open(group, name), depth + 1, f"{field}/"))
            elif kind == h5g.DATASET:
                declared += _declared_bytes(group, name, path, field)
    if declared > _HUGE and declared > _RATIO * os.path.getsize(path):
        raise CorruptFile(f"it declares {declared:,} bytes of values, far more than it holds", path=path)


def _declared_bytes(group: Any, name: bytes, path: str, field: str) -> int:
    from h5py import h5d

    dataset = h5d.open(group, name)
    made = dataset.get_create_plist()
    if made.get_layout() == h5d.VIRTUAL or (made.get_layout() == h5d.CONTIGUOUS and made.get_external_count()):
        raise CorruptFile("the values lie in another file", path=path, field=field)
    return dataset.get_space().get_simple_extent_npoints() * dataset.get_type().get_size()


def is_store(path: str) -> bool:
    """Whether a file is an xpycro store (False also where it is no HDF5 file at all)."""
    import h5py

    try:
        with h5py.File(path, "r") as hdf5:
            return STORE in hdf5.attrs
    except OSError:
        return False


@contextlib.contextmanager
def open_hdf5(path: str) -> Iterator[Any]:
    """The h5py file of a store.

    Raises
    ------
    NotThisFormat
        If it is no HDF5 file, or not one of ours.
    CorruptFile
        If HDF5 cannot read it.
    """
    import h5py

    try:
        hdf5 = h5py.File(path, "r")
    except FileNotFoundError:
        raise
    except OSError as error:
        kind = CorruptFile if _has_signature(path) else NotThisFormat
        raise kind(f"HDF5 cannot open it ({error})", path=path) from error
    with hdf5:
        version = hdf5.attrs.get(STORE)
        if version is None:
            raise NotThisFormat(f"the root has no attribute {STORE!r}: not an xpycro store", path=path)
        if int(version) > LAYOUT_VERSION:
            raise StoreError(
                f"{path} has store layout {int(version)} and this xpycro reads up to {LAYOUT_VERSION}: update it"
            )
        yield hdf5


@contextlib.contextmanager
def open_checked(path: str) -> Iterator[Any]:
    """The h5py file of a store, looked over for safety.

    Raises
    ------
    NotThisFormat, CorruptFile
        As `open_hdf5`; also where the file is unsafe.
    """
    with open_hdf5(path) as hdf5:
        check_safe(hdf5, path)
        yield hdf5


@contextlib.contextmanager
def open_store(path: str) -> Iterator[Any]:
    """The h5netcdf file of a store, looked over as by `open_checked`."""
    import h5netcdf

    with open_checked(path) as hdf5:
        with h5netcdf.File(hdf5, "r") as netcdf:
            yield netcdf


def _has_signature(path: str) -> bool:
    with open(path, "rb") as handle:
        return handle.read(8) == b"\x89HDF\r\n\x1a\n"


# ---------------------------------------------------------------------------------------------------------- groups


def group_names(netcdf: Any) -> list[str]:
    """Paths of all complete Datasets in a store, the root's as ``""``."""
    found = []

    import h5py

    def visit(group: Any, path: str) -> None:
        if COMPLETE in group.attrs:
            found.append(path)
        for name in group:
            if group.get(name, getclass=True) is h5py.Group:
                visit(group[name], f"{path}/{name}".lstrip("/"))

    visit(_plain(netcdf), "")
    return found


def _plain(group: Any) -> Any:
    """The h5py group of an h5netcdf one."""
    return getattr(group, "_h5group", group)


def _attributes(h5: Any) -> dict[str, Any]:
    return {name: h5.attrs[name] for name in h5.attrs if name not in INTERPRETED}


@dataclass(frozen=True)
class Described:
    """What the file says of one variable.

    Attributes
    ----------
    key, place : str
        Its name in the group, and its path in the file.
    dims : list of str
    shape : list of int
    dtype : str
        Stored; empty for text.
    chunks : list of int or None
    attrs : dict
    values : ndarray or None
        Stored values, where opening needs them: labels, small coordinates, what only the whole can be decoded from.
    """

    key: str
    place: str
    dims: list[str]
    shape: list[int]
    dtype: str
    chunks: list[int] | None
    attrs: dict[str, Any]
    values: np.ndarray | None

    @property
    def mark(self) -> dict[str, Any]:
        """How the variable was encoded."""
        return json.loads(self.attrs.get(encoding.MARK, "{}"))


@dataclass(frozen=True)
class Facts:
    """What the file says of one Dataset: all that is needed to open it.

    Attributes
    ----------
    attrs : dict
        Of the group.
    variables : list of Described
    """

    attrs: dict[str, Any]
    variables: list[Described]

    def plain(self) -> list[Any]:
        """As nested lists and dicts."""
        return [self.attrs, [list(vars(one).values()) for one in self.variables]]

    @classmethod
    def from_plain(cls, content: Any) -> Facts:
        """The inverse of `plain`."""
        attrs, variables = content
        return cls(dict(attrs), [Described(*one) for one in variables])


def facts_of(h5group: Any, path: str) -> Facts:
    """What a group of an open file says of its Dataset.

    Raises
    ------
    Incomplete
        If the group lacks its commit mark.
    CorruptFile
        If a variable is missing.
    """
    if COMPLETE not in h5group.attrs:
        raise Incomplete(f"{path}: {h5group.name.strip('/') or 'the root'} was never finished")
    stored = _attributes(h5group)
    mark = json.loads(stored.get(encoding.MARK, "{}"))
    coords = set(mark.get("coords", ()))
    found = []
    # the variables that the store wrote; others that somebody added to the file later are not its own
    for key, dims in mark.get("variables", {}).items():
        h5 = h5group.get(key)
        other = h5group.get(f"_nc4_non_coord_{key}")
        h5 = h5 if other is None else other  # shares its name with a dim that it does not lie along
        if h5 is None:
            raise CorruptFile("a variable is missing", path=path, field=f"{h5group.name}/{key}")
        text = h5.dtype.kind == "O"
        one = Described(
            key,
            h5.name,
            list(dims),
            list(h5.shape),
            "" if text else h5.dtype.str,
            list(h5.chunks) if h5.chunks else None,
            _attributes(h5),
            None,
        )
        if _read_at_once(h5, one.mark, key in coords):
            one = replace(one, values=np.asarray(h5[()]))
        found.append(one)
    return Facts(stored, found)


def _read_at_once(h5: Any, mark: Mapping[str, Any], is_coord: bool) -> bool:
    whole = mark.get("kind") in ("bytes", "category") or "zone" in mark or mark.get("dtype") == "T"
    labels = h5.ndim == 1 and h5.is_scale  # xarray would read it on its own to make an index
    small = is_coord and h5.size * h5.dtype.itemsize <= _SMALL_COORD
    return "record" not in mark and (whole or labels or small or 0 in h5.shape)


def read_group(netcdf: Any, path: str, name: str = "") -> xr.Dataset:
    """One Dataset of a store, lazily indexed; only the coordinates that label dims are read.

    Parameters
    ----------
    netcdf : h5netcdf.File or h5py.File
    path : str
        Of the file, which each read opens again.
    name : str
        Of the group.

    Raises
    ------
    Incomplete
        If the group lacks its commit mark.
    """
    root = _plain(netcdf)
    return dataset_of(facts_of(root[name] if name else root, path), path)


def dataset_of(facts: Facts, path: str) -> xr.Dataset:
    """The Dataset that a file's facts describe, lazily indexed; opens nothing."""
    mark = json.loads(facts.attrs.get(encoding.MARK, "{}"))
    renamed = {key: unpack(value) for key, value in mark.get("dims", {}).items()}
    variables: dict[Hashable, xr.Variable] = {}
    records: dict[Hashable, tuple[tuple[Hashable, ...], dict[str, StoredField], list[Any], dict[str, Any]]] = {}
    coords: set[Hashable] = set()
    for one in facts.variables:
        own = one.mark
        given = unpack(own["name"]) if "name" in own else one.key
        named = tuple(renamed.get(dim, dim) for dim in one.dims)
        kind, dtype = decode_kind(own, np.dtype(one.dtype or object))
        checksum = str(one.attrs.get(CHECKSUM, ""))
        field = StoredField(path, one.place, kind, tuple(one.shape), dtype, checksum)
        clean = encoding.decode_attrs(one.attrs)
        if kind.startswith(("datetime64", "timedelta64")):
            clean.pop("units", None)
        if "record" in own:
            given = given if "name" in own else one.key.removesuffix(f".{own['field']}")
            found = records.setdefault(given, (named, {}, own["record"], clean))
            found[1][own["field"]] = field
        elif one.values is not None:
            values = encoding.decode_block(kind, one.values)
            variables[given] = finish(xr.Variable(named, values, clean), own)
        else:
            hints: dict[str, Any] = {"source": path}
            if one.chunks:
                hints["preferred_chunks"] = dict(zip(named, one.chunks, strict=True))
            lazy = Lazily(StoredArray({"": field}, dtype))
            variables[given] = xr.Variable(named, lazy, clean, hints, fastpath=True)
        if one.key in mark.get("coords", ()):
            coords.add(given)
    for base, (named, fields, described, clean) in records.items():
        dtype = np.dtype([(str(n), plain_dtype(t)) for n, t in described])
        variables[base] = xr.Variable(named, Lazily(StoredArray(fields, dtype)), clean, fastpath=True)
    coords |= {name for name, variable in variables.items() if name in variable.dims}
    ds = xr.Dataset(
        {name: v for name, v in variables.items() if name not in coords},
        coords={name: v for name, v in variables.items() if name in coords},
        attrs=encoding.decode_attrs(facts.attrs),
    )
    for packed, levels in mark.get("multi_index", ()):
        parts: Any = [unpack(one) for one in levels]
        ds = ds.set_index({unpack(packed): parts})
    return ds
