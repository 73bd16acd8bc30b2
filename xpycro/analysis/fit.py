"""Fit a model to every pixel: `fit`, and what a fit result can do (`evaluate`, `residual`).

May import numpy, xarray, the floors below and analysis.models; dask only through engine.chunked, numba never directly.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr

from xpycro import provenance, schema
from xpycro.analysis import models
from xpycro.engine import chunked, results
from xpycro.engine.solver import Loss, Problem, Solution, Status, solve, solve_harmonic, solve_python
from xpycro.units import conversion

__all__ = ["evaluate_fit", "fit", "residual_of_fit"]

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
    _check_dtype(da)
    chosen = models.parse(model, is_complex=np.issubdtype(da.dtype, np.complexfloating))
    dims = schema.resolve_dims(da, dim, ndim=chosen.ndim)
    _check_complex(da, chosen)
    axis = _axis(da, dims[0], dim)
    da, axis = _restrict(da, axis, dims[0], exclude, window)
    task, maps = _task(chosen, axis, da, dims, start, bounds, fixed, loss, covariance, max_iterations)
    task = replace(task, absolute_sigma=_check_absolute(absolute_sigma, sigma, loss))
    weights = _sigma(sigma, da, dims)
    task = replace(task, has_sigma=weights is not None)
    if preview is not None:
        raise NotImplementedError("preview= is not there yet: fit a part of the data, such as data.isel(y=slice(4))")
    arrays = [da, *([weights] if weights is not None else []), *maps]
    core = [list(dims), *([[d for d in dims if d in weights.dims]] if weights is not None else []), *[[] for _ in maps]]
    made = chunked.apply(
        _fit_block, *arrays, dims=core, outputs=_outputs(chosen, axis, da, covariance), kwargs={"task": task}
    )
    return _result(made, chosen, axis, da, loss)


# ------------------------------------------------------------------------------------------------------ on blocks


@dataclass(frozen=True)
class _Task:
    """What a block needs besides its arrays; pickles."""

    model: models.Model
    problem: Problem
    x: tuple[float, ...]
    start: tuple[float, ...]
    mapped: tuple[int, ...]
    has_sigma: bool = False
    absolute_sigma: bool = False
    robust: bool = False


def _fit_block(data: np.ndarray, *others: np.ndarray, task: _Task) -> tuple[np.ndarray, ...]:
    """Parameters, errors, summary and covariance of a block; the last axis of `data` is the fitted one."""
    lead, n = data.shape[:-1], data.shape[-1]
    y = data.reshape(-1, n)
    rest = list(others)
    sigma = None
    if task.has_sigma:
        given = np.asarray(rest.pop(0), dtype=np.float64)
        if given.size == given.shape[-1] == n:
            sigma = given.reshape(1, n)
        else:
            sigma = np.broadcast_to(given, (*lead, n)).reshape(-1, n)
    start = np.array([task.start], dtype=np.float64)
    if task.mapped:
        start = np.repeat(start, len(y), axis=0)
        for j, values in zip(task.mapped, rest, strict=True):
            start[:, j] = np.broadcast_to(values, lead).ravel()
    x = np.array(task.x)
    problem = replace(task.problem, absolute_sigma=task.absolute_sigma)
    if isinstance(task.model, models.PythonModel):
        solution = solve_python(task.model.user_function, problem, x, y, sigma=sigma, start=start)
    elif isinstance(task.model, models.HarmonicOscillator) and _plain(problem, task):
        solution = solve_harmonic(problem, x, y, sigma=sigma, start=start)
    else:
        solution = _solve_general(task.model, problem, x, y, sigma, start)
    return tuple(np.asarray(a).reshape((*lead, *np.shape(a)[1:])) for a in _summary(solution, problem, task))


def _solve_general(
    model: models.Model, problem: Problem, x: np.ndarray, y: np.ndarray, sigma: np.ndarray | None, start: np.ndarray
) -> Solution:
    """The general kernel; oscillators start from their own free fit, and their phase ends within a turn."""
    columns = {}
    begin = 0
    for term in model.terms:
        if isinstance(term, models.HarmonicOscillator):
            columns[begin] = begin + len(term.own_parameters)
        begin += len(term.own_parameters)
    if not columns:
        return solve(problem, x, y, sigma=sigma, start=start)
    free = solve_harmonic(replace(problem, covariance=False), x, y, sigma=sigma)
    estimate = np.where(np.isnan(free.parameters), [np.nan, x.mean(), 50.0, 0.0], free.parameters)
    start = np.array(np.broadcast_to(start, (len(y), start.shape[1])))
    for first, end in columns.items():
        part = start[:, first + 1 : end]
        part[...] = np.where(np.isnan(part), estimate[:, 1:], part)
    solution = solve(problem, x, y, sigma=sigma, start=start)
    for first in columns:
        phase = first + 3
        if np.isinf(problem.lower[phase]) and np.isinf(problem.upper[phase]) and not problem.fixed[phase]:
            wrapped = solution.parameters[:, phase]
            wrapped[...] = -((np.pi - wrapped) % (2 * np.pi) - np.pi)
    if len(model.terms) == 1:
        conjugated = free.status == Status.CONJUGATED
        solution.status[conjugated] = Status.CONJUGATED
        solution.parameters[conjugated] = np.nan
        solution.errors[conjugated] = np.nan
    return solution


def _plain(problem: Problem, task: _Task) -> bool:
    """Whether nothing but the default bounds constrains the fit."""
    default = tuple(p.lower for p in task.model.parameters.values())
    unbounded = problem.lower == default and all(np.isinf(u) for u in problem.upper)
    return unbounded and not any(problem.fixed) and max(problem.tied) < 0 and problem.loss == Loss.LINEAR


def _summary(solution: Solution, problem: Problem, task: _Task) -> list[np.ndarray]:
    count = problem.n_fitted
    n = solution.n_points
    converged = np.isin(solution.status, [s for s in Status if s.converged])
    with np.errstate(all="ignore"):
        rms = np.sqrt(solution.sum_of_squares * problem.quadratures / n)
        if task.robust:
            aic = bic = np.full(n.shape, np.nan)
        elif task.absolute_sigma or problem.loss == Loss.POISSON:
            aic, bic = 2 * solution.cost + 2 * count, 2 * solution.cost + count * np.log(n)
        else:  # the noise is one parameter more
            likelihood = n * np.log(2 * solution.cost / n)
            aic, bic = likelihood + 2 * (count + 1), likelihood + (count + 1) * np.log(n)
    parts = [*solution.parameters.T, *solution.errors.T, rms, solution.r2, aic, bic, converged, solution.status]
    parts.append(solution.iterations)
    if problem.covariance:
        parts.append(solution.covariance)
    return parts


# ---------------------------------------------------------------------------------------------------- the arguments


def _check_dtype(da: xr.DataArray) -> None:
    if da.dtype.kind not in "fciu":
        raise ValueError(
            f"{da.name!r} holds {da.dtype}: fit needs real or complex numbers, convert it with .astype(float)"
        )


def _check_complex(da: xr.DataArray, model: models.Model) -> None:
    is_complex = np.issubdtype(da.dtype, np.complexfloating)
    if is_complex and not model.is_complex:
        raise ValueError(
            f"{model!r} is real and {da.name!r} is complex: fit its .real, .imag or abs(), or a complex model"
        )
    if model.is_complex and not is_complex:
        raise ValueError(
            f"{model!r} is complex and {da.name!r} is real ({da.dtype}): join the quadratures, re + 1j * im, or "
            "amplitude * exp(1j * phase)"
        )


def _check_absolute(absolute_sigma: bool, sigma: Any, loss: str) -> bool:
    if absolute_sigma and sigma is None:
        raise ValueError("absolute_sigma=True needs sigma=, the standard deviation of the data in their units")
    if loss == "poisson" and sigma is not None:
        raise ValueError("loss='poisson' knows the noise of counts itself: leave sigma= out")
    return absolute_sigma


def _axis(da: xr.DataArray, dim: str, asked: Any) -> xr.DataArray:
    """The fitted axis: the coordinate asked for, the dim's own, the only one along it, else the channel number."""
    name = asked if isinstance(asked, str) and asked in da.coords else dim
    if name not in da.coords:
        along = [str(c) for c in da.coords if da[c].dims == (dim,) and da[c].dtype.kind in "fiu"]
        if len(along) == 1:
            name = along[0]
        else:
            return xr.DataArray(np.arange(float(da.sizes[dim])), dims=dim, name=dim, attrs={"units": "1"})
    axis = da.coords[name].reset_coords(drop=True)
    if axis.dtype.kind == "M":
        raise ValueError(f"the axis {name!r} holds dates: convert it to seconds first")
    if axis.dtype.kind not in "fiu" or not bool(np.isfinite(axis.values).all()):
        raise ValueError(f"the axis {name!r} must hold finite numbers; it holds {axis.dtype} with NaN or text")
    return axis.astype(np.float64).rename(name).assign_attrs(da.coords[name].attrs)


