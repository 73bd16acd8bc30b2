"""How right decompositions and the advice on the rank are: `python -m tests.processing.accuracy`, a minute or two.

It writes the tables of docs/accuracy_decomposition.md; test_accuracy.py repeats them with fewer draws.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
import xarray as xr

from tests import pages
from tests.processing.test_decompose_rank import SHAPE, coloured, smooth_signal
from xpycro.processing import decompose

PAGE = pages.DOCS / "accuracy_decomposition.md"
VALUES = ["singular values, of the first", "largest relative error", "with `refine=True`"]
RANK = ["noise", "components", "theory says", "advised in draws"]
DRAWS = 40
NOISE = {
    "white": (0, 2, 4),
    "smoothed over five channels": (0, 2, 4),
    "pixels of unequal noise (log-normal, 0.6)": (0, 2, 4),
    "smoothed, and drifting along lines": (0, 2, 4),
    "channels of unequal noise (log-normal, 0.5)": (0, 2, 4),
    "a sine of random phase in every pixel": (0, 2),
}
KINDS = dict(zip(list(NOISE)[1:5], ("smoothed", "rows", "lines", "unequal"), strict=True))


def value_rows() -> list[list[str]]:
    """A matrix of 3000 x 120 whose singular values fall from 1 to 1e-9, in blocks, against LAPACK on the whole."""
    rng = np.random.default_rng(0)
    u, v = (np.linalg.qr(rng.normal(size=(n, 120)))[0] for n in (3000, 120))
    x = (u * np.geomspace(1, 1e-9, 120)) @ v.T
    _, true, rows = np.linalg.svd(x, full_matrices=False)
    da = xr.DataArray(x.reshape(60, 50, 120), dims=("y", "x", "energy")).chunk({"y": 13})
    results = [decompose.svd(da, refine=refine).compute() for refine in (False, True)]
    written = []
    for high, low in ((1, 1e-2), (1e-2, 1e-5), (1e-5, 1e-7)):
        part = (true / true[0] <= high) & (true / true[0] > low)
        errors = [np.abs(r.singular_values.values / true - 1)[part].max() for r in results]
        written.append([f"{high:g} to {low:g}", *(f"{error:.1e}" for error in errors)])
    angles = []
    for result in results:
        found, to = result.components.values[:60], rows[:60]
        left = found - np.sum(found * to, axis=1, keepdims=True) * to  # the sine itself: a cosine of 1 hides 1e-8
        angles.append(np.linalg.norm(left, axis=1).max())
    return [*written, ["sine of the angle of the first 60 components", *(f"{angle:.1e}" for angle in angles)]]


def draw(noise: str, k: int, seed: int) -> tuple[int, int]:
    """What theory says and what is advised of k smooth maps in such noise."""
    rng = np.random.default_rng(seed)
    values = coloured(KINDS[noise], seed) if noise in KINDS else rng.normal(size=SHAPE)
    if noise.startswith("a sine"):
        phase = rng.uniform(0, 2 * np.pi, SHAPE[:2])[..., None]
        values = values + 6 * np.cos(phase + np.pi / 4 * np.arange(SHAPE[2]))
    found = decompose.rank(decompose.pca(xr.DataArray(smooth_signal(k) + values, dims=("y", "x", "bias")), 24))
    return int(found.gavish_donoho), int(found.recommended)


def counted(advised: list[int]) -> str:
    return ", ".join(f"{value}: {n}" for value, n in sorted(Counter(advised).items()))


def rank_rows(draws: int = DRAWS) -> list[list[str]]:
    written = []
    for noise, numbers in NOISE.items():
        for k in numbers:
            theory, advised = zip(*(draw(noise, k, seed) for seed in range(1, draws + 1)), strict=True)
            told = f"{min(theory)} to {max(theory)}" if min(theory) < max(theory) else str(theory[0])
            written.append([noise, str(k), told, counted(list(advised))])
    return written


if __name__ == "__main__":
    pages.write(PAGE, "values", pages.table(VALUES, value_rows()))
    pages.write(PAGE, "rank", pages.table(RANK, rank_rows()))
