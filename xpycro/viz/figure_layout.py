"""Where the panels of a print figure stand: rows at a journal's width, texts that fit, nothing on top of each other.

May import numpy, the floors below and viz; Matplotlib only inside functions. What is inside a frame is for
`viz.figure_elements`.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from xpycro.viz import pictures
from xpycro.viz.figure_elements import superscript

__all__ = ["Panel", "arrange", "rows_of"]

MM = 1 / 25.4

PAGE = 235 * MM  # the most a figure may be high

TALLEST = 1.25  # times its width

LOWEST = 18 * MM  # height of curves

BETWEEN = 3 * MM  # from one panel to the next

NARROWEST = {"bare": 26, "picture": 40, "curve": 40}  # mm that a panel needs with its labels

SMALLEST = 6.0  # points

LINES = 3  # of a label beside an axis


@dataclass
class Panel:
    """One of the panels of a figure.

    Attributes
    ----------
    content : HoloViews element or overlay
    kind : str
        ``bare`` (a picture without axes), ``picture`` or ``curve``.
    ratio : float
        Height of the frame by its width.
    title : str
    axes : matplotlib.axes.Axes
        Once it is drawn.
    margins : list of float
        Inches that labels take at the left, right, bottom and top of the frame.
    labels : dict of str to str
        Of the axes x and y, whole.
    """

    content: Any
    kind: str
    ratio: float
    title: str = ""
    axes: Any = None
    margins: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0, 0.0])
    labels: dict[str, str] = field(default_factory=dict)


Row = list[Panel | None]


def rows_of(panels: Sequence[Panel | None], cols: int, width: float) -> list[list[Row]]:
    """Panels in bands of rows whose frames line up: as on the screen, or of fewer columns where the figure is narrow.

    Parameters
    ----------
    panels : sequence of Panel or None
        None is a gap.
    cols : int
        Columns on the screen.
    width : float
        Inches.
    """
    drawn = [p for p in panels if p is not None]
    stacked = sum(0.75 * width * min(p.ratio, TALLEST) + 14 * MM for p in drawn)
    if cols > 1 and width < 110 * MM and stacked < 1.6 * width:
        return [[[p] for p in drawn]]
    if width / cols >= max((NARROWEST[p.kind] for p in drawn), default=0) * MM:
        return [_in_rows(panels, cols)]
    bands: list[list[Row]] = []
    for alike in _alike(panels):
        count = pictures.columns(len(alike), int(width / (NARROWEST[alike[0].kind] * MM)))
        rows = _in_rows(alike, count)
        if bands and len(bands[-1][0]) == count:
            bands[-1] += rows
        else:
            bands.append(rows)
    return bands


def _in_rows(panels: Sequence[Panel | None], cols: int) -> list[Row]:
    filled = [*panels, *[None] * (-len(panels) % cols)]
    return [filled[i : i + cols] for i in range(0, len(filled), cols)]


def _alike(panels: Sequence[Panel | None]) -> Iterator[list[Panel]]:
    """Neighbours of one kind."""
    held: list[Panel] = []
    for panel in (p for p in panels if p is not None):
        if held and held[0].kind != panel.kind:
            yield held
            held = []
        held.append(panel)
    if held:
        yield held


def arrange(figure: Any, bands: Sequence[Sequence[Row]], *, letters: bool) -> None:
    """Give every panel its place and the figure its height, so that all texts have room.

    What labels take is known once they stand at a frame of some size, whose size depends on it: a few rounds, until
    nothing moves any more.
    """
    panels = [p for band in bands for row in band for p in row if p is not None]
    names = [f"{chr(97 + i % 26)}\u00a0\u00a0" if letters and len(panels) > 1 else "" for i in range(len(panels))]
    for panel in panels:
        panel.labels = {"x": panel.axes.get_xlabel(), "y": panel.axes.get_ylabel()}
        panel.margins = [9 * MM, 2 * MM, 8 * MM, 5 * MM]
        if panel.kind != "curve":
            panel.axes.set_box_aspect(panel.ratio)
            panel.axes.set_anchor("NW")
    for turn in range(6):
        before = [p.margins for p in panels]
        rooms = _place(figure, bands)
        for panel, name, (left, right) in zip(panels, names, rooms, strict=True):
            _fit(panel, name, left, right)
            if turn == 1:
                _clear_legend(panel.axes, left, right)
        for panel in panels:
            panel.margins = _margins(panel.axes)
        if turn > 1 and np.abs(np.subtract(before, [p.margins for p in panels])).max() < 0.4 * MM:
            break
    _place(figure, bands)


def _place(figure: Any, bands: Sequence[Sequence[Row]]) -> list[tuple[float, float]]:
    """Set the height of the figure and the frames; where each panel's cell begins and ends, in dots."""
    width = figure.get_figwidth()
    sizes = [_sizes(band, width) for band in bands]
    fixed = sum(low + high for _, _, rows in sizes for _, low, high in rows) + BETWEEN * (sum(map(len, bands)) - 1)
    tall = sum(height for _, _, rows in sizes for height, _, _ in rows)
    shrink = min(1.0, max(PAGE - fixed, 0.3 * tall) / tall)
    whole = fixed + tall * shrink + 1 * MM
    figure.set_size_inches(width, whole)
    top = whole - 0.5 * MM
    rooms = []
    for band, (lefts, inner, rows) in zip(bands, sizes, strict=True):
        for row, (height, low, high) in zip(band, rows, strict=True):
            height *= shrink
            for number, panel in enumerate(row):
                if panel is None:
                    continue
                x = lefts[number] + _column(band, number, 0)
                panel.axes.set_position((x / width, (top - high - height) / whole, inner / width, height / whole))
                end = lefts[number + 1] - BETWEEN if number + 1 < len(row) else width - 0.5 * MM
                rooms.append((lefts[number] * figure.dpi, end * figure.dpi))
            top -= height + low + high + BETWEEN
    return rooms


