"""The nine-parameter loop as a formula, and the bias at which it has come so far.

May import numpy and, inside functions, scipy.special.
"""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["PARAMETERS", "inverse", "jacobian", "loop"]

# a0 ... a4 and b0 ... b3 of the publication, in that order
PARAMETERS = (
    "lower_level", "height", "switching_bias_negative", "switching_bias_positive", "slope", "width_0", "width_1",
    "width_2", "width_3",
)  # fmt: skip


def _branch(bias: Any, at: Any, below: Any, above: Any) -> Any:
    from scipy.special import erf

    width = np.where(bias > at, above, below)
    return (width * erf((bias - at) / width) + below) / (below + above)


def loop(bias: Any, rising: Any, *parameters: Any) -> Any:
    """``a0 + a1 y(V) + a4 V``, with y of the branch that each point is on.

    Parameters
    ----------
    bias : array_like
    rising : array_like of bool
        Where the bias rises.
    *parameters : array_like
        In the order of `PARAMETERS`; they broadcast against the bias.

    Examples
    --------
    >>> values = loop(np.array([-9.0, 9.0]), np.array([True, False]), 1.0, 2.0, -3.0, 3.0, 0.0, 1.0, 1.0, 1.0, 1.0)
    >>> values.round(9).tolist()
    [1.0, 3.0]
    """
    a0, a1, a2, a3, a4, b0, b1, b2, b3 = parameters
    y = np.where(rising, _branch(bias, a3, b2, b3), _branch(bias, a2, b0, b1))
    return a0 + a1 * y + a4 * bias


def jacobian(bias: np.ndarray, rising: np.ndarray, parameters: np.ndarray) -> np.ndarray:
    """Derivatives of `loop` by its parameters; (..., 9) and (n,) give (..., n, 9)."""
    from scipy.special import erf

    _, a1, a2, a3, _, b0, b1, b2, b3 = (p[..., None] for p in np.moveaxis(parameters, -1, 0))
    below, above = np.where(rising, b2, b0), np.where(rising, b3, b1)
    v = bias - np.where(rising, a3, a2)
    over = v > 0
    width = np.where(over, above, below)
    u, total = v / width, below + above
    step, slope = erf(u), 2 / np.sqrt(np.pi) * np.exp(-(u**2))
    y = (width * step + below) / total
    by_width = step - u * slope
    by_below = a1 * np.where(over, 1 - y, by_width + 1 - y) / total
    by_above = a1 * np.where(over, by_width - y, -y) / total
    by_place = -a1 * slope / total
    one = np.ones_like(y)
    return np.stack(
        [
            one, y, np.where(rising, 0, by_place), np.where(rising, by_place, 0), bias * one,
            np.where(rising, 0, by_below), np.where(rising, 0, by_above), np.where(rising, by_below, 0),
            np.where(rising, by_above, 0),
        ],
        axis=-1,
    )  # fmt: skip


def inverse(y: Any, at: Any, below: Any, above: Any) -> Any:
    """The bias at which a branch has come to `y` (between 0 and 1) of its height.

    On the side of `at` that the sign of ``y (below + above) - below`` says; its width there is the one to invert with.
    """
    from scipy.special import erfinv

    rest = y * (below + above) - below
    width = np.where(rest > 0, above, below)
    return at + width * erfinv(rest / width)
