"""The filters themselves: values that compose with ``&`` and give a factor for each frequency.

May import numpy, scipy (inside functions) and engine's axes; knows nothing of arrays of data.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from xpycro.engine.axes import Axis
from xpycro.engine.fourier import reciprocal_units

__all__ = ["BandPass", "Composite", "Filter", "HarmonicPass", "HighPass", "LowPass", "NoiseBand", "response_on"]


@dataclass(frozen=True)
class Filter:
    """A factor for each frequency; filters are multiplied with ``&``."""

    def __and__(self, other: Filter) -> Composite:
        if not isinstance(other, Filter):
            return NotImplemented
        return Composite((*_parts(self), *_parts(other)))

    def response(self, frequency: np.ndarray, rate: float) -> np.ndarray:
        """The factor at each frequency, negative ones included.

        Parameters
        ----------
        frequency : ndarray
            In the reciprocal unit of the axis.
        rate : float
            Samples per unit of the axis.

        Returns
        -------
        ndarray
            Between 0 and 1, symmetric in the frequency.
        """
        raise NotImplementedError

    def edges(self) -> tuple[float, ...]:
        """The frequencies that define it; each must lie below half the sampling rate."""
        raise NotImplementedError

    def describe(self) -> dict[str, Any]:
        """Name and parameters, for the history."""
        return {"$filter": type(self).__name__, **asdict(self)}


def _parts(item: Filter) -> tuple[Filter, ...]:
    return item.filters if isinstance(item, Composite) else (item,)


def _positive(owner: str, **values: float) -> None:
    for name, value in values.items():
        if not (np.isfinite(value) and value > 0):
            raise ValueError(f"{owner}: {name}={value} must be a positive frequency")


@dataclass(frozen=True)
class Composite(Filter):
    """The product of filters; made by ``&``."""

    filters: tuple[Filter, ...]

    def response(self, frequency: np.ndarray, rate: float) -> np.ndarray:
        return np.prod([item.response(frequency, rate) for item in self.filters], axis=0)

    def edges(self) -> tuple[float, ...]:
        return tuple(edge for item in self.filters for edge in item.edges())

    def describe(self) -> dict[str, Any]:
        return {"$filter": "Composite", "filters": [item.describe() for item in self.filters]}


@dataclass(frozen=True)
class LowPass(Filter):
    """One up to the cut-off, falling to zero as an error function just below it.

    Parameters
    ----------
    cutoff : float
        From here on nothing passes.
    roll_off : float
        Part of the cut-off over which it falls, ``(1 + erf(t)) / 2`` with t from 2.5 to -2.5; 0 is a step.

    Examples
    --------
    >>> LowPass(100.0).response(np.array([0.0, 90.0, 97.5, 100.1]), 1000.0)
    array([1. , 1. , 0.5, 0. ])
    """

    cutoff: float
    roll_off: float = 0.05

    def __post_init__(self) -> None:
        _positive("LowPass", cutoff=self.cutoff)
        if not 0 <= self.roll_off <= 1:
            raise ValueError(f"LowPass: roll_off={self.roll_off} is the part of the cut-off, between 0 and 1")

    def response(self, frequency: np.ndarray, rate: float) -> np.ndarray:
        from scipy.special import erf

        size = np.abs(frequency)
        if self.roll_off == 0:
            return (size <= self.cutoff).astype(float)
        fall = (size - self.cutoff * (1 - self.roll_off)) / (self.cutoff * self.roll_off)
        inside = 0.5 * (1 + erf(2.5 - 5 * np.clip(fall, 0, 1)))
        return np.where(fall <= 0, 1.0, np.where(fall >= 1, 0.0, inside))

    def edges(self) -> tuple[float, ...]:
        return (self.cutoff,)


@dataclass(frozen=True)
class HighPass(Filter):
    """One minus the `LowPass` of the same parameters: nothing passes below the roll-off, all from the cut-off on.

    Examples
    --------
    >>> HighPass(100.0).response(np.array([0.0, 97.5, 100.1]), 1000.0)
    array([0. , 0.5, 1. ])
    """

    cutoff: float
    roll_off: float = 0.05

    def __post_init__(self) -> None:
        LowPass(self.cutoff, self.roll_off)

    def response(self, frequency: np.ndarray, rate: float) -> np.ndarray:
        return 1.0 - LowPass(self.cutoff, self.roll_off).response(frequency, rate)

    def edges(self) -> tuple[float, ...]:
        return (self.cutoff,)


@dataclass(frozen=True)
class BandPass(Filter):
    """Only a band around plus and minus a frequency.

    Parameters
    ----------
    center, width : float
    taps : int, optional
        Shape it as the magnitude of a finite impulse response of this many samples (odd) with a Blackman window; None
        is a box.

    Examples
    --------
    >>> BandPass(100.0, 20.0).response(np.array([-95.0, 0.0, 105.0, 111.0]), 1000.0)
    array([1., 0., 1., 0.])
    """

    center: float
    width: float
    taps: int | None = None

    def __post_init__(self) -> None:
        _positive("BandPass", center=self.center, width=self.width)
        if self.width >= 2 * self.center:
            raise ValueError(f"BandPass: width={self.width} reaches zero frequency; use LowPass")
        if self.taps is not None and (self.taps < 3 or self.taps % 2 == 0):
            raise ValueError(f"BandPass: taps={self.taps} must be odd and at least 3")

    def response(self, frequency: np.ndarray, rate: float) -> np.ndarray:
        low, high = self.edges()
        size = np.abs(frequency)
        if self.taps is None:
            return ((size >= low) & (size <= high)).astype(float)
        from scipy import signal

        kernel = signal.firwin(self.taps, [low, high], pass_zero=False, window="blackman", fs=rate)
        return np.abs(signal.freqz(kernel, worN=np.minimum(size, rate / 2), fs=rate, include_nyquist=True)[1])

    def edges(self) -> tuple[float, ...]:
        return (self.center - self.width / 2, self.center + self.width / 2)


@dataclass(frozen=True)
class NoiseBand(Filter):
    """Nothing within bands around plus and minus some frequencies, such as the mains and its harmonics.

    Parameters
    ----------
    frequencies : sequence of float
    widths : float or sequence of float
        Full widths, one for all or one each.

    Examples
    --------
    >>> NoiseBand([50.0, 150.0], 4.0).response(np.array([47.0, 49.0, -151.0, 153.0]), 1000.0)
    array([1., 0., 0., 1.])
    """

    frequencies: Sequence[float]
    widths: float | Sequence[float]

    def __post_init__(self) -> None:
        centres = tuple(float(f) for f in np.atleast_1d(self.frequencies))
        widths = np.atleast_1d(np.asarray(self.widths, dtype=float))
        if widths.size not in (1, len(centres)):
            raise ValueError(f"NoiseBand: {widths.size} widths for {len(centres)} frequencies")
        if not centres or not all(f >= 0 and np.isfinite(f) for f in centres):
            raise ValueError(f"NoiseBand: frequencies={self.frequencies} must be some, finite, zero or positive")
        _positive("NoiseBand", width=float(widths.min()))
        object.__setattr__(self, "frequencies", centres)
        object.__setattr__(self, "widths", tuple(float(w) for w in np.broadcast_to(widths, len(centres))))

    def response(self, frequency: np.ndarray, rate: float) -> np.ndarray:
        size = np.abs(frequency)
        keep = np.ones(size.shape)
        for centre, width in zip(self.frequencies, self.widths, strict=True):  # type: ignore[arg-type]
            keep[np.abs(size - centre) <= width / 2] = 0.0
        return keep

    def edges(self) -> tuple[float, ...]:
        return tuple(self.frequencies)


@dataclass(frozen=True)
class HarmonicPass(Filter):
    """Only bands around the first harmonics of a frequency; zero frequency does not pass.

    Parameters
    ----------
    frequency : float
        The first harmonic.
    width : float
        Full width of each band.
    count : int
        How many harmonics; those beyond half the sampling rate do not matter.

    Examples
    --------
    >>> HarmonicPass(100.0, 10.0, 2).response(np.array([0.0, 96.0, 200.0, 300.0]), 1000.0)
    array([0., 1., 1., 0.])
    """

    frequency: float
    width: float
    count: int

    def __post_init__(self) -> None:
        _positive("HarmonicPass", frequency=self.frequency, width=self.width)
        if self.count < 1:
            raise ValueError(f"HarmonicPass: count={self.count} must be at least 1")
        if self.width >= self.frequency:
            raise ValueError(f"HarmonicPass: bands of width={self.width} around multiples of {self.frequency} overlap")

    def response(self, frequency: np.ndarray, rate: float) -> np.ndarray:
        size = np.abs(frequency)
        order = np.round(size / self.frequency)
        near = np.abs(size - order * self.frequency) <= self.width / 2
        return (near & (order >= 1) & (order <= self.count)).astype(float)

    def edges(self) -> tuple[float, ...]:
        return (self.frequency,)


def response_on(chosen: Filter, axis: Axis, frequency: np.ndarray) -> np.ndarray:
    """The filter on the frequencies of an axis, after checking that it has something to do there."""
    if not isinstance(chosen, Filter):
        names = ["LowPass", "HighPass", "BandPass", "NoiseBand", "HarmonicPass"]
        raise TypeError(f"filter={chosen!r} is no filter: compose {names} with &")
    rate = 1 / abs(axis.step)
    beyond = [edge for edge in chosen.edges() if edge > rate / 2 * (1 + 1e-9)]
    if beyond:
        units = reciprocal_units(axis.units)
        raise ValueError(
            f"filter: {beyond} {units} lies beyond {rate / 2:g} {units}, half the sampling rate along {axis.name}"
        )
    return chosen.response(frequency, rate)
