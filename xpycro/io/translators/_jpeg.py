"""The pictures of optical microscopes beside spectra: a JPEG decoded after a look at its size, and where it lies.

May import numpy and the cursor; imagecodecs inside a function.
"""

from __future__ import annotations

import struct

import numpy as np

from xpycro.io.cursor import Cursor

__all__ = ["position_of", "rgb"]

_PIXELS = 1 << 27
_RATIONAL = {5: "I", 10: "i"}
_EXIF, _WIDTH, _HEIGHT, _CORNER = 0x8769, 0xA20E, 0xA20F, 0xFEA0


def _segments(jpeg: bytes) -> list[tuple[int, bytes]]:
    """Marker and body of every segment before the pixels."""
    found, at = [], 2
    while at + 4 <= len(jpeg) and jpeg[at] == 0xFF and jpeg[at + 1] != 0xDA:
        (size,) = struct.unpack_from(">H", jpeg, at + 2)
        found.append((jpeg[at + 1], jpeg[at + 4 : at + 2 + size]))
        at += 2 + max(size, 2)
    return found


def rgb(jpeg: bytes, cursor: Cursor, offset: int) -> np.ndarray | None:
    """The picture, (rows, columns, 3) with the top row first; None where imagecodecs is not installed.

    Raises
    ------
    CorruptFile
        If it is damaged, or says that it is larger than any picture.
    """
    if jpeg[:2] != b"\xff\xd8":
        raise cursor.corrupt("is no JPEG", "picture", offset)
    frames = [body for mark, body in _segments(jpeg) if mark in (0xC0, 0xC1, 0xC2) and len(body) >= 6]
    if not frames:
        raise cursor.corrupt("the JPEG has no frame", "picture", offset)
    rows, columns = struct.unpack_from(">HH", frames[0], 1)
    if not 0 < rows * columns <= _PIXELS:
        raise cursor.corrupt(f"declares {rows} x {columns} pixels", "picture", offset)
    try:
        import imagecodecs
    except ImportError:
        return None
    try:
        pixels = imagecodecs.jpeg8_decode(jpeg)
    except (RuntimeError, ValueError, OSError) as error:
        raise cursor.corrupt(f"the JPEG is damaged ({error})", "picture", offset) from None
    pixels = np.repeat(pixels[..., None], 3, axis=2) if pixels.ndim == 2 else pixels
    if pixels.shape != (rows, columns, 3):
        raise cursor.corrupt(f"{pixels.shape} pixels, not {rows} x {columns} of three colours", "picture", offset)
    return pixels


def position_of(jpeg: bytes) -> tuple[tuple[float, float], tuple[float, float]] | None:
    """Upper left corner and size (x, y) in um of what a Renishaw picture shows; None where it does not say.

    The size stands where cameras have the resolution of the focal plane, the corner in a tag of Renishaw's own.
    """
    exif = next((body[6:] for mark, body in _segments(jpeg) if mark == 0xE1 and body[:6] == b"Exif\0\0"), b"")
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4])
    if order is None:
        return None
    try:
        (start,) = struct.unpack_from(order + "I", exif, 4)
        first = _directory(exif, order, start)
        inner = _directory(exif, order, first[_EXIF][2])
        corner = _rationals(exif, order, first[_CORNER], 2)
        size = (*_rationals(exif, order, inner[_WIDTH], 1), *_rationals(exif, order, inner[_HEIGHT], 1))
    except (struct.error, KeyError, ZeroDivisionError):
        return None
    return ((corner[0], corner[1]), (size[0], size[1])) if min(size) > 0 else None


def _directory(exif: bytes, order: str, start: int) -> dict[int, tuple[int, int, int]]:
    """Kind, count and offset of each entry."""
    (count,) = struct.unpack_from(order + "H", exif, start)
    entries = (struct.unpack_from(order + "HHII", exif, start + 2 + 12 * n) for n in range(count))
    return {tag: (kind, n, at) for tag, kind, n, at in entries}


def _rationals(exif: bytes, order: str, entry: tuple[int, int, int], count: int) -> list[float]:
    kind, n, at = entry
    if n != count or kind not in _RATIONAL:
        raise KeyError
    pairs = struct.unpack_from(f"{order}{2 * n}{_RATIONAL[kind]}", exif, at)
    return [above / below for above, below in zip(pairs[::2], pairs[1::2], strict=True)]
