"""The elements of a HoloViews object drawn on the axes of a print figure, with Bokeh's options as they were chosen.

May import numpy, the floors below and viz; Matplotlib and HoloViews only inside functions. How panels are laid out, and
every text outside a frame, is for `viz.figure_layout`.
"""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Callable
from typing import Any

import numpy as np

from xpycro.viz import pictures, style

__all__ = ["draw", "elements", "number", "option", "scale_bar", "superscript", "words"]

_MM = 1 / 25.4

BAR, GAP = 2.0, 1.0  # mm: how wide a colour bar is, and how far from its picture


def elements(panel: Any) -> list[Any]:
    """What lies on top of each other in a panel, lowest first."""
    hv = style.backend()
    return [e for item in panel for e in elements(item)] if isinstance(panel, hv.Overlay) else [panel]


def option(panel: Any, name: str) -> Any:
    """An option of a panel or of the first of its elements that has it."""
    hv = style.backend()
    for item in [panel, *elements(panel)]:
        for group in ("plot", "style"):
            options = hv.Store.lookup_options("bokeh", item, group).kwargs
            if name in options:
                return options[name]
    return None


def words(text: str) -> str:
    """A text as it is printed: a minus in front of numbers, a capital to begin with where that is a word of ours."""
    text = re.sub(r"(?<![\w.\-])-(?=\d)", "−", text)
    return text[:1].upper() + text[1:] if re.match(r"[a-z]{3,}\b(?!/)", text) else text


def draw(axes: Any, panel: Any) -> None:
    """Draw the elements of a panel and keep a legend of up to eight names."""
    for element in elements(panel):
        kinds = (k.__name__ for k in type(element).__mro__ if k.__name__ in _DRAWN)
        kind = next(kinds, None)
        if kind is None:
            raise TypeError(f"cannot draw a {type(element).__name__} for print; save it as .html")
        look = style.backend().Store.lookup_options("bokeh", element, "style").kwargs
        _DRAWN[kind](axes, element, look)
    handles, labels = axes.get_legend_handles_labels()
    if 1 < len(labels) <= 8 and option(panel, "show_legend") is not False:
        axes.legend(handles, labels, frameon=False, handlelength=1.2)


def scale_bar(axes: Any, element: Any) -> None:
    """A bar below a picture of lengths that has no axes."""
    from matplotlib.transforms import offset_copy

    unit = element.kdims[0].unit
    if unit != element.kdims[1].unit or not unit or not unit.endswith("m"):
        return
    low, high = axes.get_xlim()
    length = pictures.round_length((high - low) * 0.4)
    end = length / (high - low)
    at, below = (offset_copy(axes.transAxes, axes.figure, y=-mm * _MM) for mm in (1.2, 1.9))
    axes.plot([0, end], [0, 0], color=style.INK, lw=1.5, transform=at, clip_on=False, solid_capstyle="butt")
    axes.text(0, 0, f"{length:g} {unit}", transform=below, ha="left", va="top", fontsize=7)


# ---------------------------------------------------------------------------------------------------------- pictures


def _rgb(axes: Any, element: Any, look: dict[str, Any]) -> None:
    left, bottom, right, top = element.bounds.lbrt()
    colours = np.stack([element.dimension_values(d, flat=False) for d in element.vdims], axis=-1)
    axes.imshow(colours, origin="lower", extent=(left, right, bottom, top), aspect="auto", interpolation="nearest")


