"""What a file holds: its nodes, how each was made, and the view that suits each.

May import numpy, xarray, the floors below and viz; Panel and Bokeh only inside functions.
"""

from __future__ import annotations

import functools
import html
from collections.abc import Callable
from typing import Any

import xarray as xr

from xpycro import provenance, schema
from xpycro.errors import DimensionError
from xpycro.viz import static, style

__all__ = ["tree"]


def tree(obj: xr.DataTree, view: Callable[[xr.Dataset], Any]) -> Any:
    """A tab for each node of a file: what it holds, its history, and the right view of it.

    Parameters
    ----------
    obj : DataTree
        What ``open_tree`` returned.
    view : callable
        Draws one Dataset.

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
    tabs = panel.Tabs(dynamic=True)
    for path, ds in nodes.items():
        tabs.append((path, panel.Column(panel.pane.HTML(_summary(ds)), _pane(ds, view))))
    static_twin = functools.partial(_page, nodes, view)
    return style.remember(tabs, choice=f"tree: {len(nodes)} nodes, a tab each", static=static_twin)


def _nodes(obj: xr.DataTree) -> dict[str, xr.Dataset]:
    if not isinstance(obj, xr.DataTree):
        raise TypeError(f"tree() draws a DataTree, as open_tree returns; this is a {type(obj).__name__}")
    nodes = {node.path: node.to_dataset() for node in obj.subtree if node.data_vars}
    if not nodes:
        raise DimensionError("nothing to draw: no node of this tree holds a variable")
    return nodes


def _pane(ds: xr.Dataset, view: Callable[[xr.Dataset], Any]) -> Any:
    import panel

    try:
        return panel.panel(view(ds))
    except (ValueError, TypeError) as error:  # what cannot be drawn is said in its tab, and the others are shown
        return panel.pane.HTML(f"<p>{html.escape(str(error))}</p>")


def _page(nodes: dict[str, xr.Dataset], view: Callable[[xr.Dataset], Any], budget: int = 1_500_000) -> Any:
    from bokeh.layouts import column
    from bokeh.models import TabPanel, Tabs
    from bokeh.models.widgets import Div

    from xpycro.viz import report

    panels = []
    for path, ds in nodes.items():
        look: dict[str, str | None] = {"font": f"13px {style.FONT}"}
        words = Div(text=_summary(ds), styles=look, width=1050)
        try:
            drawn = report.model_of(view(ds), budget // len(nodes) if len(nodes) > 1 else None)
        except (ValueError, TypeError) as error:
            drawn = static.caption(str(error))
        panels.append(TabPanel(child=column(words, drawn), title=path))
    return Tabs(tabs=panels)


def _summary(ds: xr.Dataset) -> str:
    """Variables with dims and units, and the history, as HTML; every word escaped."""
    kind = schema.result_kind(ds)
    head = f"<p>A {html.escape(kind)} result.</p>" if kind else ""
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
    return f"{head}<table>{''.join(rows)}</table><p style='color:#5b6675'>{made}</p>"
