"""TIFF from microscopes, through tifffile: FEI, Zeiss, Olympus SIS, JEOL, DigitalMicrograph, ImageJ, OME and plain.

The first row lies at the top. May import numpy, xarray, schema, units and io below; tifffile inside functions.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from xarray.core import indexing

from xpycro.errors import CorruptFile, DimensionError, UnsupportedVariant
from xpycro.io.rawarray import RawArray, _Backend
from xpycro.io.translators import _common as common
from xpycro.io.translators import _records as records
from xpycro.io.translators._axes import Axis, axis_units, layout
from xpycro.io.translators._signals import Signal, collect
from xpycro.io.translators._stacks import pixels
from xpycro.io.translators._tiffpages import PageArray, reading
from xpycro.io.translators._xml import parse, tree
from xpycro.schema import coordinate

__all__ = ["images"]

_RATIO = 3000  # no codec of TIFF packs better
_PAGES = 1 << 20
_INCH = 25.4e-3
_DIMS = {"Y": "y", "X": "x", "S": "channel", "C": "channel", "T": "time", "Z": "z", "I": "frame", "Q": "frame",
         "R": "frame"}  # fmt: skip


def images(path: str, *, scan_shape: tuple[int, int] | None = None) -> dict[str, xr.Dataset]:
    """Read the images of a TIFF file, scaled by what the microscope wrote into it.

    Parameters
    ----------
    path : str
    scan_shape : (int, int), optional
        Lines and points of the scan that the pages are the patterns of; the first line lies at the top, the last may be
        incomplete.

    Returns
    -------
    dict of str to Dataset
        ``intensity(y, x)`` for each series of equal pages, with ``frame``, ``time``, ``z`` before and ``channel`` (red,
        green, blue) after. In m where the instrument's tags or ImageJ or OME say so; the resolution of a printer, which
        every TIFF has, is not taken for one.

    Raises
    ------
    NotThisFormat, CorruptFile
    MissingExtra
        If a codec of imagecodecs is needed.
    DimensionError
        If `scan_shape` does not fit.

    Notes
    -----
    *Laziness*: only the tags are read; of compressed files the strips or tiles that are used are decoded.

    References
    ----------
    TIFF revision 6.0, Adobe (1992).
    """
    import tifffile

    with reading(path), tifffile.TiffFile(path) as file:
        if len(file.pages) > _PAGES:
            raise UnsupportedVariant(f"more than {_PAGES} pages", path=path)
        if not file.series:
            raise CorruptFile("no page holds an image", path=path)
        header = _header(file)
        signals = []
        for number, series in enumerate(file.series):
            _check(path, series)
            signals += _signal(path, file, series, number, header, scan_shape)
        said = {"title": os.path.splitext(os.path.basename(path))[0], **header["said"]}
        return collect(signals, header["metadata"], apart=True, **{k: v for k, v in said.items() if v})


def _check(path: str, series: Any) -> None:
    """What the tags declare against the bytes that are there."""
    size = os.path.getsize(path)
    if series.dtype is None or series.dtype.kind not in "fciub":
        raise UnsupportedVariant(f"pixels of type {series.dtype}", path=path)
    if math.prod(series.shape) * series.dtype.itemsize > size * _RATIO:
        raise CorruptFile(f"declares {series.shape} pixels in a file of {size} bytes", path=path)
    for page in [page for page in series.pages if page is not None][:4096]:
        keyframe = page.keyframe
        for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True):
            if offset < 0 or count < 0 or offset + count > size:
                raise CorruptFile("a strip lies beyond the end: truncated", path=path, offset=min(offset, size))
        held = sum(page.databytecounts)
        packed = (
            keyframe.nbytes * keyframe.bitspersample // (8 * np.dtype(keyframe.dtype).itemsize)
        )  # rows may be padded
        if keyframe.compression == 1 and held < packed and series.dataoffset is None:
            raise CorruptFile(f"a page declares {keyframe.nbytes} bytes and holds {held}: truncated", path=path)
        if keyframe.nbytes > max(held, 1) * _RATIO:
            raise CorruptFile(f"a page declares {keyframe.nbytes} bytes and holds {held}", path=path)
    if series.dataoffset is not None and series.dataoffset + series.nbytes > size:
        raise CorruptFile(f"declares {series.nbytes} bytes of pixels: truncated", path=path, offset=series.dataoffset)


def _signal(
    path: str, file: Any, series: Any, number: int, header: Mapping[str, Any], scan_shape: tuple[int, int] | None
) -> list[Signal]:
    letters, shape = series.axes, tuple(series.shape)
    if len(letters) != len(shape) or "Y" not in letters or "X" not in letters:
        raise UnsupportedVariant(f"axes {letters!r} of shape {shape}", path=path)
    rows = letters.index("Y")
    array: Any
    if series.dataoffset is not None:
        dtype = np.dtype(series.dtype).newbyteorder(file.byteorder)
        array = RawArray.contiguous(path, series.dataoffset, dtype, shape, flip=(rows,))
    else:
        array = PageArray.of(path, file, number, rows)
    own = {str(tag.name): _tidy(tag.value) for tag in series.keyframe.tags.values() if tag.count < 4096}
    name = str(series.name) if series.name and not str(series.name).startswith("Series") else f"image_{number}"
    group = name if len(file.series) > 1 else ""
    if scan_shape is not None:
        if len(shape) != 3 or not letters.endswith("YX"):
            raise DimensionError(
                f"scan_shape={scan_shape}: {os.path.basename(path)} has no stack of pages, but {shape}"
            )
        found, coords = records.scanned(array, scan_shape, path, "Intensity", "1")
        coords.update({dim: pixels(dim, size) for dim, size in zip(("ky", "kx"), shape[1:], strict=True)})
        labels = {"frames": "Intensity", "measured": "measured"}
        return [
            Signal(labels[key], made, coords, own if key == "frames" else {}, {}, group=group)
            for key, made in found.items()
        ]
    scales = _page_scales(series) or header["scales"]
    axes = []
    for letter, size in zip(letters, shape, strict=True):
        dim = _DIMS.get(letter, "")
        step, units, origin = scales.get(letter, (1.0, "", 0.0))
        if dim == "z" and not units:
            dim = "frame"
        if dim == "time" and not units:
            dim = "frame"
        if dim == "frame" and units:
            dim = "time" if axis_units(units)[1] == "s" else ""
        axes.append(Axis(size, letter.lower(), units, step, origin, dim=dim if letters.count(letter) == 1 else ""))
    laid = layout(axes, top_first=False)  # the array is turned already
    variable = xr.Variable(
        tuple(laid.dims[laid.order.index(n)] for n in range(len(shape))),
        indexing.LazilyIndexedArray(_Backend(array)), {"units": "1", "long_name": "Intensity"},
    )  # fmt: skip
    if isinstance(array, PageArray) and array.block:
        variable.encoding["preferred_chunks"] = dict(zip(variable.dims, array.block, strict=True))
    coords = dict(laid.coords)
    if "channel" in coords and shape[letters.index("S") if "S" in letters else letters.index("C")] in (3, 4):
        count = coords["channel"].size
        if "S" in letters:
            coords["channel"] = coordinate("channel", np.array(["red", "green", "blue", "alpha"][:count]))
    return [Signal("Intensity", variable, coords, own, {}, group=group)]


def _tidy(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("latin-1") if len(value) < 4096 else f"<{len(value)} bytes>"
    if isinstance(value, tuple | list):
        return [_tidy(item) for item in value[:4096]]
    if isinstance(value, dict):
        return {str(key): _tidy(item) for key, item in value.items()}
    if isinstance(value, str | int | float | bool) or value is None:
        return value
    return str(value)


def _positive(value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return 0.0
    return number if 0 < number < math.inf else 0.0


def _page_scales(series: Any) -> dict[str, tuple[float, str, float]]:
    """The pixel size that Olympus SIS notes on each page."""
    tag = series.keyframe.tags.get(33560)
    said = tag.value if tag is not None and isinstance(tag.value, dict) else {}
    step = {letter: _positive(said.get(f"pixelsize{letter.lower()}")) for letter in "XY"}
    return {letter: (value, "m", 0.0) for letter, value in step.items() if value}


def _header(file: Any) -> dict[str, Any]:
    """What each vendor's tags say of the scale, the instrument and the time."""
    tags = file.pages[0].tags
    text = tags.get(306)
    acquired = _time(str(text.value)) if text is not None else None
    make, model = (str(tags[code].value).strip() if code in tags else "" for code in (271, 272))
    said: dict[str, str | None] = {"acquired": acquired, "instrument": f"{make} {model}".strip() or None}
    result: dict[str, Any] = {"scales": {}, "said": said, "metadata": {}}
    for read in (_fei, _zeiss, _jeol, _digital_micrograph, _imagej, _ome):
        if read(file, tags, result):
            break
    return result