def _restrict(
    da: xr.DataArray, axis: xr.DataArray, dim: str, exclude: xr.DataArray | None, window: tuple[Any, Any] | None
) -> tuple[xr.DataArray, xr.DataArray]:
    """Leave out what `window` and `exclude` name: channels altogether where they say the same for every pixel."""
    keep = np.ones(axis.size, dtype=bool)
    if window is not None:
        if not isinstance(window, tuple | list) or len(window) != 2:
            raise ValueError(f"window= takes (low, high) along {axis.name!r}, not {window!r}")
        low, high = (_quantity(end, axis) for end in window)
        keep &= (axis.values >= (-np.inf if low is None else low)) & (axis.values <= (np.inf if high is None else high))
        if not keep.any():
            raise ValueError(
                f"window={tuple(window)!r} holds no point of {axis.name!r}, which spans "
                f"{axis.values.min():g} to {axis.values.max():g} {axis.attrs.get('units', '')}"
            )
    if exclude is not None:
        if not isinstance(exclude, xr.DataArray) or exclude.dtype != bool:
            raise ValueError("exclude= takes a boolean DataArray, True where data are left out")
        extra = [d for d in exclude.dims if d not in da.dims]
        if extra:
            raise schema.DimensionError(f"exclude= has dims {extra} that the data {list(da.dims)} do not have")
        if exclude.dims == (dim,):
            keep &= ~exclude.values
        else:
            kept = ~exclude
            da = da.where(kept if chunked.state(da) == "memory" else chunked.lazily(kept))
            da = da.transpose(*[d for d in da.dims if d != dim], dim) if dim in da.dims else da
    if not keep.any():
        raise ValueError(f"there is nothing to fit: no channel of {axis.name!r} is left (size {axis.size})")
    if not keep.all():
        da = chunked.lazily(da)
        index = np.flatnonzero(keep)
        contiguous = index[-1] - index[0] + 1 == index.size
        part = slice(int(index[0]), int(index[-1]) + 1) if contiguous else index
        da, axis = da.isel({dim: part}), axis.isel({dim: part})
    return da, axis


