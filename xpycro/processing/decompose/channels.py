"""The decomposition through the Gram matrix of the channels: one pass for spectra and values, one for the maps.

May import engine and the other modules of this folder.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from xpycro.engine import chunked, linalg
from xpycro.processing.decompose.prepare import Problem
from xpycro.processing.decompose.results import described, refuse_infinite, score_maps, share_of_squares, spread

__all__ = ["Scaling", "Solution", "by_channels", "lay_out"]


@dataclass(frozen=True)
class Scaling:
    """What channels are divided by before the decomposition.

    Attributes
    ----------
    kind : {"std", "poisson", "variance"}
    variance : ndarray, shape (n_features,), optional
        Noise variance of each channel, for ``"variance"``.
    """

    kind: str
    variance: np.ndarray | None = None


@dataclass(frozen=True)
class Solution:
    """What the passes for the spectra give, over all channels; attributes are read one by one where it is delayed."""

    components: np.ndarray
    projector: np.ndarray
    mean: np.ndarray
    scale: np.ndarray
    singular_values: np.ndarray
    explained: np.ndarray


def by_channels(
    problem: Problem, n_kept: int, center: bool, factor: bool, scaling: Scaling | None = None
) -> dict[str, xr.DataArray]:
    """The variables of an exact decomposition with no more channels than fit in a Gram matrix."""
    solution = chunked.reduce(
        problem.data,
        problem.signal,
        linalg.moments,
        linalg.merge,
        others=problem.others,
        finish=functools.partial(
            _solve, n_kept=n_kept, n_all=problem.rank, columns=problem.columns, center=center, scaling=scaling
        ),
        kwargs={
            "columns": problem.columns,
            "center": center,
            "factor": factor,
            "row_scaling": "poisson" if scaling is not None and scaling.kind == "poisson" else None,
            "limit_threads": problem.several_blocks,
        },
    )
    return lay_out(problem, solution, n_kept, problem.rank, center, scaled=scaling is not None)


def lay_out(
    problem: Problem, solution: Any, n_kept: int, n_values: int, center: bool, *, scaled: bool = False
) -> dict[str, xr.DataArray]:
    """The variables of a `Solution`, or of a delayed one: then lazy, the maps by a pass of their own."""
    dtype = np.result_type(problem.data.dtype, np.float64)
    shape = (n_kept, problem.n_features)

    def over_signal(values: Any, name: str, lead: tuple[str, ...], kind: Any = dtype) -> xr.DataArray:
        array = chunked.from_delayed(values, shape if lead else shape[1:], kind)
        return problem.signal_array(array, name, lead)

    mean = over_signal(solution.mean, "mean", ())
    maps = score_maps(
        chunked.after(problem.data, solution),
        problem.signal,
        over_signal(solution.projector, "projector", ("component",)),
        mean.fillna(0) if problem.columns is not None else mean,
        problem.skip,
        columns=problem.columns,
        limit_threads=problem.several_blocks,
    )
    found = described(
        problem,
        over_signal(solution.components, "components", ("component",)),
        maps,
        mean,
        chunked.from_delayed(solution.singular_values, (n_values,), np.float64),
        chunked.from_delayed(solution.explained, (n_values,), np.float64),
        center,
    )
    if scaled:
        found["scale"] = over_signal(solution.scale, "scale", (), np.float64).assign_attrs(
            units="1", long_name="Channel scale"
        )
    return found


def _solve(
    total: linalg.Moments,
    *,
    n_kept: int,
    n_all: int,
    columns: np.ndarray | None,
    center: bool,
    scaling: Scaling | None,
) -> Solution:
    """Components, mean and singular values from the moments of all observations."""
    refuse_infinite(total.infinite)
    refuse_empty(total.count, total.missing)
    scale = _channel_scale(total, columns, scaling)
    inverse = np.divide(1.0, scale, out=np.zeros_like(scale), where=scale > 0)
    square = total.square if scaling is None else total.square * inverse
    if scaling is not None and not total.factor:
        square = square * inverse[:, None]
    found = linalg.basis(square, n_kept, factor=total.factor)
    vectors = found.vectors * linalg.fix_signs((found.vectors * scale[:, None]).conj()).conj()
    values = np.zeros(n_all)
    possible = min(n_all, total.count - center)
    values[:possible] = found.singular_values[:possible]
    if scaling is not None and scaling.kind == "poisson":
        # rows were divided by the square root of their mean: brought back to the units of the data as a whole
        values *= np.sqrt(max(float(total.total.real.mean()) / total.count, 0.0))
    components = (vectors * scale[:, None]).conj().T
    projector = (vectors * inverse[:, None]).T
    mean = total.mean if center else np.zeros_like(total.mean)
    if columns is not None:
        components, mean = spread(components, columns, np.nan), spread(mean, columns, np.nan)
        projector, scale = spread(projector, columns, 0), spread(scale, columns, np.nan)
    return Solution(components, projector, mean, scale, values, share_of_squares(values))


def refuse_empty(count: int, missing: np.ndarray) -> None:
    """Say which channel is to blame where nothing is left."""
    if count == 0:
        worst = f" (most often in channel {int(missing.argmax())})" if missing.any() else ""
        raise ValueError(
            f"no observation is left to decompose: every one is left out or holds NaN{worst}: "
            "leave bad channels out with exclude="
        )


def _channel_scale(total: linalg.Moments, columns: np.ndarray | None, scaling: Scaling | None) -> np.ndarray:
    """What each channel used is divided by: dimensionless, root mean square one, so that scores keep their units."""
    width = total.mean.size
    if scaling is None:
        return np.ones(width)
    if scaling.kind == "std":
        square = np.einsum("ij,ij->j", total.square, total.square) if total.factor else np.diagonal(total.square).real
        scale = np.sqrt(np.maximum(square, 0.0) / total.count)
    elif scaling.kind == "poisson":
        if total.negative or (total.total < 0).any():
            raise ValueError(
                f"scale='poisson' is for counts: {total.negative} observations and {int((total.total < 0).sum())} "
                "channels have a negative mean; subtract no background first"
            )
        scale = np.sqrt(total.total / total.count)
    else:
        variance = np.asarray(scaling.variance, float)
        scale = np.sqrt(variance if columns is None else variance[columns])
    # a channel that never varies (up to rounding of its mean) holds nothing to weigh
    scale = np.where(scale > 1e-12 * np.abs(total.mean), scale, 0.0)
    used = scale > 0
    if not used.any():
        return np.ones(width)
    return scale / np.sqrt(np.mean(scale[used] ** 2))
