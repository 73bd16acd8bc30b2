"""What is done to one block of pixels: starts, the right solver, the summary. Runs on workers, so everything pickles.

May import numpy, the solver and the models; no xarray, no dask.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, fields, replace

import numpy as np

from xpycro.analysis import models
from xpycro.engine.solver import Loss, Problem, Solution, Status, solve, solve_harmonic, solve_python

__all__ = ["Task", "fit_block"]


@dataclass(frozen=True)
class Task:
    """What a block needs besides its arrays; pickles."""

    model: models.Model
    problem: Problem
    x: tuple[tuple[float, ...], ...]
    start: tuple[float, ...]
    mapped: tuple[int, ...]
    has_sigma: bool = False
    from_clusters: bool = False


def fit_block(data: np.ndarray, *others: np.ndarray, task: Task) -> tuple[np.ndarray, ...]:
    """Parameters, errors, summary and covariance of a block; the last axes of `data` are the fitted ones."""
    lead, core = data.shape[: data.ndim - task.model.ndim], data.shape[data.ndim - task.model.ndim :]
    n = int(np.prod(core))
    y = data.reshape(int(np.prod(lead)), n)
    rest = list(others)
    sigma = None
    if task.has_sigma:
        given = np.asarray(rest.pop(0), dtype=np.float64)
        sigma = given.reshape(1, n) if given.size == n else np.broadcast_to(given, data.shape).reshape(y.shape)
    start = np.array([task.start], dtype=np.float64)
    if task.mapped:
        start = np.repeat(start, len(y), axis=0)
        for j, values in zip(task.mapped, rest, strict=True):
            start[:, j] = np.broadcast_to(values, lead).ravel()
    x = np.array(task.x)
    if task.from_clusters and len(y):
        start = _cluster_starts(task, x, y, start)
    solution = _solved(task.model, task.problem, x, y, sigma, start)
    return tuple(np.asarray(a).reshape((*lead, *np.shape(a)[1:])) for a in _summary(solution, task.problem))


def _solved(
    model: models.Model, problem: Problem, x: np.ndarray, y: np.ndarray, sigma: np.ndarray | None, start: np.ndarray
) -> Solution:
    """The solver that suits the model."""
    if isinstance(model, models.PythonModel):
        return _solve_own(model, problem, x, y, sigma, start)
    if isinstance(model, models.HarmonicOscillator) and _plain(problem, model):
        return solve_harmonic(problem, x[0], y, sigma=sigma, start=start)
    if model.ndim == 2:
        begin = _image_starts(model, x, y, start)
        return _turned(
            model, problem, start, _resolved(model, problem, x, _solve_general(model, problem, x, y, sigma, begin))
        )
    return _solve_general(model, problem, x, y, sigma, start)


def _solve_own(
    model: models.PythonModel, problem: Problem, x: np.ndarray, y: np.ndarray, sigma: np.ndarray | None,
    start: np.ndarray,
) -> Solution:  # fmt: skip
    """An own function. Far from the minimum all is an outlier to a robust loss: it also starts where squares end."""
    solution = solve_python(model.user_function, problem, x[0], y, sigma=sigma, start=start)
    if problem.loss == Loss.LINEAR or not len(y):
        return solution
    plain = replace(problem, loss=Loss.LINEAR, covariance=False)
    near = solve_python(model.user_function, plain, x[0], y, sigma=sigma, start=start).parameters
    near = np.where(np.isnan(near), start, near)
    return _better(solution, solve_python(model.user_function, problem, x[0], y, sigma=sigma, start=near))


def _resolved(model: models.Model, problem: Problem, x: np.ndarray, solution: Solution) -> Solution:
    """A 2-D peak so narrow that one hot pixel is all of it has no width: flagged, also where nothing else disagrees."""
    spacing = min(float(np.min(np.diff(np.unique(places)), initial=np.inf)) for places in x)
    free = [name if not held else "" for name, held in zip(model.parameters, problem.fixed, strict=True)]
    widths = [j for j, name in enumerate(free) if name.endswith(("sigma_1", "sigma_2"))]
    narrow = converged(solution) & (solution.parameters[:, widths] < 0.2 * spacing).any(axis=1)
    solution.status[narrow] = Status.SINGULAR
    for values in (solution.parameters, solution.errors, solution.covariance):
        if len(values):
            values[narrow] = np.nan
    return solution


def _turned(model: models.Model, problem: Problem, start: np.ndarray, solution: Solution) -> Solution:
    """Of a 2-D peak's two names, which differ by a quarter turn, the one whose first axis is the longer."""
    start, defaults = np.broadcast_to(start, solution.parameters.shape), list(model.parameters.values())
    bound = {
        *problem.tied,
        *(j for j, (t, f) in enumerate(zip(problem.tied, problem.fixed, strict=True)) if f or t >= 0),
    }
    bound |= {j for j, p in enumerate(defaults) if (problem.lower[j], problem.upper[j]) != (p.lower, p.upper)}
    first = 0
    for term in model.terms:
        one, other, angle = first + 3, first + 4, first + 5
        first += len(term.own_parameters)
        if not isinstance(term, models.Gaussian2D) or bound & {one, other, angle}:
            continue
        p, free = solution.parameters, np.isnan(start[:, [one, other, angle]]).all(axis=1)
        swap = np.flatnonzero(free & (p[:, one] < p[:, other]))
        order = np.arange(p.shape[1])
        order[[one, other]] = other, one
        p[swap], solution.errors[swap] = p[swap][:, order], solution.errors[swap][:, order]
        if len(solution.covariance):
            solution.covariance[swap] = solution.covariance[swap][:, order][:, :, order]
        p[swap, angle] += np.pi / 2
        p[free, angle] = -((np.pi / 2 - p[free, angle]) % np.pi - np.pi / 2)
    return solution


