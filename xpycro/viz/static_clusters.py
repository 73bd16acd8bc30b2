"""The explorer of clusters that works in a file: label map, mean responses, spectrum of the tapped pixel.

May import numpy, xarray, the floors below and viz; Bokeh only inside functions.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from xpycro.viz import parts as _parts
from xpycro.viz import scripts, static, style
from xpycro.viz.clusters import Clusters
from xpycro.viz.packing import packed
from xpycro.viz.ranks import NONE
from xpycro.viz.static_fit import same_pixels

__all__ = ["clusters_explorer"]

PIXELS = 100_000  # whose places and labels travel where there are no spectra


def clusters_explorer(held: Clusters, *, budget: int = static.BUDGET, size: int = 320) -> Any:
    """Label map and mean responses linked both ways in a file, without a server.

    Parameters
    ----------
    held : Clusters
    budget : int
        How many values of the spectra travel in the page; beyond it every n-th pixel, and the caption says so.
    size : int
        Screen pixels of the map's longer side.

    Returns
    -------
    bokeh.models.Column

    Notes
    -----
    *Laziness*: computes the spectra that travel.
    """
    from bokeh.layouts import column, row
    from bokeh.models import ColumnDataSource, CustomJS

    over, like = held.over, held.like
    note, small = "", None
    if held.data is not None:
        dims = tuple(str(d) for d in held.data.dims)
        cut = _parts.cube(held.data, _parts.Parts(dims[:-1], dims[-1], ()), budget=budget, average=False)
        small, note = cut.data, cut.note
        index = same_pixels(like, small, over.dims)
    else:
        every = math.ceil(math.sqrt(like.size / PIXELS))
        index = same_pixels(like, like.isel({d: slice(None, None, every) for d in over.dims}), over.dims)
    places = over.places[:, index]
    values = like.values if like.ndim == 2 or over.names is None else like.values[None]
    shown = style.Quantity("Cluster", None, 1.0)
    chart = static.draw_map(values, like, over.axes, over.places, held.said(NONE), size, shown)
    cursor = ColumnDataSource({"x": [math.nan], "y": [math.nan], "i": [NONE], "c": [NONE]})
    static.rings([chart.figure], cursor)
    figures, lines, areas, spectra, cubes = [], [], [], [], []
    for number, part in enumerate(held.parts):
        figure = static.figure_of(held.responses(number, size, (), pixel=NONE, cluster=NONE))
        drawn = [r for r in figure.renderers if type(r.glyph).__name__ in ("Line", "Scatter")]
        areas.append([r.glyph for r in figure.renderers if type(r.glyph).__name__ == "Patch"])
        lines.append(drawn[:-1])
        spectra.append(drawn[-1])
        figures.append(figure)
        if small is not None:
            axis = style.axis(small, small.dims[-1]).values
            factor = part.shown.factor if part.part is not np.angle else 1.0
            cubes.append(packed(part.part(small.values.reshape(index.size, -1)) * factor))
            names = {"x": drawn[-1].glyph.x, "y": drawn[-1].glyph.y}
            drawn[-1].data_source.data = {names["x"]: axis, names["y"]: np.full(axis.size, np.nan)}
    chart.figure.name = "map 0"
    for number, figure in enumerate(figures):
        figure.name, figure.toolbar.active_drag = f"spectrum {number}", None
    count = len(held.parts[0].means)
    arguments = {
        "cursor": cursor, "place": ColumnDataSource({"x": places[0], "y": places[1]}), "map": chart.figure,
        "mapper": chart.mapper, "palettes": [held.colours(i) for i in (*range(count), NONE)],
        "labels": held.labels[index].tolist(), "figures": figures, "lines": [[r.glyph for r in one] for one in lines],
        "means": [[r.data_source for r in one] for one in lines], "fields": [[r.glyph.y for r in one] for one in lines],
        "signal": held.signal.values.tolist(), "areas": areas, "spectra": [r.data_source for r in spectra],
        "spectrum_fields": [r.glyph.y for r in spectra], "cubes": cubes,
        "said": [held.said(i) for i in (*range(count), NONE)], "names": over.names and [over.names[i] for i in index],
        "titles": [[held.title(p, NONE, i) for i in (*range(count), NONE)] for p in range(len(held.parts))],
        "quantities": [part.shown.label for part in held.parts],
        "spreads": ["" if part.band is None else " ± standard deviation" for part in held.parts],
        "x_label": over.axes[0].label, "y_label": over.axes[1].label, "unit": over.axes[0].unit or "",
    }  # fmt: skip
    action = CustomJS(args=arguments, code=scripts.CLUSTERS)
    for figure in (chart.figure, *figures):
        for event in ("tap", "pan", "doubletap") if figure is chart.figure else ("tap", "doubletap"):
            figure.js_on_event(event, action)
    text = "Tap or drag on the map for a pixel and its cluster, tap a mean for its pixels, double tap for all."
    text += f" Spectra: {note}." if note else ""
    text += "" if cubes else " The data were not found: without spectra of pixels."
    return column(row(chart.figure, *figures[:1]), *([row(*figures[1:])] if figures[1:] else []), static.caption(text))
