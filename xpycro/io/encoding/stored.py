"""What is written: datasets as they are stored, and the whole of them.

May import numpy and xarray; not the modules beside it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

__all__ = ["Encoded", "Stored", "encode_block"]


@dataclass(frozen=True)
class Stored:
    """One dataset as it is written.

    Attributes
    ----------
    name : str
        In the file.
    dims : tuple of str
        In the file.
    shape : tuple of int
    dtype : numpy dtype
        In the file; object for text.
    attrs : dict
        As HDF5 holds them.
    variable : xarray.Variable
        Where the values come from, in any state.
    kind : str
        How a block of them is turned into stored values; see `Stored.block`.
    """

    name: str
    dims: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: np.dtype
    attrs: dict[str, Any]
    variable: xr.Variable
    kind: str = "plain"

    @property
    def nbytes(self) -> int:
        """Bytes of the stored values (of text, a guess)."""
        return math.prod(self.shape) * self.dtype.itemsize

    def block(self, values: Any) -> np.ndarray:
        """A block of the variable's values as it is stored."""
        return encode_block(self.kind, values, self.dtype)


def encode_block(kind: str, values: Any, dtype: np.dtype) -> np.ndarray:
    """Values as they are stored (of a module's own, so that it can be sent to workers)."""
    values = np.asarray(values)
    if kind.startswith("field:"):
        values = values[kind.removeprefix("field:")]
    if kind == "time":
        return values.view(np.int64)
    if kind == "bytes":
        flat = np.ascontiguousarray(values)
        return flat.reshape(-1).view("S1").reshape(*values.shape, flat.dtype.itemsize)
    return np.ascontiguousarray(values, dtype=dtype) if values.ndim else np.asarray(values, dtype=dtype)


@dataclass(frozen=True)
class Encoded:
    """A whole Dataset, ready to be written.

    Attributes
    ----------
    sizes : dict of str to int
        Dims in the file.
    variables : list of Stored
    attrs : dict
        Of the group, as HDF5 holds them.
    """

    sizes: dict[str, int]
    variables: list[Stored]
    attrs: dict[str, Any]

    @property
    def nbytes(self) -> int:
        """Bytes of all stored values."""
        return sum(one.nbytes for one in self.variables)
