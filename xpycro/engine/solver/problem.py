"""What is to be solved, as plain data that pickles: components, parameters, bounds, losses, status codes.

May import the standard library and numpy only; nothing compiled, nothing labelled.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np

__all__ = ["LEAST", "Component", "Kind", "Loss", "Problem", "Recipe", "Solution", "Status"]


class Kind(IntEnum):
    """What the solver does with a parameter."""

    FIXED = 0
    PROJECTED = 1  # linear, eliminated by variable projection
    FREE = 2
    TIED = 3


class Loss(IntEnum):
    """What is summed over the channels."""

    LINEAR = 0
    SOFT_L1 = 1
    HUBER = 2
    CAUCHY = 3
    POISSON = 4


LEAST = 1e-3  # of the curvature of a robust loss that a residual keeps, in parts of its slope


class Recipe(IntEnum):
    """How a nonlinear parameter starts: from a number, the place of a peak, or its full width at half maximum."""

    VALUE = 0
    CENTER = 1
    WIDTH = 2


class Status(IntEnum):
    """How the fit of a pixel ended."""

    MAX_ITERATIONS = 0
    COST = 1
    STEP = 2
    NO_DATA = 3
    TOO_FEW = 4
    CONSTANT = 5
    NOT_FINITE = 6
    SINGULAR = 7
    NO_SIGNAL = 8
    CONJUGATED = 9

    @property
    def meaning(self) -> str:
        """One word for the flag."""
        return _MEANINGS[self]

    @property
    def converged(self) -> bool:
        return self in (Status.COST, Status.STEP)


_MEANINGS = {
    Status.MAX_ITERATIONS: "maximum_iterations_reached",
    Status.COST: "converged_in_cost",
    Status.STEP: "converged_in_parameters",
    Status.NO_DATA: "no_finite_data",
    Status.TOO_FEW: "fewer_points_than_parameters",
    Status.CONSTANT: "constant_data",
    Status.NOT_FINITE: "model_not_finite_or_no_descent",
    Status.SINGULAR: "parameters_not_determined_by_the_data",
    Status.NO_SIGNAL: "indistinguishable_from_background",
    Status.CONJUGATED: "data_follow_the_conjugate_convention",
}


@dataclass(frozen=True)
class Component:
    """One term of a sum.

    Attributes
    ----------
    shape : str or callable
        ``"module:function"`` of a function to be compiled with the kernel's C signature, or the function itself.
    linear : tuple of bool
        Which parameters multiply a basis function.
    owner : tuple of int
        For each nonlinear parameter the linear one that multiplies its row; -1: coefficient one.
    unit : bool
        Whether a last row with coefficient one follows those of the parameters.
    background : bool
        Whether all of it counts as background.
    start : tuple of (Recipe, float)
        For each parameter.
    """

    shape: str | Callable[..., None]
    linear: tuple[bool, ...]
    owner: tuple[int, ...]
    start: tuple[tuple[Recipe, float], ...]
    unit: bool = False
    background: bool = False

    @property
    def is_peak(self) -> bool:
        return any(recipe == Recipe.CENTER for recipe, _ in self.start)


@dataclass(frozen=True)
class Problem:
    """A sum of components with what is known about its parameters.

    Attributes
    ----------
    components : tuple of Component
    lower, upper : tuple of float
    fixed : tuple of bool
        Their values come with the start.
    tied : tuple of int
        Index of the parameter that each one follows, or -1.
    quadratures : int
        2 where data and rows are real parts followed by imaginary parts.
    candidates : tuple of tuple of float
        Starts to be tried for nonlinear parameters; NaN where one says nothing.
    """

    components: tuple[Component, ...]
    lower: tuple[float, ...]
    upper: tuple[float, ...]
    fixed: tuple[bool, ...]
    tied: tuple[int, ...]
    quadratures: int = 1
    ndim: int = 1
    loss: Loss = Loss.LINEAR
    absolute_sigma: bool = False
    covariance: bool = False
    max_iterations: int = 100
    tolerance: float = 1e-10
    candidates: tuple[tuple[float, ...], ...] = ()

    @property
    def linear(self) -> tuple[bool, ...]:
        return tuple(flag for c in self.components for flag in c.linear)

    @property
    def n_fitted(self) -> int:
        return sum(not f and t < 0 for f, t in zip(self.fixed, self.tied, strict=True))

    def kinds(self) -> np.ndarray:
        """The `Kind` of each parameter: linear ones are projected where loss and ties allow it."""
        linear = self.linear
        followed = {t for t in self.tied if t >= 0}
        projectable = self.loss == Loss.LINEAR and not any(
            linear[j] for j, t in enumerate(self.tied) if t >= 0 or j in followed
        )
        kinds = []
        for j, is_linear in enumerate(linear):
            if self.tied[j] >= 0:
                kinds.append(Kind.TIED)
            elif self.fixed[j]:
                kinds.append(Kind.FIXED)
            else:
                kinds.append(Kind.PROJECTED if projectable and is_linear else Kind.FREE)
        return np.array(kinds, dtype=np.int64)


@dataclass(frozen=True)
class Solution:
    """What a solver gives back, pixels first.

    Attributes
    ----------
    parameters, errors : ndarray, shape (pixel, parameter)
    covariance : ndarray, shape (pixel, parameter, parameter) or (0, parameter, parameter)
    cost : ndarray
        Half the sum of the loss; half the deviance for ``poisson``.
    sum_of_squares : ndarray
        Of the residuals, without weights.
    r2 : ndarray
    n_points : ndarray
        Real numbers used.
    status, iterations : ndarray
    """

    parameters: np.ndarray
    errors: np.ndarray
    covariance: np.ndarray
    cost: np.ndarray
    sum_of_squares: np.ndarray
    r2: np.ndarray
    n_points: np.ndarray
    status: np.ndarray
    iterations: np.ndarray

    @classmethod
    def empty(cls, n_pixels: int, n_parameters: int, covariance: bool) -> Solution:
        """Room for `n_pixels`, NaN where nothing is written yet."""

        def nan(*shape: int) -> Any:
            return np.full(shape, np.nan)

        return cls(
            nan(n_pixels, n_parameters),
            nan(n_pixels, n_parameters),
            nan(n_pixels if covariance else 0, n_parameters, n_parameters),
            nan(n_pixels),
            nan(n_pixels),
            nan(n_pixels),
            nan(n_pixels),
            np.zeros(n_pixels, np.uint8),
            np.zeros(n_pixels, np.int32),
        )
