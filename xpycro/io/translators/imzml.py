"""imzML: mass spectrometry images, ``.imzML`` with the ``.ibd`` beside it, continuous and processed.

May import numpy, xarray, schema, units and io below.
"""

from __future__ import annotations

import hashlib
import os
import re
from typing import Any

import numpy as np
import xarray as xr
from xarray.core import indexing

from xpycro.errors import CorruptFile, NotThisFormat
from xpycro.io.cursor import Cursor
from xpycro.io.translators import _common as common
from xpycro.io.translators import _massaxis as channels
from xpycro.io.translators._ibd import Numbers, SpectrumTable, scattered
from xpycro.io.translators._imzmltext import Array, Description, describe
from xpycro.schema import coordinate
from xpycro.units import to_base

__all__ = ["image"]

_WIDTH = "100 ppm"  # of a channel, where a file of peak lists is opened without a word about it
_UUID, _CONTINUOUS, _PROCESSED = "IMS:1000080", "IMS:1000030", "IMS:1000031"
_SUMS = {"IMS:1000090": "md5", "IMS:1000091": "sha1", "IMS:1000092": "sha256"}
_MOST = {"x": "IMS:1000042", "y": "IMS:1000043"}
_STEP_X, _STEP_Y = "IMS:1000046", "IMS:1000047"


def image(path: str, *, mass_axis: channels.MassAxis = None, checksum: bool = False) -> dict[str, xr.Dataset]:
    """Read a mass spectrometry image.

    Parameters
    ----------
    path : str
        The ``.imzML``; the ``.ibd`` of the same name lies beside it.
    mass_axis : str, float or array_like, optional
        What the peaks of a processed file are summed into: channels of a relative width (``"20 ppm"``), of a width in
        m/z (``0.01``), or the given centres, ascending. Default 100 ppm over the masses that occur. A continuous file
        has its own axis.
    checksum : bool, optional
        Compare the ``.ibd`` with the checksum that the XML states, which reads it whole.

    Returns
    -------
    dict of str to Dataset
        ``intensity(y, x, mass_to_charge)``, of several layers with ``z`` before, of several spectra at each pixel with
        ``frame`` first; ``y, x`` in m where the pixel size is known, the first line at the top. Pixels that were not
        measured are NaN and flagged in ``measured``.

    Raises
    ------
    NotThisFormat, CorruptFile
        With the spectrum or the term that is wrong; also if the two files do not belong together.
    ValueError
        If `mass_axis` is not understood.

    Notes
    -----
    *Laziness*: the XML is read, of a processed file the first and last mass of each spectrum, and no intensities. A
    pixel reads its channels; an ion image of a processed file looks up the range of masses in each pixel.

    References
    ----------
    T. Schramm et al., "imzML: a common data format for the flexible exchange and processing of mass spectrometry
    imaging data", J. Proteomics 75, 5106 (2012).
    """
    with Cursor(path) as cursor:
        if b"mzML" not in cursor.peek(2048):
            raise NotThisFormat("there is no element mzML in its beginning", path=path, offset=0)
    described = describe(path)
    binary = _beside(path)
    _check(binary, described, checksum)
    continuous = _CONTINUOUS in described.terms or not (_PROCESSED in described.terms or _varies(described.mz))
    place = _grid(described, path)
    mz, intensity = (_numbers(array, place) for array in (described.mz, described.intensity))
    if continuous:
        if _varies(described.mz):
            raise CorruptFile("it says continuous and its spectra have different mass axes", path=path)
        if mass_axis is not None:
            raise ValueError("mass_axis is for files of peak lists: this one is continuous and has its own axis")
        masses, edges = _axis_of(binary, described.mz), None
    else:
        asked = _WIDTH if mass_axis is None else mass_axis
        edges = channels.edges(asked, lambda: _extent(binary, described.mz))
        masses = channels.centres(asked, edges)
    table = SpectrumTable.of(binary, mz, intensity, edges, masses.size)
    return {"": _dataset(table, masses, place, described)}


# ------------------------------------------------------------------------------------------------------------- files


def _beside(path: str) -> str:
    stem = os.path.splitext(path)[0]
    for suffix in (".ibd", ".IBD", ".Ibd"):
        if os.path.exists(stem + suffix):
            return stem + suffix
    raise CorruptFile(f"the file with its numbers, {os.path.basename(stem)}.ibd, is not beside it", path=path)


