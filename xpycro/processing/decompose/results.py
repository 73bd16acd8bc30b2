"""The decomposition result: how it is put together, and reconstruct, residual and project on it.

May import engine, schema, provenance and errors. Variable names are API (schema.RESULTS).
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from xpycro import provenance, schema
from xpycro.engine import chunked, linalg, results
from xpycro.processing.decompose.constrained import abundances, nonnegative_weights
from xpycro.processing.decompose.prepare import PASS_BYTES, Problem, check_aligned

__all__ = [
    "assemble",
    "described",
    "input_attrs",
    "observation_maps",
    "project",
    "reconstruct",
    "refuse_infinite",
    "residual",
    "score_maps",
    "select_components",
    "share_of_squares",
    "signal_dims",
    "spread",
]


# ------------------------------------------------------------------------------------------------------ assembling


def component_coord(size: int, dim: str = "component") -> xr.Variable:
    """Numbers 0, 1, ...: a component's label is its position, so that ``sel`` and ``isel`` agree."""
    return schema.coordinate(dim, np.arange(size), name="component")


def input_attrs(da: xr.DataArray, signal: Sequence[str]) -> dict[str, str]:
    """What `reconstruct` needs to give back an array like the input."""
    return {
        "pycro_input_name": "" if da.name is None else str(da.name),
        "pycro_input_dtype": da.dtype.str,
        "pycro_input_units": str(da.attrs.get("units", "1")),
        "pycro_input_long_name": str(da.attrs.get("long_name", "")),
        "pycro_input_dims": json.dumps([str(d) for d in da.dims]),
        "pycro_signal_dims": json.dumps(list(signal)),
    }


def signal_dims(result: xr.Dataset) -> tuple[str, ...]:
    """The dims that one component spans."""
    return tuple(str(d) for d in result["components"].dims if d != "component")


def assemble(
    problem: Problem,
    variables: Mapping[str, xr.DataArray],
    *,
    method: str,
    projection: str = "orthonormal",
    **attrs: Any,
) -> xr.Dataset:
    """The result Dataset: `variables` with the input's coordinates, and how it was made as attributes."""
    result = schema.new_result(
        "decomposition",
        variables,
        attrs={
            "pycro_method": method,
            "pycro_projection": projection,
            **input_attrs(problem.original, problem.signal),
            **attrs,
        },
    )
    if problem.columns is not None:
        result.attrs["pycro_excluded_channels"] = json.dumps(np.flatnonzero(~problem.columns).tolist())
    n_components = result.sizes["component"]
    coords = {"component": component_coord(n_components)}
    if "rank" in result.sizes:
        coords["rank"] = component_coord(result.sizes["rank"], "rank")
    return result.assign_coords(coords)


def observation_maps(problem: Problem, values: np.ndarray) -> xr.DataArray:
    """Flat values (n_observations, k) as maps(component, <observation dims>) with the observations' coordinates."""
    shape = [problem.data.sizes[d] for d in problem.observed]
    coords = {n: c for n, c in problem.data.coords.items() if set(c.dims) <= set(problem.observed)}
    folded = np.moveaxis(values.reshape(*shape, values.shape[-1]), -1, 0)
    return xr.DataArray(folded, dims=("component", *problem.observed), coords=coords, name="maps")


def score_maps(
    data: xr.DataArray,
    signal: Sequence[str],
    projector: xr.DataArray,
    mean: xr.DataArray,
    skip: xr.DataArray | None = None,
    *,
    columns: np.ndarray | None = None,
    limit_threads: bool = False,
    attrs: Mapping[str, Any] | None = None,
) -> xr.DataArray:
    """``(data - mean) projector`` over (component, observation dims); one lazy pass over the data.

    Parameters
    ----------
    data : DataArray
        In any state.
    signal : sequence of str
    projector : DataArray
        Dims component and `signal`; already conjugated.
    mean : DataArray
        Dims `signal`.
    skip : DataArray of bool, optional
    columns : ndarray of bool, optional
    """
    dtype = np.result_type(data.dtype, projector.dtype, mean.dtype, np.float64)
    k = projector.sizes["component"]
    matrix = projector.transpose(*signal, "component").data.reshape((-1, k))
    maps = chunked.map_observations(
        linalg.project,
        data,
        signal,
        "component",
        k,
        dtype,
        others=[] if skip is None else [skip],
        kwargs={
            "projector": matrix,
            "mean": mean.transpose(*signal).data.reshape(-1),
            "columns": columns,
            "limit_threads": limit_threads,
        },
    )
    return maps.assign_attrs(dict(attrs or {}))


def spread(values: np.ndarray, columns: np.ndarray, fill: float) -> np.ndarray:
    """Values of the channels used put in their places among all."""
    full = np.full((*values.shape[:-1], columns.size), fill, values.dtype)
    full[..., columns] = values
    return full


