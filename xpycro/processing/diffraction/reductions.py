"""What a 4-D scan is reduced to: virtual detectors, centre of mass, mean, maximum, spread, radial profiles.

`run` takes any number of reductions, as values, and reads the data once. May import numpy, xarray, engine, base floor.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import xarray as xr

from xpycro.engine import chunked
from xpycro.engine.axes import Axis, along, real_numbers
from xpycro.errors import DimensionError
from xpycro.provenance import recorded
from xpycro.schema import coordinate, dimension_type, pick

__all__ = [
    "CenterOfMass",
    "MaxPattern",
    "MeanPattern",
    "RadialProfile",
    "Reduction",
    "StdPattern",
    "VirtualDetector",
    "center_of_mass",
    "max_pattern",
    "mean_pattern",
    "radial_profile",
    "run",
    "std_pattern",
    "virtual_detector",
]


# -------------------------------------------------------------------------------------------------------- reductions


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
    """

    width: float | None = None
    outer: float | None = None
    center: tuple[float, float] = (0.0, 0.0)


# ------------------------------------------------------------------------------------------------------------ passes


def _weighted(values: np.ndarray, *, weights: np.ndarray) -> np.ndarray:
    from xpycro.processing.diffraction.kernels import weighted

    patterns = np.ascontiguousarray(values).reshape(-1, weights.shape[1])
    patterns = patterns.astype(patterns.dtype.newbyteorder("="), copy=False)
    out = np.empty((len(patterns), len(weights)))
    weighted(patterns if patterns.dtype.kind != "b" else patterns.view(np.uint8), weights, out)
    return out.reshape(*values.shape[:-2], len(weights))


@dataclass
class _Moments:
    count: int
    mean: np.ndarray
    square: np.ndarray
    largest: np.ndarray


def _moments(patterns: np.ndarray, *, square: bool, largest: bool) -> _Moments:
    from xpycro.processing.diffraction.kernels import spread

    patterns = patterns.astype(patterns.dtype.newbyteorder("="), copy=False)
    patterns = patterns.view(np.uint8) if patterns.dtype.kind == "b" else patterns
    n = patterns.shape[1]
    total, squares, highest = np.zeros(n), np.zeros(n), np.full(n, -np.inf)
    # sums of squares about the first pattern: about zero they would cancel
    shift = patterns[0].astype(float) if square else np.zeros(n)
    spread(np.ascontiguousarray(patterns), shift, total, squares, highest, square, largest)
    count = len(patterns)
    return _Moments(count, shift + total / count, squares - total**2 / count, highest)


def _merged(a: _Moments, b: _Moments) -> _Moments:
    """Two sets of patterns taken together (Chan, Golub and LeVeque 1979)."""
    count = a.count + b.count
    delta = b.mean - a.mean
    return _Moments(
        count,
        a.mean + delta * (b.count / count),
        a.square + b.square + delta**2 * (a.count * b.count / count),
        np.maximum(a.largest, b.largest),
    )


def _stacked(found: _Moments) -> np.ndarray:
    return np.stack([found.mean, found.largest, np.sqrt(np.maximum(found.square, 0) / found.count)])


# ---------------------------------------------------------------------------------------------------------- running


def detector_dims(da: xr.DataArray, dims: Sequence[str] | None = None) -> tuple[str, str]:
    """The two dims of a diffraction pattern: ky and kx, else the two reciprocal ones."""
    if dims is not None:
        found = tuple(dims)
    elif "ky" in da.dims and "kx" in da.dims:
        found = ("ky", "kx")
    else:
        found = tuple(str(d) for d in da.dims if dimension_type(da, d) == "reciprocal")
    if len(found) != 2 or any(d not in da.dims for d in found):
        raise DimensionError(
            f"a diffraction pattern needs two reciprocal dims; this array has {dict(da.sizes)}: pass dims=(slow, fast)"
        )
    return found[0], found[1]


def _distance(axes: list[Axis], center: tuple[float, float]) -> np.ndarray:
    return np.hypot(axes[0].values[:, None] - center[0], axes[1].values[None, :] - center[1])


def _within(axes: list[Axis], inner: float, outer: float, center: tuple[float, float], what: str) -> np.ndarray:
    distance = _distance(axes, center)
    inside = (distance >= inner) & (distance <= outer)
    if not inside.any():
        raise ValueError(
            f"{what}: no pixel lies between {inner:g} and {outer:g} {axes[0].units} of {center}; the detector spans "
            f"{axes[0].values.min():g} to {axes[0].values.max():g} and {axes[1].values.min():g} to "
            f"{axes[1].values.max():g}"
        )
    return inside.astype(float)


