"""`open` and `open_tree`: from a path to a labelled Dataset or DataTree, lazily.

May import xarray, the engine's chunking, provenance, errors and the table of formats; knows no format itself.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any, Literal

import xarray as xr

from xpycro import provenance
from xpycro.engine import chunked
from xpycro.errors import SeveralGroups
from xpycro.io import formats, store

__all__ = ["load", "load_tree", "open", "open_tree"]

Chunks = Literal["auto"] | Mapping[str, int] | None


def checked_path(path: str | os.PathLike[str], format: str | None = None) -> str:
    """The path as text, which must be a file, or a folder that is one measurement (or that `format` takes).

    Raises
    ------
    FileNotFoundError
        If it does not exist; the message has near names of the folder.
    IsADirectoryError
        If it is a folder that no format takes.
    """
    text = os.fspath(path)
    table = formats.known()
    asked = format in table and table[str(format)].folder
    if os.path.isdir(text) and not asked and not formats.by_content(text, b"", formats.known().values()):
        raise IsADirectoryError(
            f"{text!r} is a folder, and none that is one measurement: xp.open_many reads the files of a folder, in the "
            "shell xpycro translate FOLDER/* -o OUT"
        )
    if not os.path.exists(text):
        raise FileNotFoundError(f"no file {text!r}{_near_names(text)}")
    return text


def _near_names(path: str) -> str:
    import difflib

    folder, name = os.path.split(path)
    if not os.path.isdir(folder or "."):
        return f": the folder {folder!r} does not exist"
    names = sorted(os.listdir(folder or "."))[:10_000]
    lower = {candidate.lower(): candidate for candidate in names}
    close = [lower[match] for match in difflib.get_close_matches(name.lower(), list(lower), n=3)]
    return f"; near it: {', '.join(close)}" if close else ""


# ----------------------------------------------------------------------------------------------------------- load


def _choose(path: str, groups: Mapping[str, xr.Dataset], group: str | None) -> str:
    """The group to open: the one asked for, else the root, else the only one."""
    if group is not None:
        wanted = group.strip("/")
        if wanted not in groups:
            raise ValueError(f"group={group!r}: {os.path.basename(path)} has {sorted(groups)}")
        return wanted
    if "" in groups:
        return ""
    if len(groups) == 1:
        return next(iter(groups))
    lines = []
    for name, ds in groups.items():
        sizes = ", ".join(f"{dim}: {size}" for dim, size in ds.sizes.items())
        lines.append(f"  xp.open({os.path.basename(path)!r}, group={name!r})  ({sizes})  {', '.join(map(str, ds))}")
    raise SeveralGroups(
        f"{os.path.basename(path)} holds {len(groups)} grids: open one of them, or all with xp.open_tree\n"
        + "\n".join(lines)
    )


def load(
    path: str | os.PathLike[str],
    *,
    group: str | None = None,
    format: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> xr.Dataset:
    """One grid of a file, lazily indexed, its source recorded; what `open` and the xarray engine share."""
    text = checked_path(path, format)
    found = formats.identify(text, format)
    wanted = (group or "").strip("/")
    if found.name == "xpycro" and (store.has_measurement(text) if not wanted else wanted in store.result_groups(text)):
        groups = {wanted: store.read_one(text, wanted)}  # a store may hold hundreds of results: they are not opened
    else:
        groups = formats.read_groups(text, found, options or {})
    name = _choose(text, groups, group)
    return provenance.opened(groups[name], path=text, format=found.name, group=name or None, options=options)


def load_tree(
    path: str | os.PathLike[str],
    *,
    format: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> dict[str, xr.Dataset]:
    """Every grid of a file by group name, lazily indexed, its source recorded."""
    text = checked_path(path, format)
    found = formats.identify(text, format)
    groups = formats.read_groups(text, found, options or {})
    return {
        name: provenance.opened(ds, path=text, format=found.name, group=name or None, options=options)
        for name, ds in groups.items()
    }


def _chunked(ds: xr.Dataset, chunks: Chunks) -> xr.Dataset:
    if chunks is None:
        return ds
    if chunks == "auto":
        return provenance.stamp(chunked.lazily(ds))
    if not isinstance(chunks, Mapping):
        raise TypeError(f"chunks={chunks!r}: expected 'auto', None (lazily indexed, no dask) or a dict of dim: size")
    unknown = [dim for dim in chunks if dim not in ds.dims]
    if unknown:
        raise ValueError(f"chunks names {unknown}; the dims are {list(ds.dims)}")
    return provenance.stamp(chunked.lazily(ds, chunks).chunk(chunks))


# ----------------------------------------------------------------------------------------------------------- open


def open(
    path: str | os.PathLike[str],
    *,
    group: str | None = None,
    format: str | None = None,
    chunks: Chunks = "auto",
    **reader_options: Any,
) -> xr.Dataset:
    """Open any supported file as a labelled Dataset; nothing but its header is read.

    Parameters
    ----------
    path : path-like
        A file, or a folder where the format takes one.
    group : str, optional
        Which grid, of a file that holds several.
    format : str, optional
        Name of the format (see `formats`), where content and suffix do not tell.
    chunks : "auto", mapping or None, optional
        ``"auto"``: dask arrays in few large blocks (about 100 MB). None: lazily indexed arrays without dask. A mapping
        of dim to block size.
    **reader_options
        What the format declares (``xp.formats()`` lists it).

    Returns
    -------
    Dataset
        Channels of one grid as variables, units and labels on everything, the whole header in the attribute
        ``original_metadata``. Of a file that xpycro wrote: the raw measurement.

    Raises
    ------
    FileNotFoundError, IsADirectoryError
        With near names of the folder.
    NotThisFormat
        If no format recognises the file.
    CorruptFile
        If it is truncated or contradicts itself; with offset and field.
    SeveralGroups
        If it holds several grids and none was named; the message has the call for each.
    TypeError
        If a reader option is not declared by the format.

    Notes
    -----
    *Laziness*: lazy; block formats read nothing but their header, the column ``lazy`` of `formats` says what others
    cost.

    Examples
    --------
    >>> import pathlib, tempfile, numpy as np
    >>> path = pathlib.Path(tempfile.mkdtemp(), "field.gsf")
    >>> header = b"Gwyddion Simple Field 1.0\\nXRes = 3\\nYRes = 2\\nXReal = 3e-9\\nYReal = 2e-9\\nXYUnits = m\\n"
    >>> header += b"\\0" * (4 - len(header) % 4)
    >>> _ = path.write_bytes(header + np.arange(6, dtype="<f4").tobytes())
    >>> ds = open(path, chunks=None)
    >>> ds.data.sel(y=0, x=0).item()  # Gwyddion stores the top row first, the bottom row is y = 0
    3.0
    """
    return _chunked(load(path, group=group, format=format, options=reader_options), chunks)


def aligned(nodes: Mapping[str, xr.Dataset]) -> dict[str, xr.Dataset]:
    """Datasets by path, ready for one tree: dims that differ from those of a node above get a name of their own.

    Parameters
    ----------
    nodes : mapping of str to Dataset
        By absolute path.
    """
    ready = {}
    for path, ds in nodes.items():
        parts = path.strip("/").split("/")
        above = ["/" + "/".join(parts[:depth]) for depth in range(len(parts))] if path != "/" else []
        parents = [nodes[one] for one in above if one in nodes]
        renamed = {dim: f"{dim}_{parts[-1]}" for dim in ds.dims if any(_differs(ds, one, dim) for one in parents)}
        if renamed:
            ds = ds.rename(renamed).assign_attrs(
                renamed_dims=json.dumps({new: str(old) for old, new in renamed.items()})
            )
        ready[path] = ds
    return ready


def _differs(ds: xr.Dataset, parent: xr.Dataset, dim: Any) -> bool:
    if dim not in parent.dims:
        return False
    if ds.sizes[dim] != parent.sizes[dim]:
        return True
    mine, other = ds.indexes.get(dim), parent.indexes.get(dim)
    return mine is not None and other is not None and not mine.equals(other)


def open_tree(
    path: str | os.PathLike[str], *, format: str | None = None, chunks: Chunks = "auto", **reader_options: Any
) -> xr.DataTree:
    """Open everything in a file: the grid at the root, or one group for each of several; results below ``results``.

    Parameters
    ----------
    path, format, chunks, **reader_options
        As for `open`; a mapping in `chunks` applies to the dims that a group has.

    Returns
    -------
    DataTree
        A result that covers a part of the measurement (a crop, a fit's window) cannot share a dim with it in one tree:
        such dims are called ``<dim>_<result>`` there, and the attribute ``renamed_dims`` of the node says so.
        `open_result` gives them by their own names.

    Raises
    ------
    FileNotFoundError, IsADirectoryError, NotThisFormat, CorruptFile, TypeError
        As `open`.

    Notes
    -----
    *Laziness*: lazy, as `open`.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp(), "one.gsf")
    >>> _ = path.write_bytes(b"Gwyddion Simple Field 1.0\\nXRes = 1\\nYRes = 1\\n\\0\\0\\0\\0" + bytes(4))
    >>> open_tree(path).to_dataset().sizes["x"]
    1
    """
    groups = load_tree(path, format=format, options=reader_options)
    nodes = {}
    for name, ds in groups.items():
        fitting = {d: n for d, n in chunks.items() if d in ds.dims} if isinstance(chunks, Mapping) else chunks
        nodes["/" + name] = _chunked(ds, fitting)
    return xr.DataTree.from_dict(aligned(nodes))
