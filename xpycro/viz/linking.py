"""The panels of a live explorer: they follow cursors and the pointer, and only what moved is sent to the page.

A panel is a DynamicMap, drawn by HoloViews. When a cursor moves, HoloViews would go through every element and option
anew, some hundred milliseconds of work for a map and a spectrum; here the few columns, places and limits that differ
are put into the Bokeh models it has made.

May import numpy, the floors below and viz.style; HoloViews, Panel and Bokeh only inside functions.
"""

from __future__ import annotations

import asyncio
import functools
import time
import warnings
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from xpycro.viz import style

__all__ = ["Later", "callback", "cursors", "linked"]


@dataclass(frozen=True)
class Later:
    """What takes long: words that stand in the figure's title meanwhile, and the work, begun once they are read."""

    words: str
    work: Callable[[], None]


REST = 0.12  # seconds without another step after which a wheel has come to rest


def callback(function: Callable[..., Any], *fixed: Any) -> Callable[..., Any]:
    """`function` of `fixed`, the sliders' values and the cursors, in a signature that HoloViews accepts."""

    def draw(*rest: float, **state: Any) -> Any:
        return function(*fixed, rest, **state)

    return draw


def cursors(**begin: Any) -> Any:
    """A HoloViews stream of cursors, which `linked` panels follow; of any type, they begin where `begin` says.

    ``state.event(pixel=3)`` moves them. Panels already on a page are brought up to date at once; what else HoloViews
    has drawn from the stream (a user's own DynamicMap) is redrawn as ever.
    """
    import param
    from holoviews.streams import Stream

    style.backend()
    # of any type: HoloViews would take a tuple for one of fixed length
    defined: Any = Stream.define("Cursors", **{name: param.Parameter(default=v) for name, v in begin.items()})

    class Cursors(defined):
        def __init__(self) -> None:
            super().__init__()
            self.panels: list[_Panel] = []

        def event(self, **changes: Any) -> None:
            self.update(**changes)
            drawn = [view.plot for panel in self.panels for view in panel.views if view.update(self.contents)]
            others = [(s, getattr(s, "__self__", None)) for s in self.subscribers]
            others = [(s, owner) for s, owner in others if not any(owner is plot for plot in drawn)]
            pages = [owner for _, owner in others if _holds(owner, drawn)] + [p for p in drawn if p.top_level]
            if len(others) > len(pages):
                self.trigger([self])
            for page in filter(None, pages):
                page.push()  # of a notebook

    return Cursors()


def _holds(owner: Any, plots: Sequence[Any]) -> bool:
    """Whether a HoloViews plot is the layout that holds others."""
    inside = getattr(owner, "subplots", None) or {}
    return any(any(part is plot for plot in plots) or _holds(part, plots) for part in inside.values())


def linked(draw: Callable[..., Any], kdims: Sequence[Any], state: Any, moves: Mapping[str, Callable[..., Any]]) -> Any:
    """A DynamicMap of `draw` that follows `state`, and hands what is done to it with the pointer to `moves`.

    Parameters
    ----------
    draw : callable
        See `callback`; it returns an element or an Overlay, whose layers never change in number or kind.
    kdims : sequence of holoviews.Dimension
        The sliders.
    state : stream
        Of `cursors`.
    moves : mapping of str to callable
        ``Tap``, ``DoubleTap`` and ``PointerXY`` are called with x and y; ``Drag`` with x, y, where it began and whether
        it is done, for drags that no tool takes; ``BoundsXY`` and ``BoundsX`` with the box or range drawn by the box
        tool, ``Lasso`` with the outline; ``Range`` with what is seen (left, right, bottom, top).
    """
    hv = style.backend()
    panel = _Panel(draw, moves)

    def shown(*rest: float, **at: Any) -> Any:
        return panel.draw(rest, at)

    drawn = hv.DynamicMap(shown, kdims=list(kdims), streams=[state])
    drawn._pycro_moves = moves
    state.panels.append(panel)
    return drawn


