"""What quacks like an lmfit model, or like its parameters, read by the attributes it has; lmfit is never imported.

May import numpy and the base. Whoever passes such a model has lmfit.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from xpycro.analysis.models.base import PythonModel

__all__ = ["from_lmfit", "is_lmfit", "unfolded"]

_FIELDS = ("value", "min", "max", "vary", "expr")  # of an lmfit.Parameter


def is_lmfit(model: Any) -> bool:
    """Whether it has what an ``lmfit.Model`` has."""
    return all(hasattr(model, name) for name in ("param_names", "independent_vars", "eval"))


def from_lmfit(model: Any, *, is_complex: bool = False) -> PythonModel:
    """An ``lmfit.Model`` of one independent variable as a model."""
    if len(_axes(model)) != 1:
        raise ValueError(f"{model!r} has the independent variables {_axes(model)}; fit takes one")
    return PythonModel(user_function=_LmfitFunction(model), complex_valued=is_complex, names=tuple(model.param_names))


@dataclass(frozen=True)
class _LmfitFunction:
    """An ``lmfit.Model`` as ``f(x, *parameters)``; pickles where the model does."""

    model: Any

    # as a function has them: what it is called in histories, and that nothing but its source decides its values
    __name__ = "lmfit_model"
    __closure__ = None

    @cached_property
    def _plain(self) -> Callable[..., Any] | None:
        return _joined(self.model, lambda function: function)

    def __call__(self, x: np.ndarray, *parameters: Any) -> Any:
        if self._plain is not None:
            return self._plain(x, *parameters)
        values = dict(zip(self.model.param_names, parameters, strict=True))
        return self.model.eval(**values, **{_axes(self.model)[0]: x})

    def compiled(self, wrap: Callable[[Callable[..., Any]], Callable[..., Any]]) -> Callable[..., Any] | None:
        """Its functions, each through `wrap`, put together; None where there is more to it than functions."""
        return _joined(self.model, wrap)

    @property
    def source(self) -> str:
        """What tells it from others of its name."""
        return "\n".join([repr(self.model), *_sources(self.model)])


def _axes(model: Any) -> list[str]:
    """Its independent variables; options that have their value, such as the form of a step, are none."""
    parts = _parts(model)
    if parts is not None:
        return list(dict.fromkeys(name for part in parts for name in _axes(part)))
    return [str(name) for name in model.independent_vars if name not in (getattr(model, "opts", None) or {})]


def _parts(model: Any) -> tuple[Any, Any] | None:
    """Both sides of a composite model."""
    return (model.left, model.right) if all(hasattr(model, a) for a in ("left", "right", "op")) else None


def _joined(model: Any, wrap: Callable[[Callable[..., Any]], Callable[..., Any]]) -> Callable[..., Any] | None:
    parts = _parts(model)
    if parts is None:
        return wrap(model.func) if _is_plain(model) else None
    left, right = (_joined(part, wrap) for part in parts)
    if left is None or right is None:
        return None
    op, count = model.op, len(parts[0].param_names)

    def both(x, *p):  # type: ignore[no-untyped-def]
        return op(left(x, *p[:count]), right(x, *p[count:]))

    return wrap(both)


def _is_plain(model: Any) -> bool:
    """Whether it is its function of the axis and the parameters, in their order, and no options."""
    function, prefix = getattr(model, "func", None), getattr(model, "prefix", "")
    if not inspect.isfunction(function) or getattr(model, "opts", None):
        return False
    return list(inspect.signature(function).parameters) == [
        *model.independent_vars, *(name[len(prefix):] for name in model.param_names)
    ]  # fmt: skip


def _sources(model: Any) -> list[str]:
    parts = _parts(model)
    if parts is not None:
        return [text for part in parts for text in _sources(part)]
    try:
        return [f"{getattr(model, 'opts', '')}", inspect.getsource(model.func)]
    except (AttributeError, OSError, TypeError):
        return [f"{getattr(model, 'opts', '')}"]


def unfolded(model: Any, start: Any, bounds: Any, fixed: Any) -> tuple[Any, Any, Any]:
    """`start`, `bounds` and `fixed` of `fit`, with what lmfit's hints and parameters say where the caller says nothing.

    `start` may be an ``lmfit.Parameters``: value, min, max, vary and expr of each are then taken, the derived ones that
    the model does not have left out.
    """
    names = list(model.parameters)
    function = getattr(model, "user_function", None)
    hints = getattr(function.model, "param_hints", {}) if isinstance(function, _LmfitFunction) else {}
    said = {name: dict(hints[name]) for name in names if name in hints}
    if isinstance(start, Mapping) and any(_is_parameter(value) for value in start.values()):
        for name, value in start.items():
            if _is_parameter(value) and name in names:
                said[name] = {**said.get(name, {}), **_fields(value)}
        start = {name: value for name, value in start.items() if not _is_parameter(value)}
    if not said:
        return start, bounds, fixed
    if isinstance(start, (list, tuple, np.ndarray)) and len(start) == len(names):
        start = dict(zip(names, start, strict=True))
    begin, limits, held = (dict(given) if isinstance(given, Mapping) else {} for given in (start, bounds, fixed))
    for name, hint in said.items():
        low, high = hint.get("min"), hint.get("max")
        if name not in limits and (_finite(low) or _finite(high)):
            limits[name] = (low, high)
        if name in begin or name in held:
            continue
        if hint.get("expr"):
            held[name] = _followed(name, str(hint["expr"]), names)
        elif hint.get("vary") is False:
            held[name] = hint.get("value")
        elif _finite(hint.get("value")):  # lmfit, too, takes what is out of range for the end of the range
            begin[name] = float(
                np.clip(hint["value"], low if _finite(low) else -np.inf, high if _finite(high) else np.inf)
            )
    return begin, limits or bounds, held or fixed


def _is_parameter(value: Any) -> bool:
    """Whether it is an ``lmfit.Parameter``, or what a history keeps of one."""
    return set(value) == set(_FIELDS) if isinstance(value, Mapping) else all(hasattr(value, f) for f in _FIELDS)


def _fields(value: Any) -> dict[str, Any]:
    return dict(value) if isinstance(value, Mapping) else {field: getattr(value, field) for field in _FIELDS}


def _finite(value: Any) -> bool:
    return value is not None and bool(np.isfinite(value))


def _followed(name: str, expression: str, names: list[str]) -> str:
    if expression.strip() not in names:
        raise ValueError(
            f"lmfit's expr={expression!r} of {name!r} is more than the name of another parameter, and text is not "
            f"evaluated: write it into the model's function, or give fixed={{{name!r}: ...}}; names are {names}"
        )
    return expression.strip()
