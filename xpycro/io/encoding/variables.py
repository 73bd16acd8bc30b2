"""One variable encoded: its name, and the datasets that its dtype needs.

May import numpy, xarray, pandas (inside functions) and the values, attributes and stored beside it.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr

from xpycro.io.encoding.attributes import MARK, encode_attrs, is_utf8
from xpycro.io.encoding.stored import Stored
from xpycro.io.encoding.values import Unstorable, dumps, pack

__all__ = ["Names", "encode_variable"]

_TIME_UNITS = {
    "D": "days",
    "h": "hours",
    "m": "minutes",
    "s": "seconds",
    "ms": "milliseconds",
    "us": "microseconds",
    "ns": "nanoseconds",
}


@dataclass
class Names:
    """Names as HDF5 and netCDF allow them, each different."""

    taken: set[str] = field(default_factory=set)
    given: dict[Hashable, str] = field(default_factory=dict)

    def of(self, name: Hashable) -> str:
        if name not in self.given:
            text = name if isinstance(name, str) else f"xpycro_{type(name).__name__}_{name}"
            text = text.replace("/", "∕").replace("_nc4_non_coord_", "_nc4_")
            if text in ("", ".", "..") or "\0" in text or not is_utf8(text) or text.startswith(("_nc4_", "xpycro_")):
                text = f"renamed_{''.join(c if c.isalnum() else '_' for c in text)}".encode("utf-8", "replace").decode()
            if text != text.strip() or text.startswith("_PFNC_"):
                text = f"renamed_{text.strip()}"
            candidate, number = text, 2
            while candidate in self.taken:
                candidate, number = f"{text}_{number}", number + 1
            self.taken.add(candidate)
            self.given[name] = candidate
        return self.given[name]


def encode_variable(name: Hashable, variable: xr.Variable, names: Names, problems: list[str]) -> list[Stored]:
    attrs, wrong = encode_attrs(variable.attrs, f"variable {name!r}")
    problems += wrong
    stored = names.of(name)
    mark: dict[str, Any] = {} if stored == name else {"name": pack(name)}
    if not all(isinstance(dim, str) for dim in variable.dims):
        raise Unstorable(f"has the dims {variable.dims}: name dims by text")
    dims = tuple(names.of(dim) for dim in variable.dims)
    if len(set(dims)) != len(dims):
        raise Unstorable(f"has the dims {variable.dims}, one of them twice: rename one")
    pieces = _by_dtype(variable, mark)
    result = []
    for suffix, dtype, extra, values, kind, more in pieces:
        own = {**attrs, **more.pop("attrs", {})}
        marked = {**mark, **more}
        if marked:
            own[MARK] = dumps(marked)
        if not suffix:
            label = stored
        else:
            label = names.of(f"{stored}.{suffix}")
        extra_dims = (f"string{extra}",) if extra else ()
        shape = tuple(values.shape) + ((extra,) if extra else ())
        result.append(Stored(label, dims + extra_dims, shape, dtype, own, values, kind))
    return result


_Piece = tuple[str, np.dtype, int, xr.Variable, str, dict[str, Any]]


def _by_dtype(variable: xr.Variable, mark: dict[str, Any]) -> list[_Piece]:
    """How the values are stored: (suffix, dtype, extra dim, values, kind, marks) of each dataset they need."""
    dtype = variable.dtype
    if not isinstance(dtype, np.dtype):
        return [_extension(variable)]
    if type(variable._data).__module__.partition(".")[0] in ("pint", "sparse", "cupy"):
        raise Unstorable(f"is a {type(variable._data).__name__}: convert it to a NumPy or dask array first")
    if dtype.char == "G":
        raise Unstorable("is complex256, which has no portable form: use complex128")
    if dtype.kind in "iufc":
        return [("", dtype.newbyteorder("="), 0, variable, "plain", {})]
    if dtype.kind == "b":
        return [("", np.dtype("i1"), 0, variable, "plain", {"kind": "bool", "attrs": {"dtype": "bool"}})]
    if dtype.kind in "mM":
        return [_times(variable, dtype)]
    if dtype.kind == "S":
        return [("", np.dtype("S1"), max(dtype.itemsize, 1), variable, "bytes", {"kind": "bytes"})]
    if dtype.kind in "UOT":
        text = _text(variable)
        return [
            (
                "",
                np.dtype(object),
                0,
                text,
                "plain",
                {"kind": "text", "dtype": dtype.str if dtype.kind == "U" else dtype.kind},
            )
        ]
    if dtype.kind == "V" and dtype.names:
        return _record(variable, dtype)
    raise Unstorable(f"has the dtype {dtype}, which HDF5 cannot hold: convert it to numbers or text")


def _times(variable: xr.Variable, dtype: np.dtype) -> _Piece:
    unit = np.datetime_data(dtype)[0]
    name = f"{'datetime' if dtype.kind == 'M' else 'timedelta'}64[{unit}]"
    if unit not in _TIME_UNITS:
        raise Unstorable(f"is {name}: use nanoseconds to days")
    words = _TIME_UNITS[unit]
    if dtype.kind == "m":
        attrs: dict[str, Any] = {"units": words, "dtype": name}
    else:
        missing = np.int64(np.iinfo(np.int64).min)  # NaT, as xarray itself writes it
        # beyond the years of nanoseconds plain xarray would fail to open the file: leave it the bare numbers there
        link = "since" if unit == "ns" or _within_nanoseconds(variable) else "counted from"
        attrs = {"units": f"{words} {link} 1970-01-01", "calendar": "proleptic_gregorian", "_FillValue": missing}
    if "units" in variable.attrs:
        raise Unstorable(f"is {name} and has units {variable.attrs['units']!r}, which a time does not have: drop them")
    return "", np.dtype("i8"), 0, variable, "time", {"kind": name, "attrs": attrs}


def _within_nanoseconds(variable: xr.Variable) -> bool:
    if not variable._in_memory:
        return False
    values = np.asarray(variable.values)
    years = values[~np.isnat(values)].astype("M8[Y]").astype(int) + 1970
    return bool(((years > 1678) & (years < 2262)).all())


def _text(variable: xr.Variable) -> xr.Variable:
    values = np.asarray(variable.values)
    flat = values.ravel().tolist()
    odd = sorted({type(v).__name__ for v in flat if type(v) is not str})
    if odd:
        raise Unstorable(f"holds objects ({', '.join(odd)}) that are not text: convert them to numbers or str")
    bad = next((v for v in flat if "\0" in v or not is_utf8(v)), None)
    if bad is not None:
        raise Unstorable(f"holds {bad!r}: HDF5 text ends at a NUL and must be valid unicode")
    return xr.Variable(variable.dims, np.asarray(values, dtype=object))


def _record(variable: xr.Variable, dtype: np.dtype) -> list[_Piece]:
    pieces: list[_Piece] = []
    for part in dtype.names or ():
        inner = dtype[part]
        if inner.kind not in "iufcb" or inner.shape or inner.char == "G":
            raise Unstorable(f"has a record field {part!r} of {inner}: keep plain numbers in records")
        native = np.dtype("i1") if inner.kind == "b" else inner.newbyteorder("=")
        described = [[n, dtype[n].newbyteorder("=").str] for n in dtype.names or ()]
        marks = {"record": described, "field": part}
        pieces.append((part, native, 0, variable, f"field:{part}", marks))
    return pieces


def _extension(variable: xr.Variable) -> _Piece:
    """pandas' own dtypes: categories become codes with CF flags, zoned times become UTC."""
    import pandas as pd

    dtype: Any = variable.dtype
    values = pd.Series(variable.to_index() if variable.ndim == 1 else variable.values)
    if isinstance(dtype, pd.CategoricalDtype):
        categories = dtype.categories.tolist()
        if {"flag_values", "flag_meanings"} & set(variable.attrs):
            raise Unstorable("is categorical and has flag_values or flag_meanings, which are written for it: drop them")
        if any(type(c) not in (str, int, float, bool) for c in categories):
            raise Unstorable("is categorical with categories that are neither text nor numbers: convert it")
        codes = np.asarray(values.cat.codes).astype(np.int32)
        attrs: dict[str, Any] = {}
        if categories:
            attrs["flag_values"] = np.arange(len(categories), dtype=np.int32)
            attrs["flag_meanings"] = " ".join("_".join(str(c).split()) or "_" for c in categories)
        marks = {"kind": "category", "categories": pack(categories), "ordered": bool(dtype.ordered), "attrs": attrs}
        return "", np.dtype("i4"), 0, xr.Variable(variable.dims, codes), "plain", marks
    if isinstance(dtype, pd.DatetimeTZDtype):
        zone = str(dtype.tz)
        try:
            pd.DatetimeTZDtype(dtype.unit, zone)
        except (TypeError, ValueError, KeyError):
            raise Unstorable(f"has the time zone {zone!r}, which has no name: use a named zone or UTC") from None
        utc = values.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy()
        found = _times(xr.Variable(variable.dims, utc), utc.dtype)
        marks = {**found[5], "zone": zone}
        return (*found[:5], marks)
    raise Unstorable(f"has pandas' dtype {dtype}: convert it to a NumPy dtype")
