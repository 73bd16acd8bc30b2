"""Switching spectroscopy on three levels: a map of a loop parameter, the loop of a pixel, the resonance of a bias step.

May import numpy, xarray, the floors below and viz; HoloViews and Bokeh only inside functions.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from xpycro.engine import results as _results
from xpycro.errors import DimensionError
from xpycro.viz import curves, pictures, planes, static_fit, style
from xpycro.viz import parts as _parts
from xpycro.viz.linking import callback, cursors, linked
from xpycro.viz.live import attempt
from xpycro.viz.navigator import Navigator
from xpycro.viz.ranks import needs

__all__ = ["OSCILLATOR", "Levels", "called", "levels_of", "oscillator", "switching"]

OSCILLATOR = ("amplitude", "resonance_frequency", "quality_factor", "phase")


def switching(result: xr.Dataset, loops: xr.Dataset, sho: xr.Dataset, data: xr.DataArray, *, size: int = 300) -> Any:
    """Explore a switching experiment: tap the map for a pixel's loop, the loop for the spectrum of that bias step.

    Parameters
    ----------
    result : Dataset
        Of ``loops.fit``.
    loops : Dataset
        Of ``loops.project``: what was fitted.
    sho : Dataset
        The oscillator fit that was projected.
    data : DataArray
        The spectra, over ``frequency``.
    size : int
        Screen pixels of the map's longer side.

    Returns
    -------
    holoviews.Layout of DynamicMap
        A map with a choice of the parameter, the loop with its fit, amplitude and phase of the spectrum with theirs.
        Saved with `save`, or put in a report, it becomes a twin that works without a server. Of other dims (cycle,
        forc, a field that was not chosen) the first is shown.

    Raises
    ------
    ValueError
        If `result` is no fit of loops, or `sho` and `data` lack what is needed.
    DimensionError
        If the loops do not lie on a plane, or `data` has no ``frequency``.

    Notes
    -----
    *Laziness*: reads the maps and all loops when drawn, and one spectrum a tap.

    Examples
    --------
    >>> import xpycro as xp
    >>> ds = xp.simulate.band_excitation((3, 4), 24, mode="dc", n_steps=16, quality_factor=60)
    >>> sho = xp.fit(ds.response, "sho", dim="frequency")
    >>> loops = xp.loops.project(sho)
    >>> len(switching(xp.loops.fit(loops), loops, sho, ds.response))
    4
    """
    hv = style.backend()
    levels = levels_of(result, loops, sho, data)
    state = cursors(pixel=levels.start, step=0)
    parameter = hv.Dimension("parameter", values=levels.names, default="switching_bias_positive")

    def to_pixel(x: float, y: float, *_: Any) -> None:
        state.event(pixel=levels.over.nearest(x, y))

    def to_step(x: float, y: float, *_: Any) -> None:
        state.event(step=levels.nearest(state.pixel, x, y))

    panels = [
        linked(callback(_map, levels, size), [parameter], state, {"Tap": to_pixel, "Drag": to_pixel}),
        linked(callback(_loop, levels), [], state, {"Tap": to_step, "Drag": to_step}),
        *(linked(callback(_spectrum, levels, part), [], state, {}) for part in (0, 1)),
    ]
    layout = pictures.gather(panels, cols=2)
    layout._pycro_state = state
    from xpycro.viz.static_switching import switching_explorer

    return style.remember(
        layout,
        choice="switching: a map of a loop parameter, the loop of the tapped pixel, the spectrum of the tapped step",
        static=functools.partial(switching_explorer, result, loops, sho, data, size=size),
    )


# --------------------------------------------------------------------------------------------------------- the levels


@dataclass(frozen=True)
class Levels:
    """What the three levels show, in one order of dims.

    Attributes
    ----------
    maps : Dataset
        Parameters and r2 over the plane.
    loops, fitted : ndarray, shape (pixel, step)
        In display units, measured and fitted.
    bias : Axis
    shown : Quantity
        Of the loops.
    sho : Dataset
        Over (y, x, step), lazy where it was.
    data : DataArray
        Over (y, x, step, frequency), lazy where it was.
    names : list of str
    over : Navigator
        The map.
    """

    maps: xr.Dataset
    loops: np.ndarray
    fitted: np.ndarray
    bias: style.Axis
    shown: style.Quantity
    sho: xr.Dataset
    data: xr.DataArray
    names: list[str]
    over: Navigator

    @property
    def start(self) -> int:
        """A pixel near the middle whose loop was fitted."""
        good = np.flatnonzero(np.isfinite(self.fitted).all(axis=1))
        middle = (len(self.loops) + self.over.shape[1]) // 2
        return int(good[np.argmin(np.abs(good - middle))]) if good.size else 0

    def nearest(self, pixel: int, x: float, y: float) -> int:
        """The step nearest to a place on the drawn loop, as seen on the screen."""
        values = self.loops[pixel]
        scale = np.nanmax(values) - np.nanmin(values) or 1.0
        distance = ((self.bias.values - x) / (np.ptp(self.bias.values) or 1.0)) ** 2 + ((values - y) / scale) ** 2
        return int(np.argmin(np.where(np.isfinite(distance), distance, np.inf)))


def levels_of(result: xr.Dataset, loops: xr.Dataset, sho: xr.Dataset, data: xr.DataArray) -> Levels:
    """The three levels, brought to the same pixels and steps."""
    needs(result, "loop_fit")
    missing = [n for n in OSCILLATOR if n not in sho.data_vars]
    if missing or "response" not in loops:
        raise ValueError(
            f"loops= is what loops.project returned, sho= the oscillator fit; missing: {missing or 'response'}"
        )
    if "frequency" not in data.dims:
        raise DimensionError(f"data= are the spectra, over 'frequency'; this has {list(map(str, data.dims))}")
    dim = str(result.attrs["loop_dim"])
    r2 = result["r2"]
    nav = planes.plane_of(r2)
    view, _ = _parts.first(result, [str(d) for d in r2.dims if d not in nav])
    view = _parts.ascending(view.transpose(*nav, ...), nav)
    names = [*static_fit.fit_parameters(result), "r2"]
    measured = _like(loops["response"], view, (*nav, dim))
    values = style.read(measured)
    shown = style.quantity(measured, values, label="Projected response")
    fitted = style.read(_results.evaluate(view).transpose(*nav, dim))
    over = Navigator.of(view["r2"], nav)
    maps = view[names].copy(data={n: style.read(view[n]) for n in names})
    return Levels(
        maps, values.reshape(-1, values.shape[-1]) * shown.factor,
        fitted.reshape(-1, fitted.shape[-1]) * shown.factor,
        style.axis(measured.assign_coords(bias=view["bias"]), dim, along="bias"), shown,
        _like(sho[list(OSCILLATOR)], view, (*nav, dim)), _like(data, view, (*nav, dim, "frequency")), names, over,
    )  # fmt: skip


def _like(obj: Any, view: xr.Dataset, dims: tuple[str, ...]) -> Any:
    """`obj` over `dims`: of each other dim the element that the fit is of, where it says, else the first."""
    for dim in [d for d in obj.dims if d not in dims]:
        chosen = view.coords.get(dim)
        if chosen is not None and chosen.ndim == 0 and dim in obj.coords:
            obj = obj.isel({dim: int(np.flatnonzero(obj[dim].values == chosen.values)[0])})
        else:
            obj = obj.isel({dim: 0})
    lacking = [d for d in dims if d not in obj.dims]
    if lacking:
        raise DimensionError(f"fit, loops, oscillator fit and spectra belong together: one of them lacks {lacking}")
    return _parts.ascending(obj.transpose(*dims), dims[:2])


def called(name: str) -> str:
    """A parameter in words."""
    return "r²" if name == "r2" else name.replace("_", " ").capitalize()


def oscillator(frequency: np.ndarray, parameters: np.ndarray) -> np.ndarray:
    """The resonance curve at amplitude, resonance frequency, quality factor and phase (last axis)."""
    from xpycro.analysis.models import HarmonicOscillator

    return np.asarray(HarmonicOscillator().evaluate(frequency, *(parameters[..., k, None] for k in range(4))))


# --------------------------------------------------------------------------------------------------------------- live


def _map(levels: Levels, size: int, rest: Any, *, pixel: int, step: int) -> Any:
    name = str(rest[0])
    da = levels.maps[name]
    values = np.asarray(da.values, dtype=float)
    shown = style.quantity(da, values, label=called(name))
    drawn = levels.over.draw(values * shown.factor, da, shown, size=size, title=shown.title)
    return levels.over.panel(drawn, pixel, shown.title)


def _loop(levels: Levels, _: Any, *, pixel: int, step: int) -> Any:
    hv = style.backend()
    bias, shown = levels.bias, levels.shown
    kdim, vdim = (
        hv.Dimension(("bias", bias.label), unit=bias.unit),
        hv.Dimension(("value", shown.label), unit=shown.unit),
    )
    values = levels.loops[pixel]
    closed = np.append(bias.values, bias.values[0]), np.append(levels.fitted[pixel], levels.fitted[pixel, 0])
    drawn = [
        hv.Scatter((bias.values, values), kdim, vdim).opts(backend="bokeh", color="#7f7f7f", size=6, alpha=0.8),
        hv.Curve(closed, kdim, vdim).opts(backend="bokeh", color=style.CATEGORIES[3], line_width=2.2, framewise=True),
        hv.Scatter(([bias.values[step]], [values[step]]), kdim, vdim).opts(
            backend="bokeh", color=style.CURSOR, size=12, fill_alpha=0, line_width=2
        ),
    ]
    title = f"{shown.label} at {levels.over.where(pixel)}"
    return style.dress(
        hv.Overlay(drawn),
        title=title,
        frame_width=380,
        frame_height=260,
        padding=0.05,
        show_legend=False,
        hooks=[style.roomy],
    )


def _spectrum(levels: Levels, part: int, _: Any, *, pixel: int, step: int) -> Any:
    hv = style.backend()
    at = {**levels.over.at(pixel), str(levels.data.dims[2]): step}
    frequency = levels.data["frequency"].values.astype(float)
    raw, problem = attempt(lambda: style.read(levels.data.isel(at)), [frequency.size])
    parameters = np.array([style.read(levels.sho[n].isel(at)) for n in OSCILLATOR], dtype=float)
    values, model = ((np.abs if part == 0 else np.angle)(z) for z in (raw, oscillator(frequency, parameters)))
    like = planes.amplitude_phase(levels.data.isel({d: slice(0, 1) for d in levels.data.dims}))[part]
    shown = style.quantity(like, values)
    ax = style.axis(levels.data, "frequency")
    kdim, vdim = hv.Dimension((ax.dim, ax.label), unit=ax.unit), hv.Dimension(("value", shown.label), unit=shown.unit)
    dots = hv.Scatter((ax.values, values * shown.factor), kdim, vdim).opts(
        backend="bokeh", color="#7f7f7f", size=5, alpha=0.7
    )
    line = curves.curve(ax, model * shown.factor, shown, color=style.CATEGORIES[3], framewise=True)
    title = problem or f"{shown.label} at {levels.bias.text(step)}".replace("= -", "= −")
    return style.dress(
        hv.Overlay([dots, line]), title=title, show_legend=False, frame_width=380, frame_height=220, padding=0.05,
        hooks=[style.roomy],
    )  # fmt: skip
