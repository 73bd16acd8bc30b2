"""NeXus scans as facilities write them, from public descriptions of their layouts; frames are numbered, so that each
says which point of the scan it was taken at.

A sample is a file and what is in it: the frames in order of acquisition, the places of both stages, the monitor.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

ROWS, COLUMNS = 3, 4  # of the detector
GEOMETRY = {"distance": 0.5, "pixel": (75e-6, 75e-6), "beam": (1.0, -20.0), "energy": 10_000.0}


@dataclass(frozen=True)
class Sample:
    """What was written, in order of acquisition; places in um."""

    path: str
    frames: np.ndarray
    y: np.ndarray
    x: np.ndarray
    monitor: np.ndarray


def places(ny: int, nx: int, order: str = "lines", *, jitter: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """y and x of each point: lines, a snake, columns first, from the top, or nowhere regular."""
    rows, columns = np.divmod(np.arange(ny * nx), nx)
    rng = np.random.default_rng(5)
    if order == "snake":
        columns = np.where(rows % 2, nx - 1 - columns, columns)
    elif order == "columns":
        columns, rows = np.divmod(np.arange(ny * nx), ny)
    elif order == "down":
        rows = ny - 1 - rows
    elif order == "random":
        return rng.uniform(0, 5, ny * nx), rng.uniform(0, 5, ny * nx)
    noise = rng.uniform(-jitter, jitter, (2, ny * nx))
    return 10.0 + 2.0 * (rows + noise[0]), -3.0 + 0.5 * (columns + noise[1])


def numbered(n: int, dtype: str = "u2") -> np.ndarray:
    """Frames of which each pixel tells the frame and the pixel."""
    inner = np.arange(ROWS * COLUMNS).reshape(ROWS, COLUMNS)
    return (100 * np.arange(n)[:, None, None] + inner).astype(dtype)


def make(
    folder: Path, style: str, order: str = "lines", *, shape=(3, 5), points: int | None = None, **settings
) -> Sample:
    """Write a scan in the layout of a facility; `points` of it were reached; `settings` are those of the file."""
    y, x = places(*shape, order)
    n = y.size if points is None else points
    y, x, frames = y[:n], x[:n], numbered(n)
    sample = Sample(str(folder / f"{style}.h5"), frames, y, x, 1000.0 - np.arange(n))
    with h5py.File(sample.path, "w", **settings) as file:
        STYLES[style](file, sample, folder, shape)
    return sample


def _group(parent, name: str, kind: str, **attrs):
    group = parent.require_group(name)
    group.attrs["NX_class"] = kind
    group.attrs.update(attrs)
    return group


def _set(group, name: str, value, units: str = "", **attrs):
    data = group.create_dataset(name, data=value)
    data.attrs.update({**({"units": units} if units else {}), **attrs})
    return data


def geometry(detector, beam_group=None) -> None:
    """Where the detector stands, as NXdetector and NXbeam have it."""
    _set(detector, "distance", GEOMETRY["distance"] * 1e3, "mm")
    _set(detector, "x_pixel_size", GEOMETRY["pixel"][1], "m")
    _set(detector, "y_pixel_size", GEOMETRY["pixel"][0] * 1e6, "um")
    _set(detector, "beam_center_x", GEOMETRY["beam"][1], "pixel")
    _set(detector, "beam_center_y", GEOMETRY["beam"][0], "pixel")
    _set(detector, "count_time", 0.25, "s")
    mask = np.zeros((ROWS, COLUMNS), "u4")
    mask[0, 1] = 8  # a dead pixel, in the top row
    _set(detector, "pixel_mask", mask)
    if beam_group is not None:
        _set(beam_group, "incident_wavelength", 12.398419843320026 / (GEOMETRY["energy"] / 1e3), "angstrom")


def _new(file, s, folder, shape):
    """As the manual asks: links in NXdata, two axes along one dim."""
    entry = _group(file, "entry", "NXentry", default="plot")
    entry["title"], entry["start_time"] = "a map", "2024-05-06T07:08:09"
    instrument = _group(entry, "instrument", "NXinstrument")
    detector = _group(instrument, "eiger", "NXdetector")
    _set(detector, "data", s.frames)
    geometry(detector, _group(instrument, "beam", "NXbeam"))
    for name, values in (("sy", s.y), ("sx", s.x)):
        _set(_group(instrument, name, "NXpositioner"), "value", values, "um")
    monitor = _group(entry, "i0", "NXmonitor")
    _set(monitor, "data", s.monitor, "counts")
    plot = _group(entry, "plot", "NXdata", signal="data", axes=["sx", ".", "."], sx_indices=[0], sy_indices=[0])
    plot["data"] = h5py.SoftLink("/entry/instrument/eiger/data")
    plot["sx"], plot["sy"] = instrument["sx/value"], h5py.SoftLink("/entry/instrument/sy/value")


def _old(file, s, folder, shape):
    """Before 2014: the signal is marked, the axes are named with it."""
    entry = _group(file, "scan_7", "NXentry")
    data = _group(entry, "data", "NXdata")
    _set(data, "eiger", s.frames, signal=1, axes="sx:row:column")
    _set(data, "sx", s.x, "um", axis=1, primary=1)
    detector = _group(_group(entry, "instrument", "NXinstrument"), "detector", "NXdetector")
    geometry(detector)
    for name, values in (("sy", s.y), ("sx", s.x)):
        _set(_group(entry, f"instrument/{name}", "NXpositioner"), "value", values, "um")
    _set(_group(entry, "instrument/mono", "NXmonochromator"), "energy", GEOMETRY["energy"] / 1e3, "keV")
    _set(_group(entry, "control", "NXmonitor"), "data", s.monitor)


def _bliss(file, s, folder, shape):
    """ESRF: 7.1, soft links in measurement, frames in files of their own below, put together as a virtual dataset."""
    file.attrs.update(NX_class="NXroot", creator="Bliss")
    scan = _group(file, "7.1", "NXentry")
    ny, nx = shape
    scan["title"] = f"amesh nnp2 0 1 {nx - 1} nnp3 0 1 {ny - 1} 0.1"
    scan["start_time"] = "2023-02-01T10:11:12.345678+01:00"
    instrument = _group(scan, "instrument", "NXinstrument")
    measurement = _group(scan, "measurement", "NXcollection")
    moved = _group(instrument, "positioners", "NXcollection")
    for n in range(40):  # all motors of the beam line
        moved[f"mot{n}"] = float(n)
    for name, values in (("nnp2", s.x), ("nnp3", s.y)):
        _set(_group(instrument, name, "NXpositioner"), "value", values, "um")
        measurement[name] = h5py.SoftLink(f"/7.1/instrument/{name}/value")
        moved[name] = h5py.SoftLink(f"/7.1/instrument/{name}/value")
    for name, values in (("ion1", s.monitor), ("nnp2_position", s.x + 1e-4), ("epoch", 1e9 + np.arange(len(s.x)))):
        _set(_group(instrument, name, "NXdetector"), "data", values)
        measurement[name] = h5py.SoftLink(f"/7.1/instrument/{name}/data")
    (folder / "scan0007").mkdir(exist_ok=True)
    layout = h5py.VirtualLayout(s.frames.shape, s.frames.dtype)
    for start in range(0, len(s.frames), 4):
        part = s.frames[start : start + 4]
        with h5py.File(folder / "scan0007" / f"mpx_{start:04d}.h5", "w") as lima:
            lima["entry_0000/measurement/data"] = part
        layout[start : start + len(part)] = h5py.VirtualSource(
            f"scan0007/mpx_{start:04d}.h5", "/entry_0000/measurement/data", shape=part.shape
        )
    detector = _group(instrument, "mpx", "NXdetector", type="lima")
    detector.create_virtual_dataset("data", layout)
    measurement["mpx"] = h5py.SoftLink("/7.1/instrument/mpx/data")
    spectra = np.arange(len(s.x))[:, None] + np.arange(6)
    _set(_group(instrument, "xmap_det0", "NXdetector"), "data", spectra.astype("u4"))
    measurement["xmap_det0"] = h5py.SoftLink("/7.1/instrument/xmap_det0/data")


def _diamond(file, s, folder, shape):
    """GDA: the scan is a grid in the file, set values along each axis, NaN where it did not get."""
    ny, nx = shape
    n = len(s.x)
    entry = _group(file, "entry1", "NXentry", default="pilatus")
    instrument = _group(entry, "instrument", "NXinstrument")

    def laid(values):
        full = np.full((ny * nx, *values.shape[1:]), np.nan if values.dtype.kind == "f" else 0, values.dtype)
        full[:n] = values
        return full.reshape(ny, nx, *values.shape[1:])

    all_y, all_x = places(ny, nx)
    for name, values, wanted in (
        ("stage_y", s.y, all_y.reshape(ny, nx)[:, 0]), ("stage_x", s.x, all_x.reshape(ny, nx)[0])
    ):  # fmt: skip
        group = _group(instrument, name, "NXpositioner", gda_scan_role="scannable")
        _set(group, "value", laid(values), "um")
        _set(group, "value_set", wanted, "um")
    _set(_group(instrument, "i0", "NXdetector", gda_scan_role="monitor"), "data", laid(s.monitor))
    with h5py.File(folder / "diamond_pilatus.h5", "w") as frames:
        frames["entry/data/data"] = laid(s.frames)
    detector = _group(instrument, "pilatus", "NXdetector")
    detector["data"] = h5py.ExternalLink("diamond_pilatus.h5", "/entry/data/data")
    geometry(detector, _group(instrument, "beam", "NXbeam"))
    plot = _group(
        entry, "pilatus", "NXdata", signal="data", axes=["stage_y_value_set", "stage_x_value_set", ".", "."],
        stage_y_value_set_indices=0, stage_x_value_set_indices=1, stage_x_value_indices=[0, 1],
    )  # fmt: skip
    plot["data"] = h5py.ExternalLink("diamond_pilatus.h5", "/entry/data/data")
    plot["stage_y_value_set"] = instrument["stage_y/value_set"]
    plot["stage_x_value_set"] = instrument["stage_x/value_set"]


def _area_detector(file, s, folder, shape):
    """EPICS areaDetector: one dataset, attributes of each frame beside it, positions among them."""
    entry = _group(file, "entry", "NXentry")
    _group(entry, "data", "NXdata")
    frames = _set(entry["data"], "data", s.frames, signal=1, NX_class="SDS")
    instrument = _group(entry, "instrument", "NXinstrument")
    _group(instrument, "detector", "NXdetector")["data"] = frames
    attributes = _group(instrument, "NDAttributes", "NXcollection")
    attributes["NDArrayUniqueId"] = np.arange(len(s.x), dtype="i4")
    attributes["NDArrayTimeStamp"] = 1e9 + 0.1 * np.arange(len(s.x))
    attributes["SampleX"], attributes["SampleY"], attributes["I0"] = s.x, s.y, s.monitor
    attributes["ColorMode"] = np.zeros(len(s.x), "i4")


def _maxiv(file, s, folder, shape):
    """MAX IV: entry/measurement with the frames in an external file, the stages as pseudo motors."""
    entry = _group(file, "entry", "NXentry")
    measurement = entry.create_group("measurement")
    measurement["pseudo/x"], measurement["pseudo/y"] = s.x, s.y
    measurement["alba2/1"] = s.monitor
    with h5py.File(folder / "maxiv_eiger.hdf5", "w") as frames:
        frames.create_dataset("entry/measurement/Eiger/data", data=s.frames, chunks=(1, ROWS, COLUMNS))
    _group(measurement, "eiger", "NXdetector")["frames"] = h5py.ExternalLink(
        "maxiv_eiger.hdf5", "/entry/measurement/Eiger/data"
    )


def _master(file, s, folder, shape):
    """A beam line's file with the frames of a Dectris master: two files of frames, motors beside them."""
    entry = _group(file, "entry", "NXentry")
    entry["definition"] = "NXmx"
    data = _group(entry, "data", "NXdata", signal="data_000001")
    half = len(s.frames) // 2
    for n, part in enumerate((s.frames[:half], s.frames[half:]), 1):
        with h5py.File(folder / f"master_data_{n:06d}.h5", "w") as frames:
            frames.create_dataset("entry/data/data", data=part, chunks=(1, ROWS, COLUMNS))
        data[f"data_{n:06d}"] = h5py.ExternalLink(f"master_data_{n:06d}.h5", "/entry/data/data")
    instrument = _group(entry, "instrument", "NXinstrument")
    detector = _group(instrument, "detector", "NXdetector")
    _group(detector, "detectorSpecific", "NXcollection")["photon_energy"] = GEOMETRY["energy"]
    geometry(detector)
    for name, values in (("gonx", s.x), ("gony", s.y)):
        _set(_group(instrument, name, "NXpositioner"), "value", values, "um")
    _set(_group(entry, "i0", "NXmonitor"), "data", s.monitor)


STYLES = {
    "new": _new, "old": _old, "bliss": _bliss, "diamond": _diamond, "area_detector": _area_detector, "maxiv": _maxiv,
    "master": _master,
}  # fmt: skip