def _sizes(band: Sequence[Row], width: float) -> tuple[list[float], float, list[tuple[float, float, float]]]:
    """Where columns begin, how wide all frames are, and of each row the frame's height and what is below and above."""
    count = len(band[0])
    sides = [_column(band, c, 0) + _column(band, c, 1) for c in range(count)]
    inner = max((width - 1 * MM - sum(sides) - BETWEEN * (count - 1)) / count, 5 * MM)
    lefts = [0.5 * MM + sum(sides[:c]) + c * (inner + BETWEEN) for c in range(count)]
    rows = []
    for row in band:
        drawn = [p for p in row if p is not None]
        high = [inner * min(p.ratio, TALLEST) for p in drawn if p.kind != "curve"]
        if len(high) < len(drawn):  # curves are as high as the pictures beside them, but never flat
            high = [max([*high, LOWEST, inner * (0.5 if high else max(p.ratio for p in drawn))])]
        rows.append((max(high), max(p.margins[2] for p in drawn), max(p.margins[3] for p in drawn)))
    return lefts, inner, rows


def _column(band: Sequence[Row], number: int, side: int) -> float:
    """What the labels of a column take at one side."""
    return max((row[number].margins[side] for row in band if row[number] is not None), default=0.0)  # type: ignore[union-attr]


def _margins(axes: Any) -> list[float]:
    axes.apply_aspect()
    renderer, dpi = axes.figure.canvas.get_renderer(), axes.figure.dpi
    frame, box = axes.get_window_extent(renderer), axes.get_tightbbox(renderer, for_layout_only=True)
    ends = (frame.x0 - box.x0, box.x1 - frame.x1, frame.y0 - box.y0, box.y1 - frame.y1)
    return [max(float(e), 0.0) / dpi for e in ends]


# -------------------------------------------------------------------------------------------------------------- texts


def _fit(panel: Panel, letter: str, left: float, right: float) -> None:
    """Ticks, labels and title of a panel into the room of its cell."""
    axes = panel.axes
    axes.apply_aspect()
    frame = axes.get_window_extent()
    for axis, length in ((axes.xaxis, frame.width), (axes.yaxis, frame.height)):
        _tick(axis, length)
    for bar in axes.child_axes:
        bar.apply_aspect(bar.get_axes_locator()(bar, None))
        _tick(bar.yaxis, frame.height)
    across = 2 * min((frame.x0 + frame.x1) / 2 - left, right - (frame.x0 + frame.x1) / 2)
    for axis, words, room in ((axes.xaxis, panel.labels["x"], across), (axes.yaxis, panel.labels["y"], frame.height)):
        if words:
            _write(axis.label, _powered(words, axis), room)
    title = panel.title
    for bar in axes.child_axes:
        title = _powered(title, bar.yaxis)
    text = axes._left_title
    if letter:  # letters stand above the labels, at the beginning of the cell
        text.set_x((left - frame.x0) / frame.width)
    _write(text, letter + title, right - (left if letter else frame.x0))


def _tick(axis: Any, length: float) -> None:
    """As many ticks as their labels have room for; names that do not fit stand upright, then every n-th of them."""
    from matplotlib.ticker import FixedLocator, MaxNLocator

    mm, across = axis.figure.dpi * MM, axis.axis_name == "x"
    locator = axis.get_major_locator()
    if isinstance(locator, MaxNLocator):
        for count in range(max(2, min(7, int(length / (11 if across else 7) / mm))), 0, -1):
            locator.set_params(nbins=count, steps=[1, 2, 5, 10], min_n_ticks=min(2, count))
            if count == 1 or not _crowded(axis, across):
                return
    elif isinstance(locator, FixedLocator) and _crowded(axis, across):
        if across:
            axis.set_tick_params(rotation=90)
        places, names = axis.get_majorticklocs(), [t.get_text() for t in axis.get_majorticklabels()]
        every = 1
        while every < len(places) and _crowded(axis, across, upright=across):
            every += 1
            axis.set_ticks(list(places[::every]), labels=names[::every])


