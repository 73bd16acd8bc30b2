"""The part file: where everything is written before it is published. Nobody lists it; a crash can hurt only it.

All of HDF5's own structure is written first and the space for the numbers reserved; blocks then go to known offsets, in
any order and from any thread, so that killing the process leaves a readable part file. May import numpy, xarray, errors
and io's encoding, layout and disk.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import os
import threading
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xxhash

from xpycro.io import layout
from xpycro.io.encoding import Encoded, Stored
from xpycro.io.store import disk
from xpycro.io.store.journal import Journal

__all__ = ["CHECKSUM", "COMPLETE", "LAYOUT_VERSION", "STORE", "Part", "Slot", "combine", "digest"]

STORE = "xpycro_store"  # root attribute: layout version of the file
COMPLETE = "xpycro_complete"  # group attribute: everything in the group was written
CHECKSUM = "xpycro_checksum"  # dataset attribute
LAYOUT_VERSION = 1
_NOW_BYTES = 1 << 22  # values in memory below this are written with the structure
_ONE_PIECE = 1 << 16  # what is smaller is not chunked


def digest(values: np.ndarray) -> bytes:
    """Hash of one chunk's numbers (without what pads it), or of text.

    XXH3 at the speed of memory: it is to find damage and to tell contents apart, where SHA-256 would be most of the
    time that writing takes. The instrument's own file has its SHA-256 in the history.
    """
    if values.dtype.hasobject:
        found = xxhash.xxh3_128()
        for one in values.ravel().tolist():
            text = one if isinstance(one, bytes) else str(one).encode("utf-8")
            found.update(len(text).to_bytes(8, "little") + text)
        return found.digest()
    return xxhash.xxh3_128_digest(np.ascontiguousarray(values).reshape(-1).view(np.uint8).data)


def combine(dtype: np.dtype, shape: Iterable[int], chunks: Iterable[int], digests: Iterable[bytes]) -> str:
    """Checksum of a variable from those of its chunks in C order: any order of writing gives the same."""
    kind = "text" if dtype.hasobject else dtype.newbyteorder("<").str
    found = xxhash.xxh3_128(f"{kind}{tuple(shape)}{tuple(chunks)}".encode())
    for one in digests:
        found.update(one)
    return f"xxh3c:{found.hexdigest()}"


@dataclass
class Slot:
    """One dataset of the part file and how its blocks get there.

    Attributes
    ----------
    key : str
        Path in the file.
    stored : Stored
    chunks : tuple of int
        The whole shape where the dataset is not chunked.
    lengths : tuple of int
        Of the blocks in which it is written.
    filters : dict
        As for ``create_dataset``.
    offsets : dict
        Byte offset of each chunk by its index; empty where HDF5 writes the chunks itself.
    digests : dict
        Of each chunk written, by its index.
    """

    key: str
    stored: Stored
    chunks: tuple[int, ...]
    lengths: tuple[int, ...]
    filters: dict[str, Any]
    offsets: dict[tuple[int, ...], int] = field(default_factory=dict)
    digests: dict[tuple[int, ...], bytes] = field(default_factory=dict)

    @property
    def now(self) -> bool:
        """Whether the values are written with the structure: text, and what is in memory and small."""
        stored = self.stored
        return stored.variable._in_memory and (stored.dtype.hasobject or stored.nbytes <= _NOW_BYTES)

    def digests_of(self, values: np.ndarray) -> dict[tuple[int, ...], bytes]:
        """Checksums of the chunks of the whole variable."""
        if values.ndim == 0 or 0 in values.shape:
            return {(0,) * values.ndim: digest(values)}
        whole = tuple(slice(0, n) for n in values.shape)
        return {index: digest(np.ascontiguousarray(values[where])) for index, where in self.pieces(whole)}

    def done(self, region: tuple[slice, ...]) -> bool:
        """Whether all chunks of a block are written."""
        return all(index in self.digests for index, _ in self.pieces(region))

    @property
    def regions(self) -> list[tuple[slice, ...]]:
        """The blocks to write, in C order."""
        return layout.regions(self.stored.shape, self.lengths)

    @property
    def checksum(self) -> str:
        """Of the whole variable, once all is written."""
        order: list[bytes] = []
        if 0 not in self.stored.shape:
            counts = [math.ceil(n / c) for n, c in zip(self.stored.shape, self.chunks, strict=True)]
            order = [self.digests[index] for index in np.ndindex(*counts)]
        return combine(self.stored.dtype, self.stored.shape, self.chunks, order)

    def pieces(self, region: tuple[slice, ...]) -> Iterable[tuple[tuple[int, ...], tuple[slice, ...]]]:
        """Index of each chunk in a region, and where in the region's block it lies."""
        spans = [range(s.start // c, math.ceil(s.stop / c)) for s, c in zip(region, self.chunks, strict=True)]
        for index in itertools.product(*spans):
            yield (
                index,
                tuple(
                    slice(i * c - s.start, min((i + 1) * c, s.stop) - s.start)
                    for i, c, s in zip(index, self.chunks, region, strict=True)
                ),
            )


def _lazy_blocks(stored: Stored) -> list[int | None] | None:
    """Block lengths of a dask variable along the stored dims; None where dask has no part in it."""
    chunks = stored.variable.chunks
    if chunks is None:
        return None
    lengths: list[int | None] = []
    for one in chunks:
        regular = len(set(one[:-1])) <= 1 and (len(one) < 2 or one[-1] <= one[0])
        lengths.append(one[0] if regular else None)
    return lengths + list(stored.shape[len(chunks) :])


def plan(
    group: str, encoded: Encoded, like: Any, *, chunking: str | Mapping[str, int], compression: str | None
) -> list[Slot]:
    """How each variable of a Dataset lies in the file; `like` says what its dims are."""
    slots = []
    for one in encoded.variables:
        blocks = _lazy_blocks(one)
        small = one.dtype.hasobject or 0 in one.shape or not one.shape or one.nbytes <= _ONE_PIECE
        asked = {k: v for k, v in chunking.items() if k in one.dims} if isinstance(chunking, Mapping) else chunking
        chunks = one.shape
        kind: dict[str, Any] = {}
        if not small:
            chunks = layout.chunk_shape(like, one.dims, one.shape, one.dtype.itemsize, asked, blocks)
            kind = layout.filters(one.dtype, one.nbytes, compression)
        lengths = layout.write_block(one.shape, chunks, one.dtype.itemsize, blocks)
        # h5netcdf's name in the file for a variable that shares its name with a dim it does not lie along first
        clash = one.name in encoded.sizes and (
            one.name not in one.dims or (len(one.dims) > 1 and one.dims[0] != one.name)
        )
        key = f"{group}/{'_nc4_non_coord_' if clash else ''}{one.name}"
        slots.append(Slot(key, one, tuple(chunks), lengths, kind))
    return slots


def digest_of_now(slot: Slot) -> str:
    """Checksum of values that are written with the structure; empty for others."""
    return digest(slot.stored.block(slot.stored.variable.values)).hex() if slot.now else ""


class Part:
    """A part file being filled.

    Parameters
    ----------
    path : str
        A new file; made by `create`.
    groups : mapping of str to (Encoded, list of Slot)
    """

    def __init__(self, path: str, groups: Mapping[str, tuple[Encoded, list[Slot]]]) -> None:
        self.path = path
        self.groups = dict(groups)
        self.slots = [slot for _, slots in self.groups.values() for slot in slots]
        self.journal: Journal | None = None
        self._guard = threading.Lock()
        self._hdf5: Any = None
        self._marked = False
        self._descriptor: int | None = None

    # --------------------------------------------------------------------------------------------------- structure

    def create(self, root_attrs: Mapping[str, Any]) -> None:
        """Write the structure and what is small and in memory; reserve the space for all else.

        Where that is everything, the marks that `finish` would add are written too.
        """
        import h5netcdf

        plain = [slot.stored for slot in self.slots if not slot.filters and not slot.stored.dtype.hasobject]
        disk.check_room(self.path, sum(stored.nbytes for stored in plain))
        with disk.open_hdf5(self.path, "w") as hdf5:
            with h5netcdf.File(hdf5, "a") as netcdf:
                for name, value in root_attrs.items():
                    netcdf._h5group.attrs[name] = value
                for name, (encoded, slots) in self.groups.items():
                    group = netcdf.create_group(name) if name else netcdf
                    self._create_group(group, encoded, slots)
            for slot in self.slots:
                self._locate(hdf5[slot.key], slot)
            if not self.pending:
                self._mark(hdf5, {})
        if self.journal is not None and self.pending:
            self.journal.restart(self.signature)

    def _create_group(self, group: Any, encoded: Encoded, slots: list[Slot]) -> None:
        group.dimensions = dict(encoded.sizes)
        for name, value in encoded.attrs.items():
            group._h5group.attrs[name] = value  # h5netcdf would make arrays of scalars
        for slot in slots:
            self._create_variable(group, slot)

    def _create_variable(self, group: Any, slot: Slot) -> None:
        import h5py
        from h5py import h5d, h5p

        stored = slot.stored
        layout_: dict[str, Any] = {}
        if stored.dtype.hasobject:
            dtype: Any = h5py.string_dtype()
        else:
            dtype = stored.dtype
            if slot.chunks != stored.shape or slot.filters:
                layout_["chunks"] = slot.chunks
            if 0 not in stored.shape and not slot.filters:
                reserve = h5p.create(h5p.DATASET_CREATE)
                reserve.set_alloc_time(h5d.ALLOC_TIME_EARLY)
                layout_.update(dcpl=reserve, fill_time="never")
        variable = group.create_variable(stored.name, stored.dims, dtype=dtype, **layout_, **slot.filters)
        for name, value in stored.attrs.items():
            variable._h5ds.attrs[name] = value
        if slot.now:
            values = stored.block(stored.variable.values)
            if values.size:
                variable._h5ds[...] = values
            slot.digests = slot.digests_of(values)

    def _locate(self, dataset: Any, slot: Slot) -> None:
        if slot.digests or slot.filters or 0 in slot.stored.shape or slot.stored.dtype.hasobject:
            return
        if dataset.chunks is None:
            if dataset.id.get_offset() is None:  # a scalar gets its place with its first value
                dataset[...] = np.zeros((), dataset.dtype)
                dataset.file.flush()
            slot.offsets = {(0,) * len(slot.stored.shape): dataset.id.get_offset()}
            return

        def note(chunk: Any) -> None:
            index = tuple(o // c for o, c in zip(chunk.chunk_offset, slot.chunks, strict=True))
            slot.offsets[index] = chunk.byte_offset

        dataset.id.chunk_iter(note)

    @property
    def immediate(self) -> bool:
        """Whether everything is in memory and small, so that it is written with the structure."""
        return all(slot.now or 0 in slot.stored.shape for slot in self.slots)

    def write_into(self, netcdf: Any, name: str, attrs: Mapping[str, Any]) -> None:
        """Write an `immediate` Dataset, finished, as a new group of another file."""
        ((encoded, slots),) = self.groups.values()
        group = netcdf.create_group(name)
        self._create_group(group, encoded, slots)
        for slot in slots:
            group._h5group[slot.key.rpartition("/")[2]].attrs[CHECKSUM] = slot.checksum
        group._h5group.attrs.update({**attrs, COMPLETE: np.int64(1)})

    # ------------------------------------------------------------------------------------------------------ blocks

    @property
    def pending(self) -> list[tuple[Slot, tuple[slice, ...]]]:
        """The blocks still to be written."""
        return [(slot, region) for slot in self.slots for region in slot.regions if not slot.done(region)]

    @property
    def signature(self) -> str:
        """What identifies the structure of the file and the values written with it."""
        facts = [
            [s.key, s.stored.dtype.str, s.stored.dims, s.stored.shape, s.chunks, s.lengths, digest_of_now(s)]
            for s in self.slots
        ]
        return hashlib.sha256(json.dumps(facts, default=list).encode()).hexdigest()

    @property
    def resumable(self) -> bool:
        """Whether a part file left by a killed process can be gone on with: all chunks at known places."""
        return not any(slot.filters for slot in self.slots)

    def resume(self, journal: Journal) -> bool:
        """Take over what an earlier run wrote, each chunk checked; False where there is nothing to go on with."""
        self.journal = journal
        if journal.header != self.signature or not os.path.exists(self.path):
            return False
        try:
            with disk.open_hdf5(self.path, "r") as hdf5:
                for slot in self.slots:
                    self._place_again(hdf5, slot)
        except (OSError, KeyError):  # killed while the very last marks were written
            return False
        by_key = {slot.key: slot for slot in self.slots}
        with open(self.path, "rb", buffering=0) as handle:
            for key, chunks in journal.entries:
                slot = by_key[key]
                for listed, expected in chunks:
                    index = tuple(listed)
                    if slot.offsets and self._stored_digest(handle.fileno(), slot, index).hex() == expected:
                        slot.digests[index] = bytes.fromhex(expected)
        return True

    def _place_again(self, hdf5: Any, slot: Slot) -> None:
        dataset = hdf5[slot.key]
        if slot.now:
            slot.digests = slot.digests_of(slot.stored.block(slot.stored.variable.values))
        self._locate(dataset, slot)

    def _stored_digest(self, descriptor: int, slot: Slot, index: tuple[int, ...]) -> bytes:
        """Checksum of a chunk as it lies on the disk."""
        dtype, shape = slot.stored.dtype, slot.stored.shape
        raw = disk.read_at(descriptor, math.prod(slot.chunks) * dtype.itemsize, slot.offsets[index])
        full = np.frombuffer(raw, dtype)
        if full.size != math.prod(slot.chunks):
            return b""
        valid = tuple(slice(0, min(c, n - i * c)) for i, c, n in zip(index, slot.chunks, shape, strict=True))
        return digest(np.ascontiguousarray(full.reshape(slot.chunks)[valid]))

    def __enter__(self) -> Part:
        self._descriptor = os.open(self.path, os.O_RDWR)
        if any(slot.filters for slot in self.slots):
            self._hdf5 = disk.open_hdf5(self.path, "r+")
        return self

    def __exit__(self, *_: object) -> None:
        if self._hdf5 is not None:
            self._hdf5.close()
            self._hdf5 = None
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def write(self, slot: Slot, region: tuple[slice, ...], values: Any) -> dict[tuple[int, ...], bytes]:
        """Write one block of a variable; thread-safe for different regions.

        Parameters
        ----------
        slot : Slot
        region : tuple of slice
            Whole chunks, in the stored array.
        values : array
            The variable's values there, not yet encoded.

        Returns
        -------
        dict
            Checksums of the chunks written.
        """
        block = slot.stored.block(values)
        expected = tuple(s.stop - s.start for s in region)
        if block.shape != expected:
            raise ValueError(
                f"variable {slot.stored.name!r}: a block of shape {block.shape} came where {expected} was due"
            )
        written = {}
        for index, where in slot.pieces(region):
            piece = np.ascontiguousarray(block[where]) if block.ndim else block
            written[index] = digest(piece)
            self._write_chunk(slot, index, piece)
        slot.digests.update(written)
        if self.journal is not None:
            self.journal.note(slot.key, written)
        return written

    def _write_chunk(self, slot: Slot, index: tuple[int, ...], piece: np.ndarray) -> None:
        if slot.offsets:
            assert self._descriptor is not None
            disk.write_at(self._descriptor, _padded(piece, slot.chunks).reshape(-1).view(np.uint8), slot.offsets[index])
            return
        start = tuple(i * c for i, c in zip(index, slot.chunks, strict=True))
        if slot.filters.get("compression") == "gzip":
            packed = _gzip(_padded(piece, slot.chunks), slot.filters)
            with self._guard:
                self._hdf5[slot.key].id.write_direct_chunk(start, packed)
            return
        with self._guard:
            where = tuple(slice(s, s + n) for s, n in zip(start, piece.shape, strict=True))
            self._hdf5[slot.key][where] = piece

    # ------------------------------------------------------------------------------------------------------ finish

    def finish(self, attrs: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        """Write checksums and commit marks, and bring the file to the disk itself."""
        self.__exit__()
        if not self._marked or attrs:
            with disk.open_hdf5(self.path, "r+") as hdf5:
                self._mark(hdf5, attrs or {})
        disk.flush(self.path)

    def _mark(self, hdf5: Any, attrs: Mapping[str, Mapping[str, Any]]) -> None:
        for slot in self.slots:
            hdf5[slot.key].attrs[CHECKSUM] = slot.checksum
        for name in self.groups:
            group = hdf5[f"/{name}"]
            for key, value in attrs.get(name, {}).items():
                group.attrs[key] = value
            group.attrs[COMPLETE] = np.int64(1)
        self._marked = True


def _padded(piece: np.ndarray, chunks: tuple[int, ...]) -> np.ndarray:
    if piece.shape == chunks:
        return piece
    full = np.zeros(chunks, piece.dtype)
    full[tuple(slice(0, n) for n in piece.shape)] = piece
    return full


def _gzip(piece: np.ndarray, options: Mapping[str, Any]) -> bytes:
    raw = piece.reshape(-1).view(np.uint8)
    if options.get("shuffle"):
        raw = np.ascontiguousarray(raw.reshape(-1, piece.dtype.itemsize).T)
    return zlib.compress(raw.tobytes(), int(options["compression_opts"]))
