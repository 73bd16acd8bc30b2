"""Making a recorded result again, on the same or on other data, and writing down the Python that does it.

Only functions of xpycro that record themselves are called, only with values; nothing in a file is ever evaluated or
imported. May import everything below; nothing imports this but the accessor, the command line and the public names.
"""

from __future__ import annotations

import importlib
import inspect
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import xarray as xr

from xpycro.analysis import models
from xpycro.errors import MissingSource, XpycroError
from xpycro.io import opening, store
from xpycro.provenance import History

__all__ = ["Script", "replay", "script"]

Labelled = xr.DataArray | xr.Dataset

# Where estimators may come from, by public name; what a file names must be found there.
_ESTIMATORS = (
    "sklearn.decomposition",
    "sklearn.cluster",
    "sklearn.mixture",
    "sklearn.manifold",
    "sklearn.preprocessing",
)
_TAGS = ("$nan", "$complex", "$b64", "$dt")


# --------------------------------------------------------------------------------------------------------- functions


def _operation(name: Any) -> Callable[..., Any]:
    """The function of xpycro that records itself under this name.

    Raises
    ------
    XpycroError
        If there is none: from a newer version, or not from xpycro.
    """
    found: Any = sys.modules.get("xpycro")
    for part in str(name).split("."):
        found = getattr(found, part, None)
    if getattr(found, "operation", None) == name and callable(found):
        return found
    for module_name, module in list(sys.modules.items()):
        if module_name == "xpycro" or module_name.startswith("xpycro."):
            for one in list(vars(module).values()):
                if inspect.isfunction(one) and getattr(one, "operation", None) == name:
                    return one
    raise XpycroError(f"the recorded operation {name!r} is none of this xpycro: made by another version or by hand")


def _estimator(name: str, parameters: Mapping[str, Any], functions: Mapping[str, Callable[..., Any]]) -> Any:
    cls = _estimator_class(name)[1]
    values = {str(key): _value(value, functions) for key, value in parameters.items()}
    unknown = set(values) - set(cls().get_params(deep=False))
    if unknown:
        raise XpycroError(f"{name} has no parameters {sorted(unknown)} in this version of scikit-learn")
    return cls(**values)


def _estimator_class(name: str) -> tuple[str, Any]:
    """Public package and class of an estimator on the list.

    Raises
    ------
    XpycroError
        If it is not on the list.
    """
    short = name.rpartition(".")[2]
    for package in _ESTIMATORS:
        if name.startswith(f"{package}."):
            found = getattr(importlib.import_module(package), short, None)
            if inspect.isclass(found) and f"{found.__module__}.{found.__qualname__}" == name:
                return package, found
    raise XpycroError(f"the estimator {name!r} is not on the list of what replay builds: {', '.join(_ESTIMATORS)}")


def _value(value: Any, functions: Mapping[str, Callable[..., Any]]) -> Any:
    """A recorded parameter as the function took it."""
    if isinstance(value, list):
        return [_value(v, functions) for v in value]
    if not isinstance(value, dict):
        return value
    if "$slice" in value:
        return slice(*[_value(v, functions) for v in value["$slice"]])
    if "$estimator" in value:
        return _estimator(str(value["$estimator"]), value.get("parameters") or {}, functions)
    if "$function" in value or value.get("model") == "PythonModel":
        name = str(value.get("$function") or value.get("function"))
        return models.own_function(name, value.get("source")) or _user_function(name, functions)
    if "model" in value and isinstance(value["model"], str):
        return _model(value, functions)
    if "$array" in value or "$data" in value:
        raise XpycroError(
            "a parameter was an array too large to record: call the operation yourself, as xp.script shows it"
        )
    if len(value) == 1 and next(iter(value)) in _TAGS:
        from xpycro.schema import decode_metadata

        return decode_metadata(json.dumps({"v": value}))["v"]
    return {key: _value(v, functions) for key, v in value.items()}


def _model(value: Mapping[str, Any], functions: Mapping[str, Callable[..., Any]]) -> Any:
    if value.get("model") == "Sum":
        parts = [_value(part, functions) for part in value.get("parts", ())]
        return models.Sum(parts=tuple(models.parse(part) for part in parts))
    return models.restore(value)


def _user_function(name: str, functions: Mapping[str, Callable[..., Any]]) -> Callable[..., Any]:
    short = name.rpartition(".")[2]
    if short in functions:
        return functions[short]
    raise XpycroError(
        f"the function {short!r} was yours, and code from a file is never run: pass functions={{{short!r}: {short}}} "
        "(xp.script shows its recorded source)"
    )


# ------------------------------------------------------------------------------------------------------------ replay


