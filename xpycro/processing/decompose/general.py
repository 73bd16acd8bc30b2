"""Any scikit-learn transformer as a decomposition: its components as spectra, what it transforms to as maps.

May import engine, schema, provenance and errors; scikit-learn inside functions.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from xpycro.engine import chunked
from xpycro.processing.decompose.prepare import Problem, check_complex, gathered, prepare, rows, stacked
from xpycro.processing.decompose.results import assemble, spread
from xpycro.provenance import recorded

__all__ = ["estimator"]


@recorded("decompose.estimator")
def estimator(
    data: xr.DataArray | xr.Dataset,
    estimator: Any,
    *,
    dim: str | Sequence[str] | None = None,
    variable: str | None = None,
    exclude: xr.DataArray | None = None,
    complex: str = "refuse",
) -> xr.Dataset:
    """Decompose by any scikit-learn transformer that has ``components_`` or a linear ``inverse_transform``.

    Parameters
    ----------
    data : DataArray or Dataset
    estimator : scikit-learn estimator
        Not fitted and not modified: a clone of it is fitted.
    dim, variable, exclude : optional
        As in `svd`.
    complex : {"refuse", "stack"}, optional
        What to do with complex data: an error, or real and imaginary parts as twice as many channels (the maps are
        then real, the components complex).

    Returns
    -------
    Dataset
        A ``decomposition`` with

        - ``components(component, <dim>)``: what one unit of a map adds to the spectrum, dimensionless;
        - ``maps(component, <rest>)``: what the estimator transforms to, in the units of the data;
        - ``mean(<dim>)``: the spectrum of zero maps, in the units of the data.

    Raises
    ------
    TypeError
        If the estimator cannot transform or says nothing of its components.
    ValueError
        As `svd`; and for complex data unless stacked.

    Notes
    -----
    *Laziness*: the estimator is fitted at the call: block by block in one pass where the data is lazy and it has
    ``partial_fit``, else on all observations in memory. The maps are lazy where the data is: one pass more.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from sklearn.decomposition import TruncatedSVD
    >>> spectra = xr.DataArray([[3.0, 0.0, 0.0], [0.0, 4.0, 0.0], [0.0, 0.0, 1.0]], dims=("x", "bias"))
    >>> abs(estimator(spectra, TruncatedSVD(1, random_state=0)).components.values).round(6)
    array([[0., 1., 0.]])
    """
    named = f"decompose by {type(estimator).__name__}"
    problem = prepare(data, dim=dim, variable=variable, exclude=exclude, operation=named)
    check_complex(problem.data, complex, named)
    lacking = [name for name in ("fit", "transform") if not hasattr(estimator, name)]
    if lacking:
        raise TypeError(f"{named}: it has no {' and no '.join(lacking)}; pass a transformer such as NMF(8)")
    fitted = _fitted(problem, estimator)
    components, mean = _spectra(fitted, named)
    k = components.shape[0]
    output = chunked.Output(np.float64, ("component",), {"component": k})
    function = functools.partial(
        _transform_block, fitted=fitted, n_signal=len(problem.signal), columns=problem.columns, k=k
    )
    arrays, dims = [problem.data, *problem.others], [list(problem.signal), *([] for _ in problem.others)]
    maps = chunked.apply(function, *arrays, dims=dims, outputs={"maps": output})["maps"]
    return assemble(
        problem,
        describe(problem, components, maps.transpose("component", *problem.observed), mean),
        method=type(estimator).__name__,
        projection="nonnegative" if type(estimator).__name__ in ("NMF", "MiniBatchNMF") else "least squares",
    )


def _fitted(problem: Problem, model: Any) -> Any:
    from sklearn.base import clone

    fresh = clone(model)
    if problem.lazy and hasattr(fresh, "partial_fit"):
        pending = np.empty((0, 0))
        least = int(getattr(fresh, "n_components", None) or 1)
        for x, _ in rows(problem):
            # some estimators refuse batches smaller than the number of components
            pending = np.concatenate([pending, x]) if pending.size else x
            if pending.shape[0] >= least:
                fresh.partial_fit(pending)
                pending = np.empty((0, 0))
        return fresh
    return fresh.fit(gathered(problem)[0])


def _spectra(fitted: Any, named: str) -> tuple[np.ndarray, np.ndarray]:
    """Components and mean such that rows are about ``mean + maps @ components``."""
    k = getattr(fitted, "n_components_", None) or len(getattr(fitted, "components_", ()))
    if k and hasattr(fitted, "inverse_transform"):
        zero = np.asarray(fitted.inverse_transform(np.zeros((1, int(k)))))
        return np.asarray(fitted.inverse_transform(np.eye(int(k)))) - zero, zero[0]
    if hasattr(fitted, "components_"):
        components = np.asarray(fitted.components_)
        mean = getattr(fitted, "mean_", None)
        return components, np.zeros(components.shape[1]) if mean is None else np.asarray(mean)
    raise TypeError(f"{named}: once fitted it has neither components_ nor a linear inverse_transform")


def _transform_block(
    block: np.ndarray,
    skip: np.ndarray | None = None,
    *,
    fitted: Any,
    n_signal: int,
    columns: np.ndarray | None,
    k: int,
) -> np.ndarray:
    lead = block.shape[: block.ndim - n_signal]
    x = stacked(block.reshape(int(np.prod(lead, dtype=np.int64)), -1), columns)
    usable = np.isfinite(x).all(axis=1)
    if skip is not None:
        usable &= ~np.broadcast_to(skip, lead).reshape(-1)
    maps = np.full((x.shape[0], k), np.nan)
    if usable.any():
        maps[usable] = fitted.transform(x[usable])
    return maps.reshape(*lead, k)


def describe(
    problem: Problem, components: np.ndarray, maps: xr.DataArray, mean: np.ndarray | None
) -> dict[str, xr.DataArray]:
    """Components, maps and mean of stacked, used channels as labelled variables."""
    units = str(problem.original.attrs.get("units", "1"))

    def unfolded(values: np.ndarray, name: str, lead: Sequence[str], **attrs: str) -> xr.DataArray:
        if problem.data.dtype.kind == "c":
            half = values.shape[-1] // 2
            values = values[..., :half] + 1j * values[..., half:]
        if problem.columns is not None:
            values = spread(values, problem.columns, np.nan)
        return problem.signal_array(values, name, lead, **attrs)

    mean = np.zeros(components.shape[-1]) if mean is None else mean
    return {
        "components": unfolded(components, "components", ("component",), units="1", long_name="Component"),
        "maps": maps.assign_attrs(units=units, long_name="Score"),
        "mean": unfolded(mean, "mean", (), units=units, long_name="Mean spectrum"),
    }
