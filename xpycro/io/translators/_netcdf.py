"""Classic netCDF files (version 1, 2 and 5): the header, bounded, and where each variable lies.

May import numpy, the errors and the cursor; knows no instrument.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from xpycro.errors import NotThisFormat
from xpycro.io.cursor import Cursor

__all__ = ["File", "Variable", "read"]

_TYPES = {1: ">i1", 2: "S1", 3: ">i2", 4: ">i4", 5: ">f4", 6: ">f8", 7: ">u1", 8: ">u2", 9: ">u4", 10: ">i8",
          11: ">u8"}  # fmt: skip
_DIMENSIONS, _VARIABLES, _ATTRIBUTES = 10, 11, 12
_MANY = 1 << 16  # entries of a list, bytes of a name
_SMALL = 1 << 20  # bytes of a variable that is read as metadata


@dataclass(frozen=True)
class Variable:
    """A variable of fixed size.

    Attributes
    ----------
    name : str
    dims : tuple of str
    shape : tuple of int
    dtype : numpy dtype
    offset : int
    attrs : mapping
    """

    name: str
    dims: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: np.dtype
    offset: int
    attrs: Mapping[str, Any]

    @property
    def nbytes(self) -> int:
        """Bytes of its numbers."""
        return math.prod(self.shape) * self.dtype.itemsize

    def value(self, cursor: Cursor) -> Any:
        """A small variable as text, number or list."""
        if self.nbytes > _SMALL:
            raise cursor.corrupt(f"{self.nbytes} bytes, more than metadata has", self.name, self.offset)
        cursor.seek(self.offset, self.name)
        data = cursor.read(self.nbytes, self.name)
        if self.dtype.kind == "S":
            return data.split(b"\0", 1)[0].decode("latin-1").strip()
        numbers = np.frombuffer(data, self.dtype).astype(self.dtype.newbyteorder("=")).reshape(self.shape)
        return numbers.item() if numbers.size == 1 else numbers.tolist()


@dataclass(frozen=True)
class File:
    """The header.

    Attributes
    ----------
    attrs : mapping
    variables : mapping of str to Variable
    """

    attrs: Mapping[str, Any]
    variables: Mapping[str, Variable]


class _Header:
    def __init__(self, cursor: Cursor) -> None:
        self.cursor = cursor
        if cursor.peek(3) != b"CDF" or cursor.peek(4)[3:] not in (b"\1", b"\2", b"\5"):
            raise NotThisFormat(f"begins with {cursor.peek(4)!r}: no classic netCDF", path=cursor.path, offset=0)
        version = cursor.read(4, "magic")[3]
        self.size = ">i8" if version == 5 else ">i4"
        self.offset = ">i4" if version == 1 else ">i8"

    def count(self, field: str) -> int:
        return self.cursor.integer(self.size, field, low=0)

    def name(self) -> str:
        length = self.cursor.integer(self.size, "length of a name", low=1, high=_MANY)
        return self.padded(length, "name").decode("utf-8", "replace")

    def padded(self, length: int, field: str) -> bytes:
        data = self.cursor.read(length, field)
        if self.cursor.read(-length % 4, field).strip(b"\0"):
            raise self.cursor.corrupt("the bytes that pad it are not NUL", field)
        return data

    def list(self, tag: int, field: str) -> int:
        """Number of entries of a list."""
        found, count = self.cursor.integer(">i4", field), self.count(field)
        if found != (tag if count else found) or (count == 0 and found not in (0, tag)) or count > _MANY:
            raise self.cursor.corrupt(f"a list of tag {found} and {count} entries", field)
        return count

    def attributes(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for _ in range(self.list(_ATTRIBUTES, "attributes")):
            name, kind = self.name(), self.cursor.integer(">i4", "type")
            if kind not in _TYPES or name in found:
                raise self.cursor.corrupt(f"type {kind}, or a name that comes twice", name)
            dtype, count = np.dtype(_TYPES[kind]), self.count(name)
            data = self.padded(count * dtype.itemsize, name)
            if dtype.kind == "S":
                found[name] = data.split(b"\0", 1)[0].decode("latin-1").strip()
            else:
                numbers = np.frombuffer(data, dtype)
                found[name] = numbers[0].item() if count == 1 else numbers.tolist()
        return found


def read(cursor: Cursor) -> File:
    """Read the header.

    Raises
    ------
    NotThisFormat
        If it is no classic netCDF file.
    CorruptFile
        If a variable does not lie in the file, or two overlap.
    """
    header = _Header(cursor)
    records = header.count("records")
    dims = []
    for _ in range(header.list(_DIMENSIONS, "dimensions")):
        name = header.name()
        dims.append((name, header.count(name)))
    attrs = header.attributes()
    variables: dict[str, Variable] = {}
    for _ in range(header.list(_VARIABLES, "variables")):
        name = header.name()
        numbers = [header.count(name) for _ in range(cursor.integer(header.size, name, low=0, high=1024))]
        if any(number >= len(dims) for number in numbers) or name in variables:
            raise cursor.corrupt("a dimension that is not there, or a name that comes twice", name)
        own = header.attributes()
        kind, nbytes = cursor.integer(">i4", name), header.count(name)
        offset = cursor.integer(header.offset, name, low=0)
        if kind not in _TYPES:
            raise cursor.corrupt(f"type {kind}", name)
        shape = tuple(dims[number][1] for number in numbers)
        names = tuple(dims[number][0] for number in numbers)
        if numbers and shape[0] == 0:  # the record dimension: one record is all that is understood here
            shape = (records, *shape[1:])
            if records > 1:
                raise cursor.corrupt(f"{records} records: expected one at most", name, offset)
        variables[name] = Variable(name, names, shape, np.dtype(_TYPES[kind]), offset, own)
        stated = variables[name].nbytes + -variables[name].nbytes % 4
        if nbytes != stated:
            raise cursor.corrupt(f"{nbytes} bytes, and its dimensions say {stated}", name)
    end, last = cursor.position, "header"
    for variable in sorted(variables.values(), key=lambda v: v.offset):
        if variable.offset < end or variable.offset + variable.nbytes > cursor.size:
            raise cursor.corrupt(f"overlaps {last} or leaves the file", variable.name, variable.offset)
        end, last = variable.offset + variable.nbytes, variable.name
    if cursor.size - end > 3:
        raise cursor.corrupt(f"{cursor.size - end} bytes after the last variable", "end", end)
    return File(attrs, variables)
