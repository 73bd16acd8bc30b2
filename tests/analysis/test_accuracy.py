"""docs/accuracy.md says what is measured: each table again with fewer spectra, and held against the page."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from tests.analysis import accuracy
from xpycro.analysis import models
from xpycro.analysis.fit import fit


def rows(table):
    """The published rows by their first cells, without code marks."""
    first = {"agreement": 1, "losses": 1, "coverage": 2, "oscillators": 3}[table]
    return {tuple(c.strip("`") for c in row[:first]): row[first:] for row in accuracy.published(table)}


def close(share, published, n):
    """Whether a share of `n` agrees with a published percentage within four binomial errors."""
    p = float(published) / 100
    return abs(share - p) <= 4 * np.sqrt(max(p * (1 - p), 1e-4) / n) + 5e-4


def test_every_model_is_published_and_reaches_its_goal():
    found = rows("agreement")
    assert list(found) == [(label,) for label in accuracy.CASES]
    used = {term.kind for case in accuracy.CASES.values() for term in models.parse(case.model).terms}
    assert used == set(models.list())
    for (label,), (spectra, within, *_) in found.items():
        assert int(spectra) >= 500
        assert float(within) >= 99.9, label


@pytest.mark.parametrize("label", accuracy.CASES)
def test_minimum_is_no_worse_than_scipys_from_the_truth(label):
    n = 10
    found = accuracy.agreement(label, n)
    _, within, _, _, difference = rows("agreement")[(label,)]
    assert close(found.within, within, n)
    assert found.error_difference <= 10 * float(difference)


@pytest.mark.parametrize("loss", accuracy.LOSSES)
def test_other_losses_reach_scipys_minimum(loss):
    table = rows("losses")
    real = [label for label, case in accuracy.CASES.items() if case.x is not accuracy.IMAGE]
    assert list(table) == [(label,) for label in real]
    published = {label: cells[1 + accuracy.LOSSES.index(loss)] for (label,), cells in table.items()}
    n, chosen = 8, accuracy.LOSSES.index(loss)
    for label in real[chosen :: len(accuracy.LOSSES)]:
        found = accuracy.other_loss(label, loss, n)
        if found is None:
            assert published[label] == "-"
            continue
        assert close(found[0], published[label].split()[0], n), label
    shares = [float(cells.split()[0]) for cells in published.values() if cells != "-"]
    assert len(shares) >= 20 and min(shares) >= 90 and np.mean(shares) >= 98


@pytest.mark.parametrize("loss", ["soft_l1", "huber", "cauchy"])
@pytest.mark.parametrize("absolute", [False, True])
def test_errors_of_robust_fits_hold_with_outliers(loss, absolute):
    rng, n = np.random.default_rng(5), 2000
    truth = {"gaussian_amplitude": 10.0, "gaussian_center": 5.0, "gaussian_sigma": 0.8, "linear_intercept": 1.0,
             "linear_slope": 0.1}  # fmt: skip
    clean = models.parse("gaussian + linear").evaluate(accuracy.X, *truth.values())
    y = clean + 0.5 * rng.normal(size=(n, clean.size))
    y += 5 * rng.choice([-1, 1], size=y.shape) * (rng.random(y.shape) < 0.05)
    da = xr.DataArray(y, {"energy": accuracy.X}, ("position", "energy"))
    known = {"sigma": 0.5, "absolute_sigma": True} if absolute else {}
    result = fit(da, "gaussian + linear", dim="energy", loss=loss, **known)
    for name, value in truth.items():
        inside = float((abs(result[name] - value) < result[f"{name}_stderr"]).mean())
        assert inside == pytest.approx(0.683, abs=0.045), (name, inside)


@pytest.mark.parametrize("name", accuracy.COVERAGE)
def test_coverage_of_one_standard_error(name):
    n = 1500
    table = rows("coverage")
    converged, pulls = accuracy.coverage(name, n)
    assert [p for m, p in table if m == name] == list(pulls)
    for parameter, pull in pulls.items():
        spectra, published, inside, mean, spread = table[name, parameter]
        assert int(spectra) >= 5000 and close(converged, published, n)
        assert float(inside) == pytest.approx(68.3, abs=2) and float(spread) == pytest.approx(1, abs=0.03)
        assert close(np.mean(np.abs(pull) < 1), inside, n), parameter
        assert pull.mean() == pytest.approx(float(mean), abs=4 / np.sqrt(n)), parameter
        assert pull.std() == pytest.approx(float(spread), abs=4 / np.sqrt(2 * n)), parameter


@pytest.mark.parametrize("band", accuracy.BANDS)
@pytest.mark.parametrize("quality", accuracy.QUALITIES)
@pytest.mark.parametrize("noise", accuracy.NOISES)
def test_oscillators_in_narrow_and_wide_bands(band, quality, noise):
    n = 150
    found = accuracy.oscillators(band, quality, noise, n)
    _, converged, frequency, factor, *inside = rows("oscillators")[band, str(quality), f"{100 * noise:.0f} %"]
    assert close(found.converged, converged, n)
    for share, published in zip(found.inside.values(), inside, strict=True):
        assert close(share, published, n * found.converged)
    # of a median
    few = 4 * 1.25 / np.sqrt(n * found.converged)
    assert found.frequency_bias == pytest.approx(float(frequency), abs=few * found.frequency_scatter)
    assert 100 * found.quality_bias == pytest.approx(float(factor), abs=100 * few * found.quality_scatter)
