"""The bounded reader that every parser of a vendor file uses: nothing is read, believed or allocated unchecked.

A declared size is compared with the bytes that are there before anything is made of it, and every failure is a
`CorruptFile` with the offset and the name of the field. May import numpy and xpycro.errors; knows no format.
"""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Sequence
from types import TracebackType
from typing import BinaryIO

import numpy as np

from xpycro.errors import CorruptFile, NotThisFormat

__all__ = ["HEADER_LIMIT", "Cursor", "inflate", "integer", "real"]

HEADER_LIMIT = 1 << 24  # no text header of an instrument is longer than this
LINE_LIMIT = 1 << 20
_PIECE = 1 << 16


class Cursor:
    """A position in a file (or in bytes) that moves forward only as far as there are bytes.

    Parameters
    ----------
    source : path or bytes
        A path is opened read-only and closed with the context; bytes are read in place.
    path : path, optional
        The name for errors where `source` is bytes.
    base : int, optional
        Added to offsets in errors where `source` is a piece of a file.

    Attributes
    ----------
    path : str
    size : int
        Bytes in all.
    position : int

    Examples
    --------
    >>> with Cursor(b"HEAD\\x02\\x00\\x01\\x00\\x02\\x00", path="example") as cursor:
    ...     cursor.expect(b"HEAD", "magic")
    ...     n = cursor.number("<u2", "count")
    ...     cursor.numbers("<u2", n, "values")
    array([1, 2], dtype=uint16)
    """

    def __init__(
        self, source: str | os.PathLike[str] | bytes, *, path: str | os.PathLike[str] = "", base: int = 0
    ) -> None:
        self._bytes: bytes | None = None
        self._file: BinaryIO | None = None
        self.base = base
        self.position = 0
        self._start = 0  # where in the file a window begins
        if isinstance(source, bytes | bytearray):
            self._bytes = bytes(source)
            self.path = os.fspath(path)
            self.size = len(self._bytes)
        else:
            self.path = os.fspath(source)
            self._file = open(self.path, "rb")
            self.size = os.fstat(self._file.fileno()).st_size

    def __enter__(self) -> Cursor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()

    # ------------------------------------------------------------------------------------------------------ errors

    def corrupt(self, reason: str, field: str, offset: int | None = None) -> CorruptFile:
        """The error to raise: `reason` at `offset` (default: here) of `field`."""
        return CorruptFile(
            reason, path=self.path, offset=self.base + (self.position if offset is None else offset), field=field
        )

    # ---------------------------------------------------------------------------------------------------- position

    @property
    def remaining(self) -> int:
        """Bytes between here and the end."""
        return self.size - self.position

    def seek(self, offset: int, field: str) -> None:
        """Go to an absolute offset; the end itself is allowed."""
        if not 0 <= offset <= self.size:
            raise self.corrupt(f"points to byte {offset} of a file of {self.size} bytes", field)
        self.position = int(offset)

    def skip(self, n: int, field: str) -> None:
        """Go forward over `n` bytes, which must be there."""
        self.need(n, field)
        self.position += int(n)

    def need(self, n: int, field: str) -> None:
        """Raise unless `n` more bytes are there."""
        if n < 0:
            raise self.corrupt(f"a length of {n} bytes", field)
        if n > self.remaining:
            raise self.corrupt(f"needs {n} bytes and the file ends after {self.remaining}", field)

    def block(self, shape: Sequence[int], itemsize: int, field: str, *, offset: int | None = None) -> int:
        """Check that an array of a declared shape lies inside the file; its size in bytes.

        Nothing is allocated: a header that declares 1e12 pixels fails here.
        """
        start = self.position if offset is None else int(offset)
        if any(int(n) < 0 for n in shape):
            raise self.corrupt(f"declares the shape {tuple(shape)}", field, start)
        nbytes = math.prod(int(n) for n in shape) * itemsize
        if start < 0 or start + nbytes > self.size:
            raise self.corrupt(
                f"declares {' x '.join(map(str, shape))} values of {itemsize} bytes at byte {start} "
                f"and the file has {self.size} bytes: truncated, or the header is damaged",
                field,
                min(max(start, 0), self.size),
            )
        return nbytes

    def window(self, n: int, field: str) -> Cursor:
        """A cursor over the next `n` bytes, which must be there; this one moves past them.

        It reads from the same open file, knows nothing outside, and names offsets of the whole file in errors.
        """
        self.need(n, field)
        inner = Cursor(b"", path=self.path, base=self.base + self.position)
        inner.size = n
        if self._bytes is not None:
            inner._bytes = self._bytes[self.position : self.position + n]
        else:
            inner._bytes, inner._file, inner._start = None, self._file, self._start + self.position
        self.position += n
        return inner

    # -------------------------------------------------------------------------------------------------------- read

    def read(self, n: int, field: str) -> bytes:
        """Exactly `n` bytes."""
        self.need(n, field)
        if self._bytes is not None:
            piece = self._bytes[self.position : self.position + n]
        else:
            assert self._file is not None
            self._file.seek(self._start + self.position)
            piece = self._file.read(n)
            if len(piece) != n:
                raise self.corrupt(f"needs {n} bytes and got {len(piece)}: the file is shrinking", field)
        self.position += n
        return piece

    def peek(self, n: int) -> bytes:
        """Up to `n` bytes without moving."""
        here = self.position
        piece = self.read(min(max(n, 0), self.remaining), "bytes")
        self.position = here
        return piece

    def expect(self, magic: bytes, field: str) -> None:
        """Move over `magic`, or say that this is another format."""
        found = self.peek(len(magic))
        if found != magic:
            raise NotThisFormat(
                f"expected {magic!r} and found {found!r}", path=self.path, offset=self.base + self.position, field=field
            )
        self.position += len(magic)

    def number(self, dtype: str, field: str) -> int | float:
        """One number of a numpy dtype with its byte order, such as ``"<i4"`` or ``">f8"``, as a Python number."""
        kind = np.dtype(dtype)
        return np.frombuffer(self.read(kind.itemsize, field), kind)[0].item()

    def integer(self, dtype: str, field: str, *, low: int | None = None, high: int | None = None) -> int:
        """One integer, within limits where they are given."""
        start = self.position
        value = int(self.number(dtype, field))
        if (low is not None and value < low) or (high is not None and value > high):
            bounds = f"{'' if low is None else low}..{'' if high is None else high}"
            raise self.corrupt(f"is {value}, outside {bounds}", field, start)
        return value

    def numbers(self, dtype: str, count: int, field: str) -> np.ndarray:
        """`count` numbers as a native array; the count is checked against the bytes that are there first."""
        kind = np.dtype(dtype)
        if count < 0:
            raise self.corrupt(f"declares {count} values", field)
        return np.frombuffer(self.read(count * kind.itemsize, field), kind).astype(kind.newbyteorder("="))

    def unpack(self, layout: str, field: str) -> tuple[int | float | bytes, ...]:
        """A `struct` layout."""
        return struct.unpack(layout, self.read(struct.calcsize(layout), field))

    def text(self, n: int, field: str, *, encoding: str = "latin-1") -> str:
        """A fixed string of `n` bytes, cut at the first NUL and stripped."""
        return self.read(n, field).split(b"\0", 1)[0].decode(encoding, "replace").strip()

    def until(self, marker: bytes, field: str, *, limit: int = HEADER_LIMIT) -> bytes:
        """What lies before `marker`; the position moves past it.

        Raises
        ------
        CorruptFile
            If the marker does not come within `limit` bytes.
        """
        start, found = self.position, bytearray()
        while True:
            piece = self.peek(_PIECE)
            searched = max(0, len(found) - len(marker) + 1)
            found += piece
            at = found.find(marker, searched)
            if at >= 0 and at <= limit:
                self.position = start + at + len(marker)
                return bytes(found[:at])
            if not piece or len(found) > limit:
                self.position = start
                raise self.corrupt(f"{marker!r} does not come within {min(limit, self.size - start)} bytes", field)
            self.position += len(piece)

    def line(self, field: str, *, encoding: str = "latin-1", limit: int = LINE_LIMIT) -> str:
        """One line of text without its end (LF or CR LF); the last may lack one."""
        start, found = self.position, bytearray()
        while True:
            piece = self.peek(4096)
            at = piece.find(b"\n")
            found += piece if at < 0 else piece[:at]
            if len(found) > limit:
                raise self.corrupt(f"a line of more than {limit} bytes", field, start)
            self.position += len(piece) if at < 0 else at + 1
            if at >= 0 or not piece:
                return found.decode(encoding, "replace").removesuffix("\r")


