"""What is drawn along and how much of it: axes and quantities with their display units, and values read for drawing.

May import numpy, xarray and the floors below. Draws nothing.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, replace

import numpy as np
import xarray as xr

from xpycro import schema, units
from xpycro.engine import chunked
from xpycro.errors import DimensionError

__all__ = ["Axis", "Quantity", "axis", "finite", "plane_axes", "quantity", "read", "signal_dims"]

SAMPLES = 200_000

FEW_EV, FEW_NM = 4e3, 3e-6  # energies and wavelengths below are never told in keV and µm


@dataclass(frozen=True)
class Axis:
    """A dimension as it is drawn.

    Attributes
    ----------
    dim : str
        Name of the dimension.
    label : str
        How it is called.
    unit : str or None
        Display unit with its engineering prefix.
    values : ndarray
        Where the samples lie, in display units.
    names : tuple of str or None
        What the samples are called, where they are called by name; `values` are then 0, 1, 2...
    width : float or None
        How wide a single sample is drawn; None is one unit.
    """

    dim: str
    label: str
    unit: str | None
    values: np.ndarray
    names: tuple[str, ...] | None = None
    width: float | None = None

    @property
    def title(self) -> str:
        """Label and unit."""
        return f"{self.label} ({self.unit})" if self.unit else self.label

    @property
    def even(self) -> bool:
        """Whether the samples are evenly spaced to a twentieth of a step."""
        if self.values.size < 3:
            return True
        line = np.linspace(self.values[0], self.values[-1], self.values.size)
        step = abs(line[1] - line[0])
        return bool(step > 0 and np.abs(self.values - line).max() <= 0.05 * step)

    @property
    def monotonic(self) -> bool:
        """Whether the samples only rise or only fall."""
        steps = np.diff(self.values)
        return bool((steps > 0).all() or (steps < 0).all())

    @property
    def edges(self) -> np.ndarray:
        """Where the samples' cells begin and end; one sample is one unit wide."""
        if self.values.size == 1:
            return self.values[0] + np.array([-0.5, 0.5]) * (self.width or 1.0)
        middle = (self.values[1:] + self.values[:-1]) / 2
        first, last = self.values[0] - (middle[0] - self.values[0]), self.values[-1] + (self.values[-1] - middle[-1])
        return np.concatenate([[first], middle, [last]])

    def text(self, index: int) -> str:
        """Where sample `index` lies, in words: ``Bias = -0.35 V``."""
        if self.names is not None:
            return self.names[index]
        return self.text_at(float(self.values[index]))

    def text_at(self, value: float) -> str:
        """A place on the axis in words."""
        number = f"{value:.4g}" if not 1e4 <= abs(value) < 1e7 else f"{value:.0f}"
        return f"{self.label} = {number}".replace("= -", "= −") + (f" {self.unit}" if self.unit else "")

    def nearest(self, value: float | str) -> int:
        """Index of the sample nearest to a place on the axis, outside it the first or last; or of that called so."""
        if isinstance(value, str):
            return (self.names or ()).index(value)
        return int(np.argmin(np.abs(self.values - value)))


def axis(da: xr.DataArray | xr.Dataset, dim: Hashable, *, along: str | None = None) -> Axis:
    """A dimension of `da` with label, engineering unit and scaled values.

    Parameters
    ----------
    da : DataArray or Dataset
    dim : str
    along : str, optional
        A 1-D coordinate that lies along `dim` to draw against; by default the dim's own, and for a swept axis
        (``step``, ``point``) the quantity that was swept.

    Returns
    -------
    Axis
    """
    name = str(dim)
    coord = da.coords.get(along or name)
    if along is None and (coord is None or name in ("step", "point")):
        swept = [c for c in da.coords.values() if c.dims == (dim,) and c.name != dim and c.dtype.kind in "fiu"]
        swept = [c for c in swept if schema.dimension_type(da, c.name or "") in ("spectral", "temporal")]
        coord = swept[0] if swept else coord
    known = schema.DIMENSIONS.get(str(coord.name) if coord is not None else name)
    label = known.label if known else name
    size = da.sizes[dim]
    if coord is None:
        spatial = schema.dimension_type(da, dim) in ("spatial", "reciprocal") and name != "position"
        return Axis(name, label, "pixel" if spatial else None, np.arange(size, dtype=float))
    label = _said(str(coord.attrs.get("long_name") or label))
    values = coord.values
    if values.dtype.kind == "M":
        return Axis(name, label, "s", (values - values[0]) / np.timedelta64(1, "s"))
    if values.dtype.kind == "m":
        return Axis(name, label, "s", values / np.timedelta64(1, "s"))
    if values.dtype.kind not in "fiu":
        return Axis(name, label, None, np.arange(size, dtype=float), tuple(str(v) for v in values))
    values = values.astype(float)
    valid = values[np.isfinite(values)]
    # A scan of 50 nm at an offset of 30 µm reads better in nm: the span counts, the distance from zero hardly.
    largest = max(float(np.ptp(valid)), float(np.abs(valid).max()) / 100) if valid.size else 0.0
    spread = ("spatial", "reciprocal", "temporal")
    if valid.size and (np.ptp(valid) == 0 or schema.dimension_type(da, dim) not in spread):
        largest = float(np.abs(valid).max())
    base, wanted = str(coord.attrs.get("units", "1")), coord.attrs.get("display_units")
    if wanted is None and base == "eV" and 1e3 <= largest < FEW_EV:
        wanted = "eV"
    if wanted is None and coord.name == "wavelength" and base == "m" and 1e-6 <= largest < FEW_NM:
        wanted = "nm"
    factor, unit = units.engineering(largest, base) if wanted is None else (units.conversion(base, wanted), str(wanted))
    return Axis(name, label, units.display_unit(unit), values * factor)


