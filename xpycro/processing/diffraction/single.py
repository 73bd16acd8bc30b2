"""Each reduction as a function of its own.

May import numpy, xarray, the base floor, `run` and the kinds beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import xarray as xr

from xpycro.processing.diffraction.kinds import (
    CenterOfMass,
    MaxPattern,
    MeanPattern,
    RadialProfile,
    Reduction,
    StdPattern,
    VirtualDetector,
)
from xpycro.processing.diffraction.running import PATTERNS, run
from xpycro.provenance import recorded

__all__ = ["center_of_mass", "max_pattern", "mean_pattern", "radial_profile", "std_pattern", "virtual_detector"]


@recorded("diffraction.virtual_detector")
def virtual_detector(
    data: xr.DataArray | xr.Dataset,
    outer: float = np.inf,
    inner: float = 0.0,
    *,
    center: tuple[float, float] = (0.0, 0.0),
    mask: xr.DataArray | None = None,
    variable: str | None = None,
    dims: Sequence[str] | None = None,
    exclude: xr.DataArray | None = None,
) -> xr.DataArray:
    """The image of a virtual detector: disk, annulus or mask.

    Parameters
    ----------
    data, variable, dims, exclude
        As in `run`.
    outer, inner, center, mask
        As in `VirtualDetector`.

    Returns
    -------
    DataArray
        Over the positions, the sum in units of the data.

    Notes
    -----
    *Laziness*: lazy, one pass; for several reductions use `run`.

    Examples
    --------
    >>> scan = xr.DataArray(np.ones((2, 2, 5, 5)), dims=("y", "x", "ky", "kx"))
    >>> float(virtual_detector(scan, outer=1, center=(2, 2))[0, 0])
    5.0
    """
    item = VirtualDetector(outer, inner, center, mask)
    return run(data, [item], variable=variable, dims=dims, exclude=exclude)[item.name]


@recorded("diffraction.center_of_mass")
def center_of_mass(
    data: xr.DataArray | xr.Dataset,
    outer: float = np.inf,
    *,
    center: tuple[float, float] = (0.0, 0.0),
    variable: str | None = None,
    dims: Sequence[str] | None = None,
    exclude: xr.DataArray | None = None,
) -> xr.Dataset:
    """Where the intensity of each pattern lies.

    Parameters
    ----------
    data, variable, dims, exclude
        As in `run`.
    outer, center
        As in `CenterOfMass`.

    Returns
    -------
    Dataset
        ``com_ky``, ``com_kx`` (named as the dims) over the positions, in the detector's units: cycles per metre, not
        radian.

    Notes
    -----
    *Laziness*: lazy, one pass.

    Examples
    --------
    >>> scan = xr.DataArray(np.ones((2, 2, 5, 5)), dims=("y", "x", "ky", "kx"))
    >>> float(center_of_mass(scan).com_kx[0, 0])
    2.0
    """
    return run(data, [CenterOfMass(outer, center)], variable=variable, dims=dims, exclude=exclude)


@recorded("diffraction.radial_profile")
def radial_profile(
    data: xr.DataArray | xr.Dataset,
    width: float | None = None,
    outer: float | None = None,
    *,
    center: tuple[float, float] = (0.0, 0.0),
    radius: str | None = None,
    variable: str | None = None,
    dims: Sequence[str] | None = None,
    exclude: xr.DataArray | None = None,
) -> xr.DataArray:
    """The mean over rings, a profile for each position.

    Parameters
    ----------
    data, variable, dims, exclude
        As in `run`.
    width, outer, center, radius
        As in `RadialProfile`.

    Returns
    -------
    DataArray
        Over the positions and ``k`` (middles of the rings), in units of the data; with `radius` over that coordinate
        (mean of each ring's pixels). ``ring_pixels`` says how many pixels each ring has.

    Notes
    -----
    *Laziness*: lazy, one pass.

    Examples
    --------
    >>> scan = xr.DataArray(np.ones((2, 2, 5, 5)), dims=("y", "x", "ky", "kx"))
    >>> radial_profile(scan, center=(2, 2))[0, 0].values
    array([1., 1.])
    """
    item = RadialProfile(width, outer, center, radius)
    return run(data, [item], variable=variable, dims=dims, exclude=exclude)["radial_profile"]


def _pattern(reduction: Reduction, what: str, example: str) -> Callable[..., xr.DataArray]:
    """The function of a reduction to one pattern."""
    name = PATTERNS[type(reduction)]

    def pattern(
        data: xr.DataArray | xr.Dataset,
        *,
        variable: str | None = None,
        dims: Sequence[str] | None = None,
        exclude: xr.DataArray | None = None,
    ) -> xr.DataArray:
        return run(data, [reduction], variable=variable, dims=dims, exclude=exclude)[name]

    pattern.__name__ = pattern.__qualname__ = name
    pattern.__doc__ = f"""{what} of each detector pixel over all positions.

    Parameters
    ----------
    data, variable, dims, exclude
        As in `run`.

    Returns
    -------
    DataArray
        Over the detector's dims, in the units of the data.

    Notes
    -----
    *Laziness*: lazy, one pass; for several reductions use `run`.

    Examples
    --------
    >>> scan = xr.DataArray(np.array([[[[1.0]], [[5.0]]]]), dims=("y", "x", "ky", "kx"))
    >>> float({name}(scan)[0, 0])
    {example}
    """
    return recorded(f"diffraction.{name}")(pattern)


mean_pattern = _pattern(MeanPattern(), "The mean", "3.0")
max_pattern = _pattern(MaxPattern(), "The largest value", "5.0")
std_pattern = _pattern(StdPattern(), "The standard deviation (divided by the number of positions)", "2.0")
