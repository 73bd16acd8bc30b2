"""How things look: axes in engineering units, colours and contrast, frames of true aspect, one house style.

May import numpy, xarray and the floors below; HoloViews, Bokeh and colorcet only inside functions. Draws nothing.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import xarray as xr

from xpycro import schema, units
from xpycro.errors import DimensionError

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
    "position_text",
    "quantity",
    "read",
    "remember",
    "roomy",
    "signal_dims",
]

NO_DATA = "#cfcfcf"
INK = "#222222"
CURSOR = "#e6007e"
# Okabe and Ito's colours, the dark ones first: told apart by colour-blind readers, and legible as thin lines.
CATEGORIES = ("#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9", "#7a5195", "#8c8c00")
FONT = "Inter, 'Helvetica Neue', Helvetica, Arial, sans-serif"
_SAMPLES = 200_000


# ------------------------------------------------------------------------------------------------ axes and quantities


@dataclass(frozen=True)
class Axis:
    """A dimension as it is drawn.

    Attributes
    ----------
    dim : str
        Name of the dimension.
    label : str
        How it is called.
    unit : str or None
        Display unit with its engineering prefix.
    values : ndarray
        Where the samples lie, in display units.
    names : tuple of str or None
        What the samples are called, where they are called by name; `values` are then 0, 1, 2...
    width : float or None
        How wide a single sample is drawn; None is one unit.
    """

    dim: str
    label: str
    unit: str | None
    values: np.ndarray
    names: tuple[str, ...] | None = None
    width: float | None = None

    @property
    def title(self) -> str:
        """Label and unit."""
        return f"{self.label} ({self.unit})" if self.unit else self.label

    @property
    def even(self) -> bool:
        """Whether the samples are evenly spaced to a twentieth of a step."""
        if self.values.size < 3:
            return True
        line = np.linspace(self.values[0], self.values[-1], self.values.size)
        step = abs(line[1] - line[0])
        return bool(step > 0 and np.abs(self.values - line).max() <= 0.05 * step)

    @property
    def monotonic(self) -> bool:
        """Whether the samples only rise or only fall."""
        steps = np.diff(self.values)
        return bool((steps > 0).all() or (steps < 0).all())

    @property
    def edges(self) -> np.ndarray:
        """Where the samples' cells begin and end; one sample is one unit wide."""
        if self.values.size == 1:
            return self.values[0] + np.array([-0.5, 0.5]) * (self.width or 1.0)
        middle = (self.values[1:] + self.values[:-1]) / 2
        first, last = self.values[0] - (middle[0] - self.values[0]), self.values[-1] + (self.values[-1] - middle[-1])
        return np.concatenate([[first], middle, [last]])

    def text(self, index: int) -> str:
        """Where sample `index` lies, in words: ``Bias = -0.35 V``."""
        if self.names is not None:
            return self.names[index]
        return self.text_at(float(self.values[index]))

    def text_at(self, value: float) -> str:
        """A place on the axis in words."""
        return f"{self.label} = {value:.4g}".replace("= -", "= −") + (f" {self.unit}" if self.unit else "")

    def nearest(self, value: float) -> int:
        """Index of the sample nearest to a place on the axis; outside it, the first or last."""
        return int(np.argmin(np.abs(self.values - value)))


def axis(da: xr.DataArray | xr.Dataset, dim: Hashable, *, along: str | None = None) -> Axis:
    """A dimension of `da` with label, engineering unit and scaled values.

    Parameters
    ----------
    da : DataArray or Dataset
    dim : str
    along : str, optional
        A 1-D coordinate that lies along `dim` to draw against; by default the dim's own, and for a swept axis
        (``step``, ``point``) the quantity that was swept.

    Returns
    -------
    Axis
    """
    name = str(dim)
    coord = da.coords.get(along or name)
    if along is None and (coord is None or name in ("step", "point")):
        swept = [c for c in da.coords.values() if c.dims == (dim,) and c.name != dim and c.dtype.kind in "fiu"]
        swept = [c for c in swept if schema.dimension_type(da, c.name or "") in ("spectral", "temporal")]
        coord = swept[0] if swept else coord
    known = schema.DIMENSIONS.get(str(coord.name) if coord is not None else name)
    label = known.label if known else name
    size = da.sizes[dim]
    if coord is None:
        spatial = schema.dimension_type(da, dim) in ("spatial", "reciprocal") and name != "position"
        return Axis(name, label, "pixel" if spatial else None, np.arange(size, dtype=float))
    label = str(coord.attrs.get("long_name") or label)
    values = coord.values
    if values.dtype.kind == "M":
        return Axis(name, label, "s", (values - values[0]) / np.timedelta64(1, "s"))
    if values.dtype.kind == "m":
        return Axis(name, label, "s", values / np.timedelta64(1, "s"))
    if values.dtype.kind not in "fiu":
        return Axis(name, label, None, np.arange(size, dtype=float), tuple(str(v) for v in values))
    values = values.astype(float)
    finite = values[np.isfinite(values)]
    # A scan of 50 nm at an offset of 30 µm reads better in nm: the span counts, the distance from zero hardly.
    largest = max(float(np.ptp(finite)), float(np.abs(finite).max()) / 100) if finite.size else 0.0
    spread = ("spatial", "reciprocal", "temporal")
    if finite.size and (finite.size == 1 or schema.dimension_type(da, dim) not in spread):
        largest = float(np.abs(finite).max())
    factor, unit = units.engineering(largest, str(coord.attrs.get("units", "1")))
    return Axis(name, label, units.display_unit(unit), values * factor)


