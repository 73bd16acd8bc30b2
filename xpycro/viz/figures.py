"""Figures for print: a HoloViews object drawn by Matplotlib at a journal's width.

May import numpy, the floors below and viz; Matplotlib and HoloViews only inside functions.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from xpycro.viz import pictures, style

__all__ = ["save"]

_MM = 1 / 25.4


def save(obj: Any, path: Path, *, width_mm: float | None = None, dpi: int = 300) -> Path:
    """Draw a HoloViews object with Matplotlib and write it; see `xpycro.viz.plot.save`."""
    from matplotlib import rc_context

    with rc_context(_SETTINGS):
        draw(obj, width_mm=width_mm, dpi=dpi).savefig(path)
    return path


_SETTINGS: Any = {
    "font.size": 8, "axes.labelsize": 8, "axes.titlesize": 8, "xtick.labelsize": 7, "ytick.labelsize": 7,
    "legend.fontsize": 7, "axes.linewidth": 0.6, "svg.fonttype": "none", "pdf.fonttype": 42,
}  # fmt: skip


def draw(obj: Any, *, width_mm: float | None = None, dpi: int = 300) -> Any:
    """The Matplotlib figure of a HoloViews object; long titles and labels are wrapped to the room there is."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    panels, cols = _panels(obj)
    rows = math.ceil(len(panels) / cols)
    width = (width_mm or (85 if cols == 1 else 170)) * _MM
    heights = [
        max((_height(p, width / cols) for p in panels[r * cols : (r + 1) * cols]), default=0.1) for r in range(rows)
    ]
    with rc_context(_SETTINGS):
        figure = Figure(figsize=(width, sum(heights)), dpi=dpi, layout="constrained")
        axes = figure.subplots(rows, cols, squeeze=False, gridspec_kw={"height_ratios": heights})
        for number, panel in enumerate(np.ravel(axes)):
            if number < len(panels) and panels[number] is not None:
                _draw(figure, panel, panels[number])
            else:
                panel.set_axis_off()
        for _ in range(4):  # a label of two lines takes room from a title: until nothing moves
            figure.draw_without_rendering()  # lays out; only then is known how much room each text has
            edges = [figure.bbox.width * (c + 1) / cols for c in range(cols)]
            wrapped = False
            for number, panel in enumerate(axes.flat):
                last = number % cols == cols - 1
                right = edges[-1] if last else _left(axes.flat[number + 1], edges[number % cols])
                wrapped |= _wrap(panel, right - 2)
            if not wrapped:
                break
    return figure


def _left(axes: Any, otherwise: float) -> float:
    """Where the next panel begins, its labels included, in dots."""
    box = axes.get_tightbbox() if axes.axison else None
    return otherwise if box is None else float(box.x0)


def _wrap(axes: Any, right: float) -> bool:
    """Break a title that would run into what stands at its right, and a label taller than its axis; whether any was."""
    changed = False
    box = axes.get_window_extent()
    for text, room in ((axes._left_title, right - box.x0), (axes.yaxis.label, box.height + 0.06 * axes.figure.dpi)):
        words = text.get_text()
        extent = text.get_window_extent()
        long = extent.height if text is axes.yaxis.label else extent.width
        if words and long > room:
            longest = max(map(len, words.split("\n")))
            text.set_text("\n".join(_wrapped(words.replace("\n", " "), max(8, int(longest * room / long)))))
            changed |= text.get_text() != words
    return changed


def _panels(obj: Any) -> tuple[list[Any], int]:
    hv = style.backend()
    if isinstance(obj, hv.Layout):
        return [_frame(item) for item in obj], max(1, min(obj._max_cols, len(obj)))
    if not isinstance(obj, hv.Element | hv.Overlay | hv.HoloMap):  # a DynamicMap is a HoloMap
        raise TypeError(f"cannot draw a {type(obj).__name__}: pass what a function of xp.plot returned")
    return [_frame(obj)], 1


def _frame(item: Any) -> Any:
    """What is shown now of something that moves; nothing of a gap."""
    hv = style.backend()
    if isinstance(item, hv.DynamicMap):
        key = tuple(d.values[0] for d in item.kdims)
        return item[key] if key else item[()]
    if isinstance(item, hv.HoloMap):
        return item.last
    return None if isinstance(item, hv.Empty) else item


