"""A diffraction map of a strained film: one Bragg peak a pixel, photons counted, the beam fading, with its truth.

May import the floors below; everything is drawn at once, in memory. `write_nexus_scan` writes such a map as beam lines
do.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import xarray as xr

from xpycro.io.translators._detector import Geometry, detector_coordinates, wavelength_of
from xpycro.provenance import recorded
from xpycro.simulate.surface import axes, smooth_field

__all__ = ["write_nexus_scan", "xray_map"]

_PIXEL = 75e-6
_ARC = 6.0  # spread of a peak along its ring, in pixels
_SATURATED = 65535  # what a detector writes where a pixel is masked


@recorded("simulate.xray_map")
def xray_map(
    shape: tuple[int, int] = (16, 20),
    detector: tuple[int, int] = (64, 64),
    *,
    counts: float = 4000.0,
    background: float = 0.5,
    strain: float = 3e-4,
    tilt: float = 2e-4,
    energy: float = 10_000.0,
    spacing: float = 1.9525e-10,
    distance: float = 0.8,
    decay: float = 0.3,
    snake: bool = True,
    scan_size: tuple[float, float] = (4e-6, 5e-6),
    seed: int = 0,
) -> xr.Dataset:
    """A scan of a film by a focused X-ray beam: the peak of one lattice plane moves with strain and tilt.

    Bragg's law gives the angle of the peak, ``2 theta = 2 arcsin(wavelength / (2 d))`` with ``d = spacing (1 +
    strain)``; tilt about the beam moves it along the ring. A detector across the beam sees it at the radius ``distance
    tan(2 theta)``: a Gaussian in two theta (``true_sigma``) and along the ring.

    Parameters
    ----------
    shape : (int, int)
        Points along y and x.
    detector : (int, int)
        Rows and columns, of 75 um.
    counts : float
        Photons of the peak, on average, in the full beam.
    background : float
        Photons of a pixel in the full beam.
    strain, tilt : float
        Standard deviations over the film; tilt in rad.
    energy : float
        Of the photons, eV.
    spacing : float
        Of the lattice planes without strain, m (the default is that of 002 of strontium titanate).
    distance : float
        From the sample to the detector, m.
    decay : float
        How much of the beam is lost by the end of the scan.
    snake : bool
        Whether every other line runs back, which decides when each point was measured.
    scan_size : (float, float)
        Height and width of the frame, m.
    seed : int

    Returns
    -------
    Dataset
        ``counts(y, x, ky, kx)``, Poisson distributed, with ``two_theta`` and ``q`` of each pixel; ``monitor(y, x)``,
        photons of the incident beam as an ion chamber counts them; ``pixel_mask(ky, kx)``, true for dead pixels, which
        read 65535. The truth over (y, x): ``true_strain``, ``true_tilt`` (rad), ``true_two_theta``, ``true_sigma``
        (degree), ``true_intensity`` (photons in the full beam).

    Raises
    ------
    ValueError
        If there is nothing to scan, or no angle fulfils Bragg's law.

    Notes
    -----
    *Laziness*: in memory.

    References
    ----------
    J. Als-Nielsen, D. McMorrow, Elements of Modern X-ray Physics (2011), 5.1: Bragg's law.

    Examples
    --------
    >>> xray_map((2, 3), (16, 16)).counts.dims
    ('y', 'x', 'ky', 'kx')
    """
    wavelength = float(wavelength_of(energy) or 0)
    if min(*shape, *detector) < 1 or counts <= 0 or not 0 <= decay < 1 or distance <= 0:
        raise ValueError(f"shape={shape}, detector={detector}, counts={counts}, decay={decay}: nothing to scan")
    if not 0 < wavelength < 1.4 * spacing:
        raise ValueError(f"energy={energy} eV is {wavelength:.3g} m: no reflection forward of planes {spacing} m apart")
    rng = np.random.default_rng([seed, 3])
    width = max(shape) / 6
    true_strain = strain * smooth_field(shape, width, rng).clip(-2, 2)
    true_tilt = tilt * smooth_field(shape, width, rng).clip(-2, 2)
    intensity = counts * (1 + 0.25 * smooth_field(shape, width, rng)).clip(0.4, 1.6)
    angle = 2 * np.arcsin(wavelength / (2 * spacing * (1 + true_strain)))

    middle, azimuth = 2 * np.arcsin(wavelength / (2 * spacing)), np.radians(20.0)
    radius = distance * np.tan(middle) / _PIXEL
    # the detector covers the unstrained peak; the beam passes it far outside
    beam = ((detector[0] - 1) / 2 + radius * np.sin(azimuth), (detector[1] - 1) / 2 - radius * np.cos(azimuth))
    geometry = Geometry.facing(beam, (_PIXEL, _PIXEL), distance, wavelength)
    rows, columns = np.arange(detector[0], dtype=float), np.arange(detector[1], dtype=float)
    pixel_angle = geometry.angle(rows, columns)
    pixel_azimuth = np.arctan2(beam[0] - rows[:, None], columns - beam[1])
    step = _PIXEL * np.cos(middle) ** 2 / distance  # rad of two theta in a pixel
    sigma = step * (1.5 + 0.2 * smooth_field(shape, width, rng).clip(-2, 2))
    along = _ARC / radius
    where = (..., np.newaxis, np.newaxis)
    height = intensity / (2 * np.pi * (sigma / step) * _ARC)
    across = (pixel_angle - angle[where]) / sigma[where]
    around = (pixel_azimuth - azimuth - true_tilt[where]) / along
    peak = height[where] * np.exp(-0.5 * (across**2 + around**2))

    time = _order(shape, snake) / max(1, shape[0] * shape[1] - 1)
    flux = (1 - decay) ** time * (1 + 0.02 * rng.standard_normal(shape))
    frames = rng.poisson(flux[where] * (peak + background)).clip(max=_SATURATED - 1).astype("u2")
    mask = np.zeros(detector, bool)
    mask[rng.integers(0, detector[0], 3), rng.integers(0, detector[1], 3)] = True
    frames[..., mask] = _SATURATED
    over = ("y", "x")
    full = (*over, "ky", "kx")

    def truth(values: np.ndarray, units: str, name: str) -> Any:
        return over, values, {"units": units, "long_name": f"True {name}"}

    return xr.Dataset(
        {
            "counts": (full, frames[..., ::-1, :], {"units": "counts", "long_name": "Counts"}),
            "monitor": (over, rng.poisson(1e6 * flux).astype("f8"), {"units": "counts", "long_name": "Incident beam"}),
            "pixel_mask": (("ky", "kx"), mask[::-1], {"units": "1", "long_name": "Pixels to leave out"}),
            "true_strain": truth(true_strain, "1", "strain"), "true_tilt": truth(true_tilt, "rad", "tilt"),
            "true_two_theta": truth(np.degrees(angle), "degree", "two theta of the peak"),
            "true_sigma": truth(np.degrees(sigma), "degree", "width of the peak"),
            "true_intensity": truth(intensity, "counts", "photons of the peak in the full beam"),
        },
        coords={
            **axes(shape, scan_size),
            **detector_coordinates(detector, beam, (_PIXEL, _PIXEL), distance, wavelength),
        },
        attrs={
            "title": "Simulated X-ray diffraction map", "modality": "X-ray diffraction", "instrument": "simulator",
            "data_type": "diffraction patterns", "wavelength": wavelength, "distance": distance, "pixel_size": _PIXEL,
            "beam_row": float(beam[0]), "beam_column": float(beam[1]), "count_time": 0.1,
            "unstrained_two_theta": float(np.degrees(middle)), "snake": int(snake),
        },
    )  # fmt: skip


def _order(shape: tuple[int, int], snake: bool) -> np.ndarray:
    """When each point of a scan is measured; the first line lies at the bottom."""
    order = np.arange(shape[0] * shape[1]).reshape(shape)
    if snake:
        order[1::2] = order[1::2, ::-1]
    return order


def write_nexus_scan(ds: xr.Dataset, path: str | os.PathLike[str], *, external: bool = True) -> None:
    """Write a map of diffraction patterns as a NeXus scan: points in the order in which they were measured.

    Parameters
    ----------
    ds : Dataset
        As `xray_map` gives it: ``counts(y, x, ky, kx)``, ``monitor(y, x)``, ``pixel_mask(ky, kx)``, the geometry as
        attributes.
    path : path-like
        Of the NeXus file.
    external : bool
        Whether the frames go to a file of their own beside it (``NAME_frames.h5``), as those of a detector do.

    Raises
    ------
    ValueError
        If something of that is missing.
    FileExistsError
        If one of the files is there.

    Notes
    -----
    *Laziness*: line by line; one pass.

    References
    ----------
    NeXus manual: NXdata, NXdetector, NXpositioner, NXmonitor, NXbeam.

    Examples
    --------
    >>> import pathlib, tempfile, xpycro as xp
    >>> path = pathlib.Path(tempfile.mkdtemp(), "scan.nxs")
    >>> write_nexus_scan(xray_map((2, 3), (16, 16)), path)
    >>> dict(xp.open(path).sizes)
    {'y': 2, 'x': 3, 'ky': 16, 'kx': 16}
    """
    import h5py

    needed = {"counts": ("y", "x", "ky", "kx"), "monitor": ("y", "x"), "pixel_mask": ("ky", "kx")}
    lacking = [f"{name}{dims}" for name, dims in needed.items() if name not in ds or set(ds[name].dims) != set(dims)]
    lacking += [name for name in ("distance", "wavelength", "pixel_size", "beam_row", "beam_column")
                if name not in ds.attrs]  # fmt: skip
    if lacking:
        raise ValueError(f"a NeXus scan needs {lacking}, as xp.simulate.xray_map gives them")
    target = os.fspath(path)
    stem = os.path.splitext(target)[0]
    ny, nx = ds.sizes["y"], ds.sizes["x"]
    order = np.argsort(_order((ny, nx), bool(ds.attrs.get("snake", 0))).ravel())  # where each record lies
    y, x = np.divmod(order, nx)
    frames = ds.counts.transpose("y", "x", "ky", "kx")
    with h5py.File(target, "x") as file, h5py.File(f"{stem}_frames.h5", "x") if external else file as holder:
        entry = _group(file, "entry", "NXentry", default="plot")
        entry["title"], entry["start_time"] = str(ds.attrs.get("title", "")), "2025-01-01T00:00:00"
        _group(entry, "instrument", "NXinstrument")["name"] = str(ds.attrs.get("instrument", ""))
        detector = _group(entry, "instrument/eiger", "NXdetector")
        home = "entry/data/data" if external else "entry/instrument/eiger/data"
        stack = holder.create_dataset(
            home, (ny * nx, *frames.shape[2:]), frames.dtype, chunks=(1, *frames.shape[2:]), compression="gzip",
            compression_opts=1, shuffle=True,
        )  # fmt: skip
        for line in range(ny):
            values = frames[line].values[:, ::-1]
            for record in np.flatnonzero(y == line):
                stack[record] = values[x[record]]
        if external:
            detector["data"] = h5py.ExternalLink(os.path.basename(f"{stem}_frames.h5"), f"/{home}")
        said, mask = ds.attrs, ds.pixel_mask.transpose("ky", "kx").values[::-1]
        numbers: list[tuple[str, str, Any, str]] = [
            ("eiger", "x_pixel_size", said["pixel_size"], "m"), ("eiger", "y_pixel_size", said["pixel_size"], "m"),
            ("eiger", "distance", said["distance"], "m"), ("eiger", "count_time", said.get("count_time", 1.0), "s"),
            ("eiger", "beam_center_x", said["beam_column"], "pixel"),
            ("eiger", "beam_center_y", said["beam_row"], "pixel"), ("eiger", "pixel_mask", mask.astype("u4"), ""),
            ("beam", "incident_wavelength", said["wavelength"] * 1e10, "angstrom"),
            ("sy", "value", ds.y.values[y] * 1e6, "um"), ("sx", "value", ds.x.values[x] * 1e6, "um"),
        ]  # fmt: skip
        kinds = {"beam": "NXbeam", "sy": "NXpositioner", "sx": "NXpositioner", "eiger": "NXdetector"}
        for group, name, value, units in numbers:
            _put(_group(entry, f"instrument/{group}", kinds[group]), name, value, units)
        _put(_group(entry, "monitor", "NXmonitor"), "data", ds.monitor.transpose("y", "x").values[y, x], "counts")
        plot = _group(entry, "plot", "NXdata", signal="data", axes=["sx", ".", "."], sx_indices=[0], sy_indices=[0])
        for name, link in (("data", "eiger/data"), ("sx", "sx/value"), ("sy", "sy/value")):
            plot[name] = h5py.SoftLink(f"/entry/instrument/{link}")


def _group(parent: Any, name: str, kind: str, **attrs: Any) -> Any:
    group = parent.require_group(name)
    group.attrs.update({"NX_class": kind, **attrs})
    return group


def _put(group: Any, name: str, value: Any, units: str) -> None:
    data = group.create_dataset(name, data=value)
    if units:
        data.attrs["units"] = units
