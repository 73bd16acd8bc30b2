"""From the axes a file describes to the dims of the schema: names, order, orientation, units.

May import numpy, xarray, schema and units; knows no format and reads nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import xarray as xr

from xpycro.schema import DIMENSIONS, coordinate, identifier
from xpycro.units import to_base

__all__ = ["Axis", "Layout", "axis_units", "data_units", "layout"]

_UNKNOWN = {"", "none", "undefined", "<undefined>", "[]", "unknown", "a. u.", "a.u.", "arb", "arb. u.", "arb. units",
            "arb.u.", "pixels", "pixel", "px", "pix", "points", "channel", "channels", "ch", "1/px", "px-1", "px^-1",
            "1/pixel", "pixel^-1", "pixels^-1", "frames", "n/a"}  # fmt: skip
_SPELLED = {
    "microseconds": "us", "milliseconds": "ms", "nanoseconds": "ns", "microsecond": "us", "nanometers": "nm",
    "nanometer": "nm", "micrometers": "um", "micrometer": "um", "millimeters": "mm", "angstroms": "Angstrom",
    "radians": "rad", "radian": "rad", "volts": "V", "kelvin": "K", "electronvolt": "eV", "electronvolts": "eV",
    "microns": "um", "nanometre": "nm", "nanometres": "nm", "micrometre": "um", "micrometres": "um",
    "picometers": "pm", "centimeters": "cm", "\\u00b5m": "um", "\\u03bcm": "um", "sec": "s", "kev": "keV", "ev": "eV",
    "celsius": "degC", "degrees c": "degC", "deg c": "degC", "°c": "degC", "c°": "degC", "hours": "h", "minutes": "min",
}  # fmt: skip
_INCH = 25.4e-3
_COUNTED = 1 << 24  # an axis that only counts gets no coordinate beyond this many points
_SPACE = re.compile(r"\s+")
_TYPESET = re.compile(r"[${}~]|\\(?:mathrm|rm|text|,)")
_X = {"x", "width", "r_x", "rnx", "x axis", "column", "columns", "fast"}
_Y = {"y", "height", "r_y", "rny", "y axis", "row", "rows", "slow", "lines"}
_KX = {"kx", "q_x", "qx", "dx", "q_nx", "k_x"}
_KY = {"ky", "q_y", "qy", "dy", "q_ny", "k_y"}


@dataclass(frozen=True)
class Axis:
    """One axis of a stored array, in the file's own words.

    Attributes
    ----------
    size : int
    name, units : str
    scale, offset : float
        The coordinate is ``offset + scale * index``.
    values : ndarray or None
        Instead of scale and offset.
    signal : bool or None
        Whether it is part of one observation; None where the file does not say.
    dim : str
        The dim, where the translator knows it.
    """

    size: int
    name: str = ""
    units: str | None = None
    scale: float = 1.0
    offset: float = 0.0
    values: np.ndarray | None = field(default=None, compare=False)
    signal: bool | None = None
    dim: str = ""

    def coordinates(self) -> np.ndarray:
        """In the file's units, in the order stored."""
        if self.values is not None:
            return np.asarray(self.values)
        if not (np.isfinite(self.scale) and np.isfinite(self.offset)):
            return np.arange(self.size, dtype=np.float64)
        return self.offset + self.scale * np.arange(self.size, dtype=np.float64)


@dataclass(frozen=True)
class Layout:
    """How a stored array becomes a labelled one.

    Attributes
    ----------
    dims : tuple of str
    order : tuple of int
        Which stored axis each dim is.
    flip : tuple of bool
        Which dims run against the stored order.
    coords : dict of str to Variable
    """

    dims: tuple[str, ...]
    order: tuple[int, ...]
    flip: tuple[bool, ...]
    coords: dict[str, xr.Variable]

    def numpy(self, values: np.ndarray) -> np.ndarray:
        """An array in memory brought into this order."""
        turned = np.asarray(values).transpose(self.order)
        return turned[tuple(slice(None, None, -1 if flip else 1) for flip in self.flip)]


# ---------------------------------------------------------------------------------------------------------- units


