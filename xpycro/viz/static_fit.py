"""The fit explorer that works in a file: parameter maps, data and fitted curve, values with errors.

May import numpy, xarray, the floors below and viz; Bokeh only inside functions.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from xpycro import provenance, schema
from xpycro.viz import parts as _parts
from xpycro.viz import pictures, profiles, scripts, style
from xpycro.viz.packing import packed
from xpycro.viz.places import navigator
from xpycro.viz.readouts import value_text
from xpycro.viz.static import (
    _channels,
    _renderer,
    caption,
    draw_map,
    figure_of,
    rings,
    span,
)

FIT_BUDGET = 600_000

__all__ = [
    "around",
    "data_and_fit",
    "fit_curve",
    "fit_explorer",
    "fit_parameters",
    "outcome",
    "same_pixels",
]


def fit_parameters(fit: xr.Dataset) -> list[str]:
    """Names of a fit's parameters, in order: what has a ``_stderr``, else what is no diagnostic."""
    required, optional = schema.RESULTS["fit"]
    names = [str(n) for n in fit.data_vars]
    parameters = [n for n in names if f"{n}_stderr" in names]
    if not parameters:
        parameters = [n for n in names if n not in (*required, *optional) and not n.endswith("_stderr")]
    return parameters


def around(fit: xr.Dataset, measured: xr.DataArray) -> xr.DataArray:
    """The data of the fitted window and of half as much to either side of it."""
    name = str(fit.attrs.get("fitted_axis", ""))
    if name not in fit.coords or name not in measured.coords or measured.coords[name].ndim != 1:
        return measured
    axis, fitted = measured.coords[name], fit.coords[name].values
    margin = 0.5 * float(np.ptp(fitted))
    keep = np.flatnonzero((axis.values >= fitted.min() - margin) & (axis.values <= fitted.max() + margin))
    return measured if keep.size in (0, axis.size) else measured.isel({axis.dims[0]: keep})


def fit_curve(fit: xr.Dataset, measured: xr.DataArray) -> xr.DataArray:
    """The fitted curves over the whole signal axis of the data, NaN outside of the window that was fitted."""
    from xpycro.engine import results

    name = str(fit.attrs.get("fitted_axis", ""))
    if name not in fit.coords or name not in measured.coords:
        return results.evaluate(fit)
    axis, fitted = measured.coords[name], fit.coords[name]
    curve = results.evaluate(fit, xr.DataArray(axis.values, dims=axis.dims, attrs=axis.attrs))
    inside = (curve[name] >= float(fitted.min())) & (curve[name] <= float(fitted.max()))
    return curve.where(inside).assign_coords({name: axis})


def outcome(fit: xr.Dataset) -> np.ndarray:
    """What to say of each pixel, besides its values: nothing, or why it did not converge."""
    if "converged" not in fit:
        return np.full(fit["r2"].shape, "", dtype=object)
    said = np.where(np.asarray(fit["converged"].values, bool), "", "not converged").astype(object)
    if "status" in fit and "flag_meanings" in fit["status"].attrs:
        attrs = fit["status"].attrs
        meanings = dict(zip(np.atleast_1d(attrs["flag_values"]), str(attrs["flag_meanings"]).split(), strict=True))
        status = np.asarray(fit["status"].values)
        for value, meaning in meanings.items():
            said[(status == value) & (said != "")] = f"not converged: {meaning.replace('_', ' ')}"
    return said


