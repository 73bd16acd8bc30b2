"""The formats that this package reads: their rows of the table and how each is recognised, no parser.

Importing this registers the formats; the translators themselves are imported when a file of theirs is opened.
"""

from __future__ import annotations

import importlib

from xpycro.io.formats import Format, register

HDF5 = b"\x89HDF\r\n\x1a\n"


def _hdf5(head: bytes, path: str) -> bool:
    from xpycro.io.translators._h5tools import dialect

    return head.startswith(HDF5) and dialect(path) == "xpycro"


def _nanonis_grid(head: bytes, path: str) -> bool:
    return head.startswith(b"Grid dim=") or (b"\nGrid dim=" in head and b"\nChannels=" in head)


def _nanonis_scan(head: bytes, path: str) -> bool:
    return head.startswith(b":NANONIS_VERSION:")


def _nanonis_spectrum(head: bytes, path: str) -> bool:
    known = (b"Experiment\t", b"Saved Date\t", b"Date\t", b"User\t")
    return head.startswith(known) or (b"\n[DATA]" in head and b"\t" in head)


def _igor_wave(head: bytes, path: str) -> bool:
    if len(head) < 126:
        return False
    version = head[:2] if head[1] == 0 else head[1::-1]
    return version in (b"\x01\x00", b"\x02\x00", b"\x03\x00", b"\x05\x00") and _igor_checksum(head)


def _igor_experiment(head: bytes, path: str) -> bool:
    """A chain of records: a small type, a small version, the size of what follows."""
    import struct

    if len(head) < 8 or not path.lower().endswith((".pxp", ".pxt")):
        return False
    kind, version, size = struct.unpack(("<" if head[1] & 0x7F == 0 else ">") + "HhI", head[:8])
    return 0 < kind & 0x7FFF < 64 and 0 <= version < 64 and 0 < size < 1 << 31


def _igor_checksum(head: bytes) -> bool:
    """The header of an Igor wave sums to zero as 16-bit words, which no other file does by chance."""
    import struct

    order = "<" if head[1] == 0 else ">"
    (version,) = struct.unpack(order + "h", head[:2])
    length = {1: 134, 2: 142, 3: 146, 5: 384}[version]
    words = head[:length] if len(head) >= length else b""
    return bool(words) and sum(struct.unpack(f"{order}{length // 2}h", words)) % 65536 == 0


def _gsf(head: bytes, path: str) -> bool:
    return head.startswith(b"Gwyddion Simple Field")


def _gwy(head: bytes, path: str) -> bool:
    return head.startswith((b"GWYP", b"GWYO"))


def _nanosurf(head: bytes, path: str) -> bool:
    return head.startswith(b"[DataSet]") and b"GroupCount=" in head


def _wsxm(head: bytes) -> str:
    """Which file of WSxM it is; empty where it is none. Movies may call themselves images."""
    if not head.startswith(b"WSxM file copyright"):
        return ""
    for mark, kind in ((b"Number of points per ramp:", "volume"), (b"Number of Frames:", "movie")):
        if mark in head:
            return kind
    return "image" if b"\nSxM Image file" in head[:200] else "curve" if b"Number of points:" in head else ""


def _wsxm_image(head: bytes, path: str) -> bool:
    return _wsxm(head) == "image"


def _wsxm_curve(head: bytes, path: str) -> bool:
    return _wsxm(head) == "curve"


def _wsxm_volume(head: bytes, path: str) -> bool:
    return _wsxm(head) == "volume"


def _wsxm_movie(head: bytes, path: str) -> bool:
    return _wsxm(head) == "movie"


_TIFF = (b"II*\0", b"MM\0*")


def _first_tags(path: str) -> set[int]:
    from xpycro.io.translators import _tiff

    return _tiff.first_codes(path)


def _park(head: bytes, path: str) -> bool:
    return head.startswith(_TIFF) and 50432 in _first_tags(path)


def _nanoscope(head: bytes, path: str) -> bool:
    return head[:2] in (b"\\*", b"?*") and any(
        head[2:].startswith(word) for word in (b"File list", b"Force file list", b"STM file list", b"NC AFM")
    )


