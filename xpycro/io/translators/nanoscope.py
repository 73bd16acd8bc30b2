"""Bruker, Veeco and Digital Instruments Nanoscope files (``.spm``, ``.000`` and on): images, force curves and volumes.

A text header of ``\\*Section`` and ``\\key: value`` lines, then blocks of little-endian integers at the offsets it
states. The bytes of a number follow from length / samples, never from ``Bytes/pixel``, which recent software
writes wrong. The first stored line is the bottom one. May import numpy, xarray, schema, units and io below.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from xpycro.errors import UnsupportedVariant
from xpycro.io.cursor import Cursor, integer, real
from xpycro.io.rawarray import PaddedArray, RawArray, StackedArray
from xpycro.io.translators import _common as common
from xpycro.schema import coordinate, identifiers
from xpycro.units import to_base

__all__ = ["read"]

Section = dict[str, str]
_END = b"\\*File list end"
_FORCE = ("ciao force image list", "force image list")  # before version 4.2 the names lack "Ciao"
_PADDING = 1 << 20  # bytes of zeros that may lie between two blocks
_VALUE = re.compile(
    r"V\s*(?:\[(?P<sens>[^\]]*)\])?\s*(?:\(\s*(?P<lsb>[-+.\deE]+)\s*(?P<lsb_unit>\S*?)/LSB\s*\))?\s*"
    r"(?P<hard>[-+.\deE]+)\s*(?P<unit>.*)"
)


def read(path: str) -> dict[str, xr.Dataset]:
    """Read a Nanoscope file.

    Parameters
    ----------
    path : str

    Returns
    -------
    dict of str to Dataset
        Images over ``(y, x)``, or ``(direction, y, x)`` where trace and retrace of a channel were saved; force curves
        over ``(segment, point)`` and volumes over ``(y, x, segment, point)``, in the order of time, with the ramp as
        ``z``. Where a file holds both they are the groups ``image`` and ``force``. Lengths are in m with the
        sensitivities of the file applied; these and the spring constant are attributes.

    Raises
    ------
    CorruptFile
        If a block lies outside the file or does not fit its size.
    UnsupportedVariant
        If numbers are stored in other than 2 or 4 bytes.

    Notes
    -----
    *Laziness*: only the header is read. Pixels are size / n apart.
    """
    with Cursor(path) as cursor:
        sections = _header(cursor)
        images = [s for name, s in sections if name.endswith("image list") and name not in _FORCE]
        forces = [s for name, s in sections if name in _FORCE]
        merged = _merged(sections)
        metadata = _metadata(sections)
        if not images and not forces:
            raise cursor.corrupt("the header describes no image and no force curve", "header", 0)
        _check_extent([*images, *forces], merged, cursor)
        groups: dict[str, xr.Dataset] = {}
        if images:
            groups |= _images(path, cursor, images, merged, metadata)
        if forces:
            groups["force"] = _forces(path, cursor, forces, merged, metadata)
    return groups if len(groups) > 1 else {"": next(iter(groups.values()))}


# --------------------------------------------------------------------------------------------------------- header


def _header(cursor: Cursor) -> list[tuple[str, Section]]:
    """Sections in order, names and keys in lower case; a key that comes again in a section keeps its first value."""
    head = cursor.peek(2)
    if head not in (b"\\*", b"?*"):
        cursor.expect(b"\\*", "magic")
    text = cursor.until(_END, "header").decode("latin-1")
    sections: list[tuple[str, Section]] = []
    for line in text.replace("\r", "").split("\n"):
        if line.startswith("\\*") and line[2:].strip():
            sections.append((line[2:].strip().lower(), {}))
        elif line.startswith("\\") and sections:
            key, colon, value = line[1:].partition(":")
            if re.fullmatch(r"@\d+", key):  # "@2:Z scale: V ..."
                more, colon, value = value.partition(":")
                key = more
            if colon:
                sections[-1][1].setdefault(key.lstrip("@").strip().lower(), value.strip())
    return sections


def _merged(sections: Sequence[tuple[str, Section]]) -> Section:
    """Everything that is not about one block, the first statement of each key."""
    merged: Section = {}
    for name, section in sections:
        if not name.endswith("image list"):
            for key, value in section.items():
                merged.setdefault(key, value)
    return merged


def _metadata(sections: Sequence[tuple[str, Section]]) -> dict[str, Any]:
    metadata: dict[str, Any] = {}
    for name, section in sections:
        label, number = name, 2
        while label in metadata:
            label, number = f"{name} ({number})", number + 1
        metadata[label] = section
    return metadata


def _int(section: Mapping[str, str], key: str, cursor: Cursor, *, low: int = 1) -> int:
    words = section.get(key, "").split()
    return integer(words[0] if words else "", key, cursor, low=low, offset=0)


def _check_extent(blocks: Sequence[Section], merged: Section, cursor: Cursor) -> None:
    """The blocks follow the header and one another, and the last one ends with the file; only zeros lie between."""
    spans = sorted((_int(b, "data offset", cursor), _int(b, "data length", cursor)) for b in blocks)
    here = _int(merged, "data length", cursor) if "data length" in merged else spans[0][0]
    if here < cursor.position:
        raise cursor.corrupt(f"a header of {here} bytes that ends after {cursor.position}", "data length", here)
    for offset, length in spans:
        _padding(cursor, here, offset, "data offset")
        cursor.block((length,), 1, "data length", offset=offset)
        here = offset + length
    _padding(cursor, here, cursor.size, "data length")


def _padding(cursor: Cursor, here: int, offset: int, field: str) -> None:
    """Raise unless `here` is `offset`, or zeros fill the room between."""
    if here == offset:
        return
    if 0 < offset - here <= _PADDING:
        cursor.seek(here, field)
        if not any(cursor.read(offset - here, field)):
            return
    raise cursor.corrupt(f"byte {offset} is named next, and what lies before it ends at {here}", field, here)


def _scale(section: Section, merged: Section, key: str, cursor: Cursor) -> tuple[float, float, str, float]:
    """Hard value, value of one LSB, base unit and soft factor of a scaled value (``V [Sens. Zscan] (...) 438.6 V``)."""
    found = _VALUE.fullmatch(section.get(key, ""))
    if not found:
        raise cursor.corrupt(f"{section.get(key, '')[:60]!r}: expected 'V [Sens. name] (x V/LSB) y V'", key, 0)
    hard = real(found["hard"], key, cursor, offset=0)
    lsb = real(found["lsb"], key, cursor, offset=0) if found["lsb"] else math.nan
    unit = (found["unit"] or found["lsb_unit"] or "").strip()
    soft = 1.0
    name = (found["sens"] or "").strip().lower()
    sensitivity = _VALUE.fullmatch(merged.get(name, "")) if name else None
    if sensitivity:
        soft = real(sensitivity["hard"], name, cursor, offset=0)
        above, slash, below = sensitivity["unit"].strip().rpartition("/")
        if slash and below.strip() == unit:
            unit = above.strip()
        elif slash:
            unit = f"{unit} {sensitivity['unit'].strip()}" if below.strip() != "Arb" else above.strip()
        elif soft != 1.0 and unit == "V" and name == "sens. deflsens":
            unit = "nm"  # the software leaves out the unit of a deflection sensitivity that was set by hand
    factor, base = to_base(unit.replace("~", "u"))
    return hard, lsb, base, soft * factor


def _image_scale(section: Section, merged: Section, bits: int, cursor: Cursor) -> tuple[float, str]:
    """Factor and unit of an image; 1 and "1" where its channel states no scale, as some calculated ones do."""
    key = _scale_key(section)
    if not _VALUE.fullmatch(section.get(key, "")):
        return 1.0, "1"
    hard, _, units, soft = _scale(section, merged, key, cursor)
    # an image is stored in parts of its full scale, whatever the converter's LSB was
    return hard / 2**bits * soft, units


def _name(section: Section) -> str:
    """The instrument's name of a channel: what stands in quotes, else in brackets."""
    text = section.get("image data", "")
    found = re.search(r'"([^"]+)"', text) or re.search(r"\[([^\]]+)\]", text)
    return found[1].strip() if found else text or "Channel"