def _mask_of(item: VirtualDetector, axes: list[Axis]) -> np.ndarray:
    if item.mask is None:
        return _within(axes, item.inner, item.outer, item.center, item.name)
    dims = (axes[0].dim, axes[1].dim)
    if set(item.mask.dims) != set(dims) or item.mask.sizes != {d: a.size for d, a in zip(dims, axes, strict=True)}:
        raise ValueError(f"mask= is {dict(item.mask.sizes)}; the detector is {[(a.dim, a.size) for a in axes]}")
    return item.mask.transpose(*dims).values.astype(float)


@recorded("diffraction.run")
def run(
    data: xr.DataArray | xr.Dataset,
    reductions: Sequence[Reduction],
    *,
    variable: str | None = None,
    dims: Sequence[str] | None = None,
    exclude: xr.DataArray | None = None,
) -> xr.Dataset:
    """Reduce a scan of diffraction patterns in every way that is asked for, reading the data once.

    Parameters
    ----------
    data : DataArray or Dataset
        Real patterns over two reciprocal dims, for each position of the others.
    reductions : sequence of Reduction
        `VirtualDetector`, `CenterOfMass`, `MeanPattern`, `MaxPattern`, `StdPattern`, `RadialProfile`.
    variable : str, optional
        Which variable of a Dataset.
    dims : (slow, fast), optional
        The detector's dims; None is ``ky, kx``, else the two reciprocal ones.
    exclude : DataArray of bool, optional
        Dead and hot pixels, over the detector's dims: they count nowhere, and are NaN in patterns.

    Returns
    -------
    Dataset
        By reduction: the detector's ``name`` over the positions, in the units of the data (summed); ``com_<slow>``,
        ``com_<fast>`` over the positions in units of k, relative to the detector's zero; ``mean_pattern``,
        ``max_pattern``, ``std_pattern`` over the detector in the units of the data; ``radial_profile`` over the
        positions and ``k``, mean of each ring.

    Raises
    ------
    DimensionError
        If there are not two reciprocal dims.
    ValueError
        If two reductions share a name, a detector is empty, or an axis is uneven.

    Notes
    -----
    *Laziness*: lazy; computed together everything comes from one reading. Sums are in double precision, pattern by
    pattern, so that chunks do not change them. A pattern with NaN gives NaN; one of zero intensity has no centre.

    Examples
    --------
    >>> patterns = np.zeros((2, 3, 5, 5)); patterns[..., 2, 3] = 4.0
    >>> k = np.arange(-2.0, 3.0)
    >>> scan = xr.DataArray(patterns, dims=("y", "x", "ky", "kx"), coords={"ky": k, "kx": k})
    >>> found = run(scan, [VirtualDetector(outer=1.0), CenterOfMass(), MeanPattern()])
    >>> float(found.virtual_image[0, 0]), float(found.com_kx[0, 0]), float(found.mean_pattern.max())
    (4.0, 1.0, 4.0)
    """
    da = real_numbers(pick(data, variable, dims))
    plane = detector_dims(da, dims)
    axes = [along(da, d) for d in plane]
    wanted = list(reductions)
    if not wanted or any(not isinstance(item, Reduction) for item in wanted):
        raise TypeError(f"reductions={reductions!r}: pass a list of VirtualDetector, CenterOfMass, MeanPattern, ...")
    keep = np.ones((axes[0].size, axes[1].size))
    if exclude is not None:
        keep = 1.0 - _mask_of(VirtualDetector(mask=exclude.astype(float), name="exclude"), axes)
    if chunked.state(da) == "indexed":
        da = chunked.whole(da, plane)  # once, for both kinds of pass: they share the blocks that are read
    plan = _Plan(da, axes, keep)
    for item in wanted:
        plan.add(item)
    return plan.evaluate()


