"""Least squares with nonnegative weights, free or summing to one, for many rows at once.

NumPy kernels only.
"""

from __future__ import annotations

import numpy as np

__all__ = ["abundances", "nonnegative_weights", "onto_simplex"]

_TINY = 1e-300


def nonnegative_weights(x: np.ndarray, spectra: np.ndarray, weights: np.ndarray, sweeps: int) -> np.ndarray:
    """Weights ``w >= 0`` that bring ``w @ spectra`` nearest to the rows, by coordinate descent on all rows at once.

    Parameters
    ----------
    x : ndarray, shape (n, p)
    spectra : ndarray, shape (k, p)
    weights : ndarray, shape (n, k)
        Where to start; overwritten.
    sweeps : int
        At most.
    """
    square, target = spectra @ spectra.T, x @ spectra.T
    w = weights
    for _ in range(sweeps):
        change = 0.0
        for j in range(spectra.shape[0]):
            if square[j, j] <= _TINY:
                continue
            new = np.maximum(w[:, j] + (target[:, j] - w @ square[:, j]) / square[j, j], 0)
            change = max(change, float(np.abs(new - w[:, j]).max(initial=0)))
            w[:, j] = new
        if change <= 1e-10 * float(w.max(initial=0)):
            break
    return w


def onto_simplex(rows: np.ndarray) -> np.ndarray:
    """Each row's nearest point with nonnegative entries that sum to one."""
    falling = -np.sort(-rows, axis=1)
    excess = np.cumsum(falling, axis=1) - 1
    number = np.arange(1, rows.shape[1] + 1)
    last = (falling - excess / number > 0).sum(axis=1)
    shift = excess[np.arange(rows.shape[0]), last - 1] / last
    return np.maximum(rows - shift[:, None], 0)


def abundances(rows: np.ndarray, endmembers: np.ndarray, *, iterations: int = 300) -> np.ndarray:
    """Shares ``a >= 0``, ``sum a = 1`` that bring ``a @ endmembers`` nearest to the rows.

    Accelerated projected gradient finds which shares are zero; given those, the others are solved for exactly, and
    taken where that is the optimum.

    Parameters
    ----------
    rows : ndarray, shape (n, p)
    endmembers : ndarray, shape (k, p)

    Returns
    -------
    ndarray, shape (n, k)
    """
    k = endmembers.shape[0]
    origin = endmembers.mean(axis=0)  # shares that sum to one do not see a common shift
    moved, x = endmembers - origin, rows - origin
    square, target = moved @ moved.T, x @ moved.T
    step = 1 / max(float(np.linalg.eigvalsh(square)[-1]), _TINY)
    share = np.full((rows.shape[0], k), 1.0 / k)
    ahead, momentum = share, 1.0
    for _ in range(iterations):
        new = onto_simplex(ahead - step * (ahead @ square - target))
        following = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
        move = new - share
        # momentum that points uphill is dropped, row by row
        uphill = ((ahead - new) * move).sum(axis=1) > 0
        ahead = new + np.where(uphill, 0.0, (momentum - 1) / following)[:, None] * move
        share, momentum = new, following
        if float(np.abs(move).max(initial=0)) < 1e-12:
            break
    return _polished(share, square, target)


def _polished(share: np.ndarray, square: np.ndarray, target: np.ndarray) -> np.ndarray:
    k = share.shape[1]
    support = share > 1e-9
    codes, group = np.unique(support, axis=0, return_inverse=True)
    result = share.copy()
    for number, active in enumerate(codes):
        chosen = np.flatnonzero(active)
        members = np.flatnonzero(group.reshape(-1) == number)
        size = chosen.size
        system = np.zeros((size + 1, size + 1))
        system[:size, :size] = square[np.ix_(chosen, chosen)]
        system[:size, size] = system[size, :size] = 1
        if np.linalg.cond(system) > 1e14:
            continue
        right = np.concatenate([target[np.ix_(members, chosen)], np.ones((members.size, 1))], axis=1)
        solved = np.linalg.solve(system, right.T).T[:, :size]
        exact = np.zeros((members.size, k))
        exact[:, chosen] = solved
        good = (solved >= 0).all(axis=1)
        result[members[good]] = exact[good]
    return result