def _jpk_image(head: bytes, path: str) -> bool:
    return head.startswith(_TIFF) and {32768, 32834, 32838} <= _first_tags(path)


def _jpk_hdf5(head: bytes, path: str) -> bool:
    from xpycro.io.translators._h5tools import dialect

    return head.startswith(HDF5) and dialect(path) == "jpk"


def _jpk_force(head: bytes, path: str) -> bool:
    named = path.lower().endswith((".jpk-force", ".jpk-force-map", ".jpk-qi-data", ".jpk-qi-series"))
    return head.startswith(b"PK\3\4") and (named or head[30:47] == b"header.properties")


def _createc(head: bytes, path: str) -> bool:
    return head.startswith(b"[Paramco32]") or (head.startswith(b"[Paramet") and b"Delta X" in head)


def _createc_vert(head: bytes, path: str) -> bool:
    return head.startswith((b"[ParVERT30]", b"[ParVERT32]"))


def _rhk(head: bytes, path: str) -> bool:
    return head[2:26] == "STiMage 005.".encode("utf-16-le")


def _specs_mul(head: bytes, path: str) -> bool:
    return path.lower().endswith((".mul", ".flm")) and (head[2:6] == b"\3\0\0\0" or 0 < head[0] < 255)


def _gxsm(head: bytes, path: str) -> bool:
    from xpycro.io.translators._h5tools import dialect

    if head.startswith(HDF5):
        return dialect(path) == "gxsm"
    return head[:4] in (b"CDF\1", b"CDF\2", b"CDF\5") and b"dimx" in head and b"dimy" in head


def _mdt(head: bytes, path: str) -> bool:
    return head.startswith(b"\x01\xb0\x93\xff")


def _ntmdt_text(head: bytes, path: str) -> bool:
    if not path.lower().endswith(".txt") or not head[:1].strip(b"-+ 0123456789") == b"":
        return False
    from xpycro.io.translators.ntmdt_text import is_curve

    return is_curve(head)


def _anasys(head: bytes, path: str) -> bool:
    packed = head.startswith(b"\x1f\x8b") and path.lower().endswith(".axz")
    return packed or b"anasysinstruments" in head.replace(b"\0", b"")[:1000].lower()


def _topostats(head: bytes, path: str) -> bool:
    from xpycro.io.translators._h5tools import dialect

    return head.startswith(HDF5) and dialect(path) == "topostats"


def _fast_movement(head: bytes, path: str) -> bool:
    from xpycro.io.translators.afm_hdf5 import is_fast_movement

    return head.startswith(HDF5) and b"data" in head and is_fast_movement(path)


def _pifm(head: bytes, path: str) -> bool:
    return b"ANFATEC Parameterfile" in head[:2000]


def _matrix(head: bytes, path: str) -> bool:
    return head.startswith(b"ONTMATRX0101")


def _band_excitation(head: bytes, path: str) -> bool:
    import os

    if os.path.isdir(path):
        names = [name.lower() for name in os.listdir(path)[:100_000]]
        parameters = any(name.endswith(".txt") and "parm" in name for name in names)
        return parameters and any(name.endswith(".dat") and "real" in name for name in names)
    return b"<BE parameters>" in head or b"<grid parameters>" in head


def _spip(head: bytes, path: str) -> bool:
    return head.lstrip().startswith(b"#") and b"x-pixels" in head and b"y-pixels" in head