def _cluster_starts(task: Task, x: np.ndarray, y: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Starts from fits of the mean spectra of clusters: less noise to find the right valley in."""
    from sklearn.cluster import KMeans

    features = np.concatenate([y.real, y.imag], axis=-1) if np.iscomplexobj(y) else y.astype(float)
    finite = np.isfinite(features).all(axis=-1)
    start = np.array(np.broadcast_to(start, (len(y), start.shape[1])))
    if finite.sum() < 2:
        return start
    features = features[finite]
    spread = features.std(axis=-1, keepdims=True)
    features = (features - features.mean(axis=-1, keepdims=True)) / np.where(spread > 0, spread, 1.0)
    count = int(np.clip(np.sqrt(len(features)), 2, 32))
    labels = KMeans(min(count, len(features)), n_init=1, random_state=0).fit_predict(features)
    pixels = np.flatnonzero(finite)
    members = [pixels[labels == k] for k in range(labels.max() + 1)]
    means = np.stack([y[m].mean(axis=0) for m in members])
    begin = np.stack([start[m[0]] for m in members])
    problem = replace(task.problem, covariance=False)
    fitted = _solved(task.model, problem, x, means, None, begin).parameters
    nonlinear = ~np.array(problem.linear)
    for m, parameters in zip(members, fitted, strict=True):
        start[m] = np.where(np.isnan(start[m]) & nonlinear, parameters, start[m])
    return start


def _image_starts(model: models.Model, x: np.ndarray, y: np.ndarray, start: np.ndarray) -> np.ndarray:
    """A 2-D peak starts at the largest deviation from the median, as wide as the area above half of it says."""
    known = np.isfinite(y)
    filled = np.where(
        known, y, np.where(known.any(axis=-1, keepdims=True), np.nan, 0.0)
    )  # an empty image has no median
    middle = np.nanmedian(filled, axis=-1, keepdims=True)
    deviation = np.where(known, y - middle, 0.0)
    top = np.argmax(np.abs(deviation), axis=-1)
    peak = np.take_along_axis(deviation, top[:, None], axis=-1)
    above = np.sum(deviation / np.where(peak == 0, 1.0, peak) > 0.5, axis=-1)
    pixel_area = np.ptp(x[0]) * np.ptp(x[1]) / max(1, x.shape[1])
    sigma = np.sqrt(np.maximum(above, 2) * pixel_area / (2 * np.pi * np.log(2.0)))
    start = np.array(np.broadcast_to(start, (len(y), start.shape[1])))
    # a start that is exactly round leaves the angle undetermined
    guess = {"center_x": x[0][top], "center_y": x[1][top], "sigma_1": 1.2 * sigma, "sigma_2": 0.85 * sigma}
    for j, name in enumerate(model.parameters):
        for own, values in guess.items():
            if name.endswith(own):
                start[:, j] = np.where(np.isnan(start[:, j]), values, start[:, j])
    return start


def _solve_general(
    model: models.Model, problem: Problem, x: np.ndarray, y: np.ndarray, sigma: np.ndarray | None, start: np.ndarray
) -> Solution:
    """The general kernel; a loss with a minimum at every outlier also starts from where a convex one ends."""
    solution = _solve_terms(model, problem, x, y, sigma, start)
    nonlinear = ~np.array(problem.linear)
    if problem.loss != Loss.CAUCHY or not len(y) or not nonlinear.any():
        return solution
    convex = replace(problem, loss=Loss.SOFT_L1, covariance=False)
    near = _solve_terms(model, convex, x, y, sigma, start).parameters
    start = np.where(np.isnan(start) & nonlinear, near, start)
    return _better(solution, _solve_terms(model, problem, x, y, sigma, start))


def _solve_terms(
    model: models.Model, problem: Problem, x: np.ndarray, y: np.ndarray, sigma: np.ndarray | None, start: np.ndarray
) -> Solution:
    """The general kernel; oscillators start from their own free fit, and their phase ends within a turn."""
    columns = {}
    begin = 0
    for term in model.terms:
        if isinstance(term, models.HarmonicOscillator):
            columns[begin] = begin + len(term.own_parameters)
        begin += len(term.own_parameters)
    if not columns:
        return _solve_in_steps(model, problem, x, y, sigma, start)
    start = np.array(np.broadcast_to(start, (len(y), start.shape[1])))
    free = solve_harmonic(replace(problem, covariance=False), x[0], y, sigma=sigma)
    solution = solve(problem, x, y, sigma=sigma, start=_oscillating(start, free, columns, x))
    failed = np.flatnonzero(~converged(solution) & np.isfinite(y).any(axis=-1))
    if len(model.terms) > 1 and failed.size:  # once more without the background, as the middle of the values shows it
        part = y[failed] - np.nanmedian(y[failed].real, axis=-1, keepdims=True)
        part = part - 1j * np.nanmedian(part.imag, axis=-1, keepdims=True)
        weight = sigma if sigma is None or len(sigma) == 1 else sigma[failed]
        again = solve_harmonic(replace(problem, covariance=False), x[0], part, sigma=weight)
        again = solve(problem, x, y[failed], sigma=weight, start=_oscillating(start[failed], again, columns, x))
        _take(solution, again, failed, converged(again))
    for first in columns:
        phase = first + 3
        if np.isinf(problem.lower[phase]) and np.isinf(problem.upper[phase]) and not problem.fixed[phase]:
            wrapped = solution.parameters[:, phase]
            wrapped[...] = -((np.pi - wrapped) % (2 * np.pi) - np.pi)
    if len(model.terms) == 1:
        conjugated = free.status == Status.CONJUGATED
        solution.status[conjugated] = Status.CONJUGATED
        solution.parameters[conjugated] = np.nan
        solution.errors[conjugated] = np.nan
    return solution


def _oscillating(start: np.ndarray, free: Solution, columns: dict[int, int], x: np.ndarray) -> np.ndarray:
    """Starts of the oscillators among the terms, where none is given, from their free fit."""
    estimate = np.where(np.isnan(free.parameters), [np.nan, x.mean(), 50.0, 0.0], free.parameters)
    start = start.copy()
    for first, end in columns.items():
        part = start[:, first + 1 : end]
        part[...] = np.where(np.isnan(part), estimate[:, 1:], part)
    return start


def _solve_in_steps(
    model: models.Model, problem: Problem, x: np.ndarray, y: np.ndarray, sigma: np.ndarray | None, start: np.ndarray
) -> Solution:
    """Terms that have a simpler form are fitted with it first; the starts that follow from it compete by their cost."""
    held, starts_of, begin = list(problem.fixed), [], 0
    simple = np.array(np.broadcast_to(start, (len(y), start.shape[1])))
    for term in model.terms:
        names = [p.name for p in term.own_parameters]
        places = {name: begin + j for j, name in enumerate(names)}
        own = {places[name]: value for name, value in term.simpler.items()}
        if own and not any(problem.fixed[j] or problem.tied[j] >= 0 or not np.isnan(start[:, j]).all() for j in own):
            for j, value in own.items():
                held[j], simple[:, j] = True, value
            starts_of.append((term, places))
        begin += len(names)
    if not starts_of or not len(y):
        return solve(problem, x, y, sigma=sigma, start=start)
    first = solve(replace(problem, fixed=tuple(held), covariance=False), x, y, sigma=sigma, start=simple).parameters
    offers = [(places, term.from_simpler({name: first[:, j] for name, j in places.items()}))
              for term, places in starts_of]  # fmt: skip
    found = []
    for attempt in range(max(len(starts) for _, starts in offers)):
        begun = np.array(np.broadcast_to(start, simple.shape))
        for places, starts in offers:
            for name, values in starts[attempt % len(starts)].items():
                column = begun[:, places[name]]
                column[...] = np.where(np.isnan(column), values, column)
        found.append(solve(problem, x, y, sigma=sigma, start=begun))
    return functools.reduce(_better, found)


def _better(one: Solution, other: Solution) -> Solution:
    """Pixel by pixel the converged one of lower cost; into the first."""
    wins = converged(other) & (~converged(one) | (other.cost < one.cost))
    _take(one, other, np.arange(len(wins)), wins)
    return one


def _take(target: Solution, source: Solution, rows: np.ndarray, wins: np.ndarray) -> None:
    """Overwrite `rows` of the target by the source's where it wins."""
    for field in fields(target):
        values = getattr(target, field.name)
        if len(values):
            values[rows[wins]] = getattr(source, field.name)[wins]


def converged(solution: Solution) -> np.ndarray:
    return np.isin(solution.status, [s for s in Status if s.converged])


def _plain(problem: Problem, model: models.Model) -> bool:
    """Whether nothing but the default bounds constrains the fit."""
    default = tuple(p.lower for p in model.parameters.values())
    unbounded = problem.lower == default and all(np.isinf(u) for u in problem.upper)
    return unbounded and not any(problem.fixed) and max(problem.tied) < 0 and problem.loss == Loss.LINEAR


def _summary(solution: Solution, problem: Problem) -> list[np.ndarray]:
    count = problem.n_fitted
    n = solution.n_points
    with np.errstate(all="ignore"):
        rms = np.sqrt(solution.sum_of_squares * problem.quadratures / n)
        if problem.loss not in (Loss.LINEAR, Loss.POISSON):  # robust losses are no likelihoods
            aic = bic = np.full(n.shape, np.nan)
        elif problem.absolute_sigma or problem.loss == Loss.POISSON:
            aic, bic = 2 * solution.cost + 2 * count, 2 * solution.cost + count * np.log(n)
        else:  # the noise is one parameter more
            likelihood = n * np.log(2 * solution.cost / n)
            aic, bic = likelihood + 2 * (count + 1), likelihood + (count + 1) * np.log(n)
    parts = [
        *solution.parameters.T,
        *solution.errors.T,
        rms,
        solution.r2,
        aic,
        bic,
        converged(solution),
        solution.status,
    ]
    parts.append(solution.iterations)
    if problem.covariance:
        parts.append(solution.covariance)
    return parts
