"""Pictures of fits: the explorer of parameters and curves, and maps of compared models.

May import numpy, xarray, the floors below and viz; HoloViews only inside functions.
"""

from __future__ import annotations

import functools
import html
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr

from xpycro import provenance, schema
from xpycro.engine import chunked
from xpycro.viz import curves, pictures, profiles, static_fit, style
from xpycro.viz import parts as _parts
from xpycro.viz.linking import callback, cursors, linked
from xpycro.viz.live import Channel, Reader, channels_of
from xpycro.viz.navigator import Navigator
from xpycro.viz.ranks import NONE, needs
from xpycro.viz.readouts import value_text

__all__ = ["comparison", "fit"]

LONG = 14  # letters of a label that leave no room for a place beside them


def fit(result: xr.Dataset, data: xr.DataArray | None = None, *, size: int = 200, cols: int = 3) -> Any:
    """Parameter maps and r²; tap a pixel for its data, its fitted curve, and its values with errors, and the reverse.

    Along a line of pixels the parameters are curves with error bars.

    A tap on the data puts a cursor there: the last map shows the data at that place of the signal instead of r², until
    a double tap removes it. Where that reads more than 256 MB, it shows some of the pixels.

    Parameters
    ----------
    result : Dataset
        A fit.
    data : DataArray, optional
        What was fitted; without it the source is reopened through the history.
    size : int
        Screen pixels of a map's longer side.
    cols : int, default 3
        At most so many maps in a row.

    Returns
    -------
    holoviews.Layout of DynamicMap
        Saved with `save`, or put in a report, it becomes a twin that works without a server. Of a fit of one spectrum,
        an Overlay of data and curve.

    Raises
    ------
    MissingSource
        If the data are not given and cannot be found.

    Notes
    -----
    *Laziness*: reads the maps when drawn, and one spectrum a tap.

    Examples
    --------
    >>> import xarray as xr
    >>> import xpycro as xp
    >>> import numpy as np
    >>> energy = np.linspace(-1, 1, 20)
    >>> da = xr.DataArray(np.outer([1.0, 2.0], energy)[None] + 1, dims=("y", "x", "energy"), coords={"energy": energy})
    >>> len(fit(xp.fit(da, "linear", dim="energy"), da)) > 3
    True
    """
    needs(result, "fit")
    if str(result.attrs.get("fitted_dim", "")).startswith("["):  # of images: one peak a picture has no curve to show
        return _fit_of_images(result, size)
    hv = style.backend()
    measured = provenance.source_data(result, data, purpose="the fit explorer")
    r2 = result["r2"]
    signal = [str(d) for d in measured.dims if d not in r2.dims]
    if len(signal) != 1:
        raise ValueError(
            f"data= has the dims {[str(d) for d in measured.dims]}, the fit's maps {[str(d) for d in r2.dims]}: "
            "data= must be the array that was fitted, with one dim more"
        )
    if r2.ndim == 0:
        return _one_fit(result, measured, signal[0])
    nav = schema.plane_dims(r2) or tuple(str(d) for d in r2.dims[-1:])
    rest = [str(d) for d in r2.dims if d not in nav]
    view = _parts.ascending(_parts.first(result, rest)[0], nav)
    measured = static_fit.around(result, chunked.stored(measured).isel(dict.fromkeys(rest, 0)))
    measured = measured.assign_coords({d: result[d] for d in nav if d in result.coords})
    reader = Reader(measured, _parts.Parts(nav, signal[0], ()))
    names = [*static_fit.fit_parameters(result), "r2"]
    over = Navigator.of(view["r2"], nav)
    state = cursors(pixel=over.middle, sample=NONE)

    def to_pixel(x: float, y: float, *_: Any) -> None:
        state.event(pixel=over.nearest(x, y))

    def to_sample(x: float, y: float, *_: Any) -> None:
        state.event(sample=reader.signal.nearest(x))

    channels = channels_of(measured)

    def cut(sample: int) -> tuple[list[Any], str]:
        return reader.element(("slice", sample), lambda: _slice(reader, channels[0], over, size, sample))

    line = over.names is not None
    maps = [
        linked(
            callback(
                _parameter_map,
                functools.cache(functools.partial(_profile if line else _drawn, view, name, over, size)),
                over,
                size,
                cut if name == "r2" else None,
            ),
            [],
            state,
            {"Tap": to_pixel, "Drag": to_pixel},
        )
        for name in names
    ]
    along = {"Tap": to_sample, "Drag": to_sample, "DoubleTap": lambda x, y: state.event(sample=NONE)}
    panels = [linked(callback(_fitted, view, reader, channel, over, names), [], state, along) for channel in channels]
    cols = pictures.columns(len(maps), cols)
    gaps = [hv.Empty() for _ in range(-len(maps) % cols)]  # what is tall starts a row of its own
    layout = pictures.gather([*maps, *gaps, *panels], cols=cols)
    layout._pycro_state = state
    return style.remember(
        layout,
        choice=f"fit: {'curves' if line else 'maps'} of {names}, data and fitted curve of the tapped pixel",
        static=functools.partial(static_fit.fit_explorer, result, data),
    )


