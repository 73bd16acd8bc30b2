"""Spectra of Omicron MATRIX: single ones, and those over a grid (volume CITS).

The way back of a ramp is stored after the way forth, in time. May import numpy, xarray, schema, units, its sibling
_matrix, and io below.
"""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import xarray as xr

from xpycro.errors import CorruptFile
from xpycro.io.rawarray import RawArray
from xpycro.io.translators import _common as common
from xpycro.io.translators._matrix import Parameters, Scaling, attributes, frame, metadata, number, plain
from xpycro.io.translators.nanonis import sweep_axis
from xpycro.schema import coordinate, identifiers

__all__ = ["curve", "volume"]

Block = tuple[int, int, int]  # offset, numbers there, numbers had the run ended
_MODES = {0: (True, True), 1: (True, False), 2: (False, True)}  # forward, backward lines on which spectra were taken


def _axis(
    path: str, parameters: Parameters, channel: str, count: int
) -> tuple[str, dict[str, xr.Variable], bool, int, bool]:
    """Dim, coordinates, whether to reverse, points and whether the ramp was run back, of a channel such as I(V)."""
    wanted = channel.rpartition("(")[2].rstrip(")")
    units = {k: plain(parameters.values.get(f"Spectroscopy.Device_{k}_Start", (0, ""))[1]) for k in (1, 2)}
    devices = [k for k, unit in units.items() if unit == {"V": "V", "Z": "m"}.get(wanted)]
    if devices:
        key, back = f"Spectroscopy.Device_{devices[0]}", f"Spectroscopy.Enable_Device_{devices[0]}_Ramp_Reversal"
        name, unit = ("Bias", "V") if wanted == "V" else ("Z", "m")
    elif wanted == "f" and "FrequencyPhaseDetector.Points" in parameters.values:
        key, back, name, unit = "FrequencyPhaseDetector", "", "Frequency", "Hz"
    else:  # what was swept is not in the parameters: the numbers in the order of time
        return "point", {}, False, count, False
    start, stop = (number(path, parameters, f"{key}{'_' if devices else '.'}{end}") for end in ("Start", "End"))
    points = int(number(path, parameters, f"{key}{'_' if devices else '.'}Points", low=1))
    if start == stop or points > 1 << 24:
        raise CorruptFile(f"{points} points from {start} to {stop}", path=path, field=key)
    dim, coords, reverse = sweep_axis(name, unit, np.linspace(start, stop, points))
    return dim, coords, reverse, points, bool(parameters.values.get(back, (False,))[0])


def curve(
    path: str, parameters: Parameters, channel: str, block: Block, scaling: Scaling, acquired: str | None
) -> xr.Dataset:
    """A single spectrum."""
    offset, count, size = block
    factor, constant, unit = scaling
    dim, axis, reverse, points, both = _axis(path, parameters, channel, count)
    if size != points * (1 + both) and count not in (points, points * (1 + both)):
        raise CorruptFile(
            f"{count} of {size} numbers for {points} points, ramp back {both}", path=path, field="Spectroscopy"
        )
    end = offset + 4 * count if count < points * (1 + both) else None
    parts = [
        RawArray.contiguous(
            path, offset + 4 * points * side, "<i4", (points,), flip=(0,) if side else (), factor=factor,
            constant=constant, target=np.float64, end=end,
        )
        for side in range(1 + (count > points))
    ]  # fmt: skip
    parts = [part.flip(0) for part in parts] if reverse else parts
    coords: dict[str, Any] = {**axis, **_place(path, parameters)}
    dims: tuple[str, ...] = (dim,)
    if len(parts) > 1:
        dims = ("direction", dim)
        coords["direction"] = common.direction_coordinate()
    name = identifiers([channel.partition("(")[0]], coords)[0]
    return common.dataset(
        {name: common.lazy_variable(dims, common.stack(parts), channel, unit)},
        coords,
        metadata(parameters),
        data_type="spectrum",
        **attributes(parameters, acquired),
    )


def _place(path: str, parameters: Parameters) -> dict[str, xr.Variable]:
    """Where a single spectrum was taken, in m."""
    place = re.match(r"\d+,\d+;([-+\d.eE]+),([-+\d.eE]+?)(?:%|$)", parameters.marks.get("MTRX$STS_LOCATION", ""))
    if not place:
        return {}
    try:
        return {axis: coordinate((), float(text), name=axis) for axis, text in zip("xy", place.groups(), strict=True)}
    except ValueError:
        raise CorruptFile(f"a location {place[0][:60]!r}", path=path, field="KRAM") from None


def volume(
    path: str, parameters: Parameters, channel: str, block: Block, scaling: Scaling, acquired: str | None
) -> xr.Dataset:
    """Spectra at every n-th pixel of every m-th line of a scan, in the order in which they were taken."""
    offset, count, size = block
    factor, constant, unit = scaling
    pixels, lines = (int(number(path, parameters, f"XYScanner.{key}", low=1)) for key in ("Points", "Lines"))
    steps = [int(number(path, parameters, f"XYScanner.Subgrid_{a}", low=1)) for a in "XY"]
    nx, ny = math.ceil(pixels / steps[0]), math.ceil(lines / steps[1])
    retrace, down = (bool(parameters.values.get(f"XYScanner.{a}_Retrace", (False,))[0]) for a in "XY")
    mode = parameters.values.get("XYScanner.Subgrid_Match_Mode", (0,))[0]
    ways = [k for k, taken in enumerate(_MODES.get(mode, (True, True))) if taken] if retrace else [0]
    dim, axis, reverse, points, both = _axis(path, parameters, channel, size // (nx * ny))
    curve_bytes = 4 * points * (1 + both)
    line = curve_bytes * nx * len(ways)
    if size != ny * (1 + down) * line // 4:
        raise CorruptFile(
            f"{size} numbers, and {nx} x {ny} spectra of {curve_bytes // 4} on {len(ways)} ways, down {down}",
            path=path, field="XYScanner",
        )  # fmt: skip
    width, height = (number(path, parameters, f"XYScanner.{key}") for key in ("Width", "Height"))
    coords: dict[str, Any] = axis | common.image_coordinates(
        nx, ny, width * nx * steps[0] / pixels, height * ny * steps[1] / lines
    )
    end = offset + 4 * count if count < size else None
    planned: list[tuple[str, list[RawArray]]] = []
    for turned in range(1 + (down and 4 * count > ny * line)):
        for place, way in enumerate(ways):
            start = offset + turned * ny * line + place * nx * curve_bytes
            sides = []
            for side in range(1 + both):
                raw = RawArray.strided(
                    path, start + 4 * points * side, "<i4", (ny, nx, points), (line, curve_bytes, 4), factor=factor,
                    constant=constant, target=np.float64, end=end,
                )  # fmt: skip
                raw = raw.flip(2) if bool(side) != reverse else raw
                raw = raw.flip(1) if way else raw
                sides.append(raw.flip(0) if turned else raw)
            label = channel.partition("(")[0] + (" backward" if way else "") + (" down" if turned else "")
            planned.append((label, sides))
    dims: tuple[str, ...] = ("y", "x", dim)
    if both:
        dims = ("direction", *dims)
        coords["direction"] = common.direction_coordinate()
    variables = {
        name: common.lazy_variable(dims, common.stack(sides), channel, unit)
        for name, (_, sides) in zip(identifiers([label for label, _ in planned], coords), planned, strict=True)
    }
    return common.dataset(
        variables,
        coords,
        metadata(parameters),
        data_type="spectral_image",
        **frame(parameters),
        **attributes(parameters, acquired),
    )
