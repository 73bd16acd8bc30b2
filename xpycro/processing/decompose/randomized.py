"""The leading components of data too large on both sides: seeded randomized subspace iteration.

May import engine and the other modules of this folder.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import xarray as xr

from xpycro.engine import chunked, linalg, subspace
from xpycro.processing.decompose.channels import Solution, lay_out, refuse_empty
from xpycro.processing.decompose.prepare import Problem
from xpycro.processing.decompose.results import refuse_infinite, spread

__all__ = ["ITERATIONS", "by_subspace"]

ITERATIONS = 3  # orthogonalised power iterations; one pass over the data each
_EXTRA = 12


def by_subspace(problem: Problem, n_kept: int, center: bool, seed: int) -> dict[str, xr.DataArray]:
    """The variables of a randomized decomposition: as many singular values as components."""
    size = min(problem.rank, n_kept + max(_EXTRA, n_kept // 2))
    common: dict[str, Any] = {"columns": problem.columns, "limit_threads": problem.several_blocks}
    moments = chunked.reduce(
        problem.data,
        problem.signal,
        subspace.spread,
        subspace.merge_spread,
        others=problem.others,
        finish=_checked,
        kwargs={"columns": problem.columns, "center": center},
    )
    vectors: Any = subspace.start(problem.n_used, size, seed)
    data = problem.data
    for _ in range(ITERATIONS):
        data = chunked.after(problem.data, moments, vectors)
        vectors = chunked.reduce(
            data,
            problem.signal,
            subspace.image,
            np.add,
            others=problem.others,
            finish=subspace.orthonormal_columns,
            kwargs={"basis": vectors, "moments": moments, **common},
        )
    small = chunked.reduce(
        chunked.after(problem.data, vectors),
        problem.signal,
        subspace.ritz,
        np.add,
        others=problem.others,
        finish=functools.partial(_pair),
        kwargs={"basis": vectors, "moments": moments, **common},
    )
    solution = chunked.call(_solve, small, vectors, moments, n_kept=n_kept, columns=problem.columns)
    return lay_out(problem, solution, n_kept, n_kept, center)


def _checked(found: subspace.Spread) -> subspace.Spread:
    refuse_infinite(found.infinite)
    refuse_empty(found.count, found.missing)
    return found


def _pair(square: np.ndarray) -> linalg.Basis:
    return linalg.basis(square, square.shape[0])


def _solve(
    small: linalg.Basis, vectors: np.ndarray, moments: subspace.Spread, *, n_kept: int, columns: np.ndarray | None
) -> Solution:
    right = vectors @ small.vectors[:, :n_kept]
    right = right * linalg.fix_signs(right.conj()).conj()
    values = small.singular_values[:n_kept]
    energy = moments.energy
    explained = values**2 / energy if energy > 0 else np.full(n_kept, np.nan)
    components, projector, mean = right.conj().T, right.T, moments.mean
    mean = mean if moments.centered else np.zeros_like(mean)
    if columns is not None:
        components, mean = spread(components, columns, np.nan), spread(mean, columns, np.nan)
        projector = spread(projector, columns, 0)
    return Solution(components, projector, mean, np.ones(projector.shape[1]), values, explained)
