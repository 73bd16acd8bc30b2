"""Nanonis (SPECS) grids ``.3ds``: a text header before one block of big-endian float32; names and axes of all Nanonis.

Pixel step is size / n (per-pixel positions in real grids confirm it). Nanonis counts the scan angle clockwise; the
attribute ``scan_angle`` is counter-clockwise, in rad. May import numpy, xarray, schema, units and io below.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from xpycro.io.cursor import Cursor, integer, real
from xpycro.io.rawarray import RawArray, StackedArray
from xpycro.io.translators import _common as common
from xpycro.schema import coordinate, identifier, identifiers
from xpycro.units import to_base

__all__ = [
    "MISSING_PIXELS",
    "Column",
    "Group",
    "column",
    "frame_attributes",
    "grid",
    "group_coordinates",
    "grouped",
    "sweep_axis",
]

_TAG = re.compile(r"\s*\[(bwd|filt|AVG|\d{5})\]", re.IGNORECASE)
_UNIT = re.compile(r"\s*\(([^()]*)\)\s*$")
MISSING_PIXELS = 1 << 24  # an unfinished grid may lack this many pixels; more is a damaged header
_SWEPT = {
    "bias": "bias", "bias calc": "bias", "z": "z", "z rel": "z", "frequency": "frequency", "time": "time",
    "energy": "energy", "wavelength": "wavelength",
}  # fmt: skip


# ---------------------------------------------------------------------------------------------------------- names


@dataclass(frozen=True)
class Column:
    """A channel name taken apart.

    Attributes
    ----------
    name : str
        As the instrument calls it, without unit and tags.
    unit : str
        As written.
    backward, filtered : bool
    sweep : int or None
        Number of the sweep; 0 the average of all; None where sweeps were not kept apart.
    """

    name: str
    unit: str
    backward: bool = False
    filtered: bool = False
    sweep: int | None = None


def column(text: str) -> Column:
    """Take a name such as ``"Current [00001] [bwd] (A)"`` or ``"Current (A) [bwd] [filt]"`` apart.

    Examples
    --------
    >>> column("Current [00002] [bwd] (A)")
    Column(name='Current', unit='A', backward=True, filtered=False, sweep=2)
    """
    tags = [tag.lower() for tag in _TAG.findall(text)]
    plain = _TAG.sub("", text).strip()
    found = _UNIT.search(plain)
    numbers = [0 if tag == "avg" else int(tag) for tag in tags if tag == "avg" or tag.isdigit()]
    return Column(
        plain[: found.start()].strip() if found else plain,
        found[1] if found else "",
        "bwd" in tags,
        "filt" in tags,
        numbers[0] if numbers else None,
    )


@dataclass(frozen=True)
class Group:
    """The columns that make up one variable.

    Attributes
    ----------
    name, unit : str
        As the instrument writes them.
    label : str
        What the identifier is made of.
    dims : tuple of str
        ``direction`` and ``sweep`` where there are several of them.
    positions : tuple of tuple of int
        Column numbers, by direction, then by sweep.
    """

    name: str
    unit: str
    label: str
    dims: tuple[str, ...]
    positions: tuple[tuple[int, ...], ...]


def grouped(columns: Sequence[Column]) -> tuple[list[Group], list[int]]:
    """The variables that the columns make up, and the numbers of the sweeps that were kept apart.

    Forward and backward belong together, and all numbered sweeps do; the average of the sweeps and filtered copies are
    variables of their own, and so is a name that comes twice. What lacks a partner stands alone.
    """
    buckets: dict[tuple[Any, ...], dict[tuple[int, bool], int]] = {}
    for position, c in enumerate(columns):
        copy = 0
        while (c.sweep or 0, c.backward) in buckets.get(key := (c.name, c.unit, c.filtered, bool(c.sweep), copy), {}):
            copy += 1
        buckets.setdefault(key, {})[c.sweep or 0, c.backward] = position
    sweeps = sorted({c.sweep for c in columns if c.sweep})
    averaged = {(c.name, c.filtered) for c in columns if not c.sweep}
    groups = []
    for (name, unit, filtered, numbered, _), members in buckets.items():
        label = identifier(name) + (" filtered" if filtered else "")
        wanted = sweeps if numbered else [0]
        directions = [b for b in (False, True) if any(back is b for _, back in members)]
        if len(members) < len(wanted) * len(directions):
            for (sweep, backward), position in members.items():
                single = f"{label}{f' sweep {sweep}' if sweep else ''}{' backward' if backward else ''}"
                groups.append(Group(name, unit, single, (), ((position,),)))
            continue
        # beside an average, the sweeps it was made of are the further thing
        label += " sweeps" if numbered and (name, filtered) in averaged else ""
        label += " backward" if directions == [True] else ""
        dims = (("direction",) if len(directions) > 1 else ()) + (("sweep",) if numbered else ())
        positions = tuple(tuple(members[sweep, backward] for sweep in wanted) for backward in directions)
        groups.append(Group(name, unit, label, dims, positions))
    return groups, sweeps


def sweep_axis(name: str, unit: str, values: np.ndarray) -> tuple[str, dict[str, xr.Variable], bool]:
    """Dim, coordinates and whether to reverse, of a swept signal.

    A monotonic sweep of a signal that the schema knows is its own dim, ascending; of another signal it is a coordinate
    along ``step``, and so is a sweep that turns back, which keeps its order.
    """
    factor, base = to_base(unit)
    values = np.asarray(values, dtype=np.float64) * factor
    steps = np.diff(values)
    reverse = bool(len(values) > 1 and (steps < 0).all())
    monotonic = reverse or bool((steps > 0).all())
    dim = _SWEPT.get(name.lower())
    if monotonic and np.isfinite(values).all():
        if reverse:
            values = values[::-1]
        if dim is not None:
            return dim, {dim: _swept(dim, dim, values, base, name)}, reverse
        label = identifier(name)
        return "step", {label: _swept("step", label, values, base, name)}, reverse
    label = dim or identifier(name)
    return "step", {label: _swept("step", label, values, base, name)}, False


def _swept(dim: str, label: str, values: np.ndarray, units: str, name: str) -> xr.Variable:
    # a swept z is what the spectrum runs over, not a place in the image
    kind = "temporal" if label == "time" else "spectral"
    return coordinate(dim, values, name=label, units=units, long_name=name, dimension_type=kind)


# --------------------------------------------------------------------------------------------------- grids (.3ds)


def grid(path: str, *, incomplete: bool = False) -> dict[str, xr.Dataset]:
    """Read a Nanonis grid (``.3ds``), linear or multi-segment, finished or not.

    Parameters
    ----------
    path : str
    incomplete : bool, optional
        Read a file that ends within a pixel (a broken copy), without that pixel. A grid that was stopped ends after a
        pixel and needs no option.

    Returns
    -------
    dict of str to Dataset
        One group. Each channel over ``(direction, y, x, <swept signal>)``, `direction` where a backward sweep was
        recorded and ``sweep`` where single sweeps were kept; each per-pixel parameter over ``(y, x)``;
        ``measured(y, x)`` where the grid was stopped.

    Raises
    ------
    CorruptFile
        If the header contradicts itself or the file.

    Notes
    -----
    *Laziness*: the header and the sweep limits of at most 16 pixels are read.
    """
    with Cursor(path) as cursor:
        text = common.decoded(cursor.until(b":HEADER_END:", "header"))
        cursor.line("header end", limit=16)
        header = _grid_header(text, cursor)
        return {"": _grid(path, cursor, header, incomplete)}


def _grid_header(text: str, cursor: Cursor) -> dict[str, str]:
    header: dict[str, str] = {}
    lines: list[str] = []
    for line in re.split(r"\r\n?|\n", text):
        if "=" not in line and lines and '="' in lines[-1] and not lines[-1].endswith('"'):
            lines[-1] += "\n" + line  # a comment of several lines
        else:
            lines.append(line)
    for line in lines:
        key, equals, value = line.partition("=")
        # keys that hold a list of names in them contain no "="; a repeated key keeps its first value
        if equals and key.strip():
            key, value = key.strip(), value.strip()
            name, number = key, 2
            while name in header:
                name, number = f"{key} ({number})", number + 1
            header[name] = value[1:-1] if len(value) > 1 and value[0] == value[-1] == '"' else value
    for needed in ("Grid dim", "Points", "Channels"):
        if needed not in header:
            raise cursor.corrupt(f"the header lacks {needed!r}", needed, 0)
    return header


def _split(text: str | None) -> list[str]:
    return [part.strip() for part in text.split(";") if part.strip()] if text else []


def _grid(path: str, cursor: Cursor, header: dict[str, str], incomplete: bool) -> xr.Dataset:
    sizes = re.fullmatch(r"\s*(\d+)\s*[xX]\s*(\d+)\s*", header["Grid dim"])
    if not sizes:
        raise cursor.corrupt(f"{header['Grid dim'][:40]!r}: expected 'nx x ny'", "Grid dim", 0)
    nx, ny = (integer(n, "Grid dim", cursor, low=1, high=1 << 31, offset=0) for n in sizes.groups())
    points = integer(header["Points"], "Points", cursor, low=1, high=1 << 31, offset=0)
    columns = [column(name) for name in _split(header["Channels"])]
    fixed = _split(header.get("Fixed parameters"))
    parameters = [*fixed, *_split(header.get("Experiment parameters"))]
    if not columns:
        raise cursor.corrupt("the header names no channel", "Channels", 0)
    stated = header.get("# Parameters (4 byte)")
    if stated is not None and integer(stated, "# Parameters (4 byte)", cursor, offset=0) != len(parameters):
        raise cursor.corrupt(f"is {stated} and the header names {len(parameters)}", "# Parameters (4 byte)", 0)
    stated = header.get("Experiment size (bytes)")
    expected = 4 * points * len(columns)
    if stated is not None and integer(stated, "Experiment size (bytes)", cursor, offset=0) != expected:
        raise cursor.corrupt(
            f"is {stated}, and {len(columns)} channels of {points} points are {expected}", "Experiment size (bytes)", 0
        )
    record = 4 * len(parameters) + expected
    start, pixels = cursor.position, nx * ny
    n = _pixels_written(cursor, record, pixels, incomplete)
    end = None if n == pixels else start + n * record
    _, _, width, height, angle = settings = _grid_settings(header, cursor)
    if end is not None:
        # what the size of a finished grid confirms, an unfinished one must say
        for needed in ("# Parameters (4 byte)", "Experiment size (bytes)"):
            if needed not in header:
                raise cursor.corrupt(f"{n} of {pixels} pixels are there and the header lacks {needed!r}", needed, 0)
        _check_positions(cursor, start, record, n, (nx, ny), parameters, (width, height, angle))

    name, unit, values = _grid_sweep(cursor, header, start, record, n, points, parameters)
    dim, coords, reverse = ("point", {}, False) if values is None else sweep_axis(name, unit, values)
    coords |= common.image_coordinates(nx, ny, width, height)
    row = record * nx

    def block(position: int) -> RawArray:
        factor, _ = to_base(columns[position].unit)
        raw = RawArray.strided(
            path,
            start + 4 * (len(parameters) + position * points),
            ">f4",
            (ny, nx, points),
            (row, record, 4),
            factor=factor,
            target=np.float32,
            end=end,
        )
        return raw.flip(2) if reverse else raw

    groups, sweeps = grouped(columns)
    coords |= group_coordinates(groups, sweeps)
    variables: dict[str, Any] = {}
    for label, group in zip(identifiers([g.label for g in groups], coords), groups, strict=True):
        parts = [[block(position) for position in row] for row in group.positions]
        raw = common.stack([StackedArray(tuple(row)) if "sweep" in group.dims else row[0] for row in parts])
        variables[label] = common.lazy_variable((*group.dims, "y", "x", dim), raw, group.name, to_base(group.unit)[1])
    spelled = [f"{p} ({unit})" if p.lower() in ("sweep start", "sweep end") else p for p in parameters]
    variables |= _grid_parameters(path, spelled, start, (ny, nx), (row, record), end, [*coords, *variables])
    if end is not None:
        variables["measured"] = common.measured_variable(n, ny, nx)
    return common.dataset(
        variables,
        coords,
        header,
        modality="scanning probe microscopy",
        instrument=" ".join(filter(None, ("Nanonis", header.get("NanonisMain>SW Version")))),
        data_type="spectral_image",
        title=header.get("Experiment"),
        acquired=common.iso_time(header.get("Start time") or header.get("Date")),
        **frame_attributes(*settings),
    )


def group_coordinates(groups: Sequence[Group], sweeps: Sequence[int]) -> dict[str, xr.Variable]:
    """Coordinates of the leading dims that any of the groups has."""
    coords = {}
    if any("direction" in group.dims for group in groups):
        coords["direction"] = common.direction_coordinate()
    if any("sweep" in group.dims for group in groups):
        coords["sweep"] = coordinate("sweep", np.array(sweeps))
    return coords


def _pixels_written(cursor: Cursor, record: int, pixels: int, incomplete: bool) -> int:
    """How many pixels the file holds; all of them, or fewer where the grid was stopped between two."""
    n, rest = divmod(cursor.remaining, record)
    if n > pixels:
        raise cursor.corrupt(f"{n} pixels of {record} bytes are in the file and the grid declares {pixels}", "Grid dim")
    if rest and not incomplete:
        raise cursor.corrupt(
            f"the data end {rest} bytes into pixel {n} of {pixels} ({record} bytes each): truncated, or damaged; "
            "incomplete=True reads the pixels before",
            "data",
        )
    if n < pixels and (n == 0 or pixels - n > MISSING_PIXELS):
        raise cursor.corrupt(f"the grid declares {pixels} pixels and the file holds {n}", "Grid dim")
    return n


Settings = tuple[float | None, float | None, float | None, float | None, float]


def _grid_settings(header: dict[str, str], cursor: Cursor) -> Settings:
    """Centre x, y, width, height in m and the angle in degrees; None where the header does not say."""
    parts = _split(header.get("Grid settings"))
    if len(parts) < 4:
        return None, None, None, None, 0.0
    values = [real(part, "Grid settings", cursor, offset=0) for part in parts[:5]]
    return values[0], values[1], values[2], values[3], values[4] if len(values) > 4 else 0.0


def frame_attributes(
    cx: float | None, cy: float | None, width: float | None, height: float | None, angle: float
) -> dict[str, Any]:
    """The attributes that place an image in the frame of the instrument."""
    return {
        "scan_center_x": cx,
        "scan_center_y": cy,
        "scan_width": width,
        "scan_height": height,
        "scan_angle": math.radians(-angle) + 0.0,
    }


def _parameters_at(cursor: Cursor, start: int, record: int, pixel: int, count: int) -> np.ndarray:
    cursor.seek(start + pixel * record, "data")
    # as decimals: a limit of 0.22 V is not meant as 0.2199999988
    return np.array([float(str(value)) for value in cursor.numbers(">f4", count, "parameters")])


def _check_positions(
    cursor: Cursor,
    start: int,
    record: int,
    n: int,
    shape: tuple[int, int],
    parameters: Sequence[str],
    frame: tuple[float | None, float | None, float],
) -> None:
    """Of an unfinished grid the size of the file cannot confirm nx: the pixels' own positions can."""
    lower = [name.lower() for name in parameters]
    width, height, angle = frame
    if "x (m)" not in lower or "y (m)" not in lower or not width or not height:
        return
    where = [lower.index("x (m)"), lower.index("y (m)")]
    turn = math.radians(-angle)
    right = np.array([math.cos(turn), math.sin(turn)]) * width / shape[0]
    up = np.array([-math.sin(turn), math.cos(turn)]) * height / shape[1]
    first = _parameters_at(cursor, start, record, 0, len(parameters))[where]
    for pixel, step, count in ((1, right, shape[0]), (shape[0], up, n)):
        if count > 1 and pixel < n:
            moved = _parameters_at(cursor, start, record, pixel, len(parameters))[where] - first
            if np.isfinite(moved).all() and np.hypot(*(moved - step)) > 0.5 * np.hypot(*step):
                raise cursor.corrupt(
                    f"pixel {pixel} lies {moved} m from pixel 0 and the header says {step}: damaged", "Grid dim", 0
                )


