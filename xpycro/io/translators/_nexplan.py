"""Where each record of a NeXus scan was taken: a grid of the file's own, a grid of two stages, positions, frames.

May import numpy, xarray, schema and io below; reads motors, nothing else.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import xarray as xr

from xpycro.io.translators._axes import Axis, axis_units, layout
from xpycro.io.translators._nexrows import GENERIC, Row, Table, device
from xpycro.io.translators._raster import raster
from xpycro.io.translators._stacks import pixels, scan_grid
from xpycro.schema import coordinate

__all__ = ["Plan", "plan"]

_READ = 1 << 24  # values of a motor beyond which it is not looked at
_LETTER = re.compile(
    r"(?:^|[_\-. ]|sam|samp|sample|stage|motor|nano|piezo|fine|scan|pos|lab_s|pi|nnp|s|m|t|d)([xyz])"
    r"(?:[_\-. ]?(?:fine|pos|position|encoder|enc|rbv|readback|value|motor|stage|\d+))*$"
)
_ENERGY = re.compile(r"energy|enrg|(^|_)en$|^mono$")


@dataclass(frozen=True)
class Plan:
    """Where each record goes: dims of the scan, coordinates, which record lies at each place."""

    dims: tuple[str, ...]
    place: np.ndarray
    coords: dict[str, xr.Variable]
    axes: frozenset[str] = field(default_factory=frozenset)  # rows that became coordinates


def plan(path: str, table: Table, motors: Sequence[Row], scan_shape: Sequence[int] | None) -> Plan:
    points = math.prod(table.shape)
    if scan_shape is not None:
        grid = scan_grid(points, scan_shape, path, short=True)
        place = np.full(math.prod(grid), -1)
        place[:points] = np.arange(points)
        coords = {dim: pixels(dim, size) for dim, size in zip(("y", "x"), grid, strict=True)}
        return Plan(("y", "x"), place.reshape(grid)[::-1], coords)
    if len(table.shape) > 1:
        return _gridded(table, motors)
    laid = _listed(points, [row for row in motors if len(row.lead) == 1], table.hints)
    if laid.dims == ("frame",):  # of files that do not say what moved, or call readings of stages counters
        named = _listed(points, _by_name(table), table.hints)
        laid = named if named.dims != ("frame",) else laid
    return laid


def _by_name(table: Table) -> list[Row]:
    """Columns that are called like stages, or like what the scan's command moved."""
    rows = [row for row in table.rows if not row.inner and len(row.lead) == 1]
    return [row for row in rows if _LETTER.search(row.name.lower()) or _meant(table.hints, [row.name])]


def _meant(hints: Sequence[str], names: Sequence[str]) -> list[str]:
    """The columns that the file names as axes or moves in its command: `nnp2`, or its reading `nnp2_position`."""
    found: list[str] = []
    for hint in hints:
        reading = f"{hint}_" if re.match(r"[A-Za-z]\w", hint) else None
        for name in names:
            if name not in found and (name == hint or (reading and name.startswith(reading))):
                found.append(name)
                break
    return found


def _gridded(table: Table, motors: Sequence[Row]) -> Plan:
    """A scan that the file itself lays out: the axes are those of the set values, else of the readings."""
    shape = table.shape
    axes: list[Axis] = []
    names: dict[int, str] = {}
    used: list[str] = []
    missing = np.zeros(shape, bool)  # readings stay NaN where a scan did not get
    for row in motors:
        if row.lead == shape and math.prod(shape) <= _READ:
            missing |= ~np.isfinite(row.numbers().reshape(shape))
    ordered = sorted(motors, key=lambda row: (_hinted(table.hints, row), len(row.lead)))  # set values before readings
    for axis, size in enumerate(shape):
        found = None
        for row in ordered:
            if row.where in used or math.prod(row.lead) > _READ:
                continue
            if row.lead == (size,) and (shape.count(size) == 1 or axis == _hinted(table.hints, row)):
                found = row.numbers()
            elif row.lead == shape:
                found = _steps(np.moveaxis(row.numbers().reshape(shape), axis, 0).reshape(size, -1))
            if found is not None:
                used.append(row.where)
                names[axis] = row.name
                axes.append(_axis(row, found, size))
                break
        else:
            axes.append(Axis(size))
    laid = layout(axes, top_first=False)
    for dim, stored in zip(laid.dims, laid.order, strict=True):
        named, coord = axes[stored], laid.coords.get(dim)
        if coord is not None and named.values is not None:  # not a count of pixels, whatever its unit
            unit = axis_units(named.units)[1] or "1"
            laid.coords[dim] = coordinate(dim, coord.values, units=unit, long_name=names[stored])
    place = np.arange(math.prod(shape)).reshape(shape)
    place = np.where(missing, -1, place)
    twins = {row.where for row in motors if device(row.where) in set(map(device, used))}
    return Plan(laid.dims, laid.numpy(place), dict(laid.coords), frozenset(twins))


