"""Models to fit: small frozen classes that add up, know their units and print their formula.

May import numpy and the floors below; the compiled shapes they name live in engine.solver and are loaded on use.
Must not import xarray objects' methods, dask, or siblings.
"""

from __future__ import annotations

import builtins
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import numpy as np

from xpycro.engine.solver import Component, Recipe
from xpycro.units import combine_units

__all__ = [
    "Constant",
    "Gaussian",
    "HarmonicOscillator",
    "Linear",
    "Lorentzian",
    "Model",
    "Parameter",
    "PythonModel",
    "Sum",
    "list",
    "parse",
    "restore",
]

list_ = builtins.list  # `list` below is what the user calls as xp.models.list()
_SHAPES = "xpycro.engine.solver.shapes:"
_FWHM = 2.0 * np.sqrt(2.0 * np.log(2.0))  # of a gaussian, in sigma


@dataclass(frozen=True)
class Parameter:
    """A parameter's name, the powers of the axis' and the data's unit in its own, its bounds and start.

    Attributes
    ----------
    name : str
    x, y : int
        Its unit is (unit of the axis)^x (unit of the data)^y, unless `units` says otherwise.
    owner : str, optional
        The linear parameter that multiplies its derivative; None: it is linear itself.
    start : (Recipe, float)
    lower, upper : float
        Bounds that hold unless the caller gives others.
    units : str, optional
    description : str
    """

    name: str
    x: int = 0
    y: int = 0
    owner: str | None = None
    start: tuple[Recipe, float] = (Recipe.VALUE, 0.0)
    lower: float = -np.inf
    upper: float = np.inf
    units: str | None = None
    description: str = ""

    def unit(self, x: str, y: str) -> str:
        """Its unit for an axis in `x` and data in `y`."""
        return self.units if self.units is not None else combine_units((y, self.y), (x, self.x))


def _amplitude(description: str = "height above the background") -> Parameter:
    return Parameter("amplitude", y=1, description=description)


def _center() -> Parameter:
    return Parameter("center", x=1, owner="amplitude", start=(Recipe.CENTER, 0.0), description="place of the maximum")


@dataclass(frozen=True, repr=False)
class Model:
    """What can be fitted; subclasses are one shape each, ``+`` makes a `Sum`.

    Parameters
    ----------
    name : str, optional
        Prefix of its parameters; in a sum an unnamed model takes its own kind's name.
    """

    name: str | None = None

    kind: ClassVar[str] = ""
    formula: ClassVar[str] = ""
    is_complex: ClassVar[bool] = False
    ndim: ClassVar[int] = 1

    @property
    def own_parameters(self) -> tuple[Parameter, ...]:
        """Its parameters without prefix."""
        raise NotImplementedError

    def component(self) -> Component:
        """What the solver needs to know."""
        raise NotImplementedError

    def function(self, x: np.ndarray, *parameters: Any) -> np.ndarray:
        """Values at `x`; parameters broadcast against it."""
        raise NotImplementedError

    @property
    def terms(self) -> tuple[Model, ...]:
        """The terms of a sum; of anything else itself."""
        return (self,)

    @property
    def prefixes(self) -> tuple[str, ...]:
        """What is put before the parameters' names of each term."""
        return (f"{self.name}_" if self.name else "",)

    @property
    def parameters(self) -> dict[str, Parameter]:
        """Parameters by the names they have in results."""
        return {
            prefix + parameter.name: parameter
            for term, prefix in zip(self.terms, self.prefixes, strict=True)
            for parameter in term.own_parameters
        }

    def __call__(self, x: Any, *args: Any, **parameters: Any) -> np.ndarray:
        """Evaluate at `x`; parameters by place or name, arrays broadcast against `x`."""
        names = tuple(self.parameters)
        given = dict(zip(names, args, strict=False))
        both = sorted(set(given) & set(parameters))
        unknown, missing = sorted(set(parameters) - set(names)), [n for n in names if n not in {**given, **parameters}]
        if len(args) > len(names) or both or unknown or missing:
            raise TypeError(f"{self!r} takes {list_(names)}; missing {missing}, unknown {unknown}, twice {both}")
        given |= parameters
        return self.evaluate(np.asarray(x, dtype=np.float64), *(given[name] for name in names))

    def evaluate(self, x: np.ndarray, *parameters: Any) -> np.ndarray:
        """Values at `x` with the parameters in order."""
        return self.function(x, *parameters)

    def __add__(self, other: Model) -> Sum:
        if not isinstance(other, Model):
            return NotImplemented
        return Sum(parts=(*self.terms, *other.terms))

    def __repr__(self) -> str:
        shown = ", ".join(
            f"{f.name}={getattr(self, f.name)!r}" for f in fields(self) if getattr(self, f.name) != f.default
        )
        return f"{type(self).__name__}({shown}): {self.formula}"

    def describe(self) -> dict[str, Any]:
        """The model as JSON values: its class and what differs from the default."""
        values = {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) != f.default}
        return {"model": type(self).__name__, **values}


