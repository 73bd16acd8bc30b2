"""How right the fits are, measured: `python -m tests.analysis.accuracy` computes and writes docs/accuracy.md.

`agreement` compares every model with SciPy, started at the truth; `coverage` counts how often a truth lies within one
standard error; `oscillators` does so for oscillators in narrow and wide bands, `loops` for switching loops at any phase
offset (loop_accuracy.py); `other_loss` compares robust losses and counts with SciPy. test_accuracy.py repeats them with
fewer spectra and holds the page against them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import xarray as xr

from tests import pages
from tests.analysis.loop_accuracy import loop_rows
from xpycro.analysis import models
from xpycro.analysis.fit import fit

PAGE = pages.DOCS / "accuracy.md"
X = np.linspace(0.1, 10, 128)
BAND = np.linspace(300e3, 350e3, 128)
IMAGE = np.stack([m.ravel() for m in np.meshgrid(np.linspace(0, 5, 28), np.linspace(0, 4, 24))])
PEAK, LEVEL, SLOPE = [(8, 15), (3, 7)], (-1, 1), (-0.1, 0.1)
STEP = [(5, 20), (3, 7), (0.1, 0.8), LEVEL]


class Case(NamedTuple):
    """A model, the ranges its true parameters are drawn from, and its axis."""

    model: str
    ranges: Sequence[tuple[float, float]]
    x: np.ndarray = X


CASES = {
    case.model if not label else label: case
    for label, case in [
        ("", Case("gaussian + linear", [*PEAK, (0.3, 1), LEVEL, SLOPE])),
        ("", Case("lorentzian + constant", [*PEAK, (0.3, 1), LEVEL])),
        ("", Case("voigt + linear", [*PEAK, (0.3, 0.8), (0.2, 0.6), LEVEL, SLOPE])),
        ("", Case("pseudo_voigt + constant", [*PEAK, (0.4, 1), (0.2, 0.8), LEVEL])),
        ("", Case("split_gaussian + constant", [*PEAK, (0.3, 1), (0.3, 1), LEVEL])),
        ("", Case("split_lorentzian + constant", [*PEAK, (0.3, 1), (0.3, 1), LEVEL])),
        ("", Case("skewed_gaussian + constant", [*PEAK, (0.6, 1.2), (-4, 4), LEVEL])),
        ("", Case("doniach_sunjic + constant", [*PEAK, (0.3, 0.6), (0.05, 0.3), LEVEL])),
        ("", Case("fano + linear", [(4, 10), (3, 7), (0.3, 0.8), (-2.5, 2.5), LEVEL, SLOPE])),
        ("", Case("gaussian_2d", [(4, 8), (1.8, 3.2), (1.5, 2.5), (0.6, 0.9), (0.3, 0.5), (0.1, 1.4)], IMAGE)),
        ("", Case("linear", [LEVEL, SLOPE])),
        ("", Case("polynomial + gaussian", [LEVEL, LEVEL, (-0.1, 0.1), *PEAK, (0.3, 1)])),
        ("", Case("power_law", [(5, 20), (0.5, 2)])),
        ("", Case("exponential + constant", [(5, 20), (0.5, 4), LEVEL])),
        ("", Case("double_exponential", [(5, 20), (0.3, 0.8), (5, 20), (3, 6)])),
        ("", Case("stretched_exponential", [(5, 20), (0.7, 4), (0.5, 1.2)])),
        ("", Case("arctan_step + constant", STEP)),
        ("", Case("erf_step + linear", [*STEP, SLOPE])),
        ("", Case("fermi_edge + constant", STEP)),
        ("", Case("logistic + constant", STEP)),
        ("", Case("sho", [(5e-4, 2e-3), (312e3, 338e3), (60, 200), (-3, 3)], BAND)),
        ("", Case("sho + complex_constant",
                  [(5e-4, 2e-3), (312e3, 338e3), (60, 200), (-3, 3), (-0.02, 0.02), (-0.02, 0.02)], BAND)),
        ("", Case("sho_amplitude", [(0.2, 0.5), (4, 7), (8, 40)])),
        ("", Case("gaussian + gaussian + linear",
                  [(5, 10), (2, 4), (0.3, 0.7), (5, 10), (6, 8), (0.3, 0.7), LEVEL, SLOPE])),
        ("", Case("lorentzian + gaussian + exponential",
                  [(5, 10), (2, 4), (0.3, 0.7), (5, 10), (6, 8), (0.3, 0.7), (5, 20), (2, 6)])),
        ("three gaussians + linear", Case("gaussian + gaussian + gaussian + linear",
            [(5, 10), (2.5, 3.2), (0.4, 0.6), (5, 10), (4.3, 5), (0.4, 0.6), (5, 10), (6, 6.7), (0.4, 0.6), LEVEL,
             SLOPE])),
        ("three overlapping gaussians + linear", Case("gaussian + gaussian + gaussian + linear",
            [(5, 10), (3, 3.4), (0.5, 0.7), (5, 10), (4.4, 4.8), (0.5, 0.7), (5, 10), (5.8, 6.2), (0.5, 0.7), LEVEL,
             SLOPE])),
    ]
}  # fmt: skip

# Model, truth, noise (of each quadrature) and axis: 125 or 252 degrees of freedom.
COVERAGE = {
    "gaussian": ((10, 5, 0.8), 0.5, X),
    "lorentzian": ((10, 5, 0.8), 0.5, X),
    "voigt": ((10, 5, 0.7, 0.5), 0.1, X),
    "exponential": ((10, 2.0), 0.5, X),
    "gaussian + linear": ((10, 5, 0.8, 1, 0.1), 0.5, X),
    "sho": ((1e-3, 325e3, 100, 0.7), 0.005, BAND),
}

# Band, bins and the places of the resonance.
BANDS = {"300-350 kHz, 128 bins": (BAND, (312e3, 338e3)),
         "200-450 kHz, 512 bins": (np.linspace(200e3, 450e3, 512), (250e3, 400e3))}  # fmt: skip
QUALITIES, NOISES = (20, 100, 300, 1000), (0.05, 0.2)


def simulated(case: Case, n: int, seed: int = 0) -> tuple[models.Model, np.ndarray, np.ndarray]:
    """The model, `n` truths, and data with noise of a twentieth of their range in each quadrature."""
    rng = np.random.default_rng(seed)
    model = models.parse(case.model, is_complex=case.x is BAND)
    truth = np.stack([rng.uniform(low, high, n) for low, high in case.ranges], axis=-1)
    columns = (truth[:, j, None] for j in range(truth.shape[1]))
    clean = model.evaluate(case.x, *columns)
    noise = np.ptp(np.abs(clean) if model.is_complex else clean, axis=1)[:, None] / 20
    data = clean + noise * rng.normal(size=clean.shape)
    if model.is_complex:
        data = data + 1j * noise * rng.normal(size=clean.shape)
    return model, truth, data


def labelled(data: np.ndarray, x: np.ndarray) -> tuple[xr.DataArray, str | tuple[str, str]]:
    """Spectra, or images, and the dim that one of them spans."""
    if x.ndim == 1:
        return xr.DataArray(data, {"energy": x}, ("position", "energy")), "energy"
    columns, rows = np.unique(x[0]), np.unique(x[1])
    images = data.reshape(-1, rows.size, columns.size)
    return xr.DataArray(images, {"y": rows, "x": columns}, ("position", "y", "x")), ("y", "x")


def scipys(model: models.Model, x: np.ndarray, data: np.ndarray, truth: np.ndarray) -> tuple[float, np.ndarray]:
    """Cost and standard errors of SciPy's minimum from the truth; linear models by its linear solver."""
    from scipy.optimize import least_squares

    lower = np.array([p.lower for p in model.parameters.values()])
    upper = np.array([p.upper for p in model.parameters.values()])
    scale = np.where(truth == 0, 1.0, np.abs(truth))  # what is 1e-3 and what is 3e5 are of one size to SciPy

    def misfit(p: np.ndarray) -> np.ndarray:
        left = data - model.evaluate(x, *(p * scale))
        return np.concatenate([left.real, left.imag]) if np.iscomplexobj(left) else left

    best = least_squares(misfit, truth / scale, bounds=(lower / scale, upper / scale), x_scale="jac", ftol=1e-12,
                         xtol=1e-12, gtol=1e-12, max_nfev=1000)  # fmt: skip
    variance = 2 * best.cost / (best.fun.size - truth.size)
    errors = np.sqrt(np.diag(np.linalg.pinv(best.jac.T @ best.jac)) * variance) * scale
    return best.cost, errors


