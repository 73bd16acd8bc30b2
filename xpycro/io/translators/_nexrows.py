"""What a NeXus entry recorded at each point of its scan: frames, spectra, monitors, motors.

Facilities agree on little: this goes by classes, by what has as many rows as the scan has points, and by names last.
May import numpy and io below, h5py inside functions.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from xpycro.io.hdf5_guard import Contents
from xpycro.io.translators import _h5tools as h5
from xpycro.io.translators import _nxdetector as nx

__all__ = ["GENERIC", "Entry", "Row", "Table", "address", "device", "entries"]

GENERIC = {"data", "value", "values", "value_set", "counts", "count", "image", "images", "frames", "raw", "detector",
            "entry", "measurement", "instrument", "point_data", "array"}  # fmt: skip
_AWAY = ("flatfield", "mask", "lookup", "_table", "dark")  # of the detector itself, not of the scan
_MOTORS = ("positioners", "pseudo", "scannables")
_PART = re.compile(r"_\d{6}$")


@dataclass(frozen=True)
class Row:
    """Something recorded at each point of a scan.

    Attributes
    ----------
    name : str
    where : str
        Path of the dataset, of the first where there are several one after the other.
    parts : tuple of h5py.Dataset
    lead : tuple of int
        Shape of the axes that count points.
    """

    name: str
    where: str
    parts: tuple[Any, ...]
    lead: tuple[int, ...]
    motor: bool = False

    @property
    def inner(self) -> tuple[int, ...]:
        """Shape of one record."""
        return tuple(map(int, self.parts[0].shape[len(self.lead) :]))

    @property
    def units(self) -> str:
        """As the file has it; of a motor's set values those of its readings."""
        own = h5.text(self.parts[0].attrs.get("units"))
        sibling = nx.dataset(self.parts[0].parent, "value") if not own and self.motor else None
        return own or (h5.text(sibling.attrs.get("units")) if sibling is not None else "")

    def numbers(self) -> np.ndarray:
        """All of it, in the file's units."""
        return np.concatenate([np.asarray(part[()], float).ravel() for part in self.parts])


@dataclass(frozen=True)
class Entry:
    """What lies in an NXentry, another entry within it apart.

    Attributes
    ----------
    path, where : str
        The file, and the entry in it.
    group : h5py.Group
    kinds : mapping of str to sequence of h5py.Group
        Its groups by class.
    datasets : sequence of str
    missing : mapping of str to str
        Datasets whose data lie in a file that is not there, and that file.
    """

    path: str
    where: str
    group: Any
    kinds: nx.Classes
    datasets: Sequence[str]
    missing: Mapping[str, str]


def entries(path: str, file: Any, contents: Contents) -> list[Entry]:
    """The entries of a file; what belongs to which is decided by the deepest one above it."""
    found = [
        where for where in contents.groups
        if nx.class_of(file[where]) == "nxentry" and file[where].file.filename == file.filename
    ]  # fmt: skip
    inside: dict[str, dict[str, list[str]]] = {where: {"groups": [], "datasets": [], "missing": []} for where in found}

    def owner(name: str) -> str | None:
        while name:
            if name in inside:
                return name
            name = name.rpartition("/")[0]
        return "/" if "/" in inside else None

    for kind, names in (("groups", contents.groups), ("datasets", contents.datasets), ("missing", contents.missing)):
        for name in names if found else ():
            home = owner(name)
            if home is not None:
                inside[home][kind].append(name)
    return [
        Entry(
            path, where, file[where], nx.classes(file, part["groups"]), part["datasets"],
            {name: contents.missing[name] for name in part["missing"]},
        )
        for where, part in inside.items()
    ]  # fmt: skip


