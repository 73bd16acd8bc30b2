"""`translate`: any supported file, streamed into a new HDF5 store with its whole header and provenance.

May import provenance, errors and io; opens the instrument's file for reading only.
"""

from __future__ import annotations

import hashlib
import os
import threading
import uuid
from collections.abc import Mapping
from typing import Any

import xarray as xr

from xpycro import provenance
from xpycro.errors import StoreError
from xpycro.io import encoding, formats, store
from xpycro.io.store import fill, publish
from xpycro.io.store.part import LAYOUT_VERSION, STORE, Part, plan

__all__ = ["file_sha256", "translate"]

_PIECE = 1 << 22


def file_sha256(path: str | os.PathLike[str], stop: threading.Event | None = None) -> str:
    """SHA-256 of a file; of a folder, that of the sorted lines "relative name, size, SHA-256" of its files.

    Parameters
    ----------
    path : path-like
    stop : threading.Event, optional
        Once it is set, what has been read by then is enough: nobody wants the answer any more.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp(), "abc")
    >>> _ = path.write_bytes(b"abc")
    >>> file_sha256(path)[:16]
    'ba7816bf8f01cfea'
    """
    text = os.fspath(path)
    found = hashlib.sha256()
    if os.path.isdir(text):
        files = sorted(os.path.join(folder, name) for folder, _, names in os.walk(text) for name in names)
        for one in files:
            relative = os.path.relpath(one, text).replace(os.sep, "/")
            found.update(f"{relative}\0{os.path.getsize(one)}\0{file_sha256(one, stop)}\n".encode())
        return found.hexdigest()
    with open(text, "rb", buffering=0) as handle:
        while not (stop and stop.is_set()) and (piece := handle.read(_PIECE)):
            found.update(piece)
    return found.hexdigest()


def translate(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    chunking: str | Mapping[str, int] = "balanced",
    compression: str | None = "auto",
    progress: bool | None = None,
    group: str | None = None,
    format: str | None = None,
    **reader_options: Any,
) -> xr.Dataset:
    """Stream an instrument's file into a new HDF5 store and open it.

    Parameters
    ----------
    source : path-like
        A file, or a folder where the format takes one; opened for reading only.
    target : path-like
        The new ``.h5`` file.
    overwrite : bool, optional
        Replace the target if it exists; the old file stays until the new one is complete.
    chunking : {"balanced", "image", "spectrum"} or mapping of str to int, optional
        What the file should be quick at. ``balanced``: about 0.5 MB a chunk, a map costs about the bytes of 16 spectra.
    compression : {"auto", "none", "gzip", "zstd", "blosc"}, optional
        ``auto``: shuffle and gzip for counts, nothing for floats, whose noise does not compress.
    progress : bool, optional
        Show a bar on stderr; None does so where stderr is a terminal.
    group : str, optional
        Translate this grid only, of a file with several; it becomes the root.
    format : str, optional
        Name of the format where content and suffix do not tell.
    **reader_options
        What the format declares.

    Returns
    -------
    Dataset
        The measurement of the new file as `open` gives it; of several grids, the first.

    Raises
    ------
    StoreError
        If the target exists, its folder does not, or something cannot be stored unchanged.
    TranslationError
        If the source cannot be read; nothing is left behind.

    Notes
    -----
    *Laziness*: reads everything once, in bounded memory; the returned Dataset is lazy. Each variable gets a checksum,
    the source its SHA-256, in the file.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> text = b"Gwyddion Simple Field 1.0\\nXRes = 1\\nYRes = 1\\n\\0\\0\\0\\0"
    >>> _ = (folder / "one.gsf").write_bytes(text + bytes(4))
    >>> translate(folder / "one.gsf", folder / "one.h5").sizes["x"]
    1
    """
    origin, final = os.path.abspath(os.fspath(source)), os.path.abspath(os.fspath(target))
    if not os.path.exists(origin):
        raise FileNotFoundError(f"no file or folder {os.fspath(source)!r}")
    _check_target(origin, final, overwrite)
    found = formats.identify(origin, format)
    groups = formats.read_groups(origin, found, reader_options)
    if group is not None:
        wanted = group.strip("/")
        if wanted not in groups:
            raise ValueError(f"group={group!r}: {os.path.basename(origin)} has {sorted(groups)}")
        groups = {"": groups[wanted]}
    plans = {}
    facts = {"chunking": chunking, "compression": compression, "format": format, "group": group, **reader_options}
    marked = {}
    for name, ds in groups.items():
        opened = provenance.opened(ds, path=origin, format=found.name, group=name or group, options=reader_options)
        marked[name] = provenance.record(opened, "translate", {"source": opened, "target": final, **facts})
        encoded = encoding.encode(store.without_copies(marked[name]))
        plans[name] = (encoded, plan(name, encoded, ds, chunking=_fitting(chunking, ds), compression=compression))
    _check_chunking(chunking, groups)
    attrs = {STORE: LAYOUT_VERSION, publish.IDENTITY: uuid.uuid4().hex}
    with publish.staged(final) as path:
        part = Part(path, plans)
        with fill.beside(file_sha256, origin) as sha256:
            fill.write_all(part, attrs, progress=progress, label=f"translating {os.path.basename(origin)}")
            source_facts = {"sha256": sha256(), "translator": str(found.function)}
        part.finish(
            {
                name: {provenance.HISTORY: provenance.sourced(ds, source_facts).attrs[provenance.HISTORY]}
                for name, ds in marked.items()
            }
        )
        publish.new_file(path, final, overwrite=overwrite)
    return store.open_group(final, next(iter(groups)))


def _check_target(origin: str, final: str, overwrite: bool) -> None:
    folder = os.path.dirname(final)
    if not os.path.isdir(folder):
        raise StoreError(f"the folder {folder} does not exist: make it first")
    if os.path.exists(final) and os.path.exists(origin) and os.path.samefile(origin, final):
        raise StoreError(f"source and target are the same file, {final}: choose another target")
    publish.refuse_existing(final, overwrite)
    if not os.access(folder, os.W_OK):
        raise StoreError(f"the folder {folder} may not be written to: choose another")


def _fitting(chunking: str | Mapping[str, int], ds: xr.Dataset) -> str | dict[str, int]:
    """Of a dict of dims those that this grid has."""
    return chunking if isinstance(chunking, str) else {dim: n for dim, n in chunking.items() if dim in ds.dims}


def _check_chunking(chunking: str | Mapping[str, int], groups: Mapping[str, xr.Dataset]) -> None:
    if isinstance(chunking, str):
        return
    known = sorted({str(dim) for ds in groups.values() for dim in ds.dims})
    unknown = [dim for dim in chunking if dim not in known]
    if unknown:
        raise ValueError(f"chunking names {unknown}; the dims are {known}")
