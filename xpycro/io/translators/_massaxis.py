"""The channels that peaks and events are summed into: their edges, from a width or from centres.

May import numpy.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = ["MassAxis", "centres", "edges"]

MassAxis = str | float | np.ndarray | None
_CHANNELS = 1 << 24


def edges(mass_axis: str | float | np.ndarray, extent: Callable[[], tuple[float, float]]) -> np.ndarray:
    """Edges of the channels.

    Parameters
    ----------
    mass_axis : str, float or array_like
        A relative width (``"20 ppm"``), a width in m/z, or the centres, ascending.
    extent : callable
        Gives the least and the largest mass; called only where a width needs it.

    Raises
    ------
    ValueError
        If it is not understood, or makes too many channels.
    """
    if isinstance(mass_axis, str):
        found = re.fullmatch(r"\s*([0-9.]+(?:e-?\d+)?)\s*ppm\s*", mass_axis, re.I)
        width = float(found[1]) * 1e-6 if found else 0.0
        if not 0 < width < 0.1:
            raise ValueError(f"mass_axis={mass_axis!r}: expected a width such as '20 ppm', a number, or the centres")
        low, high = extent()
        count = _bounded(np.ceil((np.log(high) - np.log(low)) / np.log1p(width)), mass_axis)
        return low * (1 + width) ** (np.arange(count + 1) - 0.5)
    if isinstance(mass_axis, int | float):
        if not mass_axis > 0:
            raise ValueError(f"mass_axis={mass_axis!r}: the width of a channel is positive")
        low, high = extent()
        count = _bounded(np.ceil((high - low) / mass_axis), mass_axis)
        return low + mass_axis * (np.arange(count + 1) - 0.5)
    given = np.asarray(mass_axis, dtype=np.float64)
    if given.ndim != 1 or given.size < 2 or not (np.diff(given) > 0).all():
        raise ValueError("mass_axis: expected at least two centres of channels, ascending")
    between = (given[1:] + given[:-1]) / 2
    return np.concatenate([[2 * given[0] - between[0]], between, [2 * given[-1] - between[-1]]])


def centres(mass_axis: str | float | np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Centres of the channels: those given, or the middles between the edges."""
    if isinstance(mass_axis, str | float | int):
        return (edges[1:] + edges[:-1]) / 2
    return np.asarray(mass_axis, dtype=np.float64)


def _bounded(steps: float, asked: Any) -> int:
    if steps + 1 > _CHANNELS:
        raise ValueError(f"mass_axis={asked!r} makes {steps + 1:.0f} channels, more than {_CHANNELS}: wider ones")
    return int(steps) + 1
