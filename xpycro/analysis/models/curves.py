"""Backgrounds, steps, decays and the harmonic oscillator.

May import numpy, scipy.special inside functions, and the base.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from xpycro.analysis.models.base import SHAPES, Parameter, Shape, amplitude, component_of
from xpycro.engine.solver import Component, Recipe

__all__ = [
    "ArctanStep",
    "ComplexConstant",
    "Constant",
    "DoubleExponential",
    "ErfStep",
    "Exponential",
    "FermiEdge",
    "HarmonicAmplitude",
    "HarmonicOscillator",
    "Linear",
    "Logistic",
    "Polynomial",
    "PowerLaw",
    "StretchedExponential",
]


class Constant(Shape):
    """A constant background, in the unit of the data; of images, too (``"gaussian_2d + constant"``)."""

    kind = "constant"
    formula = "offset"
    shape = "curves:constant"
    background = True
    anywhere = True
    table = (Parameter("offset", y=1, description="constant background"),)

    def function(self, x: np.ndarray, offset: Any) -> np.ndarray:
        return offset + 0.0 * x


class ComplexConstant(Shape):
    """A constant background of complex data (crosstalk), in their unit."""

    kind = "complex_constant"
    formula = "offset_real + i offset_imag"
    shape = "curves:complex_constant"
    background = True
    is_complex = True
    table = (
        Parameter("offset_real", y=1, description="real part of the background"),
        Parameter("offset_imag", y=1, description="imaginary part of the background"),
    )

    def function(self, x: np.ndarray, offset_real: Any, offset_imag: Any) -> np.ndarray:
        return offset_real + 1j * np.asarray(offset_imag) + 0.0 * x


class Linear(Shape):
    """A straight line; intercept (the value at x = 0) in the data's unit, slope in that per unit of the axis."""

    kind = "linear"
    formula = "intercept + slope x"
    shape = "curves:linear"
    background = True
    table = (
        Parameter("intercept", y=1, description="value at zero"),
        Parameter("slope", x=-1, y=1, description="slope"),
    )

    def function(self, x: np.ndarray, intercept: Any, slope: Any) -> np.ndarray:
        return intercept + slope * x


@dataclass(frozen=True, repr=False)
class Polynomial(Shape):
    """Powers of x; c0, c1, ... in the data's unit per power of the axis' unit.

    Parameters
    ----------
    degree : int
        1 to 9. Powers about x = 0 are nearly dependent where the axis is far from it: beyond degree 4 shift the axis.

    Examples
    --------
    >>> Polynomial(degree=3)
    Polynomial(degree=3): c0 + c1 x + ... + c3 x^3
    """

    degree: int = 2

    kind = "polynomial"
    background = True

    def __post_init__(self) -> None:
        if not 1 <= self.degree <= 9:
            raise ValueError(f"degree={self.degree} must be from 1 to 9")

    @property
    def formula(self) -> str:  # type: ignore[override]
        return f"c0 + c1 x + ... + c{self.degree} x^{self.degree}"

    @property
    def own_parameters(self) -> tuple[Parameter, ...]:
        return tuple(
            Parameter(f"c{k}", x=-k, y=1, description=f"coefficient of power {k}") for k in range(self.degree + 1)
        )

    def component(self) -> Component:
        name = "linear" if self.degree == 1 else f"polynomial{self.degree}"
        return component_of(f"{SHAPES}curves:{name}", self.own_parameters, background=True)

    def function(self, x: np.ndarray, *coefficients: Any) -> np.ndarray:
        total: Any = 0.0
        for c in reversed(coefficients):
            total = total * x + c
        return total


class PowerLaw(Shape):
    """Power law, the background of an energy-loss edge; x must be positive.

    Units: amplitude, the value extrapolated to x = 1, that of the data; exponent without.

    References
    ----------
    Egerton, Electron Energy-Loss Spectroscopy in the Electron Microscope, 3rd ed. (2011), section 4.4.
    """

    kind = "power_law"
    formula = "amplitude x^-exponent"
    shape = "curves:power_law"
    background = True
    table = (amplitude("value at x = 1"), Parameter("exponent", owner="amplitude", units="1", description="exponent"))

    def function(self, x: np.ndarray, amplitude: Any, exponent: Any) -> np.ndarray:
        return amplitude * x ** (-np.asarray(exponent, dtype=float))

    def starts(self, x: np.ndarray) -> Sequence[Mapping[str, float]]:
        return [{"exponent": value} for value in (0.5, 1.5, 2.5, 3.5, 5.0)]

    def check_axis(self, x: np.ndarray) -> None:
        if x.size and not x.min() > 0:
            raise ValueError(f"a power law needs a positive axis, this one starts at {x.min():g}: pass window=")