@dataclass(frozen=True)
class Agreement:
    """Shares of spectra, and relative numbers, against SciPy."""

    pixels: int
    within: float  # share whose cost is at most 1e-6 above the best of both
    scipy_within: float
    excess: float  # the largest relative excess of ours
    error_difference: float  # median relative difference of standard errors, where both found the same minimum


def agreement(label: str, n: int, seed: int = 0) -> Agreement:
    """`n` spectra of a case fitted from its own start, and by SciPy from the truth."""
    case = CASES[label]
    model, truth, data = simulated(case, n, seed)
    da, dim = labelled(data, case.x)
    result = fit(da, model, dim=dim)
    size = case.x.shape[-1]
    ours = np.where(result.converged, 0.5 * result.residual_rms.values**2 * size, np.inf)
    theirs = [scipys(model, case.x, data[i], truth[i]) for i in range(n)]
    costs, errors = np.array([cost for cost, _ in theirs]), np.stack([e for _, e in theirs])
    best = np.minimum(ours, costs)
    own = np.stack([result[f"{name}_stderr"].values for name in model.parameters], axis=-1)
    same = np.abs(ours - costs) <= 1e-6 * best
    return Agreement(
        n, float(np.mean(ours <= best * (1 + 1e-6))), float(np.mean(costs <= best * (1 + 1e-6))),
        float(np.max(ours / best - 1)), float(np.nanmedian(np.abs(own[same] / errors[same] - 1))),
    )  # fmt: skip


