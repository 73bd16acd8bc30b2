"""The rows of the format table for electron microscopy and for the HDF5 dialects, and how each is recognised.

No parser; imported once, by the package's own list of rows. Generic HDF5 is registered last, and only for files that no
dialect claims.
"""

from __future__ import annotations

import os
from typing import Any

from xpycro.io.formats import Format, register
from xpycro.io.translators import _h5tools as h5

_GUARD = {
    "trust": "True: follow links and external storage outside the file's folder too",
    "isolate": "True: walk the file in a child process with limits of time and memory first",
}
_T = "xpycro.io.translators."


def _hdf5(name: str, suffixes: tuple[str, ...], function: str, what: str, who: str, **more: Any) -> Format:
    settings: dict[str, Any] = {"lazy": "block", "options": _GUARD, "verified": "real file", "guess": False, **more}
    return Format(name, suffixes, h5.speaks(name.removesuffix("_h5")), _T + function, what, who, **settings)


def _any_hdf5(head: bytes, path: str) -> bool:
    return head.startswith(h5.MAGIC) and h5.dialect(path) not in h5.CLAIMED


DIALECTS = (
    _hdf5("usid", (".h5", ".hdf5"), "usid:read", "USID (pyUSID, pycroscopy before 2019)", "any (band excitation)"),
    _hdf5("nsid", (".hf5", ".h5"), "nsid:read", "NSID (pyNSID, sidpy)", "any"),
    _hdf5("hyperspy", (".hspy", ".hdf5"), "hyperspy:read", "HyperSpy's HDF5", "any electron microscope"),
    _hdf5("emd", (".emd", ".h5"), "emd:read", "EMD of the NCEM, Prismatic, py4DSTEM", "TEM and STEM"),
    _hdf5(
        "nexus", (".nxs", ".h5", ".hdf5", ".nx"), "nexus:read", "NeXus scans and NXdata", "synchrotrons, neutrons, any",
        options={
            "scan_shape": "(lines, points) of a scan, instead of its motors",
            "entry": 'read one entry only, such as "7.1" of a file of many scans', **_GUARD,
        },
    ),
    _hdf5(
        "tofwerk", (".h5",), "tofwerk:read", "TofDAQ mass spectra, images and depth profiles",
        "TOFWERK fibTOF, icpTOF and others", verified="facts only",
        options={"mass_axis": 'what single ions are summed into: "100 ppm", 0.01, or the centres', **_GUARD},
    ),
    _hdf5("edax_h5", (".h5",), "edax:read", "APEX live maps and pictures", "EDAX", verified="facts only"),
    _hdf5("delmic", (".h5",), "delmic:read", "Delmic / Odemis acquisitions", "Delmic SPARC cathodoluminescence"),
    _hdf5(
        "dectris", (".h5",), "dectris:master", "Dectris master file and its frames", "Dectris Arina, Eiger",
        options={"scan_shape": "(lines, points) of the scan", **_GUARD}, extra="formats",
    ),
)  # fmt: skip


def _size(path: str) -> int:
    try:
        return os.path.getsize(path)
    except OSError:
        return 0


def _mib(head: bytes, path: str) -> bool:
    return head.startswith(b"MQ") and head[3:4] == b","


def _spe(head: bytes, path: str) -> bool:
    from xpycro.io.translators.princeton import is_spe

    return path.lower().endswith(".spe") and is_spe(head, _size(path))


def _mrc(head: bytes, path: str) -> bool:
    from xpycro.io.translators._mrcheader import is_mrc

    return is_mrc(head, path)


def _dm(head: bytes, path: str) -> bool:
    if head[:4] == b"\0\0\0\3":
        return head[8:11] == b"\0\0\0" and len(head) > 11 and head[11] < 2
    return head[:4] == b"\0\0\0\4" and head[12:15] == b"\0\0\0" and len(head) > 15 and head[15] < 2


def _msa(head: bytes, path: str) -> bool:
    return head.startswith(b"#") and b"EMSA/MAS" in head[:120].upper()


def _ripple(head: bytes, path: str) -> bool:
    return path.lower().endswith(".rpl") and b"data-type" in head.lower()


def _empad(head: bytes, path: str) -> bool:
    return (
        b"<root" in head[:200] and path.lower().endswith(".xml") and (b"<raw_file" in head or b"empad" in head.lower())
    )