class Table:
    """The datasets of an entry that have a row for each point of its scan."""

    def __init__(self, entry: Entry) -> None:
        self.file = entry.group.file
        self.said = _collection(entry.group)  # what a beam line itself calls its columns
        self.plots = entry.kinds.get("nxdata", ())
        self.hints = _hints(entry.group, self.plots)
        axes = [nx.dataset(group, name) for group in self.plots for name in _axes(group)]
        self.axes = {address(data) for data in axes if data is not None}
        self.pictures = {address(d) for group in self.plots for d in _pictures(group)}
        every = {n: d for n in entry.datasets if n not in entry.missing and self._counts(n, d := self.file[n])}
        first = {address(d): n for n, d in reversed(every.items())}  # what two links lead to is met twice
        found = {n: d for n, d in every.items() if first[address(d)] == n}
        self.shape = self._points(found)
        self.rows = self._rows(found) if self.shape else []

    def _counts(self, name: str, data: Any) -> bool:
        if data.shape is None or data.dtype.kind not in "fiu" or not 1 <= data.ndim <= 5 or data.size < 2:
            return False
        *above, last = name.lower().split("/")
        return "detectorspecific" not in above and not any(word in last for word in _AWAY)

    def _holder(self, name: str) -> Any:
        """The group that holds a dataset here, which may lie in another file."""
        return self.file[name.rsplit("/", 1)[0] or "/"]

    def _is_motor(self, name: str, data: Any) -> bool:
        """Whether a dataset is where something stood, by its group or by being an axis of a plot."""
        parent = self._holder(name)
        kind, called = nx.class_of(parent), parent.name.rsplit("/", 1)[-1].lower()
        role = h5.text(parent.attrs.get("gda_scan_role"))
        if kind == "nxpositioner" and role:  # GDA calls each of its devices a positioner; what was set is what moved
            return role == "scannable" and "value_set" in parent
        return kind in ("nxpositioner", "nxtransformations") or called in _MOTORS or address(data) in self.axes

    def _is_detector(self, name: str, data: Any) -> bool:
        """Whether a dataset is what a detector recorded, by its group or by being meant to be plotted."""
        parent, last = self._holder(name), name.rsplit("/", 1)[-1]
        if nx.class_of(parent) in ("nxdetector", "nxmonitor") or address(data) in self.said:
            return True
        marked = h5.text(parent.attrs.get("signal")) == last or h5.text(data.attrs.get("signal")) == "1"
        return marked or _PART.search(last) is not None

    def _points(self, found: Mapping[str, Any]) -> tuple[int, ...]:
        """The axes that count points: of the detector's frames, else of the motors."""
        frames = [
            d for n, d in found.items()
            if d.ndim >= 3 and min(d.shape[-2:]) > 1 and self._is_detector(n, d) and address(d) not in self.pictures
        ]  # fmt: skip
        if frames:
            largest = max(frames, key=lambda d: d.size)
            if any(_PART.search(n) for n, d in found.items() if d == largest):
                return (sum(d.shape[0] for n, d in found.items() if _PART.search(n) and d.ndim == largest.ndim),)
            return tuple(map(int, largest.shape[:-2]))
        if self.pictures:
            return ()  # NXdata says it all
        motors = [d.shape for n, d in found.items() if self._is_motor(n, d)]
        grids = Counter(shape for shape in motors if len(shape) >= 2)
        lists = Counter(shape for shape in motors if len(shape) == 1)
        if not motors:  # a time scan: the columns of the table
            lists = Counter(d.shape for d in found.values() if d.ndim == 1 and address(d) in self.said)
        counted = grids or lists
        return tuple(map(int, max(counted, key=lambda s: (counted[s], math.prod(s))))) if counted else ()

    def _rows(self, found: Mapping[str, Any]) -> list[Row]:
        points = math.prod(self.shape)
        rows: list[Row] = []
        together: dict[str, list[str]] = {}
        for name in found:
            together.setdefault(_PART.sub("", name), []).append(name)
        for key, names in together.items():
            names = sorted(names)
            parts = tuple(found[n] for n in names)
            first = parts[0]
            motor = self._is_motor(names[0], first)
            if len(parts) > 1 or _PART.search(names[0]):
                if first.ndim < 3 or any(p.shape[1:] != first.shape[1:] or p.dtype != first.dtype for p in parts):
                    continue
                rows.append(Row(_title(key, first, self.said), names[0], parts, (sum(p.shape[0] for p in parts),)))
                continue
            lead = self._lead(names[0], first, points)
            detector = self._is_detector(names[0], first)
            inner = first.shape[len(lead) :]
            if lead and (motor or detector or not inner) and len(inner) <= 2 and 0 not in inner:
                rows.append(Row(_title(names[0], first, self.said), names[0], parts, lead, motor))
            elif motor and first.ndim == 1 and len(self.shape) > 1 and first.shape[0] in self.shape:
                rows.append(Row(_title(names[0], first, self.said), names[0], parts, tuple(first.shape), True))
        return rows

    def _lead(self, name: str, data: Any, points: int) -> tuple[int, ...]:
        """The axes of a dataset that count points; a list may be shorter where a scan was stopped."""
        n = len(self.shape)
        if data.shape[:n] == self.shape:
            return self.shape
        if n > 1 and data.shape[0] == points:
            return (points,)
        near = n == 1 and points / 2 < data.shape[0] < points * 2 and data.shape[0] > 1
        return (int(data.shape[0]),) if near and (self._is_motor(name, data) or address(data) in self.said) else ()


