"""The data model: dimensions and their roles, units, names, and what a result looks like.

May import numpy, xarray and the error and unit modules; nothing that reads, computes or draws.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from xpycro.errors import DimensionError, XpycroError

__all__ = [
    "DIMENSIONS",
    "RESULTS",
    "Dimension",
    "coordinate",
    "decode_metadata",
    "dimension_type",
    "encode_metadata",
    "identifier",
    "identifiers",
    "new_result",
    "observation_dims",
    "pick",
    "plane_dims",
    "problems",
    "resolve_dims",
    "result_kind",
]


@dataclass(frozen=True)
class Dimension:
    """What a dimension name stands for.

    Attributes
    ----------
    type : str
        Its role where the coordinate does not say otherwise (``dimension_type``): spatial, reciprocal, spectral,
        temporal, frame, channel, component, parameter.
    units : str
        The unit that its coordinate carries in a calibrated Dataset.
    label : str
        How it is called on an axis.
    """

    type: str
    units: str
    label: str


DIMENSIONS: Mapping[str, Dimension] = {
    "y": Dimension("spatial", "m", "y"),
    "x": Dimension("spatial", "m", "x"),
    "z": Dimension("spatial", "m", "z"),
    "position": Dimension("spatial", "1", "Position"),
    "frequency": Dimension("spectral", "Hz", "Frequency"),
    "bias": Dimension("spectral", "V", "Bias"),
    "energy": Dimension("spectral", "eV", "Energy"),
    "energy_loss": Dimension("spectral", "eV", "Energy loss"),
    "wavelength": Dimension("spectral", "m", "Wavelength"),
    "wavenumber": Dimension("spectral", "1/cm", "Wavenumber"),
    "two_theta": Dimension("spectral", "degree", "2θ"),
    "mass_to_charge": Dimension("spectral", "1", "m/z"),
    "ion": Dimension("spectral", "1", "Ion"),
    "step": Dimension("spectral", "1", "Step"),
    "point": Dimension("spectral", "1", "Point"),
    "time": Dimension("temporal", "s", "Time"),
    "ky": Dimension("reciprocal", "1/m", "ky"),
    "kx": Dimension("reciprocal", "1/m", "kx"),
    "k": Dimension("reciprocal", "1/m", "k"),
    "q": Dimension("reciprocal", "1/m", "q"),
    "distance": Dimension("spatial", "m", "Distance"),
    "tilt": Dimension("frame", "degree", "Tilt"),
    "frame": Dimension("frame", "1", "Frame"),
    "file": Dimension("frame", "1", "File"),
    "cycle": Dimension("frame", "1", "Cycle"),
    "forc": Dimension("frame", "1", "FORC"),
    "sweep": Dimension("frame", "1", "Sweep"),
    "segment": Dimension("frame", "1", "Segment"),
    "direction": Dimension("frame", "1", "Direction"),
    "field": Dimension("frame", "1", "Field"),
    "channel": Dimension("channel", "1", "Channel"),
    "component": Dimension("component", "1", "Component"),
    "cluster": Dimension("component", "1", "Cluster"),
    "atom": Dimension("component", "1", "Atom"),
    "grain": Dimension("component", "1", "Grain"),
    "peak": Dimension("component", "1", "Peak"),
    "neighbour": Dimension("component", "1", "Neighbour"),
    "rank": Dimension("component", "1", "Rank"),
    "spot": Dimension("component", "1", "Spot"),
    "vector": Dimension("component", "1", "Vector"),
    "axis": Dimension("component", "1", "Axis"),
    "model": Dimension("component", "1", "Model"),
    "parameter": Dimension("parameter", "1", "Parameter"),
    "parameter_": Dimension("parameter", "1", "Parameter"),
}

# The fixed variable names of each kind of result, which are API: (always there, there on request or by method).
RESULTS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "decomposition": (("components", "maps"), ("mean", "singular_values", "explained_variance_ratio")),
    "clustering": (("labels", "counts"), ("centers", "mean_response", "response_std")),
    "fit": (
        ("residual_rms", "r2", "converged", "status", "n_iterations"),
        ("aic", "bic", "covariance"),
    ),
    "registration": (("shift",), ()),
}


# ---------------------------------------------------------------------------------------------------------- names


def identifier(name: str) -> str:
    """The snake_case variable name of an instrument's channel name.

    Examples
    --------
    >>> identifier("LI Demod 1 X (A)")
    'li_demod_1_x'
    >>> identifier("HeightRetrace")
    'height_retrace'
    """
    text = re.sub(r"\s*\([^()]*\)\s*$", "", name.strip())
    text = re.sub(r"(?<=[a-z]{2})(?=[A-Z])|(?<=[a-z]{2}[0-9])(?=[A-Z][a-z])", "_", text)
    text = re.sub(r"[^0-9a-zA-Z]+", "_", text).strip("_").lower()
    if not text:
        return "channel"
    return f"channel_{text}" if text[0].isdigit() else text


def identifiers(names: Iterable[str], taken: Iterable[str] = ()) -> list[str]:
    """Identifiers of several names, made unique by a number where two coincide.

    Examples
    --------
    >>> identifiers(["Current (A)", "Current (V)", "Bias"], taken=["bias"])
    ['current', 'current_2', 'bias_2']
    """
    used = set(taken)
    result = []
    for name in names:
        base = candidate = identifier(name)
        number = 2
        while candidate in used:
            candidate = f"{base}_{number}"
            number += 1
        used.add(candidate)
        result.append(candidate)
    return result


# ------------------------------------------------------------------------------------------------------ coordinates


def coordinate(
    dim: str | Sequence[str],
    values: Any,
    *,
    name: str | None = None,
    units: str | None = None,
    long_name: str | None = None,
    dimension_type: str | None = None,
    **attrs: Any,
) -> xr.Variable:
    """A coordinate variable with the units, label and role that the schema gives its dimension.

    Parameters
    ----------
    dim : str or sequence of str
        The dimension(s) it lies along.
    values : array_like
        In the units of `units`.
    name : str, optional
        Which table row to use where the coordinate is not named as its dimension (``bias`` along ``step``).
    units, long_name, dimension_type : str, optional
        Override the table's.
    **attrs
        Further attributes, JSON scalars or strings.

    Returns
    -------
    xarray.Variable

    Examples
    --------
    >>> coordinate("bias", [-1.0, 0.0, 1.0]).attrs
    {'units': 'V', 'long_name': 'Bias', 'dimension_type': 'spectral'}
    """
    key = name or (dim if isinstance(dim, str) else dim[-1])
    known = DIMENSIONS.get(key)
    return xr.Variable(
        dim,
        np.asarray(values),
        {
            "units": units if units is not None else (known.units if known else "1"),
            "long_name": long_name or (known.label if known else key),
            "dimension_type": dimension_type or (known.type if known else "unknown"),
            **attrs,
        },
    )


def dimension_type(obj: xr.DataArray | xr.Dataset, dim: Hashable) -> str:
    """Role of a dimension: what its coordinate says, else the table's word for its name, else ``unknown``."""
    coord = obj.coords.get(dim)
    said = None if coord is None else coord.attrs.get("dimension_type")
    known = DIMENSIONS.get(str(dim))
    return str(said).lower() if said else (known.type if known else "unknown")


