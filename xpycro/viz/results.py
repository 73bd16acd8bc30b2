"""Pictures of results: decompositions, clusterings, fits.

May import numpy, xarray, the floors below and viz; HoloViews only inside functions.
"""

from __future__ import annotations

import functools
import html
import math
from typing import Any

import numpy as np
import xarray as xr

from xpycro import provenance, schema
from xpycro.viz import curves, pictures, static, static_fit, style
from xpycro.viz import parts as _parts
from xpycro.viz.live import Channel, callback, channels_of, linked
from xpycro.viz.ranks import advised, needs, ranks, scree

__all__ = ["clusters", "comparison", "components", "decomposition", "dendrogram", "fit"]


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
    for i in range(count):
        values = style.read(da.isel(component=i))
        shown = style.Quantity("Loading", None, 1.0)
        options: dict[str, Any] = {
            "frame_width": size,
            "frame_height": int(size * 0.8),
            "tools": ["hover"],
            "line_width": 1.5,
        }
        if values.dtype.kind == "c":
            both = [
                curves.curve(ax, part, shown, label=label, color=colour, **options)
                for part, label, colour in zip(
                    (values.real, values.imag), ("real", "imaginary"), style.CATEGORIES[:4:3], strict=True
                )
            ]
            hv = style.backend()
            drawn.append(
                style.dress(hv.Overlay(both), title=f"Component {i + 1}: Re blue, Im orange", show_legend=False)
            )
            continue
        drawn.append(curves.curve(ax, values, shown, color=style.CATEGORIES[0], title=f"Component {i + 1}", **options))
    return drawn


def _component_map(result: xr.Dataset, variable: str, number: int, size: int) -> Any:
    da = result[variable].isel(component=number, drop=True)
    da = da.isel({d: 0 for d in da.dims if d not in (schema.plane_dims(da) or da.dims)})
    name = f"Map {number + 1}" if variable == "maps" else f"Component {number + 1}"
    if da.dtype.kind == "c":
        da = pictures.amplitude_phase(da)[0]
        name += ", amplitude"
    if da.ndim == 1:  # one observation dim: a curve
        ax = style.axis(da, da.dims[0])
        values = style.read(da)
        shown = style.quantity(da, values, label="Score")
        return curves.curve(
            ax, values * shown.factor, shown, frame_width=size, frame_height=int(size * 0.8), title=name
        )
    dims = pictures.plane_of(da)
    da, note = pictures.thin(da.transpose(*dims), dims)
    values = style.read(da)
    shown = style.quantity(da, values, label=name)
    x, y = style.plane_axes(da, dims[1], dims[0])
    colour = style.colours(da.rename("score"), values * shown.factor)
    drawn = pictures.mesh(values * shown.factor, x, y, colour, shown, size=size, bare=True)
    return drawn.opts(
        backend="bokeh", title=shown.title + note, hooks=[style.polish, *pictures.bare_hooks(x, y), style.roomy]
    )