def _grid_sweep(
    cursor: Cursor,
    header: dict[str, str],
    start: int,
    record: int,
    n: int,
    points: int,
    parameters: Sequence[str],
) -> tuple[str, str, np.ndarray | None]:
    """Name, unit and values of the swept signal; no values where the pixels differ or do not say."""
    signal = column(header.get("Sweep Signal", ""))
    name, unit = signal.name or "Sweep", signal.unit
    segments = next((v for k, v in header.items() if k.startswith("Segment Start")), None)
    if header.get("Filetype", "").upper() == "MLS" and segments:
        return name, unit, _segments(segments, points, cursor)
    lower = [parameter.lower() for parameter in parameters]
    if "sweep start" not in lower or "sweep end" not in lower:
        return name, unit, None
    where = [lower.index("sweep start"), lower.index("sweep end")]
    pixels = np.unique(np.linspace(0, n - 1, min(n, 16)).astype(int)).tolist()
    limits = np.array([_parameters_at(cursor, start, record, pixel, len(parameters))[where] for pixel in pixels])
    finite = np.isfinite(limits).all(axis=1)
    if not finite.any():
        return name, unit, None
    middle = np.median(limits[finite], axis=0)
    span = np.abs(middle[1] - middle[0])
    if span == 0:
        return name, unit, None
    # one pixel that disagrees is damage, several are a grid whose limits were changed on the way
    other = ~(np.abs(limits - middle) <= 1e-6 * span).all(axis=1)
    if other.sum() > (1 if len(pixels) > 2 else 0):
        return name, unit, None
    return name, unit, np.linspace(middle[0], middle[1], points)