def plane_axes(da: xr.DataArray | xr.Dataset, x: str, y: str) -> tuple[Axis, Axis]:
    """The horizontal and vertical axis of a picture: of one prefix where they are of one unit, for a true aspect."""
    pair = [axis(da, dim) for dim in (x, y)]
    base = [str(da.coords[d].attrs.get("units", "1")) if d in da.coords else "pixel" for d in (x, y)]
    if base[0] != base[1] or any(a.names for a in pair) or pair[0].unit is None:
        return pair[0], pair[1]
    if pair[0].unit != pair[1].unit:
        spans = [float(np.ptp(da.coords[d].values)) for d in (x, y)]
        larger = pair[int(spans[1] > spans[0])]
        factor = _factor(da.coords[larger.dim].values, larger.values)
        pair = [Axis(a.dim, a.label, larger.unit, da.coords[a.dim].values.astype(float) * factor) for a in pair]
    # a line of pixels is drawn with square ones
    step = [float(np.ptp(a.values)) / (a.values.size - 1) if a.values.size > 1 else None for a in pair]
    pair = [replace(a, width=step[1 - i]) if a.values.size == 1 else a for i, a in enumerate(pair)]
    return pair[0], pair[1]


def _factor(base: np.ndarray, shown: np.ndarray) -> float:
    where = int(np.argmax(np.abs(base)))
    return float(shown[where] / base[where]) if base[where] else 1.0


@dataclass(frozen=True)
class Quantity:
    """What the numbers are: label, display unit, and the factor that brings them to it."""

    label: str
    unit: str | None
    factor: float

    @property
    def title(self) -> str:
        """Label and unit."""
        return f"{self.label} ({self.unit})" if self.unit else self.label


def quantity(da: xr.DataArray, values: np.ndarray | None = None, *, label: str | None = None) -> Quantity:
    """Label, display unit and scale of an array, from its attributes and a sample of its `values`."""
    # a long_name is what the instrument calls it, verbatim; a variable's name is ours to spell out
    label = _said(label or str(da.attrs.get("long_name") or str(da.name or "value").replace("_", " ").capitalize()))
    valid = finite(values) if values is not None else np.array([])
    largest = float(np.percentile(np.abs(valid), 99)) if valid.size else 0.0
    if largest == 0.0 and valid.size:
        largest = float(np.abs(valid).max())
    factor, unit = units.engineering(largest, str(da.attrs.get("units", "1")))
    shown = units.display_unit(unit)
    return Quantity(label, None if shown == label.lower() else shown, factor)  # not "Counts (counts)"


def _said(name: str) -> str:
    """A name without braces, which HoloViews would fill in."""
    return name.replace("{", "(").replace("}", ")")


def read(da: xr.DataArray) -> np.ndarray:
    """The values of what is about to be drawn, in memory; cut `da` down first."""
    cut = da.variable if da.variable._in_memory or da.chunks is not None else da.variable.copy(deep=False)
    values = np.asarray(chunked.compute(cut)[0].values)  # of a copy: an array of a file is not loaded by being drawn
    return values.astype(float) if values.dtype.kind in "biu" else values


def signal_dims(da: xr.DataArray) -> tuple[str, ...]:
    """The dims of one observation: spectral and reciprocal, else temporal, else the one dim beside the picture's."""
    try:
        found = schema.resolve_dims(da)
    except DimensionError:
        plane = schema.plane_dims(da) or ()
        found = tuple(str(d) for d in da.dims if d not in plane and str(d) in ("z", "wavelength", "channel"))
        if not found:
            raise
    return found


def finite(values: np.ndarray) -> np.ndarray:
    """A sample of the finite values, flat; of complex ones the amplitudes."""
    flat = np.asarray(values).reshape(-1)
    if flat.size > SAMPLES:
        flat = flat[:: flat.size // SAMPLES + 1]
    flat = np.abs(flat) if np.iscomplexobj(flat) else flat.astype(float)
    return flat[np.isfinite(flat)]