def _check(binary: str, described: Description, checksum: bool) -> None:
    """Raise unless the two files belong together and no two spectra share bytes."""
    with Cursor(binary) as cursor:
        found = cursor.read(16, "uuid").hex()
        said = re.sub(r"[^0-9a-f]", "", described.terms.get(_UUID, "").lower())
        if said and found != said:
            raise cursor.corrupt(f"begins with {found} and the imzML names {said}: not its file", "uuid", 0)
        size_of = cursor.size
    mz, intensity = described.mz, described.intensity
    _first(mz.lengths != intensity.lengths, "has other numbers of masses and of intensities", binary)
    for array in (mz, intensity):
        if not array.kind.compressed:
            size = array.kind.dtype.itemsize
            _first(array.encoded != array.lengths * size, "has not the bytes of its numbers", binary)
    begins, ends = _spans(mz, intensity)
    if begins.size and (begins[0] < 16 or ends.max() > size_of or (begins[1:] < ends[:-1]).any()):
        raise CorruptFile(
            f"spectra lie one over the other or outside of its {size_of} bytes: truncated, or the imzML is damaged",
            path=binary,
        )
    left = size_of - int(ends.max(initial=16))
    if left and not described.others and not checksum:
        raise CorruptFile(
            f"its last {left} bytes belong to no spectrum: open it with checksum=True if the imzML lists only some",
            path=binary, offset=size_of - left,
        )  # fmt: skip
    if checksum:
        _compare(binary, described)


def _spans(*arrays: Array) -> tuple[np.ndarray, np.ndarray]:
    """First byte and the byte after the last of all arrays, in order; an axis that spectra share comes once."""
    begins, sizes = (np.concatenate([getattr(a, name) for a in arrays]) for name in ("offsets", "encoded"))
    begins, sizes = begins[sizes > 0], sizes[sizes > 0]
    order = np.argsort(begins, kind="stable")
    begins, sizes = begins[order], sizes[order]
    same = np.zeros(begins.size, dtype=bool)
    same[1:] = (begins[1:] == begins[:-1]) & (sizes[1:] == sizes[:-1])
    return begins[~same], (begins + sizes)[~same]


def _first(wrong: np.ndarray, what: str, binary: str) -> None:
    """Raise for the first spectrum that is wrong, if any is."""
    if wrong.any():
        raise CorruptFile(f"spectrum {int(np.argmax(wrong)) + 1} {what}", path=binary)


def _compare(binary: str, described: Description) -> None:
    for term, name in _SUMS.items():
        if described.terms.get(term):
            with open(binary, "rb") as file:
                found = hashlib.file_digest(file, name).hexdigest()
            if found != described.terms[term].strip().lower():
                raise CorruptFile(f"its {name} is {found}, the imzML states {described.terms[term]}", path=binary)
            return
    raise CorruptFile("the imzML states no checksum to compare with", path=binary)


def _varies(array: Array) -> bool:
    return bool((array.offsets != array.offsets[0]).any())


# -------------------------------------------------------------------------------------------------------------- grid


def _grid(described: Description, path: str) -> np.ndarray:
    """Which spectrum lies at each (frame, z, y, x), -1 where none was measured; the first line is the last one."""
    axes = []
    for name, values in (("z", described.z), ("y", described.y), ("x", described.x)):
        first, size = int(values.min()), int(np.ptp(values)) + 1
        most = described.terms.get(_MOST.get(name, ""), "")
        if most.isdecimal() and size > int(most) > 0:
            raise CorruptFile(f"spectra at {size} places along {name}, which has {most}", path=path)
        if size > 1 << 20:
            raise CorruptFile(f"places along {name} from {first} to {first + size - 1}", path=path)
        axes.append((values - first, size))
    shape = tuple(size for _, size in axes)
    total = described.x.size
    if np.prod(shape, dtype=float) > max(1 << 16, 64 * total):
        raise CorruptFile(f"{total} spectra on a grid of {' x '.join(map(str, shape))}", path=path)
    pixel = np.ravel_multi_index((axes[0][0], shape[1] - 1 - axes[1][0], axes[2][0]), shape)
    counts = np.bincount(pixel)
    several = int(counts.max())
    if several * np.count_nonzero(counts) != total:
        n = int(np.flatnonzero(counts[pixel] == several)[0])
        raise CorruptFile(
            f"{several} spectra at x = {described.x[n]}, y = {described.y[n]}, z = {described.z[n]} "
            "and fewer elsewhere",
            path=path,
        )
    order = np.argsort(pixel, kind="stable").reshape(-1, several)
    place = np.full((several, *shape), -1, dtype=np.int64)
    place.reshape(several, -1)[:, pixel[order[:, 0]]] = order.T
    return place