def _segments(text: str, points: int, cursor: Cursor) -> np.ndarray:
    """Values of a multi-segment sweep: the point where two segments meet is measured once."""
    values: list[np.ndarray] = []
    total = 1
    for segment in _split(text):
        parts = segment.split(",")
        if len(parts) < 5:
            raise cursor.corrupt(f"a segment {segment[:40]!r} of fewer than five numbers", "Segment Start", 0)
        first, last = (real(part, "Segment Start", cursor, offset=0) for part in parts[:2])
        steps = integer(parts[4], "Segment Start", cursor, low=1, high=points, offset=0)
        total += steps - 1
        values.append(np.linspace(first, last, steps)[1 if values else 0 :])
    result = np.concatenate(values) if values else np.empty(0)
    if result.size != points:
        raise cursor.corrupt(f"the segments have {result.size} points and the sweep {points}", "Segment Start", 0)
    return result


def _grid_parameters(
    path: str,
    parameters: Sequence[str],
    start: int,
    shape: tuple[int, int],
    strides: tuple[int, int],
    end: int | None,
    taken: Sequence[str],
) -> dict[str, xr.Variable]:
    """Every per-pixel parameter as a variable over (y, x); one whose name is taken is called ``pixel_<name>``."""
    columns = [column(name) for name in parameters]
    spelled = [identifier(c.name) for c in columns]
    spelled = [f"pixel {name}" if name in taken or name in ("x", "y", "z") else name for name in spelled]
    variables = {}
    for k, (label, c) in enumerate(zip(identifiers(spelled, taken), columns, strict=True)):
        factor, base = to_base(c.unit)
        raw = RawArray.strided(path, start + 4 * k, ">f4", shape, strides, factor=factor, target=np.float32, end=end)
        variables[label] = common.lazy_variable(("y", "x"), raw, c.name, base)
    return variables
