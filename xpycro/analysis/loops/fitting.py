"""Fit the nine-parameter loop to every pixel, cycle and field: `fit`, and what its result can do.

May import numpy, xarray, the floors below and analysis.loops; numba never directly.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from xpycro import provenance, schema
from xpycro.analysis.loops._axis import bias_of, bias_rows, cut_like, is_rising, loop_dim
from xpycro.analysis.loops._block import MAX_CLUSTERS, NONLINEAR, cluster_starts, fit_block
from xpycro.analysis.loops.model import PARAMETERS, loop
from xpycro.engine import chunked, results
from xpycro.engine.solver import Status
from xpycro.units import combine_units

__all__ = ["evaluate_loops", "fit", "residual_of_loops"]

_SAMPLE = 1024  # loops that the clusters are found in
_DESCRIBED = {
    "lower_level": "response before switching, at the negative end",
    "height": "switchable response; negative where the response falls with the bias",
    "switching_bias_negative": "where the falling branch switches",
    "switching_bias_positive": "where the rising branch switches",
    "slope": "linear part of the response",
    "width_0": "falling branch, below its switching bias",
    "width_1": "falling branch, above its switching bias",
    "width_2": "rising branch, below its switching bias",
    "width_3": "rising branch, above its switching bias",
}


@provenance.recorded("loops.fit")
def fit(projected: xr.Dataset | xr.DataArray, *, dim: str = "step") -> xr.Dataset:
    """Fit the nine-parameter switching loop along `dim`.

    ``a0 + a1 y(V) + a4 V``; on the falling branch ``y = (g erf((V - a2) / g) + b0) / (b0 + b1)`` with g = b1 above the
    switching bias a2 and b0 below it, on the rising branch the same with a3, b2, b3.

    Parameters
    ----------
    projected : Dataset or DataArray
        ``response`` of `project`, or any real loops with the coordinate ``bias`` along `dim`. Missing steps are NaN.
    dim : str, default "step"

    Returns
    -------
    Dataset
        ``pycro_result`` "loop_fit", over the other dims (pixels, ``cycle``, ``forc``, ``field``): ``lower_level``,
        ``height``, ``switching_bias_negative``, ``switching_bias_positive``, ``slope``, ``width_0`` to ``width_3`` (a0
        to a4, b0 to b3 of the publication), each with ``<name>_stderr``; ``residual_rms``, ``r2``, ``aicc`` of the
        loop and ``aicc_line`` of a straight line (the lower one describes the data better), ``converged``,
        ``status``, ``n_iterations``, and ``covariance(parameter, parameter_)``. Parameters of loops that did not
        converge, or cannot be told from a line, are NaN, and ``status`` says why. Widths lie between a third of a bias
        step and a quarter of the sweep; covariance and errors are those without these bounds, so that a width that
        rests on one makes no other parameter surer. The errors of the two switching biases come from their profiles
        instead: how far each can go, down and up, until all others, within their bounds, cannot keep the cost within
        half the noise's variance; where the sides differ, it is the root of the mean square deviation that they stand
        for.

    Raises
    ------
    ValueError
        If the loops are complex.
    DimensionError
        If there is no bias along `dim`, or it has fewer than 10 steps.

    Notes
    -----
    *Laziness*: lazy for lazy loops; those that clusters are found in, about 1000, are used before the others, so that
    what is not stored yet is computed at most twice. Each loop is fitted from its own convex hull and from the fit of
    the cluster's mean that it resembles most, and the lower cost wins. Level, height and slope are eliminated (variable
    projection); the Jacobian is exact, for the hard switch leaves y continuously differentiable.

    References
    ----------
    S. Jesse, H. N. Lee, S. V. Kalinin, Rev. Sci. Instrum. 77, 073702 (2006); Golub and Pereyra, SIAM J. Numer. Anal.
    10, 413 (1973); Hurvich and Tsai, Biometrika 76, 297 (1989).

    Examples
    --------
    >>> from xpycro.analysis.loops.model import loop
    >>> bias = 10 * np.concatenate([np.arange(16), np.arange(16, -16, -1), np.arange(-16, 0)]) / 16
    >>> rising = np.concatenate([np.ones(16), np.zeros(32), np.ones(16)]) > 0
    >>> truth = (-1.0, 2.0, -3.0, 4.0, 0.01, 1.0, 2.0, 1.5, 0.8)
    >>> da = xr.DataArray(loop(bias, rising, *truth), {"bias": ("step", bias)}, ("step",))
    >>> found = fit(da)
    >>> [round(float(found[name]), 6) for name in ("height", "switching_bias_negative", "width_1")]
    [2.0, -3.0, 2.0]
    """
    da = projected["response"] if isinstance(projected, xr.Dataset) and "response" in projected else projected
    da = schema.pick(da, None, dim)
    if da.dtype.kind not in "fiu":
        raise ValueError(f"loops are real numbers, not {da.dtype}: project an oscillator fit first, xp.loops.project")
    dim = loop_dim(da, dim)
    bias = bias_of(da, dim)
    if bias.sizes[dim] < 10:
        raise schema.DimensionError(f"a loop of nine parameters needs at least 10 steps; {dim!r} has {bias.sizes[dim]}")
    rows = bias_rows(bias)
    bare = da.drop_vars([c for c in da.coords if dim in da[c].dims])
    starts = _starts(bare, bias, rows, dim)
    made = chunked.apply(
        fit_block, bare, cut_like(bias, bare), starts, dims=[[dim], [dim], list(map(str, starts.dims))],
        outputs=_outputs(da, bias), kwargs={"rows": rows},
    )  # fmt: skip
    coords: dict[str, Any] = {"bias": bias.variable}
    if dim in da.coords:
        coords[dim] = da.coords[dim].variable
    coords |= {d: (d, list(PARAMETERS), {"long_name": "parameter"}) for d in ("parameter", "parameter_")}
    attrs = {"loop_dim": dim, "fitted_variable": str(da.name or ""), "fitted_units": str(da.attrs.get("units", "1"))}
    return schema.new_result("loop_fit", made, coords, attrs)


def _starts(da: xr.DataArray, bias: xr.DataArray, rows: np.ndarray, dim: str) -> xr.DataArray:
    """Fits of cluster means, from loops spread evenly over all: the same whatever the chunks are."""
    observed = [str(d) for d in da.dims if d != dim and d not in bias.dims]
    sizes = [da.sizes[d] for d in observed]
    share = min(1.0, (_SAMPLE / max(1, int(np.prod(sizes)))) ** (1 / max(1, len(observed))))
    places = {
        d: np.unique(np.linspace(0, n - 1, max(1, round(share * n))).round().astype(int))
        for d, n in zip(observed, sizes, strict=True)
    }
    sample = chunked.lazily(da).isel(places).transpose(..., dim)
    sample = sample.drop_vars(list(sample.coords))
    core = [str(d) for d in sample.dims]
    new = ("bias_row", "cluster", "start")
    output = chunked.Output(np.float64, new, {"bias_row": len(rows), "cluster": MAX_CLUSTERS,
                                              "start": NONLINEAR + rows.shape[1]})  # fmt: skip
    return chunked.apply(
        _cluster_starts, sample, bias.drop_attrs(), dims=[core, list(map(str, bias.dims))], outputs={"starts": output},
        kwargs={"rows": rows, "bias_axes": tuple(core.index(str(d)) for d in bias.dims)},
    )["starts"]  # fmt: skip


def _cluster_starts(y: np.ndarray, bias: np.ndarray, *, rows: np.ndarray, bias_axes: tuple[int, ...]) -> np.ndarray:
    shape = [1] * y.ndim
    for axis, size in zip(bias_axes, bias.shape, strict=True):
        shape[axis] = size
    return cluster_starts(y, bias.reshape(shape), rows=rows)


def _outputs(da: xr.DataArray, bias: xr.DataArray) -> dict[str, chunked.Output]:
    unit, volts = str(da.attrs.get("units", "1")), str(bias.attrs.get("units", "V"))
    units = dict.fromkeys(PARAMETERS, volts) | {"lower_level": unit, "height": unit}
    units["slope"] = combine_units((unit, 1), (volts, -1))
    outputs = {
        n: chunked.Output(
            np.float64, attrs={"units": u, "long_name": n.replace("_", " "), "description": _DESCRIBED[n]}
        )
        for n, u in units.items()
    }
    outputs |= {
        f"{n}_stderr": chunked.Output(
            np.float64, attrs={"units": u, "long_name": f"{n.replace('_', ' ')} standard error"}
        )
        for n, u in units.items()
    }
    outputs["residual_rms"] = chunked.Output(np.float64, attrs={"units": unit, "long_name": "rms residual"})
    for name, label in (("r2", "coefficient of determination"), ("aicc", "corrected Akaike criterion of the loop"),
                        ("aicc_line", "corrected Akaike criterion of a line")):  # fmt: skip
        outputs[name] = chunked.Output(np.float64, attrs={"units": "1", "long_name": label})
    flags = {"flag_values": [int(s) for s in Status], "flag_meanings": " ".join(s.meaning for s in Status)}
    outputs["converged"] = chunked.Output(np.bool_, attrs={"units": "1", "long_name": "converged"})
    outputs["status"] = chunked.Output(np.uint8, attrs={"units": "1", "long_name": "status of the fit", **flags})
    outputs["n_iterations"] = chunked.Output(np.int32, attrs={"units": "1", "long_name": "iterations"})
    outputs["covariance"] = chunked.Output(
        np.float64, ("parameter", "parameter_"), {"parameter": 9, "parameter_": 9},
        {"long_name": "covariance of the parameters", "units": "product of the parameters' units"},
    )  # fmt: skip
    return outputs


# ------------------------------------------------------------------------------------------- what a result can do


def _evaluate(bias: np.ndarray, *parameters: np.ndarray) -> np.ndarray:
    bias = np.asarray(bias)
    rising = np.apply_along_axis(is_rising, -1, bias)
    return np.asarray(loop(bias, rising, *(np.asarray(p)[..., None] for p in parameters)))


@results.register("loop_fit", "evaluate")
def evaluate_loops(result: xr.Dataset, x: Any = None) -> xr.DataArray:
    """The fitted loops; see `xpycro.engine.results.evaluate`. `x` is a bias sweep, falling and rising."""
    dim = result.attrs["loop_dim"]
    if x is None:
        if "bias" not in result.coords:
            raise ValueError("the result has lost its coordinate 'bias': pass x=, a bias sweep")
        bias = bias_of(result["bias"], dim)
    else:
        bias = xr.DataArray(np.asarray(x, dtype=np.float64), dims=dim, attrs={"units": "V"}, name="bias")
    parameters = [result[p].drop_vars([c for c in result[p].coords if dim in result[p][c].dims]) for p in PARAMETERS]
    output = chunked.Output(
        np.float64, (dim,), attrs={"units": result.attrs.get("fitted_units", "1"), "long_name": "fitted response"}
    )
    made = chunked.apply(
        _evaluate, cut_like(bias.drop_vars(list(bias.coords)), parameters[0]), *parameters,
        dims=[[dim], *([] for _ in parameters)], outputs={"model": output},
    )["model"]  # fmt: skip
    made = made.transpose(*result["height"].dims, dim)
    return made.assign_coords(bias=bias.variable.to_base_variable()).rename("fitted_response")


@results.register("loop_fit", "residual")
def residual_of_loops(result: xr.Dataset, data: xr.DataArray | xr.Dataset | None = None) -> xr.DataArray:
    """Projected loops minus the fitted ones; `data` is the result of ``loops.project``."""
    if data is None:
        raise ValueError("the residual of loops needs them: pass data=, what xp.loops.project returned")
    da = data["response"] if isinstance(data, xr.Dataset) else data
    return (da - evaluate_loops(result)).transpose(*da.dims).assign_attrs(da.attrs).rename("residual")
