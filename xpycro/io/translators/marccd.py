"""Frames of MarCCD and MarMosaic detectors: a TIFF whose pixels follow a header of 4096 bytes.

May import numpy, xarray, schema and io below.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from xpycro.errors import NotThisFormat, UnsupportedVariant
from xpycro.io.cursor import Cursor
from xpycro.io.rawarray import RawArray
from xpycro.io.translators import _common as common
from xpycro.io.translators._detector import detector_coordinates

__all__ = ["frame", "is_marccd"]

_AT = 1024  # where the header lies within the TIFF
_PIXELS = 4096
_SIDE = 1 << 16
# what is used of the header: name, byte within it, unit (the last in m, s or pixels)
_FIELDS = {
    "nfast": (80, 1.0), "nslow": (84, 1.0), "depth": (88, 1.0), "xtal_to_detector": (640, 1e-6), "beam_x": (644, 1e-3),
    "beam_y": (648, 1e-3), "integration_time": (652, 1e-3), "exposure_time": (656, 1e-3),
    "start_xtal_to_detector": (696, 1e-6), "pixelsize_x": (772, 1e-9), "pixelsize_y": (776, 1e-9),
    "source_wavelength": (908, 1e-15),
}  # fmt: skip


def is_marccd(head: bytes) -> bool:
    """Whether a TIFF has the header of a MarCCD."""
    return head[:4] in (b"II*\0", b"MM\0*") and head[_AT + 4 : _AT + 7] == b"MMX"


def frame(path: str) -> dict[str, xr.Dataset]:
    """Read a frame of a MarCCD detector.

    Parameters
    ----------
    path : str

    Returns
    -------
    dict of str to Dataset
        ``intensity(ky, kx)``, the first row at the top. ``ky, kx`` count from the beam, in 1/m (small angles) with
        ``two_theta(ky, kx)`` and ``q(ky, kx)``, where the header has distance, beam, pixel and wavelength, else in
        pixels.

    Raises
    ------
    NotThisFormat, CorruptFile
    UnsupportedVariant
        Of pixels that are not of 16 or 32 bits.

    Notes
    -----
    *Laziness*: only the header is read.

    References
    ----------
    M. Blum, "MarCCD header documentation" (Rayonix): the fields and their units.
    """
    with Cursor(path) as cursor:
        head = cursor.peek(_PIXELS)
        if not is_marccd(head):
            raise NotThisFormat("is no TIFF with the header of a MarCCD (MMX)", path=path, offset=0)
        if len(head) < _PIXELS:
            raise cursor.corrupt("the header is truncated", "header", len(head))
        order = {1234: "<", 4321: ">"}.get(int.from_bytes(head[_AT + 28 : _AT + 32], "little"))
        if order is None:
            order = {1234: ">", 4321: ">"}.get(int.from_bytes(head[_AT + 28 : _AT + 32], "big"))
        if order is None:
            raise cursor.corrupt("names no byte order", "header_byte_order", _AT + 28)
        raw = {name: int(np.frombuffer(head, f"{order}i4", 1, _AT + at)[0]) for name, (at, _) in _FIELDS.items()}
        said = {name: raw[name] * unit for name, (_, unit) in _FIELDS.items()}
        nx, ny, depth = raw["nfast"], raw["nslow"], raw["depth"]
        if depth not in (2, 4):
            raise UnsupportedVariant(f"pixels of {depth} bytes", path=path, offset=_AT + 88, field="depth")
        if not (1 <= nx <= _SIDE and 1 <= ny <= _SIDE):
            raise cursor.corrupt(f"declares {ny} x {nx} pixels", "nfast, nslow", _AT + 80)
        cursor.skip(_PIXELS, "header")
        nbytes = cursor.block((ny, nx), depth, "nfast, nslow")
        if cursor.remaining != nbytes:
            raise cursor.corrupt(
                f"{cursor.remaining} bytes follow the header and {ny} x {nx} pixels have {nbytes}", "size"
            )
        little = head[:2] == b"II"
    data = RawArray.contiguous(path, _PIXELS, f"{'<' if little else '>'}u{depth}", (ny, nx), flip=(0,))
    far = said["xtal_to_detector"] or said["start_xtal_to_detector"] or None
    beam = (said["beam_y"], said["beam_x"]) if raw["beam_x"] or raw["beam_y"] else (None, None)
    wave = said["source_wavelength"] or None
    coords = detector_coordinates((ny, nx), beam, (said["pixelsize_y"], said["pixelsize_x"]), far, wave)
    ds = common.dataset(
        {"intensity": common.lazy_variable(("ky", "kx"), data, "Intensity", "counts")}, coords, raw,
        modality="X-ray diffraction", data_type="diffraction pattern", instrument="MarCCD", wavelength=wave,
        count_time=said["exposure_time"] or said["integration_time"] or None,
    )  # fmt: skip
    return {"": ds}