def _steps(values: np.ndarray) -> np.ndarray | None:
    """Where a stage stood on each line, if it stood still within lines and moved between them; NaN is left out."""
    fine = np.isfinite(values)
    count = fine.sum(axis=1)
    if len(values) < 2 or not count.all():
        return None
    means = np.where(fine, values, 0.0).sum(axis=1) / count
    spread = np.abs(np.where(fine, values - means[:, None], 0.0)).max()
    return means if np.abs(np.diff(means)).min() > 2 * spread else None


def _hinted(hints: Sequence[str], row: Row) -> int:
    """Where the file names a motor among its axes; after all of them where it does not."""
    called = {row.name, row.where.rsplit("/", 1)[-1], device(row.where).rsplit("/", 1)[-1]} - GENERIC
    for place, hint in enumerate(hints):
        if hint in called or re.sub(r"_(value_set|value|set|demand)$", "", hint) in called:
            return place
    return 1 << 30


def _axis(row: Row, values: np.ndarray, size: int) -> Axis:
    letter = _LETTER.search(row.name.lower())
    base = axis_units(row.units)[1]
    dim = "energy" if base == "eV" or (not base and _ENERGY.search(row.name.lower())) else ""
    return Axis(
        size, letter[1] if letter and base in ("", "m") and not dim else row.name, row.units, values=values, dim=dim
    )


def _listed(points: int, motors: Sequence[Row], hints: Sequence[str]) -> Plan:
    """A list of points: a grid where two stages moved over one, else positions, else frames in order."""
    moved: dict[str, tuple[Row, np.ndarray]] = {}
    for row in motors:
        values = row.numbers() if row.lead[0] <= _READ else np.zeros(1)
        fine = values[np.isfinite(values)]
        if fine.size and np.ptp(fine) > 0:
            moved.setdefault(row.name, (row, values))
    pair = _pair(moved, hints)
    if pair is None:
        place = np.arange(points)
        return Plan(("frame",), place, {"frame": coordinate("frame", place)})
    (y_row, y), (x_row, x) = (moved[name] for name in pair)
    n = min(y.size, x.size, points)
    y, x = y[:n], x[:n]
    good = np.isfinite(y) & np.isfinite(x)
    still = (y == 0) & (x == 0)
    if n > 2 and still[-2:].all():  # places that were kept for points that never came
        good[np.flatnonzero(~still)[-1] + 1 :] = False
    order = np.flatnonzero(good)
    grid = raster(y[order], x[order], partial=True)
    names = frozenset((y_row.where, x_row.where))
    factors, units = zip(*(axis_units(row.units) for row in (y_row, x_row)), strict=True)
    if grid is None or min(grid.place.shape) < 2:
        coords = {
            dim: coordinate("position", values[order] * factor, name=dim, units=unit or "1", long_name=row.name)
            for dim, row, values, factor, unit in zip("yx", (y_row, x_row), (y, x), factors, units, strict=True)
        }
        coords["position"] = coordinate("position", np.arange(order.size))
        return Plan(("position",), order, coords, names)
    place = np.where(grid.place >= 0, order[grid.place], -1)
    coords = {
        dim: coordinate(dim, values * factor, units=unit or "1", long_name=row.name)
        for dim, row, values, factor, unit in zip("yx", (y_row, x_row), (grid.y, grid.x), factors, units, strict=True)
    }
    return Plan(("y", "x"), place, coords, names)


def _pair(moved: Mapping[str, tuple[Row, np.ndarray]], hints: Sequence[str]) -> tuple[str, str] | None:
    """The two stages (vertical, horizontal) that scanned, or None."""
    stages = [name for name, (row, _) in moved.items() if axis_units(row.units)[1] in ("", "m")]
    named = _meant(hints, stages)
    if len(named) < 2:
        independent: list[str] = []
        for name in stages:  # the reading of a stage says the same as what it was set to
            if not any(_same(moved[name][1], moved[other][1]) for other in independent):
                independent.append(name)
        lettered = [name for name in independent if _LETTER.search(name.lower())]
        named = independent if len(independent) == 2 else lettered
    if len(named) < 2 or axis_units(moved[named[0]][0].units)[1] != axis_units(moved[named[1]][0].units)[1]:
        return None
    first, second = named[:2]
    letters = [m[1] if (m := _LETTER.search(name.lower())) else "" for name in (first, second)]
    if first[:-1] == second[:-1]:  # gonx and gony
        letters = [first[-1].lower(), second[-1].lower()]
    for vertical, horizontal in (("y", "x"), ("z", "x"), ("z", "y")):
        if sorted(letters) == sorted((vertical, horizontal)):
            return (first, second) if letters[0] == vertical else (second, first)
    travel = [np.nansum(np.abs(np.diff(v))) / np.ptp(v[np.isfinite(v)]) for v in (moved[first][1], moved[second][1])]
    return (first, second) if travel[0] <= travel[1] else (second, first)  # what goes to and fro most is x


def _same(one: np.ndarray, other: np.ndarray) -> bool:
    n = min(one.size, other.size)
    fine = np.isfinite(one[:n]) & np.isfinite(other[:n])
    if fine.sum() < 3:
        return False
    a, b = one[:n][fine], other[:n][fine]
    a, b = a - a.mean(), b - b.mean()
    size = math.sqrt(float(a @ a) * float(b @ b))
    return size > 0 and abs(float(a @ b)) > 0.999 * size
