"""How a Dataset becomes plain netCDF-style HDF5 and comes back identical: names, dtypes, attributes.

Everything is encoded dry first, so that all problems come in one error before any file is touched. May import numpy,
xarray, pandas (inside functions), errors and schema; knows nothing of files.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from typing import Any

import numpy as np
import xarray as xr

from xpycro.errors import StoreError

__all__ = [
    "ATTRS",
    "MARK",
    "Encoded",
    "Stored",
    "decode_attrs",
    "decode_block",
    "encode",
    "encode_attrs",
    "from_json",
    "to_json",
]

MARK = "xpycro_encoding"  # how a variable or group was encoded, where plain netCDF cannot say it
ATTRS = "xpycro_attrs"  # attributes that HDF5 or netCDF would change, as JSON
_MAX_DEPTH = 64
_FLAT_BYTES = 32_000  # an HDF5 attribute holds 64 kB
_MAX_FLAT = 200  # HDF5 takes seconds for thousands of attributes

# What plain readers interpret: as somebody's metadata it would change values or dtypes.
_INTERPRETED = frozenset(
    "_FillValue missing_value scale_factor add_offset coordinates calendar dtype _Unsigned _Encoding grid_mapping "
    "bounds ancillary_variables cell_measures formula_terms cell_methods node_coordinates geometry interior_ring "
    "node_count part_node_count valid_min valid_max valid_range CLASS NAME DIMENSION_LIST REFERENCE_LIST "
    "DIMENSION_LABELS _Netcdf4Dimid _Netcdf4Coordinates _nc3_strict _NCProperties unlimited_dims".split()
)
_TIME_UNITS = {
    "D": "days",
    "h": "hours",
    "m": "minutes",
    "s": "seconds",
    "ms": "milliseconds",
    "us": "microseconds",
    "ns": "nanoseconds",
}


# ---------------------------------------------------------------------------------------------------------- values


class _Unstorable(Exception):
    """A value has no lossless form; the message says which and what to do."""


def _pack(value: Any, depth: int = 0) -> Any:
    """A value as JSON with tagged types, losslessly."""
    if depth > _MAX_DEPTH:
        raise _Unstorable(f"is nested deeper than {_MAX_DEPTH} levels (or contains itself)")
    if value is None or isinstance(value, bool) or type(value) in (str, int):
        return value
    if isinstance(value, np.generic):
        return _pack_numpy(value)
    if type(value) is float:
        return value if math.isfinite(value) else {"$nan": repr(value)}
    if type(value) is complex:
        return {"$complex": [_pack(value.real), _pack(value.imag)]}
    if isinstance(value, bytes | bytearray):
        return {"$b64": base64.b64encode(bytes(value)).decode("ascii")}
    if type(value) in (datetime, date, time):
        tag = {datetime: "$dt", date: "$date", time: "$time"}[type(value)]
        zone = getattr(getattr(value, "tzinfo", None), "key", None)
        return {tag: value.isoformat(), "$zone": zone} if zone else {tag: value.isoformat()}
    if type(value) is timedelta:
        return {"$td": [value.days, value.seconds, value.microseconds]}
    if isinstance(value, np.ndarray):
        return _pack_array(value, depth)
    if type(value) is list:
        return [_pack(v, depth + 1) for v in value]
    if type(value) is tuple:
        return {"$tuple": [_pack(v, depth + 1) for v in value]}
    if type(value) in (set, frozenset):
        return {"$set": [_pack(v, depth + 1) for v in sorted(value, key=repr)], "$frozen": type(value) is frozenset}
    if isinstance(value, Mapping):
        if all(type(k) is str and not k.startswith("$") for k in value):
            return {k: _pack(v, depth + 1) for k, v in value.items()}
        return {"$dict": [[_pack(k, depth + 1), _pack(v, depth + 1)] for k, v in value.items()]}
    raise _Unstorable(f"is a {type(value).__module__}.{type(value).__qualname__}: store a str, number, list or dict")


def _pack_numpy(value: np.generic) -> Any:
    kind = value.dtype.kind
    if kind in "mM":
        return {"$numpy": [value.dtype.str, int(value.astype("i8"))]}
    if kind in "biufcSU" and value.dtype.itemsize <= 16 and value.dtype.char not in "gG":
        return {"$numpy": [value.dtype.str, _pack(value.item())]}
    raise _Unstorable(f"is a NumPy {value.dtype} scalar: store a Python number")


def _pack_array(value: np.ndarray, depth: int) -> Any:
    if value.dtype.kind == "O":
        return {"$objects": [list(value.shape), [_pack(v, depth + 1) for v in value.ravel().tolist()]]}
    if value.dtype.kind not in "biufcmMSU" or value.dtype.char in "gG":
        raise _Unstorable(f"is an array of {value.dtype}: store numbers or strings")
    raw = np.ascontiguousarray(value).tobytes()
    return {"$array": [value.dtype.str, list(value.shape), base64.b64encode(raw).decode("ascii")]}


def _unpack(value: Any) -> Any:
    if isinstance(value, list):
        return [_unpack(v) for v in value]
    if not isinstance(value, dict):
        return value
    tag = next(iter(value), "")
    if not tag.startswith("$"):
        return {k: _unpack(v) for k, v in value.items()}
    content = value[tag]
    if tag in ("$dt", "$date", "$time"):
        return _unpack_time(tag, content, value.get("$zone"))
    simple = {
        "$nan": lambda: float(content),
        "$complex": lambda: complex(_unpack(content[0]), _unpack(content[1])),
        "$b64": lambda: base64.b64decode(content),
        "$td": lambda: timedelta(*content),
        "$tuple": lambda: tuple(_unpack(v) for v in content),
        "$set": lambda: (frozenset if value.get("$frozen") else set)(_unpack(v) for v in content),
        "$dict": lambda: {_unpack(k): _unpack(v) for k, v in content},
        "$numpy": lambda: _unpack_numpy(*content),
        "$array": lambda: _unpack_array(*content),
        "$objects": lambda: _unpack_objects(*content),
    }
    return simple[tag]() if tag in simple else {k: _unpack(v) for k, v in value.items()}


def _unpack_time(tag: str, text: str, zone: str | None) -> Any:
    found = {"$dt": datetime, "$date": date, "$time": time}[tag].fromisoformat(text)  # type: ignore[attr-defined]
    if zone:
        from zoneinfo import ZoneInfo

        found = found.replace(tzinfo=ZoneInfo(zone))
    return found


def _plain_dtype(text: str) -> np.dtype:
    dtype = np.dtype(text)
    if dtype.kind not in "biufcmMSU":
        raise ValueError(f"{text!r} is not a dtype of numbers or strings")
    return dtype


def _unpack_numpy(dtype: str, content: Any) -> Any:
    kind = _plain_dtype(dtype)
    return np.array(_unpack(content)).astype(kind)[()] if kind.kind in "mM" else kind.type(_unpack(content))


def _unpack_array(dtype: str, shape: list[int], content: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(content), _plain_dtype(dtype)).reshape(shape).copy()


def _unpack_objects(shape: list[int], content: list[Any]) -> np.ndarray:
    flat = np.empty(len(content), object)
    for n, one in enumerate(content):
        flat[n] = _unpack(one)
    return flat.reshape(shape)


def to_json(value: Any) -> str:
    """Any nested value as JSON text with tagged types; `from_json` gives back an equal one.

    Raises
    ------
    StoreError
        If it holds an object with no lossless form.

    Examples
    --------
    >>> from_json(to_json({"gain": (1, None), 3: float("inf")}))
    {'gain': (1, None), 3: inf}
    """
    try:
        return _dumps(_pack(value))
    except _Unstorable as error:
        raise StoreError(f"the value {error}") from None


def _dumps(packed: Any) -> str:
    text = json.dumps(packed, ensure_ascii=False, allow_nan=False)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:  # a lone surrogate survives as an ASCII escape only
        return json.dumps(packed, ensure_ascii=True, allow_nan=False)
    return text


def from_json(text: str) -> Any:
    """The inverse of `to_json`; nothing in the text is evaluated."""
    return _unpack(json.loads(text))


# ------------------------------------------------------------------------------------------------------- attributes


def _flat(name: Any, value: Any) -> Any:
    """What HDF5 holds for this attribute without loss, or None where JSON must."""
    if type(name) is not str or not name or "\0" in name or name in _INTERPRETED or name.startswith("xpycro_"):
        return None
    if not _is_utf8(name) or (name == "units" and " since " in str(value)):
        return None
    if type(value) is str:
        return value if "\0" not in value and _is_utf8(value) else None
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


def _is_utf8(text: str) -> bool:
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
            _pack(name), _pack(value)
            nested[name] = value
        except _Unstorable as error:
            problems.append(f"{where}: attribute {name!r} {error}")
    if nested:
        flat[ATTRS] = to_json(nested)
    return flat, problems


def decode_attrs(stored: Mapping[str, Any]) -> dict[Any, Any]:
    """The inverse of `encode_attrs`; the store's own marks are left out."""
    result: dict[Any, Any] = {}
    for name, value in stored.items():
        if name.startswith("xpycro_") or name in _INTERPRETED:
            continue
        # 64-bit scalars are what Python's own numbers are stored as
        result[name] = value.item() if isinstance(value, np.generic) and value.dtype.str[1:] in _PYTHON else value
    if ATTRS in stored:
        result.update(from_json(stored[ATTRS]))
    return result