class Exponential(Shape):
    """Exponential decay (with tau > 0); add a `Constant` for its end level.

    Units: amplitude, the value at x = 0, that of the data; tau that of the axis.
    """

    kind = "exponential"
    formula = "amplitude exp(-x / tau)"
    shape = "curves:exponential"
    table = (
        amplitude("value at zero"),
        Parameter("tau", x=1, owner="amplitude", lower=0.0, description="decay constant"),
    )

    def function(self, x: np.ndarray, amplitude: Any, tau: Any) -> np.ndarray:
        return amplitude * np.exp(-x / tau)

    def starts(self, x: np.ndarray) -> Sequence[Mapping[str, float]]:
        return [{"tau": value} for value in np.ptp(x) * np.geomspace(0.02, 3.0, 9)]


class DoubleExponential(Shape):
    """Two exponential decays, the fast one first.

    Units: amplitudes, values at x = 0, that of the data; both taus that of the axis.
    """

    kind = "double_exponential"
    formula = "amplitude_fast exp(-x / tau_fast) + amplitude_slow exp(-x / tau_slow)"
    shape = "curves:double_exponential"
    table = (
        Parameter("amplitude_fast", y=1, description="value of the fast decay at zero"),
        Parameter("tau_fast", x=1, owner="amplitude_fast", lower=0.0, description="fast decay constant"),
        Parameter("amplitude_slow", y=1, description="value of the slow decay at zero"),
        Parameter("tau_slow", x=1, owner="amplitude_slow", lower=0.0, description="slow decay constant"),
    )

    def function(
        self, x: np.ndarray, amplitude_fast: Any, tau_fast: Any, amplitude_slow: Any, tau_slow: Any
    ) -> np.ndarray:
        return amplitude_fast * np.exp(-x / tau_fast) + amplitude_slow * np.exp(-x / tau_slow)

    def starts(self, x: np.ndarray) -> Sequence[Mapping[str, float]]:
        taus = np.ptp(x) * np.geomspace(0.02, 3.0, 8)
        return [{"tau_fast": f, "tau_slow": s} for k, s in enumerate(taus) for f in taus[:k]]


class StretchedExponential(Shape):
    """Stretched exponential (Kohlrausch) relaxation; x must not be negative.

    Units: amplitude, the value at x = 0, that of the data; tau that of the axis; beta from 0.05 to 3.

    References
    ----------
    Williams and Watts, Trans. Faraday Soc. 66, 80 (1970).
    """

    kind = "stretched_exponential"
    formula = "amplitude exp(-(x / tau)^beta)"
    shape = "curves:stretched_exponential"
    table = (
        amplitude("value at zero"),
        Parameter("tau", x=1, owner="amplitude", lower=0.0, description="decay constant"),
        Parameter("beta", owner="amplitude", lower=0.05, upper=3.0, units="1", description="stretching exponent"),
    )

    def function(self, x: np.ndarray, amplitude: Any, tau: Any, beta: Any) -> np.ndarray:
        return amplitude * np.exp(-((x / tau) ** np.asarray(beta, dtype=float)))

    def starts(self, x: np.ndarray) -> Sequence[Mapping[str, float]]:
        return [{"tau": t, "beta": b} for t in np.ptp(x) * np.geomspace(0.02, 2.0, 7) for b in (0.4, 0.7, 1.2)]

    def check_axis(self, x: np.ndarray) -> None:
        if x.size and x.min() < 0:
            raise ValueError(f"a stretched exponential needs an axis from zero on, this one starts at {x.min():g}")


def _edge(name: str, description: str) -> tuple[Parameter, ...]:
    return (
        amplitude("height of the step"),
        Parameter("center", x=1, owner="amplitude", description="place of half the height"),
        Parameter(name, x=1, owner="amplitude", lower=0.0, description=description),
    )


def _edge_starts(x: np.ndarray, name: str) -> list[dict[str, float]]:
    low, span = x.min(), np.ptp(x)
    return [{"center": low + p * span, name: w * span} for w in (0.01, 0.05) for p in np.linspace(0.04, 0.96, 17)]


class ArctanStep(Shape):
    """Step of an arctangent, the continuum onset of an absorption edge.

    Units: amplitude that of the data, center and gamma (half width of its derivative) that of the axis.
    """

    kind = "arctan_step"
    formula = "amplitude (1/2 + atan((x - center) / gamma) / pi)"
    shape = "curves:arctan_step"
    table = _edge("gamma", "half width of the derivative")

    def function(self, x: np.ndarray, amplitude: Any, center: Any, gamma: Any) -> np.ndarray:
        return amplitude * (0.5 + np.arctan((x - center) / gamma) / np.pi)

    def starts(self, x: np.ndarray) -> Sequence[Mapping[str, float]]:
        return _edge_starts(x, "gamma")


