"""Frames of detectors whose formats fabio reads: ADSC and Rigaku, mar345, Bruker, Oxford, Raxis, GE, Esperanto.

Only the reader of the format that a file begins as is asked, never one that could run what the file holds. May import
numpy, xarray, schema and io below; fabio inside functions.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from xarray.core import indexing

from xpycro.errors import CorruptFile, MissingExtra, NotThisFormat, UnsupportedVariant, XpycroError
from xpycro.io.hdf5_array import _ranges
from xpycro.io.rawarray import _Backend, stamp
from xpycro.io.translators import _common as common
from xpycro.io.translators import _records as records
from xpycro.io.translators._stacks import pixels
from xpycro.schema import coordinate

__all__ = ["FabioFrames", "codec_of", "frames"]

_RATIO = 1000  # no codec of these formats packs better
# how a file begins, and fabio's reader of it
_CODECS = (
    (b"{\nHEADER_BYTES", "dtrekimage"), (b"\xd2\x04\0\0", "mar345image"), (b"\0\0\x04\xd2", "mar345image"),
    (b"FORMAT :        86", "brukerimage"), (b"FORMAT :        100", "bruker100image"),
    (b"FORMAT :100", "bruker100image"), (b"OD SAPPHIRE", "oxdimage"), (b"RAXIS", "raxisimage"), (b"ADEPT", "geimage"),
    (b"ESPERANTO FORMAT", "esperantoimage"),
)  # fmt: skip


def codec_of(head: bytes) -> str | None:
    """Which of fabio's readers a file is for; None where it is for none of them."""
    return next((name for magic, name in _CODECS if head.startswith(magic)), None)


@contextlib.contextmanager
def _reading(path: str) -> Iterator[None]:
    """Turn what fabio raises on a damaged file into ours."""
    try:
        yield
    except (XpycroError, FileNotFoundError, PermissionError):
        raise
    except ModuleNotFoundError as error:
        raise MissingExtra("fabio", "formats", f"reading {os.path.basename(path)}") from error
    except Exception as error:
        raise CorruptFile(f"fabio cannot read it ({type(error).__name__}: {str(error)[:200]})", path=path) from error


def _open(path: str, codec: str) -> Any:
    """A file as fabio sees it, its header compared with its size before the pixels are decoded."""
    from fabio import fabioformats

    with open(path, "rb") as file:
        head = file.read(4096)
    if codec_of(head) != codec:
        raise CorruptFile("begins as another format than when it was opened", path=path)
    known = fabioformats.factory(codec)
    with contextlib.suppress(NotImplementedError, AttributeError):  # some readers know the size only with the pixels
        known.readheader(path)
        shape = tuple(known.shape or ())
        if math.prod(shape) > _RATIO * max(1, os.path.getsize(path)):
            raise CorruptFile(f"declares {shape} pixels in a file of {os.path.getsize(path)} bytes", path=path)
    return fabioformats.factory(codec).read(path)


@dataclass(frozen=True)
class FabioFrames:
    """The frames of one file, decoded when they are used; rows turned upwards."""

    path: str
    codec: str
    shape: tuple[int, int, int]
    dtype: np.dtype
    stamp: tuple[int, int]

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return 3

    @property
    def result_dtype(self) -> np.dtype:
        """dtype of what is handed out."""
        return self.dtype.newbyteorder("=")

    def __dask_tokenize__(self) -> tuple[Any, ...]:
        return ("xpycro.FabioFrames", self.path, *self.stamp, self.codec, self.shape, self.dtype.str)

    def read(self, key: Any = ()) -> np.ndarray:
        """The numbers that a basic index names; the frames it touches are decoded."""
        spans, dropped = _ranges(key, self.shape)
        out = np.empty([len(span) for span in spans], self.result_dtype)
        inside = np.ix_(*(np.asarray(span, np.intp) for span in spans[1:]))
        with _reading(self.path):
            file = _open(self.path, self.codec)
            for place, number in enumerate(spans[0]):
                values = np.asarray(file.getframe(number).data if self.shape[0] > 1 else file.data)
                if values.shape != self.shape[1:]:
                    raise CorruptFile(
                        f"frame {number} is {values.shape} and the first {self.shape[1:]}", path=self.path
                    )
                out[place] = values[::-1][inside]
        return out.reshape([n for axis, n in enumerate(out.shape) if axis not in dropped])


def frames(path: str, *, scan_shape: tuple[int, int] | None = None) -> dict[str, xr.Dataset]:
    """Read the frames of a detector through fabio.

    Parameters
    ----------
    path : str
    scan_shape : (int, int), optional
        Lines and points of the scan that the frames of the file are.

    Returns
    -------
    dict of str to Dataset
        ``intensity(ky, kx)``, of several frames ``(frame, ky, kx)`` or a scan, the first row at the top; in pixels.

    Raises
    ------
    NotThisFormat, CorruptFile, UnsupportedVariant
    MissingExtra
        If fabio is not installed.
    DimensionError
        If `scan_shape` does not fit.

    Notes
    -----
    *Laziness*: one frame is decoded on opening, for its size; the others, and that one again, when they are used.
    """
    with open(path, "rb") as file:
        codec = codec_of(file.read(4096))
    if codec is None:
        raise NotThisFormat("does not begin as a frame that is read through fabio", path=path, offset=0)
    with _reading(path):
        found = _open(path, codec)
        values, count = np.asarray(found.data), int(found.nframes)
        header = {str(name): str(value)[:1000] for name, value in dict(found.header or {}).items()}
    if values.ndim != 2 or values.dtype.kind not in "fiu" or not 1 <= count <= 1 << 20:
        raise UnsupportedVariant(f"{count} frames {values.shape} of {values.dtype}", path=path)
    rows, columns = values.shape
    raw = FabioFrames(os.path.abspath(path), codec, (count, rows, columns), values.dtype, stamp(path))
    coords = {"ky": pixels("ky", rows), "kx": pixels("kx", columns)}
    attrs = {"units": "counts", "long_name": "Intensity"}
    variables: dict[str, xr.Variable]
    if scan_shape is not None:
        laid, scan = records.scanned(raw, scan_shape, path, "Intensity", "counts")
        variables = {"intensity": laid.pop("frames"), **laid}
        coords.update(scan)
    else:
        lazy = indexing.LazilyIndexedArray(_Backend(raw))  # type: ignore[arg-type]
        stack = xr.Variable(("frame", "ky", "kx"), lazy, attrs)
        variables = {"intensity": stack if count > 1 else stack[0]}
        if count > 1:
            coords["frame"] = coordinate("frame", np.arange(count))
    return {
        "": common.dataset(variables, coords, header, modality="X-ray diffraction", data_type="diffraction patterns")
    }