def _time(text: str) -> str | None:
    found = re.match(r"(\d{4})[:/-](\d\d)[:/-](\d\d)[ T](\d\d:\d\d(?::\d\d)?)", text.strip())
    if found is None:
        return None
    clock = found[4] if len(found[4]) == 8 else f"{found[4]}:00"
    return common.iso_time(f"{found[1]}-{found[2]}-{found[3]} {clock}")


def _square(result: dict[str, Any], x: float, y: float, units: str, origin: tuple[float, float] = (0.0, 0.0)) -> None:
    if x and y:
        result["scales"].update({"X": (x, units, origin[0]), "Y": (y, units, origin[1])})


def _fei(file: Any, tags: Any, result: dict[str, Any]) -> bool:
    meta = file.fei_metadata
    if not isinstance(meta, dict):
        return False
    result["metadata"] = {"FEI": _tidy(meta)}
    for section in ("Scan", "EScan", "IScan"):
        scan = meta.get(section)
        if isinstance(scan, dict) and _positive(scan.get("PixelWidth")):
            _square(result, _positive(scan["PixelWidth"]), _positive(scan.get("PixelHeight")), "m")
            break
    system, user = (part if isinstance(part := meta.get(name), dict) else {} for name in ("System", "User"))
    result["said"]["instrument"] = str(system.get("SystemType", "") or "FEI").strip('"')
    result["said"]["modality"] = "scanning electron microscopy"
    result["said"]["acquired"] = common.iso_time(f"{user.get('Date')} {user.get('Time')}") or result["said"]["acquired"]
    return True