def address(data: Any) -> tuple[str, int]:
    """What tells a dataset from all others, by whatever name it was found."""
    import h5py

    return str(data.file.filename), int(h5py.h5o.get_info(data.id).addr)


def _collection(entry: Any) -> dict[tuple[str, int], str]:
    """What the table of columns of an entry (``measurement``) calls its datasets."""
    import h5py

    found: dict[tuple[str, int], str] = {}
    table = entry.get("measurement")
    for name in table if isinstance(table, h5py.Group) else ():
        link = entry.get(f"measurement/{name}", getlink=True)
        child = None if isinstance(link, h5py.ExternalLink) else entry.get(f"measurement/{name}")
        if isinstance(child, h5py.Dataset):
            found[address(child)] = name
    return found


def _signals(group: Any) -> list[Any]:
    """What an NXdata is to show: named by the group, or marked, as before 2014."""
    names = [h5.text(group.attrs.get("signal"))]
    if nx.dataset(group, names[0]) is None:
        names = [n for n in group if (d := nx.dataset(group, n)) is not None and h5.text(d.attrs.get("signal")) == "1"]
    return [data for name in names if (data := nx.dataset(group, name)) is not None]


def _stated(group: Any) -> list[str]:
    """The axes of an NXdata, one for each dim of its signal; old files state them on the signal."""
    axes = h5.tidy(group.attrs.get("axes"))
    for signal in _signals(group):
        axes = axes or h5.tidy(signal.attrs.get("axes"))
    axes = axes.strip("[]").replace(",", ":").split(":") if isinstance(axes, str) else axes
    return [str(axis) for axis in axes] if isinstance(axes, list) else []


def _axes(group: Any) -> list[str]:
    """All that an NXdata names as axes."""
    return [*_stated(group), *[name.removesuffix("_indices") for name in group.attrs if name.endswith("_indices")]]


def _pictures(group: Any) -> list[Any]:
    """The signals of an NXdata that says what their axes are (but one): images, volumes, spectra over a grid.

    Two axes along one dim are the places of a list of points, which are for this module to lay out.
    """
    axes = [name for name in _stated(group) if nx.dataset(group, name) is not None]
    spans = [h5.tidy(group.attrs[name]) for name in group.attrs if name.endswith("_indices")]
    shared = [
        span[0] if isinstance(span, list) else span for span in spans if not isinstance(span, list) or len(span) == 1
    ]
    if len(set(map(str, shared))) < len(shared):
        return []
    return [d for d in _signals(group) if d.ndim >= 2 and len(axes) >= d.ndim - 1]


def _hints(entry: Any, plots: Sequence[Any]) -> list[str]:
    """Names of motors in the order in which the file states them: axes of NXdata, words of the scan's command."""
    names = [name for group in plots for name in _axes(group) if name != "."]
    for key in ("title", "scan_command", "command"):
        found = nx.dataset(entry, key)
        if found is not None and found.size == 1 and found.dtype.kind in "OS":
            names += re.split(r"[\s,()]+", h5.text(np.asarray(found[()])))
    return [name for name in dict.fromkeys(names) if name]


def _title(name: str, data: Any, said: Mapping[tuple[str, int], str]) -> str:
    """What a column is called: by the beam line, by its dataset, by the device it belongs to."""
    known = said.get(address(data))
    if known:
        return known
    parts = [_PART.sub("", part) for part in name.split("/") if part]
    for part in reversed(parts):
        if part.lower() not in GENERIC:
            return part if not re.fullmatch(r"entry_?\d*|[\d.]+", part) else "counts"
    return "counts"


def device(where: str) -> str:
    """The group that a dataset lies in."""
    return where.rsplit("/", 1)[0]
