"""Createc STM images ``.dat``: a text header of ``key / Schlüssel=value`` lines, then one block, compressed or not.

The first number of the block is no pixel, the first stored line is the top one, and backward lines lie in place already
(in real files they match the forward ones unmirrored). May import numpy, xarray, schema, units and io below.
"""

from __future__ import annotations

import math
import os
import re
from typing import Any

import numpy as np
import xarray as xr

from xpycro.errors import UnsupportedVariant
from xpycro.io.cursor import Cursor, inflate, integer, real
from xpycro.io.translators import _common as common
from xpycro.io.translators.nanonis import sweep_axis
from xpycro.schema import identifiers

__all__ = ["converter", "file_time", "gain", "header_of", "image", "number_of", "value_of"]

_HEADER = 1 << 16
_PADDING = 1 << 16  # bytes after the last plane
_ANGSTROM = 1e-10
# the files of each magic: the numbers, and where their block begins; None where it is compressed behind a marker
_KINDS = {b"[Paramco32]": ("<f4", None), b"[Paramet32]": ("<f4", 16384), b"[Parameter]": ("<i2", 16384)}
_FORMERLY = {  # what older software calls a key
    "GainPre 10^": "Gainpreamp", "BiasVolt.[mV]": "BiasVoltage", "Delta X [Dac]": "Delta X", "Delta Y [Dac]": "Delta Y",
}  # fmt: skip


def image(path: str) -> dict[str, xr.Dataset]:
    """Read a Createc image (``.dat``).

    Parameters
    ----------
    path : str

    Returns
    -------
    dict of str to Dataset
        One group: ``topography`` in m and ``current`` in A over ``(y, x)``, with ``direction`` where the way back was
        recorded and ``bias`` where each line was scanned at several voltages; other channels in converter units
        (``units`` "1"). Lines that were never scanned are NaN and flagged in ``measured(y, x)``.

    Raises
    ------
    UnsupportedVariant
        Where the planes do not fit the channels that the header names.
    CorruptFile
        If the header contradicts itself or the block.

    Notes
    -----
    Files that are not compressed (``[Paramet32]``, and ``[Parameter]`` of 16-bit integers) are read from published
    facts; no real one was at hand. Heights are number x GainZ x Dacto[A]z, which a conversion by others confirms;
    currents are number x 20 V / 2^bits / 10^gain, with which the images of real files agree with their setpoints.
    *Laziness*: read whole, since the numbers are mostly one compressed stream.
    """
    with Cursor(path) as cursor:
        magic = cursor.peek(11)
        if magic not in _KINDS:
            cursor.expect(b"[Paramco32]", "magic")
        dtype, start = _KINDS[magic]
        head = cursor.peek(_HEADER)
        if start is None:
            marker = re.search(rb"DATA(?=x[\x01\x5e\x9c\xda])", head)
            if not marker:
                raise cursor.corrupt("the marker DATA and a compressed block do not come", "DATA")
            header = header_of(head[: marker.start()])
            cursor.seek(marker.end(), "DATA")
        else:
            header = header_of(head[:start])
            cursor.seek(start, "data")
        nx = integer(value_of(header, "Num.X", cursor), "Num.X", cursor, low=1, high=1 << 20, offset=0)
        ny = integer(value_of(header, "Num.Y", cursor), "Num.Y", cursor, low=1, high=1 << 20, offset=0)
        planes = integer(value_of(header, "Channels", cursor), "Channels", cursor, low=1, high=1 << 16, offset=0)
        _check_lengths(header, (nx, ny), cursor)
        itemsize = np.dtype(dtype).itemsize
        wanted = itemsize * (1 + planes * nx * ny)
        if start is None:
            # a compressed stream never grows more than a thousandfold: what cannot be there is not asked for
            if wanted > 1100 * cursor.remaining + _PADDING:
                raise cursor.corrupt(
                    f"{planes} planes of {nx} x {ny} are not in {cursor.remaining} bytes", "Num.X, Num.Y", 0
                )
            content = inflate(cursor.read(cursor.remaining, "data"), wanted + _PADDING, "data", cursor)
        else:
            if not wanted <= cursor.remaining <= wanted + _PADDING:
                raise cursor.corrupt(
                    f"{planes} planes of {nx} x {ny} need {wanted} bytes and {cursor.remaining} are left", "data"
                )
            content = cursor.read(cursor.remaining, "data")
        # after the planes the software leaves room, of four lines and 31 numbers in real files, always zero
        room = len(content) - wanted
        if room < 0 or (room not in (0, 16 * nx + 124) and room >= itemsize * nx * ny):
            raise cursor.corrupt(f"{planes} planes of {nx} x {ny} need {wanted} bytes, not {len(content)}", "data")
        numbers = np.frombuffer(content, dtype, planes * nx * ny, offset=itemsize).reshape(planes, ny, nx)
        if any(content[wanted:]):
            raise cursor.corrupt("numbers follow the last plane of the header", "Num.X, Num.Y", 0)
        return {"": _dataset(path, cursor, header, numbers)}


def header_of(content: bytes) -> dict[str, str]:
    """Lines ``English / German=value``; the English key counts, and the first value."""
    header: dict[str, str] = {}
    for raw in content.replace(b"\0", b"").splitlines()[1:]:
        line = raw.decode("latin-1")
        key, equals, value = line.partition("=")
        words = [word.strip() for word in key.split(" / ")]
        if equals and words[-1]:
            header.setdefault(words[-1], value.strip())
            header.setdefault(words[0] or words[-1], value.strip())
    return header


def value_of(header: dict[str, str], key: str, cursor: Cursor) -> str:
    """The text of a key, under the name that older software gave it too."""
    key = key if key in header else _FORMERLY.get(key, key)
    if key not in header:
        raise cursor.corrupt(f"the header lacks {key!r}", key, 0)
    return header[key]