def decomposition(
    result: xr.Dataset, data: xr.DataArray | None = None, count: int = 6, *, cols: int = 3, size: int = 210
) -> Any:
    """Maps and components of a decomposition, one above the other, and its scree; with data, an explorer of the rank.

    Parameters
    ----------
    result : Dataset
        A decomposition.
    data : DataArray, optional
        What was decomposed: then tap the scree for a component and the reconstruction up to it, the map for a pixel.
    count : int, default 6
        How many components.
    cols : int, default 3
        Components in a row.
    size : int
        Screen pixels of a map's longer side.

    Returns
    -------
    holoviews.Layout

    Notes
    -----
    *Laziness*: computes the maps and components drawn, and the singular values.

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
    if data is not None:
        return ranks(result, data)
    hv = style.backend()
    count = min(count, result.sizes["component"])
    maps = [_component_map(result, "maps", i, size) for i in range(count)]
    loadings = _components(result, count, size)
    cells: list[Any] = []
    for first in range(0, count, cols):
        for row in (maps, loadings):
            part = row[first : first + cols]
            cells += part + [hv.Empty() for _ in range(cols - len(part) if count > cols else 0)]
    if "explained_variance_ratio" in result or "singular_values" in result:
        cells.append(scree(result, rank=advised(result), width=size + 50, height=size))
    layout = pictures.gather(cells, cols=min(cols, count), room=True)
    return style.remember(layout, choice=f"decomposition: {count} maps and components, scree")


# ----------------------------------------------------------------------------------------------------------- clusters


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
    names = dict(enumerate(map(str, found["leaves"])))
    kdims = [hv.Dimension(("leaf", "Cluster")), hv.Dimension(("distance", "Distance"), unit=shown.unit)]

    def ticks(plot: Any, element: Any) -> None:
        plot.state.xaxis[0].ticker = list(map(float, names))
        plot.state.xaxis[0].major_label_overrides = names

    return style.dress(
        hv.Path(branches, kdims), color=style.CATEGORIES[0], line_width=1.8, frame_width=width, frame_height=height,
        padding=0.08, title="How alike the clusters are", hooks=[ticks],
    )  # fmt: skip


def _scattered(labels: xr.DataArray) -> Any:
    """Labels of scattered positions as points, of a line as a curve."""
    shown = style.Quantity("Cluster", None, 1.0)
    axes, places, names = static.navigator(labels, [str(labels.dims[0])])
    values = style.read(labels)
    if names is not None:
        return curves.curve(axes[0], values, shown, title="Clusters")
    return static.points(values, axes, places, style.colours(labels, values), shown, size=300, title="Clusters")


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
    parts = pictures.amplitude_phase(mean) if mean.dtype.kind == "c" else [mean]
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


# ---------------------------------------------------------------------------------------------------------------- fit


def fit(result: xr.Dataset, data: xr.DataArray | None = None, *, size: int = 200, cols: int = 3) -> Any:
    """Parameter maps and r²; tap a pixel for its data, its fitted curve, and its values with errors.

    Parameters
    ----------
    result : Dataset
        A fit.
    data : DataArray, optional
        What was fitted; without it the source is reopened through the history.
    size : int
        Screen pixels of a map's longer side.
    cols : int, default 3
        Maps in a row.

    Returns
    -------
    holoviews.Layout of DynamicMap
        Saved with `save`, or put in a report, it becomes a twin that works without a server. Of a fit of one spectrum,
        an Overlay of data and curve.

    Raises
    ------
    MissingSource
        If the data are not given and cannot be found.

    Notes
    -----
    *Laziness*: reads the maps when drawn, and one spectrum a tap.

    Examples
    --------
    >>> import xarray as xr
    >>> import xpycro as xp
    >>> import numpy as np
    >>> energy = np.linspace(-1, 1, 20)
    >>> da = xr.DataArray(np.outer([1.0, 2.0], energy)[None] + 1, dims=("y", "x", "energy"), coords={"energy": energy})
    >>> len(fit(xp.fit(da, "linear", dim="energy"), da)) > 3
    True
    """
    needs(result, "fit")
    if str(result.attrs.get("fitted_dim", "")).startswith("["):  # of images: one peak a picture has no curve to show
        return _fit_of_images(result, size)
    hv = style.backend()
    measured = provenance.source_data(result, data, purpose="the fit explorer")
    r2 = result["r2"]
    signal = [str(d) for d in measured.dims if d not in r2.dims]
    if len(signal) != 1:
        raise ValueError(
            f"data= has the dims {[str(d) for d in measured.dims]}, the fit's maps {[str(d) for d in r2.dims]}: "
            "data= must be the array that was fitted, with one dim more"
        )
    if r2.ndim == 0:
        return _one_fit(result, measured, signal[0])
    nav = schema.plane_dims(r2) or tuple(str(d) for d in r2.dims[-1:])
    rest = [str(d) for d in r2.dims if d not in nav]
    view, _ = _parts.first(result, rest)
    measured = static_fit.around(result, measured.isel(dict.fromkeys(rest, 0)).transpose(*nav, *signal))
    names = [*static_fit.fit_parameters(result), "r2"]
    axes, places, place_names = static.navigator(view["r2"], nav)
    shape = [r2.sizes[d] for d in nav]
    state = hv.streams.Stream.define("Pixel", pixel=int(np.ravel_multi_index([n // 2 for n in shape], shape)))()
    go = functools.partial(_go, state, places)
    maps = [
        linked(callback(_parameter_map, view, name, nav, axes, places, size), [], state, {"Tap": go}) for name in names
    ]
    channels = channels_of(measured)
    panels = [
        hv.DynamicMap(
            callback(_fitted, view, measured, signal[0], nav, channel, (axes, places, place_names), names),
            streams=[state],
        )
        for channel in channels
    ]
    gaps = [hv.Empty() for _ in range(-len(maps) % cols)]  # what is tall starts a row of its own
    layout = pictures.gather([*maps, *gaps, *panels], cols=cols)
    layout._pycro_state = state
    return style.remember(
        layout,
        choice=f"fit: maps of {names}, data and fitted curve of the tapped pixel",
        static=functools.partial(static_fit.fit_explorer, result, data),
    )


def _fit_of_images(result: xr.Dataset, size: int) -> Any:
    names = [*static_fit.fit_parameters(result), "r2"]
    dims = [str(d) for d in result["r2"].dims]
    if len(dims) == 1:
        drawn = pictures.gather([curves.spectrum(result[name], dims[0], width=size) for name in names], cols=3)
    elif schema.plane_dims(result["r2"]):
        drawn = pictures.maps(result[names], cols=3, size=size)
    else:
        raise ValueError(f"a fit of images over {dims} has no map to draw: its values are {names}, select what to draw")
    return style.remember(drawn, choice=f"fit of images: {names} over {dims}")


def comparison(result: xr.Dataset, *, size: int = 200) -> Any:
    """Maps of which model is the likeliest, and of the weight of each.

    Parameters
    ----------
    result : Dataset
        Of ``fit_compare``, over a plane.
    size : int
        Screen pixels of a map's longer side.

    Returns
    -------
    holoviews.Layout

    Notes
    -----
    *Laziness*: computes the maps.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> import xpycro as xp
    >>> noise = np.random.default_rng(0).normal(size=(2, 3, 20))
    >>> da = xr.DataArray(noise, dims=("y", "x", "energy"))
    >>> fits = {name: xp.fit(da, name, dim="energy") for name in ("constant", "linear")}
    >>> len(comparison(xp.fit_compare(fits)))
    3
    """
    needs(result, "comparison")
    names = [str(name) for name in result["model"].values]
    drawn = {"best": result["best"].where(result["best"] >= 0).assign_attrs(result["best"].attrs)}
    for name in names:
        weight = result["weight"].sel(model=name, drop=True)
        drawn[f"weight {name}"] = weight.assign_attrs(long_name=f"Weight of {name}")
    layout = pictures.maps(xr.Dataset(drawn), cols=3, size=size)
    return style.remember(layout, choice=f"comparison: the likeliest of {names}, and the weight of each")


def _go(state: Any, places: np.ndarray, x: float, y: float) -> None:
    state.event(pixel=int(np.argmin((places[0] - x) ** 2 + (places[1] - y) ** 2)))


def _parameter_map(
    view: xr.Dataset,
    name: str,
    nav: tuple[str, ...],
    axes: list[style.Axis],
    places: np.ndarray,
    size: int,
    _: Any,
    pixel: int,
) -> Any:
    hv = style.backend()
    da = view[name].transpose(*nav)
    values = style.read(da)
    shown = style.quantity(da, values, label="r²" if name == "r2" else None)
    values = values * shown.factor
    colour = style.colours(da, values)
    x, y = axes
    drawn = (
        pictures.mesh(values, x, y, colour, shown, size=size)
        if values.ndim == 2
        else static.points(values, axes, places, colour, shown, size=size, title=shown.title)
    )
    place = ([places[0, pixel]], [places[1, pixel]])
    rings = [
        hv.Points(place, drawn.kdims).opts(backend="bokeh", fill_alpha=0, line_color=color, line_width=width, size=13)
        for color, width in (("white", 4), (style.CURSOR, 2))
    ]
    return style.dress(hv.Overlay([drawn, *rings]), title=shown.title, hooks=[style.roomy])


def _fitted(
    view: xr.Dataset, measured: xr.DataArray, signal: str, nav: tuple[str, ...], channel: Channel, where: Any,
    names: list[str], _: Any, pixel: int,
) -> Any:  # fmt: skip
    axes, places, place_names = where
    at = dict(zip(nav, map(int, np.unravel_index(pixel, [measured.sizes[d] for d in nav])), strict=True))
    one = view.isel({d: slice(i, i + 1) for d, i in at.items()})
    model = style.read(static_fit.fit_curve(one, measured).transpose(*nav, signal)).reshape(-1)
    values, shown = channel.apply(style.read(measured.isel(at)))
    curve, _ = channel.apply(model)
    place = place_names[pixel] if place_names else ", ".join(
        a.text_at(float(p[pixel])) for a, p in zip(axes, places, strict=True)
    )  # fmt: skip
    drawn = _data_and_curve(style.axis(measured, signal), values, curve, shown)
    words = html.unescape(_describe(one, names))
    return style.dress(drawn, title=f"{shown.label} at {place}\n{words}")


def _data_and_curve(ax: style.Axis, values: np.ndarray, curve: np.ndarray, shown: style.Quantity) -> Any:
    hv = style.backend()
    kdim, vdim = hv.Dimension((ax.dim, ax.label), unit=ax.unit), hv.Dimension(("value", shown.label), unit=shown.unit)
    dots = hv.Scatter((ax.values, values), kdim, vdim, label="data").opts(
        backend="bokeh", color="#7f7f7f", size=5 if values.size < 300 else 3, alpha=0.7
    )
    line = curves.curve(ax, curve, shown, label="fit", color=style.CATEGORIES[3], framewise=True)
    return style.dress(hv.Overlay([dots, line]), show_legend=False, frame_width=300, frame_height=230, padding=0.05)


def _describe(one: xr.Dataset, names: list[str]) -> str:
    words = []
    errors = {
        name: float(style.read(one[f"{name}_stderr"]).reshape(-1)[0]) for name in names if f"{name}_stderr" in one
    }
    for name in names:
        values = style.read(one[name]).reshape(-1)
        shown = style.quantity(one[name], values)
        error = errors[name] * shown.factor if name in errors else None
        some = any(map(math.isfinite, errors.values()))
        text = static_fit.value_text(values[0] * shown.factor, error, shown.unit, some)
        words.append(f"{'r²' if name == 'r2' else name.replace('_', ' ')} {text}")
    words = [" · ".join(words[i : i + 2]) for i in range(0, len(words), 2)]
    verdict = str(static_fit.outcome(one).reshape(-1)[0])
    return "\n".join([*words, verdict] if verdict else words)


def _one_fit(result: xr.Dataset, measured: xr.DataArray, signal: str) -> Any:
    measured = static_fit.around(result, measured)
    model = style.read(static_fit.fit_curve(result, measured))
    panels = []
    names = [*static_fit.fit_parameters(result), "r2"]
    raw = style.read(measured.transpose(signal))
    for channel in channels_of(measured):
        values, shown = channel.apply(raw)
        curve, _ = channel.apply(model)
        drawn = _data_and_curve(style.axis(measured, signal), values, curve, shown)
        panels.append(style.dress(drawn, title=f"{shown.label}\n{_describe(result, names)}"))
    drawn = panels[0] if len(panels) == 1 else pictures.gather(panels, cols=1)
    return style.remember(drawn, choice="fit: data and fitted curve")
