"""Peaks alike are numbered by their places, with all that belongs to them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.engine.test_solver import problem_of
from xpycro.analysis import models
from xpycro.engine.solver import solve

X = np.linspace(0, 10, 128)


@pytest.fixture(scope="module")
def spectra():
    """Three gaussians well apart whose heights change places from pixel to pixel, and their truth."""
    rng = np.random.default_rng(3)
    columns = []
    for place in (2.0, 5.0, 8.0):
        columns += [rng.uniform(2, 20, 200), place + rng.uniform(-0.5, 0.5, 200), rng.uniform(0.3, 0.6, 200)]
    truth = np.stack([*columns, rng.uniform(-1, 1, 200), rng.uniform(-0.1, 0.1, 200)], axis=-1)
    model = models.parse("gaussian + gaussian + gaussian + linear")
    y = model.evaluate(X, *(truth[:, j, None] for j in range(11))) + 0.1 * rng.normal(size=(200, 128))
    return replace(problem_of(model), absolute_sigma=True, covariance=True), truth, y


def test_the_same_peak_has_the_same_name_everywhere(spectra):
    problem, truth, y = spectra
    found = solve(problem, X, y, sigma=np.full(128, 0.1))
    pulls = (found.parameters - truth) / found.errors
    assert np.abs(pulls).max() < 6  # a peak under another's name would be thousands off
    np.testing.assert_allclose(np.diagonal(found.covariance, axis1=1, axis2=2), found.errors**2, rtol=1e-12)


def test_all_that_belongs_to_a_peak_moves_with_it(spectra):
    """From starts in another order the same minimum lies, in that order."""
    problem, truth, y = spectra
    turned = [6, 7, 8, 0, 1, 2, 3, 4, 5, 9, 10]
    free = solve(problem, X, y)
    told = solve(problem, X, y, start=truth[:, turned])
    assert (np.diff(told.parameters[:, [1, 4, 7]]) < 0).any(axis=1).all()  # what a start tells is not exchanged
    np.testing.assert_allclose(free.parameters[:, turned], told.parameters, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(free.errors[:, turned], told.errors, rtol=1e-3)
    difference = free.covariance[:, turned][:, :, turned] - told.covariance
    assert np.abs(difference / (told.errors[:, :, None] * told.errors[:, None, :])).max() < 1e-3


def test_bounds_tell_peaks_apart(spectra):
    problem, truth, y = spectra
    lower, upper = list(problem.lower), list(problem.upper)
    lower[1], upper[4] = 6.5, 3.5  # the first peak is to be the right one, the second the left one
    found = solve(replace(problem, lower=tuple(lower), upper=tuple(upper)), X, y, sigma=np.full(128, 0.1))
    pulls = (found.parameters - truth[:, [6, 7, 8, 0, 1, 2, 3, 4, 5, 9, 10]]) / found.errors
    assert (np.abs(pulls).max(axis=1) < 6).mean() > 0.99


def test_a_start_tells_one_peak_and_the_others_are_found_beside_it(spectra):
    problem, truth, y = spectra
    start = np.full(11, np.nan)
    start[4] = 8.0
    found = solve(problem, X, y, sigma=np.full(128, 0.1), start=start)
    pulls = (found.parameters - truth[:, [0, 1, 2, 6, 7, 8, 3, 4, 5, 9, 10]]) / found.errors
    assert (np.abs(pulls).max(axis=1) < 6).mean() >= 0.98  # a start binds less than bounds do
