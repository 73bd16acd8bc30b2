"""Pages of a TIFF file as a lazy array: of a page only the strips or tiles that are used are read and decoded.

May import numpy, the errors and io below; tifffile inside functions. Knows no vendor.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from xpycro.errors import CorruptFile, MissingExtra, NotThisFormat, XpycroError
from xpycro.io.hdf5_array import _ranges
from xpycro.io.rawarray import RawArray, stamp

__all__ = ["PageArray", "reading"]

_JPEG = (6, 7, 34892, 33007)  # compressions that need the tables of their page


@contextlib.contextmanager
def reading(path: str) -> Iterator[None]:
    """Turn what tifffile raises on a damaged file into ours."""
    try:
        yield
    except (XpycroError, FileNotFoundError, PermissionError):
        raise
    except ModuleNotFoundError as error:
        raise MissingExtra(
            str(error.name), "formats", f"reading the compressed TIFF {os.path.basename(path)}"
        ) from error
    except Exception as error:
        if "imagecodecs" in str(error):
            raise MissingExtra("imagecodecs", "formats", f"reading {os.path.basename(path)}") from error
        kind = NotThisFormat if "not a TIFF" in str(error) else CorruptFile
        raise kind(f"tifffile cannot read it ({type(error).__name__}: {str(error)[:200]})", path=path) from error


@dataclass(frozen=True, eq=False)
class PageArray:
    """Pages of one series, read when they are used; rows turned upwards.

    Attributes
    ----------
    path : str
    series : int
    shape : tuple of int
        The pages, then one page.
    dtype : numpy dtype
    page_ndim : int
    row_axis : int
        Which axis of a page holds the rows; turned round.
    directories : ndarray or None
        Where the directory of each page lies, so that a page is found without those before it; None where a page has
        none of its own, or lies in another file.
    block : tuple of int or None
        What is decoded at once along each axis; None where rows are read as they lie.
    stamp : tuple of int
    """

    path: str
    series: int
    shape: tuple[int, ...]
    dtype: np.dtype
    page_ndim: int
    row_axis: int
    directories: np.ndarray | None
    block: tuple[int, ...] | None
    stamp: tuple[int, int]

    @classmethod
    def of(cls, path: str, file: Any, number: int, row_axis: int) -> PageArray:
        """Series `number` of an open file, `row_axis` of which holds the rows."""
        series = file.series[number]
        page, outer = series.keyframe, len(series.shape) - series.keyframe.ndim
        segments = None if page.is_final or tuple(page.shape) != tuple(series.shape[outer:]) else _Segments.of(page)
        own = not (file.is_lsm or file.is_ndpi or file.is_stk)  # whose directories tifffile mends as it goes
        places = (
            [page.offset if page is not None and page.parent is file else 0 for page in series.pages] if own else []
        )
        complete = len(places) == math.prod(series.shape[:outer]) and all(places)
        block = (1,) * outer + tuple(segments.step[axis] for axis in segments.kept) if segments else None
        return cls(
            os.path.abspath(path), number, tuple(series.shape), np.dtype(series.dtype), page.ndim, row_axis - outer,
            np.array(places, np.int64) if complete else None, block, stamp(path),
        )  # fmt: skip

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def result_dtype(self) -> np.dtype:
        """dtype of what is handed out."""
        return self.dtype.newbyteorder("=")

    def __dask_tokenize__(self) -> tuple[Any, ...]:
        return ("xpycro.PageArray", self.path, *self.stamp, self.series, self.shape, self.dtype.str, self.row_axis)

    def read(self, key: Any = ()) -> np.ndarray:
        """The numbers that a basic index names; the strips or tiles it touches are decoded."""
        import tifffile

        spans, dropped = _ranges(key, self.shape)
        outer = self.ndim - self.page_ndim
        out = np.empty([len(span) for span in spans], self.result_dtype)
        with reading(self.path), tifffile.TiffFile(self.path) as file:
            for place in np.ndindex(*out.shape[:outer]) if out.size else ():
                at = tuple(span[n] for span, n in zip(spans[:outer], place, strict=True))
                number = int(np.ravel_multi_index(at, self.shape[:outer])) if outer else 0
                out[place] = self._page(file, number, spans[outer:])
        return out.reshape([n for axis, n in enumerate(out.shape) if axis not in dropped])

    def _page(self, file: Any, number: int, spans: Sequence[range]) -> np.ndarray:
        """What is wanted of one page."""
        import tifffile

        shape = self.shape[self.ndim - self.page_ndim :]
        page: Any
        if self.directories is None:
            page = file.series[self.series].pages[number]
        else:
            file.filehandle.seek(int(self.directories[number]))
            page = tifffile.TiffPage(file, number)
        if page is None:
            raise CorruptFile(f"page {number} is missing", path=self.path)
        size = shape[self.row_axis]
        turned = [range(size - 1 - s.start, size - 1 - s.stop, -s.step) if a == self.row_axis else s
                  for a, s in enumerate(spans)]  # fmt: skip
        first = [min(s[0], s[-1]) for s in turned]
        window = [slice(low, max(s[0], s[-1]) + 1) for low, s in zip(first, turned, strict=True)]
        values = self._window(page, page.parent is file, shape, window)
        return values[np.ix_(*[np.asarray(s, np.intp) - low for s, low in zip(turned, first, strict=True)])]

    def _window(self, page: Any, here: bool, shape: tuple[int, ...], window: Sequence[slice]) -> np.ndarray:
        """A window of a page as it is stored, in this file or in another."""
        frame = page.keyframe
        if not here or tuple(frame.shape) != shape:
            return np.asarray(page.asarray()).reshape(shape)[tuple(window)]
        if frame.is_final:  # one block of plain numbers
            stored = np.dtype(frame.dtype).newbyteorder(page.parent.byteorder)
            return RawArray.contiguous(self.path, page.dataoffsets[0], stored, shape).read(tuple(window))
        segments = _Segments.of(frame)
        wanted = segments.touched(window) if segments is not None else []
        if segments is None or len(wanted) == len(page.dataoffsets):
            return np.asarray(page.asarray()).reshape(shape)[tuple(window)]  # in threads
        return segments.decode(page, wanted, window)


@dataclass(frozen=True)
class _Segments:
    """The strips or tiles that a page is cut into.

    Attributes
    ----------
    kept : tuple of int
        Which of planes of colours, depth, rows, columns and colours are axes of the page.
    step, count : tuple of int
        Along these five, how long a segment is and how many there are.
    """

    kept: tuple[int, ...]
    step: tuple[int, ...]
    count: tuple[int, ...]

    @classmethod
    def of(cls, page: Any) -> _Segments | None:
        """Those of a page; None where they do not lie in order."""
        shaped = tuple(page.shaped)
        kept = tuple(axis for axis, size in enumerate(shaped) if size > 1 or axis in (2, 3))
        cut = (page.tiledepth, page.tilelength, page.tilewidth) if page.is_tiled else (1, page.rowsperstrip, shaped[3])
        step = (1, *cut, shaped[4])
        if min(step) < 1 or tuple(shaped[axis] for axis in kept) != tuple(page.shape):
            return None
        count = tuple(-(-size // n) for size, n in zip(shaped, step, strict=True))
        odd = page.jpegheader is not None or math.prod(count) != len(page.dataoffsets)
        return None if odd else cls(kept, step, count)

    def touched(self, window: Sequence[slice]) -> list[int]:
        """The numbers of the segments that a window of the page touches."""
        spans = [range(n) for n in self.count]
        for axis, part in zip(self.kept, window, strict=True):
            step = self.step[axis]
            spans[axis] = range(part.start // step, (part.stop - 1) // step + 1)
        return [int(np.ravel_multi_index(place, self.count)) for place in itertools.product(*spans)]

    def decode(self, page: Any, wanted: Sequence[int], window: Sequence[slice]) -> np.ndarray:
        """A window of a page from its segments."""
        frame, handle = page.keyframe, page.parent.filehandle
        tables = {"jpegtables": page.jpegtables, "jpegheader": None} if frame.compression in _JPEG else {}
        bounds = [slice(0, size) for size in frame.shaped]
        for axis, part in zip(self.kept, window, strict=True):
            bounds[axis] = part
        out = np.full([b.stop - b.start for b in bounds], frame.nodata, np.dtype(frame.dtype).newbyteorder("="))
        for number in wanted:
            offset, size = page.dataoffsets[number], page.databytecounts[number]
            if not size:  # left out by the writer: nothing but "no data"
                continue
            handle.seek(offset)
            values, at, _ = frame.decode(handle.read(size), number, **tables)
            inside, target = [], []
            for b, begin, length in zip(bounds, at, (1, *values.shape), strict=True):
                low, high = max(b.start, begin), min(b.stop, begin + length)
                inside.append(slice(low - begin, high - begin))
                target.append(slice(low - b.start, high - b.start))
            out[tuple(target)] = values[None][tuple(inside)]
        return out.reshape([n for axis, n in enumerate(out.shape) if axis in self.kept])