def integer(
    text: str,
    field: str,
    cursor: Cursor,
    *,
    low: int | None = None,
    high: int | None = None,
    offset: int | None = None,
) -> int:
    """An integer that a text header states, within limits; ``"512"``, ``" 512.0 "``.

    Raises
    ------
    CorruptFile
        If it is not a number, not whole, or outside.
    """
    value = real(text, field, cursor, offset=offset)
    if value != int(value) or abs(value) > 2**62:
        raise cursor.corrupt(f"{text.strip()[:40]!r} is not a whole number", field, offset)
    number = int(value)
    if (low is not None and number < low) or (high is not None and number > high):
        bounds = f"{'' if low is None else low}..{'' if high is None else high}"
        raise cursor.corrupt(f"is {number}, outside {bounds}", field, offset)
    return number


def real(text: str, field: str, cursor: Cursor, *, offset: int | None = None) -> float:
    """A finite number that a text header states; a decimal comma is understood.

    Raises
    ------
    CorruptFile
        If it is not one.
    """
    plain = text.strip().strip('"').strip()
    try:
        value = float(plain.replace(",", ".") if plain.count(",") == 1 and "." not in plain else plain)
    except ValueError:
        raise cursor.corrupt(f"{plain[:40]!r} is not a number", field, offset) from None
    if not math.isfinite(value) or "_" in plain:
        raise cursor.corrupt(f"{plain[:40]!r} is not a finite number", field, offset)
    return value


def inflate(data: bytes, limit: int, field: str, cursor: Cursor, *, wbits: int = 15) -> bytes:
    """Inflate a zlib (or gzip, ``wbits=31``) stream to at most `limit` bytes.

    Raises
    ------
    CorruptFile
        If the stream is damaged, incomplete, or would inflate to more.
    """
    import zlib

    machine = zlib.decompressobj(wbits)
    try:
        result = machine.decompress(data, limit + 1)
    except zlib.error as error:
        raise cursor.corrupt(f"the compressed block is damaged ({error})", field) from None
    if len(result) > limit:
        raise cursor.corrupt(f"the compressed block inflates to more than {limit} bytes", field)
    if not machine.eof:
        raise cursor.corrupt("the compressed block is incomplete", field)
    return result
