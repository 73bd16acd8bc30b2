"""Attributes as HDF5 and netCDF can hold them: readable ones flat, all others as JSON.

May import numpy and the values beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from xpycro.io.encoding.values import Unstorable, from_json, pack, to_json

__all__ = ["ATTRS", "INTERPRETED", "MARK", "decode_attrs", "encode_attrs", "is_utf8"]

MARK = "xpycro_encoding"  # how a variable or group was encoded, where plain netCDF cannot say it
ATTRS = "xpycro_attrs"  # attributes that HDF5 or netCDF would change, as JSON
_FLAT_BYTES = 32_000  # an HDF5 attribute holds 64 kB
_MAX_FLAT = 200  # HDF5 takes seconds for thousands of attributes

# What plain readers interpret: as somebody's metadata it would change values or dtypes.
INTERPRETED = frozenset(
    "_FillValue missing_value scale_factor add_offset coordinates calendar dtype _Unsigned _Encoding grid_mapping "
    "bounds ancillary_variables cell_measures formula_terms cell_methods node_coordinates geometry interior_ring "
    "node_count part_node_count valid_min valid_max valid_range CLASS NAME DIMENSION_LIST REFERENCE_LIST "
    "DIMENSION_LABELS _Netcdf4Dimid _Netcdf4Coordinates _nc3_strict _NCProperties unlimited_dims".split()
)


def _flat(name: Any, value: Any) -> Any:
    """What HDF5 holds for this attribute without loss, or None where JSON must."""
    if type(name) is not str or not name or "\0" in name or name in INTERPRETED or name.startswith("xpycro_"):
        return None
    if not is_utf8(name) or (name == "units" and " since " in str(value)):
        return None
    if type(value) is str:
        return value if "\0" not in value and is_utf8(value) else None
    if type(value) is int:
        return np.int64(value) if -(2**63) <= value < 2**63 else (np.uint64(value) if 0 <= value < 2**64 else None)
    if type(value) in (float, complex):
        return np.dtype(type(value)).type(value)
    if isinstance(value, np.generic) and value.dtype.kind in "iufc" and value.dtype.char not in "gGe":
        return value
    if type(value) is np.ndarray and value.dtype.kind in "iufc" and value.dtype.char not in "gGe":
        if value.ndim and 0 < value.nbytes <= _FLAT_BYTES and value.dtype.isnative:
            return value
    return None


def is_utf8(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def encode_attrs(attrs: Mapping[Any, Any], where: str = "attrs") -> tuple[dict[str, Any], list[str]]:
    """Attributes as HDF5 can hold them: readable ones flat, all others in one JSON attribute.

    Parameters
    ----------
    attrs : mapping
    where : str
        What they belong to, for the problems.

    Returns
    -------
    dict, list of str
        The attributes to write, and one sentence for each that has no lossless form.

    Examples
    --------
    >>> encode_attrs({"units": "V", "ok": True})
    ({'units': 'V', 'xpycro_attrs': '{"ok": true}'}, [])
    """
    flat: dict[str, Any] = {}
    nested: dict[Any, Any] = {}
    problems = []
    for name, value in attrs.items():
        simple = _flat(name, value)
        if simple is not None and len(flat) < _MAX_FLAT:
            flat[name] = simple
            continue
        try:
            pack(name), pack(value)
            nested[name] = value
        except Unstorable as error:
            problems.append(f"{where}: attribute {name!r} {error}")
    if nested:
        flat[ATTRS] = to_json(nested)
    return flat, problems


def decode_attrs(stored: Mapping[str, Any]) -> dict[Any, Any]:
    """The inverse of `encode_attrs`; the store's own marks are left out."""
    result: dict[Any, Any] = {}
    for name, value in stored.items():
        if name.startswith("xpycro_") or name in INTERPRETED:
            continue
        # 64-bit scalars are what Python's own numbers are stored as
        result[name] = value.item() if isinstance(value, np.generic) and value.dtype.str[1:] in _PYTHON else value
    if ATTRS in stored:
        result.update(from_json(stored[ATTRS]))
    return result


_PYTHON = frozenset(("i8", "u8", "f8", "c16"))