def axis_units(text: str | None) -> tuple[float, str]:
    """Factor and base unit of an axis; ``""`` where it is uncalibrated. ``A`` is an angstrom, never an ampere.

    Examples
    --------
    >>> factor, base = axis_units("[n_m^-1]")
    >>> round(factor), base
    (1000000000, '1/m')
    >>> axis_units("A")
    (1e-10, 'm')
    """
    plain = _SPACE.sub(" ", (text or "").strip().replace("\0", "")).strip()
    if plain.startswith("[") and plain.endswith("]"):
        plain = plain[1:-1].replace("_", "")
    if plain.startswith("$") or "{" in plain:  # as it is typeset: $A^{-1}$
        plain = _TYPESET.sub("", plain.replace("\\AA", "A").replace("\\mu", "u")).strip()
    if plain.lower() in _UNKNOWN:
        return 1.0, ""
    plain = _SPELLED.get(plain.lower(), plain)
    if plain.lower() in ("degrees", "degree", "deg", "°"):
        return 1.0, "degree"
    if plain.lower() in ("inch", "inches", "in"):
        return _INCH, "m"
    plain = re.sub(r"(?<![A-Za-zµ])A(?![A-Za-z])", "Angstrom", plain)
    factor, base = to_base(plain)
    return (factor, base) if np.isfinite(factor) and factor > 0 else (1.0, plain)


def data_units(text: str | None) -> tuple[float, str]:
    """Factor and base unit of the numbers; ``1`` where the file does not say."""
    plain = (text or "").strip().replace("\0", "")
    if plain.lower() in _UNKNOWN or plain.lower() == "generic":
        return 1.0, "1"
    if plain.lower() in ("e-", "electrons", "cts", "count", "intensity", "pixel intensity", "counts (a.u.)"):
        return 1.0, "counts" if "intensity" not in plain.lower() else "1"
    factor, base = to_base(_SPELLED.get(plain.lower(), plain))
    return (factor, base) if np.isfinite(factor) and factor > 0 else (1.0, plain)


# ----------------------------------------------------------------------------------------------------------- dims


def _named(axis: Axis, base: str) -> str:
    """The dim that name and units of one axis tell; ``""`` where they do not."""
    name = axis.name.strip().lower()
    if axis.dim:
        return axis.dim
    if base in ("eV", "J"):
        return "energy_loss" if "loss" in name else "energy"
    if base == "1/cm":
        return "wavenumber"
    if "wavelength" in name:
        return "wavelength"
    if base == "1/m" and name in ("u", "v"):  # sidpy's names; without a unit they may be anything
        return "kx" if name == "u" else "ky"
    if base == "1/m" or (base in ("rad", "degree", "") and name in _KX | _KY):
        return "kx" if name in _KX or name.endswith("x") else "ky" if name in _KY or name.endswith("y") else "k"
    if base == "rad":
        return "k"
    if base == "degree":
        two_theta = "theta" in name or name == "polar_angle"
        return "tilt" if "tilt" in name else "two_theta" if two_theta else _free(name)
    if base == "s":
        return "time"
    if base == "Hz":
        return "frequency"
    if base == "V":
        return "bias"
    if name in _X:
        return "x"
    if name in _Y:
        return "y"
    if name in ("z", "depth") and base == "m":
        return "z"
    if base == "m":
        return "z" if name.startswith("z") else "spatial"
    if name in ("frame", "frames", "image series", "index", "stack", "images", "image", "z"):
        return "frame"
    if "energy" in name and not base:
        return "energy_loss" if "loss" in name else "energy"
    if name in DIMENSIONS:
        return name
    return _free(name)


def _free(name: str) -> str:
    plain = identifier(name) if name else ""
    return "" if not plain or plain in ("channel", "none", "unnamed", "undefined") else plain