_PYTHON = frozenset(("i8", "u8", "f8", "c16"))


# -------------------------------------------------------------------------------------------------------- variables


@dataclass(frozen=True)
class Stored:
    """One dataset as it is written.

    Attributes
    ----------
    name : str
        In the file.
    dims : tuple of str
        In the file.
    shape : tuple of int
    dtype : numpy dtype
        In the file; object for text.
    attrs : dict
        As HDF5 holds them.
    variable : xarray.Variable
        Where the values come from, in any state.
    kind : str
        How a block of them is turned into stored values; see `Stored.block`.
    """

    name: str
    dims: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: np.dtype
    attrs: dict[str, Any]
    variable: xr.Variable
    kind: str = "plain"

    @property
    def nbytes(self) -> int:
        """Bytes of the stored values (of text, a guess)."""
        return math.prod(self.shape) * self.dtype.itemsize

    def block(self, values: Any) -> np.ndarray:
        """A block of the variable's values as it is stored."""
        return encode_block(self.kind, values, self.dtype)


def encode_block(kind: str, values: Any, dtype: np.dtype) -> np.ndarray:
    """Values as they are stored (of a module's own, so that it can be sent to workers)."""
    values = np.asarray(values)
    if kind.startswith("field:"):
        values = values[kind.removeprefix("field:")]
    if kind == "time":
        return values.view(np.int64)
    if kind == "bytes":
        flat = np.ascontiguousarray(values)
        return flat.reshape(-1).view("S1").reshape(*values.shape, flat.dtype.itemsize)
    return np.ascontiguousarray(values, dtype=dtype) if values.ndim else np.asarray(values, dtype=dtype)