def _dtype(nbytes: int, count: int, path: str) -> np.dtype:
    size, rest = divmod(nbytes, count)
    if rest or size not in (2, 4):
        raise UnsupportedVariant(
            f"{nbytes} bytes for {count} numbers: expected 2 or 4 bytes each", path=path, field="data length"
        )
    return np.dtype(f"<i{size}")


def _length(text: str | None) -> list[float]:
    """``"2 2 ~m"``, ``"500 nm"`` in m; an empty list where it is neither."""
    words = (text or "").replace("~", "u").split()
    if len(words) < 2:
        return []
    factor, base = to_base(words[-1])
    try:
        sizes = [float(word) * factor for word in words[:-1]]
    except ValueError:
        return []
    return sizes if base == "m" and all(math.isfinite(size) and size > 0 for size in sizes) else []


def _number(text: str | None) -> float | None:
    try:
        value = float((text or "").split()[0])
    except (ValueError, IndexError):
        return None
    return value if math.isfinite(value) else None


def _common_attrs(merged: Section) -> dict[str, Any]:
    offsets = [_length((merged.get(key) or "").replace("-", "")) for key in ("x offset", "y offset")]
    signs = [-1 if (merged.get(key) or "").strip().startswith("-") else 1 for key in ("x offset", "y offset")]
    angle = _number(merged.get("rotate ang."))
    return {
        "modality": "atomic force microscopy",
        "instrument": " ".join(filter(None, ("Bruker Nanoscope", merged.get("microscope")))),
        "acquired": common.iso_time(merged.get("date")),
        "software_version": merged.get("version"),
        "scan_angle": None if angle is None else math.radians(angle),
        "scan_center_x": offsets[0][0] * signs[0] if offsets[0] else None,
        "scan_center_y": offsets[1][0] * signs[1] if offsets[1] else None,
    }


