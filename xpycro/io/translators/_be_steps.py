"""The steps of a band-excitation experiment: from the words of its parameters to dims, shape and bias values.

May import numpy, xarray and schema; reads nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import xarray as xr

from xpycro.schema import coordinate

__all__ = ["FRACTIONS", "Steps", "bias_wave", "steps_of"]

FRACTIONS = {"full": 1.0, "1/4": 0.25, "1/2": 0.5, "3/4": 0.75, "0": 0.0}


@dataclass(frozen=True)
class Steps:
    """The dims between a pixel and its spectrum, slow before fast.

    Attributes
    ----------
    dims : tuple of str
        Of ``forc``, ``cycle``, ``direction``, ``step``.
    shape : tuple of int
    coords : dict of str to Variable
    """

    dims: tuple[str, ...] = ()
    shape: tuple[int, ...] = ()
    coords: dict[str, xr.Variable] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """How many steps a pixel has."""
        return math.prod(self.shape)


def bias_wave(n: int, *, fraction: float = 1.0, shift: float = 0.0) -> np.ndarray:
    """One cycle of the triangle 0, +1, 0, -1, towards 0, in `n` steps, turned by `shift` and cut to `fraction` of it.

    Examples
    --------
    >>> bias_wave(8).tolist()
    [0.0, 0.5, 1.0, 0.5, 0.0, -0.5, -1.0, -0.5]
    >>> bias_wave(8, fraction=0.5).tolist()
    [0.0, 0.5, 1.0, 0.5]
    """
    place = (np.arange(n) / n + 0.25) % 1.0
    wave = 1.0 - np.abs(4.0 * place - 2.0)
    wave = np.roll(wave, round(shift * n))
    return wave[: round(fraction * n)] + 0.0


def steps_of(
    n: int,
    *,
    mode: str = "dc",
    amplitude: float = 1.0,
    offset: float = 0.0,
    fraction: float = 1.0,
    shift: float = 0.0,
    cycles: int = 1,
    forc: tuple[tuple[float, float], tuple[float, float]] | None = None,
    n_forc: int = 1,
) -> Steps:
    """Dims, shape and coordinates of the steps.

    Parameters
    ----------
    n : int
        Steps of a full cycle.
    mode : {"dc", "ac"}
        A bias that turns back, or a drive amplitude that rises twice: forward, and with the chirp reversed.
    amplitude, offset : float
        V.
    fraction, shift : float
        Of the full cycle.
    cycles, n_forc : int
        Their dims are there where they are more than one.
    forc : ((high first, high last), (low first, low last)), optional
        V; between them the ends of the sweeps run evenly.
    """
    dims: list[str] = []
    shape: list[int] = []
    coords: dict[str, xr.Variable] = {}
    if n_forc > 1:
        dims, shape = ["forc"], [n_forc]
        coords["forc"] = coordinate("forc", np.arange(n_forc))
    if cycles > 1:
        dims.append("cycle")
        shape.append(cycles)
        coords["cycle"] = coordinate("cycle", np.arange(cycles))
    if mode == "ac":
        dims.append("direction")
        shape.append(2)
        coords["direction"] = coordinate("direction", np.array(["forward", "backward"]))
        n = n // 2
        drive = np.linspace(0.0, amplitude, n)
        coords["drive_amplitude"] = coordinate(
            "step", drive, units="V", long_name="Drive amplitude", dimension_type="spectral"
        )
    else:
        wave = bias_wave(n, fraction=fraction, shift=shift)
        n = wave.size
        if n_forc > 1 and forc is not None:
            high, low = (np.linspace(first, last, n_forc)[:, None] for first, last in forc)
            bias = wave * (high - low) / 2 + (high + low) / 2 + offset
            coords["bias"] = coordinate(("forc", "step"), bias, name="bias")
        else:
            coords["bias"] = coordinate("step", amplitude * wave + offset, name="bias")
    dims.append("step")
    shape.append(n)
    coords["step"] = coordinate("step", np.arange(n))
    return Steps(tuple(dims), tuple(shape), coords)
