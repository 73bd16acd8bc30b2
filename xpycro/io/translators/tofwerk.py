"""TOFWERK HDF5 (TofDAQ): mass spectra as peaks, single ions and profiles, with the pictures of a FIB beside them.

The first line lies at the top. May import numpy, xarray, schema and io below, h5py inside functions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr
from xarray.backends import BackendArray
from xarray.core import indexing

from xpycro.errors import CorruptFile, NotThisFormat, UnsupportedVariant
from xpycro.io import hdf5_array
from xpycro.io.hdf5_guard import Contents, opened, reading
from xpycro.io.rawarray import StackedArray, stamp
from xpycro.io.translators import _common as common
from xpycro.io.translators import _h5tools as h5
from xpycro.io.translators import _massaxis as channels
from xpycro.schema import coordinate

__all__ = ["read"]

_PEAKS, _TABLE = "/PeakData/PeakData", "/PeakData/PeakTable"
_EVENTS, _PROFILES, _AXIS = "/FullSpectra/EventList", "/FullSpectra/TofData", "/FullSpectra/MassAxis"
_TIMES, _SUM = "/TimingData/BufTimes", "/FullSpectra/SumSpectrum"
_BIG = frozenset({"PeakData", "PeakTable", "TofData", "EventList", "MassAxis", "SumSpectrum", "SumSpectrum2", "Data",
                  "BufTimes", "SaturationWarning", "AcquisitionLog"})  # fmt: skip
_SAMPLES = 1 << 24
_CELLS = 1 << 16  # pixels whose events are held at once


def read(
    path: str, *, mass_axis: channels.MassAxis = None, trust: bool = False, isolate: bool = False
) -> dict[str, xr.Dataset]:
    """Read a file of TOFWERK's data acquisition.

    Parameters
    ----------
    path : str
    mass_axis : str, float or array_like, optional
        What single ions are summed into: channels of a relative width (``"100 ppm"``), of a width in m/z (``0.01``), or
        the given centres. Default the samples of the recorder.
    trust : bool, optional
        Follow links and external storage outside the folder too.
    isolate : bool, optional
        Walk the file in a child process with limits first.

    Returns
    -------
    dict of str to Dataset
        What there is of: ``peaks(frame, y, x, ion)``, counts per extraction with ``mass_to_charge(ion)`` and
        ``label(ion)``; ``counts(frame, y, x, mass_to_charge)`` of single ions; ``signal(frame, y, x,
        mass_to_charge)`` in V of profiles; ``fib_images(frame, y, x)``; ``sum_spectrum(mass_to_charge)``. The first is
        the root, each other one a group. Without a FIB the writes, buffers and segments are ``frame, cycle,
        segment``. Axes of one element are left out.

    Raises
    ------
    NotThisFormat, CorruptFile, UnsupportedVariant
    ValueError
        If `mass_axis` is not understood.

    Notes
    -----
    *Laziness*: axes and the table of peaks are read. Single ions are binned when they are used, nothing is densified
    before. The time of a write is that of its first buffer.

    References
    ----------
    The mass scale: help of TofDaqR, ``H5SetMassCalib``.
    """
    with opened(path, trust=trust, isolate=isolate) as (file, contents):
        if "/FullSpectra" not in contents.groups or "TofDAQ Version" not in file.attrs:
            raise NotThisFormat("no group FullSpectra of TofDAQ", path=path)
        source = _Source(path, file, contents)
        events, peaks, profiles = source.events(), source.peaks(), source.profiles()
        pictures, total = source.pictures(), source.total()
        header = h5.metadata(file, skip=_BIG)
        acquired = common.iso_time(h5.text(file.attrs.get("HDF5 File Creation Time")))
        mode = h5.text(file.attrs.get("IonMode"))
    if mass_axis is not None and events is None:
        raise ValueError("mass_axis is for single ions: this file has none")
    groups = {
        "peaks": peaks, "events": events and _ions(*events, mass_axis), "profiles": profiles, "fib_images": pictures,
        "sum_spectrum": total,
    }  # fmt: skip
    found = {name: made for name, made in groups.items() if made is not None}
    if not found:
        raise CorruptFile("neither peaks nor spectra are in it", path=path)
    return {
        "" if number == 0 else name: common.dataset(
            *_compact(variables, coords), header, modality="mass spectrometry imaging", instrument="TOFWERK",
            acquired=acquired, data_type=name.replace("_", " "), ion_mode=mode,
        )
        for number, (name, (variables, coords)) in enumerate(found.items())
    }  # fmt: skip


Made = tuple[dict[str, xr.Variable], dict[str, xr.Variable]]


def _compact(variables: dict[str, xr.Variable], coords: dict[str, xr.Variable]) -> Made:
    """Without the axes of one element that only count."""
    made = {}
    for name, variable in variables.items():
        single = [dim for dim in variable.dims if variable.sizes[dim] == 1 and dim in ("frame", "cycle", "segment")]
        made[name] = variable.isel({dim: 0 for dim in single})
        made[name].encoding = dict(variable.encoding)
        for dim in single:
            made[name].encoding.get("preferred_chunks", {}).pop(dim, None)
            coords = {label: coord for label, coord in coords.items() if dim not in coord.dims}
    return made, coords


def _ions(events: _Events, dims: list[str], coords: dict[str, xr.Variable], mass_axis: channels.MassAxis) -> Made:
    """Single ions over the samples of the recorder, or on a mass axis in place of them."""
    if mass_axis is not None:
        masses = coords["mass_to_charge"].values
        edges = channels.edges(mass_axis, lambda: (float(masses[masses > 0].min()), float(masses.max())))
        axis = channels.centres(mass_axis, edges)
        lookup = np.searchsorted(edges, masses, side="right") - 1
        lookup[lookup >= axis.size] = -1
        events = replace(events, lookup=lookup, channels=axis.size)
        coords = coords | {"mass_to_charge": coordinate("mass_to_charge", axis)}
    said = {"units": "counts", "long_name": "Ions"}
    made = xr.Variable([*dims, "mass_to_charge"], indexing.LazilyIndexedArray(events), said, {"source": events.path})
    return {"counts": made}, coords


@dataclass(frozen=True)
class _Source:
    """An open file."""

    path: str
    file: Any
    contents: Contents

    def _find(self, name: str, ndim: int) -> Any:
        if name in self.contents.missing:
            raise CorruptFile(
                f"lies in {self.contents.missing[name]!r}, which is not there", path=self.path, field=name
            )
        if name not in self.contents.datasets:
            return None
        data = self.file[name]
        if data.ndim != ndim or 0 in data.shape:
            raise CorruptFile(f"has the shape {data.shape}, expected {ndim} axes", path=self.path, field=name)
        return data

    # ------------------------------------------------------------------------------------------------------- axes

    def _places(self, shape: tuple[int, ...]) -> tuple[list[str], dict[str, xr.Variable], tuple[bool, ...]]:
        """Names of the axes before the spectra, their coordinates, and which are turned round."""
        imaging = "/FIBParams" in self.contents.groups
        dims = ["frame", "y", "x"] if imaging else ["frame", "cycle", "segment"]
        width = self._number("/FIBParams", "ViewField") if imaging else 0.0  # mm
        step = 1e-3 * width / shape[2] if width > 0 else 0.0
        coords: dict[str, xr.Variable] = {}
        for dim, size in zip(dims, shape, strict=True):
            if dim not in ("y", "x"):
                coords[dim] = coordinate(dim, np.arange(size))
            elif step:
                coords[dim] = coordinate(dim, np.arange(size) * step)
            else:
                coords[dim] = coordinate(dim, np.arange(float(size)), units="pixel")
        times = self._find(_TIMES, 2)
        if times is not None and times.shape[0] >= shape[0] and times.dtype.kind == "f" and times.size <= _SAMPLES:
            began = np.asarray(times[: shape[0], 0], dtype=np.float64)
            coords["time"] = coordinate("frame", began, name="time", units="s", dimension_type="temporal")
        return dims, coords, (False, imaging, False)

    def _number(self, group: str, name: str, default: float = 0.0) -> float:
        value = h5.tidy(self.file[group].attrs.get(name))
        value = value[0] if isinstance(value, list) and value else value
        return float(value) if isinstance(value, int | float) and math.isfinite(value) else default

    def masses(self, samples: int | None = None) -> np.ndarray:
        """The mass of each sample of the recorder; those before the time zero are negative, so that it rises."""
        axis = self._find(_AXIS, 1)
        if axis is None or axis.dtype.kind not in "fiu" or axis.size > _SAMPLES:
            raise CorruptFile("no mass axis", path=self.path, field=_AXIS)
        if samples is not None and axis.size != samples:
            raise CorruptFile(f"{axis.size} masses for {samples} samples", path=self.path, field=_AXIS)
        masses = np.asarray(axis[()], dtype=np.float64)
        if not np.isfinite(masses).all():
            raise CorruptFile("a mass that is no number", path=self.path, field=_AXIS)
        least = int(np.argmin(masses))
        masses[:least] *= -1
        if (np.diff(masses) <= 0).any():
            raise UnsupportedVariant(
                "its mass axis does not rise: calibrate it anew with the maker's software", path=self.path, field=_AXIS
            )
        return masses

    # ------------------------------------------------------------------------------------------------------- data

    def peaks(self) -> Made | None:
        """What the maker's software integrated."""
        data, table = self._find(_PEAKS, 4), self._find(_TABLE, 1)
        if data is None:
            return None
        if table is None or not {"label", "mass"} <= set(table.dtype.names or ()) or table.size != data.shape[3]:
            raise CorruptFile(f"no table of its {data.shape[3]} peaks", path=self.path, field=_TABLE)
        if data.dtype.kind not in "fiu" or table.size > _SAMPLES:
            raise CorruptFile(f"peaks of {data.dtype}", path=self.path, field=_PEAKS)
        rows = np.asarray(table[()])
        dims, coords, flip = self._places(data.shape[:3])
        raw = hdf5_array.array(data, flip=(*flip, False))
        made = hdf5_array.variable([*dims, "ion"], raw, "Counts per extraction", "1", data.chunks)
        coords["ion"] = coordinate("ion", np.arange(rows.size))
        for name, field in (("mass_to_charge", "mass"), ("mass_low", "lower integration limit"),
                            ("mass_high", "upper integration limit")):  # fmt: skip
            if field in (rows.dtype.names or ()):
                values = np.asarray(rows[field], dtype=np.float64)
                coords[name] = coordinate("ion", values, name=name, units="1", dimension_type="component")
        labels = np.array([h5.text(label) for label in rows["label"].tolist()])
        coords["label"] = xr.Variable("ion", labels, {"units": "1", "long_name": "Label"})
        return {"peaks": made}, coords

    def events(self) -> tuple[_Events, list[str], dict[str, xr.Variable]] | None:
        """Single ions, by the tick of the clock at which each came."""
        import h5py

        data = self._find(_EVENTS, 3)
        if data is None:
            return None
        inner = h5py.check_vlen_dtype(data.dtype)
        if inner is None or inner.kind not in "ui":
            raise CorruptFile(f"events of {data.dtype}", path=self.path, field=_EVENTS)
        masses = self.masses()
        interval, tick = self._number("/FullSpectra", "SampleInterval"), self._number("/FullSpectra", "ClockPeriod")
        ratio = max(1, round(interval / tick)) if interval > 0 and tick > 0 else 1
        dims, coords, flip = self._places(data.shape)
        coords["mass_to_charge"] = coordinate("mass_to_charge", masses)
        samples = np.arange(masses.size)
        events = _Events(self.path, _EVENTS, tuple(data.shape), flip, samples, ratio, masses.size, stamp(self.path))
        return events, dims, coords

    def profiles(self) -> Made | None:
        """Whole spectra of an analogue recorder."""
        data = self._find(_PROFILES, 4)
        if data is None:
            return None
        if data.dtype.kind not in "fiu":
            raise CorruptFile(f"spectra of {data.dtype}", path=self.path, field=_PROFILES)
        dims, coords, flip = self._places(data.shape[:3])
        coords["mass_to_charge"] = coordinate("mass_to_charge", self.masses(data.shape[3]))
        raw = hdf5_array.array(data, flip=(*flip, False), factor=1e-3)  # mV
        made = hdf5_array.variable([*dims, "mass_to_charge"], raw, "Signal", "V", data.chunks)
        return {"signal": made}, coords

    def total(self) -> Made | None:
        """The sum over everything, as it was recorded."""
        data = self._find(_SUM, 1)
        if data is None or data.dtype.kind not in "fiu":
            return None
        coords = {"mass_to_charge": coordinate("mass_to_charge", self.masses(data.shape[0]))}
        made = hdf5_array.variable(["mass_to_charge"], hdf5_array.array(data), "Sum spectrum", "1", data.chunks)
        return {"sum_spectrum": made}, coords

    def pictures(self) -> Made | None:
        """Electron pictures of the FIB, of the size that most have."""
        names = sorted(
            name for name in self.contents.datasets if name.startswith("/FIBImages/") and name.endswith("/Data")
        )
        stored = [data for name in names if (data := self._find(name, 2)) is not None and data.dtype.kind in "fiu"]
        if not stored:
            return None
        shapes = [(data.shape, data.dtype) for data in stored]
        common_shape = max(set(shapes), key=lambda one: (shapes.count(one), one[0]))
        stored = [data for data, one in zip(stored, shapes, strict=True) if one == common_shape]
        parts = tuple(hdf5_array.array(data, flip=(True, False)) for data in stored)
        made = hdf5_array.variable(["frame", "y", "x"], StackedArray(parts, 0), "Secondary electrons", "1")
        _, coords, _ = self._places((len(parts), *common_shape[0]))
        coords.pop("time", None)  # pictures are taken between the writes
        return {"fib_images": made}, coords