def _mesh(axes: Any, element: Any, look: dict[str, Any]) -> None:
    from matplotlib.colors import ListedColormap, LogNorm, Normalize

    hv = style.backend()
    plot = hv.Store.lookup_options("bokeh", element, "plot").kwargs
    low, high = plot["clim"]
    log = bool(plot.get("logz"))
    norm = LogNorm(low, high) if log else Normalize(low, high)
    cmap = ListedColormap(look["cmap"]).with_extremes(bad=style.NO_DATA)
    values = np.ma.masked_invalid(element.dimension_values(2, flat=False))
    if log:
        values = np.ma.maximum(values, low)  # zero counts have the lowest colour, as on the screen
    if isinstance(element, hv.Image):
        left, bottom, right, top = element.bounds.lbrt()
        drawn = axes.imshow(
            values, origin="lower", extent=(left, right, bottom, top), cmap=cmap, norm=norm, aspect="auto",
            interpolation="nearest",
        )  # fmt: skip
    else:
        x, y = (element.interface.coords(element, d, edges=True) for d in element.kdims)
        drawn = axes.pcolormesh(x, y, values, cmap=cmap, norm=norm, rasterized=True)
    if plot.get("colorbar"):
        bar = _bar(axes, drawn)
        named = plot.get("colorbar_opts", {}).get("major_label_overrides")
        if named:
            bar.set_ticks(list(named), labels=[textwrap.fill(str(name), 16) for name in named.values()])
        elif log:
            places = _decades(low, high)
            bar.set_ticks(places, labels=[number(p, low, high) for p in places])
            bar.ax.minorticks_off()


def _bar(axes: Any, drawn: Any) -> Any:
    """A colour bar at the right of its picture and as tall, however little of its cell the true aspect leaves that."""
    from matplotlib.transforms import Bbox

    def beside(bar: Any, renderer: Any) -> Any:
        box, mm = axes.get_window_extent(), axes.figure.dpi * _MM
        placed = Bbox.from_bounds(box.x1 + GAP * mm, box.y0, BAR * mm, box.height)
        return placed.transformed(axes.figure.transFigure.inverted())

    place = axes.inset_axes((1.03, 0, 0.06, 1))
    place.set_axes_locator(beside)
    return axes.figure.colorbar(drawn, cax=place)