class _Shape(Model):
    """A model with one compiled shape, named by class attributes."""

    table: ClassVar[tuple[Parameter, ...]] = ()
    shape: ClassVar[str] = ""
    background: ClassVar[bool] = False

    @property
    def own_parameters(self) -> tuple[Parameter, ...]:
        return self.table

    def component(self) -> Component:
        return component_of(_SHAPES + self.shape, self.own_parameters, background=self.background)


def component_of(
    shape: str | Callable[..., None], table: tuple[Parameter, ...], *, unit: bool = False, background: bool = False
) -> Component:
    """The solver's view of a table of parameters."""
    names = [p.name for p in table]
    return Component(
        shape=shape,
        linear=tuple(p.owner is None for p in table),
        owner=tuple(names.index(p.owner) if p.owner else -1 for p in table),
        start=tuple(p.start for p in table),
        unit=unit,
        background=background,
    )


class Gaussian(_Shape):
    """Gaussian peak; full width at half maximum 2.3548 sigma, area sqrt(2 pi) amplitude sigma.

    Examples
    --------
    >>> Gaussian(name="pi") + Linear()
    pi: amplitude exp(-((x - center) / sigma)^2 / 2) + linear: intercept + slope x
    """

    kind = "gaussian"
    formula = "amplitude exp(-((x - center) / sigma)^2 / 2)"
    shape = "gaussian"
    table = (
        _amplitude(),
        _center(),
        Parameter("sigma", x=1, owner="amplitude", start=(Recipe.WIDTH, 1 / _FWHM), lower=0.0,
                  description="standard deviation"),
    )  # fmt: skip

    def function(self, x: np.ndarray, amplitude: Any, center: Any, sigma: Any) -> np.ndarray:
        return amplitude * np.exp(-0.5 * ((x - center) / sigma) ** 2)


class Lorentzian(_Shape):
    """Lorentzian peak; full width at half maximum 2 gamma, area pi amplitude gamma."""

    kind = "lorentzian"
    formula = "amplitude / (1 + ((x - center) / gamma)^2)"
    shape = "lorentzian"
    table = (
        _amplitude(),
        _center(),
        Parameter("gamma", x=1, owner="amplitude", start=(Recipe.WIDTH, 0.5), lower=0.0,
                  description="half width at half maximum"),
    )  # fmt: skip

    def function(self, x: np.ndarray, amplitude: Any, center: Any, gamma: Any) -> np.ndarray:
        return amplitude / (1.0 + ((x - center) / gamma) ** 2)


class Constant(_Shape):
    """A constant background."""

    kind = "constant"
    formula = "offset"
    shape = "constant"
    background = True
    table = (Parameter("offset", y=1, description="constant background"),)

    def function(self, x: np.ndarray, offset: Any) -> np.ndarray:
        return offset + 0.0 * x


class Linear(_Shape):
    """A straight line; the intercept is the value at x = 0."""

    kind = "linear"
    formula = "intercept + slope x"
    shape = "linear"
    background = True
    table = (
        Parameter("intercept", y=1, description="value at zero"),
        Parameter("slope", x=-1, y=1, description="slope"),
    )

    def function(self, x: np.ndarray, intercept: Any, slope: Any) -> np.ndarray:
        return intercept + slope * x


class HarmonicOscillator(_Shape):
    """Complex response of a driven, damped simple harmonic oscillator to a force of constant amplitude.

    ``H(f) = A e^{i phase} f0^2 / (f^2 - i f f0 / Q - f0^2)`` with A >= 0 and Q > 0: of time dependence e^{+i w t}, the
    sign of A chosen so that far below resonance H = -A e^{i phase}. At resonance H = i A Q e^{i phase}: the height of
    the peak is A Q and its phase is phase + pi/2. Data recorded with the opposite convention are flagged in `status`
    (``data_follow_the_conjugate_convention``), never conjugated silently: fit ``data.conj()`` then.

    References
    ----------
    Jesse and Kalinin, J. Phys. D 44, 464006 (2011).
    """

    kind = "sho"
    formula = "amplitude e^{i phase} f0^2 / (x^2 - i x f0 / Q - f0^2)"
    shape = "sho"
    is_complex = True
    table = (
        Parameter("amplitude", y=1, lower=0.0, description="static amplitude"),
        Parameter("resonance_frequency", x=1, owner="amplitude", lower=0.0, description="resonance frequency"),
        Parameter("quality_factor", owner="amplitude", lower=0.0, units="1", description="quality factor"),
        Parameter("phase", owner="amplitude", units="rad", description="phase"),
    )

    def function(
        self, x: np.ndarray, amplitude: Any, resonance_frequency: Any, quality_factor: Any, phase: Any
    ) -> np.ndarray:
        u = x / resonance_frequency
        return amplitude * np.exp(1j * np.asarray(phase)) / (u * u - 1.0 - 1j * u / quality_factor)