def _describe(da: xr.DataArray | xr.Dataset) -> str:
    return ", ".join(f"{dim}={da.sizes[dim]} ({dimension_type(da, dim)})" for dim in da.dims) or "no dims"


def _signal_dims(da: xr.DataArray) -> tuple[str, ...]:
    kinds = {str(dim): dimension_type(da, dim) for dim in da.dims}
    signal = tuple(dim for dim, kind in kinds.items() if kind in ("spectral", "reciprocal"))
    signal = signal or tuple(dim for dim, kind in kinds.items() if kind == "temporal")
    if not signal:
        raise DimensionError(
            f"which dimension is the signal? none of {_describe(da)} is spectral, reciprocal or temporal: "
            f"pass dim=, one of {list(kinds)}"
        )
    return signal


def resolve_dims(
    da: xr.DataArray, dim: str | Sequence[str] | None = None, *, ndim: int | None = None
) -> tuple[str, ...]:
    """The dimensions that one observation spans, in the order of the array.

    Parameters
    ----------
    da : DataArray
    dim : str, sequence of str, or None
        Names of dims, or of 1-D coords, which stand for the dim they lie along (``"bias"`` for ``step``). None means
        the signal dims: spectral and reciprocal, else temporal.
    ndim : int, optional
        How many the caller can use; more than that is an error that names the candidates.

    Raises
    ------
    DimensionError
        If a name does not exist, nothing is decidable, or the number is wrong.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> resolve_dims(xr.DataArray(np.zeros((2, 3, 4)), dims=("y", "x", "frequency")))
    ('frequency',)
    """
    if dim is None:
        dims = _signal_dims(da)
    else:
        asked = [dim] if isinstance(dim, str) else list(dim)
        found: set[str] = set()
        missing = []
        for name in asked:
            if name in da.dims:
                found.add(name)
            elif name in da.coords and da.coords[name].ndim == 1:
                found.add(str(da.coords[name].dims[0]))
            else:
                missing.append(name)
        if missing or not asked:
            known = [*map(str, da.dims), *(str(c) for c in da.coords if da[c].ndim == 1 and c not in da.dims)]
            raise DimensionError(f"dim={dim!r}: no such dimension; this array has {_describe(da)}: pass one of {known}")
        dims = tuple(str(d) for d in da.dims if d in found)
    if ndim is not None and len(dims) != ndim:
        raise DimensionError(
            f"this needs {ndim} dimension{'s' if ndim > 1 else ''} for one observation and found {len(dims)} "
            f"{list(dims)}: pass dim=, of {_describe(da)}"
        )
    return dims


