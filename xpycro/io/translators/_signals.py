"""From the arrays of a file to its groups: channels of one grid become variables of one Dataset.

May import numpy, xarray, schema and the modules of this folder that know no format.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr

from xpycro.io.translators import _common as common
from xpycro.schema import identifiers

__all__ = ["Signal", "collect"]


@dataclass(frozen=True)
class Signal:
    """One array of a file, labelled.

    Attributes
    ----------
    name : str
        The instrument's own name, verbatim.
    variable : xarray.Variable
    coords : dict of str to Variable
    metadata : mapping
        Its own header.
    attrs : mapping
        ``modality``, ``data_type``, ``title`` and the like of the Dataset it ends up in.
    group : str
        What its group is called where it cannot share one; default `name`.
    """

    name: str
    variable: xr.Variable
    coords: Mapping[str, xr.Variable]
    metadata: Mapping[str, Any] = field(default_factory=dict)
    attrs: Mapping[str, Any] = field(default_factory=dict)
    group: str = ""


def _same(one: xr.Variable, other: xr.Variable) -> bool:
    """Whether two coordinates are the same but for rounding."""
    if one.dims != other.dims or one.shape != other.shape or one.attrs.get("units") != other.attrs.get("units"):
        return False
    if one.dtype.kind in "fiu" and other.dtype.kind in "fiu":
        step = float(np.abs(np.diff(one.values.ravel())).max(initial=0.0)) or 1.0
        return bool((np.abs(one.values - other.values) <= 1e-4 * step).all())
    return one.equals(other)


def _fits(signal: Signal, coords: Mapping[str, xr.Variable], sizes: Mapping[Any, int]) -> bool:
    """Whether a signal lies on a grid, or on the pixels of one (an image beside the spectra of its pixels)."""
    dims, there = {str(dim) for dim in signal.variable.dims}, {str(dim) for dim in sizes}
    inner, outer = (dims, there) if dims <= there else (there, dims)
    if not inner <= outer or (inner != outer and not ({"y", "x"} <= inner or "position" in inner)):
        return False
    shared = coords.keys() & signal.coords.keys()
    alone = {name for name in inner if (name in coords) != (name in signal.coords)}
    return (
        not alone
        and all(signal.variable.sizes[dim] == sizes[dim] for dim in inner)
        and all(_same(coords[name], signal.coords[name]) for name in shared)
    )


def _union(bundle: Sequence[Signal]) -> tuple[dict[str, xr.Variable], dict[Any, int]]:
    coords: dict[str, xr.Variable] = {}
    sizes: dict[Any, int] = {}
    for signal in bundle:
        coords.update({name: coord for name, coord in signal.coords.items() if name not in coords})
        sizes.update(signal.variable.sizes)
    return coords, sizes


def collect(
    signals: Sequence[Signal], metadata: Mapping[str, Any], *, apart: bool = False, **attrs: Any
) -> dict[str, xr.Dataset]:
    """Group signals that share their grid; one group is ``""``, several take the names of their first signals.

    Parameters
    ----------
    signals : sequence of Signal
    metadata : mapping
        What the file says beside its signals.
    apart : bool, optional
        Keep every signal in a group of its own.
    **attrs
        Plain attributes of every Dataset.
    """
    bundles: list[list[Signal]] = []
    for signal in signals:
        home = next((b for b in bundles if not apart and _fits(signal, *_union(b))), None)
        if home is None:
            bundles.append([signal])
        else:
            home.append(signal)
    names = identifiers([bundle[0].group or bundle[0].name or "signal" for bundle in bundles])
    result = {}
    for name, bundle in zip(names, bundles, strict=True):
        titles = [signal.name or "data" for signal in bundle]
        coords, _ = _union(bundle)
        keys = identifiers(titles, coords)
        header = dict(metadata)
        for key, signal in zip(keys, bundle, strict=True):
            if signal.metadata:
                header[key if len(bundle) > 1 or key not in header else "signal"] = dict(signal.metadata)
        if len(bundle) == 1 and not metadata:
            header = dict(bundle[0].metadata)
        said = {**attrs, **bundle[0].attrs}
        variables = {}
        for key, signal in zip(keys, bundle, strict=True):
            variables[key] = signal.variable
            if not signal.variable.attrs.get("long_name"):
                signal.variable.attrs["long_name"] = signal.name or key
        result["" if len(bundles) == 1 else name] = common.dataset(variables, coords, header, **said)
    return result
