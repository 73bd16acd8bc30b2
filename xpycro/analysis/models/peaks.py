"""Peaks: amplitude is the height above the background, sigma a standard deviation, gamma a half width at half maximum.

May import numpy, scipy.special inside functions, and the base. Areas and full widths are static methods, to be given to
``xp.derived``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from xpycro.analysis.models.base import FWHM, SHAPES, Parameter, Shape, amplitude, center, component_of
from xpycro.engine.solver import Component, Recipe

__all__ = [
    "DoniachSunjic",
    "Fano",
    "Gaussian",
    "Gaussian2D",
    "Lorentzian",
    "PseudoVoigt",
    "SkewedGaussian",
    "SplitGaussian",
    "SplitLorentzian",
    "Voigt",
]


def _width(name: str, factor: float, description: str, lower: float = 0.0) -> Parameter:
    """A positive width that starts at `factor` times the full width at half maximum."""
    return Parameter(name, x=1, owner="amplitude", start=(Recipe.WIDTH, factor), lower=lower, description=description)


def _pure(name: str, value: float, lower: float, upper: float, description: str) -> Parameter:
    """A number without unit that starts at `value`."""
    return Parameter(name, owner="amplitude", start=(Recipe.VALUE, value), lower=lower, upper=upper, units="1",
                     description=description)  # fmt: skip


class Gaussian(Shape):
    """Gaussian peak.

    Units: amplitude that of the data, center and sigma that of the axis.

    References
    ----------
    Forbes, Evans, Hastings and Peacock, Statistical Distributions, 4th ed. (2011): the normal density, by its height.

    Examples
    --------
    >>> Gaussian(name="pi") + Gaussian()
    pi: amplitude exp(-((x - center) / sigma)^2 / 2) + gaussian: amplitude exp(-((x - center) / sigma)^2 / 2)
    """

    kind = "gaussian"
    formula = "amplitude exp(-((x - center) / sigma)^2 / 2)"
    shape = "peaks:gaussian"
    table = (amplitude(), center(), _width("sigma", 1 / FWHM, "standard deviation"))

    def function(self, x: np.ndarray, amplitude: Any, center: Any, sigma: Any) -> np.ndarray:
        return amplitude * np.exp(-0.5 * ((x - center) / sigma) ** 2)

    @staticmethod
    def area(amplitude: Any, sigma: Any) -> Any:
        """Integral over the axis."""
        return np.sqrt(2 * np.pi) * amplitude * sigma

    @staticmethod
    def full_width(sigma: Any) -> Any:
        """Full width at half maximum."""
        return FWHM * sigma


class Lorentzian(Shape):
    """Lorentzian peak.

    Units: amplitude that of the data, center and gamma that of the axis.

    References
    ----------
    Forbes, Evans, Hastings and Peacock, Statistical Distributions, 4th ed. (2011): the Cauchy density, by its height.
    """

    kind = "lorentzian"
    formula = "amplitude / (1 + ((x - center) / gamma)^2)"
    shape = "peaks:lorentzian"
    table = (amplitude(), center(), _width("gamma", 0.5, "half width at half maximum"))

    def function(self, x: np.ndarray, amplitude: Any, center: Any, gamma: Any) -> np.ndarray:
        return amplitude / (1.0 + ((x - center) / gamma) ** 2)

    @staticmethod
    def area(amplitude: Any, gamma: Any) -> Any:
        """Integral over the axis."""
        return np.pi * amplitude * gamma

    @staticmethod
    def full_width(gamma: Any) -> Any:
        """Full width at half maximum."""
        return 2 * gamma


class Voigt(Shape):
    """Voigt peak: a Lorentzian of half width gamma convolved with a Gaussian of standard deviation sigma.

    Units: amplitude (the height, not the area) that of the data; center, sigma and gamma that of the axis.

    References
    ----------
    Armstrong, J. Quant. Spectrosc. Radiat. Transf. 7, 61 (1967); full width: Olivero and Longbothum, ibid. 17, 233
    (1977), to 0.02 %.
    """

    kind = "voigt"
    formula = "amplitude Re w(z) / Re w(z0), z = (x - center + i gamma) / (sigma sqrt 2)"
    shape = "peaks:voigt"
    table = (
        amplitude(),
        center(),
        _width("sigma", 0.6 / FWHM, "standard deviation of the gaussian part"),
        _width("gamma", 0.3, "half width of the lorentzian part"),
    )

    def function(self, x: np.ndarray, amplitude: Any, center: Any, sigma: Any, gamma: Any) -> np.ndarray:
        from scipy.special import erfcx, wofz

        scale = np.sqrt(2.0) * np.asarray(sigma)
        return amplitude * wofz((x - center + 1j * np.asarray(gamma)) / scale).real / erfcx(gamma / scale)

    @staticmethod
    def area(amplitude: Any, sigma: Any, gamma: Any) -> Any:
        """Integral over the axis."""
        from scipy.special import erfcx

        return np.sqrt(2 * np.pi) * amplitude * sigma / erfcx(gamma / (np.sqrt(2.0) * sigma))

    @staticmethod
    def full_width(sigma: Any, gamma: Any) -> Any:
        """Full width at half maximum."""
        return 2 * (0.5346 * gamma + np.sqrt(0.2166 * gamma**2 + 2 * np.log(2.0) * sigma**2))


class PseudoVoigt(Shape):
    """Weighted sum of a Lorentzian and a Gaussian of one half width gamma.

    Units: amplitude that of the data, center and gamma that of the axis; fraction (of the Lorentzian) from 0 to 1.

    References
    ----------
    Thompson, Cox and Hastings, J. Appl. Crystallogr. 20, 79 (1987).
    """

    kind = "pseudo_voigt"
    formula = "amplitude (fraction / (1 + u^2) + (1 - fraction) 2^(-u^2)), u = (x - center) / gamma"
    shape = "peaks:pseudo_voigt"
    table = (
        amplitude(),
        center(),
        _width("gamma", 0.5, "half width at half maximum"),
        _pure("fraction", 0.5, 0.0, 1.0, "fraction of the lorentzian"),
    )

    def function(self, x: np.ndarray, amplitude: Any, center: Any, gamma: Any, fraction: Any) -> np.ndarray:
        u2 = ((x - center) / gamma) ** 2
        return amplitude * (fraction / (1 + u2) + (1 - np.asarray(fraction)) * np.exp2(-u2))

    @staticmethod
    def area(amplitude: Any, gamma: Any, fraction: Any) -> Any:
        """Integral over the axis."""
        return amplitude * gamma * (np.pi * fraction + np.sqrt(np.pi / np.log(2.0)) * (1 - fraction))

    @staticmethod
    def full_width(gamma: Any) -> Any:
        """Full width at half maximum."""
        return 2 * gamma


class SplitGaussian(Shape):
    """Gaussian with another standard deviation on either side of its maximum.

    Units: amplitude that of the data, center and both sigmas that of the axis.

    References
    ----------
    Wallis, Statist. Sci. 29, 106 (2014): Fechner's two-piece normal distribution.
    """

    kind = "split_gaussian"
    formula = "amplitude exp(-((x - center) / (sigma_left or sigma_right))^2 / 2)"
    shape = "peaks:split_gaussian"
    table = (
        amplitude(),
        center(),
        _width("sigma_left", 1 / FWHM, "standard deviation below the centre"),
        _width("sigma_right", 1 / FWHM, "standard deviation above the centre"),
    )

    def function(self, x: np.ndarray, amplitude: Any, center: Any, sigma_left: Any, sigma_right: Any) -> np.ndarray:
        return amplitude * np.exp(-0.5 * ((x - center) / np.where(x < center, sigma_left, sigma_right)) ** 2)

    @staticmethod
    def area(amplitude: Any, sigma_left: Any, sigma_right: Any) -> Any:
        """Integral over the axis."""
        return np.sqrt(np.pi / 2) * amplitude * (sigma_left + sigma_right)

    @staticmethod
    def full_width(sigma_left: Any, sigma_right: Any) -> Any:
        """Full width at half maximum."""
        return FWHM / 2 * (sigma_left + sigma_right)


class SplitLorentzian(Shape):
    """Lorentzian with another half width on either side of its maximum.

    Units: amplitude that of the data, center and both gammas that of the axis.
    """

    kind = "split_lorentzian"
    formula = "amplitude / (1 + ((x - center) / (gamma_left or gamma_right))^2)"
    shape = "peaks:split_lorentzian"
    table = (
        amplitude(),
        center(),
        _width("gamma_left", 0.5, "half width below the centre"),
        _width("gamma_right", 0.5, "half width above the centre"),
    )

    def function(self, x: np.ndarray, amplitude: Any, center: Any, gamma_left: Any, gamma_right: Any) -> np.ndarray:
        return amplitude / (1.0 + ((x - center) / np.where(x < center, gamma_left, gamma_right)) ** 2)

    @staticmethod
    def area(amplitude: Any, gamma_left: Any, gamma_right: Any) -> Any:
        """Integral over the axis."""
        return np.pi / 2 * amplitude * (gamma_left + gamma_right)

    @staticmethod
    def full_width(gamma_left: Any, gamma_right: Any) -> Any:
        """Full width at half maximum."""
        return gamma_left + gamma_right


class SkewedGaussian(Shape):
    """Gaussian times a cumulative normal, with a tail towards the sign of skew.

    Units: amplitude (the value at center, which is not the maximum unless skew is 0) that of the data; center and
    sigma that of the axis; skew without.

    References
    ----------
    Azzalini, Scand. J. Stat. 12, 171 (1985).
    """

    kind = "skewed_gaussian"
    formula = "amplitude exp(-u^2 / 2) (1 + erf(skew u / sqrt 2)), u = (x - center) / sigma"
    shape = "peaks:skewed_gaussian"
    table = (
        amplitude("value at the centre"),
        center(),
        _width("sigma", 1 / FWHM, "standard deviation without skew"),
        _pure("skew", 0.0, -30.0, 30.0, "skew; beyond 30 a step cannot be told from a steeper one"),
    )
    simpler: ClassVar[Mapping[str, float]] = {"skew": 0.0}

    def function(self, x: np.ndarray, amplitude: Any, center: Any, sigma: Any, skew: Any) -> np.ndarray:
        from scipy.special import erf

        u = (x - center) / sigma
        return amplitude * np.exp(-0.5 * u**2) * (1 + erf(skew * u / np.sqrt(2.0)))

    def from_simpler(self, found: Mapping[str, np.ndarray]) -> Sequence[Mapping[str, np.ndarray]]:
        """Of the mean and standard deviation of the gaussian, with a tail to either side."""
        starts = []
        for skew in (-2.0, 2.0):
            delta = skew / np.sqrt(1 + skew**2)
            sigma = found["sigma"] / np.sqrt(1 - 2 * delta**2 / np.pi)
            shifted = found["center"] - sigma * delta * np.sqrt(2 / np.pi)
            starts.append({"center": shifted, "sigma": sigma, "skew": np.full(sigma.shape, skew)})
        return starts

    @staticmethod
    def area(amplitude: Any, sigma: Any) -> Any:
        """Integral over the axis."""
        return np.sqrt(2 * np.pi) * amplitude * sigma


@dataclass(frozen=True, repr=False)
class DoniachSunjic(Shape):
    """Asymmetric core line of a metal in photoemission.

    Units: amplitude (the value at center) that of the data, center and gamma that of the axis; asymmetry without.

    Parameters
    ----------
    tail : {"low", "high"}
        Side of the tail: towards lower x on an axis of kinetic energy, higher x on one of binding energy.

    References
    ----------
    Doniach and Šunjić, J. Phys. C 3, 285 (1970).
    """

    tail: str = "low"

    kind = "doniach_sunjic"
    formula = "amplitude cos(pi a/2 + (1 - a) atan u) / cos(pi a/2) / (1 + u^2)^((1 - a)/2), u = (x - center) / gamma"
    table: ClassVar[tuple[Parameter, ...]] = (
        amplitude("value at the centre"),
        center(),
        _width("gamma", 0.5, "half width of the hole's lifetime"),
        _pure("asymmetry", 0.1, 0.0, 0.95, "asymmetry"),
    )

    def __post_init__(self) -> None:
        if self.tail not in ("low", "high"):
            raise ValueError(f"tail={self.tail!r} must be 'low' or 'high'")

    def component(self) -> Component:
        return component_of(f"{SHAPES}peaks:doniach_sunjic{'_high' if self.tail == 'high' else ''}", self.table)

    def function(self, x: np.ndarray, amplitude: Any, center: Any, gamma: Any, asymmetry: Any) -> np.ndarray:
        u = (x - center) / gamma * (1 if self.tail == "low" else -1)
        half, rest = np.pi * np.asarray(asymmetry) / 2, 1 - np.asarray(asymmetry)
        return amplitude * np.cos(half + rest * np.arctan(u)) / np.cos(half) / (1 + u**2) ** (rest / 2)


class Fano(Shape):
    """Fano resonance: a discrete state in a continuum.

    Units: amplitude (the level far from the resonance) that of the data, center and gamma that of the axis; q without.

    References
    ----------
    Fano, Phys. Rev. 124, 1866 (1961).
    """

    kind = "fano"
    formula = "amplitude (q + u)^2 / (1 + u^2), u = (x - center) / gamma"
    shape = "peaks:fano"
    table = (
        amplitude("level far from the resonance"),
        Parameter("center", x=1, owner="amplitude", description="place of the discrete state"),
        Parameter("gamma", x=1, owner="amplitude", lower=0.0, description="half width"),
        Parameter("q", owner="amplitude", units="1", description="asymmetry"),
    )

    def function(self, x: np.ndarray, amplitude: Any, center: Any, gamma: Any, q: Any) -> np.ndarray:
        u = (x - center) / gamma
        return amplitude * (q + u) ** 2 / (1 + u**2)

    def starts(self, x: np.ndarray) -> Sequence[Mapping[str, float]]:
        low, span = x.min(), np.ptp(x)
        return [
            {"q": q, "center": low + place * span, "gamma": width * span}
            for q in (-3.0, -1.0, -0.2, 0.2, 1.0, 3.0)
            for width in (0.03, 0.1)
            for place in np.linspace(0.1, 0.9, 13)
        ]


class Gaussian2D(Shape):
    """Elliptic Gaussian in an image, turned by angle: fit ``"gaussian_2d + constant"`` with ``dim=("y", "x")``.

    Units: amplitude that of the data, centres and sigmas that of the axes (which must agree); angle in rad, from the
    last dim towards the first, of the axis of sigma_1. Unless starts, bounds or ties say otherwise, sigma_1 is the
    longer one, and the angle lies between -pi/2 and pi/2.
    """

    kind = "gaussian_2d"
    formula = "amplitude exp(-((u / sigma_1)^2 + (v / sigma_2)^2) / 2), (u, v) = (x, y) - center turned by angle"
    shape = "peaks:gaussian_2d"
    ndim = 2
    table = (
        amplitude(),
        Parameter("center_x", x=1, owner="amplitude", description="centre along the last dim"),
        Parameter("center_y", x=1, owner="amplitude", description="centre along the first dim"),
        Parameter("sigma_1", x=1, owner="amplitude", lower=0.0, description="standard deviation along angle"),
        Parameter("sigma_2", x=1, owner="amplitude", lower=0.0, description="standard deviation across"),
        Parameter("angle", owner="amplitude", start=(Recipe.VALUE, 0.4), units="rad", description="angle of sigma_1"),
    )

    def function(
        self, x: np.ndarray, amplitude: Any, center_x: Any, center_y: Any, sigma_1: Any, sigma_2: Any, angle: Any
    ) -> np.ndarray:
        dx, dy = x[0] - center_x, x[1] - center_y
        c, s = np.cos(angle), np.sin(angle)
        return amplitude * np.exp(-0.5 * (((c * dx + s * dy) / sigma_1) ** 2 + ((c * dy - s * dx) / sigma_2) ** 2))