def replay(
    file: str | os.PathLike[str] | Labelled,
    name: str | None = None,
    *,
    source: str | os.PathLike[str] | Labelled | None = None,
    functions: Mapping[str, Callable[..., Any]] | None = None,
    allow_gaps: bool = False,
) -> Labelled:
    """Make a recorded result again, from the same measurement or from another.

    Parameters
    ----------
    file : path-like, Dataset or DataArray
        A store, or the result itself.
    name : str, optional
        Of the result in the store, such as ``"fit_sho"``.
    source : path-like, Dataset or DataArray, optional
        What to start from; None is the measurement that the result was made from.
    functions : mapping of str to callable, optional
        Your own functions (models, say) by name. Their recorded source is never executed.
    allow_gaps : bool, optional
        Go on where the data were changed or cut outside recorded operations in between.

    Returns
    -------
    Dataset or DataArray
        As the last recorded operation returns it; bit-identical for the same input, versions and chunks.

    Raises
    ------
    XpycroError
        If a step cannot be made again: the data were edited in between, an operation is unknown, an own function was
        not passed, an estimator is not on the list.
    MissingSource
        If the measurement is not where it was; pass ``source=``.

    Notes
    -----
    *Laziness*: lazy where the operations are.

    Examples
    --------
    >>> import pathlib, tempfile, xpycro as xp
    >>> path = pathlib.Path(tempfile.mkdtemp(), "sts.h5")
    >>> ds = xp.save(xp.simulate.tunnelling_grid((4, 4), 32), path)
    >>> svd = xp.save(xp.decompose.svd(ds.current, dim="bias", n_components=2), path)
    >>> bool((replay(path, "svd").maps == svd.maps).all())
    True
    """
    recorded = _recorded(file, name)
    steps = _steps(recorded)
    player = _Player(functions or {}, source, allow_gaps, recorded)
    player.check(steps)
    return player.play(steps, None)


def _recorded(file: Any, name: str | None) -> Labelled:
    if isinstance(file, Labelled):
        return file
    if name is None:
        raise ValueError(f"name which result of {os.fspath(file)} to replay: one of {store.results(file)}")
    return store.open_result(file, name)


def _steps(result: Labelled) -> list[dict[str, Any]]:
    steps = _on_data(History.of(result).steps)
    if not steps:
        raise XpycroError("this has no recorded operations: it was not made by xpycro, or it is a measurement")
    return steps


def _on_data(steps: Sequence[Any]) -> list[Any]:
    """The steps that worked on a measurement, without those that made it (a translation, a simulation)."""
    return [step for step in steps if step.get("operation") != "translate" and step.get("inputs")]


class _Player:
    """Plays steps; what two branches share is made once."""

    def __init__(
        self,
        functions: Mapping[str, Callable[..., Any]],
        source: Any,
        allow_gaps: bool,
        result: Labelled,
    ) -> None:
        self.functions, self.source, self.result = functions, source, result
        self._may_differ = allow_gaps or isinstance(source, Labelled)
        self._made: dict[str, Labelled] = {}
        self._opened: dict[str, xr.Dataset] = {}

    def check(self, steps: Sequence[Mapping[str, Any]]) -> None:
        """All that keeps the steps from being played, in one error, before anything is computed."""
        wrong: list[str] = []
        for number, step in enumerate(steps, 1):
            try:
                _operation(step.get("operation"))
                for value in (step.get("parameters") or {}).values():
                    _value(value, self.functions)
            except (XpycroError, ValueError) as error:
                wrong.append(f"step {number}: {error}")
            for entry in step.get("inputs") or ():
                if entry.get("state") in ("changed", "selected") and not self._may_differ:
                    said = "changed" if entry["state"] == "changed" else "cut"
                    wrong.append(
                        f"step {number}: {entry.get('variable') or entry.get('argument')} was {said} outside recorded "
                        "operations: pass source= the array as it went in, or allow_gaps=True"
                    )
        if wrong:
            raise XpycroError("this cannot be replayed:\n  " + "\n  ".join(wrong))

    def play(self, steps: Sequence[Mapping[str, Any]], variable: str | None) -> Labelled:
        """What the steps make; none of them make the source's variable."""
        if not steps:
            return self._measurement(variable)
        key = json.dumps([[s.get("operation"), s.get("parameters"), s.get("time")] for s in steps], sort_keys=True)
        if key not in self._made:
            self._made[key] = self._step(steps)
        return self._made[key]

    def _step(self, steps: Sequence[Mapping[str, Any]]) -> Labelled:
        step = steps[-1]
        function = _operation(step["operation"])
        arguments = {str(k): _value(v, self.functions) for k, v in (step.get("parameters") or {}).items()}
        for position, entry in enumerate(step.get("inputs") or ()):
            past = list(steps[:-1]) if position == 0 else (entry.get("history") or {}).get("steps", [])
            past = _on_data(past)
            variable = entry.get("variable")
            made = self.play(past, variable)
            arguments[str(entry["argument"])] = _part(made, variable)
        return _call(function, arguments)

    def _measurement(self, variable: str | None) -> Labelled:
        if isinstance(self.source, Labelled):
            return self.source
        if self.source is not None:
            return self._open(os.fspath(self.source), None)
        first = next(iter(History.of(self.result).steps), {})
        location = _origin(self.result, variable)
        if location is None and first and not first.get("inputs"):  # simulated, and never stored
            values = {str(k): _value(v, self.functions) for k, v in (first.get("parameters") or {}).items()}
            return _call(_operation(first.get("operation")), values)
        if location is None:
            raise MissingSource("the measurement was never stored in a file: pass source=")
        return self._open(str(location["path"]), location.get("group"), location)

    def _open(self, path: str, group: str | None, location: Mapping[str, Any] | None = None) -> xr.Dataset:
        key = f"{path}\0{group}"
        if key not in self._opened:
            options = {str(k): v for k, v in ((location or {}).get("options") or {}).items()}
            if not os.path.exists(path):
                raise MissingSource(f"the measurement {path} is not there any more: pass source=")
            self._opened[key] = opening.open(path, group=group, **options)
        return self._opened[key]