def plane_axes(da: xr.DataArray | xr.Dataset, x: str, y: str) -> tuple[Axis, Axis]:
    """The horizontal and vertical axis of a picture: of one prefix where they are of one unit, for a true aspect."""
    pair = [axis(da, dim) for dim in (x, y)]
    base = [str(da.coords[d].attrs.get("units", "1")) if d in da.coords else "pixel" for d in (x, y)]
    if base[0] != base[1] or any(a.names for a in pair) or pair[0].unit is None:
        return pair[0], pair[1]
    if pair[0].unit != pair[1].unit:
        spans = [float(np.ptp(da.coords[d].values)) for d in (x, y)]
        larger = pair[int(spans[1] > spans[0])]
        factor = _factor(da.coords[larger.dim].values, larger.values)
        pair = [Axis(a.dim, a.label, larger.unit, da.coords[a.dim].values.astype(float) * factor) for a in pair]
    # a line of pixels is drawn with square ones
    step = [float(np.ptp(a.values)) / (a.values.size - 1) if a.values.size > 1 else None for a in pair]
    pair = [replace(a, width=step[1 - i]) if a.values.size == 1 else a for i, a in enumerate(pair)]
    return pair[0], pair[1]


def _factor(base: np.ndarray, shown: np.ndarray) -> float:
    where = int(np.argmax(np.abs(base)))
    return float(shown[where] / base[where]) if base[where] else 1.0


@dataclass(frozen=True)
class Quantity:
    """What the numbers are: label, display unit, and the factor that brings them to it."""

    label: str
    unit: str | None
    factor: float

    @property
    def title(self) -> str:
        """Label and unit."""
        return f"{self.label} ({self.unit})" if self.unit else self.label


def quantity(da: xr.DataArray, values: np.ndarray | None = None, *, label: str | None = None) -> Quantity:
    """Label, display unit and scale of an array, from its attributes and a sample of its `values`."""
    # a long_name is what the instrument calls it, verbatim; a variable's name is ours to spell out
    label = label or str(da.attrs.get("long_name") or str(da.name or "value").replace("_", " ").capitalize())
    finite = _finite(values) if values is not None else np.array([])
    largest = float(np.percentile(np.abs(finite), 99)) if finite.size else 0.0
    if largest == 0.0 and finite.size:
        largest = float(np.abs(finite).max())
    factor, unit = units.engineering(largest, str(da.attrs.get("units", "1")))
    return Quantity(label, units.display_unit(unit), factor)


def read(da: xr.DataArray) -> np.ndarray:
    """The values of what is about to be drawn, in memory; cut `da` down first."""
    values = np.asarray(da.compute().values if da.chunks is not None or not da.variable._in_memory else da.values)
    return values.astype(float) if values.dtype.kind in "biu" else values


def signal_dims(da: xr.DataArray) -> tuple[str, ...]:
    """The dims of one observation: spectral and reciprocal, else temporal, else the one dim beside the picture's."""
    try:
        found = schema.resolve_dims(da)
    except DimensionError:
        plane = schema.plane_dims(da) or ()
        found = tuple(str(d) for d in da.dims if d not in plane and str(d) in ("z", "wavelength", "channel"))
        if not found:
            raise
    return found


def position_text(da: xr.DataArray | xr.Dataset, index: Mapping[str, int]) -> str:
    """Where an index lies, in words: ``x = 12 nm, y = 3.5 nm``."""
    return ", ".join(axis(da, dim).text(i) for dim, i in index.items())


# --------------------------------------------------------------------------------------------------------- contrast