def _decades(low: float, high: float) -> list[float]:
    """Places on a logarithmic scale that are named: 1, 2, 5 of each decade, or the decades where those are many."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    steps: tuple[int, ...] = (1, 2, 5) if last - first <= 2 else (1,)
    found = [m * 10.0**k for k in range(first, last + 1) for m in steps if low <= m * 10.0**k <= high]
    every = -(-len(found) // 6)
    return found[::every] if len(found) > 1 else [float(f"{v:.2g}") for v in (low, high)]


def number(value: float, low: float, high: float) -> str:
    """A place on a logarithmic scale: plain where all between its ends are short, else a power of ten."""
    if 1e-3 < low and high < 1e5:
        return f"{value:g}"
    mantissa, power = f"{value:.0e}".split("e")
    return (f"{mantissa}·" if mantissa != "1" else "") + "10" + superscript(int(power))


def superscript(number: int) -> str:
    """A whole number in raised digits."""
    return str(number).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


# ------------------------------------------------------------------------------------------------- points and letters


def _points(axes: Any, element: Any, look: dict[str, Any]) -> None:
    x, y = (element.dimension_values(i) for i in (0, 1))
    colour = look.get("color")
    if isinstance(colour, str) and colour in element.vdims:
        from matplotlib.colors import ListedColormap

        low, high = option(element, "clim")
        drawn = axes.scatter(
            x, y, c=element.dimension_values(2), cmap=ListedColormap(look["cmap"]), vmin=low, vmax=high, s=10
        )
        _bar(axes, drawn)
    elif element.vdims:  # the rings of a cursor, each with its colour and width
        for x0, y0, edge, width in zip(x, y, *(element.dimension_values(i) for i in (2, 3)), strict=True):
            axes.plot(x0, y0, "o", mfc="none", mec=edge, ms=5, mew=width / 2)
    else:
        inside = look.get("fill_color", "none") if look.get("fill_alpha", 1) else "none"
        size, width = 0.42 * look.get("size", 12), look.get("line_width", 1) / 2
        axes.plot(x, y, "o", mfc=inside, mec=look.get("line_color"), ms=size, mew=width)


def _scatter(axes: Any, element: Any, look: dict[str, Any]) -> None:
    x, y = (element.dimension_values(i) for i in (0, 1))
    colour = look.get("color")
    inside = look.get("fill_color", colour)
    axes.plot(x, y, "o", color=colour, mfc=inside, mew=0.4, ms=2, label=element.label or None)


def _labels(axes: Any, element: Any, look: dict[str, Any]) -> None:
    from matplotlib.transforms import offset_copy

    if look.get("text_align") == "right":  # notes in the corner, below each other
        for text in element.dimension_values(2):
            line = offset_copy(axes.transAxes, axes.figure, x=-1 * _MM, y=-(1 + 2.5 * len(axes.texts)) * _MM)
            ground = {"facecolor": "white", "alpha": 0.7, "linewidth": 0, "pad": 0.3}  # curves pale behind letters
            axes.text(
                1, 1, text, color=look.get("text_color"), fontsize=6, ha="right", va="top", transform=line, bbox=ground
            )
        return
    for x, y, text in zip(*(element.dimension_values(i) for i in range(3)), strict=True):
        axes.text(
            x, y, text, color=look.get("text_color"), fontsize=6, rotation=look.get("angle", 0),
            rotation_mode="anchor", va="center", ha=look.get("text_align", "center"),
        )  # fmt: skip


# ------------------------------------------------------------------------------------------------------------- curves


def _error_bars(axes: Any, element: Any, look: dict[str, Any]) -> None:
    x, y, error = (element.dimension_values(i) for i in (0, 1, 2))
    axes.errorbar(x, y, error, fmt="none", ecolor=look.get("line_color"), elinewidth=0.8)


def _area(axes: Any, element: Any, look: dict[str, Any]) -> None:
    x, low, high = (element.dimension_values(i) for i in (0, 1, 2))
    axes.fill_between(x, low, high, color=look.get("color"), alpha=look.get("alpha", 0.2), linewidth=0)


def _histogram(axes: Any, element: Any, look: dict[str, Any]) -> None:
    axes.stairs(element.dimension_values(1), element.edges, fill=True, color=look.get("color"))


def _curve(axes: Any, element: Any, look: dict[str, Any]) -> None:
    axes.plot(
        *(element.dimension_values(i) for i in (0, 1)), color=look.get("color"), lw=look.get("line_width", 1.8) / 1.8,
        alpha=look.get("alpha", 1.0), label=element.label or None,
    )  # fmt: skip


def _path(axes: Any, element: Any, look: dict[str, Any]) -> None:
    for part in element.split():
        one = part.dimension_values(2)[0] if part.vdims else look.get("color")
        axes.plot(*(part.dimension_values(i) for i in (0, 1)), color=one, lw=1.2)


def _line_across(axes: Any, element: Any, look: dict[str, Any]) -> None:
    axes.axhline(element.data, color=look.get("color"), lw=0.8)


def _line_up(axes: Any, element: Any, look: dict[str, Any]) -> None:
    axes.axvline(element.data, color=look.get("color"), lw=0.8, ls="--")


def _band(axes: Any, element: Any, look: dict[str, Any]) -> None:
    first, last = element.data[:2]
    if last > first:
        axes.axvspan(first, last, color=look.get("color"), alpha=look.get("alpha", 0.1), lw=0)


_DRAWN: dict[str, Callable[[Any, Any, dict[str, Any]], None]] = {
    "RGB": _rgb, "Image": _mesh, "QuadMesh": _mesh, "Points": _points, "ErrorBars": _error_bars, "Area": _area,
    "Scatter": _scatter, "Labels": _labels, "Histogram": _histogram, "Curve": _curve, "HLine": _line_across,
    "VLine": _line_up, "VSpan": _band, "Path": _path,
}  # fmt: skip  # by class or the nearest it derives from: an Ellipse is a Path