def _origin(result: Labelled, variable: str | None) -> Mapping[str, Any] | None:
    """Where the measurement lay when the first step read it; None where it was never stored."""
    history = History.of(result)
    pending = list(history.steps)
    while pending:
        step = pending.pop(0)
        for entry in step.get("inputs") or ():
            location = entry.get("location")
            fits = variable is None or entry.get("variable") in (None, variable)
            if location and not location.get("result") and step.get("operation") != "translate" and fits:
                return location
            pending += (entry.get("history") or {}).get("steps", [])
    if history.location and history.location.get("format") == "xpycro":
        main = str(history.location["path"])
        if store.has_measurement(main):
            return {"path": main, "group": None}
    return None


def _part(made: Labelled, variable: str | None) -> Labelled:
    if variable is None or isinstance(made, xr.DataArray):
        return made
    if variable in made.variables:
        return made[variable]
    names = [str(n) for n in made.data_vars]
    if len(names) == 1:
        return made[names[0]]
    raise XpycroError(f"the recorded step took the variable {variable!r} and the source has {names}")


def _call(function: Callable[..., Any], arguments: Mapping[str, Any]) -> Any:
    """Call with recorded arguments."""
    signature = inspect.signature(function)
    given = _spread(arguments, signature.parameters)
    unknown = [name for name in given if name not in signature.parameters]
    takes_any = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in signature.parameters.values())
    if unknown and not takes_any:
        raise XpycroError(f"{function.__name__} of this version has no parameters {unknown}")
    positional = [
        given.pop(p.name)
        for p in signature.parameters.values()
        if p.kind is inspect.Parameter.POSITIONAL_ONLY and p.name in given
    ]
    return function(*positional, **given)


# ------------------------------------------------------------------------------------------------------------ script