@dataclass(frozen=True)
class Encoded:
    """A whole Dataset, ready to be written.

    Attributes
    ----------
    sizes : dict of str to int
        Dims in the file.
    variables : list of Stored
    attrs : dict
        Of the group, as HDF5 holds them.
    """

    sizes: dict[str, int]
    variables: list[Stored]
    attrs: dict[str, Any]

    @property
    def nbytes(self) -> int:
        """Bytes of all stored values."""
        return sum(one.nbytes for one in self.variables)


@dataclass
class _Names:
    """Names as HDF5 and netCDF allow them, each different."""

    taken: set[str] = field(default_factory=set)
    given: dict[Hashable, str] = field(default_factory=dict)

    def of(self, name: Hashable) -> str:
        if name not in self.given:
            text = name if isinstance(name, str) else f"xpycro_{type(name).__name__}_{name}"
            text = text.replace("/", "∕").replace("_nc4_non_coord_", "_nc4_")
            if text in ("", ".", "..") or "\0" in text or not _is_utf8(text) or text.startswith(("_nc4_", "xpycro_")):
                text = f"renamed_{''.join(c if c.isalnum() else '_' for c in text)}".encode("utf-8", "replace").decode()
            if text != text.strip() or text.startswith("_PFNC_"):
                text = f"renamed_{text.strip()}"
            candidate, number = text, 2
            while candidate in self.taken:
                candidate, number = f"{text}_{number}", number + 1
            self.taken.add(candidate)
            self.given[name] = candidate
        return self.given[name]


