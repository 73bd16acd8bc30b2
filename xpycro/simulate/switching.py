"""What a ferroelectric answers to a sweep of the bias: the static response of each pixel at each step, with its truth.

May import the floors below; NumPy arrays only.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from xpycro.analysis.loops._axis import is_rising
from xpycro.analysis.loops.model import PARAMETERS, inverse, loop
from xpycro.simulate.surface import smooth_field

__all__ = ["MAPS", "static_response", "switching_maps"]

# what a pixel's response depends on, in the order of the last axis of the stacked maps
MAPS = (*PARAMETERS, "polarity", "electrostatic_slope", "surface_potential")
_HYSTERONS = 64


def switching_maps(
    shape: tuple[int, int], bias_amplitude: float, wall: np.ndarray, sign: np.ndarray, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Maps of the nine loop parameters, the polarity and the electrostatic response, for a sweep to `bias_amplitude`.

    Loops are lower at domain walls; the imprint and both coercive biases vary smoothly.
    """
    correlation = max(shape) / 10

    def field(width: float = 1.0) -> np.ndarray:
        return smooth_field(shape, correlation * width, rng).clip(-2.5, 2.5)

    height = 2e-4 * (0.4 + 0.6 * wall) * (1 + 0.08 * field())
    imprint, coercive = 0.05 * field(), 0.32 * (1 + 0.08 * field())
    maps = {
        "lower_level": height * (-0.5 + 0.03 * field()),
        "height": height,
        "switching_bias_negative": bias_amplitude * (imprint - coercive),
        "switching_bias_positive": bias_amplitude * (imprint + coercive),
        "slope": 2e-7 * (10 / bias_amplitude) * field(),
    }
    maps |= {f"width_{k}": bias_amplitude * 0.14 * np.exp(0.15 * field()) for k in range(4)}
    maps["polarity"] = np.where(sign > 0, 1.0, -1.0)
    maps["electrostatic_slope"] = np.full(shape, 4e-5 / bias_amplitude)
    maps["surface_potential"] = bias_amplitude * 0.05 * field()
    return maps


def static_response(
    maps: np.ndarray, bias: np.ndarray, fields: Sequence[str], cycles: int, *, drive: np.ndarray | None = None
) -> np.ndarray:
    """Signed amplitude at each step: (pixel, forc, cycle, field, step), or (pixel, direction, step) for a drive sweep.

    Parameters
    ----------
    maps : ndarray, shape (pixel, len(MAPS))
    bias : ndarray, shape (forc, step)
        One sweep gives the loop's formula; several, a population of hysterons with the same branches that remembers
        what came before, so that minor loops open where they should.
    fields : sequence of {"in", "out"}
        While the bias is on its electrostatic force adds a line.
    cycles : int
    drive : ndarray, shape (step,), optional
        Shares of the full drive instead of a bias: the response at rest follows it.
    """
    parameters, polarity, slope, zero = maps[:, :9], maps[:, 9], maps[:, 10], maps[:, 11]
    if drive is not None:
        rest = (parameters[:, 0] + parameters[:, 1]) * polarity
        return np.repeat((rest[:, None] * drive)[:, None], 2, axis=1)
    if len(bias) == 1:
        columns = (parameters[:, k, None] for k in range(9))
        piezo = np.asarray(loop(bias[0], is_rising(bias[0]), *columns))[:, None, None]
        piezo = np.repeat(piezo, cycles, axis=2)
    else:
        piezo = _minor_loops(parameters, bias, cycles)
    piezo = piezo * polarity[:, None, None, None]
    on = slope[:, None, None, None] * (bias[:, None, :] - zero[:, None, None, None])
    return np.stack([piezo + on if field == "in" else piezo for field in fields], axis=3)


def _minor_loops(parameters: np.ndarray, bias: np.ndarray, cycles: int) -> np.ndarray:
    """Hysterons that switch up on the rising branch and down on the falling one, each at its share of the height."""
    a0, a1, a2, a3, a4, b0, b1, b2, b3 = (parameters[:, k, None] for k in range(9))
    share = (np.arange(_HYSTERONS) + 0.5) / _HYSTERONS
    up, down = inverse(share, a3, b2, b3), inverse(share, a2, b0, b1)
    state = np.ones((len(parameters), _HYSTERONS), dtype=bool)  # poled before
    result = np.empty((len(parameters), len(bias), cycles, bias.shape[1]))
    for k, cycle, step in np.ndindex(result.shape[1:]):
        v = bias[k, step]
        state = (state | (v > up)) & (v >= down)
        result[:, k, cycle, step] = a0[:, 0] + a1[:, 0] * state.mean(axis=1) + a4[:, 0] * v
    return result
