"""How an array lies in the file: chunk shapes that serve maps and spectra alike, and whether compression pays.

May import numpy, xarray, errors and schema; knows nothing of HDF5 itself.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from xpycro import schema

__all__ = ["CHUNK_BYTES", "COMPRESSIONS", "chunk_shape", "filters", "regions", "roles", "write_block"]

CHUNK_BYTES = 512 * 1024  # 0.25-1 MB: small enough for one spectrum, large enough for one seek
WRITE_BYTES = 16 * 1024 * 1024  # beyond 32 MB every block would be new memory from the system, page by page
_MAP_SPECTRA = 16  # one map should cost about the bytes of 16 spectra
_SMALL = 1 << 20  # below this compression is not worth a filter
COMPRESSIONS = ("auto", "none", "gzip", "zstd", "blosc")


def roles(ds: xr.Dataset | xr.DataArray, dims: Sequence[str]) -> tuple[list[int], list[int], list[int]]:
    """Axes by what they are read as: observations (a map's), signal (a spectrum's), and stacked one by one."""
    kinds = [schema.dimension_type(ds, dim) for dim in dims]
    signal = [n for n, kind in enumerate(kinds) if kind in ("spectral", "reciprocal")]
    signal = signal or [n for n, kind in enumerate(kinds) if kind == "temporal"]
    stacked = [n for n, kind in enumerate(kinds) if kind in ("frame", "channel", "component", "parameter")]
    observed = [n for n in range(len(dims)) if n not in signal and n not in stacked]
    if not observed:  # a stack of spectra
        observed, stacked = stacked, []
    return observed, signal, stacked


def _even(size: int, wanted: float, block: int | None = None) -> int:
    """A chunk length near `wanted` that tiles `size` (or the blocks that arrive) without a thin rest."""
    whole = min(block or size, size)
    if whole <= 1:
        return 1
    pieces = max(1, round(whole / max(1.0, wanted)))
    if block and block < size:  # divide the arriving block exactly where a divisor is near
        near = [p for p in range(max(1, pieces // 2), 2 * pieces + 1) if whole % p == 0]
        if near:
            return whole // min(near, key=lambda p: abs(p - pieces))
    return math.ceil(whole / pieces)


def _fill(shape: Sequence[int], axes: Sequence[int], room: float) -> dict[int, float]:
    """Lengths along `axes` whose product is about `room`, as equal as the shape allows."""
    lengths: dict[int, float] = {}
    left = list(axes)
    while left:
        each = max(1.0, room) ** (1 / len(left))
        short = [a for a in left if shape[a] <= each]
        if not short:
            lengths.update(dict.fromkeys(left, each))
            break
        for axis in short:
            lengths[axis] = float(shape[axis])
            room /= max(1, shape[axis])
            left.remove(axis)
    return lengths


def chunk_shape(
    ds: xr.Dataset | xr.DataArray,
    dims: Sequence[str],
    shape: Sequence[int],
    itemsize: int,
    chunking: str | Mapping[str, int] = "balanced",
    blocks: Sequence[int | None] | None = None,
) -> tuple[int, ...]:
    """Chunk lengths of an array in the file.

    Parameters
    ----------
    ds : Dataset or DataArray
        Says what each dim is (``dimension_type``).
    dims, shape : sequence
        Of the array.
    itemsize : int
        Bytes of one number.
    chunking : {"balanced", "image", "spectrum"} or mapping of str to int
        ``balanced``: about 0.5 MB, one map costs about the bytes of 16 spectra. ``image``: whole maps, few points of
        the spectrum; ``spectrum``: whole spectra of few pixels. A mapping gives lengths by dim, -1 or a missing dim
        whole.
    blocks : sequence of int or None, optional
        Lengths of the blocks in which the data arrive; chunks divide them where that costs little.

    Raises
    ------
    ValueError
        If `chunking` is none of these, or names a dim that the Dataset does not have.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> cube = xr.DataArray(np.zeros((1, 1, 1)), dims=("y", "x", "energy"))
    >>> chunk_shape(cube, ("y", "x", "energy"), (256, 256, 256), 4)
    (37, 37, 86)
    """
    arriving = list(blocks) if blocks is not None else [None] * len(shape)
    if isinstance(chunking, Mapping):
        unknown = [d for d in chunking if d not in ds.dims]
        wrong = [d for d, n in chunking.items() if n != -1 and n < 1]
        if unknown or wrong:
            raise ValueError(
                f"chunking={dict(chunking)!r}: expected lengths >= 1 (or -1) of dims {list(map(str, ds.dims))}"
            )
        asked = [chunking.get(d, -1) for d in dims]
        return tuple(max(1, size if n == -1 else min(n, size)) for n, size in zip(asked, shape, strict=True))
    if chunking not in ("balanced", "image", "spectrum"):
        raise ValueError(f"chunking={chunking!r}: expected 'balanced', 'image', 'spectrum' or a dict of dim to length")
    room = CHUNK_BYTES / max(1, itemsize)
    if math.prod(shape) <= 2 * room:
        return tuple(max(1, n) for n in shape)
    observed, signal, stacked = roles(ds, dims)
    spectrum = math.prod(shape[a] for a in signal)
    pixels = math.prod(shape[a] for a in observed)
    if not signal or chunking == "image":
        per_signal = max(1.0, room / pixels) if signal else 1.0
    elif chunking == "spectrum":
        per_signal = float(spectrum)
    else:
        per_signal = min(float(spectrum), max(1.0, math.sqrt(_MAP_SPECTRA * spectrum * room / pixels)))
        # small maps leave room in the chunk that the spectrum takes
        per_signal = min(float(spectrum), max(per_signal, room / pixels))
    wanted: dict[int, float] = dict.fromkeys(stacked, 1.0)
    wanted.update(_fill(shape, signal, min(per_signal, room)))
    wanted.update(_fill(shape, observed, room / max(1.0, math.prod(wanted.get(a, 1.0) for a in signal))))
    used = math.prod(min(wanted[a], shape[a]) for a in (*signal, *observed))
    if stacked and used < room / 2:  # small frames share a chunk
        wanted.update(_fill(shape, stacked, room / used))
    return tuple(_even(size, wanted[axis], arriving[axis]) for axis, size in enumerate(shape))


def write_block(
    shape: Sequence[int], chunks: Sequence[int], itemsize: int, blocks: Sequence[int | None] | None = None
) -> tuple[int, ...]:
    """Lengths of the blocks in which an array is read and written: whole chunks, about 16 MB, last axis first.

    Blocks that already arrive in whole chunks are kept.
    """
    if 0 in shape:
        return tuple(max(1, n) for n in shape)
    if blocks is not None and all(
        b is not None and (b >= n or b % c == 0) for b, c, n in zip(blocks, chunks, shape, strict=True)
    ):
        return tuple(min(int(b or n), n) for b, n in zip(blocks, shape, strict=True))
    lengths = [min(c, max(1, n)) for c, n in zip(chunks, shape, strict=True)]
    room = WRITE_BYTES / max(1, itemsize)
    for axis in reversed(range(len(shape))):
        others = math.prod(lengths) // lengths[axis]
        fitting = max(1, int(room // (others * chunks[axis]))) * chunks[axis]
        lengths[axis] = max(1, min(fitting, shape[axis]))
    return tuple(lengths)


def regions(shape: Sequence[int], lengths: Sequence[int]) -> list[tuple[slice, ...]]:
    """The blocks of an array in C order, as slices.

    Examples
    --------
    >>> regions((3,), (2,))
    [(slice(0, 2, None),), (slice(2, 3, None),)]
    """
    if 0 in shape:
        return []
    counts = [math.ceil(n / c) for n, c in zip(shape, lengths, strict=True)]
    return [
        tuple(slice(i * c, min((i + 1) * c, n)) for i, c, n in zip(index, lengths, shape, strict=True))
        for index in np.ndindex(*counts)
    ]


def filters(dtype: np.dtype, nbytes: int, compression: str | None = "auto") -> dict[str, Any]:
    """Keyword arguments of h5py's ``create_dataset`` for a compression.

    Parameters
    ----------
    dtype : numpy dtype
    nbytes : int
        Of the whole variable; little ones are never compressed.
    compression : {"auto", "none", "gzip", "zstd", "blosc"} or None
        ``auto``: shuffle and gzip for counts and labels, nothing for floats, whose noise does not compress. ``zstd``
        and ``blosc`` need the package hdf5plugin, also to read the file.

    Raises
    ------
    ValueError
        If it is none of these.
    MissingExtra
        If hdf5plugin is needed and not there.
    """
    if compression is None:
        compression = "none"
    if compression not in COMPRESSIONS:
        raise ValueError(f"compression={compression!r}: expected one of {COMPRESSIONS}")
    if compression == "auto":
        compression = "gzip" if dtype.kind in "iub" else "none"
    if compression == "none" or nbytes < _SMALL or dtype.kind not in "iufcb":
        return {}
    if compression == "gzip":
        return {"compression": "gzip", "compression_opts": 1, "shuffle": dtype.itemsize > 1}
    try:
        import hdf5plugin
    except ImportError as error:
        from xpycro.errors import MissingExtra

        raise MissingExtra("hdf5plugin", "formats", f"compression={compression!r}") from error
    return dict(hdf5plugin.Zstd(3)) if compression == "zstd" else dict(hdf5plugin.Blosc("zstd", 3))
