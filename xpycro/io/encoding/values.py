"""Any nested value as JSON with tagged types, losslessly, and back; nothing in the text is evaluated.

May import numpy and errors; not the modules beside it.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from typing import Any

import numpy as np

from xpycro.errors import StoreError

__all__ = ["Unstorable", "dumps", "from_json", "pack", "plain_dtype", "to_json", "unpack"]

_MAX_DEPTH = 64


class Unstorable(Exception):
    """A value has no lossless form; the message says which and what to do."""


def pack(value: Any, depth: int = 0) -> Any:
    """A value as JSON with tagged types, losslessly."""
    if depth > _MAX_DEPTH:
        raise Unstorable(f"is nested deeper than {_MAX_DEPTH} levels (or contains itself)")
    if value is None or isinstance(value, bool) or type(value) in (str, int):
        return value
    if isinstance(value, np.generic):
        return _pack_numpy(value)
    if type(value) is float:
        return value if math.isfinite(value) else {"$nan": repr(value)}
    if type(value) is complex:
        return {"$complex": [pack(value.real), pack(value.imag)]}
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
        return [pack(v, depth + 1) for v in value]
    if type(value) is tuple:
        return {"$tuple": [pack(v, depth + 1) for v in value]}
    if type(value) in (set, frozenset):
        return {"$set": [pack(v, depth + 1) for v in sorted(value, key=repr)], "$frozen": type(value) is frozenset}
    if isinstance(value, Mapping):
        if all(type(k) is str and not k.startswith("$") for k in value):
            return {k: pack(v, depth + 1) for k, v in value.items()}
        return {"$dict": [[pack(k, depth + 1), pack(v, depth + 1)] for k, v in value.items()]}
    raise Unstorable(f"is a {type(value).__module__}.{type(value).__qualname__}: store a str, number, list or dict")


def _pack_numpy(value: np.generic) -> Any:
    kind = value.dtype.kind
    if kind in "mM":
        return {"$numpy": [value.dtype.str, int(value.astype("i8"))]}
    if kind in "biufcSU" and value.dtype.itemsize <= 16 and value.dtype.char not in "gG":
        return {"$numpy": [value.dtype.str, pack(value.item())]}
    raise Unstorable(f"is a NumPy {value.dtype} scalar: store a Python number")


def _pack_array(value: np.ndarray, depth: int) -> Any:
    if value.dtype.kind == "O":
        return {"$objects": [list(value.shape), [pack(v, depth + 1) for v in value.ravel().tolist()]]}
    if value.dtype.kind not in "biufcmMSU" or value.dtype.char in "gG":
        raise Unstorable(f"is an array of {value.dtype}: store numbers or strings")
    raw = np.ascontiguousarray(value).tobytes()
    return {"$array": [value.dtype.str, list(value.shape), base64.b64encode(raw).decode("ascii")]}


def unpack(value: Any) -> Any:
    if isinstance(value, list):
        return [unpack(v) for v in value]
    if not isinstance(value, dict):
        return value
    tag = next(iter(value), "")
    if not tag.startswith("$"):
        return {k: unpack(v) for k, v in value.items()}
    content = value[tag]
    if tag in ("$dt", "$date", "$time"):
        return _unpack_time(tag, content, value.get("$zone"))
    simple = {
        "$nan": lambda: float(content),
        "$complex": lambda: complex(unpack(content[0]), unpack(content[1])),
        "$b64": lambda: base64.b64decode(content),
        "$td": lambda: timedelta(*content),
        "$tuple": lambda: tuple(unpack(v) for v in content),
        "$set": lambda: (frozenset if value.get("$frozen") else set)(unpack(v) for v in content),
        "$dict": lambda: {unpack(k): unpack(v) for k, v in content},
        "$numpy": lambda: _unpack_numpy(*content),
        "$array": lambda: _unpack_array(*content),
        "$objects": lambda: _unpack_objects(*content),
    }
    return simple[tag]() if tag in simple else {k: unpack(v) for k, v in value.items()}


def _unpack_time(tag: str, text: str, zone: str | None) -> Any:
    found = {"$dt": datetime, "$date": date, "$time": time}[tag].fromisoformat(text)  # type: ignore[attr-defined]
    if zone:
        from zoneinfo import ZoneInfo

        found = found.replace(tzinfo=ZoneInfo(zone))
    return found


def plain_dtype(text: str) -> np.dtype:
    dtype = np.dtype(text)
    if dtype.kind not in "biufcmMSU":
        raise ValueError(f"{text!r} is not a dtype of numbers or strings")
    return dtype


def _unpack_numpy(dtype: str, content: Any) -> Any:
    kind = plain_dtype(dtype)
    return np.array(unpack(content)).astype(kind)[()] if kind.kind in "mM" else kind.type(unpack(content))


def _unpack_array(dtype: str, shape: list[int], content: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(content), plain_dtype(dtype)).reshape(shape).copy()


def _unpack_objects(shape: list[int], content: list[Any]) -> np.ndarray:
    flat = np.empty(len(content), object)
    for n, one in enumerate(content):
        flat[n] = unpack(one)
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
        return dumps(pack(value))
    except Unstorable as error:
        raise StoreError(f"the value {error}") from None


def dumps(packed: Any) -> str:
    text = json.dumps(packed, ensure_ascii=False, allow_nan=False)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:  # a lone surrogate survives as an ASCII escape only
        return json.dumps(packed, ensure_ascii=True, allow_nan=False)
    return text


def from_json(text: str) -> Any:
    """The inverse of `to_json`; nothing in the text is evaluated."""
    return unpack(json.loads(text))
