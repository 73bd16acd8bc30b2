"""Figures for print: a HoloViews object drawn by Matplotlib at a journal's width.

May import numpy, the floors below and viz; Matplotlib and HoloViews only inside functions.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from xpycro.viz import figure_elements, style
from xpycro.viz.figure_elements import elements, option, words
from xpycro.viz.figure_fonts import families
from xpycro.viz.figure_layout import MM, Panel, arrange, rows_of

__all__ = ["draw", "save"]


def save(obj: Any, path: Path, *, width_mm: float | None = None, dpi: int = 300, letters: bool = True) -> Path:
    """Draw a HoloViews object with Matplotlib and write it; see `xpycro.viz.plot.save`."""
    from matplotlib import rc_context

    with rc_context(_SETTINGS):
        draw(obj, width_mm=width_mm, dpi=dpi, letters=letters).savefig(path)
    return path


_SETTINGS: Any = {
    "font.size": 8, "axes.labelsize": 8, "axes.titlesize": 8, "xtick.labelsize": 7, "ytick.labelsize": 7,
    "legend.fontsize": 7, "axes.linewidth": 0.6, "xtick.major.width": 0.6, "ytick.major.width": 0.6,
    "xtick.major.size": 2.5, "ytick.major.size": 2.5, "xtick.major.pad": 2, "ytick.major.pad": 2, "axes.labelpad": 2,
    "axes.titlepad": 5, "axes.unicode_minus": True, "axes.formatter.useoffset": False,
    "axes.formatter.limits": (-3, 5), "axes.formatter.use_mathtext": False, "text.parse_math": False,
    "svg.fonttype": "none", "pdf.fonttype": 42,
}  # fmt: skip


def draw(obj: Any, *, width_mm: float | None = None, dpi: int = 300, letters: bool = True) -> Any:
    """The Matplotlib figure of a HoloViews object, its panels in rows that its width has room for."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels, cols = _panels(obj)
    width = (width_mm or (85 if cols == 1 else 170)) * MM
    with rc_context(_SETTINGS):
        figure = Figure(figsize=(width, width), dpi=dpi)
        FigureCanvasAgg(figure)  # measures texts
        bands = rows_of(panels, cols, width)
        for panel in (p for band in bands for row in band for p in row if p is not None):
            panel.axes = figure.add_axes((0.2, 0.2, 0.6, 0.6), label=str(id(panel)))
            _draw(panel)
        _write(figure)
        arrange(figure, bands, letters=letters)
    return figure


def _write(figure: Any) -> None:
    """All texts in a font that has their letters."""
    from matplotlib import rcParams
    from matplotlib.text import Text

    texts = figure.findobj(Text)
    rcParams["font.family"] = families(text.get_text() for text in texts)  # of ticks that come later; see rc_context
    for text in texts:
        text.set_fontfamily(rcParams["font.family"])


def _panels(obj: Any) -> tuple[list[Panel | None], int]:
    hv = style.backend()
    if isinstance(obj, hv.Layout):
        return [_panel(item) for item in obj], max(1, min(obj._max_cols, len(obj)))
    if not isinstance(obj, hv.Element | hv.Overlay | hv.HoloMap):  # a DynamicMap is a HoloMap
        raise TypeError(
            f"cannot draw a {type(obj).__name__} as one figure: pass a picture or explorer of xp.plot (of a whole "
            "file the view of one node), or save as .html"
        )
    return [_panel(obj)], 1


def _panel(item: Any) -> Panel | None:
    hv = style.backend()
    content = _frame(item)
    if content is None:
        return None
    parts = elements(content)
    width, height = (option(content, k) for k in ("frame_width", "frame_height"))
    ratio = height / width if width and height else 0.62
    if not any(isinstance(e, hv.Image | hv.QuadMesh) or _is_map(e) for e in parts):  # a photograph is an Image too
        return Panel(content, "curve", min(max(0.9 * ratio, 0.5), 0.7), _title(content))
    return Panel(content, "bare" if _is_bare(content) else "picture", ratio, _title(content))


def _is_map(element: Any) -> bool:
    """Whether an element is coloured points."""
    hv = style.backend()
    return isinstance(element, hv.Points) and option(element, "color") in element.vdims


def _frame(item: Any) -> Any:
    """What is shown now of something that moves; nothing of a gap."""
    hv = style.backend()
    if isinstance(item, hv.DynamicMap):
        key = tuple(d.values[0] for d in item.kdims)
        return item[key] if key else item[()]
    if isinstance(item, hv.HoloMap):
        return item.last
    return None if isinstance(item, hv.Empty) else item


def _first(content: Any) -> Any:
    """The element that says what the axes are."""
    hv = style.backend()
    return next((e for e in elements(content) if not isinstance(e, hv.VLine | hv.HLine | hv.VSpan)), None)


def _is_bare(content: Any) -> bool:
    hv, first = style.backend(), _first(content)
    held = hv.Store.lookup_options("bokeh", first, "plot").kwargs if first is not None else {}
    return "xaxis" in held and option(content, "xaxis") is None


def _title(content: Any) -> str:
    lines = str(option(content, "title") or "").split("\n")
    if len(lines) > 2:  # of an explorer the rest are the numbers at its cursor, matter for the caption
        lines = [" ".join(lines[: 1 + lines[1].startswith("at ")])]
    return words("\n".join(line for line in lines if not line.startswith("drag ")))  # that is said to who looks


def _draw(panel: Panel) -> None:
    axes, content = panel.axes, panel.content
    figure_elements.draw(axes, content)
    first = _first(content)
    axes.set_title(panel.title, loc="left", fontweight="bold")
    if first is None:
        return
    if panel.kind == "bare":
        axes.set_xticks([])
        axes.set_yticks([])
        figure_elements.scale_bar(axes, first)
        return
    axes.set_xlabel(words(first.dimensions()[0].pprint_label))
    axes.set_ylabel(words(first.dimensions()[1].pprint_label))
    for ax, name in ((axes.xaxis, "xticks"), (axes.yaxis, "yticks")):
        named = option(content, name)
        if isinstance(named, list):
            ax.set_ticks(*map(list, zip(*named, strict=True)))
    if option(content, "logy"):
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(lambda value, _: figure_elements.number(value, *axes.get_ylim()))
        axes.yaxis.set_minor_formatter("")
