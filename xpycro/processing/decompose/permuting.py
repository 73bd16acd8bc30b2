"""The singular values of data whose channels are shuffled, and what the noise of the channels looks like; one pass.

May import engine and the other modules of this folder.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import xarray as xr

from xpycro.engine import chunked, linalg
from xpycro.processing.decompose.prepare import PASS_BYTES
from xpycro.processing.decompose.results import signal_dims

__all__ = ["Channels", "permuted"]

_MOST_BYTES = 2 << 30  # of the Gram matrices of all draws
_LAGS = 10


@dataclass(frozen=True)
class Channels:
    """The residual's channels, once what is structured is taken off.

    Attributes
    ----------
    correlation : float
        The largest, by absolute value, at distances of one to ten channels, mean over the channels.
    lag : int
        At this distance.
    inequality : float
        The 95th percentile of the standard deviations over the 5th.
    """

    correlation: float
    lag: int
    inequality: float


def permuted(
    result: xr.Dataset, data: xr.DataArray, structured: np.ndarray, *, n_draws: int, seed: int
) -> tuple[np.ndarray, Channels]:
    """Singular values of the data with each channel's values shuffled among the observations of a block.

    Parameters
    ----------
    result : Dataset
        The decomposition, scaled as it may be; what it left out is left out here.
    data : DataArray
        What it was made from.
    structured : ndarray of bool
        Components to take off before the channels are compared.
    """
    signal = signal_dims(result)
    lacking = [d for d in signal if d not in data.dims]
    if lacking:
        raise ValueError(f"rank: data= has dims {list(data.dims)} and lacks {lacking}, which a component spans")
    ready = chunked.whole(data, signal, target=PASS_BYTES)
    observed = [str(d) for d in ready.dims if d not in signal]
    width = int(np.prod([ready.sizes[d] for d in signal], dtype=np.int64))
    columns = ~np.isin(np.arange(width), json.loads(result.attrs.get("pycro_excluded_channels", "[]")))
    size = (n_draws + 1) * int(columns.sum()) ** 2 * 8
    if size > _MOST_BYTES:
        raise ValueError(
            f"rank: data= makes {n_draws} draws of {int(columns.sum())} channels each, {size / 1e9:.1f} GB: bin the "
            "signal, or ask for fewer n_draws"
        )
    shape = [ready.sizes[d] for d in observed]
    numbers = xr.DataArray(np.arange(int(np.prod(shape, dtype=np.int64))).reshape(shape), dims=observed)
    left_out = result["maps"].isel(component=0, drop=True).isnull().transpose(*observed)
    scale = result["scale"].fillna(0).values.reshape(-1)[columns] if "scale" in result else None
    poisson = result.attrs.get("pycro_scale") == "poisson"
    value = chunked.reduce(
        ready.reset_coords(drop=True).drop_vars(list(ready.dims), errors="ignore"),
        signal,
        _permuted_moments,
        _merge_all,
        others=[numbers, left_out.reset_coords(drop=True).drop_vars(observed, errors="ignore")],
        kwargs={
            "columns": columns,
            "n_draws": n_draws,
            "seed": seed,
            "center": bool(result.attrs.get("pycro_centered", 0)),
            "poisson": poisson,
            "limit_threads": ready.chunks is not None and max(map(len, ready.chunks)) > 1,
        },
    )
    plain, *shuffled = chunked.compute(value)[0]
    draws = np.stack([_values(total, scale, poisson) for total in shuffled])
    shape = [ready.sizes[d] for d in signal]
    return draws, _channels(_scaled(plain.square, scale), result, structured, columns, scale, shape)


def _permuted_moments(
    block: np.ndarray,
    numbers: np.ndarray,
    left_out: np.ndarray,
    *,
    columns: np.ndarray,
    n_draws: int,
    seed: int,
    center: bool,
    poisson: bool,
    limit_threads: bool,
) -> list[linalg.Moments]:
    """Moments of a block as it is, and of every shuffle of it."""
    rows = block[:, columns]
    rows = rows[np.isfinite(rows).all(axis=1) & ~left_out]
    first = int(numbers.min())

    def of(part: np.ndarray) -> linalg.Moments:
        return linalg.moments(
            part, center=center, row_scaling="poisson" if poisson else None, limit_threads=limit_threads
        )

    found = [of(rows)]
    for draw in range(n_draws):
        rng = np.random.default_rng([seed, draw, first])
        # one shuffle of all observations, then each channel turned round by its own amount: as good as a shuffle of
        # each channel, at the cost of a copy
        shuffled = np.ascontiguousarray(rows[rng.permutation(len(rows))].T)
        for channel in shuffled:
            channel[:] = np.roll(channel, int(rng.integers(max(len(rows), 1))))
        found.append(of(shuffled.T))
    return found


def _merge_all(a: list[linalg.Moments], b: list[linalg.Moments]) -> list[linalg.Moments]:
    return [linalg.merge(x, y) for x, y in zip(a, b, strict=True)]


def _scaled(square: np.ndarray, scale: np.ndarray | None) -> np.ndarray:
    if scale is None:
        return square
    inverse = np.divide(1.0, scale, out=np.zeros_like(scale), where=scale > 0)
    return square * inverse * inverse[:, None]


def _values(total: linalg.Moments, scale: np.ndarray | None, poisson: bool) -> np.ndarray:
    found = linalg.basis(_scaled(total.square, scale), 1).singular_values
    if poisson:
        found = found * np.sqrt(max(float(total.total.real.mean()) / max(total.count, 1), 0.0))
    return found


def _channels(
    square: np.ndarray,
    result: xr.Dataset,
    structured: np.ndarray,
    columns: np.ndarray,
    scale: np.ndarray | None,
    shape: list[int],
) -> Channels:
    """How unlike and how dependent the channels are in what is left without the structured components."""
    components = result["components"].values.reshape(structured.size, -1)[:, columns][structured]
    if scale is not None:
        components = np.divide(components, scale, out=np.zeros_like(components), where=scale > 0)
    orthonormal, _ = np.linalg.qr(components.T)
    rest = square - orthonormal.conj() @ (orthonormal.T @ square)
    rest = rest - (rest @ orthonormal.conj()) @ orthonormal.T
    spread = np.sqrt(np.maximum(np.diagonal(rest).real, 0.0))
    varies = spread > 1e-9 * spread.max(initial=0.0)
    low, high = np.quantile(spread[varies], [0.05, 0.95]) if varies.any() else (1.0, 1.0)
    place = np.flatnonzero(columns)
    found = [0.0]
    for lag in range(1, min(_LAGS, shape[-1] - 1) + 1):
        row = np.arange(place.size - lag)
        # excluded channels and the end of a line break the row of neighbours
        beside = (place[lag:] - place[:-lag] == lag) & (place[lag:] // shape[-1] == place[:-lag] // shape[-1])
        beside &= varies[lag:] & varies[:-lag]
        if not beside.any():
            break
        row = row[beside]
        found.append(float((rest[row, row + lag].real / (spread[row] * spread[row + lag])).mean()))
    lag = int(np.argmax(np.abs(found)))
    return Channels(found[lag], lag, float(high / low))
