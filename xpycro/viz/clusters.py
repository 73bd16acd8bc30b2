"""Pictures of clusterings: where each cluster is, its mean response, and which resemble each other.

May import numpy, xarray, the floors below and viz; HoloViews only inside functions.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from xpycro import schema
from xpycro.viz import curves, pictures, places, planes, style
from xpycro.viz.ranks import needs

__all__ = ["clusters", "dendrogram"]


def clusters(result: xr.Dataset, data: xr.DataArray | None = None, *, size: int = 320) -> Any:
    """Where each cluster is, and its mean response with one standard deviation, in the same colours.

    Parameters
    ----------
    result : Dataset
        A clustering; without ``mean_response`` the means are made from `data`, else the centers are drawn.
    data : DataArray, optional
        The measurement that was clustered.
    size : int
        Screen pixels of the map's longer side.

    Returns
    -------
    holoviews.Layout

    Notes
    -----
    *Laziness*: computes labels and means; means from `data` are one pass.

    Examples
    --------
    >>> from xpycro.schema import new_result
    >>> import numpy as np, xarray as xr
    >>> result = new_result(
    ...     "clustering",
    ...     {"labels": (("y", "x"), [[0, 1], [1, 0]]), "counts": ("cluster", [2, 2]),
    ...      "mean_response": (("cluster", "energy"), [[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]])},
    ... )
    >>> len(clusters(result))
    2
    """
    needs(result, "clustering")
    labels = result["labels"]
    labels = labels.copy(data=style.read(labels)) if labels.chunks is not None else labels
    if "cluster" in result.sizes:  # as many colours as clusters, whether or not the last one has members
        labels = labels.assign_attrs(flag_values=list(range(result.sizes["cluster"])))
    mean, deviation = _responses(result, data)
    responses = _bands(mean, deviation, np.asarray(result["counts"].values) if "counts" in result else None, size)
    if labels.ndim == 1:
        drawn = _scattered(labels)
    else:
        plane = schema.plane_dims(labels)
        rest = [d for d in labels.dims if plane is not None and d not in plane]
        drawn = pictures.image(labels.isel(dict.fromkeys(rest, 0)), title="Clusters", size=size)
    return style.remember(
        pictures.gather([drawn, *responses], cols=2),
        choice="clusters: label map, mean responses with standard deviation",
    )


def dendrogram(result: xr.Dataset, *, method: str = "ward", width: int = 380, height: int = 260) -> Any:
    """Which clusters resemble each other: their centers joined from below, the height being the distance.

    Parameters
    ----------
    result : Dataset
        A clustering with ``centers`` (else ``mean_response``) of at least two clusters.
    method : str, default "ward"
        How distances between groups are measured (SciPy's linkage methods).
    width, height : int
        Screen pixels of the frame.

    Returns
    -------
    holoviews.Path
        Clusters on the horizontal axis, by number.

    Raises
    ------
    ValueError
        If there are fewer than two clusters.

    Notes
    -----
    *Laziness*: computes the centers.

    Examples
    --------
    >>> from xpycro.schema import new_result
    >>> import numpy as np, xarray as xr
    >>> result = new_result(
    ...     "clustering",
    ...     {"labels": (("y", "x"), [[0, 1], [1, 0]]), "counts": ("cluster", [2, 2]),
    ...      "mean_response": (("cluster", "energy"), [[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]])},
    ... )
    >>> len(dendrogram(result).split())
    1
    """
    from scipy.cluster.hierarchy import dendrogram as tree
    from scipy.cluster.hierarchy import linkage

    needs(result, "clustering")
    hv = style.backend()
    mean, _ = _responses(result.drop_vars("mean_response", errors="ignore") if "centers" in result else result, None)
    values = style.read(mean.transpose("cluster", ...)).reshape(mean.sizes["cluster"], -1)
    values = np.hstack([values.real, values.imag]) if np.iscomplexobj(values) else values
    if values.shape[0] < 2:
        raise ValueError("a dendrogram needs at least two clusters; this result has one")
    shown = style.quantity(mean, values, label="Distance")
    found = tree(linkage(np.nan_to_num(values) * shown.factor, method), no_plot=True)
    branches = [
        np.column_stack([np.asarray(x) / 10 - 0.5, y]) for x, y in zip(found["icoord"], found["dcoord"], strict=True)
    ]
    names = [(float(i), str(leaf)) for i, leaf in enumerate(found["leaves"])]
    kdims = [hv.Dimension(("leaf", "Cluster")), hv.Dimension(("distance", "Distance"), unit=shown.unit)]
    return style.dress(
        hv.Path(branches, kdims), color=style.CATEGORIES[0], line_width=1.8, frame_width=width, frame_height=height,
        padding=0.08, title="How alike the clusters are", xticks=names,
    )  # fmt: skip


def _scattered(labels: xr.DataArray) -> Any:
    """Labels of scattered positions as points, of a line as a curve."""
    shown = style.Quantity("Cluster", None, 1.0)
    axes, where, names = places.navigator(labels, [str(labels.dims[0])])
    values = style.read(labels)
    if names is not None:
        return curves.curve(axes[0], values, shown, title="Clusters")
    return places.points(values, axes, where, style.colours(labels, values), shown, size=300, title="Clusters")


def _responses(result: xr.Dataset, data: xr.DataArray | None) -> tuple[xr.DataArray, xr.DataArray | None]:
    if data is not None:
        members = [result["labels"] == i for i in range(result.sizes["cluster"])]
        over = result["labels"].dims
        amplitude = data.copy(data=np.abs(data.data)) if data.dtype.kind == "c" else data
        mean = xr.concat([data.where(m).mean(over) for m in members], "cluster")
        spread = xr.concat([amplitude.where(m).std(over) for m in members], "cluster")
        return mean.assign_attrs(data.attrs), spread
    if "mean_response" in result:
        return result["mean_response"], result["response_std"] if "response_std" in result else None
    if "centers" in result:
        return result["centers"], None
    raise ValueError("this clustering keeps neither mean_response nor centers: pass data=")


def _bands(mean: xr.DataArray, deviation: xr.DataArray | None, counts: np.ndarray | None, size: int) -> list[Any]:
    hv = style.backend()
    rest = [str(d) for d in mean.dims if d != "cluster"]
    if len(rest) != 1:
        return [pictures.maps(mean, over="cluster", cols=2, size=size // 2)] if len(rest) == 2 else []
    (dim,) = rest
    ax = style.axis(mean, dim)
    spread = None if deviation is None else np.abs(style.read(deviation.transpose("cluster", dim)))
    panels = []
    label = str(mean.attrs.get("long_name") or mean.name or "Value").removesuffix(", mean of the cluster")
    mean = mean.assign_attrs(long_name=label)  # that these are means stands in the title
    parts = planes.amplitude_phase(mean) if mean.dtype.kind == "c" else [mean]
    for number, part in enumerate(parts):
        values = style.read(part.transpose("cluster", dim))
        shown = style.quantity(part, values)
        drawn: list[Any] = []
        for i, colour in enumerate(style._categories(values.shape[0])):
            if spread is not None and number == 0:  # the deviation belongs to the data, or to their amplitude
                drawn.append(
                    curves.area(
                        ax, values[i] * shown.factor, spread[i] * shown.factor, shown, name="value", color=colour
                    )
                )
            label = f"{i} ({int(counts[i])})" if counts is not None else str(i)
            drawn.append(curves.curve(ax, values[i] * shown.factor, shown, label=label, color=colour, tools=["hover"]))
        title = f"{shown.label}: cluster means" + (
            " ± standard deviation" if spread is not None and number == 0 else ""
        )
        options: dict[str, Any] = {"frame_width": 430, "frame_height": min(size, 280), "padding": 0.04}
        panels.append(
            style.dress(hv.Overlay(drawn), title=title, legend_position="right", show_legend=len(parts) == 1, **options)
        )
    return panels
