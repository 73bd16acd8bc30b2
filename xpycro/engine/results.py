"""What can be done with a result, by its kind: a registry that each kind of result fills itself.

``register("decomposition", "reconstruct")`` decorates the function that reconstructs a decomposition; ``dispatch``
finds it by the result's ``pycro_result`` attribute, ``find`` by a name, for rooms that do not know each other. May
import numpy, xarray, errors and schema only.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import xarray as xr

from xpycro import provenance
from xpycro.schema import result_kind

__all__ = ["dispatch", "evaluate", "find", "project", "reconstruct", "register", "residual"]

F = TypeVar("F", bound=Callable[..., Any])

_registry: dict[tuple[str, str], Callable[..., Any]] = {}
# Where each kind registers itself: imported by name on first use, so that this floor knows no other.
_homes: dict[str, str] = {
    "decomposition": "xpycro.processing.decompose",
    "clustering": "xpycro.processing.cluster",
    "fit": "xpycro.analysis.fit",
    "loop_fit": "xpycro.analysis.loops",
}


def register(kind: str, operation: str) -> Callable[[F], F]:
    """Decorate the function that carries out `operation` on results of `kind`.

    Parameters
    ----------
    kind : str
        The ``pycro_result`` attribute: ``"decomposition"``, ``"fit"``, ...
    operation : str
        ``"reconstruct"``, ``"evaluate"``, ``"residual"``, ``"project"``; ``"extrapolate"`` of a fit to be made.
    """

    def decorate(function: F) -> F:
        _registry[kind, operation] = function
        return function

    return decorate


def dispatch(result: xr.Dataset, operation: str, *args: Any, **kwargs: Any) -> Any:
    """Carry out `operation` on `result` by its kind.

    Raises
    ------
    ValueError
        If the object is no result, or its kind has no such operation; the message says what it has.
    """
    kind = result_kind(result)
    if kind is None:
        raise ValueError(f"{operation} works on a result (of fit, decompose, ...); this is a plain measurement")
    return find(kind, operation)(result, *args, **kwargs)


def find(kind: str, operation: str) -> Callable[..., Any]:
    """The function that carries out `operation` for results of `kind`, its room loaded where it is not.

    Raises
    ------
    ValueError
        If the kind has no such operation; the message says what it has.
    """
    if (kind, operation) not in _registry and kind in _homes:
        importlib.import_module(_homes[kind])
    if (kind, operation) not in _registry:
        has = sorted(name for k, name in _registry if k == kind)
        can = sorted(k for k, name in _registry if name == operation)
        raise ValueError(f"{operation} does not apply to a {kind} result (which has {has}); it applies to {can}")
    return _registry[kind, operation]


@provenance.recorded("reconstruct")
def reconstruct(result: xr.Dataset, components: int | slice | list[int] | None = None) -> xr.DataArray:
    """The data as a decomposition's components make it: dims, units and dtype of the input.

    Parameters
    ----------
    result : Dataset
        Of ``decompose``.
    components : int, slice, list of int, or None
        An int means the first n; None all that the result holds.

    Returns
    -------
    DataArray
        ``mean + sum maps * components`` over the input's dims, in its units.

    Notes
    -----
    *Laziness*: lazy where the maps are.

    Examples
    --------
    >>> import numpy as np
    >>> from xpycro.processing.decompose import svd
    >>> data = xr.DataArray(np.outer([1.0, 2.0], [3.0, 0.0, 4.0]), dims=("x", "bias"))
    >>> bool(np.allclose(reconstruct(svd(data), components=1), data))
    True
    """
    return dispatch(result, "reconstruct", components)


@provenance.recorded("evaluate")
def evaluate(
    result: xr.Dataset, x: Any = None, *, functions: Mapping[str, Callable[..., Any]] | None = None
) -> xr.DataArray:
    """A fit's model at its parameters.

    Parameters
    ----------
    result : Dataset
        Of ``fit``.
    x : array_like or DataArray, optional
        Where along the fitted axis, in its units; None is where it was fitted.
    functions : mapping of str to callable, optional
        Your own functions by name, where the model is one: code that was recorded is never run.

    Returns
    -------
    DataArray
        Over the result's dims and the fitted one, in the data's units.

    Notes
    -----
    *Laziness*: lazy where the parameters are.

    Examples
    --------
    >>> from xpycro.analysis.fit import fit
    >>> line = xr.DataArray([1.0, 3.0, 5.0, 7.0], coords={"bias": [0.0, 1.0, 2.0, 3.0]}, dims="bias", name="current")
    >>> evaluate(fit(line, "linear"), x=[10.0]).values.round(6)
    array([21.])
    """
    extra = (functions,) if functions is not None else ()
    return dispatch(result, "evaluate", x, *extra)


@provenance.recorded("residual")
def residual(
    result: xr.Dataset,
    data: xr.DataArray | None = None,
    *,
    functions: Mapping[str, Callable[..., Any]] | None = None,
) -> xr.DataArray:
    """Data minus what the result makes of them.

    Parameters
    ----------
    result : Dataset
        Of ``fit`` or ``decompose``.
    data : DataArray, optional
        What it was made from; without it the source is reopened through the history.
    functions : mapping of str to callable, optional
        Your own functions by name, where the model of a fit is one.

    Returns
    -------
    DataArray
        Dims and units of the data.

    Notes
    -----
    *Laziness*: lazy where the data or the result are.

    Examples
    --------
    >>> from xpycro.analysis.fit import fit
    >>> line = xr.DataArray([1.0, 3.0, 5.0, 7.0], coords={"bias": [0.0, 1.0, 2.0, 3.0]}, dims="bias", name="current")
    >>> bool(abs(residual(fit(line, "linear"), line)).max() < 1e-9)
    True
    """
    extra = (functions,) if functions is not None else ()
    return dispatch(result, "residual", data, *extra)


@provenance.recorded("project")
def project(result: xr.Dataset, data: xr.DataArray) -> xr.DataArray:
    """Maps of new data on a decomposition's components.

    Parameters
    ----------
    result : Dataset
        Of ``decompose``.
    data : DataArray
        With the same signal axis.

    Returns
    -------
    DataArray
        ``maps(component, <rest>)`` in the data's units.

    Notes
    -----
    *Laziness*: lazy where the data are; one pass.

    Examples
    --------
    >>> import numpy as np
    >>> from xpycro.processing.decompose import svd
    >>> data = xr.DataArray(np.outer([1.0, 2.0], [3.0, 0.0, 4.0]), dims=("x", "bias"))
    >>> project(svd(data, 1), 2 * data).values.round(6)
    array([[10., 20.]])
    """
    return dispatch(result, "project", data)
