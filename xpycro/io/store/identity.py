"""What makes two results the same: operation, parameters, versions and input fingerprints, all the way back.

May import xarray, provenance and the standard library; computes nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import xarray as xr

from xpycro import provenance

__all__ = ["REUSE", "identity"]

REUSE = "xpycro_reuse"  # group attribute of a result
_VOLATILE = ("time", "outputs")


def _step(step: Mapping[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in step.items() if key not in _VOLATILE}
    kept["inputs"] = [
        {
            "argument": entry.get("argument"),
            "variable": entry.get("variable"),
            "state": entry.get("state"),
            "fingerprint": entry.get("fingerprint"),
            "steps": [_step(one) for one in (entry.get("history") or {}).get("steps", ())],
        }
        for entry in step.get("inputs", ())
    ]
    return kept


def identity(ds: xr.Dataset) -> str:
    """A hash that is equal for results of the same operations, parameters and versions on the same input.

    Where the Dataset was changed after the last recorded operation, or none is recorded, what it holds now counts too
    (the graph's name for lazy arrays, the bytes for those in memory).

    Parameters
    ----------
    ds : Dataset

    Notes
    -----
    *Laziness*: computes nothing; arrays in memory are hashed.
    """
    history = provenance.history(ds)
    now = {str(name): provenance.fingerprint(da) for name, da in ds.data_vars.items()}
    known = set(history.fingerprints.values())
    steps = [_step(one) for one in history.steps]
    # the source file's state counts through the fingerprints of the first step's input
    facts: dict[str, Any] = {
        "steps": steps,
        "variables": [[n, da.dims, da.shape, da.dtype.str] for n, da in _arrays(ds)],
    }
    if not steps or not set(now.values()) <= known:
        facts["values"] = now
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()[:32]


def _arrays(ds: xr.Dataset) -> list[tuple[str, xr.Variable]]:
    return [(str(name), da.variable) for name, da in ds.data_vars.items() if hasattr(da.dtype, "str")]
