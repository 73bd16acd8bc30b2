"""Provenance: how a measurement or result was made, and whether it was touched in between.

The history is one JSON attribute, ``pycro_history``, on a Dataset and on each of its data variables (so that
``ds["current"]`` still knows its file). May import numpy, xarray, errors and schema; dask is recognised, not imported.
"""

from __future__ import annotations

import contextvars
import functools
import html
import inspect
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import numpy as np
import xarray as xr

from xpycro.errors import MissingSource
from xpycro.schema import _jsonable

__all__ = [
    "HISTORY",
    "History",
    "fingerprint",
    "history",
    "opened",
    "record",
    "recorded",
    "source_data",
    "sourced",
    "stamp",
]

HISTORY = "pycro_history"
_HASHED_BYTES = 1 << 24  # an eager array is hashed whole up to here, in evenly spaced pieces beyond
_PIECES = 64
# A recorded operation that calls another leaves one step, its own.
_inside: contextvars.ContextVar[bool] = contextvars.ContextVar("xpycro_inside_recorded", default=False)

_version_of: dict[str, str] = {}

P = ParamSpec("P")
R = TypeVar("R")
Labelled = xr.DataArray | xr.Dataset


# --------------------------------------------------------------------------------------------------- fingerprints


def fingerprint(da: xr.DataArray) -> str:
    """What identifies the content of an array without computing it.

    Parameters
    ----------
    da : DataArray

    Returns
    -------
    str
        ``dask:`` and the name of the graph's last layer for a lazy array; ``lazy:`` and a digest of file, name, type
        and index for one that xarray has not read yet; ``hash:`` of dtype, shape and bytes for one in memory (beyond
        16 MiB, of 64 evenly spaced pieces of 256 KiB).

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> fingerprint(xr.DataArray(np.arange(3.0))) == fingerprint(xr.DataArray(np.arange(3.0)))
    True
    """
    return _identity(da.variable, da.name)


def _identity(variable: xr.Variable, name: Any) -> str:
    """The fingerprint of a variable: a Dataset makes its arrays anew each time they are asked for."""
    data: Any = variable._data
    if hasattr(data, "__dask_graph__"):
        return f"dask:{data.name}"
    import xxhash  # at the speed of memory: a fit of 20,000 spectra takes less time than a cryptographic hash of them

    if not variable._in_memory:
        facts = (
            variable.encoding.get("source", ""), name, variable.dtype.str, variable.shape,
            getattr(_innermost(data), "key", ""),
        )  # fmt: skip
        return f"lazy:{xxhash.xxh3_128_hexdigest(str(facts).encode())}"
    values = np.ascontiguousarray(variable.values)
    digest = xxhash.xxh3_128(f"{values.dtype.str}{values.shape}".encode())
    if values.dtype.hasobject:
        digest.update(json.dumps(_jsonable(values.ravel()[:4096])).encode())
        return f"hash:{digest.hexdigest()}"
    raw = values.reshape(-1).view(np.uint8)
    if raw.size <= _HASHED_BYTES:
        digest.update(raw.data)
    else:
        length = _HASHED_BYTES // _PIECES
        for start in np.linspace(0, raw.size - length, _PIECES).astype(int):
            digest.update(raw[start : start + length].data)
    return f"hash:{digest.hexdigest()}"


def _innermost(data: Any) -> Any:
    """The lazily indexed array inside xarray's caching wrappers."""
    while not hasattr(data, "key") and hasattr(data, "array"):
        data = data.array
    return data


def _fingerprints(obj: Labelled) -> dict[str, str]:
    if isinstance(obj, xr.DataArray):
        return {str(obj.name): fingerprint(obj)}
    return {str(name): _identity(obj.variables[name], name) for name in obj.data_vars}