for _format in (
    Format(
        "xpycro", (".h5",), _hdf5, "xpycro.io.store:read",
        "what xp.translate and .pycro.save write", "any", lazy="block", verified="real file", guess=False,
    ),
    Format(
        "nanonis_3ds", (".3ds",), _nanonis_grid, "xpycro.io.translators.nanonis:grid",
        "Nanonis grid spectroscopy", "Nanonis / SPECS STM and AFM", lazy="block", verified="real file",
        options={"incomplete": "True: read a file that ends within a pixel, without that pixel"},
    ),
    Format(
        "nanonis_sxm", (".sxm",), _nanonis_scan, "xpycro.io.translators.nanonis_sxm:scan",
        "Nanonis scan images", "Nanonis / SPECS STM and AFM", lazy="block", verified="real file",
        options={"incomplete": "True: read a file that is too short; what is missing is NaN and flagged"},
    ),
    Format(
        "nanonis_dat", (".dat",), _nanonis_spectrum, "xpycro.io.translators.nanonis_dat:spectrum",
        "Nanonis point spectra and sweeps", "Nanonis / SPECS STM and AFM", verified="real file",
    ),
    Format(
        "igor_ibw", (".ibw",), _igor_wave, "xpycro.io.translators.igor:wave",
        "Igor Pro binary wave", "Asylum Research AFM; anything exported to Igor Pro", lazy="block",
        verified="real file",
    ),
    Format(
        "igor_pxp", (".pxp", ".pxt"), _igor_experiment, "xpycro.io.translators.igor:experiment",
        "waves of an Igor Pro packed experiment", "anything collected in Igor Pro", lazy="block",
        verified="real file",
    ),
    Format(
        "gwyddion_gsf", (".gsf",), _gsf, "xpycro.io.translators.gwyddion:simple_field",
        "Gwyddion Simple Field", "Gwyddion exports", lazy="block", verified="real file",
    ),
    Format(
        "nanosurf_nid", (".nid",), _nanosurf, "xpycro.io.translators.nanosurf:scan",
        "Nanosurf images and curves", "Nanosurf AFM and STM", lazy="block", verified="real file",
    ),
    Format(
        "wsxm", (".top", ".stp", ".ch1", ".ch2", ".ch12", ".ch15", ".ch16"), _wsxm_image,
        "xpycro.io.translators.wsxm:image", "WSxM images", "Nanotec Cervantes and others through WSxM",
        lazy="block", verified="real file",
    ),
    Format(
        "wsxm_curve", (".cur",), _wsxm_curve, "xpycro.io.translators.wsxm:curve",
        "WSxM curves as text", "Nanotec Cervantes and others through WSxM", lazy="no", verified="facts only",
    ),
    Format(
        "wsxm_volume", (".gsi",), _wsxm_volume, "xpycro.io.translators.wsxm_stack:volume",
        "WSxM spectroscopy over a grid", "Nanotec Cervantes and others through WSxM", lazy="block",
        verified="facts only",
    ),
    Format(
        "wsxm_movie", (".mpp", ".mov"), _wsxm_movie, "xpycro.io.translators.wsxm_stack:movie",
        "WSxM movies", "Nanotec Cervantes and others through WSxM", lazy="block", verified="facts only",
    ),
    Format(
        "band_excitation", (".txt",), _band_excitation, "xpycro.io.translators.band_excitation:odf",
        "band-excitation folder (BE line, BEPS) of the old data format", "CNMS band excitation", lazy="block",
        verified="facts only", folder=True,
        options={
            "phase_check": "how many spectra are looked at for the sign of the phase (64; 0 reads no data)",
            "incomplete": "True: read an aborted scan; what is missing is NaN and flagged",
        },
    ),
    Format(
        "park_tiff", (".tiff", ".tif"), _park, "xpycro.io.translators.park:image",
        "Park Systems images", "Park Systems and PSIA AFM", lazy="block", verified="real file",
    ),
    Format(
        "nanoscope", (".spm", ".000", ".001", ".002", ".003"), _nanoscope,
        "xpycro.io.translators.nanoscope:read", "Nanoscope images, force curves and volumes",
        "Bruker, Veeco and Digital Instruments AFM", lazy="block", verified="real file",
    ),
    Format(
        "jpk_image", (".jpk", ".jpk-qi-image"), _jpk_image, "xpycro.io.translators.jpk_image:image",
        "JPK images", "JPK / Bruker NanoWizard AFM", lazy="block", verified="real file",
    ),
    Format(
        "jpk_force", (".jpk-force", ".jpk-force-map", ".jpk-qi-data"), _jpk_force, "xpycro.io.translators.jpk:force",
        "JPK force curves, maps and quantitative imaging", "JPK / Bruker NanoWizard and CellHesion",
        lazy="partly", verified="real file",
    ),
    Format(
        "jpk_hdf5", (".h5-jpk",), _jpk_hdf5, "xpycro.io.translators.jpk_hdf5:images",
        "JPK images and movies in HDF5", "JPK / Bruker NanoWizard AFM", lazy="block", verified="facts only",
    ),
    Format(
        "gwyddion_gwy", (".gwy",), _gwy, "xpycro.io.translators.gwyddion_native:container",
        "Gwyddion: channels, volumes, spectra, points, graphs", "Gwyddion", lazy="partly", verified="real file",
    ),
    Format(
        "createc_dat", (".dat",), _createc, "xpycro.io.translators.createc:image",
        "Createc images", "Createc STM", lazy="no", verified="real file",
    ),
    Format(
        "createc_vert", (".vert",), _createc_vert, "xpycro.io.translators.createc_vert:spectrum",
        "Createc point spectra", "Createc STM", lazy="no", verified="facts only",
    ),
    Format(
        "rhk_sm4", (".sm4",), _rhk, "xpycro.io.translators.rhk:pages",
        "RHK images and spectra", "RHK Technology STM and AFM", lazy="block", verified="real file",
    ),
    Format(
        "specs_mul", (".mul", ".flm"), _specs_mul, "xpycro.io.translators.specs:images",
        "SPECS Aarhus STM images", "SPECS Aarhus STM", lazy="block", verified="real file",
    ),
    Format(
        "gxsm_nc", (".nc",), _gxsm, "xpycro.io.translators.gxsm:scan",
        "GXSM scans in netCDF", "GXSM controlled STM and AFM", lazy="block", verified="real file",
        guess=False,
    ),
    Format(
        "ntmdt_mdt", (".mdt",), _mdt, "xpycro.io.translators.ntmdt:frames",
        "NT-MDT images, arrays and point spectroscopy", "NT-MDT AFM and Raman", lazy="block", verified="real file",
    ),
    Format(
        "ntmdt_text", (".txt",), _ntmdt_text, "xpycro.io.translators.ntmdt_text:curve",
        "NT-MDT force curves exported as text", "NT-MDT AFM", lazy="no", verified="real file",
    ),
    Format(
        "anasys", (".axz", ".axd"), _anasys, "xpycro.io.translators.anasys:document",
        "Anasys maps and infrared spectra", "Anasys / Bruker nanoIR", lazy="no", verified="real file",
    ),
    Format(
        "topostats", (".topostats",), _topostats, "xpycro.io.translators.afm_hdf5:topostats",
        "TopoStats images", "any AFM, through TopoStats", lazy="block", verified="real file", guess=False,
    ),
    Format(
        "fast_movement", (".h5",), _fast_movement, "xpycro.io.translators.afm_hdf5:fast_movement",
        "Movements of the FAST module", "FAST SPM", lazy="block", verified="real file", guess=False,
    ),
    Format(
        "pifm", (".txt",), _pifm, "xpycro.io.translators.pifm:scan",
        "Anfatec / Molecular Vista images and hyperspectral cubes", "Molecular Vista PiFM, Anfatec AFM",
        lazy="block", verified="facts only",
    ),
    Format(
        "omicron_matrix", (".z_mtrx", ".i_mtrx", ".mtrx"), _matrix, "xpycro.io.translators.omicron:matrix",
        "Omicron MATRIX scans and spectra", "Scienta Omicron STM and AFM", lazy="block", verified="real file",
    ),
    Format(
        "spip_asc", (".asc",), _spip, "xpycro.io.translators.spip:ascii_export",
        "SPIP ASCII images and spectra over a grid", "Omicron and others through SPIP", lazy="no",
        verified="facts only",
    ),
):  # fmt: skip
    register(_format)

importlib.import_module("xpycro.io.translators._spectroscopy_rows")
importlib.import_module("xpycro.io.translators._em_rows")  # last: it ends with what claims any HDF5 left over