def _empad_raw(head: bytes, path: str) -> bool:
    name, size = os.path.basename(path).lower(), _size(path)
    return name.startswith("scan_x") and name.endswith(".raw") and size > 0 and size % (130 * 128 * 4) == 0


def _tiff(head: bytes, path: str) -> bool:
    if head[:4] not in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return False
    from xpycro.io.translators.marccd import is_marccd

    if is_marccd(head):
        return False
    if head[2:4] in (b"+\0", b"\0+"):  # BigTIFF
        return True
    from xpycro.io.translators._tiff import first_codes

    return not first_codes(path) & {50432, 32834}  # Park and JPK, whose pixels are a preview


def _starts(magic: bytes) -> Any:
    def sniff(head: bytes, path: str) -> bool:
        return head.startswith(magic)

    return sniff


def _never(head: bytes, path: str) -> bool:
    return False


_SCAN = {"scan_shape": "(lines, points) of the scan; without it the frames are a stack"}


def _block(name: str, suffixes: tuple[str, ...], sniff: Any, function: str, what: str, who: str, **more: Any) -> Format:
    settings: dict[str, Any] = {"lazy": "block", "verified": "real file", **more}
    return Format(name, suffixes, sniff, _T + function, what, who, **settings)


BLOCKS = (
    _block("digital_micrograph", (".dm3", ".dm4"), _dm, "dm:images", "DigitalMicrograph images and spectra", "Gatan"),
    _block(
        "merlin_mib", (".mib",), _mib, "merlin:frames", "Merlin (Medipix3) frames", "Quantum Detectors Merlin",
        options=_SCAN,
    ),
    _block(
        "empad", (".xml",), _empad, "empad:acquisition", "EMPAD acquisition (.xml with .raw)", "Thermo Fisher EMPAD",
        verified="facts only",
    ),
    _block(
        "empad_raw", (), _empad_raw, "empad:raw", "EMPAD frames without their .xml", "Thermo Fisher EMPAD",
        options=_SCAN, verified="facts only",
    ),
    _block(
        "mrc", (".mrc", ".map", ".ali", ".rec", ".st", ".mrcs"), _mrc, "mrc:volume", "MRC 2014 and before",
        "cryo electron microscopes, FEI STEM", options={"scan_shape": "(lines, points) of a scan of patterns"},
    ),
    _block(
        "blockfile", (".blo",), _starts(b"IMGBLO"), "blockfile:scan", "scanning electron diffraction blockfile",
        "NanoMEGAS ASTAR",
    ),
    _block("tia_emi", (".emi",), _starts(b"JK"), "tia:emi", "TIA acquisition (.emi with .ser)", "FEI, Thermo Fisher"),
    _block("tia_ser", (".ser",), _starts(b"II\x97\x01"), "tia:series", "TIA series", "FEI, Thermo Fisher"),
    _block(
        "princeton_spe", (".spe",), _spe, "princeton:frames", "WinView, WinSpec and LightField frames",
        "Princeton Instruments",
    ),
    _block("msa", (".msa", ".emsa", ".ems", ".mas"), _msa, "msa:spectrum", "EMSA/MAS spectrum", "EELS, EDS", lazy="no"),
    _block(
        "ripple", (".rpl",), _ripple, "ripple:cube", "Lispix Ripple (.rpl with .raw)", "EDS and EELS maps",
        verified="facts only",
    ),
    _block(
        "raw", (), _never, "ripple:raw", 'raw binary, only with format="raw"', "any", verified="facts only",
        options={"dtype": 'such as "<u2"', "shape": "slowest first, one may be -1", "dims": "a name for each axis",
                 "offset": "bytes before the first number"},
    ),
    _block(
        "frames_folder", (), _never, "frames:folder", 'a folder of single frames, only with format="frames_folder"',
        "any camera", lazy="partly", folder=True,
        options={"scan_shape": _SCAN["scan_shape"], "pattern": 'which files count, such as "*.dm3"'},
    ),
    _block(
        "tiff", (".tif", ".tiff"), _tiff, "tiff:images", "TIFF with the tags of FEI, Zeiss, SIS, JEOL, DM, ImageJ, OME",
        "electron and light microscopes", lazy="partly", options=_SCAN,
    ),
)  # fmt: skip


def _netcdf3(head: bytes, path: str) -> bool:
    return head.startswith((b"CDF\x01", b"CDF\x02")) and b"FloatField" not in head and b"sranger" not in head