@dataclass(frozen=True, eq=False)
class _Events(BackendArray):
    """Single ions counted into channels when they are asked for.

    Attributes
    ----------
    path, name : str
    pixels : tuple of int
        Shape of the ragged dataset.
    flip : tuple of bool
    lookup : ndarray of int
        The channel of each sample; -1 where it belongs to none.
    ratio : int
        Ticks of the clock to a sample.
    channels : int
    stamp : tuple of int
    """

    path: str
    name: str
    pixels: tuple[int, ...]
    flip: tuple[bool, ...]
    lookup: np.ndarray
    ratio: int
    channels: int
    stamp: tuple[int, int]
    dtype = np.dtype(np.uint32)

    @property
    def shape(self) -> tuple[int, ...]:
        """The pixels', and the channels."""
        return (*self.pixels, self.channels)

    def __dask_tokenize__(self) -> tuple[Any, ...]:
        return ("xpycro.Events", self.path, *self.stamp, self.name, self.lookup.tobytes(), self.channels)

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.BASIC, self.read)

    def read(self, key: tuple[Any, ...]) -> np.ndarray:
        """The counts that a basic index names."""
        spans = [
            range(size)[k] if isinstance(k, slice) else range(k, k + 1) for k, size in zip(key, self.shape, strict=True)
        ]
        frames, lines, columns, wanted = spans
        first, last = (min(wanted), max(wanted) + 1) if len(wanted) else (0, 0)
        out = np.zeros((len(frames), len(lines), len(columns), last - first), self.dtype)
        with reading(self.path):
            import h5py

            with h5py.File(self.path, "r") as file:
                data = file[self.name]
                if data.shape != self.pixels:
                    raise CorruptFile("has another shape than when it was opened", path=self.path, field=self.name)
                step = max(1, _CELLS // max(1, len(columns)))
                for n, frame in enumerate(frames):
                    for start in range(0, len(lines), step):
                        stored = [self._stored(lines[m], 1) for m in range(start, min(start + step, len(lines)))]
                        low, high = (min(stored), max(stored) + 1) if stored else (0, 0)
                        cells = data[self._stored(frame, 0), low:high]
                        for m, line in enumerate(stored, start):
                            row = cells[line - low][[self._stored(c, 2) for c in columns]]
                            self._count(row, first, out[n, m])
        out = out[..., np.asarray(wanted, dtype=np.intp) - first] if wanted.step != 1 else out
        return out[tuple(slice(None) if isinstance(k, slice) else 0 for k in key)]

    def _stored(self, index: int, axis: int) -> int:
        return self.pixels[axis] - 1 - index if self.flip[axis] else index

    def _count(self, cells: np.ndarray, first: int, out: np.ndarray) -> None:
        """Add the events of a row of pixels to its channels."""
        sizes = [len(cell) for cell in cells]
        if not sum(sizes) or not out.shape[1]:
            return
        sample = np.concatenate(cells.tolist()).astype(np.int64) // self.ratio
        pixel = np.repeat(np.arange(len(sizes)), sizes)
        known = (sample >= 0) & (sample < self.lookup.size)
        channel, pixel = self.lookup[sample[known]] - first, pixel[known]
        inside = (channel >= 0) & (channel < out.shape[1]) & (self.lookup[sample[known]] >= 0)
        np.add.at(out, (pixel[inside], channel[inside]), 1)
