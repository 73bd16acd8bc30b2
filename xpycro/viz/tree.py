"""What a file holds: its nodes, how each was made, and the view that suits each.

May import numpy, xarray, the floors below and viz; Panel and Bokeh only inside functions.
"""

from __future__ import annotations

import asyncio
import functools
import html
import itertools
import json
import warnings
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

import numpy as np
import xarray as xr

from xpycro import provenance, schema
from xpycro.errors import DimensionError, MissingSource
from xpycro.viz import planes, static, style
from xpycro.viz.curves import MAX_CURVES
from xpycro.viz.positions import positions

__all__ = ["tree"]

LONGEST = 26  # letters of a tab's name

DRAWING = "Drawing …"  # what a tab shows while its view is made, of a large file for seconds


def tree(obj: xr.DataTree, view: Callable[..., Any]) -> Any:
    """A tab for each node of a file: the right view of it, a choice of its channels, what it holds, its history.

    Point spectra are laid over the image of the same file that covers most of them, the smallest such.

    Parameters
    ----------
    obj : DataTree
        What ``open_tree`` returned.
    view : callable
        Draws a Dataset: ``view(ds, data, variable=...)``.

    Returns
    -------
    panel.Tabs
        Because tabs are widgets; a node is drawn when its tab is opened. Saved with `save`, a page with the same tabs.

    Raises
    ------
    DimensionError
        If no node holds anything.

    Notes
    -----
    *Laziness*: that of each node's view.
    """
    import panel

    nodes = _nodes(obj)
    draw = functools.partial(_draw, nodes, view)
    tabs = panel.Tabs(dynamic=True, tabs_location="left" if len(nodes) > 6 else "above")
    for (path, ds), name in zip(nodes.items(), _named(nodes), strict=True):
        tabs.append((name, _pane(path, ds, draw)))
    tabs.active = _first(nodes)
    static_twin = functools.partial(_page, nodes, draw)
    return style.remember(tabs, choice=f"tree: {len(nodes)} nodes, a tab each", static=static_twin)


def _nodes(obj: xr.DataTree) -> dict[str, xr.Dataset]:
    if not isinstance(obj, xr.DataTree):
        raise TypeError(f"tree() draws a DataTree, as open_tree returns; this is a {type(obj).__name__}")
    nodes = {node.path: node.to_dataset() for node in obj.subtree if node.data_vars}
    if not nodes:
        raise DimensionError("nothing to draw: no node of this tree holds a variable")
    return {path: _true_names(ds) for path, ds in nodes.items()}


def _true_names(ds: xr.Dataset) -> xr.Dataset:
    """With the dims that a result of a part of the data has; in a tree they have names of their own."""
    renamed = json.loads(ds.attrs.get("renamed_dims", "{}"))
    # the axis of the whole, which the node inherits, makes room for that of the part
    return ds.drop_vars([name for name in renamed.values() if name in ds.coords]).rename(renamed)


def _named(nodes: Iterable[str]) -> list[str]:
    """What tabs are called: as the nodes, without the words that all begin with, the middle of long ones left out."""
    names = ["measurement" if path == "/" else path.removeprefix("/").removeprefix("results/") for path in nodes]
    if len(set(names)) < len(names):  # a grid and a result of one name
        names = [path.removeprefix("/") or "measurement" for path in nodes]
    if len(names) > 1 and max(map(len, names)) > LONGEST:
        words = zip(*(name.split("_") for name in names), strict=False)
        common = sum(1 for _ in itertools.takewhile(lambda same: len(set(same)) == 1, words))
        names = ["_".join(name.split("_")[common:]) or name for name in names]
    return [_short(name) for name in names]


def _short(name: str) -> str:
    """The first word of a long name and as many of the last as there is room for."""
    first, *words = name.split("_")
    while words and len(first) + len("_".join(words)) >= LONGEST:
        words = words[1:]
    if len(name) <= LONGEST:
        return name
    return f"{first}…{'_'.join(words)}" if words else f"{name[: LONGEST - 1]}…"


def _first(nodes: dict[str, xr.Dataset]) -> int:
    """The tab to begin with: the measurement at the root, else what was measured most of."""
    return 0 if "/" in nodes else int(np.argmax([ds.nbytes for ds in nodes.values()]))


