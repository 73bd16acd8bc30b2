"""The chain of the demo for switching spectroscopy: resonances, loops, switching maps.

Prints one line a step and adds sections to the page. May import everything below the top floor.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from xpycro.analysis import loops
from xpycro.analysis.fit import fit as fit_model
from xpycro.analysis.loops.model import PARAMETERS, inverse
from xpycro.cli.chains import Page
from xpycro.cli.text import table
from xpycro.io import store
from xpycro.provenance import history
from xpycro.viz import plot, report

__all__ = ["is_switching", "run"]

_MAPS = ("coercive_bias_negative", "coercive_bias_positive", "imprint", "switchable_polarisation", "work_of_switching",
         "nucleation_bias_positive")  # fmt: skip


def is_switching(ds: xr.Dataset) -> bool:
    """Whether this is a resonance at each step of a bias sweep."""
    da = ds.get("response")
    return da is not None and da.dtype.kind == "c" and {"step", "frequency"} <= set(da.dims) and "bias" in da.coords


def run(ds: xr.Dataset, page: Page) -> None:
    """Fit the resonances, project and fit the loops, derive what they say; every result is stored."""
    da = ds["response"]
    page.facts(ds)
    steps, bins = da.sizes["step"], da.sizes["frequency"]
    page.lead = f"{steps} bias steps of {bins} frequencies at every pixel: resonances, loops, switching."
    if ds.attrs.get("phase_sign"):
        page.summary.append(("Sign of the phase", ds.attrs["phase_sign"]))
    print(f"fitting {da.size // da.sizes['frequency']:,} resonances")
    sho = store.save(fit_model(da, "sho", dim="frequency"), page.target)
    chosen = "out" if "field" in da.dims and "out" in da["field"].values else None
    print("projecting and fitting loops")
    projected = store.save(loops.project(sho, field=chosen), page.target, name="loops")
    fit = store.save(loops.fit(projected), page.target, name="loop_fit")
    good = 100 * float(fit.converged.mean())
    page.add(
        "Map, loop, resonance",
        "Tap the map for the loop of a pixel, the loop for the spectrum of a bias step. "
        f"{good:.4g} % of the loops converged; the others are NaN and flagged in status.",
        plot.switching(fit, projected, sho, da),
    )
    derived = loops.derived(fit)
    first = [d for d in derived["imprint"].dims if d not in ("y", "x")]
    page.add(
        "Switching maps",
        "Coercive biases are half-way up each branch; nucleation is 3 % of the height; work is in response times bias.",
        plot.maps(derived[list(_MAPS)].isel(dict.fromkeys(first, 0)), variables=list(_MAPS), cols=3, size=230),
    )
    page.add(
        "Polarity and area",
        "The angle of the switching axis differs by pi between domains of opposite polarity. The area is positive "
        "where a loop is run counterclockwise, as the response of a ferroelectric lags behind the bias.",
        *(plot.image(projected[n].isel(dict.fromkeys(first, 0))) for n in ("rotation_angle", "area")),
    )
    _compare(ds, derived, page)
    print(f"\n{history(fit)}")
    page.add("How it was made", "", report.Table(["", "Operation", "Parameters"], list(history(fit).rows()), text=True))


def _compare(ds: xr.Dataset, derived: xr.Dataset, page: Page) -> None:
    """Where the truth is known: how far off, and how often within one standard error."""
    if "true_switching_bias_positive" not in ds:
        return
    _, _, a2, a3, _, b0, b1, b2, b3 = (ds[f"true_{name}"] for name in PARAMETERS)
    truths: dict[str, Any] = {
        "coercive_bias_negative": inverse(0.5, a2.values, b0.values, b1.values),
        "coercive_bias_positive": inverse(0.5, a3.values, b2.values, b3.values),
        "switching_bias_negative": a2.values,
        "switching_bias_positive": a3.values,
        "switchable_polarisation": ds["true_height"].values,
    }
    rows = []
    for name, truth in truths.items():
        found, error = (derived[n].transpose("y", "x", ...).values for n in (name, f"{name}_stderr"))
        difference = found - truth.reshape(*truth.shape, *[1] * (found.ndim - 2))
        rms = float(np.sqrt(np.nanmean(difference**2)))
        inside = float((np.abs(difference) < error)[np.isfinite(difference)].mean() * 100)
        units = str(derived[name].attrs["units"])
        rows.append((name, f"{float(np.median(truth)):.4g} {units}", f"{rms:.2g} {units}", inside))
    header = ["Quantity", "true (median)", "rms error", "within 1 stderr (%)"]
    caption = "Over all loops. Honest error bars hold 68.3 % of the truths within one standard error."
    page.add("Recovered against true", "", report.Table(header, rows, caption))
    print("\n" + "\n".join(table([header, *[[*row[:-1], f"{row[-1]:.1f}"] for row in rows]])))