def number_of(header: dict[str, str], key: str, cursor: Cursor) -> float:
    """The number of a key."""
    return real(value_of(header, key, cursor), key, cursor, offset=0)


def _check_lengths(header: dict[str, str], shape: tuple[int, int], cursor: Cursor) -> None:
    """The lengths of the image are its pixels times its steps: a damaged number of pixels shows."""
    for n, axis in zip(shape, ("X", "Y"), strict=True):
        length = number_of(header, f"Length {axis.lower()}[A]", cursor)
        stated = f"Delta {axis} [Dac]" in header or f"Delta {axis}" in header
        if stated and "Dacto[A]xy" in header and f"Gain{axis}" in header:
            step = number_of(header, f"Delta {axis} [Dac]", cursor) * number_of(header, f"Gain{axis}", cursor)
            expected = n * step * number_of(header, "Dacto[A]xy", cursor)
            if expected > 0 and length > 0 and abs(expected / length - 1) > 0.05:
                raise cursor.corrupt(
                    f"{n} pixels are {expected:.6g} Angstrom wide and the header says {length:.6g}", f"Num.{axis}", 0
                )


def _dataset(path: str, cursor: Cursor, header: dict[str, str], numbers: np.ndarray) -> xr.Dataset:
    planes, ny, nx = numbers.shape
    # older software records the first so many channels
    count = integer(header.get("Chan(1,2,4)", "2"), "Chan(1,2,4)", cursor, low=1, high=16, offset=0)
    selected = integer(header.get("Channelselectval", str(2**count - 1)), "Channelselectval", cursor, low=0, offset=0)
    bits = [bit for bit in range(selected.bit_length()) if selected >> bit & 1]
    voltages = integer(header.get("MVoltnumber11", "1"), "MVoltnumber11", cursor, low=1, high=1000, offset=0)
    directions, rest = divmod(planes, max(1, len(bits)) * voltages)
    if not bits or rest or directions not in (1, 2):
        raise UnsupportedVariant(
            f"{planes} planes of {len(bits)} channels at {voltages} voltages", path=path, field="Channels"
        )
    # the lower left first, and what was never scanned, which is stored as zeros, as NaN
    written = int(np.flatnonzero(numbers.any(axis=(0, 2))).max(initial=-1)) + 1
    data = numbers[:, ::-1].reshape(voltages, directions, len(bits), ny, nx).astype(np.float64)
    data[..., : ny - written, :] = np.nan
    coords: dict[str, Any] = common.image_coordinates(
        nx,
        ny,
        number_of(header, "Length x[A]", cursor) * _ANGSTROM,
        number_of(header, "Length y[A]", cursor) * _ANGSTROM,
    )
    dims: list[str] = []
    reverse = False
    if voltages > 1:
        values = np.array([number_of(header, f"MVolt_{k + 1}", cursor) for k in range(voltages)])
        dim, axis, reverse = sweep_axis("Bias", "mV", values)
        dims.append(dim)
        coords |= axis
    if directions > 1:
        dims.append("direction")
        coords["direction"] = common.direction_coordinate()
    data = data[::-1] if reverse else data
    known = {
        0: ("Topography", "m", number_of(header, "GainZ", cursor) * number_of(header, "Dacto[A]z", cursor) * _ANGSTROM),
        1: ("Current", "A", converter(header, cursor) / gain(header, cursor)),
    }
    named = [known.get(bit, (f"Channel {bit}", "1", 1.0)) for bit in bits]
    variables: dict[str, Any] = {}
    keep = tuple(slice(None) if n > 1 else 0 for n in (voltages, directions))
    for k, (label, (name, units, factor)) in enumerate(
        zip(identifiers([n for n, *_ in named], coords), named, strict=True)
    ):
        variables[label] = xr.Variable(
            (*dims, "y", "x"), data[(*keep, k)] * factor, {"units": units, "long_name": name}
        )
    if written < ny:
        flag = common.measured_variable(written * nx, ny, nx)
        variables["measured"] = flag.copy(data=flag.values[::-1])
    return common.dataset(
        variables,
        coords,
        header,
        modality="scanning tunnelling microscopy",
        instrument="Createc",
        data_type="spectral_image" if voltages > 1 else "image",
        title=header.get("Titel") or None,
        acquired=file_time(path),
        bias=number_of(header, "BiasVolt.[mV]", cursor) * 1e-3,
        setpoint=number_of(header, "SetPoint", cursor) if "SetPoint" in header else None,
        setpoint_units="A" if "SetPoint" in header else None,
        scan_angle=math.radians(number_of(header, "Rotation", cursor)) if "Rotation" in header else None,
    )


def converter(header: dict[str, str], cursor: Cursor) -> float:
    """Volts of one step of the converter, whose range is 20 V."""
    bits = re.match(r"(\d{1,2})bit", header.get("DAC-Type", ""))
    return 20 / 2 ** int(bits[1]) if bits else 20 / 2**16


def gain(header: dict[str, str], cursor: Cursor) -> float:
    """V/A of the preamplifier, of which the header holds the exponent."""
    exponent = number_of(header, "GainPre 10^", cursor)
    if not -30 <= exponent <= 30:
        raise cursor.corrupt(f"a gain of 10^{exponent:g} V/A", "GainPre 10^", 0)
    return 10.0**exponent


def file_time(path: str) -> str | None:
    """The software names files by their time: ``A250320.191933.dat``."""
    found = re.match(r"[A-Za-z]*(\d{6})\.(\d{6})\.", os.path.basename(path))
    return common.iso_time(f"20{found[1]} {found[2]}") if found else None
