"""Createc STM images ``.dat``: a text header of ``key / Schlüssel=value`` lines, then one compressed block of float32.

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

__all__ = ["image"]

_HEADER = 1 << 16
_PADDING = 1 << 16  # bytes after the last plane
_ANGSTROM = 1e-10


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
        For the older, uncompressed files, and where the planes do not fit the channels that the header names.
    CorruptFile
        If the header contradicts itself or the block.

    Notes
    -----
    *Laziness*: read whole, since the numbers are one compressed stream. Heights are number x GainZ x Dacto[A]z, which a
    conversion by others confirms; currents are number x 20 V / 2^bits / 10^gain, with which the images of real files
    agree with their setpoints.
    """
    with Cursor(path) as cursor:
        magic = cursor.peek(11)
        if magic != b"[Paramco32]":
            if magic.startswith(b"[Param"):
                raise UnsupportedVariant(
                    f"{magic!r}: only compressed files ([Paramco32]) are read; save it again with recent software",
                    path=path,
                )
            cursor.expect(b"[Paramco32]", "magic")
        head = cursor.peek(_HEADER)
        marker = re.search(rb"DATA(?=x[\x01\x5e\x9c\xda])", head)
        if not marker:
            raise cursor.corrupt("the marker DATA and a compressed block do not come", "DATA")
        header = _header(head[: marker.start()], cursor)
        cursor.seek(marker.end(), "DATA")
        nx = integer(_value(header, "Num.X", cursor), "Num.X", cursor, low=1, high=1 << 20, offset=0)
        ny = integer(_value(header, "Num.Y", cursor), "Num.Y", cursor, low=1, high=1 << 20, offset=0)
        planes = integer(_value(header, "Channels", cursor), "Channels", cursor, low=1, high=1 << 16, offset=0)
        _check_lengths(header, (nx, ny), cursor)
        wanted = 4 * (1 + planes * nx * ny)
        # a compressed stream never grows more than a thousandfold: what cannot be there is not asked for
        if wanted > 1100 * cursor.remaining + _PADDING:
            raise cursor.corrupt(
                f"{planes} planes of {nx} x {ny} are not in {cursor.remaining} bytes", "Num.X, Num.Y", 0
            )
        content = inflate(cursor.read(cursor.remaining, "data"), wanted + _PADDING, "data", cursor)
        # after the planes the software leaves the room of four lines and 31 numbers, always zero
        if len(content) - wanted not in (0, 16 * nx + 124):
            raise cursor.corrupt(f"{planes} planes of {nx} x {ny} need {wanted} bytes, not {len(content)}", "data")
        numbers = np.frombuffer(content, "<f4", planes * nx * ny, offset=4).reshape(planes, ny, nx)
        if any(content[wanted:]):
            raise cursor.corrupt("numbers follow the last plane of the header", "Num.X, Num.Y", 0)
        return {"": _dataset(path, cursor, header, numbers)}


def _header(content: bytes, cursor: Cursor) -> dict[str, str]:
    """Lines ``English / German=value``; the English key counts, and the first value."""
    header: dict[str, str] = {}
    for line in content.replace(b"\0", b"").decode("latin-1").splitlines()[1:]:
        key, equals, value = line.partition("=")
        words = [word.strip() for word in key.split(" / ")]
        if equals and words[-1]:
            header.setdefault(words[-1], value.strip())
            header.setdefault(words[0] or words[-1], value.strip())
    return header


def _value(header: dict[str, str], key: str, cursor: Cursor) -> str:
    if key not in header:
        raise cursor.corrupt(f"the header lacks {key!r}", key, 0)
    return header[key]


def _number(header: dict[str, str], key: str, cursor: Cursor) -> float:
    return real(_value(header, key, cursor), key, cursor, offset=0)


def _check_lengths(header: dict[str, str], shape: tuple[int, int], cursor: Cursor) -> None:
    """The lengths of the image are its pixels times its steps: a damaged number of pixels shows."""
    for n, axis in zip(shape, ("X", "Y"), strict=True):
        length = _number(header, f"Length {axis.lower()}[A]", cursor)
        if f"Delta {axis} [Dac]" in header and "Dacto[A]xy" in header and f"Gain{axis}" in header:
            step = _number(header, f"Delta {axis} [Dac]", cursor) * _number(header, f"Gain{axis}", cursor)
            expected = n * step * _number(header, "Dacto[A]xy", cursor)
            if expected > 0 and length > 0 and abs(expected / length - 1) > 0.05:
                raise cursor.corrupt(
                    f"{n} pixels are {expected:.6g} Angstrom wide and the header says {length:.6g}", f"Num.{axis}", 0
                )


def _dataset(path: str, cursor: Cursor, header: dict[str, str], numbers: np.ndarray) -> xr.Dataset:
    planes, ny, nx = numbers.shape
    selected = integer(header.get("Channelselectval", "3"), "Channelselectval", cursor, low=0, offset=0)
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
        _number(header, "Length x[A]", cursor) * _ANGSTROM,
        _number(header, "Length y[A]", cursor) * _ANGSTROM,
    )
    dims: list[str] = []
    reverse = False
    if voltages > 1:
        values = np.array([_number(header, f"MVolt_{k + 1}", cursor) for k in range(voltages)])
        dim, axis, reverse = sweep_axis("Bias", "mV", values)
        dims.append(dim)
        coords |= axis
    if directions > 1:
        dims.append("direction")
        coords["direction"] = common.direction_coordinate()
    data = data[::-1] if reverse else data
    known = {
        0: ("Topography", "m", _number(header, "GainZ", cursor) * _number(header, "Dacto[A]z", cursor) * _ANGSTROM),
        1: ("Current", "A", _converter(header, cursor) / _gain(header, cursor)),
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
        modality="scanning tunneling microscopy",
        instrument="Createc",
        data_type="spectral_image" if voltages > 1 else "image",
        title=header.get("Titel") or None,
        acquired=_time(path),
        bias=_number(header, "BiasVolt.[mV]", cursor) * 1e-3,
        setpoint=_number(header, "SetPoint", cursor) if "SetPoint" in header else None,
        setpoint_units="A" if "SetPoint" in header else None,
        scan_angle=math.radians(_number(header, "Rotation", cursor)) if "Rotation" in header else None,
    )


def _converter(header: dict[str, str], cursor: Cursor) -> float:
    """Volts of one step of the converter, whose range is 20 V."""
    bits = re.match(r"(\d{1,2})bit", header.get("DAC-Type", ""))
    return 20 / 2 ** int(bits[1]) if bits else 20 / 2**16


def _gain(header: dict[str, str], cursor: Cursor) -> float:
    """V/A of the preamplifier, of which the header holds the exponent."""
    exponent = _number(header, "GainPre 10^", cursor)
    if not -30 <= exponent <= 30:
        raise cursor.corrupt(f"a gain of 10^{exponent:g} V/A", "GainPre 10^", 0)
    return 10.0**exponent


def _time(path: str) -> str | None:
    """The software names files by their time: ``A250320.191933.dat``."""
    found = re.match(r"[A-Za-z]*(\d{6})\.(\d{6})\.", os.path.basename(path))
    return common.iso_time(f"20{found[1]} {found[2]}") if found else None