class _Plan:
    """The weights of all reductions in one matrix, and where each row goes."""

    def __init__(self, da: xr.DataArray, axes: list[Axis], keep: np.ndarray) -> None:
        self.da, self.axes, self.keep = da, axes, keep
        self.rows: list[np.ndarray] = []
        self.images: dict[str, Any] = {}
        self.patterns: dict[str, str] = {}
        self.units = str(da.attrs.get("units", "1"))

    def _claim(self, name: str) -> None:
        if name in self.images or name in self.patterns:
            raise ValueError(f"two reductions are called {name!r}: give detectors a name= each, others once")

    def _row(self, weights: np.ndarray) -> int:
        self.rows.append((weights * self.keep).ravel())
        return len(self.rows) - 1

    def add(self, item: Reduction) -> None:
        if isinstance(item, VirtualDetector):
            self._claim(item.name)
            self.images[item.name] = ("sum", self._row(_mask_of(item, self.axes)))
        elif isinstance(item, CenterOfMass):
            inside = _within(self.axes, 0.0, item.outer, item.center, "CenterOfMass")
            total = self._row(inside)
            for number, axis in enumerate(self.axes):
                self._claim(f"com_{axis.dim}")
                index = np.arange(axis.size, dtype=float)
                grid = index[:, None] if number == 0 else index[None, :]
                self.images[f"com_{axis.dim}"] = ("com", self._row(inside * grid), total, axis)
        elif isinstance(item, RadialProfile):
            self._claim("radial_profile")
            self.images["radial_profile"] = ("radial", *self._rings(item))
        else:
            names = {MeanPattern: "mean_pattern", MaxPattern: "max_pattern", StdPattern: "std_pattern"}
            self._claim(names[type(item)])  # type: ignore[index]
            self.patterns[names[type(item)]] = type(item).__name__  # type: ignore[index]

    def _rings(self, item: RadialProfile) -> tuple[slice, np.ndarray, np.ndarray]:
        distance = _distance(self.axes, item.center)
        width = item.width or max(abs(axis.step) for axis in self.axes)
        reach = [
            min(abs(axis.values.max() - c), abs(axis.values.min() - c))
            for axis, c in zip(self.axes, item.center, strict=True)
        ]
        outer = item.outer if item.outer is not None else min(reach)
        count = int(outer / width + 1e-9)
        if count < 1:
            raise ValueError(f"RadialProfile: no ring of width {width:g} fits within {outer:g} {self.axes[0].units}")
        begin = len(self.rows)
        number = (distance / width + 1e-9).astype(int)
        sizes = np.array([float((self.keep[number == ring]).sum()) for ring in range(count)])
        for ring in range(count):
            self._row((number == ring).astype(float))
        return slice(begin, begin + count), sizes, (np.arange(count) + 0.5) * width

    def evaluate(self) -> xr.Dataset:
        plane = tuple(axis.dim for axis in self.axes)
        label = str(self.da.attrs.get("long_name", self.da.name or "intensity"))
        result: dict[str, xr.DataArray] = {}
        if self.rows:
            weights = np.array(self.rows)
            single = weights.astype(np.float32)
            weights = single if (single == weights).all() else weights  # type: ignore[assignment]
            output = chunked.Output(float, ("_row",), {"_row": len(weights)})
            sums = chunked.apply(_weighted, self.da, dims=[plane], outputs={"s": output}, kwargs={"weights": weights})[
                "s"
            ]
            for name, (kind, *how) in self.images.items():
                result[name] = self._image(sums, kind, how, label)
        if self.patterns:
            flags = {"square": "std_pattern" in self.patterns, "largest": "max_pattern" in self.patterns}
            found = chunked.reduce(self.da, plane, _moments, _merged, finish=_stacked, kwargs=flags)
            size = self.axes[0].size * self.axes[1].size
            stacked = chunked.from_delayed(found, (3, size), float).reshape(3, self.axes[0].size, self.axes[1].size)
            good = np.where(self.keep > 0, 1.0, np.nan)
            coords = {d: self.da.coords[d].variable for d in plane if d in self.da.coords}
            for name in self.patterns:
                values = stacked[("mean_pattern", "max_pattern", "std_pattern").index(name)] * good
                attrs = {"units": self.units, "long_name": f"{name.split('_')[0].capitalize()} of {label}"}
                result[name] = xr.DataArray(values, dims=plane, coords=coords, attrs=attrs)
        return xr.Dataset(result)

    def _image(self, sums: xr.DataArray, kind: str, how: list[Any], label: str) -> xr.DataArray:
        if kind == "sum":
            return sums.isel(_row=how[0]).assign_attrs(units=self.units, long_name=f"Sum of {label}")
        if kind == "com":
            row, total, axis = how
            mass = sums.isel(_row=total)
            index = sums.isel(_row=row) / mass.where(mass != 0)
            place = axis.values[0] + axis.step * index
            return place.assign_attrs(units=axis.units, long_name=f"Centre of mass along {axis.dim}")
        rows, sizes, k = how
        rings = sums.isel(_row=rows).rename(_row="k") / xr.DataArray(np.where(sizes > 0, sizes, np.nan), dims="k")
        units = self.axes[0].units
        coord = coordinate("k", k, units=units, long_name="k", dimension_type="reciprocal")
        return rings.assign_coords(k=coord).assign_attrs(units=self.units, long_name=f"Ring mean of {label}")


# ------------------------------------------------------------------------------------------------- one at a time


