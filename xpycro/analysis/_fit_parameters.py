"""What `fit` is told of the parameters: starts, bounds, fixed values and ties; checked, as numbers and maps.

May import numpy, xarray, the floors below, the models and _fit_data.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr

from xpycro import schema
from xpycro.analysis import models
from xpycro.analysis._fit_data import aligned, converted
from xpycro.analysis.models.lmfit import unfolded
from xpycro.units import combine_units, quantity, to_base, unit_in

__all__ = ["Knowledge", "candidates", "known_of", "with_units"]


@dataclass(frozen=True)
class Knowledge:
    """What is known of the parameters, in their order, and the maps among it.

    Attributes
    ----------
    lower, upper : tuple of float
    fixed : tuple of bool
    tied : tuple of int
        Which parameter each one follows, or -1.
    start : tuple of float
        NaN: to be estimated, or in a map.
    mapped : tuple of int
        The parameters that `maps` are for.
    maps : tuple of DataArray
    """

    lower: tuple[float, ...]
    upper: tuple[float, ...]
    fixed: tuple[bool, ...]
    tied: tuple[int, ...]
    start: tuple[float, ...]
    mapped: tuple[int, ...]
    maps: tuple[xr.DataArray, ...]


def with_units(model: models.Model, x: str, y: str, *given: Any) -> models.Model:
    """A Python function with the units that starts, fixed values and bounds say; of others they are known.

    What measures the same as the axis, the data, or a product of their powers is in that unit: the function computes
    with numbers of the axis and of the data.
    """
    if not isinstance(model, models.PythonModel):
        return model
    units = []
    for name in model.parameters:
        said = [unit for mapping in given if isinstance(mapping, Mapping) for unit in _said(mapping.get(name))]
        units.append(_like(said[0], x, y) if said else "")
    return replace(model, units=tuple(units)) if any(units) else model


def _said(value: Any) -> list[str]:
    """Units that a value says: text, a map, or the ends of a bound."""
    if isinstance(value, tuple | list):
        return [unit for end in value for unit in _said(end)]
    if isinstance(value, xr.DataArray):
        unit = str(value.attrs.get("units", ""))
    else:
        unit = unit_in(value) if isinstance(value, str) else ""
    return [unit] if unit else []


def _like(unit: str, x: str, y: str) -> str:
    """The product of the axis' and the data's units that measures the same, else its own base unit."""
    base = to_base(unit)[1]
    for powers in ((1, 0), (0, 1), (-1, 1), (-1, 0), (1, 1), (-2, 1), (2, 0), (-2, 0), (0, 2)):
        product = combine_units((y, powers[1]), (x, powers[0]))
        if to_base(product)[1] == base:
            return product
    return base


def known_of(
    model: models.Model, units: Mapping[str, str], da: xr.DataArray, dims: Sequence[str], start: Any, bounds: Any,
    fixed: Any,
) -> Knowledge:  # fmt: skip
    """Starts, bounds and fixed values of `fit`, checked; `units` are those of the parameters."""
    names = list(units)
    start, bounds, fixed = unfolded(model, start, bounds, fixed)
    start = _starts(start, names)
    for given, argument in ((start, "start"), (bounds, "bounds"), (fixed, "fixed")):
        _check_names(names, given, argument)
    fixed = fixed or {}
    both = sorted(set(start) & set(fixed))
    if both:
        raise ValueError(f"{both} are in start= and in fixed=; a fixed parameter has no start")
    lower, upper = _bounds(model.parameters, units, bounds or {})
    held, tied = _ties(names, fixed)
    if isinstance(model, models.PythonModel):
        missing = [n for n in names if n not in start and n not in fixed]
        if missing:
            raise ValueError(f"a Python function needs start= for all its parameters; {missing} have none")
    numbers, mapped, maps = [np.nan] * len(names), [], []
    also = {"start": "", "fixed": f", or name another parameter of {names}"}
    for argument, given in (("start", start), ("fixed", held)):
        for name, value in given.items():
            j, called = names.index(name), f"{argument}= of {name!r}"
            if isinstance(value, xr.DataArray) and value.ndim:
                extra = [d for d in value.dims if d not in schema.observation_dims(da, dims)]
                if extra:
                    raise schema.DimensionError(
                        f"{called} has dims {extra}; the pixels have {list(schema.observation_dims(da, dims))}"
                    )
                mapped.append(j)
                maps.append(aligned(converted(value, units[name], called), da, called))
            else:
                numbers[j] = _number(value, units[name], called, also[argument])
                if not lower[j] <= numbers[j] <= upper[j]:
                    raise ValueError(f"{called} is {numbers[j]:g}, outside of its range {lower[j]:g} to {upper[j]:g}")
    is_fixed = tuple(name in held for name in names)
    return Knowledge(tuple(lower), tuple(upper), is_fixed, tied, tuple(numbers), tuple(mapped), tuple(maps))


def _starts(start: Any, names: list[str]) -> Any:
    """Starts by name; numbers alone stand in the order of the parameters."""
    if start is None or isinstance(start, Mapping):
        return start or {}
    numbers = [] if isinstance(start, str) or not np.iterable(start) else list(start)
    if len(numbers) != len(names):
        raise ValueError(
            f"start= takes a mapping, 'clusters', or {len(names)} numbers in the order of {names}, not {start!r}"
        )
    return dict(zip(names, numbers, strict=True))


def _check_names(names: list[str], given: Any, argument: str) -> None:
    if given is not None and not isinstance(given, Mapping):
        raise TypeError(f"{argument}= takes a mapping by the names of the parameters {names}, not {given!r}")
    unknown = [n for n in given or () if n not in names]
    if unknown:
        raise ValueError(f"{argument}= names {unknown}, which the model does not have; its parameters are {names}")


def _number(value: Any, unit: str, called: str, also: str) -> float:
    """One finite number, from a number or text with a unit."""
    if isinstance(value, np.ndarray | list) and np.ndim(value):
        raise ValueError(f"{called} is a plain array: a map needs its dims, xr.DataArray(values, dims=[...])")
    try:
        if isinstance(value, xr.DataArray):
            value = converted(value, unit, called)
        number = quantity(value, unit) if isinstance(value, str) else float(value)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{called} must be a number in {unit!r} or a map{also}, not {value!r}: {error}") from None
    if not np.isfinite(number):
        raise ValueError(f"{called} must be finite, not {number}; what is left out of start= is estimated")
    return number


def _ties(names: list[str], fixed: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[int, ...]]:
    """Fixed values, and which parameter each one follows; following a fixed one is being fixed at its value."""
    held = {name: value for name, value in fixed.items() if not (isinstance(value, str) and value in names)}
    tied = [-1] * len(names)
    for name, followed in fixed.items():
        if name in held:
            continue
        if followed == name or (followed in fixed and followed not in held):
            raise ValueError(f"fixed={{{name!r}: {followed!r}}}: {followed!r} itself follows, tie both to the last")
        if followed in held:
            held[name] = held[followed]
        else:
            tied[names.index(name)] = names.index(followed)
    return held, tuple(tied)


def _bounds(
    parameters: Mapping[str, models.Parameter], units: Mapping[str, str], bounds: Mapping[str, Any]
) -> tuple[list[float], list[float]]:
    lower, upper = [p.lower for p in parameters.values()], [p.upper for p in parameters.values()]
    wrong = []
    for j, (name, parameter) in enumerate(parameters.items()):
        if name not in bounds:
            continue
        pair = bounds[name]
        if not isinstance(pair, tuple | list) or len(pair) != 2 or any(np.ndim(end) for end in pair):
            raise ValueError(f"bounds of {name!r} must be (lower, upper), two numbers for all pixels")
        try:
            low, high = (quantity(end, units[name]) if isinstance(end, str) else end for end in pair)
        except ValueError as error:
            raise ValueError(f"bounds of {name!r}: {error}") from None
        low, high = -np.inf if low is None else float(low), np.inf if high is None else float(high)
        lower[j], upper[j] = max(low, parameter.lower), min(high, parameter.upper)
        if not low < high:
            wrong.append(f"{name}: ({low:g}, {high:g})")
        elif not lower[j] < upper[j]:
            wrong.append(f"{name}: ({low:g}, {high:g}) leaves nothing of {parameter.lower:g} to {parameter.upper:g}")
    if wrong:
        raise ValueError(f"bounds need lower < upper (use fixed= to hold a parameter): {'; '.join(wrong)}")
    return lower, upper


def candidates(model: models.Model, x: np.ndarray) -> tuple[tuple[float, ...], ...]:
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
