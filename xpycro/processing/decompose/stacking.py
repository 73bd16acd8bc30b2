"""Several channels, or several samples, as one array for a joint decomposition.

May import engine, schema and provenance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr

from xpycro import schema
from xpycro.engine import chunked, subspace
from xpycro.errors import DimensionError
from xpycro.processing.decompose.prepare import PASS_BYTES
from xpycro.provenance import recorded

__all__ = ["stack_channels"]


@recorded("stack_channels")
def stack_channels(
    data: xr.Dataset,
    channels: Sequence[str],
    *,
    dim: str | Sequence[str] | None = None,
    scale: str | None = "std",
    along: str = "signal",
) -> xr.DataArray:
    """Join channels of one grid end to end, or samples one after the other, so that one decomposition sees them all.

    Parameters
    ----------
    data : Dataset
        With the channels as variables. (Of several samples: one variable each, their observation dims may differ.)
    channels : sequence of str
        Variables, in order; all real or all complex.
    dim : str or sequence of str, optional
        Signal of each channel; None means the signal dims, and for a channel without any (a plain map) a single value.
    scale : {"std", None}, optional
        Divide each channel by its standard deviation over everything, so that none drowns the others for its units.
    along : {"signal", "observations"}, optional
        Channels of the same observations become one longer signal, dim ``point``; samples with the same signal become
        one longer list of observations, dim ``position``.

    Returns
    -------
    DataArray
        With coordinates ``channel`` (the name) and ``channel_scale`` (what it was divided by, in base units of that
        channel) along the joined dim, and the signal's coordinate there too; dimensionless where scaled. Select with
        ``.where(stacked.channel == "a", drop=True)`` and multiply by ``channel_scale`` to come back.

    Raises
    ------
    ValueError
        If a channel is unknown, the grids differ, or fewer than two are given.

    Notes
    -----
    *Laziness*: lazy, except that ``scale="std"`` computes the standard deviations at the call: one pass a channel.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> ds = xr.Dataset({"a": (("x", "bias"), [[0.0, 2.0]]), "b": (("x", "bias"), [[10.0, 30.0]])})
    >>> stack_channels(ds, ["a", "b"]).values
    array([[0., 2., 1., 3.]])
    """
    names = list(channels)
    unknown = [name for name in names if name not in data.data_vars]
    if unknown or len(names) < 2 or isinstance(channels, str):
        raise ValueError(f"stack_channels: channels={channels!r}; name two or more of {list(data.data_vars)}")
    if scale not in ("std", None):
        raise ValueError(f"stack_channels: scale={scale!r}; choose 'std' or None")
    if along not in ("signal", "observations"):
        raise ValueError(f"stack_channels: along={along!r}; choose 'signal' or 'observations'")
    units = {str(data[name].attrs.get("units", "1")) for name in names}
    parts = [_part(data[name], dim, along) for name in names]
    factors = [_std(part) if scale == "std" else 1.0 for part in parts]
    new = "point" if along == "signal" else "position"
    shared = {tuple(d for d in part.dims if d != new) for part in parts}
    if len(shared) > 1:
        raise ValueError(f"stack_channels: the channels lie over different dims {sorted(shared)}: select alike ones")
    labelled = [
        (part / factor if scale == "std" else part).assign_coords(
            channel=(new, np.full(part.sizes[new], name), {"units": "1", "long_name": "Channel"}),
            channel_scale=(new, np.full(part.sizes[new], factor), {"units": "1", "long_name": "Channel scale"}),
        )
        for name, part, factor in zip(names, parts, factors, strict=True)
    ]
    common = set.intersection(*(set(map(str, part.coords)) for part in labelled))
    labelled = [part.drop_vars([c for c in part.coords if c not in common]) for part in labelled]
    joined = xr.concat(labelled, dim=new, join="exact", coords="minimal", compat="override")
    attrs: Mapping[str, str] = {
        "units": "1" if scale == "std" or len(units) > 1 else units.pop(),
        "long_name": "Stacked channels" if along == "signal" else "Stacked samples",
    }
    joined = joined.assign_coords({new: schema.coordinate(new, np.arange(joined.sizes[new]))})
    joined.attrs = dict(attrs)
    return joined.rename("_".join(names)).drop_encoding()


def _part(da: xr.DataArray, dim: str | Sequence[str] | None, along: str) -> xr.DataArray:
    """One channel with its signal flat along ``point``, or its observations flat along ``position``."""
    da = chunked.lazily(da, target=PASS_BYTES)
    try:
        signal = schema.resolve_dims(da, dim)
    except DimensionError:
        if along == "observations" or dim is not None:
            raise
        return da.expand_dims("point", axis=-1)
    observed = schema.observation_dims(da, signal)
    flat, new = (signal, "point") if along == "signal" else (observed, "position")
    if along == "observations" and not observed:
        return da.expand_dims(new)
    ready = chunked.whole(da, signal, target=PASS_BYTES).transpose(*observed, *signal)
    if len(flat) == 1 and flat[0] == new:
        return ready
    folded = ready.stack({new: list(flat)}, create_index=False)
    return folded.transpose(new, ...) if along == "observations" else folded


def _std(part: xr.DataArray) -> float:
    """Standard deviation over all values, NaN left out, in one pass."""
    ready = part if part.chunks is not None else chunked.lazily(part)
    value = chunked.reduce(ready.reset_coords(drop=True), [], _spread, subspace.merge_spread)
    total = chunked.compute(value)[0]
    found = float(np.sqrt(total.energy / total.count)) if total.count else 0.0
    if not np.isfinite(found) or found == 0:
        raise ValueError(
            f"stack_channels: {part.name!r} has standard deviation {found}: leave it out or pass scale=None"
        )
    return found


def _spread(block: np.ndarray) -> subspace.Spread:
    return subspace.spread(block, center=True)