def _one(data: xr.DataArray | xr.Dataset, item: Reduction, name: str, **options: Any) -> xr.DataArray:
    return run(data, [item], **options)[name]


@recorded("diffraction.virtual_detector")
def virtual_detector(
    data: xr.DataArray | xr.Dataset,
    outer: float = np.inf,
    inner: float = 0.0,
    *,
    center: tuple[float, float] = (0.0, 0.0),
    mask: xr.DataArray | None = None,
    variable: str | None = None,
    exclude: xr.DataArray | None = None,
) -> xr.DataArray:
    """The image of a virtual detector: disk, annulus or mask.

    Parameters
    ----------
    data, variable, exclude
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
    return _one(data, item, "virtual_image", variable=variable, exclude=exclude)


@recorded("diffraction.center_of_mass")
def center_of_mass(
    data: xr.DataArray | xr.Dataset,
    outer: float = np.inf,
    *,
    center: tuple[float, float] = (0.0, 0.0),
    variable: str | None = None,
    exclude: xr.DataArray | None = None,
) -> xr.Dataset:
    """Where the intensity of each pattern lies.

    Parameters
    ----------
    data, variable, exclude
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
    return run(data, [CenterOfMass(outer, center)], variable=variable, exclude=exclude)


@recorded("diffraction.mean_pattern")
def mean_pattern(data: xr.DataArray | xr.Dataset, *, variable: str | None = None) -> xr.DataArray:
    """The mean pattern over all positions.

    Parameters
    ----------
    data : DataArray or Dataset
        Patterns over ``ky, kx``, at every position.
    variable : str, optional
        Which variable of a Dataset.

    Returns
    -------
    DataArray
        Over ``ky, kx``, in the units of the data.

    Notes
    -----
    *Laziness*: lazy, one pass.

    Examples
    --------
    >>> float(mean_pattern(xr.DataArray(np.ones((2, 2, 3, 3)), dims=("y", "x", "ky", "kx")))[0, 0])
    1.0
    """
    return _one(data, MeanPattern(), "mean_pattern", variable=variable)


@recorded("diffraction.max_pattern")
def max_pattern(data: xr.DataArray | xr.Dataset, *, variable: str | None = None) -> xr.DataArray:
    """The largest value of each detector pixel over all positions.

    Parameters
    ----------
    data : DataArray or Dataset
        Patterns over ``ky, kx``, at every position.
    variable : str, optional
        Which variable of a Dataset.

    Returns
    -------
    DataArray
        Over ``ky, kx``, in the units of the data.

    Notes
    -----
    *Laziness*: lazy, one pass.

    Examples
    --------
    >>> float(max_pattern(xr.DataArray(np.ones((2, 2, 3, 3)), dims=("y", "x", "ky", "kx")))[0, 0])
    1.0
    """
    return _one(data, MaxPattern(), "max_pattern", variable=variable)


@recorded("diffraction.std_pattern")
def std_pattern(data: xr.DataArray | xr.Dataset, *, variable: str | None = None) -> xr.DataArray:
    """The standard deviation of each detector pixel over all positions.

    Parameters
    ----------
    data : DataArray or Dataset
        Patterns over ``ky, kx``, at every position.
    variable : str, optional
        Which variable of a Dataset.

    Returns
    -------
    DataArray
        Over ``ky, kx``, in the units of the data.

    Notes
    -----
    *Laziness*: lazy, one pass.

    Examples
    --------
    >>> float(std_pattern(xr.DataArray(np.ones((2, 2, 3, 3)), dims=("y", "x", "ky", "kx")))[0, 0])
    0.0
    """
    return _one(data, StdPattern(), "std_pattern", variable=variable)


@recorded("diffraction.radial_profile")
def radial_profile(
    data: xr.DataArray | xr.Dataset,
    width: float | None = None,
    outer: float | None = None,
    *,
    center: tuple[float, float] = (0.0, 0.0),
    variable: str | None = None,
    exclude: xr.DataArray | None = None,
) -> xr.DataArray:
    """The mean over rings, a profile for each position.

    Parameters
    ----------
    data, variable, exclude
        As in `run`.
    width, outer, center
        As in `RadialProfile`.

    Returns
    -------
    DataArray
        Over the positions and ``k`` (middles of the rings), in units of the data.

    Notes
    -----
    *Laziness*: lazy, one pass.

    Examples
    --------
    >>> scan = xr.DataArray(np.ones((2, 2, 5, 5)), dims=("y", "x", "ky", "kx"))
    >>> radial_profile(scan, center=(2, 2))[0, 0].values
    array([1., 1.])
    """
    return _one(data, RadialProfile(width, outer, center), "radial_profile", variable=variable, exclude=exclude)
