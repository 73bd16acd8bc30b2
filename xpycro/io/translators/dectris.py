"""Dectris master files (Arina, Eiger): NeXus with the frames in ``entry/data/data_000001...``, linked from other files.

May import numpy, xarray, schema and io below, h5py inside functions.
"""

from __future__ import annotations

from typing import Any

import xarray as xr

from xpycro.errors import CorruptFile, NotThisFormat
from xpycro.io import hdf5_array
from xpycro.io.hdf5_guard import opened
from xpycro.io.translators import _common as common
from xpycro.io.translators import _h5tools as h5
from xpycro.io.translators import _nxdetector as nx
from xpycro.io.translators import _records as records
from xpycro.io.translators import nexus
from xpycro.io.translators._stacks import pixels, scan_grid
from xpycro.schema import coordinate

__all__ = ["master"]


def master(
    path: str, *, scan_shape: tuple[int, int] | None = None, trust: bool = False, isolate: bool = False
) -> dict[str, xr.Dataset]:
    """Read the frames that a Dectris master file links to.

    Parameters
    ----------
    path : str
    scan_shape : (int, int), optional
        Lines and points of the scan; the last line may be incomplete. Without it an externally triggered series of a
        square number of frames is taken for a square scan, anything else for frames.
    trust : bool, optional
        Follow links and external storage outside the folder too.
    isolate : bool, optional
        Walk the file in a child process with limits first.

    Returns
    -------
    dict of str to Dataset
        ``counts(y, x, ky, kx)`` or ``counts(frame, ky, kx)``, and ``pixel_mask(ky, kx)``, true where a pixel is to be
        left out. ``ky, kx`` in 1/m, with ``two_theta`` and ``q``, where the header has the geometry; the camera length
        of electron microscopes it has not.

    Raises
    ------
    NotThisFormat, CorruptFile, UnsupportedVariant
    DimensionError
        If `scan_shape` does not fit the number of frames.
    MissingExtra
        When data are read and hdf5plugin is not installed.

    Notes
    -----
    *Laziness*: only the master's header is read.
    """
    with opened(path, trust=trust, isolate=isolate) as (file, contents):
        if "/entry/data" not in contents.groups:
            raise NotThisFormat("the group entry/data is missing", path=path)
        kinds, group = nx.classes(file, contents.groups), file["/entry/data"]
        names = sorted(name for name in group if name.startswith("data_"))
        if not names or "nxpositioner" in kinds:  # a beam line wrote the frames into its own file
            return nexus.read(path, scan_shape=scan_shape, trust=trust)
        stored: list[Any] = []
        for name in names:
            if f"/entry/data/{name}" in contents.missing:
                missing = contents.missing[f"/entry/data/{name}"]
                raise CorruptFile(f"the frames lie in {missing!r}, which is not there", path=path, field=name)
            data = group[name]
            if data.ndim != 3 or data.dtype.kind not in "iuf" or (stored and data.shape[1:] != stored[0].shape[1:]):
                raise CorruptFile(f"frames of shape {data.shape} and type {data.dtype}", path=path, field=name)
            stored.append(data)
        step = records.chunk_length(stored, 1)
        parts = tuple(hdf5_array.array(data, flip=(False, True, False)) for data in stored)
        header = h5.metadata(file, skip=frozenset(["data", "flatfield", "pixel_mask"]))
        detector = file.get("/entry/instrument/detector")
        said = nx.attributes(kinds, detector)
        size = (parts[0].shape[1], parts[0].shape[2])
        coords = nx.coordinates(detector, size, nx.wavelength(kinds, detector))
        mask = nx.mask(detector, size)
        special = header.get("entry", {}).get("instrument", {}).get("detector", {}).get("detectorSpecific", {})
        square = str(special.get("trigger_mode", "")).startswith("ext")
        frames = sum(part.shape[0] for part in parts)
        grid = scan_grid(frames, scan_shape, path, square=square, short=True)
    raw = records.Records(parts, 1, records.order_of(grid), step)
    scan = ("y", "x") if len(grid) == 2 else ("frame",)
    variables = {"counts": records.variable((*scan, "ky", "kx"), raw, "Counts", "counts")}
    if mask is not None:
        variables["pixel_mask"] = mask
    if raw.gaps:
        variables["measured"] = common.measured_variable(frames, *grid)[::-1]
    for dim, n in zip(scan, grid, strict=True):
        coords[dim] = coordinate("frame", range(n)) if dim == "frame" else pixels(dim, n)
    said = {**said, "instrument": said.get("instrument") or "Dectris"}
    ds = common.dataset(
        variables, coords, header, data_type="diffraction patterns",
        acquired=common.iso_time(str(special.get("data_collection_date", ""))[:19]), **said,
    )  # fmt: skip
    return {"": ds}