def fit_explorer(
    fit: xr.Dataset, data: xr.DataArray | None = None, *, budget: int = FIT_BUDGET, size: int = 192, cols: int = 3
) -> Any:
    """Parameter maps of a fit; tap a pixel for its data, its fitted curve and its values with errors.

    Parameters
    ----------
    fit : Dataset
        A fit result.
    data : DataArray, optional
        What was fitted; without it the source is reopened through the history.
    budget : int
        How many values travel in the page; beyond it every n-th pixel, and the caption says so.
    size : int
        Screen pixels of a map's longer side.
    cols : int
        At most so many maps in a row.

    Returns
    -------
    bokeh.models.Column

    Raises
    ------
    MissingSource
        If the data are not given and cannot be found.

    Notes
    -----
    *Laziness*: computes the maps, and data and model at the pixels that travel.
    """
    from bokeh.layouts import column, row
    from bokeh.models import ColumnDataSource, CustomJS
    from bokeh.models.widgets import Div

    measured = provenance.source_data(fit, data, purpose="the fit explorer")
    names = fit_parameters(fit)
    r2 = fit["r2"]
    signal_dims = [str(d) for d in measured.dims if d not in r2.dims]
    if len(signal_dims) != 1:
        raise ValueError(
            f"data= has the dims {[str(d) for d in measured.dims]} and the fit's maps {[str(d) for d in r2.dims]}: "
            "data= must be the array that was fitted, with one dim more"
        )
    measured = around(fit, measured.transpose(*r2.dims, *signal_dims))
    nav = schema.plane_dims(r2) or tuple(str(d) for d in r2.dims[-1:])
    roles = _parts.Parts(nav, signal_dims[0], tuple(str(d) for d in r2.dims if d not in nav))
    model = fit_curve(fit, measured).transpose(*measured.dims)
    cells = 2 if measured.dtype.kind == "c" else 1
    small = _parts.cube(measured, roles, budget=budget // 2, average=False)
    small_model = _parts.cube(
        model, roles, budget=budget // 2 * (1 if cells == 2 or model.dtype.kind != "c" else 2), average=False
    )
    errors = [f"{name}_stderr" for name in names if f"{name}_stderr" in fit]
    maps_, _ = _parts.first(fit[[*names, *errors, "r2"]], roles.rest)
    maps_ = _parts.ascending(maps_.transpose(*nav), nav)
    axes, places, place_names = navigator(small.data, nav)
    full_axes, full_places, _ = navigator(maps_["r2"], nav)
    signal = style.axis(small.data, roles.signal)
    maps: list[Any] = []
    heads = []
    line = place_names is not None
    for name in [*names, "r2"]:
        da = maps_[name].copy(data=style.read(maps_[name]))
        values = da.values.astype(float)
        shown = style.quantity(da, values, label="r²" if name == "r2" else None)
        heads.append((name, shown))
        if line:
            drawn, _ = profiles.of(maps_, name, full_axes[0])
            maps.append(figure_of(profiles.framed(drawn, shown.title, size)))
            continue
        maps.append(draw_map(values * shown.factor, da, full_axes, full_places, shown.title, size, shown).figure)
        if not np.isfinite(values).any():
            maps[-1].right = []  # a colour bar of nothing
    said = _readouts(fit, roles, small.data, heads)
    score = np.asarray(maps_["r2"].values, dtype=float)
    pixels = places.shape[1]
    index = same_pixels(maps_["r2"], small.data, nav)
    fitted = np.all([np.isfinite(style.read(maps_[name])).reshape(-1) for name in names], axis=0)
    good = np.flatnonzero(fitted[index] if fitted[index].any() else np.isfinite(score.reshape(-1)[index]))
    i = int(good[np.argmin(np.abs(good - (pixels + places.shape[1] ** 0.5) / 2))]) if good.size else 0
    cursor = ColumnDataSource({"x": [places[0, i]], "y": [places[1, i]], "i": [i]})
    marks = [span(figure, places[0, i]) for figure in maps] if line else []
    rings([] if line else maps, cursor)
    spectra: list[Any] = []
    arguments: dict[str, list[Any]] = {
        key: [] for key in ("cubes", "models", "points", "point_fields", "curves", "curve_fields", "labels")
    }
    pairs = list(zip(_channels(small.data), _channels(small_model.data), strict=True))
    for part, modelled in pairs:
        values = part.values.reshape(pixels, -1)
        shown = style.quantity(part, values)
        values = (values * shown.factor).astype(np.float32)
        curve = (modelled.values.reshape(pixels, -1) * shown.factor).astype(np.float32)
        where = (
            f"{axes[0].text_at(places[0, i])}, {axes[1].text_at(places[1, i])}"
            if place_names is None
            else place_names[i]
        )
        figure, dots, line = data_and_fit(
            signal,
            values[i],
            curve[i],
            shown,
            f"{shown.label} at {where}",
            1000 // len(pairs) - 190 // len(pairs),
        )
        figure.name = f"spectrum {len(spectra)}"
        spectra.append(figure)
        arguments["cubes"].append(packed(values))
        arguments["models"].append(packed(curve))
        arguments["points"].append(dots.data_source)
        arguments["point_fields"].append(dots.glyph.y)
        arguments["curves"].append(line.data_source)
        arguments["curve_fields"].append(line.glyph.y)
        arguments["labels"].append(shown.label)
    readout = Div(name="readout", text=said.text(i), styles={"font": f"13px {style.FONT}"}, width=1020)
    callback = CustomJS(
        args={
            **arguments, "cursor": cursor, "place": ColumnDataSource({"x": places[0], "y": places[1]}),
            "x_label": axes[0].label, "y_label": axes[1].label, "unit": axes[0].unit or "", "names": place_names,
            "marks": marks, "spectra": spectra, "readout": readout, "heads": said.heads, "table": said.columns,
            "verdicts": said.verdicts,
        },
        code=scripts.FIT,
    )  # fmt: skip
    for number, figure in enumerate(maps):
        figure.name, figure.toolbar.active_drag = f"map {number}", None
        figure.min_border_left = 60  # so that maps stand in columns, whatever their labels need
        for event in ("tap", "pan"):
            figure.js_on_event(event, callback)
    text = f"Tap or drag on a {'curve' if line else 'map'} for the data (dots) and the fit (line) there."
    if small.note:
        text += f" Shown: {small.note}."
    if not fitted.all():
        text += " Grey: no data, or not converged." if fitted.any() else " No pixel converged."
    cols = pictures.columns(len(maps), cols)
    grid = [row(*maps[j : j + cols]) for j in range(0, len(maps), cols)]
    foot = caption(text)
    foot.width = readout.width  # wider would make the page scroll sideways
    return column(*grid, row(*spectra), readout, foot)


def same_pixels(whole: xr.DataArray, part: xr.DataArray, nav: Sequence[str]) -> np.ndarray:
    """Flat indices in `whole` of the pixels that travel."""
    steps = [-(-whole.sizes[d] // part.sizes[d]) for d in nav]
    kept = [np.arange(0, whole.sizes[d], s)[: part.sizes[d]] for d, s in zip(nav, steps, strict=True)]
    return np.ravel_multi_index(np.meshgrid(*kept, indexing="ij"), [whole.sizes[d] for d in nav]).reshape(-1)


def data_and_fit(
    signal: style.Axis, measured: np.ndarray, fitted: np.ndarray, shown: style.Quantity, title: str, width: int
) -> tuple[Any, Any, Any]:
    hv = style.backend()
    kdim, vdim = (
        hv.Dimension((signal.dim, signal.label), unit=signal.unit),
        hv.Dimension(("value", shown.label), unit=shown.unit),
    )
    dots = hv.Scatter((signal.values, measured.astype(float)), kdim, vdim, label="data").opts(
        backend="bokeh", color="#7f7f7f", size=5 if measured.size < 300 else 3, alpha=0.7
    )
    line = hv.Curve((signal.values, fitted.astype(float)), kdim, vdim, label="fit").opts(
        backend="bokeh", color=style.CATEGORIES[3], line_width=2.2
    )
    drawn = style.dress(
        hv.Overlay([dots, line]),
        title=title,
        frame_width=width,
        frame_height=230,
        padding=0.05,
        show_legend=False,
    )
    figure = figure_of(drawn)
    figure.toolbar.active_drag = None
    return figure, _renderer(figure, "Scatter"), _renderer(figure, "Line")


@dataclass(frozen=True)
class Readouts:
    """What is said of each pixel that travels: a column of text for each value, and why a fit did not converge."""

    heads: list[str]
    columns: list[list[str]]
    verdicts: list[str]

    def text(self, pixel: int) -> str:
        """What is said of one pixel, as `scripts.FIT` puts it together in the page."""
        said = [
            f"<span style='white-space:nowrap'><b>{head}</b> {column[pixel]}</span>"
            for head, column in zip(self.heads, self.columns, strict=True)
        ]
        verdict = self.verdicts[pixel]
        flag = f" &nbsp; <b style='color:#b00020'>{verdict}</b>" if verdict else ""
        return " &nbsp;· ".join(said) + flag


def _readouts(
    fit: xr.Dataset, roles: _parts.Parts, small: xr.DataArray, heads: list[tuple[str, style.Quantity]]
) -> Readouts:
    """What is said of each pixel that travels: values with errors, in display units; every word escaped."""

    def of(variable: str) -> xr.DataArray:
        da, _ = _parts.first(fit[variable], roles.rest)
        return _parts.ascending(da.transpose(*roles.nav), roles.nav)

    index = same_pixels(of("r2"), small, roles.nav)
    values, errors = (
        {
            name: style.read(of(name + end)).reshape(-1)[index] * shown.factor
            for name, shown in heads
            if name + end in fit
        }
        for end in ("", "_stderr")
    )
    some = np.any([np.isfinite(e) for e in errors.values()], axis=0) if errors else np.zeros(index.size, bool)
    columns = []
    for name, shown in heads:
        error = errors.get(name)
        said = [
            value_text(v, None if error is None else error[i], shown.unit, bool(some[i]))
            for i, v in enumerate(values[name])
        ]
        columns.append([html.escape(text) for text in said])
    first, _ = _parts.first(fit[[n for n in ("r2", "converged", "status") if n in fit]], roles.rest)
    verdicts = outcome(_parts.ascending(first.transpose(*roles.nav), roles.nav)).reshape(-1)[index]
    names = ["r²" if name == "r2" else html.escape(name.replace("_", " ")) for name, _ in heads]
    return Readouts(names, columns, [html.escape(v) for v in verdicts])
