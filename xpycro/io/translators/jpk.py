"""JPK (Bruker) force data: ``.jpk-force``, ``.jpk-force-map``, ``.jpk-qi-data``, archives of properties and curves.

Numbers are big-endian; an encoder turns them to volts or metres and a chain of conversions to calibrated units, each
applied once. May import numpy, xarray, schema, units and the io modules below it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from xpycro.errors import NotThisFormat, UnsupportedVariant
from xpycro.io.cursor import Cursor, integer, real
from xpycro.io.rawarray import lazy, stamp
from xpycro.io.translators import _common as common
from xpycro.io.translators import _zip
from xpycro.schema import coordinate, identifiers
from xpycro.units import to_base

__all__ = ["CurveArray", "force", "properties"]

Properties = dict[str, str]

_STYLES = {"extend": "approach", "retract": "retract", "pause": "pause"}
_DTYPES = {
    "signedshort": ">i2", "unsignedshort": ">u2", "signedinteger": ">i4", "unsignedinteger": ">u4",
    "signedlong": ">i8", "float": ">f4", "double": ">f8", "float-data": ">f4", "double-data": ">f8",
    "short": ">i2", "integer": ">i4", "short-data": ">i2", "integer-data": ">i4",
}  # fmt: skip
_MEASURED = ("measuredHeight", "capacitiveSensorHeight", "strainGaugeHeight", "smoothedStrainGaugeHeight",
             "smoothedCapacitiveSensorHeight")  # fmt: skip
_PATH = re.compile(r"(?:index/(\d+)/)?segments/(\d+)/(?:channels/[^/]+\.dat|segment-header\.properties)")
_LIMIT = 1 << 24  # bytes of one file of properties
_COMPUTED = ("constant-data", "raster-data")  # channels that the header states and no member holds
_KEPT = 64  # curves whose own headers are kept in the metadata


def properties(text: str) -> Properties:
    """A Java properties file.

    Examples
    --------
    >>> properties("# comment\\ntime=13\\\\:57 +0200\\nempty=")
    {'time': '13:57 +0200', 'empty': ''}
    """
    found: Properties = {}
    for line in text.replace("\r\n", "\n").split("\n"):
        plain = line.strip()
        if plain and plain[0] not in "#!":
            key, _, value = plain.partition("=")
            found[_unescape(key.strip())] = _unescape(value.strip())
    return found


def _unescape(text: str) -> str:
    text = re.sub(r"\\u([0-9a-fA-F]{4})", lambda m: chr(int(m[1], 16)), text)
    return re.sub(r"\\(.)", r"\1", text)


# ------------------------------------------------------------------------------------------------------ lazy curves


@dataclass(frozen=True)
class CurveArray:
    """Numbers over (curve..., segment, point) in the members of an archive, inflated when indexed.

    Attributes
    ----------
    path : str
    members : tuple of (Member or None)
        In the order of the leading axes, flattened; None where a curve was not measured.
    outer : tuple of int
        Sizes of the leading axes, the last of which is the segment.
    points : int
        Length of the longest curve; shorter ones end in NaN.
    dtype : str
        As stored.
    scales : tuple of (factor, constant)
        For each segment: the number handed out is ``stored * factor + constant``.
    stamp : tuple of int
    """

    path: str
    members: tuple[_zip.Member | None, ...]
    outer: tuple[int, ...]
    points: int
    dtype: str
    scales: tuple[tuple[float, float], ...]
    stamp: tuple[int, int]

    @property
    def shape(self) -> tuple[int, ...]:
        """Leading axes and points."""
        return (*self.outer, self.points)

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def result_dtype(self) -> np.dtype:
        """dtype of what is handed out."""
        return np.dtype(np.float64)

    @property
    def nbytes(self) -> int:
        """Bytes of what is handed out when read whole."""
        return math.prod(self.shape) * 8

    def __dask_tokenize__(self) -> tuple[Any, ...]:
        first = next((m for m in self.members if m is not None), None)
        where = None if first is None else (first.name, first.offset)
        return ("xpycro.CurveArray", self.path, *self.stamp, self.shape, where, self.dtype, self.scales)

    def read(self, key: Any = ()) -> np.ndarray:
        """The numbers that a basic index names; only the curves it touches are inflated."""
        key = key if isinstance(key, tuple) else (key,)
        key = key + (slice(None),) * (self.ndim - len(key))
        chosen = np.arange(len(self.members)).reshape(self.outer)[key[:-1]]
        rows = np.full((chosen.size, self.points), np.nan)
        with Cursor(self.path) as cursor:
            for row, number in enumerate(np.asarray(chosen).ravel().tolist()):
                member = self.members[number]
                if member is not None:
                    stored = np.frombuffer(_zip.contents(cursor, member), self.dtype)
                    factor, constant = self.scales[number % self.outer[-1]]
                    rows[row, : stored.size] = stored * factor + constant
        return rows.reshape(*np.shape(chosen), self.points)[(..., key[-1])]


# ------------------------------------------------------------------------------------------------------------ force


def force(path: str) -> dict[str, xr.Dataset]:
    """Read JPK force curves: one (``.jpk-force``), a map (``.jpk-force-map``), quantitative imaging (``.jpk-qi-data``).

    Parameters
    ----------
    path : str

    Returns
    -------
    dict of str to Dataset
        One group. Over ``(segment, point)``, of a map ``(y, x, segment, point)``: ``z`` the measured height,
        ``deflection`` and ``force`` where they are calibrated, every other channel under its own name; short curves
        end in NaN and ``length`` says where. ``measured(y, x)`` where curves of a map are missing. Calibration:
        attributes ``spring_constant`` (N/m) and ``deflection_sensitivity`` (m/V), applied already.

    Raises
    ------
    NotThisFormat
        If the archive is not one of JPK.
    CorruptFile
        If a member is damaged, missing, or contradicts another.
    UnsupportedVariant
        If a channel is stored in a way that is not read.

    Notes
    -----
    *Laziness*: the directory of the archive and the headers of the first curve are read; a curve is inflated when it
    is used.
    """
    with Cursor(path) as cursor:
        found = _zip.members(cursor)
        if "header.properties" not in found:
            raise NotThisFormat("the archive has no header.properties", path=path, field="directory")
        return {"": _Reader(path, cursor, found).dataset()}


@dataclass(frozen=True)
class Channel:
    """How the numbers of a channel are stored and scaled.

    Attributes
    ----------
    name, dtype : str
    slots : mapping of str to (factor, constant, unit)
        From the stored number to each defined conversion.
    default : str
        The slot that the instrument shows.
    factors : mapping of str to float
        The step that leads to a slot from the one below it.
    """

    name: str
    dtype: str
    slots: Mapping[str, tuple[float, float, str]]
    default: str
    factors: Mapping[str, float]


class _Reader:
    """One archive: its headers, the order of its curves, its channels."""

    def __init__(self, path: str, cursor: Cursor, found: Mapping[str, _zip.Member]) -> None:
        self.path, self.cursor, self.found = path, cursor, found
        self.header = self.read("header.properties")
        kind = self.header.get("type", "")
        self.shared = self.read("shared-data/header.properties") if "shared-data/header.properties" in found else {}
        if not any(key.startswith(("force-scan", "quantitative-imaging")) for key in self.header):
            raise NotThisFormat(f"a JPK archive of type {kind[:40]!r}: not force data", path=path, field="type")
        self.curves = self.find_curves()

    def read(self, name: str) -> Properties:
        """A member as properties."""
        if name not in self.found:
            raise self.cursor.corrupt("is not in the archive", name, 0)
        if self.found[name].size > _LIMIT:
            raise self.cursor.corrupt(f"{self.found[name].size} bytes of properties", name, self.found[name].offset)
        return properties(_zip.contents(self.cursor, self.found[name]).decode("latin-1"))

    def find_curves(self) -> dict[int, int]:
        """Number of segments of each curve by its index; a single curve has index -1."""
        segments: dict[int, set[int]] = {}
        for name in self.found:
            match = _PATH.fullmatch(name)
            if match:
                segments.setdefault(int(match[1]) if match[1] else -1, set()).add(int(match[2]))
            elif name.endswith(".dat") or "segment" in name:
                raise self.cursor.corrupt("a curve where none belongs", name, 0)
        if not segments or (-1 in segments and len(segments) > 1):
            raise self.cursor.corrupt("no curves, or single ones beside a map", "segments", 0)
        for index, numbers in segments.items():
            if numbers != set(range(len(numbers))):
                raise self.cursor.corrupt(f"curve {index} has the segments {sorted(numbers)}", "segments", 0)
        return {index: len(segments[index]) for index in sorted(segments)}

    def base(self, index: int) -> str:
        """The folder of a curve."""
        return "" if index < 0 else f"index/{index}/"

    def segment(self, index: int, number: int) -> Properties:
        """Header of a segment, the shared part it refers to filled in."""
        own = self.read(f"{self.base(index)}segments/{number}/segment-header.properties")
        reference = own.get("force-segment-header.force-segment-header-info.*")
        if reference is None:
            return own
        prefix = f"force-segment-header-info.{reference}."
        shared = {f"force-segment-header.{k.removeprefix(prefix)}": v for k, v in self.shared.items()
                  if k.startswith(prefix)}  # fmt: skip
        return {**shared, **own}

    # ------------------------------------------------------------------------------------------------------ channels

    def channel(self, header: Properties, name: str) -> Channel:
        """Type, encoder and conversions of a channel, from the header of a segment or the shared part."""
        reference = header.get(f"channel.{name}.lcd-info.*")
        source, prefix = (header, f"channel.{name}.") if reference is None else (self.shared, f"lcd-info.{reference}.")
        kind = source.get(prefix + "data.encoder.type") or source.get(prefix + "encoder.type")
        stored = source.get(prefix + "data.type") or source.get(prefix + "type", "")
        encoder = prefix + ("data.encoder." if prefix + "data.encoder.type" in source else "encoder.")
        if (kind or stored) not in _DTYPES:
            raise UnsupportedVariant(
                f"numbers of type {kind or stored!r}: expected one of {sorted(_DTYPES)}", path=self.path, field=name
            )
        slots: dict[str, tuple[float, float, str]] = {}
        factors: dict[str, float] = {}
        factor, constant, unit = 1.0, 0.0, source.get(prefix + "unit.unit", "")
        if kind is not None:
            factor, constant, unit = self.scaling(source, encoder + "scaling.", name)
        sets = prefix + "conversion-set."
        base, default = (source.get(f"{sets}conversions.{key}", "") for key in ("base", "default"))
        slots[base] = (factor, constant, unit)
        waiting = source.get(f"{sets}conversions.list", "").split()
        for _ in range(len(waiting)):
            for slot in [s for s in waiting if s not in slots]:
                entry = f"{sets}conversion.{slot}."
                below = source.get(entry + "base-calibration-slot", "")
                if source.get(entry + "defined") != "true" or below not in slots:
                    continue
                m, o, unit = self.scaling(source, entry + "scaling.", name)
                f, c, _ = slots[below]
                slots[slot], factors[slot] = (f * m, c * m + o, unit), m
        return Channel(name, _DTYPES[kind or stored], slots, default if default in slots else base, factors)

    def scaling(self, source: Properties, prefix: str, name: str) -> tuple[float, float, str]:
        """Multiplier, offset and unit of a linear scaling."""
        style = source.get(prefix + "style", "offsetmultiplier")
        if source.get(prefix + "type", "linear") != "linear" or style != "offsetmultiplier":
            raise UnsupportedVariant(f"a scaling of style {style!r}", path=self.path, field=name)
        numbers = [real(source.get(prefix + key, ""), name, self.cursor, offset=0) for key in ("multiplier", "offset")]
        return numbers[0], numbers[1], source.get(prefix + "unit.unit", "")

    # ------------------------------------------------------------------------------------------------------- dataset

    def grid(self) -> tuple[int, int, dict[str, Any], bool, bool] | None:
        """Columns, rows, frame, back and forth, reflected, of a map; None for a single curve."""
        if -1 in self.curves:
            return None
        found = [key for key in self.header if key.endswith(".position-pattern.grid.ilength")]
        if not found:
            raise UnsupportedVariant("a map whose positions are not a grid", path=self.path, field="position-pattern")
        pattern = found[0].removesuffix("grid.ilength")

        def number(key: str) -> float:
            return real(self.header.get(f"{pattern}grid.{key}", "0"), key, self.cursor, offset=0)

        nx, ny = (
            integer(self.header.get(f"{pattern}grid.{key}", ""), key, self.cursor, low=1, high=1 << 20, offset=0)
            for key in ("ilength", "jlength")
        )
        frame = {
            "scan_width": number("ulength"), "scan_height": number("vlength"), "scan_center_x": number("xcenter"),
            "scan_center_y": number("ycenter"), "scan_angle": number("theta"),
        }  # fmt: skip
        turning = self.header.get(pattern + "back-and-forth") == "true"
        return nx, ny, frame, turning, self.header.get(pattern + "grid.reflect") == "true"

    def places(self, nx: int, ny: int, turning: bool, reflected: bool) -> dict[int, int]:
        """Where each curve belongs in the grid, row by row from the bottom."""
        indices = list(self.curves)
        numbers = dict(zip(indices, indices, strict=True))
        complete = indices == list(range(nx * ny))
        for index in indices if not complete else [indices[0], indices[-1]]:
            if f"index/{index}/header.properties" in self.found:
                own = self.read(f"index/{index}/header.properties")
                stated = next((v for k, v in own.items() if k.endswith(".header.position-index")), None)
                if stated is not None:
                    numbers[index] = integer(stated, "position-index", self.cursor, low=0, offset=0)
        if complete and any(index != number for index, number in numbers.items()):
            raise self.cursor.corrupt("the curves are not in the order of their folders", "position-index", 0)
        placed = {}
        for index, number in numbers.items():
            row, column = divmod(number, nx)
            if row >= ny:
                raise self.cursor.corrupt(f"curve {index} at position {number} of {nx} x {ny}", "position-index", 0)
            column = nx - 1 - column if turning and row % 2 else column
            placed[index] = (ny - 1 - row if reflected else row) * nx + column
        if len(set(placed.values())) != len(placed):
            raise self.cursor.corrupt("two curves at one position", "position-index", 0)
        return placed

    def labels(self, headers: Sequence[Properties]) -> np.ndarray:
        """What each segment is: approach, pause, retract; numbered where one comes twice."""
        names: list[str] = []
        for header in headers:
            style = header.get("force-segment-header.settings.style") or header.get(
                "force-segment-header.settings.segment-settings.style", ""
            )
            label = candidate = _STYLES.get(style, style or "segment")
            number = 2
            while candidate in names:
                candidate, number = f"{label}_{number}", number + 1
            names.append(candidate)
        return np.array(names)

    def dataset(self) -> xr.Dataset:
        """The finished Dataset."""
        longest = max(self.curves, key=lambda index: self.curves[index])
        segments = self.curves[longest]
        headers = [self.segment(longest, number) for number in range(segments)]
        listed = [header.get("channels.list", "").split() for header in headers]
        if not all(listed):
            raise self.cursor.corrupt("the header names no channel", "channels.list", 0)
        names = list(dict.fromkeys(name for some in listed for name in some if self.stored(headers, name)))
        if not names:
            raise UnsupportedVariant("curves without a recorded channel", path=self.path, field="channels.list")
        grid = self.grid()
        coords: dict[str, Any] = {"segment": coordinate("segment", self.labels(headers))}
        outer: tuple[int, ...] = (segments,)
        dims: tuple[str, ...] = ("segment", "point")
        frame: dict[str, Any] = {}
        places = {-1: 0}
        if grid is not None:
            nx, ny, frame, turning, reflected = grid
            coords |= common.image_coordinates(nx, ny, frame["scan_width"], frame["scan_height"])
            outer, dims = (ny, nx, segments), ("y", "x", "segment", "point")
            places = self.places(nx, ny, turning, reflected)
        variables: dict[str, Any] = {}
        channels = [self.channel(headers[self.stored(headers, name)[0]], name) for name in names]
        self.check_scales(longest, headers, channels)
        length = np.zeros(outer, dtype=np.int64)
        members = {name: self.members(headers, name, places, outer) for name in names}
        for channel in channels:
            counts = self.lengths(members[channel.name], channel).reshape(outer)
            both = (counts > 0) & (length > 0)
            if (counts != length)[both].any():
                raise self.cursor.corrupt("its curves are of other lengths than those beside it", channel.name, 0)
            length = np.maximum(length, counts)
        points = int(length.max(initial=0))
        for channel in channels:
            there = self.stored(headers, channel.name)
            per_segment = [self.channel(h, channel.name) if k in there else channel for k, h in enumerate(headers)]
            for label, slot, title in self.wanted(channel, variables, names):
                unit = channel.slots[slot][2]
                if any(c.dtype != channel.dtype or c.slots.get(slot, ("",))[-1] != unit for c in per_segment):
                    raise UnsupportedVariant("the segments differ in type or unit", path=self.path, field=channel.name)
                scale, base = to_base(unit)
                scales = tuple((c.slots[slot][0] * scale, c.slots[slot][1] * scale) for c in per_segment)
                array = CurveArray(
                    self.path, members[channel.name], outer, points, channel.dtype, scales, stamp(self.path)
                )
                variables[label] = xr.Variable(dims, lazy(array), {"units": base, "long_name": title})  # type: ignore[arg-type]
        computed = dict.fromkeys(name for some in listed for name in some if name not in names)
        for label, name in zip(identifiers(computed, [*coords, *variables]), computed, strict=True):
            variables[label] = self.computed(headers, name, points)
        variables["length"] = common.segment_lengths(length, dims[:-1])
        if grid is not None and len(places) < nx * ny:
            known = np.isin(np.arange(nx * ny), list(places.values())).reshape(ny, nx)
            variables["measured"] = xr.Variable(("y", "x"), known, {"units": "1", "long_name": "Measured pixels"})
        if len(self.curves) == 1:
            stated = [real(h.get("force-segment-header.duration", "nan") or "0", "duration", self.cursor, offset=0)
                      for h in headers]  # fmt: skip
            coords["duration"] = coordinate("segment", np.array(stated), name="time", units="s", long_name="Duration")
        return common.dataset(variables, coords, self.metadata(), **frame, **self.attributes(channels, headers))

    def check_scales(self, index: int, headers: Sequence[Properties], channels: Sequence[Channel]) -> None:
        """Where each curve has its own scales, those of the last must be those of the first."""
        last = list(self.curves)[-1]
        if not self.shared and last != index:
            for channel in channels:
                number = self.stored(headers, channel.name)[0]
                if number < self.curves[last] and self.channel(self.segment(last, number), channel.name) != channel:
                    raise UnsupportedVariant("the curves of the map are scaled differently", path=self.path)

    def property_of(self, header: Properties, name: str, key: str) -> str:
        """What a segment, or the part it shares with others, says of a channel's data."""
        reference = header.get(f"channel.{name}.lcd-info.*")
        source, prefix = (header, f"channel.{name}.") if reference is None else (self.shared, f"lcd-info.{reference}.")
        return header.get(f"channel.{name}.data.{key}") or source.get(f"{prefix}data.{key}") or ""

    def stored(self, headers: Sequence[Properties], name: str) -> list[int]:
        """The segments in which a channel was recorded."""
        return [
            number
            for number, header in enumerate(headers)
            if name in header.get("channels.list", "").split()
            and self.property_of(header, name, "type") not in _COMPUTED
        ]

    def computed(self, headers: Sequence[Properties], name: str, points: int) -> xr.Variable:
        """A channel that the header states: one number, or a start and a step."""
        values = np.full((len(headers), points), np.nan)
        for number, header in enumerate(headers):
            said = {key: self.property_of(header, name, key) for key in ("type", "value", "start", "step")}
            if said["type"] == "constant-data":
                values[number] = real(said["value"], name, self.cursor, offset=0)
            elif said["type"] == "raster-data":
                start, step = (real(said[key], name, self.cursor, offset=0) for key in ("start", "step"))
                values[number] = start + step * np.arange(points)
        unit = next(filter(None, (self.property_of(header, name, "unit.unit") for header in headers)), "")
        factor, base = to_base(unit)
        return xr.Variable(("segment", "point"), values * factor, {"units": base, "long_name": name})

    def members(
        self, headers: Sequence[Properties], name: str, places: Mapping[int, int], outer: tuple[int, ...]
    ) -> tuple[_zip.Member | None, ...]:
        """The members of a channel in the order of the grid and its segments."""
        result: list[_zip.Member | None] = [None] * math.prod(outer)
        for index, place in places.items():
            for number in set(range(self.curves[index])) & set(self.stored(headers, name)):
                file = headers[number].get(f"channel.{name}.data.file.name", f"channels/{name}.dat")
                whole = f"{self.base(index)}segments/{number}/{file}"
                if whole not in self.found:
                    raise self.cursor.corrupt("is not in the archive", whole, 0)
                result[place * outer[-1] + number] = self.found[whole]
        return tuple(result)

    def lengths(self, members: Sequence[_zip.Member | None], channel: Channel) -> np.ndarray:
        """Points of each curve, from the size of its member."""
        itemsize = np.dtype(channel.dtype).itemsize
        sizes = np.array([0 if member is None else member.size for member in members], dtype=np.int64)
        if (sizes % itemsize).any():
            raise self.cursor.corrupt(f"a curve is not of whole numbers of {itemsize} bytes", channel.name, 0)
        return sizes // itemsize

    def wanted(self, channel: Channel, taken: Mapping[str, Any], names: Sequence[str]) -> list[tuple[str, str, str]]:
        """Variable name, slot and long name of what a channel gives."""
        if channel.name == "vDeflection":
            slots = [s for s in ("distance", "force") if s in channel.slots]
            named = {"distance": "deflection", "force": "force"}
            if not slots:
                return [("deflection", channel.default, channel.name)]
            return [(named[s], s, channel.name) for s in slots]
        first = next((name for name in _MEASURED if name in names), "height")
        if channel.name == first:
            return [("z", channel.default, channel.name)]
        return [(identifiers([channel.name], [*taken, "y", "x", "z"])[0], channel.default, channel.name)]

    def attributes(self, channels: Sequence[Channel], headers: Sequence[Properties]) -> dict[str, Any]:
        """What is common, and the calibration."""
        deflection = next((c for c in channels if c.name == "vDeflection"), None)
        factors = deflection.factors if deflection else {}

        def said(*endings: str) -> str | None:
            for source in (self.header, *headers):
                for key, value in source.items():
                    if key.endswith(endings) and value:
                        return value
            return None

        stamp_text = said("start-time", "force-segment-header.time-stamp") or ""
        place = [said(f".header.position.{axis}") if -1 in self.curves else None for axis in "xy"]
        return {
            "modality": "atomic force microscopy",
            "instrument": " ".join(filter(None, ("JPK", said(".description.instrument")))),
            "data_type": "force_curves",
            "acquired": common.iso_time(re.sub(r"(\.\d+)?\s*([+-]\d{4}|[A-Z]+)?$", "", stamp_text)),
            "spring_constant": factors.get("force"),
            "spring_constant_units": "N/m" if "force" in factors else None,
            "deflection_sensitivity": factors.get("distance"),
            "deflection_sensitivity_units": "m/V" if "distance" in factors else None,
            "feedback_mode": said("feedback-mode.name"),
            "position_x": None if place[0] is None else real(place[0], "position", self.cursor, offset=0),
            "position_y": None if place[1] is None else real(place[1], "position", self.cursor, offset=0),
        }

    def metadata(self) -> dict[str, Any]:
        """Every file of properties; of long maps those of the first curves."""
        kept = set(list(self.curves)[:_KEPT])
        texts = {}
        for name in self.found:
            found = re.match(r"index/(\d+)/", name)
            if name.endswith(".properties") and (not found or int(found[1]) in kept):
                texts[name] = self.read(name)
        return texts