def _quantity(value: Any, axis: xr.DataArray) -> float | None:
    """A number in the axis' units, from a number or text with a unit."""
    if value is None or not isinstance(value, str):
        return None if value is None else float(value)
    number, _, unit = value.strip().partition(" ")
    try:
        return float(number) * (conversion(unit.strip(), str(axis.attrs.get("units"))) if unit.strip() else 1.0)
    except ValueError as error:
        raise ValueError(
            f"window end {value!r} is not a number with a unit of {axis.attrs.get('units')!r}: {error}"
        ) from None


def _known(names: Mapping[str, Any], given: Mapping[str, Any], argument: str) -> None:
    if not isinstance(given, Mapping):
        raise TypeError(f"{argument}= takes a mapping of parameter names, not {type(given).__name__}")
    unknown = sorted(set(given) - set(names))
    if unknown:
        raise ValueError(
            f"{argument}= names {unknown}, which the model does not have; its parameters are {list(names)}"
        )


def _task(
    model: models.Model, axis: xr.DataArray, da: xr.DataArray, dims: Sequence[str], start: Any, bounds: Any, fixed: Any,
    loss: str, covariance: bool, max_iterations: int,
) -> tuple[_Task, list[xr.DataArray]]:  # fmt: skip
    """Everything checked and turned into indices; and the maps among starts and fixed values."""
    parameters = model.parameters
    names = list(parameters)
    if loss not in _LOSSES:
        raise ValueError(f"loss={loss!r} is unknown; choose one of {list(_LOSSES)}")
    if loss == "poisson" and model.is_complex:
        raise ValueError("loss='poisson' is for counts, which are not complex")
    if max_iterations < 1:
        raise ValueError(f"max_iterations={max_iterations} must be at least 1")
    if start is not None and not isinstance(start, Mapping):
        numbers = [] if isinstance(start, str) else list(np.atleast_1d(start))
        if len(numbers) != len(names):
            raise ValueError(f"start= takes a mapping, or {len(names)} numbers in the order of {names}, not {start!r}")
        start = dict(zip(names, numbers, strict=True))
    start, bounds, fixed = dict(start or {}), dict(bounds or {}), dict(fixed or {})
    for given, argument in ((start, "start"), (bounds, "bounds"), (fixed, "fixed")):
        _known(parameters, given, argument)
    both = sorted(set(start) & set(fixed))
    if both:
        raise ValueError(f"{both} are in start= and in fixed=; a fixed parameter has no start")
    lower, upper = _bounds(parameters, bounds)
    tied = [-1] * len(names)
    values: dict[str, Any] = dict(start)
    for name, value in fixed.items():
        if not isinstance(value, str):
            values[name] = value
            continue
        if value not in names or value == name:
            raise ValueError(f"fixed={{{name!r}: {value!r}}} must name another parameter of {names}")
        if isinstance(fixed.get(value), str):
            raise ValueError(f"{name!r} follows {value!r}, which follows {fixed[value]!r}: tie both to the last")
        if value in fixed:  # following a fixed parameter is being fixed at its value
            values[name] = fixed[value]
        else:
            tied[names.index(name)] = names.index(value)
    is_fixed = [name in fixed and tied[j] < 0 for j, name in enumerate(names)]
    if isinstance(model, models.PythonModel):
        missing = [n for j, n in enumerate(names) if n not in values and tied[j] < 0]
        if missing:
            raise ValueError(f"a Python function needs start= for all its parameters; {missing} have none")
    constants, mapped, maps = [np.nan] * len(names), [], []
    for name, value in values.items():
        if isinstance(value, xr.DataArray) and value.ndim:
            extra = [d for d in value.dims if d not in da.dims or d in dims]
            if extra:
                raise schema.DimensionError(f"the map for {name!r} has dims {extra}; the pixels have "
                                            f"{list(schema.observation_dims(da, dims))}")  # fmt: skip
            mapped.append(names.index(name))
            maps.append(value.reset_coords(drop=True))
        else:
            constants[names.index(name)] = float(value)
    fitted = sum(not f and t < 0 for f, t in zip(is_fixed, tied, strict=True))
    points = axis.size * (2 if model.is_complex else 1)
    if fitted == 0:
        raise ValueError("every parameter is fixed: there is nothing to fit; evaluate the model instead")
    if points < fitted:
        raise ValueError(f"{points} points cannot determine {fitted} parameters {names}: fix some, or widen the window")
    problem = Problem(
        components=() if isinstance(model, models.PythonModel) else tuple(t.component() for t in model.terms),
        lower=tuple(lower), upper=tuple(upper), fixed=tuple(is_fixed), tied=tuple(tied),
        quadratures=2 if model.is_complex else 1, loss=Loss[loss.upper()], covariance=covariance,
        max_iterations=int(max_iterations),
    )  # fmt: skip
    robust = loss in ("soft_l1", "huber", "cauchy")
    return _Task(model, problem, tuple(axis.values.tolist()), tuple(constants), tuple(mapped), robust=robust), maps


