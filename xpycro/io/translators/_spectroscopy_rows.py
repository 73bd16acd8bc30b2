"""The rows of the format table for X-ray frames and for optical, electron and mass spectroscopies. No parser."""

from __future__ import annotations

import os

from xpycro.io.formats import Format, register

_T = "xpycro.io.translators."


def _renishaw(head: bytes, path: str) -> bool:
    return head.startswith(b"WDF1")


def _digitalsurf(head: bytes, path: str) -> bool:
    return head.startswith((b"DIGITAL SURF", b"DSCOMPRESSED"))


def _labspec(head: bytes, path: str) -> bool:
    return b"<LSX_Data" in head


def _galactic(head: bytes, path: str) -> bool:
    from xpycro.io.translators.galactic import is_spc

    return path.lower().endswith(".spc") and is_spc(head, os.path.getsize(path) if os.path.exists(path) else 0)


def _andor(head: bytes, path: str) -> bool:
    return head.startswith(b"Andor Technology Multi-Channel File")


def _witec(head: bytes, path: str) -> bool:
    return head.startswith(b"//Exported ASCII-File")


def _vamas(head: bytes, path: str) -> bool:
    return head.startswith(b"VAMAS Surface Chemical Analysis")


def _phi(head: bytes, path: str) -> bool:
    return head.startswith(b"SOFH")


def _imzml(head: bytes, path: str) -> bool:
    return b"<mzML" in head and path.lower().endswith(".imzml")


def _bif6(head: bytes, path: str) -> bool:
    return head.startswith(b"\0\0BIF6")


def _surfacelab(head: bytes, path: str) -> bool:
    if path.lower().endswith(".grd"):  # without a mark of its own, but with its settings beside it
        return os.path.exists(f"{path[:-4]}.properties.txt")
    return head.startswith(b"ITStrF01")


def _tdms(head: bytes, path: str) -> bool:
    return head.startswith(b"TDSm")


def _edf(head: bytes, path: str) -> bool:
    from xpycro.io.translators.esrf import is_edf

    return is_edf(head)


def _spec(head: bytes, path: str) -> bool:
    from xpycro.io.translators.spec import is_spec

    return is_spec(head)


def _marccd(head: bytes, path: str) -> bool:
    from xpycro.io.translators.marccd import is_marccd

    return is_marccd(head)


def _fabio(head: bytes, path: str) -> bool:
    from xpycro.io.translators.fabio_frames import codec_of

    return codec_of(head) is not None


_SCAN = {"scan_shape": "(lines, points) of the scan; without it the frames are a stack"}


def _cbf(head: bytes, path: str) -> bool:
    return head.startswith(b"###CBF")


for _format in (
    Format(
        "spec", (".spec",), _spec, _T + "spec:scans", "SPEC scans", "synchrotron beam lines", verified="facts only",
    ),
    Format(
        "edf", (".edf",), _edf, _T + "esrf:frames", "ESRF data format: detector frames", "synchrotrons", lazy="block",
        verified="facts only", options=_SCAN,
    ),
    Format(
        "marccd", (".mccd", ".marccd"), _marccd, _T + "marccd:frame", "MarCCD and MarMosaic frames",
        "Rayonix detectors", lazy="block", verified="facts only",
    ),
    Format(
        "fabio", (".img", ".osc", ".sfrm", ".gfrm", ".mar3450", ".mar2300", ".esper", ".ge2", ".ge3"), _fabio,
        _T + "fabio_frames:frames", "frames through fabio: ADSC, mar345, Bruker, Oxford, Raxis, GE, Esperanto",
        "X-ray area detectors", lazy="partly", verified="facts only", extra="formats", options=_SCAN,
    ),
    Format(
        "cbf", (".cbf",), _cbf, _T + "cbf:frame", "crystallographic binary frames", "Dectris Pilatus and Eiger",
        lazy="partly", verified="facts only",
    ),
    Format(
        "renishaw_wdf", (".wdf",), _renishaw, _T + "renishaw:spectra", "WiRE Raman spectra, series and maps",
        "Renishaw inVia and Virsa", lazy="block", verified="real file",
    ),
    Format(
        "digitalsurf", (".sur", ".pro"), _digitalsurf, _T + "digitalsurf:objects",
        "MountainsMap surfaces, profiles and hyperspectral maps", "Attolight, profilometers", lazy="partly",
        verified="real file",
    ),
    Format(
        "jobinyvon", (".xml",), _labspec, _T + "jobinyvon:spectra", "LabSpec Raman spectra and maps", "Horiba",
        verified="real file",
    ),
    Format(
        "galactic_spc", (".spc",), _galactic, _T + "galactic:spectra", "GRAMS spectra and maps",
        "infrared and Raman spectrometers", lazy="partly", verified="real file",
    ),
    Format(
        "andor_sif", (".sif",), _andor, _T + "andor:frames", "Solis spectra and images", "Andor cameras", lazy="block",
        extra="formats", verified="real file",
    ),
    Format(
        "witec_txt", (".txt",), _witec, _T + "witec:spectra", "WITec spectra exported as text", "WITec alpha300",
        verified="real file",
    ),
    Format(
        "vamas", (".vms", ".vamas"), _vamas, _T + "vamas:blocks", "VAMAS (ISO 14976) spectra",
        "XPS, AES, SIMS of any maker", verified="real file",
    ),
    Format(
        "phi_spe", (".spe",), _phi, _T + "phi:regions", "MultiPak photoelectron spectra", "PHI VersaProbe, Quantera",
        lazy="block", verified="real file",
    ),
    Format(
        "imzml", (".imzml",), _imzml, _T + "imzml:image", "imzML images, continuous and processed",
        "any mass spectrometry imaging", lazy="block", verified="real file",
        options={
            "mass_axis": 'width of the channels of peak lists: "20 ppm", 0.01, or their centres',
            "checksum": "True: compare the .ibd with the checksum that the XML states",
        },
    ),
    Format(
        "bif6", (".bif6",), _bif6, _T + "iontof:images", "images of mass intervals exported by SurfaceLab",
        "ION-TOF TOF.SIMS", lazy="block", verified="facts only",
    ),
    Format(
        "surfacelab", (".ita", ".itm", ".its", ".itax", ".itmx", ".grd"), _surfacelab, _T + "iontof:refuse",
        "SurfaceLab's own files", "ION-TOF TOF.SIMS", verified="refused",
    ),
    Format(
        "tdms", (".tdms",), _tdms, _T + "tdms:channels", "LabVIEW measurement files", "anything built with LabVIEW",
        extra="formats", verified="real file",
    ),
):  # fmt: skip
    register(_format)