def _numbers(array: Array, place: np.ndarray) -> Numbers:
    """The table of one array laid out as the pixels, axes of one spectrum left out."""
    laid = place.reshape(_shape(place))
    offsets = np.where(laid >= 0, array.offsets[laid], -1)
    return Numbers(array.kind.dtype, array.kind.compressed, offsets, array.lengths[laid], array.encoded[laid])


def _shape(place: np.ndarray) -> tuple[int, ...]:
    frames, layers, *image = place.shape
    return (*(n for n in (frames, layers) if n > 1), *image)


# -------------------------------------------------------------------------------------------------------------- axis


def _one(binary: str, array: Array, number: int) -> SpectrumTable:
    """The masses of one spectrum, as what reads them."""
    row = [np.array([column[number]]) for column in (array.offsets, array.lengths, array.encoded)]
    numbers = Numbers(array.kind.dtype, array.kind.compressed, *row)
    return SpectrumTable.of(binary, numbers, numbers, None, int(array.lengths[number]))


def _axis_of(binary: str, array: Array) -> np.ndarray:
    masses = _one(binary, array, 0).read((0, slice(None))).astype(np.float64)
    if not masses.size or not np.isfinite(masses).all() or (np.diff(masses) <= 0).any():
        raise CorruptFile("the masses do not rise", path=binary, offset=int(array.offsets[0]))
    return masses


def _extent(binary: str, array: Array) -> tuple[float, float]:
    """The least and the largest mass of all spectra, of which the first and the last number of each is read."""
    filled = np.flatnonzero(array.lengths > 0)
    if not filled.size:
        raise CorruptFile("all spectra are empty", path=binary)
    if array.kind.compressed:
        ends = [_one(binary, array, int(n)).read((0, slice(None)))[[0, -1]] for n in filled]
        masses = np.concatenate(ends).astype(np.float64)
    else:
        size = array.kind.dtype.itemsize
        first = array.offsets[filled]
        places = np.sort(np.concatenate([first, first + (array.lengths[filled] - 1) * size]))
        masses = scattered(binary, places, array.kind.dtype).astype(np.float64)
    if not np.isfinite(masses).all() or masses.min() <= 0:
        raise CorruptFile("a mass that is not a positive number", path=binary)
    return float(masses.min()), float(masses.max())


# ----------------------------------------------------------------------------------------------------------- dataset


def _dataset(table: SpectrumTable, masses: np.ndarray, place: np.ndarray, described: Description) -> xr.Dataset:
    sizes = dict(zip(("frame", "z", "y", "x"), place.shape, strict=True))
    dims = [dim for dim, size in sizes.items() if size > 1 or dim in ("y", "x")]
    steps = {dim: _step(described, term) for dim, term in (("x", _STEP_X), ("y", _STEP_Y))}
    steps["y"] = steps["y"] or steps["x"]
    coords = {dim: _coordinate(dim, sizes[dim], steps.get(dim)) for dim in dims}
    coords["mass_to_charge"] = coordinate("mass_to_charge", masses)
    data = indexing.LazilyIndexedArray(table)
    variable = xr.Variable(
        (*dims, "mass_to_charge"), data, {"units": described.intensity.kind.units, "long_name": "Intensity"}
    )
    variable.encoding["source"] = table.path
    variables: dict[str, Any] = {"intensity": variable}
    if (place < 0).any():
        flags = (place >= 0).reshape(_shape(place))
        variables["measured"] = xr.Variable(dims, flags, {"units": "1", "long_name": "Measured pixels"})
    return common.dataset(
        variables, coords, described.header, modality="mass spectrometry imaging",
        acquired=common.iso_time(described.started),
        data_type="peak lists" if table.edges is not None else "mass spectra",
    )  # fmt: skip


def _step(described: Description, term: str) -> float | None:
    """The size of a pixel in m; the standard means micrometres where no unit is named."""
    try:
        size = float(described.terms[term])
    except (KeyError, ValueError):
        return None
    unit = {"micrometer": "um", "micron": "um", "square micrometer": "um", "millimeter": "mm", "nanometer": "nm"}
    factor, base = to_base(unit.get(described.terms.get(f"{term}_unit", "micrometer").lower(), ""))
    return size * factor if base == "m" and 0 < size < np.inf else None


def _coordinate(dim: str, size: int, step: float | None) -> xr.Variable:
    if dim == "frame":
        return coordinate("frame", np.arange(size))
    if step is None:
        return coordinate(dim, np.arange(float(size)), units="pixel")
    return coordinate(dim, np.arange(size) * step)