def _bridge(
    name: str, suffixes: tuple[str, ...], sniff: Any, function: str, what: str, who: str, **more: Any
) -> Format:
    settings: dict[str, Any] = {"lazy": "no", "verified": "bridge", "extra": "em", **more}
    return Format(name, suffixes, sniff, f"{_T}bridge:{function}", what, who, **settings)


def _contains(*marks: bytes) -> Any:
    """Text files that name themselves near their beginning."""

    def sniff(head: bytes, path: str) -> bool:
        return any(mark in head[:600] for mark in marks)

    return sniff


def _jeol(head: bytes, path: str) -> bool:
    return (
        path.lower().endswith((".asw", ".pts", ".eds", ".img", ".map"))
        and not head[:4].isalpha()
        and not _mrc(head, path)
        and (b"FileType" in head[:64] or path.lower().endswith((".pts", ".eds")) or b"JEOL" in head[:1024])
    )


def _elid(head: bytes, path: str) -> bool:
    return head.startswith(b"BZh") and path.lower().endswith(".elid")


def _prz(head: bytes, path: str) -> bool:
    return head.startswith(b"PK") and b"data_model.npy" in head[:200]


def _protochips(head: bytes, path: str) -> bool:
    return path.lower().endswith(".csv") and head.startswith(b"Time") and b"Calibration file" in head


def _impulse(head: bytes, path: str) -> bool:
    return path.lower().endswith(".csv") and head.startswith(b"TimeStamp,Experiment time")


def _digiheater(head: bytes, path: str) -> bool:
    return b"Digiheater" in head[:200]


def _hamamatsu(head: bytes, path: str) -> bool:
    return head.startswith(b"IM") and path.lower().endswith(".img")


BRIDGED = (
    _bridge("velox_emd", (".emd",), h5.speaks("velox"), "velox", "Velox images and spectrum images", "Thermo Fisher",
            lazy="partly", guess=False),
    _bridge("bruker_bcf", (".bcf",), _starts(b"AAMVHFSS"), "bruker", "Esprit EDS maps", "Bruker", lazy="partly"),
    _bridge("bruker_spx", (".spx",), _contains(b"<TRTSpectrum"), "bruker", "Esprit EDS spectra", "Bruker"),
    _bridge("jeol", (".asw", ".pts", ".eds"), _jeol, "jeol", "Analysis Station projects, maps, spectra", "JEOL",
            lazy="partly"),
    _bridge("phenom_elid", (".elid",), _elid, "phenom", "Element Identification projects", "Phenom"),
    _bridge("pantarhei", (".prz",), _prz, "pantarhei", "Panta Rhei data", "CEOS"),
    _bridge("trivista", (".tvf",), _contains(b"TriVista-File"), "trivista", "TriVista spectra", "S&I"),
    _bridge("hamamatsu", (".img",), _hamamatsu, "hamamatsu", "streak camera images", "Hamamatsu"),
    _bridge("dens", (".dens",), _digiheater, "dens", "heater logs", "DENSsolutions"),
    _bridge("impulse", (), _impulse, "impulse", "Impulse logs", "DENSsolutions"),
    _bridge("protochips", (), _protochips, "protochips", "in situ logs", "Protochips"),
    _bridge("edax", (".spd", ".lsd"), _never, "edax", "TEAM and Genesis maps", "EDAX", lazy="partly"),
    _bridge("tvips", (".tvips",), _never, "tvips", "camera streams", "TVIPS", lazy="partly"),
    _bridge("semper", (".unf",), _never, "semper", "Semper pictures", "any", lazy="partly"),
    _bridge("quadstar", (".sac", ".sbc"), _never, "quadstar", "mass spectra", "Balzers"),
    _bridge("topspin", (".app5",), _never, "topspin", "Topspin data", "NanoMEGAS, CEOS", lazy="partly"),
    _bridge("mrcz", (".mrcz",), _never, "mrcz", "compressed MRC", "any", lazy="partly"),
)  # fmt: skip
GENERIC = Format(
    "hdf5", (), _any_hdf5, _T + "hdf5_generic:read", "any other HDF5: a view of its arrays", "any", lazy="block",
    options=_GUARD, verified="real file", guess=False,
)  # fmt: skip

NETCDF = Format(
    "netcdf", (".nc", ".cdf"), _netcdf3, _T + "netcdf3:read", "classic netCDF: a view of its arrays", "any",
    lazy="block", verified="facts only", guess=False,
)  # fmt: skip

for _format in (*BLOCKS, *DIALECTS, *BRIDGED, NETCDF, GENERIC):
    register(_format)
