"""What is asked of fits once they are made: which model, and quantities derived from parameters with their errors.

May import numpy, xarray, the floors below and this room.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import xarray as xr

from xpycro import provenance, schema
from xpycro.analysis import fit_curves
from xpycro.engine import chunked
from xpycro.units import combine_units, powers_of

__all__ = ["derived", "fit_compare"]


def fit_compare(fits: Mapping[str, xr.Dataset]) -> xr.Dataset:
    """Which of several models the data speak for, pixel by pixel, by weights of the corrected Akaike criterion.

    Parameters
    ----------
    fits : mapping of str to Dataset
        Two or more results of `fit` of the same data with the same sigma.

    Returns
    -------
    Dataset
        ``aicc(model, ...)``; ``weight(model, ...)``, the probability of each model among these (adding up to one; NaN
        where none converged); ``best(...)``, the number of the likeliest along ``model``, -1 where none converged.

    Raises
    ------
    ValueError
        If the fits are of different data, axes, sigma or losses, or of robust losses, which have no likelihood.

    Notes
    -----
    *Laziness*: lazy where the fits are.

    References
    ----------
    Hurvich and Tsai, Biometrika 76, 297 (1989); Burnham and Anderson, Model Selection and Multimodel Inference (2002).

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from xpycro.analysis.fit import fit
    >>> x = np.linspace(0, 1, 50)
    >>> noise = np.random.default_rng(0).normal(scale=0.01, size=50)
    >>> da = xr.DataArray(1 + 2 * x + noise, {"bias": x}, ("bias",))
    >>> compared = fit_compare({"level": fit(da, "constant"), "line": fit(da, "linear")})
    >>> int(compared.best), bool(compared.weight.sel(model="line") > 0.99)
    (1, True)
    """
    if not isinstance(fits, Mapping) or len(fits) < 2:
        raise ValueError(f"fit_compare needs two fits or more by name, {{'one': fit, 'other': fit}}, not {fits!r:.200}")
    for name, result in fits.items():
        if schema.result_kind(result) != "fit":
            raise ValueError(f"{name!r} is no result of fit")
        if result.attrs.get("loss") not in ("linear", "poisson"):
            raise ValueError(f"{name!r} was fitted with loss={result.attrs.get('loss')!r}, which is no likelihood")
    identities = {name: _identity(result) for name, result in fits.items()}
    first, reference = next(iter(identities.items()))
    for name, identity in identities.items():
        different = [key for key in reference if identity[key] != reference[key]]
        if different:
            raise ValueError(
                f"{name!r} and {first!r} cannot be compared: they differ in {different}; fit the same data with the "
                "same sigma, window and loss (the same array: lazy and loaded data cannot be told to be the same)"
            )
    names = list(fits)
    model = xr.Variable("model", names, {"long_name": "model"})
    aicc = xr.concat([_aicc(result) for result in fits.values()], dim="model").assign_coords(model=model)
    least = aicc.min("model")
    likelihood = xr.apply_ufunc(np.exp, -0.5 * (aicc - least), dask="allowed").fillna(0.0)
    weight = (likelihood / likelihood.sum("model")).where(least.notnull())
    best = aicc.fillna(np.inf).argmin("model").where(least.notnull(), -1).astype(np.int16)
    attrs = {"units": "1", "long_name": "best model", "flag_values": list(range(len(names)))}
    return schema.new_result(
        "comparison",
        {
            "aicc": aicc.assign_attrs(units="1", long_name="corrected Akaike information criterion"),
            "weight": weight.assign_attrs(units="1", long_name="Akaike weight"),
            "best": best.assign_attrs(attrs | {"flag_meanings": " ".join(n.replace(" ", "_") for n in names)}),
        },
    )


def _identity(result: xr.Dataset) -> dict[str, Any]:
    """What must agree: the data and sigma by fingerprint, and how they were cut and weighed."""
    steps = [s for s in provenance.History.of(result).steps if s.get("operation") == "fit"]
    if not steps:
        raise ValueError("a fit has lost its history, so nothing says that the data were the same: fit again")
    inputs = {entry["argument"]: entry["fingerprint"] for entry in steps[-1].get("inputs", ())}
    asked = steps[-1].get("parameters", {})
    identity = {"data": sorted(inputs.get("data", {}).values()), "sigma": inputs.get("sigma", asked.get("sigma"))}
    identity |= {"exclude": inputs.get("exclude"), "pixels": dict(result.r2.sizes)}
    identity |= {key: result.attrs.get(key) for key in ("fitted_variable", "fitted_axis", "loss", "absolute_sigma")}
    identity["window"] = [result[name].values.tolist() for name in fit_curves.axis_names(result)]
    return identity


def _aicc(result: xr.Dataset) -> xr.DataArray:
    known_noise = result.attrs["absolute_sigma"] or result.attrs["loss"] == "poisson"
    k = result.attrs["n_fitted"] + (0 if known_noise else 1)
    n = np.exp((result.bic - result.aic) / k + 2)  # bic - aic = k (ln n - 2): the points each pixel really had
    room = n - k - 1
    return (result.aic + 2 * k * (k + 1) / room).where((room > 0) & result.converged)


@provenance.recorded("derived")
def derived(result: xr.Dataset, *, prefix: str | None = None, **functions: Callable[..., Any]) -> xr.Dataset:
    """Functions of the fitted parameters, with errors propagated through their covariance.

    Parameters
    ----------
    result : Dataset
        Of `fit`, with ``covariance=True`` unless each function takes one parameter only.
    prefix : str, optional
        Name of a term of a sum: the functions' arguments are its parameters without the prefix.
    **functions : callable
        Of NumPy arrays; each argument is named as a parameter, such as ``area=Gaussian.area``. Arguments with a default
        that are no parameters keep it.

    Returns
    -------
    Dataset
        ``<name>`` and ``<name>_stderr`` for each, over the dims of the parameters, with units found from how the
        function scales with its arguments' units.

    Raises
    ------
    ValueError
        If an argument is no parameter, or the covariance is missing.

    Notes
    -----
    *Laziness*: lazy where the fit is. First order (delta method), derivatives by central differences.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from xpycro.analysis.fit import fit
    >>> from xpycro.analysis.models import Gaussian
    >>> x = xr.Variable("energy", np.linspace(-3, 3, 61), {"units": "eV"})
    >>> da = xr.DataArray(2 * np.exp(-0.5 * x**2), {"energy": x}, attrs={"units": "counts"})
    >>> areas = derived(fit(da, "gaussian", covariance=True), area=Gaussian.area)
    >>> round(float(areas.area), 6), areas.area.units
    (5.013257, 'counts eV')
    """
    if schema.result_kind(result) != "fit":
        raise ValueError("derived works on a result of fit")
    if not functions:
        raise ValueError("derived needs functions, such as area=Gaussian.area")
    names = list(json.loads(result.attrs["parameters"]))
    lead = f"{prefix}_" if prefix else ""
    wanted = {name: _arguments(name, function, lead, names) for name, function in functions.items()}
    if "covariance" not in result and any(len(arguments) > 1 for arguments in wanted.values()):
        raise ValueError("errors of functions of several parameters need their covariance: fit with covariance=True")
    made: dict[str, xr.DataArray] = {}
    for name, function in functions.items():
        made |= _derive(result, name, function, wanted[name], names)
    return xr.Dataset(made).drop_encoding()


def _arguments(name: str, function: Callable[..., Any], lead: str, names: list[str]) -> list[str]:
    """The fit's parameters that a function takes."""
    if not callable(function):
        raise TypeError(f"{name}= must be a function of the parameters, such as Gaussian.area, not {function!r}")
    arguments = {lead + p.name: p for p in inspect.signature(function).parameters.values()}
    used = [a for a, p in arguments.items() if a in names or p.default is p.empty]
    unknown = [a for a in used if a not in names]
    if unknown or not used:
        raise ValueError(
            f"{name}= takes {unknown or 'no parameter'}, which the fit does not have; its parameters are {names}; "
            "prefix= names a term of a sum"
        )
    return used