def _finite(values: np.ndarray) -> np.ndarray:
    flat = np.asarray(values).reshape(-1)
    if flat.size > _SAMPLES:
        flat = flat[:: flat.size // _SAMPLES + 1]
    flat = np.abs(flat) if np.iscomplexobj(flat) else flat.astype(float)
    return flat[np.isfinite(flat)]


def limits(values: np.ndarray, robust: bool = True) -> tuple[float, float]:
    """Contrast limits: the 1st and 99th percentile of a sample (minimum and maximum unless `robust`), never equal.

    Examples
    --------
    >>> limits(np.array([1.0, 1.0, np.nan]))
    (0.5, 1.5)
    """
    finite = _finite(values)
    if finite.size == 0:
        return 0.0, 1.0
    low, high = np.percentile(finite, [1, 99]) if robust else (finite.min(), finite.max())
    if not high > low:  # one value nearly everywhere: show what differs from it, if anything does
        low, high = finite.min(), finite.max()
    if not high - low > 1e-12 * max(abs(low), abs(high)):
        margin = abs(low) / 2 or 0.5
        low, high = low - margin, high + margin
    return float(low), float(high)


# ---------------------------------------------------------------------------------------------------------- colours


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


def is_labels(da: xr.DataArray) -> bool:
    """Whether the numbers are names of classes: booleans, ``labels``, or integers with CF flags."""
    return da.dtype.kind == "b" or str(da.name) == "labels" or "flag_values" in da.attrs or "flag_meanings" in da.attrs


def _is_phase(da: xr.DataArray, values: np.ndarray) -> bool:
    if da.attrs.get("units") not in ("rad", "degree", "deg", "°"):
        return False
    name = f"{da.name} {da.attrs.get('long_name', '')}".lower()
    finite = _finite(values)
    if "phase" not in name or finite.size == 0:
        return False
    # A tapping phase of 40 to 60 degrees would vanish in a full turn of colours: only what goes round is cyclic.
    turn = 2 * math.pi if da.attrs["units"] == "rad" else 360.0
    low, high = limits(finite)
    return high - low > turn / 4 and finite.max() - finite.min() <= 1.02 * turn


def is_height(da: xr.DataArray) -> bool:
    """Whether an array is a topography: a length that is called height, z or the like."""
    words = set(f"{da.name} {da.attrs.get('long_name', '')}".lower().replace("_", " ").split())
    called = words & {"z", "height", "topography", "topo", "zsensor", "sensor"}
    return da.attrs.get("units") == "m" and bool(called or any(w.startswith(("height", "topograph")) for w in words))


def _period(finite: np.ndarray, unit: str) -> Colours:
    half = math.pi if unit == "rad" else 180.0
    cmap = palette(_MAPS["phase"])
    if finite.size and finite.min() >= -0.02 * half and finite.max() > 1.02 * half:
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
        Limits in display units; None and ``"robust"`` are the 1st to 99th percentile, ``"full"`` all.
    symmetric : bool, optional
        Whether zero lies in the middle of a diverging map; None decides by the values, heights excepted.

    Returns
    -------
    Colours
    """
    if isinstance(clim, str) and clim not in ("robust", "full"):
        raise ValueError(f"clim={clim!r}: pass (low, high), 'robust' or 'full'")
    if is_labels(da):
        finite = _finite(values)
        count = int(finite.max()) + 1 if finite.size else 1
        count = max(count, 2) if da.dtype.kind == "b" else max(count, 1)
        meanings = str(da.attrs.get("flag_meanings", "")).split()
        names = (
            meanings if len(meanings) == count else ["no", "yes"] if da.dtype.kind == "b" else map(str, range(count))
        )
        return Colours("labels", _categories(count), (-0.5, count - 0.5), dict(enumerate(names)))
    if _is_phase(da, values) and cmap is None and clim is None and symmetric is None:
        return _period(_finite(values), str(da.attrs["units"]))
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
    return Colours(kind, palette(chosen) if isinstance(chosen, str) else list(chosen), (low, high))


# ------------------------------------------------------------------------------------------------------ house style


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


def backend() -> Any:
    """HoloViews with a plotting backend: Bokeh where the user has loaded none."""
    import holoviews

    loaded = holoviews.Store.loaded_backends()
    if not loaded:
        holoviews.extension("bokeh")
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
    for grid in (*figure.xgrid, *figure.ygrid):
        grid.grid_line_color = "#ececec"
    for bar in _colour_bars(figure):
        bar.major_label_text_font, bar.major_label_text_font_size = FONT, "11px"
        bar.major_label_text_color, bar.title = INK, None
        bar.major_tick_line_color, bar.bar_line_color = "#888888", None
    for legend in figure.legend:
        legend.label_text_font, legend.label_text_font_size = FONT, "11px"
        legend.border_line_color, legend.background_fill_alpha = "#dddddd", 0.85


def roomy(plot: Any, element: Any) -> None:
    """As much room at the left as labels take, for pictures in a grid (a HoloViews hook).

    Bokeh lines up the frames of a column, and squeezes a colour bar by what another picture's labels need.
    """
    if hasattr(plot.state, "yaxis"):
        plot.state.min_border_left = 66


def _colour_bars(figure: Any) -> Iterator[Any]:
    from bokeh.models.annotations import ColorBar

    for side in (figure.left, figure.right, figure.above, figure.below):
        yield from (item for item in side if isinstance(item, ColorBar))


def dress(element: Any, **options: Any) -> Any:
    """Options of the house style and `options`, for the Bokeh backend, on a HoloViews object of any kind."""
    hooks = [polish, *options.pop("hooks", [])]
    return element.opts(backend="bokeh", hooks=hooks, **options)