# --------------------------------------------------------------------------------------------------------- images


def _images(
    path: str, cursor: Cursor, blocks: Sequence[Section], merged: Section, metadata: Mapping[str, Any]
) -> dict[str, xr.Dataset]:
    """The images of each size as one Dataset."""
    sizes: dict[tuple[int, int], list[Section]] = {}
    for block in blocks:
        shape = _int(block, "number of lines", cursor), _int(block, "samps/line", cursor)
        sizes.setdefault(shape, []).append(block)
    return {
        "image" if k == 1 else f"image_{k}": _image(path, cursor, shape, some, merged, metadata)
        for k, (shape, some) in enumerate(sizes.items(), 1)
    }


def _image(
    path: str,
    cursor: Cursor,
    shape: tuple[int, int],
    blocks: Sequence[Section],
    merged: Section,
    metadata: Mapping[str, Any],
) -> xr.Dataset:
    ny, nx = shape
    first = blocks[0]
    sizes = _length(first.get("scan size")) or _length(merged.get("scan size"))
    height = sizes[1] if len(sizes) > 1 else sizes[0] * ny / nx if sizes else None
    coords: dict[str, Any] = common.image_coordinates(nx, ny, sizes[0] if sizes else None, height)
    pairs: dict[str, dict[str, tuple[RawArray, str]]] = {}
    for block in blocks:
        dtype = _dtype(_int(block, "data length", cursor), nx * ny, path)
        factor, units = _image_scale(block, merged, 8 * dtype.itemsize, cursor)
        raw = RawArray.contiguous(
            path, _int(block, "data offset", cursor), dtype, shape, factor=factor, target=np.float64
        )
        name, way = _name(block), block.get("line direction", "").lower()
        number = 2
        while way in pairs.get(name, {}) or ("" in pairs.get(name, {})):
            name, number = f"{_name(block)} {number}", number + 1
        pairs.setdefault(name, {})[way] = raw, units
    planned: list[tuple[str, str, list[RawArray], dict[str, str]]] = []
    for name, ways in pairs.items():
        if {"trace", "retrace"} <= set(ways) and ways["trace"][1] == ways["retrace"][1]:
            units = ways["trace"][1]
            planned.append((name, units, [ways.pop("trace")[0], ways.pop("retrace")[0]], {}))
            coords["direction"] = common.direction_coordinate()
        for way, (raw, units) in ways.items():
            said = {"trace": {"direction": "forward"}, "retrace": {"direction": "backward"}}.get(way, {})
            planned.append((name, units, [raw], said))
    variables = {}
    for label, (name, units, raws, said) in zip(
        identifiers([name for name, *_ in planned], [*coords, "direction"]), planned, strict=True
    ):
        dims = ("direction", "y", "x") if len(raws) > 1 else ("y", "x")
        variables[label] = common.lazy_variable(dims, common.stack(raws), name, units, **said)
    return common.dataset(
        variables,
        coords,
        metadata,
        data_type="image",
        scan_width=sizes[0] if sizes else None,
        scan_height=height,
        scan_direction=first.get("frame direction", "").lower() or None,
        **_common_attrs(merged),
    )


def _scale_key(block: Section) -> str:
    return "z scale" if "z scale" in block else "z magnify"


# ---------------------------------------------------------------------------------------------------------- force