def _compare(da: xr.DataArray, expected: Mapping[str, str]) -> tuple[str, str, list[str]]:
    """Fingerprint, state against what was recorded last, and the layers in between where dask can tell."""
    now = fingerprint(da)
    if not expected:
        return now, "unknown", []
    if now in expected.values():
        return now, "unchanged", []
    kinds = {value.partition(":")[0] for value in expected.values()}
    if now.startswith("dask:"):
        known = {value.removeprefix("dask:") for value in expected.values() if value.startswith("dask:")}
        data: Any = da.variable._data
        layers = list(getattr(data.__dask_graph__(), "layers", {}))
        if known & set(layers):
            between = [
                name.rsplit("-", 1)[0] for name in layers if name not in known and not _upstream(da, name, known)
            ]
            if all(name.startswith(("rechunk", "transpose")) for name in between):
                return now, "unchanged", between
            selected = all(name.startswith(("rechunk", "transpose", "getitem")) for name in between)
            return now, "selected" if selected else "changed", between
    if kinds != {now.partition(":")[0]}:
        return now, "unverified", []  # loaded or chunked in between: the two fingerprints cannot be compared
    return now, "changed", []


def _upstream(da: xr.DataArray, layer: str, known: set[str]) -> bool:
    """Whether a layer lies before the recorded one (so that it is part of what was recorded)."""
    data: Any = da.variable._data
    dependencies = data.__dask_graph__().dependencies
    pending, seen = list(known), set(known)
    while pending:
        for name in dependencies.get(pending.pop(), ()):
            if name == layer:
                return True
            if name not in seen:
                seen.add(name)
                pending.append(name)
    return False


# -------------------------------------------------------------------------------------------------------- history


@dataclass(frozen=True)
class History:
    """How an object was made: source file, steps, and where the object itself is stored.

    Attributes
    ----------
    source : dict
        The instrument's file: path, name, size, modified, format, options, and sha256 where it was translated.
    steps : list of dict
        Each with operation, parameters, versions, time, inputs (fingerprint and state) and outputs.
    location : dict or None
        Where the object can be opened again.
    fingerprints : dict
        What identified each variable when this history was last written.
    """

    source: dict[str, Any] = field(default_factory=dict)
    steps: list[dict[str, Any]] = field(default_factory=list)
    location: dict[str, Any] | None = None
    fingerprints: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, obj: Any) -> History:
        """Read the history of an object; an empty one where there is none or it cannot be read."""
        text = getattr(obj, "attrs", {}).get(HISTORY)
        try:
            content = json.loads(text) if text else {}
        except ValueError:
            content = {}
        if not isinstance(content, dict):
            content = {}
        return cls(
            dict(content.get("source") or {}),
            list(content.get("steps") or []),
            content.get("location"),
            dict(content.get("fingerprints") or {}),
        )

    def to_json(self) -> str:
        """The JSON that the attribute holds."""
        return json.dumps(
            {
                "version": 1,
                "source": self.source,
                "location": self.location,
                "steps": self.steps,
                "fingerprints": self.fingerprints,
            },
            ensure_ascii=False,
        )

    @property
    def gaps(self) -> list[str]:
        """One sentence for each input that was changed outside recorded operations."""
        return [text for number, step in enumerate(self.steps, 1) for text in _gaps(number, step)]

    def rows(self) -> Iterator[tuple[str, str, str]]:
        """The rows of its table: what, operation, parameters."""
        if self.source:
            name = self.source.get("name", "?")
            size = self.source.get("size")
            detail = f"{self.source.get('format', '?')}" + (f", {size:,} bytes" if isinstance(size, int) else "")
            if self.source.get("sha256"):
                detail += f", sha256 {self.source['sha256'][:12]}…"
            yield "source", str(name), detail
        else:
            yield "source", "in memory", "made without a file"
        for number, step in enumerate(self.steps, 1):
            for text in _gaps(number, step):
                yield "gap", "not recorded", text
            for entry in step.get("inputs", ()):
                if entry.get("state") == "selected":
                    yield "", "part of the data", f"{entry.get('variable') or entry.get('argument')} was indexed"
            parameters = ", ".join(f"{k}={_short(v)}" for k, v in step.get("parameters", {}).items() if v is not None)
            yield str(number), str(step.get("operation")), parameters
        if self.location:
            group = self.location.get("group")
            yield "stored", str(self.location.get("path")), f"group {group}" if group else "root"

    def __repr__(self) -> str:
        rows = list(self.rows())
        widths = [max(len(row[i]) for row in rows) for i in (0, 1)]
        return "\n".join(f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c}".rstrip() for a, b, c in rows)

    def _repr_html_(self) -> str:
        body = "".join(
            "<tr>" + "".join(f"<td style='text-align:left'>{html.escape(cell)}</td>" for cell in row) + "</tr>"
            for row in self.rows()
        )
        return f"<table><tr><th></th><th>operation</th><th>parameters</th></tr>{body}</table>"


