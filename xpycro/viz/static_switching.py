"""The switching explorer that works in a file: map of a loop parameter, loop, and resonance of a bias step.

May import numpy, xarray, the floors below and viz; Bokeh only inside functions.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import xarray as xr

from xpycro.viz import planes, scripts, static, style
from xpycro.viz.packing import packed
from xpycro.viz.static_fit import data_and_fit, same_pixels
from xpycro.viz.switching import OSCILLATOR, called, levels_of, oscillator

__all__ = ["switching_explorer"]

BUDGET = 900_000


def switching_explorer(
    result: xr.Dataset, loops: xr.Dataset, sho: xr.Dataset, data: xr.DataArray, *, budget: int = BUDGET, size: int = 300
) -> Any:
    """Map of a loop parameter, loop of the tapped pixel, spectrum of the tapped step, without a server.

    Parameters
    ----------
    result, loops, sho, data
        As for `xpycro.viz.switching.switching`.
    budget : int
        How many values travel in the page; beyond it every n-th pixel, and the caption says so.
    size : int
        Screen pixels of the map's longer side.

    Returns
    -------
    bokeh.models.Column

    Notes
    -----
    *Laziness*: computes maps and loops, and the spectra of the pixels that travel.
    """
    from bokeh.layouts import column, row
    from bokeh.models import ColumnDataSource, CustomJS
    from bokeh.models.widgets import Select

    levels = levels_of(result, loops, sho, data)
    nav, dim = [str(d) for d in levels.maps["r2"].dims], str(levels.data.dims[2])
    each = 2 * levels.data.sizes[dim] * levels.data.sizes["frequency"]
    every = 1
    while each * math.prod(math.ceil(levels.data.sizes[d] / every) for d in nav) > budget and every < 256:
        every += 1
    thin = {d: slice(None, None, every) for d in nav}
    spectra = style.read(levels.data.isel(thin))
    count = spectra.shape[0] * spectra.shape[1]
    spectra = spectra.reshape(count, *spectra.shape[2:])
    oscillators = np.stack([style.read(levels.sho[n].isel(thin)).reshape(count, -1) for n in OSCILLATOR], axis=-1)
    index = same_pixels(levels.maps["r2"], levels.maps["r2"].isel(thin), nav)
    places, measured, fitted = levels.over.places[:, index], levels.loops[index], levels.fitted[index]
    i, k = int(np.argmin(np.abs(index - levels.start))), 0

    drawn_maps, titles = [], []
    for name in levels.names:
        values = np.asarray(levels.maps[name].values, dtype=float)
        shown = style.quantity(levels.maps[name], values, label=called(name))
        drawn_maps.append(values * shown.factor)
        titles.append(shown.title)
    first = levels.names.index("switching_bias_positive")
    da = levels.maps[levels.names[first]]
    chart = static.draw_map(drawn_maps[first], da, levels.over.axes, levels.over.places, titles[first], size)
    cursor = ColumnDataSource({"x": [places[0, i]], "y": [places[1, i]], "i": [i], "k": [k]})
    static.rings([chart.figure], cursor)
    loop, dots, line, mark = _loop_figure(
        levels.bias, levels.shown, measured[i], fitted[i], k, levels.over.where(int(index[i]))
    )
    amplitude_like, phase_like = planes.amplitude_phase(levels.data.isel({d: slice(0, 1) for d in levels.data.dims}))
    axis = style.axis(levels.data, "frequency")
    shown = style.quantity(amplitude_like, np.abs(spectra))
    frequency = levels.data["frequency"].values.astype(float)
    model = oscillator(frequency, oscillators[i, k])
    title = f"at {levels.bias.text(k)}".replace("= -", "= −")
    drawn = []
    for like, part, factor in ((amplitude_like, np.abs, shown.factor), (phase_like, np.angle, 1.0)):
        quantity = shown if part is np.abs else style.quantity(like, np.ones(1))
        figure, points, curve = data_and_fit(
            axis, part(spectra[i, k]) * factor, part(model) * factor, quantity, f"{quantity.label} {title}", 400
        )
        drawn.append((figure, points, curve, quantity.label))
    flat = [part.reshape(-1, frequency.size) for part in (spectra.real, spectra.imag)]
    common = {
        "cursor": cursor, "place": ColumnDataSource({"x": places[0], "y": places[1]}), "names": None,
        "x_label": levels.over.axes[0].label, "y_label": levels.over.axes[1].label,
        "unit": levels.over.axes[0].unit or "",
    }  # fmt: skip
    action = CustomJS(
        args={
            **common, "map": chart.figure, "loop": loop, "bias": levels.bias.values.tolist(),
            "bias_label": levels.bias.label, "bias_unit": levels.bias.unit or "", "loop_label": levels.shown.label,
            "loops": packed(measured),
            "fits": packed(fitted),
            "dots": dots, "line": line, "mark": mark, "frequency": frequency.tolist(), "factor": shown.factor,
            "re": packed(flat[0]),
            "im": packed(flat[1]),
            "oscillators": ColumnDataSource({"values": oscillators.reshape(-1)}),
            "figures": [d[0] for d in drawn], "points": [d[1].data_source for d in drawn],
            "point_fields": [d[1].glyph.y for d in drawn], "curves": [d[2].data_source for d in drawn],
            "curve_fields": [d[2].glyph.y for d in drawn], "labels": [d[3] for d in drawn],
        },
        code=scripts.SWITCH,
    )  # fmt: skip
    for figure in (chart.figure, loop):
        for event in ("tap", "pan"):
            figure.js_on_event(event, action)
    options: list[Any] = list(zip(levels.names, titles, strict=True))
    select = Select(title="Parameter", value=levels.names[first], options=options)
    select.js_on_change(
        "value",
        CustomJS(
            args={
                **common, "parameters": levels.names, "titles": titles, "figure": chart.figure, "picture": chart.source,
                "field": chart.field, "order": None if chart.order is None else chart.order.tolist(),
                "mapper": chart.mapper, "sequential": style.palette("viridis"), "diverging": style.palette("CET_D1A"),
                "planes": ColumnDataSource({"values": np.stack(drawn_maps).astype(np.float32).reshape(-1)}),
            },
            code=scripts.SWITCH_MAP,
        ),
    )  # fmt: skip
    chart.figure.name, loop.name, select.name = "map 0", "loop", "select"
    for number, d in enumerate(drawn):
        d[0].name = f"spectrum {number}"
    text = "Tap the map for the loop there, the loop for the spectrum of that bias step. Dots: data, line: fit."
    if every > 1:
        text += f" Loops and spectra: one pixel in {every} along each axis."
    return column(select, row(chart.figure, loop), row(*[d[0] for d in drawn]), static.caption(text))


def _loop_figure(
    bias: style.Axis, shown: style.Quantity, values: np.ndarray, fitted: np.ndarray, step: int, where: str
) -> tuple[Any, Any, Any, Any]:
    """The loop with its fit, closed, and a ring about the chosen step."""
    from bokeh.models import ColumnDataSource

    hv = style.backend()
    kdim, vdim = (
        hv.Dimension(("bias", bias.label), unit=bias.unit),
        hv.Dimension(("value", shown.label), unit=shown.unit),
    )
    # drawn by Bokeh into an empty frame of the house's style, so that the closed line has a source of its own
    frame = hv.Scatter((bias.values, values), kdim, vdim).opts(backend="bokeh", size=6, color="#7f7f7f", alpha=0.8)
    figure = static.figure_of(
        style.dress(frame, title=f"{shown.label} at {where}", frame_width=380, frame_height=270, padding=0.08)
    )
    figure.toolbar.active_drag = None
    dots = static._renderer(figure, "Scatter")
    line = ColumnDataSource({"x": np.append(bias.values, bias.values[0]), "y": np.append(fitted, fitted[0])})
    mark = ColumnDataSource({"x": [bias.values[step]], "y": [values[step]]})
    figure.line("x", "y", source=line, line_color=style.CATEGORIES[3], line_width=2.2)
    figure.scatter("x", "y", source=mark, size=13, fill_color=None, line_color=style.CURSOR, line_width=2)
    return figure, dots, line, mark
