"""The rows of the format table for electron microscopy and for the HDF5 dialects, and how each is recognised.

No parser; imported once, by the package's own list of rows. Generic HDF5 is registered last, and only for files that no
dialect claims.
"""

from __future__ import annotations

from xpycro.io.formats import Format, register
from xpycro.io.translators import _h5tools as h5

_GUARD = {
    "trust": "True: follow links and external storage outside the file's folder too",
    "isolate": "True: walk the file in a child process with limits of time and memory first",
}
_T = "xpycro.io.translators."


def _hdf5(name: str, suffixes: tuple[str, ...], function: str, what: str, who: str, **more: object) -> Format:
    settings: dict[str, object] = {"lazy": "block", "options": _GUARD, "verified": "real file", "guess": False, **more}
    return Format(name, suffixes, h5.speaks(name), _T + function, what, who, **settings)  # type: ignore[arg-type]


def _any_hdf5(head: bytes, path: str) -> bool:
    return head.startswith(h5.MAGIC) and h5.dialect(path) not in h5.CLAIMED


DIALECTS = (
    _hdf5("usid", (".h5", ".hdf5"), "usid:read", "USID (pyUSID, pycroscopy before 2019)", "any (band excitation)"),
    _hdf5("nsid", (".hf5", ".h5"), "nsid:read", "NSID (pyNSID, sidpy)", "any"),
    _hdf5("hyperspy", (".hspy", ".hdf5"), "hyperspy:read", "HyperSpy's HDF5", "any electron microscope"),
    _hdf5("emd", (".emd", ".h5"), "emd:read", "EMD of the NCEM, Prismatic, py4DSTEM", "TEM and STEM"),
    _hdf5("nexus", (".nxs", ".h5", ".hdf5", ".nx"), "nexus:read", "NeXus NXdata", "synchrotrons, neutrons, any"),
    _hdf5("delmic", (".h5",), "delmic:read", "Delmic / Odemis acquisitions", "Delmic SPARC cathodoluminescence"),
    _hdf5(
        "dectris", (".h5",), "dectris:master", "Dectris master file and its frames", "Dectris Arina, Eiger",
        options={"scan_shape": "(lines, points) of the scan", **_GUARD}, extra="formats",
    ),
)  # fmt: skip
GENERIC = Format(
    "hdf5", (), _any_hdf5, _T + "hdf5_generic:read", "any other HDF5: a view of its arrays", "any", lazy="block",
    options=_GUARD, verified="real file", guess=False,
)  # fmt: skip

for _format in (*DIALECTS, GENERIC):
    register(_format)