class Script(str):
    """Python text; shown as it is."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def script(result: Labelled) -> Script:
    """The Python that makes a result, from its history.

    Parameters
    ----------
    result : DataArray or Dataset

    Returns
    -------
    Script
        A str. Own functions appear as comments, as they were recorded; gaps as warnings.

    Raises
    ------
    XpycroError
        If nothing is recorded, or an operation is none of xpycro's.

    Notes
    -----
    *Laziness*: computes nothing.

    Examples
    --------
    >>> import xpycro as xp
    >>> ds = xp.simulate.tunnelling_grid((4, 4), 32)
    >>> print(script(xp.decompose.svd(ds.current, dim="bias", n_components=2)).splitlines()[0])
    import xpycro as xp
    """
    writer = _Writer()
    steps = History.of(result).steps
    if not steps:
        raise XpycroError("this has no recorded operations: it was not made by xpycro, or it is a measurement")
    last = writer.branch(steps, History.of(result).source, None)
    imports = ["import xpycro as xp", *sorted(writer.imports)]
    return Script("\n".join([*imports, "", *writer.lines, f"result = {last}", ""]))


class _Writer:
    """Lines of a script, a name for each step; shared pasts are written once."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.imports: set[str] = set()
        self._names: dict[str, str] = {}

    def branch(self, steps: Sequence[Mapping[str, Any]], source: Mapping[str, Any], location: Any) -> str:
        """Name of what the steps make."""
        if not steps:
            path = (location or source or {}).get("path")
            call = f"xp.open({str(path)!r})" if path else None
            if call is None:
                self.lines.append("# the data were made in memory and never stored: put them here")
                call = "..."
            return self._named(f"source {path}", "data", call)
        key = json.dumps([[s.get("operation"), s.get("parameters"), s.get("time")] for s in steps], sort_keys=True)
        if key in self._names:
            return self._names[key]
        step = steps[-1]
        if step.get("operation") == "translate":
            target = (step.get("parameters") or {}).get("target")
            return self._named(key, "data", f"xp.translate({str(source.get('path'))!r}, {str(target)!r})")
        operation = str(step.get("operation"))
        known = inspect.signature(_operation(operation)).parameters
        arguments = []
        for position, entry in enumerate(step.get("inputs") or ()):
            history = entry.get("history") or {}
            past = steps[:-1] if position == 0 else history.get("steps", [])
            name = self.branch(past, source if position == 0 else history.get("source", {}), entry.get("location"))
            variable = entry.get("variable")
            text = f"{name}[{str(variable)!r}]" if variable is not None and not self._is_array(past) else name
            if entry.get("state") in ("changed", "selected"):
                self.lines.append(f"# {entry['state']} here outside recorded operations")
            arguments.append(text if position == 0 else f"{_checked(entry['argument'], known)}={text}")
        for parameter, value in _spread(step.get("parameters") or {}, known).items():
            default = known[parameter].default if parameter in known else inspect.Parameter.empty
            if (value is None and default is None) or _same(value, default):
                continue
            arguments.append(f"{_checked(parameter, known)}={self._text(value)}")
        base = operation.rpartition(".")[2] if step.get("inputs") else "data"
        return self._named(key, base, f"xp.{operation}({', '.join(arguments)})")

    def _is_array(self, steps: Sequence[Mapping[str, Any]]) -> bool:
        """Whether the past makes a single array, of which no variable is picked."""
        return bool(steps) and len(steps[-1].get("outputs") or ()) <= 1 and steps[-1].get("operation") != "translate"

    def _named(self, key: str, base: str, call: str) -> str:
        if key not in self._names:
            taken = set(self._names.values())
            name, number = base, 2
            while name in taken:
                name, number = f"{base}_{number}", number + 1
            self._names[key] = name
            self.lines.append(f"{name} = {call}")
        return self._names[key]

    def _text(self, value: Any) -> str:
        if isinstance(value, list):
            return f"[{', '.join(self._text(v) for v in value)}]"
        if not isinstance(value, dict):
            return repr(value)
        if "$slice" in value:
            return f"slice({', '.join(self._text(v) for v in value['$slice'])})"
        if "$estimator" in value:
            package, cls = _estimator_class(str(value["$estimator"]))
            self.imports.add(f"from {package} import {cls.__name__}")
            defaults = cls().get_params(deep=False)
            given = {k: v for k, v in (value.get("parameters") or {}).items() if k in defaults and v != defaults[k]}
            return f"{cls.__name__}({', '.join(f'{k}={self._text(v)}' for k, v in given.items())})"
        if "$function" in value or value.get("model") == "PythonModel":
            return self._own(str(value.get("$function") or value.get("function")), value.get("source"))
        if value.get("model") == "Sum":
            return " + ".join(self._text(part) for part in value.get("parts", ()))
        if isinstance(value.get("model"), str):
            cls_name = type(models.restore(value)).__name__
            fields = {k: v for k, v in value.items() if k != "model"}
            return f"xp.models.{cls_name}({', '.join(f'{k}={self._text(v)}' for k, v in fields.items())})"
        if "$array" in value or "$data" in value:
            self.lines.append("# an array too large to record was passed here")
            return "..."
        if len(value) == 1 and next(iter(value)) in _TAGS:
            found = _value(value, {})
            return f"float({str(found)!r})" if isinstance(found, float) else repr(found)
        return f"{{{', '.join(f'{k!r}: {self._text(v)}' for k, v in value.items())}}}"

    def _own(self, name: str, source: Any) -> str:
        if models.own_function(name, source):
            return f"xp.models.{name}"
        short = name.rpartition(".")[2]
        if not short.isidentifier():
            short = "own_function"
        self.lines.append(f"# your own function {short}, as it was recorded:")
        self.lines += [f"#     {line}" for line in str(source or "(its source was not to be had)").splitlines()]
        return short


def _spread(arguments: Mapping[str, Any], known: Mapping[str, inspect.Parameter]) -> dict[str, Any]:
    """Recorded arguments, those that a signature gathers (``**options``) among the others again."""
    given = dict(arguments)
    for parameter in known.values():
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            given.update(given.pop(parameter.name, {}))
    return given


def _checked(name: Any, known: Mapping[str, Any]) -> str:
    """An argument's name, which must be one: what a file says never becomes code."""
    gathers = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in known.values())
    if name in known or (gathers and isinstance(name, str) and name.isidentifier()):
        return str(name)
    raise XpycroError(f"the recorded argument {name!r} is none of this operation")


def _same(value: Any, default: Any) -> bool:
    if isinstance(default, tuple):
        default = list(default)
    return type(value) is type(default) and bool(value == default)