def _gaps(number: int, step: Mapping[str, Any]) -> Iterator[str]:
    for entry in step.get("inputs", ()):
        name = entry.get("variable") or entry.get("argument")
        if entry.get("state") == "changed":
            through = " → ".join(entry.get("through") or ())
            yield f"{name} was changed outside recorded operations before step {number}" + (
                f" ({through})" if through else ""
            )
        elif entry.get("state") == "unverified":
            yield f"{name} was loaded or chunked before step {number}: edits in between cannot be ruled out"


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False) if not isinstance(value, str) else value
    return text if len(text) <= 60 else text[:57] + "…"


def history(obj: Labelled) -> History:
    """How `obj` was made: raw file, translator, operations, parameters, versions, and gaps.

    Parameters
    ----------
    obj : DataArray or Dataset

    Returns
    -------
    History
        Prints as a table; ``.steps`` and ``.gaps`` hold the facts.

    Notes
    -----
    *Laziness*: computes nothing.

    Examples
    --------
    >>> import xarray as xr
    >>> history(xr.Dataset())
    source  in memory  made without a file
    """
    return History.of(obj)


def _attach(obj: R, content: History) -> R:
    text = content.to_json()
    assert isinstance(obj, Labelled)
    # only attributes change: the copy shares the arrays and leaves the caller's variables alone
    copy = obj.copy(deep=False)
    for one in (copy, *(map(copy.variables.get, copy.data_vars) if isinstance(copy, xr.Dataset) else ())):
        # last, so that a notebook shows units and names before the long texts
        header = {name: one.attrs.pop(name) for name in ("original_metadata",) if name in one.attrs}
        one.attrs.pop(HISTORY, None)
        one.attrs.update({**header, HISTORY: text})
    return copy  # type: ignore[return-value]


# ------------------------------------------------------------------------------------------------------- opening