def _bounds(parameters: Mapping[str, models.Parameter], bounds: Mapping[str, Any]) -> tuple[list[float], list[float]]:
    lower = [p.lower for p in parameters.values()]
    upper = [p.upper for p in parameters.values()]
    wrong = []
    for j, name in enumerate(parameters):
        if name not in bounds:
            continue
        try:
            low, high = bounds[name]
        except (TypeError, ValueError):
            raise ValueError(f"bounds of {name!r} must be (lower, upper), not {bounds[name]!r}") from None
        low, high = -np.inf if low is None else float(low), np.inf if high is None else float(high)
        if not low < high:
            wrong.append(f"{name}: ({low:g}, {high:g})")
        lower[j], upper[j] = max(low, lower[j]), min(high, upper[j])
        if low < high and not lower[j] < upper[j]:
            wrong.append(f"{name}: ({low:g}, {high:g}) leaves nothing of its range from {parameters[name].lower:g}")
    if wrong:
        raise ValueError(f"bounds need lower < upper (use fixed= to hold a parameter): {'; '.join(wrong)}")
    return lower, upper


def _sigma(sigma: Any, da: xr.DataArray, dims: Sequence[str]) -> xr.DataArray | None:
    if sigma is None:
        return None
    if not isinstance(sigma, xr.DataArray):
        value = float(sigma)
        if not value > 0 or not np.isfinite(value):
            raise ValueError(f"sigma={sigma!r} must be positive: it is the standard deviation of the data")
        return xr.DataArray(np.full([da.sizes[d] for d in dims], value), dims=dims)
    if sigma.dtype.kind not in "fiu":
        raise ValueError(f"sigma= must be real numbers, not {sigma.dtype}")
    extra = [d for d in sigma.dims if d not in da.dims]
    if extra:
        raise schema.DimensionError(f"sigma= has dims {extra} that the data {list(da.dims)} do not have")
    sigma = sigma.reset_coords(drop=True)
    for d in dims:
        if d not in sigma.dims:
            sigma = sigma.expand_dims({d: da.sizes[d]}, axis=-1)
        elif sigma.sizes[d] != da.sizes[d]:
            if d in sigma.coords and d in da.coords:
                sigma = sigma.sel({d: da.coords[d]})
            else:
                raise ValueError(f"sigma= has {sigma.sizes[d]} points along {d!r}, the fitted data {da.sizes[d]}")
    return sigma


