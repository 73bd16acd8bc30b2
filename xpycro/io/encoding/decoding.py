"""Stored values as the variable's own again.

May import numpy, xarray, pandas (inside functions) and the values beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from xpycro.io.encoding.values import plain_dtype, unpack

__all__ = ["decode_block", "decode_kind", "finish"]


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
        return f"text:{target}", np.dtype(object) if target == "O" else plain_dtype(target)
    if kind.startswith(("datetime64", "timedelta64")):
        return kind, plain_dtype(kind)
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

        categories = unpack(mark["categories"])
        found = pd.Categorical.from_codes(variable.values, categories, ordered=bool(mark.get("ordered")))
        attrs = {k: v for k, v in variable.attrs.items() if k not in ("flag_values", "flag_meanings")}
        return xr.Variable(variable.dims, found, attrs)
    if "zone" in mark:
        import pandas as pd

        index = pd.DatetimeIndex(variable.values).tz_localize("UTC").tz_convert(mark["zone"])
        return xr.Variable(variable.dims, index, variable.attrs)
    return variable