class ErfStep(Shape):
    """Step of an error function, an edge blurred by a Gaussian.

    Units: amplitude that of the data, center and sigma (of the Gaussian) that of the axis.
    """

    kind = "erf_step"
    formula = "amplitude (1 + erf((x - center) / (sigma sqrt 2))) / 2"
    shape = "curves:erf_step"
    table = _edge("sigma", "standard deviation of the derivative")

    def function(self, x: np.ndarray, amplitude: Any, center: Any, sigma: Any) -> np.ndarray:
        from scipy.special import erf

        return amplitude * 0.5 * (1 + erf((x - center) / (np.sqrt(2.0) * np.asarray(sigma))))

    def starts(self, x: np.ndarray) -> Sequence[Mapping[str, float]]:
        return _edge_starts(x, "sigma")


class Logistic(Shape):
    """Logistic step, rising for a positive amplitude.

    Units: amplitude that of the data, center and width that of the axis.
    """

    kind = "logistic"
    formula = "amplitude / (1 + exp(-(x - center) / width))"
    shape = "curves:logistic"
    table = _edge("width", "width")

    def function(self, x: np.ndarray, amplitude: Any, center: Any, width: Any) -> np.ndarray:
        from scipy.special import expit

        return amplitude * expit((x - center) / width)

    def starts(self, x: np.ndarray) -> Sequence[Mapping[str, float]]:
        return _edge_starts(x, "width")


class FermiEdge(Shape):
    """Fermi edge: occupied below center.

    Units: amplitude that of the data, center and width (k_B T) that of the axis.
    """

    kind = "fermi_edge"
    formula = "amplitude / (1 + exp((x - center) / width))"
    shape = "curves:fermi_edge"
    table = _edge("width", "thermal energy k_B T")

    def function(self, x: np.ndarray, amplitude: Any, center: Any, width: Any) -> np.ndarray:
        from scipy.special import expit

        return amplitude * expit(-(x - center) / np.asarray(width))

    def starts(self, x: np.ndarray) -> Sequence[Mapping[str, float]]:
        return _edge_starts(x, "width")


class HarmonicOscillator(Shape):
    """Complex response of a driven, damped simple harmonic oscillator to a force of constant amplitude.

    ``H(f) = A e^{i phase} f0^2 / (f^2 - i f f0 / Q - f0^2)`` with A >= 0 and Q > 0: of time dependence e^{+i w t}, the
    sign of A chosen so that far below resonance H = -A e^{i phase}. At resonance H = i A Q e^{i phase}: the height of
    the peak is A Q and its phase is phase + pi/2. Data recorded with the opposite convention are flagged in `status`
    (``data_follow_the_conjugate_convention``), never conjugated silently: fit ``data.conj()`` then.

    Units: amplitude that of the data, resonance_frequency that of the axis, phase in rad, quality_factor without.

    References
    ----------
    Jesse and Kalinin, J. Phys. D 44, 464006 (2011).
    """

    kind = "sho"
    formula = "amplitude e^{i phase} f0^2 / (x^2 - i x f0 / Q - f0^2)"
    shape = "curves:sho"
    is_complex = True
    table = (
        Parameter("amplitude", y=1, lower=0.0, description="static amplitude"),
        Parameter("resonance_frequency", x=1, owner="amplitude", lower=0.0, description="resonance frequency"),
        Parameter("quality_factor", owner="amplitude", lower=0.0, units="1", description="quality factor"),
        Parameter("phase", owner="amplitude", units="rad", description="phase"),
    )

    def function(
        self, x: np.ndarray, amplitude: Any, resonance_frequency: Any, quality_factor: Any, phase: Any
    ) -> np.ndarray:
        u = x / resonance_frequency
        return amplitude * np.exp(1j * np.asarray(phase)) / (u * u - 1.0 - 1j * u / quality_factor)

    @staticmethod
    def peak_amplitude(amplitude: Any, quality_factor: Any) -> Any:
        """Magnitude at resonance."""
        return amplitude * quality_factor


class HarmonicAmplitude(Shape):
    """Magnitude of a driven, damped simple harmonic oscillator, where no phase was recorded.

    Units: amplitude (static) that of the data, resonance_frequency that of the axis, quality_factor without.
    """

    kind = "sho_amplitude"
    formula = "amplitude / sqrt((1 - u^2)^2 + (u / Q)^2), u = x / f0"
    shape = "curves:sho_amplitude"
    table = (
        Parameter("amplitude", y=1, lower=0.0, description="static amplitude"),
        Parameter("resonance_frequency", x=1, owner="amplitude", start=(Recipe.CENTER, 0.0), lower=0.0,
                  description="resonance frequency"),
        Parameter("quality_factor", owner="amplitude", lower=0.0, units="1", description="quality factor"),
    )  # fmt: skip

    def function(self, x: np.ndarray, amplitude: Any, resonance_frequency: Any, quality_factor: Any) -> np.ndarray:
        u2 = (x / resonance_frequency) ** 2
        return amplitude / np.sqrt((1 - u2) ** 2 + u2 / np.asarray(quality_factor) ** 2)

    def starts(self, x: np.ndarray) -> Sequence[Mapping[str, float]]:
        return [{"quality_factor": value} for value in (2.0, 8.0, 30.0, 80.0, 200.0, 500.0, 2000.0)]