def _fit_of_images(result: xr.Dataset, size: int) -> Any:
    names = [*static_fit.fit_parameters(result), "r2"]
    dims = [str(d) for d in result["r2"].dims]
    if len(dims) == 1:
        drawn = profiles.profiles(result, names, size=size)
    elif schema.plane_dims(result["r2"]):
        drawn = pictures.maps(result[names], cols=3, size=size)
    else:
        raise ValueError(f"a fit of images over {dims} has no map to draw: its values are {names}, select what to draw")
    return style.remember(drawn, choice=f"fit of images: {names} over {dims}")


def comparison(result: xr.Dataset, *, size: int = 200) -> Any:
    """Maps of which model is the likeliest, and of the weight of each; along a line, the weights as curves; of one
    spectrum, the weights as bars.

    Parameters
    ----------
    result : Dataset
        Of ``fit_compare``, over a plane or a line, or of one spectrum.
    size : int
        Screen pixels of a map's longer side.

    Returns
    -------
    holoviews.Layout, or holoviews.Overlay of curves, or holoviews.Bars

    Notes
    -----
    *Laziness*: computes the maps.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> import xpycro as xp
    >>> noise = np.random.default_rng(0).normal(size=(2, 3, 20))
    >>> da = xr.DataArray(noise, dims=("y", "x", "energy"))
    >>> fits = {name: xp.fit(da, name, dim="energy") for name in ("constant", "linear")}
    >>> len(comparison(xp.fit_compare(fits)))
    3
    """
    needs(result, "comparison")
    names = [str(name) for name in result["model"].values]
    if result["best"].ndim == 0:
        return style.remember(_weights(result, names, size), choice=f"comparison: the weight of each of {names}")
    if result["best"].ndim == 1:
        weight = result["weight"].assign_attrs(long_name="Weight of a model")
        drawn = curves.spectrum(weight, str(result["best"].dims[0]), spread=False)
        return style.remember(drawn, choice=f"comparison: the weight of each of {names}")
    maps = {"best": result["best"].where(result["best"] >= 0).assign_attrs(result["best"].attrs)}
    for name in names:
        weight = result["weight"].sel(model=name, drop=True)
        maps[f"weight {name}"] = weight.assign_attrs(long_name=f"Weight of {name}", valid_range=(0.0, 1.0))
    layout = pictures.maps(xr.Dataset(maps), cols=3, size=size)
    return style.remember(layout, choice=f"comparison: the likeliest of {names}, and the weight of each")


def _weights(result: xr.Dataset, names: list[str], size: int) -> Any:
    hv = style.backend()
    best, weights = int(result["best"]), style.read(result["weight"])
    title = f"Likeliest: {names[best]}, {100 * weights[best]:.4g} %" if best >= 0 else "No model converged"
    bars = hv.Bars((names, np.nan_to_num(weights)), hv.Dimension("model", label="Model"), "Weight of the model")
    return style.dress(
        bars, title=title, color=style.CATEGORIES[0], line_color=None, ylim=(0, 1), frame_height=size, tools=["hover"],
        frame_width=max(size, 90 * len(names)), bar_width=0.6,
    )  # fmt: skip


def _drawn(view: xr.Dataset, name: str, over: Navigator, size: int) -> tuple[list[Any], str]:
    """The map of a parameter, and its title."""
    da = view[name].transpose(*over.dims)
    values = style.read(da)
    shown = style.quantity(da, values, label="r²" if name == "r2" else None)
    title = shown.title + (f" (one of {over.every} × {over.every} pixels)" if over.every > 1 else "")
    values = values[(slice(None, None, over.every),) * values.ndim] * shown.factor
    return [over.draw(values, da, shown, size=size, title=title)], title


def _profile(view: xr.Dataset, name: str, over: Navigator, size: int) -> tuple[list[Any], str]:
    """A parameter along a line, and its title."""
    drawn, shown = profiles.of(view, name, over.axes[0], "r²" if name == "r2" else None)
    return drawn, shown.title