def _elements(panel: Any) -> list[Any]:
    hv = style.backend()
    return [e for item in panel for e in _elements(item)] if isinstance(panel, hv.Overlay) else [panel]


def _option(panel: Any, name: str) -> Any:
    hv = style.backend()
    for item in [panel, *_elements(panel)]:
        for group in ("plot", "style"):
            options = hv.Store.lookup_options("bokeh", item, group).kwargs
            if name in options:
                return options[name]
    return None


def _height(panel: Any, width: float) -> float:
    """Height of a cell in inches: that of its frame at this width, and room for labels."""
    frame_width, frame_height = (
        _option(panel, k) if panel is not None else None for k in ("frame_width", "frame_height")
    )
    if not frame_width or not frame_height:
        return 0.62 * width
    return min(max(frame_height / frame_width * width * 0.66, 0.5), 1.6 * width) + 0.55


def _draw(figure: Any, axes: Any, panel: Any) -> None:
    hv = style.backend()
    title = _option(panel, "title")
    for element in _elements(panel):
        _draw_element(figure, axes, element)
    first = next((e for e in _elements(panel) if not isinstance(e, hv.VLine)), None)
    if first is None:
        return
    bare = _option(panel, "xaxis") is None and "xaxis" in hv.Store.lookup_options("bokeh", first, "plot").kwargs
    if bare:
        axes.set_xticks([])
        axes.set_yticks([])
        _scale_bar(axes, first)
    else:
        axes.set_xlabel(first.dimensions()[0].pprint_label)
        axes.set_ylabel(first.dimensions()[1].pprint_label)
    if title:
        lines = title.split("\n")  # of an explorer the rest are the numbers at its cursor, matter for the caption
        if len(lines) > 2:
            title = " ".join(lines[: 1 + lines[1].startswith("at ")])
        axes.set_title(title, loc="left", fontweight="bold")
    for ax, name in ((axes.xaxis, "xticks"), (axes.yaxis, "yticks")):
        named = _option(panel, name)
        if isinstance(named, list) and not bare:
            ax.set_ticks(*map(list, zip(*named, strict=True)))
    if _option(panel, "logy"):
        axes.set_yscale("log")
    handles, labels = axes.get_legend_handles_labels()
    if 1 < len(labels) <= 8 and _option(panel, "show_legend") is not False:
        axes.legend(handles, labels, frameon=False, handlelength=1.2)


def _scale_bar(axes: Any, element: Any) -> None:
    """A bar below a picture of lengths that has no axes."""
    unit = element.kdims[0].unit
    if unit != element.kdims[1].unit or not unit or not unit.endswith("m"):
        return
    low, high = axes.get_xlim()
    length = pictures.round_length((high - low) * 0.4)
    end = length / (high - low)
    axes.plot([0, end], [-0.05, -0.05], color=style.INK, lw=1.5, transform=axes.transAxes, clip_on=False)
    axes.text(end / 2, -0.09, f"{length:g} {unit}", transform=axes.transAxes, ha="center", va="top", fontsize=7)


def _wrapped(title: str, width: int) -> list[str]:
    import textwrap

    return [part for line in title.split("\n") for part in textwrap.wrap(line, width)]


