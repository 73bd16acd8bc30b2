"""Clusterings: where each cluster is and its mean response, linked both ways; and which resemble each other.

May import numpy, xarray, the floors below and viz; HoloViews only inside functions.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from xpycro import provenance, schema
from xpycro.errors import DimensionError, MissingSource
from xpycro.processing import cluster as _cluster
from xpycro.viz import curves, pictures, planes, style
from xpycro.viz import parts as _parts
from xpycro.viz.linking import callback, cursors, linked
from xpycro.viz.live import attempt
from xpycro.viz.navigator import Navigator
from xpycro.viz.ranks import NONE, needs

__all__ = ["Clusters", "clusters", "dendrogram"]


def clusters(result: xr.Dataset, data: xr.DataArray | None = None, *, size: int = 320) -> Any:
    """Where each cluster is, and its mean response with one standard deviation, in the same colours, linked both ways.

    Tap the map for a pixel: its cluster stands out, with the pixel's spectrum over mean and spread. Tap a mean for the
    cluster nearest there: its pixels stand out. A double tap shows all alike again.

    Parameters
    ----------
    result : Dataset
        A clustering; without ``mean_response`` the means are made from `data`, else the centers are drawn.
    data : DataArray, optional
        The measurement that was clustered, or another channel of it, whose means are made; without it the source is
        reopened through the history for the spectra of pixels, and where it is not found they are left out.
    size : int
        Screen pixels of the map's longer side.

    Returns
    -------
    holoviews.Layout of DynamicMap
        Saved with `save`, or put in a report, it becomes a twin that works without a server. Of responses that are
        pictures, a Layout of pictures.

    Raises
    ------
    DimensionError
        If `data` are not of the clusters' map and signal.

    Notes
    -----
    *Laziness*: computes labels and means; means from `data` are one pass; one spectrum a tap.

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
    mean, deviation = _responses(result, data)
    if mean.ndim != 2:
        return _of_pictures(result, mean, size)
    held = Clusters(result, data, mean, deviation)
    state = cursors(pixel=NONE, cluster=NONE)

    def to_pixel(x: float, y: float, *_: Any) -> None:
        pixel = held.over.nearest(x, y)
        state.event(pixel=pixel, cluster=int(held.labels[pixel]))

    def to_cluster(number: int, x: float, y: float, *_: Any) -> None:
        state.event(pixel=NONE, cluster=held.nearest(number, x, y))

    def to_all(x: float, y: float) -> None:
        state.event(pixel=NONE, cluster=NONE)

    panels = [
        linked(callback(held.map, size), [], state, {"Tap": to_pixel, "Drag": to_pixel, "DoubleTap": to_all}),
        *(
            linked(
                callback(held.responses, number, size), [], state,
                {"Tap": functools.partial(to_cluster, number), "DoubleTap": to_all},
            )
            for number in range(len(held.parts))
        ),
    ]  # fmt: skip
    layout = pictures.gather(panels, cols=2)
    layout._pycro_state = state
    from xpycro.viz.static_clusters import clusters_explorer

    return style.remember(
        layout,
        choice="clusters: label map, mean responses with standard deviation, spectrum of the tapped pixel",
        static=functools.partial(clusters_explorer, held, size=size),
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


def _responses(result: xr.Dataset, data: xr.DataArray | None) -> tuple[xr.DataArray, xr.DataArray | None]:
    """Means and deviations over (cluster, signal): those that are kept, unless `data` are of another channel."""
    kept = "mean_response" in result
    if data is not None and not (kept and _named(result["mean_response"]) == _named(data)):
        found = _cluster.mean_by(result, data, n_clusters=result.sizes["cluster"])
        return found["mean"], found["std"]
    if kept:
        return result["mean_response"], result["response_std"] if "response_std" in result else None
    if "centers" in result:
        return result["centers"], None
    raise ValueError("this clustering keeps neither mean_response nor centers: pass data=")


def _named(da: xr.DataArray) -> str:
    """What an array, or one that was averaged, is called."""
    return str(da.attrs.get("long_name") or da.name or "Value").removesuffix(", mean of the cluster")


def _of_pictures(result: xr.Dataset, mean: xr.DataArray, size: int) -> Any:
    """Label map and mean pictures, as of diffraction patterns."""
    labels = Clusters.labelled(result)
    plane = schema.plane_dims(labels) or tuple(map(str, labels.dims))
    drawn: list[Any] = []
    if len(plane) == 2:
        drawn.append(
            pictures.picture(_parts.first(labels, [str(d) for d in labels.dims if d not in plane])[0], size=size)
        )
    if mean.ndim == 3:
        drawn.append(pictures.maps(mean, over="cluster", cols=2, size=size // 2))
    return style.remember(pictures.gather(drawn, cols=2), choice="clusters: label map, mean pictures")


@dataclass(frozen=True, eq=False)
class Response:
    """What is shown of the responses.

    Attributes
    ----------
    shown : Quantity
    means : ndarray, shape (cluster, sample)
        In display units.
    band : ndarray or None
        Standard deviations; of complex data the amplitude has them.
    part : callable
        Which real part of a spectrum it is.
    """

    shown: style.Quantity
    means: np.ndarray
    band: np.ndarray | None
    part: Callable[[np.ndarray], np.ndarray]


class Clusters:
    """A clustering in memory, and its data where they are known: labels, means, and single spectra.

    Attributes
    ----------
    over : Navigator
        The map.
    labels : ndarray of int, shape (pixel,)
        -1 where left out.
    like : DataArray
        The labels over the map.
    signal : Axis
    parts : list of Response
        One, of complex data amplitude and phase.
    data : DataArray or None
        Over (map, signal).
    """

    def __init__(
        self, result: xr.Dataset, data: xr.DataArray | None, mean: xr.DataArray, deviation: xr.DataArray | None
    ) -> None:
        labels = self.labelled(result)
        nav = schema.plane_dims(labels) or tuple(str(d) for d in labels.dims[-1:])
        rest = [str(d) for d in labels.dims if d not in nav]
        labels = _parts.ascending(_parts.first(labels, rest)[0].transpose(*nav), nav)
        self.like = labels.copy(data=style.read(labels))
        self.over = Navigator.of(self.like, nav)
        self.labels = np.where(np.isfinite(self.like.values), self.like.values, NONE).astype(int).reshape(-1)
        self.counts = np.bincount(self.labels[self.labels >= 0], minlength=mean.sizes["cluster"])
        (dim,) = (str(d) for d in mean.dims if d != "cluster")
        self.signal = style.axis(mean, dim)
        # that they are means is in the title
        name = _named(mean)
        name = name.replace("_", " ").capitalize() if name.islower() else name
        mean = mean.transpose("cluster", dim).assign_attrs(long_name=name)
        spread = None if deviation is None else np.abs(style.read(deviation.transpose("cluster", dim)))
        self.parts: list[Response] = []
        turned = mean.dtype.kind == "c"
        for part in planes.amplitude_phase(mean) if turned else [mean]:
            values = style.read(part)
            shown = style.quantity(part, values)
            band = spread * shown.factor if spread is not None and not self.parts else None
            real: Any = np.asarray if not turned else np.angle if self.parts else np.abs
            self.parts.append(Response(shown, values * shown.factor, band, real))
        self.data = _source(result, data, (*nav, dim), labels.sizes, mean)
        self._layer = functools.cache(self._drawn)

    @staticmethod
    def labelled(result: xr.Dataset) -> xr.DataArray:
        """The labels, with as many colours as clusters, whether or not the last one has members."""
        named = {"flag_values": list(range(result.sizes["cluster"])), "long_name": "Cluster"}
        return result["labels"].drop_attrs(deep=False).assign_attrs(named)

    def colours(self, cluster: int) -> list[str]:
        """A colour for each cluster; all but the chosen one stand back."""
        found = style._categories(len(self.parts[0].means))
        return [c if cluster in (NONE, i) else style.faded(c) for i, c in enumerate(found)]

    def nearest(self, part: int, x: float, y: float) -> int:
        """The cluster whose mean is nearest to a place."""
        away = np.abs(self.parts[part].means[:, self.signal.nearest(x)] - y)
        return int(np.argmin(np.where(np.isfinite(away), away, np.inf)))

    def spectrum(self, pixel: int) -> np.ndarray:
        """A pixel's spectrum."""
        assert self.data is not None
        return style.read(self.data.isel(self.over.at(pixel)))

    def said(self, cluster: int) -> str:
        """How much of the map a cluster is; two lines, as beside it, so that a page does not cut what stands below."""
        total = int(self.counts.sum())
        if cluster == NONE:
            return f"Clusters\n{total} pixels"
        return f"Cluster {cluster}\n{self.counts[cluster]} of {total} pixels"

    def title(self, part: int, pixel: int, cluster: int) -> str:
        """What stands above the responses."""
        shown, spread = self.parts[part].shown, " ± standard deviation" if self.parts[part].band is not None else ""
        if pixel != NONE and self.data is not None:
            inside = f"over cluster {cluster}{spread}" if cluster != NONE else "in no cluster"
            return f"{shown.label} at {self.over.where(pixel)} (black)\n{inside}"
        # as many lines, because a page keeps as much room for a title as it was drawn with
        return f"{shown.label}\n" + ("cluster means" if cluster == NONE else f"mean of cluster {cluster}") + spread

    def map(self, size: int, _: Any, *, pixel: int, cluster: int) -> Any:
        """The labels, those of the chosen cluster in full colour, and the pixel."""
        full = style.colours(self.like, self.like.values)
        colour = style.Colours("labels", self.colours(cluster), full.clim, full.ticks)
        values = self.like.values[(slice(None, None, self.over.every),) * self.like.ndim]
        title = self.said(cluster)
        shown = style.Quantity("Cluster", None, 1.0)
        drawn = self.over.draw(values, self.like, shown, size=size, title=title, colour=colour)
        return self.over.panel(drawn, pixel, title)

    def responses(self, part: int, size: int, _: Any, *, pixel: int, cluster: int) -> Any:
        """The means, that of the chosen cluster in front of the others, and the pixel's spectrum."""
        held = self.parts[part]
        layers = []
        for i in range(len(held.means)):
            layers += self._layer(part, i, NONE if cluster == NONE else int(cluster == i))
        raw, problem = np.full(self.signal.values.size, np.nan), ""
        if pixel != NONE and self.data is not None:
            raw, problem = attempt(functools.partial(self.spectrum, pixel), raw.shape)
            raw = held.part(raw) * (held.shown.factor if held.part is not np.angle else 1.0)
        layers.append(curves.curve(self.signal, raw, held.shown, color=style.INK, line_width=1.4))
        return style.dress(
            style.backend().Overlay(layers), title=problem or self.title(part, pixel, cluster), padding=0.04,
            frame_width=430, frame_height=min(size, 280), legend_position="right", show_legend=len(self.parts) == 1,
            hooks=[style.roomy],
        )  # fmt: skip

    def _drawn(self, part: int, cluster: int, front: int) -> list[Any]:
        """Band and mean of a cluster: in front of the others (1), behind (0), or as all."""
        held, ax = self.parts[part], self.signal
        colour = style._categories(len(held.means))[cluster]
        drawn: list[Any] = []
        if held.band is not None:
            band = curves.area(ax, held.means[cluster], held.band[cluster], held.shown, name="value", color=colour)
            drawn.append(band.opts(backend="bokeh", alpha={1: 0.3, 0: 0.02}.get(front, 0.18)))
        look: dict[str, Any] = {"alpha": 0.2 if front == 0 else 1.0, "line_width": 3.0 if front == 1 else 1.8}
        label = f"{cluster} ({self.counts[cluster]})"
        drawn.append(
            curves.curve(ax, held.means[cluster], held.shown, label=label, color=colour, tools=["hover"], **look)
        )
        return drawn


def _source(
    result: xr.Dataset, data: xr.DataArray | None, dims: tuple[str, ...], sizes: Any, mean: xr.DataArray
) -> xr.DataArray | None:
    """The data over map and signal; None where they are not to be had, or are not what the means are of."""
    try:
        found = provenance.source_data(result, data, purpose="the spectrum of a pixel")
    except MissingSource:
        return None
    lacking = [d for d in dims if found.sizes.get(d) != {**sizes, dims[-1]: mean.sizes[dims[-1]]}[d]]
    if lacking and data is not None:
        raise DimensionError(
            f"data= has {planes.sizes(found)}, the clusters' map and signal {list(dims)}, which differ in {lacking}"
        )
    alike = (found.dtype.kind == "c") == (mean.dtype.kind == "c") and found.attrs.get("units") == mean.attrs.get(
        "units"
    )
    if lacking or not (alike or data is not None):
        return None
    rest = [str(d) for d in found.dims if d not in dims]
    return _parts.ascending(_parts.first(found, rest)[0].transpose(*dims), dims[:-1])