def _assign(axes: Sequence[Axis], bases: Sequence[str]) -> list[str]:
    """A dim for each axis, all different."""
    dims = [_named(axis, base) for axis, base in zip(axes, bases, strict=True)]
    taken = {dim for dim in dims if dim not in ("", "k", "spatial")}

    def fill(places: list[int], names: Sequence[str]) -> None:
        free = [name for name in names if name not in taken]
        for place in reversed(places):
            if free:
                dims[place] = free.pop(0)
                taken.add(dims[place])

    fill([n for n, dim in enumerate(dims) if dim == "k"], ("kx", "ky"))
    fill([n for n, dim in enumerate(dims) if dim == "spatial"], ("x", "y", "z"))
    unknown = [n for n, dim in enumerate(dims) if dim in ("", "k", "spatial")]
    signal = [n for n in unknown if axes[n].signal]
    others = [n for n in unknown if not axes[n].signal]
    detector = len(signal) == 2 and any(axis.signal is False for axis in axes)
    if len(signal) == 1 or (len(axes) == 1 and unknown):
        fill(signal or others, ("point",))
        others = [n for n in others if n not in unknown[:1] or len(axes) > 1]
    else:
        fill(signal, ("kx", "ky") if detector else ("x", "y", "frame"))
    spatial = [n for n in others if dims[n] in ("", "k", "spatial")]
    if {"y", "x"} <= taken:  # what lies inside of the pixels belongs to each of them
        inner = max(n for n, dim in enumerate(dims) if dim in ("y", "x"))
        fill([n for n in spatial if n > inner], ("point", "step"))
        spatial = [n for n in spatial if n < inner]
    fill(spatial, ("x", "y", "frame", "step", "cycle"))
    used: set[str] = set()
    for place, dim in enumerate(dims):
        base, number = dim or "axis", 2
        while dim in used or not dim:
            dim, number = f"{base}_{number}", number + 1
        used.add(dim)
        dims[place] = dim
    return dims


def _rank(dims: Sequence[str]) -> list[float]:
    """Sort keys that bring y, x before the signal and frames before both."""
    fixed = {"position": 2.0, "y": 2.0, "x": 2.1, "energy": 4, "energy_loss": 4, "wavelength": 4, "wavenumber": 4,
             "two_theta": 4, "mass_to_charge": 4, "point": 4, "ky": 5.0, "kx": 5.1, "z": 1.0, "frame": 0.5,
             "frequency": 4.5, "bias": 4.2}  # fmt: skip
    first = next((n for n, dim in enumerate(dims) if dim in ("y", "x", "position")), None)
    if first is None:
        return [5.0 if dim in ("ky", "kx") else 1.0 for dim in dims]
    return [fixed.get(dim, 0.1 if n < first else 3.0) for n, dim in enumerate(dims)]


def layout(axes: Sequence[Axis], *, top_first: bool) -> Layout:
    """Dims, order, orientation and coordinates of an array.

    Parameters
    ----------
    axes : sequence of Axis
        In stored order, slowest first.
    top_first : bool
        Whether the first row lies at the top, as cameras and screens have it. Then ``y`` and ``ky`` are turned so that
        they run upwards: ``y`` keeps the extent that the file gives it, ``ky`` keeps its zero and changes its sign.
        A ``y`` that the file itself counts downwards is only turned.
    """
    factors, bases = zip(*(axis_units(axis.units) for axis in axes), strict=True) if axes else ((), ())
    dims = _assign(axes, bases)
    ranks = _rank(dims)
    order = sorted(range(len(axes)), key=lambda n: (ranks[n], n))
    flips, coords = [], {}
    for place in order:
        axis, dim, base = axes[place], dims[place], bases[place]
        if axis.values is None and not base and axis.size > _COUNTED:
            flips.append(False)
            continue
        values = axis.coordinates()
        numeric = values.dtype.kind in "fiub"
        if numeric and (axis.values is None or factors[place] != 1.0):
            values = values * factors[place]
        steps = np.diff(values) if numeric and values.size > 1 else np.ones(1)
        rising, falling = bool((steps > 0).all()), bool((steps < 0).all())
        flip = falling and _sorted(dim)
        if flip:
            values = values[::-1]
        elif top_first and dim in ("y", "ky") and rising and values.size > 1:
            flip = True
            values = 0.0 - values[::-1] if dim == "ky" else values
        flips.append(flip)
        known = DIMENSIONS.get(dim)
        units = base or ("pixel" if known and known.type in ("spatial", "reciprocal") else "1")
        if known and known.units in ("s", "V", "Hz", "eV", "m") and not base:
            units = "pixel"
        role = None if known else ("spectral" if axis.signal else "unknown")
        label = axis.name.strip() if axis.name.strip() and not known else None
        coords[dim] = coordinate(dim, values, units=units, long_name=label, dimension_type=role)
    return Layout(tuple(dims[n] for n in order), tuple(order), tuple(flips), coords)


def _sorted(dim: str) -> bool:
    """Whether a dim is kept ascending; a sweep that turns back is not."""
    known = DIMENSIONS.get(dim)
    return known is not None and known.type in ("spatial", "reciprocal", "spectral") and dim not in ("step", "point")