class _Panel:
    """A picture of an explorer, and its copies on pages."""

    def __init__(self, draw: Callable[..., Any], moves: Mapping[str, Callable[..., Any]]) -> None:
        self.make, self.moves = draw, moves
        self._views: list[_View] = []

    @property
    def views(self) -> list[_View]:
        self._views = [view for view in self._views if view.plot is not None]
        return self._views

    def draw(self, rest: Sequence[Any], at: Mapping[str, Any]) -> Any:
        """The picture for HoloViews to draw, which tells us where it has drawn it."""
        overlay = self.make(*rest, **at)
        hooks = [*_options(overlay).get("hooks", []), functools.partial(self._drawn, tuple(rest))]
        if "Drag" in self.moves:  # HoloViews else gives drags to its pan tool again at every update
            return overlay.opts(backend="bokeh", hooks=[*hooks, _undraggable], active_tools=[])
        return overlay.opts(backend="bokeh", hooks=hooks)

    def _drawn(self, rest: tuple[Any, ...], plot: Any, overlay: Any) -> None:
        view = next((v for v in self.views if v.plot is plot), None)
        if view is None:
            view = _View(self.make, plot)
            self._views.append(view)
            _Pointer(plot.state, self.moves)
        view.rest, view.overlay = rest, overlay


class _View:
    """A panel on one page."""

    def __init__(self, make: Callable[..., Any], plot: Any) -> None:
        self.make, self._plot = make, weakref.ref(plot)
        self.rest: tuple[Any, ...] = ()
        self.overlay: Any = None

    @property
    def plot(self) -> Any:
        """The HoloViews plot, None once that page is closed."""
        plot = self._plot()
        return plot if plot is not None and plot.handles else None

    def update(self, at: Mapping[str, Any]) -> bool:
        """Show the cursors; False if HoloViews has to draw it."""
        from panel.io.document import unlocked
        from panel.io.state import state

        plot = self.plot
        if plot is None:
            return False
        page = plot.document
        if plot.renderer.mode == "server" and not state._unblocked(page):
            if page is not None and page.session_context:  # another's page, or a cursor moved from outside
                page.add_next_tick_callback(functools.partial(self.update, at))
            return True
        with unlocked():
            try:
                overlay = self.make(*self.rest, **at)
            except Exception as error:  # a page has nobody to raise to
                warnings.warn(f"could not be drawn: {error}", stacklevel=2)
                plot.state.title.text = f"Could not be drawn: {type(error).__name__}: {error}"[:160]
                return True
            return self._show(plot, overlay)

    def _show(self, plot: Any, overlay: Any) -> bool:
        before, after = _layers(self.overlay), _layers(overlay)
        layers = list((plot.subplots or {"": plot}).values())
        if [type(e) for e in before] != [type(e) for e in after] or len(layers) != len(after):
            return False
        for layer, old, new in zip(layers, before, after, strict=True):
            if new is not old:
                _put(layer, new)
                layer.handles["previous_id"] = None  # what HoloViews drew last is no longer what is shown
        if type(after[0]).__name__ == "Image" and before[0].bounds != after[0].bounds:
            _frame(plot.state, before[0].bounds.lbrt(), after[0].bounds.lbrt())
        options = _options(overlay)
        plot.state.title.text = options.get("title", "")
        moved = any(new is not old for old, new in zip(before, after, strict=True) if type(new).__name__ in _MEASURED)
        if moved and type(after[0]).__name__ in ("Curve", "Scatter") and not options.get("logy"):
            _fit(plot.state, before, after, options)
        self.overlay = overlay
        return True


def _layers(drawn: Any) -> list[Any]:
    return list(drawn) if type(drawn).__name__ == "Overlay" else [drawn]


def _options(element: Any, group: str = "plot") -> dict[str, Any]:
    import holoviews as hv

    return dict(hv.Store.lookup_options("bokeh", element, group).kwargs)


def _put(layer: Any, element: Any) -> None:
    """What an element shows, into the Bokeh models of the one drawn before."""
    glyph, kind = layer.handles["glyph"], type(element).__name__
    if kind in ("VLine", "HLine"):
        glyph.location = element.data
        return
    if kind == "VSpan":
        glyph.update(left=element.data[0], right=element.data[1])
        return
    if kind in ("Area", "Curve"):
        look = _options(element, "style")
        alpha, width = look.get("alpha", 1.0), look.get("line_width", 1.0)
        glyph.update(**({"fill_alpha": alpha} if kind == "Area" else {"line_alpha": alpha, "line_width": width}))
        if kind == "Area":  # a band stands out or back, and lies where it lay
            return
    source = layer.handles["source"]
    columns = dict(source.data)
    if kind == "Image":
        left, bottom, right, top = element.bounds.lbrt()
        columns |= {"image": [element.dimension_values(2, flat=False)]}
        columns |= {"x": [left], "y": [bottom], "dw": [right - left], "dh": [top - bottom]}
        _recolour(glyph.color_mapper, element)
    elif kind == "RGB":
        columns |= layer.get_data(element, {}, {})[0]
    elif kind == "QuadMesh":
        columns[glyph.fill_color.field] = element.dimension_values(2, flat=False).T.reshape(-1)
        _recolour(glyph.fill_color.transform, element)
    elif kind in ("Contours", "Ellipse"):
        parts = [element] if kind == "Ellipse" else element.split()
        columns |= {name: [part.dimension_values(i) for part in parts] for i, name in enumerate(("xs", "ys"))}
    else:
        columns |= {d.name: element.dimension_values(d) for d in element.dimensions() if d.name in columns}
        coloured = getattr(getattr(glyph, "fill_color", None), "transform", None)
        if coloured is not None:
            columns[glyph.fill_color.field] = element.dimension_values(2)
            _recolour(coloured, element)
    source.data = columns