def _draw_element(figure: Any, axes: Any, element: Any) -> None:
    hv = style.backend()
    look = hv.Store.lookup_options("bokeh", element, "style").kwargs
    colour = look.get("color")
    if isinstance(element, hv.RGB):
        left, bottom, right, top = element.bounds.lbrt()
        colours = np.stack([element.dimension_values(d, flat=False) for d in element.vdims], axis=-1)
        axes.imshow(colours, origin="lower", extent=(left, right, bottom, top), interpolation="nearest")
    elif isinstance(element, hv.Image | hv.QuadMesh):
        _draw_mesh(figure, axes, element, look)
    elif isinstance(element, hv.Points):
        x, y = (element.dimension_values(i) for i in (0, 1))
        if isinstance(colour, str) and colour in element.vdims:
            from matplotlib.colors import ListedColormap

            low, high = _option(element, "clim")
            drawn = axes.scatter(
                x, y, c=element.dimension_values(2), cmap=ListedColormap(look["cmap"]), vmin=low, vmax=high, s=10
            )
            _bar(figure, axes, drawn)
        elif element.vdims:  # the rings of a cursor, each with its colour and width
            for x0, y0, edge, width in zip(x, y, *(element.dimension_values(i) for i in (2, 3)), strict=True):
                axes.plot(x0, y0, "o", mfc="none", mec=edge, ms=5, mew=width / 2)
        else:
            inside = look.get("fill_color", "none") if look.get("fill_alpha", 1) else "none"
            size, width = 0.42 * look.get("size", 12), look.get("line_width", 1) / 2
            axes.plot(x, y, "o", mfc=inside, mec=look.get("line_color"), ms=size, mew=width)
    elif isinstance(element, hv.ErrorBars):
        x, y, error = (element.dimension_values(i) for i in (0, 1, 2))
        axes.errorbar(x, y, error, fmt="none", ecolor=look.get("line_color"), elinewidth=0.8)
    elif isinstance(element, hv.Area):
        x, low, high = (element.dimension_values(i) for i in (0, 1, 2))
        axes.fill_between(x, low, high, color=colour, alpha=look.get("alpha", 0.2), linewidth=0)
    elif isinstance(element, hv.Scatter):
        x, y = (element.dimension_values(i) for i in (0, 1))
        inside = look.get("fill_color", colour)
        axes.plot(x, y, "o", color=colour, mfc=inside, mew=0.4, ms=2, label=element.label or None)
    elif isinstance(element, hv.Labels):
        for x, y, text in zip(*(element.dimension_values(i) for i in range(3)), strict=True):
            axes.text(
                x, y, text, color=look.get("text_color"), fontsize=6, rotation=look.get("angle", 0),
                rotation_mode="anchor", va="center", ha=look.get("text_align", "center"),
            )  # fmt: skip
    elif isinstance(element, hv.Histogram):
        axes.stairs(element.dimension_values(1), element.edges, fill=True, color=colour)
    elif isinstance(element, hv.Curve):
        axes.plot(
            *(element.dimension_values(i) for i in (0, 1)), color=colour, lw=look.get("line_width", 1.8) / 1.8,
            alpha=look.get("alpha", 1.0), label=element.label or None,
        )  # fmt: skip
    elif isinstance(element, hv.VLine):
        axes.axvline(element.data, color=colour, lw=0.8, ls="--")
    elif isinstance(element, hv.VSpan):
        first, last = element.data[:2]
        if last > first:
            axes.axvspan(first, last, color=colour, alpha=look.get("alpha", 0.1), lw=0)
    elif isinstance(element, hv.Path):  # an Ellipse is one
        for part in element.split():
            one = part.dimension_values(2)[0] if part.vdims else colour
            axes.plot(*(part.dimension_values(i) for i in (0, 1)), color=one, lw=1.2)
    else:
        raise TypeError(f"cannot draw a {type(element).__name__} for print; save it as .html")


def _bar(figure: Any, axes: Any, drawn: Any) -> Any:
    """A colour bar as tall as its picture, which true aspect may make lower than its cell."""
    return figure.colorbar(drawn, cax=axes.inset_axes((1.03, 0, 0.06, 1)))


def _draw_mesh(figure: Any, axes: Any, element: Any, look: dict[str, Any]) -> None:
    from matplotlib.colors import ListedColormap, LogNorm, Normalize

    hv = style.backend()
    plot = hv.Store.lookup_options("bokeh", element, "plot").kwargs
    low, high = plot["clim"]
    norm = LogNorm(low, high) if plot.get("logz") else Normalize(low, high)
    cmap = ListedColormap(look["cmap"]).with_extremes(bad=style.NO_DATA)
    values = np.ma.masked_invalid(element.dimension_values(2, flat=False))
    if plot.get("logz"):
        values = np.ma.maximum(values, low)  # zero counts have the lowest colour, as on the screen
    if isinstance(element, hv.Image):
        left, bottom, right, top = element.bounds.lbrt()
        drawn = axes.imshow(
            values, origin="lower", extent=(left, right, bottom, top), cmap=cmap, norm=norm,
            aspect="equal" if element.kdims[0].unit == element.kdims[1].unit else "auto", interpolation="nearest",
        )  # fmt: skip
    else:
        x, y = (element.interface.coords(element, d, edges=True) for d in element.kdims)
        drawn = axes.pcolormesh(x, y, values, cmap=cmap, norm=norm, rasterized=True)
    if plot.get("colorbar"):
        bar = _bar(figure, axes, drawn)
        ticks = plot.get("colorbar_opts", {}).get("major_label_overrides")
        if ticks:
            bar.set_ticks(list(ticks), labels=list(ticks.values()))
