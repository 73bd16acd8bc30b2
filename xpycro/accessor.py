"""The accessor ``.pycro`` on DataArray, Dataset and DataTree: it holds the object and forwards, nothing else.

Each method is the plain function of the same name under ``xp.``, with its signature and docstring. Only the package's
``__init__`` imports this module, when an object is first asked for ``.pycro``.
"""

from __future__ import annotations

import functools
import html
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import xarray as xr

from xpycro.analysis import fit as _fit
from xpycro.analysis import fit_quality as _fit_quality
from xpycro.analysis import loops as _loops
from xpycro.engine import results as _results
from xpycro.io import export as _export
from xpycro.io import store as _store
from xpycro.processing import cluster as _cluster
from xpycro.processing import decompose as _decompose
from xpycro.processing import diffraction as _diffraction
from xpycro.processing import filters as _filters
from xpycro.processing import image as _image
from xpycro.processing import lattice as _lattice
from xpycro.processing import mass as _mass
from xpycro.processing import register as _register
from xpycro.processing import select as _select
from xpycro.processing import spectra as _spectra
from xpycro.processing import windows as _windows
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

    def _members(self) -> Iterator[tuple[str, str]]:
        """What it offers, each with the first line of its documentation."""
        for name in dir(type(self)):
            if not name.startswith("_"):
                member = getattr(type(self), name)
                open_, doc = "(...)" if callable(member) else "", inspect.getdoc(member) or ""
                yield f"{name}{open_}", doc.partition("\n")[0]

    def __repr__(self) -> str:
        members = list(self._members())
        width = max(len(name) for name, _ in members)
        lines = [f"  {name:<{width}}  {text}" for name, text in members]
        return "\n".join([f"<{type(self).__name__} of a {type(self._obj).__name__}>", *lines])

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td style='text-align:left'><code>{html.escape(name)}</code></td>"
            f"<td style='text-align:left'>{html.escape(text)}</td></tr>"
            for name, text in self._members()
        )
        title = f"{type(self).__name__} of a {type(self._obj).__name__}"
        return f"<details open><summary>{title}</summary><table>{rows}</table></details>"


class Cluster(_Forwarding):
    """Clustering; calling it takes any scikit-learn estimator."""

    __slots__ = ()
    __call__ = _forward(_cluster.estimator)
    agglomerative = _forward(_cluster.agglomerative)
    dendrogram = _forward(_cluster.dendrogram)
    gaussian_mixture = _forward(_cluster.gaussian_mixture)
    hdbscan = _forward(_cluster.hdbscan)
    kmeans = _forward(_cluster.kmeans)
    mean_by = _forward(_cluster.mean_by)
    metrics = _forward(_cluster.metrics)
    scan = _forward(_cluster.scan)


class Decompose(_Forwarding):
    """Multivariate decompositions; calling it takes any scikit-learn estimator."""

    __slots__ = ()
    __call__ = _forward(_decompose.estimator)
    ica = _forward(_decompose.ica)
    nfindr = _forward(_decompose.nfindr)
    nmf = _forward(_decompose.nmf)
    pca = _forward(_decompose.pca)
    rank = _forward(_decompose.rank)
    stability = _forward(_decompose.stability)
    stack_channels = _forward(_decompose.stack_channels)
    svd = _forward(_decompose.svd)
    varimax = _forward(_decompose.varimax)


class Diffraction(_Forwarding):
    """Reductions of patterns and what follows from them; calling it runs several in one pass."""

    __slots__ = ()
    __call__ = _forward(_diffraction.run)
    center = _forward(_diffraction.center)
    center_of_mass = _forward(_diffraction.center_of_mass)
    dpc = _forward(_diffraction.dpc)
    find_rotation = _forward(_diffraction.find_rotation)
    integrate = _forward(_diffraction.integrate)
    max_pattern = _forward(_diffraction.max_pattern)
    mean_pattern = _forward(_diffraction.mean_pattern)
    radial_profile = _forward(_diffraction.radial_profile)
    std_pattern = _forward(_diffraction.std_pattern)
    strain = _forward(_diffraction.strain)
    virtual_detector = _forward(_diffraction.virtual_detector)


class Filter(_Forwarding):
    """Fourier filters along one dim; calling it applies a filter."""

    __slots__ = ()
    __call__ = _forward(_filters.apply)
    condense = _forward(_filters.condense)
    lines_to_pixels = _forward(_filters.lines_to_pixels)
    noise_floor = _forward(_filters.noise_floor)
    preview = _forward(_filters.preview)
    rebuild = _forward(_filters.rebuild)


class Image(_Forwarding):
    """Image tools over the two spatial dims."""

    __slots__ = ()
    destripe = _forward(_image.destripe)
    fft = _forward(_image.fft)
    fourier_filter = _forward(_image.fourier_filter)
    gradient = _forward(_image.gradient)
    grains = _forward(_image.grains)
    inpaint = _forward(_image.inpaint)
    lattice_filter = _forward(_image.lattice_filter)
    lattice_spots = _forward(_image.lattice_spots)
    level = _forward(_image.level)
    outliers = _forward(_image.outliers)
    profile = _forward(_image.profile)
    repair = _forward(_image.repair)
    richardson_lucy = _forward(_image.richardson_lucy)
    roughness = _forward(_image.roughness)


