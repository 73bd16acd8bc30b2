"""Where the pixels of an area detector lie around the beam: reciprocal coordinates, scattering angles, q.

May import numpy, xarray, schema and io below.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import xarray as xr
from xarray.core import indexing

from xpycro.io.hdf5_array import _ranges
from xpycro.io.rawarray import _Backend
from xpycro.schema import coordinate

__all__ = ["Geometry", "detector_coordinates", "wavelength_of"]

_PLANCK_LIGHT = 6.62607015e-34 * 299792458.0 / 1.602176634e-19  # eV m, exact in the SI of 2019
_EAGER = 1 << 20  # pixels up to which angles are computed at once


def wavelength_of(energy: float | None) -> float | None:
    """The wavelength (m) of photons of so many eV.

    Examples
    --------
    >>> round(wavelength_of(12398.42) * 1e10, 6)
    1.0
    """
    return _PLANCK_LIGHT / energy if energy is not None and 0 < energy < math.inf else None


@dataclass(frozen=True)
class Geometry:
    """A flat detector anywhere: the sample is the origin, the beam runs along z.

    Attributes
    ----------
    first, down, right : tuple of float
        The centre of the first pixel as stored, and the steps to the next row and to the next column, m.
    wavelength : float or None
        In m.
    """

    first: tuple[float, float, float]
    down: tuple[float, float, float]
    right: tuple[float, float, float]
    wavelength: float | None = None

    @classmethod
    def facing(
        cls, beam: Sequence[float], pixel: Sequence[float], distance: float, wavelength: float | None = None
    ) -> Geometry:
        """A detector across the beam, which meets it at pixel (row, column), pixels of (height, width)."""
        height, width = pixel
        first = (-beam[1] * width, beam[0] * height, distance)
        return cls(first, (0.0, -height, 0.0), (width, 0.0, 0.0), wavelength)

    @property
    def faces(self) -> bool:
        """Whether it stands across the beam, rows level."""
        scale = 1e-6 * max(map(abs, (*self.down, *self.right)))
        (dx, dy, dz), (rx, ry, rz) = self.down, self.right
        return max(abs(dx), abs(dz), abs(ry), abs(rz)) <= scale and dy * rx != 0 and self.first[2] > 0

    def angle(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Two theta in rad of the pixels (row, column), counted as stored."""
        at = [
            f + d * rows[:, None] + r * columns[None, :]
            for f, d, r in zip(self.first, self.down, self.right, strict=True)
        ]
        return np.arctan2(np.hypot(at[0], at[1]), at[2])


@dataclass(frozen=True)
class AngleArray:
    """Two theta (degree) or q (1/m) of each pixel, rows turned upwards, computed where it is looked at."""

    geometry: Geometry
    shape: tuple[int, int]
    kind: Literal["two_theta", "q"]

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return 2

    @property
    def result_dtype(self) -> np.dtype:
        """dtype of what is handed out."""
        return np.dtype(np.float64)

    def __dask_tokenize__(self) -> tuple[Any, ...]:
        g = self.geometry
        return ("xpycro.AngleArray", self.kind, self.shape, g.first, g.down, g.right, g.wavelength)

    def read(self, key: Any = ()) -> np.ndarray:
        """The numbers that a basic index names."""
        spans, dropped = _ranges(key, self.shape)
        up, right = (np.asarray(span, float) for span in spans)
        angle = self.geometry.angle(self.shape[0] - 1 - up, right)
        if self.kind == "q":
            angle = 4 * np.pi / (self.geometry.wavelength or math.nan) * np.sin(angle / 2)
        else:
            angle = np.degrees(angle)
        return angle.reshape([n for axis, n in enumerate(angle.shape) if axis not in dropped])


def angles(geometry: Geometry, shape: tuple[int, int]) -> dict[str, xr.Variable]:
    """``two_theta(ky, kx)``, and ``q(ky, kx)`` where the wavelength is known; lazy for a large detector."""
    found: dict[str, xr.Variable] = {}
    for kind in ("two_theta", "q") if geometry.wavelength else ("two_theta",):
        raw = AngleArray(geometry, shape, kind)
        attrs = coordinate(("ky", "kx"), np.zeros((1, 1)), name=kind, dimension_type="reciprocal").attrs
        lazy = indexing.LazilyIndexedArray(_Backend(raw))  # type: ignore[arg-type]
        found[kind] = xr.Variable(("ky", "kx"), lazy if math.prod(shape) > _EAGER else raw.read(), attrs)
    return found


def detector_coordinates(
    shape: tuple[int, int],
    beam: tuple[float | None, float | None],
    pixel: tuple[float | None, float | None],
    distance: float | None,
    wavelength: float | None,
    *,
    geometry: Geometry | None = None,
) -> dict[str, xr.Variable]:
    """``ky, kx`` of a flat detector, with ``two_theta(ky, kx)`` and ``q(ky, kx)`` where all is known.

    Parameters
    ----------
    shape : (rows, columns)
        Stored with the first row at the top.
    beam : (row, column) or None
        Where the beam meets the detector, in pixels; the centre of the first pixel is (0, 0).
    pixel : (height, width) or None
        In m.
    distance, wavelength : float or None
        In m.
    geometry : Geometry, optional
        Where the pixels lie, for a detector that does not stand across the beam.

    Returns
    -------
    dict of str to Variable
        ``ky`` upwards: in 1/m (pixel over wavelength times distance, which holds for small angles), in pixels from the
        beam, or from the corner, by what is known. ``two_theta`` in degree and ``q`` = 4 pi sin(theta) / wavelength in
        1/m are exact.

    References
    ----------
    J. Als-Nielsen, D. McMorrow, Elements of Modern X-ray Physics (2011), 1.2: the wavevector transfer.
    """
    origin = [0.0 if at is None else at for at in beam]
    down, right = (np.arange(size) - at for size, at in zip(shape, origin, strict=True))
    up = 0.0 - down[::-1] if None not in beam else np.arange(float(shape[0]))
    sizes = (*pixel, distance)
    known = None not in beam and all(value is not None and 0 < value < math.inf for value in sizes)
    if geometry is None and known:
        geometry = Geometry.facing(
            origin, [float(value or 0) for value in pixel], float(distance or 0), _positive(wavelength)
        )
    found = angles(geometry, shape) if geometry is not None else {}
    wave = _positive(wavelength)
    if not known or wave is None or (geometry is not None and not geometry.faces):
        return {"ky": coordinate("ky", up, units="pixel"), "kx": coordinate("kx", right, units="pixel"), **found}
    height, width, far = (float(value or 0) for value in sizes)
    return {
        "ky": coordinate("ky", up * height / (far * wave)),
        "kx": coordinate("kx", right * width / (far * wave)),
        **found,
    }


def _positive(value: float | None) -> float | None:
    return value if value is not None and 0 < value < math.inf else None