def _recolour(mapper: Any, element: Any) -> None:
    low, high = _options(element)["clim"]
    mapper.update(low=low, high=high)
    palette = _options(element, "style")["cmap"]
    if list(mapper.palette) != list(palette):
        mapper.palette = palette


def _frame(figure: Any, before: Sequence[float], after: Sequence[float]) -> None:
    """Ranges of another picture, where they were those of the picture before."""
    for number, span in enumerate((figure.x_range, figure.y_range)):
        if np.allclose([span.start, span.end], before[number::2]):
            low, high = after[number::2]
            span.update(start=low, end=high, reset_start=low, reset_end=high)


def _fit(figure: Any, before: Sequence[Any], after: Sequence[Any], options: Mapping[str, Any]) -> None:
    """Ranges that hold what is drawn; the horizontal one only where that is another, so that a zoom is kept."""
    first = _options(after[0])
    padding = options.get("padding") or first.get("padding") or 0.0
    across = padding * (figure.frame_height / figure.frame_width if figure.frame_width else 1)  # alike on the screen
    for number, span, pad in ((0, figure.x_range, across), (1, figure.y_range, padding)):
        ends = _extent(after, number)
        if ends is None or (number == 0 and ends == _extent(before, number)):
            continue
        wide = (ends[1] - ends[0]) or abs(ends[0]) or 1.0
        low, high = ends[0] - pad * wide, ends[1] + pad * wide
        span.update(start=low, end=high, reset_start=low, reset_end=high)


def _extent(elements: Sequence[Any], number: int) -> tuple[float, float] | None:
    ends = [_reach(e)[number] for e in elements if type(e).__name__ in _MEASURED]
    values = np.array([end for end in ends if end is not None])
    return (float(values.min()), float(values.max())) if values.size else None


def _reach(element: Any) -> tuple[tuple[float, float] | None, tuple[float, float] | None]:
    """From where to where an element lies across and up, found once: HoloViews takes milliseconds for contours."""
    if element not in _REACHES:
        x, y = (element.dimension_values(number) for number in (0, 1))
        bar = element.dimension_values(2) if type(element).__name__ == "ErrorBars" else 0.0
        across = x if type(element).__name__ != "ErrorBars" else x[:0]
        finite = [v[np.isfinite(v)] for v in (across, np.concatenate([y - bar, y + bar]))]
        _REACHES[element] = tuple((float(v.min()), float(v.max())) if v.size else None for v in finite)
    return _REACHES[element]


_MEASURED = ("Curve", "Scatter", "Contours", "ErrorBars")  # what a chart's ranges hold
_REACHES: weakref.WeakKeyDictionary[Any, Any] = weakref.WeakKeyDictionary()


# ------------------------------------------------------------------------------------------------------- the pointer


