"""The chain of the demo for scans of diffraction patterns: one reading, then the peak's place, width and strain.

Prints one line a step and adds sections to the page. May import everything below the top floor.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import xarray as xr

from xpycro.analysis.fit import fit as fit_model
from xpycro.cli.chains import Page
from xpycro.engine.results import evaluate
from xpycro.io import store
from xpycro.processing import diffraction
from xpycro.provenance import history
from xpycro.viz import plot, report

__all__ = ["patterns", "run"]

_MONITOR = re.compile(r"(^|_)(monitor|mon|i0|izero|ion_?\d*|ic\d*|diode)(_|$|\d)")


def patterns(ds: xr.Dataset, variable: str | None = None) -> xr.DataArray | None:
    """The scan of patterns to reduce, or None where there is none."""
    for name, da in ds.data_vars.items():
        if {"y", "x", "ky", "kx"} == set(da.dims) and da.dtype.kind in "fiu" and variable in (None, name):
            return da
    return None


def run(ds: xr.Dataset, da: xr.DataArray, page: Page) -> None:
    """Reduce the patterns in one reading, fit the peak of each point where angles are known; every result is stored."""
    page.facts(ds)
    rows, columns = da.sizes["ky"], da.sizes["kx"]
    page.lead = f"A pattern of {rows} × {columns} pixels at every point of the scan."
    mask = ds["pixel_mask"] if "pixel_mask" in ds and set(ds["pixel_mask"].dims) == {"ky", "kx"} else None
    if mask is not None and bool(mask.any()):
        page.summary.append(("Pixels left out", int(mask.sum())))
    angles = "two_theta" in da.coords
    wanted: list[diffraction.Reduction] = [
        diffraction.VirtualDetector(name="intensity"), diffraction.CenterOfMass(), diffraction.MeanPattern(),
        diffraction.MaxPattern(),
    ]  # fmt: skip
    if angles:
        wanted.append(diffraction.RadialProfile(radius="two_theta"))
    print(f"reducing {da.sizes['y'] * da.sizes['x']:,} patterns in one reading")
    seen = store.save(diffraction.run(da, wanted, exclude=mask), page.target, name="reductions").compute()
    beam, name = _beam(ds)
    note = f" Divided by {name}, relative to its largest value." if name else ""
    intensity = (seen["intensity"] / beam).assign_attrs(seen["intensity"].attrs)
    page.add(
        "Virtual detector",
        f"All counts of each pattern.{note}",
        report.image(intensity),
        *([report.image(ds[name].compute())] if name else []),
    )
    page.add(
        "Patterns",
        "The mean over the scan, and the largest value of each pixel, in decades.",
        *(report.image(_decades(seen[f"{kind}_pattern"])) for kind in ("mean", "max")),
    )
    page.add(
        "Centre of mass",
        "Where the intensity lies on the detector.",
        report.image(seen["com_ky"]),
        report.image(seen["com_kx"]),
    )
    if angles:
        _peak(seen["radial_profile"], beam, page)
    print(f"\n{history(seen)}")
    page.add(
        "How it was made", "", report.Table(["", "Operation", "Parameters"], list(history(seen).rows()), text=True)
    )


def _beam(ds: xr.Dataset) -> tuple[xr.DataArray | float, str]:
    """How bright the beam was at each point, relative to its largest value, and what said so; 1 where nothing does."""
    for name, da in ds.data_vars.items():
        if set(da.dims) == {"y", "x"} and _MONITOR.search(str(name).lower()):
            values = da.compute()
            if float(values.min()) > 0:
                return values / values.max(), str(name)
    return 1.0, ""


def _decades(pattern: xr.DataArray) -> xr.DataArray:
    values = xr.apply_ufunc(np.log10, 1 + pattern.clip(min=0))
    return values.assign_attrs(units="1", long_name=f"log₁₀ (1 + {pattern.attrs.get('long_name', '')})")


def _peak(profile: xr.DataArray, beam: xr.DataArray | float, page: Page) -> None:
    """A Gaussian on a constant at every point, weighted as counts are, and the strain of its planes."""
    pixels = profile["ring_pixels"]
    normal = (profile / beam).assign_attrs(profile.attrs)

    def error(expected: Any) -> Any:
        return np.sqrt((expected * pixels).clip(min=1)) / pixels / beam

    print("fitting a peak at every point")
    settings: dict[str, Any] = {"dim": "two_theta", "absolute_sigma": True}
    first = fit_model(normal, "gaussian + constant", sigma=error(profile), **settings)
    fit = store.save(
        fit_model(normal, "gaussian + constant", sigma=error(evaluate(first) * beam), **settings), page.target
    )
    strain = store.save(
        diffraction.strain(fit["gaussian_center"], stderr=fit["gaussian_center_stderr"]), page.target, name="strain"
    ).compute()
    good = 100 * float(fit["converged"].mean())
    page.add(
        "The peak of each point",
        "A Gaussian on a constant, fitted to the mean over rings of equal two theta, weighted as counts are. Tap a "
        f"point for its profile. {good:.4g} % converged; the others are NaN and flagged in status.",
        plot.fit(fit, data=normal),
    )
    page.add(
        "Strain",
        "Of the lattice planes along the direction that the peak comes from, relative to the median of the map, by "
        f"Bragg's law. Median standard error {float(strain['strain_stderr'].median()):.2g}.",
        report.image(strain["strain"]),
        report.image(strain["strain_stderr"]),
    )
