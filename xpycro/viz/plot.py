"""``xp.plot``: every kind of picture by name, and `auto`, which chooses.

May import numpy, xarray, the floors below and viz; HoloViews only inside functions. What a picture was chosen for is
said by `chosen`. This namespace is what ``.pycro.plot`` forwards to.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from xpycro import schema
from xpycro.errors import DimensionError, MissingExtra
from xpycro.viz import curves, photographs, planes, profiles, report, style
from xpycro.viz import tree as _tree
from xpycro.viz.clusters import clusters, dendrogram
from xpycro.viz.components import components, decomposition
from xpycro.viz.curves import complex, spectrum
from xpycro.viz.diffraction import diffraction
from xpycro.viz.explore import explore, selection
from xpycro.viz.filtering import filtered
from xpycro.viz.fits import comparison, fit
from xpycro.viz.images import image
from xpycro.viz.levels import hist
from xpycro.viz.lines import lines
from xpycro.viz.pictures import maps
from xpycro.viz.positions import positions
from xpycro.viz.ranks import scree
from xpycro.viz.stacks import stack
from xpycro.viz.sweeps import force, loops
from xpycro.viz.switching import switching

__all__ = [
    "auto", "chosen", "clusters", "comparison", "complex", "components", "decomposition", "dendrogram", "diffraction",
    "explore", "filtered", "fit", "force", "hist", "image", "lines", "loops", "maps", "positions", "save", "scree",
    "selection", "spectrum", "stack", "switching", "tree",
]  # fmt: skip


FEW_FRAMES = 256  # pictures along time or height beyond that are looked at as curves


def auto(
    obj: xr.DataArray | xr.Dataset | xr.DataTree, data: xr.DataArray | None = None, *, variable: str | None = None
) -> Any:
    """The picture or explorer that suits an object: by its dims, dtype, and the kind of result it is.

    Parameters
    ----------
    obj : DataArray, Dataset or DataTree
        A measurement, a result, or a whole file.
    data : DataArray, optional
        The measurement, for results that need it (fits, clusterings); else it is reopened through the history.
    variable : str, optional
        Of a Dataset, which one. Without it: all pictures of a Dataset of pictures, else what was measured most of; the
        force of a force curve.

    Returns
    -------
    holoviews object
        `chosen` says which kind it is and why.

    Raises
    ------
    DimensionError
        If nothing suits; the message says what to pass or cut.

    Notes
    -----
    *Laziness*: that of the chosen kind.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> chosen(auto(xr.DataArray(np.zeros((4, 5)), dims=("y", "x"), name="height")))
    "image: 'height' is a plane over ['y', 'x']"
    """
    if isinstance(obj, xr.DataTree):
        return tree(obj)
    kind = schema.result_kind(obj)
    if isinstance(obj, xr.Dataset) and kind == "decomposition":
        return decomposition(obj, data)
    if isinstance(obj, xr.Dataset) and kind == "clustering":
        return clusters(obj, data)
    if isinstance(obj, xr.Dataset) and kind == "fit":
        return fit(obj, data)
    if (
        isinstance(obj, xr.Dataset)
        and kind == "comparison"
        and (schema.plane_dims(obj["best"]) or obj["best"].ndim <= 1)
    ):
        return comparison(obj)
    if isinstance(obj, xr.Dataset) and kind == "filter_preview":
        return filtered(obj)
    if isinstance(obj, xr.Dataset) and kind in ("loop_fit", "loop_parameters"):
        return _loop_maps(obj)
    if isinstance(obj, xr.Dataset):
        return _dataset(obj, variable)
    if not isinstance(obj, xr.DataArray):
        raise TypeError(f"cannot draw a {type(obj).__name__}: pass a DataArray or Dataset, or a DataTree")
    return _array(obj)


def tree(obj: xr.DataTree) -> Any:
    """A tab for each node of a file: what it holds, its history, and the right view of it.

    Parameters
    ----------
    obj : DataTree
        What ``open_tree`` returned.

    Returns
    -------
    panel.Tabs
        Because tabs are widgets. Saved with `save`, a page with the same tabs.

    Raises
    ------
    DimensionError
        If no node holds anything.

    Notes
    -----
    *Laziness*: that of each node's view.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> held = xr.DataTree.from_dict({"/": xr.Dataset({"height": (("y", "x"), np.ones((3, 4)))})})
    >>> chosen(tree(held))
    'tree: 1 nodes, a tab each'
    """
    return _tree.tree(obj, auto)


def chosen(drawn: Any) -> str:
    """What a picture made by `auto` is, and why: ``"image: 'height' is a plane over ['y', 'x']"``.

    Parameters
    ----------
    drawn : holoviews object

    Returns
    -------
    str
        Empty where nothing was chosen.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> chosen(auto(xr.DataArray(np.arange(4.0), dims="time", name="current")))
    "spectrum: 'current' has one dimension, 'time'"
    """
    return str(getattr(drawn, "_pycro_choice", ""))


def _loop_maps(result: xr.Dataset) -> Any:
    """The parameters of loops as maps; `switching` shows the loops and spectra behind them."""
    names = [str(n) for n in result.data_vars if f"{n}_stderr" in result.data_vars]
    others = [d for d in result[names[0]].dims if d not in (schema.plane_dims(result[names[0]]) or ())]
    if len(others) == 1 == result[names[0]].ndim:
        drawn = profiles.profiles(result, names)
        return style.remember(drawn, choice=f"profiles: loop parameters along {others[0]!r}")
    drawn = maps(result[names].isel(dict.fromkeys(others, 0)), variables=names, cols=3, size=230)
    return style.remember(drawn, choice="maps: loop parameters; plot.switching(fit, loops, sho, data) explores them")


def _dataset(ds: xr.Dataset, variable: str | None) -> Any:
    if variable is not None:
        return _array(schema.pick(ds, variable))
    names = [
        str(n) for n in ds.data_vars if not str(n).startswith("true_") and ds[n].dtype.kind in "biufc" and ds[n].size
    ]
    if not names:
        raise DimensionError(
            f"nothing to draw: this Dataset has the variables {list(ds.data_vars)}, of which none holds numbers"
        )
    flat = [n for n in names if planes.is_plane(ds[n])]
    if len(flat) == len(names) and len(names) > 1:
        return style.remember(
            maps(ds, variables=names, cols=3, size=230), choice=f"maps: all variables {names} are planes"
        )
    turned = [n for n in names if _two_ways(ds[n])]
    if len(turned) == len(names) > 1:
        first = ds[names].isel({d: 0 for d in ds.dims if d in ("direction", "segment")})
        way = str(first["direction"].values) if "direction" in first.coords else "the first direction"
        return style.remember(
            maps(first, variables=names, cols=3, size=230), choice=f"maps: {names} are planes, of which {way}"
        )
    names = [n for n in names if n not in flat] or names
    names.sort(key=lambda n: (_beside(ds[n]), -ds[n].size, n != "force"))  # what was measured most of is the file's
    touching = _along_height(ds, names[0])
    if touching is None:
        drawn = _array(ds[names[0]])
    else:
        da, height = touching
        drawn = style.remember(force(da, height), choice=f"force: {names[0]!r} against {height!r}")
    others = f" (others: variable= one of {names[1:]})" if len(names) > 1 else ""
    return style.remember(drawn, choice=chosen(drawn) + others)


def _beside(da: xr.DataArray) -> bool:
    """Whether an array along a sweep is what the sweep was made by, and not what was measured along it."""
    name = str(da.name).rstrip("_0123456789")
    curve = any(schema.dimension_type(da, d) in ("spectral", "temporal") or d in ("point", "step") for d in da.dims)
    return curve and name in _SWEPT


_SWEPT = (
    "bias", "height", "height_sensor", "length", "measured_height", "time", "timestamp", "x", "y", "z", "z_piezo",
)  # fmt: skip


def _along_height(ds: xr.Dataset, name: str) -> tuple[xr.DataArray, str] | None:
    """A force curve, or what else was measured while a tip came down, and the height it is drawn against."""
    da = ds[name]
    wide = [str(d) for d in da.dims if da.sizes[d] > 1 and d not in ("segment", "direction")]
    if wide not in (["point"], ["step"]) or da.dtype.kind == "c":
        return None
    for height in ("separation", "z", "height_sensor", "height", "z_piezo"):
        # in order of time, what was recorded beside it need not be what was swept
        found = (ds.coords if wide == ["step"] else ds.variables).get(height)
        if found is not None and height != name and wide[0] in found.dims and set(found.dims) <= set(da.dims):
            return da.assign_coords({height: found}), height
    return None


def _two_ways(da: xr.DataArray) -> bool:
    """Whether an array is pictures of the same scan in both directions."""
    plane = schema.plane_dims(da)
    return plane is not None and all(d in (*plane, "direction") for d in da.dims)


def _array(da: xr.DataArray) -> Any:
    planes.not_empty(da)
    name = repr(str(da.name or "this array"))
    dims = [str(d) for d in da.dims]
    wide = [d for d in dims if da.sizes[d] > 1]
    plane = schema.plane_dims(da)
    rest = [d for d in wide if plane is None or d not in plane]
    if photographs.is_photograph(da):
        return style.remember(image(da), choice=f"image: {name} is a photograph, red, green and blue")
    roles = {d: schema.dimension_type(da, d) for d in dims}
    if plane is not None and not rest:
        return style.remember(image(da), choice=f"image: {name} is a plane over {list(plane)}")
    if len(wide) <= 1:
        along = wide[0] if wide else dims[0]
        if not style.axis(da, along).monotonic and da.sizes[along] > 1 and da.dtype.kind != "c":
            return style.remember(loops(da), choice=f"loops: {name} turns back along {along!r}")
        return style.remember(spectrum(da, along), choice=f"spectrum: {name} has one dimension, {along!r}")
    if plane is not None and len(rest) == 1 and roles[rest[0]] in ("component", "parameter", "channel"):
        drawn = maps(da, over=rest[0])
        return style.remember(drawn, choice=f"maps: {name} has planes over {list(plane)}, laid out over {rest[0]!r}")
    few = len(rest) == 1 and roles[rest[0]] in ("temporal", "spatial") and da.sizes[rest[0]] <= FEW_FRAMES
    if plane is not None and len(rest) == 1 and (few or roles[rest[0]] not in ("spectral", "temporal", "spatial")):
        return stack(da.squeeze([d for d in dims if d not in (*plane, rest[0])]), rest[0])
    if plane is not None and roles[plane[0]] == "reciprocal" and len(rest) == 1:
        return stack(da.squeeze([d for d in dims if d not in (*plane, rest[0])]), rest[0])
    reciprocal = [d for d in wide if roles[d] == "reciprocal"]
    if len(reciprocal) == 2 and len(wide) == 4:
        return diffraction(da)
    if len(wide) == 2 and plane is None:
        return _two_dims(da, wide, roles, name)
    try:
        return explore(da)
    except DimensionError:
        if any(role != "unknown" for role in roles.values()):
            raise
        # a file that says nothing of its dims: the last runs along the spectrum
        drawn = explore(da, nav=wide[-3:-1], sig=wide[-1])
        return style.remember(
            drawn, choice=f"{chosen(drawn)}; nothing says what {dims} are: rename them, as in rename({dims[0]}='y')"
        )


def _two_dims(da: xr.DataArray, wide: list[str], roles: dict[str, str], name: str) -> Any:
    da = da.squeeze([d for d in da.dims if d not in wide])
    signal = [d for d in wide if roles[d] in ("spectral", "temporal")]
    if len(signal) == 1:
        other = next(d for d in wide if d != signal[0])
        turning = not style.axis(da, signal[0]).monotonic
        if turning and da.dtype.kind != "c" and da.sizes[other] <= 32 and roles[other] == "frame":
            return style.remember(
                loops(da, by=other), choice=f"loops: {name} turns back along {signal[0]!r}, one a {other!r}"
            )
        if other == "position" and {"x", "y"} <= set(da.coords) and any(np.ptp(da[c].values) > 0 for c in ("x", "y")):
            return explore(da)
        if da.sizes[other] > curves.MAX_CURVES:
            return lines(da)
        return style.remember(
            spectrum(da, signal[0]), choice=f"spectrum: {name} has {da.sizes[other]} curves along {signal[0]!r}"
        )
    return style.remember(image(da), choice=f"image: {name} over {wide}")


# ------------------------------------------------------------------------------------------------------------ saving


def save(
    obj: Any, path: str | os.PathLike[str], *, title: str | None = None, width_mm: float | None = None, dpi: int = 300,
    letters: bool = True,
) -> Path:  # fmt: skip
    """Write a plot to a file: a page that works without a server, or a figure for a paper.

    Parameters
    ----------
    obj : holoviews object or Bokeh model
        ``explore``, ``fit`` and ``stack`` become twins that stay interactive without a server.
    path : path-like
        ``.html``: self-contained, works offline. ``.png``, ``.svg``, ``.pdf``: drawn by Matplotlib, 8 pt.
    title : str, optional
        Heading of an HTML page.
    width_mm : float, optional
        Width of a drawn figure; by default a journal's single column (85 mm), for several side by side its double
        (170 mm). Panels that a narrow figure has no room for side by side stand below each other.
    dpi : int, default 300
        Of ``.png``, and of the pictures inside ``.pdf`` and ``.svg``, whose lines and letters have none.
    letters : bool, default True
        Whether the panels of a drawn figure are named a, b, c.

    Returns
    -------
    pathlib.Path
        Where it is.

    Raises
    ------
    ValueError
        If the suffix is not one of these.
    MissingExtra
        If Matplotlib is needed and not installed.

    Notes
    -----
    *Laziness*: computes what is drawn.

    Examples
    --------
    >>> import pathlib, tempfile, numpy as np, xarray as xr
    >>> drawn = image(xr.DataArray(np.zeros((4, 5)), dims=("y", "x"), name="height"))
    >>> save(drawn, pathlib.Path(tempfile.mkdtemp()) / "height.html").name
    'height.html'
    """
    target = Path(path)
    suffix = target.suffix.lower()
    if suffix in (".html", ".htm"):
        heading = title or target.stem.replace("_", " ")
        return report.write(target, title=heading, sections=[report.Section("", "", obj)])
    if suffix not in (".png", ".svg", ".pdf"):
        raise ValueError(f"cannot save as {suffix or 'a file without suffix'!r}: choose .html, .png, .svg or .pdf")
    try:
        from xpycro.viz import figures

        return figures.save(obj, target, width_mm=width_mm, dpi=dpi, letters=letters)
    except ImportError as error:
        raise MissingExtra("matplotlib", "figures", f"saving {suffix}") from error
