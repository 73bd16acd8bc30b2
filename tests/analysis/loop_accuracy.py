"""How right switching loops are, from amplitude and phase to the switching biases; a table of docs/accuracy.md."""

from __future__ import annotations

import numpy as np
import xarray as xr

import xpycro as xp
from xpycro.analysis.loops import _axis, model

NOISES = (0.05, 0.1, 0.2)
OFFSETS = np.arange(8) * np.pi / 4
STEPS = 64
AMPLITUDE = 10.0
# a0 ... a4, b0 ... b3, on a sweep of 10 V
RANGES = [(-1.2, -0.8), (1.6, 2.4), (-4, -2.5), (2.5, 4), (-0.01, 0.01), *[(0.8, 2.5)] * 4]


def sweep(n: int = STEPS) -> np.ndarray:
    """Up, down and back, from zero."""
    q = n // 4
    return AMPLITUDE * np.concatenate([np.arange(q), np.arange(q, -q, -1), np.arange(-q, 0)]) / q


def recovered(
    noise: float, polarity: int, offset: float, n: int, *, steps: int = STEPS, seed: int = 11
) -> tuple[float, dict[str, np.ndarray]]:
    """Share of `n` loops that converged, and the pulls (deviation over error) of what follows from their fits.

    Noise is in parts of the loop's height, in each quadrature of the response at every step.
    """
    rng = np.random.default_rng([seed, int(1000 * noise), polarity + 1, int(1000 * offset), steps])
    truth = np.stack([rng.uniform(*r, n) for r in RANGES], axis=-1)
    bias = sweep(steps)
    clean = model.loop(bias, _axis.is_rising(bias), *(p[:, None] for p in truth.T))
    sigma = noise * truth[:, 1:2]
    z = polarity * clean + sigma * (rng.standard_normal(clean.shape) + 1j * rng.standard_normal(clean.shape))
    z = xr.DataArray(
        z * np.exp(1j * offset), {"bias": ("step", bias, {"units": "V"})}, ("position", "step"), attrs={"units": "V"}
    )
    loops = xp.loops.project(xr.Dataset({"amplitude": abs(z), "phase": xr.apply_ufunc(np.angle, z)}))
    fitted = xp.loops.fit(loops)
    found = xp.loops.derived(fitted)
    _, a1, a2, a3, _, b0, b1, b2, b3 = truth.T
    known = {
        "switching_bias_negative": a2,
        "switching_bias_positive": a3,
        "coercive_bias_negative": model.inverse(0.5, a2, b0, b1),
        "coercive_bias_positive": model.inverse(0.5, a3, b2, b3),
        "imprint": (a2 + a3) / 2,
        "work_of_switching": (a3 - a2) * a1,
    }
    good = fitted.converged.values
    return float(good.mean()), {k: ((found[k] - v) / found[f"{k}_stderr"]).values[good] for k, v in known.items()}


def loop_rows(n: int) -> list[list[str]]:
    """One row for each noise and polarity, `n` loops at each phase offset."""
    rows = []
    for noise in NOISES:
        for polarity in (1, -1):
            each = [recovered(noise, polarity, offset, n) for offset in OFFSETS]
            shares = {name: [100 * np.mean(np.abs(pulls[name]) < 1) for _, pulls in each] for name in each[0][1]}
            switching = [*shares["switching_bias_negative"], *shares["switching_bias_positive"]]
            rows.append([f"{100 * noise:.0f} %", f"{polarity:+d}", str(n * len(OFFSETS)),
                         f"{100 * np.mean([converged for converged, _ in each]):.1f}",
                         *(f"{np.mean(s):.1f}" for s in shares.values()),
                         f"{min(switching):.1f} to {max(switching):.1f}"])  # fmt: skip
    return rows
