"""How far components would differ on other data of the same kind: resampling observations.

May import engine, schema and provenance; SciPy inside functions.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
import xarray as xr

from xpycro.engine import chunked, linalg
from xpycro.processing.decompose.prepare import Problem, component_count, prepare
from xpycro.processing.decompose.results import component_coord, score_maps, spread
from xpycro.provenance import recorded

__all__ = ["stability"]


@recorded("decompose.stability")
def stability(
    data: xr.DataArray | xr.Dataset,
    n_components: int,
    *,
    dim: str | Sequence[str] | None = None,
    variable: str | None = None,
    method: str = "pca",
    resampling: str = "bootstrap",
    n_resamples: int = 50,
    n_groups: int = 20,
    exclude: xr.DataArray | None = None,
    seed: int = 0,
) -> xr.Dataset:
    """How well each component is determined: decompositions of resampled observations, matched with the full one.

    Observations are dealt at random into groups, whose moments one pass collects; every resample is then a sum of
    moments, so their number costs no further reading.

    Parameters
    ----------
    data, n_components, dim, variable, exclude
        As in `svd`.
    method : {"pca", "svd"}, optional
    resampling : {"bootstrap", "split_half"}, optional
        Groups drawn with replacement, or halves of the groups; the spread of the halves is scaled by ``1/sqrt(2)``,
        since a half knows half as much.
    n_resamples : int, optional
    n_groups : int, optional
        At least 4. The groups' square matrices are held in memory.
    seed : int, optional

    Returns
    -------
    Dataset
        - ``components(component, <dim>)``, ``components_stderr(component, <dim>)``: dimensionless;
        - ``maps(component, <rest>)``, ``maps_stderr(component, <rest>)``: in the units of the data; what the
          components' uncertainty makes of the maps, besides the noise of the observations themselves;
        - ``singular_values(component)``, ``singular_values_stderr(component)``: in the units of the data;
        - ``similarity(component)``: mean overlap of the matched resampled components with the full one, from 0 to 1;
          a component that trades places with another or is noise falls well below 1.

    Raises
    ------
    ValueError
        As `svd`; and if there are more than 8192 channels or fewer than four groups.

    Notes
    -----
    *Laziness*: components and singular values are computed at the call in one pass; the maps are lazy where the data
    is: one pass more.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> rng = np.random.default_rng(0)
    >>> clean = rng.normal(size=(400, 1)) * 10 @ np.ones((1, 30))
    >>> found = stability(xr.DataArray(clean + rng.normal(size=clean.shape), dims=("x", "bias")), 2)
    >>> bool(found.similarity[0] > 0.99), bool(found.similarity[1] < 0.9)
    (True, True)
    """
    if method not in ("pca", "svd"):
        raise ValueError(f"stability: method={method!r}; choose 'pca' or 'svd'")
    if resampling not in ("bootstrap", "split_half"):
        raise ValueError(f"stability: resampling={resampling!r}; choose 'bootstrap' or 'split_half'")
    problem = prepare(data, dim=dim, variable=variable, exclude=exclude, operation="stability")
    k = component_count(n_components, problem.rank, "stability")
    if problem.n_used > linalg.LARGEST_SIDE:
        raise ValueError(f"stability needs at most {linalg.LARGEST_SIDE} channels; the data has {problem.n_used}")
    if n_groups < 4 or n_resamples < 2 or problem.n_observations < n_groups:
        raise ValueError(
            f"stability: n_groups={n_groups} (4 to {problem.n_observations} observations) and "
            f"n_resamples={n_resamples} (at least 2) do not suit"
        )
    groups = _groups(problem, n_groups, seed)
    moments = _collected(problem, groups, n_groups, method == "pca")
    if any(total.infinite for total in moments):
        raise ValueError("the data holds infinite values: set them to NaN (their observations are then left out)")
    full = functools.reduce(linalg.merge, moments)
    if full.count == 0:
        raise ValueError("no observation is left to decompose: every one is left out or holds NaN")
    reference = _components(full, k)
    drawn, values, overlaps = _resampled(moments, reference[0], k, resampling, n_resamples, seed)
    factor = 1.0 if resampling == "bootstrap" else np.sqrt(0.5)
    deviation = factor * np.sqrt((np.abs(drawn - reference[0]) ** 2).mean(axis=0))
    units = str(problem.original.attrs.get("units", "1"))

    def over_signal(flat: np.ndarray, name: str, label: str) -> xr.DataArray:
        full_flat = flat if problem.columns is None else spread(flat, problem.columns, np.nan)
        return problem.signal_array(full_flat, name, ("component",), units="1", long_name=label)

    mean = full.mean if method == "pca" else np.zeros_like(full.mean)
    maps, maps_stderr = _maps(problem, reference[0], drawn, mean, factor, units)
    share = 1.0 if resampling == "bootstrap" else np.sqrt(2.0)  # a half holds half the sum of squares
    result = xr.Dataset(
        {
            "components": over_signal(reference[0], "components", "Component"),
            "components_stderr": over_signal(deviation, "components_stderr", "Standard error of the component"),
            "maps": maps,
            "maps_stderr": maps_stderr,
            "singular_values": ("component", reference[1], {"units": units, "long_name": "Singular value"}),
            "singular_values_stderr": (
                "component",
                factor * (values * share).std(axis=0),
                {"units": units, "long_name": "Standard error of the singular value"},
            ),
            "similarity": ("component", overlaps.mean(axis=0), {"units": "1", "long_name": "Similarity"}),
        },
        attrs={"pycro_method": method, "pycro_resampling": resampling, "pycro_seed": seed},
    )
    return result.assign_coords(component=component_coord(k))


def _groups(problem: Problem, n_groups: int, seed: int) -> xr.DataArray:
    """A group for every observation, equally many in each."""
    shuffled = np.random.default_rng(seed).permutation(np.arange(problem.n_observations) % n_groups)
    shape = [problem.data.sizes[d] for d in problem.observed]
    return xr.DataArray(shuffled.reshape(shape), dims=problem.observed)


def _collected(problem: Problem, groups: xr.DataArray, n_groups: int, center: bool) -> list[linalg.Moments]:
    value = chunked.reduce(
        problem.data.reset_coords(drop=True).drop_vars(list(problem.data.dims), errors="ignore"),
        problem.signal,
        _group_moments,
        _merge_all,
        others=[groups, *problem.others],
        kwargs={
            "n_groups": n_groups,
            "columns": problem.columns,
            "center": center,
            "limit_threads": problem.several_blocks,
        },
    )
    return chunked.compute(value)[0]


def _group_moments(
    block: np.ndarray,
    groups: np.ndarray,
    skip: np.ndarray | None = None,
    *,
    n_groups: int,
    columns: np.ndarray | None,
    center: bool,
    limit_threads: bool,
) -> list[linalg.Moments]:
    found = []
    for number in range(n_groups):
        here = groups == number
        found.append(
            linalg.moments(
                block[here],
                None if skip is None else skip[here],
                columns=columns,
                center=center,
                limit_threads=limit_threads,
            )
        )
    return found


def _merge_all(a: list[linalg.Moments], b: list[linalg.Moments]) -> list[linalg.Moments]:
    return [linalg.merge(x, y) for x, y in zip(a, b, strict=True)]


def _components(total: linalg.Moments, k: int) -> tuple[np.ndarray, np.ndarray]:
    found = linalg.basis(total.square, k)
    components = found.vectors.conj().T
    return components * linalg.fix_signs(components.T)[:, None], found.singular_values[:k]


def _resampled(
    moments: list[linalg.Moments], reference: np.ndarray, k: int, resampling: str, n_resamples: int, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Matched components, singular values and overlaps of every resample."""
    from scipy.optimize import linear_sum_assignment

    rng = np.random.default_rng([seed, 1])
    n_groups = len(moments)
    drawn, values, overlaps = [], [], []
    for _ in range(n_resamples):
        if resampling == "bootstrap":
            chosen = rng.integers(0, n_groups, n_groups)
        else:
            chosen = rng.permutation(n_groups)[: n_groups // 2]
        total = functools.reduce(linalg.merge, [moments[i] for i in chosen])
        components, found = _components(total, k)
        overlap = components @ reference.conj().T
        own, matched = linear_sum_assignment(-np.abs(overlap))
        order = own[np.argsort(matched)]
        along = overlap[order, np.arange(k)]
        size = np.abs(along)
        phase = np.where(size > 0, along.conj() / np.where(size > 0, size, 1), 1)
        drawn.append(components[order] * phase[:, None])
        values.append(found[order])
        overlaps.append(size)
    return np.stack(drawn), np.stack(values), np.stack(overlaps)


def _maps(
    problem: Problem, reference: np.ndarray, drawn: np.ndarray, mean: np.ndarray, factor: float, units: str
) -> tuple[xr.DataArray, xr.DataArray]:
    """Scores on the full components, and their spread over the resampled ones, from one pass.

    The deviations of each component lie in the span of a few directions: what is projected is a factor of their
    covariance, not every resample.
    """
    k = reference.shape[0]
    factors = []
    for j in range(k):
        deviations = drawn[:, j] - reference[j]
        _, size, right = np.linalg.svd(deviations, full_matrices=False)
        factors.append(size[:, None] * right * (factor / np.sqrt(drawn.shape[0])))
    stacked = np.concatenate([reference, *factors])
    full = stacked if problem.columns is None else spread(stacked, problem.columns, 0)
    middle = mean if problem.columns is None else spread(mean, problem.columns, 0)
    scores = score_maps(
        problem.data,
        problem.signal,
        problem.signal_array(full.conj(), "projector", ("component",)),
        problem.signal_array(middle, "mean"),
        problem.skip,
        columns=problem.columns,
        limit_threads=problem.several_blocks,
    )
    maps = scores.isel(component=slice(0, k)).rename("maps").assign_attrs(units=units, long_name="Score")
    each, start, parts = [len(f) for f in factors], k, []
    for number in each:
        part = scores.isel(component=slice(start, start + number))
        parts.append(((abs(part) ** 2).sum("component", skipna=False)) ** 0.5)
        start += number
    deviation = xr.concat(parts, dim="component").transpose(*maps.dims)
    return maps, deviation.rename("maps_stderr").assign_attrs(units=units, long_name="Standard error of the score")