def encode(ds: xr.Dataset) -> Encoded:
    """Encode a Dataset dry: nothing is computed except text, nothing is written.

    Parameters
    ----------
    ds : Dataset
        Variables in any state. Their ``encoding`` is ignored: it belongs to the file they came from.

    Raises
    ------
    StoreError
        If anything cannot be stored and read back identical; the message lists every such thing.

    Notes
    -----
    *Laziness*: lazy, but object arrays (text) are computed, since only a look at each value tells what they hold.

    Examples
    --------
    >>> import xarray as xr
    >>> [one.name for one in encode(xr.Dataset({"1/x": ("x", [1.0])})).variables]
    ['1∕x']
    """
    names, problems = _Names(), list[str]()
    multi = _multi_indexes(ds)
    if multi:
        ds = ds.reset_index([name for name, _ in multi])
    # plain names first, so that a renamed one gives way
    for plain in [*ds.dims, *ds.variables]:
        if isinstance(plain, str) and "/" not in plain:
            names.of(plain)
    variables: list[Stored] = []
    sizes = {names.of(dim): size for dim, size in ds.sizes.items()}
    for name, variable in ds.variables.items():
        try:
            found = _encode_variable(name, variable, names, problems)
        except _Unstorable as error:
            problems.append(f"variable {name!r} {error}")
            continue
        for one in found:
            sizes.update(zip(one.dims, one.shape, strict=True))
        variables += found
    attrs, wrong = encode_attrs(ds.attrs, "the Dataset")
    problems += wrong
    if problems:
        raise StoreError("nothing was written, since this cannot be stored unchanged:\n  " + "\n  ".join(problems))
    mark: dict[str, Any] = {
        "variables": {one.name: list(one.dims) for one in variables},
        "coords": sorted(names.of(name) for name in ds.coords if name not in ds.dims),
    }
    renamed = {stored: given for given, stored in names.given.items() if stored != given and given in ds.dims}
    if renamed:
        mark["dims"] = {stored: _pack(given) for stored, given in renamed.items()}
    if multi:
        mark["multi_index"] = [[_pack(name), [_pack(level) for level in levels]] for name, levels in multi]
    attrs[MARK] = _dumps(mark)
    spelled = [name for name in mark["coords"] if not any(c.isspace() for c in name)]
    if spelled:
        attrs["coordinates"] = " ".join(spelled)  # so that plain xarray finds them too
    return Encoded(sizes, variables, attrs)


def _multi_indexes(ds: xr.Dataset) -> list[tuple[Hashable, list[Hashable]]]:
    found = []
    for index, coords in ds.xindexes.group_by_index():
        if isinstance(index, xr.indexes.PandasMultiIndex):
            found.append((index.dim, [name for name in coords if name != index.dim]))
    return found


def _encode_variable(name: Hashable, variable: xr.Variable, names: _Names, problems: list[str]) -> list[Stored]:
    attrs, wrong = encode_attrs(variable.attrs, f"variable {name!r}")
    problems += wrong
    stored = names.of(name)
    mark: dict[str, Any] = {} if stored == name else {"name": _pack(name)}
    if not all(isinstance(dim, str) for dim in variable.dims):
        raise _Unstorable(f"has the dims {variable.dims}: name dims by text")
    dims = tuple(names.of(dim) for dim in variable.dims)
    if len(set(dims)) != len(dims):
        raise _Unstorable(f"has the dims {variable.dims}, one of them twice: rename one")
    pieces = _by_dtype(variable, mark)
    result = []
    for suffix, dtype, extra, values, kind, more in pieces:
        own = {**attrs, **more.pop("attrs", {})}
        marked = {**mark, **more}
        if marked:
            own[MARK] = _dumps(marked)
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
        raise _Unstorable(f"is a {type(variable._data).__name__}: convert it to a NumPy or dask array first")
    if dtype.char == "G":
        raise _Unstorable("is complex256, which has no portable form: use complex128")
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
    raise _Unstorable(f"has the dtype {dtype}, which HDF5 cannot hold: convert it to numbers or text")


def _times(variable: xr.Variable, dtype: np.dtype) -> _Piece:
    unit = np.datetime_data(dtype)[0]
    name = f"{'datetime' if dtype.kind == 'M' else 'timedelta'}64[{unit}]"
    if unit not in _TIME_UNITS:
        raise _Unstorable(f"is {name}: use nanoseconds to days")
    words = _TIME_UNITS[unit]
    if dtype.kind == "m":
        attrs: dict[str, Any] = {"units": words, "dtype": name}
    else:
        missing = np.int64(np.iinfo(np.int64).min)  # NaT, as xarray itself writes it
        # beyond the years of nanoseconds plain xarray would fail to open the file: leave it the bare numbers there
        link = "since" if unit == "ns" or _within_nanoseconds(variable) else "counted from"
        attrs = {"units": f"{words} {link} 1970-01-01", "calendar": "proleptic_gregorian", "_FillValue": missing}
    if "units" in variable.attrs:
        raise _Unstorable(f"is {name} and has units {variable.attrs['units']!r}, which a time does not have: drop them")
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
        raise _Unstorable(f"holds objects ({', '.join(odd)}) that are not text: convert them to numbers or str")
    bad = next((v for v in flat if "\0" in v or not _is_utf8(v)), None)
    if bad is not None:
        raise _Unstorable(f"holds {bad!r}: HDF5 text ends at a NUL and must be valid unicode")
    return xr.Variable(variable.dims, np.asarray(values, dtype=object))