def _forces(
    path: str, cursor: Cursor, blocks: Sequence[Section], merged: Section, metadata: Mapping[str, Any]
) -> xr.Dataset:
    """Curves of two halves, both stored from contact outwards: the first is the approach, turned to run in time."""
    words = blocks[0].get("samps/line", "").split()[:2]
    halves = [integer(word, "samps/line", cursor, low=0, high=1 << 31, offset=0) for word in words]
    halves = halves * 2 if len(halves) == 1 or (len(halves) == 2 and halves[1] == 0) else halves
    if len(halves) != 2 or min(halves) < 1:
        raise UnsupportedVariant(f"approach and retract of {halves} points", path=path, field="samps/line")
    curves = None
    samples = sum(halves)
    grid: tuple[int, ...] = ()
    planned: list[tuple[str, str, Any, str]] = []
    constant = _number(blocks[0].get("spring constant") or merged.get("spring constant"))
    for block in blocks:
        length = _int(block, "data length", cursor)
        if block.get("samps/line", "").split()[:2] != words:
            raise cursor.corrupt("the channels of one curve have different numbers of points", "samps/line", 0)
        count = _curves(length, samples, merged, path)
        if curves not in (None, count):
            raise cursor.corrupt("the channels hold different numbers of curves", "data length", 0)
        curves = count
        dtype = _dtype(length, count * samples, path)
        _, lsb, units, soft = _scale(block, merged, _scale_key(block), cursor)
        if not math.isfinite(lsb):
            raise cursor.corrupt("the scale of a force curve has no value per LSB", "z scale", 0)
        grid = _curve_grid(count, merged, path)
        name, where = _name(block), (path, _int(block, "data offset", cursor), dtype, grid, halves)
        deflects = units == "m" and name.lower().startswith("deflection")
        planned.append(("deflection" if deflects else name, name, _curve(*where, lsb * soft), units))
        if deflects and constant and "force" not in (label for label, *_ in planned):
            planned.append(("force", name, _curve(*where, lsb * soft * constant), "N"))
    coords: dict[str, Any] = {"segment": coordinate("segment", np.array(["approach", "retract"]))}
    if grid:
        sizes = _length(merged.get("scan size"))
        coords |= common.image_coordinates(grid[1], grid[0], sizes[0] if sizes else None, sizes[-1] if sizes else None)
    dims = (*(("y", "x") if grid else ()), "segment", "point")
    variables: dict[str, Any] = {}
    for key, (_, name, raw, units) in zip(
        identifiers([label for label, *_ in planned], [*coords, "z"]), planned, strict=True
    ):
        variables[key] = common.lazy_variable(dims, raw, name, units)
    if halves[0] != halves[1]:
        variables["length"] = common.segment_lengths(halves)
    ramp = _ramp(blocks[0], merged, cursor)
    if ramp is not None:
        z = np.full((2, max(halves)), np.nan)
        for k, n in enumerate(halves):
            z[k, :n] = (np.arange(n) / max(n - 1, 1) * ramp[0])[:: -1 if k else 1]
        coords["z"] = coordinate(
            ("segment", "point"), z, name="z", units=ramp[1], long_name="Z ramp", dimension_type="spectral"
        )
    sensitivity = _VALUE.fullmatch(merged.get("sens. deflsens", ""))
    return common.dataset(
        variables,
        coords,
        metadata,
        data_type="force_map" if grid else "force_curve",
        spring_constant=constant,
        spring_constant_units=None if constant is None else "N/m",
        deflection_sensitivity=None if not sensitivity else float(f"{float(sensitivity['hard']) * 1e-9:.15g}"),
        deflection_sensitivity_units=None if not sensitivity else "m/V",
        **_common_attrs(merged),
    )


def _curve(
    path: str, offset: int, dtype: np.dtype, grid: tuple[int, ...], halves: Sequence[int], factor: float
) -> RawArray | StackedArray | PaddedArray:
    """One channel over (grid..., segment, point)."""
    item = dtype.itemsize
    outer = [sum(halves) * item * math.prod(grid[k + 1 :]) for k in range(len(grid))]
    first, second = (
        RawArray.strided(path, at, dtype, (*grid, n), (*outer, item), factor=factor, target=np.float64)
        for at, n in ((offset, halves[0]), (offset + halves[0] * item, halves[1]))
    )
    return common.segments([first.flip(len(grid)), second], len(grid))


def _curves(length: int, samples: int, merged: Section, path: str) -> int:
    """How many curves a block holds: of 4 bytes a number if that fits, since recent software states 2 and writes 4."""
    recent = _version(merged) >= 0x0920_0000
    for size in (4, 2) if recent else (2, 4):
        count, rest = divmod(length, samples * size)
        if count and not rest:
            return count
    raise UnsupportedVariant(f"{length} bytes for curves of {samples} points", path=path, field="data length")


def _version(merged: Section) -> int:
    try:
        return int(merged.get("version", "0"), 16)
    except ValueError:
        return 0


def _curve_grid(count: int, merged: Section, path: str) -> tuple[int, ...]:
    """Shape (ny, nx) of a volume; empty for a single curve."""
    if count == 1:
        return ()
    words = merged.get("force/line", "").split()
    across = int(words[0]) if words and words[0].isdigit() and len(words[0]) < 9 else 0
    if not across or count % across:
        raise UnsupportedVariant(f"{count} curves, {across} a line", path=path, field="force/line")
    return count // across, across


def _ramp(block: Section, merged: Section, cursor: Cursor) -> tuple[float, str] | None:
    """Length of the ramp and its unit."""
    for section, key in ((block, "ramp size"), (merged, "ramp size zsweep"), (merged, "z scan size")):
        if key in section:
            hard, _, units, soft = _scale(section, merged, key, cursor)
            return hard * soft, units
    return None
