"""What a model is: parameters with units and bounds, a formula, a description; sums of models; Python functions.

May import numpy, the solver's plain data and units; the compiled shapes are only named here.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

import numpy as np

from xpycro.engine.solver import Component, Recipe
from xpycro.engine.solver.calling import call
from xpycro.units import combine_units

__all__ = [
    "FWHM",
    "Model",
    "Parameter",
    "PythonModel",
    "Shape",
    "Sum",
    "amplitude",
    "center",
    "component_of",
]

SHAPES = "xpycro.engine.solver.shapes."
FWHM = 2.0 * np.sqrt(2.0 * np.log(2.0))  # of a gaussian, in sigma


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


def amplitude(description: str = "height above the background") -> Parameter:
    """A linear parameter in the unit of the data."""
    return Parameter("amplitude", y=1, description=description)


def center() -> Parameter:
    """Where the peak is found."""
    return Parameter("center", x=1, owner="amplitude", start=(Recipe.CENTER, 0.0), description="place of the maximum")


@dataclass(frozen=True, repr=False)
class Model:
    """What can be fitted; subclasses are one shape each, ``+`` makes a `Sum`.

    Parameters
    ----------
    name : str, optional
        Prefix of its parameters; in a sum an unnamed model takes its own kind's name.
    """

    name: str | None = field(default=None, kw_only=True)  # Polynomial(3) is one of degree 3, not one called 3

    kind: ClassVar[str] = ""
    formula: ClassVar[str] = ""
    is_complex: ClassVar[bool] = False
    ndim: ClassVar[int] = 1
    anywhere: ClassVar[bool] = False  # whether it does not look at x, and may stand in a sum with models of images
    # values of own parameters with which the model is a simpler one, whose fit leads to the starts of `from_simpler`
    simpler: ClassVar[Mapping[str, float]] = {}

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

    def starts(self, x: np.ndarray) -> Sequence[Mapping[str, float]]:
        """Starts to try for parameters that neither a peak nor a number gives, on the axis `x`."""
        return ()

    def from_simpler(self, found: Mapping[str, np.ndarray]) -> Sequence[Mapping[str, np.ndarray]]:
        """Starts of own parameters from those of the simpler model, all to be tried."""
        return ()

    def check_axis(self, x: np.ndarray) -> None:
        """Refuse an axis on which the model is not defined."""

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
            raise TypeError(f"{self!r} takes {list(names)}; missing {missing}, unknown {unknown}, twice {both}")
        given |= parameters
        return self.evaluate(np.asarray(x, dtype=np.float64), *(given[name] for name in names))

    def evaluate(self, x: np.ndarray, *parameters: Any) -> np.ndarray:
        """Values at `x` with the parameters in order; where they are not defined, NaN or infinite without a warning."""
        with np.errstate(all="ignore"):
            return self.function(x, *parameters)

    def __add__(self, other: Model) -> Sum:
        if not isinstance(other, Model):
            return NotImplemented
        return Sum(parts=(*self.terms, *other.terms))

    def __radd__(self, other: Any) -> Model:
        return self if other == 0 else NotImplemented  # so that sum([...]) works

    def __repr__(self) -> str:
        shown = ", ".join(
            f"{f.name}={getattr(self, f.name)!r}" for f in fields(self) if getattr(self, f.name) != f.default
        )
        return f"{type(self).__name__}({shown}): {self.formula}"

    def describe(self) -> dict[str, Any]:
        """The model as JSON values: its class and what differs from the default."""
        values = {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) != f.default}
        return {"model": type(self).__name__, **values}


class Shape(Model):
    """A model with one compiled shape, named by class attributes."""

    table: ClassVar[tuple[Parameter, ...]] = ()
    shape: ClassVar[str] = ""  # module.function in engine.solver.shapes
    background: ClassVar[bool] = False

    @property
    def own_parameters(self) -> tuple[Parameter, ...]:
        return self.table

    def component(self) -> Component:
        return component_of(SHAPES + self.shape, self.own_parameters, background=self.background)


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


@dataclass(frozen=True, repr=False)
class Sum(Model):
    """A sum of models; their parameters carry the name of the term as prefix."""

    parts: tuple[Model, ...] = ()

    kind = "sum"

    def __post_init__(self) -> None:
        if len({part.is_complex for part in self.parts}) > 1 or len({part.ndim for part in self._placed}) > 1:
            raise ValueError(f"a sum needs terms that are all real or all complex, of one axis: {self!r}")
        named = [part.name for part in self.parts if part.name]
        if len(set(named)) < len(named):
            raise ValueError(f"two terms have the same name: {named}")

    @property
    def is_complex(self) -> bool:  # type: ignore[override]
        return any(part.is_complex for part in self.parts)

    @property
    def _placed(self) -> tuple[Model, ...]:
        return tuple(part for part in self.parts if not part.anywhere) or self.parts

    @property
    def ndim(self) -> int:  # type: ignore[override]
        return self._placed[0].ndim

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
            total = total + part.evaluate(x if part.ndim == self.ndim else x[0], *parameters[:count])
            parameters = parameters[count:]
        return total

    def __repr__(self) -> str:
        return " + ".join(
            f"{prefix[:-1]}: {part.formula}" for part, prefix in zip(self.parts, self.prefixes, strict=True)
        )

    def check_axis(self, x: np.ndarray) -> None:
        for part in self.parts:
            part.check_axis(x)

    def describe(self) -> dict[str, Any]:
        return {"model": "Sum", "parts": [part.describe() for part in self.parts]}


@dataclass(frozen=True, repr=False)
class PythonModel(Model):
    """A function ``f(x, *parameters)``, best one that broadcasts over NumPy arrays; what it returns may be complex.

    Parameters
    ----------
    user_function : callable
    complex_valued : bool
    names : tuple of str
        Of its parameters; empty: those of its signature after the first.
    units : tuple of str
        Of its parameters, in the same order; empty: they have none. `fit` finds them from starts that say a unit.
    """

    user_function: Callable[..., Any] = None  # type: ignore[assignment]
    complex_valued: bool = False
    names: tuple[str, ...] = ()
    units: tuple[str, ...] = ()

    kind = "function"

    @property
    def formula(self) -> str:  # type: ignore[override]
        names = ", ".join(parameter.name for parameter in self.own_parameters)
        return f"{getattr(self.user_function, '__name__', 'function')}(x, {names})"

    def __repr__(self) -> str:
        return f"PythonModel({f'name={self.name!r}' if self.name else ''}): {self.formula}"

    @property
    def is_complex(self) -> bool:  # type: ignore[override]
        return self.complex_valued

    @property
    def own_parameters(self) -> tuple[Parameter, ...]:
        names = self.names
        if not names:
            signature = list(inspect.signature(self.user_function).parameters.values())[1:]
            if not signature or any(p.kind not in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in signature):
                raise ValueError(
                    f"{self.user_function!r} must have the signature f(x, first, second, ...) with its parameters named"
                )
            names = tuple(p.name for p in signature)
        units = self.units or ("",) * len(names)
        return tuple(Parameter(n, owner="?", units=u) for n, u in zip(names, units, strict=True))

    def function(self, x: np.ndarray, *parameters: Any) -> np.ndarray:
        return call(self.user_function, x, *parameters)

    def describe(self) -> dict[str, Any]:
        """Name and source of the function, to be read by people; never executed."""
        source = getattr(self.user_function, "source", None)
        if source is None:
            try:
                source = inspect.getsource(self.user_function)
            except (OSError, TypeError):  # typed into a session, or built in
                source = ""
        name = getattr(self.user_function, "__qualname__", getattr(self.user_function, "__name__", "function"))
        return {"model": "PythonModel", "function": name, "source": source, "name": self.name,
                "parameters": [p.name for p in self.own_parameters], "units": [p.units for p in self.own_parameters],
                "complex": self.complex_valued}  # fmt: skip
