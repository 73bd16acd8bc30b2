"""The chain of the demo for mass spectrometry images: peaks, ion images, species.

Prints one line a step and adds sections to the page. May import everything below the top floor.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from xpycro.cli.chains import Page
from xpycro.io import store
from xpycro.processing import decompose, mass
from xpycro.provenance import history
from xpycro.viz import plot, report

__all__ = ["run", "table"]

_IONS = 12  # that are shown
_MOST = 200  # that are looked for


def table(da: xr.DataArray) -> xr.Dataset | None:
    """The peaks of a mass spectrometry image; None where the data are none, or no peak stands out."""
    if "mass_to_charge" not in da.dims or da.dtype.kind not in "fiu":
        return None
    try:
        return mass.peaks(da, n_peaks=_MOST)
    except ValueError:  # no peak stands out: a spectrum like any other
        return None


def run(ds: xr.Dataset, da: xr.DataArray, peaks: xr.Dataset, page: Page) -> None:
    """Explore, list the peaks, map the ions, unmix them with Poisson scaling; every result is stored."""
    page.facts(ds)
    label = str(da.attrs.get("long_name") or da.name)
    page.summary.append(("Channel", label))
    page.lead = f"{da.sizes['mass_to_charge']} channels of mass at every pixel: peaks, ion images, species."
    text = "Tap a pixel for its spectrum; tap the spectrum for the image of that mass."
    page.add(label, text, report.explorer(da))
    print(f"mapping {peaks.sizes['peak']} ions")
    ions = store.save(mass.ion_images(da, peaks).rename("ions"), page.target, name="ion_images")["ions"]
    strongest = np.sort(np.argsort(peaks.height.values)[::-1][:_IONS])
    rows = [
        tuple(f"{float(peaks[name][n]):.6g}" for name in ("mass_to_charge", "height", "width", "low", "high"))
        for n in strongest
    ]
    head = ["m/z", f"Mean height ({peaks.height.attrs['units']})", "Width at half height", "from", "to"]
    count = peaks.sizes["peak"]
    which = "All peaks" if count <= _IONS else f"The {_IONS} highest of {count} peaks"
    page.add("Peaks", "", report.Table(head, rows, f"{which} of the mean spectrum."))
    maps = ions.isel({d: 0 for d in ions.dims if d not in ("y", "x", "ion")})
    if {"y", "x"} <= set(maps.dims):
        pictures = [
            report.image(maps.isel(ion=int(n)), title=f"m/z {float(peaks.mass_to_charge[n]):.5g}", size=195)
            for n in strongest
        ]
        page.add("Ion images", "Summed over the window of each peak.", *pictures)
    _species(ions, page)


def _species(ions: xr.DataArray, page: Page) -> None:
    """Principal components of counts of equal noise, and nonnegative spectra with their maps."""
    pixels = int(np.prod([size for dim, size in ions.sizes.items() if dim != "ion"]))
    most = min(ions.sizes["ion"], pixels)
    made: Any = ions
    if most > 2 and bool((ions.fillna(0) >= 0).all()):
        print("decomposing the ion images: PCA with Poisson scaling, nonnegative factors")
        pca = store.save(decompose.pca(ions, dim="ion", scale="poisson", n_components=min(8, most)), page.target)
        ranking = decompose.rank(pca)
        page.add(
            "Principal components",
            "Ions are scaled by the root of their means, which gives counts of all of them the same noise.\n\n"
            f"Components to take: {ranking.advice}",
            plot.decomposition(pca, explore=False),
        )
        made, beyond = pca, int(ranking.recommended)
        if beyond > 0:  # beyond the mean, which is one more
            number = min(beyond + 1, 6, most - 1)
            made = store.save(decompose.nmf(ions, number, dim="ion"), page.target)
            text = (
                f"{number} nonnegative spectra of ions and where they are: the mean and {beyond} differences from it."
            )
            page.add("Species", text, plot.decomposition(made, explore=False))
    print(f"\n{history(made)}")
    page.add(
        "How it was made", "", report.Table(["", "Operation", "Parameters"], list(history(made).rows()), text=True)
    )
