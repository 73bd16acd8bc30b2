"""Where the pixels of an area detector lie around the beam: reciprocal coordinates and scattering angles.

May import numpy, xarray and schema.
"""

from __future__ import annotations

import math

import numpy as np
import xarray as xr

from xpycro.schema import coordinate

__all__ = ["detector_coordinates"]


def detector_coordinates(
    shape: tuple[int, int],
    beam: tuple[float | None, float | None],
    pixel: tuple[float | None, float | None],
    distance: float | None,
    wavelength: float | None,
) -> dict[str, xr.Variable]:
    """``ky, kx`` of a flat detector across the beam, and ``two_theta(ky, kx)`` where all is known.

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

    Returns
    -------
    dict of str to Variable
        ``ky`` upwards: in 1/m (pixel over wavelength times distance, which holds for small angles), in pixels from the
        beam, or from the corner, by what is known.
    """
    origin = [0.0 if at is None else at for at in beam]
    down, right = (np.arange(size) - at for size, at in zip(shape, origin, strict=True))
    up = 0.0 - down[::-1] if None not in beam else np.arange(float(shape[0]))
    values = (*pixel, distance, wavelength)
    if None in beam or not all(value is not None and 0 < value < math.inf for value in values):
        return {"ky": coordinate("ky", up, units="pixel"), "kx": coordinate("kx", right, units="pixel")}
    height, width, far, wave = (float(value or 0) for value in values)
    y, x = up * height, right * width
    angle = np.degrees(np.arctan(np.hypot(y[:, None], x) / far))
    return {
        "ky": coordinate("ky", y / (far * wave)),
        "kx": coordinate("kx", x / (far * wave)),
        "two_theta": coordinate(("ky", "kx"), angle, name="two_theta", dimension_type="reciprocal"),
    }