def share_of_squares(values: np.ndarray) -> np.ndarray:
    """Share of the sum of squares; NaN where there is none to share."""
    scaled = values / (values[0] or 1.0)
    total = (scaled**2).sum()
    return scaled**2 / total if total > 0 else np.full(values.shape, np.nan)


def refuse_infinite(number: int) -> None:
    if number:
        raise ValueError(
            f"the data holds {number} infinite values: set them to NaN (their observations are then left out), "
            "such as with .where(np.isfinite(data))"
        )


def described(
    problem: Problem,
    components: xr.DataArray,
    maps: xr.DataArray,
    mean: xr.DataArray,
    values: Any,
    explained: Any,
    center: bool,
) -> dict[str, xr.DataArray]:
    """The result's variables with the units and labels that the schema asks for."""
    units = str(problem.original.attrs.get("units", "1"))
    share = "variance" if center else "sum of squares"
    return {
        "components": components.assign_attrs(units="1", long_name="Component"),
        "maps": maps.assign_attrs(units=units, long_name="Score"),
        "mean": mean.assign_attrs(units=units, long_name="Mean spectrum"),
        "singular_values": xr.DataArray(values, dims="rank", attrs={"units": units, "long_name": "Singular value"}),
        "explained_variance_ratio": xr.DataArray(
            explained, dims="rank", attrs={"units": "1", "long_name": f"Share of the {share}"}
        ),
    }


# ------------------------------------------------------------------------------------------------------ operations


def _restored_dtype(result: xr.Dataset) -> np.dtype:
    """The input's dtype; of integers the float that holds them, since a model rounded to whole counts is no model."""
    dtype = np.dtype(result.attrs.get("pycro_input_dtype", "<f8")).newbyteorder("=")
    return dtype if dtype.kind in "fc" else np.result_type(dtype, np.float32)


def select_components(result: xr.Dataset, components: int | slice | Sequence[int] | None) -> xr.Dataset:
    """The result with some of its components: an int means the first n, None all."""
    size = result.sizes["component"]
    if components is None:
        return result
    if isinstance(components, slice):
        chosen: Any = components
        if not range(size)[components]:
            raise ValueError(f"components={components} selects none of the {size} components")
    elif isinstance(components, int | np.integer):
        if not 1 <= components <= size:
            raise ValueError(
                f"components={components}: the first n, with n from 1 to {size}, which this result holds; "
                f"a single component is [{components}]"
            )
        chosen = slice(0, int(components))
    else:
        chosen = [int(c) for c in components]
        wrong = [c for c in chosen if not 0 <= c < size]
        if wrong or not chosen:
            raise ValueError(f"components={components!r}: choose from 0 to {size - 1}, which this result holds")
    return result.isel(component=chosen)


def _unproject_block(
    scores: np.ndarray, components: np.ndarray, mean: np.ndarray | None = None, *, n_signal: int, dtype: str
) -> np.ndarray:
    lead, shape = scores.shape[:-1], components.shape[components.ndim - n_signal :]
    flat = scores.reshape(-1, scores.shape[-1])
    matrix = components.reshape(-1, int(np.prod(shape, dtype=np.int64)))
    values = flat @ matrix
    if mean is not None:
        values += mean.reshape(-1)
    return values.astype(dtype, copy=False).reshape(*lead, *shape)


@results.register("decomposition", "reconstruct")
def reconstruct(result: xr.Dataset, components: int | slice | Sequence[int] | None = None) -> xr.DataArray:
    """``mean + sum maps * components`` in the input's dims, units and dtype; see `xpycro.reconstruct`."""
    part = select_components(result, components)
    signal = signal_dims(result)
    dtype = _restored_dtype(result)
    arrays = [part["maps"], part["components"]]
    dims: list[list[str]] = [["component"], ["component", *signal]]
    if "mean" in part:
        arrays.append(part["mean"])
        dims.append(list(signal))
    attrs = {"units": result.attrs.get("pycro_input_units", "1")}
    if result.attrs.get("pycro_input_long_name"):
        attrs["long_name"] = result.attrs["pycro_input_long_name"]
    function = functools.partial(_unproject_block, n_signal=len(signal), dtype=dtype.str)
    output = chunked.Output(dtype, signal, attrs=attrs)
    da = chunked.apply(function, *arrays, dims=dims, outputs={"data": output})["data"]
    order = json.loads(result.attrs.get("pycro_input_dims", "null")) or [*map(str, da.dims)]
    return da.transpose(*order).rename(result.attrs.get("pycro_input_name") or None).drop_encoding()


