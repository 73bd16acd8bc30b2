"""What the HDF5 dialects share: which dialect a file speaks, attributes as Python values, groups as metadata.

May import numpy, errors and io below, h5py inside functions.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from xpycro.io.rawarray import stamp

__all__ = ["CLAIMED", "MAGIC", "attributes", "dialect", "metadata", "speaks", "text", "tidy"]

MAGIC = b"\x89HDF\r\n\x1a\n"
# dialects with a translator: generic HDF5 leaves these alone (gxsm, jpk: read with the scanning probe formats)
CLAIMED = frozenset({"xpycro", "usid", "nsid", "hyperspy", "emd", "nexus", "delmic", "dectris", "gxsm", "velox", "edax",
                     "jpk", "tofwerk"})  # fmt: skip
_LOOK = 300  # objects that are looked at to tell the dialect
_VALUES = 4096  # values of a dataset that is small enough to be metadata
_ITEMS = 50_000


def tidy(value: Any) -> Any:
    """An attribute as plain Python: text decoded, arrays of one as scalars, references left out (None)."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, np.ndarray):
        if value.dtype.kind == "V":
            return None if value.dtype.names is None else str(value)[:1000]
        if value.dtype.kind == "O":
            parts = [tidy(item) for item in value.ravel()[:_VALUES].tolist()]
            if parts and all(part is None for part in parts):  # references
                return None
            return parts[0] if value.ndim == 0 else parts
        if value.dtype.kind == "S" and value.ndim == 0:
            return value.item().decode("utf-8", "replace")
        if value.dtype.kind == "S":
            return [item.decode("utf-8", "replace") for item in value.ravel()[:_VALUES].tolist()]
        return value.ravel()[0].item() if value.size == 1 else value.tolist() if value.size <= _VALUES else None
    if isinstance(value, np.generic):
        return None if isinstance(value, np.void) else tidy(value.item())
    if isinstance(value, str | int | float | complex | bool):
        return value
    return None


def text(value: Any, default: str = "") -> str:
    """An attribute as text; the first of several."""
    plain = tidy(value)
    if isinstance(plain, list):
        plain = plain[0] if plain else None
    return default if plain is None else str(plain).strip("\0").strip()


def attributes(found: Any) -> dict[str, Any]:
    """The attributes of a group or dataset; what cannot be read is named with None."""
    values: dict[str, Any] = {}
    for name in found.attrs:
        if name in ("DIMENSION_LIST", "REFERENCE_LIST", "CLASS", "NAME"):
            continue
        try:
            value = tidy(found.attrs[name])
        except (OSError, TypeError, ValueError):  # a type of attribute that h5py does not know
            value = None
        values[name] = value
    return {name: value for name, value in values.items() if value is not None}


def metadata(group: Any, skip: frozenset[str] = frozenset(), budget: list[int] | None = None, depth: int = 0) -> Any:
    """Attributes and small datasets of a group and those below it, nested; `skip` names children left out."""
    import h5py

    budget = [_ITEMS] if budget is None else budget
    result: dict[str, Any] = attributes(group)
    for name in group:
        budget[0] -= 1
        if name in skip or budget[0] < 0 or depth > 40:
            continue
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            continue
        child = group.get(name)
        if isinstance(child, h5py.Group):
            inner = metadata(child, skip, budget, depth + 1)
            if inner:
                result[name] = inner
        elif isinstance(child, h5py.Dataset):
            value = small(child)
            extra = attributes(child)
            if value is not None:
                result[name] = {"value": value, **extra} if extra else value
    return result


def small(dataset: Any) -> Any:
    """The value of a dataset that is small enough to be metadata, else None."""
    if dataset.shape is None or dataset.size == 0 or dataset.size > 64 or dataset.dtype.kind == "V":
        return None
    if dataset.is_virtual or dataset.external:
        return None
    return tidy(np.asarray(dataset[()]))


# -------------------------------------------------------------------------------------------------------- dialect


def speaks(*dialects: str) -> Callable[[bytes, str], bool]:
    """A sniffer for files that speak one of these dialects."""

    def sniff(head: bytes, path: str) -> bool:
        return head.startswith(MAGIC) and dialect(path) in dialects

    return sniff