def _draw(nodes: dict[str, xr.Dataset], view: Callable[..., Any], ds: xr.Dataset, variable: str | None = None) -> Any:
    """The view of one node, with what the others know of it: the measurement of a result, the image below spectra."""
    if schema.result_kind(ds):
        try:
            return view(ds)
        except MissingSource:  # the file was moved since: its measurement is at its root
            if "/" not in nodes:
                raise
            return view(ds, provenance.source_data(ds, nodes["/"]))
    da = ds[variable] if variable else max(ds.data_vars.values(), key=lambda v: v.size)
    if "position" in da.dims and da.ndim > 1 and {"x", "y"} <= set(da.coords):
        place = _ground(nodes, da)
        if place is not None:
            image, frame = place
            together, start = _together(nodes, da, frame)
            return positions(together, image, start=start)
    return view(ds, variable=variable)


def _together(nodes: dict[str, xr.Dataset], da: xr.DataArray, image: xr.Dataset) -> tuple[list[xr.DataArray], int]:
    """Spectra in the frame of an image, with those of the same quantity in other nodes while all are few enough to
    compare, in the order of the file; and where the first of the wanted ones is."""
    own = _in_frame(da, image)
    found: list[xr.DataArray] = []
    start = 0
    for ds in nodes.values():
        other = ds.get(str(da.name))
        if other is None or other.dims != da.dims or other.attrs.get("units") != da.attrs.get("units"):
            continue
        if other.identical(da):
            start = sum(one.sizes["position"] for one in found)
            found.append(own)
            continue
        moved = _in_frame(other, image)
        moved = moved.isel(position=_inside(moved, image))
        found += [moved] if moved.size else []
    few = sum(one.sizes["position"] for one in found) <= MAX_CURVES and da.dtype.kind != "c"
    return (found, start) if few else ([own], 0)


def _ground(nodes: dict[str, xr.Dataset], da: xr.DataArray) -> tuple[xr.DataArray, xr.Dataset] | None:
    """The image that covers most of the positions, the smallest such, and the node it is from."""
    best: tuple[tuple[int, float], xr.DataArray, xr.Dataset] | None = None
    for ds in nodes.values():
        flat = [v for v in ds.data_vars.values() if planes.is_plane(v) and {"x", "y"} <= set(v.dims)]
        if not flat or not {"x", "y"} <= set(ds.coords):
            continue
        image = next((v for v in flat if style.is_height(v)), flat[0])
        inside = int(_inside(_in_frame(da, ds), ds).sum())
        rank = (-inside, float(np.ptp(ds["x"].values) * np.ptp(ds["y"].values)))
        if inside and (best is None or rank < best[0]):
            best = (rank, image, ds)
    return None if best is None else best[1:]


def _inside(points: xr.DataArray, image: xr.Dataset) -> np.ndarray:
    """Which positions lie on an image."""
    inside = np.ones(points.sizes["position"], dtype=bool)
    for name in ("x", "y"):
        inside &= (points[name].values >= image[name].values.min()) & (points[name].values <= image[name].values.max())
    return inside


def _in_frame(da: xr.DataArray, image: xr.Dataset) -> xr.DataArray:
    """Positions in the frame of an image, where its attributes tell how that lies in the instrument's."""
    if not {"scan_center_x", "scan_center_y"} <= set(image.attrs):
        return da
    turn = float(image.attrs.get("scan_angle", 0.0))
    x, y = (da[name].values - float(image.attrs[f"scan_center_{name}"]) for name in ("x", "y"))
    moved = {"x": x * np.cos(turn) + y * np.sin(turn), "y": y * np.cos(turn) - x * np.sin(turn)}
    middle = {name: (float(image[name].values[0]) + float(image[name].values[-1])) / 2 for name in moved}
    return da.assign_coords(
        {name: ("position", values + middle[name], da[name].attrs) for name, values in moved.items()}
    )


