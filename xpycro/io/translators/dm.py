"""Gatan DigitalMicrograph ``.dm3`` and ``.dm4``: images, spectra, stacks and spectrum images of a tag tree.

The first row lies at the top. May import numpy, xarray, schema, units and io below.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr

from xpycro.errors import UnsupportedVariant
from xpycro.io.cursor import Cursor
from xpycro.io.rawarray import RawArray, lazy
from xpycro.io.translators import _common as common
from xpycro.io.translators._axes import Axis, axis_units, data_units, layout
from xpycro.io.translators._dmtags import Block, block_of, plain, read_tags
from xpycro.io.translators._signals import Signal, collect
from xpycro.schema import coordinate

__all__ = ["images"]

# DataType of an image: how a number is stored
_TYPES = {1: "i2", 2: "f4", 3: "c8", 6: "u1", 7: "i4", 9: "i1", 10: "u2", 11: "u4", 12: "f8", 13: "c16", 14: "u1",
          39: "i8", 40: "u8"}  # fmt: skip
_PACKED = {5: "f4", 27: "f4", 28: "f8"}
_RGB = (8, 23)
_OPTICAL = ("CL", "Raman", "PL")  # signals whose spectra lie along a wavelength


def images(path: str) -> dict[str, xr.Dataset]:
    """Read the images of a DigitalMicrograph file; its thumbnail is left out.

    Parameters
    ----------
    path : str

    Returns
    -------
    dict of str to Dataset
        One group for each image. Spectra lie along ``energy_loss`` (EELS) or ``energy``; of a spectrum image the
        pixels come first, whatever the stored order. Colour images get the dim ``channel``.

    Raises
    ------
    NotThisFormat, CorruptFile
    UnsupportedVariant
        Packed complex images (half a Fourier transform) that are not square.

    Notes
    -----
    *Laziness*: the tag tree is read, data only when used.

    References
    ----------
    C. B. Boothroyd, "DigitalMicrograph file format"; P. Cueva, "Gatan DM4 file format" (both public descriptions).
    """
    with Cursor(path) as cursor:
        tags, order = read_tags(cursor)
        entries = tags.get("ImageList")
        if not isinstance(entries, dict) or not entries:
            raise cursor.corrupt("the tag ImageList is missing", "ImageList", 0)
        listed = list(entries.values())
        signals = [
            _image(path, cursor, listed[number], number, order, tags) for number in _shown(tags, len(listed), cursor)
        ]
    header = plain({name: value for name, value in tags.items() if name not in ("ImageList", "DocumentObjectList")})
    return collect(signals, header, apart=True)


def _numbers(listed: Any, name: str) -> set[int]:
    """A number from each entry of a list of groups."""
    entries = listed.values() if isinstance(listed, dict) else ()
    found = {entry.get(name) for entry in entries if isinstance(entry, dict)}
    return {number for number in found if isinstance(number, int)}


def _shown(tags: Mapping[str, Any], count: int, cursor: Cursor) -> list[int]:
    """Numbers of the images that a window shows, or of all but the thumbnails where the file does not list them."""
    previews = _numbers(tags.get("Thumbnails"), "ImageIndex")
    shown = _numbers(tags.get("ImageSourceList"), "ImageRef")
    if any(not 0 <= number < count for number in previews | shown) or (previews & shown and count > 1):
        raise cursor.corrupt(f"{count} images, thumbnails {sorted(previews)}, shown {sorted(shown)}", "ImageList", 0)
    others = sorted(set(range(count)) - previews)
    return sorted(shown) or others or list(range(count))


def _deep(tags: Any, *names: str) -> Any:
    for name in names:
        tags = tags.get(name) if isinstance(tags, Mapping) else None
    return tags


def _image(path: str, cursor: Cursor, entry: Any, number: int, order: str, tags: Mapping[str, Any]) -> Signal:
    data = _deep(entry, "ImageData")
    block, code = block_of(_deep(data, "Data")), _deep(data, "DataType")
    dimensions = _deep(data, "Dimensions")
    where = f"ImageList[{number}].ImageData"
    if block is None or not isinstance(code, int) or not isinstance(dimensions, dict):
        raise cursor.corrupt("Data, DataType or Dimensions is missing", where, 0)
    shape = tuple(dimensions.values())[::-1]
    if not shape or not all(isinstance(n, int) and 1 <= n < 1 << 40 for n in shape):
        raise cursor.corrupt(f"Dimensions {shape}", where, block.offset)
    image_tags = _deep(entry, "ImageTags") or {}
    name = str(_deep(entry, "Name") or "") or "image"
    calibrations = _deep(data, "Calibrations") or {}
    axes = [_axis(calibrations, n, size, image_tags) for n, size in enumerate(shape[::-1])][::-1]
    axes = _scanned(axes, image_tags) if len(axes) == 4 else _spectral(axes, image_tags)
    kept = [n for n, size in enumerate(shape) if size > 1] or [len(shape) - 1]
    if len(shape) == 2 and shape[0] == 1 and not axes[0].units:
        kept = [1]  # a spectrum stored as an image of one row
    laid = layout([axes[n] for n in kept], top_first=True)
    factor, base = data_units(_text(_deep(calibrations, "Brightness", "Units")))
    scale, origin = (
        _real(_deep(calibrations, "Brightness", key), default) for key, default in (("Scale", 1), ("Origin", 0))
    )
    known = base not in ("1", "counts")  # counts are handed out as counted; the gain stays in the metadata
    factor = factor * scale if known and scale else 1.0
    constant = -origin * factor if known and origin else 0.0
    if not known and (len(shape) == 1 or "counts" in _text(_deep(calibrations, "Brightness", "Units")).lower()):
        base = "counts" if _signal(image_tags) in ("EELS", "X-ray", "EDS") else base
    variable = _variable(
        path, cursor, block, int(code), shape, kept, laid, (factor, constant), (name, base), where, order
    )
    coords = dict(laid.coords)
    if "channel" in variable.dims:
        coords["channel"] = coordinate("channel", np.array(["red", "green", "blue"]))
    said = _said(image_tags, tags, name)
    return Signal(name, variable, coords, plain(entry), said, group=name)


def _variable(
    path: str, cursor: Cursor, block: Block, code: int, shape: tuple[int, ...], kept: list[int], laid: Any,
    scaling: tuple[float, float], said: tuple[str, str], where: str, order: str,
) -> xr.Variable:  # fmt: skip
    if code in _PACKED:
        return _packed(path, cursor, block, order + _PACKED[code], shape, laid, said, where)
    if code not in _RGB and code not in _TYPES:
        raise UnsupportedVariant(f"DataType {code}", path=path, offset=block.offset, field=where)
    dtype = np.dtype("u1" if code in _RGB else order + _TYPES[code])
    item = 4 if code in _RGB else dtype.itemsize
    if math.prod(shape) * item != block.nbytes:
        raise cursor.corrupt(
            f"{' x '.join(map(str, shape))} numbers of {item} bytes are not {block.nbytes} bytes", where, block.offset
        )
    strides = [item] * len(shape)
    for axis in range(len(shape) - 2, -1, -1):
        strides[axis] = strides[axis + 1] * shape[axis + 1]
    stored = [kept[n] for n in laid.order]
    sizes, steps = [shape[n] for n in stored], [strides[n] for n in stored]
    dims, offset = list(laid.dims), block.offset
    if code in _RGB:  # stored as blue, green, red, nothing
        sizes, steps, dims, offset = [*sizes, 3], [*steps, -1], [*dims, "channel"], offset + 2
    target = np.float32 if scaling != (1.0, 0.0) and dtype.kind == "f" else None
    raw = RawArray.strided(
        path, offset, dtype, sizes, steps, factor=scaling[0], constant=scaling[1], target=target
    )  # fmt: skip
    for axis, flip in enumerate(laid.flip):
        raw = raw.flip(axis) if flip else raw
    return common.lazy_variable(dims, raw, said[0], said[1])


@dataclass(frozen=True)
class PackedTransform:
    """The Fourier transform of a real picture of which half is stored; made whole when it is used.

    Row n/2 and column n/2 hold zero frequency. Stored are the columns from there on, as pairs of numbers; the column of
    zero frequency and that of the highest share the first one, since half of each says what the other half is.

    Attributes
    ----------
    raw : RawArray
        (n, n) real numbers.
    flip : tuple of bool
    """

    raw: RawArray
    flip: tuple[bool, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """The whole transform."""
        return self.raw.shape

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return 2

    @property
    def result_dtype(self) -> np.dtype:
        """dtype of what is handed out."""
        return np.dtype(np.complex64 if self.raw.dtype.itemsize == 4 else np.complex128)

    def __dask_tokenize__(self) -> tuple[Any, ...]:
        return ("xpycro.PackedTransform", self.flip, *self.raw.__dask_tokenize__())

    def read(self, key: Any = ()) -> np.ndarray:
        """The numbers that an index names; all of the file's are read."""
        stored = np.ascontiguousarray(self.raw.read()).view(self.result_dtype)
        whole = unpack(stored)[tuple(slice(None, None, -1 if flip else 1) for flip in self.flip)]
        return np.array(whole[key])


