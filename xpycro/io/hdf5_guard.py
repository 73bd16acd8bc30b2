"""The pre-flight of HDF5 files from elsewhere: what is in them, and whether it is safe to touch.

HDF5 follows links into other files, reads external storage such as ``/etc/passwd`` and believes any declared shape;
this walks a file by the class of its links first. May import the errors, h5py inside functions; knows no dialect.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from xpycro.errors import CorruptFile, MissingExtra, UnsupportedVariant, XpycroError

__all__ = ["MAX_DEPTH", "Contents", "opened", "preflight", "probe", "reading"]

MAX_DEPTH = 64
MAX_OBJECTS = 500_000
_RATIO = 1000  # declared over stored bytes ...
_HUGE = 4 << 30  # ... beyond which no file larger than this is honest
_CHUNK = 256 << 20  # one value of a compressed chunk costs the whole chunk
# HDF5's own filters (deflate, shuffle, fletcher32, szip, nbit, scaleoffset) and lzf, which h5py brings
_FILTERS = frozenset({1, 2, 3, 4, 5, 6, 32000})


@dataclass(frozen=True)
class Contents:
    """What the pre-flight found, each object once and under the first path that leads to it.

    Attributes
    ----------
    groups, datasets : tuple of str
        Absolute paths, parents first.
    missing : dict of str to str
        Datasets (and links) whose data lie in a file that is not there, and that file.
    """

    groups: tuple[str, ...]
    datasets: tuple[str, ...]
    missing: dict[str, str] = field(default_factory=dict)


@contextlib.contextmanager
def reading(path: str) -> Iterator[None]:
    """Turn what h5py raises on a damaged file into `CorruptFile`."""
    try:
        yield
    except (XpycroError, FileNotFoundError, PermissionError):
        raise
    except (
        OSError, KeyError, RuntimeError, ValueError, TypeError, IndexError, MemoryError, SystemError, OverflowError,
        AttributeError, ZeroDivisionError, AssertionError,
    ) as error:  # fmt: skip
        # AttributeError, TypeError: an object is of another class than its place says
        raise CorruptFile(f"HDF5 cannot read it ({type(error).__name__}: {str(error)[:200]})", path=path) from error


@contextlib.contextmanager
def opened(
    path: str, *, trust: bool = False, isolate: bool = False, whole: bool = False
) -> Iterator[tuple[Any, Contents]]:
    """An HDF5 file that passed the pre-flight, read-only, and what is in it.

    Parameters
    ----------
    path : str
    trust : bool, optional
        Do not refuse: links and external storage are followed wherever they lead.
    isolate : bool, optional
        Walk the file in a child process with limits first, so that a crash of the HDF5 library cannot reach this one.
    whole : bool, optional
        Refuse a file that is longer than it says, or whose datasets lie on one another or on the description of another
        object: for formats that instruments write in one go.

    Raises
    ------
    UnsupportedVariant
        If the file leads outside its folder, is nested too deep, has a cycle, or declares far more than it holds.
    CorruptFile
        If HDF5 cannot read it.
    """
    import h5py

    if isolate:
        probe(path)
    with reading(path):
        with h5py.File(path, "r") as file:
            contents = preflight(file, path, trust=trust)
            if whole:
                _check_extents(file, path, contents)
            yield file, contents


def preflight(file: Any, path: str, *, trust: bool = False) -> Contents:
    """Walk an open file by the class of its links.

    Parameters
    ----------
    file : h5py.File
    path : str
    trust : bool, optional

    Returns
    -------
    Contents

    Raises
    ------
    UnsupportedVariant
        As `opened`.
    """
    walk = _Walk(os.path.realpath(os.path.dirname(os.path.abspath(path))), path, trust)
    walk.group(file["/"], "", 0, ())
    return Contents(tuple(walk.groups), tuple(walk.datasets), walk.missing)


class _Walk:
    def __init__(self, folder: str, path: str, trust: bool) -> None:
        self.folder, self.path, self.trust = folder, path, trust
        self.groups: list[str] = []
        self.datasets: list[str] = []
        self.missing: dict[str, str] = {}
        self.seen: set[tuple[int, int]] = set()

    def refuse(self, reason: str, where: str) -> None:
        if not self.trust:
            raise UnsupportedVariant(
                f"{reason}; pass trust=True if you know where this file comes from", path=self.path, field=where or "/"
            )

    def outside(self, name: str, holder: str) -> str:
        """Where a file named in the file `holder` lies, which must be the folder of this one, or below it."""
        if name == ".":
            return os.path.abspath(holder)
        target = os.path.realpath(os.path.join(os.path.dirname(os.path.abspath(holder)), name))
        if os.path.commonpath([self.folder, target]) != self.folder:
            self.refuse(f"leads to {name!r}, outside its folder", "")
        return target

    def group(self, group: Any, name: str, depth: int, above: tuple[tuple[int, int], ...]) -> None:
        import h5py

        key = _address(group)
        if key in above:
            return self.refuse("has a cycle of links", name)
        if key in self.seen:
            return None
        if depth > MAX_DEPTH:
            return self.refuse(f"is nested deeper than {MAX_DEPTH} groups", name[:80])
        self.seen.add(key)
        self.groups.append(name or "/")
        for child in group:
            here = f"{name}/{child}"
            if len(self.groups) + len(self.datasets) > MAX_OBJECTS:
                raise UnsupportedVariant(f"holds more than {MAX_OBJECTS} objects", path=self.path)
            link = group.get(child, getlink=True)
            if isinstance(link, h5py.SoftLink):
                continue  # leads to what is met under its own name, or to nothing
            if isinstance(link, h5py.ExternalLink):
                if not os.path.exists(self.outside(link.filename, group.file.filename)):
                    self.missing[here] = link.filename
                    continue
                found = group.get(child)
                if found is None:
                    self.missing[here] = f"{link.filename}: {link.path}"
                    continue
                self.outside(found.file.filename, group.file.filename)  # a link may lead to another
            else:
                found = group[child]  # an object that cannot be read is no empty place
            if isinstance(found, h5py.Group):
                self.group(found, here, depth + 1, (*above, key))
            elif isinstance(found, h5py.Dataset):
                self.dataset(found, here)
        return None

    def dataset(self, found: Any, name: str) -> None:
        key = _address(found)
        if key in self.seen:
            return
        self.seen.add(key)
        self.datasets.append(name)
        create = found.id.get_create_plist()
        for number in range(create.get_external_count()):
            stored = create.get_external(number)[0]
            target = stored.decode("utf-8", "replace") if isinstance(stored, bytes) else str(stored)
            if not os.path.exists(self.outside(target, found.file.filename)):
                self.missing[name] = target
        if found.is_virtual:
            self.virtual(found, name)
            return
        shape = found.shape
        if shape is None:
            return
        itemsize = max(1, found.id.get_type().get_size())
        declared = math.prod(shape) * itemsize
        held = max(1, found.id.get_storage_size())
        if declared > _HUGE and declared > _RATIO * held:
            self.refuse(f"declares {declared} bytes and holds {held}", name)
        if found.chunks and math.prod(found.chunks) * itemsize > max(_CHUNK, _RATIO * held):
            self.refuse(f"has chunks of {math.prod(found.chunks) * itemsize} bytes and holds {held}", name)

    def virtual(self, found: Any, name: str) -> None:
        """The sources of a virtual dataset; HDF5 hands out fill values where one is missing and says nothing."""
        for source in found.virtual_sources():
            target = self.outside(source.file_name, found.file.filename)
            if not os.path.exists(target):
                self.missing[name] = source.file_name


def _address(found: Any) -> tuple[int, int]:
    import h5py

    info = h5py.h5o.get_info(found.id)
    return int(info.fileno), int(info.addr)


def _check_extents(file: Any, path: str, contents: Contents) -> None:
    """Raise where bytes were added to a file, or an address in it leads into something else."""
    said, size = _stated_size(path), os.path.getsize(path)
    if said is not None and said != size:
        raise CorruptFile(f"says that it has {said} bytes and has {size}", path=path, field="end of file", offset=said)
    extents = [(_address(file[name])[1], 1, name) for name in (*contents.groups, *contents.datasets)]
    for name in contents.datasets:
        start = file[name].id.get_offset()  # None where the dataset is chunked or empty
        if start is not None and name not in contents.missing:
            extents.append((int(start), int(file[name].id.get_storage_size()), name))
    for (start, length, first), (after, _, second) in itertools.pairwise(sorted(extents)):
        if start + length > after:
            raise CorruptFile(f"{second} lies within {first}", path=path, field=second, offset=after)


def _stated_size(path: str) -> int | None:
    """The end of file that the superblock states; None where it lies elsewhere or is of another size."""
    with open(path, "rb") as stream:
        head = stream.read(64)
    version = head[8] if head.startswith(b"\x89HDF\r\n\x1a\n") and len(head) == 64 else 255
    place = {0: 40, 1: 44, 2: 28, 3: 28}.get(version)
    if place is None or head[13 if version < 2 else 9] != 8:
        return None
    return int.from_bytes(head[place : place + 8], "little")


def check_filters(dataset: Any, path: str) -> None:
    """Raise unless the compression of a dataset can be undone here.

    Raises
    ------
    MissingExtra
        If a plug-in is needed that is not installed; hdf5plugin is imported where it is.
    """
    import importlib
    import importlib.util

    import h5py

    create = dataset.id.get_create_plist()
    codes = [create.get_filter(number)[0] for number in range(create.get_nfilters())]
    unknown = [code for code in codes if code not in _FILTERS and not h5py.h5z.filter_avail(code)]
    if unknown and importlib.util.find_spec("hdf5plugin") is not None:
        importlib.import_module("hdf5plugin")
        unknown = [code for code in unknown if not h5py.h5z.filter_avail(code)]
    if unknown:
        raise MissingExtra("hdf5plugin", "formats", f"reading {dataset.name} of {os.path.basename(path)}")


def probe(path: str, *, seconds: float = 20.0) -> None:
    """Walk a file in a child process with limits of time and memory.

    Raises
    ------
    CorruptFile
        If the child crashed or ran out of time or memory.
    """
    import subprocess
    import sys

    code = (
        "import sys, resource\n"
        "resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))\n"
        "from xpycro.io import hdf5_guard as g\n"
        "from xpycro.errors import XpycroError\n"
        "try:\n"
        "    with g.opened(sys.argv[1], trust=True) as (file, contents):\n"
        "        for name in contents.datasets:\n"
        "            if name not in contents.missing and file[name].size:\n"
        "                file[name][(0,) * file[name].ndim]\n"
        "except XpycroError:\n"
        "    pass\n"  # the caller meets the same error with its message
    )
    try:
        done = subprocess.run(
            [sys.executable, "-c", code, os.path.abspath(path)], capture_output=True, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired:
        raise CorruptFile(f"HDF5 did not come through it within {seconds:g} s", path=path) from None
    if done.returncode < 0:
        raise CorruptFile(f"the HDF5 library crashed on it (signal {-done.returncode})", path=path)
