"""What a NeXus file says of its detector: geometry, mask, count time, wavelength; by NXdetector and by NXmx.

May import numpy, xarray and io below, h5py inside functions.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from xpycro.io import hdf5_array
from xpycro.io.translators import _h5tools as h5
from xpycro.io.translators import _records as records
from xpycro.io.translators._axes import axis_units
from xpycro.io.translators._detector import Geometry, detector_coordinates, wavelength_of

__all__ = [
    "attributes",
    "class_of",
    "classes",
    "coordinates",
    "dataset",
    "is_electron",
    "mask",
    "quantity",
    "wavelength",
]

Classes = Mapping[str, Sequence[Any]]
_CHAIN = 32  # transformations one after the other
_ELECTRONS = ("arina", "ela", "quadro", "singla")  # Dectris detectors for electron microscopes


def dataset(group: Any, *names: str) -> Any:
    """The first of these datasets that a group has, links within the file followed; else None."""
    import h5py

    for name in names:
        found = group.get(name) if group is not None and name in group else None
        if isinstance(found, h5py.Dataset):
            return found
    return None


def quantity(group: Any, names: Sequence[str], base: str, default: str = "") -> float | None:
    """A number in its base unit, of a dataset that holds one; None where there is none, or it is not finite.

    Parameters
    ----------
    group : h5py.Group or None
    names : sequence of str
        The first that is there counts.
    base : str
        The unit it is wanted in.
    default : str
        The unit of one that names none.
    """
    found = dataset(group, *names)
    if found is None or found.dtype.kind not in "fiu" or found.shape not in ((), (1,)):
        return None
    factor, unit = axis_units(h5.text(found.attrs.get("units")) or default)
    value = float(np.asarray(found[()]).ravel()[0]) * factor
    return value if math.isfinite(value) and unit == base else None


def class_of(group: Any) -> str:
    """The NeXus class of a group, in lower case: not all write it right."""
    return h5.text(group.attrs.get("NX_class")).lower()


def classes(file: Any, names: Iterable[str]) -> Classes:
    """Groups by their class, those that lie highest first."""
    found: dict[str, list[Any]] = {}
    for name in sorted(names, key=lambda name: name.count("/")):
        group = file[name]
        found.setdefault(class_of(group), []).append(group)
    return found


def wavelength(kinds: Classes, detector: Any = None) -> float | None:
    """The wavelength of the beam in m: of NXbeam, of NXmonochromator, of the energy that the detector is told."""
    for group in (*kinds.get("nxbeam", ()), *kinds.get("nxmonochromator", ())):
        found = quantity(group, ("incident_wavelength", "wavelength"), "m", "angstrom")
        energy = quantity(group, ("incident_energy", "energy"), "eV", "eV")
        if (found or 0) > 0 or (energy or 0) > 0:
            return found if (found or 0) > 0 else wavelength_of(energy)
    special = detector.get("detectorSpecific") if detector is not None else None
    return wavelength_of(quantity(special, ("photon_energy",), "eV", "eV"))


def is_electron(detector: Any) -> bool:
    """Whether the detector is one of electron microscopes."""
    words = h5.text(_word(detector, "description")).lower().split()
    return any(name in words for name in _ELECTRONS)


def _word(group: Any, name: str) -> Any:
    found = dataset(group, name)
    return np.asarray(found[()]) if found is not None and found.size == 1 and found.dtype.kind in "OS" else None


def attributes(kinds: Classes, detector: Any) -> dict[str, Any]:
    """Plain attributes of the measurement: instrument, modality, count time, wavelength."""
    said: dict[str, Any] = {}
    names = [h5.text(_word(group, "name")) for group in kinds.get("nxinstrument", ())]
    said["instrument"] = next(filter(None, [h5.text(_word(detector, "description")), *names]), None)
    said["count_time"] = quantity(detector, ("count_time", "exposure_time", "acq_exposure_time"), "s", "s")
    if detector is not None and is_electron(detector):
        said["modality"] = "scanning transmission electron microscopy"
        return said
    probes = [h5.text(_word(group, "probe")).lower() for group in kinds.get("nxsource", ())]
    wave = wavelength(kinds, detector)
    if any("neutron" in probe for probe in probes):
        said["modality"] = "neutron diffraction"
    elif wave is not None or any("x-ray" in probe for probe in probes):
        said["modality"] = "X-ray diffraction"
    said["wavelength"] = wave
    return said


def coordinates(detector: Any, shape: tuple[int, int], wave: float | None) -> dict[str, xr.Variable]:
    """``ky, kx`` of a detector of (rows, columns), and ``two_theta``, ``q`` where the file has the geometry."""
    if detector is None or is_electron(detector):  # the camera length is not what these files say
        return detector_coordinates(shape, (None, None), (None, None), None, None)
    pixel = quantity(detector, ("y_pixel_size",), "m", "m"), quantity(detector, ("x_pixel_size",), "m", "m")
    beam = tuple(
        _pixels(detector, name, size) for name, size in zip(("beam_center_y", "beam_center_x"), pixel, strict=True)
    )
    distance = quantity(detector, ("distance", "detector_distance"), "m", "m")
    geometry = _transformed(detector, wave)
    if geometry is not None and geometry.faces and None not in beam and (distance or 0) > 0:
        geometry = None  # the centre and the distance say the same, and scale both axes
    if beam == (0.0, 0.0) and not (distance or 0) > 0:
        beam = (None, None)  # nobody told the detector
    return detector_coordinates(shape, beam, pixel, distance, wave, geometry=geometry)  # type: ignore[arg-type]


def _pixels(detector: Any, name: str, size: float | None) -> float | None:
    """Where the beam meets an axis of the detector, in pixels: stated in pixels or as a length."""
    found = dataset(detector, name)
    if found is None or found.dtype.kind not in "fiu" or found.shape not in ((), (1,)):
        return None
    value = float(np.asarray(found[()]).ravel()[0])
    factor, unit = axis_units(h5.text(found.attrs.get("units")))
    if unit == "m":
        value = value * factor / size if size else math.nan
    return value if math.isfinite(value) else None


def _transformed(detector: Any, wave: float | None) -> Geometry | None:
    """The geometry by the chain of transformations of the detector's module (NXmx).

    References
    ----------
    NeXus manual, NXtransformations: a point is moved by the transformation itself, then by what it depends on.
    """
    import h5py

    below = [detector.get(n) for n in detector if isinstance(detector.get(n, getlink=True), h5py.HardLink)]
    module = next((g for g in below if isinstance(g, h5py.Group) and class_of(g) == "nxdetector_module"), None)
    fast, slow = (dataset(module, f"{name}_pixel_direction") for name in ("fast", "slow"))
    offset = dataset(module, "module_offset")
    if fast is None or slow is None or offset is None:
        return None
    place = _chain(offset)
    steps = []
    for one in (slow, fast):
        matrix, size, vector = _above(one), _value(one), _vector(one)
        if matrix is None or size is None or vector is None:
            return None
        steps.append(matrix[:3, :3] @ vector * size)
    if place is None:
        return None
    first, down, right = place[:3, 3], *steps
    numbers = np.concatenate([first, down, right])
    if not np.isfinite(numbers).all() or np.hypot(*first[:2]) + abs(first[2]) == 0 or not np.cross(down, right).any():
        return None
    return Geometry(tuple(map(float, first)), tuple(map(float, down)), tuple(map(float, right)), wave)  # type: ignore[arg-type]


def _value(step: Any) -> float | None:
    """A length in m or an angle in rad that does not change during the scan."""
    if step.dtype.kind not in "fiu" or step.size == 0 or step.size > 1 << 20:
        return None
    values = np.asarray(step[()], float).ravel()
    factor, unit = axis_units(h5.text(step.attrs.get("units")) or "m")
    factor = math.radians(1.0) if unit == "degree" else factor
    return float(values[0]) * factor if (values == values[0]).all() else None


def _vector(step: Any) -> np.ndarray | None:
    vector = np.asarray(step.attrs.get("vector", (0, 0, 0)), float).ravel()
    length = float(np.linalg.norm(vector)) if vector.size == 3 else 0.0
    return vector / length if 0 < length < math.inf else None


def _chain(step: Any, depth: int = 0) -> np.ndarray | None:
    """The matrix of a transformation and of all that it depends on; None where it cannot be known."""
    matrix, above = np.eye(4), _above(step, depth)
    value, vector = _value(step), _vector(step)
    offset = np.asarray(step.attrs.get("offset", (0, 0, 0)), float).ravel()
    if above is None or value is None or offset.size != 3 or (vector is None and value != 0):
        return None
    factor, _ = axis_units(h5.text(step.attrs.get("offset_units")) or h5.text(step.attrs.get("units")) or "m")
    rotates = h5.text(step.attrs.get("transformation_type")) == "rotation"
    if rotates and vector is not None:
        x, y, z = vector
        skew = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
        matrix[:3, :3] += math.sin(value) * skew + (1 - math.cos(value)) * (skew @ skew)  # Rodrigues
        factor, _ = axis_units(h5.text(step.attrs.get("offset_units")) or "m")
    elif vector is not None:
        matrix[:3, 3] = vector * value
    matrix[:3, 3] += offset * factor
    return above @ matrix


def _above(step: Any, depth: int = 0) -> np.ndarray | None:
    """The matrix of what a transformation depends on."""
    name = h5.text(step.attrs.get("depends_on"), ".")
    if name in (".", ""):
        return np.eye(4)
    found = dataset(step.file if name.startswith("/") else step.parent, name)
    if found is None or depth >= _CHAIN:
        return None
    return _chain(found, depth + 1)


def mask(detector: Any, shape: tuple[int, int]) -> xr.Variable | None:
    """``pixel_mask(ky, kx)``: true where a pixel is to be left out; None where the file has none.

    References
    ----------
    NeXus manual, NXdetector: pixel_mask is zero for a good pixel.
    """
    special = detector.get("detectorSpecific") if detector is not None else None
    for group in (detector, special):
        found = dataset(group, "pixel_mask", "pixel_mask_0001")
        if found is None or found.dtype.kind not in "iub" or found.shape[-2:] != shape:
            continue
        if found.ndim == 2 or (found.ndim == 3 and found.shape[0] == 1):
            raw = hdf5_array.array(found, flip=(True, False), fixed=((0, 0),) if found.ndim == 3 else ())
            return records.variable(("ky", "kx"), records.Nonzero(raw), "Pixels to leave out", "1")
    return None