def unpack(stored: np.ndarray) -> np.ndarray:
    """The whole centred transform (n, n) from its stored half (n, n / 2)."""
    n, half = stored.shape
    whole = np.zeros((n, n), stored.dtype)
    whole[:, half + 1 :] = stored[:, 1:]
    for column, rows, corner in ((half, stored[half + 1 :, 0], stored[half, 0]), (0, stored[1:half, 0], stored[0, 0])):
        whole[half, column], whole[0, column] = corner.real, corner.imag
        whole[half + 1 :, column] = rows
        whole[1:half, column] = rows.conj()[::-1]
    mirrored = whole[:, half + 1 :].conj()[::-1, ::-1]
    whole[:, 1:half] = np.roll(mirrored, 1, axis=0)
    return whole


def _packed(
    path: str, cursor: Cursor, block: Block, dtype: str, shape: tuple[int, ...], laid: Any, said: tuple[str, str],
    where: str,
) -> xr.Variable:  # fmt: skip
    if len(shape) != 2 or shape[0] != shape[1] or shape[0] % 2:
        raise UnsupportedVariant(f"a packed complex image of {shape}", path=path, offset=block.offset, field=where)
    if math.prod(shape) * np.dtype(dtype).itemsize != block.nbytes:
        raise cursor.corrupt(f"{shape} packed complex numbers are not {block.nbytes} bytes", where, block.offset)
    array = PackedTransform(RawArray.contiguous(path, block.offset, dtype, shape), laid.flip)
    variable = xr.Variable(laid.dims, lazy(array), {"units": said[1], "long_name": said[0]})  # type: ignore[arg-type]
    variable.encoding["preferred_chunks"] = dict(zip(laid.dims, shape, strict=True))
    return variable


