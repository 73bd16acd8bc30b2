"""Peaks alike get their numbers by their places, so that a name means the same peak in every pixel.

May import numpy and this folder's problem.
"""

from __future__ import annotations

import numpy as np

from xpycro.engine.solver.problem import Component, Problem, Recipe, Solution

__all__ = ["in_order"]


def in_order(problem: Problem, start: np.ndarray, solution: Solution) -> Solution:
    """Exchange peaks alike, so that they stand in the order of their centers; in place.

    A sum does not know the order of its terms: from starts of its own a fit may find the left peak as the second one in
    this pixel and as the first in the next. Peaks that something tells apart (another shape, bounds, ties, a value that
    is fixed) keep their names, and so do all peaks alike where a pixel's start was given for one of them.
    """
    for places, center in _alike(problem):
        told = np.isfinite(start[:, places.ravel()]).any(axis=1)
        order = np.argsort(solution.parameters[:, places[:, center]], axis=1, kind="stable")
        moved = np.flatnonzero((order != np.arange(len(places))).any(axis=1) & ~told)
        if not moved.size:
            continue
        taken = np.tile(np.arange(len(problem.linear)), (moved.size, 1))
        taken[:, places.ravel()] = places[order[moved]].reshape(moved.size, -1)
        for values in (solution.parameters, solution.errors):
            values[moved] = np.take_along_axis(values[moved], taken, axis=1)
        if problem.covariance:
            rows = np.take_along_axis(solution.covariance[moved], taken[:, :, None], axis=1)
            solution.covariance[moved] = np.take_along_axis(rows, taken[:, None, :], axis=2)
    return solution


def _alike(problem: Problem) -> list[tuple[np.ndarray, int]]:
    """Of each set of peaks that nothing tells apart, the places of their parameters and which of them is the center."""
    sets: dict[tuple[Component, tuple[tuple[float, float], ...]], list[np.ndarray]] = {}
    followed, first = set(problem.tied), 0
    for component in problem.components:
        places = np.arange(first, first + len(component.linear))
        first += len(places)
        held = any(problem.fixed[j] or problem.tied[j] >= 0 or j in followed for j in places)
        if component.is_peak and not held:
            bounds = tuple((problem.lower[j], problem.upper[j]) for j in places)
            sets.setdefault((component, bounds), []).append(places)
    return [
        (np.stack(places), [recipe for recipe, _ in component.start].index(Recipe.CENTER))
        for (component, _), places in sets.items()
        if len(places) > 1
    ]
