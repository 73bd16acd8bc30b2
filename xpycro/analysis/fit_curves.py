"""The curves of a fit: its model at its parameters, and what is left of the data.

May import numpy, xarray, the floors below and the models.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from xpycro import provenance, schema
from xpycro.analysis import models
from xpycro.analysis._fit_data import aligned, converted, unit_of
from xpycro.engine import chunked, results

__all__ = ["axis_names", "curve_of", "described", "evaluate_fit", "joined", "model_of", "residual_of_fit"]

Functions = Mapping[str, Callable[..., Any]] | None


def joined(names: Sequence[str]) -> str:
    """One name, or several as JSON, as they stand in an attribute."""
    return names[0] if len(names) == 1 else json.dumps(list(names))


def axis_names(result: xr.Dataset, attribute: str = "fitted_axis") -> list[str]:
    """What `joined` put into an attribute of a fit."""
    text = str(result.attrs[attribute])
    return list(json.loads(text)) if text.startswith("[") else [text]


# Own functions that this session fitted, by their description; so their fits can be drawn without naming them again.
_seen: dict[str, Callable[..., Any]] = {}


def described(model: models.Model) -> str:
    """The model as it stands in an attribute of its fit."""
    text = json.dumps(model.describe())
    if isinstance(model, models.PythonModel):
        function, source = model.user_function, model.describe()["source"]
        # of equal sources with other closures none could be told from the others
        if source and getattr(function, "__closure__", ()) is None:
            _seen[text] = function
    return text


def model_of(result: xr.Dataset, functions: Functions = None) -> models.Model:
    """The model of a fit; an own function is taken from `functions`, or is the one that this session fitted."""
    text = str(result.attrs.get("pycro_model", "{}"))
    if text in _seen and not functions:
        description = json.loads(text)
        functions = {description["function"]: _seen[text]}
    return models.restore(json.loads(text), functions)


def _block(*arrays: np.ndarray, model: models.Model) -> np.ndarray:
    axes, parameters = arrays[: model.ndim], arrays[model.ndim :]
    x = axes[0] if model.ndim == 1 else np.stack(np.meshgrid(*axes, indexing="ij")[::-1])
    each = (..., *(None,) * model.ndim)
    return np.asarray(model.evaluate(x, *(np.asarray(p)[each] for p in parameters)))


@results.register("fit", "evaluate")
def evaluate_fit(result: xr.Dataset, x: Any = None, functions: Functions = None) -> xr.DataArray:
    """The model of a fit at its parameters; see `xpycro.engine.results.evaluate`."""
    axes = _fitted_axes(result) if x is None else [_other_axis(result, x)]
    return curve_of(result, model_of(result, functions), axes)


def curve_of(result: xr.Dataset, model: models.Model, axes: Sequence[xr.DataArray]) -> xr.DataArray:
    """A model at the parameters of a fit, along these axes."""
    dims = [str(axis.dims[0]) for axis in axes]
    own = [result[p] for p in model.parameters]
    taken = sorted(set(dims) & set(map(str, own[0].dims)))
    if taken:
        raise ValueError(f"x= has the dim {taken[0]!r}, and so have the pixels: rename it")
    # a coordinate along the axis would be one of the pixels, too
    parameters = [p.drop_vars([c for c in p.coords if set(p[c].dims) & set(dims)]) for p in own]
    attrs = {"units": result.attrs["fitted_units"], "long_name": f"fitted {result.attrs['fitted_variable']}".strip()}
    output = chunked.Output(np.complex128 if model.is_complex else np.float64, tuple(dims), attrs=attrs)
    samples = [xr.DataArray(axis.values.astype(np.float64), dims=axis.dims) for axis in axes]
    made = chunked.apply(
        _block, *samples, *parameters, dims=[*([d] for d in dims), *([] for _ in parameters)],
        outputs={"model": output}, kwargs={"model": model},
    )["model"]  # fmt: skip
    coords = {str(axis.name): (axis.dims, axis.values, dict(axis.attrs)) for axis in axes}
    return made.transpose(*parameters[0].dims, *dims).assign_coords(coords)


def _fitted_axes(result: xr.Dataset) -> list[xr.DataArray]:
    names = axis_names(result)
    lost = [name for name in names if name not in result.coords]
    if lost:
        raise ValueError(f"the result has lost its coordinate {lost}: pass x=")
    return [result.coords[name] for name in names]


def _other_axis(result: xr.Dataset, x: Any) -> xr.DataArray:
    """The axis that a caller wants, in the unit of the fitted one."""
    (name, *more), dim = axis_names(result), axis_names(result, "fitted_dim")[0]
    if more:
        raise ValueError("x= is for one axis; a fit of images is evaluated where it was fitted")
    fitted = result.coords.get(name)
    if not isinstance(x, xr.DataArray):
        x = xr.DataArray(np.atleast_1d(np.asarray(x)), dims=dim if np.ndim(x) < 2 else None)
    if x.ndim != 1 or x.dtype.kind not in "fiu":
        raise ValueError(f"x= takes numbers along {name!r} in one dim, not {x.dtype} over {list(x.dims)}")
    if fitted is not None:
        x = converted(x, unit_of(fitted), "x=")
    attrs = dict(fitted.attrs) if fitted is not None else dict(x.attrs)
    return xr.DataArray(x.values, dims=x.dims, name=name if x.dims == (dim,) else x.dims[0], attrs=attrs)


@results.register("fit", "residual")
def residual_of_fit(
    result: xr.Dataset, data: xr.DataArray | xr.Dataset | None = None, functions: Functions = None
) -> xr.DataArray:
    """Data minus model; see `xpycro.engine.results.residual`."""
    da = chunked.lazily(provenance.source_data(result, data, purpose="residual"))
    names, dims = axis_names(result), axis_names(result, "fitted_dim")
    missing = [dim for dim in dims if dim not in da.dims]
    if missing:
        raise schema.DimensionError(f"the fit ran along {missing}, which the data {list(da.dims)} do not have")
    axis = None
    if len(dims) == 1:  # also where a window left part of the axis out
        axis = da.coords[names[0]] if names[0] in da.coords else result.coords[names[0]]
        axis = xr.DataArray(axis.values, dims=dims[0], attrs=axis.attrs)
    model = aligned(evaluate_fit(result, axis, functions), da, "the fit", but=dims)
    difference = da - converted(model, unit_of(da), "the fit")
    return difference.transpose(*da.dims).assign_attrs({**da.attrs, "long_name": "residual"}).rename("residual")