# ------------------------------------------------------------------------------------------------------ the result


def _outputs(model: models.Model, axis: xr.DataArray, da: xr.DataArray, covariance: bool) -> dict[str, chunked.Output]:
    unit_x, unit_y = str(axis.attrs.get("units", "1")), str(da.attrs.get("units", "1"))
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
    made: Mapping[str, xr.DataArray], model: models.Model, axis: xr.DataArray, da: xr.DataArray, loss: str
) -> xr.Dataset:
    name = str(axis.name)
    coords: dict[str, Any] = {name: (axis.dims, axis.values, dict(axis.attrs))}
    if "covariance" in made:
        for dim in ("parameter", "parameter_"):
            coords[dim] = ((dim,), np.array(list(model.parameters)), {"long_name": "parameter"})
    attrs = {
        "pycro_model": json.dumps(model.describe()),
        "model": repr(model),
        "fitted_axis": name,
        "fitted_dim": str(axis.dims[0]),
        "fitted_variable": "" if da.name is None else str(da.name),
        "fitted_units": str(da.attrs.get("units", "1")),
        "fitted_dtype": str(np.result_type(da.dtype, np.float32)),
        "loss": loss,
        "parameters": json.dumps(list(model.parameters)),
    }
    return schema.new_result("fit", made, coords, attrs)


def _model_of(result: xr.Dataset) -> models.Model:
    return models.restore(json.loads(result.attrs.get("pycro_model", "{}")))


def _evaluate_block(x: np.ndarray, *parameters: np.ndarray, model: models.Model) -> np.ndarray:
    return np.asarray(model.evaluate(x, *(np.asarray(p)[..., None] for p in parameters)))


@results.register("fit", "evaluate")
def evaluate_fit(result: xr.Dataset, x: Any = None) -> xr.DataArray:
    """The model of a fit at its parameters; see `xpycro.engine.results.evaluate`."""
    model = _model_of(result)
    name, dim = result.attrs["fitted_axis"], result.attrs["fitted_dim"]
    axis = result.coords[name] if name in result.coords else None
    if isinstance(x, xr.DataArray):
        if x.ndim != 1:
            raise ValueError(f"x= must have one dim, not {list(x.dims)}")
        axis, dim = x, str(x.dims[0])
    elif x is not None:
        attrs = {} if axis is None else dict(axis.attrs)
        axis = xr.DataArray(np.atleast_1d(np.asarray(x, dtype=np.float64)), dims=dim, attrs=attrs)
    elif axis is None:
        raise ValueError(f"the result has lost its coordinate {name!r}: pass x=")
    values = axis.astype(np.float64).variable
    parameters = [result[p] for p in model.parameters]
    sample = xr.DataArray(values.values, dims=dim)
    clean = [p.drop_vars([c for c in p.coords if dim in p[c].dims]) for p in parameters]
    attrs = {
        "units": result.attrs.get("fitted_units", "1"),
        "long_name": f"fitted {result.attrs['fitted_variable']}".strip(),
    }
    output = chunked.Output(np.complex128 if model.is_complex else np.float64, (dim,), attrs=attrs)
    order = [*clean[0].dims, dim]
    made = chunked.apply(
        _evaluate_block, sample, *clean, dims=[[dim], *[[] for _ in clean]], outputs={"model": output},
        kwargs={"model": model},
    )["model"]  # fmt: skip
    return made.transpose(*order).assign_coords({name: (dim, values.values, dict(axis.attrs))})


@results.register("fit", "residual")
def residual_of_fit(result: xr.Dataset, data: xr.DataArray | xr.Dataset | None = None) -> xr.DataArray:
    """Data minus model; see `xpycro.engine.results.residual`."""
    da = chunked.lazily(provenance.source_data(result, data, purpose="residual"))
    name, dim = result.attrs["fitted_axis"], result.attrs["fitted_dim"]
    if dim not in da.dims:
        raise schema.DimensionError(f"the fit ran along {dim!r}, which the data {list(da.dims)} do not have")
    axis = da.coords[name] if name in da.coords else result.coords[name]
    model = evaluate_fit(result, xr.DataArray(axis.values, dims=dim, attrs=axis.attrs))
    difference = da - model.drop_vars([c for c in model.coords if c in da.coords], errors="ignore")
    return difference.transpose(*da.dims).assign_attrs({**da.attrs, "long_name": "residual"}).rename("residual")
