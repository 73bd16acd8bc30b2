"""Pictures of decompositions: maps and components, one above the other; their ranks are in viz.ranks.

May import numpy, xarray, the floors below and viz; HoloViews only inside functions.
"""

from __future__ import annotations

from typing import Any

import xarray as xr

from xpycro import provenance, schema
from xpycro.errors import DimensionError, MissingSource
from xpycro.viz import curves, pictures, planes, style
from xpycro.viz.ranks import advised, needs, ranks, scree

__all__ = ["components", "decomposition"]


def components(result: xr.Dataset, count: int = 4, *, cols: int = 4, size: int = 170) -> Any:
    """The first components: curves over the signal axis, or pictures where they are planes.

    Parameters
    ----------
    result : Dataset
        A decomposition.
    count : int, default 4
    cols : int, default 4
    size : int
        Screen pixels of the longer side of a frame.

    Returns
    -------
    holoviews.Layout

    Notes
    -----
    *Laziness*: computes the components drawn.

    Examples
    --------
    >>> from xpycro.schema import new_result
    >>> import numpy as np, xarray as xr
    >>> result = new_result(
    ...     "decomposition",
    ...     {"components": (("component", "energy"), np.eye(2, 5)), "singular_values": ("rank", [2.0, 1.0]),
    ...      "maps": (("component", "y", "x"), np.ones((2, 3, 4)))},
    ... )
    >>> len(components(result))
    2
    """
    needs(result, "decomposition")
    return pictures.gather(_components(result, count, size), cols=cols)


def _components(result: xr.Dataset, count: int, size: int) -> list[Any]:
    da = result["components"]
    count = min(count, da.sizes["component"])
    rest = [str(d) for d in da.dims if d != "component"]
    if len(rest) > 1:
        return [_component_map(result, "components", i, size) for i in range(count)]
    drawn = []
    ax = style.axis(da, rest[0])
    options = {"frame_width": size, "frame_height": int(size * 0.8), "tools": ["hover"], "line_width": 1.5}
    for i in range(count):
        found = curves.loading(ax, style.read(da.isel(component=i)), **options)
        title = f"Component {i + 1}"
        if len(found) > 1:
            overlay = style.backend().Overlay(found)
            drawn.append(style.dress(overlay, title=f"{title}\nRe blue, Im orange", show_legend=False))
        else:
            drawn.append(style.dress(found[0], title=title))
    return drawn


def _component_map(result: xr.Dataset, variable: str, number: int, size: int) -> Any:
    da = result[variable].isel(component=number, drop=True)
    da = da.isel({d: 0 for d in da.dims if d not in (schema.plane_dims(da) or da.dims)})
    name = f"Map {number + 1}" if variable == "maps" else f"Component {number + 1}"
    if da.dtype.kind == "c":
        da = planes.amplitude_phase(da)[0]
        name += ", amplitude"
    if da.ndim == 1:  # one observation dim: a curve
        ax = style.axis(da, da.dims[0])
        values = style.read(da)
        shown = style.quantity(da, values, label="Score")
        return curves.curve(
            ax, values * shown.factor, shown, frame_width=size, frame_height=int(size * 0.8), title=name
        )
    return pictures.bare(da.rename("score"), name, size=size)


def decomposition(
    result: xr.Dataset, data: xr.DataArray | None = None, count: int = 6, *, cols: int = 3, size: int = 210,
    explore: bool | None = None,
) -> Any:  # fmt: skip
    """Scree, map, component and the reconstruction up to it, linked; without data, maps and components side by side.

    Parameters
    ----------
    result : Dataset
        A decomposition.
    data : DataArray, optional
        What was decomposed; without it the source is reopened through the history.
    count : int, default 6
        How many components.
    cols : int, default 3
        Components in a row.
    size : int
        Screen pixels of a map's longer side.
    explore : bool, optional
        Whether to draw the explorer: tap the scree for a component, the map for a pixel. By default where the data are
        given or found, are those of spectra, and components have an order (non-negative factors have none).

    Returns
    -------
    holoviews.Layout
        Of DynamicMap where it is the explorer.

    Raises
    ------
    MissingSource
        With ``explore=True``, if the data are not given and cannot be found.
    ValueError
        With ``explore=True``, if the components have no order.

    Notes
    -----
    *Laziness*: computes the maps and components drawn, and the singular values; the explorer one spectrum a tap.

    Examples
    --------
    >>> from xpycro.schema import new_result
    >>> import numpy as np, xarray as xr
    >>> result = new_result(
    ...     "decomposition",
    ...     {"components": (("component", "energy"), np.eye(2, 5)), "singular_values": ("rank", [2.0, 1.0]),
    ...      "maps": (("component", "y", "x"), np.ones((2, 3, 4)))},
    ... )
    >>> len(decomposition(result))
    5
    """
    needs(result, "decomposition")
    ordered = "explained_variance_ratio" in result or "singular_values" in result
    if explore and not ordered:
        raise ValueError("explore=True: this decomposition has no order of components (no singular values) to tap")
    if explore is not False and ordered:
        try:
            return ranks(result, provenance.source_data(result, data, purpose="the explorer of ranks"))
        except (MissingSource, DimensionError):
            if explore or data is not None:
                raise
    hv = style.backend()
    count = min(count, result.sizes["component"])
    maps = [_component_map(result, "maps", i, size) for i in range(count)]
    loadings = _components(result, count, size)
    cells: list[Any] = []
    for first in range(0, count, cols):
        for row in (maps, loadings):
            part = row[first : first + cols]
            cells += part + [hv.Empty() for _ in range(cols - len(part) if count > cols else 0)]
    if ordered:
        cells.append(scree(result, rank=advised(result), width=size + 50, height=size))
    layout = pictures.gather(cells, cols=min(cols, count), room=True)
    return style.remember(layout, choice=f"decomposition: {count} maps and components, scree")
