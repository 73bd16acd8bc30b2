"""Mass spectra: the axis from times of flight, the peaks of the mean spectrum, ion images.

May import numpy, xarray, scipy (inside functions), engine and the base floor; not its siblings.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from xpycro.engine import chunked
from xpycro.engine.axes import along, real_numbers
from xpycro.provenance import recorded
from xpycro.schema import coordinate, pick

__all__ = ["calibrate", "ion_images", "peaks"]


@recorded("mass.calibrate")
def calibrate(data: xr.DataArray | xr.Dataset, points: Mapping[float, float], dim: str = "time") -> Any:
    """A mass axis from times of flight: ``m/z = ((t - t0) / k)^2`` through known ions.

    Parameters
    ----------
    data : DataArray or Dataset
        Over a time of flight, ascending.
    points : mapping of float to float
        Time at which an ion arrives, in units of the axis, and its m/z; two at least.
    dim : str, default "time"

    Returns
    -------
    DataArray or Dataset
        As the input, with the dim ``mass_to_charge`` in place of `dim`. Attributes of the coordinate hold ``t0``, ``k``
        and the largest deviation of the points in ppm.

    Raises
    ------
    ValueError
        If points are too few, or the masses would not rise along the axis.

    Notes
    -----
    *Laziness*: only the coordinate is touched. With more than two points the line ``t = t0 + k sqrt(m/z)`` is fitted by
    least squares.

    References
    ----------
    W. C. Wiley, I. H. McLaren, Rev. Sci. Instrum. 26, 1150 (1955).

    Examples
    --------
    >>> time = xr.DataArray(np.zeros(5), coords={"time": [1e-6, 2e-6, 3e-6, 4e-6, 5e-6]}, dims="time")
    >>> calibrate(time, {2e-6: 1.0, 4e-6: 9.0}).mass_to_charge.values.round(6)
    array([ 0.,  1.,  4.,  9., 16.])
    """
    if len(points) < 2:
        raise ValueError(f"points={dict(points)!r}: the two constants need two known ions at least")
    first = next(iter(data.data_vars.values())) if isinstance(data, xr.Dataset) else data
    axis = along(data[dim] if dim in data.coords else first, dim)
    times, masses = (np.array(values, dtype=np.float64) for values in (list(points), list(points.values())))
    if not (masses > 0).all() or np.unique(masses).size < 2:
        raise ValueError(f"points={dict(points)!r}: masses are positive, and at least two of them differ")
    k, t0 = np.polyfit(np.sqrt(masses), times, 1)
    if not k > 0:
        raise ValueError(f"points={dict(points)!r}: heavier ions arrive later")
    found = ((times - t0) / k) ** 2
    flight = (axis.values - t0) / k
    if (np.diff(np.sign(flight) * flight**2) <= 0).any():
        raise ValueError(f"the masses do not rise along {dim!r}: sort it first, data.sortby({dim!r})")
    values = np.sign(flight) * flight**2  # before t0 nothing arrives: negative, so that the axis still rises
    worst = float(np.abs(found / masses - 1).max() * 1e6)
    labelled = coordinate("mass_to_charge", values, t0=float(t0), k=float(k), deviation_ppm=worst)
    return (
        data.drop_vars(dim, errors="ignore").rename({axis.dim: "mass_to_charge"}).assign_coords(mass_to_charge=labelled)
    )


@recorded("mass.peaks")
def peaks(
    data: xr.DataArray | xr.Dataset,
    *,
    dim: str = "mass_to_charge",
    variable: str | None = None,
    signal_to_noise: float = 5.0,
    n_peaks: int | None = None,
) -> xr.Dataset:
    """The peaks of the mean spectrum: where, how high, how wide, and the window of each.

    Parameters
    ----------
    data : DataArray or Dataset
    dim : str, default "mass_to_charge"
    variable : str, optional
        Which variable of a Dataset.
    signal_to_noise : float, default 5
        Least prominence over the noise of the mean spectrum, which is the scaled median absolute difference of
        neighbouring channels.
    n_peaks : int, optional
        At most so many, the highest.

    Returns
    -------
    Dataset
        Over ``peak``, by rising mass: ``mass_to_charge`` (the centroid of the upper half), ``height`` (of the data's
        units), ``width`` (full width at half of the prominence), ``low`` and ``high`` (the window: where the signal has
        fallen to the foot of the peak, or to the valley towards the next one).

    Raises
    ------
    ValueError
        If the data are complex, or no peak stands out.

    Notes
    -----
    *Laziness*: computes; one pass over the data.

    Examples
    --------
    >>> mass = np.linspace(99, 101, 401)
    >>> line = np.exp(-0.5 * ((mass - 100.1) / 0.02) ** 2)
    >>> found = peaks(xr.DataArray(line, coords={"mass_to_charge": mass}, dims="mass_to_charge"))
    >>> found.mass_to_charge.values.round(4), found.width.values.round(3)
    (array([100.1]), array([0.047]))
    """
    from scipy.signal import find_peaks, peak_widths

    da = real_numbers(pick(data, variable, dim))
    axis = along(da, dim)
    axis.require_monotonic()
    others = [d for d in da.dims if d != axis.dim]
    mean = np.asarray(chunked.lazily(da).mean(others).values, dtype=np.float64)
    filled = np.nan_to_num(mean)
    noise = float(np.median(np.abs(np.diff(filled)))) / (0.6745 * np.sqrt(2))
    least = signal_to_noise * noise if noise > 0 else 1e-3 * float(np.ptp(filled))
    places, said = find_peaks(filled, prominence=max(least, 1e-300))
    if not places.size:
        raise ValueError(
            f"no peak of the mean spectrum is {signal_to_noise} times its noise ({noise:.3g}): lower signal_to_noise"
        )
    if n_peaks is not None and places.size > n_peaks:
        kept = np.sort(np.argsort(filled[places], kind="stable")[-n_peaks:])
        places, said = places[kept], {name: values[kept] for name, values in said.items()}
    prominences = (said["prominences"], said["left_bases"], said["right_bases"])
    _, _, left, right = peak_widths(filled, places, 0.5, prominences)
    _, _, foot_left, foot_right = peak_widths(filled, places, 0.95, prominences)
    valleys = [int(a + np.argmin(filled[a : b + 1])) for a, b in itertools.pairwise(places)]
    first = np.maximum(np.floor(foot_left).astype(int), [0, *valleys])
    last = np.minimum(np.ceil(foot_right).astype(int), [*valleys, filled.size - 1])
    at = np.arange(filled.size)
    lower, upper = (np.interp(edge, at, axis.values) for edge in (left, right))
    centre = [
        float(np.average(axis.values[a : b + 1], weights=np.maximum(filled[a : b + 1] - base, 0)))
        for a, b, base in zip(
            np.ceil(left).astype(int), np.floor(right).astype(int), filled[places] - 0.5 * prominences[0], strict=True
        )
    ]
    units = str(da.attrs.get("units", "1"))
    columns = {
        "height": (filled[places], units, "Height of the mean spectrum"),
        "width": (upper - lower, "1", "Full width at half height"),
        "low": (axis.values[first], "1", "Begin of the window"),
        "high": (axis.values[last], "1", "End of the window"),
    }
    return xr.Dataset(
        {
            name: ("peak", values, {"units": unit, "long_name": label})
            for name, (values, unit, label) in columns.items()
        },
        coords={"mass_to_charge": coordinate("peak", centre, name="mass_to_charge", dimension_type="component")},
    )


def _windows(masses: Any, tolerance: str | float, axis: np.ndarray) -> list[slice]:
    """The channels of each ion: those within the tolerance, or of the window that a table of peaks gives."""
    if isinstance(masses, xr.Dataset):
        low, high = (np.asarray(masses[name].values, dtype=np.float64) for name in ("low", "high"))
    else:
        centres = np.atleast_1d(np.asarray(masses, dtype=np.float64))
        found = (
            re.fullmatch(r"\s*([0-9.]+(?:e-?\d+)?)\s*ppm\s*", tolerance, re.I) if isinstance(tolerance, str) else None
        )
        if isinstance(tolerance, str) and found is None:
            raise ValueError(f"tolerance={tolerance!r}: expected '20 ppm', or a number of m/z")
        half = centres * float(found[1]) * 1e-6 if found else np.full(centres.shape, float(tolerance))
        low, high = centres - half, centres + half
    first, last = np.searchsorted(axis, low, "left"), np.searchsorted(axis, high, "right")
    empty = np.flatnonzero(first >= last)
    if empty.size:
        n = int(empty[0])
        raise ValueError(
            f"no channel between m/z {low[n]:.6g} and {high[n]:.6g}, of an axis from {axis[0]:.6g} to {axis[-1]:.6g}: "
            "widen the tolerance, or open the file with a finer mass_axis"
        )
    return [slice(int(a), int(b)) for a, b in zip(first, last, strict=True)]


def _sums(*parts: np.ndarray) -> np.ndarray:
    """Sums along the last axis; a pixel without any value stays NaN."""
    sums = [np.where(np.isnan(p).all(-1), np.nan, np.nansum(p, axis=-1, dtype=np.float64)) for p in parts]
    return np.stack(sums, axis=-1)


@recorded("mass.ion_images")
def ion_images(
    data: xr.DataArray | xr.Dataset,
    masses: Sequence[float] | xr.Dataset,
    tolerance: str | float = "50 ppm",
    *,
    dim: str = "mass_to_charge",
    variable: str | None = None,
) -> xr.DataArray:
    """The summed intensity of each ion at every pixel.

    Parameters
    ----------
    data : DataArray or Dataset
    masses : sequence of float, or Dataset
        m/z of the ions; or the table of `peaks`, whose windows are then taken.
    tolerance : str or float, default "50 ppm"
        Half of the window: relative (``"50 ppm"``) or in m/z. The table of `peaks` needs none.
    dim : str, default "mass_to_charge"
    variable : str, optional
        Which variable of a Dataset.

    Returns
    -------
    DataArray
        ``(..., ion)`` over the pixels, with the coordinate ``mass_to_charge(ion)``; in the data's units. `ion` is the
        signal dim: ``images.pycro.decompose.nmf(4)`` unmixes them.

    Raises
    ------
    ValueError
        If the axis has no channel in a window.

    Notes
    -----
    *Laziness*: lazy. Data that are lazily indexed (``xp.open(..., chunks=None)``) are read in the windows only, all
    others in one pass.

    Examples
    --------
    >>> mass = {"mass_to_charge": [10.0, 11.0, 12.0, 13.0]}
    >>> ion_images(xr.DataArray([1.0, 2.0, 4.0, 8.0], mass, ["mass_to_charge"]), [10.5, 13], 0.6).values
    array([3., 8.])
    """
    da = real_numbers(pick(data, variable, dim))
    axis = along(da, dim)
    axis.require_monotonic()
    windows = _windows(masses, tolerance, axis.values)
    centres = (
        masses.mass_to_charge.values if isinstance(masses, xr.Dataset) else np.atleast_1d(np.asarray(masses, float))
    )
    bare = da.drop_vars([name for name, coord in da.coords.items() if axis.dim in coord.dims])
    names = [f"{axis.dim}_{n}" for n in range(len(windows))]
    parts = [
        bare.isel({axis.dim: window}).rename({axis.dim: name}) for window, name in zip(windows, names, strict=True)
    ]
    output = chunked.Output(np.float64, ("ion",), {"ion": len(windows)}, {**da.attrs, "long_name": "Ion images"})
    made = chunked.apply(_sums, *parts, dims=[[name] for name in names], outputs={"ions": output})["ions"]
    labels = coordinate("ion", centres, name="mass_to_charge")
    return made.assign_coords(ion=coordinate("ion", np.arange(len(windows))), mass_to_charge=labels).rename(da.name)