def _zeiss(file: Any, tags: Any, result: dict[str, Any]) -> bool:
    meta = file.sem_metadata
    if not isinstance(meta, dict):
        return False
    result["metadata"] = {"Zeiss": _tidy(meta)}
    for key in ("ap_image_pixel_size", "ap_pixel_size"):
        entry = meta.get(key)
        if isinstance(entry, tuple | list) and len(entry) == 3 and _positive(entry[1]):
            _square(result, _positive(entry[1]), _positive(entry[1]), str(entry[2]))
            break
    result["said"].update(instrument="Zeiss", modality="scanning electron microscopy")
    return True


def _jeol(file: Any, tags: Any, result: dict[str, Any]) -> bool:
    text = str(tags[270].value) if 270 in tags else ""
    if "<TemReporter" not in text[:500]:
        return False
    root = parse(text.rstrip("\0 \r\n").encode("utf-8"), file.filename)
    result["metadata"] = {"TemReporter": tree(root)}
    found = re.search(r"<SelectorString>\s*X\s*([\d.]+)\s*([kKM]?)\s*</SelectorString>", text)
    magnification = _positive(found[1]) * {"": 1, "k": 1e3, "K": 1e3, "M": 1e6}[found[2]] if found else 0.0
    steps = []
    for code in (282, 283):  # pixels per inch of a picture enlarged so many times
        value = tags[code].value if code in tags else (0, 1)
        per_inch = _positive(value[0]) / (_positive(value[1]) or 1.0)
        steps.append(_INCH / per_inch / magnification if per_inch and magnification else 0.0)
    _square(result, steps[0], steps[1], "m")
    result["said"]["modality"] = "transmission electron microscopy"
    return True


def _digital_micrograph(file: Any, tags: Any, result: dict[str, Any]) -> bool:
    if not {65003, 65009} <= {tag.code for tag in tags.values()}:
        return False
    for letter, place in (("X", 0), ("Y", 1), ("I", 2), ("Z", 2), ("Q", 2)):
        unit, step, origin = (tags.get(base + place) for base in (65003, 65009, 65006))
        if unit is None or step is None or not _positive(step.value):
            continue
        start = float(origin.value) if origin is not None and isinstance(origin.value, float) else 0.0
        units = str(unit.value).strip("\0 ")
        result["scales"][letter] = (_positive(step.value), units, -start * _positive(step.value))
    result["said"]["instrument"] = "Gatan DigitalMicrograph"
    return True


def _imagej(file: Any, tags: Any, result: dict[str, Any]) -> bool:
    meta = file.imagej_metadata
    if not isinstance(meta, dict):
        return False
    result["metadata"] = {"ImageJ": _tidy({key: value for key, value in meta.items() if key != "LUTs"})}
    units = str(meta.get("unit", "")).encode("latin-1", "replace").decode("unicode-escape", "replace")
    steps = []
    for code in (282, 283):
        value = tags[code].value if code in tags else (0, 1)
        steps.append(_positive(value[1]) / _positive(value[0]) if _positive(value[0]) else 0.0)
    if units and units not in ("pixel", "pixels"):
        _square(result, steps[0], steps[1], units)
        if _positive(meta.get("spacing")):
            result["scales"]["Z"] = (_positive(meta["spacing"]), units, 0.0)
    if _positive(meta.get("finterval")):
        result["scales"]["T"] = (_positive(meta["finterval"]), "s", 0.0)
    return True


def _ome(file: Any, tags: Any, result: dict[str, Any]) -> bool:
    text = file.ome_metadata
    if not isinstance(text, str):
        return False
    root = parse(text.encode("utf-8"), file.filename)
    result["metadata"] = {"OME": tree(root)}
    pixels = next((e for e in root.iter() if e.tag.rpartition("}")[2] == "Pixels"), None)
    for letter, name, default in (("X", "PhysicalSizeX", "µm"), ("Y", "PhysicalSizeY", "µm"),
                                  ("Z", "PhysicalSizeZ", "µm"), ("T", "TimeIncrement", "s")):  # fmt: skip
        step = _positive(pixels.get(name)) if pixels is not None else 0.0
        if step and pixels is not None:
            result["scales"][letter] = (step, pixels.get(f"{name}Unit", default), 0.0)
    return True
