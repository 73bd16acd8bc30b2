"""Anasys (Bruker) nanoIR documents ``.axz``, ``.axd``: XML, gzipped or not, with the numbers in base64.

The top row of a map comes first (the maker's own plotting code draws it so). May import numpy, xarray, schema, units
and the io modules below it.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
from typing import Any
from xml.etree.ElementTree import Element

import numpy as np
import xarray as xr

from xpycro.errors import NotThisFormat, UnsupportedVariant
from xpycro.io.cursor import Cursor, inflate, integer, real
from xpycro.io.translators import _common as common
from xpycro.io.translators import _xml
from xpycro.schema import coordinate, identifiers
from xpycro.units import to_base

__all__ = ["document"]

_LIMIT = 1 << 30  # bytes of a document
_EXPANSION = 1100
_DIRECTIONS = {"PrimaryTrace": "forward", "PrimaryRetrace": "backward", "Trace": "forward", "Retrace": "backward"}


def document(path: str) -> dict[str, xr.Dataset]:
    """Read an Anasys document (``.axz``, ``.axd``).

    Parameters
    ----------
    path : str

    Returns
    -------
    dict of str to Dataset
        A group a scan, ``scan_1`` and so on in the order of the document, each channel over ``(y, x)``, or
        ``(direction, y, x)`` where trace and retrace were recorded; a group for the spectra of each wavenumber axis,
        over ``(position, wavenumber)`` with the positions as coordinates.

    Raises
    ------
    NotThisFormat
        If it is no document of Anasys.
    CorruptFile
        If it is damaged, or numbers are missing.
    UnsupportedVariant
        If it holds neither maps nor spectra.

    Notes
    -----
    *Laziness*: read whole, as XML must be.
    """
    with Cursor(path) as cursor:
        content = cursor.read(cursor.remaining, "document")
        if content[:2] == b"\x1f\x8b":
            content = inflate(content, min(_LIMIT, _EXPANSION * len(content)), "document", cursor, wbits=31)
        elif not content.startswith((b"\xff\xfe<\0", b"<?xml", b"\xef\xbb\xbf<")):
            raise NotThisFormat("neither gzip nor XML", path=path, offset=0)
        root = _xml.parse(content, path)
        if not _tag(root) == "Document" or "anasys" not in root.tag.lower():
            raise NotThisFormat(f"the root element is {root.tag[:60]!r}", path=path)
        groups: dict[str, xr.Dataset] = {}
        for number, maps in enumerate(_scans(root), 1):
            groups[f"scan_{number}"] = _scan(cursor, maps)
        for number, spectra in enumerate(_axes(root, cursor), 1):
            groups["spectra" if number == 1 else f"spectra_{number}"] = _spectra(cursor, spectra)
    if not groups:
        raise UnsupportedVariant("a document without maps and spectra", path=path)
    return {"": next(iter(groups.values()))} if len(groups) == 1 else groups


# ---------------------------------------------------------------------------------------------------------- elements


def _tag(element: Element) -> str:
    return element.tag.rpartition("}")[2]


def _children(element: Element | None, tag: str) -> list[Element]:
    return [] if element is None else [child for child in element if _tag(child) == tag]


def _child(element: Element | None, *tags: str) -> Element | None:
    """The first child of a child of ..., by tags."""
    for tag in tags:
        found = _children(element, tag)
        element = found[0] if found else None
    return element


def _text(element: Element | None, *tags: str) -> str:
    found = _child(element, *tags)
    return "" if found is None else (found.text or "").strip()


def _numbers(cursor: Cursor, element: Element, count: int, field: str) -> np.ndarray:
    """Little-endian float32 in base64, exactly as many as expected."""
    try:
        data = base64.b64decode(_text(element, "SampleBase64").encode("ascii"), validate=True)
    except (binascii.Error, ValueError) as error:
        raise cursor.corrupt(f"the base64 is damaged ({error})", field, 0) from None
    if len(data) != 4 * count:
        raise cursor.corrupt(f"{len(data)} bytes for {count} numbers", field, 0)
    return np.frombuffer(data, "<f4").astype(np.float32)


def _metadata(element: Element) -> Any:
    """An element without its numbers."""
    slim = Element(element.tag, element.attrib)
    slim.text = element.text if not _tag(element).endswith("Base64") else None
    slim.extend(child for child in map(_slim, element) if child is not None)
    return _xml.tree(slim)


def _slim(element: Element) -> Element | None:
    if _tag(element).endswith("Base64"):
        return None
    copy = Element(element.tag, element.attrib)
    copy.text = element.text
    copy.extend(child for child in map(_slim, element) if child is not None)
    return copy


# -------------------------------------------------------------------------------------------------------------- maps


def _scans(root: Element) -> list[list[Element]]:
    """The maps of each scan: those of one time and one frame."""
    groups: dict[tuple[str, ...], list[Element]] = {}
    for one in _children(_child(root, "HeightMaps"), "HeightMap"):
        frame = [_text(one, *tags) for tags in (
            ("TimeStamp",), ("Position", "X"), ("Position", "Y"), ("Size", "X"), ("Size", "Y"), ("Resolution", "X"),
            ("Resolution", "Y"), ("Rotation", "Yaw"),
        )]  # fmt: skip
        groups.setdefault(tuple(frame), []).append(one)
    return list(groups.values())


def _scan(cursor: Cursor, maps: list[Element]) -> xr.Dataset:
    first = maps[0]
    nx, ny = (
        integer(_text(first, "Resolution", axis), "Resolution", cursor, low=1, high=1 << 20, offset=0) for axis in "XY"
    )
    width, height = (real(_text(first, "Size", axis), "Size", cursor, offset=0) * 1e-6 for axis in "XY")
    coords: dict[str, Any] = common.image_coordinates(nx, ny, width, height)
    channels: dict[str, list[tuple[str, Element]]] = {}
    for one in maps:
        label = re.sub(r"\s*\d+$", "", one.attrib.get("Label", "")) or one.attrib.get("DataChannel", "") or "Map"
        channels.setdefault(label, []).append((_DIRECTIONS.get(_tags(one).get("TraceRetrace", ""), ""), one))
    variables: dict[str, Any] = {}
    for label, members in channels.items():
        images = []
        for _, one in members:
            factor, base = to_base(_text(one, "UnitPrefix") + _text(one, "Units"))
            stored = _numbers(cursor, one, nx * ny, f"{label} SampleBase64").reshape(ny, nx)[::-1]
            with np.errstate(over="ignore", invalid="ignore"):
                images.append((stored.astype(np.float64) * factor).astype(np.float32))
        attrs: dict[str, Any] = {"units": base, "long_name": label}
        if [said for said, _ in members] in (["forward", "backward"], ["backward", "forward"]):
            coords["direction"] = common.direction_coordinate()
            by = {said: image for (said, _), image in zip(members, images, strict=True)}
            name = identifiers([label], [*coords, *variables])[0]
            stacked = np.stack([by[said] for said in common.DIRECTIONS])
            variables[name] = xr.Variable(("direction", "y", "x"), stacked, attrs)
            continue
        for (said, _), image in zip(members, images, strict=True):
            name = identifiers([label], [*coords, *variables, "direction"])[0]
            variables[name] = xr.Variable(("y", "x"), image, {**attrs, "direction": said} if said else attrs)
    tags = _tags(first)
    setpoint = _quantity(tags.get("Setpoint", ""))
    return common.dataset(
        variables,
        coords,
        {one.attrib.get("Label", str(k)): _metadata(one) for k, one in enumerate(maps)},
        modality="atomic force microscopy - infrared spectroscopy",
        instrument=" ".join(filter(None, ("Anasys", tags.get("System", "")))),
        data_type="image",
        acquired=_time(_text(first, "TimeStamp")),
        imaging_mode=tags.get("ScanMode"),
        scan_angle=math.radians(real(_text(first, "Rotation", "Yaw") or "0", "Yaw", cursor, offset=0)),
        scan_center_x=real(_text(first, "Position", "X") or "0", "Position", cursor, offset=0) * 1e-6,
        scan_center_y=real(_text(first, "Position", "Y") or "0", "Position", cursor, offset=0) * 1e-6,
        setpoint=setpoint[0] if setpoint else None,
        setpoint_units=setpoint[1] if setpoint else None,
    )


def _tags(element: Element) -> dict[str, str]:
    return {
        tag.attrib.get("Name", ""): tag.attrib.get("Value", "") for tag in _children(_child(element, "Tags"), "Tag")
    }


def _quantity(text: str) -> tuple[float, str] | None:
    found = re.fullmatch(r"(-?[\d.]+(?:[eE][-+]?\d+)?)\s+(\S+)", text)
    if not found or found[1].count(".") > 1:
        return None
    factor, base = to_base(found[2])
    return float(found[1]) * factor, base


def _time(text: str) -> str | None:
    """A time stamp without the digits that no clock has and without its zone."""
    return common.iso_time(re.sub(r"(\.\d+)?([+-]\d\d:\d\d|Z)?$", "", text))


# ----------------------------------------------------------------------------------------------------------- spectra


def _axes(root: Element, cursor: Cursor) -> list[list[Element]]:
    """The spectra of each wavenumber axis."""
    groups: dict[tuple[str, ...], list[Element]] = {}
    for one in _children(_child(root, "RenderedSpectra"), "IRRenderedSpectra"):
        axis = tuple(_text(one, tag) for tag in ("StartWavenumber", "EndWavenumber", "DataPoints"))
        names = tuple(channel.attrib.get("Name", "") for channel in _children(one, "DataChannels"))
        groups.setdefault((*axis, *names), []).append(one)
    return list(groups.values())


def _spectra(cursor: Cursor, some: list[Element]) -> xr.Dataset:
    first = some[0]
    points = integer(_text(first, "DataPoints"), "DataPoints", cursor, low=1, high=1 << 24, offset=0)
    low, high = (real(_text(first, f"{end}Wavenumber"), "Wavenumber", cursor, offset=0) for end in ("Start", "End"))
    if low == high and points > 1:
        raise cursor.corrupt("an axis without length", "Wavenumber", 0)
    names = [channel.attrib.get("Name", "") or "Channel" for channel in _children(first, "DataChannels")]
    if not names:
        raise cursor.corrupt("a spectrum without channels", "DataChannels", 0)
    turn = -1 if high < low else 1
    coords: dict[str, Any] = {"wavenumber": coordinate("wavenumber", np.linspace(low, high, points)[::turn])}
    for axis in ("Y", "X"):
        where = [real(_text(one, "Location", axis) or "nan", "Location", cursor, offset=0) * 1e-6 for one in some]
        coords[axis.lower()] = coordinate("position", np.array(where), name=axis.lower())
    labels = [_text(one, "Label") for one in some]
    coords["label"] = xr.Variable("position", np.array(labels), {"long_name": "Label"})
    variables = {}
    for k, name in enumerate(identifiers(names, [*coords, "position"])):
        rows = [_numbers(cursor, _children(one, "DataChannels")[k], points, names[k]) for one in some]
        variables[name] = xr.Variable(
            ("position", "wavenumber"), np.stack(rows)[:, ::turn], {"units": "1", "long_name": names[k]}
        )
    return common.dataset(
        variables,
        coords,
        {label or str(k): _metadata(one) for k, (label, one) in enumerate(zip(labels, some, strict=True))},
        modality="atomic force microscopy - infrared spectroscopy",
        instrument="Anasys",
        data_type="spectrum",
        acquired=_time(_text(first, "TimeStamp")),
    )