def _text(value: Any) -> str:
    return str(value) if isinstance(value, str) else ""


def _real(value: Any, default: float) -> float:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else float(default)


def _axis(calibrations: Any, number: int, size: int, image_tags: Any) -> Axis:
    """The axis of a dimension, the fastest being number 0; DM counts (index - origin) * scale."""
    listed = _deep(calibrations, "Dimension")
    entry = list(listed.values())[number] if isinstance(listed, dict) and len(listed) > number else {}
    scale, origin = _real(_deep(entry, "Scale"), 1.0), _real(_deep(entry, "Origin"), 0.0)
    units = _text(_deep(entry, "Units"))
    name = _text(_deep(entry, "Label"))
    if not scale:
        scale, origin, units = 1.0, 0.0, ""
    energy = units.replace(" ", "") in ("eV", "keV")
    if energy:
        name = "Energy loss" if _signal(image_tags) == "EELS" else "Energy"
    elif not name:
        name = "xyz"[number] if number < 3 else ""
    if name == "z" and not units:
        name = "frame"
    return Axis(size, name, units, scale, -origin * scale, signal=True if energy else None)


def _spectral(axes: list[Axis], image_tags: Any) -> list[Axis]:
    """The axes of spectra: one along a wavelength, and one without units, which counts the channels of the detector."""
    spectra = _format(image_tags).startswith("spectrum")
    if any(axis.signal for axis in axes) or not (spectra or len(axes) == 1):
        return axes
    lengths = [n for n, axis in enumerate(axes) if axis_units(axis.units)[1] == "m"]
    uncounted = [n for n, axis in enumerate(axes) if not axis_units(axis.units)[1]]
    place = 0  # of a spectrum image the channels are the slowest
    if len(uncounted) == 1:
        place = uncounted[0]
    elif len(axes) == 2:  # a line of spectra: each of them lies along the faster axis
        place = 1
    optical = _signal(image_tags) in _OPTICAL and place in lengths
    changed = replace(axes[place], name="Wavelength" if optical else "", signal=True)
    return [changed if n == place else axis for n, axis in enumerate(axes)]


def _scanned(axes: list[Axis], image_tags: Any) -> list[Axis]:
    """The axes of diffraction patterns of a scan, which units tell apart, or else the tag on their order.

    The scan varies fastest in the file unless the tag says that the order was swapped.
    """
    bases = [axis_units(axis.units)[1] for axis in axes]
    if any(axis.signal for axis in axes):
        return axes
    pairs = [{bases[0], bases[1]}, {bases[2], bases[3]}]
    reciprocal = [bool(pair & {"1/m", "rad", "degree"}) for pair in pairs]
    spatial = ["m" in pair for pair in pairs]
    if reciprocal[0] != reciprocal[1]:
        patterns_first = reciprocal[0]
    elif spatial[0] != spatial[1]:
        patterns_first = spatial[1]
    else:
        patterns_first = not _deep(image_tags, "Meta Data", "Data Order Swapped")
    dims = ("ky", "kx", "y", "x") if patterns_first else ("y", "x", "ky", "kx")
    return [replace(axis, dim=dim) for axis, dim in zip(axes, dims, strict=True)]


def _format(image_tags: Any) -> str:
    return _text(_deep(image_tags, "Meta Data", "Format")).lower()


def _signal(image_tags: Any) -> str:
    said = _text(_deep(image_tags, "Meta Data", "Signal"))
    if said:
        return said
    return "EELS" if isinstance(image_tags, Mapping) and "EELS" in image_tags else ""


def _said(image_tags: Any, tags: Mapping[str, Any], name: str) -> dict[str, str]:
    info = _deep(image_tags, "Microscope Info") or {}
    mode = _text(_deep(info, "Illumination Mode")) + _text(_deep(info, "Operation Mode"))
    scanning = "STEM" in mode or "SCANNING" in mode.upper()
    bar = _deep(image_tags, "DataBar")
    acquired = common.iso_time(f"{_text(_deep(bar, 'Acquisition Date'))} {_text(_deep(bar, 'Acquisition Time'))}")
    said = {
        "title": name,
        "modality": "scanning transmission electron microscopy" if scanning else "transmission electron microscopy",
        "instrument": _text(_deep(info, "Name")) or _text(_deep(info, "Microscope")),
        "data_type": _signal(image_tags) or _format(image_tags),
        "acquired": acquired or "",
    }
    return {key: value for key, value in said.items() if value}