@results.register("decomposition", "residual")
def residual(result: xr.Dataset, data: xr.DataArray | xr.Dataset | None = None) -> xr.DataArray:
    """Data minus `reconstruct` of all the result holds; see `xpycro.residual`."""
    measured = chunked.lazily(provenance.source_data(result, data, purpose="residual"))
    model = reconstruct(result)
    check_aligned(model, measured, "the result")
    missing = [d for d in measured.dims if d not in model.dims]
    if missing or set(model.dims) != set(measured.dims):
        raise ValueError(f"residual: the data has dims {list(measured.dims)}, the result {list(model.dims)}")
    bare = measured.astype(model.dtype) if measured.dtype.kind not in "fc" else measured
    difference = bare - model.transpose(*measured.dims)
    difference.attrs = dict(model.attrs)
    return difference.rename(measured.name)


@results.register("decomposition", "project")
def project(result: xr.Dataset, data: xr.DataArray) -> xr.DataArray:
    """Maps of new data on the components of `result`; see `xpycro.project`."""
    signal = signal_dims(result)
    lacking = [d for d in signal if d not in data.dims]
    if lacking:
        raise ValueError(f"project: the data has dims {list(data.dims)} and lacks {lacking}, which a component spans")
    check_aligned(result["components"], data, "the result's components")
    ready = chunked.whole(data, signal, target=PASS_BYTES)
    mean = result["mean"].fillna(0) if "mean" in result else xr.zeros_like(result["components"].isel(component=0))
    kind = str(result.attrs.get("pycro_projection", "least squares"))
    limit = ready.chunks is not None and max(map(len, ready.chunks)) > 1
    columns = None
    if result.attrs.get("pycro_excluded_channels"):
        width = int(np.prod([result.sizes[d] for d in signal], dtype=np.int64))
        columns = ~np.isin(np.arange(width), json.loads(result.attrs["pycro_excluded_channels"]))
    if kind in ("orthonormal", "scaled"):
        maps = score_maps(ready, signal, _projector(result, kind), mean, columns=columns, limit_threads=limit)
    else:
        maps = _other_maps(result, ready, signal, mean, columns, kind)
    return maps.assign_coords(component=result["component"]).assign_attrs(result["maps"].attrs)


def _projector(result: xr.Dataset, kind: str) -> xr.DataArray:
    """What takes a spectrum, less the mean, to its scores, where a matrix does."""
    components = result["components"].fillna(0)
    if kind == "orthonormal":
        return components.conj()
    scale = result["scale"].fillna(0)
    return (components / xr.where(scale > 0, scale, np.inf) ** 2).conj()


def _other_maps(
    result: xr.Dataset, data: xr.DataArray, signal: Sequence[str], mean: xr.DataArray, columns: Any, kind: str
) -> xr.DataArray:
    """Scores by least squares, nonnegative or fully constrained, as the method asks."""
    arrays = [data, result["components"].fillna(0), mean]
    arrays = [a.drop_vars([c for c in a.coords if set(a[c].dims) & {*signal, "component"}]) for a in arrays]
    function = functools.partial(
        _other_block,
        n_signal=len(signal),
        kind=kind,
        columns=columns,
        real=result["maps"].dtype.kind != "c",
        scale=float(result.attrs.get("pycro_endmember_scale", 1.0)),
    )
    dims: list[list[str]] = [list(signal), ["component", *signal], list(signal)]
    output = chunked.Output(result["maps"].dtype, ("component",))
    maps = chunked.apply(function, *arrays, dims=dims, outputs={"maps": output})["maps"]
    return maps.transpose("component", *[d for d in data.dims if d not in signal])


def _other_block(
    block: np.ndarray,
    components: np.ndarray,
    mean: np.ndarray,
    *,
    n_signal: int,
    kind: str,
    columns: np.ndarray | None,
    real: bool,
    scale: float,
) -> np.ndarray:
    lead, k = block.shape[: block.ndim - n_signal], components.shape[-n_signal - 1]
    x = block.reshape(int(np.prod(lead, dtype=np.int64)), -1) - mean.reshape(-1)
    spectra = components.reshape(k, -1)
    if columns is not None:
        x, spectra = x[:, columns], spectra[:, columns]
    if real and x.dtype.kind == "c":  # real weights of stacked parts
        x = np.concatenate([x.real, x.imag], axis=1)
        spectra = np.concatenate([spectra.real, spectra.imag], axis=1)
    x = x.astype(np.result_type(x.dtype, np.float64))
    scores = np.full((x.shape[0], k), np.nan, np.result_type(x.dtype, spectra.dtype))
    good = np.isfinite(x).all(axis=1)
    if kind == "nonnegative":
        scores[good] = nonnegative_weights(x[good], spectra, np.zeros((int(good.sum()), k)), 500)
    elif kind == "fully constrained":
        scores[good] = abundances(x[good], spectra * scale) * scale
    else:
        scores[good] = x[good] @ np.linalg.pinv(spectra)
    return scores.reshape(*lead, k)