def observation_dims(da: xr.DataArray, signal: Sequence[str]) -> tuple[str, ...]:
    """All dims but the signal's, in the order of the array."""
    return tuple(str(d) for d in da.dims if d not in signal)


def plane_dims(obj: xr.DataArray | xr.Dataset) -> tuple[str, str] | None:
    """The two dims (slow, fast) of a picture: y and x, else the two spatial, else the two reciprocal dims."""
    for pair in (("y", "x"), ("ky", "kx")):
        if all(dim in obj.dims for dim in pair):
            return pair
    for kind in ("spatial", "reciprocal"):
        dims = [str(d) for d in obj.dims if dimension_type(obj, d) == kind and d != "position"]
        if len(dims) == 2:
            return dims[0], dims[1]
    return None


def pick(
    obj: xr.DataArray | xr.Dataset, variable: str | None = None, dim: str | Sequence[str] | None = None
) -> xr.DataArray:
    """The one array a method works on: the DataArray itself, or a variable of a Dataset.

    Parameters
    ----------
    obj : DataArray or Dataset
    variable : str, optional
        Needed for a Dataset unless exactly one variable has `dim` (or, with ``dim=None``, a signal dim).
    dim : str or sequence of str, optional

    Raises
    ------
    ValueError
        If the variable is unknown, or several qualify; the message lists them.
    """
    if isinstance(obj, xr.DataArray):
        if variable is not None and variable != obj.name:
            raise ValueError(f"variable={variable!r} picks from a Dataset; this is a single DataArray")
        return obj
    if not isinstance(obj, xr.Dataset):
        raise TypeError(f"expected a DataArray or Dataset, got {type(obj).__name__}; of a DataTree pass one node")
    names = [str(name) for name in obj.data_vars]
    if variable is not None:
        if variable not in obj.data_vars:
            raise ValueError(f"variable={variable!r}: no such variable; this Dataset has {names}")
        return obj[variable]
    fitting = []
    for name in names:
        if name.startswith("true_"):  # the simulators' truth is never what one means by "the data"
            continue
        try:
            resolve_dims(obj[name], dim)
        except DimensionError:
            continue
        fitting.append(name)
    if len(fitting) == 1:
        return obj[fitting[0]]
    if not fitting:
        wanted = "a signal dimension" if dim is None else f"dim {dim!r}"
        raise DimensionError(f"no variable of {names} has {wanted}; the dims are {_describe(obj)}")
    raise ValueError(f"several variables fit: pass variable=, one of {fitting}")


# ------------------------------------------------------------------------------------------------------- metadata


