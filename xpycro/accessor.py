"""The accessor ``.pycro`` on DataArray, Dataset and DataTree: it holds the object and forwards, nothing else.

Each method is the plain function of the same name under ``xp.``, with its signature and docstring. Only the package's
``__init__`` imports this module.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import xarray as xr

from xpycro.analysis import fit as _fit
from xpycro.engine import results as _results
from xpycro.io import store as _store
from xpycro.processing import cluster as _cluster
from xpycro.processing import decompose as _decompose
from xpycro.processing import image as _image
from xpycro.processing import select as _select
from xpycro.provenance import history as _history
from xpycro.viz import plot as _plot

__all__ = ["DataArrayAccessor", "DataTreeAccessor", "DatasetAccessor"]


def _forward(function: Callable[..., Any]) -> Callable[..., Any]:
    """A method that hands the accessor's object to `function` as its first argument."""

    @functools.wraps(function)
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        return function(self._obj, *args, **kwargs)

    first, *rest = inspect.signature(function).parameters.values()
    method.__signature__ = inspect.signature(function).replace(  # type: ignore[attr-defined]
        parameters=[first.replace(name="self", annotation=inspect.Parameter.empty), *rest]
    )
    return method


class _Forwarding:
    __slots__ = ("_obj",)

    def __init__(self, obj: Any) -> None:
        self._obj = obj

    def __repr__(self) -> str:
        names = [name for name in dir(type(self)) if not name.startswith("_")]
        return f"<{type(self).__name__} of a {type(self._obj).__name__}: {', '.join(names)}>"


class Decompose(_Forwarding):
    """Multivariate decompositions."""

    __slots__ = ()
    pca = _forward(_decompose.pca)
    svd = _forward(_decompose.svd)


class Cluster(_Forwarding):
    """Clustering."""

    __slots__ = ()
    kmeans = _forward(_cluster.kmeans)
    mean_by = _forward(_cluster.mean_by)


class Image(_Forwarding):
    """Image tools over the two spatial dims."""

    __slots__ = ()
    fft = _forward(_image.fft)
    level = _forward(_image.level)
    roughness = _forward(_image.roughness)


class Plot(_Forwarding):
    """Pictures and explorers; calling it picks what suits the object."""

    __slots__ = ()
    __call__ = _forward(_plot.auto)
    clusters = _forward(_plot.clusters)
    complex = _forward(_plot.complex)
    components = _forward(_plot.components)
    decomposition = _forward(_plot.decomposition)
    explore = _forward(_plot.explore)
    fit = _forward(_plot.fit)
    hist = _forward(_plot.hist)
    image = _forward(_plot.image)
    loops = _forward(_plot.loops)
    maps = _forward(_plot.maps)
    scree = _forward(_plot.scree)
    spectrum = _forward(_plot.spectrum)
    stack = _forward(_plot.stack)


class _LabelledAccessor(_Forwarding):
    __slots__ = ()
    crop = _forward(_select.crop)
    evaluate = _forward(_results.evaluate)
    fit = _forward(_fit.fit)
    project = _forward(_results.project)
    reconstruct = _forward(_results.reconstruct)
    residual = _forward(_results.residual)
    save = _forward(_store.save)
    to_units = _forward(_select.to_units)
    cluster = property(lambda self: Cluster(self._obj), doc=Cluster.__doc__)
    decompose = property(lambda self: Decompose(self._obj), doc=Decompose.__doc__)
    history = property(lambda self: _history(self._obj), doc="How the object was made: `xp.history` of it.")
    image = property(lambda self: Image(self._obj), doc=Image.__doc__)
    plot = property(lambda self: Plot(self._obj), doc=Plot.__doc__)


@xr.register_dataarray_accessor("pycro")
class DataArrayAccessor(_LabelledAccessor):
    """From raw counts to fitted, explained, replayable results: ``da.pycro.fit(...)`` is ``xp.fit(da, ...)``."""

    __slots__ = ()


@xr.register_dataset_accessor("pycro")
class DatasetAccessor(_LabelledAccessor):
    """As on a DataArray; of several channels methods take ``variable=``."""

    __slots__ = ()


@xr.register_datatree_accessor("pycro")
class DataTreeAccessor(_Forwarding):
    """What holds for a whole file; everything else is done on a node's Dataset."""

    __slots__ = ()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        nodes = [node.path for node in self._obj.subtree if node.data_vars]
        raise AttributeError(
            f"a DataTree has no .pycro.{name}: use it on a node's dataset, tree[path].ds, one of {nodes}"
        )

    @property
    def history(self) -> dict[str, Any]:
        """The history of each node that holds data, by path."""
        return {node.path: _history(node.to_dataset()) for node in self._obj.subtree if node.data_vars}

    def map(
        self, function: Callable[[xr.Dataset], xr.Dataset], where: Callable[[xr.DataTree], bool] | None = None
    ) -> xr.DataTree:
        """The tree with `function` applied to the Dataset of every node that holds data and for which `where` holds.

        Parameters
        ----------
        function : callable
            From Dataset to Dataset.
        where : callable, optional
            From node to bool; None takes every node with data.

        Returns
        -------
        DataTree
            Nodes not taken are as they were.
        """
        changed = {
            node.path: function(node.to_dataset())
            if node.data_vars and (where is None or where(node))
            else node.to_dataset()
            for node in self._obj.subtree
        }
        return xr.DataTree.from_dict(changed, name=self._obj.name)