class _Pointer:
    """What is done to a figure with the pointer, in the figure's coordinates."""

    def __init__(self, figure: Any, moves: Mapping[str, Callable[..., Any]]) -> None:
        self.figure, self.moves = figure, moves
        self.start: tuple[float, float] | None = None
        self.finished = 0.0
        self.unwait: Callable[[], Any] | None = None
        listeners = {
            "Tap": {"tap": self._tap}, "DoubleTap": {"doubletap": self._double_tap},
            "PointerXY": {"mousemove": self._move},
            "Drag": {"panstart": self._begin, "pan": self._drag, "panend": self._drag},
            "BoundsXY": {"selectiongeometry": self._select}, "BoundsX": {"selectiongeometry": self._select},
            "Lasso": {"selectiongeometry": self._select}, "Range": {"rangesupdate": self._zoom},
        }  # fmt: skip
        for event, listener in {k: v for name in moves for k, v in listeners[name].items()}.items():
            figure.on_event(event, listener)

    def _place(self, event: Any) -> tuple[float, float]:
        """Where, within the frame."""
        ends = [sorted((r.start, r.end)) for r in (self.figure.x_range, self.figure.y_range)]
        x, y = (float(np.clip(v, *e)) for v, e in zip((event.x, event.y), ends, strict=True))
        return x, y

    def _tap(self, event: Any) -> None:
        if (event.x, event.y) == self._place(event):  # not on an axis
            self.moves["Tap"](event.x, event.y)

    def _double_tap(self, event: Any) -> None:
        asked = self.moves["DoubleTap"](event.x, event.y)
        if isinstance(asked, Later):
            self._later(asked)

    def _later(self, asked: Later) -> None:
        page = self.figure.document
        if page is None or page.session_context is None:  # of a notebook, which calls nothing back later
            asked.work()
        else:
            self.figure.title.text = asked.words
            page.add_timeout_callback(asked.work, 60)  # in which the words are sent

    def _behind(self) -> bool:
        """Whether an event waited while another was drawn: newer ones are behind it."""
        return time.monotonic() - self.finished < 0.03

    def _move(self, event: Any) -> None:
        if not self._behind():
            self.moves["PointerXY"](*self._place(event))
            self.finished = time.monotonic()

    def _begin(self, event: Any) -> None:
        self.start = self._place(event)

    def _drag(self, event: Any) -> None:
        done = event.event_name == "panend"
        if self.figure.tags:  # the box or lasso tool draws with this drag
            self.start = None
        if self.start is not None and (done or not self._behind()):
            self.moves["Drag"](*self._place(event), *self.start, done)
            self.finished = time.monotonic()

    def _zoom(self, event: Any) -> None:
        """A wheel turns in many steps: what is seen when it rests is read."""
        if self.unwait is not None:
            self.unwait()
        rest = functools.partial(self._rest, event.x0, event.x1, event.y0, event.y1)
        self.unwait = _after_rest(self.figure.document, rest)
        if self.unwait is None:
            rest()

    def _rest(self, *window: float) -> None:
        self.unwait = None
        self.moves["Range"](*window)

    def _select(self, event: Any) -> None:
        shape = event.geometry
        if not event.final:
            return
        if shape["type"] == "poly" and "Lasso" in self.moves:
            self.moves["Lasso"](np.column_stack([_in_order(shape["x"]), _in_order(shape["y"])]))
        elif shape["type"] == "rect" and "BoundsX" in self.moves:
            self.moves["BoundsX"]((shape["x0"], shape["x1"]))
        elif shape["type"] == "rect" and "BoundsXY" in self.moves:
            self.moves["BoundsXY"]((shape["x0"], shape["y0"], shape["x1"], shape["y1"]))


def _after_rest(page: Any, call: Callable[[], None]) -> Callable[[], Any] | None:
    """Call when nothing else has come for a while; what takes that back, or None where nothing can be called later.

    A page of a server has a clock of its own; a notebook's kernel hands events over within its loop, which has one.
    """
    if page is not None and page.session_context is not None:
        return functools.partial(page.remove_timeout_callback, page.add_timeout_callback(call, round(1e3 * REST)))
    try:
        return asyncio.get_running_loop().call_later(REST, call).cancel
    except RuntimeError:  # no loop runs here
        return None


def _in_order(values: Any) -> list[float]:
    """A list, which Bokeh sends as a mapping of places in a notebook."""
    return [values[k] for k in sorted(values, key=int)] if isinstance(values, dict) else list(values)


def _undraggable(plot: Any, element: Any) -> None:
    """Notes in a figure's tags which tool takes a drag, so that the cursor does not (a HoloViews hook)."""
    from bokeh.models import CustomJS

    figure = plot.state
    if "panstart" not in figure.js_event_callbacks:  # hooks run at every update
        code = """const tool = figure.toolbar.gestures.pan.active?.type ?? null
            if ((figure.tags[0] ?? null) !== tool) figure.tags = tool == null ? [] : [tool]"""
        note = CustomJS(args={"figure": figure}, code=code)
        for event in ("mousemove", "panstart"):  # known before a drag begins; a finger does not move before
            figure.js_on_event(event, note)