def _crowded(axis: Any, across: bool, upright: bool = False) -> bool:
    """Whether labels of ticks touch each other."""
    axis._update_ticks()
    low, high = sorted(axis.get_view_interval())
    ticks = [t for t in axis.get_major_ticks() if low <= t.get_loc() <= high]
    labels = [t.label2 if t.label2.get_visible() else t.label1 for t in ticks]  # of a colour bar at the right
    boxes = [label.get_window_extent() for label in labels if label.get_text()]
    ends = sorted((b.x0, b.x1) if across else (b.y0, b.y1) for b in boxes)
    space = 0.0 if not across or upright else 0.8 * MM * axis.figure.dpi
    return any(b[0] - a[1] < space for a, b in itertools.pairwise(ends))


def _powered(words: str, axis: Any) -> str:
    """A label with the power of ten that its axis leaves out, beside the unit: ``Intensity (10⁶ counts)``."""
    axis._update_ticks()
    axis.offsetText.set_visible(False)
    offset = axis.get_major_formatter().get_offset()  # such as 1e6
    if not re.fullmatch(r"1e[−-]?\d+", offset):
        return words
    power = "10" + superscript(int(offset[2:].replace("−", "-")))
    if "(" in words:
        return words.replace("(", f"({power} ", 1)
    quantity, at, place = words.partition(" at ")
    return f"{quantity} ({power}){at}{place}"


def _write(text: Any, words: str, room: float) -> None:
    """Words in lines that fit: broken between words, then smaller letters, at last inside a word."""
    size = text.__dict__.setdefault("_pycro_size", text.get_fontsize())
    upright = text.get_rotation() == 90
    text.set_fontsize(size)
    text.set_text(words)

    def long() -> float:
        box = text.get_window_extent()
        return float(box.height if upright else box.width) / room

    if not words or long() <= 1:
        return
    whole = re.sub(r" = ", "\u00a0=\u00a0", re.sub(r"(\d) (?=\S)", "\\1\u00a0", words))  # stay on one line
    for inside in (False, True):
        for smaller in (size, max(size - 1, SMALLEST), SMALLEST):
            text.set_fontsize(smaller)
            text.set_text(words)
            letters = int(max(map(len, words.split("\n"))) / long()) + 2
            for width in range(letters, max(letters - 8, 2), -1):
                lines = _lines(whole, width, inside)
                text.set_text("\n".join(lines if not upright or len(lines) <= LINES else _shortened(lines, width)))
                if long() <= 1 and (len(lines) <= LINES or not upright or smaller == SMALLEST):
                    return


def _shortened(lines: list[str], width: int) -> list[str]:
    """The first lines, and of the last one the unit: the title says it all."""
    unit = re.search(r"\(.*\)$", " ".join(lines))
    last = f"… {unit[0]}" if unit else "…"
    kept = lines[: LINES - 1]
    return [*kept, lines[LINES - 1][: max(width - len(last), 0)].rstrip() + last]


def _lines(words: str, width: int, inside: bool) -> list[str]:
    """Lines of at most `width` letters, broken at spaces and behind underscores; with `inside` anywhere in a word."""
    lines = []
    for line in words.split("\n"):
        held = ""
        for part in re.findall(r"[^ _]*_+|[^ _]+ ?| ", line):
            if held and len(held) + len(part.rstrip(" ")) > width:
                lines.append(held.rstrip(" "))
                held = ""
            held += part
            while inside and len(held.rstrip(" ")) > width:
                lines.append(held[:width])
                held = held[width:]
        lines.append(held.rstrip(" "))
    return lines


def _clear_legend(axes: Any, left: float, right: float) -> None:
    """Room above the curves for a legend that lies on them, or below the panel, between `left` and `right`."""
    from matplotlib.transforms import offset_copy

    legend = axes.get_legend()
    if legend is None:
        return
    renderer = axes.figure.canvas.get_renderer()
    box, frame = legend.get_window_extent(renderer), axes.get_window_extent(renderer)
    if not any(_touches(line, box) for line in axes.lines) and box.width < frame.width:
        return
    names, handles = [t.get_text() for t in legend.get_texts()], legend.legend_handles
    look: dict[str, Any] = {"frameon": False, "handlelength": 1.2, "loc": "upper left"}
    cols = max(1, min(len(names), int(frame.width / box.width)))
    share = box.height * -(-len(names) // cols) / len(names) / frame.height
    if box.width > frame.width or share > 0.5:  # no room inside: below the label of the axis
        legend.set_visible(False)
        below = offset_copy(axes.transAxes, axes.figure, y=-_margins(axes)[2])
        start = (left - frame.x0) / frame.width
        cols = max(1, int((right - left) / box.width))
        axes.legend(
            handles, names, **look, ncols=cols, bbox_to_anchor=(start, 0), bbox_transform=below, borderaxespad=0.2
        )
        return
    axes.legend(handles, names, **look, ncols=cols)
    transform = axes.yaxis.get_transform()
    low, high = transform.transform(axes.get_ylim())
    axes.set_ylim(top=float(transform.inverted().transform([low + (high - low) / (1 - share)])[0]))


def _touches(line: Any, box: Any) -> bool:
    return bool(line.get_path().transformed(line.get_transform()).intersects_bbox(box, filled=False))
