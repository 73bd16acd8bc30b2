"""`run`: any number of reductions of a scan of diffraction patterns from one reading.

May import numpy, xarray, engine, the base floor and the modules beside it but those that use it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import xarray as xr

from xpycro.engine import chunked
from xpycro.engine.axes import Axis, along, real_numbers
from xpycro.processing.diffraction.detector import detector_dims, on_detector, rings, within
from xpycro.processing.diffraction.kinds import (
    CenterOfMass,
    MaxPattern,
    MeanPattern,
    RadialProfile,
    Reduction,
    StdPattern,
    VirtualDetector,
)
from xpycro.processing.diffraction.passes import Wanted, merged, stacked, swept
from xpycro.provenance import recorded
from xpycro.schema import coordinate, pick

__all__ = ["PATTERNS", "run"]

PATTERNS: dict[type[Reduction], str] = {  # in the order of `passes.stacked`
    MeanPattern: "mean_pattern",
    MaxPattern: "max_pattern",
    StdPattern: "std_pattern",
}


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
        positions and ``k`` (or the coordinate that rings follow), mean of each ring, with ``ring_pixels``, how many
        pixels each has.

    Raises
    ------
    DimensionError
        If there are not two reciprocal dims.
    ValueError
        If two reductions share a name, a detector is empty, or an axis is uneven.

    Notes
    -----
    *Laziness*: lazy; computed together everything comes from one reading. Sums of counts (16 bits and less) are in
    integers, others in double precision, pattern by pattern, so that chunks do not change them. NaN under a detector
    gives NaN there; a pattern of zero intensity has no centre.

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
    axes = (along(da, plane[0]), along(da, plane[1]))
    asked = list(reductions) if isinstance(reductions, Sequence) else []
    if not asked or any(not isinstance(item, Reduction) for item in asked):
        raise TypeError(f"reductions={reductions!r}: pass a list of VirtualDetector, CenterOfMass, MeanPattern, ...")
    keep = np.ones((axes[0].size, axes[1].size), bool)
    if exclude is not None:
        keep = ~on_detector(exclude, axes, "exclude").astype(bool)
    plan = _Plan(axes, keep)
    for item in asked:
        plan.add(item)
    return plan.evaluate(da)


@dataclass
class _Plan:
    """What is asked for, sorted by how it is computed; names in the order of asking."""

    axes: tuple[Axis, Axis]
    keep: np.ndarray
    names: list[str] = field(default_factory=list)
    masks: dict[str, np.ndarray] = field(default_factory=dict)
    weights: dict[str, np.ndarray] = field(default_factory=dict)
    profile: RadialProfile | None = None

    def add(self, item: Reduction) -> None:
        if isinstance(item, VirtualDetector):
            fresh = [item.name]
            if item.mask is None:
                self.masks[item.name] = within(self.axes, item.inner, item.outer, item.center, item.name)
            else:
                given = on_detector(item.mask, self.axes, "mask")
                binary = given == given.astype(bool)
                (self.masks if binary.all() else self.weights)[item.name] = given
        elif isinstance(item, CenterOfMass):
            fresh = [f"com_{axis.dim}" for axis in self.axes]
            self.masks[fresh[0]] = within(self.axes, 0.0, item.outer, item.center, "CenterOfMass")
        elif isinstance(item, RadialProfile):
            fresh = ["radial_profile"]
            self.profile = item
        else:
            fresh = [PATTERNS[type(item)]]
        for name in fresh:
            if name in self.names:
                raise ValueError(f"two reductions are called {name!r}: give detectors a name= each, others once")
        self.names += fresh

    def evaluate(self, da: xr.DataArray) -> xr.Dataset:
        shape, centre = self.keep.shape, f"com_{self.axes[0].dim}"
        number: np.ndarray = np.zeros(shape, np.int32)
        radii: np.ndarray = np.zeros(0)
        if self.profile:
            number, radii = rings(self.profile, self.axes, self.keep, _radius(self.profile, da, self.axes))
        number = number.ravel()
        weights = np.array([w * self.keep for w in self.weights.values()], dtype=float).reshape(-1, self.keep.size)
        masks = np.array([m.astype(bool) & self.keep for m in self.masks.values()], dtype=bool).reshape(-1, *shape)
        patterns = [name for name in PATTERNS.values() if name in self.names]
        wanted = Wanted(
            shape=(shape[0], shape[1]),
            masks=masks,
            moments=np.array([name == centre for name in self.masks], dtype=bool),
            weights=weights,
            rings=number,
            n_rings=radii.size,
            total=bool(patterns),
            square="std_pattern" in patterns,
            largest="max_pattern" in patterns,
        )
        plane = [axis.dim for axis in self.axes]
        rows, shared = chunked.map_and_reduce(
            swept,
            da,
            plane,
            "_row",
            wanted.n_rows,
            float,
            merged,
            finish=stacked if patterns else None,
            kwargs={"wanted": wanted},
        )
        label, units = str(da.attrs.get("long_name", da.name or "intensity")), str(da.attrs.get("units", "1"))
        sums, at = {}, 0
        for name in (*self.masks, *self.weights):
            sums[name] = rows.isel(_row=at).assign_attrs(units=units, long_name=f"Sum of {label}")
            if name == centre:
                for axis, place in zip(self.axes, (at + 1, at + 2), strict=True):
                    sums[f"com_{axis.dim}"] = _centre(rows.isel(_row=at), rows.isel(_row=place), axis)
                at += 2
            at += 1
        if self.profile:
            counts = np.bincount(number[number >= 0], minlength=radii.size).astype(float)
            k = self.profile.radius or "k"
            along_k = da.coords[k].attrs.get("units", "1") if self.profile.radius else self.axes[0].units
            radius = coordinate(k, radii, units=along_k, dimension_type=None if self.profile.radius else "reciprocal")
            total = rows.isel(_row=slice(at, None)).drop_vars(k, errors="ignore").rename(_row=k).transpose(..., k)
            means = total / xr.DataArray(np.where(counts > 0, counts, np.nan), dims=k)
            pixels = xr.Variable(k, counts, {"units": "1", "long_name": "Pixels of the ring"})
            sums["radial_profile"] = means.assign_coords({k: radius, "ring_pixels": pixels}).assign_attrs(
                units=units, long_name=f"Ring mean of {label}"
            )
        if patterns:
            stack = chunked.from_delayed(shared, (3, self.keep.size), float).reshape(3, *shape)
            coords = {d: da.coords[d].variable for d in plane if d in da.coords}
            good = np.where(self.keep, 1.0, np.nan)
            for place, name in enumerate(PATTERNS.values()):
                attrs = {"units": units, "long_name": f"{name.split('_')[0].capitalize()} of {label}"}
                sums[name] = xr.DataArray(stack[place] * good, dims=plane, coords=coords, attrs=attrs)
        return xr.Dataset({name: sums[name] for name in self.names})


def _radius(item: RadialProfile, da: xr.DataArray, axes: tuple[Axis, Axis]) -> np.ndarray | None:
    """The coordinate that rings follow, over the detector."""
    if item.radius is None:
        return None
    if item.radius not in da.coords:
        there = [str(name) for name, coord in da.coords.items() if set(coord.dims) == {axis.dim for axis in axes}]
        raise ValueError(f"radius={item.radius!r}: no such coordinate over the detector; there are {there or 'none'}")
    return on_detector(da.coords[item.radius], axes, "radius").astype(float)


def _centre(total: xr.DataArray, moment: xr.DataArray, axis: Axis) -> xr.DataArray:
    place = axis.values[0] + axis.step * (moment / total.where(total != 0))
    return place.assign_attrs(units=axis.units, long_name=f"Centre of mass along {axis.dim}")