def _slice(reader: Reader, channel: Channel, over: Navigator, size: int, sample: int) -> tuple[list[Any], str]:
    """The map of the data at one sample of the signal, and its title."""
    steps, _ = reader.steps(sample, sample, (), False)
    values, shown = channel.apply(reader.plane(sample, sample, (), steps))
    of = shown.title if len(shown.label) <= LONG else f"Data ({shown.unit})" if shown.unit else "Data"
    title = f"{of} at {reader.signal.text(sample)}"
    title = reader.problem or title + (f", {reader.sampled(steps)}" if max(steps) > 1 else "")
    if over.names is not None:
        ax = replace(over.axes[0], values=over.axes[0].values[:: steps[0]])
        return profiles.layers(ax, values, None, shown), title
    return [over.draw(values, channel.like, shown, size=size, title=title, steps=steps)], title


def _parameter_map(
    draw: Callable[[], tuple[list[Any], str]], over: Navigator, size: int,
    cut: Callable[[int], tuple[list[Any], str]] | None, _: Any, *, pixel: int, sample: int,
) -> Any:  # fmt: skip
    drawn, title = draw() if sample == NONE or cut is None else cut(sample)
    if over.names is not None:
        return profiles.framed([*drawn, curves.cursor(over.axes[0], pixel)], title, size)
    return over.panel(drawn[0], pixel, title)


def _fitted(
    view: xr.Dataset, reader: Reader, channel: Channel, over: Navigator, names: list[str], _: Any,
    pixel: int, sample: int,
) -> Any:  # fmt: skip
    one = view.isel({d: slice(i, i + 1) for d, i in over.at(pixel).items()})
    model = style.read(static_fit.fit_curve(one, reader.da).transpose(*over.dims, reader.roles.signal)).reshape(-1)
    values, shown = channel.apply(reader.spectrum(pixel, ()))
    curve, _ = channel.apply(model)
    ax = reader.signal
    drawn = _data_and_curve(ax, values, curve, shown) * curves.cursor(ax, sample)
    words = reader.problem or html.unescape(_describe(one, names))
    # as many lines at every pixel, each within the frame: a page does not grow with its titles
    place = f"{shown.label}{chr(10) if len(shown.label) > LONG else ' '}at {over.where(pixel)}"
    return style.dress(drawn, title=f"{place}\n{words}", hooks=[style.roomy], **_CURVES)


def _data_and_curve(ax: style.Axis, values: np.ndarray, curve: np.ndarray, shown: style.Quantity) -> Any:
    hv = style.backend()
    kdim, vdim = hv.Dimension((ax.dim, ax.label), unit=ax.unit), hv.Dimension(("value", shown.label), unit=shown.unit)
    dots = hv.Scatter((ax.values, values), kdim, vdim, label="data").opts(
        backend="bokeh", color="#7f7f7f", size=5 if values.size < 300 else 3, alpha=0.7
    )
    line = curves.curve(ax, curve, shown, label="fit", color=style.CATEGORIES[3], framewise=True)
    return style.dress(hv.Overlay([dots, line]), **_CURVES)


_CURVES: dict[str, Any] = {"show_legend": False, "frame_width": 300, "frame_height": 230, "padding": 0.05}


def _describe(one: xr.Dataset, names: list[str]) -> str:
    words = []
    errors = {
        name: float(style.read(one[f"{name}_stderr"]).reshape(-1)[0]) for name in names if f"{name}_stderr" in one
    }
    for name in names:
        values = style.read(one[name]).reshape(-1)
        shown = style.quantity(one[name], values)
        error = errors[name] * shown.factor if name in errors else None
        some = any(map(math.isfinite, errors.values()))
        text = value_text(values[0] * shown.factor, error, shown.unit, some)
        words.append(f"{'r²' if name == 'r2' else name.replace('_', ' ')} {text}")
    lines: list[str] = []
    room = 0
    for name, text in zip(names, words, strict=True):
        room -= len(name) + 18  # of the longest value, error and unit
        if room >= 0:
            lines[-1] += f" · {text}"
        else:
            lines.append(text)
            room = 46 - len(name) - 18
    verdict = str(static_fit.outcome(one).reshape(-1)[0])
    return "\n".join([*lines, verdict or "converged"] if "converged" in one else lines)


def _one_fit(result: xr.Dataset, measured: xr.DataArray, signal: str) -> Any:
    measured = static_fit.around(result, measured)
    model = style.read(static_fit.fit_curve(result, measured))
    panels = []
    names = [*static_fit.fit_parameters(result), "r2"]
    raw = style.read(measured.transpose(signal))
    for channel in channels_of(measured):
        values, shown = channel.apply(raw)
        curve, _ = channel.apply(model)
        drawn = _data_and_curve(style.axis(measured, signal), values, curve, shown)
        said = f"{shown.label}\n{_describe(result, names)}"  # two values a line need more than a picture's width
        panels.append(style.dress(drawn, title=said, frame_width=600))
    drawn = panels[0] if len(panels) == 1 else pictures.gather(panels, cols=1)
    return style.remember(drawn, choice="fit: data and fitted curve")
