"""Nanosurf ``.nid``: sections of ``key=value`` text up to ``#!``, then one block of integers a channel.

The bottom line is stored first and backward lines lie in place already (in real files they match the forward ones
unmirrored). May import numpy, xarray, schema, units and the io modules below it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from xpycro.errors import UnsupportedVariant
from xpycro.io.cursor import Cursor, integer, real
from xpycro.io.rawarray import RawArray
from xpycro.io.translators import _common as common
from xpycro.schema import coordinate, identifier, identifiers
from xpycro.units import to_base

__all__ = ["scan"]

Sections = dict[str, dict[str, str]]

_FREE = ("Comment", "Comments", "Remark", "Sample", "Description")  # keys whose text the user writes

_BLOCK = re.compile(r"DataSet-(\d+):(\d+)")
_SCAN = re.compile(r"(?:(\d+)\w\w )?scan (forward|backward)", re.IGNORECASE)  # "Scan forward", "2nd scan backward"
_SEGMENTS = {
    "spec forward": "approach", "spec fwd": "approach", "spec fwd pause": "pause", "spec forward pause": "pause",
    "spec backward": "retract", "spec bwd": "retract", "spec bwd pause": "pause", "spec backward pause": "pause",
}  # fmt: skip


@dataclass(frozen=True)
class Block:
    """One channel of one frame.

    Attributes
    ----------
    frame : str
        ``"Scan forward"``, ``"Spec backward"``, ...
    channel : int
        Number of the channel, the same in every frame.
    name, unit : str
    points, lines : int
    raw : RawArray
        Over (line, point), physical numbers in base units.
    keys : mapping
        The whole section.
    """

    frame: str
    channel: int
    name: str
    unit: str
    points: int
    lines: int
    raw: RawArray
    keys: Mapping[str, str]


def scan(path: str) -> dict[str, xr.Dataset]:
    """Read a Nanosurf file (``.nid``): images, and curves where there are any.

    Parameters
    ----------
    path : str

    Returns
    -------
    dict of str to Dataset
        Images over ``(direction, y, x)``, or ``(y, x)`` where one direction was recorded; curves in a group of their
        own over ``(position, segment, point)`` for approach and retract, over ``(sweep, <axis>)`` for others.

    Raises
    ------
    CorruptFile
        If the header contradicts itself or the file.
    UnsupportedVariant
        If the data are not stored as binary integers.

    Notes
    -----
    *Laziness*: only the header is read.
    """
    with Cursor(path) as cursor:
        cursor.expect(b"[DataSet]", "magic")
        text = b"[DataSet]" + cursor.until(b"#!", "header")
        sections = _sections(text, cursor)
        blocks = list(_blocks(path, cursor, sections))
        if cursor.remaining:
            raise cursor.corrupt(f"{cursor.remaining} bytes more than the {len(blocks)} channels of the header", "data")
    frames: dict[str, list[Block]] = {}
    for block in blocks:
        frames.setdefault(block.frame, []).append(block)
    groups: dict[str, xr.Dataset] = {}
    segments = {name: some for name, some in frames.items() if name.lower() in _SEGMENTS}
    passes: dict[str, dict[str, list[Block]]] = {}
    for name, some in frames.items():
        scanned = _SCAN.fullmatch(name.strip())
        if scanned:  # the second pass of a line is a group of its own
            passes.setdefault(f"image_{scanned[1]}" if scanned[1] else "image", {})[scanned[2].lower()] = some
        elif name.lower().startswith("scan"):
            raise cursor.corrupt(f"a frame {name[:40]!r}: expected 'Scan forward' or 'Scan backward'", "Frame", 0)
        elif name not in segments:
            groups[identifier(name)] = _sweep(some, sections)
    groups = {name: _image(some, sections, cursor) for name, some in passes.items()} | groups
    if segments:
        groups["curves"] = _curves(segments, sections, cursor)
    return {"": next(iter(groups.values()))} if len(groups) == 1 else groups


# --------------------------------------------------------------------------------------------------------- header


def _sections(content: bytes, cursor: Cursor) -> Sections:
    """The text as sections; older software writes latin-1, newer UTF-8."""
    text = common.decoded(content)
    sections: Sections = {}
    section: dict[str, str] = {}
    free = ""
    for line in text.replace("\r", "").split("\n"):
        if line.startswith("["):
            name = line.strip()[1:-1]
            if not line.rstrip().endswith("]") or name in sections:
                raise cursor.corrupt(f"the section {line[:40]!r} is damaged or comes twice", "header", 0)
            section = sections.setdefault(name, {})
        elif line.strip():
            key, equals, value = line.partition("=")
            if equals and key not in section:
                section[key] = value.strip()
                free = key if key in _FREE else free
            elif free in section:  # a comment may have several lines
                section[free] += "\n" + line.strip()
            else:
                raise cursor.corrupt(f"the line {line[:40]!r} is damaged or comes twice", "header", 0)
    return sections


def _blocks(path: str, cursor: Cursor, sections: Sections) -> Iterator[Block]:
    """The blocks in the order in which they are stored: group after group, channel after channel."""
    table = sections["DataSet"]
    count = integer(table.get("GroupCount", ""), "GroupCount", cursor, low=1, high=1000, offset=0)
    stored = [match for match in map(_BLOCK.fullmatch, sections) if match]
    named = {key for key in table if re.fullmatch(r"Gr\d+-Ch\d+", key)}
    if len(named) != len(stored) or not stored:
        raise cursor.corrupt(f"{len(named)} channels are listed and {len(stored)} described", "DataSet", 0)
    for match in sorted(stored, key=lambda found: (int(found[1]), int(found[2]))):
        group, channel = int(match[1]), int(match[2])
        if group >= count or table.get(f"Gr{group}-Ch{channel}") != match[0]:
            raise cursor.corrupt(f"channel {channel} of group {group} is not the one listed", match[0], 0)
        keys = sections[match[0]]
        frame = keys.get("Frame", table.get(f"Gr{group}-Name", ""))
        if frame != table.get(f"Gr{group}-Name", frame):
            raise cursor.corrupt(f"the frame {frame[:40]!r} and the name of group {group} differ", match[0], 0)
        yield _block(path, cursor, match[0], frame, channel, keys)


def _block(path: str, cursor: Cursor, section: str, frame: str, channel: int, keys: Mapping[str, str]) -> Block:
    for key, allowed in (
        ("SaveMode", ("Binary",)),
        ("SaveSign", ("Signed", "Unsigned")),
        ("SaveOrder", ("Intel", "Motorola")),
        ("SaveBits", ("8", "16", "32")),
    ):
        if keys.get(key) not in allowed:
            raise UnsupportedVariant(
                f"{keys.get(key)!r}: expected one of {list(allowed)}", path=path, offset=0, field=f"{section} {key}"
            )
    points, lines = (integer(keys.get(k, ""), f"{section} {k}", cursor, low=1, offset=0) for k in ("Points", "Lines"))
    bits, signed = int(keys["SaveBits"]), keys["SaveSign"] == "Signed"
    dtype = np.dtype(f"{'<' if keys['SaveOrder'] == 'Intel' else '>'}{'i' if signed else 'u'}{bits // 8}")
    unit = keys.get("Dim2Unit", "")
    scale, _ = to_base(unit)
    low, span = (real(keys.get(k, ""), f"{section} {k}", cursor, offset=0) * scale for k in ("Dim2Min", "Dim2Range"))
    if span == 0:
        raise cursor.corrupt("is 0: every number would be the same", f"{section} Dim2Range", 0)
    cursor.block((lines, points), dtype.itemsize, f"{section} Points, Lines")
    raw = RawArray.contiguous(
        path, cursor.position, dtype, (lines, points), factor=span / 2**bits, constant=low + (span / 2 if signed else 0)
    )
    cursor.skip(lines * points * dtype.itemsize, section)
    return Block(frame, channel, keys.get("Dim2Name") or f"Channel {channel}", unit, points, lines, raw, keys)


def _number(text: str | None) -> tuple[float, str] | None:
    """``"-700mV"``, ``"1.33 °"`` as a number in its base unit; None where it is not one."""
    found = re.fullmatch(r"\s*([-+]?[\d.]+(?:[eE][-+]?\d+)?)\s*(\S*)\s*", text or "")
    if not found:
        return None
    factor, base = to_base(found[2])
    try:
        return float(found[1]) * factor, base
    except ValueError:
        return None


def _attributes(sections: Sections) -> dict[str, Any]:
    """What is common, from the info section; the header keeps the rest."""
    info = sections.get("DataSet-Info", {})
    setpoint = _number(info.get("Setpoint") or info.get("Set point"))
    angle, bias = _number(info.get("Rotation")), _number(info.get("Tip voltage"))
    center = [_number(info.get(key)) for key in ("X-Pos", "Y-Pos")]
    mode = info.get("Op. mode", "")
    return {
        "modality": "scanning tunnelling microscopy" if mode == "STM" else "atomic force microscopy",
        "instrument": " ".join(filter(None, ("Nanosurf", info.get("Head type")))),
        "acquired": common.iso_time(f"{info.get('Date', '')} {info.get('Time', '')}"),
        "operating_mode": mode or None,
        "scan_direction": info["Scan direction"].lower() if "Scan direction" in info else None,
        "scan_angle": math.radians(angle[0]) if angle and angle[1] != "rad" else angle[0] if angle else None,
        "scan_center_x": center[0][0] if center[0] else None,
        "scan_center_y": center[1][0] if center[1] else None,
        "bias": bias[0] if bias and bias[1] == "V" else None,
        "setpoint": setpoint[0] if setpoint else None,
        "setpoint_units": setpoint[1] if setpoint else None,
    }


# --------------------------------------------------------------------------------------------------------- groups


def _partners(frames: Mapping[str, list[Block]], cursor: Cursor) -> list[list[Block]]:
    """The blocks of each channel number, frame after frame; they must be the same channel."""
    numbers: dict[int, list[Block]] = {}
    for block in (block for some in frames.values() for block in some):
        numbers.setdefault(block.channel, []).append(block)
    for number, some in numbers.items():
        if len({(block.name, block.unit, block.raw.factor, block.raw.constant) for block in some}) > 1:
            raise cursor.corrupt(
                f"channel {number} ({some[0].name}) has another name, unit or range in another frame", "Dim2Name", 0
            )
    return list(numbers.values())


def _axis(block: Block, number: int, cursor: Cursor) -> float | None:
    """Length of an axis in m; None where it is not one."""
    factor, base = to_base(block.keys.get(f"Dim{number}Unit", ""))
    if base != "m" or f"Dim{number}Range" not in block.keys:
        return None
    return real(block.keys[f"Dim{number}Range"], f"Dim{number}Range", cursor, offset=0) * factor


def _image(frames: Mapping[str, list[Block]], sections: Sections, cursor: Cursor) -> xr.Dataset:
    """Images: channels over ``(direction, y, x)``; `frames` by direction."""
    first = next(iter(frames.values()))[0]
    ways = {block.frame: way for way, some in frames.items() for block in some}
    for block in (block for some in frames.values() for block in some):
        if (block.points, block.lines) != (first.points, first.lines):
            raise cursor.corrupt(f"{block.name} has {block.points} x {block.lines} pixels", "Points, Lines", 0)
    coords: dict[str, Any] = common.image_coordinates(
        first.points, first.lines, _axis(first, 0, cursor), _axis(first, 1, cursor)
    )
    variables = {}
    partners = _partners(frames, cursor)
    names = identifiers([some[0].name for some in partners], [*coords, "direction"])
    for name, some in zip(names, partners, strict=True):
        by = {ways[block.frame]: block for block in some}
        units, title = to_base(some[0].unit)[1], some[0].name
        parts = [by[said].raw for said in common.DIRECTIONS if said in by]
        if len(parts) > 1:
            coords["direction"] = common.direction_coordinate()
            variables[name] = common.lazy_variable(("direction", "y", "x"), common.stack(parts), title, units)
        else:
            variables[name] = common.lazy_variable(("y", "x"), parts[0], title, units, direction=next(iter(by)))
    return common.dataset(variables, coords, sections, data_type="image", **_attributes(sections))


def _curves(frames: Mapping[str, list[Block]], sections: Sections, cursor: Cursor) -> xr.Dataset:
    """Force or voltage curves; a channel that some frames lack, or have fewer lines of, is read here."""
    blocks = [block for some in frames.values() for block in some]
    lines, points = max(block.lines for block in blocks), max(block.points for block in blocks)
    longest = [max(block.points for block in some) for some in frames.values()]
    variables: dict[str, Any] = {}
    partners = _partners(frames, cursor)
    order = {frame: k for k, frame in enumerate(frames)}
    for name, some in zip(identifiers([s[0].name for s in partners], ["segment"]), partners, strict=True):
        dims, units = ("position", "segment", "point"), to_base(some[0].unit)[1]
        if [(block.lines, block.points) for block in some] == [(lines, n) for n in longest]:
            raw = common.segments([block.raw for block in some], 1)
            variables[name] = common.lazy_variable(dims, raw, some[0].name, units)
            continue
        values = np.full((lines, len(frames), points), np.nan)
        for block in some:
            values[: block.lines, order[block.frame], : block.points] = block.raw.read()
        variables[name] = xr.Variable(dims, values, {"units": units, "long_name": some[0].name})
    swept, label, units = np.full((len(frames), points), np.nan), "swept", "1"
    for frame, k in order.items():
        block = frames[frame][0]
        label, units, values = _swept(block)
        swept[k, : block.points] = values
    coords = {
        "segment": coordinate("segment", np.array([_SEGMENTS[frame.lower()] for frame in frames])),
        identifier(label): coordinate(
            ("segment", "point"), swept, units=units, long_name=label, dimension_type="spectral"
        ),
    }
    variables["length"] = common.segment_lengths([frames[frame][0].points for frame in frames])
    return common.dataset(variables, coords, sections, data_type="curves", **_attributes(sections))


def _swept(block: Block) -> tuple[str, str, np.ndarray]:
    """Name, unit and values of the axis of a curve; the points are a step range / (n - 1) apart."""
    factor, base = to_base(block.keys.get("Dim0Unit", ""))
    try:
        low, span = (float(block.keys.get(key, "")) * factor for key in ("Dim0Min", "Dim0Range"))
    except ValueError:
        return "Point", "1", np.arange(block.points, dtype=np.float64)
    name = block.keys.get("Dim0Name", "").rstrip("*") or "Swept"
    return name, base, low + span * np.arange(block.points) / max(block.points - 1, 1)


def _sweep(blocks: list[Block], sections: Sections) -> xr.Dataset:
    """Other curves, such as a frequency sweep, over ``(sweep, point)`` with the swept signal as coordinate."""
    label, units, values = _swept(blocks[0])
    dim = "frequency" if units == "Hz" else "time" if units == "s" else "bias" if units == "V" else "point"
    if dim != "point" and not bool((np.diff(values) > 0).all()):
        dim = "point"
    name = dim if dim != "point" else identifier(label)
    coords = {name: coordinate(dim, values, name=dim, units=units, long_name=label)}
    variables = {
        key: common.lazy_variable(("sweep", dim), block.raw, block.name, to_base(block.unit)[1])
        for key, block in zip(identifiers([b.name for b in blocks], coords), blocks, strict=True)
    }
    return common.dataset(variables, coords, sections, data_type="spectrum", **_attributes(sections))
