"""Fit a model to every pixel: `fit`, and what a fit result can do (`evaluate`, `residual`).

May import numpy, xarray, the floors below and analysis.models; dask only through engine.chunked, numba never directly.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr

from xpycro import provenance, schema
from xpycro.analysis import models
from xpycro.analysis._fit_arguments import (
    axis_of,
    check_absolute,
    check_complex,
    check_dtype,
    restrict,
    sigma_of,
    task_of,
)
from xpycro.analysis._fit_block import Task, fit_block
from xpycro.engine import chunked, results
from xpycro.engine.solver import Status

__all__ = ["evaluate_fit", "fit", "residual_of_fit"]

# What comes after the parameters and their errors, in this order.
_SUMMARY = ("residual_rms", "r2", "aic", "bic", "converged", "status", "n_iterations")


@provenance.recorded("fit")
def fit(
    data: xr.DataArray | xr.Dataset,
    model: str | models.Model | Callable[..., Any],
    *,
    dim: str | Sequence[str] | None = None,
    variable: str | None = None,
    start: Mapping[str, Any] | Sequence[float] | None = None,
    bounds: Mapping[str, tuple[float, float]] | None = None,
    fixed: Mapping[str, Any] | None = None,
    sigma: xr.DataArray | float | None = None,
    absolute_sigma: bool = False,
    exclude: xr.DataArray | None = None,
    window: tuple[Any, Any] | None = None,
    loss: str = "linear",
    covariance: bool = False,
    max_iterations: int = 100,
    preview: int | None = None,
) -> xr.Dataset:
    """Fit a model along `dim` in every pixel, by compiled least squares.

    Parameters
    ----------
    data : DataArray or Dataset
        Real or complex; integers are computed as float64. NaN channels are left out, pixel by pixel.
    model : str, Model or callable
        A name of ``xp.models.list()``, a sum such as ``"gaussian + linear"`` or ``Gaussian(name="pi") + Linear()``, or
        a function ``f(x, first, second, ...)`` that broadcasts, which needs `start`.
    dim : str, optional
        What one spectrum spans; the signal dim if it is unambiguous. The name of a coordinate along it chooses that
        coordinate as the axis.
    variable : str, optional
        Of a Dataset, needed unless one variable has the dim.
    start : mapping of str to number or DataArray, or sequence of numbers, optional
        Starts of some or all parameters; the others are estimated. Linear parameters need none.
    bounds : mapping of str to (lower, upper), optional
        None or infinity leaves a side open.
    fixed : mapping of str to number, DataArray or str, optional
        A number, a map over the pixels, or the name of another parameter to follow.
    sigma : DataArray or float, optional
        Standard deviation of the data, of each quadrature where they are complex; per channel, per pixel or both.
        Channels with zero, infinite or NaN sigma are left out.
    absolute_sigma : bool
        Whether `sigma` is in the data's units, or only relative weights (the errors are then scaled by the residuals).
    exclude : boolean DataArray, optional
        True where data are left out; over the fitted dim, the pixels, or both.
    window : (low, high), optional
        Part of the axis to fit, in its units; text carries a unit (``("280 eV", "310 eV")``), None leaves a side open.
    loss : {"linear", "soft_l1", "huber", "cauchy", "poisson"}
        Robust losses act on residuals in units of sigma, without it of the noise that second differences show;
        ``poisson`` is the maximum likelihood of counts.
    covariance : bool
        Whether to keep the covariance matrix of each pixel.
    max_iterations : int
    preview : int, optional
        Fit only about as many pixels, evenly spread, now; the attributes say what all of them would take.

    Returns
    -------
    Dataset
        ``pycro_result`` "fit", over the dims of the pixels. Each parameter with its unit and ``<name>_stderr``;
        ``residual_rms`` (unit of the data), ``r2`` (weighted where sigma is given), ``aic`` and ``bic`` (NaN for
        robust losses), ``converged`` (bool), ``status`` (flag values and meanings in its attributes),
        ``n_iterations``; optional ``covariance(parameter, parameter_)``. Parameters of pixels that did not converge are
        NaN, and ``status`` says why.

    Raises
    ------
    ValueError
        If a model, parameter, loss or bound is unknown or impossible, or real and complex do not match.
    DimensionError
        If the dimension is missing or ambiguous.

    Notes
    -----
    *Laziness*: lazy for lazy data, one pass. The minimum is found when the undamped step would lower the cost by less
    than 1e-10 of it, that is when every parameter is within about 1e-4 standard errors of the optimum.

    References
    ----------
    Golub and Pereyra, SIAM J. Numer. Anal. 10, 413 (1973); Kaufman, BIT 15, 49 (1975); Moré, Lecture Notes in Math.
    630, 105 (1978).

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> energy = xr.Variable("energy", np.linspace(-3, 3, 61), {"units": "eV"})
    >>> signal = 2.0 * np.exp(-0.5 * ((energy - 0.5) / 0.4) ** 2) + 0.1 * energy
    >>> da = xr.DataArray(signal, {"energy": energy}, name="intensity", attrs={"units": "counts"})
    >>> result = fit(da, "gaussian + linear", dim="energy")
    >>> round(float(result.gaussian_center), 6), result.gaussian_center.units
    (0.5, 'eV')
    """
    da = schema.pick(data, variable, dim)
    check_dtype(da)
    chosen = models.parse(model, is_complex=np.issubdtype(da.dtype, np.complexfloating))
    dims = schema.resolve_dims(da, dim, ndim=chosen.ndim)
    check_complex(da, chosen)
    axes = [axis_of(da, d, dim) for d in dims]
    if len(dims) == 1:
        da, axes[0] = restrict(da, axes[0], dims[0], exclude, window)
    elif window is not None or exclude is not None:
        raise ValueError("window= and exclude= are for one axis: crop the image, or set what to leave out to NaN")
    task, maps = task_of(chosen, axes, da, dims, start, bounds, fixed, loss, covariance, max_iterations)
    weights = sigma_of(sigma, da, dims)
    task = replace(task, absolute_sigma=check_absolute(absolute_sigma, sigma, loss), has_sigma=weights is not None)
    arrays = [da, *([weights] if weights is not None else []), *maps]
    core = [list(dims), *([[d for d in dims if d in weights.dims]] if weights is not None else []), *[[] for _ in maps]]
    if preview is not None:
        return _preview(arrays, core, task, axes, covariance, loss, preview)
    outputs = _outputs(chosen, axes, da, covariance)
    made = chunked.apply(fit_block, *arrays, dims=core, outputs=outputs, kwargs={"task": task})
    return _result(made, chosen, axes, da, loss, task, weights is not None)


def _preview(
    arrays: list[xr.DataArray], core: list[list[str]], task: Task, axes: list[xr.DataArray], covariance: bool,
    loss: str, count: int,
) -> xr.Dataset:  # fmt: skip
    """Fit about `count` pixels now, evenly spread along each dim; say what all of them would take."""
    if count < 1:
        raise ValueError(f"preview={count} must be at least 1 pixel")
    da = arrays[0]
    observed = [str(d) for d in da.dims if d not in core[0]]
    total = int(np.prod([da.sizes[d] for d in observed]))
    each = max(1, round(count ** (1 / max(1, len(observed)))))
    places = {d: np.linspace(0, da.sizes[d] - 1, min(each, da.sizes[d])) for d in observed}
    picked = {d: np.unique(p.round().astype(int)) for d, p in places.items()}
    small = [chunked.lazily(a).isel({d: i for d, i in picked.items() if d in a.dims}).load() for a in arrays]
    outputs = _outputs(task.model, axes, small[0], covariance)
    chunked.apply(fit_block, *[a.isel({d: [0] for d in observed if d in a.dims}) for a in small], dims=core,
                  outputs=outputs, kwargs={"task": task})  # fmt: skip  # compiles
    began = time.perf_counter()
    made = chunked.apply(fit_block, *small, dims=core, outputs=outputs, kwargs={"task": task})
    seconds = time.perf_counter() - began
    fitted = int(np.prod([len(i) for i in picked.values()]))
    result = _result(made, task.model, axes, small[0], loss, task, len(arrays) > 1)
    block = max(1, chunked.BLOCK_BYTES // max(1, da.dtype.itemsize))
    facts = {
        "preview_pixels": fitted,
        "estimated_seconds": seconds * total / max(1, fitted),
        "estimated_result_bytes": 8 * total * (2 * len(task.model.parameters) + 6),
        "estimated_peak_bytes": min(int(da.size), 2 * block) * da.dtype.itemsize * 2,
    }
    return result.assign_attrs(facts)


# ------------------------------------------------------------------------------------------------------ the result


def _outputs(
    model: models.Model, axes: Sequence[xr.DataArray], da: xr.DataArray, covariance: bool
) -> dict[str, chunked.Output]:
    unit_x, unit_y = str(axes[0].attrs.get("units", "1")), str(da.attrs.get("units", "1"))
    parameters = model.parameters
    taken = sorted(set(parameters) & set(_SUMMARY))
    if taken:
        raise ValueError(f"parameters cannot be called {taken}: the result has variables of these names")
    outputs = {}
    for name, p in parameters.items():
        label = {"long_name": name.replace("_", " ")} | ({"description": p.description} if p.description else {})
        outputs[name] = chunked.Output(np.float64, attrs={"units": p.unit(unit_x, unit_y), **label})
    for name, p in parameters.items():
        label = {"long_name": f"{name.replace('_', ' ')} standard error"}
        outputs[f"{name}_stderr"] = chunked.Output(np.float64, attrs={"units": p.unit(unit_x, unit_y), **label})
    outputs["residual_rms"] = chunked.Output(np.float64, attrs={"units": unit_y, "long_name": "rms residual"})
    for name, text in (("r2", "coefficient of determination"), ("aic", "Akaike information criterion"),
                        ("bic", "Bayesian information criterion")):  # fmt: skip
        outputs[name] = chunked.Output(np.float64, attrs={"units": "1", "long_name": text})
    outputs["converged"] = chunked.Output(np.bool_, attrs={"units": "1", "long_name": "converged"})
    flags = {"flag_values": [int(s) for s in Status], "flag_meanings": " ".join(s.meaning for s in Status)}
    outputs["status"] = chunked.Output(np.uint8, attrs={"units": "1", "long_name": "status of the fit", **flags})
    outputs["n_iterations"] = chunked.Output(np.int32, attrs={"units": "1", "long_name": "iterations"})
    if covariance:
        count = len(parameters)
        outputs["covariance"] = chunked.Output(
            np.float64, ("parameter", "parameter_"), {"parameter": count, "parameter_": count},
            {"long_name": "covariance of the parameters", "units": "product of the parameters' units"},
        )  # fmt: skip
    return outputs


def _result(
    made: Mapping[str, xr.DataArray], model: models.Model, axes: Sequence[xr.DataArray], da: xr.DataArray, loss: str,
    task: Task, weighted: bool,
) -> xr.Dataset:  # fmt: skip
    names = [str(axis.name) for axis in axes]
    coords: dict[str, Any] = {str(axis.name): (axis.dims, axis.values, dict(axis.attrs)) for axis in axes}
    if "covariance" in made:
        for dim in ("parameter", "parameter_"):
            coords[dim] = ((dim,), np.array(list(model.parameters)), {"long_name": "parameter"})
    problem = task.problem
    attrs: dict[str, Any] = {
        "pycro_model": json.dumps(model.describe()),
        "model": repr(model),
        "fitted_axis": names[0] if len(names) == 1 else json.dumps(names),
        "fitted_dim": str(axes[0].dims[0]) if len(names) == 1 else json.dumps([str(a.dims[0]) for a in axes]),
        "fitted_variable": "" if da.name is None else str(da.name),
        "fitted_units": str(da.attrs.get("units", "1")),
        "loss": loss,
        "weighted": int(weighted),
        "absolute_sigma": int(task.absolute_sigma),
        "n_fitted": problem.n_fitted,
        "n_points": int(np.prod([a.size for a in axes])) * problem.quadratures,
        "parameters": json.dumps(list(model.parameters)),
    }
    return schema.new_result("fit", made, coords, attrs)


def _names(text: str) -> list[str]:
    """One name, or several as JSON."""
    return list(json.loads(text)) if text.startswith("[") else [text]


def _model_of(result: xr.Dataset, functions: Mapping[str, Callable[..., Any]] | None) -> models.Model:
    return models.restore(json.loads(result.attrs.get("pycro_model", "{}")), functions)


def _evaluate_block(*arrays: np.ndarray, model: models.Model) -> np.ndarray:
    axes, parameters = arrays[: model.ndim], arrays[model.ndim :]
    if model.ndim == 1:
        return np.asarray(model.evaluate(axes[0], *(np.asarray(p)[..., None] for p in parameters)))
    x = np.stack(np.meshgrid(*axes, indexing="ij")[::-1])
    return np.asarray(model.evaluate(x, *(np.asarray(p)[..., None, None] for p in parameters)))


@results.register("fit", "evaluate")
def evaluate_fit(
    result: xr.Dataset, x: Any = None, functions: Mapping[str, Callable[..., Any]] | None = None
) -> xr.DataArray:
    """The model of a fit at its parameters; see `xpycro.engine.results.evaluate`."""
    model = _model_of(result, functions)
    names, dims = _names(result.attrs["fitted_axis"]), _names(result.attrs["fitted_dim"])
    axes = {d: result.coords[name] for name, d in zip(names, dims, strict=True) if name in result.coords}
    if x is not None and model.ndim != 1:
        raise ValueError("x= is for one axis; a fit of images is evaluated where it was fitted")
    if isinstance(x, xr.DataArray):
        if x.ndim != 1:
            raise ValueError(f"x= must have one dim, not {list(x.dims)}")
        dims, axes = [str(x.dims[0])], {str(x.dims[0]): x}
    elif x is not None:
        attrs = dict(axes[dims[0]].attrs) if axes else {}
        axes = {dims[0]: xr.DataArray(np.atleast_1d(np.asarray(x, dtype=np.float64)), dims=dims[0], attrs=attrs)}
    lost = [name for name, dim in zip(names, dims, strict=True) if dim not in axes]
    if lost:
        raise ValueError(f"the result has lost its coordinate {lost}: pass x=")
    samples = [xr.DataArray(axes[dim].values.astype(np.float64), dims=dim) for dim in dims]
    parameters = [result[p].drop_vars([c for c in result[p].coords if set(result[p][c].dims) & set(dims)])
                  for p in model.parameters]  # fmt: skip
    label = f"fitted {result.attrs['fitted_variable']}".strip()
    dtype = np.complex128 if model.is_complex else np.float64
    output = chunked.Output(
        dtype, tuple(dims), attrs={"units": result.attrs.get("fitted_units", "1"), "long_name": label}
    )
    made = chunked.apply(
        _evaluate_block, *samples, *parameters, dims=[*([d] for d in dims), *([] for _ in parameters)],
        outputs={"model": output}, kwargs={"model": model},
    )["model"]  # fmt: skip
    coords = {name: (dim, axes[dim].values, dict(axes[dim].attrs)) for name, dim in zip(names, dims, strict=True)}
    return made.transpose(*parameters[0].dims, *dims).assign_coords(coords)


@results.register("fit", "residual")
def residual_of_fit(
    result: xr.Dataset,
    data: xr.DataArray | xr.Dataset | None = None,
    functions: Mapping[str, Callable[..., Any]] | None = None,
) -> xr.DataArray:
    """Data minus model; see `xpycro.engine.results.residual`."""
    da = chunked.lazily(provenance.source_data(result, data, purpose="residual"))
    names, dims = _names(result.attrs["fitted_axis"]), _names(result.attrs["fitted_dim"])
    missing = [dim for dim in dims if dim not in da.dims]
    if missing:
        raise schema.DimensionError(f"the fit ran along {missing}, which the data {list(da.dims)} do not have")
    axis = None
    if len(dims) == 1:  # also where a window left part of the axis out
        axis = da.coords[names[0]] if names[0] in da.coords else result.coords[names[0]]
        axis = xr.DataArray(axis.values, dims=dims[0], attrs=axis.attrs)
    model = evaluate_fit(result, axis, functions)
    difference = da - model.drop_vars([c for c in model.coords if c in da.coords], errors="ignore")
    return difference.transpose(*da.dims).assign_attrs({**da.attrs, "long_name": "residual"}).rename("residual")