@dataclass(frozen=True, repr=False)
class Sum(Model):
    """A sum of models; their parameters carry the name of the term as prefix."""

    parts: tuple[Model, ...] = ()

    kind = "sum"

    def __post_init__(self) -> None:
        if len({(part.is_complex, part.ndim) for part in self.parts}) > 1:
            raise ValueError(f"a sum needs terms that are all real or all complex, of one axis: {self!r}")
        named = [part.name for part in self.parts if part.name]
        if len(set(named)) < len(named):
            raise ValueError(f"two terms have the same name: {named}")

    @property
    def is_complex(self) -> bool:  # type: ignore[override]
        return any(part.is_complex for part in self.parts)

    @property
    def ndim(self) -> int:  # type: ignore[override]
        return self.parts[0].ndim

    @property
    def terms(self) -> tuple[Model, ...]:
        return self.parts

    @property
    def prefixes(self) -> tuple[str, ...]:
        used = {part.name for part in self.parts if part.name}
        prefixes = []
        for part in self.parts:
            label, number = part.name or part.kind, 2
            while part.name is None and label in used:
                label, number = f"{part.kind}_{number}", number + 1
            used.add(label)
            prefixes.append(f"{label}_")
        return tuple(prefixes)

    def evaluate(self, x: np.ndarray, *parameters: Any) -> np.ndarray:
        total: Any = 0.0
        for part in self.parts:
            count = len(part.own_parameters)
            total = total + part.evaluate(x, *parameters[:count])
            parameters = parameters[count:]
        return total

    def __repr__(self) -> str:
        return " + ".join(
            f"{prefix[:-1]}: {part.formula}" for part, prefix in zip(self.parts, self.prefixes, strict=True)
        )

    def describe(self) -> dict[str, Any]:
        return {"model": "Sum", "parts": [part.describe() for part in self.parts]}


@dataclass(frozen=True, repr=False)
class PythonModel(Model):
    """A function ``f(x, *parameters)`` of NumPy arrays that broadcasts; what it returns may be complex.

    Parameters
    ----------
    user_function : callable
        Its parameters' names are those of its signature after the first.
    complex_valued : bool
    """

    user_function: Callable[..., Any] = None  # type: ignore[assignment]
    complex_valued: bool = False

    kind = "function"

    @property
    def formula(self) -> str:  # type: ignore[override]
        names = ", ".join(parameter.name for parameter in self.own_parameters)
        return f"{getattr(self.user_function, '__name__', 'function')}(x, {names})"

    @property
    def is_complex(self) -> bool:  # type: ignore[override]
        return self.complex_valued

    @property
    def own_parameters(self) -> tuple[Parameter, ...]:
        signature = list_(inspect.signature(self.user_function).parameters.values())[1:]
        if not signature or any(p.kind not in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in signature):
            raise ValueError(
                f"{self.user_function!r} must have the signature f(x, first, second, ...) with its parameters named"
            )
        return tuple(Parameter(p.name, owner="?", units="") for p in signature)

    def function(self, x: np.ndarray, *parameters: Any) -> np.ndarray:
        return self.user_function(x, *parameters)

    def describe(self) -> dict[str, Any]:
        """Name and source of the function, to be read by people; never executed."""
        try:
            source = inspect.getsource(self.user_function)
        except (OSError, TypeError):  # typed into a session, or built in
            source = ""
        name = getattr(self.user_function, "__qualname__", repr(self.user_function))
        return {"model": "PythonModel", "function": name, "source": source, "name": self.name,
                "parameters": [p.name for p in self.own_parameters], "complex": self.complex_valued}  # fmt: skip


_CLASSES: tuple[type[Model], ...] = (Constant, Gaussian, HarmonicOscillator, Linear, Lorentzian)


def list() -> list_[str]:
    """Names of the models that `fit` takes as text.

    Examples
    --------
    >>> list()
    ['constant', 'gaussian', 'linear', 'lorentzian', 'sho']
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
            raise ValueError(f"no model named {unknown}; the names are {list()}, sums are written 'gaussian + linear'")
        total = known[words[0]]()
        for word in words[1:]:
            total = total + known[word]()
        return total
    if callable(model) and not isinstance(model, type):
        return PythonModel(user_function=model, complex_valued=is_complex)
    raise TypeError(f"model= takes a name of {list()}, a Model, a sum of them or a function f(x, ...), not {model!r}")


def restore(description: Mapping[str, Any]) -> Model:
    """The model that `Model.describe` described; only classes of this module, only their fields, nothing executed.

    Raises
    ------
    ValueError
        If the description names another class, or a Python function, which is stored to be read, not to be run.
    """
    kind = description.get("model")
    if kind == "Sum":
        return Sum(parts=tuple(restore(part) for part in description.get("parts", ())))
    if kind == "PythonModel":
        raise ValueError(
            f"the model is the Python function {description.get('function')!r}, and code from a file is never run: "
            "evaluate that function yourself with the result's parameters"
        )
    known = {cls.__name__: cls for cls in _CLASSES}
    if kind not in known:
        raise ValueError(f"unknown model {kind!r}; known are {sorted(known)}")
    names = {f.name for f in fields(known[kind])}
    return known[kind](**{k: v for k, v in description.items() if k in names})