def _pane(path: str, ds: xr.Dataset, draw: Callable[..., Any]) -> Any:
    """The view of a node, drawn when it is looked at, below a choice of its channels."""
    import panel

    names = [] if schema.result_kind(ds) else [str(n) for n, v in ds.data_vars.items() if v.dtype.kind in "biufc"]
    choice = panel.widgets.Select(label="Shown", options={"what suits": ""} | {n: n for n in names}, width=320)

    async def shown(variable: str) -> AsyncIterator[Any]:
        yield panel.pane.HTML(f"<p style='color:#5b6675'>{DRAWING}</p>")
        await asyncio.sleep(0.05)  # in which the word is sent
        yield _shown(ds, draw, variable)

    # begun once the page is there: what is drawn before takes its style sheets from the network
    drawn = panel.param.ParamFunction(panel.bind(shown, choice), lazy=True, defer_load=True)
    return panel.Column(panel.pane.HTML(_summary(path, ds)), *([choice] if len(names) > 1 else []), drawn)


def _shown(ds: xr.Dataset, draw: Callable[..., Any], variable: str) -> Any:
    import panel

    try:
        drawn = draw(ds, variable or None)
    except Exception as error:  # what cannot be drawn is said in its tab, and the others are shown
        warnings.warn(f"cannot be drawn: {error}", stacklevel=2)
        return panel.pane.HTML(f"<p style='color:#b00020'>{html.escape(f'{type(error).__name__}: {error}')}</p>")
    said = html.escape(str(getattr(drawn, "_pycro_choice", "")).partition(" (others: ")[0])  # they stand in the menu
    pane = drawn
    if not isinstance(drawn, panel.viewable.Viewable):  # its layout: the pane alone leaves out its sliders
        pane = panel.pane.HoloViews(drawn, linked_axes=False, widget_location="top_left").layout
    return panel.Column(pane, panel.pane.HTML(f"<p style='color:#5b6675'>{said}</p>"))


def _page(nodes: dict[str, xr.Dataset], view: Callable[..., Any], budget: int = 1_500_000) -> Any:
    from bokeh.layouts import column
    from bokeh.models import TabPanel, Tabs
    from bokeh.models.widgets import Div

    from xpycro.viz import report

    panels = []
    for (path, ds), name in zip(nodes.items(), _named(nodes), strict=True):
        look: dict[str, str | None] = {"font": f"13px {style.FONT}"}
        words = Div(text=_summary(path, ds), styles=look, width=1050)
        try:
            drawn = report.model_of(view(ds), budget // len(nodes) if len(nodes) > 1 else None)
        except (ValueError, TypeError) as error:
            drawn = static.caption(str(error))
        panels.append(TabPanel(child=column(words, drawn), title=name))
    return Tabs(tabs=panels, tabs_location="left" if len(nodes) > 6 else "above", active=_first(nodes))


def _summary(path: str, ds: xr.Dataset) -> str:
    """Path, variables with dims and units, and the history, as HTML; every word escaped."""
    kind = schema.result_kind(ds)
    rows = []
    for name, da in list(ds.data_vars.items())[:24]:
        sizes = ", ".join(f"{d} {n}" for d, n in da.sizes.items())
        cells = (name, sizes, da.attrs.get("units", ""), da.dtype)
        rows.append(
            "<tr>" + "".join(f"<td style='padding-right:18px'>{html.escape(str(c))}</td>" for c in cells) + "</tr>"
        )
    if len(ds.data_vars) > 24:
        rows.append(f"<tr><td>and {len(ds.data_vars) - 24} more</td></tr>")
    steps = [" · ".join(str(cell) for cell in row if str(cell)) for row in provenance.history(ds).rows()]
    made = "<br>".join(html.escape(step) for step in steps)
    sizes = ", ".join(f"{d} {n}" for d, n in ds.sizes.items())
    number = f"{len(ds.data_vars)} variable{'s' if len(ds.data_vars) != 1 else ''}"
    where = f"{path.removeprefix('/')}: " if path != "/" else ""
    told = f"{where}{f'a {kind} result, ' if kind else ''}{number} over {sizes or 'no dims'}; its history"
    return (
        f"<details><summary>{html.escape(told)}</summary><table>{''.join(rows)}</table>"
        f"<p style='color:#5b6675'>{made}</p></details>"
    )
