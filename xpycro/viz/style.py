"""How things look: axes in engineering units, colours and contrast, frames of true aspect, one house style.

May import numpy, xarray and the floors below; HoloViews, Bokeh and colorcet only inside functions. Draws nothing.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr

from xpycro.viz.axes import Axis, Quantity, axis, finite, plane_axes, quantity, read, signal_dims
from xpycro.viz.readouts import plain_hover, plain_ticks

__all__ = [
    "CATEGORIES",
    "NO_DATA",
    "Axis",
    "Colours",
    "Quantity",
    "axis",
    "backend",
    "colours",
    "dress",
    "frame",
    "limits",
    "palette",
    "plane_axes",
    "quantity",
    "read",
    "remember",
    "roomy",
    "signal_dims",
    "slider",
    "square",
]


NO_DATA = "#cfcfcf"


INK = "#222222"


CURSOR = "#e6007e"


# Okabe and Ito's colours that are legible as thin lines, and two dark ones as far from them as from each other:
# colour-blind readers tell any two of the eight apart (measured in tests/viz/test_colours.py).
CATEGORIES = ("#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9", "#220088", "#552200")


FONT = "Inter, 'Helvetica Neue', Helvetica, Arial, sans-serif"


def limits(values: np.ndarray, robust: bool = True) -> tuple[float, float]:
    """Contrast limits: the 1st and 99th percentile of a sample (minimum and maximum unless `robust`), never equal.

    Examples
    --------
    >>> limits(np.array([1.0, 1.0, np.nan]))
    (0.5, 1.5)
    """
    valid = finite(values)
    if valid.size == 0:
        return 0.0, 1.0
    low, high = np.percentile(valid, [1, 99]) if robust else (valid.min(), valid.max())
    if not high > low:  # one value nearly everywhere: show what differs from it, if anything does
        low, high = valid.min(), valid.max()
    if not high - low > 1e-12 * max(abs(low), abs(high)):
        margin = abs(low) / 2 or 0.5
        low, high = low - margin, high + margin
    return float(low), float(high)


@dataclass(frozen=True)
class Colours:
    """How values become colours.

    Attributes
    ----------
    kind : str
        ``sequential``, ``height``, ``counts``, ``signed``, ``phase`` or ``labels``.
    cmap : list of str
        Hexadecimal colours.
    clim : tuple of float
        What the first and last colour stand for.
    ticks : dict of float to str
        Named ticks of the colour bar; empty where the numbers are named by themselves.
    """

    kind: str
    cmap: list[str]
    clim: tuple[float, float]
    ticks: Mapping[float, str] = field(default_factory=dict)


_MAPS = {
    "sequential": "CET_L20",
    "height": "CET_L4",
    "counts": "CET_L3",
    "signed": "CET_D1A",
    "phase": "CET_C2s",
}


def palette(name: str) -> list[str]:
    """Hexadecimal colours of a map by name: colorcet's, Bokeh's or Matplotlib's.

    Raises
    ------
    ValueError
        If no library knows the name.
    """
    if name == "viridis":
        from bokeh.palettes import Viridis256

        return list(Viridis256)
    import colorcet

    if name in colorcet.palette:
        return list(colorcet.palette[name])
    from holoviews.plotting.util import process_cmap

    try:
        return list(process_cmap(name))
    except ValueError as error:
        raise ValueError(f"cmap={name!r}: no such colour map; try 'viridis', 'fire', 'gray' or 'CET_D1A'") from error


def _categories(count: int) -> list[str]:
    if count <= len(CATEGORIES):
        return list(CATEGORIES[: max(count, 1)])
    import colorcet

    extra = [c for c in colorcet.palette["glasbey_dark"] if c not in CATEGORIES]
    return [*CATEGORIES, *extra][:count]


def faded(colour: str) -> str:
    """A hexadecimal colour that stands back: mostly the white of the page."""
    return "#" + "".join(f"{round(0.18 * int(colour[k : k + 2], 16) + 0.82 * 255):02x}" for k in (1, 3, 5))


def is_labels(da: xr.DataArray) -> bool:
    """Whether the numbers are names of classes: booleans, ``labels``, or integers with CF flags."""
    return da.dtype.kind == "b" or str(da.name) == "labels" or "flag_values" in da.attrs or "flag_meanings" in da.attrs


def _is_phase(da: xr.DataArray, values: np.ndarray) -> bool:
    if da.attrs.get("units") not in ("rad", "degree", "deg", "°"):
        return False
    name = f"{da.name} {da.attrs.get('long_name', '')}".lower()
    valid = finite(values)
    if "phase" not in name or valid.size == 0:
        return False
    # A tapping phase of 40 to 60 degrees would vanish in a full turn of colours: only what goes round is cyclic.
    turn = 2 * math.pi if da.attrs["units"] == "rad" else 360.0
    low, high = limits(valid)
    return high - low > turn / 4 and valid.max() - valid.min() <= 1.02 * turn


def is_height(da: xr.DataArray) -> bool:
    """Whether an array is a topography: a length that is called height, z or the like."""
    words = set(f"{da.name} {da.attrs.get('long_name', '')}".lower().replace("_", " ").split())
    called = words & {"z", "height", "topography", "topo", "zsensor", "sensor"}
    return da.attrs.get("units") == "m" and bool(called or any(w.startswith(("height", "topograph")) for w in words))


def _period(valid: np.ndarray, unit: str) -> Colours:
    half = math.pi if unit == "rad" else 180.0
    cmap = palette(_MAPS["phase"])
    if valid.size and valid.min() >= -0.02 * half and valid.max() > 1.02 * half:
        names = ("0", "π/2", "π", "3π/2", "2π") if unit == "rad" else ("0°", "90°", "180°", "270°", "360°")
        return Colours("phase", cmap, (0.0, 2 * half), {k * half / 2: name for k, name in enumerate(names)})
    names = ("−π", "−π/2", "0", "π/2", "π") if unit == "rad" else ("−180°", "−90°", "0°", "90°", "180°")
    return Colours("phase", cmap, (-half, half), {k * half / 2 - half: name for k, name in enumerate(names)})


def colours(
    da: xr.DataArray,
    values: np.ndarray,
    *,
    cmap: str | list[str] | None = None,
    clim: tuple[float, float] | str | None = None,
    symmetric: bool | None = None,
) -> Colours:
    """Colour map and limits that suit a quantity.

    Parameters
    ----------
    da : DataArray
        What the values are: name, units, attributes.
    values : ndarray
        What is drawn, in display units.
    cmap : str or list of str, optional
        Chosen by hand.
    clim : (low, high), "robust", "full" or None
        Limits in display units; ``"robust"`` is the 1st to 99th percentile, ``"full"`` all; None is the attribute
        ``valid_range`` of a pure number, else as ``"robust"``.
    symmetric : bool, optional
        Whether zero lies in the middle of a diverging map; None decides by the values, heights excepted.

    Returns
    -------
    Colours
    """
    if isinstance(clim, str) and clim not in ("robust", "full"):
        raise ValueError(f"clim={clim!r}: pass (low, high), 'robust' or 'full'")
    if is_labels(da):
        valid = finite(values)
        count = int(valid.max()) + 1 if valid.size else 1
        count = max(count, 2) if da.dtype.kind == "b" else max(count, 1)
        meanings = str(da.attrs.get("flag_meanings", "")).split()
        told = dict(
            zip(np.atleast_1d(da.attrs.get("flag_values", range(len(meanings)))).tolist(), meanings, strict=False)
        )
        unnamed = ["no", "yes"] if da.dtype.kind == "b" else [str(i) for i in range(count)]
        names = [told.get(i, unnamed[i]).replace("_", " ") for i in range(count)]  # of -1, left out, nothing is drawn
        return Colours("labels", _categories(count), (-0.5, count - 0.5), dict(enumerate(names)))
    if _is_phase(da, values) and cmap is None and clim is None and symmetric is None:
        return _period(finite(values), str(da.attrs["units"]))
    of_numbers = da.attrs.get("units") == "1" and np.size(da.attrs.get("valid_range", ())) == 2
    if clim is None and of_numbers:  # CF: what it can be at all
        lowest, highest = da.attrs["valid_range"]
        clim = (float(lowest), float(highest))
    low, high = limits(values, robust=clim != "full")
    height = is_height(da)
    signed = (
        symmetric if symmetric is not None else (not height and low < 0 < high and min(-low, high) > 0.1 * (high - low))
    )
    if isinstance(clim, tuple | list):
        low, high = float(clim[0]), float(clim[1])
    elif signed:
        high = max(abs(low), abs(high))
        low = -high
    counts = str(da.attrs.get("units")) == "counts"
    kind = "signed" if signed else "height" if height else "counts" if counts else "sequential"
    chosen = palette(_MAPS[kind] if kind != "sequential" else "viridis") if cmap is None else cmap
    if kind == "counts" and cmap is None:
        chosen = chosen[:236]  # its last colours are the white of the page, which would be taken for a hole
    return Colours(kind, palette(chosen) if isinstance(chosen, str) else list(chosen), (low, high))


def frame(x: Axis, y: Axis, size: int = 300) -> tuple[int, int]:
    """Width and height in screen pixels that draw lengths true: the longer side takes `size`.

    Axes of different units have no true aspect and get three to two; a strip is not drawn thinner than 24 pixels.
    """
    if x.unit != y.unit or x.unit is None:
        return int(size * 1.25), size
    width, height = float(np.ptp(x.edges)), float(np.ptp(y.edges))
    longest = max(width, height)
    if not longest > 0 or not math.isfinite(longest):
        return size, size
    return max(24, round(size * width / longest)), max(24, round(size * height / longest))


def slider(ax: Axis) -> Any:
    """The HoloViews dimension of a slider along an axis: by name where the samples have names of their own."""
    named = ax.names is not None and len(set(ax.names)) == len(ax.names)
    return backend().Dimension(
        (ax.dim, ax.label), unit=ax.unit, values=list((named and ax.names) or ax.values.tolist())
    )


def backend() -> Any:
    """HoloViews with a plotting backend: Bokeh where the user has loaded none.

    Its scripts are put into the notebook (6 MB), because a microscope's computer has no network to fetch them by;
    BOKEH_RESOURCES=cdn, or a ``holoviews.extension("bokeh")`` of the user's own, leaves them out.
    """
    import holoviews

    loaded = holoviews.Store.loaded_backends()
    if not loaded:
        holoviews.extension("bokeh", inline=os.environ.get("BOKEH_RESOURCES") != "cdn")
    elif "bokeh" not in loaded:
        import holoviews.plotting.bokeh  # registers its renderer and leaves the user's backend the current one
    return holoviews


def remember(obj: Any, *, choice: str = "", static: Any = None) -> Any:
    """Attach to a HoloViews object what was chosen and how to make the twin of it that works in a file.

    Underscored names, because a Layout takes any other new attribute for a branch of its tree.
    """
    if choice:
        obj._pycro_choice = choice
    if static is not None:
        obj._pycro_static = static
    return obj


def polish(plot: Any, element: Any) -> None:
    """The house style on a Bokeh figure (a HoloViews hook): fonts, light grid, quiet frame, no logo."""
    figure = plot.state
    if not hasattr(figure, "xaxis"):
        return
    if figure.width is None and figure.height is None:
        figure.sizing_mode = None  # HoloViews fixes the outer size, ours follows the frame
    figure.output_backend = "canvas"  # WebGL is copied once a layer, without a graphics card 40 ms each
    figure.toolbar.logo = None
    figure.toolbar.autohide = True
    figure.outline_line_color = "#bbbbbb"
    figure.title.text_font = FONT
    figure.title.text_font_style = "bold"
    figure.title.text_font_size = "12px"
    figure.title.text_color = INK
    for ax in (*figure.xaxis, *figure.yaxis):
        ax.axis_label_text_font = ax.major_label_text_font = FONT
        ax.axis_label_text_font_style = "normal"
        ax.axis_label_text_font_size, ax.major_label_text_font_size = "12px", "11px"
        ax.axis_label_text_color = ax.major_label_text_color = INK
        ax.axis_line_color = ax.major_tick_line_color = "#888888"
        ax.minor_tick_line_color = None
        ax.major_tick_in, ax.major_tick_out = 0, 4
        ax.formatter = plain_ticks(ax.formatter)
    for grid in (*figure.xgrid, *figure.ygrid):
        grid.grid_line_color = "#ececec"
    for bar in _colour_bars(figure):
        if "Log" not in type(bar.color_mapper).__name__:
            bar.formatter = plain_ticks(bar.formatter)
        bar.major_label_text_font, bar.major_label_text_font_size = FONT, "11px"
        bar.major_label_text_color, bar.title = INK, None
        bar.major_tick_line_color, bar.bar_line_color = "#888888", None
    plain_hover(figure)
    if any(True for _ in _colour_bars(figure)):
        figure.min_border_right = 92  # labels of a bar that changes must not run into the next figure
    for legend in figure.legend:
        legend.label_text_font, legend.label_text_font_size = FONT, "11px"
        legend.border_line_color, legend.background_fill_alpha = "#dddddd", 0.85


def roomy(plot: Any, element: Any) -> None:
    """As much room at the left as labels take, for pictures in a grid (a HoloViews hook).

    Bokeh lines up the frames of a column, and squeezes a colour bar by what another picture's labels need.
    """
    if hasattr(plot.state, "yaxis"):
        plot.state.min_border_left = 66


def square(plot: Any, element: Any) -> None:
    """A box that is zoomed into has the proportions of the frame, so that lengths stay true (a HoloViews hook)."""
    from bokeh.models import BoxZoomTool

    for tool in plot.state.toolbar.tools:
        if isinstance(tool, BoxZoomTool):
            tool.match_aspect = True


def _colour_bars(figure: Any) -> Iterator[Any]:
    from bokeh.models.annotations import ColorBar

    for side in (figure.left, figure.right, figure.above, figure.below):
        yield from (item for item in side if isinstance(item, ColorBar))


def dress(element: Any, **options: Any) -> Any:
    """Options of the house style and `options`, for the Bokeh backend, on a HoloViews object of any kind."""
    hooks = [polish, *options.pop("hooks", [])]
    return element.opts(backend="bokeh", hooks=hooks, **options)