def _derive(
    result: xr.Dataset, name: str, function: Callable[..., Any], arguments: list[str], names: list[str]
) -> dict[str, xr.DataArray]:
    parameters = [result[a] for a in arguments]
    if "covariance" in result:
        covariance = result.covariance.reset_coords(drop=True).drop_vars(["parameter", "parameter_"], errors="ignore")
        index = [names.index(a) for a in arguments]
        spread = covariance.isel(parameter=index, parameter_=index)
    else:
        spread = (result[f"{arguments[0]}_stderr"] ** 2).expand_dims(["parameter", "parameter_"], axis=[-2, -1])
    unit = _unit(result, function, arguments)
    outputs = {
        name: chunked.Output(np.float64, attrs={"units": unit, "long_name": name.replace("_", " ")}),
        f"{name}_stderr": chunked.Output(
            np.float64, attrs={"units": unit, "long_name": f"{name.replace('_', ' ')} standard error"}
        ),
    }
    return chunked.apply(
        _derive_block, *parameters, spread, dims=[*([] for _ in parameters), ["parameter", "parameter_"]],
        outputs=outputs, kwargs={"function": function},
    )  # fmt: skip


def _derive_block(*arrays: np.ndarray, function: Callable[..., Any]) -> tuple[np.ndarray, np.ndarray]:
    values, covariance = [np.asarray(a, dtype=np.float64) for a in arrays[:-1]], arrays[-1]
    shape = np.broadcast_shapes(*(v.shape for v in values))
    slopes = []
    with np.errstate(all="ignore"):
        for j, value in enumerate(values):
            h = 6e-6 * np.where(value != 0, np.abs(value), 1.0)
            high = [v + h if k == j else v for k, v in enumerate(values)]
            low = [v - h if k == j else v for k, v in enumerate(values)]
            slopes.append(np.broadcast_to((np.asarray(function(*high)) - function(*low)) / (2 * h), shape))
        slope = np.stack(slopes, axis=-1)
        variance = np.einsum("...i,...ij,...j->...", slope, covariance, slope)
        return np.broadcast_to(np.asarray(function(*values), dtype=np.float64), shape).copy(), np.sqrt(variance)


def _unit(result: xr.Dataset, function: Callable[..., Any], arguments: list[str]) -> str:
    """The unit of a function of parameters: to which powers of the units in them its value scales."""
    units = [str(result[a].attrs.get("units", "")) for a in arguments]
    if "" in units:  # a parameter of a Python function that nothing gave a unit
        return ""
    each = [{symbol: n for symbol, n in powers_of(unit).items() if symbol != "rad"} for unit in units]
    order = [*powers_of(result.attrs["fitted_units"]), *(symbol for powers in each for symbol in powers)]
    point, found = np.linspace(0.31, 0.47, len(arguments)), []
    with np.errstate(all="ignore"):
        for symbol in dict.fromkeys(order):
            scale = np.array([2.0 ** powers.get(symbol, 0) for powers in each])
            power = float(np.log2(np.abs(function(*(scale * point)) / function(*point))))
            if not np.isfinite(power) or abs(power - round(power)) > 1e-6:
                return ""
            found.append((symbol, round(power)))
    return combine_units(*found)
