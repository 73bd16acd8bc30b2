"""What a scan of diffraction patterns can be reduced to, as values.

May import numpy and xarray; knows nothing of data.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import xarray as xr

__all__ = [
    "CenterOfMass",
    "MaxPattern",
    "MeanPattern",
    "RadialProfile",
    "Reduction",
    "StdPattern",
    "VirtualDetector",
]


@dataclass(frozen=True)
class Reduction:
    """Something that a scan of diffraction patterns is reduced to."""

    def describe(self) -> dict[str, Any]:
        """Name and parameters, for the history."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        shown = {k: {"$mask": list(v.shape)} if isinstance(v, xr.DataArray) else v for k, v in values.items()}
        return {"$reduction": type(self).__name__, **shown}


@dataclass(frozen=True, eq=False)
class VirtualDetector(Reduction):
    """The intensity within a disk, an annulus or any mask: one image.

    Parameters
    ----------
    outer, inner : float
        Radii in units of k (1/m, or what the detector's axes have); the default takes everything.
    center : (ky, kx)
    mask : DataArray, optional
        Weights over the detector's dims instead; 0 and 1, or any number.
    name : str
        Of the image in the result.
    """

    outer: float = np.inf
    inner: float = 0.0
    center: tuple[float, float] = (0.0, 0.0)
    mask: xr.DataArray | None = None
    name: str = "virtual_image"


@dataclass(frozen=True)
class CenterOfMass(Reduction):
    """Where the intensity lies on the detector, within `outer` of `center`: two images."""

    outer: float = np.inf
    center: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True)
class MeanPattern(Reduction):
    """The mean over all positions: one pattern."""


@dataclass(frozen=True)
class MaxPattern(Reduction):
    """The largest value over all positions, pixel by pixel: one pattern."""


@dataclass(frozen=True)
class StdPattern(Reduction):
    """The standard deviation over all positions (divided by their number): one pattern."""


@dataclass(frozen=True)
class RadialProfile(Reduction):
    """The mean over rings about `center`, a profile for each position.

    Parameters
    ----------
    width : float, optional
        Of a ring, in units of k; None is one pixel.
    outer : float, optional
        How far; None is to the farthest edge that is whole.
    center : (ky, kx)
    radius : str, optional
        A coordinate over the detector that rings follow instead of the distance from `center`, such as ``two_theta`` or
        ``q``: from its least value to `outer` (its largest), in its units.
    """

    width: float | None = None
    outer: float | None = None
    center: tuple[float, float] = (0.0, 0.0)
    radius: str | None = None