def _record(variable: xr.Variable, dtype: np.dtype) -> list[_Piece]:
    pieces: list[_Piece] = []
    for part in dtype.names or ():
        inner = dtype[part]
        if inner.kind not in "iufcb" or inner.shape or inner.char == "G":
            raise _Unstorable(f"has a record field {part!r} of {inner}: keep plain numbers in records")
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
            raise _Unstorable(
                "is categorical and has flag_values or flag_meanings, which are written for it: drop them"
            )
        if any(type(c) not in (str, int, float, bool) for c in categories):
            raise _Unstorable("is categorical with categories that are neither text nor numbers: convert it")
        codes = np.asarray(values.cat.codes).astype(np.int32)
        attrs: dict[str, Any] = {}
        if categories:
            attrs["flag_values"] = np.arange(len(categories), dtype=np.int32)
            attrs["flag_meanings"] = " ".join("_".join(str(c).split()) or "_" for c in categories)
        marks = {"kind": "category", "categories": _pack(categories), "ordered": bool(dtype.ordered), "attrs": attrs}
        return "", np.dtype("i4"), 0, xr.Variable(variable.dims, codes), "plain", marks
    if isinstance(dtype, pd.DatetimeTZDtype):
        zone = str(dtype.tz)
        try:
            pd.DatetimeTZDtype(dtype.unit, zone)
        except (TypeError, ValueError, KeyError):
            raise _Unstorable(f"has the time zone {zone!r}, which has no name: use a named zone or UTC") from None
        utc = values.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy()
        found = _times(xr.Variable(variable.dims, utc), utc.dtype)
        marks = {**found[5], "zone": zone}
        return (*found[:5], marks)
    raise _Unstorable(f"has pandas' dtype {dtype}: convert it to a NumPy dtype")


# ---------------------------------------------------------------------------------------------------------- decode


def decode_block(kind: str, values: np.ndarray) -> np.ndarray:
    """Stored values as the variable's own.

    Parameters
    ----------
    kind : str
        ``plain``, ``bool``, ``datetime64[unit]``, ``timedelta64[unit]``, ``text:<dtype>``.
    values : ndarray
    """
    if kind == "bool":
        return values.astype(bool)
    if kind.startswith(("datetime64", "timedelta64")):
        return values.view(kind) if values.ndim else values[()].view(kind)
    if kind.startswith("text:"):
        target = kind.removeprefix("text:")
        decoded = np.array([v.decode("utf-8") if isinstance(v, bytes) else v for v in values.ravel()], dtype=object)
        decoded = decoded.reshape(values.shape)
        if target == "O":
            return decoded
        return decoded.astype(np.dtypes.StringDType() if target == "T" else target)
    return values


def decode_kind(mark: Mapping[str, Any], dtype: np.dtype) -> tuple[str, np.dtype]:
    """Kind for `decode_block` and the dtype it gives, from a variable's mark."""
    kind = mark.get("kind", "plain")
    if kind == "bool":
        return "bool", np.dtype(bool)
    if kind == "text":
        target = str(mark["dtype"])
        if target == "T":
            return "text:T", np.dtypes.StringDType()
        return f"text:{target}", np.dtype(object) if target == "O" else _plain_dtype(target)
    if kind.startswith(("datetime64", "timedelta64")):
        return kind, _plain_dtype(kind)
    return "plain", dtype


def finish(variable: xr.Variable, mark: Mapping[str, Any]) -> xr.Variable:
    """What only the whole variable can become: bytes, categories, times with a zone. Reads it (they are small)."""
    kind = mark.get("kind", "plain")
    if kind == "bytes":
        values = np.ascontiguousarray(variable.values)
        joined = values.reshape(-1).view(f"S{values.shape[-1]}") if values.size else np.empty(0, f"S{values.shape[-1]}")
        return xr.Variable(variable.dims[:-1], joined.reshape(values.shape[:-1]), variable.attrs)
    if kind == "category":
        import pandas as pd

        categories = _unpack(mark["categories"])
        found = pd.Categorical.from_codes(variable.values, categories, ordered=bool(mark.get("ordered")))
        attrs = {k: v for k, v in variable.attrs.items() if k not in ("flag_values", "flag_meanings")}
        return xr.Variable(variable.dims, found, attrs)
    if "zone" in mark:
        import pandas as pd

        index = pd.DatetimeIndex(variable.values).tz_localize("UTC").tz_convert(mark["zone"])
        return xr.Variable(variable.dims, index, variable.attrs)
    return variable


def original_names(given: Iterable[tuple[str, Mapping[str, Any]]]) -> dict[str, Hashable]:
    """Names as they were before they were stored."""
    return {stored: _unpack(mark["name"]) if "name" in mark else stored for stored, mark in given}
