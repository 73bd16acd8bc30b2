"""The axis that an operation works along: its values, units, spacing and monotonic runs, and what an image's plane is.

Shared by the processing modules, which do not import each other. May import numpy, xarray, errors, schema, units.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from xpycro.errors import DimensionError
from xpycro.schema import pick, plane_dims, resolve_dims

__all__ = ["Axis", "along", "floating", "image_of", "numbers", "plane_of", "real_numbers", "samples"]


@dataclass(frozen=True)
class Axis:
    """One axis of an array.

    Attributes
    ----------
    dim : str
        The dimension.
    name : str
        The coordinate that gives the values: the dim's own, or the one that was asked for (``bias`` along ``step``).
    values : ndarray
        Sample numbers where there is no coordinate.
    units : str
    """

    dim: str
    name: str
    values: np.ndarray
    units: str

    @property
    def size(self) -> int:
        return int(self.values.size)

    @property
    def even(self) -> bool:
        """Whether all steps are equal within 0.1 %."""
        steps = np.diff(self.values)
        return bool(steps.size == 0 or np.allclose(steps, steps.mean(), rtol=1e-3, atol=0)) and not bool(
            steps.size and steps.mean() == 0
        )

    @property
    def step(self) -> float:
        """The signed step of an even axis; 1 of a single sample.

        Raises
        ------
        ValueError
            If the axis is uneven or turns back.
        """
        if self.size < 2:
            return 1.0
        if not self.even:
            steps = np.diff(self.values)
            raise ValueError(
                f"{self.name} is not evenly spaced (steps {steps.min():g} to {steps.max():g} {self.units}): "
                "bring it to an even axis first, with spectra.rebin or interp"
            )
        return float((self.values[-1] - self.values[0]) / (self.size - 1))

    @property
    def runs(self) -> list[slice]:
        """The stretches in which the axis only rises or only falls; a turning point belongs to the run it ends."""
        signs = np.sign(np.diff(self.values))
        turns = [i + 1 for i, (a, b) in enumerate(itertools.pairwise(signs)) if a * b < 0]
        edges = [0, *(turn + 1 for turn in turns), self.size]
        return [slice(a, b) for a, b in itertools.pairwise(edges)]

    def require_monotonic(self) -> None:
        """Raise a ValueError where the axis turns back or repeats a value."""
        steps = np.diff(self.values)
        if steps.size and not ((steps > 0).all() or (steps < 0).all()):
            raise ValueError(
                f"{self.name} along {self.dim} turns back or repeats a value: select one branch first, or average it"
            )


def along(da: xr.DataArray, dim: str | None = None) -> Axis:
    """The one axis that an operation works along.

    Parameters
    ----------
    da : DataArray
    dim : str, optional
        A dim or a 1-D coordinate; None means the signal dim.

    Raises
    ------
    DimensionError
        If it does not exist or is not decidable.
    ValueError
        If it is empty, or its coordinate is not made of finite numbers.
    """
    (found,) = resolve_dims(da, dim, ndim=1)
    name = dim if dim is not None and dim in da.coords else found
    if da.sizes[found] == 0:
        raise ValueError(f"{found} is empty")
    if name not in da.coords:
        return Axis(found, found, np.arange(da.sizes[found], dtype=float), "pixel")
    coord = da.coords[name]
    if coord.dtype.kind not in "fiub" or not np.isfinite(coord.values.astype(float)).all():
        raise ValueError(f"coordinate {name} (dtype {coord.dtype}) must be finite numbers")
    return Axis(found, name, coord.values.astype(float), str(coord.attrs.get("units", "1")))


def samples(axis: Axis, width: float, *, odd: bool = False, least: int = 1, what: str = "width") -> int:
    """A width in coordinate units as a number of samples of an even axis, within the axis.

    Raises
    ------
    ValueError
        If it is not positive, shorter than `least` samples, or longer than the axis.
    """
    if not np.isfinite(width) or width <= 0:
        raise ValueError(f"{what}={width}: must be a positive length in {axis.units}")
    step = abs(axis.step)
    count = round(width / step)
    if odd and count % 2 == 0:
        count += 1
    if count < least:
        raise ValueError(
            f"{what}={width:g} {axis.units} is {count} samples of {step:g} {axis.units}; at least {least} are needed"
        )
    if count > axis.size:
        raise ValueError(
            f"{what}={width:g} {axis.units} is longer than {axis.name}, which spans {step * axis.size:g} {axis.units}"
        )
    return count


def real_numbers(da: xr.DataArray) -> xr.DataArray:
    """`da` itself where it holds real numbers, else a TypeError that says what to pass."""
    if da.dtype.kind == "c":
        raise TypeError(f"{da.name} is complex: pass its real part, magnitude or phase")
    return numbers(da)


def left_out(exclude: xr.DataArray, da: xr.DataArray, dims: Sequence[str], what: str = "exclude") -> xr.DataArray:
    """`exclude` as booleans, over `dims` at least and over dims of `da` only.

    Raises
    ------
    TypeError
        If it is no DataArray.
    ValueError
        If it lacks one of `dims` or has others than `da`.
    """
    if not isinstance(exclude, xr.DataArray):
        raise TypeError(
            f"{what}= is of type {type(exclude).__name__}: pass a boolean DataArray such as {what}=data > 1"
        )
    lacking, foreign = [d for d in dims if d not in exclude.dims], [d for d in exclude.dims if d not in da.dims]
    if lacking or foreign:
        raise ValueError(
            f"{what}= has the dims {list(map(str, exclude.dims))}: it needs {list(dims)} and may have others of "
            f"{list(map(str, da.dims))}"
        )
    return exclude.astype(bool)


def numbers(da: xr.DataArray) -> xr.DataArray:
    """`da` itself where it holds numbers, else a TypeError."""
    if da.dtype.kind not in "fiubc":
        raise TypeError(f"{da.name} has dtype {da.dtype}, not numbers")
    return da


def plane_of(da: xr.DataArray, dims: Sequence[str] | None = None) -> tuple[str, str]:
    """The two dims (slow, fast) of an image.

    Raises
    ------
    DimensionError
        If there are not two.
    ValueError
        If the image is empty.
    """
    found = tuple(dims) if dims is not None else plane_dims(da)
    if found is None or len(found) != 2 or any(dim not in da.dims for dim in found):
        raise DimensionError(f"an image needs two spatial dims; this array has {list(map(str, da.dims))}")
    if 0 in (da.sizes[found[0]], da.sizes[found[1]]):
        raise ValueError(f"the image is empty: {dict(da.sizes)}")
    return found[0], found[1]


def image_of(data: xr.DataArray | xr.Dataset, variable: str | None = None) -> xr.DataArray:
    """The one array of a Dataset that has a plane, or the variable asked for."""
    return pick(data, variable, plane_dims(data)) if isinstance(data, xr.Dataset) else pick(data, variable)


def floating(dtype: np.dtype) -> np.dtype:
    """The dtype in which a transform of `dtype` is given: single precision stays single, all else becomes double."""
    if dtype.kind == "c":
        return np.dtype(np.complex64 if dtype.itemsize <= 8 else np.complex128)
    return np.dtype(np.float32 if dtype.kind == "f" and dtype.itemsize <= 4 else np.float64)