class Lattice(_Forwarding):
    """Atoms in an image and the lattice they make."""

    __slots__ = ()
    find_atoms = _forward(_lattice.find_atoms)
    lattice_vectors = _forward(_lattice.lattice_vectors)
    neighbours = _forward(_lattice.neighbours)
    refine_atoms = _forward(_lattice.refine_atoms)
    strain = _forward(_lattice.strain)


class Loops(_Forwarding):
    """Switching loops: from oscillator fits to loops, their parameters, and what these say."""

    __slots__ = ()
    derived = _forward(_loops.derived)
    fit = _forward(_loops.fit)
    forc_density = _forward(_loops.forc_density)
    project = _forward(_loops.project)


class Mass(_Forwarding):
    """Mass spectra: calibration, peaks, ion images."""

    __slots__ = ()
    calibrate = _forward(_mass.calibrate)
    ion_images = _forward(_mass.ion_images)
    peaks = _forward(_mass.peaks)


class Plot(_Forwarding):
    """Pictures and explorers; calling it picks what suits the object."""

    __slots__ = ()
    __call__ = _forward(_plot.auto)
    clusters = _forward(_plot.clusters)
    comparison = _forward(_plot.comparison)
    complex = _forward(_plot.complex)
    components = _forward(_plot.components)
    decomposition = _forward(_plot.decomposition)
    dendrogram = _forward(_plot.dendrogram)
    diffraction = _forward(_plot.diffraction)
    explore = _forward(_plot.explore)
    filtered = _forward(_plot.filtered)
    fit = _forward(_plot.fit)
    force = _forward(_plot.force)
    hist = _forward(_plot.hist)
    image = _forward(_plot.image)
    lines = _forward(_plot.lines)
    loops = _forward(_plot.loops)
    maps = _forward(_plot.maps)
    positions = _forward(_plot.positions)
    scree = _forward(_plot.scree)
    spectrum = _forward(_plot.spectrum)
    stack = _forward(_plot.stack)
    switching = _forward(_plot.switching)


class Register(_Forwarding):
    """Drift between frames: estimate it, undo it."""

    __slots__ = ()
    affine = _forward(_register.affine)
    drift = _forward(_register.drift)
    find_affine = _forward(_register.find_affine)
    rigid = _forward(_register.rigid)
    shift = _forward(_register.shift)


class Spectra(_Forwarding):
    """Signal processing along one dim."""

    __slots__ = ()
    align = _forward(_spectra.align)
    background = _forward(_spectra.background)
    baseline = _forward(_spectra.baseline)
    calibrate = _forward(_spectra.calibrate)
    derivative = _forward(_spectra.derivative)
    despike = _forward(_spectra.despike)
    detrend = _forward(_spectra.detrend)
    fft = _forward(_spectra.fft)
    ifft = _forward(_spectra.ifft)
    normalise = _forward(_spectra.normalise)
    power_spectrum = _forward(_spectra.power_spectrum)
    rebin = _forward(_spectra.rebin)
    smooth = _forward(_spectra.smooth)


class Windows(_Forwarding):
    """Cleaning by a decomposition of overlapping windows."""

    __slots__ = ()
    clean = _forward(_windows.clean)
    svd = _forward(_windows.svd)
    window_size = _forward(_windows.window_size)


class _LabelledAccessor(_Forwarding):
    __slots__ = ()

    def _repr_html_(self) -> str:
        return _history(self._obj)._repr_html_() + super()._repr_html_()

    crop = _forward(_select.crop)
    derived = _forward(_fit_quality.derived)
    evaluate = _forward(_results.evaluate)
    fit = _forward(_fit.fit)
    layout = _forward(_store.layout_of)
    project = _forward(_results.project)
    reconstruct = _forward(_results.reconstruct)
    residual = _forward(_results.residual)
    save = _forward(_store.save)
    to_hyperspy = _forward(_export.to_hyperspy)
    to_nexus = _forward(_export.to_nexus)
    to_units = _forward(_select.to_units)
    cluster = property(lambda self: Cluster(self._obj), doc=Cluster.__doc__)
    decompose = property(lambda self: Decompose(self._obj), doc=Decompose.__doc__)
    diffraction = property(lambda self: Diffraction(self._obj), doc=Diffraction.__doc__)
    filter = property(lambda self: Filter(self._obj), doc=Filter.__doc__)
    history = property(lambda self: _history(self._obj), doc="How the object was made: `xp.history` of it.")
    image = property(lambda self: Image(self._obj), doc=Image.__doc__)
    lattice = property(lambda self: Lattice(self._obj), doc=Lattice.__doc__)
    loops = property(lambda self: Loops(self._obj), doc=Loops.__doc__)
    mass = property(lambda self: Mass(self._obj), doc=Mass.__doc__)
    plot = property(lambda self: Plot(self._obj), doc=Plot.__doc__)
    register = property(lambda self: Register(self._obj), doc=Register.__doc__)
    spectra = property(lambda self: Spectra(self._obj), doc=Spectra.__doc__)
    windows = property(lambda self: Windows(self._obj), doc=Windows.__doc__)


class DataArrayAccessor(_LabelledAccessor):
    """From raw counts to fitted, explained, replayable results: ``da.pycro.fit(...)`` is ``xp.fit(da, ...)``."""

    __slots__ = ()


class DatasetAccessor(_LabelledAccessor):
    """As on a DataArray; of several channels methods take ``variable=``."""

    __slots__ = ()


class DataTreeAccessor(_Forwarding):
    """What holds for a whole file; everything else is done on a node's Dataset."""

    __slots__ = ()
    plot = _forward(_plot.auto)

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
