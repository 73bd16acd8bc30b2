"""The arguments of `fit`, checked, and turned into what a block needs.

May import numpy, xarray, the floors below, the models and _fit_block.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from xpycro import schema
from xpycro.analysis import models
from xpycro.analysis._fit_block import Task
from xpycro.engine import chunked
from xpycro.engine.solver import Loss, Problem
from xpycro.units import conversion

__all__ = ["axis_of", "check_absolute", "check_complex", "check_dtype", "restrict", "sigma_of", "task_of"]

_LOSSES = tuple(loss.name.lower() for loss in Loss)


def check_dtype(da: xr.DataArray) -> None:
    if da.dtype.kind not in "fciu":
        raise ValueError(
            f"{_called(da)} holds {da.dtype}: fit needs real or complex numbers, convert it with .astype(float)"
        )


def _called(da: xr.DataArray) -> str:
    return repr(da.name) if da.name is not None else "the data"


def check_complex(da: xr.DataArray, model: models.Model) -> None:
    is_complex = np.issubdtype(da.dtype, np.complexfloating)
    if is_complex and not model.is_complex:
        raise ValueError(
            f"{model!r} is real and {_called(da)} is complex: fit its .real, .imag or abs(), or a complex model"
        )
    if model.is_complex and not is_complex:
        raise ValueError(
            f"{model!r} is complex and {_called(da)} is real ({da.dtype}): join the quadratures, re + 1j * im, or "
            "amplitude * exp(1j * phase)"
        )


def check_absolute(absolute_sigma: bool, sigma: Any, loss: str) -> bool:
    if absolute_sigma and sigma is None:
        raise ValueError("absolute_sigma=True needs sigma=, the standard deviation of the data in their units")
    if loss == "poisson" and sigma is not None:
        raise ValueError("loss='poisson' knows the noise of counts itself: leave sigma= out")
    return absolute_sigma


def axis_of(da: xr.DataArray, dim: str, asked: Any) -> xr.DataArray:
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


def restrict(
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


def _candidates(model: models.Model, x: np.ndarray) -> tuple[tuple[float, ...], ...]:
    """Starts that the terms want tried, in all combinations, thinned to what is affordable."""
    begin, choices = 0, []
    for term in model.terms:
        names = [p.name for p in term.own_parameters]
        starts = term.starts(x) if term.ndim == 1 else ()
        choices.append([{begin + names.index(n): v for n, v in start.items()} for start in starts] or [{}])
        begin += len(names)
    combinations = list(itertools.product(*choices))
    if combinations == [({},) * len(choices)]:
        return ()
    combinations = combinations[:: -(-len(combinations) // 160)]
    rows = []
    for combination in combinations:
        row = [np.nan] * begin
        for values in combination:
            for j, value in values.items():
                row[j] = float(value)
        rows.append(tuple(row))
    return tuple(rows)


def task_of(
    model: models.Model, axes: Sequence[xr.DataArray], da: xr.DataArray, dims: Sequence[str], start: Any, bounds: Any,
    fixed: Any, loss: str, covariance: bool, max_iterations: int,
) -> tuple[Task, list[xr.DataArray]]:  # fmt: skip
    """Everything checked and turned into indices; and the maps among starts and fixed values."""
    parameters = model.parameters
    names = list(parameters)
    if loss not in _LOSSES:
        raise ValueError(f"loss={loss!r} is unknown; choose one of {list(_LOSSES)}")
    if loss == "poisson" and model.is_complex:
        raise ValueError("loss='poisson' is for counts, which are not complex")
    if max_iterations < 1:
        raise ValueError(f"max_iterations={max_iterations} must be at least 1")
    from_clusters = isinstance(start, str) and start == "clusters"
    if from_clusters:
        if isinstance(model, models.PythonModel):
            raise ValueError(
                "start='clusters' needs a model that finds its own starts; a function needs numbers or maps"
            )
        start = None
    if start is not None and not isinstance(start, Mapping):
        numbers = [] if isinstance(start, str) else list(np.atleast_1d(start))
        if len(numbers) != len(names):
            raise ValueError(
                f"start= takes a mapping, 'clusters', or {len(names)} numbers in the order of {names}, not {start!r}"
            )
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
    points = int(np.prod([a.size for a in axes])) * (2 if model.is_complex else 1)
    if fitted == 0:
        raise ValueError("every parameter is fixed: there is nothing to fit; evaluate the model instead")
    if points < fitted:
        raise ValueError(f"{points} points cannot determine {fitted} parameters {names}: fix some, or widen the window")
    if len(axes) == 1:
        x = axes[0].values[None]
    else:  # the last dim first: x, then y
        x = np.stack([m.ravel() for m in np.meshgrid(*[a.values for a in axes], indexing="ij")][::-1])
    model.check_axis(x)
    problem = Problem(
        components=() if isinstance(model, models.PythonModel) else tuple(t.component() for t in model.terms),
        lower=tuple(lower), upper=tuple(upper), fixed=tuple(is_fixed), tied=tuple(tied),
        quadratures=2 if model.is_complex else 1, loss=Loss[loss.upper()], covariance=covariance,
        max_iterations=int(max_iterations), ndim=len(axes), candidates=_candidates(model, x),
    )  # fmt: skip
    robust = loss in ("soft_l1", "huber", "cauchy")
    task = Task(
        model, problem, tuple(map(tuple, x.tolist())), tuple(constants), tuple(mapped), robust=robust,
        from_clusters=from_clusters,
    )  # fmt: skip
    return task, maps


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


def sigma_of(sigma: Any, da: xr.DataArray, dims: Sequence[str]) -> xr.DataArray | None:
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