LOSSES = ("soft_l1", "huber", "cauchy", "poisson")


def _loss_of(residual: np.ndarray, loss: str) -> np.ndarray:
    """What a residual in units of its noise costs; of a complex one its magnitude counts."""
    z = np.abs(residual) ** 2
    if loss == "soft_l1":
        return 2 * (np.sqrt(1 + z) - 1)
    if loss == "huber":
        return np.where(z <= 1, z, 2 * np.sqrt(z) - 1)
    return np.log1p(z)


def _deviance(counts: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Twice the logarithm of the likelihood ratio of Poisson counts."""
    from scipy.special import xlogy

    return 2 * (mean - counts + xlogy(counts, counts / np.maximum(mean, 1e-300)))


def other_loss(label: str, loss: str, n: int, seed: int = 0) -> tuple[float, float] | None:
    """Shares of spectra of ours and of SciPy's fits, from the truth, whose loss is within 1e-6 of the lower of the two.

    A twentieth of the channels is off by ten times the noise; counts come from the model raised to be positive. None
    for counts of a model that cannot be.
    """
    from scipy.optimize import least_squares

    case = CASES[label]
    if loss == "poisson":
        # a level of counts under the peaks; steps on it stay positive, too
        ranges = [(2, 4) if r == LEVEL else (-1.0, 1.0) if r == (-2.5, 2.5) else r for r in case.ranges]
        case = case._replace(ranges=ranges)
    model, truth, data = simulated(case, n, seed)
    rng = np.random.default_rng(seed + 1)
    clean = model.evaluate(case.x, *(truth[:, j, None] for j in range(truth.shape[1])))
    if loss == "poisson":
        if np.iscomplexobj(clean) or clean.min() <= 0:
            return None
        data, noise = rng.poisson(clean).astype(float), np.ones((n, 1))
    else:
        noise = np.ptp(np.abs(clean), axis=1)[:, None] / 20 if model.is_complex else np.ptp(clean, axis=1)[:, None] / 20
        data = data + 10 * noise * (rng.random(data.shape) < 0.05)
    da, dim = labelled(data, case.x)
    if loss == "poisson":
        result = fit(da, model, dim=dim, loss=loss)
    else:
        sigma = labelled(np.broadcast_to(noise, data.shape), case.x)[0]
        result = fit(da, model, dim=dim, loss=loss, sigma=sigma, absolute_sigma=True)
    found = np.stack([result[name].values.ravel() for name in model.parameters], axis=-1)
    lower = np.array([p.lower for p in model.parameters.values()])
    upper = np.array([p.upper for p in model.parameters.values()])
    costs = np.full((n, 2), np.inf)
    for i in range(n):
        scale = np.where(truth[i] == 0, 1.0, np.abs(truth[i]))

        def terms(p: np.ndarray, i: int = i) -> np.ndarray:
            mean = model.evaluate(case.x, *p)
            return _deviance(data[i], mean) if loss == "poisson" else _loss_of((data[i] - mean) / noise[i], loss)

        def residual(q: np.ndarray, i: int = i, scale: np.ndarray = scale) -> np.ndarray:
            mean = model.evaluate(case.x, *(q * scale))
            if loss == "poisson":  # its squares are the deviance
                return np.sign(mean - data[i]) * np.sqrt(np.maximum(_deviance(data[i], mean), 0))
            left = (data[i] - mean) / noise[i]
            return np.sqrt(_loss_of(left, loss)) if model.is_complex else left

        plain = loss == "poisson" or model.is_complex
        best = least_squares(residual, truth[i] / scale, bounds=(lower / scale, upper / scale), x_scale="jac",
                             loss="linear" if plain else loss, ftol=1e-12, xtol=1e-12, gtol=1e-12,
                             max_nfev=1000)  # fmt: skip
        costs[i, 1] = terms(best.x * scale).sum()
        if bool(result.converged.values.ravel()[i]):
            costs[i, 0] = terms(found[i]).sum()
    within = costs <= costs.min(axis=1, keepdims=True) * (1 + 1e-6)
    return float(within[:, 0].mean()), float(within[:, 1].mean())


def pulls(result: xr.Dataset, truth: dict[str, np.ndarray | float]) -> dict[str, np.ndarray]:
    """Deviations from the truth in standard errors, of what converged; angles to the nearest turn."""
    good = result.converged.values
    found = {}
    for name, value in truth.items():
        difference = result[name].values - value
        if result[name].attrs["units"] == "rad":
            difference = (difference + np.pi) % (2 * np.pi) - np.pi
        found[name] = (difference / result[f"{name}_stderr"].values)[good]
    return found


def coverage(name: str, n: int, seed: int = 7) -> tuple[float, dict[str, np.ndarray]]:
    """Share that converged, and the pulls of each parameter, of `n` spectra of one truth with known noise."""
    truth, sigma, x = COVERAGE[name]
    rng = np.random.default_rng(seed)
    model = models.parse(name)
    noise = rng.normal(size=(n, x.size)) * sigma
    if model.is_complex:
        noise = noise + 1j * rng.normal(size=(n, x.size)) * sigma
    da, dim = labelled(model.evaluate(x, *truth) + noise, x)
    result = fit(da, model, dim=dim, sigma=sigma, absolute_sigma=True)
    return float(result.converged.mean()), pulls(result, dict(zip(model.parameters, truth, strict=True)))


@dataclass(frozen=True)
class Resonance:
    """What is found of oscillators of one quality factor, band and noise."""

    converged: float
    frequency_bias: float  # median deviation, in linewidths
    frequency_scatter: float
    quality_bias: float  # median relative deviation
    quality_scatter: float
    inside: dict[str, float]


def _scatter(values: np.ndarray) -> float:
    """Standard deviation, by the quartiles: a few lost fits do not count."""
    return float(np.subtract(*np.percentile(values, [75, 25])) / 1.349)


def oscillators(band: str, quality: float, noise: float, n: int, seed: int = 3) -> Resonance:
    """`n` oscillators of one amplitude anywhere in the band; noise in parts of the peak, in each quadrature."""
    x, (low, high) = BANDS[band]
    rng = np.random.default_rng(seed)
    truth = {"amplitude": np.full(n, 1e-3), "resonance_frequency": rng.uniform(low, high, n),
             "quality_factor": np.full(n, float(quality)), "phase": rng.uniform(-3, 3, n)}  # fmt: skip
    clean = models.HarmonicOscillator().evaluate(x, *(v[:, None] for v in truth.values()))
    sigma = noise * 1e-3 * quality
    data = clean + sigma * (rng.normal(size=clean.shape) + 1j * rng.normal(size=clean.shape))
    result = fit(labelled(data, x)[0], "sho", dim="energy", sigma=sigma, absolute_sigma=True)
    width = truth["resonance_frequency"] / quality
    good = result.converged.values
    frequency = ((result.resonance_frequency.values - truth["resonance_frequency"]) / width)[good]
    factor = (result.quality_factor.values / quality - 1)[good]
    return Resonance(
        float(good.mean()),
        float(np.median(frequency)),
        _scatter(frequency),
        float(np.median(factor)),
        _scatter(factor),
        {name: float(np.mean(np.abs(pull) < 1)) for name, pull in pulls(result, truth).items()},
    )


# -------------------------------------------------------------------------------------------------------- the page


def agreement_rows(n: int) -> list[list[str]]:
    rows = []
    for label in CASES:
        a = agreement(label, 4 * n if label.startswith("three") else n)  # one of 500 would be more than a thousandth
        rows.append([f"`{label}`", str(a.pixels), f"{100 * a.within:.2f}", f"{100 * a.scipy_within:.2f}",
                     f"{a.excess:.1e}", f"{a.error_difference:.0e}"])  # fmt: skip
    return rows


def loss_rows(n: int) -> list[list[str]]:
    rows = []
    for label, case in CASES.items():
        if case.x is IMAGE:
            continue
        found = [other_loss(label, loss, n) for loss in LOSSES]
        rows.append(
            [f"`{label}`", str(n), *("-" if f is None else f"{100 * f[0]:.1f} ({100 * f[1]:.1f})" for f in found)]
        )
    return rows


def coverage_rows(n: int) -> list[list[str]]:
    rows = []
    for name in COVERAGE:
        converged, found = coverage(name, n)
        for parameter, pull in found.items():
            rows.append([f"`{name}`", f"`{parameter}`", str(n), f"{100 * converged:.2f}",
                         f"{100 * np.mean(np.abs(pull) < 1):.1f}", f"{pull.mean():+.3f}",
                     f"{pull.std():.3f}"])  # fmt: skip
    return rows


def oscillator_rows(n: int) -> list[list[str]]:
    rows = []
    for band in BANDS:
        for quality in QUALITIES:
            for noise in NOISES:
                found = oscillators(band, quality, noise, n)
                rows.append([band, str(quality), f"{100 * noise:.0f} %", str(n), f"{100 * found.converged:.1f}",
                             f"{found.frequency_bias:+.4f}", f"{100 * found.quality_bias:+.2f}",
                             *(f"{100 * value:.1f}" for value in found.inside.values())])  # fmt: skip
    return rows


TABLES: dict[str, tuple[list[str], Callable[[int], list[list[str]]], int]] = {
    "agreement": (["model", "spectra", "within 1e-6, %", "SciPy within 1e-6, %", "largest excess", "errors differ by"],
                  agreement_rows, 500),
    "losses": (["model", "spectra", *(f"`{loss}`, %" for loss in LOSSES)], loss_rows, 60),
    "coverage": (["model", "parameter", "spectra", "converged, %", "inside one error, %", "mean pull",
                  "spread of pulls"], coverage_rows, 20_000),
    "oscillators": (["band", "Q", "noise", "spectra", "converged, %", "f0 off by, linewidths", "Q off by, %",
                     "A inside, %", "f0 inside, %", "Q inside, %", "phase inside, %"], oscillator_rows, 5000),
    "loops": (["noise", "polarity", "loops", "converged, %", "V- inside, %", "V+ inside, %", "coercive- inside, %",
               "coercive+ inside, %", "imprint inside, %", "work inside, %", "V- and V+ at one offset, %"],
              loop_rows, 1000),
}  # fmt: skip


def published(table: str) -> list[list[str]]:
    """The rows of a table of the page."""
    return pages.published(PAGE, table)


def write(table: str) -> None:
    """Compute a table in full and put it into the page."""
    head, rows_of, n = TABLES[table]
    pages.write(PAGE, table, pages.table(head, rows_of(n)))


if __name__ == "__main__":
    import sys

    for chosen in sys.argv[1:] or TABLES:
        write(chosen)
