"""Fit a model to every pixel.

May import numpy, xarray, the floors below and this room; dask only through engine.chunked, numba never directly.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from xpycro import provenance, schema
from xpycro.analysis import fit_curves, models
from xpycro.analysis._fit_block import Task, fit_block
from xpycro.analysis._fit_data import axis_of, check_kind, restrict, sigma_of, unit_of
from xpycro.analysis._fit_parameters import candidates, known_of, with_units
from xpycro.engine import chunked, results
from xpycro.engine.solver import Loss, Problem, Status

__all__ = ["fit"]

_LOSSES = tuple(loss.name.lower() for loss in Loss)
# What comes after the parameters and their errors, in this order.
_SUMMARY = ("residual_rms", "r2", "aic", "bic", "converged", "status", "n_iterations")


@provenance.recorded("fit")
def fit(
    data: xr.DataArray | xr.Dataset,
    model: str | models.Model | Callable[..., Any],
    *,
    dim: str | Sequence[str] | None = None,
    variable: str | None = None,
    start: Mapping[str, Any] | Sequence[float] | str | None = None,
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
        A name of ``xp.models.list()``, a sum such as ``"gaussian + linear"`` or ``Gaussian(name="pi") + Linear()``, a
        function ``f(x, first, second, ...)``, which needs `start`, or an ``lmfit.Model``.
    dim : str, optional
        What one spectrum spans; the signal dim if it is unambiguous. The name of a coordinate along it chooses that
        coordinate as the axis.
    variable : str, optional
        Of a Dataset, needed unless one variable has the dim.
    start : mapping of str to number or DataArray, sequence of numbers, or "clusters", optional
        Starts of some or all parameters; the others are estimated. Linear parameters need none. ``"clusters"`` starts
        from fits of the mean spectra of clusters; an ``lmfit.Parameters`` brings limits, fixed values and ties along.
        Without starts, peaks alike are numbered by their places.
    bounds : mapping of str to (lower, upper), optional
        None or infinity leaves a side open.
    fixed : mapping of str to number, DataArray or str, optional
        A number, a map over the pixels, or the name of another parameter to follow. Numbers here, in `start` and in
        `bounds` may be text with a unit (``"1.2 eV"``); maps and sigma that say another unit are converted. So a
        function's parameters get their units: without any they have none.
    sigma : DataArray or float, optional
        Standard deviation of the data, of each quadrature where they are complex; per channel, per pixel or both.
        Channels whose sigma is not positive, infinite or NaN are left out.
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
        If a model, parameter, loss or bound is unknown or impossible, real and complex do not match, or a map, sigma or
        exclude= lies at other coordinates than the data.
    DimensionError
        If the dimension is missing or ambiguous.

    Notes
    -----
    *Laziness*: lazy for lazy data, one pass. The minimum is found when the undamped step would lower the cost by less
    than 1e-10 of it (for oscillators: or when steps shrink so fast that one more arrives there), that is when every
    parameter is within about 1e-4 standard errors of the optimum. Errors of robust losses are Huber's (Robust
    Statistics, 1981, 7.6), from the residuals whether or not sigma is absolute.

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
    chosen = models.parse(model, is_complex=da.dtype.kind == "c")
    dims = schema.resolve_dims(da, dim, ndim=chosen.ndim)
    check_kind(da, chosen)
    _check_numbers(loss, sigma, absolute_sigma, max_iterations, preview, chosen)
    axes = [axis_of(da, d, dim) for d in dims]
    da, axes, weights = restrict(da, axes, dims, sigma_of(sigma, da, dims), exclude, window)
    chosen = with_units(chosen, unit_of(axes[0]), unit_of(da), start, fixed, bounds)
    units = {name: p.unit(unit_of(axes[0]), unit_of(da)) for name, p in chosen.parameters.items()}
    by_cluster = isinstance(start, str) and start == "clusters"
    if by_cluster and isinstance(chosen, models.PythonModel):
        raise ValueError("start='clusters' needs a model that finds its own starts; a function needs numbers or maps")
    known = known_of(chosen, units, da, dims, None if by_cluster else start, bounds, fixed)
    x = _places(axes)
    chosen.check_axis(x)
    problem = Problem(
        components=() if isinstance(chosen, models.PythonModel) else tuple(t.component() for t in chosen.terms),
        lower=known.lower, upper=known.upper, fixed=known.fixed, tied=known.tied,
        quadratures=2 if chosen.is_complex else 1, ndim=len(axes), loss=Loss[loss.upper()],
        absolute_sigma=absolute_sigma, covariance=covariance, max_iterations=max_iterations,
        candidates=candidates(chosen, x),
    )  # fmt: skip
    _check_points(chosen, x, problem.n_fitted)
    task = Task(chosen, problem, tuple(map(tuple, x.tolist())), known.start, known.mapped, weights is not None,
                by_cluster)  # fmt: skip
    arrays, core = [da, *known.maps], [list(dims), *([] for _ in known.maps)]
    if weights is not None:
        arrays.insert(1, weights)
        core.insert(1, list(dims))
    if preview is not None:
        return _preview(arrays, core, task, axes, units, preview)
    return _fitted(arrays, core, task, axes, units)


def _check_numbers(
    loss: str, sigma: Any, absolute_sigma: bool, max_iterations: int, preview: int | None, model: models.Model
) -> None:
    if loss not in _LOSSES:
        raise ValueError(f"loss={loss!r} is unknown; choose one of {list(_LOSSES)}")
    if loss == "poisson" and model.is_complex:
        raise ValueError("loss='poisson' is for counts, which are not complex")
    if loss == "poisson" and sigma is not None:
        raise ValueError("loss='poisson' knows the noise of counts itself: leave sigma= out")
    if absolute_sigma and sigma is None:
        raise ValueError("absolute_sigma=True needs sigma=, the standard deviation of the data in their units")
    for name, value in (("max_iterations", max_iterations), ("preview", preview)):
        if value is not None and (not isinstance(value, int | np.integer) or value < 1):
            raise ValueError(f"{name}={value!r} must be a whole number, at least 1")


def _places(axes: Sequence[xr.DataArray]) -> np.ndarray:
    """The axes as the solver takes them, one row each; of an image the last dim first: x, then y."""
    if len(axes) == 1:
        return np.asarray(axes[0].values[None])
    return np.stack([m.ravel() for m in np.meshgrid(*[a.values for a in axes], indexing="ij")][::-1])


def _check_points(model: models.Model, x: np.ndarray, n_fitted: int) -> None:
    names, points = list(model.parameters), x.shape[1] * (2 if model.is_complex else 1)
    if n_fitted == 0:
        raise ValueError("every parameter is fixed: there is nothing to fit; evaluate the model instead")
    if points < n_fitted:
        raise ValueError(
            f"{points} points cannot determine {n_fitted} parameters of {names}: fix some, or widen the window"
        )


def _fitted(
    arrays: Sequence[xr.DataArray], core: Sequence[Sequence[str]], task: Task, axes: Sequence[xr.DataArray],
    units: Mapping[str, str],
) -> xr.Dataset:  # fmt: skip
    da = arrays[0]
    made = chunked.apply(fit_block, *arrays, dims=core, outputs=_outputs(task, units, da), kwargs={"task": task})
    return _result(made, task, axes, da)


def _preview(
    arrays: Sequence[xr.DataArray], core: Sequence[Sequence[str]], task: Task, axes: Sequence[xr.DataArray],
    units: Mapping[str, str], count: int,
) -> xr.Dataset:  # fmt: skip
    """Fit about `count` pixels now, evenly spread along each dim; say what all of them would take."""
    da = arrays[0]
    observed = [str(d) for d in da.dims if d not in core[0]]
    each = max(1, round(count ** (1 / max(1, len(observed)))))
    picked = {d: np.unique(np.linspace(0, da.sizes[d] - 1, min(each, da.sizes[d])).round().astype(int))
              for d in observed}  # fmt: skip

    def some(indices: Mapping[str, Any]) -> list[xr.DataArray]:
        return [chunked.lazily(a).isel({d: i for d, i in indices.items() if d in a.dims}).load() for a in arrays]

    _fitted(some({d: i[:1] for d, i in picked.items()}), core, task, axes, units)  # compiles
    small = some(picked)
    began = time.perf_counter()
    result = _fitted(small, core, task, axes, units)
    seconds = time.perf_counter() - began
    total, fitted = (int(np.prod([sizes[d] for d in observed])) for sizes in (da.sizes, small[0].sizes))
    block = max(1, chunked.BLOCK_BYTES // max(1, da.dtype.itemsize))
    facts = {
        "preview_pixels": fitted,
        "estimated_seconds": seconds * total / max(1, fitted),
        "estimated_result_bytes": 8 * total * (2 * len(units) + 6),
        "estimated_peak_bytes": min(int(da.size), 2 * block) * da.dtype.itemsize * 2,
    }
    return result.assign_attrs(facts)


# ------------------------------------------------------------------------------------------------------ the result


def _outputs(task: Task, units: Mapping[str, str], da: xr.DataArray) -> dict[str, chunked.Output]:
    taken = sorted(set(units) & set(_SUMMARY))
    if taken:
        raise ValueError(f"parameters cannot be called {taken}: the result has variables of these names")

    def number(unit: str, label: str, **more: str) -> chunked.Output:
        return chunked.Output(np.float64, attrs={"units": unit, "long_name": label, **more})

    outputs = {}
    for name, parameter in task.model.parameters.items():
        more = {"description": parameter.description} if parameter.description else {}
        outputs[name] = number(units[name], name.replace("_", " "), **more)
    for name, unit in units.items():
        outputs[f"{name}_stderr"] = number(unit, f"{name.replace('_', ' ')} standard error")
    outputs["residual_rms"] = number(unit_of(da), "rms residual")
    outputs["r2"] = number("1", "coefficient of determination")
    outputs["aic"] = number("1", "Akaike information criterion")
    outputs["bic"] = number("1", "Bayesian information criterion")
    outputs["converged"] = chunked.Output(np.bool_, attrs={"units": "1", "long_name": "converged"})
    flags = {"flag_values": [int(s) for s in Status], "flag_meanings": " ".join(s.meaning for s in Status)}
    outputs["status"] = chunked.Output(np.uint8, attrs={"units": "1", "long_name": "status of the fit", **flags})
    outputs["n_iterations"] = chunked.Output(np.int32, attrs={"units": "1", "long_name": "iterations"})
    if task.problem.covariance:
        outputs["covariance"] = chunked.Output(
            np.float64, ("parameter", "parameter_"), {"parameter": len(units), "parameter_": len(units)},
            {"long_name": "covariance of the parameters", "units": "product of the parameters' units"},
        )  # fmt: skip
    return outputs


def _result(made: Mapping[str, xr.DataArray], task: Task, axes: Sequence[xr.DataArray], da: xr.DataArray) -> xr.Dataset:
    problem, names = task.problem, list(task.model.parameters)
    coords: dict[str, Any] = {str(axis.name): (axis.dims, axis.values, dict(axis.attrs)) for axis in axes}
    if "covariance" in made:
        for dim in ("parameter", "parameter_"):
            coords[dim] = ((dim,), np.array(names), {"long_name": "parameter"})
    attrs: dict[str, Any] = {
        "pycro_model": fit_curves.described(task.model),
        "model": repr(task.model),
        "fitted_axis": fit_curves.joined([str(axis.name) for axis in axes]),
        "fitted_dim": fit_curves.joined([str(axis.dims[0]) for axis in axes]),
        "fitted_variable": "" if da.name is None else str(da.name),
        "fitted_units": unit_of(da),
        "loss": problem.loss.name.lower(),
        "weighted": int(task.has_sigma),
        "absolute_sigma": int(problem.absolute_sigma),
        "n_fitted": problem.n_fitted,
        "n_points": len(task.x[0]) * problem.quadratures,
        "parameters": json.dumps(names),
    }
    # all come from one evaluation: there is nothing to align
    coords = {**{str(name): coord for name, coord in next(iter(made.values())).coords.items()}, **coords}
    return schema.new_result("fit", {name: each.variable for name, each in made.items()}, coords, attrs)


@results.register("fit", "extrapolate")
def extrapolate(
    data: xr.DataArray, model: str | models.Model | Callable[..., Any], dim: str, exclude: xr.DataArray, **options: Any
) -> xr.DataArray:
    """The curve of a model over the whole axis, fitted where nothing is excluded; NaN where it is not defined.

    For rooms beside this one, which find it through `xpycro.engine.results`; `options` are those of `fit`.
    """
    chosen = models.parse(model, is_complex=data.dtype.kind == "c")
    found = fit(data, chosen, dim=dim, exclude=exclude, **options)
    (along,) = schema.resolve_dims(data, dim)
    curve = fit_curves.curve_of(found, chosen, [axis_of(data, along, dim)])
    return curve.where(abs(curve) < np.inf).transpose(*data.dims)
