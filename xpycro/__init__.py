"""xpycro: every microscope's file as a labelled xarray Dataset, and one accessor, ``.pycro``, from counts to results.

Importing it registers the accessors and costs what importing xarray costs: each public name below is loaded from its
room when it is first used.
"""

from __future__ import annotations

import importlib
import sys
import types
from typing import Any

import xarray as xr

# Where each public name lives, "module:name" where it is not a module; __init__.pyi says the same to type checkers.
_HOMES = {
    "accessor": "xpycro.accessor",
    "cluster": "xpycro.processing.cluster",
    "crop": "xpycro.processing.select:crop",
    "decompose": "xpycro.processing.decompose",
    "derived": "xpycro.analysis.fit_quality:derived",
    "diffraction": "xpycro.processing.diffraction",
    "errors": "xpycro.errors",
    "evaluate": "xpycro.engine.results:evaluate",
    "filter": "xpycro.processing.filters",
    "fit": "xpycro.analysis.fit:fit",
    "fit_compare": "xpycro.analysis.fit_quality:fit_compare",
    "Format": "xpycro.io.formats:Format",
    "formats": "xpycro.io.formats:formats",
    "from_hyperspy": "xpycro.io.export:from_hyperspy",
    "from_sidpy": "xpycro.io.export:from_sidpy",
    "history": "xpycro.provenance:history",
    "image": "xpycro.processing.image",
    "lab_frame": "xpycro.io.frame:lab_frame",
    "lattice": "xpycro.processing.lattice",
    "layout": "xpycro.io.store:layout_of",
    "loops": "xpycro.analysis.loops",
    "mass": "xpycro.processing.mass",
    "models": "xpycro.analysis.models",
    "open": "xpycro.io.opening:open",
    "open_many": "xpycro.io.many:open_many",
    "open_result": "xpycro.io.store:open_result",
    "open_tree": "xpycro.io.opening:open_tree",
    "pack": "xpycro.io.store:pack",
    "plot": "xpycro.viz.plot",
    "positions": "xpycro.io.frame:positions",
    "project": "xpycro.engine.results:project",
    "reconstruct": "xpycro.engine.results:reconstruct",
    "register": "xpycro.processing.register",
    "register_format": "xpycro.io.formats:register",
    "replay": "xpycro.replay:replay",
    "residual": "xpycro.engine.results:residual",
    "sample": "xpycro.io.samples:sample",
    "samples": "xpycro.io.samples:samples",
    "save": "xpycro.io.store:save",
    "script": "xpycro.replay:script",
    "simulate": "xpycro.simulate",
    "spectra": "xpycro.processing.spectra",
    "stack_channels": "xpycro.processing.decompose:stack_channels",
    "to_hyperspy": "xpycro.io.export:to_hyperspy",
    "to_nexus": "xpycro.io.export:to_nexus",
    "to_units": "xpycro.processing.select:to_units",
    "translate": "xpycro.io.translate:translate",
    "unpack": "xpycro.io.store:unpack",
    "verify": "xpycro.io.store:verify",
    "windows": "xpycro.processing.windows",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("xpycro")
    if name not in _HOMES:
        raise AttributeError(f"module 'xpycro' has no attribute {name!r}")
    module, _, attribute = _HOMES[name].partition(":")
    value: Any = importlib.import_module(module)
    globals()[name] = value = getattr(value, attribute) if attribute else value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]


class _Package(types.ModuleType):
    """Lets a function win over the module it is named like: importing ``xpycro.replay`` must not hide ``xp.replay``."""

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, types.ModuleType) and ":" in _HOMES.get(name, ""):
            return  # what the import system sets after importing a submodule; `__getattr__` gives the function
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def _register(kind: str) -> None:
    """Register an accessor that is loaded when an object is first asked for it."""

    def pycro(obj: Any) -> Any:
        from xpycro import accessor

        return getattr(accessor, f"{kind}Accessor")(obj)

    pycro.__doc__ = f"The operations of xpycro on a {kind}."
    getattr(xr, f"register_{kind.lower()}_accessor")("pycro")(pycro)


for _kind in ("DataArray", "Dataset", "DataTree"):
    _register(_kind)