def _jsonable(value: Any) -> Any:
    """A value as JSON with tagged types, so that nothing a header holds is lost or mistaken."""
    if value is None or isinstance(value, bool | str):
        if isinstance(value, str):
            return value.encode("utf-8", "replace").decode("utf-8")  # a lone surrogate cannot be stored
        return value
    if isinstance(value, np.generic):
        return _jsonable(value.item())
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"$nan": repr(value)}
    if isinstance(value, complex):
        return {"$complex": [_jsonable(value.real), _jsonable(value.imag)]}
    if isinstance(value, bytes | bytearray):
        import base64

        return {"$b64": base64.b64encode(bytes(value)).decode("ascii")}
    if isinstance(value, np.ndarray):
        return [_jsonable(v) for v in value.tolist()]
    if isinstance(value, Mapping):
        return {str(k): _jsonable(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_jsonable(v) for v in value]
    if hasattr(value, "isoformat"):
        return {"$dt": value.isoformat()}
    return str(value)


def _restored(value: Any) -> Any:
    if isinstance(value, list):
        return [_restored(v) for v in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        ((tag, content),) = value.items()
        if tag == "$nan":
            return float(content)
        if tag == "$complex":
            return complex(_restored(content[0]), _restored(content[1]))
        if tag == "$b64":
            import base64

            return base64.b64decode(content)
        if tag == "$dt":
            return content
    return {k: _restored(v) for k, v in value.items()}


def encode_metadata(metadata: Mapping[str, Any]) -> str:
    """Nested metadata as one JSON string (the ``original_metadata`` attribute), types tagged where JSON has none.

    Examples
    --------
    >>> decode_metadata(encode_metadata({"gain": float("inf"), "id": b"AB"}))
    {'gain': inf, 'id': b'AB'}
    """
    return json.dumps(_jsonable(metadata), ensure_ascii=False, allow_nan=False)


def decode_metadata(text: str | None) -> dict[str, Any]:
    """The inverse of `encode_metadata`; of nothing, an empty dict. Dates come back as ISO strings."""
    return _restored(json.loads(text)) if text else {}


# -------------------------------------------------------------------------------------------------------- results


def result_kind(obj: Any) -> str | None:
    """What a result is (``decomposition``, ``clustering``, ``fit``, ...), or None for a measurement."""
    return obj.attrs.get("pycro_result") if isinstance(obj, xr.Dataset | xr.DataArray) else None


def new_result(
    kind: str,
    variables: Mapping[str, Any],
    coords: Mapping[str, Any] | None = None,
    attrs: Mapping[str, Any] | None = None,
) -> xr.Dataset:
    """A result Dataset: marked with its kind, free of the source's encoding, its required variables checked.

    Stale encoding (an integer dtype, a scale factor) would be applied to new numbers on write and change them.
    """
    required = RESULTS.get(kind, ((), ()))[0]
    missing = [name for name in required if name not in variables]
    if missing:
        raise XpycroError(f"a {kind} result needs the variables {missing}")
    result = xr.Dataset(dict(variables), coords=dict(coords or {}), attrs={**(attrs or {}), "pycro_result": kind})
    return result.drop_encoding()


# ------------------------------------------------------------------------------------------------------ validation


def problems(ds: xr.Dataset) -> list[str]:
    """What keeps a measurement from being a good one; an empty list where nothing does.

    Checked: units and long_name on every variable and coordinate, ascending even-signed spatial and reciprocal axes,
    known dimension names, coordinates for calibrated dims, ``original_metadata`` that parses.
    """
    found = []
    for name, variable in ds.variables.items():
        if variable.dtype.kind in "fciub" and "units" not in variable.attrs:
            found.append(f"{name}: no units")
        if "long_name" not in variable.attrs:
            found.append(f"{name}: no long_name")
    for dim in map(str, ds.dims):
        if dim not in DIMENSIONS:
            found.append(f"dim {dim}: not in the schema")
        coord = ds.coords.get(dim)
        if coord is None:
            continue
        role = dimension_type(ds, dim)
        monotonic = role in ("spatial", "reciprocal") or (role == "spectral" and dim not in ("step", "point"))
        if monotonic and coord.size > 1 and coord.dtype.kind in "fiu" and not bool((np.diff(coord.values) > 0).all()):
            found.append(f"coord {dim}: not ascending")
    try:
        decode_metadata(ds.attrs.get("original_metadata"))
    except ValueError:
        found.append("original_metadata: not JSON")
    return found