def dialect(path: str) -> str:
    """Which dialect an HDF5 file speaks, by its structure; ``hdf5`` where none is known, also of a damaged file."""
    try:
        return _dialect(path, stamp(path))
    except OSError:
        return "hdf5"


@functools.lru_cache(maxsize=64)
def _dialect(path: str, _: tuple[int, int]) -> str:
    import h5py

    try:
        with h5py.File(path, "r") as file:
            return _judge(file)
    except Exception:  # a sniffer must not raise: the translator says what is wrong
        return "hdf5"


def _judge(file: Any) -> str:
    import h5py

    root = file.attrs
    names = set(list(file)[:_LOOK])
    if "xpycro_store" in root:
        return "xpycro"
    if text(root.get("file_format")).lower().startswith("hyperspy"):
        return "hyperspy"
    if {"FloatField", "dimx"} <= names or {"H", "dimx", "dimy"} <= names:
        return "gxsm"
    if "topostats_file_version" in names:
        return "topostats"
    if any(name.startswith("Measurement_") and _is_jpk(file, name) for name in names):
        return "jpk"
    if "TofDAQ Version" in root and _has(file, "FullSpectra"):
        return "tofwerk"
    if {"Data", "Version"} <= names and names & {"Experiment", "Presentation", "Features", "Operations", "Info"}:
        return "velox"
    if any(_is_edax(file, name) for name in names):
        return "edax"
    if any(name.startswith("Acquisition") for name in names) and _has(file, "Acquisition0/ImageData"):
        return "delmic"
    found = ""
    for _, item in _shallow(file):
        marks = item.attrs
        if "emd_group_type" in marks:
            return "emd"
        if isinstance(item, h5py.Dataset):
            if "Position_Indices" in marks and "Spectroscopic_Indices" in marks:
                return "usid"
            if "main_data_name" in marks:
                return "nsid"
        elif text(marks.get("NX_class")) in ("NXentry", "NXdata"):
            found = "nexus"
    if found and _has(file, "entry/instrument/detector/detectorSpecific") and _has(file, "entry/data"):
        return "dectris"
    return found or "hdf5"


def _is_edax(file: Any, name: str) -> bool:
    """Whether the project at the root was written by EDAX software."""
    return _has(file, name) and text(file[name].attrs.get("Company")).upper().startswith("EDAX")


def _is_jpk(file: Any, name: str) -> bool:
    """Whether a measurement lies on the grid of a JPK instrument (USID has measurements of this name too)."""
    return _has(file, name) and "position-pattern.grid.ilength" in file[name].attrs


def _has(file: Any, name: str) -> bool:
    import h5py

    here = file
    for part in name.split("/"):
        if part not in here or not isinstance(here.get(part, getlink=True), h5py.HardLink):
            return False
        here = here[part]
        if not isinstance(here, h5py.Group):
            return False
    return True


def _shallow(file: Any) -> Iterator[tuple[str, Any]]:
    """Objects level by level, hard links only, a few hundred of them."""
    import h5py

    level, looked = [("", file)], 0
    for _ in range(6):
        below = []
        for name, group in level:
            for number, child in enumerate(group):
                if number >= 40 or looked >= _LOOK:
                    break
                if not isinstance(group.get(child, getlink=True), h5py.HardLink):
                    continue
                item = group.get(child)
                looked += 1
                if not isinstance(item, h5py.Group | h5py.Dataset):
                    continue
                yield f"{name}/{child}", item
                if isinstance(item, h5py.Group):
                    below.append((f"{name}/{child}", item))
        level = below


def group_names(names: Mapping[str, Any] | list[str]) -> list[str]:
    """The shortest endings of paths that still tell them apart, fit for group names."""
    from xpycro.schema import identifiers

    parts = [[p for p in name.split("/") if p] or ["data"] for name in names]
    for depth in range(1, max(map(len, parts), default=1) + 1):
        endings = ["_".join(p[-depth:]) for p in parts]
        if len(set(endings)) == len(endings):
            return identifiers(endings)
    return identifiers(["_".join(p) for p in parts])