def opened(
    ds: xr.Dataset,
    *,
    path: str | os.PathLike[str],
    format: str,
    group: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> xr.Dataset:
    """Mark a Dataset as just opened from a file: its source (unless it already has one) and its location.

    Parameters
    ----------
    ds : Dataset
        As the translator or the store gave it.
    path : path-like
    format : str
        Name of the format in ``xp.formats()``.
    group : str, optional
    options : mapping, optional
        The reader options it was opened with.
    """
    before = History.of(ds)
    path = Path(path)
    status = path.stat()
    facts = {
        "path": str(path.absolute()),
        "format": format,
        "group": group,
        "options": _describe(dict(options or {})),
        "size": status.st_size,
        "modified": datetime.fromtimestamp(status.st_mtime, UTC).isoformat(),
    }
    # what was simulated has no instrument's file; the store that it was saved to is where it lies, not where it is from
    made = bool(before.steps)
    source = before.source if before.source or made else {**facts, "name": path.name, "versions": _versions()}
    location = {**facts, "result": ds.attrs.get("pycro_result")}
    return _attach(ds, History(source, before.steps, location, _fingerprints(ds)))


def sourced(ds: xr.Dataset, facts: Mapping[str, Any]) -> xr.Dataset:
    """Add facts (sha256, translator) to what the history says about the instrument's file."""
    before = History.of(ds)
    return _attach(ds, History({**before.source, **facts}, before.steps, before.location, before.fingerprints))


def stamp(ds: xr.Dataset) -> xr.Dataset:
    """Renew the fingerprints of a Dataset whose representation, not content, has just changed (chunked on opening)."""
    before = History.of(ds)
    return _attach(ds, History(before.source, before.steps, before.location, _fingerprints(ds)))


# ------------------------------------------------------------------------------------------------------- recording


def _versions() -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    names = ["xpycro", "xarray", "numpy"]
    names += [name for name in ("dask", "scipy", "numba") if name in sys.modules]
    found = {"python": ".".join(map(str, sys.version_info[:3]))}
    for name in [*names, *(["scikit-learn"] if "sklearn" in sys.modules else [])]:
        if name not in _version_of:  # looking into installed packages takes milliseconds
            try:
                _version_of[name] = version(name)
            except PackageNotFoundError:  # run from a source tree
                _version_of[name] = "unknown"
        found[name] = _version_of[name]
    return found


def _describe(value: Any) -> Any:
    """A parameter as JSON by value: models by `describe`, estimators by class and parameters, functions by source."""
    if isinstance(value, Labelled):
        return {"$data": str(value.name) if isinstance(value, xr.DataArray) else "Dataset"}
    if isinstance(value, slice):
        return {"$slice": [_describe(value.start), _describe(value.stop), _describe(value.step)]}
    if isinstance(value, np.ndarray) and value.size > 64:
        return {"$array": fingerprint(xr.DataArray(value)), "shape": list(value.shape)}
    if isinstance(value, Mapping):
        return {str(k): _describe(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_describe(v) for v in value]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if not isinstance(value, type) and callable(getattr(value, "describe", None)):
        return value.describe()
    if hasattr(value, "param_names") and hasattr(value, "independent_vars"):  # an lmfit.Model
        return {"$function": "lmfit_model", "source": repr(value)}
    if all(hasattr(value, field) for field in ("value", "min", "max", "vary", "expr")):  # an lmfit.Parameter
        return {f: _describe(getattr(value, f)) for f in ("value", "min", "max", "vary", "expr")}
    if not isinstance(value, type) and hasattr(value, "get_params"):
        kind = f"{type(value).__module__}.{type(value).__qualname__}"
        return {"$estimator": kind, "parameters": _describe(value.get_params(deep=False))}
    if inspect.isroutine(value) or inspect.isclass(value):
        try:
            text = inspect.getsource(value)
        except (OSError, TypeError):  # built in, or typed into a session
            text = None
        return {"$function": getattr(value, "__qualname__", str(value)), "source": text}
    return _jsonable(value)


def _input(argument: str, obj: Labelled) -> dict[str, Any]:
    before = History.of(obj)
    arrays = [obj] if isinstance(obj, xr.DataArray) else list(obj.data_vars.values())
    compared = [_compare(da, before.fingerprints) for da in arrays]
    states = [state for _, state, _ in compared]
    state = next((s for s in ("changed", "unverified", "selected", "unknown") if s in states), "unchanged")
    return {
        "argument": argument,
        "variable": str(obj.name) if isinstance(obj, xr.DataArray) and obj.name is not None else None,
        "fingerprint": {str(da.name): now for da, (now, _, _) in zip(arrays, compared, strict=True)},
        "state": state,
        "through": next((through for _, _, through in compared if through), []),
        "location": before.location if state in ("unchanged", "unverified", "selected") else None,
    }


def record(result: R, operation: str, arguments: Mapping[str, Any]) -> R:
    """Attach to `result` the history of its first labelled argument and one step more.

    Parameters
    ----------
    result : DataArray or Dataset
        Anything else is returned as it is.
    operation : str
        The public name, such as ``"decompose.svd"``.
    arguments : mapping
        The call's bound arguments: labelled ones become inputs, the others parameters.
    """
    if not isinstance(result, Labelled):
        return result
    labelled = {name: value for name, value in arguments.items() if isinstance(value, Labelled)}
    inputs = [_input(name, value) for name, value in labelled.items()]
    histories = [History.of(value) for value in labelled.values()]
    main = histories[0] if histories else History()
    for entry, other in zip(inputs[1:], histories[1:], strict=True):
        # the first input's past is this history's own steps; the others bring theirs along
        entry["history"] = {"source": other.source, "steps": other.steps}
    outputs = _fingerprints(result)
    step = {
        "operation": operation,
        "parameters": {name: _describe(value) for name, value in arguments.items() if name not in labelled},
        "versions": _versions(),
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "inputs": inputs,
        "outputs": outputs,
    }
    return _attach(result, History(main.source, [*main.steps, step], None, outputs))


def recorded(operation: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorate a public operation so that its result says how it was made.

    Parameters
    ----------
    operation : str
        The public name, such as ``"fit"`` or ``"cluster.kmeans"``.

    Notes
    -----
    An operation called by another recorded one leaves no step of its own.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(function)

        @functools.wraps(function)
        def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
            if _inside.get():
                return function(*args, **kwargs)
            token = _inside.set(True)
            try:
                result = function(*args, **kwargs)
            finally:
                _inside.reset(token)
            bound = signature.bind(*args, **kwargs)
            bound.apply_defaults()
            return record(result, operation, bound.arguments)

        wrapper.operation = operation  # type: ignore[attr-defined]
        return wrapper

    return decorate


# ------------------------------------------------------------------------------------------------------ reopening


def source_data(result: Labelled, data: Labelled | None = None, *, purpose: str = "this") -> xr.DataArray:
    """The measurement that a result was made from: `data` where given, else reopened lazily through the history.

    Parameters
    ----------
    result : DataArray or Dataset
    data : DataArray or Dataset, optional
        Of a Dataset the variable that the history names, else its only one.
    purpose : str
        What needs it, for the error.

    Raises
    ------
    MissingSource
        If nothing was stored, the data were changed outside recorded operations, or the file is gone or has changed.

    Notes
    -----
    *Laziness*: nothing is read; the array comes lazily indexed, cut to the part that the result's labels name.
    """
    entry = _source_entry(History.of(result))
    variable = entry.get("variable") if entry else None
    if isinstance(data, xr.DataArray):
        return data
    if isinstance(data, xr.Dataset):
        names = [str(name) for name in data.data_vars]
        if variable in names:
            return data[variable]
        if len(names) == 1:
            return data[names[0]]
        raise ValueError(f"data= is a Dataset of {names}: pass the one variable that {purpose} needs")
    if entry is None:
        raise MissingSource(f"{purpose} needs the data and the result does not say where they are: pass data=")
    if entry["state"] == "changed":
        raise MissingSource(f"the data were changed outside recorded operations, so {purpose} needs them: pass data=")
    location = entry.get("location")
    if not location:
        raise MissingSource(f"{purpose} needs the data, which were never stored in a file: pass data=")
    path = Path(location["path"])
    if not path.exists():
        raise MissingSource(f"{purpose} needs the data and {path} is not there any more: pass data=")
    if path.suffix != ".h5" and path.stat().st_size != location.get("size", path.stat().st_size):
        raise MissingSource(f"{purpose} needs the data and {path} has changed since: pass data=")
    reader = {"format": location["format"], "reader_options": location.get("options") or None}
    ds = xr.open_dataset(path, engine="pycro", group=location.get("group"), **reader)
    if variable is None or variable not in ds.data_vars:
        names = [str(name) for name in ds.data_vars]
        if len(names) != 1:
            raise MissingSource(f"{purpose} needs one of {names} of {path}: pass data=")
        variable = names[0]
    return _like(ds[variable], result)


def _like(data: xr.DataArray, result: Labelled) -> xr.DataArray:
    """The part of `data` that the labels of `result` name, where the result was made from a part."""
    for dim in data.dims:
        if dim not in data.coords or dim not in result.coords:
            continue
        wanted = result.coords[dim]
        if wanted.ndim == 0 or not data.indexes[dim].equals(result.indexes.get(dim, data.indexes[dim])):
            data = data.sel({dim: wanted.values})
    return data


def _source_entry(content: History) -> dict[str, Any] | None:
    """The input entry of the measurement: back through the steps, past inputs that are results themselves."""
    entry = None
    for step in reversed(content.steps):
        inputs = step.get("inputs") or []
        if not inputs:
            continue
        entry = inputs[0]
        location = entry.get("location")
        if entry["state"] == "changed" or (location and not location.get("result")):
            break
    return entry
