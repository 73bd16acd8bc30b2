"""Models to fit: small frozen classes that add up, know their units and print their formula.

May import numpy and the floors below; the compiled shapes they name live in engine.solver and are loaded on use.
Must not import dask, or siblings.
"""

from __future__ import annotations

import builtins
import difflib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

from xpycro.analysis.models.base import Model, Parameter, PythonModel, Sum
from xpycro.analysis.models.curves import (
    ArctanStep,
    ComplexConstant,
    Constant,
    DoubleExponential,
    ErfStep,
    Exponential,
    FermiEdge,
    HarmonicAmplitude,
    HarmonicOscillator,
    Linear,
    Logistic,
    Polynomial,
    PowerLaw,
    StretchedExponential,
)
from xpycro.analysis.models.lmfit import from_lmfit, is_lmfit
from xpycro.analysis.models.peaks import (
    DoniachSunjic,
    Fano,
    Gaussian,
    Gaussian2D,
    Lorentzian,
    PseudoVoigt,
    SkewedGaussian,
    SplitGaussian,
    SplitLorentzian,
    Voigt,
)

_CLASSES: tuple[type[Model], ...] = (
    ArctanStep, ComplexConstant, Constant, DoniachSunjic, DoubleExponential, ErfStep, Exponential, Fano, FermiEdge,
    Gaussian, Gaussian2D, HarmonicAmplitude, HarmonicOscillator, Linear, Logistic, Lorentzian, Polynomial, PowerLaw,
    PseudoVoigt, SkewedGaussian, SplitGaussian, SplitLorentzian, StretchedExponential, Voigt,
)  # fmt: skip

__all__ = [
    "ArctanStep",
    "ComplexConstant",
    "Constant",
    "DoniachSunjic",
    "DoubleExponential",
    "ErfStep",
    "Exponential",
    "Fano",
    "FermiEdge",
    "Gaussian",
    "Gaussian2D",
    "HarmonicAmplitude",
    "HarmonicOscillator",
    "Linear",
    "Logistic",
    "Lorentzian",
    "Model",
    "Parameter",
    "Polynomial",
    "PowerLaw",
    "PseudoVoigt",
    "PythonModel",
    "SkewedGaussian",
    "SplitGaussian",
    "SplitLorentzian",
    "StretchedExponential",
    "Sum",
    "Voigt",
    "list",
    "own_function",
    "parse",
    "restore",
]


def list() -> builtins.list[str]:
    """Names of the models that `fit` takes as text.

    Examples
    --------
    >>> list()[:4]
    ['arctan_step', 'complex_constant', 'constant', 'doniach_sunjic']
    """
    return sorted(cls.kind for cls in _CLASSES)


def parse(model: str | Model | Callable[..., Any], *, is_complex: bool = False) -> Model:
    """The model that a name (``"gaussian + linear"``), a model or a function stands for.

    Raises
    ------
    ValueError
        If a name is unknown; the message lists the names.
    TypeError
        If it is none of these.

    Examples
    --------
    >>> parse("gaussian + linear")
    gaussian: amplitude exp(-((x - center) / sigma)^2 / 2) + linear: intercept + slope x
    """
    if isinstance(model, Model):
        return model
    if isinstance(model, str):
        known = {cls.kind: cls for cls in _CLASSES}
        words = [word.strip() for word in model.split("+")]
        unknown = [word for word in words if word not in known]
        if unknown:
            near = {n for w in unknown for n in difflib.get_close_matches(w.lower().replace("-", "_"), known, 3, 0.7)}
            meant = f"; did you mean {sorted(near)}" if near else ""
            raise ValueError(
                f"no model named {unknown}{meant}; the names are {list()}, sums are written 'gaussian + linear'"
            )
        total = known[words[0]]()
        for word in words[1:]:
            total = total + known[word]()
        return total
    if is_lmfit(model):
        return from_lmfit(model, is_complex=is_complex)
    if isinstance(model, type) and issubclass(model, Model):
        raise TypeError(f"{model.__name__} is a class: call it, {model.__name__}(), or {model.__name__}(name=...)")
    if callable(model) and not isinstance(model, type):
        return PythonModel(user_function=model, complex_valued=is_complex)
    raise TypeError(f"model= takes a name of {list()}, a Model, a sum of them or a function f(x, ...), not {model!r}")


def restore(description: Mapping[str, Any], functions: Mapping[str, Callable[..., Any]] | None = None) -> Model:
    """The model that `Model.describe` described; only classes of this module, only their fields, nothing executed.

    Parameters
    ----------
    description : mapping
    functions : mapping of str to callable, optional
        Your own functions by name, for models that are Python functions: their recorded source is never run.

    Raises
    ------
    ValueError
        If the description names another class, or a Python function that `functions` does not hold.

    Examples
    --------
    >>> restore(Gaussian(name="pi").describe()) == Gaussian(name="pi")
    True
    """
    kind = description.get("model")
    if kind == "Sum":
        return Sum(parts=tuple(restore(part, functions) for part in description.get("parts", ())))
    if kind == "PythonModel":
        called = str(description.get("function"))
        given = functions or {}
        found = given.get(called) or given.get(called.rpartition(".")[2])
        if found is None:
            raise ValueError(
                f"the model is the Python function {called!r}, and code that was recorded is never run: pass it as "
                f"functions={{{called.rpartition('.')[2]!r}: f}}"
            )
        found = from_lmfit(found).user_function if is_lmfit(found) else found
        return PythonModel(
            name=description.get("name"), user_function=found, complex_valued=bool(description.get("complex")),
            names=tuple(description.get("parameters") or ()), units=tuple(description.get("units") or ()),
        )  # fmt: skip
    known = {cls.__name__: cls for cls in _CLASSES}
    if kind not in known:
        raise ValueError(f"unknown model {kind!r}; known are {sorted(known)}")
    names = {f.name for f in fields(known[kind])}
    return known[kind](**{k: v for k, v in description.items() if k in names})


def own_function(name: str, source: str | None) -> Callable[..., Any] | None:
    """The function of a model, such as ``Gaussian.area``, that a history names; None where its source differs.

    Examples
    --------
    >>> import inspect
    >>> own_function("Gaussian.area", inspect.getsource(Gaussian.area)) is Gaussian.area
    True
    """
    kind, _, attribute = name.rpartition(".")
    known = {cls.__name__: cls for cls in _CLASSES}
    if kind not in known or not isinstance(known[kind].__dict__.get(attribute), staticmethod):
        return None
    found: Callable[..., Any] = getattr(known[kind], attribute)
    return found if inspect.getsource(found) == source else None
