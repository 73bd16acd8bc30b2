"""From where a Bragg peak lies to the strain of its lattice planes.

May import numpy, xarray and the base floor.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from xpycro.provenance import recorded

__all__ = ["strain"]


@recorded("diffraction.strain")
def strain(position: xr.DataArray, *, reference: float | None = None, stderr: xr.DataArray | None = None) -> xr.Dataset:
    """The strain of lattice planes from where their Bragg peak lies.

    With Bragg's law, ``wavelength = 2 d sin(theta)``, the spacing relative to that of the reference is ``d / d0 =
    sin(theta0) / sin(theta)``, whatever the wavelength; of a position in reciprocal space it is ``q0 / q``.

    Parameters
    ----------
    position : DataArray
        Two theta (units degree or rad), or q or k (1/m): the centre of a fitted peak.
    reference : float, optional
        Where the peak lies without strain, in the units of `position`; None is the median, so that strain is relative
        to the map itself.
    stderr : DataArray, optional
        Standard error of `position`.

    Returns
    -------
    Dataset
        ``strain`` over the dims of `position` (1, positive where planes are wider apart), with `stderr` also
        ``strain_stderr``, to first order; the reference as attribute.

    Raises
    ------
    ValueError
        If the units are none of these, or `reference` is not positive.

    Notes
    -----
    *Laziness*: lazy; without `reference` the median is computed now.

    References
    ----------
    J. Als-Nielsen, D. McMorrow, Elements of Modern X-ray Physics (2011), 5.1: Bragg's law.

    Examples
    --------
    >>> angles = xr.DataArray([37.0237, 36.9853], dims="x", attrs={"units": "degree"})
    >>> strain(angles, reference=37.0237).strain.round(5).values
    array([0.   , 0.001])
    """
    units = str(position.attrs.get("units", ""))
    half = {"degree": np.pi / 360, "rad": 0.5}.get(units)
    if half is None and units != "1/m":
        raise ValueError(f"position is in {units or 'no unit'}: pass two theta in degree or rad, or q or k in 1/m")
    origin = float(position.compute().median()) if reference is None else float(reference)
    if not origin > 0:
        raise ValueError(f"reference={origin} {units}: a peak lies at a positive angle or q")
    if half is None:
        ratio: xr.DataArray = origin / position
        slope: xr.DataArray = 1 / position
    else:
        ratio = np.sin(half * origin) / xr.apply_ufunc(np.sin, half * position, dask="allowed")
        slope = half / xr.apply_ufunc(np.tan, half * position, dask="allowed")
    attrs = {"units": "1", "long_name": "Strain"}
    found = {"strain": (ratio - 1).assign_attrs(attrs)}
    if stderr is not None:
        found["strain_stderr"] = abs(ratio * slope * stderr).assign_attrs(
            units="1", long_name="Standard error of strain"
        )
    return xr.Dataset(found, attrs={"strain_reference": origin, "strain_reference_units": units})
